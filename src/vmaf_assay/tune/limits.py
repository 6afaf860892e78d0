"""Limits on bitrate, size, and the share of the source's own video: whether they are met, and what meets them."""

from dataclasses import replace

from vmaf_assay.tune.result import CurvePoint, TuneResult


def judge_limits(result: TuneResult) -> TuneResult:
    """The result with `bitrate_met`, `size_met`, `ratio_met` and how it compares with its source.

    Each is None if it was not asked, or is not known. What is measured counts before what is forecast.
    """
    kbps = result.kbps if result.kbps is not None else result.forecast_kbps
    n_bytes = result.output_bytes if result.output_bytes is not None else result.forecast_bytes
    ratio = _ratio(result, kbps)
    return replace(
        result,
        bitrate_met=None if result.max_kbps is None or kbps is None else kbps <= result.max_kbps,
        size_met=None if result.max_bytes is None or n_bytes is None else n_bytes <= result.max_bytes,
        source_ratio=ratio,
        ratio_met=None if result.max_ratio is None or ratio is None else ratio <= result.max_ratio,
        larger_than_source=None if ratio is None else ratio > 1,
        goal_met=_goal_met(result),
    )


def _goal_met(result: TuneResult) -> bool | None:
    """Whether a bitrate or size goal is met: counted if encoded, else promised."""
    if result.goal == "quality":
        return None
    if result.target_bytes is not None and result.output_bytes is not None:
        return result.output_bytes <= result.target_bytes
    if result.target_kbps is not None and result.kbps is not None:
        return result.kbps <= result.target_kbps
    return bool(result.bitrate_promised)


def _ratio(result: TuneResult, kbps: float | None) -> float | None:
    """Bytes of the encode's video over those of the source's; filters may change the duration."""
    if kbps is None or not result.source_video_bytes:
        return None
    return kbps * bytes_of_a_kbps(result) / result.source_video_bytes


def bytes_of_a_kbps(result: TuneResult) -> float:
    """Bytes that one kbps of video is over the encode's duration."""
    top, bottom = result.frame_rate.split("/")
    return result.n_frames * int(bottom) / int(top) * 125


def larger_reason(result: TuneResult) -> str | None:
    """A sentence if the encode is larger than its source; None if not, or unknown."""
    kbps = result.kbps if result.kbps is not None else result.forecast_kbps
    if not result.larger_than_source or kbps is None or result.source_kbps is None or result.source_ratio is None:
        return None
    more = 100 * (result.source_ratio - 1)
    how = "is" if result.kbps is not None else "is forecast to be"
    return (
        f"the encode {how} {more:.{0 if more >= 1 else 1}f} % larger than its source ({kbps:.0f} kbps against "
        f"{result.source_kbps:.0f} kbps of the source's own video): keep the source, or lower --target-vmaf"
    )


def within_limits(result: TuneResult) -> bool:
    """Whether no limit is known to be exceeded."""
    return False not in (result.bitrate_met, result.size_met, result.ratio_met)


def limit_reasons(result: TuneResult) -> list[str]:
    """For a result without a file: which limit the forecast exceeds, and the best rate value within it."""
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
    if result.ratio_met is False and result.source_ratio is not None and result.max_ratio is not None:
        said.append(
            f"ratio limit not met: {result.source_ratio:.2f} times the source's video forecast, "
            f"{result.max_ratio:g} allowed"
        )
    best = point_within(result)
    if best is None:
        said.append("no rate value keeps within the limits")
    else:
        said.append(
            f"the best within the limits is {best.rate_value:g}: {best.kbps:.0f} kbps, "
            f"forecast VMAF {best.mu:.2f}, lower bound {best.lower_bound:.2f}"
        )
    return said


def allowed_kbps(result: TuneResult) -> float:
    """The bitrate that keeps within every limit, kbps; infinite without a limit, negative if there is none."""
    allowed = result.max_kbps if result.max_kbps is not None else float("inf")
    per_kbps = bytes_of_a_kbps(result)
    if result.max_bytes is not None and result.forecast_bytes is not None and result.forecast_kbps:
        other = result.forecast_bytes - result.forecast_kbps * per_kbps
        allowed = min(allowed, (result.max_bytes - other) / per_kbps)
    if result.max_ratio is not None and result.source_video_bytes:
        allowed = min(allowed, result.max_ratio * result.source_video_bytes / per_kbps)
    return allowed


def point_within(result: TuneResult) -> CurvePoint | None:
    """The point of the highest forecast whose forecast bitrate keeps within every limit."""
    allowed = allowed_kbps(result)
    fitting = [point for point in result.curve if point.kbps is not None and point.kbps <= allowed]
    return max(fitting, key=lambda point: point.mu, default=None)
