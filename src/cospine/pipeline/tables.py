"""Columns of the tables a run writes, with what they mean."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.motion.brain import HeadMotion
from cospine.motion.cord import CordMotion
from cospine.pipeline.noise_stage import Noise
from cospine.signal.confounds import component_columns, drift_columns, expanded, outlier_columns, signal_columns

HEAD_COLUMNS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_AXES = {"x": "left-right, + is right", "y": "posterior-anterior, + is anterior", "z": "inferior-superior, + is superior"}


def head_table(head: HeadMotion) -> tuple[dict[str, Any], dict[str, Any]]:
    """Head motion table: columns, and their descriptions."""
    columns = {name: head.parameters[:, n] for n, name in enumerate(HEAD_COLUMNS)}
    how = "how the head moved from the reference (push-forward), pose at the volume's mean slice time"
    descriptions: dict[str, Any] = {
        f"trans_{axis}": {"Description": f"Translation along {axis} ({where}): {how}", "Units": "mm"}
        for axis, where in _AXES.items()
    }
    descriptions |= {
        f"rot_{axis}": {
            "Description": f"Rotation about {axis}, right-handed, R = Rz Ry Rx about the centre of the boldref's grid: {how}",
            "Units": "rad",
        }
        for axis in _AXES
    }
    return columns, descriptions


def cord_table(cord: CordMotion) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cord motion table, one row a volume and slice: columns, and their descriptions."""
    volumes, slices, _ = cord.shift_mm.shape
    columns = {
        "volume": np.repeat(np.arange(volumes), slices),
        "slice": np.tile(cord.slices, volumes),
        "shift_i_mm": cord.shift_mm[..., 0].ravel(),
        "shift_j_mm": cord.shift_mm[..., 1].ravel(),
        "shift_i_sd_mm": cord.sd_mm[..., 0].ravel(),
        "shift_j_sd_mm": cord.sd_mm[..., 1].ravel(),
    }
    descriptions: dict[str, Any] = {
        "volume": {"Description": "Volume, 0-based"},
        "slice": {"Description": "Slice, 0-based index in the stored file"},
    }
    for axis in "ij":
        descriptions[f"shift_{axis}_mm"] = {
            "Description": f"Total apparent shift of the cord along voxel axis {axis} in the distorted EPI against the reference "
            "(head, cord and breathing's B0 together), + toward the higher index",
            "Units": "mm",
        }
        descriptions[f"shift_{axis}_sd_mm"] = {
            "Description": f"Posterior standard deviation of shift_{axis}_mm",
            "Units": "mm",
        }
    return columns, descriptions


def confounds_table(
    head: HeadMotion | None,
    cord: CordMotion | None,
    displacement: NDArray | None,
    cord_displacement: NDArray | None,
    dvars: tuple[NDArray, NDArray],
    dummies: int,
    noise: Noise | None,
    high_pass_s: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Confounds by volume, named as fMRIPrep names them where it has them: columns, and their descriptions.

    Parameters
    ----------
    head, cord : HeadMotion, CordMotion or None
        Motion.
    displacement : ndarray (t,), optional
        Framewise displacement of the head, mm.
    cord_displacement : ndarray (t, slices), optional
        Framewise displacement of each cord slice, mm.
    dvars : tuple of ndarray (t,)
        DVARS and its standardised form.
    dummies : int
        Volumes at the start not in steady state.
    noise : Noise or None
        Mean signals, aCompCor and drifts; without it these columns are left out.
    high_pass_s : float
        Period from which drifts are cosines, s.
    """
    columns: dict[str, Any] = {"dvars": dvars[0], "std_dvars": dvars[1]}
    descriptions: dict[str, Any] = {
        "dvars": {"Description": "RMS over the mask of the change of signal from the volume before (Power 2012), after scaling"},
        "std_dvars": {"Description": "DVARS divided by its expectation under no change but noise (Nichols 2013)"},
    }
    tables = [] if noise is None else [signal_columns(noise.signals)]
    if head is not None and displacement is not None:
        columns = {"framewise_displacement": displacement, **columns}
        descriptions["framewise_displacement"] = {
            "Description": "Framewise displacement of the head (Power 2012, 50 mm)",
            "Units": "mm",
        }
        tables.append(expanded(*head_table(head)))
    if cord is not None and cord_displacement is not None:
        columns["cord_framewise_displacement"] = cord_displacement.mean(axis=1)
        descriptions["cord_framewise_displacement"] = {
            "Description": "Absolute changes of the cord's two in-plane shifts from the volume before, summed; mean over slices",
            "Units": "mm",
        }
        for n, k in enumerate(cord.slices):
            columns[f"cord_framewise_displacement_slice{k:02d}"] = cord_displacement[:, n]
            descriptions[f"cord_framewise_displacement_slice{k:02d}"] = {
                "Description": f"Framewise displacement of the cord in slice {k}",
                "Units": "mm",
            }
    if noise is not None:
        tables += [component_columns(kind, found) for kind, found in noise.model.components.items()]
        tables.append(drift_columns(noise.model.drift, high_pass_s))
    tables.append(outlier_columns(displacement, dvars[1], dummies))
    for table, described in tables:
        columns |= table
        descriptions |= described
    volumes = len(dvars[0])
    for n in range(dummies):
        columns[f"non_steady_state_outlier_{n:02d}"] = (np.arange(volumes) == n).astype(int)
        descriptions[f"non_steady_state_outlier_{n:02d}"] = {"Description": f"1 in volume {n}, which is not in steady state"}
    return columns, descriptions
