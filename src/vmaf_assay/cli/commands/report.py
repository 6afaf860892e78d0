"""`assay report`."""

from pathlib import Path
from typing import Annotated

import typer

from vmaf_assay.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(report)


def report(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|REGISTRY|ANSWER.json",
            help="A folder, or the --json output of tune, compare or predict.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PAGE", help="HTML file to write.")] = Path(
        "report.html"
    ),
    trust_policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Whose signatures a registry's page accepts ($ASSAY_TRUST_POLICY)."),
    ] = None,
    ffmpeg: Annotated[str | None, typer.Option(help="The ffmpeg that reads the frames shown.")] = None,
    as_json: Json = False,
) -> None:
    """Make one self-contained HTML page: no network, light and dark, on a phone and in print.

    Example: assay report tune.json -o page.html
    """
    from vmaf_assay.api import find_ffmpeg, write_page
    from vmaf_assay.cli import render

    found = find_ffmpeg(ffmpeg) if what.is_file() else None
    with render.steps("reading") as on_step:
        answer = write_page(what, out, ffmpeg=found, trust_policy=trust_policy, on_step=on_step)
    if as_json:
        render.emit_json({"page": str(out), "answer": answer})
    else:
        render.say(f"{out}: {answer}")
