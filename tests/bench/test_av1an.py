"""The port of Av1an's search, step by step on curves worked out by hand."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import av1an


def test_halves_until_the_target_is_between():
    """A line from 99 at CRF 15 to 79 at 35, target 96: middle, then the middle of what is left."""
    found = av1an.search(lambda rate: 114 - rate, target=96, encoder="libx264")
    assert list(found.attempts) == [25, 20, 17.5]
    assert found.rate_value == 17.5  # 96.5: inside 95.04 to 96.96


def test_interpolates_between_two_scores_around_the_target():
    """25 is too good and 30.25 too bad: the third is on the line between them."""
    curve = {25.0: 97.0, 30.25: 90.0}
    found = av1an.search(lambda rate: curve.get(rate, 94.2), target=94, encoder="libx264")
    assert list(found.attempts) == [25, 30.25, 27.25]  # 25 + 5.25 x 3 / 7
    assert found.rate_value == 27.25


def test_stops_after_four_probes_at_the_nearest():
    """A cliff that no probe hits: four attempts, and the one nearest the target wins, a miss or not."""
    found = av1an.search(lambda rate: 99 if rate < 40.5 else 60, target=90, encoder="libsvtav1")
    assert len(found.attempts) == 4
    assert found.attempts[found.rate_value] == 99


def test_a_band_is_met_from_below_too():
    """93.1 is within 1 % of 94 and is accepted at once: a floor is not what it promises."""
    found = av1an.search(lambda _: 93.1, target=94, encoder="libsvtav1")
    assert list(found.attempts) == [33]  # (15 + 50) / 2, halves up
    assert found.rate_value == 33


def test_a_range_of_ones_own():
    """Encoders that Av1an does not know are searched in the range given, and no step leaves it."""
    found = av1an.search(lambda _: 50, target=90, encoder="libvvenc", span=(22, 42, 1))
    assert list(found.attempts) == [32, 27, 24, 23]
