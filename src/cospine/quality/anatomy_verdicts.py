"""The anatomy in plain words: masks, levels, templates and alignments, each with its number."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.levels import disc_name, segment_name, vertebra_name
from cospine.quality.mosaic import DOUBTFUL
from cospine.quality.report import Level, Number, Verdict

MANY_DOUBTFUL = 0.25
"""Share of doubtful slices from which a cord mask is in doubt as a whole."""

LEAST_DISC = 0.5
"""Confidence of a disc below which the levels deserve a look."""

LEAST_BRAIN_DICE, LEAST_CORD_DICE = 0.90, 0.80
"""Dice with the template from which brain and cord fit: two masks of one brain by different software agree to about 0.95."""

LEAST_JACOBIAN = 0.1
"""Local volume below which a map to a template has squeezed tissue to almost nothing."""

LARGEST_CORD_MM, LARGEST_CONTOUR_MM, LARGEST_JOIN_MM = 0.75, 2.0, 3.0
"""Median distance of the cords, of the brains' edges, and of the two maps at the join, from which to look closer."""


def mask_verdict(
    confidence: NDArray[np.floating], held: NDArray[np.bool_], where: str, axis: str, given: bool = False
) -> Verdict:
    """How far a cord mask is to be believed.

    Parameters
    ----------
    confidence : (slices,) array
        Of each stored slice, 0-1.
    held : (slices,) bool array
        Slices that hold some of the mask.
    where : str
        The image.
    axis : str
        Letter of the stored axis, `i`, `j` or `k`.
    given : bool
        Whether the user gave the mask.
    """
    count = int(np.count_nonzero(held))
    if given:
        return Verdict("good", f"The cord mask of the {where} was given; it holds {count} slices.")
    doubtful = np.flatnonzero(held & (confidence < DOUBTFUL))
    typical = float(np.median(confidence[held])) if count else 0.0
    text = f"The cord was found in {count} slices of the {where}, median confidence {typical:.2f}"
    if len(doubtful) == 0:
        return Verdict("good", f"{text}, none below {DOUBTFUL:g}.")
    level: Level = "bad" if len(doubtful) > MANY_DOUBTFUL * count else "look"
    share = 100 * len(doubtful) / count
    return Verdict(
        level, f"{text}; {len(doubtful)} ({share:.0f} %) are below {DOUBTFUL:g}, look at them: {axis} {ranges(doubtful)}."
    )


def levels_verdict(confidence: Mapping[int, float], method: str, reason: str, given: bool = False) -> Verdict:
    """Which discs are named, by what, and how surely.

    Parameters
    ----------
    confidence : mapping of int to float
        Of each disc (1 = top of C1, 3 = C2-C3), 0-1.
    method, reason : str
        How they were found, and what is in doubt.
    given : bool
        Whether the user gave discs.
    """
    if not confidence:
        return Verdict("bad", f"No vertebral level is named: {reason or method}.")
    first, last = min(confidence), max(confidence)
    weakest = min(confidence, key=lambda number: confidence[number])
    text = (
        f"Vertebral levels are named from {disc_name(first)} to {disc_name(last)}{', by given discs' if given else ''} "
        f"({method}); the least sure is {disc_name(weakest)} with a confidence of {confidence[weakest]:.2f}"
    )
    if reason:
        return Verdict("look", f"{text}. In doubt: {reason}.")
    # the top of C1 shows in hardly any picture: it is extrapolated and expected to be unsure
    unsure = [disc_name(number) for number, sure in sorted(confidence.items()) if sure < LEAST_DISC and number > 2]
    if unsure:
        return Verdict("look", f"{text}; below {LEAST_DISC:g}: {', '.join(unsure)}.")
    return Verdict("good", f"{text}.")


def template_verdict(name: str, source: str) -> Verdict:
    """Which cord template was used."""
    if name == "PAM50":
        return Verdict("good", f"Cord template: PAM50 ({source.rstrip('.')}).")
    return Verdict(
        "look",
        f"Cord template: NOT PAM50 itself but {name} ({source.rstrip('.')}). Places, discs and levels agree with PAM50's; its "
        "outline of grey matter is coarser. Name a folder that holds PAM50 with --template-dir.",
    )


