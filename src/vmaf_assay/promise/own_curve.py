"""Curves from an encoder's own probes: for encoders, presets and options that no model was trained on. Pure.

A Gaussian process over the logarithm of the deficit (101 - VMAF) and the rate value's place in the declared range
is conditioned on encodes of this source with this encoder. Its prior, and the margin in units of its doubt, come
from `own_curve.json`: calibrated on the encoders of the corpus, each left out in turn (`promise/own_calibrate.py`,
ADR-0431). Replays and `tune` call the same functions.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.promise.choice import HEADROOM, Forecaster, Margin, Measured
from vmaf_assay.promise.sampling import Sampled
from vmaf_assay.records import MEAN_VMAF, Measurand

F64 = NDArray[np.float64]

OWN_PROBES = 2
"""Encodes with the encoder itself before any trial; fewer if the first meets the target exactly."""

FIRST_PLACE = 0.5
"""Place of the first probe in the declared range: 0 is the best quality, 1 the worst."""

MIDDLE = 0.55
"""Place that the prior's parabola is centred on; a convention, which changes no curve."""

_ABSENT = 1e9
"""Variance of an encode that was not made."""


class OwnPrior(BaseModel):
    """A Gaussian process over ln(101 - VMAF) by place."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: tuple[float, float, float]
    """Coefficients of a parabola in place - MIDDLE."""
    level: float
    """Variance of the level."""
    slope: float
    """Variance of the slope."""
    correlation: float
    """Of level and slope, in (-1, 1)."""
    rest: float
    """Variance of what a line does not explain."""
    length: float
    """Its length in places."""
    noise: float
    """Variance of one measurement."""

    def at(self, place: F64) -> F64:
        """The mean, same shape as `place`."""
        result: F64 = powers(place) @ np.array(self.mean)
        return result

    def kernel(self, one: F64, other: F64) -> F64:
        """Covariance of places [..., N] and [..., M], as [..., N, M]."""
        cross = self.correlation * np.sqrt(self.level * self.slope)
        block = np.array([[self.level, cross], [cross, self.slope]])
        line = powers(one)[..., :2] @ block @ np.swapaxes(powers(other)[..., :2], -1, -2)
        gap = np.square(one[..., :, None] - other[..., None, :])
        result: F64 = line + self.rest * np.exp(-0.5 * gap / self.length**2)
        return result

    def variance(self, place: F64) -> F64:
        """Prior variance at places, same shape."""
        x, cross = place - MIDDLE, self.correlation * np.sqrt(self.level * self.slope)
        result: F64 = self.level + 2 * x * cross + np.square(x) * self.slope + self.rest
        return result


class OwnMargin(BaseModel):
    """The calibrated margin at one confidence and number of trials."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    trials: int
    """After `OWN_PROBES` probes."""
    confidence: float
    """Nominal."""
    scale: float
    """Multiplies the curve's doubt, which is in points: the largest that any encoder left out needed."""
    n_groups: int
    """Fewest groups behind it of any encoder."""


class OwnJudged(BaseModel):
    """Hits of one encoder with a prior and a margin that never saw it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encoder: str
    """Left out."""
    trials: int
    """After `OWN_PROBES` probes."""
    confidence: float
    """Nominal."""
    scale: float
    """Margin used: the largest that any other encoder needed."""
    n_groups: int
    """Groups with an answer."""
    coverage: float
    """Mean over groups of the share of hits."""
    passed: bool
    """By the coverage policy's binomial bound, and not below the nominal confidence."""


class OwnCalibration(BaseModel):
    """`own_curve.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: int
    """1."""
    measurand: str
    """What the curves are of."""
    calibration_sha256: str
    """Digest of the forecast ensemble's calibration, whose measured curves it was computed from."""
    targets: tuple[float, ...]
    """Targets replayed, points."""
    prior: OwnPrior
    """Of all encoders."""
    margins: tuple[OwnMargin, ...]
    """By trials, then confidence, ascending."""
    judged: tuple[OwnJudged, ...]
    """Each encoder left out."""

    def passed(self, confidence: float, trials: int) -> bool:
        """Whether every encoder left out passed at a confidence and number of trials."""
        found = [one for one in self.judged if one.confidence >= confidence - 1e-12 and one.trials == trials]
        least = min((one.confidence for one in found), default=None)
        return least is not None and all(one.passed for one in found if one.confidence == least)

    def margin(self, *, target: float, confidence: float, trials: int) -> Margin:
        """The margin at the next confidence that was calibrated; above all of them, the largest."""
        known = [one for one in self.margins if one.trials == trials]
        fit = next((one for one in known if one.confidence >= confidence - 1e-12), known[-1])
        return Margin(fit.scale, fit.n_groups, True, 1 - fit.confidence, target)


