"""Which other streams of a source go into the output, and which cannot; decided before any encode.

Every stream of the source has one fate: encoded, copied, converted, written anew by the muxer, or left out and
announced. What a container keeps is read back from a trial of the final command (`rehearse`), not from a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from vmaf_assay.errors import ConfigError, ToolError
from vmaf_assay.media import commands
from vmaf_assay.media.demux import ReadFile, read_facts, read_head
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.facts import FileFacts, Kind, Stream, pixel_facts
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.streams import (
    CONTAINERS,
    DOLBY,
    HDR10PLUS,
    MOV_FAMILY,
    Trial,
    check_numbering,
    container_takes,
    frame_side_data,
    is_chapter_track,
    start_s,
    try_container,
)

_REHEARSAL_S = 0.25
"""Length of a rehearsal after every stream has begun, seconds."""

_REHEARSALS = 3
"""Times a rehearsal is made: libvvenc may keep back all frames of a clip this short."""

Fate = Literal["encoded", "copied", "converted", "written anew", "left out"]

_TEXT_SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
"""Text subtitle codec by container, where the source's codec is not accepted."""

_STYLED = {"ass", "ssa", "webvtt", "mov_text"}
"""Subtitles that say more than words and times."""

_LOSSLESS, _SOUND_CODECS = ("flac", "alac"), ("aac", "libopus", "ac3")
"""Encoders that an error names, if they help: the first that is lossless, and others."""

_STATISTICS = (
    "BPS",
    "DURATION",
    "NUMBER_OF_FRAMES",
    "NUMBER_OF_BYTES",
    "_STATISTICS_WRITING_APP",
    "_STATISTICS_WRITING_DATE_UTC",
    "_STATISTICS_TAGS",
)
"""mkvmerge's tags about the old video stream, wrong for the new one."""

_NO_FILES: Mapping[str, bytes] = MappingProxyType({})
_NO_WORDS: Mapping[str, str] = MappingProxyType({})

_OWN_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration"}
"""Tags that a muxer writes of its own file."""

_LOST, _UNWRITTEN = "{} is lost: {}", "the encoder does not write it"
_IN_FRAMES = {
    "A53_CC": "closed captions inside the picture (CEA-608/708)",
    "AFD": "the active format description",
    "STEREO3D": "the stereo 3D layout",
    "SPHERICAL": "the spherical projection",
    "S12M_TIMECODE": "time codes inside the picture (SMPTE 12M)",
    "ICC_PROFILE": "the ICC profile",
    HDR10PLUS: "HDR10+ metadata",
    DOLBY: "Dolby Vision metadata",
}
"""Side data of decoded frames that a viewer or a player misses, by the library's name."""


@dataclass(frozen=True, slots=True)
class CarryPlan:
    """How the streams of one source go into one container."""

    args: tuple[str, ...]
    """Output options: what is mapped and how, picture first; ends with the muxer's own."""
    losses: tuple[str, ...]
    """Losses, one line each."""
    mapped: tuple[Stream, ...] = ()
    """Streams of the source in the output's order, picture first."""
    expected: tuple[tuple[Kind, str], ...] = ()
    """Kind and codec of each mapped stream in the output; the picture's codec is empty, any will do."""


@dataclass(frozen=True, slots=True)
class _Fate:
    """What becomes of one stream."""

    stream: Stream
    fate: Fate
    """What becomes of it."""
    args: tuple[str, ...] = ()
    """Options of its codec, without the place in the output."""
    becomes: tuple[Kind, str] = ("unknown", "")
    """Kind and codec in the output, if it is mapped."""
    loss: str = ""
    """What is announced."""


