"""The JSON beside a model: what its graph expects, what it was trained on, and its held-out scores."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from vmaf_assay.media.encoders import probed_by
from vmaf_assay.records import FRAME_VMAF, MEAN_VMAF, Measurand

Task = Literal["fr", "forecast"]
Role = Literal["member", "mean"]


def _known_measurand(text: str) -> str:
    Measurand.parse(text)
    return text


def measurand_field(first: Measurand) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    """A field that names a measurand. It is not written if it is the measurand of older files, which name none."""
    return Field(default=str(first), exclude_if=lambda text: text == str(first))


MeasurandName = Annotated[str, AfterValidator(_known_measurand)]
"""A measurand as text; unknown ones are refused."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ProbeSpec(_Frozen):
    """A probe encode whose canonical-6 the model reads."""

    bit_depth: int = 8
    """Bits a sample of the encode."""
    encoder: str
    preset: str
    rate_value: float
    """On the encoder's own scale."""

    @model_serializer(mode="wrap")
    def _leave_out_usual_depth(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """8 bits are left out, so that files from before there were others keep their bytes."""
        said: dict[str, Any] = handler(self)
        if self.bit_depth == 8:
            del said["bit_depth"]
        return said


def probes_read(probes: Sequence[ProbeSpec], encoder: str) -> list[int]:
    """Indices of the two probes that a forecast of an encoder reads: the first, and the first of its family.

    Only the first, if its family has none.

    >>> names = ("libx264", "libx265", "libsvtav1", "libsvtav1")
    >>> probes = [ProbeSpec(encoder=name, preset="8", rate_value=30) for name in names]
    >>> [probes_read(probes, name) for name in ("libx265", "hevc_nvenc", "libaom-av1", "libvpx-vp9")]
    [[0, 1], [0, 1], [0, 2], [0]]
    """
    family = [i for i, probe in enumerate(probes) if i > 0 and probe.encoder == probed_by(encoder)]
    return [0, *family[:1]]


def probes_known(
    probes: Sequence[ProbeSpec], encoder: str, preset: str, *, more: bool, bit_depth: int = 8
) -> list[int]:
    """Indices of the probes made with this encoder and preset; the choice interpolates through them.

    Args:
      probes: the model's.
      encoder: encoder asked about.
      preset: its preset.
      more: True takes every such probe; False only those that the forecast reads anyway.
      bit_depth: of the encodes asked about; a probe of another depth is on no curve of theirs.

    >>> probes = [ProbeSpec(encoder="libx264", preset="medium", rate_value=rate) for rate in (30, 22, 26)]
    >>> [probes_known(probes, "libx264", "medium", more=more) for more in (False, True)]
    [[0, 1], [0, 1, 2]]
    >>> probes_known(probes, "libx264", "slow", more=True)
    []
    """
    read = range(len(probes)) if more else probes_read(probes, encoder)
    asked = encoder, preset, bit_depth
    return [i for i in read if (probes[i].encoder, probes[i].preset, probes[i].bit_depth) == asked]


class SeenEncoder(_Frozen):
    """An encoder and preset that the model was trained on."""

    encoder: str
    preset: str
    rate_values: list[float]
    """Rate values in training, ascending."""
    min_pixels: int = 0
    """Smallest picture it was trained on, width x height, px; 0 in sidecars from before 2026-11-28."""
    max_pixels: int = 0
    """Largest picture it was trained on, width x height, px; 0 likewise."""


class Seen(_Frozen):
    """The support of the training rows."""

    encoders: list[SeenEncoder]
    """Encoders and presets trained on."""
    feature_min: list[float]
    """Smallest value of each feature, [K]."""
    feature_max: list[float]
    """Largest value of each feature, [K]."""
    feature_mean: list[float]
    """Mean of each feature, [K]."""
    feature_std: list[float]
    """Standard deviation of each feature, [K]."""
    min_pixels: int
    """Smallest picture, width x height, px; 0 if the corpus does not say."""
    max_pixels: int
    """Largest picture, width x height, px; 0 if the corpus does not say."""


class HeldOut(_Frozen):
    """Scores on the groups left out, means over folds and seeds."""

    mean_plcc: float
    """Pearson correlation."""
    mean_srocc: float
    """Spearman correlation."""
    mean_rmse: float
    """Root mean square error, VMAF points."""


class _Strict(_Frozen):
    model_config = ConfigDict(strict=True)


# Fields of a calibration are sorted by name, so that pydantic writes canonical JSON. Every load of a model hashes
# it.


class GroupResiduals(_Strict):
    """One group's residuals."""

    group: str
    residuals: list[float]
    """Truth minus the held-out ensemble mean, points, by row."""


class IntervalCalibration(_Strict):
    """What an interval at any confidence is computed from."""

    corpus_digest: str
    """The corpus the residuals are from."""
    ensemble: str
    """The ensemble's id."""
    groups: list[GroupResiduals]
    kind: Literal["interval"] = "interval"
    """Tells the two calibrations apart."""
    measurand: MeasurandName = measurand_field(FRAME_VMAF)
    """What the residuals are of."""


class HeldOutCurve(_Strict):
    """Forecast and truth of one source, encoder and preset, from models that never saw its group."""

    encoder: str
    group: str
    mu: list[float]
    """Held-out ensemble mean, points, [R]."""
    preset: str
    rate_values: list[float]
    """Rate values measured, ascending, [R]."""
    sigma: list[float]
    """Held-out spread over seeds, ddof 1, points, [R]."""
    source: str
    truth: list[float]
    """Measured pooled VMAF, points, [R]."""

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        rates = self.rate_values
        if not 0 < len(rates) == len(self.mu) == len(self.sigma) == len(self.truth):
            raise ValueError("the lists of a held-out curve differ in length")
        if rates != sorted(set(rates)):
            raise ValueError("the rate values of a held-out curve are doubled or out of order")
        return self


class TitleCurve(_Strict):
    """Forecast and measured encodes of one of the user's own titles, with one encoder and preset (ADR-0440)."""

    day: str
    """When it was measured first, ISO 8601."""
    encoder: str
    host: str
    """Keyed digest of the machine's name."""
    known: list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    """Rate value and pooled VMAF, points, of each probe with this encoder and preset."""
    measured: Annotated[list[Annotated[list[float], Field(min_length=2, max_length=2)]], Field(min_length=1)]
    """Rate value and pooled VMAF, points, of each whole encode, ascending."""
    mu: list[float]
    """Forecast before any trial, points, [R]."""
    preset: str
    rate_values: list[float]
    """Trained rate values, ascending, [R]."""
    sigma: list[float]
    """Spread over members, points, [R]."""
    targets: Annotated[list[float], Field(min_length=1)]
    """Pooled scores that its encodes were for, points, ascending."""
    title: str
    """Keyed digest of the source."""

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        rates, tried = self.rate_values, [rate for rate, _ in self.measured]
        if not 1 < len(rates) == len(self.mu) == len(self.sigma):
            raise ValueError("the lists of a title's curve differ in length")
        if rates != sorted(set(rates)) or tried != sorted(set(tried)):
            raise ValueError("the rate values of a title's curve are doubled or out of order")
        if not all(
            map(
                math.isfinite,
                (*self.mu, *self.sigma, *(one for pair in (*self.known, *self.measured) for one in pair)),
            )
        ):
            raise ValueError("a number of a title's curve is not finite")
        return self


class ChoiceCalibration(_Strict):
    """What a margin at any target and confidence is computed from."""

    corpus_digest: str
    """The corpus the curves are from."""
    curves: list[HeldOutCurve]
    """Sorted by group, source, encoder, preset."""
    ensemble: str
    """The ensemble's id."""
    kind: Literal["choice"] = "choice"
    """Tells the two calibrations apart."""
    measurand: MeasurandName = measurand_field(MEAN_VMAF)
    """What forecast and truth are of."""
    probes: list[ProbeSpec]
    """Probes the forecasts were made from; a curve of a probe's own encoder and preset is known there."""
    titles: list[TitleCurve] = Field(default_factory=list, exclude_if=lambda found: not found)
    """The user's own titles, after `assay registry recalibrate`; sorted by title, encoder, preset."""


Calibration = Annotated[IntervalCalibration | ChoiceCalibration, Field(discriminator="kind")]
"""What promises are computed from, of either task."""


class Sidecar(_Frozen):
    """One model's sidecar."""

    schema_version: Literal[1] = 1
    """Major version of this file's schema."""
    id: str
    """The registry row's id."""
    task: Task
    """`fr` scores an encode; `forecast` scores an encode that was not made."""
    role: Role
    """`member` is one seed; `mean` is the fused ensemble."""
    feature_names: list[str]
    """Input columns, in order, [K]."""
    encoder_vocab_version: Literal[2, 3, 4]
    """Version of the codec block's vocabulary."""
    encoder_vocab: list[str]
    """The vocabulary itself, by one-hot slot."""
    opset: int
    """ONNX opset of the graph."""
    probes: list[ProbeSpec] = Field(default_factory=list)
    """Probe encodes that the features are measured on; empty for `fr`."""
    seen: Seen
    """What was in the training rows."""
    recipe: dict[str, Any]
    """How it was trained."""
    corpus_digest: str
    """Digest of the corpus it was trained on."""
    held_out: HeldOut
    """Held-out scores."""
    onnx_sha256: str
    """SHA-256 of the model file."""
    calibration: Calibration | None = None
    """For `mean`: what `calibration.json` of the run holds."""
    bitrate: dict[str, Any] | None = None
    """For a forecast's `mean`: the bitrate model (`model/bitrate.py`)."""
    tools: dict[str, list[str]] | None = Field(default=None, exclude_if=lambda found: found is None)
    """Versions of ffmpeg, libvmaf and encoders that the corpus was measured with; None in older files."""
    measurand: MeasurandName | None = Field(default=None, exclude_if=lambda text: text is None)
    """Measurand of its answers. None in older files: VMAF v0.6.1 of a frame (`fr`) or its mean over frames
    (`forecast`), of 8-bit encodes."""

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        """Check the lengths of lists, that ranges are valid, and that rate values are in order."""
        seen, names = self.seen, self.feature_names
        ranges = (seen.feature_min, seen.feature_max, seen.feature_mean, seen.feature_std)
        if not 0 < len(set(names)) == len(names) <= MAX_FEATURES or any(
            len(part) != len(names) for part in ranges
        ):
            raise ValueError("its lists do not match its features")
        if any(abs(value) > MAX_FEATURE for part in ranges for value in part) or any(
            low > high for low, high in zip(seen.feature_min, seen.feature_max, strict=True)
        ):
            raise ValueError("the range of a feature is invalid")
        if self.calibration is not None and self.calibration.measurand != self.answers:
            raise ValueError(f"it answers in {self.answers}, its calibration is of {self.calibration.measurand}")
        pairs = [(encoder.encoder, encoder.preset) for encoder in seen.encoders]
        rates = [encoder.rate_values for encoder in seen.encoders]
        if not pairs or len(set(pairs)) != len(pairs) or any(not r or r != sorted(set(r)) for r in rates):
            raise ValueError("encoders or rate values are doubled, out of order or missing")
        return self

    @property
    def answers(self) -> str:
        """The measurand of its answers, named or implied."""
        return self.measurand or first_measurand(self.task)


def first_measurand(task: Task) -> str:
    """The measurand of an ensemble whose files name none."""
    return str(FRAME_VMAF if task == "fr" else MEAN_VMAF)


MAX_FEATURES = 512
"""Most input columns of a model."""

MAX_FEATURE = 1e12
"""Largest feature accepted; a float32 holds it."""
