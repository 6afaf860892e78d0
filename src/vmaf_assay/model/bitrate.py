"""Forecast of an encode's bitrate from the bitrates of the probes.

It is a ridge regression (Hoerl and Kennard 1970) for each encoder and preset, of ln(kbps) on [1, r, r^2, ln p, r
ln p, ...]. Here r is `crf_norm` and p each probe's kbps. The form is ours: ln(kbps) is close to linear in the rate
value and in the probes' ln(kbps). What may be promised of it is calibrated apart (`promise/bitrate.py`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import EncoderInfo, encoder_info

RIDGE = 1e-3
"""Penalty on all coefficients but the intercept; small: the rows outnumber the coefficients fifty to one."""


class BitrateModel(BaseModel):
    """Coefficients by `encoder|preset`, in the order of `_design`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    coefficients: dict[str, list[float]]
    """[3 + 2 P] for the P probes that a forecast reads."""
    held_out_error: dict[str, float]
    """Median of |forecast / truth - 1| over groups left out, by `encoder|preset`."""


def _design(crf_norm: NDArray[np.float64], ln_probes: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 3 + 2 P] from `crf_norm` [N] and ln(kbps) of the probes [N, P]."""
    r = crf_norm[:, None]
    design: NDArray[np.float64] = np.concatenate(
        [np.ones_like(r), r, r * r, ln_probes, r * ln_probes], axis=1, dtype=np.float64
    )
    return design


def _ridge(X: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    penalty = np.full(X.shape[1], RIDGE * len(X))
    penalty[0] = 0.0
    solution: NDArray[np.float64] = np.linalg.solve(X.T @ X + np.diag(penalty), X.T @ y).astype(np.float64)
    return solution


def fit_bitrate(
    encoders: Sequence[str],
    presets: Sequence[str],
    rate_values: NDArray[np.float64],
    probe_kbps: NDArray[np.float64],
    kbps: NDArray[np.float64],
    groups: Sequence[str],
) -> BitrateModel:
    """Fit all encoders; each is also evaluated with every group left out once.

    Args:
      encoders: encoder of each of N encodes.
      presets: their presets.
      rate_values: their rate values, [N].
      probe_kbps: kbps of the probes that a forecast of each encode reads, [N, P].
      kbps: measured bitrate, [N].
      groups: what must not be split, [N].
    """
    coefficients: dict[str, list[float]] = {}
    errors: dict[str, float] = {}
    for key, rows in rows_by_key(encoders, presets).items():
        X, y = _problem(key, rate_values[rows], probe_kbps[rows], kbps[rows])
        coefficients[key] = [float(value) for value in _ridge(X, y)]
        residuals = _held_out(X, y, [groups[row] for row in rows])
        errors[key] = round(float(np.median(np.abs(np.exp(-residuals) - 1))), 4)
    return BitrateModel(coefficients=coefficients, held_out_error=errors)


def held_out_residuals(
    encoders: Sequence[str],
    presets: Sequence[str],
    rate_values: NDArray[np.float64],
    probe_kbps: NDArray[np.float64],
    kbps: NDArray[np.float64],
    groups: Sequence[str],
) -> NDArray[np.float64]:
    """ln(measured / forecast) of each encode, by a model fitted without its group, [N].

    A bound on the bitrate is calibrated on these (`promise/bitrate.py`). Arguments as of `fit_bitrate`.
    """
    residuals = np.empty(len(kbps))
    for key, rows in rows_by_key(encoders, presets).items():
        X, y = _problem(key, rate_values[rows], probe_kbps[rows], kbps[rows])
        residuals[rows] = _held_out(X, y, [groups[row] for row in rows])
    return residuals


def rows_by_key(encoders: Sequence[str], presets: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each `encoder|preset`, sorted by that name."""
    keys = np.array([f"{e}|{p}" for e, p in zip(encoders, presets, strict=True)])
    return {str(key): np.flatnonzero(keys == key) for key in sorted(set(keys.tolist()))}


def _problem(
    key: str, rate_values: NDArray[np.float64], probe_kbps: NDArray[np.float64], kbps: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Design and ln(kbps) of one encoder and preset."""
    info = encoder_info(key.split("|", maxsplit=1)[0])
    norm = np.array([info.crf_norm(float(value)) for value in rate_values])
    return _design(norm, np.log(probe_kbps)), np.log(kbps)


def _held_out(X: NDArray[np.float64], y: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """Truth minus the forecast of a model that never saw the row's group."""
    group_of = np.array(groups)
    residuals = np.empty(len(y))
    for group in set(groups):
        test = group_of == group
        residuals[test] = y[test] - X[test] @ _ridge(X[~test], y[~test])
    return residuals


def predict_kbps(
    model: BitrateModel | Mapping[str, object],
    encoder: str,
    preset: str,
    rate_values: NDArray[np.float64],
    probe_kbps: Sequence[float],
) -> NDArray[np.float64]:
    """Forecast bitrate at each rate value, kbps, [N].

    Between two presets it was fitted on, ln(kbps) is interpolated over `preset_norm`.

    Args:
      model: the fitted model.
      encoder: encoder asked about.
      preset: its preset.
      rate_values: on the encoder's own scale, [N].
      probe_kbps: kbps of the probes that this encoder's forecast reads, in their order.

    Raises:
      ConfigError: the model has not seen this encoder, or presets on both sides of this one.
    """
    fitted = model if isinstance(model, BitrateModel) else BitrateModel.model_validate(model)
    info = encoder_info(encoder)
    seen = [key.split("|", maxsplit=1)[1] for key in fitted.coefficients if key.startswith(f"{encoder}|")]
    around = info.neighbours(preset, seen)
    if not around:
        raise ConfigError(f"no bitrate forecast for {encoder} preset {preset}", next_step="train a model on it")
    of_preset = [_forecast(fitted.coefficients[f"{encoder}|{n}"], info, rate_values, probe_kbps) for n in around]
    norms = [info.preset_norm(name) for name in around]
    share = (info.preset_norm(preset) - norms[0]) / (norms[-1] - norms[0]) if len(around) > 1 else 0.0
    forecast: NDArray[np.float64] = np.exp((1 - share) * of_preset[0] + share * of_preset[-1])
    return forecast


def _forecast(
    coefficients: Sequence[float],
    info: EncoderInfo,
    rate_values: NDArray[np.float64],
    probe_kbps: Sequence[float],
) -> NDArray[np.float64]:
    """ln(kbps) of one preset at each rate value, [N]."""
    norm = np.array([info.crf_norm(float(value)) for value in rate_values])
    ln_probes = np.tile(np.log(np.asarray(probe_kbps, dtype=np.float64)), (len(norm), 1))
    forecast: NDArray[np.float64] = _design(norm, ln_probes) @ np.array(coefficients)
    return forecast
