"""`assay tune`, also installed as `vmaf-tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vmaf_assay.tune.run import TuneResult

FORECAST = "vmaf_forecast_ensemble_v1"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tune")(tune)


def tune(
    source: Annotated[Path, typer.Argument(help="The video to encode.")],
    encoder: Annotated[str, typer.Option("--encoder", "-e", help="ffmpeg's encoder name.")] = "libx264",
    target_vmaf: Annotated[float, typer.Option("--target-vmaf", help="Mean VMAF to reach, points.")] = 93.0,
    quality_confidence: Annotated[
        float, typer.Option("--quality-confidence", help="Probability of reaching it.")
    ] = 0.95,
    preset: Annotated[str | None, typer.Option(help="The encoder's preset (default: the trained one).")] = None,
    trials: Annotated[int, typer.Option(help="Trial encodes allowed: 0, 1 or 2.")] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Encode the choice to this file.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Measure the whole output.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry folder (default: the shipped one).")] = None,
    ffmpeg: Annotated[str | None, typer.Option(help="The ffmpeg to use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Find the cheapest encode that meets a VMAF target with a stated confidence, and make it.

    Exit 0 promised (and met, if verified); 1 out of reach, not supported, or found missed.

    Example: assay tune in.mkv -e libsvtav1 --target-vmaf 93 -o out.mkv --verify
    """
    from vmaf_assay.cli import render
    from vmaf_assay.media.ffmpeg import find_ffmpeg
    from vmaf_assay.registry.store import load_verified, registry_dir
    from vmaf_assay.tune.run import TuneRequest, check_request
    from vmaf_assay.tune.run import tune as run_tune

    request = TuneRequest(source, encoder, target_vmaf, quality_confidence, preset, trials, output, verify, force)
    check_request(request)
    verified = load_verified(registry_dir(registry), FORECAST)
    with render.progress_bar("frames") as update:
        result = run_tune(
            find_ffmpeg(ffmpeg),
            verified,
            request,
            on_step=lambda what, done, total: update(done, f"of {total}: {what}"),
        )
    if as_json:
        render.emit_json(result.as_json())
    else:
        _render(result)
    if not result.met:
        raise typer.Exit(1)


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
                rounded(point.kbps, 0),
            ]
            for point in result.curve
        ],
    )
    for reason in result.reasons:
        render.say(reason)
    render.say(_answer(result))


def _answer(result: "TuneResult") -> str:
    """The one line that answers the question."""
    name = f"{result.encoder} {result.preset} at {result.rate_value:g}"
    if not result.supported:
        return f"no promise: {name} would be the guess, but the source is unlike what the model has seen"
    if not result.reachable:
        return (
            f"out of reach with confidence {result.confidence:g}: the best there is, {name}, "
            f"has a lower bound of VMAF {result.lower_bound:.2f}"
        )
    promise = f"{name}: VMAF >= {result.target_vmaf:g} with confidence {result.confidence:g}"
    spent = f"{result.encodes_spent} encodes spent"
    if result.measured_vmaf is not None:
        met = "met" if result.measured_vmaf >= result.target_vmaf else "MISSED"
        measured = f"measured {result.measured_vmaf:.2f}, {met}"
        return f"{promise}; {measured}; {result.output}, {result.kbps:.0f} kbps, {spent}"
    if result.output is not None:
        return f"{promise}; {result.output}, {result.kbps:.0f} kbps, not measured (add --verify), {spent}"
    return f"{promise}; {spent}; add -o OUT to encode"