def plan_carry(
    ffmpeg: Ffmpeg,
    source: Path,
    output_name: str,
    encoder: EncoderInfo,
    preset: str,
    *,
    picture: int | None = None,
    audio_codec: str = "",
    captions: bool = False,
) -> CarryPlan:
    """Decide what happens to every stream, chapter and tag of a source.

    Sound is never left out: what the container does not take is converted if `audio_codec` names an encoder, and
    refused otherwise.

    Args:
      ffmpeg: the ffmpeg that runs.
      source: the source.
      output_name: file name of the output.
      encoder: the picture's encoder.
      preset: its preset.
      picture: index of the stream that is encoded; None is the first video stream.
      audio_codec: encoder for sound that the container does not take; empty refuses such sound.
      captions: the picture holds closed captions, perhaps not from its first frame on.

    Raises:
      ConfigError: the container cannot hold this encoder's video, or some of the sound.
      MediaError: the source cannot be read, or ffmpeg and the library number its streams differently.
    """
    muxer = CONTAINERS[Path(output_name).suffix.lower()]
    if reason := _refuses_video(ffmpeg, Path(output_name).suffix.lower(), encoder, preset):
        raise ConfigError(
            f"{output_name}: {encoder.name} does not go into {muxer} here ({reason})",
            next_step="end the output in .mkv, which takes the video of every encoder",
        )
    found = read_facts(source)
    check_numbering(ffmpeg, source, found)
    film = next(one for one in found.streams if one.kind == "video" and picture in (None, one.index))
    planner = _Planner(ffmpeg, source, output_name, encoder, preset, found, film, audio_codec)
    fates = [planner.fate(stream) for stream in found.streams]
    _check_accounts(source, found, fates)
    rest = [one for one in fates if one.fate in ("copied", "converted")]
    args = ["-map", f"0:v:{_rank(found, film)}"]
    for position, one in enumerate(rest, start=1):
        args += ["-map", f"0:{one.stream.index}", f"-c:{position}", *one.args]
    args += ["-map_metadata", "0", "-map_chapters", "0", *planner.picture_args(fates, captions=captions)]
    for name in _STATISTICS if muxer == "matroska" else ():
        args += ["-metadata:s:v:0", f"{name}="]
    if muxer in MOV_FAMILY:
        args += ["-movflags", "+faststart"]
        args += ["-tag:v:0", encoder.mov_tag] if encoder.mov_tag else []
    return CarryPlan(
        args=(*args, "-f", muxer),
        losses=(*(one.loss for one in fates if one.loss), *planner.late_captions(captions=captions)),
        mapped=(film, *(one.stream for one in rest)),
        expected=(("video", ""), *(one.becomes for one in rest)),
    )


def _rank(found: FileFacts, picture: Stream) -> int:
    """The picture's place among the video streams."""
    return [stream.index for stream in found.streams if stream.kind == "video"].index(picture.index)


def _check_accounts(source: Path, found: FileFacts, fates: Sequence[_Fate]) -> None:
    """Every stream is mapped, written anew, or announced as lost, and none twice."""
    settled = [one for one in fates if one.fate != "left out" or one.loss]
    if [one.stream.index for one in settled] != [stream.index for stream in found.streams]:
        raise ToolError(
            f"{len(found.streams) - len(settled)} streams of {source.name} are neither kept nor announced",
            next_step="report this: the plan of streams is wrong",
        )


@lru_cache
def _refuses_video(ffmpeg: Ffmpeg, suffix: str, encoder: EncoderInfo, preset: str) -> str:
    """Why a container does not take an encoder's video; empty if it does. Two frames are tried."""
    muxer = CONTAINERS[suffix]
    command = commands.try_encoder(encoder, preset, n_frames=2, muxer=muxer)
    trial = try_container(ffmpeg, f"two{suffix}", command.args[:-1])  # without its output
    if trial.written is not None and len(trial.written.streams) == 1:
        return ""
    return trial.reason or "nothing can be read back"


