"""From a corpus to training rows: the features and targets of each task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.corpus.store import Corpus
from vmaf_assay.errors import CorpusError
from vmaf_assay.model.codec_block import VocabVersion, codec_rows, vocabulary_for
from vmaf_assay.model.features import (
    F32,
    ProbeRows,
    default_probes,
    forecast_feature_names,
    source_features,
)
from vmaf_assay.model.sidecar import ProbeSpec, probes_known, probes_read
from vmaf_assay.records import (
    CANONICAL6,
    FRAME_VMAF,
    HIGH_FRAME_RATE,
    MEAN_VMAF,
    V1_FEATURES,
    VALUES,
    CellRecord,
    Measurand,
    Pooling,
    is_v1,
    scoring_model,
)


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """N rows of one task, all columns in the same order."""

    features: F32
    """Raw features, [N, K]."""
    codec: F32
    """Codec block of the encode asked about, [N, D]."""
    target: F32
    """VMAF, points, [N]: of one frame, or pooled (mean) over the encode."""
    feature_names: tuple[str, ...]
    """Names of the K feature columns."""
    prior_scale: F32
    """How far one standard deviation of a feature moves the model's input, [K]; 1, or less for weak features."""
    vocab_version: VocabVersion
    """Of the codec block."""
    cell: tuple[str, ...]
    """Key of the cell each row is about, [N]."""
    group: tuple[str, ...]
    """What must not be split, [N]."""
    source: tuple[str, ...]
    """Source, [N]."""
    encoder: tuple[str, ...]
    """Encoder asked about, [N]."""
    preset: tuple[str, ...]
    """Its preset, [N]."""
    rate_value: NDArray[np.float64]
    """Its rate value, [N]."""
    frame_index: NDArray[np.int32]
    """Frame, or -1 for a pooled row, [N]."""


def regressor_rows(
    corpus: Corpus, *, frames_per_cell: int, vocabulary: VocabVersion | None = None
) -> TrainingRows:
    """Per-frame rows of every encode that spans a rate range, at most `frames_per_cell` of each.

    Frames are the middles of `frames_per_cell` equal parts of the encode, so no seed is needed.

    Raises:
      CorpusError: there is no such encode.
    """
    wanted = _asked_cells(corpus)
    n_frames = {cell.key: cell.n_frames for cell in wanted}
    chosen = pl.DataFrame(
        [(key, index) for key, count in n_frames.items() for index in _spread(count, frames_per_cell)],
        schema={"cell": pl.String, "frame_index": pl.Int32},
        orient="row",
    )
    rows = corpus.frames.join(chosen, on=["cell", "frame_index"], how="inner").sort("cell", "frame_index")
    return _rows(rows, rows.select(CANONICAL6).to_numpy().astype(np.float32), CANONICAL6, 2, vocabulary)


def _spread(count: int, wanted: int) -> list[int]:
    """Indices of at most `wanted` frames of `count`, the middles of equal parts."""
    wanted = min(count, wanted)
    return sorted({int((i + 0.5) * count / wanted) for i in range(wanted)})


def probes_of(corpus: Corpus, measurand: Measurand = MEAN_VMAF) -> tuple[ProbeSpec, ...]:
    """The probes that serve forecasts of a corpus's encoders, in the order of `DEFAULT_PROBES`.

    These are the probes that forecasts read, and further ones that every source with such a curve has.

    Raises:
      CorpusError: there is nothing to ask about.
    """
    depth = measurand.bit_depth
    asked, probes = _asked_cells(corpus, depth), default_probes(depth)
    read = {index for encoder in {cell.encoder for cell in asked} for index in probes_read(probes, encoder)}
    sources: dict[tuple[str, str], set[str]] = {}
    for cell in asked:
        sources.setdefault((cell.encoder, cell.preset), set()).add(cell.source)
    having = {(cell.source, cell.encoder, cell.preset, cell.rate_value) for cell in asked}
    known = {
        index
        for (encoder, preset), names in sources.items()
        for index in probes_known(probes, encoder, preset, more=True, bit_depth=depth)
        if all((name, encoder, preset, probes[index].rate_value) in having for name in names)
    }
    return tuple(probes[index] for index in sorted(read | known))


