"""What datasets in the wild do: each trouble made in a dataset that had none, found, explained, and survived by `cospine run`."""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from check.conftest import AFFINE, SHAPE, VOLUMES, Tree, clock_text, complete

from cospine.bids import write_text
from cospine.check.examine import examine
from cospine.check.people import said_missing
from cospine.cli.main import main

L, R = "sub-01/func/sub-01_task-motorL", "sub-01/func/sub-01_task-motorR"
PULSE, BREATH = "_recording-pulse_physio", "_recording-respiratory_physio"
PAIR = "sub-01/fmap/sub-01_acq-motorL_dir"


@dataclass(frozen=True)
class Trouble:
    """One trouble: how it comes about, the code that names it, words that explain it, and how many runs are left."""

    name: str
    spoil: Callable[[Tree], object]
    code: str
    words: str
    people: int = 2
    runs: int = 4
    participant: str | None = "sub-01"


def cut(tree):
    path = tree / f"{L}_bold.nii.gz"
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[: 352 + 11 * 2 * SHAPE[0] * SHAPE[1] * SHAPE[2] + 99], 1)[:-8])


def copy_sidecar(tree):
    shutil.copy(tree / f"{L}_bold.json", tree / f"{L.replace('sub-01', 'sub-02')}_bold.json")


def milliseconds(tree):
    for kind in ("pulse", "respiratory"):
        at = tree.clock_s(1, "motorL") - 20
        tree.recording(1, "motorL", kind, at, at, StartTime=round(1000 * at), ClockTime=None, Duration=90_000)


def another_run(tree):
    at, run = tree.clock_s(1, "motorL") - 1000, tree.clock_s(1, "motorL")
    tree.recording(1, "motorL", "pulse", at, run, StartTime=round(1000 * at), ClockTime=None)


def copied_recording(tree):
    shutil.copy(tree / f"{L}{PULSE}.tsv.gz", tree / f"{R}{PULSE}.tsv.gz")


def copied_start(tree):
    milliseconds(tree)
    shutil.copy(tree / f"{L}{PULSE}.json", tree / f"{L.replace('sub-01', 'sub-02')}{PULSE}.json")


def swapped(tree):
    for task, other in (("motorL", "motorR"), ("motorR", "motorL")):
        for kind in ("pulse", "respiratory"):
            at = tree.clock_s(1, other) - 20
            tree.recording(1, task, kind, at, at, StartTime=round(1000 * at), ClockTime=None)


def partial(tree):
    run = tree.clock_s(1, "motorL")
    tree.recording(1, "motorL", "pulse", run - 20, run, seconds=40)


def without(tree, *stems):
    for stem in stems:
        for ending in (".json", ".tsv.gz"):
            (tree / f"{stem}{ending}").unlink()


def comment(tree, text):
    write_text(tree / "participants.tsv", f"participant_id\tage\tcomments\nsub-01\t31\t{text}\nsub-02\t32\tn/a\n")


def unsaid(tree):
    without(tree, f"{L}{PULSE}", f"{L}{BREATH}")
    write_text(tree / "participants.tsv", "participant_id\tage\tcomments\nsub-01\t31\tn/a\nsub-02\t32\tn/a\n")


def phase1(tree):
    for name, echo in (("magnitude1", 0.00492), ("magnitude2", 0.00738), ("phase1", 0.00738)):
        tree.image(f"sub-01/fmap/sub-01_acq-gre_{name}.nii.gz", 60 + len(name) + int(1e5 * echo))
        tree.json(f"sub-01/fmap/sub-01_acq-gre_{name}.json", EchoTime=echo, IntendedFor=f"bids::{L}_bold.nii.gz")


def unlinked(tree, **changes):
    for task, stem in (("motorL", L), ("motorR", R)):
        tree.json(f"{stem}_bold.json", B0FieldSource=None)
        for direction in ("AP", "PA"):
            tree.json(f"sub-01/fmap/sub-01_acq-{task}_dir-{direction}_epi.json", IntendedFor=None, **changes)


