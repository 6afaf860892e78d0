"""The final encode: the source at the chosen rate value with its other streams, complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vmaf_assay.errors import ToolError
from vmaf_assay.media import commands, process
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.files import real_path, sha256_bytes
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.stamps import frame_times, restore_args
from vmaf_assay.records import OnStep
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.source import seconds
from vmaf_assay.tune.streams_plan import CarryPlan, missing_streams

PLAIN = CarryPlan(("-map", "0:v:0", "-map", "0:a?", "-c:a", "copy"), ())
"""Placeholder for the output of an encode that is not made."""

_HDR10PLUS_FILE = "hdr10plus.json"

SPACE_SLACK = 1.3
"""Free space required, relative to the forecast; the bitrate forecast is within 30 % for most sources."""


@dataclass(frozen=True, slots=True)
class Written:
    """A finished encode."""

    kbps: float
    """Measured bitrate of its video."""
    n_bytes: int
    """Size of the whole file."""


@dataclass(frozen=True, slots=True)
class FinalEncode:
    """Everything that determines the final encode."""

    reference: ReferenceInput
    """The source."""
    info: EncoderInfo
    """The encoder."""
    preset: str
    rate_value: float
    """On the encoder's own scale."""
    carry: CarryPlan = PLAIN
    """Plan of the other streams of the output."""
    kbps: float | None = None
    """Bitrate to aim at in two passes, instead of the rate value."""
    hdr10plus: bytes = b""
    """HDR10+ metadata that the encoder reads from its working folder; empty for none."""

    @property
    def beside(self) -> dict[str, bytes]:
        """Files that the encoder reads from its working folder."""
        return {_HDR10PLUS_FILE: self.hdr10plus} if self.hdr10plus else {}

    def argv(self, ffmpeg: Ffmpeg, out: Path, restore: Sequence[str] = ()) -> list[str]:
        """The command: a trial's encode, its packets put at the source's times by `restore`."""
        info = self.info
        if self.hdr10plus:
            reads = (info.params_option, f"{info.hdr10plus_param}={_HDR10PLUS_FILE}")
            info = replace(info, fixed_args=(*info.fixed_args, *reads))
        command = commands.final_encode(
            self.reference,
            info if self.kbps is None else info.in_pass(self.kbps, 2),
            self.preset,
            self.rate_value,
            streams=self.carry.args,
            restore=restore,
            stereo=self._stereo(out),
        )
        return command.argv(ffmpeg, progress=True, source=self.reference.path, output=out)

    def first_pass(self, ffmpeg: Ffmpeg, out: Path) -> list[str]:
        """The command of the first of two passes."""
        assert self.kbps is not None  # asked of two passes only
        info, picture = self.info.in_pass(self.kbps, 1), ("-map", f"0:{self.reference.stream_map}", "-f", "null")
        command = commands.final_encode(
            self.reference, info, self.preset, self.rate_value, streams=picture, stereo=self._stereo(out)
        )
        return command.argv(ffmpeg, progress=True, source=self.reference.path, output="-")

    def _stereo(self, out: Path) -> bool:
        """Whether the encoder is told the layout of 3D video.

        Matroska has its own place for the layout; ffmpeg n9.0.2 does not decode a file that has both.
        """
        return not self.info.writes_stereo or out.suffix.lower() not in (".mkv", ".webm")


def write_final(
    ffmpeg: Ffmpeg, request: TuneRequest, encode: FinalEncode, on_step: OnStep | None
) -> tuple[Written, list[str]]:
    """Run the final encode beside its destination, then rename it into place.

    Args:
      ffmpeg: the ffmpeg to run.
      request: names source and output.
      encode: the encode.
      on_step: notified of progress.

    Returns:
      The file written, and its command, with the output's own name.

    Raises:
      ToolError: ffmpeg or the disk failed, or a stream is missing. No file is left; an older output is unchanged.
    """
    assert request.output is not None  # the caller asked for a file
    reference = encode.reference
    with folder_beside(request.output) as folder:
        temporary = folder / request.output.name
        stamps = frame_times(ffmpeg, reference, folder)
        restore = restore_args(stamps, reference.frame_rate, folder)
        argv = encode.argv(ffmpeg, temporary, restore)
        for name, content in encode.beside.items():
            (folder / name).write_bytes(content)
        what = "encode"
        if encode.kbps is not None:
            what = "encode, pass 2 of 2"
            _first_pass(ffmpeg, encode, temporary, on_step)
        done = process.run(argv, on_line=frame_lines(what, reference.n_frames, on_step), cwd=folder)
        if done.exit_code != 0:
            raise failure(
                f"encoding {request.source.name} to {request.output.name}",
                done,
                next_step="an output that ends in .mkv accepts any video and audio",
            )
        packets = video_packets(ffmpeg, temporary)
        if len(packets) < reference.n_frames:  # as in `media/score.py`, FLUSH_TRIES
            raise ToolError(
                f"the encoder returned {len(packets)} of {reference.n_frames} frames of {request.source.name}",
                next_step="run the same command again, or choose another encoder",
            )
        if gone := missing_streams(encode.carry, read_facts(temporary)):
            raise ToolError(
                f"the finished encode of {request.source.name} lacks {', '.join(map(str, gone))}",
                next_step="report this, and end the output in another of .mkv, .mp4 and .mov",
            )
        kbps = sum(packets) * 8 / seconds(reference) / 1000
        written = Written(kbps, temporary.stat().st_size)
        temporary.replace(request.output)
    return written, encode.argv(ffmpeg, request.output, restore)


