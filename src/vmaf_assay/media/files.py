"""Whole files, or none: atomic writes, digests, and JSON read as if an enemy had written it."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from vmaf_assay.errors import IntegrityError, ToolError

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Largest JSON file read here; the largest written so far (a corpus index) has 1.5 MB."""


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, lower-case hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """The one byte string of a JSON value: sorted keys, no spaces, UTF-8, no NaN or Infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old file or the new one, whole.

    Raises:
      ToolError: the disk is full, read-only or gone; nothing half-written is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}", next_step="check the folder") from error
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        # mkstemp makes files private; give them the mode an ordinary write would.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ToolError(
                f"cannot write {path}: {error.strerror}", next_step="free space or choose another folder"
            ) from error
        raise


def write_json_atomic(path: Path, value: Any, *, indent: int | None = 1) -> None:  # noqa: ANN401
    """Write JSON atomically, keys in the order given, no NaN or Infinity."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    write_bytes_atomic(path, text.encode() + b"\n")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} twice in one object")
    return result


def _no_constants(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def parse_json_strict(data: bytes, *, where: str) -> dict[str, Any]:
    """Parse a JSON object; duplicate keys, NaN, Infinity and bad UTF-8 are refused.

    Raises:
      IntegrityError: for any of these, with `where` in the message.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where} is not acceptable JSON: {error}", next_step="restore the file") from error
    if not isinstance(value, dict):
        raise IntegrityError(
            f"{where} holds a {type(value).__name__}, not an object", next_step="restore the file"
        )
    return value


def read_json_strict(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read and parse one JSON object from a file; see `parse_json_strict`.

    Raises:
      IntegrityError: the file is absent, too large, or not acceptable JSON.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise IntegrityError(f"{path} is over {max_bytes} bytes", next_step="restore the file")
        data = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}", next_step="restore the file") from error
    return parse_json_strict(data, where=str(path))
