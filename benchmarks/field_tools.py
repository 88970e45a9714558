"""Pairs of opposite phase encoding, and the tools that find a field in them: CoSpine here, PyHySCO in a process of its own."""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cospine.field.encoding import Encoding
from cospine.field.pepolar import estimate_field
from cospine.space.grid import Grid

OURS = "CoSpine"
STILL = (np.eye(4), np.eye(4))
SPHERES = (13, 26, 52)  # readout, ms
# The documented calls of PyHySCO's README, with its command line's defaults; a process of its own, for it brings PyTorch.
_PEER = """
import json, sys, time
import torch
from EPI_MRI.EPIMRIDistortionCorrection import *
from optimization.GaussNewton import *
first, second, axis, out, alpha, iterations, repeats = sys.argv[1:]
spent = []
for _ in range(int(repeats)):
    data = DataObject(first, second, int(axis) + 1, device="cpu", dtype=torch.float32)
    loss = EPIMRIDistortionCorrection(data, float(alpha), 1e-4, regularizer=myLaplacian3D, PC=JacobiCG)
    start, used = time.perf_counter(), time.process_time()
    begin = loss.initialize(blur_result=True)
    solver = GaussNewton(loss, max_iter=int(iterations), verbose=False, path=out)
    solver.run_correction(begin)
    spent.append([time.perf_counter() - start, time.process_time() - used])
solver.apply_correction(method="jac")
print(json.dumps(spent))
"""


@dataclass(frozen=True)
class Pair:
    """Two images with opposite phase encoding.

    Parameters
    ----------
    name : str
        In the tables.
    images : tuple of ndarray (x, y, z) float32
        As acquired.
    encodings : tuple of Encoding
        Of each.
    affine : ndarray (4, 4)
        Of both.
    """

    name: str
    images: tuple[NDArray[np.float32], ...]
    encodings: tuple[Encoding, ...]
    affine: NDArray[np.float64]

    @property
    def axis(self) -> int:
        """Phase encoding."""
        return self.encodings[0].axis

    @property
    def voxel_mm(self) -> float:
        """Along the phase encoding."""
        return float(np.linalg.norm(self.affine[:3, self.axis]))


@dataclass(frozen=True)
class Peer:
    """PyHySCO with one setting.

    Parameters
    ----------
    name : str
        In the tables.
    alpha : float
        Weight of its smoothness; 300 is its default.
    iterations : int
        At most; 50 is its default.
    """

    name: str
    alpha: float
    iterations: int


PEERS = {"default": Peer("PyHySCO", 300, 50), "tuned": Peer("PyHySCO, alpha 50", 50, 50)}


@dataclass(frozen=True)
class Estimate:
    """What a tool made of a pair.

    Parameters
    ----------
    tool : str
        Which.
    field_hz : ndarray (x, y, z)
        On the pair's grid.
    poses : tuple of ndarray (4, 4)
        RAS mm of the reference to RAS mm of each image.
    share : ndarray (x, y, z) or float
        How much of these a voxel follows.
    own : tuple of ndarray (x, y, z)
        Both images as the tool itself corrects them.
    wall_s, cpu_s : float
        Of the estimation alone, images in memory: median of the repeats.
    first_s : float
        Wall time of the first call in the process.
    """

    tool: str
    field_hz: NDArray
    poses: tuple[NDArray, ...]
    share: NDArray | float
    own: tuple[NDArray, ...]
    wall_s: float
    cpu_s: float
    first_s: float


def read_pair(name: str, paths: Sequence[Path]) -> Pair:
    """Two images and their sidecars; of a series its last volume, which is farthest in the steady state."""
    images, encodings, affines = [], [], []
    for path in paths:
        image = nib.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
        images.append(data[..., -1] if data.ndim == 4 else data)
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        encodings.append(Encoding.parse(sidecar["PhaseEncodingDirection"], sidecar["TotalReadoutTime"], str(path)))
        affines.append(image.affine)
    if not np.allclose(affines[0], affines[1], atol=1e-3):
        raise SystemExit(f"{name}: the two images are not on one grid")
    return Pair(name, tuple(images), tuple(encodings), affines[0])


def real_pairs(shared: Path) -> dict[str, Pair]:
    """The pairs that ``MANIFEST.md`` lists."""
    places = {"head-neck": ("head-neck/sub-01", "AP", "PA"), "human": ("blips/sub-human", "reverse", "forward")}
    places |= {f"sphere {ms} ms": (f"blips/sub-sphere{ms}", "AP", "PA") for ms in SPHERES}
    out = {}
    for name, (folder, *directions) in places.items():
        start = shared / "data" / folder / "fmap" / Path(folder).name
        out[name] = read_pair(name, [Path(f"{start}_dir-{direction}_epi.nii.gz") for direction in directions])
    return out


def digital_pair(root: Path) -> Pair:
    """The pain pair of a digital participant."""
    start = root / "sub-01" / "fmap" / "sub-01_acq-pain_dir-"
    return read_pair(root.name, [Path(f"{start}{direction}_epi.nii.gz") for direction in ("AP", "PA")])


def run_ours(pair: Pair, repeats: int) -> Estimate:
    """CoSpine's estimate; the first call, which may compile, is timed apart."""
    grid = Grid(pair.images[0].shape, pair.affine)
    spent = []
    for _ in range(repeats + 1):
        start, used = time.perf_counter(), time.process_time()
        found = estimate_field(list(pair.images), list(pair.encodings), grid)
        spent.append((time.perf_counter() - start, time.process_time() - used))
    wall, cpu = (statistics.median(column) for column in zip(*spent[1:], strict=True))
    return Estimate(OURS, found.field_hz, tuple(found.poses), found.share, tuple(found.corrected), wall, cpu, spent[0][0])


def run_peer(peer: Peer, pair: Pair, python: Path, repeats: int) -> Estimate:
    """PyHySCO's estimate, in Hz.

    Its field is mm along the axis, positive where the first image's signal lies at a higher index, and stands between voxels:
    one more than there are, which are averaged to the voxels' centres.
    """
    order = sorted(range(2), key=lambda n: -pair.encodings[n].sign)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        paths = [out / f"{number}.nii.gz" for number in order]
        for path, number in zip(paths, order, strict=True):
            nib.save(nib.Nifti1Image(pair.images[number], pair.affine), path)
        arguments = [str(pair.axis), f"{out}/", str(peer.alpha), str(peer.iterations), str(repeats)]
        done = subprocess.run(
            [python, "-c", _PEER, *map(str, paths), *arguments], cwd=out, check=True, stdout=subprocess.PIPE, text=True
        )
        spent = json.loads(done.stdout.strip().splitlines()[-1])
        nodes = nib.load(out / "-EstFieldMap.nii.gz").get_fdata()
        corrected = [nib.load(out / f"-im{n}Corrected.nii.gz").get_fdata() for n in (1, 2)]
    below, above = (np.take(nodes, range(n, nodes.shape[pair.axis] - 1 + n), axis=pair.axis) for n in (0, 1))
    wall, cpu = (statistics.median(column) for column in zip(*spent, strict=True))
    return Estimate(
        peer.name,
        (below + above) / 2 / pair.voxel_mm / pair.encodings[order[0]].readout_s,
        STILL,
        1.0,
        tuple(corrected[order.index(n)] for n in range(2)),
        wall,
        cpu,
        spent[0][0],
    )
