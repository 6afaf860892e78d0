"""`assay compare`: rate against quality of several encoders on one source, from the same probes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.commands.tune import ProbeSeconds, seconds_of

if TYPE_CHECKING:
    from vmaf_assay.tune.compare import CompareResult, Contender

FORECAST = "vmaf_forecast_ensemble_v1"
Probes = Annotated[
    str,
    typer.Option(metavar="few|more", help="`more` adds probes of the very presets asked about: narrower bounds."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare")(compare)


def compare(
    source: Annotated[Path, typer.Argument(help="The video to encode.")],
    encoder: Annotated[
        list[str], typer.Option("--encoder", "-e", help="ENCODER or ENCODER:PRESET; twice or more.")
    ],
    target_vmaf: Annotated[float, typer.Option("--target-vmaf", help="Mean VMAF to reach, points.")] = 93.0,
    quality_confidence: Annotated[
        float, typer.Option("--quality-confidence", help="Probability of reaching it, for each encoder.")
    ] = 0.95,
    measure: Annotated[bool, typer.Option("--measure", help="Encode each choice and measure it.")] = False,
    vf: Annotated[str, typer.Option("--vf", help="ffmpeg filters first, as crop=..., scale=..., fps=...")] = "",
    probe_seconds: ProbeSeconds = "60",
    probes: Probes = "few",
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep results of encodes ($ASSAY_CACHE).")
    ] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry folder (default: the shipped one).")] = None,
    trust_policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Whose signatures to believe ($ASSAY_TRUST_POLICY).")
    ] = None,
    ffmpeg: Annotated[str | None, typer.Option(help="The ffmpeg to use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Forecast what several encoders would spend for a VMAF target, and name the cheapest that meets it.

    Exit 0 one of them meets the target (measured with --measure, else promised); 1 none does.

    Example: assay compare in.mkv -e libx264 -e libx265 -e libsvtav1:8 --target-vmaf 93
    """
    from vmaf_assay.cli import render
    from vmaf_assay.media.ffmpeg import find_ffmpeg
    from vmaf_assay.registry.store import load_verified, registry_dir
    from vmaf_assay.tune.cache import Cache, default_cache_dir
    from vmaf_assay.tune.compare import CompareRequest, check_compare
    from vmaf_assay.tune.compare import compare as run_compare

    request = CompareRequest(
        source,
        tuple(encoder),
        target_vmaf,
        quality_confidence,
        measure,
        vf,
        seconds_of(probe_seconds),
        probes,  # type: ignore[arg-type]  # checked by check_compare
    )
    check_compare(request)
    verified = load_verified(registry_dir(registry), FORECAST, trust_policy)
    with render.progress_bar("frames") as update:
        result = run_compare(
            find_ffmpeg(ffmpeg),
            verified,
            request,
            cache=None if no_cache else Cache(default_cache_dir()),
            on_step=lambda what, done, total: update(done, what, total),
        )
    if as_json:
        render.emit_json(result.as_json())
    else:
        _render(result)
    if result.cheapest is None:
        raise typer.Exit(1)


def _render(result: "CompareResult") -> None:
    from vmaf_assay.cli import render
    from vmaf_assay.tune.sampled import sample_reasons

    measured = any(one.measured_vmaf is not None for one in result.contenders)
    headers = ["", "encoder", "rate value", "forecast", "bound", "kbps", "BD-rate"]
    render.say_table(
        headers + (["measured", "kbps then"] if measured else []),
        [_row(one, one is result.cheapest, measured) for one in result.contenders],
    )
    for one in result.contenders:
        for reason in one.reasons:
            render.say(f"{one.encoder} {one.preset}: {reason}")
    first = result.contenders[0]
    render.say(
        f"BD-rate is against {first.encoder} {first.preset}, over the forecast curves; bitrates are "
        "forecasts and no promise"
    )
    for reason in sample_reasons(result.sample):
        render.say(reason)
    render.say(_answer(result))


def _row(one: "Contender", cheapest: bool, measured: bool) -> list[object]:
    def rounded(value: float | None, digits: int = 2) -> float | None:
        return None if value is None else round(value, digits)

    row: list[object] = [
        ">" if cheapest else "",
        f"{one.encoder} {one.preset}",
        one.rate_value,
        rounded(one.mu),
        rounded(one.lower_bound),
        rounded(one.forecast_kbps, 0),
        "-" if one.bd_rate is None else f"{100 * one.bd_rate:+.0f} %",
    ]
    return row + ([rounded(one.measured_vmaf), rounded(one.kbps, 0)] if measured else [])


def _answer(result: "CompareResult") -> str:
    best = result.cheapest
    spent = f"{result.encodes_spent} encodes spent"
    if best is None:
        return f"none of these meets VMAF {result.target_vmaf:g} with confidence {result.confidence:g}; {spent}"
    name = f"{best.encoder} {best.preset} at {best.rate_value:g}"
    if best.measured_vmaf is not None:
        return f"cheapest: {name}, measured VMAF {best.measured_vmaf:.2f} at {best.kbps:.0f} kbps; {spent}"
    return (
        f"cheapest: {name}, VMAF >= {result.target_vmaf:g} with confidence {result.confidence:g}, about "
        f"{best.forecast_kbps:.0f} kbps; {spent}"
    )