@cache
def own_calibration() -> OwnCalibration:
    """The calibration shipped with this release. Raises IntegrityError if it is not readable."""
    data = resources.files("vmaf_assay.promise").joinpath("own_curve.json").read_bytes()
    try:
        return OwnCalibration.model_validate_json(data)
    except ValueError as error:
        raise IntegrityError(f"own_curve.json: {error}", next_step="install the package again") from error


def powers(place: F64) -> F64:
    """1, x and x squared of x = place - MIDDLE, on a new last axis."""
    x = place - MIDDLE
    return np.stack([np.ones_like(x), x, np.square(x)], axis=-1)


def places(info: EncoderInfo, rate_values: F64) -> F64:
    """Places of rate values in the declared range: 0 is the best quality, 1 the worst.

    A rate value that is a quantiser's step counts by its logarithm, as CRF, CQ and QP do by themselves. AV1's
    index counts by the logarithm of the step that it stands for.
    """
    ends = np.array([info.rate_min, info.rate_max])
    values = np.asarray(rate_values, dtype=np.float64)
    if info.av1_index:
        ends, values = _av1_log_step(ends), _av1_log_step(values)
    if info.linear_step:
        ends, values = np.log(ends), np.log(values)
    place: F64 = (values - ends[0]) / (ends[1] - ends[0])
    return place if info.lower_is_better else 1 - place


def _av1_log_step(index: F64) -> F64:
    """Logarithm of AV1's AC step at an index, 8 bit: the step grows by 1 up to 102 at 95, then evenly to 1828."""
    least, most = np.log(102), np.log(1828)
    made: F64 = np.log(np.minimum(index, 95) + 7) + (most - least) / 160 * np.maximum(index - 95, 0)
    return made


def own_grid(info: EncoderInfo) -> F64:
    """Every rate value that may be chosen, cheapest first: the declared range at the encoder's step."""
    count = int(np.floor((info.rate_max - info.rate_min) / info.rate_step + 1e-9)) + 1
    grid = np.round(info.rate_min + info.rate_step * np.arange(count), 4)
    return grid[::-1] if info.lower_is_better else grid


@dataclass(frozen=True, slots=True)
class Made:
    """Encodes of B sources with one encoder, up to n of each."""

    index: NDArray[np.int64]
    """Where on the grid, [B, n]; -1 where none was made."""
    vmaf: F64
    """Pooled, points, [B, n]."""

    @property
    def there(self) -> NDArray[np.bool_]:
        """Whether each was made, [B, n]."""
        there: NDArray[np.bool_] = self.index >= 0
        return there


def curves_through(prior: OwnPrior, at: F64, made: Made, measurand: Measurand = MEAN_VMAF) -> tuple[F64, F64]:
    """Each source's curve and its doubt.

    Args:
      prior: the Gaussian process.
      at: places of the grid, cheapest first, [G].
      made: what was measured of B sources.
      measurand: its metric gives ceiling and roughness.

    Returns:
      VMAF and its standard deviation, points, [B, G]. Where an encode was made, what was measured, without doubt.
    """
    metric = measurand.metric
    zero = metric.ceiling + HEADROOM
    there, measured = made.there, np.minimum(made.vmaf, metric.ceiling)
    place = at[np.maximum(made.index, 0)]
    noise = np.where(there, prior.noise, _ABSENT)
    covariance = prior.kernel(place, place) + noise[:, :, None] * np.eye(place.shape[1])
    cross = prior.kernel(np.broadcast_to(at, (len(place), len(at))), place)
    off = np.where(there, np.log(zero - measured) - prior.at(place), 0.0)
    mean = prior.at(at) + np.einsum("bgn,bn->bg", cross, np.linalg.solve(covariance, off[..., None])[..., 0])
    known = np.einsum("bgn,bng->bg", cross, np.linalg.solve(covariance, np.swapaxes(cross, 1, 2)))
    spread = np.sqrt(np.maximum(prior.variance(at) - known, 1e-9))
    mean = np.minimum.accumulate(mean, axis=1)  # a dearer encode is no worse
    deficit = np.exp(np.minimum(mean, np.log(zero - metric.floor)))
    vmaf, doubt = np.minimum(zero - deficit, metric.ceiling), np.hypot(deficit * spread, metric.roughness)
    source, number = np.nonzero(there)
    where = made.index[source, number]
    vmaf[source, where], doubt[source, where] = measured[source, number], 0.0
    return vmaf, doubt


