"""The native engine: the reference's bits on every instruction set, the JAX program's arithmetic, a safe cache."""

import ctypes
import os
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from vmaf_assay.errors import ConfigError, ToolError
from vmaf_assay.model.weights import reference_predict
from vmaf_assay.promise.folds import grouped_folds
from vmaf_assay.promise.metrics import plcc
from vmaf_assay.training import native, reference
from vmaf_assay.training.native import FLAGS, Kernel, Shape
from vmaf_assay.training.recipe import (
    RECIPES,
    Member,
    Table,
    adam_rates,
    batches,
    dropout_word,
    initial_weights,
    order_generator,
    row_weights,
    scalers,
)
from vmaf_assay.training.reference import Dropout, Rows, train_reference
from vmaf_assay.training.train import choose_engine, n_trained_inputs, train_stacked

ADAM, ADAMW = RECIPES["adr-0303"], RECIPES["forecast-v1"]
SOURCE = resources.files("vmaf_assay.training").joinpath("kernel.c").read_bytes()

# -DLANES is the width an instruction set would choose: 16 is AVX-512's, on vectors that gcc splits in two here.
BUILDS = {
    "avx2": ["-march=native"],
    "sse with fma": ["-march=x86-64-v2", "-mfma"],
    "sse, fma by the C library": ["-march=x86-64-v2"],
    "16 lanes, as avx-512": ["-march=native", "-DLANES=16"],
    "not optimised": ["-march=native", "-O0"],
}


def a_members_rows(rows, recipe, member):
    """What the engines train a member on: scaled rows, rates, dropout and initial weights."""
    table = Table(rows.features, rows.codec, rows.target, rows.prior_scale)
    fitted = scalers(table, member)
    inputs = (np.concatenate([rows.features, rows.codec], axis=1) - fitted.mean) / fitted.std
    scaled = Rows(inputs, (rows.target - fitted.t_mean) / fitted.t_std, row_weights(rows.target, recipe))
    dropout = Dropout.of(dropout_word(member.seed), recipe.dropout)
    return scaled, dropout, initial_weights(member, inputs.shape[1], recipe.hidden)


def build(tmp_path, shape, *flags):
    """A kernel built with other flags than the package's own."""
    kept = [flag for flag in FLAGS if not flag.startswith(("-march", "-O"))]
    sizes = [f"-D{name.upper()}={value}" for name, value in shape._asdict().items()]
    library = native.build(native.compiler(), [*kept, "-O3", *flags, *sizes], SOURCE, tmp_path)
    return Kernel(shape, ctypes.CDLL(str(library)), "gcc")


@pytest.mark.parametrize("recipe", [ADAM, ADAMW], ids=lambda r: r.name)
@pytest.mark.parametrize("flags", BUILDS.values(), ids=BUILDS)
def test_every_instruction_set_gives_the_references_bits(flags, recipe, real_rows, tmp_path):
    """Forty steps on rows of the shipped corpus, dropout and row weights: not one bit differs from NumPy's."""
    member, steps = Member(3, np.arange(len(real_rows.target))), 40
    rows, dropout, initial = a_members_rows(real_rows, recipe, member)
    (order,) = batches(member, steps, recipe, steps)
    rates = adam_rates(recipe, steps)
    coupled = 1e-2 if recipe.optimizer == "adam" else 0.0
    expected = train_reference(initial, rows, order, rates, dropout, coupled)
    kernel = build(tmp_path, Shape.of(rows.inputs.shape[1], recipe.hidden, recipe.batch_size), *flags)
    ours = kernel.train(initial, rows, [order[:17], order[17:]], rates, dropout, coupled)
    for start, mine, theirs in zip(initial, ours, expected, strict=True):
        assert mine.tobytes() == theirs.tobytes()
        assert np.abs(mine - start).max() > recipe.lr  # it trained


@pytest.mark.parametrize("flags", BUILDS.values(), ids=BUILDS)
def test_every_instruction_set_draws_numpys_permutations(flags, tmp_path):
    """Powers of two and their neighbours, many passes, slices that end within one: as `recipe.batches`."""
    kernel = build(tmp_path, Shape.of(8, 32, 32), *flags)
    for n_rows in (32, 33, 63, 64, 65, 1000, 4095, 4096, 4097, 70_001):
        rows = np.random.default_rng(n_rows).choice(3 * n_rows, n_rows, replace=False)
        member, steps = Member(n_rows, np.sort(rows)), 5 * n_rows // 32
        expected = np.concatenate(list(batches(member, steps, ADAM, steps)))
        slices = list(kernel.batches(order_generator(member), member.train_rows, steps, 700))
        assert [len(one) for one in slices[:-1]] == [700] * (len(slices) - 1)
        np.testing.assert_array_equal(np.concatenate(slices), expected)


