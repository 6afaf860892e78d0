"""What a media file says of itself: one typed record for the file, and one for each of its streams.

Frame rates: what a header declares, checked against the frames' stamps.

Facts in ffmpeg's pixel format names: chroma grid, bits a sample, alpha.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

Kind = Literal["video", "audio", "subtitle", "attachment", "data", "unknown"]

FIELD_ORDERS = {1: "progressive", 2: "top", 3: "bottom", 4: "bottom", 5: "top"}
"""libavcodec's `AVFieldOrder` as the field that is shown first (4 is coded top first and shown bottom first)."""

RANGES = {1: "tv", 2: "pc"}
"""libavutil's `AVColorRange`."""

SPACES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
    15: "ipt-c2",
    16: "ycgco-re",
    17: "ycgco-ro",
}
"""libavutil's `AVColorSpace` (H.273 matrix coefficients)."""

PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
"""libavutil's `AVColorPrimaries` (H.273)."""

TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
"""libavutil's `AVColorTransferCharacteristic` (H.273)."""


@dataclass(frozen=True, slots=True)
class Colour:
    """How samples are to be read, in ffmpeg's words; `unknown` where nothing is said."""

    range: str
    """`tv` (limited), `pc` (full) or `unknown`."""
    space: str
    """Matrix, as `bt709`."""
    primaries: str
    """Primaries, as `bt709`."""
    transfer: str
    """Transfer, as `smpte2084`."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a file's header says of a video stream's pictures."""

    width: int
    """px, before rotation."""
    height: int
    """px, before rotation."""
    pix_fmt: str
    """ffmpeg's name; empty if the header does not say."""
    field_order: str
    """`progressive`, `top`, `bottom` (the field shown first) or `unknown`."""
    colour: Colour
    """As stated."""
    sample_aspect: Fraction
    """Width of a pixel over its height; 1 if not stated."""
    average_rate: Fraction | None
    """Mean frames a second (`avg_frame_rate`); None if there is none."""
    base_rate: Fraction | None
    """Lowest rate that holds every stamp (`r_frame_rate`); None if there is none."""
    guessed_rate: Fraction | None
    """libavformat's choice between the two; None if there is none."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a file."""

    index: int
    """Its place in the file, as in `-map 0:INDEX`."""
    kind: Kind
    """What it carries."""
    codec: str
    """ffmpeg's codec name, an attachment's MIME type, or `unknown`."""
    codec_tag: str
    """The container's four-character code; empty if it has none."""
    profile: str
    """The codec's profile; empty if it has none."""
    language: str
    """As tagged; empty if it is not, or `und`."""
    title: str
    """As tagged; empty if it is not."""
    timecode: str
    """Timecode of its first frame as tagged; empty if there is none."""
    tags: tuple[tuple[str, str], ...]
    """All its tags, (name as written, value)."""
    disposition: tuple[str, ...]
    """ffmpeg's names of its dispositions, sorted."""
    time_base: Fraction | None
    """Seconds of one tick; None if there is none."""
    start: int | None
    """Stamp of its first packet, ticks; None if there is none."""
    set_aside: bool
    """True if the demuxer gives none of its packets unless asked, as for an ISO file's chapter track."""
    n_samples: int
    """Samples that the container's header counts; 0 if it counts none."""
    extradata: bytes
    """The codec's own header; empty if the container has none."""
    video: VideoFacts | None
    """What its pictures are; None unless it is video that a decoder is known for."""

    def __str__(self) -> str:
        said = ", ".join(part for part in (self.codec, self.language) if part)
        return f"{self.kind} stream 0:{self.index} ({said})"

    @property
    def what(self) -> tuple[Kind, str]:
        """Kind and codec."""
        return self.kind, self.codec

    @property
    def attached_picture(self) -> bool:
        """True for a cover: a video stream of one picture."""
        return "attached_pic" in self.disposition

    @property
    def flags(self) -> tuple[str, ...]:
        """Dispositions but for `default` and `attached_pic`."""
        return tuple(flag for flag in self.disposition if flag not in ("default", "attached_pic"))

    @property
    def still(self) -> bool:
        """True if it says that it is no moving picture: a cover, a thumbnail, a still or a tile of one."""
        return bool({"attached_pic", "timed_thumbnails", "still_image", "dependent"} & {*self.disposition})


