"""Write a whole dataset: digital participants as the scanner would have stored them, and the truth beside."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine import __version__
from cospine.bids import write_bytes, write_json, write_nifti, write_text, write_tsv
from cospine.errors import CoSpineError
from cospine.phantom import protocol as protocols
from cospine.phantom import recordings, susceptibility, tissues, truth, truth_files
from cospine.phantom import task as tasks
from cospine.phantom.effects import REALISTIC, Effects, generator, number_of, seed_of
from cospine.phantom.epi import Encoding, Surroundings
from cospine.phantom.images import axial_affine, gradient_echo_pair, siemens_phase, undistorted, upright_affine
from cospine.phantom.noise import white
from cospine.phantom.phase import echo_phase
from cospine.phantom.protocol import PROTOCOLS, SITES, Protocol
from cospine.phantom.scene import (
    Course,
    build_subject,
    pair_step,
    run_course,
    signal,
    surroundings,
)
from cospine.phantom.sensors import SENSORS
from cospine.phantom.session import (
    BOLD_NOISE,
    GRE_NOISE,
    SE_NOISE,
    T1W_NOISE,
    Epi,
    Session,
    brief_state,
    epi_of,
    phase_picture,
    picture,
    prepare_scanner,
    receiver_of,
)

log = logging.getLogger(__name__)

CARD = "code/protocol_card.json"  # where `cospine check` looks for the card of a dataset
SESSION_STARTS_S = 9 * 3600.0
FINE_MAPS = (2, 2, 2)


def simulate(
    directory: Path | str,
    participants: int = 1,
    seed: int = 0,
    protocol: str = "full",
    volumes: int | None = None,
    task: str | None = None,
    effects: Effects = REALISTIC,
    progress: Callable[[str], None] = log.info,
) -> None:
    """Write a BIDS dataset of digital participants, with truth in ``sourcedata/truth``.

    Parameters
    ----------
    directory : Path
        New or empty folder.
    participants : int
        How many; without ``task`` the first half (rounded up) is heated at site 1, the others grasp at site 2.
    seed : int
        Same seed, same bytes.
    protocol : {"full", "small"}
    volumes : int, optional
        Volumes a run; by default the protocol's.
    task : {"pain", "motor"}, optional
        The same task for everyone.
    effects : Effects
    progress : callable
        Told, in words, what is being done.

    Raises
    ------
    CoSpineError
        For a folder in use or an argument out of range.
    """
    root = Path(directory)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise CoSpineError("The folder is in use", str(root), "Give a new or empty folder.")
    if protocol not in PROTOCOLS:
        raise CoSpineError(f"No protocol '{protocol}'", "--protocol", f"Use one of {', '.join(PROTOCOLS)}.")
    if task not in (None, "pain", "motor"):
        raise CoSpineError(f"No task '{task}'", "--task", "Use pain or motor.")
    if participants < 1:
        raise CoSpineError("At least one participant is needed", "--participants", "Give 1 or more.")
    if volumes is not None and volumes < 2:
        raise CoSpineError("At least two volumes are needed", "--volumes", "Give 2 or more.")
    if seed < 0:
        raise CoSpineError("A seed cannot be negative", "--seed", "Give 0 or more.")
    width = max(2, len(str(participants)))
    rows = []
    for number in range(1, participants + 1):
        label = f"sub-{number:0{width}d}"
        own_task = task or ("pain" if number <= (participants + 1) // 2 else "motor")
        rows.append(simulate_participant(root, label, own_task, seed, PROTOCOLS[protocol], volumes, effects, progress))
    write_dataset_files(root, rows, seed, protocol, effects)
    write_json(root / CARD, protocols.card(PROTOCOLS[protocol], volumes))


def write_dataset_files(root: Path, rows: list[dict[str, object]], seed: int, protocol: str, effects: Effects) -> None:
    """What stands at the top of the tree."""
    write_json(
        root / "dataset_description.json",
        {
            "Name": "CoSpine digital participants",
            "BIDSVersion": "1.11.0",
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["The CoSpine developers"],
            "GeneratedBy": [{"Name": "cospine simulate", "Version": __version__}],
            "SourceDatasets": [{"DOI": "doi:10.1038/s41597-025-05982-x"}],
        },
    )
    write_tsv(
        root / "participants.tsv",
        {key: [row[key] for row in rows] for key in rows[0]},
        {
            "age": {"Description": "Age of the participant (invented)", "Units": "year"},
            "sex": {"Description": "Sex (invented)", "Levels": {"M": "male", "F": "female"}},
            "site": {"Description": "Site of the scan", "Levels": {"1": "pain", "2": "motor"}},
            "group": {"Description": "Task of the participant", "Levels": {"pain": "heat", "motor": "grasping"}},
        },
    )
    switches = ", ".join(f"{name}={value}" for name, value in asdict(effects).items())
    write_text(
        root / "README",
        "Digital participants of simultaneous brain and cervical cord fMRI, made by `cospine simulate`.\n\n"
        "No person was scanned. Anatomy, physics and physiology are drawn by seed; sourcedata/truth holds what an\n"
        "analysis should find, sourcedata/pmu the physiological logs as a Siemens scanner writes them.\n\n"
        f"Protocol {protocol}, seed {seed}. Effects: {switches}.\n",
    )
    write_text(root / "CHANGES", "1.0.0 2026-01-01\n  - First version.\n")


def simulate_participant(
    root: Path,
    label: str,
    own_task: str,
    seed: int,
    protocol: Protocol,
    volumes: int | None,
    effects: Effects,
    progress: Callable[[str], None],
) -> dict[str, object]:
    """Write one participant; returns the row of participants.tsv."""  # fmt: skip
    own_seed = number_of(seed, label)
    rng = generator(own_seed, "person")
    site = SITES[1 if own_task == "pain" else 2]
    row: dict[str, object] = {
        "participant_id": label,
        "age": int(rng.integers(19, 46)),
        "sex": str(rng.choice(["F", "M"])),
        "site": site.number,
        "group": own_task,
    }
    progress(f"{label}: anatomy and field")
    subject = build_subject(own_seed, protocol, effects)
    session = Session(
        label, subject, protocol, site, protocols.draw_shim(rng, site), protocols.draw_shim(rng, site),
        prepare_scanner(subject, protocol), root / label, root / "sourcedata" / "truth" / label,
        root / "sourcedata" / "pmu" / label,
    )  # fmt: skip
    clock = SESSION_STARTS_S + round(float(rng.uniform(0, 6 * 3600)), 3)
    progress(f"{label}: T1w")
    write_t1w(session, clock)
    clock += 420.0
    names = ("pain",) if own_task == "pain" else ("motorL", "motorR")
    offset_ms = recordings.draw_mpcu_offset_ms(number_of(own_seed, "clock"))
    for name in names:
        progress(f"{label}: field-map pair, task {name}")
        write_pair(session, name, clock)
        clock += 90.0
        progress(f"{label}: BOLD, task {name}")
        count = volumes or protocol.volumes(name)
        write_run(session, name, count, clock, offset_ms)
        clock += count * protocol.tr_s + 60.0
    if own_task == "pain":
        progress(f"{label}: dual-echo field map")
        write_gre(session, clock)
    return row


def intended_for(session: Session, name: str) -> str:
    return f"bids::{session.label}/func/{session.label}_{bold_name(session, name)}.nii.gz"


def bold_name(session: Session, task: str) -> str:
    """Name of a series; it tells the part where the phase is stored too."""
    return f"task-{task}_part-mag_bold" if session.subject.effects.phase_images else f"task-{task}_bold"


# --- T1w ------------------------------------------------------------------------------------------------------------


def t1w_encoding(protocol: Protocol) -> Encoding:
    """Upright grid around the isocentre."""
    affine = upright_affine(protocol.t1w_shape, protocol.t1w_voxel_mm, np.zeros(3))
    return Encoding(affine, protocol.t1w_shape, "j", 0.0)


def write_t1w(session: Session, clock_s: float) -> None:
    """MPRAGE; the pose and the space of the person's anatomy."""
    subject, p = session.subject, session.protocol

    def contrast(t: tissues.Tissue) -> float:
        return tissues.signal_mprage(t, p.t1w_te_s, p.t1w_tr_s, p.t1w_ti_s, p.t1w_flip_deg)

    encoding = t1w_encoding(p)
    ideal = undistorted(subject.body(signal(subject, contrast)), encoding, Surroundings(), None, FINE_MAPS)
    receiver = receiver_of(session, encoding, "T1w", T1W_NOISE, subject.effects.bias, ghosting=False, leaking=False)
    stored = picture(session, ideal, receiver, "T1w")
    write_nifti(session.path("anat", "T1w.nii.gz"), stored.T, encoding.affine)
    write_json(session.path("anat", "T1w.json"), protocols.t1w_sidecar(p, session.site, session.other_shim, clock_s))
    truth_files.write_anatomy(session.truth / "anat", session.label, subject, encoding)


