"""Train every fold x seed as one stacked program; one XLA thread a process, work split over processes.

What could differ from run to run is drawn with NumPy and passed in (initial weights, permutations) or computed
from integers (dropout). Members are trained in chunks of a fixed size, so that the arithmetic of a member does
not depend on how many processes share the work: the same bits come out for any number of them.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError
from vmaf_assay.model.ensemble import Params, forward, keep_masks
from vmaf_assay.model.weights import MemberWeights

CHUNK = 12
"""Members a program. Fixed, because it is part of the arithmetic."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a member is trained."""

    name: str
    """The recipe's name, as recorded in runs and sidecars."""
    epochs: int
    """Passes over the member's rows."""
    batch_size: int
    """Rows a step."""
    lr: float
    """Peak learning rate."""
    weight_decay: float
    """As the optimizer means it."""
    dropout: float
    """Probability of a zero after each hidden layer."""
    hidden: int
    """Units of each of the two hidden layers."""
    optimizer: Literal["adam", "adamw"]
    """`adam` adds the decay to the gradient (as torch.optim.Adam does); `adamw` decouples it."""
    schedule: Literal["constant", "cosine"]
    """Learning rate over time."""
    weighting: Literal["none", "useful"] = "none"
    """`useful` weighs rows by VMAF as in `row_weights`."""

    def as_dict(self) -> dict[str, Any]:
        """For a run or sidecar."""
        return asdict(self)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("adr-0303", 200, 32, 5e-4, 1e-5, 0.1, 64, "adam", "constant"),
        Recipe("forecast-v1", 200, 32, 3e-3, 1e-2, 0.1, 64, "adamw", "cosine", "useful"),
    )
}
"""Recipes by name."""


def row_weights(target: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Weight of each row in the loss, [N].

    `useful`: 1 above VMAF 75, 0.2 above 60, 0.02 below. Nobody asks for an encode at 40, and errors there are
    the largest: weighing them down took the mean held-out error over VMAF > 70 from 1.25 to 1.10 points for
    libx265 and from 1.60 to 1.03 for libsvtav1 (2026-11-24, shipped corpus, two seeds).
    """
    if recipe.weighting == "none":
        return np.ones(len(target), dtype=np.float32)
    return np.where(target > 75, 1.0, np.where(target > 60, 0.2, 0.02)).astype(np.float32)


class Member(NamedTuple):
    """One model to train: which rows it may see, and its seed."""

    seed: int
    """Draws initial weights, permutations and dropout."""
    train_rows: NDArray[np.int64]
    """Indices of its training rows, ascending."""


class _Chunk(NamedTuple):
    """What one process needs to train a chunk."""

    features: NDArray[np.float32]
    codec: NDArray[np.float32]
    target: NDArray[np.float32]
    members: list[Member]
    recipe: Recipe
    prior_scale: NDArray[np.float32]


def train_stacked(
    features: NDArray[np.float32],
    codec: NDArray[np.float32],
    target: NDArray[np.float32],
    members: Sequence[Member],
    recipe: Recipe,
    *,
    prior_scale: NDArray[np.float32] | None = None,
    processes: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[MemberWeights]:
    """Train M members and return their weights, in order.

    All members take the same number of steps, that of a member with all N rows; one with fewer rows starts a
    further permutation when its own are used up.

    Args:
      features: raw features, [N, K].
      codec: codec block, [N, D].
      target: VMAF, points, [N].
      members: what to train.
      recipe: how.
      prior_scale: multiplies each standardised feature, [K]; None means ones. A small one makes the weight decay
        expect little of a feature.
      processes: processes to spread chunks over; the result does not depend on it.
      on_progress: called with (members finished, members) in the caller's thread.

    Raises:
      ConfigError: a member has fewer rows than a batch, or a value is not finite.
    """
    _check_rows(features, codec, target, members, recipe)
    scale = np.ones(features.shape[1], dtype=np.float32) if prior_scale is None else prior_scale
    chunks = [
        _Chunk(features, codec, target, list(members[start : start + CHUNK]), recipe, scale)
        for start in range(0, len(members), CHUNK)
    ]
    results = _in_workers(chunks, processes, on_progress)
    return [weights for chunk in results for weights in chunk]


def _check_rows(
    features: NDArray[np.float32],
    codec: NDArray[np.float32],
    target: NDArray[np.float32],
    members: Sequence[Member],
    recipe: Recipe,
) -> None:
    for name, values in (("feature", features), ("codec", codec), ("target", target)):
        if not np.isfinite(values).all():
            raise ConfigError(f"a {name} is NaN or infinite", next_step="measure that row again")
    if min(len(member.train_rows) for member in members) < recipe.batch_size:
        raise ConfigError(
            f"a fold has fewer than {recipe.batch_size} training rows", next_step="build a larger corpus"
        )


def _in_workers(
    chunks: Sequence[_Chunk], processes: int, on_progress: Callable[[int, int], None] | None
) -> list[list[MemberWeights]]:
    """Train chunks in pinned worker processes; results in the order of the chunks."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    results: dict[int, list[MemberWeights]] = {}
    n_done = 0
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        max(1, min(processes, len(chunks))), context, initializer=_one_thread, initargs=(counter,)
    ) as pool:
        futures = {pool.submit(_train_chunk, chunk): index for index, chunk in enumerate(chunks)}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                n_done += len(chunks[futures[future]].members)
                if on_progress:
                    on_progress(n_done, sum(len(chunk.members) for chunk in chunks))
        except BaseException:
            # A worker inside XLA hears no signal before its chunk is done, and leaving the pool waits for it.
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
    return [results[index] for index in range(len(chunks))]


