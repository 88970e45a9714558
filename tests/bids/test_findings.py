"""Every code of the table, made true in a dataset that had nothing wrong."""

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cospine.bids import SEVERITIES, Finding, load_bold, read_dataset, write_nifti, write_text
from cospine.bids.codes import READER
from cospine.errors import CoSpineError

RUN = "sub-01/func/sub-01_task-pain_bold"
T1W = "sub-01/anat/sub-01_T1w.nii.gz"
IMAGE, SIDECAR = f"{RUN}.nii.gz", f"{RUN}.json"
CARDIAC = "sub-01/func/sub-01_task-pain_recording-cardiac_physio"
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


@dataclass(frozen=True)
class Case:
    """One way to damage a dataset, and what must be said of it."""

    code: str
    damage: Callable
    files: tuple[str, ...]
    message: str  # a part of it
    runs: bool = True  # whether the run can still be processed
    participant: str | None = "sub-01"
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()


def sidecar(**changes):
    return lambda tree: tree.json(SIDECAR, **changes)


def image(**options):
    return lambda tree: tree.image(IMAGE, **options)


def text(relative, content):
    return lambda tree: write_text(tree / relative, content)


def remove(*relatives):
    return lambda tree: [(tree / relative).unlink() for relative in relatives]


def rename(old, new):
    return lambda tree: (tree / old).rename(tree / new)


def cut(keep_volumes):
    """Cut the stream inside the volume after those kept."""

    def damage(tree):
        raw = gzip.decompress((tree / IMAGE).read_bytes())
        size = 6 * 5 * 4 * 2
        short = gzip.compress(raw[: 352 + keep_volumes * size + 7], 0)
        (tree / IMAGE).write_bytes(short[:-8])

    return damage


def corrupt(relative):
    def damage(tree):
        content = bytearray((tree / relative).read_bytes())
        content[-8] ^= 0xFF  # the checksum in the trailer
        (tree / relative).write_bytes(content)

    return damage


def not_finite(tree):
    data = np.ones((6, 5, 4, 12), np.float32)
    data[0, 0, 0, :3] = np.nan
    tree.image(IMAGE, data=data)


def header(**fields):
    def damage(tree):
        original = nib.load(tree / IMAGE)
        changed = nib.Nifti1Image(np.asanyarray(original.dataobj), None, original.header)
        for key, value in fields.items():
            changed.header[key] = value
        nib.save(changed, tree / IMAGE)

    return damage


def placed(affine):
    return image(affine=np.asarray(affine, float))


def link(tree):
    (tree / IMAGE).unlink()
    (tree / IMAGE).symlink_to(tree / ".git/annex/objects/gone")


def phase1(tree):
    for relative in tree.root.glob("sub-01/fmap/*"):
        relative.unlink()
    for suffix, echo in (("magnitude1", 0.005), ("magnitude2", 0.0075), ("phase1", 0.0075)):
        tree.image(f"sub-01/fmap/sub-01_{suffix}.nii.gz", (6, 5, 4))
        tree.json(f"sub-01/fmap/sub-01_{suffix}.json", EchoTime=echo)


def unlinked(tree):
    tree.json(SIDECAR, B0FieldSource=None)
    for axis in ("AP", "PA"):
        tree.json(f"sub-01/fmap/sub-01_dir-{axis}_epi.json", IntendedFor="func/sub-01_task-other_bold.nii.gz")


def sform_moved(tree):
    header(sform_code=1, qform_code=1, srow_x=[2, 0, 0, 9])(tree)


EPI = tuple(f"sub-01/fmap/sub-01_dir-{axis}_epi.nii.gz" for axis in ("AP", "PA"))
MISSING = (("participants", ("02", "sub-01")),)
BROKEN_JSON = '{"RepetitionTime": 2.0,'
TILTED = nib.affines.from_matvec(nib.eulerangles.euler2mat(0, 0, np.deg2rad(8)) @ np.diag([2.0, 2.0, 4.0]))
FLIPPED = np.diag([-2.0, 2.0, 4.0, 1.0])

