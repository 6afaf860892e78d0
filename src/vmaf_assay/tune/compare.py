"""Compare encoders and presets on one source: rate against quality, forecast from the same probes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.model.support import size_reason
from vmaf_assay.promise.choice import Margin
from vmaf_assay.promise.promise import Promise, promise_of
from vmaf_assay.records import OnStep
from vmaf_assay.tune.bd_rate import bd_rate
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.forecast import Forecast, default_preset, trained_rates
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.probing import probe_title
from vmaf_assay.tune.request import DEFAULT_PROBE_SECONDS, ProbesKind, TuneRequest, check_request
from vmaf_assay.tune.result import CurvePoint, SampleFacts
from vmaf_assay.tune.run import calibrated_margin
from vmaf_assay.tune.segments import sample_facts
from vmaf_assay.tune.source import open_source, pixels

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """What is to be compared."""

    source: Path
    """The title."""
    encoders: tuple[str, ...]
    """`ENCODER` or `ENCODER:PRESET`; the first is what BD-rates are against."""
    target_vmaf: float
    """Pooled (mean) VMAF to reach, points."""
    confidence: float
    """Probability of reaching it, in (0, 1)."""
    measure: bool = False
    """Make each one's encode at its choice, and measure it."""
    filters: str = ""
    """ffmpeg filter chain that the picture goes through first."""
    probe_seconds: float = DEFAULT_PROBE_SECONDS
    """Most that is probed of the source, seconds: of a longer one segments are; 0 probes all of any."""
    probes: ProbesKind = "few"
    """`few` makes the probes that the forecasts read; `more` further ones, of the encoders and presets that the
    model has them for."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One encoder and preset."""

    encoder: str
    """ffmpeg encoder name."""
    preset: str
    """Its preset."""
    rate_value: float
    """Cheapest whose lower bound meets the target, else the best there is; on the encoder's own scale."""
    mu: float
    """Forecast there, points."""
    lower_bound: float
    """Less the margin, points."""
    forecast_kbps: float | None
    """Forecast bitrate there."""
    promise: Promise
    """Whether the choice is promised to meet the target, and why not."""
    bd_rate: float | None
    """Bitrate more (or less) than the first one's at equal forecast VMAF, as a share; None without overlap."""
    measured_vmaf: float | None
    """Pooled VMAF of the encode at `rate_value`, if measured."""
    kbps: float | None
    """Its bitrate, if measured."""
    reasons: list[str]
    """What stands against it, in words."""
    curve: list[CurvePoint] = field(default_factory=list)
    """Forecast, lower bound and bitrate at whole rate values."""

    @property
    def promised(self) -> bool:
        """Whether the promise of this package stands behind the choice."""
        return self.promise.made

    def as_json(self) -> dict[str, Any]:
        """One of `contenders` in docs/json-output.md."""
        return asdict(self) | {
            "promise": self.promise.as_json(),
            "promised": self.promised,
            "supported": self.promise.supported,
            "reachable": self.promise.reachable,
        }


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The answer; `as_json` is the documented form."""

    source: str
    """Path as given."""
    target_vmaf: float
    """What was asked, points."""
    confidence: float
    """What was asked, of each contender by itself."""
    encodes_spent: int
    """Probes and measured encodes that were run."""
    encodes_cached: int
    """Those known from an earlier run."""
    contenders: list[Contender]
    """In the order asked for."""
    sample: SampleFacts | None = None
    """What of the source was probed; None if all of it. Its `sampling_part` is the first contender's."""

    @property
    def cheapest(self) -> Contender | None:
        """Of those that meet the target, the one of least bitrate: measured if all of them were, else forecast."""
        meeting = [one for one in self.contenders if self._meets(one) and _cost(one) is not None]
        return min(meeting, key=lambda one: _cost(one) or 0.0, default=None)

    def _meets(self, one: Contender) -> bool:
        if one.measured_vmaf is not None:
            return one.measured_vmaf >= self.target_vmaf
        return one.promised

    def as_json(self) -> dict[str, Any]:
        """The document of docs/json-output.md."""
        best = self.cheapest
        named = None if best is None else {"encoder": best.encoder, "preset": best.preset}
        contenders = [one.as_json() | {"met": self._meets(one)} for one in self.contenders]
        return asdict(self) | {"contenders": contenders, "cheapest": named}


def _cost(one: Contender) -> float | None:
    return one.kbps if one.kbps is not None else one.forecast_kbps


def check_compare(request: CompareRequest) -> list[tuple[str, str | None]]:
    """Encoders and presets asked for; raises ConfigError for what cannot be meant."""
    if len(request.encoders) < 2:
        raise ConfigError(
            "a comparison takes two encoders or more", next_step="give -e twice, as -e A -e B:PRESET"
        )
    pairs = []
    for text in request.encoders:
        encoder, _, preset = text.partition(":")
        check_request(_as_tune(request, encoder, preset or None))
        pairs.append((encoder, preset or None))
    return pairs


