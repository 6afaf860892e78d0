"""Train every fold x seed: on threads with the native kernel, or in processes with the JAX program.

Random numbers are drawn with NumPy (`recipe.py`) or computed from integers (dropout). A member's arithmetic does
not depend on how members are distributed: any number of threads or processes gives the same bits.
"""

import importlib.util
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError
from vmaf_assay.model.weights import MemberWeights
from vmaf_assay.training import native
from vmaf_assay.training.recipe import (
    F32,
    Member,
    Recipe,
    Table,
    adam_rates,
    dropout_word,
    initial_weights,
    order_generator,
    row_weights,
    scalers,
)
from vmaf_assay.training.reference import Dropout, Rows

Engine = Literal["native", "jax", "jax-gpu"]
ENGINES = ("auto", "native", "jax", "jax-gpu")
"""`native` is kernel.c. `jax` is the stacked program on the CPU, `jax-gpu` the same on a GPU. `auto` is `native`
where it works, else `jax`."""
OnProgress = Callable[[int, int], None]

CHUNK = {"jax": 12, "jax-gpu": 256}
"""Members a JAX program. Fixed, because it is part of the arithmetic."""
SLICE = 1024
"""Steps in a call of the kernel, about 20 ms; an interrupt waits that long."""


def choose_engine(engine: str, recipe: Recipe) -> Engine:
    """The engine that will train, `auto` resolved.

    Raises:
      ConfigError: it does not work here.
    """
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine {engine!r}", next_step=f"choose one of {', '.join(ENGINES)}")
    why_not = native.unavailable(recipe.hidden, recipe.batch_size)
    if engine == "native" and why_not:
        raise ConfigError(f"the native engine cannot train here: {why_not}", next_step="use --engine jax")
    if engine in {"auto", "native"} and not why_not:
        return "native"
    if importlib.util.find_spec("jax") is None or importlib.util.find_spec("optax") is None:
        also = f"; the native engine cannot: {why_not}" if why_not else ""
        raise ConfigError(f"training needs jax{also}", next_step="pip install 'vmaf-assay[train]'")
    return "jax-gpu" if engine == "jax-gpu" else "jax"


def engine_facts(engine: Engine, n_inputs: int, recipe: Recipe) -> dict[str, str]:
    """The engine as recorded in a run: its name, and the versions its bits may depend on."""
    if engine == "native":
        kernel = native.load(native.Shape.of(n_inputs, recipe.hidden, recipe.batch_size))
        return {"engine": engine, "compiler": kernel.made_by}
    return {"engine": engine} | {name: version(name) for name in ("jax", "jaxlib", "optax")}


def train_stacked(
    features: F32,
    codec: F32,
    target: F32,
    members: Sequence[Member],
    recipe: Recipe,
    *,
    prior_scale: F32 | None = None,
    processes: int = 1,
    on_progress: OnProgress | None = None,
    engine: str = "auto",
) -> list[MemberWeights]:
    """Train M members and return their weights, in order.

    All members take the same number of steps, that of a member with all N rows. One with fewer rows starts another
    permutation when its rows are used up.

    Args:
      features: raw features, [N, K].
      codec: codec block, [N, D].
      target: VMAF, points, [N].
      members: what to train; weights of codec inputs that no row sets are zero.
      recipe: how.
      prior_scale: multiplies each standardised feature, [K]; None means ones. With a small scale, weight decay
        suppresses a feature.
      processes: number of threads or processes; the result does not depend on it.
      on_progress: called with (members finished, members) in the caller's thread.
      engine: what trains. Native bits are the same on every machine. JAX's differ from them, and a GPU's from a
        CPU's.

    Raises:
      ConfigError: a member has fewer rows than a batch, a value is not finite, or the engine does not work here.
      ToolError: the kernel does not compile, or computes wrong bits.
    """
    scale = np.ones(features.shape[1], dtype=np.float32) if prior_scale is None else prior_scale
    used = _set_by_a_row(codec)
    table = Table(features, codec[:, used], target, scale)
    _check_rows(table, members, recipe)
    chosen = choose_engine(engine, recipe)
    if chosen == "native":
        trained = _train_native(table, members, recipe, processes, on_progress)
    else:
        trained = _train_jax(table, members, recipe, processes, on_progress, chosen)
    return [_with_unused(member, used) for member in trained]


def n_trained_inputs(features: F32, codec: F32) -> int:
    """Inputs that training reads: all features, [N, K], and the codec columns, [N, D], that any row sets.

    The other columns would be multiplied by zero in every step, and their weights decay. With ADR-0303 they become
    subnormal numbers, on which some processors are a hundred times slower. So their weights are zero instead.
    """
    return int(features.shape[1] + np.count_nonzero(_set_by_a_row(codec)))


def _set_by_a_row(codec: F32) -> NDArray[np.bool_]:
    """Which columns of the codec block, [N, D], any row sets, [D]."""
    return np.asarray(codec.any(axis=0), dtype=np.bool_)


def _with_unused(member: MemberWeights, used: NDArray[np.bool_]) -> MemberWeights:
    """The member over the whole codec block."""
    n_features = len(member.feature_mean)
    w1 = np.zeros((n_features + len(used), member.w1.shape[1]), dtype=np.float32)
    w1[np.concatenate([np.ones(n_features, dtype=bool), used])] = member.w1
    return member._replace(w1=w1)


