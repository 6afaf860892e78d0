"""One corpus of several: shards of other machines, other sizes, other encoders.

A source is known by its name and its file's digest. A rendition is known by its source, size, frames and frame
rate. Encodes of one rendition, encoder, preset, rate value, options and depth are one cell. It counts once if
both corpora measured the same, and is a conflict otherwise. Nothing is chosen silently.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.corpus.store import Corpus, columns_of, corpus_digest, packed_columns, spread, table_of
from vmaf_assay.errors import CorpusError
from vmaf_assay.media.sync import Signatures
from vmaf_assay.records import CellRecord

_SIZE = re.compile(r"@\d+x\d+(-\d+f)?$")
_Rendition = tuple[str, int, int, int, str]
"""Base name, width, height, frames, frame rate."""
_Identity = tuple[object, ...]
_Rows = NDArray[np.float32]

LARGEST_DIFFERENCE = 3.0
"""Grey levels by which looks of one source differ at most, on average over frames that both corpora have.

Looks of 95 sources made at 640x360 and at 1280x720 differ by 0.0 to 2.0. Two parts of one clip, two seconds apart,
differ by 3.2 and more, and by 1.3 where a newsreader sits still (2026-12-01)."""


@dataclass(frozen=True, slots=True)
class MergedCorpus:
    """Several corpora as one."""

    corpus: Corpus
    """Every cell once. A rendition whose name another one has is named `SOURCE@WxH`, or `SOURCE@WxH-48f`."""
    n_duplicates: int
    """Cells that several of them hold, measured alike."""
    left_out: tuple[str, ...]
    """Curves that were left out because an earlier corpus measured them otherwise, in words."""


@dataclass(slots=True)
class _Merged:
    """What was taken so far."""

    first_wins: bool
    cells: dict[_Identity, tuple[CellRecord, _Rows, str]] = field(default_factory=dict)
    """Record, rows [F, 7 + more], and the corpus that it came from."""
    names: dict[_Rendition, str] = field(default_factory=dict)
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Digest of the file of each source, and the corpus that said so."""
    looks: dict[str, Signatures] = field(default_factory=dict)
    """The longest looks of each source, [F, 576]."""
    n_duplicates: int = 0
    left_out: list[str] = field(default_factory=list)


def merge(corpora: Sequence[tuple[str, Corpus]], *, first_wins: bool = False) -> MergedCorpus:
    """Merge corpora; names of the first ones stay.

    Args:
      corpora: where each is, for messages, and its content.
      first_wins: where two corpora measured a cell otherwise, the later one's whole curve is left out: all its
        encodes of that rendition, encoder, preset, options and depth. Otherwise such a cell is refused.

    Raises:
      CorpusError: two sources of one name are other files or other parts of one, or two measurements of one cell
        differ.
    """
    merged = _Merged(first_wins)
    for where, corpus in corpora:
        _take_looks(merged, where, corpus)
        _take_cells(merged, where, corpus)
    ordered = sorted(merged.cells.values(), key=lambda taken: taken[0].key)
    cells = tuple(cell for cell, _, _ in ordered)
    columns = packed_columns(cells)
    values = np.concatenate([spread(cell, rows, columns) for cell, rows, _ in ordered])
    corpus = Corpus(corpus_digest(cells), cells, table_of(cells, values), merged.looks)
    return MergedCorpus(corpus, merged.n_duplicates, tuple(merged.left_out))


def base_name(source: str) -> str:
    """The source that a rendition is of.

    >>> base_name("bee@640x360"), base_name("bee@640x360-48f"), base_name("me@home")
    ('bee', 'bee', 'me@home')
    """
    return _SIZE.sub("", source)


def _take_looks(merged: _Merged, where: str, corpus: Corpus) -> None:
    for source, looks in corpus.looks.items():
        known = merged.looks.get(source)
        if known is not None:
            n = min(len(known), len(looks))
            differ = float(np.abs(known[:n].astype(np.int16) - looks[:n]).mean())
            if differ > LARGEST_DIFFERENCE:
                raise CorpusError(
                    f"{source} of {where} shows other pictures than the source of that name before it",
                    next_step="give one of them another name in its manifest, and build it again",
                )
        if known is None or len(known) < len(looks):
            merged.looks[source] = looks


