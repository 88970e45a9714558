"""Biopac files through bioread."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.physio.biopac import parse_acq

pytest.importorskip("bioread", reason="bioread is an extra (cospine[physio])")


@given(st.binary(max_size=400))
@settings(max_examples=40, deadline=3000)
def test_bytes_are_refused_with_a_reason(data: bytes):
    with pytest.raises(CoSpineError) as caught:
        parse_acq(data, "x.acq")
    assert caught.value.remedy


@pytest.mark.shared
def test_real_file_equals_the_table_of_bidsphysio(shared: Path):
    folder = shared / "data/physio/bidsphysio/acq2bids"
    if not folder.is_dir():
        pytest.skip("no recordings there")
    recordings = parse_acq((folder / "sample.acq").read_bytes(), "sample.acq")
    theirs = np.loadtxt(folder / "acq_physio.tsv")
    assert [one.kind for one in recordings] == ["cardiac", "respiratory", "other", "trigger"]
    assert [one.sensor for one in recordings] == ["ppg", "belt", "", ""]
    for column, one in enumerate(recordings[:3]):
        assert one.rate_hz == 500
        assert np.abs(one.samples - theirs[:, column]).max() < 6e-5  # four decimals in their table
        assert one.volumes_s[0] == pytest.approx(0.6)  # StartTime of their sidecar: -0.6 s
        assert one.clock_s is None