CASES = [
    Case("no-such-participant", lambda tree: None, (), "sub-02 was asked for", True, "sub-02", MISSING),
    Case("nothing-selected", lambda tree: None, (), "asked for", False, None, (("tasks", ("rest",)),)),
    Case("nothing-selected", lambda tree: None, (), "asked for", False, None, (("sessions", ("1",)),)),
    Case("nothing-selected", lambda tree: None, (), "asked for", False, None, (("runs", ("1",)),)),
    Case("no-bold", remove(IMAGE, SIDECAR), ("sub-01",), "no BOLD", False, None),
    Case("no-bold", lambda tree: tree.image("sub-02/anat/sub-02_T1w.nii.gz", (6, 6, 6)), ("sub-02",), "no BOLD", True, "sub-02"),
    Case(
        "image-missing",
        lambda tree: tree.json("sub-01/func/sub-01_task-two_bold.json", a=1),
        ("sub-01/func/sub-01_task-two_bold.json",),
        "not there",
    ),
    Case("content-missing", link, (IMAGE,), "not on this disk", False),
    Case("unreadable-image", lambda tree: (tree / IMAGE).write_bytes(b""), (IMAGE,), "is empty", False),
    Case("unreadable-image", text(IMAGE, "version https://git-lfs"), (IMAGE,), "NIfTI header", False),
    Case("unreadable-image", text(T1W, "x"), (T1W,), "NIfTI header"),
    Case("unreadable-image", text(EPI[0], "x"), (EPI[0],), "NIfTI header"),
    Case("corrupt-image", corrupt(IMAGE), (IMAGE,), "damaged", False),
    Case("corrupt-image", corrupt(T1W), (T1W,), "not used"),
    Case("corrupt-image", corrupt(EPI[1]), (EPI[1],), "not used"),
    Case("truncated-image", lambda tree: (tree / T1W).write_bytes((tree / T1W).read_bytes()[:-20]), (T1W,), "not used"),
    Case("truncated-image", cut(11), (IMAGE,), "11 whole volumes of 12"),
    Case("too-few-volumes", cut(9), (IMAGE,), "9 volumes; at least 10", False),
    Case("too-few-volumes", image(shape=(6, 5, 4, 9)), (IMAGE,), "9 volumes; at least 10", False),
    Case("not-4d", image(shape=(6, 5, 4)), (IMAGE,), "6 × 5 × 4", False),
    Case("not-4d", image(shape=(6, 5, 4, 1)), (IMAGE,), "6 × 5 × 4", False),
    Case("non-finite-voxels", not_finite, (IMAGE,), "3 values"),
    Case(
        "misnamed-compression",
        lambda tree: (tree / IMAGE).write_bytes(gzip.decompress((tree / IMAGE).read_bytes())),
        (IMAGE,),
        "the name says compressed",
    ),
    Case("misnamed-compression", rename(IMAGE, f"{RUN}.nii"), (f"{RUN}.nii",), "the name says not compressed"),
    Case("broken-affine", header(sform_code=1, qform_code=0, srow_x=[0, 0, 0, 0]), (IMAGE,), "singular", False),
    Case("broken-affine", header(sform_code=1, qform_code=0, srow_y=[0, np.nan, 0, 0]), (IMAGE,), "not finite", False),
    Case("affines-disagree", sform_moved, (IMAGE,), "9.0 mm"),
    Case("no-orientation", header(sform_code=0, qform_code=0), (IMAGE,), "left and right"),
    Case("oblique-affine", placed(TILTED), (IMAGE,), "8.0°"),
    Case("non-ras-affine", placed(FLIPPED), (IMAGE,), "LAS"),
    Case("non-ras-affine", placed(np.diag([2.0, 2, 4, 1])[[2, 0, 1, 3]]), (IMAGE,), "ASR"),
    Case("no-sidecar", remove(SIDECAR), (IMAGE,), "no JSON file", False),
    Case("invalid-json", text(SIDECAR, BROKEN_JSON), (SIDECAR,), "line 2", False),
    Case("invalid-json", text(SIDECAR, "[1]"), (SIDECAR,), "a list", False),
    Case("invalid-json", lambda tree: (tree / SIDECAR).write_bytes(b"\xff\xfe{"), (SIDECAR,), "decode", False),
    Case("invalid-json", text("task-pain_bold.json", BROKEN_JSON), ("task-pain_bold.json",), "line 2", False),
    Case("invalid-json", text(f"{CARDIAC}.json", BROKEN_JSON), (f"{CARDIAC}.json",), "line 2", False),
    Case("invalid-json", text("sub-01/fmap/sub-01_dir-AP_epi.json", "{"), ("sub-01/fmap/sub-01_dir-AP_epi.json",), "Expecting"),
    Case("missing-repetition-time", sidecar(RepetitionTime=None), (SIDECAR,), "the header claims 2 s", False),
    Case("missing-repetition-time", sidecar(RepetitionTime=None, VolumeTiming=[0, 2]), (SIDECAR,), "VolumeTiming", False),
    Case("bad-repetition-time", sidecar(RepetitionTime="2.0"), (SIDECAR,), "'2.0'", False),
    Case("bad-repetition-time", sidecar(RepetitionTime=2000), (SIDECAR,), "milliseconds", False),
    Case("bad-repetition-time", sidecar(RepetitionTime=0), (SIDECAR,), "no plausible", False),
    Case("repetition-time-differs", sidecar(RepetitionTime=2.03), (IMAGE,), "2.03 s in the sidecar, 2 s in the header"),
    Case("no-slice-timing", sidecar(SliceTiming=None), (SIDECAR,), "no SliceTiming"),
    Case("slice-timing-length", sidecar(SliceTiming=[0.0, 1.0, 0.5]), (SIDECAR,), "3 entries for 4 slices"),
    Case("slice-timing-beyond-tr", sidecar(SliceTiming=[0, 500, 1000, 1500]), (SIDECAR,), "milliseconds"),
    Case("slice-timing-beyond-tr", sidecar(SliceTiming=[0, 1, 0, 2.001]), (SIDECAR,), "reaches 2.001 s, TR is 2 s; one time"),
    Case("bad-slice-timing", sidecar(SliceTiming=[0, "a", 1, 1]), (SIDECAR,), "not a list of times"),
    Case("bad-slice-timing", sidecar(SliceTiming=[0, -0.5, 1, 1]), (SIDECAR,), "not a list of times"),
    Case("bad-slice-timing", sidecar(SliceTiming="interleaved"), (SIDECAR,), "not a list of times"),
    Case("bad-phase-encoding", sidecar(PhaseEncodingDirection="AP"), (SIDECAR,), "'AP'"),
    Case("bad-readout-time", sidecar(TotalReadoutTime=40.6), (SIDECAR,), "40.6"),
    Case("readout-time-computed", sidecar(TotalReadoutTime=None, EffectiveEchoSpacing=0.0005), (SIDECAR,), "0.002 s"),
    Case("no-readout-time", sidecar(TotalReadoutTime=None), (SIDECAR,), "TotalReadoutTime"),
    Case("task-name-differs", sidecar(TaskName="motor"), (SIDECAR,), "'motor'"),
    Case(
        "bad-events",
        text("sub-01/func/sub-01_task-pain_events.tsv", "time\n1\n"),
        ("sub-01/func/sub-01_task-pain_events.tsv",),
        "onset",
    ),
    Case(
        "bad-events",
        text("sub-01/func/sub-01_task-pain_events.tsv", "onset\tduration\nx\t1\n"),
        ("sub-01/func/sub-01_task-pain_events.tsv",),
        "could not convert",
    ),
    Case("no-events", remove("sub-01/func/sub-01_task-pain_events.tsv"), (IMAGE,), "no events"),
    Case(
        "physio-start-time",
        lambda tree: tree.json(f"{CARDIAC}.json", StartTime=49143700),
        (f"{CARDIAC}.tsv.gz",),
        "49143700, as a time of day in milliseconds",
    ),
    Case("physio-start-time", lambda tree: tree.json(f"{CARDIAC}.json", StartTime=49143.7), (f"{CARDIAC}.tsv.gz",), "in seconds"),
    Case("physio-sidecar", lambda tree: tree.json(f"{CARDIAC}.json", Columns=None), (f"{CARDIAC}.tsv.gz",), "Columns"),
    Case("no-physio", lambda tree: [path.unlink() for path in tree.root.glob("sub-01/func/*physio*")], (IMAGE,), "no recording"),
    Case("no-t1w", remove(T1W), (), "no T1w"),
    Case("no-fieldmap", lambda tree: [path.unlink() for path in tree.root.glob("sub-01/fmap/*")], (IMAGE,), "no field map"),
    Case("fieldmap-unlinked", unlinked, EPI, "no run names it"),
    Case("fieldmap-incomplete", remove(EPI[0]), EPI[1:], "no two images of opposite"),
    Case("phase-difference-named-phase1", phase1, ("sub-01/fmap/sub-01_phase1.nii.gz",), "0.005 and 0.0075 s"),
    Case(
        "duplicate-image",
        lambda tree: (tree / f"{RUN}.nii").write_bytes(gzip.decompress((tree / IMAGE).read_bytes())),
        (IMAGE, f"{RUN}.nii"),
        "is used",
    ),
    Case(
        "misplaced-file",
        lambda tree: tree.image("sub-01/func/sub-02_task-pain_bold.nii.gz"),
        ("sub-01/func/sub-02_task-pain_bold.nii.gz",),
        "does not belong",
    ),
    Case(
        "misplaced-file",
        lambda tree: tree.image("sub-01/func/sub-01_bold.nii.gz"),
        ("sub-01/func/sub-01_bold.nii.gz",),
        "no task-",
    ),
    Case("stranger", text("sub-01/func/IM_0001.IMA", "x"), ("sub-01/func/IM_0001.IMA",), "not named as BIDS"),
    Case("no-description", remove("dataset_description.json"), ("dataset_description.json",), "is absent", True, None),
    Case("no-description", text("dataset_description.json", "{"), ("dataset_description.json",), "cannot be read", True, None),
    Case("bad-participants", text("participants.tsv", "subject\nsub-01\n"), ("participants.tsv",), "participant_id", True, None),
    Case(
        "participant-not-there",
        text("participants.tsv", "participant_id\nsub-01\nsub-02\n"),
        ("participants.tsv",),
        "no folder",
        True,
        "sub-02",
    ),
    Case("participant-not-listed", text("participants.tsv", "participant_id\nsub-02\n"), ("participants.tsv",), "no row"),
]
# Not in the list: needs an empty dataset, or a folder that its owner may not read; tested apart.
APART = {"no-participant", "unreadable-folder"}


