"""A title as the reference of every comparison, or the reason why it cannot be one."""

import re
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import AssayError, ConfigError, MediaError
from vmaf_assay.media import commands, process
from vmaf_assay.media.eligibility import refuse
from vmaf_assay.media.ffmpeg import Ffmpeg, even_fit, failure, guards
from vmaf_assay.media.filters import frame_by_frame
from vmaf_assay.media.pixels import pixel_facts
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.rates import rate_of
from vmaf_assay.media.reference import ReferenceInput, rgb_matrix
from vmaf_assay.records import OnStep, VideoInfo
from vmaf_assay.tune.filter_files import absolute_files
from vmaf_assay.tune.pictures import NOTHING, PictureRequest, Prepared, prepare
from vmaf_assay.tune.request import ReferenceKind

MAX_LONG_SIDE_PX, MAX_SHORT_SIDE_PX = 2560, 1440
"""Above both, VMAF has a 4K model of its own (`vmaf_4k_v0.6.1`), which is not calibrated here."""


def open_source(
    ffmpeg: Ffmpeg,
    path: Path,
    filters: str = "",
    reference: ReferenceKind = "filtered",
    stream: int | None = None,
    *,
    prepared: Prepared = NOTHING,
    video: VideoInfo | None = None,
) -> tuple[ReferenceInput, VideoInfo]:
    """A title as the reference of every comparison, at its own size made even, through the user's filters.

    Args:
      ffmpeg: what decodes it.
      path: the title.
      filters: a filter chain; what comes out of it is judged, whatever it is made of.
      reference: what VMAF compares with.
      stream: index of the video stream; None takes the first that holds more than one picture.
      prepared: what is made of the pictures before `filters`.
      video: facts of the stream, if they are known; else it is read.

    Returns:
      The reference, and the facts of the source before the filters.

    Raises:
      ConfigError: there is no such video stream.
      MediaError: it cannot be read, is a still picture, or is of an uncalibrated kind.
      ToolError: the filters do not run.
    """
    own = absolute_files(filters, Path.cwd())
    video = video or probe_video(ffmpeg, path, stream=stream)
    filters = ",".join(part for part in (prepared.filters, own) if part)
    only = (*prepared.decoder, *guards(video.container.partition(",")[0]))
    if filters:
        seen = _filtered(ffmpeg, path, filters, video, only)
        size = seen.width, seen.height
    else:
        seen, size = video, video.shown_size
    if seen.n_frames < 2:
        raise MediaError(f"{path} has one frame; VMAF measures motion", next_step="give a video of two or more")
    _check_kind(path, seen, through="" if not own else f" after --vf {own!r}")
    plain = even_fit(*video.shown_size, None)
    opened = ReferenceInput(
        path,
        seen.frame_rate,
        seen.n_frames,
        even_fit(*size, None),
        input_args=only,
        user_filters=filters,
        stream_map=video.stream_map,
        remarks=video.remarks,
        rgb_matrix=rgb_matrix(*even_fit(*size, None)) if video.chroma == "rgb" and not prepared.made_yuv else "",
        packets=video.packets if frame_by_frame(filters) else None,
    )
    if reference == "source":
        opened = replace(opened, unfiltered_size=plain)
    _check_size(path, *(opened.unfiltered_size or even_fit(*size, None)))
    return opened, video


def open_prepared(
    ffmpeg: Ffmpeg,
    path: Path,
    filters: str = "",
    reference: ReferenceKind = "filtered",
    stream: int | None = None,
    *,
    pictures: PictureRequest,
    on_step: OnStep | None = None,
) -> tuple[ReferenceInput, VideoInfo, Prepared]:
    """`open_source` after looking at the pictures, and what is made of them."""
    video = probe_video(ffmpeg, path, stream=stream)
    prepared = prepare(ffmpeg, path, video, pictures, on_step)
    if reference == "source" and prepared.filters:
        raise ConfigError(
            f"{path}: {prepared.notes[0]}; --reference source compares with the picture as it is",
            next_step="use --reference filtered",
        )
    opened, video = open_source(ffmpeg, path, filters, reference, prepared=prepared, video=video)
    return opened, video, prepared


def pixels(reference: ReferenceInput) -> int:
    """Width x height that is encoded, px."""
    assert reference.size is not None  # `open_source` sets it
    return reference.size[0] * reference.size[1]


def seconds(reference: ReferenceInput) -> float:
    """Duration."""
    return float(reference.n_frames / reference.frame_rate)


