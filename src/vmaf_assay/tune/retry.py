"""The rate value that a measured encode implies, where the encode missed its target."""

import numpy as np

from vmaf_assay.promise.choice import Curve, Forecaster, Measured


def implied_rate(curve: Curve, target: float, missed: Measured) -> float | None:
    """The cheapest rate value that should meet the target, now that whole encodes were measured below it.

    The forecast is interpolated through what was measured. Only rate values of higher quality than every encode
    that missed are considered.

    Args:
      curve: the forecast.
      target: pooled VMAF wanted, points.
      missed: rate value -> pooled VMAF of an encode of every frame, below the target, points.

    Returns:
      None if no rate value of the trained range should do.
    """
    forecaster = Forecaster(curve)
    beyond = 1 + max(forecaster.at(rate_value) for rate_value in missed)  # the grid begins with the cheapest
    meeting = np.flatnonzero(forecaster.corrected(missed)[beyond:] >= target)
    return float(forecaster.grid[beyond + meeting[0]]) if len(meeting) else None
