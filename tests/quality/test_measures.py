"""Measures: a closed table, and the same numbers as the page shows."""

import re

import numpy as np
import pytest

from cospine.quality.anatomy_verdicts import alignment_numbers
from cospine.quality.measures import MEASURES, measures_record
from cospine.quality.metrics import RegionTsnr
from cospine.quality.report import Number, RunReport, exact_of
from cospine.quality.verdicts import field_numbers, run_numbers


def headline_numbers() -> tuple[Number, ...]:
    rng = np.random.default_rng(1)
    fd_mm = np.concatenate([[np.nan], rng.gamma(2, 0.2, 99)])
    before = [RegionTsnr(name, 50, 31.0, value, 9.0, 20.0, 40.0, 60.0) for name, value in (("brain", 47.051), ("cord", 8.159))]
    after = [RegionTsnr(name, 50, 31.0, value, 9.0, 20.0, 40.0, 60.0) for name, value in (("brain", 54.388), ("cord", 9.777))]
    return (
        *run_numbers(fd_mm=fd_mm, cord_shift_mm=rng.normal(0, 0.3, (100, 12, 2)), tsnr_before=before, tsnr_after=after),
        *field_numbers(cord_mm=2.7314, cord_after_mm=0.1267, brain_mm=1.5593, similarity=(0.5399, 0.9866)),
        *field_numbers(cord_mm=2.7314),
        *alignment_numbers((3.9476, 3.8941), (0.8915, 0.3756), "T1w", (1.6604, 0.7651)),
    )


def test_what_the_page_shows_is_the_measure_rounded() -> None:
    for number in headline_numbers():
        shown = re.findall(r"\d+(?:\.\d+)?", f"{number.before} {number.value}")
        assert len(shown) == len(number.exact), number.label
        for text, exact in zip(shown, number.exact.values(), strict=True):
            decimals = len(text.partition(".")[2])
            # shown before and after in that order; the displacement that is left is named last
            assert abs(float(text) - exact) <= 0.5001 * 10**-decimals, (number.label, text, exact)


def test_every_measure_is_in_the_table() -> None:
    assert set(exact_of(headline_numbers())) <= set(MEASURES)
    for name, (region, meaning) in MEASURES.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert region in ("", "brain", "cord")
        assert meaning


def test_a_record_keeps_the_order_of_the_table_and_says_what_could_not_be_told() -> None:
    record = measures_record({"tsnr_cord_after": 8.1, "fd_mean_mm": float("nan")})
    assert list(record) == ["fd_mean_mm", "tsnr_cord_after"]
    assert record["fd_mean_mm"]["Value"] is None
    assert record["tsnr_cord_after"] == {"Value": 8.1, "Region": "cord", "Description": "median tSNR after correction"}


def test_a_measure_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(KeyError, match="fd_median_mm"):
        measures_record({"fd_median_mm": 1.0})


def test_a_run_s_measures_are_those_of_its_numbers_and_the_further_ones() -> None:
    numbers = (Number("Head, mean FD", "0.30", "mm", exact={"fd_mean_mm": 0.3}),)
    page = RunReport("sub-01_task-pain", "pain", numbers=numbers, further={"volumes": 40.0})
    assert page.measures == {"fd_mean_mm": 0.3, "volumes": 40.0}
