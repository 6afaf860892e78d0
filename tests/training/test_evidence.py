"""Reading a run: whole and free of contradiction, or refused. Every case breaks one thing of a run that passes."""

import io
import json
import math
import shutil

import numpy as np
import onnx
import polars as pl
import pytest

from tests.crafted import (
    FORECAST,
    FR,
    SEEDS,
    edit_json,
    held_out_predictions,
    make_run,
    member_weights,
    seal,
)
from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.model.onnx import mean_graph
from vmaf_assay.promise.calibrate import calibration_from_predictions
from vmaf_assay.training.evidence import load_run


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run that passes."""
    return make_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def run(good, tmp_path):
    """A copy of it to break."""
    return shutil.copytree(good, tmp_path / "run")


def set_in(name, *path):
    """A change that sets `path[:-1]` of a JSON file to `path[-1]`."""

    def change(run):
        def apply(document):
            for key in path[:-2]:
                document = document[key]
            document[path[-2]] = path[-1]

        edit_json(run / name, apply)

    return change


def drop_file(name):
    """A change that removes a file, and its entry in `run.json` if it has one."""

    def change(run):
        (run / name).unlink()
        edit_json(run / "run.json", lambda document: document["files"].pop(name, None))

    return change


def rewrite_predictions(edit):
    """A change of `predictions.parquet` that `run.json` is made to agree with."""

    def change(run):
        table = edit(pl.read_parquet(run / "predictions.parquet"))
        table.write_parquet(run / "predictions.parquet")

    return change


def one_seed_five_times(run):
    """The first seed's file under every name, as `seeds: [0, 0, 0, 0, 0]`."""
    set_in("run.json", "seeds", [0] * 5)(run)


def same_member_twice(run):
    """Seed 1's model is a copy of seed 0's, digests and sidecar adjusted."""
    data = (run / f"members/{FR}_seed0.onnx").read_bytes()
    (run / f"members/{FR}_seed1.onnx").write_bytes(data)
    set_in(f"members/{FR}_seed1.json", "onnx_sha256", sha256_bytes(data))(run)


def mean_of_others(run):
    """The fused graph is of other members than those beside it, digests and sidecar adjusted."""
    data = mean_graph([member_weights(50 + seed, 6, 14) for seed in SEEDS])
    (run / f"members/{FR}_mean.onnx").write_bytes(data)
    set_in(f"members/{FR}_mean.json", "onnx_sha256", sha256_bytes(data))(run)


def leak(run):
    """A fold's group among the groups it was trained on."""
    edit_json(run / "loso_seed2.json", lambda d: d["folds"][3]["train_groups"].append(d["folds"][3]["held_out"]))


def bare_scores(run):
    """What was enough for the reference system: five files with a score."""
    shutil.rmtree(run)
    run.mkdir()
    for seed in SEEDS:
        (run / f"loso_seed{seed}.json").write_text('{"mean_plcc": 0.99}')


def one_fold(run):
    """Five `loso_seed{N}.json` of one fold each."""
    for seed in SEEDS:
        edit_json(run / f"loso_seed{seed}.json", lambda d: d.update(n_folds=1, folds=d["folds"][:1]))


