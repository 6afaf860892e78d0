"""The calibration of curves from own probes: each encoder of a corpus left out in turn. Pure.

The prior is fitted on all encoders but the one left out, with equal weight for each. What an encoder *needs* is
the smallest margin that controls the risk over its own groups, with a prior that never saw it. The largest of
these is in use. An encoder is judged with a prior that never saw it and the largest margin of the others,
whose priors never saw it either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr

from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.promise.choice import HEADROOM, Curve, interpolate, monotone, rate_grid
from vmaf_assay.promise.conformal import covered_enough
from vmaf_assay.promise.own_curve import (
    OWN_PROBES,
    Made,
    OwnCalibration,
    OwnJudged,
    OwnMargin,
    OwnPrior,
    curves_through,
    first_index,
    next_index,
    places,
    powers,
)
from vmaf_assay.records import OnStep

F64 = NDArray[np.float64]

TARGETS = (80.0, 85.0, 90.0, 93.0, 95.0, 97.0)
"""Targets replayed, points."""

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Confidences calibrated. 34 groups support 0.97 at most."""

MARGINS = np.round(np.arange(0.0, 12.05, 0.1), 1)
"""Margins tried, in units of the curve's doubt, [L]."""

HEADROOM_POINTS = 0.3
"""A curve is replayed at a target if it reaches so much more, points."""

ERROR = 0.05
"""Probability of failing a method whose coverage is exactly nominal."""

DIGITS = 6
"""Digits of the prior that are written: the optimizer's last ones differ between machines."""


@dataclass(frozen=True)
class Family:
    """Curves of one encoder and preset at the same rate values."""

    encoder: str
    groups: tuple[str, ...]
    """Of each curve, [B]."""
    place: F64
    """Measured rate values, [R]."""
    deficit: F64
    """ln(101 - VMAF) there, [B, R]."""
    at: F64
    """Places of the grid, cheapest first, [G]."""
    truth: F64
    """VMAF on the grid, points, [B, G]."""
    roughness: float
    """Of a measured curve around a smooth one, points."""


@dataclass(frozen=True)
class Task:
    """One curve at one target, answered for every margin."""

    group: str
    missed: F64
    """Probability that the encode chosen misses; NaN without an answer, [L]."""


def families(curves: Sequence[Curve]) -> list[Family]:
    """The measured curves of a calibration, as arrays."""
    kinds: dict[tuple[str, str, tuple[float, ...]], list[Curve]] = {}
    for curve in curves:
        kinds.setdefault((curve.encoder, curve.preset, tuple(curve.rate_values.tolist())), []).append(curve)
    made = []
    for (encoder, _, rate_values), alike in sorted(kinds.items()):
        info, rates, metric = encoder_info(encoder), np.array(rate_values), alike[0].measurand.metric
        zero, grid = metric.ceiling + HEADROOM, rate_grid(info, rates)
        truth = [interpolate(rates, np.log(zero - monotone(info, one.truth)), grid) for one in alike]
        made.append(
            Family(
                encoder,
                tuple(one.group for one in alike),
                places(info, rates),
                np.log(zero - np.minimum(np.stack([one.truth for one in alike]), metric.ceiling)),
                places(info, grid),
                zero - np.exp(np.stack(truth)),
                metric.roughness,
            )
        )
    return made


def fit_prior(of: Sequence[Family]) -> OwnPrior:
    """The prior of some encoders of equal weight: a parabola by least squares, the rest by likelihood."""
    counts = {one.encoder: 0 for one in of}
    for one in of:
        counts[one.encoder] += len(one.groups)
    place = np.concatenate([np.tile(one.place, len(one.groups)) for one in of])
    deficit = np.concatenate([one.deficit.ravel() for one in of])
    root = np.concatenate([np.full(one.deficit.size, counts[one.encoder] ** -0.5) for one in of])
    mean = np.linalg.lstsq(powers(place) * root[:, None], deficit * root, rcond=None)[0]

    def loss(theta: F64) -> float:
        prior = _prior(mean, theta)
        total = 0.01 * float(np.square(theta).sum())
        for one in of:
            share = 120 / len(counts) / counts[one.encoder]
            noise = (prior.noise + 1e-9) * np.eye(len(one.place))
            factor = np.linalg.cholesky(prior.kernel(one.place, one.place) + noise)
            whitened = np.linalg.solve(factor, (one.deficit - prior.at(one.place)).T)
            each = len(one.groups) * float(np.log(np.diag(factor)).sum())
            total += share * (0.5 * float(np.square(whitened).sum()) + each)
        return total

    start = np.array([-0.5, 1.0, 0.0, -3.0, -1.5, -7.0])
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 800, "fatol": 0.05, "xatol": 0.01})
    return _prior(mean, np.asarray(found.x, dtype=np.float64))


def _prior(mean: F64, theta: F64) -> OwnPrior:
    level, slope, correlation, rest, length, noise = theta.tolist()
    return OwnPrior(
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        level=float(np.exp(level)),
        slope=float(np.exp(slope)),
        correlation=float(np.tanh(correlation)),
        rest=float(np.exp(rest)),
        length=float(np.exp(length)),
        noise=float(np.exp(noise)),
    )


