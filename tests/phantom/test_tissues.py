"""Signal equations against step-by-step simulation of the magnetisation."""

import numpy as np
import pytest

from cospine.phantom.tissues import NUMBER, TISSUES, signal_gre, signal_gre_epi, signal_mprage, signal_se_epi

NAMES = ("csf", "grey_matter", "white_matter", "cord_white", "muscle", "fat")


def of(name: str):
    return TISSUES[NUMBER[name]]


@pytest.mark.parametrize("name", NAMES)
def test_mprage_against_simulation(name: str) -> None:
    t, flip, steps, readout, tr, ti, te = of(name), np.deg2rad(8.0), 160, 1.2, 2.3, 0.9, 0.00228
    m, seen = 1.0, 0.0

    def relax(m: float, time: float) -> float:
        return 1 - (1 - m) * np.exp(-time / t.t1_s)

    for _ in range(25):
        m = relax(-m, ti - readout / 2)
        for step in range(steps):
            if step == steps // 2:
                seen = m * np.sin(flip)
            m = relax(m * np.cos(flip), readout / steps)
        m = relax(m, tr - ti - readout / 2)
    assert signal_mprage(t, te, tr, ti, 8.0) == pytest.approx(t.pd * abs(seen) * np.exp(-te / t.t2s_s), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flip_deg", [60.0, 90.0])
def test_spin_echo_against_simulation(name: str, flip_deg: float) -> None:
    t, tr, te, flip = of(name), 7.5, 0.087, np.deg2rad(flip_deg)
    m, seen = 1.0, 0.0
    for _ in range(30):
        seen = m * np.sin(flip)
        m *= np.cos(flip)
        m = 1 - (1 - m) * np.exp(-te / 2 / t.t1_s)
        m = 1 - (1 + m) * np.exp(-(tr - te / 2) / t.t1_s)
    assert signal_se_epi(t, te, tr, flip_deg) == pytest.approx(t.pd * seen * np.exp(-te / t.t2_s), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_echo_against_simulation(name: str) -> None:
    t, m, seen = of(name), 1.0, 0.0
    for _ in range(60):
        seen = m * np.sin(np.deg2rad(80.0))
        m = 1 - (1 - m * np.cos(np.deg2rad(80.0))) * np.exp(-2.68 / t.t1_s)
    expected = t.pd * seen * np.exp(-0.027 / t.t2s_s)
    assert signal_gre(t, 0.027, 2.68, 80.0) == pytest.approx(expected, rel=1e-6)
    assert signal_gre_epi(t, 0.027, 2.68, 80.0) == pytest.approx(expected, rel=1e-6)


def test_contrasts_look_as_they_do() -> None:
    t1w = {t.name: signal_mprage(t, 0.00228, 2.3, 0.9, 8.0) for t in TISSUES}
    assert t1w["fat"] > t1w["white_matter"] > t1w["grey_matter"] > t1w["csf"] > t1w["air"] == 0
    bold = {t.name: signal_gre_epi(t, 0.027, 2.68, 80.0) for t in TISSUES}
    assert bold["csf"] > 0.9 * bold["grey_matter"]
    assert bold["grey_matter"] > bold["white_matter"]
    spin_echo = {t.name: signal_se_epi(t, 0.087, 7.5, 90.0) for t in TISSUES}
    assert spin_echo["csf"] > 2 * max(spin_echo["grey_matter"], spin_echo["muscle"])
    assert spin_echo["bone"] < 0.01 * spin_echo["grey_matter"]
