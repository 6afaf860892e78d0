"""The choice of a rate value, and the calibrated margin behind its promise. Pure: no encodes, no files.

The same code runs in `tune` and in the gate's coverage policy: what was calibrated is what is used.

A forecast is known at the trained rate values and interpolated between them. The chosen rate value is the cheapest
whose *lower* curve meets the target: the forecast minus a margin, which shrinks to zero at measured rate values.
The margin is found by replaying the whole procedure, trials included, on curves whose groups the forecast never
saw. This is conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster 2022, eq. 4). The loss of a group
is the fraction of its sources whose encode misses the target.

The theorem needs a loss that only falls as the margin grows, and one model for all groups. Here a group may also
drop out (nothing qualifies for it), and each group was forecast by models that left it out. So the promise is
close to the theorem, but not proved by it. Measured hit rates: docs/results/promise.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from scipy.special import ndtr

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import EncoderInfo, encoder_info
from vmaf_assay.promise.conformal import check_confidence, controlled, max_confidence, weightings
from vmaf_assay.records import MEAN_VMAF, Measurand

F64 = NDArray[np.float64]

HEADROOM = 1.0
"""Distance above the metric's ceiling from which deficits are counted, points: a deficit of 0 cannot be scaled."""

REACH = 0.25
"""Fraction of the trained range of rate values over which a measurement's certainty fades. With 0.15, 0.25 and
0.4, mean bitrate above best without trials is 5.4, 5.0 and 4.9 % for libx264, 9.1, 8.8 and 8.9 % for libx265.
(Confidences 0.80, 0.90, 0.95, targets 80 to 97, shipped corpus, two seeds, 2026-11-25.)"""

KNOWN_FLOOR = 0.1
"""Fraction of the margin kept at a rate value known from a probe. Probes run on one thread and final encodes on
all, which changes VMAF a little. A trial runs like the final encode and keeps no margin."""

ANCHOR_REACH = 0.3
"""Fraction of the trained range over which a probe of the same encoder corrects the forecast around it, falling
off exponentially. Mean held-out error of libx264 over VMAF > 70: 0.74 points without, 0.54 with 0.2 to 0.5, 0.61
without the fall-off (shipped corpus, 2026-11-24)."""

SIGMA_FLOOR = 0.5
"""Variance added to the members' spread, points squared: members that agree can still be wrong."""

SLOPE_FLOOR = 0.1
"""Added to the curve's steepness, points a rate value: a flat forecast can still be wrong."""

MAX_MARGIN = 40.0
"""Largest margin considered, in units of `Forecaster.weight`; a forecast that needs more promises nothing."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A forecast, and the truth if it is known, of one source with one encoder and preset."""

    group: str
    """What must not be split."""
    source: str
    encoder: str
    preset: str
    rate_values: F64
    """Rate values, ascending, [R]."""
    mu: F64
    """Forecast pooled VMAF, points, [R]."""
    sigma: F64
    """Spread over members, points, [R]."""
    truth: F64
    """Measured pooled VMAF, points, [R]; NaN where unknown."""
    known: dict[float, float] = field(default_factory=dict)
    """Rate value -> pooled VMAF, points, where a probe is an encode of this encoder and preset."""
    measurand: Measurand = MEAN_VMAF
    """What forecast and truth are of."""
    measured: dict[float, float] = field(default_factory=dict)
    """Of a user's own title: rate value -> pooled VMAF, points, of its encodes; the truth goes through them."""
    targets: tuple[float, ...] = ()
    """Of a user's own title: what it was encoded for, points."""
    weight: float = 1.0
    """Of a user's own title: how many titles it counts as, in (0, 1]."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What is subtracted from a forecast so that the choice keeps its promise."""

    scale: float
    """Multiplies `Forecaster.weight`, which is in points; dimensionless."""
    n_groups: int
    """Groups whose replayed choice was answered at this margin."""
    pooled: bool
    """True if groups of all encoders were used, because this one had too few."""
    risk: float
    """Mean loss at this margin over those groups, in [0, 1]."""
    target: float
    """Pooled VMAF it was calibrated at, points."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The cheapest rate value whose lower bound meets the target, or the one with the highest bound."""

    rate_value: float
    """On the encoder's own scale."""
    mu: float
    """Corrected forecast there, points."""
    lower_bound: float
    """Corrected forecast minus margin there, points."""
    reachable: bool
    """False if no rate value's lower bound meets the target; this choice then has the highest bound."""


