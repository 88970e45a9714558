"""`cospine segment`: the spinal cord in any single image."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cospine import __version__
from cospine.errors import CoSpineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cospine.anatomy.segmentation import CordSegmentation

_ENDINGS = (".nii.gz", ".nii")
_LEAST_EXTENT_MM = 15.0
_LEAST_VOXELS = 8
_BOLD = ("bold", "boldref", "sbref")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "segment",
        help="find the spinal cord in an image",
        description="Find the spinal cord in one image of any contrast, orientation, slice thickness and field of view: EPI, "
        "T1w, T2w, T2*w, whole head and neck or a crop. Writes a mask (of the temporal mean of a series), and beside it a JSON "
        "file with the confidence in each slice. Exit status: 0 done, 1 no cord was found (the JSON says why), 2 bad input.",
    )
    parser.add_argument("image", metavar="IMAGE", type=Path, help="NIfTI image, .nii or .nii.gz, 3-D or 4-D")
    parser.add_argument(
        "--output",
        metavar="MASK.nii.gz",
        type=Path,
        required=True,
        help="the mask, on the grid of the image; MASK.json beside it",
    )
    parser.add_argument(
        "--csf",
        choices=("brighter", "darker"),
        help="what CSF is beside the cord, where you know it; brighter in images named *_bold, *_boldref and *_sbref, for all "
        "others the image is asked. Decides where the outline is drawn when voxels hardly resolve the CSF",
    )
    parser.add_argument("--qc", metavar="FILE.svg", type=Path, help="a picture of the mask, slice by slice")
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Segment; 0 when done, 1 when there is no cord, 2 when an input is bad."""
    errors = _output_errors(args.image, args.output, args.qc)
    mean, affine, about = None, None, {}
    try:
        mean, affine, about = _read(args.image)
    except CoSpineError as error:
        errors.insert(0, error)
    if errors or mean is None or affine is None:
        for error in errors:
            print(f"cospine segment: {error}", file=sys.stderr)
        return 2

    from cospine.anatomy.segmentation import segment_cord
    from cospine.space.grid import Grid

    brighter = _csf_brighter(args.csf, args.image)
    found = segment_cord(mean, Grid((mean.shape[0], mean.shape[1], mean.shape[2]), affine), csf_brighter=brighter)
    about["CSF"] = {None: "as the image shows it", True: "brighter than cord", False: "darker than cord"}[brighter]
    try:
        _write(args.output, found, affine, {"Image": args.image.name, **about})
        if args.qc is not None and found.found:
            _draw(args.qc, mean, affine, found)
    except OSError as error:
        raise CoSpineError(
            f"cannot be written ({error.strerror or error})", str(args.output.parent), "Choose another folder"
        ) from error
    if not found.found:
        print(f"cospine segment: {args.image}: no cord was found: {found.reason}", file=sys.stderr)
        return 1
    print(args.output)
    return 0


def _csf_brighter(asked: str | None, image: Path) -> bool | None:
    """Whether CSF is brighter than cord: as asked, else by the image's kind, else None."""
    from cospine.anatomy.segmentation import BOLD_CSF_BRIGHTER
    from cospine.bids.names import parse_name

    if asked is not None:
        return asked == "brighter"
    name = parse_name(image.name)
    return BOLD_CSF_BRIGHTER if name is not None and name.suffix in _BOLD else None


def _output_errors(image: Path, output: Path, picture: Path | None) -> list[CoSpineError]:
    errors = []
    where = f"--output {output}"
    if not output.name.endswith(_ENDINGS) or output.name in _ENDINGS:
        errors.append(CoSpineError("is no name of a NIfTI image", where, "Name it MASK.nii.gz"))
    for flag, path in (("--output", output), ("--qc", picture)):
        if path is None:
            continue
        if path.is_dir():
            errors.append(CoSpineError("is a folder", f"{flag} {path}", "Name a file in it"))
        elif not path.parent.is_dir():
            errors.append(CoSpineError("is to lie in a folder that does not exist", f"{flag} {path}", "Make the folder first"))
    if picture is not None and picture.suffix != ".svg":
        errors.append(CoSpineError("is no name of an SVG picture", f"--qc {picture}", "Name it FILE.svg"))
    if image.absolute().resolve() in {one.absolute().resolve() for one in (output, _sidecar(output), picture) if one is not None}:
        errors.append(CoSpineError("is the image itself, which would be lost", where, "Name another file"))
    return errors


