"""What a file holds beside its picture, as the demuxer library reads it, and what a container takes.

What a container takes is found by writing it: real packets with the final encode's own options, read back by the
library. A muxer that ends well may still have dropped a stream, or written one that nothing can read.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.demux import ReadFile, read_head
from vmaf_assay.media.facts import FileFacts, Kind, Stream
from vmaf_assay.media.ffmpeg import Ffmpeg, check_ended, guards
from vmaf_assay.media.reading_commands import list_streams, write_container

CONTAINERS = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov", ".webm": "webm"}
"""Muxer by file name suffix."""

MOV_FAMILY = ("mp4", "mov")
"""Muxers of ISO base media files."""

TRIAL_PACKETS = {"v": 4, "a": 64, "s": 1, "d": 1}
"""Packets of each kind that a trial writes: what parsers and muxers need to know a stream."""


def is_chapter_track(stream: Stream, file: FileFacts) -> bool:
    """Whether a data stream is the text track that an ISO file keeps its chapters in.

    The demuxer sets such a track aside and reads its samples as chapters (libavformat/mov.c, `mov_read_chapters`).
    """
    return stream.kind == "data" and stream.set_aside and 0 < file.n_chapters == stream.n_samples


def start_s(stream: Stream) -> float:
    """When a stream begins, seconds; 0 if its header does not say."""
    return float(stream.start * stream.time_base) if stream.start and stream.time_base else 0.0


def check_numbering(ffmpeg: Ffmpeg, path: Path, found: FileFacts) -> None:
    """Make sure that ffmpeg numbers the streams as the library does, so that none is mapped for another.

    Raises:
      MediaError: ffmpeg counts other streams, or other kinds of them.
    """
    done = process.run(list_streams().argv(ffmpeg, source=path), timeout_s=120)
    check_ended(f"counting the streams of {path}", done)
    text = done.stdout.decode(errors="replace")
    listed = tuple(re.findall(r"^#media_type \d+: (\w+)", text, re.MULTILINE))
    if done.exit_code == 0 and listed != tuple(stream.kind for stream in found.streams):
        raise MediaError(
            f"ffmpeg finds {len(listed)} streams in {path}, and the demuxer library {len(found.streams)}",
            next_step="remux it first: ffmpeg -i IN -map 0 -c copy OUT.mkv",
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of writing a container."""

    written: FileFacts | None
    """What the library reads back; None if nothing was written or it cannot be read."""
    reason: str
    """Why nothing was; empty if something was."""
    in_frames: frozenset[str] = frozenset()
    """Names of the side data on its first frames."""


DOLBY, HDR10PLUS = "DOVI_RPU_BUFFER", "DYNAMIC_HDR_PLUS"
"""Side data of frames, by PyAV's names."""


def try_container(
    ffmpeg: Ffmpeg, name: str, args: Sequence[str], beside: Mapping[str, bytes] = MappingProxyType({})
) -> Trial:
    """Write a few packets of each stream with the given options into a file of that name, and read it back.

    Args:
      ffmpeg: the ffmpeg whose muxer decides.
      name: file name, whose suffix names the container.
      args: the command's inputs and output options, with a limit of some kind.
      beside: files that the encoder reads from its working folder.
    """
    with tempfile.TemporaryDirectory(prefix="assay-container-") as folder:
        for other, content in beside.items():
            (Path(folder) / other).write_bytes(content)
        return _try_in(Path(folder) / f"trial{Path(name).suffix.lower()}", ffmpeg, args)


def _try_in(out: Path, ffmpeg: Ffmpeg, args: Sequence[str]) -> Trial:
    done = process.run(write_container(args).argv(ffmpeg, output=out), timeout_s=600, cwd=out.parent)
    check_ended(f"trying {CONTAINERS[out.suffix]}", done)
    if done.exit_code != 0:
        return Trial(None, why_not(done))
    try:
        read = read_head(out)
    except MediaError:
        return Trial(None, "what ffmpeg wrote cannot be read back")
    return Trial(read.facts, "", frame_side_data(read))


def why_not(done: process.Completed) -> str:
    """The first complaint of ffmpeg, without the address of the part that makes it."""
    first = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "no message")
    return re.sub(r"^\[[^\]]*\] ", "", first)


def container_takes(
    ffmpeg: Ffmpeg, path: Path, stream: Stream, name: str, codec: str = "copy"
) -> tuple[Kind, str] | None:
    """What a stream is once it is in a container, kind and codec; None if the container does not take it.

    A muxer may succeed and write what nothing reads (Blu-ray PCM in MOV), or nothing (attachments in WebM). So a
    stream counts as accepted if the library finds one of its kind, of a codec it knows if it knew the source's.
    """
    args = [*guards(), "-i", str(path.resolve())]
    # A file of attachments alone is written, but no demuxer opens it: a picture goes beside them.
    beside = stream.kind == "attachment"
    args += ["-f", "lavfi", "-i", "color=size=64x64", "-map", "1:v", "-c:v", "mpeg4"] if beside else []
    args += ["-map", f"0:{stream.index}", "-map_chapters", "-1", "-c:1" if beside else "-c", codec]
    # Of one stream alone: -frames of several would end them all with the first (ffmpeg n9.0.2).
    args += [part for kind, count in TRIAL_PACKETS.items() for part in (f"-frames:{kind}", str(count))]
    trial = try_container(ffmpeg, name, [*args, "-f", CONTAINERS[Path(name).suffix.lower()]])
    there = [] if trial.written is None else [one for one in trial.written.streams if one.kind == stream.kind]
    if len(there) != 1 or (there[0].codec == "unknown" != stream.codec):
        return None
    return there[0].what


def frame_side_data(read: ReadFile, index: int | None = None) -> frozenset[str]:
    """Names of the side data on the first frame of a video, PyAV's: `A53_CC` is closed captions.

    Args:
      read: from `read_head` or `read_file`.
      index: the stream; None is the first video stream.
    """
    track = next(iter(read.tracks.values()), None) if index is None else read.tracks.get(index)
    names = frozenset[str]() if track is None or track.first is None else frozenset(track.first.side_data)
    return names | {DOLBY} if "DOVI_METADATA" in names else names  # AV1 has no unit of its own for it
