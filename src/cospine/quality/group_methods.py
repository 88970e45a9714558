"""The methods text of a group: what was done, in sentences that can be pasted into a paper."""

from cospine.quality.methods import MethodsText

_WINKLER = (
    "Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE (2014) Permutation inference for the general linear model. "
    "NeuroImage 92:381–397. doi:10.1016/j.neuroimage.2014.01.060"
)
_TFCE = (
    "Smith SM, Nichols TE (2009) Threshold-free cluster enhancement: addressing problems of smoothing, threshold dependence and "
    "localisation in cluster inference. NeuroImage 44:83–98. doi:10.1016/j.neuroimage.2008.03.061"
)
_HOLM = "Holm S (1979) A simple sequentially rejective multiple test procedure. Scand J Stat 6:65–70."
_EKLUND = (
    "Eklund A, Nichols TE, Knutsson H (2016) Cluster failure: why fMRI inferences for spatial extent have inflated "
    "false-positive rates. PNAS 113:7900–7905. doi:10.1073/pnas.1602413113"
)
_CADOTTE = (
    "Cadotte DW, Cadotte A, Cohen-Adad J, Fleet D, Livne M, Wilson JR, Mikulis D, Nugaeva N, Fehlings MG (2015) "
    "Characterizing the location of spinal and vertebral levels in the human cervical spinal cord. AJNR 36:803–810. "
    "doi:10.3174/ajnr.A4192"
)
_IGLEWICZ = "Iglewicz B, Hoaglin D (1993) How to detect and handle outliers. ASQC Quality Press."
_JOHNSON = (
    "Johnson WE, Li C, Rabinovic A (2007) Adjusting batch effects in microarray expression data using empirical Bayes methods. "
    "Biostatistics 8:118–127. doi:10.1093/biostatistics/kxj037"
)
_FORTIN = (
    "Fortin JP, Cullen N, Sheline YI, et al. (2018) Harmonization of cortical thickness measurements across scanners and sites. "
    "NeuroImage 167:104–120. doi:10.1016/j.neuroimage.2017.11.024"
)
_TAYLOR = (
    "Taylor PA, Reynolds RC, Calhoun V, Gonzalez-Castillo J, Handwerker DA, Bandettini PA, Mejia AF, Chen G (2023) Highlight "
    "results, don't hide them. NeuroImage 274:120138. doi:10.1016/j.neuroimage.2023.120138"
)


def group_methods(
    version: str,
    *,
    regions: tuple[str, ...],
    rules: str,
    test: str,
    permutations: int,
    cluster_p: float,
    template: str,
    coupling: bool,
    combat: bool = False,
) -> MethodsText:
    """Paragraphs for one execution.

    Parameters
    ----------
    version : str
        Of CoSpine.
    regions : tuple of str
        What was analysed: brain, cord.
    rules : str
        Rules of exclusion.
    test : str
        The contrast between people, in words.
    permutations : int
    cluster_p : float
    template : str
        Of the cord; empty without it.
    coupling : bool
        Whether tables of coupling were analysed.
    combat : bool
        Whether sites were harmonised.
    """
    both = len(regions) > 1
    where = {"brain": "the brain in MNI152NLin2009aSym", "cord": "the cord in PAM50"}
    paragraphs = [
        (
            f"Effects of each person, in % of the local temporal mean, were analysed with CoSpine {version} in "
            f"{' and '.join(where[one] for one in regions)}. Left out was who met one of these rules, fixed beforehand: {rules}. "
            "Voxels that fewer than 80 % of the people had measured were not analysed; nothing was filled in."
        ),
        (
            f"The {test} was tested by up to {permutations} permutations or sign flips (Winkler 2014), with sites as a "
            "factor where there was more than one. Corrected p values are two-sided and family-wise"
            + (", at one level over brain and cord together" if both else "")
            + ", for single voxels, for threshold-free cluster enhancement (Smith and Nichols 2009), and for the mass of "
            f"clusters formed at p < {cluster_p:g} (Eklund 2016)."
        ),
        (
            "Mean effects in regions named beforehand were tested by the same permutations and corrected after Holm (1979) "
            "over all these regions and all contrasts. Maps are shown without a threshold, with what is significant "
            "outlined (Taylor 2023). Outliers of quality are those with a modified z score above 3.5 (Iglewicz and Hoaglin "
            "1993)."
        ),
    ]
    if combat:
        paragraphs.insert(
            1,
            "Shift and spread of each voxel at each site were taken out of everybody's maps by ComBat (Johnson 2007; Fortin "
            "2018), with groups and covariates in its model; the spread within sites was divided by people less sites. "
            "Reliability, effect sizes and coupling are of the maps as measured.",
        )
    citations = [_WINKLER, _TFCE, _EKLUND, _HOLM, _TAYLOR, _IGLEWICZ]
    if "cord" in regions:
        paragraphs.append(
            f"Regions of the cord are dorsal and ventral horns by spinal segment of the template ({template}). Spinal "
            "segments are not vertebral levels, and people differ by about one segment from the template's relation of both "
            "(Cadotte 2015)."
        )
        citations.append(_CADOTTE)
    if combat:
        citations += [_JOHNSON, _FORTIN]
    if coupling:
        paragraphs.append(
            "Coupling between regions was averaged over people after Fisher's transformation and tested by sign flips of whole "
            "people, corrected over all pairs by the largest |t|."
        )
    return MethodsText(tuple(paragraphs), tuple(citations))
