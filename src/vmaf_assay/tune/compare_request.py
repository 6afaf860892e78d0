"""What is asked of `compare`, of each encoder, and the pixels that all are compared in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS, EncoderInfo, read_encoder
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.choice import Margin
from vmaf_assay.promise.promise import NoPromise
from vmaf_assay.records import MEAN_VMAF, Measurand
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.contenders import Refused
from vmaf_assay.tune.forecast import chosen_preset
from vmaf_assay.tune.own_probes import outside, own_margin
from vmaf_assay.tune.pictures import WHOLE, PictureRequest
from vmaf_assay.tune.plan import calibrated_margin
from vmaf_assay.tune.request import (
    DEFAULT_CONFIDENCE,
    DEFAULT_PROBE_SECONDS,
    DEFAULT_TARGET,
    ProbesKind,
    TuneRequest,
    check_request,
    encoder_of,
    resolved,
)
from vmaf_assay.tune.source import Opened, Working, settle


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """A request for a comparison."""

    source: Path
    """The source."""
    encoders: tuple[str, ...]
    """Each `NAME` or `NAME:PRESET`; BD-rates are against the first."""
    target_vmaf: float = DEFAULT_TARGET
    """Pooled (mean) VMAF to reach, points."""
    confidence: float = DEFAULT_CONFIDENCE
    """Probability of reaching it, in (0, 1)."""
    measure: bool = False
    """Encode and measure each one on both sides of the target, and compare at equal quality."""
    trials: int = 0
    """Trial encodes of each, which correct its forecast, 0 to 2."""
    output: Path | None = None
    """Path of the winner's encode; None makes no encode."""
    force: bool = False
    """Overwrite `output`."""
    stream: int | None = None
    """Index of the source's video stream; None takes the first that is no still picture."""
    filters: str = ""
    """ffmpeg filter chain that is applied first."""
    probe_seconds: float = DEFAULT_PROBE_SECONDS
    """Most seconds probed of the source; a longer one is sampled; 0 probes all of it."""
    pictures: PictureRequest = WHOLE
    """What is made of the pictures before `filters`."""
    probes: ProbesKind = "few"
    """`few` makes the probes that the forecasts read. `more` adds further ones, for encoders and presets for which
    the model has them."""
    measurand: Measurand = MEAN_VMAF
    """What the target is of: metric, pooling and bit depth."""

    def of(self, encoder: str, preset: str | None) -> TuneRequest:
        """The request for one encoder."""
        return TuneRequest(
            source=self.source,
            encoder=encoder,
            preset=preset,
            target_vmaf=self.target_vmaf,
            confidence=self.confidence,
            trials=self.trials,
            stream=self.stream,
            filters=self.filters,
            pictures=self.pictures,
            probe_seconds=self.probe_seconds,
            probes=self.probes,
            measurand=self.measurand,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """An encoder and preset, and the margin that applies to it."""

    request: TuneRequest
    """The request for it, with its preset."""
    preset: str
    margin: Margin
    """Calibrated; outside the calibration that of curves through own encodes."""
    sidecar: Sidecar
    """Of the ensemble that forecasts."""
    info: EncoderInfo
    """The encoder, fed the pictures that are compared."""
    outside: str = ""
    """Why it is outside the calibration, in words; empty if it is inside."""
    uncalibrated: tuple[NoPromise, ...] = ()
    """What of the pictures no calibration source had."""

    @property
    def pair(self) -> tuple[str, str]:
        """Encoder and preset."""
        return self.request.encoder, self.preset


def check_compare(request: CompareRequest, answered: Sequence[str] = tuple(ENCODERS)) -> list[TuneRequest]:
    """The request for each encoder; raises ConfigError for an invalid one.

    Args:
      request: the comparison.
      answered: encoders that can be answered for; an unknown name is refused with these.
    """
    if len(request.encoders) < 2:
        raise ConfigError(
            "a comparison takes two encoders or more", next_step="give -e twice, as -e A -e B:PRESET"
        )
    asked = [resolved(request.of(text, read_encoder(text).preset), answered) for text in request.encoders]
    for one in asked:
        check_request(one)
    if request.output is not None:
        check_request(replace(asked[0], output=request.output, force=request.force))
    return asked


def settled(
    verified: VerifiedEnsemble, asked: Sequence[Asked], opened: Opened
) -> tuple[list[Asked], Working, list[Refused]]:
    """What is asked of each encoder once the pixels are settled, and those that do not take such pictures.

    Raises:
      ConfigError: none takes them.
    """
    made: list[Asked] = []
    unable: list[Refused] = []
    last: Working | None = None
    problem: ConfigError | None = None
    for one in asked:
        try:
            last = working = settle(one.request, one.info, opened)
        except ConfigError as error:
            problem = problem or error
            unable.append(Refused(*one.pair, error.what))
            continue
        request = working.request
        why = outside(verified, request, working.info, one.preset) or working.outside
        margin = own_margin(request) if why else calibrated_margin(verified, request, one.preset)
        fixed = replace(one, request=request, info=working.info, margin=margin, outside=why)
        made.append(replace(fixed, uncalibrated=working.uncalibrated))
    if last is None:
        assert problem is not None  # every encoder was refused
        raise problem
    return made, last, unable


def asked_of(verified: VerifiedEnsemble, request: CompareRequest) -> list[Asked]:
    """What is asked of each encoder; raises ConfigError for an encoder and preset named twice."""
    sidecar = verified.ensemble.sidecar
    asked: list[Asked] = []
    for one in check_compare(request, sorted({seen.encoder for seen in sidecar.seen.encoders})):
        preset = chosen_preset(sidecar, one.encoder, one.preset)
        if (one.encoder, preset) in {known.pair for known in asked}:
            raise ConfigError("an encoder and preset is named twice", next_step="name each once")
        why = outside(verified, one, encoder_of(one), preset)
        margin = own_margin(one) if why else calibrated_margin(verified, one, preset)
        asked.append(Asked(one, preset, margin, sidecar, encoder_of(one), why))
    return asked
