"""The audit goes as deep as it is asked to: to the predictions, and with the corpus below them."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from tests.crafted import FORECAST, FR, edit_json, reseal_witness, seal
from tests.registry.conftest import validated
from tests.synthetic import write_synthetic_corpus
from vmaf_assay.admission.audit import audit, check_corpus
from vmaf_assay.admission.promotion import promote
from vmaf_assay.admission.retrain import compare_models, fresh_rows, retrain
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.model.codec_block import codec_rows
from vmaf_assay.model.fused import weights_of
from vmaf_assay.model.onnx import mean_graph, member_graph
from vmaf_assay.model.sidecar import ProbeSpec, Sidecar
from vmaf_assay.promise.calibrate import calibration_from_predictions
from vmaf_assay.promise.metrics import plcc
from vmaf_assay.registry.tie import parse_shipped
from vmaf_assay.registry.tie_check import held_out_of
from vmaf_assay.training.evidence import load_run
from vmaf_assay.training.run import train_run
from vmaf_assay.training.schema import CalibrationFile


def test_the_facts_are_those_of_the_files(promoted):
    """Scores by seed, worst folds and sources are those of the predictions, computed here by NumPy."""
    found = audit(promoted, FR)
    table = pl.read_parquet(promoted / f"{FR}_predictions.{found.verdict.predictions_sha256[:12]}.parquet")
    assert found.sources == sorted(table["source"].unique())
    for (seed,), part in table.group_by("seed"):
        scores = {
            group: np.corrcoef(rows["truth"].to_numpy(), rows["prediction"].to_numpy())[0, 1]
            for (group,), rows in part.group_by("group")
        }
        worst = min(scores, key=scores.get)
        said = found.per_seed[seed]
        assert said.mean == pytest.approx(np.mean(list(scores.values())), abs=1e-6)
        assert (said.lowest_group, said.lowest) == (worst, pytest.approx(scores[worst], abs=1e-6))
    assert found.agrees
    assert [(check.what, check.outcome) for check in found.checks] == [
        ("gate", "agrees"),
        ("fused graph", "agrees"),
        ("shipped members", "agrees"),
        ("calibration", "agrees"),
        ("coverage", "agrees"),
    ]
    assert json.loads(json.dumps(found.as_dict()))["verdict_sha256"] == found.verdict_sha256


def test_an_unknown_ensemble(promoted):
    """One line, and where to look."""
    with pytest.raises(ConfigError, match="registry list"):
        audit(promoted, "other")


def flatter(run) -> None:
    """Take three hundredths off every held-out error, and make all that follows from it fit."""
    table = pl.read_parquet(run / "predictions.parquet")
    halved = (pl.col("truth") + 0.97 * (pl.col("prediction") - pl.col("truth"))).cast(pl.Float32)
    table = table.with_columns(prediction=halved)
    table.write_parquet(run / "predictions.parquet")
    file = json.loads((run / "run.json").read_bytes())
    probes = [ProbeSpec(**p) for p in json.loads((run / "calibration.json").read_bytes())["calibration"]["probes"]]
    calibration = calibration_from_predictions(table, "forecast", FORECAST, file["corpus"]["digest"], probes)
    document = CalibrationFile(calibration=calibration).model_dump(mode="json")
    (run / "calibration.json").write_text(json.dumps(document))
    means = []
    for seed in file["seeds"]:
        loso = json.loads((run / f"loso_seed{seed}.json").read_bytes())
        for fold in loso["folds"]:
            part = table.filter((pl.col("seed") == seed) & (pl.col("group") == fold["held_out"])).sort("row")
            fold["plcc"] = plcc(part["truth"].to_numpy(), part["prediction"].to_numpy())
        loso["mean_plcc"] = float(np.mean([fold["plcc"] for fold in loso["folds"]]))
        means.append(loso["mean_plcc"])
        (run / f"loso_seed{seed}.json").write_text(json.dumps(loso))
    scores = held_out_of(table).model_dump()
    for path in (run / "members").glob("*.json"):
        edit_json(path, lambda d: d["held_out"].update(scores))
    edit_json(run / f"members/{FORECAST}_mean.json", lambda d: d.update(calibration=document["calibration"]))
    redraw(run, FORECAST)


def redraw(run, model_id) -> None:
    """Draw the witness again, and make `run.json` fit all that lies there."""
    seal(run)
    data = {name: (run / name).read_bytes() for name in ("shipped.parquet", "predictions.parquet")}
    sidecar = Sidecar.model_validate_json((run / "members" / f"{model_id}_mean.json").read_bytes())
    shipped = parse_shipped(data["shipped.parquet"], sidecar.feature_names, range(5), where="it")
    rows = pl.read_parquet(run / "predictions.parquet").filter(pl.col("seed") == 0).sort("row")
    asked = (rows[name].to_list() for name in ("encoder", "preset", "rate_value"))
    reseal_witness(run, shipped, codec_rows(*asked, version=sidecar.encoder_vocab_version))
    seal(run)


def moved(run, model_id, points) -> None:
    """Add some points to every shipped graph, and make everything that the registry can check fit."""
    members = []
    for seed in range(5):
        path = run / "members" / f"{model_id}_seed{seed}.onnx"
        weights = weights_of(path.read_bytes())
        members.append(weights._replace(target_mean=weights.target_mean + np.float32(points)))
        path.write_bytes(member_graph(members[-1]))
    (run / "members" / f"{model_id}_mean.onnx").write_bytes(mean_graph(members))
    for path in (run / "members").glob("*.onnx"):
        digest = sha256_bytes(path.read_bytes())
        edit_json(path.with_suffix(".json"), lambda d, digest=digest: d.update(onnx_sha256=digest))
    table = pl.read_parquet(run / "shipped.parquet")
    seeds = [pl.col(f"seed{seed}") + np.float32(points) for seed in range(5)]
    table.with_columns(seeds).write_parquet(run / "shipped.parquet")
    redraw(run, model_id)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A corpus, and a forecast trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    write_synthetic_corpus(folder / "corpus", n_groups=8)
    train_run(folder / "corpus", FORECAST, folder / "run")
    return folder


def registry_of(run, folder):
    """A registry that a run was promoted into, and its audit, which agrees."""
    promote(load_run(validated(run)), folder)
    found = audit(folder, FORECAST)
    assert found.agrees
    return folder, found


def test_training_again_from_the_corpus(trained, tmp_path):
    """The same corpus gives the same bytes, members of every fold included; another corpus is refused."""
    write_synthetic_corpus(tmp_path / "other", n_groups=5)
    registry, found = registry_of(shutil.copytree(trained / "run", tmp_path / "run"), tmp_path / "registry")
    checks = retrain(registry, found, trained / "corpus", tmp_path / "once")
    assert [check.outcome for check in checks] == ["agrees"] * 5
    assert checks[0].detail == "byte for byte the same"
    assert checks[2].detail == "6 of 6 files byte for byte the same"
    assert checks[3].detail == "6 of 6 files byte for byte the same"
    assert checks[4].detail == f"{5 * 8} of {5 * 8} byte for byte the same"
    with pytest.raises(ConfigError, match="is not the corpus of verdict 1"):
        retrain(registry, found, tmp_path / "other", tmp_path / "no")
    assert [one.outcome for one in check_corpus(registry, found, trained / "corpus")] == ["agrees"] * 3


def test_invented_predictions_are_found_out(trained, tmp_path):
    """Held-out predictions nearer to the truth than training gives differ, though everything fits them."""
    run = shutil.copytree(trained / "run", tmp_path / "run")
    flatter(run)
    registry, found = registry_of(run, tmp_path / "registry")
    checks = retrain(registry, found, trained / "corpus", tmp_path / "again")
    assert checks[0].outcome == "differs"


def test_other_shipped_weights_are_found_out(trained, tmp_path):
    """A third of a point on every graph passes all that the registry can show; training again finds it."""
    run = shutil.copytree(trained / "run", tmp_path / "run")
    moved(run, FORECAST, 0.3)
    registry, found = registry_of(run, tmp_path / "registry")
    models = compare_models(registry, found.verdict, load_run(trained / "run"))
    assert models.outcome == "differs"
    assert "0 of 6 files" in models.detail
    assert "0.300" in models.detail


def test_fresh_rows_are_fresh_and_within_what_was_seen(trained):
    """Rows on which unequal models are compared differ from time to time and span the corpus's own ranges."""
    sidecar = load_run(trained / "run").tied.mean_sidecar
    one, other = (fresh_rows(sidecar, 500) for _ in range(2))
    assert not np.array_equal(one[0], other[0])
    low, high = np.array(sidecar.seen.feature_min), np.array(sidecar.seen.feature_max)
    slack = 1e-6 * (1 + np.abs(low) + np.abs(high))
    assert ((one[0] >= low - slack) & (one[0] <= high + slack)).all()
    assert one[1].any(axis=0).sum() >= 4


