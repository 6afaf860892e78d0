"""A title as the reference of every comparison, or the reason why it cannot be one.

The pixels that are encoded and compared: chroma, bits, range, colours, and the libvmaf model for their size.
"""

import re
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmaf_assay.errors import AssayError, ConfigError, MediaError
from vmaf_assay.media import commands, process
from vmaf_assay.media.demux import OnShare
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.facts import pixel_facts, rate_of
from vmaf_assay.media.ffmpeg import Ffmpeg, even_fit, failure, guards
from vmaf_assay.media.filters import absolute_files, frame_by_frame
from vmaf_assay.media.probe import EXPORT_IT, probe_video
from vmaf_assay.media.reference import ReferenceInput, refuse, rgb_matrix, rgb_words
from vmaf_assay.promise.promise import NoPromise, NoPromiseCode
from vmaf_assay.records import VMAF_NAMES, OnStep, VideoInfo
from vmaf_assay.tune.pictures import NOTHING, PictureRequest, Prepared, prepare
from vmaf_assay.tune.progress import opening
from vmaf_assay.tune.request import ReferenceKind, TuneRequest, compared_at, of_depth

if TYPE_CHECKING:
    from vmaf_assay.media.fields import Fields


MAX_LONG_SIDE_PX, MAX_SHORT_SIDE_PX = 2560, 1440
"""Above both, VMAF has a 4K model of its own (`vmaf_4k_v0.6.1`), which is not calibrated here."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A title whose pictures were looked at."""

    reference: ReferenceInput
    """The reference of every comparison, in 8-bit 4:2:0 of limited range."""
    video: VideoInfo
    """Facts of the source."""
    seen: VideoInfo
    """Facts of its pictures behind all filters."""
    prepared: Prepared
    """What is made of the pictures before the user's filters."""


def open_source(
    ffmpeg: Ffmpeg,
    path: Path,
    filters: str = "",
    reference: ReferenceKind = "filtered",
    stream: int | None = None,
    on_share: OnShare | None = None,
) -> tuple[ReferenceInput, VideoInfo]:
    """A title as the reference of every comparison, at its own size made even, through the user's filters.

    Args:
      ffmpeg: what decodes it.
      path: the title.
      filters: a filter chain; what comes out of it is judged, whatever it is made of.
      reference: what VMAF compares with.
      stream: index of the video stream; None takes the first that holds more than one picture.
      on_share: called with the share of the file that is read.

    Returns:
      The reference, and the facts of the source before the filters.

    Raises:
      ConfigError: there is no such video stream.
      MediaError: it cannot be read, is a still picture, or is of an uncalibrated kind.
      ToolError: the filters do not run.
    """
    opened = open_any(ffmpeg, path, filters, reference, stream, on_share)
    _check_kind(opened, filters)
    _check_size(opened)
    return opened.reference, opened.video


def open_any(
    ffmpeg: Ffmpeg,
    path: Path,
    filters: str = "",
    reference: ReferenceKind = "filtered",
    stream: int | None = None,
    on_share: OnShare | None = None,
) -> Opened:
    """`open_source` of HDR and pictures of any size too, for `settle`."""
    video = probe_video(ffmpeg, path, stream=stream, on_share=on_share)
    opened = _opened(ffmpeg, path, filters, reference, NOTHING, video)
    _check_kind(opened, filters, hdr=True)
    return opened


