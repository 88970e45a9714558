"""What the noise model takes, what it costs, and how often it finds what is not there, on one digital run each."""

from collections.abc import Mapping

import numpy as np
from noise_data import Digital, pnm_of, stack
from noise_scoring import by_slice, markdown, regression
from numpy.typing import NDArray

from cospine.phantom.physiology import simulate_physiology
from cospine.physio.pnm import set_of
from cospine.signal.partial import partial_tests
from cospine.signal.regression import regress, slice_bases
from cospine.signal.simultaneous import shared_signal

PLACES = ("CSF ring", "cord", "grey matter")


# --- true phases ------------------------------------------------------------------------------------------------------


def floor(noisy: Digital, bare: Digital) -> str:
    """What PNM leaves of the pulse and breath that were put in, over the SD of the same noise without them.

    Thermal noise is far larger than physiology here, so that SD over the floor tells little; the difference of both runs, whose
    noise is drawn from one stream, is physiology alone and tells how much of its variance is left.
    """
    models = {
        "nothing": np.empty((noisy.volumes, 0)),
        "PNM, true phases": noisy.true_pnm(),
        "PNM, true phases, linear in a breath": noisy.true_pnm(histogram=False),
        "PNM, found": noisy.found_pnm()[1],
        "true waves": noisy.waves(),
    }
    shape = noisy.waves()[..., :0]
    difference = noisy.series - bare.series
    rows = []
    for place in ("CSF ring", "cord", "grey matter"):
        mask = noisy.tissues[place]
        (least, _), (whole, _) = (regression(one, stack(shape), mask) for one in (bare.series, difference))
        level = by_slice(noisy.mean, mask)
        for name, columns in models.items():
            (left, _), (unexplained, _) = (regression(one, stack(columns, shape), mask) for one in (noisy.series, difference))
            free = (noisy.volumes - 1 - columns.shape[-1]) / (noisy.volumes - 1)
            ratio = np.sqrt(left / least)
            rows.append(
                [
                    str(noisy),
                    place,
                    str(mask.sum()),
                    f"{100 * np.median(np.sqrt(least) / level):.2f}",
                    f"{100 * np.median(np.sqrt(whole) / level):.2f}",
                    name,
                    f"{np.median(ratio):.4f}",
                    f"{np.sqrt(left.mean() / least.mean()):.4f}",
                    f"{free * unexplained.sum() / whole.sum():.3f}",
                ]
            )
    head = "run|place|voxels|floor SD, %|physiology SD, %|regressed|SD / floor, median|RMS|share of physiology's variance left"
    return markdown(head, rows)


# --- oracle -----------------------------------------------------------------------------------------------------------


def explained(series: NDArray, mask: NDArray, base: NDArray, more: NDArray) -> tuple[float, float, float, float]:
    """Partial R² of columns beside a base: raw, expected of noise, adjusted over all voxels, median of the adjusted.

    Over all voxels: 1 - sum(residual variance) / sum(variance beside the base alone).
    """
    both = np.concatenate([base, more], axis=2)
    (less, _), (whole, _) = regression(series, both, mask), regression(series, base, mask)
    volumes = base.shape[1]
    df_base = volumes - 1 - base.shape[2]
    df = df_base - more.shape[2]
    raw = 1 - less.sum() * df / (whole.sum() * df_base)
    return raw, more.shape[2] / df_base, 1 - less.sum() / whole.sum(), float(np.median(1 - less / whole))


def oracle(run: Digital) -> str:
    """Adjusted partial R² of PNM beside that of the true waves, drift and true motion in both (METHODS 13)."""
    names, found = run.found_pnm()
    base, csf = stack(run.drift, run.motion()), run.csf()
    kinds = np.array([set_of(name) for name in names])
    models = {
        "oracle (true waves)": run.waves(),
        "PNM-32, true phases": run.true_pnm(),
        "PNM-32, found": found,
        "  cardiac": found[..., kinds == "cardiac"],
        "  respiratory": found[..., kinds == "respiratory"],
        "  interaction": found[..., kinds == "interaction"],
        "CSF column alone": csf[..., None],
        "PNM-33, found": np.concatenate([found, csf[..., None]], axis=2),
        "oracle and CSF column": np.concatenate([run.waves(), csf[..., None]], axis=2),
        "32 columns of noise": np.random.default_rng(0).standard_normal(found.shape),
    }
    rows = []
    for place in PLACES:
        mask = run.tissues[place]
        best = None
        for name, columns in models.items():
            raw, expected, adjusted, median = explained(run.series, mask, base, stack(columns))
            best = adjusted if best is None else best
            rows.append(
                [
                    str(run),
                    place,
                    str(mask.sum()),
                    name,
                    str(columns.shape[2]),
                    f"{100 * raw:.2f}",
                    f"{100 * expected:.2f}",
                    f"{100 * adjusted:.2f}",
                    f"{100 * median:.2f}",
                    f"{adjusted / best:.2f}",
                ]
            )
    return markdown("run|place|voxels|model|columns|R², %|expected of noise, %|adjusted, %|median adjusted, %|/ oracle", rows)


