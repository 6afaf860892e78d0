"""`assay tune`, also installed as `vmaf-tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.goal_options import Goals
from vmaf_assay.cli.option_groups import flattened
from vmaf_assay.cli.options import (
    Confidence,
    Container,
    FfmpegPath,
    Force,
    NoCache,
    NoOutcomes,
    ProbeSeconds,
    Registry,
    RunOptions,
    Stream,
    TargetVmaf,
    TrustPolicy,
    UnsafeArgs,
    Verify,
    end,
    seconds_of,
)
from vmaf_assay.cli.picture_options import Pictures
from vmaf_assay.cli.scale_options import Scale
from vmaf_assay.cli.scene_options import Scenes
from vmaf_assay.cli.scenes import tune_scenes

if TYPE_CHECKING:
    from vmaf_assay.api import Batch, CurvePoint, ItemResult, TuneRequest, TuneResult

Encoder = Annotated[
    str, typer.Option("--encoder", "-e", help="NAME or NAME:PRESET, as libx264, svt-av1 or x265:slow.")
]
Trials = Annotated[int, typer.Option(metavar="N", help="Trial encodes allowed: 0, 1 or 2.")]
Retry = Annotated[
    int,
    typer.Option(
        metavar="N", help="If the output misses: encode up to N times more, using the measurement (verifies)."
    ),
]
Preset = Annotated[str | None, typer.Option(help="The encoder's preset (default: the trained one).")]
EncoderArgs = Annotated[
    str, typer.Option(help='More options for the encoder, as "-tune grain"; ends the promise (see reasons).')
]
Reference = Annotated[
    str,
    typer.Option(
        metavar="filtered|source",
        help="VMAF against the `filtered` picture, or the `source` (one scale only).",
    ),
]
Probes = Annotated[
    str | None,
    typer.Option(
        metavar="few|more",
        help="`few` makes the probes that the forecast reads; `more` adds encodes of that encoder and preset, "
        "which serve every target (default: more without trials, few with).",
    ),
]
RateFlag = Annotated[
    str, typer.Option(metavar="OPTION", help="Of any other encoder of ffmpeg's: its rate option, as -q:v.")
]
RateRange = Annotated[str, typer.Option(metavar="LOW:HIGH", help="The rate values to choose from, as 1:31.")]
RateStep = Annotated[
    float | None, typer.Option(metavar="STEP", help="Step between rate values (default 1, or the encoder's).")
]
AudioCodec = Annotated[
    str,
    typer.Option(metavar="NAME", help="Convert sound that the container does not accept, as `flac` or `aac`."),
]
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
    encoder: Encoder = "libx264",
    target_vmaf: TargetVmaf = 93.0,
    quality_confidence: Confidence = 0.95,
    preset: Preset = None,
    trials: Trials = 1,
    output: Output = None,
    out_dir: OutDir = None,
    container: Container = "mkv",
    verify: Verify = False,
    retry: Retry = 0,
    force: Force = False,
    encoder_args: EncoderArgs = "",
    unsafe_args: UnsafeArgs = False,
    rate_flag: RateFlag = "",
    rate_range: RateRange = "",
    rate_step: RateStep = None,
    audio_codec: AudioCodec = "",
    pictures: Pictures = Pictures(),  # noqa: B008 - frozen; its fields are the options
    stream: Stream = None,
    reference: Reference = "filtered",
    scale: Scale = Scale(),  # noqa: B008 - frozen; its fields are the options
    goals: Goals = Goals(),  # noqa: B008 - likewise
    probe_seconds: ProbeSeconds = "60",
    probes: Probes = None,
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
    from vmaf_assay.api import TuneRequest, read_drive

    request = TuneRequest(
        *(sources[0], encoder, target_vmaf, quality_confidence, preset, trials),
        *(output, verify, retry, force, encoder_args),
        unsafe_args=unsafe_args,
        drive=read_drive(rate_flag, rate_range, rate_step),
        audio_codec=audio_codec,
        stream=stream,
        reference=reference,  # type: ignore[arg-type]  # checked by check_request
        **(pictures.asked() | scale.asked() | goals.asked()),
        probe_seconds=seconds_of(probe_seconds),
        probes=probes,  # type: ignore[arg-type]  # likewise
    )
    run = RunOptions(registry, trust_policy, ffmpeg, no_cache, no_outcomes, report, as_json)
    end(_tune(sources, request, out_dir, container, run, scenes))


def _tune(
    sources: list[Path],
    request: "TuneRequest",
    out_dir: Path | None,
    container: str,
    run: RunOptions,
    scenes: Scenes,
) -> int:
    asked = scenes.asked()
    if scenes.by_scene:
        return tune_scenes(sources, out_dir, request, asked, run)
    if out_dir is None and len(sources) == 1 and not _is_many(sources[0]):
        return _tune_one(request, run)
    return _tune_many(sources, request, out_dir, container, run)


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
    sources: list[Path], request: "TuneRequest", out_dir: Path | None, container: str, run: RunOptions
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
            **run.settings(job, request.measurand),
        )
        code = _many(batch, run.as_json)
    if run.report is not None:
        render.note(f"pages: {run.report}")
    return code


def _many(batch: "Batch", as_json: bool) -> int:
    from vmaf_assay.cli import main, render
    from vmaf_assay.errors import AssayError

    counts = {"done": 0, "skipped": 0, "failed": 0, "met": 0, "encodes_spent": 0}
    code = 0
    for number, outcome in enumerate(batch.outcomes, start=1):
        own = 0 if outcome.met else 1
        if outcome.problem is not None:
            own = main.exit_code(outcome.problem) if isinstance(outcome.problem, AssayError) else 3
        code = max(code, own)
        counts[outcome.status] += 1
        counts["met"] += outcome.met
        counts["encodes_spent"] += outcome.result.encodes_spent if outcome.result else 0
        if as_json:
            render.emit_line(outcome.document | {"status": outcome.status, "exit_code": own})
        else:
            render.say(f"[{number}/{batch.total}] {outcome.item.source.name}: {_line(outcome)}")
    if as_json:
        render.emit_line({"summary": counts | {"sources": batch.total, "exit_code": code}})
    else:
        missed = batch.total - counts["met"] - counts["failed"]
        render.say(
            f"{batch.total} sources: {counts['met']} met, {missed} not met, "
            f"{counts['failed']} failed; {counts['skipped']} were finished before; "
            f"{counts['encodes_spent']} encodes spent"
        )
    return code


def _line(outcome: "ItemResult") -> str:
    if outcome.problem is not None:
        return f"error: {outcome.problem}"
    if outcome.result is not None:
        return answer(outcome.result)
    kept = outcome.document
    return f"finished before: {kept['output']}, {kept['encoder']} {kept['preset']} at {kept['rate_value']:g}"


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


def answer(result: "TuneResult") -> str:
    """The line that answers the question, with the output and the encodes spent."""
    spent = f"{result.encodes_spent} encodes spent"
    if result.output is None:
        advice = "; add -o OUT to encode" if result.met else "; nothing encoded"
        return f"{result.answer()}; {spent}{advice}"
    unmeasured = "" if result.measured_vmaf is not None else ", not measured (add --verify)"
    return f"{result.answer()}; {result.output}, {result.kbps:.0f} kbps{unmeasured}, {spent}"
