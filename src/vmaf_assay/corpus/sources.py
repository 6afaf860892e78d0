"""Sources of a corpus: from a manifest, from folders of known layouts, from files and patterns."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmaf_assay.corpus.layouts import Found, Layout, files_in, found_file
from vmaf_assay.errors import ConfigError, IntegrityError, MediaError
from vmaf_assay.media.files import as_given, not_a_file, path_text, read_json_strict
from vmaf_assay.media.raw import RAW_SUFFIXES, RawGeometry, geometry_in_name, parse_raw


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
    """Duration, seconds; None means to the end."""
    sha256: str | None = None
    """The digest in the manifest; checked before the file is encoded."""
    url: str = ""
    """Location of a remote file; `path` then only gives its name."""
    raw: RawGeometry | None = None
    """Geometry of a raw file; None for files with a header."""

    def input_args(self) -> tuple[str, ...]:
        """Options before `-i` that make the file readable."""
        return self.raw.input_args() if self.raw else ()


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
    for field in ("group", "sha256"):
        if not isinstance(entry.get(field), str | None):
            raise ConfigError(f"{where}: {field!r} is not text", next_step="correct the manifest")
    start_s, duration_s = entry.get("start_s") or 0, entry.get("duration_s")
    for value in (start_s, duration_s):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ConfigError(f"{where}: times are seconds, 0 or more", next_step="correct the manifest")
    file = _inside(manifest.parent, entry["file"], where)
    return Source(
        name=entry["source"],
        group=entry.get("group") or entry["source"],
        path=file,
        start_s=float(start_s),
        duration_s=None if duration_s is None else float(duration_s),
        sha256=entry.get("sha256"),
        raw=_geometry(entry.get("raw"), file, where),
    )


def _geometry(raw: Any, file: Path, where: str) -> RawGeometry | None:  # noqa: ANN401 - JSON
    """Geometry of a raw file from the manifest or the file's name; None for a file that is not raw."""
    if raw is not None and not isinstance(raw, str):
        raise ConfigError(f"{where}: raw is not text", next_step='write "raw": "1920x1080:yuv420p:25"')
    geometry = parse_raw(raw) if raw else None
    if file.suffix.lower() in RAW_SUFFIXES:
        geometry = geometry or geometry_in_name(file.stem)
        if geometry is None:
            raise ConfigError(f"{where}: {file.name} is raw video", next_step='add "raw": "1920x1080:yuv420p:25"')
    return geometry


def _inside(folder: Path, name: str, where: str) -> Path:
    """A file under a folder; ConfigError if the name, or a link on its way, leads elsewhere."""
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a name too long, or circular links
        raise ConfigError(
            f"{where}: {name[:100]} is not a valid path", next_step="correct the manifest"
        ) from error
    if Path(name).is_absolute() or ".." in Path(name).parts or not inside:
        raise ConfigError(f"{where}: {name} leaves the manifest's folder", next_step="use a relative path")
    return path


def sources_from_paths(
    paths: list[Path], *, layout: Layout | None = None, raw: RawGeometry | None = None
) -> list[Source]:
    """One source a file; a folder stands for the video files under it, a pattern for those that match it.

    Args:
      paths: files, folders, or patterns such as `clips/*.mkv`.
      layout: of the folders; None recognises it from the names (`corpus/layouts.py`).
      raw: geometry of raw files; None reads it from their names.

    Raises:
      ConfigError: a folder holds no video, a raw file's geometry is unknown, or two files share a name.
      MediaError: a path is missing.
    """
    found: list[Found] = []
    for path in paths:
        if path.is_dir():
            found += files_in(path, layout, raw)
        elif path.is_file():
            found.append(found_file(path, raw))
        elif matches := _matches(path):
            found += [found_file(match, raw) for match in matches]
        else:
            if kind := not_a_file(path):
                raise MediaError(
                    f"{as_given(path)} is {kind}; a source is read several times",
                    next_step="save it as a file first",
                )
            raise MediaError(f"no such file: {path}", next_step="check the path")
    return _unique([Source(path_text(Path(one.path.stem)), one.group, one.path, raw=one.raw) for one in found])


def _matches(pattern: Path) -> list[Path]:
    """Files that match a pattern which the shell has left alone."""
    if not glob.has_magic(str(pattern)):
        return []
    return sorted(path for name in glob.glob(str(pattern), recursive=True) if (path := Path(name)).is_file())


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
