"""Build a corpus of real encodes."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vmaf_assay.api.paths import PathLike
from vmaf_assay.corpus.build import BuildProgress, CellMeasurer
from vmaf_assay.corpus.build import build_corpus as _build
from vmaf_assay.corpus.layouts import Layout, check_layout, describe
from vmaf_assay.corpus.looks import keep_looks
from vmaf_assay.corpus.merge import MergedCorpus, merge
from vmaf_assay.corpus.plan import (
    Cell,
    CorpusReference,
    EncoderRequest,
    Size,
    parse_encoder,
    parse_rates,
    plan_cells,
    references_of,
    with_encoder_args,
)
from vmaf_assay.corpus.remote import planned, remote_manifest, remote_sources
from vmaf_assay.corpus.same_content import alike_by_looks, check_groups_differ, join_same, joined_groups, refuse
from vmaf_assay.corpus.same_pictures import Looks
from vmaf_assay.corpus.sources import Source, sources_from_manifest, sources_from_paths
from vmaf_assay.corpus.storage import Store, building, is_url, open_store
from vmaf_assay.corpus.store import Corpus, index_versions, load_corpus, load_records, pack
from vmaf_assay.errors import ConfigError, MediaError, SourcesRefusedError, ToolError
from vmaf_assay.media.capability import check_extra_args, tool_versions
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.raw import parse_raw
from vmaf_assay.records import CellRecord, OnStep

OnNote = Callable[[str], None]
"""Called with a line that the user should read before more time is spent."""
OnCell = Callable[[BuildProgress], None]
"""Called after each cell."""


@dataclass(frozen=True, slots=True)
class CorpusRequest:
    """A request for a corpus."""

    sources: tuple[str, ...]
    """Files, folders of them, or URLs such as `s3://bucket/clips`."""
    out: str
    """The corpus: a folder or a URL; an unfinished one is resumed."""
    encoders: tuple[str, ...]
    """Each `NAME[:PRESET[:RATE,RATE...[:10-bit]]]`."""
    rates: tuple[float, ...] | None = None
    """Rate values of encoders without their own; None spreads eight over the encoder's range."""
    manifest: str | None = None
    """JSON manifest that names sources and groups, instead of or beside `sources`: a file or a URL."""
    layout: str | None = None
    """Layout of folders: `netflix`, `bvi-dvc` or `folder`; None recognises it."""
    raw: str | None = None
    """Geometry of `.yuv` files, as `1920x1080:yuv420p:25`; None reads it from their names."""
    encoder_args: tuple[str, ...] = ()
    """More options for an encoder, each `[NAME=]OPTIONS`."""
    unsafe_args: bool = False
    """Pass on encoder options that are not known to leave files alone."""
    sizes: tuple[Size | None, ...] = (None,)
    """Boxes (width, height) to fit into, largest first, px; None is a source's own size."""
    max_frames: int | None = None
    """Most frames used of each source; None uses all."""
    jobs: int | None = None
    """Cells in flight; None is one a core."""
    workers: int | None = None
    """Processes of a local Dask cluster; None measures in this process."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers measure."""
    join_same: bool = False
    """Whether groups that show the same content become one; otherwise they are refused."""


@dataclass(frozen=True, slots=True)
class BuiltCorpus:
    """A finished corpus, by its index."""

    digest: str
    """SHA-256 of the content."""
    cells: tuple[CellRecord, ...]
    """Sorted by key."""
    refused: dict[str, str]
    """Sources that cannot be used and are not in the corpus, by name, with the reason."""
    n_sources: int
    """Number of sources named, including refused ones."""


def build_corpus(
    sources: Sequence[PathLike],
    out: PathLike,
    *,
    encoders: Sequence[str],
    rates: Sequence[float] | str | None = None,
    manifest: PathLike | None = None,
    layout: Layout | None = None,
    raw: str | None = None,
    encoder_args: Sequence[str] = (),
    unsafe_args: bool = False,
    sizes: Sequence[Size] = (),
    max_frames: int | None = None,
    jobs: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    join_same: bool = False,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
) -> Corpus:
    """Encode and score every source x encoder x rate value; an interrupted build is resumed by calling again.

    Every argument but `ffmpeg` and `on_step` is a field of `CorpusRequest` and documented there. Text such as
    `22,28,34` is accepted for `rates`.

    Raises:
      ConfigError: no source, or an invalid request.
      CorpusError: two groups show the same content, and they are not to be joined.
      MediaError: no source can be used.
      SourcesRefusedError: some sources cannot be used. The corpus is finished without them, and `load_corpus`
        reads it.
      ToolError: an encode failed; finished cells stay.
    """
    request = CorpusRequest(
        sources=tuple(os.fspath(source) for source in sources),
        out=os.fspath(out),
        encoders=tuple(encoders),
        rates=parse_rates(rates) if isinstance(rates, str) else tuple(map(float, rates)) if rates else None,
        manifest=None if manifest is None else os.fspath(manifest),
        layout=layout,
        raw=raw,
        encoder_args=tuple(encoder_args),
        unsafe_args=unsafe_args,
        sizes=tuple(sizes) or (None,),
        max_frames=max_frames,
        jobs=jobs,
        workers=workers,
        scheduler=scheduler,
        join_same=join_same,
    )

    def on_cell(step: BuildProgress) -> None:
        if on_step:
            on_step(step.last, step.n_done, step.n_total)

    built = build_request(request, ffmpeg=ffmpeg, on_cell=on_cell)
    if built.refused:
        raise SourcesRefusedError(built.refused, built.n_sources)
    return load_corpus(request.out)


