"""Encode and score the parts of a title, several side by side, each once.

Decisions are made in a fixed order. With k encodes side by side, decision n waits for those up to n - k, and knows
nothing of the others. So the same title and options give the same bytes, however long each part
takes and wherever an earlier run was ended.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vmaf_assay.media import process
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.parts import CloseLook, EncodedPart, OtherFramesError, encode_part, seek_to
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.segments import Cuttings, Span
from vmaf_assay.media.stamps import Stamps
from vmaf_assay.scenes.control import Controller, Job
from vmaf_assay.scenes.cut import Scene
from vmaf_assay.scenes.store import PartStore, part_key


@dataclass(frozen=True, slots=True)
class PartSetting:
    """What is the same for all parts of a title."""

    ffmpeg: Ffmpeg
    """The ffmpeg to run."""
    reference: ReferenceInput
    """The title."""
    seen: CloseLook
    """Its frames."""
    encoder: EncoderInfo
    preset: str
    options: tuple[str, ...]
    """More of the encoder's options."""
    versions: dict[str, str]
    """Of the tools."""
    model: str
    """libvmaf's, that scores."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A part that goes into the title."""

    path: Path
    """Its packets."""
    part: EncodedPart
    """Its scores and digests."""


class Engine:
    """Encodes parts of one title. Use inside `store.open()`."""

    def __init__(
        self, setting: PartSetting, store: PartStore, scratch: Path, on_frames: Callable[[int], None] | None
    ) -> None:
        self.setting, self.store, self.scratch = setting, store, scratch
        self.spent = 0
        """Parts encoded by this run."""
        self.found = 0
        """Parts that an earlier run left."""
        self._on_frames = on_frames
        self._children = process.Children()
        self._lock, self._cut_lock = threading.Lock(), threading.Lock()
        self._moving: dict[str, int] = {}
        self._cut: tuple[ReferenceInput, Stamps] | None = None
        self._seeks = _can_seek(setting)

    def kill(self) -> None:
        """End every encode under way."""
        self._children.kill()

    def encode(self, span: Span, rate_value: float) -> Kept:
        """A part at a rate value: encoded now, or by an earlier run.

        Raises:
          MediaError: the source has changed, or the encoder does not take it.
          ToolError: ffmpeg or the disk failed.
        """
        s = self.setting
        n_frames = len(s.seen.digests)
        around = (int(span.first > 0), int(span.last < n_frames))
        frames = s.seen.digests[span.first - around[0] : span.last + around[1]]
        key = part_key(
            *(s.reference, s.encoder, s.preset, rate_value, span),
            around=around,
            frames=frames,
            options=s.options,
            model=s.model,
            versions=s.versions,
        )
        if (known := self.store.load(key)) is not None:
            with self._lock:
                self.found += 1
            self._moved(key, span.last - span.first)
            return Kept(self.store.path(key), known)
        out = self.scratch / f"{key}.mkv"
        part = self._make(span, rate_value, around, frames, out, lambda done: self._moved(key, done))
        self.store.store(key, out, part)
        with self._lock:
            self.spent += 1
        return Kept(self.store.path(key), part)

    def _make(
        self,
        span: Span,
        rate_value: float,
        around: tuple[int, int],
        frames: Sequence[str],
        out: Path,
        on_frames: Callable[[int], None],
    ) -> EncodedPart:
        """Encode from the source by seeking; if that shows other frames, from a lossless copy."""
        s = self.setting

        def make(reference: ReferenceInput, stamps: Stamps) -> EncodedPart:
            return encode_part(
                *(s.ffmpeg, seek_to(reference, span, stamps, around[0]), s.encoder, s.preset, rate_value),
                around=around,
                expected=frames,
                out=out,
                options=s.options,
                model=s.model,
                on_frames=on_frames,
                children=self._children,
            )

        if self._seeks:
            try:
                return make(s.reference, s.seen.stamps)
            except OtherFramesError:
                self._seeks = False
        return make(*self._copy())

    def _copy(self) -> tuple[ReferenceInput, Stamps]:
        """The title as a lossless file in which every frame can be sought, made on first use."""
        with self._cut_lock:
            if self._cut is None:
                reference = self.setting.reference
                folder = self.scratch / "copy"
                folder.mkdir()
                whole = Span(0, reference.n_frames)
                cuttings = Cuttings(reference, [whole], folder)
                cuttings.cut(self.setting.ffmpeg)
                even = Stamps(tuple(range(reference.n_frames)), Fraction(1) / reference.frame_rate)
                self._cut = replace(cuttings.reference(whole), span=None), even
            return self._cut

    def _moved(self, key: str, done: int) -> None:
        with self._lock:
            self._moving[key] = max(done, self._moving.get(key, 0))
            total = sum(self._moving.values())
        if self._on_frames:
            self._on_frames(total)


def encode_scenes(
    engine: Engine, scenes: Sequence[Scene], controller: Controller, jobs: int
) -> dict[int, list[Kept]]:
    """Encode what the controller asks for, until it asks for nothing more.

    Returns:
      The parts kept of each scene, in order.
    """
    made: dict[tuple[int, float], list[Kept]] = {}
    waiting: deque[tuple[Job, list[Future[Kept]]]] = deque()
    ahead = jobs if jobs == 1 else 2 * jobs - 1
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                if len(waiting) >= ahead:
                    _take(waiting, made, controller)
                job = controller.next({one.scene: one.rate_value for one, _ in waiting})
                if job is not None:
                    parts = scenes[job.scene].parts
                    waiting.append((job, [pool.submit(engine.encode, span, job.rate_value) for span in parts]))
                elif waiting:
                    _take(waiting, made, controller)
                else:
                    break
        except BaseException:
            engine.kill()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return {index: made[index, kept.rate_value] for index, kept in controller.state.kept.items()}


def _take(
    waiting: deque[tuple[Job, list[Future[Kept]]]],
    made: dict[tuple[int, float], list[Kept]],
    controller: Controller,
) -> None:
    """Wait for the oldest encode, and tell the controller what it came to."""
    job, futures = waiting.popleft()
    parts = [future.result() for future in futures]
    made[job.scene, job.rate_value] = parts
    scores = np.concatenate([one.part.scored.vmaf for one in parts])
    controller.observe(job, float(scores.mean(dtype=np.float64)), sum(one.part.scored.bytes for one in parts))


def _can_seek(setting: PartSetting) -> bool:
    """Whether a frame of the source can be reached by its time: not behind filters, which may look back."""
    reference = setting.reference
    filtered = reference.user_filters and reference.unfiltered_size is None
    return bool(setting.seen.stamps.ticks) and not filtered
