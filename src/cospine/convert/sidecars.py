"""Sidecars: what dcm2niix wrote, freed of what is no one's business or not true, with what BIDS wants added."""

import re
from collections.abc import Mapping
from typing import Any

from cospine.bids.clock import clock_s
from cospine.bids.tables import number
from cospine.convert.images import Converted
from cospine.convert.plan import FieldSet, Target

_PERSONAL = re.compile(
    r"^(Patient(?!Position)|.*UID$|AcquisitionDateTime$|.*BirthDate|AccessionNumber|StudyID|StudyDescription|"
    r"ProcedureStepDescription|.*Physician)"
)
_GUESSED = frozenset({"BidsGuess", "InstitutionalDepartmentName"})
_READOUT = ("TotalReadoutTime", "EffectiveEchoSpacing", "EstimatedTotalReadoutTime", "EstimatedEffectiveEchoSpacing")
_AXIS = {"R": "LR", "L": "RL", "A": "PA", "P": "AP", "S": "IS", "I": "SI"}  # toward: how `dir-` names it


def tidy(converted: Converted, extra: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The sidecar of an image without its links.

    Parameters
    ----------
    converted : Converted
        Image with dcm2niix's sidecar.
    extra : mapping
        What the mapping adds or replaces.

    Returns
    -------
    sidecar : dict
    notes : list of str
        What was taken out because it cannot be true, what is missing, what dcm2niix warned of.
    """
    target = converted.target
    content = {key: value for key, value in converted.sidecar.items() if key not in _GUESSED and not _PERSONAL.match(key)}
    if (at := clock_s(content.get("AcquisitionTime"))) is not None:
        content["AcquisitionTime"] = clock_text(at)  # 12:09:5.2 is what some versions write for 12:09:05.2
    notes = [f"{target.image}: dcm2niix: {text.partition(':')[2].strip() or text}" for text in converted.warnings]
    epi = "EP" in str(content.get("ScanningSequence", "")) or target.suffix in ("bold", "sbref", "epi", "dwi")
    if not epi:
        for key in _READOUT:
            if content.pop(key, None) is not None:
                notes.append(f"{target.image}: {key} taken out: there is no echo train in it")
    if target.suffix == "bold":
        content["TaskName"] = target.entities["task"]
    content.update(extra)
    if target.datatype == "func":
        notes += _check_slices(content, converted)
    if epi and target.suffix != "sbref":
        notes += _check_encoding(content, target)
    return content, notes


def clock_text(at_s: float) -> str:
    """HH:MM:SS.ffffff of seconds since midnight."""
    micro = round(at_s * 1e6)
    seconds, micro = divmod(micro, 1_000_000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{micro:06d}"


def link(sidecar: dict[str, Any], target: Target, fields: tuple[FieldSet, ...]) -> None:
    """Write B0FieldIdentifier and IntendedFor into images of a field map, B0FieldSource into what they are for."""
    for one in fields:
        if target.datatype == "fmap" and any(target is member for item in one.items for member in item.targets):
            sidecar["B0FieldIdentifier"] = one.identifier
            if one.runs:
                sidecar["IntendedFor"] = [f"bids::{run.image}" for run in one.runs]
    sources = [one.identifier for one in fields if any(target is run for run in one.runs)]
    if sources:
        sidecar["B0FieldSource"] = sources[0] if len(sources) == 1 else sources


def phase_difference(sidecar: dict[str, Any], magnitudes_s: tuple[float, ...]) -> str | None:
    """Give a phase difference its two echo times, from its magnitudes where dcm2niix does not know them.

    Returns
    -------
    str or None
        What is wrong, if anything.
    """
    said = tuple(number(sidecar.get(key)) for key in ("EchoTime1", "EchoTime2"))
    if None in said:
        if len(magnitudes_s) != 2:
            return "EchoTime1 and EchoTime2 are not known: the header does not say, and its magnitudes have not two echoes"
        sidecar["EchoTime1"], sidecar["EchoTime2"] = magnitudes_s
    elif len(magnitudes_s) == 2 and any(abs(float(a or 0) - b) > 2e-5 for a, b in zip(said, magnitudes_s, strict=True)):
        return f"its echo times {said[0]:g} and {said[1]:g} s are not those of its magnitudes ({magnitudes_s})"
    return None


def _check_slices(content: dict[str, Any], converted: Converted) -> list[str]:
    """Slice times must be as many as slices and lie within TR; else they are worse than none."""
    image = converted.target.image
    times, tr_s = content.get("SliceTiming"), number(content.get("RepetitionTime"))
    if times is None:
        return [f"{image}: has no SliceTiming; the header does not say it. Add it to the mapping (sidecar) if you know it"]
    values = [number(one) for one in times] if isinstance(times, list) else []
    wrong = ""
    if len(values) != converted.shape[2]:
        wrong = f"{len(values)} entries for {converted.shape[2]} slices"
    elif None in values or min(float(one or 0) for one in values) < 0:
        wrong = "not all are times"
    elif tr_s is not None and max(float(one or 0) for one in values) >= tr_s:
        wrong = f"they reach {max(float(one or 0) for one in values):g} s, TR is {tr_s:g} s"
    elif len(set(values)) == 1 and len(values) > 1:
        wrong = "all slices have the same"
    if wrong:
        del content["SliceTiming"]
        return [f"{image}: SliceTiming taken out: {wrong}"]
    counts = {values.count(one) for one in set(values)}
    band = next(iter(counts)) if len(counts) == 1 else 0
    claimed = number(content.get("MultibandAccelerationFactor"))
    if claimed is not None and claimed > 1 and band != claimed:
        return [f"{image}: MultibandAccelerationFactor is {claimed:g}, the slice times repeat {band or 'unevenly'}"]
    if claimed is None and band > 1:
        content["MultibandAccelerationFactor"] = band
    return []


def _check_encoding(content: Mapping[str, Any], target: Target) -> list[str]:
    lacking = [key for key in ("PhaseEncodingDirection", "TotalReadoutTime") if key not in content]
    if not lacking:
        return []
    hint = ""
    if "PhaseEncodingAxis" in content:
        hint += f"; the axis is {content['PhaseEncodingAxis']}, its sign is not in the header"
    if "EstimatedTotalReadoutTime" in content:
        hint += f"; dcm2niix estimates {content['EstimatedTotalReadoutTime']:g} s"
    return [f"{target.image}: {' and '.join(lacking)} not known{hint}. Add it to the mapping (sidecar): distortion needs it"]


def direction_of(phase_encoding: str, axis_codes: tuple[str, str, str]) -> str:
    """What `dir-` would call a PhaseEncodingDirection: `AP` for one that goes from anterior to posterior.

    Parameters
    ----------
    phase_encoding : str
        `i`, `j-` ..
    axis_codes : tuple of str
        Where the voxel axes of the image go, as ('L', 'A', 'S').
    """
    code = axis_codes["ijk".index(phase_encoding[0])]
    named = _AXIS[code]
    return named[::-1] if phase_encoding.endswith("-") else named


def check_pair(members: Mapping[str, tuple[Mapping[str, Any], tuple[str, str, str]]], run: Mapping[str, Any] | None) -> list[str]:
    """What a pair of reversed phase encoding, and the run it is for, contradict each other in.

    Parameters
    ----------
    members : mapping of str to (sidecar, axis codes)
        By image path, whose `dir-` is compared.
    run : mapping or None
        Sidecar of a run that it serves.
    """
    notes = []
    directions = {}
    for image, (sidecar, codes) in members.items():
        encoding = str(sidecar.get("PhaseEncodingDirection", ""))
        if not encoding:
            continue
        directions[image] = encoding
        named = re.search(r"_dir-([a-zA-Z0-9]+)", image)
        meant = direction_of(encoding, codes)
        if named and named[1].upper() in ("AP", "PA", "LR", "RL", "IS", "SI") and named[1].upper() != meant:
            notes.append(f"{image}: is named {named[1]}, but its PhaseEncodingDirection {encoding} runs {meant}")
    if len(directions) > 1 and len(set(directions.values())) == 1:
        notes.append(
            f"{' and '.join(directions)}: have the same phase encoding ({next(iter(directions.values()))}), no field follows"
        )
    shims = {image: sidecar.get("ShimSetting") for image, (sidecar, _) in members.items()}
    if len({str(value) for value in shims.values()}) > 1:
        notes.append(f"{' and '.join(members)}: differ in ShimSetting; the scanner shimmed again between them")
    elif run is not None and run.get("ShimSetting") not in (None, next(iter(shims.values()))):
        notes.append(f"{' and '.join(members)}: ShimSetting differs from that of the run they are for")
    return notes
