"""What is asked of `tune`, and whether it can be meant."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import EncoderInfo, encoder_info, with_extra_args
from vmaf_assay.media.files import not_a_file
from vmaf_assay.media.streams import CONTAINERS
from vmaf_assay.records import MEAN_VMAF, Measurand

ReferenceKind = Literal["filtered", "source"]
ProbesKind = Literal["few", "more"]

DEFAULT_PROBE_SECONDS = 60.0
"""Of a title's material, probed by default."""


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """What is asked for."""

    source: Path
    """The title."""
    encoder: str
    """ffmpeg encoder name."""
    target_vmaf: float
    """Pooled (mean) VMAF to reach, points."""
    confidence: float
    """Probability of reaching it, in (0, 1)."""
    preset: str | None = None
    """The encoder's preset; None means the one the model was trained on."""
    trials: int = 1
    """Trial encodes allowed, 0 to 2."""
    output: Path | None = None
    """Where the final encode goes; None makes none."""
    verify: bool = False
    """Measure the final encode as a whole."""
    force: bool = False
    """Overwrite `output`."""
    encoder_args: str = ""
    """More options for the encoder, in trials and the final encode, as `-tune grain -g 48`."""
    filters: str = ""
    """ffmpeg filter chain that the picture goes through first."""
    reference: ReferenceKind = "filtered"
    """What VMAF compares with: the picture after `filters`, or as it is in the source."""
    max_kbps: float | None = None
    """Most bitrate of the video wanted, kbps."""
    max_bytes: float | None = None
    """Largest file wanted, bytes."""
    probe_seconds: float = DEFAULT_PROBE_SECONDS
    """Most that is probed of the source, seconds: of a longer one segments are; 0 probes all of any."""
    probes: ProbesKind | None = None
    """`few` makes the probes that the forecast reads; `more` further ones, where the model has them for this
    encoder and preset. None is `more` without trials, and `few` with them: for one target a trial tells more."""
    audio_codec: str = ""
    """Encoder for sound that the output's container does not take; empty refuses such a container."""
    measurand: Measurand = MEAN_VMAF
    """What the target is of: metric, pooling and bit depth."""

    @property
    def more_probes(self) -> bool:
        """Whether further probes are made."""
        return self.probes == "more" or (self.probes is None and self.trials == 0)


def check_request(request: TuneRequest) -> EncoderInfo:
    """The encoder asked for with the user's own options, if everything asked for can be meant.

    Raises:
      ConfigError: a target, confidence, trial count, encoder, filter, limit or output that cannot be.
    """
    metric = request.measurand.metric
    if not metric.floor < request.target_vmaf < metric.ceiling:
        raise ConfigError(
            f"a target VMAF lies between {metric.floor:g} and {metric.ceiling:g}, not {request.target_vmaf:g}",
            next_step="ask for 93",
        )
    if not 0 < request.confidence < 1:
        raise ConfigError(
            f"a confidence lies between 0 and 1, not {request.confidence:g}", next_step="ask for 0.95"
        )
    if not 0 <= request.trials <= 2:
        raise ConfigError(f"trials are 0, 1 or 2, not {request.trials}", next_step="use --trials 1")
    info = with_extra_args(encoder_info(request.encoder), request.encoder_args)
    if request.probes not in (None, "few", "more"):
        raise ConfigError(f"--probes is few or more, not {request.probes!r}", next_step="leave it out")
    if request.preset is not None:
        info.check_preset(request.preset)
    _check_limits(request)
    _check_reference(request)
    _check_output(request)
    return info


def _check_limits(request: TuneRequest) -> None:
    if not 0 <= request.probe_seconds < 1e9:
        raise ConfigError(
            f"--probe-seconds is a number of seconds, 0 or `all`, not {request.probe_seconds:g}",
            next_step=f"leave it out for {DEFAULT_PROBE_SECONDS:g}",
        )
    for name, limit in (("--max-bitrate", request.max_kbps), ("--max-size", request.max_bytes)):
        if limit is not None and not 0 < limit < 1e18:
            raise ConfigError(f"{name} is a positive number", next_step="for example --max-bitrate 3000")


def _check_reference(request: TuneRequest) -> None:
    if request.reference not in ("filtered", "source"):
        raise ConfigError(
            f"--reference is filtered or source, not {request.reference!r}", next_step="leave it out for filtered"
        )
    if request.reference == "source" and not only_scales(request.filters):
        raise ConfigError(
            "--reference source needs --vf scale=... alone: only a scaled picture can be scaled back and compared",
            next_step="use --reference filtered, which compares with the filtered picture",
        )


def only_scales(filters: str) -> bool:
    """Whether a chain is one scale filter."""
    return filters.startswith("scale=") and not set(filters) & {",", ";", "["}


def _check_output(request: TuneRequest) -> None:
    if request.output is None:
        if request.verify:
            raise ConfigError("--verify measures an encode, and none is made", next_step="add -o OUT")
        return
    if kind := not_a_file(request.output):
        raise ConfigError(
            f"-o {request.output} is {kind}, not a file to be written", next_step="name a file, as -o OUT.mkv"
        )
    if request.output.exists() and not request.force:
        raise ConfigError(f"{request.output} exists", next_step="choose another -o or add --force")
    if request.output.exists() and request.source.exists() and request.output.samefile(request.source):
        raise ConfigError("the output is the source itself", next_step="choose another -o")
    if not request.output.resolve().parent.is_dir():
        raise ConfigError(f"{request.output.parent} is not a folder", next_step="make it first")
    if request.output.suffix.lower() not in CONTAINERS:
        raise ConfigError(
            f"{request.output.name}: unknown container", next_step=f"end it in {', '.join(CONTAINERS)}"
        )
