"""Every parameter of a run: its default, unit and help text, in one place."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from cospine.stats.response_names import HRF_MODELS

REGIONS = ("brain", "cord")
IGNORABLE = ("fieldmaps", "fmap-jacobian", "physio", "slicetiming", "events", "anatomy")
SPACES = ("native", "MNI", "PAM50")
ENGINES = ("local", "slurm", "pbs", "sge", "lsf")


def option(default: Any, text: str, **how: Any) -> Any:
    """Field with what the command line needs to know of it."""
    return field(default=default, metadata={"help": text, **how})


@dataclass(frozen=True)
class Settings:
    """Parameters of `cospine run`; written into the derivatives of every participant.

    Each field carries its help text in its metadata; `cospine.cli.run` makes the flags of it.
    """

    participant_label: tuple[str, ...] = option((), "participants to process, with or without sub- (default: all)", nargs="+")
    session_label: tuple[str, ...] = option((), "sessions to process, with or without ses- (default: all)", nargs="+")
    task: tuple[str, ...] = option((), "tasks to process (default: all)", nargs="+")
    run: tuple[str, ...] = option((), "runs to process (default: all)", nargs="+")
    regions: tuple[str, ...] = option(
        (), "regions to process (default: what the field of view holds)", nargs="+", choices=REGIONS
    )
    level: Literal["minimal", "full"] = option(
        "full",
        "minimal: head and cord motion, field, native BOLD, report; full: anatomy, MNI, PAM50, noise model and confounds too",
        choices=("minimal", "full"),
    )
    output_spaces: tuple[str, ...] = option(
        (),
        "spaces to write the series in; native always is (default: those that anatomy and field of view allow)",
        nargs="+",
        choices=SPACES,
    )
    pam50_voxel: float = option(
        0.5, "voxel in mm of the series in PAM50: 0.5 (the template's) or 1", type=float, choices=(0.5, 1.0), metavar="{0.5,1}"
    )
    template_dir: Path | None = option(
        None,
        "folder that holds the PAM50 template (default: COSPINE_TEMPLATES, else what was downloaded once, else a download, else "
        "the built-in parametric template; the report says which)",
        type=Path,
        metavar="DIR",
    )
    cord_seg: Literal["network", "sct"] = option(
        "network",
        "what segments the cord: network, our own; sct, sct_deepseg of the Spinal Cord Toolbox where it is installed",
        choices=("network", "sct"),
    )
    seed: int = option(0, "seed of what is drawn at random (the places at which run and T1w are compared)", type=int, metavar="N")
    dummy_scans: str = option(
        "auto", "volumes at the start that are not in steady state, kept and flagged: a number, or auto", metavar="N"
    )
    ignore: tuple[str, ...] = option((), "parts of the dataset to leave aside", nargs="+", choices=IGNORABLE)
    field: Literal["auto", "pepolar", "phasediff", "none"] = option(
        "auto",
        "what distortion is corrected with: pepolar, a pair of reversed phase encoding; phasediff, gradient-echo phase or a "
        "field map; none; auto, the pair unless only the other was acquired with about the run's shim",
        choices=("auto", "pepolar", "phasediff", "none"),
    )
    denoise: Literal["none", "mppca"] = option(
        "none",
        "thermal denoising before anything else: mppca, Marchenko-Pastur PCA on patches (complex where phase images exist); weak "
        "effects of few voxels shrink, in the cord by more than half",
        choices=("none", "mppca"),
    )
    pnm_orders: tuple[int, ...] = option(
        (4, 4, 2, 2),
        "harmonics of the physiological noise model: cardiac, respiratory, and both of their interaction",
        nargs=4,
        type=int,
        metavar=("OC", "OR", "MULTC", "MULTR"),
        help_default=" (default: 4 4 2 2, 32 columns)",
    )
    slow_responses: tuple[str, ...] = option(
        (),
        "add to the model: rvt, respiration volume per time (Birn); hrv, heart rate (Chang), with their response functions",
        nargs="+",
        choices=("rvt", "hrv"),
    )
    high_pass: float = option(
        128.0, "period in s from which on cosine drifts are taken out of data and noise columns alike", type=float, metavar="S"
    )
    model: Path | None = option(
        None,
        "statistical model (BIDS Stats Models, the subset in docs/statistics.md) for the runs of its tasks (default: the ready "
        "models of pain and motor for those tasks)",
        type=Path,
        metavar="FILE",
    )
    hrf: str = option(
        "",
        "response in place of the model's: spm or glover, alone or as 'spm + derivative' or 'spm + derivative + dispersion'",
        choices=HRF_MODELS,
        metavar="MODEL",
    )
    smoothing_brain: float = option(
        5.0, "FWHM in mm of the smoothing of effects in MNI, within the brain; 0 for none", type=float, metavar="MM"
    )
    smoothing_cord: tuple[float, ...] = option(
        (2.0, 6.0),
        "FWHM in mm of the smoothing of effects in PAM50, within the cord: across it and along it",
        nargs=2,
        type=float,
        metavar=("ACROSS", "ALONG"),
        help_default=" (default: 2 6)",
    )
    seed_regions: tuple[str, ...] = option(
        (),
        "regions whose coupling with every voxel is mapped, and how the task changes it (psychophysiological interaction): horns "
        "as dorsal_R_spinal-C6, spheres as anterior_insula_L",
        nargs="+",
        metavar="NAME",
    )
    clean: bool = option(False, "also write the series with drifts, motion and physiological noise regressed out slice by slice")
    export: tuple[str, ...] = option(
        (), "also write for other software: fsl, slice-wise EVs of the physiological noise with a list file", nargs="+",
        choices=("fsl",),
    )  # fmt: skip
    physio_peaks: Path | None = option(
        None,
        "table of corrected heartbeats and breaths (as P_desc-peaks_timeseries.tsv, or peaks.tsv of cospine physio), when "
        "exactly one run is chosen",
        type=Path,
        metavar="FILE",
    )
    overrides: Path | None = option(
        None,
        "folder with files named as our outputs; a mask (drawn on desc-coreg_boldref) or a table of peaks there replaces ours",
        type=Path,
        metavar="DIR",
    )
    cord_mask: Path | None = option(
        None, "cord mask drawn on desc-coreg_boldref (undistorted), when exactly one run is chosen", type=Path, metavar="FILE"
    )
    discs: Path | None = option(
        None,
        "discs of one person in place of those found, when exactly one participant is chosen: a table (disc, x_mm, y_mm, z_mm: "
        "number as SCT counts, 3 = C2-C3, and RAS mm in the anatomical image) or an image of single labelled voxels",
        type=Path,
        metavar="FILE",
    )
    work_dir: Path | None = option(
        None,
        "folder of kept results: what has not changed is not done again (default: OUTPUT_DIR/work; may be removed at any time)",
        type=Path,
        metavar="DIR",
    )
    engine: str = option(
        "local",
        "who works: local, processes on this machine; slurm, pbs, sge or lsf, jobs on a cluster; tcp://HOST:PORT, a Dask cluster "
        "that is there already",
        metavar="{local,slurm,pbs,sge,lsf,tcp://HOST:PORT}",
    )
    engine_option: tuple[str, ...] = option(
        (),
        "NAME=VALUE for the engine, as workers=4, or walltime=08:00:00 and queue=long as dask-jobqueue calls them; options that "
        "stay lie in ~/.config/cospine/ENGINE.yaml",
        nargs="+",
        metavar="NAME=VALUE",
    )
    mem_gb: float = option(
        0.0,
        "memory in GB that all workers together may hold, on a cluster each of them (default: most of what is free)",
        type=float,
        metavar="GB",
    )
    low_mem: bool = option(False, "hold at most 2 GB a run: series lie in files of the work directory, which takes longer")
    nprocs: int = option(0, "processor cores to compute with (default: all that are there)", type=int, metavar="N")
    reports_only: bool = option(
        False, "write the reports again, as after an update of CoSpine; results that would have to be computed are refused"
    )
    stop_on_first_crash: bool = option(False, "stop at the first participant that fails")

    def ignores(self, part: str) -> bool:
        """Whether a part of the dataset is to be left aside."""
        return part in self.ignore

    def parameters(self) -> dict[str, Any]:
        """Parameters that shape the results, as JSON holds them; how fast and where is not among them."""
        left_out = {
            "nprocs", "stop_on_first_crash", "overrides", "cord_mask", "physio_peaks", "discs", "template_dir",
            "work_dir", "engine", "engine_option", "mem_gb", "low_mem", "reports_only",
        }  # fmt: skip
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self) if one.name not in left_out}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):  # where it lies changes nothing
        return value.name
    return list(value) if isinstance(value, tuple) else value
