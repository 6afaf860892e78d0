"""What a file holds beside its picture, as the demuxer library reads it, and what a container takes.

What a container takes is found by writing it: real packets with the final encode's own options, read back by the
library. A muxer that ends well may still have dropped a stream, or written one that nothing can read.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, check_ended

if TYPE_CHECKING:
    import av
    import av.stream

Kind = Literal["video", "audio", "subtitle", "attachment", "data", "unknown"]

CONTAINERS = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov", ".webm": "webm"}
"""Muxer by file name suffix."""

MOV_FAMILY = ("mp4", "mov")
"""Muxers of ISO base media files."""

_KINDS: dict[str, Kind] = {
    "video": "video",
    "audio": "audio",
    "subtitle": "subtitle",
    "attachment": "attachment",
    "data": "data",
}
"""The library's word for a kind of stream."""

TRIAL_PACKETS = {"v": 4, "a": 64, "s": 1, "d": 1}
"""Packets of each kind that a trial writes: what parsers and muxers need to know a stream."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a file."""

    index: int
    """Its place in the file, as in `-map 0:INDEX`."""
    kind: Kind
    """What it carries."""
    codec: str
    """ffmpeg's codec name; `unknown` if it has none."""
    language: str
    """As tagged; empty if it is not."""
    title: str
    """As tagged; empty if it is not."""
    flags: tuple[str, ...]
    """Dispositions but for `default` and `attached_pic`, ffmpeg's names, sorted."""
    attached_picture: bool
    """True for a cover: a video stream of one picture."""
    timecode: str
    """Timecode of its first frame as tagged; empty if there is none."""
    start_s: float
    """When it begins, seconds; 0 if the header does not say."""
    of_chapters: bool = False
    """True for the text track that an ISO file keeps its chapters in."""

    def __str__(self) -> str:
        said = ", ".join(part for part in (self.codec, self.language) if part)
        return f"{self.kind} stream 0:{self.index} ({said})"

    @property
    def what(self) -> tuple[Kind, str]:
        """Kind and codec."""
        return self.kind, self.codec


@dataclass(frozen=True, slots=True)
class FileStreams:
    """Everything in a file."""

    streams: tuple[Stream, ...]
    """In the file's order."""
    n_chapters: int
    """Chapters."""
    tags: tuple[str, ...]
    """Names of the file's own tags, as written."""

    def count(self) -> Counter[tuple[Kind, str]]:
        """How many streams there are of each kind and codec."""
        return Counter(stream.what for stream in self.streams)


def list_streams(path: Path) -> FileStreams:
    """The streams, chapters and tags of a file; reads its header and its first packets.

    Raises:
      MediaError: the library cannot open the file.
    """
    import av  # not at the top: most commands read no file

    try:
        # A tag that is not UTF-8 is no reason to refuse a file.
        with av.open(str(path.resolve()), metadata_errors="replace") as file:
            n_chapters = len(file.chapters())
            streams = tuple(_stream(stream, n_chapters) for stream in file.streams)
            return FileStreams(streams, n_chapters, tuple(file.metadata))
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"cannot read {path}: {error}", next_step="check that the file is whole") from error


def _stream(stream: "av.stream.Stream", n_chapters: int) -> Stream:
    """One stream as the library has it."""
    context = stream.codec_context
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    flags = [str(flag.name) for flag in stream.disposition]
    language = tags.get("language", "")
    if stream.type == "attachment":
        codec = tags.get("mimetype", "") or "unknown"
    else:
        codec = context.codec.canonical_name if context is not None else "unknown"
    return Stream(
        index=stream.index,
        kind=_KINDS.get(stream.type, "unknown"),
        codec=codec,
        language="" if language == "und" else language,
        title=tags.get("title", ""),
        flags=tuple(sorted(set(flags) - {"default", "attached_pic"})),
        attached_picture="attached_pic" in flags,
        timecode=tags.get("timecode", ""),
        start_s=float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0,
        of_chapters=_is_chapter_track(stream, n_chapters),
    )


