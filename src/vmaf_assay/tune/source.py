"""A title as the reference of every comparison, or the reason why it cannot be one."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.eligibility import refuse
from vmaf_assay.media.ffmpeg import Ffmpeg, even_fit, failure
from vmaf_assay.media.probe import probe_video, snap_rate
from vmaf_assay.media.reference import ReferenceInput, rgb_matrix
from vmaf_assay.records import VideoInfo
from vmaf_assay.tune.filter_files import absolute_files
from vmaf_assay.tune.request import ReferenceKind

MAX_LONG_SIDE_PX, MAX_SHORT_SIDE_PX = 2560, 1440
"""Above both VMAF has a model of its own (`vmaf_4k_v0.6.1`), for which nothing here is calibrated."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Frames as they come out of a filter chain."""

    width: int
    """px."""
    height: int
    """px."""
    frame_rate: Fraction
    """Average frames per second."""
    n_frames: int
    """Frames."""


def open_source(
    ffmpeg: Ffmpeg, path: Path, filters: str = "", reference: ReferenceKind = "filtered"
) -> tuple[ReferenceInput, VideoInfo]:
    """A title as the reference of every comparison, at its own size made even, through the user's filters.

    Raises:
      MediaError: it cannot be read, is a still picture, or is of a kind that calibration never saw.
      ToolError: the filters do not run.
    """
    filters = absolute_files(filters, Path.cwd())
    video = probe_video(ffmpeg, path)
    _check_kind(path, video, filters)
    width, height = video.shown_size
    picture = Picture(width, height, video.frame_rate, video.n_frames)
    plain = even_fit(width, height, None)
    if filters:
        picture = _filtered(ffmpeg, path, filters, picture)
    _check_length(path, picture)
    size = even_fit(picture.width, picture.height, None)
    matrix = rgb_matrix(*size) if video.chroma == "rgb" else ""
    opened = ReferenceInput(
        path, picture.frame_rate, picture.n_frames, size, user_filters=filters, rgb_matrix=matrix
    )
    compared = size
    if reference == "source":
        opened, compared = replace(opened, unfiltered_size=plain), plain
    _check_size(path, *compared)
    return opened, video


def pixels(reference: ReferenceInput) -> int:
    """Width x height that is encoded, px."""
    assert reference.size is not None  # `open_source` sets it
    return reference.size[0] * reference.size[1]


def seconds(reference: ReferenceInput) -> float:
    """How long it plays."""
    return float(reference.n_frames / reference.frame_rate)


_DEINTERLACERS = ("yadif", "bwdif", "w3fdif", "estdif", "nnedi", "kerndeint")


def _check_kind(path: Path, video: VideoInfo, filters: str) -> None:
    """Refuse what VMAF cannot judge or no calibration source was, unless the user's filters mend it."""
    to_8_bit = "format=yuv420p" in filters
    deinterlaced = any(name in filters for name in _DEINTERLACERS)
    mended = (to_8_bit and (video.hdr or video.alpha)) or (deinterlaced and video.interlaced)
    if (refusal := refuse(video)) and not mended:
        what, next_step = refusal
        here = (
            "add --vf bwdif=send_frame"
            if video.interlaced
            else f"{next_step}, or with --vf ending in format=yuv420p"
        )
        raise MediaError(f"{path} {what}", next_step=here if video.hdr or video.interlaced else next_step)
    if (video.bit_depth > 8 or video.chroma not in ("420", "gray")) and not to_8_bit:
        raise MediaError(
            f"{path} is {video.pix_fmt}; the shipped calibration is of 8-bit 4:2:0",
            next_step="encode an 8-bit picture of it with --vf format=yuv420p",
        )


def _check_length(path: Path, picture: Picture) -> None:
    if picture.n_frames < 2:
        raise MediaError(f"{path} has one frame; VMAF measures motion", next_step="give a video of two or more")


def _check_size(path: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_LONG_SIDE_PX and min(width, height) > MAX_SHORT_SIDE_PX:
        raise MediaError(
            f"{path} is compared at {width}x{height}: VMAF judges 4K with a model of its own, and nothing is "
            "calibrated for that one",
            next_step="scale it to 1080p: `tune --vf scale=1920:-2` (portrait: scale=-2:1920)",
        )


def _filtered(ffmpeg: Ffmpeg, path: Path, filters: str, before: Picture) -> Picture:
    """What comes out of the filters: decoded once and counted, because a chain may do anything."""
    argv = [
        *ffmpeg.base_argv(),
        "-i",
        str(path.resolve()),
        "-map",
        "0:v:0",
        "-vf",
        filters,
        "-fps_mode",
        "passthrough",
        "-c:v",
        "rawvideo",
        "-f",
        "framecrc",
        "-",
    ]
    done = process.run(argv)
    if done.exit_code != 0:
        raise failure(f"putting {path.name} through --vf {filters!r}", done, next_step="correct --vf")
    text = done.stdout.decode(errors="replace")
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)", text, re.MULTILINE)
    time_base = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
    stamps = sorted(int(line.split(",")[2]) for line in text.splitlines() if line and not line.startswith("#"))
    if size is None or time_base is None or not stamps:
        raise MediaError(f"--vf {filters!r} leaves no frame of {path}", next_step="correct --vf")
    rate = before.frame_rate
    if len(stamps) != before.n_frames and stamps[-1] > stamps[0]:
        tick = Fraction(int(time_base[1]), int(time_base[2]))
        rate = snap_rate((len(stamps) - 1) / ((stamps[-1] - stamps[0]) * tick))
    return Picture(int(size[1]), int(size[2]), rate, len(stamps))
