"""The flat JSONL of earlier tools: one object a frame, `src, encoder, cq, frame_index, vmaf, canonical-6`."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.corpus.store import VALUES, Corpus, content_sha256, write_cell, write_index
from vmaf_assay.errors import CorpusError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.files import canonical_json, sha256_bytes, write_bytes_atomic
from vmaf_assay.records import CellRecord

_CellId = tuple[str, str, str, float, str]


def write_jsonl(corpus: Corpus, path: Path) -> int:
    """Write every frame of a corpus as one JSON line; returns the number of lines.

    Floats are the shortest text that reads back to the same float32, so that import gives the same rows.
    `group` and `preset` are written too; earlier readers ignore them.
    """
    buffer = io.StringIO()
    for row in corpus.frames.iter_rows(named=True):
        line: dict[str, Any] = {"src": row["source"], "group": row["group"], "encoder": row["encoder"]}
        line |= {"preset": row["preset"], "cq": row["rate_value"], "frame_index": row["frame_index"]}
        line |= {name: float(str(np.float32(row[name]))) for name in VALUES}
        buffer.write(json.dumps(line) + "\n")
    write_bytes_atomic(path, buffer.getvalue().encode())
    return corpus.frames.height


def read_jsonl(path: Path, folder: Path, *, preset: str | None = None) -> str:
    """Make a corpus of a JSONL file; sizes, rates and versions are unknown to it and recorded as 0 or `unknown`.

    Args:
      path: the file.
      folder: the corpus to write.
      preset: preset of rows that name none; by default the encoder's default.

    Raises:
      CorpusError: a line is not JSON, misses a column, holds a value that is not a finite number, names an
        unknown encoder, or a frame is missing or comes twice.
    """
    if not path.is_file():
        raise CorpusError(f"no such file: {path}", next_step="check the path")
    cells: dict[_CellId, dict[int, list[float]]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            if text.strip():
                _add_line(cells, text, f"{path.name}, line {number}", preset)
    if not cells:
        raise CorpusError(f"{path} holds no row", next_step="give the JSONL of a corpus")
    records = [_write(folder, identity, frames, path) for identity, frames in cells.items()]
    return write_index(folder, records, {"imported": path.name})


def _add_line(cells: dict[_CellId, dict[int, list[float]]], text: str, where: str, preset: str | None) -> None:
    try:
        row = json.loads(text)
        encoder = str(row["encoder"])
        identity = (str(row["src"]), str(row.get("group") or row["src"]), encoder, float(row["cq"]))
        values = [float(row[name]) for name in VALUES]
        frame_index = int(row["frame_index"])
    except KeyError as error:
        raise CorpusError(f"{where}: no column {error}", next_step="add it") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CorpusError(f"{where}: {error}", next_step="correct the line") from error
    if not np.isfinite(values).all():
        raise CorpusError(f"{where}: a value is NaN or infinite", next_step="measure that frame again")
    if encoder not in ENCODERS:
        raise CorpusError(f"{where}: unknown encoder {encoder!r}", next_step="see `assay doctor` for the names")
    named = str(row.get("preset") or preset or ENCODERS[encoder].default_preset)
    frames = cells.setdefault((*identity, named), {})
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
