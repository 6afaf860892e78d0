"""What follows a final encode that is over its bitrate or size, and what is said of a choice within a budget."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vmaf_assay.promise.bitrate import best_within
from vmaf_assay.promise.promise import Promise
from vmaf_assay.tune.bitrate import KbpsForecast
from vmaf_assay.tune.final import FRAME_OVERHEAD_BYTES
from vmaf_assay.tune.goals import Within, goal_of
from vmaf_assay.tune.result import TuneResult, allowed_kbps, bytes_of_a_kbps
from vmaf_assay.tune.source import seconds

if TYPE_CHECKING:
    from vmaf_assay.tune.plan import Plan

AIM_BELOW = 0.995
"""A second two-pass encode aims at this share of what the first one's error suggests."""


@dataclass(frozen=True, slots=True)
class Tries:
    """Final encodes for a budget."""

    plan: "Plan"
    """The request and its encoder."""
    bitrates: KbpsForecast
    """With every bitrate measured so far."""
    aim_kbps: float | None
    """What a two-pass encode aims at; None for constant quality."""

    def after(self, result: TuneResult) -> tuple["Tries", float | None]:
        """What an encode that is over tells, and the rate value to encode next; None if there is none.

        Args:
          result: of the encode, with its counted bitrate and size.
        """
        assert result.kbps is not None  # an encode was made
        assert result.output_bytes is not None  # likewise
        allowed = allowed_kbps(result)
        if result.target_kbps is not None:
            allowed = result.target_kbps
        if result.target_bytes is not None:
            per_kbps = bytes_of_a_kbps(result)
            allowed = (result.target_bytes - (result.output_bytes - result.kbps * per_kbps)) / per_kbps
        if allowed <= 0:
            return self, None
        if self.aim_kbps is not None:
            aim = self.aim_kbps * allowed / result.kbps * AIM_BELOW
            return replace(self, aim_kbps=aim), result.rate_value
        bitrates = self.bitrates.with_trial(result.rate_value, result.kbps)
        cheaper = bitrates.grid[: int((bitrates.grid == result.rate_value).argmax())]
        sides = bitrates.sides()
        found = best_within(cheaper, (bitrates.middle if sides is None else sides[1])[: len(cheaper)], allowed)
        if found is None and len(cheaper):
            found = best_within(cheaper, bitrates.middle[: len(cheaper)], allowed)
        return replace(self, bitrates=bitrates), found

    def words(self, result: TuneResult, rate_value: float) -> str:
        """What was over, and what is encoded next."""
        over = f"{result.kbps:.0f} kbps of video, {(result.output_bytes or 0) / 1e6:.3f} MB in all"
        mode = self.plan.info.rate_mode
        again = f"{mode} {rate_value:g}" if self.aim_kbps is None else f"two passes for {self.aim_kbps:.0f} kbps"
        return f"{over} is more than was asked; encoded again with {again}"


def with_goal(result: TuneResult, plan: "Plan", within: Within | None) -> TuneResult:
    """The result with what was asked for beside quality."""
    request = plan.request
    asked = None if not request.best_within else within is not None
    result = replace(result, goal=goal_of(request), best_within=asked)
    if within is None:
        return result
    rest, kbps, n_bytes = within.budget.rest_bytes, result.forecast_kbps, result.forecast_bytes
    if rest is not None and kbps is not None:
        n_bytes = within.budget.file_bytes(kbps, seconds(plan.reference), result.n_frames)
    return replace(
        result,
        target_kbps=request.target_kbps,
        target_bytes=request.target_bytes,
        budget_kbps=within.budget.kbps,
        rest_bytes=rest,
        bitrate_promised=within.promised,
        two_pass_kbps=within.budget.kbps if request.two_pass else None,
        forecast_bytes=n_bytes,
    )


def within_reasons(plan: "Plan", within: Within, promise: Promise) -> list[str]:
    """Explanation of a choice for a budget, in words."""
    budget, said = within.budget, []
    if plan.request.best_within:
        asked = f"VMAF {within.asked_vmaf:g} within the limits"
        said.append(f"no rate value reaches {asked}; this is the best within them")
    if budget.rest_bytes is not None and plan.request.target_bytes is not None:
        said.append(
            f"of {plan.request.target_bytes / 1e6:g} MB other streams, index and tags take "
            f"{budget.rest_bytes / 1e6:.3f} MB (written and counted), and the container {FRAME_OVERHEAD_BYTES} "
            f"bytes a frame; that leaves {max(budget.kbps, 0):.0f} kbps for the video"
        )
    if not within.choice.reachable:
        said.append(f"no rate value keeps within {max(budget.kbps, 0):.0f} kbps")
    if within.promised:
        bounds = within.bitrates.bounds
        groups = 0 if bounds is None else bounds.n_groups
        said.append(f"the bitrate's bound is from {groups} calibration groups, and so is the quality's")
    else:
        said.append(f"the bitrate is not promised: {_why_not(plan, within)}")
    if within.choice.reachable:
        said += [reason.words for reason in promise.reasons]
    if not plan.request.two_pass and within.choice.rate_value in within.bitrates.measured:
        said.append("the choice is a rate value that was measured on every frame")
    return [*said, *plan.conversions]


def _why_not(plan: "Plan", within: Within) -> str:
    if not within.choice.reachable:
        return "nothing is within"
    if plan.request.two_pass:
        return "no calibration encode was made in two passes; the file is counted"
    if within.bitrates.sampled:
        return "only segments of the source were encoded"
    if plan.outside:
        return plan.outside
    return "nothing is calibrated of this ensemble and confidence"
