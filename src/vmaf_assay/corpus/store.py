"""A corpus in a folder or an object store: an index, one small Parquet file a cell, and all rows in one.

    corpus.json            index: every cell's record, tool versions, digest, name of the packed rows
    cells/<key>.parquet    rows of one cell; its record in the file's metadata
    rows-<digest>.parquet  all rows (`rows.parquet` in a packed corpus)
    cells-<digest>.parquet records, if too many for the index
    looks/<key>.parquet    tiny grey copies of a source's frames (`looks.py`)
    looks-<digest>.parquet all of them (`looks.parquet` in a packed corpus)

Rows and looks are read back packed. The digest depends on content alone: not on order, machine, clock, or how the
rows are packed.
"""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from operator import attrgetter, itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.corpus.looks import read_packed_looks, write_packed_looks
from vmaf_assay.corpus.storage import Store, open_store
from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.media.files import MAX_JSON_BYTES, canonical_json, parse_json_strict, sha256_bytes
from vmaf_assay.media.parquet import Limits, parquet_metadata, parse_parquet
from vmaf_assay.media.sync import Signatures
from vmaf_assay.records import FRAME_VMAF, MORE_VALUES, VALUES, CellRecord, Measurand, OnStep

Where = Path | str | Store
"""A folder, a URL, or an open store."""

SCHEMA_VERSION = 1
MAX_INLINE_CELLS = 5_000
"""Cells listed in `corpus.json` itself, at 0.8 kB each; more go to a table beside it, at 0.14 kB each."""
_CELL_SCHEMA = dict.fromkeys(VALUES, pl.Float32)
_PACKED_SCHEMA = {"cell": pl.String, "frame_index": pl.Int32, **_CELL_SCHEMA}
_LIMITS = Limits(unpacked_bytes=1 << 36)
"""Enough for a packed corpus of a hundred million frames or more."""
_UNDIGESTED = frozenset({"encode_s", "source_sha256"})
# Wall seconds are not content; the source's digest is in the key already.
_IDENTITY = ("cell", "source", "group", "encoder", "preset", "rate_mode", "rate_value")


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus whose every cell has been checked against its digest."""

    digest: str
    """SHA-256 over all cells' content."""
    cells: tuple[CellRecord, ...]
    """Sorted by key."""
    frames: pl.DataFrame
    """One row a frame: cell, source, group, encoder, preset, rate_mode, rate_value, frame_index, vmaf,
    canonical-6, and those of `MORE_VALUES` that any cell has, NaN in the others. Sorted by cell, then frame."""
    looks: Mapping[str, Signatures] = field(default_factory=dict)
    """Tiny grey copies of each source's frames, [F, 576]; no part of the digest. Older corpora have none."""


def content_sha256(values: NDArray[np.float32]) -> str:
    """Digest of per-frame rows, [F, 7 + more] float32: `VALUES`, then what else the cell names."""
    return sha256_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())


def corpus_digest(cells: Iterable[CellRecord]) -> str:
    """SHA-256 over keys and measured values, in key order, without wall seconds."""
    names = [field.name for field in fields(CellRecord) if field.name not in _UNDIGESTED]
    values_of = attrgetter(*names)
    entries = [dict(zip(names, values_of(cell), strict=True)) for cell in cells]
    for entry in entries:
        # Corpora that were measured before these fields existed keep their digest.
        if not entry["encoder_args"]:
            del entry["encoder_args"]
        if entry["measurand"] == _FIRST_MEASURAND:
            del entry["measurand"]
        if not entry["more"]:
            del entry["more"]
    return sha256_bytes(canonical_json(sorted(entries, key=lambda entry: str(entry["key"]))))


def cell_name(key: str) -> str:
    """Name of a cell's object in its corpus."""
    return f"cells/{key}.parquet"


def as_store(where: Where) -> Store:
    """The store at `where`, opened if necessary."""
    return open_store(where) if isinstance(where, Path | str) else where


def columns_of(record: CellRecord) -> tuple[str, ...]:
    """Names of a cell's per-frame columns, in the order they are hashed."""
    return (*VALUES, *record.more)


