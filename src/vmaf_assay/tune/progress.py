"""How long a whole job still takes: what is known of its stages before the first one, corrected by the clock.

A stage is a number of frames and what one of them costs, relative to the others. The first figures are rough
(`EncoderInfo.cost`); each stage that has run tells what its kind costs on this machine with this source.

How long a job takes, before its source has been read: by what the header says.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import AssayError
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.files import not_a_file
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.model.support import probes_needed
from vmaf_assay.promise.sampling import MIN_SEGMENTS, MIN_TRIED
from vmaf_assay.records import OnStep
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.segments import SEGMENT_FRAMES, n_segments

OnLeft = Callable[[float], None]
"""Called with the seconds that the whole job still takes, as far as is known."""

SCORE_COST, LOOK_COST, COPY_COST = 0.7, 0.15, 0.25
"""Scoring a frame, looking at one for scenes or for a page, and cutting one out, in the same unit."""
FIRST_UNIT_S = 0.02
"""Seconds of one unit for a picture of a million pixels, before anything has run."""
STEADY_S = 0.5
"""A stage says nothing of its pace before it has run so long."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a job."""

    words: str
    """How its steps begin, as `probe 1 of 2`."""
    frames: int
    """Frames it takes."""
    cost: float
    """Of a frame, in units of an encode with libx264 medium."""
    kind: str
    """Stages of one kind cost the same, however wrong `cost` is."""

    @property
    def units(self) -> float:
        """Its whole cost as assumed."""
        return self.frames * self.cost


def encode_cost(encoder: str) -> float:
    """What encoding a frame costs at first sight; hardware encodes in no time."""
    known = ENCODERS.get(encoder)
    return known.cost if known else 1.0