# --- activation -------------------------------------------------------------------------------------------------------


def noise_models(run: Digital) -> Mapping[str, NDArray[np.float64]]:
    """Columns beside drift and motion (t, slices, n); the last is the CSF column of this very series."""
    found, csf = run.found_pnm()[1], run.csf()[..., None]
    return {
        "none": found[..., :0],
        "PNM-32": found,
        "CSF column alone": csf,
        "PNM-33": np.concatenate([found, csf], axis=2),
        "oracle": run.waves(),
    }


def effect(run: Digital, mask: NDArray[np.bool_], columns: NDArray, course: NDArray) -> tuple[float, float]:
    """Mean effect (% of local signal) over the voxels of a mask, and its variance if their noise is independent."""
    design = stack(course[..., None], run.drift, run.motion(), columns)
    variance, beta = regression(run.series, design, mask, target=0)
    level = by_slice(run.mean, mask)
    sizes = [np.count_nonzero(mask[:, :, k]) for k in np.flatnonzero(mask.any(axis=(0, 1)))]
    own = np.repeat([own_energy(design[k]) for k in np.flatnonzero(mask.any(axis=(0, 1)))], sizes)
    return float(100 * np.mean(beta / level)), float(1e4 * np.sum(variance / own / level**2) / mask.sum() ** 2)


def own_energy(design: NDArray[np.float64]) -> float:
    """What of the first column (t,) the others leave: 1 / its variance for unit noise."""
    centred = design - design.mean(axis=0)
    centred = centred[:, np.linalg.norm(centred, axis=0) > 0]
    rest = centred[:, 1:]
    return float(np.sum((centred[:, 0] - rest @ np.linalg.lstsq(rest, centred[:, 0], rcond=1e-7)[0]) ** 2))


def region_mask(run: Digital, region: str) -> NDArray[np.bool_]:
    """Voxels mostly of a region; in the horns of the cord, which are thinner than voxels, at least a seventh."""
    return (run.region_shares[region] > (0.15 if "horn" in region else 0.7)) & (run.mean > 0)


def effect_cleaned(run: Digital, mask: NDArray[np.bool_], columns: NDArray, course: NDArray) -> float:
    """Mean effect (% of local signal) when the columns are taken out first and the task is fitted to what is left."""
    beta = []
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        beside = np.column_stack([np.ones(run.volumes), run.drift])
        noise = np.column_stack([beside, run.motion()[:, k], columns[:, k]])
        noise = noise[:, np.linalg.norm(noise, axis=0) > 0]
        y = run.series[:, :, k][mask[:, :, k]].T.astype(np.float64)
        left = y - noise @ np.linalg.lstsq(noise, y, rcond=1e-7)[0]
        task = course[:, k] - beside @ np.linalg.lstsq(beside, course[:, k], rcond=None)[0]
        beta.append(task @ left / (task @ task))
    return float(100 * np.mean(np.concatenate(beta) / by_slice(run.mean, mask)))


