"""ab-av1's CRF search, ported, to be replayed on curves whose truth is known.

From ab-av1 v0.11.7 (commit 18c2c02), src/command/crf_search.rs:251-412,548-562. One difference: there a failed
search ends in an error, here in None with the attempts made. tests/bench/test_ab_av1.py holds it to real traces.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

DEFAULTS = {
    "libx264": (10.0, 46.0, 0.1),
    "libx265": (10.0, 46.0, 0.1),
    "libsvtav1": (5.0, 70.0, 0.25),
    "librav1e": (10.0, 255.0, 1.0),
    "mpeg2video": (2.0, 30.0, 1.0),
}
"""(lowest CRF, highest CRF, step) by encoder; see `OTHERS`."""

OTHERS = (10.0, 55.0, 1.0)
"""The same for any other encoder, libvpx-vp9 included."""


@dataclass(frozen=True)
class Attempt:
    """One sample encode."""

    q: int
    """Place on the integer grid, larger = cheaper."""
    score: float
    """VMAF, points."""
    percent: float
    """Encoded size, percent of the source's."""


@dataclass
class Search:
    """How a search went."""

    rate_value: float | None
    """CRF found, None if it failed."""
    attempts: list[Attempt] = field(default_factory=list)
    """Encodes spent, in order."""


def round_half_away(value: float) -> int:
    """Rust's f32::round."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def lerp(worse: Attempt, better: Attempt, target: float) -> int:
    """Where the line through two attempts meets the target, strictly between them."""
    share = (target - worse.score) / (better.score - worse.score)
    q = round_half_away(worse.q - (worse.q - better.q) * share)
    return min(max(q, better.q + 1), worse.q - 1)


def search(
    measure: Callable[[float], tuple[float, float]],
    *,
    target: float = 95.0,
    encoder: str = "libsvtav1",
    rate_min: float | None = None,
    rate_max: float | None = None,
    rate_step: float | None = None,
    max_percent: float = 80.0,
    thorough: bool = False,
) -> Search:
    """Search for a CRF whose score is above the target.

    Args:
      measure: CRF -> (VMAF, size in percent of the source).
      target: `--min-vmaf`.
      encoder: sets the step, and the range where none is given.
      rate_min: `--min-crf`.
      rate_max: `--max-crf`.
      rate_step: `--crf-increment`.
      max_percent: `--max-encoded-percent`.
      thorough: `--thorough`.
    """
    low, high, step = DEFAULTS.get(encoder, OTHERS)
    step = rate_step or step
    q_min = round_half_away((low if rate_min is None else rate_min) / step)
    q_max = round_half_away((high if rate_max is None else rate_max) / step)
    cut = (q_max - q_min) * step > 0.5 * (high - low)
    q, attempts = int((q_min + q_max) / 2), []
    while True:
        run = len(attempts) + 1
        tolerance = 0.05 if thorough else max(0.1, 0.1 * min(step, 1.0) * 2 ** (run - 1))
        now = Attempt(q, *measure(q * step))
        attempts.append(now)
        small_enough = now.percent <= max_percent
        if now.score > target:
            step_to = _after_pass(now, attempts, q_max, cut, target, small_enough, tolerance)
        else:
            step_to = _after_miss(now, attempts, q_min, cut, target, small_enough, max_percent)
        if not isinstance(step_to, int):
            return Search(None if step_to is None else step_to.q * step, attempts)
        q = step_to


def _after_pass(
    now: Attempt,
    attempts: list[Attempt],
    q_max: int,
    cut: bool,
    target: float,
    small_enough: bool,
    tolerance: float,
) -> int | Attempt | None:
    """The next q, or the attempt that is the answer, or None for failure."""
    if small_enough and now.score < target + tolerance:
        return now
    upper = min((a for a in attempts if a.q > now.q), key=lambda a: a.q, default=None)
    if upper is not None:
        if upper.q == now.q + 1:
            return now if small_enough else None
        return lerp(upper, now, target)
    if now.q == q_max:
        return now if small_enough else None
    if cut and len(attempts) == 1 and now.q + 1 < q_max:
        return round_half_away(0.4 * now.q + 0.6 * q_max)
    return q_max


def _after_miss(
    now: Attempt,
    attempts: list[Attempt],
    q_min: int,
    cut: bool,
    target: float,
    small_enough: bool,
    max_percent: float,
) -> int | Attempt | None:
    """The next q, or the attempt that is the answer, or None for failure."""
    if not small_enough or now.q == q_min:
        return None
    lower = max((a for a in attempts if a.q < now.q), key=lambda a: a.q, default=None)
    if lower is not None:
        if lower.q + 1 == now.q:
            return lower if lower.percent <= max_percent else None
        return lerp(now, lower, target)
    if cut and len(attempts) == 1 and now.q > q_min + 1:
        return round_half_away(0.4 * now.q + 0.6 * q_min)
    return q_min
