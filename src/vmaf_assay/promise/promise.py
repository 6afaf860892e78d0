"""The promise: its conditions, the reasons against it, and the sentence that answers the user.

`tune`, `compare`, the Python API, the pages and `--json` all use it.
"""

from dataclasses import dataclass
from typing import Any, Literal

from vmaf_assay.promise.choice import Choice, Margin

NoPromiseCode = Literal[
    "unlike_training",
    "target_not_calibrated",
    "out_of_reach",
    "options_not_calibrated",
    "reference_not_calibrated",
    "tools_not_calibrated",
    "own_curve",
    "hdr_not_calibrated",
    "chroma_not_calibrated",
    "range_not_calibrated",
    "size_not_calibrated",
]
"""Code of a reason for no promise, for programs; `NoPromise.words` is for people."""


@dataclass(frozen=True, slots=True)
class NoPromise:
    """One reason for making no promise."""

    code: NoPromiseCode
    words: str


@dataclass(frozen=True, slots=True)
class Promise:
    """Whether the choice is promised to meet the target, and every reason why not."""

    target: float
    """Pooled score asked for, points."""
    confidence: float
    """Probability asked for, in (0, 1)."""
    mu: float
    """Forecast at the choice, points."""
    lower_bound: float
    """Forecast minus margin at the choice, points."""
    supported: bool
    """The model has seen sources like this one, with this encoder and preset."""
    unsupported_reason: str
    """What is unlike the training data; empty if `supported`."""
    reachable: bool
    """Some rate value's lower bound meets the target."""
    calibrated_target: bool
    """The margin was calibrated at this target, not at a lower one because groups were too few."""
    uncalibrated_options: str = ""
    """Encoder options that no calibration encode had; empty without such options."""
    uncalibrated_reference: str = ""
    """A comparison that no calibration encode had, in words; else empty."""
    uncalibrated_pictures: tuple[NoPromise, ...] = ()
    """What of the pictures no calibration source had."""
    own_encodes: int = 0
    """For a job outside the calibration: encodes with the encoder itself that its curve goes through; else 0."""

    uncalibrated_tools: str = ""
    """What of ffmpeg, libvmaf and encoder is not as calibrated, in words; else empty."""

    @property
    def calibrated_kind(self) -> bool:
        """Encode, comparison and tools are of the calibrated kind."""
        unlike = self.uncalibrated_options or self.uncalibrated_reference or self.uncalibrated_tools
        return not (unlike or self.uncalibrated_pictures)

    @property
    def made(self) -> bool:
        """Whether the promise is made."""
        return not self.reasons

    @property
    def encodable(self) -> bool:
        """Whether to make the encode: it is promised, only its kind is not calibrated, or it was searched."""
        return self.reachable and (self.own_encodes > 0 or (self.supported and self.calibrated_target))

    @property
    def reasons(self) -> tuple[NoPromise, ...]:
        """Every reason for making no promise, the most fundamental first."""
        found: list[NoPromise] = []
        if not self.supported:
            found.append(NoPromise("unlike_training", f"not supported: {self.unsupported_reason}"))
        # The margin of a lower target says nothing about this target, but a forecast below it does.
        if not self.reachable and (self.calibrated_target or self.mu < self.target):
            found.append(
                NoPromise(
                    "out_of_reach",
                    f"out of reach: no rate value reaches {self.target:g} with confidence {self.confidence:g}; "
                    f"the highest lower bound is {self.lower_bound:.2f}",
                )
            )
        if not self.calibrated_target:
            found.append(
                NoPromise(
                    "target_not_calibrated",
                    f"not calibrated: too few calibration groups reach {self.target:g} to promise it with "
                    f"confidence {self.confidence:g}",
                )
            )
        if self.uncalibrated_options:
            found.append(
                NoPromise(
                    "options_not_calibrated",
                    f"not calibrated: no calibration encode had the encoder options {self.uncalibrated_options}",
                )
            )
        if self.uncalibrated_reference:
            found.append(NoPromise("reference_not_calibrated", f"not calibrated: {self.uncalibrated_reference}"))
        if self.uncalibrated_tools:
            words = f"not calibrated: {self.uncalibrated_tools}"
            found.append(NoPromise("tools_not_calibrated", words))
        found += self.uncalibrated_pictures
        if self.own_encodes:
            found.append(
                NoPromise(
                    "own_curve", f"searched: a curve through {encodes_words(self.own_encodes)} promises nothing"
                )
            )
        return tuple(found)

    def sentence(self, choice: str) -> str:
        """The answer to the user, without a measurement.

        Args:
          choice: the encode, as `libx264 medium at CRF 24`.

        >>> kept = Promise(93, 0.95, 94.0, 93.1, True, "", True, True)
        >>> kept.sentence("libx264 medium at CRF 24")
        'libx264 medium at CRF 24: VMAF >= 93 with confidence 0.95'
        >>> from dataclasses import replace
        >>> replace(kept, calibrated_target=False).sentence("libx264 medium at CRF 24")
        'no promise: not calibrated: too few calibration groups reach 93 to promise it with confidence 0.95. \
Best guess: libx264 medium at CRF 24, forecast VMAF 94.00'
        """
        if self.made:
            return f"{choice}: VMAF >= {self.target:g} with confidence {self.confidence:g}"
        first = self.reasons[0]
        if self.encodable and self.own_encodes:
            return (
                f"{choice}: VMAF {self.mu:.2f} by a curve through {encodes_words(self.own_encodes)}, "
                "nothing promised: outside the calibration"
            )
        if self.encodable:
            return f"{choice}: VMAF {self.mu:.2f} forecast, not promised ({first.words})"
        named = "Nearest" if first.code == "out_of_reach" else "Best guess"
        return f"no promise: {first.words}. {named}: {choice}, forecast VMAF {self.mu:.2f}"

    def as_json(self) -> dict[str, Any]:
        """The `promise` object of docs/json-output.md."""
        return {
            "made": self.made,
            "supported": self.supported,
            "reachable": self.reachable,
            "calibrated_target": self.calibrated_target,
            "calibrated_kind": self.calibrated_kind,
            "confidence": self.confidence,
            "own_encodes": self.own_encodes,
            "reasons": [{"code": reason.code, "words": reason.words} for reason in self.reasons],
        }