def build_request(
    request: CorpusRequest,
    *,
    ffmpeg: Ffmpeg | None = None,
    on_source: OnStep | None = None,
    on_cell: OnCell | None = None,
    on_note: OnNote | None = None,
) -> BuiltCorpus:
    """`build_corpus` for a request record; unusable sources are in the answer.

    Args:
      request: what is asked.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_source: called with each source that was opened, sources done, sources in all.
      on_cell: called after each cell.
      on_note: called with a line that should be read before more time is spent.
    """
    if sum(choice is not None for choice in (request.jobs, request.workers, request.scheduler)) > 1:
        raise ConfigError("--jobs, --workers and --scheduler exclude each other", next_step="name one")
    encoders = [parse_encoder(text, request.rates) for text in request.encoders]
    requests = with_encoder_args(encoders, list(request.encoder_args), unsafe=request.unsafe_args)
    store = open_store(request.out)
    with building(store) as scratch:
        found = _sources(request, scratch, on_note)
        tool = ffmpeg or find_ffmpeg()
        versions = _versions(tool, requests, scratch)
        looks: dict[str, Looks] = {}

        def plan(source: Source) -> list[CorpusReference]:
            made = references_of(tool, source, sizes=list(request.sizes), max_frames=request.max_frames)
            # What does not decode is refused, or tried again, by its cells.
            with contextlib.suppress(MediaError, ToolError):
                looks[source.name] = Looks(keep_looks(tool, store, made[0], scratch), made[0].frame_rate)
            return made

        renditions, refused = _renditions(plan, found, scratch, on_source, on_note)
        plan_cells(renditions, requests, versions)  # it refuses bytes that come twice in words of its own
        renditions = _of_unlike_groups(renditions, looks, on_note, join=request.join_same)
        cells = plan_cells(renditions, requests, versions)
        refused |= _measure(tool, request, cells, store, versions, scratch, on_cell, on_note)
    digest, records = load_records(store)  # its rows were read back a moment ago
    return BuiltCorpus(digest, records, refused, len(found))


def _versions(tool: Ffmpeg, requests: Sequence[EncoderRequest], scratch: Path) -> dict[str, str]:
    """Tool versions; raises now, not after an hour, if an encoder or an option does not work here."""
    versions = tool_versions(tool, sorted({request.encoder.name for request in requests}), scratch=scratch)
    for request in requests:
        check_extra_args(tool, request.encoder)
    return versions


def _sources(request: CorpusRequest, scratch: Path, on_note: OnNote | None) -> list[Source]:
    geometry = parse_raw(request.raw) if request.raw else None
    manifest, found = request.manifest, list[Source]()
    if manifest:
        found += remote_manifest(manifest, scratch) if is_url(manifest) else sources_from_manifest(Path(manifest))
    if urls := [text for text in request.sources if is_url(text)]:
        found += remote_sources(urls, geometry)
    if paths := [Path(text) for text in request.sources if not is_url(text)]:
        kind = check_layout(request.layout)
        found += sources_from_paths(paths, layout=kind, raw=geometry)
        for words in filter(None, (describe(path, kind) for path in paths if path.is_dir())):
            if on_note:
                on_note(words)
    (name, count), *_ = Counter(source.name for source in found).most_common(1) or [("", 0)]
    if count > 1:
        raise ConfigError(f"two sources are named {name!r}", next_step="use a manifest to name them apart")
    if not found:
        raise ConfigError("no source given", next_step="name files, a folder, or --manifest FILE")
    return found