def test_nothing_is_found_in_a_complete_dataset(tree):
    dataset = read_dataset(tree.root)
    assert dataset.findings == ()
    assert [run.prefix for run in dataset.runnable] == ["sub-01_task-pain"]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.code}-{number}" for number, case in enumerate(CASES)])
def test_finding(tree, case):
    case.damage(tree)
    dataset = read_dataset(tree.root, **dict(case.options))
    found = [one for one in dataset.findings if one.code == case.code]
    assert len(found) == 1, dataset.findings
    (one,) = found
    assert one.severity == SEVERITIES[case.code]
    assert one.participant == case.participant
    assert one.files == case.files
    assert case.message in one.message
    assert one.remedy
    assert bool(dataset.runnable) is case.runs


def test_every_code_of_the_table_is_made_true():
    assert {case.code for case in CASES} | APART == set(READER)


def test_the_table_is_closed():
    with pytest.raises(ValueError, match="not in the table"):
        Finding("error", "made-up", None, (), "", "")


def test_a_dataset_without_participants(tmp_path):
    (tmp_path / "images").mkdir()
    dataset = read_dataset(tmp_path)
    assert [one.code for one in dataset.findings] == ["no-participant", "no-description"]
    assert dataset.runnable == ()


@pytest.mark.parametrize("make", [None, "file"])
def test_no_folder_is_fatal(tmp_path, make):
    root = tmp_path / "dataset"
    if make:
        root.write_text("")
    with pytest.raises(CoSpineError, match="no such folder" if make is None else "is not a folder") as caught:
        read_dataset(root)
    assert caught.value.where == str(root)
    assert caught.value.remedy