def encodes_words(number: int) -> str:
    """Own encodes, counted.

    >>> encodes_words(1), encodes_words(3)
    ('one encode of its own', '3 encodes of its own')
    """
    return "one encode of its own" if number == 1 else f"{number} encodes of its own"


@dataclass(frozen=True, slots=True)
class PromisedChoice(Choice):
    """A choice, and the promise that stands behind it."""

    promise: Promise


def promise_of(
    choice: Choice,
    margin: Margin,
    *,
    target: float,
    confidence: float,
    unsupported_reason: str,
    uncalibrated_options: str = "",
    uncalibrated_reference: str = "",
    uncalibrated_tools: str = "",
    uncalibrated_pictures: tuple[NoPromise, ...] = (),
    own_encodes: int = 0,
) -> Promise:
    """The promise that stands behind a choice.

    Args:
      choice: made with `margin`.
      margin: from `nearest_margin`, perhaps of a lower target.
      target: pooled score asked for, points.
      confidence: asked for, in (0, 1).
      unsupported_reason: what is unlike the training data; empty if nothing is.
      uncalibrated_options: encoder options beyond the calibrated ones.
      uncalibrated_reference: why the comparison is not as calibrated.
      uncalibrated_tools: what of ffmpeg, libvmaf and encoder is not as calibrated.
      uncalibrated_pictures: what of the pictures no calibration source had.
      own_encodes: encodes that a curve of the encoder's own goes through; 0 for a forecast.
    """
    return Promise(
        target=target,
        confidence=confidence,
        mu=choice.mu,
        lower_bound=choice.lower_bound,
        supported=not unsupported_reason,
        unsupported_reason=unsupported_reason,
        reachable=choice.reachable,
        calibrated_target=margin.target == target,
        uncalibrated_options=uncalibrated_options,
        uncalibrated_reference=uncalibrated_reference,
        uncalibrated_tools=uncalibrated_tools,
        uncalibrated_pictures=uncalibrated_pictures,
        own_encodes=own_encodes,
    )


def promised(
    choice: Choice, margin: Margin, *, target: float, confidence: float, why_not: str, tools: str
) -> PromisedChoice:
    """A choice with its promise, for an encode without options; arguments as of `promise_of`."""
    promise = promise_of(
        choice,
        margin,
        target=target,
        confidence=confidence,
        unsupported_reason=why_not,
        uncalibrated_tools=tools,
    )
    return PromisedChoice(choice.rate_value, choice.mu, choice.lower_bound, choice.reachable, promise)
