"""The page of a training run: whether it passes its gate, and where it errs, on held-out groups."""

from typing import Any

import numpy as np
import polars as pl

from vmaf_assay.promise.metrics import srocc
from vmaf_assay.promise.policy import CoverageResult, GateResult
from vmaf_assay.report.page import Page, Section, Table
from vmaf_assay.report.plots import Axis, Chart, Point
from vmaf_assay.training.evidence import RunEvidence

MAX_POINTS = 1500
"""Points drawn in a scatter plot; more would only make the page slow."""
WORST = 12
"""Groups listed as the worst."""


def run_page(run: RunEvidence) -> Page:
    """The page of a run whose every file has been checked."""
    gate, folds = run.gate()
    coverage = run.coverage()
    rows = ensemble_rows(run.predictions)
    answer = "The gate passes" if gate.passed else f"HOLD: {'; '.join(gate.reasons())}"
    promises = bool(coverage) and all(result.passed for result in coverage)
    answer += f"; the ensemble {'may' if promises else 'may not'} make promises"
    document = {
        "run": run.file.model_dump(mode="json"),
        "gate": gate.model_dump(),
        "folds": folds,
        "coverage": [result.model_dump() for result in coverage],
    }
    sections = [
        gate_section(gate),
        _folds(folds, gate),
        _predicted(rows),
        _errors(rows),
        coverage_section(coverage),
        _sigma(rows),
        _worst(rows),
    ]
    facts = [
        ("mean PLCC", gate.mean_plcc),
        ("spread", gate.plcc_spread),
        ("seeds", len(run.file.seeds)),
        ("groups", run.file.corpus.n_groups),
        ("rows", run.file.corpus.n_rows),
        ("mean error, points", float(rows["error"].abs().mean())),  # type: ignore[arg-type]  # never empty
    ]
    return Page(
        "run",
        f"{run.file.model_id}, run {run.folder.resolve().name}",
        answer,
        "good" if gate.passed else "bad",
        facts,
        sections,
        document,
    )


def ensemble_rows(predictions: pl.DataFrame) -> pl.DataFrame:
    """One row an encode or frame: the mean over seeds, its spread, and its error against the truth.

    Returns:
      group, source, encoder, preset, rate_value, truth, mu, sigma (ddof 1), error = mu - truth; points.
    """
    keys = ["row", "group", "source", "encoder", "preset", "rate_value"]
    return (
        predictions.group_by(keys)
        .agg(
            pl.col("truth").first().cast(pl.Float64),
            pl.col("prediction").cast(pl.Float64).mean().alias("mu"),
            pl.col("prediction").cast(pl.Float64).std().fill_null(0).alias("sigma"),
        )
        .sort("row")
        .with_columns((pl.col("mu") - pl.col("truth")).alias("error"))
    )


def gate_section(gate: GateResult) -> Section:
    """The gate's conditions, each with the measured and the required value."""
    rows: list[list[object]] = [
        ["mean over seeds", _six(gate.mean_plcc), f"at least {gate.mean_plcc_threshold:g}", gate.mean_plcc_pass],
        ["spread", _six(gate.plcc_spread), f"at most {gate.plcc_spread_max:g}", gate.plcc_spread_pass],
    ]
    rows += [
        [f"seed {seed}", round(score, 6), f"at least {gate.per_seed_min:g}", score >= gate.per_seed_min]
        for seed, score in gate.per_seed_plccs.items()
    ]
    words = (
        "Every group of sources was left out in turn and predicted by models that never saw it. PLCC is the "
        "correlation of those predictions with what was measured. All of it is recomputed here."
    )
    return Section(
        "gate",
        "The gate at a glance",
        [words],
        tables=[Table("Conditions of the gate", ["PLCC", "measured", "must be", "passed"], rows)],
    )


def _six(value: float) -> float:
    return round(value, 6)


