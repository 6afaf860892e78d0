"""`assay corpus build | info | verify | pack | import | export`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vmaf_assay.corpus.plan import Size
    from vmaf_assay.corpus.store import Corpus

Folder = Annotated[Path, typer.Argument(help="A corpus folder.", metavar="CORPUS")]
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
    sources: Annotated[list[Path] | None, typer.Argument(help="Files, or folders of them.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Corpus folder; an unfinished one is resumed.")] = Path(
        "corpus"
    ),
    manifest: Annotated[Path | None, typer.Option(help="JSON manifest that names sources and groups.")] = None,
    encoder: Annotated[
        list[str] | None, typer.Option("--encoder", "-e", help="NAME[:PRESET[:RATE,RATE...]]; repeatable.")
    ] = None,
    rates: Annotated[str | None, typer.Option(help="Rate values for encoders that name none: 22,28,34.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Cells in flight (default: one a core).")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Frames used of each source.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Scale larger sources into this box: 1280x720.")] = None,
    rendition: Annotated[
        list[str] | None, typer.Option(help="A further, smaller size of each larger source: 640x360.")
    ] = None,
    ffmpeg: Annotated[str | None, typer.Option(help="The ffmpeg to use.")] = None,
) -> None:
    """Encode and score every source x encoder x rate value; resumes where it stopped.

    Example: assay corpus build clips/ -e libx264:medium -e libsvtav1:8:20,32,44,56 --max-frames 72 -o corpus
    """
    from vmaf_assay.cli.render import progress_bar
    from vmaf_assay.corpus.build import build_corpus
    from vmaf_assay.corpus.plan import parse_encoder, parse_rates, plan_cells, renditions_of
    from vmaf_assay.corpus.sources import sources_from_manifest, sources_from_paths
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.media.ffmpeg import find_ffmpeg
    from vmaf_assay.media.versions import tool_versions

    found = (sources_from_manifest(manifest) if manifest else []) + (
        sources_from_paths(sources) if sources else []
    )
    if not found:
        raise ConfigError("no source given", next_step="name files, a folder, or --manifest FILE")
    values = parse_rates(rates) if rates else None
    requests = [parse_encoder(text, values) for text in encoder or ["libx264"]]
    sizes: list[Size | None] = [_size(max_size) if max_size else None]
    sizes += [_size(text) for text in rendition or []]
    tool = find_ffmpeg(ffmpeg)
    versions = tool_versions(tool, sorted({request.encoder.name for request in requests}))
    renditions = [
        made for source in found for made in renditions_of(tool, source, sizes=sizes, max_frames=max_frames)
    ]
    cells = plan_cells(renditions, requests, versions)
    with progress_bar("cells", total=len(cells)) as update:
        for step in build_corpus(tool, cells, out, versions, jobs=jobs or os.cpu_count() or 1):
            update(step.n_done, step.last)
    _print_info(_load(out), as_json=False)


def _size(text: str) -> "Size":
    from vmaf_assay.errors import ConfigError

    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) >= 16 and int(height) >= 16):
        raise ConfigError(f"a size is WIDTHxHEIGHT in px, not {text!r}", next_step="write 1280x720")
    return int(width), int(height)


def _load(folder: Path) -> "Corpus":
    from vmaf_assay.corpus.store import load_corpus

    return load_corpus(folder)


def info(folder: Folder, as_json: Json = False) -> None:
    """Say what a corpus holds.

    Example: assay corpus info corpus --json
    """
    _print_info(_load(folder), as_json=as_json)


def _print_info(corpus: "Corpus", *, as_json: bool) -> None:
    encoders = sorted({(cell.encoder, cell.preset) for cell in corpus.cells})
    facts = {
        "digest": corpus.digest,
        "n_cells": len(corpus.cells),
        "n_rows": corpus.frames.height,
        "sources": sorted({cell.source for cell in corpus.cells}),
        "groups": sorted({cell.group for cell in corpus.cells}),
        "encoders": [
            {
                "encoder": name,
                "preset": preset,
                "rate_values": sorted(
                    {c.rate_value for c in corpus.cells if (c.encoder, c.preset) == (name, preset)}
                ),
            }
            for name, preset in encoders
        ],
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    typer.echo(f"digest   {corpus.digest}")
    typer.echo(f"cells    {facts['n_cells']}, {facts['n_rows']} frames")
    n_sources = len({cell.source for cell in corpus.cells})
    typer.echo(f"sources  {n_sources} in {len({cell.group for cell in corpus.cells})} groups")
    for name, preset in encoders:
        rates = sorted({c.rate_value for c in corpus.cells if (c.encoder, c.preset) == (name, preset)})
        typer.echo(f"encoder  {name} {preset}: {', '.join(f'{rate:g}' for rate in rates)}")


def verify(folder: Folder) -> None:
    """Check every cell and the index against their digests.

    Example: assay corpus verify corpus
    """
    corpus = _load(folder)
    typer.echo(f"{folder}: {len(corpus.cells)} cells verify, digest {corpus.digest}")


def pack(
    folder: Folder, out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the packed corpus.")]
) -> None:
    """Copy a corpus into two files, an index and one Parquet file; the digest stays.

    Example: assay corpus pack corpus -o data/corpus
    """
    from vmaf_assay.corpus.store import index_versions
    from vmaf_assay.corpus.store import pack as pack_corpus

    digest = pack_corpus(_load(folder), out, index_versions(folder))
    typer.echo(f"{out}: digest {digest}")


def export_jsonl(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSONL file to write.")],
) -> None:
    """Write one JSON object a frame: src, encoder, cq, frame_index, vmaf, adm2, vif_scale0..3, motion2.

    Example: assay corpus export corpus -o corpus.jsonl
    """
    from vmaf_assay.corpus.jsonl import write_jsonl

    typer.echo(f"{out}: {write_jsonl(_load(folder), out)} rows")


def import_jsonl(
    file: Annotated[Path, typer.Argument(help="JSONL file of per-frame rows.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Corpus folder to write.")],
    preset: Annotated[str | None, typer.Option(help="Preset of rows that name none.")] = None,
) -> None:
    """Read the flat JSONL of earlier tools into a corpus.

    Example: assay corpus import corpus.jsonl -o corpus
    """
    from vmaf_assay.corpus.jsonl import read_jsonl

    typer.echo(f"{out}: digest {read_jsonl(file, out, preset=preset)}")
