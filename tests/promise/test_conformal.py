"""Bounds for a new group: exact on small cases, monotone, refused where groups do not suffice."""

import crepes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vmaf_assay.errors import ConfigError
from vmaf_assay.promise.conformal import check_confidence, covered_enough, hcp_interval, max_confidence

points = st.floats(-50, 50, allow_nan=False, width=32)
groups = st.lists(st.lists(points, min_size=1, max_size=6), min_size=9, max_size=30)


def arrays(rows) -> list[np.ndarray]:
    """Groups of residuals as arrays."""
    return [np.array(group, dtype=np.float64) for group in rows]


@given(groups)
def test_bounds_widen_with_confidence(rows):
    """Asking for more confidence never raises the lower bound and never lowers the upper one."""
    bounds = [hcp_interval(arrays(rows), confidence) for confidence in (0.5, 0.7, 0.8, 0.9)]
    assert [b.lower for b in bounds] == sorted((b.lower for b in bounds), reverse=True)
    assert [b.upper for b in bounds] == sorted(b.upper for b in bounds)


@given(groups)
def test_below_and_above_mirror_each_other(rows):
    """The upper offset is the lower one of the negated residuals, negated."""
    negated = [-group for group in arrays(rows)]
    assert hcp_interval(arrays(rows), 0.8).upper == -hcp_interval(negated, 0.8).lower


@given(groups, st.randoms(use_true_random=False))
def test_order_of_groups_and_rows_does_not_matter(rows, random):
    """Groups are exchangeable, and so are the rows of one."""
    shuffled = [random.sample(group, len(group)) for group in random.sample(rows, len(rows))]
    assert hcp_interval(arrays(shuffled), 0.9) == hcp_interval(arrays(rows), 0.9)


@given(groups, st.integers(2, 5))
def test_repeating_the_rows_of_a_group_changes_nothing(rows, times):
    """A group weighs the same however many rows it has: more frames are not more evidence."""
    repeated = [rows[0] * times, *rows[1:]]
    assert hcp_interval(arrays(repeated), 0.9) == hcp_interval(arrays(rows), 0.9)


@given(groups, st.floats(0.05, 0.9))
def test_the_bound_is_the_definition(rows, confidence):
    """The offset is a residual with weighted mass at or above it of at least C; no greater residual has that."""
    kept = arrays(rows)
    lower = hcp_interval(kept, confidence).lower

    def mass_at_or_above(t: float) -> float:
        return sum(np.mean(group >= t) for group in kept) / (len(kept) + 1)

    above = [value for group in kept for value in group if value > lower]
    assert mass_at_or_above(lower) >= confidence - 1e-9
    assert all(mass_at_or_above(value) < confidence + 1e-9 for value in above)
    assert any(lower in group for group in kept)


@pytest.mark.parametrize("n_groups", [19, 20, 37, 59])
@pytest.mark.parametrize("percent", [80, 90, 95])
def test_one_row_a_group_agrees_with_crepes(n_groups, percent):
    """With one row a group, this is split conformal prediction: crepes gives the same bounds."""
    residuals = np.random.default_rng(n_groups).normal(0, 2, n_groups)
    system = crepes.ConformalPredictiveSystem().fit(residuals)
    ours = hcp_interval([np.array([value]) for value in residuals], percent / 100)
    theirs = system.predict_percentiles(
        np.zeros(1), lower_percentiles=[100 - percent], higher_percentiles=[percent]
    )
    assert ours.lower == pytest.approx(theirs[0, 0])
    assert ours.upper == pytest.approx(theirs[0, 1])


@pytest.mark.parametrize(("n_groups", "confidence"), [(4, 0.8), (9, 0.9), (19, 0.95), (99, 0.99)])
def test_the_highest_confidence_is_answered_and_no_more(n_groups, confidence):
    """K groups answer K/(K+1); one fewer is refused, naming the highest there is and the groups needed."""
    assert max_confidence(n_groups) == pytest.approx(confidence)
    rows = [np.array([float(i)]) for i in range(n_groups)]
    assert hcp_interval(rows, confidence).lower == 0.0
    with pytest.raises(
        ConfigError, match=f"needs {n_groups} calibration groups, there are {n_groups - 1}"
    ) as caught:
        hcp_interval(rows[1:], confidence)
    highest = float(str(caught.value).split("ask for ")[1].split(" ")[0])
    check_confidence(highest, n_groups - 1)
    assert highest == pytest.approx((n_groups - 1) / n_groups, abs=1e-3)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_what_is_no_confidence_is_refused(confidence):
    """A confidence lies strictly between 0 and 1."""
    with pytest.raises(ConfigError, match="between 0 and 1"):
        check_confidence(confidence, 1000)


def test_no_groups_answer_nothing():
    """An empty calibration is refused; it does not become an interval of width zero."""
    with pytest.raises(ConfigError):
        hcp_interval([], 0.5)


def test_covered_enough_is_the_binomial_bound():
    """The least passing count is SciPy's 5 % quantile, and one less fails."""
    least = int(stats.binom.ppf(0.05, 36, 0.95))
    assert covered_enough([1.0] * least + [0.0] * (36 - least), 0.95)
    assert not covered_enough([1.0] * (least - 1) + [0.0] * (37 - least), 0.95)
    assert not covered_enough([], 0.8)
    assert covered_enough([1.0] * 19, 0.95)
    assert not covered_enough([1.0] * 18, 0.95)  # all covered, and too few to support 0.95


@pytest.mark.slow
def test_coverage_on_new_groups():
    """Over 2,000 draws of 20 groups, the 90 % lower bound covers a row of a new group 90 % of the time or more."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(2000):
        effects = rng.normal(0, 1.5, 21)
        rows = [effect + rng.normal(0, 1, 20) for effect in effects[:-1]]
        hits += effects[-1] + rng.normal() >= hcp_interval(rows, 0.9).lower
    assert hits >= stats.binom.ppf(1e-4, 2000, 0.9)
