"""A request for `tune`, its validation, and what its target is of: libvmaf's model, pooling and bit depth."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS, EncoderInfo, check_named, read_encoder, with_extra_args
from vmaf_assay.media.encoders.driven import NO_DRIVE, Drive, driven
from vmaf_assay.media.facts import pixel_facts
from vmaf_assay.media.files import as_given, check_folder, not_a_file, real_path
from vmaf_assay.media.filters import check_filters
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.streams import CONTAINERS
from vmaf_assay.records import MEAN_VMAF, METRICS, VMAF_NAMES, Measurand, Pooling, scoring_model
from vmaf_assay.tune.pictures import WHOLE, PictureRequest, check_pictures

ReferenceKind = Literal["filtered", "source"]
ProbesKind = Literal["few", "more"]

DEFAULT_TARGET = 93.0
"""Default target, pooled VMAF in points."""
DEFAULT_CONFIDENCE = 0.95
"""Default probability of reaching it."""
DEFAULT_PROBE_SECONDS = 60.0
"""Seconds of a title probed by default."""


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """A request for `tune`."""

    source: Path
    """The title."""
    encoder: str
    """`NAME` or `NAME:PRESET`: ffmpeg's name, or a common one such as `x264`. `resolved` takes it apart."""
    target_vmaf: float = DEFAULT_TARGET
    """Pooled (mean) VMAF to reach, points."""
    confidence: float = DEFAULT_CONFIDENCE
    """Probability of reaching it, in (0, 1)."""
    preset: str | None = None
    """The encoder's preset; None means the one the model was trained on."""
    trials: int = 1
    """Trial encodes allowed, 0 to 2."""
    output: Path | None = None
    """Path of the final encode; None makes no encode."""
    verify: bool = False
    """Measure every frame of the final encode."""
    retry: int = 0
    """Further encodes allowed if the final one is measured below the target; above 0 it is measured."""
    force: bool = False
    """Overwrite `output`."""
    encoder_args: str = ""
    """More options for the encoder, in trials and the final encode, as `-tune grain -g 48`."""
    stream: int | None = None
    """Index of the source's video stream, as in `-map 0:INDEX`; None takes the first that is no still picture."""
    unsafe_args: bool = False
    """Pass on encoder options and filters that are not known to leave files alone."""
    filters: str = ""
    """ffmpeg filter chain that is applied first."""
    reference: ReferenceKind = "filtered"
    """What VMAF compares with: the picture after `filters`, or the source's own."""
    max_kbps: float | None = None
    """Largest video bitrate allowed, kbps."""
    max_bytes: float | None = None
    """Largest file allowed, bytes."""
    max_ratio: float | None = None
    """Largest size of the encode's video allowed, relative to the source's own video."""
    target_kbps: float | None = None
    """Goal instead of a quality: the best quality within this video bitrate, kbps."""
    target_bytes: float | None = None
    """Likewise within this size of the whole file, bytes."""
    best_within: bool = False
    """If the target cannot be had within the limits, take the best quality within them."""
    two_pass: bool = False
    """Make the final encode in two passes that aim at the bitrate of `target_kbps` or `target_bytes`."""
    probe_seconds: float = DEFAULT_PROBE_SECONDS
    """Most seconds probed of the source; a longer one is sampled; 0 probes all of it, as for any pooling but the
    mean."""
    probes: ProbesKind | None = None
    """`few` makes the probes that the forecast reads. `more` adds further ones, if the model has them for this
    encoder and preset. None means `more` without trials and `few` with them, because a trial tells more about one
    target."""
    audio_codec: str = ""
    """Encoder for sound that the output's container does not accept; empty refuses such a container."""
    drive: Drive = NO_DRIVE
    """How the user drives the encoder: its rate option, range and step. None given for the table's own."""
    measurand: Measurand = MEAN_VMAF
    """What the target is of: metric, pooling and bit depth."""
    pictures: PictureRequest = WHOLE
    """What is made of the pictures before `filters`."""
    depth_of_source: bool = False
    """Encode at the source's bit depth, 8 or 10, instead of the measurand's."""

    @property
    def verifies(self) -> bool:
        """Whether the final encode is measured."""
        return self.verify or self.retry > 0

    @property
    def more_probes(self) -> bool:
        """Whether further probes are made."""
        return self.probes == "more" or (self.probes is None and self.trials == 0)


