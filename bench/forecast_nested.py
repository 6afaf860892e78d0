"""Forecast error with the features chosen by nested leave-one-group-out, and between trained presets.

    python bench/forecast_nested.py data/corpus [--seeds 0,1] [--processes 2] [-o FILE.json]

Nested: every candidate is trained with each group left out, and with each two groups left out. For each group,
the candidate is picked that errs least on all *other* groups (mean absolute error over VMAF > 70, averaged over
encoders and presets), each of them forecast by members that saw neither it nor the group to be judged; then only
the picked candidate's error on the judged group counts. Nothing that picks has seen the group it is judged on.
With 34 groups that is 595 members a seed and candidate.

Between presets: members that saw neither the group nor the preset asked about, only its neighbours.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.model.features import DEFAULT_PROBES
from vmaf_assay.model.sidecar import probes_known
from vmaf_assay.model.weights import reference_predict
from vmaf_assay.promise.choice import Curve, Forecaster
from vmaf_assay.promise.folds import leave_one_group_out
from vmaf_assay.training.recipe import RECIPES, Member, Recipe
from vmaf_assay.training.rows import TrainingRows, forecast_rows
from vmaf_assay.training.train import train_stacked

RECIPE = RECIPES["forecast-v1"]


def _unscored(name: str) -> bool:
    return "vmaf" not in name


CANDIDATES: dict[str, tuple[Callable[[str], bool], float, Recipe]] = {
    "the first probe alone": (lambda name: not name.startswith("own."), 1.0, RECIPE),
    "two probes, canonical-6 and bits": (_unscored, 1.0, RECIPE),
    "and what the probes score (shipped)": (lambda _: True, 1.0, RECIPE),
    "that, secondary features at a fifth": (lambda _: True, 2.0, RECIPE),
    "that, 400 epochs": (lambda _: True, 1.0, replace(RECIPE, epochs=400)),
}
"""By description: columns kept, factor on the prior scale of the secondary ones, recipe."""


def narrowed(rows: TrainingRows, keep: Callable[[str], bool], factor: float) -> TrainingRows:
    """The rows with some columns only."""
    columns = [i for i, name in enumerate(rows.feature_names) if keep(name)]
    scale = np.where(rows.prior_scale < 1, rows.prior_scale * factor, 1).astype(np.float32)
    names = tuple(rows.feature_names[i] for i in columns)
    return replace(rows, features=rows.features[:, columns], feature_names=names, prior_scale=scale[columns])


def held_out(
    rows: TrainingRows, recipe: Recipe, seeds: list[int], processes: int, without: np.ndarray
) -> np.ndarray:
    """Forecasts of every row, by seed, by members that saw neither its group nor the rows `without`, [S, N]."""
    folds = leave_one_group_out(rows.group)
    members = [Member(seed, fold.train[~without[fold.train]]) for seed in seeds for fold in folds]
    weights = train_stacked(
        rows.features, rows.codec, rows.target, members, recipe, prior_scale=rows.prior_scale, processes=processes
    )
    predicted = np.zeros((len(seeds), len(rows.target)))
    for index, one in enumerate(weights):
        at = folds[index % len(folds)].test
        predicted[index // len(folds), at] = reference_predict(one, rows.features[at], rows.codec[at])
    return np.minimum(predicted, 100)


def without_two(rows: TrainingRows, recipe: Recipe, seeds: list[int], processes: int) -> np.ndarray:
    """Ensemble mean by members that saw neither a row's group nor group g, [G, N]; NaN on the rows of g."""
    group = np.array(rows.group)
    names = np.unique(group)
    pairs = [(one, two) for one in range(len(names)) for two in range(one)]
    left = [np.flatnonzero((group != names[one]) & (group != names[two])) for one, two in pairs]
    members = [Member(seed, keep) for seed in seeds for keep in left]
    weights = train_stacked(
        rows.features, rows.codec, rows.target, members, recipe, prior_scale=rows.prior_scale, processes=processes
    )
    total = np.full((len(names), len(group)), np.nan)
    for index, (one, two) in enumerate(pairs):
        for judged, other in ((one, two), (two, one)):
            at = np.flatnonzero(group == names[judged])
            mine = [weights[index + len(pairs) * number] for number in range(len(seeds))]
            total[other, at] = np.mean(
                [reference_predict(one_seed, rows.features[at], rows.codec[at]) for one_seed in mine], axis=0
            )
    return total


def by_pair(rows: TrainingRows, error: np.ndarray) -> dict[str, float]:
    """Mean error over VMAF > 70 by encoder and preset."""
    pairs = np.array([f"{e} {p}" for e, p in zip(rows.encoder, rows.preset, strict=True)])
    return {str(p): float(error[(pairs == p) & (rows.target > 70)].mean()) for p in np.unique(pairs)}


