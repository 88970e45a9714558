"""The files of `sourcedata/truth/sub-XX/`: what each holds, on which grid.

`P` is the run's prefix (`sub-01_task-pain`). `EPI` is the BOLD series' grid of nominal voxels; images on it are free of B0
distortion unless stated. The reference pose is the pose in which the run begins, with the resting field.

=====================================================  ==============================================================
func/P_desc-headmotion_timeseries.tsv                  Per volume: tissue pose (mean over slices, counted by the brain
                                                       in them) as `trans_x .. rot_z`; `apparent_trans_x .. apparent_rot_z`
                                                       rigid fit to what the images show; `jump`. Push-forward against the
                                                       reference pose, RAS mm and rad about the EPI grid's centre.
func/P_desc-headmotionslice_timeseries.tsv             The same tissue pose for each `volume` and `slice`, and `jump`.
func/P_desc-cordmotion_timeseries.tsv                  Per volume and slice with cord: `shift_i_mm`, `shift_j_mm` total
                                                       apparent in-plane shift in the distorted image; `shift_mech_*` tissue
                                                       (head, neck, cord); `shift_b0_*` the field's part; `shift_k_mm` of
                                                       tissue through the plane; `vertebral_level`.
func/P_desc-physio_timeseries.tsv                      Per volume and slice: `time_s`, `cardiac_phase`, `respiratory_phase`,
                                                       `pulse`, `breathing` (1 = one breath at rest, peak to peak).
func/P_recording-<kind>_desc-peaks_timeseries.tsv       True systolic maxima, or ends of inspiration (`onset`, s from
                                                       the first volume), within the recording.
func/P_desc-activation_timeseries.tsv                  Per volume and slice: fractional change of each active region.
func/P_desc-reference_boldref                          EPI, reference pose, distorted, free of noise.
func/P_desc-undistorted_boldref                        EPI, reference pose, no B0 distortion, free of noise.
func/P_fieldmap                                        EPI, Hz, reference pose.
func/P_desc-brain_mask, P_label-SC_mask                EPI, reference pose.
func/P_desc-brainapparent_mask, P_label-SCapparent_mask  The same where the distorted reference shows them.
func/P_desc-activation_boldmap                         EPI, % of the voxel's own signal at the response's drawn amplitude.
func/P_desc-activationapparent_boldmap                 The same in the distorted reference.
func/P_desc-vertebrae_dseg, P_desc-spinalsegments_dseg EPI: vertebral (C1 = 1 .. T1 = 8) and spinal level (C8 = 8) in the cord.
func/P_from-boldref_to-T1w_mode-image_xfm              ITK displacement field on a 4 mm grid: T1w point to undistorted EPI
                                                       point (head pose, bent neck and gradient non-linearity).
anat/sub-XX_desc-brain_mask, _label-SC_mask, _desc-canal_mask, _desc-vertebrae_dseg, _desc-spinalsegments_dseg,
_desc-regions_dseg (+ .tsv), _desc-tissue_dseg (+ .tsv)  T1w grid.
anat/sub-XX_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm
                                                       ITK displacement field on a 4 mm grid: MNI point to T1w point.
                                                       PAM50 shares that world, so it serves the neck too.
anat/sub-XX_from-MNI152NLin2009aSym_to-T1w_mode-image_xfm  The inverse: T1w point to MNI (or PAM50) point.
anat/sub-XX_desc-landmarks_points.tsv                  Discs (3 = C2-C3), foramen magnum, T1 and pivot, RAS mm of the T1w.
fmap/sub-XX_acq-<task>_desc-pose_timeseries.tsv        Head pose of each image of the pair against the T1w, about the pivot
                                                       of the head; fmap/sub-XX_acq-gre_.. the same of the GRE map.
fmap/Q_fieldmap                                        EPI, Hz, pose of that image of the pair, its breath included slice by
                                                       slice. `Q` is `sub-XX_acq-<task>_dir-<AP|PA>`.
fmap/Q_desc-resting_fieldmap                           The same without the breath.
fmap/Q_desc-undistorted_epi                            EPI, spin echo at that image's pose, no B0 distortion, free of noise.
fmap/Q_desc-brain_mask, Q_label-SC_mask                EPI, that image's pose.
fmap/sub-XX_acq-gre_fieldmap                           GRE grid, Hz, its pose, shim and breath: what the phase difference shows.
fmap/sub-XX_acq-gre_desc-epishim_fieldmap              The same with the EPI's shim in place of the GRE's.
=====================================================  ==============================================================
"""

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cospine.bids import write_bytes, write_json, write_nifti, write_tsv
from cospine.phantom import tissues
from cospine.phantom.effects import number_of
from cospine.phantom.epi import Body, Encoding, Lattice, State, Surroundings, apparent_position, render, restrict
from cospine.phantom.images import slabs, with_signal
from cospine.phantom.regions import REGIONS
from cospine.phantom.scene import Course, Subject
from cospine.phantom.task import responses
from cospine.phantom.truth import CordTruth, HeadTruth, displacement, field_map, reference_state

