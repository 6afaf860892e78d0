"""`assay corpus build | info | verify | pack | import | export`."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.options import FfmpegPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmaf_assay.corpus.build import CellMeasurer
    from vmaf_assay.corpus.plan import Cell, CorpusReference, EncoderRequest, Size
    from vmaf_assay.corpus.sources import Source
    from vmaf_assay.corpus.storage import Store
    from vmaf_assay.corpus.store import Corpus
    from vmaf_assay.media.ffmpeg import Ffmpeg
    from vmaf_assay.records import CellRecord

Folder = Annotated[
    str, typer.Argument(help="A corpus: a folder, or a URL such as s3://bucket/corpus.", metavar="CORPUS")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the `corpus` group."""
    group = typer.Typer(no_args_is_help=True, help="Measure real encodes: canonical-6 and VMAF of every frame.")
    group.command("build")(build)
    group.command("info")(info)
    group.command("verify")(verify)
    group.command("pack")(pack)
    group.command("export")(export_jsonl)
    group.command("import")(import_jsonl)
    app.add_typer(group, name="corpus")


def build(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Files, folders of them, or URLs such as s3://bucket/clips.")
    ] = None,
    out: Annotated[
        str, typer.Option("-o", "--out", help="Corpus: a folder or URL; an unfinished one is resumed.")
    ] = "corpus",
    manifest: Annotated[str | None, typer.Option(help="JSON manifest that names sources and groups.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="Of folders: netflix, bvi-dvc or folder (default: recognised).")
    ] = None,
    raw: Annotated[
        str | None, typer.Option(metavar="WxH:PIX_FMT:RATE", help="Geometry of .yuv files: 1920x1080:yuv420p:25.")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option("--encoder", "-e", help="NAME[:PRESET[:RATE,RATE...]]; repeatable.")
    ] = None,
    encoder_args: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]OPTIONS", help="More options for an encoder: '-tune grain'; repeatable."),
    ] = None,
    rates: Annotated[str | None, typer.Option(help="Rate values for encoders that name none: 22,28,34.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells in flight (default: one a core).")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Measure in this many processes of a Dask cluster made here.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Measure on the workers of this Dask scheduler.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Frames used of each source.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Scale larger sources into this box: 1280x720.")] = None,
    rendition: Annotated[
        list[str] | None, typer.Option(help="A further, smaller size of each larger source: 640x360.")
    ] = None,
    ffmpeg: FfmpegPath = None,
    as_json: Json = False,
) -> None:
    """Encode and score every source x encoder x rate value; resumes, and names sources it cannot use (exit 2).

    Example: assay corpus build clips/ -e libx264:medium -e libsvtav1:8:20,32,44,56 --max-frames 72 -o corpus
    """
    from vmaf_assay.corpus.plan import plan_cells
    from vmaf_assay.corpus.storage import building, open_store
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.media.ffmpeg import find_ffmpeg

    if sum(choice is not None for choice in (jobs, workers, scheduler)) > 1:
        raise ConfigError("--jobs, --workers and --scheduler exclude each other", next_step="name one")
    requests = _requests(encoder or ["libx264"], rates, encoder_args or [])
    sizes = [_size(max_size) if max_size else None, *(_size(text) for text in rendition or [])]
    store = open_store(out)
    with building(store) as scratch:
        found = _sources(sources or [], manifest, scratch, layout, raw)
        tool = find_ffmpeg(ffmpeg)
        versions = _versions(tool, requests, scratch)
        renditions, refused = _renditions(tool, found, sizes, max_frames, scratch)
        cells = plan_cells(renditions, requests, versions)
        refused |= _measure(tool, cells, store, versions, scratch, jobs=jobs, workers=workers, scheduler=scheduler)
    _answer(out, store, refused, len(found), as_json=as_json)


def _answer(out: str, store: "Store", refused: dict[str, str], n_found: int, *, as_json: bool) -> None:
    """Say what was built; raises if sources are not in it."""
    from vmaf_assay.corpus.store import load_records
    from vmaf_assay.errors import SourcesRefusedError

    digest, records = load_records(store)  # its rows were read back a moment ago
    _print_info(digest, records, as_json=as_json, refused=refused)
    if not as_json:
        _conclude(out, digest, records, f"next: assay train {out}")
    if refused:
        raise SourcesRefusedError(refused, n_found)


def _requests(encoders: list[str], rates: str | None, encoder_args: list[str]) -> "list[EncoderRequest]":
    from vmaf_assay.corpus.plan import parse_encoder, parse_rates, with_encoder_args

    values = parse_rates(rates) if rates else None
    return with_encoder_args([parse_encoder(text, values) for text in encoders], encoder_args)


