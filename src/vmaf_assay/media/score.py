"""Encode, decode and score in one ffmpeg process, frame against frame.

The encoder's packets go back in through a loopback decoder (`-dec 0:0`), so nothing is written to disk and the
reference is decoded once. Both sides get one time base and the frame number as time stamp before libvmaf pairs
them. Frames are then counted on both sides and compared (`media/sync.py`), because a pair out of sync looks like a
bad encode.
"""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import MediaError, ToolError
from vmaf_assay.media import commands, process
from vmaf_assay.media.commands import VMAF_MODEL, Threads
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg, check_decoded, failure
from vmaf_assay.media.files import read_json_strict, sha256_file
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.sync import find_slip, read_signatures
from vmaf_assay.records import CANONICAL6, METRICS, V1_FEATURES, Scored

OnFrames = Callable[[int], None]

FLUSH_TRIES = 8
"""How often an encode is tried if the encoder keeps frames back at the end.

After the last frame, ffmpeg stops asking an encoder that once returns no packet. libvvenc's threads do that now
and then on clips shorter than their queue. Of 48 frames at 640x360 none came back in 3 of 6 encodes on a busy
machine, and all in 10 of 10 on an idle one (ffmpeg n9.0.2, 2026-11-28). A second try may succeed or fail again:
with three busy loops beside it on two cores, two of three QPs failed eight times. With `-vvenc-params threads=0`
none of 12 failed, but that gives other bytes, so other cells.
"""

KEPT_BACK = (
    f"the encoder kept frames back in {FLUSH_TRIES} encodes one after another: try on an idle machine, or give it "
    "a longer source"
)


def encode_and_score(
    ffmpeg: Ffmpeg,
    reference: ReferenceInput,
    encoder: EncoderInfo,
    preset: str,
    rate_value: float,
    *,
    models: Sequence[str] = (VMAF_MODEL,),
    threads: Threads = "single",
    every: int = 1,
    on_frames: OnFrames | None = None,
    children: process.Children | None = None,
    scratch: Path | None = None,
) -> Scored:
    """Encode a reference at one rate value and score the result against it, in one process.

    The score is of the first of `models`. The others' are in `Scored.more`.

    `scratch` holds its logs meanwhile: a caller that may be killed names a folder that it will clear.

    Returns:
      Per-frame VMAF and canonical-6 of all `reference.n_frames` frames, or of the first of `every` frames, with
      the encode's size.

    Raises:
      ToolError: ffmpeg failed.
      MediaError: the encoder does not take the size, a frame does not decode, or the source gave another number of
        frames than it should. Also if the two sides are out of sync.
    """
    if reference.size is not None:
        encoder.check_size(*reference.size)
    check_models(models, reference)
    command = commands.encode_and_score(reference, encoder, preset, rate_value, models, every=every)
    argv = command.argv(ffmpeg, progress=True, n_frames=reference.n_frames, threads=threads, source=reference.path)
    what = f"encoding {reference.path.name} with {encoder.name} {preset} at {encoder.rate_mode} {rate_value:g}"
    for attempt in range(1, FLUSH_TRIES + 1):
        with tempfile.TemporaryDirectory(prefix="assay-score-", dir=scratch) as folder:
            started = time.monotonic()
            done = run_scored(argv, Path(folder), on_frames, children)
            elapsed_s = time.monotonic() - started
            lost = _lost_at_the_end(Path(folder), done, reference)
            if lost and attempt < FLUSH_TRIES:
                continue
            if done.exit_code != 0:
                raise failure(what, done, next_step=KEPT_BACK if lost else "")
            sizes = display_order((Path(folder) / "packets.txt").read_text())
            check_pair(Path(folder), done.stderr, reference, what)
            log = read_json_strict(Path(folder) / "vmaf.json", max_bytes=2_000_000_000)
            scored = scored_from(log, sizes, reference, elapsed_s, what, models, every)
            decoded = sha256_file(Path(folder) / "reference.gray")
            return replace(_with_packets(scored, Path(folder)), decoded=decoded)
    raise AssertionError("the last attempt returns or raises")


