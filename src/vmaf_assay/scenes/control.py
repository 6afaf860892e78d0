"""Which scene is encoded next, and at which rate value, so that the title lands on its target. Pure.

Every scene is encoded once. What was measured corrects the forecasts of the scenes to come, and their rate values
are chosen again, so that measured scenes and forecast ones together meet the target. Then single scenes are
encoded again until the measured title is within the tolerance.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from vmaf_assay.scenes.allocate import Allocation, Goal, Limits, allocate_floor, allocate_mean
from vmaf_assay.scenes.curves import (
    Corrected,
    Forecasts,
    Seen,
    at_rate,
    corrected,
    deficit,
    score_of,
)

F64 = NDArray[np.float64]

TOLERANCE = 0.10
"""Points above the target that a title's mean may end at."""

_AIM = 0.05
"""Points above the target that are aimed at: the middle of the tolerance."""

_SURE = 0.4
"""Standard deviations by which a forecast is lowered before it is compared with a floor."""

_FLOOR_SPARE = 0.3
"""Points above a floor that a repair aims at."""

_MOST_CHANGE = 4.0
"""Points that one repair changes a scene by, at most: a forecast of more is too uncertain."""

_BYTES_WEIGHT = 2.0
"""Value of a share of the title's bytes against the same share of its frames encoded again."""

_FAR = 0.4
"""Points between mean and aim from which all scenes are allocated anew before one is repaired."""

_LEAST_REPAIRS = 10
"""Repairs that are allowed to the shortest title; longer ones have a fifth of their scenes."""

_UNSURE, _UNSURE_KNOWN, _ROUGH = 0.3, 0.1, 0.1
"""Standard deviation of what a repair gains. The first is a share of it for a scene encoded once, the second for
one encoded several times. The third is in points and always added, because curves are not smooth."""

_MOST_ENCODES = 6
"""Encodes of one scene, after which it is left as it is."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What the title has to come to."""

    target: float
    """Points."""
    goal: Goal = "mean"
    floor: float = 0.0
    """No scene below it, points."""
    max_step: float | None = None
    """Most points between neighbouring scenes; None for no limit."""

    @property
    def limits(self) -> Limits:
        """Of each scene."""
        return Limits(self.floor, self.max_step)


@dataclass(frozen=True, slots=True)
class Job:
    """An encode of one scene."""

    scene: int
    rate_value: float
    repair: bool
    """Whether the scene was encoded before."""


@dataclass(slots=True)
class State:
    """What was measured so far."""

    seen: dict[int, list[Seen]] = field(default_factory=dict)
    """Encodes of each scene, in the order they were made."""
    kept: dict[int, Seen] = field(default_factory=dict)
    """The one of each scene that goes into the title."""

    def mean(self, n_frames: F64) -> float:
        """Mean over the frames of the scenes kept, points."""
        weights = np.array([n_frames[index] for index in self.kept])
        return float(np.average([one.score for one in self.kept.values()], weights=weights))


