"""`assay report`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(report)


def report(
    what: Annotated[
        Path, typer.Argument(metavar="RUN|REGISTRY|TUNE.json|COMPARE.json", help="What the page is made of.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PAGE", help="HTML file to write.")] = Path(
        "report.html"
    ),
    trust_policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Whose signatures a registry's page believes ($ASSAY_TRUST_POLICY)."),
    ] = None,
    ffmpeg: Annotated[str | None, typer.Option(help="The ffmpeg that reads the frames shown.")] = None,
) -> None:
    """Make one self-contained HTML page: no network, light and dark, on a phone and in print.

    Example: assay report tune.json -o page.html
    """
    from vmaf_assay.cli import render
    from vmaf_assay.media.ffmpeg import find_ffmpeg
    from vmaf_assay.registry.trust import find_trust
    from vmaf_assay.report.build import page_of
    from vmaf_assay.report.page import write_page

    found = find_ffmpeg(ffmpeg) if what.is_file() else None
    with render.steps("reading") as on_step:
        page = page_of(what, found, trust=find_trust(trust_policy), on_step=on_step)
    write_page(page, out)
    render.say(f"{out}: {page.answer}")
