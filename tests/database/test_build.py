"""What a catalogue holds, and what it says of what it could not read."""

import hashlib
import os
from pathlib import Path
from typing import Any

import catalogue_data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cospine.bids import write_json, write_nifti, write_text
from cospine.database import Catalogue, open_catalogue
from cospine.database.build import Built, Sources, build, find_sources
from cospine.database.schema import TABLES
from cospine.errors import CoSpineError
from cospine.quality.measures import MEASURES


def built(folder: Path, *folders: Path) -> Built:
    sources, errors = find_sources(folders)
    assert errors == []
    return build(sources, folder / "catalogue")


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_catalogue(folder / "catalogue") as found:
        return found.answer(sql).rows


def bytes_of(folder: Path) -> dict[str, str]:
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(folder.iterdir())}


def test_people_with_units_and_types(catalogue: Catalogue) -> None:
    rows = catalogue.answer("SELECT dataset, participant, age_years, sex, listed, has_folder FROM participants").rows
    assert rows == [("raw", "sub-01", 20.0, "F", True, True), ("raw", "sub-02", 21.0, "M", True, True)]


def test_acquisitions_of_a_tree_without_images(catalogue: Catalogue) -> None:
    sql = """SELECT file, state, size_bytes, repetition_time_s, echo_time_s, acquisition_clock_s, shim_setting, volumes,
             sidecar ->> '$.TaskName' FROM acquisitions WHERE suffix = 'bold' AND participant = 'sub-02'"""
    (row,) = catalogue.answer(sql).rows
    name = "sub-02/func/sub-02_task-pain_bold.nii.gz"
    assert row == (name, "listed", catalogue_data.SIZE, 2.68, 0.027, pytest.approx(27842.25), [1.0, -2.0, 3.5], None, "pain")
    sql = "SELECT datatype, direction, acquisition, phase_encoding FROM acquisitions WHERE suffix = 'epi' LIMIT 1"
    assert catalogue.answer(sql).rows == [("fmap", "AP", "pain", "j-")]


def test_runs_events_and_recordings(catalogue: Catalogue) -> None:
    rows = catalogue.answer("SELECT prefix, task, events, recordings, processed FROM runs").rows
    assert rows == [(f"sub-0{n}_task-pain", "pain", 2, 1, 1) for n in (1, 2)]
    sql = "SELECT row, onset_s, duration_s, trial_type, others ->> '$.UpR' FROM events WHERE participant = 'sub-01'"
    assert catalogue.answer(sql).rows == [(1, 10.1, 4.0, "pain", "6.5"), (2, 49.2, 4.0, None, None)]
    sql = "SELECT recording, sampling_rate_hz, start_time_as_stored, columns, size_bytes FROM recordings LIMIT 1"
    assert catalogue.answer(sql).rows == [("cardiac", 400.0, 27.5e6, ["cardiac"], 300000)]


def test_every_measure_of_every_run(catalogue: Catalogue) -> None:
    wide = catalogue.answer("SELECT * FROM quality ORDER BY prefix")
    assert set(wide.columns) >= {name for name in MEASURES if "anatomy" not in name} | {"cord_anatomy_confidence_median"}
    second = dict(zip(wide.columns, wide.rows[1], strict=True))
    assert second["fd_mean_mm"] == 2 + list(MEASURES).index("fd_mean_mm") / 100
    assert second["task_noise_r2_median"] is None  # sought, and could not be told
    assert second["cord_anatomy_confidence_median"] == 0.9
    long = catalogue.answer("SELECT measure, value, region FROM measures WHERE prefix = 'sub-02_task-pain'").rows
    assert {name: value for name, value, _ in long} == {name: second[name] for name in MEASURES if "anatomy" not in name}
    assert ("tsnr_cord_after", second["tsnr_cord_after"], "cord") in long


def test_results_and_verdicts(catalogue: Catalogue) -> None:
    sql = "SELECT step, file, space, description, suffix, size_bytes FROM results WHERE participant = 'sub-01'"
    image = "sub-01/func/sub-01_task-pain_space-PAM50_desc-preproc_bold.nii.gz"
    assert catalogue.answer(sql).rows == [
        ("spaces", image, "PAM50", "preproc", "bold", 25),
        ("spaces", "gone.tsv", None, None, "gone", None),
    ]
    sql = "SELECT line, level, text FROM verdicts WHERE participant = 'sub-01'"
    assert catalogue.answer(sql).rows == [(1, "good", "The head was calm."), (2, "look", "Look.")]
    sql = "SELECT severity, code, message FROM findings WHERE participant = 'sub-02'"
    assert catalogue.answer(sql).rows == [("warning", "truncated-image", "ends early")]


