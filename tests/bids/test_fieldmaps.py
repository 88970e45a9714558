import pytest

from cospine.bids import read_dataset

FMAP = "sub-01/fmap/sub-01"
BOLD = "sub-01/func/sub-01_task-{}_bold"


def pair(tree, name, identifier=None, **changes):
    for direction, axis in (("AP", "j-"), ("PA", "j")):
        stem = f"{FMAP}_{name}dir-{direction}_epi"
        tree.image(f"{stem}.nii.gz", (6, 5, 4))
        tree.json(f"{stem}.json", PhaseEncodingDirection=axis, B0FieldIdentifier=identifier, **changes)


def gradient_echo(tree, name="", phase="phasediff", **changes):
    for suffix, echo in (("magnitude1", 0.005), ("magnitude2", 0.0075)):
        tree.image(f"{FMAP}_{name}{suffix}.nii.gz", (6, 5, 4))
        tree.json(f"{FMAP}_{name}{suffix}.json", EchoTime=echo)
    tree.image(f"{FMAP}_{name}{phase}.nii.gz", (6, 5, 4))
    tree.json(f"{FMAP}_{name}{phase}.json", **changes)


def bold(tree, task, **changes):
    stem = BOLD.format(task)
    tree.image(f"{stem}.nii.gz")
    tree.json(f"{stem}.json", RepetitionTime=2.0, **changes)


@pytest.fixture
def bare(tree):
    """The participant without field maps and without links."""
    for path in tree.root.glob("sub-01/fmap/*"):
        path.unlink()
    tree.json(f"{BOLD.format('pain')}.json", B0FieldSource=None)
    return tree


def links(tree):
    dataset = read_dataset(tree.root)
    (person,) = dataset.participants
    found = {run.task: [(one.identifier, one.kind, how) for one, how in person.fieldmaps_of(run)] for run in person.runs}
    return found, [one for one in dataset.findings if one.code.startswith("fieldmap")], person


def test_by_the_identifier_that_the_run_names(bare):
    pair(bare, "acq-a_", "one")
    pair(bare, "acq-b_", "two")
    bare.json(f"{BOLD.format('pain')}.json", B0FieldSource=["two"])
    found, findings, person = links(bare)
    assert found == {"pain": [("two", "pepolar", "B0FieldSource")]}
    assert [one.files[0] for one in findings] == [f"{FMAP}_acq-a_dir-AP_epi.nii.gz"]
    assert [path.name for path in person.fieldmaps[1].images] == [
        "sub-01_acq-b_dir-AP_epi.nii.gz",
        "sub-01_acq-b_dir-PA_epi.nii.gz",
    ]
    assert [one["PhaseEncodingDirection"] for one in person.fieldmaps[1].sidecars] == ["j-", "j"]


@pytest.mark.parametrize(
    "form",
    ["bids::{}.nii.gz", "bids:raw:{}.nii.gz", "{}.nii.gz", "/{}.nii.gz", "func/sub-01_task-pain_bold.nii.gz"],
)
def test_by_intended_for(bare, form):
    bold(bare, "motor")
    pair(bare, "acq-x_", IntendedFor=[form.format(BOLD.format("pain"))])
    found, findings, _ = links(bare)
    assert found == {"motor": [], "pain": [("pepolar", "pepolar", "IntendedFor")]}
    assert findings == []


def test_one_identifier_for_all_pairs_and_acq_the_task(bare):
    # as in the public motor dataset
    for task in ("motorL", "motorR"):
        bold(bare, task)
        pair(bare, f"acq-{task}_", "b0map")
    found, findings, _ = links(bare)
    assert found == {
        "motorL": [("b0mapmotorL", "pepolar", "acq- is the task")],
        "motorR": [("b0mapmotorR", "pepolar", "acq- is the task")],
        "pain": [],
    }
    assert findings == []
    bare.json(f"{BOLD.format('motorL')}.json", B0FieldSource="b0map")
    assert links(bare)[0]["motorL"] == [("b0mapmotorL", "pepolar", "B0FieldSource")]


