"""From a corpus to training rows: what each task's model reads, and what it is asked to say."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Pooled rows: canonical-6 of the probes of a source, and the pooled VMAF of each of its other encodes.

    Raises:
      CorpusError: a source has no encode with the probes' settings, or there is nothing to ask about.
    """
    pooled = pooled_cells(corpus)
    by_source = probe_features(pooled, probes)
    wanted = {cell.key for cell in _asked_cells(corpus)}
    rows = pooled.filter(pl.col("cell").is_in(wanted)).sort("cell")
    missing = sorted(set(rows["source"]) - set(by_source))
    if missing:
        named = " and ".join(f"{p.encoder} {p.preset} {p.rate_value:g}" for p in probes)
        raise CorpusError(
            f"{missing[0]} and {len(missing) - 1} more sources lack the probe encodes {named}",
            next_step="add them to `assay corpus build`",
        )
    rows = rows.with_columns(frame_index=pl.lit(-1, dtype=pl.Int32))
    features = np.stack([by_source[source] for source in rows["source"]]).astype(np.float32)
    return _rows(rows, features, forecast_feature_names(len(probes)), 3)


def forecast_feature_names(n_probes: int) -> tuple[str, ...]:
    """Columns of the forecast's features: `probe0.adm2`, ..., `probe1.motion2`."""
    return tuple(f"probe{index}.{name}" for index in range(n_probes) for name in CANONICAL6)


def pooled_cells(corpus: Corpus) -> pl.DataFrame:
    """One row a cell: identity columns, and means over frames of VMAF and canonical-6 in float64."""
    identity = ["source", "group", "encoder", "preset", "rate_value"]
    return corpus.frames.group_by("cell", *identity, maintain_order=True).agg(
        pl.col("vmaf", *CANONICAL6).cast(pl.Float64).mean()
    )


def probe_features(pooled: pl.DataFrame, probes: Sequence[ProbeSpec]) -> dict[str, NDArray[np.float64]]:
    """Features [K] of each source that has all probes."""
    found: list[dict[str, NDArray[np.float64]]] = []
    for probe in probes:
        part = pooled.filter(
            (pl.col("encoder") == probe.encoder)
            & (pl.col("preset") == probe.preset)
            & (pl.col("rate_value") == probe.rate_value)
        )
        values = part.select(CANONICAL6).to_numpy()
        found.append(dict(zip(part["source"], values, strict=True)))
    sources = set(found[0]).intersection(*found[1:])
    return {source: np.concatenate([part[source] for part in found]) for source in sources}


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
        vocab_version=version,
        rate_value=rate_value,
        frame_index=rows["frame_index"].to_numpy(),
        **columns,
    )
