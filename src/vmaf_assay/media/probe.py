"""Stream facts, from ffmpeg alone: packets counted and timed, one frame decoded, little guessed from a header."""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.decode_errors import damage_line
from vmaf_assay.media.ffmpeg import Ffmpeg, check_ended
from vmaf_assay.media.files import not_a_file
from vmaf_assay.media.pixels import pixel_facts
from vmaf_assay.records import VideoInfo

_COMMON_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)) + tuple(
    Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120)
)
# Containers with millisecond stamps put a rate off by up to this much over a few seconds of video.
_SNAP = 2e-4

# Demuxers of bare elementary streams: they carry no time, so ffmpeg makes the stamps up.
_RAW_DEMUXERS = {"h264", "hevc", "vvc", "mpegvideo", "m4v", "cavsvideo", "obu"}

# A file of such a name that ffmpeg takes for a bare stream has lost its header; its rate would be a guess.
_CONTAINERS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".flv", ".wmv", ".mxf"}

# framecrc prints a packet's flags; this one marks a packet that an edit list takes out (AV_PKT_FLAG_DISCARD).
_DISCARD = 0x4

# Packets whose frame is never shown (VP8's alternate references) cannot be told from others without decoding.
_HIDDEN_FRAMES = {"vp8"}


def probe_video(
    ffmpeg: Ffmpeg, path: Path, *, frame_rate: Fraction | None = None, input_args: tuple[str, ...] = ()
) -> VideoInfo:
    """Facts of the first video stream of a file: every packet read, one frame decoded.

    Args:
      ffmpeg: the ffmpeg to ask.
      path: a file.
      frame_rate: overrides the measured rate (for raw streams that carry none).
      input_args: options before `-i`, such as the geometry of a raw file.

    Raises:
      MediaError: missing, empty, unreadable, cut short, or without a video frame.
    """
    if kind := not_a_file(path):
        raise MediaError(f"{path} is {kind}; a source is read several times", next_step="save it as a file first")
    if not path.is_file():
        raise MediaError(f"no such file: {path}", next_step="check the path")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes)", next_step="copy or export it again")
    done = process.run(
        [
            *ffmpeg.base_argv(level="info"),
            "-noautorotate",
            *input_args,
            "-i",
            str(path.resolve()),
            "-map",
            "0:v:0",
            "-c",
            "copy",
            "-f",
            "framecrc",
            "-",
            "-map",
            "0:v:0",
            "-frames:v",
            "1",
            "-vf",
            "showinfo",
            "-f",
            "null",
            "-",
        ],
        timeout_s=600,
    )
    check_ended(f"reading {path}", done)
    if "matches no streams" in done.stderr or "does not contain any stream" in done.stderr:
        raise MediaError(f"{path} has no video stream", next_step="give a file with video")
    if done.exit_code != 0:
        raise MediaError(f"cannot read {path}: {_first_cause(done)}", next_step="check that the file is whole")
    if broken := damage_line(done.stderr):
        raise MediaError(f"{path} is not whole: {broken}", next_step="copy or export it again")
    info = _parse(done, path, frame_rate)
    if info.codec in _HIDDEN_FRAMES:
        count = _count_decoded(ffmpeg, path)
        return replace(info, n_frames=count, duration_s=float(count / info.frame_rate))
    return info


def _first_cause(done: process.Completed) -> str:
    """The line that says why an input does not open; what follows it is ffmpeg giving up."""
    return damage_line(done.stderr) or done.tail(1)


def _count_decoded(ffmpeg: Ffmpeg, path: Path) -> int:
    done = process.run(
        [
            *ffmpeg.base_argv(),
            "-i",
            str(path.resolve()),
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-f",
            "framecrc",
            "-",
        ],
        timeout_s=3600,
    )
    check_ended(f"decoding {path}", done)
    if done.exit_code != 0 or (broken := damage_line(done.stderr)):
        raise MediaError(f"{path} does not decode: {broken or done.tail(1)}", next_step="export it again")
    return sum(line[:1].isdigit() for line in done.stdout.decode(errors="replace").splitlines())


