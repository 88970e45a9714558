"""Sidecars freed of what is no one's business or not true."""

from pathlib import Path
from typing import Any

import pytest

from cospine.convert.images import Converted
from cospine.convert.plan import Target
from cospine.convert.sidecars import check_pair, clock_text, direction_of, phase_difference, tidy

LAS, RAS = ("L", "A", "S"), ("R", "A", "S")
EPI = {"ScanningSequence": "EP", "RepetitionTime": 2.0, "PhaseEncodingDirection": "j", "TotalReadoutTime": 0.04}


def converted(suffix: str = "bold", datatype: str = "func", shape: tuple[int, ...] = (8, 8, 4, 9), **sidecar: Any) -> Converted:
    target = Target(datatype, suffix, {"sub": "01", **({"task": "pain"} if datatype == "func" else {})})
    return Converted(target, Path("x.nii"), sidecar, shape)


def test_persons_and_guesses_go_clock_and_task_stay() -> None:
    given = {
        "PatientName": "x",
        "PatientBirthDate": "1999",
        "SeriesInstanceUID": "1.2",
        "StudyID": "1",
        "BidsGuess": ["a"],
        "AcquisitionDateTime": "2026-01-31T10:00:00",
        "PatientPosition": "HFS",
        "AcquisitionTime": "12:09:5.225",
    }
    content, _ = tidy(converted(**EPI, **given, SliceTiming=[0, 1.0, 0.5, 1.5]), {"Instructions": "Rest."})
    assert content == {
        **EPI, "PatientPosition": "HFS", "AcquisitionTime": "12:09:05.225000", "SliceTiming": [0, 1.0, 0.5, 1.5],
        "TaskName": "pain", "Instructions": "Rest.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ([0, 0.5, 1.0], "3 entries for 4 slices"),
        ([0, 500, 1000, 1500], "TR is 2 s"),
        ([0, 0.5, -1, 1], "not all are times"),
        ([0, 0, 0, 0], "all slices have the same"),
    ],
)
def test_slice_times_that_cannot_be_true_go_and_it_is_said(times: list[float], why: str) -> None:
    content, notes = tidy(converted(**EPI, SliceTiming=times), {})
    assert "SliceTiming" not in content
    assert why in notes[0]


def test_multiband_is_told_by_the_slice_times() -> None:
    content, notes = tidy(converted(**EPI, SliceTiming=[0, 1.0, 0, 1.0]), {})
    assert content["MultibandAccelerationFactor"] == 2
    assert not notes
    _, notes = tidy(converted(**EPI, SliceTiming=[0, 1.0, 0, 1.0], MultibandAccelerationFactor=4), {})
    assert "repeat 2" in notes[0]


def test_readout_times_of_images_without_an_echo_train_go() -> None:
    content, notes = tidy(converted("T1w", "anat", (8, 8, 8), ScanningSequence="GR_IR", TotalReadoutTime=0.002), {})
    assert "TotalReadoutTime" not in content
    assert "no echo train" in notes[0]


def test_an_unknown_sign_of_phase_encoding_is_said_and_the_mapping_can_give_it() -> None:
    given = {"ScanningSequence": "GR", "RepetitionTime": 2.0, "PhaseEncodingAxis": "j", "SliceTiming": [0, 1.0, 0.5, 1.5]}
    _, notes = tidy(converted(**given), {})
    assert "the axis is j, its sign is not in the header" in notes[0]
    content, notes = tidy(converted(**given), {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.04})
    assert not notes
    assert content["PhaseEncodingDirection"] == "j-"


@pytest.mark.parametrize(
    ("encoding", "codes", "named"),
    [("j-", LAS, "AP"), ("j", LAS, "PA"), ("i", LAS, "RL"), ("i", RAS, "LR"), ("j", ("R", "P", "S"), "AP"), ("k-", RAS, "SI")],
)
def test_directions_have_their_names(encoding: str, codes: tuple[str, str, str], named: str) -> None:
    assert direction_of(encoding, codes) == named


def test_a_pair_named_the_wrong_way_round_is_found() -> None:
    pair = {
        "x_dir-AP_epi.nii.gz": ({"PhaseEncodingDirection": "j"}, LAS),
        "x_dir-PA_epi.nii.gz": ({"PhaseEncodingDirection": "j-"}, LAS),
    }
    notes = check_pair(pair, None)
    assert len(notes) == 2
    assert "is named AP, but its PhaseEncodingDirection j runs PA" in notes[0]
    same = {name: ({"PhaseEncodingDirection": "j-"}, LAS) for name in pair}
    assert any("have the same phase encoding" in note for note in check_pair(same, None))


def test_another_shim_is_found() -> None:
    ap, pa = ({"PhaseEncodingDirection": way, "ShimSetting": [1, 2]} for way in ("j-", "j"))
    pair = {"x_dir-AP_epi": (ap, LAS), "x_dir-PA_epi": (pa, LAS)}
    assert check_pair(pair, {"ShimSetting": [1, 2]}) == []
    assert "differs from that of the run" in check_pair(pair, {"ShimSetting": [1, 3]})[0]
    assert "shimmed again" in check_pair(pair | {"x_dir-PA_epi": ({**pa, "ShimSetting": [9]}, LAS)}, None)[0]


def test_a_phase_difference_gets_the_echo_times_of_its_magnitudes() -> None:
    sidecar: dict[str, Any] = {"EchoTime": 0.00738}
    assert phase_difference(sidecar, (0.00492, 0.00738)) is None
    assert (sidecar["EchoTime1"], sidecar["EchoTime2"]) == (0.00492, 0.00738)
    assert "not known" in str(phase_difference({}, (0.00492,)))
    assert "are not those" in str(phase_difference({"EchoTime1": 0.004, "EchoTime2": 0.006}, (0.00492, 0.00738)))


def test_clock_text() -> None:
    assert clock_text(43745.225) == "12:09:05.225000"
    assert clock_text(0) == "00:00:00.000000"
