"""What each scene is expected to score and to cost at each rate value, corrected by what was encoded. Pure.

A score is held as the logarithm of its deficit from just above the ceiling, and a size as its logarithm. In these
a wrong forecast is nearly a constant: a scene that is harder than forecast is so at every rate value. What one
scene shows is believed of itself entirely, and of others by how much they look alike. That is Gaussian process
regression with a constant and a squared exponential kernel (Rasmussen and Williams 2006, eq. 2.25).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CEILING = 101.0
"""Points from which a deficit is counted: a deficit of 0 has no logarithm."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How wrong a forecast may be, as standard deviations of a logarithm."""

    common: float
    """Of what all scenes of a title share."""
    alike: float
    """Of what scenes that look alike share."""
    own: float
    """Of one scene."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One encode of a scene, measured."""

    rate_value: float
    """On the encoder's own scale."""
    score: float
    """Mean VMAF of its frames, points."""
    n_bytes: int
    """Size of its packets."""


Known = Mapping[int, Sequence[Seen]]
"""Encodes of each scene, by its index, in the order they were made."""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What S scenes should score and cost at R rate values, before any is encoded."""

    rate_values: F64
    """From the cheapest to the best, [R]."""
    score: F64
    """Mean VMAF, points, [S, R]; does not fall along R."""
    n_bytes: F64
    """Size, [S, R]; does not fall along R."""
    n_frames: F64
    """Frames of each scene, [S]."""
    looks: F64
    """What tells how alike two scenes are, [S, L]; a distance of 1 is far."""
    score_spread: Spread
    """Of the logarithm of the deficit."""
    bytes_spread: Spread
    """Of the logarithm of the size."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """The forecasts after some scenes were encoded."""

    score: F64
    """Mean VMAF, points, [S, R]; at a rate value that was encoded, what was measured."""
    n_bytes: F64
    """Size, [S, R]."""
    deviation: F64
    """Standard deviation of the logarithm of the deficit that is left, [S]; about 0 for an encoded scene."""


def deficit(score: F64) -> F64:
    """Logarithm of the points that are missing; falls as the score rises."""
    made: F64 = np.log(CEILING - np.clip(score, 0.0, 100.0))
    return made


def score_of(log_deficit: F64) -> F64:
    """The score of a deficit, points in [0, 100]."""
    made: F64 = np.clip(CEILING - np.exp(log_deficit), 0.0, 100.0)
    return made


def corrected(forecasts: Forecasts, known: Known) -> Corrected:
    """The forecasts, given what was measured of some scenes."""
    log_deficit, log_bytes = deficit(forecasts.score), np.log(np.maximum(forecasts.n_bytes, 1.0))
    rates = forecasts.rate_values
    n_scenes = len(log_deficit)
    score_at = {i: [(s.rate_value, float(deficit(np.array(s.score)))) for s in seen] for i, seen in known.items()}
    bytes_at = {i: [(s.rate_value, float(np.log(max(s.n_bytes, 1)))) for s in seen] for i, seen in known.items()}
    score_error, deviation = _errors(log_deficit, rates, score_at, forecasts.looks, forecasts.score_spread)
    bytes_error, _ = _errors(log_bytes, rates, bytes_at, forecasts.looks, forecasts.bytes_spread)
    assert score_error.shape == (n_scenes, len(rates))
    return Corrected(score_of(log_deficit + score_error), np.exp(log_bytes + bytes_error), deviation)


def at_rate(table: F64, rates: F64, rate_value: float) -> float:
    """One scene's value at any rate value, linear between those of the table; `rates` may fall."""
    order = np.argsort(rates)
    return float(np.interp(rate_value, rates[order], table[order]))


def _errors(
    forecast: F64, rates: F64, measured: Mapping[int, list[tuple[float, float]]], looks: F64, spread: Spread
) -> tuple[F64, F64]:
    """What is to be added to each forecast, [S, R], and how uncertain that leaves it, [S]."""
    n_scenes = len(forecast)
    done = sorted(index for index, seen in measured.items() if seen)
    prior = np.sqrt(spread.common**2 + spread.alike**2 + spread.own**2)
    if not done:
        return np.zeros_like(forecast), np.full(n_scenes, prior)
    errors = {
        index: [(rate, value - at_rate(forecast[index], rates, rate)) for rate, value in measured[index]]
        for index in done
    }
    first = np.array([errors[index][0][1] for index in done])
    shared = _kernel(looks[done], looks[done], spread) + np.eye(len(done)) * spread.own**2
    across = _kernel(looks, looks[done], spread)
    mean = across @ np.linalg.solve(shared, first)
    left = prior**2 - np.einsum("sd,ds->s", across, np.linalg.solve(shared, across.T))
    table = np.repeat(mean[:, None], len(rates), axis=1)
    deviation = np.sqrt(np.maximum(left, 0.0))
    for index in done:
        anchors = sorted(dict(errors[index]).items())
        at, value = (np.array(column) for column in zip(*anchors, strict=True))
        table[index] = _through(at, value, rates)
        deviation[index] = 0.0
    return table, deviation


def _through(at: F64, value: F64, rates: F64) -> F64:
    """Errors between and beyond the rate values of several encodes of one scene, [R].

    Linear between them, and as far beyond the outer ones as their neighbours are apart, but half as steep.
    """
    if len(at) == 1:
        return np.full(len(rates), value[0])
    below = at[0] - (at[1] - at[0]), value[0] - (value[1] - value[0]) / 2
    above = at[-1] + (at[-1] - at[-2]), value[-1] + (value[-1] - value[-2]) / 2
    made: F64 = np.interp(rates, [below[0], *at, above[0]], [below[1], *value, above[1]])
    return made


def _kernel(left: F64, right: F64, spread: Spread) -> F64:
    """Covariance of what two sets of scenes share, [S, D]."""
    distance = np.square(left[:, None, :] - right[None, :, :]).sum(axis=2)
    made: F64 = spread.common**2 + spread.alike**2 * np.exp(-distance / 2)
    return made
