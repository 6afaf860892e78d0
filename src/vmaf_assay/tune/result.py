"""The answer of `tune`, and its JSON form (docs/json-output.md).

Limits on bitrate, size, and the share of the source's own video: whether they are met, and what meets them.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vmaf_assay.media.encoders import rate_unit
from vmaf_assay.media.files import path_text
from vmaf_assay.promise.promise import Promise
from vmaf_assay.records import MEAN_VMAF
from vmaf_assay.tune.pictures import PictureFacts


def rate_words(encoder: str, preset: str, rate_value: float) -> str:
    """An encode in words.

    >>> rate_words("libx264", "medium", 24.0)
    'libx264 medium at CRF 24'
    """
    return f"{encoder} {preset} at {rate_unit(encoder)} {rate_value:g}"


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The corrected forecast at one rate value, for display."""

    rate_value: float
    """On the encoder's own scale."""
    mu: float
    """Corrected forecast, points."""
    lower_bound: float
    """Forecast less the margin, points."""
    kbps: float | None
    """Forecast bitrate."""
    measured_vmaf: float | None
    """VMAF that a trial measured here, points."""
    kbps_low: float | None = None
    """The bitrate is at least this with the confidence asked, kbps; None if nothing is calibrated."""
    kbps_high: float | None = None
    """The bitrate is at most this, likewise; equal to `kbps` where a trial measured every frame."""