def test_the_only_one_of_each_kind(bare):
    # as in the public pain dataset: a pair, and a phase difference named phase1 with the echo time of the second echo
    pair(bare, "", "b0map")
    gradient_echo(bare, "acq-GRE_", "phase1", EchoTime=0.0075, B0FieldIdentifier="GRE_fmap")
    found, findings, person = links(bare)
    assert found == {"pain": [("GREfmap", "phasediff", "the only one"), ("b0map", "pepolar", "the only one")]}
    assert findings == []
    assert person.fieldmaps[0].echo_times_s == (0.005, 0.0075)
    assert [path.name.split("_")[2] for path in person.fieldmaps[0].images] == [
        "phase1.nii.gz",
        "magnitude1.nii.gz",
        "magnitude2.nii.gz",
    ]


def test_the_only_one_is_not_that_of_another_task(bare):
    bold(bare, "motor")
    pair(bare, "acq-motor_")
    assert links(bare)[0]["pain"] == []


def test_two_pairs_without_any_link_are_not_guessed(bare):
    pair(bare, "run-1_")
    pair(bare, "run-2_")
    found, findings, _ = links(bare)
    assert found == {"pain": []}
    assert [one.code for one in findings] == ["fieldmap-unlinked"] * 2


def test_images_with_unlike_names_join_by_identifier(bare):
    for name, axis in (("acq-a_dir-AP", "i"), ("acq-b_dir-PA", "i-")):
        bare.image(f"{FMAP}_{name}_epi.nii.gz", (6, 5, 4))
        bare.json(f"{FMAP}_{name}_epi.json", PhaseEncodingDirection=axis, B0FieldIdentifier="x")
    _, findings, person = links(bare)
    assert findings == []
    assert [len(one.images) for one in person.fieldmaps] == [2]


def test_a_pair_of_two_axes_is_one(bare):
    pair(bare, "")
    for direction, axis in zip(("AP", "PA"), ("j", "i-"), strict=True):
        bare.json(f"{FMAP}_dir-{direction}_epi.json", PhaseEncodingDirection=axis)
    found, _, _ = links(bare)
    assert [kind for kind, *_ in found["pain"]] == ["pepolar"]


@pytest.mark.parametrize("axes", [("j", "j"), ("j", None)])
def test_a_pair_must_differ_in_phase_encoding(bare, axes):
    pair(bare, "")
    for direction, axis in zip(("AP", "PA"), axes, strict=True):
        bare.json(f"{FMAP}_dir-{direction}_epi.json", PhaseEncodingDirection=axis)
    found, findings, _ = links(bare)
    assert found == {"pain": []}
    assert [one.code for one in findings] == ["fieldmap-incomplete"]
    assert str(axes[0]) in findings[0].message


@pytest.mark.parametrize(
    ("phase", "changes", "times"),
    [
        ("phasediff", {"EchoTime1": 0.004, "EchoTime2": 0.006}, (0.004, 0.006)),
        ("phasediff", {}, (0.005, 0.0075)),  # from the magnitudes
        ("phase1", {"EchoTime1": 0.004, "EchoTime2": 0.006}, (0.004, 0.006)),
        ("phase1", {"EchoTime": 0.005}, None),  # truly the first phase, and no second
        ("phasediff", {"EchoTime1": 0.006, "EchoTime2": 0.004}, None),
    ],
)
def test_echo_times(bare, phase, changes, times):
    gradient_echo(bare, phase=phase, **changes)
    _, findings, person = links(bare)
    assert [one.echo_times_s for one in person.fieldmaps] == ([times] if times else [])
    assert [one.code for one in findings] == ([] if times else ["fieldmap-incomplete"])


def test_two_phases_and_a_ready_field(bare):
    gradient_echo(bare, "acq-a_", "phase1", EchoTime=0.005)
    bare.image(f"{FMAP}_acq-a_phase2.nii.gz", (6, 5, 4))
    bare.json(f"{FMAP}_acq-a_phase2.json", EchoTime=0.0075)
    bare.image(f"{FMAP}_acq-b_fieldmap.nii.gz", (6, 5, 4))
    bare.image(f"{FMAP}_acq-b_magnitude.nii.gz", (6, 5, 4))
    bare.json(f"{FMAP}_acq-b_fieldmap.json", Units="Hz")
    found, findings, person = links(bare)
    assert [(one.kind, len(one.images), one.echo_times_s) for one in person.fieldmaps] == [
        ("phases", 4, (0.005, 0.0075)),
        ("fieldmap", 2, None),
    ]
    assert [kind for _, kind, _ in found["pain"]] == ["phases", "fieldmap"]
    assert findings == []