def score_pair(
    ffmpeg: Ffmpeg,
    reference: ReferenceInput,
    distorted_path: Path,
    *,
    models: Sequence[str] = (VMAF_MODEL,),
    on_frames: OnFrames | None = None,
    children: process.Children | None = None,
) -> Scored:
    """Score a finished encode against its reference, frame n against frame n.

    The distorted file is scaled to the reference's size if it differs.

    Raises:
      ToolError: ffmpeg failed.
      MediaError: the two differ in the number of frames or are out of sync, or a frame does not decode.
    """
    check_models(models, reference)
    argv = commands.score_pair(reference, models).argv(
        ffmpeg, progress=True, distorted=distorted_path, source=reference.path
    )
    what = f"scoring {distorted_path.name} against {reference.path.name}"
    with tempfile.TemporaryDirectory(prefix="assay-score-") as folder:
        started = time.monotonic()
        done = run_scored(argv, Path(folder), on_frames, children)
        elapsed_s = time.monotonic() - started
        if done.exit_code != 0:
            raise failure(what, done)
        check_pair(Path(folder), done.stderr, reference, what)
        log = read_json_strict(Path(folder) / "vmaf.json", max_bytes=2_000_000_000)
    return scored_from(log, None, reference, elapsed_s, what, models)


def check_models(models: Sequence[str], reference: ReferenceInput) -> None:
    """Refuse pictures smaller than a model accepts: libvmaf then ends in a crash, with no message."""
    size = reference.unfiltered_size or reference.size
    for model in models:
        if size is not None and not METRICS[model].takes(size):
            shorter, longer = METRICS[model].least_size
            raise MediaError(
                f"{model} needs sides of {shorter} px or more, one of them of {longer}: these are "
                f"{size[0]}x{size[1]}",
                next_step=f"score with {VMAF_MODEL}",
            )


def _lost_at_the_end(folder: Path, done: process.Completed, reference: ReferenceInput) -> bool:
    """Whether the encoder got every frame and kept some back: see `FLUSH_TRIES`."""
    if done.exit_code != 0:  # it kept all frames back
        return "Cannot initialize a standalone decoder" in done.stderr
    n_packets = len((folder / "packets.txt").read_text().splitlines())
    n_reference = len(read_signatures((folder / "reference.gray").read_bytes()))
    return n_packets < n_reference == reference.n_frames


def check_pair(
    folder: Path, stderr: str, reference: ReferenceInput, what: str, around: tuple[int, int] = (0, 0)
) -> None:
    """Refuse a pair with damaged frames, with unequal or unexpected frame counts, or out of sync.

    `around` is the number of frames before and after the reference's own that are in the folder's files too.
    """
    check_decoded(what, stderr, seeked="-ss" in reference.input_args, remarks=reference.remarks)
    before, after = around
    signs = [read_signatures((folder / f"{side}.gray").read_bytes()) for side in ("reference", "distorted")]
    reference_signs, distorted_signs = (side[before : len(side) - after] for side in signs)
    n_reference, n_distorted, expected = len(reference_signs), len(distorted_signs), reference.n_frames
    slip = find_slip(reference_signs, distorted_signs)
    if n_reference != n_distorted:
        where = f": {slip}" if slip else "; the frames that are there are in sync"
        problem = f"{n_distorted} distorted frames against {n_reference} of the reference{where}"
    elif slip:
        problem = f"the pair is out of sync: {slip}"
    elif n_reference != expected:
        problem = f"{n_reference} frames on both sides, where the source has {expected}"
    else:
        return
    raise MediaError(
        f"{what}: {problem}", next_step="give both sides the same frames: encode with `-fps_mode passthrough`"
    )


def display_order(packets: str) -> list[int]:
    """Sizes of packets by time stamp, from lines of `pts size`."""
    pairs = [tuple(map(int, line.split())) for line in packets.splitlines()]
    return [size for _, size in sorted(pairs, key=lambda pair: pair[0])]


def run_scored(
    argv: list[str], folder: Path, on_frames: OnFrames | None, children: process.Children | None
) -> process.Completed:
    """Run a command that scores in a folder, and report the frames done."""

    def on_line(line: str) -> None:
        if on_frames and line.startswith("frame="):
            on_frames(int(line[6:]))

    return process.run(argv, cwd=folder, on_line=on_line, children=children)