def _folds(folds: list[dict[str, Any]], gate: GateResult) -> Section:
    by_group: dict[str, dict[int, float]] = {}
    for fold in folds:
        by_group.setdefault(str(fold["held_out"]), {})[int(fold["seed"])] = float(fold["plcc"])
    order = sorted(by_group, key=lambda group: float(np.mean(list(by_group[group].values()))))
    seeds = sorted({seed for scores in by_group.values() for seed in scores})
    values = [plcc for scores in by_group.values() for plcc in scores.values()]
    chart = Chart(
        "folds",
        "PLCC of every fold and seed",
        "Groups from the worst to the best, one mark a seed",
        Axis("group left out, worst first", [0.0, float(len(order) - 1)]),
        Axis("PLCC", [*values, gate.per_seed_min], high=1.0),
    )
    chart.rule(y=gate.per_seed_min, label=f"each seed's mean: at least {gate.per_seed_min:g}")
    for index, seed in enumerate(seeds):
        points = [
            Point(float(at), by_group[group][seed], f"{group}\nseed {seed}: PLCC {by_group[group][seed]:.4f}")
            for at, group in enumerate(order)
            if seed in by_group[group]
        ]
        chart.points(points, series=index, name=f"seed {seed}")
    table = Table(
        "PLCC by group and seed",
        ["group", *(f"seed {seed}" for seed in seeds)],
        [[group, *(round(by_group[group][seed], 5) for seed in seeds)] for group in order],
    )
    return Section("folds", "Each seed, each fold", charts=[chart], tables=[table])


