"""A request for a title by scene, and its validation."""

from dataclasses import dataclass, replace

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.records import MEAN_VMAF
from vmaf_assay.scenes.allocate import Goal
from vmaf_assay.scenes.control import Aim
from vmaf_assay.tune.pictures import WHOLE
from vmaf_assay.tune.request import DEFAULT_CONFIDENCE, DEFAULT_PROBE_SECONDS, TuneRequest, check_request, resolved

DEFAULT_FLOOR = 6.0
"""Points below the target that a scene may be, by default."""

MAX_JOBS = 512


@dataclass(frozen=True, slots=True)
class SceneRequest:
    """A request for a title by scene."""

    tune: TuneRequest
    """Source, encoder, target, output, filters; what it says of trials and confidence stays at its default."""
    goal: Goal = "mean"
    """`mean` is the smallest file whose mean over frames meets the target; with `floor` every scene meets it."""
    scene_floor: float = DEFAULT_FLOOR
    """Points below the target that no scene may be."""
    max_step: float | None = None
    """Most points between neighbouring scenes; None for no limit."""
    jobs: int = 1
    """Encodes side by side."""

    @property
    def aim(self) -> Aim:
        """What the title has to come to."""
        target = self.tune.target_vmaf
        floor = target if self.goal == "floor" else max(0.0, target - self.scene_floor)
        return Aim(target, self.goal, floor, self.max_step)


def resolved_scenes(request: SceneRequest) -> SceneRequest:
    """The request with ffmpeg's name of the encoder; any encoder of the table is taken.

    Raises:
      ConfigError: an unknown encoder, two presets, or a rate value.
    """
    return replace(request, tune=resolved(request.tune))


def check_scenes(request: SceneRequest) -> EncoderInfo:
    """The encoder with the user's own options, after validating the request.

    Args:
      request: as `resolved_scenes` gives it.

    Raises:
      ConfigError: what is asked is invalid, or has no meaning by scene.
    """
    asked = request.tune
    if asked.output is None:
        raise ConfigError("--by-scene encodes, and no output is named", next_step="add -o OUT")
    if request.goal not in ("mean", "floor"):
        raise ConfigError(f"--goal is mean or floor, not {request.goal!r}", next_step="leave it out for mean")
    if not 0 <= request.scene_floor <= 100:
        raise ConfigError(
            f"--scene-floor is a number of points from 0 to 100, not {request.scene_floor:g}",
            next_step=f"leave it out for {DEFAULT_FLOOR:g}",
        )
    if request.max_step is not None and not 0.5 <= request.max_step <= 100:
        raise ConfigError(
            f"--max-step is a number of points from 0.5 to 100, not {request.max_step:g}",
            next_step="leave it out for no limit",
        )
    if not 1 <= request.jobs <= MAX_JOBS:
        raise ConfigError(f"--jobs is 1 to {MAX_JOBS}, not {request.jobs}", next_step="leave it out")
    for option, why in _senseless(asked):
        raise ConfigError(f"--by-scene takes no {option}: {why}", next_step=f"leave {option} out")
    return check_request(asked)


def _senseless(asked: TuneRequest) -> list[tuple[str, str]]:
    """Options given that mean nothing by scene, and why."""
    measured = "every frame is measured as it is encoded"
    return [
        pair
        for given, pair in (
            (asked.confidence != DEFAULT_CONFIDENCE, ("--quality-confidence", measured)),
            (asked.trials not in (0, 1), ("--trials", "a scene's own encode corrects the forecast")),
            (asked.retry != 0, ("--retry", "scenes that fall short are encoded again anyway")),
            (asked.probes is not None, ("--probes", "each scene is probed on a few of its frames")),
            (asked.probe_seconds != DEFAULT_PROBE_SECONDS, ("--probe-seconds", "each scene is probed by itself")),
            (asked.max_kbps is not None, ("--max-bitrate", "it spends what the target needs")),
            (asked.max_ratio is not None, ("--max-ratio", "it spends what the target needs")),
            (asked.max_bytes is not None, ("--max-size", "it spends what the target needs")),
            (asked.pictures != WHOLE, ("--crop, --background and their like", "use --vf there")),
            (
                asked.measurand != MEAN_VMAF or asked.depth_of_source,
                ("--vmaf, --pool or --bit-depth", f"it measures {MEAN_VMAF}"),
            ),
        )
        if given
    ]
