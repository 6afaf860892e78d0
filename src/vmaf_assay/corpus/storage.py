"""Where a corpus lies: a local folder, or any fsspec URL such as `s3://bucket/corpus`.

A store keeps objects under relative names, and a reader sees an object completely or not at all. A local folder
writes with temp + fsync + rename and has a lock. An object store writes with one put and has no lock. There, two
builders of one corpus measure some cells twice and write the same rows under the same names; the last one writes
the index. A store whose put is not atomic (a network disk behind fsspec) can leave a partial cell. Its digest
shows that, and the next run measures it again.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vmaf_assay.errors import ConfigError, MediaError, ToolError
from vmaf_assay.media.files import read_plain, write_bytes_atomic
from vmaf_assay.media.lock import exclusive

T = TypeVar("T")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_EXTRA = "pip install 'vmaf-assay[cluster]'"
_CHUNK_BYTES = 8 * 1024 * 1024


class Store(Protocol):
    """Objects under relative names, each complete or absent."""

    where: str
    """The folder or URL, as given."""

    def read(self, name: str) -> bytes | None:
        """An object's bytes, or None if it does not exist; raises ToolError if the store fails."""

    def write(self, name: str, data: bytes) -> None:
        """Write an object atomically; raises ToolError if that fails, and leaves nothing half-written."""

    def delete(self, name: str) -> None:
        """Remove an object if it exists."""

    def names(self, folder: str = "") -> set[str]:
        """Names of the objects directly in a folder, without the folder's name."""

    def path(self, name: str) -> str:
        """The object's path or URL, for messages."""

    def scratch(self) -> Path:
        """Local folder for temporary files; the same for every build of this corpus on this machine."""


def is_url(where: str | Path) -> bool:
    """True for `s3://bucket/x` and similar.

    >>> is_url("s3://bucket/corpus"), is_url("corpus"), is_url("C:/corpus")
    (True, False, False)
    """
    return isinstance(where, str) and _URL.match(where) is not None


def open_store(where: str | Path) -> Store:
    """The store at a folder or URL; nothing is created or read yet.

    Raises:
      ConfigError: a URL whose driver is not installed.
    """
    if is_url(where):
        return ObjectStore(str(where).rstrip("/"))
    return LocalStore(Path(where))


MAX_OBJECT_BYTES = 1 << 33
"""Largest object read from a folder."""


class LocalStore:
    """A local or shared folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder)

    def read(self, name: str) -> bytes | None:
        """As `Store.read`."""
        try:
            if not (self._folder / name).exists():
                return None
            return read_plain(self._folder / name, max_bytes=MAX_OBJECT_BYTES)
        except OSError as error:
            raise ToolError(
                f"cannot read {self._folder / name}: {error.strerror}", next_step="check the disk and its rights"
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """As `Store.write`."""
        write_bytes_atomic(self._folder / name, data)

    def delete(self, name: str) -> None:
        """As `Store.delete`."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise ToolError(
                f"cannot remove {self._folder / name}: {error.strerror}", next_step="check the folder's rights"
            ) from error

    def names(self, folder: str = "") -> set[str]:
        """As `Store.names`."""
        place = self._folder / folder
        return {entry.name for entry in place.iterdir() if entry.is_file()} if place.is_dir() else set()

    def path(self, name: str) -> str:
        """As `Store.path`."""
        return str(self._folder / name)

    def scratch(self) -> Path:
        """As `Store.scratch`."""
        # In the corpus, not in the system's temporary folder, so that remains of a killed build are removed.
        return self._folder / ".scratch"

    def remove_half_written(self) -> None:
        """Remove temporary files that a killed build left."""
        for folder in (self._folder, self._folder / "cells"):
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)