# --- EPI ------------------------------------------------------------------------------------------------------------


def write_pair(session: Session, name: str, clock_s: float) -> None:
    """SE-EPI with reversed phase encoding, one volume each way."""
    p = session.protocol

    def contrast(t: tissues.Tissue) -> float:
        return tissues.signal_se_epi(t, p.se_te_s, p.se_tr_s, p.se_flip_deg)

    epi = epi_of(session, contrast)
    poses = {}
    whole = session.scanner.lattice
    steps = (None, pair_step(session.subject, name))
    for number, (direction, phase_encoding, step) in enumerate(zip(("AP", "PA"), ("j-", "j"), steps, strict=True)):
        image = f"{name}/dir-{direction}"
        state = brief_state(session, image, p.shape[2], step)
        poses[f"dir-{direction}"] = state.pose[0]
        receiver = receiver_of(session, epi.encoding, image, SE_NOISE, session.subject.effects.bias, True, True)
        stored = picture(session, epi.encoded(phase_encoding).volume(state), receiver, image)
        stem = f"acq-{name}_dir-{direction}_epi"
        write_nifti(session.path("fmap", f"{stem}.nii.gz"), stored.T, epi.encoding.affine)
        sidecar = protocols.epi_pair_sidecar(
            p, session.site, direction, session.shim, clock_s + 30 * number, f"pepolar_{name}",
            [intended_for(session, name)], 6 + number,
        )  # fmt: skip
        write_json(session.path("fmap", f"{stem}.json"), sidecar)
        maps = session.truth / "fmap" / f"{session.label}_acq-{name}_dir-{direction}"
        truth_files.write_pair_maps(maps, session.subject, epi.water, epi.around, whole, state)
    write_poses(session, f"acq-{name}", poses)


