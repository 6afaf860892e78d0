"""Facts of the one video stream that is encoded: its packets read and timed, its first pictures decoded."""

import hashlib
import math
import re
import struct
import tempfile
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.demux import FirstFrame, OnShare, ReadFile, Track, index_of, read_file
from vmaf_assay.media.facts import (
    Colour,
    PixelFacts,
    Stream,
    VideoFacts,
    few_gaps,
    is_constant,
    pixel_facts,
    rate_of,
    snap_rate,
)
from vmaf_assay.media.ffmpeg import Ffmpeg, check_ended, damage_line, start_remarks
from vmaf_assay.media.files import as_given, not_a_file
from vmaf_assay.media.reading_commands import decode_animation, decode_stream
from vmaf_assay.records import VideoInfo

# Demuxers of bare elementary streams: they carry no time, so libavformat makes the stamps up.
_RAW_DEMUXERS = {
    "h264",
    "hevc",
    "vvc",
    "evc",
    "mpegvideo",
    "m4v",
    "cavsvideo",
    "avs2",
    "avs3",
    "obu",
    "h263",
    "mjpeg",
}

# A file of such a name that is taken for a bare stream has lost its header; its rate would be a guess.
_CONTAINERS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".flv", ".wmv", ".mxf"}

_ONE_FRAME_A_PACKET = {
    "h264",
    "hevc",
    "vvc",
    "av1",
    "vp9",
    "mpeg1video",
    "mpeg2video",
    "mjpeg",
    "prores",
    "dnxhd",
    "ffv1",
    "huffyuv",
    "ffvhuff",
    "utvideo",
    "magicyuv",
    "rawvideo",
    "dvvideo",
    "qtrle",
    "png",
    "gif",
    "apng",
    "v210",
    "cfhd",
    "jpeg2000",
}
"""Codecs of which each packet gives one picture once the first pictures have come. Of all others (VP8 hides
pictures, MPEG-4 and VC-1 leave some out) the pictures are counted by decoding."""

_SIDE_DATA = {
    "STEREO3D": "stereo3d",
    "AFD": "Active format description",
    "MASTERING_DISPLAY_METADATA": "Mastering display metadata",
    "CONTENT_LIGHT_LEVEL": "Content light level metadata",
    "SPHERICAL": "Spherical Mapping",
    "ICC_PROFILE": "ICC profile",
    "S12M_TIMECODE": "SMPTE 12-1 timecode",
    "GOP_TIMECODE": "GOP timecode",
    "A53_CC": "ATSC A53 Part 4 Closed Captions",
    "DYNAMIC_HDR_PLUS": "HDR Dynamic Metadata SMPTE2094-40 (HDR10+)",
    "DYNAMIC_HDR_VIVID": "HDR Dynamic Metadata CUVA 005.1 2021 (Vivid)",
    "DOVI_RPU_BUFFER": "Dolby Vision RPU Data",
    "DOVI_METADATA": "Dolby Vision Metadata",
    "FILM_GRAIN_PARAMS": "Film grain parameters",
    "AMBIENT_VIEWING_ENVIRONMENT": "Ambient viewing environment",
}
"""libavutil's words for side data, by PyAV's names, without encoders' user data."""

CAPTIONS = _SIDE_DATA["A53_CC"]
"""Closed captions, as `VideoInfo.side_data` names them."""

UNSTATED = ", without a range or matrix of its own,"
"""Said of a part after one that states more."""

EXPORT_IT = "export it with the same throughout, or give its parts one by one"
"""What can be done about a video that changes on the way."""

LOOKED_AT_BYTES = 64 << 20
"""A larger file is looked at in some places before it is read, so that a change is said at once."""

_START_FRAMES = 16
"""Frames decoded to hear what a decoder says of references that a start inside a group of pictures lacks."""


