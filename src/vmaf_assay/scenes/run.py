"""A title by scene: look, forecast, encode each scene once, join, and measure again on request.

Each step reports to the clock; nothing here prints.
"""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_text
from vmaf_assay.media.score import score_pair
from vmaf_assay.scenes.control import Controller
from vmaf_assay.scenes.curves import Forecasts, at_rate
from vmaf_assay.scenes.engine import Engine, Kept, PartSetting, encode_scenes
from vmaf_assay.scenes.join import join
from vmaf_assay.scenes.plan import OnNote, ScenePlan, make_scene_plan
from vmaf_assay.scenes.prior import looks_of, rough_forecasts
from vmaf_assay.scenes.probed import probed_forecasts, stand_in
from vmaf_assay.scenes.request import SceneRequest, check_scenes, resolved_scenes
from vmaf_assay.scenes.result import SceneResult, SceneRow
from vmaf_assay.scenes.store import PartStore
from vmaf_assay.tune.final import Written, check_space, frame_calls
from vmaf_assay.tune.forecast import chosen_preset
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.progress import JobClock
from vmaf_assay.tune.source import pixels

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.tune.cache import Cache

AGREEMENT = 1e-6
"""Most points by which a frame of the joined file may differ from what was measured as it was encoded."""


def tune_by_scene(
    ffmpeg: Ffmpeg,
    verified: "VerifiedEnsemble | None",
    request: SceneRequest,
    *,
    cache: "Cache | None" = None,
    on_note: OnNote | None = None,
    clock: JobClock | None = None,
) -> SceneResult:
    """Encode a title scene by scene so that its measured mean meets the target.

    Args:
      ffmpeg: the ffmpeg to run.
      verified: a forecast ensemble, for the encoders that it was trained on; None uses a rough curve.
      request: what is asked.
      cache: results of earlier probes; None uses no cache.
      on_note: called with lines to read before more time is spent.
      clock: called with progress.

    Raises:
      ConfigError: the request is invalid.
      MediaError: the source cannot be used, or changes meanwhile.
      ToolError: ffmpeg or the disk failed. What is encoded stays for the next run.
      IntegrityError: the joined file is not what was measured.
    """
    clock = clock or JobClock(None)
    request = resolved_scenes(request)
    info, output = check_scenes(request), request.tune.output
    assert output is not None  # `check_scenes` refuses that
    preset = request.tune.preset or info.default_preset
    if verified is not None:
        preset = chosen_preset(verified.ensemble.sidecar, request.tune.encoder, request.tune.preset)
    store = PartStore.beside(output)
    with store.open() as scratch:
        plan = make_scene_plan(ffmpeg, request, info, preset, scratch, clock, on_note)
        forecasts = make_forecasts(plan, verified, cache, clock)
        controller = Controller(forecasts, request.aim, info.rate_resolution)
        ahead = _look_ahead(plan, controller, on_note)
        engine = _engine(plan, store, scratch, clock)
        made = encode_scenes(engine, plan.scenes, controller, request.jobs)
        parts = list(chain.from_iterable(made[index] for index in range(len(plan.scenes))))
        written = join(plan.joint, parts, output, clock.step)
        result = _result(plan, controller, engine, parts, written, ahead)
        if request.tune.verify:
            result = _verify(plan, result, parts, clock)
    store.remove()
    return result


def make_forecasts(
    plan: ScenePlan, verified: "VerifiedEnsemble | None", cache: "Cache | None", clock: JobClock
) -> Forecasts:
    """What every scene should score and cost: by the shipped forecast if it knows the kind of encoder."""
    looks = looks_of(plan.seen.look, plan.scenes)
    used = None if verified is None else stand_in(verified.ensemble.sidecar, plan.info, plan.preset)
    if used is None or verified is None or plan.uncalibrated:
        return rough_forecasts(plan.info, plan.scenes, looks, pixels(plan.reference))
    with Measurer(plan.ffmpeg, plan.reference, cache, clock.step) as measurer:
        return probed_forecasts(measurer, verified.ensemble, plan.info, used, plan.scenes, looks)


def _look_ahead(plan: ScenePlan, controller: Controller, on_note: OnNote | None) -> tuple[float, float]:
    """Forecast mean VMAF and bytes; refuses a disk that is too small, and says what is out of reach."""
    request = plan.request
    allocation, expected = controller.plan()
    places = np.arange(len(plan.scenes)), allocation.chosen
    n_bytes = float(expected.n_bytes[places].sum())
    assert request.tune.output is not None
    check_space(request.tune.output, 2 * n_bytes)  # the parts and the joined file
    if on_note and not allocation.reaches:
        on_note(f"by the forecast {request.tune.target_vmaf:g} is out of reach; the best there is is encoded")
    return float(np.average(expected.score[places], weights=controller.forecasts.n_frames)), n_bytes


