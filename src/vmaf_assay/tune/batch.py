"""Many sources in sequence: finished ones are skipped, failed ones do not stop the rest.

A folder `.assay` beside the outputs holds a record of each finished encode: request, digests and answer. A source
is skipped if its record and its output match the request.
"""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vmaf_assay.errors import AssayError, ConfigError, ToolError
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import (
    canonical_json,
    check_folder,
    path_text,
    read_json_strict,
    real_path,
    sha256_bytes,
    sha256_file,
    write_json_atomic,
)
from vmaf_assay.media.filters import named_files
from vmaf_assay.media.streams import CONTAINERS
from vmaf_assay.tune.goals import check_goals
from vmaf_assay.tune.request import TuneRequest, check_request
from vmaf_assay.tune.result import TuneResult

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.tune.cache import Cache


VIDEO_SUFFIXES = {
    ".mkv",
    ".mp4",
    ".mov",
    ".webm",
    ".m4v",
    ".avi",
    ".ts",
    ".m2ts",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".y4m",
}
"""Suffixes of videos in a folder; a file named explicitly may have any."""

Status = Literal["done", "skipped", "failed"]


class TuneRecord(BaseModel):
    """`.assay/<output>.json`: one finished encode."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    """Major version of this file's schema."""
    request_sha256: str
    """Digest of the request without paths, of the ensemble, and of ffmpeg's version."""
    source_sha256: str
    """Digest of the source's bytes."""
    output_sha256: str
    """Digest of the output's bytes."""
    met: bool
    """Whether the answer was yes."""
    result: dict[str, Any]
    """The answer, as `tune --json` prints it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One source of many."""

    source: Path
    output: Path | None
    """Path of its encode; None makes no encode."""

    @property
    def record(self) -> Path | None:
        """Path of its record."""
        return None if self.output is None else self.output.parent / ".assay" / f"{self.output.name}.json"