NO_EVIDENCE = {
    "bare scores": (bare_scores, "no run.json"),
    "an empty folder": (lambda run: (shutil.rmtree(run), run.mkdir()), "no run.json"),
    "a dry run": (set_in("run.json", "dry_run", True), "dry run"),
    "one seed": (set_in("run.json", "seeds", [0]), "does not list"),
    "one seed five times": (one_seed_five_times, "does not list"),
    "a seed's scores missing": (drop_file("loso_seed3.json"), "does not list loso_seed3.json"),
    "a seed's model missing": (drop_file(f"members/{FR}_seed4.onnx"), "does not list"),
    "no predictions": (drop_file("predictions.parquet"), "does not list predictions.parquet"),
    "another seed's scores": (set_in("loso_seed1.json", "seed", 2), "is of seed 2"),
    "another corpus": (set_in("loso_seed1.json", "corpus", "digest", "f" * 64), "another corpus"),
    "another number of rows": (set_in("loso_seed1.json", "corpus", "n_rows", 3), "another corpus"),
    "one fold": (one_fold, "has 1 folds for 22 groups"),
    "a fold missing": (
        lambda run: edit_json(run / "loso_seed0.json", lambda d: d["folds"].pop()),
        "21 folds for 22",
    ),
    "a fold twice": (
        lambda run: edit_json(run / "loso_seed0.json", lambda d: d["folds"].__setitem__(1, d["folds"][0])),
        "21 folds for 22",
    ),
    "a fold's group in its training rows": (leak, "was in its own training rows"),
    "a fold trained on less": (
        lambda run: edit_json(run / "loso_seed0.json", lambda d: d["folds"][0]["train_groups"].pop()),
        "not trained on all groups left in",
    ),
    "a protocol that the predictions are not of": (
        set_in("run.json", "protocol", "10 grouped folds"),
        "says 10 grouped folds, its predictions are of leave-one-group-out",
    ),
    "a mean that its folds do not give": (set_in("loso_seed0.json", "mean_plcc", 0.99), "its predictions give"),
    "folds that the predictions do not give": (
        set_in("loso_seed0.json", "folds", 0, "plcc", 0.1),
        "fold g00 says PLCC 0.1",
    ),
    "a group of the corpus not predicted": (set_in("run.json", "corpus", "n_groups", 23), "a fold is missing"),
    "rows of the corpus not predicted": (
        lambda run: [
            set_in(name, "corpus", "n_rows", 500)(run)
            for name in ("run.json", *(f"loso_seed{seed}.json" for seed in SEEDS))
        ],
        "the corpus gave 500",
    ),
    "a fold missing in the predictions": (
        rewrite_predictions(lambda t: t.filter(pl.col("group") != "g05")),
        "a fold is missing",
    ),
    "a NaN prediction": (
        rewrite_predictions(lambda t: t.with_columns(pl.col("prediction") * math.nan)),
        "NaN or missing",
    ),
    "a table without rows": (rewrite_predictions(lambda t: t.select("row")), "lack column"),
    "two members that are one file": (same_member_twice, "two members are the same file"),
}


@pytest.mark.parametrize("what", NO_EVIDENCE)
def test_what_is_no_evidence_is_refused(run, what):
    """A run that is not evidence is refused with exit 2, its digests adjusted by whoever wants it believed."""
    change, message = NO_EVIDENCE[what]
    change(run)
    if (run / "run.json").exists():
        reseal(run)
    with pytest.raises(CorpusError, match=message):
        load_run(run)


def reseal(run):
    """`seal`, but only of files that `run.json` lists: a file taken off the list stays off."""
    listed = set(json.loads((run / "run.json").read_bytes())["files"])
    seal(run)
    edit_json(run / "run.json", lambda d: d.update(files={n: s for n, s in d["files"].items() if n in listed}))


def member_elsewhere(run):
    """A member that keeps its first matrix in another file."""
    path = run / f"members/{FR}_seed2.onnx"
    model = onnx.load_from_string(path.read_bytes())
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    set_in(f"members/{FR}_seed2.json", "onnx_sha256", sha256_bytes(path.read_bytes()))(run)


