"""What a file holds beside its picture, as `ffmpeg -i` lists it, and what a container takes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, check_ended

Kind = Literal["Video", "Audio", "Subtitle", "Attachment", "Data", "Unknown"]

CONTAINERS = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov", ".webm": "webm"}
"""Muxer by file name suffix."""

MOV_FAMILY = ("mp4", "mov")
"""Muxers of ISO base media files."""

_STREAM = re.compile(
    r"^  Stream #0:(?P<index>\d+)(?:\[0x[0-9a-f]+\])?(?:\((?P<language>[^)]*)\))?: "
    r"(?P<kind>\w+)(?:: (?P<rest>.*))?$"
)


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
    attached_picture: bool
    """True for a cover: a video stream of one picture."""

    def __str__(self) -> str:
        said = ", ".join(part for part in (self.codec, self.language) if part)
        return f"{self.kind.lower()} stream 0:{self.index} ({said})"


@dataclass(frozen=True, slots=True)
class FileStreams:
    """Everything in a file."""

    streams: tuple[Stream, ...]
    """In the file's order."""
    n_chapters: int
    """Chapters."""
    tags: tuple[str, ...]
    """Names of the file's own tags, as written."""
    full_range: bool
    """True if the first video stream is full range (`pc`)."""


def list_streams(ffmpeg: Ffmpeg, path: Path) -> FileStreams:
    """The streams, chapters and tags of a file; reads its header only."""
    done = process.run([ffmpeg.path, "-hide_banner", "-nostdin", "-i", str(path.resolve())], timeout_s=120)
    check_ended(f"reading the header of {path}", done)
    return parse_streams(done.stderr)


def parse_streams(text: str) -> FileStreams:
    """`list_streams` on what ffmpeg printed (n9.0.2, 2026-11-24)."""
    streams = [_stream(match) for line in text.splitlines() if (match := _STREAM.match(line))]
    first = next((line for line in text.splitlines() if re.match(r"^  Stream .*: Video:", line)), "")
    head = text.partition("Input #0")[2].partition("Duration:")[0]
    return FileStreams(
        streams=tuple(streams),
        n_chapters=len(re.findall(r"^    Chapter #0:\d+", text, re.MULTILINE)),
        tags=tuple(re.findall(r"^    (\S[^:\n]*?) *: ", head, re.MULTILINE)),
        full_range=bool(re.search(r"\((?:[^)]*, )?pc[,)]", first)) or "yuvj" in first,
    )


def _stream(match: re.Match[str]) -> Stream:
    rest = match["rest"] or ""
    kinds: dict[str, Kind] = {
        "Video": "Video",
        "Audio": "Audio",
        "Subtitle": "Subtitle",
        "Attachment": "Attachment",
        "Data": "Data",
    }
    language = match["language"] or ""
    return Stream(
        index=int(match["index"]),
        kind=kinds.get(match["kind"], "Unknown"),
        codec=(re.match(r"\w+", rest) or ["unknown"])[0],
        language="" if language == "und" else language,
        attached_picture="(attached pic)" in rest,
    )


def container_takes(ffmpeg: Ffmpeg, path: Path, index: int, muxer: str, *codec_args: str) -> bool:
    """Whether a container takes a stream of a file, found by writing its header to nowhere.

    Args:
      ffmpeg: the ffmpeg to ask; what its muxer takes is what counts.
      path: the file.
      index: the stream.
      muxer: ffmpeg's name of the container.
      codec_args: options for the stream; none copies it.
    """
    fragmented = ("-movflags", "frag_keyframe+empty_moov") if muxer in MOV_FAMILY else ()
    codec = codec_args or ("-c", "copy")
    argv = [
        *ffmpeg.base_argv(),
        "-i",
        str(path.resolve()),
        "-map",
        f"0:{index}",
        *codec,
        "-t",
        "0",
        *fragmented,
        "-f",
        muxer,
        "-",
    ]
    done = process.run(argv, timeout_s=120)
    check_ended(f"trying stream {index} of {path} in {muxer}", done)
    return done.exit_code == 0
