"""Where a title is cut: scenes that get a rate value each, and the parts of them that are encoded. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from vmaf_assay.media.segments import Span

LEAST_FRAMES = 24
"""Fewest frames of a scene: shorter ones cost a keyframe, and a score of few frames says little."""

LONGEST_S = 10.0
"""Longest part, seconds; it bounds what is lost with an interrupted encode, and how far apart keyframes are."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Frames of a title that get one rate value."""

    span: Span
    """Its frames."""
    parts: tuple[Span, ...]
    """What is encoded by itself, in order; one for most scenes."""

    @property
    def n_frames(self) -> int:
        """How many frames."""
        return self.span.last - self.span.first


def cut_scenes(cuts: Sequence[int], n_frames: int, frame_rate: Fraction) -> list[Scene]:
    """A title as scenes, in order; every frame is in exactly one.

    Args:
      cuts: frames that begin a scene, ascending; 0 among them or not.
      n_frames: of the title.
      frame_rate: frames per second.

    A cut less than `LEAST_FRAMES` after the one before, or before the end, is not taken.
    """
    bounds = [0]
    for cut in cuts:
        if cut - bounds[-1] >= LEAST_FRAMES and n_frames - cut >= LEAST_FRAMES:
            bounds.append(cut)
    most = max(LEAST_FRAMES, int(LONGEST_S * frame_rate))
    return [Scene(Span(*pair), _parts(Span(*pair), most)) for pair in pairwise([*bounds, n_frames])]


def _parts(span: Span, most: int) -> tuple[Span, ...]:
    """A scene in even parts of at most `most` frames, if those have `LEAST_FRAMES`."""
    length = span.last - span.first
    count = max(1, min(-(-length // most), length // LEAST_FRAMES))
    edges = [span.first + round(index * length / count) for index in range(count + 1)]
    return tuple(Span(*pair) for pair in pairwise(edges))
