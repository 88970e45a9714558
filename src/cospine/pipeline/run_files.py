"""What a run writes of masks, motion, the corrected series and its quality; and a participant's field maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cospine.anatomy.segmentation import CordSegmentation
from cospine.bids import Derivatives, Run
from cospine.pipeline.field_stage import Choice, Distortion, Source
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.tables import cord_table, head_table
from cospine.pipeline.thermal_stage import Thermal
from cospine.space.grid import Grid
from cospine.space.io import itk_series

VERSIONS = {
    "anatomy": "5", "field": "2", "read": "1", "denoise": "1", "motion": "5", "distortion": "1", "resample": "2", "masks": "5",
    "placement": "4", "spaces": "3", "noise": "2", "statistics": "1", "coupling": "2", "clean": "1", "report": "3",
    "several runs": "1",
}  # fmt: skip
"""Of each step: raised when the same inputs and parameters would give another result."""


def about_series(
    run: Run,
    motion: Motion,
    choice: Choice,
    distortion: Distortion | None,
    thermal: Thermal | None,
    dummies: int,
    out: Derivatives,
) -> dict[str, Any]:
    """What the sidecars of a corrected series say, in whatever space it is."""
    return {
        "Sources": [out.source(run.bold)],
        **{key: run.sidecar[key] for key in ("TaskName", "EchoTime") if key in run.sidecar},
        "Description": "Corrected for motion"
        + (" and distortion" if distortion is not None else "")
        + " in one interpolation (cubic B-spline); not smoothed"
        + ("" if thermal is None else "; thermal noise taken out before by MP-PCA"),
        "SkullStripped": False,
        "HeadMotionCorrected": motion.head is not None,
        "CordMotionCorrected": motion.cord is not None,
        **corrected_with(run, choice, distortion, out),
        "NonSteadyStateVolumes": dummies,
        "ThermalDenoising": "none" if thermal is None else thermal.method,
    }


@dataclass(frozen=True, eq=False)
class RunWriter:
    """Writes what steps find of one run.

    Parameters
    ----------
    out : Derivatives
        Where.
    run : Run
    grid : Grid
        Of the stored and of the corrected series.
    """

    out: Derivatives
    run: Run
    grid: Grid

    def image(self, name: str, data: NDArray, about: Mapping[str, Any], **entities: str) -> Path:
        """Write a map on the run's grid."""
        path = self.out.path(self.run, name, **entities)
        self.out.write_image(path, data, self.grid.affine, {"Sources": [self.out.source(self.run.bold)], **about})
        return path

    def masks(
        self, found: Mapping[str, NDArray], cord: CordSegmentation, given: Mapping[str, Path], basis: Mapping[str, Any], how: str
    ) -> tuple[Path, ...]:
        """Masks of the regions that were found; `how` says what segmented the cord."""
        written = []
        for region, mask in found.items():
            entities = {"desc": "brain"} if region == "brain" else {"label": "SC"}
            about: dict[str, Any] = {"Type": "Brain" if region == "brain" else "ROI"}
            if region in given:
                about["Description"] = f"Given by the user: {given[region].name}"
            elif region == "cord":
                confidence = [round(float(c), 3) for c in cord.confidence]
                about |= {"Description": how, "SliceAxis": cord.slice_axis, "Confidence": confidence}
            written.append(self.image("mask", mask, {**about, **basis}, **entities))
        return tuple(written)

    def motion(self, motion: Motion) -> tuple[Path, ...]:
        """The reference that motion is measured to, and head and cord motion."""
        said = "Mean of the volumes aligned to each other, distorted as acquired; motion is measured to it"
        about = {"Description": said, "DistortionCorrected": False}
        written = [self.image("boldref", motion.reference, about, desc="hmc")]
        if motion.head is not None:
            written.append(self.out.path(self.run, "timeseries", ".tsv", desc="headmotion"))
            self.out.write_tsv(written[-1], *head_table(motion.head))
            written.append(self.out.path(self.run, "xfm", ".txt", from_="orig", to="boldref", mode="image", desc="hmc"))
            self.out.write_text(written[-1], itk_series(motion.head.poses, motion.head.centre))
        if motion.cord is not None:
            written.append(self.out.path(self.run, "timeseries", ".tsv", desc="cordmotion"))
            self.out.write_tsv(written[-1], *cord_table(motion.cord))
        return tuple(written)

    def corrected(
        self, series: NDArray, mean: NDArray, tsnr_raw: NDArray, tsnr: NDArray, about: Mapping[str, Any], noise_sd: float,
        basis: Mapping[str, Any],
    ) -> tuple[Path, ...]:  # fmt: skip
        """The corrected series, its mean, and tSNR before and after; `about` is the series' own sidecar."""
        said = "Temporal mean of the corrected series: grid and space of masks and preprocessed BOLD"
        reference = self.image("boldref", mean, {"Description": said, **basis}, desc="coreg")
        tsnr_is = {"Description": "Temporal mean over temporal SD (ddof 1), not detrended", "Units": "arbitrary"}
        raw = self.image("boldmap", tsnr_raw, {**tsnr_is, "DistortionCorrected": False}, desc="raw", stat="tsnr")
        after = self.image("boldmap", tsnr, {**tsnr_is, **basis}, desc="preproc", stat="tsnr")
        bold = self.out.path(self.run, "bold", desc="preproc")
        self.out.write_bold(bold, series, self.grid.affine, self.run.tr_s, self.series_sidecar(about), noise_sd=noise_sd)
        return reference, raw, after, bold

    def series_sidecar(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Sidecar of a corrected series on the run's grid, from what :func:`about_series` says.

        Slice times are in stored order, whatever the order of the raw sidecar.
        """
        reference = self.out.uri(self.out.path(self.run, "boldref", desc="coreg"))
        sidecar = {**about, "SpatialReference": reference}
        if self.run.slice_times_s is not None:
            sidecar |= {"SliceTiming": list(self.run.slice_times_s), "SliceEncodingDirection": "ijk"[self.run.slice_axis]}
        return sidecar

    def confounds(self, columns: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
        """The table of confounds."""
        path = self.out.path(self.run, "timeseries", ".tsv", desc="confounds")
        self.out.write_tsv(path, columns, about)
        return path


def corrected_with(run: Run, choice: Choice, distortion: Distortion | None, out: Derivatives) -> dict[str, Any]:
    """What a sidecar says of the correction of distortion."""
    if distortion is None or choice.source is None:
        return {"DistortionCorrected": False}
    return {
        "DistortionCorrected": True,
        "JacobianModulated": distortion.shift.factor is not None,
        "Fieldmap": out.uri(field_path(out, run.participant, choice.source)),
    }


def field_path(out: Derivatives, participant: str, source: Source, desc: str = "preproc") -> Path:
    """Where a field map, or what belongs to it, is written."""
    session = source.fieldmap.session
    prefix = f"{participant}_{session}" if session else participant
    return out.path(prefix, "fieldmap", datatype="fmap", fmapid=source.identifier, desc=desc)


def write_source(out: Derivatives, participant: str, source: Source) -> tuple[Path, ...]:
    """Write a field map of a participant: the field in Hz and the image that goes with it."""
    about: dict[str, Any] = {
        "Sources": [out.source(path) for path in source.fieldmap.images],
        "B0FieldIdentifier": source.fieldmap.b0_identifiers[0] if source.fieldmap.b0_identifiers else source.identifier,
    }
    field_file = field_path(out, participant, source)
    method = "From the phase of gradient echoes, unwrapped, smoothed and continued beyond the signal"
    if source.pair is not None:
        method = "From images of different phase encoding: difference of the unwarped, Jacobian-modulated images (Andersson 2003)"
    elif source.fieldmap.kind == "fieldmap":
        method = "As the dataset holds it, in Hz, smoothed and continued beyond the signal"
    out.write_image(
        field_file,
        source.field_hz,
        source.grid.affine,
        {
            **about,
            "Units": "Hz",
            "Description": method,
            "Convention": "Signal truly at a voxel appears field x TotalReadoutTime voxels toward the higher index for "
            "PhaseEncodingDirection i, j, k, toward the lower for i-, j-, k-",
            **({} if source.pair is None else {"SmallestJacobian": round(source.pair.smallest_jacobian, 4)}),
        },
    )
    image_file = field_path(out, participant, source, "epi" if source.pair is not None else "magnitude")
    said = "Mean of the unwarped images" if source.pair is not None else "Magnitude that the phase goes with"
    out.write_image(image_file, source.magnitude, source.grid.affine, {**about, "Description": said})
    written = [field_file, image_file]
    if source.pair is not None:  # what users of SDCFlows look for beside it
        written.append(field_path(out, participant, source, "magnitude"))
        out.write_image(written[-1], source.magnitude, source.grid.affine, {**about, "Description": said})
    return tuple(written)