def _one_thread(counter: Any) -> None:  # noqa: ANN401 - multiprocessing has no public type for a shared value
    """Pin this worker to one core and give XLA one thread, before JAX starts its backend.

    With more threads XLA's reductions are summed in another order from run to run (jax issue 39741).
    """
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    # JAX_PLATFORMS would come too late: it was read when this module imported jax.
    jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    with counter.get_lock():
        index = counter.value
        counter.value += 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})


def _train_chunk(chunk: _Chunk) -> list[MemberWeights]:
    """Train the members of one chunk; runs in a worker."""
    # A chunk that is not full is filled up with its last member, so that every chunk is the same program.
    padded = chunk.members + [chunk.members[-1]] * (CHUNK - len(chunk.members))
    table, scalers = _tables(chunk)
    steps = _n_steps(chunk)
    order = np.stack([_order(member, steps, chunk.recipe) for member in padded], axis=1)
    scale = {key: np.stack([scalers[id(m)][key] for m in padded]) for key in ("mean", "std", "t_mean", "t_std")}
    seeds = np.array([_dropout_word(member.seed) for member in padded], dtype=np.uint32)
    initial = _initial(padded, table.shape[1], chunk.recipe.hidden)
    rows = {
        "inputs": jnp.asarray(table),
        "target": jnp.asarray(chunk.target),
        "weight": jnp.asarray(row_weights(chunk.target, chunk.recipe)),
    }
    params = _fit(chunk.recipe, steps)(initial, rows, jnp.asarray(order), scale, jnp.asarray(seeds))
    arrays = [np.asarray(part) for part in params]
    return [_weights(arrays, scalers[id(m)], i, chunk.features.shape[1]) for i, m in enumerate(chunk.members)]


def _tables(chunk: _Chunk) -> tuple[NDArray[np.float32], dict[int, dict[str, NDArray[np.float32]]]]:
    """Raw inputs [N, K + D], and each member's scalers from its own training rows alone.

    The codec block passes through the same arithmetic as the features, with mean 0 and scale 1.
    """
    table = np.concatenate([chunk.features, chunk.codec], axis=1)
    pad = chunk.codec.shape[1]
    scalers: dict[int, dict[str, NDArray[np.float32]]] = {}
    for member in chunk.members:
        seen = chunk.features[member.train_rows].astype(np.float64)
        std = np.maximum(seen.std(axis=0), 1e-6) / chunk.prior_scale
        truth = chunk.target[member.train_rows].astype(np.float64)
        scalers[id(member)] = {
            "mean": np.concatenate([seen.mean(axis=0), np.zeros(pad)]).astype(np.float32),
            "std": np.concatenate([std, np.ones(pad)]).astype(np.float32),
            "t_mean": np.array(truth.mean(), dtype=np.float32),
            "t_std": np.array(max(truth.std(), 1e-6), dtype=np.float32),
        }
    return table, scalers


