"""What a media file says of itself: one typed record for the file, and one for each of its streams."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

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
