"""A tiny dataset with nothing wrong, to be damaged in one way at a time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cospine.bids import write_json, write_nifti, write_text, write_tsv

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
SHAPE = (6, 5, 4, 12)
RUN = "sub-01/func/sub-01_task-pain_bold"


class Tree:
    """A dataset on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __truediv__(self, relative: str) -> Path:
        return self.root / relative

    def json(self, relative: str, **changes: Any) -> None:
        """Change keys of a JSON file; None removes one."""
        path = self.root / relative
        content = json.loads(path.read_text()) if path.exists() else {}
        content.update(changes)
        write_json(path, {key: value for key, value in content.items() if value is not None})

    def image(self, relative: str, shape: tuple[int, ...] = SHAPE, **options: Any) -> None:
        """Write an image of seeded noise."""
        noise = np.random.default_rng(7).integers(200, 900, shape).astype(np.int16)
        data = options.pop("data", noise)
        affine = options.pop("affine", AFFINE)
        tr_s = options.pop("tr_s", 2.0 if len(shape) == 4 else None)
        write_nifti(self.root / relative, data, affine, tr_s=tr_s, **options)

    def person(self, label: str = "sub-01", task: str = "pain", session: str = "") -> None:
        """Write all that belongs to a complete participant."""
        prefix = f"{label}_{session}" if session else label
        home = f"{label}/{session}" if session else label
        bold = f"{home}/func/{prefix}_task-{task}_bold"
        self.image(f"{home}/anat/{prefix}_T1w.nii.gz", (6, 6, 6))
        self.image(f"{bold}.nii.gz")
        self.json(
            f"{bold}.json",
            RepetitionTime=2.0,
            TaskName=task,
            SliceTiming=[0.0, 1.0, 0.0, 1.0],
            PhaseEncodingDirection="j",
            TotalReadoutTime=0.04,
            B0FieldSource="pair",
        )
        events = self.root / f"{home}/func/{prefix}_task-{task}_events.tsv"
        write_tsv(events, {"onset": [1.0, 9.0], "duration": [4, 4]})
        for kind in ("cardiac", "respiratory"):
            recording = self.root / f"{home}/func/{prefix}_task-{task}_recording-{kind}_physio.tsv.gz"
            about = {"SamplingFrequency": 10, "StartTime": -3.0, "Columns": [kind]}
            write_tsv(recording, {kind: [1, 2, 3]}, about)
        for direction, axis in (("AP", "j-"), ("PA", "j")):
            name = f"{home}/fmap/{prefix}_dir-{direction}_epi"
            self.image(f"{name}.nii.gz", SHAPE[:3])
            self.json(f"{name}.json", PhaseEncodingDirection=axis, TotalReadoutTime=0.04, B0FieldIdentifier="pair")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """One complete participant, about whom nothing is found."""
    made = Tree(tmp_path / "dataset")
    made.json("dataset_description.json", Name="Tiny", BIDSVersion="1.11.0")
    write_text(made / "participants.tsv", "participant_id\tage\nsub-01\t33\n")
    made.person()
    return made
