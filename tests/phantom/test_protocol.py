"""The protocol against the facts of the real runs."""

import numpy as np
import pytest

from cospine.phantom import protocol as p

# SliceTiming of the first twelve slices of a run of ds005883.
REAL_START = [1.2925, 0.0, 1.37, 0.0775, 1.445, 0.1525, 1.52, 0.23, 1.5975, 0.305, 1.6725, 0.38]


def test_slice_times_are_those_of_the_scanner():
    times = np.array(p.FULL.slice_times_s)
    assert list(times[:12]) == REAL_START
    assert times.max() == 2.585
    assert np.array_equal(times[:35], times[35:])
    steps = np.diff(np.unique(times))
    assert steps.size == 34
    assert set(np.round(steps * 1000, 3)) == {75.0, 77.5}
    assert np.argsort(times[:35]).tolist() == [*range(1, 34, 2), *range(0, 35, 2)]


def test_small_protocol_has_the_same_clock_and_the_same_millimetres_for_a_hertz():
    assert p.SMALL.slice_times_s == p.FULL.slice_times_s[:35]
    full, small = (q.total_readout_s * q.voxel_mm[1] for q in (p.FULL, p.SMALL))
    assert small == pytest.approx(full)
    # 44 Hz moves the signal by about 2.7 mm.
    assert 44 * full == pytest.approx(2.68, abs=0.02)


@pytest.mark.parametrize("protocol", [p.FULL, p.SMALL])
def test_readout_time_is_echo_spacing_times_lines_less_one(protocol):
    expected = protocol.effective_echo_spacing_s * (protocol.shape[1] - 1)
    assert protocol.total_readout_s == pytest.approx(expected, rel=1e-5)


def test_simultaneous_slices_pair_brain_and_neck():
    groups = p.simultaneous_slices(p.FULL)
    assert groups[:2] == ((1, 36), (3, 38))
    assert all(b - a == 35 for a, b in groups)
    assert sorted(k for group in groups for k in group) == list(range(70))
    assert all(len(group) == 1 for group in p.simultaneous_slices(p.SMALL))


def test_acquisition_times():
    times = p.acquisition_times(p.FULL, 3)
    assert times.shape == (3, 70)
    assert times[2, 36] == 2 * 2.68
    assert times[1, 0] == 2.68 + 1.2925


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "00:00:00.000000"), (48675.86, "13:31:15.860000"), (86400.5, "00:00:00.500000"), (86399.99999999,
    "00:00:00.000000")],
)  # fmt: skip
def test_clock(seconds, text):
    assert p.clock(seconds) == text


def test_sidecars_tell_the_runs_apart_and_the_pair_together():
    site, rng = p.SITES[1], np.random.default_rng(0)
    shim = p.draw_shim(rng, site)
    bold = p.bold_sidecar(p.FULL, site, "pain", shim, 48675.86, ["pepolar_pain"])
    ap, pa = (p.epi_pair_sidecar(p.FULL, site, d, shim, 48000.0, "pepolar_pain") for d in ("AP", "PA"))
    assert (bold["PhaseEncodingDirection"], ap["PhaseEncodingDirection"], pa["PhaseEncodingDirection"]) == (
        "j",
        "j-",
        "j",
    )
    assert bold["TotalReadoutTime"] == ap["TotalReadoutTime"] == 0.0406401
    assert bold["EffectiveEchoSpacing"] == 0.000320001
    assert bold["BandwidthPerPixelPhaseEncode"] == 24.414
    assert bold["ShimSetting"] == ap["ShimSetting"] == shim
    assert len(shim) == 8
    assert bold["B0FieldSource"] == ap["B0FieldIdentifier"] == "pepolar_pain"
    assert len(bold["SliceTiming"]) == 70
    assert bold["MultibandAccelerationFactor"] == 2
    assert "MultibandAccelerationFactor" not in p.bold_sidecar(p.SMALL, site, "motorL", shim, 0.0)


def test_gre_sidecars():
    site, shim = p.SITES[1], [0] * 8
    difference = p.gre_sidecar(p.FULL, site, "phasediff", shim, 0.0, "gre_pain")
    assert difference["EchoTime2"] - difference["EchoTime1"] == pytest.approx(0.00246)
    assert p.gre_sidecar(p.FULL, site, "magnitude2", shim, 0.0, "gre_pain")["EchoTime"] == 0.00738


def test_a_shim_has_eight_numbers():
    with pytest.raises(ValueError, match="8 numbers"):
        p.t1w_sidecar(p.FULL, p.SITES[1], [1, 2, 3], 0.0)
