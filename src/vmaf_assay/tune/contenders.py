"""The answer of `compare`, and what it is in JSON (docs/json-output.md)."""

from dataclasses import asdict, dataclass, field
from typing import Any

from vmaf_assay.promise.promise import Promise
from vmaf_assay.records import MEAN_VMAF
from vmaf_assay.tune.equal import MeasuredPoint
from vmaf_assay.tune.pictures import PictureFacts
from vmaf_assay.tune.result import CurvePoint, SampleFacts


@dataclass(frozen=True, slots=True)
class Contender:
    """One encoder and preset."""

    encoder: str
    """As ffmpeg names it."""
    preset: str
    """As ffmpeg names it."""
    rate_value: float
    """Cheapest whose lower bound meets the target, else the best there is; on the encoder's own scale."""
    mu: float
    """Forecast there, after trials, points."""
    lower_bound: float
    """Forecast less the calibrated margin there, points."""
    forecast_kbps: float | None
    """Forecast bitrate there; null if the model forecasts none."""
    forecast_kbps_low: float | None
    """The bitrate there is at least this with the confidence asked; null if nothing is calibrated."""
    forecast_kbps_high: float | None
    """It is at most this, likewise."""
    promise: Promise
    """Whether the choice is promised to meet the target, and why not."""
    bd_rate: float | None
    """Bitrate difference to the first at equal forecast VMAF, as a share (-0.2: a fifth less); null without
    overlap."""
    measured_vmaf: float | None
    """Pooled VMAF of its encode at `rate_value`; null without `--measure`."""
    kbps: float | None
    """Bitrate of its encode at `rate_value`; null without `--measure`."""
    reasons: list[str]
    """What stands against it, in words."""
    curve: list[CurvePoint] = field(default_factory=list)
    """Whole rate values over the trained range, and choice and trials."""
    trials: list[dict[str, float]] = field(default_factory=list)
    """`rate_value` and `measured_vmaf` of each trial."""
    encodes: list[MeasuredPoint] = field(default_factory=list)
    """Encodes measured on every frame (`--measure`): the choice, and one on the other side of the target."""
    equal_kbps: float | None = None
    """Bitrate at exactly the target, interpolated between the encodes measured on either side of it; null without
    `--measure`, or without one on each side."""

    tried_vmaf: float | None = None
    """Outside the calibration: pooled VMAF that an own probe or trial of every frame measured at the choice, else
    null."""

    @property
    def promised(self) -> bool:
        """Whether the promise of this package stands behind the choice."""
        return self.promise.made

    def meets(self, target: float) -> bool:
        """Whether an encode of it was measured at the target or above or, without that, it is promised."""
        if self.encodes:
            return any(one.vmaf >= target for one in self.encodes)
        return self.promised or (self.tried_vmaf is not None and self.tried_vmaf >= target)

    def as_json(self, target: float) -> dict[str, Any]:
        """One of `contenders` in docs/json-output.md."""
        return asdict(self) | {
            "promise": self.promise.as_json(),
            "promised": self.promised,
            "supported": self.promise.supported,
            "reachable": self.promise.reachable,
            "encodes": [one._asdict() for one in self.encodes],
            "met": self.meets(target),
        }


@dataclass(frozen=True, slots=True)
class Refused:
    """An encoder and preset that was asked about and cannot be answered for."""

    encoder: str
    """As ffmpeg names it."""
    preset: str
    """As ffmpeg names it."""
    reason: str
    """Why not, in words."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The winner's encode, written to a file."""

    output: str | None
    """The file written; null if nothing was."""
    rate_value: float
    """On the encoder's own scale."""
    kbps: float | None
    """Bitrate of its video."""
    output_bytes: int | None
    """Size of the whole file."""
    measured_vmaf: float | None
    """Pooled VMAF of the whole output; null without `--measure`."""
    met: bool
    """As the exit code of `assay tune` would say."""


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The answer; `as_json` is the documented form."""

    source: str
    """The source."""
    target_vmaf: float
    """Pooled VMAF asked for."""
    confidence: float
    """Probability asked for, of each contender by itself."""
    encodes_spent: int
    """Probes, trials, measured encodes and the one that is kept; probes are made once for all."""
    encodes_cached: int
    """Those known from an earlier run."""
    contenders: list[Contender]
    """In the order asked for."""
    sample: SampleFacts | None = None
    """Of a source longer than `--probe-seconds`, what of it was probed; null if every frame was. `sampling_part`
    and `allowance` are the first contender's."""
    refused: list[Refused] = field(default_factory=list)
    """Encoders and presets asked for that could not be answered for, and why."""
    vmaf_model: str = MEAN_VMAF.model
    """libvmaf's model that target and scores are of."""
    bit_depth: int = MEAN_VMAF.bit_depth
    """Bits a sample of the encodes asked for."""
    pictures: PictureFacts = field(default_factory=PictureFacts)
    """What was found and made of the pictures."""
    kept: Kept | None = None
    """The winner's encode, with `-o` or `--out-dir`; null without, and when there is no winner."""

    @property
    def measured(self) -> bool:
        """Whether encodes were measured, so that bitrates are compared at equal quality."""
        return any(one.encodes for one in self.contenders)

    @property
    def cheapest(self) -> Contender | None:
        """Of those that meet the target, the one of least bitrate: at equal quality if measured, else forecast."""
        meeting = [one for one in self.contenders if one.meets(self.target_vmaf) and self.cost(one) is not None]
        return min(meeting, key=lambda one: self.cost(one) or 0.0, default=None)

    def cost(self, one: Contender) -> float | None:
        """What contenders are ranked by, kbps; None if it is not known of this one.

        Once encodes were measured, only bitrates at equal quality are compared. Where no encode lies below the
        target (the cheapest rate value there is meets it), that one's own bitrate counts.
        """
        if not self.measured:
            return one.forecast_kbps
        if one.equal_kbps is not None:
            return one.equal_kbps
        return min((point.kbps for point in one.encodes if point.vmaf >= self.target_vmaf), default=None)

    @property
    def met(self) -> bool:
        """Whether the answer is yes."""
        return self.cheapest is not None and (self.kept is None or self.kept.met)

    def as_json(self) -> dict[str, Any]:
        """The document of docs/json-output.md."""
        best = self.cheapest
        named = None if best is None else {"encoder": best.encoder, "preset": best.preset}
        contenders = [one.as_json(self.target_vmaf) for one in self.contenders]
        return asdict(self) | {"contenders": contenders, "cheapest": named}
