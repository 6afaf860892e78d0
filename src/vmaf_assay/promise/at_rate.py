"""A bound of quality at every rate value by itself, for a choice that was not made by quality. Pure."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.model.sidecar import Calibration, ChoiceCalibration
from vmaf_assay.promise.choice import F64, Curve, Forecaster, Measured, interpolate, monotone
from vmaf_assay.promise.conformal import check_confidence, hcp_interval
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.sampling import SampledForecaster


def quality_bounds(
    calibration: Calibration,
    forecaster: Forecaster,
    preset: str,
    measured: Measured,
    confidence: float,
    *,
    more_probes: bool = False,
) -> tuple[F64, int]:
    """Lower bound of pooled VMAF on the grid, points, [G], and the groups behind it.

    Each held-out forecast is corrected by its own truth at the rate values that were measured, as this one is by
    its trials. What is left at a rate value is its residual; the bound is the quantile over groups.

    Args:
      calibration: held-out curves of a forecast.
      forecaster: of this source.
      preset: of its encoder.
      measured: trials of this source.
      confidence: of the bound at each rate value, in (0, 1).
      more_probes: whether further probes correct the forecast.

    Raises:
      ConfigError: more confidence than the groups allow.
    """
    assert isinstance(calibration, ChoiceCalibration)  # `make_plan` refuses others
    curves = curves_of(calibration, more_probes=more_probes)
    own = _own(curves, forecaster.encoder.name, preset)
    groups = sorted({curve.group for curve in own})
    check_confidence(confidence, len(groups))
    left = [_left(curve, forecaster.grid, sorted(measured)) for curve in own]
    by_group = [
        np.stack([row for row, curve in zip(left, own, strict=True) if curve.group == group]) for group in groups
    ]
    quantile = np.array(
        [
            hcp_interval([rows[:, index] for rows in by_group], confidence).lower
            for index in range(len(forecaster.grid))
        ]
    )
    rough = max(0.0, float(ndtri(confidence))) * forecaster.metric.roughness
    off = np.hypot(np.minimum(quantile, 0.0), rough)
    if isinstance(forecaster, SampledForecaster):
        off = np.hypot(off, forecaster.sampling_part(measured))
    else:
        off = np.where(forecaster.tried(measured), 0.0, off)
    return forecaster.corrected(measured) - off, len(groups)


def _own(curves: Sequence[Curve], encoder: str, preset: str) -> list[Curve]:
    presets = {curve.preset for curve in curves if curve.encoder == encoder}
    around = encoder_info(encoder).neighbours(preset, presets)
    return [curve for curve in curves if curve.encoder == encoder and curve.preset in around]


def _left(curve: Curve, grid: F64, rates: Sequence[float]) -> F64:
    """Smooth truth minus corrected forecast of a held-out curve at the rate values of a grid, points, [G]."""
    one = Forecaster(curve)
    truth = interpolate(curve.rate_values, monotone(one.encoder, curve.truth), one.grid)
    residual = truth - one.corrected({float(one.grid[one.at(rate)]): float(truth[one.at(rate)]) for rate in rates})
    return (
        np.interp(grid, one.grid[::-1], residual[::-1])
        if one.grid[0] > one.grid[-1]
        else np.interp(grid, one.grid, residual)
    )