@dataclass(frozen=True, slots=True)
class ProbePoint:
    """A probe encode of this source."""

    encoder: str
    """ffmpeg encoder name."""
    preset: str
    """Its preset."""
    rate_value: float
    """On its own scale."""
    vmaf: float
    """Pooled VMAF, points."""
    kbps: float
    """Bitrate."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A final encode that was measured below the target and made again at another rate value."""

    rate_value: float
    """On the encoder's own scale."""
    measured_vmaf: float
    """Pooled VMAF of every frame, points."""
    kbps: float
    """Bitrate of its video."""


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """How a long source was sampled, and the sampling part of the bound."""

    segments: int
    """Segments probed."""
    units: int
    """Segments that the source was divided into."""
    segments_tried: int
    """Of those probed, the ones that each trial encodes; 0 without a trial."""
    frames: int
    """Frames probed, of `n_frames`."""
    seconds: float
    """Duration of those frames."""
    warm_up_frames: int
    """Frames that a trial encodes before each segment and does not score."""
    cool_down_frames: int
    """Likewise after it."""
    sampling_part: float
    """Sampling part of the bound at the choice, points; `margin` is the root of its square plus that of the
    forecast's margin."""
    allowance: float
    """Subtracted from `mu` because a segment may score above the same frames in the title, points."""
    first_frames: list[int]
    """First frame of each segment, ascending, counted from 0."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """The answer; `as_json` is the documented form."""

    source: str
    """Path as given."""
    encoder: str
    """As ffmpeg names it."""
    preset: str
    """As ffmpeg names it."""
    target_vmaf: float
    """Pooled VMAF asked for, points."""
    confidence: float
    """Probability asked for, in (0, 1)."""
    rate_value: float
    """The choice, on the encoder's own scale; the best there is when the target is out of reach."""
    mu: float
    """Forecast of pooled VMAF there, after trials, points."""
    lower_bound: float
    """Forecast less the margin, points."""
    forecast_kbps: float | None
    """Forecast bitrate there; None if the model forecasts none."""
    promise: Promise
    """Whether the choice is promised to meet the target, and why not."""
    margin: float
    """Forecast minus bound at the choice, points; 0 where a trial measured it."""
    n_groups: int
    """Calibration groups behind the margin."""
    trials: list[dict[str, float]]
    """`rate_value` and `measured_vmaf` of each trial."""
    encodes_spent: int
    """Probes, trials and the final encode that were run."""
    encode_argv: list[str]
    """The final encode's command, whether it was run or not."""
    output: str | None
    """The file written; None without `-o`, and when nothing is promised."""
    measured_vmaf: float | None
    """Pooled VMAF of the whole output; None without `--verify` and `--retry`."""
    kbps: float | None
    """Measured bitrate of the output's video, if encoded."""
    reasons: list[str]
    """Explanation of the choice, in words."""
    encodes_cached: int = 0
    """Probes and trials whose results were known from an earlier run."""
    encoder_args: list[str] = field(default_factory=list)
    """Options added with `--encoder-args`."""
    filters: str = ""
    """Filter chain applied first."""
    reference: str = "filtered"
    """What VMAF compares with: `filtered` or `source`."""
    vmaf_model: str = MEAN_VMAF.model
    """libvmaf's model that the target and all scores are of."""
    pooling: str = MEAN_VMAF.pooling
    """How the frames' scores make one number: `mean`, `harmonic`, `p5` or `p1`."""
    bit_depth: int = MEAN_VMAF.bit_depth
    """Bits a sample of the encode asked for; 8 also of an encoder that has only another depth."""
    losses: list[str] = field(default_factory=list)
    """Parts of the source that the output lacks, or holds in another form."""
    max_kbps: float | None = None
    """Bitrate limit asked for, kbps."""
    max_bytes: float | None = None
    """Size limit asked for, bytes."""
    bitrate_met: bool | None = None
    """Whether the bitrate, measured if encoded, else forecast, is within `max_kbps`; None without a limit."""
    max_ratio: float | None = None
    """Limit asked for on the encode's video over the source's own."""
    forecast_kbps_low: float | None = None
    """The bitrate at the choice is at least this with `confidence`, kbps; None if nothing is calibrated."""
    forecast_kbps_high: float | None = None
    """It is at most this, likewise."""
    source_ratio: float | None = None
    """Bytes of the encode's video, measured if encoded, else forecast, over those of the source's own."""
    ratio_met: bool | None = None
    """Whether that is within `max_ratio`; None without a limit."""
    goal: str = "quality"
    """What was asked for: `quality`, `bitrate` or `size`. For the latter two, and where
    `best_within` is true, `target_vmaf` is `lower_bound`, rounded down."""
    target_kbps: float | None = None
    """Video bitrate asked for as the goal, kbps."""
    target_bytes: float | None = None
    """Size of the whole file asked for as the goal, bytes."""
    budget_kbps: float | None = None
    """Video bitrate that the goal leaves, kbps: of a size what the rest of the file leaves. None for a quality
    goal that is within its limits."""
    rest_bytes: int | None = None
    """Bytes of the output beside its video, counted by writing them; None without a size goal."""
    bitrate_promised: bool | None = None
    """Whether the bitrate's bound at the choice is calibrated and within `budget_kbps`; None without a budget."""
    goal_met: bool | None = None
    """Whether the bitrate or size goal is met: measured if encoded, else promised; None for a quality goal."""
    best_within: bool | None = None
    """Whether the choice is the best within the limits, as the target is not; None without `--best-within`."""
    two_pass_kbps: float | None = None
    """Bitrate that a two-pass encode aims at, kbps; None for constant quality."""
    size_met: bool | None = None
    """Whether the file's size, measured if encoded, else forecast, is within `max_bytes`; None without a limit."""
    forecast_bytes: float | None = None
    """Forecast size of the whole file."""
    output_bytes: int | None = None
    """Size of the whole file, if encoded."""
    width: int = 0
    """Of the picture encoded, px."""
    height: int = 0
    """Of the picture encoded, px."""
    frame_rate: str = ""
    """Frames per second, rational."""
    n_frames: int = 0
    """Frames encoded."""
    probes: list[ProbePoint] = field(default_factory=list)
    """The probes' own figures."""
    curve: list[CurvePoint] = field(default_factory=list)
    """The corrected forecast at whole rate values over the trained range, and at choice and trials."""
    frame_vmaf: list[float] | None = None
    """Per-frame VMAF of the whole output, if verified."""
    sample: SampleFacts | None = None
    """How the source was sampled; None if all of it was probed."""
    source_kbps: float | None = None
    """Bitrate of the source's own video, kbps."""
    source_video_bytes: int | None = None
    """Size of the source's own video, bytes."""
    larger_than_source: bool | None = None
    """Whether the encode's video, measured if encoded, else forecast, is larger than the source's."""
    missed: list[Retry] = field(default_factory=list)
    """Final encodes that were measured below the target and made again (`--retry`), in order."""
    pictures: PictureFacts = field(default_factory=PictureFacts)
    """What was found and made of the pictures before `filters`."""
    implied_rate_value: float | None = None
    """The rate value that a measurement below the target implies. None if the target is met, nothing was measured,
    or no trained rate value is expected to meet it."""

    def as_json(self) -> dict[str, Any]:
        """The document of docs/json-output.md."""
        said = {
            "promise": self.promise.as_json(),
            "promised": self.promised,
            "supported": self.promise.supported,
            "reachable": self.promise.reachable,
            "calibrated": self.promise.calibrated_kind,
            "quality_met": self.quality_met,
            "answer": self.answer(),
        }
        argv = [path_text(word) for word in self.encode_argv]
        return asdict(self) | said | {"encode_argv": argv}

    @property
    def promised(self) -> bool:
        """Whether the choice is promised to meet the target."""
        return self.promise.made

    def answer(self) -> str:
        """The sentence that answers the question, the same on every page and in every document."""
        encode = rate_words(self.encoder, self.preset, self.rate_value)
        if self.budget_kbps is not None and not self.promise.reachable:
            kbps = "" if self.forecast_kbps is None else f", forecast {self.forecast_kbps:.0f} kbps"
            return f"out of reach: nothing keeps within {self._budget()}. Nearest: {encode}{kbps}"
        if self.two_pass_kbps is not None:
            encode = f"{self.encoder} {self.preset} in two passes at {self.two_pass_kbps:.0f} kbps"
        said = self.promise.sentence(encode)
        limits = ("bitrate", self.bitrate_met), ("size", self.size_met), ("ratio", self.ratio_met)
        over = [word for word, met in limits if met is False]
        if over:
            said += f", but over the {' and '.join(over)} limit"
        if self.budget_kbps is not None:
            said += f". {self._budget_words()}"
        if self.measured_vmaf is None and self.promise.own_encodes and self._tried():
            return f"{said}. Measured on every frame: {self._tried_vmaf():.2f}, met"
        if self.measured_vmaf is None:
            return said
        return (
            f"{said}. Measured on every frame: {self.measured_vmaf:.2f}, {'met' if self.quality_met else 'MISSED'}"
        )

    def _budget(self) -> str:
        """The bitrate or size asked for."""
        asked = f"{self.budget_kbps:.0f} kbps of video"
        return asked if self.target_bytes is None else f"{self.target_bytes / 1e6:g} MB ({asked})"

    def _budget_words(self) -> str:
        """Whether the bitrate or size asked for is kept."""
        asked = self._budget()
        if self.output_bytes is not None and self.goal_met is not None:
            return f"Within {asked}: {'met' if self.goal_met else 'MISSED'}"
        if self.bitrate_promised:
            return f"Within {asked} with confidence {self.confidence:g}"
        return f"Within {asked}: not promised"

    @property
    def quality_met(self) -> bool:
        """Whether the target is met: measured on the whole output or, without that, promised.

        An encode with the user's own options is also met if a trial measured its rate value on every frame,
        because trials run with those options.
        """
        if self.measured_vmaf is not None:
            return self.measured_vmaf >= self.target_vmaf
        return self.promised or (self.promise.encodable and self._tried())

    @property
    def met(self) -> bool:
        """Whether the answer is yes: for the goal and for every limit."""
        limits = False not in (self.bitrate_met, self.size_met, self.ratio_met)
        if self.goal != "quality":
            return limits and bool(self.goal_met)
        return limits and (self.quality_met or bool(self.best_within))

    def _tried(self) -> bool:
        vmaf = self._tried_vmaf()
        return vmaf is not None and vmaf >= self.target_vmaf

    def _tried_vmaf(self) -> float | None:
        """What a trial, or an own probe, measured on every frame at the choice, points."""
        if self.sample is not None:
            return None
        made = {trial["rate_value"]: trial["measured_vmaf"] for trial in self.trials}
        if self.promise.own_encodes:
            made |= {probe.rate_value: probe.vmaf for probe in self.probes}
        return made.get(self.rate_value)


