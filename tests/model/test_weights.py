"""The reference arithmetic, against numbers worked out another way."""

import math

import numpy as np

from vmaf_assay.model.weights import MemberWeights, gelu, reference_predict


def test_gelu_is_the_exact_form():
    """X times the normal distribution function, from the standard library's erf, not the tanh approximation."""
    x = np.linspace(-6, 6, 41)
    expected = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]
    np.testing.assert_allclose(gelu(x), expected, rtol=0, atol=1e-14)
    tanh = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    assert np.abs(gelu(x) - tanh).max() > 1e-4


def test_reference_predict_by_hand():
    """One feature 5 (mean 3, std 2) and codec 1 through one unit a layer, in plain arithmetic."""

    def f32(*values: float) -> np.ndarray:
        return np.array(values, dtype=np.float32)

    weights = MemberWeights(
        f32(3),
        f32(2),
        np.float32(80),
        np.float32(10),
        w1=f32(0.5, 0.25).reshape(2, 1),
        b1=f32(0.25),
        w2=f32(2).reshape(1, 1),
        b2=f32(-1),
        w3=f32(0.5).reshape(1, 1),
        b3=f32(0.125),
    )

    def unit(x: float) -> float:
        return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))

    expected = 80 + 10 * (0.5 * unit(2 * unit(0.5 * 1 + 0.25 * 1 + 0.25) - 1) + 0.125)
    got = reference_predict(weights, f32(5).reshape(1, 1), f32(1).reshape(1, 1))
    np.testing.assert_allclose(got, [expected], rtol=1e-14)
