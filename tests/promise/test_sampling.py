"""The estimate of a title from its segments, and how sure it is: known answers, properties, and coverage."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vmaf_assay.promise.choice import Curve, Forecaster
from vmaf_assay.promise.sampling import (
    TOLERANCE,
    SampledForecaster,
    mean_variance,
    most_tried,
    next_count,
    spread_order,
    stratified,
    two_phase,
    weighted_mean,
)

RATES = np.arange(14.0, 43.0, 4.0)


def curve(centre: float, **changes) -> Curve:
    """A logistic forecast of libx264."""
    mu = 100 / (1 + np.exp((RATES - centre) / 5))
    facts = {"sigma": np.full(len(RATES), 0.5), "truth": np.full(len(RATES), np.nan)} | changes
    return Curve("g", "s", "libx264", "medium", RATES, mu, **facts)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_a_sample_takes_units_once_and_again_the_same(n_units, count, blocks, seed):
    """As many units as asked for, none twice, every part of the time within one of its share; deterministic."""
    count = min(count, n_units)
    hard = np.random.default_rng(seed).normal(size=n_units).tolist()
    taken = stratified(hard, count, blocks=blocks, seed=seed)
    assert len(taken) == len(set(taken)) == count
    assert taken == stratified(hard, count, blocks=blocks, seed=seed)
    for block in np.array_split(np.arange(n_units), min(blocks, n_units)):
        inside = len(set(block.tolist()) & set(taken))
        assert abs(inside - count * len(block) / n_units) < 2


def test_every_unit_has_the_same_chance():
    """Over many seeds each unit is taken about count / units of the time, hard ones no less than easy ones."""
    hard = [float((7 * index) % 50) for index in range(50)]
    counts = np.zeros(50)
    for seed in range(4000):
        counts[stratified(hard, 10, blocks=2, seed=seed)] += 1
    share = counts / 4000
    # Standard error of a share of 0.2 over 4,000 draws is 0.0063; five of them.
    assert np.all(np.abs(share - 0.2) < 0.032)


def test_content_is_spread():
    """Of units half easy and half hard each half is taken, whatever the seed."""
    hard = [0.0, 1.0] * 30
    for seed in range(50):
        taken = stratified(hard, 10, blocks=2, seed=seed)
        assert sum(hard[index] for index in taken) in (4.0, 5.0, 6.0)


def test_known_answer():
    """By hand: forecasts 80, 90, 100, 90 (mean 90); measured 82 and 96 against 80 and 100: mean gap -1."""
    made = two_phase(np.array([80.0, 90.0, 100.0, 90.0]), {0: 82.0, 2: 96.0}, np.ones(4), 8)
    assert made.value == pytest.approx(89.0)
    # First phase: differences 10, 10, -10 -> 300 / (2 * 3) / 4, half the units seen; second: gaps 2 and -4.
    first, second = 0.5 * 300 / 6 / 4, 0.75 * 18 / 2
    assert made.variance == pytest.approx(first + second)
    assert made.degrees == pytest.approx((first + second) ** 2 / (first**2 / 3 + second**2 / 1))
    assert made.part(0.9) == pytest.approx(stats.t.ppf(0.9, made.degrees) * np.sqrt(first + second))
    assert made.part(0.3) == 0.0


def test_weights_are_frames():
    """A segment of twice the frames counts twice, in the forecast's mean and in the measured gaps."""
    made = two_phase(np.array([60.0, 90.0]), {0: 63.0, 1: 90.0}, np.array([1.0, 2.0]), 2)
    assert made.value == pytest.approx(80.0 + 1.0)
    assert made.variance == 0.0  # every unit was probed, and every one measured


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 100), min_size=3, max_size=30), st.integers(0, 1000))
def test_without_information_it_is_the_plain_mean(truth, seed):
    """A forecast that is the same for all segments leaves the mean of what was measured, and its error."""
    rng, values = np.random.default_rng(seed), np.array(truth)
    tried = sorted(rng.choice(len(values), 2, replace=False).tolist())
    made = two_phase(np.full(len(values), 50.0), {i: values[i] for i in tried}, np.ones(len(values)), 1000)
    assert made.value == pytest.approx(values[tried].mean())
    expected = values[tried].var(ddof=1) / 2 * (1 - 2 / 1000)
    assert made.variance == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 100), min_size=4, max_size=30))
