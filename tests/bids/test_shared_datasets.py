"""Real images and metadata that others made; skipped where they are not at hand."""

import nibabel as nib
import numpy as np
import pytest

from cospine.bids import load_bold, read_dataset

pytestmark = pytest.mark.shared


def codes(dataset, severity):
    return sorted(one.code for one in dataset.findings if one.severity == severity)


def test_head_neck(shared):
    dataset = read_dataset(shared / "data" / "head-neck")
    (person,), (run,) = dataset.participants, dataset.runnable
    assert codes(dataset, "error") == codes(dataset, "warning") == []
    assert (run.shape, run.tr_s, run.multiband, run.phase_encoding) == ((64, 64, 33, 20), 1.0, 3, "j-")
    assert run.total_readout_s == 0.0340202
    assert [(one.kind, how) for one, how in person.fieldmaps_of(run)] == [
        ("pepolar", "B0FieldSource"),
        ("phasediff", "the only one"),
    ]
    assert person.fieldmaps[1].echo_times_s == (0.01, 0.01246)
    np.testing.assert_allclose(load_bold(run), nib.load(run.bold).get_fdata(), rtol=1e-6)


def test_cord_bold(shared):
    dataset = read_dataset(shared / "data" / "cord-bold")
    (run,) = dataset.runnable
    assert codes(dataset, "error") == []
    assert codes(dataset, "warning") == ["no-slice-timing"]
    assert (run.shape, run.tr_s) == ((68, 68, 6, 30), 1.13)
    assert dataset.participants[0].t2w != ()


def test_brain_task(shared):
    dataset = read_dataset(shared / "data" / "brain-task")
    (run,) = dataset.runnable
    assert codes(dataset, "error") == []
    assert codes(dataset, "warning") == ["no-slice-timing", "repetition-time-differs"]
    assert run.tr_s == 2.0  # the header's 1.794 is wrong
    assert run.events is not None


@pytest.mark.parametrize("name", ["ds005884-meta", "ds005883-meta-part"])
def test_metadata_without_images(shared, name):
    dataset = read_dataset(shared / "data" / name)
    assert set(codes(dataset, "error")) == {"content-missing"}
    assert dataset.runnable == ()
    assert all(person.runs and not person.t1w and not person.fieldmaps for person in dataset.participants)
    assert all(person.attributes["age"] for person in dataset.participants)
