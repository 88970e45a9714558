"""The group level from the command line: what it finds, writes, refuses."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pytest

from cospine.bids.tables import read_json, read_tsv
from cospine.cli.main import main
from cospine.pipeline.group import over_contrasts
from cospine.pipeline.group_analysis import harmonised, stacked
from cospine.pipeline.group_answer import CORRECTIONS, Answer, Maps
from cospine.pipeline.group_plan import plan_group
from cospine.pipeline.group_settings import GroupSettings
from cospine.space.cord_template import parametric_cord_template
from tests.pipeline.group_data import HORN_MM, INSULA_MM, MNI, PAM50, write_group

STEM = "task-pain"
LITTLE = ("--permutations", "2048")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("group")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSPINE_OFFLINE", "1")
        write_group(folder / "raw", folder / "out", people=13, without=(("sub-03", "heat"),))
        status = main(["run", str(folder / "raw"), str(folder / "out"), "group", *LITTLE])
    return folder / "out", status


def image(out: Path, space: str, stat: str, desc: str = "") -> tuple[np.ndarray, np.ndarray]:
    desc = f"_desc-{desc}" if desc else ""
    loaded = nib.load(out / "group" / f"{STEM}_space-{space}_contrast-heat{desc}_stat-{stat}_statmap.nii.gz")
    return np.asarray(loaded.dataobj), loaded.affine


def test_one_without_the_contrast_is_named_and_the_others_are_analysed(done: tuple[Path, int]) -> None:
    out, status = done
    assert status == 0
    flow = read_tsv(out / "group" / "desc-flow_participants.tsv")
    left_out = [name for name, kept in zip(flow["participant"], flow["analysed"], strict=True) if kept == "0"]
    assert left_out == ["sub-03"]
    assert flow["reason"][flow["participant"].index("sub-03")] == "no map of heat"
    sidecar = read_json(out / "group" / f"{STEM}_space-{PAM50}_contrast-heat_statmap.json")
    assert len(sidecar["Participants"]) == 12
    assert sidecar["Units"] == "%"
    assert sidecar["FamilyWiseOver"] == ["brain", "cord"]
    assert "parametric" in sidecar["CordTemplate"]


@pytest.mark.parametrize(("space", "where", "within_mm"), [(MNI, INSULA_MM, 10.0), (PAM50, HORN_MM, 5.0)])
def test_the_effect_is_found_where_it_was_put(
    done: tuple[Path, int], space: str, where: tuple[float, float, float], within_mm: float
) -> None:
    out, _ = done
    z, affine = image(out, space, "z")
    corrected, _ = image(out, space, "pfwe", "tfce")
    peak = affine[:3, :3] @ np.array(np.unravel_index(np.argmax(z), z.shape)) + affine[:3, 3]
    assert np.linalg.norm(peak - np.array(where)) < within_mm
    significant = corrected < 0.05
    assert significant.any()
    places = np.argwhere(significant) @ affine[:3, :3].T + affine[:3, 3]
    assert np.linalg.norm(places - np.array(where), axis=1).max() < 35
    assert (z[significant] > 0).all()


def test_maps_say_nothing_where_too_few_were_measured(done: tuple[Path, int]) -> None:
    out, _ = done
    count, _ = image(out, PAM50, "n")
    effect, _ = image(out, PAM50, "effect")
    p, _ = image(out, PAM50, "pfwe", "voxel")
    few = count < 0.8 * 12
    assert few.any()  # the lower ends differ
    assert count.max() == 12
    assert (effect[few] == 0).all()
    assert (p[few] == 1).all()
    assert np.isfinite(effect).all()
    brain, _ = image(out, MNI, "n")
    assert set(np.unique(brain)) == {11.0, 12.0}  # one has no estimate in a third of it, though it was covered


def test_the_horn_at_its_level_and_side_is_the_region_found(done: tuple[Path, int]) -> None:
    table = read_tsv(done[0] / "group" / f"{STEM}_contrast-heat_regions.tsv")
    found = {
        name: float(p)
        for name, p, first in zip(table["region"], table["p_holm"], table["named_beforehand"], strict=True)
        if first == "1" and p != "n/a"
    }
    assert found["dorsal_R_spinal-C6"] < 0.05
    assert found["dorsal_L_spinal-C6"] > 0.05
    assert found["S2_L"] > 0.05
    sides = read_tsv(done[0] / "group" / f"{STEM}_contrast-heat_laterality.tsv")
    at = sides["region"].index("dorsal C6 (spinal)")
    assert float(sides["index_mean"][at]) > 0.5
    assert float(sides["p_holm"][at]) < 0.05


def test_cross_validated_effects_stand_beside_circular_ones(done: tuple[Path, int]) -> None:
    table = read_tsv(done[0] / "group" / f"{STEM}_contrast-heat_effectsizes.tsv")
    for unbiased, circular in zip(table["d"], table["d_circular"], strict=True):
        assert float(unbiased) < float(circular)
    again = read_tsv(done[0] / "group" / f"{STEM}_contrast-heat_reliability.tsv")
    assert set(again["runs"]) == {"2"}
    assert all(-1 <= float(value) <= 1 for value in again["icc_3_1"])


def test_coupling_is_tested_over_people(done: tuple[Path, int]) -> None:
    r = read_tsv(done[0] / "group" / f"{STEM}_desc-residuals_stat-r_relmat.tsv")
    p = read_tsv(done[0] / "group" / f"{STEM}_desc-residuals_stat-pfwe_relmat.tsv")
    assert float(r["anterior_insula_R"][0]) == pytest.approx(0.83, abs=0.05)
    assert float(p["anterior_insula_R"][0]) < 0.05
    assert float(p["ACC"][2]) > 0.05


def test_horns_are_held_against_each_other(done: tuple[Path, int]) -> None:
    table = read_tsv(done[0] / "group" / f"{STEM}_desc-everyslice_hornpairs.tsv")
    rows = dict(zip(zip(table["kind"], table["level"], strict=True), table["r"], strict=True))
    assert set(rows) == {(kind, level) for kind in ("dorsal-dorsal", "within-right", "crossed") for level in ("C6", "all")}
    assert set(table["people"]) == {"13"}
    assert float(rows["crossed", "C6"]) > 0.5  # the left dorsal horn with the right ventral one
    assert all(abs(float(r)) < 0.2 for (kind, _), r in rows.items() if kind != "crossed")
    for kind, p in zip(table["kind"], table["p_fwe"], strict=True):
        assert (float(p) < 0.01) == (kind == "crossed")
    assert "Horns with each other" in (done[0] / "group.html").read_text(encoding="utf-8")


def test_what_share_of_an_effect_a_horn_keeps_stands_beside_it(done: tuple[Path, int]) -> None:
    table = read_tsv(done[0] / "group" / f"{STEM}_contrast-heat_regions.tsv")
    shares = dict(zip(table["region"], table["recovery"], strict=True))
    assert 0.1 < float(shares["dorsal_R_spinal-C6"]) < 0.4
    assert float(shares["dorsal_R_spinal-C6"]) == pytest.approx(float(shares["dorsal_L_spinal-C6"]), abs=0.02)
    assert shares["S2_L"] == "n/a"
    assert shares["ventral_R_spinal-C6"] == "n/a"  # not named beforehand


def test_the_page_is_whole_and_names_both_level_systems(done: tuple[Path, int]) -> None:
    page = (done[0] / "group.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    for text in (
        "no map of heat", "vertebral level | spinal segment", "Horns by spinal segment", "Horns by vertebral level", "Laterality",
        "Quality of everyone", "Peaks in the cord", "Coupling: pain, residuals", "north: 6, south: 6", "built-in cord template",
    ):  # fmt: skip
        assert text in unquote(page), text
    for file in re.findall(r"<code>(group/[^<]+)</code>", page):
        assert (done[0] / file).is_file(), file


def test_a_refused_contrast_is_status_1_and_stands_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COSPINE_OFFLINE", "1")
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_group(raw, out, people=4, contrasts=("heat", "rating"), runs=1, without=(("sub-01", "rating"), ("sub-02", "rating")))
    arguments = ["run", str(raw), str(out), "group", "--regions", "brain", *LITTLE]
    assert main(arguments) == 1
    page = (out / "group.html").read_text(encoding="utf-8")
    assert "2 of 4 people are left" in page
    assert "nothing here can be significant" in page  # four people: 2 of 16 sign flips at best
    assert "2 of 4 people are left" in capsys.readouterr().err
    stranger = out / "group" / "task-old_contrast-gone_regions.tsv"
    stranger.write_text("x\n")
    assert main(arguments) == 1
    assert not stranger.exists()  # of an earlier execution: it would pass for a result of this one
    assert (out / "group.html").read_text(encoding="utf-8") == page


def test_two_groups_are_compared_in_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSPINE_OFFLINE", "1")
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_group(raw, out, people=8, runs=1)
    arguments = ["run", str(raw), str(out), "group", "--regions", "brain", "--compare", "sex", *LITTLE]
    assert main(arguments) == 0
    assert (out / "group_compare-sex.html").is_file()
    assert not (out / "group.html").exists()
    sidecar = read_json(out / "group" / "compare-sex" / f"{STEM}_space-{MNI}_contrast-heat_statmap.json")
    assert sidecar["Test"] == "M minus F (sex)"
    assert list(sidecar["Design"]) == ["F", "M", "site north"]


def louder(out: Path, people: Sequence[str], gain: float) -> None:
    """Multiply what a scanner gave."""
    for label in people:
        for path in (out / label / "func").glob("*_stat-effect_statmap.nii.gz"):
            loaded = nib.load(path)
            nib.save(nib.Nifti1Image(gain * loaded.get_fdata(dtype=np.float32), loaded.affine), path)


def test_sites_are_harmonised_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSPINE_OFFLINE", "1")
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_group(raw, out, people=12, runs=1)
    louder(out, [f"sub-{n:02d}" for n in range(7, 13)], 3.0)
    plan = plan_group(raw, out, GroupSettings(combat=True))
    analysis = plan.analyses[0]
    before = stacked(analysis, parametric_cord_template())
    after, notes = harmonised(analysis, before)
    north = np.array([one.site == "north" for one in analysis.people])
    for name, stack in after.items():
        ratio = [
            np.median(np.nanstd(one.values[~north][:, stack.mask], axis=0) / np.nanstd(one.values[north][:, stack.mask], axis=0))
            for one in (before[name], stack)
        ]
        assert 2.3 < ratio[0] < 3.7, name
        assert 0.9 < ratio[1] < 1.1, name
        assert np.isnan(stack.values[:, ~stack.mask]).all()
        # a third of one person's brain is not measured: the others are harmonised there
        some = stack.mask & (stack.count < len(north))
        assert some.sum() > 50 or name == "cord"
        np.testing.assert_array_equal(np.isfinite(stack.values[:, some]), np.isfinite(before[name].values[:, some]))
        left = before[name].mask.sum() - stack.mask.sum()
        assert 0 <= left < 0.2 * before[name].mask.sum()
        assert any(f"ComBat in the {name}" in note and f"{left} of {before[name].mask.sum()} voxels" in note for note in notes)
    assert main(["run", str(raw), str(out), "group", "--combat", *LITTLE]) == 0
    sidecar = read_json(out / "group" / f"{STEM}_space-{PAM50}_contrast-heat_statmap.json")
    assert sidecar["Parameters"]["combat"] is True
    page = (out / "group.html").read_text(encoding="utf-8")
    assert "Sites were harmonised by ComBat in the cord" in page
    assert "taken out of everybody's maps by ComBat" in page.replace("&#x27;", "'").replace("&#39;", "'")
    assert "kxj037" in page


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--contrast", "cold"], "nobody has the contrast cold"),
        (["--clean"], "--clean: has no meaning at the group level"),
        (["--participant-label", "77"], "not there: sub-77"),
        (["--covariates", "weight"], "8 no number in weight"),
    ],
)
def test_what_makes_no_sense_is_status_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_group(raw, out, people=8, runs=1)
    assert main(["run", str(raw), str(out), "group", *flags]) == 2
    assert said in capsys.readouterr().err
    assert not list(out.glob("group*"))


def test_flags_of_the_group_make_no_sense_for_participants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_group(tmp_path / "raw", tmp_path / "out", people=3, runs=1)
    assert main(["run", str(tmp_path / "raw"), str(tmp_path / "out"), "participant", "--compare", "sex"]) == 2
    assert "--compare: has no meaning at the participant level" in capsys.readouterr().err


def test_maps_are_corrected_over_contrasts_and_keep_their_order() -> None:
    def answer(*maps: list[float]) -> Any:
        parts = {
            region: Maps(region, "x", None, None, None, None, None, None, None, {kind: np.array(p) for kind in CORRECTIONS})  # type: ignore[arg-type]
            for region, p in zip(("brain", "cord"), maps, strict=True)
        }
        return Answer(None, parts, 5000, 1e9, "sign flips")  # type: ignore[arg-type]

    found = over_contrasts([answer([0.02, 0.4], [0.5, np.nan]), answer([0.3, 0.9], [0.01, 0.2])])
    np.testing.assert_allclose(found[1].maps["cord"].corrected["tfce"], [0.02, 0.4])
    np.testing.assert_allclose(found[1].maps["brain"].corrected["tfce"], [0.6, 1.0])
    np.testing.assert_allclose(found[0].maps["brain"].corrected["tfce"], [0.02, 0.4])
    np.testing.assert_allclose(found[0].maps["cord"].corrected["tfce"], [0.5, np.nan])
    assert found[0].smallest_p == 2 / 5000
