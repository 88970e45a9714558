"""Thermal denoising against series whose noise and truth are known."""

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from cospine.errors import CoSpineError
from cospine.signal.thermal import denoise, denoise_complex, estimate_noise

pytestmark = pytest.mark.slow

SHAPE = (26, 24, 6, 80)
NEIGHBOUR = 0.18  # weight of either neighbour in the plane: correlations 0.338 and 0.030


def _truth(shape=SHAPE, rank=4, seed=0):
    """Series of four smooth maps, each with a course of its own, on a sloping mean."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape[:3]], indexing="ij"))
    series = np.repeat((200 + 30 * grid[0])[..., None], shape[3], axis=3)
    for centre in rng.uniform(-0.6, 0.6, (rank, 3)):
        near = np.exp(-((grid - centre[:, None, None, None]) ** 2).sum(0) / 0.4)
        course = np.cumsum(rng.standard_normal(shape[3]))
        series += 15 * near[..., None] * (course - course.mean()) / course.std()
    return series


def _noise(shape=SHAPE, seed=1, neighbour=0.0):
    """Noise of SD 1, correlated in the plane if wanted."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    for axis in (0, 1):
        noise = noise + neighbour * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    return noise / (1 + 2 * neighbour**2)


def _fortran(series, dtype=np.float32):
    return np.asfortranarray(series.astype(dtype))


def _rms(difference):
    return float(np.sqrt(np.mean(difference**2)))


@pytest.mark.parametrize("neighbour", [0.0, NEIGHBOUR])
def test_noise_map_and_correlation(neighbour):
    rising = np.linspace(5, 15, SHAPE[0])[:, None, None]
    noise = estimate_noise(_fortran(_truth() + rising[..., None] * _noise(neighbour=neighbour)))
    ratio = noise.sd / np.broadcast_to(rising, SHAPE[:3])
    assert abs(np.median(ratio) - 1) < 0.04
    assert np.percentile(np.abs(ratio - 1), 95) < 0.2
    one = 2 * neighbour / (1 + 2 * neighbour**2)
    two = neighbour**2 / (1 + 2 * neighbour**2)
    assert np.abs(noise.correlation[:2] - [one, two]).max() < 0.05
    assert np.abs(noise.correlation[2]).max() < 0.03


@pytest.mark.parametrize("strength", ["gentle", "full"])
def test_near_projection_on_the_true_courses(strength):
    truth, noise = _truth(), 10 * _noise()
    result = denoise(_fortran(truth + noise), strength=strength)
    # in one patch, by who knows the four courses: noise left in their directions and in the mean
    courses = np.linalg.svd((truth - truth.mean(3, keepdims=True)).reshape(-1, SHAPE[3]), full_matrices=False)[2][:4]
    oracle = _rms(noise @ courses.T @ courses + noise.mean(3, keepdims=True))
    assert _rms(result.series - truth) < 1.1 * oracle
    assert _rms(result.series - truth) < 0.35 * _rms(noise)
    # patches of 75 voxels, fewer than volumes: all but up to four, as many as reach there
    assert 70 < result.removed.min() < 73
    assert result.removed.max() <= 75


def test_correlated_noise_is_found_out_by_full_strength():
    truth, noise = _truth(), 10 * _noise(neighbour=NEIGHBOUR)
    noisy = _fortran(truth + noise)
    gentle, full = (denoise(noisy, strength=strength) for strength in ("gentle", "full"))
    assert _rms(full.series - truth) < 0.4 * _rms(noise)
    assert _rms(full.series - truth) < 0.8 * _rms(gentle.series - truth) < 0.7 * _rms(noise)
    # what was taken away is noise: no course in common with the truth
    taken = (noisy - full.series).mean((0, 1, 2)) / 10 * np.sqrt(np.prod(SHAPE[:3]))
    assert np.abs(taken).max() < 10


def test_without_noise_nothing_changes():
    truth = _fortran(_truth())
    assert np.abs(denoise(truth).series - truth).max() < 0.01


def test_courses_to_keep_pass_unchanged():
    noisy = _fortran(_truth() + 30 * _noise())
    task = np.sin(np.arange(SHAPE[3]) * 0.9)[:, None]
    result = denoise(noisy, keep=task, strength="full")
    design = np.column_stack([np.ones(SHAPE[3]), task])
    before, after = (series @ np.linalg.pinv(design).T for series in (noisy.astype(float), result.series.astype(float)))
    assert np.abs(before - after).max() < 1e-3
    lost = denoise(noisy, strength="full").series.astype(float) @ np.linalg.pinv(design).T
    assert lost[..., 1].std() < 0.5 * before[..., 1].std()


