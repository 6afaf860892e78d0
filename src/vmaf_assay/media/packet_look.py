"""What a title's packets tell of its scenes and of how hard its parts are to encode; nothing is decoded.

A scene begins where an encoder put a point of entry before it had to, or where a picture takes far more bytes than
those around it. What is missed or found in excess costs no correctness: every partition of a title into units
gives unbiased estimates (`promise/sampling.py`); good ones give narrower bounds.
"""

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.packets import FrameMap
from vmaf_assay.media.segments import Span

_WINDOW = 12
"""Frames on each side that a picture's bytes are compared with."""

_PEAK = 4.0
"""Ratio of a scene's first picture to the median around it."""

_LEAST_SCENE = 6
"""Frames; of two beginnings that are closer only the first counts."""


class PacketLook:
    """Scenes and difficulty of a title by its packets."""

    def __init__(self, frames: FrameMap) -> None:
        self.n_frames = frames.n_frames
        self._bytes: NDArray[np.float64] = frames.bytes_of.astype(np.float64)
        self._entries = set(frames.entry_frames.tolist())

    def cuts(self) -> list[int]:
        """Frames that probably begin a scene, ascending, the first frame among them."""
        found = [0]
        for frame in np.flatnonzero(self._peaks()).tolist():
            if frame - found[-1] >= _LEAST_SCENE:
                found.append(frame)
        return found

    def difficulty(self, unit: Span) -> float:
        """Difficulty of a unit: the log of its bytes a frame."""
        return float(np.log(1 + self._bytes[unit.first : unit.last].mean()))

    def _peaks(self) -> NDArray[np.bool_]:
        """Pictures that take `_PEAK` times the median of those around them."""
        around = np.lib.stride_tricks.sliding_window_view(
            np.pad(self._bytes, _WINDOW, mode="edge"), 2 * _WINDOW + 1
        )
        peaks: NDArray[np.bool_] = self._bytes > _PEAK * np.median(around, axis=1)
        return peaks
