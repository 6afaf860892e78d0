"""Forecast error on held-out groups, from a run's predictions.

    python bench/forecast.py RUN [--json] [--pictures FOLDER]     (pictures need `pip install matplotlib`)

By encoder and preset: |forecast - truth| over VMAF > 70, of the ensemble alone and as `tune` uses it (monotone,
and interpolated through the probes), and the sources it errs most on. Then what sigma is worth: its rank
correlation with the error, and the width of the two-sided 90 % interval (hierarchical conformal, calibrated on the
other groups) with the residuals as they are and divided by sigma.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import stats

from vmaf_assay.promise.choice import Curve, Forecaster
from vmaf_assay.promise.conformal import hcp_interval
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.training.schema import CalibrationFile

PROTOTYPE = {"libx264 medium": 0.6, "libx265 medium": 1.0, "libsvtav1 8": 1.9, "libvpx-vp9 4": 2.1}
"""Mean absolute error of the design's prototype (three-seed MLP, one probe), VMAF points over VMAF > 70."""
SIDE = 0.95
"""Confidence of each side of the interval."""


def load_curves(run: Path) -> list[Curve]:
    """Held-out curves of a run."""
    return curves_of(CalibrationFile.model_validate_json((run / "calibration.json").read_text()).calibration)


def held_out_errors(curves: list[Curve], *, above: float = 70.0) -> list[dict[str, object]]:
    """Mean and 95th percentile of the error over held-out rows with VMAF > `above`, by encoder and preset."""
    by_pair: dict[str, list[tuple[str, float, float]]] = {}
    for curve in curves:
        forecaster = Forecaster(curve)
        for rate_value, mu, truth in zip(curve.rate_values, curve.mu, curve.truth, strict=True):
            if truth > above:
                used = forecaster.mu[forecaster.at(rate_value)]
                errors = (curve.source, abs(mu - truth), abs(used - truth))
                by_pair.setdefault(f"{curve.encoder} {curve.preset}", []).append(errors)
    table = []
    for pair, rows in sorted(by_pair.items()):
        alone, used = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
        sources = {name: np.mean([row[2] for row in rows if row[0] == name]) for name in {row[0] for row in rows}}
        worst = sorted(sources, key=sources.get, reverse=True)[:5]
        table.append(
            {
                "encoder": pair,
                "n_rows": len(rows),
                "alone_mean": float(alone.mean()),
                "mean": float(used.mean()),
                "p95": float(np.quantile(used, 0.95)),
                "prototype_mean": PROTOTYPE.get(pair),
                "worst_sources": {name: round(float(sources[name]), 2) for name in worst},
            }
        )
    return table


def worth_of_sigma(curves: list[Curve], *, above: float = 70.0, floor: float = 0.5) -> list[dict[str, object]]:
    """Rank correlation of sigma with the error, and interval widths with and without it, by encoder and preset."""
    table = []
    for pair in sorted({(c.encoder, c.preset) for c in curves}):
        residual: dict[str, np.ndarray] = {}
        sigma: dict[str, np.ndarray] = {}
        for curve in (c for c in curves if (c.encoder, c.preset) == pair):
            useful = curve.truth > above
            for store, values in ((residual, curve.truth - curve.mu), (sigma, curve.sigma)):
                store[curve.group] = np.concatenate([store.get(curve.group, np.empty(0)), values[useful]])
        groups = [g for g in residual if len(residual[g])]
        error, spread = (np.concatenate([part[g] for g in groups]) for part in (residual, sigma))
        by_group = [(float(np.abs(residual[g]).mean()), float(sigma[g].mean())) for g in groups]
        plain = _interval(residual, {g: np.ones_like(sigma[g]) for g in groups})
        scaled = _interval(residual, {g: np.hypot(sigma[g], floor) for g in groups})
        table.append(
            {
                "encoder": " ".join(pair),
                "rank_correlation_rows": float(stats.spearmanr(np.abs(error), spread)[0]),
                "rank_correlation_groups": float(stats.spearmanr(*zip(*by_group, strict=True))[0]),
                "width": plain[0],
                "coverage": plain[1],
                "width_with_sigma": scaled[0],
                "coverage_with_sigma": scaled[1],
            }
        )
    return table


