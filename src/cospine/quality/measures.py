"""The quality measures of a run as numbers: a closed table of names, each with its unit in it.

The page shows them rounded, in words; this is the same numbers as a machine reads them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

# name: (region, meaning). A share is in percent, a correlation or a Dice coefficient has no unit.
MEASURES: dict[str, tuple[str, str]] = {
    "volumes": ("", "volumes that were used"),
    "dummy_volumes": ("", "volumes at the start that are not in steady state"),
    "fd_mean_mm": ("brain", "mean framewise displacement of the head (Power 2012)"),
    "fd_max_mm": ("brain", "largest framewise displacement of the head"),
    "fd_above_threshold_volumes": ("brain", "volumes with a framewise displacement above 0.5 mm"),
    "std_dvars_mean": ("", "mean standardised DVARS of the corrected series; about 1 in noise"),
    "cord_shift_rms_mm": ("cord", "RMS in-plane shift of the cord about each slice's median"),
    "cord_shift_sd_median_mm": ("cord", "median posterior SD of the cord's shifts"),
    "cord_through_plane_rms_mm": ("cord", "RMS through-plane motion of the neck, if it followed the head"),
    "tsnr_brain_before": ("brain", "median tSNR before correction"),
    "tsnr_brain_after": ("brain", "median tSNR after correction"),
    "tsnr_brain_after_p05": ("brain", "5th percentile of tSNR after correction"),
    "tsnr_brain_after_p95": ("brain", "95th percentile of tSNR after correction"),
    "tsnr_cord_before": ("cord", "median tSNR before correction"),
    "tsnr_cord_after": ("cord", "median tSNR after correction"),
    "tsnr_cord_after_p05": ("cord", "5th percentile of tSNR after correction"),
    "tsnr_cord_after_p95": ("cord", "95th percentile of tSNR after correction"),
    "interpolation_gain_brain": ("brain", "factor by which interpolation alone raises tSNR"),
    "interpolation_gain_cord": ("cord", "factor by which interpolation alone raises tSNR"),
    "brain_volume_ml": ("brain", "volume of the run's brain mask"),
    "cord_volume_ml": ("cord", "volume of the run's cord mask"),
    "cord_slices": ("cord", "slices that hold cord"),
    "cord_confidence_median": ("cord", "median confidence (0-1) of the run's cord mask over the slices that hold cord"),
    "distortion_corrected": ("", "1 where distortion was corrected, else 0"),
    "brain_displacement_mean_mm": ("brain", "mean size of the displacement by distortion that was corrected"),
    "cord_displacement_mean_mm": ("cord", "mean size of the displacement by distortion that was corrected, above the cut-off"),
    "cord_displacement_left_mm": ("cord", "mean size of the displacement that remains by an independent estimate"),
    "pair_ncc_before": ("", "correlation of the field map's pair before unwarping"),
    "pair_ncc_after": ("", "correlation of the field map's pair after unwarping"),
    "jacobian_min": ("", "smallest Jacobian of the correction in brain and cord"),
    "cord_cutoff_z_mm": ("cord", "height (RAS) from which down the cord is displaced too far to be mended"),
    "field_agreement_slope": ("brain", "slope of the pair's field against that of the phase difference"),
    "field_agreement_rms_hz": ("brain", "RMS difference of the two fields, shim removed"),
    "fieldmap_to_run_mm": ("brain", "translation of the head between field map and run"),
    "fieldmap_to_run_deg": ("brain", "largest rotation of the head between field map and run"),
    "anatomy_to_run_mm": ("brain", "displacement of the middle of the brain between anatomical image and run"),
    "anatomy_to_run_deg": ("brain", "rotation of the head between anatomical image and run"),
    "brain_edge_before_mm": ("brain", "median distance of the brain's edges before alignment to the anatomical image"),
    "brain_edge_after_mm": ("brain", "the same after alignment"),
    "cord_to_anatomy_before_mm": ("cord", "median in-plane distance of the cord's centres before alignment"),
    "cord_to_anatomy_after_mm": ("cord", "the same after alignment"),
    "anatomy_jacobian_min": ("", "smallest Jacobian of the alignment to the anatomical image"),
    "heart_rate_median_per_min": ("", "median heart rate in the run"),
    "heart_coverage_percent": ("", "share of the run that the pulse recording covers"),
    "heart_mended_percent": ("", "share of heartbeats that were put in or moved"),
    "heart_unusable_percent": ("", "share of the recorded run without usable pulse"),
    "breathing_rate_median_per_min": ("", "median breathing rate in the run"),
    "breathing_coverage_percent": ("", "share of the run that the breathing recording covers"),
    "breathing_mended_percent": ("", "share of breaths that were put in or moved"),
    "breathing_unusable_percent": ("", "share of the recorded run without usable breathing"),
    "noise_r2adj_brain_percent": ("brain", "variance beyond chance that the noise model takes, adjusted partial R²"),
    "noise_r2adj_cord_percent": ("cord", "variance beyond chance that the noise model takes, adjusted partial R²"),
    "residual_df_min": ("", "degrees of freedom that the whole model leaves in the slice that has fewest"),
    "task_residual_df_min": ("", "degrees of freedom of the first level in the slice that has fewest"),
    "coupling_r_simultaneous_slices": ("", "mean correlation of residuals of brain and cord in slices excited together"),
    "coupling_r_neighbouring_slices": ("", "the same in slices one off"),
    "task_noise_r2_median": ("", "median over slices of the R² of all noise columns on the task"),
    "task_noise_vif_median": ("", "median over slices of the variance inflation of the task by all noise columns"),
    "simultaneous_r": ("", "correlation of slices that were excited together, where it is sharpest"),
    "neighbouring_r": ("", "correlation there of pairs one slice beside"),
    "brain_template_dice": ("brain", "Dice of the anatomical brain mask with the template's"),
    "cord_anatomy_confidence_median": ("cord", "median confidence (0-1) of the anatomical cord mask"),
    "cord_template_dice": ("cord", "median Dice over slices of the anatomical cord with the template's"),
}  # fmt: skip


def measures_record(measures: Mapping[str, float]) -> dict[str, Any]:
    """Measures as JSON holds them: value, region and meaning, in the order of the table.

    Parameters
    ----------
    measures : mapping of name to float
        Each name one of `MEASURES`. One that is not finite is null: it was sought and could not be told.

    Raises
    ------
    KeyError
        For a name that is not in the table.
    """
    if unknown := sorted(set(measures) - set(MEASURES)):
        raise KeyError(f"not in the table of measures: {', '.join(unknown)}")
    return {
        name: {
            "Value": float(measures[name]) if np.isfinite(measures[name]) else None,
            "Region": region or None,
            "Description": text,
        }
        for name, (region, text) in MEASURES.items()
        if name in measures
    }
