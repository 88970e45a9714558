"""Writing text, tables and images: each file whole or not at all, the same bytes every time.

A file is written beside its target under a temporary name, flushed to the disk and moved over the target, so that a
crash leaves the old file or none. Gzip streams carry no time and no name.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from cospine.bids.atomic import CHUNK_BYTES, atomic, compressed
from cospine.bids.names import sidecar_of

# Rounding may be off by half a step; a twentieth of the thermal noise at most makes a step a tenth of it.
STEPS_PER_NOISE_SD = 10.0
_INT16_MAX = 32767
_FEWEST_STEPS = 250  # from zero to the largest value: a noise estimate far too large must not flatten the image
_LEAST_SINGLE_SLOPE = 1e-30
SCANNER, ALIGNED, MNI = 1, 2, 4  # NIfTI codes of what the world coordinates mean


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes as they are."""
    with atomic(path) as stream:
        stream.write(content)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, ending in a newline."""
    write_bytes(path, (text if text.endswith("\n") else text + "\n").encode())


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON, indented, keys in the order given.

    NumPy scalars and arrays become numbers and lists; NaN and infinity, which JSON has not, become null.
    """
    write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, os.PathLike):
        return Path(value).as_posix()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def write_tsv(
    path: Path,
    columns: Mapping[str, Iterable[Any]],
    descriptions: Mapping[str, str | Mapping[str, Any]] | None = None,
    *,
    header: bool | None = None,
    digits: int = 9,
) -> None:
    """Write a tab-separated table and, with `descriptions`, the JSON that explains its columns.

    Parameters
    ----------
    path : Path
        `.tsv`, or `.tsv.gz` (BIDS: physiological recordings, which have no header line).
    columns : mapping of str to sequence
        All of one length. NaN, None and empty strings are written `n/a`.
    descriptions : mapping, optional
        Column to a sentence or to a mapping with `Description`, `Units`, `Levels`. Keys that are not a column are kept:
        they are the sidecar's own, as `SamplingFrequency`. Written beside the table as `.json`.
    header : bool, optional
        By default written in `.tsv`, not in `.tsv.gz`.
    digits : int
        Significant digits of numbers that are not whole.

    Raises
    ------
    ValueError
        When the columns differ in length.
    """
    path = Path(path)
    texts = {str(name): [_cell(value, digits) for value in _values(column)] for name, column in columns.items()}
    lengths = {name: len(cells) for name, cells in texts.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of different lengths: {lengths}")
    packed = path.suffix == ".gz"
    lines = ["\t".join(row) for row in zip(*texts.values(), strict=True)]
    if header if header is not None else not packed:
        lines.insert(0, "\t".join(texts))
    content = "".join(line + "\n" for line in lines).encode()
    if descriptions is not None:
        sidecar = sidecar_of(path)
        write_json(
            sidecar,
            {
                key: {"Description": value} if isinstance(value, str) and key in texts else value
                for key, value in descriptions.items()
            },
        )
    with atomic(path) as stream, compressed(stream, path, len(content), None) as out:
        out.write(content)


def _values(column: Iterable[Any]) -> Iterable[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        # `+ 0.0` turns the negative zero, which reads as a sign of something, into zero.
        return f"{value + 0.0:.{digits}g}" if math.isfinite(value) else "n/a"
    text = str(value)
    if "\t" in text or "\n" in text:
        raise ValueError(f"a table cell cannot hold a tab or a line break: {text!r}")
    return text


def write_nifti(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.floating[Any]],
    *,
    tr_s: float | None = None,
    dtype: DTypeLike | None = None,
    slope: float = 1.0,
    inter: float = 0.0,
    space_code: int = SCANNER,
    threads: int | None = None,
) -> None:
    """Write a NIfTI-1 image, `.nii` or `.nii.gz` (level 1, in parallel).

    Parameters
    ----------
    path : Path
        Target.
    data : ndarray
        (x, y, z[, t[, ..]]), Fortran order preferred (other orders are copied chunk by chunk).
    affine : ndarray
        (4, 4), voxel index to RAS mm.
    tr_s : float, optional
        Repetition time of a 4-D series, s.
    dtype : dtype, optional
        Type on disk. By default that of `data`, with bool as uint8 and float64 as float32.
    slope, inter : float
        `data = stored * slope + inter`; only with an integer `dtype`, where the stored value is rounded to nearest.
    space_code : int
        NIfTI's code for the world: 1 scanner, 2 aligned to another image, 4 MNI.
    threads : int, optional
        Compression threads; by default the processors this process may use.

    Raises
    ------
    ValueError
        For complex or 64-bit integer data, a scale factor with a floating type, or values that the type cannot hold.
    """
    path = Path(path)
    stored = _stored_dtype(data, dtype)
    if (slope != 1.0 or inter != 0.0) and stored.kind == "f":
        raise ValueError("a scale factor belongs to an integer type")
    header = _header(data.shape, stored, np.asarray(affine, np.float64), tr_s, slope, inter, space_code)
    n_bytes = int(np.prod(data.shape)) * stored.itemsize
    with atomic(path) as stream, compressed(stream, path, n_bytes, threads) as out:
        out.write(header)
        for chunk in _chunks(data, stored.itemsize):
            out.write(_encode(chunk, stored, slope, inter).tobytes())


def write_bold(
    path: Path,
    data: NDArray[np.float32],
    affine: NDArray[np.floating[Any]],
    tr_s: float,
    *,
    noise_sd: float,
    space_code: int = SCANNER,
    threads: int | None = None,
) -> float:
    """Write a series as scaled int16, its rounding error at most a twentieth of the thermal noise.

    The step is as coarse as that allows, because finer steps only make gzip store noise of the noise. Zero stays
    exactly zero wherever the range allows.

    Parameters
    ----------
    path : Path
        Target.
    data : ndarray
        (x, y, z, t) float32, finite.
    affine : ndarray
        (4, 4), voxel index to RAS mm.
    tr_s : float
        Repetition time, s.
    noise_sd : float
        Standard deviation of the thermal noise, in the units of `data`; 0 for none known: the finest step then.
    space_code, threads
        As for `write_nifti`.

    Returns
    -------
    float
        Rounding error at most, in the units of `data`; 0 when the range was too wide for int16 at that step and the
        series was written as float32.

    Raises
    ------
    ValueError
        When `data` is not 4-D or not finite.
    """
    if data.ndim != 4:
        raise ValueError(f"a series has four axes, not {data.ndim}")
    low, high = _range(data)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a series to be written must be finite")
    scale = int16_scale(low, high, noise_sd)
    if scale is None:
        write_nifti(path, data, affine, tr_s=tr_s, dtype=np.float32, space_code=space_code, threads=threads)
        return 0.0
    slope, inter = scale
    write_nifti(
        path,
        data,
        affine,
        tr_s=tr_s,
        dtype=np.int16,
        slope=slope,
        inter=inter,
        space_code=space_code,
        threads=threads,
    )
    return slope / 2


def write_bold_volumes(
    path: Path,
    volumes: Iterable[NDArray[np.float32]],
    shape: tuple[int, int, int, int],
    affine: NDArray[np.floating[Any]],
    tr_s: float,
    *,
    low: float,
    high: float,
    noise_sd: float,
    space_code: int = SCANNER,
    threads: int | None = None,
) -> float:
    """Write a series volume by volume as it is made, as :func:`write_bold` writes one that is there.

    Parameters
    ----------
    path : Path
        Target.
    volumes : iterable of ndarray
        (x, y, z) float32 each, finite, within `low` and `high`.
    shape : tuple of int
        (x, y, z, t) of the whole.
    affine, tr_s, noise_sd, space_code, threads
        As for :func:`write_bold`.
    low, high : float
        Range of the series, known beforehand.

    Returns
    -------
    float
        As :func:`write_bold`.

    Raises
    ------
    ValueError
        When the volumes are not as many or not as large as `shape` says, or leave the range.
    """
    scale = int16_scale(low, high, noise_sd)
    stored = np.dtype("<f4" if scale is None else "<i2")
    slope, inter = (1.0, 0.0) if scale is None else scale
    header = _header(shape, stored, np.asarray(affine, np.float64), tr_s, slope, inter, space_code)
    path = Path(path)
    count = 0
    with atomic(path) as stream, compressed(stream, path, int(np.prod(shape)) * stored.itemsize, threads) as out:
        out.write(header)
        for volume in volumes:
            if volume.shape != tuple(shape[:3]):
                raise ValueError(f"volume {count} is {volume.shape}, not {tuple(shape[:3])}")
            for chunk in _chunks(volume, stored.itemsize):
                out.write(_encode(chunk, stored, slope, inter).tobytes())
            count += 1
        if count != shape[3]:
            raise ValueError(f"{count} volumes were made, {shape[3]} announced")
    return 0.0 if scale is None else slope / 2


def int16_scale(low: float, high: float, noise_sd: float) -> tuple[float, float] | None:
    """Choose scale and offset of an int16 image.

    Parameters
    ----------
    low, high : float
        Range of the data.
    noise_sd : float
        Thermal noise, in the units of the data; 0 for none known.

    Returns
    -------
    tuple of float or None
        `slope` and `inter`, exact in float32 as the header holds them; None when the range does not fit.
    """
    largest = max(abs(low), abs(high))
    finest = largest / _INT16_MAX
    if not 0 < noise_sd < math.inf:
        return (_float32_up(finest) if largest > 0 else 1.0), 0.0  # up, so that the largest value still fits
    slope = _float32_down(min(noise_sd / STEPS_PER_NOISE_SD, largest / _FEWEST_STEPS if largest > 0 else 1.0))
    if finest <= slope:
        return slope, 0.0
    if (high - low) / (2 * _INT16_MAX) < slope:
        return slope, float(np.float32(slope * round((low + high) / 2 / slope)))
    return None


def _float32_up(value: float) -> float:
    rounded = np.float32(value)
    return float(rounded if float(rounded) >= value else np.nextafter(rounded, np.float32(np.inf)))


def _float32_down(value: float) -> float:
    rounded = np.float32(value)
    return float(rounded if float(rounded) <= value else np.nextafter(rounded, np.float32(0)))


def _stored_dtype(data: NDArray[Any], dtype: DTypeLike | None) -> np.dtype[Any]:
    stored = np.dtype(dtype if dtype is not None else data.dtype)
    if dtype is None:
        stored = {"b": np.dtype(np.uint8), "f": np.dtype(np.float32)}.get(stored.kind, stored)
    if stored.kind not in "uif" or (stored.kind in "ui" and stored.itemsize == 8):
        raise ValueError(f"{stored} is no type for an image here; give one, as int16 or float32")
    return stored.newbyteorder("<")


def _header(
    shape: tuple[int, ...],
    stored: np.dtype[Any],
    affine: NDArray[np.float64],
    tr_s: float | None,
    slope: float,
    inter: float,
    space_code: int,
) -> bytes:
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(stored)
    header.set_data_shape(shape)
    header.set_sform(affine, code=space_code)
    header.set_qform(affine, code=space_code, strip_shears=True)
    if not np.allclose(np.asarray(header.get_qform()), affine, rtol=0, atol=1e-3):
        header["qform_code"] = 0  # a sheared affine has no quaternion; the sform alone says where the voxels are
    header.set_xyzt_units("mm", "sec" if len(shape) > 3 else "unknown")
    if tr_s is not None:
        header["pixdim"][4] = tr_s
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header["scl_slope"], header["scl_inter"] = (slope, inter)
    return header.binaryblock + b"\0\0\0\0"


def _chunks(data: NDArray[Any], itemsize: int) -> Iterator[NDArray[Any]]:
    """Yield the array in storage order, a few MB at a time, split along the slowest axis that suffices."""
    view = data.T
    if view.ndim > 1 and view[0].size * itemsize > CHUNK_BYTES:
        for part in view:
            yield from _chunks(part.T, itemsize)
        return
    step = max(1, CHUNK_BYTES // max(1, view[0].size * itemsize)) if view.ndim else 1
    for start in range(0, len(view), step):
        yield view[start : start + step]


def _range(data: NDArray[Any]) -> tuple[float, float]:
    extremes = [(float(chunk.min()), float(chunk.max())) for chunk in _chunks(data, data.itemsize)]
    lows, highs = zip(*extremes, strict=True)
    # min() of Python forgets NaN; NumPy's does not.
    return float(np.min(lows)), float(np.max(highs))


def _encode(chunk: NDArray[Any], stored: np.dtype[Any], slope: float, inter: float) -> NDArray[Any]:
    if stored.kind == "f" or (chunk.dtype.kind in "bui" and slope == 1 and inter == 0):
        _check_range(chunk, stored)
        return chunk.astype(stored, copy=False)
    # the inverse of a slope below 1e-38 is none in single precision
    single = chunk.dtype == np.float32 and stored.itemsize <= 2 and slope > _LEAST_SINGLE_SLOPE
    working = np.float32 if single else np.float64
    values = np.subtract(chunk, inter, dtype=working)
    values *= 1 / slope
    np.rint(values, out=values)
    _check_range(values, stored)
    return values.astype(stored)


def _check_range(chunk: NDArray[Any], stored: np.dtype[Any]) -> None:
    if stored.kind == "f" or chunk.dtype.kind == "b" or chunk.size == 0 or chunk.dtype == stored:
        return
    limits = np.iinfo(stored)
    if not (chunk.min() >= limits.min and chunk.max() <= limits.max):
        raise ValueError(f"values {chunk.min()} to {chunk.max()} do not fit {stored}")
