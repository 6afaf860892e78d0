"""Bitrates at equal quality, interpolated between measured encodes on both sides of it. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vmaf_assay.promise.choice import Forecaster


class MeasuredPoint(NamedTuple):
    """An encode of every frame, measured."""

    rate_value: float
    """On the encoder's own scale."""
    vmaf: float
    """Pooled VMAF, points."""
    kbps: float
    """Bitrate."""


def kbps_at_equal(points: Sequence[MeasuredPoint], target: float) -> float | None:
    """The bitrate at exactly `target`, interpolated between the nearest encodes on either side of it.

    The logarithm of the bitrate is linear in VMAF between the two.

    >>> made = [MeasuredPoint(30, 90.0, 100.0), MeasuredPoint(26, 94.0, 400.0)]
    >>> round(kbps_at_equal(made, 92.0) or 0, 6)
    200.0

    Returns:
      None without an encode on each side.
    """
    above = min((one for one in points if one.vmaf >= target), key=lambda one: one.vmaf, default=None)
    below = max((one for one in points if one.vmaf < target), key=lambda one: one.vmaf, default=None)
    if above is None:
        return None
    if above.vmaf == target:
        return above.kbps
    if below is None:
        return None
    share = (target - below.vmaf) / (above.vmaf - below.vmaf)
    return float(np.exp((1 - share) * np.log(below.kbps) + share * np.log(above.kbps)))


def next_rate(forecaster: Forecaster, target: float, points: Sequence[MeasuredPoint]) -> float | None:
    """The rate value to measure next, so that there is an encode on each side of `target`.

    Args:
      forecaster: of the forecast, without a sampling part.
      target: pooled VMAF, points.
      points: what has been measured, one or more.

    Returns:
      The rate value nearest to the target, by the forecast interpolated through `points`. None if each side has an
      encode already, or the other side has no rate value left.
    """
    above = [one.vmaf >= target for one in points]
    if any(above) and not all(above):
        return None
    mu = forecaster.corrected({one.rate_value: one.vmaf for one in points})
    at = [forecaster.at(one.rate_value) for one in points]
    grid = np.arange(len(mu))  # the cheapest rate value first
    if all(above):
        side = grid[: min(at)]
        wanted = side[mu[side] < target][::-1]
    else:
        side = grid[max(at) + 1 :]
        wanted = side[mu[side] >= target]
    return float(forecaster.grid[wanted[0]]) if len(wanted) else None