def probe_video(
    ffmpeg: Ffmpeg,
    path: Path,
    *,
    frame_rate: Fraction | None = None,
    input_args: tuple[str, ...] = (),
    stream: int | None = None,
    on_share: OnShare | None = None,
    take_changes: bool = False,
) -> VideoInfo:
    """Facts of one video stream of a file: every packet read, its first pictures decoded.

    Only where packets do not tell the number of pictures (VP8, MPEG-4, AVI with B-frames, packets without stamps
    or marked corrupt) is the whole file decoded and counted. Pictures with an alpha plane are all looked at.

    Args:
      ffmpeg: the ffmpeg that counts and looks where reading does not tell.
      path: a file.
      frame_rate: overrides the measured rate (for raw streams that carry none).
      input_args: options before `-i`, such as the geometry of a raw file.
      stream: index of the stream to take; None takes the first that holds more than one picture.
      on_share: called with the share of the file that is read.
      take_changes: whether size, format and colours may change on the way; facts are then of the first picture.

    Raises:
      ConfigError: there is no such video stream.
      MediaError: missing, empty, unreadable, cut short, a playlist, or without a video frame.
    """
    _check_file(path)
    if path.stat().st_size > LOOKED_AT_BYTES and not (take_changes or input_args or stream is not None):
        from vmaf_assay.media.early_look import early_change  # a small file is read as quickly

        if change := early_change(ffmpeg, path):
            raise _not_one(path, change)
    read = read_file(path, input_args=input_args, on_share=on_share)
    if read.facts.container == "webp_pipe":
        return _of_webp(ffmpeg, path, frame_rate, stream)
    chosen = _choose(path, read, stream)
    cut = read.tracks[chosen.index].n_corrupt if read.facts.container != "mpegts" else 0
    if damage := read.damage or (f"{cut} packets are cut short" if cut else ""):
        raise MediaError(f"{path} is not whole: {damage}", next_step="copy or export it again")
    info = _assemble(path, read, chosen, frame_rate, take_changes=take_changes)
    opened = _Opened(ffmpeg, path, info, input_args)
    track = read.tracks[chosen.index]
    starts_inside = bool(track.dropped) or not track.key_first
    size = opened.size()
    info = replace(info, width=size[0], height=size[1], remarks=opened.remarks() if starts_inside else ())
    if _must_count(info, track):
        info = _with_count(info, *opened.count(info.remarks), declared=frame_rate)
    else:
        info = replace(info, packets=None if info.changes else index_of(info, track))
    if info.alpha and info.n_frames > 1:
        info = replace(info, alpha=not opened.opaque(info.n_frames, size))
    return info


def _check_file(path: Path) -> None:
    """Refuse what is no file with something in it."""
    if kind := not_a_file(path):
        step = "name the videos in it" if path.is_dir() else "save it as a file first"
        raise MediaError(f"{as_given(path)} is {kind}; a source is read several times", next_step=step)
    if not path.is_file():
        if path.is_symlink():
            raise MediaError(f"{path} is a link that leads to no file", next_step="check where it points to")
        raise MediaError(f"no such file: {path}", next_step="check the path")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes)", next_step="copy or export it again")


