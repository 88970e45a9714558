"""Real scanners' DICOM: Siemens mosaics, XA30 enhanced, Philips; and the sidecars that others published of them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from scanner import clock, noise, rules, write_series

from cospine.bids import read_json
from cospine.cli.main import main
from cospine.physio.io import read_recordings

pytest.importorskip("dcm2niix")
pytestmark = pytest.mark.shared

MOSAIC = {"ep2d_Int": "int", "ep2d_Int_HF": "reversed", "cmrr_Int": "cmrr"}
SESSIONS: dict[str, list[dict[str, Any]]] = {
    "mosaic": [
        {"match": {"ProtocolName": name}, "to": "func/bold", "entities": {"task": "rest", "acq": acq}}
        for name, acq in MOSAIC.items()
    ],
    "xa30": [
        {
            "match": {"SeriesDescription": r"/^func-bold_task-(?P<task>\w+?)_run-(?P<run>\d+)/"},
            "to": "func/bold",
            "entities": {"task": "{task}", "run": "{run}"},
        },
        {"match": {"SeriesDescription": "gre_field_mapping", "Part": "magnitude"}, "to": "fmap/magnitude{echo}"},
        {"match": {"SeriesDescription": "gre_field_mapping", "Part": "phase"}, "to": "fmap/phasediff"},
    ],
    "philips": [{"match": {"SeriesDescription": "func_task-oneback*"}, "to": "func/bold", "entities": {"task": "oneback"}}],
}
REFERENCES = {
    "mosaic/Ref/4_ep2d_Int": "sub-mosaic/func/sub-mosaic_task-rest_acq-int_bold",
    "mosaic/Ref/5_ep2d_Int_HF": "sub-mosaic/func/sub-mosaic_task-rest_acq-reversed_bold",
    "mosaic/Ref/8_cmrr_Int": "sub-mosaic/func/sub-mosaic_task-rest_acq-cmrr_bold",
    "xa30/Ref/7_func-bold_task-fa_run-1": "sub-xa30/func/sub-xa30_task-fa_run-1_bold",
    "xa30/Ref/8_gre_field_mapping_e1": "sub-xa30/fmap/sub-xa30_magnitude1",
    "xa30/Ref/8_gre_field_mapping_e2": "sub-xa30/fmap/sub-xa30_magnitude2",
    "xa30/Ref/9_gre_field_mapping_e2_ph": "sub-xa30/fmap/sub-xa30_phasediff",
}
# what the analysis rests on
KEYS = (
    "RepetitionTime", "EchoTime", "EchoTime1", "EchoTime2", "FlipAngle", "SliceTiming", "PhaseEncodingDirection", "ShimSetting",
    "EffectiveEchoSpacing", "TotalReadoutTime", "MultibandAccelerationFactor", "SliceThickness", "ImageType", "SeriesNumber",
    "BandwidthPerPixelPhaseEncode", "PartialFourier", "ImageOrientationPatientDICOM", "SpacingBetweenSlices", "DwellTime",
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for name, series in SESSIONS.items():
        mapping = folder / f"{name}.yaml"
        mapping.write_text(yaml.safe_dump({"series": series}))
        source = shared / "data" / "dicom" / name
        assert main(["convert", str(source), str(folder / "bids"), "-p", name, "-m", str(mapping)]) == 0
    return folder / "bids"


def test_the_official_validator_finds_no_error(dataset: Path, official_errors: Callable[[Path], list]) -> None:
    assert official_errors(dataset) == []


@pytest.mark.parametrize(("reference", "made"), REFERENCES.items())
def test_sidecars_say_what_the_maintainers_say(shared: Path, dataset: Path, reference: str, made: str) -> None:
    wanted, got = read_json(shared / "data" / "dicom" / f"{reference}.json"), read_json(dataset / f"{made}.json")
    compared = [key for key in KEYS if key in wanted and not (key == "PartialFourier" and key not in got)]
    assert len(compared) >= 10
    for key in compared:
        if isinstance(wanted[key], list) and not isinstance(wanted[key][0], str):
            assert got[key] == pytest.approx(wanted[key], abs=1e-6), key
        else:
            assert got[key] == wanted[key], key
    assert got["AcquisitionTime"].startswith(wanted["AcquisitionTime"].replace(":5.", ":05."))


@pytest.mark.parametrize(("protocol", "acq"), MOSAIC.items())
def test_slice_times_are_those_in_the_scanner_s_own_header(shared: Path, dataset: Path, protocol: str, acq: str) -> None:
    """Mosaic slice times stand in a private element, in the order of the mosaic; a reversed one is stored upside down."""
    (folder,) = (shared / "data" / "dicom" / "mosaic").glob(f"{protocol}_?")
    first = pydicom.dcmread(sorted(folder.glob("*.dcm"))[-1], stop_before_pixels=True)
    times_ms = np.array(first[0x0019, 0x1029].value, dtype=float)
    got = np.array(read_json(dataset / f"sub-mosaic/func/sub-mosaic_task-rest_acq-{acq}_bold.json")["SliceTiming"]) * 1000
    if protocol.endswith("HF"):
        times_ms = times_ms[::-1]
    assert np.abs(got - times_ms).max() <= 2.51  # the clock of the header has steps of 2.5 ms


def test_nobody_is_named(shared: Path, dataset: Path) -> None:
    people = {b"XAtest", b"12343@", b"sliceOrder3", b"crlab", b"Jane_Doe"}
    for path in dataset.rglob("*"):
        if path.suffix == ".json" or path.name.endswith(".tsv"):
            content = path.read_bytes()
            assert not [name for name in people if name in content], path


def test_a_sign_that_philips_does_not_tell_is_not_invented(dataset: Path) -> None:
    sidecar = read_json(dataset / "sub-philips/func/sub-philips_task-oneback_bold.json")
    assert "PhaseEncodingDirection" not in sidecar
    assert sidecar["PhaseEncodingAxis"] == "j"


def physio_dicom(shared: Path) -> Path:
    return shared / "data" / "physio" / "bidsphysio" / "dcm2bids" / "samplePhysioCMRR.dcm"


def test_cmrr_dicom_is_placed_by_its_clock(shared: Path, tmp_path: Path) -> None:
    """The recording hidden in DICOM goes to the run that it covers, and begins where another tool has it begin."""
    recordings = read_recordings(physio_dicom(shared))
    cardiac = next(one for one in recordings if one.kind == "cardiac")
    assert cardiac.clock_s is not None
    begins = cardiac.clock_s + float(cardiac.volumes_s[0])
    source = tmp_path / "source"
    write_series(source, 1, "bold", noise((8, 8, 4, 12)), at=clock(begins), tr_s=1.5)
    shutil.copy(physio_dicom(shared), source / "physio.dcm")
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        yaml.safe_dump({"series": [{"match": {"SeriesDescription": "bold"}, "to": "func/bold", "entities": {"task": "rest"}}]})
    )
    assert main(["convert", str(source), str(tmp_path / "bids"), "-p", "01", "-m", str(mapping)]) == 0
    theirs = read_json(physio_dicom(shared).with_name("dcm_cardiac.json"))
    ours = read_json(tmp_path / "bids/sub-01/func/sub-01_task-rest_recording-cardiac_physio.json")
    assert ours["StartTime"] == pytest.approx(theirs["StartTime"], abs=0.01)
    assert ours["SamplingFrequency"] == pytest.approx(theirs["SamplingFrequency"], rel=0.01)


@pytest.mark.parametrize("log", ["bidsphysio/pmu2bids/sample_VE11C.puls", "bidsphysio/pmu2bids/sample_VE11C.resp"])
def test_real_logs_are_placed_by_the_scanner_s_clock(shared: Path, tmp_path: Path, log: str) -> None:
    """MDH time of a PMU; a run that began 5 s after the first sample has it at -5 s."""
    path = shared / "data" / "physio" / log
    (recording,) = (one for one in read_recordings(path) if one.kind in ("cardiac", "respiratory"))
    assert recording.clock_s is not None
    source = write_series(tmp_path / "source", 1, "bold", noise((8, 8, 4, 5)), at=clock(recording.clock_s + 5.0))[0].parent
    mapping = tmp_path / "m.yaml"
    mapping.write_text(yaml.safe_dump(rules()))
    assert main(["convert", str(source), str(tmp_path / "bids"), "-p", "01", "-m", str(mapping), "--physio", str(path)]) == 0
    stem = tmp_path / f"bids/sub-01/func/sub-01_task-rest_recording-{recording.kind}_physio"
    assert read_json(stem.with_suffix(".json"))["StartTime"] == pytest.approx(-5.0, abs=1e-5)
    assert np.array_equal(np.loadtxt(stem.with_suffix(".tsv.gz"), ndmin=2)[:, 0], recording.samples)
