"""Times of day as scanners and converters write them."""

import pytest

from cospine.bids.clock import clock_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12:12:51.665", 43971.665),
        ("07:44:2.252500", 27842.2525),  # dcm2niix of 2019 pads neither minutes nor seconds
        ("7:4:2", 25442.0),
        ("121251.665", 43971.665),
        ("24:00:00", None),
        ("12:60:00", None),
        ("12:00", None),
        ("", None),
    ],
)
def test_times_of_day(text: str, seconds: float | None) -> None:
    found = clock_s(text)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-6))
