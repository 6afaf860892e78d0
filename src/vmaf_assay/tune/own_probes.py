"""The search with the encoder itself, for jobs outside the calibration: some encodes, and a curve through them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.model.support import trained_presets, unsupported_reason
from vmaf_assay.promise.choice import Curve, Forecaster, Margin, Measured
from vmaf_assay.promise.own_curve import (
    OWN_PROBES,
    OwnForecaster,
    OwnPrior,
    SampledOwnForecaster,
    next_own_rate,
    own_calibration,
    places,
)
from vmaf_assay.records import Measurand, Scored
from vmaf_assay.tune.forecast import Forecast, Probe
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.probing import SourceProbes, joined
from vmaf_assay.tune.progress import SCORE_COST, Stage, sampled_stages, trial_stages
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.segments import SEGMENT_FRAMES, SegmentPlan, n_segments

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble

F64 = NDArray[np.float64]

HALVINGS = 9.0
"""How often the bitrate is assumed to halve over the declared range, while only one encode is known. libx264's
halves about every 6 CRF; a second encode replaces the assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnForecast(Forecast):
    """A curve through encodes of the source with the encoder asked for."""

    info: EncoderInfo
    """The encoder."""
    prior: OwnPrior
    """What the curve assumes before any encode."""
    known: tuple[Measured, ...]
    """What was measured: of every frame, or of each of N segments."""

    def forecaster(self, confidence: float) -> Forecaster:
        """The curve; for a sampled title with the sampling part of the bound."""
        if not self.segments:
            return self.plain()
        return SampledOwnForecaster(
            self.info,
            self.prior,
            list(self.known),
            self.weights,
            self.n_units,
            confidence=confidence,
            measurand=self.curve.measurand,
        )

    def plain(self) -> Forecaster:
        """The curve without a sampling part."""
        return OwnForecaster(self.info, self.prior, self.curve.known, self.curve.measurand)

    def kbps_at(self, rate_values: F64) -> F64:
        """Bitrate at any rate values, kbps: its logarithm is linear in place between known encodes, and beyond."""
        known = np.array(list(self.known_kbps))
        order = np.argsort(places(self.info, known))
        place = places(self.info, known)[order]
        logs = np.log([max(self.known_kbps[float(rate)], 1e-3) for rate in known[order]])
        slopes = np.diff(logs) / np.diff(place) if len(place) > 1 else np.array([-HALVINGS * np.log(2)])
        at = places(self.info, rate_values)
        better, worse = np.minimum(at - place[0], 0), np.maximum(at - place[-1], 0)
        result: F64 = np.exp(np.interp(at, place, logs) + slopes[0] * better + slopes[-1] * worse)
        return result


def outside(verified: "VerifiedEnsemble", request: TuneRequest, info: EncoderInfo, preset: str) -> str:
    """Why an encode is outside the calibration, in words; empty if it is inside.

    Args:
      verified: the ensemble.
      request: what is asked, resolved.
      info: the encoder, with the user's own options.
      preset: its preset.
    """
    sidecar = verified.ensemble.sidecar
    if sidecar.answers != str(request.measurand):
        return f"the forecast is of {sidecar.answers}, not of {request.measurand}"
    if request.drive:
        range_ = f"{info.rate_min:g} to {info.rate_max:g} in steps of {info.rate_step:g}"
        return f"no calibration encode was made with {info.name} by {info.rate_flag} {range_}"
    if not trained_presets(sidecar, request.encoder, preset):
        nothing = np.zeros(len(sidecar.feature_names))
        return unsupported_reason(sidecar, nothing, request.encoder, preset) or ""
    if info.extra_args:
        return options_words(info)
    return ""


def options_words(info: EncoderInfo) -> str:
    """Why an encoder with the user's own options is outside the calibration."""
    return f"no calibration encode had the encoder options {' '.join(info.extra_args)}"


def own_margin(request: TuneRequest) -> Margin:
    """The margin of a curve through own encodes, at the confidence asked for."""
    return own_calibration().margin(
        target=request.target_vmaf, confidence=request.confidence, trials=request.trials
    )


def margin_words(request: TuneRequest, points: float) -> str:
    """Where the margin of a curve through own encodes is from, in words."""
    calibration = own_calibration()
    encoders = len({one.encoder for one in calibration.judged})
    held = calibration.passed(request.confidence, request.trials)
    verdict = "each of them hit as often as asked" if held else "not all of them hit as often as asked"
    return (
        f"margin {points:.2f} points: the largest that any of {encoders} encoders needed at confidence "
        f"{request.confidence:g} when it was left out; {verdict}"
    )


