"""Atomic writes, digests, and JSON from untrusted files."""

import hashlib
import json
import math
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vmaf_assay.errors import ConfigError, IntegrityError, ToolError

if TYPE_CHECKING:
    from pydantic import BaseModel

_Record = TypeVar("_Record", bound="BaseModel")

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Largest JSON file read here; the largest written so far (a corpus index) has 1.5 MB."""


MAX_JSON_DEPTH = 32
"""Deepest nesting of a JSON document; the deepest written here (a sidecar with its calibration) has 6."""

MAX_INT_DIGITS = 18
"""Longest integer of a JSON document, digits: any such integer fits 64 bits."""


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, lower-case hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """The canonical bytes of a JSON value: sorted keys, no spaces, UTF-8, no NaN or Infinity.

    Bytes of names that are not UTF-8 stay what they are; a document with such is hashed and never read.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogateescape")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file atomically: after a kill at any moment, the old file or the new one is there, complete.

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
        # mkstemp makes files private; set the mode of an ordinary write.
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

    A pipe or a device is refused before it is opened, because reading could block or never end. The open file is
    checked again, so that a file exchanged meanwhile is refused as well.

    Args:
      path: the file.
      max_bytes: largest size accepted.
      guarded: refuse a symbolic link and a world-writable file.
      next_step: what an error tells the user to do.

    Raises:
      IntegrityError: absent, unreadable, not a plain file, too large, or refused by `guarded`.
    """
    try:
        facts = os.lstat(path) if guarded else os.stat(path)
        if problem := _not_plain(facts, max_bytes, guarded=guarded):
            raise IntegrityError(f"{path} {problem}", next_step=next_step)
        # O_NONBLOCK: a pipe put in the file's place meanwhile does not block the open.
        descriptor = os.open(path, os.O_RDONLY | _BINARY | _NONBLOCK | (_NOFOLLOW if guarded else 0))
        try:
            facts = os.fstat(descriptor)
            if problem := _not_plain(facts, max_bytes, guarded=guarded):
                raise IntegrityError(f"{path} {problem}", next_step=next_step)
            data = _read_all(descriptor, facts.st_size, max_bytes)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing", next_step=next_step) from error
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}", next_step=next_step) from error
    if len(data) > max_bytes:
        raise IntegrityError(f"{path} is over {max_bytes} bytes", next_step=next_step)
    return data


_RESTORE = "restore the file"
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # not on Windows
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)  # on Windows only


def _read_all(descriptor: int, size: int, max_bytes: int) -> bytes:
    """The rest of an open file, at most slightly over `max_bytes`. It needs fewer calls than a file object."""
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    parts = [data]  # its size changed, or the system returned only a part
    while data and sum(map(len, parts)) <= max_bytes:
        data = os.read(descriptor, 1 << 20)
        parts.append(data)
    return b"".join(parts)


def _not_plain(facts: os.stat_result, max_bytes: int, *, guarded: bool) -> str:
    """Why a file must not be read; '' if it may."""
    if stat.S_ISLNK(facts.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(facts.st_mode):
        return "is not a plain file"
    if guarded and facts.st_mode & _OPEN_MODES:
        return f"has mode {stat.S_IMODE(facts.st_mode):o}, so that anyone may change it (chmod 644)"
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
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def parse_json_strict(data: bytes, *, where: str) -> dict[str, Any]:
    """Parse an untrusted JSON object.

    Refused are duplicate keys, NaN, Infinity, overflowing numbers, integers beyond 64 bits, and invalid UTF-8. So
    are a byte order mark, a NUL or half a surrogate pair in a text, and nesting deeper than `MAX_JSON_DEPTH`.

    Raises:
      IntegrityError: for any of these, with `where` in the message.
    """
    plain = parse_json_plain(data)
    return parse_json_closely(data, where=where) if plain is None else plain


def parse_json_closely(data: bytes, *, where: str) -> dict[str, Any]:
    """The full check of `parse_json_strict`, which names the reason for a refusal."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
        _check_values(value)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where} is not acceptable JSON: {_brief(error)}", next_step=_RESTORE) from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{where} holds a {type(value).__name__}, not an object", next_step=_RESTORE)
    return value


_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)
# Too many digits for an integer, with no fraction before them. Literals come first, for speed.
_LONG_INT = re.compile(b"0" * (MAX_INT_DIGITS + 1) + rb"(?<![0.].{%d})" % (MAX_INT_DIGITS + 1), re.DOTALL)
_LARGE_EXPONENT = (b"000", b"+000")