@dataclass(frozen=True, slots=True)
class _Planner:
    """Decides the fate of each stream of one source."""

    ffmpeg: Ffmpeg
    """The ffmpeg to ask."""
    source: Path
    output_name: str
    """File name of the output."""
    encoder: EncoderInfo
    preset: str
    found: FileFacts
    """What the source holds."""
    picture: Stream
    """The stream that is encoded."""
    audio_codec: str
    """Encoder for sound that the container does not take; empty refuses such sound."""

    @property
    def muxer(self) -> str:
        """Ffmpeg's name of the container."""
        return CONTAINERS[Path(self.output_name).suffix.lower()]

    def fate(self, stream: Stream) -> _Fate:
        """What becomes of one stream."""
        if stream.index == self.picture.index:
            return _Fate(stream, "encoded")
        if is_chapter_track(stream, self.found) or self._retimed(stream):
            return _Fate(stream, "written anew")
        if stream.attached_picture and self.muxer not in MOV_FAMILY:
            words = f"the cover picture, {stream}, has no place that ffmpeg writes in {self.muxer}: left out"
            return _Fate(stream, "left out", loss=words)
        if becomes := container_takes(self.ffmpeg, self.source, stream, self.output_name):
            return _Fate(stream, "copied", ("copy",), becomes)
        if stream.kind == "audio":
            return self._convert_sound(stream)
        if stream.kind == "subtitle" and (made := self._as_text(stream)):
            return made
        return _Fate(stream, "left out", loss=f"{self.muxer} cannot hold {stream}: left out")

    def picture_args(self, fates: Sequence[_Fate], *, captions: bool) -> list[str]:
        """Options that keep what lies in the picture's stream: captions, and a timecode track's first value."""
        args: list[str] = []
        if captions or self._captions_first():
            args += self.encoder.caption_args
        anew = (one.stream.timecode for one in fates if one.fate == "written anew" and one.stream.timecode)
        if (timecode := next(anew, "")) and not self.picture.timecode:
            args += ["-metadata:s:v:0", f"timecode={timecode}"]
        return args

    def _captions_first(self) -> bool:
        return "A53_CC" in frame_side_data(read_head(self.source), self.picture.index)

    def late_captions(self, *, captions: bool) -> list[str]:
        """The loss of captions that begin after the first frame, which a rehearsal does not see."""
        lost = captions and not self.encoder.caption_args and not self._captions_first()
        return [_LOST.format(_IN_FRAMES["A53_CC"], _UNWRITTEN)] if lost else []

    def _retimed(self, stream: Stream) -> bool:
        """Whether a stream is a timecode track, which the muxer makes again from the picture's tag."""
        first = next((one.timecode for one in self.found.streams if one.kind == "data" and one.timecode), "")
        return (
            stream.kind == "data" and stream.timecode != "" and stream.timecode == (self.picture.timecode or first)
        )

    def _takes(self, stream: Stream, codec: str, name: str = "") -> tuple[Kind, str] | None:
        return container_takes(self.ffmpeg, self.source, stream, name or self.output_name, codec)

    def _as_text(self, stream: Stream) -> _Fate | None:
        text = _TEXT_SUBTITLES[self.muxer]
        if becomes := self._takes(stream, text):
            styled = "; styling is lost" if stream.codec in _STYLED else ""
            return _Fate(stream, "converted", (text,), becomes, f"{stream} becomes {text}{styled}")
        return None

    def _convert_sound(self, stream: Stream) -> _Fate:
        if self.audio_codec:
            if becomes := self._takes(stream, self.audio_codec):
                return _Fate(
                    stream,
                    "converted",
                    (self.audio_codec,),
                    becomes,
                    f"{stream} becomes {becomes[1]} (--audio-codec)",
                )
            what = f"--audio-codec {self.audio_codec} does not turn {stream} into what {self.muxer} holds"
        else:
            what = f"{self.muxer} cannot hold {stream}, and sound is not thrown away"
        raise ConfigError(f"{self.source.name}: {what}", next_step=self._advice(stream))

    def _advice(self, stream: Stream) -> str:
        """What the user can do about sound that the container does not take; each was tried."""
        own = Path(self.output_name).suffix.lower()
        lossless = [name for name in _LOSSLESS if self._takes(stream, name)][:1]
        codecs = [f"{name} (lossless)" for name in lossless]
        codecs += [name for name in _SOUND_CODECS if self._takes(stream, name)]
        others = [
            suffix
            for suffix in CONTAINERS
            if suffix != own
            and self._takes(stream, "copy", f"out{suffix}")
            and not _refuses_video(self.ffmpeg, suffix, self.encoder, self.preset)
        ]
        said = []
        if codecs:
            more = f", or {' or '.join(codecs[1:])}" if codecs[1:] else ""
            said.append(f"add --audio-codec {codecs[0]}{more}")
        if others:
            said.append(f"end the output in {' or '.join(others)}, which takes it as it is")
        return "; or ".join(said) or "convert the sound first"


