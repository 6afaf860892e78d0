"""Compare encoders and presets on one source: rate against quality, forecast from the same probes."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vmaf_assay.errors import ToolError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_text
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.model.support import size_reason
from vmaf_assay.promise.choice import Forecaster, Margin
from vmaf_assay.promise.promise import promise_of
from vmaf_assay.records import OnStep
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.bd_rate import bd_rate
from vmaf_assay.tune.bitrate import KbpsForecast
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.compare_request import Asked, CompareRequest, asked_of, settled
from vmaf_assay.tune.contenders import CompareResult, Contender, Kept, Refused
from vmaf_assay.tune.equal import MeasuredPoint, kbps_at_equal, next_rate
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.own_probes import own_margin, own_stages, search
from vmaf_assay.tune.pictures import PictureFacts
from vmaf_assay.tune.plan import OnNote
from vmaf_assay.tune.probing import SourceProbes, Tried, make_trials, probe_title
from vmaf_assay.tune.progress import SCORE_COST, JobClock, Stage, encode_cost, final_stages, probe_stages
from vmaf_assay.tune.result import CurvePoint, SampleFacts
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.segments import sample_facts
from vmaf_assay.tune.source import Opened, Working, open_prepared, pixels

if TYPE_CHECKING:
    from vmaf_assay.tune.delivered import OnMeasured, Reporter

MAX_MEASURED = 4
"""Most measured encodes of one contender, until one is on each side of the target."""


def compare(
    ffmpeg: Ffmpeg,
    verified: VerifiedEnsemble,
    request: CompareRequest,
    *,
    cache: Cache | None = None,
    on_step: OnStep | None = None,
    on_note: OnNote | None = None,
    clock: JobClock | None = None,
    on_measured: "OnMeasured | None" = None,
) -> CompareResult:
    """Forecast every contender from the same probes, and measure them on request.

    Encoders outside the calibration are searched with encodes of their own. Those that do not work here are named
    in `refused`.

    Raises:
      ConfigError: fewer than two, or an ensemble that may not promise.
      MediaError: the source cannot be used.
      ToolError: ffmpeg failed for every encoder.
    """
    clock = clock or JobClock(on_step)
    if request.measurand.pooling != "mean":  # segments say little of a percentile of all frames
        request = replace(request, probe_seconds=0)
    asked = asked_of(verified, request)
    sidecar = verified.ensemble.sidecar
    clock.step(f"open {request.source.name}", 0, 1)
    opened = open_prepared(
        ffmpeg,
        request.source,
        request.filters,
        stream=request.stream,
        pictures=request.pictures,
        any_kind=True,
        on_step=clock.step,
    )
    asked, working, unable = settled(verified, asked, opened)
    reference, measurand = working.reference, working.request.measurand
    facts = _noted(opened, working, on_note)
    clock.plan(_stages(sidecar, request, asked, reference), reference)
    with ExitStack() as stack:
        if cache is None and request.output is not None:  # the winner's encode uses these measurements again
            cache = Cache(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-compare-"))))
        measurer = stack.enter_context(Measurer(ffmpeg, reference, cache, clock.step, measurand))
        pairs = [one.pair for one in asked if not one.outside]
        title = probe_title(
            measurer, verified.ensemble, pairs, request.probe_seconds, more_probes=request.probes == "more"
        )
        found, broken = _found(measurer, verified, title, request, asked, on_measured)
        contenders = [one.contender for one in found]
        contenders = _sized(sidecar, contenders, reference)
        contenders = [replace(one, bd_rate=_bd(contenders[0], one)) for one in contenders]
        sample = _sample(title, contenders[0], found[0].predicted, reference)
        result = _result(request, measurer, contenders, sample, [*unable, *broken])
        result = replace(result, pictures=facts)
        if request.output is not None and result.cheapest is not None:
            return _keep(ffmpeg, verified, request, result, cache, clock, on_note, on_measured)
    return result


def _noted(opened: Opened, working: Working, on_note: OnNote | None) -> PictureFacts:
    """What was made of the pictures, told at once."""
    notes = [*opened.prepared.notes, *working.notes]
    for note in notes if on_note else ():
        assert on_note is not None
        on_note(note)
    return replace(opened.prepared.facts, **{**working.facts(), "pix_fmt": "", "notes": notes})


def _result(
    request: CompareRequest,
    measurer: Measurer,
    contenders: list[Contender],
    sample: SampleFacts | None,
    refused: list[Refused],
) -> CompareResult:
    return CompareResult(
        source=path_text(request.source),
        target_vmaf=request.target_vmaf,
        confidence=request.confidence,
        encodes_spent=measurer.spent,
        encodes_cached=measurer.cached,
        contenders=contenders,
        sample=sample,
        refused=refused,
        vmaf_model=measurer.measurand.model,
        bit_depth=measurer.measurand.bit_depth,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A contender, and what it was chosen from."""

    contender: Contender
    predicted: Forecast


