"""The methods text of a report: what was done, in sentences that can be pasted into a paper."""

from collections.abc import Sequence
from dataclasses import dataclass


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


def motion_methods(
    version: str, *, regions: Sequence[str] = ("brain", "cord"), given: Sequence[str] = (), slice_times: bool = True
) -> MethodsText:
    """Methods text of motion correction without field correction.

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
    paragraphs.append(
        "All known displacements were composed and the series was resampled once, with cubic B-splines (Unser, 1999). "
        "No smoothing, no slice-timing interpolation and no distortion correction were applied."
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
    citations = (_DATA, *((_BAKER,) if brain else ()), *((_GP,) if cord else ()), _POWER_2012, _POWER_2017, _NICHOLS, _UNSER)
    return MethodsText(tuple(paragraphs), citations)