Measured = dict[float, float]
"""Rate value -> pooled VMAF of a trial encode, points."""


def rate_grid(encoder: EncoderInfo, rate_values: F64) -> F64:
    """Every rate value that may be chosen, cheapest first: the trained range at the encoder's step."""
    low, high = float(rate_values.min()), float(rate_values.max())
    count = int(np.floor((high - low) / encoder.rate_step + 1e-9)) + 1
    grid = np.round(low + encoder.rate_step * np.arange(count), 4)
    return grid[::-1] if encoder.lower_is_better else grid


def monotone(encoder: EncoderInfo, values: F64) -> F64:
    """`values` at ascending rate values, made monotone in the encoder's direction by isotonic regression."""
    fitted: F64 = isotonic_regression(values, increasing=not encoder.lower_is_better).x
    return fitted


def interpolate(rate_values: F64, values: F64, at: F64) -> F64:
    """Monotone cubic (PCHIP) through the points; outside them the nearest end (Fritsch and Butland 1984)."""
    clipped = np.clip(at, rate_values[0], rate_values[-1])
    result: F64 = np.asarray(PchipInterpolator(rate_values, values)(clipped), dtype=np.float64)
    return result


class Forecaster:
    """One curve on the grid, corrected by measurements."""

    def __init__(self, curve: Curve) -> None:
        self.encoder = encoder_info(curve.encoder)
        self.metric = curve.measurand.metric
        """Scale and roughness of what is forecast."""
        self.grid = rate_grid(self.encoder, curve.rate_values)
        """Rate values that may be chosen, cheapest first, [G]."""
        self._span = float(curve.rate_values[-1] - curve.rate_values[0])
        smooth = monotone(self.encoder, np.minimum(curve.mu, self.metric.ceiling))
        self.mu = self._anchored(interpolate(curve.rate_values, smooth, self.grid), curve)
        """Forecast on the grid before any trial, points, [G]."""
        spread = np.hypot(interpolate(curve.rate_values, curve.sigma, self.grid), np.sqrt(SIGMA_FLOOR))
        steepness = np.abs(np.gradient(self.mu, self.grid)) + SLOPE_FLOOR
        self._uncertainty = spread * steepness
        low, high = curve.rate_values[0], curve.rate_values[-1]
        self.known = {rate: vmaf for rate, vmaf in curve.known.items() if low <= rate <= high}
        """What the probes measured with this encoder and preset."""

    @property
    def zero_deficit(self) -> float:
        """The score from which deficits are counted, points."""
        return self.metric.ceiling + HEADROOM

    def _anchored(self, mu: F64, curve: Curve) -> F64:
        """The forecast interpolated through the probes, by a factor on the deficit that fades with distance.

        Probes are applied by ascending rate value, whatever order they were made in. The last is met exactly.
        """
        ceiling, zero = self.metric.ceiling, self.zero_deficit
        for rate_value, vmaf in sorted(curve.known.items()):
            if curve.rate_values[0] <= rate_value <= curve.rate_values[-1]:
                ratio = max((zero - vmaf) / (zero - float(mu[self.at(rate_value)])), 1e-3)
                fade = np.exp(-np.abs(self.grid - rate_value) / (ANCHOR_REACH * self._span))
                mu = np.minimum(zero - (zero - mu) * np.exp(np.log(ratio) * fade), ceiling)
        # The changing factor could bend a flat part of the curve upwards.
        return np.maximum.accumulate(mu)

    def at(self, rate_value: float) -> int:
        """Index on the grid of the nearest rate value."""
        return int(np.argmin(np.abs(self.grid - rate_value)))

    def corrected(self, trials: Measured) -> F64:
        """Forecast on the grid after trials, points, [G].

        A measurement at r multiplies the deficit (`zero_deficit` - VMAF) by measured over forecast. Between two
        measurements the logarithm of that ratio is interpolated; outside them the nearest applies. Deficits of one
        source are wrong by about the same factor, not by the same points, because VMAF saturates.
        """
        measured = self._measured(trials)
        if not measured:
            return self.mu
        rates = np.array(sorted(measured))
        zero = self.zero_deficit
        ratios = [(zero - measured[float(r)]) / (zero - self.mu[self.at(float(r))]) for r in rates]
        log_ratio = np.interp(self.grid, rates, np.log(np.maximum(ratios, 1e-3)))
        curve: F64 = np.minimum(zero - (zero - self.mu) * np.exp(log_ratio), self.metric.ceiling)
        for rate_value, vmaf in measured.items():
            curve[self.at(rate_value)] = vmaf
        return curve

    def weight(self, trials: Measured) -> F64:
        """What one unit of margin takes off on the grid, points, [G].

        It is the members' spread times the steepness of the curve: forecasts err along the rate axis, and more
        where members disagree. A constant instead costs 1.6 times the excess bitrate without trials and twice with
        one (shipped corpus, 2026-11-24). At a trial nothing is subtracted; with distance it grows to the full
        weight over `REACH` of the trained range. The same holds at a rate value known from a probe, but never
        under `KNOWN_FLOOR`. Everywhere but at a trial roughness is added in squares, as an independent error.
        """
        weight = np.ones_like(self.grid)
        for rate_value in self._measured(trials):
            gap = np.abs(self.grid - rate_value) / (REACH * self._span)
            weight = np.minimum(weight, np.maximum(gap, 0.0 if rate_value in trials else KNOWN_FLOOR))
        weighted: F64 = np.where(
            self.tried(trials), 0.0, np.hypot(weight * self._uncertainty, self.metric.roughness)
        )
        return weighted

    def tried(self, trials: Measured) -> NDArray[np.bool_]:
        """Whether a trial was made there, so that an encode there repeats it, [G]."""
        tried = np.zeros(len(self.grid), dtype=np.bool_)
        tried[[self.at(rate_value) for rate_value in trials]] = True
        return tried

    def lower(self, trials: Measured, margin: float) -> F64:
        """Corrected forecast minus margin on the grid, points, [G]."""
        bound: F64 = self.corrected(trials) - margin * self.weight(trials)
        return bound

    def choose(self, target: float, trials: Measured, margin: float) -> Choice:
        """The cheapest rate value whose lower curve meets `target`; see `Choice` if no curve does."""
        mu, lower = self.corrected(trials), self.lower(trials, margin)
        meets = np.flatnonzero(lower >= target)
        index = int(meets[0]) if len(meets) else int(np.argmax(lower))
        return Choice(float(self.grid[index]), float(mu[index]), float(lower[index]), bool(len(meets)))

    def _measured(self, trials: Measured) -> Measured:
        # The forecast already passes through the probes, so without trials only their certainty counts. It took
        # bitrate above best from 18.6 % to 14.6 % with one probe known and 5.9 % with two. (libx264, no trials,
        # 0.95, targets 85 to 95, shipped corpus, two seeds, 2026-11-25.)
        return self.known | trials


