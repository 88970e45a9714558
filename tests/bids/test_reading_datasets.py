import json

import numpy as np
import pytest

from cospine.bids import load_bold, load_image, read_dataset, read_tsv, write_json, write_text, write_tsv

RUN = "sub-01/func/sub-01_task-pain_bold"


def only_run(tree, **options):
    (run,) = read_dataset(tree.root, **options).runnable
    return run


def test_a_complete_participant(tree):
    dataset = read_dataset(tree.root)
    assert dataset.name == "Tiny"
    (person,) = dataset.participants
    (run,) = person.runs
    assert person.label == person.prefix == run.participant == "sub-01"
    assert person.attributes == {"age": "33"}
    assert person.t1w == (tree / "sub-01/anat/sub-01_T1w.nii.gz",)
    assert (run.prefix, run.label, run.task) == ("sub-01_task-pain", "sub-01, task pain", "pain")
    assert run.bold == tree / f"{RUN}.nii.gz"
    assert (run.shape, run.volumes, run.tr_s) == ((6, 5, 4, 12), 12, 2.0)
    assert (run.slice_times_s, run.slice_axis, run.multiband) == ((0, 1, 0, 1), 2, 2)
    assert (run.phase_encoding, run.total_readout_s) == ("j", 0.04)
    assert run.events == tree / "sub-01/func/sub-01_task-pain_events.tsv"
    assert [path.name.split("_")[2] for path in run.physio] == ["recording-cardiac", "recording-respiratory"]
    np.testing.assert_array_equal(run.affine, np.diag([2, 2, 4, 1]))
    data = load_bold(run)
    assert (data.shape, data.dtype, data.flags.f_contiguous) == (run.shape, np.float32, True)


def test_sidecars_are_merged_from_the_root_down(tree):
    tree.json(f"{RUN}.json", RepetitionTime=None, TotalReadoutTime=None, FlipAngle=80)
    write_json(tree / "task-pain_bold.json", {"RepetitionTime": 2.0, "FlipAngle": 60, "EchoTime": 0.01})
    write_json(tree / "bold.json", {"EchoTime": 0.02, "Manufacturer": "Maker"})
    write_json(tree / "task-other_bold.json", {"Manufacturer": "of another task"})
    write_json(tree / "task-pain_events.json", {"Manufacturer": "of another suffix"})
    write_json(tree / "sub-01/sub-01_bold.json", {"TotalReadoutTime": 0.05, "FlipAngle": 70})
    write_json(tree / "sub-01/sub-01_run-1_bold.json", {"FlipAngle": 1})
    run = only_run(tree)
    assert (run.tr_s, run.total_readout_s) == (2.0, 0.05)
    assert run.sidecar["FlipAngle"] == 80
    assert run.sidecar["EchoTime"] == 0.01
    assert run.sidecar["Manufacturer"] == "Maker"


def test_events_are_inherited(tree):
    (tree / "sub-01/func/sub-01_task-pain_events.tsv").unlink()
    write_tsv(tree / "task-pain_events.tsv", {"onset": [1.0], "duration": ["n/a"]})
    assert only_run(tree).events == tree / "task-pain_events.tsv"


def test_rest_needs_no_events(tree):
    for path in tree.root.rglob("*task-pain*"):
        path.rename(path.with_name(path.name.replace("task-pain", "task-rest")))
    tree.json("sub-01/func/sub-01_task-rest_bold.json", TaskName="rest")
    (tree / "sub-01/func/sub-01_task-rest_events.tsv").unlink()
    assert read_dataset(tree.root).findings == ()


@pytest.mark.parametrize(
    ("direction", "axis", "order"),
    [("k", 2, [0, 1, 2, 3]), ("k-", 2, [3, 2, 1, 0]), ("i", 0, [0, 1, 2, 3, 4, 5])],
)
def test_slice_times_follow_the_stored_order(tree, direction, axis, order):
    times = [0.0, 0.7, 0.1, 1.3, 0.4, 1.9][: len(order)]
    tree.json(f"{RUN}.json", SliceEncodingDirection=direction, SliceTiming=times)
    run = only_run(tree)
    assert run.slice_axis == axis
    assert run.slice_times_s == tuple(times[index] for index in order)


@pytest.mark.parametrize(
    ("times", "stated", "multiband"),
    [
        ([0.0, 0.5, 1.0, 1.5], None, 1),
        ([0.0, 1.0, 0.0, 1.0], 4, 2),  # what the times show, not what is stated
        ([0.0, 0.99999, 0.00001, 1.0], None, 2),
        ([0.0, 0.0, 0.0, 1.0], 3, 3),
        ([0.0, 0.0, 0.0, 0.0], None, 1),  # three-dimensional
        (None, 2, 2),
    ],
)
def test_multiband(tree, times, stated, multiband):
    tree.json(f"{RUN}.json", SliceTiming=times, MultibandAccelerationFactor=stated)
    assert only_run(tree).multiband == multiband


