"""The flat JSONL of earlier tools: one object a frame, `src, encoder, cq, frame_index, vmaf, canonical-6`."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.corpus.store import Corpus, content_sha256, write_cell, write_index
from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.files import canonical_json, parse_json_strict, sha256_bytes, write_bytes_atomic
from vmaf_assay.media.parquet import MAX_TEXT_BYTES
from vmaf_assay.records import VALUES, CellRecord, OnStep

_CellId = tuple[str, str, str, float, str]


def write_jsonl(corpus: Corpus, path: Path, on_step: OnStep | None = None) -> int:
    """Write every frame of a corpus as one JSON line; returns the number of lines.

    Floats are the shortest text that reads back to the same float32, so that import gives the same rows.
    Also written are `group` and `preset`, which earlier readers ignore.
    """
    buffer = io.StringIO()
    for number, row in enumerate(corpus.frames.iter_rows(named=True)):
        if on_step and number % TOLD_EVERY == 0:
            on_step("rows", number, corpus.frames.height)
        line: dict[str, Any] = {"src": row["source"], "group": row["group"], "encoder": row["encoder"]}
        line |= {"preset": row["preset"], "cq": row["rate_value"], "frame_index": row["frame_index"]}
        line |= {name: float(str(np.float32(row[name]))) for name in VALUES}
        buffer.write(json.dumps(line) + "\n")
    write_bytes_atomic(path, buffer.getvalue().encode())
    return corpus.frames.height


def read_jsonl(path: Path, folder: Path, *, preset: str | None = None, on_step: OnStep | None = None) -> str:
    """Make a corpus from a JSONL file; sizes, rates and versions are unknown and recorded as 0 or `unknown`.

    Args:
      path: the file.
      folder: the corpus to write.
      preset: preset of rows that name none; by default the encoder's default.
      on_step: told how many bytes have been read.

    Raises:
      CorpusError: a line is not JSON, lacks a column, holds a value that is not finite, or names an unknown
        encoder. Also if a frame is missing or doubled.
    """
    if not path.is_file():
        raise CorpusError(f"no such file: {path}", next_step="check the path")
    cells: dict[_CellId, dict[int, list[float]]] = {}
    with path.open("rb") as lines:
        for number, text in enumerate(iter(lambda: lines.readline(MAX_LINE_BYTES + 1), b""), 1):
            if on_step and number % TOLD_EVERY == 0:
                on_step("bytes", lines.tell(), path.stat().st_size)
            if text.strip():
                _add_line(cells, text, f"{path.name}, line {number}", preset)
    if not cells:
        raise CorpusError(f"{path} holds no rows", next_step="give the JSONL of a corpus")
    records = [_write(folder, identity, frames, path) for identity, frames in cells.items()]
    return write_index(folder, records, {"imported": path.name})


TOLD_EVERY = 5000
"""Lines between two reports of progress: about a twentieth of a second of work."""

MAX_LINE_BYTES = 1 << 16
"""Longest line read; a line written here has about 300."""


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_BYTES // 4:
        raise ValueError(f"{value!r:.60} is not a name")
    return value


def _number(value: Any) -> float:  # noqa: ANN401 - JSON
    """A number that a float32 holds; text that looks like a number is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_VALUE:
        raise ValueError(f"{value!r:.60} is not a valid measurement")
    return float(value)


MAX_VALUE = 1e9
"""Largest VMAF, feature or rate value; real ones are far smaller."""


def _add_line(cells: dict[_CellId, dict[int, list[float]]], text: bytes, where: str, preset: str | None) -> None:
    if len(text) > MAX_LINE_BYTES:
        raise CorpusError(f"{where} is over {MAX_LINE_BYTES} bytes", next_step="give one object a line")
    try:
        row = parse_json_strict(text, where=where)
        encoder, source = (_text(row[name]) for name in ("encoder", "src"))
        group = _text(row["group"]) if row.get("group") else source
        named = _text(row["preset"]) if row.get("preset") else preset or ""
        identity = (source, group, encoder, _number(row["cq"]))
        values = [_number(row[name]) for name in VALUES]
        frame_index = row["frame_index"]
    except IntegrityError as error:
        raise CorpusError(error.what, next_step="correct the line") from error
    except KeyError as error:
        raise CorpusError(f"{where}: no column {error}", next_step="add it") from error
    except ValueError as error:
        raise CorpusError(f"{where}: {error}", next_step="correct the line") from error
    if isinstance(frame_index, bool) or not isinstance(frame_index, int) or frame_index < 0:
        raise CorpusError(f"{where}: frame_index is not a whole number", next_step="correct the line")
    if encoder not in ENCODERS:
        raise CorpusError(f"{where}: unknown encoder {encoder!r}", next_step="see `assay doctor` for the names")
    frames = cells.setdefault((*identity, named or ENCODERS[encoder].default_preset), {})
    if frame_index in frames:
        raise CorpusError(f"{where}: frame {frame_index} comes twice", next_step="remove one")
    frames[frame_index] = values


def _write(folder: Path, identity: _CellId, frames: dict[int, list[float]], path: Path) -> CellRecord:
    source, group, encoder, rate_value, preset = identity
    if sorted(frames) != list(range(len(frames))):
        raise CorpusError(
            f"{path.name}: {source} {encoder} {rate_value:g} has gaps in its frames", next_step="add them"
        )
    values = np.array([frames[index] for index in range(len(frames))], dtype=np.float32)
    digest = content_sha256(values)
    record = CellRecord(
        key=sha256_bytes(canonical_json([*identity, digest])),
        source=source,
        group=group,
        encoder=encoder,
        preset=ENCODERS[encoder].check_preset(preset),
        rate_mode=ENCODERS[encoder].rate_mode,
        rate_value=rate_value,
        width=0,
        height=0,
        frame_rate="0/1",
        n_frames=len(values),
        bytes=0,
        kbps=0.0,
        encode_s=0.0,
        versions={"imported": "jsonl"},
        content_sha256=digest,
    )
    write_cell(folder, record, values)
    return record
