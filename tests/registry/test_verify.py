"""Nothing in a registry can change unseen: neither one byte of a file nor one field of a row."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from tests.crafted import FORECAST, FR, edit_json
from vmaf_assay.cli.main import main
from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import sha256_bytes, write_bytes_atomic
from vmaf_assay.registry.manifest import Registry
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.registry.verify import verify_registry


def refused(folder) -> dict[str, str]:
    """What `verify` refuses, and why; a registry that cannot be read at all refuses everything."""
    try:
        reports = verify_registry(folder)
    except IntegrityError as error:
        return {"registry.json": str(error)}
    return {report.row_id: report.reason for report in reports if report.status == "refused"}


def loads(folder, ensemble=FR) -> bool:
    """Whether the ensemble opens; refused is IntegrityError, exit 4, and nothing else."""
    try:
        load_verified(folder, ensemble)
    except IntegrityError:
        return False
    return True


def flip(path, position: int) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_promoted_registry_verifies(registry):
    """Twelve rows of two ensembles, all production, deep checks included; both ensembles open."""
    reports = verify_registry(registry, deep=True)
    assert {report.status for report in reports} == {"production"}
    assert len(reports) == 12
    assert [r.row_id for r in reports if r.confidence_eligible] == [r.row_id for r in reports if FR in r.row_id]
    assert loads(registry)
    assert loads(registry, FORECAST)


def test_a_loaded_ensemble_answers(registry):
    """What opens is the fused graph of the current verdict, with its calibration."""
    verified = load_verified(registry, FR)
    answer = verified.ensemble.predict(np.full((3, 6), 0.5, np.float32), np.zeros((3, 14), np.float32))
    assert answer.members.shape == (3, 5)
    np.testing.assert_allclose(answer.mu, answer.members.mean(axis=1), rtol=1e-5)
    assert verified.verdict.sequence == 2
    assert verified.calibration.ensemble == FR
    assert verified.confidence_eligible


def current_files(folder) -> list[str]:
    """Files that the regressor's current rows rest on."""
    registry = read_registry(folder)
    rows = [row for row in registry.rows if row.id.startswith(FR)]
    verdict = load_verified(folder, FR).verdict
    return sorted(
        {row.onnx for row in rows}
        | {row.sidecar.file for row in rows}
        | {f"{FR}_predictions.{verdict.predictions_sha256[:12]}.parquet"}
        | {f"{FR}_seed_flip_PROMOTE.json", f"{FR}_seed_flip_PROMOTE.1.json", f"{FR}_seed_flip_PROMOTE.2.json"}
    )


