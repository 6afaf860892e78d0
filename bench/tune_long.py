"""What a sample of a long title would say of the whole, and whether the promise would survive it.

    python bench/tune_long.py [--splits 20] [--titles 20] [--shots 24] [--json]

Titles are made up of measured shots: 24 sources of 12 groups, joined without encoding (a title's VMAF at a rate
value is the mean over its shots, each measured whole). Every shot is probed; a trial encodes and measures some
shots only, picked at random. Forecasts are the shipped ensemble's held-out ones, and the margin comes from the
other 24 groups alone, so no title has a part in what it is judged by.

Two estimates of the title's VMAF at a trial's rate value: the mean over the shots measured, and the same with the
forecast as control variate (mean forecast of all shots, plus the mean difference of measured and forecast over the
shots measured). `Bound` takes off the estimate Student's t at the confidence times its standard error, with the
finite-population correction.

Not in here, and therefore not known: how an encode of segments differs from the encode of the whole title (rate
control and references across cuts, the cold start of each segment), and titles whose shots belong together as
those of a film do. Without these nothing is promised about long titles.
"""

import argparse
import json
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vmaf_assay.errors import ConfigError
from vmaf_assay.evaluate.choice import Curve, Forecaster, calibrate_margin, interpolate, monotone, trial_rate
from vmaf_assay.registry.store import load_verified, registry_dir
from vmaf_assay.runs.store import curves_of

TARGETS = (85.0, 90.0, 93.0)
CONFIDENCE = 0.9
N_GROUPS = 12


@dataclass(frozen=True)
class Title:
    """A title joined from shots."""

    forecaster: Forecaster
    """On the mean of its shots' forecasts."""
    forecasts: np.ndarray
    """Forecast of each shot on the grid, points, [S, G]."""
    truths: np.ndarray
    """Truth of each shot on the grid, points, [S, G]."""

    @property
    def truth(self):
        """The whole title's VMAF on the grid, points, [G]."""
        return self.truths.mean(axis=0)


def join(shots: list[Curve]) -> Title:
    """A title of shots; what probes know of one shot is not known of the title, so it is left out."""
    mean = {name: np.mean([getattr(shot, name) for shot in shots], axis=0) for name in ("mu", "sigma", "truth")}
    first = shots[0]
    whole = Curve("title", "title", first.encoder, first.preset, first.rate_values, **mean)
    forecaster = Forecaster(whole)
    each = [Forecaster(shot) for shot in shots]
    truths = [
        interpolate(shot.rate_values, monotone(one.encoder, shot.truth), one.grid)
        for shot, one in zip(shots, each, strict=True)
    ]
    return Title(forecaster, np.array([one.mu for one in each]), np.array(truths))


def estimate(title: Title, index: int, sample: np.ndarray, *, control: bool) -> tuple[float, float]:
    """(estimate, standard error) of the title's VMAF at a grid index from a sample of its shots, points."""
    measured, forecast = title.truths[sample, index], title.forecasts[:, index]
    values = measured - forecast[sample] if control else measured
    share = 1 - len(sample) / len(forecast)
    error = float(values.std(ddof=1) * np.sqrt(share / len(sample)))
    return float(values.mean() + (forecast.mean() if control else 0.0)), error


def tune(title: Title, target: float, margin: float, sample: np.ndarray, *, control: bool, bound: bool):
    """(grid index chosen or None, error of the estimate or None) with one trial on a sample of shots."""
    rate_value = trial_rate(title.forecaster, target, {})
    index = title.forecaster.at(rate_value)
    value, error = estimate(title, index, sample, control=control)
    taken = float(stats.t.ppf(CONFIDENCE, len(sample) - 1)) * error if bound else 0.0
    lower = title.forecaster.lower({rate_value: min(value, 100.0)}, margin) - taken
    meets = np.flatnonzero(lower >= target)
    return (int(meets[0]) if len(meets) else None), value - title.truth[index]


def rows_of(curves: list[Curve], *, splits: int, titles: int, n_shots: int, seed: int = 0):
    """One record for each title, target, number of shots measured and method."""
    rng = np.random.default_rng(seed)
    groups = np.array(sorted({curve.group for curve in curves}))
    for _ in range(splits):
        mine = set(rng.choice(groups, N_GROUPS, replace=False).tolist())
        pool, others = [c for c in curves if c.group in mine], [c for c in curves if c.group not in mine]
        first = curves[0]
        margins = {}
        for target in TARGETS:
            try:
                margins[target] = calibrate_margin(
                    others, first.encoder, first.preset, target=target, confidence=CONFIDENCE, trials=1
                ).scale
            except ConfigError:
                continue
        for _ in range(titles):
            title = join([pool[i] for i in rng.integers(0, len(pool), n_shots)])
            for target, margin in margins.items():
                for n_measured in (4, 8):
                    sample = rng.choice(n_shots, n_measured, replace=False)
                    for control in (False, True):
                        for bound in (False, True):
                            at, error = tune(title, target, margin, sample, control=control, bound=bound)
                            hit = None if at is None else float(title.truth[at] >= target - 1e-9)
                            over = None if at is None else float(title.truth[at] - target)
                            yield (n_measured, control, bound, error, hit, over)


def table(curves: list[Curve], **kwargs):
    """Root mean square error, hit rate and VMAF above target by shots measured and method."""
    rows = list(rows_of(curves, **kwargs))
    lines = []
    for n_measured in (4, 8):
        for control in (False, True):
            for bound in (False, True):
                mine = [row[3:] for row in rows if row[:3] == (n_measured, control, bound)]
                made = [row for row in mine if row[1] is not None]
                lines.append(
                    {
                        "shots_measured": n_measured,
                        "control_variate": control,
                        "sampling_bound": bound,
                        "rmse": float(np.sqrt(np.mean([row[0] ** 2 for row in mine]))),
                        "hit_rate": float(np.mean([row[1] for row in made])),
                        "above_target": float(np.mean([row[2] for row in made])),
                        "answered": len(made) / len(mine),
                    }
                )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--titles", type=int, default=20)
    parser.add_argument("--shots", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    verified = load_verified(registry_dir(), "vmaf_forecast_ensemble_v1")
    curves = curves_of(verified.calibration)
    results = {}
    for encoder, preset in sorted({(curve.encoder, curve.preset) for curve in curves}):
        own = [curve for curve in curves if (curve.encoder, curve.preset) == (encoder, preset)]
        results[f"{encoder} {preset}"] = table(own, splits=args.splits, titles=args.titles, n_shots=args.shots)
    if args.json:
        print(json.dumps(results, indent=1))
        return
    print(f"| encoder | of {args.shots} shots | control variate | bound | RMSE | hit rate | above | answered |")
    print("|---|---|---|---|---|---|---|---|")
    for encoder, lines in results.items():
        for line in lines:
            print(
                f"| {encoder} | {line['shots_measured']} | {'yes' if line['control_variate'] else 'no'} | "
                f"{'yes' if line['sampling_bound'] else 'no'} | {line['rmse']:.2f} | {line['hit_rate']:.3f} | "
                f"{line['above_target']:.2f} | {line['answered']:.2f} |"
            )


if __name__ == "__main__":
    main()