CONTRADICTIONS = {
    "a tensor of a member in another file": (member_elsewhere, "outside the model file"),
    "a fused graph of other members": (mean_of_others, "the fused graph is not what its members give"),
    "a sidecar of another model": (set_in(f"members/{FR}_seed0.json", "onnx_sha256", "0" * 64), "another model"),
    "a sidecar under another id": (set_in(f"members/{FR}_seed0.json", "id", f"{FR}_seed1"), "another model"),
    "a sidecar that claims a better score": (
        set_in(f"members/{FR}_seed0.json", "held_out", "mean_plcc", 0.9999),
        "states another score",
    ),
    "a sidecar of another corpus": (set_in(f"members/{FR}_seed0.json", "corpus_digest", "0"), "not of this run"),
    "a sidecar with another calibration": (
        set_in(f"members/{FR}_mean.json", "calibration", "groups", []),
        "another calibration",
    ),
    "a calibration that the predictions do not give": (
        set_in("calibration.json", "calibration", "groups", 0, "residuals", 0, 0.0),
        "not what the predictions give",
    ),
    "a score as text": (set_in("loso_seed0.json", "mean_plcc", "0.99"), "mean_plcc"),
    "a field nobody knows": (set_in("run.json", "blessed", True), "blessed"),
    "an unknown schema": (set_in("run.json", "schema_version", 2), "schema_version"),
    "an id that is a path": (set_in("run.json", "model_id", "../../evil"), "model_id"),
    "NaN in JSON": (
        lambda run: (run / "loso_seed0.json").write_text('{"mean_plcc": NaN}'),
        "not a JSON number",
    ),
    "null for JSON": (lambda run: (run / "loso_seed0.json").write_text("null"), "not an object"),
    "predictions that are no Parquet": (
        lambda run: (run / "predictions.parquet").write_bytes(b"PAR1"),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_what_contradicts_itself_is_refused(run, what):
    """A run whose parts do not fit each other fails its integrity, even where every digest was adjusted."""
    change, message = CONTRADICTIONS[what]
    change(run)
    reseal(run)
    with pytest.raises(IntegrityError, match=message):
        load_run(run)


def test_a_changed_file_is_refused(good, tmp_path):
    """One byte changed in any file of a run is refused, whichever file it is."""
    names = [path.relative_to(good) for path in good.rglob("*") if path.is_file() and path.name != "run.json"]
    assert len(names) == 12 + 5 + 2 + 4
    for name in names:
        run = shutil.copytree(good, tmp_path / name.name)
        data = bytearray((run / name).read_bytes())
        data[len(data) // 2] ^= 1
        (run / name).write_bytes(data)
        with pytest.raises(IntegrityError, match="has changed since the run"):
            load_run(run)


def test_predictions_must_be_the_listed_ones(run):
    """Predictions whose digest is not in `run.json` are not this run's, however good they are."""
    held_out_predictions(error=0.1).write_parquet(run / "predictions.parquet")
    with pytest.raises(IntegrityError, match=r"predictions\.parquet has changed"):
        load_run(run)


def test_extra_files_and_links_are_refused(run, tmp_path):
    """Nothing is in a run that its list does not name, and nothing in it is a link."""
    (run / "members" / "extra.onnx").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"holds an unexpected file, members/extra\.onnx"):
        load_run(run)
    (run / "members" / "extra.onnx").unlink()
    (run / "loso_seed0.json").rename(tmp_path / "elsewhere.json")
    (run / "loso_seed0.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(IntegrityError, match="symbolic link"):
        load_run(run)


@pytest.mark.parametrize("model_id", [FR, FORECAST])
def test_a_whole_run_is_read(tmp_path, model_id):
    """A run as `train` writes it is accepted, wherever its folder is, glob characters included."""
    evidence = load_run(make_run(tmp_path / "run [1] *", model_id=model_id))
    assert evidence.gate()[0].passed
    assert evidence.calibration.ensemble == model_id
    assert len(evidence.models()) == 6


def test_calibration_is_residuals_by_group():
    """Residuals are truth minus the mean over seeds, by NumPy, rounded to four decimals, every row once."""
    table = held_out_predictions(n_groups=3)
    calibration = calibration_from_predictions(table, "fr", FR, "d")
    predicted = table.sort("seed", "row")["prediction"].to_numpy().reshape(5, -1).astype(np.float64).mean(axis=0)
    truth = table.filter(pl.col("seed") == 0).sort("row")["truth"].to_numpy().astype(np.float64)
    residuals = [value for group in calibration.groups for value in group.residuals]
    np.testing.assert_allclose(residuals, truth - predicted, atol=5.1e-5)
    assert [group.group for group in calibration.groups] == ["g00", "g01", "g02"]
    assert calibration_from_predictions(table.sample(fraction=1, shuffle=True), "fr", FR, "d") == calibration


def test_curves_are_ascending_and_know_their_spread():
    """A held-out curve holds ascending rate values, and the ddof-1 spread over seeds."""
    table = held_out_predictions(n_groups=2)
    calibration = calibration_from_predictions(table, "forecast", FORECAST, "d")
    curve = calibration.curves[1]
    assert (curve.group, curve.source, len(calibration.curves)) == ("g00", "g00-s1", 4)
    assert curve.rate_values == sorted(curve.rate_values)
    part = table.filter((pl.col("source") == "g00-s1") & (pl.col("rate_value") == curve.rate_values[2]))
    assert curve.sigma[2] == pytest.approx(part["prediction"].cast(pl.Float64).std(), abs=1e-4)
    assert curve.truth[2] == pytest.approx(part["truth"][0], abs=1e-4)


def test_a_table_written_as_bytes_is_read_from_bytes(run):
    """What is parsed is the table that was written."""
    buffer = io.BytesIO((run / "predictions.parquet").read_bytes())
    assert load_run(run).predictions.equals(pl.read_parquet(buffer))
