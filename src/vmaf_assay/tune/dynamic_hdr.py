"""Metadata of HDR that changes from frame to frame: carried where the encoder takes it.

libx265 takes Dolby Vision of the frames, and HDR10+ from a file; libsvtav1 and libaom-av1 take Dolby Vision,
libaom-av1 and libvpx-vp9 HDR10+ of the frames without being asked (ffmpeg n9.0.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vmaf_assay.media import commands
from vmaf_assay.media.dynamic_hdr import has_dolby, has_hdr10plus, read_dynamic_hdr
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.filters import frame_by_frame
from vmaf_assay.media.streams import DOLBY, HDR10PLUS, try_container
from vmaf_assay.records import OnStep
from vmaf_assay.tune.final import frame_calls
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.source import Opened

_TRIED_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """What of it goes into the output."""

    hdr10plus: bytes = b""
    """HDR10+ of every frame, in the form that the encoder reads; empty if it reads none."""
    notes: tuple[str, ...] = ()
    """In words."""
    why_lost: Mapping[str, str] = field(default_factory=dict)
    """Why a kind is lost, where it is not the encoder's fault, by the name of its side data."""
    args: tuple[str, ...] = ()
    """Output options with which the container says that there is Dolby Vision."""


def keep_dynamic(
    ffmpeg: Ffmpeg,
    request: TuneRequest,
    encoder: tuple[EncoderInfo, str],
    opened: Opened,
    on_step: OnStep | None,
) -> tuple[EncoderInfo, Kept]:
    """The encoder set to write what the source's frames hold, and what else is to be carried.

    Dolby Vision describes the unfiltered picture, so it is left out where anything is made of it.

    Args:
      ffmpeg: tries the encoder.
      request: what is asked.
      encoder: and its preset.
      opened: the source.
      on_step: notified of frames read.
    """
    (info, preset), video = encoder, opened.video
    filters, why = opened.reference.user_filters, dict[str, str]()
    dolby, plus = has_dolby(video), has_hdr10plus(video) and request.output is not None
    if dolby and filters:
        why[DOLBY] = "it describes the picture before the filters"
    if plus and not frame_by_frame(filters):
        why[HDR10PLUS] = "the filters may change which frames there are"
    dolby = dolby and DOLBY not in why and bool(info.dolby_args) and "-dolbyvision" not in info.extra_args
    plus = plus and HDR10PLUS not in why and info.hdr10plus_param != ""
    if not dolby and not plus:
        return info, Kept(why_lost=why)
    on_frames = frame_calls("read the HDR metadata of every frame", video.n_frames, on_step)
    found = read_dynamic_hdr(opened.reference.path, video, on_frames)
    notes, args = [], tuple[str, ...]()
    if dolby and not found.dolby:
        why[DOLBY] = "it cannot be read of every frame"
    elif dolby:
        asked = replace(info, fixed_args=(*info.fixed_args, *info.dolby_args))
        if _writes_dolby(ffmpeg, opened, asked, preset):
            info, args = asked, ("-strict", "unofficial")  # the MP4 muxer writes its box only then
            limit = ", which needs a limit of bitrate: 100 Mbps" if "-x265-params" in info.dolby_args else ""
            notes.append(f"Dolby Vision metadata is carried by {info.name}{limit}")
        else:
            why[DOLBY] = f"{info.name} does not take this profile"
    if plus and not found.hdr10plus:
        why[HDR10PLUS] = "it cannot be read of every frame, in one window"
    elif plus:
        notes.append(f"HDR10+ metadata of every frame is carried by {info.name}")
    return info, Kept(found.hdr10plus if plus else b"", tuple(notes), why, args)


def _writes_dolby(ffmpeg: Ffmpeg, opened: Opened, info: EncoderInfo, preset: str) -> bool:
    """Whether a short encode of the source holds the metadata."""
    reference = opened.reference
    few = ("-map", f"0:{reference.stream_map}", "-frames:v", str(_TRIED_FRAMES), "-f", "matroska")
    command = commands.final_encode(reference, info, preset, info.middle(), streams=few)
    source = str(reference.path.resolve())
    args = [source if word == commands.SOURCE else word for word in command.args[:-1]]
    return DOLBY in try_container(ffmpeg, "few.mkv", args).in_frames
