"""What a participant's anatomy and a run's place in it leave on disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.levels import vertebrae_table
from cospine.bids import Derivatives, Run
from cospine.pipeline.anatomy_stage import Anatomy
from cospine.pipeline.given import anatomy_prefix
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import MNI, PAM50, Placement, Space
from cospine.space.itk import composite_h5
from cospine.space.transform import Transform

_NO_SLICE_MODELS = (
    "Interpolation across slices mixed acquisition times: no slice-specific model (slice timing, RETROICOR, PNM) may be "
    "fitted to this series; fit them to the native one and carry the maps here"
)

_DISC_COLUMNS = {
    "disc": {"Description": "Number as SCT counts: 1 is the top of C1, 2 C1-C2, 3 C2-C3"},
    **{
        f"{axis}_mm": {"Description": f"RAS {axis} in the anatomical image, on the cord's centre line", "Units": "mm"}
        for axis in "xyz"
    },
    "confidence": {"Description": "Probability that the disc is within 3 mm of that point; 1 for given ones"},
}


def write_anatomy(out: Derivatives, anatomy: Anatomy, settings: Settings) -> tuple[Path, ...]:
    """Write a participant's anatomy: corrected image, masks, levels, discs, transforms."""
    prefix = anatomy_prefix(anatomy.source)
    basis: dict[str, Any] = {"Sources": [out.source(anatomy.source)]}
    written: list[Path] = []

    def path(suffix: str, extension: str = ".nii.gz", **entities: str) -> Path:
        written.append(out.path(prefix, suffix, extension, datatype="anat", **entities))
        return written[-1]

    def image(suffix: str, data: NDArray[Any], about: dict[str, Any], **entities: str) -> None:
        out.write_image(path(suffix, **entities), data, anatomy.grid.affine, {**basis, **about})

    def given(what: str, otherwise: str) -> dict[str, Any]:
        file = anatomy.given.get(what)
        return {"Description": otherwise if file is None else f"Given by the user: {file.name}"}

    corrected = anatomy.to_mni is not None
    image(
        anatomy.suffix,
        anatomy.image,
        {"SkullStripped": False, "Description": "Bias field taken out (N4)" if corrected else "As acquired"},
        desc="preproc",
    )
    if anatomy.brain.found:
        image("mask", anatomy.brain.mask, {"Type": "Brain", **given("brain", "Cerebrum, cerebellum, brainstem")}, desc="brain")
    if anatomy.cord.found:
        confidence = [round(float(c), 3) for c in anatomy.cord.confidence]
        about = {"Type": "ROI", "SliceAxis": anatomy.cord.slice_axis, "Confidence": confidence}
        image("mask", anatomy.cord.mask, {**about, **given("cord", cord_method(settings))}, label="SC")
    if anatomy.vertebral.any():
        about = {
            "Description": "Vertebral (not spinal) level of the cord: C1 = 1 .. T1 = 8, its boundaries at the discs",
            "Method": anatomy.levels.method,
            "CordTemplate": "" if anatomy.template is None else anatomy.template.source,
        }
        image("dseg", anatomy.vertebral, about, desc="vertebrae")
        out.write_tsv(path("dseg", ".tsv", desc="vertebrae"), vertebrae_table(anatomy.vertebral))
    if anatomy.levels.discs:
        numbers = sorted(anatomy.levels.discs)
        points = np.array([anatomy.levels.discs[n] for n in numbers])
        certain = [round(float(anatomy.levels.confidence.get(n, np.nan)), 3) for n in numbers]
        table = {"disc": numbers, "x_mm": points[:, 0], "y_mm": points[:, 1], "z_mm": points[:, 2], "confidence": certain}
        out.write_tsv(path("points", ".tsv", desc="discs"), table, _DISC_COLUMNS)
    for source, target, transform in transforms_of(anatomy):
        out.write_bytes(path("xfm", ".h5", from_=source, to=target, mode="image"), composite_h5([transform]))
    return tuple(written)


def transforms_of(anatomy: Anatomy) -> list[tuple[str, str, Transform]]:
    """Transforms of a person's anatomy: from which space images are brought, to which, and the map of points that does it."""
    found: list[tuple[str, str, Transform]] = []
    if anatomy.to_mni is not None:
        found += [(anatomy.suffix, MNI, anatomy.to_mni.forward), (MNI, anatomy.suffix, anatomy.to_mni.inverse)]
    if anatomy.to_pam50 is not None:
        found += [(anatomy.suffix, PAM50, anatomy.to_pam50.forward), (PAM50, anatomy.suffix, anatomy.to_pam50.inverse)]
    if anatomy.joint is not None:
        found.append((PAM50, MNI, anatomy.joint.to_pam50))
    return found


def cord_method(settings: Settings, *, bold: bool = False) -> str:
    """How a cord mask came to be, in a sentence; in a BOLD run CSF is known to be brighter than cord."""
    if settings.cord_seg == "sct":
        return "Segmented by sct_deepseg (Spinal Cord Toolbox)"
    known = ", CSF taken to be brighter than cord" if bold else ""
    return f"Segmented by CoSpine's network, outlines moved to the image's edges{known}; Confidence per stored slice, 0-1"


def write_placement(out: Derivatives, run: Run, placement: Placement, affine: NDArray, about: dict[str, Any]) -> list[Path]:
    """Write how a run lies in its person's anatomy: transforms both ways, and the levels of its cord."""
    suffix = placement.anatomy.suffix
    written: list[Path] = []
    both = (("boldref", suffix, placement.alignment.to_epi), (suffix, "boldref", placement.alignment.to_t1w))
    for source, target, transform in both:
        written.append(out.path(run, "xfm", ".h5", from_=source, to=target, mode="image"))
        out.write_bytes(written[-1], composite_h5([transform]))
    template = placement.anatomy.template
    for desc, labels, text in (
        ("vertebrae", placement.vertebral, "Vertebral (not spinal) level of the cord: C1 = 1 .. T1 = 8"),
        ("spinalsegments", placement.spinal, "Spinal segment (not vertebral level) of the cord: C1 = 1 .. C8 = 8, T1 = 9"),
    ):
        if labels.any():
            written.append(out.path(run, "dseg", desc=desc))
            source = "" if template is None else template.source
            out.write_image(written[-1], labels, affine, {**about, "Description": text, "CordTemplate": source})
    return written


def write_space(
    out: Derivatives,
    run: Run,
    anatomy: Anatomy,
    space: Space,
    volumes: Iterator[NDArray[np.float32]],
    bounds: tuple[float, float],
    noise_sd: float,
    about: dict[str, Any],
) -> list[Path]:
    """Write a run's series in a template's space as its volumes are made, and which voxels hold it."""
    template = anatomy.template if space.name == PAM50 else None
    reference = "ICBM 152 nonlinear symmetric 2009a, as nilearn carries it" if template is None else template.source
    sidecar = {**about, "SpatialReference": reference, "Resolution": f"{space.grid.voxel_mm[0]:g} mm isotropic"}
    bold = out.path(run, "bold", space=space.name, desc="preproc")
    shape = (*space.grid.shape, run.volumes)
    said = {**sidecar, "Warning": _NO_SLICE_MODELS}
    out.write_bold_volumes(bold, volumes, shape, space.grid.affine, run.tr_s, said, bounds=bounds, noise_sd=noise_sd)
    mask = out.path(run, "mask", space=space.name, desc="coverage")
    said = {"Type": "ROI", "Description": "Voxels that the run's field of view holds; all others are 0, not measured"}
    out.write_image(mask, space.covered, space.grid.affine, {**sidecar, **said})
    return [bold, mask]