def _check_rows(table: Table, members: Sequence[Member], recipe: Recipe) -> None:
    for name in ("features", "codec", "target"):
        if not np.isfinite(getattr(table, name)).all():
            what = name.removesuffix("s")
            raise ConfigError(f"a {what} is NaN or infinite", next_step="measure that row again")
    if min(len(member.train_rows) for member in members) < recipe.batch_size:
        raise ConfigError(
            f"a fold has fewer than {recipe.batch_size} training rows", next_step="build a larger corpus"
        )
    if recipe.n_steps(len(table.target)) < 1:
        raise ConfigError(f"recipe {recipe.name} has no steps", next_step="give it at least one epoch or step")


class _StoppedError(Exception):
    """Another member failed, or the user interrupted."""


def _train_native(
    table: Table, members: Sequence[Member], recipe: Recipe, threads: int, on_progress: OnProgress | None
) -> list[MemberWeights]:
    """One member after another on each thread; the kernel runs outside the interpreter's lock."""
    n_inputs = table.features.shape[1] + table.codec.shape[1]
    kernel = native.load(native.Shape.of(n_inputs, recipe.hidden, recipe.batch_size))
    steps = recipe.n_steps(len(table.target))
    rates = adam_rates(recipe, steps)
    coupled = recipe.weight_decay if recipe.optimizer == "adam" else 0.0
    weight = row_weights(table.target, recipe)
    stop = threading.Event()

    def slices(member: Member) -> Iterator[NDArray[np.int32]]:
        for order in kernel.batches(order_generator(member), member.train_rows, steps, SLICE):
            if stop.is_set():
                raise _StoppedError
            yield order

    def train_one(member: Member) -> MemberWeights:
        fitted = scalers(table, member)
        inputs = (np.concatenate([table.features, table.codec], axis=1) - fitted.mean) / fitted.std
        rows = Rows(inputs, (table.target - fitted.t_mean) / fitted.t_std, weight)
        dropout = Dropout.of(dropout_word(member.seed), recipe.dropout)
        initial = initial_weights(member, n_inputs, recipe.hidden)
        return _weights(kernel.train(initial, rows, slices(member), rates, dropout, coupled), table, member)

    with ThreadPoolExecutor(max(1, min(threads, len(members)))) as pool:
        futures = {pool.submit(train_one, member): (index, 1) for index, member in enumerate(members)}
        try:
            done = _collect(futures, len(members), on_progress)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [done[index] for index in range(len(members))]


def _collect(
    futures: dict[Future[Any], tuple[int, int]], total: int, on_progress: OnProgress | None
) -> dict[int, Any]:
    """Results by index, as they finish; each future holds several members."""
    results, n_done = {}, 0
    for future in as_completed(futures):
        index, n_members = futures[future]
        results[index] = future.result()
        n_done += n_members
        if on_progress:
            on_progress(n_done, total)
    return results


def _train_jax(
    table: Table,
    members: Sequence[Member],
    recipe: Recipe,
    processes: int,
    on_progress: OnProgress | None,
    engine: Engine,
) -> list[MemberWeights]:
    """Chunks of members in pinned worker processes; one process alone on a GPU."""
    width = CHUNK[engine]
    chunks = [members[start : start + width] for start in range(0, len(members), width)]
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    n_workers = 1 if engine == "jax-gpu" else max(1, min(processes, len(chunks)))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(n_workers, context, initializer=_start_worker, initargs=(counter, engine)) as pool:
        futures: dict[Future[Any], tuple[int, int]] = {
            pool.submit(_jax_chunk, table, chunk, recipe, width): (index, len(chunk))
            for index, chunk in enumerate(chunks)
        }
        try:
            done = _collect(futures, len(members), on_progress)
        except BaseException:
            # A worker inside XLA reacts to no signal before its chunk is done, and leaving the pool waits for it.
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
    parts = [member for index in range(len(chunks)) for member in done[index]]
    return [_weights(part, table, member) for part, member in zip(parts, members, strict=True)]


def _start_worker(counter: Any, engine: Engine) -> None:  # noqa: ANN401 - no public type for a shared value
    """Choose this worker's device, and on the CPU pin it to one core."""
    from vmaf_assay.training import jax_engine as ensemble

    ensemble.prepare("cuda,rocm" if engine == "jax-gpu" else "cpu")
    with counter.get_lock():
        index = counter.value
        counter.value += 1
    if engine == "jax" and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})


def _jax_chunk(table: Table, members: Sequence[Member], recipe: Recipe, width: int) -> list[list[F32]]:
    from vmaf_assay.training import jax_engine as ensemble

    ensemble.check_device()
    return ensemble.train_chunk(table, members, recipe, width)


def _weights(parts: Sequence[F32], table: Table, member: Member) -> MemberWeights:
    w1, b1, w2, b2, w3, b3 = parts
    fitted, n_features = scalers(table, member), table.features.shape[1]
    return MemberWeights(
        feature_mean=fitted.mean[:n_features],
        feature_std=fitted.std[:n_features],
        target_mean=fitted.t_mean,
        target_std=fitted.t_std,
        w1=w1,
        b1=b1[0],
        w2=w2,
        b2=b2[0],
        w3=w3,
        b3=b3[0],
    )
