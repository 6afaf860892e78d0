"""Encode and score one source repeatedly: looks into the cache first, and counts the encodes run.

A short source is measured completely, a long one by segments. Segments are cut out once, when the first of them is
not in the cache, into a private folder that is removed with the measurer.

Cached results and encodes of one process must be of the same decoded pictures.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from vmaf_assay.errors import IntegrityError, MediaError
from vmaf_assay.media.capability import ToolVersions
from vmaf_assay.media.copies import Copies, copy_spans
from vmaf_assay.media.demux import FrameMap
from vmaf_assay.media.encoders import EncoderInfo, encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.packet_look import PacketLook
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.segments import Cuttings, Span, look
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.records import MEAN_VMAF, V1_FEATURES_OF, Measurand, OnStep, Scored, is_v1, scoring_model
from vmaf_assay.tune.final import frame_calls
from vmaf_assay.tune.forecast import Probe
from vmaf_assay.tune.request import at_depth
from vmaf_assay.tune.segments import (
    AROUND_FRAMES,
    SCORED_EVERY,
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


class _Encode(NamedTuple):
    """An encode of segments, and what scores it."""

    info: EncoderInfo
    preset: str
    rate_value: float
    models: tuple[str, ...]


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
        self._every = SCORED_EVERY if measurand.pooling == "mean" else 1
        self._models = (scoring_model(measurand.model, float(reference.frame_rate)),)
        self._probe_models = _probe_models(measurand.model, float(reference.frame_rate))
        self._spent = self._cached = 0
        self._cache, self._on_step = cache, on_step
        self.ffmpeg = ffmpeg
        self.versions = cache.versions if cache is not None else ToolVersions()
        """Versions of an ffmpeg and an encoder."""
        self._stack = ExitStack()
        self._pieces: Copies | Cuttings | None = None
        self._plan: SegmentPlan | None = None
        self._segments: dict[tuple[Span, Segment, _Encode], Scored] = {}
        """Segments measured so far, of which a larger sample is made."""
        self._encodes: dict[_Encode, bool] = {}
        """Probes and trials of segments, and whether one was encoded."""
        self._pictures: dict[tuple[Span | None, str], tuple[str, bool]] = {}
        """Digest of the decoded pictures of a span, by pixel format, and whether the cache named it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def spent(self) -> int:
        """Encodes run; those of the segments of one probe or trial count as one."""
        return self._spent + sum(self._encodes.values())

    @property
    def cached(self) -> int:
        """Encodes known from an earlier run, counted likewise."""
        return self._cached + len(self._encodes) - sum(self._encodes.values())

    def sample(self, probe_seconds: float) -> SegmentPlan | None:
        """The segments of the source that are probed; None if all of it is.

        Raises:
          ConfigError: `probe_seconds` is too short for a promise.
          MediaError: a frame of the source does not decode.
        """
        count = n_segments(self.reference, probe_seconds)
        self._plan = None if count is None else self._planned(count)
        return self._plan

    def take(self, plan: SegmentPlan) -> SegmentPlan:
        """Segments that the caller chose, in place of those of `sample`."""
        self._plan = plan
        return plan

    def _planned(self, count: int) -> SegmentPlan | None:
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
            return look(self.ffmpeg, self.reference, Path(folder), on_frames=on_frames)

    def measure(
        self,
        info: EncoderInfo,
        preset: str,
        rate_value: float,
        what: str,
        *,
        models: Sequence[str] | None = None,
    ) -> Scored:
        """Per-frame scores of one encode of every frame, cached or new.

        Args:
          info: the encoder.
          preset: its preset.
          rate_value: on its own scale.
          what: what is being done and why, for progress.
          models: libvmaf's, of which the first scores; None for that of the measurand.
        """
        models = self._models if models is None else models
        cache, key = self._cache, ""

        def key_now(cache: "Cache") -> str:
            return cache.key(self.ffmpeg, self.reference, info, preset, rate_value, models=models)

        if cache is not None:
            key = key_now(cache)
            if known := cache.load(key, self.reference.n_frames):
                self._check_pictures(known, None, info, cached=True)
                self._cached += 1
                return self._pooled(known)
        on_frames = frame_calls(what, self.reference.n_frames, self._on_step)
        on_frames(0)
        scored = encode_and_score(
            self.ffmpeg,
            self.reference,
            info,
            preset,
            rate_value,
            models=models,
            threads="auto",
            on_frames=on_frames,
        )
        self._spent += 1
        self._check_pictures(scored, None, info)
        if cache is not None:
            self._check_unchanged(key, key_now(cache))
            cache.store(key, scored)
        return self._pooled(scored)

    def _check_pictures(
        self, scored: Scored, span: Span | None, info: EncoderInfo, *, cached: bool = False
    ) -> None:
        """Refuse a cached result of other pictures than another result of the same frames.

        Raises:
          IntegrityError: the digests of the decoded pictures differ.
        """
        digest, was_cached = self._pictures.setdefault((span, info.pix_fmt), (scored.decoded, cached))
        if digest != scored.decoded and (cached or was_cached):
            raise IntegrityError(
                f"the cache has results of {self.reference.path} that were measured on other pictures",
                next_step="run again with --no-cache, or remove the cache folder",
            )

    def _check_unchanged(self, before: str, now: str) -> None:
        """Raise MediaError if a key of the source is another one after an encode than before."""
        if before != now:
            raise MediaError(
                f"{self.reference.path} changed while it was measured", next_step="run again when it is complete"
            )

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
        models: Sequence[str] | None = None,
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
          models: as of `measure`.
        """
        segments = [sample.segments[index] for index in chosen]
        spans = [segment.encoded(around) for segment in segments]
        total, done = sum(span.last - span.first for span in spans), 0
        scored = []
        encode = _Encode(info, preset, rate_value, self._models if models is None else tuple(models))
        self._encodes.setdefault(encode, False)
        for segment, span in zip(segments, spans, strict=True):
            if (known := self._segments.get((span, segment, encode))) is None:
                known, keep = self._known(segment, span, encode)
                if known is None:
                    on_frames = _from(frame_calls(what, total, self._on_step), done)
                    whole = self._encode(span, encode, on_frames)
                    known = whole.part(segment.first - span.first, segment.n_frames, self.reference.frame_rate)
                    self._check_pictures(known, span, info)
                    keep(known)
                    self._encodes[encode] = True
                self._segments[span, segment, encode] = known
            scored.append(self._pooled(known))
            done += span.last - span.first
        return scored

    def probe(self, specs: Sequence[ProbeSpec]) -> list[Probe]:
        """The encodes of the whole source that a forecast reads, in order."""
        made = []
        for number, spec in enumerate(specs):
            what = _probe_words(specs, number)
            info = at_depth(encoder_info(spec.encoder), spec.bit_depth)
            scored = self.measure(info, spec.preset, spec.rate_value, what, models=self._probe_models)
            made.append(Probe(spec, scored))
        return made

    def probe_segments(self, sample: SegmentPlan, specs: Sequence[ProbeSpec]) -> list[list[Probe]]:
        """For each segment the encodes that a forecast reads, in order.

        They begin and end with the segment, like the clips in training.
        """
        each = [
            self.measure_segments(
                sample,
                range(len(sample.segments)),
                at_depth(encoder_info(spec.encoder), spec.bit_depth),
                spec.preset,
                spec.rate_value,
                f"{_probe_words(specs, number)}, {len(sample.segments)} segments",
                models=self._probe_models,
            )
            for number, spec in enumerate(specs)
        ]
        return [
            [Probe(spec, scored) for spec, scored in zip(specs, of_segment, strict=True)]
            for of_segment in zip(*each, strict=True)
        ]

    def _known(
        self, segment: Segment, span: Span, encode: "_Encode"
    ) -> tuple[Scored | None, Callable[[Scored], None]]:
        """The cached result of a segment, and the function that stores it."""
        cache = self._cache
        if cache is None:
            return None, lambda _: None
        of = (span.first, span.last, segment.first, segment.n_frames)
        made = encode.info, encode.preset, encode.rate_value

        def key_now() -> str:
            return cache.key(self.ffmpeg, self.reference, *made, models=encode.models, of=of, every=self._every)

        def keep(scored: Scored) -> None:
            self._check_unchanged(key, key_now())
            cache.store(key, scored)

        key = key_now()
        known = cache.load(key, segment.n_frames)
        if known is not None:
            self._check_pictures(known, span, encode.info, cached=True)
        return known, keep

    def _encode(
        self,
        span: Span,
        encode: "_Encode",
        on_frames: Callable[[int], None],
    ) -> Scored:
        """One encode of a span. If its copy does not decode as the packets say, frames are counted from now on."""
        pieces = self._cut()
        on_frames(0)
        try:
            return self._score(pieces.reference(span), encode, on_frames)
        except MediaError:
            if not isinstance(pieces, Copies):
                raise
        self._pieces = self._count_out()
        on_frames(0)
        return self._score(self._pieces.reference(span), encode, on_frames)

    def _score(self, reference: ReferenceInput, encode: "_Encode", on_frames: Callable[[int], None]) -> Scored:
        return encode_and_score(
            self.ffmpeg,
            reference,
            encode.info,
            encode.preset,
            encode.rate_value,
            models=encode.models,
            threads="auto",
            every=self._every,
            on_frames=on_frames,
        )

    def _cut(self) -> Copies | Cuttings:
        """All segments with the frames around them, cut out on first use."""
        if self._pieces is None:
            folder = self._folder()
            on_frames = frame_calls("cut the segments out", 1, self._on_step)
            on_frames(0)
            copied = copy_spans(self.ffmpeg, self.reference, self._spans(), folder)
            self._pieces = copied or self._count_out()
        return self._pieces

    def _count_out(self) -> Cuttings:
        cuttings = Cuttings(self.reference, self._spans(), self._folder())
        on_frames = frame_calls("cut the segments out", cuttings.n_frames, self._on_step)
        on_frames(0)
        cuttings.cut(self.ffmpeg, on_frames=on_frames)
        return cuttings

    def _spans(self) -> list[Span]:
        assert self._plan is not None  # segments come from `sample` or `take`
        return [segment.encoded() for segment in self._plan.segments]

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-segments-")))


def _probe_models(model: str, frame_rate: float) -> tuple[str, ...]:
    """The models that score a probe, first the one that is forecast.

    Features are what v0.6.1 reads of it; of VMAF v1, also what its model for three heights reads.
    """
    first = scoring_model(model, frame_rate)
    of_v1 = (scoring_model(V1_FEATURES_OF, frame_rate),) if is_v1(model) else ()
    return tuple(dict.fromkeys((first, *of_v1, MEAN_VMAF.model)))


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
        "count": sample.count,
        "segments": [[one.first, one.n_frames, one.before, one.after] for one in sample.segments],
    }


def _sample_of(plan: dict[str, Any]) -> SegmentPlan | None:
    if plan.get("whole"):
        return None
    return SegmentPlan(
        tuple(Segment(*map(int, one)) for one in plan["segments"]), int(plan["n_units"]), int(plan["count"])
    )
