"""A run of a digital participant with all that is true of it, for the noise experiments.

The series is the stored one: distorted, moving. Places of tissue come from the truth, moved to where the distorted reference
shows them; the motion that stands beside the noise models is the true one, at each slice's own time. So no estimator but those
of the noise itself takes part.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from cospine.phantom.effects import number_of
from cospine.phantom.physiology import Physiology, simulate_physiology, worst_case_rates
from cospine.phantom.task import events
from cospine.physio.io import read_recordings
from cospine.physio.peaks import find_peaks
from cospine.physio.phase import cardiac_phase, respiratory_phase, steady_belt
from cospine.physio.pnm import pnm_columns
from cospine.signal.compcor import csf_column
from cospine.signal.drift import cosine_drift
from cospine.signal.tissue import cord_csf, ventricles

HEAD = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
# Delays of the pulse against the finger, and of breathing, that span what the digital body does anywhere (s).
PULSE_DELAYS_S = (-0.24, -0.18, -0.12, -0.06, 0.0, 0.06)
BREATH_LAGS_S = (0.0, 0.2, 0.5, 0.8)
WHOLE = 0.8  # least share of a voxel that a tissue fills


@dataclass(frozen=True, eq=False)
class Digital:
    """One run.

    Parameters
    ----------
    root : Path
        Dataset of `cospine simulate` with one participant.
    task : str
        pain, motorL or motorR.
    seed : int
        With which it was simulated.
    worst : bool
        With worst-case rates.
    """

    root: Path
    task: str
    seed: int
    worst: bool = False

    def __str__(self) -> str:
        return f"{self.root.name} {self.task}"

    @property
    def _func(self) -> Path:
        return self.root / "sub-01" / "func"

    def _truth(self, name: str, folder: str = "func") -> Path:
        start = "sub-01" if folder == "anat" else f"sub-01_task-{self.task}"
        return self.root / "sourcedata" / "truth" / "sub-01" / folder / f"{start}_{name}"

    @cached_property
    def series(self) -> NDArray[np.int16]:
        """Stored series (x, y, z, t), Fortran order."""
        return np.asanyarray(self._image.dataobj)

    @cached_property
    def _image(self) -> nib.Nifti1Image:
        return nib.Nifti1Image.from_filename(self._func / f"sub-01_task-{self.task}_bold.nii.gz")

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel to RAS mm."""
        return np.asarray(self._image.affine)

    @cached_property
    def sidecar(self) -> dict:
        """Of the series."""
        return json.loads((self._func / f"sub-01_task-{self.task}_bold.json").read_text())

    @property
    def volumes(self) -> int:
        """Volumes of the run."""
        return self._image.shape[3]

    @cached_property
    def times_s(self) -> NDArray[np.float64]:
        """When each slice of each volume was taken (t, slices)."""
        return np.arange(self.volumes)[:, None] * self.sidecar["RepetitionTime"] + np.array(self.sidecar["SliceTiming"])

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """Temporal mean."""
        return self.series.mean(axis=3, dtype=np.float32)

    @cached_property
    def drift(self) -> NDArray[np.float64]:
        """Cosines below 1/128 Hz (t, n)."""
        return cosine_drift(self.volumes, self.sidecar["RepetitionTime"])

    def _mask(self, name: str) -> NDArray[np.bool_]:
        return np.asanyarray(nib.Nifti1Image.from_filename(self._truth(name)).dataobj) > 0

    # --- body ---------------------------------------------------------------------------------------------------------

    @cached_property
    def body(self) -> Physiology:
        """Pulse and breathing themselves, drawn again from the seed."""
        own = number_of(self.seed, "sub-01")
        tr_s = self.sidecar["RepetitionTime"]
        switches = (self.root / "README").read_text()
        onsets, durations = events(self.task, number_of(own, self.task, "events"), self.volumes, tr_s).stimuli()
        body = simulate_physiology(
            number_of(own, self.task, "physiology"), self.volumes * tr_s, self.task, onsets, durations,
            task_locked="task_locked=True" in switches, rates_per_min=worst_case_rates(self.task, tr_s) if self.worst else None,
        )  # fmt: skip
        table = pd.read_csv(self._truth("desc-physio_timeseries.tsv"), sep="\t")
        if not np.allclose(body.pulse(table["time_s"].to_numpy()), table["pulse"], atol=1e-4):
            raise ValueError(f"{self}: not the body of seed {self.seed}")
        return body

    def waves(self) -> NDArray[np.float64]:
        """What an oracle regresses (t, slices, n): true pulse and breath at several delays, pulse by breath, powers of breath.

        The powers stand for what displacement by breathing's field does at edges, which is no linear function of it.
        """
        t = self.times_s
        pulses = [self.body.pulse(t, delay) for delay in PULSE_DELAYS_S]
        breaths = [self.body.breathing(t - lag) for lag in BREATH_LAGS_S]
        powers = [breaths[0] ** 2, breaths[0] ** 3, breaths[2] ** 2]
        return np.stack([*pulses, *breaths, *powers, pulses[1] * breaths[3]], axis=2)

    def true_pnm(self, histogram: bool = True) -> NDArray[np.float64]:
        """PNM columns of the true beats and the true chest, by Glover's histogram, or linear from breath to breath."""
        return pnm_of(self.body, self.times_s, histogram)

    def found_pnm(self, times_s: NDArray[np.float64] | None = None) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """PNM columns as found in the recordings."""
        t = self.times_s if times_s is None else times_s
        phases = {}
        for kind in ("cardiac", "respiratory"):
            (recording,) = (
                one
                for one in read_recordings(self._func / f"sub-01_task-{self.task}_recording-{kind}_physio.tsv.gz")
                if one.kind == kind
            )
            if kind == "cardiac":
                phases[kind] = cardiac_phase((recording.start_s or 0.0) + find_peaks(recording).onset_s, t)
            else:
                wave, start_s = steady_belt(recording, float(t.min()), float(t.max()))
                phases[kind] = respiratory_phase(wave, recording.rate_hz, start_s, t)
        return pnm_columns(phases["cardiac"], phases["respiratory"])

    # --- motion and task ----------------------------------------------------------------------------------------------

    def motion(self) -> NDArray[np.float64]:
        """True head pose, and true apparent shift of the cord where there is cord (t, slices, 8)."""
        shape = (*self.times_s.shape, 8)
        out = np.zeros(shape)
        head = pd.read_csv(self._truth("desc-headmotionslice_timeseries.tsv"), sep="\t")
        out[..., :6] = head[list(HEAD)].to_numpy().reshape(*shape[:2], 6)
        cord = pd.read_csv(self._truth("desc-cordmotion_timeseries.tsv"), sep="\t")
        slices = np.unique(cord["slice"])
        out[:, slices, 6:] = cord[["shift_i_mm", "shift_j_mm"]].to_numpy().reshape(shape[0], slices.size, 2)
        return out

    def activation(self, region: str) -> NDArray[np.float64]:
        """True course of a region (t, slices), height 1 for a typical trial."""
        course = (
            pd.read_csv(self._truth("desc-activation_timeseries.tsv"), sep="\t")[region].to_numpy().reshape(self.times_s.shape)
        )
        return course / np.abs(course).max()

    def activated(self) -> list[str]:
        """Regions that the task activates."""
        return list(pd.read_csv(self._truth("desc-activation_timeseries.tsv"), sep="\t", nrows=1).columns[2:])

    # --- places -------------------------------------------------------------------------------------------------------

    @cached_property
    def tissues(self) -> dict[str, NDArray[np.bool_]]:
        """Where the distorted reference shows: CSF ring about the cord, cord, grey matter, all of the brain."""
        shares = self._shares()
        cord, brain = self._mask("label-SCapparent_mask.nii.gz"), self._mask("desc-brainapparent_mask.nii.gz")
        bright = self.mean > 0.1 * np.percentile(self.mean, 98)
        return {
            "CSF ring": (shares["ring"] > WHOLE) & ~cord & bright,
            "cord": cord & bright & (shares["cord"] > WHOLE),
            "grey matter": (shares["grey"] > WHOLE) & brain & ~cord & bright,
            "brain": brain & ~cord & bright,
        }

    @cached_property
    def region_shares(self) -> dict[str, NDArray[np.float32]]:
        """Share of each activated region in each voxel of the distorted reference."""
        return {name: share for name, share in self._shares().items() if name in self.activated()}

    def _shares(self) -> dict[str, NDArray[np.float32]]:
        """Share of tissues in each voxel, counted from the T1w's labels through truth's own transforms."""
        labels = nib.Nifti1Image.from_filename(self._truth("desc-tissue_dseg.nii.gz", "anat"))
        tissue = np.asanyarray(labels.dataobj)
        names = pd.read_csv(self._truth("desc-tissue_dseg.tsv", "anat"), sep="\t").set_index("name")["index"]
        region = np.asanyarray(nib.Nifti1Image.from_filename(self._truth("desc-regions_dseg.nii.gz", "anat")).dataobj)
        canal = np.asanyarray(nib.Nifti1Image.from_filename(self._truth("desc-canal_mask.nii.gz", "anat")).dataobj) > 0
        cord = np.asanyarray(nib.Nifti1Image.from_filename(self._truth("label-SC_mask.nii.gz", "anat")).dataobj) > 0
        brain = np.asanyarray(nib.Nifti1Image.from_filename(self._truth("desc-brain_mask.nii.gz", "anat")).dataobj) > 0
        chosen = {
            "ring": canal & ~cord & (tissue == names["csf"]),
            "cord": cord,
            "grey": brain & (tissue == names["grey_matter"]),
        }
        table = pd.read_csv(self._truth("desc-regions_dseg.tsv", "anat"), sep="\t").set_index("name")["index"]
        if self._truth("desc-activation_timeseries.tsv").exists():
            chosen |= {name: region == table[name] for name in self.activated()}
        warp = nib.Nifti1Image.from_filename(self._truth("from-boldref_to-T1w_mode-image_xfm.nii.gz"))
        vectors = np.asanyarray(warp.dataobj).reshape(*warp.shape[:3], 3)
        field = np.asanyarray(nib.Nifti1Image.from_filename(self._truth("fieldmap.nii.gz")).dataobj)
        volume = abs(np.linalg.det(self.affine[:3, :3]) / np.linalg.det(np.asarray(labels.affine)[:3, :3]))
        spread = np.stack(np.meshgrid(*[(np.arange(3) - 1) / 3] * 3, indexing="ij"), -1).reshape(-1, 3)
        out = {}
        for name, mask in chosen.items():
            # every labelled voxel stands for 27 points, so that counts are fine enough
            index = (np.argwhere(mask)[:, None] + spread).reshape(-1, 3)
            ras = index @ labels.affine[:3, :3].T + labels.affine[:3, 3]
            node = (ras - warp.affine[:3, 3]) @ np.linalg.inv(warp.affine[:3, :3]).T
            # ITK stores displacements in LPS
            move = [
                sign * map_coordinates(vectors[..., c], node.T, order=1, mode="nearest") for c, sign in enumerate((-1, -1, 1))
            ]
            inverse = np.linalg.inv(self.affine)
            voxel = (ras + np.stack(move, -1)) @ inverse[:3, :3].T + inverse[:3, 3]
            hz = map_coordinates(field, voxel.T, order=1, mode="nearest")
            voxel[:, 1] += hz * self.sidecar["TotalReadoutTime"]
            nearest = np.rint(voxel).astype(int)
            inside = np.all((nearest >= 0) & (nearest < self.mean.shape), axis=1)
            flat = np.ravel_multi_index(nearest[inside].T, self.mean.shape)
            count = np.bincount(flat, minlength=self.mean.size).reshape(self.mean.shape)
            out[name] = np.minimum(count / (27 * volume), 1).astype(np.float32)
        return out

    def csf(self) -> NDArray[np.float64]:
        """CSF column (t, slices) of CoSpine's own masks, in the stored series."""
        sd = self.series.std(axis=3, dtype=np.float32)
        cord, brain = self._mask("label-SCapparent_mask.nii.gz"), self._mask("desc-brainapparent_mask.nii.gz")
        found = cord_csf(self.mean, sd, cord, self.affine) | ventricles(self.mean, sd, brain & ~cord, self.affine)
        return csf_column(self.series, found)


def pnm_of(body: Physiology, times_s: NDArray[np.float64], histogram: bool = True) -> NDArray[np.float64]:
    """PNM columns (t, slices, 32) of a body's own beats and chest."""
    phase = body.respiratory_phase(times_s)
    if histogram:
        within = (body.breath_times_s > -10) & (body.breath_times_s < times_s.max() + 10)
        at = body.breath_times_s[within]
        phase = respiratory_phase(body.breath_waveform[within], 1 / (at[1] - at[0]), at[0], times_s)
    return pnm_columns(body.cardiac_phase(times_s), phase)[1]


def stack(*parts: NDArray) -> NDArray[np.float64]:
    """Designs (slices, t, p) of columns (t, n), (t, slices) and (t, slices, n)."""
    slices = next(part.shape[1] for part in parts if part.ndim == 3)
    wide = []
    for part in parts:
        if part.ndim == 3:
            wide.append(part)
        elif part.shape[1] == slices:
            wide.append(part[..., None])
        else:
            wide.append(np.broadcast_to(part[:, None], (part.shape[0], slices, part.shape[1])))
    return np.concatenate(wide, axis=2).transpose(1, 0, 2)
