"""What is fixed before the first encode of a source: an invalid request is refused here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS, EncoderInfo, with_extra_args
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.probe import CAPTIONS
from vmaf_assay.media.reference import ReferenceInput, shape_conversions
from vmaf_assay.media.streams import DOLBY, HDR10PLUS
from vmaf_assay.model.sidecar import ChoiceCalibration
from vmaf_assay.promise.choice import Choice, Margin, nearest_margin
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.promise import NoPromise, Promise, promise_of
from vmaf_assay.records import OnStep, VideoInfo
from vmaf_assay.tune.final import (
    PLAIN,
    FinalEncode,
    video_bytes,
)
from vmaf_assay.tune.forecast import chosen_preset
from vmaf_assay.tune.goals import check_goals
from vmaf_assay.tune.own_probes import outside, own_margin
from vmaf_assay.tune.pictures import PictureFacts
from vmaf_assay.tune.request import TuneRequest, at_depth, check_request
from vmaf_assay.tune.source import Opened, open_prepared, settle
from vmaf_assay.tune.streams_plan import CarryPlan, plan_carry, rehearse

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.tune.dynamic_hdr import Kept


OnNote = Callable[[str], None]
"""Called with a line that the user should read before more time is spent."""


_OF_HDR = dict.fromkeys((DOLBY, HDR10PLUS), "it describes the HDR picture")
"""Why metadata of HDR is lost in an encode of SDR."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One source with one encoder: everything fixed before the first encode."""

    ffmpeg: Ffmpeg
    """The ffmpeg to run."""
    request: TuneRequest
    """What is asked."""
    info: EncoderInfo
    """The encoder."""
    preset: str
    reference: ReferenceInput
    """The source."""
    conversions: tuple[str, ...]
    """Conversions of the source's pictures before they are encoded, in words."""
    pictures: PictureFacts
    """What was found and made of the pictures."""
    uncalibrated: tuple[NoPromise, ...]
    """What of the pictures no calibration source had."""
    margin: Margin
    """Calibrated; of a job outside the calibration that of curves through own encodes."""
    outside: str
    """Why the job is outside the calibration, in words; empty if it is inside."""
    carry: CarryPlan
    """Plan of the other streams of the output."""
    hdr10plus: bytes
    """HDR10+ metadata of the frames, for the final encode; empty for none, or if they carry it themselves."""
    source_s: float
    """How long the source plays, before any filter."""
    source_video_bytes: int
    """Size of the source's own video."""
    on_step: OnStep | None
    """Called with progress."""
    on_note: OnNote | None
    """Called with notes that are shown at once."""

    @property
    def calibrated_target(self) -> bool:
        """Whether the margin was calibrated at the target asked for."""
        return self.margin.target == self.request.target_vmaf

    def searched(self, why: str) -> "Plan":
        """The plan of a job that turns out to be outside the calibration."""
        return replace(self, outside=why, margin=own_margin(self.request))

    def promise(
        self, choice: Choice, unsupported_reason: str, own_encodes: int = 0, uncalibrated_tools: str = ""
    ) -> Promise:
        """The promise that stands behind a choice; the last three arguments as of `Promise`."""
        scaled = "no calibration encode was compared with its unscaled source"
        return promise_of(
            choice,
            self.margin,
            target=self.request.target_vmaf,
            confidence=self.request.confidence,
            unsupported_reason=unsupported_reason,
            uncalibrated_tools=uncalibrated_tools,
            uncalibrated_options=" ".join(self.info.extra_args),
            uncalibrated_reference=scaled if self.request.reference == "source" else self._passes(),
            uncalibrated_pictures=self.uncalibrated,
            own_encodes=own_encodes,
        )

    def _passes(self) -> str:
        return "no calibration encode was made in two passes" if self.request.two_pass else ""

    def note(self, text: str) -> None:
        """Report a note at once."""
        if self.on_note:
            self.on_note(text)

    def final(self, rate_value: float) -> FinalEncode:
        """The final encode."""
        settings = (self.reference, self.info, self.preset, rate_value, self.carry)
        return FinalEncode(*settings, hdr10plus=self.hdr10plus)

    def argv(self, rate_value: float, out: Path) -> list[str]:
        """The final encode's command, before the source's times are read."""
        return self.final(rate_value).argv(self.ffmpeg, out)


