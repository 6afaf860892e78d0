"""The choice of a rate value, and the margin that makes it keep its promise. Pure: no encodes, no files.

The same code runs in `tune` and in the gate's coverage policy: what was calibrated is what is used.

A forecast is known at the trained rate values; between them it is interpolated. The rate value chosen is the
cheapest whose *lower* curve meets the target: the forecast minus a margin, which shrinks to nothing at rate values
that were measured. The margin is found by replaying the whole procedure, trials included, on curves whose groups
the forecast never saw (conformal risk control, Angelopoulos, Bates, Fisch, Lei and Schuster 2022, eq. 4, with the
loss of a group = share of its sources whose encode misses the target).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from vmaf_assay.errors import ConfigError
from vmaf_assay.evaluate.conformal import check_confidence, max_confidence
from vmaf_assay.media.encoders import EncoderInfo, encoder_info

F64 = NDArray[np.float64]

CEILING = 101.0
"""Deficits are counted from here: VMAF ends at 100, and a deficit of 0 could not be scaled."""

REACH = 0.15
"""Share of the trained range of rate values over which a measurement's certainty fades. See `_distance`."""

KNOWN_FLOOR = 0.1
"""Share of the margin that stays at a rate value known from a probe: probes run on one thread, final encodes on
all, and that moves VMAF a little. A trial runs as the final encode does, and keeps none."""

MAX_MARGIN = 40.0
"""Largest margin considered, points; a forecast that needs more promises nothing."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A forecast, and the truth if it is known, of one source with one encoder and preset."""

    group: str
    """What must not be split."""
    source: str
    """The source."""
    encoder: str
    """ffmpeg encoder name."""
    preset: str
    """Its preset."""
    rate_values: F64
    """Rate values, ascending, [R]."""
    mu: F64
    """Forecast pooled VMAF, points, [R]."""
    sigma: F64
    """Spread over members, points, [R]."""
    truth: F64
    """Measured pooled VMAF, points, [R]; NaN where unknown."""
    known: dict[float, float] = field(default_factory=dict)
    """Rate value -> pooled VMAF, points, where a probe is an encode of this very encoder and preset."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What to take off a forecast so that the choice keeps its promise."""

    points: float
    """VMAF points at a rate value far from any measurement."""
    n_groups: int
    """Groups whose replayed choice was answered at this margin."""
    pooled: bool
    """True if groups of all encoders were used because this one had too few."""
    risk: float
    """Mean loss at this margin over those groups, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The cheapest rate value whose lower bound meets the target, or the best there is."""

    rate_value: float
    """On the encoder's own scale."""
    mu: float
    """Corrected forecast there, points."""
    lower_bound: float
    """Corrected forecast minus margin there, points."""
    reachable: bool
    """False if no rate value's lower bound meets the target; then this is the highest bound there is."""


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
    """One curve on the grid, corrected by what has been measured."""

    def __init__(self, curve: Curve) -> None:
        self.encoder = encoder_info(curve.encoder)
        self.grid = rate_grid(self.encoder, curve.rate_values)
        """Rate values that may be chosen, cheapest first, [G]."""
        self._span = float(curve.rate_values[-1] - curve.rate_values[0])
        smooth = monotone(self.encoder, np.minimum(curve.mu, 100.0))
        self.mu = interpolate(curve.rate_values, smooth, self.grid)
        """Uncorrected forecast on the grid, points, [G]."""
        self.known = {
            rate: vmaf for rate, vmaf in curve.known.items() if self.grid.min() <= rate <= self.grid.max()
        }
        """What the probes have measured of this very encoder and preset."""

    def corrected(self, trials: Measured) -> F64:
        """Forecast on the grid after probes and trials, points, [G].

        A trial at r multiplies the deficit (CEILING - VMAF) by what was measured over what was forecast; between
        two trials the logarithm of that ratio is interpolated, outside them the nearest holds. Deficits of one
        source are wrong by about the same factor, not by the same points, because VMAF saturates.
        """
        measured = self.known | trials
        if not measured:
            return self.mu
        rates = np.array(sorted(measured))
        ratios = [(CEILING - measured[float(r)]) / (CEILING - self._at(float(r))) for r in rates]
        log_ratio = np.interp(self.grid, rates, np.log(np.maximum(ratios, 1e-3)))
        curve: F64 = CEILING - (CEILING - self.mu) * np.exp(log_ratio)
        return self._pinned(np.minimum(curve, 100.0), measured)

    def lower(self, trials: Measured, margin: float) -> F64:
        """Corrected forecast minus margin on the grid, points, [G]."""
        bound: F64 = self.corrected(trials) - margin * self.weight(trials)
        return bound

    def choose(self, target: float, trials: Measured, margin: float) -> Choice:
        """The cheapest rate value whose lower curve meets `target`; see `Choice` if there is none."""
        mu, lower = self.corrected(trials), self.lower(trials, margin)
        meets = np.flatnonzero(lower >= target)
        index = int(meets[0]) if len(meets) else int(np.argmax(lower))
        return Choice(float(self.grid[index]), float(mu[index]), float(lower[index]), bool(len(meets)))

    def _at(self, rate_value: float) -> float:
        return float(self.mu[int(np.argmin(np.abs(self.grid - rate_value)))])

    def _pinned(self, values: F64, measured: Measured) -> F64:
        """The curve with measurements in it exactly, at their grid points."""
        for rate_value, vmaf in measured.items():
            values[int(np.argmin(np.abs(self.grid - rate_value)))] = vmaf
        return values

    def weight(self, trials: Measured) -> F64:
        """How much of the margin applies on the grid, [G].

        All of it where nothing was measured; at a trial none, growing to all over `REACH` of the trained range; at
        a rate value known from a probe likewise, but never under `KNOWN_FLOOR`.
        """
        weight = np.ones_like(self.grid)
        for rates, floor in ((list(self.known), KNOWN_FLOOR), (list(trials), 0.0)):
            for rate_value in rates:
                gap = np.abs(self.grid - rate_value) / (REACH * self._span)
                weight = np.minimum(weight, np.maximum(gap, floor))
        return weight


