"""The anatomy in words: what is in doubt is named, with its number and its system."""

import numpy as np
import pytest

from cospine.anatomy.levels import segment_name, vertebra_name
from cospine.quality import anatomy_verdicts as say
from cospine.quality.anatomy_methods import anatomy_methods, placement_methods

SURE = {2: 0.9, 3: 0.95, 4: 0.97, 5: 0.9}


@pytest.mark.parametrize(
    ("numbers", "text"), [([3, 4, 5, 9], "3–5, 9"), ([7], "7"), ([], ""), (np.array([2, 1]), "1–2"), ([1, 3], "1, 3")]
)
def test_runs_of_numbers_are_drawn_together(numbers: list[int], text: str) -> None:
    assert say.ranges(numbers) == text


def test_levels_are_named_by_their_system() -> None:
    assert say.names([1, 2, 3, 7, 8], vertebra_name) == "C1 to C3, C7 to T1"
    assert say.names([8, 9], segment_name) == "C8 to T1"
    assert say.names([], vertebra_name) == "none"


def test_doubtful_slices_are_named_by_their_stored_number() -> None:
    confidence, held = np.full(20, 0.9), np.ones(20, bool)
    held[:2] = False
    confidence[[0, 5, 6]] = 0.3
    verdict = say.mask_verdict(confidence, held, "EPI", "k")
    assert verdict.level == "look"
    # slice 0 holds no cord: its confidence does not count
    assert "18 slices" in verdict.text
    assert "k 5–6." in verdict.text
    assert "2 (11 %)" in verdict.text


def test_a_mask_doubtful_in_many_slices_is_bad() -> None:
    confidence = np.where(np.arange(10) < 4, 0.1, 0.9)
    assert say.mask_verdict(confidence, np.ones(10, bool), "T1w", "j").level == "bad"


def test_sure_and_given_masks_are_good() -> None:
    assert say.mask_verdict(np.full(5, 0.8), np.ones(5, bool), "T1w", "k").level == "good"
    given = say.mask_verdict(np.zeros(5), np.ones(5, bool), "EPI", "k", given=True)
    assert given.level == "good"
    assert "given" in given.text


def test_levels_say_what_anchored_them_and_which_is_least_sure() -> None:
    verdict = say.levels_verdict({**SURE, 4: 0.6}, "anchored at the pontomedullary junction", "")
    assert verdict.level == "good"
    for part in ("C1-C2 to C4-C5", "pontomedullary", "C3-C4 with a confidence of 0.60"):
        assert part in verdict.text


@pytest.mark.parametrize(
    ("confidence", "reason", "level"),
    [
        ({**SURE, 5: 0.3}, "", "look"),
        # the top of C1 is hardly ever seen
        ({**SURE, 1: 0.3}, "", "good"),
        (SURE, "the count may be off by one vertebra (probability 20%)", "look"),
        ({}, "nothing says which they are", "bad"),
    ],
)
def test_doubtful_levels_deserve_a_look(confidence: dict[int, float], reason: str, level: str) -> None:
    verdict = say.levels_verdict(confidence, "anchored", reason)
    assert verdict.level == level
    assert reason in verdict.text


def test_the_template_is_named() -> None:
    assert say.template_verdict("PAM50", "folder x named by --template-dir").level == "good"
    stand_in = say.template_verdict("PAM50-parametric", "built in, because PAM50 could not be downloaded")
    assert stand_in.level == "look"
    assert "NOT PAM50" in stand_in.text
    assert "could not be downloaded" in stand_in.text


@pytest.mark.parametrize(
    ("dice", "jacobian", "level"), [(0.96, 0.3, "good"), (0.7, 0.3, "bad"), (0.96, -0.1, "bad"), (0.96, 0.05, "look")]
)
def test_a_brain_that_does_not_fit_is_told(dice: float, jacobian: float, level: str) -> None:
    assert say.brain_template_verdict("MNI152NLin2009aSym", dice, jacobian).level == level