def make_plan(
    ffmpeg: Ffmpeg,
    verified: "VerifiedEnsemble",
    request: TuneRequest,
    on_step: OnStep | None,
    on_note: OnNote | None,
) -> Plan:
    """Validate everything here, before anything is encoded."""
    info = _encoder(ffmpeg, request)
    check_goals(request, info)
    preset = chosen_preset(verified.ensemble.sidecar, request.encoder, request.preset)
    why = outside(verified, request, info, preset)
    margin = own_margin(request) if why else calibrated_margin(verified, request, preset)
    if info.extra_args:
        from vmaf_assay.media.capability import check_extra_args  # most requests have no options

        check_extra_args(ffmpeg, info)
    opened = open_prepared(
        ffmpeg,
        request.source,
        request.filters,
        request.reference,
        request.stream,
        pictures=request.pictures,
        any_kind=True,
        on_step=on_step,
    )
    working = settle(request, info, opened)
    request, info, video = working.request, working.info, opened.video
    why = outside(verified, request, info, preset) or working.outside
    margin = own_margin(request) if why else calibrated_margin(verified, request, preset)
    carry = _carried(ffmpeg, request, info, preset, video)  # tries pictures without metadata
    info, kept = _with_dynamic_hdr(ffmpeg, request, (info, preset), opened, on_step)
    carry = replace(carry, args=(*kept.args, *carry.args)) if kept else carry
    made = (*opened.prepared.notes, *working.notes, *(kept.notes if kept else ()))
    said = (*made, *shape_conversions(video))
    plan = Plan(
        ffmpeg=ffmpeg,
        request=request,
        info=info,
        preset=preset,
        reference=working.reference,
        conversions=said,
        pictures=replace(opened.prepared.facts, **working.facts()),
        uncalibrated=working.uncalibrated,
        margin=margin,
        outside=why,
        carry=carry,
        hdr10plus=kept.hdr10plus if kept else b"",
        source_s=video.duration_s,
        source_video_bytes=video_bytes(ffmpeg, request.source, video.stream_map),
        on_step=on_step,
        on_note=on_note,
    )
    plan = _rehearsed(plan, kept)
    for note in (*made, *(f"lost in the output: {loss}" for loss in plan.carry.losses)):
        plan.note(note)
    return plan


def _rehearsed(plan: Plan, kept: "Kept | None") -> Plan:
    """The plan with what the output would lack, if there is to be one."""
    request = plan.request
    if request.output is None:
        return plan
    final = plan.final(plan.info.middle())
    argv, why_lost = final.argv(plan.ffmpeg, request.output), kept.why_lost if kept else _OF_HDR
    carry = rehearse(plan.ffmpeg, argv, request.source, plan.carry, beside=final.beside, why=why_lost)
    return replace(plan, carry=carry)


def _with_dynamic_hdr(
    ffmpeg: Ffmpeg, request: TuneRequest, encoder: tuple[EncoderInfo, str], opened: Opened, on_step: OnStep | None
) -> "tuple[EncoderInfo, Kept | None]":
    """The encoder set to write what HDR frames say of themselves; None where they say nothing or are mapped."""
    names = " ".join(opened.video.side_data)
    if opened.seen.hdr is None or not ("HDR10+" in names or "Dolby Vision" in names):
        return encoder[0], None
    from vmaf_assay.tune.dynamic_hdr import keep_dynamic  # few sources are of that kind

    return keep_dynamic(ffmpeg, request, encoder, opened, on_step)


def _encoder(ffmpeg: Ffmpeg, request: TuneRequest) -> EncoderInfo:
    """The encoder with the user's own options, after validating the request."""
    info = check_request(request)
    if request.encoder in ENCODERS:
        return info
    from vmaf_assay.media.drive import drive_encoder  # most requests name an encoder of the table

    info = at_depth(drive_encoder(ffmpeg, request.encoder, request.drive), request.measurand.bit_depth)
    return with_extra_args(info, request.encoder_args, unsafe=request.unsafe_args)


def _carried(ffmpeg: Ffmpeg, request: TuneRequest, info: EncoderInfo, preset: str, video: VideoInfo) -> CarryPlan:
    """Plan of the other streams of the output."""
    if request.output is None:
        return replace(PLAIN, args=("-map", f"0:{video.stream_map}", *PLAIN.args[2:]))
    return plan_carry(
        *(ffmpeg, request.source, request.output.name, info, preset),
        picture=video.stream,
        audio_codec=request.audio_codec,
        captions=CAPTIONS in video.side_data,
    )


def calibrated_margin(verified: "VerifiedEnsemble", request: TuneRequest, preset: str) -> Margin:
    """The calibrated margin of a request.

    Raises:
      ConfigError: the ensemble may not make promises, or not this one.
    """
    if not verified.confidence_eligible:
        raise ConfigError(
            f"{verified.verdict.ensemble} did not pass the coverage policy, so it makes no promise",
            next_step="name a --registry whose ensemble is confidence_eligible",
        )
    if not isinstance(verified.calibration, ChoiceCalibration):
        raise ConfigError(f"{verified.verdict.ensemble} does not forecast", next_step="name a forecast ensemble")
    if verified.calibration.measurand != str(request.measurand):
        raise ConfigError(
            f"{verified.verdict.ensemble} forecasts {verified.calibration.measurand}, not {request.measurand}",
            next_step="ask for that, or name a --registry whose ensemble forecasts it",
        )
    return nearest_margin(
        curves_of(verified.calibration, more_probes=request.more_probes, titles=True),
        request.encoder,
        preset,
        target=request.target_vmaf,
        confidence=request.confidence,
        trials=request.trials,
    )
