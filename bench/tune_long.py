"""Does the promise hold on titles of which only segments are seen? Titles made of held-out curves.

    python bench/tune_long.py [--splits 6] [--titles 25] [--segments 20] [--units 150] [--more-probes] [--json]

A title is `--units` units drawn from the measured clips of up to twelve sources of half of the groups, in unequal
shares, joined without encoding: its VMAF at a rate value is the mean over its units. `--segments` of the units
are probed, picked at random; a trial measures four tenths of those. Forecasts are the shipped ensemble's held-out
ones, and the margin comes from the other half of the groups alone: no title has a part in what it is judged by.

The bound is `tune`'s own code (`promise/sampling.py`). Beside it stand the margin alone, as if the sample were
the title, and the sum of both. The error of the estimate is given beside that of the mean of what was measured.
Not in here: how an encode of segments differs from an encode of the title. `bench/tune_long_titles.py` has it.
"""

import argparse
import itertools
import json
from collections import Counter

import numpy as np

from vmaf_assay.errors import ConfigError
from vmaf_assay.promise.choice import Curve, Forecaster, calibrate_margin, interpolate, monotone, trial_rate
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.sampling import SampledForecaster, n_tried, spread_evenly
from vmaf_assay.registry.store import load_verified, registry_dir

ASKED = (
    ("libx264", "medium"),
    ("libx265", "medium"),
    ("libsvtav1", "8"),
    ("libvpx-vp9", "4"),
    ("libaom-av1", "6"),
    ("libvvenc", "faster"),
)
TARGETS = (85.0, 90.0, 93.0)
CONFIDENCES = (0.8, 0.9)
MAX_KINDS = 12


def truth_of(curve: Curve):
    """Measured VMAF on the grid, points, [G]."""
    one = Forecaster(curve)
    return interpolate(curve.rate_values, monotone(one.encoder, curve.truth), one.grid)


def alike(curves: list[Curve]) -> list[Curve]:
    """Those measured at the rate values that most were: a mean over segments needs the same of each."""
    rates = Counter(tuple(curve.rate_values.tolist()) for curve in curves).most_common(1)[0][0]
    return [curve for curve in curves if tuple(curve.rate_values.tolist()) == rates]


def title_curve(segments: list[Curve]) -> Curve:
    """The mean forecast of a sample."""
    means = {name: np.mean([getattr(one, name) for one in segments], axis=0) for name in ("mu", "sigma", "truth")}
    known = {
        rate: float(np.mean([one.known[rate] for one in segments]))
        for rate in segments[0].known
        if all(rate in one.known for one in segments)
    }
    first = segments[0]
    return Curve("title", "title", first.encoder, first.preset, first.rate_values, **means, known=known)


def choices(forecaster: SampledForecaster, trials, scale: float, target: float):
    """Grid index chosen by each rule, or None."""
    margin, part = scale * forecaster.weight(trials), forecaster.sampling_part(trials)
    mu = forecaster.corrected(trials)
    bounds = {
        "margin alone": mu - margin,
        "tune": forecaster.lower(trials, scale),
        "sum": mu - margin - part,
    }
    for name, bound in bounds.items():
        meets = np.flatnonzero(bound >= target)
        yield name, (int(meets[0]) if len(meets) else None)


def margins_of(others: list[Curve]) -> dict:
    """The margin's scale by target, confidence and number of trials, where there is one."""
    first, margins = others[0], {}
    for target, confidence, n_trials in itertools.product(TARGETS, CONFIDENCES, (0, 1, 2)):
        try:
            made = calibrate_margin(
                others, first.encoder, first.preset, target=target, confidence=confidence, trials=n_trials
            )
        except ConfigError:
            continue
        margins[target, confidence, n_trials] = made.scale
    return margins


