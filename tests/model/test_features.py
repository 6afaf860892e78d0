"""Training rows hold what was measured, and nothing of what is asked."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.synthetic import GRID, write_synthetic_corpus
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.model.codec_block import codec_rows
from vmaf_assay.model.features import DEFAULT_PROBES, ProbeRows, forecast_feature_names, source_features
from vmaf_assay.model.sidecar import probes_read
from vmaf_assay.records import CANONICAL6
from vmaf_assay.training.rows import forecast_rows, probes_of, regressor_rows

N_SOURCES = 7
N_ASKED = 12
"""Encodes of a source that are not only a probe."""


def test_forecast_rows_are_of_the_probes(tmp_path):
    """Means, sizes, spreads of its source's two probes that it reads; target: its own encode's mean VMAF."""
    measured = write_synthetic_corpus(tmp_path, grid=GRID | {("libvpx-vp9", "4"): (28.0, 49.0)})
    corpus = load_corpus(tmp_path)
    rows = forecast_rows(corpus)
    assert len(rows.target) == N_SOURCES * (N_ASKED + 2)
    by_setting = {(c.source, c.encoder, c.preset, c.rate_value): c for c in corpus.cells}
    for i, key in enumerate(rows.cell):
        source = rows.source[i]
        read = [DEFAULT_PROBES[index] for index in probes_read(DEFAULT_PROBES, rows.encoder[i])]
        probes = [by_setting[source, p.encoder, p.preset, p.rate_value] for p in read]
        assert len(probes) == 2
        wide = [measured[p.key].astype(np.float64) for p in probes]
        bits = [math.log2(p.bytes * 8 / (192 * 108 * len(w))) for p, w in zip(probes, wide, strict=True)]
        expected = [w[:, 1:].mean(axis=0) for w in wide]
        expected += [[w[:, 0].mean() for w in wide], [*bits, math.log2(192 * 108), math.log2(25)]]
        expected += [w[:, 1:].std(axis=0) for w in wide]
        expected += [[w[:, 0].std(), np.percentile(w[:, 0], 10)] for w in wide]
        np.testing.assert_allclose(rows.features[i], np.concatenate(expected), rtol=2e-7)
        np.testing.assert_allclose(rows.target[i], measured[key][:, 0].astype(np.float64).mean(), rtol=1e-7)
    assert {"libx264", "libvpx-vp9"} <= set(rows.encoder)
    assert rows.feature_names == forecast_feature_names()
    assert [rows.feature_names[i] for i in (0, 11, 13, 15, 17, 29, 33)] == [
        "probe0.adm2",
        "own.motion2",
        "own.vmaf",
        "own.log2_bits_per_pixel",
        "log2_frame_rate",
        "own.motion2_std",
        "own.vmaf_p10",
    ]
    tenth_of = pytest.approx(0.1)
    assert rows.prior_scale.tolist() == [1] * 14 + [tenth_of] * 20
    assert (rows.frame_index == -1).all()


def test_a_model_is_given_the_columns_it_names():
    """An older model reads fewer columns, in its own order; one that cannot be measured is refused."""
    rows = np.array([[90, 1, 2, 3, 4, 5, 6], [70, 3, 2, 3, 4, 5, 10]], dtype=np.float32)
    probe = ProbeRows(DEFAULT_PROBES[0], rows, 2048)

    def read(*names):
        return source_features([probe], 64, 32.0, names, "libx264").tolist()

    assert read("log2_frame_rate", "probe0.motion2", "probe0.adm2_std") == [5, 8, 1]
    assert read("probe0.log2_bits_per_pixel") == [7]
    for name in ("probe1.adm2", "grain"):
        with pytest.raises(ConfigError, match=rf"the model reads {name}.*release that trained it"):
            read(name)


def test_a_source_of_one_frame_is_not_trained_on(synthetic):
    """Its encodes give no forecast row; with no other source there is nothing to train on."""
    corpus = synthetic[0]
    cells = tuple(replace(c, n_frames=1) if c.source == "clip1" else c for c in corpus.cells)
    assert "clip1" not in forecast_rows(replace(corpus, cells=cells)).source
    with pytest.raises(CorpusError, match="two frames"):
        forecast_rows(replace(corpus, cells=tuple(replace(c, n_frames=1) for c in corpus.cells)))


def test_an_encode_made_only_as_a_probe_is_not_asked_about(synthetic):
    """SVT-AV1 preset 12 has one rate value and gives no row; x264's probe is also in its grid and does."""
    rows = forecast_rows(synthetic[0])
    asked = set(zip(rows.encoder, rows.preset, rows.rate_value.tolist(), strict=True))
    assert asked == {(e, p, r) for (e, p), rates in GRID.items() if len(rates) > 1 for r in rates}


