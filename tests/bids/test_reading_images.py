import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cospine.bids import image_header, load_image, write_nifti
from cospine.bids.images import survey
from cospine.errors import CoSpineError

AFFINE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, -0.05, 0.2) @ np.diag([-1.5, 1.5, 4.0]), [10.0, -20.0, 30.0])


def save(path, data, *, slope=None, inter=0.0, kind=nib.Nifti1Image, endianness="<"):
    """Write with nibabel, the oracle here."""
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(data.dtype)
    image = kind(data, AFFINE, header)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim > 3:
        image.header["pixdim"][4] = 2.5
    if slope is None:
        nib.save(image, path)
        return
    raw = image.header.copy()
    raw.set_slope_inter(slope, inter)
    raw.set_data_offset(raw.single_vox_offset)
    content = raw.binaryblock + b"\0\0\0\0" + data.astype(raw.get_data_dtype()).tobytes(order="F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("dtype", "slope", "inter"),
    [
        ("i2", None, 0.0),
        ("i2", 0.37, 0.0),
        ("u2", 0.5, 1000.0),
        ("u1", None, 0.0),
        ("f4", None, 0.0),
        ("f8", None, 0.0),
    ],
)
def test_values_and_header_equal_nibabel(tmp_path, extension, endianness, kind, dtype, slope, inter):
    data = np.random.default_rng(0).integers(0, 250, (7, 5, 3, 11)).astype(endianness + dtype)
    path = tmp_path / f"a{extension}"
    save(path, data, slope=slope, inter=inter, kind=kind, endianness=endianness)
    image = nib.load(path)
    header = image_header(path)
    assert header.shape == image.shape
    assert header.tr_s == pytest.approx(2.5)
    assert header.compressed == (extension == ".nii.gz")
    np.testing.assert_array_equal(header.affine, image.affine)
    np.testing.assert_allclose(header.zooms_mm, image.header.get_zooms()[:3])
    read, affine = load_image(path)
    np.testing.assert_array_equal(affine, image.affine)
    assert read.dtype == np.float32
    assert read.flags.f_contiguous
    np.testing.assert_allclose(read, image.get_fdata(), rtol=2e-7)
    first, _ = load_image(path, 4)
    np.testing.assert_array_equal(first, read[..., :4])


def test_header_time_units(tmp_path):
    data = np.zeros((2, 2, 2, 3), np.int16)
    for unit, claimed in (("sec", 2.5), ("msec", 2.5e-3), ("usec", 2.5e-6), ("unknown", 2.5)):
        save(tmp_path / "a.nii", data)
        image = nib.load(tmp_path / "a.nii", mmap=False)
        image.header.set_xyzt_units("mm", unit)
        nib.save(image, tmp_path / "b.nii")
        assert image_header(tmp_path / "b.nii").tr_s == pytest.approx(claimed)


