"""The conversion of one person's session: everything is made aside, then laid in place in one go or not at all."""

import filecmp
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cospine.anatomy.face import Place, face_of, find_face
from cospine.bids import write_bytes, write_json, write_tsv
from cospine.bids.atomic import CHUNK_BYTES, atomic, compressed
from cospine.bids.clock import clock_difference_s, clock_s
from cospine.bids.tables import number as number_of
from cospine.convert import sidecars, tables
from cospine.convert.images import Converted, Converter, convert_item
from cospine.convert.plan import Item
from cospine.convert.prepare import Prepared, run_name
from cospine.convert.recordings import assign
from cospine.errors import CoSpineError
from cospine.physio.alignment import Session
from cospine.physio.written import bids_columns, bids_sidecar
from cospine.space.grid import Grid

_LOG = logging.getLogger(__name__)

_CLOCK_TOLERANCE_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """What a conversion did.

    Parameters
    ----------
    written, unchanged : tuple of str
        Files relative to the dataset's root: new or replaced ones, and those that were there with the same bytes.
    others : tuple of str
        Files of the session that this conversion does not make.
    notes : tuple of str
        What people should know.
    """

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]


class ConversionFailed(CoSpineError):
    """Some series could not be converted; nothing was written.

    Parameters
    ----------
    errors : sequence of CoSpineError
        One for each.
    existing : bool
        Whether what speaks against it are files that are there already.
    """

    def __init__(self, errors: Sequence[CoSpineError], existing: bool = False) -> None:
        self.errors = tuple(errors)
        self.existing = existing
        super().__init__("; ".join(str(one) for one in errors), "", "Nothing was written")


def convert(prepared: Prepared, *, force: bool, said: Callable[[str], None] = lambda _: None) -> Outcome:
    """Convert a session.

    Parameters
    ----------
    prepared : Prepared
        Without errors.
    force : bool
        Whether files that are there with other content are replaced.
    said : callable
        Told of each step.

    Returns
    -------
    Outcome

    Raises
    ------
    ConversionFailed
        When a series cannot be converted, or a file is there with other content and `force` is not set. The dataset is then as
        it was.
    CoSpineError
        When the dataset's folder cannot be written, or a table in it cannot be read.
    """
    root = prepared.request.bids_dir
    made_root = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".cospine-convert-", dir=root))
    except OSError as error:
        raise CoSpineError(f"cannot be written ({error.strerror or error})", str(root), "Name another folder") from error
    try:
        staged = aside / "bids"
        notes = _make(prepared, aside / "work", staged, said)
        outcome = _install(prepared, staged, force, notes)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if made_root and not any(root.iterdir()):
            root.rmdir()
    return outcome


# --- making ---------------------------------------------------------------------------------------------------------


def _make(prepared: Prepared, work: Path, staged: Path, said: Callable[[str], None]) -> list[str]:
    """All files of the session, in a tree of their own; returns notes."""
    notes: list[str] = list(prepared.plan.notes)
    images = _images(prepared, work, said)
    contents: dict[str, dict[str, Any]] = {}
    for item, one in images:
        contents[one.target.stem], found = sidecars.tidy(one, item.rule.sidecar)
        notes += found
    errors = _phase_differences(prepared, contents)
    errors += [
        CoSpineError("holds one volume, no series", one.target.image, "Skip it in the mapping; the run was broken off")
        for _, one in images
        if one.target.suffix == "bold" and len(one.shape) < 4
    ]
    errors += [
        CoSpineError("its RepetitionTime is not known", one.target.image, "Add RepetitionTime (s) to its rule (`sidecar`)")
        for _, one in images
        if one.target.suffix == "bold" and not number_of(contents[one.target.stem].get("RepetitionTime"))
    ]
    if errors:
        raise ConversionFailed(errors)
    for _, one in images:
        sidecars.link(contents[one.target.stem], one.target, prepared.plan.fields)
    notes += _pairs(prepared, images, contents)
    notes += _write_images(prepared, images, contents, staged, said)
    said("recordings and events")
    notes += _write_recordings(prepared, images, contents, staged)
    notes += _write_events(prepared, images, contents, staged)
    _write_tables(prepared, images, contents, staged)
    return notes


def _images(prepared: Prepared, work: Path, said: Callable[[str], None]) -> list[tuple[Item, Converted]]:
    converter = prepared.converter
    assert isinstance(converter, Converter)
    images: list[tuple[Item, Converted]] = []
    errors = []
    for number, item in enumerate(prepared.plan.items):
        said(item.series.label)
        try:
            images += [(item, one) for one in convert_item(item, converter, work / f"{number:04d}")]
        except CoSpineError as error:
            errors.append(error)
    if errors:
        raise ConversionFailed(errors)
    return images


