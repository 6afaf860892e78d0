"""Training: the same bits however it is run, the arithmetic it claims, and nothing of a group left out."""

import multiprocessing
import signal
import threading
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from vmaf_assay.errors import ConfigError
from vmaf_assay.model.weights import reference_predict
from vmaf_assay.promise.folds import leave_one_group_out
from vmaf_assay.promise.metrics import plcc
from vmaf_assay.training import jax_engine as ensemble
from vmaf_assay.training.jax_engine import Params, begin, train_program
from vmaf_assay.training.recipe import RECIPES, Member, Recipe, Table, row_weights
from vmaf_assay.training.train import CHUNK, train_stacked

ADAM, ADAMW = RECIPES["adr-0303"], RECIPES["forecast-v1"]


def problem(n_rows: int, n_members: int, recipe: Recipe, steps: int, rows=None) -> dict:
    """Inputs of `train_program`: given rows, or random ones with a smooth target."""
    rng = np.random.default_rng(11)
    if rows is None:
        inputs = rng.normal(size=(n_rows, 9)).astype(np.float32)
        target = (80 + 10 * np.tanh(inputs[:, 0] - inputs[:, 1])).astype(np.float32)
    else:
        inputs, target = np.concatenate([rows.features, rows.codec], axis=1), rows.target
    k, h = inputs.shape[1], recipe.hidden
    shapes = {"w1": (k, h), "b1": (1, h), "w2": (h, h), "b2": (1, h), "w3": (h, 1), "b3": (1, 1)}
    initial = {n: rng.uniform(-0.3, 0.3, (n_members, *s)).astype(np.float32) for n, s in shapes.items()}
    scale = {
        "mean": np.tile(inputs.mean(axis=0), (n_members, 1)),
        "std": np.tile(inputs.std(axis=0) + np.float32(0.1), (n_members, 1)),
        "t_mean": np.full(n_members, 80, dtype=np.float32),
        "t_std": np.full(n_members, 10, dtype=np.float32),
    }
    return {
        "initial": initial,
        "rows": {"inputs": inputs, "target": target, "weight": row_weights(target, recipe)},
        "order": rng.integers(len(target), size=(steps, n_members, recipe.batch_size)).astype(np.int32),
        "scale": scale,
        "seeds": np.arange(1, n_members + 1, dtype=np.uint32) * np.uint32(77_777),
    }


def run_program(recipe: Recipe, steps: int, parts: dict, *, jit: bool) -> Params:
    """Train with or without jit."""
    arrays = jax.tree.map(jnp.asarray, {name: part for name, part in parts.items() if name != "initial"})
    initial = Params(**{name: jnp.asarray(value) for name, value in parts["initial"].items()})
    start = begin(recipe, steps, initial)
    arguments = (start, arrays["rows"], arrays["order"], jnp.int32(steps), arrays["scale"], arrays["seeds"])
    if jit:
        return jax.jit(lambda *a: train_program(recipe, steps, *a))(*arguments).params
    with jax.disable_jit():
        return train_program(recipe, steps, *arguments).params


@pytest.mark.parametrize("recipe", [ADAM, ADAMW], ids=lambda r: r.name)
def test_jitted_program_is_the_eager_one(recipe, real_rows):
    """On rows of the shipped corpus, 12 steps with dropout agree to rounding (jax issue 39103: jit was wrong)."""
    parts = problem(0, 3, recipe, 12, rows=real_rows)
    jitted, eager = (run_program(recipe, 12, parts, jit=jit) for jit in (True, False))
    for name in Params._fields:
        moved = np.abs(np.asarray(getattr(jitted, name)) - parts["initial"][name]).max()
        gap = np.abs(np.asarray(getattr(jitted, name)) - np.asarray(getattr(eager, name))).max()
        assert moved > 10 * recipe.lr * 0.1, name  # it trained
        assert gap < 2e-3 * moved, name