def test_a_kernel_that_draws_otherwise_is_refused(cache, monkeypatch):
    """Another multiplier of the generator: found before use."""
    changed = SOURCE.replace(b"0x4385DF649FCCF645u", b"0x4385DF649FCCF647u")
    assert changed != SOURCE
    monkeypatch.setattr(native.resources, "files", lambda _: SimpleNamespace(joinpath=lambda _: Fake(changed)))
    with pytest.raises(ToolError, match="other bits"):
        native.load(SMALL)
    assert list(cache.iterdir()) == []


class Fake(bytes):
    """A file that was read."""

    def read_bytes(self) -> bytes:
        """Its bytes."""
        return bytes(self)


@pytest.mark.parametrize("recipe", [ADAM, ADAMW], ids=lambda r: r.name)
def test_kernel_is_the_jax_program(recipe, real_rows):
    """Three hundred steps on rows of the shipped corpus: weights agree to a thousandth of what they moved."""
    recipe = replace(recipe, max_steps=300)
    rows = (real_rows.features, real_rows.codec, real_rows.target)
    members = [Member(seed, np.arange(seed, len(real_rows.target))) for seed in (0, 4)]
    both = [
        train_stacked(*rows, members, recipe, prior_scale=real_rows.prior_scale, engine=engine)
        for engine in ("native", "jax")
    ]
    for member, ours, theirs in zip(members, *both, strict=True):
        start = initial_weights(member, n_trained_inputs(real_rows.features, real_rows.codec), recipe.hidden)
        used = np.append(np.ones(real_rows.features.shape[1], dtype=bool), real_rows.codec.any(axis=0))
        for name, at in zip(("w1", "b1", "w2", "b2", "w3", "b3"), start, strict=True):
            mine, its = (getattr(one, name)[used if name == "w1" else ...] for one in (ours, theirs))
            moved, gap = np.abs(mine - at).max(), np.abs(mine - its).max()
            assert moved > 5 * recipe.lr
            assert gap < 1e-3 * moved, name


@pytest.mark.slow
def test_engines_agree_to_the_end(real_rows):
    """All 200 epochs of ADR-0303, one group in nine left out: held-out predictions within 0.01 points of JAX's.

    And the fold's PLCC within 1e-4, which is what two classes of machines may differ by.
    """
    fold = grouped_folds(real_rows.group, 9)[0]
    rows = (real_rows.features, real_rows.codec, real_rows.target)
    held_out = (real_rows.features[fold.test], real_rows.codec[fold.test])
    both = [
        reference_predict(train_stacked(*rows, [Member(0, fold.train)], ADAM, engine=engine)[0], *held_out)
        for engine in ("native", "jax")
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=0, atol=0.01)
    scores = [plcc(real_rows.target[fold.test], one) for one in both]
    assert abs(scores[0] - scores[1]) < 1e-4