class _Opened:
    """A stream that ffmpeg decodes where reading packets does not tell enough."""

    def __init__(self, ffmpeg: Ffmpeg, path: Path, info: VideoInfo, input_args: tuple[str, ...]) -> None:
        self._ffmpeg, self._path, self._info, self._before = ffmpeg, path, info, input_args

    def _decode(self, what: str, *args: str, decoder: tuple[str, ...] = ()) -> process.Completed:
        container = self._info.container.partition(",")[0]
        command = decode_stream(container, self._info.stream_map, *args, decoder=decoder, before=self._before)
        done = process.run(command.argv(self._ffmpeg, source=self._path), timeout_s=36000)
        check_ended(f"{what} {self._path}", done)
        return done

    def remarks(self) -> tuple[str, ...]:
        """What the decoder says of pictures before the first that can be decoded by itself."""
        before = self._decode("reading", "-frames:v", "1", "-f", "null", "-", decoder=("-threads", "1"))
        after = self._decode("reading", "-frames:v", str(_START_FRAMES), "-f", "null", "-")
        return start_remarks(before.stderr, after.stderr)

    def size(self) -> tuple[int, int]:
        """(width, height) as cropped by the container, which PyAV does not do."""
        done = self._decode("reading", "-frames:v", "1", "-f", "framecrc", "-")
        size = re.search(r"^#dimensions 0: (\d+)x(\d+)", done.stdout.decode(errors="replace"), re.MULTILINE)
        if size is None:
            raise MediaError(
                f"no frame of {self._path} decodes: {done.tail(1) or 'ffmpeg gives none'}",
                next_step="export it again",
            )
        return int(size[1]), int(size[2])

    def count(self, remarks: tuple[str, ...]) -> tuple[list[int], Fraction]:
        """Stamps of the pictures that decode, in order of time, and their unit, seconds."""
        done = self._decode("decoding", "-enc_time_base", "filter", "-f", "framecrc", "-")
        if done.exit_code != 0 or (broken := damage_line(done.stderr, remarks=remarks)):
            words = broken if done.exit_code == 0 else done.tail(1)
            raise MediaError(f"{self._path} does not decode: {words}", next_step="export it again")
        text = done.stdout.decode(errors="replace")
        unit = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
        stamps = sorted(int(line.split(",")[2]) for line in text.splitlines() if line[:1].isdigit())
        return stamps, Fraction(int(unit[1]), int(unit[2])) if unit else Fraction(0)

    def opaque(self, n_frames: int, size: tuple[int, int]) -> bool:
        """Whether every alpha sample of every picture is the largest there is."""
        bits = self._info.bit_depth
        grey = {8: "gray", 9: "gray9le", 10: "gray10le", 12: "gray12le", 14: "gray14le", 16: "gray16le"}.get(bits)
        if grey is None or "f" in self._info.pix_fmt.removeprefix("yuv")[:6]:
            return False
        # libavcodec's own VP8 and VP9 decoders leave the alpha plane out.
        decoder = (
            ("-c:v", {"vp8": "libvpx", "vp9": "libvpx-vp9"}[self._info.codec]) if self._hidden_alpha() else ()
        )
        done = self._decode(
            "looking at the transparency of",
            "-vf",
            f"alphaextract,format={grey}",
            "-f",
            "framemd5",
            "-",
            decoder=decoder,
        )
        samples = size[0] * size[1]
        sample = b"\xff" if bits == 8 else ((1 << bits) - 1).to_bytes(2, "little")
        white = hashlib.md5(sample * samples, usedforsecurity=False).hexdigest()
        sums = [line.split(",")[-1].strip() for line in done.stdout.decode().splitlines() if line[:1].isdigit()]
        return done.exit_code == 0 and len(sums) == n_frames and set(sums) == {white}

    def _hidden_alpha(self) -> bool:
        return self._info.codec in ("vp8", "vp9") and not pixel_facts(self._info.pix_fmt).alpha


def _choose(path: Path, read: ReadFile, wanted: int | None) -> Stream:
    """The stream asked for, or the first that holds more than one picture and is no cover, thumbnail or still."""
    videos = [one for one in read.facts.streams if one.kind == "video"]
    if not videos:
        raise MediaError(f"{path} has no video stream", next_step="give a file with video")
    if wanted is not None:
        named = next((one for one in videos if one.index == wanted), None)
        if named is None or named.index not in read.tracks:
            there = ", ".join(str(one.index) for one in videos)
            raise ConfigError(
                f"stream {wanted} of {path} is no video that can be decoded", next_step=f"--stream takes {there}"
            )
        return named
    moving = [one for one in videos if not one.still and one.index in read.tracks]
    if not moving:
        raise MediaError(f"the first video of {path} is a cover picture", next_step="give a file with video")
    return next((one for one in moving if len(read.tracks[one.index].pts) > 1), moving[0])


def _must_count(info: VideoInfo, track: Track) -> bool:
    """Whether the pictures must be counted by decoding, because packets do not tell."""
    shown = [pts for pts in track.pts if pts is not None and pts not in track.dropped]
    inside = bool(shown) and any(pts > min(shown) for pts in track.dropped)
    unordered = info.container == "avi" and info.codec in ("h264", "hevc", "vvc", "mpeg2video")
    return (
        info.codec not in _ONE_FRAME_A_PACKET
        or not track.settled
        or inside
        or unordered
        or None in track.pts
        or bool(track.n_corrupt or track.n_empty)
    )


def _with_count(info: VideoInfo, stamps: list[int], tick: Fraction, *, declared: Fraction | None) -> VideoInfo:
    """The facts with the pictures that decode, and their rate where they have times of their own."""
    n_frames = len(stamps)
    rate, constant = info.frame_rate, info.constant_rate
    timed = declared is None and info.container != "avi" and info.container not in _RAW_DEMUXERS
    if timed and n_frames > 1 and len(set(stamps)) == n_frames:
        rate, constant = rate_of(stamps, tick, [one for one in (info.declared_rate, rate) if one])
    return replace(
        info, n_frames=n_frames, frame_rate=rate, constant_rate=constant, duration_s=float(n_frames / rate)
    )


