"""What a title's packets tell of its scenes and of how hard its parts are to encode; nothing is decoded.

A scene begins where a picture takes more bytes than any around it. Encoders that spend few bytes on a cut hide it,
and points of entry at even distances are found in excess. That costs no correctness: every partition of a title
into units gives unbiased estimates (`promise/sampling.py`); good ones give narrower bounds.
"""

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.demux import FrameMap
from vmaf_assay.media.segments import Span

_WINDOW = 12
"""Frames on each side that a picture's bytes are compared with."""

_PEAK = 1.5
"""Ratio of a scene's first picture to the largest around it."""


class PacketLook:
    """Scenes and difficulty of a title by its packets."""

    def __init__(self, frames: FrameMap) -> None:
        self.n_frames = frames.n_frames
        self._bytes: NDArray[np.float64] = frames.bytes_of.astype(np.float64)

    def cuts(self) -> list[int]:
        """Frames that probably begin a scene, ascending, the first frame among them."""
        return sorted({0, *np.flatnonzero(self._peaks()).tolist()})

    def difficulty(self, unit: Span) -> float:
        """Difficulty of a unit: the log of its bytes a frame."""
        return float(np.log(1 + self._bytes[unit.first : unit.last].mean()))

    def _peaks(self) -> NDArray[np.bool_]:
        """Pictures that take `_PEAK` times as much as the largest of those around them."""
        padded = np.pad(self._bytes, _WINDOW, mode="edge")
        around = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)
        before, after = around[: self.n_frames].max(axis=1), around[_WINDOW + 1 :].max(axis=1)
        peaks: NDArray[np.bool_] = self._bytes > _PEAK * np.maximum(before, after)
        return peaks