def resolved(request: TuneRequest, answered: Collection[str] = tuple(ENCODERS)) -> TuneRequest:
    """The request with ffmpeg's name of the encoder, and the preset of `NAME:PRESET` in its own field.

    Args:
      request: what is asked.
      answered: encoders that can be answered for; an unknown name is refused with these.

    Raises:
      ConfigError: an unknown name, two presets, or a rate value, which `tune` itself chooses.
    """
    name, preset, rates = read_encoder(request.encoder)
    if not request.drive.flag:
        check_named(name, answered, "; --rate-flag and --rate-range drive others")
    if rates:
        raise ConfigError(
            f"-e {request.encoder}: the rate value is chosen for you, from the target",
            next_step=f"write -e {name}:{preset}",
        )
    if preset and request.preset not in (None, preset):
        raise ConfigError(
            f"-e {request.encoder} and --preset {request.preset} name two presets", next_step="leave one out"
        )
    sampled = request.measurand.pooling == "mean"  # segments say little of a percentile of all frames
    probe_seconds = request.probe_seconds if sampled else 0
    return replace(request, encoder=name, preset=preset or request.preset, probe_seconds=probe_seconds)


def encoder_of(request: TuneRequest) -> EncoderInfo:
    """The encoder at the depth asked for, without the user's options; ConfigError if it lacks that depth.

    Of one outside the table only what the user says of it; `media/drive.py` asks ffmpeg for the rest.
    """
    info = driven(request.encoder, request.drive)
    return at_depth(info, request.measurand.bit_depth) if request.encoder in ENCODERS else info


def check_goal(target_vmaf: float, confidence: float) -> None:
    """Raise ConfigError unless both are on their scales; a value on the other one's scale is named as such."""
    if 0 < target_vmaf <= 1:
        points = min(100 * target_vmaf, 99.0)
        raise ConfigError(
            f"a target VMAF is in points from 0 to 100, and {target_vmaf:g} is nearly the lowest",
            next_step=f"you probably want --target-vmaf {points:g}",
        )
    if not 0 < target_vmaf < 100:
        raise ConfigError(
            f"a target VMAF lies between 0 and 100, not {target_vmaf:g}",
            next_step=f"ask for {DEFAULT_TARGET:g}",
        )
    check_probability(confidence)


def check_probability(confidence: float, option: str = "--quality-confidence") -> None:
    """Raise ConfigError unless it is a probability; a percentage is named as such."""
    if 0 < confidence < 1:
        return
    share = confidence / 100
    next_step = f"you probably want {option} {share:g}" if 1 < confidence < 100 else "ask for 0.95"
    raise ConfigError(f"a confidence lies between 0 and 1, not {confidence:g}", next_step=next_step)


def check_request(request: TuneRequest) -> EncoderInfo:
    """The encoder with the user's own options, after validating the request.

    Args:
      request: as `resolved` gives it.

    Raises:
      ConfigError: a target, confidence, count, encoder, filter, limit or output that is not valid.
    """
    check_goal(request.target_vmaf, request.confidence)
    if not 0 <= request.trials <= MAX_TRIALS:
        raise ConfigError(f"trials are 0, 1 or 2, not {request.trials}", next_step="use --trials 1")
    if not 0 <= request.retry <= MAX_RETRIES:
        raise ConfigError(f"--retry is 0 to {MAX_RETRIES}, not {request.retry}", next_step="use --retry 1")
    info = encoder_of(request)
    if request.encoder in ENCODERS:  # of others ffmpeg is asked for their options first
        info = with_extra_args(info, request.encoder_args, unsafe=request.unsafe_args)
    if not request.unsafe_args:
        check_filters(request.filters)
    if request.probes not in (None, "few", "more"):
        raise ConfigError(f"--probes is few or more, not {request.probes!r}", next_step="leave it out")
    if request.preset is not None:
        info.check_preset(request.preset)
    check_pictures(request.pictures)
    _check_limits(request)
    _check_reference(request)
    _check_output(request)
    return info


MAX_TRIALS = 2
"""Trials that the margins are calibrated for."""
MAX_RETRIES = 9
"""Most encodes after a missed one; each comes nearer, so one or two are enough."""


def _check_limits(request: TuneRequest) -> None:
    if not 0 <= request.probe_seconds < 1e9:
        raise ConfigError(
            f"--probe-seconds is a number of seconds, 0 or `all`, not {request.probe_seconds:g}",
            next_step=f"leave it out for {DEFAULT_PROBE_SECONDS:g}",
        )
    for name, limit in (("--max-bitrate", request.max_kbps), ("--max-size", request.max_bytes)):
        if limit is not None and not 0 < limit < 1e18:
            raise ConfigError(f"{name} is a positive number", next_step="for example --max-bitrate 3000")
    check_ratio(request.max_ratio)


def check_ratio(ratio: float | None) -> None:
    """Raise ConfigError unless it is a share of the source's bytes; a percentage is named as such."""
    if ratio is None or 0 < ratio <= 10:
        return
    raise ConfigError(
        f"--max-ratio is a share of the source's own video, not {ratio:g}",
        next_step=f"you probably want --max-ratio {ratio / 100:g}" if 10 < ratio < 1000 else "use --max-ratio 0.8",
    )


