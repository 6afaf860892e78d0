"""Whether two pictures have one shape, and if not, whether black bars are the difference."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.reading_commands import detect_bars
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.records import VideoInfo

TOLERANCE = 0.01
"""Share by which two aspect ratios may differ: sizes are rounded to multiples of up to 16 px."""
_LOOKED_AT = 60
"""Frames that are looked at for black bars, spread over the file."""
_NEAR_PX = 16
"""Bars are found to within the encoder's blocks; a crop so near to the other picture's size is meant to be it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Size and shape of a picture as it is compared."""

    width: int
    """px."""
    height: int
    """px."""
    sample_aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""

    @property
    def displayed(self) -> float:
        """Aspect ratio on a screen."""
        return float(self.width * self.sample_aspect / self.height)

    def like(self, other: "Shape") -> bool:
        """Whether the two are one picture at two sizes: by their pixels, or as displayed."""
        pixels = self.width / self.height / (other.width / other.height)
        return any(abs(ratio - 1) <= TOLERANCE for ratio in (pixels, self.displayed / other.displayed))

    def __str__(self) -> str:
        return f"{self.width}x{self.height} ({self.displayed:.2f}:1)"


def check_shapes(
    ffmpeg: Ffmpeg, reference: ReferenceInput, source: VideoInfo, distorted_path: Path, distorted: VideoInfo
) -> None:
    """Refuse a pair of unlike shape: scaled onto each other they would score near 0 and mean nothing.

    Args:
      ffmpeg: looks for black bars.
      reference: as it is compared, after its filters.
      source: the reference's file.
      distorted_path: the other.
      distorted: its facts.

    Raises:
      MediaError: the aspect ratios differ; the next step names the crop that aligns them, if there is one.
    """
    assert reference.size is not None  # `open_source` sets it
    whole, other = (
        Shape(*reference.size, source.sample_aspect),
        Shape(*distorted.shown_size, distorted.sample_aspect),
    )
    if whole.like(other):
        return
    found = _bars(ffmpeg, reference.path, reference.user_filters, source)
    if found and (crop := _explains(found, whole, other)):
        before = f"{reference.user_filters}," if reference.user_filters else ""
        next_step = f"the reference has black bars: compare without them, with --vf {before}{crop}"
    else:
        bars = _bars(ffmpeg, distorted_path, "", distorted)
        next_step = "bring the reference into the same shape with --vf, as --vf crop=WIDTH:HEIGHT:X:Y"
        if bars and (crop := _explains(bars, other, whole)):
            next_step = (
                f"the encode has black bars ({crop}): make it without them, or give a reference that has them"
            )
    raise MediaError(
        f"aspect ratios differ: {reference.path.name} is {whole}, {distorted_path.name} is {other}",
        next_step=next_step,
    )


def _explains(found: tuple[int, int, int, int], barred: Shape, other: Shape) -> str:
    """The crop that gives `barred` the shape of `other`; empty if the bars found are not the difference."""
    width, height, x, y = found
    if (width, height) == (barred.width, barred.height):
        return ""
    if abs(width - other.width) <= _NEAR_PX and abs(height - other.height) <= _NEAR_PX:
        x, y = max(0, x + (width - other.width) // 2), max(0, y + (height - other.height) // 2)
        width, height = min(other.width, barred.width), min(other.height, barred.height)
        x, y = min(x, barred.width - width), min(y, barred.height - height)
    if not Shape(width, height, barred.sample_aspect).like(other):
        return ""
    return f"crop={width}:{height}:{x}:{y}"


def _bars(ffmpeg: Ffmpeg, path: Path, filters: str, video: VideoInfo) -> tuple[int, int, int, int] | None:
    """Width, height, x and y of what is not black in any frame looked at; None if ffmpeg cannot say."""
    step = max(1, video.n_frames // _LOOKED_AT)
    command = detect_bars(video.stream_map, filters, step)
    done = process.run(command.argv(ffmpeg, source=path))
    text = done.stdout.decode(errors="replace")
    last = [re.findall(rf"^lavfi\.cropdetect\.{name}=(-?\d+)$", text, re.MULTILINE) for name in "whxy"]
    if done.exit_code != 0 or not all(last):
        return None
    width, height, x, y = (int(values[-1]) for values in last)
    return (width, height, x, y) if width > 0 and height > 0 else None
