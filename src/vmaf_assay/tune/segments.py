"""Which segments of a long title are probed, and which of those a trial encodes."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Protocol

import numpy as np

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS, SEGMENT_ALLOWANCE
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.segments import Span
from vmaf_assay.promise.choice import Forecaster, Measured
from vmaf_assay.promise.sampling import MIN_SEGMENTS, spread_order, stratified
from vmaf_assay.tune.result import SampleFacts

SEGMENT_FRAMES = 48
"""Approximate frames of a segment; two thirds of a clip of the calibration's corpus.

Units differ far more from each other than parts of one do, so the same frames say more in more segments.
Forecasts of 48 frames were as near to what was measured as those of 72 (docs/results/long-sources.md)."""

AROUND_FRAMES = 24
"""Most frames before and after a segment that are encoded and not scored."""

SCORED_EVERY = 3
"""Of so many frames of a segment the first is scored.

In 3,865 encodes of the corpus above VMAF 70, the mean of these is off by 0.30 points (root mean square) and low
by 0.09. Encoders repeat their quality every 2, 4 or 8 frames, so even numbers are off by 0.9 and more
(2026-12-01)."""

MOST_SHARE = 1.5
"""Segments that may be probed where parts of a title differ much, times those that `--probe-seconds` names."""

BLOCK_SEGMENTS = 5
"""Segments taken from one part of the title's time."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Some frames of a title that are probed as one."""

    first: int
    """Counted from 0."""
    n_frames: int
    """How many."""
    before: int
    """Frames cut out before it, up to `AROUND_FRAMES`."""
    after: int
    """Frames cut out after it, likewise."""

    @property
    def scored(self) -> Span:
        """The frames that are scored."""
        return Span(self.first, self.first + self.n_frames)

    def encoded(self, around: tuple[int, int] = (AROUND_FRAMES, AROUND_FRAMES)) -> Span:
        """The segment with the given number of frames before and after it, as far as the title has them."""
        before, after = min(around[0], self.before), min(around[1], self.after)
        return Span(self.first - before, self.first + self.n_frames + after)


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """The segments of a title that are probed."""

    segments: tuple[Segment, ...]
    """In the order of `promise.sampling.stratified`: neighbours are alike."""
    n_units: int
    """Units the title was divided into."""
    count: int
    """How many are probed where nothing says that fewer are enough."""

    def beginning(self, count: int) -> "SegmentPlan":
        """So many of its segments, spread over all; more of them hold these too."""
        chosen = sorted(spread_order(len(self.segments))[:count])
        return replace(self, segments=tuple(self.segments[index] for index in chosen))

    def tried(self, count: int) -> list[int]:
        """Indices of `count` segments that a trial encodes, likewise."""
        return sorted(spread_order(len(self.segments))[:count])

    @property
    def n_frames(self) -> int:
        """Frames scored in all."""
        return sum(segment.n_frames for segment in self.segments)

    @property
    def weights(self) -> np.ndarray:
        """Frames of each, [N]."""
        return np.array([segment.n_frames for segment in self.segments], dtype=np.float64)


def n_segments(reference: ReferenceInput, probe_seconds: float) -> int | None:
    """How many segments are probed; None if the whole source is.

    Raises:
      ConfigError: too few for a promise.
    """
    wanted_s = Fraction(probe_seconds)
    if wanted_s == 0 or reference.n_frames <= wanted_s * reference.frame_rate:
        return None
    count = round(wanted_s * reference.frame_rate / SEGMENT_FRAMES)
    if count < MIN_SEGMENTS:
        least_s = float(MIN_SEGMENTS * SEGMENT_FRAMES / reference.frame_rate)
        raise ConfigError(
            f"--probe-seconds {probe_seconds:g} is {count} segments of {SEGMENT_FRAMES} frames; fewer than "
            f"{MIN_SEGMENTS} are too few for a title",
            next_step=f"give {least_s + 0.05:.1f} or more, or `all` to probe every frame",
        )
    return None if count * SEGMENT_FRAMES >= reference.n_frames else count


