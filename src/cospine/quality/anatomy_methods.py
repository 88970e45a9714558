"""The methods text of the anatomy: masks, levels, templates, and the run's place in them."""

from collections.abc import Sequence
from typing import Literal

from cospine.quality.methods import MethodsText

_N4 = (
    "Tustison NJ, Avants BB, Cook PA, Zheng Y, Egan A, Yushkevich PA, Gee JC (2010) N4ITK: improved N3 bias correction. IEEE "
    "Trans Med Imaging 29:1310–1320. doi:10.1109/TMI.2010.2046908"
)
_SYN = (
    "Avants BB, Epstein CL, Grossman M, Gee JC (2008) Symmetric diffeomorphic image registration with cross-correlation. Med "
    "Image Anal 12:26–41. doi:10.1016/j.media.2007.06.004"
)
_MNI = (
    "Fonov V, Evans AC, Botteron K, Almli CR, McKinstry RC, Collins DL (2011) Unbiased average age-appropriate atlases for "
    "pediatric studies. NeuroImage 54:313–327. doi:10.1016/j.neuroimage.2010.07.033"
)
_PAM50 = (
    "De Leener B, Fonov VS, Collins DL, Callot V, Stikov N, Cohen-Adad J (2018) PAM50: unbiased multimodal template of the "
    "brainstem and spinal cord aligned with the ICBM152 space. NeuroImage 165:170–179. doi:10.1016/j.neuroimage.2017.10.041"
)
_SYNTHETIC = (
    "Billot B, Greve DN, Puonti O, Thielscher A, Van Leemput K, Fischl B, Dalca AV, Iglesias JE (2023) SynthSeg: segmentation "
    "of brain MRI scans of any contrast and resolution without retraining. Med Image Anal 86:102789. "
    "doi:10.1016/j.media.2023.102789"
)
_SCT = (
    "De Leener B, Lévy S, Dupont SM, Fonov VS, Stikov N, Collins DL, Callot V, Cohen-Adad J (2017) SCT: Spinal Cord Toolbox, an "
    "open-source software for processing spinal cord MRI data. NeuroImage 145:24–43. doi:10.1016/j.neuroimage.2016.10.009"
)
_NONLINEARITY = (
    "Janke A, Zhao H, Cowin GJ, Galloway GJ, Doddrell DM (2004) Use of spherical harmonic deconvolution methods to compensate "
    "for nonlinear gradient effects on MRI images. Magn Reson Med 52:115–122. doi:10.1002/mrm.20122"
)
_MATTES = (
    "Mattes D, Haynor DR, Vesselle H, Lewellen TK, Eubank W (2003) PET-CT image registration in the chest using free-form "
    "deformations. IEEE Trans Med Imaging 22:120–128. doi:10.1109/TMI.2003.809072"
)


def anatomy_methods(
    suffix: str,
    *,
    brain: bool,
    brain_given: bool = False,
    cord: Literal["", "network", "sct", "given"] = "network",
    anchor: str = "",
    to_pam50: bool = True,
    template: str = "PAM50",
    template_source: str = "",
) -> MethodsText:
    """Methods text of what was done with an anatomical image.

    Parameters
    ----------
    suffix : str
        ``T1w`` or ``T2w``.
    brain : bool
        Whether the brain was normalised.
    brain_given : bool
        Whether its mask was given.
    cord : "network", "sct", "given" or ""
        Where the cord mask comes from; empty for none.
    anchor : str
        How discs were named (``Levels.method``); empty where they were not.
    to_pam50 : bool
        Whether the cord was brought to PAM50.
    template, template_source : str
        Name of the cord template and where it came from.
    """
    paragraphs, citations = [], []
    if brain:
        found = (
            "given by the user"
            if brain_given
            else "the template's, laid into the image and moved to the border of the tissue by its brightness"
        )
        paragraphs.append(
            f"The {suffix} was freed of its bias field (the N4 algorithm; Tustison et al., 2010); the brain mask was {found}. "
            "The stripped brain was normalised to the ICBM 152 nonlinear symmetric template, version 2009a (Fonov et al., 2011), "
            "by an affine map and a diffeomorphism (symmetric and greedy, by local correlation and mutual information; after "
            "Avants et al., 2008)."
        )
        citations += [_N4, _MNI, _SYN]
    if cord:
        by = {
            "network": "by a convolutional network section by section; the network was trained on synthetic images of random "
            "contrast and resolution alone (after Billot et al., 2023); its outlines were moved to the image's edges nearby; "
            "each slice carries a confidence",
            "sct": "by sct_deepseg of the Spinal Cord Toolbox (De Leener et al., 2017)",
            "given": "by hand, as given by the user",
        }[cord]
        paragraphs.append(f"The spinal cord was segmented on the {suffix} {by}.")
        citations += {"network": [_SYNTHETIC], "sct": [_SCT], "given": []}[cord]
    if anchor:
        paragraphs.append(
            f"Intervertebral discs were named along the cord: {anchor}. Vertebral levels are bounded by the discs; spinal "
            "segments follow from them by PAM50's relation of the two, which differs between people by about one segment."
        )
    if to_pam50 and cord:
        which = "PAM50 (De Leener et al., 2018)"
        if template != "PAM50":
            which += f", for which a parametric template in the same space stood in ({template_source.rstrip('.')})"
        paragraphs.append(
            "The cord was straightened along its own axis and brought to the space of "
            f"{which}: heights by the discs, across the cord by fitting the outline of the mask by shift, turn, two sizes and a "
            "radial stretch. Grey matter was not aligned by itself."
        )
        citations.append(_PAM50)
    return MethodsText(tuple(paragraphs), tuple(citations))


def placement_methods(suffix: str, regions: Sequence[str], spaces: Sequence[str]) -> MethodsText:
    """Methods text of how runs were aligned to the anatomical image and brought to templates.

    Parameters
    ----------
    suffix : str
        What the anatomical image is.
    regions : sequence of str
        Those of "brain" and "cord" that were aligned.
    spaces : sequence of str
        Template spaces that series were brought to.
    """
    paragraphs, citations = [], []
    parts = []
    if "brain" in regions:
        parts.append(
            "rigidly in and about the brain, by mutual information from many starts (Mattes et al., 2003) and then by local "
            "correlation, with a third-order field for the non-linearity of the gradients fitted along (Janke et al., 2004)"
        )
        citations += [_MATTES, _NONLINEARITY]
    if "cord" in regions:
        parts.append("in the neck by an in-plane shift of each slice, smooth along the cord, from the middles of the cord masks")
    if parts:
        paragraphs.append(f"The mean of each corrected series was aligned to the {suffix} {', and '.join(parts)}.")
    if spaces:
        paragraphs.append(
            f"For {' and '.join(spaces)} all maps (template, {suffix}, alignment, distortion, motion) were composed, and the "
            "stored series was interpolated once."
        )
    return MethodsText(tuple(paragraphs), tuple(citations))
