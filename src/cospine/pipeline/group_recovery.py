"""What share of a horn's true effect its mean keeps in the maps of a group: horns are no wider than voxels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cospine.pipeline.group_answer import Answer
from cospine.pipeline.spaces_stage import PAM50
from cospine.pipeline.task_stage import HALF
from cospine.space.cord_template import CordTemplate
from cospine.stats.cord_regions import cord_regions
from cospine.stats.recovery import Passage, recovery
from cospine.stats.regions import RegionSet

SET = "spinal"
_OFFSETS = (0.0, 0.5)
"""Places of the acquired voxels tried along each axis: for a mean over them these two do."""


def with_recovery(answers: Sequence[Answer], cord: CordTemplate | None) -> list[Answer]:
    """Add the recovery coefficient of each horn named beforehand, each segment active alone.

    Voxel and smoothing are those that most of the people's maps say; where none says them there is no coefficient.
    """
    known: dict[tuple[Passage, tuple[str, ...]], dict[str, float]] = {}
    found = []
    for answer in answers:
        means, passage = answer.regional.get(SET), _passage(answer)
        if means is None or passage is None or cord is None:
            found.append(answer)
            continue
        names = tuple(one.name for one, first in zip(means.regions, means.primary, strict=True) if first)
        if (passage, names) not in known:
            known[passage, names] = _shares(cord, names, passage)
        found.append(replace(answer, recovery=known[passage, names]))
    return found


def _shares(cord: CordTemplate, names: tuple[str, ...], passage: Passage) -> dict[str, float]:
    """Each horn's coefficient, on the template's own fine grid."""
    every = cord_regions(cord, SET)
    kept = tuple(one for one in every.regions if one.name in names)
    chosen = RegionSet(every.space, every.grid, every.labels, kept, every.notes)
    inside: NDArray[np.bool_] = cord.cord >= HALF
    result = recovery(chosen, passage, within=inside, offsets=_OFFSETS)
    return {one.name: float(share) for one, share in zip(result.regions, result.share, strict=True)}


def _passage(answer: Answer) -> Passage | None:
    """How the effects came to PAM50, by the sidecars."""
    question = answer.analysis.question
    said: Counter[Passage] = Counter()
    for one in answer.analysis.people:
        effect = one.effects.get((question, PAM50))
        about = {} if effect is None else effect.sidecar
        voxel, smoothing = (about.get(key) for key in ("AcquiredVoxel_mm", "Smoothing_mm"))
        if isinstance(voxel, list) and isinstance(smoothing, list) and len(voxel) == len(smoothing) == 3:
            said[Passage(tuple(map(float, voxel)), tuple(map(float, smoothing)), "linear")] += 1  # type: ignore[arg-type]
    return said.most_common(1)[0][0] if said else None
