"""The member network, stacked: every parameter has a leading member axis M. Pure functions of arrays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Params(NamedTuple):
    """Parameters of M stacked perceptrons, float32."""

    w1: Array
    """[M, K + D, H]."""
    b1: Array
    """[M, 1, H]."""
    w2: Array
    """[M, H, H]."""
    b2: Array
    """[M, 1, H]."""
    w3: Array
    """[M, H, 1]."""
    b3: Array
    """[M, 1, 1]."""


def keep_masks(seeds: Array, step: Array, batch: int, width: int, dropout: float) -> tuple[Array, Array]:
    """Dropout masks of two layers for one step, each [M, batch, width], scaled to mean 1.

    One 32-bit hash of (member's seed, step, position) an element serves both layers, 16 bits each: threefry
    would cost more than the network. The hash is MurmurHash3's finaliser (Appleby, public domain), a bijection
    whose output bits are unbiased; masks need no more than that.

    Args:
      seeds: one 32-bit word a member, [M] uint32.
      step: step number, [] uint32.
      batch: rows.
      width: units.
      dropout: probability of a zero.
    """
    position = jnp.arange(batch * width, dtype=jnp.uint32).reshape(1, batch, width)
    x = position + step * jnp.uint32(0x9E3779B9)
    x = _mix(x) ^ seeds[:, None, None]
    x = _mix(x)
    threshold = jnp.uint32(round(dropout * 65536))
    scale = jnp.float32(65536 / (65536 - round(dropout * 65536)))
    low, high = x & jnp.uint32(0xFFFF), x >> jnp.uint32(16)
    zero = jnp.float32(0)
    return jnp.where(low < threshold, zero, scale), jnp.where(high < threshold, zero, scale)


def _mix(x: Array) -> Array:
    x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    mixed: Array = x ^ (x >> jnp.uint32(16))
    return mixed


def forward(params: Params, inputs: Array, masks: tuple[Array, Array] | None = None) -> Array:
    """Scaled scores of every member, [M, N].

    Args:
      params: stacked parameters.
      inputs: scaled features and codec block, [M, N, K + D].
      masks: dropout masks for training, or None.
    """
    hidden = jax.nn.gelu(inputs @ params.w1 + params.b1, approximate=False)
    if masks is not None:
        hidden = hidden * masks[0]
    hidden = jax.nn.gelu(hidden @ params.w2 + params.b2, approximate=False)
    if masks is not None:
        hidden = hidden * masks[1]
    scores: Array = (hidden @ params.w3 + params.b3)[..., 0]
    return scores