def as_json(record: CellRecord) -> dict[str, Any]:
    """A cell's record as files hold it; fields that older corpora lack are left out where they say nothing."""
    entry = asdict(record)
    if record.more:
        entry["more"] = list(record.more)
    else:
        del entry["more"]
    return entry


def write_cell(where: Where, record: CellRecord, values: NDArray[np.float32]) -> None:
    """Write one cell atomically: rows [F, 7 + more] in the file, its record in the file's metadata."""
    frame = pl.DataFrame({name: values[:, column] for column, name in enumerate(columns_of(record))})
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", metadata={"cell": json.dumps(as_json(record))})
    as_store(where).write(cell_name(record.key), buffer.getvalue())


def read_cell(where: Where, key: str) -> tuple[CellRecord, NDArray[np.float32]]:
    """One cell's record and rows [F, 7 + more], checked against its own digest.

    Raises:
      IntegrityError: absent, damaged, cut short, not a cell, or another cell's.
      ToolError: the store could not be asked.
    """
    store = as_store(where)
    data = store.read(cell_name(key))
    if data is None:
        raise IntegrityError(f"cell {key} is not in {store.where}", next_step="run `assay corpus build` again")
    return parse_cell(data, key)


def parse_cell(data: bytes, key: str) -> tuple[CellRecord, NDArray[np.float32]]:
    """A cell's record and rows [F, 7 + more] from its bytes; raises IntegrityError as `read_cell` does."""
    where = f"cell {key}"
    try:
        frame = parse_parquet(data, where=where, limits=_LIMITS)
        entry = parquet_metadata(data, where=where).get("cell", "")
        record = cell_record(parse_json_strict(entry.encode(), where=where), where)
        if frame.schema != dict.fromkeys(columns_of(record), pl.Float32):
            raise IntegrityError(f"{where} has other columns than its record says", next_step="build it again")
        values = frame.to_numpy()
    except IntegrityError as error:
        raise IntegrityError(error.what, next_step="run `assay corpus build` again") from error
    if record.key != key or record.n_frames != len(values) or content_sha256(values) != record.content_sha256:
        raise IntegrityError(f"cell {key} is damaged", next_step="run `assay corpus build` again")
    return record, values


def write_index(
    where: Where,
    cells: Iterable[CellRecord],
    versions: dict[str, str],
    tables: Mapping[str, tuple[str, bytes]] = MappingProxyType({}),
) -> str:
    """Write `corpus.json` over finished cells and return the digest.

    `tables` holds name and bytes of the objects with the packed `rows` and `looks`, as far as there are any.
    """
    ordered = sorted(cells, key=lambda cell: cell.key)
    digest = corpus_digest(ordered)
    index: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "digest": digest, "versions": versions}
    for kind, (name, data) in tables.items():
        index |= {kind: name, f"{kind}_sha256": sha256_bytes(data)}
    store = as_store(where)
    if len(ordered) <= MAX_INLINE_CELLS:
        index |= {"cells": [as_json(cell) for cell in ordered]}
    else:
        name, data = f"cells-{digest[:16]}.parquet", _records_bytes(ordered)
        store.write(name, data)
        index |= {"cells": name, "cells_sha256": sha256_bytes(data)}
    text = json.dumps(index, ensure_ascii=False, allow_nan=False)
    store.write("corpus.json", text.encode() + b"\n")
    return digest


