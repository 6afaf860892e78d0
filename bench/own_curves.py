"""Curves from an encoder's own probes, for encoders that no model was trained on: replayed on a corpus.

    python bench/own_curves.py data/corpus [--confidence 0.9]

Each encoder of the corpus is left out in turn. A Gaussian process over ln(101 - VMAF) and the place of the rate
value in the encoder's declared range is fitted on all other encoders. It is conditioned on probes of the encoder
left out: the first in the middle of its range, each next one where the curve so far meets the target. The margin,
in standard deviations, is calibrated on the other encoders by risk control over groups. Truth is the measured
curve, interpolated; every measurement has the roughness of `Metric.roughness`. One line an encoder: hit rate,
bitrate above the best choice, encodes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize

from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.records import MEAN_VMAF

F64 = NDArray[np.float64]
TARGETS = (80.0, 85.0, 90.0, 93.0, 95.0, 97.0)
ZERO = MEAN_VMAF.metric.ceiling + 1.0
ROUGHNESS = MEAN_VMAF.metric.roughness
MIDDLE, START = 0.55, 0.5
MARGINS = np.arange(0.0, 6.05, 0.1)


@dataclass(frozen=True)
class Measured:
    """One source with one encoder and preset."""

    encoder: str
    group: str
    place: F64
    """Measured rate values in the declared range, [R]."""
    deficit: F64
    """ln(101 - VMAF) there, [R]."""
    grid: F64
    """Places that may be chosen, [G], best quality first."""
    truth: F64
    """VMAF on the grid, [G]."""
    log_kbps: F64
    """ln(kbps) on the grid, [G]."""


@dataclass(frozen=True)
class Prior:
    """A Gaussian process over ln(101 - VMAF)."""

    mean: F64
    """Coefficients of a parabola in place - MIDDLE."""
    theta: F64
    """ln var of level, ln var of slope, correlation, ln var, ln length and ln noise of the rest."""

    def at(self, place: F64) -> F64:
        """The mean, [N]."""
        result: F64 = _powers(place) @ self.mean
        return result

    def kernel(self, one: F64, other: F64) -> F64:
        """Covariance, [N, M]."""
        level, slope, correlation, rest, length, _ = self.theta
        cross = np.tanh(correlation) * np.exp((level + slope) / 2)
        block = np.array([[np.exp(level), cross], [cross, np.exp(slope)]])
        smooth = np.exp(rest) * np.exp(-0.5 * np.square(one[:, None] - other) / np.exp(2 * length))
        result: F64 = _powers(one)[:, :2] @ block @ _powers(other)[:, :2].T + smooth
        return result

    def curve(self, place: F64, deficit: F64, at: F64) -> tuple[F64, F64]:
        """Mean and standard deviation at some places, given measurements."""
        covariance = self.kernel(place, place) + np.exp(self.theta[5]) * np.eye(len(place))
        cross = self.kernel(at, place)
        mean = self.at(at) + cross @ np.linalg.solve(covariance, deficit - self.at(place))
        lost = np.einsum("ij,ji->i", cross, np.linalg.solve(covariance, cross.T))
        variance = np.array([self.kernel(one[None], one[None])[0, 0] for one in at]) - lost
        return np.maximum.accumulate(mean), np.sqrt(np.maximum(variance, 1e-9))


def _powers(place: F64) -> F64:
    return np.stack([np.ones_like(place), place - MIDDLE, np.square(place - MIDDLE)], axis=1)


def read(folder: Path) -> list[Measured]:
    """Every curve of four rate values or more."""
    corpus = load_corpus(folder)
    kbps = {cell.key: cell.kbps for cell in corpus.cells}
    pooled = corpus.frames.group_by("cell", "source", "group", "encoder", "preset", "rate_value").agg(
        pl.col("vmaf").cast(pl.Float64).mean()
    )
    keys = ("encoder", "preset", "source", "group")
    found = []
    for (encoder, _, _, group), part in sorted(pooled.group_by(*keys), key=lambda one: one[0]):
        rows = part.sort("rate_value")
        if rows.height < 4:
            continue
        info, rates = encoder_info(str(encoder)), rows["rate_value"].to_numpy()
        grid = np.arange(rates[0], rates[-1] + info.rate_step / 2, info.rate_step)
        deficit = np.log(ZERO - rows["vmaf"].to_numpy())
        cost = np.log([kbps[key] for key in rows["cell"]])
        truth = ZERO - np.exp(PchipInterpolator(rates, np.maximum.accumulate(deficit))(grid))
        span = info.rate_max - info.rate_min
        place, places = (rates - info.rate_min) / span, (grid - info.rate_min) / span
        spent = PchipInterpolator(rates, cost)(grid)
        found.append(Measured(str(encoder), str(group), place, deficit, places, truth, spent))
    return found


def fit(curves: list[Measured], seed: int = 0) -> Prior:
    """The prior of some curves: a parabola by least squares, the rest by maximum likelihood on 120 of them."""
    places = np.concatenate([one.place for one in curves])
    mean = np.linalg.lstsq(_powers(places), np.concatenate([one.deficit for one in curves]), rcond=None)[0]
    order = np.random.default_rng(seed).permutation(len(curves))[:120]

    def loss(theta: F64) -> float:
        prior, total = Prior(mean, theta), 0.01 * float(np.square(theta).sum())
        for one in (curves[index] for index in order):
            noise = (np.exp(theta[5]) + 1e-9) * np.eye(len(one.place))
            root = np.linalg.cholesky(prior.kernel(one.place, one.place) + noise)
            whitened = np.linalg.solve(root, one.deficit - prior.at(one.place))
            total += 0.5 * float(whitened @ whitened) + float(np.log(np.diag(root)).sum())
        return total

    start = np.array([-0.5, 1.0, 0.0, -3.0, -1.5, -7.0])
    options = {"maxiter": 600, "fatol": 0.1, "xatol": 0.01}
    return Prior(mean, minimize(loss, start, method="Nelder-Mead", options=options).x)


def choices(one: Measured, prior: Prior, target: float, encodes: int, rng: np.random.Generator) -> tuple[F64, int]:
    """Index chosen for every margin (-1 for none), [L], and encodes spent."""
    made: dict[int, float] = {}
    index = int(np.argmin(np.abs(one.grid - START)))
    while index not in made and len(made) < encodes:
        made[index] = float(np.log(ZERO - min(one.truth[index] + rng.normal() * ROUGHNESS, ZERO - 1)))
        places, deficits = one.grid[list(made)], np.array(list(made.values()))
        mean, spread = prior.curve(places, deficits, one.grid)
        meets = np.flatnonzero(mean <= np.log(ZERO - target))
        index = int(meets[-1]) if len(meets) else 0
    vmaf, doubt = ZERO - np.exp(mean), np.hypot(np.exp(mean) * spread, ROUGHNESS)
    for at, deficit in made.items():
        vmaf[at], doubt[at] = ZERO - np.exp(deficit), 0.0
    fits = [np.flatnonzero(vmaf - margin * doubt >= target) for margin in MARGINS]
    return np.array([fit[-1] if len(fit) else -1 for fit in fits]), len(made)


@dataclass(frozen=True)
class Task:
    """One curve at one target, answered for every margin."""

    group: str
    hit: F64
    """1, 0, or NaN for no answer, [L]."""
    excess: F64
    """Bitrate over the best choice's, as a share, [L]."""
    encodes: int


