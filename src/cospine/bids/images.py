"""Reading NIfTI images: the header alone, a survey of the voxel data, or the data as float32.

Compressed files are decoded as a stream with ISA-L straight into the final array; an uncompressed float32 file is
mapped. A file that ends early gives its whole volumes.
"""

import logging
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip_lib
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from cospine.bids.model import Run
from cospine.errors import CoSpineError

_log = logging.getLogger(__name__)
_BLOCK_IN = 1 << 19
_BLOCK_OUT = 1 << 22
_HEADER_BYTES = 544  # of NIfTI-2, and the four that say whether extensions follow
_GZIP_MAGIC = b"\x1f\x8b"
# The stubs of isal give the exception class the type of an instance.
_DamagedError: type[Exception] = igzip_lib.IsalError  # pyright: ignore[reportAssignmentType]
_SECONDS = {"msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What the header of an image says.

    Parameters
    ----------
    shape : tuple of int
        (x, y, z[, t]); trailing axes of length 1 beyond the third removed.
    affine : ndarray
        (4, 4), voxel index to RAS mm: sform, else qform, else voxel sizes alone.
    sform, qform : ndarray or None
        (4, 4) each; None where the code is 0.
    zooms_mm : tuple of float
        Voxel sizes of the header.
    tr_s : float or None
        Fourth voxel size of a series, in seconds by the header's unit; None where that claims nothing.
    dtype : dtype
        On disk, with byte order.
    slope, inter : float
        `value = stored * slope + inter`.
    offset : int
        First byte of the voxel data.
    compressed : bool
        By content, not by name.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    sform: NDArray[np.float64] | None
    qform: NDArray[np.float64] | None
    zooms_mm: tuple[float, ...]
    tr_s: float | None
    dtype: np.dtype
    slope: float
    inter: float
    offset: int
    compressed: bool

    @property
    def volume_bytes(self) -> int:
        """Bytes of one volume on disk, uncompressed."""
        return math.prod(self.shape[:3]) * self.dtype.itemsize

    @property
    def volumes(self) -> int:
        """Number of volumes that the header claims."""
        return math.prod(self.shape[3:])


@dataclass(frozen=True)
class Survey:
    """What reading a file to its end showed.

    Parameters
    ----------
    volumes : int
        Whole volumes present, at most as many as the header claims.
    complete : bool
        False when the file ends early.
    damage : str
        Not empty when the compressed data are damaged.
    non_finite : int
        NaN or infinite values in the whole volumes.
    """

    volumes: int
    complete: bool
    damage: str
    non_finite: int


def image_header(path: Path) -> ImageHeader:
    """Read the header of a NIfTI-1 or NIfTI-2 file, and nothing behind it.

    Raises
    ------
    CoSpineError
        When the file cannot be opened or its header used; `what` is the reason alone.
    """
    try:
        about = path.stat()
        return _header_of(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


@lru_cache(maxsize=8192)
def _header_of(path: Path, size: int, time_ns: int) -> ImageHeader:
    """A header is wanted by the reader and by several checks: it is read once while the file stays as it is."""
    del size, time_ns
    with open(path, "rb") as stream:
        compressed = stream.read(2) == _GZIP_MAGIC
    block = b""
    try:
        for part in _decoded(path, 1 << 12, _HEADER_BYTES):
            block += part
            if len(block) >= _HEADER_BYTES:
                break
    except EOFError:
        pass  # a file cut inside its header is told by its length below
    except (OSError, _DamagedError) as error:
        raise _unreadable(path, str(error)) from error
    return _parse_header(path, block[:_HEADER_BYTES], compressed)


def _parse_header(path: Path, block: bytes, compressed: bool) -> ImageHeader:
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    kind = nib.Nifti1Header if 348 in sizes else nib.Nifti2Header if 540 in sizes else None
    if kind is None or len(block) < kind.sizeof_hdr:
        reason = "is empty" if not block else "does not begin with a NIfTI header"
        raise _unreadable(path, reason)
    try:
        header = kind(block[: kind.sizeof_hdr], check=False)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
        sform, qform = header.get_sform(coded=True)[0], _qform(header)
        affine = sform if sform is not None else qform if qform is not None else header.get_base_affine()
        time_unit = str(header.get_xyzt_units()[1])
        offset = int(header["vox_offset"])
    except (HeaderDataError, ValueError, KeyError) as error:
        raise _unreadable(path, f"has a header that makes no sense: {error}") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 3 <= len(shape) <= 4 or min(shape) < 1:
        raise _unreadable(path, f"has the dimensions {shape}")
    if dtype.kind not in "iuf" or bytes(header["magic"])[:2] != b"n+":
        reason = f"holds {dtype} voxels" if dtype.kind not in "iuf" else "keeps its voxels in a second file"
        raise _unreadable(path, reason)
    pixdim = header["pixdim"]
    tr_s = float(pixdim[4]) * _SECONDS.get(time_unit, 1.0) if len(shape) == 4 else 0.0
    if not math.isfinite(tr_s) or tr_s <= 0 or (tr_s == 1 and time_unit == "unknown"):
        tr_s = None  # 1 of no unit is what writers leave there that were never told
    return ImageHeader(
        shape=shape,
        affine=np.asarray(affine, np.float64),
        sform=sform,
        qform=qform,
        zooms_mm=tuple(float(size) for size in pixdim[1:4]),
        tr_s=tr_s,
        dtype=dtype,
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        offset=max(offset, kind.sizeof_hdr),
        compressed=compressed,
    )


def _qform(header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    try:
        return header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError):
        return None  # a quaternion longer than 1 turns nothing


def survey(path: Path, header: ImageHeader) -> Survey:
    """Read a file to its end: is the stream whole, are its checksums right, are its values finite.

    Raises
    ------
    CoSpineError
        When it cannot be opened.
    """
    claimed = header.volume_bytes * header.volumes
    limit = header.offset + claimed
    position = non_finite = 0
    damage, complete = "", True
    tail = b""
    try:
        for block in _ahead(_decoded(path)):
            if header.dtype.kind == "f":
                inside = block[max(0, header.offset - position) : max(0, limit - position)]
                values, tail = _values(tail + inside, header.dtype)
                non_finite += values.size - int(np.count_nonzero(np.isfinite(values)))
            position += len(block)
    except EOFError:
        complete = False
    except _DamagedError as error:
        damage = str(error)
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    present = max(0, min(position, limit) - header.offset)
    return Survey(present // header.volume_bytes, complete and present == claimed, damage, non_finite)


def load_image(
    path: Path, volumes: int | None = None, out: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read an image as scaled float32; values that are not finite become 0.

    Parameters
    ----------
    path : Path
        `.nii` or `.nii.gz`.
    volumes : int, optional
        Read so many volumes only.
    out : ndarray (x, y, z[, t]), float32, Fortran order, optional
        Where to put what is read; of the size of that.

    Returns
    -------
    data : ndarray
        (x, y, z[, t]) float32, Fortran order. Of a file that ends early, its whole volumes. An uncompressed float32
        file is mapped copy-on-write, so the file cannot be changed through it.
    affine : ndarray
        (4, 4), voxel index to RAS mm.

    Raises
    ------
    CoSpineError
        When the file cannot be read, is damaged, or holds not one whole volume.
    """
    header = image_header(path)
    wanted = header.volumes if volumes is None else min(volumes, header.volumes)
    as_stored = header.dtype == np.dtype("<f4") and (header.slope, header.inter) == (1.0, 0.0)
    if as_stored and not header.compressed and out is None:
        data, whole = _map(path, header, wanted)
    else:
        data = np.empty(_shape(header, wanted), np.float32, order="F") if out is None else out
        whole = _fill(path, header, data) // math.prod(header.shape[:3])
        data = data[..., :whole] if data.ndim == 4 else data
    if whole < 1:
        raise CoSpineError("ends before its first volume is complete", str(path), "Copy or convert the image again.")
    if whole < wanted:
        _log.warning("%s ends early: %d of %d volumes read", path, whole, wanted)
    return data, header.affine


def load_bold(run: Run, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Read the usable volumes of a run, see `load_image`; into `out` (x, y, z, t) where that is given.

    Returns
    -------
    ndarray
        (x, y, z, t) float32, Fortran order, t = `run.volumes`.
    """
    return load_image(run.bold, run.volumes, out)[0]


def _shape(header: ImageHeader, volumes: int) -> tuple[int, ...]:
    return header.shape[:3] + ((volumes,) if len(header.shape) == 4 else ())


def _map(path: Path, header: ImageHeader, wanted: int) -> tuple[NDArray[np.float32], int]:
    whole = max(0, min(wanted, (path.stat().st_size - header.offset) // header.volume_bytes))
    if whole == 0:
        return np.empty(0, np.float32), 0
    data = np.memmap(path, np.float32, mode="c", offset=header.offset, shape=_shape(header, whole), order="F")
    for volume in data.T if data.ndim == 4 else (data.T,):
        bad = ~np.isfinite(volume)
        if bad.any():
            volume[bad] = 0
    return data, whole


def _fill(path: Path, header: ImageHeader, data: NDArray[np.float32]) -> int:
    """Decode, scale and store values in order until the array is full or the file ends; return how many."""
    flat = data.T.reshape(-1)
    # float32 would round away small differences on top of a large offset
    working = np.float64 if header.inter != 0 or header.dtype.itemsize > 2 else np.float32
    filled, skip, tail = 0, header.offset, b""
    try:
        for block in _ahead(_decoded(path)):
            if skip >= len(block):
                skip -= len(block)
                continue
            values, tail = _values(tail + block[skip:] if skip or tail else block, header.dtype)
            skip = 0
            values = values[: flat.size - filled]
            part = flat[filled : filled + values.size]
            if header.slope == 1 and header.inter == 0:
                part[:] = values
            else:
                scaled = np.multiply(values, header.slope, dtype=working)
                scaled += header.inter
                part[:] = scaled
            if header.dtype.kind == "f" and not np.isfinite(part).all():
                part[~np.isfinite(part)] = 0
            filled += values.size
            if filled == flat.size:
                break
    except EOFError:
        pass  # the caller compares what was read with what was wanted
    except _DamagedError as error:
        raise CoSpineError(
            f"the compressed data are damaged ({error})", str(path), "Copy the image again from its source."
        ) from error
    return filled


def _values(block: bytes, dtype: np.dtype) -> tuple[NDArray, bytes]:
    whole = len(block) // dtype.itemsize
    return np.frombuffer(block, dtype, whole), block[whole * dtype.itemsize :]


def _decoded(path: Path, block_in: int = _BLOCK_IN, block_out: int = _BLOCK_OUT) -> Iterator[bytes]:
    """Yield the content of a file, decompressed when its first bytes say so.

    Raises EOFError after the last byte there is when a compressed stream ends early, IsalError when it is damaged.
    """
    with open(path, "rb") as stream:
        block = stream.read(block_in)
        if not block.startswith(_GZIP_MAGIC):
            while block:
                yield block
                block = stream.read(block_out)
            return
        while block.startswith(_GZIP_MAGIC):
            decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            while not decoder.eof:
                if decoder.needs_input and not block:
                    block = stream.read(block_in)
                    if not block:
                        raise EOFError(path)
                output = decoder.decompress(block, block_out)
                block = b""
                if output:
                    yield output
            block = decoder.unused_data or stream.read(block_in)


def _ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks while a thread decodes the next one (the decoder lets other threads run)."""
    with ThreadPoolExecutor(1) as pool:
        coming: Future[bytes | None] = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block


def _unreadable(path: Path, reason: str) -> CoSpineError:
    return CoSpineError(reason, str(path), "Convert the image again from its source, or remove it.")
