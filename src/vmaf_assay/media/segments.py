"""Scan a long title, and cut segments out of it, where its packets do not tell its frames (`media/demux.py`).

Both decode it once, in order, counting frames. So late time stamps, edit lists and streams without random access
cannot shift a segment by a frame.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import MediaError, ToolError
from vmaf_assay.media import commands, process
from vmaf_assay.media.ffmpeg import Ffmpeg, check_decoded, failure
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import OnFrames
from vmaf_assay.media.sync import SIGNATURE_SIZE

F32 = NDArray[np.float32]

_CHUNK_FRAMES = 4096
"""Frames processed together, which bounds memory on titles of any length."""

_LEAST_CUT = 8.0
"""Mean difference of two frames below which they are one scene, grey levels of 255."""

_CUT_RATIO = 3.0
"""Ratio of a cut's change to that of the frames around it."""

_CUT_WINDOW = 12
"""Frames around a cut that it is compared with, on each side."""

_FFV1_SHARE = 0.7
"""FFV1's fraction of raw size for grainy pictures; most need half of that."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of frames of a title."""

    first: int
    """Counted from 0."""
    last: int
    """One more than the last."""


@dataclass(frozen=True, slots=True)
class Look:
    """Detail and change of a title's frames, at the size of a signature."""

    detail: F32
    """Mean step between neighbouring pixels of each frame, grey levels, [F]."""
    change: F32
    """Mean difference from the frame before, grey levels, [F]; 0 for the first."""

    @property
    def n_frames(self) -> int:
        """F."""
        return len(self.change)

    def difficulty(self, unit: Span) -> float:
        """Difficulty of a unit: log of detail times change, without the first frame, whose change may be a cut."""
        detail = float(self.detail[unit.first : unit.last].mean())
        change = float(self.change[unit.first + 1 : unit.last].mean())
        return float(np.log(0.5 + detail) + np.log(0.1 + change))

    def cuts(self) -> list[int]:
        """Frames that begin a scene, ascending, the first frame among them.

        A cut changes the picture by `_LEAST_CUT` and by `_CUT_RATIO` times the mean change around it, because a
        pan or a flicker changes every frame alike. Fades are not cuts.
        """
        change = self.change.astype(np.float64)
        found = [0]
        for frame in np.flatnonzero(change > _LEAST_CUT).tolist():
            first, last = max(1, frame - _CUT_WINDOW), min(len(change), frame + _CUT_WINDOW + 1)
            # The cut itself, and a flash's second change beside it, would hide it.
            around = np.sort(change[first:last])[: max(1, last - first - 2)]
            if change[frame] > _CUT_RATIO * float(around.mean()) and frame - found[-1] > 1:
                found.append(frame)
        return found


def look(ffmpeg: Ffmpeg, reference: ReferenceInput, scratch: Path, *, on_frames: OnFrames | None = None) -> Look:
    """Decode a title once and measure detail and change of each frame at 32x18.

    Args:
      ffmpeg: the ffmpeg to run.
      reference: the title.
      scratch: folder for the small pictures meanwhile, 576 bytes a frame.
      on_frames: called with the number of frames done.

    Raises:
      MediaError: a frame does not decode, or their number is unexpected.
      ToolError: ffmpeg failed.
    """
    small = scratch / "look.gray"
    argv = commands.look_through(reference).argv(ffmpeg, progress=True, source=reference.path, output=small)
    _run(argv, f"looking through {reference.path.name}", on_frames, reference.remarks)
    return look_of(small, reference)