POSE = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
UNITS = {name: {"Units": "mm" if name.startswith("trans") else "rad"} for name in POSE}
XFM_GRID_MM = 4.0


def write_motion(folder: Path, prefix: str, head: HeadTruth, cord: CordTruth) -> None:
    """Tables of head and cord motion."""
    columns = {name: head.volumes[:, c] for c, name in enumerate(POSE)}
    columns |= {f"apparent_{name}": head.apparent[:, c] for c, name in enumerate(POSE)}
    columns["jump"] = head.jump_volume.astype(int)
    about = {
        "Description": "Push-forward from the run's reference pose, R = Rz Ry Rx about the centre of the EPI grid",
        **{name: {"Description": "Tissue, mean over slices counted by their brain", **UNITS[name]} for name in POSE},
        **{f"apparent_{name}": {"Description": "Rigid fit to where the images show the brain", **UNITS[name]} for name in POSE},
        "jump": {"Description": "The head jumped during this volume"},
    }
    write_tsv(folder / f"{prefix}_desc-headmotion_timeseries.tsv", columns, about)
    volumes, n = head.slices.shape[:2]
    write_tsv(
        folder / f"{prefix}_desc-headmotionslice_timeseries.tsv",
        {"volume": np.repeat(np.arange(volumes), n), "slice": np.tile(np.arange(n), volumes)}
        | {name: head.slices[..., c].ravel() for c, name in enumerate(POSE)}
        | {"jump": head.jump_slice.astype(int).ravel()},
    )  # fmt: skip
    volumes, n = cord.total.shape[:2]
    field = cord.total - cord.mechanical
    write_tsv(
        folder / f"{prefix}_desc-cordmotion_timeseries.tsv",
        {
            "volume": np.repeat(np.arange(volumes), n),
            "slice": np.tile(cord.slices, volumes),
            "shift_i_mm": cord.total[..., 0].ravel(),
            "shift_j_mm": cord.total[..., 1].ravel(),
            "shift_mech_i_mm": cord.mechanical[..., 0].ravel(),
            "shift_mech_j_mm": cord.mechanical[..., 1].ravel(),
            "shift_b0_i_mm": field[..., 0].ravel(),
            "shift_b0_j_mm": field[..., 1].ravel(),
            "shift_k_mm": cord.mechanical[..., 2].ravel(),
            "vertebral_level": np.tile(cord.level, volumes),
        },
        {
            "Description": "Shift of the cord's cross-section in each slice against the run's reference pose, "
            "mm toward the higher voxel index",
            "shift_i_mm": {"Description": "Total apparent shift in the distorted image", "Units": "mm"},
            "shift_j_mm": {"Description": "Total apparent shift in the distorted image", "Units": "mm"},
            "vertebral_level": {"Description": "C1 = 1 .. C7 = 7, T1 = 8, T2 = 9; 0 above C1"},
        },
    )


def write_courses(folder: Path, prefix: str, course: Course) -> None:
    """Tables of physiology and activation at every slice."""
    volumes, n = course.times_s.shape
    where = {"volume": np.repeat(np.arange(volumes), n), "slice": np.tile(np.arange(n), volumes)}
    times, body = course.times_s, course.physiology
    write_tsv(
        folder / f"{prefix}_desc-physio_timeseries.tsv",
        where
        | {
            "time_s": times.ravel(),
            "cardiac_phase": body.cardiac_phase(times).ravel(),
            "respiratory_phase": body.respiratory_phase(times).ravel(),
            "pulse": body.pulse(times).ravel(),
            "breathing": body.breathing(times).ravel(),
        },
    )
    if course.activation:
        write_tsv(
            folder / f"{prefix}_desc-activation_timeseries.tsv",
            where | {region: change.ravel() for region, change in course.activation.items()},
        )


