"""Phase encoding: which way, and how far, a field moves what an EPI shows.

Signal truly at voxel v appears at v + field_hz x readout along the axis for ``i``, ``j``, ``k`` and at v - field_hz x readout for
``i-``, ``j-``, ``k-`` (Jezzard & Balaban 1995, Magn Reson Med 34:65-73; BIDS ``PhaseEncodingDirection`` and
``TotalReadoutTime``). An image is undistorted by sampling it there, and multiplying by the Jacobian 1 + d(displacement)/dv.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError

AXES = "ijk"


@dataclass(frozen=True)
class Encoding:
    """Phase encoding of one EPI.

    Parameters
    ----------
    axis : int
        Stored voxel axis: 0, 1 or 2.
    sign : int
        +1 where a positive field moves signal toward the higher index, else -1.
    readout_s : float
        Total readout time, s.
    """

    axis: int
    sign: int
    readout_s: float

    @classmethod
    def parse(cls, direction: object, readout_s: object, where: str = "image") -> "Encoding":
        """Read what a sidecar says.

        Parameters
        ----------
        direction : str
            ``PhaseEncodingDirection``: i, j, k, i-, j- or k-.
        readout_s : float
            ``TotalReadoutTime``, s.
        where : str
            File, for the error.

        Raises
        ------
        CoSpineError
            When either is absent or impossible.
        """
        text = str(direction)
        if text.rstrip("-") not in tuple(AXES) or len(text) > 2:
            raise CoSpineError(
                "phase encoding is not stated" if direction is None else f"PhaseEncodingDirection {direction!r} is no direction",
                where,
                "put i, j, k, i-, j- or k- into its sidecar",
            )
        if isinstance(readout_s, bool) or not isinstance(readout_s, int | float) or not 0 < readout_s < 1:
            raise CoSpineError(
                "the readout time is not stated"
                if readout_s is None
                else f"TotalReadoutTime {readout_s!r} is no time in seconds",
                where,
                "put TotalReadoutTime (seconds) into its sidecar",
            )
        return cls(AXES.index(text[0]), -1 if text.endswith("-") else 1, float(readout_s))

    @property
    def direction(self) -> str:
        """As BIDS writes it."""
        return AXES[self.axis] + ("-" if self.sign < 0 else "")

    @property
    def voxels_per_hz(self) -> float:
        """Signed displacement along the axis, in voxels, of 1 Hz."""
        return self.sign * self.readout_s

    def displacement(self, field_hz: NDArray) -> NDArray[np.float32]:
        """Where signal of each voxel appears, in voxels along the axis from where it truly is (x, y, z)."""
        return np.asarray(field_hz, dtype=np.float32) * np.float32(self.voxels_per_hz)

    def jacobian(self, field_hz: NDArray) -> NDArray[np.float32]:
        """What the signal of each voxel is to be multiplied by once it is back in place (x, y, z).

        1 + d(displacement)/dv, by central differences: above 1 where the image was stretched, near 0 where it piled up.
        """
        return np.float32(1) + np.gradient(self.displacement(field_hz), axis=self.axis).astype(np.float32)