def _interval(residual: dict[str, np.ndarray], scale: dict[str, np.ndarray]) -> tuple[float, float]:
    """Mean width (points) and coverage over groups, each calibrated on the others."""
    widths, covered = [], []
    for group, scales in scale.items():
        others = [residual[name] / scale[name] for name in scale if name != group]
        found = hcp_interval(others, SIDE)
        low, high = found.lower * scales, found.upper * scales
        widths.append(float(np.mean(high - low)))
        covered.append(float(np.mean((residual[group] >= low) & (residual[group] <= high))))
    return float(np.mean(widths)), float(np.mean(covered))


def pictures(curves: list[Curve], folder: Path) -> None:
    """`forecast-error.svg`: forecast against truth, and the mean error of each group, by encoder and preset."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vmaf-assay"
    from matplotlib import pyplot

    pairs = sorted({(c.encoder, c.preset) for c in curves})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4))
    boxes = []
    for encoder in dict.fromkeys(encoder for encoder, _ in pairs):  # a colour each; presets would repeat them
        mine = [c for c in curves if c.encoder == encoder]
        truth, mu = (np.concatenate([getattr(c, name) for c in mine]) for name in ("truth", "mu"))
        left.plot(truth, mu, ".", markersize=2, rasterized=True, label=encoder)
    for encoder, preset in pairs:
        mine = [c for c in curves if (c.encoder, c.preset) == (encoder, preset)]
        useful: dict[str, list[float]] = {}
        for c in mine:
            useful.setdefault(c.group, []).extend(np.abs(c.mu - c.truth)[c.truth > 70])
        boxes.append([float(np.mean(errors)) for errors in useful.values() if errors])
    left.plot([40, 100], [40, 100], "k-", linewidth=0.5)
    left.set(xlim=(40, 100), ylim=(40, 100), xlabel="measured VMAF", ylabel="forecast VMAF, group left out")
    left.legend(fontsize=6, markerscale=4)
    right.boxplot(boxes, orientation="horizontal", whis=(5, 95), flierprops={"markersize": 3})
    right.set_yticks(range(1, len(pairs) + 1), [" ".join(pair) for pair in pairs], fontsize=7)
    right.set(xlabel="mean error of a group over VMAF > 70, points")
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "forecast-error.svg", metadata={"Date": None}, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="also write the picture of docs/forecast.md"
    )
    args = parser.parse_args()
    curves = load_curves(args.run)
    table, sigmas = held_out_errors(curves), worth_of_sigma(curves)
    if args.pictures:
        pictures(curves, args.pictures)
    if args.json:
        print(json.dumps({"errors": table, "sigma": sigmas}, indent=1))
        return
    print("| encoder | encodes | mean | 95th percentile | ensemble alone | prototype's mean | worst sources |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        worst = ", ".join(f"{name} {error}" for name, error in row["worst_sources"].items())
        print(
            f"| {row['encoder']} | {row['n_rows']} | {row['mean']:.2f} | {row['p95']:.2f} | "
            f"{row['alone_mean']:.2f} | {row['prototype_mean'] or ''} | {worst} |"
        )
    print("\n| encoder | rank correlation, encodes | groups | width | covers | width with sigma | covers |")
    print("|---|---|---|---|---|---|---|")
    for row in sigmas:
        print(
            f"| {row['encoder']} | {row['rank_correlation_rows']:.2f} | {row['rank_correlation_groups']:.2f} | "
            f"{row['width']:.1f} | {row['coverage']:.2f} | {row['width_with_sigma']:.1f} | "
            f"{row['coverage_with_sigma']:.2f} |"
        )


if __name__ == "__main__":
    main()
