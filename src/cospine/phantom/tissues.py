"""Tissues of the digital participant: relaxation, proton density and susceptibility at 3 T, and the signal they give.

Relaxation times at 3 T are after Stanisz et al., Magn Reson Med 2005 (grey and white matter, muscle), Smith et al.,
Magn Reson Med 2008 (T1, T2 of cord grey and white matter), Barry & Smith, Magn Reson Med 2019 (their T2*), Wansapura et
al., J Magn Reson Imaging 1999 (T2* of the brain), de Bazelaire et al., Radiology 2004 (marrow, subcutaneous fat), Rooney
et al., Magn Reson Med 2007 (CSF) and Lu et al., Magn Reson Med 2004 (blood). Susceptibilities (SI, ppm, volume) are after
Schenck, Med Phys 1996 and Hopkins & Wehrli, Magn Reson Med 1997 (bone). Discs, eyes, lungs and all proton densities are
plausible values.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """What a tissue is to the scanner.

    Parameters
    ----------
    name : str
    pd : float
        Visible proton density, water = 1.
    t1_s, t2_s, t2s_s : float
        Relaxation times T1, T2 and T2* (s) at 3 T, T2* without gradients of the static field over millimetres.
    chi_ppm : float
        Volume susceptibility (SI, ppm).
    """

    name: str
    pd: float
    t1_s: float
    t2_s: float
    t2s_s: float
    chi_ppm: float


WATER_PPM, AIR_PPM = -9.05, 0.36

# The index of a tissue is its number. Cortical bone and air have next to no visible protons; their times only keep
# the formulas finite.
TISSUES: tuple[Tissue, ...] = (
    Tissue("air", 0.0, 1.0, 0.05, 0.01, AIR_PPM),
    Tissue("csf", 1.0, 4.3, 1.5, 0.30, WATER_PPM),
    Tissue("grey_matter", 0.82, 1.45, 0.085, 0.050, -9.03),
    Tissue("white_matter", 0.70, 0.85, 0.070, 0.047, -9.06),
    Tissue("cord_grey", 0.80, 0.99, 0.076, 0.041, -9.03),
    Tissue("cord_white", 0.72, 0.88, 0.073, 0.039, -9.06),
    Tissue("bone", 0.03, 0.40, 0.010, 0.002, -11.3),
    Tissue("marrow", 0.45, 0.586, 0.049, 0.012, -9.6),
    Tissue("disc", 0.55, 1.10, 0.080, 0.030, -9.1),
    Tissue("muscle", 0.75, 1.41, 0.040, 0.028, -9.03),
    Tissue("fat", 0.90, 0.37, 0.100, 0.032, -8.4),
    Tissue("eye", 1.0, 3.5, 0.80, 0.20, WATER_PPM),
    Tissue("vessel", 0.85, 1.60, 0.10, 0.045, -8.9),
    Tissue("airway", 0.0, 1.0, 0.05, 0.01, AIR_PPM),
    Tissue("lung", 0.15, 1.2, 0.03, 0.002, -2.5),
)
NUMBER: dict[str, int] = {t.name: n for n, t in enumerate(TISSUES)}


def signal_gre(t: Tissue, te_s: float, tr_s: float, flip_deg: float) -> float:
    """Spoiled gradient echo (Ernst): PD sin a (1 - E1) / (1 - E1 cos a) exp(-TE / T2*), relative to unit density."""
    e1, a = np.exp(-tr_s / t.t1_s), np.deg2rad(flip_deg)
    return float(t.pd * np.sin(a) * (1 - e1) / (1 - e1 * np.cos(a)) * np.exp(-te_s / t.t2s_s))


def signal_gre_epi(t: Tissue, te_s: float, tr_s: float, flip_deg: float) -> float:
    """Gradient-echo EPI in the steady state; the same as `signal_gre` since one excitation gives the whole image."""
    return signal_gre(t, te_s, tr_s, flip_deg)


def signal_se_epi(t: Tissue, te_s: float, tr_s: float, flip_deg: float = 90.0) -> float:
    """Spin-echo EPI with one 180 degree pulse at TE / 2.

    Longitudinal magnetisation before the next excitation is 1 - 2 exp(-(TR - TE/2) / T1) + exp(-TR / T1) for 90 degrees
    (Bernstein, King & Zhou, Handbook of MRI Pulse Sequences, 2004, ch. 14), read out at exp(-TE / T2).
    """
    a = np.deg2rad(flip_deg)
    e1 = np.exp(-tr_s / t.t1_s)
    recovered = (1 - 2 * np.exp(-(tr_s - te_s / 2) / t.t1_s) + e1) / (1 + np.cos(a) * e1)
    return float(t.pd * np.sin(a) * max(recovered, 0.0) * np.exp(-te_s / t.t2_s))


def signal_mprage(t: Tissue, te_s: float, tr_s: float, ti_s: float, flip_deg: float, readout_s: float = 1.2) -> float:
    """MPRAGE at the centre of its gradient-echo train, magnitude.

    Longitudinal magnetisation is inverted, recovers for a while, is driven by the train towards its own steady state and
    recovers again, periodically with TR (Deichmann et al., NeuroImage 2000); the centre of the train lies at TI.

    Parameters
    ----------
    t : Tissue
    te_s, tr_s, ti_s : float
        Echo, repetition (inversion to inversion) and inversion time (s).
    flip_deg : float
        Flip angle of the train.
    readout_s : float
        Length of the train (s).
    """
    a = np.deg2rad(flip_deg)
    steps = 160
    spacing = readout_s / steps
    before = max(ti_s - readout_s / 2, 0.0)
    after = max(tr_s - before - readout_s, 0.0)
    # Each stage maps m to gain * m + offset; the cycle's fixed point is the steady state.
    recover = lambda time: (np.exp(-time / t.t1_s), 1 - np.exp(-time / t.t1_s))  # noqa: E731
    pulse = (np.cos(a), 0.0)

    def then(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
        return first[0] * second[0], first[1] * second[0] + second[1]

    to_centre = then((-1.0, 0.0), recover(before))
    half = (1.0, 0.0)
    for _ in range(steps // 2):
        half = then(then(half, pulse), recover(spacing))
    to_centre = then(to_centre, half)
    cycle = then(then(to_centre, half), recover(after))
    start = cycle[1] / (1 - cycle[0])
    centre = to_centre[0] * start + to_centre[1]
    return float(t.pd * np.sin(a) * abs(centre) * np.exp(-te_s / t.t2s_s))
