"""Forecast error at sizes that an encoder and preset were not trained at.

    python bench/forecast_sizes.py data/corpus EXTRA [--seeds 0,1,2,3,4] [--processes 2]

EXTRA is a corpus of encodes at other sizes, of sources whose probes at those sizes are in either one.
Members are trained on the first alone, each with one group left out, and asked about that group's encodes in
EXTRA. Beside it stands their error on the same sources, encoders and presets at the size that was trained.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from forecast_nested import RECIPE, held_out
from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.training.rows import forecast_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("extra", type=Path)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    corpus, extra = load_corpus(args.corpus), load_corpus(args.extra)
    both = Corpus("", (*corpus.cells, *extra.cells), pl.concat([corpus.frames, extra.frames]))
    rows = forecast_rows(both)
    size = {cell.key: f"{cell.width}x{cell.height}" for cell in both.cells}
    asked = np.isin(rows.cell, [cell.key for cell in extra.cells])
    seeds = [int(seed) for seed in args.seeds.split(",")]
    predicted = held_out(rows, RECIPE, seeds, args.processes, asked).mean(axis=0)
    error, group = predicted - rows.target, np.array(rows.group)
    pair = np.array([f"{e} {p}" for e, p in zip(rows.encoder, rows.preset, strict=True)])
    print(
        "| encoder | sizes asked | n | error | bias | the same groups where trained |\n|---|---|---|---|---|---|"
    )
    for name in np.unique(pair[asked]):
        mine = asked & (pair == name) & (rows.target > 70)
        known = ~asked & (pair == name) & (rows.target > 70) & np.isin(group, group[mine])
        sizes = ", ".join(sorted({size[rows.cell[i]] for i in np.flatnonzero(mine)}))
        print(
            f"| {name} | {sizes} | {mine.sum()} | {np.abs(error[mine]).mean():.2f} | {error[mine].mean():+.2f} | "
            f"{np.abs(error[known]).mean():.2f} |"
        )


if __name__ == "__main__":
    main()