def trial_rate(forecaster: Forecaster, target: float, measured: Measured) -> float | None:
    """Rate value of the next trial: the cheapest whose corrected forecast meets the target.

    None if that rate value is measured already, so that another trial would repeat it.
    """
    choice = forecaster.choose(target, measured, 0.0)
    return None if choice.rate_value in measured else choice.rate_value


@dataclass(frozen=True, slots=True)
class Replay:
    """The procedure on one curve whose truth is known, up to the choice."""

    curve: Curve
    forecaster: Forecaster
    trials: Measured
    """What its trials measured."""
    truth: F64
    """Smooth truth on the forecaster's grid, points, [G]."""

    def misses(self, target: float) -> F64:
        """Probability that an encode there misses `target`, [G].

        It is 0 or 1 at a trial, and elsewhere from a normal of the roughness.
        """
        short = target - self.truth
        tried = self.forecaster.tried(self.trials)
        chance: F64 = np.where(
            tried, (short > 1e-9).astype(np.float64), ndtr(short / self.forecaster.metric.roughness)
        )
        return chance


def replay(curve: Curve, target: float, trials: int) -> Replay:
    """Simulate the trials on a curve whose truth is known."""
    forecaster = Forecaster(curve)
    if curve.measured:
        truth = np.maximum.accumulate(forecaster.corrected(curve.measured))
    else:
        truth = interpolate(curve.rate_values, monotone(forecaster.encoder, curve.truth), forecaster.grid)
    measured: Measured = {}
    for _ in range(trials):
        rate_value = trial_rate(forecaster, target, measured)
        if rate_value is None:
            break
        measured[rate_value] = float(truth[forecaster.at(rate_value)])
    return Replay(curve, forecaster, measured, truth)