def parse_json_plain(data: bytes) -> dict[str, Any] | None:
    """The result of `parse_json_strict` for ordinary documents, in a third of the time; None: use the full check.

    pydantic's parser refuses invalid JSON. Everything else that is refused shows in the bytes outside of texts,
    which are easy to separate if no text holds a backslash. Anything suspicious gets the full check.
    """
    if data[:1] != b"{" or b"\\" in data:
        return None
    outside = b"".join(data.split(b'"')[::2])
    brackets = outside.translate(None, _NO_BRACKETS)
    for _ in range(MAX_JSON_DEPTH // 2):  # each round removes one level or two
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    numbers = outside.translate(_DIGITS_ALIKE)
    large = b"E" in numbers or any(part.startswith(_LARGE_EXPONENT) for part in numbers.split(b"e")[1:])
    if brackets or large or _LONG_INT.search(numbers):
        return None
    from pydantic_core import from_json  # not needed by `assay --help`

    try:
        value: dict[str, Any] = from_json(data, allow_inf_nan=False)
    except ValueError:
        return None
    # A duplicate key is written twice but kept once.
    return value if _count_keys(value) == outside.count(b":") else None


_NESTS = frozenset([dict, list])


def _count_keys(value: dict[str, Any]) -> int:
    """Keys of an object and of those in it; of a list that begins with neither object nor list, none are seen."""
    count, unseen = 0, [value]
    while unseen:
        item: Any = unseen.pop()
        if type(item) is dict:
            count += len(item)
            unseen += [inner for inner in item.values() if type(inner) in _NESTS]
        elif type(item) is list and item and type(item[0]) in _NESTS:
            unseen += item
    return count


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _check_values(value: Any) -> None:  # noqa: ANN401 - JSON
    """Refuse texts that no file name or UTF-8 file can hold, and deep nesting. Raises ValueError."""
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
    """A pydantic record from JSON bytes. Raises IntegrityError if they do not match its schema."""
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
      IntegrityError: the file is absent, not a plain file, too large, or not acceptable JSON.
    """
    return parse_json_strict(read_plain(path, max_bytes=max_bytes), where=str(path))


def real_path(path: Path) -> Path:
    """A path without links; links that lead in a circle stay, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


def path_text(path: Path | str) -> str:
    r"""A path as text that every document and terminal holds: bytes that are not UTF-8 as `\xNN`.

    >>> path_text(Path(os.fsdecode(b"caf\xe9.mp4")))
    'caf\\xe9.mp4'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def path_of_text(text: str) -> Path:
    """The path that `path_text` wrote, if a file of that name is there; else the text as it stands."""
    plain = Path(text)
    if "\\x" not in text or plain.exists():
        return plain
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes([int(found[1], 16)]), os.fsencode(text))
    spelled = Path(os.fsdecode(raw))
    return spelled if spelled.exists() else plain


def as_given(path: Path) -> str:
    """A path as the user wrote it: of a URL, `Path` leaves one slash.

    >>> as_given(Path("https://host/a.mkv")), as_given(Path("file:///a.mkv")), as_given(Path("a.mkv"))
    ('https://host/a.mkv', 'file:///a.mkv', 'a.mkv')
    """
    scheme, slash, rest = str(path).partition(":/")
    if path.exists() or not slash or not re.fullmatch(_SCHEME, scheme):
        return str(path)
    return f"{scheme}:{'///' if scheme == 'file' else '//'}{rest}"


_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+"


def check_page(page: str | os.PathLike[str] | None) -> None:
    """Raise ConfigError if no page can be written there, before the work that it would be about."""
    if page is None:
        return
    path = Path(page)
    if kind := not_a_file(path):
        raise ConfigError(f"--report {as_given(path)} is {kind}", next_step="name a file, as --report page.html")
    check_folder(real_path(path).parent, "--report")


def check_folder(folder: Path, option: str) -> None:
    """Raise ConfigError if a folder is a URL, or the nearest one above it that is there takes no new file."""
    if (given := as_given(folder)) != str(folder):
        raise ConfigError(
            f"{option} {given} is a URL, not a folder", next_step="name a folder; mount a bucket as one"
        )
    folder = real_path(folder)
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise ConfigError(f"{option}: {there} is a file", next_step="name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{option}: {there} cannot be written to", next_step="choose another folder")


def not_a_file(path: Path) -> str:
    """What a path names instead of a plain file, in words; empty for a plain file, and for nothing at all."""
    if path.exists():
        kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return ""
        return next((f"a {word}" for is_kind, word in kinds if is_kind(mode)), "a device")
    if real_path(path).is_symlink():
        return "a link that leads in a circle"
    if str(path) == "-":
        return "standard input or output"
    return "a URL" if re.match(f"{_SCHEME}:/", str(path)) else ""