def pair(**changes):
    return lambda tree: [tree.json(f"{PAIR}-{direction}_epi.json", **changes) for direction in ("AP", "PA")]


def early(tree):
    pair(AcquisitionTime=clock_text(tree.clock_s(1, "motorL") - 20 * 60))(tree)


def rotated(tree):
    angle = np.deg2rad(1.5)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tree.image(f"{PAIR}-PA_epi.nii.gz", 77, affine=turn @ AFFINE)


def identical_pairs(tree):
    for direction in ("AP", "PA"):
        shutil.copy(tree / f"{PAIR}-{direction}_epi.nii.gz", tree / f"{PAIR.replace('motorL', 'motorR')}-{direction}_epi.nii.gz")


def dialects(tree):
    tree.json(f"{L}_bold.json", ConversionSoftware="dcm2niix", ConversionSoftwareVersion="v1.0.20190902")
    tree.json(f"{R}_bold.json", ConversionSoftware="dcm2niix", ConversionSoftwareVersion="v1.0.20240202")


def windows(tree):
    path = tree / "participants.tsv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def claimed_twice(tree):
    shutil.copy(tree / f"{PAIR}-AP_epi.json", tree / f"{PAIR.replace('motorL', 'motorR')}-AP_epi.json")


def manifest_cut(tree):
    tree.manifest()
    path = tree / "manifest.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(
        f"{line.split(chr(9))[0]}\t{3 << 20}\tSHA256E-s{3 << 20}--ab.nii.gz" if f"{L}_bold" in line else line for line in lines
    ))  # fmt: skip


def manifest_large(tree):
    tree.manifest()
    path = tree / "manifest.tsv"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    path.write_text("\n".join(
        "\t".join([cells[0], str(2 * int(cells[1])), cells[2]] if f"{L}_bold" in cells[0] else cells) for cells in lines
    ))  # fmt: skip


def dangling(tree):
    path = tree / f"{L}_bold.nii.gz"
    path.unlink()
    path.symlink_to("../../.git/annex/objects/xx/yy/SHA256E-s123456--abcdef.nii.gz/SHA256E-s123456--abcdef.nii.gz")


