"""Rows of what `cospine run` wrote: quality measures, verdicts, and the files of every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cospine.bids.names import parse_name
from cospine.bids.tables import number, read_json
from cospine.database.schema import Column

_STEPS, _QUALITY = "_steps.json", "_quality.json"
# columns of tables, and keys of the JSON they are from
_ABOUT = {"region": "Region", "meaning": "Description"}
_VERDICT = {"level": "Level", "text": "Text"}
_FINDING = {"severity": "Severity", "code": "Code", "message": "Message"}


@dataclass(frozen=True)
class ProcessedRows:
    """Rows of one folder of derivatives, by table; `measures` in the order in which they are to be columns."""

    rows: dict[str, list[dict[str, Any]]] = field(repr=False)
    columns: tuple[Column, ...] = field(repr=False)
    problems: list[tuple[str, str]] = field(repr=False)


def raw_of(root: Path) -> Path | None:
    """Folder of the raw dataset that derivatives say they come from; None where they say none."""
    try:
        links = read_json(root / "dataset_description.json").get("DatasetLinks")
    except (OSError, ValueError):
        return None
    raw = links.get("raw") if isinstance(links, dict) else None
    return (root / unquote(raw)).resolve() if isinstance(raw, str) and "://" not in raw else None


def processed_rows(root: Path, derivative: str, dataset: str | None, path: str) -> ProcessedRows:
    """Read what was found in every run.

    Parameters
    ----------
    root : Path
        Folder of the derivatives.
    derivative : str
        Its name in the catalogue.
    dataset : str or None
        Identifier of the raw dataset; None where it is not in the catalogue.
    path : str
        Its folder as the catalogue names it.
    """
    problems: list[tuple[str, str]] = []
    rows = {name: list[dict[str, Any]]() for name in ("derivatives", "measures", "quality", "verdicts", "findings", "results")}
    meanings: dict[str, str] = {}
    images: set[str] = set()
    prefixes = _prefixes(root)
    for prefix, named in prefixes.items():
        entities = named or {}
        same = {
            "derivative": derivative,
            "dataset": dataset,
            "participant": f"sub-{entities['sub']}" if "sub" in entities else None,
            "prefix": prefix,
            "session": entities.get("ses"),
            "task": entities.get("task"),
        }
        if steps := _load(root, prefix + _STEPS, problems):
            rows["results"] += _results(root, steps, same, prefix, problems)
        quality = _load(root, prefix + _QUALITY, problems, "is absent: written by an older version; run it again")
        if not quality:
            continue
        of_run = _measures(quality.get("Measures"), prefix, problems)
        anatomy = quality.get("Anatomy")
        of_images = {
            str(image): _measures(found, prefix, problems)
            for image, found in (anatomy.items() if isinstance(anatomy, dict) else ())
        }
        run = entities.get("run")
        rows["measures"] += [{**same, "run": run, **one} for one in of_run]
        for image, found in of_images.items():
            if image not in images:  # every run of the person repeats it
                images.add(image)
                rows["measures"] += [{**same, "prefix": image, "task": None, "run": None, **one} for one in found]
        wide = [*of_run, *next(iter(of_images.values()), [])]
        meanings |= {one["measure"]: one["meaning"] or "" for one in wide if one["measure"] not in meanings}
        about = {"run": run, "cospine_version": quality["CoSpine"] if isinstance(quality.get("CoSpine"), str) else None}
        rows["quality"].append({**{one["measure"]: one["value"] for one in wide}, **same, **about})
        rows["verdicts"] += _lines(quality.get("Verdicts"), "verdict", _VERDICT, same, prefix, problems)
        rows["findings"] += _lines(quality.get("Findings"), "finding", _FINDING, same, prefix, problems)
    rows["derivatives"].append(
        {"derivative": derivative, "dataset": dataset, "path": path, "cospine_version": _version(root), "runs": len(prefixes)}
    )
    return ProcessedRows(rows, tuple(Column(name, "DOUBLE", text) for name, text in meanings.items()), problems)


def written_by_cospine(root: Path) -> bool:
    """Whether `dataset_description.json` says so."""
    return _version(root) is not None


def _version(root: Path) -> str | None:
    try:
        made_by = read_json(root / "dataset_description.json").get("GeneratedBy")
    except (OSError, ValueError):
        return None
    for one in made_by if isinstance(made_by, list) else ():
        if isinstance(one, dict) and one.get("Name") == "CoSpine":
            return str(one.get("Version", ""))
    return None


def _prefixes(root: Path) -> dict[str, Mapping[str, str] | None]:
    """Runs that have a record, in order, each with the parts of its name."""
    found: dict[str, Mapping[str, str] | None] = {}
    folder = root / "logs"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        for ending in (_STEPS, _QUALITY):
            if path.name.endswith(ending):
                prefix = path.name.removesuffix(ending)
                name = parse_name(f"{prefix}_x")
                found[prefix] = None if name is None else name.entities
    return found


def _load(root: Path, file: str, problems: list[tuple[str, str]], absent: str = "is absent") -> dict[str, Any]:
    try:
        return read_json(root / "logs" / file)
    except FileNotFoundError:
        problems.append((f"logs/{file}", absent))
    except (OSError, ValueError) as error:
        problems.append((f"logs/{file}", f"cannot be read: {error}"))
    return {}


def _measures(found: Any, prefix: str, problems: list[tuple[str, str]]) -> list[dict[str, Any]]:
    if not isinstance(found, dict):
        problems.append((f"logs/{prefix}{_QUALITY}", "holds no measures"))
        return []
    rows = []
    for name, one in found.items():
        if not isinstance(one, dict) or "Value" not in one or not name.isidentifier() or not name.islower():
            problems.append((f"logs/{prefix}{_QUALITY}", f"{name!r} is no measure"))
            continue
        texts = {column: value if isinstance(value := one.get(key), str) else None for column, key in _ABOUT.items()}
        rows.append({**texts, "measure": name, "value": number(one["Value"])})
    return rows


def _lines(
    found: Any, what: str, columns: Mapping[str, str], same: Mapping[str, Any], prefix: str, problems: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Rows of a list of objects that hold texts: verdicts, findings."""
    rows = []
    for line, one in enumerate(found if isinstance(found, list) else (), start=1):
        if not isinstance(one, dict) or not all(isinstance(one.get(key), str) for key in columns.values()):
            problems.append((f"logs/{prefix}{_QUALITY}", f"{what} {line} cannot be read"))
            continue
        rows.append({**same, "line": line, **{column: one[key] for column, key in columns.items()}})
    return rows


def _results(
    root: Path, record: Mapping[str, Any], same: Mapping[str, Any], prefix: str, problems: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    steps = record.get("Steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        problems.append((f"logs/{prefix}{_STEPS}", "holds no list of steps"))
        return []
    rows = []
    for step in steps:
        outputs = step.get("outputs")
        for output in _strings(outputs):
            file = output.removeprefix("bids::")
            name = parse_name(file.rpartition("/")[2])
            rows.append(
                {
                    **same,
                    "step": str(step.get("name", "")),
                    "step_version": str(step.get("version", "")),
                    "digest": str(step.get("digest", "")),
                    "file": file,
                    "space": name.entities.get("space") if name else None,
                    "description": name.entities.get("desc") if name else None,
                    "suffix": name.suffix if name else None,
                    "size_bytes": _size(root, file),
                }
            )
    return rows


def _strings(value: Any) -> Sequence[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else ()


def _size(root: Path, file: str) -> int | None:
    path = root / file
    try:
        return path.stat().st_size if path.resolve().is_relative_to(root.resolve()) else None
    except (OSError, ValueError):
        return None
