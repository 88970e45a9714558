"""The series of a run in the states that steps want, each made when it is first asked for.

None of them is kept between executions, but for the denoised one: reading and resampling again takes seconds, a gigabyte takes
room.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Run, load_bold
from cospine.pipeline.field_stage import Distortion
from cospine.pipeline.keeper import Done
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.resources import Scratch
from cospine.space.resample import resample_series

Series = NDArray[np.float32]


class RunSeries:
    """Series (x, y, z, t) of a run.

    Parameters
    ----------
    run : Run
    denoised : callable
        The step that took thermal noise out, or None.
    motion, distortion : callable
        What was found, or None without distortion.
    scratch : Scratch or None
        Where the series lie when memory is short.
    """

    def __init__(
        self,
        run: Run,
        denoised: Callable[[], Done[tuple[Series, Any]] | None],
        motion: Callable[[], Motion],
        distortion: Callable[[], Distortion | None],
        scratch: Scratch | None = None,
    ) -> None:
        self._run = run
        self._denoised = denoised
        self._motion = motion
        self._distortion = distortion
        self._scratch = scratch
        self._stored: Series | None = None
        self._left: Series | None = None
        self._corrected: Series | None = None

    def as_acquired(self) -> Series:
        """As the dataset holds it."""
        if self._stored is None:
            self._stored = load_bold(self._run, self._room())
        return self._stored

    def take_acquired(self) -> Series:
        """The same, for the caller to change."""
        series, self._stored = self.as_acquired(), None
        return series

    def stored(self) -> Series:
        """What correction begins with: as acquired, or without its thermal noise."""
        denoised = self._denoised()
        return self.as_acquired() if denoised is None else denoised.value[0]

    def take_stored(self) -> Series:
        """The same, for the caller to change."""
        denoised = self._denoised()
        return self.take_acquired() if denoised is None else denoised.take()[0]

    def left_is(self, series: Series) -> None:
        """Hold what the noise model leaves of the stored series."""
        self._left = series

    def left(self, make: Callable[[Series], Series]) -> Series:
        """What the noise model leaves of the stored series; `make` makes it of that, which it may change."""
        if self._left is None:
            self._left = make(self.take_stored())
        return self._left

    def corrected(self) -> Series:
        """Corrected for motion and distortion in one interpolation."""
        if self._corrected is None:
            distortion = self._distortion()
            shift = None if distortion is None else distortion.shift
            self._corrected = resample_series(self.stored(), self._motion().matrices, self._room(), shift)
        return self._corrected

    def _room(self) -> Series | None:
        """Where a series goes: None for memory."""
        return None if self._scratch is None else self._scratch.empty((*self._run.shape[:3], self._run.volumes))
