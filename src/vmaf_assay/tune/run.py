"""Tune one source: probe, forecast, choose, try, encode, verify.

Each step reports to `on_step`; nothing here prints. The rate value comes from `promise.choice`, the code that the
margin was calibrated with. Probes and trials cover every frame of a short source, and segments of a long one.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay.errors import AssayError
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.filters import named_files
from vmaf_assay.promise.choice import Forecaster
from vmaf_assay.promise.sampling import TOLERANCE, Sampled
from vmaf_assay.records import OnStep
from vmaf_assay.tune.answer import Answer
from vmaf_assay.tune.bitrate import KbpsForecast
from vmaf_assay.tune.forecast import Forecast, chosen_preset
from vmaf_assay.tune.goals import Budget, at_goal, budget_of, choose_within, try_within
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.output import encode_for_quality, encode_within
from vmaf_assay.tune.own_probes import own_stages, search
from vmaf_assay.tune.plan import OnNote, Plan, make_plan
from vmaf_assay.tune.probing import SourceProbes, Tried, make_trials, probe_title
from vmaf_assay.tune.progress import (
    JobClock,
    Stage,
    final_stages,
    header_reference,
    job_stages,
    more_probe_stages,
    open_stage,
)
from vmaf_assay.tune.request import TuneRequest, resolved
from vmaf_assay.tune.result import (
    TuneResult,
    allowed_kbps,
    larger_reason,
    within_limits,
)

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
    _expect(clock, verified, request)
    plan = make_plan(ffmpeg, verified, request, clock.step, on_note)
    stages = _stages(sidecar, plan)
    clock.plan(stages, plan.reference)
    if named_files(request.filters, Path.cwd()):
        cache = None  # a kept encode may be of the file's earlier content
    request = plan.request  # with the source's depth, if that was asked for
    with Measurer(ffmpeg, plan.reference, cache, clock.step, request.measurand) as measurer:
        answer = _chosen(measurer, verified, plan, clock, on_measured)
    result = answer.result(verified)
    if request.output is not None and answer.encodable(result) and within_limits(result):
        if larger := larger_reason(result):
            plan.note(larger)
        encode = encode_for_quality if answer.within is None else encode_within
        result = encode(answer.plan, answer, result, clock)
    return result


def _chosen(
    measurer: Measurer,
    verified: "VerifiedEnsemble",
    plan: Plan,
    clock: JobClock,
    on_measured: "OnMeasured | None",
) -> Answer:
    """The choice, after the trials: by quality, or the best within a bitrate, a size or limits."""
    plan, title, predicted = _predicted(measurer, verified, plan, clock)
    request, encoder = plan.request, (plan.info, plan.preset)
    forecaster = predicted.forecaster(request.confidence)
    budget = budget_of(plan)
    by_quality = budget is None and plan.calibrated_target
    tried = make_trials(title, forecaster, predicted, encoder, request) if by_quality else {}
    sidecar = verified.ensemble.sidecar
    bitrates = KbpsForecast.of(sidecar, plan.info, predicted, forecaster, request.confidence, tried)
    if budget is None:
        report = _report_trials(on_measured, verified, plan, title, predicted, forecaster, tried)
        measured = {rate_value: trial.vmaf for rate_value, trial in tried.items()}
        choice = forecaster.choose(request.target_vmaf, measured, plan.margin.scale)
        lower = forecaster.lower(measured, plan.margin.scale)
        answer = Answer(plan, title, forecaster, measured, choice, bitrates, lower, report=report)
        found = answer.result(verified) if request.best_within else None
        if found is None or (found.promise.encodable and within_limits(found)):
            return answer
        budget = Budget(allowed_kbps(found))
    bitrates, tried = try_within(title, bitrates, forecaster, predicted, plan, budget, tried)
    within = choose_within(verified, plan, forecaster, bitrates, tried, budget)
    measured = {rate_value: trial.vmaf for rate_value, trial in tried.items()}
    plan = at_goal(plan, within)
    return Answer(plan, title, forecaster, measured, within.choice, bitrates, within.lower, within)


def _enough_for(plan: Plan, verified: "VerifiedEnsemble", clock: JobClock) -> Callable[[SourceProbes], bool]:
    """Whether a sample takes no more off the bound than `sampling.TOLERANCE`; else more is to come."""
    request = plan.request

    def is_enough(title: SourceProbes) -> bool:
        predicted = title.forecast(verified.ensemble, request.encoder, plan.preset)
        forecaster = predicted.forecaster(request.confidence)
        if not predicted.supported or not isinstance(forecaster, Sampled):
            return True
        trials = plan.calibrated_target and request.trials > 0
        enough = forecaster.added(request.target_vmaf, plan.margin.scale, trials=trials) <= TOLERANCE
        if not enough:
            clock.add(more_probe_stages(verified.ensemble.sidecar, request, plan.preset))
        return enough

    return is_enough


def _expect(clock: JobClock, verified: "VerifiedEnsemble", request: TuneRequest) -> None:
    """Say how long the job takes by the source's header, if anyone asks; what is invalid is refused later."""
    if not clock.listened_to or (reference := header_reference(request.source)) is None:
        return
    with suppress(AssayError):
        sidecar = verified.ensemble.sidecar
        preset = chosen_preset(sidecar, request.encoder, request.preset)
        clock.plan([open_stage(reference), *job_stages(sidecar, request, preset, reference)], reference)


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
        sample = measurer.sample(request.probe_seconds)
        kept = None if sample is None else sample.beginning(sample.count)
        return plan, *search(measurer, kept, encoder, request.target_vmaf)
    pair = (request.encoder, plan.preset)
    title = probe_title(
        measurer,
        verified.ensemble,
        [pair],
        request.probe_seconds,
        more_probes=request.more_probes,
        is_enough=_enough_for(plan, verified, clock),
    )
    predicted = title.forecast(verified.ensemble, *pair)
    if predicted.supported:
        return plan, title, predicted
    clock.add(own_stages(request, plan.info, plan.reference))
    return plan.searched(predicted.reason), *search(measurer, title.sample, encoder, request.target_vmaf)
