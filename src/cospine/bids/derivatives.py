"""Naming and writing derivatives: the one place where an output gets its name, its sidecar and its bytes."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from cospine import __version__
from cospine.bids import write
from cospine.bids.names import build_name, parse_name, sidecar_of

BIDS_VERSION = "1.11.0"
# What the validator (3.0.2) has no rule for, and nothing else. It knows masks, dsegs, T1w, BOLD and `logs/`.
BIDSIGNORE = (
    "*_xfm.*",
    "*_boldref.*",
    "*_boldmap.*",
    "*_statmap.*",
    "*_relmat.*",
    "*_timeseries.*",
    "*_regressors.*",
    "*_points.*",
    "*_fmapid-*",
    "*.html",
    "CITATION.md",
    "group",
    "fsl",
    "work",
)
CITATION = """\
# How to cite

These data were processed with CoSpine {version} (simultaneous brain and cervical spinal cord fMRI).
Please cite the description of the system, and the software with its version:

- Wei et al. (2025). Scientific Data. https://doi.org/10.1038/s41597-025-05982-x
- The CoSpine developers. CoSpine, version {version} [computer software].

The report of each participant (`sub-XX.html`) names the methods used and their references.
"""


class Named(Protocol):
    """What an output can be named after: a run or a participant."""

    @property
    def prefix(self) -> str: ...


@dataclass(frozen=True)
class Derivatives:
    """A derivative dataset to be written.

    Parameters
    ----------
    root : Path
        Folder of the derivatives.
    raw : Path, optional
        Folder of the dataset they come from; `uri` names its files `bids:raw:...`.
    version : str
        Version of CoSpine put into `dataset_description.json`.
    """

    root: Path
    raw: Path | None = None
    version: str = __version__

    def path(
        self,
        subject: Named | str,
        suffix: str,
        extension: str = ".nii.gz",
        *,
        datatype: str = "func",
        **entities: str | int | None,
    ) -> Path:
        """Where an output of a run or a participant belongs.

        Parameters
        ----------
        subject : Run, Participant or str
            A string is a prefix as `sub-01` or `sub-01_ses-1_task-pain`.
        suffix : str
            As `bold`, `boldref`, `mask`, `xfm`, `timeseries`.
        extension : str
            As `.nii.gz`, `.tsv`, `.h5`.
        datatype : str
            Folder: `func`, `anat`, `fmap`; empty for the participant's own folder.
        **entities
            As `desc="preproc"`, `space="PAM50"`, `from_="orig"`, `to="boldref"`; they replace those of the subject, and
            None removes one (as `echo=None`).

        Returns
        -------
        Path
            `root/sub-XX[/ses-..]/datatype/P_..._suffix.ext`; no folder is made yet.

        Raises
        ------
        ValueError
            For an unknown entity or a forbidden character.
        """
        prefix = subject if isinstance(subject, str) else subject.prefix
        parsed = parse_name(f"{prefix}_x")
        if parsed is None or "sub" not in parsed.entities:
            raise ValueError(f"{prefix!r} does not begin with a participant, as sub-01")
        named: dict[str, str | int | None] = dict(parsed.entities)
        named.update({key.rstrip("_"): value for key, value in entities.items()})
        folder = self.root / f"sub-{named['sub']}"
        if named.get("ses") is not None:
            folder /= f"ses-{named['ses']}"
        return folder / datatype / build_name(named, suffix, extension)

    def uri(self, path: Path) -> str:
        """BIDS URI of a file here (`bids::...`) or in the raw dataset (`bids:raw:...`), for `Sources`.

        Raises
        ------
        ValueError
            When the file lies in neither.
        """
        for base, scheme in ((self.root, "bids::"), (self.raw, "bids:raw:")):
            if base is None:
                continue
            # Folders may be given relative or through links; the file itself may be a link (git-annex) and stays one.
            for place in (path.absolute(), path.parent.resolve() / path.name):
                for folder in (base.absolute(), base.resolve()):
                    if place.is_relative_to(folder):
                        return scheme + place.relative_to(folder).as_posix()
        raise ValueError(f"{path} is neither in {self.root} nor in {self.raw}")

    def source(self, path: Path) -> str:
        """How a sidecar names a file that something was made of: its BIDS URI, or its bare name where it lies in no dataset."""
        try:
            return path.name if self.raw is None else self.uri(path)
        except ValueError:
            return path.name

    def write_image(
        self,
        path: Path,
        data: NDArray[Any],
        affine: NDArray[np.floating[Any]],
        sidecar: Mapping[str, Any] | None = None,
        *,
        tr_s: float | None = None,
    ) -> None:
        """Write a map, a mask or a label image: bool as uint8, floats as float32, integers as they are.

        Parameters
        ----------
        path : Path
            From `path`.
        data : ndarray
            (x, y, z[, t]).
        affine : ndarray
            (4, 4), voxel index to RAS mm.
        sidecar : mapping, optional
            Written beside it as `.json`.
        tr_s : float, optional
            Repetition time of a 4-D image, s.
        """
        self._sidecar(path, sidecar)
        write.write_nifti(path, data, affine, tr_s=tr_s, space_code=_space_code(path))

    def write_bold(
        self,
        path: Path,
        data: NDArray[np.float32],
        affine: NDArray[np.floating[Any]],
        tr_s: float,
        sidecar: Mapping[str, Any],
        noise_sd: float,
    ) -> float:
        """Write a BOLD series as scaled int16, see `cospine.bids.write.write_bold`.

        Parameters
        ----------
        path : Path
            From `path`.
        data : ndarray
            (x, y, z, t) float32, finite.
        affine : ndarray
            (4, 4), voxel index to RAS mm.
        tr_s : float
            Repetition time, s.
        sidecar : mapping
            Written beside it as `.json`, with `RepetitionTime` and `RoundingError` added.
        noise_sd : float
            Thermal noise in the units of `data`; 0 for none known.

        Returns
        -------
        float
            Rounding error at most, in the units of `data`.
        """
        rounding = write.write_bold(path, data, affine, tr_s, noise_sd=noise_sd, space_code=_space_code(path))
        self._sidecar(path, {"RepetitionTime": tr_s, **sidecar, "RoundingError": rounding})
        return rounding

    def write_bold_volumes(
        self,
        path: Path,
        volumes: Iterable[NDArray[np.float32]],
        shape: tuple[int, int, int, int],
        affine: NDArray[np.floating[Any]],
        tr_s: float,
        sidecar: Mapping[str, Any],
        *,
        bounds: tuple[float, float],
        noise_sd: float,
    ) -> float:
        """Write a series volume by volume, see `cospine.bids.write.write_bold_volumes`; `bounds` is its range."""
        rounding = write.write_bold_volumes(
            path, volumes, shape, affine, tr_s, low=bounds[0], high=bounds[1], noise_sd=noise_sd, space_code=_space_code(path)
        )
        self._sidecar(path, {"RepetitionTime": tr_s, **sidecar, "RoundingError": rounding})
        return rounding

    def write_tsv(
        self,
        path: Path,
        columns: Mapping[str, Iterable[Any]],
        descriptions: Mapping[str, str | Mapping[str, Any]] | None = None,
    ) -> None:
        """Write a table and its column descriptions, see `cospine.bids.write.write_tsv`."""
        write.write_tsv(path, columns, descriptions)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        write.write_json(path, content)

    def write_text(self, path: Path, text: str) -> None:
        """Write a text file (HTML, transforms, markdown)."""
        write.write_text(path, text)

    def write_bytes(self, path: Path, content: bytes) -> None:
        """Write a file as it is (ITK `.h5`)."""
        write.write_bytes(path, content)

    def write_dataset_description(self, name: str | None = None) -> None:
        """Write `dataset_description.json`, `.bidsignore` and `CITATION.md`.

        Parameters
        ----------
        name : str, optional
            Name of the raw dataset; by default its own `dataset_description.json` says it.
        """
        raw: dict[str, Any] = {}
        if self.raw is not None and (self.raw / "dataset_description.json").is_file():
            try:
                loaded = json.loads((self.raw / "dataset_description.json").read_bytes())
            except ValueError:
                loaded = {}  # the reader reports an unreadable description as a finding
            raw = loaded if isinstance(loaded, dict) else {}
        generator = {"Name": "CoSpine", "Version": self.version}
        description: dict[str, Any] = {
            "Name": f"CoSpine derivatives of {name or raw.get('Name') or 'a BIDS dataset'}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [generator],
        }
        if self.raw is not None:
            # Relative, so that the pair of folders can be moved and its bytes do not tell whose disk it was.
            raw_from_here = os.path.relpath(self.raw.resolve(), self.root.resolve())
            description["DatasetLinks"] = {"raw": quote(Path(raw_from_here).as_posix())}
        if raw.get("DatasetDOI"):
            description["SourceDatasets"] = [{"DOI": raw["DatasetDOI"]}]
        if raw.get("License"):
            description["License"] = raw["License"]
        write.write_json(self.root / "dataset_description.json", description)
        write.write_text(self.root / ".bidsignore", "\n".join(BIDSIGNORE))
        write.write_text(self.root / "CITATION.md", CITATION.format(version=self.version))

    def _sidecar(self, path: Path, content: Mapping[str, Any] | None) -> None:
        if content is not None:
            write.write_json(sidecar_of(path), content)


def _space_code(path: Path) -> int:
    name = parse_name(path.name)
    space = name.entities.get("space", "") if name else ""
    # PAM50 shares MNI's world coordinates by its header.
    return write.MNI if space.startswith(("MNI", "PAM50")) else write.SCANNER
