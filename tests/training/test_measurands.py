"""Forecasts of other measurands: their targets, and a run from corpus to verdict that says what it is of."""

from dataclasses import replace

import numpy as np
import pytest

from tests.synthetic import GRID, synthetic_cell
from vmaf_assay.admission.corpus_match import check_belongs
from vmaf_assay.corpus.store import content_sha256, load_corpus, write_cell, write_index
from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.records import FRAME_VMAF, MEAN_VMAF, V1_FEATURES, Measurand, pooled
from vmaf_assay.training.evidence import load_run
from vmaf_assay.training.rows import forecast_rows, forecast_targets, probes_of
from vmaf_assay.training.run import train_run

V1, HFR = "vmaf_v1.0.16_3d0h", "vmaf_v1.0.16_hfr_3d0h"
DEEP_V1 = Measurand(V1, "p5", 10)
SEEDS = (0, 1, 2, 3, 4)
FAST = (0, 3)
"""Sources of 60 frames a second: with one left out, training still knows another."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A corpus of 8-bit and 10-bit cells, scored by v0.6.1 and v1; two sources at 60 fps."""
    folder, cells = tmp_path_factory.mktemp("mixed"), []
    for index in range(6):
        source, hardness = f"clip{index}", 0.5 + index / 6
        model, rate = (HFR, "60/1") if index in FAST else (V1, "25/1")
        for (encoder, preset), rates in GRID.items():
            for depth in (8, 10) if len(rates) > 1 else (8,):
                for rate_value in rates:
                    record, values = synthetic_cell(source, source, hardness, encoder, preset, rate_value)
                    score = np.minimum(values[:, :1] + 2 + depth / 10, 100)
                    read = np.outer(score[:, 0] / 100, np.linspace(0.5, 1, len(V1_FEATURES)))
                    rows = np.concatenate([values, score, read], axis=1, dtype=np.float32)
                    record = replace(
                        record,
                        key=sha256_bytes(f"{record.key} {depth}".encode()),
                        measurand=str(replace(FRAME_VMAF, bit_depth=depth)),
                        frame_rate=rate,
                        more=(model, *V1_FEATURES),
                        content_sha256=content_sha256(rows),
                    )
                    write_cell(folder, record, rows)
                    cells.append(record)
    write_index(folder, cells, {"ffmpeg": "none"})
    return folder


def test_targets_are_of_the_measurand(mixed):
    """Of its depth, by its model (at 60 frames a second by that model's own), pooled as it says."""
    corpus = load_corpus(mixed)
    targets = forecast_targets(corpus, DEEP_V1)
    assert set(targets["encoder"]) == {"libx264", "libsvtav1"}
    assert targets.height == 6 * (len(GRID["libsvtav1", "8"]) + len(GRID["libx264", "medium"]))
    for row in targets.iter_rows(named=True):
        frames = corpus.frames.filter(cell=row["cell"])
        column = HFR if row["source"] in {f"clip{i}" for i in FAST} else V1
        assert row["vmaf"] == pytest.approx(pooled(frames[column].to_numpy(), "p5"), abs=1e-9)
    for pooling in ("mean", "harmonic", "p1"):
        (row,) = forecast_targets(corpus, Measurand(V1, pooling, 8)).head(1).iter_rows(named=True)
        frames = corpus.frames.filter(cell=row["cell"])
        column = HFR if row["source"] in {f"clip{i}" for i in FAST} else V1
        assert row["vmaf"] == pytest.approx(pooled(frames[column].to_numpy(), pooling), abs=1e-9)
    with pytest.raises(CorpusError, match=r"no scores of vmaf_v0\.6\.1neg"):
        forecast_targets(corpus, Measurand("vmaf_v0.6.1neg", "mean", 8))


def test_features_are_of_8_bit_probes_whatever_is_asked(mixed):
    """The first probe is read as ever, but for its scores, which are by the model that is asked."""
    corpus = load_corpus(mixed)
    usual, deep = forecast_rows(corpus), forecast_rows(corpus, measurand=DEEP_V1)
    names = [name for name in usual.feature_names if name.startswith(("probe0", "log2"))]
    of = {
        (source, encoder): row
        for source, encoder, row in zip(usual.source, usual.encoder, usual.features, strict=True)
    }
    column = {name: index for index, name in enumerate(deep.feature_names)}
    for source, encoder, row in zip(deep.source, deep.encoder, deep.features, strict=True):
        for name in names:
            then, now = of[source, encoder][usual.feature_names.index(name)], row[column[name]]
            assert (now == then) != (name == "probe0.vmaf") or "vmaf_" in name
    assert {f"{probe}.{name}" for probe in ("probe0", "own") for name in V1_FEATURES} <= set(column)


def test_own_probes_have_the_depth_that_is_asked(mixed):
    """Forecasts of 10-bit encodes read 10-bit probes of encoders that have both depths."""
    corpus = load_corpus(mixed)
    probes = {(probe.encoder, probe.bit_depth) for probe in probes_of(corpus, DEEP_V1)}
    assert probes == {("libx264", 8), ("libsvtav1", 10)}
    assert {probe.bit_depth for probe in probes_of(corpus)} == {8}
    deep = forecast_rows(corpus, measurand=DEEP_V1)
    (cell,) = [
        cell
        for cell in corpus.cells
        if (cell.source, cell.encoder, cell.rate_value) == ("clip1", "libsvtav1", 42)
        and cell.measurand == str(replace(FRAME_VMAF, bit_depth=10))
    ]
    frames = corpus.frames.filter(cell=cell.key)[V1].to_numpy()
    row = deep.features[[*zip(deep.source, deep.encoder, strict=True)].index(("clip1", "libsvtav1"))]
    assert row[deep.feature_names.index("own.vmaf")] == pytest.approx(frames.mean(), abs=1e-4)


def test_a_run_says_what_it_answers_in(mixed, tmp_path):
    """Commitment, sidecars and calibration name it, the corpus confirms it, 10-bit probes are on its curves."""
    out = tmp_path / "run"
    train_run(mixed, None, out, seeds=SEEDS, max_steps=1500, measurand=DEEP_V1)
    run = load_run(out)
    assert str(run.measurand) == str(DEEP_V1)
    assert run.tied.tie.commitment.measurand == str(DEEP_V1)
    check_belongs(run, load_corpus(mixed))
    known = {curve.encoder: set(curve.known) for curve in curves_of(run.calibration, more_probes=True)}
    assert known == {"libx264": set(), "libsvtav1": {28.0, 42.0}}
    usual = tmp_path / "usual"
    train_run(mixed, "vmaf_forecast_ensemble_v1", usual, seeds=SEEDS, max_steps=1500)
    made = load_run(usual)
    assert made.tied.tie.commitment.measurand is None
    assert made.measurand == MEAN_VMAF
    assert any(curve.known for curve in curves_of(made.calibration))


def test_the_regressor_answers_in_one_measurand(mixed, tmp_path):
    """It reads what VMAF v0.6.1 reads of 8-bit encodes: anything else is refused before training."""
    with pytest.raises(ConfigError, match=r"scores frames by vmaf_v0\.6\.1 frame 8-bit"):
        train_run(mixed, "fr_regressor_v2_ensemble_v1", tmp_path / "run", measurand=DEEP_V1)