def _of_unlike_groups(
    renditions: Sequence[CorpusReference], looks: Mapping[str, Looks], on_note: OnNote | None, *, join: bool
) -> list[CorpusReference]:
    """The references, in groups of which no two show the same; CorpusError if some do, unless joined."""
    group = {one.source.name: one.source.group for one in renditions}
    alike = alike_by_looks({name: looks[name] for name in group if name in looks}, group)
    if not join:
        refuse(alike, "give them one group in a manifest, leave one out, or join groups with --join-same")
    joined = joined_groups(list(group.values()), alike)
    for one in alike:
        if on_note:
            on_note(f"{one}: both are in group {joined[one.groups[0]]} now")
    return [replace(one, source=replace(one.source, group=joined[one.source.group])) for one in renditions]


def _renditions(
    plan: Callable[[Source], list[CorpusReference]],
    found: Sequence[Source],
    scratch: Path,
    on_source: OnStep | None,
    on_note: OnNote | None,
) -> tuple[list[CorpusReference], dict[str, str]]:
    """References to encode, and unusable sources by name with the reason; raises if no source is usable."""
    made: list[CorpusReference] = []
    refused: dict[str, str] = {}
    for number, source in enumerate(found, 1):
        try:
            new = planned(source, scratch, plan)
        except MediaError as error:
            if len(refused) == len(found) - 1:
                raise
            refused[source.name] = str(error)
            if on_note:
                on_note(f"refused: {source.name}: {error}")
            continue
        for words in new[0].conversions:
            if on_note:
                on_note(f"{source.name}: {words}")
        made += new
        if on_source:
            on_source(source.name, number, len(found))
    return made, refused


def _measure(
    tool: Ffmpeg,
    request: CorpusRequest,
    cells: list[Cell],
    store: Store,
    versions: dict[str, str],
    scratch: Path,
    on_cell: OnCell | None,
    on_note: OnNote | None,
) -> dict[str, str]:
    """Measure the missing cells; returns the sources that turned out to be unusable, with the reason."""
    measurer = _farm(tool, request) if request.scheduler or request.workers else None
    jobs = request.jobs or os.cpu_count() or 1
    steps = _build(tool, cells, store, versions, jobs=jobs, measurer=measurer, scratch=scratch)
    try:
        for step in steps:
            if step.note and on_note:
                on_note(step.note)
            if on_cell:
                on_cell(step)
    except SourcesRefusedError as error:
        return error.refused
    return {}


def _farm(tool: Ffmpeg, request: CorpusRequest) -> CellMeasurer:
    try:
        from vmaf_assay.corpus.farm import on_cluster, on_workers
    except ImportError as error:
        raise ConfigError(
            f"--workers and --scheduler need Dask, which is not installed ({error})",
            next_step="pip install 'vmaf-assay[cluster]'",
        ) from error
    if request.scheduler:
        return on_cluster(request.scheduler, ffmpeg=tool.path if tool.how_found == "--ffmpeg" else None)
    return on_workers(request.workers or 1, tool)


def merge_corpora(
    corpora: Sequence[PathLike],
    out: PathLike,
    *,
    first_wins: bool = False,
    join_groups: bool = False,
    on_step: OnStep | None = None,
) -> MergedCorpus:
    """Merge corpora of other machines, sizes or encoders into a packed one at `out`, a folder or URL.

    Args:
      corpora: folders or URLs; names of sources of the first ones stay.
      out: where the packed corpus is written; none of `corpora`.
      first_wins: leave out a later corpus's curve where it measured a cell otherwise; else that is refused.
      join_groups: give groups that show the same content one group; else they are refused.
      on_step: called with words, steps done and steps in all.

    Raises:
      ConfigError: fewer than two corpora, or `out` is one of them.
      CorpusError: sources, cells or groups contradict each other.
      IntegrityError: a corpus is damaged.
    """
    places = [str(where) for where in corpora]
    if len(set(places)) < 2 or len(set(places)) < len(places) or str(out) in places:
        raise ConfigError(
            "merge takes two corpora or more, each once, and writes another one", next_step="see --help"
        )
    if open_store(str(out)).read("corpus.json") is not None:
        raise ConfigError(f"{out} holds a corpus already", next_step="choose another -o, or remove it")
    n_steps = len(places) + 3
    step = on_step or (lambda _words, _done, _all: None)
    loaded, versions = [], dict[str, set[str]]()
    for number, where in enumerate(places):
        step(f"read {where}", number, n_steps)
        loaded.append((where, load_corpus(where)))
        for name, version in index_versions(where).items():
            versions.setdefault(name, set()).add(version)
    step("merged", len(places), n_steps)
    merged = merge(loaded, first_wins=first_wins)
    step("pictures of all groups compared", len(places) + 1, n_steps)
    if join_groups:
        merged = replace(merged, corpus=join_same(merged.corpus))
    else:
        check_groups_differ(merged.corpus, "add --join-same to give them one group")
    step("compressed", len(places) + 2, n_steps)
    pack(merged.corpus, str(out), {name: ", ".join(sorted(found)) for name, found in sorted(versions.items())})
    return merged
