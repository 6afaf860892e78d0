"""Looks of sources: tiny grey copies of all frames, made once by decoding, and kept in the corpus.

They show whether two groups hold the same content (`corpus/same_pictures.py`). Their digest is one of decoded
pictures, whatever file they came in. A table holds one row a frame, less the frame before it: 0.2 kB a frame.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.corpus.plan import CorpusReference
from vmaf_assay.corpus.storage import Store
from vmaf_assay.errors import IntegrityError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, check_decoded, failure
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.media.parquet import Limits, parse_parquet
from vmaf_assay.media.sync import SIGNATURE_SIZE, Signatures, read_signatures

_BYTES = SIGNATURE_SIZE[0] * SIGNATURE_SIZE[1]
_SCHEMA = {"source": pl.String, "look": pl.Binary}
_LIMITS = Limits(unpacked_bytes=1 << 36)


def looks_digest(frames: Signatures) -> str:
    """SHA-256 of a source's looks: the same for every file that decodes to the same pictures."""
    return sha256_bytes(np.ascontiguousarray(frames).tobytes())


def looks_bytes(looks: Mapping[str, Signatures]) -> bytes:
    """A table of the looks of sources, [F, 576] each, as a Parquet file; sources without frames are left out."""
    names, rows = list[str](), list[bytes]()
    for name in sorted(looks):
        names += [name] * len(looks[name])
        rows += [row.tobytes() for row in _differences(looks[name])]
    buffer = io.BytesIO()
    table = pl.DataFrame({"source": names, "look": rows}, schema=_SCHEMA)
    table.write_parquet(buffer, compression="zstd", compression_level=12)
    return buffer.getvalue()


def parse_looks(data: bytes, *, where: str) -> dict[str, Signatures]:
    """The looks of each source, [F, 576], from the bytes of a table.

    Raises:
      IntegrityError: it is not one, or it is damaged.
    """
    table = parse_parquet(data, where=where, columns=_SCHEMA, limits=_LIMITS)
    if table["source"].null_count() or table["look"].null_count() or set(table["look"].bin.size()) - {_BYTES}:
        raise IntegrityError(f"{where} holds a look of another size", next_step="restore the file")
    greys = np.frombuffer(b"".join(table["look"]), np.uint8).reshape(-1, _BYTES)
    found, end = dict[str, Signatures](), 0
    for name, n in table["source"].rle().struct.unnest().select("value", "len").iter_rows():
        start, end = end, end + n
        if name in found:
            raise IntegrityError(f"{where} holds the looks of {name!r} twice", next_step="restore the file")
        found[name] = np.cumsum(greys[start:end], axis=0, dtype=np.uint8)
    return found


def write_packed_looks(store: Store, name: str, looks: Mapping[str, Signatures]) -> dict[str, tuple[str, bytes]]:
    """Write the looks of all sources, if there are any; name and bytes for the index, under `looks`."""
    if not looks:
        return {}
    data = looks_bytes(looks)
    store.write(name, data)
    return {"looks": (name, data)}


def read_packed_looks(store: Store, index: Mapping[str, Any]) -> dict[str, Signatures]:
    """The looks of all sources, checked against the index; none in a corpus from before they were kept.

    Raises:
      IntegrityError: they are missing or damaged.
    """
    if "looks" not in index:
        return {}
    path, data = store.path(index["looks"]), store.read(index["looks"])
    if data is None or sha256_bytes(data) != index.get("looks_sha256"):
        raise IntegrityError(
            f"{path} is {'missing' if data is None else 'damaged'}",
            next_step="restore it, or run the same `assay corpus build` again",
        )
    return parse_looks(data, where=path)


def keep_looks(ffmpeg: Ffmpeg, store: Store, rendition: CorpusReference, scratch: Path) -> Signatures:
    """The looks of a source, read from its corpus, or made and kept there.

    Args:
      ffmpeg: decodes.
      store: the corpus.
      rendition: the source at its first size; its file must be here.
      scratch: folder for the decoded looks.

    Raises:
      MediaError: a frame does not decode.
      ToolError: ffmpeg failed.
    """
    kept = read_looks(store, rendition)
    if kept is None:
        kept = _made(ffmpeg, rendition, scratch / "looks.gray")
        store.write(_name(rendition), looks_bytes({"": kept}))
    return kept


def read_looks(store: Store, rendition: CorpusReference) -> Signatures | None:
    """The looks of a source, [F, 576]; None if the corpus has none, or damaged ones."""
    data = store.read(_name(rendition))
    try:
        return None if data is None else parse_looks(data, where=_name(rendition)).get("")
    except IntegrityError:
        return None


def _name(rendition: CorpusReference) -> str:
    """Name of the object, by everything that determines the looks; it differs for another part of a file."""
    content = [rendition.source_sha256, rendition.decode_looks().hashed()]
    return f"looks/{sha256_bytes(canonical_json(content))}.parquet"


def _made(ffmpeg: Ffmpeg, rendition: CorpusReference, path: Path) -> Signatures:
    command = rendition.decode_looks(guarded=True)
    try:
        done = process.run(command.argv(ffmpeg, source=rendition.source.path, output=path))
        if done.exit_code != 0:
            raise failure(f"decoding {rendition.source.path.name}", done, next_step="check the source")
        seeked = rendition.source.start_s > 0
        check_decoded(f"decoding {rendition.source.path}", done.stderr, seeked=seeked, remarks=rendition.remarks)
        return read_signatures(path.read_bytes())
    finally:
        path.unlink(missing_ok=True)


def _differences(frames: Signatures) -> NDArray[np.uint8]:
    """Each frame less the one before it, modulo 256."""
    return np.diff(frames, axis=0, prepend=np.zeros((1, frames.shape[1]), np.uint8))
