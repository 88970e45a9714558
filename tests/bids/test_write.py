import gzip
import json
import math

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cospine.bids import write_bold, write_bytes, write_json, write_nifti, write_text, write_tsv
from cospine.bids.atomic import CHUNK_BYTES, atomic
from cospine.bids.write import int16_scale, write_bold_volumes

AFFINE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, -0.05, 0.2) @ np.diag([-1.5, 1.5, 4.0]), [10.0, -20.0, 30.0])


def series(seed=0, shape=(7, 6, 5, 13), noise_sd=8.0):
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0, 900, (*shape[:3], 1))
    return np.asfortranarray(mean + rng.normal(0, noise_sd, shape), np.float32)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "deep" / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(TypeError):
        write_json(target, {"new": object()})

    def fail_half_way():
        with atomic(target) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert json.loads(target.read_text()) == {"old": 1}
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


def test_a_failing_image_leaves_nothing(tmp_path):
    too_large = np.full((4, 4, 4, 3), 1e6, np.float32)
    too_large[..., 0] = 0  # the first chunks are written before the failure
    with pytest.raises(ValueError, match="do not fit"):
        write_nifti(tmp_path / "a.nii.gz", too_large, AFFINE, dtype=np.int16)
    assert list(tmp_path.iterdir()) == []


def test_files_obey_the_umask(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_is_plain(tmp_path):
    content = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": math.nan,
        "d": tmp_path,
        "e": (1, "ä"),
        "f": np.bool_(True),
    }
    write_json(tmp_path / "a.json", content)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"a": 0.5, "b": [0, 1], "c": None, "d": tmp_path.as_posix(), "e": [1, "ä"], "f": True}
    assert list(read) == list(content)


def test_table_reads_back_with_pandas(tmp_path):
    rng = np.random.default_rng(1)
    columns = {"onset": rng.normal(size=20), "n": np.arange(20), "name": [f"c{i}" for i in range(20)]}
    columns["onset"][3] = np.nan
    path = tmp_path / "a_timeseries.tsv"
    write_tsv(path, columns, {"onset": {"Description": "when", "Units": "s"}, "n": "how many"})
    read = pd.read_csv(path, sep="\t", na_values="n/a")
    np.testing.assert_allclose(read["onset"], columns["onset"], rtol=1e-8)
    assert np.isnan(read["onset"][3])
    assert path.read_text().splitlines()[4].startswith("n/a\t3\t")
    assert (read["n"] == columns["n"]).all()
    assert list(read["name"]) == columns["name"]
    sidecar = json.loads((tmp_path / "a_timeseries.json").read_text())
    assert sidecar == {"onset": {"Description": "when", "Units": "s"}, "n": {"Description": "how many"}}


def test_recording_has_no_header_line(tmp_path):
    path = tmp_path / "a_physio.tsv.gz"
    write_tsv(path, {"cardiac": [1, 2], "trigger": [False, True]}, {"SamplingFrequency": 400})
    assert gzip.decompress(path.read_bytes()) == b"1\t0\n2\t1\n"
    assert json.loads((tmp_path / "a_physio.json").read_text()) == {"SamplingFrequency": 400}


def test_tables_refuse_what_they_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="different lengths"):
        write_tsv(tmp_path / "a.tsv", {"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match="tab"):
        write_tsv(tmp_path / "a.tsv", {"a": ["x\ty"]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("order", ["F", "C"])
def test_nibabel_reads_what_was_written(tmp_path, extension, dtype, order):
    data = np.asarray(np.random.default_rng(2).integers(0, 200, (5, 4, 3, 6)), dtype, order=order)
    path = tmp_path / f"a{extension}"
    write_nifti(path, data, AFFINE, tr_s=2.68)
    image = nib.load(path)
    assert image.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), data)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-4)
    assert image.header.get_zooms()[3] == pytest.approx(2.68)
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_chunked_images_are_whole(tmp_path):
    # one volume above the size of a chunk, in an order that is neither C nor Fortran
    n = int(np.ceil(CHUNK_BYTES / 4 / 100))
    data = np.random.default_rng(3).normal(size=(2, 10, n, 10)).astype(np.float32).transpose(3, 1, 2, 0)
    write_nifti(tmp_path / "a.nii.gz", data, AFFINE)
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj), data)


def test_types_on_disk(tmp_path):
    for data, stored in ((np.zeros((2, 2, 2), bool), np.uint8), (np.zeros((2, 2, 2)), np.float32)):
        write_nifti(tmp_path / "a.nii", data, AFFINE)
        assert nib.load(tmp_path / "a.nii").get_data_dtype() == stored
    for bad in (np.zeros((2, 2, 2), np.int64), np.zeros((2, 2, 2), complex)):
        with pytest.raises(ValueError, match="no type for an image"):
            write_nifti(tmp_path / "b.nii", bad, AFFINE)


def test_sheared_affine_is_kept_by_the_sform_alone(tmp_path):
    sheared = AFFINE.copy()
    sheared[0, 2] += 1.0
    write_nifti(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8), sheared)
    image = nib.load(tmp_path / "a.nii")
    np.testing.assert_allclose(image.affine, sheared, atol=1e-5)
    assert image.header["qform_code"] == 0


