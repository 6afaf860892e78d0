"""Black bars, found over the whole of a title."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, check_ended
from vmaf_assay.media.reading_commands import brightest
from vmaf_assay.records import VideoInfo

BLACK = 12
"""Largest of red, green and blue that a bar may have, of 255: coding and noise leave a bar not quite black."""
_PER_SECOND = 5
"""Pictures of a second that are looked at: a subtitle stands longer than a fifth of one."""
_ALL_UP_TO = 1000
"""Frames up to which all are looked at."""
_OUTLIERS = 0.002
"""Share of a line's samples that may be brighter and the line still be black."""
_EDGE_LINES, _LIT = 6, 0.5
"""Within so many lines of a bar's end, so much of the line is picture: a bar ends straight. What ends otherwise is
a dark scene, or holds something, as subtitles."""
_MIN_BAR = 4
"""px; fewer dark lines are the camera's edge, and left."""


@dataclass(frozen=True, slots=True)
class Bars:
    """The picture between its bars."""

    width: int
    """px, even."""
    height: int
    """px, even."""
    x: int
    """px from the left, even."""
    y: int
    """px from the top, even."""
    kept: tuple[str, ...] = ()
    """Sides whose bar holds something at some time, and stays."""

    def __str__(self) -> str:
        return f"{self.width}:{self.height}:{self.x}:{self.y}"


def find_bars(ffmpeg: Ffmpeg, path: Path, video: VideoInfo, input_args: Sequence[str]) -> Bars:
    """What of a title is ever not black: the whole picture unless straight bars are black throughout.

    Args:
      ffmpeg: decodes all of it.
      path: the title.
      video: its facts.
      input_args: options before `-i`.

    Raises:
      MediaError: it does not decode.
      ToolError: ffmpeg was ended.
    """
    step = 1 if video.n_frames <= _ALL_UP_TO else max(1, int(video.frame_rate / _PER_SECOND))
    with tempfile.TemporaryDirectory(prefix="assay-bars-") as folder:
        seen = Path(folder) / "brightest.ppm"
        done = process.run(brightest(input_args, video.stream_map, step).argv(ffmpeg, source=path, output=seen))
        check_ended(f"looking for black bars in {path}", done)
        if done.exit_code != 0 or not seen.is_file():
            raise MediaError(f"{path} does not decode: {done.tail(1)}", next_step="leave --crop auto out")
        _, size, _, samples = seen.read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    return bars_of(np.frombuffer(samples, np.uint8).reshape(height, width, 3).max(axis=2))


def bars_of(brightest: NDArray[np.uint8]) -> Bars:
    """The picture between bars.

    Args:
      brightest: the brightest that each pixel ever is, [H, W], 0 to 255.

    >>> seen = np.zeros((56, 32), np.uint8)
    >>> seen[20:36] = 200
    >>> bars_of(seen)
    Bars(width=32, height=16, x=0, y=20, kept=())
    >>> seen[44:46, 12:20] = 255  # a subtitle
    >>> bars_of(seen)
    Bars(width=32, height=36, x=0, y=20, kept=('bottom',))
    """
    height, width = brightest.shape
    lit = brightest > BLACK
    if lit.mean() < 0.01:
        return Bars(width // 2 * 2, height // 2 * 2, 0, 0)
    top, bottom = _depth(lit), _depth(lit[::-1])
    left, right = _depth(lit.T), _depth(lit.T[::-1])
    # How much of a line is lit counts between the other two sides' bars.
    across = lit[:, left : width - right]
    down = lit[top : height - bottom].T
    views = {"top": across, "bottom": across[::-1], "left": down, "right": down[::-1]}
    depths = dict(zip(views, (top, bottom, left, right), strict=True))
    kept = []
    for side, view in views.items():
        if depths[side] < _MIN_BAR:
            held = 0
        elif _ends_straight(view, depths[side]):
            held = depths[side]
        else:
            held = 0
            kept.append(side)
        depths[side] = held
    across_px, x = _even(depths["left"], width - depths["right"], width)
    down_px, y = _even(depths["top"], height - depths["bottom"], height)
    return Bars(across_px, down_px, x, y, tuple(kept))


def _even(first: int, last: int, total: int) -> tuple[int, int]:
    """(length, start), both even, of what reaches from `first` to before `last`, and no less if there is more."""
    start = first // 2 * 2
    end = min(last + last % 2, total // 2 * 2)
    return end - start, start


def _depth(lit: NDArray[np.bool_]) -> int:
    """How many lines from the first are black."""
    allowed = int(_OUTLIERS * lit.shape[1])
    found = np.flatnonzero(lit.sum(axis=1) > allowed)
    return int(found[0]) if len(found) else lit.shape[0]


def _ends_straight(lit: NDArray[np.bool_], depth: int) -> bool:
    """Whether most of a line just behind a bar is picture."""
    behind = lit[depth : depth + _EDGE_LINES]
    return bool(len(behind)) and float(behind.mean(axis=1).max()) >= _LIT