def write_poses(session: Session, entity: str, poses: dict[str, NDArray[np.float64]]) -> None:
    table = np.array(list(poses.values()))
    columns = {"image": list(poses)} | {name: table[:, c] for c, name in enumerate(truth_files.POSE)}
    write_tsv(session.truth / "fmap" / f"{session.label}_{entity}_desc-pose_timeseries.tsv", columns)


def write_run(session: Session, name: str, volumes: int, clock_s: float, mpcu_offset_ms: int) -> None:
    """BOLD series, its events and physiology, and their truth."""
    subject, p, effects = session.subject, session.protocol, session.subject.effects

    def contrast(t: tissues.Tissue) -> float:
        return tissues.signal_gre_epi(t, p.te_s, p.tr_s, p.flip_deg)

    epi = epi_of(session, contrast, p.te_s)
    course = run_course(subject, p, epi.encoding, name, volumes, f"{name}/bold")
    receiver = receiver_of(session, epi.encoding, name, BOLD_NOISE, effects.bias, True, True)
    series = np.empty((volumes, *p.shape[::-1]), np.int16)
    echo, phases = None, None
    if effects.phase_images:
        echo = echo_phase(epi.encoding, epi.around, p.te_s, generator(subject.seed, name, "phase"))
        phases = np.empty_like(series)
    for index in range(volumes):
        state = course.volume(index)
        ideal = epi.volume(state)
        series[index] = picture(session, ideal, receiver, name, index)
        if echo is not None and phases is not None:
            phases[index] = phase_picture(session, ideal, receiver, echo.of(state), name, index)
    prefix = f"{session.label}_task-{name}"
    sources = [f"pepolar_{name}", *(["gre"] if name == "pain" else [])]
    sidecar = protocols.bold_sidecar(p, session.site, name, session.shim, clock_s, sources)
    stem = bold_name(session, name)
    write_nifti(session.path("func", f"{stem}.nii.gz"), series.T, epi.encoding.affine, tr_s=p.tr_s)
    write_json(session.path("func", f"{stem}.json"), sidecar)
    if phases is not None:
        stem = stem.replace("mag", "phase")
        write_nifti(session.path("func", f"{stem}.nii.gz"), phases.T, epi.encoding.affine, tr_s=p.tr_s)
        write_json(session.path("func", f"{stem}.json"), sidecar | {"Units": "arbitrary"})
    del series, phases
    if course.events is not None:
        write_text(session.path("func", f"task-{name}_events.tsv"), course.events.to_tsv())
        write_json(session.path("func", f"task-{name}_events.json"), tasks.events_sidecar(name))
    write_recordings(session, name, course, volumes, clock_s, mpcu_offset_ms)
    write_truth(session, name, prefix, epi, course)


