"""A corpus on disk: an index, and one small Parquet file a cell (or all of them packed into one).

    corpus.json            index: every cell's record, tool versions, digest
    cells/<key>.parquet    per-frame rows of one cell; its record in the file's metadata
    rows.parquet           instead of cells/: the same rows packed, for shipping

The digest depends on content alone: not on order, machine, clock, or how the rows are packed.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.media.files import (
    canonical_json,
    read_json_strict,
    sha256_bytes,
    write_bytes_atomic,
    write_json_atomic,
)
from vmaf_assay.records import CANONICAL6, CellRecord, Scored

SCHEMA_VERSION = 1
VALUES = ("vmaf", *CANONICAL6)
"""Measured columns, in the order they are hashed."""
# A damaged file can also make polars panic, which is no PolarsError (polars 2.1.0, 2026-11-24).
_POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
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
    canonical-6. Sorted by cell, then frame."""


def content_sha256(values: NDArray[np.float32]) -> str:
    """Digest of per-frame rows, [F, 7] float32 in the order of `VALUES`."""
    return sha256_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())


def corpus_digest(cells: Iterable[CellRecord]) -> str:
    """SHA-256 over what was measured and of what, in key order; wall seconds are left out."""
    entries = [{k: v for k, v in asdict(cell).items() if k != "encode_s"} for cell in cells]
    return sha256_bytes(canonical_json(sorted(entries, key=lambda entry: str(entry["key"]))))


def scored_values(scored: Scored) -> NDArray[np.float32]:
    """Per-frame rows of a measurement, [F, 7]."""
    return np.column_stack([scored.vmaf, scored.features]).astype(np.float32)


def cell_path(folder: Path, key: str) -> Path:
    """Where a cell's rows are."""
    return folder / "cells" / f"{key}.parquet"


def write_cell(folder: Path, record: CellRecord, values: NDArray[np.float32]) -> None:
    """Write one cell whole: rows in the file, its record in the file's metadata."""
    import io

    frame = pl.DataFrame({name: values[:, column] for column, name in enumerate(VALUES)})
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", metadata={"cell": json.dumps(asdict(record))})
    write_bytes_atomic(cell_path(folder, record.key), buffer.getvalue())


def read_cell(folder: Path, key: str) -> tuple[CellRecord, NDArray[np.float32]]:
    """One cell's record and rows [F, 7], checked against its own digest.

    Raises:
      IntegrityError: damaged, cut short, not a cell, or another cell's.
    """
    path = cell_path(folder, key)
    try:
        record = CellRecord(**json.loads(pl.read_parquet_metadata(path)["cell"]))
        values = pl.read_parquet(path).select(VALUES).to_numpy().astype(np.float32)
    except (OSError, KeyError, TypeError, ValueError, *_POLARS_ERRORS) as error:
        raise IntegrityError(
            f"cell {path.name} cannot be read ({type(error).__name__})", next_step="run `assay corpus build` again"
        ) from error
    if record.key != key or record.n_frames != len(values) or content_sha256(values) != record.content_sha256:
        raise IntegrityError(
            f"cell {path.name} is damaged", next_step="delete it and run `assay corpus build` again"
        )
    return record, values


def write_index(folder: Path, cells: Iterable[CellRecord], versions: dict[str, str]) -> str:
    """Write `corpus.json` over finished cells and return the digest."""
    ordered = sorted(cells, key=lambda cell: cell.key)
    digest = corpus_digest(ordered)
    index = {
        "schema_version": SCHEMA_VERSION,
        "digest": digest,
        "versions": versions,
        "cells": [asdict(cell) for cell in ordered],
    }
    write_json_atomic(folder / "corpus.json", index, indent=None)
    return digest


def load_corpus(folder: Path) -> Corpus:
    """Read a corpus and check every cell and the digest.

    Raises:
      CorpusError: not a corpus, or not finished.
      IntegrityError: a cell or the index does not verify.
    """
    index = _read_index(folder)
    cells = tuple(_record(folder, entry) for entry in index["cells"])
    if corpus_digest(cells) != index["digest"]:
        raise IntegrityError(f"{folder / 'corpus.json'} does not match its digest", next_step="build it again")
    if (folder / "rows.parquet").exists():
        frames = _packed_frames(folder, cells)
    else:
        frames = _table([(cell, read_cell(folder, cell.key)[1]) for cell in cells])
    _check_content(folder, cells, frames)
    return Corpus(index["digest"], cells, frames)