def _shares(subject: Subject, of_region: dict[str, float]) -> NDArray[np.float32]:
    weights = np.array([of_region.get(name, 0.0) for name in REGIONS], np.float32)
    return weights[subject.anatomy.region]


def write_maps(
    folder: Path,
    prefix: str,
    subject: Subject,
    course: Course,
    task: str,
    body: Body,
    around: Surroundings,
    lattice: Lattice,
) -> None:
    """Reference images, masks, levels, field and activation on the EPI grid."""
    anatomy, encoding = subject.anatomy, lattice.encoding
    base = course.base
    state = reference_state(base, encoding.shape[2], course.state.turn_field)
    whole = np.ones(body.signal.shape)
    cord_only = restrict(lattice, with_signal(body, anatomy.cord_mask))
    flat_encoding = replace(encoding, total_readout_s=0.0)

    def flat(image: NDArray, on: Lattice = lattice) -> NDArray[np.float32]:
        return render(with_signal(body, image), replace(on, encoding=flat_encoding), state)

    def seen(image: NDArray) -> NDArray[np.float32]:
        return render(with_signal(body, image), lattice, state)

    def save(name: str, image: NDArray, **sidecar: object) -> None:
        _save(folder / f"{prefix}_{name}", image, encoding, **sidecar)

    plain, distorted = flat(body.signal), seen(body.signal)
    save("desc-undistorted_boldref", plain)
    save("desc-reference_boldref", distorted)
    save("fieldmap", field_map(body, around, encoding, state), Units="Hz")
    presence = np.maximum(seen(whole), 1e-3)
    for name, mask in (("desc-brain", anatomy.brain_mask), ("label-SC", anatomy.cord_mask)):
        save(f"{name}_mask", flat(mask) > 0.5)
        save(f"{name}apparent_mask", seen(mask) / presence > 0.5)
    for name, level in (("vertebrae", anatomy.vertebral_level), ("spinalsegments", anatomy.spinal_level)):
        shares = {value: flat(level == value, cord_only) for value in np.unique(level[level > 0])}
        save(f"desc-{name}_dseg", _majority(shares, flat(anatomy.cord_mask, cord_only) > 0.5))
    if course.activation:
        percent = _shares(
            subject, {r.region: 100 * r.amplitude for r in responses(task, number_of(subject.seed, task, "activation"))}
        )
        active = body.signal * percent
        unit = {"Units": "percent"}
        save("desc-activation_boldmap", flat(active) / np.maximum(plain, 1e-3) * (plain > 1), **unit)
        save("desc-activationapparent_boldmap", seen(active) / np.maximum(distorted, 1e-3) * (distorted > 1), **unit)
    still = reference_state(base, 1, False)

    def to_epi(points: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = apparent_position(points, body, around, encoding, still, np.zeros(len(points), int))
        return encoding.positions(moved.nominal)

    write_displacement(folder / f"{prefix}_from-boldref_to-T1w_mode-image_xfm.nii.gz", to_epi)


def _save(stem: Path, image: NDArray, encoding: Encoding, **sidecar: object) -> None:
    write_nifti(stem.with_name(f"{stem.name}.nii.gz"), image, encoding.affine)
    if sidecar:
        write_json(stem.with_name(f"{stem.name}.json"), sidecar)


def write_fieldmap(stem: Path, body: Body, around: Surroundings, encoding: Encoding, state: State) -> None:
    """Field (Hz) of an image: each slice at the pose and in the breath in which it was taken."""
    _save(stem.with_name(f"{stem.name}_fieldmap"), field_map(body, around, encoding, state), encoding, Units="Hz")


def write_pair_maps(stem: Path, subject: Subject, body: Body, around: Surroundings, lattice: Lattice, state: State) -> None:
    """Field, undistorted image and masks of one image of a field-map pair, on its grid and at its pose.

    Parameters
    ----------
    stem : Path
        Folder and start of the names.
    subject, body, around, lattice
        As rendered; the lattice covers everything.
    state : State
        The image's own.
    """
    encoding = lattice.encoding
    resting = replace(state, breathing=np.zeros_like(state.breathing))
    write_fieldmap(stem, body, around, encoding, state)
    write_fieldmap(stem.with_name(f"{stem.name}_desc-resting"), body, around, encoding, resting)
    flat = replace(lattice, encoding=replace(encoding, total_readout_s=0.0))
    brain, cord = subject.anatomy.brain_mask, subject.anatomy.cord_mask
    for name, image in (
        ("desc-undistorted_epi", render(body, flat, state)),
        ("desc-brain_mask", render(with_signal(body, brain), flat, state) > 0.5),
        ("label-SC_mask", render(with_signal(body, cord), flat, state) > 0.5),
    ):
        _save(stem.with_name(f"{stem.name}_{name}"), image, encoding)


def _majority(shares: dict[int, NDArray[np.float32]], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Label (i, j, k) that fills most of each voxel of a mask."""
    best = np.zeros(mask.shape, np.float32)
    out = np.zeros(mask.shape, np.uint8)
    for value, share in shares.items():
        better = mask & (share > best)
        best[better], out[better] = share[better], value
    return out


def write_displacement(path: Path, transform_points) -> None:
    """Displacement field on a 4 mm grid that covers head and neck, as ITK reads it."""
    affine = np.diag([XFM_GRID_MM, XFM_GRID_MM, XFM_GRID_MM, 1.0])
    affine[:3, 3] = (-104, -136, -240)
    image = nib.Nifti1Image(displacement(transform_points, affine, (53, 67, 100)), affine)
    image.header.set_intent("vector")  # without it ITK reads no vectors
    write_bytes(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def write_anatomy(folder: Path, prefix: str, subject: Subject, encoding: Encoding) -> None:
    """Masks, labels, landmarks and transforms of the T1w."""
    anatomy = subject.anatomy
    inverse = np.linalg.inv(anatomy.affine)
    images = {
        "desc-brain_mask": anatomy.brain_mask,
        "label-SC_mask": anatomy.cord_mask,
        "desc-canal_mask": anatomy.canal_mask,
        "desc-vertebrae_dseg": anatomy.vertebral_level,
        "desc-spinalsegments_dseg": anatomy.spinal_level,
        "desc-regions_dseg": anatomy.region,
        "desc-tissue_dseg": anatomy.tissue,
    }
    out = {name: np.zeros(encoding.shape, np.uint8, order="F") for name in images}
    for part, piece in slabs(encoding):
        index = np.stack(np.meshgrid(*(np.arange(s) for s in piece.shape), indexing="ij"), -1).astype(np.float32)
        points = index @ piece.affine[:3, :3].T.astype(np.float32) + piece.affine[:3, 3].astype(np.float32)
        nearest = np.rint(points @ inverse[:3, :3].T.astype(np.float32) + inverse[:3, 3].astype(np.float32)).astype(np.int32)
        inside = np.all((nearest >= 0) & (nearest < anatomy.tissue.shape[::-1]), axis=-1)
        i, j, k = np.moveaxis(nearest * inside[..., None], -1, 0)
        for name, image in images.items():
            out[name][..., part] = np.where(inside, image[k, j, i], 0)
    for name, image in out.items():
        write_nifti(folder / f"{prefix}_{name}.nii.gz", image, encoding.affine)
    write_tsv(folder / f"{prefix}_desc-regions_dseg.tsv", {"index": range(1, len(REGIONS)), "name": REGIONS[1:]})
    names = [t.name for t in tissues.TISSUES]
    write_tsv(folder / f"{prefix}_desc-tissue_dseg.tsv", {"index": range(len(names)), "name": names})
    points = {f"disc_{number}": place for number, place in sorted(anatomy.discs.items())}
    points["head_pivot"] = np.asarray(anatomy.head_pivot)
    line = anatomy.centreline[np.argsort(anatomy.centreline[:, 2])]
    for name, z in (("foramen_magnum", anatomy.foramen_magnum_z), ("T1", anatomy.t1_z)):
        points[name] = np.array([np.interp(z, line[:, 2], line[:, c]) for c in range(3)])
    places = np.array(list(points.values()))
    write_tsv(
        folder / f"{prefix}_desc-landmarks_points.tsv",
        {"name": list(points), "x": places[:, 0], "y": places[:, 1], "z": places[:, 2]},
    )
    mni = "MNI152NLin2009aSym"
    write_displacement(folder / f"{prefix}_from-T1w_to-{mni}_mode-image_xfm.nii.gz", anatomy.deformation.to_individual)
    write_displacement(folder / f"{prefix}_from-{mni}_to-T1w_mode-image_xfm.nii.gz", anatomy.deformation.to_canonical)