def _not_one(path: Path, change: str) -> MediaError:
    return MediaError(
        f"{path} is not one video: {change}",
        next_step=EXPORT_IT,
    )


def _assemble(
    path: Path, read: ReadFile, stream: Stream, frame_rate: Fraction | None, *, take_changes: bool
) -> VideoInfo:
    """The record of a stream, from its header, its packets and its first picture."""
    track, header = read.tracks[stream.index], stream.video
    assert header is not None  # it has a track, so a decoder is known
    if not track.pts:
        raise MediaError(f"{path} has no video frame", next_step="give a file with video")
    first = track.first
    if first is None:
        raise MediaError(f"no frame of {path} decodes", next_step="export it again")
    changes = _changes(track, stream)
    if changes and not take_changes:
        raise _not_one(path, changes[0])
    stamps, rate, constant = _timing(path, read, stream, frame_rate)
    n_frames = len(track.pts) - sum(pts in track.dropped for pts in track.pts)
    facts, pixels = first.picture, pixel_facts(first.picture.pix_fmt)
    rotation, mirrored = _orientation(first.side_data.get("DISPLAYMATRIX", b""))
    videos = [one.index for one in read.facts.streams if one.kind == "video"]
    return VideoInfo(
        width=facts.width,
        height=facts.height,
        frame_rate=rate,
        n_frames=n_frames,
        pix_fmt=facts.pix_fmt,
        rotation=rotation,
        duration_s=float(n_frames / rate),
        codec=stream.codec,
        chroma=pixels.chroma,
        bit_depth=pixels.bit_depth,
        alpha=_may_have_alpha(pixels, stream),
        color_range=facts.colour.range,
        color_space=facts.colour.space,
        color_primaries=facts.colour.primaries,
        color_transfer=facts.colour.transfer,
        field_order=_field_order(header, first),
        sample_aspect=header.sample_aspect,
        start_s=float(stamps[0] * (stream.time_base or Fraction(1))) if stamps else 0.0,
        constant_rate=constant,
        side_data=_side_data_of(read.tracks[stream.index], first),
        stream=stream.index,
        stream_map="v:0" if stream.index == videos[0] else str(stream.index),
        container=read.facts.container,
        profile=stream.profile,
        declared_rate=header.guessed_rate,
        mirrored=mirrored,
        content_light=_content_light(first.side_data.get("CONTENT_LIGHT_LEVEL", b"")),
        mastering_luminance=_mastering(first.side_data.get("MASTERING_DISPLAY_METADATA", b"")),
        changes=changes,
    )


def _changes(track: Track, stream: Stream) -> tuple[str, ...]:
    """Where size, format or colours of a video change, in words."""
    found = []
    before = track.pictures[0][2] if track.pictures else None
    for pts, number, picture in track.pictures[1:]:
        assert before is not None  # there is a first
        if change := before.difference(picture):
            at = _played_s(track, stream, pts, number)
            vague = UNSTATED if _states_less(before.colour, picture.colour) else ""
            found.append(f"{change}{vague}" if at is None else f"{change}{vague} at {at:.2f} s")
            before = picture
    return tuple(found)


def _states_less(before: Colour, after: Colour) -> bool:
    """Whether range or matrix were stated and no longer are: ffmpeg then goes on with those before."""
    pairs = ((before.range, after.range), (before.space, after.space))
    return any(old != "unknown" and new == "unknown" for old, new in pairs)


def _played_s(track: Track, stream: Stream, pts: int | None, number: int) -> float | None:
    """How long a video has played at a packet, s: by its stamps, or by frames where stamps start again."""
    header = stream.video
    rate = header.guessed_rate or header.average_rate if header else None
    known = _known(track.dts[: number + 1])
    if any(later < earlier for earlier, later in pairwise(known)):
        return float(number / rate) if rate else None
    return None if pts is None else float((pts - min(_known(track.pts))) * (stream.time_base or 0))


