"""Which sources can be scored, and how they are converted first.

libvmaf's `vmaf_v0.6.1` was trained on progressive SDR pictures and reads 8-bit luma. A source is converted if its
score stays a valid VMAF, and refused otherwise. The conversions themselves are `ffmpeg.normalise_filters`, on both
sides of every comparison, and so part of every cell's key.
"""

from pathlib import Path

from vmaf_assay.errors import MediaError
from vmaf_assay.media.ffmpeg import even_fit
from vmaf_assay.media.reference import rgb_matrix
from vmaf_assay.records import VideoInfo


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
