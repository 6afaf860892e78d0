"""`assay corpus build | info | verify | pack | merge | import | export`."""

import json
import math
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.options import FfmpegPath, UnsafeArgs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmaf_assay.api import CellRecord, Corpus, CorpusRequest
    from vmaf_assay.corpus.plan import Size
    from vmaf_assay.media.sync import Signatures

Folder = Annotated[
    str, typer.Argument(help="A corpus: a folder, or a URL such as s3://bucket/corpus.", metavar="CORPUS")
]
Rendition = Annotated[
    list[str] | None, typer.Option(help="A further, smaller size of each larger source: 640x360.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Measure in this many processes of a local Dask cluster.")
]
JoinSame = Annotated[bool, typer.Option("--join-same", help="Give groups that show the same content one group.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the `corpus` group."""
    group = typer.Typer(no_args_is_help=True, help="Measure real encodes: canonical-6 and VMAF of every frame.")
    group.command("build")(build)
    group.command("info")(info)
    group.command("verify")(verify)
    group.command("pack")(pack)
    group.command("merge")(merge)
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
        str | None, typer.Option(help="Layout of folders: netflix, bvi-dvc or folder (default: recognised).")
    ] = None,
    raw: Annotated[
        str | None, typer.Option(metavar="WxH:PIX_FMT:RATE", help="Geometry of .yuv files: 1920x1080:yuv420p:25.")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option("--encoder", "-e", help="NAME[:PRESET[:RATE,..[:10-bit]]]; repeatable.")
    ] = None,
    encoder_args: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]OPTIONS", help="More options for an encoder: '-tune grain'; repeatable."),
    ] = None,
    unsafe_args: UnsafeArgs = False,
    rates: Annotated[str | None, typer.Option(help="Rates of encoders without their own: 22,28,34.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells in flight (default: one a core).")] = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Measure on the workers of this Dask scheduler.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Most frames used of each source.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Scale larger sources into this box: 1280x720.")] = None,
    rendition: Rendition = None,
    join_same: JoinSame = False,
    ffmpeg: FfmpegPath = None,
    as_json: Json = False,
) -> None:
    """Encode and score every source x encoder x rate value; resumes, and names sources it cannot use (exit 2).

    Example: assay corpus build clips/ -e libx264:medium -e libsvtav1:8:20,32,44,56 --max-frames 72 -o corpus
    """
    from vmaf_assay.api import CorpusRequest
    from vmaf_assay.corpus.plan import parse_rates

    request = CorpusRequest(
        sources=tuple(sources or ()),
        out=out,
        encoders=tuple(encoder or ["libx264"]),
        rates=parse_rates(rates) if rates else None,
        manifest=manifest,
        layout=layout,
        raw=raw,
        encoder_args=tuple(encoder_args or ()),
        unsafe_args=unsafe_args,
        sizes=(_size(max_size) if max_size else None, *(_size(text) for text in rendition or [])),
        max_frames=max_frames,
        jobs=jobs,
        workers=workers,
        scheduler=scheduler,
        join_same=join_same,
    )
    _build(request, ffmpeg, as_json=as_json)


def _build(request: "CorpusRequest", ffmpeg: str | None, *, as_json: bool) -> None:
    """Build with progress, and print what was built; raises if sources are missing from it."""
    from vmaf_assay.api import BuildProgress, SourcesRefusedError, build_request, find_ffmpeg
    from vmaf_assay.cli.render import job, note

    with job("cells") as bar:

        def on_cell(step: BuildProgress) -> None:
            words = f"{step.per_minute:.0f} a minute, {step.last}" if step.last else ""
            if math.isfinite(step.remaining_s):
                bar.on_left(step.remaining_s)
            bar.on_step(words, step.n_done, step.n_total)

        built = build_request(
            request, ffmpeg=find_ffmpeg(ffmpeg), on_source=bar.on_step, on_cell=on_cell, on_note=note
        )
    _print_info(built.digest, built.cells, as_json=as_json, refused=built.refused)
    if not as_json:
        _conclude(request.out, built.digest, built.cells, f"next: assay train {quote(str(request.out))}")
    if built.refused:
        raise SourcesRefusedError(built.refused, built.n_sources)


def _size(text: str) -> "Size":
    from vmaf_assay.errors import ConfigError

    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) >= 16 and int(height) >= 16):
        raise ConfigError(f"a size is WIDTHxHEIGHT in px, not {text!r}", next_step="write 1280x720")
    return int(width), int(height)


def _load(folder: str) -> "Corpus":
    from vmaf_assay.api import load_corpus

    return load_corpus(folder)


def info(folder: Folder, as_json: Json = False) -> None:
    """Show what a corpus holds.

    Example: assay corpus info corpus --json
    """
    corpus = _load(folder)
    _print_info(corpus.digest, corpus.cells, as_json=as_json, looks=corpus.looks)
    if not as_json:
        _conclude(folder, corpus.digest, corpus.cells, f"for its cells one by one: assay corpus verify {folder}")


def _conclude(where: str, digest: str, cells: "Sequence[CellRecord]", then: str) -> None:
    """The line that answers the question."""
    from vmaf_assay.cli.render import say

    n_sources, n_groups = len({cell.source for cell in cells}), len({cell.group for cell in cells})
    say(f"{where}: {len(cells)} cells of {n_sources} sources in {n_groups} groups, digest {digest[:12]}; {then}")


