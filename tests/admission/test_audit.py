"""The audit goes as deep as it is asked to: to the predictions, and with the corpus below them."""

import json

import numpy as np
import polars as pl
import pytest

from tests.crafted import FORECAST, FR, edit_json, seal
from tests.registry.conftest import validated
from tests.synthetic import write_synthetic_corpus
from vmaf_assay.admission.audit import audit, retrain
from vmaf_assay.admission.promotion import promote
from vmaf_assay.errors import ConfigError
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.promise.calibrate import calibration_from_predictions
from vmaf_assay.promise.metrics import plcc
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
        ("calibration", "agrees"),
        ("coverage", "agrees"),
    ]
    assert json.loads(json.dumps(found.as_dict()))["verdict_sha256"] == found.verdict_sha256


def test_an_unknown_ensemble(promoted):
    """One line, and where to look."""
    with pytest.raises(ConfigError, match="registry list"):
        audit(promoted, "other")


def flatter(run) -> None:
    """Halve every held-out error and make all that follows from it fit, as a dishonest trainer would."""
    table = pl.read_parquet(run / "predictions.parquet")
    halved = (pl.col("truth") + 0.5 * (pl.col("prediction") - pl.col("truth"))).cast(pl.Float32)
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
    for path in (run / "members").glob("*.json"):
        edit_json(path, lambda d: d["held_out"].update(mean_plcc=float(np.mean(means))))
    edit_json(run / f"members/{FORECAST}_mean.json", lambda d: d.update(calibration=document["calibration"]))
    seal(run)


def test_training_again_from_the_corpus(tmp_path):
    """The same corpus gives the same bytes; another corpus is refused; invented predictions are found out."""
    write_synthetic_corpus(tmp_path / "corpus", n_groups=8)
    write_synthetic_corpus(tmp_path / "other", n_groups=5)
    train_run(tmp_path / "corpus", FORECAST, tmp_path / "run")
    promote(load_run(validated(tmp_path / "run")), tmp_path / "registry")
    found = audit(tmp_path / "registry", FORECAST)
    checks = retrain(tmp_path / "registry", found, tmp_path / "corpus", tmp_path / "once")
    assert [check.outcome for check in checks] == ["agrees"] * 3
    assert checks[0].detail == "byte for byte the same"
    assert checks[2].detail == "6 of 6 files byte for byte the same"
    with pytest.raises(ConfigError, match="is not the corpus of verdict 1"):
        retrain(tmp_path / "registry", found, tmp_path / "other", tmp_path / "no")
    flatter(tmp_path / "run")
    promote(load_run(validated(tmp_path / "run")), tmp_path / "flattered")
    invented = audit(tmp_path / "flattered", FORECAST)
    assert invented.agrees
    outcomes = [
        c.outcome for c in retrain(tmp_path / "flattered", invented, tmp_path / "corpus", tmp_path / "again")
    ]
    assert outcomes[0] == "differs"
