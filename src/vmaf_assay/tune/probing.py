"""One source, complete or by segments: its probes, its forecast, and the result of a trial for all of it.

Trial encodes that correct a forecast, and what a measured final encode says of the other rate values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ToolError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.model.sidecar import ProbeSpec, Sidecar
from vmaf_assay.model.support import probes_needed
from vmaf_assay.promise.choice import Forecaster, Measured, trial_rate
from vmaf_assay.promise.sampling import (
    MIN_SEGMENTS,
    MIN_TRIED,
    TOLERANCE,
    Sampled,
    most_tried,
    next_count,
)
from vmaf_assay.promise.tools import tools_reason
from vmaf_assay.records import Scored, VideoInfo
from vmaf_assay.tune.forecast import Forecast, Probe, forecast, forecast_title
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.segments import SegmentPlan, around
from vmaf_assay.tune.source import pixels

if TYPE_CHECKING:
    from vmaf_assay.model.infer import Ensemble


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial's result for the whole source."""

    vmaf: float
    """Pooled VMAF, points: measured, or estimated for a sampled source."""
    kbps: float
    """Bitrate, likewise."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A source and its probe encodes: enough to forecast the encoders that it was probed for."""

    reference: ReferenceInput
    """How the source is opened and its frames are processed."""
    video: VideoInfo
    """Facts of the source."""
    probes: tuple[Probe, ...]
    """The encodes that forecasts of those encoders read; for a sampled source its segments joined."""
    sample: SegmentPlan | None = None
    """The segments that were probed; None if all of the source was."""
    segment_probes: tuple[tuple[Probe, ...], ...] = ()
    """The probes of each segment."""
    ffmpeg: Ffmpeg | None = None
    """What made the probes."""


@dataclass(frozen=True, slots=True)
class SourceProbes:
    """A source whose probes are known."""

    measurer: Measurer
    """Measures it."""
    probes: tuple[Probe, ...]
    """The probes of the source; for a sampled one, their segments joined."""
    sample: SegmentPlan | None = None
    """The segments; None if all of it is probed."""
    segment_probes: tuple[tuple[Probe, ...], ...] = ()
    """The probes of each segment, in the sample's order."""

    def forecast(self, ensemble: "Ensemble", encoder: str, preset: str) -> Forecast:
        """Forecast of one encoder and preset; raises ConfigError for one never trained on."""
        predicted = forecast_of(
            ensemble,
            self.probes,
            self.sample,
            self.segment_probes,
            encoder,
            preset,
            pixels=pixels(self.measurer.reference),
            frame_rate=float(self.measurer.reference.frame_rate),
            source=self.measurer.reference.path.name,
        )
        return with_tools(predicted, ensemble.sidecar, self.measurer.ffmpeg, self.measurer.versions)

    def try_out(
        self,
        forecaster: Forecaster,
        predicted: Forecast,
        encoder: tuple[EncoderInfo, str],
        rate_value: float,
        what: str,
    ) -> Tried:
        """Make a trial at one rate value, and estimate its result for the whole source.

        Args:
          forecaster: of the forecast; for a sampled source it stores the trial.
          predicted: the forecast.
          encoder: and its preset.
          rate_value: on its own scale.
          what: for progress.
        """
        if self.sample is None or not isinstance(forecaster, Sampled):
            scored = self.measurer.measure(*encoder, rate_value, what)
            return Tried(scored.pooled_vmaf, scored.kbps)
        n_segments, count = len(self.sample.segments), MIN_TRIED
        while True:
            tried = self.sample.tried(count)
            each = self.measurer.measure_segments(
                self.sample,
                tried,
                *encoder,
                rate_value,
                f"{what}, {count} of {n_segments} segments",
                around=around(encoder[0].name),
            )
            measured = {index: scored.pooled_vmaf for index, scored in zip(tried, each, strict=True)}
            vmaf = forecaster.observe(rate_value, measured)
            if count >= most_tried(n_segments) or forecaster.trial_part(rate_value) <= TOLERANCE:
                return Tried(vmaf, _title_kbps(predicted, tried, each, rate_value))
            count += 1


