"""Mending beside the dataset: the plan, its patch, the overlay, and a run that uses it."""

import shutil
import subprocess

import pytest
from check.test_troubles import L, R, copy_sidecar, milliseconds, phase1, swapped, unlinked, windows

from cospine.bids import read_dataset
from cospine.bids.overlay import FOLDER, PLAN, read_overlay
from cospine.check.examine import examine, scope_of
from cospine.check.repair import apply_plan, make_plan, patch_text
from cospine.cli.main import main
from cospine.errors import CoSpineError

MENDED = (
    "physio-swapped", "physio-start-time", "fieldmap-not-stated", "one-b0-identifier", "phase-difference-named-phase1",
    "task-name-differs", "readout-on-non-epi", "impossible-value", "crlf", "clock-spelling",
)  # fmt: skip


@pytest.fixture
def spoiled(tree):
    """Everything at once that can be mended without looking."""
    unlinked(tree, B0FieldIdentifier="b0map")
    phase1(tree)
    swapped(tree)
    windows(tree)
    tree.json(f"{L}_bold.json", TaskName="motor", AcquisitionTime="10:5:0.123000")
    tree.json("sub-01/anat/sub-01_T1w.json", TotalReadoutTime=0.0019, MultibandAccelerationFactor=0)
    return tree


def codes(root):
    return {one.code for one in examine(root, validator=False).findings}


def test_the_patch_mends_what_the_plan_names(spoiled):
    assert set(MENDED) <= codes(spoiled.root)
    plan = make_plan(examine(spoiled.root, validator=False).scope)
    patch = patch_text(plan, spoiled.root)
    assert f"rename from {L}_recording-pulse_physio.json\nrename to {R}_recording-pulse_physio.json" in patch
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run([git, *command], cwd=spoiled.root, check=True)
    subprocess.run([git, "apply", "--index", "-"], cwd=spoiled.root, input=patch.encode(), check=True)
    assert not set(MENDED) & codes(spoiled.root)


def test_the_overlay_stands_in_place_of_the_metadata(spoiled, tmp_path):
    before = {path: path.read_bytes() for path in spoiled.root.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    apply_plan(make_plan(examine(spoiled.root, validator=False).scope), spoiled.root, out)
    assert {path: path.read_bytes() for path in spoiled.root.rglob("*") if path.is_file()} == before
    dataset = read_dataset(spoiled.root, overlay=read_overlay(out, spoiled.root))
    person = dataset.participants[0]
    run = next(one for one in person.runs if one.task == "motorL")
    assert [how for _, how in person.fieldmaps_of(run)] == ["B0FieldSource", "B0FieldSource"]
    assert {one.name for one in run.physio} == {
        f"sub-01_task-motorR_recording-{kind}_physio.tsv.gz" for kind in ("pulse", "respiratory")
    }
    starts = [person.physio_sidecars[path]["StartTime"] for path in run.physio]
    assert starts == pytest.approx([-20.0, -20.0], abs=1e-3)
    assert "phase-difference-named-phase1" not in {one.code for one in dataset.findings}
    assert run.sidecar["TaskName"] == "motorL"
    assert {one.kind for one in person.fieldmaps} == {"pepolar", "phasediff"}


def test_run_uses_the_overlay_and_says_so(spoiled, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["check", str(spoiled.root), "--no-validator", "--apply", str(out)]) == 0
    assert "files mended" in capsys.readouterr().err
    assert main(["run", str(spoiled.root), str(out), "participant", "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "mended" in said
    assert "TaskName is" not in said


def test_applying_again_replaces_what_was_there(spoiled, tmp_path):
    out = tmp_path / "out"
    plan = make_plan(examine(spoiled.root, validator=False).scope)
    apply_plan(plan, spoiled.root, out)
    first = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    apply_plan(plan, spoiled.root, out)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == first
    apply_plan(type(plan)(), spoiled.root, out)
    left = {path.name for path in (out / FOLDER).rglob("*") if path.is_file()}
    assert left == {PLAN, "patch.diff"}


def test_what_changed_since_is_refused(spoiled, tmp_path, capsys):
    out = tmp_path / "out"
    apply_plan(make_plan(examine(spoiled.root, validator=False).scope), spoiled.root, out)
    spoiled.json(f"{L}_bold.json", EchoTime=0.03)
    with pytest.raises(CoSpineError, match="changed since"):
        read_overlay(out, spoiled.root)
    assert main(["run", str(spoiled.root), str(out), "participant", "--dry-run"]) == 2
    assert "cospine check --apply again" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", '{"Renames": {}}', '{"Renames": {"/etc/x": "a"}, "Files": {}, "MadeFrom": {}}',
                                     '{"Renames": {}, "Files": {"a.json": "../a.json"}, "MadeFrom": {}}'])  # fmt: skip
def test_a_damaged_overlay_is_refused(tree, tmp_path, content):
    folder = tmp_path / "out" / FOLDER
    folder.mkdir(parents=True)
    (folder / PLAN).write_text(content)
    with pytest.raises(CoSpineError, match=r"cannot be read|no plan"):
        read_overlay(tmp_path / "out", tree.root)


def test_the_raw_data_are_no_place_for_it(tree):
    scope = examine(tree.root, validator=False).scope
    for folder in (tree.root, tree.root / "sub-01", tree.root / "code"):
        with pytest.raises(CoSpineError, match="never written"):
            apply_plan(make_plan(scope), tree.root, folder)
    apply_plan(make_plan(scope), tree.root, tree.root / "derivatives" / "cospine")


def test_a_complete_dataset_needs_nothing(tree):
    plan = make_plan(examine(tree.root, validator=False).scope)
    assert (plan.edits, plan.texts, plan.renames) == ({}, {}, {})
    assert patch_text(plan, tree.root) == ""


def test_what_is_anothers_is_not_mended(tree):
    milliseconds(tree)
    scope = scope_of(read_dataset(tree.root, verify=False, absent=True))
    plan = make_plan(scope)
    assert all(file.startswith("sub-01/func") and "physio" in file for file in plan.edits)
    assert plan.edits[f"{L}_recording-pulse_physio.json"]["StartTime"] == pytest.approx(-20.0, abs=2e-3)
    assert plan.edits[f"{L}_recording-pulse_physio.json"]["Duration"] == 90.0
    copy_sidecar(tree)
    assert make_plan(scope_of(read_dataset(tree.root, verify=False, absent=True))).edits == {}
