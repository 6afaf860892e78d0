"""The pixels that are encoded and compared: chroma, bits, range, colours, and the libvmaf model for their size."""

from dataclasses import dataclass, replace
from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.eligibility import rgb_words
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.pixels import pixel_facts
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.promise.promise import NoPromise, NoPromiseCode
from vmaf_assay.records import VMAF_NAMES, VideoInfo
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.scale import compared_at, of_depth
from vmaf_assay.tune.source import Opened, is_large

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
        *_depth_notes(request, seen, deep=deep),
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


def _depth_notes(request: TuneRequest, seen: VideoInfo, *, deep: bool) -> list[str]:
    said = []
    if seen.hdr:
        said.append(f"it stays {seen.hdr}: VMAF is of its coded values, as if of SDR (--tonemap makes SDR of it)")
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
