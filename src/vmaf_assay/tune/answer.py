"""The answer to one request, once the choice is made: as a record, and in words."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay.media.files import path_text
from vmaf_assay.model.support import size_reason
from vmaf_assay.promise.choice import F64, Choice, Forecaster, Measured
from vmaf_assay.promise.promise import Promise
from vmaf_assay.records import scoring_model
from vmaf_assay.tune.bitrate import Kbps, KbpsForecast
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.goal_tries import with_goal, within_reasons
from vmaf_assay.tune.goals import Within
from vmaf_assay.tune.own_probes import margin_words, options_words
from vmaf_assay.tune.plan import Plan
from vmaf_assay.tune.probing import SourceProbes
from vmaf_assay.tune.request import scale_words
from vmaf_assay.tune.result import (
    CurvePoint,
    ProbePoint,
    SampleFacts,
    TuneResult,
    judge_limits,
    larger_reason,
    limit_reasons,
)
from vmaf_assay.tune.segments import sample_facts, sample_reasons
from vmaf_assay.tune.source import pixels, seconds

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.tune.delivered import Reporter


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything known once the choice is made."""

    plan: Plan
    title: SourceProbes
    """The source and its probes."""
    forecaster: Forecaster
    measured: Measured
    """Measurements of the trials."""
    choice: Choice
    bitrates: KbpsForecast
    """Bitrates, with their intervals."""
    lower: F64
    """Lower bound of quality on the forecaster's grid, points, [G]."""
    within: Within | None = None
    """The budget that was chosen for, instead of a quality."""
    report: "Reporter | None" = None
    """Reports what is measured."""

    @property
    def predicted(self) -> Forecast:
        """The forecast, with the measured bitrates of probes and trials."""
        return self.bitrates.predicted

    def encodable(self, result: TuneResult) -> bool:
        """Whether to make the encode: for a budget, whether some rate value keeps within it."""
        return result.promise.encodable if self.within is None else self.choice.reachable

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
            filters=path_text(request.filters),
            reference=request.reference,
            pictures=plan.pictures,
            losses=list(plan.carry.losses),
            max_kbps=request.max_kbps,
            max_bytes=request.max_bytes,
            max_ratio=request.max_ratio,
            vmaf_model=scoring_model(request.measurand.model, float(reference.frame_rate)),
            pooling=request.measurand.pooling,
            bit_depth=request.measurand.bit_depth,
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
        result = judge_limits(with_goal(result, plan, self.within))
        larger = [] if (reason := larger_reason(result)) is None else [reason]
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
            predicted = self.predicted
            return self.plan.promise(self.choice, predicted.reason, 0, predicted.uncalibrated_tools)
        own = len(self.title.probes) + len(self.measured)
        return self.plan.promise(self.choice, self._why_outside(), own)

    def _why_outside(self) -> str:
        """What is unlike the training data; the user's own options have a reason of their own."""
        return "" if self.plan.outside == options_words(self.plan.info) else self.plan.outside

    def moved(self, result: TuneResult, rate_value: float) -> TuneResult:
        """The answer at another rate value than the choice; the promise of the choice stays."""
        index = self.forecaster.at(rate_value)
        mu = float(self.forecaster.corrected(self.measured)[index])
        lower = float(self.lower[index])
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
        return [
            CurvePoint(
                rate,
                float(mu[self.forecaster.at(rate)]),
                float(self.lower[self.forecaster.at(rate)]),
                cost.forecast,
                self.measured.get(rate),
                cost.low,
                cost.high,
            )
            for rate, cost in zip(rate_values, self.bitrates.at(rate_values), strict=True)
        ]


def _reasons(verified: "VerifiedEnsemble", answer: Answer) -> list[str]:
    plan, request = answer.plan, answer.plan.request
    if answer.within is not None:
        return [*within_reasons(plan, answer.within, answer.promise()), *sample_reasons(answer.sample())]
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


def _margin_words(answer: Answer) -> str:
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
        said.append(f"VMAF is against {against} (--vf {path_text(plan.request.filters)})")
    if plan.info.extra_args or plan.request.reference == "source":
        said.append("only what trials and --verify measure is known of this encode")
    return said
