"""The CoSpine protocol: what the scanner is told, and what its sidecars say afterwards.

Values are those of the 83 runs of OpenNeuro ds005883 (pain) and ds005884 (motor); the small protocol keeps
the physics (the same millimetres for each hertz, the same slice times) at a fifteenth of the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# One excitation every 76 ms, stamped on the scanner's 2.5 ms clock, which rounds up: steps of 75 or 77.5 ms.
_EXCITATION_MS = 76.0
_CLOCK_MS = 2.5
_EXCITATIONS = 35


@dataclass(frozen=True)
class Protocol:
    """One imaging protocol.

    Shapes are voxel counts (i, j, k), voxels mm, times s; i runs to the right, j (phase encoding) to the
    front, k up.
    """

    name: str
    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    slice_times_s: tuple[float, ...]
    multiband: int
    total_readout_s: float
    effective_echo_spacing_s: float
    t1w_shape: tuple[int, int, int]
    t1w_voxel_mm: tuple[float, float, float]
    gre_shape: tuple[int, int, int]
    gre_voxel_mm: tuple[float, float, float]
    pain_volumes: int
    motor_volumes: int
    tr_s: float = 2.68
    te_s: float = 0.027
    flip_deg: float = 80.0
    se_tr_s: float = 7.5
    se_te_s: float = 0.087
    se_flip_deg: float = 90.0
    gre_tr_s: float = 0.675
    gre_te_s: tuple[float, float] = (0.00492, 0.00738)
    gre_flip_deg: float = 60.0
    t1w_tr_s: float = 2.3
    t1w_te_s: float = 0.00228
    t1w_ti_s: float = 0.9
    t1w_flip_deg: float = 8.0

    def volumes(self, task: str) -> int:
        """Stored volumes of a run of ``task`` ("pain", "motorL", "motorR")."""
        return self.pain_volumes if task == "pain" else self.motor_volumes


def _interleaved_slice_times(bands: int) -> tuple[float, ...]:
    order = [*range(1, _EXCITATIONS, 2), *range(0, _EXCITATIONS, 2)]
    times = np.zeros(_EXCITATIONS)
    for position, slice_ in enumerate(order):
        times[slice_] = np.ceil(position * _EXCITATION_MS / _CLOCK_MS) * _CLOCK_MS / 1000.0
    return tuple(round(float(t), 4) for t in np.tile(times, bands))


FULL = Protocol(
    name="full", shape=(128, 128, 70), voxel_mm=(1.5, 1.5, 4.0),
    slice_times_s=_interleaved_slice_times(2), multiband=2,
    total_readout_s=0.0406401, effective_echo_spacing_s=0.000320001,
    t1w_shape=(192, 288, 288), t1w_voxel_mm=(1.0, 1.0, 1.0),
    gre_shape=(96, 96, 70), gre_voxel_mm=(2.0, 2.0, 4.0),
    pain_volumes=225, motor_volumes=115,
)  # fmt: skip

# The readout shrinks with the larger voxel so that one hertz moves the signal by as many millimetres as at
# full size.
_SMALL_READOUT_S = FULL.total_readout_s * FULL.voxel_mm[1] / 2.0

SMALL = Protocol(
    name="small", shape=(96, 112, 35), voxel_mm=(2.0, 2.0, 8.0),
    slice_times_s=_interleaved_slice_times(1), multiband=1,
    total_readout_s=_SMALL_READOUT_S, effective_echo_spacing_s=_SMALL_READOUT_S / 111,
    t1w_shape=(96, 144, 144), t1w_voxel_mm=(2.0, 2.0, 2.0),
    gre_shape=(64, 76, 35), gre_voxel_mm=(3.0, 3.0, 8.0),
    pain_volumes=40, motor_volumes=40,
)  # fmt: skip

PROTOCOLS = {protocol.name: protocol for protocol in (FULL, SMALL)}


def simultaneous_slices(protocol: Protocol) -> tuple[tuple[int, ...], ...]:
    """Stored slices that share an excitation, in the order of excitation."""
    groups: dict[float, list[int]] = {}
    for slice_, time in enumerate(protocol.slice_times_s):
        groups.setdefault(time, []).append(slice_)
    return tuple(tuple(groups[time]) for time in sorted(groups))


def acquisition_times(protocol: Protocol, n_volumes: int) -> NDArray[np.float64]:
    """Time of every slice of every volume, s from the first volume, shape (n_volumes, k)."""
    volume_starts = np.arange(n_volumes, dtype=np.float64)[:, None] * protocol.tr_s
    return volume_starts + np.array(protocol.slice_times_s, dtype=np.float64)


@dataclass(frozen=True)
class Site:
    """The scanner a participant was measured on."""

    number: int
    institution: str
    device_serial: str
    imaging_frequency_mhz: float


SITES = {
    1: Site(1, "CoSpine_digital_site_1", "900001", 123.254),
    2: Site(2, "CoSpine_digital_site_2", "900002", 123.258),
}


def clock(seconds_since_midnight: float) -> str:
    """DICOM-like time of day, ``HH:MM:SS.ffffff``; wraps at midnight."""
    micro = round(seconds_since_midnight * 1e6) % 86_400_000_000
    second, micro = divmod(micro, 1_000_000)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{micro:06d}"


def draw_shim(rng: np.random.Generator, site: Site) -> list[int]:
    """A ``ShimSetting``: three linear, five second-order currents in device units, as in real sidecars."""
    centre = {1: (2100, -11600, -5800), 2: (400, -11600, 6900)}[site.number]
    linear = [round(c + rng.normal(0.0, 80.0)) for c in centre]
    return linear + [round(v) for v in rng.normal(0.0, 250.0, 5)]


def _scanner(site: Site, shim: Sequence[float], acquisition_time_s: float, series: int) -> dict[str, Any]:
    if len(shim) != 8:
        raise ValueError(f"a ShimSetting has 8 numbers, got {len(shim)}")
    return {
        "Modality": "MR",
        "MagneticFieldStrength": 3,
        "ImagingFrequency": site.imaging_frequency_mhz,
        "Manufacturer": "Siemens",
        "ManufacturersModelName": "Prisma",
        "InstitutionName": site.institution,
        "DeviceSerialNumber": site.device_serial,
        "StationName": f"AWP{site.device_serial}",
        "BodyPartExamined": "HEAD",
        "PatientPosition": "HFS",
        "SoftwareVersions": "syngo_MR_E11",
        "ReceiveCoilName": "HeadNeck_64",
        "ReceiveCoilActiveElements": "HC1-7;NC1,2",
        "MatrixCoilMode": "GRAPPA",
        "CoilCombinationMethod": "Adaptive Combine",
        # Of the images of this protocol only the T1w is corrected (its ImageType has DIS2D).
        "NonlinearGradientCorrection": False,
        "SeriesNumber": series,
        "AcquisitionTime": clock(acquisition_time_s),
        "AcquisitionNumber": 1,
        "ShimSetting": [round(float(value)) for value in shim],
        "ConversionSoftware": "cospine simulate",
    }


def _epi(protocol: Protocol, direction: str) -> dict[str, Any]:
    lines = protocol.shape[1]
    epi: dict[str, Any] = {
        "MRAcquisitionType": "2D",
        "SliceThickness": protocol.voxel_mm[2],
        "SpacingBetweenSlices": protocol.voxel_mm[2],
        "BaseResolution": protocol.shape[0],
        "AcquisitionMatrixPE": lines,
        "ReconMatrixPE": lines,
        "ParallelReductionFactorInPlane": 2,
        "ParallelAcquisitionTechnique": "GRAPPA",
        "PulseSequenceType": "EPI",
        "BandwidthPerPixelPhaseEncode": round(1.0 / (protocol.effective_echo_spacing_s * lines), 3),
        "EffectiveEchoSpacing": round(protocol.effective_echo_spacing_s, 9),
        "TotalReadoutTime": round(protocol.total_readout_s, 9),
        "PhaseEncodingDirection": direction,
        "SliceEncodingDirection": "k",
    }
    if protocol.multiband > 1:
        epi["MultibandAccelerationFactor"] = protocol.multiband
    return epi


def bold_sidecar(
    protocol: Protocol,
    site: Site,
    task: str,
    shim: Sequence[float],
    acquisition_time_s: float,
    field_sources: Sequence[str] = (),
    series: int = 11,
) -> dict[str, Any]:
    """Sidecar of a GE-EPI run.

    Parameters
    ----------
    task : {"pain", "motorL", "motorR"}
    shim : sequence of 8 numbers
    acquisition_time_s : float
        Scanner (MDH) time of the first stored volume, s since midnight.
    field_sources : sequence of str
        ``B0FieldIdentifier`` of the maps that correct this run; left out when empty.
    """
    sidecar = _scanner(site, shim, acquisition_time_s, series) | _epi(protocol, "j") | {
        "SeriesDescription": f"brain-spinal_ep2d_{task}",
        "ProtocolName": f"brain-spinal_ep2d_{task}",
        "ScanningSequence": "EP",
        "SequenceVariant": "SK",
        "ScanOptions": "SAT1_FS",
        "SequenceName": "_epfid2d1_128",
        "PulseSequenceDetails": "%SiemensSeq%_ep2d_bold",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM", "MOSAIC"],
        "EchoTime": protocol.te_s,
        "RepetitionTime": protocol.tr_s,
        "FlipAngle": protocol.flip_deg,
        "PartialFourier": 1,
        "SliceTiming": list(protocol.slice_times_s),
        "TaskName": task,
        "TaskDescription": TASK_DESCRIPTIONS[task],
        "Instructions": "Please fixate and remain still. Follow on-screen instructions.",
        "NumberOfVolumesDiscardedByScanner": 6,
        "NumberOfVolumesDiscardedByUser": 0,
    }  # fmt: skip
    if field_sources:
        sidecar["B0FieldSource"] = field_sources[0] if len(field_sources) == 1 else list(field_sources)
    return sidecar


TASK_DESCRIPTIONS = {
    "pain": "Contact heat on the right arm, 15 trials of 4 s, each followed by a rating period.",
    "motorL": "Grasping with the left hand, 12 blocks of 8 s at 1 Hz.",
    "motorR": "Grasping with the right hand, 12 blocks of 8 s at 1 Hz.",
}


def epi_pair_sidecar(
    protocol: Protocol,
    site: Site,
    direction: str,
    shim: Sequence[float],
    acquisition_time_s: float,
    field_identifier: str,
    intended_for: Sequence[str] = (),
    series: int = 6,
) -> dict[str, Any]:
    """Sidecar of one image of the reversed pair; ``direction`` is "AP" (``j-``) or "PA" (``j``)."""
    sidecar = _scanner(site, shim, acquisition_time_s, series)
    sidecar |= _epi(protocol, {"AP": "j-", "PA": "j"}[direction]) | {
        "SeriesDescription": f"brain-spinal_ep2d_{direction}_B0",
        "ProtocolName": f"brain-spinal_ep2d_{direction}_B0",
        "ScanningSequence": "EP",
        "SequenceVariant": "SK_SP",
        "ScanOptions": "PFP_SFS",
        "SequenceName": "_ep_b0",
        "PulseSequenceDetails": "%SiemensSeq%_ep2d_diff",
        "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "NORM"],
        "EchoTime": protocol.se_te_s,
        "RepetitionTime": protocol.se_tr_s,
        "FlipAngle": protocol.se_flip_deg,
        "PartialFourier": 0.875,
        "B0FieldIdentifier": field_identifier,
    }
    if intended_for:
        sidecar["IntendedFor"] = list(intended_for)
    return sidecar


def gre_sidecar(
    protocol: Protocol,
    site: Site,
    image: str,
    shim: Sequence[float],
    acquisition_time_s: float,
    field_identifier: str,
    intended_for: Sequence[str] = (),
    series: int = 12,
) -> dict[str, Any]:
    """Sidecar of the dual-echo map; ``image`` is "magnitude1", "magnitude2" or "phasediff"."""
    echoes = protocol.gre_te_s
    sidecar = _scanner(site, shim, acquisition_time_s, series + (image == "phasediff")) | {
        "MRAcquisitionType": "2D",
        "SeriesDescription": "brain_spinal_gre_fieldmapping",
        "ProtocolName": "brain_spinal_gre_fieldmapping",
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "SequenceName": "_fm2d2r",
        "PulseSequenceDetails": "%SiemensSeq%_gre_field_mapping",
        "PulseSequenceType": "GRE",
        "ImageType": ["ORIGINAL", "PRIMARY", "P" if image == "phasediff" else "M", "ND"],
        "SliceThickness": protocol.gre_voxel_mm[2],
        "SpacingBetweenSlices": protocol.gre_voxel_mm[2],
        "BaseResolution": protocol.gre_shape[0],
        "RepetitionTime": protocol.gre_tr_s,
        "FlipAngle": protocol.gre_flip_deg,
        "B0FieldIdentifier": field_identifier,
    }
    if image == "phasediff":
        sidecar |= {"EchoTime1": echoes[0], "EchoTime2": echoes[1], "Units": "arbitrary"}
    else:
        number = int(image.removeprefix("magnitude"))
        sidecar |= {"EchoNumber": number, "EchoTime": echoes[number - 1]}
    if intended_for:
        sidecar["IntendedFor"] = list(intended_for)
    return sidecar


def t1w_sidecar(
    protocol: Protocol, site: Site, shim: Sequence[float], acquisition_time_s: float, series: int = 2
) -> dict[str, Any]:
    """Sidecar of the MPRAGE (gradient non-linearity corrected in 2-D: ``DIS2D``)."""
    return _scanner(site, shim, acquisition_time_s, series) | {
        "MRAcquisitionType": "3D",
        "SeriesDescription": "brain-spinal_t1",
        "ProtocolName": "brain-spinal_t1",
        "ScanningSequence": "GR_IR",
        "SequenceVariant": "SK_SP_MP",
        "ScanOptions": "IR",
        "SequenceName": "_tfl3d1_16ns",
        "PulseSequenceDetails": "%SiemensSeq%_tfl",
        "PulseSequenceType": "MPRAGE",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"],
        "NonlinearGradientCorrection": True,
        "SliceThickness": protocol.t1w_voxel_mm[0],
        "BaseResolution": protocol.t1w_shape[2],
        "EchoTime": protocol.t1w_te_s,
        "RepetitionTime": protocol.t1w_tr_s,
        "InversionTime": protocol.t1w_ti_s,
        "FlipAngle": protocol.t1w_flip_deg,
        "ParallelReductionFactorInPlane": 2,
    }


def card(protocol: Protocol, volumes: int | None = None) -> dict[str, Any]:
    """Protocol card of what is made, as `cospine check` reads it: required values by image, some with an absolute tolerance.

    Parameters
    ----------
    protocol : Protocol
    volumes : int, optional
        Volumes of every run; by default the protocol's.
    """

    def within(value: Any, tolerance: float) -> dict[str, Any]:
        return {"Value": value, "Tolerance": tolerance}

    def image(suffix: str, require: dict[str, Any], **entities: str) -> dict[str, Any]:
        return {"Match": {**entities, "suffix": suffix}, "Require": require}

    p = protocol
    ranks = {time: rank for rank, time in enumerate(sorted(set(p.slice_times_s)))}
    epi = {
        "ParallelReductionFactorInPlane": 2,
        "SliceThickness": within(p.voxel_mm[2], 0.01),
        "SpacingBetweenSlices": within(p.voxel_mm[2], 0.01),
        "EffectiveEchoSpacing": within(round(p.effective_echo_spacing_s, 9), 2e-9),
        "TotalReadoutTime": within(round(p.total_readout_s, 9), 1e-6),
        "ReceiveCoilName": "HeadNeck_64",
        "Shape": list(p.shape),
        "VoxelSize": within(list(p.voxel_mm), 0.01),
    } | ({"Multiband": p.multiband} if p.multiband > 1 else {})
    timing = {
        "bold": (p.tr_s, p.te_s, p.flip_deg), "epi": (p.se_tr_s, p.se_te_s, p.se_flip_deg),
        "magnitude1": (p.gre_tr_s, p.gre_te_s[0], p.gre_flip_deg), "magnitude2": (p.gre_tr_s, p.gre_te_s[1], p.gre_flip_deg),
        "T1w": (p.t1w_tr_s, p.t1w_te_s, p.t1w_flip_deg),
    }  # fmt: skip
    times = {
        suffix: {"RepetitionTime": within(tr, 5e-4), "EchoTime": within(te, 1e-5), "FlipAngle": within(flip, 0.5)}
        for suffix, (tr, te, flip) in timing.items()
    }
    gre = {
        "SliceThickness": within(p.gre_voxel_mm[2], 0.01),
        "Shape": list(p.gre_shape),
        "VoxelSize": within(list(p.gre_voxel_mm), 0.01),
    }
    t1w = {"InversionTime": within(p.t1w_ti_s, 5e-4), "Shape": list(p.t1w_shape), "VoxelSize": within(list(p.t1w_voxel_mm), 0.01)}
    bold = {"PhaseEncodingDirection": "j", "PartialFourier": 1, "SliceOrder": [ranks[time] for time in p.slice_times_s]}
    return {
        "Name": f"CoSpine, digital, {p.name}",
        "Images": [
            image("bold", times["bold"] | epi | bold),
            *(image("bold", {"Volumes": volumes or p.volumes(task)}, task=task) for task in TASK_DESCRIPTIONS),
            image("epi", times["epi"] | epi | {"PartialFourier": 0.875}),
            image("epi", {"PhaseEncodingDirection": "j-"}, dir="AP"),
            image("epi", {"PhaseEncodingDirection": "j"}, dir="PA"),
            *(image(suffix, times[suffix] | gre) for suffix in ("magnitude1", "magnitude2")),
            image("T1w", times["T1w"] | t1w | {"ReceiveCoilName": "HeadNeck_64"}),
        ],
    }
