"""What the networks are given, and that they can be run."""

import numpy as np
import pytest

from cospine.anatomy import network


def test_a_section_is_centred_on_its_median_and_scaled_by_its_percentiles() -> None:
    ramp = np.linspace(0, 100, 64 * 64).reshape(1, 64, 64)
    found = network.normalise_section(ramp)[0]
    assert np.median(found) == pytest.approx(0, abs=1e-5)
    # the 5th to the 95th percentile of a ramp are 90 % of it
    assert found.max() == pytest.approx(50 / 90, rel=1e-3)
    assert found.dtype == np.float32


def test_neither_unit_nor_offset_matter_to_a_section() -> None:
    rng = np.random.default_rng(0)
    section = rng.gamma(2.0, size=(3, 64, 64))
    first = network.normalise_section(section)
    np.testing.assert_allclose(network.normalise_section(section * 1e-6), first, atol=1e-4)
    np.testing.assert_allclose(network.normalise_section(section * 2000 + 300), first, atol=1e-3)


def test_what_is_out_of_view_neither_counts_nor_shows() -> None:
    rng = np.random.default_rng(1)
    section = rng.normal(100, 10, size=(2, 64, 64))
    in_view = np.ones(section.shape, dtype=bool)
    in_view[0, :, 40:] = False
    spoiled = np.where(in_view, section, 1e9)
    found = network.normalise_section(spoiled, in_view)
    assert (found[0, :, 40:] == 0).all()
    np.testing.assert_allclose(found[0, :, :40], network.normalise_section(section[:1, :, :40])[0], atol=1e-5)
    assert (network.normalise_section(section, np.zeros_like(in_view)) == 0).all()


def test_sections_are_clipped_and_a_uniform_one_is_zero() -> None:
    section = np.zeros((1, 64, 64))
    section[0, :3, :3] = 1e6
    found = network.normalise_section(section)
    assert found.max() == network.SECTION_LIMIT
    assert np.isfinite(found).all()
    assert (network.normalise_section(np.full((1, 64, 64), 7.0)) == 0).all()


def test_a_volume_is_scaled_by_what_is_bright_in_view() -> None:
    volume = np.linspace(0, 100, 1000).reshape(10, 10, 10)
    found = network.normalise_volume(volume)
    assert found.max() == pytest.approx(100 / 98, rel=2e-3)
    spoiled = volume.copy()
    spoiled[0] = 1e9
    in_view = np.ones(volume.shape, dtype=bool)
    in_view[0] = False
    seen = network.normalise_volume(spoiled, in_view)
    assert (seen[0] == 0).all()
    np.testing.assert_allclose(seen[1:], network.normalise_volume(volume[1:]), rtol=1e-5)
    assert network.normalise_volume(volume - 50).min() == 0
    assert network.normalise_volume(np.where(volume > 99.9, 1e9, volume)).max() == network.VOLUME_LIMIT
    assert (network.normalise_volume(np.zeros((4, 4, 4))) == 0).all()


def test_the_cord_network_takes_any_number_of_sections_and_only_its_size() -> None:
    sections = np.random.default_rng(2).normal(size=(network.SECTION_BATCH + 3, 64, 64)).astype(np.float32)
    found = network.run_cord(sections)
    assert found.shape == sections.shape
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(network.run_cord(sections[-2:]), found[-2:], atol=1e-4)
    with pytest.raises(ValueError, match="64, 64"):
        network.run_cord(np.zeros((1, 32, 64), dtype=np.float32))


def test_the_head_network_takes_volumes_of_any_size() -> None:
    found = network.run_head(np.random.default_rng(3).random((21, 16, 30)).astype(np.float32))
    assert found.shape == (len(network.HEAD_CLASSES), 21, 16, 30)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)


def test_weights_are_small() -> None:
    from importlib import resources

    folder = resources.files("cospine.anatomy").joinpath("weights")
    assert sum(len(folder.joinpath(name).read_bytes()) for name in ("cord.onnx", "head.onnx")) <= 4 * 2**20
