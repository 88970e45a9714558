"""All chosen participants, one after the other; one that fails never stops the others."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cospine.bids import Dataset, Derivatives, Participant, Run, read_dataset, read_json
from cospine.bids.overlay import read_overlay
from cospine.bids.tables import read_tsv
from cospine.check.examine import with_findings
from cospine.errors import CoSpineError
from cospine.physio.pnm import Orders
from cospine.pipeline.anatomy_files import write_anatomy
from cospine.pipeline.anatomy_stage import AnatomySources
from cospine.pipeline.coupling_files import combine_coupling
from cospine.pipeline.coupling_stage import seed_names
from cospine.pipeline.field_stage import FieldSources
from cospine.pipeline.given import check_given
from cospine.pipeline.physio_stage import PhysioSources
from cospine.pipeline.process import process_run
from cospine.pipeline.progress import Event, Listener, silent
from cospine.pipeline.reporting import RunSection, participant_page, quality_record, run_section
from cospine.pipeline.run_files import write_source
from cospine.pipeline.run_result import RunResult
from cospine.pipeline.settings import Settings
from cospine.pipeline.step import Step
from cospine.pipeline.task_files import combine_runs
from cospine.signal.compcor import SLICE_COMPONENTS
from cospine.stats.model import check_model, read_model

logger = logging.getLogger(__name__)

_DISK = "check free space and permissions of the output folder, or choose another one"
_OTHER_COLUMNS = 10  # at most, beside harmonics and drift: head motion, cord shifts, CSF, the constant
_LEAST_STEADY = 8  # volumes without the dummies that tSNR and a reference need
# about how much of a run's time each step takes, in parts of their sum; for the time left
_SHARE = {
    "field": 0.07,
    "denoise": 0.0,
    "read": 0.09,
    "masks": 0.02,
    "motion": 0.27,
    "field to run": 0.06,
    "resample": 0.13,
    "to anatomy": 0.05,
    "spaces": 0.15,
    "noise": 0.07,
    "statistics": 0.1,
    "coupling": 0.03,
    "seeds": 0.05,
    "quality": 0.05,
    "write": 0.12,
    "report": 0.12,
}


@dataclass(frozen=True)
class Failure:
    """A run or participant that could not be processed."""

    participant: str
    run: str
    error: str


@dataclass(frozen=True)
class Outcome:
    """What came of an execution.

    Parameters
    ----------
    dataset : Dataset
        What was read, with all findings.
    reports : tuple of Path
        One a participant.
    failures : tuple of Failure
        Runs that failed while being processed.
    """

    dataset: Dataset
    reports: tuple[Path, ...]
    failures: tuple[Failure, ...]

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for was done."""
        return not self.failures and not any(one.severity == "error" for one in self.dataset.findings)


@dataclass(frozen=True, eq=False)
class _Person:
    """A participant, what its runs share, and what has been written of it already."""

    participant: Participant
    fields: FieldSources
    recordings: PhysioSources
    anatomies: AnatomySources
    field_steps: dict[str, Step] = field(default_factory=dict)
    anatomy_steps: dict[Path, Step] = field(default_factory=dict)


def read_chosen(bids_dir: Path, settings: Settings, output_dir: Path | None = None) -> Dataset:
    """Read what the settings choose of a dataset, with all that is wrong in it.

    Parameters
    ----------
    bids_dir : Path
        Folder of the dataset.
    settings : Settings
        Parameters.
    output_dir : Path, optional
        Derivatives; metadata that `cospine check --apply` mended there stand in place of the dataset's.

    Raises
    ------
    CoSpineError
        When the folder or the overlay cannot be read, or what is given (masks, peaks, dummies, high-pass, orders) fits no run.
    """
    overlay = None if output_dir is None else read_overlay(output_dir, bids_dir)
    dataset = read_dataset(
        bids_dir,
        participants=settings.participant_label,
        sessions=settings.session_label,
        tasks=settings.task,
        runs=settings.run,
        overlay=overlay,
    )
    dataset = with_findings(dataset)
    check_given(dataset, settings)
    _check_model(dataset, settings)
    _check_noise(dataset, settings)
    if unknown := [name for name in settings.seed_regions if name not in seed_names()]:
        raise CoSpineError(f"no region is called {', '.join(unknown)}", "--seed-regions", f"there are: {', '.join(seed_names())}")
    if settings.dummy_scans != "auto":
        short = [run.prefix for run in dataset.runnable if run.volumes - int(settings.dummy_scans) < _LEAST_STEADY]
        if short:
            raise CoSpineError(
                f"leaves fewer than {_LEAST_STEADY} volumes of {', '.join(short)}",
                f"--dummy-scans {settings.dummy_scans}",
                "give fewer, or auto",
            )
    return dataset


