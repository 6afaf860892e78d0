"""Goals beside quality: the best quality within a bitrate, a file size, or limits."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.promise.at_rate import quality_bounds
from vmaf_assay.promise.bitrate import F64, best_within, next_trial
from vmaf_assay.promise.choice import Choice, Forecaster, Margin, Measured
from vmaf_assay.tune.bitrate import KbpsForecast
from vmaf_assay.tune.final import FRAME_OVERHEAD_BYTES, rest_bytes
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.probing import SourceProbes, Tried
from vmaf_assay.tune.request import DEFAULT_TARGET, TuneRequest
from vmaf_assay.tune.source import seconds

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.tune.plan import Plan

Goal = Literal["quality", "bitrate", "size"]


def goal_of(request: TuneRequest) -> Goal:
    """What is asked for first."""
    if request.target_kbps is not None:
        return "bitrate"
    return "quality" if request.target_bytes is None else "size"


def check_goals(request: TuneRequest, info: EncoderInfo) -> None:
    """Raise ConfigError for goals that do not go together, or that this encoder or output does not have."""
    goal = goal_of(request)
    option = {"bitrate": "--target-bitrate", "size": "--target-size", "quality": "--target-vmaf"}[goal]
    limits = (request.max_kbps, request.max_bytes, request.max_ratio)
    for name, value in (("--target-bitrate", request.target_kbps), ("--target-size", request.target_bytes)):
        if value is not None and not 0 < value < 1e18:
            raise ConfigError(f"{name} is a positive number", next_step=f"for example {name} 1500")
    if request.target_kbps is not None and request.target_bytes is not None:
        raise ConfigError("--target-bitrate and --target-size are two goals", next_step="leave one out")
    if goal != "quality" and request.target_vmaf != DEFAULT_TARGET:
        raise ConfigError(
            f"--target-vmaf and {option} are two goals",
            next_step="leave one out; for a target within a limit: --target-vmaf with --max-bitrate or --max-size",
        )
    if goal != "quality" and any(limit is not None for limit in limits):
        raise ConfigError(
            f"{option} is a limit already, and --max-bitrate, --max-size and --max-ratio are others",
            next_step="leave one out; for a target within several limits: --target-vmaf with --best-within",
        )
    if request.best_within and goal != "quality":
        raise ConfigError(
            f"{option} gives the best within it, so --best-within says nothing more", next_step="leave it out"
        )
    if request.best_within and not any(limit is not None for limit in limits):
        raise ConfigError("--best-within needs a limit", next_step="add --max-bitrate, --max-size or --max-ratio")
    if goal == "size" and request.output is None:
        raise ConfigError(
            "--target-size is of a whole file, with its sound and container, and no output is named",
            next_step="add -o OUT, or use --target-bitrate",
        )
    _check_passes(request, info, goal)


def _check_passes(request: TuneRequest, info: EncoderInfo, goal: Goal) -> None:
    if not request.two_pass:
        return
    if goal == "quality":
        raise ConfigError(
            "--two-pass aims at a bitrate, and none is named", next_step="add --target-bitrate or --target-size"
        )
    if not info.two_pass:
        raise ConfigError(f"{info.name} has no two-pass mode here", next_step="leave --two-pass out")
    if request.output is None:
        raise ConfigError("--two-pass is a way to encode, and no output is named", next_step="add -o OUT")


@dataclass(frozen=True, slots=True)
class Budget:
    """Bits for the picture."""

    kbps: float
    """Bitrate allowed for the video, kbps; not positive if the rest alone is too large."""
    rest_bytes: int | None = None
    """Bytes of everything else in the output; None unless they were counted."""

    def file_bytes(self, kbps: float, duration_s: float, n_frames: int) -> float:
        """Size of a whole file whose video has this bitrate."""
        return (self.rest_bytes or 0) + FRAME_OVERHEAD_BYTES * n_frames + kbps * 125 * duration_s


def budget_of(plan: "Plan") -> Budget | None:
    """The bitrate that a bitrate or size goal allows; None for a quality goal.

    Raises:
      ToolError: ffmpeg or the disk failed while the other streams were counted.
    """
    request, reference = plan.request, plan.reference
    if request.target_kbps is not None:
        return Budget(request.target_kbps)
    if request.target_bytes is None or request.output is None:
        return None
    if plan.on_step:
        plan.on_step("count the other streams", 0, 1)
    rest = rest_bytes(plan.ffmpeg, plan.final(plan.info.middle()), request.output)
    left = request.target_bytes - rest - FRAME_OVERHEAD_BYTES * reference.n_frames
    return Budget(left / 125 / seconds(reference), rest)


@dataclass(frozen=True, slots=True)
class Within:
    """The best quality within a budget."""

    budget: Budget
    """What is allowed."""
    choice: Choice
    """`reachable` if some rate value keeps within; else the cheapest there is."""
    promised: bool
    """Whether the bitrate's upper bound at the choice is calibrated and within."""
    bitrates: KbpsForecast
    """With the trials."""
    lower: F64
    """Lower bound of quality on the grid, points, [G]."""
    margin: Margin
    """Of quality at the choice; its target is the lower bound there."""
    asked_vmaf: float
    """The quality asked for, points; of no meaning for a bitrate or size goal."""