def _take_cells(merged: _Merged, where: str, corpus: Corpus) -> None:
    renamed = {cell.key: _renamed(merged, cell, where) for cell in corpus.cells}
    rows, conflicts = _rows_of(corpus), dict[_Identity, str]()
    for key, cell in renamed.items():
        if (known := merged.cells.get(_identity(cell))) is None:
            continue
        if difference := _difference(known[0], known[1], cell, rows[key]):
            encode = f"{cell.source} {cell.encoder} {cell.preset} {cell.rate_value:g}"
            words = f"{encode}: {known[2]} and {where} {difference}"
            if not merged.first_wins:
                raise CorpusError(
                    words, next_step="measure both with the same tools, or add --first-wins to leave out the later"
                )
            conflicts.setdefault(_curve(cell), words)
    merged.left_out += conflicts.values()
    for key, cell in renamed.items():
        if _curve(cell) in conflicts:
            continue
        known = merged.cells.get(_identity(cell))
        merged.n_duplicates += known is not None
        if known is None or len(cell.more) > len(known[0].more):
            merged.cells[_identity(cell)] = (cell, rows[key], where)


def _renamed(merged: _Merged, cell: CellRecord, where: str) -> CellRecord:
    """The cell under the name of its rendition in the merged corpus."""
    base = base_name(cell.source)
    file, place = merged.files.setdefault(base, (cell.source_sha256, where))
    if file and cell.source_sha256 and file != cell.source_sha256:
        raise CorpusError(
            f"{base} is one file in {place} and another in {where}",
            next_step="give one of them another name in its manifest, and build it again",
        )
    if not file:
        merged.files[base] = (cell.source_sha256, where)
    rendition = (base, cell.width, cell.height, cell.n_frames, cell.frame_rate)
    if rendition not in merged.names:
        taken = set(merged.names.values())
        sized = f"{base}@{cell.width}x{cell.height}"
        free = [n for n in (cell.source, sized, f"{sized}-{cell.n_frames}f") if n not in taken]
        if not free:
            raise CorpusError(
                f"{base} has two frame rates at {cell.width}x{cell.height}, the second in {where}",
                next_step="build that corpus again from the same file",
            )
        merged.names[rendition] = free[0]
    return replace(cell, source=merged.names[rendition])


def _rows_of(corpus: Corpus) -> dict[str, _Rows]:
    """The rows of each cell in its own columns, [F, 7 + more]."""
    columns = packed_columns(corpus.cells)
    values = corpus.frames.select(columns).to_numpy(order="c")
    place = {name: i for i, name in enumerate(columns)}
    found, end = {}, 0
    for cell in corpus.cells:
        begin, end = end, end + cell.n_frames
        found[cell.key] = values[begin:end, [place[name] for name in columns_of(cell)]]
    return found


def _curve(cell: CellRecord) -> _Identity:
    return (cell.source, cell.encoder, cell.preset, cell.rate_mode, cell.encoder_args, cell.measurand)


def _identity(cell: CellRecord) -> _Identity:
    return (*_curve(cell), cell.rate_value)


def _difference(one: CellRecord, one_rows: _Rows, other: CellRecord, other_rows: _Rows) -> str:
    """How two measurements of one cell differ; '' if they are the same in all columns of both."""
    if one.bytes != other.bytes:
        return f"measured {one.bytes} and {other.bytes} bytes"
    columns = [name for name in columns_of(one) if name in columns_of(other)]
    a = one_rows[:, [columns_of(one).index(name) for name in columns]]
    b = other_rows[:, [columns_of(other).index(name) for name in columns]]
    if np.array_equal(a, b):
        return ""
    worst = float(np.abs(a[:, 0].astype(np.float64) - b[:, 0]).max())
    return f"measured scores that differ, by {worst:.4g} points at most"