def first_index(at: F64) -> int:
    """Where on the grid the first probe is made."""
    return int(np.argmin(np.abs(at - FIRST_PLACE)))


def next_index(vmaf: F64, target: float) -> NDArray[np.int64]:
    """Where each source's next encode is made on the grid: the cheapest that should meet the target.

    Where none should, that of the best quality.

    Args:
      vmaf: curves so far, cheapest first, points, [B, G].
      target: points.
    """
    meets = vmaf >= target
    index: NDArray[np.int64] = np.where(meets.any(axis=1), np.argmax(meets, axis=1), vmaf.shape[1] - 1)
    return index


class OwnForecaster(Forecaster):
    """A curve through encodes of this source with this encoder, on the grid of its declared range."""

    def __init__(
        self, info: EncoderInfo, prior: OwnPrior, known: Measured, measurand: Measurand = MEAN_VMAF
    ) -> None:
        self.encoder, self.metric = info, measurand.metric
        self.grid = own_grid(info)
        self.known = dict(known)
        """What the probes measured."""
        self._prior, self._measurand = prior, measurand
        self._at = places(info, self.grid)
        self.mu = self._curve({})[0]

    def corrected(self, trials: Measured) -> F64:
        """The curve on the grid after trials, points, [G]."""
        return self._curve(trials)[0]

    def weight(self, trials: Measured) -> F64:
        """Doubt of the curve on the grid, points, [G]; zero where an encode was measured."""
        return self._curve(trials)[1]

    def tried(self, trials: Measured) -> NDArray[np.bool_]:
        """Whether an encode was measured there, [G]: own probes are made like trials."""
        return super().tried(self.known | trials)

    def _curve(self, trials: Measured) -> tuple[F64, F64]:
        measured = self.known | trials
        made = Made(
            np.array([[self.at(rate) for rate in measured]], dtype=np.int64).reshape(1, -1),
            np.array([list(measured.values())], dtype=np.float64).reshape(1, -1),
        )
        vmaf, doubt = curves_through(self._prior, self._at, made, self._measurand)
        return vmaf[0], doubt[0]


class SampledOwnForecaster(Sampled, OwnForecaster):
    """The curve of a title through encodes of its segments, with the sampling part of the bound."""

    def __init__(
        self,
        info: EncoderInfo,
        prior: OwnPrior,
        segments: list[Measured],
        weights: F64,
        n_units: int,
        *,
        confidence: float,
        measurand: Measurand = MEAN_VMAF,
    ) -> None:
        """From what was measured of each segment.

        Args:
          info: the encoder.
          prior: the Gaussian process.
          segments: of N segments, rate value -> pooled VMAF, points; the same rate values for all.
          weights: frames of each, [N].
          n_units: units that the title was divided into.
          confidence: asked for, in (0, 1).
          measurand: what was measured.
        """
        less, share = info.segment_allowance, weights / weights.sum()
        known = {
            rate: max(float(share @ [one[rate] for one in segments]) - less, measurand.metric.floor)
            for rate in segments[0]
        }
        OwnForecaster.__init__(self, info, prior, known, measurand)
        each = [OwnForecaster(info, prior, one, measurand).mu for one in segments]
        self.sample_of(np.stack(each), weights, n_units, confidence=confidence, allowance=less)


def next_own_rate(forecaster: OwnForecaster, target: float, measured: Measured) -> float | None:
    """Rate value of the next own probe; None if it was measured already."""
    if not forecaster.known and not measured:
        return float(forecaster.grid[first_index(places(forecaster.encoder, forecaster.grid))])
    index = int(next_index(forecaster.corrected(measured)[None], target)[0])
    rate = float(forecaster.grid[index])
    return None if rate in forecaster.known | measured else rate
