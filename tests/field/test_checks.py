"""What the verification of a field map says, and which of several is chosen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cospine.field.checks import Check, check_set, choose, shim_distance

SHIM = [2012, -11612, -5732, 138, 205, 102, 200, 370]
OTHER = [2088, -11610, -5961, 210, -99, 126, -155, 168]
SHAPE = (128, 128, 70)
RUN: dict[str, Any] = {
    "PhaseEncodingDirection": "j",
    "TotalReadoutTime": 0.0406401,
    "ShimSetting": SHIM,
    "AcquisitionTime": "13:48:26.810000",
}


def affine(angle_deg: float = 0.0, axis: str = "x", shift_mm: float = 0.0) -> NDArray:
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler(axis, angle_deg, degrees=True).as_matrix() @ np.diag([-1.5, 1.5, 4.0])
    out[:3, 3] = -out[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + [0, shift_mm, 0]
    return out


def pair(**changes: Any) -> list[dict[str, Any]]:
    one = RUN | {"PhaseEncodingDirection": "j-", "AcquisitionTime": "13:46:56.810000"}
    other = RUN | {"AcquisitionTime": "13:47:26.810000"} | changes
    return [one, {key: value for key, value in other.items() if value is not None}]


def checked(sidecars: list[dict[str, Any]], affines: list[NDArray] | None = None, **changes: Any) -> dict[str, Check]:
    kind = changes.pop("kind", "pepolar")
    run = {key: value for key, value in (RUN | changes).items() if value is not None}
    found = check_set(kind, sidecars, affines or [affine()] * len(sidecars), [SHAPE] * len(sidecars), run, affine())
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_a_good_pair_passes_every_check() -> None:
    found = checked(pair())
    assert {name: one.passed for name, one in found.items()} == dict.fromkeys(
        ["phase encoding", "readout time", "shim", "same grid", "orientation", "time gap"], True
    )
    # 90 and 60 s before the run: the one farther away
    assert "1.5 min before" in found["time gap"].text
    assert "40.64 ms" in found["readout time"].text


@pytest.mark.parametrize(
    ("changes", "name", "passed", "said"),
    [
        ({"PhaseEncodingDirection": "j-"}, "phase encoding", False, "opposite"),
        ({"PhaseEncodingDirection": "i"}, "phase encoding", False, "opposite"),
        ({"PhaseEncodingDirection": None}, "phase encoding", None, "not stated"),
        ({"PhaseEncodingDirection": "AP"}, "phase encoding", None, "not stated"),
        ({"TotalReadoutTime": 0.05}, "readout time", False, "50.00 ms"),
        ({"TotalReadoutTime": None}, "readout time", None, "not stated"),
        ({"TotalReadoutTime": "0.04"}, "readout time", None, "not stated"),
        ({"ShimSetting": [*SHIM[:7], 375]}, "shim", False, "by 5 "),
        ({"AcquisitionTime": "13:10:00"}, "time gap", False, "38.4 min before"),
    ],
)
def test_each_fault_is_found_and_named(changes: dict[str, Any], name: str, passed: bool | None, said: str) -> None:
    found = checked(pair(**changes))
    assert found[name].passed is passed
    assert said in found[name].text
    # nothing else is blamed
    assert all(one.passed for other, one in found.items() if other != name)


def test_a_run_with_another_readout_is_told_but_not_blamed() -> None:
    found = checked(pair(), TotalReadoutTime=0.034)["readout time"]
    assert found.passed
    assert "34.00 ms" in found.text


def test_absent_shim_and_times_cannot_be_told() -> None:
    found = checked(pair(), ShimSetting=None, AcquisitionTime=None)
    assert found["shim"].passed is None
    assert found["time gap"].passed is None
    for broken in ("none", [1, "x"], [], [1.0, float("nan")]):
        assert checked(pair(), ShimSetting=broken)["shim"].passed is None


def test_phase_differences_have_no_polarity() -> None:
    gre = {"ShimSetting": OTHER, "AcquisitionTime": "13:59:29.81"}
    found = checked([gre, gre], kind="phasediff")
    assert "phase encoding" not in found
    assert found["shim"].passed is False
    # by hand: 76 + 2 + 229 + 72 + 304 + 24 + 355 + 202
    assert "1264" in found["shim"].text
    assert "11.1 min after" in found["time gap"].text


@pytest.mark.parametrize(("angle", "passed"), [(0.05, True), (0.2, False), (5.0, False), (-40.0, False)])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_orientation_is_an_angle(angle: float, axis: str, passed: bool) -> None:
    turned = affine(angle, axis)
    found = checked(pair(), [turned, turned])["orientation"]
    assert found.passed is passed
    assert passed or f"{abs(angle):.2f} deg" in found.text


@settings(max_examples=30, deadline=None)
@given(order=st.permutations([0, 1, 2]), flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3), angle=st.floats(0, 30))
def test_stored_order_and_sense_of_axes_are_no_turn(order: list[int], flips: tuple[float, ...], angle: float) -> None:
    stored = affine(angle, "y")
    stored[:3, :3] = stored[:3, order] * flips
    found = checked(pair(), [stored, stored])["orientation"]
    assert found.passed is (angle <= 0.1)
    assert angle <= 0.1 or f"{angle:.2f} deg" in found.text


def test_a_turned_image_of_a_pair_is_registered_with_a_warning() -> None:
    found = checked(pair(), [affine(), affine(3.0, "z")])
    assert found["same grid"].passed is False
    assert "3.0 deg" in found["same grid"].text
    assert "registered" in found["same grid"].text
    shifted = checked(pair(), [affine(), affine(shift_mm=2.5)])
    assert shifted["same grid"].passed is False
    assert "2.5 mm" in shifted["same grid"].text
    assert shifted["orientation"].passed


def test_other_matrix_is_another_grid() -> None:
    found = check_set("pepolar", pair(), [affine(), affine()], [SHAPE, (128, 128, 60)], RUN, affine())
    assert next(one for one in found if one.name == "same grid").passed is False


@pytest.mark.parametrize(
    ("run", "image", "said"),
    [
        ({"AcquisitionTime": "00:05:00"}, {"AcquisitionTime": "23:58:00.5"}, "7.0 min before"),
        ({"AcquisitionTime": "235800"}, {"AcquisitionTime": "000500.250000"}, "7.0 min after"),
        ({"AcquisitionTime": 121251.665}, {"AcquisitionTime": "12:11:19.757500"}, "1.5 min before"),
        ({"AcquisitionTime": 43971.665}, {"AcquisitionTime": "12:11:19.757500"}, "1.5 min before"),
        (
            {"AcquisitionDateTime": "2025-03-01T00:05:00", "AcquisitionTime": "00:05:00"},
            {"AcquisitionDateTime": "2025-02-28T23:58:00.000"},
            "7.0 min before",
        ),
        ({"AcquisitionDateTime": "20250301000500.5"}, {"AcquisitionTime": "23:58:00"}, "7.0 min before"),
        ({"AcquisitionDateTime": "2025-03-01T12:00:00"}, {"AcquisitionDateTime": "2025-03-02T12:00:00"}, "1440.0 min after"),
    ],
)
def test_times_in_every_dress(run: dict[str, Any], image: dict[str, Any], said: str) -> None:
    found = check_set("fieldmap", [image], [affine()], [SHAPE], run, affine())
    assert said in next(one for one in found if one.name == "time gap").text


@pytest.mark.parametrize("time", ["noon", "25:00:00", "", None, True, [12], "12:61:00"])
def test_times_that_are_none(time: Any) -> None:
    found = check_set("fieldmap", [{"AcquisitionTime": time}], [affine()], [SHAPE], RUN, affine())
    assert next(one for one in found if one.name == "time gap").passed is None


def test_shim_distance_by_hand() -> None:
    assert shim_distance({"ShimSetting": [1, 2, 3]}, {"ShimSetting": [1, 0, 6.5]}) == 5.5
    assert shim_distance({"ShimSetting": [1, 2, 3]}, {"ShimSetting": [1, 2]}) is None
    assert shim_distance({}, {"ShimSetting": [1, 2]}) is None


def test_a_set_must_be_whole() -> None:
    with pytest.raises(ValueError, match="affines"):
        check_set("pepolar", pair(), [affine()], [SHAPE, SHAPE], RUN, affine())


# --- choice ----------------------------------------------------------------------------------------------------------

PAIR = ("pepolar", pair())
FAR = ("phasediff", [{"ShimSetting": OTHER}])


def test_the_pair_goes_before_phase() -> None:
    assert choose([FAR, PAIR], RUN)[0] == 1
    assert choose([PAIR], RUN)[0] == 0
    assert choose([("pepolar", [{}, {}]), FAR], RUN)[0] == 0  # no shim known
    assert choose([PAIR, FAR], RUN, "phasediff") == (1, "asked for")
    assert choose([FAR, PAIR], RUN, "pepolar") == (1, "asked for")


def test_phase_goes_before_a_pair_whose_shim_is_far_off() -> None:
    run = RUN | {"ShimSetting": OTHER}
    index, reason = choose([PAIR, FAR], run)
    assert index == 1
    assert "1264" in reason
    near = [n + 90 for n in OTHER]  # 720 off: not half of 1264 and more
    assert choose([PAIR, ("phases", [{"ShimSetting": near}])], run)[0] == 0
    nearer = [n + 70 for n in OTHER]  # 560 off
    assert choose([PAIR, ("fieldmap", [{"ShimSetting": nearer}])], run)[0] == 1


def test_of_several_pairs_the_one_with_the_runs_shim() -> None:
    away = ("pepolar", [one | {"ShimSetting": OTHER} for one in pair()])
    assert choose([away, PAIR], RUN)[0] == 1
    assert choose([PAIR, PAIR], RUN)[0] == 0
    assert choose([away, ("pepolar", [{}, {}])], RUN)[0] == 0  # not all known: the first


@pytest.mark.parametrize("wanted", ["auto", "pepolar", "phasediff"])
def test_none_is_none_with_a_reason(wanted: Any) -> None:
    index, reason = choose([], RUN, wanted)
    assert index is None
    assert reason
    if wanted != "auto":
        assert choose([FAR if wanted == "pepolar" else PAIR], RUN, wanted)[0] is None


@pytest.mark.shared
def test_a_real_session_with_another_shim_in_its_pair_uses_the_gradient_echo(shared: Path) -> None:
    folder = shared / "data" / "head-neck" / "sub-01"
    side = {p.name.removeprefix("sub-01_")[:-5]: json.loads(p.read_text()) for p in folder.glob("*/*.json")}
    run = side["task-fa_bold"]
    sets = [("pepolar", [side["dir-AP_epi"], side["dir-PA_epi"]]), ("phasediff", [side["phasediff"], side["magnitude1"]])]
    index, reason = choose(sets, run)
    assert index == 1
    assert "65" in reason  # against 361 of the pair, both summed by hand
    assert "361" in reason
    found = {one.name: one for one in check_set("pepolar", sets[0][1], [affine()] * 2, [SHAPE] * 2, run, affine())}
    assert found["phase encoding"].passed
    assert found["shim"].passed is False
    assert "3.8 min after" in found["time gap"].text  # of the image farther away
