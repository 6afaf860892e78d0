"""`--json`: document, schema and real output say the same, and a change is in the changelog."""

import copy
import dataclasses
import json
import re
import runpy
from pathlib import Path

import jsonschema
import pytest

import vmaf_assay
from tests.crafted import FR, edit_json, make_run
from tests.synthetic import write_synthetic_corpus
from tests.tune.test_compare import two_encoders
from vmaf_assay.cli.main import main
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.tune.result import TuneResult

ROOT = Path(__file__).parents[1]
FOLDER = Path(vmaf_assay.__file__).parent / "schemas" / "output"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "write_output_schemas.py"))
SCHEMAS = SCRIPT["schemas"]()


def closed(schema: dict) -> dict:
    """The schema with every field it does not name forbidden."""
    schema = copy.deepcopy(schema)

    def close(at: dict) -> None:
        if "properties" in at:
            at["additionalProperties"] = False
        inside = [*at.get("properties", {}).values(), *at.get("anyOf", [])]
        for child in [*inside, at.get("items"), at.get("additionalProperties")]:
            if isinstance(child, dict):
                close(child)

    close(schema)
    return schema


def check(verb: str, text: str) -> dict:
    """One document on stdout that the closed schema accepts."""
    document = json.loads(text)
    jsonschema.Draft202012Validator(closed(SCHEMAS[verb])).validate(document)
    return document


def test_published_schemas_are_the_document():
    """The shipped schemas are what docs/json-output.md says, as its script writes them."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{verb}.schema.json" for verb in SCHEMAS}
    for verb, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert json.loads((FOLDER / f"{verb}.schema.json").read_text()) == schema, verb


def test_tables_are_the_records():
    """The tables of `tune`, `compare` and pairs are what their records say, as the script writes them."""
    page = (ROOT / "docs" / "json-output.md").read_text(encoding="utf-8")
    assert SCRIPT["page"]() == page, "run scripts/write_output_schemas.py"
    names = {name for name, _, _ in SCRIPT["fields_of"](TuneResult)}
    assert {field.name for field in dataclasses.fields(TuneResult)} <= names
    assert "measured_vmaf" in names
    assert ("kbps", "number or null") in {(name, kind) for name, kind, _ in SCRIPT["fields_of"](TuneResult)}


def test_every_field_has_a_type_and_a_meaning():
    """No field is described by its name alone, and lists and objects say what is in them."""

    def fields(at: dict):
        for name, field in at.get("properties", {}).items():
            yield name, field
            yield from fields(field)
            yield from fields(field.get("items", {}))

    def parts(schema: dict):
        return [part.get("items", part) for part in schema.get("anyOf", [schema])]

    for verb, part in [(verb, part) for verb, schema in SCHEMAS.items() for part in parts(schema)]:
        assert part["properties"], verb
        for name, field in fields(part):
            assert field["type"], (verb, name)
            assert len(field["description"]) > 3, (verb, name)
            if "object" in field["type"] and ".schema.json" not in field["description"]:
                assert "properties" in field or "additionalProperties" in field, (verb, name)


def test_a_changed_contract_is_in_the_changelog():
    """The changelog names the digest of today's schemas, so no field changes unannounced."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"JSON contract {SCRIPT['digest']()}" in text, (
        "run scripts/write_output_schemas.py and say what changed"
    )