def _phase_differences(prepared: Prepared, contents: Mapping[str, dict[str, Any]]) -> list[CoSpineError]:
    errors = []
    for one in prepared.plan.fields:
        targets = [target for item in one.items for target in item.targets]
        magnitudes = sorted(
            float(contents[target.stem].get("EchoTime") or 0)
            for target in targets
            if target.suffix in ("magnitude1", "magnitude2")
        )
        for target in targets:
            if target.suffix == "phasediff":
                wrong = sidecars.phase_difference(contents[target.stem], tuple(magnitudes))
                if wrong:
                    remedy = (
                        "Give EchoTime1 and EchoTime2 in the mapping (sidecar), or look whether it is a phase difference at all"
                    )
                    errors.append(CoSpineError(wrong, target.image, remedy))
    return errors


def _pairs(prepared: Prepared, images: Sequence[tuple[Item, Converted]], contents: Mapping[str, dict[str, Any]]) -> list[str]:
    made = {one.target.stem: one for _, one in images}
    notes = []
    for one in prepared.plan.fields:
        members = {
            target.image: (contents[target.stem], nib.orientations.aff2axcodes(_affine(made[target.stem].nifti)))
            for item in one.items
            for target in item.targets
            if target.suffix == "epi"
        }
        if members:
            run = next((contents[target.stem] for target in one.runs), None)
            notes += sidecars.check_pair(members, run)
    return notes


def _affine(path: Path) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(path).affine, dtype=np.float64)


# --- images ---------------------------------------------------------------------------------------------------------


def _write_images(
    prepared: Prepared,
    images: Sequence[tuple[Item, Converted]],
    contents: Mapping[str, dict[str, Any]],
    staged: Path,
    said: Callable[[str], None],
) -> list[str]:
    notes: list[str] = []
    if prepared.request.deface:
        _deface(images, contents, said)
    for _, one in images:
        target = one.target
        said(target.image)
        _pack(one.nifti, staged / target.image)
        write_json(staged / f"{target.stem}.json", contents[target.stem])
        if target.suffix == "dwi":
            for table in one.diffusion:
                write_bytes(staged / f"{target.stem}{table.suffix}", table.read_bytes())
    if not prepared.request.deface and any(one.target.datatype == "anat" for _, one in images):
        notes.append("Anatomical images keep their faces, as asked for (--no-deface)")
    return notes


def _deface(
    images: Sequence[tuple[Item, Converted]], contents: Mapping[str, dict[str, Any]], said: Callable[[str], None]
) -> None:
    """Take the face out of each T1w, and where it is in the first of them out of the other anatomical images."""
    anatomical = [one for _, one in images if one.target.datatype == "anat"]
    places: list[Place] = []
    errors = []
    remedy = "Look at the image; where no face is in it, or you take it out otherwise, give --no-deface"
    for one in sorted(anatomical, key=lambda image: image.target.suffix != "T1w"):
        said(f"{one.target.image}: face")
        if one.target.suffix == "T1w":
            values = nib.Nifti1Image.from_filename(one.nifti).get_fdata(dtype=np.float32)
            face = find_face(np.asarray(values), _grid(one))
            mask, reason = face.mask, face.reason
            places += [face.place] if face.place is not None else []
        else:
            mask = face_of(places[0], _grid(one)) if places else None
            reason = "" if places else "it is sought in a T1w, and there is none in this session"
        if mask is None or reason:
            errors.append(CoSpineError(f"its face could not be found: {reason}", one.target.image, remedy))
            continue
        _blank(one, mask)
        contents[one.target.stem]["Defaced"] = True
    if errors:
        raise ConversionFailed(errors)


def _grid(one: Converted) -> Grid:
    return Grid((one.shape[0], one.shape[1], one.shape[2]), _affine(one.nifti))


def _blank(one: Converted, mask: np.ndarray) -> None:
    """Set voxels to 0 in the file itself; all other bytes stay."""
    # the header as nibabel hands it out has forgotten where the voxels begin and how they are scaled
    stored_as: Any = nib.Nifti1Image.from_filename(one.nifti).dataobj
    zero = -float(stored_as.inter) / float(stored_as.slope)
    stored = np.memmap(one.nifti, stored_as.dtype, "r+", int(stored_as.offset), one.shape, order="F")
    if stored.dtype.kind in "iu":
        limits = np.iinfo(stored.dtype)
        zero = int(np.clip(round(zero), limits.min, limits.max))
    stored[mask] = zero
    stored.flush()
    del stored


def _pack(nifti: Path, target: Path) -> None:
    """Compress with the same bytes each time."""
    with atomic(target) as stream, compressed(stream, target, nifti.stat().st_size, None) as out, open(nifti, "rb") as source:
        while block := source.read(CHUNK_BYTES):
            out.write(block)


# --- what goes with the runs ----------------------------------------------------------------------------------------


