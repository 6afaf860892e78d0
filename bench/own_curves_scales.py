"""Whether the margins of curves from own probes hold for other models, poolings and depths, on a corpus of them.

    python bench/own_curves_scales.py CORPUS [--trials 1]

Replays the shipped prior and margins (`promise/own_curve.json`, calibrated on the mean of VMAF v0.6.1 of 8-bit
encodes) on the curves of every measurand that the corpus holds. Nothing is fitted here.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.errors import CorpusError
from vmaf_assay.promise.choice import Curve
from vmaf_assay.promise.own_calibrate import MARGINS, TARGETS, families, hits, replayed
from vmaf_assay.promise.own_curve import own_calibration
from vmaf_assay.records import VMAF_NAMES, Measurand
from vmaf_assay.training.rows import forecast_targets
from vmaf_assay.tune.request import POOLINGS

CONFIDENCES = (0.8, 0.9, 0.95)


def curves(corpus: Corpus, measurand: Measurand) -> list[Curve]:
    """The measured curves of a measurand; none if the corpus does not hold it."""
    try:
        rows = forecast_targets(corpus, measurand)
    except CorpusError:
        return []
    made = []
    for key, part in rows.group_by("group", "source", "encoder", "preset", maintain_order=True):
        group, source, encoder, preset = map(str, key)
        ordered = part.sort("rate_value")
        truth = ordered["vmaf"].to_numpy()
        nothing = np.full(len(truth), np.nan)
        rates = ordered["rate_value"].to_numpy()
        made.append(Curve(group, source, encoder, preset, rates, nothing, nothing, truth, {}, measurand=measurand))
    return made


def table(corpus: Corpus, trials: int) -> pl.DataFrame:
    """Hit rates by measurand and encoder at each confidence."""
    calibration = own_calibration()
    rows = []
    for model, pooling, depth in product(VMAF_NAMES.values(), POOLINGS, (8, 10)):
        of = families(curves(corpus, Measurand(model, pooling, depth)))
        for encoder in sorted({family.encoder for family in of}):
            mine = [family for family in of if family.encoder == encoder]
            tasks = [
                task
                for one in mine
                for target in TARGETS
                for task in replayed(one, calibration.prior, target, trials)
            ]
            row = {"model": model, "pooling": pooling, "bits": depth, "encoder": encoder}
            for confidence in CONFIDENCES:
                scale = calibration.margin(target=93.0, confidence=confidence, trials=trials).scale
                covered = hits(tasks, int(np.argmin(np.abs(scale - MARGINS))))
                row |= {f"hit {confidence:g}": float(np.mean(covered)) if covered else None}
            rows.append(
                row | {"groups": len({task.group for task in tasks}), "curves": sum(len(f.groups) for f in mine)}
            )
    return pl.DataFrame(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--trials", type=int, default=1)
    asked = parser.parse_args()
    with pl.Config(tbl_rows=-1, tbl_cols=-1, float_precision=3, tbl_width_chars=160):
        print(table(load_corpus(asked.corpus), asked.trials))


if __name__ == "__main__":
    main()
