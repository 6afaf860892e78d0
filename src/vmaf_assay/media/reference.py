"""A source as the reference of a comparison: whether it can be one, and what its frames go through on each side.

libvmaf's `vmaf_v0.6.1` was trained on progressive SDR pictures and reads 8-bit luma. A source is converted if its
score stays a valid VMAF, and refused otherwise. The conversions themselves are `ffmpeg.normalise_filters`, on both
sides of every comparison, and so part of every cell's key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import MediaError
from vmaf_assay.media.ffmpeg import even_fit
from vmaf_assay.records import PacketIndex, VideoInfo


@dataclass(frozen=True, slots=True)
class ReferenceInput:
    """A source as the reference of a comparison: how to open it and what to make of its frames."""

    path: Path
    """File to decode."""
    frame_rate: Fraction
    """Frames per second that its frames are given."""
    n_frames: int
    """Frames it must give; a different count is an error, not a score."""
    size: tuple[int, int] | None = None
    """(width, height) to scale to before encoding and scoring, px; None leaves it."""
    input_args: tuple[str, ...] = ()
    """Options before `-i`, such as `-ss`."""
    user_filters: str = ""
    """A chain that the user wants the encoder to see the source through, before everything else."""
    unfiltered_size: tuple[int, int] | None = None
    """(width, height), px: compare with the source as it is at this size, the distorted scaled up to it; None
    compares with what the encoder saw."""
    span: tuple[int, int] | None = None
    """(first, last + 1) of the file's frames that are meant, counted from 0; None means all."""
    stream_map: str = "v:0"
    """How ffmpeg names the stream in the file: `v:0`, or its index."""
    remarks: tuple[str, ...] = ()
    """What a decoder says of pictures before the first that can be decoded (`VideoInfo.remarks`)."""
    rgb_matrix: str = ""
    """Matrix that an RGB source becomes YUV by, in ffmpeg's words; empty for a source that is YUV."""
    pix_fmt: str = "yuv420p"
    """Pixel format that the source is converted to, once, for the encoder and for VMAF."""
    full_range: bool = False
    """Whether the encoder is fed full range; both sides become limited for VMAF."""
    compared_pix_fmt: str = ""
    """Pixel format of the comparison, at least as deep as both sides so that neither is rounded; empty for
    `pix_fmt`."""
    stamps: tuple[int, int] | None = None
    """[first, last) stamps of the file's frames that are meant, ticks as they are in the file; None means all."""
    packets: PacketIndex | None = field(default=None, compare=False, repr=False)
    """Which packets hold which frames; None where only decoding tells, or filters make other frames of them."""

    @property
    def compared(self) -> str:
        """Pixel format in which both sides meet."""
        return self.compared_pix_fmt or self.pix_fmt

    def filters(self) -> list[str]:
        """The chain libvmaf sees the source through; without `unfiltered_size` also the encoder's."""
        if self.unfiltered_size is None:
            return [*self.encode_filters(), *self._to_compare(), "setsar=1"]
        return [*self._trim(), *self.from_rgb(), *self.distorted_filters()]

    def encode_filters(self) -> list[str]:
        """The chain the encoder sees the source through, in trials and in the final encode alike."""
        mine = [self.user_filters] if self.user_filters else []
        fed = normalise_filters(self.rate(), self.size, self.pix_fmt, "pc" if self.full_range else "tv")
        return [*self._trim(), *self.from_rgb(), *mine, *fed]

    def distorted_filters(self) -> list[str]:
        """The chain libvmaf sees a finished encode through."""
        return [*normalise_filters(self.rate(), self.unfiltered_size or self.size, self.compared), "setsar=1"]

    def around(self, before: int, after: int) -> "ReferenceInput":
        """The same with a few more frames before and after its span."""
        if self.span is None:
            return self
        return replace(self, span=(self.span[0] - before, self.span[1] + after))

    def from_rgb(self) -> list[str]:
        """Filters that make YUV of an RGB source and tag it, before the user's: ffmpeg's own choice is BT.601."""
        return from_rgb_filters(self.rgb_matrix)

    def rate(self) -> str:
        """The frame rate as ffmpeg reads it, `30000/1001`."""
        return f"{self.frame_rate.numerator}/{self.frame_rate.denominator}"

    def tick(self) -> str:
        """Filters that put frame n at time stamp n, in units of a frame."""
        return f"settb={self.frame_rate.denominator}/{self.frame_rate.numerator},setpts=N"

    def decoded_filters(self) -> list[str]:
        """The chain libvmaf sees an encode through that the same process has made."""
        size = "" if self.unfiltered_size is None else "{}:{}:".format(*self.unfiltered_size)
        limited = ":out_range=tv" if self.full_range else ""
        scaled = [f"scale={size}flags=bicubic{limited}"] if size or limited else []
        return [*scaled, f"format={self.compared}"]

    def _to_compare(self) -> list[str]:
        limited = ["scale=flags=bicubic:out_range=tv"] if self.full_range else []
        deeper = [] if self.compared == self.pix_fmt else [f"format={self.compared}"]
        return [*limited, *deeper]

    def _trim(self) -> list[str]:
        if self.stamps is not None:
            return [f"trim=start_pts={self.stamps[0]}:end_pts={self.stamps[1]}"]
        return [] if self.span is None else [f"trim=start_frame={self.span[0]}:end_frame={self.span[1]}"]