def test_any_flipped_byte_is_refused(registry):
    """One bit of any file that a load rests on, at its start, middle or end: `verify` and the load both refuse."""
    names = current_files(registry)
    assert len(names) == 6 + 6 + 1 + 3
    for name in names:
        path = registry / name
        good = path.read_bytes()
        for position in (0, len(good) // 3, len(good) // 2, len(good) - 1):
            flip(path, position)
            assert refused(registry), (name, position)
            assert not loads(registry), (name, position)
            path.write_bytes(good)
    assert refused(registry) == {}


def test_any_flipped_byte_of_registry_json_is_refused(registry):
    """Every 101st byte of `registry.json`, spaces included: `verify` and the ensemble it concerns refuse."""
    path = registry / "registry.json"
    good = path.read_bytes()
    for position in range(0, len(good), 101):
        flip(path, position)
        assert refused(registry), position
        assert not (loads(registry) and loads(registry, FORECAST)), position
        path.write_bytes(good)


def test_history_is_kept_whole(registry):
    """A flipped byte in what an earlier verdict rests on is refused by `verify`: it is what one rolls back to."""
    older = list((registry / "history").iterdir())
    assert len(older) == 6 + 6 + 1 + 3
    for path in older:
        good = path.read_bytes()
        flip(path, len(good) // 2)
        assert refused(registry), path.name
        path.write_bytes(good)
    assert refused(registry) == {}


def test_what_earlier_verdicts_rest_on_may_be_elsewhere(registry):
    """Without the history the registry verifies and loads; what is not here is counted and named."""
    shutil.rmtree(registry / "history")
    reports = verify_registry(registry)
    assert {report.status for report in reports} == {"production", "not here"}
    (absent,) = [report for report in reports if report.status == "not here"]
    assert absent.row_id == FR
    assert absent.reason.startswith("16 files of verdict 1; ")
    assert f"`assay registry rollback {FR} --to N --from FOLDER`" in absent.reason
    assert loads(registry)
    assert main(["registry", "verify", "--registry", str(registry)]) == 0


def test_what_the_verdict_in_force_rests_on_must_be_here(registry):
    """A model, a sidecar or the predictions in force are never "not here"."""
    for path in [registry / name for name in current_files(registry) if "PROMOTE" not in name]:
        path.rename(registry.parent / path.name)
        assert refused(registry), path.name
        assert not loads(registry), path.name
        (registry.parent / path.name).rename(path)
    assert refused(registry) == {}


@pytest.mark.parametrize(
    "name", ["notes.txt", "registry.json", f"{FR}_seed_flip_PROMOTE.7.dsse", f"{FR}_seed9.0123456789ab.onnx"]
)
def test_an_unexpected_file_in_the_history_is_refused(registry, name):
    """The history holds files by content, and nothing else."""
    (registry / "history" / name).write_text("{}")
    assert list(refused(registry)) == [f"history/{name}"]


def test_a_history_that_is_a_link_is_refused(registry, tmp_path):
    """A link leads out of the folder; so does a link inside."""
    (registry / "history").rename(tmp_path / "elsewhere")
    (registry / "history").symlink_to(tmp_path / "elsewhere")
    assert refused(registry)
    assert not loads(registry)
    (registry / "history").unlink()
    (tmp_path / "elsewhere").rename(registry / "history")
    path = next((registry / "history").iterdir())
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    assert refused(registry)


def rows_with(folder, row_id, **changes) -> None:
    """Write `registry.json` in its own form with one row changed."""
    registry = read_registry(folder)
    document = registry.model_dump(mode="json")
    row = next(row for row in document["rows"] if row["id"] == row_id)
    row.update(changes)
    write_bytes_atomic(folder / "registry.json", Registry.model_validate(document).to_bytes())


EDITS = {
    "id": "a_seed9",
    "kind": "forecast",
    "opset": 9,
    "license": "MIT",
    "description": "better than ever",
    "notes": "",
    "smoke": True,
    "confidence_eligible": False,
    "sha256": "0" * 64,
    "verdict": None,
}


@pytest.mark.parametrize("row", ["mean", "seed3"])
@pytest.mark.parametrize("field", EDITS)
def test_no_field_of_a_row_changes_without_a_verdict(registry, field, row):
    """Any edit of a production row, a description included, is refused by `verify` and by every load."""
    rows_with(registry, f"{FR}_{row}", **({field: EDITS[field]} if field != "id" else {"id": f"{FR}_seed99"}))
    assert not loads(registry)
    assert refused(registry)


@pytest.mark.parametrize("field", ["onnx", "sidecar", "verdict"])
def test_file_names_of_a_row_are_bound(registry, field):
    """A copy of the right bytes under another name is not what was admitted."""
    row = read_registry(registry).row(f"{FR}_mean")
    named = row.model_dump(mode="json")[field]
    old = named if isinstance(named, str) else named["file"]
    new = "copy." + old.split(".", 1)[1]
    (registry / new).write_bytes((registry / old).read_bytes())
    rows_with(registry, row.id, **{field: new if isinstance(named, str) else named | {"file": new}})
    assert not loads(registry)
    assert row.id in refused(registry)


def repoint(folder, row_id, other_id) -> None:
    """Point a row at another row's model and sidecar, digests and sidecar adjusted, as the audit did."""
    other = read_registry(folder).row(other_id)
    sidecar = json.loads((folder / other.sidecar.file).read_bytes()) | {"id": row_id}
    data = json.dumps(sidecar, indent=1).encode() + b"\n"
    name = f"{row_id}.{sha256_bytes(data)[:12]}.json"
    (folder / name).write_bytes(data)
    ref = {"file": name, "sha256": sha256_bytes(data)}
    rows_with(folder, row_id, onnx=other.onnx, sha256=other.sha256, sidecar=ref)


def without(folder, *row_ids) -> None:
    """Drop rows."""
    registry = read_registry(folder)
    kept = Registry(rows=[row for row in registry.rows if row.id not in row_ids])
    write_bytes_atomic(folder / "registry.json", kept.to_bytes())


def empty_sidecars(folder) -> None:
    """Empty sidecars, digests adjusted."""
    for row in read_registry(folder).rows:
        if row.id.startswith(FR):
            (folder / row.sidecar.file).write_bytes(b"{}")
            rows_with(folder, row.id, sidecar={"file": row.sidecar.file, "sha256": sha256_bytes(b"{}")})


def edited_verdict(folder, change) -> None:
    """Edit the current verdict and adjust every digest that names it: rows, numbered file, plain file."""
    plain = folder / f"{FR}_seed_flip_PROMOTE.json"
    edit_json(plain, change)
    (folder / f"{FR}_seed_flip_PROMOTE.2.json").write_bytes(plain.read_bytes())
    for row in read_registry(folder).rows:
        if row.id.startswith(FR):
            rows_with(folder, row.id, verdict={"file": plain.name, "sha256": sha256_bytes(plain.read_bytes())})


def append_a_byte(folder) -> None:
    """The audit's control: a longer model."""
    path = folder / read_registry(folder).row(f"{FR}_seed0").onnx
    path.write_bytes(path.read_bytes() + b"\0")


def hold(document) -> None:
    """HOLD, mean 0.1."""
    document["verdict"] = "HOLD"
    document["gate"]["mean_plcc"] = 0.1


AUDIT = {
    "seed0 replaced by a copy of seed1": lambda f: repoint(f, f"{FR}_seed0", f"{FR}_seed1"),
    "seed0 replaced by the other ensemble's": lambda f: repoint(f, f"{FR}_seed0", f"{FORECAST}_seed0"),
    "five rows at seed0": lambda f: [repoint(f, f"{FR}_seed{seed}", f"{FR}_seed0") for seed in range(1, 5)],
    "seed4's row removed": lambda f: without(f, f"{FR}_seed4"),
    "all rows smoke": lambda f: [rows_with(f, row.id, smoke=True) for row in read_registry(f).rows],
    "empty sidecars": empty_sidecars,
    "the verdict deleted": lambda f: (f / f"{FR}_seed_flip_PROMOTE.json").unlink(),
    "the numbered verdict deleted": lambda f: (f / f"{FR}_seed_flip_PROMOTE.2.json").unlink(),
    "the first verdict deleted": lambda f: (f / f"{FR}_seed_flip_PROMOTE.1.json").unlink(),
    "the verdict edited to HOLD": lambda f: edit_json(f / f"{FR}_seed_flip_PROMOTE.json", hold),
    "the verdict edited to HOLD, digests adjusted": lambda f: edited_verdict(f, hold),
    "the verdict made better, digests adjusted": lambda f: edited_verdict(
        f, lambda d: d["gate"].update(mean_plcc=0.9999)
    ),
    "the sequence reset, digests adjusted": lambda f: edited_verdict(f, lambda d: d.update(sequence=1)),
    "another ensemble's verdict": lambda f: rows_with(
        f, f"{FR}_mean", verdict=read_registry(f).row(f"{FORECAST}_mean").model_dump(mode="json")["verdict"]
    ),
    "a model deleted": lambda f: (f / read_registry(f).row(f"{FR}_seed0").onnx).unlink(),
    "a byte appended": append_a_byte,
    "no registry.json": lambda f: (f / "registry.json").unlink(),
    "null for a registry": lambda f: (f / "registry.json").write_text("null\n"),
    "a list for a registry": lambda f: (f / "registry.json").write_text("[]\n"),
    "a key twice": lambda f: (f / "registry.json").write_text('{"schema_version": 1, "schema_version": 1}'),
    "another schema version": lambda f: edit_json(f / "registry.json", lambda d: d.update(schema_version=2)),
    "a row twice": lambda f: edit_json(f / "registry.json", lambda d: d["rows"].append(d["rows"][-1])),
    "an absolute path": lambda f: edit_json(f / "registry.json", lambda d: d["rows"][0].update(onnx="/bin/sh")),
    "an escape": lambda f: edit_json(f / "registry.json", lambda d: d["rows"][0].update(onnx="../x.onnx")),
}


@pytest.mark.parametrize("what", AUDIT)
def test_what_the_reference_system_let_through_is_refused(registry, what):
    """Each tampering of the audit, and its like, is refused by `verify` and by the load."""
    AUDIT[what](registry)
    assert refused(registry)
    assert not loads(registry)


@pytest.mark.parametrize("text", [lambda d: json.dumps(d), lambda d: json.dumps(d, indent=1) + " \n"])
def test_registry_json_has_one_form(registry, text):
    """The same rows in other bytes were written by hand: refused, so that no byte is free."""
    path = registry / "registry.json"
    path.write_text(text(json.loads(path.read_bytes())))
    assert "edited by hand" in refused(registry)["registry.json"]
    assert not loads(registry)


def test_sequence_numbers_only_rise(registry):
    """A verdict with a lower number than the one it replaced is refused, its digests adjusted."""
    edited_verdict(registry, lambda d: d.update(sequence=0))
    (registry / f"{FR}_seed_flip_PROMOTE.2.json").rename(registry / f"{FR}_seed_flip_PROMOTE.0.json")
    assert "out of sequence" in refused(registry)[f"{FR}_mean"]
    assert not loads(registry)


def test_predictions_must_give_the_verdict(registry):
    """A verdict whose numbers its own predictions do not give is refused by `verify`, all digests adjusted."""
    old = next(registry.glob(f"{FR}_predictions.*.parquet"))
    table = pl.read_parquet(old.read_bytes()).with_columns(pl.col("prediction") + 30 * (pl.col("row") % 2))
    table = table.with_columns(pl.col("prediction").cast(pl.Float32))
    path = registry / "new.parquet"
    table.write_parquet(path)
    digest = sha256_bytes(path.read_bytes())
    path.rename(registry / f"{FR}_predictions.{digest[:12]}.parquet")
    edited_verdict(registry, lambda d: d.update(predictions_sha256=digest))
    assert "does not give the gate" in refused(registry)[f"{FR}_mean"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(protocol="3 grouped folds"), "says 3 grouped folds, its predictions are of leave-one"),
        (lambda d: d["corpus"].update(n_rows=10**6), "n_rows 1000000, its predictions have"),
        (lambda d: d["corpus"].update(n_cells=1), "more than the verdict says"),
        (lambda d: d["corpus"].update(n_cells="many"), "more than the verdict says"),
    ],
    ids=["protocol", "rows", "cells", "no number"],
)
def test_a_verdicts_words_on_its_predictions_must_fit(registry, change, says):
    """How groups were left out, rows and cells: `verify` compares them with the predictions."""
    edited_verdict(registry, change)
    assert says in refused(registry)[f"{FR}_mean"]