def replayed(family: Family, prior: OwnPrior, target: float, trials: int) -> list[Task]:
    """The procedure of `tune` on every curve that reaches a target, up to the choice at each margin."""
    low, high = family.truth.min(axis=1), family.truth.max(axis=1)
    which = np.flatnonzero((low < target) & (high - HEADROOM_POINTS >= target))
    if not len(which):
        return []
    truth, n = family.truth[which], OWN_PROBES + trials
    rows = np.arange(len(which))
    index, vmaf = np.full((len(which), n), -1), np.zeros((len(which), n))
    following, going = np.full(len(which), first_index(family.at)), np.ones(len(which), dtype=np.bool_)
    curve = doubt = np.empty(0)
    for number in range(n):
        going &= ~(index == following[:, None]).any(axis=1)
        index[going, number] = following[going]
        vmaf[:, number] = truth[rows, following]
        curve, doubt = curves_through(prior, family.at, Made(index, vmaf))
        following = next_index(curve, target)
    meets = curve - MARGINS[:, None, None] * doubt >= target
    chosen = np.where(meets.any(axis=2), np.argmax(meets, axis=2), -1)
    short = target - truth
    chance = np.where(doubt == 0, (short > 1e-9).astype(np.float64), ndtr(short / family.roughness))
    missed = np.where(chosen >= 0, chance[rows, chosen], np.nan)
    return [Task(family.groups[one], missed[:, row]) for row, one in enumerate(which)]


def needed(tasks: Sequence[Task], confidence: float) -> tuple[int, int]:
    """The smallest margin that controls the risk over groups, as an index into MARGINS, and the groups answered.

    The risk is (sum of losses + 1) / (groups answered + 1), as in `promise/choice.py`.
    """
    groups = sorted({task.group for task in tasks})
    total, answered = np.zeros(len(MARGINS)), np.zeros(len(MARGINS))
    for group in groups:
        missed = np.stack([task.missed for task in tasks if task.group == group])
        there = np.isfinite(missed).sum(axis=0)
        total += np.nansum(missed, axis=0) / np.maximum(there, 1)
        answered += there > 0
    over = np.flatnonzero((total + 1) / (answered + 1) > 1 - confidence + 1e-12)
    index = min(int(over[-1]) + 1 if len(over) else 0, len(MARGINS) - 1)
    return index, int(answered[index])


def hits(tasks: Sequence[Task], index: int) -> list[float]:
    """Share of hits of each group with an answer at a margin."""
    made: dict[str, list[float]] = {}
    for task in tasks:
        if np.isfinite(task.missed[index]):
            made.setdefault(task.group, []).append(1 - float(task.missed[index]))
    return [float(np.mean(of)) for of in made.values()]


class _LeftOut:
    """Tasks of each encoder with priors that saw neither it nor another one."""

    def __init__(self, of: Sequence[Family]) -> None:
        self._of = of
        self._priors: dict[frozenset[str], OwnPrior] = {}

    @cached_property
    def encoders(self) -> list[str]:
        return sorted({one.encoder for one in self._of})

    def prior(self, *without: str) -> OwnPrior:
        key = frozenset(without)
        if key not in self._priors:
            self._priors[key] = fit_prior([one for one in self._of if one.encoder not in key])
        return self._priors[key]

    def tasks(self, encoder: str, trials: int, *also: str) -> list[Task]:
        prior = self.prior(encoder, *also)
        own = [one for one in self._of if one.encoder == encoder]
        return [task for one in own for target in TARGETS for task in replayed(one, prior, target, trials)]


def calibrate_own(
    curves: Sequence[Curve], calibration_sha256: str, max_trials: int, on_step: OnStep | None = None
) -> OwnCalibration:
    """The prior, the margins and the verdict of curves from own probes.

    Args:
      curves: measured curves of at least three encoders; their forecasts are not read.
      calibration_sha256: digest of what they are from.
      max_trials: most trials that a request may ask for.
      on_step: called after each part.
    """
    left = _LeftOut(families(curves))
    margins, judged = [], []
    for trials in range(max_trials + 1):
        alone = {name: left.tasks(name, trials) for name in left.encoders}
        beside = {
            (name, other): left.tasks(name, trials, other)
            for pair in combinations(left.encoders, 2)
            for name, other in (pair, pair[::-1])
        }
        for confidence in CONFIDENCES:
            need = [needed(alone[name], confidence) for name in left.encoders]
            scale = float(MARGINS[max(index for index, _ in need)])
            margins.append(
                OwnMargin(trials=trials, confidence=confidence, scale=scale, n_groups=min(n for _, n in need))
            )
            for name in left.encoders:
                others = [other for other in left.encoders if other != name]
                index = max(needed(beside[other, name], confidence)[0] for other in others)
                judged.append(_judge(name, trials, confidence, index, hits(alone[name], index)))
        if on_step:
            on_step("encoders left out", trials + 1, max_trials + 1)
    return OwnCalibration(
        schema_version=1,
        measurand=str(curves[0].measurand),
        calibration_sha256=calibration_sha256,
        targets=TARGETS,
        prior=_rounded(left.prior()),
        margins=tuple(margins),
        judged=tuple(judged),
    )


def _judge(encoder: str, trials: int, confidence: float, index: int, covered: list[float]) -> OwnJudged:
    coverage = float(np.mean(covered)) if covered else 0.0
    return OwnJudged(
        encoder=encoder,
        trials=trials,
        confidence=confidence,
        scale=float(MARGINS[index]),
        n_groups=len(covered),
        coverage=round(coverage, 4),
        passed=coverage >= confidence and bool(covered_enough(covered, confidence, error=ERROR)),
    )


def _rounded(prior: OwnPrior) -> OwnPrior:
    said = {name: float(f"{value:.{DIGITS}g}") for name, value in prior.model_dump(exclude={"mean"}).items()}
    first, second, third = (float(f"{value:.{DIGITS}g}") for value in prior.mean)
    return OwnPrior(mean=(first, second, third), **said)