def rgb_matrix(width: int, height: int) -> str:
    """The matrix that players expect of a picture's size, in ffmpeg's words.

    >>> rgb_matrix(1280, 720), rgb_matrix(720, 1280), rgb_matrix(640, 360)
    ('bt709', 'bt709', 'smpte170m')
    """
    return "bt709" if max(width, height) >= 1280 or min(width, height) >= 720 else "smpte170m"


def from_rgb_filters(matrix: str) -> list[str]:
    """Filters that make tagged 4:4:4 YUV of RGB by a matrix; none without one."""
    return [f"scale=flags=bicubic:out_color_matrix={matrix}:out_range=tv", "format=yuv444p"] if matrix else []


def normalise_filters(
    frame_rate: str, size: tuple[int, int] | None, pix_fmt: str = "yuv420p", out_range: str = "tv"
) -> list[str]:
    """Filters that give any input one pixel format, range and constant frame rate, frame for frame.

    Args:
      frame_rate: rational, as `30000/1001`; frame n is put at n / frame_rate.
      size: (width, height) to scale to, px; None leaves it.
      pix_fmt: the pixel format.
      out_range: `tv` (limited) or `pc` (full).

    `settb` + `setpts=N` drop the container's timestamps (Matroska's are in milliseconds and made libvmaf
    compare a frame with its neighbour: VMAF 91.3 became 82.9); `fps` then only declares the rate. The shape of a
    pixel stays what it is: it is in the headers of a final encode, and so of every trial.
    """
    numerator, denominator = frame_rate.split("/")
    scale = f"scale=flags=bicubic:out_range={out_range}"
    if size:
        scale = f"scale={size[0]}:{size[1]}:flags=bicubic:out_range={out_range}"
    return [f"settb={denominator}/{numerator}", "setpts=N", f"fps={frame_rate}", scale, f"format={pix_fmt}"]


def chain(filters: Sequence[str]) -> str:
    """A linear filter chain."""
    return ",".join(filters)


def admit(path: Path, video: VideoInfo) -> list[str]:
    """Conversions of a source before it is encoded and scored, one line each; empty if there are no conversions.

    Raises:
      MediaError: its score would not be a valid VMAF.
    """
    if refusal := refuse(video):
        reason, next_step = refusal
        raise MediaError(f"{path} {reason}", next_step=next_step)
    return conversions(video)


def refuse(video: VideoInfo, *, hdr: bool = False) -> tuple[str, str] | None:
    """Why a source is not scored, and what to do about it; None if it is.

    Args:
      video: its facts.
      hdr: whether HDR is taken, its coded values scored.
    """
    if video.n_frames < 2:
        return "has one frame; VMAF measures motion", "give a video of two or more frames"
    if video.hdr and not hdr:
        return (
            f"is {video.hdr}; vmaf_v0.6.1 was trained on SDR pictures, and no VMAF model for HDR is public",
            "tone-map it to SDR first (docs/corpus.md)",
        )
    if any("DOVI" in name for name in video.side_data) and video.color_transfer == "unknown":
        return "is Dolby Vision without a base layer that can be shown alone", "give an SDR version"
    if video.interlaced:
        return (
            f"is interlaced ({video.field_order} field first); VMAF compares whole frames",
            "deinterlace it first, as with `-vf bwdif`",
        )
    if video.alpha:
        return "has transparency, which VMAF cannot see", "flatten it first, or drop it with --vf format=yuv420p"
    if video.rotation % 90:
        return f"is turned by {video.rotation} degrees", "turn it by a multiple of 90 degrees"
    if video.chroma == "unknown":
        return f"has pixel format {video.pix_fmt}, which is not known here", "convert it to yuv420p first"
    return None


def conversions(video: VideoInfo) -> list[str]:
    """Conversions of an eligible source before it is encoded and scored, one line each."""
    return [*_pixel_conversions(video), *shape_conversions(video)]


def rgb_words(video: VideoInfo, chroma: str = "420") -> str:
    """How an RGB source becomes YUV."""
    matrix = {"bt709": "BT.709", "smpte170m": "BT.601"}[rgb_matrix(*video.shown_size)]
    return f"RGB is converted to {':'.join(chroma)} with the {matrix} matrix"


def _pixel_conversions(video: VideoInfo) -> list[str]:
    said = []
    if video.bit_depth > 8:
        said.append(f"{video.bit_depth} bit are rounded to 8: the encode and the score are of 8-bit video")
    if video.chroma == "rgb":
        said.append(rgb_words(video))
    elif video.chroma not in ("420", "gray"):
        said.append(f"chroma is reduced from {':'.join(video.chroma)} to 4:2:0; VMAF reads luma alone")
    if video.color_range == "pc" and video.chroma != "rgb":
        said.append("full range is mapped to limited range")
    return said


def shape_conversions(video: VideoInfo) -> list[str]:
    """What becomes of a source's size, rotation, pixel shape and times, one line each."""
    width, height = video.shown_size
    said = []
    if even_fit(width, height, None) != (width, height):
        said.append(f"{width}x{height} is scaled to even {'x'.join(map(str, even_fit(width, height, None)))}")
    if video.rotation:
        said.append(f"it is turned as players show it, to {width}x{height}")
    if video.sample_aspect != 1:
        said.append("pixels are not square; they are compared as stored")
    if not video.constant_rate:
        rate = float(video.frame_rate)
        said.append(
            f"its frame rate varies; frames are compared one by one, at its mean rate of {rate:.3f} a second"
        )
    return said
