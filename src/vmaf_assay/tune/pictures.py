"""What is made of a source's pictures before everything else: whole frames, without bars, opaque, in SDR.

All of it is a filter chain in front of the user's own. What comes out of it is encoded, and is the reference.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.ffmpeg import Ffmpeg, guards
from vmaf_assay.media.probe import UNSTATED
from vmaf_assay.media.reference import from_rgb_filters, rgb_matrix
from vmaf_assay.records import OnStep, VideoInfo

if TYPE_CHECKING:
    from vmaf_assay.media.fields import FieldKind, Fields

Deinterlace = Literal["auto", "off"]
ToneMap = Literal["off", "hable", "mobius", "reinhard"]
ChromaChoice = Literal["420", "422", "444", "source"]
RangeChoice = Literal["source", "limited"]
ChangesChoice = Literal["refuse", "first"]

_COLOURS = {"black": "#000000", "white": "#ffffff"}


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """What is asked to be made of the pictures."""

    crop: str = "off"
    """`off`, `auto` (black bars are looked for and cut off) or `W:H:X:Y`."""
    deinterlace: Deinterlace = "auto"
    """`auto` looks at the fields, and makes whole pictures of them; `off` takes frames as they are."""
    background: str = ""
    """Colour under a transparent picture: `black`, `white` or `#rrggbb`; empty refuses one."""
    tonemap: ToneMap = "off"
    """Curve by which HDR becomes SDR; `off` leaves it."""
    chroma: ChromaChoice = "420"
    """Chroma grid of the encode; `source` keeps the source's."""
    range: RangeChoice = "source"
    """`source` keeps full range full; `limited` makes it limited."""
    changes: ChangesChoice = "refuse"
    """What becomes of a title whose size, format or colours change on the way; `first` makes all as it begins."""


WHOLE = PictureRequest()
"""What is made of the pictures by default: whole ones."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is made of the pictures, and why."""

    filters: str = ""
    """The chain that makes it, in front of the user's own; empty if nothing is made."""
    behind: str = ""
    """What comes behind the user's chain, whose frames are taken as they are: takes the mark of fields off."""
    decoder: tuple[str, ...] = ()
    """Options of the decoder that the chain needs."""
    made_yuv: bool = False
    """The chain makes YUV of RGB."""
    crop: str = ""
    """`W:H:X:Y` of what is left; empty if nothing is cut off."""
    fields: "FieldKind" = "unknown"
    """What the fields were seen to be."""
    notes: tuple[str, ...] = ()
    """What was found and made, in words."""

    @property
    def facts(self) -> "PictureFacts":
        """What an answer says of it."""
        return PictureFacts(self.filters, self.crop or None, self.fields, notes=list(self.notes))


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What was found and made of the pictures, for an answer."""

    filters: str = ""
    """Chain in front of the user's own; empty if nothing is made of the pictures."""
    crop: str | None = None
    """`W:H:X:Y` of what is left; None if nothing is cut off."""
    fields: str = "unknown"
    """Fields as seen: `progressive`, `interlaced`, `mixed`, `telecined` or `unknown`."""
    pix_fmt: str = ""
    """Pixel format that the encoder is fed; empty where the answer is of several encoders."""
    compared_pix_fmt: str = ""
    """Pixel format that both sides are compared in."""
    range: str = "limited"
    """Of the encode: `limited` or `full`."""
    notes: list[str] = field(default_factory=list)
    """What was found and made, in words."""


NOTHING = Prepared()
"""Nothing is made of the pictures."""


def check_pictures(request: PictureRequest) -> None:
    """Raise ConfigError unless every part of a request is valid."""
    if request.crop not in ("off", "auto"):
        _crop_of(request.crop)
    for option, value, known in (
        ("--deinterlace", request.deinterlace, get_args(Deinterlace)),
        ("--tonemap", request.tonemap, get_args(ToneMap)),
        ("--chroma", request.chroma, get_args(ChromaChoice)),
        ("--range", request.range, get_args(RangeChoice)),
        ("--changes", request.changes, get_args(ChangesChoice)),
    ):
        if value not in known:
            raise ConfigError(f"{option} is {', '.join(known)}, not {value!r}", next_step="choose one of them")
    if request.background:
        colour_of_name(request.background)


