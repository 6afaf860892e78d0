"""Score existing encodes: measured by libvmaf, or predicted from their features, with bounds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from vmaf_assay.api.ensembles import REGRESSOR_ENSEMBLE, load_ensemble
from vmaf_assay.api.pages import write_page
from vmaf_assay.api.paths import PathLike
from vmaf_assay.api.settings import Run, Settings
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import check_named, encoder_info, read_encoder
from vmaf_assay.media.files import check_page
from vmaf_assay.records import CANONICAL6
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.pairs import PairRequest, PairScore
from vmaf_assay.tune.pairs import score_files as _score
from vmaf_assay.tune.predict import Scores, read_table, score_features
from vmaf_assay.tune.request import check_probability


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Encoder, preset and rate value of an encode."""

    encoder: str
    """`NAME` or `NAME:PRESET`: ffmpeg's name, or a common one such as `x264`."""
    rate_value: float
    """Its CRF, CQ or QP."""
    preset: str | None = None
    """Its preset; None means the encoder's default, or the one that `encoder` names."""

    def resolved(self, ensemble: VerifiedEnsemble) -> "MadeBy":
        """The same with ffmpeg's name of the encoder, and its preset; raises ConfigError if invalid."""
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
    reference: PathLike, distorted: PathLike, *, filters: str = "", **settings: Unpack[Settings]
) -> PairScore:
    """VMAF of each frame of an encode against its source; needs no model and no encoder.

    Args:
      reference: the source.
      distorted: its encode.
      filters: ffmpeg filter chain for the reference, such as a crop.
      settings: what it runs with.

    Raises:
      MediaError: a file cannot be used, the frames do not match, or the pictures have unlike shapes.
      ToolError: ffmpeg failed.
    """
    return predict_pair(PairRequest(Path(reference), Path(distorted), filters), **settings)[0]


def predict_pair(
    request: PairRequest,
    *,
    made_by: MadeBy | None = None,
    confidence: float = 0.95,
    page: PathLike | None = None,
    **settings: Unpack[Settings],
) -> tuple[PairScore, Scores | None]:
    """Measure a pair and, if its encoder is given, predict it too; what `assay predict` does.

    Args:
      request: the two files.
      made_by: encoder and rate value, if the `ensemble` of `settings`, a regressor, is to predict it.
      confidence: of each bound, in (0, 1).
      page: HTML file to write about the measurement.
      settings: what it runs with.

    Raises:
      ConfigError: an invalid `made_by` or confidence.
      MediaError: a file cannot be used, the frames do not match, or the pictures have unlike shapes.
    """
    check_probability(confidence, "--confidence")
    check_page(page)
    run, ensemble = Run(settings), settings.get("ensemble")
    if made_by is not None and ensemble is None:
        ensemble = load_ensemble(REGRESSOR_ENSEMBLE)
    asked = None if made_by is None or ensemble is None else made_by.resolved(ensemble)
    clock, tool = run.clock(page=page is not None), run.ffmpeg
    measured, features = _score(tool, request, clock=clock)
    scores = None
    if asked is not None and ensemble is not None:
        row = ([asked.encoder], [asked.preset or ""], [asked.rate_value])
        scores = score_features(ensemble, features[None, :], *row, confidence=confidence)
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
