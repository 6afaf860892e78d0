"""Estimates for a long title from a sample of its segments, with their errors. Pure: no encodes, no files.

A long title is divided into *units* of about a calibration clip's length. Probes encode `N` of its `M` units and
a forecast is made for each; trials encode `n` of those `N` in the real encoder. The forecast is the control
variate of two-phase sampling (Cochran 1977, *Sampling Techniques*, 12.6): the title's VMAF is estimated as

    mean over N of the forecast  +  mean over n of (measured - forecast),

which is unbiased for any forecast. The better the forecast, the smaller its error against the mean of the
measurements alone. The sample lowers the bound by Student's t at the confidence times the standard error of that
estimate. This comes on top of the margin that `promise/choice.py` calibrates for the forecast itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vmaf_assay.promise.choice import Curve, Forecaster, Measured

F64 = NDArray[np.float64]

MIN_SEGMENTS = 8
"""Fewest segments for a promise about a title; the spread of fewer is a guess."""

MIN_TRIED = 4
"""Fewest segments that a trial encodes."""

MOST_TRIED = 0.5
"""Largest share of the segments that a trial encodes."""

TOLERANCE = 0.7
"""Points that the sample may take off the bound before more of the title is probed and tried."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over a title, estimated from a sample."""

    value: float
    """The estimate, points."""
    variance: float
    """Of the estimate, points squared."""
    degrees: float
    """Degrees of freedom of that variance (Satterthwaite 1946)."""

    def part(self, confidence: float) -> float:
        """What to subtract so that the title is below with probability 1 - `confidence` at most, points."""
        return float(student(confidence, self.degrees)) * float(np.sqrt(self.variance))


EXACT = Estimate(0.0, 0.0, 1.0)
"""The error of what was measured as a whole."""


def student(confidence: float, degrees: float | F64) -> F64:
    """Student's t, never below zero: a confidence below a half adds nothing to an estimate."""
    quantile: F64 = np.maximum(stats.t.ppf(confidence, np.maximum(degrees, 1.0)), 0.0)
    return quantile


def most_tried(n_segments: int) -> int:
    """How many of the probed segments a trial encodes at most.

    >>> most_tried(20), most_tried(8), most_tried(3)
    (10, 4, 3)
    """
    return min(n_segments, max(MIN_TRIED, round(MOST_TRIED * n_segments)))


