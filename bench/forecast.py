"""Forecast error by encoder on held-out groups, from a run's predictions: python bench/forecast.py RUN."""

import argparse
import json
from pathlib import Path

import numpy as np

from vmaf_assay.evaluate.choice import Forecaster
from vmaf_assay.runs.schema import CalibrationFile
from vmaf_assay.runs.store import curves_of

PROTOTYPE = {"libx264": 0.6, "libx265": 1.0, "libsvtav1": 1.9, "libvpx-vp9": 2.1}
"""Mean absolute error of the design's prototype (three-seed MLP, one probe), VMAF points over VMAF > 70."""


def held_out_errors(run: Path, *, above: float = 70.0) -> list[dict[str, object]]:
    """Mean and 95th percentile of |forecast - truth| over held-out rows with VMAF > `above`, by encoder.

    Twice: of the ensemble alone, and as `tune` uses it (monotone, and led through what the probes know).
    """
    calibration = CalibrationFile.model_validate_json((run / "calibration.json").read_text()).calibration
    by_encoder: dict[str, list[tuple[str, float, float]]] = {}
    for curve in curves_of(calibration):
        forecaster = Forecaster(curve)
        for rate_value, mu, truth in zip(curve.rate_values, curve.mu, curve.truth, strict=True):
            if truth > above:
                used = forecaster.mu[forecaster.at(rate_value)]
                errors = (curve.source, abs(mu - truth), abs(used - truth))
                by_encoder.setdefault(curve.encoder, []).append(errors)
    table = []
    for encoder, rows in sorted(by_encoder.items()):
        alone, used = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
        sources = {name: np.mean([row[2] for row in rows if row[0] == name]) for name in {row[0] for row in rows}}
        worst = sorted(sources, key=sources.get, reverse=True)[:5]
        table.append(
            {
                "encoder": encoder,
                "n_rows": len(rows),
                "alone_mean": float(alone.mean()),
                "mean": float(used.mean()),
                "p95": float(np.quantile(used, 0.95)),
                "prototype_mean": PROTOTYPE.get(encoder),
                "worst_sources": {name: round(float(sources[name]), 2) for name in worst},
            }
        )
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    table = held_out_errors(args.run)
    if args.json:
        print(json.dumps(table, indent=1))
        return
    print("| encoder | rows | mean | 95th percentile | ensemble alone | prototype's mean | worst sources |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        worst = ", ".join(f"{name} {error}" for name, error in row["worst_sources"].items())
        print(
            f"| {row['encoder']} | {row['n_rows']} | {row['mean']:.2f} | {row['p95']:.2f} | "
            f"{row['alone_mean']:.2f} | {row['prototype_mean']} | {worst} |"
        )


if __name__ == "__main__":
    main()
