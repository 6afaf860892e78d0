"""The worst seconds of an encode, and its frames beside the source's, as small JPEGs inside the page."""

import base64
import re
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.records import OnStep

SECONDS = 10
"""How many of the worst seconds are shown."""
THUMB_WIDTH_PX = 480
"""Width of a thumbnail; twenty of them at quality 4 are about 600 kB."""
_SAFE_FILTERS = re.compile(r"(?:crop|scale|pad|hflip|vflip|transpose|fps|setsar)(?:=[0-9a-z:.=_/\-]*)?")
"""Filters that only read the picture: a document may come from anybody, and `movie=` would read any file."""


@dataclass(frozen=True, slots=True)
class WorstSecond:
    """One second of the encode."""

    start_s: float
    """Where it begins, seconds from the start."""
    mean_vmaf: float
    """Mean over its frames, points."""
    frame: int
    """Its worst frame, counted from 0."""
    frame_vmaf: float
    """That frame's VMAF, points."""


def worst_seconds(vmaf: list[float], frame_rate: Fraction, count: int = SECONDS) -> list[WorstSecond]:
    """The seconds of lowest mean VMAF, in order of time; a rest of under half a second joins the one before.

    >>> [second.start_s for second in worst_seconds([90.0] * 25 + [80.0] * 25, Fraction(25), count=1)]
    [1.0]
    """
    per = max(1, round(frame_rate))
    edges = [*range(0, max(len(vmaf) - per // 2, 1), per), len(vmaf)]
    windows = [(a, b) for a, b in pairwise(edges) if b > a]
    made = []
    for start, end in windows:
        part = np.array(vmaf[start:end])
        frame = start + int(part.argmin())
        made.append(WorstSecond(float(start / frame_rate), float(part.mean()), frame, float(vmaf[frame])))
    worst = sorted(made, key=lambda second: second.mean_vmaf)[:count]
    return sorted(worst, key=lambda second: second.start_s)


def safe_filters(filters: str) -> bool:
    """Whether a chain only crops, scales, pads, turns or re-times the picture.

    >>> safe_filters("crop=100:80:0:0,scale=50:40"), safe_filters("movie=/etc/passwd"), safe_filters("")
    (True, False, True)
    """
    return all(_SAFE_FILTERS.fullmatch(step) for step in filters.split(",")) if filters else True


def thumbnails(
    ffmpeg: Ffmpeg, path: Path, frames: list[int], *, filters: str = "", on_step: OnStep | None = None
) -> list[str]:
    """Data URIs of the frames named, ascending, each at most `THUMB_WIDTH_PX` wide.

    Args:
      ffmpeg: decodes them in one pass.
      path: a local file.
      frames: numbers counted from 0.
      filters: what the picture goes through first; checked by `safe_filters`.
      on_step: told how many have been read.

    Raises:
      ToolError: ffmpeg failed.
    """
    wanted = "+".join(f"eq(n\\,{frame})" for frame in frames)
    steps = [filters] if filters else []
    steps += [f"select={wanted}", f"scale=w=min(iw\\,{THUMB_WIDTH_PX}):h=-2:flags=area"]
    with tempfile.TemporaryDirectory(prefix="assay-frames-") as folder:
        argv = [
            *ffmpeg.base_argv(),
            "-progress",
            "pipe:1",
            "-i",
            f"file:{path.resolve()}",
            "-map",
            "0:v:0",
            "-vf",
            ",".join(steps),
            "-fps_mode",
            "passthrough",
            "-frames:v",
            str(len(frames)),
            "-pix_fmt",
            "yuvj420p",
            "-c:v",
            "mjpeg",
            "-q:v",
            "4",
            str(Path(folder) / "%04d.jpg"),
        ]

        def on_line(line: str) -> None:
            if on_step and line.startswith("frame="):
                on_step(f"frames of {path.name}", int(line[6:]), len(frames))

        done = process.run(argv, timeout_s=600, on_line=on_line)
        if done.exit_code != 0:
            raise failure(f"reading frames of {path.name}", done)
        return [
            f"data:image/jpeg;base64,{base64.b64encode(made.read_bytes()).decode()}"
            for made in sorted(Path(folder).glob("*.jpg"))
        ]