def trial_rate(forecaster: Forecaster, target: float, measured: Measured) -> float | None:
    """Where the next trial tells most: the cheapest rate value whose corrected forecast meets the target.

    None if that rate value is measured already, so that another trial would repeat it.
    """
    choice = forecaster.choose(target, measured, 0.0)
    if choice.rate_value not in measured:
        return choice.rate_value
    return None


def replay(
    curve: Curve, target: float, trials: int, *, forecaster: Forecaster | None = None
) -> tuple[Forecaster, Measured, F64]:
    """Simulate the trials on a curve whose truth is known.

    Returns:
      The forecaster, what its trials measured, and the truth on its grid, [G].
    """
    forecaster = forecaster or Forecaster(curve)
    truth = interpolate(curve.rate_values, monotone(forecaster.encoder, curve.truth), forecaster.grid)
    measured: Measured = {}
    for _ in range(trials):
        rate_value = trial_rate(forecaster, target, measured)
        if rate_value is None:
            break
        measured[rate_value] = float(truth[int(np.argmin(np.abs(forecaster.grid - rate_value)))])
    return forecaster, measured, truth


class Replays:
    """Choices on held-out curves at one target and number of trials, as functions of the margin."""

    def __init__(self, curves: Sequence[Curve], target: float, trials: int) -> None:
        self.groups = [curve.group for curve in curves]
        self._critical: list[tuple[F64, F64]] = []
        for curve in curves:
            forecaster, measured, truth = replay(curve, target, trials)
            self._critical.append(_steps(forecaster, measured, truth, target))

    def losses(self, margin: float) -> dict[str, tuple[float, int]]:
        """Loss and number of answered sources of each group that has any, at `margin`."""
        found: dict[str, list[bool]] = {}
        for group, (margins, missed) in zip(self.groups, self._critical, strict=True):
            index = int(np.searchsorted(margins, margin, side="left"))
            if index < len(margins):
                found.setdefault(group, []).append(bool(missed[index]))
        return {group: (float(np.mean(misses)), len(misses)) for group, misses in found.items()}

    def margins(self) -> F64:
        """Every margin at which some choice changes, ascending."""
        steps = [margins for margins, _ in self._critical if len(margins)]
        return np.unique(np.concatenate([np.zeros(1), *steps]))