def _is_chapter_track(stream: "av.stream.Stream", n_chapters: int) -> bool:
    """Whether a data stream is the text track that an ISO file keeps its chapters in.

    The demuxer sets such a track aside and reads its samples as chapters (libavformat/mov.c, `mov_read_chapters`).
    """
    return stream.type == "data" and stream.discard.name == "all" and 0 < n_chapters == stream.frames


def check_numbering(ffmpeg: Ffmpeg, path: Path, found: FileStreams) -> None:
    """Make sure that ffmpeg numbers the streams as the library does, so that none is mapped for another.

    Raises:
      MediaError: ffmpeg counts other streams, or other kinds of them.
    """
    argv = [*ffmpeg.base_argv(), "-i", str(path.resolve()), "-map", "0", "-c", "copy", "-copy_unknown"]
    done = process.run([*argv, "-t", "0", "-f", "framecrc", "-"], timeout_s=120)
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

    written: FileStreams | None
    """What the library reads back; None if nothing was written or it cannot be read."""
    reason: str
    """Why nothing was; empty if something was."""
    in_frames: frozenset[str] = frozenset()
    """Names of the side data on its first frames."""


def try_container(ffmpeg: Ffmpeg, name: str, args: Sequence[str]) -> Trial:
    """Write a few packets of each stream with the given options into a file of that name, and read it back.

    Args:
      ffmpeg: the ffmpeg to ask; what its muxer takes is what counts.
      name: file name, whose suffix names the container.
      args: the command's inputs and output options, with a limit of some kind.
    """
    with tempfile.TemporaryDirectory(prefix="assay-container-") as folder:
        return _try_in(Path(folder) / f"trial{Path(name).suffix.lower()}", ffmpeg, args)


def _try_in(out: Path, ffmpeg: Ffmpeg, args: Sequence[str]) -> Trial:
    done = process.run([*ffmpeg.base_argv(), *args, str(out)], timeout_s=600)
    check_ended(f"trying {CONTAINERS[out.suffix]}", done)
    if done.exit_code != 0:
        return Trial(None, why_not(done))
    try:
        written = list_streams(out)
    except MediaError:
        return Trial(None, "what ffmpeg wrote cannot be read back")
    has_video = any(stream.kind == "video" for stream in written.streams)
    return Trial(written, "", frame_side_data(out, TRIAL_PACKETS["v"]) if has_video else frozenset())


def why_not(done: process.Completed) -> str:
    """The first complaint of ffmpeg, without the address of the part that makes it."""
    first = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "no message")
    return re.sub(r"^\[[^\]]*\] ", "", first)


def container_takes(
    ffmpeg: Ffmpeg, path: Path, stream: Stream, name: str, codec: str = "copy"
) -> tuple[Kind, str] | None:
    """What a stream is once it is in a container, kind and codec; None if the container does not take it.

    A muxer may end well and write what nothing reads (Blu-ray PCM in MOV), or nothing (attachments in WebM): a
    stream counts as taken if the library finds one of its kind, of a codec it knows if it knew the source's.
    """
    args = ["-i", str(path.resolve())]
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


def frame_side_data(path: Path, n_frames: int, index: int | None = None) -> frozenset[str]:
    """Names of the side data on the first frames of a file's video, the library's: `A53_CC` is closed captions.

    Args:
      path: the file.
      n_frames: how many frames to decode.
      index: the stream; None is the first video stream.
    """
    import av

    names: set[str] = set()
    with av.open(str(path.resolve()), metadata_errors="replace") as file:
        stream = file.streams.video[0] if index is None else file.streams[index]
        for number, frame in enumerate(file.decode(stream)):
            data: Any = getattr(frame, "side_data", ())
            names |= {data[at].type.name for at in range(len(data))}
            if number + 1 >= n_frames:
                break
    return frozenset(names)
