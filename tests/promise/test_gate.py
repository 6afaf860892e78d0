"""The gate on held-out predictions: what is no evidence is refused, what is poor evidence is a HOLD."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tests.crafted import SEEDS, held_out_predictions
from vmaf_assay.errors import CorpusError
from vmaf_assay.promise.choice import Curve
from vmaf_assay.promise.gate import choice_coverage, evaluate_gate, held_out_protocol, interval_coverage
from vmaf_assay.promise.policy import ADR_0303, CoveragePolicy

GOOD = held_out_predictions()


def seed_is(*seeds: int) -> pl.Expr:
    """Rows of these seeds."""
    return pl.col("seed").is_in(seeds)


def edited(column: str, value: object, where: pl.Expr) -> pl.DataFrame:
    """The good predictions with `column` set to `value` where the condition holds."""
    dtype = GOOD.schema[column]
    return GOOD.with_columns(
        pl.when(where).then(pl.lit(value, dtype=dtype)).otherwise(pl.col(column)).alias(column)
    )


FIRST = (pl.col("seed") == 0) & (pl.col("row") == 0)
OF_SEED0 = GOOD.filter(seed_is(0))
NOT_EVIDENCE = {
    "a column is missing": (GOOD.drop("truth"), SEEDS, "lack column truth"),
    "scores as text": (GOOD.with_columns(pl.col("prediction").cast(pl.String)), SEEDS, "lack column prediction"),
    "only one seed": (OF_SEED0, (0,), "not 5 different ones"),
    "one seed five times": (OF_SEED0, (0, 0, 0, 0, 0), "not 5 different ones"),
    "a seed is missing": (GOOD.filter(seed_is(0, 1, 2, 3)), SEEDS, "predictions are of seeds"),
    "a seed nobody asked for": (GOOD, (0, 1, 2, 3, 5), "predictions are of seeds"),
    "a fold is missing for one seed": (
        GOOD.filter(~(seed_is(3) & (pl.col("group") == "g01"))),
        SEEDS,
        "other rows",
    ),
    "a row twice": (pl.concat([GOOD, GOOD.filter(FIRST)]), SEEDS, "predicts a row twice"),
    "a NaN prediction": (edited("prediction", float("nan"), FIRST), SEEDS, "NaN or missing"),
    "an infinite prediction": (edited("prediction", float("inf"), FIRST), SEEDS, "NaN or missing"),
    "a missing truth": (edited("truth", None, FIRST), SEEDS, "NaN or missing"),
    "held out under another name": (edited("fold", "g01", FIRST), SEEDS, "name of another group"),
    "a group in two folds": (
        GOOD.with_columns(fold=pl.format("fold {} of 2", 1 + pl.col("row") % 2)),
        SEEDS,
        "name of another group",
    ),
    "a fold of K missing": (
        GOOD.with_columns(fold=pl.lit("fold 1 of 3")),
        SEEDS,
        "name of another group",
    ),
    "truths that differ between seeds": (edited("truth", 1.0, FIRST), SEEDS, "other rows"),
    "one fold": (GOOD.filter(pl.col("group") == "g00"), SEEDS, "one fold is not"),
    "a constant fold": (
        edited("prediction", 90.0, seed_is(2) & (pl.col("group") == "g03")),
        SEEDS,
        "no correlation",
    ),
    "an empty table": (GOOD.clear(), SEEDS, "predictions are of seeds"),
}


@pytest.mark.parametrize("what", NOT_EVIDENCE)
def test_what_is_no_evidence_is_refused(what):
    """No evidence is neither PROMOTE nor HOLD: the gate refuses to answer, and says why."""
    predictions, seeds, message = NOT_EVIDENCE[what]
    with pytest.raises(CorpusError, match=message):
        evaluate_gate(predictions, seeds)


def test_identical_members_are_refused():
    """Two members that predict the same everywhere make sigma zero: no diversity, no evidence."""
    copies = [OF_SEED0.with_columns(seed=pl.lit(seed, dtype=pl.Int32)) for seed in (0, 1)]
    table = pl.concat([*copies, GOOD.filter(seed_is(2, 3, 4))])
    with pytest.raises(CorpusError, match="seeds 0 and 1 predict the same"):
        evaluate_gate(table, SEEDS)


def test_scores_are_means_of_folds_by_an_independent_calculation():
    """A seed's score is the plain mean over groups of SciPy's Pearson correlation."""
    result, folds = evaluate_gate(GOOD, SEEDS, ADR_0303)
    for seed in SEEDS:
        parts = GOOD.filter(seed_is(seed)).partition_by("group")
        scores = [stats.pearsonr(part["truth"], part["prediction"])[0] for part in parts]
        assert result.per_seed_plccs[str(seed)] == pytest.approx(np.mean(scores), abs=1e-6)
    assert len(folds) == len(SEEDS) * 22
    assert result.passed


def test_the_order_of_rows_does_not_matter():
    """Shuffled predictions give the same gate to the last bit."""
    assert evaluate_gate(GOOD.sample(fraction=1, shuffle=True, seed=1), SEEDS, ADR_0303) == evaluate_gate(
        GOOD, SEEDS, ADR_0303
    )


def test_bad_predictions_are_a_hold():
    """Predictions that are noise are evidence, and not good enough."""
    noise = np.random.default_rng(0).normal(80, 10, GOOD.height).astype(np.float32)
    result, _ = evaluate_gate(GOOD.with_columns(prediction=pl.Series(noise)), SEEDS, ADR_0303)
    assert not result.passed
    assert result.failing_seeds == list(SEEDS)


def test_coverage_needs_groups_enough_for_the_confidence():
    """With K groups, coverage above K/(K+1) cannot pass, however well it looks."""
    few = {f"g{i}": [float(i), -float(i)] for i in range(12)}
    passed = {result.confidence: result.passed for result in interval_coverage(few)}
    assert passed[0.8]
    assert not passed[0.95]


def test_coverage_of_exchangeable_groups_passes():
    """Residuals of one distribution are covered as often as promised."""
    rng = np.random.default_rng(7)
    groups = {f"g{i}": rng.normal(rng.normal(), 1, 20).tolist() for i in range(60)}
    assert all(result.passed for result in interval_coverage(groups))
    assert [result.confidence for result in interval_coverage(groups)] == [0.8, 0.9, 0.95]


def curves(n_groups: int, error_of) -> list[Curve]:
    """libx264 curves with the forecast error (mu - truth, points) that `error_of(group)` gives."""
    rates = np.array([18.0, 24.0, 30.0, 36.0, 42.0])
    truth = 99 - 30 * ((rates - 18) / 24) ** 1.5
    return [
        Curve(f"g{i}", f"g{i}", "libx264", "medium", rates, truth + error_of(i), np.full(5, 0.5), truth)
        for i in range(n_groups)
    ]


def test_choice_coverage_passes_exchangeable_forecasts():
    """Forecast errors of one distribution: the chosen encode reaches its target as often as promised."""
    errors = np.random.default_rng(3).normal(0, 1, 40)
    results = choice_coverage(curves(40, lambda i: errors[i]), CoveragePolicy(targets=(85.0,)))
    assert [result.passed for result in results] == [True, True, True]
    assert {result.scope for result in results} == {"libx264 medium"}
    assert min(result.n_groups for result in results) >= 19


def test_choice_coverage_that_answers_too_few_is_not_a_pass():
    """An ensemble that cannot answer is not rewarded for it."""
    results = choice_coverage(curves(8, lambda i: 0.1 * i), CoveragePolicy(targets=(85.0,)))
    assert {result.confidence: result.passed for result in results}[0.95] is False


def test_grouped_folds_are_evidence_and_are_named():
    """The same predictions out of 4 folds: the same gate, group by group, and the protocol said."""
    number = pl.col("group").str.slice(1).cast(pl.Int32) % 4 + 1
    grouped = GOOD.with_columns(fold=pl.format("fold {} of 4", number))
    assert evaluate_gate(grouped, SEEDS, ADR_0303) == evaluate_gate(GOOD, SEEDS, ADR_0303)
    assert held_out_protocol(grouped) == "4 grouped folds"
    assert held_out_protocol(GOOD) == "leave-one-group-out"
