"""Score existing encodes with the regressor: a prediction, its spread, and calibrated bounds."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError, CorpusError, IntegrityError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.files import read_plain
from vmaf_assay.media.parquet import POLARS_ERRORS, parse_parquet
from vmaf_assay.model.codec_block import codec_rows
from vmaf_assay.model.sidecar import IntervalCalibration, Sidecar
from vmaf_assay.model.support import unsupported_reason
from vmaf_assay.promise.conformal import check_confidence, hcp_interval
from vmaf_assay.records import CANONICAL6, Measurand

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble


TABLE_COLUMNS = (*CANONICAL6, "encoder", "preset", "rate_value")
"""Columns that a table of features must have."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Predictions for N encodes or frames, VMAF points."""

    mu: NDArray[np.float64]
    """Ensemble mean, [N], within 0 to 100."""
    sigma: NDArray[np.float64]
    """Spread over members, ddof 1, [N]."""
    lower: NDArray[np.float64]
    """One-sided lower prediction bound at the confidence, [N]; NaN if the ensemble may not make promises."""
    upper: NDArray[np.float64]
    """One-sided upper prediction bound at the confidence, [N]; likewise."""
    supported: list[bool]
    """False where the query is outside the training range, [N]."""
    reasons: list[str]
    """Why not; empty where supported, [N]."""

    @property
    def bounded(self) -> bool:
        """Whether there are bounds."""
        return bool(np.isfinite(self.lower).all())


def score_features(
    verified: "VerifiedEnsemble",
    features: NDArray[np.float64],
    encoders: Sequence[str],
    presets: Sequence[str],
    rate_values: Sequence[float],
    *,
    confidence: float,
) -> Scores:
    """Predict per-frame VMAF from canonical-6, [N, 6], with bounds that hold for a row of a new source.

    An ensemble that did not pass the coverage policy answers without bounds.

    Raises:
      ConfigError: the ensemble does not score encodes, or cannot support the confidence.
    """
    if not isinstance(verified.calibration, IntervalCalibration):
        raise ConfigError(f"{verified.verdict.ensemble} does not score encodes", next_step="name a regressor")
    check_confidence(confidence, len(verified.calibration.groups))
    below = above = float("nan")
    if verified.confidence_eligible:
        interval = hcp_interval([np.array(group.residuals) for group in verified.calibration.groups], confidence)
        below, above = interval.lower, interval.upper
    sidecar = verified.ensemble.sidecar
    presets = [_trained_name(sidecar, *one) for one in zip(encoders, presets, strict=True)]
    codec = codec_rows(encoders, presets, rate_values, version=sidecar.encoder_vocab_version, unknown=True)
    answer = verified.ensemble.predict(features.astype(np.float32), codec)
    reasons = [
        unsupported_reason(sidecar, row, encoder, preset, rate) or ""
        for row, encoder, preset, rate in zip(features, encoders, presets, rate_values, strict=True)
    ]
    metric = Measurand.parse(sidecar.answers).metric
    low, high = metric.floor, metric.ceiling
    return Scores(
        mu=np.clip(answer.mu, low, high),
        sigma=answer.sigma,
        lower=np.clip(answer.mu + below, low, high),
        upper=np.clip(answer.mu + above, low, high),
        supported=[not reason for reason in reasons],
        reasons=reasons,
    )


MAX_TABLE_BYTES = 256 * 1024 * 1024
"""Largest table read."""


def _trained_name(sidecar: Sidecar, encoder: str, preset: str) -> str:
    """A preset that the model was trained on and that gives the same bytes; else the preset itself."""
    presets = [seen.preset for seen in sidecar.seen.encoders if seen.encoder == encoder]
    return (ENCODERS[encoder].equal_among(preset, presets) if encoder in ENCODERS else "") or preset


def read_table(path: Path) -> pl.DataFrame:
    """A table of features from Parquet, CSV or JSON lines, checked.

    Raises:
      CorpusError: missing, unreadable, without a column, or holding NaN.
    """
    readers: dict[str, Callable[[bytes], pl.DataFrame]] = {
        ".parquet": lambda data: parse_parquet(data, where=path.name),
        ".csv": lambda data: pl.read_csv(io.BytesIO(data)),
        ".jsonl": lambda data: pl.read_ndjson(io.BytesIO(data)),
        ".ndjson": lambda data: pl.read_ndjson(io.BytesIO(data)),
    }
    if path.suffix not in readers:
        raise CorpusError(f"{path.name}: unknown kind of table", next_step=f"use {', '.join(readers)}")
    if not path.is_file():
        raise CorpusError(f"no such file: {path}", next_step="check the path")
    try:
        table = readers[path.suffix](read_plain(path, max_bytes=MAX_TABLE_BYTES))
        if missing := [name for name in TABLE_COLUMNS if name not in table.columns]:
            raise CorpusError(f"{path.name} has no column {', '.join(missing)}", next_step="add it")
        numbers = table.select(pl.col(*CANONICAL6, "rate_value").cast(pl.Float64))
        texts = table.select(pl.col("encoder", "preset").cast(pl.String))
    except IntegrityError as error:
        raise CorpusError(error.what, next_step="check the table") from error
    except (OSError, *POLARS_ERRORS) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorpusError(f"{path.name} cannot be read: {first}", next_step="check the table") from error
    if table.height == 0:
        raise CorpusError(f"{path.name} holds no rows", next_step="give a table with at least one row")
    # A cast of lists gives lists of floats.
    if set(numbers.dtypes) != {pl.Float64} or set(texts.dtypes) != {pl.String}:
        raise CorpusError(f"{path.name} holds lists instead of numbers or names", next_step="correct it")
    if not np.isfinite(numbers.to_numpy()).all() or texts.null_count().sum_horizontal().sum():
        raise CorpusError(f"{path.name} holds a value that is NaN or missing", next_step="correct it")
    return pl.concat([numbers, texts], how="horizontal")
