"""Bounds of a bitrate that was forecast, calibrated on groups that the forecast never saw. Pure: no encodes.

The residual of a held-out source at a rate value is ln(measured / forecast). A forecast is corrected by the
bitrates of probes and trials of the same encoder and preset (`tune.forecast.Forecast.kbps_at`). So each held-out
residual is corrected by its own value at those rate values. The bound at a rate value is the quantile of what is
left there, with the group as the unit of exchangeability (`conformal.hcp_interval`).

A bound holds at each rate value by itself. A choice among them depends on the source's own forecast, so the
promise for the chosen one rests on choices replayed with each group left out (docs/results/bitrate.md).

The file of held-out bitrates that ships with the models, and whether it is of an ensemble at hand.

It is made by `scripts/write_bitrate_calibration.py` from the corpus. It names the corpus and the bitrate model by
digest; of another ensemble it says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.choice import interpolate
from vmaf_assay.promise.conformal import check_confidence

F64 = NDArray[np.float64]

ROUGHNESS = 0.05
"""Error of ln(kbps) between rate values that were measured: the root mean square distance of whole rate values
from PCHIP through the trained ones. It is 0.004 to 0.014 for three clips. For a fourth, which begins black, it is
0.011 (libx265) to 0.11 (libvpx-vp9) (`bench/bitrate_hits.py roughness`, 2026-12-01)."""

REPEAT = 0.0005
"""Error of ln(kbps) where the final encode repeats a trial. A file holds lengths where the encoder's own stream
has start codes, and some of those are a byte shorter: 1 of 8,315 bytes for libx264 (ffmpeg n9.0.2, 2026-12-01)."""


@dataclass(frozen=True, slots=True)
class HeldOutRates:
    """Residuals of one source with one encoder and preset, forecast without its group."""

    group: str
    """What must not be split."""
    source: str
    preset: str
    rate_values: F64
    """Rate values measured, ascending, [R]."""
    residuals: F64
    """ln(measured / forecast), [R]."""


@dataclass(frozen=True, slots=True)
class BitrateBounds:
    """Held-out residuals of one encoder and preset on a grid of rate values."""

    grid: F64
    """Rate values, cheapest first, [G]."""
    residuals: F64
    """ln(measured / forecast) of C held-out sources, [C, G]."""
    groups: tuple[str, ...]
    """Group of each, [C]."""

    @property
    def n_groups(self) -> int:
        """Groups calibrated on."""
        return len(set(self.groups))

    def offsets(self, known: Iterable[float], exact: Iterable[float], confidence: float) -> tuple[F64, F64]:
        """What to add to ln(kbps) of the corrected forecast for its lower and its upper bound, [G] each.

        Args:
          known: rate values whose bitrate is known of this source: own probes and trials.
          exact: those of them where the final encode is the same bytes as the one measured.
          confidence: of each side by itself, in (0, 1).

        Raises:
          ConfigError: more confidence than the groups allow.
        """
        check_confidence(confidence, self.n_groups)
        left = self._corrected(sorted({*known}))
        upper = self._quantile(left, confidence)
        lower = -self._quantile(-left, confidence)
        free = ~np.isin(self.grid, self.grid[[self._at(rate) for rate in exact]])
        rough = np.where(free, ROUGHNESS, REPEAT)
        return -np.hypot(np.minimum(lower, 0.0) * free, rough), np.hypot(np.maximum(upper, 0.0) * free, rough)

    def without(self, group: str) -> "BitrateBounds":
        """The bounds that the other groups give."""
        keep = [index for index, one in enumerate(self.groups) if one != group]
        return BitrateBounds(self.grid, self.residuals[keep], tuple(self.groups[index] for index in keep))

    def _at(self, rate_value: float) -> int:
        return int(np.argmin(np.abs(self.grid - rate_value)))

    def _corrected(self, known: Sequence[float]) -> F64:
        """Residuals after the correction of `Forecast.kbps_at`, by each source's own residuals there."""
        if not known:
            return self.residuals
        there = self.residuals[:, [self._at(rate) for rate in known]]
        return np.stack(
            [row - np.interp(self.grid, known, at) for row, at in zip(self.residuals, there, strict=True)]
        )

    def _quantile(self, values: F64, confidence: float) -> F64:
        """Of each column, the least value with mass `confidence` at or below it; weights as in `hcp_interval`."""
        names = np.array(self.groups)
        sizes = {group: int((names == group).sum()) for group in set(self.groups)}
        weights = np.array([1 / ((len(sizes) + 1) * sizes[group]) for group in self.groups])
        order = np.argsort(values, axis=0, kind="stable")
        reached = (np.cumsum(weights[order], axis=0) >= confidence - 1e-9).argmax(axis=0)
        found: F64 = np.take_along_axis(values, order, axis=0)[reached, np.arange(values.shape[1])]
        return found


