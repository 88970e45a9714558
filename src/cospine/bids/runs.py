"""Building one run from its files, and saying all that is wanting about it."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cospine.bids.attached import find_events, find_phase, find_physio
from cospine.bids.findings import Report
from cospine.bids.headers import check_orientation, read_header
from cospine.bids.images import ImageHeader, image_header, survey
from cospine.bids.index import Entry, Index
from cospine.bids.model import Run
from cospine.bids.tables import number
from cospine.errors import CoSpineError

MINIMUM_VOLUMES = 10  # fewer give neither a reference nor a temporal standard deviation worth the name
_TR_TOLERANCE = 0.01
_LONGEST_TR_S = 60.0
_LONGEST_READOUT_S = 0.5
_PHASE_ENCODINGS = ("i", "i-", "j", "j-", "k", "k-")
_SAME_TIME_S = 5e-4


def read_run(index: Index, participant: str, entry: Entry) -> Run:
    """Read a run's header, sidecar, events and recordings; the voxel data are left to `verify_run`.

    Parameters
    ----------
    index : Index
        Of the dataset.
    participant : str
        As `sub-01`.
    entry : Entry
        The BOLD image.

    Returns
    -------
    Run
        Also when it cannot be processed: its findings say why.
    """
    say = Report(participant, entry.relative, [])
    header = read_header(index, participant, entry, say.findings)
    sidecar = index.sidecar(entry)
    for file, reason in sidecar.broken:
        say(
            "invalid-json",
            f"cannot be read: {reason}",
            "Mend the file; a JSON checker shows the place.",
            (file,),
        )
    content = sidecar.content
    if not sidecar.files and not sidecar.broken:
        say(
            "no-sidecar",
            "no JSON file applies to it",
            f"Add {_json_name(entry)} with RepetitionTime at least.",
        )
    tr_s = math.nan
    if sidecar.files:
        tr_s = _repetition_time(content, header, sidecar.files, say)
    run = Run(
        participant=participant,
        session=entry.session,
        entities=entry.name.entities,
        bold=index.path(entry.relative),
        sidecar=content,
        shape=header.shape if header else (),
        affine=header.affine if header else np.eye(4),
        volumes=header.volumes if header else 0,
        tr_s=tr_s,
    )
    if header:
        _volumes(run.volumes, header, say)
        check_orientation(header, say)
    if header or entry.relative in index.absent:
        run = _slices(run, sidecar.files, say) if sidecar.files else run
        run = _readout(run, sidecar.files, say) if sidecar.files else run
    _task_name(run, sidecar.files, say)
    events = find_events(index, entry, say)
    physio = find_physio(index, entry, say)
    return replace(run, phase=find_phase(index, entry), events=events, physio=physio, findings=tuple(say.findings))


def verify_run(run: Run, root: Path) -> Run:
    """Read the voxel data of a run to their end: whole, undamaged, finite.

    Returns
    -------
    Run
        With the volumes that can be used, and what was found.
    """
    if not run.shape:
        return run
    say = Report(run.participant, run.bold.relative_to(root).as_posix(), list(run.findings))
    try:
        header = image_header(run.bold)
        result = survey(run.bold, header)
    except CoSpineError as error:
        say("unreadable-image", error.what, error.remedy)
        return replace(run, volumes=0, findings=tuple(say.findings))
    if result.damage:
        say(
            "corrupt-image",
            f"the compressed data are damaged ({result.damage})",
            "Copy the image again from its source; nothing of it is used, because no part can be told to be right.",
        )
        return replace(run, volumes=result.volumes, findings=tuple(say.findings))
    if not result.complete:
        say(
            "truncated-image",
            f"the file ends early: {result.volumes} whole volumes of {header.volumes} are there and used",
            "Copy or convert the image again to have them all.",
        )
        if result.volumes < MINIMUM_VOLUMES and header.volumes >= MINIMUM_VOLUMES:
            _too_few(result.volumes, say)
    if result.non_finite:
        values = max(1, math.prod(header.shape[:3]) * result.volumes)
        say(
            "non-finite-voxels",
            f"{result.non_finite} values are NaN or infinite ({100 * result.non_finite / values:.2g} %); read as 0",
            "Convert the image again without masking by NaN.",
        )
    return replace(run, volumes=result.volumes, findings=tuple(say.findings))


def _json_name(entry: Entry) -> str:
    return entry.file.removesuffix(entry.name.extension) + ".json"


def _repetition_time(content: Mapping[str, Any], header: ImageHeader | None, files: Sequence[str], say: Report) -> float:
    claim = f"the header claims {header.tr_s:g} s" if header and header.tr_s else "the header claims none"
    remedy = "Put RepetitionTime in seconds, from the protocol or the DICOM files, into the sidecar."
    if "RepetitionTime" not in content:
        sparse = "; VolumeTiming (sparse acquisition) is not supported" if "VolumeTiming" in content else ""
        say(
            "missing-repetition-time",
            f"no RepetitionTime ({claim}, which is not trusted){sparse}",
            remedy,
            files,
        )
        return math.nan
    tr_s = number(content["RepetitionTime"])
    if tr_s is None or not 0 < tr_s <= _LONGEST_TR_S:
        looks = ", which looks like milliseconds" if tr_s is not None and tr_s > _LONGEST_TR_S else ""
        message = f"RepetitionTime is {content['RepetitionTime']!r}, no plausible number of seconds{looks} ({claim})"
        say("bad-repetition-time", message, remedy, files)
        return math.nan
    if header and header.tr_s and abs(header.tr_s - tr_s) > _TR_TOLERANCE * tr_s:
        say(
            "repetition-time-differs",
            f"RepetitionTime is {tr_s:g} s in the sidecar, {header.tr_s:g} s in the header; the sidecar is used",
            "Find out which is true and correct the other: every onset depends on it.",
        )
    return tr_s


def _volumes(volumes: int, header: ImageHeader, say: Report) -> None:
    if volumes == 1:
        say(
            "not-4d",
            f"holds one volume ({' × '.join(map(str, header.shape))}), no series",
            "Put the series here; a single volume is an _sbref or an _epi.",
        )
    elif volumes < MINIMUM_VOLUMES:
        _too_few(volumes, say)


def _too_few(volumes: int, say: Report) -> None:
    say(
        "too-few-volumes",
        f"{volumes} volumes; at least {MINIMUM_VOLUMES} are needed",
        "Copy the image again if it should have more; otherwise move it out of the dataset.",
    )


def _slices(run: Run, files: Sequence[str], say: Report) -> Run:
    direction = run.sidecar.get("SliceEncodingDirection", "k")
    if direction not in _PHASE_ENCODINGS:
        direction = "k"
    axis = "ijk".index(direction[0])
    n_slices = run.shape[axis] if run.shape else None  # not known of an image that is not here
    stated = number(run.sidecar.get("MultibandAccelerationFactor"))
    run = replace(run, slice_axis=axis, multiband=int(stated) if stated and stated >= 1 else 1)
    consequence = "; one time a volume is used"
    remedy = "Convert again with a current dcm2niix, or give one time a slice, in seconds."
    if "SliceTiming" not in run.sidecar:
        say("no-slice-timing", "no SliceTiming" + consequence, remedy, files)
        return run
    raw = run.sidecar["SliceTiming"]
    times = [number(value) for value in raw] if isinstance(raw, list) else []
    if not times or any(value is None or value < 0 for value in times):
        say("bad-slice-timing", "SliceTiming is not a list of times from 0 on" + consequence, remedy, files)
        return run
    if n_slices is not None and len(times) != n_slices:
        message = f"SliceTiming has {len(times)} entries for {n_slices} slices{consequence}"
        say("slice-timing-length", message, remedy, files)
        return run
    slice_times = [float(value) for value in times if value is not None]
    latest = max(slice_times)
    if math.isfinite(run.tr_s) and latest > run.tr_s:
        looks = "; they look like milliseconds" if latest / 1000 <= run.tr_s and latest > 10 * run.tr_s else ""
        message = f"SliceTiming reaches {latest:g} s, TR is {run.tr_s:g} s{looks}{consequence}"
        say("slice-timing-beyond-tr", message, remedy, files)
        return run
    if direction.endswith("-"):
        slice_times.reverse()  # BIDS: the list then begins at the last stored slice
    return replace(run, slice_times_s=tuple(slice_times), multiband=multiband_of(slice_times) or run.multiband)


def multiband_of(slice_times: Sequence[float]) -> int | None:
    """Slices that share a time, from slice times (n,) in s; None when all do (3-D) or their number varies."""
    times = np.sort(slice_times)
    groups = np.split(times, np.flatnonzero(np.diff(times) > _SAME_TIME_S) + 1)
    sizes = {len(group) for group in groups}
    return sizes.pop() if len(sizes) == 1 and len(groups) > 1 else None


def _readout(run: Run, files: Sequence[str], say: Report) -> Run:
    direction = run.sidecar.get("PhaseEncodingDirection")
    if direction is not None and direction not in _PHASE_ENCODINGS:
        message = f"PhaseEncodingDirection is {direction!r}, none of {', '.join(_PHASE_ENCODINGS)}; it is ignored"
        say("bad-phase-encoding", message, "Correct the sidecar.", files)
        direction = None
    readout = None
    if "TotalReadoutTime" in run.sidecar:
        readout = number(run.sidecar["TotalReadoutTime"])
        if readout is None or not 0 < readout <= _LONGEST_READOUT_S:
            shown = run.sidecar["TotalReadoutTime"]
            message = f"TotalReadoutTime is {shown!r}, no plausible number of seconds; it is ignored"
            say("bad-readout-time", message, "Correct the sidecar.", files)
            readout = None
    if readout is None and direction and (readout := readout_s({**run.sidecar, "TotalReadoutTime": None}, run.shape)):
        message = f"TotalReadoutTime is absent; {readout:.6g} s = EffectiveEchoSpacing × (lines - 1) is used"
        say("readout-time-computed", message, "Nothing to do, if the image was not interpolated.", files)
    if direction is None or readout is None:
        absent = [name for name, value in (("PhaseEncodingDirection", direction), ("TotalReadoutTime", readout)) if value is None]
        message = f"no usable {' and '.join(absent)}: distortion cannot be corrected"
        say("no-readout-time", message, "Add them from the protocol to have it corrected.", files)
    return replace(run, phase_encoding=direction, total_readout_s=readout)


def readout_s(sidecar: Mapping[str, Any], shape: Sequence[int]) -> float | None:
    """TotalReadoutTime of an image in s, if need be from EffectiveEchoSpacing x (lines - 1); None where neither is plausible."""
    stated = number(sidecar.get("TotalReadoutTime"))
    if stated is not None:
        return stated
    spacing, direction = number(sidecar.get("EffectiveEchoSpacing")), sidecar.get("PhaseEncodingDirection")
    if direction in _PHASE_ENCODINGS and spacing and 0 < spacing < 0.01 and shape:
        return spacing * (shape["ijk".index(direction[0])] - 1)
    return None


def _task_name(run: Run, files: Sequence[str], say: Report) -> None:
    name = run.sidecar.get("TaskName")
    if isinstance(name, str) and re.sub(r"[^a-z0-9]", "", name.lower()) != run.task.lower():
        message = f"TaskName is {name!r}, the file's task {run.task!r}; the file's is used"
        say("task-name-differs", message, "Correct the one that is wrong.", files)