def compare(
    ffmpeg: Ffmpeg,
    verified: "VerifiedEnsemble",
    request: CompareRequest,
    *,
    cache: Cache | None = None,
    on_step: OnStep | None = None,
) -> CompareResult:
    """Forecast every contender from the same probes, and measure them if that is asked for.

    Raises:
      ConfigError: fewer than two, one that the model was not trained on, or a promise that may not be made.
      MediaError: the source cannot be used.
      ToolError: ffmpeg failed.
    """
    sidecar = verified.ensemble.sidecar
    asked = []
    for encoder, preset in check_compare(request):
        chosen = preset or default_preset(sidecar, encoder, encoder_info(encoder).default_preset)
        trained_rates(sidecar, encoder, chosen)
        asked.append((encoder, chosen))
    if len(set(asked)) < len(asked):
        raise ConfigError("an encoder and preset is named twice", next_step="name each once")
    margins = [
        calibrated_margin(verified, _as_tune(request, encoder, preset), preset) for encoder, preset in asked
    ]
    reference, _ = open_source(ffmpeg, request.source, request.filters)
    with Measurer(ffmpeg, reference, cache, on_step) as measurer:
        title = probe_title(
            measurer, verified.ensemble, asked, request.probe_seconds, more_probes=request.probes == "more"
        )
        forecasts = [title.forecast(verified.ensemble, *one) for one in asked]
        contenders = [
            _contender(request, predicted, margin) for predicted, margin in zip(forecasts, margins, strict=True)
        ]
        for one in contenders:
            size = size_reason(sidecar, one.encoder, one.preset, pixels(reference))
            if size and one.promise.supported:
                one.reasons.append(size)
        contenders = [replace(one, bd_rate=_bd(contenders[0], one)) for one in contenders]
        if request.measure:
            contenders = _measured(measurer, contenders)
    first = forecasts[0].forecaster(request.confidence)
    facts = sample_facts(title.sample, first, contenders[0].rate_value, {}, reference, asked[0][0])
    return CompareResult(
        str(request.source),
        request.target_vmaf,
        request.confidence,
        measurer.spent,
        measurer.cached,
        contenders,
        facts,
    )


def _as_tune(request: CompareRequest, encoder: str, preset: str | None) -> TuneRequest:
    return TuneRequest(
        request.source,
        encoder,
        request.target_vmaf,
        request.confidence,
        preset,
        trials=0,
        probe_seconds=request.probe_seconds,
        probes=request.probes,
    )


def _contender(request: CompareRequest, predicted: Forecast, margin: Margin) -> Contender:
    """The choice of one encoder and preset without trials, and its curve at whole rate values."""
    forecaster = predicted.forecaster(request.confidence)
    choice = forecaster.choose(request.target_vmaf, {}, margin.scale)
    promise = promise_of(
        choice,
        margin,
        target=request.target_vmaf,
        confidence=request.confidence,
        unsupported_reason=predicted.reason,
    )
    lower, kbps = forecaster.lower({}, margin.scale), predicted.kbps_at(forecaster.grid)
    points = [
        CurvePoint(rate, float(mu), float(bound), _number(cost), None)
        for rate, mu, bound, cost in zip(forecaster.grid.tolist(), forecaster.mu, lower, kbps, strict=True)
        if rate == round(rate)
    ]
    return Contender(
        encoder=predicted.curve.encoder,
        preset=predicted.curve.preset,
        rate_value=choice.rate_value,
        mu=choice.mu,
        lower_bound=choice.lower_bound,
        promise=promise,
        bd_rate=None,
        forecast_kbps=_number(predicted.kbps_at(np.array([choice.rate_value]))[0]),
        measured_vmaf=None,
        kbps=None,
        reasons=[reason.words for reason in promise.reasons],
        curve=points,
    )


def _bd(first: Contender, one: Contender) -> float | None:
    def columns(contender: Contender) -> tuple[np.ndarray, np.ndarray]:
        kbps = np.array([np.nan if point.kbps is None else point.kbps for point in contender.curve])
        return kbps, np.array([point.mu for point in contender.curve])

    return bd_rate(*columns(first), *columns(one))


def _measured(measurer: Measurer, contenders: Sequence[Contender]) -> list[Contender]:
    """Each contender with what its encode at its choice measured."""
    done = []
    for number, one in enumerate(contenders, start=1):
        info = encoder_info(one.encoder)
        what = f"measure {number} of {len(contenders)}: {one.encoder} {one.preset} {one.rate_value:g}"
        scored = measurer.measure(info, one.preset, one.rate_value, what)
        done.append(replace(one, measured_vmaf=scored.pooled_vmaf, kbps=scored.kbps))
    return done


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
