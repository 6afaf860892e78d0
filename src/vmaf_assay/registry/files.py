"""Files of a registry folder: read as untrusted input, and named by content."""

import os
import re
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import parse_record, read_plain, sha256_bytes

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest file read from a registry."""

RESTORE = "restore the registry from its last good state"

HISTORY = "history"
"""Folder beside `registry.json` for files that only earlier verdicts rest on; it may be absent (ADR-0415)."""

TRUST_POLICY = "ASSAY_TRUST_POLICY"
"""Environment variable that names a trust policy if no option does."""

CONTENT_NAMED = re.compile(r"[a-z0-9_]+\.([0-9a-f]{12})\.(onnx|json|parquet|npy)")
"""A file named by the first 12 hex digits of its SHA-256."""

MAX_SEQUENCE = 999_999
"""Highest number of a verdict; a file with a higher one is not a verdict."""

VERDICT_NAMED = re.compile(
    r"[a-z0-9_]+_seed_flip_PROMOTE(\.[1-9][0-9]{0,5}(\.dsse|\.attest\.[0-9a-f]{12})?)?\.json"
)
"""A verdict's file, plain or numbered, or the signatures or an attestation on a numbered one."""

_Model = TypeVar("_Model", bound=BaseModel)


def read_file(folder: Path, name: str) -> bytes:
    """A registry file's bytes; links, special, oversized and world-writable files are refused.

    Raises:
      IntegrityError: any of these, or it is missing or unreadable.
    """
    return read_plain(folder / name, max_bytes=MAX_FILE_BYTES, guarded=True, next_step=RESTORE)


def read_bound(folder: Path, name: str, sha256: str) -> bytes:
    """The bytes of a registry's file, or of its history's, if they have the digest given.

    Raises:
      IntegrityError: it is in neither folder, cannot be believed, or has another digest.
    """
    for place in (folder, history_dir(folder), folder):  # an act may move it from one to the other meanwhile
        try:
            data = read_file(place, name)
        except IntegrityError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                continue
            raise
        if sha256_bytes(data) != sha256:
            raise IntegrityError(f"{place / name} does not match its digest", next_step=RESTORE)
        return data
    raise IntegrityError(f"{folder / name} is missing", next_step=RESTORE)


def history_dir(folder: Path) -> Path:
    """Where a registry keeps files that only earlier verdicts rest on. Raises IntegrityError if it is a link."""
    path = folder / HISTORY
    if path.is_symlink():
        raise IntegrityError(f"{path} is a symbolic link", next_step=RESTORE)
    return path


def is_here(folder: Path, name: str) -> bool:
    """Whether a file lies in a registry or in its history, whatever its content."""
    return any(os.path.lexists(place / name) for place in (folder, history_dir(folder), folder))


def parse(kind: type[_Model], data: bytes, path: Path) -> _Model:
    """A record from JSON bytes. Raises IntegrityError if they do not match its schema."""
    return parse_record(kind, data, where=str(path), next_step=RESTORE)


def parse_bound(kind: type[_Model], data: bytes, path: Path) -> _Model:
    """`parse` for bytes that a verdict names by digest, in half the time.

    It does not check for duplicate keys: that was done when the verdict was filed, and the digest fixes the bytes.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        return parse(kind, data, path)  # which names the error


def content_name(stem: str, sha256: str, suffix: str) -> str:
    """The name of a file by its content.

    >>> content_name("m_seed0", "0123456789abcdef" * 4, "onnx")
    'm_seed0.0123456789ab.onnx'
    """
    return f"{stem}.{sha256[:12]}.{suffix}"


def verdict_name(ensemble: str, sequence: int | None = None) -> str:
    """The file of an ensemble's current verdict, or of a numbered one.

    >>> verdict_name("m"), verdict_name("m", 2)
    ('m_seed_flip_PROMOTE.json', 'm_seed_flip_PROMOTE.2.json')
    """
    middle = "" if sequence is None else f".{sequence}"
    return f"{ensemble}_seed_flip_PROMOTE{middle}.json"


def envelope_name(ensemble: str, sequence: int) -> str:
    """The file of the signatures on a numbered verdict.

    >>> envelope_name("m", 2)
    'm_seed_flip_PROMOTE.2.dsse.json'
    """
    return f"{ensemble}_seed_flip_PROMOTE.{sequence}.dsse.json"
