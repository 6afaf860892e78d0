"""What is exported, and what is refused before any server is asked; no MLflow is needed here."""

import socket
import sys

import pytest

from tests.crafted import FORECAST, FR, edit_json
from tests.registry.conftest import validated
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError, ToolError
from vmaf_assay.export.contents import registry_exports, run_export
from vmaf_assay.export.mlflow import check_alias, reachable_server
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.registry.store import load_verified
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run


def written(export, folder):
    """An export's files in a folder."""
    for name, data in export.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_run_is_exported_whole(runs, tmp_path):
    """The files are the run's, byte for byte, with its verdict; scores are the verdict's."""
    export = run_export(load_run(runs["first"]))
    on_disk = {p.relative_to(runs["first"]).as_posix(): p for p in runs["first"].rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in on_disk.items()} == export.files
    assert "PROMOTE.json" in export.files
    again = load_run(written(export, tmp_path / "again"))
    gate, folds = again.gate()
    metrics = {name: value for name, value, step in export.metrics if step == 0}
    assert metrics["mean_plcc"] == gate.mean_plcc
    assert metrics["plcc_spread"] == gate.plcc_spread
    assert [metrics[f"plcc/seed{seed}"] for seed in range(5)] == list(gate.per_seed_plccs.values())
    by_name = sorted((fold for fold in folds if fold["seed"] == 3), key=lambda fold: fold["held_out"])
    assert [(v, s) for n, v, s in export.metrics if n == "fold_plcc/seed3"] == [
        (fold["plcc"], step) for step, fold in enumerate(by_name)
    ]
    assert export.params["seeds"] == "0,1,2,3,4"
    assert export.params["corpus.digest"] == again.file.corpus.digest
    assert export.params["recipe.name"] == "crafted"


def test_another_verdict_is_another_export(runs, tmp_path):
    """A run before and after it is validated are two exports, and the same run is one."""
    from tests.crafted import make_run

    run = make_run(tmp_path / "run")
    before = run_export(load_run(run))
    assert before.verdict == "none"
    after = run_export(load_run(validated(run)))
    assert after.verdict == "PROMOTE"
    assert before.key != after.key
    assert run_export(load_run(run)).key == after.key


def test_a_registry_is_exported_so_that_it_verifies(promoted, tmp_path):
    """Each ensemble in production, with its history, is a registry by itself."""
    exports = {export.ensemble: export for export in registry_exports(promoted)}
    assert set(exports) == {FR, FORECAST}
    for name, export in exports.items():
        folder = written(export, tmp_path / name)
        assert {report.status for report in verify_registry(folder, deep=True)} == {"production"}
        verdict = load_verified(folder, name).verdict
        assert export.tags["sequence"] == str(verdict.sequence)
        assert export.tags["model_sha256"] == verdict.members[f"{name}_mean"]
        plain = (promoted / f"{name}_seed_flip_PROMOTE.json").read_bytes()
        assert export.tags["verdict_sha256"] == export.key == export.history[0] == sha256_bytes(plain)
        assert len(export.history) == verdict.sequence
    assert [export.ensemble for export in registry_exports(promoted, FR)] == [FR]


URI = ["--tracking-uri", "http://127.0.0.1:9"]


def said(argv, capsys):
    """Exit code and the one line on stderr; nothing on stdout."""
    code = main(["export", "mlflow", *argv])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return code, err


def test_a_registry_that_does_not_verify_is_not_exported(registry, capsys):
    """One byte of one model is enough, and it is found before a server is asked: exit 4."""
    path = next(registry.glob(f"{FORECAST}_seed3.*.onnx"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    code, err = said(["--registry", str(registry), *URI], capsys)
    assert code == 4
    assert "does not verify, nothing is exported" in err
    code, err = said(["--registry", str(registry), "--ensemble", FR, *URI], capsys)
    assert code == 4


def test_only_what_is_in_production_is_exported(registry, capsys):
    """An ensemble out of service, or never there, is refused: exit 4."""
    argv = ["registry", "supersede", FR, "--reason", "test", "--registry", str(registry)]
    assert main(argv) == 0
    capsys.readouterr()
    for name in (FR, "no_such"):
        code, err = said(["--registry", str(registry), "--ensemble", name, *URI], capsys)
        assert code == 4
        assert f"has no {name} in production" in err
    assert [export.ensemble for export in registry_exports(registry)] == [FORECAST]


def test_a_verdict_that_is_not_the_runs_is_refused(runs, tmp_path, capsys):
    """A HOLD turned into a PROMOTE by hand is found by judging again: exit 4."""
    import shutil

    run = shutil.copytree(runs["hold"], tmp_path / "run")
    (run / "HOLD.json").rename(run / "PROMOTE.json")
    edit_json(run / "PROMOTE.json", lambda verdict: verdict.update(verdict="PROMOTE", reasons=[]))
    code, err = said([str(run), *URI], capsys)
    assert code == 4
    assert "is not what PROMOTE.json judged" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "no MLflow server is named"),
        ([*URI, "--alias", "latest"], "does not accept the alias"),
        ([*URI, "--alias", "v2"], "does not accept the alias"),
        (["absent", *URI], "holds no run"),
    ],
)
def test_requests_that_cannot_be_meant(argv, words, capsys, monkeypatch):
    """Exit 2, and a line that says what to do."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, err = said(argv, capsys)
    assert code == 2
    assert words in err


def test_an_ensemble_needs_a_registry(runs, capsys):
    """--ensemble beside a run alone would do nothing: exit 2."""
    code, err = said([str(runs["first"]), "--ensemble", FR, *URI], capsys)
    assert (code, "add --registry" in err) == (2, True)


def test_without_the_client(promoted, capsys, monkeypatch):
    """Where MLflow is not installed the answer names the extra: exit 2."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, err = said(["--registry", str(promoted), *URI], capsys)
    assert code == 2
    assert "pip install 'vmaf-assay[mlflow]'" in err


def test_a_server_that_does_not_answer():
    """Nobody at the port is a tool that failed, said without the password; other schemes are refused."""
    with socket.socket() as bound:  # bound, never listening
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(ToolError, match=rf"no MLflow server answers at http://127\.0\.0\.1:{port}: "):
            reachable_server(f"http://user:secret@127.0.0.1:{port}")
    for uri in ("sqlite:///mlflow.db", "mlruns", "http://"):
        with pytest.raises(ConfigError, match="is not the address of an MLflow server"):
            reachable_server(uri)


def test_aliases():
    """What MLflow reserves is refused before anything is sent."""
    check_alias("production")
    for alias in ("", "a b", "Latest", "V10", "x" * 256):
        with pytest.raises(ConfigError):
            check_alias(alias)