def _thinned(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if rows.height <= MAX_POINTS else rows.gather_every(-(-rows.height // MAX_POINTS))


def _encoders(rows: pl.DataFrame) -> list[tuple[str, str]]:
    pairs = rows.select("encoder", "preset").unique().sort("encoder", "preset").rows()
    return [(str(encoder), str(preset)) for encoder, preset in pairs]


def _predicted(rows: pl.DataFrame) -> Section:
    shown = _thinned(rows)
    both = [*shown["truth"].to_list(), *shown["mu"].to_list()]
    chart = Chart(
        "predicted",
        "Predicted against measured VMAF",
        "One mark a held-out row; on the line both are equal",
        Axis("measured VMAF, points", both),
        Axis("predicted VMAF, points", both),
        height=420,
    )
    chart.diagonal()
    for index, (encoder, preset) in enumerate(_encoders(rows)):
        part = shown.filter((pl.col("encoder") == encoder) & (pl.col("preset") == preset))
        points = [
            Point(
                row["truth"],
                row["mu"],
                f"{row['source']} (group {row['group']})\n{encoder} {preset} at {row['rate_value']:g}\n"
                f"measured {row['truth']:.2f}, predicted {row['mu']:.2f} ± {row['sigma']:.2f}",
            )
            for row in part.iter_rows(named=True)
        ]
        chart.points(points, series=index, name=f"{encoder} {preset}")
    drawn = "" if shown.height == rows.height else f" {shown.height:,} of {rows.height:,} rows are drawn."
    table = Table(
        "Error by group",
        ["group", "rows", "mean abs. error", "bias", "largest"],
        [
            [r["group"], r["n"], round(r["mae"], 3), round(r["bias"], 3), round(r["most"], 3)]
            for r in _by_group(rows).sort("group").iter_rows(named=True)
        ],
    )
    words = f"Predictions are the mean over seeds, by models that never saw the row's group.{drawn}"
    return Section("predicted", "Predicted against measured", [words], [chart], [table])


def _by_group(rows: pl.DataFrame) -> pl.DataFrame:
    error = pl.col("error")
    return rows.group_by("group").agg(
        pl.len().alias("n"),
        error.abs().mean().alias("mae"),
        error.mean().alias("bias"),
        error.abs().max().alias("most"),
        pl.col("sigma").mean().alias("sigma"),
    )


def _errors(rows: pl.DataFrame) -> Section:
    by_rate = (
        rows.group_by("encoder", "preset", "rate_value")
        .agg(pl.len().alias("n"), pl.col("error").abs().mean().alias("mae"), pl.col("error").mean().alias("bias"))
        .sort("encoder", "preset", "rate_value")
    )
    chart = Chart(
        "errors",
        "Mean absolute error by encoder and rate value",
        "Held-out; each encoder on its own scale of rate values",
        Axis("rate value", by_rate["rate_value"].to_list()),
        Axis("error, VMAF points", by_rate["mae"].to_list(), low=0),
    )
    for index, (encoder, preset) in enumerate(_encoders(rows)):
        part = by_rate.filter((pl.col("encoder") == encoder) & (pl.col("preset") == preset))
        name = f"{encoder} {preset}"
        chart.line(part["rate_value"].to_list(), part["mae"].to_list(), series=index, name=name)
        points = [
            Point(
                r["rate_value"],
                r["mae"],
                f"{name} at {r['rate_value']:g}\nmean error {r['mae']:.2f}, bias {r['bias']:+.2f}",
            )
            for r in part.iter_rows(named=True)
        ]
        chart.points(points, series=index, name=name)
    table = Table(
        "Error by encoder and rate value",
        ["encoder", "preset", "rate value", "rows", "mean abs. error", "bias"],
        [
            [r["encoder"], r["preset"], r["rate_value"], r["n"], round(r["mae"], 3), round(r["bias"], 3)]
            for r in by_rate.iter_rows(named=True)
        ],
    )
    return Section("errors", "Error by encoder and rate value", charts=[chart], tables=[table])


def coverage_section(coverage: list[CoverageResult]) -> Section:
    """Whether the lower bound holds as often as its confidence says."""
    scopes = sorted({result.scope for result in coverage})
    values = [v for result in coverage for v in (result.confidence, result.coverage)]
    chart = Chart(
        "coverage",
        "Confidence asked for, and how often it held",
        "On held-out groups; above the line is on the safe side",
        Axis("confidence asked for", [r.confidence for r in coverage]),
        Axis("share that held", values, high=1.0),
    )
    chart.diagonal()
    for index, scope in enumerate(scopes):
        points = [
            Point(
                r.confidence,
                r.coverage,
                f"{scope}\nasked {r.confidence:g}, held {r.coverage:.3f} in {r.n_groups} groups",
            )
            for r in coverage
            if r.scope == scope
        ]
        chart.points(points, series=index, name=scope, large=True)
    table = Table(
        "Coverage by scope",
        ["scope", "confidence", "held", "groups", "passed"],
        [[r.scope, r.confidence, round(r.coverage, 4), r.n_groups, r.passed] for r in coverage],
    )
    words = (
        "A lower bound at confidence 0.95 should hold in 95 of 100 new groups. Counted by group, with the margin "
        "calibrated on the other groups; passed if no further below than chance allows."
    )
    return Section("coverage", "Does the lower bound hold?", [words], [chart], [table])


def _sigma(rows: pl.DataFrame) -> Section:
    error = rows["error"].abs().to_numpy()
    rank = srocc(rows["sigma"].to_numpy(), error)
    shown = _thinned(rows)
    chart = Chart(
        "sigma",
        "Spread over seeds against error",
        f"One mark a held-out row; rank correlation {rank:.3f}",
        Axis("sigma, points", [0.0, *shown["sigma"].to_list()], low=0),
        Axis("absolute error, points", [0.0, *error], low=0),
    )
    for index, (encoder, preset) in enumerate(_encoders(rows)):
        part = shown.filter((pl.col("encoder") == encoder) & (pl.col("preset") == preset))
        points = [
            Point(
                r["sigma"],
                abs(r["error"]),
                f"{r['source']}, {encoder} at {r['rate_value']:g}\n"
                f"sigma {r['sigma']:.2f}, error {r['error']:+.2f}",
            )
            for r in part.iter_rows(named=True)
        ]
        chart.points(points, series=index, name=f"{encoder} {preset}")
    quarter = pl.DataFrame({"sigma": rows["sigma"], "error": error}).sort("sigma").with_row_index()
    quarter = quarter.group_by((pl.col("index") * 4 // rows.height).alias("q")).agg(
        pl.len().alias("n"), pl.col("sigma").mean(), pl.col("error").mean()
    )
    names = ["lowest quarter", "second", "third", "highest quarter"]
    table = Table(
        "Error by quarter of sigma",
        ["sigma", "rows", "mean sigma", "mean abs. error"],
        [
            [names[int(r["q"])], r["n"], round(r["sigma"], 3), round(r["error"], 3)]
            for r in quarter.sort("q").iter_rows(named=True)
        ],
    )
    words = (
        f"Sigma is how much the seeds disagree. Its rank correlation with the error is {rank:.3f}: where it is "
        "above zero, sigma tells something of where the prediction is bad. It is not an interval."
    )
    return Section("sigma", "Does sigma predict the error?", [words], [chart], [table])


def _worst(rows: pl.DataFrame) -> Section:
    worst = _by_group(rows).sort("mae", descending=True).head(WORST)
    table = Table(
        "Groups with the largest mean error",
        ["group", "rows", "mean abs. error", "bias", "largest", "mean sigma"],
        [
            [r["group"], r["n"], *(round(r[key], 3) for key in ("mae", "bias", "most", "sigma"))]
            for r in worst.iter_rows(named=True)
        ],
    )
    return Section(
        "worst", "The worst groups", ["Look at these first: what do they have in common?"], tables=[table]
    )
