"""Keys, signatures, acts and audits on the command line: exit codes, one JSON document, nothing secret printed."""

import json
import shutil

import pytest

from tests.crafted import FR, edit_json, held_out_predictions, make_run
from vmaf_assay.cli.main import main
from vmaf_assay.media.files import write_json_atomic


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Two runs, a key, and a registry that holds both runs, the second one signed."""
    folder = tmp_path_factory.mktemp("shelf")
    for at, name in enumerate(("first", "second")):
        table = held_out_predictions(draw=at)
        make_run(folder / name, predictions=table, corpus=name, weights_of=lambda seed, at=at: seed + 30 * at)
        assert main(["validate", str(folder / name)]) == 0
    assert main(["keys", "generate", "-o", str(folder / "key"), "--owner", "Ada"]) == 0
    registry = str(folder / "registry")
    assert main(["promote", str(folder / "first"), "--registry", registry, "--by", "ada@example.org"]) == 0
    signed = ["--sign", str(folder / "key"), "--reason", "more clips"]
    assert main(["promote", str(folder / "second"), "--registry", registry, *signed]) == 0
    return folder


@pytest.fixture
def registry(shelf, tmp_path, monkeypatch, capsys):
    """A copy of its registry, named by the environment."""
    capsys.readouterr()
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_REGISTRY", str(tmp_path / "registry"))
    return shutil.copytree(shelf / "registry", tmp_path / "registry")


def answer(capsys):
    """The JSON document on stdout."""
    return json.loads(capsys.readouterr().out)


def test_a_private_key_is_never_printed(tmp_path, monkeypatch, capsys):
    """Neither `generate` nor `show` prints a byte of it, with and without a passphrase."""
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE", "correct horse")
    for name, options in (("plain", []), ("locked", ["--passphrase"])):
        folder = tmp_path / name
        for argv in (
            ["keys", "generate", "-o", str(folder), *options],
            ["keys", "show", str(folder)],
            ["keys", "show", str(folder / "private.pem"), "--json"],
        ):
            assert main(argv) == 0
            said = "".join(capsys.readouterr())
            lines = (folder / "private.pem").read_text().splitlines()
            assert not any(line in said for line in lines if len(line) > 8)
            assert "correct horse" not in said
    assert main(["keys", "show", str(tmp_path / "plain"), "--json"]) == 0
    assert set(answer(capsys)) == {"schema_version", "key_id", "public", "owner"}


def test_bad_keys_are_one_line_and_exit_2(registry, tmp_path, capsys):
    """A key that others can read, one that is not there, a second into the same folder, one in the registry."""
    assert main(["keys", "generate", "-o", str(tmp_path / "key")]) == 0
    assert main(["keys", "generate", "-o", str(tmp_path / "key")]) == 2
    assert main(["keys", "generate", "-o", str(registry / "key")]) == 2
    (tmp_path / "key" / "private.pem").chmod(0o644)
    assert main(["registry", "sign", FR, "--sign", str(tmp_path / "key")]) == 2
    assert main(["registry", "sign", FR, "--sign", str(tmp_path / "nothing")]) == 2
    assert main(["registry", "sign", FR]) == 2
    assert main(["registry", "rollback", FR, "--reason", "x", "--expires-days", "3"]) == 2
    assert main(["registry", "rollback", FR, "--reason", " "]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["registry", "history", FR, "--json"]) == 0
    assert len(answer(capsys)) == 2


def test_history_on_the_command_line(registry, shelf, capsys):
    """Who, when, why and digests, as text in 80 columns and as JSON."""
    assert main(["registry", "history"]) == 0
    text = capsys.readouterr().out
    key = json.loads((shelf / "key" / "public.json").read_bytes())["key_id"]
    assert f"key {key[:12]}" in text
    assert "ada@example.org" in text
    assert "why: more clips" in text
    assert max(map(len, text.splitlines())) <= 80
    assert main(["registry", "history", FR, "--json"]) == 0
    newest, first = answer(capsys)
    assert (newest["sequence"], newest["in_force"], newest["signed_by"]) == (2, True, [key])
    assert (first["by"], first["signed_by"], first["reason"]) == ("ada@example.org", [], None)
    assert newest["previous_verdict_sha256"] == first["verdict_sha256"]


def test_from_rollback_to_retirement_and_back(registry, capsys):
    """rollback, rejudge, supersede, rollback --to: exit 0 and a rising number; what cannot be is exit 2."""
    numbers = []
    for argv in (
        ["rollback", FR, "--reason", "worse", "--by", "ada"],
        ["rejudge", FR, "--reason", "again"],
        ["supersede", FR, "--reason", "broken clips"],
        ["rollback", FR, "--reason", "all right", "--to", "2"],
    ):
        assert main(["registry", *argv, "--json"]) == 0
        numbers.append(answer(capsys)["sequence"])
        assert main(["registry", "verify"]) == 0
        capsys.readouterr()
    assert numbers == [3, 4, 5, 6]
    assert main(["registry", "rollback", FR, "--reason", "x", "--to", "9"]) == 2
    assert main(["registry", "rollback", "other", "--reason", "x"]) == 2
    assert main(["registry", "rollback", FR]) == 2
    assert main(["registry", "supersede", FR, "--reason", "over"]) == 0
    capsys.readouterr()
    assert main(["registry", "show", f"{FR}_mean"]) == 4
    assert "taken out of service" in capsys.readouterr().err


def test_a_trust_policy_on_the_command_line(registry, shelf, tmp_path, monkeypatch, capsys):
    """Believed: exit 0. Unsigned, an unknown key, a replay: exit 4, from every verb that reads."""
    key = json.loads((shelf / "key" / "public.json").read_bytes())
    policy = tmp_path / "trust-policy.json"
    rule = {"keys": [key["key_id"]], "threshold": 1}
    keys = {key["key_id"]: {"public": key["public"]}}
    write_json_atomic(policy, {"schema_version": 1, "name": "p", "keys": keys, "default": rule})
    table = tmp_path / "rows.csv"
    table.write_text(
        "adm2,vif_scale0,vif_scale1,vif_scale2,vif_scale3,motion2,encoder,preset,rate_value\n"
        "0.5,0.5,0.5,0.5,0.5,0.5,libx264,medium,24\n"
    )
    predict = ["predict", "--table", str(table), "--trust-policy", str(policy)]
    assert main(["registry", "verify", "--trust-policy", str(policy)]) == 0
    assert main(predict) == 0
    monkeypatch.setenv("ASSAY_TRUST_POLICY", str(policy))
    assert main(["registry", "show", f"{FR}_mean"]) == 0
    assert main(["registry", "rollback", FR, "--reason", "unsigned"]) == 0
    capsys.readouterr()
    for argv in (["registry", "verify"], predict, ["registry", "show", f"{FR}_mean"]):
        assert main(argv) == 4
        assert "is unsigned" in capsys.readouterr().err
    assert main(["registry", "sign", FR, "--sign", str(shelf / "key")]) == 0
    assert main(predict) == 0
    shutil.rmtree(registry)
    shutil.copytree(shelf / "registry", registry)
    capsys.readouterr()
    assert main(predict) == 4
    assert "a replay" in capsys.readouterr().err


def test_the_audit_page(registry, capsys):
    """One page of at most 80 columns: every fact that admitted the row; as JSON in full; exit 4 if it differs."""
    assert main(["registry", "verify", "--deep", f"{FR}_seed0"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 66
    assert main(["registry", "verify", "--deep", FR, "--json"]) == 0
    document = answer(capsys)
    assert document["agrees"]
    assert [check["outcome"] for check in document["checks"]] == ["agrees"] * 5
    verdict = document["verdict"]
    for fact in (
        document["verdict_sha256"],
        verdict["corpus"]["digest"],
        verdict["predictions_sha256"],
        verdict["members"][f"{FR}_mean"],
        verdict["members"][f"{FR}_seed4"],
        verdict["policy_sha256"][:12],
        document["signed_by"][0],
        "g00-s0",
        "python 3",
        "name crafted",
        "coverage: agrees",
        "more clips",
    ):
        assert fact in text, fact
    assert main(["registry", "verify", "--deep", "other"]) == 2
    edit_json(registry / f"{FR}_seed_flip_PROMOTE.1.json", lambda d: d["coverage"][0].update(coverage=1.0))
    assert main(["registry", "verify", "--deep", FR]) == 4


def test_retrain_needs_a_corpus_and_a_row(registry, tmp_path, capsys):
    """--retrain without --corpus, or without a row, or with another corpus: exit 2, one line each."""
    for argv in (["--retrain", FR], ["--retrain", "--corpus", str(tmp_path)], [FR, "--corpus", str(tmp_path)]):
        assert main(["registry", "verify", *argv]) == 2
    assert capsys.readouterr().err.count("\n") == 3
