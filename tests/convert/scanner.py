"""A scanner that writes DICOM: classic 2-D files of arrays made here, one a slice, and a session of the CoSpine protocol."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from cospine.bids.clock import clock_s

STUDY = "1.2.826.0.1.3680043.8.498.1"
NAME, NUMBER = "Doe^Jane", "P4711"
PREFIX = "brain-spinal_ep2d"
SHIM = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.04}


def clock(at_s: float) -> str:
    """DICOM time of seconds since midnight."""
    return f"{int(at_s // 3600):02d}{int(at_s // 60 % 60):02d}{at_s % 60:09.6f}"


def write_series(
    folder: Path,
    number: int,
    description: str,
    data: NDArray[Any],
    *,
    at: str = "10:00:00",
    tr_s: float = 2.0,
    echo_ms: float = 30.0,
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND"),
    spacing: tuple[float, float, float] = (3.0, 3.0, 4.0),
    uid: str = "",
    first_instance: int = 1,
    **header: Any,
) -> list[Path]:
    """Write a volume (x, y, z) or series (x, y, z, t) in LAS axes, as axial slices from foot to head.

    `uid` puts several calls (echoes) into one series.
    """
    volumes = data if data.ndim == 4 else data[..., None]
    series_uid = uid or f"{STUDY}.{number}"
    written = []
    instance = first_instance
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(volumes.shape[3]):
        for k in range(volumes.shape[2]):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = MRImageStorage
            meta.MediaStorageSOPInstanceUID = f"{series_uid}.{instance}"
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = folder / f"{number:03d}-{instance:05d}.dcm"
            one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
            one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
            one.StudyInstanceUID, one.SeriesInstanceUID = STUDY, series_uid
            one.FrameOfReferenceUID = f"{STUDY}.0"
            one.PatientName, one.PatientID = NAME, NUMBER
            one.PatientBirthDate, one.PatientSex, one.PatientAge = "19990101", "F", "027Y"
            one.Modality, one.Manufacturer, one.ManufacturerModelName = "MR", "SIEMENS", "Prisma"
            one.MagneticFieldStrength = 3
            one.SeriesDescription = one.ProtocolName = description
            one.SeriesNumber, one.InstanceNumber, one.AcquisitionNumber = number, instance, t + 1
            one.ImageType = list(image_type)
            one.StudyDate = one.SeriesDate = one.AcquisitionDate = "20260131"
            one.StudyTime = one.SeriesTime = "095900.000000"
            begin = clock_s(at)
            assert begin is not None
            one.AcquisitionTime = one.ContentTime = clock(begin + t * tr_s)
            one.ScanningSequence, one.SequenceVariant, one.MRAcquisitionType = "EP", "SK", "2D"
            one.RepetitionTime, one.EchoTime, one.FlipAngle = tr_s * 1000, echo_ms, 80
            one.Rows, one.Columns = volumes.shape[1], volumes.shape[0]
            one.PixelSpacing = [spacing[1], spacing[0]]
            one.SliceThickness = one.SpacingBetweenSlices = spacing[2]
            one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            half = [(n - 1) / 2 * mm for n, mm in zip(volumes.shape[:2], spacing[:2], strict=True)]
            one.ImagePositionPatient = [-half[0], -half[1], k * spacing[2]]
            one.SliceLocation = k * spacing[2]
            one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
            one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
            # columns go to the left, rows to the back; the voxel axis goes to the front
            one.PixelData = np.ascontiguousarray(volumes[:, ::-1, k, t].T.astype("<u2")).tobytes()
            for key, value in header.items():
                setattr(one, key, value)
            one.save_as(path, enforce_file_format=True)
            written.append(path)
            instance += 1
    return written


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint16]:
    """Something to store."""
    return np.random.default_rng(seed).integers(100, 2000, shape).astype(np.uint16)


def write_pain_session(folder: Path, volumes: int = 5) -> Path:
    """The series of a heat-pain session in small, as site 1 named them, with a localizer and strangers among them."""
    write_series(folder / "1", 1, "localizer_3plane", noise((16, 16, 3)), at="09:58:00")
    t1 = {"ScanningSequence": "GR", "MRAcquisitionType": "3D", "echo_ms": 2.3, "tr_s": 2.3}
    write_series(folder / "3", 3, "brain-spinal_t1_pre", noise((24, 24, 20), 1), at="10:00:00", **t1)
    pair = {"tr_s": 7.5, "echo_ms": 87.0, "image_type": ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND")}
    for number, way, at in ((7, "AP", "10:10:00"), (8, "PA", "10:11:00")):
        name = f"{PREFIX}_{way}_B0_epi1.5X1.5_task1_pre"
        write_series(folder / str(number), number, name, noise((16, 16, 6), number), at=at, **pair)
    write_series(folder / "12", 12, f"{PREFIX}_pre_task2_R", noise((16, 16, 6, volumes), 12), at="10:20:00.125")
    gre = {"tr_s": 0.675, "ScanningSequence": "GR"}
    for n, echo in enumerate((4.92, 7.38)):
        files = {"uid": f"{STUDY}.13", "first_instance": 1 + 6 * n, "echo_ms": echo}
        write_series(
            folder / "13", 13, "brain_spinal_gre_fieldmapping_pre", noise((16, 16, 6), 20 + n), at="10:30:00", **gre, **files
        )
    phase = {"echo_ms": 7.38, "image_type": ("ORIGINAL", "PRIMARY", "P", "ND")}
    write_series(folder / "14", 14, "brain_spinal_gre_fieldmapping_pre", noise((16, 16, 6), 30), at="10:30:00.5", **gre, **phase)
    (folder / ".DS_Store").write_bytes(b"\0\1")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    return folder


def rules(**changes: Any) -> Mapping[str, Any]:
    """One rule for BOLD, changed as asked."""
    rule = {"match": {"SeriesDescription": "bold*"}, "to": "func/bold", "entities": {"task": "rest"}, **changes}
    return {"series": [rule]}


def read_first(path: Path) -> pydicom.Dataset:
    """Header of a file."""
    return pydicom.dcmread(path, stop_before_pixels=True)
