"""What is fixed before the first scene is encoded: an invalid request is refused here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.parts import CloseLook, encode_part, list_parts, look_closely
from vmaf_assay.media.probe import CAPTIONS
from vmaf_assay.media.reference import ReferenceInput, shape_conversions
from vmaf_assay.media.segments import Span
from vmaf_assay.records import Measurand
from vmaf_assay.scenes.cut import Scene, cut_scenes
from vmaf_assay.scenes.join import Joint
from vmaf_assay.scenes.request import SceneRequest
from vmaf_assay.tune.final import frame_calls
from vmaf_assay.tune.progress import LOOK_COST, SCORE_COST, JobClock, Stage, encode_cost
from vmaf_assay.tune.source import open_any, settle
from vmaf_assay.tune.streams_plan import CarryPlan, plan_carry, rehearse

OnNote = Callable[[str], None]

_REHEARSED_S = 0.5
"""Length of the part that a join is rehearsed with, seconds."""

_JOIN_COST, _CHECK_COST = 0.02, 0.1
"""Joining and checking a frame, in units of an encode with libx264 medium."""


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """One title with one encoder: everything fixed before the first scene is encoded."""

    ffmpeg: Ffmpeg
    """The ffmpeg to run."""
    request: SceneRequest
    """What is asked."""
    info: EncoderInfo
    """The encoder."""
    preset: str
    reference: ReferenceInput
    """The title."""
    seen: CloseLook
    """Its frames."""
    scenes: tuple[Scene, ...]
    """In the order of time."""
    joint: Joint
    """What goes into the output."""
    conversions: tuple[str, ...]
    """Conversions of the source's pictures before they are encoded, in words."""
    measurand: Measurand
    """What is measured: the model for the size of the picture, and bits."""
    uncalibrated: bool
    """No calibration source had such pictures."""


def make_scene_plan(
    ffmpeg: Ffmpeg,
    request: SceneRequest,
    info: EncoderInfo,
    preset: str,
    scratch: Path,
    clock: JobClock,
    on_note: OnNote | None,
) -> ScenePlan:
    """Validate everything, look at every frame, and rehearse the join with a short part."""
    asked = request.tune
    assert asked.output is not None  # `check_scenes` refuses that
    if info.extra_args:
        from vmaf_assay.media.capability import check_extra_args  # most requests have no options

        check_extra_args(ffmpeg, info)
    clock.step(f"open {asked.source.name}", 0, 1)
    opened = open_any(ffmpeg, asked.source, asked.filters, asked.reference, asked.stream)
    limited = replace(asked, pictures=replace(asked.pictures, range="limited"))  # both sides of a part are
    working = settle(limited, info, opened)
    info, reference, video = working.info, working.reference, opened.video
    if reference.size is not None:
        info.check_size(*reference.size)
    carry = plan_carry(
        *(ffmpeg, asked.source, asked.output.name, info, preset),
        picture=video.stream,
        audio_codec=asked.audio_codec,
        captions=CAPTIONS in video.side_data,
    )
    clock.plan(_stages(request, reference), reference)
    on_frames = frame_calls("look at every frame", reference.n_frames, clock.step)
    on_frames(0)
    seen = look_closely(ffmpeg, reference, scratch, on_frames=on_frames)
    joint = Joint(ffmpeg, reference, info, carry, seen.stamps)
    model = working.request.measurand.model
    joint = replace(joint, carry=_rehearsed(joint, preset, model, seen, asked.output, scratch))
    for loss in joint.carry.losses if on_note else ():
        assert on_note is not None
        on_note(f"lost in the output: {loss}")
    scenes = tuple(cut_scenes(seen.look.cuts(), reference.n_frames, reference.frame_rate))
    said = (*working.notes, *shape_conversions(video))
    for note in working.notes if on_note else ():
        assert on_note is not None
        on_note(note)
    named = (ffmpeg, request, info, preset, reference, seen, scenes, joint, said)
    return ScenePlan(*named, working.request.measurand, uncalibrated=bool(working.uncalibrated))


def _rehearsed(joint: Joint, preset: str, model: str, seen: CloseLook, output: Path, scratch: Path) -> CarryPlan:
    """The plan of streams, with what a joined file lacks."""
    reference = joint.reference
    n_frames = min(reference.n_frames, max(12, round(_REHEARSED_S * reference.frame_rate)))
    span = Span(0, n_frames)
    out = scratch / "rehearsal.mkv"
    encode_part(
        joint.ffmpeg,
        replace(reference, n_frames=n_frames, span=(0, n_frames)),
        joint.encoder,
        preset,
        joint.encoder.middle(),
        around=(0, 0),
        expected=seen.digests[: span.last],
        out=out,
        options=joint.part_options(),
        model=model,
    )
    listed = scratch / "rehearsal.ffconcat"
    listed.write_bytes(list_parts([(out, n_frames)], reference.frame_rate, scratch))
    argv = joint.argv(listed, output, scratch)
    return rehearse(joint.ffmpeg, argv, reference.path, joint.carry)


def _stages(request: SceneRequest, reference: ReferenceInput) -> list[Stage]:
    """What the whole job will take, in order."""
    frames, encoder = reference.n_frames, request.tune.encoder
    stages = [
        Stage("look at every frame", frames, LOOK_COST, "look"),
        Stage("encode scenes", frames, encode_cost(encoder) + SCORE_COST, f"score {encoder}"),
        Stage("join the scenes", frames, _JOIN_COST, "join"),
        Stage("check the joined file", frames, _CHECK_COST, "check"),
    ]
    return [*stages, Stage("verify", frames, SCORE_COST, "verify")] if request.tune.verify else stages
