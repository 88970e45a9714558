"""Spatial transforms in ITK's HDF5 files: one composite transform a file, as ANTs reads and writes them.

Only bytes pass here; who writes them to which file is decided elsewhere. ITK counts millimetres as LPS and applies the
transform that comes *last* in a composite to the points first.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.space.grid import Grid
from cospine.space.transform import Affine, Chain, Displacement, Transform

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Displacements are kept to 1/4096 mm: their last bits carry nothing and would double the file.
_STEPS_PER_MM = 4096.0


def composite_h5(links: Sequence[Transform]) -> bytes:
    """Bytes of an ITK composite transform file (``.h5``).

    Parameters
    ----------
    links : sequence of Affine, Displacement or Chain of these
        In the order in which they are applied to points, output RAS mm to input RAS mm.

    Returns
    -------
    bytes
        The same for the same links, whenever they are written.

    Raises
    ------
    ValueError
        When there is no link, or one of a kind that ITK has no transform for.
    """
    import h5py

    flat = list(_flatten(links))
    if not flat:
        raise ValueError("a composite transform needs at least one transform")
    buffer = BytesIO()
    with h5py.File(buffer, "w", libver="earliest") as file:
        text = h5py.string_dtype("ascii")
        for name, value in (("ITKVersion", "5.4.0"), ("HDFVersion", "HDF5"), ("OSName", "any"), ("OSVersion", "any")):
            file.create_dataset(name, data=[value], dtype=text)
        group = file.create_group("TransformGroup")
        group.create_dataset("0/TransformType", data=["CompositeTransform_double_3_3"], dtype=text)
        for number, link in enumerate(reversed(flat), start=1):
            kind, fixed, parameters = _affine(link) if isinstance(link, Affine) else _field(link)
            entry = group.create_group(str(number))
            entry.create_dataset("TransformType", data=[kind], dtype=text)
            entry.create_dataset("TransformFixedParameters", data=fixed)
            packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if parameters.size > 1000 else {}
            entry.create_dataset("TransformParameters", data=parameters, **packed)
    return buffer.getvalue()


def read_composite_h5(content: bytes) -> Chain:
    """Transforms of an ITK ``.h5`` file, in the order in which they are applied to points, RAS mm.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    Chain
        Of :class:`Affine` and :class:`Displacement`.

    Raises
    ------
    ValueError
        When the bytes are no ITK transform file, or hold a transform that is neither affine nor a displacement field.
    """
    import h5py

    try:
        file = h5py.File(BytesIO(content), "r")
    except OSError as error:
        raise ValueError(f"not an HDF5 file: {error}") from error
    with file:
        group: Any = file.get("TransformGroup")
        if group is None:
            raise ValueError("not an ITK transform file: it has no TransformGroup")
        links: list[Transform] = []
        composite = False
        for number in sorted(group, key=int):
            entry = group[number]
            kind = entry["TransformType"][0].decode("ascii")
            if kind.startswith("CompositeTransform"):
                composite = True
                continue
            # ITK up to 4.x spelled both names without the s
            fixed = np.asarray(entry.get("TransformFixedParameters", entry.get("TranformFixedParameters")), dtype=np.float64)
            parameters = np.asarray(entry.get("TransformParameters", entry.get("TranformParameters")))
            links.append(_read_link(kind, fixed, parameters))
    return Chain(tuple(reversed(links)) if composite else tuple(links))


def _flatten(links: Sequence[Transform]) -> Iterator[Affine | Displacement]:
    for link in links:
        if isinstance(link, Chain):
            yield from _flatten(link.links)
        elif isinstance(link, Affine | Displacement):
            yield link
        else:
            raise ValueError(f"a {type(link).__name__} has no counterpart in ITK: sample it as a Displacement first")


def _affine(link: Affine) -> tuple[str, NDArray, NDArray]:
    lps = _LPS @ link.matrix @ _LPS
    return "AffineTransform_double_3_3", np.zeros(3), np.concatenate([lps[:3, :3].ravel(), lps[:3, 3]])


def _field(link: Displacement) -> tuple[str, NDArray, NDArray]:
    grid = link.grid
    lps = _LPS @ grid.affine
    direction = lps[:3, :3] / grid.voxel_mm
    fixed = np.concatenate([grid.shape, lps[:3, 3], grid.voxel_mm, direction.ravel()])
    vectors = np.asarray(link.vectors, dtype=np.float64) * np.diag(_LPS)[:3]
    # vector by vector, i fastest
    ordered = np.round(vectors * _STEPS_PER_MM).transpose(2, 1, 0, 3).ravel() / _STEPS_PER_MM
    return "DisplacementFieldTransform_float_3_3", fixed, ordered.astype(np.float32)


def _read_link(kind: str, fixed: NDArray, parameters: NDArray) -> Affine | Displacement:
    name = kind.split("_")[0]
    if name in ("AffineTransform", "MatrixOffsetTransformBase") and len(parameters) == 12:
        numbers = parameters.astype(np.float64)
        lps = np.eye(4)
        lps[:3, :3] = numbers[:9].reshape(3, 3)
        lps[:3, 3] = numbers[9:] + fixed - lps[:3, :3] @ fixed
        return Affine(_LPS @ lps @ _LPS)
    if name == "DisplacementFieldTransform":
        first, second, third = (int(n) for n in fixed[:3])
        lps = np.eye(4)
        lps[:3, :3] = fixed[9:18].reshape(3, 3) * fixed[6:9]
        lps[:3, 3] = fixed[3:6]
        vectors = parameters.reshape(third, second, first, 3).transpose(2, 1, 0, 3) * np.diag(_LPS)[:3]
        return Displacement(Grid((first, second, third), _LPS @ lps), vectors.astype(np.float32))
    raise ValueError(f"a {kind} is neither an affine transform nor a displacement field")