class Replays:
    """Held-out curves at one target and number of trials: the misses at each margin."""

    def __init__(self, curves: Sequence[Curve], target: float, trials: int) -> None:
        self.replays = [replay(curve, target, trials) for curve in curves]
        self.groups = sorted({curve.group for curve in curves})
        steps = [_steps(made, target) for made in self.replays]
        row = {group: index for index, group in enumerate(self.groups)}
        titles = {curve.group: curve.weight for curve in curves if curve.measured}
        self._titles = np.array([titles.get(group, 0.0) for group in self.groups])
        margins = np.concatenate([np.zeros(1), *(step[0] for step in steps)])
        owners = np.concatenate(
            [[-1], *(np.full(len(s[0]), row[c.group]) for s, c in zip(steps, curves, strict=True))]
        )
        order = np.argsort(margins, kind="stable")
        order = order[margins[order] <= MAX_MARGIN]
        self._margins, self._owners = margins[order], owners[order]
        """Every margin [S] at which some choice changes, ascending, and the group whose choice it is."""
        missed = np.zeros((len(self.groups), len(order)))
        answered = np.zeros_like(missed)
        for curve, (largest, misses) in zip(curves, steps, strict=True):
            at = np.searchsorted(largest, self._margins, side="left")
            has = at < len(largest)
            answered[row[curve.group]] += has
            missed[row[curve.group], has] += misses[at[has]]
        self._answered = answered > 0
        self._loss = missed / np.maximum(answered, 1)
        """Expected fraction of misses among a group's answered sources, [groups, S]."""

    def margin(self, confidence: float, *, without: str | None = None) -> tuple[float, int, float] | None:
        """The smallest margin that controls the risk; the groups answered there, and their mean loss.

        The risk is (sum of losses + 1) / (n answered + 1). The search starts at the margin of least risk and goes
        down; it takes the last margin before the risk first exceeds 1 - confidence. Only that comparison depends
        on the confidence, so the margin never falls as the confidence rises.

        Args:
          confidence: in (0, 1).
          without: a group to leave out.

        Returns:
          None if no margin keeps the risk low enough.
        """
        keep = np.array([group != without for group in self.groups])
        columns = np.flatnonzero((self._owners < 0) | keep[self._owners])
        loss, answered = self._loss[keep][:, columns], self._answered[keep][:, columns]
        for weights in weightings(self._titles[keep]):
            if (found := controlled((loss.T * weights).T, (answered.T * weights).T, confidence)) is not None:
                best, mean = found
                return float(self._margins[columns[best]]), int(answered[:, best].sum()), mean
        return None

    def n_answerable(self) -> int:
        """Groups that have an answer at margin zero."""
        return int(self._answered[:, 0].sum())


NEAR = 3.0
"""A title speaks of targets this near to one that it was encoded for, points: whatever was measured then."""


