"""Whether two sides of a comparison are in sync, judged by tiny copies of every frame.

libvmaf compares frame n with frame n and cannot know that one side lost a frame: the pair then looks like a bad
encode. Each side is therefore also shrunk to `SIGNATURE_SIZE` greys, and the squared difference of the two is
compared with what it would be some frames earlier or later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGNATURE_SIZE = (32, 18)
"""(width, height) of a frame's signature, px."""

SIGNATURE_FILTER = f"scale={SIGNATURE_SIZE[0]}:{SIGNATURE_SIZE[1]}:flags=area,format=gray"
"""Makes signatures; area averaging, because it removes coding noise (single pixels keep it)."""

_REACH = 30
"""Largest offset looked for, frames."""

_WINDOW = 24
"""Frames judged together; a slip in mid-stream shows in the windows after it."""

# Measured 2026-11-24 on ten of the 42 clips at the worst rate value of libx264, libx265, libsvtav1, libvpx-vp9. In
# sync, the error one frame off is at least 0.98 times the error in place. For two clips at libx264 CRF 30 it is 51
# and 430 times that.
_MUCH_BETTER = 3.0
_LEAST_ERROR = 2.0
"""Mean squared grey levels below which a difference is ignored: still pictures are in sync anyway."""

Signatures = NDArray[np.uint8]
"""[F, P]: F frames of P greys."""


@dataclass(frozen=True, slots=True)
class Slip:
    """Where and by how much a pair is out of sync."""

    offset: int
    """Distorted frame n shows reference frame n + offset."""
    first_frame: int
    """The first distorted frame for which that is so."""

    def __str__(self) -> str:
        return f"distorted frame n shows reference frame n{self.offset:+d} from frame {self.first_frame} on"


def read_signatures(data: bytes) -> Signatures:
    """The signatures that ffmpeg wrote as raw grey frames, [F, P]."""
    size = SIGNATURE_SIZE[0] * SIGNATURE_SIZE[1]
    return np.frombuffer(data, np.uint8)[: len(data) // size * size].reshape(-1, size)


def find_slip(reference: Signatures, distorted: Signatures) -> Slip | None:
    """The slip of a pair out of sync; None if it is in sync, or too still or too coarse to tell.

    Args:
      reference: signatures of the reference, [F, P].
      distorted: signatures of the distorted side, [G, P]; G may differ from F.
    """
    unequal = len(reference) != len(distorted)
    near = {offset: _errors(reference, distorted, offset) for offset in (0, -1, 1, -2, 2)}
    if not unequal and not _suspect(near):
        return None
    errors = near | {
        offset: _errors(reference, distorted, offset)
        for offset in range(-_REACH, _REACH + 1)
        if offset not in near and abs(offset) < min(len(reference), len(distorted))
    }
    return _slip(errors, unequal=unequal)


def _errors(reference: Signatures, distorted: Signatures, offset: int) -> NDArray[np.float32]:
    """Mean squared difference of distorted frame n and reference frame n + offset, [G]; NaN for no frame."""
    found = np.full(len(distorted), np.nan, np.float32)
    first, last = max(0, -offset), min(len(distorted), len(reference) - offset)
    for start in range(first, last, 4096):  # bounded memory on titles of any length
        stop = min(start + 4096, last)
        difference = distorted[start:stop].astype(np.float32) - reference[start + offset : stop + offset]
        found[start:stop] = np.square(difference).mean(axis=1)
    return found


def _windows(errors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over each window of `_WINDOW` frames, half overlapping; NaN frames do not count, [W]."""
    size = min(_WINDOW, len(errors))
    starts = list(range(0, max(1, len(errors) - size + 1), max(1, size // 2)))
    means = []
    for start in starts:
        part = errors[start : start + size]
        known = part[np.isfinite(part)]
        # A window that an offset leaves half empty would be compared over different frames.
        means.append(float(known.mean(dtype=np.float64)) if len(known) * 2 > size else np.nan)
    return np.array(means)


def _suspect(near: dict[int, NDArray[np.float32]]) -> bool:
    in_place = _windows(near[0])
    others = [_windows(errors) for offset, errors in near.items() if offset]
    return any(bool(np.any((other < in_place) & (in_place > _LEAST_ERROR))) for other in others)


def _slip(errors: dict[int, NDArray[np.float32]], *, unequal: bool) -> Slip | None:
    """The offset that is much better than offset zero, in the first window where this is so."""
    windows = {offset: _windows(values) for offset, values in errors.items()}
    in_place = windows[0]
    factor = 1.0 if unequal else _MUCH_BETTER
    for index, here in enumerate(in_place):
        rivals = {o: w[index] for o, w in windows.items() if o and np.isfinite(w[index])}
        if not rivals or not (np.isnan(here) or here > _LEAST_ERROR):
            continue
        best = min(rivals, key=lambda offset: rivals[offset])
        if np.isnan(here) or rivals[best] * factor < here:
            return Slip(best, _first_frame(errors[0], errors[best]))
    return None


def _first_frame(in_place: NDArray[np.float32], shifted: NDArray[np.float32]) -> int:
    """The frame that best splits the pair into frames in place and frames shifted."""
    gain = np.nan_to_num(in_place - shifted, nan=0.0)
    before = np.concatenate(([0.0], np.cumsum(gain, dtype=np.float64)))
    return int(np.argmin(before))