def _steps(forecaster: Forecaster, measured: Measured, truth: F64, target: float) -> tuple[F64, F64]:
    """The choice as a step function of the margin.

    Returns:
      Ascending largest margins at which each successive choice still stands, [S], and whether that choice misses
      the target, [S]. Above the last one nothing qualifies.
    """
    slack = forecaster.corrected(measured) - target
    weight = forecaster.weight(measured)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.where(slack < 0, -1.0, np.where(weight > 0, slack / weight, np.inf))
    margins, missed = [], []
    highest = -1.0
    for index, value in enumerate(largest):  # cheapest first: a dearer one is chosen only above its reach
        if value > highest and value >= 0:
            margins.append(value)
            missed.append(float(truth[index] < target - 1e-9))
            highest = value
    return np.array(margins), np.array(missed)


def calibrate_margin(
    curves: Sequence[Curve], encoder: str, preset: str, *, target: float, confidence: float, trials: int
) -> Margin:
    """The smallest margin with which the choice misses `target` in at most 1 - `confidence` of new groups.

    Margins are tried from the largest down; the last before (sum of losses + 1) / (n + 1) exceeds 1 - confidence
    is taken, n being the groups with an answer at that margin. A group that gets no answer is neither a hit nor a
    miss: the promise is about encodes that are made.

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
    own = [c for c in curves if (c.encoder, c.preset) == (encoder, preset)]
    check_confidence(confidence, len({curve.group for curve in curves}))
    margin = _scan(own, target, confidence, trials, pooled=False)
    if margin is None:
        margin = _scan(curves, target, confidence, trials, pooled=True)
    if margin is None:
        n_groups = _n_answerable(curves, target, trials)
        raise ConfigError(
            f"no margin keeps the promise at target {target:g}: the {n_groups} calibration groups that reach it "
            f"support at most {max_confidence(n_groups):.3f}, not {confidence:g}",
            next_step="ask for less confidence or another target",
        )
    return margin


def _n_answerable(curves: Sequence[Curve], target: float, trials: int) -> int:
    return len(Replays(curves, target, trials).losses(0.0))


def _scan(
    curves: Sequence[Curve], target: float, confidence: float, trials: int, *, pooled: bool
) -> Margin | None:
    if not curves:
        return None
    replays = Replays(curves, target, trials)
    best: Margin | None = None
    for points in replays.margins()[::-1]:
        if points > MAX_MARGIN:
            continue
        losses = replays.losses(float(points))
        n_groups = len(losses)
        total = sum(loss for loss, _ in losses.values())
        within = (total + 1) / (n_groups + 1) <= 1 - confidence + 1e-12
        if within:
            best = Margin(float(points), n_groups, pooled, total / n_groups)
        elif best is not None:
            break
    return best


def cross_fitted_choices(
    curves: Sequence[Curve], encoder: str, preset: str, *, target: float, confidence: float, trials: int
) -> dict[str, list[tuple[Curve, Choice, float]]]:
    """Choices for each group with a margin calibrated on the other groups alone.

    Returns:
      For each group: its curves, the choice made, and the truth there (points). Groups for which no margin can be
      calibrated, or no rate value qualifies, have no entry for that source.
    """
    own = [c for c in curves if (c.encoder, c.preset) == (encoder, preset)]
    made: dict[str, list[tuple[Curve, Choice, float]]] = {}
    for group in sorted({curve.group for curve in own}):
        others = [curve for curve in curves if curve.group != group]
        try:
            margin = calibrate_margin(others, encoder, preset, target=target, confidence=confidence, trials=trials)
        except ConfigError:
            continue
        for curve in (c for c in own if c.group == group):
            forecaster, measured, truth = replay(curve, target, trials)
            choice = forecaster.choose(target, measured, margin.points)
            if choice.reachable:
                at = int(np.argmin(np.abs(forecaster.grid - choice.rate_value)))
                made.setdefault(group, []).append((curve, choice, float(truth[at])))
    return made
