"""How bright each tissue is: recipes like those of real sequences, and contrasts like those of none."""

from dataclasses import dataclass

import numpy as np

from training.cord_shapes import N_TISSUES, Tissue

# Order: air muscle fat cortex marrow disc csf white grey dura,
# vessel epidural root gland cerebellum lesion ligament spot odd odd.
RECIPES: dict[str, tuple[float, ...]] = {
    "T1w": (
        0.02, 0.45, 0.95, 0.08, 0.60, 0.40, 0.15, 0.62, 0.52, 0.30,
        0.25, 0.85, 0.48, 0.50, 0.52, 0.45, 0.25, 1.10, 0.5, 0.3,
    ),
    "T1w inflow": (
        0.02, 0.42, 0.80, 0.05, 0.50, 0.35, 0.25, 0.60, 0.48, 0.30,
        1.20, 0.75, 0.48, 0.50, 0.50, 0.45, 0.20, 1.50, 0.5, 0.3,
    ),
    "T1w fat suppressed": (
        0.02, 0.50, 0.20, 0.05, 0.25, 0.40, 0.18, 0.70, 0.60, 0.30,
        0.40, 0.20, 0.55, 0.60, 0.60, 0.50, 0.25, 1.00, 0.5, 0.3,
    ),
    "T2w": (
        0.02, 0.18, 0.65, 0.05, 0.35, 0.35, 1.00, 0.36, 0.46, 0.12,
        0.06, 0.60, 0.42, 0.38, 0.48, 0.65, 0.08, 0.90, 0.5, 0.3,
    ),
    "T2w long echo": (
        0.02, 0.08, 0.35, 0.03, 0.18, 0.22, 1.00, 0.22, 0.30, 0.10,
        0.05, 0.30, 0.30, 0.25, 0.32, 0.55, 0.05, 1.20, 0.5, 0.3,
    ),
    "T2*w": (
        0.03, 0.40, 0.50, 0.06, 0.18, 0.55, 0.85, 0.50, 0.64, 0.30,
        0.80, 0.50, 0.60, 0.55, 0.60, 0.70, 0.15, 1.00, 0.5, 0.3,
    ),
    "T2*w dark CSF": (
        0.03, 0.40, 0.45, 0.06, 0.20, 0.50, 0.45, 0.58, 0.70, 0.25,
        0.90, 0.40, 0.60, 0.55, 0.60, 0.75, 0.15, 1.00, 0.5, 0.3,
    ),
    "GE-EPI": (
        0.03, 0.28, 0.12, 0.05, 0.08, 0.22, 0.90, 0.70, 0.80, 0.45,
        0.30, 0.30, 0.55, 0.45, 0.78, 0.85, 0.10, 1.00, 0.4, 0.2,
    ),
    "GE-EPI flat": (
        0.03, 0.35, 0.15, 0.06, 0.10, 0.30, 0.80, 0.75, 0.80, 0.60,
        0.40, 0.40, 0.65, 0.50, 0.78, 0.85, 0.15, 1.00, 0.4, 0.2,
    ),
    "SE-EPI": (
        0.03, 0.15, 0.06, 0.04, 0.07, 0.18, 1.00, 0.45, 0.55, 0.30,
        0.10, 0.20, 0.45, 0.30, 0.55, 0.65, 0.08, 1.00, 0.4, 0.2,
    ),
    "DWI": (
        0.04, 0.12, 0.10, 0.04, 0.06, 0.10, 0.12, 0.90, 0.85, 0.15,
        0.08, 0.12, 0.50, 0.35, 0.85, 0.80, 0.08, 0.80, 0.3, 0.2,
    ),
    "PD": (
        0.03, 0.50, 0.80, 0.08, 0.50, 0.55, 0.80, 0.68, 0.84, 0.40,
        0.30, 0.75, 0.65, 0.65, 0.80, 0.85, 0.20, 1.00, 0.5, 0.3,
    ),
    "MT": (
        0.03, 0.35, 0.70, 0.06, 0.45, 0.40, 0.70, 0.42, 0.52, 0.30,
        0.60, 0.60, 0.50, 0.50, 0.50, 0.60, 0.15, 1.00, 0.5, 0.3,
    ),
    "PSIR": (
        0.30, 0.62, 0.95, 0.30, 0.65, 0.55, 0.10, 0.80, 0.66, 0.40,
        0.30, 0.90, 0.66, 0.60, 0.68, 0.50, 0.40, 1.00, 0.5, 0.3,
    ),
    "STIR": (
        0.02, 0.30, 0.05, 0.04, 0.12, 0.35, 1.00, 0.50, 0.60, 0.25,
        0.30, 0.08, 0.60, 0.55, 0.60, 0.90, 0.12, 0.90, 0.5, 0.3,
    ),
}  # fmt: skip
EPI = ("GE-EPI", "GE-EPI flat", "SE-EPI", "DWI")
# Functional series are what the mask is needed on most, and where cord and CSF differ least.
SHARES = np.array([3.0 if name.startswith("GE-EPI") else 1.0 for name in RECIPES])
SHARES /= SHARES.sum()


