"""What of a source goes into the output beside its picture, and what cannot: decided before any encode."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.media.commands import encoder_args
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg, check_ended
from vmaf_assay.media.streams import CONTAINERS, MOV_FAMILY, FileStreams, Stream, container_takes, list_streams

_TEXT_SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
"""What text subtitles become in a container that does not take them as they are."""

_MP4_TAGS = {
    "title",
    "artist",
    "album_artist",
    "composer",
    "album",
    "date",
    "comment",
    "genre",
    "copyright",
    "grouping",
    "lyrics",
    "description",
    "synopsis",
    "show",
    "episode_id",
    "network",
    "keywords",
    "season_number",
    "episode_sort",
    "compilation",
    "media_type",
    "hd_video",
    "gapless_playback",
    "track",
    "disc",
    "rating",
    "creation_time",
    "location",
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
}
"""Tags that ffmpeg's MP4 and MOV muxers write (libavformat/movenc.c, `mov_write_udta_tag`, ffmpeg n9.0)."""

_STATISTICS = (
    "BPS",
    "DURATION",
    "NUMBER_OF_FRAMES",
    "NUMBER_OF_BYTES",
    "_STATISTICS_WRITING_APP",
    "_STATISTICS_WRITING_DATE_UTC",
    "_STATISTICS_TAGS",
)
"""mkvmerge's tags about the picture's old stream, false of the new one."""


@dataclass(frozen=True, slots=True)
class CarryPlan:
    """How the streams of one source go into one container."""

    args: tuple[str, ...]
    """Output options: what is mapped and how, picture first; ends with the muxer's own."""
    losses: tuple[str, ...]
    """What does not come through whole, one line each."""


def plan_carry(ffmpeg: Ffmpeg, source: Path, output_name: str, encoder: EncoderInfo, preset: str) -> CarryPlan:
    """Decide what happens to every stream, chapter and tag of a source.

    What the container takes is found by trying its muxer, not from a table. Sound is never left out: a container
    that cannot hold it is refused.

    Raises:
      ConfigError: the container takes neither this encoder's video nor all of the sound.
    """
    muxer = CONTAINERS[Path(output_name).suffix.lower()]
    _check_video(ffmpeg, output_name, muxer, encoder, preset)
    found = list_streams(ffmpeg, source)
    args = ["-map", "0:v:0"]
    losses = [f"{source.name} is full range; the encode is limited range"] if found.full_range else []
    picture = next((stream.index for stream in found.streams if stream.kind == "Video"), 0)
    position = 1
    for stream in (one for one in found.streams if one.index != picture):
        mapped, loss = _carry_one(ffmpeg, source, stream, muxer, position, found)
        args += mapped
        position += bool(mapped)
        losses += [loss] if loss else []
    args += ["-map_metadata", "0", "-map_chapters", "0"]
    for name in _STATISTICS if muxer == "matroska" else ():
        args += ["-metadata:s:v:0", f"{name}="]
    losses += _tag_losses(found, muxer)
    if muxer in MOV_FAMILY:
        args += ["-movflags", "+faststart"]
        args += ["-tag:v:0", encoder.mov_tag] if encoder.mov_tag else []
    return CarryPlan((*args, "-f", muxer), tuple(losses))


def _check_video(ffmpeg: Ffmpeg, output_name: str, muxer: str, encoder: EncoderInfo, preset: str) -> None:
    """Two frames through the encoder into the container.

    Into a file: libaom-av1 gives Matroska its header late, which cannot go back in a pipe (ffmpeg n9.0.2).
    """
    middle = float((encoder.rate_min + encoder.rate_max) // 2)
    with tempfile.TemporaryDirectory(prefix="assay-container-") as folder:
        argv = [
            *ffmpeg.base_argv(),
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=640x360:rate=25",
            "-frames:v",
            "2",
            *encoder_args(encoder, preset, middle),
            "-f",
            muxer,
            str(Path(folder) / "two"),
        ]
        done = process.run(argv, timeout_s=120)
    check_ended(f"trying {encoder.name} in {muxer}", done)
    if done.exit_code != 0:
        raise ConfigError(
            f"{output_name}: {encoder.name} does not go into {muxer} here ({done.tail(1)})",
            next_step="end the output in .mkv, which takes any video and audio",
        )


def _carry_one(
    ffmpeg: Ffmpeg, source: Path, stream: Stream, muxer: str, position: int, found: FileStreams
) -> tuple[list[str], str]:
    """Output options for one stream, none if it stays behind, and what is lost."""
    copied = ["-map", f"0:{stream.index}", f"-c:{position}", "copy"]
    if stream.attached_picture and muxer not in MOV_FAMILY:
        return [], f"the cover picture, {stream}, has no place that ffmpeg writes in {muxer}: left out"
    if stream.kind == "Data" and found.n_chapters and stream.codec == "bin_data":
        return [], ""  # the chapters' own text track, written anew from the chapters
    # The WebM muxer takes attachments without a word and does not write them (ffmpeg n9.0.2).
    silently_lost = muxer == "webm" and stream.kind == "Attachment"
    if not silently_lost and container_takes(ffmpeg, source, stream.index, muxer):
        return copied, ""
    if stream.kind == "Audio":
        raise ConfigError(
            f"{source.name}: {muxer} cannot hold {stream}, and sound is not thrown away",
            next_step="end the output in .mkv, which takes any sound",
        )
    text = _TEXT_SUBTITLES[muxer]
    converted = (f"-c:{position}", text)
    if stream.kind == "Subtitle" and container_takes(ffmpeg, source, stream.index, muxer, "-c", text):
        styled = "; styling is lost" if stream.codec in {"ass", "ssa"} else ""
        return ["-map", f"0:{stream.index}", *converted], f"{stream} becomes {text}{styled}"
    return [], f"{muxer} cannot hold {stream}: left out"


def _tag_losses(found: FileStreams, muxer: str) -> Sequence[str]:
    if muxer not in MOV_FAMILY:
        return ()
    lost = [tag for tag in found.tags if tag.lower() not in _MP4_TAGS]
    return (f"{muxer} has no place for the tags {', '.join(lost)}: left out",) if lost else ()
