"""Stream facts, from ffmpeg alone: packets counted and timed, never guessed from a header."""

import re
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.records import VideoInfo

_COMMON_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)) + tuple(
    Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120)
)
# Containers with millisecond stamps put a rate off by up to this much over a few seconds of video.
_SNAP = 2e-4

# Demuxers of bare elementary streams: they carry no time, so ffmpeg makes the stamps up.
_RAW_DEMUXERS = {"h264", "hevc", "vvc", "mpegvideo", "m4v", "cavsvideo", "obu"}

# What ffmpeg says on decoding or reading a file that is not whole (n9.0.2, 2026-11-24).
_BROKEN = re.compile(
    r"(truncat|ended prematurely|partial file|Invalid data found|error while decoding|corrupt|"
    r"moov atom not found|End of file|Packet mismatch)",
    re.IGNORECASE,
)


def probe_video(ffmpeg: Ffmpeg, path: Path, *, frame_rate: Fraction | None = None) -> VideoInfo:
    """Facts of the first video stream of a file, read without decoding it.

    Args:
      ffmpeg: the ffmpeg to ask.
      path: a file.
      frame_rate: overrides the measured rate (for raw streams that carry none).

    Raises:
      MediaError: missing, empty, unreadable, cut short, or without a video frame.
    """
    if not path.is_file():
        raise MediaError(f"no such file: {path}", next_step="check the path")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes)", next_step="copy or export it again")
    done = process.run(
        [*ffmpeg.base_argv(level="info"), "-i", str(path.resolve()), "-map", "0:v:0", "-c", "copy",
         "-f", "framecrc", "-"], timeout_s=600,
    )  # fmt: skip
    if "matches no streams" in done.stderr or "does not contain any stream" in done.stderr:
        raise MediaError(f"{path} has no video stream", next_step="give a file with video")
    if done.exit_code != 0:
        raise MediaError(f"cannot read {path}: {done.tail(1)}", next_step="check that the file is whole")
    if broken := _broken_line(done.stderr):
        raise MediaError(f"{path} is not whole: {broken}", next_step="copy or export it again")
    return _parse(done, path, frame_rate)


def _broken_line(stderr: str) -> str:
    for line in stderr.splitlines():
        if _BROKEN.search(line) and "Metadata" not in line:
            return re.sub(r"^\[[^]]*\]\s*", "", line.strip())
    return ""


def _parse(done: process.Completed, path: Path, frame_rate: Fraction | None) -> VideoInfo:
    text = done.stdout.decode(errors="replace")
    time_base = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
    stream = re.search(r"Stream #0:\d+.*?: Video: (.*)", done.stderr)
    size = re.search(r"[ ,](\d{1,5})x(\d{1,5})[ ,\n\[]", stream[1] + "\n") if stream else None
    packets = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    if time_base is None or stream is None or size is None or not packets:
        raise MediaError(f"{path} has no video frame", next_step="give a file with video")
    stamps = sorted(int(fields[2]) for fields in packets)
    tick = Fraction(int(time_base[1]), int(time_base[2]))
    demuxer = re.search(r"^Input #0, ([\w,]+), from", done.stderr, re.MULTILINE)
    if demuxer and demuxer[1] in _RAW_DEMUXERS:
        stamps = stamps[:1]
    rate = frame_rate or _frame_rate(stamps, tick, stream[1])
    rotation = re.search(r"rotation of (-?\d+)", done.stderr)
    pix_fmt = re.search(r"\b(gray\w*|yuv\w+|nv\d+\w*|gbr\w*|rgb\w*|bgr\w*|p0\w+|pal8|ya\w+)", stream[1])
    return VideoInfo(
        width=int(size[1]),
        height=int(size[2]),
        frame_rate=rate,
        n_frames=len(packets),
        pix_fmt=pix_fmt[1] if pix_fmt else "unknown",
        rotation=int(rotation[1]) if rotation else 0,
        duration_s=float(len(packets) / rate),
    )


def _frame_rate(stamps: list[int], tick: Fraction, stream: str) -> Fraction:
    """Average rate over the packets; the header's when there are no usable stamps."""
    span = (stamps[-1] - stamps[0]) * tick
    header = re.search(r"([\d.]+) fps", stream)
    declared = Fraction(header[1]).limit_denominator(100) if header else Fraction(25)
    if len(stamps) < 2 or span <= 0 or len(set(stamps)) != len(stamps):
        return _snap(declared)
    return _snap((len(stamps) - 1) / span)


def _snap(rate: Fraction) -> Fraction:
    """The common rate within the error of millisecond stamps, else a small fraction near it."""
    nearest = min(_COMMON_RATES, key=lambda common: abs(common - rate))
    if abs(nearest - rate) <= _SNAP * nearest:
        return nearest
    return rate.limit_denominator(1001)