def test_a_perfect_forecast_leaves_no_second_part(truth):
    """If every forecast is right, what is measured adds nothing, however few are measured."""
    values = np.array(truth)
    made = two_phase(values, {0: values[0], 2: values[2]}, np.ones(len(values)), 100)
    first = (1 - len(values) / 100) * float(mean_variance(values, np.ones(len(values)), neighbours=True))
    assert made.value == pytest.approx(values.mean())
    assert made.variance == pytest.approx(first, abs=1e-9)


TITLES = 2000


@functools.cache
def draws():
    """Titles of 200 units whose forecasts err by a title's own offset and by unit; 20 probed, 8 of them tried.

    For each the truth, the estimate, and the plain mean of what was measured.
    """
    rng = np.random.default_rng(1)
    made = []
    for _ in range(TITLES):
        truth = rng.normal(90, 4, 200)
        forecasts = truth + rng.normal(-3, 1) + rng.normal(0, 1.5, 200)
        probed = rng.choice(200, 20, replace=False)
        tried = spread_order(20)[:8]
        measured = {index: truth[probed[index]] for index in tried}
        estimate = two_phase(forecasts[probed], measured, np.ones(20), 200)
        made.append((truth.mean(), estimate, np.mean(list(measured.values()))))
    return made


def test_it_is_unbiased_and_better_than_the_plain_mean():
    """Over many titles the mean error is nil although forecasts are three points off, and the error is smaller."""
    errors = [estimate.value - truth for truth, estimate, _ in draws()]
    plain = [mean - truth for truth, _, mean in draws()]
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(TITLES)
    assert np.std(errors) < 0.8 * np.std(plain)


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_the_bound_covers_as_often_as_it_says(confidence):
    """Over many titles the estimate less its part is below the truth in `confidence` of them, within the noise."""
    covered = [made.value - made.part(confidence) <= truth for truth, made, _ in draws()]
    # Within four standard errors of nominal, and 0.01 for Satterthwaite's degrees, which are no theorem.
    assert abs(np.mean(covered) - confidence) < 4 * np.sqrt(confidence * (1 - confidence) / TITLES) + 0.01


@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_stopping_early_keeps_the_bound(confidence):
    """Segments are tried until the part is small enough, and the bound then still covers as often as it says.

    Titles are of unequal spread, so that some stop at once and some never do.
    """
    rng, covered, counts = np.random.default_rng(2), [], []
    for _ in range(TITLES):
        truth = rng.normal(90, 4, 200)
        forecasts = truth + rng.normal(-3, 1) + rng.normal(0, rng.uniform(0.2, 2.5), 200)
        probed = rng.choice(200, 20, replace=False)
        for count in range(4, most_tried(20) + 1):
            measured = {index: truth[probed[index]] for index in spread_order(20)[:count]}
            made = two_phase(forecasts[probed], measured, np.ones(20), 2000)
            if made.part(confidence) <= 1.6:
                break
        counts.append(count)
        covered.append(made.value - made.part(confidence) <= truth.mean())
    assert {4, most_tried(20)} < set(counts)
    # Within four standard errors, and 0.02 for stopping where the spread looks small by chance.
    assert np.mean(covered) > confidence - 4 * np.sqrt(confidence * (1 - confidence) / TITLES) - 0.02


@settings(deadline=None)
@given(st.integers(1, 200))
def test_every_beginning_is_spread(n_segments):
    """All indices once; of any beginning no gap is more than twice its even share, and one segment."""
    order = spread_order(n_segments)
    assert sorted(order) == list(range(n_segments))
    for count in (1, 2, 3, 5, 8, 13, 21):
        if count < n_segments:
            gaps = np.diff([-1, *sorted(order[:count]), n_segments])
            assert gaps.max() <= 2 * (n_segments + 1) / count + 1


