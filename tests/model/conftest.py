"""Shared fixtures: a synthetic corpus, random members, and rows of the shipped corpus."""

import numpy as np
import pytest

from tests.shipped import shipped_corpus
from tests.synthetic import write_synthetic_corpus
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.model.weights import MemberWeights
from vmaf_assay.training.rows import forecast_rows


def random_member(seed: int, *, n_features: int = 12, n_codec: int = 20, hidden: int = 64) -> MemberWeights:
    """A member with weights of a trained one's size."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[0] if shape else 1)).astype(np.float32)

    return MemberWeights(
        feature_mean=draw(n_features),
        feature_std=np.abs(draw(n_features)) + np.float32(0.1),
        target_mean=np.array(80, dtype=np.float32),
        target_std=np.array(12, dtype=np.float32),
        w1=draw(n_features + n_codec, hidden),
        b1=draw(hidden),
        w2=draw(hidden, hidden),
        b2=draw(hidden),
        w3=draw(hidden, 1),
        b3=draw(1),
    )


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """The synthetic corpus as loaded, and its rows by cell key."""
    folder = tmp_path_factory.mktemp("synthetic")
    rows = write_synthetic_corpus(folder)
    return load_corpus(folder), rows


@pytest.fixture(scope="session")
def real_rows():
    """Forecast rows of the shipped corpus."""
    return forecast_rows(shipped_corpus())
