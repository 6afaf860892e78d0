"""A run holds what the gate judges, from members that never saw what they are judged on."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.synthetic import write_synthetic_corpus
from vmaf_assay.admission.judge import judge
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.media.files import sha256_file
from vmaf_assay.model.bitrate import predict_kbps
from vmaf_assay.model.infer import open_ensemble, open_session
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.model.weights import reference_predict
from vmaf_assay.promise.folds import leave_one_group_out
from vmaf_assay.training import run as build
from vmaf_assay.training.evidence import load_run, required_files
from vmaf_assay.training.recipe import RECIPES, Member
from vmaf_assay.training.rows import forecast_rows, regressor_rows
from vmaf_assay.training.run import train_run
from vmaf_assay.training.train import train_stacked

FORECAST, FR = "vmaf_forecast_ensemble_v1", "fr_regressor_v2_ensemble_v1"
SEEDS = [0, 1, 2, 3, 4]
N_GROUPS = 6


@pytest.fixture(scope="module")
def corpus_dir(tmp_path_factory):
    """Six groups, seven sources."""
    folder = tmp_path_factory.mktemp("corpus")
    write_synthetic_corpus(folder, n_groups=N_GROUPS)
    return folder


@pytest.fixture(scope="module")
def run_dir(corpus_dir, tmp_path_factory):
    """A forecast run of five seeds in one process: 35 members, so three chunks."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train_run(corpus_dir, FORECAST, out, seeds=SEEDS)
    return out


def predictions(folder) -> pl.DataFrame:
    """Its held-out predictions, by seed and row."""
    return pl.read_parquet(folder / "predictions.parquet").sort("seed", "row")


def test_run_is_whole_and_verifies(run_dir, corpus_dir):
    """Every file is listed with its digest, no other is there, and the gate's reader accepts it."""
    run = load_run(run_dir).file
    present = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file()}
    assert present == required_files(run) | {"run.json"}
    assert all(sha256_file(run_dir / name) == digest for name, digest in run.files.items())
    assert run.corpus.digest == load_corpus(corpus_dir).digest
    assert (run.corpus.n_rows, run.corpus.n_cells, run.corpus.n_groups) == (7 * 12, 7 * 14, N_GROUPS)
    assert list(run_dir.parent.iterdir()) == [run_dir]


def test_every_row_is_predicted_once_a_seed_with_its_group_out(run_dir, corpus_dir):
    """The table's identity columns and truth are those of the training rows; `fold` is the row's own group."""
    rows = forecast_rows(load_corpus(corpus_dir))
    table = predictions(run_dir)
    assert table["fold"].to_list() == table["group"].to_list()
    for seed in SEEDS:
        part = table.filter(pl.col("seed") == seed)
        assert part["row"].to_list() == list(range(len(rows.target)))
        np.testing.assert_array_equal(part["truth"].to_numpy(), rows.target)
        for name in ("group", "source", "encoder", "preset"):
            assert part[name].to_list() == list(getattr(rows, name))
        assert part["cell"].to_list() == [key[:10] for key in rows.cell]
        np.testing.assert_array_equal(part["rate_value"].to_numpy(), rows.rate_value)


def test_predictions_are_of_the_member_without_that_group(run_dir, corpus_dir):
    """One fold trained here again, from its rows alone, predicts what the table says: to 1/1024 of a point."""
    rows = forecast_rows(load_corpus(corpus_dir))
    fold = leave_one_group_out(rows.group)[3]
    hidden = replace(rows, features=rows.features.copy(), target=rows.target.copy())
    hidden.features[fold.test], hidden.target[fold.test] = 0, 50
    (member,) = train_stacked(
        hidden.features,
        rows.codec,
        hidden.target,
        [Member(1, fold.train)],
        RECIPES["forecast-v1"],
        prior_scale=rows.prior_scale,
    )
    exact = reference_predict(member, rows.features[fold.test], rows.codec[fold.test])
    expected = (np.round(exact * 1024) / 1024).astype(np.float32)
    got = predictions(run_dir).filter((pl.col("seed") == 1) & (pl.col("fold") == fold.held_out))
    np.testing.assert_array_equal(got["prediction"].to_numpy(), expected)


def test_exported_models_answer_in_points(run_dir, corpus_dir):
    """The fused file's members are the single files, in the order of seeds, and fit their training rows."""
    rows = forecast_rows(load_corpus(corpus_dir))

    def opened(name):
        sidecar = Sidecar.model_validate_json((run_dir / f"members/{name}.json").read_text())
        data = (run_dir / f"members/{name}.onnx").read_bytes()
        return data, sidecar

    mean = open_ensemble(*opened(f"{FORECAST}_mean")).predict(rows.features, rows.codec)
    for index in SEEDS:
        session = open_session(*opened(f"{FORECAST}_seed{index}"))
        (score,) = session.run(["score"], {"features": rows.features, "codec": rows.codec})
        np.testing.assert_allclose(mean.members[:, index], score, rtol=0, atol=1e-3)
    assert np.abs(mean.members[:, 0] - mean.members[:, 1]).max() > 0.01
    useful = rows.target > 75
    assert useful.sum() > 20
    assert np.abs(mean.mu - rows.target)[useful].mean() < 3


