"""Look at some places of a large file before all of it is read: does its size or format change on the way?"""

import re
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.media import process
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.reading_commands import show_picture

_SHARES = (0.25, 0.5, 0.75, 0.97)
"""Places, of the duration."""

_LEAST_S = 20.0
"""A shorter file is read at once."""

_NEAR_S = 4.0
"""How exactly the place of a change is sought, seconds."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a picture is."""

    size: str
    pix_fmt: str
    color_range: str

    def difference(self, other: "_Shape") -> str:
        """What changes to another one, in words; a range that is not stated is no change."""
        if self.size != other.size:
            return f"its size changes from {self.size} to {other.size}"
        if self.pix_fmt != other.pix_fmt:
            return f"its pixel format changes from {self.pix_fmt} to {other.pix_fmt}"
        if self.color_range != other.color_range and "unknown" not in (self.color_range, other.color_range):
            return f"its range changes from {self.color_range} to {other.color_range}"
        return ""


def early_change(ffmpeg: Ffmpeg, path: Path) -> str:
    """What changes on the way, and about when; empty where nothing is seen.

    Args:
      ffmpeg: decodes one picture at each place.
      path: a file that ffmpeg can seek in. Of one that it cannot seek in, or with several videos, nothing is seen.

    Raises:
      MediaError: it does not open, or names other files.
    """
    facts = read_facts(path)
    videos = [one for one in facts.streams if one.kind == "video"]
    if len(videos) != 1 or facts.duration_s is None or facts.duration_s < _LEAST_S:
        return ""
    first = _shape(ffmpeg, path, facts.container, 0.0)
    low = 0.0
    for share in _SHARES if first else ():
        high = share * facts.duration_s
        there = _shape(ffmpeg, path, facts.container, high)
        if first and there and (change := first.difference(there)):
            while high - low > _NEAR_S:
                middle = (low + high) / 2
                seen = _shape(ffmpeg, path, facts.container, middle)
                low, high = (low, middle) if seen and first.difference(seen) else (middle, high)
            return f"{change} at about {high:.0f} s"
        low = high
    return ""


def _shape(ffmpeg: Ffmpeg, path: Path, container: str, at_s: float) -> _Shape | None:
    """The first picture from a place on, as its decoder gives it."""
    command = show_picture(container.partition(",")[0], at_s)
    done = process.run(command.argv(ffmpeg, source=path), timeout_s=60)
    found = re.search(r" fmt:(\S+) .* s:(\d+x\d+) ", done.stderr)
    colours = re.search(r"color_range:(\S+)", done.stderr)
    return _Shape(found[2], found[1], colours[1] if colours else "unknown") if found else None
