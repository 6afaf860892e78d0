"""Tune one source: probe, forecast, choose, try, encode, verify.

Each step reports to `on_step`; nothing here prints. The rate value comes from `promise.choice`, the code that the
margin was calibrated with. Probes and trials cover every frame of a short source, and segments of a long one.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_text
from vmaf_assay.media.score import score_pair
from vmaf_assay.model.support import size_reason
from vmaf_assay.promise.choice import Choice, Forecaster, Measured
from vmaf_assay.promise.promise import Promise
from vmaf_assay.records import OnStep, pooled, scoring_model
from vmaf_assay.tune.bitrate import Kbps, KbpsForecast
from vmaf_assay.tune.filter_files import named_files
from vmaf_assay.tune.final import (
    check_space,
    frame_calls,
    write_final,
)
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.limits import judge_limits, larger_reason, limit_reasons, within_limits
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.own_probes import margin_words, options_words, own_stages, search
from vmaf_assay.tune.plan import OnNote, Plan, make_plan
from vmaf_assay.tune.probing import SourceProbes, Tried, probe_title
from vmaf_assay.tune.progress import JobClock, Stage, final_stages, job_stages
from vmaf_assay.tune.request import TuneRequest, resolved
from vmaf_assay.tune.result import (
    CurvePoint,
    ProbePoint,
    Retry,
    SampleFacts,
    TuneResult,
)
from vmaf_assay.tune.scale import scale_words
from vmaf_assay.tune.segments import sample_facts, sample_reasons
from vmaf_assay.tune.source import pixels, seconds
from vmaf_assay.tune.trials import implied_rate, make_trials

if TYPE_CHECKING:
    from vmaf_assay.model.sidecar import Sidecar
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.tune.cache import Cache
    from vmaf_assay.tune.delivered import OnMeasured, Reporter


def tune(
    ffmpeg: Ffmpeg,
    verified: "VerifiedEnsemble",
    request: TuneRequest,
    *,
    cache: "Cache | None" = None,
    on_step: OnStep | None = None,
    on_note: OnNote | None = None,
    clock: JobClock | None = None,
    on_measured: "OnMeasured | None" = None,
) -> TuneResult:
    """Choose the cheapest rate value that keeps the promise, and make the encode if an output is named.

    Args:
      ffmpeg: the ffmpeg to run.
      verified: a forecast ensemble that may promise.
      request: what is asked.
      cache: results of earlier runs; None uses no cache.
      on_step: called with progress.
      on_note: called before anything is encoded, with what the output will lack.
      clock: called with progress instead of `on_step`, where the time left for the whole job is wanted.
      on_measured: called with the facts of every trial and of the final encode, as each is measured.

    Raises:
      ConfigError: the request is invalid, or the ensemble may not promise it.
      MediaError: the source cannot be used.
      ToolError: ffmpeg or the disk failed.
    """
    clock = clock or JobClock(on_step)
    sidecar = verified.ensemble.sidecar
    request = resolved(request, {seen.encoder for seen in sidecar.seen.encoders})
    plan = make_plan(ffmpeg, verified, request, clock.step, on_note)
    stages = _stages(sidecar, plan)
    clock.plan(stages, plan.reference)
    if named_files(request.filters, Path.cwd()):
        cache = None  # a kept encode may be of the file's earlier content
    request = plan.request  # with the source's depth, if that was asked for
    with Measurer(ffmpeg, plan.reference, cache, clock.step, request.measurand) as measurer:
        plan, title, predicted = _predicted(measurer, verified, plan, clock)
        forecaster = predicted.forecaster(request.confidence)
        encoder = (plan.info, plan.preset)
        tried = make_trials(title, forecaster, predicted, encoder, request) if plan.calibrated_target else {}
        report = _report_trials(on_measured, verified, plan, title, predicted, forecaster, tried)
    measured = {rate_value: trial.vmaf for rate_value, trial in tried.items()}
    choice = forecaster.choose(request.target_vmaf, measured, plan.margin.scale)
    bitrates = KbpsForecast.of(sidecar, plan.info, predicted, forecaster, request.confidence, tried)
    answer = _Answer(plan, title, bitrates.predicted, forecaster, measured, choice, bitrates, report)
    result = answer.result(verified)
    if request.output is not None and result.promise.encodable and within_limits(result):
        result = _encode(plan, answer, result, clock)
    return result


def _report_trials(
    on_measured: "OnMeasured | None",
    verified: "VerifiedEnsemble",
    plan: Plan,
    title: SourceProbes,
    predicted: Forecast,
    forecaster: Forecaster,
    tried: dict[float, Tried],
) -> "Reporter | None":
    """What reports measurements, after it has reported the trials; None where nobody wants them.

    A curve through own encodes is no forecast of the ensemble, so nothing is reported of it.
    """
    if on_measured is None or plan.outside:
        return None
    from vmaf_assay.tune.delivered import Reporter  # not needed to answer

    report = Reporter(on_measured, verified, plan.request, predicted, title, forecaster, plan.margin.scale)
    report.trials(tried)
    return report


def _stages(sidecar: "Sidecar", plan: Plan) -> list[Stage]:
    request, reference = plan.request, plan.reference
    if not plan.outside:
        return job_stages(sidecar, request, plan.preset, reference)
    last = final_stages(request.encoder, reference.n_frames)[: 2 if request.verifies else 1]
    return [*own_stages(request, plan.info, reference), *(last if request.output is not None else [])]


def _predicted(
    measurer: Measurer, verified: "VerifiedEnsemble", plan: Plan, clock: JobClock
) -> tuple[Plan, SourceProbes, Forecast]:
    """The forecast of a job inside the calibration, else the curve through own probes.

    A source that turns out to be unlike the training data is searched too; the plan then says so.
    """
    request, encoder = plan.request, (plan.info, plan.preset)
    if plan.outside:
        return plan, *search(measurer, measurer.sample(request.probe_seconds), encoder, request.target_vmaf)
    pair = (request.encoder, plan.preset)
    title = probe_title(
        measurer, verified.ensemble, [pair], request.probe_seconds, more_probes=request.more_probes
    )
    predicted = title.forecast(verified.ensemble, *pair)
    if predicted.supported:
        return plan, title, predicted
    clock.add(own_stages(request, plan.info, plan.reference))
    return plan.searched(predicted.reason), *search(measurer, title.sample, encoder, request.target_vmaf)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Everything known once the choice is made."""

    plan: Plan
    title: SourceProbes
    """The source and its probes."""
    predicted: Forecast
    """The forecast, with the measured bitrates of probes and trials."""
    forecaster: Forecaster
    measured: Measured
    """Measurements of the trials."""
    choice: Choice
    bitrates: KbpsForecast
    """Bitrates, with their intervals."""
    report: "Reporter | None" = None
    """Reports what is measured."""

    def result(self, verified: "VerifiedEnsemble") -> TuneResult:
        """The answer before the final encode."""
        measurer = self.title.measurer
        plan, request, choice, reference = self.plan, self.plan.request, self.choice, self.plan.reference
        bitrate = self.bitrate(choice.rate_value)
        assert reference.size is not None  # `open_source` sets it
        result = TuneResult(
            source=path_text(request.source),
            encoder=request.encoder,
            preset=plan.preset,
            target_vmaf=request.target_vmaf,
            confidence=request.confidence,
            rate_value=choice.rate_value,
            mu=choice.mu,
            lower_bound=choice.lower_bound,
            forecast_kbps=bitrate.forecast,
            forecast_kbps_low=bitrate.low,
            forecast_kbps_high=bitrate.high,
            promise=self.promise(),
            margin=choice.mu - choice.lower_bound,
            n_groups=plan.margin.n_groups,
            trials=[{"rate_value": rate, "measured_vmaf": vmaf} for rate, vmaf in self.measured.items()],
            encodes_spent=measurer.spent,
            encodes_cached=measurer.cached,
            output=None,
            measured_vmaf=None,
            kbps=None,
            encode_argv=plan.argv(choice.rate_value, request.output or Path("OUT.mkv")),
            reasons=[],
            encoder_args=list(plan.info.extra_args),
            filters=request.filters,
            reference=request.reference,
            losses=list(plan.carry.losses),
            vmaf_model=scoring_model(request.measurand.model, float(reference.frame_rate)),
            pooling=request.measurand.pooling,
            bit_depth=request.measurand.bit_depth,
            max_kbps=request.max_kbps,
            max_bytes=request.max_bytes,
            max_ratio=request.max_ratio,
            forecast_bytes=self._forecast_bytes(bitrate.forecast),
            width=reference.size[0],
            height=reference.size[1],
            frame_rate=f"{reference.frame_rate.numerator}/{reference.frame_rate.denominator}",
            n_frames=reference.n_frames,
            probes=self._probe_points(),
            curve=self._curve(),
            sample=self.sample(),
            source_kbps=plan.source_video_bytes / 125 / plan.source_s,
            source_video_bytes=plan.source_video_bytes,
        )
        result = judge_limits(result)
        larger = [] if (reason := larger_reason(result)) is None else [reason]
        for reason in larger if request.output is not None and result.promise.encodable else []:
            plan.note(reason)
        many = "1 encode was" if measurer.cached == 1 else f"{measurer.cached} encodes were"
        known = f"{many} known from an earlier run (--no-cache ignores what is known)"
        said = [*_reasons(verified, self), *limit_reasons(result), *larger, *([known] if measurer.cached else [])]
        return replace(result, reasons=said)

    def _forecast_bytes(self, kbps: float | None) -> float | None:
        """Size of the file with the source's other streams; None without a forecast or a use for it."""
        request, plan = self.plan.request, self.plan
        if kbps is None or (request.output is None and request.max_bytes is None):
            return None
        other = max(0, plan.reference.path.stat().st_size - plan.source_video_bytes)
        return other + kbps * 125 * seconds(plan.reference)

    def report_final(self, result: TuneResult) -> None:
        """Report a final encode that was measured; only the first one is of the choice that was promised."""
        if self.report is None or result.measured_vmaf is None or result.kbps is None:
            return
        self.report.at(
            "retry" if result.missed else "final",
            result.rate_value,
            self.measured,
            measured=result.measured_vmaf,
            kbps=result.kbps,
            promised=result.promise.made and not result.missed,
        )

    def promise(self) -> Promise:
        """The promise that stands behind the choice."""
        if not self.plan.outside:
            return self.plan.promise(self.choice, self.predicted.reason)
        own = len(self.title.probes) + len(self.measured)
        return self.plan.promise(self.choice, self._why_outside(), own)

    def _why_outside(self) -> str:
        """What is unlike the training data; the user's own options have a reason of their own."""
        return "" if self.plan.outside == options_words(self.plan.info) else self.plan.outside

    def moved(self, result: TuneResult, rate_value: float) -> TuneResult:
        """The answer at another rate value than the choice; the promise of the choice stays."""
        index = self.forecaster.at(rate_value)
        mu = float(self.forecaster.corrected(self.measured)[index])
        lower = float(self.forecaster.lower(self.measured, self.plan.margin.scale)[index])
        out = self.plan.request.output or Path("OUT.mkv")
        bitrate = self.bitrate(rate_value)
        return judge_limits(
            replace(
                result,
                rate_value=rate_value,
                mu=mu,
                lower_bound=lower,
                margin=mu - lower,
                forecast_kbps=bitrate.forecast,
                forecast_kbps_low=bitrate.low,
                forecast_kbps_high=bitrate.high,
                encode_argv=self.plan.argv(rate_value, out),
                curve=sorted(
                    {point.rate_value: point for point in [*result.curve, *self._points([rate_value])]}.values(),
                    key=lambda point: point.rate_value,
                ),
                kbps=None,
                output_bytes=None,
            )
        )

    def bitrate(self, rate_value: float) -> Kbps:
        """The bitrate at one rate value, with its interval."""
        return self.bitrates.at([rate_value])[0]

    def sample(self) -> SampleFacts | None:
        """How the source was sampled; None if all of it was probed."""
        return sample_facts(
            self.title.sample,
            self.forecaster,
            self.choice.rate_value,
            self.measured,
            self.plan.reference,
            self.plan.request.encoder,
        )

    def _probe_points(self) -> list[ProbePoint]:
        return [
            ProbePoint(spec.encoder, spec.preset, spec.rate_value, scored.pooled_vmaf, scored.kbps)
            for spec, scored in self.title.probes
        ]

    def _curve(self) -> list[CurvePoint]:
        """Whole rate values over the trained range, the choice, and every trial, dearest first."""
        whole = {rate for rate in self.forecaster.grid.tolist() if rate == round(rate)}
        return self._points(sorted(whole | {self.choice.rate_value, *self.measured}))

    def _points(self, rate_values: list[float]) -> list[CurvePoint]:
        """Forecast, bound and bitrate at some rate values."""
        mu = self.forecaster.corrected(self.measured)
        lower = self.forecaster.lower(self.measured, self.plan.margin.scale)
        return [
            CurvePoint(
                rate,
                float(mu[self.forecaster.at(rate)]),
                float(lower[self.forecaster.at(rate)]),
                cost.forecast,
                self.measured.get(rate),
                cost.low,
                cost.high,
            )
            for rate, cost in zip(rate_values, self.bitrates.at(rate_values), strict=True)
        ]


