"""The methods text of a report: what was done, in sentences that can be pasted into a paper."""

from collections.abc import Mapping, Sequence
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

_GLOVER = (
    "Glover GH, Li TQ, Ress D (2000) Image-based method for retrospective correction of physiological motion effects in fMRI: "
    "RETROICOR. Magn Reson Med 44:162–167. doi:10.1002/1522-2594(200007)44:1<162::AID-MRM23>3.0.CO;2-E"
)
_BROOKS = (
    "Brooks JCW, Beckmann CF, Miller KL, Wise RG, Porro CA, Tracey I, Jenkinson M (2008) Physiological noise modelling for "
    "spinal functional magnetic resonance imaging studies. NeuroImage 39:680–692. doi:10.1016/j.neuroimage.2007.09.018"
)
_BIRN_2006 = (
    "Birn RM, Diamond JB, Smith MA, Bandettini PA (2006) Separating respiratory-variation-related fluctuations from "
    "neuronal-activity-related fluctuations in fMRI. NeuroImage 31:1536–1548. doi:10.1016/j.neuroimage.2006.02.048"
)
_BIRN_2008 = (
    "Birn RM, Smith MA, Jones TB, Bandettini PA (2008) The respiration response function: the temporal dynamics of fMRI signal "
    "fluctuations related to changes in respiration. NeuroImage 40:644–654. doi:10.1016/j.neuroimage.2007.11.059"
)
_CHANG = (
    "Chang C, Cunningham JP, Glover GH (2009) Influence of heart rate on the BOLD signal: the cardiac response function. "
    "NeuroImage 44:857–869. doi:10.1016/j.neuroimage.2008.09.029"
)
_BEHZADI = (
    "Behzadi Y, Restom K, Liau J, Liu TT (2007) A component based noise correction method (CompCor) for BOLD and perfusion based "
    "fMRI. NeuroImage 37:90–101. doi:10.1016/j.neuroimage.2007.04.042"
)
_BARRY = (
    "Barry RL, Rogers BP, Conrad BN, Smith SA, Gore JC (2016) Reproducibility of resting state spinal cord networks in healthy "
    "volunteers at 7 Tesla. NeuroImage 133:31–40. doi:10.1016/j.neuroimage.2016.02.058"
)
_WORSLEY = (
    "Worsley KJ, Liao CH, Aston J, Petre V, Duncan GH, Morales F, Evans AC (2002) A general statistical analysis for fMRI data. "
    "NeuroImage 15:1–15. doi:10.1006/nimg.2001.0933"
)
_RISSMAN = (
    "Rissman J, Gazzaley A, D'Esposito M (2004) Measuring functional connectivity during distinct stages of a cognitive task. "
    "NeuroImage 23:752–763. doi:10.1016/j.neuroimage.2004.06.035"
)
_MCLAREN = (
    "McLaren DG, Ries ML, Xu G, Johnson SC (2012) A generalized form of context-dependent psychophysiological interactions "
    "(gPPI): A comparison to standard approaches. NeuroImage 61:1277–1286. doi:10.1016/j.neuroimage.2012.03.068"
)
_VERAART = (
    "Veraart J, Novikov DS, Christiaens D, Ades-aron B, Sijbers J, Fieremans E (2016) Denoising of diffusion MRI using random "
    "matrix theory. NeuroImage 142:394–406. doi:10.1016/j.neuroimage.2016.08.016"
)
_VIZIOLI = (
    "Vizioli L, Moeller S, Dowdle L, Akçakaya M, De Martino F, Yacoub E, Uğurbil K (2021) Lowering the thermal noise barrier in "
    "functional brain mapping with magnetic resonance imaging. Nat Commun 12:5181. doi:10.1038/s41467-021-25431-8"
)
_LINDQUIST = (
    "Lindquist MA, Geuter S, Wager TD, Caffo BS (2019) Modular preprocessing pipelines can reintroduce artifacts into fMRI data. "
    "Hum Brain Mapp 40:2358–2376. doi:10.1002/hbm.24528"
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
            "a robust penalty on slope and curvature of the field, and the constraint that the Jacobian stays positive (Ruthotto "
            "et al., 2012; Julian et al., 2024); rigid motion between the two images was estimated along."
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


def noise_methods(
    *,
    cardiac: bool,
    respiratory: bool,
    orders: tuple[int, int, int, int] = (4, 4, 2, 2),
    csf: bool = True,
    rvt: bool = False,
    hrv: bool = False,
    given: bool = False,
    compcor: bool = False,
    highpass_s: float = 128.0,
    tested: bool = True,
    cleaned: bool = False,
    thermal: Literal["", "magnitude", "complex"] = "",
) -> MethodsText:
    """Methods text of the models of physiological and thermal noise.

    Parameters
    ----------
    cardiac, respiratory : bool
        Whether pulse and breathing were recorded and used.
    orders : (cardiac, respiratory, and both of the interaction)
        Harmonics of the model.
    csf : bool
        Whether each slice's mean of cerebrospinal fluid is among the columns.
    rvt, hrv : bool
        Whether respiration volume per time and heart rate, convolved with their responses, are.
    given : bool
        Whether peaks were given by the user.
    compcor : bool
        Whether components of noise regions were computed.
    highpass_s : float
        Period from which drifts are taken out, s.
    tested : bool
        Whether sets were tested voxel by voxel.
    cleaned : bool
        Whether a cleaned series was written.
    thermal : "", "magnitude" or "complex"
        Whether thermal noise was taken away, and from which images.
    """
    paragraphs, citations = [], []
    if thermal:
        paragraphs.append(
            "Before any interpolation thermal noise was taken away patch by patch: its level was made even by a noise map that "
            "allows for correlated neighbours, principal components above the edge of the Marchenko-Pastur distribution were "
            "kept (Veraart et al., 2016), and overlapping patches were averaged"
            + (", on complex images from magnitude and phase (after Vizioli et al., 2021)." if thermal == "complex" else ".")
        )
        citations += [_VERAART, *([_VIZIOLI] if thermal == "complex" else [])]
    if cardiac or respiratory:
        model, cited = _physiological_model(cardiac=cardiac, respiratory=respiratory, orders=orders, csf=csf, given=given)
        slow, slow_cited = _slow_responses(rvt=rvt and respiratory, hrv=hrv and cardiac)
        paragraphs.append(model + slow)
        citations += [*cited, *slow_cited]
    else:
        paragraphs.append(
            "No recording of pulse or breathing was used."
            + (" Each slice's mean of cerebrospinal fluid stood as a column in the model of noise." if csf else "")
        )
    if compcor:
        paragraphs.append(
            "Components of noise regions were computed after drifts had been taken out (aCompCor; Behzadi et al., 2007): in the "
            "brain from ventricles and deep white matter, and slice by slice from the cerebrospinal fluid of each slice, around "
            "the cord and in the ventricles (after Barry et al., 2016)."
        )
        citations += [_BEHZADI, _BARRY]
    if tested:
        paragraphs.append(
            f"Each set of columns was tested voxel by voxel beside all others and cosine drifts (period {highpass_s:g} s and "
            "longer) by a partial F test, noise being whitened by its autocorrelation at lag 1, freed of the bias that fitted "
            "columns bring (Worsley et al., 2002) and smoothed within brain, cord and cerebrospinal fluid apart; what it "
            "explains is given as adjusted partial R², zero being what random columns take."
        )
        citations.append(_WORSLEY)
    if cleaned:
        paragraphs.append(
            "A cleaned series was written, from which these columns and the drifts were taken out slice by slice in one joint "
            "regression, so that columns and data meet the same high-pass filter (Lindquist et al., 2019); the degrees of "
            "freedom that are left are in its sidecar."
        )
        citations.append(_LINDQUIST)
    return MethodsText(tuple(paragraphs), tuple(dict.fromkeys(citations)))


def _physiological_model(
    *, cardiac: bool, respiratory: bool, orders: tuple[int, int, int, int], csf: bool, given: bool
) -> tuple[str, list[str]]:
    """How phases became columns."""
    c, r, mc, mr = orders
    found = "were given by the user" if given else "were detected automatically and implausible intervals mended"
    sources = [part for part, there in (("heartbeats", cardiac), ("ends of inspiration", respiratory)) if there]
    phases = []
    if cardiac:
        phases.append("cardiac phase runs linearly between heartbeats")
    if respiratory:
        phases.append("respiratory phase follows the histogram of chest position and the sign of its slope")
    terms = []
    if cardiac and c:
        terms.append(f"{c} harmonic{'s' * (c > 1)} of the heartbeat")
    if respiratory and r:
        terms.append(f"{r} of breathing" if terms else f"{r} harmonic{'s' * (r > 1)} of breathing")
    if cardiac and respiratory and mc and mr:
        terms.append(f"their interaction up to {mc} × {mr}")
    columns = 2 * c * cardiac + 2 * r * respiratory + 4 * mc * mr * (cardiac and respiratory)
    text = (
        f"Recordings were aligned to the first stored volume; {' and '.join(sources)} {found}. Physiological noise was modelled "
        "slice by slice, at the acquisition time of each slice (Glover et al., 2000; Brooks et al., 2008): "
        f"{' and '.join(phases)}; the model has {_listed(terms) if terms else 'no harmonics'}, {columns} columns"
        + (", and the slice's mean of cerebrospinal fluid." if csf else ".")
        + ("" if cardiac and respiratory else f" {'Breathing' if cardiac else 'The pulse'} was not recorded.")
    )
    return text, [_GLOVER, _BROOKS]


def _slow_responses(*, rvt: bool, hrv: bool) -> tuple[str, list[str]]:
    parts, cited = [], []
    if rvt:
        parts.append("respiration volume per time (Birn et al., 2006), convolved with its response function (Birn et al., 2008)")
        cited += [_BIRN_2006, _BIRN_2008]
    if hrv:
        parts.append("heart rate, convolved with the cardiac response function (Chang et al., 2009)")
        cited.append(_CHANG)
    return (f" Slow effects were added: {'; '.join(parts)}." if parts else ""), cited


def _listed(parts: Sequence[str]) -> str:
    """Words in a row, with "and" before the last."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def coupling_methods(*, trials: bool, unleaked: bool, seeds: Sequence[str] = (), interactions: bool = False) -> MethodsText:
    """Methods text of coupling.

    Parameters
    ----------
    trials : bool
        Whether responses to single trials were correlated too.
    unleaked : bool
        Whether leakage between simultaneous slices was taken out.
    seeds : sequence of str
        Regions that were mapped against every voxel.
    interactions : bool
        Whether the task's influence on that was mapped too.
    """
    text = (
        "Coupling was measured natively: horns of spinal segments (from PAM50) and spheres (from MNI) were brought to the run. "
        "The means of each region in each slice, drift, motion, physiology and task held fixed, were shifted to one time "
        "(band-limited) and correlated, with and without pairs of slices that are excited together."
    )
    if unleaked:
        text += (
            " What simultaneous slices leak into each other was taken out of the courses before: the signal of the acquired "
            "voxel that it comes from, times a share learnt from noise that both slices have and their neighbours have not."
        )
    if trials:
        text += (
            " Responses to single trials (least squares, separately for each) were correlated over trials (Rissman et al., 2004)."
        )
    if seeds:
        text += (
            f" {', '.join(seeds)} {'was a seed' if len(seeds) == 1 else 'were seeds'}: the mean course, at each slice's own time "
            "and without slices that were excited together with it, was a column of the first level's model."
        )
    if interactions:
        text += (
            " Its products with the conditions stood beside it (generalised psychophysiological interaction, not deconvolved; "
            "McLaren et al., 2012)."
        )
    return MethodsText((text,), (*((_RISSMAN,) if trials else ()), *((_MCLAREN,) if interactions else ())))


def statistics_methods(hrf: str, smoothing_mm: Mapping[str, tuple[float, float, float]], *, slice_times: bool) -> MethodsText:
    """Methods text of the first level.

    Parameters
    ----------
    hrf : str
        Response model, as nilearn names it.
    smoothing_mm : mapping of space to (3,)
        FWHM of the smoothing of effects; empty where none were carried.
    slice_times : bool
        Whether each slice has a design of its own times.
    """
    text = (
        "Statistics were estimated natively on unsmoothed data by a general linear model"
        + (" with a design of its own for every slice, evaluated at the slice's acquisition times" if slice_times else "")
        + f": events convolved with a haemodynamic response ({hrf}, after nilearn), with drift, motion and physiological noise "
        "as further columns. Series and design were whitened by autoregressive models, pooled within brain, cord and CSF "
        "apart and freed of the bias that the fitted columns bring (after Worsley et al., 2002). Effects are in per cent of the "
        "local temporal mean."
    )
    for space, (across, _, along) in smoothing_mm.items():
        kernel = f"{across:g} mm" if across == along else f"{across:g} mm across and {along:g} mm along the cord"
        text += (
            f" Effects were carried to {space} from their own region alone and smoothed within it (FWHM {kernel}); the variance "
            "of smoothed effects follows from residuals that were carried and smoothed alike."
        )
    return MethodsText((text,), (_WORSLEY,))