def forecast_targets(corpus: Corpus, measurand: Measurand = MEAN_VMAF) -> pl.DataFrame:
    """Targets of a forecast: the pooled score of every encode that is not only a probe, sorted by cell.

    Args:
      corpus: the corpus.
      measurand: what the score is of. VMAF v1 of a source of 50 frames a second or more is that of its own model.

    Returns:
      Columns cell, source, group, encoder, preset, rate_value, vmaf (the score) and frame_index (-1).

    Raises:
      CorpusError: there is nothing to ask about.
    """
    wanted = {cell.key for cell in _asked_cells(corpus, measurand.bit_depth) if cell.n_frames >= MIN_FRAMES}
    identity = ("cell", "source", "group", "encoder", "preset", "rate_value")
    rows = (
        corpus.frames.filter(pl.col("cell").is_in(wanted))
        .with_columns(score=_score(corpus, measurand))
        .filter(pl.col("score").is_not_nan() & pl.col("score").is_not_null())
        .group_by(identity)
        .agg(vmaf=_pooled(measurand.pooling))
        .sort("cell")
    )
    if rows.height == 0:
        raise CorpusError(
            f"no source has two frames or more that are scored by {measurand.model}",
            next_step="build with a larger --max-frames",
        )
    return rows.with_columns(frame_index=pl.lit(-1, dtype=pl.Int32))


def _score(corpus: Corpus, measurand: Measurand) -> pl.Expr:
    """Per-frame score of a measurand's model, or of its model for high frame rates where the cell has that one."""
    models = dict.fromkeys([measurand.model, scoring_model(measurand.model, HIGH_FRAME_RATE)])
    if measurand.model == MEAN_VMAF.model:
        return pl.col("vmaf").cast(pl.Float64)
    columns = [pl.col(model).cast(pl.Float64).fill_nan(None) for model in models if model in corpus.frames.columns]
    if not columns:
        raise CorpusError(f"this corpus has no scores of {measurand.model}", next_step="build it again")
    return pl.coalesce(columns)


def _pooled(pooling: Pooling) -> pl.Expr:
    """The column `score` of an encode's frames as one number, as `records.pooled` makes it."""
    score = pl.col("score").sort_by("frame_index")
    if pooling == "harmonic":
        return score.len() / (1 / (score + 1)).sum() - 1
    if pooling in ("p5", "p1"):
        return score.quantile({"p5": 0.05, "p1": 0.01}[pooling], interpolation="linear")
    return score.mean()


def forecast_rows(
    corpus: Corpus,
    probes: Sequence[ProbeSpec] | None = None,
    *,
    vocabulary: VocabVersion | None = None,
    measurand: Measurand = MEAN_VMAF,
) -> TrainingRows:
    """Pooled rows: features of the probes of a source, and the pooled score of each of its other encodes.

    Probes are scored by the measurand's model too: with v0.6.1's scores a forecast of v1 errs 1.4 times as much.
    Sources of one frame are left out: `tune` refuses them, and a single key frame is coded unlike any clip.

    Raises:
      CorpusError: a source lacks a probe that is read, sizes are unknown (an imported corpus), or there is no
        curve.
    """
    probes = default_probes(measurand.bit_depth) if probes is None else probes
    measured, rows = _probe_encodes(corpus, probes, measurand), forecast_targets(corpus, measurand)
    asked = list(zip(rows["source"], rows["encoder"], strict=True))
    read = {encoder: probes_read(probes, encoder) for encoder in set(rows["encoder"])}
    lacking = sorted(
        {(source, i) for source, encoder in asked for i in read[encoder] if (source, i) not in measured}
    )
    if lacking:
        source, probe = lacking[0][0], probes[lacking[0][1]]
        more = len({name for name, _ in lacking}) - 1
        raise CorpusError(
            f"{source} and {more} more sources lack the probe encode "
            f"{probe.encoder}:{probe.preset}:{probe.rate_value:g}",
            next_step="add it to `assay corpus build` with -e",
        )
    names = forecast_feature_names(measurand.model)
    features = []
    for source, encoder in asked:
        found = [measured[source, i] for i in read[encoder]]
        rows_of_probes = [one.rows for one in found]
        features.append(source_features(rows_of_probes, found[0].pixels, found[0].frame_rate, names, encoder))
    return _rows(rows, np.stack(features).astype(np.float32), names, 3, vocabulary)


MIN_FRAMES = 2
"""Fewest frames of a source that a forecast is trained on and asked about."""


