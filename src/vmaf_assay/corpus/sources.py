"""Layouts of source collections: a manifest, a folder, or files named one by one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmaf_assay.errors import ConfigError, IntegrityError, MediaError
from vmaf_assay.media.files import read_json_strict

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "mp4", "mkv", "webm", "mov", "avi", "m4v", "ts", "mts", "m2ts", "mpg", "mpeg", "wmv", "flv", "y4m", "264",
        "h264", "265", "hevc", "ivf", "obu", "mxf", "ogv", "3gp",
    )
)  # fmt: skip
"""What a folder is searched for."""


@dataclass(frozen=True, slots=True)
class Source:
    """One original clip, or the part of a file that is used as one."""

    name: str
    """Unique in its corpus."""
    group: str
    """What must not be split between folds (shots of one film share it)."""
    path: Path
    """The file."""
    start_s: float = 0.0
    """Where the clip starts in the file, seconds."""
    duration_s: float | None = None
    """How long it is, seconds; None means to the end."""
    sha256: str | None = None
    """What a manifest says the file's digest is; checked before it is encoded."""
    url: str = ""
    """Where the file is if it is remote; `path` then only gives its name."""


def sources_from_manifest(manifest: Path) -> list[Source]:
    """Sources of a manifest such as `{"schema_version": 1, "sources": [{source, group, file, ...}]}`.

    Raises:
      ConfigError: a field is missing or of the wrong kind, a name is used twice, or a path leaves the folder.
    """
    try:
        document = read_json_strict(manifest)
    except IntegrityError as error:
        raise ConfigError(error.what, next_step="give a manifest of sources") from error
    if document.get("schema_version") != 1 or not isinstance(document.get("sources"), list):
        raise ConfigError(f"{manifest} is not a manifest of schema version 1", next_step="see docs/corpus.md")
    sources = [_entry(manifest, index, entry) for index, entry in enumerate(document["sources"])]
    return _unique(sources)


def _entry(manifest: Path, index: int, entry: Any) -> Source:  # noqa: ANN401 - JSON
    where = f"{manifest}, source {index}"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} is not an object", next_step="see docs/corpus.md")
    for field in ("source", "file"):
        if not isinstance(entry.get(field), str) or not entry[field]:
            raise ConfigError(f"{where} has no {field!r}", next_step="add it")
    file = Path(entry["file"])
    if file.is_absolute() or ".." in file.parts:
        raise ConfigError(f"{where}: {file} leaves the manifest's folder", next_step="use a relative path")
    start_s, duration_s = entry.get("start_s", 0), entry.get("duration_s")
    for value in (start_s, duration_s):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ConfigError(f"{where}: times are seconds, 0 or more", next_step="correct the manifest")
    return Source(
        name=entry["source"],
        group=str(entry.get("group") or entry["source"]),
        path=manifest.parent / file,
        start_s=float(start_s),
        duration_s=None if duration_s is None else float(duration_s),
        sha256=entry.get("sha256"),
    )


def sources_from_paths(paths: list[Path]) -> list[Source]:
    """One source a file; a folder stands for the video files under it. The group is the file's own name.

    Raises:
      ConfigError: a path is missing, a folder holds no video, or two files share a name.
    """
    sources: list[Source] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
            if not found:
                raise ConfigError(f"no video file under {path}", next_step="name the files")
            sources += [Source(p.stem, p.stem, p) for p in found]
        elif path.is_file():
            sources.append(Source(path.stem, path.stem, path))
        else:
            raise MediaError(f"no such file: {path}", next_step="check the path")
    return _unique(sources)


def _unique(sources: list[Source]) -> list[Source]:
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            raise ConfigError(
                f"two sources are named {source.name!r}", next_step="use a manifest to name them apart"
            )
        seen.add(source.name)
    if not sources:
        raise ConfigError("no source given", next_step="name files, a folder, or --manifest FILE")
    return sources