def test_a_folder_that_cannot_be_listed(tree, monkeypatch):
    tree.person("sub-02")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub-02/fmap"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = read_dataset(tree.root)
    (found,) = [one for one in dataset.findings if one.code == "unreadable-folder"]
    assert (found.participant, found.files) == ("sub-02", ("sub-02/fmap",))
    assert "Permission denied" in found.message
    assert len(dataset.runnable) == 2


def test_everything_is_listed_at_once_and_the_rest_runs(tree):
    for label in ("sub-02", "sub-03", "sub-04", "sub-05"):
        tree.person(label)
    (tree / "participants.tsv").unlink()
    (tree / "dataset_description.json").unlink()
    tree.json("sub-02/func/sub-02_task-pain_bold.json", RepetitionTime=None, SliceTiming=[0, 1])
    tree.image("sub-03/func/sub-03_task-pain_bold.nii.gz", (6, 5, 4))
    path = tree / "sub-04/func/sub-04_task-pain_bold.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    (tree / "sub-05/anat/sub-05_T1w.nii.gz").write_bytes(b"")
    dataset = read_dataset(tree.root)
    assert [(one.code, one.participant) for one in dataset.findings] == [
        ("missing-repetition-time", "sub-02"),
        ("not-4d", "sub-03"),
        ("unreadable-image", "sub-05"),
        ("no-description", None),
        ("slice-timing-length", "sub-02"),
        ("truncated-image", "sub-04"),
    ]
    assert [run.participant for run in dataset.runnable] == ["sub-01", "sub-04", "sub-05"]
    salvaged = dataset.participant("sub-04").runs[0]
    assert salvaged.volumes == 11 < salvaged.shape[3]
    assert dataset.participant("sub-05").t1w == ()
    assert dataset.participant("sub-02").findings == dataset.participant("sub-02").runs[0].findings


