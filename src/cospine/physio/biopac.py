"""Biopac AcqKnowledge files (`.acq`), through the library bioread."""

import io
import logging

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.physio.channels import are_volumes, kind_of, rising_edges
from cospine.physio.recording import Recording

_LOG = logging.getLogger(__name__)


def parse_acq(data: bytes, name: str = "") -> tuple[Recording, ...]:
    """Read an AcqKnowledge file.

    Parameters
    ----------
    data : bytes
    name : str
        Of the file, for messages.

    Returns
    -------
    tuple of Recording
        One a channel, its kind by its name. The file's clock is the recording computer's, not the scanner's, so none is set;
        trigger channels whose edges are paced as volumes are give every channel its `volumes_s`.

    Raises
    ------
    CoSpineError
        When bioread is not installed or cannot read the file.
    """
    try:
        import bioread
    except ImportError as error:
        raise CoSpineError("is a Biopac file, and bioread is not installed", name, "pip install cospine[physio]") from error
    try:
        channels = bioread.read(io.BytesIO(data)).channels
        read = [
            (str(one.name), _finite(np.asarray(one.data, dtype=np.float64)), float(one.samples_per_second or 0.0))
            for one in channels
        ]
    except Exception as error:  # bioread raises nearly anything on damaged files
        raise CoSpineError(f"cannot be read as AcqKnowledge file ({error})", name, "Save it again with AcqKnowledge") from error
    read = [one for one in read if one[1].ndim == 1 and one[1].size and one[2] > 0]
    if not read:
        raise CoSpineError("holds no sample", name, "Look at the file in AcqKnowledge")
    edges = [(rising_edges(samples, rate), rate) for label, samples, rate in read if kind_of(label)[0] == "trigger"]
    volumes_s = next((times for times, rate in edges if times.size and are_volumes(times, rate)), np.empty(0))
    recordings = []
    for label, samples, rate in read:
        kind, sensor = kind_of(label)
        recordings.append(
            Recording(kind=kind, samples=samples, rate_hz=rate, sensor=sensor, volumes_s=volumes_s, source=f"{name} {label}")
        )
    return tuple(recordings)


def _finite(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(samples), samples, np.nan)