def _print_info(
    digest: str,
    cells: "Sequence[CellRecord]",
    *,
    as_json: bool,
    refused: "dict[str, str] | None" = None,
    looks: "Mapping[str, Signatures] | None" = None,
) -> None:
    from vmaf_assay.corpus.looks import looks_digest

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
    if looks:
        facts["decoded"] = [{"source": name, "sha256": looks_digest(looks[name])} for name in sorted(looks)]
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


def verify(folder: Folder, as_json: Json = False) -> None:
    """Check every cell and the index against their digests, and that no two groups show the same content.

    Example: assay corpus verify corpus
    """
    from vmaf_assay.cli.render import steps
    from vmaf_assay.corpus.same_content import check_groups_differ, without_looks
    from vmaf_assay.corpus.store import check_cells

    corpus = _load(folder)
    with steps("checking") as on_step:
        check_cells(folder, corpus.cells, on_step)
    check_groups_differ(corpus)
    words = f"{len(corpus.cells)} cells verify, digest {corpus.digest}"
    if missing := without_looks(corpus):
        words += (
            f"; no looks of {len(missing)} sources, so copies of them were looked for by digests and motion only "
            "(the same `assay corpus build` makes them)"
        )
    facts = {"digest": corpus.digest, "n_cells": len(corpus.cells), "without_looks": missing}
    _done(folder, words, facts, as_json=as_json)


def pack(
    folder: Folder,
    out: Annotated[str, typer.Option("-o", "--out", help="Folder or URL for the packed corpus.")],
    join: JoinSame = False,
    as_json: Json = False,
) -> None:
    """Copy a corpus into two files, an index and one Parquet file; the digest stays unless groups are joined.

    Example: assay corpus pack corpus -o data/corpus
    """
    from vmaf_assay.cli.render import steps
    from vmaf_assay.corpus.same_content import join_same
    from vmaf_assay.corpus.store import index_versions
    from vmaf_assay.corpus.store import pack as pack_corpus

    with steps("packing") as on_step:
        on_step("read", 0, 2)
        corpus = _load(folder)
        corpus = join_same(corpus) if join else corpus
        on_step("compressed", 1, 2)
        digest = pack_corpus(corpus, out, index_versions(folder))
    _done(out, f"digest {digest}", {"digest": digest}, as_json=as_json)


def merge(
    corpora: Annotated[
        list[str], typer.Argument(help="Two corpora or more: folders or URLs.", metavar="CORPUS...")
    ],
    out: Annotated[str, typer.Option("-o", "--out", help="Folder or URL for the merged, packed corpus.")],
    first_wins: Annotated[
        bool, typer.Option("--first-wins", help="Where two measured a cell otherwise, leave out the later curve.")
    ] = False,
    join: JoinSame = False,
    as_json: Json = False,
) -> None:
    """Join corpora of several machines, sizes or encoders into one; contradictions are refused.

    Example: assay corpus merge nvenc-box/corpus qsv-box/corpus -o corpus
    """
    from vmaf_assay.api import merge_corpora
    from vmaf_assay.cli.render import note, steps

    with steps("merging") as on_step:
        merged = merge_corpora(corpora, out, first_wins=first_wins, join_groups=join, on_step=on_step)
    cells = merged.corpus.cells
    if merged.left_out:
        more = f", and {len(merged.left_out) - 1} more" if len(merged.left_out) > 1 else ""
        note(f"{len(merged.left_out)} curves left out: {merged.left_out[0]}{more}")
    facts = {
        "digest": merged.corpus.digest,
        "n_cells": len(cells),
        "n_sources": len({cell.source for cell in cells}),
        "n_groups": len({cell.group for cell in cells}),
        "n_duplicates": merged.n_duplicates,
        "left_out": list(merged.left_out),
    }
    words = (
        f"{len(cells)} cells of {facts['n_sources']} sources in {facts['n_groups']} groups, {merged.n_duplicates} "
        f"in more than one corpus, digest {merged.corpus.digest[:12]}; next: assay train {quote(out)}"
    )
    _done(out, words, facts, as_json=as_json)


def export_jsonl(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSONL file to write.")],
    as_json: Json = False,
) -> None:
    """Write one JSON object a frame: src, encoder, cq, frame_index, vmaf, adm2, vif_scale0..3, motion2.

    Example: assay corpus export corpus -o corpus.jsonl
    """
    from vmaf_assay.cli.render import steps
    from vmaf_assay.corpus.jsonl import write_jsonl

    with steps("writing") as on_step:
        n_rows = write_jsonl(_load(folder), out, on_step)
    _done(out, f"{n_rows} rows", {"n_rows": n_rows}, as_json=as_json)


def import_jsonl(
    file: Annotated[Path, typer.Argument(help="JSONL file of per-frame rows.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Corpus folder to write.")],
    preset: Annotated[str | None, typer.Option(help="Preset of rows without one.")] = None,
    as_json: Json = False,
) -> None:
    """Read the flat JSONL of earlier tools into a corpus.

    Example: assay corpus import corpus.jsonl -o corpus
    """
    from vmaf_assay.cli.render import steps
    from vmaf_assay.corpus.jsonl import read_jsonl

    with steps("reading") as on_step:
        digest = read_jsonl(file, out, preset=preset, on_step=on_step)
    _done(out, f"digest {digest}", {"digest": digest}, as_json=as_json)


def _done(where: str | Path, words: str, facts: "Mapping[str, object]", *, as_json: bool) -> None:
    """Print what was checked or written, and where it is."""
    from vmaf_assay.cli.render import emit_json, say

    if as_json:
        emit_json({"path": str(where), **facts})
    else:
        say(f"{where}: {words}")