@dataclass(frozen=True, slots=True)
class Chapter:
    """One chapter."""

    start_s: float
    """Seconds."""
    end_s: float
    """Seconds."""
    tags: tuple[tuple[str, str], ...]
    """(name as written, value)."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Everything in a file, whether it is in a group of streams or not."""

    container: str
    """libavformat's demuxer, as `mov,mp4,m4a,3gp,3g2,mj2`."""
    start_s: float | None
    """Earliest stamp, seconds; None if there are none."""
    duration_s: float | None
    """By its header; None if that does not say."""
    tag_pairs: tuple[tuple[str, str], ...]
    """The file's own tags, (name as written, value)."""
    chapters: tuple[Chapter, ...]
    """In the file's order."""
    streams: tuple[Stream, ...]
    """All of them, in the file's order."""

    @property
    def n_chapters(self) -> int:
        """How many chapters."""
        return len(self.chapters)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the file's own tags, as written."""
        return tuple(name for name, _ in self.tag_pairs)

    def count(self) -> Counter[tuple[Kind, str]]:
        """How many streams there are of each kind and codec."""
        return Counter(stream.what for stream in self.streams)


def colour_of(codes: list[int]) -> Colour:
    """The words that ffmpeg has for libavutil's numbers: range, matrix, primaries, transfer."""
    words = (
        table.get(code, "unknown")
        for table, code in zip((RANGES, SPACES, PRIMARIES, TRANSFERS), codes, strict=True)
    )
    return Colour(*words)


COMMON_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)) + tuple(
    Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120)
)
"""Rates that cameras, broadcasts and films have."""

_SNAP = Fraction(1, 5000)
"""Millisecond stamps make a mean rate wrong by up to this fraction over a few seconds of video."""


_ERROR_S = 30 * 3600
"""Two frames further apart than this have stamps that are errors (ffmpeg's `-dts_error_threshold`)."""


def rate_of(stamps: Sequence[int], tick: Fraction, declared: Sequence[Fraction] = ()) -> tuple[Fraction, bool]:
    """(frames a second, whether every stamp fits it).

    The rate is a declared one that agrees with every stamp, preferably a common one. If no declared rate agrees,
    it is the mean over the stamps, or a common rate near it. Without usable stamps it is the first declared one,
    or 0.

    Args:
      stamps: of the frames in order of time, ticks.
      tick: seconds.
      declared: rates that the header states, most trusted first.

    >>> rate_of([0, 42, 83, 125], Fraction(1, 1000), [Fraction(24000, 1001)])
    (Fraction(24000, 1001), True)
    """
    usable = len(stamps) > 1 and tick > 0 and len(set(stamps)) == len(stamps)
    usable = usable and all((after - at) * tick <= _ERROR_S for at, after in pairwise(stamps))
    if not usable:
        return (snap_rate(declared[0]) if declared else Fraction(0)), True
    mean = (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * tick)
    near = [rate for rate in COMMON_RATES if abs(rate - mean) <= _SNAP * rate]
    # Matroska declares 60000/1001 in whole nanoseconds, which is read as 19001/317.
    common = [snapped for rate in declared if (snapped := snap_rate(rate)) in COMMON_RATES]
    ordered = [*common, *near, *declared]
    for rate in ordered:
        if _agrees(stamps, 1 / (rate * tick)):
            return rate, True
    return snap_rate(mean), is_constant(stamps)


