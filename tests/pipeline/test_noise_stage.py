"""The noise part of `cospine run`: what it writes against what is on disk beside it, against truth, and what it says.

A head made by hand, with ventricles and pulsating vessels of known courses, shows everything that may be missing, swapped, given,
or left over; a small digital participant shows accuracy. It comes last: another process makes it meanwhile.
"""

import gzip
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from cospine.bids import Derivatives
from cospine.cli.main import main
from cospine.phantom.physiology import Physiology as Body
from cospine.phantom.physiology import simulate_physiology
from cospine.pipeline.noise_stage import find_tissue
from cospine.space.grid import Grid

pytestmark = pytest.mark.slow

PREFIX = "sub-01_task-pain"


def image(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def columns_of(done: Path, prefix: str, desc: str = "pnm") -> tuple[np.ndarray, dict]:
    """Columns (t, slices, n) and their sidecar."""
    path = done / prefix[:6] / "func" / f"{prefix}_desc-{desc}_regressors.nii.gz"
    about = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    stored = image(path)
    assert stored.shape[:2] == (1, 1)
    assert stored.shape[4] == len(about["Columns"]) == len(set(about["Columns"]))
    return stored[0, 0].transpose(1, 0, 2), about


def table(done: Path, prefix: str, desc: str) -> pd.DataFrame:
    return pd.read_csv(done / prefix[:6] / "func" / f"{prefix}_desc-{desc}_timeseries.tsv", sep="\t")


def phase_error(cosine: np.ndarray, sine: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.angle(np.exp(1j * (np.arctan2(sine, cosine) - true)))


def linear_phase(peaks: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Independent of the pipeline: 2 pi a beat, evenly between beats."""
    return 2 * np.pi * np.interp(times, peaks, np.arange(peaks.size))


def page_of(done: Path, participant: str) -> str:
    """What people read of the report, on one line."""
    text = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", (done / f"{participant}.html").read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


# --- a head made by hand --------------------------------------------------------------------------------------------

AFFINE = np.array([[-6.0, 0, 0, 96], [0, 6, 0, -96], [0, 0, 6, -60], [0, 0, 0, 1.0]])
SHAPE, TR, NOISE = (32, 32, 20), 2.0, 8.0
SLICE_TIMES = np.arange(20) * 0.1
LEFT, RIGHT = 36_000.0, 36_300.0  # AcquisitionTime, s since midnight


def inside(centre: tuple[float, ...], radius: tuple[float, ...]) -> np.ndarray:
    index = np.indices(SHAPE)
    return sum(((index[a] - centre[a]) / radius[a]) ** 2 for a in range(3)) < 1


HEAD, WHITE = inside((16, 16, 10), (12, 14, 9)), inside((16, 16, 10), (8.6, 10, 6.5))
VENTRICLES, VESSELS = inside((16, 16, 10), (1.8, 3, 2.5)), inside((16, 10, 3), (4, 3, 2))


def times_of(volumes: int) -> np.ndarray:
    return np.arange(volumes)[:, None] * TR + SLICE_TIMES


def fluid_course(volumes: int) -> np.ndarray:
    """Relative change of the ventricles: fast, and a drift."""
    return 0.03 * np.random.default_rng(4).normal(size=volumes) + 0.02 * np.linspace(-1, 1, volumes)


def write_head(root: Path, prefix: str, volumes: int, body: Body, **sidecar: object) -> Path:
    """A run: grey, white, ventricles, and vessels that pulsate with the heart at each slice's own time."""
    rng = np.random.default_rng(0)
    index = np.indices(SHAPE)
    rest = HEAD * (1000 - 100.0 * WHITE + 300 * VENTRICLES + ~WHITE * 60 * np.sin(index[0] * 0.9) * np.cos(index[1] * 0.7))
    pulse = np.cos(body.cardiac_phase(times_of(volumes)) - 1).T[None, None]
    change = 0.03 * VESSELS[..., None] * pulse + VENTRICLES[..., None] * fluid_course(volumes)
    series = rest[..., None] * (1 + change) + NOISE * rng.normal(size=(*SHAPE, volumes))
    stored = nib.Nifti1Image(series.astype(np.float32), AFFINE)
    stored.header.set_zooms((6, 6, 6, TR))
    folder = root / prefix[:6] / "func"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}_bold.nii.gz"
    nib.save(stored, path)
    content = {"TaskName": prefix.split("-")[-1], "RepetitionTime": TR, "SliceTiming": SLICE_TIMES.tolist(), **sidecar}
    path.with_name(f"{prefix}_bold.json").write_text(json.dumps(content))
    (root / "dataset_description.json").write_text('{"Name": "head", "BIDSVersion": "1.10.0"}')
    return path


def write_recording(root: Path, prefix: str, kind: str, body: Body, volumes: int, start: float, first: float = -30) -> None:
    """From `first` (s from the first volume) to 20 s after the run, at 100 Hz; `start` is what the sidecar claims."""
    t = np.arange(first, volumes * TR + 20, 0.01)
    wave = 2000 + 800 * (body.pulse(t) if kind == "cardiac" else body.breathing(t))
    path = root / prefix[:6] / "func" / f"{prefix}_recording-{kind}_physio.tsv.gz"
    path.write_bytes(gzip.compress("\n".join(f"{value:.0f}" for value in wave).encode()))
    about = {"SamplingFrequency": 100, "StartTime": start, "Columns": [kind]}
    path.with_name(path.name.replace(".tsv.gz", ".json")).write_text(json.dumps(about))


def clock(seconds: float) -> str:
    return f"{int(seconds // 3600):02d}:{int(seconds % 3600 // 60):02d}:{seconds % 60:09.6f}"


@pytest.fixture(scope="module")
def bodies() -> dict[str, Body]:
    return {"left": simulate_physiology(1, 140), "right": simulate_physiology(2, 80), "rest": simulate_physiology(3, 80)}


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory, bodies: dict[str, Body]) -> Path:
    """sub-01: two runs, 70 and 40 volumes, whose recordings are swapped, stamped in ms since midnight; sub-02: no recording;
    sub-03: no recording of the breathing, and none of the pulse in the first 20 s."""
    root = tmp_path_factory.mktemp("heads") / "bids"
    for task, other, at, volumes in (("left", "right", LEFT, 70), ("right", "left", RIGHT, 40)):
        write_head(root, f"sub-01_task-{task}", volumes, bodies[task], AcquisitionTime=clock(at))
        for kind in ("cardiac", "respiratory"):
            write_recording(root, f"sub-01_task-{other}", kind, bodies[task], volumes, round(1000 * (at - 30)))
    for label in ("sub-02", "sub-03"):
        write_head(root, f"{label}_task-rest", 40, bodies["rest"])
    write_recording(root, "sub-03_task-rest", "cardiac", bodies["rest"], 40, start=20, first=20)
    return root


@pytest.fixture(scope="module")
def heads_done(heads: Path) -> Path:
    """All of them at the default orders."""
    out = heads.parent / "derivatives"
    assert main(["run", str(heads), str(out), "participant"]) == 0
    return out


def test_default_orders_are_33_columns_that_are_tested(heads_done: Path) -> None:
    columns, about = columns_of(heads_done, "sub-01_task-left")
    names = about["Columns"]
    assert columns.shape == (70, 20, 33)
    counts = [sum(name.startswith(start) for name in names) for start in ("card_", "resp_", "int_", "csf")]
    assert counts == [8, 8, 16, 1]
    assert about["Orders"] == {"cardiac": 4, "respiratory": 4, "interaction": [2, 2]}
    heart, breath = np.arctan2(columns[..., 1], columns[..., 0]), np.arctan2(columns[..., 9], columns[..., 8])
    for stem, sign, angle in (("int_c1r2", "p", heart + 2 * breath), ("int_c2r1", "m", 2 * heart - breath)):
        for part, function in (("c", np.cos), ("s", np.sin)):
            np.testing.assert_allclose(columns[..., names.index(f"{stem}_{part}{sign}")], function(angle), atol=2e-6)
    folder = heads_done / "sub-01" / "func"
    assert json.loads((folder / "sub-01_task-left_desc-noise_stat-p_boldmap.json").read_text())["Sets"] == [
        "cardiac", "respiratory", "interaction", "csf"
    ]  # fmt: skip
    shares = image(folder / "sub-01_task-left_desc-noise_stat-r2adj_boldmap.nii.gz")
    quiet = WHITE & ~VENTRICLES & ~VESSELS
    assert np.median(shares[VESSELS & HEAD][:, 0]) > 0.5
    assert abs(np.median(shares[quiet][:, 0])) < 0.05
    assert np.median(shares[VENTRICLES][:, 3]) > 0.5
    p = image(folder / "sub-01_task-left_desc-noise_stat-p_boldmap.nii.gz")[quiet]
    assert 0.02 < (p < 0.05).mean() < 0.1  # white noise: the test is exact


def test_more_columns_than_volumes_leave_out_the_tests_and_say_so(heads_done: Path) -> None:
    columns, _ = columns_of(heads_done, "sub-01_task-right")
    assert columns.shape == (40, 20, 33)
    assert not list((heads_done / "sub-01" / "func").glob("sub-01_task-right*desc-noise*"))
    assert "What the noise model takes was not tested" in page_of(heads_done, "sub-01")


def test_csf_column_is_the_unfiltered_course_of_the_fluid(heads_done: Path) -> None:
    columns, about = columns_of(heads_done, "sub-01_task-left")
    csf = columns[..., about["Columns"].index("csf")]
    expected = 100 * (fluid_course(70) - fluid_course(70).mean())
    held = np.flatnonzero(VENTRICLES.sum(axis=(0, 1)) >= 5)
    assert held.size >= 3
    for k in held:
        assert np.corrcoef(csf[:, k], expected)[0, 1] > 0.98
        assert np.polyfit(expected, csf[:, k], 1)[0] == pytest.approx(1, abs=0.1)
        # the drift is still there
        assert np.polyfit(np.linspace(-1, 1, 70), csf[:, k], 1)[0] == pytest.approx(
            np.polyfit(np.linspace(-1, 1, 70), expected, 1)[0], abs=0.4
        )
    assert not csf[:, [0, 1, 18, 19]].any()
    confounds = table(heads_done, "sub-01_task-left", "confounds")
    assert np.corrcoef(confounds["csf"], expected)[0, 1] > 0.98


def test_swapped_recordings_serve_the_runs_they_were_made_in(heads_done: Path, bodies: dict[str, Body]) -> None:
    for task, other, volumes in (("left", "right", 70), ("right", "left", 40)):
        columns, about = columns_of(heads_done, f"sub-01_task-{task}")
        assert about["Sources"] == [
            f"bids:raw:sub-01/func/sub-01_task-{other}_recording-{kind}_physio.tsv.gz" for kind in ("cardiac", "respiratory")
        ]
        error = phase_error(columns[..., 0], columns[..., 1], bodies[task].cardiac_phase(times_of(volumes)))
        assert np.median(np.abs(error)) < 0.1
    assert "Names may be swapped" in page_of(heads_done, "sub-01")


def test_without_recordings_components_of_the_fluid_stand_in(heads_done: Path) -> None:
    folder = heads_done / "sub-02" / "func"
    assert not [path.name for path in folder.iterdir() if "desc-pnm" in path.name or "desc-peaks" in path.name]
    _, about = columns_of(heads_done, "sub-02_task-rest", "slicewise")
    assert about["Columns"]
    assert all(name.startswith("csf_comp_cor_") for name in about["Columns"])
    assert json.loads((folder / "sub-02_task-rest_desc-noise_stat-p_boldmap.json").read_text())["Sets"] == ["components"]
    said = page_of(heads_done, "sub-02")
    assert "No physiological model" in said
    assert "components of each slice's CSF in the ventricles stand in" in said
    confounds = table(heads_done, "sub-02_task-rest", "confounds")
    assert {"csf", "white_matter", "global_signal", "a_comp_cor_00", "cosine00"} <= set(confounds.columns)


def test_one_channel_makes_half_a_model(heads_done: Path, bodies: dict[str, Body]) -> None:
    columns, about = columns_of(heads_done, "sub-03_task-rest")
    assert about["Columns"] == [*(f"card_{part}{n}" for n in range(1, 5) for part in "cs"), "csf"]
    assert about["Orders"] == {"cardiac": 4, "respiratory": 0, "interaction": [0, 0]}
    error = phase_error(columns[..., 0], columns[..., 1], bodies["rest"].cardiac_phase(times_of(40)))
    assert np.median(np.abs(error[11:])) < 0.1
    assert set(table(heads_done, "sub-03_task-rest", "peaks")["kind"]) == {"cardiac"}
    assert "No recording of the breathing" in page_of(heads_done, "sub-03")


def test_volumes_without_a_recording_are_left_unmodelled(heads_done: Path) -> None:
    columns, about = columns_of(heads_done, "sub-03_task-rest")
    # 20 s are 10 volumes; the first heartbeat is somewhat later
    assert about["UnmodelledVolumes"] == list(range(len(about["UnmodelledVolumes"])))
    assert len(about["UnmodelledVolumes"]) in (10, 11)
    assert not columns[:10, :, :-1].any()
    np.testing.assert_allclose(columns[11:, :, 0] ** 2 + columns[11:, :, 1] ** 2, 1, atol=1e-6)
    said = page_of(heads_done, "sub-03")
    assert "covers 75 % of the run" in said
    assert "a phase is not known" in said


def test_what_this_execution_did_not_write_does_not_stay(heads: Path, tmp_path: Path) -> None:
    """With everything, then without physiology, then minimal: each leaves only what is its own.

    The second has dummies as well: they shape no column and no mean.
    """
    raw, out = str(heads), tmp_path / "out"
    chosen = [raw, str(out), "participant", "--participant-label", "01", "--task", "right"]

    def names() -> set[str]:
        return {path.name for path in out.rglob("*right*") if path.is_file()}

    assert main(["run", *chosen, "--pnm-orders", "1", "1", "0", "0", "--clean", "--export", "fsl"]) == 0
    first = names()
    assert {"sub-01_task-right_ev001.nii.gz", "sub-01_task-right_ev005.nii.gz", "sub-01_task-right_evlist.txt"} <= first
    assert "sub-01_task-right_desc-clean_bold.json" in first
    assert main(["run", *chosen, "--ignore", "physio", "--clean", "--dummy-scans", "4"]) == 0
    second = names()
    assert not [name for name in second if "desc-pnm" in name or "desc-peaks" in name or "_ev" in name]
    assert {"sub-01_task-right_desc-clean_bold.nii.gz", "sub-01_task-right_desc-slicewise_regressors.json"} <= second
    cleaned = json.loads((out / "sub-01" / "func" / "sub-01_task-right_desc-clean_bold.json").read_text())
    assert "csf_comp_cor_00" in cleaned["Removed"]
    assert cleaned["NonSteadyStateVolumes"] == 4
    for k, rank in enumerate(cleaned["DegreesOfFreedomRemoved"]):
        assert rank + cleaned["ResidualDegreesOfFreedom"][k] == 36 - 1
    before, after = (
        image(out / "sub-01" / "func" / f"sub-01_task-right_desc-{desc}_bold.nii.gz") for desc in ("preproc", "clean")
    )
    rounding = 2 * cleaned["RoundingError"]
    np.testing.assert_allclose(after[..., 4:].mean(axis=3), before[..., 4:].mean(axis=3), atol=rounding)
    components, _ = columns_of(out, "sub-01_task-right", "slicewise")
    assert not components[:4].any()
    confounds = table(out, "sub-01_task-right", "confounds")
    assert not confounds.filter(regex="cosine|comp_cor").to_numpy()[:4].any()
    assert (confounds.filter(regex="^non_steady").to_numpy().argmax(axis=0) == np.arange(4)).all()
    assert "were ignored, as asked for" in page_of(out, "sub-01")
    assert main(["run", *chosen, "--level", "minimal"]) == 0
    third = names()
    assert third < second
    assert not [name for name in third if re.search("regressors|desc-noise|desc-clean|desc-thermal|desc-peaks", name)]
    confounds = table(out, "sub-01_task-right", "confounds")
    assert {"framewise_displacement", "trans_x", "dvars"} <= set(confounds.columns)
    assert not [name for name in confounds.columns if "comp_cor" in name or "cosine" in name or name == "csf"]


@pytest.fixture
def by_hand() -> Callable[[Path], np.ndarray]:
    """Writes a table of steady heartbeats; gives their times."""

    def write(path: Path) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        beats = np.arange(-20, 100, 0.875)
        path.write_text("onset_run\tkind\n" + "".join(f"{beat}\tcardiac\n" for beat in beats))
        return beats

    return write


def test_peaks_by_hand_make_the_columns(heads: Path, tmp_path: Path, by_hand: Callable[[Path], np.ndarray]) -> None:
    """As a table of overrides, and as the shorthand for one run: the same columns; said in the report, kept as given."""
    given = tmp_path / "given"
    name = Derivatives(Path()).path("sub-03_task-rest", "timeseries", ".tsv", desc="peaks")
    beats = by_hand(given / name)
    chosen = [str(heads), "participant", "--participant-label", "03", "--pnm-orders", "2", "0", "0", "0"]
    written = []
    for at, flags in enumerate((["--overrides", str(given)], ["--physio-peaks", str(given / name)])):
        out = tmp_path / f"out{at}"
        assert main(["run", chosen[0], str(out), *chosen[1:], *flags]) == 0
        columns, about = columns_of(out, "sub-03_task-rest")
        assert about["Columns"] == ["card_c1", "card_s1", "card_c2", "card_s2", "csf"]
        np.testing.assert_allclose(columns[..., 3], np.sin(2 * linear_phase(beats, times_of(40))), atol=1e-6)
        np.testing.assert_allclose(table(out, "sub-03_task-rest", "peaks")["onset_run"], beats, atol=1e-8)
        assert "given" in page_of(out, "sub-03")
        steps = json.loads((out / "logs" / "sub-03_task-rest_steps.json").read_text())["Steps"]
        assert any(Path(name).name in source for step in steps if step["name"] == "noise" for source in step["inputs"])
        written.append(columns)
    np.testing.assert_array_equal(*written)


def test_thermal_noise_is_measured_and_taken_before_all_else(heads: Path, heads_done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["run", str(heads), str(out), "participant", "--participant-label", "03", "--denoise", "mppca"]) == 0
    func, plain = out / "sub-03" / "func", heads_done / "sub-03" / "func"
    stats = ("noisesd", "removed", "takensd")
    maps = {stat: image(func / f"sub-03_task-rest_desc-thermal_stat-{stat}_boldmap.nii.gz") for stat in stats}
    core = WHITE & ~VENTRICLES & ~VESSELS
    assert np.median(maps["noisesd"][core]) == pytest.approx(NOISE, rel=0.1)
    assert (maps["removed"][core] > 20).mean() > 0.9  # of 40 components nearly all are noise here
    assert 0.8 * NOISE < np.median(maps["takensd"][core]) < 1.05 * NOISE
    assert np.median(maps["takensd"][VESSELS & HEAD]) < 1.2 * NOISE  # 20 units of pulsation stay
    raw_map = "sub-03_task-rest_desc-raw_stat-tsnr_boldmap.nii.gz"
    np.testing.assert_array_equal(image(func / raw_map), image(plain / raw_map))
    ours = "sub-03_task-rest_desc-preproc_stat-tsnr_boldmap.nii.gz"
    assert np.median(image(func / ours)[core]) > 1.2 * np.median(image(plain / ours)[core])
    about = json.loads((func / "sub-03_task-rest_desc-preproc_bold.json").read_text())
    assert "thermal noise" in about["Description"]
    assert about["ThermalDenoising"] != "none"
    # degrees of freedom went with the noise: an F test would not hold
    assert not list(func.glob("*desc-noise*"))
    said = page_of(out, "sub-03")
    assert "thermal denoising leaves an unknown number of degrees of freedom" in said
    assert "Before any interpolation thermal noise was taken away" in said
    steps = json.loads((out / "logs" / "sub-03_task-rest_steps.json").read_text())["Steps"]
    assert [len(step["outputs"]) for step in steps if step["name"] == "denoise"] == [3]


def test_tissue_is_told_apart_in_the_head_made_by_hand() -> None:
    """What the tests above take for granted."""
    volumes = 40
    rng = np.random.default_rng(1)
    mean = (HEAD * (1000 - 100.0 * WHITE + 300 * VENTRICLES)).astype(np.float32)
    sd = (NOISE + VENTRICLES * 40 + rng.normal(size=SHAPE) * NOISE / np.sqrt(2 * volumes)).astype(np.float32)
    found = find_tissue(mean, sd, HEAD, np.zeros(SHAPE, dtype=bool), Grid(SHAPE, AFFINE), 2)
    np.testing.assert_array_equal(found.csf, found.ventricles)
    assert (found.ventricles & VENTRICLES).sum() > 0.8 * VENTRICLES.sum()
    assert not (found.ventricles & ~VENTRICLES).any()
    assert found.white.any()
    assert not (found.white & ~WHITE).any()


# --- the digital participant ----------------------------------------------------------------------------------------


def slice_times(raw: Path) -> np.ndarray:
    """Times (t, slices) of the run, from its sidecar."""
    sidecar = json.loads((raw / "sub-01" / "func" / f"{PREFIX}_bold.json").read_text())
    return np.arange(40)[:, None] * sidecar["RepetitionTime"] + np.array(sidecar["SliceTiming"])


def truth_at_slices(raw: Path, name: str) -> np.ndarray:
    path = raw / "sourcedata" / "truth" / "sub-01" / "func" / f"{PREFIX}_desc-physio_timeseries.tsv"
    return pd.read_csv(path, sep="\t")[name].to_numpy().reshape(40, -1)


def test_columns_are_the_formula_at_every_slices_time(digital: Path, digital_done: Path) -> None:
    columns, about = columns_of(digital_done, PREFIX)
    times = slice_times(digital)
    assert columns.shape[:2] == times.shape
    harmonics = [f"{kind}_{part}{n}" for kind in ("card", "resp") for n in (1, 2) for part in "cs"]
    assert about["Columns"] == [*harmonics, "csf"]
    assert set(about["Columns"]) <= set(about)  # each with its description
    assert about["Filtered"] is False
    peaks = table(digital_done, PREFIX, "peaks")
    phase = linear_phase(peaks.loc[peaks["kind"] == "cardiac", "onset_run"].to_numpy(), times)
    for n in (1, 2):
        for part, function in (("c", np.cos), ("s", np.sin)):
            found = columns[..., about["Columns"].index(f"card_{part}{n}")]
            np.testing.assert_allclose(found, function(n * phase), atol=1e-6)
    # second harmonics are those of the same phase
    breath = np.arctan2(columns[..., 5], columns[..., 4])
    np.testing.assert_allclose(columns[..., 6], np.cos(2 * breath), atol=1e-6)
    np.testing.assert_allclose(columns[..., 7], np.sin(2 * breath), atol=1e-6)


def test_phases_are_the_true_ones(digital: Path, digital_done: Path) -> None:
    columns, _ = columns_of(digital_done, PREFIX)
    np.testing.assert_allclose(truth_at_slices(digital, "time_s"), slice_times(digital), atol=1e-6)
    true = truth_at_slices(digital, "cardiac_phase")
    heart = phase_error(columns[..., 0], columns[..., 1], true)
    assert np.median(np.abs(heart)) < 0.1
    assert np.abs(np.exp(1j * heart).mean()) > 0.97
    # the truth is linear in time within a half-breath, Glover's phase goes by position: they differ within a breath
    breath = phase_error(columns[..., 4], columns[..., 5], truth_at_slices(digital, "respiratory_phase"))
    assert np.median(np.abs(breath)) < 0.45
    assert np.abs(breath.mean()) < 0.25
    assert np.abs(np.exp(1j * breath).mean()) > 0.85
    # neither the other way round in time nor a volume late would pass
    for wrong in (
        phase_error(columns[..., 0], -columns[..., 1], true),
        phase_error(columns[1:, :, 0], columns[1:, :, 1], true[:-1]),
    ):
        assert np.median(np.abs(wrong)) > 1


def test_peaks_are_a_table_that_can_be_given_back(digital_done: Path) -> None:
    peaks = table(digital_done, PREFIX, "peaks")
    assert list(peaks.columns) == ["onset_run", "kind", "quality", "mended"]
    assert set(peaks["kind"]) == {"cardiac", "respiratory"}
    assert peaks["onset_run"].is_monotonic_increasing
    assert peaks["quality"].between(0, 1).all()
    assert set(peaks["mended"]) <= {0, 1}
    about = json.loads((digital_done / "sub-01" / "func" / f"{PREFIX}_desc-peaks_timeseries.json").read_text())
    assert set(peaks.columns) <= set(about)
    assert about["Sources"] == [
        f"bids:raw:sub-01/func/{PREFIX}_recording-{kind}_physio.tsv.gz" for kind in ("cardiac", "respiratory")
    ]


def test_slicewise_columns_hold_the_cord_shifts(digital_done: Path) -> None:
    columns, about = columns_of(digital_done, PREFIX, "slicewise")
    names = about["Columns"]
    assert names[:4] == ["cord_shift_i", "cord_shift_j", "cord_shift_i_derivative1", "cord_shift_j_derivative1"]
    assert [re.sub(r"\d\d$", "", name) for name in names[4:]] == ["csf_comp_cor_"] * len(names[4:])
    cord = table(digital_done, PREFIX, "cordmotion")
    slices = np.unique(cord["slice"])
    for at, axis in enumerate("ij"):
        shift = cord[f"shift_{axis}_mm"].to_numpy().reshape(40, -1)
        np.testing.assert_allclose(columns[:, slices, at], shift, atol=1e-6)
        np.testing.assert_allclose(columns[1:, slices, 2 + at], np.diff(shift, axis=0), atol=1e-6)
    without = np.setdiff1d(np.arange(columns.shape[1]), slices)
    assert without.size
    assert not columns[:, without, :4].any()
    held = np.abs(columns[..., 4:]).max(axis=0) > 0
    spread = columns[..., 4:].std(axis=0)
    np.testing.assert_allclose(spread[held], 1, atol=1e-3)


FMRIPREP = re.compile(
    r"(global_signal|csf|white_matter|csf_wm|(trans|rot)_[xyz])(_derivative1)?(_power2)?|framewise_displacement|dvars|std_dvars"
    r"|[acw]_comp_cor_\d\d|cosine\d\d|motion_outlier\d\d|non_steady_state_outlier_?\d\d"
)
OWN = re.compile(r"cord_framewise_displacement(_slice\d\d)?")


def test_confounds_have_fmripreps_names_and_mean_what_they_say(digital_done: Path) -> None:
    path = digital_done / "sub-01" / "func" / f"{PREFIX}_desc-confounds_timeseries.tsv"
    names = path.read_text().partition("\n")[0].split("\t")
    assert len(names) == len(set(names))
    assert [name for name in names if not FMRIPREP.fullmatch(name) and not OWN.fullmatch(name)] == []
    confounds, about = pd.read_csv(path, sep="\t"), json.loads(path.with_suffix(".json").read_text())
    assert len(confounds) == 40
    assert set(names) == set(about)
    assert all(about[name]["Description"] for name in names)
    for stem in ("trans_x", "rot_z", "global_signal", "csf", "white_matter", "csf_wm"):
        values = confounds[stem].to_numpy()
        step = confounds[f"{stem}_derivative1"].to_numpy()
        assert np.isnan(step[0])
        np.testing.assert_allclose(step[1:], np.diff(values), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(confounds[f"{stem}_power2"], values**2, rtol=1e-6)
        np.testing.assert_allclose(confounds[f"{stem}_derivative1_power2"][1:], step[1:] ** 2, rtol=1e-6)
    head = table(digital_done, PREFIX, "headmotion")
    for name in head.columns:
        np.testing.assert_array_equal(confounds[name], head[name])
    drift = confounds.filter(regex="^cosine").to_numpy()
    assert drift.shape[1] == int(2 * 40 * 2.68 / 128)
    np.testing.assert_allclose(drift[:, 0], np.sqrt(2 / 40) * np.cos(np.pi * (np.arange(40) + 0.5) / 40), atol=1e-8)
    for kind in "acw":
        components = confounds.filter(regex=f"^{kind}_comp_cor_").to_numpy()
        assert components.shape[1] >= 1
        np.testing.assert_allclose(components.T @ components, np.eye(components.shape[1]), atol=1e-6)
        np.testing.assert_allclose(components.T @ drift, 0, atol=1e-6)
        assert about[f"{kind}_comp_cor_00"]["Method"] == "aCompCor"
    beyond = (confounds["framewise_displacement"] > 0.5) | (confounds["std_dvars"] > 1.5)
    outliers = confounds.filter(regex="^motion_outlier").to_numpy()
    np.testing.assert_array_equal(np.flatnonzero(outliers.sum(axis=1)), np.flatnonzero(beyond))
    assert (outliers.sum(axis=0) == 1).all()


def test_brain_signal_is_the_mean_of_the_series_in_the_mask(digital_done: Path) -> None:
    folder = digital_done / "sub-01" / "func"
    series = image(folder / f"{PREFIX}_desc-preproc_bold.nii.gz")
    mask = image(folder / f"{PREFIX}_desc-brain_mask.nii.gz") > 0
    written = table(digital_done, PREFIX, "confounds")["global_signal"]
    np.testing.assert_allclose(written, series[mask].mean(axis=0), rtol=1e-4)


def test_cleaned_series_is_least_squares_with_what_is_on_disk(digital_done: Path) -> None:
    """Slice by slice, `numpy.linalg.lstsq` of the series on disk with the columns on disk; both series are rounded."""
    folder = digital_done / "sub-01" / "func"
    preproc, clean = (nib.load(folder / f"{PREFIX}_desc-{desc}_bold.nii.gz") for desc in ("preproc", "clean"))
    about = json.loads((folder / f"{PREFIX}_desc-clean_bold.json").read_text())
    rounding = about["RoundingError"] + json.loads((folder / f"{PREFIX}_desc-preproc_bold.json").read_text())["RoundingError"]
    confounds = table(digital_done, PREFIX, "confounds")
    common = confounds.filter(regex=r"^(cosine\d\d|(trans|rot)_[xyz])$").to_numpy()
    physio, _ = columns_of(digital_done, PREFIX)
    local, local_about = columns_of(digital_done, PREFIX, "slicewise")
    shifts = local[..., [local_about["Columns"].index(f"cord_shift_{axis}") for axis in "ij"]]
    before, after = np.asarray(preproc.dataobj, dtype=np.float32), np.asarray(clean.dataobj, dtype=np.float32)
    assert before.shape == after.shape
    np.testing.assert_allclose(preproc.affine, clean.affine)
    for k in range(before.shape[2]):
        design = np.concatenate([common, shifts[:, k], physio[:, k]], axis=1)
        design = design - design.mean(axis=0)
        size = np.linalg.norm(design, axis=0)
        design = design[:, size > 0] / size[size > 0]
        flat = before[:, :, k].reshape(-1, 40).T.astype(np.float64)
        mean = flat.mean(axis=0)
        beta, *_ = np.linalg.lstsq(design, flat - mean, rcond=None)
        expected = flat - design @ beta
        found = after[:, :, k].reshape(-1, 40).T
        # a projection lets single rounding errors add up, most of them do not
        assert np.abs(found - expected).max() < 3 * rounding, k
        assert np.sqrt(np.mean((found - expected) ** 2)) < rounding, k
        np.testing.assert_allclose(found.mean(axis=0), mean, atol=rounding)
        rank = np.linalg.matrix_rank(design, tol=1e-5)
        assert about["DegreesOfFreedomRemoved"][k] == rank
        assert about["ResidualDegreesOfFreedom"][k] == 40 - 1 - rank
    assert {"cosine drifts", "head motion", "cord_shift_i", "cord_shift_j", "card_c1", "csf"} <= set(about["Removed"])
    brain = image(folder / f"{PREFIX}_desc-brain_mask.nii.gz") > 0
    assert after[brain].std(axis=1).mean() < 0.9 * before[brain].std(axis=1).mean()


def test_evs_for_fsl_are_the_columns(digital_done: Path) -> None:
    columns, about = columns_of(digital_done, PREFIX)
    folder = digital_done / "fsl" / "sub-01"
    listed = (folder / f"{PREFIX}_evlist.txt").read_text().splitlines()
    assert len(listed) == len(about["Columns"])
    for at, line in enumerate(listed):
        assert Path(line).is_file()
        stored = nib.load(line)
        assert stored.shape == (1, 1, columns.shape[1], columns.shape[0])
        np.testing.assert_array_equal(np.asarray(stored.dataobj)[0, 0].T, columns[..., at].astype(np.float32))
    names = pd.read_csv(folder / f"{PREFIX}_evnames.tsv", sep="\t")
    assert list(names["file"]) == [Path(line).name for line in listed]
    assert list(names["column"]) == about["Columns"]
    assert "fsl" in (digital_done / ".bidsignore").read_text().split()


def test_what_sets_take_is_written_for_every_voxel(digital_done: Path) -> None:
    folder = digital_done / "sub-01" / "func"
    about = json.loads((folder / f"{PREFIX}_desc-noise_stat-r2adj_boldmap.json").read_text())
    assert about["Sets"] == ["cardiac", "respiratory", "csf"]
    shares, p = (image(folder / f"{PREFIX}_desc-noise_stat-{stat}_boldmap.nii.gz") for stat in ("r2adj", "p"))
    mask = image(folder / f"{PREFIX}_desc-brain_mask.nii.gz") > 0
    assert shares.shape == p.shape == (*mask.shape, 3)
    assert (shares <= 1).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.count_nonzero(shares[mask][:, :2], axis=0) > 0.95 * mask.sum()).all()
