"""Sources behind a URL: found, fetched while they are read, and checked against their digest."""

import functools
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vmaf_assay.corpus.layouts import VIDEO_SUFFIXES, found_file
from vmaf_assay.corpus.plan import CorpusReference
from vmaf_assay.corpus.sources import Source, sources_from_manifest
from vmaf_assay.corpus.storage import fetch, find
from vmaf_assay.errors import ConfigError, IntegrityError, MediaError
from vmaf_assay.media.files import sha256_file
from vmaf_assay.media.raw import RAW_SUFFIXES, RawGeometry


def remote_sources(urls: Sequence[str], raw: RawGeometry | None = None) -> list[Source]:
    """One source an object; a prefix stands for the video objects under it. The group is the object's own name.

    Raises:
      ConfigError: a prefix holds no video.
      MediaError: there is nothing at a URL.
    """
    sources: list[Source] = []
    for url in urls:
        found = find(url)
        if found != [url.rstrip("/")]:
            found = [name for name in found if Path(name).suffix.lower() in VIDEO_SUFFIXES | RAW_SUFFIXES]
        if not found:
            raise ConfigError(f"no video under {url}", next_step="name the objects")
        for name in found:
            one = found_file(Path(posixpath.basename(name)), raw)
            sources.append(Source(one.path.stem, one.group, one.path, url=name, raw=one.raw))
    return sources


def remote_manifest(url: str, scratch: Path) -> list[Source]:
    """Sources of a manifest behind a URL; their files lie under the same prefix."""
    copy = scratch / "manifest" / posixpath.basename(url)
    copy.parent.mkdir(exist_ok=True)
    fetch(url, copy)
    prefix = url.rsplit("/", 1)[0]
    listed = sources_from_manifest(copy)
    return [replace(s, url=f"{prefix}/{s.path.relative_to(copy.parent).as_posix()}") for s in listed]


def planned(
    source: Source, scratch: Path, references_of: Callable[[Source], list[CorpusReference]]
) -> list[CorpusReference]:
    """Plan one source; a remote one is fetched and then removed, so that disk use does not grow."""
    if not source.url:
        return references_of(source)
    copy = scratch / f"plan{Path(posixpath.basename(source.url)).suffix}"
    try:
        fetch(source.url, copy)
        made = references_of(replace(source, path=copy))
    finally:
        copy.unlink(missing_ok=True)
    return [replace(rendition, source=source) for rendition in made]


@contextmanager
def local_source(rendition: CorpusReference, copy: Path) -> Iterator[Path]:
    """The rendition's source as a local file with the planned bytes.

    A remote source is fetched to `copy`, which is removed afterwards.

    Raises:
      MediaError: it is gone.
      IntegrityError: it is not the file that was planned.
    """
    source = rendition.source
    try:
        if source.url:
            fetch(source.url, copy)
        path = copy if source.url else source.path
        if source_digest(path) != rendition.source_sha256:
            raise IntegrityError(
                f"source {source.name} ({source.url or source.path}) changed while the corpus was built",
                next_step="run the same build again",
            )
        yield path
    finally:
        copy.unlink(missing_ok=True)


def source_digest(path: Path) -> str:
    """SHA-256 of a file; a file unchanged since the last call is not read again.

    Raises:
      MediaError: it is not there.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise MediaError(f"cannot read source {path}: {error.strerror}", next_step="restore it") from error
    return _digest_of(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=4096)
def _digest_of(path: Path, *_state: int) -> str:
    return sha256_file(path)
