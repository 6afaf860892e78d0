"""Files that arrive in a folder: which of them are complete, and which were done before.

A folder `.assay/watch` beside the outputs holds a record of each source: its size and time, and what became of it.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vmaf_assay.errors import AssayError, ConfigError
from vmaf_assay.media.files import (
    as_given,
    check_folder,
    path_text,
    read_json_strict,
    real_path,
    sha256_bytes,
    sha256_file,
    write_json_atomic,
)
from vmaf_assay.tune.batch import VIDEO_SUFFIXES, Item
from vmaf_assay.tune.final import private_prefix

DEFAULT_SETTLE_S = 30.0
"""Seconds that a file must not change before it counts as complete."""

_UNFINISHED = {".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".incomplete"}
"""What browsers and copy programs put into the names of files that they still write, before or after `.mkv`."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file is written."""

    n_bytes: int
    """Size."""
    mtime_us: int
    """Time of its last change, microseconds since 1970."""
    ctime_ns: int
    """Time of the last change of its contents or facts; copy programs that set the former cannot set it."""

    def same_contents(self, n_bytes: int, mtime_us: int) -> bool:
        """Whether a file recorded with this size and time is unchanged."""
        return (self.n_bytes, self.mtime_us) == (n_bytes, mtime_us)


class SeenRecord(BaseModel):
    """`.assay/watch/<digest of the source's name>.json`: what became of one source."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    """Major version of this file's schema."""
    source: str
    """The source's path below the watched folder."""
    source_bytes: int
    """The source's size."""
    source_mtime_us: int
    """The source's time of last change, microseconds since 1970."""
    request_sha256: str
    """Digest of the request without paths, of the ensemble, and of ffmpeg's version."""
    state: Literal["begun", "done", "failed"]
    """`begun` stays where a run was killed."""
    output_sha256: str = ""
    """Digest of the output's bytes; empty if there is none."""
    document: dict[str, Any] = {}
    """The line that `--json` printed."""


class Ledger:
    """The records of one watched folder."""

    def __init__(self, folder: Path, out_dir: Path) -> None:
        """Of a watched folder, beside its outputs."""
        self._folder, self._records = folder, out_dir / ".assay" / "watch"
        self._known: dict[str, SeenRecord | None] = {}

    def name(self, source: Path) -> str:
        """A source's path below the folder, as text."""
        return path_text(source.relative_to(self._folder))

    def _path(self, name: str) -> Path:
        return self._records / f"{sha256_bytes(name.encode('utf-8', 'surrogateescape'))[:32]}.json"

    def of(self, source: Path) -> SeenRecord | None:
        """The record of a source; None if there is none that can be read."""
        name = self.name(source)
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> SeenRecord | None:
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            record = SeenRecord.model_validate(read_json_strict(path))
        except (AssayError, ValidationError):
            return None
        return record if record.source == name else None

    def write(self, source: Path, record: SeenRecord) -> None:
        """Keep what became of a source."""
        name = self.name(source)
        self._records.mkdir(parents=True, exist_ok=True)
        write_json_atomic(self._path(name), record.model_dump(mode="json"))
        self._known[name] = record

    def settled(self, source: Path, stamp: Stamp, digest: str) -> bool:
        """Whether a source needs nothing more: done, or failed the same request and unchanged since."""
        record = self.of(source)
        if record is None or record.state == "begun":
            return False
        if not stamp.same_contents(record.source_bytes, record.source_mtime_us):
            return False
        return record.request_sha256 == digest or bool(record.output_sha256)

    def owns(self, item: Item) -> bool:
        """Whether the output there was made by an earlier run of this watch, and nobody has changed it."""
        record = self.of(item.source)
        if record is None or item.output is None or not item.output.is_file():
            return False
        return record.state == "begun" or record.output_sha256 == sha256_file(item.output)

    def records(self) -> Iterator[SeenRecord]:
        """The record of every source that is done or failed."""
        for path in sorted(self._records.glob("*.json")):
            try:
                record = SeenRecord.model_validate(read_json_strict(path))
            except (AssayError, ValidationError):
                continue
            if record.state != "begun":
                yield record


class Arrivals:
    """Videos in a folder, each with the time since when it has not changed."""

    def __init__(
        self, folder: Path, out_dir: Path, settle_s: float, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Of a folder; files have to stay unchanged for `settle_s` seconds of the clock `now`."""
        self._folder, self._out, self._settle_s, self._now = folder, real_path(out_dir), settle_s, now
        self._since: dict[Path, tuple[Stamp, float]] = {}

    def look(self) -> list[tuple[Path, Stamp]]:
        """Complete files with their stamps: those first that have been complete longest."""
        now = self._now()
        seen: dict[Path, tuple[Stamp, float]] = {}
        for path in self._videos():
            if (stamp := stamp_of(path)) is None or stamp.n_bytes == 0:
                continue
            before, since = self._since.get(path, (stamp, now))
            seen[path] = (stamp, since if before == stamp else now)
        self._since = seen
        complete = [(since, path, stamp) for path, (stamp, since) in seen.items() if now - since >= self._settle_s]
        return [(path, stamp) for _, path, stamp in sorted(complete, key=lambda one: (one[0], one[1]))]

    def waiting(self) -> list[tuple[Path, Stamp]]:
        """Every video that the last look saw, complete or not."""
        return [(path, stamp) for path, (stamp, _) in self._since.items()]

    def _videos(self) -> Iterator[Path]:
        """In folders that are neither hidden nor those of the outputs."""
        for folder, below, names in os.walk(self._folder):
            here = Path(folder)
            below[:] = sorted(
                name for name in below if not _is_hidden(name) and real_path(here / name) != self._out
            )
            yield from (here / name for name in sorted(names) if _is_finished_video(name))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "~"))


def _is_finished_video(name: str) -> bool:
    stem, suffix = os.path.splitext(name.lower())
    unfinished = os.path.splitext(stem)[1] in _UNFINISHED
    return suffix in VIDEO_SUFFIXES and not unfinished and not _is_hidden(name)


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a plain file; None if there is none."""
    try:
        facts = path.stat()
    except OSError:  # gone, a link to nothing or to itself
        return None
    return (
        Stamp(facts.st_size, facts.st_mtime_ns // 1000, facts.st_ctime_ns) if stat.S_ISREG(facts.st_mode) else None
    )


def check_watch(folder: Path, out_dir: Path, settle_s: float, every_s: float) -> None:
    """Raises ConfigError for folders that cannot be watched or written to, and for impossible times."""
    if not folder.is_dir():
        raise ConfigError(f"{as_given(folder)} is no folder", next_step="name the folder where files arrive")
    check_folder(out_dir, "--out-dir")
    if real_path(folder).is_relative_to(real_path(out_dir)):
        raise ConfigError(
            f"--out-dir {out_dir} holds the watched folder, so its encodes would count as arrivals",
            next_step="name a folder beside or below it",
        )
    for option, value, least in (("--settle", settle_s, 0.0), ("--every", every_s, 0.1)):
        if not least <= value <= 86400:
            raise ConfigError(f"{option} is {value:g} seconds", next_step=f"use {least:g} to 86400")


def remove_leftovers(output: Path) -> None:
    """Remove what a killed run left of an encode: the private folders of this output."""
    for folder in output.parent.glob(f"{private_prefix(output)}*"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
