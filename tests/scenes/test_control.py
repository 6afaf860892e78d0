"""Control: what scenes measure brings the title to its target, on scenes whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmaf_assay.scenes.control import TOLERANCE, Aim, Controller, order_of
from vmaf_assay.scenes.curves import CEILING, Forecasts, Seen, Spread, corrected

RATES = np.arange(50.0, 15.0, -0.5)


def title(seed, n_scenes, error=0.3):
    """Forecasts of some scenes, and the truth: (score, bytes) of any scene at any rate value."""
    rng = np.random.default_rng(seed)
    n_frames = rng.integers(24, 250, n_scenes).astype(float)
    looks = rng.normal(0, 1, (n_scenes, 2))
    hard = rng.normal(0, 0.5, n_scenes)
    wrong, dearer = rng.normal(0.1, error, n_scenes), rng.normal(0, error, n_scenes)

    def deficit(scene, rate):
        return 2.0 + 0.09 * (rate - 30) + hard[scene]

    def size(scene, rate):
        return n_frames[scene] * np.exp(8 - 0.12 * (rate - 30) + hard[scene])

    def truth(scene, rate):
        rough = 0.01 * np.sin(7 * rate + scene)  # measured curves are not smooth
        score = CEILING - np.exp(deficit(scene, rate) + wrong[scene] + rough)
        return float(np.clip(score, 0, 100)), int(size(scene, rate) * np.exp(dearer[scene]))

    scenes = range(n_scenes)
    score = np.clip([[CEILING - np.exp(deficit(s, r)) for r in RATES] for s in scenes], 0, 100)
    n_bytes = np.array([[size(s, r) for r in RATES] for s in scenes])
    spread = Spread(0.2, 0.1, error)
    return Forecasts(RATES, score, n_bytes, n_frames, looks, spread, spread), truth


def run(controller, truth, ahead=1):
    """Encode what the controller asks for, `ahead` scenes side by side."""
    waiting = []
    jobs = []
    while True:
        if len(waiting) >= ahead:
            job = waiting.pop(0)
            controller.observe(job, *truth(job.scene, job.rate_value))
        job = controller.next({one.scene: one.rate_value for one in waiting})
        if job is not None:
            waiting.append(job)
            jobs.append(job)
        elif waiting:
            job = waiting.pop(0)
            controller.observe(job, *truth(job.scene, job.rate_value))
        else:
            return jobs


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(6, 30), st.sampled_from([1, 3]), st.sampled_from([85.0, 90.0, 93.0]))
def test_title_ends_within_the_tolerance(seed, n_scenes, ahead, target):
    """The mean over the frames measured is at the target and at most 0.10 above, whatever the forecasts were."""
    forecasts, truth = title(seed, n_scenes)
    controller = Controller(forecasts, Aim(target), 0.01)
    run(controller, truth, ahead)
    weights = forecasts.n_frames
    kept = controller.state.kept
    mean = sum(kept[i].score * weights[i] for i in range(n_scenes)) / weights.sum()
    assert target <= mean <= target + TOLERANCE


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(6, 30))
def test_no_scene_ends_below_its_floor(seed, n_scenes):
    """A scene measured below the floor is encoded again, until it is above, or has the best rate value."""
    forecasts, truth = title(seed, n_scenes)
    controller = Controller(forecasts, Aim(90.0, floor=87.0), 0.01)
    run(controller, truth)
    assert all(one.score >= 87.0 or one.rate_value == RATES[-1] for one in controller.state.kept.values())


def test_nothing_is_tried_beside_a_best_rate_value_that_is_short():
    """Scene 3 of this title has 86.5 at the best rate value: it is encoded there once, not a hundredth beside."""
    forecasts, truth = title(26, 14)
    controller = Controller(forecasts, Aim(90.0, floor=87.0), 0.01)
    run(controller, truth)
    assert truth(3, RATES[-1])[0] < 87.0
    made = [one.rate_value for one in controller.state.seen[3]]
    assert made.count(RATES[-1]) == 1
    assert not {rate for rate in made if RATES[-1] < rate < RATES[-1] + 0.1}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_goal_floor_brings_every_scene_to_the_target(seed, n_scenes):
    """With the goal `floor` every scene is measured at the target or above, or has the best rate value."""
    forecasts, truth = title(seed, n_scenes)
    controller = Controller(forecasts, Aim(90.0, "floor", 90.0), 0.01)
    run(controller, truth)
    assert all(one.score >= 90.0 or one.rate_value == RATES[-1] for one in controller.state.kept.values())


def test_few_scenes_are_encoded_twice():
    """Over 40 titles of 20 scenes, a scene is encoded 1.10 times on average, or less."""
    encodes = 0
    for seed in range(40):
        forecasts, truth = title(seed, 20)
        encodes += len(run(Controller(forecasts, Aim(90.0), 0.01), truth))
    assert encodes / 800 <= 1.10


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 20))
def test_same_measurements_give_the_same_decisions(seed, n_scenes):
    """Two runs over one title ask for the same encodes in the same order: a run can be resumed."""
    forecasts, truth = title(seed, n_scenes)
    first, second = (run(Controller(forecasts, Aim(90.0), 0.01), truth) for _ in range(2))
    assert first == second


def test_out_of_reach_ends_with_the_best():
    """A target above what the best rate value gives ends, with every scene at that rate value."""
    forecasts, truth = title(1, 8)
    coarse = replace(forecasts, rate_values=RATES[:40], score=forecasts.score[:, :40])
    coarse = replace(coarse, n_bytes=forecasts.n_bytes[:, :40])
    controller = Controller(coarse, Aim(99.9), 0.01)
    assert not controller.plan()[0].reaches
    run(controller, truth)
    assert {one.rate_value for one in controller.state.kept.values()} == {RATES[39]}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_measured_scenes_are_believed(seed, n_scenes):
    """At the rate value that was encoded, the corrected forecast is what was measured."""
    forecasts, truth = title(seed, n_scenes)
    score, n_bytes = truth(0, 30.0)
    made = corrected(forecasts, {0: [Seen(30.0, score, n_bytes)]})
    place = int(np.flatnonzero(RATES == 30.0)[0])
    assert made.score[0, place] == pytest.approx(score, abs=1e-6)
    assert made.n_bytes[0, place] == pytest.approx(n_bytes, rel=1e-6)


def test_look_alikes_are_corrected_more_than_others():
    """A scene that looks like a measured one takes over more of its error than one that looks unlike it."""
    forecasts, _ = title(3, 3, error=0.05)
    looks = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0]])
    spread = Spread(0.1, 0.4, 0.05)
    forecasts = Forecasts(RATES, forecasts.score, forecasts.n_bytes, forecasts.n_frames, looks, spread, spread)
    plain = corrected(forecasts, {})
    made = corrected(forecasts, {0: [Seen(30.0, 40.0, 10_000)]})
    moved = np.abs(made.score - plain.score).max(axis=1)
    assert moved[1] > 2 * moved[2] > 0


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_order_has_every_scene_once_and_the_longest_of_equals_first(seed, n_scenes):
    """The order is a permutation; among scenes that look alike the longest is encoded first."""
    forecasts, _ = title(seed, n_scenes)
    assert sorted(order_of(forecasts)) == list(range(n_scenes))
    alike = Forecasts(
        RATES,
        *(forecasts.score, forecasts.n_bytes, forecasts.n_frames, np.zeros((n_scenes, 2))),
        *(Spread(0.0, 0.0, 0.3), Spread(0.0, 0.0, 0.3)),
    )
    lengths = [forecasts.n_frames[i] for i in order_of(alike)]
    assert lengths == sorted(lengths, reverse=True)