def _reasons(verified: "VerifiedEnsemble", answer: _Answer) -> list[str]:
    plan, request = answer.plan, answer.plan.request
    said = [_margin_words(answer)]
    promise = answer.promise()
    if (
        not plan.outside
        and promise.supported
        and (size := size_reason(verified.ensemble.sidecar, request.encoder, plan.preset, pixels(plan.reference)))
    ):
        said.append(size)
    said += [*plan.conversions, *_kind_reasons(plan), *(reason.words for reason in promise.reasons)]
    own = {probe.spec.rate_value for probe in answer.title.probes} if plan.outside else set()
    chosen = answer.choice.rate_value
    if chosen in {*answer.measured, *own} and answer.title.sample is None:
        what = "a trial" if chosen in answer.measured else "an own probe"
        said.append(f"the choice is a rate value that {what} measured on every frame")
    return said + sample_reasons(answer.sample())


def _margin_words(answer: _Answer) -> str:
    plan, margin = answer.plan, answer.plan.margin
    points = answer.choice.mu - answer.choice.lower_bound
    if plan.outside:
        return margin_words(plan.request, points)
    scope = "all encoders" if margin.pooled else plan.request.encoder
    trials = plan.request.trials if plan.calibrated_target else 0
    probed = ", interpolated through further probes" if answer.predicted.more_probes else ""
    return (
        f"margin {points:.2f} points, from {margin.n_groups} calibration groups of {scope}"
        f" at target {margin.target:g} with {trials or 'no'} trial{'' if trials == 1 else 's'}{probed}"
    )


