"""Names of response models, apart from what computes them: the command line offers them without loading numerical libraries."""

HRF_MODELS = (
    "spm",
    "spm + derivative",
    "spm + derivative + dispersion",
    "glover",
    "glover + derivative",
    "glover + derivative + dispersion",
)
"""nilearn's names."""
FIR = "fir"
"""Finite impulses: no shape is assumed."""
