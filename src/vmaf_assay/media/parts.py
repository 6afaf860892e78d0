"""A title encoded part by part: what its frames are, one part encoded and scored, the parts joined.

Parts are found by seeking, which is not trusted: every frame that is compared has the digest that it had when the
title was decoded from its beginning. The same digests show that the source has not changed meanwhile.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vmaf_assay.errors import MediaError
from vmaf_assay.media import part_commands, process
from vmaf_assay.media.commands import Threads
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg, check_decoded, failure
from vmaf_assay.media.files import read_json_strict
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import (
    FLUSH_TRIES,
    KEPT_BACK,
    OnFrames,
    check_pair,
    display_order,
    run_scored,
    scored_from,
)
from vmaf_assay.media.segments import Look, Span, look_of
from vmaf_assay.media.stamps import Stamps, stamps_of
from vmaf_assay.records import MEAN_VMAF, Scored


class OtherFramesError(MediaError):
    """What was decoded is not what the title showed when all of it was decoded."""


@dataclass(frozen=True, slots=True)
class CloseLook:
    """A title's frames, decoded once in order."""

    look: Look
    """Detail and change of each frame."""
    digests: tuple[str, ...]
    """Of each frame as it is compared, in display order, [F]."""
    stamps: Stamps
    """When each frame is shown."""


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """A part of a title, encoded into a file and scored."""

    scored: Scored
    """Scores and sizes of its frames."""
    digests: tuple[str, ...]
    """Of each frame that its file decodes to, [F]."""


def look_closely(
    ffmpeg: Ffmpeg, reference: ReferenceInput, scratch: Path, *, on_frames: OnFrames | None = None
) -> CloseLook:
    """Decode a title once: detail, change, digest and time of every frame.

    Raises:
      MediaError: a frame does not decode, or their number is unexpected.
      ToolError: ffmpeg failed.
    """
    argv = part_commands.look_closely(reference).argv(ffmpeg, progress=True, source=reference.path)
    what = f"looking through {reference.path.name}"
    done = run_scored(argv, scratch, on_frames, None)
    if done.exit_code != 0:
        raise failure(what, done)
    check_decoded(what, done.stderr, remarks=reference.remarks)
    seen = look_of(scratch / part_commands.SIGNATURES, reference)
    digests = read_digests((scratch / part_commands.SOURCE_DIGESTS).read_text())
    stamps = stamps_of((scratch / part_commands.TIMES).read_text(), reference)
    if len(digests) != reference.n_frames:
        raise MediaError(
            f"{reference.path.name} gives {len(digests)} frames, but {reference.n_frames} were counted",
            next_step="export the file again",
        )
    return CloseLook(seen, digests, stamps)


def read_digests(text: str) -> tuple[str, ...]:
    """The digests in ffmpeg's `framehash` lines, in order."""
    return tuple(line.rsplit(",", 1)[1].strip() for line in text.splitlines() if line and line[0] != "#")


def seek_to(reference: ReferenceInput, span: Span, stamps: Stamps, before: int) -> ReferenceInput:
    """A part of a title, reached by seeking to the frame before it; from the beginning if there are no times."""
    first = span.first - before
    if first == 0 or not stamps.ticks:
        return replace(reference, n_frames=span.last - span.first, span=(span.first, span.last))
    # Halfway between two frames, so that rounding of either cannot matter.
    at = Fraction(stamps.ticks[first - 1] + stamps.ticks[first], 2) * stamps.tick
    return replace(
        reference,
        n_frames=span.last - span.first,
        span=(before, before + span.last - span.first),
        input_args=(*reference.input_args, "-ss", f"{float(at):.6f}"),
    )


