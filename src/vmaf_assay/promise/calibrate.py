"""Calibration as a pure function of held-out predictions, so that anyone can recompute it."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.media.parquet import parse_parquet
from vmaf_assay.model.sidecar import (
    ChoiceCalibration,
    GroupResiduals,
    HeldOutCurve,
    IntervalCalibration,
    ProbeSpec,
    Sidecar,
    Task,
    first_measurand,
)
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.gate import choice_coverage, interval_coverage
from vmaf_assay.promise.policy import COVERAGE_POLICY, CoveragePolicy, CoverageResult
from vmaf_assay.records import OnStep

DECIMALS = 4
"""Decimals of residuals and curves. VMAF itself is written with six; no choice depends on the fifth."""


def calibration_from_predictions(
    predictions: pl.DataFrame,
    task: Task,
    ensemble: str,
    corpus_digest: str,
    probes: Sequence[ProbeSpec] = (),
    *,
    measurand: str | None = None,
) -> IntervalCalibration | ChoiceCalibration:
    """Residuals by group (`fr`) or held-out curves (`forecast`) from `predictions.parquet`.

    Args:
      predictions: columns seed, row, group, source, encoder, preset, rate_value, truth, prediction.
      task: decides which of the two.
      ensemble: the ensemble's id.
      corpus_digest: of the corpus predicted.
      probes: the probes a forecast was made from.
      measurand: of truth and prediction; None for that of older files.
    """
    measurand = measurand or first_measurand(task)
    rows = (
        predictions.group_by("row")
        .agg(
            pl.col("group", "source", "encoder", "preset", "rate_value", "truth").first(),
            mu=pl.col("prediction").cast(pl.Float64).sort_by("seed").mean(),
            sigma=pl.col("prediction").cast(pl.Float64).sort_by("seed").std(ddof=1),
        )
        .with_columns(pl.col("truth").cast(pl.Float64), pl.col("sigma").fill_null(0.0))
        .sort("row")
    )
    if task == "fr":
        return _intervals(rows, ensemble, corpus_digest, measurand)
    return _curves(rows, ensemble, corpus_digest, probes, measurand)


def _intervals(rows: pl.DataFrame, ensemble: str, corpus_digest: str, measurand: str) -> IntervalCalibration:
    residuals = rows.with_columns(residual=(pl.col("truth") - pl.col("mu")).round(DECIMALS))
    groups = [
        GroupResiduals(group=str(group), residuals=part["residual"].to_list())
        for (group,), part in sorted(residuals.group_by("group", maintain_order=True), key=lambda kv: kv[0])
    ]
    return IntervalCalibration(ensemble=ensemble, corpus_digest=corpus_digest, groups=groups, measurand=measurand)


def _curves(
    rows: pl.DataFrame, ensemble: str, corpus_digest: str, probes: Sequence[ProbeSpec], measurand: str
) -> ChoiceCalibration:
    identity = ["group", "source", "encoder", "preset"]
    curves = []
    for key, part in sorted(rows.group_by(identity, maintain_order=True), key=lambda kv: kv[0]):
        ordered = part.sort("rate_value")
        values = {name: ordered[name].round(DECIMALS).to_list() for name in ("mu", "sigma", "truth")}
        group, source, encoder, preset = map(str, key)
        curves.append(
            HeldOutCurve(
                group=group,
                source=source,
                encoder=encoder,
                preset=preset,
                rate_values=ordered["rate_value"].to_list(),
                mu=values["mu"],
                sigma=values["sigma"],
                truth=values["truth"],
            )
        )
    return ChoiceCalibration(
        ensemble=ensemble, corpus_digest=corpus_digest, probes=list(probes), curves=curves, measurand=measurand
    )


def calibration_of(
    predictions: pl.DataFrame, sidecar: Sidecar, ensemble: str
) -> IntervalCalibration | ChoiceCalibration:
    """The calibration of held-out predictions and of the own titles in a fused model's sidecar."""
    made = calibration_from_predictions(
        predictions, sidecar.task, ensemble, sidecar.corpus_digest, sidecar.probes, measurand=sidecar.answers
    )
    if isinstance(made, ChoiceCalibration) and isinstance(sidecar.calibration, ChoiceCalibration):
        return made.model_copy(update={"titles": sidecar.calibration.titles})
    return made


def coverage_of(
    calibration: IntervalCalibration | ChoiceCalibration,
    policy: CoveragePolicy = COVERAGE_POLICY,
    on_step: OnStep | None = None,
) -> list[CoverageResult]:
    """A coverage policy on a calibration; takes seconds, so `on_step` reports progress."""
    if isinstance(calibration, ChoiceCalibration):
        return choice_coverage(curves_of(calibration, titles=True), policy, on_step)
    return interval_coverage({group.group: group.residuals for group in calibration.groups}, policy)


def calibration_digest(calibration: dict[str, Any]) -> str:
    """SHA-256 of a calibration's canonical JSON."""
    return sha256_bytes(canonical_json(calibration))


def parse_predictions(data: bytes, *, where: str) -> pl.DataFrame:
    """`predictions.parquet` as a table, by seed and row. Raises IntegrityError if it cannot be read."""
    table = parse_parquet(data, where=where)
    by = [name for name in ("seed", "row") if name in table.columns]
    return table.sort(by, maintain_order=True) if by else table
