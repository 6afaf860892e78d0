"""From a corpus to training rows: what each task's model reads, and what it is asked to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.corpus.store import VALUES, Corpus
from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.model.codec_block import VocabVersion, codec_rows
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.records import CANONICAL6, CellRecord

F32 = NDArray[np.float32]

DEFAULT_PROBES = (
    ProbeSpec(encoder="libx264", preset="medium", rate_value=30),
    ProbeSpec(encoder="libsvtav1", preset="12", rate_value=42),
    ProbeSpec(encoder="libx265", preset="medium", rate_value=30),
    ProbeSpec(encoder="libvpx-vp9", preset="8", rate_value=48),
)
"""Cheap encodes of each codec family: see docs/forecast.md."""

N_COMMON = 2
"""The first so many are read whatever encoder is asked about; a further one only for its own encoder."""


def read_by(probes: Sequence[ProbeSpec], encoder: str) -> list[int]:
    """Indices of the probes that a forecast of an encoder, trained by this release, reads.

    >>> [read_by(DEFAULT_PROBES, name) for name in ("libx264", "libx265", "libvpx-vp9")]
    [[0, 1], [0, 1, 2], [0, 1, 3]]
    """
    return [i for i, probe in enumerate(probes) if i < N_COMMON or probe.encoder == encoder]


class ProbeRows(NamedTuple):
    """A probe encode, measured."""

    spec: ProbeSpec
    """What it is."""
    values: F32
    """Per-frame VMAF and canonical-6, [F, 7]."""
    n_bytes: int
    """Size of its packets."""


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

    Sources of one frame are left out: `tune` refuses them, and a lone key frame is coded unlike any clip.

    Raises:
      CorpusError: a source has no encode with the probes' settings, sizes are unknown (an imported corpus), or
        there is nothing to ask about.
    """
    names = forecast_feature_names(N_COMMON, [probe.encoder for probe in probes[N_COMMON:]])
    by_source = _probed_sources(corpus, probes)
    wanted = {cell.key for cell in _asked_cells(corpus) if cell.n_frames >= MIN_FRAMES}
    pooled = corpus.frames.group_by("cell", "source", "group", "encoder", "preset", "rate_value").agg(
        pl.col("vmaf").cast(pl.Float64).sort_by("frame_index").mean()
    )
    rows = pooled.filter(pl.col("cell").is_in(wanted)).sort("cell")
    if rows.height == 0:
        raise CorpusError("no source has two frames or more", next_step="build with a larger --max-frames")
    missing = sorted(set(rows["source"]) - set(by_source))
    if missing:
        named = " and ".join(f"{p.encoder}:{p.preset}:{p.rate_value:g}" for p in probes)
        raise CorpusError(
            f"{missing[0]} and {len(missing) - 1} more sources lack the probe encodes {named}",
            next_step="add them to `assay corpus build` with -e",
        )
    rows = rows.with_columns(frame_index=pl.lit(-1, dtype=pl.Int32))
    asked = zip(rows["source"], rows["encoder"], strict=True)
    features = [source_features(*by_source[source], names, encoder) for source, encoder in asked]
    return _rows(rows, np.stack(features).astype(np.float32), names, 3)


MIN_FRAMES = 2
"""Fewest frames of a source that a forecast is trained on and asked about."""


def forecast_feature_names(n_common: int = N_COMMON, own: Sequence[str] = ()) -> tuple[str, ...]:
    """Columns of a source's features that a new forecast reads.

    Args:
      n_common: probes that are read whatever encoder is asked about.
      own: encoders with a further probe of their own. Of that, only the gaps to the first probe are read, and only
        if that encoder is asked about: read in full, they spoil the forecasts of the others (docs/forecast.md).

    >>> forecast_feature_names(1)[0], forecast_feature_names(1)[6:8], len(forecast_feature_names(2))
    ('probe0.adm2', ('probe0.vmaf', 'probe0.log2_bits_per_pixel'), 34)
    >>> forecast_feature_names(2, ["libvpx-vp9"])[-1]
    'libvpx-vp9.log2_bits_per_pixel_gap'
    """
    means = [f"probe{index}.{name}" for index in range(n_common) for name in CANONICAL6]
    scores = [f"probe{index}.vmaf" for index in range(n_common)]
    bits = [f"probe{index}.log2_bits_per_pixel" for index in range(n_common)]
    spreads = [f"probe{index}.{name}_std" for index in range(n_common) for name in CANONICAL6]
    tails = [f"probe{index}.vmaf_{what}" for index in range(n_common) for what in ("std", "p10")]
    gaps = [f"{encoder}.{name}_gap" for encoder in own for name in _GAPS]
    return (*means, *scores, *bits, "log2_pixels", "log2_frame_rate", *spreads, *tails, *gaps)


