"""Rate values for all scenes at once, against choices found by trying every combination."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vmaf_assay.scenes.allocate import Limits, allocate_floor, allocate_mean


@st.composite
def tables(draw, scenes=(1, 4), rates=(2, 5)):
    """Scores and sizes that do not fall along the rate values, and frames of each scene."""
    n_scenes, n_rates = draw(st.integers(*scenes)), draw(st.integers(*rates))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    score = np.sort(rng.uniform(40, 100, (n_scenes, n_rates)), axis=1)
    n_bytes = np.sort(rng.uniform(1e3, 1e6, (n_scenes, n_rates)), axis=1)
    return score, n_bytes, rng.integers(24, 250, n_scenes).astype(float)


def all_choices(score):
    """Every combination of rate values."""
    return [np.array(one) for one in product(range(score.shape[1]), repeat=len(score))]


def mean_of(score, n_frames, chosen):
    """Mean over frames."""
    return float((score[np.arange(len(score)), chosen] * n_frames).sum() / n_frames.sum())


@settings(deadline=None)
@given(tables(), st.floats(50, 99))
def test_mean_is_met_if_it_can_be(table, target):
    """The choice meets the target exactly when the best of everything does, and says so."""
    score, n_bytes, n_frames = table
    made = allocate_mean(score, n_bytes, n_frames, target, Limits())
    best = mean_of(score, n_frames, score.argmax(axis=1))
    assert made.reaches == (best >= target)
    assert not made.reaches or mean_of(score, n_frames, made.chosen) >= target


@settings(deadline=None)
@given(tables(), st.floats(50, 99))
def test_no_other_choice_is_smaller_and_at_least_as_good(table, target):
    """Of all combinations none has a mean as high in fewer bytes: Lagrange's choices are on the hull."""
    score, n_bytes, n_frames = table
    made = allocate_mean(score, n_bytes, n_frames, target, Limits())
    if not made.reaches or made.price <= 0:
        return
    rows = np.arange(len(score))
    mine, size = mean_of(score, n_frames, made.chosen), n_bytes[rows, made.chosen].sum()
    for other in all_choices(score):
        assert n_bytes[rows, other].sum() > size - 1e-6 * size or mean_of(score, n_frames, other) < mine + 1e-9


@settings(deadline=None)
@given(tables(), st.floats(50, 99), st.floats(40, 95))
def test_floor_is_kept_where_it_can_be(table, target, floor):
    """No scene is chosen below the floor, unless it is below at every rate value: then the best is taken."""
    score, n_bytes, n_frames = table
    made = allocate_mean(score, n_bytes, n_frames, target, Limits(floor=floor))
    got = score[np.arange(len(score)), made.chosen]
    assert np.all((got >= floor) | (score.max(axis=1) < floor))
    assert np.all(got[score.max(axis=1) < floor] == score.max(axis=1)[score.max(axis=1) < floor])


@settings(deadline=None)
@given(tables(scenes=(2, 4)), st.floats(60, 95), st.floats(2, 30))
def test_step_between_neighbours_is_kept_where_it_can_be(table, target, step):
    """Neighbours are at most `max_step` apart, if any combination is so."""
    score, n_bytes, n_frames = table
    rows = np.arange(len(score))
    made = allocate_mean(score, n_bytes, n_frames, target, Limits(max_step=step))
    possible = any(np.all(np.abs(np.diff(score[rows, one])) <= step) for one in all_choices(score))
    assert not possible or np.all(np.abs(np.diff(score[rows, made.chosen])) <= step + 1e-9)


@settings(deadline=None)
@given(tables(), st.floats(50, 99))
def test_floor_goal_takes_the_cheapest_of_each_scene(table, target):
    """Every scene has the smallest size that meets the target, by looking at all of them."""
    score, n_bytes, _ = table
    made = allocate_floor(score, target, Limits())
    for scene, place in enumerate(made.chosen):
        meeting = [n_bytes[scene, i] for i in range(score.shape[1]) if score[scene, i] >= target]
        assert n_bytes[scene, place] == (min(meeting) if meeting else n_bytes[scene, score[scene].argmax()])
    assert made.reaches == bool(np.all(score.max(axis=1) >= target))


def test_two_scenes_by_hand():
    """One byte buys more in the first scene, so the first scene gets the better rate value."""
    score = np.array([[80.0, 90.0, 95.0], [80.0, 90.0, 95.0]])
    n_bytes = np.array([[10.0, 12.0, 20.0], [10.0, 40.0, 90.0]])
    made = allocate_mean(score, n_bytes, np.array([50.0, 50.0]), 87.0, Limits())
    assert made.chosen.tolist() == [2, 0]