def test_more_is_probed_where_the_sample_takes_much():
    """Alike segments are enough at once; unlike ones are not, and less so where no margin is beside the sample."""
    plain = {"weights": np.ones(8), "n_units": 200, "confidence": 0.9}
    alike = SampledForecaster(curve(40.0), [curve(40.0)] * 8, **plain)
    unlike = SampledForecaster(
        curve(40.0), [curve(centre) for centre in (36, 44, 35, 45, 37, 43, 38, 42.0)], **plain
    )
    assert alike.added(85.0, 1.0, trials=True) == pytest.approx(0.0, abs=1e-6)
    assert unlike.added(85.0, 1.0, trials=True) > TOLERANCE
    assert 0 < unlike.added(85.0, 3.0, trials=False) < unlike.added(85.0, 3.0, trials=True)
    assert next_count(8, 9) == 9


def test_the_title_is_the_mean_of_its_segments():
    """The forecast is the weighted mean of the segments' own; the bound is below that of the margin alone."""
    curves = [curve(centre) for centre in (38.0, 42.0, 46.0, 50.0, 44.0, 41.0)]
    weights = np.array([72.0, 72, 36, 72, 90, 72])
    mean = weighted_mean(np.stack([one.mu for one in curves]), weights)
    title = Curve("", "t", "libx264", "medium", RATES, mean, curves[0].sigma, curves[0].truth)
    made = SampledForecaster(title, curves, weights, 60, confidence=0.9)
    each = np.stack([Forecaster(one).mu for one in curves])
    np.testing.assert_allclose(made.mu, weighted_mean(each, weights))
    plain = Forecaster(title)
    assert np.all(made.lower({}, 1.0) < made.mu - 1.0 * made.weight({}))
    off = np.hypot(1.0 * made.weight({}), made.sampling_part({}))
    np.testing.assert_allclose(made.mu - made.lower({}, 1.0), off)
    assert made.choose(85.0, {}, 0.5).rate_value < plain.choose(85.0, {}, 0.5).rate_value
    whole = SampledForecaster(title, curves, weights, 6, confidence=0.9)
    assert whole.sampling_part({}).max() == pytest.approx(0.0)


def test_an_allowance_comes_off_every_estimate():
    """What cut-out segments score too much is taken off the forecast and off what a trial says of the title."""
    curves = [curve(centre) for centre in (38.0, 42.0, 46.0, 50.0)]
    plain, careful = (
        SampledForecaster(curve(44.0), curves, np.ones(4), 40, confidence=0.9, allowance=points)
        for points in (0.0, 0.25)
    )
    np.testing.assert_allclose(careful.mu, plain.mu - 0.25)
    measured = {0: 90.0, 1: 91.0, 2: 92.0}
    assert careful.observe(30.0, measured) == pytest.approx(plain.observe(30.0, measured) - 0.25)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.55, 0.98), st.floats(0.55, 0.98), st.floats(-3, 3))
def test_more_confidence_never_gives_a_cheaper_choice(low, high, off):
    """The choice rises or stays as the confidence falls, before a trial and after one."""
    low, high = sorted((low, high))
    curves = [curve(centre) for centre in (40.0, 43.0, 46.0, 49.0, 44.0, 42.0)]
    title = curve(44.0)

    def chosen(confidence: float, tried: bool) -> float:
        made = SampledForecaster(title, curves, np.ones(6), 60, confidence=confidence)
        at = made.at(34.0)
        measured = {i: float(made.forecasts[i, at]) + off + 0.2 * i for i in (0, 2, 4)}
        trials = {34.0: made.observe(34.0, measured)} if tried else {}
        return made.choose(80.0, trials, 0.5).rate_value

    for tried in (False, True):
        assert chosen(high, tried) <= chosen(low, tried)


def test_a_trial_of_every_frame_is_believed():
    """At a rate value that was measured as a whole, not estimated from segments, no sampling error is left."""
    curves = [curve(centre) for centre in (38.0, 42.0, 46.0, 50.0)]
    made = SampledForecaster(curve(44.0), curves, np.ones(4), 40, confidence=0.9)
    assert made.sampling_part({})[made.at(30.0)] > 0.5
    assert made.sampling_part({30.0: 91.0})[made.at(30.0)] == 0.0
    at = made.at(38.0)
    measured = {i: float(made.forecasts[i, at]) + 0.5 for i in range(3)}
    estimated = made.observe(38.0, measured)
    assert made.sampling_part({30.0: 91.0, 38.0: estimated})[at] > 0.5