def test_codec_block_is_of_the_encode_asked_about(synthetic):
    """Version 3 for the forecast, version 2 for the regressor, row by row."""
    for rows, version in ((forecast_rows(synthetic[0]), 3), (regressor_rows(synthetic[0], frames_per_cell=1), 2)):
        expected = codec_rows(rows.encoder, rows.preset, rows.rate_value.tolist(), version=version)
        np.testing.assert_array_equal(rows.codec, expected)
        assert rows.vocab_version == version


@pytest.mark.parametrize(
    ("wanted", "frames"), [(1, [3]), (2, [1, 4]), (3, [1, 3, 5]), (6, [*range(6)]), (99, [*range(6)])]
)
def test_regressor_rows_are_frames_spread_evenly(synthetic, wanted, frames):
    """The middles of equal parts of six frames, with that frame's own numbers."""
    corpus, measured = synthetic
    rows = regressor_rows(corpus, frames_per_cell=wanted)
    assert len(rows.target) == N_SOURCES * N_ASKED * len(frames)
    assert rows.frame_index[: len(frames)].tolist() == frames
    for i, key in enumerate(rows.cell):
        at = measured[key][rows.frame_index[i]]
        np.testing.assert_array_equal(np.append(rows.target[i], rows.features[i]), at)
    assert rows.feature_names == CANONICAL6
    assert rows.prior_scale.tolist() == [1] * 6


def test_rows_do_not_depend_on_the_order_of_the_corpus(synthetic):
    """A corpus in reverse gives the same rows."""
    corpus = synthetic[0]
    turned = replace(corpus, cells=corpus.cells[::-1], frames=corpus.frames.reverse())
    for make in (forecast_rows, lambda c: regressor_rows(c, frames_per_cell=2)):
        one, other = make(corpus), make(turned)
        assert one.cell == other.cell
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.target, other.target)


def test_group_follows_the_source(synthetic):
    """Both renditions of a clip are in one group."""
    rows = forecast_rows(synthetic[0])
    assert {(s, g) for s, g in zip(rows.source, rows.group, strict=True) if g == "clip0"} == {
        ("clip0", "clip0"),
        ("clip0@96x54", "clip0"),
    }


def test_a_source_without_probes_is_named(tmp_path):
    """No SVT-AV1 probe anywhere: the message names a source and the settings that are missing."""
    grid = GRID | {("libsvtav1", "8"): (21.0, 28.0, 49.0)}
    write_synthetic_corpus(tmp_path, n_groups=2, grid=grid)
    with pytest.raises(CorpusError, match=r"clip0 and 2 more sources lack .* libsvtav1:8:42"):
        forecast_rows(load_corpus(tmp_path))


@pytest.mark.parametrize(
    ("missing", "further"),
    [((), {("libx264", 26.0), ("libsvtav1", 28.0)}), (("clip0@96x54",), {("libsvtav1", 28.0)}), ((), set())],
)
def test_a_further_probe_is_one_that_every_source_has(tmp_path, missing, further):
    """libx264 at 26 is not a probe if one source lacks it, or if no source has it; those that are read stay."""
    grid = (
        GRID if further else GRID | {("libx264", "medium"): (18.0, 22.0, 30.0), ("libsvtav1", "8"): (35.0, 42.0)}
    )
    write_synthetic_corpus(tmp_path, grid=grid)
    corpus = load_corpus(tmp_path)
    cells = tuple(
        c
        for c in corpus.cells
        if (c.source, c.encoder, c.rate_value) not in {(s, "libx264", 26.0) for s in missing}
    )
    found = probes_of(replace(corpus, cells=cells))
    read = {("libx264", 30.0), ("libx264", 22.0), ("libsvtav1", 42.0)}
    assert {(probe.encoder, probe.rate_value) for probe in found} == read | further


def test_a_corpus_without_sizes_makes_no_forecast(synthetic):
    """An imported table has no bytes: refused with the way out, never a logarithm of zero."""
    corpus = synthetic[0]
    bare = replace(corpus, cells=tuple(replace(cell, bytes=0) for cell in corpus.cells))
    with pytest.raises(CorpusError, match=r"sizes are unknown.*instead of import"):
        forecast_rows(bare)
    assert len(regressor_rows(bare, frames_per_cell=1).target) == N_SOURCES * N_ASKED


def test_a_corpus_of_probes_alone_is_refused(tmp_path):
    """With one rate value an encoder there is nothing to ask about."""
    write_synthetic_corpus(tmp_path, n_groups=2, grid={("libx264", "medium"): (30.0,)})
    corpus = load_corpus(tmp_path)
    with pytest.raises(CorpusError, match="two rate values"):
        regressor_rows(corpus, frames_per_cell=1)