def judge_limits(result: TuneResult) -> TuneResult:
    """The result with `bitrate_met`, `size_met`, `ratio_met` and how it compares with its source.

    Each is None if it was not asked, or is not known. What is measured counts before what is forecast.
    """
    kbps = result.kbps if result.kbps is not None else result.forecast_kbps
    n_bytes = result.output_bytes if result.output_bytes is not None else result.forecast_bytes
    ratio = _ratio(result, kbps)
    return replace(
        result,
        bitrate_met=None if result.max_kbps is None or kbps is None else kbps <= result.max_kbps,
        size_met=None if result.max_bytes is None or n_bytes is None else n_bytes <= result.max_bytes,
        source_ratio=ratio,
        ratio_met=None if result.max_ratio is None or ratio is None else ratio <= result.max_ratio,
        larger_than_source=None if ratio is None else ratio > 1,
        goal_met=_goal_met(result),
    )


def _goal_met(result: TuneResult) -> bool | None:
    """Whether a bitrate or size goal is met: counted if encoded, else promised."""
    if result.goal == "quality":
        return None
    if result.target_bytes is not None and result.output_bytes is not None:
        return result.output_bytes <= result.target_bytes
    if result.target_kbps is not None and result.kbps is not None:
        return result.kbps <= result.target_kbps
    return bool(result.bitrate_promised)


