"""Columns of nuisance by volume, named as fMRIPrep names them where it has them, and those of the cord by slice.

Every function gives columns by name and their descriptions (as a sidecar holds them); the first value of a derivative is NaN.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.motion.cord import CordMotion
from cospine.signal.columns import SliceColumns
from cospine.signal.compcor import Components

Table = tuple[dict[str, NDArray], dict[str, Any]]

MOST_DISPLACEMENT_MM = 0.5
MOST_STD_DVARS = 1.5
"""A volume beyond either is an outlier: fMRIPrep's defaults (and Power et al. 2012 for the former)."""

_COMPONENTS = {
    "a": ("a_comp_cor", "combined", "CSF and white matter"),
    "c": ("c_comp_cor", "CSF", "CSF"),
    "w": ("w_comp_cor", "WM", "white matter"),
}
_SIGNALS = {
    "global_signal": "Mean signal in the brain mask",
    "csf": "Mean signal of the ventricles",
    "white_matter": "Mean signal of deep white matter",
    "csf_wm": "Mean signal of ventricles and deep white matter",
}


def expanded(columns: Mapping[str, NDArray], descriptions: Mapping[str, Any]) -> Table:
    """Columns with their backward differences and the squares of both (24 columns of 6: Satterthwaite 2013).

    Parameters
    ----------
    columns : mapping of str to ndarray (t,)
        Say, the six of head motion.
    descriptions : mapping of str to dict
        Of the same.

    Returns
    -------
    columns, descriptions : dict
        Each `X` followed by `X_derivative1`, `X_derivative1_power2`, `X_power2`.

    References
    ----------
    Satterthwaite TD et al. (2013) NeuroImage 64:240-256.
    """
    table: dict[str, NDArray] = {}
    described: dict[str, Any] = {}
    for name, values in columns.items():
        step = derivative(values)
        unit = descriptions.get(name, {}).get("Units")
        table |= {name: values, f"{name}_derivative1": step, f"{name}_derivative1_power2": step**2, f"{name}_power2": values**2}
        described[name] = descriptions.get(name, {})
        for suffix, text, power in (
            ("derivative1", f"Change of {name} from the volume before", 1),
            ("derivative1_power2", f"Square of {name}_derivative1", 2),
            ("power2", f"Square of {name}", 2),
        ):
            described[f"{name}_{suffix}"] = {"Description": text} | (
                {"Units": unit if power == 1 else f"{unit}^2"} if unit else {}
            )
    return table, described


def derivative(values: NDArray) -> NDArray[np.float64]:
    """Change from the volume before along the first axis; NaN in the first volume."""
    values = np.asarray(values, dtype=np.float64)
    return np.concatenate([np.full((1, *values.shape[1:]), np.nan), np.diff(values, axis=0)])


def signal_columns(signals: Mapping[str, NDArray]) -> Table:
    """Mean signals with their derivatives and squares.

    Parameters
    ----------
    signals : mapping of str to ndarray (t,)
        `global_signal`, `csf`, `white_matter`, `csf_wm`, those that there are.
    """
    described = {name: {"Description": _SIGNALS[name], "Units": "arbitrary"} for name in signals}
    return expanded({name: np.asarray(values, dtype=np.float64) for name, values in signals.items()}, described)


def component_columns(kind: str, components: Components) -> Table:
    """Columns of anatomical CompCor.

    Parameters
    ----------
    kind : {"a", "c", "w"}
        From CSF and white matter together, CSF, white matter.
    components : Components
        From `cospine.signal.compcor.principal_components`.
    """
    stem, mask, words = _COMPONENTS[kind]
    columns: dict[str, NDArray] = {}
    described: dict[str, Any] = {}
    cumulative = np.cumsum(components.share)
    for n in range(components.columns.shape[1]):
        name = f"{stem}_{n:02d}"
        columns[name] = components.columns[:, n]
        described[name] = {
            "Description": f"Principal component {n + 1} of {components.voxels} voxels of {words}, drifts removed (Behzadi 2007)",
            "Method": "aCompCor",
            "Mask": mask,
            "Retained": True,
            "SingularValue": float(components.singular[n]),
            "VarianceExplained": float(components.share[n]),
            "CumulativeVarianceExplained": float(cumulative[n]),
        }
    return columns, described