def _records_bytes(cells: Sequence[CellRecord]) -> bytes:
    first = all(cell.measurand == _FIRST_MEASURAND and not cell.more for cell in cells)
    schema = _FIRST_RECORD_SCHEMA if first else _RECORD_SCHEMA
    columns = {name: [getattr(cell, name) for cell in cells] for name in schema}
    columns["versions"] = [json.dumps(versions) for versions in columns["versions"]]
    if "more" in columns:
        columns["more"] = [" ".join(names) for names in columns["more"]]
    buffer = io.BytesIO()
    pl.DataFrame(columns, schema=schema).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _listed(store: Store, index: dict[str, Any]) -> Iterable[Any]:
    """The index's cells as JSON objects, from the index or the table beside it."""
    if isinstance(index["cells"], list):
        return index["cells"]
    path, data = store.path(index["cells"]), store.read(index["cells"])
    if data is None or sha256_bytes(data) != index.get("cells_sha256"):
        raise IntegrityError(f"{path} is {'missing' if data is None else 'damaged'}", next_step="build it again")
    try:
        table = parse_parquet(data, where=path, columns=_FIRST_RECORD_SCHEMA, limits=_LIMITS)
    except IntegrityError:
        table = parse_parquet(data, where=path, columns=_RECORD_SCHEMA, limits=_LIMITS)
    versions = {text: parse_json_strict(text.encode(), where=path) for text in table["versions"].unique()}
    rows = (row | {"versions": versions[row["versions"]]} for row in table.iter_rows(named=True))
    return (row | {"more": row["more"].split()} if "more" in row else row for row in rows)


def finish(
    where: Where,
    cells: Sequence[CellRecord],
    values: NDArray[np.float32],
    versions: dict[str, str],
    looks: Mapping[str, Signatures] | None = None,
) -> str:
    """Pack the rows of all cells into one object, point the index at it, and return the digest.

    `cells` are in key order, `values` [N, 7 + more] holds their rows in that order, by `packed_columns`. `looks`
    are by source. The objects are named by the digest, and the index is written last, so that a kill before
    that leaves the old corpus.
    """
    store = as_store(where)
    name = f"rows-{corpus_digest(cells)[:16]}.parquet"
    data = _packed_bytes(_rows(cells, values), level=3)
    store.write(name, data)
    tables = {"rows": (name, data), **write_packed_looks(store, name.replace("rows-", "looks-"), looks or {})}
    digest = write_index(store, cells, versions, tables)
    for old in store.names():
        if old.startswith(("rows-", "cells-", "looks-")) and old.split("-")[1] != name.split("-")[1]:
            store.delete(old)
    return digest


def load_corpus(where: Where) -> Corpus:
    """Read a corpus and check every cell's rows and the digest.

    Raises:
      CorpusError: not a corpus, or not finished.
      IntegrityError: rows or the index do not verify.
      ToolError: the store could not be asked.
    """
    store = as_store(where)
    index = _read_index(store)
    cells = _records(store, index)
    rows = str(index.get("rows", "rows.parquet"))
    packed = store.read(rows)
    if packed is None:
        columns = packed_columns(cells)
        values = np.concatenate([spread(cell, read_cell(store, cell.key)[1], columns) for cell in cells])
    elif index.get("rows_sha256", sha256_bytes(packed)) != sha256_bytes(packed):
        raise IntegrityError(f"{store.path(rows)} is damaged", next_step="run the same `assay corpus build` again")
    else:
        values = _packed_values(packed, cells, store.path(rows))
    _check_content(store.where, cells, values)
    return Corpus(index["digest"], cells, table_of(cells, values), read_packed_looks(store, index))


def load_records(where: Where) -> tuple[str, tuple[CellRecord, ...]]:
    """The digest and the records of a corpus, without its rows; raises as `load_corpus`."""
    store = as_store(where)
    index = _read_index(store)
    return str(index["digest"]), _records(store, index)


def check_cells(where: Where, cells: Sequence[CellRecord], on_step: OnStep | None = None) -> int:
    """Check the objects of the cells of an index, which a packed corpus may lack; returns how many there are.

    Raises:
      IntegrityError: one is damaged or is not the index's, or some are missing.
    """
    store = as_store(where)
    there = store.names("cells")
    if not there:
        return 0
    for number, cell in enumerate(cells):
        if on_step:
            on_step("cells", number, len(cells))
        if f"{cell.key}.parquet" in there and read_cell(store, cell.key)[0] != cell:
            raise IntegrityError(f"cell {cell.key} is not the one of the index", next_step="build again")
    missing = [cell for cell in cells if f"{cell.key}.parquet" not in there]
    if missing:
        first = f"{missing[0].source} {missing[0].encoder} {missing[0].rate_value:g}"
        raise IntegrityError(
            f"{store.where}: {len(missing)} cells are missing, first {first}",
            next_step="run the same `assay corpus build` again",
        )
    return len(there)


