"""Exports to a real MLflow server, read back through its own client; needs the extra `dev-mlflow`."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.crafted import FORECAST, FR
from tests.test_json_contract import check
from vmaf_assay.cli.main import main

# MLflow's imports warn about things that are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`mlflow server` on a free loopback port, with SQLite and a folder of artefacts."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{folder}/db.sqlite",
        "--artifacts-destination",
        f"{folder}/artefacts",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder) as running:
        try:
            _wait(f"http://127.0.0.1:{port}/health", running, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.wait(30)


def _wait(url: str, running: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and running.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


@pytest.fixture
def client(server):
    """The server's own client."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server, registry_uri=server)


def exported(argv, server, capsys, code=0):
    """What `assay export mlflow --json` says, checked against its schema."""
    assert main(["export", "mlflow", *map(str, argv), "--tracking-uri", server, "--json"]) == code
    document = check("export_mlflow", capsys.readouterr().out)
    assert document["tracking_uri"] == server
    return document["exported"]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_arrives(server, client, runs, tmp_path, capsys):
    """Parameters, metrics with folds as steps, and every file byte for byte; a second time nothing is sent."""
    (first,) = exported([runs["first"], "--experiment", "runs"], server, capsys)
    assert (first["verdict"], first["run_created"], first["version"]) == ("PROMOTE", True, None)
    got = client.get_run(first["run_id"])
    assert got.info.status == "FINISHED"
    verdict = json.loads((runs["first"] / "PROMOTE.json").read_text())
    assert got.data.params["corpus.digest"] == verdict["corpus"]["digest"]
    assert got.data.params["seeds"] == "0,1,2,3,4"
    assert got.data.metrics["mean_plcc"] == verdict["gate"]["mean_plcc"]
    assert got.data.metrics["plcc_spread"] == verdict["gate"]["plcc_spread"]
    for seed, plcc in verdict["gate"]["per_seed_plccs"].items():
        assert got.data.metrics[f"plcc/seed{seed}"] == plcc
        folds = {f["held_out"]: f["plcc"] for f in verdict["folds"] if f["seed"] == int(seed)}
        history = client.get_metric_history(first["run_id"], f"fold_plcc/seed{seed}")
        steps = {metric.step: metric.value for metric in history}
        assert [steps[step] for step in range(len(folds))] == [folds[name] for name in sorted(folds)]
    assert any(name.startswith("coverage/") for name in got.data.metrics)
    there = Path(client.download_artifacts(first["run_id"], "run", str(tmp_path)))
    assert contents(there) == contents(runs["first"])
    assert main(["gate", str(there)]) == 0
    capsys.readouterr()
    (again,) = exported([runs["first"], "--experiment", "runs"], server, capsys)
    assert (again["run_id"], again["run_created"]) == (first["run_id"], False)


def test_a_hold_is_logged_and_never_registered(server, client, runs, capsys):
    """Exit 1; the run is there with its HOLD, and no model version of it."""
    before = len(client.search_model_versions("name != ''"))
    (hold,) = exported([runs["hold"]], server, capsys, code=1)
    assert (hold["verdict"], hold["version"], hold["alias"]) == ("HOLD", None, None)
    names = {file.path for file in client.list_artifacts(hold["run_id"], "run")}
    assert "run/HOLD.json" in names
    assert len(client.search_model_versions("name != ''")) == before


def test_a_registry_arrives_and_moves_on(server, client, registry, tmp_path, capsys):
    """A version a verdict, under the alias; the same again makes none. A rollback moves on, replays fail."""
    old = shutil.copytree(registry, tmp_path / "old")
    both = {one["ensemble"]: one for one in exported(["--registry", registry], server, capsys)}
    assert set(both) == {FR, FORECAST}
    one = both[FR]
    assert (one["sequence"], one["version"], one["version_created"], one["alias"]) == (2, "1", True, "production")
    version = client.get_model_version_by_alias(FR, "production")
    assert (version.version, version.run_id) == (one["version"], one["run_id"])
    for name in ("model_sha256", "verdict_sha256", "corpus_digest"):
        assert version.tags[f"vmaf_assay.{name}"] == one[name]
    assert version.tags["vmaf_assay.sequence"] == "2"

    assert client.get_model_version_download_uri(FR, version.version) == f"runs:/{version.run_id}/registry"
    (tmp_path / "there").mkdir()
    there = Path(client.download_artifacts(version.run_id, "registry", str(tmp_path / "there")))
    assert len(contents(there)) == one["files"]
    for name, data in contents(there).items():
        assert name == "registry.json" or data == (registry / name).read_bytes(), name
    assert {f"{FR}_seed{seed}" for seed in range(5)} | {f"{FR}_mean"} == {
        name.split(".")[0] for name in contents(there) if name.endswith(".onnx")
    }
    assert main(["registry", "verify", "--registry", str(there), "--deep"]) == 0
    capsys.readouterr()

    for same in exported(["--registry", registry], server, capsys):
        assert (same["run_created"], same["version_created"], same["version"]) == (False, False, "1")
    assert len(client.search_model_versions(f"name = '{FR}'")) == 1

    assert main(["registry", "rollback", FR, "--reason", "test", "--registry", str(registry)]) == 0
    capsys.readouterr()
    (moved,) = exported(["--registry", registry, "--ensemble", FR], server, capsys)
    assert (moved["sequence"], moved["version"]) == (3, "2")
    assert client.get_model_version_by_alias(FR, "production").version == "2"

    n_runs = len(client.search_runs([client.get_experiment_by_name("vmaf-assay").experiment_id]))
    assert main(["export", "mlflow", "--registry", str(old), "--tracking-uri", server]) == 4
    assert "which this registry's history does not hold" in capsys.readouterr().err
    assert client.get_model_version_by_alias(FR, "production").version == "2"
    assert len(client.search_runs([client.get_experiment_by_name("vmaf-assay").experiment_id])) == n_runs


def test_something_else_at_the_address(runs, tmp_path, capsys):
    """A web server that is no MLflow is a tool that failed: one line, exit 3."""
    import functools
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        code = main(
            ["export", "mlflow", str(runs["first"]), "--tracking-uri", f"http://127.0.0.1:{other.server_port}"]
        )
        other.shutdown()
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (3, 1), err
    assert err.startswith("error: the MLflow server refused or failed: ")
