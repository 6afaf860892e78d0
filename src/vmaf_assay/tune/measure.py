"""Encode and score one source again and again: counts what was run, and asks the cache first."""

from collections.abc import Sequence

from vmaf_assay.media.encoders import EncoderInfo, encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.score import ReferenceInput, Threads, encode_and_score
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.records import Scored
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.final import OnStep, frame_calls
from vmaf_assay.tune.forecast import Probe


class Measurer:
    """Measures encodes of one source."""

    def __init__(
        self, ffmpeg: Ffmpeg, reference: ReferenceInput, cache: Cache | None, on_step: OnStep | None
    ) -> None:
        self.reference = reference
        self.spent = 0
        """Encodes run."""
        self.cached = 0
        """Encodes known from an earlier run."""
        self._ffmpeg, self._cache, self._on_step = ffmpeg, cache, on_step

    def measure(
        self,
        info: EncoderInfo,
        preset: str,
        rate_value: float,
        what: str,
        *,
        threads: Threads = "single",
    ) -> Scored:
        """Per-frame scores of one encode of every frame, from the cache if it is there.

        Args:
          info: the encoder.
          preset: its preset.
          rate_value: on its own scale.
          what: what is being done and why, for progress.
          threads: `single` for probes, `auto` for what must run as the final encode does.
        """
        key = None
        if self._cache is not None:
            key = self._cache.key(self._ffmpeg, self.reference, info, preset, rate_value, threads)
            if known := self._cache.load(key, self.reference.n_frames):
                self.cached += 1
                return known
        on_frames = frame_calls(what, self.reference.n_frames, self._on_step)
        on_frames(0)
        scored = encode_and_score(
            self._ffmpeg, self.reference, info, preset, rate_value,
            threads=threads, on_frames=on_frames,
        )  # fmt: skip
        self.spent += 1
        if self._cache is not None and key is not None:
            self._cache.store(key, scored)
        return scored

    def probe(self, specs: Sequence[ProbeSpec]) -> list[Probe]:
        """The encodes that a forecast reads, in order."""
        made = []
        for number, spec in enumerate(specs, start=1):
            setting = f"{spec.encoder} {spec.preset} {spec.rate_value:g}"
            what = f"probe {number} of {len(specs)}, for the forecast: {setting}"
            scored = self.measure(encoder_info(spec.encoder), spec.preset, spec.rate_value, what)
            made.append(Probe(spec, scored))
        return made