class ObjectStore:
    """A prefix of an object store, through fsspec."""

    def __init__(self, url: str) -> None:
        self.where = url
        self._fs, self._root = filesystem(url)

    def read(self, name: str) -> bytes | None:
        """As `Store.read`."""
        try:
            data: bytes = self._asked(lambda: self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """As `Store.write`."""
        try:
            self._asked(lambda: self._fs.pipe_file(f"{self._root}/{name}", data))
        except FileNotFoundError as error:
            raise ConfigError(f"{self.where}: {error}", next_step="make the bucket or choose -o") from error

    def check_rights(self) -> None:
        """Write and remove an object, so that a build without rights ends before its first encode."""
        self.write(".rights", b"written to see whether it can be")
        self.delete(".rights")

    def delete(self, name: str) -> None:
        """As `Store.delete`."""
        try:
            self._asked(lambda: self._fs.rm_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return

    def names(self, folder: str = "") -> set[str]:
        """As `Store.names`."""
        self._fs.invalidate_cache()  # a cached listing would miss another builder's objects
        place = f"{self._root}/{folder}".rstrip("/")
        try:
            entries = self._asked(lambda: self._fs.ls(place, detail=True))
        except FileNotFoundError:
            return set()
        return {str(entry["name"]).rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"}

    def path(self, name: str) -> str:
        """As `Store.path`."""
        return f"{self.where}/{name}"

    def scratch(self) -> Path:
        """As `Store.scratch`."""
        mark = hashlib.sha256(self.where.encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"assay-corpus-{mark}"

    def _asked(self, ask: Callable[[], T]) -> T:
        return asked(self.where, ask)


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it.

    Raises:
      ConfigError: fsspec, or the driver of this kind of URL, is not installed.
    """
    kind = url.split("://", 1)[0]
    try:
        import fsspec
    except ImportError as error:
        raise ConfigError(f"{kind}:// needs fsspec, which is not installed", next_step=_EXTRA) from error
    try:
        # Listings are not cached: other machines write while this one reads.
        options = {"use_listings_cache": False} if kind in ("s3", "s3a", "gs", "gcs", "abfs", "az") else {}
        found, path = fsspec.url_to_fs(url, **options)
    except ImportError as error:
        hint = _EXTRA if kind in ("s3", "s3a") else "install the fsspec driver of that kind of URL"
        raise ConfigError(f"{kind}:// cannot be read here: {error}", next_step=hint) from error
    except ValueError as error:
        raise ConfigError(f"{url}: {error}", next_step="check the URL") from error
    return found, str(path).rstrip("/")


def asked(where: str, ask: Callable[[], T]) -> T:
    """The answer of a remote store; any error but "not found" becomes a ToolError."""
    try:
        return ask()
    except FileNotFoundError:
        raise
    except Exception as error:  # drivers raise their libraries' own exceptions
        reason = str(error) or type(error).__name__
        raise ToolError(f"{where}: {reason}", next_step="check the address, the rights and the network") from error


@contextmanager
def building(store: Store) -> Iterator[Path]:
    """Lock a corpus for one build and yield an empty scratch folder, removed at the end.

    A folder is locked against every builder that sees it, an object store only against those on this machine.

    Raises:
      ConfigError: another build holds it.
      ToolError: the folder cannot be written.
    """
    scratch = store.scratch()
    local = isinstance(store, LocalStore)
    lock = scratch.parent / ".lock" if local else scratch.with_name(f"{scratch.name}.lock")
    with ExitStack() as held:
        try:
            scratch.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(lock, 0))
        except TimeoutError as error:
            raise ConfigError(
                f"another build is using {store.where}", next_step="wait for it or choose -o"
            ) from error
        except OSError as error:
            raise ToolError(
                f"cannot write {store.where}: {error.strerror}", next_step="check the folder's rights or choose -o"
            ) from error
        held.callback(shutil.rmtree, scratch, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
        _make(scratch, store)
        if isinstance(store, LocalStore):
            store.remove_half_written()
        elif isinstance(store, ObjectStore):
            store.check_rights()
        yield scratch
        if isinstance(store, LocalStore):  # again: workers may have been killed while writing
            store.remove_half_written()


def _make(scratch: Path, store: Store) -> None:
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise ToolError(
            f"cannot write {store.where}: {error.strerror}", next_step="check the folder's rights or choose -o"
        ) from error


def fetch(url: str, path: Path) -> None:
    """Copy one remote object to a local file.

    Raises:
      MediaError: there is no such object.
      ToolError: it cannot be read, or the disk is full.
    """
    files, name = filesystem(url)

    def copy() -> None:
        with files.open(name, "rb", block_size=_CHUNK_BYTES) as remote, path.open("wb") as local:
            shutil.copyfileobj(remote, local, _CHUNK_BYTES)

    try:
        asked(url, copy)
    except FileNotFoundError as error:
        raise MediaError(f"no such object: {url}", next_step="check the URL") from error


def find(url: str) -> list[str]:
    """The URLs under a prefix, or the URL itself if it is an object; sorted.

    Raises:
      MediaError: there is nothing.
    """
    files, name = filesystem(url)
    kind = url.split("://", 1)[0]
    found: list[str] = asked(url, lambda: files.find(name))
    if not found:
        raise MediaError(f"nothing at {url}", next_step="check the URL")
    return sorted(f"{kind}://{entry}" for entry in found)