def test_demographics_and_quality_join(catalogue: Catalogue) -> None:
    table = catalogue.query("SELECT age_years, fd_mean_mm FROM quality JOIN participants USING (dataset, participant) ORDER BY 1")
    assert table["age_years"].tolist() == [20.0, 21.0]
    assert table["fd_mean_mm"].corr(table["age_years"]) == pytest.approx(1)


def test_the_same_input_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    first = bytes_of(made / "catalogue")
    sources, _ = find_sources([made / "raw", made / "out"])
    build(sources, made / "again")
    assert bytes_of(made / "again") == first
    assert set(first) == {"catalogue.json", *(f"{table.name}.parquet" for table in TABLES)}


def test_headers_where_images_are_here(tmp_path: Path) -> None:
    import numpy as np

    raw = catalogue_data.raw_dataset(tmp_path / "raw", 1)
    image = raw / "sub-01/func/sub-01_task-pain_bold.nii.gz"
    write_nifti(image, np.zeros((4, 5, 6, 12), np.int16), np.diag([1.5, 1.5, 4, 1]), tr_s=2.5)
    built(tmp_path, raw)
    sql = "SELECT state, size_i, size_j, size_k, volumes, voxel_k_mm, size_bytes FROM acquisitions WHERE suffix = 'bold'"
    assert ask(tmp_path, sql) == [("here", 4, 5, 6, 12, 4.0, image.stat().st_size)]
    sql = "SELECT header_repetition_time_s, repetition_time_s FROM acquisitions WHERE suffix = 'bold'"
    assert ask(tmp_path, sql) == [(pytest.approx(2.5), 2.68)]  # they may disagree: both are told
    assert ask(tmp_path, "SELECT volumes, duration_s FROM runs") == [(12, pytest.approx(32.16))]


def test_links_of_git_annex_and_sidecars_alone(tmp_path: Path) -> None:
    raw = catalogue_data.raw_dataset(tmp_path / "raw", 1)
    (raw / "manifest.tsv").unlink()
    image = raw / "sub-01/anat/sub-01_T1w.nii.gz"
    key = "SHA256E-s16777216--" + "a" * 64 + ".nii.gz"
    os.symlink(f"../../.git/annex/objects/Xx/Yy/{key}/{key}", image)
    built(tmp_path, raw)
    rows = ask(tmp_path, "SELECT suffix, state, size_bytes, annex_key FROM acquisitions ORDER BY suffix")
    assert rows == [("T1w", "link", 16777216, key), ("bold", "absent", None, None), ("epi", "absent", None, None)]


def test_units_keep_columns_of_datasets_apart(tmp_path: Path) -> None:
    one = catalogue_data.raw_dataset(tmp_path / "one", 2, columns={"weight": [60, 70], "code": ["007", "12"], "mixed": [1, "x"]})
    two = catalogue_data.raw_dataset(
        tmp_path / "two", 1, columns={"weight": [600], "Heat": ["46.5"], "heat": [45], "age": ["30"]}
    )
    catalogue_data.change_json(two / "participants.json", weight={"Units": "pounds"})
    built(tmp_path, one, two)
    with open_catalogue(tmp_path / "catalogue") as found:
        table = found.query("SELECT * FROM participants ORDER BY dataset, participant").drop(columns=["listed", "has_folder"])
    assert table["weight_kg"].tolist()[:2] == [60.0, 70.0]
    assert table["weight"].tolist()[2] == 600.0
    assert table["code"].tolist()[:2] == ["007", "12"]  # a code with zeros in front is no number
    assert table["mixed"].tolist()[:2] == ["1", "x"]
    assert (table["heat"].tolist()[2], table["heat_degc"].tolist()[2]) == (46.5, 45.0)