def _engine(plan: ScenePlan, store: PartStore, scratch: Path, clock: JobClock) -> Engine:
    on_frames = frame_calls("encode scenes", plan.reference.n_frames, clock.step)
    on_frames(0)
    setting = PartSetting(
        *(plan.ffmpeg, plan.reference, plan.seen, plan.info, plan.preset),
        options=plan.joint.part_options(),
        versions=tool_versions(plan.ffmpeg, [plan.info.name], scratch=scratch),
        model=plan.measurand.model,
    )
    return Engine(setting, store, scratch, on_frames)


def _result(
    plan: ScenePlan,
    controller: Controller,
    engine: Engine,
    parts: list[Kept],
    written: Written,
    ahead: tuple[float, float],
) -> SceneResult:
    """The answer, before the joined file is measured again."""
    asked, reference, forecasts = plan.request.tune, plan.reference, controller.forecasts
    assert reference.size is not None  # `open_source` sets it
    frames = np.concatenate([one.part.scored.vmaf for one in parts])
    rows = []
    for index, scene in enumerate(plan.scenes):
        kept = controller.state.kept[index]
        forecast = at_rate(forecasts.score[index], forecasts.rate_values, kept.rate_value)
        encodes = len(controller.state.seen[index])
        rows.append(
            SceneRow(
                *(scene.span.first, scene.n_frames, len(scene.parts), kept.rate_value, kept.score, forecast),
                *(kept.n_bytes, encodes),
            )
        )
    encoded = sum(row.n_frames * row.encodes for row in rows)
    one_rate = controller.one_rate()
    result = SceneResult(
        vmaf_model=plan.measurand.model,
        bit_depth=plan.measurand.bit_depth,
        source=path_text(asked.source),
        encoder=asked.encoder,
        preset=plan.preset,
        goal=plan.request.goal,
        target_vmaf=asked.target_vmaf,
        floor_vmaf=plan.request.aim.floor,
        max_step=plan.request.max_step,
        output=path_text(asked.output or ""),
        measured_vmaf=float(frames.mean(dtype=np.float64)),
        kbps=written.kbps,
        output_bytes=written.n_bytes,
        scenes=rows,
        forecast_vmaf=ahead[0],
        forecast_bytes=ahead[1],
        encodes_spent=engine.spent,
        encodes_cached=engine.found,
        repairs=controller.repairs,
        encodes_per_scene=encoded / reference.n_frames,
        frame_vmaf=[round(float(value), 3) for value in frames],
        width=reference.size[0],
        height=reference.size[1],
        frame_rate=reference.rate(),
        n_frames=reference.n_frames,
        reasons=list(plan.conversions),
        one_rate_value=None if one_rate is None else round(one_rate[0], 2),
        one_rate_bytes=None if one_rate is None else one_rate[1],
        losses=list(plan.joint.carry.losses),
        encoder_args=list(plan.info.extra_args),
        filters=path_text(asked.filters),
        reference=asked.reference,
    )
    return replace(result, reasons=[*result.reasons, *_reasons(result)])


def _reasons(result: SceneResult) -> list[str]:
    """What there is to say of the answer."""
    said = []
    if result.encodes_cached:
        said.append(f"{result.encodes_cached} parts were known from an earlier run")
    if result.goal == "mean" and result.mean_met and not result.within_tolerance:
        over = result.measured_vmaf - result.target_vmaf
        said.append(f"{over:.2f} points above the target: no rate value of a scene brings it nearer")
    if result.goal == "mean" and not result.mean_met:
        said.append("the target is out of reach of this encoder and preset, or of the scenes that may change")
    if result.scenes_below:
        low = min(result.scenes, key=lambda row: row.score)
        said.append(
            f"the scene from frame {low.first_frame} on is at {low.score:.2f}, below {result.floor_vmaf:g}, after "
            f"{low.encodes} encodes"
        )
    if result.max_step is not None and result.largest_step > result.max_step:
        said.append(f"neighbouring scenes differ by up to {result.largest_step:.1f} points (--max-step)")
    return said


def _verify(plan: ScenePlan, result: SceneResult, parts: list[Kept], clock: JobClock) -> SceneResult:
    """Measure the joined file from scratch; raises IntegrityError unless that agrees on every frame."""
    output = plan.request.tune.output
    assert output is not None
    on_frames = frame_calls("verify every frame of the output", plan.reference.n_frames, clock.step)
    scored = score_pair(plan.ffmpeg, plan.reference, output, models=[plan.measurand.model], on_frames=on_frames)
    told = np.concatenate([one.part.scored.vmaf for one in parts])
    apart = np.abs(scored.vmaf.astype(np.float64) - told)
    if apart.max() > AGREEMENT:
        frame = int(apart.argmax())
        raise IntegrityError(
            f"{output.name} measured from scratch differs by {apart.max():.6f} points at frame {frame}",
            next_step="report this encoder, and do not use the file",
        )
    return replace(result, verified_vmaf=scored.pooled_vmaf)
