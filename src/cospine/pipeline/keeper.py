"""What has been done is kept: a step is done again only when something that it depends on has changed.

A step depends on the content of files, on facts of the dataset, on the settings that it reads (they are watched while it runs,
so none can be forgotten), on the software, and on the steps before it. All that is written into a record beside its result. A
later execution compares: where nothing differs and the step's outputs are as it left them, its result is read when it is needed,
and not at all when it is not. Records appear whole, after the outputs that they vouch for; so whatever was killed is done again,
and nothing that had been finished.

Why not joblib.Memory or Pydra: the first hashes arguments, a gigabyte of images at every call, and knows neither outputs nor why
it computes again; the second wants every step to be a task of its own that passes files.
"""

import logging
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast

from isal import igzip

from cospine.bids.atomic import atomic, compressed, protect
from cospine.bids.names import sidecar_of
from cospine.errors import CoSpineError
from cospine.pipeline.record import (
    Record,
    as_json,
    content_of,
    digest_of,
    is_same,
    read_record,
    remove_stale,
    software,
    stamp_of,
    tree_of,
)
from cospine.pipeline.resources import Peak, give_back
from cospine.pipeline.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")
Computed = tuple[T, Sequence[Path]]
_ENDING = ".kept"
_NEW = "not done yet"
REPORTS = ("report", "page")
"""Steps that make what people look at, of results of the others."""


