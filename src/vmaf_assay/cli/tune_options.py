"""What `assay tune` and `assay watch` are asked of each source: one group of options."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.goal_options import Goals
from vmaf_assay.cli.options import (
    Confidence,
    Force,
    ProbeSeconds,
    Stream,
    TargetVmaf,
    UnsafeArgs,
    Verify,
    seconds_of,
)
from vmaf_assay.cli.picture_options import Pictures
from vmaf_assay.cli.scale_options import Scale

if TYPE_CHECKING:
    from vmaf_assay.api import TuneRequest

Encoder = Annotated[
    str, typer.Option("--encoder", "-e", help="NAME or NAME:PRESET, as libx264, svt-av1 or x265:slow.")
]
Trials = Annotated[int, typer.Option(metavar="N", help="Trial encodes allowed: 0, 1 or 2.")]
Retry = Annotated[
    int,
    typer.Option(
        metavar="N", help="If the output misses: encode up to N times more, using the measurement (verifies)."
    ),
]
Preset = Annotated[str | None, typer.Option(help="The encoder's preset (default: the trained one).")]
EncoderArgs = Annotated[
    str, typer.Option(help='More options for the encoder, as "-tune grain"; ends the promise (see reasons).')
]
Reference = Annotated[
    str,
    typer.Option(
        metavar="filtered|source",
        help="VMAF against the `filtered` picture, or the `source` (one scale only).",
    ),
]
Probes = Annotated[
    str | None,
    typer.Option(
        metavar="few|more",
        help="`few` makes the probes that the forecast reads; `more` adds encodes of that encoder and preset, "
        "which serve every target (default: more without trials, few with).",
    ),
]
RateFlag = Annotated[
    str, typer.Option(metavar="OPTION", help="Of any other encoder of ffmpeg's: its rate option, as -q:v.")
]
RateRange = Annotated[str, typer.Option(metavar="LOW:HIGH", help="The rate values to choose from, as 1:31.")]
RateStep = Annotated[
    float | None, typer.Option(metavar="STEP", help="Step between rate values (default 1, or the encoder's).")
]
AudioCodec = Annotated[
    str,
    typer.Option(metavar="NAME", help="Convert sound that the container does not accept, as `flac` or `aac`."),
]


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of one request, whatever the source."""

    encoder: Encoder = "libx264"
    target_vmaf: TargetVmaf = 93.0
    quality_confidence: Confidence = 0.95
    preset: Preset = None
    trials: Trials = 1
    verify: Verify = False
    retry: Retry = 0
    force: Force = False
    encoder_args: EncoderArgs = ""
    unsafe_args: UnsafeArgs = False
    rate_flag: RateFlag = ""
    rate_range: RateRange = ""
    rate_step: RateStep = None
    audio_codec: AudioCodec = ""
    pictures: Pictures = Pictures()  # noqa: RUF009 - frozen, as are the next two
    stream: Stream = None
    reference: Reference = "filtered"
    scale: Scale = Scale()  # noqa: RUF009
    goals: Goals = Goals()  # noqa: RUF009
    probe_seconds: ProbeSeconds = "60"
    probes: Probes = None

    def request(self, source: Path, output: Path | None = None) -> "TuneRequest":
        """These options as a request for a source."""
        from vmaf_assay.api import TuneRequest, read_drive

        return TuneRequest(
            *(source, self.encoder, self.target_vmaf, self.quality_confidence, self.preset, self.trials),
            *(output, self.verify, self.retry, self.force, self.encoder_args),
            unsafe_args=self.unsafe_args,
            drive=read_drive(self.rate_flag, self.rate_range, self.rate_step),
            audio_codec=self.audio_codec,
            stream=self.stream,
            reference=self.reference,  # type: ignore[arg-type]  # checked by check_request
            **(self.pictures.asked() | self.scale.asked() | self.goals.asked()),
            probe_seconds=seconds_of(self.probe_seconds),
            probes=self.probes,  # type: ignore[arg-type]  # likewise
        )
