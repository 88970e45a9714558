"""One process, one tool: read a series, follow the head, resample, write. Run by `motion.py`, a fresh interpreter each.

`python peers.py TOOL SERIES OUT [VOLUME,..]`: OUT receives `corrected.nii.gz` and `pullback.txt`, for every volume a row of
16 numbers: the matrix that takes reference RAS mm to where the volume has that point, RAS mm. `timing.json` tells how long
the part took that is repeated for each volume, so that a run on some volumes can be scaled to all.

Settings are fixed here, once, the same for every series.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def cospine(path: Path, out: Path, volumes: list[int] | None) -> float:
    """Ours: no settings."""
    from cospine.anatomy.brain_mask import find_brain
    from cospine.bids.images import load_image
    from cospine.bids.write import write_bold, write_text
    from cospine.motion.brain import estimate_head_motion
    from cospine.pipeline.run_parts import thermal_noise
    from cospine.space.grid import Grid
    from cospine.space.io import itk_series
    from cospine.space.resample import resample_series

    marks = [time.perf_counter()]

    def passed() -> float:
        marks.append(time.perf_counter())
        return marks[-1] - marks[-2]

    parts = {}
    series, affine = load_image(path)
    if volumes is not None:
        series = np.asfortranarray(series[..., volumes])
    grid = Grid(series.shape[:3], affine)
    parts["read"] = passed()
    some = np.unique(np.linspace(0, series.shape[3] - 1, min(30, series.shape[3])).astype(int))
    mean = np.zeros(grid.shape, np.float32, order="F")
    for t in some:
        mean += series[..., t] / len(some)
    brain = find_brain(mean, grid)
    parts["mask"] = passed()
    motion = estimate_head_motion(series, grid, brain.mask)
    parts["estimate"] = passed()
    noise_sd = thermal_noise(series, mean)
    matrices = grid.inverse @ motion.poses @ grid.affine
    shape = (series.shape[3], grid.shape[2], 4, 4)
    resample_series(series, np.broadcast_to(matrices[:, None], shape), out=series)
    parts["resample"] = passed()
    write_bold(out / "corrected.nii.gz", series, affine, 2.0, noise_sd=noise_sd)
    write_text(out / "motion.txt", itk_series(motion.poses, grid.centre))
    parts["write"] = passed()
    _save(out, motion.poses)
    (out / "parts.json").write_text(json.dumps(parts))
    return marks[-1] - marks[0]


def elastix(path: Path, out: Path, volumes: list[int] | None) -> float:
    """Elastix' rigid default with three levels, the metric for images of one kind and samples enough for 0.1 voxel."""
    import itk

    series, affine = _load(path)
    chosen = _chosen(series, volumes)
    parameters = itk.ParameterObject.New()
    rigid = parameters.GetDefaultParameterMap("rigid", 3)
    rigid["Metric"] = ["AdvancedNormalizedCorrelation"]
    rigid["NumberOfSpatialSamples"] = ["4096"]
    rigid["MaximumNumberOfIterations"] = ["256"]
    parameters.AddParameterMap(rigid)
    fixed = _itk_volume(itk, series[..., 0], affine)
    matrices = []
    corrected = np.empty((*series.shape[:3], len(chosen)), np.float32, order="F")
    start = time.perf_counter()
    for n, t in enumerate(chosen):
        moving = _itk_volume(itk, series[..., t], affine)
        result, found = itk.elastix_registration_method(fixed, moving, parameter_object=parameters, log_to_console=False)
        corrected[..., n] = itk.array_view_from_image(result).T
        matrices.append(_from_elastix(found))
    spent = time.perf_counter() - start
    _write(out, corrected, affine)
    _save(out, np.array(matrices))
    return spent


def simpleitk(path: Path, out: Path, volumes: list[int] | None) -> float:
    """Euler angles, mean squares on a tenth of the voxels, regular steps, three levels."""
    return _simpleitk(path, out, volumes, 0.1)


def simpleitk_all(path: Path, out: Path, volumes: list[int] | None) -> float:
    """The same on all voxels."""
    return _simpleitk(path, out, volumes, 1.0)


def _simpleitk(path: Path, out: Path, volumes: list[int] | None, share: float) -> float:
    import SimpleITK as sitk

    series, affine = _load(path)
    chosen = _chosen(series, volumes)

    def image(volume: NDArray) -> sitk.Image:
        made = sitk.GetImageFromArray(np.ascontiguousarray(volume.T))
        geometry = LPS @ affine
        spacing = np.linalg.norm(geometry[:3, :3], axis=0)
        made.SetSpacing(spacing.tolist())
        made.SetOrigin(geometry[:3, 3].tolist())
        made.SetDirection((geometry[:3, :3] / spacing).ravel().tolist())
        return made

    fixed = image(series[..., 0])
    centre = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, relaxationFactor=0.5, gradientMagnitudeTolerance=1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    matrices = []
    corrected = np.empty((*series.shape[:3], len(chosen)), np.float32, order="F")
    start = time.perf_counter()
    for n, t in enumerate(chosen):
        moving = image(series[..., t])
        transform = sitk.Euler3DTransform()
        transform.SetCenter(centre)
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(fixed, moving)
        moved = sitk.Resample(moving, fixed, transform, sitk.sitkBSpline, 0.0)
        corrected[..., n] = sitk.GetArrayViewFromImage(moved).T
        matrices.append(_from_itk(transform.GetMatrix(), transform.GetTranslation(), transform.GetCenter()))
    spent = time.perf_counter() - start
    _write(out, corrected, affine)
    _save(out, np.array(matrices))
    return spent