def next_count(n_segments: int, most: int) -> int:
    """How many segments to have probed after `n_segments` were not enough.

    >>> next_count(8, 32), next_count(18, 32), next_count(27, 32)
    (12, 27, 32)
    """
    return min(most, n_segments + max(MIN_TRIED, n_segments // 2))


def spread_order(of: int) -> list[int]:
    """All indices below `of` in an order whose every beginning is spread over them (van der Corput 1935).

    >>> spread_order(8)
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(1, (of - 1).bit_length())
    places = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits)]
    return [place for place in places if place < of]


def stratified(difficulty: Sequence[float], count: int, *, blocks: int, seed: int) -> list[int]:
    """A sample of units spread over the title's time and content; the same for the same seed.

    The units, in the order of time, are divided into `blocks` of equal size. In each block they are sorted by
    difficulty, alternately rising and falling. Every `M / count`-th of that list is taken, from a start that the
    seed draws (systematic sampling of a serpentine list, Cochran 1977, 8.3). Every unit has the same probability,
    so means over the sample are unbiased, and neighbours in it are alike.

    Args:
      difficulty: one number a unit, in the order of time; how hard it looks, on any scale.
      count: units to take.
      blocks: parts of time.
      seed: draws the start.

    Returns:
      Indices of units in the order of the list, so that neighbours are alike.
    """
    n_units = len(difficulty)
    hard = np.asarray(difficulty, dtype=np.float64)
    listed: list[int] = []
    for number, block in enumerate(np.array_split(np.arange(n_units), max(1, min(blocks, n_units)))):
        ranked = block[np.argsort(hard[block], kind="stable")]
        listed += (ranked if number % 2 == 0 else ranked[::-1]).tolist()
    step = n_units / count
    start = np.random.default_rng(seed).uniform(0, step)
    return [listed[min(int(start + index * step), n_units - 1)] for index in range(count)]


def weighted_mean(values: F64, weights: F64) -> F64:
    """Mean over the first axis, weighted."""
    mean: F64 = np.tensordot(weights / weights.sum(), values, axes=1)
    return mean


def mean_variance(values: F64, weights: F64, *, neighbours: bool) -> F64:
    """Variance of the weighted mean of a sample, before the finite-population correction; of each column.

    Args:
      values: [N] or [N, G], N >= 2.
      weights: [N], frames of each.
      neighbours: True takes the variance from the differences of neighbouring units, which excludes the variance
        between strata (Wolter 2007, *Introduction to Variance Estimation*, 8.2.1, estimator 2).
    """
    ratio = weights / weights.mean()
    shape = (-1,) + (1,) * (values.ndim - 1)
    residual = ratio.reshape(shape) * (values - weighted_mean(values, weights))
    if neighbours:
        squares = (np.diff(residual, axis=0) ** 2).sum(axis=0) / (2 * (len(values) - 1))
    else:
        squares = (residual**2).sum(axis=0) / (len(values) - 1)
    variance: F64 = squares / len(values)
    return variance


def two_phase(forecasts: F64, measured: Mapping[int, float], weights: F64, n_units: int) -> Estimate:
    """The title's mean from forecasts of a sample and measurements of some of it.

    Args:
      forecasts: of each segment, points, [N], in the order of `stratified`.
      measured: index of a segment -> what was measured, points; n of them, two or more.
      weights: frames of each segment, [N].
      n_units: M, units in the title.
    """
    tried = np.array(sorted(measured))
    found = np.array([measured[int(index)] for index in tried])
    gaps, share = found - forecasts[tried], weights[tried]
    value = float(weighted_mean(forecasts, weights) + weighted_mean(gaps, share))
    left = 1 - len(forecasts) / n_units
    first = left * float(mean_variance(forecasts, weights, neighbours=True))
    second = (1 - len(tried) / n_units) * float(mean_variance(gaps, share, neighbours=False))
    degrees = _satterthwaite(np.array([first, second]), np.array([len(forecasts) - 1, len(tried) - 1]))
    return Estimate(value, first + second, degrees)


def _satterthwaite(variances: F64, degrees: NDArray[np.int64]) -> float:
    total = float((variances**2 / degrees).sum())
    return float(variances.sum()) ** 2 / total if total > 0 else float(degrees.min())


class Sampled(Forecaster):
    """A forecast of a title from a sample of its segments: the sampling part of the bound."""

    def sample_of(
        self, forecasts: F64, weights: F64, n_units: int, *, confidence: float, allowance: float = 0.0
    ) -> None:
        """Note the sample.

        Args:
          forecasts: of each segment on the grid, points, [N, G], in the order of `stratified`.
          weights: frames of each, [N].
          n_units: M, units in the title.
          confidence: of the promise, in (0, 1).
          allowance: by how much a segment's encode scores above the same frames in an encode of the title, points;
            subtracted from every estimate.
        """
        self.forecasts = forecasts
        """Forecast of each segment on the grid, points, [N, G]."""
        self.allowance = allowance
        """Allowance subtracted, points."""
        self._weights, self._n_units, self._confidence = weights, n_units, confidence
        self._estimates: dict[float, Estimate] = {}
        self.n_tried = 0
        """Most segments that a trial measured."""
        left = 1 - len(forecasts) / n_units
        self._first = left * mean_variance(forecasts, weights, neighbours=True)

    def observe(self, rate_value: float, measured: Mapping[int, float]) -> float:
        """The title's estimated VMAF at a trial's rate value, points; remembered for the bound.

        Args:
          rate_value: of the trial.
          measured: index of a segment -> pooled VMAF of its encode, points.
        """
        made = two_phase(self.forecasts[:, self.at(rate_value)], measured, self._weights, self._n_units)
        self._estimates[rate_value] = made
        self.n_tried = max(self.n_tried, len(measured))
        return min(max(made.value - self.allowance, self.metric.floor), self.metric.ceiling)

    def sampling_part(self, trials: Measured) -> F64:
        """The sampling part on the grid, points, [G].

        Without trials the standard error is that of the mean forecast. A trial adds its own part: that of the
        nearest trial, times the deficit here over the deficit there. Deficits are wrong by about the same factor,
        not by the same points, as in `Forecaster.corrected`.
        """
        if not trials:
            return self._part(np.float64(len(self.forecasts) - 1), self._first)
        nearest = [min(trials, key=lambda rate: abs(rate - at)) for at in self.grid.tolist()]
        there = np.array([self.at(rate) for rate in nearest])
        # A trial of every frame has no sampling error.
        made = [self._estimates.get(rate, EXACT) for rate in nearest]
        found = np.array([one.variance for one in made])
        deficit = self.zero_deficit - self.corrected(trials)
        own = np.maximum(found - self._first[there], 0.0) * (deficit / deficit[there]) ** 2
        variance = np.where(found > 0, self._first + own, 0.0)
        return self._part(np.array([one.degrees for one in made]), variance)

    def trial_part(self, rate_value: float) -> float:
        """The sampling part of a trial's estimate of the title, points."""
        return self._estimates[rate_value].part(self._confidence)

    def added(self, target: float, margin: float, *, trials: bool) -> float:
        """Points that sampling takes off the bound at the rate value forecast to meet `target`, before any trial.

        Args:
          target: pooled VMAF, points.
          margin: its scale.
          trials: whether trials follow, so that at their rate value only the sampling is left.
        """
        index = self.at(self.choose(target, {}, 0.0).rate_value)
        part = float(self.sampling_part({})[index])
        calibrated = 0.0 if trials else float(margin * self.weight({})[index])
        return float(np.hypot(calibrated, part)) - calibrated

    def _part(self, degrees: F64 | np.float64, variance: F64) -> F64:
        part: F64 = student(self._confidence, degrees) * np.sqrt(variance)
        return part

    def lower(self, trials: Measured, margin: float) -> F64:
        """Corrected forecast minus the margin and the sampling part, on the grid, points, [G].

        The two are independent errors, so they combine as the root of their squares. On titles made of held-out
        curves this keeps the promise in every row; their sum is wider than needed (docs/log/long-sources.md).
        """
        off = np.hypot(margin * self.weight(trials), self.sampling_part(trials))
        bound: F64 = self.corrected(trials) - off
        return bound


class SampledForecaster(Sampled):
    """The forecast of a title from those of its segments."""

    def __init__(
        self,
        title: Curve,
        segments: Sequence[Curve],
        weights: F64,
        n_units: int,
        *,
        confidence: float,
        allowance: float = 0.0,
    ) -> None:
        """From the title's mean curve and its segments' curves.

        Args:
          title: means over the segments, weighted.
          segments: N curves of the same encoder and rate values, in the order of `stratified`.
          weights: frames of each, [N].
          n_units: M, units in the title.
          confidence: of the promise, in (0, 1).
          allowance: as of `Sampled.sample_of`.
        """
        super().__init__(title)
        forecasts = np.stack([Forecaster(curve).mu for curve in segments])
        self.sample_of(forecasts, weights, n_units, confidence=confidence, allowance=allowance)
        self.mu = np.maximum(weighted_mean(forecasts, weights) - allowance, 0.0)