def units_of(cuts: list[int], n_frames: int) -> list[Span]:
    """A title divided into units of about `SEGMENT_FRAMES`, none across a cut if scenes are long enough.

    Scenes shorter than half a unit are joined to the next one; longer ones are divided evenly. Every frame is in
    exactly one unit.
    """
    bounds = [0]
    for cut in [*cuts[1:], n_frames]:
        if cut - bounds[-1] >= SEGMENT_FRAMES / 2:
            bounds.append(cut)
    if bounds[-1] != n_frames:  # the rest is too short for a unit
        bounds = [*bounds[:-1], n_frames] if len(bounds) > 1 else [0, n_frames]
    units = []
    for first, last in pairwise(bounds):
        parts = max(1, round((last - first) / SEGMENT_FRAMES))
        edges = [first + round(index * (last - first) / parts) for index in range(parts + 1)]
        units += [Span(*pair) for pair in pairwise(edges)]
    return units


class Seen(Protocol):
    """What is known of a title before it is probed."""

    @property
    def n_frames(self) -> int:
        """Frames of it."""

    def cuts(self) -> list[int]:
        """Frames that begin a scene, ascending, the first frame among them."""

    def difficulty(self, unit: Span) -> float:
        """How hard a unit looks, on any scale."""


def plan_sample(seen: Seen, count: int) -> SegmentPlan | None:
    """Units of a title as segments, spread over its time and content; None if `count` is nearly all of it.

    There are `MOST_SHARE` times as many, for titles whose parts differ. The same title gives the same segments.
    """
    n_frames = seen.n_frames
    units = units_of(seen.cuts(), n_frames)
    if count >= len(units):
        return None
    hard = [seen.difficulty(unit) for unit in units]
    most = min(len(units), round(MOST_SHARE * count))
    chosen = stratified(hard, most, blocks=max(1, count // BLOCK_SEGMENTS), seed=n_frames)
    return SegmentPlan(tuple(_segment(units[index], n_frames) for index in chosen), len(units), count)


def allowance(encoder: str) -> float:
    """Points subtracted from an estimate from segments, because they were encoded separately."""
    known = ENCODERS.get(encoder)
    return known.segment_allowance if known else SEGMENT_ALLOWANCE


def around(encoder: str) -> tuple[int, int]:
    """Frames that a trial encodes before and after a segment and does not score."""
    known = ENCODERS.get(encoder)
    frames = known.segment_around if known else 0
    return frames, frames


def _segment(unit: Span, n_frames: int) -> Segment:
    before, after = min(AROUND_FRAMES, unit.first), min(AROUND_FRAMES, n_frames - unit.last)
    return Segment(unit.first, unit.last - unit.first, before, after)


def sample_facts(
    sample: SegmentPlan | None,
    forecaster: Forecaster,
    rate_value: float,
    measured: Measured,
    reference: ReferenceInput,
    encoder: str,
) -> SampleFacts | None:
    """The facts of a sample at the rate value chosen; None if every frame was probed."""
    if sample is None:
        return None
    from vmaf_assay.promise.sampling import Sampled  # long sources only

    if not isinstance(forecaster, Sampled):
        return None
    part = forecaster.sampling_part(measured)[forecaster.at(rate_value)]
    return SampleFacts(
        segments=len(sample.segments),
        units=sample.n_units,
        segments_tried=forecaster.n_tried,
        frames=sample.n_frames,
        seconds=float(sample.n_frames / reference.frame_rate),
        warm_up_frames=around(encoder)[0],
        cool_down_frames=around(encoder)[1],
        sampling_part=float(part),
        allowance=forecaster.allowance,
        first_frames=sorted(segment.first for segment in sample.segments),
    )


def sample_reasons(facts: SampleFacts | None) -> list[str]:
    """The sample in words; empty if every frame was probed."""
    if facts is None:
        return []
    tried = f", a trial encoded {facts.segments_tried} of them" if facts.segments_tried else ""
    return [
        f"a sample: {facts.segments} of {facts.units} segments were probed, {facts.seconds:.0f} s{tried}; "
        f"sampling adds {facts.sampling_part:.2f} points of uncertainty (more --probe-seconds give less)"
    ]
