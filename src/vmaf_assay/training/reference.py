"""kernel.c in NumPy, bit for bit: the reference that a compiled kernel is checked against.

It is about a hundred times slower than the kernel. Every operation is one of IEEE 754's on float32, rounded once,
in the kernel's order. `_fma` rounds a x b + c once, through float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
_GOLDEN = np.uint32(0x9E3779B9)


class Rows(NamedTuple):
    """A member's scaled rows."""

    inputs: F32
    """[N, K + D]."""
    truth: F32
    """[N]."""
    weight: F32
    """[N]."""


class Dropout(NamedTuple):
    """A member's dropout."""

    seed: int
    """`recipe.dropout_word`."""
    threshold: int
    """A unit is dropped where 16 bits are below it."""
    scale: np.float32
    """Of what is kept."""

    @classmethod
    def of(cls, seed: int, dropout: float) -> "Dropout":
        """For a probability."""
        threshold = round(dropout * 65536)
        return cls(seed, threshold, np.float32(65536 / (65536 - threshold)))


def train_reference(
    initial: list[F32], rows: Rows, order: NDArray[np.int32], rates: F32, dropout: Dropout, coupled: float
) -> list[F32]:
    """Parameters after the steps of `order` [S, B], from initial ones; w1, b1, w2, b2, w3, b3 as in `recipe`."""
    values = [part.copy() for part in initial]
    first, second = ([np.zeros_like(part) for part in initial] for _ in range(2))
    for step, (at, (rate, correction, decay)) in enumerate(zip(order, rates, strict=True)):
        gradient = _gradient(values, Rows(*(part[at] for part in rows)), step, dropout)
        for i, slope in enumerate(gradient):
            g = _fma(np.float32(coupled), values[i], slope)
            first[i] = _fma(np.float32(0.9), first[i], g)  # ten times Adam's
            second[i] = _fma(np.float32(0.999), second[i], g * g)  # a thousand times Adam's
            root = np.float32(0.031622777) * correction
            below = _fma(np.sqrt(second[i]), root, np.float32(1e-8))
            kept = _fma(-decay, values[i], values[i])
            values[i] = _fma(-(np.float32(0.1) * rate) * first[i], _reciprocal(below), kept)
    return values


def _gradient(p: list[F32], batch: Rows, step: int, dropout: Dropout) -> list[F32]:
    w1, b1, w2, b2, w3, b3 = p
    keep1, keep2 = _masks(step, (len(batch.truth), w2.shape[0]), dropout)
    h1, s1 = (part * keep1 for part in _gelu(_product(batch.inputs, w1, b1)))
    h2, s2 = (part * keep2 for part in _gelu(_product(h1, w2, b2)))
    score = _halved(h2 * w3[:, 0]) + b3[0, 0]
    error = (np.float32(2) * batch.weight) * (score - batch.truth) / _in_turn(batch.weight)
    d2 = s2 * (error[:, None] * w3[:, 0])
    d1 = _product(d2, w2.T) * s1
    return [
        _product(batch.inputs.T, d1),
        _in_turn(d1)[None],
        _product(h1.T, d2),
        _in_turn(d2)[None],
        _product(h2.T, error[:, None]),
        _in_turn(error)[None, None],
    ]


def _fma(a: F32 | np.float32, b: F32 | np.float32, c: F32 | np.float32) -> F32:
    """A x b + c rounded once, elementwise.

    The product of two float32 is exact in float64. The sum is rounded to odd there (Boldo and Melquiond 2008), so
    that rounding to float32 equals rounding the exact sum.
    """
    product = np.asarray(a, dtype=np.float64) * np.asarray(b, dtype=np.float64)
    addend = np.asarray(c, dtype=np.float64)
    total = np.asarray(product + addend)
    part = total - product
    error = (product - (total - part)) + (addend - part)  # what was lost (Knuth's two-sum)
    bits = total.view(np.int64)
    outward = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where((error != 0) & (bits & 1 == 0), bits + outward, bits)
    result: F32 = odd.view(np.float64).astype(np.float32)
    return result


def _reciprocal(x: F32) -> F32:
    """1 / x by the kernel's guess and iterations."""
    r = (np.int32(0x7EF311C7) - x.view(np.int32)).view(np.float32)
    e = _fma(-x, r, np.float32(1))
    r = _fma(r, _fma(e, e, e), r)
    return _fma(r, _fma(-x, r, np.float32(1)), r)


def _product(a: F32, b: F32, start: F32 | None = None) -> F32:
    """A [R, k] times b [k, C] plus start, k ascending."""
    total = np.zeros((a.shape[0], b.shape[1]), dtype=np.float32) if start is None else start
    for k in range(a.shape[1]):
        total = _fma(a[:, k, None], b[k], total)
    return total


def _in_turn(values: F32) -> F32:
    """Sum over axis 0, one after the other."""
    total = np.zeros(values.shape[1:], dtype=np.float32)
    for row in values:
        total = total + row
    return total


def _halved(values: F32) -> F32:
    """Sum over axis 1: 16 strided parts in turn, then halves."""
    total = _in_turn(values.reshape(len(values), -1, 16).transpose(1, 2, 0))
    while len(total) > 1:
        half = len(total) // 2
        total = total[:half] + total[half:]
    result: F32 = total[0]
    return result


def _gelu(z: F32) -> tuple[F32, F32]:
    """GELU and its derivative, by the kernel's polynomials."""

    def polynomial(x: F32, *coefficients: float) -> F32:
        total: F32 | np.float32 = np.float32(coefficients[0])
        for coefficient in coefficients[1:]:
            total = _fma(total, x, np.float32(coefficient))
        return np.asarray(total)

    magic = np.float32(12582912)
    a = np.minimum(np.abs(z), np.float32(13))
    w = a * np.float32(-0.72134752)
    n = _fma(w, a, magic)
    f = _fma(w, a, magic - n)
    p = polynomial(f, 5.2965499e-4, 3.8599845e-3, 0.022144142, 0.095834392, 0.27652563, 0.39894231)
    density = np.ldexp(p, (n - magic).astype(np.int32))
    u = np.float32(1) / _fma(np.float32(0.23164190), a, np.float32(1))
    q = polynomial(u, 1.3302744, -1.821256, 1.7814779, -0.35656378, 0.31938153) * (u * density)
    cdf = np.where(np.signbit(z), q, np.float32(1) - q)
    return z * cdf, _fma(z, density, cdf)


def _mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def _masks(step: int, shape: tuple[int, int], dropout: Dropout) -> tuple[F32, F32]:
    """As `jax_engine.keep_masks`, for one member."""
    key = _mix(_mix(np.array([step], dtype=np.uint32)) ^ np.uint32(dropout.seed))
    words = _mix(np.arange(shape[0] * shape[1], dtype=np.uint32) * _GOLDEN + key).reshape(shape)
    halves = (words & np.uint32(0xFFFF), words >> np.uint32(16))
    low, high = (np.where(half < dropout.threshold, np.float32(0), dropout.scale) for half in halves)
    return low, high