class Controller:
    """Decides one encode after another. The same measurements in the same order give the same decisions."""

    def __init__(self, forecasts: Forecasts, aim: Aim, resolution: float) -> None:
        self.forecasts, self.aim, self.resolution = forecasts, aim, resolution
        self.order = order_of(forecasts)
        self.state = State()
        n_scenes = len(forecasts.n_frames)
        self.most_repairs = max(_LEAST_REPAIRS, -(-n_scenes // 5))
        self.repairs = 0

    def next(self, under_way: Mapping[int, float]) -> Job | None:
        """The next encode; None if there is none, or none before more is measured.

        Args:
          under_way: scenes being encoded, and their rate values.
        """
        if (job := self._below_floor(under_way)) is not None:
            return job
        waiting = [index for index in self.order if index not in self.state.kept and index not in under_way]
        if waiting:
            chosen = self._allocate(under_way)
            rate = float(self.forecasts.rate_values[chosen.chosen[waiting[0]]])
            return Job(waiting[0], rate, repair=False)
        if under_way or self.repairs >= self.most_repairs or self.aim.goal != "mean":
            return None
        return self._repair()

    def observe(self, job: Job, score: float, n_bytes: int) -> None:
        """Note what an encode came to, and choose again which encode of each scene is kept."""
        new = Seen(job.rate_value, score, n_bytes)
        self.state.seen.setdefault(job.scene, []).append(new)
        self.repairs += job.repair
        old = self.state.kept.get(job.scene)
        if old is None or self._better(new, old):
            self.state.kept[job.scene] = new
        if self.aim.goal == "mean" and len(self.state.kept) == len(self.forecasts.n_frames):
            self._recombine()

    def plan(self) -> tuple[Allocation, Corrected]:
        """The rate values of all scenes as of now, and what they should come to."""
        return self._allocate({}), corrected(self.forecasts, self.state.seen)

    def one_rate(self) -> tuple[float, float] | None:
        """(rate value, bytes) of one rate value for all scenes with the measured mean, by the corrected curves.

        None if no rate value that is weighed has that mean.
        """
        f, now = self.forecasts, corrected(self.forecasts, self.state.seen)
        means = np.maximum.accumulate(np.average(now.score, axis=0, weights=f.n_frames))
        mean = self.state.mean(f.n_frames)
        if not means[0] <= mean <= means[-1]:
            return None
        log_bytes = np.log(now.n_bytes.sum(axis=0))
        return float(np.interp(mean, means, f.rate_values)), float(np.exp(np.interp(mean, means, log_bytes)))

    def within(self) -> bool:
        """Whether the measured title is at its target and not more than the tolerance above it."""
        return self._distance(self.state.mean(self.forecasts.n_frames)) == 0.0

    def _better(self, new: Seen, old: Seen) -> bool:
        """Whether a new encode of a scene takes the place of the one kept, before all scenes are known."""
        floor = self.aim.target if self.aim.goal == "floor" else self.aim.floor
        if (new.score >= floor) != (old.score >= floor):
            return new.score >= floor
        return new.n_bytes < old.n_bytes if new.score >= floor else new.score > old.score

    def _recombine(self) -> None:
        """Keep of all encodes made those that bring the title nearest, in the fewest bytes.

        Exchanges are tried one and two scenes at a time, until none helps.
        """
        seen = self.state.seen
        several = [index for index in self.order if len(seen[index]) > 1]
        pairs = [*((one,) for one in several), *combinations(several, 2)]
        best = self._merit(self.state.kept)
        improved = True
        while improved:
            improved = False
            for scenes in pairs:
                for made in product(*(seen[index] for index in scenes)):
                    tried = {**self.state.kept, **dict(zip(scenes, made, strict=True))}
                    if (merit := self._merit(tried)) < best:
                        best, self.state.kept, improved = merit, tried, True

    def _merit(self, kept: Mapping[int, Seen]) -> tuple[float, float, int]:
        """(points below the floor, distance from the tolerance, bytes): the smaller the better."""
        weights = np.array([self.forecasts.n_frames[index] for index in kept])
        mean = float(np.average([one.score for one in kept.values()], weights=weights))
        below = sum(max(0.0, self.aim.floor - one.score) for one in kept.values())
        return below, self._distance(mean), sum(one.n_bytes for one in kept.values())

    def _distance(self, mean: float) -> float:
        """Points that a mean is from the tolerance; below the target counts far more."""
        if mean < self.aim.target:
            return 100.0 + self.aim.target - mean
        return max(0.0, mean - self.aim.target - TOLERANCE)

    def _allocate(self, under_way: Mapping[int, float]) -> Allocation:
        """Rate values for all scenes; those measured or under way stay as they are."""
        now = corrected(self.forecasts, self.state.seen)
        score, n_bytes = now.score.copy(), now.n_bytes.copy()
        deviation = now.deviation.copy()
        for index, rate in under_way.items():
            score[index] = at_rate(now.score[index], self.forecasts.rate_values, rate)
            n_bytes[index] = at_rate(now.n_bytes[index], self.forecasts.rate_values, rate)
        for index, kept in self.state.kept.items():
            if index not in under_way:
                score[index], n_bytes[index], deviation[index] = kept.score, kept.n_bytes, 0.0
        sure = score_of(deficit(score) + _SURE * deviation[:, None])
        if self.aim.goal == "floor":
            return allocate_floor(sure, self.aim.target, self.aim.limits)
        wanted = self.aim.target + _AIM
        return allocate_mean(score, n_bytes, self.forecasts.n_frames, wanted, self.aim.limits, sure)

    def _below_floor(self, under_way: Mapping[int, float]) -> Job | None:
        """The first scene that is measured below its floor and can still be raised."""
        floor = self.aim.target if self.aim.goal == "floor" else self.aim.floor
        for index in self.order:
            kept = self.state.kept.get(index)
            if kept is None or kept.score >= floor or index in under_way:
                continue
            made = self.state.seen[index]
            best = float(self.forecasts.rate_values[-1])
            # Where the best rate value is short, no other is better.
            if len(made) >= _MOST_ENCODES or best in {one.rate_value for one in made}:
                continue
            if (rate := self._rate_for(index, floor + _FLOOR_SPARE, above=True)) is not None:
                return Job(index, rate, repair=True)
        return None

    def _repair(self) -> Job | None:
        """The cheapest encode that should bring the title into the tolerance; None if none should."""
        n_frames = self.forecasts.n_frames
        mean = self.state.mean(n_frames)
        if self._distance(mean) == 0.0:
            return None
        missing = (self.aim.target + _AIM - mean) * float(n_frames.sum())
        now = corrected(self.forecasts, self.state.seen)
        if abs(self.aim.target + _AIM - mean) > _FAR and (job := self._plan_again(missing, now)) is not None:
            return job
        rated = [
            (*rating, index)
            for index in self.order
            if len(self.state.seen[index]) < _MOST_ENCODES
            and (rating := self._rating(index, missing, now)) is not None
        ]
        if not rated:
            return None
        _, rate, scene = min(rated)
        return Job(scene, rate, repair=True)

    def _plan_again(self, missing: float, now: Corrected) -> Job | None:
        """The scene that moves the title most, where all scenes are allocated anew; for a title far off."""
        f, limits = self.forecasts, self.aim.limits
        chosen = allocate_mean(now.score, now.n_bytes, f.n_frames, self.aim.target + _AIM, limits).chosen
        best: tuple[float, Job] | None = None
        for index in self.order:
            rate = float(f.rate_values[chosen[index]])
            made = self.state.seen[index]
            gain = (now.score[index, chosen[index]] - self.state.kept[index].score) * f.n_frames[index]
            # More than what is missing is as far off on the other side.
            worth = min(gain / missing, 2 - gain / missing)
            if len(made) > 2 or rate in {one.rate_value for one in made} or worth < 0.3:
                continue
            if best is None or worth > best[0]:
                best = worth, Job(index, rate, repair=True)
        return None if best is None else best[1]

    def _rating(self, index: int, missing: float, now: Corrected) -> tuple[float, float] | None:
        """(cost over the chance of ending within the tolerance, rate value) of a repair of one scene."""
        f, kept = self.forecasts, self.state.kept[index]
        share = float(f.n_frames[index] / f.n_frames.sum())
        change = float(np.clip(missing / f.n_frames[index], -_MOST_CHANGE, _MOST_CHANGE))
        wanted = kept.score + change
        if missing < 0:
            wanted = max(wanted, self.aim.floor + _FLOOR_SPARE)
        rate = self._rate_for(index, self._in_step(index, wanted, kept.score), above=missing > 0)
        if rate is None:
            return None
        gained = at_rate(now.score[index], f.rate_values, rate) - kept.score
        if gained * missing <= 0:
            return None
        unsure = _UNSURE if len(self.state.seen[index]) == 1 else _UNSURE_KNOWN
        deviation = share * (unsure * abs(gained) + _ROUGH)
        off = share * gained - missing / float(f.n_frames.sum())
        low, high = ((edge - off) / deviation for edge in (-TOLERANCE / 2, TOLERANCE / 2))
        chance = float(ndtr(high) - ndtr(low))
        more = at_rate(now.n_bytes[index], f.rate_values, rate) - kept.n_bytes
        cost = share + _BYTES_WEIGHT * max(0.0, more) / sum(one.n_bytes for one in self.state.kept.values())
        # Where none may succeed at once, the one that brings the title nearest.
        return cost / max(chance, 1e-4) + 1e4 * max(0.0, abs(off) - TOLERANCE / 2), rate

    def _in_step(self, index: int, wanted: float, now: float) -> float:
        """A score within `max_step` of the neighbours, if what it is now is so."""
        if self.aim.max_step is None:
            return wanted
        beside = [self.state.kept[i].score for i in (index - 1, index + 1) if i in self.state.kept]
        high = max(now, min((one + self.aim.max_step for one in beside), default=100.0))
        low = min(now, max((one - self.aim.max_step for one in beside), default=0.0))
        return min(max(wanted, low), high)

    def _rate_for(self, index: int, wanted: float, *, above: bool) -> float | None:
        """The rate value, at the encoder's resolution, that should score nearest; None if all of use were made.

        `above` asks for at least `wanted` where there is such a rate value.
        """
        f = self.forecasts
        now = corrected(f, self.state.seen).score[index]
        low, high = float(f.rate_values.min()), float(f.rate_values.max())
        steps = np.round(np.arange(round((high - low) / self.resolution) + 1) * self.resolution + low, 4)
        made: Collection[float] = {one.rate_value for one in self.state.seen.get(index, ())}
        steps = np.array([one for one in steps if float(one) not in made])
        if f.rate_values[0] > f.rate_values[-1]:
            steps = steps[::-1]  # of equals the cheapest is taken
        if not len(steps):
            return None
        order = np.argsort(f.rate_values)
        scores = np.interp(steps, f.rate_values[order], now[order])
        misses = np.abs(scores - wanted)
        if above and (scores >= wanted).any():
            misses = np.where(scores >= wanted, misses, np.inf)
        return float(steps[int(misses.argmin())])


def order_of(forecasts: Forecasts) -> list[int]:
    """Scenes in the order in which they are encoded: each is the one that leaves the least unknown.

    Long scenes and those unlike the ones before come first, so that the last ones are short and well known. Their
    errors are then small, and what comes before them can still be made good.
    """
    spread, looks = forecasts.score_spread, forecasts.looks
    distance = np.square(looks[:, None, :] - looks[None, :, :]).sum(axis=2)
    covariance = spread.common**2 + spread.alike**2 * np.exp(-distance / 2)
    covariance = covariance + np.eye(len(looks)) * spread.own**2
    left = list(range(len(looks)))
    order: list[int] = []
    while left:
        unknown = [float(forecasts.n_frames[i] * np.sqrt(max(covariance[i, i], 0.0))) for i in left]
        chosen = left.pop(int(np.argmax(unknown)))
        order.append(chosen)
        row = covariance[chosen].copy()
        if row[chosen] > 1e-12:
            covariance = covariance - np.outer(row, row) / row[chosen]
    return order