def drift_columns(drift: NDArray[np.float64], period_s: float) -> Table:
    """Cosine drifts `cosine00 ..`.

    Parameters
    ----------
    drift : ndarray (t, n)
        From `cospine.signal.drift.cosine_drift`.
    period_s : float
        Its cut-off.
    """
    names = [f"cosine{n:02d}" for n in range(drift.shape[1])]
    about = f"of the discrete basis down to a period of {period_s:g} s"
    return (
        {name: drift[:, n] for n, name in enumerate(names)},
        {name: {"Description": f"Cosine {n + 1} {about}"} for n, name in enumerate(names)},
    )


def outlier_columns(
    displacement: NDArray | None, std_dvars: NDArray | None, dummies: int = 0, *,
    most_displacement_mm: float = MOST_DISPLACEMENT_MM, most_std_dvars: float = MOST_STD_DVARS,
) -> Table:  # fmt: skip
    """One column for each volume that moved too far or changed too much.

    Parameters
    ----------
    displacement : ndarray (t,), optional
        Framewise displacement of the head, mm.
    std_dvars : ndarray (t,), optional
        Standardised DVARS.
    dummies : int
        Volumes at the start not in steady state; they have columns of their own (`non_steady_state_outlier_XX`) and no other.
    most_displacement_mm, most_std_dvars : float
        What a volume may reach.

    Returns
    -------
    columns, descriptions : dict
        `motion_outlier00 ..`, 1 in that volume and 0 elsewhere.
    """
    given = [
        (np.nan_to_num(np.asarray(values, dtype=np.float64)), limit, text)
        for values, limit, text in (
            (displacement, most_displacement_mm, f"framewise displacement > {most_displacement_mm:g} mm"),
            (std_dvars, most_std_dvars, f"standardised DVARS > {most_std_dvars:g}"),
        )
        if values is not None
    ]
    if not given:
        return {}, {}
    beyond = np.stack([values > limit for values, limit, _ in given])
    beyond[:, :dummies] = False
    columns: dict[str, NDArray] = {}
    described: dict[str, Any] = {}
    for n, volume in enumerate(np.flatnonzero(beyond.any(axis=0))):
        why = " and ".join(text for (_, _, text), hit in zip(given, beyond[:, volume], strict=True) if hit)
        columns[f"motion_outlier{n:02d}"] = (np.arange(beyond.shape[1]) == volume).astype(np.int64)
        described[f"motion_outlier{n:02d}"] = {"Description": f"1 in volume {volume}: {why}"}
    return columns, described


def cord_shift_columns(motion: CordMotion, slices: int) -> SliceColumns:
    """Shifts of the cord in the plane and their derivatives, slice by slice: what stands beside the columns of PNM.

    Parameters
    ----------
    motion : CordMotion
        Measured in the slices with cord.
    slices : int
        Slices of the volume.

    Returns
    -------
    SliceColumns
        `cord_shift_i cord_shift_j`, mm, and `cord_shift_i_derivative1 cord_shift_j_derivative1`, mm from the volume before (0 in
        the first volume); 0 in slices without cord.
    """
    shift = np.asarray(motion.shift_mm, dtype=np.float64)
    names = tuple(f"cord_shift_{axis}{suffix}" for suffix in ("", "_derivative1") for axis in "ij")
    columns = np.zeros((len(shift), slices, len(names)))
    columns[:, motion.slices, :2] = shift
    columns[1:, motion.slices, 2:] = np.diff(shift, axis=0)
    about = {}
    for axis in "ij":
        about[f"cord_shift_{axis}"] = f"Apparent shift of the cord along voxel axis {axis} in this slice, mm; 0 without cord"
        about[f"cord_shift_{axis}_derivative1"] = f"Change of cord_shift_{axis} from the volume before, mm; 0 in the first"
    return SliceColumns(names, columns, {name: about[name] for name in names})