def _n_steps(chunk: _Chunk) -> int:
    """Steps of the whole training, from the rows of the corpus so that every chunk takes the same number."""
    return chunk.recipe.epochs * (len(chunk.target) // chunk.recipe.batch_size)


def _order(member: Member, steps: int, recipe: Recipe) -> NDArray[np.int32]:
    """Row indices of every step, [steps, batch]: one permutation of the member's rows after another."""
    rng = np.random.default_rng([member.seed, 1])
    wanted = steps * recipe.batch_size
    rows = member.train_rows.astype(np.int32)
    passes = [rng.permutation(rows) for _ in range(-(-wanted // len(rows)))]
    return np.concatenate(passes)[:wanted].reshape(steps, recipe.batch_size)


def _dropout_word(seed: int) -> int:
    return int(np.random.default_rng([seed, 2]).integers(2**32))


def _initial(members: Sequence[Member], n_inputs: int, hidden: int) -> Params:
    """Uniform in +-1/sqrt(fan-in), as torch.nn.Linear draws both weights and biases."""
    drawn = []
    for member in members:
        rng = np.random.default_rng([member.seed, 0])
        parts = []
        for fan_in, fan_out in ((n_inputs, hidden), (hidden, hidden), (hidden, 1)):
            bound = 1 / np.sqrt(fan_in)
            parts += [rng.uniform(-bound, bound, (fan_in, fan_out)), rng.uniform(-bound, bound, (1, fan_out))]
        drawn.append(parts)
    return Params(*(jnp.asarray(np.stack(part), dtype=jnp.float32) for part in zip(*drawn, strict=True)))


def _optimizer(recipe: Recipe, steps: int) -> optax.GradientTransformation:
    rate = optax.cosine_decay_schedule(recipe.lr, steps) if recipe.schedule == "cosine" else recipe.lr
    if recipe.optimizer == "adamw":
        return optax.adamw(rate, weight_decay=recipe.weight_decay)
    return optax.chain(optax.add_decayed_weights(recipe.weight_decay), optax.adam(rate))


def _loss(params: Params, inputs: Array, truth: Array, weight: Array, masks: tuple[Array, Array] | None) -> Array:
    """Sum over members of each one's weighted mean squared error: no member's gradient depends on another."""
    square = (forward(params, inputs, masks) - truth) ** 2
    return jnp.sum(jnp.sum(weight * square, axis=1) / jnp.sum(weight, axis=1))


@lru_cache(maxsize=1)
def _fit(recipe: Recipe, steps: int) -> Callable[..., Params]:
    """The jitted training program, compiled once a worker: (initial, rows, order, scale, seeds) -> parameters."""
    return jax.jit(partial(train_program, recipe, steps))


def train_program(
    recipe: Recipe,
    steps: int,
    initial: Params,
    rows: dict[str, Array],
    order: Array,
    scale: dict[str, Array],
    seeds: Array,
) -> Params:
    """All steps of M members; pure, so that it can be run with and without jit.

    Args:
      recipe: how.
      steps: S.
      initial: stacked initial parameters.
      rows: raw `inputs` [N, K + D], `target` [N] in VMAF points, `weight` [N] in the loss.
      order: row of each step, member and place in the batch, [S, M, B].
      scale: each member's `mean`, `std` [M, K + D] and `t_mean`, `t_std` [M].
      seeds: dropout words, [M] uint32.
    """
    optimizer = _optimizer(recipe, steps)
    mean, std = scale["mean"][:, None, :], scale["std"][:, None, :]
    t_mean, t_std = scale["t_mean"][:, None], scale["t_std"][:, None]
    # Without dropout the masks would be ones; leaving them out is the same arithmetic.
    use_dropout = recipe.dropout > 0

    def step(carry: tuple[Params, Any], at: tuple[Array, Array]) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        index, batch = at
        inputs = (rows["inputs"][batch] - mean) / std
        truth = (rows["target"][batch] - t_mean) / t_std
        masks = keep_masks(seeds, index, batch.shape[1], recipe.hidden, recipe.dropout) if use_dropout else None
        gradient = jax.grad(_loss)(params, inputs, truth, rows["weight"][batch], masks)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    numbers = jnp.arange(steps, dtype=jnp.uint32)
    (params, _), _ = jax.lax.scan(step, (initial, optimizer.init(initial)), (numbers, order))
    return params


def _weights(
    arrays: list[NDArray[np.float32]], scaler: dict[str, NDArray[np.float32]], index: int, n_features: int
) -> MemberWeights:
    w1, b1, w2, b2, w3, b3 = (part[index] for part in arrays)
    return MemberWeights(
        feature_mean=scaler["mean"][:n_features],
        feature_std=scaler["std"][:n_features],
        target_mean=scaler["t_mean"],
        target_std=scaler["t_std"],
        w1=w1, b1=b1[0], w2=w2, b2=b2[0], w3=w3, b3=b3[0],
    )  # fmt: skip
