"""A small dataset as a scanner and a converter leave it, with nothing wrong, to be spoiled in one way at a time."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cospine.bids import write_bytes, write_json, write_nifti, write_text
from cospine.phantom.protocol import SITES, SMALL, bold_sidecar, clock, epi_pair_sidecar, t1w_sidecar

SHAPE, VOLUMES, TR_S = (16, 16, 10), 14, 2.68
AFFINE = np.diag([12.0, 12.0, 12.0, 1.0])  # so few voxels, and yet the size of a head
AFFINE[:3, 3] = [-96, -96, -60]
TASKS = ("motorL", "motorR")
RATE_HZ = 50
FIRST_S = 9 * 3600.0


class Tree:
    """A dataset on disk: two tasks a person, a pair for each, pulse and breathing in ms since midnight or relative to the run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __truediv__(self, relative: str) -> Path:
        return self.root / relative

    def read(self, relative: str) -> dict[str, Any]:
        return json.loads((self.root / relative).read_text())

    def json(self, relative: str, **changes: Any) -> None:
        """Change keys of a JSON file; None removes one."""
        path = self.root / relative
        content = json.loads(path.read_text()) if path.exists() else {}
        content.update(changes)
        write_json(path, {key: value for key, value in content.items() if value is not None})

    def image(self, relative: str, seed: int, volumes: int | None = None, affine: np.ndarray = AFFINE) -> None:
        """A bright body in noise of a seed."""
        rng = np.random.default_rng(seed)
        index = np.indices(SHAPE)
        body = (900.0 + 150 * np.sin(index[0]) * np.cos(index[1] / 2)) * (
            sum(((index[a] - SHAPE[a] / 2) / (0.42 * SHAPE[a])) ** 2 for a in range(3)) < 1
        )
        data = body[..., None] + rng.normal(0, 12, (*SHAPE, volumes or 1))
        data = data[..., 0] if volumes is None else data
        write_nifti(self.root / relative, data.astype(np.int16), affine, tr_s=TR_S if volumes else None)

    def clock_s(self, number: int, task: str) -> float:
        """When the first volume of a run was measured."""
        return FIRST_S + 3600 * number + 300.123 + (TASKS.index(task) * 400 if task in TASKS else 0)

    def person(self, number: int) -> None:
        """Everything of one person."""
        label = f"sub-{number:02d}"
        shim = [400 + number, -11600, 6900, 10 * number, 5, 6, 7, 8]
        site = SITES[2]
        body = {"TxRefAmp": 240.123 + number, "SAR": 0.05 + 0.0013 * number}
        self.image(f"{label}/anat/{label}_T1w.nii.gz", 100 * number)
        anatomy = t1w_sidecar(SMALL, site, [1, 2, 3, 4, 5, 6, 7, 8], FIRST_S + 3600 * number + 0.321)
        write_json(self / f"{label}/anat/{label}_T1w.json", anatomy | body)
        for at, task in enumerate(TASKS):
            begin_s = self.clock_s(number, task)
            bold = f"{label}/func/{label}_task-{task}_bold"
            self.image(f"{bold}.nii.gz", 100 * number + 10 + at, VOLUMES)
            sidecar = bold_sidecar(SMALL, site, task, shim, begin_s, [f"pair{task}"], 8 + 3 * at) | body
            sidecar["SliceTiming"] = [round(0.25 * (2 * k % SHAPE[2] + (2 * k >= SHAPE[2])), 4) for k in range(SHAPE[2])]
            write_json(self / f"{bold}.json", sidecar)
            write_text(self / f"{label}/func/{label}_task-{task}_events.tsv", "onset\tduration\n3\t8\n20\t8\n")
            for direction in ("AP", "PA"):
                name = f"{label}/fmap/{label}_acq-{task}_dir-{direction}_epi"
                self.image(f"{name}.nii.gz", 100 * number + 20 + 2 * at + (direction == "PA"))
                when = begin_s - (90 if direction == "AP" else 60)
                series = 6 + 3 * at + (direction == "PA")
                intended = [f"bids::{bold}.nii.gz"]
                write_json(
                    self / f"{name}.json",
                    epi_pair_sidecar(SMALL, site, direction, shim, when, f"pair{task}", intended, series) | body,
                )
            for kind in ("pulse", "respiratory"):
                self.recording(number, task, kind, begin_s - 20.0, begin_s)

    def recording(
        self, number: int, task: str, kind: str, at_s: float, run_s: float, seconds: float = 90.0, **changes: Any
    ) -> None:
        """A recording that began at a time of day."""
        label = f"sub-{number:02d}"
        stem = f"{label}/func/{label}_task-{task}_recording-{kind}_physio"
        time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        wave = 2000 + 800 * np.sin(2 * np.pi * time * (1.1 if kind == "pulse" else 0.25) + 0.1 * number + (task == TASKS[0]))
        write_bytes(self / f"{stem}.tsv.gz", gzip.compress("\n".join(f"{value:.0f}" for value in wave).encode() + b"\n", mtime=0))
        about = {
            "SamplingFrequency": RATE_HZ,
            "StartTime": round(at_s - run_s, 4),
            "Columns": [{"pulse": "cardiac", "respiratory": "respiratory"}[kind]],
            "ClockTime": round(at_s, 4),
        }
        write_json(self / f"{stem}.json", {key: value for key, value in (about | changes).items() if value is not None})

    def manifest(self) -> None:
        """Take every image and recording away and name it in a manifest instead."""
        lines = ["path\tsize_bytes\tannex_key"]
        for path in sorted(self.root.rglob("*.gz")):
            size = path.stat().st_size + (1 << 21)
            relative = path.relative_to(self.root).as_posix()
            lines.append(f"{relative}\t{size}\tSHA256E-s{size}--{abs(hash(relative)):064x}.nii.gz")
            path.unlink()
        write_text(self / "manifest.tsv", "\n".join(lines))


def complete(root: Path, people: int = 2) -> Tree:
    """A dataset about which nothing is to be said."""
    made = Tree(root)
    made.json("dataset_description.json", Name="Tiny", BIDSVersion="1.11.0", DatasetType="raw", License="CC0", Authors=["A", "B"])
    rows = "".join(f"sub-{number:02d}\t{30 + number}\tn/a\n" for number in range(1, people + 1))
    write_text(made / "participants.tsv", f"participant_id\tage\tcomments\n{rows}")
    card = {"Name": "Tiny", "Images": [{"Match": {"suffix": "bold"}, "Require": {"RepetitionTime": TR_S, "Shape": list(SHAPE)}}]}
    made.json("code/protocol_card.json", **card)
    for number in range(1, people + 1):
        made.person(number)
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Two complete people."""
    return complete(tmp_path / "bids")


def clock_text(seconds: float) -> str:
    """Time of day as sidecars have it."""
    return clock(seconds)