def test_what_cannot_be_read_is_said_and_the_rest_stands(tmp_path: Path) -> None:
    raw = catalogue_data.raw_dataset(tmp_path / "raw", 2)
    out = catalogue_data.derivatives(tmp_path / "out", raw, 2)
    (raw / "participants.tsv").unlink()
    write_text(raw / "participants.json", "{")
    write_text(raw / "sub-01/func/sub-01_task-pain_bold.json", "not JSON")
    write_text(raw / "sub-02/func/sub-02_task-pain_events.tsv", "time\n1")
    write_text(raw / "sub-01/func/sub-01_task-pain_events.tsv", "onset\tonset\n1\t2")
    write_text(raw / "sub-01/anat/sub-01_T1w.nii.gz", "no image")
    with (raw / "manifest.tsv").open("a") as stream:
        stream.write("../../etc/passwd\t5\tn/a\nsub-01/anat/sub-01_T2w.nii.gz\tlarge\tn/a\n")
    (out / "logs/sub-01_task-pain_quality.json").unlink()
    quality = out / "logs/sub-02_task-pain_quality.json"
    catalogue_data.change_json(
        quality, Verdicts=[3], Findings="x", Measures={"fd_mean_mm": {"Value": "low"}, "DROP TABLE x": {"Value": 1}}
    )
    result = built(tmp_path, raw, out)
    told = {(file, problem.split(":")[0]) for _, file, problem in result.problems}
    assert told == {
        ("participants.tsv", "is absent"),
        ("participants.json", "cannot be read"),
        ("sub-01/func/sub-01_task-pain_bold.json", "cannot be read"),
        ("sub-02/func/sub-02_task-pain_events.tsv", "has no column onset"),
        ("sub-01/func/sub-01_task-pain_events.tsv", "cannot be read"),
        ("sub-01/anat/sub-01_T1w.nii.gz", "does not begin with a NIfTI header"),
        ("manifest.tsv", "line 10"),
        ("manifest.tsv", "line 11"),
        ("logs/sub-01_task-pain_quality.json", "is absent"),
        ("logs/sub-02_task-pain_quality.json", "verdict 1 cannot be read"),
        ("logs/sub-02_task-pain_quality.json", "'DROP TABLE x' is no measure"),
    }
    assert ask(tmp_path, "SELECT count(*) FROM problems") == [(len(told),)]
    assert ask(tmp_path, "SELECT participant, listed FROM participants") == [("sub-01", False), ("sub-02", False)]
    assert ask(tmp_path, "SELECT prefix, fd_mean_mm FROM quality") == [("sub-02_task-pain", None)]
    assert ask(tmp_path, "SELECT events FROM runs ORDER BY prefix") == [(None,), (None,)]


def test_derivatives_find_their_dataset(tmp_path: Path) -> None:
    raw = catalogue_data.raw_dataset(tmp_path / "raw", 1)
    catalogue_data.derivatives(raw / "derivatives" / "cospine", raw, 1, link=False)
    lost = catalogue_data.derivatives(tmp_path / "lost", raw, 1, link=False)
    result = built(tmp_path, raw, lost)
    assert ask(tmp_path, "SELECT derivative, dataset FROM derivatives ORDER BY 1") == [("cospine", "raw"), ("lost", None)]
    assert [file for source, file, _ in result.problems if source == "lost"] == ["dataset_description.json"]


def test_the_identifier_of_a_published_dataset(tmp_path: Path) -> None:
    for folder in ("mine", "copy"):
        raw = catalogue_data.raw_dataset(tmp_path / folder, 1)
        catalogue_data.change_json(raw / "dataset_description.json", DatasetDOI="doi:10.18112/openneuro.ds005884.v1.1.0")
    built(tmp_path, tmp_path / "mine", tmp_path / "copy")
    assert ask(tmp_path, "SELECT dataset, path FROM datasets") == [("ds005884", "../mine"), ("ds005884_2", "../copy")]


def test_folders_that_are_neither_are_told_at_once(tmp_path: Path) -> None:
    other = tmp_path / "fmriprep"
    write_json(other / "dataset_description.json", {"DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep"}]})
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    _, errors = find_sources([other, tmp_path / "empty", tmp_path / "file", tmp_path / "nowhere"])
    assert [error.what for error in errors] == [
        "holds derivatives that CoSpine did not write", "holds no sub-* folder", "is not a folder", "no such folder",
    ]  # fmt: skip


def test_an_older_catalogue_is_replaced_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = catalogue_data.raw_dataset(tmp_path / "raw", 1)
    built(tmp_path, raw)
    before = bytes_of(tmp_path / "catalogue")
    write_text(raw / "participants.tsv", "participant_id\tage\nsub-01\t77")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("cospine.database.build.write_json", full)
        with pytest.raises(CoSpineError, match="No space left"):
            built(tmp_path, raw)
    assert bytes_of(tmp_path / "catalogue") == before  # whole, as it was
    assert {one.name for one in tmp_path.iterdir()} == {"raw", "catalogue"}
    built(tmp_path, raw)
    assert ask(tmp_path, "SELECT age_years FROM participants") == [(77.0,)]
    assert {one.name for one in tmp_path.iterdir()} == {"raw", "catalogue"}