def bounds_of(
    curves: Sequence[HeldOutRates], encoder: EncoderInfo, preset: str, grid: F64
) -> BitrateBounds | None:
    """The bounds of one encoder and preset; of the presets on both sides of one that was not measured.

    Args:
      curves: held-out residuals of this encoder.
      encoder: its entry.
      preset: its preset.
      grid: rate values that may be chosen, cheapest first, [G].

    Returns:
      None if there are no such curves.
    """
    around = encoder.neighbours(preset, {curve.preset for curve in curves})
    own = [curve for curve in curves if curve.preset in around]
    if not own:
        return None
    residuals = np.stack([_on_grid(curve, grid) for curve in own])
    return BitrateBounds(grid, residuals, tuple(curve.group for curve in own))


def _on_grid(curve: HeldOutRates, grid: F64) -> F64:
    if len(curve.rate_values) == 1:
        return np.full(len(grid), curve.residuals[0])
    return interpolate(curve.rate_values, curve.residuals, grid)


def next_trial(grid: F64, ln_kbps: F64, limit_kbps: float, tried: Iterable[float]) -> float | None:
    """Rate value of the next trial for a bitrate: the best quality whose corrected forecast is within the limit.

    Args:
      grid: rate values, cheapest first, [G].
      ln_kbps: corrected forecast there, [G].
      limit_kbps: the bitrate allowed, kbps.
      tried: rate values tried already.

    Returns:
      None if it is tried already; the cheapest if none is within.
    """
    rate_value = float(grid[_last_within(ln_kbps, limit_kbps) or 0])
    return None if rate_value in {*tried} else rate_value


def best_within(grid: F64, ln_upper: F64, limit_kbps: float) -> float | None:
    """The rate value of best quality whose bound is within the limit; None if there is none.

    Args:
      grid: rate values, cheapest first, [G].
      ln_upper: upper bound of ln(kbps) there, [G].
      limit_kbps: the bitrate allowed, kbps.
    """
    index = _last_within(ln_upper, limit_kbps)
    return None if index is None else float(grid[index])


def _last_within(ln_kbps: F64, limit_kbps: float) -> int | None:
    within = np.flatnonzero(ln_kbps <= np.log(limit_kbps) + 1e-12)
    return int(within[-1]) if len(within) else None


NAME = "bitrate_held_out.json"


class SourceResiduals(BaseModel):
    """One source with one encoder and preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    group: str
    """What must not be split."""
    source: str
    rate_values: list[float]
    """Rate values measured, ascending, [R]."""
    residuals: list[float]
    """ln(measured / forecast) by a model fitted without the group, [R]."""


Curves = dict[str, list[SourceResiduals]]
"""By `encoder|preset`, sorted by group and source."""


class BitrateCalibration(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    schema_version: Literal[2] = 2
    """Major version of this file's schema."""
    corpus_digest: str
    """The corpus whose encodes are measured."""
    models: dict[str, Curves]
    """By digest of the bitrate model in an ensemble's sidecar, as canonical JSON."""


def bitrate_digest(model: Mapping[str, Any]) -> str:
    """SHA-256 of a sidecar's bitrate model."""
    return sha256_bytes(canonical_json(dict(model)))


@lru_cache
def shipped_calibration() -> BitrateCalibration:
    """The file that ships; raises IntegrityError if it is damaged."""
    data = resources.files("vmaf_assay.promise").joinpath(NAME).read_bytes()
    try:
        return BitrateCalibration.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{NAME} is damaged", next_step="install vmaf-assay again") from error


def calibration_of(sidecar: Sidecar) -> Curves | None:
    """What ships for an ensemble's bitrate model, or None if nothing does."""
    file = shipped_calibration()
    if sidecar.bitrate is None or file.corpus_digest != sidecar.corpus_digest:
        return None
    return file.models.get(bitrate_digest(sidecar.bitrate))


def bitrate_bounds(sidecar: Sidecar, encoder: EncoderInfo, preset: str, grid: F64) -> BitrateBounds | None:
    """Calibrated bounds for an encoder and preset, or None if nothing is calibrated of this ensemble.

    Args:
      sidecar: of the ensemble that forecasts.
      encoder: its entry.
      preset: its preset.
      grid: rate values that may be chosen, cheapest first, [G].
    """
    calibrated = calibration_of(sidecar)
    if calibrated is None:
        return None
    curves = [
        HeldOutRates(
            one.group, one.source, key.partition("|")[2], np.array(one.rate_values), np.array(one.residuals)
        )
        for key, sources in calibrated.items()
        if key.partition("|")[0] == encoder.name
        for one in sources
    ]
    return bounds_of(curves, encoder, preset, grid)
