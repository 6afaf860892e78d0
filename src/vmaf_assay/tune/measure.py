"""Encode and score one source repeatedly: looks into the cache first, and counts the encodes run.

A short source is measured completely, a long one by segments. Segments are cut out once, when the first of them is
not in the cache, into a private folder that is removed with the measurer.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vmaf_assay.errors import MediaError, ToolError
from vmaf_assay.media.copies import Copies, copy_spans
from vmaf_assay.media.encoders import EncoderInfo, encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.packet_look import PacketLook
from vmaf_assay.media.packets import FrameMap
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.segments import Cuttings, Span, look
from vmaf_assay.media.versions import ToolVersions
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.records import MEAN_VMAF, Measurand, OnStep, Scored, scoring_model
from vmaf_assay.tune.final import frame_calls
from vmaf_assay.tune.forecast import Probe
from vmaf_assay.tune.segments import (
    AROUND_FRAMES,
    SEGMENT_FRAMES,
    Seen,
    Segment,
    SegmentPlan,
    n_segments,
    plan_sample,
)

if TYPE_CHECKING:
    from vmaf_assay.tune.cache import Cache


PLAN_VERSION = 2
"""Raise it when the same title would get other segments."""


class Measurer:
    """Measures encodes of one source, completely or by segments; a context manager."""

    def __init__(
        self,
        ffmpeg: Ffmpeg,
        reference: ReferenceInput,
        cache: "Cache | None",
        on_step: OnStep | None,
        measurand: Measurand = MEAN_VMAF,
    ) -> None:
        self.reference = reference
        self.measurand = measurand
        """What encodes are scored by."""
        self._models = (scoring_model(measurand.model, float(reference.frame_rate)),)
        self.spent = 0
        """Encodes run; those of the segments of one probe or trial count as one."""
        self.cached = 0
        """Encodes known from an earlier run, counted likewise."""
        self._ffmpeg, self._cache, self._on_step = ffmpeg, cache, on_step
        self._versions = ToolVersions()
        self._stack = ExitStack()
        self._pieces: Copies | Cuttings | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def versions(self, encoder: str) -> dict[str, str]:
        """Versions of ffmpeg, libvmaf and an encoder; empty if the encoder does not work here."""
        try:
            return self._versions(self._ffmpeg, encoder)
        except ToolError:
            return {}  # the encode itself will say why

    def sample(self, probe_seconds: float) -> SegmentPlan | None:
        """The segments of the source that are probed; None if all of it is.

        Raises:
          ConfigError: `probe_seconds` is too short for a promise.
          MediaError: a frame of the source does not decode.
        """
        count = n_segments(self.reference, probe_seconds)
        if count is None:
            return None
        key = None
        asked = {"version": PLAN_VERSION, "count": count, "frames": SEGMENT_FRAMES, "around": AROUND_FRAMES}
        if self._cache is not None:
            key = self._cache.plan_key(self.reference, asked)
            if kept := self._cache.load_plan(key):
                return _sample_of(kept)
        made = plan_sample(self._look(count), count)
        if self._cache is not None and key is not None:
            self._cache.store_plan(key, _plan_of(made))
        return made

    def _look(self, count: int) -> Seen:
        """Scenes and difficulty of the source: by its packets, or by decoding it."""
        if self.reference.packets is not None:
            return PacketLook(FrameMap(self.reference.packets))
        what = f"look for scenes, to choose {count} segments"
        on_frames = frame_calls(what, self.reference.n_frames, self._on_step)
        on_frames(0)
        with tempfile.TemporaryDirectory(prefix="assay-look-") as folder:
            return look(self._ffmpeg, self.reference, Path(folder), on_frames=on_frames)

    def measure(
        self,
        info: EncoderInfo,
        preset: str,
        rate_value: float,
        what: str,
    ) -> Scored:
        """Per-frame scores of one encode of every frame, cached or new.

        Args:
          info: the encoder.
          preset: its preset.
          rate_value: on its own scale.
          what: what is being done and why, for progress.
        """
        key = None
        if self._cache is not None:
            key = self._cache.key(self._ffmpeg, self.reference, info, preset, rate_value, models=self._models)
            if known := self._cache.load(key, self.reference.n_frames):
                self.cached += 1
                return self._pooled(known)
        on_frames = frame_calls(what, self.reference.n_frames, self._on_step)
        on_frames(0)
        scored = encode_and_score(
            self._ffmpeg,
            self.reference,
            info,
            preset,
            rate_value,
            models=self._models,
            threads="auto",
            on_frames=on_frames,
        )
        self.spent += 1
        if self._cache is not None and key is not None:
            self._cache.store(key, scored)
        return self._pooled(scored)

    def _pooled(self, scored: Scored) -> Scored:
        return replace(scored, pooling=self.measurand.pooling)

    def measure_segments(
        self,
        sample: SegmentPlan,
        chosen: Sequence[int],
        info: EncoderInfo,
        preset: str,
        rate_value: float,
        what: str,
        *,
        around: tuple[int, int] = (0, 0),
    ) -> list[Scored]:
        """Per-frame scores of an encode of each chosen segment, cached or new.

        Args:
          sample: all segments of the source.
          chosen: indices of those to encode.
          info: the encoder.
          preset: its preset.
          rate_value: on its own scale.
          what: what is being done and why, for progress.
          around: frames before and after each segment that are encoded and not scored.
        """
        segments = [sample.segments[index] for index in chosen]
        spans = [segment.encoded(around) for segment in segments]
        total, done, spent = sum(span.last - span.first for span in spans), 0, 0
        scored = []
        for segment, span in zip(segments, spans, strict=True):
            known, keep = self._known(segment, span, info, preset, rate_value)
            if known is None:
                on_frames = _from(frame_calls(what, total, self._on_step), done)
                whole = self._encode(sample, span, (info, preset, rate_value), on_frames)
                known = whole.part(segment.first - span.first, segment.n_frames, self.reference.frame_rate)
                keep(known)
                spent += 1
            scored.append(self._pooled(known))
            done += span.last - span.first
        self.spent += bool(spent)
        self.cached += not spent
        return scored

    def probe(self, specs: Sequence[ProbeSpec]) -> list[Probe]:
        """The encodes of the whole source that a forecast reads, in order."""
        made = []
        for number, spec in enumerate(specs):
            what = _probe_words(specs, number)
            made.append(Probe(spec, self.measure(encoder_info(spec.encoder), spec.preset, spec.rate_value, what)))
        return made

    def probe_segments(self, sample: SegmentPlan, specs: Sequence[ProbeSpec]) -> list[list[Probe]]:
        """For each segment the encodes that a forecast reads, in order.

        They begin and end with the segment, like the clips in training.
        """
        each = [
            self.measure_segments(
                sample,
                range(len(sample.segments)),
                encoder_info(spec.encoder),
                spec.preset,
                spec.rate_value,
                f"{_probe_words(specs, number)}, {len(sample.segments)} segments",
            )
            for number, spec in enumerate(specs)
        ]
        return [
            [Probe(spec, scored) for spec, scored in zip(specs, of_segment, strict=True)]
            for of_segment in zip(*each, strict=True)
        ]

    def _known(
        self, segment: Segment, span: Span, info: EncoderInfo, preset: str, rate_value: float
    ) -> tuple[Scored | None, Callable[[Scored], None]]:
        """The cached result of a segment, and the function that stores it."""
        if self._cache is None:
            return None, lambda _: None
        cache = self._cache
        of = (span.first, span.last, segment.first, segment.n_frames)
        key = cache.key(self._ffmpeg, self.reference, info, preset, rate_value, models=self._models, of=of)
        return cache.load(key, segment.n_frames), lambda scored: cache.store(key, scored)

    def _encode(
        self,
        sample: SegmentPlan,
        span: Span,
        encode: tuple[EncoderInfo, str, float],
        on_frames: Callable[[int], None],
    ) -> Scored:
        """One encode of a span. If its copy does not decode as the packets say, frames are counted from now on."""
        pieces = self._cut(sample)
        on_frames(0)
        try:
            return self._score(pieces.reference(span), encode, on_frames)
        except MediaError:
            if not isinstance(pieces, Copies):
                raise
        self._pieces = self._count_out(sample)
        on_frames(0)
        return self._score(self._pieces.reference(span), encode, on_frames)

    def _score(
        self, reference: ReferenceInput, encode: tuple[EncoderInfo, str, float], on_frames: Callable[[int], None]
    ) -> Scored:
        return encode_and_score(
            self._ffmpeg, reference, *encode, models=self._models, threads="auto", on_frames=on_frames
        )

    def _cut(self, sample: SegmentPlan) -> Copies | Cuttings:
        """All segments with the frames around them, cut out on first use."""
        if self._pieces is None:
            folder = self._folder()
            on_frames = frame_calls("cut the segments out", 1, self._on_step)
            on_frames(0)
            copied = copy_spans(self._ffmpeg, self.reference, _spans(sample), folder)
            self._pieces = copied or self._count_out(sample)
        return self._pieces

    def _count_out(self, sample: SegmentPlan) -> Cuttings:
        cuttings = Cuttings(self.reference, _spans(sample), self._folder())
        on_frames = frame_calls("cut the segments out", cuttings.n_frames, self._on_step)
        on_frames(0)
        cuttings.cut(self._ffmpeg, on_frames=on_frames)
        return cuttings

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-segments-")))


def _spans(sample: SegmentPlan) -> list[Span]:
    return [segment.encoded() for segment in sample.segments]


def _probe_words(specs: Sequence[ProbeSpec], index: int) -> str:
    spec = specs[index]
    return f"probe {index + 1} of {len(specs)}, for the forecast: {spec.encoder} {spec.preset} {spec.rate_value:g}"


def _from(on_frames: Callable[[int], None], before: int) -> Callable[[int], None]:
    """Frames of one of several encodes as frames of all."""
    return lambda done: on_frames(before + done)


def _plan_of(sample: SegmentPlan | None) -> dict[str, Any]:
    if sample is None:
        return {"whole": True}
    return {
        "n_units": sample.n_units,
        "segments": [[one.first, one.n_frames, one.before, one.after] for one in sample.segments],
    }


def _sample_of(plan: dict[str, Any]) -> SegmentPlan | None:
    if plan.get("whole"):
        return None
    return SegmentPlan(tuple(Segment(*map(int, one)) for one in plan["segments"]), int(plan["n_units"]))