def _check_model(dataset: Dataset, settings: Settings) -> None:
    """Refuse a model that cannot be read, or fits no run, before the long work."""
    if settings.model is None:
        return
    model = read_model(settings.model)
    runs = [run for run in dataset.runnable if run.events is not None and model.applies(task=run.task)]
    if not runs:
        raise CoSpineError(
            "is for none of the chosen runs that have events", str(settings.model), "choose other runs, or mend the model's Input"
        )
    check_model(
        model, {run.prefix: (read_tsv(run.events), run.task) for run in runs if run.events is not None}, settings.high_pass
    )


def _check_noise(dataset: Dataset, settings: Settings) -> None:
    """Refuse a high-pass that takes everything, and cleaning with more columns than volumes, before the long work."""
    slow = [run.prefix for run in dataset.runnable if settings.high_pass <= 2 * run.tr_s]
    if slow:
        raise CoSpineError(
            f"takes all that {', '.join(slow)} can hold",
            f"--high-pass {settings.high_pass:g}",
            "give a longer period; 128 is usual",
        )
    wanting = [
        flag
        for flag, there in (
            ("--clean", settings.clean), ("--export", settings.export), ("--physio-peaks", settings.physio_peaks),
            ("--slow-responses", settings.slow_responses), ("--denoise", settings.denoise != "none"),
            ("--output-spaces", settings.output_spaces), ("--discs", settings.discs), ("--model", settings.model),
            ("--seed-regions", settings.seed_regions),
        ) if there
    ]  # fmt: skip
    if settings.level == "minimal" and wanting:
        raise CoSpineError("belongs to what --level minimal leaves out", ", ".join(wanting), "leave one of them out")
    if not settings.clean:
        return
    dummies = 0 if settings.dummy_scans == "auto" else int(settings.dummy_scans)
    short = []
    for participant in dataset.participants:
        recorded = participant.physio and "physio" not in settings.ignore
        of_model = Orders.of(settings.pnm_orders).columns + len(settings.slow_responses) if recorded else SLICE_COMPONENTS
        for run in participant.runnable:
            steady = run.volumes - dummies
            if of_model + _OTHER_COLUMNS + 2 * steady * run.tr_s / settings.high_pass >= steady - 1:
                short.append(f"{run.prefix} ({steady} volumes)")
    if short:
        raise CoSpineError(
            f"takes as many columns as there are volumes in {', '.join(short)}",
            f"--clean with --pnm-orders {' '.join(map(str, settings.pnm_orders))}",
            "give lower orders, for example --pnm-orders 2 2 0 0",
        )


def execute(dataset: Dataset, output_dir: Path, settings: Settings, listen: Listener = silent) -> Outcome:
    """Process every participant of a dataset that can be processed.

    Parameters
    ----------
    dataset : Dataset
        From :func:`read_chosen`.
    output_dir : Path
        Folder of the derivatives; made when absent.
    settings : Settings
        Parameters.
    listen : callable
        Told of every step.

    Returns
    -------
    Outcome

    Raises
    ------
    CoSpineError
        When the output folder cannot be used.
    """
    _check_output(dataset.root, output_dir)
    derivatives = Derivatives(output_dir.resolve(), dataset.root.resolve())
    derivatives.write_dataset_description(dataset.name)
    # volumes say how long a run takes, near enough
    size = {id(run): max(run.volumes, 1) for run in dataset.runnable}
    total = sum(size.values())
    done = 0.0
    reports: list[Path] = []
    failures: list[Failure] = []
    for participant in dataset.participants:
        sections: list[RunSection] = []
        failed: list[Failure] = []
        if not participant.runnable and not participant.findings:
            continue
        person = _Person(
            participant,
            FieldSources(participant, settings),
            PhysioSources(participant, settings),
            AnatomySources(participant, settings),
        )
        with _log_file(output_dir / "logs" / f"{participant.label}.log"):
            for run in participant.runnable:
                part = size[id(run)] / total
                try:
                    sections.append(_one_run(run, person, derivatives, settings, listen, done, part))
                except Exception as error:
                    failed.append(_failure(participant.label, run.label, error))
                    listen(Event(participant.label, run.label, "", done + part, failed[-1].error))
                    if settings.stop_on_first_crash:
                        break
                done += part
            try:
                done_runs = [run for run in participant.runnable if run.label not in {one.run for one in failed}]
                combine_runs(derivatives, done_runs)
                combine_coupling(derivatives, done_runs)
            except Exception as error:
                failed.append(_failure(participant.label, "statistics of several runs", error))
                listen(Event(participant.label, "", "", done, failed[-1].error))
            failed += [Failure(participant.label, image.name, text) for image, text in person.anatomies.failures.items()]
            path = output_dir / f"{participant.label}.html"
            try:
                said = [(one.run, one.error) for one in failed]
                derivatives.write_text(
                    path, participant_page(participant, dataset, sections, said, settings, person.anatomies.made)
                )
                reports.append(path)
            except Exception as error:
                failed.append(_failure(participant.label, "report", error))
                listen(Event(participant.label, "", "", done, failed[-1].error))
        failures += failed
        if failed and settings.stop_on_first_crash:
            break
    return Outcome(dataset, tuple(reports), tuple(failures))