def _check_reference(request: TuneRequest) -> None:
    if request.reference not in ("filtered", "source"):
        raise ConfigError(
            f"--reference is filtered or source, not {request.reference!r}", next_step="leave it out for filtered"
        )
    made = request.pictures
    if request.reference == "source" and (made.crop != "off" or made.background or made.tonemap != "off"):
        raise ConfigError(
            "--reference source compares with the picture as it is, so nothing else may be made of it",
            next_step="leave out --crop, --background and --tonemap, or use --reference filtered",
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
        if request.verifies:
            option = "--verify" if request.verify else "--retry"
            raise ConfigError(
                f"{option} needs an encode to measure, and no output is named", next_step="add -o OUT"
            )
        return
    if kind := not_a_file(request.output):
        raise ConfigError(
            f"-o {as_given(request.output)} is {kind}, not a file to be written",
            next_step="name a file, as -o OUT.mkv",
        )
    if request.output.exists() and not request.force:
        raise ConfigError(f"{request.output} exists", next_step="choose another -o or add --force")
    if request.output.exists() and request.source.exists() and request.output.samefile(request.source):
        raise ConfigError("the output is the source itself", next_step="choose another -o")
    if not real_path(request.output).parent.is_dir():
        raise ConfigError(f"{request.output.parent} is not a folder", next_step="make it first")
    check_folder(real_path(request.output).parent, "-o")
    if request.output.suffix.lower() not in CONTAINERS:
        raise ConfigError(
            f"{request.output.name}: unknown container", next_step=f"end it in {', '.join(CONTAINERS)}"
        )


POOLINGS: tuple[Pooling, ...] = ("mean", "harmonic", "p5", "p1")
"""Ways to make one number of all frames."""


def read_scale(vmaf: str = "v0.6.1", pool: str = "mean", bit_depth: str = "8") -> tuple[Measurand, bool]:
    """The measurand of a target, and whether its depth is to be the source's.

    Args:
      vmaf: a short name of `VMAF_NAMES`, or libvmaf's name of a model.
      pool: one of `POOLINGS`.
      bit_depth: `8`, `10` or `source`.

    Raises:
      ConfigError: a name that is none of these.

    >>> str(read_scale("v1", "p5", "10")[0])
    'vmaf_v1.0.16_3d0h p5 10-bit'
    """
    model = VMAF_NAMES.get(vmaf.lower(), vmaf)
    if model not in METRICS:
        raise ConfigError(f"unknown VMAF model {vmaf!r}", next_step=f"choose one of {', '.join(VMAF_NAMES)}")
    if pool not in POOLINGS:
        raise ConfigError(f"--pool is {', '.join(POOLINGS)}, not {pool!r}", next_step="leave it out for the mean")
    if bit_depth not in ("8", "10", "source"):
        raise ConfigError(f"--bit-depth is 8, 10 or source, not {bit_depth!r}", next_step="leave it out for 8")
    return Measurand(model, pool, 10 if bit_depth == "10" else 8), bit_depth == "source"


def parse_measurand(text: str) -> Measurand:
    """The measurand that a user names, as `vmaf_v1.0.16_3d0h mean 10-bit`; raises ConfigError if it is unknown."""
    try:
        return Measurand.parse(text)
    except ValueError as error:
        raise ConfigError(str(error), next_step=f"write {str(MEAN_VMAF)!r}") from error


def at_depth(info: EncoderInfo, depth: int) -> EncoderInfo:
    """The encoder fed 4:2:0 pictures of a depth; one that has a single depth stays as it is at 8 bits.

    Raises:
      ConfigError: it makes no encodes of that depth.
    """
    if pixel_facts(info.pix_fmt).bit_depth == depth or depth == 8:
        return info
    fitting = [
        name for name in info.pix_fmts if (facts := pixel_facts(name)).bit_depth == depth and facts.chroma == "420"
    ]
    if not fitting:
        raise ConfigError(f"{info.name} makes no {depth}-bit encodes here", next_step="leave --bit-depth out")
    return info.with_pix_fmt(fitting[0])


def of_depth(request: "TuneRequest", depth: int) -> "TuneRequest":
    """The request for encodes of a depth."""
    return replace(request, measurand=replace(request.measurand, bit_depth=depth))


def compared_at(reference: ReferenceInput, depth: int) -> ReferenceInput:
    """The reference of a comparison at a depth or its own, whichever is more."""
    if pixel_facts(reference.pix_fmt).bit_depth >= depth:
        return reference
    return replace(reference, compared_pix_fmt=f"{reference.pix_fmt}10le")


def scale_words(measurand: Measurand, frame_rate: float) -> str:
    """What a score is of, in words; empty for the mean of VMAF v0.6.1 of 8-bit encodes."""
    if measurand == MEAN_VMAF:
        return ""
    pools = {"harmonic": "harmonic mean", "p5": "5th percentile", "p1": "1st percentile"}
    pool = pools.get(measurand.pooling, "mean")
    model = scoring_model(measurand.model, frame_rate)
    return f"VMAF is the {pool} over frames of {model}, of a {measurand.bit_depth}-bit encode"
