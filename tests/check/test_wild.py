"""Whatever sidecars, tables and manifests hold, the checks come to an end and say what they found."""

import json
from pathlib import Path

import pytest
from check.conftest import complete
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cospine.bids import CODES
from cospine.check.examine import examine
from cospine.check.repair import make_plan, patch_text
from cospine.check.report import as_records, page

KEYS = (
    "RepetitionTime", "SliceTiming", "PhaseEncodingDirection", "TotalReadoutTime", "EffectiveEchoSpacing", "TaskName",
    "TaskDescription", "MultibandAccelerationFactor", "B0FieldSource", "B0FieldIdentifier", "IntendedFor", "EchoTime",
    "AcquisitionTime", "AcquisitionDateTime", "ShimSetting", "ImageOrientationPatientDICOM", "SeriesNumber", "TxRefAmp", "SAR",
    "StartTime", "Duration", "Columns", "SamplingFrequency", "ClockTime", "ConversionSoftwareVersion", "ProtocolName",
    "DeviceSerialNumber", "InstitutionName", "ScanningSequence", "GeneratedBy", "DatasetDOI", "FlipAngle", "Name",
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["j", "j-", "10:5:0.5", "12:00:00.25", "24:61:99", "cardiac", "puls", "EP"])
)  # fmt: skip
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=2), inner, max_size=2))
QUIETLY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    """Two people whose images are lines of a manifest, for speed."""
    tree = complete(tmp_path_factory.mktemp("wild") / "bids")
    tree.manifest()
    return tree.root


def everything(root: Path) -> None:
    found = examine(root, validator=False)
    assert {one.code for one in found.findings} <= set(CODES)
    json.dumps(as_records(found.findings))
    assert page(found).endswith("</html>")
    patch_text(make_plan(found.scope), root)


@QUIETLY
@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1), st.integers(0, 3))
def test_no_value_in_a_sidecar_stops_the_checks(metadata, content, which):
    files = [*sorted(metadata.glob("sub-*/*/*.json"))[which::4], metadata / "dataset_description.json"]
    before = {path: path.read_bytes() for path in files}
    try:
        for path in files:
            path.write_text(json.dumps(json.loads(before[path]) | content))
        everything(metadata)
    finally:
        for path, text in before.items():
            path.write_bytes(text)


@QUIETLY
@given(
    st.sampled_from(["participants.tsv", "manifest.tsv", "README", "participants.json", "dataset_description.json",
                     "sub-01/func/sub-01_task-motorL_events.tsv", "sub-01/func/sub-01_task-motorL_bold.json"]),
    st.binary(max_size=60) | st.text(alphabet="0123456789.\t\n\rnaN/-e{}[]\":,paths_bytekonduri", max_size=80).map(str.encode),
)  # fmt: skip
def test_no_bytes_in_a_table_stop_the_checks(metadata, name, content):
    path = metadata / name
    before = path.read_bytes() if path.exists() else None
    try:
        path.write_bytes(content)
        everything(metadata)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


@QUIETLY
@given(
    st.lists(
        st.tuples(st.sampled_from(["onset", "duration", "trial_type", "x"]), st.lists(SCALARS.map(str), max_size=5)),
        min_size=1, max_size=4, unique_by=lambda pair: pair[0],
    )
)  # fmt: skip
def test_no_events_table_stops_the_checks(metadata, columns):
    path = metadata / "sub-02/func/sub-02_task-motorR_events.tsv"
    before = path.read_bytes()
    rows = max(len(values) for _, values in columns)
    lines = ["\t".join(name for name, _ in columns)]
    lines += ["\t".join(values[row] if row < len(values) else "n/a" for _, values in columns) for row in range(rows)]
    try:
        path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
        everything(metadata)
    finally:
        path.write_bytes(before)