def brain_template_verdict(space: str, dice: float, jacobian_min: float) -> Verdict:
    """How the brain fits its template.

    Parameters
    ----------
    space : str
        The template's name.
    dice : float
        Of the brain mask, brought there, with the template's.
    jacobian_min : float
        Smallest local volume of the warp.
    """
    text = f"The brain was brought to {space}: Dice of the masks {dice:.3f}, smallest Jacobian {jacobian_min:.2f}"
    if jacobian_min <= 0:
        return Verdict("bad", f"{text}: the map folds, do not use it.".replace("-", "−"))
    if dice < LEAST_BRAIN_DICE:
        return Verdict("bad", f"{text}: the two do not lie on each other; look at the brain mask and at the figure.")
    if jacobian_min < LEAST_JACOBIAN:
        return Verdict("look", f"{text}: somewhere tissue is squeezed to almost nothing.")
    return Verdict("good", f"{text}.")


def cord_template_verdict(
    dice: NDArray[np.floating], jacobian_min: float, round_trip_mm: float, covered: Sequence[int], discs: int
) -> Verdict:
    """How the cord fits its template.

    Parameters
    ----------
    dice : (n,) array
        Of each slice of the template, NaN where the cord was not seen.
    jacobian_min : float
        Smallest local volume of the map.
    round_trip_mm : float
        Farthest that there and back leads.
    covered : sequence of int
        Vertebral levels that the person's cord covers.
    discs : int
        How many discs fixed the heights.
    """
    seen = dice[np.isfinite(dice)]
    typical, low = (float(np.median(seen)), float(np.percentile(seen, 5))) if seen.size else (0.0, 0.0)
    text = (
        f"The cord was brought to PAM50 by {discs} discs: Dice {typical:.2f} (median over slices, {low:.2f} in the worst "
        f"twentieth), smallest Jacobian {jacobian_min:.2f}, there and back to {round_trip_mm:.2f} mm. "
        f"Vertebral levels covered: {names(covered, vertebra_name)}"
    )
    if jacobian_min <= 0:
        return Verdict("bad", f"{text}. The map folds, do not use it.")
    if typical < LEAST_CORD_DICE:
        return Verdict("look", f"{text}. The cords do not lie on each other; look at the mask.")
    return Verdict("good", f"{text}.")


def join_verdict(disagreement_mm: NDArray[np.floating]) -> Verdict:
    """By how much the maps of brain and cord disagree where they meet."""
    largest = float(np.max(disagreement_mm))
    text = f"Where brain and cord meet, below the foramen magnum, their two maps differ by up to {largest:.1f} mm"
    if largest > LARGEST_JOIN_MM:
        return Verdict("look", f"{text}: one of the two, or the count of levels, may be wrong.")
    return Verdict("good", f"{text}.")