def test_the_cord_in_pam50_says_which_levels_it_covers() -> None:
    dice = np.array([np.nan, 0.9, 0.94, 0.92, np.nan])
    verdict = say.cord_template_verdict(dice, 0.4, 0.05, [1, 2, 3, 4], 5)
    assert verdict.level == "good"
    for part in ("by 5 discs", "Dice 0.92", "C1 to C4", "Jacobian 0.40"):
        assert part in verdict.text
    assert say.cord_template_verdict(dice - 0.3, 0.4, 0.05, [1], 2).level == "look"
    assert say.cord_template_verdict(dice, 0.0, 0.05, [1], 2).level == "bad"
    assert say.cord_template_verdict(np.full(3, np.nan), 0.4, 0.05, [], 2).level == "look"


def test_maps_that_disagree_at_the_join_are_told() -> None:
    assert say.join_verdict(np.array([0.3, 1.2])).level == "good"
    assert say.join_verdict(np.array([0.3, 5.2])).level == "look"


def test_an_alignment_is_judged_by_region() -> None:
    lines = say.alignment_verdicts(
        "T1w", ("brain", "cord"), contour_mm=(4.0, 0.9), correlation=(0.3, 0.6), cord_mm=(2.4, 0.3), jacobian_min=0.9
    )
    assert [line.level for line in lines] == ["good", "good"]
    assert "0.9 mm away (median; 4.0 mm as scanned)" in lines[0].text
    assert "2.40 mm by the head's" in lines[1].text


def test_a_poor_alignment_deserves_a_look() -> None:
    lines = say.alignment_verdicts(
        "T1w", ("brain",), contour_mm=(4.0, 4.1), correlation=(0.6, 0.5), cord_mm=(2.4, 1.9), jacobian_min=-0.1,
        reason="the EPI shows no cord",
    )  # fmt: skip
    assert [line.level for line in lines] == ["look", "look", "bad", "look"]
    assert "−0.10" in lines[2].text
    assert "shows no cord" in lines[3].text


def test_without_a_brain_nothing_is_said_of_it() -> None:
    nan = (np.nan, np.nan)
    lines = say.alignment_verdicts("T1w", ("cord",), contour_mm=nan, correlation=(0, 0), cord_mm=(2.4, 0.3), jacobian_min=0.9)
    assert len(lines) == 1
    assert "cord" in lines[0].text
    assert [number.region for number in say.alignment_numbers(None, (2.4, 0.3), "T1w")] == ["cord"]


def test_coverage_names_both_systems() -> None:
    verdict = say.coverage_verdict("PAM50", 0.8, [1, 2, 3], [1, 2, 3, 4])
    assert verdict.level == "good"
    assert "80 %" in verdict.text
    assert "vertebral levels C1 to C3" in verdict.text
    assert "spinal segments C1 to C4" in verdict.text
    assert say.coverage_verdict("MNI", 0.2).level == "look"


def test_methods_say_what_was_done_and_no_more() -> None:
    full = anatomy_methods("T1w", brain=True, anchor="anchored at the foramen magnum")
    text = " ".join(full.paragraphs)
    assert "diffeomorphism" in text
    for name in ("Tustison", "Avants", "Fonov", "Billot", "De Leener"):
        assert name in text
        assert any(name in one for one in full.citations)
    cord_alone = anatomy_methods("T2w", brain=False, cord="given", to_pam50=False)
    assert "diffeomorphism" not in " ".join(cord_alone.paragraphs)
    assert cord_alone.citations == ()
    stand_in = anatomy_methods("T1w", brain=False, template="PAM50-parametric", template_source="built in")
    assert "parametric template in the same space stood in (built in)" in " ".join(stand_in.paragraphs)


def test_methods_of_the_alignment_follow_its_regions() -> None:
    both = placement_methods("T1w", ("brain", "cord"), ("MNI152NLin2009aSym", "PAM50"))
    assert "Janke" in both.paragraphs[0]
    assert "neck" in both.paragraphs[0]
    assert "interpolated once" in both.paragraphs[1]
    assert "Janke" not in " ".join(placement_methods("T1w", ("cord",), ()).paragraphs)
