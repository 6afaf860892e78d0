"""Trial encodes that correct a forecast, each where it tells most."""

from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.promise.choice import Forecaster, trial_rate
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.probing import Title, Tried
from vmaf_assay.tune.request import TuneRequest


def make_trials(
    title: Title,
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
