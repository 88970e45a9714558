"""The one door to antspyx: images and transforms across.

Registrations run with metrics that sample every voxel in a fixed order (GC, CC, MI), for a fixed number of iterations and on a
fixed number of threads (`cospine.threads`), so that the same input gives the same transform on every machine. ITK learns that
number once, when it is first imported, in :func:`antspyx`: nothing else here or elsewhere imports ants.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cospine.space.grid import Grid
from cospine.space.transform import Affine, Displacement
from cospine.threads import settle_libraries

_LPS = np.diag([-1.0, -1.0, 1.0])


def antspyx() -> ModuleType:
    """Import antspyx, with as many threads as on every machine."""
    settle_libraries()
    import ants

    return ants


def to_ants(data: NDArray, grid: Grid) -> Any:
    """An array (x, y, z) on a grid as an ANTsImage: uint8 if it is bool, as registrations take masks, else float32."""
    spacing = grid.voxel_mm
    return antspyx().from_numpy(
        np.ascontiguousarray(data, dtype=np.uint8 if data.dtype == bool else np.float32),
        origin=tuple((_LPS @ grid.affine[:3, 3]).tolist()),
        spacing=tuple(spacing.tolist()),
        direction=_LPS @ (grid.affine[:3, :3] / spacing),
    )


def affine_stage(fixed: Any, moving: Any, fixed_mask: Any, *, shrink: Sequence[int], iterations: Sequence[int]) -> list[str]:
    """Arguments of an affine stage by global correlation (dense sampling) within a mask of the fixed image."""
    return [
        *("-t", "Affine[0.1]", "-m", f"GC[{_pointer(fixed)},{_pointer(moving)},1,1]"),
        *_levels(iterations, shrink),
        *("-x", _pointer(fixed_mask)),
    ]


def syn_stage(
    fixed: Any,
    moving: Any,
    fixed_mask: Any,
    *,
    metrics: Mapping[Literal["CC", "MI"], int],
    shrink: Sequence[int],
    iterations: Sequence[int],
    step: float,
    update_variance: float,
    total_variance: float,
) -> list[str]:
    """Arguments of a symmetric diffeomorphic stage (Avants et al., Med Image Anal 2008).

    Metrics, with equal weights, are local correlation (CC, with its radius in voxels of the fixed image) and mutual information
    (MI after Mattes, with its number of bins); the variances of the Gaussians that smooth each update and the whole field are in
    voxels squared.
    """
    images = f"{_pointer(fixed)},{_pointer(moving)}"
    return [
        *("-t", f"SyN[{step},{update_variance},{total_variance}]"),
        *chain.from_iterable(("-m", f"{name}[{images},1,{reach}]") for name, reach in metrics.items()),
        *_levels(iterations, shrink),
        *("-x", _pointer(fixed_mask)),
    ]


def register(stages: Sequence[list[str]], initial: Affine, folder: Path, name: str, *, seed: int = 1) -> Path:
    """Run stages one after the other.

    Parameters
    ----------
    stages : sequence of list of str
        From :func:`affine_stage` and :func:`syn_stage`. The images they name must be alive.
    initial : Affine
        Fixed point to moving point, RAS mm.
    folder : Path
        Where antspyx leaves its files.
    name : str
        How they begin.
    seed : int
        Of ITK's generator, from which dense metrics draw nothing.

    Returns
    -------
    Path
        Prefix of the files: ``0GenericAffine.mat`` and, after a SyN stage, ``1Warp.nii.gz`` and ``1InverseWarp.nii.gz`` follow.
    """
    ants = antspyx()
    start = folder / f"{name}_initial.mat"
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ initial.matrix @ np.diag([-1.0, -1.0, 1.0, 1.0])
    transform = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, matrix=matrix[:3, :3], translation=matrix[:3, 3], center=np.zeros(3)
    )
    ants.write_transform(transform, str(start))
    prefix = folder / f"{name}_"
    arguments = ["-d", "3", "--float", "1", "--random-seed", str(seed), "-o", f"[{prefix}]", "-r", str(start)]
    ants.registration([*arguments, *(argument for stage in stages for argument in stage)], None)
    return prefix


def read_affine(path: Path) -> Affine:
    """An ITK affine file as a pull-back map of RAS mm."""
    transform = antspyx().read_transform(str(path))
    numbers, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Affine(flip @ matrix @ flip)


def read_displacement(path: Path) -> Displacement:
    """An ITK displacement field file as a pull-back map of RAS mm, float32."""
    image = nib.Nifti1Image.from_filename(path)
    vectors = np.asarray(image.dataobj, dtype=np.float32)[:, :, :, 0, :] * np.array([-1, -1, 1], dtype=np.float32)
    return Displacement(Grid(vectors.shape[:3], np.asarray(image.affine)), vectors)


def _pointer(image: Any) -> str:
    """The name under which ants' own code finds an image in memory."""
    from ants.internal import get_pointer_string

    return get_pointer_string(image)


def _levels(iterations: Sequence[int], shrink: Sequence[int]) -> list[str]:
    """A resolution pyramid that runs its iterations whatever the metric does: the threshold is never met."""
    count = "x".join(str(n) for n in iterations)
    smoothing = "x".join(str(n // 2) for n in shrink)
    return ["-c", f"[{count},1e-12,10]", "-f", "x".join(str(n) for n in shrink), "-s", f"{smoothing}vox"]