def colour_of_name(name: str) -> str:
    """`#rrggbb` of a colour's name; raises ConfigError for another one."""
    colour = _COLOURS.get(name.lower(), name.lower())
    if not re.fullmatch(r"#[0-9a-f]{6}", colour):
        raise ConfigError(
            f"--background is black, white or #rrggbb, not {name!r}", next_step="for example --background black"
        )
    return colour


def _crop_of(text: str) -> tuple[int, int, int, int]:
    """Width, height, x and y; raises ConfigError unless they are even numbers."""
    match = re.fullmatch(r"(\d{1,5}):(\d{1,5}):(\d{1,5}):(\d{1,5})", text)
    if match is None:
        raise ConfigError(
            f"--crop is auto, off or WIDTH:HEIGHT:X:Y, not {text!r}", next_step="for example --crop auto"
        )
    width, height, x, y = (int(part) for part in match.groups())
    if any(part % 2 for part in (width, height, x, y)) or not width or not height:
        even = ":".join(str(part // 2 * 2) for part in (width, height, x, y))
        raise ConfigError(
            f"--crop {text}: sides and offsets are even, because chroma has half as many samples",
            next_step=f"for example --crop {even}",
        )
    return width, height, x, y


def prepare(
    ffmpeg: Ffmpeg,
    path: Path,
    video: VideoInfo,
    request: PictureRequest,
    on_step: OnStep | None = None,
    made_whole: Callable[["Fields"], bool] | None = None,
) -> Prepared:
    """What is to be made of a title's pictures, after looking at them.

    Args:
      ffmpeg: looks.
      path: the title.
      video: its facts.
      request: what is asked.
      on_step: notified of what takes long.
      made_whole: says of fields whether the user's own chain makes whole pictures of them; None without a chain.

    Raises:
      ConfigError: a crop that does not fit the picture.
      MediaError: the title does not decode.
      ToolError: ffmpeg was ended.
    """
    only = guards(video.container.partition(",")[0])
    made = NOTHING
    if video.changes:
        made = _made_alike(path, video, request)
    elif request.deinterlace == "auto":
        from vmaf_assay.media.fields import look_at_fields  # not for what compares two files

        made = _with_fields(made, look_at_fields(ffmpeg, path, video, only), video, made_whole)
    elif video.interlaced:
        said = "interlaced frames are taken as they are (--deinterlace off)"
        if made_whole:  # the user's own filters need the mark
            made = replace(made, behind="setfield=prog", notes=(said,))
        else:
            made = _then(made, "setfield=prog", said)
    if request.crop != "off":
        if on_step and request.crop == "auto":
            on_step(f"look for black bars in {path.name}", 0, 1)
        made = _cropped(made, ffmpeg, path, video, request.crop, only)
    if video.alpha and request.background:
        made = _flattened(made, video, colour_of_name(request.background))
    if request.tonemap != "off":
        made = _tone_mapped(made, video, request.tonemap)
    return made


def _made_alike(path: Path, video: VideoInfo, request: PictureRequest) -> Prepared:
    """All of a title in the size, format, range and matrix of its beginning."""
    if request.crop == "auto" or video.alpha or video.rotation or video.mirrored or video.chroma == "rgb":
        raise ConfigError(
            f"{path}: --changes first goes with none of --crop auto, transparency, RGB and turned pictures",
            next_step="convert its parts first, or give them one by one",
        )
    if any(transfer in change for change in video.changes for transfer in ("smpte2084", "arib-std-b67")):
        raise ConfigError(
            f"{path}: {video.changes[0]}; HDR and SDR do not become one by a conversion of sizes",
            next_step="convert its parts first, or give them one by one",
        )
    if vague := next((change for change in video.changes if UNSTATED in change), ""):
        raise ConfigError(
            f"{path}: {vague}, so ffmpeg decodes it by those of the part before",
            next_step="state its range and colours, as with -bsf:v h264_metadata, or give the parts one by one",
        )
    if back := next((change for change in video.changes if re.search(r"from yuvj\w+ to yuv\d", change)), ""):
        raise ConfigError(
            f"{path}: {back}, but ffmpeg's decoder goes on in full range",
            next_step="convert its parts first, or give them one by one",
        )
    # swscale takes pictures that state no matrix for BT.601.
    matrix = "smpte170m" if video.color_space == "unknown" else video.color_space
    span = "pc" if video.color_range == "pc" else "tv"
    tags = (
        f"colorspace={video.color_space}:color_primaries={video.color_primaries}:color_trc={video.color_transfer}"
    )
    chain = (
        f"scale={video.width}:{video.height}:flags=bicubic:out_range={span}:out_color_matrix={matrix},"
        f"format={video.pix_fmt},setparams={tags}:range={span},setsar={video.sample_aspect}"
    )
    said = tuple(f"{change}: made as it begins (--changes first)" for change in video.changes)
    return replace(_then(NOTHING, chain, ""), decoder=("-reinit_filter", "0"), notes=said)


def _then(made: Prepared, filters: str, note: str) -> Prepared:
    chain = ",".join(part for part in (made.filters, filters) if part)
    return replace(made, filters=chain, notes=(*made.notes, note))


def _with_fields(
    made: Prepared, fields: "Fields", video: VideoInfo, made_whole: Callable[["Fields"], bool] | None
) -> Prepared:
    made = replace(made, fields=fields.kind)
    if fields.filters:
        marked = "" if video.interlaced else ", though it is not marked so"
        if made_whole and made_whole(fields):
            note = f"it is {fields.words}{marked}: --vf makes whole pictures of it"
            return replace(made, behind="setfield=prog", notes=(*made.notes, note))
        result = {
            "telecined": "film is taken out of it: four of five frames, each a whole picture",
            "mixed": "its interlaced frames are deinterlaced, the others are left",
        }.get(fields.kind, "it is deinterlaced, one picture a frame")
        return _then(made, fields.filters, f"it is {fields.words}{marked}: {result} (--deinterlace off: no)")
    if video.interlaced and fields.kind == "progressive":
        return _then(made, "setfield=prog", "it is marked interlaced, but its frames are whole pictures")
    return made


def _cropped(
    made: Prepared, ffmpeg: Ffmpeg, path: Path, video: VideoInfo, crop: str, only: tuple[str, ...]
) -> Prepared:
    width, height = video.shown_size
    if crop != "auto":
        across, down, x, y = _crop_of(crop)
        if x + across > width or y + down > height:
            raise ConfigError(
                f"--crop {crop} is not inside the picture of {width}x{height}",
                next_step=f"for example --crop {width // 2 * 2}:{height // 2 * 2}:0:0",
            )
        return replace(_then(made, f"crop={crop}", f"cropped to {across}x{down} at {x},{y}"), crop=crop)
    from vmaf_assay.media.bars import find_bars  # few titles are cropped

    bars = find_bars(ffmpeg, path, video, only)
    stays = f"; the {' and '.join(bars.kept)} bar holds something at some time, and stays" if bars.kept else ""
    if (bars.width, bars.height) == (width // 2 * 2, height // 2 * 2):
        return replace(made, notes=(*made.notes, f"no black bars to cut off{stays}"))
    note = f"black bars are cut off: {width}x{height} is {bars.width}x{bars.height} at {bars.x},{bars.y}{stays}"
    return replace(_then(made, f"crop={bars}", note), crop=str(bars))


def _flattened(made: Prepared, video: VideoInfo, colour: str) -> Prepared:
    """Put a picture of one colour under a transparent one."""
    rgb = video.chroma == "rgb"
    under = f"drawbox=color={colour.replace('#', '0x')}:t=fill:replace=1"
    # In 4:4:4, so that a colour under an edge does not bleed; without alpha, which all of it has by then.
    shape, mixed = ("gbrap", "overlay=format=gbrp") if rgb else ("yuva444p", "overlay=format=yuv444")
    halves = f"format={shape},split[assay_over][assay_under];[assay_under]{under}[assay_on]"
    parts = [f"{halves};[assay_on][assay_over]{mixed}"]
    parts += from_rgb_filters(rgb_matrix(*video.shown_size)) if rgb else []
    chain = ",".join([*parts, "format=yuv420p"])
    made = replace(_then(made, chain, f"it is put over {colour}: transparency is not encoded"), made_yuv=rgb)
    if video.codec in ("vp8", "vp9"):  # libavcodec's own decoders leave the alpha plane out
        return replace(made, decoder=("-c:v", {"vp8": "libvpx", "vp9": "libvpx-vp9"}[video.codec]))
    return made


def _tone_mapped(made: Prepared, video: VideoInfo, curve: str) -> Prepared:
    if video.hdr is None:
        return replace(made, notes=(*made.notes, "--tonemap: it is no HDR video, so nothing is mapped"))
    chain = (
        f"zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap={curve}:desat=0,"
        "zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p"
    )
    return _then(made, chain, f"{video.hdr} is mapped to SDR by the curve {curve}; it is encoded as BT.709")
