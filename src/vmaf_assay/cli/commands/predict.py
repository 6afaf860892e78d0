"""`assay predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmaf_assay.cli.options import FfmpegPath, Filters, Json, Page, Registry, RunOptions, Stream, TrustPolicy

if TYPE_CHECKING:
    from vmaf_assay.api import MadeBy, PairRequest, PairScore, Scores, VerifiedEnsemble

REGRESSOR = "fr_regressor_v2_ensemble_v1"
Encoder = Annotated[
    str | None,
    typer.Option("--encoder", "-e", help="Encoder of the encode, to predict it too. NAME or NAME:PRESET."),
]
Table = Annotated[
    Path | None,
    typer.Option(help="Instead of a pair: canonical-6, encoder, preset, rate_value (parquet, csv, jsonl)."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("predict")(predict)


def predict(
    reference: Annotated[Path | None, typer.Option(help="The source of a pair.")] = None,
    distorted: Annotated[Path | None, typer.Option(help="The encode of a pair.")] = None,
    encoder: Encoder = None,
    preset: Annotated[str | None, typer.Option(help="Its preset (default: the encoder's).")] = None,
    rate_value: Annotated[float | None, typer.Option("--rate-value", help="Its CRF, CQ or QP.")] = None,
    vf: Filters = "",
    stream: Stream = None,
    table: Table = None,
    confidence: Annotated[
        float, typer.Option(metavar="SHARE", help="Confidence of each bound, as 0.95 for 95 %.")
    ] = 0.95,
    report: Page = None,
    registry: Registry = None,
    trust_policy: TrustPolicy = None,
    ffmpeg: FfmpegPath = None,
    as_json: Json = False,
) -> None:
    """Score an existing encode: measure it against its source, or predict rows of features, with bounds.

    A pair is measured frame by frame. With --encoder and --rate-value, the model's prediction for its mean
    features is added. The filters of --vf apply to the reference.

    Exit 1 if a row is outside the training range.

    Example: assay predict --reference in.mkv --distorted out.mkv --report page.html

    Example: assay predict --reference in.mkv --distorted out.mkv -e libx264 --rate-value 28
    """
    from vmaf_assay.api import MadeBy, PairRequest
    from vmaf_assay.errors import ConfigError

    run = RunOptions(registry, trust_policy, ffmpeg, report=report, as_json=as_json)
    if table is not None and reference is None and distorted is None:
        _table(table, confidence, run)
    elif table is None and reference is not None and distorted is not None:
        if (encoder is None) != (rate_value is None) or (preset is not None and encoder is None):
            raise ConfigError(
                "a prediction needs the encoder and rate value of the encode",
                next_step="give --encoder NAME and --rate-value NUMBER, or neither to measure only",
            )
        made_by = None if encoder is None or rate_value is None else MadeBy(encoder, rate_value, preset)
        _pair(PairRequest(reference, distorted, vf, stream), made_by, confidence, run)
    else:
        raise ConfigError("give a pair or a table", next_step="--reference R --distorted D, or --table FILE")


def _table(table: Path, confidence: float, run: RunOptions) -> None:
    from vmaf_assay.api import load_ensemble, predict_table
    from vmaf_assay.errors import ConfigError

    if run.report is not None:
        raise ConfigError("--report shows a pair, not a table", next_step="leave it out")
    ensemble = load_ensemble(REGRESSOR, registry=run.registry, trust_policy=run.trust_policy)
    scores = predict_table(table, ensemble, confidence=confidence)
    _print(None, scores, ensemble, confidence, as_json=run.as_json)


def _pair(request: "PairRequest", made_by: "MadeBy | None", confidence: float, run: RunOptions) -> None:
    from vmaf_assay.api import find_ffmpeg, load_ensemble, predict_pair
    from vmaf_assay.cli import render

    ensemble = None
    if made_by is not None:
        ensemble = load_ensemble(REGRESSOR, registry=run.registry, trust_policy=run.trust_policy)
    with render.job("frames") as job:
        measured, scores = predict_pair(
            request,
            made_by=made_by,
            confidence=confidence,
            page=run.report,
            ensemble=ensemble,
            ffmpeg=find_ffmpeg(run.ffmpeg),
            on_step=job.on_step,
            on_left=job.on_left,
        )
    if run.report is not None:
        render.note(f"page: {run.report}")
    _print(measured, scores, ensemble, confidence, as_json=run.as_json)


def _print(
    measured: "PairScore | None",
    scores: "Scores | None",
    ensemble: "VerifiedEnsemble | None",
    confidence: float,
    *,
    as_json: bool,
) -> None:
    """Print an answer; leaves with exit code 1 if a row is not supported."""
    from vmaf_assay.cli import render

    rows = [] if scores is None else [_row(scores, index) for index in range(len(scores.supported))]
    if measured is not None:
        rows = [row | {"measured_vmaf": measured.measured_vmaf, "n_frames": measured.n_frames} for row in rows]
    if as_json:
        render.emit_json(
            {
                "ensemble": None if ensemble is None else ensemble.verdict.ensemble,
                "confidence": confidence,
                "rows": rows,
                "pair": None if measured is None else measured.as_json(),
            }
        )
    else:
        _say(measured, rows, ensemble)
    if not all(row["supported"] for row in rows):
        raise typer.Exit(1)


def _say(measured: "PairScore | None", rows: list[dict[str, Any]], ensemble: "VerifiedEnsemble | None") -> None:
    from vmaf_assay.cli import render

    if rows and ensemble is not None:
        keys = [key for key in rows[0] if key != "reason"]
        render.say_table(keys, [[_short(row[key]) for key in keys] for row in rows[:200]])
        for reason in sorted({row["reason"] for row in rows if row["reason"]})[:10]:
            render.say(f"not supported: {reason}")
        if not ensemble.confidence_eligible:
            render.say(f"no bounds: {ensemble.verdict.ensemble} did not pass the coverage policy")
    if measured is not None:
        render.say(measured.answer())
    else:
        render.say(f"{sum(row['supported'] for row in rows)} of {len(rows)} rows supported")


def _short(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _row(scores: "Scores", index: int) -> dict[str, Any]:
    return {
        "mu": float(scores.mu[index]),
        "sigma": float(scores.sigma[index]),
        "lower": float(scores.lower[index]) if scores.bounded else None,
        "upper": float(scores.upper[index]) if scores.bounded else None,
        "supported": scores.supported[index],
        "reason": scores.reasons[index],
    }