def _first_pass(ffmpeg: Ffmpeg, encode: FinalEncode, out: Path, on_step: OnStep | None) -> None:
    on_line = frame_lines("encode, pass 1 of 2", encode.reference.n_frames, on_step)
    done = process.run(encode.first_pass(ffmpeg, out), on_line=on_line, cwd=out.parent)
    if done.exit_code != 0:
        raise failure(f"the first pass over {encode.reference.path.name}", done, next_step="leave --two-pass out")


def private_prefix(output: Path) -> str:
    """How the names of an output's private folders begin; other outputs of its folder have other ones."""
    return f".assay-{sha256_bytes(os.fsencode(output.name))[:8]}-"


@contextmanager
def folder_beside(output: Path) -> Iterator[Path]:
    """A private folder on the output's file system, removed afterwards in any case."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=private_prefix(output), dir=real_path(output).parent))
    except OSError as error:
        raise ToolError(
            f"cannot write to {output.parent}: {error.strerror}", next_step="choose another -o"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


FIRST_FRAMES = 8
"""Frames of the picture in the file that `rest_bytes` writes: with fewer some encoders return none."""

FRAME_OVERHEAD_BYTES = 16
"""What a container is allowed for each frame. Measured: 6.4 to 7.3 bytes in Matroska and WebM, 4 to 11.7 in MP4
and MOV (four encoders, small pictures without sound, ffmpeg n9.0.2, 2026-12-01)."""


def rest_bytes(ffmpeg: Ffmpeg, encode: FinalEncode, output: Path) -> int:
    """Bytes of the output beside its picture, written and counted: other streams, index, tags, attachments.

    The container's part for each frame of the picture is not in it (`FRAME_OVERHEAD_BYTES`).

    Raises:
      ToolError: ffmpeg or the disk failed.
    """
    with folder_beside(output) as folder:
        out = folder / output.name
        done = process.run(
            replace(encode, info=encode.info.of_first(FIRST_FRAMES), hdr10plus=b"").argv(ffmpeg, out)
        )
        if done.exit_code != 0:
            raise failure(f"counting the other streams of {encode.reference.path.name}", done)
        return out.stat().st_size - video_bytes(ffmpeg, out)


def video_bytes(ffmpeg: Ffmpeg, path: Path, stream_map: str = "v:0") -> int:
    """Bytes of a file's video stream, by its packets."""
    return sum(video_packets(ffmpeg, path, stream_map))


def check_space(output: Path, wanted_bytes: float) -> None:
    """Raise ToolError unless the output's disk has room for the encode forecast, with slack."""
    free = shutil.disk_usage(real_path(output).parent).free
    if free < wanted_bytes * SPACE_SLACK:
        raise ToolError(
            f"{output.parent} has {free / 1e6:.0f} MB free, the encode is forecast at {wanted_bytes / 1e6:.0f} MB",
            next_step="free space or choose another -o",
        )


def frame_calls(what: str, total: int, on_step: OnStep | None) -> Callable[[int], None]:
    """A callback for finished frames that reports them as a step."""

    def on_frames(done: int) -> None:
        if on_step:
            on_step(what, min(done, total), total)

    return on_frames


def frame_lines(what: str, total: int, on_step: OnStep | None) -> Callable[[str], None]:
    """A callback for ffmpeg's `-progress` lines that reports frames as a step."""
    on_frames = frame_calls(what, total, on_step)

    def on_line(line: str) -> None:
        if line.startswith("frame="):
            on_frames(int(line[6:]))

    return on_line


def video_packets(ffmpeg: Ffmpeg, path: Path, stream_map: str = "v:0") -> list[int]:
    """Bytes of each packet of a file's video stream."""
    done = process.run(commands.video_packets(stream_map).argv(ffmpeg, source=path))
    if done.exit_code != 0:
        raise failure(f"reading {path.name}", done)
    lines = [line for line in done.stdout.decode().splitlines() if line and not line.startswith("#")]
    return [int(line.split(",")[4]) for line in lines]
