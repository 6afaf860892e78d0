"""The time left for a whole job: known from the first step on, and corrected by what stages take."""

from fractions import Fraction
from pathlib import Path

import pytest

from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.tune.progress import BatchClock, JobClock, Stage

SOURCE = ReferenceInput(Path("in.mkv"), Fraction(25), 100, (1280, 720))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time that was set, seconds."""
        return self.now


def job(stages: list[Stage], **options: bool) -> tuple[JobClock, Clock, list[float]]:
    """A job of some stages, its clock, and what it says of the time left."""
    clock, said = Clock(), []
    made = JobClock(None, said.append, now=clock, **options)
    made.plan(stages, SOURCE)
    return made, clock, said


def test_time_left_is_known_at_the_first_step():
    """Before anything has run a figure is there, and every stage to come is in it."""
    few, _, said = job([Stage("probe 1 of", 100, 1.0, "a")])
    few.step("probe 1 of 1, for the forecast", 0, 100)
    more, _, said_more = job([Stage("probe 1 of", 100, 1.0, "a"), Stage("encode", 300, 1.0, "b")])
    more.step("probe 1 of 1, for the forecast", 0, 100)
    assert said_more[0] == pytest.approx(4 * said[0])
    assert said[0] > 0


def test_stages_to_come_follow_the_pace_of_those_that_ran():
    """100 frames in 10 s: an encode of 300 frames of the same kind takes 30 s, one of twice the cost 60 s."""
    stages = [
        Stage("probe 1 of", 100, 1.0, "a"),
        Stage("trial 1 of", 300, 1.0, "a"),
        Stage("encode", 300, 2.0, "b"),
    ]
    made, clock, said = job(stages)
    made.step("probe 1 of 1", 0, 100)
    clock.now = 5.0
    made.step("probe 1 of 1", 50, 100)
    assert said[-1] == pytest.approx(5 + 30 + 60)
    clock.now = 10.0
    made.step("probe 1 of 1", 100, 100)
    made.step("trial 1 of 1", 0, 300)
    assert said[-1] == pytest.approx(30 + 60)
    clock.now = 70.0  # twice as slow as thought
    made.step("trial 1 of 1", 300, 300)
    made.step("encode", 0, 300)
    clock.now = 80.0
    made.step("encode", 150, 300)
    assert said[-1] == pytest.approx(10)
    clock.now = 90.0
    made.step("encode", 300, 300)
    assert said[-1] == pytest.approx(0)


def test_a_stage_that_the_cache_knew_costs_nothing():
    """The next stage begins: what was skipped is over."""
    made, clock, said = job(
        [Stage("look", 100, 1.0, "l"), Stage("cut", 100, 1.0, "c"), Stage("encode", 100, 1.0, "e")]
    )
    made.step("encode", 0, 100)
    clock.now = 2.0
    made.step("encode", 50, 100)
    assert said[-1] == pytest.approx(2)


def test_a_retry_and_a_page_are_part_of_the_job():
    """Stages that are added, and the three of a page, count until they are done."""
    made, clock, said = job([Stage("encode", 100, 1.0, "e"), Stage("verify", 100, 1.0, "v")], page=True)
    made.step("encode", 0, 100)
    clock.now = 10.0
    made.step("encode", 100, 100)
    before = said[-1]
    made.step("verify every frame", 0, 100)
    clock.now = 20.0
    made.step("verify every frame", 100, 100)
    made.add([Stage("encode", 100, 1.0, "e"), Stage("verify", 100, 1.0, "v")])
    made.step("encode", 0, 100)
    assert said[-1] > before - 10 + 15
    made.step("scenes of the output", 0, 100)
    made.step("frames of the output", 100, 100)
    assert said[-1] == pytest.approx(0)


def test_a_batch_counts_the_sources_to_come_by_their_bytes():
    """The first of three took 10 s for 100 bytes: with 200 and 700 to come and 20 s left of the second, 90 s."""
    clock, said = Clock(), []
    batch = BatchClock([100, 200, 700], said.append, now=clock)
    batch.begin(0)
    batch.on_left(10.0)
    assert said[-1] == pytest.approx(100)
    clock.now = 10.0
    batch.begin(1)
    batch.on_left(20.0)
    assert said[-1] == pytest.approx(20 + 70)