def _found(
    measurer: Measurer,
    verified: VerifiedEnsemble,
    title: SourceProbes,
    request: CompareRequest,
    asked: Sequence[Asked],
    on_measured: "OnMeasured | None",
) -> tuple[list[_Found], list[Refused]]:
    """The encoders that work here, and the others with the reason; raises ToolError if no encoder works."""
    found: list[_Found] = []
    broken: list[Refused] = []
    problem: ToolError | None = None
    for one in asked:
        try:
            own, sources, predicted = _predicted(measurer, verified, title, one)
            report = _reporter(on_measured, verified, sources, own, predicted)
            made = _contender(sources, own, predicted, report)
            made = _measured(measurer, one.info, request, made, predicted, report) if request.measure else made
            found.append(_Found(made, predicted))
        except ToolError as error:
            problem = problem or error
            broken.append(Refused(*one.pair, f"does not work here: {error}"))
    if problem is not None and not found:
        raise problem
    return found, broken


def _predicted(
    measurer: Measurer, verified: VerifiedEnsemble, title: SourceProbes, asked: Asked
) -> tuple[Asked, SourceProbes, Forecast]:
    """The forecast from the probes of all; outside the calibration the curve through own encodes."""
    if not asked.outside:
        predicted = title.forecast(verified.ensemble, *asked.pair)
        if predicted.supported:
            return asked, title, predicted
        asked = replace(asked, outside=predicted.reason, margin=own_margin(asked.request))
    encoder = (asked.info, asked.preset)
    of = f"{asked.request.encoder} {asked.preset} "
    return asked, *search(measurer, title.sample, encoder, asked.request.target_vmaf, of=of)


def _sample(
    title: SourceProbes, first: Contender, predicted: Forecast, reference: ReferenceInput
) -> SampleFacts | None:
    """How the source was sampled, and the sampling part for the first contender."""
    forecaster = predicted.forecaster(first.promise.confidence)
    return sample_facts(title.sample, forecaster, first.rate_value, {}, reference, first.encoder)


def _stages(
    sidecar: Sidecar, request: CompareRequest, asked: Sequence[Asked], reference: ReferenceInput
) -> list[Stage]:
    inside = [one.pair for one in asked if not one.outside]
    stages = probe_stages(sidecar, asked[0].request, inside, reference) if inside else []
    for one in asked:
        if one.outside:
            stages += own_stages(one.request, one.info, reference)
    n_frames = reference.n_frames
    if request.measure:
        for one in asked:
            cost = encode_cost(one.request.encoder) + SCORE_COST
            words = f"measure {one.request.encoder} {one.preset}"
            stages += [Stage(words, n_frames, cost, f"score {one.request.encoder}")] * 2
    if request.output is not None:
        stages += final_stages(asked[0].request.encoder, n_frames)[: 2 if request.measure else 1]
    return stages


def _reporter(
    on_measured: "OnMeasured | None",
    verified: VerifiedEnsemble,
    title: SourceProbes,
    one: Asked,
    predicted: Forecast,
) -> "Reporter | None":
    """What reports the measurements of a contender; None where nobody wants them, and of curves of its own."""
    if on_measured is None or one.outside:
        return None
    from vmaf_assay.tune.delivered import Reporter  # not needed to answer

    forecaster = predicted.forecaster(one.request.confidence)
    return Reporter(on_measured, verified, one.request, predicted, title, forecaster, one.margin.scale)


def _contender(
    title: SourceProbes, asked: Asked, predicted: Forecast, report: "Reporter | None" = None
) -> Contender:
    """The choice of one encoder and preset, and its curve at whole rate values."""
    request, margin = asked.request, asked.margin
    forecaster = report.forecaster if report else predicted.forecaster(request.confidence)
    tried: dict[float, Tried] = {}
    if margin.target == request.target_vmaf:
        encoder = (asked.info, asked.preset)
        of = f"{request.encoder} {asked.preset} "
        tried = make_trials(title, forecaster, predicted, encoder, request, of=of)
    if report:
        report.trials(tried)
    measured = {rate_value: trial.vmaf for rate_value, trial in tried.items()}
    bitrates = KbpsForecast.of(asked.sidecar, asked.info, predicted, forecaster, request.confidence, tried)
    choice = forecaster.choose(request.target_vmaf, measured, margin.scale)
    promise = promise_of(
        choice,
        margin,
        target=request.target_vmaf,
        confidence=request.confidence,
        unsupported_reason=asked.outside or predicted.reason,
        uncalibrated_pictures=asked.uncalibrated,
        own_encodes=len(title.probes) + len(measured) if asked.outside else 0,
        uncalibrated_tools=predicted.uncalibrated_tools,
    )
    bitrate = bitrates.at([choice.rate_value])[0]
    return Contender(
        encoder=predicted.curve.encoder,
        preset=predicted.curve.preset,
        rate_value=choice.rate_value,
        mu=choice.mu,
        lower_bound=choice.lower_bound,
        promise=promise,
        bd_rate=None,
        forecast_kbps=bitrate.forecast,
        forecast_kbps_low=bitrate.low,
        forecast_kbps_high=bitrate.high,
        measured_vmaf=None,
        kbps=None,
        reasons=[reason.words for reason in promise.reasons],
        curve=_points(forecaster, measured, margin, bitrates),
        trials=[{"rate_value": rate, "measured_vmaf": vmaf} for rate, vmaf in measured.items()],
        tried_vmaf=_tried_vmaf(title, asked, measured, choice.rate_value),
    )