TROUBLES = [
    Trouble("gzip stream ends early", cut, "truncated-image", "11 whole volumes of 14"),
    Trouble("sidecar of another person", copy_sidecar, "sidecar-copied", "sub-01, sub-02", participant=None),
    Trouble("recording in ms since midnight", milliseconds, "physio-start-time", "milliseconds"),
    Trouble("recording of another run under this name", another_run, "physio-elsewhere", "covers nothing"),
    Trouble("recording copied under another name", copied_recording, "recording-copied", "byte for byte"),
    Trouble("sidecar of another person's recording", copied_start, "sidecar-copied", "same millisecond", participant=None),
    Trouble("recordings of two runs swapped", swapped, "physio-swapped", "made during sub-01_task-motorR"),
    Trouble("recording covers a part", partial, "physio-partial", "53 %"),
    Trouble("one channel missing", lambda tree: without(tree, f"{L}{BREATH}"), "physio-channel-missing", "none of breathing"),
    Trouble("missing, and the table does not say so", unsaid, "comment-contradicts", "does not say that it is missing"),
    Trouble(
        "there, and the table says it is not",
        lambda tree: comment(tree, "no motor_L physio"),
        "comment-contradicts",
        "no motor_L",
    ),
    Trouble("phase difference named phase1", phase1, "phase-difference-named-phase1", "used as phasediff"),
    Trouble("pair without IntendedFor", unlinked, "fieldmap-not-stated", "acq- is the task"),
    Trouble("one B0FieldIdentifier for all", lambda tree: unlinked(tree, B0FieldIdentifier="b0"), "one-b0-identifier", "'b0'"),
    Trouble("pair long before its run", early, "fieldmap-gap", "20.0 min before"),
    Trouble("PA rotated against AP", rotated, "fieldmap-rotated", "1.5 deg"),
    Trouble("two pairs with the same images", identical_pairs, "image-copied", "byte for byte"),
    Trouble("two images, one series", claimed_twice, "series-claimed-twice", "series 6"),
    Trouble(
        "pair read out differently",
        lambda tree: tree.json(f"{PAIR}-AP_epi.json", TotalReadoutTime=0.05),
        "fieldmap-readout",
        "50.00 ms",
    ),
    Trouble(
        "pair not opposed",
        lambda tree: tree.json(f"{PAIR}-AP_epi.json", PhaseEncodingDirection="i"),
        "fieldmap-polarity",
        "i and j",
    ),
    Trouble("pair encoded alike", pair(PhaseEncodingDirection="j"), "fieldmap-incomplete", "no two images"),
    Trouble("pair under another shim", pair(ShimSetting=[1, 2, 3, 4, 5, 6, 7, 9]), "fieldmap-shim", "not the run's"),
    Trouble(
        "shim adjusted between runs", lambda tree: tree.json(f"{R}_bold.json", ShimSetting=[1] * 8), "shim-readjusted", "motorR"
    ),
    Trouble(
        "readout time on a T1w",
        lambda tree: tree.json("sub-01/anat/sub-01_T1w.json", TotalReadoutTime=0.0019),
        "readout-on-non-epi",
        "0.0019",
    ),
    Trouble(
        "multiband factor 0",
        lambda tree: tree.json("sub-01/anat/sub-01_T1w.json", MultibandAccelerationFactor=0),
        "impossible-value",
        "MultibandAccelerationFactor 0",
    ),
    Trouble("no slice times", lambda tree: tree.json(f"{L}_bold.json", SliceTiming=None), "no-slice-timing", "one time a volume"),
    Trouble("no slice times on pairs", lambda tree: None, "fieldmap-slice-timing", "without SliceTiming", participant=None),
    Trouble(
        "multiband factor contradicts slice times",
        lambda tree: tree.json(f"{L}_bold.json", MultibandAccelerationFactor=4),
        "multiband-differs",
        "1 slices at a time",
    ),
    Trouble(
        "multiband factor not stated",
        lambda tree: tree.json(f"{L}_bold.json", SliceTiming=[0.0, 0.5, 1.0, 1.5, 2.0] * 2),
        "multiband-inferred",
        "2 slices at a time",
        participant=None,
    ),
    Trouble("TaskName disagrees", lambda tree: tree.json(f"{L}_bold.json", TaskName="motor"), "task-name-differs", "'motor'"),
    Trouble(
        "TaskName of a recording disagrees",
        lambda tree: tree.json(f"{L}{PULSE}.json", TaskName="motor"),
        "task-name-differs",
        "recordings",
    ),
    Trouble(
        "TaskDescription of another task",
        lambda tree: tree.json(f"{L}_bold.json", TaskDescription="Thermal pain and rating"),
        "task-description-differs",
        "Thermal pain",
        participant=None,
    ),
    Trouble("several versions of dcm2niix", dialects, "dialects", "2 versions", participant=None),
    Trouble(
        "time without leading zeros",
        lambda tree: tree.json(f"{L}_bold.json", AcquisitionTime="10:5:0.123000"),
        "clock-spelling",
        "10:5:0.123000",
        participant=None,
    ),
    Trouble("CRLF", windows, "crlf", "Windows", participant=None),
    Trouble("N/A", lambda tree: comment(tree, "N/A"), "not-available", "N/A", participant=None),
    Trouble(".DS_Store", lambda tree: write_text(tree / "sub-01/.DS_Store", "x"), "litter", "1 files", participant=None),
    Trouble(
        ".IMA",
        lambda tree: write_text(tree / f"{L}_dicom001_anonymized.IMA", "x"),
        "stranger",
        "1 not named as BIDS",
    ),
    Trouble(
        "README counts other people",
        lambda tree: write_text(tree / "README", "- **Subjects:** 39\n"),
        "readme-contradicts",
        "39 participants",
        participant=None,
    ),
    Trouble(
        "README names files that are not there",
        lambda tree: write_text(tree / "README", "├── sub-01_dir-AP_epi.nii.gz\n"),
        "readme-contradicts",
        "sub-01_dir-AP_epi.nii.gz",
        participant=None,
    ),
    Trouble(
        "events after the end",
        lambda tree: write_text(tree / f"{L}_events.tsv", "onset\tduration\n3\t8\n60\t8\n"),
        "events-beyond-run",
        "1 of 2 events",
    ),
    Trouble(
        "deviates from the protocol",
        lambda tree: tree.json(f"{L}_bold.json", RepetitionTime=2.7),
        "protocol-deviation",
        "2.7 instead of 2.68",
    ),
    Trouble(
        "one person unlike the others",
        lambda tree: tree.json(f"{L}_bold.json", FlipAngle=70),
        "parameter-differs",
        "FlipAngle 70",
        people=5,
        runs=10,
    ),
    Trouble(
        "series of another name",
        lambda tree: tree.json(f"{L}_bold.json", ProtocolName="motor_2"),
        "series-name-differs",
        "motor_2",
        people=5,
        runs=10,
        participant=None,
    ),
    Trouble("no content, cut transfer", manifest_cut, "cut-transfer", "exactly 3 MiB", people=5, runs=0),
    Trouble("no content, size out of line", manifest_large, "size-out-of-line", "200 %", people=5, runs=0),
    Trouble("dangling annex link", dangling, "content-missing", "not on this disk", runs=3),
]