def encode_part(
    ffmpeg: Ffmpeg,
    reference: ReferenceInput,
    encoder: EncoderInfo,
    preset: str,
    rate_value: float,
    *,
    around: tuple[int, int],
    expected: Sequence[str],
    out: Path,
    options: Sequence[str] = (),
    model: str = MEAN_VMAF.model,
    threads: Threads = "auto",
    on_frames: OnFrames | None = None,
    children: process.Children | None = None,
) -> EncodedPart:
    """Encode a part of a title into a file, and score it in the same process.

    Args:
      ffmpeg: the ffmpeg to run.
      reference: whose `span` is the part.
      encoder: the encoder.
      preset: its preset.
      rate_value: on its own scale.
      around: frames before and after the part that libvmaf sees, 0 or 1 each.
      expected: digests of the frames compared, those around among them.
      out: the file to write; its folder holds logs meanwhile.
      options: more of the encoder's options.
      model: libvmaf's, that scores.
      threads: that decode and score.
      on_frames: called with the number of frames done.
      children: where the process is registered.

    Raises:
      OtherFramesError: the frames decoded are not the expected ones.
      ToolError, MediaError: as `media.score.encode_and_score`.
    """
    if reference.size is not None:
        encoder.check_size(*reference.size)
    command = part_commands.encode_part(reference, encoder, preset, rate_value, around, options, model)
    roles = {"n_frames": reference.n_frames, "source": reference.path, "part": out.resolve()}
    argv = command.argv(ffmpeg, progress=True, threads=threads, **roles)  # type: ignore[arg-type]
    what = f"encoding {reference.path.name} with {encoder.name} {preset} at {encoder.rate_mode} {rate_value:g}"
    for attempt in range(1, FLUSH_TRIES + 1):
        with tempfile.TemporaryDirectory(prefix="score-", dir=out.parent) as name:
            folder = Path(name)
            began = time.monotonic()
            done = run_scored(argv, folder, on_frames, children)
            took_s = time.monotonic() - began
            lost = _kept_back(folder, done, reference.n_frames, len(expected))
            if lost and attempt < FLUSH_TRIES:
                continue
            if done.exit_code != 0:
                raise failure(what, done, next_step=KEPT_BACK if lost else "")
            return _read_part(folder, done.stderr, reference, around, expected, took_s, what)
    raise AssertionError("the last attempt returns or raises")


def _kept_back(folder: Path, done: process.Completed, n_frames: int, n_compared: int) -> bool:
    """Whether the encoder got every frame and kept some back: see `media.score.FLUSH_TRIES`."""
    if done.exit_code != 0:
        return "Cannot initialize a standalone decoder" in done.stderr
    n_packets = len((folder / "packets.txt").read_text().splitlines())
    read = read_digests((folder / part_commands.SOURCE_DIGESTS).read_text())
    return n_packets < n_frames and len(read) == n_compared


def _read_part(
    folder: Path,
    stderr: str,
    reference: ReferenceInput,
    around: tuple[int, int],
    expected: Sequence[str],
    elapsed_s: float,
    what: str,
) -> EncodedPart:
    """The scores and digests that a command left in its folder, checked."""
    before, after = around
    if read_digests((folder / part_commands.SOURCE_DIGESTS).read_text()) != tuple(expected):
        raise OtherFramesError(
            f"{what}: the source no longer shows the frames that it showed before",
            next_step="leave the source alone while it is encoded, and run the same command again",
        )
    check_pair(folder, stderr, reference, what, around)
    log = read_json_strict(folder / "vmaf.json", max_bytes=2_000_000_000)
    compared = replace(reference, n_frames=before + reference.n_frames + after)
    padded = scored_from(log, None, compared, elapsed_s, what)
    sizes = display_order((folder / "packets.txt").read_text())
    digests = read_digests((folder / part_commands.PART_DIGESTS).read_text())
    if not len(sizes) == len(digests) == reference.n_frames:
        raise MediaError(
            f"{what}: {len(sizes)} packets and {len(digests)} pictures for {reference.n_frames} frames",
            next_step="report this encoder",
        )
    scored = padded.part(before, reference.n_frames, reference.frame_rate)
    seconds = float(reference.n_frames / reference.frame_rate)
    scored = replace(
        scored,
        bytes=sum(sizes),
        kbps=sum(sizes) * 8 / seconds / 1000,
        frame_bytes=np.array(sizes, dtype=np.int64),
    )
    return EncodedPart(scored, digests)


def list_parts(parts: Sequence[tuple[Path, int]], frame_rate: Fraction, folder: Path) -> bytes:
    """The list, in a folder, for ffmpeg's concat demuxer: file and length of each part, given its frames."""
    lines = ["ffconcat version 1.0"]
    for path, n_frames in parts:
        quoted = os.path.relpath(path.resolve(), folder.resolve()).replace("'", r"'\''")
        lines += [f"file '{quoted}'", f"duration {float(n_frames / frame_rate):.6f}"]
    return os.fsencode("\n".join(lines) + "\n")


def digest_file(ffmpeg: Ffmpeg, path: Path, *, on_frames: OnFrames | None = None) -> tuple[str, ...]:
    """The digest of each frame that a file's video decodes to.

    Raises:
      MediaError: a frame does not decode.
      ToolError: ffmpeg failed.
    """
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if on_frames and len(lines) % 100 == 0:
            on_frames(len(lines))

    what = f"decoding {path.name}"
    done = process.run(part_commands.digest_frames().argv(ffmpeg, source=path), on_line=on_line)
    if done.exit_code != 0:
        raise failure(what, done)
    check_decoded(what, done.stderr)
    return read_digests("\n".join(lines))
