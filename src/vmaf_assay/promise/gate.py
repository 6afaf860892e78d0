"""The gate: the policies applied to held-out predictions. It never trains.

Everything is recomputed from the predictions themselves. Invalid evidence (a seed or fold missing or doubled, a
NaN, identical members, ...) is refused with CorpusError. Valid evidence that is not good enough is a HOLD, a
value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.promise.choice import Curve, cross_fitted_choices
from vmaf_assay.promise.conditions import measure_conditions
from vmaf_assay.promise.conformal import covered_enough, hcp_interval
from vmaf_assay.promise.folds import protocol_of
from vmaf_assay.promise.metrics import plcc
from vmaf_assay.promise.policy import (
    COVERAGE_POLICY,
    POLICY,
    CoveragePolicy,
    CoverageResult,
    GatePolicy,
    GateResult,
    gate_from_scores,
)
from vmaf_assay.records import MEAN_VMAF, Metric, OnStep

PREDICTION_COLUMNS: dict[str, type[pl.DataType]] = {
    "seed": pl.Int32,
    "fold": pl.String,
    "row": pl.Int64,
    "cell": pl.String,
    "group": pl.String,
    "source": pl.String,
    "encoder": pl.String,
    "preset": pl.String,
    "rate_value": pl.Float64,
    "frame_index": pl.Int32,
    "truth": pl.Float32,
    "prediction": pl.Float32,
}
"""Columns of `predictions.parquet`, in order."""


MAX_POINTS = 1000.0
"""Largest prediction accepted as VMAF. PLCC would not notice a factor of a million."""


def check_evidence(
    predictions: pl.DataFrame,
    seeds: Sequence[int],
    policy: GatePolicy = POLICY,
    metric: Metric = MEAN_VMAF.metric,
) -> None:
    """Refuse predictions unless every seed left out each group once, alone or with its fold.

    Raises:
      CorpusError: a column is missing; a seed or row is missing, doubled or unexpected; a value is not a finite
        VMAF. Also if truths differ between seeds, two members predict the same, or groups are too few. Also for a
        group in two folds, a source in two groups, a row held out under another group's name, or a cell or frame
        with two identities.
    """
    if odd := [f"{n} {t}" for n, t in PREDICTION_COLUMNS.items() if predictions.schema.get(n) != t]:
        raise CorpusError(f"predictions lack column {', '.join(odd)}", next_step="train again")
    if len(set(seeds)) != len(seeds) or len(seeds) < policy.min_seeds:
        raise CorpusError(
            f"seeds {list(seeds)} are not {policy.min_seeds} different ones", next_step="train all seeds"
        )
    present = set(predictions["seed"].unique().to_list())
    if present != set(seeds):
        raise CorpusError(
            f"predictions are of seeds {sorted(present)}, the run says {sorted(seeds)}", next_step="train again"
        )
    values = predictions.select("truth", "prediction").to_numpy()
    if predictions.null_count().sum_horizontal().sum() or not np.isfinite(values).all():
        raise CorpusError("a held-out prediction or truth is NaN or missing", next_step="train again")
    if (
        np.abs(values).max(initial=0) > MAX_POINTS
        or not predictions["truth"].is_between(metric.floor, metric.ceiling).all()
    ):
        raise CorpusError(
            f"a held-out prediction or truth is not a score of {metric.model}", next_step="train again"
        )
    held_out_protocol(predictions)
    if predictions["group"].n_unique() < policy.min_groups:
        raise CorpusError("one fold is not leave-one-group-out", next_step="build a corpus of more groups")
    _check_same_rows(predictions, seeds)
    _check_identities(predictions.filter(pl.col("seed") == seeds[0]))


def _check_identities(rows: pl.DataFrame) -> None:
    """Check one seed: a source has one group, a cell is one encode, and no frame of it is doubled."""
    if rows.group_by("source").agg(pl.col("group").n_unique())["group"].max() != 1:
        raise CorpusError(
            "a source is in two groups, so that it was in its own training rows", next_step="train again"
        )
    encode = pl.struct("source", "encoder", "preset", "rate_value").n_unique().alias("n")
    if rows.group_by("cell").agg(encode)["n"].max() != 1:
        raise CorpusError("a cell of the predictions stands for two encodes", next_step="train again")
    if rows.select("cell", "frame_index").is_duplicated().any():
        raise CorpusError("a frame of a cell is predicted twice by one seed", next_step="train again")


def _check_same_rows(predictions: pl.DataFrame, seeds: Sequence[int]) -> None:
    identity = [name for name in PREDICTION_COLUMNS if name not in {"seed", "prediction"}]
    first: pl.DataFrame | None = None
    seen: list[tuple[int, Any]] = []
    for seed in sorted(seeds):
        part = predictions.filter(pl.col("seed") == seed).sort("row")
        rows = part.select(identity)
        if part["row"].n_unique() != part.height:
            raise CorpusError(f"seed {seed} predicts a row twice", next_step="train again")
        if first is None:
            first = rows
        elif not rows.equals(first):
            raise CorpusError(f"seed {seed} was held out on other rows than the first", next_step="train again")
        predicted = part["prediction"].to_numpy()
        for other, values in seen:
            if np.array_equal(values, predicted):
                raise CorpusError(
                    f"seeds {other} and {seed} predict the same everywhere: sigma would say nothing",
                    next_step="train with different seeds",
                )
        seen.append((seed, predicted))


def folds_of_groups(predictions: pl.DataFrame) -> dict[str, str]:
    """The fold that each group was left out in.

    Raises:
      CorpusError: a group was left out in two.
    """
    pairs = predictions.select("group", "fold").unique().sort("group")
    if pairs["group"].n_unique() != pairs.height:
        raise CorpusError("a row was held out under the name of another group", next_step="train again")
    return dict(pairs.iter_rows())


def held_out_protocol(predictions: pl.DataFrame) -> str:
    """`leave-one-group-out` or `K grouped folds`, as the predictions say. Raises CorpusError if neither."""
    return protocol_of(folds_of_groups(predictions))


def fold_table(predictions: pl.DataFrame) -> list[dict[str, Any]]:
    """PLCC of every seed and group left out: `seed, held_out, plcc, n_val`.

    Grouped folds are scored by group too. The gate's statistic stays the mean over groups, each predicted by a
    member that saw no row of it. The member saw no row of the groups left out with it either, so the score tends
    to be lower.

    Raises:
      CorpusError: a fold has no defined correlation (one row, or a constant side).
    """
    table = []
    for (seed, fold), part in sorted(predictions.group_by("seed", "group"), key=lambda kv: kv[0]):
        ordered = part.sort("row")
        score = plcc(ordered["truth"].to_numpy(), ordered["prediction"].to_numpy())
        if not np.isfinite(score):
            raise CorpusError(
                f"group {fold} of seed {seed} has no correlation ({part.height} rows or constant)",
                next_step="measure that group at more rate values",
            )
        table.append({"seed": int(seed), "held_out": str(fold), "plcc": score, "n_val": part.height})
    return table


def evaluate_gate(
    predictions: pl.DataFrame,
    seeds: Sequence[int],
    policy: GatePolicy = POLICY,
    metric: Metric = MEAN_VMAF.metric,
    shipped: NDArray[np.float64] | None = None,
) -> tuple[GateResult, list[dict[str, Any]]]:
    """The gate on held-out predictions, and its per-fold table.

    Args:
      predictions: held-out predictions.
      seeds: the seeds they should be of.
      policy: the conditions.
      metric: the scale of what was predicted.
      shipped: what the shipped ensemble predicts of every row, points, [N], for a policy that asks.

    Raises:
      CorpusError: the predictions are not evidence; see `check_evidence`.
    """
    check_evidence(predictions, seeds, policy, metric)
    folds = fold_table(predictions)
    per_seed = {seed: float(np.mean([row["plcc"] for row in folds if row["seed"] == seed])) for seed in seeds}
    result = gate_from_scores(per_seed, policy)
    if policy.limits():
        result = result.with_conditions(measure_conditions(predictions, seeds, policy, shipped))
    return result, folds


def interval_coverage(
    residuals: Mapping[str, Sequence[float]], policy: CoveragePolicy = COVERAGE_POLICY
) -> list[CoverageResult]:
    """Coverage of the lower bound on each group, calibrated on the others, by confidence."""
    arrays = {group: np.asarray(rows, dtype=np.float64) for group, rows in residuals.items()}
    results = []
    for confidence in policy.confidences:
        covered = []
        for group, rows in arrays.items():
            others = [other for name, other in arrays.items() if name != group]
            try:
                lower = hcp_interval(others, confidence).lower
            except ConfigError:
                continue
            covered.append(float(np.mean(rows >= lower)))
        results.append(_result(confidence, "all", covered, policy))
    return results


def choice_coverage(
    curves: Sequence[Curve], policy: CoveragePolicy = COVERAGE_POLICY, on_step: OnStep | None = None
) -> list[CoverageResult]:
    """Hits of the chosen encode on each group, calibrated on the others, by confidence and encoder.

    A group's fraction is over its sources and the policy's targets, of the choices that were answered. Where there
    are own titles, they alone are judged, because the margin is for titles like them.

    Args:
      curves: held-out curves.
      policy: what is asked.
      on_step: called after each confidence and encoder.
    """
    results = []
    pairs = sorted({(curve.encoder, curve.preset) for curve in curves})
    titles = {curve.group for curve in curves if curve.measured}
    for confidence in policy.confidences:
        for encoder, preset in pairs:
            hits: dict[str, list[float]] = {}
            for target in policy.targets:
                made = cross_fitted_choices(
                    curves, encoder, preset, target=target, confidence=confidence, trials=policy.trials
                )
                for group, choices in made.items():
                    hits.setdefault(group, []).extend(1.0 - one.missed for one in choices)
            judged = hits.keys() & titles or hits.keys()
            covered = [float(np.mean(group)) for name, group in hits.items() if name in judged]
            results.append(_result(confidence, f"{encoder} {preset}", covered, policy))
            if on_step:
                on_step("choices replayed", len(results), len(policy.confidences) * len(pairs))
    return results


def _result(confidence: float, scope: str, covered: list[float], policy: CoveragePolicy) -> CoverageResult:
    return CoverageResult(
        confidence=confidence,
        scope=scope,
        n_groups=len(covered),
        coverage=float(np.mean(covered)) if covered else 0.0,
        passed=bool(covered_enough(covered, confidence, error=policy.error)),
    )