@pytest.fixture
def spoiled(tmp_path):
    def make(trouble):
        tree = complete(tmp_path / "bids", trouble.people)
        trouble.spoil(tree)
        return tree

    return make


@pytest.mark.parametrize("trouble", TROUBLES, ids=[one.name for one in TROUBLES])
def test_found_explained_and_survived(trouble, spoiled, tmp_path, capsys):
    tree = spoiled(trouble)
    found = [one for one in examine(tree.root, validator=False).findings if one.code == trouble.code]
    assert found, trouble.code
    assert any(trouble.words in one.message and one.participant == trouble.participant and one.remedy for one in found), found
    # the run plans all that is left
    status = main(["run", str(tree.root), str(tmp_path / "out"), "participant", "--level", "minimal", "--dry-run"])
    planned = [line for line in capsys.readouterr().out.splitlines() if "volumes" in line]
    assert len(planned) == trouble.runs
    assert status == (2 if trouble.runs == 0 else 1 if trouble.runs < 2 * trouble.people else 0)


def test_nothing_is_wrong_with_a_complete_dataset(tree):
    found = [one for one in examine(tree.root, validator=False).findings if one.severity != "info"]
    assert found == []


@pytest.mark.parametrize("trouble", [one for one in TROUBLES if one.spoil in (cut, swapped)], ids=["cut", "swapped"])
def test_run_survives_the_physical_ones(trouble, spoiled, tmp_path):
    tree = spoiled(trouble)
    if trouble.spoil is cut:
        flags = ["--level", "minimal", "--field", "none"]
    else:
        flags = ["--level", "full", "--field", "none", "--ignore", "anatomy", "--pnm-orders", "1", "1", "0", "0"]
    out = tmp_path / "out"
    assert main(["run", str(tree.root), str(out), "participant", "--participant-label", "01", "--task", "motorL", *flags]) == 0
    log = (out / "logs" / "sub-01.log").read_text()
    page = (out / "sub-01.html").read_text()
    if trouble.spoil is cut:
        table = (out / f"{L}_desc-headmotion_timeseries.tsv").read_text().splitlines()
        assert len(table) == 1 + 11 < 1 + VOLUMES
        assert "11 whole volumes of 14" in page
    else:
        assert "taken from sub-01_task-motorR_recording-pulse_physio.tsv.gz" in log


def test_raw_data_are_not_touched(tree):
    before = {path: path.read_bytes() for path in tree.root.rglob("*") if path.is_file()}
    examine(tree.root, validator=False)
    assert {path: path.read_bytes() for path in tree.root.rglob("*") if path.is_file()} == before


