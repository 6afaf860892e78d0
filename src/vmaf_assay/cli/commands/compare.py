"""`assay compare`: rate against quality of several encoders on one source, from the same probes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.option_groups import flattened
from vmaf_assay.cli.options import (
    Confidence,
    Container,
    FfmpegPath,
    Force,
    Json,
    NoCache,
    NoOutcomes,
    Page,
    ProbeSeconds,
    Registry,
    RunOptions,
    Stream,
    TargetVmaf,
    TrustPolicy,
    container_of,
    end,
    seconds_of,
)
from vmaf_assay.cli.picture_options import Pictures
from vmaf_assay.cli.scale_options import Scale

if TYPE_CHECKING:
    from vmaf_assay.api import CompareRequest, CompareResult, Contender

Encoders = Annotated[
    list[str], typer.Option("--encoder", "-e", help="NAME or NAME:PRESET, as x265:slow; twice or more.")
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Encode and measure each around the target; compare at equal VMAF.")
]
Trials = Annotated[int, typer.Option(metavar="N", help="Trial encodes of each encoder: 0, 1 or 2.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Encode the winner to this .mkv, .mp4, .mov or .webm.")
]
OutDir = Annotated[
    Path | None, typer.Option("--out-dir", help="Encode the winner into this folder, under the source's name.")
]
Probes = Annotated[
    str,
    typer.Option(metavar="few|more", help="`more` adds probes with the presets asked for: narrower bounds."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare")(flattened(compare))


def compare(
    source: Annotated[Path, typer.Argument(help="The video to encode.")],
    encoder: Encoders,
    target_vmaf: TargetVmaf = 93.0,
    quality_confidence: Confidence = 0.95,
    measure: Measure = False,
    trials: Trials = 0,
    output: Output = None,
    out_dir: OutDir = None,
    container: Container = "mkv",
    force: Force = False,
    pictures: Pictures = Pictures(),  # noqa: B008 - frozen; its fields are the options
    stream: Stream = None,
    probe_seconds: ProbeSeconds = "60",
    probes: Probes = "few",
    scale: Scale = Scale(),  # noqa: B008 - frozen; its fields are the options
    report: Page = None,
    no_cache: NoCache = False,
    no_outcomes: NoOutcomes = False,
    registry: Registry = None,
    trust_policy: TrustPolicy = None,
    ffmpeg: FfmpegPath = None,
    as_json: Json = False,
) -> None:
    """Forecast the bitrates of several encoders for a VMAF target, and name the cheapest that meets it.

    With --measure each is encoded on both sides of the target, and bitrates are compared at equal VMAF.
    Encoders outside the calibration are searched with two encodes each. Those that do not work are listed.

    Exit 0 if one of them meets the target (measured with --measure, else promised), else 1.

    Example: assay compare in.mkv -e libx264 -e x265:slow -e svt-av1 --measure -o best.mkv
    """
    from vmaf_assay.api import CompareRequest

    request = CompareRequest(
        source=source,
        encoders=tuple(encoder),
        target_vmaf=target_vmaf,
        confidence=quality_confidence,
        measure=measure,
        trials=trials,
        output=_output(source, output, out_dir, container),
        force=force,
        stream=stream,
        **pictures.asked(),
        probe_seconds=seconds_of(probe_seconds),
        probes=probes,  # type: ignore[arg-type]  # checked by check_compare
        measurand=scale.measurand(),
    )
    run = RunOptions(registry, trust_policy, ffmpeg, no_cache, no_outcomes, report, as_json)
    end(_compare(request, run))


def _compare(request: "CompareRequest", run: RunOptions) -> int:
    from vmaf_assay.api import compare_request
    from vmaf_assay.cli import render

    with render.job("frames") as job:
        result = compare_request(request, page=run.report, **run.settings(job, request.measurand))
    if run.report is not None:
        render.note(f"page: {run.report}")
    if run.as_json:
        render.emit_json(result.as_json())
    else:
        _render(result)
    return 0 if result.met else 1


def _output(source: Path, output: Path | None, out_dir: Path | None, container: str) -> Path | None:
    """Path of the winner's encode; the folder is created."""
    from vmaf_assay.errors import ConfigError

    if out_dir is None:
        return output
    if output is not None:
        raise ConfigError("-o and --out-dir both name the winner's path", next_step="leave one out")
    suffix = container_of(container)
    out_dir.mkdir(parents=True, exist_ok=True)
    return out_dir / f"{source.stem}{suffix}"