def rows_of(own: list[Curve], rng, args):
    """(trials, confidence, rule, hit, VMAF above the target) and errors of estimates."""
    groups = np.array(sorted({curve.group for curve in own}))
    truths = {curve.source: truth_of(curve) for curve in own}
    for _ in range(args.splits):
        mine = set(rng.choice(groups, len(groups) // 2, replace=False).tolist())
        pool = [curve for curve in own if curve.group in mine]
        margins = margins_of([curve for curve in own if curve.group not in mine])
        for _ in range(args.titles):
            kinds = [pool[i] for i in rng.choice(len(pool), int(rng.integers(1, MAX_KINDS + 1)), replace=False)]
            units = rng.choice(len(kinds), args.units, p=rng.dirichlet(np.ones(len(kinds))))
            truth = np.mean([truths[kinds[unit].source] for unit in units], axis=0)
            segments = [kinds[units[i]] for i in rng.choice(args.units, args.segments, replace=False)]
            measured = np.stack([truths[one.source] for one in segments])
            yield from judged(segments, measured, truth, margins, args.units)


def judged(segments: list[Curve], measured, truth, margins: dict, n_units: int):
    """Rows of one title, from what its segments measure, [N, G], and its truth, [G]."""
    title, weights = title_curve(segments), np.ones(len(segments))
    tried = spread_evenly(n_tried(len(segments)), len(segments))
    forecasters = {
        confidence: SampledForecaster(title, segments, weights, n_units, confidence=confidence)
        for confidence in CONFIDENCES
    }
    for (target, confidence, n_trials), scale in margins.items():
        forecaster, trials = forecasters[confidence], {}
        for _ in range(n_trials):
            rate = trial_rate(forecaster, target, trials)
            if rate is None:
                break
            at = forecaster.at(rate)
            trials[rate] = forecaster.observe(rate, {i: float(measured[i, at]) for i in tried})
            yield ("error", trials[rate] - truth[at], float(measured[tried, at].mean() - truth[at]))
        for rule, index in choices(forecaster, trials, scale, target):
            hit = None if index is None else float(truth[index] >= target - 1e-9)
            above = None if index is None else float(truth[index] - target)
            yield (n_trials, confidence, rule, hit, above)


def table(own: list[Curve], rng, args) -> dict:
    """Hit rates and errors of one encoder."""
    rows = list(rows_of(own, rng, args))
    errors = np.array([row[1:] for row in rows if row[0] == "error"])
    rmse = np.sqrt((errors**2).mean(axis=0)).tolist()
    lines = []
    for n_trials in (0, 1, 2):
        for confidence in CONFIDENCES:
            line = {"trials": n_trials, "confidence": confidence}
            for rule in ("margin alone", "tune", "sum"):
                made = [row[3:] for row in rows if row[:3] == (n_trials, confidence, rule) and row[3] is not None]
                line[rule] = {"hits": np.mean([m[0] for m in made]), "above": np.mean([m[1] for m in made])}
            lines.append(line)
    return {"rmse_estimate": rmse[0], "rmse_plain_mean": rmse[1], "lines": lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--titles", type=int, default=25)
    parser.add_argument("--segments", type=int, default=20)
    parser.add_argument("--units", type=int, default=150)
    parser.add_argument("--more-probes", action="store_true", help="lead forecasts through the further probes too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    calibration = load_verified(registry_dir(), "vmaf_forecast_ensemble_v1").calibration
    curves = curves_of(calibration, more_probes=args.more_probes)
    rng, results = np.random.default_rng(0), {}
    for encoder, preset in ASKED:
        own = alike([curve for curve in curves if (curve.encoder, curve.preset) == (encoder, preset)])
        results[f"{encoder} {preset}"] = table(own, rng, args)
    if args.json:
        print(json.dumps(results, indent=1))
        return
    print("| encoder | trials | nominal | hits, margin alone | hits, `tune` | above | hits, sum | above |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in results.items():
        for line in found["lines"]:
            alone, own, both = (line[rule] for rule in ("margin alone", "tune", "sum"))
            print(
                f"| {name} | {line['trials']} | {line['confidence']} | {alone['hits']:.3f} | {own['hits']:.3f} | "
                f"{own['above']:.2f} | {both['hits']:.3f} | {both['above']:.2f} |"
            )
        print(
            f"| {name} | | | RMSE of the estimate {found['rmse_estimate']:.2f}, of the plain mean "
            f"{found['rmse_plain_mean']:.2f} | | | | |"
        )


if __name__ == "__main__":
    main()
