"""`assay watch`: tune each video that arrives in a folder, once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.many import Lines
from vmaf_assay.cli.option_groups import flattened
from vmaf_assay.cli.options import (
    Container,
    FfmpegPath,
    NoCache,
    NoOutcomes,
    Registry,
    RunOptions,
    TrustPolicy,
    end,
)
from vmaf_assay.cli.tune_options import TuneOptions

if TYPE_CHECKING:
    from vmaf_assay.api import TuneRequest

Folder = Annotated[Path, typer.Argument(help="The folder where files arrive; folders in it are watched too.")]
OutDir = Annotated[Path, typer.Option("--out-dir", help="Encode into this folder, and keep records there.")]
Settle = Annotated[
    float, typer.Option(metavar="SECONDS", help="A file counts as complete when it has not changed for so long.")
]
Every = Annotated[float, typer.Option(metavar="SECONDS", help="Time between two looks at the folder.")]
Once = Annotated[bool, typer.Option("--once", help="End when all that is complete now is done, as cron needs it.")]
Pages = Annotated[Path | None, typer.Option("--report", metavar="FOLDER", help="Write HTML pages into it too.")]
JsonLines = Annotated[bool, typer.Option("--json", help="JSON on stdout, one document a line.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("watch")(flattened(watch))


def watch(
    folder: Folder,
    out_dir: OutDir,
    once: Once = False,
    settle: Settle = 30.0,
    every: Every = 5.0,
    asked: TuneOptions = TuneOptions(),  # noqa: B008 - frozen; its fields are the options
    container: Container = "mkv",
    report: Pages = None,
    no_cache: NoCache = False,
    no_outcomes: NoOutcomes = False,
    registry: Registry = None,
    trust_policy: TrustPolicy = None,
    ffmpeg: FfmpegPath = None,
    as_json: JsonLines = False,
) -> None:
    """Tune each video that arrives in a folder, once, with the options of `assay tune`.

    A file is taken when it no longer changes. One that fails is reported once, and skipped until it changes.

    Ctrl-C and SIGTERM end it with 130 and 143, without a partial encode. --once ends with the worst exit code.

    Example: assay watch arriving/ --out-dir done/ -e libsvtav1 --target-vmaf 93 --verify --json
    """
    run = RunOptions(registry, trust_policy, ffmpeg, no_cache, no_outcomes, report, as_json)
    end(_watch(folder, out_dir, asked.request(folder), run, container, (settle, every), once=once))


def _watch(
    folder: Path,
    out_dir: Path,
    request: "TuneRequest",
    run: RunOptions,
    container: str,
    times: tuple[float, float],
    *,
    once: bool,
) -> int:
    from vmaf_assay.api import watch_folder
    from vmaf_assay.cli import render

    lines = Lines(as_json=run.as_json)
    with render.job("frames") as job:
        outcomes = watch_folder(
            folder,
            request,
            out_dir=out_dir,
            container=container,
            settle_s=times[0],
            every_s=times[1],
            once=once,
            page_dir=run.report,
            **run.settings(job, request.measurand),
        )
        try:
            for outcome in outcomes:
                lines.say(outcome)
        except BaseException as ended:
            if not isinstance(ended, Exception):  # Ctrl-C or SIGTERM, the usual ends
                lines.summary()
            raise
    return lines.summary()