def test_sessions_tasks_and_runs_can_be_selected(tree):
    for session in ("ses-1", "ses-2"):
        tree.person("sub-02", session=session)
        for task, number in (("rest", "01"), ("rest", "2")):
            name = f"sub-02/{session}/func/sub-02_{session}_task-{task}_run-{number}_bold"
            tree.image(f"{name}.nii.gz")
            tree.json(f"{name}.json", RepetitionTime=2.0)

    def chosen(**options):
        return [run.prefix.removeprefix("sub-02_") for run in read_dataset(tree.root, **options).runnable]

    assert len(chosen()) == 7
    assert len(chosen(participants=["02"])) == 6
    assert chosen(participants=["sub-01"]) == ["sub-01_task-pain"]
    assert chosen(sessions=["2"], tasks=["pain"]) == ["ses-2_task-pain"]
    assert chosen(sessions=["ses-1"], runs=["1"]) == ["ses-1_task-rest_run-01"]
    assert chosen(tasks=["task-rest"], runs=["run-02"]) == ["ses-1_task-rest_run-2", "ses-2_task-rest_run-2"]
    assert [one.label for one in read_dataset(tree.root, runs=["1"]).participants] == ["sub-02"]


def test_field_maps_of_another_session_are_not_linked(tree):
    for session in ("ses-1", "ses-2"):
        tree.person("sub-02", session=session)
    person = read_dataset(tree.root).participant("sub-02")
    for run in person.runs:
        ((one, how),) = person.fieldmaps_of(run)
        assert one.session == run.session
        assert how == "B0FieldSource"
    assert len({one.identifier for one in person.fieldmaps}) == 2


def test_what_lies_about_is_tolerated(tree):
    write_text(tree / ".DS_Store", "x")
    write_text(tree / "sub-01/.DS_Store", "x")
    write_text(tree / "sub-01/func/.sub-01_task-pain_bold.json.swp", "x")
    write_text(tree / "notes.txt", "x")
    write_text(tree / "derivatives/sub-01/func/sub-01_task-x_bold.nii.gz", "x")
    write_text(tree / "sourcedata/sub-03/func/sub-03_task-x_bold.nii.gz", "x")
    (tree / "participants.tsv").write_bytes(b"\xef\xbb\xbfparticipant_id\tage\theight\r\nsub-01\tN/A\r\n\r\n")
    dataset = read_dataset(tree.root)
    assert dataset.findings == ()
    assert dataset.participants[0].attributes == {"age": "n/a", "height": "n/a"}


def test_a_phase_image_beside_the_magnitude_is_no_run(tree):
    tree.image("sub-01/func/sub-01_task-pain_part-phase_bold.nii.gz")
    assert [run.prefix for run in read_dataset(tree.root).runnable] == ["sub-01_task-pain"]


def test_salvaged_volumes_are_those_loaded(tree):
    path = tree / f"{RUN}.nii.gz"
    whole, _ = load_image(path)
    path.write_bytes(path.read_bytes()[:-100])
    run = only_run(tree)
    assert run.volumes == 11
    np.testing.assert_array_equal(load_bold(run), whole[..., :11])


def test_sixty_one_people(tree, monkeypatch):
    for number in range(2, 62):
        tree.person(f"sub-{number:02d}")
    read = json.loads
    parsed = []
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or read(text))
    dataset = read_dataset(tree.root, verify=False)
    assert len(dataset.participants) == 61
    assert len(dataset.runnable) == 61
    # each JSON once: the description, and of a person one BOLD, two recordings, two field maps
    assert len(parsed) == 1 + 61 * 5


def test_tables_of_all_systems(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"onset\tduration\ttrial_type\r\n1.5\t\tpain\r\n2\tNaN\r\n")
    assert read_tsv(path) == {
        "onset": ["1.5", "2"],
        "duration": ["n/a", "n/a"],
        "trial_type": ["pain", "n/a"],
    }
    for content, reason in ((b"", "is empty"), (b"a\ta\n", "twice"), (b"a\n1\t2\n", "line 2 has 2 cells")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            read_tsv(path)


def test_phase_images_belong_to_their_magnitudes(tree):
    plain = only_run(tree)
    assert plain.phase is None
    for path in list((tree / "sub-01/func").glob("*_bold.*")):
        path.rename(path.with_name(path.name.replace("_bold", "_part-mag_bold")))
    tree.image("sub-01/func/sub-01_task-pain_part-phase_bold.nii.gz")
    tree.image("sub-01/func/sub-01_task-pain_run-2_part-phase_bold.nii.gz")
    run = only_run(tree)
    assert run.phase == tree / "sub-01/func/sub-01_task-pain_part-phase_bold.nii.gz"
    assert len(run.physio) == 2


def test_a_person_has_all_recordings_and_a_run_its_own(tree):
    tree.person(task="rest")
    (person,) = read_dataset(tree.root, tasks=["rest"]).participants
    assert len(person.physio) == 4
    assert len(person.runs[0].physio) == 2


@pytest.mark.parametrize(
    ("key", "value", "seconds"),
    [
        ("AcquisitionTime", "13:29:10.250", 48_550.25),
        ("AcquisitionTime", "132910.25", 48_550.25),
        ("AcquisitionDateTime", "2024-03-01T00:00:02.5", 2.5),
        ("AcquisitionTime", "yesterday", None),
    ],
)
def test_time_of_day_of_the_first_volume(tree, key, value, seconds):
    tree.json(f"{RUN}.json", **{key: value})
    assert only_run(tree).acquisition_clock_s == seconds
