"""The methods text of a report: what was done, in sentences that can be pasted into a paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FieldSource = Literal["pepolar", "phasediff", "fieldmap"]


@dataclass(frozen=True)
class MethodsText:
    """Paragraphs, and the references that they cite."""

    paragraphs: tuple[str, ...]
    citations: tuple[str, ...]


_DATA = "Wei et al. (2025) Simultaneous brain and cervical spinal cord fMRI. Scientific Data. doi:10.1038/s41597-025-05982-x"
_POWER_2012 = (
    "Power JD, Barnes KA, Snyder AZ, Schlaggar BL, Petersen SE (2012) Spurious but systematic correlations in "
    "functional connectivity MRI networks arise from subject motion. NeuroImage 59:2142–2154. "
    "doi:10.1016/j.neuroimage.2011.10.018"
)
_POWER_2017 = (
    "Power JD (2017) A simple but useful way to assess fMRI scan qualities. NeuroImage 154:150–158. "
    "doi:10.1016/j.neuroimage.2016.08.009"
)
_NICHOLS = "Nichols TE (2017) Notes on creating a standardized version of DVARS. arXiv:1704.01469"
_BAKER = "Baker S, Matthews I (2004) Lucas-Kanade 20 years on: a unifying framework. Int J Comput Vis 56:221–255."
_GP = "Rasmussen CE, Williams CKI (2006) Gaussian Processes for Machine Learning. MIT Press."
_UNSER = (
    "Unser M (1999) Splines: a perfect fit for signal and image processing. IEEE Signal Processing Magazine 16(6):22–38. "
    "doi:10.1109/79.799930"
)
_ANDERSSON = (
    "Andersson JLR, Skare S, Ashburner J (2003) How to correct susceptibility distortions in spin-echo echo-planar images: "
    "application to diffusion tensor imaging. NeuroImage 20:870–888. doi:10.1016/S1053-8119(03)00336-7"
)
_RUTHOTTO = (
    "Ruthotto L, Kugel H, Olesch J, Fischer B, Modersitzki J, Burger M, Wolters CH (2012) Diffeomorphic susceptibility "
    "artifact correction of diffusion-weighted magnetic resonance images. Phys Med Biol 57:5715–5731. "
    "doi:10.1088/0031-9155/57/18/5715"
)
_JEZZARD = (
    "Jezzard P, Balaban RS (1995) Correction for geometric distortion in echo planar images from B0 field variations. "
    "Magn Reson Med 34:65–73. doi:10.1002/mrm.1910340111"
)


_JULIAN = (
    "Julian A, Mang A, Ruthotto L (2024) PyHySCO: GPU-enabled susceptibility artifact distortion correction in seconds. "
    "Frontiers in Neuroscience. arXiv:2403.10706"
)


def motion_methods(
    version: str,
    *,
    regions: Sequence[str] = ("brain", "cord"),
    given: Sequence[str] = (),
    slice_times: bool = True,
    field: FieldSource | None = None,
    jacobian: bool = True,
) -> MethodsText:
    """Methods text of the correction of motion and distortion.

    Parameters
    ----------
    version : str
        Version of CoSpine.
    regions : sequence of str
        Those of "brain" and "cord" that the field of view held.
    given : sequence of str
        Regions whose mask the user gave.
    slice_times : bool
        Whether slice times were known and used.
    field : "pepolar", "phasediff", "fieldmap" or None
        What the field was estimated from; None where distortion was not corrected.
    jacobian : bool
        Whether the series was multiplied by the field's Jacobian.
    """
    brain, cord = "brain" in regions, "cord" in regions
    subject = " and ".join(("cervical spinal cord" if name == "cord" else name) for name in regions)
    paragraphs = [f"Functional images of the {subject} were preprocessed with CoSpine {version} (Wei et al., 2025)."]
    source = {name: "given by the user" if name in given else "found in the image itself" for name in ("brain", "cord")}
    if brain:
        paragraphs.append(
            "Head motion was estimated as one rigid transform per volume against the mean of the aligned volumes, inside a mask "
            f"of the brain {source['brain']}, by robust Gauss-Newton alignment (Baker & Matthews, 2004) from coarse to fine "
            "resolution, with gain and offset of each volume solved along; it is reported at the mean acquisition time of "
            "the volume's slices."
        )
    if cord:
        first = "What head motion explains smoothly along the neck was fitted first, and the rest was"
        head = first if brain else "They were"
        near = "space and in acquisition time" if slice_times else "space (slice times were not known)"
        paragraphs.append(
            "Cord motion was estimated as two in-plane shifts per slice and volume against the mean of the aligned slices, "
            f"inside a soft mask around the cord (cord {source['cord']}). {head} regularised between slices that are close in "
            f"{near} by a Gaussian process whose strengths, lengths and breathing rate were learnt from the data "
            "(Rasmussen & Williams, 2006). The shifts are those of the distorted image: motion of tissue and the change of B0 "
            "with breathing together."
        )
        if brain:
            own = ", interpolated to the slice's own acquisition time" if slice_times else ""
            paragraphs.append(
                f"Above the foramen magnum each slice follows the head{own}, in the neck the cord; across the brainstem one "
                "passes smoothly into the other. In the neck resampling is in-plane only."
            )
    if field is not None:
        paragraphs += _field_paragraphs(field, brain=brain, cord=cord, jacobian=jacobian)
    omitted = "No smoothing and no slice-timing interpolation were applied."
    if field is None:
        omitted = "No smoothing, no slice-timing interpolation and no distortion correction were applied."
    paragraphs.append(
        f"All known displacements were composed and the series was resampled once, with cubic B-splines (Unser, 1999). {omitted}"
    )
    displacement = "Framewise displacement follows Power et al. (2012; 50 mm sphere)" if brain else ""
    cord_part = "framewise displacement of the cord is the sum of the absolute changes of its two in-plane shifts"
    measures = [part for part in (displacement, cord_part if cord else "") if part]
    measures.append("DVARS and its standardised form follow Power et al. (2012) and Nichols (2017)")
    sentence = "; ".join(measures)
    paragraphs.append(
        f"{sentence[0].upper()}{sentence[1:]}. tSNR is the mean over the standard deviation in time, not detrended. "
        "Carpet plots follow Power (2017)."
    )
    by_field = {None: (), "pepolar": (_ANDERSSON, _RUTHOTTO, _JULIAN), "phasediff": (_JEZZARD,), "fieldmap": (_JEZZARD,)}[field]
    citations = (
        _DATA,
        *((_BAKER,) if brain else ()),
        *((_GP,) if cord else ()),
        *by_field,
        _POWER_2012,
        _POWER_2017,
        _NICHOLS,
        _UNSER,
    )
    return MethodsText(tuple(paragraphs), citations)


def _field_paragraphs(source: FieldSource, *, brain: bool, cord: bool, jacobian: bool) -> list[str]:
    """How the field was estimated, brought to the functional images and applied."""
    if source == "pepolar":
        estimated = (
            "A field in Hz was estimated from EPIs of different phase encoding, by minimising the difference of "
            "the two unwarped, Jacobian-modulated images (Andersson et al., 2003) with a multi-resolution Gauss-Newton scheme, "
            "smoothness and the constraint that the Jacobian stays positive (Ruthotto et al., 2012; Julian et al., 2024); rigid "
            "motion between the two images was estimated along."
        )
        reference = "The unwarped image"
    elif source == "fieldmap":
        estimated = (
            "A field map of the dataset was used, in Hz, smoothed within the signal. Its shim may differ from that of the "
            "functional images."
        )
        reference = "The magnitude image"
    else:
        estimated = (
            "A field in Hz was computed from the phase difference of two gradient echoes: unwrapped inside a mask of the "
            "magnitude, divided by 2π times the difference of the echo times (Jezzard & Balaban, 1995), and smoothed within that "
            "mask. Its shim may differ from that of the functional images."
        )
        reference = "The magnitude image"
    steps = [
        "by rigid registration that knows the distortion (unwarp, register, repeat)" if brain else "",
        "by slice-wise alignment in the neck" if cord else "",
    ]
    moved = f"{reference} was brought to the functional reference {' and '.join(step for step in steps if step)}, and the field "
    moved += "was sampled there. Displacement by the field was applied together with motion in the same single interpolation"
    if jacobian:
        moved += ", and the series was multiplied by one fixed Jacobian for the whole run"
    else:
        moved += "; intensities were not multiplied by the Jacobian"
    moved += (
        ". The change of the field with breathing is not part of it"
        + (": it is in the slice-wise shifts of the cord, and left to the physiological model." if cord else ".")
    )  # fmt: skip
    return [estimated, moved]
