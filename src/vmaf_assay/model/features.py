"""From a corpus to training rows: what each task's model reads, and what it is asked to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.corpus.store import Corpus
from vmaf_assay.errors import CorpusError
from vmaf_assay.model.codec_block import VocabVersion, codec_rows
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.records import CANONICAL6, CellRecord

F32 = NDArray[np.float32]

DEFAULT_PROBES = (
    ProbeSpec(encoder="libx264", preset="medium", rate_value=30),
    ProbeSpec(encoder="libsvtav1", preset="12", rate_value=42),
)
"""Two cheap encodes, one of each codec family: see docs/adr/0321-forecast-ensemble.md."""


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
    """How far one standard deviation of a feature moves the model's input, [K]; 1 unless less is to be expected of
    it."""
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


def regressor_rows(corpus: Corpus, *, frames_per_cell: int) -> TrainingRows:
    """Per-frame rows of every encode that spans a rate range, at most `frames_per_cell` of each.

    Frames are the middles of `frames_per_cell` equal parts of the encode, so that the choice needs no seed.

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
    return _rows(rows, rows.select(CANONICAL6).to_numpy().astype(np.float32), CANONICAL6, 2)


def _spread(count: int, wanted: int) -> list[int]:
    """Indices of at most `wanted` frames of `count`, the middles of equal parts."""
    wanted = min(count, wanted)
    return sorted({int((i + 0.5) * count / wanted) for i in range(wanted)})


def forecast_rows(corpus: Corpus, probes: Sequence[ProbeSpec] = DEFAULT_PROBES) -> TrainingRows:
    """Pooled rows: features of the probes of a source, and the pooled VMAF of each of its other encodes.

    Raises:
      CorpusError: a source has no encode with the probes' settings, sizes are unknown (an imported corpus), or
        there is nothing to ask about.
    """
    by_source = _features_by_source(corpus, probes)
    wanted = {cell.key for cell in _asked_cells(corpus)}
    pooled = corpus.frames.group_by("cell", "source", "group", "encoder", "preset", "rate_value").agg(
        pl.col("vmaf").cast(pl.Float64).sort_by("frame_index").mean()
    )
    rows = pooled.filter(pl.col("cell").is_in(wanted)).sort("cell")
    missing = sorted(set(rows["source"]) - set(by_source))
    if missing:
        named = " and ".join(f"{p.encoder}:{p.preset}:{p.rate_value:g}" for p in probes)
        raise CorpusError(
            f"{missing[0]} and {len(missing) - 1} more sources lack the probe encodes {named}",
            next_step="add them to `assay corpus build` with -e",
        )
    rows = rows.with_columns(frame_index=pl.lit(-1, dtype=pl.Int32))
    features = np.stack([by_source[source] for source in rows["source"]]).astype(np.float32)
    return _rows(rows, features, forecast_feature_names(len(probes)), 3)


def forecast_feature_names(n_probes: int) -> tuple[str, ...]:
    """Columns of a source's features, as `source_features` fills them.

    >>> forecast_feature_names(1)[0], forecast_feature_names(1)[6:8], len(forecast_feature_names(2))
    ('probe0.adm2', ('probe0.log2_bits_per_pixel', 'log2_pixels'), 28)
    """
    means = [f"probe{index}.{name}" for index in range(n_probes) for name in CANONICAL6]
    bits = [f"probe{index}.log2_bits_per_pixel" for index in range(n_probes)]
    spreads = [f"probe{index}.{name}_std" for index in range(n_probes) for name in CANONICAL6]
    return (*means, *bits, "log2_pixels", "log2_frame_rate", *spreads)


def source_features(
    frames: Sequence[F32], n_bytes: Sequence[int], pixels: int, frame_rate: float
) -> NDArray[np.float64]:
    """What a forecast reads of a source, [K]; the one place that training and tuning share.

    Args:
      frames: per-frame canonical-6 of each probe, [F, 6].
      n_bytes: size of each probe's encode.
      pixels: width x height of the picture encoded, px.
      frame_rate: frames per second.

    Returns:
      Means over frames, log2 of the probes' bits per pixel, log2 of pixels and frame rate, then standard
      deviations over frames (ddof 0), as `forecast_feature_names`.
    """
    wide = [rows.astype(np.float64) for rows in frames]
    bits = [np.log2(size * 8 / (len(rows) * pixels)) for size, rows in zip(n_bytes, wide, strict=True)]
    parts = [rows.mean(axis=0) for rows in wide]
    parts += [np.array([*bits, np.log2(pixels), np.log2(frame_rate)])]
    return np.concatenate([*parts, *(rows.std(axis=0) for rows in wide)])


SECONDARY_SCALE = 0.2
"""Prior scale of everything but the mean features. They tell of 36 groups what means do not (mean held-out error
of libx265 1.11 -> 0.90 points), but at full scale a network learns groups by heart from them (libx264
0.66 -> 1.02).
Measured 2026-11-24 on the shipped corpus; 0.1 and 0.3 are within 0.05 points of each other.
"""


def _prior_scale(names: Sequence[str]) -> F32:
    primary = {f"probe{index}.{name}" for index in range(8) for name in CANONICAL6} | set(CANONICAL6)
    return np.array([1.0 if name in primary else SECONDARY_SCALE for name in names], dtype=np.float32)


def _features_by_source(corpus: Corpus, probes: Sequence[ProbeSpec]) -> dict[str, NDArray[np.float64]]:
    """Features [K] of each source that has all probes."""
    cells: dict[str, dict[int, CellRecord]] = {}
    for cell in corpus.cells:
        for index, probe in enumerate(probes):
            if (cell.encoder, cell.preset, cell.rate_value) == (probe.encoder, probe.preset, probe.rate_value):
                cells.setdefault(cell.source, {})[index] = cell
    complete = {source: found for source, found in cells.items() if len(found) == len(probes)}
    keys = {cell.key for found in complete.values() for cell in found.values()}
    parts = {
        str(key[0]): part.sort("frame_index").select(CANONICAL6).to_numpy()
        for key, part in corpus.frames.filter(pl.col("cell").is_in(keys)).group_by("cell")
    }
    features = {}
    for source, found in complete.items():
        ordered = [found[index] for index in range(len(probes))]
        first = ordered[0]
        if min(cell.bytes for cell in ordered) <= 0 or first.width <= 0:
            raise CorpusError(
                f"{source}: sizes are unknown, a forecast needs them", next_step="build the corpus, not import it"
            )
        features[source] = source_features(
            [parts[cell.key] for cell in ordered],
            [cell.bytes for cell in ordered],
            first.width * first.height,
            float(Fraction(first.frame_rate)),
        )
    return features


def _asked_cells(corpus: Corpus) -> list[CellRecord]:
    """Cells of encoders and presets measured at two rate values or more: one alone is only a probe."""
    rates: dict[tuple[str, str], set[float]] = {}
    for cell in corpus.cells:
        rates.setdefault((cell.encoder, cell.preset), set()).add(cell.rate_value)
    wanted = [cell for cell in corpus.cells if len(rates[cell.encoder, cell.preset]) > 1]
    if not wanted:
        raise CorpusError("no encoder has two rate values or more", next_step="build with more --rates")
    return wanted


def _rows(rows: pl.DataFrame, features: F32, names: tuple[str, ...], version: VocabVersion) -> TrainingRows:
    columns = {name: tuple(rows[name]) for name in ("cell", "group", "source", "encoder", "preset")}
    rate_value = rows["rate_value"].to_numpy()
    codec = codec_rows(columns["encoder"], columns["preset"], rate_value.tolist(), version=version)
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
