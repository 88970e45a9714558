"""The two networks that find the cord and the head: what they are given, and how they are run.

Both networks are stored as ONNX files in ``weights/`` and run by onnxruntime on the processor. The normalisations below
are the ones the networks were trained with; training imports them from here.
"""

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cospine.errors import CoSpineError
from cospine.threads import FIXED_THREADS

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from onnxruntime import InferenceSession

SECTION_SIZE = 64
SECTION_PIXEL_MM = 0.8
VOLUME_VOXEL_MM = 3.0
VOLUME_MULTIPLE = 16
HEAD_CLASSES = ("background", "cerebrum", "cerebellum_brainstem", "cord", "canal")

SECTION_LIMIT = 3.0
VOLUME_LIMIT = 1.5
VOLUME_REFERENCE_PERCENTILE = 98.0
SMALLEST_SPREAD = 1e-6

SECTION_BATCH = 32


def normalise_section(sections: npt.ArrayLike, in_view: npt.ArrayLike | None = None) -> np.ndarray:
    """Bring every section to one range of intensity, each on its own.

    The median of the pixels in view is subtracted, the result divided by the distance from their 5th to their 95th
    percentile and clipped to -3 .. 3. Pixels out of view are 0 afterwards, which is the median of what is in view.

    Parameters
    ----------
    sections : array_like, shape (..., rows, columns)
        Sections of any unit.
    in_view : array_like of bool, same shape, optional
        True where the section lies in the field of view. Default: everywhere.

    Returns
    -------
    ndarray of float32, same shape
        0 throughout for a section with nothing in view, or with one value only.
    """
    values = np.asarray(sections, dtype=np.float32)
    shape = values.shape
    values = values.reshape(-1, shape[-2] * shape[-1])
    result = np.zeros_like(values)
    view = None if in_view is None else np.broadcast_to(np.asarray(in_view, dtype=bool), shape).reshape(values.shape)
    whole = np.ones(len(values), dtype=bool) if view is None else view.all(axis=1)
    if whole.any():
        low, middle, high = np.percentile(values[whole], (5.0, 50.0, 95.0), axis=1).astype(np.float32)
        result[whole] = _standardise(values[whole], low[:, None], middle[:, None], high[:, None])
    for index in np.flatnonzero(~whole):
        assert view is not None
        seen = view[index]
        if seen.any():
            low, middle, high = np.percentile(values[index, seen], (5.0, 50.0, 95.0)).astype(np.float32)
            result[index, seen] = _standardise(values[index, seen], low, middle, high)
    return result.reshape(shape)


def _standardise(values: np.ndarray, low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    from_middle = values - middle
    # Relative to the values, so that the result does not depend on the unit of the image.
    floor = SMALLEST_SPREAD * np.abs(from_middle).max(axis=-1, keepdims=True) + np.finfo(np.float32).tiny
    return np.clip(from_middle / (high - low + floor), -SECTION_LIMIT, SECTION_LIMIT)


def normalise_volume(volume: npt.ArrayLike, in_view: npt.ArrayLike | None = None) -> np.ndarray:
    """Bring a volume to one range of intensity: divide by the 98th percentile of what is in view, clip to 0 .. 1.5.

    Parameters
    ----------
    volume : array_like
        Volume of any unit, 0 for no signal.
    in_view : array_like of bool, same shape, optional
        True where the volume lies in the field of view. Default: everywhere.

    Returns
    -------
    ndarray of float32, same shape
        0 out of view; 0 throughout where the 98th percentile is not above 0.
    """
    values = np.asarray(volume, dtype=np.float32)
    view = (
        np.ones(values.shape, dtype=bool) if in_view is None else np.broadcast_to(np.asarray(in_view, dtype=bool), values.shape)
    )
    result = np.zeros_like(values)
    if not view.any():
        return result
    reference = float(np.percentile(values[view], VOLUME_REFERENCE_PERCENTILE))
    if reference > 0:
        result[view] = np.clip(values[view] / np.float32(reference), 0.0, VOLUME_LIMIT)
    return result


def run_cord(sections: np.ndarray) -> np.ndarray:
    """Probability of cord in axial sections.

    Parameters
    ----------
    sections : ndarray of float32, shape (n, 64, 64)
        Normalised by `normalise_section`; rows grow toward anterior, columns toward right, 0.8 mm pixels.

    Returns
    -------
    ndarray of float32, shape (n, 64, 64)
    """
    expected = (SECTION_SIZE, SECTION_SIZE)
    if sections.ndim != 3 or sections.shape[1:] != expected:
        raise ValueError(f"the sections have shape {sections.shape}; (n, {SECTION_SIZE}, {SECTION_SIZE}) is needed")
    session = _session("cord.onnx")
    result = np.empty(sections.shape, dtype=np.float32)
    for start in range(0, len(sections), SECTION_BATCH):
        batch = np.ascontiguousarray(sections[start : start + SECTION_BATCH, None], dtype=np.float32)
        (logits,) = session.run(["logits"], {"image": batch})
        result[start : start + SECTION_BATCH] = _logistic(np.asarray(logits)[:, 0])
    return result


def has_head() -> bool:
    """Whether trained weights of the head network are part of this version."""
    return _weights("head.onnx").is_file()


def run_head(volume: np.ndarray) -> np.ndarray:
    """Probability of each class of `HEAD_CLASSES` in a volume.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z)
        RAS-oriented, 3 mm voxels, normalised by `normalise_volume`; padded here to multiples of 16.

    Returns
    -------
    ndarray of float32, shape (5, x, y, z)
    """
    padding = [(0, -size % VOLUME_MULTIPLE) for size in volume.shape]
    padded = np.pad(volume, padding).T[None, None]
    (logits,) = _session("head.onnx").run(["logits"], {"image": np.ascontiguousarray(padded, dtype=np.float32)})
    values = np.asarray(logits)[0].transpose(0, 3, 2, 1)[:, : volume.shape[0], : volume.shape[1], : volume.shape[2]]
    exponential = np.exp(values - values.max(axis=0, keepdims=True))
    return exponential / exponential.sum(axis=0, keepdims=True)


def _logistic(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))


def _weights(name: str) -> "Traversable":
    return resources.files("cospine.anatomy").joinpath("weights", name)


@lru_cache(maxsize=2)
def _session(name: str) -> "InferenceSession":
    import onnxruntime

    weights = _weights(name)
    if not weights.is_file():
        raise CoSpineError(
            f"the weights {name} are not installed", str(weights), "install CoSpine anew: they are part of the package"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = FIXED_THREADS
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it keeps what the largest image needed, more than half a gigabyte
    # Threads that spin while they wait take the processor from whatever runs beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(weights.read_bytes(), options, providers=["CPUExecutionProvider"])
