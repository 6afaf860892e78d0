"""`assay tune`, also installed as `vmaf-tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.farm_options import Farm
from vmaf_assay.cli.many import answer, say_outcomes
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
from vmaf_assay.cli.scene_options import Scenes
from vmaf_assay.cli.scenes import tune_scenes
from vmaf_assay.cli.tune_options import TuneOptions

if TYPE_CHECKING:
    from vmaf_assay.api import CurvePoint, TuneRequest, TuneResult

Sources = Annotated[
    list[Path], typer.Argument(help="The video to encode; or several, folders, globs (one line each).")
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="JSON on stdout: one document, or for several sources one a line.")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Encode the choice to this .mkv, .mp4, .mov or .webm.")
]
OutDir = Annotated[
    Path | None, typer.Option("--out-dir", help="Encode each source into this folder; skips finished ones.")
]
Report = Annotated[
    Path | None, typer.Option(metavar="PAGE", help="Write an HTML page too; for several sources a folder of them.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tune")(flattened(tune))


def tune(
    sources: Sources,
    asked: TuneOptions = TuneOptions(),  # noqa: B008 - frozen; its fields are the options
    output: Output = None,
    out_dir: OutDir = None,
    container: Container = "mkv",
    farm: Farm = Farm(),  # noqa: B008 - likewise
    scenes: Scenes = Scenes(),  # noqa: B008 - likewise
    report: Report = None,
    no_cache: NoCache = False,
    no_outcomes: NoOutcomes = False,
    registry: Registry = None,
    trust_policy: TrustPolicy = None,
    ffmpeg: FfmpegPath = None,
    as_json: JsonLines = False,
) -> None:
    """Find the cheapest encode that meets a VMAF target with a stated confidence, and make it.

    Exit 0 promised (and met, if verified); 1 unreachable, unsupported, over a limit, missed (of many the worst).

    Example: assay tune in.mkv -e libsvtav1 --target-vmaf 93 -o out.mkv --verify

    Example: assay tune in.mkv -e libx265 --target-vmaf 95 --by-scene --jobs 2 -o out.mkv
    """
    request = asked.request(sources[0], output)
    run = RunOptions(registry, trust_policy, ffmpeg, no_cache, no_outcomes, report, as_json)
    end(_tune(sources, request, out_dir, container, run, scenes, farm))


def _tune(
    sources: list[Path],
    request: "TuneRequest",
    out_dir: Path | None,
    container: str,
    run: RunOptions,
    scenes: Scenes,
    farm: Farm,
) -> int:
    from vmaf_assay.errors import ConfigError

    asked = scenes.asked()
    if scenes.by_scene:
        if farm.asked:
            raise ConfigError("--workers and --scheduler spread titles, not scenes", next_step="use --jobs")
        return tune_scenes(sources, out_dir, request, asked, run)
    if out_dir is None and len(sources) == 1 and not _is_many(sources[0]) and not farm.asked:
        return _tune_one(request, run)
    return _tune_many(sources, request, out_dir, container, run, farm)


def _is_many(path: Path) -> bool:
    return path.is_dir() or (any(char in str(path) for char in "*?[") and not path.exists())


def _tune_one(request: "TuneRequest", run: RunOptions) -> int:
    """Tune one source, print the answer, and return the exit code."""
    from vmaf_assay.api import tune_request
    from vmaf_assay.cli import render

    with render.job("frames") as job:
        result = tune_request(request, page=run.report, **run.settings(job, request.measurand))
    if run.report is not None:
        render.note(f"page: {run.report}")
    if run.as_json:
        render.emit_json(result.as_json())
    else:
        _render(result)
    return 0 if result.met else 1


def _tune_many(
    sources: list[Path], request: "TuneRequest", out_dir: Path | None, container: str, run: RunOptions, farm: Farm
) -> int:
    """Tune each source, print each outcome, then a summary; returns the highest exit code."""
    from vmaf_assay.api import tune_sources
    from vmaf_assay.cli import render

    with render.job("frames") as job:
        batch = tune_sources(
            sources,
            request,
            out_dir=out_dir,
            container=container,
            page_dir=run.report,
            farm=farm.of(run),
            **run.settings(job, request.measurand),
        )
        code = say_outcomes(batch, as_json=run.as_json)
    if run.report is not None:
        render.note(f"pages: {run.report}")
    return code


def _render(result: "TuneResult") -> None:
    from vmaf_assay.cli import render

    def rounded(value: float | None, digits: int = 2) -> float | None:
        return None if value is None else round(value, digits)

    render.say_table(
        ["", "rate value", "forecast", "lower bound", "measured", "kbps (forecast)"],
        [
            [
                ">" if point.rate_value == result.rate_value else "",
                point.rate_value,
                rounded(point.mu),
                rounded(point.lower_bound),
                rounded(point.measured_vmaf),
                render.kbps_words(point.kbps, point.kbps_low, point.kbps_high),
            ]
            for point in _shown(result)
        ],
    )
    for reason in result.reasons:
        render.say(reason)
    render.say(answer(result))


def _shown(result: "TuneResult") -> "list[CurvePoint]":
    """The points near the choice, and every trial."""
    return [
        point
        for point in result.curve
        if point.measured_vmaf is not None or abs(point.rate_value - result.rate_value) <= 4
    ]
