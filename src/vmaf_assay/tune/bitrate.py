"""The forecast of a bitrate with its interval, over the rate values that may be chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.bitrate import BitrateBounds, bitrate_bounds
from vmaf_assay.promise.choice import Forecaster
from vmaf_assay.promise.sampling import mean_variance, student, weighted_mean
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.probing import Tried

F64 = NDArray[np.float64]


class Kbps(NamedTuple):
    """A bitrate at one rate value, kbps; all three are equal where it was measured."""

    forecast: float | None
    """None if the model forecasts none."""
    low: float | None
    """The bitrate is at least this with the confidence asked; None if nothing is calibrated."""
    high: float | None
    """The bitrate is at most this, likewise."""


@dataclass(frozen=True, slots=True)
class KbpsForecast:
    """Bitrates of one source with one encoder and preset."""

    predicted: Forecast
    """The forecast, with the measured bitrates of probes and trials."""
    bounds: BitrateBounds | None
    """Calibrated; None if this encode is not of the calibrated kind."""
    confidence: float
    """Of each side, in (0, 1)."""
    grid: F64
    """Rate values that may be chosen, cheapest first, [G]."""
    tried: dict[float, float] = field(default_factory=dict)
    """Rate value -> bitrate of a trial, kbps."""

    @classmethod
    def of(
        cls,
        sidecar: Sidecar,
        encoder: EncoderInfo,
        predicted: Forecast,
        forecaster: Forecaster,
        confidence: float,
        tried: Mapping[float, Tried],
    ) -> "KbpsForecast":
        """From a forecast and trials; nothing is calibrated of a source that is not supported, nor of own options.

        Args:
          sidecar: of the ensemble that forecast.
          encoder: its entry, with the user's options.
          predicted: the forecast, before the trials.
          forecaster: on it.
          confidence: of each side, in (0, 1).
          tried: rate value -> what a trial says of the whole source.
        """
        preset, grid = predicted.curve.preset, forecaster.grid
        calibrated = predicted.supported and not encoder.extra_args
        bounds = bitrate_bounds(sidecar, encoder, preset, grid) if calibrated else None
        kbps = {rate_value: trial.kbps for rate_value, trial in tried.items()}
        predicted = replace(predicted, known_kbps=predicted.known_kbps | kbps)
        return cls(predicted, bounds, confidence, grid, kbps)

    def with_trial(self, rate_value: float, kbps: float) -> "KbpsForecast":
        """With the bitrate of one more trial."""
        known = self.predicted.known_kbps | {rate_value: kbps}
        predicted = replace(self.predicted, known_kbps=known)
        return replace(self, predicted=predicted, tried=self.tried | {rate_value: kbps})

    @property
    def sampled(self) -> bool:
        """Whether only segments of the source were encoded, so that a trial is an estimate."""
        return bool(self.predicted.segments)

    @property
    def measured(self) -> dict[float, float]:
        """Rate value -> bitrate of an encode of every frame with this encoder and preset, kbps."""
        low, high = sorted((float(self.grid[0]), float(self.grid[-1])))
        known = {} if self.sampled else self.predicted.known_kbps
        return {rate: kbps for rate, kbps in known.items() if low <= rate <= high}

    @property
    def middle(self) -> F64:
        """ln(kbps) of the corrected forecast on the grid, [G]."""
        with np.errstate(invalid="ignore"):
            ln_kbps: F64 = np.log(self.predicted.kbps_at(self.grid))
        return ln_kbps

    def sides(self) -> tuple[F64, F64] | None:
        """ln(kbps) of the lower and the upper bound on the grid, [G] each; None if nothing is calibrated.

        Of a sampled source the sampling error of the mean over segments is added, as independent errors are. The
        error of a trial's own sample is not in it, so such a bound is not promised.
        """
        if self.bounds is None or not np.isfinite(self.middle).all():
            return None
        exact = () if self.sampled else self.tried
        own = {*self.predicted.known_kbps} - {*self.tried}
        try:
            low, high = self.bounds.offsets(own | {*exact}, exact, self.confidence)
        except ConfigError:
            return None  # more confidence than the groups allow
        part = self._sampling_part()
        return self.middle - np.hypot(low, part), self.middle + np.hypot(high, part)

    def _sampling_part(self) -> F64:
        """Sampling error of ln(kbps) at the confidence, on the grid, [G]."""
        if not self.sampled:
            return np.zeros(len(self.grid))
        each = np.stack([segment.kbps_at(self.grid) for segment in self.predicted.segments])
        weights = self.predicted.weights
        left = 1 - len(each) / self.predicted.n_units
        error = np.sqrt(left * mean_variance(each, weights, neighbours=True)) / weighted_mean(each, weights)
        part: F64 = student(self.confidence, len(each) - 1) * error
        return part

    def at(self, rate_values: list[float]) -> list[Kbps]:
        """Forecast and interval at some rate values of the grid."""
        sides, middle = self.sides(), self.predicted.kbps_at(np.array(rate_values))
        return [self._one(rate, float(kbps), sides) for rate, kbps in zip(rate_values, middle, strict=True)]

    def _one(self, rate_value: float, kbps: float, sides: tuple[F64, F64] | None) -> Kbps:
        if rate_value in self.tried and not self.sampled:
            return Kbps(*(3 * (self.tried[rate_value],)))
        if not np.isfinite(kbps):
            return Kbps(None, None, None)
        if sides is None:
            return Kbps(kbps, None, None)
        index = int(np.argmin(np.abs(self.grid - rate_value)))
        # The forecast off the grid is not the one the bounds are around, by a rounding of the rate value.
        low, high = (float(np.exp(side[index])) for side in sides)
        return Kbps(kbps, min(low, kbps), max(high, kbps))