def test_sidecar_says_what_was_seen(run_dir, corpus_dir):
    """Encoders with their rate values, feature ranges, picture sizes, probes, corpus, and a bitrate forecast."""
    corpus = load_corpus(corpus_dir)
    rows = forecast_rows(corpus)
    sidecar = Sidecar.model_validate_json((run_dir / f"members/{FORECAST}_mean.json").read_text())
    assert {(s.encoder, s.preset): s.rate_values for s in sidecar.seen.encoders} == {
        ("libsvtav1", "8"): [21, 28, 35, 42, 49, 56],
        ("libx264", "medium"): [18, 22, 26, 30, 34, 38],
    }
    assert {(s.min_pixels, s.max_pixels) for s in sidecar.seen.encoders} == {(192 * 108, 192 * 108)}
    np.testing.assert_allclose(sidecar.seen.feature_min, rows.features.min(axis=0))
    np.testing.assert_allclose(sidecar.seen.feature_max, rows.features.max(axis=0))
    assert (sidecar.seen.min_pixels, sidecar.seen.max_pixels) == (192 * 108, 192 * 108)
    assert [(p.encoder, p.preset, p.rate_value) for p in sidecar.probes] == [
        ("libx264", "medium", 30),
        ("libx264", "medium", 22),
        ("libsvtav1", "8", 42),
        ("libx264", "medium", 26),
        ("libsvtav1", "8", 28),
    ]
    assert sidecar.corpus_digest == corpus.digest
    assert sidecar.bitrate is not None
    kbps = {(c.source, c.encoder, c.preset, c.rate_value): c.kbps for c in corpus.cells}
    probes = [kbps["clip3", p.encoder, p.preset, p.rate_value] for p in (sidecar.probes[0], sidecar.probes[2])]
    (forecast,) = predict_kbps(sidecar.bitrate, "libsvtav1", "8", np.array([35.0]), probes)
    assert forecast == pytest.approx(kbps["clip3", "libsvtav1", "8", 35.0], rel=0.1)


def test_loso_files_are_the_tables_scores(run_dir):
    """Each fold's PLCC and RMSE from NumPy on the table; training groups are all the others."""
    table = predictions(run_dir)
    for seed in SEEDS:
        loso = json.loads((run_dir / f"loso_seed{seed}.json").read_text())
        assert loso["n_folds"] == N_GROUPS
        plccs = []
        for fold in loso["folds"]:
            part = table.filter((pl.col("seed") == seed) & (pl.col("group") == fold["held_out"]))
            truth, predicted = part["truth"].to_numpy().astype(float), part["prediction"].to_numpy().astype(float)
            plccs.append(np.corrcoef(truth, predicted)[0, 1])
            assert fold["plcc"] == pytest.approx(plccs[-1], abs=1e-9)
            assert fold["rmse"] == pytest.approx(np.sqrt(np.mean((truth - predicted) ** 2)))
            assert fold["held_out"] not in fold["train_groups"]
            assert len(fold["train_groups"]) == N_GROUPS - 1
            assert (fold["n_train"], fold["n_val"]) == (84 - len(truth), len(truth))
        assert loso["mean_plcc"] == pytest.approx(np.mean(plccs), abs=1e-9)
        assert loso["mean_plcc"] > 0.95


def test_processes_and_order_of_seeds_change_nothing(run_dir, corpus_dir, tmp_path):
    """Two processes, seeds in another order: the same predictions, and each seed's model under its own name."""
    train_run(corpus_dir, FORECAST, tmp_path / "run", seeds=[3, 1, 4, 0, 2], processes=2)
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (run_dir, tmp_path / "run"))
    assert one["seeds"] == other["seeds"] == SEEDS
    timed = ("loso", "commitment", "tie")  # these hold the time
    measured = {name for name in one["files"] if not name.startswith(timed)}
    assert {n: one["files"][n] for n in measured} == {n: other["files"][n] for n in measured}
    ties = [json.loads((folder / "tie.json").read_text()) for folder in (run_dir, tmp_path / "run")]
    for tie in ties:
        tie["commitment"].pop("made_at_utc")
    assert ties[0] == ties[1]