def open_prepared(
    ffmpeg: Ffmpeg,
    path: Path,
    filters: str = "",
    reference: ReferenceKind = "filtered",
    stream: int | None = None,
    *,
    pictures: PictureRequest,
    any_kind: bool = False,
    on_step: OnStep | None = None,
) -> Opened:
    """`open_source` after looking at the pictures, with what is made of them.

    Args:
      ffmpeg: what decodes it.
      path: the title.
      filters: a filter chain behind what is made.
      reference: what VMAF compares with.
      stream: index of the video stream.
      pictures: what is asked to be made of them.
      any_kind: whether HDR and pictures of any size are taken.
      on_step: notified of what takes long.
    """
    take = pictures.changes == "first"
    try:
        video = probe_video(ffmpeg, path, stream=stream, on_share=opening(path, on_step), take_changes=take)
    except MediaError as refused:
        if refused.next_step != EXPORT_IT:
            raise
        raise MediaError(refused.what, next_step=f"add --changes first, or {EXPORT_IT}") from refused
    own = _OwnChain(ffmpeg, path, filters, video).makes_whole if filters else None
    prepared = prepare(ffmpeg, path, video, pictures, on_step, own)
    if reference == "source" and (prepared.filters or prepared.behind):
        raise ConfigError(
            f"{path}: {prepared.notes[0]}; --reference source compares with the picture as it is",
            next_step="use --reference filtered",
        )
    opened = _opened(ffmpeg, path, filters, reference, prepared, video)
    _check_kind(opened, filters, hdr=any_kind)
    if not any_kind:
        _check_size(opened)
    return opened


def _opened(
    ffmpeg: Ffmpeg, path: Path, filters: str, reference: ReferenceKind, prepared: Prepared, video: VideoInfo
) -> Opened:
    own = absolute_files(filters, Path.cwd())
    filters = ",".join(part for part in (prepared.filters, own, prepared.behind) if part)
    only = (*prepared.decoder, *guards(video.container.partition(",")[0]))
    seen = _filtered(ffmpeg, path, filters, video, only) if filters else video
    if video.hdr and not seen.hdr:
        filters = f"{filters},{_NO_HDR}"
    size = (seen.width, seen.height) if filters else video.shown_size
    if seen.n_frames < 2:
        raise MediaError(f"{path} has one frame; VMAF measures motion", next_step="give a video of two or more")
    is_rgb = video.chroma == "rgb" and not prepared.made_yuv
    opened = ReferenceInput(
        path,
        seen.frame_rate,
        seen.n_frames,
        even_fit(*size, None),
        input_args=only,
        user_filters=filters,
        stream_map=video.stream_map,
        remarks=video.remarks,
        rgb_matrix=rgb_matrix(*even_fit(*size, None)) if is_rgb else "",
        packets=video.packets if frame_by_frame(filters) else None,
    )
    if reference == "source":
        opened = replace(opened, unfiltered_size=even_fit(*video.shown_size, None))
    return Opened(opened, video, seen, prepared)


_NO_HDR = ",".join(
    f"sidedata=mode=delete:type={kind}"
    for kind in (
        *("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID"),
        *("DOVI_RPU_BUFFER", "DOVI_METADATA"),
    )
)
"""Takes off what describes HDR: ffmpeg's `tonemap` leaves it on the SDR frames (n9.0.2), and encoders write it."""


@dataclass(frozen=True, slots=True)
class _OwnChain:
    """The user's filters over a source of fields."""

    ffmpeg: Ffmpeg
    path: Path
    filters: str
    video: VideoInfo

    def makes_whole(self, fields: "Fields") -> bool:
        """Whether whole pictures come out, so that no fields are taken apart before or after.

        Where the height stays, the frames are looked at. Where it changes, a look shows nothing: then the mark of
        fields decides, which filters that make whole pictures take off.
        """
        from vmaf_assay.media.fields import look_at_fields  # not for what compares two files

        only = guards(self.video.container.partition(",")[0])
        chain = f"setfield={fields.parity},{absolute_files(self.filters, Path.cwd())}"
        seen = _filtered(self.ffmpeg, self.path, chain, self.video, only)
        if seen.height != self.video.shown_size[1]:
            return not seen.interlaced
        return not look_at_fields(self.ffmpeg, self.path, self.video, only, chain).filters


def pixels(reference: ReferenceInput) -> int:
    """Width x height that is encoded, px."""
    assert reference.size is not None  # `open_source` sets it
    return reference.size[0] * reference.size[1]


def seconds(reference: ReferenceInput) -> float:
    """Duration."""
    return float(reference.n_frames / reference.frame_rate)


