"""One member's weights as NumPy arrays, and the reference arithmetic for every exported graph."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


class MemberWeights(NamedTuple):
    """A two-hidden-layer perceptron with its input and output scalers; all float32."""

    feature_mean: F32
    """Mean of each feature over the training rows, [K]."""
    feature_std: F32
    """Standard deviation of each feature over the training rows, [K], never 0."""
    target_mean: F32
    """Mean of the target over the training rows, points, []."""
    target_std: F32
    """Scale of the target, points, []."""
    w1: F32
    """[K + D, H]."""
    b1: F32
    """[H]."""
    w2: F32
    """[H, H]."""
    b2: F32
    """[H]."""
    w3: F32
    """[H, 1]."""
    b3: F32
    """[1]."""


class _Double(NamedTuple):
    """`MemberWeights` in float64."""

    feature_mean: NDArray[np.float64]
    feature_std: NDArray[np.float64]
    target_mean: NDArray[np.float64]
    target_std: NDArray[np.float64]
    w1: NDArray[np.float64]
    b1: NDArray[np.float64]
    w2: NDArray[np.float64]
    b2: NDArray[np.float64]
    w3: NDArray[np.float64]
    b3: NDArray[np.float64]


def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """X times the standard normal's distribution function (Hendrycks and Gimpel 2016, exact form)."""
    from scipy.special import erf  # imported here: it takes 250 ms, and no load of a model needs it

    result: NDArray[np.float64] = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    return result


def reference_predict(weights: MemberWeights, features: F32, codec: F32) -> NDArray[np.float64]:
    """The member's predictions in float64, [N] VMAF points.

    Args:
      weights: one member.
      features: raw features, [N, K].
      codec: codec block, [N, D].
    """
    w = _Double(*(np.asarray(part, dtype=np.float64) for part in weights))
    scaled = (features.astype(np.float64) - w.feature_mean) / w.feature_std
    hidden = gelu(np.concatenate([scaled, codec.astype(np.float64)], axis=1) @ w.w1 + w.b1)
    hidden = gelu(hidden @ w.w2 + w.b2)
    score: NDArray[np.float64] = (hidden @ w.w3 + w.b3)[:, 0] * w.target_std + w.target_mean
    return score