def rehearse(
    ffmpeg: Ffmpeg,
    argv: Sequence[str],
    source: Path,
    plan: CarryPlan,
    *,
    beside: Mapping[str, bytes] = _NO_FILES,
    why: Mapping[str, str] = _NO_WORDS,
) -> CarryPlan:
    """Run the final command on a few packets, and announce what the result lacks.

    Args:
      ffmpeg: the ffmpeg that runs.
      argv: the final command at any rate value; its last word is the output.
      source: the source.
      plan: what is mapped.
      beside: files that the encoder reads from its working folder.
      why: why side data of a kind is lost, where the encoder could write it.

    Returns:
      The plan, with losses of tags, languages, titles, flags, chapters and frame side data added.

    Raises:
      ConfigError: the command does not run, or the muxer drops a stream that is mapped.
    """
    starts = [start_s(stream) for stream in plan.mapped]
    # Not -frames: of several streams it ends all with the first, a cover at once (ffmpeg n9.0.2).
    length_s = max(starts) - min(starts) + _REHEARSAL_S
    limit = ["-t", f"{length_s:.3f}"]
    inputs = [*argv[len(ffmpeg.base_argv()) : -1], *limit]
    trial = try_container(ffmpeg, argv[-1], inputs, beside)
    for _ in range(_REHEARSALS - 1):
        if trial.written is not None:
            break
        trial = try_container(ffmpeg, argv[-1], inputs, beside)
    name = Path(argv[-1]).name
    if trial.written is None:
        raise ConfigError(
            f"{source.name} does not go into {name}: {trial.reason}",
            next_step="end the output in another of .mkv, .mp4 and .mov",
        )
    if gone := missing_streams(plan, trial.written):
        raise ConfigError(
            f"{name} would lack {', '.join(map(str, gone))}: ffmpeg's muxer drops it without an error",
            next_step="end the output in another of .mkv, .mp4 and .mov",
        )
    more = [
        *_stream_losses(plan, trial.written, name),
        *_file_losses(read_head(source), plan.mapped[0], trial, name, length_s, why),
    ]
    return replace(plan, losses=(*plan.losses, *more))


def missing_streams(plan: CarryPlan, written: FileFacts) -> list[Stream]:
    """Streams of the source that were mapped and that a written file does not hold."""
    there = written.count()
    gone = []
    for stream, (kind, codec) in zip(plan.mapped, plan.expected, strict=True):
        what = next(
            (one for one in there if one[0] == kind and (one[1] == codec or not codec) and there[one]), None
        )
        if what is None:
            gone.append(stream)
        else:
            there[what] -= 1
    return gone


def _stream_losses(plan: CarryPlan, written: FileFacts, name: str) -> list[str]:
    """Languages, titles, flags and timecodes of mapped streams that the container does not keep."""
    said = []
    for kind in dict.fromkeys(stream.kind for stream in plan.mapped):
        before = [stream for stream in plan.mapped if stream.kind == kind]
        after = [stream for stream in written.streams if stream.kind == kind]
        for old, new in zip(before, after, strict=False):  # a muxer may add data streams of its own, at the end
            lost = [f"language {old.language}"] if old.language and not new.language else []
            lost += [f"title {old.title!r}"] if old.title and not new.title else []
            lost += [f"flag {flag}" for flag in sorted(set(old.flags) - set(new.flags))]
            lost += (
                [f"timecode {old.timecode}"] if old == plan.mapped[0] and old.timecode and not new.timecode else []
            )
            if lost:
                said.append(f"{name} does not keep of {old}: {', '.join(lost)}")
    return said


def _file_losses(
    source: ReadFile, picture: Stream, trial: Trial, name: str, length_s: float, why: Mapping[str, str]
) -> list[str]:
    """Tags, chapters and frame side data that the trial, so many seconds long, lacks."""
    assert trial.written is not None  # the caller looked
    before, after = source.facts, trial.written
    kept = {tag.lower() for tag in after.tags} | _OWN_TAGS
    lost = [tag for tag in before.tags if tag.lower() not in kept]
    said = [f"{name} has no place for the tags {', '.join(lost)}: left out"] if lost else []
    kept_full = any(one.video and one.video.colour.range == "pc" for one in after.streams[:1])
    rgb = picture.video is not None and pixel_facts(picture.video.pix_fmt).chroma == "rgb"
    if picture.video and picture.video.colour.range == "pc" and not rgb and not kept_full:
        said.append("full range becomes limited range")
    # ffmpeg writes no chapter that begins after the end of what it writes.
    due = [one for one in before.chapters if one.start_s - (before.start_s or 0.0) < length_s]
    if len(due) > after.n_chapters:
        said.append(f"{name} keeps {after.n_chapters} of {before.n_chapters} chapters")
    gone = frame_side_data(source, picture.index) - trial.in_frames
    lost_kinds = {key: words for key, words in _IN_FRAMES.items() if key in gone}
    return said + [_LOST.format(words, why.get(key, _UNWRITTEN)) for key, words in lost_kinds.items()]