def try_within(
    title: SourceProbes,
    bitrates: KbpsForecast,
    forecaster: Forecaster,
    predicted: Forecast,
    plan: "Plan",
    budget: Budget,
    tried: dict[float, Tried],
) -> tuple[KbpsForecast, dict[float, Tried]]:
    """Trials at the rate values whose corrected forecast meets the budget.

    Args:
      title: the source, probed.
      bitrates: the forecast, with the bitrates of trials that were made before.
      forecaster: of quality; of a sampled source it remembers the trials.
      predicted: the forecast before the trials.
      plan: names encoder, preset and number of trials.
      budget: what is allowed.
      tried: trials made before.

    Returns:
      Bitrates and trials, with the new ones.
    """
    tried = dict(tried)
    for number in range(1, plan.request.trials + 1):
        if budget.kbps <= 0 or not np.isfinite(bitrates.middle).all():
            break
        rate_value = next_trial(bitrates.grid, bitrates.middle, budget.kbps, tried)
        if rate_value is None:
            break
        mode = plan.info.rate_mode
        what = f"trial {number} of {plan.request.trials}, to measure the bitrate: {mode} {rate_value:g}"
        tried[rate_value] = title.try_out(forecaster, predicted, (plan.info, plan.preset), rate_value, what)
        bitrates = bitrates.with_trial(rate_value, tried[rate_value].kbps)
    return bitrates, tried


def choose_within(
    verified: "VerifiedEnsemble",
    plan: "Plan",
    forecaster: Forecaster,
    bitrates: KbpsForecast,
    tried: dict[float, Tried],
    budget: Budget,
) -> Within:
    """The rate value of best quality whose bitrate keeps within a budget, and what is promised of it.

    Without calibrated bounds the best rate value measured within counts, else the forecast.

    Args:
      verified: the ensemble, whose held-out curves bound the quality.
      plan: the request and its encoder.
      forecaster: of quality.
      bitrates: with the trials.
      tried: all trials.
      budget: what is allowed.
    """
    request, grid = plan.request, bitrates.grid
    measured = {rate_value: trial.vmaf for rate_value, trial in tried.items()}
    sides = bitrates.sides()
    rate_value = _best(bitrates, budget.kbps, upper=None if sides is None else sides[1])
    index = forecaster.at(float(grid[0]) if rate_value is None else rate_value)
    lower, n_groups = _quality(verified, plan, forecaster, bitrates, measured)
    mu = float(forecaster.corrected(measured)[index])
    choice = Choice(float(grid[index]), mu, float(lower[index]), rate_value is not None)
    promised = sides is not None and not bitrates.sampled and not request.two_pass
    margin = Margin(0.0, n_groups, False, 1 - request.confidence, _down(choice.lower_bound))
    return Within(budget, choice, promised and choice.reachable, bitrates, lower, margin, request.target_vmaf)


def _quality(
    verified: "VerifiedEnsemble", plan: "Plan", forecaster: Forecaster, bitrates: KbpsForecast, measured: Measured
) -> tuple[F64, int]:
    """Lower bound of quality on the grid, points, [G], and the groups behind it."""
    if plan.outside:  # of a curve through own encodes only a margin is known
        return forecaster.lower(measured, plan.margin.scale), plan.margin.n_groups
    more, confidence = bitrates.predicted.more_probes, plan.request.confidence
    return quality_bounds(verified.calibration, forecaster, plan.preset, measured, confidence, more_probes=more)


def _best(bitrates: KbpsForecast, limit_kbps: float, *, upper: F64 | None) -> float | None:
    if limit_kbps <= 0:
        return None
    if upper is not None:
        return best_within(bitrates.grid, upper, limit_kbps)
    if within := [rate for rate, kbps in bitrates.measured.items() if kbps <= limit_kbps]:
        return max(within, key=lambda rate: int(np.argmin(np.abs(bitrates.grid - rate))))
    if not np.isfinite(bitrates.middle).all():
        return None
    return best_within(bitrates.grid, bitrates.middle, limit_kbps)


def _down(points: float) -> float:
    """Rounded down to hundredths, so that what is promised is what is shown."""
    return float(np.floor(100 * points + 1e-9) / 100)


def at_goal(plan: "Plan", within: Within) -> "Plan":
    """The plan whose quality target is the bound of the choice, so that the promise is about that."""
    request = replace(plan.request, target_vmaf=within.margin.target)
    return replace(plan, request=request, margin=within.margin)
