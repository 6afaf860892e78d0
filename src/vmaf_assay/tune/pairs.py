"""Measure two files that exist: VMAF of each frame, after checking that they are one picture."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_text
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.reference import admit
from vmaf_assay.media.score import score_pair
from vmaf_assay.records import OnStep
from vmaf_assay.tune.aspect import check_shapes
from vmaf_assay.tune.final import frame_calls, video_bytes
from vmaf_assay.tune.progress import SCORE_COST, JobClock, Stage
from vmaf_assay.tune.source import open_source


@dataclass(frozen=True, slots=True)
class PairRequest:
    """Two files to compare."""

    reference: Path
    """The source."""
    distorted: Path
    """Its encode."""
    filters: str = ""
    """ffmpeg filter chain that the reference goes through first."""
    stream: int | None = None
    """Index of the reference's video stream; None takes the first that is no still picture."""


@dataclass(frozen=True, slots=True)
class PairScore:
    """What two files measure against each other."""

    reference: str
    """The source."""
    distorted: str
    """Its encode."""
    filters: str
    """What the reference went through first (`--vf`)."""
    measured_vmaf: float
    """Mean VMAF over all frames."""
    min_vmaf: float
    """VMAF of the worst frame."""
    percentile_5_vmaf: float
    """5th percentile over frames."""
    n_frames: int
    """Frames compared."""
    frame_rate: str
    """Rational, as `30000/1001`."""
    width: int
    """Of the picture compared, px."""
    height: int
    """Of the picture compared, px."""
    distorted_kbps: float
    """Bitrate of the encode's video."""
    frame_vmaf: list[float]
    """VMAF of each frame, in order."""

    def as_json(self) -> dict[str, Any]:
        """The `pair` object of docs/json-output.md."""
        return asdict(self)

    def answer(self) -> str:
        """The one sentence that answers the question."""
        return (
            f"{Path(self.distorted).name}: mean VMAF {self.measured_vmaf:.2f} over {self.n_frames} frames against "
            f"{Path(self.reference).name}; worst frame {self.min_vmaf:.2f}, 5th percentile "
            f"{self.percentile_5_vmaf:.2f}, {self.distorted_kbps:.0f} kbps"
        )


def score_files(
    ffmpeg: Ffmpeg, request: PairRequest, *, on_step: OnStep | None = None, clock: JobClock | None = None
) -> tuple[PairScore, NDArray[np.float64]]:
    """Measure a pair, frame n against frame n.

    Args:
      ffmpeg: the ffmpeg to run.
      request: the two files.
      on_step: called with frames done.
      clock: called instead, where the time left is wanted.

    Returns:
      The scores, and the pooled canonical-6 features, [6].

    Raises:
      MediaError: a file cannot be used, the frames do not match, or the pictures have unlike shapes.
      ToolError: ffmpeg failed.
    """
    clock = clock or JobClock(on_step)
    clock.step(f"open {request.reference.name}", 0, 1)
    reference, source = open_source(ffmpeg, request.reference, request.filters, stream=request.stream)
    distorted = probe_video(ffmpeg, request.distorted)
    admit(request.distorted, distorted)
    check_shapes(ffmpeg, reference, source, request.distorted, distorted)
    clock.plan([Stage("measure", reference.n_frames, SCORE_COST, "score")], reference)
    on_frames = frame_calls("measure every frame", reference.n_frames, clock.step)
    on_frames(0)
    scored = score_pair(ffmpeg, reference, request.distorted, on_frames=on_frames)
    assert reference.size is not None  # `open_source` sets it
    rate = reference.frame_rate
    seconds = float(scored.n_frames / rate)
    score = PairScore(
        reference=path_text(request.reference),
        distorted=path_text(request.distorted),
        filters=path_text(request.filters),
        measured_vmaf=scored.pooled_vmaf,
        min_vmaf=float(scored.vmaf.min()),
        percentile_5_vmaf=float(np.percentile(scored.vmaf, 5)),
        n_frames=scored.n_frames,
        frame_rate=f"{rate.numerator}/{rate.denominator}",
        width=reference.size[0],
        height=reference.size[1],
        distorted_kbps=video_bytes(ffmpeg, request.distorted) / 125 / seconds,
        frame_vmaf=[round(float(value), 3) for value in scored.vmaf],
    )
    return score, scored.pooled_features
