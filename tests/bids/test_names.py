import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospine.bids import build_name, parse_name
from cospine.bids.names import ENTITIES

VALUES = st.text("abcXYZ0189+", min_size=1, max_size=6)
SUFFIXES = st.sampled_from(["bold", "T1w", "xfm", "physio", "epi"])
EXTENSIONS = st.sampled_from([".nii.gz", ".nii", ".json", ".tsv.gz", ".h5", ""])


@given(st.dictionaries(st.sampled_from(ENTITIES), VALUES), SUFFIXES, EXTENSIONS)
def test_parse_undoes_build(entities, suffix, extension):
    parsed = parse_name(build_name(entities, suffix, extension))
    assert parsed is not None
    assert (dict(parsed.entities), parsed.suffix, parsed.extension) == (entities, suffix, extension)
    assert list(parsed.entities) == [key for key in ENTITIES if key in entities]


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_ses-1_task-pain_acq-a_run-1_bold.nii.gz",
        "sub-01_task-pain_run-1_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        "sub-01_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5",
        "sub-01_fmapid-auto0_desc-preproc_fieldmap.nii.gz",
        "sub-01_task-pain_space-PAM50_contrast-heat_stat-effect_statmap.nii.gz",
        "sub-01_task-pain_desc-raw_stat-tsnr_boldmap.nii.gz",
        "sub-01_task-pain_label-SC_mask.nii.gz",
        "sub-01_desc-vertebrae_dseg.tsv",
        "sub-01_task-pain_recording-respiratory_physio.tsv.gz",
    ],
)
def test_published_names_keep_their_order(name):
    parsed = parse_name(name)
    assert parsed is not None
    assert build_name(parsed.entities, parsed.suffix, parsed.extension) == name


@pytest.mark.parametrize(
    "stranger",
    [
        ".DS_Store",
        "README",
        "IM_0001.IMA",
        "sub-01_sub-02_bold.nii.gz",
        "sub_01_bold.nii",
        "sub-01_task-a b_bold.nii",
        "",
    ],
)
def test_strangers_are_told(stranger):
    parsed = parse_name(stranger)
    assert parsed is None or not parsed.entities


def test_from_can_be_a_keyword_and_none_leaves_out():
    entities = {"sub": "01", "from_": "a", "to": "b", "echo": None, "run": 2}
    assert build_name(entities, "xfm", ".h5") == "sub-01_run-2_from-a_to-b_xfm.h5"


@pytest.mark.parametrize(
    ("entities", "suffix", "extension"),
    [
        ({"sub": "a-b"}, "bold", ".nii"),
        ({"sub": ""}, "bold", ".nii"),
        ({"flavour": "1"}, "bold", ".nii"),
        ({"sub": "01"}, "bo_ld", ".nii"),
        ({"sub": "01"}, "bold", "nii"),
        ({"sub": "../x"}, "bold", ".nii"),
    ],
)
def test_forbidden_parts_are_refused(entities, suffix, extension):
    with pytest.raises(ValueError):
        build_name(entities, suffix, extension)