def _sessions(
    images: Sequence[tuple[Item, Converted]], contents: Mapping[str, dict[str, Any]], notes: list[str]
) -> dict[str, tuple[Session, str]]:
    """Each run as alignment sees it, and the path that its files begin with; of several echoes the first counts."""
    sessions: dict[str, tuple[Session, str]] = {}
    for item, one in images:
        if one.target.suffix != "bold" or one.target is not item.targets[0] or one.target.entities.get("part") == "phase":
            continue
        content = contents[one.target.stem]
        at = clock_s(content.get("AcquisitionTime"))
        if at is None:
            at = item.series.start_s
        elif item.series.start_s is not None and abs(clock_difference_s(at, item.series.start_s)) > _CLOCK_TOLERANCE_S:
            earliest = sidecars.clock_text(item.series.start_s)
            notes.append(
                f"{one.target.image}: AcquisitionTime is {content['AcquisitionTime']}, the earliest file says {earliest}"
            )
        name = run_name(one.target)
        prefix = one.target.prefix.replace("_echo-1", "").replace("_part-mag", "")
        sessions[name] = (Session(name, one.shape[3], float(content["RepetitionTime"]), at), prefix)
    return sessions


def _write_recordings(
    prepared: Prepared, images: Sequence[tuple[Item, Converted]], contents: Mapping[str, dict[str, Any]], staged: Path
) -> list[str]:
    notes: list[str] = []
    sessions = _sessions(images, contents, notes)
    channels, found = assign(prepared.recordings, {name: session for name, (session, _) in sessions.items()})
    for name, its in channels.items():
        for channel in its:
            stem = f"{sessions[name][1]}_recording-{channel.label}_physio"
            write_tsv(staged / f"{stem}.tsv.gz", bids_columns(channel.placed.recording))
            write_json(staged / f"{stem}.json", bids_sidecar(channel.placed.recording))
    return notes + found


def _write_events(
    prepared: Prepared, images: Sequence[tuple[Item, Converted]], contents: Mapping[str, dict[str, Any]], staged: Path
) -> list[str]:
    notes: list[str] = []
    for name, (session, prefix) in _sessions(images, contents, []).items():
        if name not in prepared.events:
            if "rest" not in name:
                notes.append(f"{name}: no log of the task, no events")
            continue
        path, events = prepared.events[name]
        write_tsv(staged / f"{prefix}_events.tsv", events.columns, events.describe)
        if beyond := events.beyond(session.duration_s):
            total = len(events.columns["onset"])
            notes.append(
                f"{name}: {beyond} of {total} events of {path.name} begin after the run's end ({session.duration_s:g} s)"
            )
    return notes


def _write_tables(
    prepared: Prepared, images: Sequence[tuple[Item, Converted]], contents: Mapping[str, dict[str, Any]], staged: Path
) -> None:
    request = prepared.request
    root, participant = request.bids_dir, f"sub-{request.participant}"
    header = prepared.plan.items[0].series.header if prepared.plan.items else {}
    tables.write_participants(root / "participants.tsv", staged / "participants.tsv", participant, tables.person(header))
    version = "" if prepared.converter is None else prepared.converter.version
    tables.write_description(root, staged, prepared.mapping.dataset, version)
    if request.scans and images:
        folder = f"{participant}/" + (f"ses-{request.session}/" if request.session else "")
        stem = folder.replace("/", "_") + "scans"
        rows = sorted(
            (one.target.image.removeprefix(folder), clock_s(contents[one.target.stem].get("AcquisitionTime")))
            for _, one in images
        )
        tables.write_scans(staged / folder / f"{stem}.tsv", rows)


def _blocked(root: Path, name: str) -> CoSpineError | None:
    """What keeps a new file from its place, found before any is moved there."""
    place = root / name
    if place.is_dir():
        return CoSpineError("is a folder, and a file is to be written there", str(place), "Move it away")
    folder = next(one for one in place.parents if os.path.lexists(one))
    if not folder.is_dir():
        return CoSpineError("is a file, and a folder is needed there", str(folder), "Move it away")
    if not os.access(folder, os.W_OK | os.X_OK):
        return CoSpineError("cannot be written to", str(folder), "Change its permissions, or convert into another folder")
    return None


# --- laying in place ------------------------------------------------------------------------------------------------


def _install(prepared: Prepared, staged: Path, force: bool, notes: Sequence[str]) -> Outcome:
    """Move new files to their places: images and tables of the person first, what the dataset shares last."""
    root = prepared.request.bids_dir
    files = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
    same = [name for name in files if (root / name).is_file() and filecmp.cmp(staged / name, root / name, shallow=False)]
    new = [name for name in files if name not in set(same)]
    shared = {"participants.tsv"}  # a row is added
    taken = [name for name in new if os.path.lexists(root / name) and name not in shared]
    if taken and not force:
        remedy = "Give --force to replace it, or convert into another folder"
        raise ConversionFailed(
            [CoSpineError("is there with other content", str(root / name), remedy) for name in taken], existing=True
        )
    blocked = [error for name in new if (error := _blocked(root, name)) is not None]
    if blocked:
        raise ConversionFailed(blocked, existing=True)
    for name in sorted(new, key=lambda name: ("/" not in name, name == "participants.tsv", name)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / name, root / name)
    folder = root / f"sub-{prepared.request.participant}"
    if prepared.request.session:
        folder /= f"ses-{prepared.request.session}"
    there = sorted(path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file())
    others = tuple(name for name in there if name not in set(files) and not name.endswith(("_scans.tsv", "_scans.json")))
    return Outcome(tuple(new), tuple(same), others, tuple(dict.fromkeys(notes)))