def test_same_bytes_twice_whatever_the_threads(tmp_path):
    data = np.random.default_rng(4).normal(500, 20, (64, 64, 40, 20)).astype(np.float32)
    for name, threads in (("a", 1), ("b", 2), ("c", 3), ("d", None)):
        write_bold(tmp_path / f"{name}.nii.gz", data, AFFINE, 2.0, noise_sd=20.0, threads=threads)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    head = contents.pop()[:10]
    assert head[:4] == b"\x1f\x8b\x08\x00"  # deflate, no name, no comment
    assert head[4:8] == bytes(4)  # no time


@example(mean=0.0, spread=1.1754943508222875e-38, noise_sd=1.0, seed=0)  # no single-precision inverse of the scale
@settings(max_examples=60)
@given(
    mean=st.floats(0, 3e4),
    spread=st.floats(0, 2e3),
    noise_sd=st.floats(0.5, 200),
    seed=st.integers(0, 2**32 - 1),
)
def test_rounding_stays_below_a_twentieth_of_the_noise(tmp_path_factory, mean, spread, noise_sd, seed):
    path = tmp_path_factory.mktemp("bold") / "a.nii.gz"
    data = np.random.default_rng(seed).normal(mean, spread, (4, 3, 2, 5)).astype(np.float32)
    rounding = write_bold(path, data, AFFINE, 2.0, noise_sd=noise_sd)
    read = np.asanyarray(nib.load(path).dataobj, np.float64)
    float32_error = 3e-7 * np.abs(data).max()
    assert np.abs(read - data).max() <= noise_sd / 20 + float32_error
    assert np.abs(read - data).max() <= rounding + float32_error


def test_the_step_is_as_coarse_as_the_noise_allows():
    slope, inter = int16_scale(-50, 3000, 10.0)
    assert 0.999 <= slope <= 1.0
    assert inter == 0
    assert np.float32(slope) == slope


def test_a_noise_estimate_far_too_large_does_not_flatten_the_image():
    slope, _ = int16_scale(0, 100, 1e5)
    assert slope <= 100 / 250


def test_a_wide_range_moves_the_offset_then_the_type(tmp_path):
    slope, inter = int16_scale(20_000, 60_000, 10.0)
    assert slope <= 1.0 < 60_000 / 32767
    assert inter == pytest.approx(40_000, abs=1)
    assert int16_scale(0, 1e6, 1.0) is None
    data = np.linspace(0, 1e6, 2 * 2 * 2 * 12, dtype=np.float32).reshape(2, 2, 2, 12)
    assert write_bold(tmp_path / "a.nii.gz", data, AFFINE, 2.0, noise_sd=1.0) == 0
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj), data)


def test_zero_stays_zero_and_unknown_noise_gives_the_finest_step(tmp_path):
    data = series()
    data[:3] = 0
    for noise_sd in (8.0, 0.0):
        rounding = write_bold(tmp_path / "a.nii.gz", data, AFFINE, 2.0, noise_sd=noise_sd)
        assert (np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj)[:3] == 0).all()
    assert rounding == pytest.approx(np.abs(data).max() / 32767 / 2, rel=1e-6)
    assert write_bold(tmp_path / "z.nii.gz", np.zeros((2, 2, 2, 11), np.float32), AFFINE, 2.0, noise_sd=0.0) == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_series_must_be_finite_and_four_dimensional(tmp_path, bad):
    data = series()
    data[1, 2, 3, 4] = bad
    with pytest.raises(ValueError, match="finite"):
        write_bold(tmp_path / "a.nii.gz", data, AFFINE, 2.0, noise_sd=1.0)
    with pytest.raises(ValueError, match="four axes"):
        write_bold(tmp_path / "a.nii.gz", data[..., 0], AFFINE, 2.0, noise_sd=1.0)
    assert list(tmp_path.iterdir()) == []


def test_text_ends_in_a_newline(tmp_path):
    write_text(tmp_path / "a.md", "ä")
    write_text(tmp_path / "b.md", "ä\n")
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes() == "ä\n".encode()


def test_volume_by_volume_gives_the_bytes_of_the_whole(tmp_path):
    data = series()
    write_bold(tmp_path / "whole.nii.gz", data, AFFINE, 2.0, noise_sd=20.0, threads=1)
    volumes = (data[..., t] for t in range(data.shape[3]))
    bounds = {"low": float(data.min()), "high": float(data.max())}
    rounding = write_bold_volumes(tmp_path / "parts.nii.gz", volumes, data.shape, AFFINE, 2.0, **bounds, noise_sd=20.0, threads=1)
    assert gzip.decompress((tmp_path / "parts.nii.gz").read_bytes()) == gzip.decompress((tmp_path / "whole.nii.gz").read_bytes())
    assert 0 < rounding <= 1


def test_a_series_cut_short_while_it_is_made_leaves_no_file(tmp_path):
    data = series()
    with pytest.raises(ValueError, match="3 volumes were made, 13 announced"):
        write_bold_volumes(tmp_path / "a.nii.gz", [data[..., 0]] * 3, data.shape, AFFINE, 2.0, low=0.0, high=1000.0, noise_sd=8.0)
    with pytest.raises(ValueError, match="volume 1 is"):
        write_bold_volumes(
            tmp_path / "a.nii.gz", [data[..., 0], data[:3, ..., 0]], data.shape, AFFINE, 2.0, low=0.0, high=1000.0, noise_sd=8.0
        )
    assert not list(tmp_path.iterdir())