def test_without_verification_the_voxels_are_not_read(tree):
    cut(11)(tree)
    dataset = read_dataset(tree.root, verify=False)
    assert dataset.findings == ()
    assert dataset.runnable[0].volumes == 12


def test_raw_files_are_not_touched(tree):
    def state():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tree.root.rglob("*") if path.is_file()}

    before = state()
    read_dataset(tree.root)
    assert state() == before


KEYS = (
    "RepetitionTime", "SliceTiming", "SliceEncodingDirection", "PhaseEncodingDirection", "TotalReadoutTime", "TaskName",
    "EffectiveEchoSpacing", "MultibandAccelerationFactor", "B0FieldSource", "B0FieldIdentifier", "IntendedFor",
    "EchoTime", "EchoTime1", "EchoTime2", "StartTime", "Columns", "SamplingFrequency", "Name",
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["j", "pair"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1))
def test_no_value_in_a_sidecar_stops_the_reader(tree, content):
    for path in tree.root.rglob("*.json"):
        path.write_text(json.dumps(content))
    (run,) = read_dataset(tree.root, verify=False).participants[0].runs
    assert run.runnable == (0 < run.tr_s <= 60)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.integers(0, 347), st.integers(0, 255), min_size=1, max_size=4))
def test_no_byte_in_a_header_stops_the_reader(tree, changes):
    write_nifti(tree / IMAGE.replace(".gz", ""), np.ones((6, 5, 4, 12), np.int16), AFFINE, tr_s=2.0)
    (tree / IMAGE).unlink(missing_ok=True)
    path = tree / IMAGE.replace(".gz", "")
    content = bytearray(path.read_bytes())
    for place, value in changes.items():
        content[place] = value
    path.write_bytes(content)
    dataset = read_dataset(tree.root)
    for run in dataset.runnable:
        assert load_bold(run).shape == (*run.shape[:3], run.volumes)