class JobClock:
    """Passes steps on, and says with each how long the whole job still takes."""

    def __init__(
        self,
        on_step: OnStep | None = None,
        on_left: OnLeft | None = None,
        *,
        page: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_step, self._on_left, self._page, self._now = on_step, on_left, page, now
        self._stages: list[Stage] = []
        self._at = -1
        self._began = now()
        self._paid: dict[str, tuple[float, float]] = {}
        """Kind -> seconds and assumed units of what has run of it."""
        self._done, self._total = 0, 0
        self._first_unit_s = FIRST_UNIT_S

    def plan(self, stages: Sequence[Stage], reference: ReferenceInput) -> None:
        """Say what is to come of a source: stages in order; those of a page are added if one is made."""
        n_frames, (width, height) = reference.n_frames, reference.size or (1280, 720)
        self._first_unit_s = FIRST_UNIT_S * width * height / 1e6
        words = ("scenes of the output", "frames of the source", "frames of the output")
        pages = [Stage(one, n_frames, LOOK_COST, "page") for one in words]
        self._stages = [*stages, *(pages if self._page else [])]
        self._at = -1

    @property
    def listened_to(self) -> bool:
        """Whether anyone is told how long everything still takes."""
        return self._on_left is not None

    def add(self, stages: Sequence[Stage]) -> None:
        """Insert stages after the present one."""
        self._stages[self._at + 1 : self._at + 1] = stages

    def step(self, what: str, done: int, total: int) -> None:
        """An `OnStep` that also tells how long everything still takes."""
        self._enter(what)
        self._done, self._total = done, total
        if self._on_left and (left := self.left_s()) is not None:
            self._on_left(left)
        if self._on_step:
            self._on_step(what, done, total)

    def left_s(self) -> float | None:
        """Seconds until the last stage ends; None before the stages are known."""
        if not self._stages:
            return None
        return sum(self._stage_left(index) for index in range(max(self._at, 0), len(self._stages)))

    def _enter(self, what: str) -> None:
        """Notice that another stage has begun: those before it are over, or were not needed."""
        ahead = range(self._at + 1, len(self._stages))
        begun = next((index for index in ahead if what.startswith(self._stages[index].words)), None)
        if begun is None:
            return
        self._pay()
        self._at, self._began, self._done, self._total = begun, self._now(), 0, 0

    def _pay(self) -> None:
        """Note what the present stage has cost."""
        if self._at < 0 or not self._total:
            return
        stage = self._stages[self._at]
        seconds, units = self._paid.get(stage.kind, (0.0, 0.0))
        share = min(1.0, self._done / self._total)
        self._paid[stage.kind] = (seconds + self._now() - self._began, units + stage.units * share)

    def _stage_left(self, index: int) -> float:
        stage = self._stages[index]
        if index != self._at or not self._total:
            return stage.units * self._unit_s(stage.kind)
        share = min(1.0, self._done / self._total)
        ran = self._now() - self._began
        if share > 0 and ran > STEADY_S:
            return ran * (1 - share) / share
        return stage.units * (1 - share) * self._unit_s(stage.kind)

    def _unit_s(self, kind: str) -> float:
        """Seconds of a unit: of its own kind, else of all that has run, else as assumed."""
        paid = dict(self._paid)
        if self._at >= 0 and self._total and self._done and self._now() - self._began > STEADY_S:
            stage = self._stages[self._at]
            seconds, units = paid.get(stage.kind, (0.0, 0.0))
            share = min(1.0, self._done / self._total)
            paid[stage.kind] = (seconds + self._now() - self._began, units + stage.units * share)
        own = paid.get(kind)
        if own is not None and own[1] > 0:
            return own[0] / own[1]
        seconds = sum(one for one, _ in paid.values())
        units = sum(one for _, one in paid.values())
        return seconds / units if units > 0 else self._first_unit_s


def final_stages(encoder: str, n_frames: int) -> list[Stage]:
    """The final encode and its measurement."""
    return [
        Stage("encode", n_frames, encode_cost(encoder), f"encode {encoder}"),
        Stage("verify", n_frames, SCORE_COST, "verify"),
    ]


def probe_stages(
    sidecar: Sidecar, request: TuneRequest, asked: Sequence[tuple[str, str]], reference: ReferenceInput
) -> list[Stage]:
    """What probing and the trials of some encoders and presets will take, in order.

    What the cache holds is over as soon as the next stage begins.
    """
    count, n_frames = n_segments(reference, request.probe_seconds), reference.n_frames
    count = None if count is None else MIN_SEGMENTS
    probed = n_frames if count is None else count * SEGMENT_FRAMES
    specs = probes_needed(sidecar, [encoder for encoder, _ in asked], asked if request.more_probes else ())
    stages = sampled_stages(request, reference)
    for number, spec in enumerate(specs, start=1):
        cost = encode_cost(spec.encoder) + SCORE_COST
        stages.append(Stage(f"probe {number} of", probed, cost, f"score {spec.encoder}"))
    return stages + [stage for encoder, _ in asked for stage in trial_stages(request, encoder, reference)]


def sampled_stages(request: TuneRequest, reference: ReferenceInput) -> list[Stage]:
    """What choosing and cutting out the segments of a sampled source takes; nothing for a complete one."""
    if n_segments(reference, request.probe_seconds) is None:
        return []
    n_frames = reference.n_frames
    return [Stage("look", n_frames, LOOK_COST, "look"), Stage("cut", n_frames, COPY_COST, "cut")]


def trial_stages(request: TuneRequest, encoder: str, reference: ReferenceInput) -> list[Stage]:
    """What the trials of one encoder take."""
    whole = n_segments(reference, request.probe_seconds) is None
    tried = reference.n_frames if whole else SEGMENT_FRAMES * MIN_TRIED
    cost = encode_cost(encoder) + SCORE_COST
    return [
        Stage(f"trial {number} of", tried, cost, f"score {encoder}") for number in range(1, request.trials + 1)
    ]


def more_probe_stages(sidecar: Sidecar, request: TuneRequest, preset: str) -> list[Stage]:
    """What probing some more segments of a sampled title will take."""
    asked = [(request.encoder, preset)]
    specs = probes_needed(sidecar, [request.encoder], asked if request.more_probes else ())
    frames = MIN_TRIED * SEGMENT_FRAMES
    return [
        Stage(f"probe {number} of", frames, encode_cost(spec.encoder) + SCORE_COST, f"score {spec.encoder}")
        for number, spec in enumerate(specs, start=1)
    ]


def job_stages(sidecar: Sidecar, request: TuneRequest, preset: str, reference: ReferenceInput) -> list[Stage]:
    """What tuning one source will take, in order."""
    stages = probe_stages(sidecar, request, [(request.encoder, preset)], reference)
    if request.output is not None:
        encode, verify = final_stages(request.encoder, reference.n_frames)
        stages += [encode, verify] if request.verifies else [encode]
    return stages


class BatchClock:
    """The time left for many sources, from what those before took for their bytes."""

    def __init__(
        self, sizes: Sequence[int], on_left: OnLeft | None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._sizes, self._on_left, self._now = [max(size, 1) for size in sizes], on_left, now
        self._at = 0
        self._began = now()

    def begin(self, index: int) -> None:
        """Source number `index`, from 0, begins."""
        self._at = index

    def on_left(self, left_s: float) -> None:
        """The present source still takes so long; passes on what all of them do."""
        if self._on_left is None:
            return
        now = self._now()
        seen = sum(self._sizes[: self._at + 1])
        per_byte = (now - self._began + left_s) / seen
        self._on_left(left_s + per_byte * sum(self._sizes[self._at + 1 :]))


OPEN_COST = 0.004
"""Reading a frame's packet, in units of `progress.Stage.cost`."""

_PARTS = 1000
"""Steps of the bar while a source is read."""


def opening(source: Path, on_step: OnStep | None) -> Callable[[float], None]:
    """Says how much of a source is read, from nothing on."""

    def on_share(share: float) -> None:
        if on_step:
            on_step(f"open {source.name}", round(share * _PARTS), _PARTS)

    on_share(0.0)
    return on_share


def header_reference(source: Path) -> ReferenceInput | None:
    """What the header of a source says of its length and size; None if it does not, or cannot be read."""
    if not_a_file(source) or not source.is_file():
        return None
    try:
        facts = read_facts(source)
    except AssayError:
        return None  # opening it will say why
    for stream in facts.streams:
        video = stream.video
        rate = video and (video.average_rate or video.guessed_rate)
        if video and rate and facts.duration_s and not stream.still:
            n_frames = max(2, round(Fraction(facts.duration_s) * rate))
            return ReferenceInput(source, rate, n_frames, (video.width, video.height))
    return None


def open_stage(reference: ReferenceInput) -> Stage:
    """Reading a source."""
    return Stage("open", reference.n_frames, OPEN_COST, "open")
