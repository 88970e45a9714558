"""Peaks as NeuroKit2 and peakdet place them; runs in an environment of theirs, on recordings handed over in an .npz file.

    python benchmarks/noise_peers.py IN.npz OUT.npz

IN holds arrays `<key>|<rate>|<ppg|ecg|belt>`; OUT holds `<key>|neurokit2` and `<key>|peakdet`, s from the first sample. Settings
are those of the packages' own documentation; where one raises an error the array is empty.
"""

import sys
import warnings

import neurokit2 as nk
import numpy as np
from peakdet import Physio, operations


def by_neurokit(samples, rate, sensor):
    """`*_clean` and `*_findpeaks` as they come."""
    rate = int(rate)
    if sensor == "ppg":
        return nk.ppg_findpeaks(nk.ppg_clean(samples, sampling_rate=rate), sampling_rate=rate)["PPG_Peaks"] / rate
    if sensor == "ecg":
        return nk.ecg_findpeaks(nk.ecg_clean(samples, sampling_rate=rate), sampling_rate=rate)["ECG_R_Peaks"] / rate
    return nk.rsp_findpeaks(nk.rsp_clean(samples, sampling_rate=rate), sampling_rate=rate)["RSP_Peaks"] / rate


def by_peakdet(samples, rate, sensor):
    """Band-pass, then `peakfind_physio`; the least distance is that of its documentation, 0.4 s, 2 s for breaths."""
    physio = Physio(samples, fs=rate)
    band, distance_s = {"ppg": ([0.5, 8.0], 0.4), "ecg": ([5.0, 25.0], 0.4), "belt": ([0.05, 1.0], 2.0)}[sensor]
    physio = operations.filter_physio(physio, cutoffs=band, method="bandpass", order=2)
    return operations.peakfind_physio(physio, thresh=0.1, dist=int(distance_s * rate)).peaks / rate


def main():
    warnings.simplefilter("ignore")
    found = {}
    with np.load(sys.argv[1]) as recordings:
        for name in recordings.files:
            key, rate, sensor = name.rsplit("|", 2)
            samples = recordings[name].astype(float)
            for tool, find in (("neurokit2", by_neurokit), ("peakdet", by_peakdet)):
                try:
                    found[f"{key}|{tool}"] = np.asarray(find(samples, float(rate), sensor), float)
                except Exception as error:  # noqa: BLE001 - theirs may fail in any way; that is a result
                    print(f"{tool} on {key}: {type(error).__name__}: {error}", file=sys.stderr)
                    found[f"{key}|{tool}"] = np.empty(0)
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
