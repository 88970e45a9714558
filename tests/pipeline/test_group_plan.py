"""Who is analysed, who is left out and why, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from cospine.bids.tables import read_json
from cospine.bids.write import write_json, write_tsv
from cospine.errors import CoSpineError
from cospine.pipeline.group_plan import plan_group
from cospine.pipeline.group_settings import GroupSettings
from tests.pipeline.group_data import write_group


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, Path]:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_group(raw, out, contrasts=("heat", "rating"), runs=1, without=(("sub-03", "rating"),))
    return raw, out


def table(raw: Path, **columns: list[str]) -> None:
    people = [f"sub-{n + 1:02d}" for n in range(8)]
    write_tsv(raw / "participants.tsv", {"participant_id": people, **columns})


def test_a_missing_contrast_excludes_one_and_stops_nobody(tree: tuple[Path, Path]) -> None:
    plan = plan_group(*tree, GroupSettings())
    heat, rating = plan.analyses
    assert (heat.label, len(heat.people), heat.excluded) == ("pain: heat", 8, ())
    assert len(rating.people) == 7
    assert rating.excluded == (("sub-03", "no map of rating"),)
    assert heat.regions == ("brain", "cord")
    assert [one.site for one in heat.people] == ["north"] * 4 + ["south"] * 4


def test_sites_are_a_centred_factor_of_the_mean(tree: tuple[Path, Path]) -> None:
    design = plan_group(*tree, GroupSettings(covariates=("age",))).analyses[0].design
    assert design.names == ("mean", "site north", "age")
    np.testing.assert_allclose(design.matrix.sum(axis=0), [8, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(design.contrast, [1, 0, 0])


def test_people_are_left_out_by_stated_rules_and_named(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    for label, name, value in (("sub-01", "fd_mean_mm", 0.9), ("sub-02", "tsnr_cord_after", 2.0)):
        path = out / "logs" / f"{label}_task-pain_run-1_quality.json"
        content = read_json(path)
        content["Measures"][name]["Value"] = value
        write_json(path, content)
    for pattern in ("*space-PAM50_desc-coverage_mask.nii.gz", "*space-PAM50_*_stat-variance_statmap.nii.gz"):
        for path in (out / "sub-05" / "func").glob(pattern):
            path.unlink()
    plan = plan_group(raw, out, GroupSettings(contrast=("heat",), exclude=("04",)))
    assert dict(plan.analyses[0].excluded) == {
        "sub-01": "mean framewise displacement above 0.5 mm",
        "sub-02": "median cord tSNR below 5",
        "sub-04": "by --exclude",
        "sub-05": "nothing tells where it was measured in PAM50",
    }
    brain = plan_group(raw, out, GroupSettings(contrast=("heat",), regions=("brain",)))
    assert {name for name, _ in brain.analyses[0].excluded} == {"sub-01"}


def test_what_is_not_known_does_not_pass_a_rule(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    path = out / "logs" / "sub-06_task-pain_run-1_quality.json"
    content = read_json(path)
    del content["Measures"]["fd_mean_mm"]
    write_json(path, content)
    assert dict(plan_group(raw, out, GroupSettings(contrast=("heat",))).analyses[0].excluded) == {
        "sub-06": "mean framewise displacement is not known (--max-fd inf does not ask for it)"
    }
    assert not plan_group(raw, out, GroupSettings(contrast=("heat",), max_fd=float("inf"))).analyses[0].excluded


def test_who_has_no_site_among_others_who_have_is_left_out(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    table(raw, site=["a"] * 4 + ["b"] * 3 + ["n/a"])
    plan = plan_group(raw, out, GroupSettings(contrast=("heat",)))
    assert dict(plan.analyses[0].excluded) == {"sub-08": "no value of site"}
    assert plan.analyses[0].design.names == ("mean", "site a")


def test_head_motion_is_not_asked_for_in_the_cord_alone(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    for path in (out / "logs").glob("*_quality.json"):
        content = read_json(path)
        del content["Measures"]["fd_mean_mm"]
        write_json(path, content)
    assert not plan_group(raw, out, GroupSettings(contrast=("heat",), regions=("cord",))).analyses[0].excluded


def test_several_sessions_are_named_with_the_remedy(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    for path in sorted((out / "sub-02" / "func").glob("*_task-pain_space-*heat*")):
        for session in ("1", "2"):
            other = out / "sub-02" / f"ses-{session}" / "func" / path.name.replace("sub-02_", f"sub-02_ses-{session}_")
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(path.read_bytes())
        path.unlink()
    reason = dict(plan_group(raw, out, GroupSettings(contrast=("heat",))).analyses[0].excluded)["sub-02"]
    assert "several sessions; choose one with --session-label" in reason


def test_too_few_people_are_refused_and_the_other_contrast_goes_on(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_group(raw, out, people=4, contrasts=("heat", "rating"), runs=1, without=(("sub-01", "rating"), ("sub-02", "rating")))
    plan = plan_group(raw, out, GroupSettings())
    assert [one.label for one in plan.analyses] == ["pain: heat"]
    assert "2 of 4 people are left, 3 are needed (2 no map of rating)" in plan.refused[0]
    with pytest.raises(CoSpineError, match="are needed"):
        plan_group(raw, out, GroupSettings(contrast=("rating",)))


def test_what_nobody_has_is_named(tree: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CoSpineError, match=r"nobody has the contrast cold.*heat, rating"):
        plan_group(*tree, GroupSettings(contrast=("cold",)))
    with pytest.raises(CoSpineError, match="not there: sub-99"):
        plan_group(*tree, GroupSettings(participant_label=("99",)))
    with pytest.raises(CoSpineError, match=r"--exclude|not there: sub-1"):
        plan_group(*tree, GroupSettings(exclude=("sub-1",)))
    with pytest.raises(CoSpineError, match="is no BIDS dataset"):
        plan_group(tmp_path, tree[1], GroupSettings())
    with pytest.raises(CoSpineError, match="nobody did motor"):
        plan_group(*tree, GroupSettings(task=("motor",)))
    with pytest.raises(CoSpineError, match="no folder of derivatives"):
        plan_group(tree[0], tmp_path / "empty", GroupSettings())


def test_groups_that_are_one_with_the_site_are_refused(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    table(raw, site=["a"] * 4 + ["b"] * 4, patient=["yes"] * 4 + ["no"] * 4)
    with pytest.raises(CoSpineError, match="site and contrast are one"):
        plan_group(raw, out, GroupSettings(compare="patient", contrast=("heat",)))
    with pytest.raises(CoSpineError, match="site and contrast are one"):
        plan_group(raw, out, GroupSettings(compare="site", contrast=("heat",)))
    table(raw, site=["a"] * 4 + ["b"] * 4, patient=["yes", "no"] * 4)
    design = plan_group(raw, out, GroupSettings(compare="patient", contrast=("heat",))).analyses[0].design
    assert design.said == "yes minus no (patient)"
    assert "site a" in design.names
    np.testing.assert_array_equal(design.contrast[:2], [-1, 1])


def test_sites_that_cannot_be_harmonised_are_refused_with_the_counts(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    asked = GroupSettings(combat=True, contrast=("heat",))
    table(raw, site=["a"] * 8, patient=["yes", "no"] * 4)
    with pytest.raises(CoSpineError, match=r"one site \(a\)"):
        plan_group(raw, out, asked)
    table(raw, site=["a"] * 6 + ["b"] * 2, patient=["yes", "no"] * 4)
    with pytest.raises(CoSpineError, match=r"needs 3 people.*b: 2"):
        plan_group(raw, out, asked)
    table(raw, site=["a"] * 4 + ["b"] * 4, patient=["yes"] * 4 + ["no"] * 4)
    with pytest.raises(CoSpineError, match="site and contrast are one"):
        plan_group(raw, out, GroupSettings(combat=True, compare="patient", contrast=("heat",)))


def test_what_combat_keeps_is_what_is_no_sites(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    table(raw, site=["a"] * 4 + ["b"] * 4, patient=["yes", "no"] * 4, age=list("23456789"))
    mean = plan_group(raw, out, GroupSettings(contrast=("heat",), covariates=("age",))).analyses[0].design
    assert mean.names == ("mean", "site a", "age")
    np.testing.assert_array_equal(mean.beside_sites, mean.matrix[:, [0, 2]])
    two = plan_group(raw, out, GroupSettings(contrast=("heat",), compare="patient")).analyses[0].design
    assert two.names == ("no", "yes", "site a")
    np.testing.assert_array_equal(two.beside_sites, two.matrix[:, :2])


def test_missing_values_and_useless_columns(tree: tuple[Path, Path]) -> None:
    raw, out = tree
    table(raw, site=["a"] * 8, age=["n/a", *"2345678"], twice=["n/a", *"2345678"], patient=["x"] * 8)
    plan = plan_group(raw, out, GroupSettings(covariates=("age",), contrast=("heat",)))
    assert plan.analyses[0].excluded == (("sub-01", "no number in age"),)
    with pytest.raises(CoSpineError, match="depend on each other"):
        plan_group(raw, out, GroupSettings(covariates=("age", "twice"), contrast=("heat",)))
    with pytest.raises(CoSpineError, match="two values"):
        plan_group(raw, out, GroupSettings(compare="patient", contrast=("heat",)))


def test_two_datasets_together(tmp_path: Path) -> None:
    write_group(tmp_path / "one", tmp_path / "out1", people=3, sites=("n/a",), runs=1)
    write_group(tmp_path / "two", tmp_path / "out2", people=3, sites=("n/a",), runs=1, seed=1)
    plan = plan_group(tmp_path / "one", tmp_path / "out1", GroupSettings(derivatives=(tmp_path / "out2",)))
    people = plan.analyses[0].people
    assert [one.name for one in people][2:4] == ["one:sub-03", "two:sub-01"]
    assert [one.site for one in people] == ["one"] * 3 + ["two"] * 3


def test_settings_that_make_no_sense_are_listed_at_once(tree: tuple[Path, Path]) -> None:
    with pytest.raises(CoSpineError, match=r"--permutations 10.*--cluster-p 0.05"):
        plan_group(*tree, GroupSettings(permutations=10, cluster_p=0.05))
