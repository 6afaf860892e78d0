"""Folds partition rows by group; the metrics agree with SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.promise.folds import grouped_folds, leave_one_group_out, make_folds, protocol_of
from vmaf_assay.promise.metrics import plcc, rmse, srocc


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60).filter(lambda g: len(set(g)) > 1))
def test_every_row_is_held_out_once_and_never_trained_on_by_its_fold(groups):
    """Folds partition the rows, and a group is on exactly one side of each."""
    folds = leave_one_group_out(groups)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(groups)))
    for fold in folds:
        assert {groups[i] for i in fold.test} == {fold.held_out}
        assert fold.held_out not in {groups[i] for i in fold.train}
        assert len(fold.train) + len(fold.test) == len(groups)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=60), st.integers(2, 7), st.randoms())
def test_grouped_folds_keep_groups_whole(groups, k, random):
    """Every group is left out in one fold and trained on in all others, whatever the order of rows."""
    if not k < len(set(groups)):
        with pytest.raises(ConfigError, match="grouped folds of"):
            grouped_folds(groups, k)
        return
    folds = grouped_folds(groups, k)
    fold_of = {groups[i]: fold.held_out for fold in folds for i in fold.test}
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(groups)))
    for fold in folds:
        assert len(fold.test)
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.test}
    assert protocol_of(fold_of) == f"{k} grouped folds"
    shuffled = random.sample(groups, len(groups))
    assert fold_of == {shuffled[i]: f.held_out for f in grouped_folds(shuffled, k) for i in f.test}


def test_many_groups_are_left_out_together():
    """Up to 100 groups alone, above that in 20 folds about equal in rows; asked for, K."""
    few, many = [f"g{i}" for i in range(100)], [f"g{i % 140}" for i in range(1400)]
    assert len(make_folds(few)) == 100
    assert sorted(len(fold.test) for fold in make_folds(many)) == [70] * 20
    assert [fold.held_out for fold in make_folds(few, 4)] == [f"fold {i} of 4" for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("names", [("fold 1 of 2", "b"), ("fold 1 of 3", "fold 2 of 3"), ("b", "a")])
def test_another_protocol_is_refused(names):
    """Folds that are neither each group's own nor all K of K."""
    with pytest.raises(CorpusError, match="name of another group"):
        protocol_of(dict(zip("ab", names, strict=True)))


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
