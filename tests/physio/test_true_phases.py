"""Columns of true phases against physiology that is no Fourier series: what the digital participant's CSF does."""

import numpy as np
import pytest

from cospine.phantom import modulation
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.protocol import FULL
from cospine.physio.phase import cardiac_phase, respiratory_phase
from cospine.physio.pnm import pnm_columns
from cospine.signal.regression import slice_bases

VOLUMES = 225
FLOOR = 0.063  # SD over signal of the ring around the cord in full runs without physiology


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_in_the_csf_goes_down_to_its_floor(seed: int) -> None:
    body = simulate_physiology(seed, VOLUMES * FULL.tr_s)
    times = np.arange(VOLUMES)[:, None] * FULL.tr_s + np.asarray(FULL.slice_times_s)
    rng = np.random.default_rng(seed)
    labels = modulation.Labels(
        np.zeros((1, 1, 1), np.uint8), np.full(4, modulation.CLASSES.index("csf")), np.arange(4), np.zeros(4, np.int64)
    )
    slices = times.shape[1]
    table = modulation.modulation_table(labels, times, np.full(slices, -0.2), np.ones(slices), body, False, {}, rng)
    belt_rate, start = 50.0, -20.0
    belt = body.breathing(start + np.arange(int((VOLUMES * FULL.tr_s + 40) * belt_rate)) / belt_rate)
    physiology = (table - table.mean(axis=0)).transpose(1, 0, 2)  # slices, volumes, labels

    def basis(late_s: float) -> np.ndarray:
        at = times - late_s
        _, columns = pnm_columns(cardiac_phase(body.beat_times_s, at), respiratory_phase(belt, belt_rate, start, at))
        return slice_bases(columns.transpose(1, 0, 2)).fitted

    def without(model: np.ndarray, data: np.ndarray) -> np.ndarray:
        return data - np.einsum("str,srl->stl", model, np.einsum("str,stl->srl", model, data))

    def share_left(late_s: float) -> float:
        return float((without(basis(late_s), physiology) ** 2).sum() / (physiology**2).sum())

    # a beat's own height and the depth of breaths are in no function of the phase
    assert share_left(0.0) < 0.2
    assert share_left(5.0) > 0.5, "columns of another time take little"

    total = physiology + FLOOR * rng.standard_normal(physiology.shape)
    model = basis(0.0)
    sd = np.sqrt((without(model, total) ** 2).sum(axis=1) / (VOLUMES - 1 - model.shape[2]))
    assert np.median(sd) / FLOOR == pytest.approx(1, abs=0.05)