def antspyx(path: Path, out: Path, volumes: list[int] | None) -> float:
    """`ants.motion_correction` as it comes (BOLDRigid to the mean of the series)."""
    import ants

    series = ants.image_read(str(path))
    affine = np.eye(4)
    affine[:3, :3] = series.direction[:3, :3] * series.spacing[:3]
    affine[:3, 3] = series.origin[:3]
    affine = LPS @ affine
    fixed = None
    if volumes is not None:
        values = series.numpy()
        fixed = ants.from_numpy(
            values.mean(axis=3), origin=series.origin[:3], spacing=series.spacing[:3], direction=series.direction[:3, :3]
        )
        series = ants.from_numpy(values[..., volumes], origin=series.origin, spacing=series.spacing, direction=series.direction)
    start = time.perf_counter()
    found = ants.motion_correction(series, fixed=fixed)
    spent = time.perf_counter() - start
    ants.image_write(found["motion_corrected"], str(out / "corrected.nii.gz"))
    matrices = []
    for files in found["motion_parameters"]:
        transform = ants.read_transform(files[0])
        matrices.append(_from_itk(transform.parameters[:9], transform.parameters[9:], transform.fixed_parameters))
    _save(out, np.array(matrices))
    return spent


def from_niimath(path: Path, affine: NDArray, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Pull-back matrices, RAS mm, from the table of `niimath -moco -1Dfile`.

    Degrees about I-S, R-L and A-P and mm toward S, L and P, turning about the middle of the grid; order and signs were found
    on a series without noise (`motion.py --check`).
    """
    rows = np.atleast_2d(np.loadtxt(path))
    half = (np.array(shape[:3]) - 1) / 2
    centre = affine[:3, :3] @ half + affine[:3, 3]
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    for matrix, (roll, pitch, yaw, superior, left, posterior) in zip(matrices, rows, strict=True):
        rotation = _about("z", -roll) @ _about("x", pitch) @ _about("y", yaw)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = centre + rotation @ ([left, posterior, -superior] - centre)
    return matrices


def _about(axis: str, degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix


def _from_itk(matrix, translation, centre) -> NDArray[np.float64]:
    """ITK's x -> A (x - c) + c + t, LPS, as a matrix in RAS."""
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(matrix, (3, 3))
    lps[:3, 3] = np.asarray(translation) + centre - lps[:3, :3] @ np.asarray(centre)
    return LPS @ lps @ LPS


def _from_elastix(found) -> NDArray[np.float64]:
    table = found.GetParameterMap(found.GetNumberOfParameterMaps() - 1)
    x, y, z, *translation = (float(p) for p in table["TransformParameters"])
    centre = [float(c) for c in table["CenterOfRotationPoint"]]
    # Euler3DTransform without ComputeZYX: R = Rz Rx Ry
    rotation = _about("z", np.rad2deg(z)) @ _about("x", np.rad2deg(x)) @ _about("y", np.rad2deg(y))
    return _from_itk(rotation, translation, centre)


def _itk_volume(itk, volume: NDArray, affine: NDArray):
    image = itk.image_from_array(np.ascontiguousarray(volume.T))
    geometry = LPS @ affine
    spacing = np.linalg.norm(geometry[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(geometry[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(geometry[:3, :3] / spacing)))
    return image


def _load(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    import nibabel as nib

    image = nib.load(path)
    return image.get_fdata(dtype=np.float32), image.affine


def _chosen(series: NDArray, volumes: list[int] | None) -> list[int]:
    return list(range(series.shape[3])) if volumes is None else volumes


def _write(out: Path, corrected: NDArray, affine: NDArray) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(np.rint(corrected).astype(np.int16), affine)
    nib.openers.Opener.default_compresslevel = 1
    nib.save(image, out / "corrected.nii.gz")


def _save(out: Path, matrices: NDArray) -> None:
    np.savetxt(out / "pullback.txt", matrices.reshape(len(matrices), 16), fmt="%.12g")


PEERS = {f.__name__: f for f in (cospine, elastix, simpleitk, simpleitk_all, antspyx)}


def main(tool: str, path: str, out: str, volumes: str = "") -> None:
    """Run one tool."""
    chosen = [int(t) for t in volumes.split(",")] if volumes else None
    spent = PEERS[tool](Path(path), Path(out), chosen)
    (Path(out) / "timing.json").write_text(json.dumps({"loop_s": spent}))


if __name__ == "__main__":
    main(*sys.argv[1:])