def test_same_bytes_whatever_the_number_of_threads():
    noisy = _fortran(_truth() + 10 * _noise())
    many = get_num_threads()
    first = denoise(noisy)
    try:
        set_num_threads(1)
        second = denoise(noisy)
    finally:
        set_num_threads(many)
    assert first.series.tobytes() == second.series.tobytes()
    assert first.noise_sd.tobytes() == second.noise_sd.tobytes()


def test_integers_and_in_place():
    noisy = _fortran(np.rint(_truth() + 10 * _noise()), np.int16)
    from_integers = denoise(noisy)
    floats = _fortran(noisy)
    in_place = denoise(floats, out=floats)
    assert in_place.series is floats
    assert in_place.series.tobytes() == from_integers.series.tobytes()
    assert from_integers.series.flags.f_contiguous


def test_mask_and_voxels_that_never_change():
    noisy = _truth() + 10 * _noise()
    noisy[:5] = 7
    mask = np.zeros(SHAPE[:3], bool)
    mask[3:16] = True
    noisy = _fortran(noisy)
    result = denoise(noisy, mask=mask)
    treated = mask & (noisy.std(3) > 0)
    assert np.isfinite(result.series).all()
    assert np.array_equal(result.series[~treated], noisy[~treated])
    assert np.all(result.noise_sd[:5] == 0)
    assert np.all(result.removed[~treated] == 0)
    truth = _truth()
    assert _rms((result.series - truth)[treated]) < 0.4 * _rms((noisy - truth)[treated])


@pytest.mark.parametrize("shape", [(26, 24, 6, 8), (26, 24, 1, 40), (5, 6, 2, 30)])
def test_small_series(shape):
    truth = _truth(shape, rank=1)
    noisy = _fortran(truth + 5 * _noise(shape))
    result = denoise(noisy)
    assert np.isfinite(result.series).all()
    assert _rms(result.series - truth) < 0.8 * _rms(noisy - truth)


def test_phase_beats_magnitude_where_signal_is_weak():
    truth = _truth()
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), indexing="ij")
    volumes = np.arange(SHAPE[3])
    phase = 2 * rng.standard_normal(SHAPE[:3])[..., None] + (1.5 * np.sin(volumes) * y[..., None] + x[..., None])[:, :, None]
    image = truth * np.exp(1j * phase) + 120 * (_noise() + 1j * _noise(seed=2))
    magnitude = _fortran(np.abs(image))
    plain = denoise(magnitude, strength="full")
    both = denoise_complex(magnitude, _fortran(np.angle(image)), strength="full")
    assert _rms(both.series - truth) < 0.5 * _rms(plain.series - truth)
    assert abs((both.series - truth).mean()) < 0.2 * (plain.series - truth).mean()  # Rician bias
    assert abs(np.median(both.noise_sd) / 120 - 1) < 0.04
    assert np.allclose(denoise(_fortran(image, np.complex64), strength="full").series, both.series, atol=0.2)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"series": np.zeros((4, 4, 4), np.float32)}, "series"),
        ({"series": np.zeros((4, 4, 4, 7), np.float32)}, "series"),
        ({"series": np.full((4, 4, 4, 9), np.nan, np.float32)}, "series"),
        ({"mask": np.ones((4, 4, 5), bool)}, "mask"),
        ({"patch": (1, 1, 1)}, "patch"),
        ({"stride": (0, 1, 1)}, "stride"),
        ({"keep": np.ones((8, 1))}, "keep"),
        ({"memory_gb": 1e-6}, "memory_gb"),
        ({"out": np.zeros((4, 4, 4, 9))}, "out"),
    ],
)
def test_what_cannot_be_denoised(arguments, where):
    given = {"series": np.zeros((4, 4, 4, 9), np.float32), **arguments}
    with pytest.raises(CoSpineError) as error:
        denoise(given.pop("series"), **given)
    assert error.value.where == where


def test_phase_in_scanner_units_is_refused():
    series = np.ones((6, 6, 3, 10), np.float32)
    with pytest.raises(CoSpineError, match="in rad"):
        denoise_complex(series, np.linspace(-4096, 4095, series.size).reshape(series.shape))
