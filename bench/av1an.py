"""Av1an's target-quality search, ported, to be run beside `tune` on the same encodes.

From Av1an 0.5.2 (commit 7df934d), av1an-core/src/target_quality.rs: a band around the target, four probes at most,
interpolation between the probes that were made. A clip is one scene here, the statistic is the mean
(`--probing-stat mean`), and probes use the final encode's own arguments (`--probe-video-params copy`), so that it
aims at what the other searches aim at. Where an encoder is none of Av1an's, its range is the caller's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline

from ab_av1 import round_half_away

RANGES = {
    "libx264": (15.0, 35.0, 0.25),
    "libx265": (15.0, 35.0, 0.25),
    "libsvtav1": (15.0, 50.0, 1.0),
    "libaom-av1": (15.0, 55.0, 1.0),
    "libvpx-vp9": (15.0, 55.0, 1.0),
}
"""(lowest, highest, step) of the quantizer by encoder; newer SVT-AV1 takes quarters, the one of our ffmpeg not."""
PROBES = 4
BAND = 0.01
"""A target of 95 asks for 94.05 to 95.95."""


@dataclass
class Search:
    """How a search went."""

    rate_value: float
    """The rate value it ends with: a miss of the band is no error."""
    attempts: dict[float, float] = field(default_factory=dict)
    """Rate value -> VMAF, in the order they were made."""


def _at_target(attempts: dict[float, float], target: float) -> float | None:
    """Where a curve through two or three attempts meets the target; None if they do not say: then it is halved."""
    ordered = sorted((score, rate) for rate, score in attempts.items())
    scores, rates = (np.array(column) for column in zip(*ordered, strict=True))
    if len(scores) < 2 or np.any(np.diff(scores) <= 0) or not scores[0] <= target <= scores[-1]:
        return None
    if len(scores) == 2:
        return float(np.interp(target, scores, rates))
    return float(CubicSpline(scores, rates, bc_type="natural")(target))


def search(
    measure: Callable[[float], float],
    *,
    target: float,
    encoder: str,
    span: tuple[float, float, float] | None = None,
) -> Search:
    """Search for a rate value whose score lies in the band around the target.

    Args:
      measure: rate value -> VMAF.
      target: points.
      encoder: sets the range and the step, where `span` does not.
      span: (lowest, highest, step).
    """
    low, high, step = span or RANGES[encoder]
    worst, best = target * (1 - BAND), target * (1 + BAND)
    attempts: dict[float, float] = {}
    while True:
        found = _at_target(attempts, target) if attempts else None
        rate = min(max(round_half_away(((low + high) / 2 if found is None else found) / step) * step, low), high)
        if rate in attempts:
            break
        attempts[rate] = score = measure(rate)
        if worst <= score <= best or len(attempts) >= PROBES:
            break
        if score > best:
            low = min(rate + step, high)
        else:
            high = max(rate - step, low)
        if low > high:
            break
    inside = [rate for rate, score in attempts.items() if worst <= score <= best]
    nearest = min(attempts, key=lambda rate: abs(attempts[rate] - target))
    return Search(max(inside) if inside else nearest, attempts)
