"""Trial encodes that correct a forecast, and what a measured final encode says of the other rate values."""

import numpy as np

from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.promise.choice import Forecaster, Measured, trial_rate
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.probing import SourceProbes, Tried
from vmaf_assay.tune.request import TuneRequest


def make_trials(
    title: SourceProbes,
    forecaster: Forecaster,
    predicted: Forecast,
    encoder: tuple[EncoderInfo, str],
    request: TuneRequest,
    *,
    of: str = "",
) -> dict[float, Tried]:
    """As many trials as the request allows, fewer if one would repeat another.

    Args:
      title: the source, probed.
      forecaster: on the forecast; of a sampled source it remembers the trials.
      predicted: the forecast.
      encoder: and its preset.
      request: names target and number.
      of: for progress, which encoder, where there are several.

    Returns:
      By rate value, what each trial says of the whole source.
    """
    tried: dict[float, Tried] = {}
    for number in range(1, request.trials + 1):
        measured = {rate_value: trial.vmaf for rate_value, trial in tried.items()}
        rate_value = trial_rate(forecaster, request.target_vmaf, measured)
        if rate_value is None:
            break
        where = f"{of}{encoder[0].rate_mode} {rate_value:g}"
        what = f"trial {number} of {request.trials}, to correct the forecast: {where}"
        tried[rate_value] = title.try_out(forecaster, predicted, encoder, rate_value, what)
    return tried


def implied_rate(forecaster: Forecaster, target: float, missed: Measured) -> float | None:
    """The cheapest rate value that should meet the target, now that whole encodes were measured below it.

    The forecast is interpolated through what was measured. Only rate values of higher quality than every encode
    that missed are considered.

    Args:
      forecaster: on the forecast, without a sampling part.
      target: pooled VMAF wanted, points.
      missed: rate value -> pooled VMAF of an encode of every frame, below the target, points.

    Returns:
      None if no rate value of the trained range should do.
    """
    beyond = 1 + max(forecaster.at(rate_value) for rate_value in missed)  # the grid begins with the cheapest
    meeting = np.flatnonzero(forecaster.corrected(missed)[beyond:] >= target)
    return float(forecaster.grid[beyond + meeting[0]]) if len(meeting) else None