def _render(result: "CompareResult") -> None:
    from vmaf_assay.cli import render
    from vmaf_assay.tune.segments import sample_reasons

    headers = ["", "encoder", "rate value", "forecast", "bound", "kbps", "BD-rate"]
    best = result.cheapest
    render.say_table(headers, [_row(one, one is best) for one in result.contenders])
    if result.measured:
        equal = f"kbps at {result.target_vmaf:g}"
        render.say()
        render.say_table(
            ["measured", "rate value", "VMAF", "kbps", equal],
            [row for one in result.contenders for row in _measured_rows(one)],
        )
    for one in result.contenders:
        for reason in one.reasons:
            render.say(f"{one.encoder} {one.preset}: {reason}")
    for refused in result.refused:
        render.say(f"not compared: {refused.encoder} {refused.preset}: {refused.reason}")
    first = result.contenders[0]
    render.say(
        f"BD-rate is against {first.encoder} {first.preset}, over forecast curves, and not promised; each side of "
        f"a bitrate's interval holds with confidence {result.confidence:g}"
    )
    for reason in sample_reasons(result.sample):
        render.say(reason)
    render.say(_answer(result))


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


def _row(one: "Contender", cheapest: bool) -> list[object]:
    from vmaf_assay.cli import render

    return [
        ">" if cheapest else "",
        f"{one.encoder} {one.preset}",
        one.rate_value,
        _rounded(one.mu),
        _rounded(one.lower_bound),
        render.kbps_words(one.forecast_kbps, one.forecast_kbps_low, one.forecast_kbps_high),
        "-" if one.bd_rate is None else f"{100 * one.bd_rate:+.0f} %",
    ]


def _measured_rows(one: "Contender") -> list[list[object]]:
    """What was measured of a contender, best quality first, with the bitrate interpolated from it."""
    points = sorted(one.encodes, key=lambda point: -point.vmaf)
    return [
        [
            f"{one.encoder} {one.preset}",
            point.rate_value,
            _rounded(point.vmaf),
            _rounded(point.kbps, 0),
            _rounded(one.equal_kbps, 0) if point is points[0] else None,
        ]
        for point in points
    ]


def _answer(result: "CompareResult") -> str:
    best = result.cheapest
    spent = f"{result.encodes_spent} encodes spent"
    if best is None:
        return f"none of these meets VMAF {result.target_vmaf:g} with confidence {result.confidence:g}; {spent}"
    name = f"{best.encoder} {best.preset}"
    if result.measured:
        cost = result.cost(best)
        said = (
            f"cheapest at VMAF {result.target_vmaf:g}: {name}, {cost:.0f} kbps interpolated from measured encodes"
        )
    else:
        known = (
            f"VMAF >= {result.target_vmaf:g} with confidence {result.confidence:g}"
            if best.promised
            else f"not promised, measured at VMAF {best.tried_vmaf:.2f}"
        )
        said = f"cheapest: {name} at {best.rate_value:g}, {known}, about {best.forecast_kbps:.0f} kbps"
    if (kept := result.kept) is not None:
        measured = "" if kept.measured_vmaf is None else f", measured VMAF {kept.measured_vmaf:.2f}"
        if kept.output is None or kept.kbps is None:
            said += "; not encoded: see `assay tune` of it for the reason"
        else:
            said += f"; {kept.output}, rate value {kept.rate_value:g}, {kept.kbps:.0f} kbps{measured}"
    return f"{said}; {spent}"
