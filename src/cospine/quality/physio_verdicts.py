"""Pulse, breathing and the noise model in plain words: one line a question, each with its number."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cospine.physio.peaks import Peaks
from cospine.physio.physiology import Channel
from cospine.physio.recording import Recording
from cospine.quality.confound_figures import INFLATED
from cospine.quality.figure import signed
from cospine.quality.noise_figures import BEYOND_CHANCE, NOMINAL
from cospine.quality.physio_figures import LONGEST_S, set_words
from cospine.quality.report import Level, Number, Verdict
from cospine.signal.partial import PartialTests, SetTest, degrees_of_freedom_warning
from cospine.signal.simultaneous import SharedSignal
from cospine.stats.collinearity import NEAR_TASK_HZ, Aliased, Collinearity

USUAL_PER_MIN = {"cardiac": (40.0, 120.0), "respiratory": (6.0, 30.0)}
"""Rates of people lying still; beyond them the detection deserves a look."""

MANY_MENDED, MOSTLY_MENDED = 0.1, 0.3
"""Share of peaks that were put in or moved from which a channel deserves a look, and from which it should not be trusted."""

SOME_UNUSABLE, MOSTLY_UNUSABLE = 0.2, 0.5
"""The same of the time without usable signal."""

WHOLE_RUN = 0.95
"""Share of a run from which it counts as covered."""

WORTH_NAMING = 0.005
"""Adjusted R² from which a set is named."""

GOES_WITH_TASK = 0.2
"""R² on the task, beyond chance, from which a set deserves a look."""


_SAID = (
    "No cardiac recording.",
    "No respiratory recording.",
    "There is no recording of pulse or breathing.",
    "Recordings of pulse and breathing were ignored, as asked for.",
)
"""Notes of alignment whose content is in a line of its own, which says what follows from it."""

_NAMES = {"cardiac": "pulse", "respiratory": "breathing"}


class ChannelFigures(NamedTuple):
    """Numbers of one channel within a run.

    Attributes
    ----------
    rate_per_min : float
        Median; NaN without two peaks.
    spread_per_min : (5th, 95th percentile)
    peaks : int
        Within the run.
    mended : float
        Share of them that was put in or moved.
    unusable : float
        Share of the recorded run in windows without usable signal.
    """

    rate_per_min: float
    spread_per_min: tuple[float, float]
    peaks: int
    mended: float
    unusable: float


def channel_figures(recording: Recording, peaks: Peaks, duration_s: float) -> ChannelFigures:
    """Rate and quality of a placed channel between the first volume and the end of the run.

    Parameters
    ----------
    recording : Recording
    peaks : Peaks
    duration_s : float
        Length of the run, s.
    """
    start = float(recording.start_s or 0.0)
    onset = start + peaks.onset_s
    inside = (onset >= 0) & (onset < duration_s)
    interval = np.diff(onset[inside])
    interval = interval[(interval > 0) & (interval <= LONGEST_S.get(recording.kind, np.inf))]
    rate = 60 / interval
    middles = start + peaks.windows.start_s + peaks.windows.length_s / 2
    judged = (middles >= 0) & (middles < duration_s)
    return ChannelFigures(
        rate_per_min=float(np.median(rate)) if rate.size else float("nan"),
        spread_per_min=(float(np.percentile(rate, 5)), float(np.percentile(rate, 95))) if rate.size else (np.nan, np.nan),
        peaks=int(inside.sum()),
        mended=float(peaks.mended[inside].mean()) if inside.any() else 0.0,
        unusable=float((~peaks.windows.usable[judged]).mean()) if judged.any() else 0.0,
    )


def physio_verdicts(
    channels: Mapping[str, Channel],
    duration_s: float,
    *,
    notes: Sequence[str] = (),
    ignored: bool = False,
    instead: str = "",
) -> tuple[Verdict, ...]:
    """Whether pulse and breathing were found, cover the run, and can be trusted.

    Parameters
    ----------
    channels : mapping of "cardiac" and "respiratory" to Channel
        Those that serve the run.
    duration_s : float
        Length of the run, s.
    notes : sequence of str
        What alignment found wanting (swapped, taken from another run, partly covered); one line each.
    ignored : bool
        Whether the user asked that recordings be ignored.
    instead : str
        What stands in for the physiological model where nothing was recorded ("components of CSF around the cord and in the
        ventricles").
    """
    lines = []
    if not channels:
        why = "there is no recording of pulse or breathing that covers this run"
        if ignored:
            why = "recordings of pulse and breathing were ignored, as asked for"
        stand_in = f"; {instead} stand in for them" if instead else "; their noise stays in the data"
        lines.append(Verdict("look", f"No physiological model: {why}{stand_in}."))
    elif missing := [name for kind, name in _NAMES.items() if kind not in channels]:
        lines.append(Verdict("look", f"No recording of the {missing[0]}: its noise, and its interaction, are not modelled."))
    lines += [_channel(kind, covered, duration_s) for kind, covered in channels.items()]
    lines += [Verdict("look", note) for note in notes if note not in _SAID]
    return tuple(lines)


def physio_numbers(channels: Mapping[str, Channel], duration_s: float) -> tuple[Number, ...]:
    """Headline numbers: median heart and breathing rate in the run."""
    numbers = []
    for kind, covered in channels.items():
        found = channel_figures(covered.recording, covered.peaks, duration_s)
        if np.isfinite(found.rate_per_min):
            label, digits, name = ("Heart rate", 0, "heart") if kind == "cardiac" else ("Breathing", 1, "breathing")
            exact = {
                f"{name}_rate_median_per_min": found.rate_per_min,
                f"{name}_coverage_percent": 100 * covered.coverage,
                f"{name}_mended_percent": 100 * found.mended,
                f"{name}_unusable_percent": 100 * found.unusable,
            }
            numbers.append(Number(f"{label}, median", f"{found.rate_per_min:.{digits}f}", "/min", exact=exact))
    return tuple(numbers)


def model_verdicts(
    tests: PartialTests, regions: Mapping[str, NDArray[np.bool_]], *, volumes: int, physiological_columns: int
) -> tuple[Verdict, ...]:
    """What the noise model took in each region, and what it costs.

    Parameters
    ----------
    tests : PartialTests
        Of the sets of the model.
    regions : mapping of name to (x, y, z) bool array
        Brain, cord, CSF around the cord ...
    volumes : int
        Volumes that were fitted.
    physiological_columns : int
        Columns of cardiac, respiratory and interaction terms in the model.
    """
    lines = [_region(name, mask, tests) for name, mask in regions.items() if np.isfinite(tests.total.p[mask]).any()]
    text = degrees_of_freedom_warning(int(tests.residual_df.min()), volumes, physiological_columns)
    if text:
        lines.append(Verdict("look", text))
    return tuple(lines)


def model_numbers(tests: PartialTests, regions: Mapping[str, NDArray[np.bool_]]) -> tuple[Number, ...]:
    """Headline numbers: variance beyond chance that the model takes in brain and cord."""
    numbers = []
    for name, mask in regions.items():
        share = _explained(tests.total, mask)
        region = "cord" if name == "cord" else "brain" if name == "brain" else ""
        if np.isfinite(share):
            text = f"{100 * share:.1f}".replace("-", "−")
            exact = {f"noise_r2adj_{region}_percent": 100 * share} if region else {}
            numbers.append(Number(f"Noise model, {name}, adjusted R²", text, "%", region=region, exact=exact))
    return tuple(numbers)


def task_verdicts(found: Collinearity, aliased: Sequence[Aliased], *, tr_s: float, condition: str = "") -> tuple[Verdict, ...]:
    """Whether noise and task can be told apart.

    Parameters
    ----------
    found : Collinearity
        The task against sets of columns.
    aliased : sequence of Aliased
        Pulse and breathing beside the task (`cospine.stats.collinearity.aliasing`); only their fundamentals are judged.
    tr_s : float
        Time between volumes, s.
    condition : str
        Whose regressor it is, where there are several.
    """
    lines = []
    regressor = f"the regressor of {condition}" if condition else "its regressor"
    every = {**found.sets, **({"noise": found.total} if len(found.sets) > 1 else {})}
    shares = {name: one.summary() for name, one in every.items() if one.worst_slice >= 0}
    for name, of in shares.items():
        beyond = of["r2_median"] - of["null_r2"]
        if of["vif_median"] > INFLATED or beyond > GOES_WITH_TASK:
            level: Level = "bad" if of["vif_median"] > INFLATED else "look"
            which = "All noise columns together go" if name == "noise" else f"The {set_words(name)} columns go"
            lines.append(
                Verdict(
                    level,
                    f"{which} with the task: R² {of['r2_median']:.2f} on {regressor} (by chance {of['null_r2']:.2f}), variance "
                    f"inflation {of['vif_median']:.1f}. With them power is lost, without them noise passes for an effect.",
                )
            )
    for one in aliased:
        if one.harmonic == 1 and one.distance_hz <= NEAR_TASK_HZ:
            lines.append(
                Verdict(
                    "look",
                    f"The {_NAMES.get(one.name, one.name)} at {60 * one.rate_hz:.1f} /min appears at {one.aliased_hz:.3f} Hz "
                    f"when sampled every {tr_s:g} s, close to the task's {one.task_hz:.3f} Hz ({100 * one.share_near:.0f} % of "
                    f"intervals within {NEAR_TASK_HZ:g} Hz): what the model leaves of it can pass for an effect.",
                )
            )
    if shares and not lines:
        worst = max(shares, key=lambda name: shares[name]["r2_median"] - shares[name]["null_r2"])
        lines.append(
            Verdict(
                "good",
                f"Noise and task can be told apart: R² on the task at most {shares[worst]['r2_median']:.2f} ({worst}; by chance "
                f"{shares[worst]['null_r2']:.2f})"
                + (", and neither pulse nor breathing is aliased onto it." if aliased else "."),
            )
        )
    return tuple(lines)


def leakage_verdict(found: SharedSignal) -> Verdict:
    """Whether slices that were excited together share signal.

    Parameters
    ----------
    found : SharedSignal
        From `cospine.signal.simultaneous.shared_signal`.
    """
    text = (
        f"Slices excited together correlate with r {found.r_simultaneous:.3f} at a shift of {signed(found.lag)} voxels, pairs "
        f"one slice beside with {found.r_neighbouring:.3f}"
    ).replace("-", "−")
    if found.leaks:
        return Verdict(
            "look",
            f"{text}: signal leaks between brain and neck. Give coupling without simultaneous pairs too; its own part says "
            "whether the leak was taken out.",
        )
    return Verdict("good", f"{text}: no leakage between them can be told from chance.")


def thermal_verdict(
    removed: NDArray[np.floating],
    noise_sd: NDArray[np.floating],
    mean: NDArray[np.floating],
    regions: Mapping[str, NDArray[np.bool_]],
    most: int,
) -> Verdict:
    """What thermal denoising did.

    Parameters
    ----------
    removed, noise_sd, mean : (x, y, z) array
        Components taken away, noise SD and temporal mean.
    regions : mapping of name to (x, y, z) bool array
    most : int
        Components that a patch has.
    """
    parts = []
    for name, mask in regions.items():
        if np.any(mask):
            share = 100 * float(np.median(removed[mask])) / most
            noise = 100 * float(np.median(noise_sd[mask] / np.maximum(mean[mask], 1e-6)))
            parts.append(f"{name}: noise {noise:.1f} % of the signal, {share:.0f} % of the components taken away")
    text = "; ".join(parts) or "no region has voxels"
    return Verdict(
        "look",
        f"Thermal noise was taken away ({text}): neighbouring voxels share what is left, and weak effects of few voxels go with "
        "the noise (on digital participants 8 % of an effect in the brain, more than half in the cord). Look at what was taken.",
    )


def _channel(kind: str, covered: Channel, duration_s: float) -> Verdict:
    """One line on a channel: rate, cover, what was mended."""
    found = channel_figures(covered.recording, covered.peaks, duration_s)
    name = {"cardiac": "Heart", "respiratory": "Breathing"}.get(kind, kind)
    events = {"cardiac": "beats", "respiratory": "breaths"}.get(kind, "peaks")
    if not np.isfinite(found.rate_per_min):
        return Verdict("bad", f"{name}: a recording but no rate in the run; it is of no use.")
    digits = 0 if kind == "cardiac" else 1
    low, high = found.spread_per_min
    text = (
        f"{name} at {found.rate_per_min:.{digits}f} per minute ({low:.{digits}f} to {high:.{digits}f}), {found.peaks} {events} "
        f"in the run{' as given by hand' if covered.given else ''}, {100 * found.mended:.0f} % of them mended; signal usable in "
        f"{100 * (1 - found.unusable):.0f} % of the time"
    )
    placed = f", placed by {covered.how}" if covered.how else ""
    text += f"; covers {100 * covered.coverage:.0f} % of the run{placed}"
    level: Level = "good"
    doubts = []
    usual = USUAL_PER_MIN.get(kind, (0.0, np.inf))
    if not usual[0] <= found.rate_per_min <= usual[1]:
        level, doubts = "look", ["the rate is unusual"]
    if covered.coverage < WHOLE_RUN:
        level = "look"
        doubts.append("volumes without it are left unmodelled")
    if found.mended > MANY_MENDED or found.unusable > SOME_UNUSABLE:
        level = "look"
        doubts.append("look at every minute of it")
    if found.mended > MOSTLY_MENDED or found.unusable > MOSTLY_UNUSABLE:
        level = "bad"
        doubts[-1] = "the signal is too poor to be trusted; mend the peaks by hand or leave it out"
    return Verdict(level, f"{text}{': ' if doubts else ''}{'; '.join(doubts)}.")


def _region(name: str, mask: NDArray[np.bool_], tests: PartialTests) -> Verdict:
    total = tests.total
    p = total.p[mask]
    p = p[np.isfinite(p)]
    below = float((p < NOMINAL).mean())
    chance = float(np.median(total.null_r2[total.null_r2 > 0])) if (total.null_r2 > 0).any() else 0.0
    parts = {kind: _explained(test, mask) for kind, test in tests.sets.items()}
    large = [f"{set_words(kind)} {100 * part:.1f} %" for kind, part in parts.items() if part >= WORTH_NAMING]
    by_set = f": {', '.join(large)}" if large and len(parts) > 1 else ""
    text = (
        f"Noise model in the {name}: {100 * _explained(total, mask):.1f} % of the variance beyond the {100 * chance:.0f} % that "
        f"as many random columns would take (adjusted R²{by_set}); {100 * below:.0f} % of "
        f"voxels at p < {NOMINAL:g}, {100 * NOMINAL:.0f} % by chance"
    ).replace("-", "−")
    if "csf" in name.lower() and "csf" in parts:
        text += "; the CSF column, which is their own mean, explains itself there"
    if below < BEYOND_CHANCE:
        return Verdict("look", f"{text}. It took nothing to speak of there, and costs its degrees of freedom.")
    return Verdict("good", f"{text}.")


def _explained(test: SetTest, mask: NDArray[np.bool_]) -> float:
    """Mean adjusted R² over the voxels that were tested."""
    values = test.adjusted_r2[mask]
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")
