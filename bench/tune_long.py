"""Does the promise hold on titles of which only segments are seen? Titles made of held-out curves.

    python bench/tune_long.py [--splits 6] [--titles 25] [--segments 20] [--units 150] [--more-probes] [--json]

A title is `--units` units drawn from the measured clips of up to twelve sources of half of the groups, in unequal
shares, joined without encoding: its VMAF at a rate value is the mean over its units. Units are probed in random
order. Forecasts are the shipped ensemble's held-out ones, and the margin comes from the other half of the groups
alone: no title has a part in what it is judged by.

`tune` begins with eight segments, and four of them in a trial, and goes on while the sample takes more than
`sampling.TOLERANCE` off the bound, up to one and a half times `--segments`: stopping is part of what is replayed.
The bound is `tune`'s own code (`promise/sampling.py`). Beside it stand the margin alone, as if the sample were the
title, and `fixed`: `--segments` segments and four tenths of them in a trial, always, as releases before 0.2 did.
Segments probed and tried are given for each. Not in here: how an encode of segments differs from an encode of the
title. `bench/tune_long_titles.py` has it.
"""

import argparse
import itertools
import json
from collections import Counter

import numpy as np

from vmaf_assay.errors import ConfigError
from vmaf_assay.promise.choice import Curve, Forecaster, calibrate_margin, interpolate, monotone, trial_rate
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.sampling import (
    MIN_SEGMENTS,
    MIN_TRIED,
    TOLERANCE,
    SampledForecaster,
    most_tried,
    next_count,
    spread_order,
)
from vmaf_assay.registry.store import load_verified, registry_dir
from vmaf_assay.tune.segments import MOST_SHARE

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
RULES = ("margin alone", "fixed", "tune")


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
            most = round(MOST_SHARE * args.segments)
            segments = [kinds[units[i]] for i in rng.choice(args.units, most, replace=False)]
            measured = np.stack([truths[one.source] for one in segments])
            yield from Title(segments, measured, truth, args).judged(margins)


class Title:
    """One title, its segments in a random order, and what every procedure says of it."""

    def __init__(self, segments: list[Curve], measured, truth, args):
        self.segments, self.measured, self.truth, self.args = segments, measured, truth, args
        self.made = {}

    def forecaster(self, confidence: float, kept: tuple[int, ...]) -> SampledForecaster:
        """Of some segments."""
        if (confidence, kept) not in self.made:
            own = [self.segments[index] for index in kept]
            facts = (title_curve(own), own, np.ones(len(own)), self.args.units)
            self.made[confidence, kept] = SampledForecaster(*facts, confidence=confidence)
        return self.made[confidence, kept]

    def beginning(self, count: int) -> tuple[int, ...]:
        """The segments that `SegmentPlan.beginning` takes."""
        return tuple(sorted(spread_order(len(self.segments))[:count]))

    def judged(self, margins: dict):
        """Rows of the title for each target, confidence and number of trials."""
        for (target, confidence, n_trials), scale in margins.items():
            asked = (target, confidence, n_trials, scale)
            fixed = tuple(range(self.args.segments))
            yield from self.tried("fixed", fixed, asked)
            yield from self.tried("tune", self.enough(asked), asked)

    def enough(self, asked) -> tuple[int, ...]:
        """The segments that `probing.probe_title` stops at."""
        target, confidence, n_trials, scale = asked
        count = MIN_SEGMENTS
        while count < len(self.segments):
            made = self.forecaster(confidence, self.beginning(count))
            if made.added(target, scale, trials=n_trials > 0) <= TOLERANCE:
                break
            count = next_count(count, len(self.segments))
        return self.beginning(count)

    def tried(self, rule: str, kept: tuple[int, ...], asked):
        """Trials, the choice, and the errors of estimates."""
        target, confidence, n_trials, scale = asked
        forecaster, trials, n_tried = self.forecaster(confidence, kept), {}, 0
        for _ in range(n_trials):
            rate = trial_rate(forecaster, target, trials)
            if rate is None:
                break
            at = forecaster.at(rate)
            count = MIN_TRIED if rule == "tune" else round(0.4 * len(kept))
            while True:
                tried = sorted(spread_order(len(kept))[:count])
                found = {index: float(self.measured[kept[index], at]) for index in tried}
                trials[rate] = forecaster.observe(rate, found)
                if rule == "fixed" or count >= most_tried(len(kept)) or forecaster.trial_part(rate) <= TOLERANCE:
                    break
                count += 1
            n_tried += count
            plain = float(np.mean(list(found.values())))
            yield ("error", rule, trials[rate] - self.truth[at], plain - self.truth[at])
        mu = forecaster.corrected(trials)
        bounds = {rule: forecaster.lower(trials, scale)}
        if rule == "fixed":
            bounds["margin alone"] = mu - scale * forecaster.weight(trials)
        for name, bound in bounds.items():
            meets = np.flatnonzero(bound >= target)
            if len(meets):
                above = float(self.truth[meets[0]] - target)
                yield (n_trials, confidence, name, float(above >= -1e-9), above, len(kept), n_tried)


def table(own: list[Curve], rng, args) -> dict:
    """Hit rates and errors of one encoder."""
    rows = list(rows_of(own, rng, args))
    errors = np.array([row[2:] for row in rows if row[:2] == ("error", "tune")])
    rmse = np.sqrt((errors**2).mean(axis=0)).tolist()
    lines = []
    for n_trials in (0, 1, 2):
        for confidence in CONFIDENCES:
            line = {"trials": n_trials, "confidence": confidence}
            for rule in RULES:
                made = np.array([row[3:] for row in rows if row[:3] == (n_trials, confidence, rule)])
                line[rule] = dict(
                    zip(("hits", "above", "probed", "tried"), made.mean(axis=0).tolist(), strict=True)
                )
            lines.append(line)
    return {"rmse_estimate": rmse[0], "rmse_plain_mean": rmse[1], "lines": lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--titles", type=int, default=25)
    parser.add_argument("--segments", type=int, default=20)
    parser.add_argument("--units", type=int, default=150)
    parser.add_argument("--more-probes", action="store_true", help="lead forecasts through the further probes too")
    parser.add_argument("--encoders", default=",".join(name for name, _ in ASKED))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    calibration = load_verified(registry_dir(), "vmaf_forecast_ensemble_v1").calibration
    curves = curves_of(calibration, more_probes=args.more_probes)
    rng, results = np.random.default_rng(0), {}
    for encoder, preset in (one for one in ASKED if one[0] in args.encoders.split(",")):
        own = alike([curve for curve in curves if (curve.encoder, curve.preset) == (encoder, preset)])
        results[f"{encoder} {preset}"] = table(own, rng, args)
    if args.json:
        print(json.dumps(results, indent=1))
        return
    print("| encoder | trials | nominal | margin alone | fixed | above | `tune` | above | probed | tried |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, found in results.items():
        for line in found["lines"]:
            alone, fixed, own = (line[rule] for rule in RULES)
            cells = (name, line["trials"], line["confidence"])
            hits = f"{alone['hits']:.3f} | {fixed['hits']:.3f} | {fixed['above']:.2f} | {own['hits']:.3f}"
            more = f"{own['above']:.2f} | {own['probed']:.1f} | {own['tried']:.1f}"
            print(f"| {' | '.join(map(str, cells))} | {hits} | {more} |")
        print(
            f"| {name} | | | RMSE of the estimate {found['rmse_estimate']:.2f}, of the plain mean "
            f"{found['rmse_plain_mean']:.2f} | | | | | | |"
        )


if __name__ == "__main__":
    main()