def _check_kind(opened: Opened, filters: str, *, hdr: bool = False) -> None:
    """Refuse pictures that VMAF cannot judge, and HDR unless it is taken.

    More bits and other chroma are taken: the pictures they are converted to are what is encoded and compared.
    """
    video = opened.seen
    refusal = refuse(video, hdr=hdr)
    if not refusal:
        return
    what, next_step = refusal
    if video.alpha:
        next_step = "put it over a colour, as --background black, or drop it with --vf format=yuv420p"
    elif video.interlaced:
        next_step = "leave --deinterlace at auto, or add --vf bwdif=send_frame"
    elif video.hdr:
        next_step = "tone-map it to SDR, as --tonemap hable; format=yuv420p alone leaves its transfer"
    through = f" after --vf {absolute_files(filters, Path.cwd())!r}" if filters else ""
    raise MediaError(f"{opened.reference.path}{through} {what}", next_step=next_step)


def _check_size(opened: Opened) -> None:
    reference = opened.reference
    assert reference.size is not None  # `_opened` sets it
    width, height = reference.unfiltered_size or reference.size
    if is_large(width, height):
        raise MediaError(
            f"{reference.path} is compared at {width}x{height}: VMAF has a 4K model of its own, which is not "
            "calibrated here",
            next_step="scale it to 1080p: `tune --vf scale=1920:-2` (portrait: scale=-2:1920)",
        )


def is_large(width: int, height: int) -> bool:
    """Whether VMAF has a 4K model of its own (`vmaf_4k_v0.6.1`) for pictures of a size, px."""
    return max(width, height) > MAX_LONG_SIDE_PX and min(width, height) > MAX_SHORT_SIDE_PX


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


_SD_MODEL, _4K_MODEL = VMAF_NAMES["v0.6.1"], VMAF_NAMES["4k"]


@dataclass(frozen=True, slots=True)
class Working:
    """A request and a reference whose pixels are settled."""

    request: TuneRequest
    """With the depth and the libvmaf model that are used."""
    info: EncoderInfo
    """The encoder, fed the working format."""
    reference: ReferenceInput
    """Converted once to the working format."""
    notes: tuple[str, ...]
    """What was settled, in words."""
    uncalibrated: tuple[NoPromise, ...]
    """What no calibration source was like."""

    def facts(self) -> dict[str, Any]:
        """What an answer says of it, as fields of `PictureFacts`."""
        return {
            "pix_fmt": self.info.pix_fmt,
            "compared_pix_fmt": self.reference.compared,
            "range": "full" if self.reference.full_range else "limited",
        }

    @property
    def outside(self) -> str:
        """Why the pictures are outside the calibration, in words; empty if they are inside."""
        return self.uncalibrated[0].words if self.uncalibrated else ""


def settle(request: TuneRequest, info: EncoderInfo, opened: Opened) -> Working:
    """The pixels of every encode and comparison of a title.

    Args:
      request: what is asked.
      info: the encoder, with the user's own options.
      opened: the title.

    Raises:
      ConfigError: the encoder does not take that format.
    """
    seen, rgb = opened.seen, opened.video.chroma == "rgb"
    depth = _depth(request, seen)
    request = of_depth(request, depth)
    request, large = _model_of(request, opened.reference)
    chroma = _chroma(request.pictures.chroma, seen)
    deep = depth > 8 and seen.bit_depth > 8 and not rgb
    full = seen.color_range == "pc" and not rgb and request.pictures.range == "source"
    why = [
        *_unless("hdr_not_calibrated", seen.hdr and f"it is {seen.hdr}, and no VMAF model was trained on HDR"),
        *_unless("chroma_not_calibrated", chroma != "420" and f"no calibration encode was {_named(chroma)}"),
        *_unless("range_not_calibrated", full and "no calibration encode was of full range (--range limited)"),
        *_unless("size_not_calibrated", large),
    ]
    pix_fmt = f"yuv{chroma}p{'10le' if deep else ''}"
    reference = compared_at(replace(opened.reference, pix_fmt=pix_fmt, full_range=full), depth)
    notes = [
        *_hdr_notes(request, seen),
        *_depth_notes(seen, deep=deep),
        *_chroma_notes(opened.video, seen, chroma),
        *_range_notes(seen, full=full, rgb=rgb),
        *([f"VMAF is by {request.measurand.model}, the model for such a picture"] if large else []),
    ]
    return Working(request, fed(info, chroma, depth), reference, tuple(notes), tuple(why))


