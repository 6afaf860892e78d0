"""`assay doctor`: the answer is complete, and its exit code says what is wrong."""

import json
import shutil
from pathlib import Path

import pytest

import vmaf_assay
from vmaf_assay.api import machine
from vmaf_assay.cli import main as cli
from vmaf_assay.media.encoders import ENCODERS


@pytest.fixture
def state(monkeypatch):
    """What the doctor finds, healthy unless a test changes it; ffmpeg and the registry are not touched."""
    found = {
        "ffmpeg": {"path": "/bin/ffmpeg", "version": "9.0", "how_found": "on PATH"},
        "libvmaf": {"model": "vmaf_v0.6.1", "usable": True, "detail": "3.2.0"},
        "encoders": [{"name": "libx264", "usable": True, "detail": ""}],
    }
    registry = {"path": "models", "verified": True, "detail": "12 rows", "rows": []}
    monkeypatch.setattr(machine, "examine_ffmpeg", lambda *_: found)
    monkeypatch.setattr(machine, "examine_registry", lambda *_: registry)
    return found | {"registry": registry}


@pytest.mark.parametrize(
    ("libvmaf", "verified", "code"), [(True, True, 0), (False, True, 3), (True, False, 4), (False, False, 3)]
)
def test_exit_code_says_what_is_wrong(state, capsys, libvmaf, verified, code):
    """0 all well, 3 without a usable ffmpeg, 4 if only the registry is wrong; the answer is printed each time."""
    state["libvmaf"]["usable"] = libvmaf
    state["registry"]["verified"] = verified
    assert cli.main(["doctor"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    assert ("works" if libvmaf else "does not work") in captured.out
    assert ("registry  verifies" in captured.out) == verified


def test_json_has_the_documented_fields(state, capsys):
    """`--json` prints the same facts as one document."""
    assert cli.main(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["version", "python", "ffmpeg", "libvmaf", "encoders", "registry"]
    assert answer["registry"] == state["registry"]
    assert answer["encoders"] == state["encoders"]


def test_unusable_ffmpeg_is_an_answer(capsys, tmp_path):
    """An ffmpeg that cannot be used is reported in full with exit 3, not as an error line."""
    assert cli.main(["doctor", "--json", "--ffmpeg", str(tmp_path / "absent")]) == 3
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert captured.err == ""
    assert answer["ffmpeg"] is None
    assert "absent" in answer["libvmaf"]["detail"]
    assert answer["encoders"] == []


@pytest.mark.ffmpeg
def test_shipped_state_is_healthy(capsys):
    """On a machine that runs these tests the doctor finds ffmpeg, libvmaf and a registry that verifies."""
    assert cli.main(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in answer["encoders"]] == list(ENCODERS)
    assert answer["registry"]["rows"] != []
    assert {row["status"] for row in answer["registry"]["rows"]} <= {"production", "scaffolded"}


def test_broken_registry_is_an_answer(capsys, tmp_path, state, monkeypatch):
    """A registry that cannot be read is reported with its reason and exit 4."""
    monkeypatch.undo()
    (tmp_path / "registry.json").write_text("{")
    monkeypatch.setattr(
        machine, "examine_ffmpeg", lambda *_: {k: state[k] for k in ("ffmpeg", "libvmaf", "encoders")}
    )
    assert cli.main(["doctor", "--json", "--registry", str(tmp_path)]) == 4
    answer = json.loads(capsys.readouterr().out)
    assert not answer["registry"]["verified"]
    assert "registry.json" in answer["registry"]["detail"]


def test_what_is_not_here_is_no_row(registry_without_history):
    """Rows are counted, not files of earlier verdicts that lie elsewhere: these are listed with their reason."""
    found = machine.examine_registry(registry_without_history)
    assert found["verified"]
    assert found["detail"].startswith("24 rows, 24 production-eligible, in ")
    assert [row["status"] for row in found["rows"]].count("not here") == 2


@pytest.fixture
def registry_without_history(tmp_path):
    """The shipped registry as a wheel has it."""
    shipped = Path(vmaf_assay.__file__).parent / "models"
    return shutil.copytree(shipped, tmp_path / "models", ignore=shutil.ignore_patterns("history"))
