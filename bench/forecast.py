"""Forecast error by encoder on held-out groups, from a run's predictions: python bench/forecast.py RUN."""

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl

PROTOTYPE = {"libx264": 0.6, "libx265": 1.0, "libsvtav1": 1.9, "libvpx-vp9": 2.1}
"""Mean absolute error of the design's prototype (three-seed MLP, one probe), VMAF points over VMAF > 70."""


def held_out_errors(run: Path, *, above: float = 70.0) -> list[dict[str, object]]:
    """Mean and 95th percentile of |ensemble mean - truth| over held-out rows with VMAF > `above`, by encoder."""
    predictions = pl.read_parquet(run / "predictions.parquet")
    rows = predictions.group_by("row").agg(
        pl.col("encoder", "group", "source", "rate_value", "truth").first(), pl.col("prediction").mean()
    )
    rows = rows.filter(pl.col("truth") > above).with_columns(error=(pl.col("prediction") - pl.col("truth")).abs())
    table = []
    for (encoder,), part in sorted(rows.group_by("encoder")):
        errors = part["error"].to_numpy()
        worst = part.group_by("source").agg(pl.col("error").mean()).sort("error", descending=True)
        table.append(
            {
                "encoder": encoder,
                "n_rows": len(errors),
                "mean": float(errors.mean()),
                "p95": float(np.quantile(errors, 0.95)),
                "prototype_mean": PROTOTYPE.get(str(encoder)),
                "worst_sources": {r["source"]: round(r["error"], 2) for r in worst.head(5).iter_rows(named=True)},
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
    print("| encoder | rows | mean | 95th percentile | prototype's mean | worst sources |")
    print("|---|---|---|---|---|---|")
    for row in table:
        worst = ", ".join(f"{name} {error}" for name, error in row["worst_sources"].items())
        print(
            f"| {row['encoder']} | {row['n_rows']} | {row['mean']:.2f} | {row['p95']:.2f} | "
            f"{row['prototype_mean']} | {worst} |"
        )


if __name__ == "__main__":
    main()