def _versions(tool: "Ffmpeg", requests: "list[EncoderRequest]", scratch: Path) -> dict[str, str]:
    """Tool versions; an encoder or an option that does not work here is named now, not after an hour."""
    from vmaf_assay.media.capability import check_extra_args
    from vmaf_assay.media.versions import tool_versions

    versions = tool_versions(tool, sorted({request.encoder.name for request in requests}), scratch=scratch)
    for request in requests:
        check_extra_args(tool, request.encoder)
    return versions


def _sources(
    named: list[str], manifest: str | None, scratch: Path, layout: str | None, raw: str | None
) -> "list[Source]":
    from vmaf_assay.cli.render import note
    from vmaf_assay.corpus.layouts import check_layout, describe
    from vmaf_assay.corpus.remote import remote_manifest, remote_sources
    from vmaf_assay.corpus.sources import sources_from_manifest, sources_from_paths
    from vmaf_assay.corpus.storage import is_url
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.media.raw import parse_raw

    geometry = parse_raw(raw) if raw else None
    found: list[Source] = []
    if manifest:
        found += remote_manifest(manifest, scratch) if is_url(manifest) else sources_from_manifest(Path(manifest))
    if urls := [text for text in named if is_url(text)]:
        found += remote_sources(urls, geometry)
    if paths := [Path(text) for text in named if not is_url(text)]:
        kind = check_layout(layout)
        found += sources_from_paths(paths, layout=kind, raw=geometry)
        for words in filter(None, (describe(path, kind) for path in paths if path.is_dir())):
            note(words)
    (name, count), *_ = Counter(source.name for source in found).most_common(1) or [("", 0)]
    if count > 1:
        raise ConfigError(f"two sources are named {name!r}", next_step="use a manifest to name them apart")
    if not found:
        raise ConfigError("no source given", next_step="name files, a folder, or --manifest FILE")
    return found


def _renditions(
    tool: "Ffmpeg", found: "list[Source]", sizes: "list[Size | None]", max_frames: int | None, scratch: Path
) -> "tuple[list[CorpusReference], dict[str, str]]":
    """What is to be encoded, and why which sources cannot be used, by name; raises if none can."""
    from vmaf_assay.cli.render import note, progress_bar
    from vmaf_assay.corpus.plan import references_of
    from vmaf_assay.corpus.remote import planned
    from vmaf_assay.errors import MediaError

    made: list[CorpusReference] = []
    refused: dict[str, str] = {}
    with progress_bar("sources", total=len(found)) as update:
        for number, source in enumerate(found, 1):
            try:
                new = planned(
                    source, scratch, lambda s: references_of(tool, s, sizes=sizes, max_frames=max_frames)
                )
            except MediaError as error:
                if len(refused) == len(found) - 1:
                    raise
                refused[source.name] = str(error)
                note(f"refused: {source.name}: {error}")
                continue
            for words in new[0].conversions:
                note(f"{source.name}: {words}")
            made += new
            update(number, source.name)
    return made, refused


def _measure(
    tool: "Ffmpeg",
    cells: "list[Cell]",
    store: "Store",
    versions: dict[str, str],
    scratch: Path,
    *,
    jobs: int | None,
    workers: int | None,
    scheduler: str | None,
) -> dict[str, str]:
    """Measure what is not there yet; returns the sources that turned out not to be usable, with the reason."""
    from vmaf_assay.cli.render import note, progress_bar
    from vmaf_assay.corpus.build import build_corpus
    from vmaf_assay.errors import SourcesRefusedError

    measurer = _farm(tool, scheduler, workers) if scheduler or workers else None
    with progress_bar("cells", total=len(cells)) as update:
        steps = build_corpus(
            tool, cells, store, versions, jobs=jobs or os.cpu_count() or 1, measurer=measurer, scratch=scratch
        )
        try:
            for step in steps:
                if step.note:
                    note(step.note)
                update(step.n_done, f"{step.per_minute:.0f} a minute, {step.last}" if step.last else "")
        except SourcesRefusedError as error:
            return error.refused
    return {}


def _farm(tool: "Ffmpeg", scheduler: str | None, workers: int | None) -> "CellMeasurer":
    from vmaf_assay.errors import ConfigError

    try:
        from vmaf_assay.corpus.farm import on_cluster, on_workers
    except ImportError as error:
        raise ConfigError(
            f"--workers and --scheduler need Dask, which is not installed ({error})",
            next_step="pip install 'vmaf-assay[cluster]'",
        ) from error
    if scheduler:
        return on_cluster(scheduler, ffmpeg=tool.path if tool.how_found == "--ffmpeg" else None)
    return on_workers(workers or 1, tool)


def _size(text: str) -> "Size":
    from vmaf_assay.errors import ConfigError

    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) >= 16 and int(height) >= 16):
        raise ConfigError(f"a size is WIDTHxHEIGHT in px, not {text!r}", next_step="write 1280x720")
    return int(width), int(height)


def _load(folder: str) -> "Corpus":
    from vmaf_assay.corpus.store import load_corpus

    return load_corpus(folder)


