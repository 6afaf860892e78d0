"""Limits on bitrate and size: judged apart from quality, measured where there is a file, forecast where not."""

from dataclasses import replace

from vmaf_assay.tune.result import CurvePoint, TuneResult


def judge_limits(result: TuneResult) -> TuneResult:
    """The result with `bitrate_met`, `size_met` and `larger_than_source`; None if not asked or not known."""
    kbps = result.kbps if result.kbps is not None else result.forecast_kbps
    n_bytes = result.output_bytes if result.output_bytes is not None else result.forecast_bytes
    return replace(
        result,
        bitrate_met=None if result.max_kbps is None or kbps is None else kbps <= result.max_kbps,
        size_met=None if result.max_bytes is None or n_bytes is None else n_bytes <= result.max_bytes,
        larger_than_source=_larger(result, kbps),
    )


def _larger(result: TuneResult, kbps: float | None) -> bool | None:
    """Whether the encode's video takes more bytes than the source's; filters may change how long it plays."""
    if kbps is None or result.source_video_bytes is None:
        return None
    return kbps * 125 * result.n_frames / _rate(result) > result.source_video_bytes


def larger_reason(result: TuneResult) -> str | None:
    """In words, if the encode is larger than its source; None if not, or not known."""
    kbps = result.kbps if result.kbps is not None else result.forecast_kbps
    if not result.larger_than_source or kbps is None or result.source_kbps is None:
        return None
    how = "" if result.kbps is not None else " by the forecast"
    return (
        f"larger than its source{how}: {kbps:.0f} kbps against {result.source_kbps:.0f} kbps of the source's own "
        "video; a lower --target-vmaf or keeping the source saves space"
    )


def within_limits(result: TuneResult) -> bool:
    """Whether nothing says that a limit is exceeded."""
    return result.bitrate_met is not False and result.size_met is not False


def limit_reasons(result: TuneResult) -> list[str]:
    """In words, for a result without a file: which limit the forecast exceeds, and what would keep within it."""
    if within_limits(result):
        return []
    said = []
    if result.bitrate_met is False and result.forecast_kbps is not None and result.max_kbps is not None:
        said.append(
            f"bitrate limit not met: {result.forecast_kbps:.0f} kbps forecast, {result.max_kbps:g} allowed"
        )
    if result.size_met is False and result.forecast_bytes is not None and result.max_bytes is not None:
        said.append(
            f"size limit not met: {result.forecast_bytes / 1e6:.1f} MB forecast, "
            f"{result.max_bytes / 1e6:g} allowed"
        )
    best = _best_within(result)
    if best is None:
        said.append("no rate value keeps within the limits")
    else:
        said.append(
            f"the best within the limits is {best.rate_value:g}: {best.kbps:.0f} kbps, "
            f"forecast VMAF {best.mu:.2f}, lower bound {best.lower_bound:.2f}"
        )
    return said


def _best_within(result: TuneResult) -> CurvePoint | None:
    """The point of the highest forecast whose bitrate keeps within both limits."""
    allowed = result.max_kbps if result.max_kbps is not None else float("inf")
    if result.max_bytes is not None and result.forecast_bytes is not None and result.forecast_kbps:
        per_kbps = result.n_frames / _rate(result) * 125
        other = result.forecast_bytes - result.forecast_kbps * per_kbps
        allowed = min(allowed, (result.max_bytes - other) / per_kbps)
    fitting = [point for point in result.curve if point.kbps is not None and point.kbps <= allowed]
    return max(fitting, key=lambda point: point.mu, default=None)


def _rate(result: TuneResult) -> float:
    top, bottom = result.frame_rate.split("/")
    return int(top) / int(bottom)