def _kind_reasons(plan: Plan) -> list[str]:
    """Differences of this encode from the calibrated ones."""
    words = scale_words(plan.request.measurand, float(plan.reference.frame_rate))
    said = [words] if words else []
    if plan.request.filters:
        against = (
            "the filtered picture" if plan.request.reference == "filtered" else "the source, scaled back to it"
        )
        said.append(f"VMAF is against {against} (--vf {plan.request.filters})")
    if plan.info.extra_args or plan.request.reference == "source":
        said.append("only what trials and --verify measure is known of this encode")
    return said


def _encode(plan: Plan, answer: _Answer, result: TuneResult, clock: JobClock) -> TuneResult:
    """The final encode, measured on request, and repeated up to `retry` times if it missed."""
    missed: Measured = {}
    for left in range(plan.request.retry, -1, -1):
        result = _write(plan, result)
        if not plan.request.verifies:
            return result
        result = _verify(plan, result)
        answer.report_final(result)
        if result.quality_met:
            return replace(result, implied_rate_value=None)
        assert result.measured_vmaf is not None  # `_verify` sets it
        assert result.kbps is not None  # `_write` sets it
        tried = Retry(result.rate_value, result.measured_vmaf, result.kbps)
        missed[tried.rate_value] = tried.measured_vmaf
        implied = implied_rate(answer.predicted.plain(), plan.request.target_vmaf, missed)
        result = replace(result, implied_rate_value=implied)
        again = left > 0 and implied is not None and within_limits(result)
        result = replace(result, reasons=[*result.reasons, _missed_words(plan, result, again=again)])
        if not again or implied is None:
            return result
        clock.add(final_stages(plan.request.encoder, plan.reference.n_frames))
        result = answer.moved(replace(result, missed=[*result.missed, tried]), implied)
    return result