def numpy_training(recipe: Recipe, steps: int, parts: dict, member: int) -> list[np.ndarray]:
    """One member in float64: gradients by hand, Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019)."""
    p = [parts["initial"][name][member].astype(np.float64) for name in Params._fields]
    m, v = ([np.zeros_like(x) for x in p] for _ in range(2))
    scale = {key: value[member].astype(np.float64) for key, value in parts["scale"].items()}
    for step in range(steps):
        at = parts["order"][step, member]
        x = (parts["rows"]["inputs"][at].astype(np.float64) - scale["mean"]) / scale["std"]
        truth = (parts["rows"]["target"][at].astype(np.float64) - scale["t_mean"]) / scale["t_std"]
        weight = parts["rows"]["weight"][at].astype(np.float64)

        def cdf(z):
            return 0.5 * (1 + erf(z / np.sqrt(2)))

        def slope(z):
            return 0.5 * (1 + erf(z / np.sqrt(2))) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)

        z1 = x @ p[0] + p[1]
        h1 = z1 * cdf(z1)
        z2 = h1 @ p[2] + p[3]
        h2 = z2 * cdf(z2)
        d3 = (2 * weight * ((h2 @ p[4] + p[5])[:, 0] - truth) / weight.sum())[:, None]
        d2 = (d3 @ p[4].T) * slope(z2)
        d1 = (d2 @ p[2].T) * slope(z1)
        gradient = [
            part for x_, d in ((x, d1), (h1, d2), (h2, d3)) for part in (x_.T @ d, d.sum(0, keepdims=True))
        ]
        coupled = recipe.weight_decay if recipe.optimizer == "adam" else 0.0
        apart = recipe.weight_decay if recipe.optimizer == "adamw" else 0.0
        rate = recipe.lr * (0.5 * (1 + np.cos(np.pi * step / steps)) if recipe.schedule == "cosine" else 1)
        for i, g in enumerate(gradient):
            g = g + coupled * p[i]
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
            update = (m[i] / (1 - 0.9 ** (step + 1))) / (np.sqrt(v[i] / (1 - 0.999 ** (step + 1))) + 1e-8)
            p[i] = p[i] - rate * (update + apart * p[i])
    return p


@pytest.mark.parametrize("recipe", [replace(ADAM, weight_decay=0.5), ADAMW], ids=lambda r: r.name)
def test_steps_are_the_optimizer_they_claim(recipe):
    """Without dropout, 8 steps of each stacked member equal hand-written backpropagation in float64.

    The decay of ADR-0303 is made large enough here to show whether it is coupled.
    """
    recipe = replace(recipe, dropout=0.0, hidden=6, batch_size=16)
    parts = problem(80, 2, recipe, 8)
    trained = run_program(recipe, 8, parts, jit=True)
    for member in range(2):
        for name, expected in zip(Params._fields, numpy_training(recipe, 8, parts, member), strict=True):
            np.testing.assert_allclose(np.asarray(getattr(trained, name))[member], expected, rtol=0, atol=3e-5)


