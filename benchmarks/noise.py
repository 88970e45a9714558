"""Physiological noise on digital participants: peaks, what the model takes, what it costs, and null runs (METHODS 12-15).

    python benchmarks/noise.py peaks --seeds 6 --peer-python .venv-peaks/bin/python
    python benchmarks/noise.py EXPERIMENT RUN [SECOND] --seed S [--task pain|motorL|motorR] [--worst-case-rates]

The peers of `peaks` have an environment of their own (`pip install neurokit2 peakdet "numpy<2.2"`: peakdet 0.6.1 breaks on newer
ones). Recordings are full runs of both tasks with clean, typical and noisy sensors; tolerance 50 ms for beats, 300 for breaths.
"Sensor on" leaves out peaks during which no sensor was attached.

RUN and SECOND are datasets of one participant, made with the same seed (default protocol, or `--protocol small --volumes 120`):

| experiment | RUN: `cospine simulate RUN --seed S --task T` and | SECOND: as RUN and |
|---|---|---|
| floor | `--without inflow motion field bold` | `physio` |
| oracle, leakage | nothing (for leakage also `--without leakage`) | |
| bias | nothing | `--without bold` |
| null | `--without physio inflow breathing_field physiological_motion task_locked`, or nothing | |
| locked | `--worst-case-rates` | `--without bold` |

Regressions are NumPy's, in double precision; CoSpine finds peaks, phases, columns and CSF masks, and does the F tests and the
correlation of slices.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from noise_data import Digital
from noise_models import bias, floor, leakage, locked, null, oracle
from noise_scoring import Score, markdown, score_peaks
from numpy.typing import NDArray

from cospine.phantom.physiology import Physiology, simulate_physiology
from cospine.phantom.protocol import FULL
from cospine.phantom.recordings import record
from cospine.phantom.sensors import RATE_HZ, SENSORS, TOP, electrocardiogram
from cospine.phantom.task import events
from cospine.physio.peaks import find_peaks
from cospine.physio.recording import Recording

TOLERANCE_S = {"ppg": 0.05, "ecg": 0.05, "belt": 0.3}


# --- peaks ------------------------------------------------------------------------------------------------------------


def bodies(seeds: int):
    """Pulse and breathing of full runs: (task, seed, duration, physiology)."""
    for seed in range(seeds):
        task = ("pain", "motorL")[seed % 2]
        volumes = FULL.volumes(task)
        onsets, durations = events(task, seed, volumes, FULL.tr_s).stimuli()
        duration = volumes * FULL.tr_s
        yield task, 100 + seed, duration, simulate_physiology(100 + seed, duration, task, onsets, durations)


def electrocardiograms(body: Physiology, duration: float, seed: int):
    """Leads as they come, inverted, and under the gradients: (setting, samples, true R waves)."""
    t = np.arange(-60.0, duration + 30.0, 1 / RATE_HZ)
    shots = np.unique(np.add.outer(np.arange(int(duration / FULL.tr_s)) * FULL.tr_s, FULL.slice_times_s).ravel())
    for setting, options in (
        ("clean", {"noise": 0.0}),
        ("typical", {}),
        ("inverted", {"inverted": True}),
        ("gradients", {"excitations_s": shots}),
    ):
        volts, waves = electrocardiogram(body, t, np.random.default_rng([seed, 0xEC6]), **options)
        yield setting, np.clip(np.round(volts), 0, TOP).astype(np.int16), waves - t[0]


def peaks(seeds: int, peer_python: Path | None) -> str:
    """F1 of all peaks, and of those during which the sensor was on."""
    samples: dict[str, NDArray] = {}
    truth: dict[str, tuple[NDArray, NDArray[np.bool_]]] = {}
    for _, seed, duration, body in bodies(seeds):
        for setting, sensors in SENSORS.items():
            for kind, channel in record(body, duration, seed, sensors).items():
                key = f"{'ppg' if kind == 'cardiac' else 'belt'}|{setting}|{seed}"
                samples[key], truth[key] = channel.samples, (channel.peaks_s - channel.start_s, channel.visible)
        for setting, volts, waves in electrocardiograms(body, duration, seed):
            key = f"ecg|{setting}|{seed}"
            samples[key], truth[key] = volts, (waves, np.ones(waves.size, bool))
    found = {f"{key}|CoSpine": ours(key, values) for key, values in samples.items()}
    if peer_python is not None:
        found |= theirs(peer_python, samples)
    total: dict[tuple[str, ...], tuple[list[Score], list[Score]]] = {}
    for name, onsets in found.items():
        sensor, setting, seed, tool = name.split("|")
        true_s, visible = truth[f"{sensor}|{setting}|{seed}"]
        every, seen = total.setdefault((sensor, setting, tool), ([], []))
        every.append(score_peaks(onsets, true_s, TOLERANCE_S[sensor]))
        seen.append(score_peaks(onsets, true_s, TOLERANCE_S[sensor], visible))
    rows = []
    for (sensor, setting, tool), (every, seen) in sorted(total.items()):
        whole, on = sum(every[1:], every[0]), sum(seen[1:], seen[0])
        counts = [str(n) for n in (whole.hits, whole.invented, whole.missed)]
        worst = min(score.f1 for score in every)
        rows.append(
            [sensor, setting, tool, f"{whole.f1:.4f}", f"{worst:.4f}", f"{on.f1:.4f}", *counts, f"{1000 * whole.error_s:.0f}"]
        )
    return markdown(
        "sensor|recording|tool|F1, all peaks|worst recording|F1, sensor on|hits|invented|missed|median error, ms", rows
    )


def ours(key: str, values: NDArray) -> NDArray[np.float64]:
    """Peaks of one channel, s from its first sample."""
    sensor = key.split("|")[0]
    kind = "respiratory" if sensor == "belt" else "cardiac"
    recording = Recording(kind, values.astype(np.float64), float(RATE_HZ), sensor=sensor, limits=(0.0, float(TOP)))  # pyright: ignore
    return find_peaks(recording).onset_s


def theirs(python: Path, samples: dict[str, NDArray]) -> dict[str, NDArray]:
    """Peaks by the peers, from their own environment."""
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, **{f"{key}|{RATE_HZ}|{key.split('|')[0]}": values for key, values in samples.items()})
        subprocess.run([python, Path(__file__).with_name("noise_peers.py"), given, taken], check=True)
        with np.load(taken) as found:
            return {name: found[name] for name in found.files}


def main() -> None:
    """Run the experiment asked for and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="experiment", required=True)
    of_peaks = commands.add_parser("peaks", help="peaks found in recordings of all qualities")
    of_peaks.add_argument("--seeds", type=int, default=6)
    of_peaks.add_argument("--peer-python", type=Path)
    for name, words in {
        "floor": "what PNM with true phases leaves over thermal noise; the second run is the first --without physio",
        "oracle": "what PNM takes of a realistic run, beside an oracle",
        "bias": "activation with and without noise columns; the second run is the first --without bold",
        "null": "how often F tests find physiology where there is none",
        "locked": "task-locked and aliased physiology; the second run, if given, is the first --without bold",
        "leakage": "what simultaneous slices share",
    }.items():
        one = commands.add_parser(name, help=words)
        one.add_argument("dataset", type=Path, help="of `cospine simulate`, one participant")
        one.add_argument("second", type=Path, nargs="?")
        one.add_argument("--seed", type=int, required=True, help="of the simulation")
        one.add_argument("--task", choices=("pain", "motorL", "motorR"), default="pain")
        one.add_argument("--worst-case-rates", action="store_true", help="as in the simulation")
    args = parser.parse_args()
    if args.experiment == "peaks":
        print(peaks(args.seeds, args.peer_python))
        return
    run, second = (
        None if root is None else Digital(root, args.task, args.seed, args.worst_case_rates)
        for root in (args.dataset, args.second)
    )
    if args.experiment in ("floor", "bias") and second is None:
        parser.error("a second dataset is needed")
    given = (run,) if second is None else (run, second)
    experiments = {"floor": floor, "oracle": oracle, "bias": bias, "null": null, "locked": locked, "leakage": leakage}
    print(experiments[args.experiment](*given))


if __name__ == "__main__":
    main()
