"""Score encodes that exist: measured by libvmaf, or predicted from their features, with bounds."""

from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.api.pages import write_page
from vmaf_assay.api.paths import PathLike
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoder_names import check_named, read_encoder
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.records import CANONICAL6, OnStep
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.pairs import PairRequest, PairScore
from vmaf_assay.tune.pairs import score_files as _score
from vmaf_assay.tune.predict import Scores, read_table, score_features
from vmaf_assay.tune.progress import JobClock, OnLeft
from vmaf_assay.tune.request import check_probability


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What made an encode."""

    encoder: str
    """`NAME` or `NAME:PRESET`: ffmpeg's name, or a common one such as `x264`."""
    rate_value: float
    """Its CRF, CQ or QP."""
    preset: str | None = None
    """Its preset; None means the encoder's default, or the one that `encoder` names."""

    def resolved(self, ensemble: VerifiedEnsemble) -> "MadeBy":
        """With ffmpeg's name of the encoder, and its preset; raises ConfigError for what is invalid."""
        name, preset, rates = read_encoder(self.encoder)
        check_named(name, sorted({seen.encoder for seen in ensemble.ensemble.sidecar.seen.encoders}))
        if rates:
            raise ConfigError(f"-e {self.encoder} names a rate value", next_step=f"write --rate-value {rates}")
        if preset and self.preset not in (None, preset):
            raise ConfigError(
                f"-e {self.encoder} and --preset {self.preset} name two presets", next_step="leave one out"
            )
        info = encoder_info(name)
        return MadeBy(
            name, info.check_rate(self.rate_value), info.check_preset(preset or self.preset or info.default_preset)
        )


def score_files(
    reference: PathLike,
    distorted: PathLike,
    *,
    filters: str = "",
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
) -> PairScore:
    """VMAF of each frame of an encode against its source; needs no model and no encoder.

    Args:
      reference: the source.
      distorted: its encode.
      filters: ffmpeg filter chain that the reference goes through first, such as a crop.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: called with frames done.

    Raises:
      MediaError: a file cannot be used, the frames do not match, or the pictures have unlike shapes.
      ToolError: ffmpeg failed.
    """
    request = PairRequest(Path(reference), Path(distorted), filters)
    return _score(ffmpeg or find_ffmpeg(), request, on_step=on_step)[0]


def predict_pair(
    request: PairRequest,
    *,
    made_by: MadeBy | None = None,
    ensemble: VerifiedEnsemble | None = None,
    confidence: float = 0.95,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
    on_left: OnLeft | None = None,
    page: PathLike | None = None,
) -> tuple[PairScore, Scores | None]:
    """Measure a pair and, if it is known what made the encode, predict it too; what `assay predict` does.

    Args:
      request: the two files.
      made_by: what made the encode; None: the measured score alone.
      ensemble: the regressor; wanted with `made_by`.
      confidence: of each bound, in (0, 1).
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: called with what is being done, frames done, frames in all.
      on_left: called with the seconds that the whole job still takes.
      page: HTML file to write about the measurement.

    Raises:
      ConfigError: what made it is invalid, or the confidence is.
      MediaError: a file cannot be used, the frames do not match, or the pictures have unlike shapes.
    """
    check_probability(confidence, "--confidence")
    if made_by is not None:
        if ensemble is None:
            raise ConfigError("a prediction needs an ensemble", next_step="give one from load_ensemble")
        made_by = made_by.resolved(ensemble)
    clock, tool = JobClock(on_step, on_left, page=page is not None), ffmpeg or find_ffmpeg()
    measured, features = _score(tool, request, clock=clock)
    scores = None
    if made_by is not None and ensemble is not None:
        scores = score_features(
            ensemble,
            features[None, :],
            [made_by.encoder],
            [made_by.preset or ""],
            [made_by.rate_value],
            confidence=confidence,
        )
    if page is not None:
        write_page(measured, page, ffmpeg=tool, on_step=clock.step)
    return measured, scores


def predict_table(table: PathLike, ensemble: VerifiedEnsemble, *, confidence: float = 0.95) -> Scores:
    """Predict VMAF of each row of a table of canonical-6, encoder, preset and rate value.

    Args:
      table: Parquet, CSV or JSON lines.
      ensemble: the regressor, from `load_ensemble("fr_regressor_v2_ensemble_v1")`.
      confidence: of each bound, in (0, 1).

    Raises:
      CorpusError: the table is missing, unreadable, without a column, or holds NaN.
      ConfigError: the ensemble does not score encodes, or cannot support the confidence.
    """
    check_probability(confidence, "--confidence")
    rows = read_table(Path(table))
    return score_features(
        ensemble,
        rows.select(CANONICAL6).to_numpy(),
        rows["encoder"].to_list(),
        rows["preset"].to_list(),
        rows["rate_value"].to_list(),
        confidence=confidence,
    )
