"""Forecast error with the features chosen by nested leave-one-group-out, and between trained presets.

    python bench/forecast_nested.py data/corpus [--seeds 0,1] [--processes 2] [-o FILE.json]

Nested: every candidate is trained with each group left out. For each group, the candidate is picked that errs
least on all *other* groups (mean absolute error over VMAF > 70, averaged over encoders and presets), and only
its error on that group counts. The pick never sees the group it is judged on. What it does not nest: those
other groups were forecast by members that had the outer group in training; leaving out two groups at a time
would cost 36 times as much.

Between presets: members that saw neither the group nor the preset asked about, only its neighbours.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.evaluate.folds import leave_one_group_out
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.model.features import TrainingRows, forecast_rows
from vmaf_assay.model.recipe import RECIPES, Member, Recipe
from vmaf_assay.model.train import train_stacked
from vmaf_assay.model.weights import reference_predict

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
    """Ensemble mean on every row by members that saw neither its group nor the rows `without`, [N]."""
    folds = leave_one_group_out(rows.group)
    members = [Member(seed, fold.train[~without[fold.train]]) for seed in seeds for fold in folds]
    weights = train_stacked(
        rows.features, rows.codec, rows.target, members, recipe, prior_scale=rows.prior_scale, processes=processes
    )
    predicted = np.zeros((len(seeds), len(rows.target)))
    for index, one in enumerate(weights):
        at = folds[index % len(folds)].test
        predicted[index // len(folds), at] = reference_predict(one, rows.features[at], rows.codec[at])
    return predicted.mean(axis=0)


def by_pair(rows: TrainingRows, error: np.ndarray) -> dict[str, float]:
    """Mean error over VMAF > 70 by encoder and preset."""
    pairs = np.array([f"{e} {p}" for e, p in zip(rows.encoder, rows.preset, strict=True)])
    return {str(p): float(error[(pairs == p) & (rows.target > 70)].mean()) for p in np.unique(pairs)}


def nested(rows: TrainingRows, errors: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, int]]:
    """Error by pair with each group's candidate picked on the others, and how often each was picked."""
    group = np.array(rows.group)
    picked = dict.fromkeys(errors, 0)
    result = np.zeros(len(group))
    for name in np.unique(group):
        others = replace_groups(rows, group != name)
        score = {c: np.mean(list(by_pair(others, e[group != name]).values())) for c, e in errors.items()}
        best = min(score, key=score.get)
        picked[best] += 1
        result[group == name] = errors[best][group == name]
    return by_pair(rows, result), picked


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
    errors, found = {}, {"candidates": {}, "between": {}}
    for name, (keep, factor, recipe) in CANDIDATES.items():
        predicted = held_out(narrowed(rows, keep, factor), recipe, seeds, args.processes, none)
        errors[name] = np.abs(np.minimum(predicted, 100) - rows.target)
        found["candidates"][name] = by_pair(rows, errors[name])
        print(name, {k: round(v, 2) for k, v in found["candidates"][name].items()}, flush=True)
    found["nested"], found["picked"] = nested(rows, errors)
    print("nested", {k: round(v, 2) for k, v in found["nested"].items()}, found["picked"], flush=True)
    for encoder, preset in between(rows):
        asked = np.array([(e, p) == (encoder, preset) for e, p in zip(rows.encoder, rows.preset, strict=True)])
        error = np.abs(held_out(rows, RECIPE, seeds, args.processes, asked) - rows.target)
        useful = asked & (rows.target > 70)
        found["between"][f"{encoder} {preset}"] = float(error[useful].mean())
        print("never trained on", encoder, preset, round(float(error[useful].mean()), 2), flush=True)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
