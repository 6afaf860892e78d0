"""Encode a title scene by scene."""

from pathlib import Path
from typing import Unpack

from vmaf_assay.api.pages import write_page
from vmaf_assay.api.paths import PathLike
from vmaf_assay.api.settings import Run, Settings
from vmaf_assay.scenes.allocate import Goal
from vmaf_assay.scenes.request import DEFAULT_FLOOR, SceneRequest
from vmaf_assay.scenes.result import SceneResult
from vmaf_assay.scenes.run import tune_by_scene
from vmaf_assay.tune.request import DEFAULT_TARGET, ReferenceKind, TuneRequest


def tune_scenes(
    source: PathLike,
    encoder: str,
    *,
    output: PathLike,
    target_vmaf: float = DEFAULT_TARGET,
    goal: Goal = "mean",
    scene_floor: float = DEFAULT_FLOOR,
    max_step: float | None = None,
    jobs: int = 1,
    preset: str | None = None,
    verify: bool = False,
    force: bool = False,
    encoder_args: str = "",
    unsafe_args: bool = False,
    audio_codec: str = "",
    stream: int | None = None,
    filters: str = "",
    reference: ReferenceKind = "filtered",
    **settings: Unpack[Settings],
) -> SceneResult:
    """Encode each scene once at a rate value of its own, so that the measured title meets the target.

    This is what `assay tune --by-scene` does. Arguments that are not named here are those of `tune_source`.

    Args:
      source: the video.
      encoder: `NAME` or `NAME:PRESET`; any that works here, trained or not.
      output: the file to write.
      target_vmaf: mean over frames, points.
      goal: `mean` makes the smallest file whose mean meets the target; with `floor` every scene meets it.
      scene_floor: points below the target that no scene may be.
      max_step: most points between neighbouring scenes; None for no limit.
      jobs: encodes side by side.
      preset: the encoder's preset; by default the one trained on, or the encoder's usual one.
      verify: measure the joined file once more from scratch.
      force: overwrite the output.
      encoder_args: more options for the encoder.
      unsafe_args: pass on options and filters that are not known to leave files alone.
      audio_codec: encoder for sound that the container does not accept.
      stream: index of the source's video stream.
      filters: ffmpeg filter chain that is applied first.
      reference: what VMAF compares with.
      settings: what it runs with.

    Returns:
      The measured answer; `met` is true if the goal is met and no scene is below its floor.

    Raises:
      ConfigError: the request is invalid.
      MediaError: the source cannot be used, or changes meanwhile.
      ToolError: ffmpeg or the disk failed; what is encoded is used by the next run.
      IntegrityError: the joined file does not decode to what was measured.
    """
    asked = TuneRequest(
        source=Path(source),
        encoder=encoder,
        target_vmaf=target_vmaf,
        preset=preset,
        output=Path(output),
        verify=verify,
        force=force,
        encoder_args=encoder_args,
        unsafe_args=unsafe_args,
        audio_codec=audio_codec,
        stream=stream,
        filters=filters,
        reference=reference,
    )
    return tune_scene_request(SceneRequest(asked, goal, scene_floor, max_step, jobs), **settings)


def tune_scene_request(
    request: SceneRequest, *, page: PathLike | None = None, **settings: Unpack[Settings]
) -> SceneResult:
    """`tune_scenes` for a request record.

    Args:
      request: what is asked.
      page: HTML file to write about the answer.
      settings: what it runs with.
    """
    run = Run(settings)
    clock = run.clock(page=page is not None)
    result = tune_by_scene(run.ffmpeg, run.ensemble, request, cache=run.cache, on_note=run.on_note, clock=clock)
    if page is not None:
        write_page(result.as_json(), page, ffmpeg=run.ffmpeg, on_step=clock.step)
    return result
