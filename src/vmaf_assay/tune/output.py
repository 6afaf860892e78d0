"""The final encode: written, measured on request, and made again where it misses."""

from dataclasses import replace

from vmaf_assay.media.files import path_text
from vmaf_assay.media.score import score_pair
from vmaf_assay.promise.choice import Measured
from vmaf_assay.records import pooled, scoring_model
from vmaf_assay.tune.answer import Answer
from vmaf_assay.tune.final import (
    check_space,
    frame_calls,
    write_final,
)
from vmaf_assay.tune.goal_tries import Tries
from vmaf_assay.tune.plan import Plan
from vmaf_assay.tune.probing import implied_rate
from vmaf_assay.tune.progress import JobClock, final_stages
from vmaf_assay.tune.result import (
    Retry,
    TuneResult,
    judge_limits,
    larger_reason,
    within_limits,
)


def encode_for_quality(plan: Plan, answer: Answer, result: TuneResult, clock: JobClock) -> TuneResult:
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


def encode_within(plan: Plan, answer: Answer, result: TuneResult, clock: JobClock) -> TuneResult:
    """The final encode for a budget, made again up to `retry` times if it is over."""
    tries = Tries(plan, answer.bitrates, result.two_pass_kbps)
    for left in range(plan.request.retry, -1, -1):
        result = _write(plan, result)
        if plan.request.verifies:
            result = _verify(plan, result)
        if result.met or left == 0:
            return result
        tries, rate_value = tries.after(result)
        if rate_value is None:
            return result
        assert result.measured_vmaf is not None  # `_verify` sets it: a retry verifies
        assert result.kbps is not None  # `_write` sets it
        missed = [*result.missed, Retry(result.rate_value, result.measured_vmaf, result.kbps)]
        said = [*result.reasons, tries.words(result, rate_value)]
        clock.add(final_stages(plan.request.encoder, plan.reference.n_frames))
        result = replace(result, missed=missed, reasons=said, two_pass_kbps=tries.aim_kbps)
        result = answer.moved(result, rate_value)
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
    encode = replace(plan.final(result.rate_value), kbps=result.two_pass_kbps)
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
    forecast, measured = larger_reason(result), larger_reason(said)
    if measured is not None and forecast is None:
        plan.note(measured)
    kept = [reason for reason in said.reasons if reason != forecast]
    return replace(said, reasons=[*kept, measured] if measured is not None else kept)


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