def _side_data_of(track: Track, first: FirstFrame) -> tuple[str, ...]:
    """Names of the side data on the first picture, and of captions wherever they begin."""
    names = {_SIDE_DATA[name] for name in first.side_data if name in _SIDE_DATA}
    return tuple(sorted(names | ({CAPTIONS} if track.captions else set())))


def _known(stamps: list[int | None]) -> list[int]:
    return [stamp for stamp in stamps if stamp is not None] or [0]


def _timing(
    path: Path, read: ReadFile, stream: Stream, frame_rate: Fraction | None
) -> tuple[list[int], Fraction, bool]:
    """Stamps of the pictures in order of time (ticks), their rate, and whether it is the same throughout."""
    track, header, container = read.tracks[stream.index], stream.video, read.facts.container
    assert header is not None
    # AVI keeps no presentation stamps: those that libavformat makes up for B-frames are not theirs.
    if container == "avi" or None in track.pts:
        stamps = sorted(stamp for stamp in track.dts if stamp is not None)
    else:
        stamps = sorted(stamp for stamp in track.pts if stamp is not None and stamp not in track.dropped)
    if container in _RAW_DEMUXERS:
        if path.suffix.lower() in _CONTAINERS:
            raise MediaError(f"cannot read {path}: its header is broken", next_step="copy or export it again")
        stamps = stamps[:1]
    declared = [rate for rate in (header.guessed_rate, header.average_rate, header.base_rate) if rate]
    if frame_rate is not None:
        return stamps, frame_rate, is_constant(stamps)
    rate, constant = rate_of(stamps, stream.time_base or Fraction(0), declared)
    if container == "avi" and declared and few_gaps(stamps):
        rate = snap_rate(declared[0])  # one chunk a frame: the header's rate is the rate, whatever the gaps
    if not rate:
        raise MediaError(
            f"{path} states no frame rate, and its pictures have no times", next_step="export it as .mkv or .mp4"
        )
    return stamps, rate, constant


def _field_order(header: VideoFacts, first: FirstFrame) -> str:
    """The container's word if it says that there are fields, then the first picture's."""
    if header.field_order in ("top", "bottom"):
        return header.field_order
    if first.interlaced:
        return "bottom" if first.top_first is False else "top"
    return "progressive"


def _may_have_alpha(pixels: PixelFacts, stream: Stream) -> bool:
    """By the format, or by WebM's `AlphaMode` of this stream."""
    return pixels.alpha or any(name.lower() == "alpha_mode" and value == "1" for name, value in stream.tags)


def _orientation(matrix: bytes) -> tuple[int, bool]:
    """Counter-clockwise degrees and mirroring of a display matrix (libavutil/display.c)."""
    if len(matrix) < 36:
        return 0, False
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return 0, False
    degrees = -math.degrees(math.atan2(b / down, a / across))
    return round(degrees) + 0, a * d - b * c < 0


def _content_light(data: bytes) -> tuple[int, int] | None:
    """`AVContentLightMetadata`: MaxCLL and MaxFALL."""
    return struct.unpack("=2I", data[:8]) if len(data) >= 8 else None


def _mastering(data: bytes) -> tuple[Fraction, Fraction] | None:
    """`AVMasteringDisplayMetadata`: six primaries and two white coordinates, then least and most luminance."""
    if len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    least, most = (Fraction(numbers[at], numbers[at + 1] or 1) for at in (16, 18))
    return (least, most) if numbers[21] else None


def _of_webp(ffmpeg: Ffmpeg, path: Path, frame_rate: Fraction | None, stream: int | None) -> VideoInfo:
    """Facts of an animated WebP's decoded pictures: ffmpeg 9 reads it, PyAV's libavformat (62) does not."""
    with tempfile.TemporaryDirectory(prefix="assay-webp-") as folder:
        decoded = Path(folder) / "decoded.nut"
        done = process.run(decode_animation().argv(ffmpeg, source=path, output=decoded), timeout_s=3600)
        check_ended(f"decoding {path}", done)
        if done.exit_code != 0 or (broken := damage_line(done.stderr)):
            words = broken if done.exit_code == 0 else done.tail(1)
            raise MediaError(f"{path} does not decode: {words}", next_step="export it as a video")
        info = probe_video(ffmpeg, decoded, frame_rate=frame_rate, stream=stream)
    return replace(info, codec="webp", container="webp_anim")