_GAPS = ("vmaf", "vmaf_p10", "log2_bits_per_pixel")


def source_features(
    probes: Sequence[ProbeRows], pixels: int, frame_rate: float, names: Sequence[str], encoder: str
) -> NDArray[np.float64]:
    """What a forecast reads of a source, [K]; the one place that training and tuning share.

    A model names its columns, so that one that reads fewer of them still gets what it was trained on.

    Args:
      probes: the probe encodes that this encoder's forecast reads, in the model's order.
      pixels: width x height of the picture encoded, px.
      frame_rate: frames per second.
      names: the columns wanted: means over frames (`probe0.adm2`), standard deviations (ddof 0, `_std`), the tenth
        percentile of VMAF (`_p10`), log2 of bits per pixel, of pixels and of frame rate, and what the probe of the
        encoder asked about has more of than the first one (`libvpx-vp9.vmaf_gap`; 0 for all other encoders).
      encoder: encoder asked about.

    Raises:
      ConfigError: a column that is none of these, or of a probe that is not there.
    """
    found = {"log2_pixels": float(np.log2(pixels)), "log2_frame_rate": float(np.log2(frame_rate))}
    measured = [_of_probe(probe, pixels) for probe in probes]
    for index, (probe, values) in enumerate(zip(probes, measured, strict=True)):
        found |= {f"probe{index}.{name}": value for name, value in values.items()}
        if probe.spec.encoder == encoder:
            found |= {f"{encoder}.{name}_gap": values[name] - measured[0][name] for name in _GAPS}
    found |= {name: 0.0 for name in names if name.endswith("_gap") and not name.startswith(f"{encoder}.")}
    if unknown := [name for name in names if name not in found]:
        raise ConfigError(
            f"the model reads {unknown[0]}, which this release does not measure",
            next_step="use the release that trained it",
        )
    return np.array([found[name] for name in names])


def _of_probe(probe: ProbeRows, pixels: int) -> dict[str, float]:
    wide = probe.values.astype(np.float64)
    found = dict(zip(VALUES, wide.mean(axis=0).tolist(), strict=True))
    found |= {f"{name}_std": value for name, value in zip(VALUES, wide.std(axis=0).tolist(), strict=True)}
    found["vmaf_p10"] = float(np.quantile(wide[:, 0], 0.1))
    found["log2_bits_per_pixel"] = float(np.log2(probe.n_bytes * 8 / (len(wide) * pixels)))
    return found


SECONDARY_SCALE = 0.1
"""Prior scale of everything but the means over frames. The rest tells of 36 groups what means do not (mean
held-out error of libx265 1.11 -> 0.90 points), but at full scale a network learns groups by heart from it
(libx264 0.66 -> 1.02).
A tenth is better than a fifth on all groups but those left out, for each of 35 left out (docs/forecast.md).
"""


def _prior_scale(names: Sequence[str]) -> F32:
    primary = {f"probe{index}.{name}" for index in range(8) for name in VALUES} | set(CANONICAL6)
    primary |= {name for name in names if name.endswith(".vmaf_gap")}
    return np.array([1.0 if name in primary else SECONDARY_SCALE for name in names], dtype=np.float32)


class _Source(NamedTuple):
    """A source's probes, and what else is known of it."""

    probes: list[ProbeRows]
    pixels: int
    frame_rate: float


def _probed_sources(corpus: Corpus, probes: Sequence[ProbeSpec]) -> dict[str, _Source]:
    """Each source that has all probes."""
    cells: dict[str, dict[int, CellRecord]] = {}
    for cell in corpus.cells:
        for index, probe in enumerate(probes):
            if (cell.encoder, cell.preset, cell.rate_value) == (probe.encoder, probe.preset, probe.rate_value):
                cells.setdefault(cell.source, {})[index] = cell
    complete = {source: found for source, found in cells.items() if len(found) == len(probes)}
    keys = {cell.key for found in complete.values() for cell in found.values()}
    parts = {
        str(key[0]): part.sort("frame_index").select(VALUES).to_numpy()
        for key, part in corpus.frames.filter(pl.col("cell").is_in(keys)).group_by("cell")
    }
    sources = {}
    for source, found in complete.items():
        first = found[0]
        if min(cell.bytes for cell in found.values()) <= 0 or first.width <= 0:
            raise CorpusError(
                f"{source}: sizes are unknown, a forecast needs them", next_step="build the corpus, not import it"
            )
        rows = [ProbeRows(spec, parts[found[i].key], found[i].bytes) for i, spec in enumerate(probes)]
        sources[source] = _Source(rows, first.width * first.height, float(Fraction(first.frame_rate)))
    return sources


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
