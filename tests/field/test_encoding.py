"""Phase encoding as sidecars state it, and what a field does to an image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.field.encoding import Encoding


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("i", 0, 1), ("i-", 0, -1), ("j", 1, 1), ("j-", 1, -1), ("k", 2, 1), ("k-", 2, -1)]
)
def test_the_six_directions(direction: str, axis: int, sign: int) -> None:
    found = Encoding.parse(direction, 0.0406401)
    assert (found.axis, found.sign, found.readout_s) == (axis, sign, 0.0406401)
    assert found.direction == direction
    # 44 Hz are 1.79 voxels, toward the higher index for a plus
    moved = found.displacement(np.full((3, 4, 5), 44.0))
    np.testing.assert_allclose(moved, sign * 1.788164, rtol=1e-6)
    assert moved.dtype == np.float32


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_jacobian_of_a_ramp_and_of_a_parabola(axis: int, sign: str) -> None:
    """A field of 5 Hz a voxel stretches by 1 + 5 x readout; only the slope along the axis counts."""
    encoding = Encoding.parse("ijk"[axis] + sign, 0.04)
    factor = -0.04 if sign else 0.04
    index = np.indices((6, 7, 8))
    other = 11 * index[(axis + 1) % 3] - 3 * index[(axis + 2) % 3] ** 2
    np.testing.assert_allclose(encoding.jacobian(5 * index[axis] + other), 1 + 5 * factor, atol=1e-5)
    inside = [slice(None)] * 3
    inside[axis] = slice(1, -1)
    parabola = encoding.jacobian(index[axis] ** 2 + other)[tuple(inside)]
    np.testing.assert_allclose(parabola, (1 + 2 * factor * index[axis])[tuple(inside)], atol=1e-5)


@pytest.mark.parametrize(
    ("direction", "readout", "what"),
    [
        (None, 0.04, "phase encoding is not stated"),
        ("AP", 0.04, "'AP'"),
        ("+j", 0.04, "no direction"),
        ("j--", 0.04, "no direction"),
        ("-", 0.04, "no direction"),
        ("", 0.04, "no direction"),
        ("ij", 0.04, "no direction"),
        (["j"], 0.04, "no direction"),
        ("j", None, "readout time is not stated"),
        ("j", 0.0, "no time in seconds"),
        ("j", -0.04, "no time in seconds"),
        ("j", 40.6, "40.6"),
        ("j", "0.04", "no time in seconds"),
        ("j", True, "no time in seconds"),
        ("j", float("nan"), "no time in seconds"),
    ],
)
def test_what_no_image_can_be_corrected_with(direction: object, readout: object, what: str) -> None:
    with pytest.raises(CoSpineError) as caught:
        Encoding.parse(direction, readout, "sub-01_dir-AP_epi.json")
    assert what in caught.value.what
    assert caught.value.where == "sub-01_dir-AP_epi.json"
    assert "sidecar" in caught.value.remedy


WILD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)


@given(st.text("ijk-+ ", max_size=3) | WILD, st.floats() | WILD)
def test_any_sidecar_is_read_or_refused(direction: object, readout: object) -> None:
    try:
        found = Encoding.parse(direction, readout)
    except CoSpineError:
        return
    assert found.direction == direction
    assert found.readout_s == readout
    assert 0 < found.readout_s < 1
    assert Encoding.parse(found.direction, found.readout_s) == found
