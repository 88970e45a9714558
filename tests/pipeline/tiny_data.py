"""Datasets of tiny heads: a participant takes a second or two, so whole executions can be compared."""

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = np.array([[-6.0, 0, 0, 96], [0, 6, 0, -96], [0, 0, 6, -60], [0, 0, 0, 1.0]])
VOLUMES = 60
RUNS = {"sub-01": 2, "sub-02": 1}
FLAGS = ("--pnm-orders", "2", "2", "0", "0")


def make_dataset(root: Path, people: Mapping[str, int] = RUNS) -> Path:
    """People with so many runs of a bright ellipsoid, each with events."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "tiny", "BIDSVersion": "1.10.0"}')
    for label, runs in people.items():
        for run in range(1, runs + 1):
            make_run(root, label, run)
    return root


def make_run(root: Path, label: str, run: int) -> Path:
    """One run; returns its image."""
    folder = root / label / "func"
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f"{label}_task-pain_run-{run}"
    rng = np.random.default_rng([int(label[-2:]), run])
    index = np.indices((32, 32, 20))
    radius = sum(((index[a] - c) / r) ** 2 for a, (c, r) in enumerate(((16, 12), (16, 14), (10, 9))))
    body = np.where(radius < 1, 800 + 200 * np.sin(index[0]) * np.cos(index[1] / 2), 0)
    data = body[..., None] * (1 + 0.01 * np.sin(np.arange(VOLUMES) / 5)) + rng.normal(size=(32, 32, 20, VOLUMES)) * 8
    image = nib.Nifti1Image(data.astype(np.float32), AFFINE)
    image.header.set_zooms((6, 6, 6, 2.0))
    nib.save(image, folder / f"{prefix}_bold.nii.gz")
    about = {"TaskName": "pain", "RepetitionTime": 2.0, "SliceTiming": (np.arange(20) * 0.1).tolist()}
    (folder / f"{prefix}_bold.json").write_text(json.dumps(about))
    onsets = "".join(f"{onset}\t10\tpain\n" for onset in range(6, 110, 20))
    (folder / f"{prefix}_events.tsv").write_text(f"onset\tduration\ttrial_type\n{onsets}")
    return folder / f"{prefix}_bold.nii.gz"


def results(out: Path) -> dict[str, bytes]:
    """Everything below a folder of derivatives that must be the same whoever made it: all but logs, pages and what is kept."""
    left_out = {"logs", "work"}
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".html" and path.relative_to(out).parts[0] not in left_out
    }


def differing(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> set[str]:
    """Names of results that are not the same, or only in one of two."""
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


def times(out: Path) -> dict[str, int]:
    """When each of them was written."""
    return {name: (out / name).stat().st_mtime_ns for name in results(out)}