@dataclass(frozen=True)
class Contrast:
    """Mean brightness of each tissue and the strength of its texture, each float32 (20,), and the recipe's name."""

    mean: np.ndarray
    texture: np.ndarray
    name: str


def draw_contrast(rng: np.random.Generator, plausible: bool) -> Contrast:
    """Brightness of every tissue; cord and CSF always differ by a few percent at least."""
    if plausible:
        name = str(rng.choice(list(RECIPES), p=SHARES))
        jitter = rng.choice([0.08, 0.18, 0.3])
        mean = np.array(RECIPES[name]) * np.exp(rng.normal(0, jitter, N_TISSUES))
        # White and grey of one cord do not drift apart like two tissues; roots and cerebellum follow them.
        common = rng.normal(0, jitter)
        cord = [Tissue.WHITE, Tissue.GREY, Tissue.ROOT, Tissue.CEREBELLUM]
        mean[cord] = np.array(RECIPES[name])[cord] * np.exp(common + rng.normal(0, 0.04, 4))
        if name == "GE-EPI flat":
            # mostly brighter, and next to the dark: a thin layer of CSF and what is dark around it share voxels
            mean[Tissue.CSF] = mean[Tissue.WHITE] * (1 + rng.choice([-1, 1], p=[0.25, 0.75]) * rng.uniform(0.06, 0.35))
            mean[Tissue.DURA] = mean[Tissue.CSF] * rng.uniform(0.15, 1.0)
            mean[Tissue.EPIDURAL] *= rng.uniform(0.3, 1.0)
        if rng.random() < 0.25:
            mean[Tissue.GREY] = mean[Tissue.WHITE] * rng.uniform(0.97, 1.03)
        if rng.random() < 0.12:
            mean[int(rng.integers(0, N_TISSUES))] *= rng.uniform(2.0, 5.0)
        if rng.random() < 0.1:
            mean[[Tissue.FAT, Tissue.EPIDURAL, Tissue.SPOT]] *= rng.uniform(1.5, 4.0)
    else:
        name = "random"
        mean = rng.uniform(0.0, 1.0, N_TISSUES)
        mean[Tissue.GREY] = mean[Tissue.WHITE] * np.exp(rng.normal(0, 0.15))
        if rng.random() < 0.6:
            mean[Tissue.AIR] = rng.uniform(0, 0.05)
        if rng.random() < 0.3:
            mean[Tissue.ROOT] = mean[Tissue.CSF] + (mean[Tissue.WHITE] - mean[Tissue.CSF]) * rng.uniform(0, 1)
    gap = mean[Tissue.CSF] - mean[Tissue.WHITE]
    smallest = 0.06 * max(mean[Tissue.WHITE], 0.15)
    if abs(gap) < smallest:
        mean[Tissue.CSF] = mean[Tissue.WHITE] + np.copysign(smallest * rng.uniform(1, 2.5), gap)
    strength = rng.choice([0.02, 0.06, 0.15, 0.3], p=[0.3, 0.4, 0.2, 0.1])
    texture = strength * rng.uniform(0.3, 1.5, N_TISSUES) * mean
    texture[[Tissue.WHITE, Tissue.GREY]] *= 0.35
    texture[Tissue.AIR] *= 0.2
    if rng.random() < 0.1:
        texture[[Tissue.MUSCLE, Tissue.FAT, Tissue.MARROW, Tissue.ODD_A, Tissue.ODD_B]] += rng.uniform(0.05, 0.3)
    return Contrast(np.maximum(mean, 0).astype(np.float32), texture.astype(np.float32), name)
