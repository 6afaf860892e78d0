"""The gate's further conditions (ADR-0411, ADR-0437): what mean PLCC does not see, measured on the predictions."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.errors import CorpusError
from vmaf_assay.promise.metrics import plcc, rmse
from vmaf_assay.promise.policy import Condition, GatePolicy

F64 = NDArray[np.float64]


def measure_conditions(
    predictions: pl.DataFrame, seeds: Sequence[int], policy: GatePolicy, shipped: F64 | None
) -> list[Condition]:
    """Every further condition of a policy, measured.

    Args:
      predictions: evidence that `promise.gate.check_evidence` accepts.
      seeds: its seeds.
      policy: the conditions asked for.
      shipped: what the shipped ensemble predicts of every row, points, [N], in order of `row`.

    Raises:
      CorpusError: the policy asks what the shipped members predict, and nothing says it; or an encoder has no
        group whose truths differ.
    """
    table = predictions.sort("seed", "row")
    one = table.filter(pl.col("seed") == seeds[0])
    held = np.stack([_column(table.filter(pl.col("seed") == seed), "prediction") for seed in sorted(seeds)])
    truth = _column(one, "truth")
    encoder = np.array([f"{name} {preset}" for name, preset in one.select("encoder", "preset").iter_rows()])
    group = np.array(one["group"].to_list())
    found = [*_overall(sorted(seeds), truth, held, policy)]
    if policy.diversity_min is not None:
        found.append(_diversity(group, held, policy.diversity_min))
    for name in sorted(set(encoder.tolist())):
        at = encoder == name
        if policy.by_encoder:
            found += _by_encoder(name, truth[at], held[:, at], group[at], policy)
        if policy.needs_tie:
            if shipped is None or len(shipped) != len(truth):
                raise CorpusError("nothing says what the shipped members predict", next_step="train again")
            found += _tied(name, truth[at], held.mean(axis=0)[at], shipped[at], policy)
    return found


def _column(table: pl.DataFrame, name: str) -> F64:
    return table[name].to_numpy().astype(np.float64)


def _overall(seeds: Sequence[int], truth: F64, held: F64, policy: GatePolicy) -> Iterator[Condition]:
    for seed, predicted in zip(seeds, held, strict=True):
        if policy.rmse_max is not None:
            yield Condition(
                name="rmse", scope=f"seed {seed}", value=rmse(truth, predicted), at_most=policy.rmse_max
            )
        if policy.slope_range is not None:
            low, high = policy.slope_range
            centred = predicted - predicted.mean()
            slope = float(centred @ truth / (centred @ centred))
            yield Condition(name="slope", scope=f"seed {seed}", value=slope, at_least=low, at_most=high)


def _diversity(group: NDArray[np.str_], held: F64, least: float) -> Condition:
    """The fold and pair of seeds that differ least."""
    smallest = min(
        (rmse(held[a][group == name], held[b][group == name]), str(name))
        for name in np.unique(group)
        for a, b in combinations(range(len(held)), 2)
    )
    return Condition(name="diversity", scope=f"fold {smallest[1]}", value=smallest[0], at_least=least)


def _by_encoder(
    name: str, truth: F64, held: F64, group: NDArray[np.str_], policy: GatePolicy
) -> Iterable[Condition]:
    """The gate's three conditions on the rows of one encoder and preset: mean over groups, by seed."""
    parts = [group == one for one in np.unique(group)]
    parts = [at for at in parts if np.ptp(truth[at]) > 0]
    if not parts:
        raise CorpusError(
            f"{name} has no group measured at rate values that score differently",
            next_step="measure it at more rate values, or leave it out",
        )
    # A constant prediction has no correlation: it explains nothing.
    scores = [float(np.mean([np.nan_to_num(plcc(truth[at], one[at])) for at in parts])) for one in held]
    yield Condition(name="plcc", scope=name, value=float(np.mean(scores)), at_least=policy.mean_plcc_threshold)
    yield Condition(
        name="plcc spread", scope=name, value=max(scores) - min(scores), at_most=policy.plcc_spread_max
    )
    yield Condition(name="lowest seed", scope=name, value=min(scores), at_least=policy.per_seed_min)


def _tied(name: str, truth: F64, held: F64, shipped: F64, policy: GatePolicy) -> Iterator[Condition]:
    """What ties the shipped ensemble to the one judged: it is no worse on rows that it has seen."""
    if policy.in_sample_rmse_free is not None:
        most = max(rmse(truth, held), policy.in_sample_rmse_free)
        yield Condition(name="in-sample rmse", scope=name, value=rmse(truth, shipped), at_most=most)
    if policy.bias_shift_max is not None:
        shift = float((shipped - truth).mean() - (held - truth).mean())
        limit = policy.bias_shift_max
        yield Condition(name="bias shift", scope=name, value=shift, at_least=-limit, at_most=limit)
