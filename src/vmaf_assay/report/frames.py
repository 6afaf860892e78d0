"""The worst seconds of an encode, and its frames beside the source's, as small JPEGs inside the page."""

import base64
import re
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from vmaf_assay.errors import AssayError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.reading_commands import pictures
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.segments import look
from vmaf_assay.records import OnStep

SECONDS = 10
"""How many of the worst seconds are shown."""
THUMB_WIDTH_PX = 480
"""Width of a thumbnail; twenty of them at quality 4 are about 600 kB."""
_SAFE_FILTERS = re.compile(r"(?:crop|scale|pad|hflip|vflip|transpose|fps|setsar)(?:=[0-9a-z:.=_/\-]*)?")
"""Filters that only read the picture: a document may come from anyone, and `movie=` would read any file."""


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


def worst_seconds(
    vmaf: Sequence[float], frame_rate: Fraction, cuts: Sequence[int] | None = None, count: int = SECONDS
) -> list[WorstSecond]:
    """The seconds of lowest mean VMAF, one of each scene, in order of time.

    Args:
      vmaf: of each frame, points, [F].
      frame_rate: frames per second.
      cuts: first frame of each scene, ascending, from 0; None if scenes are not known: then every second counts as
        a scene of its own.
      count: how many at most.

    A rest of under half a second joins the second before. A second belongs to the scene of its worst frame.

    >>> [second.start_s for second in worst_seconds([90.0] * 25 + [80.0] * 50, Fraction(25), [0, 25])]
    [0.0, 1.0]
    """
    per = max(1, round(frame_rate))
    edges = [*range(0, max(len(vmaf) - per // 2, 1), per), len(vmaf)]
    windows = [(a, b) for a, b in pairwise(edges) if b > a]
    worst: dict[int, WorstSecond] = {}
    for start, end in windows:
        part = np.array(vmaf[start:end])
        frame = start + int(part.argmin())
        scene = start if cuts is None else bisect_right(cuts, frame)
        made = WorstSecond(float(start / frame_rate), float(part.mean()), frame, float(vmaf[frame]))
        if scene not in worst or made.mean_vmaf < worst[scene].mean_vmaf:
            worst[scene] = made
    found = sorted(worst.values(), key=lambda second: second.mean_vmaf)[:count]
    return sorted(found, key=lambda second: second.start_s)


def scene_cuts(
    ffmpeg: Ffmpeg, path: Path, n_frames: int, frame_rate: Fraction, on_step: OnStep | None = None
) -> list[int] | None:
    """First frame of each scene of a file; None if it does not have the frames it should.

    Args:
      ffmpeg: decodes it once.
      path: a local file.
      n_frames: frames it must have.
      frame_rate: frames per second.
      on_step: called with frames done.
    """

    def on_frames(done: int) -> None:
        if on_step:
            on_step("scenes of the output", min(done, n_frames), n_frames)

    try:
        with tempfile.TemporaryDirectory(prefix="assay-scenes-") as folder:
            return look(
                ffmpeg, ReferenceInput(path, frame_rate, n_frames), Path(folder), on_frames=on_frames
            ).cuts()
    except AssayError:
        return None


def safe_filters(filters: str) -> bool:
    """Whether a chain only crops, scales, pads, turns or re-times the picture.

    >>> safe_filters("crop=100:80:0:0,scale=50:40"), safe_filters("movie=/etc/passwd"), safe_filters("")
    (True, False, True)
    """
    return all(_SAFE_FILTERS.fullmatch(step) for step in filters.split(",")) if filters else True


def thumbnails(
    ffmpeg: Ffmpeg,
    path: Path,
    frames: list[int],
    *,
    filters: str = "",
    stream_map: str = "v:0",
    what: str = "frames",
    on_step: OnStep | None = None,
) -> list[str]:
    """Data URIs of the frames named, ascending, each at most `THUMB_WIDTH_PX` wide.

    Args:
      ffmpeg: decodes them in one pass.
      path: a local file.
      frames: numbers counted from 0.
      filters: what the picture goes through first; checked by `safe_filters`.
      stream_map: ffmpeg's name of the stream in the file.
      what: whose frames they are, for progress.
      on_step: called with frames decoded, of those up to the last one named.

    Raises:
      ToolError: ffmpeg failed.
    """
    total = max(frames, default=0) + 1
    with tempfile.TemporaryDirectory(prefix="assay-frames-") as folder:
        command = pictures(stream_map, frames, filters, THUMB_WIDTH_PX)
        made_in = f"{Path(folder) / '%04d.jpg'}"
        argv = command.argv(ffmpeg, progress=True, source=f"file:{path.resolve()}", output=made_in)

        def on_line(line: str) -> None:
            if on_step and line.startswith("frame="):
                on_step(what, min(int(line[6:]), total), total)

        done = process.run(argv, timeout_s=600, on_line=on_line)
        if done.exit_code != 0:
            raise failure(f"reading frames of {path.name}", done)
        return [
            f"data:image/jpeg;base64,{base64.b64encode(made.read_bytes()).decode()}"
            for made in sorted(Path(folder).glob("*.jpg"))
        ]
