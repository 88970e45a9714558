"""Compliance with a protocol card: which image deviates in what.

A card is a JSON object: `Name`, and `Images`, a list of {`Match`: entities and suffix that an image must have, `Require`:
values}. A value is a number, a word, or a list of either; {`Value`: .., `Tolerance`: ..} gives numbers a tolerance. Keys are
those of sidecars, and five that follow from image and slice times: `Shape`, `VoxelSize` (mm), `Volumes`, `Multiband`,
`SliceOrder` (rank of each slice).
What a sidecar does not state is no deviation.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from cospine.bids import Finding, finding, image_header
from cospine.bids.runs import multiband_of
from cospine.bids.tables import read_json
from cospine.check.scope import Picture, Scope, frozen
from cospine.check.sidecars import slice_order, slice_times
from cospine.errors import CoSpineError

IN_DATASET = "code/protocol_card.json"
"""Where a dataset keeps the card of its own acquisition."""

_TOLERANCE = 1e-3  # relative, where a card gives none
_ALIEN = 0.5  # share of a card's values from which a dataset is of another protocol
_SHAPE, _VOXEL, _VOLUMES, _MULTIBAND, _ORDER = "Shape", "VoxelSize", "Volumes", "Multiband", "SliceOrder"


@dataclass(frozen=True)
class Wanted:
    """Values that images of one kind must have.

    Parameters
    ----------
    match : mapping of str to str
        Entities of the name, and `suffix`.
    require : mapping of str to (value, tolerance)
        Tolerances are absolute; None for the default.
    """

    match: Mapping[str, str]
    require: Mapping[str, tuple[Any, float | None]]


@dataclass(frozen=True)
class Card:
    """The required values of an acquisition.

    Parameters
    ----------
    name : str
        Of the protocol.
    source : str
        Where the card is from, for people.
    images : tuple of Wanted
        Several may match an image; all of them count.
    """

    name: str
    source: str
    images: tuple[Wanted, ...]

    def covered(self) -> dict[str, frozenset[str]]:
        """Keys that the card judges, by suffix."""
        found: dict[str, frozenset[str]] = {}
        for wanted in self.images:
            suffix = wanted.match.get("suffix", "")
            keys = set(wanted.require) | ({"MultibandAccelerationFactor"} if _MULTIBAND in wanted.require else set())
            found[suffix] = found.get(suffix, frozenset()) | keys
        return found


def read_card(path: Path) -> Card:
    """Read a card.

    Raises
    ------
    CoSpineError
        When the file is no card; it says which part.
    """
    remedy = "Give a card as docs/check.md describes it."
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise CoSpineError(f"cannot be read ({error})", str(path), remedy) from error
    return _card(content, str(path), remedy)


def cospine_card() -> Card:
    """The card of the CoSpine acquisition, which ships with the package."""
    content = json.loads(files("cospine.check").joinpath("cospine_card.json").read_text("utf-8"))
    return _card(content, "the CoSpine card", "")


def _card(content: Mapping[str, Any], source: str, remedy: str) -> Card:
    images = content.get("Images")
    if not isinstance(images, list) or not images:
        raise CoSpineError("has no list Images", source, remedy)
    wanted = []
    for at, one in enumerate(images, start=1):
        match = one.get("Match") if isinstance(one, dict) else None
        require = one.get("Require") if isinstance(one, dict) else None
        if not isinstance(match, dict) or not all(isinstance(value, str) for value in match.values()) or "suffix" not in match:
            raise CoSpineError(f"Images {at}: Match is no object of words with a suffix", source, remedy)
        if not isinstance(require, dict) or not require:
            raise CoSpineError(f"Images {at}: Require is no object of values", source, remedy)
        wanted.append(
            Wanted(match, {key: _value(value, f"Images {at}: {key}", source, remedy) for key, value in require.items()})
        )
    return Card(str(content.get("Name", "unnamed")), source, tuple(wanted))


def _value(value: Any, where: str, source: str, remedy: str) -> tuple[Any, float | None]:
    if not isinstance(value, dict):
        return value, None
    tolerance = value.get("Tolerance")
    if "Value" not in value or isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise CoSpineError(f"{where} has no Value and Tolerance", source, remedy)
    return value["Value"], float(tolerance)


# --- judging ---------------------------------------------------------------------------------------------------------


def check_protocol(scope: Scope, card: Card) -> Iterator[Finding]:
    """Deviations from a card, one finding an image; one for the dataset where it follows another protocol."""
    deviations: list[tuple[Picture, list[str]]] = []
    judged = wrong = 0
    for one in scope.pictures:
        said: list[str] = []
        for wanted in card.images:
            if not _matches(one, wanted.match):
                continue
            found = _found(scope, one, wanted.require)
            judged += len(found)
            said += [
                f"{key} {_shown(found[key])} instead of {_shown(value)}"
                for key, (value, tolerance) in wanted.require.items()
                if key in found and not _equal(found[key], value, tolerance)
            ]
        wrong += len(said)
        if said:
            deviations.append((one, said))
    if judged and wrong > _ALIEN * judged:
        yield finding(
            "other-protocol", None, (), f"{wrong} of {judged} values are not those of {card.source} ({card.name})",
            "Give the card of your protocol with --card.",
        )  # fmt: skip
        return
    for one, said in deviations:
        yield finding(
            "protocol-deviation", one.participant, one.about, f"{'; '.join(said)} (protocol {card.name})",
            "Compare with the protocol of the session; if the sidecar is wrong, convert it again.",
        )  # fmt: skip


def as_required(scope: Scope, card: Card, file: str) -> bool:
    """Whether a card asks for the number of volumes that an image has."""
    for one in scope.pictures:
        if one.relative != file:
            continue
        for wanted in card.images:
            if _VOLUMES in wanted.require and _matches(one, wanted.match):
                return _found(scope, one, {_VOLUMES: None}).get(_VOLUMES) == wanted.require[_VOLUMES][0]
    return False


def _matches(picture: Picture, match: Mapping[str, str]) -> bool:
    entities = {**picture.entry.name.entities, "suffix": picture.suffix}
    return all(entities.get(key) == value for key, value in match.items())


def _found(scope: Scope, picture: Picture, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Values of an image; only those that are known."""
    found = {key: picture.sidecar[key] for key in keys if key in picture.sidecar}
    times = slice_times(picture.sidecar)
    if _MULTIBAND in keys:
        factor = (multiband_of(times) if times else None) or picture.sidecar.get("MultibandAccelerationFactor")
        found.update({} if factor is None else {_MULTIBAND: factor})
    if _ORDER in keys and times:
        found[_ORDER] = list(slice_order(times))
    if {_SHAPE, _VOXEL, _VOLUMES} & keys.keys() and picture.absent is None:
        try:
            header = image_header(scope.index.path(picture.relative))
        except CoSpineError:
            return found  # the reader tells of an image without a header
        of_image = {
            _SHAPE: list(header.shape[:3]),
            _VOXEL: [round(size, 4) for size in header.zooms_mm],
            _VOLUMES: header.volumes,
        }
        found |= {key: value for key, value in of_image.items() if key in keys}
    return found


def _equal(found: Any, wanted: Any, tolerance: float | None) -> bool:
    if isinstance(wanted, list):
        same = isinstance(found, Sequence) and not isinstance(found, str) and len(found) == len(wanted)
        return same and all(_equal(one, other, tolerance) for one, other in zip(found, wanted, strict=True))
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        return frozen(found) == frozen(wanted)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    return abs(found - wanted) <= (_TOLERANCE * abs(wanted) if tolerance is None else tolerance)


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) > 6:
        return f"[{', '.join(map(str, value[:4]))}, .. {len(value)} values]"
    return json.dumps(value, default=str)
