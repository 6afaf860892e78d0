"""Build a corpus: skip the cells that are there and verify, measure the others, pack and index them all.

Each cell is written completely under its content key. So a rerun skips those that verify, and a kill at any moment
loses only the cells in flight. Threads here or workers of a farm may measure them.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.corpus.looks import read_looks
from vmaf_assay.corpus.measure import Failed, Site, measure
from vmaf_assay.corpus.plan import Cell
from vmaf_assay.corpus.storage import Store, building
from vmaf_assay.corpus.store import (
    Where,
    as_store,
    cell_name,
    finish,
    packed_columns,
    parse_cell,
    read_cell,
    spread,
    write_cell,
)
from vmaf_assay.errors import CorpusError, IntegrityError, MediaError, SourcesRefusedError, ToolError
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.records import CellRecord

MAX_FAILED = 20
"""Failed cells, not by their source's fault, after which a build stops: the machine must be at fault."""
_READERS = 4

CellOutcome = CellRecord | Failed | str
"""What a measurer yields: a finished cell, a failed cell, or a message for the user."""
CellOutcomes = Generator[CellOutcome, None, None]
CellMeasurer = Callable[[list[Cell], Store, Path], CellOutcomes]
"""Measures cells into a store, with a scratch folder; yields in the order they end."""


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Progress of a build after a cell, or a message about it."""

    n_done: int
    """Cells finished, including those found finished."""
    n_total: int
    """Cells planned."""
    n_reused: int
    """Cells found finished and verified."""
    remaining_s: float
    """Wall seconds left, from the pace so far; infinity before the first new cell."""
    last: str
    """The cell just finished, in words."""
    per_minute: float = 0.0
    """New cells a minute so far."""
    note: str = ""
    """A message for the user; mostly empty."""


class _Tally:
    """Counts the cells of a build and makes its progress records."""

    def __init__(self, n_total: int, n_reused: int) -> None:
        self._n_total, self._n_reused, self._n_new = n_total, n_reused, 0
        self._started = time.monotonic()

    def at(self, last: str = "", note: str = "") -> BuildProgress:
        elapsed_s = time.monotonic() - self._started
        left = self._n_total - self._n_reused - self._n_new
        remaining_s = elapsed_s / self._n_new * left if self._n_new else float("inf") if left else 0.0
        per_minute = self._n_new / elapsed_s * 60 if elapsed_s and self._n_new else 0.0
        n_done = self._n_reused + self._n_new
        return BuildProgress(n_done, self._n_total, self._n_reused, remaining_s, last, per_minute, note)

    def add(self, record: CellRecord) -> BuildProgress:
        self._n_new += 1
        return self.at(f"{record.source} {record.encoder} {record.rate_mode} {record.rate_value:g}")


def build_corpus(
    ffmpeg: Ffmpeg,
    cells: list[Cell],
    where: Where,
    versions: dict[str, str],
    *,
    jobs: int,
    measurer: CellMeasurer | None = None,
    scratch: Path | None = None,
) -> Iterator[BuildProgress]:
    """Measure every cell that is not there yet, then write the index; yields after each cell.

    Args:
      ffmpeg: runs the cells.
      cells: from `plan_cells`.
      where: the corpus, a folder or URL; made if absent.
      versions: tool versions, recorded in the index.
      jobs: cells in flight; each uses one thread an encoder and one for libvmaf.
      measurer: measures the cells; by default `jobs` threads of this process.
      scratch: a scratch folder, from a caller that holds the corpus with `building` already.

    Raises:
      ConfigError: another build is using the folder.
      ToolError: cells failed, or the disk did; finished cells stay.
      SourcesRefusedError: sources cannot be used; the corpus is finished and indexed without any cell of theirs.
      MediaError: no source can be used.
    """
    store = as_store(where)
    hold = building(store) if scratch is None else contextlib.nullcontext(scratch)
    with hold as place:
        done, changed = find_finished(store, cells)
        tally = _Tally(len(cells), len(done))
        yield tally.at()
        for note in changed:
            yield tally.at(note=note)
        failed: list[Failed] = []
        todo = [cell for cell in cells if cell.key not in done]
        # A finished corpus is indexed without starting the measurer, such as a farm.
        outcomes = (measurer or _threads(ffmpeg, jobs))(todo, store, place) if todo else _nothing()
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                if isinstance(outcome, CellRecord):
                    yield tally.add(outcome)
                elif isinstance(outcome, Failed):
                    yield tally.at(note=_add_failed(failed, outcome))
                else:
                    yield tally.at(note=outcome)
        refused = _refused(failed, cells)
        write_finished(store, [cell for cell in cells if _source(cell) not in refused], versions)
        if refused:
            raise SourcesRefusedError(refused, len({_source(cell) for cell in cells}))


def _source(cell: Cell) -> str:
    return cell.rendition.source.name


def _add_failed(failed: list[Failed], new: Failed) -> str:
    """Note a failed cell; raises its error if the other cells would fail too."""
    known = {_source(one.cell) for one in failed if isinstance(one.error, MediaError)}
    failed.append(new)
    n_odd = sum(not isinstance(one.error, MediaError) for one in failed)
    if new.fatal or n_odd >= MAX_FAILED:
        raise new.error
    if isinstance(new.error, MediaError):  # the source fails in each of its cells: reported once
        return "" if _source(new.cell) in known else f"refused: {_source(new.cell)}: {new.error}"
    return f"one cell failed and is left out until the next run: {new.error}"


def _refused(failed: list[Failed], cells: list[Cell]) -> dict[str, str]:
    """Unusable sources by name, with the reason; raises if anything else failed, or no source is left.

    A source is in a corpus with all its cells or with none, whatever the order of failures.
    """
    if not failed:
        return {}
    by_source = {_source(one.cell): str(one.error) for one in reversed(failed)}
    only_media = all(isinstance(one.error, MediaError) for one in failed)
    if only_media and {_source(cell) for cell in cells} - set(by_source):
        return dict(sorted(by_source.items()))
    first = next((one.error for one in failed if not isinstance(one.error, MediaError)), failed[0].error)
    count = f"{len(failed)} cells failed, the first: " if len(failed) > 1 else ""
    # A source that does not decode fails in each of its cells, and is still the source's fault.
    kind = MediaError if only_media else ToolError
    problem = kind(f"{count}{first.what}", next_step=first.next_step or "run the same command again")
    raise (first if len(failed) == 1 else problem) from first


def find_finished(store: Store, cells: list[Cell]) -> tuple[set[str], list[str]]:
    """Keys of the cells that are there and verify, and messages about everything else there.

    A damaged cell is deleted, to be measured again. A cell under another source name or group (the manifest was
    edited) is rewritten under the present one: its rows are the same.
    """
    there = {name.removesuffix(".parquet") for name in store.names("cells") if name.endswith(".parquet")}
    done: set[str] = set()
    with ThreadPoolExecutor(_READERS) as pool:
        wanted = [cell for cell in cells if cell.key in there]
        for cell, verified in zip(wanted, pool.map(lambda cell: _verified(store, cell), wanted), strict=True):
            if verified:
                done.add(cell.key)
    return done, _left_out(store, cells, there - {cell.key for cell in cells})


def _verified(store: Store, cell: Cell) -> bool:
    try:
        record, rows = read_cell(store, cell.key)
    except IntegrityError:
        store.delete(cell_name(cell.key))
        return False
    source = cell.rendition.source
    now = replace(
        record, source=cell.rendition.name, group=source.group, source_sha256=cell.rendition.source_sha256
    )
    if now != record:
        write_cell(store, now, rows)
    return True


def _left_out(store: Store, cells: list[Cell], others: set[str]) -> list[str]:
    """One line for each source whose file has changed since its cells were measured, and one for other cells."""
    if not others:
        return []
    now = {cell.rendition.name: cell.rendition.source_sha256 for cell in cells}
    changed: dict[str, tuple[str, int]] = {}
    n_others = 0
    for key in sorted(others):
        data = store.read(cell_name(key))
        try:
            record = parse_cell(data or b"", key)[0]
        except IntegrityError:
            continue  # not a cell of this plan; nothing reads it
        if record.source_sha256 and now.get(record.source, record.source_sha256) != record.source_sha256:
            changed[record.source] = (record.source_sha256, changed.get(record.source, ("", 0))[1] + 1)
        else:
            n_others += 1
    words = [
        f"source {name} has changed (SHA-256 {old[:12]}, now {now[name][:12]}): {n} finished cells of "
        "the old file are left out and measured again"
        for name, (old, n) in changed.items()
    ]
    if n_others:
        words.append(f"{n_others} finished cells there are not part of this build and not in its index")
    return words


def write_finished(store: Store, cells: list[Cell], versions: dict[str, str]) -> str:
    """Read every cell back, pack them, write the index, and return the digest.

    Raises:
      CorpusError: a cell was removed or damaged after it was written.
    """

    def read(cell: Cell) -> tuple[CellRecord, NDArray[np.float32]]:
        try:
            return read_cell(store, cell.key)
        except IntegrityError as error:
            raise CorpusError(
                f"{error.what}, though it was written a moment ago", next_step="run the same build again"
            ) from error

    with ThreadPoolExecutor(_READERS) as pool:
        read_back = list(pool.map(read, sorted(cells, key=lambda cell: cell.key)))
    records = [record for record, _ in read_back]
    columns = packed_columns(records)
    values = np.concatenate([spread(record, rows, columns) for record, rows in read_back])
    del read_back  # otherwise the rows would be stored twice
    first = {r.name: r for cell in cells if (r := cell.rendition).name == r.source.name}
    looks = {name: kept for name, one in first.items() if (kept := read_looks(store, one)) is not None}
    return finish(store, records, values, versions, looks)


def _nothing() -> CellOutcomes:
    yield from ()


def _threads(ffmpeg: Ffmpeg, jobs: int) -> CellMeasurer:
    def measure_all(cells: list[Cell], store: Store, scratch: Path) -> CellOutcomes:
        with contextlib.closing(Site(ffmpeg, store, scratch, keep=2)) as site:
            pool = ThreadPoolExecutor(max_workers=jobs)
            queue = iter(cells)
            running: set[Future[CellRecord | Failed]] = set()
            try:
                # A short queue instead of submitting everything keeps memory flat and uses renditions in turn.
                for cell in queue:
                    running.add(pool.submit(measure, site, cell))
                    if len(running) >= jobs * 2:
                        ready, running = wait(running, return_when=FIRST_COMPLETED)
                        yield from (future.result() for future in ready)
                while running:
                    ready, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ready)
            finally:
                site.children.kill()
                pool.shutdown(wait=True, cancel_futures=True)

    return measure_all