def pack(corpus: Corpus, where: Where, versions: dict[str, str]) -> str:
    """Write a corpus as two files, an index and `rows.parquet`, and return its digest."""
    store = as_store(where)
    data = _packed_bytes(corpus.frames, level=19)
    store.write("rows.parquet", data)
    looks = write_packed_looks(store, "looks.parquet", corpus.looks)
    return write_index(store, corpus.cells, versions, {"rows": ("rows.parquet", data), **looks})


def index_versions(where: Where) -> dict[str, str]:
    """Tool versions the corpus was measured with."""
    return dict(_read_index(as_store(where))["versions"])


def _packed_bytes(frames: pl.DataFrame, *, level: int) -> bytes:
    buffer = io.BytesIO()
    packed = frames.select("cell", "frame_index", *VALUES, *(n for n in MORE_VALUES if n in frames.columns))
    packed.write_parquet(buffer, compression="zstd", compression_level=level)
    return buffer.getvalue()


def _read_index(store: Store) -> dict[str, Any]:
    path, data = store.path("corpus.json"), store.read("corpus.json")
    if data is None:
        started = "run the same `assay corpus build` again to finish it"
        hint = started if store.names("cells") else "make one with `assay corpus build`"
        raise CorpusError(f"{store.where} holds no finished corpus (no corpus.json)", next_step=hint)
    if len(data) > MAX_JSON_BYTES:
        raise IntegrityError(f"{path} is over {MAX_JSON_BYTES} bytes", next_step="split the corpus: docs/scale.md")
    index = parse_json_strict(data, where=path)
    if index.get("schema_version") != SCHEMA_VERSION:
        raise IntegrityError(
            f"{path} has schema version {index.get('schema_version')!r}, this reads {SCHEMA_VERSION}",
            next_step="use the release that wrote it",
        )
    cells = index.get("cells")
    if not cells or not isinstance(cells, list | str) or not isinstance(index.get("versions"), dict):
        raise CorpusError(f"{path} lists no cell", next_step="build it again")
    tables = (index.get("rows", "rows.parquet"), index.get("looks", "looks.parquet"))
    for name in (*tables, cells if isinstance(cells, str) else "x.parquet"):
        if not isinstance(name, str) or "/" in name or "\\" in name or not name.endswith(".parquet"):
            raise IntegrityError(f"{path} names a table outside its folder", next_step="build it again")
    return index


def _records(store: Store, index: dict[str, Any]) -> tuple[CellRecord, ...]:
    """The index's records in key order, checked against its digest."""
    cells = [cell_record(entry, store.path("corpus.json")) for entry in _listed(store, index)]
    cells.sort(key=lambda cell: cell.key)
    if len({cell.key for cell in cells}) != len(cells):
        raise IntegrityError(f"{store.path('corpus.json')} lists a cell twice", next_step="build it again")
    if corpus_digest(cells) != index.get("digest"):
        raise IntegrityError(f"{store.path('corpus.json')} does not match its digest", next_step="build it again")
    return tuple(cells)


def cell_record(entry: Any, where: str) -> CellRecord:  # noqa: ANN401 - JSON
    """A cell's record from JSON; raises IntegrityError if a field has a wrong type or range."""
    if not isinstance(entry, dict) or not _FIELD_TYPES.keys() <= entry.keys() <= _ALL_TYPES.keys():
        raise IntegrityError(f"{where} has a malformed cell", next_step="build it again")
    wrong = _first_wrong(tuple(type(entry.get(name, _UNSAID[name])) for name in _ALL_TYPES))
    if wrong is None and min(_numbers_of(entry)) < 0:
        wrong = next(name for name in _NUMBERS if entry[name] < 0)
    if wrong is not None:
        shown = f"{entry.get(wrong)!r:.60}"
        raise IntegrityError(f"{where} has a cell whose {wrong} is {shown}", next_step="build it again")
    if not all(isinstance(version, str) for version in entry["versions"].values()):
        raise IntegrityError(f"{where} has a cell without versions", next_step="build it again")
    if not (_FRAME_RATE.fullmatch(entry["frame_rate"]) and _SHA256.fullmatch(entry["key"])):
        raise IntegrityError(f"{where} has a cell with a malformed key or frame rate", next_step="build it again")
    if not 0 < entry["n_frames"] <= MAX_FRAMES:
        raise IntegrityError(f"{where} has a cell of {entry['n_frames']} frames", next_step="build it again")
    more = entry.get("more", [])
    if [name for name in MORE_VALUES if name in more] != more:
        raise IntegrityError(f"{where} has a cell with unknown columns", next_step="use the release that built it")
    try:
        Measurand.parse(entry.get("measurand", _FIRST_MEASURAND))
    except ValueError as error:
        raise IntegrityError(f"{where}: {error}", next_step="use the release that built it") from error
    return CellRecord(**{**entry, "more": tuple(more)})