class Done(Generic[T]):
    """A step that has been done; its result is read when it is first asked for."""

    def __init__(self, record: Record, read: Callable[[], T]) -> None:
        self.record = record
        self._read = read
        self._held: list[T] = []

    @classmethod
    def of(cls, record: Record, value: T, read: Callable[[], T]) -> "Done[T]":
        """One whose result is at hand."""
        made = cls(record, read)
        made._held.append(value)
        return made

    @property
    def value(self) -> T:
        """The result."""
        if not self._held:
            self._held.append(self._read())
        return self._held[0]

    def take(self) -> T:
        """The result, which the caller may change: it is read again when it is asked for again."""
        value = self.value
        self._held.clear()
        return value

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Files it wrote."""
        return tuple(Path(name) for name in self.record.outputs)


@dataclass(frozen=True)
class Planned:
    """A step that would be done, and why."""

    unit: str
    name: str
    why: str


@dataclass
class _Frame:
    """What a step that is being done has read so far."""

    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    written: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, inner: Record) -> None:
        """Take over what a step inside of this one depended on and wrote."""
        self.settings.update(inner.settings)
        self.files.update(inner.files)
        self.written.update({**inner.outputs, **inner.sidecars, **inner.inner})


class Keeper:
    """Results of steps in a work directory.

    Parameters
    ----------
    folder : Path
        Work directory; made when something is first kept.
    settings : Settings
        Parameters.
    said : callable
        Told of each step that begins.
    plan : bool
        Do nothing: collect in `planned` what would be done.
    """

    def __init__(
        self, folder: Path, settings: Settings, said: Callable[[str], None] = lambda _: None, *, plan: bool = False
    ) -> None:
        self.settings = settings
        self.said = said
        self.plan = plan
        self.planned: list[Planned] = []
        self.folder = folder
        self._frames: list[_Frame] = []
        self._shared: dict[int, tuple[tuple[str, str, int, str], Any]] = {}
        self._read: dict[tuple[str, str], Done[Any]] = {}

    def watched(self) -> Settings:
        """Settings that tell the steps being done which of them are read."""
        return cast(Settings, _Watched(self.settings, self._saw))

    def step(
        self,
        unit: str,
        name: str,
        version: str,
        compute: Callable[[Settings], Computed[T]],
        *,
        files: Iterable[Path] = (),
        facts: Any = None,
        after: Iterable[Done[Any]] = (),
    ) -> Done[T]:
        """Do a step, or find it done.

        Parameters
        ----------
        unit : str
            What it is of: `sub-01`, or `sub-01/sub-01_task-pain`.
        name, version : str
            Of the step.
        compute : callable
            Given the settings; returns the result and the files written. What it reads is either named below or a setting.
        files : iterable of Path
            Whose contents it depends on.
        facts : Any
            What else, as JSON can hold it.
        after : iterable of Done
            Steps whose results it uses.
        """
        path = self._path(unit, name)
        old = read_record(path)
        if self.plan and old is None:
            return self._planned(unit, name, version, _NEW)
        files = sorted(set(files))
        wanted = {one.record.name: one.record.digest for one in after}
        known = digest_of(facts)
        why = self._changed(old, version, known, files, wanted)
        if self.settings.reports_only:
            why = self._only_reports(unit, name, why)
        if old is not None and not why:
            for outer in self._frames:
                outer.add(old)
            held = self._read.get((unit, name))
            if held is not None and held.record.digest == old.digest:
                return held
            return self._remember(unit, name, Done(old, lambda: self._load(path, old)))
        if self.plan:
            return self._planned(unit, name, version, why)
        self.said(name)
        logger.info("%s: %s (%s)", unit.rpartition("/")[2], name, why)
        path.unlink(missing_ok=True)
        frame = _Frame(files={str(one): content_of(one) for one in files})
        self._frames.append(frame)
        began = time.perf_counter()
        try:
            with Peak() as peak:
                value, outputs = compute(self.watched())
        finally:
            self._frames.pop()
            give_back()
        sidecars = [one for one in map(sidecar_of, outputs) if one not in outputs and one.is_file()]
        for one in (*outputs, *sidecars):
            protect(one)
        record = Record(
            name=name,
            version=version,
            software=software(),
            facts=known,
            declared=tuple(map(str, files)),
            files=dict(sorted(frame.files.items())),
            settings=dict(sorted(frame.settings.items())),
            after=wanted,
            outputs={str(one): stamp_of(one) for one in outputs},
            sidecars={str(one): stamp_of(one) for one in sidecars},
            inner=frame.written,
            seconds=time.perf_counter() - began,
            peak_bytes=peak.bytes,
        )
        self._keep(path, record, value)
        for outer in self._frames:
            outer.add(record)
        if old is not None:
            remove_stale(old.written - record.written)
        return self._remember(unit, name, Done.of(record, value, lambda: self._load(path, record)))

    def found(self, unit: str, name: str) -> Done[Any] | None:
        """A step that was done, in this execution or an earlier one; None where there is no record of it."""
        done = self._read.get((unit, name))
        path = self._path(unit, name)
        record = read_record(path) if done is None else None
        return done if record is None else self._remember(unit, name, Done(record, lambda: self._load(path, record)))

    def forget_others(self, unit: str, names: Iterable[str]) -> None:
        """Remove what steps of a unit left that are no longer among its steps: it would pass for a result of these settings.

        Raises
        ------
        CoSpineError
            Where reports alone are wanted, and there is something to remove.
        """
        if self.plan:
            return
        others = {path.name.removesuffix(_ENDING): path for path in sorted((self.folder / unit).glob(f"*{_ENDING}"))}
        for name in names:
            others.pop(name, None)
        if others and self.settings.reports_only:
            raise CoSpineError(f"{', '.join(others)} was made with other flags", unit, "give them, or leave out --reports-only")
        for path in others.values():
            record = read_record(path)
            if record is not None:
                remove_stale(record.written)
            path.unlink(missing_ok=True)

    def missing(self, unit: str, name: str) -> str:
        """Why a step must be done for what is seen of its outputs alone; empty where they are as they were written."""
        record = read_record(self._path(unit, name))
        return _NEW if record is None else self._touched(record)

    # --- what is kept ----------------------------------------------------------------------------------------------------

    def _path(self, unit: str, name: str) -> Path:
        return self.folder / unit / f"{name}{_ENDING}"

    def _changed(self, old: Record | None, version: str, facts: str, files: Sequence[Path], after: Mapping[str, str]) -> str:
        """Why a step must be done; empty where it need not."""
        if old is None:
            return _NEW
        # reports of what an earlier version of CoSpine found may be made by a later one
        if old.version != version or (old.software != software() and not self.settings.reports_only):
            return "another version of it or of what it computes with"
        if changed := sorted(name for name in {*after, *old.after} if after.get(name) != old.after.get(name)):
            return f"after {', '.join(changed)}"
        if gone := sorted(set(old.declared) ^ {str(one) for one in files}):
            return f"other files: {', '.join(Path(one).name for one in gone)}"
        for name, known in old.files.items():
            if not is_same(Path(name), known):
                return f"{Path(name).name} has changed"
        for name, value in old.settings.items():
            now = self._value(name)
            if now != value:
                flag = name.partition(":")[0]
                return f"--{flag.replace('_', '-')} was {_shown(value)}, is {_shown(now)}"
        if old.facts != facts:
            return "what sidecars, headers or other steps say has changed"
        return self._touched(old)

    def _touched(self, old: Record) -> str:
        """Which file that a step wrote has been changed or removed since."""
        for name, stamp in {**old.outputs, **old.sidecars, **old.inner}.items():
            if not Path(name).is_file() or stamp_of(Path(name)) != stamp:
                return f"{Path(name).name} is not as it was written"
        return ""

    def _only_reports(self, unit: str, name: str, why: str) -> str:
        """Why a step must be done where reports alone are: they always, no other, or pages would tell of what is not there."""
        if name in REPORTS:
            return "asked for"
        if why:
            raise CoSpineError(f"{name} would have to be done ({why})", unit.rpartition("/")[2], "leave out --reports-only")
        return ""

    def _planned(self, unit: str, name: str, version: str, why: str) -> Done[Any]:
        """A step that would be done; what comes after it would be as well."""
        self.planned.append(Planned(unit.rpartition("/")[2], name, why))
        return Done(Record(name, version, "", f"planned {unit}", (), {}, {}, {}), _not_done)

    def _saw(self, name: str) -> None:
        if self._frames:
            value = self._value(name)
            for frame in self._frames:
                frame.settings[name] = value

    def _value(self, name: str) -> Any:
        """A setting as records hold it; `ignore:events` for one part of those that can be ignored."""
        field_name, _, part = name.partition(":")
        value = getattr(self.settings, field_name)
        if part:
            return part in value
        if isinstance(value, Path):
            return tree_of(value)
        return list(value) if isinstance(value, tuple) else value

    def _remember(self, unit: str, name: str, done: Done[T]) -> Done[T]:
        self._read[unit, name] = done
        if done._held:
            self._share(unit, name, done)
        return done

    def _share(self, unit: str, name: str, done: Done[Any]) -> None:
        """Let later results refer to this one, or to what it holds, in place of keeping it again."""
        value = done._held[0]
        for at, one in enumerate(value) if isinstance(value, tuple) else ((-1, value),):
            if is_dataclass(one):
                self._shared.setdefault(id(one), ((unit, name, at, done.record.digest), one))

    def _keep(self, path: Path, record: Record, value: Any) -> None:
        with atomic(path) as stream:
            stream.write(as_json(asdict(record), ordered=False) + b"\n")
            with compressed(stream, Path("result.gz"), 0, None) as packed:
                _Pickler(packed, {key: name for key, (name, _) in self._shared.items()}).dump(value)

    def _load(self, path: Path, record: Record) -> Any:
        try:
            with open(path, "rb") as stream:
                stream.readline()
                with igzip.open(stream, "rb") as packed:
                    value = _Unpickler(cast(BinaryIO, packed), self._referred).load()
        except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError) as error:
            raise CoSpineError(
                f"a kept result cannot be read ({error})", str(path), "remove the work directory and start again"
            ) from error
        unit, name = path.parent.relative_to(self.folder).as_posix(), path.name.removesuffix(_ENDING)
        self._share(unit, name, Done.of(record, value, lambda: value))
        return value

    def _referred(self, unit: str, name: str, at: int, digest: str) -> Any:
        """What a kept result refers to."""
        done = self._read.get((unit, name))
        if done is None:
            path = self._path(unit, name)
            record = read_record(path)
            if record is None:
                raise pickle.UnpicklingError(f"{path} is gone")
            done = self._read[unit, name] = Done(record, lambda: self._load(path, record))
        if done.record.digest != digest:
            raise pickle.UnpicklingError(f"{unit}/{name} is another one")
        return done.value if at < 0 else done.value[at]


class _Watched:
    """Settings that say which of them is read."""

    def __init__(self, settings: Settings, saw: Callable[[str], None]) -> None:
        self._settings = settings
        self._saw = saw

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._settings, name)
        if name == "ignores":
            return self._ignores
        if name == "parameters":  # a summary of all that shape the results
            for one in value():
                self._saw(one)
        else:
            self._saw(name)
        return value

    def _ignores(self, part: str) -> bool:
        self._saw(f"ignore:{part}")
        return self._settings.ignores(part)


class _Pickler(pickle.Pickler):
    """Keeps what other steps keep by reference."""

    def __init__(self, stream: Any, shared: Mapping[int, tuple[str, str, int, str]]) -> None:
        super().__init__(stream, protocol=5)
        self._known = shared

    def persistent_id(self, obj: Any) -> Any:
        return self._known.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, referred: Callable[..., Any]) -> None:
        super().__init__(stream)
        self._referred = referred

    def persistent_load(self, pid: Any) -> Any:
        return self._referred(*pid)


def _not_done() -> Any:
    raise RuntimeError("a planned step has no result")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "not given"
    if isinstance(value, float):
        return f"{value:g}"
    return "not given" if value is None else "other content" if isinstance(value, str) and len(value) == 64 else str(value)