def _tried_vmaf(
    title: SourceProbes, asked: Asked, measured: dict[float, float], rate_value: float
) -> float | None:
    """What an own probe or trial of every frame measured at the choice of a job outside the calibration."""
    if not asked.outside or title.sample is not None:
        return None
    own = {probe.spec.rate_value: probe.scored.pooled_vmaf for probe in title.probes}
    return (own | measured).get(rate_value)


def _points(
    forecaster: Forecaster, measured: dict[float, float], margin: Margin, bitrates: KbpsForecast
) -> list[CurvePoint]:
    mu, lower = forecaster.corrected(measured), forecaster.lower(measured, margin.scale)
    kbps = bitrates.at(forecaster.grid.tolist())
    return [
        CurvePoint(rate, float(mean), float(bound), cost.forecast, measured.get(rate), cost.low, cost.high)
        for rate, mean, bound, cost in zip(forecaster.grid.tolist(), mu, lower, kbps, strict=True)
        if rate == round(rate) or rate in measured
    ]


def _sized(sidecar: Sidecar, contenders: Sequence[Contender], reference: ReferenceInput) -> list[Contender]:
    """Each contender, with a remark if its encoder was trained on other picture sizes only."""
    sized = []
    for one in contenders:
        size = size_reason(sidecar, one.encoder, one.preset, pixels(reference))
        sized.append(replace(one, reasons=[*one.reasons, size]) if size and one.promise.supported else one)
    return sized


def _bd(first: Contender, one: Contender) -> float | None:
    def columns(contender: Contender) -> tuple[np.ndarray, np.ndarray]:
        kbps = np.array([np.nan if point.kbps is None else point.kbps for point in contender.curve])
        return kbps, np.array([point.mu for point in contender.curve])

    return bd_rate(*columns(first), *columns(one))


def _measured(
    measurer: Measurer,
    info: EncoderInfo,
    request: CompareRequest,
    one: Contender,
    predicted: Forecast,
    report: "Reporter | None",
) -> Contender:
    """The contender with its choice measured, and with one encode measured on each side of the target."""
    points: list[MeasuredPoint] = []
    rate_value: float | None = one.rate_value
    while rate_value is not None and len(points) < MAX_MEASURED:
        what = f"measure {one.encoder} {one.preset}, {info.rate_mode} {rate_value:g}"
        scored = measurer.measure(info, one.preset, rate_value, what)
        points.append(MeasuredPoint(rate_value, scored.pooled_vmaf, scored.kbps))
        if report:
            trials = {trial["rate_value"]: trial["measured_vmaf"] for trial in one.trials}
            kept, score = one.promised and len(points) == 1, scored.pooled_vmaf
            report.at("compare", rate_value, trials, measured=score, kbps=scored.kbps, promised=kept)
        rate_value = next_rate(predicted.plain(), request.target_vmaf, points)
    equal = kbps_at_equal(points, request.target_vmaf)
    reasons = [*one.reasons]
    if equal is None:
        side = "below" if points[0].vmaf >= request.target_vmaf else "at or above"
        reasons.append(f"no {info.rate_mode} of the trained range was measured {side} {request.target_vmaf:g}")
    return replace(
        one,
        measured_vmaf=points[0].vmaf,
        kbps=points[0].kbps,
        encodes=points,
        equal_kbps=equal,
        reasons=reasons,
    )


def _keep(
    ffmpeg: Ffmpeg,
    verified: VerifiedEnsemble,
    request: CompareRequest,
    result: CompareResult,
    cache: Cache | None,
    clock: JobClock,
    on_note: OnNote | None,
    on_measured: "OnMeasured | None",
) -> CompareResult:
    """The result with the winner's encode written, as `tune` writes it; its probes and trials are in the cache."""
    best = result.cheapest
    assert best is not None  # the caller asks only then
    asked = replace(
        request.of(best.encoder, best.preset),
        output=request.output,
        force=request.force,
        verify=request.measure,
        retry=2 if request.measure else 0,
    )
    made = tune(ffmpeg, verified, asked, cache=cache, on_note=on_note, clock=clock, on_measured=on_measured)
    kept = Kept(
        output=made.output,
        rate_value=made.rate_value,
        kbps=made.kbps,
        output_bytes=made.output_bytes,
        measured_vmaf=made.measured_vmaf,
        met=made.met,
    )
    return replace(result, kept=kept, encodes_spent=result.encodes_spent + made.encodes_spent)
