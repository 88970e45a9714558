"""An image's header: can it be used, and where does it place the voxels."""

import math

import numpy as np
from numpy.typing import NDArray

from cospine.bids.findings import Finding, Report, finding
from cospine.bids.images import ImageHeader, image_header, survey
from cospine.bids.index import Entry, Index
from cospine.errors import CoSpineError

_OBLIQUE_DEG = 1.0


def read_header(index: Index, participant: str, entry: Entry, findings: list[Finding]) -> ImageHeader | None:
    """Read an image's header; None, and a finding, when it cannot be used."""
    path = index.path(entry.relative)
    if entry.relative in index.absent or not path.exists():
        findings.append(
            finding(
                "content-missing",
                participant,
                entry.relative,
                "its content is not on this disk",
                "Fetch it, as with `datalad get` or `git annex get`.",
            )
        )
        return None
    try:
        header = image_header(path)
    except CoSpineError as error:
        findings.append(finding("unreadable-image", participant, entry.relative, error.what, error.remedy))
        return None
    if header.compressed != entry.file.endswith(".gz"):
        findings.append(
            finding(
                "misnamed-compression",
                participant,
                entry.relative,
                f"the name says {'compressed' if not header.compressed else 'not compressed'}, the content does not; "
                "read by content",
                "Rename the file, or compress it, so that other programs can read it.",
            )
        )
    linear = header.affine[:3, :3]
    sizes = np.linalg.norm(linear, axis=0)
    if not np.isfinite(header.affine).all() or abs(np.linalg.det(linear)) < 1e-3 * np.prod(sizes) or not sizes.all():
        findings.append(
            finding(
                "broken-affine",
                participant,
                entry.relative,
                "the affine is singular or not finite: voxels have no place in space",
                "Convert the image again, or set its sform from the scanner's orientation.",
            )
        )
        return None
    return header


def survey_image(index: Index, participant: str, entry: Entry) -> tuple[bool, Finding | None]:
    """Read an anatomical or field-map image to its end: can it be used, and what is to be said of it.

    An image whose header cannot be used passes here: `read_header` reports that.
    """
    try:
        header = image_header(index.path(entry.relative))
        result = survey(index.path(entry.relative), header)
    except CoSpineError:
        return True, None
    remedy = "Copy or convert the image again."
    if result.damage:
        message = f"the compressed data are damaged ({result.damage}); it is not used"
        return False, finding("corrupt-image", participant, entry.relative, message, remedy)
    if result.complete:
        return True, None
    message = f"the file ends early: {result.volumes} whole volumes of {header.volumes} are there"
    message += " and used" if result.volumes else "; it is not used"
    return result.volumes > 0, finding("truncated-image", participant, entry.relative, message, remedy)


def check_orientation(header: ImageHeader, say: Report) -> None:
    """Report missing, disagreeing, oblique and non-RAS orientations."""
    if header.sform is None and header.qform is None:
        say(
            "no-orientation",
            "neither sform nor qform is set: left and right cannot be known; voxel sizes alone are used",
            "Convert the image again, or set its sform.",
        )
        return
    if header.sform is not None and header.qform is not None:
        corners = np.array(np.meshgrid(*([0, n - 1] for n in header.shape[:3]))).reshape(3, -1)
        apart = (header.sform - header.qform)[:3, :3] @ corners + (header.sform - header.qform)[:3, 3:]
        distance = float(np.linalg.norm(apart, axis=0).max())
        if distance > 0.5 * min(np.linalg.norm(header.sform[:3, :3], axis=0)):
            say(
                "affines-disagree",
                f"sform and qform differ by up to {distance:.1f} mm inside the image; the sform is used",
                "Keep the one that is right; set the code of the other to 0.",
            )
    linear = header.affine[:3, :3] / np.linalg.norm(header.affine[:3, :3], axis=0)
    axes = closest_axes(header.affine)
    tilt = math.degrees(math.acos(min(1.0, float(np.abs(linear).max(axis=0).min()))))
    if tilt > _OBLIQUE_DEG:
        say(
            "oblique-affine",
            f"tilted by {tilt:.1f}° against the scanner's axes; used as it is",
            "Nothing to do.",
        )
    if axes != "RAS":
        say("non-ras-affine", f"voxel axes point {axes}; used as they are", "Nothing to do.")


def closest_axes(affine: NDArray[np.float64]) -> str:
    """Anatomical directions in which the voxel axes point, as `RAS` or `LPI`."""
    linear = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    letters = ["", "", ""]
    free = [0, 1, 2]
    for column in sorted(range(3), key=lambda axis: -np.abs(linear[:, axis]).max()):
        row = max(free, key=lambda axis: abs(linear[axis, column]))
        free.remove(row)
        letters[column] = ("LR", "PA", "IS")[row][int(linear[row, column] > 0)]
    return "".join(letters)