def with_tools(
    predicted: Forecast, sidecar: Sidecar, ffmpeg: Ffmpeg, versions: Callable[[Ffmpeg, str], dict[str, str]]
) -> Forecast:
    """A forecast with the versions of the tools behind it, and what of them is not as calibrated.

    Args:
      predicted: the forecast.
      sidecar: of its model.
      ffmpeg: the one that makes probes and encodes.
      versions: of an ffmpeg and an encoder.
    """
    encoder = predicted.curve.encoder
    names = [*dict.fromkeys([encoder, *(spec.encoder for spec in probes_needed(sidecar, [encoder]))])]
    tools: dict[str, str] = {}
    for name in names:
        try:
            tools |= versions(ffmpeg, name)
        except ToolError:
            return replace(predicted, uncalibrated_tools=f"{name} does not work here")
    why = tools_reason(sidecar, tools)
    if why:
        from vmaf_assay.outcomes.builds import build_reason  # few builds need it

        why = build_reason(ffmpeg, sidecar, tools, why)
    return replace(predicted, tools=tools, uncalibrated_tools=why)


def _title_kbps(predicted: Forecast, tried: Sequence[int], each: Sequence[Scored], rate_value: float) -> float:
    """The title's bitrate: its forecast times the ratio of measured to forecast for the segments tried."""
    weights = predicted.weights[list(tried)]
    measured = float(np.average([scored.kbps for scored in each], weights=weights))
    at: NDArray[np.float64] = np.array([rate_value])
    forecasts = np.array([float(one.kbps_at(at)[0]) for one in predicted.segments])
    if not np.isfinite(forecasts).all():
        return measured
    expected = float(np.average(forecasts[list(tried)], weights=weights))
    return float(np.average(forecasts, weights=predicted.weights)) * measured / expected


def forecast_of(
    ensemble: "Ensemble",
    probes: Sequence[Probe],
    sample: SegmentPlan | None,
    segment_probes: Sequence[Sequence[Probe]],
    encoder: str,
    preset: str,
    *,
    pixels: int,
    frame_rate: float,
    source: str,
) -> Forecast:
    """`forecast` for a completely probed source, `forecast_title` for a sampled one."""
    if sample is None:
        return forecast(ensemble, probes, encoder, preset, pixels=pixels, frame_rate=frame_rate, source=source)
    return forecast_title(
        ensemble,
        segment_probes,
        encoder,
        preset,
        pixels=pixels,
        frame_rate=frame_rate,
        source=source,
        weights=sample.weights,
        n_units=sample.n_units,
    )


def probe_title(
    measurer: Measurer,
    ensemble: "Ensemble",
    asked: Sequence[tuple[str, str]],
    probe_seconds: float,
    *,
    more_probes: bool = False,
    is_enough: Callable[[SourceProbes], bool] | None = None,
) -> SourceProbes:
    """Probe a source: completely if it is not longer than `probe_seconds` or that is 0, else by segments.

    The segments are as many as `probe_seconds` names. With `is_enough` they are the fewest that it takes.

    Args:
      measurer: of the source.
      ensemble: names the probes.
      asked: encoders and presets to forecast later.
      probe_seconds: seconds probed of a longer source.
      more_probes: whether to make further probes of those encoders and presets.
      is_enough: says of a sampled title, from `MIN_SEGMENTS` on, whether no more of it needs to be probed.

    Raises:
      ConfigError: `probe_seconds` is too little to promise anything.
      MediaError: a frame does not decode.
      ToolError: ffmpeg or the disk failed.
    """
    specs = probes_needed(ensemble.sidecar, [encoder for encoder, _ in asked], asked if more_probes else ())
    sample = measurer.sample(probe_seconds)
    if sample is None:
        return SourceProbes(measurer, tuple(measurer.probe(specs)))
    count = sample.count if is_enough is None else MIN_SEGMENTS
    while True:
        title = _probe_segments(measurer, sample.beginning(count), specs)
        if is_enough is None or count >= len(sample.segments) or is_enough(title):
            return title
        count = next_count(count, len(sample.segments))