def _missed_words(plan: Plan, result: TuneResult, *, again: bool) -> str:
    mode = plan.info.rate_mode
    said = f"{mode} {result.rate_value:g} was measured at {result.measured_vmaf:.2f}, below {result.target_vmaf:g}"
    if result.implied_rate_value is None:
        return f"{said}; no {mode} of the trained range should reach it"
    if again:
        return f"{said}; encoded again at {mode} {result.implied_rate_value:g}, which that measurement implies"
    return f"{said}; the measurement implies {mode} {result.implied_rate_value:g} (--retry 1 encodes that)"


def _write(plan: Plan, result: TuneResult) -> TuneResult:
    """Make the final encode."""
    assert plan.request.output is not None  # the caller asked for a file
    check_space(plan.request.output, result.forecast_bytes or 0)
    encode = plan.final(result.rate_value)
    written, argv = write_final(plan.ffmpeg, plan.request, encode, plan.on_step)
    said = judge_limits(
        replace(
            result,
            output=path_text(plan.request.output),
            encode_argv=argv,
            kbps=written.kbps,
            output_bytes=written.n_bytes,
            encodes_spent=result.encodes_spent + 1,
        )
    )
    if said.larger_than_source and not result.larger_than_source and (reason := larger_reason(said)):
        plan.note(reason)
        said = replace(said, reasons=[*said.reasons, reason])
    return said


def _verify(plan: Plan, result: TuneResult) -> TuneResult:
    """Measure every frame of the output. It is in place already, so an interrupt loses only the measurement."""
    assert plan.request.output is not None  # the caller asked for a file
    on_frames = frame_calls("verify every frame of the output", plan.reference.n_frames, plan.on_step)
    try:
        model = scoring_model(plan.request.measurand.model, float(plan.reference.frame_rate))
        scored = score_pair(plan.ffmpeg, plan.reference, plan.request.output, models=[model], on_frames=on_frames)
    except BaseException:
        plan.note(f"{plan.request.output} is complete, but its measurement was interrupted")
        raise
    frames = [round(float(value), 3) for value in scored.vmaf]
    measured = pooled(scored.vmaf, plan.request.measurand.pooling)
    return replace(result, measured_vmaf=measured, frame_vmaf=frames)