def _steps(made: Replay, target: float) -> tuple[F64, F64]:
    """The choice as a step function of the margin.

    Returns:
      The largest margin at which each successive choice still holds, ascending, [S], and its probability of
      missing the target, [S] (0 or 1 at a trial). Above the last margin nothing qualifies.
    """
    slack = made.forecaster.corrected(made.trials) - target
    weight = made.forecaster.weight(made.trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.where(slack < 0, -1.0, np.where(weight > 0, slack / weight, np.inf))
    # Cheapest first: a dearer rate value is chosen only at margins too large for all cheaper ones.
    before = np.concatenate([[-1.0], np.maximum.accumulate(largest)[:-1]])
    chosen = np.flatnonzero((largest > before) & (largest >= 0))
    return largest[chosen], made.misses(target)[chosen]


def calibrate_margin(
    curves: Sequence[Curve], encoder: str, preset: str, *, target: float, confidence: float, trials: int
) -> Margin:
    """The smallest margin with which the choice misses `target` in at most 1 - `confidence` of new groups.

    A group without an answer is neither a hit nor a miss, because the promise is about encodes that are made.

    Args:
      curves: held-out curves with truth, any encoders.
      encoder: encoder asked about; its own curves are used if they can support the confidence.
      preset: its preset.
      target: pooled VMAF, points.
      confidence: in (0, 1).
      trials: trial encodes that will be made.

    Raises:
      ConfigError: the groups cannot support the confidence; names the highest that they can.
    """
    check_confidence(confidence, len({curve.group for curve in curves}))
    fit = _CrossFit(curves, encoder, preset, target, trials)
    margin = fit.margin(confidence)
    if margin is None:
        n_groups = fit.all_encoders().n_answerable()
        raise ConfigError(
            f"no margin keeps the promise at target {target:g} with confidence {confidence:g}: {n_groups} "
            f"calibration groups reach the target, which supports at most {max_confidence(n_groups):.3f}",
            next_step="ask for a lower confidence, another target, or more --trials",
        )
    return margin


TARGET_STEP = 0.5
"""Step of the search in `nearest_margin`, points."""


def nearest_margin(
    curves: Sequence[Curve], encoder: str, preset: str, *, target: float, confidence: float, trials: int
) -> Margin:
    """`calibrate_margin` at `target`, or without trials at the highest target below it that can be calibrated.

    A margin of a lower target promises nothing at `target`; it only shows how far an encode gets.

    Raises:
      ConfigError: as `calibrate_margin`, if half the target cannot be calibrated either.
    """
    check_confidence(confidence, len({curve.group for curve in curves}))
    for lower in np.arange(target, target / 2, -TARGET_STEP):
        fit = _CrossFit(curves, encoder, preset, float(lower), trials if lower == target else 0)
        if margin := fit.margin(confidence):
            return margin
    return calibrate_margin(curves, encoder, preset, target=target, confidence=confidence, trials=trials)


class _CrossFit:
    """Calibration on one encoder's curves, falling back on all; replayed once for any number of queries."""

    def __init__(self, curves: Sequence[Curve], encoder: str, preset: str, target: float, trials: int) -> None:
        presets = {curve.preset for curve in curves if curve.encoder == encoder}
        around = encoder_info(encoder).neighbours(preset, presets)
        curves = [c for c in curves if not c.measured or any(abs(asked - target) <= NEAR for asked in c.targets)]
        own = [curve for curve in curves if curve.encoder == encoder and curve.preset in around]
        self.own = Replays(own, target, trials) if own else None
        self._all: Replays | None = None
        self._question = ([curve for curve in curves if not curve.measured], target, trials)

    def all_encoders(self) -> Replays:
        if self._all is None:
            self._all = Replays(*self._question)
        return self._all

    def margin(self, confidence: float, *, without: str | None = None) -> Margin | None:
        """The margin, or None if even all encoders' groups do not support one."""
        target = self._question[1]
        if self.own and (found := self.own.margin(confidence, without=without)):
            return Margin(found[0], found[1], False, found[2], target)
        if found := self.all_encoders().margin(confidence, without=without):
            return Margin(found[0], found[1], True, found[2], target)
        return None


@dataclass(frozen=True, slots=True)
class HeldOutChoice:
    """A choice on a curve whose group was left out of its margin and its forecast."""

    curve: Curve
    choice: Choice
    truth: float
    """Pooled VMAF there on the smooth curve, points."""
    missed: float
    """Probability that the encode misses the target, in [0, 1]; see `Replay.misses`."""
    trials: Measured
    """Trials spent on it."""


def cross_fitted_choices(
    curves: Sequence[Curve], encoder: str, preset: str, *, target: float, confidence: float, trials: int
) -> dict[str, list[HeldOutChoice]]:
    """Choices for each group with a margin calibrated on the other groups alone.

    Returns:
      By group, the choices for its sources. A source has none if no margin can be calibrated or no rate value
      qualifies; a group without any has no entry.
    """
    fit = _CrossFit(curves, encoder, preset, target, trials)
    made: dict[str, list[HeldOutChoice]] = {}
    if fit.own is None:
        return made
    for group in fit.own.groups:
        margin = fit.margin(confidence, without=group)
        if margin is None:
            continue
        for one in (r for r in fit.own.replays if r.curve.group == group):
            choice = one.forecaster.choose(target, one.trials, margin.scale)
            if choice.reachable:
                at = one.forecaster.at(choice.rate_value)
                truth, missed = float(one.truth[at]), float(one.misses(target)[at])
                made.setdefault(group, []).append(HeldOutChoice(one.curve, choice, truth, missed, one.trials))
    return made