def small_rows(n_rows: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [N, 6], codec block [N, 4] and a smooth target."""
    rng = np.random.default_rng(2)
    features = rng.normal(3, 2, size=(n_rows, 6)).astype(np.float32)
    codec = rng.random((n_rows, 4)).astype(np.float32)
    target = 85 + 8 * np.tanh(features[:, 0] / 2 - 1.5) - 10 * codec[:, 3] * codec[:, 0]
    return features, codec, target.astype(np.float32)


def as_bytes(members) -> list[bytes]:
    """Each member's weights as bytes."""
    return [b"".join(np.ascontiguousarray(part).tobytes() for part in member) for member in members]


@pytest.mark.parametrize("engine", ["native", "jax"])
def test_bits_do_not_depend_on_processes(engine):
    """Two chunks in one process and in two give the same bytes; different seeds give different ones."""
    rows = small_rows()
    members = [Member(seed, np.arange(seed % 3, 80)) for seed in range(CHUNK["jax"] + 2)]
    recipe = replace(ADAM, epochs=5)
    seen = []
    one = train_stacked(*rows, members, recipe, processes=1, engine=engine)
    two = train_stacked(
        *rows, members, recipe, processes=2, engine=engine, on_progress=lambda *at: seen.append(at)
    )
    assert as_bytes(one) == as_bytes(two)
    assert len(set(as_bytes(one))) == len(members)
    assert seen[-1] == (len(members), len(members))


def test_rows_left_out_never_reach_a_member():
    """Every held-out feature, codec and target replaced by rubbish: not one bit of the fold's member changes."""
    features, codec, target = small_rows()
    groups = [f"g{i % 4}" for i in range(len(target))]
    recipe = replace(ADAMW, epochs=4)
    folds = leave_one_group_out(groups)[:2]
    members = [Member(0, fold.train) for fold in folds]
    before = as_bytes(train_stacked(features, codec, target, members, recipe))
    for part, value in ((features, 1e6), (codec, -50), (target, 77.7)):
        part[folds[0].test] = value
    after = as_bytes(train_stacked(features, codec, target, members, recipe))
    assert after[0] == before[0]
    assert after[1] != before[1]  # the other fold trains on those rows


def test_scaler_is_of_the_members_own_rows():
    """Mean and standard deviation over its training rows in float64; a constant feature does not divide by 0."""
    features, codec, target = small_rows()
    features[:, 5] = 4
    seen = np.arange(0, 80, 2)
    (member,) = train_stacked(features, codec, target, [Member(0, seen)], replace(ADAM, epochs=1))
    np.testing.assert_allclose(member.feature_mean, features[seen].mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(member.feature_std[:5], features[seen, :5].std(axis=0, dtype=np.float64), rtol=1e-6)
    assert member.feature_std[5] > 0
    np.testing.assert_allclose(member.target_mean, target[seen].mean(dtype=np.float64), rtol=1e-6)
    assert np.isfinite(reference_predict(member, features, codec)).all()


def test_prior_scale_is_inside_the_member():
    """Each standardised feature is multiplied by its scale; raw features go in as before."""
    rows, seen = small_rows(), np.arange(80)
    scale = np.array([1, 0.25, 1, 1, 1, 0.5], dtype=np.float32)
    recipe = replace(ADAM, epochs=2)
    (plain,) = train_stacked(*rows, [Member(0, seen)], recipe)
    (scaled,) = train_stacked(*rows, [Member(0, seen)], recipe, prior_scale=scale)
    np.testing.assert_allclose(scaled.feature_std, plain.feature_std / scale, rtol=1e-6)
    assert (scaled.w1 != plain.w1).any()


@pytest.mark.parametrize("engine", ["native", "jax"])
def test_inputs_that_no_row_sets_weigh_nothing(engine):
    """Three zero columns in the codec block: their weights are exactly 0, every other bit is as without them."""
    features, codec, target = small_rows()
    wide = np.insert(codec, [0, 2, 2], 0, axis=1)
    empty = ~wide.any(axis=0)
    recipe = replace(ADAM, epochs=2)
    (plain,) = train_stacked(features, codec, target, [Member(0, np.arange(80))], recipe, engine=engine)
    (member,) = train_stacked(features, wide, target, [Member(0, np.arange(80))], recipe, engine=engine)
    assert empty.sum() >= 3
    assert not member.w1[6:][empty].any()
    assert (member.w1[6:][~empty] == plain.w1[6:][codec.any(axis=0)]).all()
    np.testing.assert_array_equal(
        reference_predict(member, features, wide), reference_predict(plain, features, codec)
    )


def test_it_learns_what_it_has_not_seen():
    """A smooth function of 300 rows: correlation over 0.97 on 100 rows kept back."""
    features, codec, target = small_rows(400)
    (member,) = train_stacked(features, codec, target, [Member(1, np.arange(300))], replace(ADAMW, epochs=120))
    predicted = reference_predict(member, features[300:], codec[300:])
    assert plcc(target[300:], predicted) > 0.97


def test_row_weights_follow_the_useful_range():
    """1 above 75, 0.2 above 60, 0.02 below; all 1 for ADR-0303."""
    target = np.array([76, 75, 61, 60, 5], dtype=np.float32)
    np.testing.assert_allclose(row_weights(target, ADAMW), [1, 0.2, 0.2, 0.02, 0.02])
    np.testing.assert_array_equal(row_weights(target, ADAM), np.ones(5))


def test_adr_0303_is_what_the_record_says():
    """MSE, Adam 5e-4 with decay 1e-5 in the gradient, batch 32, 200 epochs, dropout 0.1, 64 units."""
    assert Recipe("adr-0303", 200, 32, 5e-4, 1e-5, 0.1, 64, "adam", "constant", "none", None) == ADAM


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_value_that_is_not_finite_is_refused(which):
    """One NaN anywhere stops the training before it starts."""
    rows = small_rows()
    rows[which].reshape(-1)[7] = np.nan
    with pytest.raises(ConfigError, match="NaN"):
        train_stacked(*rows, [Member(0, np.arange(80))], ADAM)


def test_too_few_rows_are_refused():
    """A fold with fewer rows than a batch cannot be trained as the recipe says."""
    with pytest.raises(ConfigError, match="fewer than 32"):
        train_stacked(*small_rows(), [Member(0, np.arange(31))], ADAM)


class _StopError(Exception):
    pass


@pytest.mark.parametrize(("engine", "after_s"), [("native", 1), ("jax", 4)])
def test_an_interrupt_ends_the_workers_at_once(engine, after_s):
    """Interrupted inside a training of many minutes, the call returns at once and leaves no process or thread."""
    cpu_s_at_stop = []

    def stop(*_):
        cpu_s_at_stop.append(time.process_time())
        raise _StopError

    members = [Member(seed, np.arange(80)) for seed in range(3)]
    before = set(multiprocessing.active_children())
    threads = threading.active_count()
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    started = time.monotonic()
    try:
        with pytest.raises(_StopError):
            train_stacked(
                *small_rows(), members, replace(ADAM, epochs=10**7, max_steps=10**7), processes=2, engine=engine
            )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    # The wall clock only tells "ended" from "trained to the end": on a busy machine seconds pass without us.
    # What this process still did after the interrupt, its native threads included, is counted in processor time.
    assert time.monotonic() - started < after_s + 60
    assert time.process_time() - cpu_s_at_stop[0] < 1.0
    assert set(multiprocessing.active_children()) <= before
    if engine == "native":
        assert threading.active_count() <= threads


def test_a_wide_chunk_is_the_same_program():
    """All members in one chunk, as `jax-gpu` takes them, on the CPU: the narrow chunks' weights to rounding."""
    features, codec, target = small_rows()
    table = Table(features, codec, target, np.ones(6, dtype=np.float32))
    members = [Member(seed, np.arange(seed % 3, 80)) for seed in range(14)]
    recipe = replace(ADAM, epochs=5)
    wide = ensemble.train_chunk(table, members, recipe, 20)
    narrow = train_stacked(features, codec, target, members, recipe, engine="jax")
    for parts, member in zip(wide, narrow, strict=True):
        np.testing.assert_allclose(parts[0], member.w1, rtol=0, atol=1e-6)
        np.testing.assert_allclose(parts[2], member.w2, rtol=0, atol=1e-6)


def test_without_a_gpu_it_is_said():
    """One line with what to do, from the worker that looked for it; not a traceback, not the CPU in silence."""
    if any(device.platform == "gpu" for device in jax.devices()):
        train_stacked(*small_rows(), [Member(0, np.arange(80))], replace(ADAM, epochs=2), engine="jax-gpu")
    else:
        with pytest.raises(ConfigError, match="JAX finds no GPU"):
            train_stacked(*small_rows(), [Member(0, np.arange(80))], ADAM, engine="jax-gpu")
