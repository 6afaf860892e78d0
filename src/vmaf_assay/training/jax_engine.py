"""The JAX engine: members stacked on a leading axis M and trained as one program. The only file that imports JAX.

It trains without a compiler and on a GPU, and is the test oracle of the native kernel.
"""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from vmaf_assay.errors import ConfigError
from vmaf_assay.training.recipe import (
    F32,
    Member,
    Recipe,
    Table,
    batches,
    dropout_word,
    initial_weights,
    row_weights,
    scalers,
)

SLICE = 4096
"""Steps in one call; keeps the table of row indices small."""


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

    One 32-bit word an element serves both layers, 16 bits each; threefry would cost more than the network. A key
    is mixed from member and step and incremented by the golden ratio's bits, as in SplitMix (Steele, Lea and Flood
    2014). The mixer is MurmurHash3's finaliser (Appleby, public domain), a bijection with unbiased output bits.
    kernel.c and reference.py draw the same masks.

    Args:
      seeds: one 32-bit word a member, [M] uint32.
      step: step number, [] uint32.
      batch: rows.
      width: units.
      dropout: probability of a zero.
    """
    position = jnp.arange(batch * width, dtype=jnp.uint32).reshape(1, batch, width)
    key = _mix(_mix(step) ^ seeds)[:, None, None]
    x = _mix(position * jnp.uint32(0x9E3779B9) + key)
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


def _optimizer(recipe: Recipe, steps: int) -> optax.GradientTransformation:
    rate = optax.cosine_decay_schedule(recipe.lr, steps) if recipe.schedule == "cosine" else recipe.lr
    if recipe.optimizer == "adamw":
        return optax.adamw(rate, weight_decay=recipe.weight_decay)
    return optax.chain(optax.add_decayed_weights(recipe.weight_decay), optax.adam(rate))


def _loss(params: Params, inputs: Array, truth: Array, weight: Array, masks: tuple[Array, Array] | None) -> Array:
    """Sum over members of the weighted mean squared error; no member's gradient depends on another."""
    square = (forward(params, inputs, masks) - truth) ** 2
    return jnp.sum(jnp.sum(weight * square, axis=1) / jnp.sum(weight, axis=1))


class Progress(NamedTuple):
    """State of a training."""

    params: Params
    """Parameters now."""
    state: Any
    """The optimizer's."""
    step: Array
    """Steps taken, [] uint32."""


def begin(recipe: Recipe, steps: int, initial: Params) -> Progress:
    """The start of a training of S steps."""
    return Progress(initial, _optimizer(recipe, steps).init(initial), jnp.uint32(0))


def train_program(
    recipe: Recipe,
    steps: int,
    progress: Progress,
    rows: dict[str, Array],
    order: Array,
    n: Array,
    scale: dict[str, Array],
    seeds: Array,
) -> Progress:
    """The next steps of M members; pure, so that it runs with and without jit.

    Args:
      recipe: how.
      steps: S, of the whole training.
      progress: where it is.
      rows: raw `inputs` [N, K + D], `target` [N] in VMAF points, `weight` [N] in the loss.
      order: row of each step, member and place in the batch, [T, M, B].
      n: how many of the T steps to take.
      scale: each member's `mean`, `std` [M, K + D] and `t_mean`, `t_std` [M].
      seeds: dropout words, [M] uint32.
    """
    optimizer = _optimizer(recipe, steps)
    mean, std = scale["mean"][:, None, :], scale["std"][:, None, :]
    t_mean, t_std = scale["t_mean"][:, None], scale["t_std"][:, None]
    # Without dropout the masks would be ones; leaving them out is the same arithmetic.
    use_dropout = recipe.dropout > 0

    def step(at: Array, now: Progress) -> Progress:
        batch = order[at]
        inputs = (rows["inputs"][batch] - mean) / std
        truth = (rows["target"][batch] - t_mean) / t_std
        masks = keep_masks(seeds, now.step, batch.shape[1], recipe.hidden, recipe.dropout) if use_dropout else None
        gradient = jax.grad(_loss)(now.params, inputs, truth, rows["weight"][batch], masks)
        updates, state = optimizer.update(gradient, now.state, now.params)
        return Progress(optax.apply_updates(now.params, updates), state, now.step + jnp.uint32(1))

    done: Progress = jax.lax.fori_loop(0, n, step, progress)
    return done


@lru_cache(maxsize=1)
def _fit(recipe: Recipe, steps: int) -> Callable[..., Progress]:
    """The jitted training program, compiled once a process."""
    return jax.jit(partial(train_program, recipe, steps))


def prepare(device: str) -> None:
    """Choose JAX's device, before it starts a backend; on the CPU, give XLA one thread.

    With more threads XLA's reductions are summed in another order from run to run (jax issue 39741).
    """
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    # Setting JAX_PLATFORMS would be too late: jax read it when this module imported it.
    jax.config.update("jax_platforms", device)  # type: ignore[no-untyped-call]


def check_device() -> None:
    """Start the backend chosen by `prepare`.

    Raises:
      ConfigError: there is no such device, or this JAX was installed without it.
    """
    try:
        jax.devices()
    except RuntimeError as error:
        raise ConfigError(
            f"JAX finds no GPU: {error}",
            next_step="install JAX for it (pip install 'jax[cuda12]') or use --engine auto",
        ) from error


def train_chunk(table: Table, members: Sequence[Member], recipe: Recipe, width: int) -> list[list[F32]]:
    """Train up to `width` members; each one's w1, b1, w2, b2, w3, b3.

    A chunk that is not full is filled up with its last member, so that every chunk is the same program.
    """
    padded = [*members, *[members[-1]] * (width - len(members))]
    steps = recipe.n_steps(len(table.target))
    inputs = np.concatenate([table.features, table.codec], axis=1)
    fitted = {id(member): scalers(table, member) for member in members}
    scale = {
        name: jnp.asarray(np.stack([getattr(fitted[id(m)], name) for m in padded]))
        for name in ("mean", "std", "t_mean", "t_std")
    }
    drawn = [initial_weights(member, inputs.shape[1], recipe.hidden) for member in padded]
    rows = {
        "inputs": jnp.asarray(inputs),
        "target": jnp.asarray(table.target),
        "weight": jnp.asarray(row_weights(table.target, recipe)),
    }
    seeds = jnp.asarray(np.array([dropout_word(member.seed) for member in padded], dtype=np.uint32))
    progress = begin(recipe, steps, Params(*(jnp.asarray(np.stack(part)) for part in zip(*drawn, strict=True))))
    size = min(SLICE, steps)
    for slices in zip(*(batches(member, steps, recipe, size) for member in padded), strict=True):
        order = np.zeros((size, width, recipe.batch_size), dtype=np.int32)
        order[: len(slices[0])] = np.stack(slices, axis=1)
        n = jnp.int32(len(slices[0]))
        progress = _fit(recipe, steps)(progress, rows, jnp.asarray(order), n, scale, seeds)
    arrays = [np.asarray(part) for part in progress.params]
    return [[part[i] for part in arrays] for i in range(len(members))]