def test_coverage_must_be_what_the_predictions_give(registry):
    """`verify --deep` recomputes coverage: an eligibility that the predictions do not support is refused."""
    edited_verdict(registry, lambda d: d["coverage"][0].update(coverage=1.0))
    assert refused(registry) == {}
    reasons = [report.reason for report in verify_registry(registry, deep=True) if report.status == "refused"]
    assert len(reasons) == 6
    assert all("coverage" in reason for reason in reasons)


@pytest.mark.parametrize("suffix", ["onnx", "sidecar"])
def test_links_are_refused(registry, tmp_path, suffix):
    """A symbolic link is refused even to the right bytes: what it leads to can change after the check."""
    row = read_registry(registry).row(f"{FR}_mean")
    path = registry / (row.onnx if suffix == "onnx" else row.sidecar.file)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not loads(registry)
    assert "symbolic link" in refused(registry)[row.id]


@pytest.mark.parametrize(
    ("name", "content"),
    [("evil.onnx", b"x"), ("weights.onnx.data", b"x"), ("a.000000000000.onnx", b"x"), ("NOTES.txt", b"x")],
)
def test_a_file_nobody_accounts_for_is_refused(registry, name, content):
    """A stray file is named by `verify`; one whose content is not what its name says as well."""
    (registry / name).write_bytes(content)
    assert list(refused(registry)) == [name]