SECONDARY_SCALE = 0.1
"""Prior scale of everything but the means over frames. The rest adds information (mean held-out error of libx265
1.11 -> 0.90 points with 36 groups). But at full scale a network memorises groups from it (libx264 0.66 -> 1.02). A
tenth is better than a fifth for each of 35 groups left out (docs/forecast.md).
"""


def _prior_scale(names: Sequence[str]) -> F32:
    primary = {f"{probe}.{name}" for probe in ("probe0", "own") for name in VALUES} | set(CANONICAL6)
    return np.array([1.0 if name in primary else SECONDARY_SCALE for name in names], dtype=np.float32)


class _ProbeEncode(NamedTuple):
    """A probe encode in a corpus."""

    rows: ProbeRows
    """Its frames."""
    pixels: int
    """Width x height, px."""
    frame_rate: float
    """Frames per second."""


def _probe_encodes(
    corpus: Corpus, probes: Sequence[ProbeSpec], measurand: Measurand
) -> dict[tuple[str, int], _ProbeEncode]:
    """Probe encodes by source and index of the probe."""
    index_of = {
        (probe.encoder, probe.preset, probe.rate_value, str(replace(FRAME_VMAF, bit_depth=probe.bit_depth))): i
        for i, probe in enumerate(probes)
    }
    cells: dict[tuple[str, int], CellRecord] = {}
    for cell in corpus.cells:
        index = index_of.get((cell.encoder, cell.preset, cell.rate_value, cell.measurand))
        if index is not None:
            cells[cell.source, index] = cell
    keys = [cell.key for cell in cells.values()]
    further = [name for name in V1_FEATURES if is_v1(measurand.model)]
    parts = {
        str(key[0]): part.sort("frame_index").select(*VALUES, *further).to_numpy().astype(np.float32)
        for key, part in corpus.frames.filter(pl.col("cell").is_in(keys))
        .with_columns(vmaf=_score(corpus, measurand))
        .group_by("cell")
    }
    found = {}
    for (source, index), cell in cells.items():
        if cell.bytes <= 0 or cell.width <= 0:
            raise CorpusError(
                f"{source}: sizes are unknown, a forecast needs them",
                next_step="build the corpus instead of importing it",
            )
        values = parts[cell.key]
        more = dict(zip(further, values[:, len(VALUES) :].T, strict=True))
        rows = ProbeRows(probes[index], values[:, : len(VALUES)], cell.bytes, more)
        found[source, index] = _ProbeEncode(rows, cell.width * cell.height, float(Fraction(cell.frame_rate)))
    return found


def _asked_cells(corpus: Corpus, bit_depth: int = 8) -> list[CellRecord]:
    """Cells of a depth, of encoders and presets with two rate values or more; with one it is only a probe."""
    of_depth = str(replace(FRAME_VMAF, bit_depth=bit_depth))
    cells = [cell for cell in corpus.cells if cell.measurand == of_depth]
    rates: dict[tuple[str, str], set[float]] = {}
    for cell in cells:
        rates.setdefault((cell.encoder, cell.preset), set()).add(cell.rate_value)
    wanted = [cell for cell in cells if len(rates[cell.encoder, cell.preset]) > 1]
    if not wanted:
        raise CorpusError("no encoder has two rate values or more", next_step="build with more --rates")
    return wanted


def _rows(
    rows: pl.DataFrame, features: F32, names: tuple[str, ...], least: VocabVersion, given: VocabVersion | None
) -> TrainingRows:
    """Rows in the first vocabulary from `least` on that knows their encoders, or in the one given."""
    columns = {name: tuple(rows[name]) for name in ("cell", "group", "source", "encoder", "preset")}
    rate_value = rows["rate_value"].to_numpy()
    version = given or vocabulary_for(set(columns["encoder"]), least)
    presets, rates = columns["preset"], rate_value.tolist()
    codec = codec_rows(columns["encoder"], presets, rates, version=version, unknown=given is not None)
    return TrainingRows(
        features=features,
        codec=codec,
        target=rows["vmaf"].to_numpy().astype(np.float32),
        feature_names=names,
        prior_scale=_prior_scale(names),
        vocab_version=version,
        rate_value=rate_value,
        frame_index=rows["frame_index"].to_numpy(),
        **columns,
    )