def few_gaps(stamps: Sequence[int]) -> bool:
    """Whether hardly a tick between the first frame and the last is without a frame of its own.

    A muxer may begin an AVI file with empty chunks, to put its sound in time.

    >>> few_gaps([0, 3, 4, 5, 6]), few_gaps([0, 2, 4, 6, 8, 10, 12])
    (True, False)
    """
    return stamps[-1] - stamps[0] - (len(stamps) - 1) <= max(3, len(stamps) // 50)


def is_constant(stamps: Sequence[int]) -> bool:
    """Whether every stamp fits the mean rate, within the rounding of the container."""
    if len(stamps) < 3:
        return True
    return _agrees(stamps, Fraction(stamps[-1] - stamps[0], len(stamps) - 1))


def _agrees(stamps: Sequence[int], period: Fraction) -> bool:
    """Whether stamp n is n periods after the first."""
    # A stamp is rounded once and both ends of the period once; 2 % more for muxers that round down.
    slack = Fraction(3, 2) + period / 50
    return all(abs(stamp - stamps[0] - index * period) <= slack for index, stamp in enumerate(stamps))


def snap_rate(rate: Fraction) -> Fraction:
    """The common rate within the error of millisecond stamps, else a small fraction near it."""
    nearest = min(COMMON_RATES, key=lambda common: abs(common - rate))
    return nearest if abs(nearest - rate) <= _SNAP * nearest else rate.limit_denominator(1001) or rate


Chroma = Literal["420", "422", "444", "440", "411", "410", "gray", "rgb", "unknown"]


class PixelFacts(NamedTuple):
    """Facts in a pixel format's name."""

    chroma: Chroma
    """How chroma is sampled; `rgb` and `gray` have none of their own."""
    bit_depth: int
    """Bits a sample."""
    alpha: bool
    """True if a transparency plane comes with the picture."""


_ALPHA = re.compile(r"yuva|ya\d|yaf|rgba|bgra|argb|abgr|gbrap|ayuv|vuya|uyva")
# Packed and semi-planar names that do not spell their chroma out.
_SEMI_PLANAR = {
    "nv12": "420",
    "nv21": "420",
    "nv16": "422",
    "nv20": "422",
    "nv24": "444",
    "nv42": "444",
    "p0": "420",
    "p2": "422",
    "p4": "444",
    "y2": "422",
    "xv": "444",
    "v30": "444",
    "ayuv": "444",
    "vuy": "444",
    "vyu": "444",
    "uyva": "444",
    "yuyv": "422",
    "yvyu": "422",
    "uyvy": "422",
    "uyyvyy": "411",
}


def pixel_facts(pix_fmt: str) -> PixelFacts:
    """Read a pixel format's name.

    >>> pixel_facts("yuv420p10le")
    PixelFacts(chroma='420', bit_depth=10, alpha=False)
    >>> pixel_facts("gbrap")
    PixelFacts(chroma='rgb', bit_depth=8, alpha=True)
    """
    return PixelFacts(_chroma(pix_fmt), _bit_depth(pix_fmt), bool(_ALPHA.match(pix_fmt)))


def _chroma(name: str) -> Chroma:
    if name.startswith(("gray", "mono", "ya")):
        return "gray"
    if re.match(r"gbr|rgb|bgr|argb|abgr|0rgb|0bgr|x2|pal8|bayer|xyz", name):
        return "rgb"
    spelled = re.match(r"yuv[aj]?(4\d\d)p", name)
    grid = spelled[1] if spelled else next((g for p, g in _SEMI_PLANAR.items() if name.startswith(p)), "unknown")
    return grid  # type: ignore[return-value] # one of the literals, by the two tables above


def _bit_depth(name: str) -> int:
    if packed := re.match(r"(?:rgb|bgr)(48|96)", name):
        return int(packed[1]) // 3
    if packed := re.match(r"(?:rgba|bgra|ayuv)(64|128)", name):
        return int(packed[1]) // 4
    semi = re.match(r"(?:p[024]|y2)(\d\d)", name)
    if semi:
        return int(semi[1])
    if name.startswith("xv"):
        return {"30": 10, "36": 12, "48": 16}.get(name[2:4], 8)
    if name.startswith(("nv20", "v30x", "x2")):
        return 10
    written = re.match(r"(?:yuv[aj]?4\d\dp|gbra?pf?|grayf?|yaf?|rgba?f|xyz|bayer_\w{4})(\d+)", name)
    return int(written[1]) if written else 8
