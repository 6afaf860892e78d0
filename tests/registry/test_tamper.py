"""The tamper matrix: every class of bytes of the shipped registry changed, and every consumer refuses.

`assay registry verify`, `load_verified`, `assay predict` and `assay tune` are each asked, on a copy of the
registry that ships, with both ensembles tampered with: exit 4 and the reason in words. Where it says "forged",
every digest that names the change was adjusted, in rows and verdict, as one who may write the folder could do
without a key.
"""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pytest
from pydantic_core import to_json

from tests.crafted import FORECAST, FR
from tests.registry.test_verify import flip, rows_with
from vmaf_assay.cli.main import main
from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import canonical_json, sha256_bytes, write_bytes_atomic
from vmaf_assay.model.sidecar import (
    ChoiceCalibration,
    GroupResiduals,
    HeldOutCurve,
    IntervalCalibration,
    ProbeSpec,
)
from vmaf_assay.records import CANONICAL6
from vmaf_assay.registry.files import verdict_name
from vmaf_assay.registry.manifest import Registry, Row, ensemble_of
from vmaf_assay.registry.store import load_verified, read_registry, registry_dir
from vmaf_assay.registry.verify import verify_registry

ENSEMBLES = (FR, FORECAST)


@pytest.fixture
def shipped(tmp_path) -> Path:
    """A copy of the registry that ships."""
    return shutil.copytree(registry_dir(None), tmp_path / "registry")


def row_of(folder: Path, row_id: str) -> Row:
    """A row as written."""
    row = read_registry(folder).row(row_id)
    assert row is not None
    return row


def verdict_files(folder: Path, ensemble: str) -> list[Path]:
    """The plain copy of the current verdict, and its numbered original."""
    plain = folder / verdict_name(ensemble)
    return [plain, folder / verdict_name(ensemble, json.loads(plain.read_bytes())["sequence"])]


def predictions_file(folder: Path, ensemble: str) -> Path:
    """The held-out predictions of the current verdict."""
    digest = json.loads((folder / verdict_name(ensemble)).read_bytes())["predictions_sha256"]
    return folder / f"{ensemble}_predictions.{digest[:12]}.parquet"


def onnx_file(folder: Path, row_id: str) -> Path:
    """A row's model."""
    return folder / row_of(folder, row_id).onnx


def sidecar_file(folder: Path, row_id: str) -> Path:
    """A row's sidecar."""
    return folder / row_of(folder, row_id).sidecar.file


