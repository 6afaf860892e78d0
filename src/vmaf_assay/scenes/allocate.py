"""Rate values for all scenes at once: the smallest file that meets a goal. Pure.

For the mean over frames this is Lagrange's method (Everett 1963; in video Shoham and Gersho 1988). Each scene
takes the rate value of the largest `score * frames - price * bytes`, at the price where the mean meets the target.
With a limit on the step between neighbours the same sum is made largest over the chain of scenes (Viterbi 1967).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Indices = NDArray[np.int64]

Goal = Literal["mean", "floor"]

_HALVINGS = 48
"""Halvings of the logarithm of the price; 40 of them reach one part in 10^9 of its range."""

_OVER_STEP = 1e6
"""Cost of a point over `max_step`, in points times frames: avoided where that is possible at all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What every scene has to keep to."""

    floor: float = 0.0
    """No scene is chosen below it, if it can be reached, points."""
    max_step: float | None = None
    """Most points between neighbouring scenes; None for no limit."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """A rate value for every scene."""

    chosen: Indices
    """Place of each scene's rate value in the table, [S]."""
    price: float
    """Points times frames that one byte is worth here; 0 where the best of everything is not enough."""
    reaches: bool
    """Whether the goal is met, by the table."""


def allocate_mean(
    score: F64, n_bytes: F64, n_frames: F64, target: float, limits: Limits, sure: F64 | None = None
) -> Allocation:
    """The smallest file whose mean over frames is at least the target.

    Args:
      score: of S scenes at R rate values, points, [S, R]. A scene that is fixed is the same everywhere.
      n_bytes: likewise.
      n_frames: of each scene, [S].
      target: mean wanted, points.
      limits: of each scene.
      sure: scores that are rather reached than missed, which the floor is compared with, [S, R]; None for `score`.

    Returns:
      Of all choices that some price gives, the cheapest that meets the target; the best one if none does.
    """
    open_ = _above_floor(score if sure is None else sure, limits.floor)
    gain = np.where(open_, score * n_frames[:, None], -np.inf)

    def at(price: float) -> Indices:
        return _largest(gain - price * n_bytes, score, limits.max_step)

    def mean(chosen: Indices) -> float:
        return float((score[np.arange(len(score)), chosen] * n_frames).sum() / n_frames.sum())

    best = at(0.0)
    if mean(best) < target:
        return Allocation(best, 0.0, reaches=False)
    low, high = _price_range(score, n_bytes, n_frames)
    if mean(cheapest := at(float(np.exp(high)))) >= target:
        return Allocation(cheapest, float(np.exp(high)), reaches=True)
    kept, price = at(float(np.exp(low))), float(np.exp(low))
    if mean(kept) < target:
        return Allocation(best, 0.0, reaches=True)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tried = at(float(np.exp(middle)))
        if mean(tried) >= target:
            kept, price, low = tried, float(np.exp(middle)), middle
        else:
            high = middle
    return Allocation(kept, price, reaches=True)


def allocate_floor(score: F64, target: float, limits: Limits) -> Allocation:
    """For every scene the cheapest rate value that meets the target, places being from the cheapest to the best.

    Neighbours over `max_step` apart are brought nearer by raising the lower one.
    """
    wanted = np.full(len(score), target)
    chosen = _cheapest(score, wanted)
    for _ in range(len(score)):
        chosen = _cheapest(score, wanted)
        if limits.max_step is None:
            break
        got = score[np.arange(len(score)), chosen]
        around = np.maximum(np.append(got[1:], -np.inf), np.append(-np.inf, got[:-1])) - limits.max_step
        if not (raised := np.maximum(wanted, around) > wanted + 1e-9).any():
            break
        wanted = np.where(raised, around, wanted)
    reached = score[np.arange(len(score)), chosen] >= target
    return Allocation(chosen, 0.0, reaches=bool(reached.all()))


def _above_floor(score: F64, floor: float) -> NDArray[np.bool_]:
    """Places not below the floor, [S, R]; of a scene that has none, the best one."""
    open_ = score >= floor
    none = ~open_.any(axis=1)
    open_[none, score.argmax(axis=1)[none]] = True
    made: NDArray[np.bool_] = open_
    return made


def _cheapest(score: F64, wanted: F64) -> Indices:
    """Of each scene the first place that reaches what is wanted, or the best one."""
    meets = score >= wanted[:, None]
    made: Indices = np.where(meets.any(axis=1), meets.argmax(axis=1), score.argmax(axis=1))
    return made


def _price_range(score: F64, n_bytes: F64, n_frames: F64) -> tuple[float, float]:
    """Logarithms of prices below and above every slope of the table."""
    rise = np.abs(np.diff(score, axis=1)) * n_frames[:, None]
    more = np.abs(np.diff(n_bytes, axis=1))
    slopes = rise[(rise > 0) & (more > 0)] / more[(rise > 0) & (more > 0)]
    if not slopes.size:
        return -30.0, 30.0
    return float(np.log(slopes.min())) - 2.0, float(np.log(slopes.max())) + 2.0


def _largest(worth: F64, score: F64, max_step: float | None) -> Indices:
    """The place of the largest worth of each scene; with a step, the chain of the largest sum."""
    plain: Indices = worth.argmax(axis=1)
    if max_step is None or len(worth) < 2:
        return plain
    got = score[np.arange(len(score)), plain]
    if np.all(np.abs(np.diff(got)) <= max_step):
        return plain
    steps = [np.abs(before[:, None] - after[None, :]) for before, after in pairwise(score)]
    kept = [np.where(step <= max_step, 0.0, -np.inf) for step in steps]
    least = [-_OVER_STEP * np.maximum(step - max_step, 0.0) for step in steps]
    # Where no chain keeps the step everywhere, the one that exceeds it least.
    found = (_chain(worth, joins) for joins in (kept, least))
    return next((chain for chain in found if chain is not None), plain)


def _chain(worth: F64, joins: Sequence[F64]) -> Indices | None:
    """Places of the largest sum of worths and joins, one a scene; None if every sum is minus infinity."""
    total = worth[0]
    came: list[Indices] = []
    for join, own in zip(joins, worth[1:], strict=True):
        joined = total[:, None] + join
        came.append(joined.argmax(axis=0))
        total = joined.max(axis=0) + own
    if not np.isfinite(total.max()):
        return None
    chain = [int(total.argmax())]
    for back in reversed(came):
        chain.append(int(back[chain[-1]]))
    return np.array(chain[::-1])