def scored_from(
    log: dict[str, Any],
    sizes: list[int] | None,
    reference: ReferenceInput,
    elapsed_s: float,
    what: str,
    models: Sequence[str] = (VMAF_MODEL,),
    every: int = 1,
) -> Scored:
    """The scores in a libvmaf log, with the sizes of the packets if they are known."""
    frames = log["frames"]
    expected = reference.n_frames
    if [frame["frameNum"] for frame in frames] != list(range(0, expected, every)):
        raise ToolError(f"{what}: libvmaf compared {len(frames)} of {expected} frames", next_step="try again")
    if sizes is not None and len(sizes) != expected:
        raise ToolError(f"{what}: {len(sizes)} packets for {expected} frames", next_step="report this encoder")
    metrics = [frame["metrics"] for frame in frames]
    rows = _columns(metrics, ["vmaf", *(f"integer_{name}" for name in CANONICAL6)])
    more = _more(metrics, models)
    if not np.isfinite(rows[:, 0]).all() or not all(np.isfinite(column).all() for column in more.values()):
        raise ToolError(f"{what}: libvmaf gave a value that is not finite", next_step="check the source")
    total = sum(sizes) if sizes is not None else 0
    seconds = float(expected / reference.frame_rate)
    return Scored(
        vmaf=rows[:, 0],
        features=rows[:, 1:],
        n_frames=expected,
        bytes=total,
        kbps=total * 8 / seconds / 1000,
        encode_s=elapsed_s,
        libvmaf_version=str(log["version"]),
        frame_bytes=None if sizes is None else np.array(sizes, dtype=np.int64),
        every=every,
        more=more or None,
    )


def _columns(metrics: Sequence[dict[str, float]], names: Sequence[str]) -> NDArray[np.float32]:
    """Columns of a log, [F, len(names)]; NaN where the models asked for do not make one."""
    return np.array([[m.get(name, np.nan) for name in names] for m in metrics], dtype=np.float32)


def _more(metrics: Sequence[dict[str, float]], models: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Scores of further models, and what VMAF v1 reads, each [F].

    libvmaf adds a model's parameters to its features' names. A phone's model has more of them than the others, so
    the shortest name is that of the model for three heights, where both are asked for.
    """
    wanted = {model: model for model in models[1:]}
    if any("_v1." in model for model in models):
        for ours, name in V1_FEATURES.items():
            found = [key for key in metrics[0] if re.match(rf"{name}_[a-z]", key)]
            if found:
                wanted[ours] = min(found, key=len)
    return {ours: _columns(metrics, [name])[:, 0] for ours, name in wanted.items()}


_FRAME_TYPES = {"I": 1, "P": 2, "B": 3}


def _with_packets(scored: Scored, folder: Path) -> Scored:
    """The measurement with bytes, type and quantiser of each frame's packet; 0 where the encoder states none.

    Threads of several outputs write the log of frames together, so its lines may be mixed up. Ours are in order,
    and the raw outputs state no type and a quantiser of -0.0 (ffmpeg n9.0.2).
    """
    if scored.frame_bytes is None or scored.every > 1:
        return scored
    times = [int(line.split()[0]) for line in (folder / "packets.txt").read_text().splitlines()]
    said = (folder / "frames.txt").read_text()
    types = [_FRAME_TYPES.get(kind, 0) for kind in re.findall(r"type= (.)", said) if kind != "?"]
    quantisers = [float(q) for q in re.findall(r" q= *(\S+)", said) if q != "-0.0"]
    order = np.argsort(times, kind="stable")

    def shown(values: list[float] | list[int]) -> NDArray[np.float32]:
        stated = len(values) == scored.n_frames and np.isfinite(values).all()
        found = np.array(values if stated else np.zeros(scored.n_frames), dtype=np.float32)[order]
        return np.maximum(found, 0)  # libx264 states -1 for some packets

    packets = {
        "frame_bytes": scored.frame_bytes.astype(np.float32),
        "frame_type": shown(types),
        "frame_q": shown(quantisers),
    }
    return replace(scored, more=(scored.more or {}) | packets)
