"""Folds partition rows by group; the metrics agree with SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmaf_assay.errors import CorpusError
from vmaf_assay.evaluate.folds import leave_one_group_out
from vmaf_assay.evaluate.metrics import plcc, rmse, srocc


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60).filter(lambda g: len(set(g)) > 1))
def test_every_row_is_held_out_once_and_never_trained_on_by_its_fold(groups):
    """Folds partition the rows, and a group is on exactly one side of each."""
    folds = leave_one_group_out(groups)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(groups)))
    for fold in folds:
        assert {groups[i] for i in fold.test} == {fold.held_out}
        assert fold.held_out not in {groups[i] for i in fold.train}
        assert len(fold.train) + len(fold.test) == len(groups)


def test_one_group_is_refused():
    """Leave-one-out of one leaves nothing to train on."""
    with pytest.raises(CorpusError, match="two groups or more"):
        leave_one_group_out(["a", "a"])


@given(st.lists(st.tuples(st.floats(0, 100, width=32), st.floats(0, 100, width=32)), min_size=3, max_size=40))
def test_metrics_agree_with_scipy(pairs):
    """PLCC and SROCC are SciPy's, RMSE is the definition; a constant side has no correlation."""
    truth, predicted = np.array(pairs).T
    assert rmse(truth, predicted) == pytest.approx(np.sqrt(np.mean((truth - predicted) ** 2)))
    if np.ptp(truth) > 1e-3 and np.ptp(predicted) > 1e-3:
        assert plcc(truth, predicted) == pytest.approx(stats.pearsonr(truth, predicted)[0], abs=1e-6)
        assert srocc(truth, predicted) == pytest.approx(stats.spearmanr(truth, predicted)[0], abs=1e-9)
    assert np.isnan(plcc(truth, np.full(len(truth), 3.0)))
    assert np.isnan(srocc(np.full(len(truth), 3.0), predicted))