@dataclass(frozen=True, slots=True)
class ItemResult:
    """Outcome of one source."""

    item: Item
    """The source."""
    status: Status
    """`done` now, `skipped` because it was done before, or `failed`."""
    met: bool
    """Whether the answer is yes."""
    document: dict[str, Any]
    """The answer as `tune --json` prints it; for a failure the error."""
    result: TuneResult | None = None
    """The answer, if it was computed in this run."""
    problem: AssayError | OSError | None = None
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sources that are tuned one after another."""

    total: int
    """How many there are."""
    outcomes: Iterator[ItemResult]
    """Tunes the next one each time it is asked."""


def check_batch(request: TuneRequest, out_dir: Path | None) -> TuneRequest:
    """What is asked of each source; raises ConfigError for what is invalid for all of them.

    Args:
      request: as `tune.request.resolved` gives it.
      out_dir: folder of the encodes; None makes none.
    """
    if request.output is not None:
        raise ConfigError("-o names one output, of one file", next_step="of folders and several, use --out-dir")
    if request.verifies and out_dir is None:
        raise ConfigError("--verify measures encodes, and none are made", next_step="add --out-dir")
    if out_dir is not None and out_dir.exists() and not out_dir.is_dir():
        raise ConfigError(f"--out-dir {out_dir} is a file", next_step="name a folder")
    if out_dir is not None:
        check_folder(out_dir, "--out-dir")
    info = check_request(replace(request, verify=False, retry=0))
    check_goals(replace(request, output=None if out_dir is None else out_dir / "OUT.mkv"), info)
    return request


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def plan_items(sources: Sequence[Path], out_dir: Path | None, container: str) -> list[Item]:
    """Every source that files, folders and globs name, with its output.

    A folder gives every video in it and below, and its outputs keep the folders' names.

    Raises:
      ConfigError: a folder or glob without videos, an unknown container, or two sources with one output.
    """
    suffix = suffix_of(container)
    items: dict[Path, Item] = {}
    for source, relative in _expand(sources, out_dir):
        output = None if out_dir is None else (out_dir / relative).with_suffix(suffix)
        key = real_path(source) if output is None else output
        if key in items and real_path(items[key].source) != real_path(source):
            raise ConfigError(
                f"{items[key].source} and {source} would both become {output}", next_step="rename one of them"
            )
        items.setdefault(key, Item(source, output))
    return list(items.values())


def suffix_of(container: str) -> str:
    """How names of a container end, as `.mkv`; raises ConfigError for an unknown one."""
    suffix = f".{container.lower().lstrip('.')}"
    if suffix not in CONTAINERS:
        raise ConfigError(
            f"unknown container {container!r}",
            next_step=f"choose one of {', '.join(name[1:] for name in CONTAINERS)}",
        )
    return suffix


def _expand(sources: Sequence[Path], out_dir: Path | None) -> Iterator[tuple[Path, Path]]:
    """(source, path of its output below the folder of outputs)."""
    for named in sources:
        if named.is_dir():
            found = [path for path in sorted(named.rglob("*")) if _is_video(path, named, out_dir)]
            yield from ((path, path.relative_to(named)) for path in found)
        elif not named.exists() and glob.has_magic(str(named)):
            found = [Path(name) for name in sorted(glob.glob(str(named), recursive=True)) if Path(name).is_file()]
            yield from ((path, Path(path.name)) for path in found)
        else:
            found = [named]
            yield named, Path(named.name)
        if not found and len(sources) > 1:
            yield named, Path(named.name)  # it fails, the others go on
        elif not found:
            raise ConfigError(f"no video in {named}", next_step=f"looked for {', '.join(sorted(VIDEO_SUFFIXES))}")


def _is_video(path: Path, folder: Path, out_dir: Path | None) -> bool:
    if (
        out_dir is not None
        and real_path(path).is_relative_to(real_path(out_dir))
        and real_path(out_dir) != real_path(folder)
    ):
        return False
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file()


def request_digest(request: TuneRequest, verified: "VerifiedEnsemble", ffmpeg: Ffmpeg) -> str:
    """Digest of request, models and ffmpeg version, without paths."""
    asked = {name: value for name, value in asdict(request).items() if name not in ("source", "output", "force")}
    models = verified.ensemble.sidecar.model_dump(mode="json")
    document = {"request": asked, "models": models, "ffmpeg": ffmpeg.version}
    if read := named_files(request.filters, Path.cwd()):
        document["filter_files"] = [sha256_file(path) for path in read]
    return sha256_bytes(canonical_json(document))


def tune_many(
    items: Sequence[Item],
    base: TuneRequest,
    tune_one: Callable[[TuneRequest], TuneResult],
    *,
    digest: str,
    cache: "Cache",
) -> Iterator[ItemResult]:
    """Tune each source in turn, and yield its outcome.

    Args:
      items: from `plan_items`.
      base: the request for each; its source and output are replaced.
      tune_one: tunes one source.
      digest: from `request_digest`.
      cache: for the digests of files; need not store results.
    """
    for item in items:
        try:
            yield _one(item, base, tune_one, digest, cache)
        except (AssayError, OSError) as problem:
            yield _failed(item, problem)
        except Exception as fault:  # a fault of ours in one item costs that item alone
            what = f"{path_text(item.source)}: unexpected {type(fault).__name__}: {fault}"
            yield _failed(item, ToolError(what, next_step="report this, with the file"))


def _failed(item: Item, problem: AssayError | OSError) -> ItemResult:
    """A source that was not tuned."""
    document = {"source": path_text(item.source), "error": str(problem)}
    return ItemResult(item, "failed", False, document, problem=problem)


def _one(
    item: Item, base: TuneRequest, tune_one: Callable[[TuneRequest], TuneResult], digest: str, cache: "Cache"
) -> ItemResult:
    if kept := _finished(item, digest, cache):
        return ItemResult(item, "skipped", kept.met, kept.result)
    if item.output is not None:
        item.output.parent.mkdir(parents=True, exist_ok=True)
    result = tune_one(replace(base, source=item.source, output=item.output))
    if item.record is not None and item.output is not None and result.output is not None:
        record = TuneRecord(
            request_sha256=digest,
            source_sha256=cache.digest(item.source),
            output_sha256=cache.digest(item.output),
            met=result.met,
            result=result.as_json(),
        )
        write_json_atomic(item.record, record.model_dump(mode="json"))
    return ItemResult(item, "done", result.met, result.as_json(), result)


def _finished(item: Item, digest: str, cache: "Cache") -> TuneRecord | None:
    """The record of this encode, if its output is there, unchanged."""
    if item.record is None or item.output is None or not item.record.is_file() or not item.output.is_file():
        return None
    try:
        record = TuneRecord.model_validate(read_json_strict(item.record))
    except (AssayError, ValidationError):
        return None
    same = record.request_sha256 == digest and record.source_sha256 == cache.digest(item.source)
    return record if same and record.output_sha256 == cache.digest(item.output) else None
