"""The gate's numbers: three conditions, each at its edge."""

import math

import pytest

from vmaf_assay.errors import CorpusError
from vmaf_assay.promise.policy import COVERAGE_POLICY, POLICY, CoveragePolicy, GatePolicy, gate_from_scores

ADR_0320 = {
    0: 0.9975056856587572,
    1: 0.9971592269106849,
    2: 0.9978134265425399,
    3: 0.9969262384223619,
    4: 0.9968623662668834,
}


def test_the_recorded_promotion_is_reproduced_to_the_last_digit():
    """ADR-0320's five scores give its mean, its spread and its PROMOTE."""
    result = gate_from_scores(ADR_0320)
    assert result.mean_plcc == 0.9972533887602454
    assert result.plcc_spread == 0.0009510602756565012
    assert result.passed
    assert result.failing_seeds == []
    assert result.reasons() == []


def test_a_spread_of_exactly_the_limit_passes():
    """0.955 - 0.950 is over 0.005 in binary; on paper it is not, and paper decides."""
    scores = dict(enumerate([0.95, 0.95, 0.95, 0.95, 0.955]))
    assert scores[4] - scores[0] > POLICY.plcc_spread_max
    assert gate_from_scores(scores).passed


@pytest.mark.parametrize(
    ("scores", "failing"),
    [
        ([0.99, 0.99, 0.99, 0.99, 0.9849], "plcc_spread_pass"),
        ([0.9499, 0.9499, 0.9499, 0.9499, 0.9499], "mean_plcc_pass"),
        ([0.953, 0.953, 0.953, 0.953, 0.9499], "per_seed_pass"),
    ],
)
def test_each_condition_holds_by_itself(scores, failing):
    """A score just beyond one limit is a HOLD that names that limit."""
    result = gate_from_scores(dict(enumerate(scores)))
    assert not result.passed
    assert not getattr(result, failing)
    assert result.reasons()


def test_a_failing_seed_is_named():
    """One seed under the floor is a HOLD even where mean and spread pass."""
    result = gate_from_scores(dict(enumerate([0.953, 0.953, 0.953, 0.953, 0.9499])))
    assert result.mean_plcc_pass
    assert result.plcc_spread_pass
    assert result.failing_seeds == [4]
    assert not result.passed


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e9])
def test_what_is_no_correlation_is_refused(odd):
    """A score outside -1 to 1 is not a HOLD but no evidence."""
    with pytest.raises(CorpusError, match="not a number from -1 to 1"):
        gate_from_scores({**ADR_0320, 4: odd})


def test_too_few_seeds_are_refused():
    """One seed has no spread: four are refused, five are judged."""
    with pytest.raises(CorpusError, match="4 seeds, the gate needs 5"):
        gate_from_scores({seed: score for seed, score in ADR_0320.items() if seed < 4})


def test_a_policy_is_known_by_its_digest():
    """The same numbers have one digest, other numbers another: a verdict can say which it was given under."""
    assert GatePolicy().digest() == POLICY.digest()
    assert GatePolicy(mean_plcc_threshold=0.9).digest() != POLICY.digest()
    assert CoveragePolicy(trials=1).digest() != COVERAGE_POLICY.digest()
    assert (POLICY.mean_plcc_threshold, POLICY.plcc_spread_max, POLICY.per_seed_min) == (0.95, 0.005, 0.95)