def test_a_folder_or_link_is_no_readme(registry, tmp_path):
    """Only plain `.md` files may lie about."""
    (registry / "README.md").write_text("hello")
    assert refused(registry) == {}
    (registry / "sub.md").mkdir()
    (registry / "link.md").symlink_to(tmp_path)
    assert sorted(refused(registry)) == ["link.md", "sub.md"]


def scaffolded(folder):
    """The regressor's rows as a scaffold: smoke, no verdict, no promises."""
    registry = read_registry(folder)
    changes = {"smoke": True, "verdict": None, "confidence_eligible": False}
    rows = [row.model_copy(update=changes) if row.id.startswith(FR) else row for row in registry.rows]
    write_bytes_atomic(folder / "registry.json", Registry(rows=rows).to_bytes())


def test_a_scaffold_verifies_and_does_not_load(registry):
    """A smoke row is a load-path probe: it matches its digests, and no consumer gets it."""
    scaffolded(registry)
    statuses = {report.row_id: report.status for report in verify_registry(registry)}
    assert statuses[f"{FR}_seed0"] == "scaffolded"
    assert "refused" not in statuses.values()
    with pytest.raises(IntegrityError, match="scaffolded"):
        load_verified(registry, FR)
    flip(registry / read_registry(registry).row(f"{FR}_seed0").onnx, 100)
    assert next(iter(refused(registry))) == f"{FR}_seed0"


def test_a_flip_by_hand_is_refused(registry):
    """`smoke: false` without a verdict is what the reference system's first flip was."""
    scaffolded(registry)
    for seed in range(5):
        rows_with(registry, f"{FR}_seed{seed}", smoke=False)
    assert len([row for row in refused(registry) if row.startswith(FR)]) == 5
    assert not loads(registry)


def test_an_unknown_ensemble_is_refused(registry, tmp_path):
    """Absent is refused: an id that is not there, a folder that is not there."""
    for folder, ensemble in ((registry, "other"), (tmp_path / "nowhere", FR)):
        with pytest.raises(IntegrityError):
            load_verified(folder, ensemble)


def test_one_ensemble_does_not_vouch_for_another(registry):
    """A broken ensemble does not stop the other from loading, and does not hide behind it."""
    flip(registry / read_registry(registry).row(f"{FR}_mean").onnx, 200)
    assert not loads(registry, FR)
    assert loads(registry, FORECAST)
    shutil.rmtree(registry)
    assert not loads(registry, FORECAST)