def look_of(small: Path, reference: ReferenceInput) -> Look:
    """Detail and change of the small pictures in a file, which is removed.

    Raises:
      MediaError: their number is unexpected.
    """
    width, height = SIGNATURE_SIZE
    n_frames = small.stat().st_size // (width * height)
    if n_frames != reference.n_frames:
        raise MediaError(
            f"{reference.path.name} gives {n_frames} frames, but {reference.n_frames} were counted",
            next_step="export the file again",
        )
    frames = np.memmap(small, np.uint8, "r", shape=(n_frames, height, width))
    parts = [_facts(chunk) for chunk in _chunks(frames)]
    del frames
    small.unlink()
    return Look(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _chunks(frames: NDArray[np.uint8]) -> Iterator[F32]:
    """Frames in runs; each run begins with the last frame of the run before (the first with itself)."""
    for start in range(0, len(frames), _CHUNK_FRAMES):
        first = frames[max(0, start - 1)][None]
        yield np.concatenate([first, frames[start : start + _CHUNK_FRAMES]]).astype(np.float32)


def _facts(run: F32) -> tuple[F32, F32]:
    """Detail and change of all frames of a run but its first, [F] each."""
    own = run[1:]
    across, down = np.abs(np.diff(own, axis=2)).mean(axis=(1, 2)), np.abs(np.diff(own, axis=1)).mean(axis=(1, 2))
    return (across + down) / 2, np.abs(np.diff(run, axis=0)).mean(axis=(1, 2))


def merged(spans: Sequence[Span]) -> list[Span]:
    """Spans in the order of time; those that touch or overlap are merged.

    >>> merged([Span(20, 30), Span(0, 5), Span(28, 40)])
    [Span(first=0, last=5), Span(first=20, last=40)]
    """
    made: list[Span] = []
    for span in sorted(spans, key=lambda one: one.first):
        if made and span.first <= made[-1].last:
            made[-1] = Span(made[-1].first, max(made[-1].last, span.last))
        else:
            made.append(span)
    return made


class Cuttings:
    """Spans of a title, decoded once into lossless files, as references of their own."""

    def __init__(self, reference: ReferenceInput, spans: Sequence[Span], folder: Path) -> None:
        self._reference, self._folder = reference, folder
        self._pieces = merged(spans)

    @property
    def n_frames(self) -> int:
        """Frames cut out in all."""
        return sum(piece.last - piece.first for piece in self._pieces)

    def cut(self, ffmpeg: Ffmpeg, *, on_frames: OnFrames | None = None) -> None:
        """Write the files.

        Raises:
          MediaError: a frame does not decode.
          ToolError: ffmpeg failed, or the disk of temporary files is too small.
        """
        self._check_space()
        pieces = [(piece.first, piece.last) for piece in self._pieces]
        argv = commands.cut_out(self._reference, pieces).argv(
            ffmpeg, progress=True, source=self._reference.path, output=self._folder / "%05d.mkv"
        )
        what = f"cutting segments out of {self._reference.path.name}"
        _run(argv, what, on_frames, self._reference.remarks)

    def reference(self, span: Span) -> ReferenceInput:
        """A span as the reference of comparisons."""
        index = next(i for i, p in enumerate(self._pieces) if p.first <= span.first and span.last <= p.last)
        start = span.first - self._pieces[index].first
        # The user's filters are applied already, unless VMAF compares with the unfiltered source.
        filters = "" if self._reference.unfiltered_size is None else self._reference.user_filters
        return replace(
            self._reference,
            path=self._folder / f"{index:05d}.mkv",
            n_frames=span.last - span.first,
            input_args=(),
            stream_map="v:0",
            remarks=(),
            user_filters=filters,
            rgb_matrix=self._reference.rgb_matrix if filters or not self._reference.user_filters else "",
            span=(start, start + span.last - span.first),
        )

    def _check_space(self) -> None:
        width, height = self._reference.unfiltered_size or self._reference.size or (0, 0)
        wanted = self.n_frames * width * height * 1.5 * _FFV1_SHARE
        free = shutil.disk_usage(self._folder).free
        if free < wanted:
            raise ToolError(
                f"segments to probe take about {wanted / 1e6:.0f} MB for a while, {self._folder.parent} has "
                f"{free / 1e6:.0f} MB free",
                next_step="free space, set TMPDIR to a larger disk, or lower --probe-seconds",
            )


def _run(argv: list[str], what: str, on_frames: OnFrames | None, remarks: tuple[str, ...]) -> None:
    def on_line(line: str) -> None:
        if on_frames and line.startswith("frame="):
            on_frames(int(line[6:]))

    done = process.run(argv, on_line=on_line)
    if done.exit_code != 0:
        raise failure(what, done)
    check_decoded(what, done.stderr, remarks=remarks)