def info(folder: Folder, as_json: Json = False) -> None:
    """Say what a corpus holds.

    Example: assay corpus info corpus --json
    """
    corpus = _load(folder)
    _print_info(corpus.digest, corpus.cells, as_json=as_json)
    if not as_json:
        _conclude(folder, corpus.digest, corpus.cells, f"for its cells one by one: assay corpus verify {folder}")


def _conclude(where: str, digest: str, cells: "Sequence[CellRecord]", then: str) -> None:
    """The one line that answers the question."""
    from vmaf_assay.cli.render import say

    n_sources, n_groups = len({cell.source for cell in cells}), len({cell.group for cell in cells})
    say(f"{where}: {len(cells)} cells of {n_sources} sources in {n_groups} groups, digest {digest[:12]}; {then}")


def _print_info(
    digest: str, cells: "Sequence[CellRecord]", *, as_json: bool, refused: "dict[str, str] | None" = None
) -> None:
    encoders = sorted({(cell.encoder, cell.preset) for cell in cells})
    facts = {
        "digest": digest,
        "n_cells": len(cells),
        "n_rows": sum(cell.n_frames for cell in cells),
        "sources": sorted({cell.source for cell in cells}),
        "groups": sorted({cell.group for cell in cells}),
        "encoders": [
            {
                "encoder": name,
                "preset": preset,
                "rate_values": sorted({c.rate_value for c in cells if (c.encoder, c.preset) == (name, preset)}),
            }
            for name, preset in encoders
        ],
    }
    options = sorted({(c.encoder, c.preset, c.encoder_args) for c in cells if c.encoder_args})
    if options:
        facts["encoder_args"] = [{"encoder": e, "preset": p, "options": given} for e, p, given in options]
    if refused:
        facts["refused"] = [{"source": name, "reason": reason} for name, reason in refused.items()]
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    typer.echo(f"digest   {digest}")
    typer.echo(f"cells    {facts['n_cells']}, {facts['n_rows']} frames")
    n_sources = len({cell.source for cell in cells})
    typer.echo(f"sources  {n_sources} in {len({cell.group for cell in cells})} groups")
    for name, preset in encoders:
        rates = sorted({c.rate_value for c in cells if (c.encoder, c.preset) == (name, preset)})
        typer.echo(f"encoder  {name} {preset}: {', '.join(f'{rate:g}' for rate in rates)}")
    for name, preset, given in options:
        typer.echo(f"options  {name} {preset}: {given}")


def verify(folder: Folder) -> None:
    """Check every cell and the index against their digests.

    Example: assay corpus verify corpus
    """
    from vmaf_assay.cli.render import steps
    from vmaf_assay.corpus.store import check_cells

    corpus = _load(folder)
    with steps("checking") as on_step:
        check_cells(folder, corpus.cells, on_step)
    typer.echo(f"{folder}: {len(corpus.cells)} cells verify, digest {corpus.digest}")


def pack(
    folder: Folder, out: Annotated[str, typer.Option("-o", "--out", help="Folder or URL for the packed corpus.")]
) -> None:
    """Copy a corpus into two files, an index and one Parquet file; the digest stays.

    Example: assay corpus pack corpus -o data/corpus
    """
    from vmaf_assay.cli.render import steps
    from vmaf_assay.corpus.store import index_versions
    from vmaf_assay.corpus.store import pack as pack_corpus

    with steps("packing") as on_step:
        on_step("read", 0, 2)
        corpus = _load(folder)
        on_step("compressed", 1, 2)
        digest = pack_corpus(corpus, out, index_versions(folder))
    typer.echo(f"{out}: digest {digest}")


def export_jsonl(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSONL file to write.")],
) -> None:
    """Write one JSON object a frame: src, encoder, cq, frame_index, vmaf, adm2, vif_scale0..3, motion2.

    Example: assay corpus export corpus -o corpus.jsonl
    """
    from vmaf_assay.cli.render import say, steps
    from vmaf_assay.corpus.jsonl import write_jsonl

    with steps("writing") as on_step:
        n_rows = write_jsonl(_load(folder), out, on_step)
    say(f"{out}: {n_rows} rows")


def import_jsonl(
    file: Annotated[Path, typer.Argument(help="JSONL file of per-frame rows.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Corpus folder to write.")],
    preset: Annotated[str | None, typer.Option(help="Preset of rows that name none.")] = None,
) -> None:
    """Read the flat JSONL of earlier tools into a corpus.

    Example: assay corpus import corpus.jsonl -o corpus
    """
    from vmaf_assay.cli.render import say, steps
    from vmaf_assay.corpus.jsonl import read_jsonl

    with steps("reading") as on_step:
        digest = read_jsonl(file, out, preset=preset, on_step=on_step)
    say(f"{out}: digest {digest}")