def test_the_changelog_is_for_users():
    """No hash is shown: the contract's digest stands in a comment, commits are not named."""
    shown = re.sub(r"<!--.*?-->", "", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    hashes = re.findall(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b", shown)
    assert hashes == [], "write what changed in words; end the section in <!-- JSON contract DIGEST -->"


def test_closed_schemas_refuse_what_is_not_described():
    """The check below can fail: a new field, a missing one and a wrong type are each refused."""
    good = {"run": "r", "model_id": "m", "protocol": "p", "seeds": []}
    check("train", json.dumps(good))
    for bad in ({**good, "new": 1}, {"run": "r", "seeds": []}, {**good, "run": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check("train", json.dumps(bad))


def test_runs_and_registries(tmp_path, capsys):
    """`gate`, `promote`, `registry verify` and its audit, on a crafted run."""
    run = make_run(tmp_path / "run")
    assert main(["gate", str(run), "--json"]) == 0
    check("gate", capsys.readouterr().out)
    assert main(["validate", str(run)]) == 0
    capsys.readouterr()
    assert main(["promote", str(run), "--registry", str(tmp_path / "models"), "--json"]) == 0
    check("promote", capsys.readouterr().out)
    assert main(["registry", "verify", "--registry", str(tmp_path / "models"), "--json"]) == 0
    assert check("registry_verify", capsys.readouterr().out)["verified"] is True
    argv = ["registry", "verify", "--deep", f"{FR}_mean", "--registry", str(tmp_path / "models"), "--json"]
    assert main(argv) == 0
    check("registry_verify_deep", capsys.readouterr().out)
    (tmp_path / "models" / "odd.txt").write_text("x")
    assert main(["registry", "verify", "--registry", str(tmp_path / "models"), "--json"]) == 4
    assert check("registry_verify", capsys.readouterr().out)["verified"] is False


def test_histories_and_keys(tmp_path, capsys):
    """Every act of a crafted registry, its list, its rows and its history, and both verbs of keys."""
    run, models, key = make_run(tmp_path / "run"), str(tmp_path / "models"), str(tmp_path / "key")

    def answer(verb: str, *argv: str):
        assert main([*argv, "--json"]) == 0
        return check(verb, capsys.readouterr().out)

    made = answer("keys_generate", "keys", "generate", "-o", key, "--owner", "Ada")
    assert answer("keys_show", "keys", "show", key) == made
    assert main(["validate", str(run)]) == main(["promote", str(run), "--registry", models]) == 0
    capsys.readouterr()
    at = ["--registry", models]
    why = ["--reason", "grain", *at]
    assert answer("registry_sign", "registry", "sign", FR, "--sign", key, *at)["signed_by"] == [made["key_id"]]
    rows = answer("registry_list", "registry", "list", *at)
    assert answer("registry_show", "registry", "show", f"{FR}_mean", *at)["row"] in rows
    assert answer("registry_revalidate", "registry", "revalidate", FR, *why)["act"]["kind"] == "rejudge"
    assert answer("registry_retire", "registry", "retire", FR, "--by", "Ada", *why)["sequence"] == 3
    back = answer("registry_rollback", "registry", "rollback", FR, "--to", "1", *why)
    assert back["act"]["returns_to"]["sequence"] == 1
    history = answer("registry_history", "registry", "history", FR, *at)
    assert [entry["kind"] for entry in history] == ["rollback", "supersede", "rejudge", "promote"]
    assert history[3]["signed_by"] == [made["key_id"]]
    with pytest.raises(jsonschema.ValidationError):
        check("registry_history", json.dumps([{**history[0], "new": 1}]))
    as_scaffolded = {"smoke": True, "verdict": None, "confidence_eligible": False}
    edit_json(tmp_path / "models" / "registry.json", lambda found: found["rows"][0].update(as_scaffolded))
    bare = answer("registry_show", "registry", "show", rows[0]["id"], *at)
    assert bare == rows[0] | as_scaffolded


def test_corpora_and_training(tmp_path, capsys):
    """`corpus info` and `train`, on a corpus that needs no encoder."""
    write_synthetic_corpus(tmp_path / "corpus")
    assert main(["corpus", "info", str(tmp_path / "corpus"), "--json"]) == 0
    check("corpus_info", capsys.readouterr().out)
    there, packed, rows = (str(tmp_path / name) for name in ("corpus", "packed", "rows.jsonl"))
    assert main(["corpus", "verify", there, "--json"]) == 0
    digest = check("corpus_verify", capsys.readouterr().out)["digest"]
    assert main(["corpus", "pack", there, "-o", packed, "--json"]) == 0
    assert check("corpus_pack", capsys.readouterr().out) == {"path": packed, "digest": digest}
    assert main(["corpus", "export", there, "-o", rows, "--json"]) == 0
    assert check("corpus_export", capsys.readouterr().out)["n_rows"] > 0
    assert main(["corpus", "import", rows, "-o", str(tmp_path / "again"), "--preset", "medium", "--json"]) == 0
    check("corpus_import", capsys.readouterr().out)
    argv = ["train", str(tmp_path / "corpus"), "-o", str(tmp_path / "run"), "--seeds", "0,1", "--json"]
    assert main(argv) == 0
    check("train", capsys.readouterr().out)


def test_predictions(tmp_path, capsys):
    """`predict --table` with the shipped regressor, one row inside what it has seen and one far outside."""
    good = "0.95,0.6,0.9,0.93,0.95,5.0,libx264,medium,28"
    header = "adm2,vif_scale0,vif_scale1,vif_scale2,vif_scale3,motion2,encoder,preset,rate_value"
    (tmp_path / "t.csv").write_text(f"{header}\n{good}\n0.95,90,0.9,0.93,0.95,5.0,libx264,medium,28\n")
    assert main(["predict", "--table", str(tmp_path / "t.csv"), "--json"]) == 1
    assert [row["supported"] for row in check("predict", capsys.readouterr().out)["rows"]] == [True, False]


@pytest.mark.ffmpeg
def test_tunes_and_comparisons(clip, tmp_path, capsys, monkeypatch):
    """`tune` with and without an output, and `compare` with and without measuring, through real encodes."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_, **__: two_encoders())
    asked = ["--target-vmaf", "80", "--quality-confidence", "0.9", "--json"]
    out = [
        "-o",
        str(tmp_path / "o.mkv"),
        "--verify",
        "--max-bitrate",
        "90000",
        "--report",
        str(tmp_path / "p.html"),
    ]
    for more in ([], out):
        assert main(["tune", str(clip), *asked, *more]) in (0, 1)
        document = check("tune", capsys.readouterr().out)
    assert len(document["frame_vmaf"]) == document["n_frames"] == 12
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert f"{document['measured_vmaf']:.2f}" in page
    assert page.count("data:image/jpeg;base64,") == 2
    (tmp_path / "bad.mkv").write_bytes(b"x")
    many = [str(clip), str(tmp_path / "bad.mkv"), "--out-dir", str(tmp_path / "all")]
    assert main(["tune", *many, *asked]) >= 2
    lines = [check("tune_out_dir", line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("status") for line in lines] == ["done", "failed", None]
    assert (lines[2]["summary"]["sources"], lines[2]["summary"]["failed"]) == (2, 1)
    assert main(["tune", *many, *asked]) >= 2
    again = [check("tune_out_dir", line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("status") for line in again] == ["skipped", "failed", None]
    changing = {"status"}
    assert [key for key in lines[0] if key not in changing and lines[0][key] != again[0][key]] == []
    assert (again[2]["summary"]["skipped"], again[2]["summary"]["encodes_spent"]) == (1, 0)
    for more in ([], ["--measure"]):
        assert main(["compare", str(clip), "-e", "libx264", "-e", "libx265", *asked, *more]) in (0, 1)
        check("compare", capsys.readouterr().out)


@pytest.mark.ffmpeg
def test_the_doctor(tmp_path, capsys):
    """`doctor`, well, and without an ffmpeg."""
    assert main(["doctor", "--json"]) == 0
    assert len(check("doctor", capsys.readouterr().out)["encoders"]) == len(ENCODERS)
    assert main(["doctor", "--json", "--ffmpeg", str(tmp_path / "absent")]) == 3
    check("doctor", capsys.readouterr().out)


def test_every_verb_with_json_is_described():
    """A command that takes `--json` has its section on the page."""
    from tests.cli.test_terminal import ALL

    page = (ROOT / "docs" / "json-output.md").read_text(encoding="utf-8")
    silent = [
        " ".join(path)
        for path, command in ALL
        if any("--json" in parameter.opts for parameter in command.params)
        and not command.hidden  # an old name of another verb
        and not re.search(rf"assay {' '.join(path)}\b", page)
        and not (len(path) == 2 and f"## `assay {path[0]}`" in page and f"`{path[1]}" in page)
    ]
    assert silent == []