def _probe_segments(measurer: Measurer, sample: SegmentPlan, specs: Sequence[ProbeSpec]) -> SourceProbes:
    each = measurer.probe_segments(sample, specs)
    rate = measurer.reference.frame_rate
    probes = tuple(
        Probe(spec, joined([of[index].scored for of in each], rate)) for index, spec in enumerate(specs)
    )
    return SourceProbes(measurer, probes, sample, tuple(tuple(of) for of in each))


def joined(parts: Sequence[Scored], frame_rate: Fraction) -> Scored:
    """Encodes of several segments as one."""
    n_frames, n_bytes = sum(part.n_frames for part in parts), sum(part.bytes for part in parts)
    return Scored(
        vmaf=np.concatenate([part.vmaf for part in parts]),
        features=np.concatenate([part.features for part in parts]),
        n_frames=n_frames,
        bytes=n_bytes,
        kbps=n_bytes * 8 / float(n_frames / frame_rate) / 1000,
        encode_s=sum(part.encode_s for part in parts),
        libvmaf_version=parts[0].libvmaf_version,
        every=parts[0].every,
        pooling=parts[0].pooling,
        more={name: np.concatenate([(part.more or {})[name] for part in parts]) for name in parts[0].more or {}},
    )


def make_trials(
    title: SourceProbes,
    forecaster: Forecaster,
    predicted: Forecast,
    encoder: tuple[EncoderInfo, str],
    request: TuneRequest,
    *,
    of: str = "",
) -> dict[float, Tried]:
    """As many trials as the request allows, fewer if one would repeat another.

    Args:
      title: the source, probed.
      forecaster: on the forecast; of a sampled source it remembers the trials.
      predicted: the forecast.
      encoder: and its preset.
      request: names target and number.
      of: for progress, which encoder, where there are several.

    Returns:
      By rate value, what each trial says of the whole source.
    """
    tried: dict[float, Tried] = {}
    for number in range(1, request.trials + 1):
        measured = {rate_value: trial.vmaf for rate_value, trial in tried.items()}
        rate_value = trial_rate(forecaster, request.target_vmaf, measured)
        if rate_value is None:
            break
        where = f"{of}{encoder[0].rate_mode} {rate_value:g}"
        what = f"trial {number} of {request.trials}, to correct the forecast: {where}"
        tried[rate_value] = title.try_out(forecaster, predicted, encoder, rate_value, what)
    return tried


def implied_rate(forecaster: Forecaster, target: float, missed: Measured) -> float | None:
    """The cheapest rate value that should meet the target, now that whole encodes were measured below it.

    The forecast is interpolated through what was measured. Only rate values of higher quality than every encode
    that missed are considered.

    Args:
      forecaster: on the forecast, without a sampling part.
      target: pooled VMAF wanted, points.
      missed: rate value -> pooled VMAF of an encode of every frame, below the target, points.

    Returns:
      None if no rate value of the trained range should do.
    """
    best = max(forecaster.at(rate_value) for rate_value in missed)  # the grid begins with the cheapest
    curve = forecaster.corrected(missed)
    # A curve of own encodes is smooth, and passes above a measurement that it takes for noise. This one is exact.
    beside = curve[best - 1 : best + 2 : 2] if best else curve[1:2]
    above = max(0.0, float(beside.mean() - curve[best])) if len(beside) else 0.0
    for wanted in (target + above, target):
        meeting = np.flatnonzero(curve[best + 1 :] >= wanted)
        if len(meeting):
            return float(forecaster.grid[best + 1 + meeting[0]])
    return None