def test_uncompressed_float32_is_mapped_and_cannot_be_changed(tmp_path):
    path = tmp_path / "a.nii"
    data = np.random.default_rng(1).normal(size=(4, 4, 4, 12)).astype(np.float32)
    data[1, 1, 1, 3] = np.nan
    write_nifti(path, data, AFFINE)
    before = path.read_bytes()
    read, _ = load_image(path)
    assert isinstance(read, np.memmap)
    assert read[1, 1, 1, 3] == 0
    read += 1
    del read
    assert path.read_bytes() == before


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_values_that_are_not_finite_become_zero_and_are_counted(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    data = np.ones((4, 4, 4, 12), np.float32)
    data[0, 0, 0, :5] = np.nan
    data[1, 0, 0, 0] = np.inf
    data[1, 0, 0, 1] = -np.inf
    write_nifti(path, data, AFFINE)
    read, _ = load_image(path)
    np.testing.assert_array_equal(read, np.where(np.isfinite(data), data, 0))
    assert survey(path, image_header(path)).non_finite == 7


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(fraction=st.floats(0, 1, exclude_max=True), floating=st.booleans())
def test_whole_volumes_of_a_file_cut_anywhere(tmp_path, fraction, floating):
    shape, dtype = (16, 16, 6, 14), np.dtype("<f4" if floating else "<i2")
    data = np.random.default_rng(2).integers(0, 4000, shape).astype(dtype)
    path = tmp_path / "a.nii.gz"
    write_nifti(path, data, AFFINE, tr_s=2.0)
    content = path.read_bytes()[: int(fraction * path.stat().st_size)]
    path.write_bytes(content)
    oracle = zlib.decompressobj(31).decompress(content)
    whole = max(0, len(oracle) - 352) // (16 * 16 * 6 * dtype.itemsize)
    if len(oracle) < 348:
        with pytest.raises(CoSpineError):
            image_header(path)
        return
    result = survey(path, image_header(path))
    # zlib may hold back the last few bytes that ISA-L already gives, never the other way round by a volume
    assert whole <= result.volumes <= whole + 1
    assert not result.complete
    assert result.damage == ""
    if result.volumes == 0:
        with pytest.raises(CoSpineError, match="first volume"):
            load_image(path)
        return
    read, _ = load_image(path)
    assert read.shape[3] == result.volumes
    np.testing.assert_array_equal(read, data[..., : result.volumes])


def test_an_uncompressed_file_cut_short(tmp_path):
    for dtype in (np.float32, np.int16):
        path = tmp_path / "a.nii"
        data = np.random.default_rng(3).integers(0, 99, (4, 4, 4, 12)).astype(dtype)
        write_nifti(path, data, AFFINE)
        path.write_bytes(path.read_bytes()[:-1])
        result = survey(path, image_header(path))
        assert (result.volumes, result.complete) == (11, False)
        np.testing.assert_array_equal(load_image(path)[0], data[..., :11])


def test_members_padding_and_what_follows(tmp_path):
    path = tmp_path / "a.nii.gz"
    data = np.random.default_rng(4).integers(0, 4000, (8, 8, 8, 12)).astype(np.int16)
    write_nifti(tmp_path / "a.nii", data, AFFINE)
    raw = (tmp_path / "a.nii").read_bytes()
    path.write_bytes(gzip.compress(raw[:5001], mtime=0) + gzip.compress(raw[5001:]) + bytes(512))
    assert survey(path, image_header(path)).complete
    np.testing.assert_array_equal(load_image(path)[0], data)


def test_damage_is_told_from_an_early_end(tmp_path):
    path = tmp_path / "a.nii.gz"
    data = np.random.default_rng(5).integers(0, 4000, (16, 16, 6, 14)).astype(np.int16)
    write_nifti(path, data, AFFINE)
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF  # the checksum in the trailer
    path.write_bytes(content)
    result = survey(path, image_header(path))
    assert result.damage != ""
    with pytest.raises(CoSpineError, match="damaged"):
        load_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello", "does not begin with a NIfTI header"),
        (gzip.compress(b"hello" * 200, mtime=0), "does not begin with a NIfTI header"),
        (gzip.compress(bytes(348), mtime=0), "does not begin with a NIfTI header"),
    ],
    ids=["nothing", "text", "zipped text", "zipped zeros"],
)
def test_no_nifti(tmp_path, content, reason):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(CoSpineError, match=reason) as caught:
        image_header(path)
    assert str(path) in caught.value.where
    assert caught.value.remedy


def test_voxels_of_other_kinds(tmp_path):
    save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.complex64))
    with pytest.raises(CoSpineError, match="complex64"):
        image_header(tmp_path / "a.nii")
    nib.save(nib.Nifti1Pair(np.zeros((2, 2, 2), np.int16), AFFINE), tmp_path / "b.img")
    with pytest.raises(CoSpineError, match="second file"):
        image_header(tmp_path / "b.hdr")
    with pytest.raises(CoSpineError, match="No such file"):
        image_header(tmp_path / "none.nii")
