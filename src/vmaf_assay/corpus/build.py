"""Build a corpus: decode each rendition once, encode and score each cell in one process, keep what is done.

Resume lives in the cells: each is written whole under its content key, so a rerun skips those that verify and a
kill at any moment costs at most the cells in flight.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vmaf_assay.corpus.plan import Cell, Rendition
from vmaf_assay.corpus.store import cell_path, content_sha256, read_cell, scored_values, write_cell, write_index
from vmaf_assay.errors import ConfigError, IntegrityError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.score import ReferenceInput, encode_and_score
from vmaf_assay.records import CellRecord


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Where a build stands after a cell."""

    n_done: int
    """Cells finished, those found finished included."""
    n_total: int
    """Cells planned."""
    n_reused: int
    """Cells found finished and verified."""
    remaining_s: float
    """Wall seconds left, from the pace so far; infinity before the first new cell."""
    last: str
    """The cell just finished, in words."""


class _Decoded:
    """Renditions decoded to Y4M files, made when first needed and deleted with their last cell."""

    def __init__(self, ffmpeg: Ffmpeg, folder: Path, cells: list[Cell], children: process.Children) -> None:
        self._ffmpeg, self._folder, self._children = ffmpeg, folder, children
        self._left: dict[str, int] = {}
        for cell in cells:
            self._left[cell.rendition.name] = self._left.get(cell.rendition.name, 0) + 1
        self._locks = {name: threading.Lock() for name in self._left}
        self._made: dict[str, ReferenceInput] = {}

    def get(self, rendition: Rendition) -> ReferenceInput:
        with self._locks[rendition.name]:
            if rendition.name not in self._made:
                number = list(self._left).index(rendition.name)
                path = self._folder / f"rendition-{number}.y4m"
                self._made[rendition.name] = decode(self._ffmpeg, rendition, path, self._children)
            return self._made[rendition.name]

    def release(self, rendition: Rendition) -> None:
        with self._locks[rendition.name]:
            self._left[rendition.name] -= 1
            if self._left[rendition.name] == 0 and rendition.name in self._made:
                self._made.pop(rendition.name).path.unlink(missing_ok=True)


def decode(
    ffmpeg: Ffmpeg, rendition: Rendition, path: Path, children: process.Children | None = None
) -> ReferenceInput:
    """Decode a rendition to an 8-bit 4:2:0 Y4M file at its constant frame rate, and count the frames.

    Raises:
      MediaError: a frame does not decode, or there is none.
    """
    args = [str(rendition.source.path.resolve()) if a == "SOURCE" else a for a in rendition.decode_args()]
    done = process.run([*ffmpeg.base_argv(), *args, "-f", "yuv4mpegpipe", str(path)], children=children)
    if done.exit_code != 0:
        raise failure(f"decoding {rendition.source.path.name}", done, next_step="check the source")
    with path.open("rb") as handle:
        header = handle.readline()
    frame_bytes = rendition.size[0] * rendition.size[1] * 3 // 2 + len(b"FRAME\n")
    n_frames, rest = divmod(path.stat().st_size - len(header), frame_bytes)
    if n_frames < 1 or rest:
        raise MediaError(f"{rendition.source.path} gives no whole frame", next_step="check the source")
    return ReferenceInput(path, rendition.frame_rate, n_frames, rendition.size)


def build_corpus(
    ffmpeg: Ffmpeg, cells: list[Cell], folder: Path, versions: dict[str, str], *, jobs: int
) -> Iterator[BuildProgress]:
    """Measure every cell that is not there yet, then write the index; yields after each cell.

    Args:
      ffmpeg: runs the cells.
      cells: from `plan_cells`.
      folder: the corpus; made if absent.
      versions: tool versions, recorded in the index.
      jobs: cells in flight; each uses one thread an encoder and one for libvmaf.

    Raises:
      ConfigError: another build is using the folder.
      ToolError: a cell's ffmpeg failed, or the disk did; finished cells stay.
    """
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"another build is using {folder}", next_step="wait for it or choose -o") from error
    with lock:
        done = {cell.key: record for cell in cells if (record := finished(folder, cell.key))}
        n_reused = len(done)
        todo = [cell for cell in cells if cell.key not in done]
        yield BuildProgress(n_reused, len(cells), n_reused, float("inf") if todo else 0.0, "")
        started = time.monotonic()
        for record in _measure_all(ffmpeg, todo, folder, jobs):
            done[record.key] = record
            n_new = len(done) - n_reused
            remaining_s = (time.monotonic() - started) / n_new * (len(todo) - n_new)
            last = f"{record.source} {record.encoder} {record.rate_mode} {record.rate_value:g}"
            yield BuildProgress(len(done), len(cells), n_reused, remaining_s, last)
        write_index(folder, done.values(), versions)


def finished(folder: Path, key: str) -> CellRecord | None:
    """The record of a cell that is there and verifies; a damaged one is deleted, to be measured again."""
    if not cell_path(folder, key).exists():
        return None
    try:
        return read_cell(folder, key)[0]
    except IntegrityError:
        cell_path(folder, key).unlink(missing_ok=True)
        return None


def _measure_all(ffmpeg: Ffmpeg, cells: list[Cell], folder: Path, jobs: int) -> Iterator[CellRecord]:
    children = process.Children()
    # In the corpus, not in the system's temporary folder: what a killed build left is found and removed here.
    scratch = folder / ".decoded"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    decoded = _Decoded(ffmpeg, scratch, cells, children)
    pool = ThreadPoolExecutor(max_workers=jobs)
    queue = iter(cells)
    running: set[Future[CellRecord]] = set()
    try:
        # A short queue instead of submitting everything: decoded renditions are deleted as they finish.
        for cell in queue:
            running.add(pool.submit(measure, ffmpeg, cell, folder, decoded, children))
            if len(running) >= jobs * 2:
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ready)
    finally:
        children.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(scratch, ignore_errors=True)


def measure(ffmpeg: Ffmpeg, cell: Cell, folder: Path, decoded: _Decoded, children: process.Children) -> CellRecord:
    """Encode, score and store one cell."""
    rendition = cell.rendition
    reference = decoded.get(rendition)
    scored = encode_and_score(
        ffmpeg, reference, cell.encoder, cell.preset, cell.rate_value, threads="single", children=children
    )
    values = scored_values(scored)
    record = CellRecord(
        key=cell.key,
        source=rendition.name,
        group=rendition.source.group,
        encoder=cell.encoder.name,
        preset=cell.preset,
        rate_mode=cell.encoder.rate_mode,
        rate_value=cell.rate_value,
        width=rendition.size[0],
        height=rendition.size[1],
        frame_rate=f"{rendition.frame_rate.numerator}/{rendition.frame_rate.denominator}",
        n_frames=scored.n_frames,
        bytes=scored.bytes,
        kbps=round(scored.kbps, 3),
        encode_s=round(scored.encode_s, 3),
        versions=cell.versions,
        content_sha256=content_sha256(values),
    )
    write_cell(folder, record, values)
    decoded.release(rendition)
    return record