def _check_kind(path: Path, video: VideoInfo, *, through: str) -> None:
    """Refuse pictures that VMAF cannot judge, or that no calibration source was like.

    Eight-bit RGB is taken: the 4:2:0 pictures it is converted to are what is encoded and compared.
    """
    if refusal := refuse(video):
        what, next_step = refusal
        if video.alpha:
            next_step = "put it over a colour, as --background black, or drop it with --vf format=yuv420p"
        elif video.interlaced:
            next_step = "leave --deinterlace at auto, or add --vf bwdif=send_frame"
        elif video.hdr:
            next_step = "tone-map it to SDR in --vf (docs/corpus.md); format=yuv420p alone leaves its transfer"
        raise MediaError(f"{path}{through} {what}", next_step=next_step)
    if video.bit_depth > 8 or video.chroma not in ("420", "gray", "rgb"):
        raise MediaError(
            f"{path}{through} is {video.pix_fmt}; the shipped calibration is of 8-bit 4:2:0",
            next_step="encode an 8-bit picture of it with --vf format=yuv420p",
        )


def _check_size(path: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_LONG_SIDE_PX and min(width, height) > MAX_SHORT_SIDE_PX:
        raise MediaError(
            f"{path} is compared at {width}x{height}: VMAF has a 4K model of its own, which is not "
            "calibrated here",
            next_step="scale it to 1080p: `tune --vf scale=1920:-2` (portrait: scale=-2:1920)",
        )


_INVERSE_TELECINE = {"pullup", "detelecine"}
"""Filters that make whole frames of fields and leave the mark of fields on them (ffmpeg n9.0.2)."""

_SAMPLE_FRAMES = 8
"""Pictures behind the filters that are looked at; all of them are counted."""


def _filtered(ffmpeg: Ffmpeg, path: Path, filters: str, before: VideoInfo, only: tuple[str, ...]) -> VideoInfo:
    """Facts of what comes out of the filters: decoded once and counted, because a chain may do anything."""
    with tempfile.TemporaryDirectory(prefix="assay-filtered-") as folder:
        # FFV1 in Matroska keeps format, fields, colours and alpha as the filters leave them.
        sample = Path(folder) / "sample.mkv"
        command = commands.through_filters(only, before.stream_map, filters, _SAMPLE_FRAMES)
        done = process.run(command.argv(ffmpeg, source=path, output=sample))
        if done.exit_code != 0:
            raise _filter_failure(path, filters, done)
        text = done.stdout.decode(errors="replace")
        time_base = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
        stamps = sorted(int(line.split(",")[2]) for line in text.splitlines() if line and not line.startswith("#"))
        if time_base is None or not stamps:
            raise MediaError(f"--vf {filters!r} leaves no frame of {path}", next_step="correct --vf")
        after = probe_video(ffmpeg, sample)
    rate, constant = _rate_behind(stamps, Fraction(int(time_base[1]), int(time_base[2])), before.frame_rate)
    planes = pixel_facts(after.pix_fmt).alpha
    whole = _INVERSE_TELECINE & {re.split("[=@]", step.strip())[0] for step in re.split(r"[,;\[\]]", filters)}
    return replace(
        after,
        frame_rate=rate,
        constant_rate=constant,
        n_frames=len(stamps),
        duration_s=float(len(stamps) / rate),
        alpha=planes and (before.alpha or after.alpha),
        side_data=before.side_data,
        field_order="progressive" if whole else after.field_order,
    )


def _filter_failure(path: Path, filters: str, done: process.Completed) -> AssayError:
    """An invalid chain, in the filter's own words; a ToolError if frames came out, or ffmpeg was ended."""
    frames = re.search(rb"^\d", done.stdout, re.MULTILINE)
    if frames or done.killed or done.timed_out:
        return failure(f"putting {path.name} through --vf {filters!r}", done, next_step="correct --vf")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = next(
        (line for line in lines if re.search(r"Parsed_|AVFilter|[Ff]ilter", line)), (lines or ["no message"])[0]
    )
    # "[Parsed_crop_0 @ 0x55d0] Invalid size": the address changes with every run.
    filter_name = re.match(r"^\[Parsed_(\w+?)_\d+ @", said)
    said = re.sub(r"^(\[[^]]*\] )+", "", said)
    of = f"{filter_name[1]}: " if filter_name else ""
    return ConfigError(f"--vf {filters!r} is invalid: {of}{said.rstrip('.')}", next_step="correct --vf")


def _rate_behind(stamps: list[int], tick: Fraction, before: Fraction) -> tuple[Fraction, bool]:
    """The rate of filtered frames; filters mostly leave it alone or change it by a small ratio."""
    declared = [before]
    if len(stamps) > 1 and stamps[-1] > stamps[0]:
        mean = (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * tick)
        declared.append(before * (mean / before).limit_denominator(12))
    rate, constant = rate_of(stamps, tick, [one for one in declared if one])
    return rate or before, constant