def led(rows: TrainingRows, predicted: np.ndarray) -> np.ndarray:
    """The forecast as `tune` uses it, interpolated through probes of the same encoder and preset, [N].

    Args:
      rows: of the corpus.
      predicted: forecasts by seed, [S, N].
    """
    result, sigma = predicted.mean(axis=0), predicted.std(axis=0, ddof=1)
    at: dict[tuple[str, str, str], list[int]] = {}
    for index, key in enumerate(zip(rows.source, rows.encoder, rows.preset, strict=True)):
        at.setdefault(key, []).append(index)
    for (source, encoder, preset), found in at.items():
        mine = np.array(sorted(found, key=lambda index: rows.rate_value[index]))
        rates = np.array([float(rows.rate_value[index]) for index in mine])
        truth = dict(zip(rates.tolist(), rows.target[mine].tolist(), strict=True))
        own = [DEFAULT_PROBES[i].rate_value for i in probes_known(DEFAULT_PROBES, encoder, preset, more=False)]
        known = {rate: truth[rate] for rate in own if rate in truth}
        curve = Curve("", source, encoder, preset, rates, result[mine], sigma[mine], rows.target[mine], known)
        forecaster = Forecaster(curve)
        result[mine] = [forecaster.mu[forecaster.at(rate)] for rate in rates]
    return result


def nested(
    rows: TrainingRows, predictions: dict[str, np.ndarray], inner: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, str]]:
    """Forecasts with each group's candidate picked on the others, [S, N], and the candidate of each group.

    Args:
      rows: of the corpus.
      predictions: by candidate, forecasts by seed by members that did not see a row's group, [S, N].
      inner: by candidate, each row's error by members that saw neither its group nor group g, [G, N].
    """
    group = np.array(rows.group)
    picked: dict[str, str] = {}
    result = np.zeros_like(next(iter(predictions.values())))
    for index, name in enumerate(np.unique(group)):
        others = replace_groups(rows, group != name)
        seen = {c: by_pair(others, e[index, group != name]) for c, e in inner.items()}
        score = {c: np.mean(list(of_pair.values())) for c, of_pair in seen.items()}
        picked[str(name)] = min(score, key=score.get)
        result[:, group == name] = predictions[picked[str(name)]][:, group == name]
    return result, picked


def between(rows: TrainingRows) -> list[tuple[str, str]]:
    """Encoders and presets of the corpus with a slower and a faster neighbour in it."""
    seen = set(zip(rows.encoder, rows.preset, strict=True))
    found = []
    for encoder in sorted({name for name, _ in seen}):
        ordered = [preset for preset in encoder_info(encoder).presets if (encoder, preset) in seen]
        found += [(encoder, preset) for preset in ordered[1:-1]]
    return found


def replace_groups(rows: TrainingRows, keep: np.ndarray) -> TrainingRows:
    """The rows of some groups, as far as `by_pair` reads them."""
    at = np.flatnonzero(keep)
    encoder, preset = (tuple(getattr(rows, name)[i] for i in at) for name in ("encoder", "preset"))
    return replace(rows, encoder=encoder, preset=preset, target=rows.target[at])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    rows = forecast_rows(load_corpus(args.corpus))
    none = np.zeros(len(rows.target), dtype=bool)
    predictions, inner, found = {}, {}, {"candidates": {}, "led": {}, "between": {}}
    for name, (keep, factor, recipe) in CANDIDATES.items():
        narrow = narrowed(rows, keep, factor)
        predictions[name] = held_out(narrow, recipe, seeds, args.processes, none)
        found["candidates"][name] = by_pair(rows, np.abs(predictions[name].mean(axis=0) - rows.target))
        found["led"][name] = by_pair(rows, np.abs(led(rows, predictions[name]) - rows.target))
        inner[name] = np.abs(np.minimum(without_two(narrow, recipe, seeds, args.processes), 100) - rows.target)
        print(name, {k: round(v, 2) for k, v in found["candidates"][name].items()}, flush=True)
    chosen, found["picked"] = nested(rows, predictions, inner)
    found["candidates"]["nested"] = by_pair(rows, np.abs(chosen.mean(axis=0) - rows.target))
    found["led"]["nested"] = by_pair(rows, np.abs(led(rows, chosen) - rows.target))
    for kind in ("candidates", "led"):
        print("nested", kind, {k: round(v, 2) for k, v in found[kind]["nested"].items()}, flush=True)
    print(Counter(found["picked"].values()), flush=True)
    for encoder, preset in between(rows):
        asked = np.array([(e, p) == (encoder, preset) for e, p in zip(rows.encoder, rows.preset, strict=True)])
        error = np.abs(held_out(rows, RECIPE, seeds, args.processes, asked).mean(axis=0) - rows.target)
        useful = asked & (rows.target > 70)
        found["between"][f"{encoder} {preset}"] = float(error[useful].mean())
        print("never trained on", encoder, preset, round(float(error[useful].mean()), 2), flush=True)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