def test_a_clone_without_any_content_is_checked_as_far_as_that_goes(tree):
    for number, path in enumerate(sorted(tree.root.rglob("*.gz"))):
        key = f"SHA256E-s{2_000_000 + number}--{number:064x}.nii.gz"
        path.unlink()
        path.symlink_to(f"../../.git/annex/objects/aa/bb/{key}/{key}")
    copied = "SHA256E-s7000000--abc.nii.gz"
    for task in ("motorL", "motorR"):
        path = tree / f"sub-01/fmap/sub-01_acq-{task}_dir-AP_epi.nii.gz"
        path.unlink()
        path.symlink_to(f"../../.git/annex/objects/aa/bb/{copied}/{copied}")
    found = examine(tree.root)
    assert not found.failed
    assert {one.code for one in found.findings if one.severity == "warning"} == {"image-copied"}
    assert {"content-elsewhere", "validator-absent"} <= {one.code for one in found.findings}


def test_a_pointer_in_place_of_content_is_no_image(tree):
    write_text(tree / f"{L}_bold.nii.gz", "/annex/objects/SHA256E-s123456--abcdef.nii.gz")
    found = [one for one in examine(tree.root, validator=False).findings if one.severity == "error"]
    assert [(one.code, one.files) for one in found] == [("content-missing", (f"{L}_bold.nii.gz",))]


def test_what_rests_on_a_copied_sidecar_says_so(tree):
    copy_sidecar(tree)
    for kind in ("pulse", "respiratory"):
        at = tree.clock_s(2, "motorL") - 20
        tree.recording(2, "motorL", kind, at, at, StartTime=round(1000 * at), ClockTime=None)
    found = [one for one in examine(tree.root, validator=False).findings if one.participant == "sub-02"]
    elsewhere = [one for one in found if one.code == "physio-elsewhere"]
    assert len(elsewhere) == 2
    doubtful = [one for one in found if one.code.startswith(("physio-else", "fieldmap-shim", "fieldmap-gap"))]
    assert all("sub-02_task-motorL_bold.json, whose content another image has too" in one.message for one in doubtful)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("no motor_L physio", {"motorL": {"cardiac", "respiratory"}, "motorR": set()}),
        ("no pulse", {"motorL": {"cardiac"}, "motorR": {"cardiac"}}),
        ("motorR: resp missing", {"motorL": set(), "motorR": {"respiratory"}}),
        ("breathing not recorded", {"motorL": {"respiratory"}, "motorR": {"respiratory"}}),
        ("pulse signal not good", {"motorL": set(), "motorR": set()}),
        ("left-handed", {"motorL": set(), "motorR": set()}),
        ("pulse failed", {"motorL": {"cardiac"}, "motorR": {"cardiac"}}),
        ("only resp", {"motorL": {"cardiac"}, "motorR": {"cardiac"}}),
        ("only pulse missing", {"motorL": {"cardiac"}, "motorR": {"cardiac"}}),
        ("no history of cardiac disease", {"motorL": set(), "motorR": set()}),
    ],
)
def test_comments_are_read_as_people_write_them(text, missing):
    tasks = ["motorL", "motorR"]
    assert {task: set(said_missing({"comments": text}, task, tasks)) for task in tasks} == missing


def test_what_rests_on_the_sidecar_of_another_image_of_the_person_says_so(tree):
    claimed_twice(tree)
    rotated(tree)
    found = [one for one in examine(tree.root, validator=False).findings if one.code == "fieldmap-rotated"]
    assert len(found) == 1
    assert "whose content another image has too" in found[0].message


def test_sidecars_that_nobody_needs_are_not_clean_when_they_are_broken(tree):
    (tree / "sub-01/anat/sub-01_T1w.json").write_text("{bad")
    (tree / "participants.json").write_text("[1, 2")
    found = {one.files[0]: one for one in examine(tree.root, validator=False).findings if one.code == "invalid-json"}
    assert set(found) == {"sub-01/anat/sub-01_T1w.json", "participants.json"}
    assert found["sub-01/anat/sub-01_T1w.json"].participant == "sub-01"


def test_a_dataset_without_participants_table_is_said_to_have_none(tree):
    (tree / "participants.tsv").unlink()
    codes = [one.code for one in examine(tree.root, validator=False).findings]
    assert codes.count("no-participants-table") == 1