def _one_run(
    run: Run,
    person: _Person,
    derivatives: Derivatives,
    settings: Settings,
    listen: Listener,
    done: float,
    part: float,
) -> RunSection:
    """Process a run and draw its part of the report; tells of each step."""
    passed = 0.0
    last = ""

    def said(step: str) -> None:
        nonlocal passed, last
        passed += _SHARE.get(last, 0.0) / sum(_SHARE.values())
        last = step
        logger.info("%s: %s", run.label, step)
        listen(Event(person.participant.label, run.label, step, done + part * passed))

    result = process_run(run, derivatives, settings, person.fields, person.recordings, person.anatomies, said)
    for source in (result.choice.source, result.choice.other):
        if source is not None:
            if source.identifier not in person.field_steps:
                step = write_source(derivatives, person.participant.label, source, settings)
                person.field_steps[source.identifier] = step
            result = replace(result, steps=(person.field_steps[source.identifier], *result.steps))
    for anatomy in person.anatomies.made:
        if anatomy.source not in person.anatomy_steps:
            person.anatomy_steps[anatomy.source] = write_anatomy(derivatives, anatomy, settings)
    result = replace(result, steps=(*person.anatomy_steps.values(), *result.steps))
    said("report")
    section = run_section(result, person.participant, settings)
    record = {
        "CoSpine": derivatives.version,
        "Parameters": settings.parameters(),
        "Steps": [step.record(derivatives.root, derivatives.raw or derivatives.root) for step in result.steps],
    }
    quality = quality_record(section.page, person.anatomies.made, settings)
    _remove_stale(derivatives, run, result)
    derivatives.write_json(derivatives.root / "logs" / f"{run.prefix}_quality.json", quality)
    derivatives.write_json(derivatives.root / "logs" / f"{run.prefix}_steps.json", record)
    listen(Event(person.participant.label, run.label, "", done + part))
    return section


def _remove_stale(derivatives: Derivatives, run: Run, result: RunResult) -> None:
    """Remove what an earlier execution wrote for this run and this one did not: it would pass for a result of these settings.

    Field maps stay: other runs may have been corrected with them.
    """
    record = derivatives.root / "logs" / f"{run.prefix}_steps.json"
    if not record.is_file():
        return
    written = {path for step in result.steps for path in step.outputs}
    for step in read_json(record).get("Steps", []):
        for name in step.get("outputs", []):
            path = derivatives.root / str(name).removeprefix("bids::")
            own = path.parent.name == "func" or path.is_relative_to(derivatives.root / "fsl")
            if str(name).startswith("bids::") and path not in written and own:
                logger.info("%s: %s of an earlier execution removed", run.label, path.name)
                path.unlink(missing_ok=True)
                path.with_name(path.name.partition(".")[0] + ".json").unlink(missing_ok=True)


def _failure(participant: str, what: str, error: Exception) -> Failure:
    """What to tell of an error; one that nobody foresaw keeps its traceback in the log."""
    # for the log file; the terminal hears of it as an event
    logger.info("%s failed: %s", what, error if isinstance(error, CoSpineError) else traceback.format_exc())
    if isinstance(error, CoSpineError):
        return Failure(participant, what, str(error))
    if isinstance(error, OSError):
        return Failure(participant, what, str(CoSpineError(error.strerror or str(error), str(error.filename or ""), _DISK)))
    if isinstance(error, MemoryError):
        return Failure(participant, what, "out of memory. Close other programs, or process fewer volumes on this machine")
    text = f"{type(error).__name__}: {error}. This is a fault of CoSpine: the log has the details, please report them"
    return Failure(participant, what, text)


def _check_output(raw: Path, output_dir: Path) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise CoSpineError("the output is a file", str(output_dir), "name a folder")
    inside = output_dir.resolve().relative_to(raw.resolve()).parts if output_dir.resolve().is_relative_to(raw.resolve()) else None
    if inside is not None and (not inside or inside[0] != "derivatives"):
        raise CoSpineError(
            "the output folder lies in the dataset", str(output_dir), "choose another, for example its derivatives/cospine"
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CoSpineError(f"cannot be made ({error.strerror})", str(output_dir), "choose a folder you may write to") from error


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """All that is logged while a participant is processed, in a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("cospine")
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