def tasks(curves: list[Measured], prior: Prior, encodes: int) -> list[Task]:
    """Every curve at every target that lies on it."""
    rng, made = np.random.default_rng(1), []
    for one in curves:
        for target in (t for t in TARGETS if one.truth.min() < t <= one.truth.max() - 0.3):
            chosen, spent = choices(one, prior, target, encodes, rng)
            best = np.flatnonzero(one.truth >= target)[-1]
            hit = np.where(chosen < 0, np.nan, one.truth[chosen] >= target)
            excess = np.where(chosen < 0, np.nan, np.expm1(one.log_kbps[chosen] - one.log_kbps[best]))
            made.append(Task(one.group, hit, excess, spent))
    return made


def margin(others: list[Task], confidence: float) -> int:
    """Index of the smallest margin whose risk over groups of other encoders is controlled."""
    groups = sorted({task.group for task in others})
    losses = []
    for group in groups:
        missed = np.stack([1 - task.hit for task in others if task.group == group])
        answered = np.isfinite(missed).sum(axis=0)
        losses.append(np.where(answered > 0, np.nansum(missed, axis=0) / np.maximum(answered, 1), 0.0))
    risk = (np.sum(losses, axis=0) + 1) / (len(groups) + 1)
    kept = np.flatnonzero(risk <= 1 - confidence)
    return int(kept[0]) if len(kept) else len(MARGINS) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--confidence", type=float, default=0.9)
    args = parser.parse_args()
    curves = read(args.corpus)
    encoders = sorted({one.encoder for one in curves})
    priors = {name: fit([one for one in curves if one.encoder != name]) for name in encoders}
    for encodes in (2, 3):
        made = {n: tasks([one for one in curves if one.encoder == n], priors[n], encodes) for n in encoders}
        for name in encoders:
            at = margin([task for other in encoders if other != name for task in made[other]], args.confidence)
            hit = np.array([task.hit[at] for task in made[name]])
            excess = np.array([task.excess[at] for task in made[name]])
            spent = np.mean([task.encodes for task in made[name]])
            print(
                f"{encodes} encodes {name:11s} margin {MARGINS[at]:.1f} hit {np.nanmean(hit):.3f} answered "
                f"{np.isfinite(hit).mean():.2f} above best {100 * np.nanmean(excess):.1f} % "
                f"encodes {spent:.2f} of {len(hit)} tasks"
            )


if __name__ == "__main__":
    main()