def search(
    measurer: Measurer,
    sample: SegmentPlan | None,
    encoder: tuple[EncoderInfo, str],
    target: float,
    *,
    of: str = "",
) -> tuple[SourceProbes, OwnForecast]:
    """Make the own probes of a source, each where the curve so far meets the target, and the curve through them.

    Args:
      measurer: of the source.
      sample: the segments of a sampled source; None if all of it is encoded.
      encoder: and its preset.
      target: pooled VMAF, points.
      of: for progress, which encoder, where there are several.

    Raises:
      ToolError: the encoder does not work here, or the disk failed.
    """
    (info, preset), prior = encoder, own_calibration().prior
    probes: list[Probe] = []
    each: list[list[Scored]] = []
    known: Measured = {}
    for number in range(1, OWN_PROBES + 1):
        rate = next_own_rate(OwnForecaster(info, prior, known, measurer.measurand), target, {})
        if rate is None:
            break
        what = f"own probe {number} of {OWN_PROBES}: {of}{info.rate_mode} {rate:g}"
        parts = _measure(measurer, sample, encoder, rate, what)
        whole = joined(parts, measurer.reference.frame_rate) if sample else parts[0]
        spec = ProbeSpec(encoder=info.name, preset=preset, rate_value=rate)
        probes.append(Probe(spec, whole))
        each.append(parts)
        known[rate] = whole.pooled_vmaf
    return _searched(measurer, sample, encoder, probes, each)


def _measure(
    measurer: Measurer, sample: SegmentPlan | None, encoder: tuple[EncoderInfo, str], rate: float, what: str
) -> list[Scored]:
    """One encode: of every frame, or of each segment as a trial makes it."""
    if sample is None:
        return [measurer.measure(*encoder, rate, what)]
    frames = encoder[0].segment_around
    return measurer.measure_segments(
        sample,
        range(len(sample.segments)),
        *encoder,
        rate,
        f"{what}, {len(sample.segments)} segments",
        around=(frames, frames),
    )


def _searched(
    measurer: Measurer,
    sample: SegmentPlan | None,
    encoder: tuple[EncoderInfo, str],
    probes: Sequence[Probe],
    each: Sequence[Sequence[Scored]],
) -> tuple[SourceProbes, OwnForecast]:
    named = measurer.reference.path.name, measurer.measurand
    whole = _forecast(encoder, {probe.spec.rate_value: probe.scored for probe in probes}, *named)
    if sample is None:
        return SourceProbes(measurer, tuple(probes)), whole
    of_segments = [
        {probe.spec.rate_value: parts[index] for probe, parts in zip(probes, each, strict=True)}
        for index in range(len(sample.segments))
    ]
    segments = tuple(_forecast(encoder, of, *named) for of in of_segments)
    predicted = replace(
        whole,
        segments=segments,
        weights=sample.weights,
        n_units=sample.n_units,
        known=tuple(segment.known[0] for segment in segments),
    )
    made = tuple(tuple(Probe(probe.spec, of[probe.spec.rate_value]) for probe in probes) for of in of_segments)
    return SourceProbes(measurer, tuple(probes), sample, made), predicted


def _forecast(
    encoder: tuple[EncoderInfo, str], scored: Mapping[float, Scored], source: str, measurand: Measurand
) -> OwnForecast:
    """The curve through some encodes of one thing, complete or a segment."""
    (info, preset), prior = encoder, own_calibration().prior
    known = {rate: one.pooled_vmaf for rate, one in scored.items()}
    forecaster = OwnForecaster(info, prior, known, measurand)
    order = np.argsort(forecaster.grid)
    rates, doubt = forecaster.grid[order], forecaster.weight({})[order]
    nothing = np.full(len(rates), np.nan)
    mu = forecaster.mu[order]
    curve = Curve("", source, info.name, preset, rates, mu, doubt, nothing, known, measurand=measurand)
    return OwnForecast(
        curve,
        nothing,
        supported=False,
        reason="",
        known_kbps={rate: one.kbps for rate, one in scored.items()},
        info=info,
        prior=prior,
        known=(known,),
    )


def own_stages(request: TuneRequest, info: EncoderInfo, reference: ReferenceInput) -> list[Stage]:
    """What the own probes and trials of one encoder will take, in order."""
    count = n_segments(reference, request.probe_seconds)
    probed = reference.n_frames if count is None else count * SEGMENT_FRAMES
    cost = info.cost + SCORE_COST
    probes = [
        Stage(f"own probe {number} of", probed, cost, f"score {info.name}") for number in range(1, OWN_PROBES + 1)
    ]
    return [*sampled_stages(request, reference), *probes, *trial_stages(request, info.name, reference)]