def test_fma_rounds_once():
    """Against exact fractions, where rounding twice would show: ties of the sum just missed."""
    from fractions import Fraction

    rng = np.random.default_rng(1)
    a, b = ((rng.integers(1, 2**24, 4000) * 2.0**-12).astype(np.float32) for _ in range(2))
    c = (-(a.astype(np.float64) * b) * (1 + rng.choice([0, 2.0**-30, -(2.0**-24), 1], 4000))).astype(np.float32)
    ours = reference._fma(a, b, c)
    for x, y, z, got in zip(a, b, c, ours, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        near = [got, *(np.nextafter(got, np.float32(side)) for side in (-np.inf, np.inf))]
        gaps = [abs(Fraction(float(value)) - exact) for value in near]
        assert gaps[0] == min(gaps)


def test_gelu_is_within_its_stated_error():
    """Value and slope against SciPy's normal distribution in float64, -20 to 20: below 3.5e-7 x max(1, |z|)."""
    z = np.linspace(-20, 20, 400_001).astype(np.float32)
    value, slope = reference._gelu(z)
    exact = z.astype(np.float64)
    allowed = 3.5e-7 * np.maximum(1, np.abs(exact))
    assert (np.abs(value - exact * norm.cdf(exact)) < allowed).all()
    assert (np.abs(slope - norm.cdf(exact) - exact * norm.pdf(exact)) < allowed).all()


def test_reciprocal_is_within_its_stated_error():
    """Over all that Adam's divisor can be, against float64: below 8e-8 relative."""
    x = np.exp(np.linspace(np.log(1e-8), np.log(1e8), 1_000_001)).astype(np.float32)
    assert np.abs(reference._reciprocal(x) * x.astype(np.float64) - 1).max() < 8e-8


def test_rates_are_adams():
    """Against NumPy's own powers and cosine."""
    t = np.arange(1, 5001)
    for recipe in (ADAM, ADAMW):
        lr = recipe.lr * (0.5 * (1 + np.cos(np.pi * (t - 1) / 5000)) if recipe.schedule == "cosine" else 1)
        decay = lr * recipe.weight_decay if recipe.optimizer == "adamw" else np.zeros(5000)
        expected = np.stack([lr / (1 - 0.9**t), 1 / np.sqrt(1 - 0.999**t), decay * np.ones(5000)], axis=1)
        np.testing.assert_allclose(adam_rates(recipe, 5000), expected, rtol=2e-7)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.load.cache_clear()
    yield tmp_path / "vmaf-assay" / "kernels"
    native.load.cache_clear()


SMALL = Shape.of(5, 32, 8)


def library(cache) -> Path:
    """The one library kept."""
    (kept,) = cache.glob("*.so")
    return kept


def test_a_kernel_is_compiled_once(cache, monkeypatch):
    """The second load takes the file of the first, which nobody else could have written; no litter is left."""
    native.load(SMALL)
    kept = library(cache)
    assert len(list(cache.iterdir())) == 2
    assert kept.stat().st_mode & 0o022 == 0
    assert cache.stat().st_mode & 0o777 == 0o700
    native.load.cache_clear()
    monkeypatch.setattr(native, "build", lambda *_: pytest.fail("compiled again"))
    native.load(SMALL)


def test_a_cached_file_others_may_write_is_not_loaded(cache):
    """Made writable for others, it is compiled anew in its place; such a cache folder is not used at all."""
    native.load(SMALL)
    kept = library(cache)
    kept.write_bytes(b"not a library")
    kept.chmod(0o777)
    native.load.cache_clear()
    native.load(SMALL)
    assert kept.stat().st_size > 1000
    cache.chmod(0o777)
    for path in cache.iterdir():
        path.unlink()
    native.load.cache_clear()
    native.load(SMALL)
    assert list(cache.iterdir()) == []


SPOILED = {
    "cut": lambda data: data[: len(data) // 2],
    "one byte of code changed": lambda data: data[:4500] + bytes([data[4500] ^ 1]) + data[4501:],
    "empty": lambda data: b"",
    "another file": lambda data: b"not a library",
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_spoiled_kernel_is_built_again_once(cache, monkeypatch, what):
    """A kept library is compared with its digest before it is loaded: loading a cut one kills the process."""
    native.load(SMALL)
    kept = library(cache)
    good = kept.read_bytes()
    kept.unlink()  # not in place: this process has the library loaded
    kept.write_bytes(SPOILED[what](good))
    native.load.cache_clear()
    built = []
    build = native.build
    monkeypatch.setattr(native, "build", lambda *a: built.append(a) or build(*a))
    native.check(native.load(SMALL))
    native.load.cache_clear()
    native.load(SMALL)
    assert len(built) == 1
    assert kept.read_bytes() == good


def test_a_kernel_without_a_digest_is_built_again(cache):
    """A library that an earlier version kept, or whose digest is a link, is not loaded."""
    native.load(SMALL)
    kept = library(cache)
    digest = kept.with_suffix(".sha256")
    text = digest.read_bytes()
    digest.unlink()
    kept.unlink()
    kept.write_bytes(b"not a library")
    native.load.cache_clear()
    native.load(SMALL)
    assert digest.read_bytes() == text
    aside = cache.parent / "digest"
    digest.rename(aside)
    digest.symlink_to(aside)
    native.load.cache_clear()
    native.load(SMALL)
    assert not digest.is_symlink()


def test_a_library_that_cannot_be_opened_is_one_line(cache, monkeypatch):
    """A compiler whose output is not a library of this machine is named, with what to do; nothing is kept."""

    def build(cc, flags, source, folder):
        (folder / "kernel.so").write_bytes(b"of another machine")
        return folder / "kernel.so"

    monkeypatch.setattr(native, "build", build)
    with pytest.raises(ToolError, match=r"does not load: .*--engine jax"):
        native.load(SMALL)
    assert list(cache.iterdir()) == []


def test_a_kernel_that_computes_otherwise_is_refused(cache, monkeypatch):
    """A compiler that fuses as it likes gives other bits: found before use, not kept, and without a trace.

    The trace: such a library sets the processor to flush subnormal numbers to zero as soon as it is loaded.
    """
    flags = [flag for flag in FLAGS if "fp-contract" not in flag]
    monkeypatch.setattr(native, "FLAGS", (*flags, "-ffast-math"))
    with pytest.raises(ToolError, match="other bits"):
        native.load(SMALL)
    assert list(cache.iterdir()) == []
    assert np.float64(2.2250738585072014e-308) / 2 > 0


def test_a_compiler_that_fails_is_named(cache, monkeypatch):
    """Its own last words, and what to do."""
    monkeypatch.setattr(native, "FLAGS", (*FLAGS, "-march=nonsense"))
    with pytest.raises(ToolError, match=r"does not compile the training kernel.*nonsense.*--engine jax"):
        native.load(SMALL)


def test_without_a_compiler_jax_trains(monkeypatch):
    """`auto` falls back, `native` says why not, and what the kernel cannot shape goes to JAX too."""
    assert choose_engine("auto", ADAM) == "native"
    assert choose_engine("auto", replace(ADAM, hidden=48)) == "jax"
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CC", raising=False)
    assert choose_engine("auto", ADAM) == "jax"
    with pytest.raises(ConfigError, match="no C compiler"):
        choose_engine("native", ADAM)