def _sidecar(output: Path) -> Path:
    return output.with_name(output.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _read(path: Path) -> "tuple[NDArray[np.float32], NDArray[np.float64], dict[str, Any]]":
    """Temporal mean, affine, and what the sidecar should say of the image."""
    import numpy as np

    from cospine.bids.images import image_header, load_image, survey

    where = str(path)
    if path.is_dir():
        raise CoSpineError("is a folder", where, "Give one NIfTI image")
    header = image_header(path)
    shape = header.shape
    if len(shape) not in (3, 4) or min(shape[:3]) < 2:
        what = f"has the shape {' x '.join(map(str, shape))}: a volume or a series of volumes is needed"
        raise CoSpineError(what, where, "Give a 3-D image, or a 4-D series, of at least two slices")
    spacing = np.sqrt((header.affine[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(header.affine).all() or abs(np.linalg.det(header.affine[:3, :3])) < 1e-9 * max(spacing.max(), 1e-9) ** 3:
        raise CoSpineError("has an affine that cannot be inverted", where, "Convert the image again, or repair its header")
    extent = np.sort(np.array(shape[:3]) * spacing)
    if extent[1] < _LEAST_EXTENT_MM or np.sort(shape[:3])[1] < _LEAST_VOXELS:
        size = " x ".join(f"{mm:.0f}" for mm in np.array(shape[:3]) * spacing)
        raise CoSpineError(
            f"is too small to tell a cord in it ({size} mm, {' x '.join(map(str, shape[:3]))} voxels)",
            where,
            f"Give a field of view of {_LEAST_EXTENT_MM:.0f} mm and {_LEAST_VOXELS} voxels at least",
        )
    what_is_there = survey(path, header)
    data, affine = load_image(path)
    mean = data if data.ndim == 3 else data.mean(axis=3, dtype=np.float64).astype(np.float32)
    about: dict[str, Any] = {"Volumes": 1 if data.ndim == 3 else data.shape[3]}
    if what_is_there.non_finite:
        about["NonFiniteValues"] = what_is_there.non_finite
        print(f"cospine segment: {path}: {what_is_there.non_finite} values that are not finite count as 0", file=sys.stderr)
    if not mean.any():
        why = "holds no finite value but 0" if what_is_there.non_finite else "is zero everywhere"
        raise CoSpineError(why, where, "Give an image with signal")
    if mean.min() == mean.max():
        raise CoSpineError("has one value everywhere", where, "Give an image with signal")
    return mean, affine, about


def _write(output: Path, found: "CordSegmentation", affine: "NDArray[np.float64]", about: dict[str, Any]) -> None:
    from cospine.anatomy.evidence import AREA_MM2
    from cospine.anatomy.segmentation import LEAST_SHARE
    from cospine.bids.write import write_json, write_nifti

    write_nifti(output, found.mask, affine)
    write_json(
        _sidecar(output),
        {
            "Description": "Spinal cord, from the foramen magnum down; a voxel is cord when at least half of it is",
            "found": found.found,
            "slice_axis": found.slice_axis,
            "confidence": found.confidence.round(3),
            "reason": found.reason,
            "centre_line": found.centre_line.round(2),
            "CentreLineUnits": "mm, RAS world of the image, top to bottom",
            "Thresholds": {"VoxelShare": LEAST_SHARE, "AreaMm2": list(AREA_MM2)},
            **about,
            "GeneratedBy": {"Name": "CoSpine", "Version": __version__},
        },
    )


def _draw(path: Path, mean: "NDArray[np.float32]", affine: "NDArray[np.float64]", found: "CordSegmentation") -> None:
    from cospine.bids.write import write_text
    from cospine.quality.mosaic import cord_mosaic

    write_text(path, cord_mosaic(mean, affine, found.mask).frames[0].svg)