def test_regressor_run(corpus_dir, tmp_path, monkeypatch):
    """The per-frame task: vocabulary 2, six features, interval calibration; one frame a cell here, for speed."""
    monkeypatch.setattr(build, "FRAMES_PER_CELL", 1)
    train_run(corpus_dir, FR, tmp_path / "run", seeds=SEEDS, processes=2)
    evidence = load_run(tmp_path / "run")
    assert evidence.calibration.kind == "interval"
    rows = regressor_rows(load_corpus(corpus_dir), frames_per_cell=1)
    mean = evidence.predictions.group_by("row", maintain_order=True).agg(pl.col("prediction").mean())
    residual = {g.group: g.residuals for g in evidence.calibration.groups}
    at = [i for i, group in enumerate(rows.group) if group == "clip0"]
    np.testing.assert_allclose(residual["clip0"], rows.target[at] - mean["prediction"].to_numpy()[at], atol=2e-4)
    sidecar = evidence.models()[f"{FR}_mean"][2]
    assert (sidecar.encoder_vocab_version, len(sidecar.feature_names), sidecar.bitrate) == (2, 6, None)
    assert sidecar.recipe["name"] == "adr-0303"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model_id": "nonsense"},
            "'nonsense' is not the ensemble that forecasts .*fr_regressor_v2",
        ),
        ({"recipe": "nonsense"}, "unknown recipe 'nonsense'.*adr-0303"),
        ({"seeds": [0]}, "two or more"),
        ({"seeds": [0, 1, 1]}, "two or more different"),
        ({"seeds": [-1, 0]}, "not -1 to 0"),
        ({"seeds": [0, 2**31]}, "2147483647"),
    ],
    ids=lambda c: "-".join(c) if isinstance(c, dict) else "",
)
def test_a_request_that_cannot_be_meant_is_refused_before_any_work(corpus_dir, tmp_path, changes, says):
    """One line that names what is wrong and what there is; no folder is left."""
    arguments = {"model_id": FORECAST, "seeds": [0, 1]} | changes
    with pytest.raises(ConfigError, match=says):
        train_run(corpus_dir, out=tmp_path / "run", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(corpus_dir, tmp_path):
    """Not even an empty one."""
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        train_run(corpus_dir, FORECAST, tmp_path / "run", seeds=[0, 1])


def test_a_forecast_is_not_trained_on_options_it_cannot_ask_for(corpus_dir, tmp_path, monkeypatch):
    """A corpus made with --encoder-args would make a promise about encodes that `tune` does not make."""
    corpus = load_corpus(corpus_dir)
    cells = (replace(corpus.cells[0], encoder_args="-tune grain"), *corpus.cells[1:])
    monkeypatch.setattr(build, "load_corpus", lambda _: replace(corpus, cells=cells))
    with pytest.raises(CorpusError, match="were encoded with '-tune grain'"):
        train_run(corpus_dir, FORECAST, tmp_path / "run", seeds=SEEDS)


def test_a_group_without_variation_is_refused_before_training(tmp_path, monkeypatch):
    """No correlation exists on a group whose rows all have one VMAF: said at once, by name."""
    write_synthetic_corpus(tmp_path / "corpus", n_groups=3)
    corpus = load_corpus(tmp_path / "corpus")
    flat = corpus.frames.with_columns(vmaf=pl.when(pl.col("group") == "clip1").then(99.0).otherwise("vmaf"))
    monkeypatch.setattr(build, "load_corpus", lambda _: replace(corpus, frames=flat))
    with pytest.raises(CorpusError, match="group clip1 have the same VMAF"):
        train_run(tmp_path / "corpus", FORECAST, tmp_path / "run", seeds=[0, 1])


def test_a_stopped_training_leaves_nothing(corpus_dir, tmp_path):
    """Interrupted after the first chunk: no run, no half of one."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(corpus_dir, FORECAST, tmp_path / "run", seeds=[0, 1], on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_grouped_folds_and_a_budget_are_said(corpus_dir, tmp_path):
    """Three folds of two groups, 30 steps: in run.json and the verdict, accepted by the gate's reader, no leak."""
    out = tmp_path / "run"
    train_run(corpus_dir, FORECAST, out, seeds=SEEDS, folds=3, max_steps=30)
    run = load_run(out)
    assert run.file.protocol == "3 grouped folds"
    assert (run.file.recipe["name"], run.file.recipe["max_steps"]) == ("forecast-v1, at most 30 steps", 30)
    assert judge(run).protocol == "3 grouped folds"
    table = predictions(out)
    together = {name: set(part["group"]) for (name,), part in table.group_by("fold")}
    assert sorted(map(len, together.values())) == [2, 2, 2]
    loso = json.loads((out / "loso_seed0.json").read_text())
    assert loso["n_folds"] == N_GROUPS
    for fold in loso["folds"]:
        (own,) = (groups for groups in together.values() if fold["held_out"] in groups)
        assert own.isdisjoint(fold["train_groups"])
        assert len(fold["train_groups"]) == N_GROUPS - 2


def test_run_says_what_its_bits_depend_on(run_dir, corpus_dir):
    """Engine and compiler in run.json, prior scale of every feature in the recipe of run and sidecar."""
    run = load_run(run_dir)
    scale = forecast_rows(load_corpus(corpus_dir)).prior_scale
    assert run.file.environment["engine"] == "native"
    assert run.file.environment["compiler"]
    np.testing.assert_allclose(run.file.recipe["prior_scale"], scale)
    for _, _, sidecar in run.models().values():
        assert sidecar.recipe == run.file.recipe
