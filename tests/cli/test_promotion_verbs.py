"""From a run to production on the command line: exit codes, and the one JSON document."""

import json
import shutil

import pytest
import typer

from tests.crafted import FR, edit_json, held_out_predictions, make_run
from vmaf_assay.cli.main import main


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run that passes, not yet validated."""
    return make_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def run(good, tmp_path):
    """A copy of it."""
    return shutil.copytree(good, tmp_path / "run")


@pytest.fixture
def poor(tmp_path):
    """A run whose predictions are poor."""
    table = held_out_predictions()
    table = table.with_columns(
        prediction=(table["prediction"] + 40 * (table["row"] % 2)).cast(table["truth"].dtype)
    )
    return make_run(tmp_path / "poor", predictions=table)


def answer(capsys):
    """The JSON document on stdout."""
    return json.loads(capsys.readouterr().out)


def test_gate_prints_the_gate_block_and_writes_nothing(run, capsys):
    """`gate --json` is the verdict's `gate` block; no file of the run changes."""
    before = sorted(run.rglob("*"))
    assert main(["gate", str(run), "--json"]) == 0
    block = answer(capsys)
    assert sorted(run.rglob("*")) == before
    assert main(["validate", str(run), "--json"]) == 0
    assert answer(capsys)["gate"] == block


def test_a_hold_is_a_negative_answer(poor, tmp_path, capsys):
    """HOLD: `gate` and `validate` exit 1 and print their document; `promote` exits 2 and writes no registry."""
    assert main(["gate", str(poor), "--json"]) == 1
    assert answer(capsys)["passed"] is False
    assert main(["validate", str(poor), "--json"]) == 1
    assert answer(capsys)["verdict"] == "HOLD"
    assert (poor / "HOLD.json").is_file()
    assert main(["promote", str(poor), "--registry", str(tmp_path / "registry")]) == 2
    assert "HOLD" in capsys.readouterr().err
    assert not (tmp_path / "registry" / "registry.json").exists()


@pytest.mark.parametrize("verb", ["gate", "validate"])
def test_no_evidence_is_exit_2(run, verb, capsys):
    """A dry run is bad input, not a HOLD: one line, no document, no verdict."""
    edit_json(run / "run.json", lambda d: d.update(dry_run=True))
    assert main([verb, str(run), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "dry run" in captured.err
    assert not list(run.glob("[PH]*.json"))


def test_a_tampered_run_is_exit_4(run, capsys):
    """A file that changed after training is an integrity failure."""
    (run / "predictions.parquet").write_bytes(b"")
    assert main(["gate", str(run)]) == 4
    assert "has changed since the run" in capsys.readouterr().err


def test_validate_never_touches_a_registry(run, tmp_path, monkeypatch):
    """The verdict and the flip are two acts."""
    monkeypatch.setenv("ASSAY_REGISTRY", str(tmp_path / "registry"))
    assert main(["validate", str(run)]) == 0
    assert not (tmp_path / "registry").exists()


def test_the_way_to_production(run, tmp_path, monkeypatch, capsys):
    """validate, promote, verify, list, show: exit 0 each; then one edited byte: verify and show exit 4."""
    registry = tmp_path / "registry"
    monkeypatch.setenv("ASSAY_REGISTRY", str(registry))
    assert main(["validate", str(run)]) == 0
    capsys.readouterr()
    assert main(["promote", str(run), "--json"]) == 0
    filed = answer(capsys)
    assert filed["sequence"] == 1
    assert len(filed["rows"]) == 6
    assert main(["registry", "verify", "--deep", "--json"]) == 0
    assert answer(capsys)["verified"] is True
    assert main(["registry", "list", "--json"]) == 0
    rows = answer(capsys)
    assert {row["smoke"] for row in rows} == {False}
    assert main(["registry", "show", f"{FR}_mean", "--json"]) == 0
    assert answer(capsys)["verdict"]["verdict"] == "PROMOTE"
    for verb in (["registry", "verify"], ["registry", "list"], ["registry", "show", f"{FR}_seed0"]):
        assert main(verb) == 0
    capsys.readouterr()
    edit_json(registry / "registry.json", lambda d: d["rows"][0].update(description="edited"))
    assert main(["registry", "verify", "--json"]) == 4
    assert answer(capsys)["verified"] is False
    assert main(["registry", "show", f"{FR}_mean"]) == 4
    assert main(["registry", "show", "nothing"]) == 2


def test_verify_of_nothing_is_exit_4(tmp_path, capsys):
    """A registry that is not there does not verify; `--json` prints its document all the same."""
    assert main(["registry", "verify", "--registry", str(tmp_path)]) == 4
    assert "registry.json is missing" in capsys.readouterr().err
    assert main(["registry", "verify", "--registry", str(tmp_path), "--json"]) == 4
    document = answer(capsys)
    assert document["verified"] is False
    assert "registry.json is missing" in document["rows"][0]["reason"]


@pytest.mark.parametrize(("old", "new"), [("rejudge", "revalidate"), ("supersede", "retire")])
def test_verbs_of_before_are_the_new_ones(old, new):
    """The names of before 0.2.0 still run the same function, and help shows only the new ones."""
    from vmaf_assay.cli.commands import registry as commands

    app = typer.Typer()
    commands.register(app)
    group = app.registered_groups[0].typer_instance
    named = {command.name: command for command in group.registered_commands}
    assert named[old].callback is named[new].callback
    assert named[old].hidden
    assert not named[new].hidden
