"""Whole files, or none: atomic writes, digests, and JSON read as if an enemy had written it."""

import hashlib
import json
import math
import os
import re
import stat
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vmaf_assay.errors import IntegrityError, ToolError

if TYPE_CHECKING:
    from pydantic import BaseModel

_Record = TypeVar("_Record", bound="BaseModel")

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Largest JSON file read here; the largest written so far (a corpus index) has 1.5 MB."""


MAX_JSON_DEPTH = 32
"""Deepest nesting of a JSON document; the deepest written here (a sidecar with its calibration) has 6."""

MAX_INT_DIGITS = 18
"""Longest integer of a JSON document: what fits a signed 64-bit integer, whatever its digits are."""


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


def read_plain(path: Path, *, max_bytes: int, guarded: bool = False, next_step: str = "restore the file") -> bytes:
    """The bytes of a plain file, read once: what is hashed and what is parsed are the same bytes.

    A pipe or a device is refused before it is opened, so that nothing waits for a writer or reads without end; the
    open file is asked again, so that a file exchanged meanwhile is refused as well.

    Args:
      path: the file.
      max_bytes: largest size accepted.
      guarded: refuse a symbolic link, and a file that anybody may write.
      next_step: what an error tells the user to do.

    Raises:
      IntegrityError: absent, unreadable, not a plain file, not guarded where it must be, or too large.
    """
    try:
        facts = path.lstat() if guarded else path.stat()
        if problem := _not_plain(facts, max_bytes, guarded=guarded):
            raise IntegrityError(f"{path} {problem}", next_step=next_step)
        # O_NONBLOCK: a pipe put in the file's place since then does not hang the open.
        descriptor = os.open(path, os.O_RDONLY | _NONBLOCK | (_NOFOLLOW if guarded else 0))
        with os.fdopen(descriptor, "rb") as handle:
            if problem := _not_plain(os.fstat(descriptor), max_bytes, guarded=guarded):
                raise IntegrityError(f"{path} {problem}", next_step=next_step)
            data = handle.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing", next_step=next_step) from error
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}", next_step=next_step) from error
    if len(data) > max_bytes:
        raise IntegrityError(f"{path} is over {max_bytes} bytes", next_step=next_step)
    return data


_RESTORE = "restore the file"
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # neither flag exists on Windows
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


def _not_plain(facts: os.stat_result, max_bytes: int, *, guarded: bool) -> str:
    """What keeps a file from being read, in words; '' if nothing does."""
    if stat.S_ISLNK(facts.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(facts.st_mode):
        return "is not a plain file"
    if guarded and facts.st_mode & _OPEN_MODES:
        return f"has mode {stat.S_IMODE(facts.st_mode):o}, so that anybody may change it (chmod 644)"
    return f"has {facts.st_size} bytes, over {max_bytes}" if facts.st_size > max_bytes else ""


# Windows has no such modes, and reports every file as writable by all.
_OPEN_MODES = stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX if os.name == "posix" else 0


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:100]!r} twice in one object")
    return result


def _no_constants(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _bounded_int(text: str) -> int:
    if len(text.lstrip("-")) > MAX_INT_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


# An exponent of three digits at the end of a number, not one inside the text of a digest.
_LARGE_EXPONENT = re.compile(rb"[eE]\+?[0-9]{3,}[\s,\]}]")


def _may_overflow(data: bytes) -> bool:
    """Whether a float of the document may be over 1.8e308; asking every float would double the time of parsing.

    Without such an exponent it takes over 200 digits in a row, and those cover a whole hundred somewhere.
    """
    return _LARGE_EXPONENT.search(data) is not None or any(
        data[at : at + 100].isdigit() for at in range(0, len(data), 100)
    )


_OPENS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(_OPENS)))


def parse_json_strict(data: bytes, *, where: str) -> dict[str, Any]:
    """Parse a JSON object as if an enemy had written it.

    Refused are duplicate keys, NaN, Infinity and what overflows to it, integers beyond 64 bits, bad UTF-8, a byte
    order mark, a NUL or half a surrogate pair in a text, and nesting deeper than `MAX_JSON_DEPTH`.

    Raises:
      IntegrityError: for any of these, with `where` in the message.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_int=_bounded_int,
            parse_float=_finite_float if _may_overflow(data) else None,
        )
        # Neither can be unless the bytes say so, brackets inside texts counted as if they nested.
        depths = accumulate(_OPENS[byte] for byte in data.translate(None, _NO_BRACKETS))
        if b"\\u" in data or max(depths, default=0) > MAX_JSON_DEPTH:
            _check_values(value)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where} is not acceptable JSON: {_brief(error)}", next_step=_RESTORE) from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{where} holds a {type(value).__name__}, not an object", next_step=_RESTORE)
    return value


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _check_values(value: Any) -> None:  # noqa: ANN401 - JSON
    """Refuse texts that no file name or UTF-8 file can hold, and deep nesting; raises ValueError."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        texts = [item for item in level if isinstance(item, str)]
        texts += [key for item in level if isinstance(item, dict) for key in item]
        for text in texts:
            if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
                raise ValueError("a text holds a NUL or half a surrogate pair")
        inner = [
            item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)
        ]
        level = [item for items in inner for item in items]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_JSON_DEPTH}")


def parse_record(kind: type[_Record], data: bytes, *, where: str, next_step: str) -> _Record:
    """A pydantic record from JSON bytes. Raises IntegrityError if they are not exactly of its schema."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(parse_json_strict(data, where=where))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))[:100]
        why = first["msg"].removeprefix("Value error, ")
        raise IntegrityError(": ".join(filter(None, [where, field, why])), next_step=next_step) from error


def read_json_strict(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read and parse one JSON object from a file; see `read_plain` and `parse_json_strict`.

    Raises:
      IntegrityError: the file is absent, no plain file, too large, or not acceptable JSON.
    """
    return parse_json_strict(read_plain(path, max_bytes=max_bytes), where=str(path))
