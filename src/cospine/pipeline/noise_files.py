"""What a run writes of its noise: peaks, slice-wise columns, maps of what they take, the cleaned series, and EVs for FSL."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Derivatives, Run
from cospine.physio.physiology import Physiology
from cospine.physio.pnm import describe, set_of
from cospine.pipeline.noise_stage import Noise, NoiseModel
from cospine.pipeline.settings import Settings
from cospine.signal.regression import regress, slice_bases
from cospine.space.grid import Grid


def write_noise(
    out: Derivatives, run: Run, noise: Noise, grid: Grid, settings: Settings, space: dict[str, Any]
) -> tuple[Path, ...]:
    """All but the cleaned series; `space` is what sidecars say of the correction of distortion."""
    written = [
        *write_peaks(out, run, noise.model.physiology),
        *write_columns(out, run, noise.model, settings.high_pass),
        *write_tests(out, run, noise, grid, space),
    ]
    if "fsl" in settings.export:
        written += write_fsl(out, run, noise.model)
    return tuple(written)


def write_peaks(out: Derivatives, run: Run, physiology: Physiology) -> tuple[Path, ...]:
    """Heartbeats and breaths, in order of time; none without a recording."""
    if not physiology.channels:
        return ()
    rows = [
        (float(onset), kind, float(quality), int(mended))
        for kind, channel in physiology.channels.items()
        for onset, quality, mended in zip(channel.peaks_s, channel.peaks.quality, channel.peaks.mended, strict=True)
    ]
    rows.sort()
    # to the nanosecond: columns made of the table again are the same to 1e-6
    rows = [(f"{onset:.9f}", *rest) for onset, *rest in rows]
    path = out.path(run, "timeseries", ".tsv", desc="peaks")
    names = ("onset_run", "kind", "quality", "mended")
    about: dict[str, Any] = {
        "onset_run": {"Description": "Time from the first volume", "Units": "s"},
        "kind": {
            "Description": "What it is",
            "Levels": {"cardiac": "systolic maximum of the pulse, or R wave", "respiratory": "end of inspiration"},
        },
        "quality": {"Description": "How well it was seen, 0 to 1"},
        "mended": {"Description": "1 where it was put in or moved because the interval was implausible"},
        "Sources": [out.source(path) for path in physiology.files],
    }
    out.write_tsv(path, dict(zip(names, zip(*rows, strict=True), strict=True)), about)
    return (path,)


def write_columns(out: Derivatives, run: Run, model: NoiseModel, high_pass_s: float) -> tuple[Path, ...]:
    """Columns by slice and volume as images of 1 x 1 x slices x volumes x columns, each named in the sidecar."""
    written = []
    basis = {
        "SliceTiming": [round(float(time), 6) for time in model.times_s[0]],
        "Filtered": False,
        "HighPass": f"Cosines slower than {high_pass_s:g} s belong into the same regression, so that columns and data are "
        "high-passed alike",
    }
    if model.names:
        path = out.path(run, "regressors", desc="pnm")
        about = {
            "Description": "Physiological noise model at each slice's own time (Glover 2000, Brooks 2008)",
            "Columns": list(model.names),
            **{name: {"Description": describe(name), "Set": set_of(name)} for name in model.names},
            "Orders": None if model.orders is None else {
                "cardiac": model.orders.cardiac,
                "respiratory": model.orders.respiratory,
                "interaction": list(model.orders.interaction),
            },
            "UnmodelledVolumes": np.flatnonzero(~model.known.all(axis=1)).tolist(),
            "Sources": [out.source(path) for path in model.physiology.files],
            **basis,
        }  # fmt: skip
        _write_stack(out, path, run, model.columns, about)
        written.append(path)
    if model.local.names:
        path = out.path(run, "regressors", desc="slicewise")
        about = {
            "Description": "Confounds that differ from slice to slice; 0 in slices that have none",
            "Columns": list(model.local.names),
            **{name: {"Description": model.local.descriptions[name]} for name in model.local.names},
            **basis,
        }
        _write_stack(out, path, run, model.local.columns, about)
        written.append(path)
    return tuple(written)


def _write_stack(out: Derivatives, path: Path, run: Run, columns: NDArray[np.float64], about: dict[str, Any]) -> None:
    stack = columns.transpose(1, 0, 2)[None, None].astype(np.float32)
    out.write_image(path, stack, np.diag([1.0, 1.0, float(_slice_mm(run)), 1.0]), about, tr_s=run.tr_s)


def _slice_mm(run: Run) -> float:
    return float(np.linalg.norm(run.affine[:3, run.slice_axis]))


def write_tests(out: Derivatives, run: Run, noise: Noise, grid: Grid, space: dict[str, Any]) -> tuple[Path, ...]:
    """Adjusted partial R² of each set and p of its F test, the sets along the fourth axis; 0 and 1 where nothing was tested."""
    if noise.tests is None:
        return ()
    tests = noise.tests.sets
    about = {
        "Sets": list(tests),
        "NullR2": {name: [round(float(value), 4) for value in test.null_r2] for name, test in tests.items()},
        "ResidualDegreesOfFreedom": [int(value) for value in noise.tests.residual_df],
        **space,
    }
    written = []
    for stat, maps, nothing, text in (
        ("r2adj", [one.adjusted_r2 for one in tests.values()], 0.0, "Adjusted partial R², 0 on average under noise alone"),
        ("p", [one.p for one in tests.values()], 1.0, "p of the partial F test, noise whitened by its AR(1)"),
    ):
        path = out.path(run, "boldmap", desc="noise", stat=stat)
        data = np.nan_to_num(np.stack(maps, axis=3), nan=nothing)
        what = f"{text}; one volume a set of noise columns, each beside drift, motion and the other sets"
        out.write_image(path, data, grid.affine, {"Description": what, **about})
        written.append(path)
    return tuple(written)


def write_clean(
    out: Derivatives,
    run: Run,
    model: NoiseModel,
    corrected: NDArray[np.float32],
    grid: Grid,
    sidecar: dict[str, Any],
    noise_sd: float,
) -> tuple[Path, ...]:
    """The corrected series without drift, motion and physiological noise, all regressed out of each slice at once.

    Raises
    ------
    CoSpineError
        When the model takes every degree of freedom.
    """
    bases = slice_bases(model.designs(), model.rows)
    cleaned = regress(corrected, bases, slice_axis=run.slice_axis)
    path = out.path(run, "bold", desc="clean")
    removed = [what for what, columns in (("cosine drifts", model.drift), ("head motion", model.head)) if columns.shape[1]]
    removed += [name for name in model.local.names if name in ("cord_shift_i", "cord_shift_j")]
    removed += model.names or [name for name in model.local.names if name.startswith("csf_comp_cor")]
    about = {
        **sidecar,
        "Description": f"{sidecar['Description']}; drift, motion and physiological noise regressed out of each slice, means kept",
        "Removed": removed,
        "DegreesOfFreedomRemoved": [int(rank) for rank in bases.rank],
        "ResidualDegreesOfFreedom": [int(left) for left in bases.residual_df],
        "Warning": "A model of these data has as many degrees of freedom fewer, and its own columns have to be cleaned alike",
    }
    out.write_bold(path, cleaned, grid.affine, run.tr_s, about, noise_sd=noise_sd)
    return (path,)


def write_fsl(out: Derivatives, run: Run, model: NoiseModel) -> tuple[Path, ...]:
    """The model as FSL's voxel-wise EVs: one image of 1 x 1 x slices x volumes a column, and the list that FEAT reads.

    The list names files by their whole path, as FEAT wants them: make it anew when the folder moves.
    """
    folder = out.root / "fsl" / run.participant
    written = []
    for at, name in enumerate(model.names):
        path = folder / f"{run.prefix}_ev{at + 1:03d}.nii.gz"
        affine = np.diag([1.0, 1.0, _slice_mm(run), 1.0])
        out.write_image(path, model.columns[..., at].T[None, None].astype(np.float32), affine, tr_s=run.tr_s)
        written.append((path, name))
    listing = folder / f"{run.prefix}_evlist.txt"
    out.write_text(listing, "".join(f"{path.resolve()}\n" for path, _ in written))
    names = folder / f"{run.prefix}_evnames.tsv"
    out.write_tsv(names, {"file": [path.name for path, _ in written], "column": [name for _, name in written]})
    return (*(path for path, _ in written), listing, names)