@lru_cache(maxsize=256)
def _first_wrong(kinds: tuple[type, ...]) -> str | None:
    """The first field, in the order of `_ALL_TYPES`, of a wrong type.

    Cached, because the cells of a corpus have the same types. That saves a quarter of reading a million rows.
    """
    for (name, wanted), kind in zip(_ALL_TYPES.items(), kinds, strict=True):
        if kind is bool or not issubclass(kind, wanted):
            return name
    return None


MAX_FRAMES = 1 << 24
"""Most frames of one cell: 77 hours at 60 a second."""

_FIELD_TYPES: dict[str, Any] = {
    **dict.fromkeys(("key", "source", "group", "encoder", "preset", "rate_mode", "frame_rate"), str),
    **dict.fromkeys(("rate_value", "kbps", "encode_s"), int | float),
    **dict.fromkeys(("width", "height", "n_frames", "bytes"), int),
    "versions": dict,
    "content_sha256": str,
}
_LATER: dict[str, Any] = {"source_sha256": str, "encoder_args": str, "measurand": str, "more": list}
_ALL_TYPES = _FIELD_TYPES | _LATER
_UNSAID: dict[str, Any] = dict.fromkeys(_FIELD_TYPES) | {name: kind() for name, kind in _LATER.items()}
_NUMBERS = ("rate_value", "kbps", "encode_s", "width", "height", "n_frames", "bytes")
_numbers_of = itemgetter(*_NUMBERS)
# Fields that older corpora lack.
_RECORD_SCHEMA: dict[str, Any] = {
    **{name: {str: pl.String, int: pl.Int64}.get(kind, pl.Float64) for name, kind in _FIELD_TYPES.items()},
    "versions": pl.String,  # as JSON
    **dict.fromkeys(_LATER, pl.String),
}
_FIRST_MEASURAND = str(FRAME_VMAF)
# Tables whose cells all have the first measurand do not name it, like tables from before measurands existed.
_FIRST_RECORD_SCHEMA = {name: kind for name, kind in _RECORD_SCHEMA.items() if name not in ("measurand", "more")}
_FRAME_RATE = re.compile(r"[0-9]{1,9}/[0-9]{1,9}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _rows(cells: Sequence[CellRecord], values: NDArray[np.float32]) -> pl.DataFrame:
    """Per-frame rows as they are packed; `values` [N, 7 + more] holds the cells' rows in order."""
    lengths = np.array([cell.n_frames for cell in cells])
    keys = pl.Series("cell", [cell.key for cell in cells])
    return pl.DataFrame(
        {"cell": keys[np.repeat(np.arange(len(cells)), lengths)], "frame_index": _frame_index(lengths)}
        | {name: values[:, i] for i, name in enumerate(packed_columns(cells))}
    )


def table_of(cells: Sequence[CellRecord], values: NDArray[np.float32]) -> pl.DataFrame:
    """Per-frame rows with their identity columns; `values` [N, 7 + more] holds the cells' rows in order."""
    lengths = np.array([cell.n_frames for cell in cells])
    identity = pl.DataFrame(
        {"cell": [cell.key for cell in cells], **{n: [getattr(c, n) for c in cells] for n in _IDENTITY[1:]}},
        schema={**dict.fromkeys(_IDENTITY, pl.String), "rate_value": pl.Float64},
    )
    frame = identity[np.repeat(np.arange(len(cells)), lengths)]
    return frame.with_columns(
        pl.Series("frame_index", _frame_index(lengths)),
        *(pl.Series(name, values[:, i]) for i, name in enumerate(packed_columns(cells))),
    )


def packed_columns(cells: Iterable[CellRecord]) -> tuple[str, ...]:
    """Columns of all cells together, in the order of `VALUES`, then `MORE_VALUES`."""
    named = {name for more in {cell.more for cell in cells} for name in more}
    return (*VALUES, *(name for name in MORE_VALUES if name in named))


def spread(cell: CellRecord, values: NDArray[np.float32], columns: Sequence[str]) -> NDArray[np.float32]:
    """A cell's rows [F, 7 + more] among the columns of its corpus, NaN where it has none, [F, len(columns)]."""
    if len(columns) == values.shape[1]:
        return values
    wide = np.full((len(values), len(columns)), np.nan, dtype=np.float32)
    wide[:, [columns.index(name) for name in columns_of(cell)]] = values
    return wide


def _frame_index(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """0, 1, ... for each cell."""
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return (np.arange(int(lengths.sum())) - starts).astype(np.int32)


def _packed_values(data: bytes, cells: Sequence[CellRecord], path: str) -> NDArray[np.float32]:
    """Rows [N, 7 + more] of packed cells in key order; refused unless they hold every frame of every cell once."""
    packed = parse_parquet(data, where=path, limits=_LIMITS)
    columns = packed_columns(cells)
    schema = _PACKED_SCHEMA | dict.fromkeys(columns, pl.Float32)
    if missing := [name for name, kind in schema.items() if packed.schema.get(name) != kind]:
        raise CorpusError(f"{path} has no column {', '.join(missing)}", next_step="restore it")
    runs = packed["cell"].rle().struct.unnest()
    if runs["value"].to_list() != [cell.key for cell in cells]:
        packed = packed.sort("cell", "frame_index")
        runs = packed["cell"].rle().struct.unnest()
    wanted = {cell.key: cell.n_frames for cell in cells}
    found = dict(zip(runs["value"].to_list(), runs["len"].to_list(), strict=True))
    if set(found) != set(wanted):
        raise IntegrityError(
            f"{path}: {len(set(wanted) ^ set(found))} cells are in the index or the rows, not both",
            next_step="build it again",
        )
    lengths = np.array([cell.n_frames for cell in cells])
    if found != wanted or not np.array_equal(packed["frame_index"].to_numpy(), _frame_index(lengths)):
        raise IntegrityError(f"{path}: a cell does not hold each of its frames once", next_step="build it again")
    return packed.select(columns).to_numpy(order="c").astype(np.float32, copy=False)


def _check_content(where: str, cells: Sequence[CellRecord], values: NDArray[np.float32]) -> None:
    """Check that rows are finite and match the index's digests; `values` [N, 7 + more] is in the cells' order."""
    end, columns = 0, packed_columns(cells)
    for cell in cells:
        start, end = end, end + cell.n_frames
        own = values[start:end]
        if len(columns) != len(VALUES) + len(cell.more):
            own = own[:, [columns.index(name) for name in columns_of(cell)]]
        if content_sha256(own) != cell.content_sha256:
            # Looking for NaN in every cell would cost as much as the digests, so it is done only here.
            if not np.isfinite(own).all():
                raise CorpusError(f"{where}: cell {cell.key[:12]} ({cell.source}) holds NaN", next_step="rebuild")
            raise IntegrityError(
                f"{where}: rows of cell {cell.key[:12]} ({cell.source}, {cell.encoder}) do not match their digest",
                next_step="delete it and run `assay corpus build` again",
            )
        if cell.more and not np.isfinite(own).all():
            raise CorpusError(f"{where}: cell {cell.key[:12]} ({cell.source}) holds NaN", next_step="rebuild")
    if not np.isfinite(values[:, : len(VALUES)]).all():
        raise CorpusError(f"{where} holds NaN", next_step="build it again")
