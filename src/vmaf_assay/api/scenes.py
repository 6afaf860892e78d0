"""Encode a title scene by scene."""

from typing import Unpack

from vmaf_assay.api.pages import write_page
from vmaf_assay.api.paths import PathLike
from vmaf_assay.api.settings import Run, Settings, TuneAsked
from vmaf_assay.api.tuning import request_of
from vmaf_assay.media.files import check_page
from vmaf_assay.scenes.allocate import Goal
from vmaf_assay.scenes.request import DEFAULT_FLOOR, SceneRequest
from vmaf_assay.scenes.result import SceneResult
from vmaf_assay.scenes.run import tune_by_scene


def tune_scenes(
    source: PathLike,
    encoder: str,
    *,
    goal: Goal = "mean",
    scene_floor: float = DEFAULT_FLOOR,
    max_step: float | None = None,
    jobs: int = 1,
    **asked: Unpack[TuneAsked],
) -> SceneResult:
    """Encode each scene once at a rate value of its own, so that the measured title meets the target.

    This is what `assay tune --by-scene` does.

    Args:
      source: the video.
      encoder: `NAME` or `NAME:PRESET`; any that works here, trained or not.
      goal: `mean` makes the smallest file whose mean meets the target; with `floor` every scene meets it.
      scene_floor: points below the target that no scene may be.
      max_step: most points between neighbouring scenes; None for no limit.
      jobs: encodes side by side.
      asked: fields of `TuneRequest`, which documents them, and `Settings`; `output` is needed.

    Returns:
      The measured answer; `met` is true if the goal is met and no scene is below its floor.

    Raises:
      ConfigError: the request is invalid.
      MediaError: the source cannot be used, or changes meanwhile.
      ToolError: ffmpeg or the disk failed; what is encoded is used by the next run.
      IntegrityError: the joined file does not decode to what was measured.
    """
    request, settings = request_of(source, encoder, asked)
    return tune_scene_request(SceneRequest(request, goal, scene_floor, max_step, jobs), **settings)


def tune_scene_request(
    request: SceneRequest, *, page: PathLike | None = None, **settings: Unpack[Settings]
) -> SceneResult:
    """`tune_scenes` for a request record.

    Args:
      request: what is asked.
      page: HTML file to write about the answer.
      settings: what it runs with.
    """
    check_page(page)
    run = Run(settings)
    clock = run.clock(page=page is not None)
    result = tune_by_scene(
        run.ffmpeg,
        run.ensemble(request.tune.measurand),
        request,
        cache=run.cache,
        on_note=run.on_note,
        clock=clock,
    )
    if page is not None:
        write_page(result.as_json(), page, ffmpeg=run.ffmpeg, on_step=clock.step)
    return result