def pack(corpus: Corpus, folder: Path, versions: dict[str, str]) -> str:
    """Write a corpus as two files, an index and `rows.parquet`, and return its digest."""
    import io

    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    packed = corpus.frames.select("cell", "frame_index", *VALUES)
    packed.write_parquet(buffer, compression="zstd", compression_level=19)
    write_bytes_atomic(folder / "rows.parquet", buffer.getvalue())
    return write_index(folder, corpus.cells, versions)


def index_versions(folder: Path) -> dict[str, str]:
    """Tool versions the corpus was measured with."""
    return dict(_read_index(folder)["versions"])


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.json"
    if not path.is_file():
        hint = "run the same `assay corpus build` again to finish it" if (folder / "cells").is_dir() else (
            "make one with `assay corpus build`"
        )  # fmt: skip
        raise CorpusError(f"{folder} holds no finished corpus (no corpus.json)", next_step=hint)
    index = read_json_strict(path)
    if index.get("schema_version") != SCHEMA_VERSION:
        raise IntegrityError(
            f"{path} has schema version {index.get('schema_version')!r}, this reads {SCHEMA_VERSION}",
            next_step="use the release that wrote it",
        )
    if not isinstance(index.get("cells"), list) or not index["cells"] or "versions" not in index:
        raise CorpusError(f"{path} lists no cell", next_step="build it again")
    return index


def _record(folder: Path, entry: Any) -> CellRecord:  # noqa: ANN401 - JSON
    try:
        return CellRecord(**entry)
    except TypeError as error:
        raise IntegrityError(
            f"{folder / 'corpus.json'} has a malformed cell: {error}", next_step="build it again"
        ) from error


def _table(cells: list[tuple[CellRecord, NDArray[np.float32]]]) -> pl.DataFrame:
    """Per-frame rows of all cells with their identity columns."""
    values = np.concatenate([rows for _, rows in cells])
    frame_index = np.concatenate([np.arange(len(rows), dtype=np.int32) for _, rows in cells])
    columns: dict[str, Any] = {"cell": [cell.key for cell, rows in cells for _ in range(len(rows))]}
    frame = pl.DataFrame(columns | {"frame_index": frame_index})
    frame = frame.with_columns(**{n: pl.Series(values[:, i]) for i, n in enumerate(VALUES)})
    return _with_identity(frame, [cell for cell, _ in cells])


def _with_identity(frame: pl.DataFrame, cells: Iterable[CellRecord]) -> pl.DataFrame:
    identity = pl.DataFrame(
        [{"cell": c.key, **{n: getattr(c, n) for n in _IDENTITY[1:]}} for c in cells],
        schema={**dict.fromkeys(_IDENTITY, pl.String), "rate_value": pl.Float64},
    )
    joined = frame.join(identity, on="cell", how="left", maintain_order="left")
    return joined.select(*_IDENTITY, "frame_index", *VALUES).sort("cell", "frame_index")


def _packed_frames(folder: Path, cells: Iterable[CellRecord]) -> pl.DataFrame:
    path = folder / "rows.parquet"
    try:
        packed = pl.read_parquet(path)
        missing = {"cell", "frame_index", *VALUES} - set(packed.columns)
    except (OSError, *_POLARS_ERRORS) as error:
        raise IntegrityError(f"{path} cannot be read", next_step="restore it") from error
    if missing:
        raise CorpusError(f"{path} has no column {', '.join(sorted(missing))}", next_step="restore it")
    return _with_identity(packed, cells)


def _check_content(folder: Path, cells: Iterable[CellRecord], frames: pl.DataFrame) -> None:
    """Every cell's rows are there, finite, and hash to what the index says."""
    parts = {str(key[0]): part for key, part in frames.group_by("cell", maintain_order=True)}
    wanted = {cell.key: cell for cell in cells}
    if set(parts) != set(wanted):
        raise IntegrityError(
            f"{folder}: {len(set(wanted) ^ set(parts))} cells are in the index or the rows, not both",
            next_step="build it again",
        )
    for key, cell in wanted.items():
        values = parts[key].select(VALUES).to_numpy().astype(np.float32)
        if not np.isfinite(values).all():
            raise CorpusError(f"{folder}: cell {key[:12]} ({cell.source}) holds NaN", next_step="rebuild it")
        if len(values) != cell.n_frames or content_sha256(values) != cell.content_sha256:
            raise IntegrityError(
                f"{folder}: rows of cell {key[:12]} ({cell.source}, {cell.encoder}) do not match their digest",
                next_step="delete it and run `assay corpus build` again",
            )