def _unless(code: NoPromiseCode, words: str | bool | None) -> list[NoPromise]:
    return [NoPromise(code, str(words))] if words else []


def _named(chroma: str) -> str:
    return ":".join(chroma)


def _depth(request: TuneRequest, seen: VideoInfo) -> int:
    """Bits of the encode: HDR of 8 bits shows bands."""
    if seen.hdr:
        return 10
    if request.depth_of_source:
        return 10 if seen.bit_depth > 8 else 8
    return request.measurand.bit_depth


def _hdr_notes(request: TuneRequest, seen: VideoInfo) -> list[str]:
    model = request.measurand.model
    words = f"{model} scores its coded values, as if they were SDR (--tonemap makes SDR of it)"
    return [f"it stays {seen.hdr}: {words}"] if seen.hdr else []


def _depth_notes(seen: VideoInfo, *, deep: bool) -> list[str]:
    said = []
    if seen.bit_depth > 8 and not deep:
        said.append(f"{seen.bit_depth} bit are rounded to 8, and that is the reference (--bit-depth source: no)")
    elif seen.bit_depth > 10:
        said.append(f"{seen.bit_depth} bit are rounded to 10, and that is the reference")
    return said


def _chroma_notes(video: VideoInfo, seen: VideoInfo, chroma: str) -> list[str]:
    if video.chroma == "rgb":
        return [rgb_words(video, chroma)]
    if chroma == "420" and seen.chroma not in ("420", "gray"):
        return [
            f"chroma is reduced from {_named(seen.chroma)} to 4:2:0, and that is the reference "
            "(--chroma source: no)"
        ]
    return [f"chroma is {_named(chroma)} in the encode; VMAF v0.6.1 reads luma alone"] if chroma != "420" else []


def _range_notes(seen: VideoInfo, *, full: bool, rgb: bool) -> list[str]:
    if full:
        return ["full range stays full; both sides become limited for VMAF alike"]
    return ["full range is mapped to limited range"] if seen.color_range == "pc" and not rgb else []


def _chroma(asked: str, seen: VideoInfo) -> str:
    if asked != "source":
        return asked
    return {"422": "422", "444": "444", "rgb": "444", "440": "444"}.get(seen.chroma, "420")


def fed(info: EncoderInfo, chroma: str, depth: int) -> EncoderInfo:
    """The encoder fed pictures of a chroma grid and depth; of one that has a single depth, its own for 8 bits.

    Raises:
      ConfigError: it takes none such.
    """
    formats = {name: pixel_facts(name) for name in info.pix_fmts}
    grids = {
        name: "420" if name in ("nv12", "p010le", "vaapi", "vulkan") else facts.chroma
        for name, facts in formats.items()
    }
    fitting = [name for name in formats if grids[name] == chroma and formats[name].bit_depth == depth]
    if not fitting and depth == 8:
        fitting = [name for name in formats if grids[name] == chroma]
    if not fitting:
        takes = sorted({f"{':'.join(grids[name])} {formats[name].bit_depth}-bit" for name in formats})
        raise ConfigError(
            f"{info.name} makes no {':'.join(chroma)} encodes of {depth} bit here",
            next_step=f"it takes {', '.join(takes)}; choose another encoder or leave --chroma and --bit-depth out",
        )
    return info if info.pix_fmt in fitting else info.with_pix_fmt(fitting[0])


def _model_of(request: TuneRequest, reference: ReferenceInput) -> tuple[TuneRequest, str]:
    """The request with the 4K model for a picture that v0.6.1 is not for, and why nothing is promised then."""
    assert reference.size is not None  # `open_source` sets it
    width, height = reference.unfiltered_size or reference.size
    if not is_large(width, height):
        return request, ""
    measurand = request.measurand
    if measurand.model == _SD_MODEL:
        request = replace(request, measurand=replace(measurand, model=_4K_MODEL))
    return request, f"no calibration source was as large as {width}x{height}"