def forge(
    folder: Path,
    ensemble: str,
    *,
    which: str = "mean",
    model: Callable[[bytes], bytes] | None = None,
    sidecar: Callable[[dict[str, Any]], None] | None = None,
    verdict: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Change a model (the fused one if no other is named), its sidecar or the verdict, and make all else agree."""
    registry = read_registry(folder)
    document = json.loads((folder / verdict_name(ensemble)).read_bytes())
    rows = {row.id: row for row in registry.rows}
    row = rows[f"{ensemble}_{which}"]
    data = (folder / row.onnx).read_bytes()
    if model is not None:
        data = model(data)
    beside = json.loads((folder / row.sidecar.file).read_bytes()) | {"onnx_sha256": sha256_bytes(data)}
    if sidecar is not None:
        sidecar(beside)
    text = json.dumps(beside, indent=1, ensure_ascii=False).encode() + b"\n"
    names = [f"{row.id}.{sha256_bytes(part)[:12]}.{kind}" for part, kind in ((data, "onnx"), (text, "json"))]
    for old, name, part in zip((row.onnx, row.sidecar.file), names, (data, text), strict=True):
        (folder / old).unlink()
        (folder / name).write_bytes(part)
    ref = row.sidecar.model_copy(update={"file": names[1], "sha256": sha256_bytes(text)})
    rows[row.id] = row.model_copy(update={"onnx": names[0], "sha256": sha256_bytes(data), "sidecar": ref})
    document["members"][row.id], document["sidecars"][row.id] = sha256_bytes(data), sha256_bytes(text)
    document["rows"][row.id] = rows[row.id].binding()
    if verdict is not None:
        verdict(document)
    judged = json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
    for path in verdict_files(folder, ensemble):
        path.write_bytes(judged)
    named = row.verdict.model_copy(update={"sha256": sha256_bytes(judged)})
    done = [r.model_copy(update={"verdict": named}) if ensemble in r.id else r for r in rows.values()]
    write_bytes_atomic(folder / "registry.json", Registry(rows=done).to_bytes())


def external_tensor(data: bytes) -> bytes:
    """A graph with its first matrix in another file."""
    model = onnx.load_from_string(data)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())


def loop(data: bytes) -> bytes:
    """A graph with control flow."""
    model = onnx.load_from_string(data)
    empty = onnx.helper.make_graph([], "empty", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["mu"], ["x"], then_branch=empty, else_branch=empty))
    return bytes(model.SerializeToString())


def swap(one: Path, other: Path) -> None:
    """Exchange two files."""
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)


def swap_rows(folder: Path, ensemble: str) -> None:
    """Two rows each with the other's model and sidecar."""
    rows = [row_of(folder, f"{ensemble}_seed{seed}").model_dump(mode="json") for seed in (0, 1)]
    for row, other in (rows, rows[::-1]):
        rows_with(folder, row["id"], **{key: other[key] for key in ("onnx", "sha256", "sidecar")})


def link(path: Path) -> None:
    """A symbolic link to the right bytes."""
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else at a file's path."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def copied(folder: Path, ensemble: str) -> None:
    """The row names a copy of the right bytes."""
    row = row_of(folder, f"{ensemble}_mean")
    (folder / f"copy.{row.sha256[:12]}.onnx").write_bytes((folder / row.onnx).read_bytes())
    rows_with(folder, row.id, onnx=f"copy.{row.sha256[:12]}.onnx")


def foreign_verdict(folder: Path, ensemble: str) -> None:
    """Every row names the verdict of the other ensemble."""
    other = FORECAST if ensemble == FR else FR
    ref = {"file": verdict_name(other), "sha256": sha256_bytes(verdict_files(folder, other)[0].read_bytes())}
    for row in read_registry(folder).rows:
        if row.id.startswith(ensemble):
            rows_with(folder, row.id, verdict=ref)


def hold(document: dict[str, Any]) -> None:
    """A HOLD."""
    document["verdict"] = "HOLD"
    document["gate"]["passed"] = False


def at(find: Callable[..., Path], which: str, change: Callable[[Path], object]) -> Callable[[Path, str], None]:
    """A change of the file of one row."""
    return lambda folder, ensemble: change(find(folder, f"{ensemble}_{which}")) and None


def middle(path: Path) -> None:
    """One bit of the middle byte."""
    flip(path, path.stat().st_size // 2)


def each_verdict(change: Callable[[Path], object]) -> Callable[[Path, str], None]:
    """A change of both files of the current verdict."""
    return lambda folder, ensemble: [change(path) for path in verdict_files(folder, ensemble)] and None


@dataclass(frozen=True)
class Tamper:
    """One tampering."""

    change: Callable[[Path, str], Any]
    """Does it to one ensemble of a registry."""
    says: str
    """What `verify` and the load say, as a pattern."""


DIGEST = "does not match its digest"
MATRIX = {
    "a byte of a member graph": Tamper(at(onnx_file, "seed2", middle), DIGEST),
    "a byte of the fused graph": Tamper(at(onnx_file, "mean", middle), DIGEST),
    "a byte appended to a model": Tamper(
        at(onnx_file, "seed0", lambda p: p.write_bytes(p.read_bytes() + b"\0")), DIGEST
    ),
    "an external-data tensor, forged": Tamper(
        lambda f, e: forge(f, e, model=external_tensor), "outside the model file"
    ),
    "an external-data tensor of a member, forged": Tamper(
        lambda f, e: forge(f, e, which="seed3", model=external_tensor), "outside the model file"
    ),
    "control flow in the graph, forged": Tamper(lambda f, e: forge(f, e, model=loop), "'If' is not allowed"),
    "a byte of a member's sidecar": Tamper(at(sidecar_file, "seed4", middle), DIGEST),
    "a byte of the calibration": Tamper(at(sidecar_file, "mean", middle), DIGEST),
    "an empty sidecar": Tamper(at(sidecar_file, "mean", lambda p: p.write_bytes(b"{}")), DIGEST),
    "another calibration, forged": Tamper(
        lambda f, e: forge(f, e, sidecar=lambda d: d["calibration"].update(ensemble="other")),
        "calibration of .* is not the verdict's",
    ),
    "a sidecar of another model, forged": Tamper(
        lambda f, e: forge(f, e, sidecar=lambda d: d.update(id=f"{e}_seed0")), "describes another model"
    ),
    "a byte of the predictions": Tamper(lambda f, e: middle(predictions_file(f, e)), DIGEST),
    "no predictions": Tamper(lambda f, e: predictions_file(f, e).unlink(), "is missing"),
    "another corpus digest, forged": Tamper(
        lambda f, e: forge(f, e, verdict=lambda d: d["corpus"].update(digest="0" * 64)), "names another corpus"
    ),
    "another gate policy, forged": Tamper(
        lambda f, e: forge(f, e, verdict=lambda d: d.update(policy_sha256="0" * 64)), "policy"
    ),
    "a byte of the verdict": Tamper(each_verdict(middle), "no verdict .* with digest|is not the verdict"),
    "no verdict": Tamper(each_verdict(Path.unlink), "no verdict .* with digest"),
    "a HOLD, forged": Tamper(lambda f, e: forge(f, e, verdict=hold), "contradicts|is not a PROMOTE|HOLD"),
    "a better mean, forged": Tamper(
        lambda f, e: forge(f, e, verdict=lambda d: d["gate"].update(mean_plcc=0.9999)),
        "contradicts its own fold table",
    ),
    "a fold left out of the verdict, forged": Tamper(
        lambda f, e: forge(f, e, verdict=lambda d: d["folds"].pop()), "lacks a fold"
    ),
    "another ensemble's verdict": Tamper(foreign_verdict, "names the verdict"),
    "an edited description": Tamper(
        lambda f, e: rows_with(f, f"{e}_mean", description="better"), "was edited after its verdict"
    ),
    "a space in registry.json": Tamper(
        lambda f, _: (f / "registry.json").write_bytes((f / "registry.json").read_bytes() + b" "), "edited by hand"
    ),
    "the fused row flipped to smoke": Tamper(
        lambda f, e: rows_with(f, f"{e}_mean", smoke=True, verdict=None, confidence_eligible=False),
        "scaffolded|stands without",
    ),
    "a file under another name": Tamper(
        at(onnx_file, "mean", lambda p: p.rename(p.with_name(f"x{p.name}"))), "is missing"
    ),
    "a row that names a copy": Tamper(copied, "was edited after its verdict"),
    "a model that anybody may write": Tamper(at(onnx_file, "mean", lambda p: p.chmod(0o666)), "has mode 666"),
    "a sidecar that anybody may write": Tamper(at(sidecar_file, "mean", lambda p: p.chmod(0o777)), "has mode 777"),
    "a symbolic link": Tamper(at(onnx_file, "seed1", link), "is a symbolic link"),
    "a verdict behind a link": Tamper(lambda f, e: link(verdict_files(f, e)[0]), "is a symbolic link"),
    "a folder for a model": Tamper(at(onnx_file, "mean", instead(Path.mkdir)), "is not a plain file"),
    "a pipe for a model": Tamper(at(onnx_file, "mean", instead(os.mkfifo)), "is not a plain file"),
    "a missing model": Tamper(at(onnx_file, "seed3", Path.unlink), "is missing"),
    "an extra model": Tamper(lambda f, _: (f / "evil.onnx").write_bytes(b"x"), r"evil\.onnx: no row or verdict"),
    "an external-data file": Tamper(
        lambda f, e: (f / f"{e}_mean.onnx.data").write_bytes(b"x"), r"onnx\.data: no row or verdict"
    ),
    "an extra file whose name lies": Tamper(
        lambda f, e: (f / f"{e}_seed9.000000000000.onnx").write_bytes(b"x"), "does not match its name"
    ),
    "an extra link": Tamper(lambda f, e: (f / f"{e}_x").symlink_to("registry.json"), "not a plain file"),
    "members swapped on disk": Tamper(
        lambda f, e: swap(onnx_file(f, f"{e}_seed0"), onnx_file(f, f"{e}_seed1")), DIGEST
    ),
    "members swapped in the rows": Tamper(swap_rows, "did not admit the model"),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """One row of features that the regressor answers."""
    path = tmp_path_factory.mktemp("table") / "t.csv"
    columns = dict(zip(CANONICAL6, (0.95, 0.6, 0.9, 0.95, 0.97, 5.0), strict=True))
    pl.DataFrame({**columns, "encoder": "libx264", "preset": "medium", "rate_value": 28.0}).write_csv(path)
    return path


def consumers(folder: Path, table: Path, clip: Path) -> dict[str, list[str]]:
    """Command lines that must refuse a registry that was tampered with."""
    tuned = ["tune", str(clip), "-e", "libx264", "--target-vmaf", "90", "--quality-confidence", "0.8"]
    return {
        "verify": ["registry", "verify", "--registry", str(folder)],
        "predict": ["predict", "--table", str(table), "--registry", str(folder)],
        "tune": [*tuned, "--registry", str(folder)],
    }


@pytest.mark.ffmpeg
def test_the_copy_is_taken_as_it_is(shipped, table, clip):
    """What the matrix refuses is not the copy: untouched, it verifies, loads and answers."""
    argv = consumers(shipped, table, clip)
    assert main(argv["verify"]) == 0
    assert main(argv["predict"]) in (0, 1)
    for ensemble in ENSEMBLES:
        assert load_verified(shipped, ensemble).verdict.ensemble == ensemble


def test_the_page_counts_the_matrix():
    """docs/trust.md says how many changes are tried."""
    page = (Path(__file__).parents[2] / "docs" / "trust.md").read_text(encoding="utf-8")
    assert f"tries {len(MATRIX)} such changes" in page


@pytest.mark.ffmpeg
@pytest.mark.parametrize("what", MATRIX)
def test_every_consumer_refuses(shipped, table, clip, capsys, what):
    """`verify`, the load, `predict` and `tune`: exit 4 and one line that names what was found."""
    tamper = MATRIX[what]
    for ensemble in ENSEMBLES:
        tamper.change(shipped, ensemble)
    for consumer, argv in consumers(shipped, table, clip).items():
        assert main(argv) == 4, consumer
        said = capsys.readouterr().err.strip().rpartition("\n")[2]
        assert said.startswith("error: "), consumer
        assert consumer == "verify" or re.search(tamper.says, said), (consumer, said)
    for ensemble in ENSEMBLES:
        with pytest.raises(IntegrityError, match=tamper.says):
            load_verified(shipped, ensemble)
    assert main([*consumers(shipped, table, clip)["verify"], "--json"]) == 4
    reports = json.loads(capsys.readouterr().out)["rows"]
    reasons = [f"{row['row_id']}: {row['reason']}" for row in reports if row["status"] == "refused"]
    assert any(re.search(tamper.says, reason) for reason in reasons), reasons


def test_a_calibration_is_known_by_its_canonical_json(shipped):
    """Floats that pydantic writes otherwise than Python (1e-05) too: its digest is that of Python's writer."""
    calibration: dict[str, Any] = {}

    def smaller(document):
        document["calibration"]["groups"][0]["residuals"][0] = 1e-05
        calibration.update(document["calibration"])

    def admitted(document):
        document["calibration_sha256"] = sha256_bytes(canonical_json(calibration))

    forge(shipped, FR, sidecar=smaller, verdict=admitted)
    found = load_verified(shipped, FR).calibration
    assert found.model_dump(mode="json") == calibration
    assert to_json(found) != canonical_json(calibration)


def test_a_calibration_is_written_in_order():
    """Fields in order of name, so that the quick writer gives the canonical JSON that verdicts were given on."""
    for record in (IntervalCalibration, ChoiceCalibration, GroupResiduals, HeldOutCurve, ProbeSpec):
        assert list(record.model_fields) == sorted(record.model_fields)
    for ensemble in ENSEMBLES:
        found = load_verified(registry_dir(None), ensemble)
        assert sha256_bytes(to_json(found.calibration)) == found.verdict.calibration_sha256


FIELDS = {
    "id": "a_seed9",
    "kind": "fr",
    "onnx": "x.onnx",
    "sha256": "0" * 64,
    "opset": 18,
    "smoke": True,
    "license": "MIT",
    "description": "d",
    "notes": "n",
    "sidecar": {"file": "x.json", "sha256": "0" * 64},
    "verdict": None,
    "confidence_eligible": None,
}


def test_every_field_of_every_row_is_bound(shipped):
    """Row by row and field by field: any other value, and the ensemble does not load."""
    registry = read_registry(shipped)
    assert set(FIELDS) == set(Row.model_fields)
    n_tried = 0
    # Loads take most of the time: of the other ensembles, one row each.
    tried = [row for row in registry.rows if ensemble_of(row.id) in ENSEMBLES or row.kind == "ensemble"]
    for row in tried:
        good = (shipped / "registry.json").read_bytes()
        for field, value in FIELDS.items():
            if field == "kind" and row.kind == "fr":
                value = "forecast"
            if field == "confidence_eligible":
                value = not row.confidence_eligible
            rows_edit = [
                Row.model_validate(r.model_dump(mode="json") | {field: value}) if r.id == row.id else r
                for r in registry.rows
            ]
            rows_edit.sort(key=lambda r: r.id)
            (shipped / "registry.json").write_bytes(Registry(rows=rows_edit).to_bytes())
            ensemble = ensemble_of(row.id)
            with pytest.raises(IntegrityError):
                load_verified(shipped, ensemble)
            n_tried += 1
            (shipped / "registry.json").write_bytes(good)
    assert n_tried == len(tried) * len(FIELDS)


def test_an_older_verdict_is_no_verdict(registry):
    """A registry with a history: today's rows under an earlier PROMOTE, which was valid, admit nothing."""
    first = registry / verdict_name(FR, 1)
    ref = {"file": verdict_name(FR), "sha256": sha256_bytes(first.read_bytes())}
    for row in read_registry(registry).rows:
        if row.id.startswith(FR):
            rows_with(registry, row.id, verdict=ref)
    (registry / verdict_name(FR)).write_bytes(first.read_bytes())
    with pytest.raises(IntegrityError, match="did not admit the model"):
        load_verified(registry, FR)
    assert main(["registry", "verify", "--registry", str(registry)]) == 4


def accepted(folder: Path, name: str = "") -> bool:
    """Whether both ensembles load and the registry verifies; the ensemble of the file `name` is asked first."""
    try:
        for ensemble in sorted(ENSEMBLES, key=lambda ensemble: not name.startswith(ensemble)):
            load_verified(folder, ensemble)
        return all(report.status != "refused" for report in verify_registry(folder))
    except IntegrityError:
        return False


def flips(folder: Path, n_flips: int, seed: int) -> list[str]:
    """Flip one byte at a time, at random over all bytes of the folder; returns the flips that were accepted.

    Notes for readers (`*.md`) are left out: nothing reads them.
    """
    rng = random.Random(seed)
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".md" and p.stat().st_size]
    sizes = [path.stat().st_size for path in files]
    assert accepted(folder)
    let_through = []
    for _ in range(n_flips):
        (path,) = rng.choices(files, weights=sizes)
        good = path.read_bytes()
        position, bits = rng.randrange(len(good)), rng.randrange(1, 256)
        path.write_bytes(good[:position] + bytes([good[position] ^ bits]) + good[position + 1 :])
        if accepted(folder, path.name):
            let_through.append(f"{path.name} {position} {bits}")
        path.write_bytes(good)
    return let_through


def test_a_flipped_byte_is_refused(shipped):
    """Forty random bytes of the shipped registry, each changed alone: none accepted."""
    assert flips(shipped, 40, seed=5) == []


def test_a_flipped_byte_of_the_history_is_refused(registry):
    """The same for a registry with a history: older models, sidecars, predictions and verdicts included."""
    assert flips(registry, 40, seed=6) == []


@pytest.mark.slow
def test_ten_thousand_flipped_bytes_are_refused(shipped):
    """10,000 random bytes over the whole shipped folder (docs/results.md has seed and date): none accepted."""
    assert flips(shipped, 10_000, seed=20261125) == []