def bias(run: Digital, rest: Digital) -> str:
    """What noise columns, fitted beside the true time course, take of the activation (METHODS 13).

    The same run without activation has the same noise: the difference of both effects is what activation alone gives, free of
    noise. Each has the CSF column of its own series, so that activation that leaks into that column is counted. The truth
    is what the activation adds to the series itself, in the very same voxels: its effect with drift and motion alone.
    """
    rows = []
    ours, theirs = noise_models(run), noise_models(rest)
    for region in run.activated():
        mask = region_mask(run, region)
        if np.count_nonzero(mask) < 3:
            continue
        course = run.activation(region)
        pairs = {}
        for name in ours:
            (with_it, variance), (without, _) = (
                effect(run, mask, ours[name], course),
                effect(rest, mask, theirs[name], course),
            )
            pairs[name] = with_it, without, variance
        cleaned = [effect_cleaned(one, mask, models["PNM-33"], course) for one, models in ((run, ours), (rest, theirs))]
        pairs["PNM-33, series cleaned first"] = *cleaned, float("nan")
        true = pairs["none"][0] - pairs["none"][1]
        plain = pairs["none"][2]
        for name, (with_it, without, variance) in pairs.items():
            loss = 100 * ((with_it - without) / true - 1)
            rows.append(
                [
                    str(run),
                    region,
                    str(mask.sum()),
                    f"{true:.3f}",
                    name,
                    f"{with_it:.3f}",
                    f"{without:.3f}",
                    f"{loss:+.2f}",
                    f"{100 * without / true:+.1f}",
                    f"{np.sqrt(variance):.3f}",
                    f"{variance / plain:.2f}",
                ]
            )
    head = (
        "run|region|voxels|truth, %|noise columns|effect, %|of no activation, %|bias by the columns, % of truth|"
        "spurious, % of truth|SE, %|variance / none"
    )
    return markdown(head, rows)


# --- null runs --------------------------------------------------------------------------------------------------------


SURROGATES = 20


def null(run: Digital) -> str:
    """Share of voxels whose partial F test has p below a level.

    In a null run nothing depends on pulse or breathing: its own recordings are one draw, and bodies of other seeds are
    others. The same bodies beside a realistic run show what real noise of another rhythm does to the test.
    """
    names, found = run.found_pnm()
    kinds = np.array([set_of(name) for name in names])
    base = stack(run.drift, run.motion())
    places = {place: run.tissues[place] for place in ("CSF ring", "cord", "brain")}
    rates = [passed(run, found, kinds, base, places)]
    # fewer voxels of the brain are enough for many draws
    few = np.zeros(run.mean.shape, bool)
    few[::4, ::4] = True
    thinned = {**places, "brain": places["brain"] & few}
    duration = run.volumes * run.sidecar["RepetitionTime"]
    for seed in range(SURROGATES):
        other = pnm_of(simulate_physiology(90_000 + seed, duration), run.times_s)
        rates.append(passed(run, other, kinds, base, thinned))
    rows = []
    for kind, place in rates[0]:
        own, others = rates[0][kind, place], np.array([rate[kind, place] for rate in rates[1:]])
        spread = others.std(axis=0, ddof=1) / np.sqrt(SURROGATES)
        rows.append(
            [
                str(run),
                kind,
                place,
                str(np.count_nonzero(places[place])),
                *(f"{value:.4f}" for value in own),
                *(f"{value:.4f} ± {error:.4f}" for value, error in zip(others.mean(axis=0), spread, strict=True)),
            ]
        )
    own, other = "own recordings, p < 0.05|p < 0.01|p < 0.001", f"{SURROGATES} other bodies, p < 0.05|p < 0.01|p < 0.001"
    return markdown(f"run|set|place|voxels|{own}|{other}", rows)


def passed(run: Digital, columns: NDArray, kinds: NDArray, base: NDArray, places: Mapping[str, NDArray[np.bool_]]) -> dict:
    """Share of the voxels of each place with p below 0.05, 0.01 and 0.001, by set and place."""
    start = base.shape[2]
    sets = {kind: start + np.flatnonzero(kinds == kind) for kind in ("cardiac", "respiratory", "interaction")}
    mask = np.logical_or.reduce(list(places.values()))
    tests = partial_tests(run.series, np.concatenate([base, stack(columns)], axis=2), sets, mask=mask)
    return {
        (kind, place): [np.mean(test.p[where] < level) for level in (0.05, 0.01, 0.001)]
        for kind, test in {**tests.sets, "all": tests.total}.items()
        for place, where in places.items()
    }


# --- task-locked physiology -------------------------------------------------------------------------------------------


