"""The answer of `tune --by-scene`, and its JSON form (docs/json-output.md)."""

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from vmaf_assay.records import MEAN_VMAF
from vmaf_assay.scenes.control import TOLERANCE
from vmaf_assay.tune.result import rate_words


@dataclass(frozen=True, slots=True)
class SceneRow:
    """One scene of the title."""

    first_frame: int
    """Counted from 0."""
    n_frames: int
    """How many."""
    parts: int
    """Parts that it was encoded in; more than one only if it is long."""
    rate_value: float
    """On the encoder's own scale."""
    score: float
    """Mean VMAF of its frames as delivered, points."""
    forecast_score: float
    """What the forecast said of this rate value before anything was encoded, points."""
    n_bytes: int
    """Size of its packets."""
    encodes: int
    """Times it was encoded, for this output; 1 is usual."""


@dataclass(frozen=True, slots=True)
class SceneResult:
    """The answer; `as_json` is the documented form."""

    source: str
    """Path as given."""
    encoder: str
    """As ffmpeg names it."""
    preset: str
    """As ffmpeg names it."""
    goal: str
    """`mean` or `floor`."""
    target_vmaf: float
    """Points asked for."""
    floor_vmaf: float
    """Points below which no scene may be."""
    max_step: float | None
    """Most points allowed between neighbouring scenes; None for no limit."""
    output: str
    """The file written."""
    measured_vmaf: float
    """Mean VMAF over every frame delivered, points."""
    kbps: float
    """Bitrate of the output's video."""
    output_bytes: int
    """Size of the whole file."""
    scenes: list[SceneRow]
    """In the order of time."""
    forecast_vmaf: float
    """Mean VMAF that was forecast before the first scene was encoded, points."""
    forecast_bytes: float
    """Size of the video that was forecast then."""
    encodes_spent: int
    """Parts encoded by this run."""
    encodes_cached: int
    """Parts that an earlier run had encoded."""
    repairs: int
    """Scenes encoded again because they, or the title, fell short."""
    encodes_per_scene: float
    """Frames encoded over frames delivered; 1 if no scene was encoded twice."""
    frame_vmaf: list[float]
    """Per-frame VMAF of the output, points."""
    width: int
    """Of the picture encoded, px."""
    height: int
    """Of the picture encoded, px."""
    frame_rate: str
    """Frames per second, rational."""
    n_frames: int
    """Frames encoded."""
    reasons: list[str]
    """What there is to say of the answer, in words."""
    one_rate_value: float | None = None
    """The rate value for all scenes that would have given this mean, by what was measured; None if none would."""
    one_rate_bytes: float | None = None
    """What it would have cost, computed from what was measured."""
    verified_vmaf: float | None = None
    """Mean VMAF of the joined file, measured from scratch; None without `--verify`."""
    vmaf_model: str = MEAN_VMAF.model
    """libvmaf's model that all scores are of."""
    bit_depth: int = MEAN_VMAF.bit_depth
    """Bits a sample of the encode."""
    losses: list[str] = field(default_factory=list)
    """Parts of the source that the output lacks, or holds in another form."""
    encoder_args: list[str] = field(default_factory=list)
    """Options added with `--encoder-args`."""
    filters: str = ""
    """Filter chain applied first."""
    reference: str = "filtered"
    """What VMAF compares with: `filtered` or `source`."""

    def as_json(self) -> dict[str, Any]:
        """The document of docs/json-output.md."""
        said = {
            "met": self.met,
            "mean_met": self.mean_met,
            "within_tolerance": self.within_tolerance,
            "scenes_below": self.scenes_below,
            "largest_step": self.largest_step,
            "answer": self.answer(),
        }
        return asdict(self) | said

    @property
    def mean_met(self) -> bool:
        """Whether the mean over frames is at the target or above."""
        return self.measured_vmaf >= self.target_vmaf

    @property
    def within_tolerance(self) -> bool:
        """Whether the mean over frames is at the target and less than 0.10 points above it."""
        return self.mean_met and self.measured_vmaf <= self.target_vmaf + TOLERANCE

    @property
    def scenes_below(self) -> int:
        """Scenes that are below `floor_vmaf`."""
        return sum(row.score < self.floor_vmaf for row in self.scenes)

    @property
    def largest_step(self) -> float:
        """Largest difference between neighbouring scenes, points."""
        scores = [row.score for row in self.scenes]
        return max((abs(a - b) for a, b in pairwise(scores)), default=0.0)

    @property
    def met(self) -> bool:
        """Whether the answer is yes: the goal is met and no scene is below the floor."""
        return self.scenes_below == 0 and (self.goal == "floor" or self.mean_met)

    def answer(self) -> str:
        """The sentence that answers the question, the same on every page and in every document."""
        rates = [row.rate_value for row in self.scenes]
        low, high = min(rates), max(rates)
        encode = rate_words(self.encoder, self.preset, low) + ("" if low == high else f" to {high:g}")
        what = f"mean {self.measured_vmaf:.2f}"
        if self.goal == "floor":
            what += f", lowest scene {min(row.score for row in self.scenes):.2f}"
        verdict = "met" if self.met else "MISSED"
        below = f", {self.scenes_below} of {len(self.scenes)} scenes below {self.floor_vmaf:g}"
        return (
            f"{encode}, {len(self.scenes)} scenes: measured on every frame: {what}, target {self.target_vmaf:g} "
            f"{verdict}{below if self.scenes_below else ''}"
        )
