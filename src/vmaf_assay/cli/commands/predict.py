"""`assay predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmaf_assay.cli.options import FfmpegPath, Json, Registry, TrustPolicy

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble

REGRESSOR = "fr_regressor_v2_ensemble_v1"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("predict")(predict)


def predict(
    reference: Annotated[Path | None, typer.Option(help="The source of a pair.")] = None,
    distorted: Annotated[Path | None, typer.Option(help="The encode of a pair.")] = None,
    encoder: Annotated[str | None, typer.Option("--encoder", "-e", help="What made the encode of a pair.")] = None,
    preset: Annotated[str | None, typer.Option(help="Its preset (default: the encoder's).")] = None,
    rate_value: Annotated[float | None, typer.Option("--rate-value", help="Its CRF, CQ or QP.")] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Instead of a pair: canonical-6, encoder, preset, rate_value (parquet, csv, jsonl)."),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of each bound.")] = 0.95,
    registry: Registry = None,
    trust_policy: TrustPolicy = None,
    ffmpeg: FfmpegPath = None,
    as_json: Json = False,
) -> None:
    """Score an encode, or rows of features, with bounds. Exit 1 if a row is outside what the model has seen.

    A pair's answer is for its mean features, beside the VMAF that libvmaf measured.

    Example: assay predict --reference in.mkv --distorted out.mkv -e libx264 --rate-value 28
    """
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.registry.store import load_verified, registry_dir

    verified = load_verified(registry_dir(registry), REGRESSOR, trust_policy)
    if table is not None and reference is None and distorted is None:
        rows = _table(verified, table, confidence)
    elif table is None and reference is not None and distorted is not None:
        if encoder is None or rate_value is None:
            raise ConfigError("a pair needs what made it", next_step="add --encoder NAME --rate-value NUMBER")
        rows = [_pair(verified, reference, distorted, (encoder, preset, rate_value), confidence, ffmpeg)]
    else:
        raise ConfigError("give a pair or a table", next_step="--reference R --distorted D, or --table FILE")
    if as_json:
        render.emit_json({"ensemble": verified.verdict.ensemble, "confidence": confidence, "rows": rows})
    else:
        keys = [key for key in rows[0] if key != "reason"]
        render.say_table(keys, [[_short(row[key]) for key in keys] for row in rows[:200]])
        for reason in sorted({row["reason"] for row in rows if row["reason"]})[:10]:
            render.say(f"not supported: {reason}")
        if not verified.confidence_eligible:
            render.say(f"no bounds: {verified.verdict.ensemble} did not pass the coverage policy")
        render.say(f"{sum(row['supported'] for row in rows)} of {len(rows)} rows supported")
    if not all(row["supported"] for row in rows):
        raise typer.Exit(1)


def _short(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _table(verified: "VerifiedEnsemble", path: Path, confidence: float) -> list[dict[str, Any]]:
    from vmaf_assay.records import CANONICAL6
    from vmaf_assay.tune.predict import read_table, score_features

    rows = read_table(path)
    scores = score_features(
        verified,
        rows.select(CANONICAL6).to_numpy(),
        rows["encoder"].to_list(),
        rows["preset"].to_list(),
        rows["rate_value"].to_list(),
        confidence=confidence,
    )
    return [_answer(scores, index) for index in range(rows.height)]


def _pair(
    verified: "VerifiedEnsemble",
    reference: Path,
    distorted: Path,
    made_by: tuple[str, str | None, float],
    confidence: float,
    ffmpeg: str | None,
) -> dict[str, Any]:
    from vmaf_assay.cli import render
    from vmaf_assay.media.eligibility import admit
    from vmaf_assay.media.encoders import encoder_info
    from vmaf_assay.media.ffmpeg import find_ffmpeg
    from vmaf_assay.media.probe import probe_video
    from vmaf_assay.media.score import score_pair
    from vmaf_assay.tune.predict import score_features
    from vmaf_assay.tune.source import open_source

    encoder, preset, rate_value = made_by
    info = encoder_info(encoder)
    info.check_rate(rate_value)
    tool = find_ffmpeg(ffmpeg)
    source, _ = open_source(tool, reference)
    admit(distorted, probe_video(tool, distorted))
    with render.progress_bar("frames", total=source.n_frames) as update:
        scored = score_pair(tool, source, distorted, on_frames=update)
    scores = score_features(
        verified,
        scored.pooled_features[None, :],
        [encoder],
        [info.check_preset(preset or info.default_preset)],
        [rate_value],
        confidence=confidence,
    )
    return _answer(scores, 0) | {"measured_vmaf": scored.pooled_vmaf, "n_frames": scored.n_frames}


def _answer(scores: Any, index: int) -> dict[str, Any]:  # noqa: ANN401 - Scores, imported lazily
    return {
        "mu": float(scores.mu[index]),
        "sigma": float(scores.sigma[index]),
        "lower": float(scores.lower[index]) if scores.bounded else None,
        "upper": float(scores.upper[index]) if scores.bounded else None,
        "supported": scores.supported[index],
        "reason": scores.reasons[index],
    }