def write_recordings(session: Session, name: str, course: Course, volumes: int, clock_s: float, mpcu_offset_ms: int) -> None:
    """Pulse and breathing in BIDS form and as PMU logs."""
    seed = number_of(session.subject.seed, name, "recording")
    sensors = SENSORS[session.subject.effects.recordings]
    channels = recordings.record(course.physiology, volumes * session.protocol.tr_s, seed, sensors)
    for kind, channel in channels.items():
        stem = f"task-{name}_recording-{kind}_physio"
        table = recordings.bids_table(channel, volumes, session.protocol.tr_s)
        write_bytes(session.path("func", f"{stem}.tsv.gz"), table)
        write_json(session.path("func", f"{stem}.json"), recordings.bids_sidecar(channel))
        ending = {"cardiac": "puls", "respiratory": "resp"}[kind]
        text = recordings.pmu_log(channel, clock_s, mpcu_offset_ms)
        write_text(session.pmu / f"{session.label}_task-{name}.{ending}", text)
        peaks = session.truth / "func" / f"{session.label}_task-{name}_recording-{kind}_desc-peaks_timeseries.tsv"
        write_tsv(
            peaks,
            {"onset": channel.peaks_s, "visible": channel.visible.astype(int)},
            {
                "onset": {"Description": "From the first volume", "Units": "s"},
                "visible": {"Description": "0 where the sensor was off"},
            },
        )


def write_truth(session: Session, name: str, prefix: str, epi: Epi, course: Course) -> None:
    """All truth of a run."""
    folder = session.truth / "func"
    body = epi.water
    head = truth.head_truth(session.subject, course, body, epi.around, epi.encoding)
    cord = truth.cord_truth(session.subject, course, body, epi.around, epi.encoding)
    truth_files.write_motion(folder, prefix, head, cord)
    truth_files.write_courses(folder, prefix, course)
    truth_files.write_maps(folder, prefix, session.subject, course, name, body, epi.around, session.scanner.lattice)


# --- dual-echo field map ----------------------------------------------------------------------------------------------


def write_gre(session: Session, clock_s: float) -> None:
    """Magnitudes and phase difference; its shim is not the EPI's."""
    subject, p, effects = session.subject, session.protocol, session.subject.effects
    shim = susceptibility.alternative_shim(subject.static, number_of(subject.seed, "gre shim"))
    around = surroundings(subject, shim, warped=True)
    tilt_axes = session.scanner.lattice.encoding.affine[:3, :3] / p.voxel_mm
    affine = axial_affine(p.gre_shape, p.gre_voxel_mm, np.zeros(3))
    affine[:3, :3] = tilt_axes * p.gre_voxel_mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(p.gre_shape) - 1) / 2)
    encoding = Encoding(affine, p.gre_shape, "j", 0.0)

    def echo(te_s: float) -> NDArray[np.float32]:
        return signal(subject, lambda t: tissues.signal_gre(t, te_s, p.gre_tr_s, p.gre_flip_deg))

    signals = (echo(p.gre_te_s[0]), echo(p.gre_te_s[1]))
    state = brief_state(session, "gre", p.gre_shape[2])
    body = subject.body(signals[0])
    first, second = gradient_echo_pair(signals, body, encoding, around, state, p.gre_te_s)
    rng = np.random.Generator(np.random.SFC64(seed_of(subject.seed, "gre", "noise")))
    receiver = receiver_of(session, encoding, "gre", GRE_NOISE, effects.bias, False, False)
    noisy = []
    for image in (first, second):
        kernel = image.T * receiver.bias
        if effects.noise:
            real, imaginary = white(rng, kernel.shape)
            kernel = kernel + receiver.sigma * (real + 1j * imaginary)
        noisy.append(kernel)
    pictures = {
        "magnitude1": np.rint(np.abs(noisy[0])).astype(np.int16),
        "magnitude2": np.rint(np.abs(noisy[1])).astype(np.int16),
        "phasediff": siemens_phase(np.angle(noisy[1] * np.conj(noisy[0]))),
    }
    for name, stored in pictures.items():
        write_nifti(session.path("fmap", f"{name}.nii.gz"), stored.T, encoding.affine)
        sidecar = protocols.gre_sidecar(
            p, session.site, name, session.other_shim, clock_s, "gre", [intended_for(session, "pain")]
        )
        write_json(session.path("fmap", f"{name}.json"), sidecar)
    write_poses(session, "acq-gre", {"gre": state.pose[0]})
    stem = session.truth / "fmap" / f"{session.label}_acq-gre"
    epi_shim = replace(around, shim_hz=session.scanner.around.shim_hz)
    truth_files.write_fieldmap(stem, body, around, encoding, state)
    truth_files.write_fieldmap(stem.with_name(f"{stem.name}_desc-epishim"), body, epi_shim, encoding, state)
