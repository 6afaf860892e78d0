"""The stacked network and its dropout, against plain integers and NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.conftest import random_member
from vmaf_assay.model.weights import reference_predict
from vmaf_assay.training.jax_engine import Params, forward, keep_masks

SEEDS = np.array([3, 0xFFFFFFFF], dtype=np.uint32)


def fmix32(x: int) -> int:
    """MurmurHash3's finaliser in Python integers, as published."""
    x ^= x >> 16
    x = x * 0x85EBCA6B & 0xFFFFFFFF
    x ^= x >> 13
    x = x * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ x >> 16


def test_masks_are_the_hash_they_say():
    """Every element from (seed, step, position), low 16 bits for layer 1 and high for layer 2."""
    step, batch, width, dropout = 70_001, 3, 5, 0.1
    first, second = keep_masks(jnp.asarray(SEEDS), jnp.uint32(step), batch, width, dropout)
    for member, seed in enumerate(SEEDS.tolist()):
        for place in range(batch * width):
            word = fmix32((fmix32(fmix32(step) ^ seed) + place * 0x9E3779B9) & 0xFFFFFFFF)
            for mask, bits in ((first, word & 0xFFFF), (second, word >> 16)):
                scale = 65536 / (65536 - 6554)
                expected = 0.0 if bits < 6554 else scale
                assert float(mask[member, place // width, place % width]) == pytest.approx(expected)


def test_masks_drop_what_they_are_asked_to():
    """Over 4 million elements each layer drops 10 % within five standard errors; layers and steps differ."""
    kept = np.array([keep_masks(jnp.asarray(SEEDS), jnp.uint32(s), 32, 64, 0.1) for s in range(500)]) > 0
    rates = 1 - kept.mean(axis=(0, 2, 3, 4))
    n = kept[:, 0].size
    assert n > 2_000_000
    np.testing.assert_allclose(rates, 0.1, rtol=0, atol=5 * np.sqrt(0.09 / n))
    agree = (kept[:, 0] == kept[:, 1]).mean()
    assert agree == pytest.approx(0.9**2 + 0.1**2, abs=0.002)  # what independent layers give
    lag = (kept[1:] == kept[:-1]).mean()
    assert lag == pytest.approx(0.82, abs=0.002)


def test_no_dropout_keeps_everything():
    """At 0 every mask is exactly 1."""
    for mask in keep_masks(jnp.asarray(SEEDS), jnp.uint32(9), 4, 8, 0.0):
        assert (np.asarray(mask) == 1).all()


def test_stacked_forward_is_each_member_alone():
    """Three members in one program give what the reference gives one by one."""
    members = [random_member(seed) for seed in range(3)]
    rng = np.random.default_rng(5)
    features = rng.normal(size=(7, 12)).astype(np.float32)
    codec = rng.random((7, 20)).astype(np.float32)
    scaled = [np.concatenate([(features - m.feature_mean) / m.feature_std, codec], axis=1) for m in members]
    params = Params(
        *(
            jnp.asarray(
                np.stack([getattr(m, name) if name[0] == "w" else getattr(m, name)[None] for m in members])
            )
            for name in Params._fields
        )
    )
    scores = np.asarray(forward(params, jnp.asarray(np.stack(scaled))))
    for member, score in zip(members, scores, strict=True):
        expected = reference_predict(member, features, codec)
        np.testing.assert_allclose(score * member.target_std + member.target_mean, expected, atol=2e-3)