def _ratio(result: TuneResult, kbps: float | None) -> float | None:
    """Bytes of the encode's video over those of the source's; filters may change the duration."""
    if kbps is None or not result.source_video_bytes:
        return None
    return kbps * bytes_of_a_kbps(result) / result.source_video_bytes


def bytes_of_a_kbps(result: TuneResult) -> float:
    """Bytes that one kbps of video is over the encode's duration."""
    top, bottom = result.frame_rate.split("/")
    return result.n_frames * int(bottom) / int(top) * 125


def larger_reason(result: TuneResult) -> str | None:
    """A sentence if the encode is larger than its source; None if not, or unknown."""
    kbps = result.kbps if result.kbps is not None else result.forecast_kbps
    if not result.larger_than_source or kbps is None or result.source_kbps is None or result.source_ratio is None:
        return None
    more = 100 * (result.source_ratio - 1)
    how = "is" if result.kbps is not None else "is forecast to be"
    return (
        f"the encode {how} {more:.{0 if more >= 1 else 1}f} % larger than its source ({kbps:.0f} kbps against "
        f"{result.source_kbps:.0f} kbps of the source's own video): keep the source, or lower --target-vmaf"
    )


def within_limits(result: TuneResult) -> bool:
    """Whether no limit is known to be exceeded."""
    return False not in (result.bitrate_met, result.size_met, result.ratio_met)


def limit_reasons(result: TuneResult) -> list[str]:
    """For a result without a file: which limit the forecast exceeds, and the best rate value within it."""
    if within_limits(result):
        return []
    said = []
    if result.bitrate_met is False and result.forecast_kbps is not None and result.max_kbps is not None:
        said.append(
            f"bitrate limit not met: {result.forecast_kbps:.0f} kbps forecast, {result.max_kbps:g} allowed"
        )
    if result.size_met is False and result.forecast_bytes is not None and result.max_bytes is not None:
        said.append(
            f"size limit not met: {result.forecast_bytes / 1e6:.1f} MB forecast, "
            f"{result.max_bytes / 1e6:g} allowed"
        )
    if result.ratio_met is False and result.source_ratio is not None and result.max_ratio is not None:
        said.append(
            f"ratio limit not met: {result.source_ratio:.2f} times the source's video forecast, "
            f"{result.max_ratio:g} allowed"
        )
    best = point_within(result)
    if best is None:
        said.append("no rate value keeps within the limits")
    else:
        said.append(
            f"the best within the limits is {best.rate_value:g}: {best.kbps:.0f} kbps, "
            f"forecast VMAF {best.mu:.2f}, lower bound {best.lower_bound:.2f}"
        )
    return said


def allowed_kbps(result: TuneResult) -> float:
    """The bitrate that keeps within every limit, kbps; infinite without a limit, negative if there is none."""
    allowed = result.max_kbps if result.max_kbps is not None else float("inf")
    per_kbps = bytes_of_a_kbps(result)
    if result.max_bytes is not None and result.forecast_bytes is not None and result.forecast_kbps:
        other = result.forecast_bytes - result.forecast_kbps * per_kbps
        allowed = min(allowed, (result.max_bytes - other) / per_kbps)
    if result.max_ratio is not None and result.source_video_bytes:
        allowed = min(allowed, result.max_ratio * result.source_video_bytes / per_kbps)
    return allowed


def point_within(result: TuneResult) -> CurvePoint | None:
    """The point of the highest forecast whose forecast bitrate keeps within every limit."""
    allowed = allowed_kbps(result)
    fitting = [point for point in result.curve if point.kbps is not None and point.kbps <= allowed]
    return max(fitting, key=lambda point: point.mu, default=None)
