"""Curves from an encoder's own probes, with the encoder left out: hit rates and bitrates above the best choice.

    python bench/own_curves.py data/corpus

Each encoder of the corpus is left out in turn, with the code of `promise/own_calibrate.py`: a prior of the other
encoders, and the margin that `own_curve.json` was judged with. Truth is the measured curve, interpolated. One line
an encoder, number of trials and confidence: hit rate of the choice, bitrate above the best choice, encodes.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from scipy.interpolate import PchipInterpolator

from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.promise.choice import Curve, rate_grid
from vmaf_assay.promise.own_calibrate import HEADROOM_POINTS, TARGETS, Family, families, fit_prior
from vmaf_assay.promise.own_curve import Made, OwnPrior, curves_through, first_index, next_index, own_calibration


def read(folder: Path) -> list[tuple[Family, np.ndarray]]:
    """Every curve of four rate values or more, with its like, and ln(kbps) on the grid, [B, G]."""
    corpus = load_corpus(folder)
    kbps = {cell.key: cell.kbps for cell in corpus.cells}
    pooled = corpus.frames.group_by("cell", "source", "group", "encoder", "preset", "rate_value").agg(
        pl.col("vmaf").cast(pl.Float64).mean()
    )
    alike: dict[tuple, list[tuple[Curve, np.ndarray]]] = {}
    for key, part in sorted(pooled.group_by("encoder", "preset", "source", "group"), key=lambda one: one[0]):
        rows = part.sort("rate_value")
        if rows.height >= 4:
            encoder, preset, source, group = map(str, key)
            rates, nothing = rows["rate_value"].to_numpy(), np.full(rows.height, np.nan)
            curve = Curve(group, source, encoder, preset, rates, nothing, nothing, rows["vmaf"].to_numpy())
            cost = np.log([kbps[cell] for cell in rows["cell"]])
            on_grid = PchipInterpolator(rates, cost)(rate_grid(encoder_info(encoder), rates))
            alike.setdefault((encoder, preset, tuple(rates)), []).append((curve, on_grid))
    return [(families([curve for curve, _ in of])[0], np.stack([cost for _, cost in of])) for of in alike.values()]


def part_of(family: Family, rows: np.ndarray) -> Family:
    """Some of its curves."""
    groups = tuple(np.array(family.groups)[rows])
    deficit, truth = family.deficit[rows], family.truth[rows]
    return Family(family.encoder, groups, family.place, deficit, family.at, truth, family.roughness)


def chosen(family: Family, prior: OwnPrior, target: float, margin: float, trials: int):
    """Rows that reach the target, the index on the grid chosen for each, and the encodes spent."""
    low, high = family.truth.min(axis=1), family.truth.max(axis=1)
    rows = np.flatnonzero((low < target) & (high - HEADROOM_POINTS >= target))
    some, count = part_of(family, rows), np.arange(len(rows))
    index, vmaf = np.full((len(rows), 2 + trials), -1), np.zeros((len(rows), 2 + trials))
    following, going = np.full(len(rows), first_index(some.at)), np.ones(len(rows), dtype=bool)
    for number in range(2 + trials):
        going &= ~(index == following[:, None]).any(axis=1)
        index[going, number] = following[going]
        vmaf[:, number] = some.truth[count, following]
        curve, doubt = curves_through(prior, some.at, Made(index, vmaf))
        following = next_index(curve, target)
    return rows, next_index(curve - margin * doubt, target), (index >= 0).sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    args = parser.parse_args()
    read_families = read(args.corpus)
    for encoder in sorted({family.encoder for family, _ in read_families}):
        prior = fit_prior([family for family, _ in read_families if family.encoder != encoder])
        own = [(family, cost) for family, cost in read_families if family.encoder == encoder]
        for one in own_calibration().judged:
            if one.encoder != encoder or one.confidence not in (0.8, 0.9, 0.95):
                continue
            hit, above, spent = [], [], []
            for family, cost in own:
                for target in TARGETS:
                    rows, index, encodes = chosen(family, prior, target, one.scale, one.trials)
                    count, truth, bits = np.arange(len(rows)), family.truth[rows], cost[rows]
                    best = np.argmax(truth >= target, axis=1)
                    hit += (truth[count, index] >= target).tolist()
                    above += np.expm1(bits[count, index] - bits[count, best]).tolist()
                    spent += encodes.tolist()
            print(
                f"{encoder:11s} {one.trials} trials, {one.confidence:.2f}: margin {one.scale:.1f} "
                f"hit {np.mean(hit):.3f} above best {100 * np.mean(above):+.1f} % "
                f"encodes {np.mean(spent):.2f} of {len(hit)} tasks",
                flush=True,
            )


if __name__ == "__main__":
    main()