def test_what_others_put_into_a_catalogue_is_not_deleted_with_it(tmp_path: Path) -> None:
    raw = catalogue_data.raw_dataset(tmp_path / "raw", 1)
    sources = Sources({"raw": raw.resolve()}, {})
    build(sources, tmp_path / "catalogue")
    write_text(tmp_path / "catalogue" / "answer.csv", "mine")
    with pytest.raises(CoSpineError, match=r"answer\.csv"):
        build(sources, tmp_path / "catalogue")
    assert (tmp_path / "catalogue" / "answer.csv").is_file()


@pytest.mark.parametrize("where", ["raw", ".", "raw/catalogue", "notes", "notes/text"])
def test_outputs_that_would_harm(tmp_path: Path, where: str) -> None:
    raw = catalogue_data.raw_dataset(tmp_path / "raw", 1)
    write_text(tmp_path / "notes" / "text", "mine")
    with pytest.raises(CoSpineError):
        build(Sources({"raw": raw.resolve()}, {}), tmp_path / where)
    assert (tmp_path / "notes" / "text").read_text() == "mine\n"
    assert not (raw / "catalogue.json").exists()


@given(
    st.lists(st.lists(st.text(max_size=8), min_size=1, max_size=4), max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=8,
    ),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_table_and_no_sidecar_stops_it(tmp_path: Path, cells: list[list[str]], value: Any) -> None:
    import json

    raw = catalogue_data.raw_dataset(tmp_path / "raw", 1)
    text = "\n".join("\t".join(row) for row in [["participant_id", "age", "x"], *cells])
    (raw / "participants.tsv").write_bytes(text.encode("utf-8", errors="surrogatepass"))
    keys = (
        "RepetitionTime",
        "SliceTiming",
        "ShimSetting",
        "IntendedFor",
        "Manufacturer",
        "AcquisitionTime",
        "StartTime",
        "Other",
    )
    for file in ("sub-01/func/sub-01_task-pain_bold.json", "dataset_description.json", "participants.json"):
        (raw / file).write_text(json.dumps(dict.fromkeys((*keys, "Name", "DatasetDOI", "age", "DatasetType"), value)))
    out = catalogue_data.derivatives(tmp_path / "out", raw, 1)
    for key in ("Measures", "Verdicts", "Findings", "Anatomy", "CoSpine"):
        catalogue_data.change_json(out / "logs/sub-01_task-pain_quality.json", **{key: value})
    (out / "logs/sub-01_task-pain_steps.json").write_text(json.dumps({"Steps": value}))
    sources, errors = find_sources([raw, out])
    assert errors == [] or "derivatives" in errors[0].what
    build(sources, tmp_path / "catalogue")
    assert ask(tmp_path, "SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.shared
def test_published_datasets(shared: Path, tmp_path: Path) -> None:
    """22 and 10 people of ds005884 and ds005883, whose images stand in manifest.tsv."""
    result = built(tmp_path, shared / "data" / "ds005884-meta", shared / "data" / "ds005883-meta-part")
    assert result.problems == ()
    assert ask(tmp_path, "SELECT dataset, participants FROM datasets ORDER BY 1") == [("ds005883", 10), ("ds005884", 22)]
    assert ask(tmp_path, "SELECT dataset, count(*), sum(events) FROM runs GROUP BY ALL ORDER BY 1") == [
        ("ds005883", 10, 300), ("ds005884", 44, 44 * 12),
    ]  # fmt: skip
    sql = """SELECT DISTINCT repetition_time_s, echo_time_s, total_readout_time_s, slice_times, slice_times_distinct
             FROM acquisitions WHERE suffix = 'bold'"""
    assert ask(tmp_path, sql) == [(2.68, 0.027, 0.0406401, 70, 35)]
    sql = "SELECT count(*) FROM acquisitions WHERE state = 'listed' AND size_bytes > 0 AND acquisition_clock_s > 0"
    assert ask(tmp_path, sql) == [(result.rows["acquisitions"],)]
    assert ask(tmp_path, "SELECT count(heat_temperature_degc), count(age_years) FROM participants") == [(10, 32)]
