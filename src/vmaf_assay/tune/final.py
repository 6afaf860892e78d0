"""The final encode: the source at the chosen rate value with all that belongs to it, whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.errors import ToolError
from vmaf_assay.media import process
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.score import ReferenceInput, encoder_args
from vmaf_assay.records import OnStep
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.source import seconds
from vmaf_assay.tune.streams_plan import CarryPlan

PLAIN = CarryPlan(("-map", "0:v:0", "-map", "0:a?", "-c:a", "copy"), ())
"""What is shown of an encode that has no output to plan for."""

SPACE_SLACK = 1.3
"""Free space wanted over the forecast: the bitrate forecast is within 30 % for most sources."""


@dataclass(frozen=True, slots=True)
class Written:
    """A finished encode."""

    kbps: float
    """Measured bitrate of its video."""
    n_bytes: int
    """Size of the whole file."""


def final_argv(
    ffmpeg: Ffmpeg,
    reference: ReferenceInput,
    info: EncoderInfo,
    preset: str,
    rate_value: float,
    out: Path,
    *,
    carry: CarryPlan = PLAIN,
) -> list[str]:
    """The command of the final encode: the first video stream at the chosen rate value, the rest as `carry` says.

    The picture goes through the scaler that probes and trials saw it through (even size, limited range), but keeps
    its own time stamps and sample aspect ratio.
    """
    scale = next(step for step in reference.encode_filters() if step.startswith("scale=") and "out_range" in step)
    mine = f"{reference.user_filters}," if reference.user_filters else ""
    return [
        *ffmpeg.base_argv(),
        "-progress",
        "pipe:1",
        "-stats_period",
        "0.25",
        "-i",
        str(reference.path.resolve()),
        *carry.args,
        "-filter:v:0",
        f"{mine}{scale},format=yuv420p",
        "-fps_mode:v:0",
        "passthrough",
        *_first_video_only(encoder_args(info, preset, rate_value, threads="auto")),
        str(out),
    ]


def _first_video_only(args: list[str]) -> list[str]:
    """Options of the encoder, its name given to the first video stream alone: a cover stays a copy."""
    return ["-c:v:0" if arg == "-c:v" else "-pix_fmt:v:0" if arg == "-pix_fmt" else arg for arg in args]


def write_final(
    ffmpeg: Ffmpeg,
    request: TuneRequest,
    argv_to: Callable[[Path], list[str]],
    reference: ReferenceInput,
    on_step: OnStep | None,
) -> Written:
    """Run the final encode beside its destination, then put it in place in one step.

    Args:
      ffmpeg: the ffmpeg to run.
      request: names source and output.
      argv_to: the command that writes to a path.
      reference: the source.
      on_step: told of progress.

    Raises:
      ToolError: ffmpeg or the disk failed; nothing is left, and an older output is as it was.
    """
    assert request.output is not None  # the caller asked for a file
    with _folder_beside(request.output) as folder:
        temporary = folder / request.output.name
        done = process.run(argv_to(temporary), on_line=frame_lines("encode", reference.n_frames, on_step))
        if done.exit_code != 0:
            raise failure(
                f"encoding {request.source.name} to {request.output.name}",
                done,
                next_step="an output that ends in .mkv takes any video and audio",
            )
        packets = _video_packets(ffmpeg, temporary)
        if len(packets) < reference.n_frames:  # as in `media/score.py`, FLUSH_TRIES
            raise ToolError(
                f"the encoder gave back {len(packets)} of {reference.n_frames} frames of {request.source.name}",
                next_step="run the same command again, or choose another encoder",
            )
        kbps = sum(packets) * 8 / seconds(reference) / 1000
        written = Written(kbps, temporary.stat().st_size)
        temporary.replace(request.output)
    return written


@contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """A private folder on the output's own file system, gone afterwards whatever happens."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".assay-", dir=output.resolve().parent))
    except OSError as error:
        raise ToolError(
            f"cannot write to {output.parent}: {error.strerror}", next_step="choose another -o"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def video_bytes(ffmpeg: Ffmpeg, path: Path) -> int:
    """Bytes of a file's first video stream, by its packets."""
    return sum(_video_packets(ffmpeg, path))


def check_space(output: Path, wanted_bytes: float) -> None:
    """Raise ToolError unless the output's disk has room for the encode forecast, with slack."""
    free = shutil.disk_usage(output.resolve().parent).free
    if free < wanted_bytes * SPACE_SLACK:
        raise ToolError(
            f"{output.parent} has {free / 1e6:.0f} MB free, the encode is forecast at {wanted_bytes / 1e6:.0f} MB",
            next_step="free space or choose another -o",
        )


def frame_calls(what: str, total: int, on_step: OnStep | None) -> Callable[[int], None]:
    """A callback for frames done that passes them on as a step."""

    def on_frames(done: int) -> None:
        if on_step:
            on_step(what, min(done, total), total)

    return on_frames


def frame_lines(what: str, total: int, on_step: OnStep | None) -> Callable[[str], None]:
    """A callback for ffmpeg's `-progress` lines that passes frames on as a step."""
    on_frames = frame_calls(what, total, on_step)

    def on_line(line: str) -> None:
        if line.startswith("frame="):
            on_frames(int(line[6:]))

    return on_line


def _video_packets(ffmpeg: Ffmpeg, path: Path) -> list[int]:
    """Bytes of each packet of a file's first video stream."""
    done = process.run(
        [
            *ffmpeg.base_argv(),
            "-i",
            os.fspath(path.resolve()),
            "-map",
            "0:v:0",
            "-c",
            "copy",
            "-f",
            "framecrc",
            "-",
        ]
    )
    if done.exit_code != 0:
        raise failure(f"reading {path.name}", done)
    lines = [line for line in done.stdout.decode().splitlines() if line and not line.startswith("#")]
    return [int(line.split(",")[4]) for line in lines]