def locked(run: Digital, rest: Digital | None = None) -> str:
    """How far task and noise columns are the same thing: VIF of the task, aliased rates, and what it does to the effect."""
    names, found = run.found_pnm()
    kinds = np.array([set_of(name) for name in names])
    region = run.activated()[0]
    course = run.activation(region)
    motion = run.motion()
    tr_s = run.sidecar["RepetitionTime"]
    rows = []
    for name, columns in {
        "motion": motion,
        "cardiac": found[..., kinds == "cardiac"],
        "respiratory": found[..., kinds == "respiratory"],
        "PNM-32": found,
        "PNM-32, motion": np.concatenate([found, motion], axis=2),
        "32 columns of noise": np.random.default_rng(0).standard_normal(found.shape),
    }.items():
        factors, adjusted = [], []
        for k in range(course.shape[1]):
            beside = np.column_stack([course[:, k], run.drift])
            alone, whole = own_energy(beside), own_energy(np.column_stack([beside, columns[:, k]]))
            factors.append(alone / whole)
            free = run.volumes - 1 - run.drift.shape[1]
            adjusted.append(1 - (whole / (free - columns.shape[2])) / (alone / free))
        r2 = 1 - 1 / np.array(factors)
        rows.append(
            [
                str(run),
                name,
                f"{np.median(factors):.3f}",
                f"{np.max(factors):.3f}",
                f"{np.median(r2):.3f}",
                f"{columns.shape[2] / (run.volumes - 1 - run.drift.shape[1]):.3f}",
                f"{np.median(adjusted):+.3f}",
            ]
        )
    text = markdown("run|columns|VIF of the task, median over slices|largest|R² on the task|expected of noise|adjusted", rows)
    beats = 60 / np.median(np.diff(run.body.beat_times_s))
    breaths = 60 / np.median(np.diff(run.body.peak_times_s))
    folded = [abs(rate - 60 / tr_s * np.rint(rate * tr_s / 60)) for rate in (beats, breaths)]
    rate = "1.53 (trials)" if run.task == "pain" else "2.54 (blocks)"
    rows = [[str(run), f"{beats:.1f}", f"{breaths:.1f}", f"{folded[0]:.2f}", f"{folded[1]:.2f}", rate]]
    text += "\n" + markdown("run|beats/min|breaths/min|pulse folds onto, /min|breathing folds onto, /min|task, /min", rows)
    return text + ("" if rest is None else "\n" + spurious(run, rest))


def spurious(run: Digital, rest: Digital) -> str:
    """Mean effect of the task where nothing responds, without activation in the run (truth 0)."""
    course = run.activation(run.activated()[0])
    rows = []
    for name, columns in noise_models(rest).items():
        design = stack(course[..., None], rest.drift, rest.motion(), columns)
        for place in PLACES:
            mask = rest.tissues[place]
            variance, beta = regression(rest.series, design, mask, target=0)
            slices = np.flatnonzero(mask.any(axis=(0, 1)))
            own = np.repeat([own_energy(design[k]) for k in slices], [np.count_nonzero(mask[:, :, k]) for k in slices])
            t = beta / np.sqrt(variance / own)
            level = by_slice(rest.mean, mask)
            error = 100 * np.median(np.sqrt(variance / own) / level)
            rows.append(
                [
                    str(rest),
                    name,
                    place,
                    f"{100 * np.mean(beta / level):+.4f}",
                    f"{error:.3f}",
                    f"{np.std(t):.3f}",
                    f"{np.mean(np.abs(t) > 1.972):.4f}",
                ]
            )
    return markdown("run|noise columns|place|mean effect, % (truth 0)|SE of a voxel, %|SD of t|abs(t) > 1.97", rows)


# --- leakage ----------------------------------------------------------------------------------------------------------


def leakage(run: Digital) -> str:
    """Correlation of simultaneous slices beside that of neighbouring ones."""
    found = run.found_pnm()[1]
    rows = []
    body = run.mean > 0.15 * np.percentile(run.mean, 98)
    for name, design in {
        "drift": stack(run.drift, found[..., :0]),
        "drift, motion, PNM-32": stack(run.drift, run.motion(), found),
    }.items():
        left = regress(run.series, slice_bases(design), keep_mean=False)
        shared = shared_signal(left, run.sidecar["SliceTiming"], body, 1)
        rows.append(
            [
                str(run),
                name,
                str(len(shared.pairs)),
                str(shared.lag),
                f"{shared.r_simultaneous:.4f}",
                f"{shared.r_neighbouring:.4f}",
                f"{shared.z:.1f}",
                f"{shared.p:.2g}",
                f"{shared.slice_mean_simultaneous:.3f}",
                f"{shared.slice_mean_neighbouring:.3f}",
            ]
        )
    head = "run|regressed|pairs|lag of the peak|r, simultaneous|r, neighbouring|z|p|r of slice means, simultaneous|neighbouring"
    return markdown(head, rows)
