"""Generated datasets and derivatives for the catalogue: metadata alone, no image."""

import json
from pathlib import Path
from typing import Any

from cospine.bids import write_json, write_text, write_tsv
from cospine.quality.measures import MEASURES, measures_record

BOLD: dict[str, Any] = {
    "RepetitionTime": 2.68,
    "EchoTime": 0.027,
    "TaskName": "pain",
    "AcquisitionTime": "07:44:2.25",
    "ShimSetting": [1, -2, 3.5],
}
SIZE = 240_000_000


def raw_dataset(root: Path, people: int = 2, *, columns: dict[str, Any] | None = None) -> Path:
    """A dataset whose images stand only in manifest.tsv."""
    write_json(root / "dataset_description.json", {"Name": "made", "BIDSVersion": "1.11.0", "License": "CC0"})
    labels = [f"sub-{n:02d}" for n in range(1, people + 1)]
    cells = {"age": [20 + n for n in range(people)], "sex": ["F", "M"] * (people // 2) + ["n/a"] * (people % 2)}
    write_tsv(root / "participants.tsv", {"participant_id": labels, **(cells if columns is None else columns)})
    write_json(root / "participants.json", {"age": {"Units": "years"}, "weight": {"Units": "kg"}, "heat": {"Units": "°C"}})
    lines = ["path\tsize_bytes\tannex_key"]
    for label in labels:
        for acquisition, suffix, sidecar in (
            ("anat", "T1w", {"RepetitionTime": 2.3}),
            ("func", "task-pain_bold", BOLD),
            ("fmap", "acq-pain_dir-AP_epi", {"TotalReadoutTime": 0.0406, "PhaseEncodingDirection": "j-"}),
        ):
            stem = f"{label}/{acquisition}/{label}_{suffix}"
            write_json(root / f"{stem}.json", sidecar)
            lines.append(f"{stem}.nii.gz\t{SIZE}\tMD5E-s{SIZE}--{'0' * 32}.nii.gz")
        run = f"{label}/func/{label}_task-pain"
        events = {"onset": [10.1, 49.2], "duration": [4, 4], "trial_type": ["pain", "n/a"], "UpR": [6.5, "n/a"]}
        write_tsv(root / f"{run}_events.tsv", events)
        recording = {"SamplingFrequency": 400, "StartTime": 27.5e6, "Columns": ["cardiac"]}
        write_json(root / f"{run}_recording-cardiac_physio.json", recording)
        lines.append(f"{run}_recording-cardiac_physio.tsv.gz\t300000\tn/a")
    write_text(root / "manifest.tsv", "\n".join(lines))
    return root


def derivatives(root: Path, raw: Path, people: int = 2, *, link: bool = True) -> Path:
    """What `cospine run` leaves of each person: records of steps and of quality, every measure of the table."""
    description: dict[str, Any] = {"Name": "x", "GeneratedBy": [{"Name": "CoSpine", "Version": "0.1.0"}]}
    if link:
        description["DatasetLinks"] = {"raw": f"../{raw.name}"}
    write_json(root / "dataset_description.json", description)
    for n in range(1, people + 1):
        prefix = f"sub-{n:02d}_task-pain"
        found = {name: float(n + k / 100) for k, name in enumerate(MEASURES) if "anatomy" not in name}
        found["task_noise_r2_median"] = float("nan")
        quality = {
            "CoSpine": "0.1.0",
            "Measures": measures_record(found),
            "Verdicts": [{"Level": "good", "Text": "The head was calm."}, {"Level": "look", "Text": "Look."}],
            "Findings": [{"Severity": "warning", "Code": "truncated-image", "Message": "ends early"}],
            "Anatomy": {f"sub-{n:02d}_T1w": measures_record({"cord_anatomy_confidence_median": 0.9})},
        }
        write_json(root / f"logs/{prefix}_quality.json", quality)
        output = f"sub-{n:02d}/func/{prefix}_space-PAM50_desc-preproc_bold.nii.gz"
        steps = [{"name": "spaces", "version": "1", "digest": "d" * 64, "outputs": [f"bids::{output}", "bids::gone.tsv"]}]
        write_json(root / f"logs/{prefix}_steps.json", {"CoSpine": "0.1.0", "Steps": steps})
        write_text(root / output, "an image of 24 bytes....")
    return root


def change_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    write_json(path, {**json.loads(path.read_text()), **changes})