def _parse(done: process.Completed, path: Path, frame_rate: Fraction | None) -> VideoInfo:
    text = done.stdout.decode(errors="replace")
    time_base = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
    stream = re.search(r"Stream #0:\d+.*?: Video: (.*)", done.stderr)
    packets = _packets(text)
    if time_base is None or stream is None or not packets:
        raise MediaError(f"{path} has no video frame", next_step="give a file with video")
    if "(attached pic)" in stream[1]:
        raise MediaError(f"the first video of {path} is a cover picture", next_step="give a file with video")
    frame = _first_frame(done.stderr)
    if frame is None:
        raise MediaError(f"no frame of {path} decodes", next_step="export it again")
    stamps = sorted(packets)
    tick = Fraction(int(time_base[1]), int(time_base[2]))
    demuxer = re.search(r"^Input #0, ([\w,]+), from", done.stderr, re.MULTILINE)
    if demuxer and demuxer[1] in _RAW_DEMUXERS:
        if path.suffix.lower() in _CONTAINERS:
            raise MediaError(f"cannot read {path}: its header is broken", next_step="copy or export it again")
        stamps = stamps[:1]
    rate = frame_rate or _frame_rate(stamps, tick, stream[1])
    rotation = re.search(r"rotation of (-?[\d.]+)", done.stderr)
    start = re.search(r"^  Duration: .*?start: (-?[\d.]+)", done.stderr, re.MULTILINE)
    facts = pixel_facts(frame["fmt"])
    return VideoInfo(
        width=int(frame["width"]),
        height=int(frame["height"]),
        frame_rate=rate,
        n_frames=len(packets),
        pix_fmt=frame["fmt"],
        rotation=round(float(rotation[1])) if rotation else 0,
        duration_s=float(len(packets) / rate),
        codec=stream[1].split(",")[0].split(" ")[0],
        chroma=facts.chroma,
        bit_depth=facts.bit_depth,
        alpha=facts.alpha or "alpha_mode" in done.stderr.partition("Stream mapping")[0],
        color_range=frame["color_range"],
        color_space=frame["color_space"],
        color_primaries=frame["color_primaries"],
        color_transfer=frame["color_trc"],
        field_order=_field_order(stream[1], frame["i"]),
        sample_aspect=Fraction(frame["sar"]) if not frame["sar"].startswith("0") else Fraction(1),
        start_s=(float(start[1]) if start else 0.0) + float(stamps[0] * tick),
        constant_rate=_is_constant(stamps, tick),
        side_data=_side_data(done.stderr),
    )


def _packets(framecrc: str) -> list[int]:
    """Time stamps of the packets that give a frame, in ticks."""
    stamps = []
    for line in framecrc.splitlines():
        if not line or line.startswith("#"):
            continue
        fields = line.split(",")
        flags = next((int(f.strip()[2:], 16) for f in fields[6:] if f.strip().startswith("F=")), 0)
        if not flags & _DISCARD:
            stamps.append(int(fields[2]))
    return stamps


def _first_frame(stderr: str) -> dict[str, str] | None:
    """What `showinfo` said of the first decoded frame."""
    line = re.search(
        r"\] n: +0 pts:.*? fmt:(?P<fmt>\w+) .*?sar:(?P<sar>\d+/\d+) s:(?P<width>\d+)x(?P<height>\d+) i:(?P<i>\w)",
        stderr,
    )
    color = re.search(
        r"color_range:(?P<color_range>\S+) color_space:(?P<color_space>\S+) "
        r"color_primaries:(?P<color_primaries>\S+) color_trc:(?P<color_trc>[\w-]+)",
        stderr,
    )
    return line.groupdict() | color.groupdict() if line and color else None


def _field_order(stream: str, frame_flag: str) -> str:
    # The container's word first ("top coded first (swapped)" is shown bottom first), then the frame's.
    said = re.search(r"progressive|(top|bottom) (coded )?first", stream)
    if said and said[1]:
        shown = said[1] if not said[2] else {"top": "bottom", "bottom": "top"}[said[1]]
        return shown
    if frame_flag in "TB":
        return "top" if frame_flag == "T" else "bottom"
    return "progressive"


def _side_data(stderr: str) -> tuple[str, ...]:
    """Names of the side data of the input stream and its first frame; user data that encoders leave is none."""
    head = stderr.partition("Stream mapping")[0]
    block = re.search(r"Stream #0:\d+[^\n]*: Video: .*?(?=^  Stream #|\Z)", head, re.MULTILINE | re.DOTALL)
    names = (
        re.findall(r"^      ([A-Z][\w .\-]+?):", block[0].partition("Side data:")[2], re.MULTILINE)
        if block
        else []
    )
    frame = stderr.partition("] n:   0 ")[2].partition("] n:   1 ")[0]
    names += re.findall(r"side data - ([\w .\-]+?)(?:: | \(|$)", frame, re.MULTILINE)
    return tuple(sorted({name.strip() for name in names if not re.search(r"User Data|H\.26|3x3", name)}))


def _is_constant(stamps: list[int], tick: Fraction) -> bool:
    """Whether every stamp is where the average rate puts it, within the rounding of the container."""
    if len(stamps) < 3:
        return True
    period = Fraction(stamps[-1] - stamps[0], len(stamps) - 1)
    # A stamp is rounded once and the period's ends once each; 2 % more for muxers that round down.
    slack = Fraction(3, 2) + period / 50
    return all(abs(stamp - stamps[0] - index * period) <= slack for index, stamp in enumerate(stamps))


def _frame_rate(stamps: list[int], tick: Fraction, stream: str) -> Fraction:
    """Average rate over the packets; the header's when there are no usable stamps."""
    span = (stamps[-1] - stamps[0]) * tick
    header = re.search(r"([\d.]+) fps", stream)
    declared = Fraction(header[1]).limit_denominator(100) if header else Fraction(25)
    if len(stamps) < 2 or span <= 0 or len(set(stamps)) != len(stamps):
        return snap_rate(declared)
    return snap_rate((len(stamps) - 1) / span)


def snap_rate(rate: Fraction) -> Fraction:
    """The common rate within the error of millisecond stamps, else a small fraction near it."""
    nearest = min(_COMMON_RATES, key=lambda common: abs(common - rate))
    if abs(nearest - rate) <= _SNAP * nearest:
        return nearest
    return rate.limit_denominator(1001)
