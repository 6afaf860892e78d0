"""Raw video files: pictures without a header, so their geometry must be given."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media.facts import pixel_facts

RAW_SUFFIXES = frozenset({".yuv", ".raw"})
"""Suffixes of raw files."""

# Rates that file names truncate: 23 and 2397 for 24000/1001, 29 and 2997 for 30000/1001.
_ROUNDED = {
    "23": 24,
    "2397": 24,
    "2398": 24,
    "29": 30,
    "2997": 30,
    "47": 48,
    "59": 60,
    "5994": 60,
    "119": 120,
}
_PLANES = {"420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1), "411": (4, 1), "410": (4, 4)}


@dataclass(frozen=True, slots=True)
class RawGeometry:
    """Geometry of a raw file."""

    width: int
    """px."""
    height: int
    """px."""
    pix_fmt: str
    """ffmpeg's pixel format name."""
    frame_rate: Fraction
    """Frames per second."""

    def input_args(self) -> tuple[str, ...]:
        """Options before `-i`."""
        rate = f"{self.frame_rate.numerator}/{self.frame_rate.denominator}"
        return (
            "-f",
            "rawvideo",
            "-pixel_format",
            self.pix_fmt,
            "-video_size",
            f"{self.width}x{self.height}",
            "-framerate",
            rate,
        )

    def frame_bytes(self) -> int | None:
        """Bytes of one frame of a planar format; None for others."""
        facts = pixel_facts(self.pix_fmt)
        sample = 1 if facts.bit_depth <= 8 else 2
        if self.pix_fmt.startswith("gray"):
            return self.width * self.height * sample
        if not re.match(r"yuv\d", self.pix_fmt) or facts.chroma not in _PLANES:
            return None
        across, down = _PLANES[facts.chroma]
        chroma = -(-self.width // across) * -(-self.height // down)
        return (self.width * self.height + 2 * chroma) * sample

    def check(self, path: Path) -> None:
        """Refuse a file that does not hold a whole number of such frames: wrong geometry, or truncated."""
        frame = self.frame_bytes()
        size = path.stat().st_size if path.is_file() else 0
        if frame and size % frame:
            raise MediaError(
                f"{path} has {size} bytes, which is {size / frame:.2f} frames of {self.width}x{self.height} "
                f"{self.pix_fmt}",
                next_step="correct the geometry, or copy the file again",
            )


def parse_raw(text: str) -> RawGeometry:
    """Read `WIDTHxHEIGHT:PIX_FMT:RATE`, as `1920x1080:yuv420p:25` or `...:30000/1001`.

    Raises:
      ConfigError: it is not of that form.

    >>> parse_raw("1920x1080:yuv420p10le:30000/1001").frame_rate
    Fraction(30000, 1001)
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5}):(\w{1,32}):(\d{1,6}(?:\.\d{1,6}|/\d{1,6})?)", text)
    try:
        rate = Fraction(match[4]) if match else Fraction(0)
    except ZeroDivisionError:
        rate = Fraction(0)
    if match is None or not (int(match[1]) and int(match[2]) and 0 < rate <= 1000):
        raise ConfigError(
            f"raw geometry is WIDTHxHEIGHT:PIX_FMT:RATE, not {text[:100]!r}",
            next_step="write 1920x1080:yuv420p:25",
        )
    if pixel_facts(match[3]).chroma == "unknown":
        raise ConfigError(f"{match[3]!r} is not a pixel format", next_step="write yuv420p or yuv420p10le")
    return RawGeometry(int(match[1]), int(match[2]), match[3], rate.limit_denominator(1001))


def geometry_in_name(name: str) -> RawGeometry | None:
    """The geometry in a test sequence's name; None if size or rate is missing.

    BVI-DVC, BVI-HD, UVG, Xiph and the JVET sequences are named so; bits default to 8, chroma to 4:2:0.

    >>> geometry_in_name("ABookcaseBVITexture_3840x2176_120fps_10bit_420").pix_fmt
    'yuv420p10le'
    >>> geometry_in_name("BasketballDrive_1920x1080_50").frame_rate
    Fraction(50, 1)
    """
    size = re.search(r"_(\d{2,5})x(\d{2,5})(?=_|$)", name)
    after = name[size.end() :] if size else ""
    rate = re.search(r"_(\d{1,5})(?:fps|p|Hz)(?=_|$)", name) or re.match(r"_(\d{2,3})(?=_|$)", after)
    if size is None or rate is None:
        return None
    bits = re.search(r"_(\d{1,2})bits?(?=_|$)", name)
    chroma = re.search(r"_(420|422|444|400)(?=_|$)", after)
    layout = "gray" if chroma and chroma[1] == "400" else f"yuv{chroma[1] if chroma else '420'}p"
    depth = "" if bits is None or bits[1] == "8" else f"{bits[1]}le"
    return RawGeometry(int(size[1]), int(size[2]), layout + depth, rate_of_name(rate[1]))


def rate_of_name(digits: str) -> Fraction:
    """The frame rate that a name's whole number stands for: 29 and 2997 are 30000/1001."""
    if digits in _ROUNDED:
        return Fraction(_ROUNDED[digits] * 1000, 1001)
    return Fraction(int(digits))
