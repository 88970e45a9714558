"""Memory is measured, given back, and let go where series lie on disk."""

import time
from pathlib import Path

import numpy as np
import psutil

from cospine.cli.main import main
from cospine.pipeline.resources import Peak, Scratch, give_back
from tests.pipeline.tiny_data import FLAGS, make_dataset, results

MEGABYTE = 1 << 20


def held() -> int:
    return psutil.Process().memory_info().rss


def test_peak_sees_what_was_held_for_a_moment() -> None:
    before = held()
    with Peak() as peak:
        block = np.ones(200 * MEGABYTE // 8)
        time.sleep(0.3)
        del block
    assert peak.bytes - before > 150 * MEGABYTE


def test_what_refers_to_itself_goes_back() -> None:
    class Circle:
        def __init__(self) -> None:
            self.block = np.ones(100 * MEGABYTE // 8)
            self.itself = self

    Circle()
    full = held()
    give_back()
    assert full - held() > 80 * MEGABYTE


def test_series_on_disk_leave_memory_and_keep_their_values(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", most_bytes=0)
    try:
        series = scratch.empty((64, 64, 64, 200))
        assert not list((tmp_path / "scratch").iterdir())  # without a name nothing stays
        before = held()
        for t in range(series.shape[3]):
            series[..., t] = t
        time.sleep(0.3)
        assert held() - before < series.nbytes / 4
        assert series.flags.f_contiguous
        np.testing.assert_array_equal(series[3, 4, 5], np.arange(200))
        np.testing.assert_array_equal(series.mean(axis=(0, 1, 2), dtype=np.float64), np.arange(200))
    finally:
        scratch.close()


def test_low_memory_makes_the_same_bytes(tmp_path: Path) -> None:
    raw = make_dataset(tmp_path / "bids", {"sub-01": 1})
    for out, flags in (("plain", []), ("low", ["--low-mem"])):
        assert main(["run", str(raw), str(tmp_path / out), "participant", *FLAGS, *flags]) == 0
    assert results(tmp_path / "plain") == results(tmp_path / "low")