def test_what_only_the_corpus_shows(trained, tmp_path):
    """A bitrate model that is not the corpus's passes the registry's own checks and fails with the corpus."""
    run = shutil.copytree(trained / "run", tmp_path / "run")

    def dearer(document) -> None:
        coefficients = document["bitrate"]["coefficients"]
        coefficients.update({key: [value[0] + 1, *value[1:]] for key, value in coefficients.items()})

    edit_json(run / f"members/{FORECAST}_mean.json", dearer)
    seal(run)
    registry, found = registry_of(run, tmp_path / "registry")
    checks = check_corpus(registry, found, trained / "corpus")
    assert [check.outcome for check in checks] == ["agrees", "agrees", "differs"]
    assert "bitrate model" in checks[2].detail


def test_picture_sizes_are_the_corpus_s(trained, tmp_path):
    """Sizes that the trainer stated, in evidence and sidecars alike, fail with the corpus."""
    run = shutil.copytree(trained / "run", tmp_path / "run")
    table = pl.read_parquet(run / "shipped.parquet")
    table.with_columns(pixels=pl.col("pixels") + 1).write_parquet(run / "shipped.parquet")

    def larger(document) -> None:
        for one in [document["seen"], *document["seen"]["encoders"]]:
            one.update(min_pixels=one["min_pixels"] + 1, max_pixels=one["max_pixels"] + 1)

    for path in (run / "members").glob("*.json"):
        edit_json(path, larger)
    redraw(run, FORECAST)
    registry, found = registry_of(run, tmp_path / "registry")
    checks = check_corpus(registry, found, trained / "corpus")
    assert checks[2].outcome == "differs"
    assert "picture sizes" in checks[2].detail