def alignment_verdicts(
    suffix: str,
    regions: Sequence[str],
    *,
    contour_mm: tuple[float, float],
    correlation: tuple[float, float],
    cord_mm: tuple[float, float] | None,
    jacobian_min: float,
    reason: str = "",
) -> tuple[Verdict, ...]:
    """How the functional image lies on the anatomical one.

    Parameters
    ----------
    suffix : str
        What the anatomical image is.
    regions : sequence of str
        What was aligned.
    contour_mm : (before, after)
        Median distance of the brains' edges.
    correlation : (before, after)
        Local correlation inside of the brain.
    cord_mm : (before, after), optional
        Median offset of the cords in-plane, by the head alone and by all.
    jacobian_min : float
        Smallest local volume of the map.
    reason : str
        What could not be aligned.
    """
    lines = []
    if "brain" in regions:
        text = f"The brain was aligned to the {suffix}"
        if np.isfinite(contour_mm[1]):
            text += f": its edge lies {contour_mm[1]:.1f} mm away (median; {contour_mm[0]:.1f} mm as scanned)"
        text += f"; local correlation {correlation[0]:.2f} before, {correlation[1]:.2f} after"
        # an edge that could not be measured is no reason for trust
        worse = not contour_mm[1] <= LARGEST_CONTOUR_MM or correlation[1] < correlation[0]
        lines.append(Verdict("look" if worse else "good", f"{text}{'; look at the figure' if worse else ''}."))
    if cord_mm is not None:
        text = (
            f"The cord was aligned to that of the {suffix} slice by slice: {cord_mm[1]:.2f} mm apart in plane (median), "
            f"{cord_mm[0]:.2f} mm by the head's alignment alone"
        )
        worse = cord_mm[1] > LARGEST_CORD_MM
        lines.append(Verdict("look" if worse else "good", f"{text}{'; look at the figure' if worse else ''}."))
    if jacobian_min < 0.5:
        folds = jacobian_min <= 0
        lines.append(
            Verdict("bad" if folds else "look", f"The map to the {suffix} {'folds' if folds else 'bends strongly'}: smallest "
                    f"Jacobian {jacobian_min:.2f}.".replace("-", "−"))
        )  # fmt: skip
    if reason:
        lines.append(Verdict("look", f"Alignment to the {suffix}: {reason}."))
    return tuple(lines)


def coverage_verdict(space: str, share: float, vertebral: Sequence[int] = (), spinal: Sequence[int] = ()) -> Verdict:
    """How much of a template a run's series holds.

    Parameters
    ----------
    space : str
        The template's space.
    share : float
        Of the template's brain or cord that lies in the field of view.
    vertebral, spinal : sequence of int
        Levels that are wholly or partly in it; for the cord.
    """
    text = f"The series in {space} holds {100 * share:.0f} % of the template's {'cord' if len(vertebral) else 'brain'}"
    if len(vertebral):
        text += f": vertebral levels {names(vertebral, vertebra_name)}, spinal segments {names(spinal, segment_name)}"
    return Verdict("good" if share > 0.5 else "look", f"{text}. What lies outside is 0, not measured.")


def alignment_numbers(
    contour_mm: tuple[float, float] | None,
    cord_mm: tuple[float, float] | None,
    suffix: str,
    moved: tuple[float, float] | None = None,
) -> tuple[Number, ...]:
    """Headline numbers of the alignment, from what :func:`alignment_verdicts` takes and how far (mm, degrees) the head moved."""
    numbers = []
    if moved is not None:
        exact = {"anatomy_to_run_mm": moved[0], "anatomy_to_run_deg": moved[1]}
        text = f"{moved[0]:.1f} mm, {moved[1]:.1f}°"
        numbers.append(Number(f"Head between {suffix} and run", text, region="brain", exact=exact))
    if contour_mm is not None:
        exact = {"brain_edge_before_mm": contour_mm[0], "brain_edge_after_mm": contour_mm[1]}
        label = f"Brain's edge to {suffix}, median"
        numbers.append(Number(label, f"{contour_mm[1]:.1f}", "mm", f"{contour_mm[0]:.1f}", "brain", exact))
    if cord_mm is not None:
        exact = {"cord_to_anatomy_before_mm": cord_mm[0], "cord_to_anatomy_after_mm": cord_mm[1]}
        numbers.append(Number(f"Cord to {suffix}'s, median", f"{cord_mm[1]:.2f}", "mm", f"{cord_mm[0]:.2f}", "cord", exact))
    return tuple(numbers)


def ranges(numbers: Sequence[int] | NDArray[np.integer]) -> str:
    """Numbers with runs drawn together: `3-7, 12`."""
    ordered = sorted(int(n) for n in numbers)
    runs: list[list[int]] = []
    for n in ordered:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)


def names(levels: Sequence[int], name: Callable[[int], str]) -> str:
    """Names of levels, a run by its ends: `C1 to C7`."""
    parts = []
    for part in ranges(levels).split(", ") if len(levels) else []:
        parts.append(" to ".join(name(int(number)) for number in part.split("–")))
    return ", ".join(parts) or "none"
