"""The registry on disk: the one way in (`promote`) and the one way out (`load_verified`).

    registry.json                               rows
    <id>.<sha12>.onnx, <id>.<sha12>.json        models and sidecars, named by content
    <ensemble>_predictions.<sha12>.parquet      held-out predictions the verdict was recomputed from
    <ensemble>_seed_flip_PROMOTE.json           the verdict that admitted the current rows
    <ensemble>_seed_flip_PROMOTE.<n>.json       every verdict by sequence number

A promotion writes new files under new names, then the numbered verdict, then the plain one, and last renames
`registry.json`, which is the commit. A row finds its verdict by digest, in the plain file or a numbered one, so a
kill between any two writes leaves a registry that verifies in its old state or its new one.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from vmaf_assay.errors import ConfigError, CorpusError, IntegrityError
from vmaf_assay.media.files import (
    canonical_json,
    parse_json_strict,
    sha256_bytes,
    write_bytes_atomic,
    write_json_atomic,
)
from vmaf_assay.model.infer import Ensemble, open_ensemble, open_session
from vmaf_assay.model.onnx import check_graph
from vmaf_assay.model.sidecar import ProbeSpec, Sidecar
from vmaf_assay.registry.manifest import FileRef, Registry, Row, ensemble_of
from vmaf_assay.registry.verdict import Verdict, judge, planned_rows, verdict_path
from vmaf_assay.runs.schema import CalibrationFile, ChoiceCalibration, IntervalCalibration

if TYPE_CHECKING:
    import polars as pl

    from vmaf_assay.runs.store import RunEvidence

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest file read from a registry."""

_Model = TypeVar("_Model", bound=BaseModel)
Status = Literal["production", "scaffolded", "refused"]


@dataclass(frozen=True, slots=True)
class RowReport:
    """What verification says of one row."""

    row_id: str
    """The row."""
    status: Status
    """`production`: verified and eligible; `scaffolded`: smoke; `refused`: see `reason`."""
    reason: str
    """Why it is refused; empty otherwise."""
    confidence_eligible: bool
    """Whether promises may rest on it."""


@dataclass(frozen=True, slots=True)
class VerifiedEnsemble:
    """An ensemble that has been checked byte by byte against the verdict that admitted it."""

    ensemble: Ensemble
    """Ready to be asked."""
    calibration: IntervalCalibration | ChoiceCalibration
    """What its bounds are computed from."""
    confidence_eligible: bool
    """Whether promises may rest on it."""
    verdict: Verdict
    """What admitted it."""


def registry_dir(explicit: Path | None = None) -> Path:
    """The registry to use: `explicit`, else `$ASSAY_REGISTRY`, else the shipped one."""
    if explicit is not None:
        return explicit
    if named := os.environ.get("ASSAY_REGISTRY"):
        return Path(named)
    return Path(__file__).parents[1] / "models"


def read_registry(folder: Path) -> Registry:
    """Parse `registry.json`.

    Raises:
      IntegrityError: absent, unreadable, of another schema, or with a row twice.
    """
    return _parse_registry(_read(folder, "registry.json"), folder)


def _parse_registry(data: bytes, folder: Path) -> Registry:
    registry = _validate(Registry, data, folder / "registry.json")
    ids = [row.id for row in registry.rows]
    if len(set(ids)) != len(ids) or ids != sorted(ids):
        raise IntegrityError(f"{folder / 'registry.json'}: rows are not sorted by unique id", next_step=_RESTORE)
    return registry


_RESTORE = "restore the registry from its last good state"


def _read(folder: Path, name: str) -> bytes:
    """A registry file's bytes; symbolic links, special and oversized files are refused."""
    path = folder / name
    try:
        if path.is_symlink():
            raise IntegrityError(f"{path} is a symbolic link", next_step=_RESTORE)
        if not path.is_file():
            raise IntegrityError(f"{path} is missing", next_step=_RESTORE)
        if path.stat().st_size > MAX_FILE_BYTES:
            raise IntegrityError(f"{path} is over {MAX_FILE_BYTES} bytes", next_step=_RESTORE)
        return path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}", next_step=_RESTORE) from error


def _read_ref(folder: Path, name: str, sha256: str) -> bytes:
    data = _read(folder, name)
    if sha256_bytes(data) != sha256:
        raise IntegrityError(f"{folder / name} does not match its digest", next_step=_RESTORE)
    return data


def _validate(kind: type[_Model], data: bytes, path: Path) -> _Model:
    try:
        return kind.model_validate(parse_json_strict(data, where=str(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise IntegrityError(f"{path}: {where}: {first['msg']}", next_step=_RESTORE) from error


def verify_row(folder: Path, registry: Registry, row: Row) -> tuple[bytes, Sidecar, Verdict]:
    """Check one production row: bytes, sidecar, verdict, binding, and the gate judged again.

    Returns:
      The very model bytes that were hashed, the sidecar, and the verdict.

    Raises:
      IntegrityError: anything at all does not fit, or the row is only scaffolded.
    """
    if row.smoke or row.verdict is None:
        raise IntegrityError(
            f"{row.id} is scaffolded (smoke), no verdict admits it", next_step="promote a run that passed its gate"
        )
    onnx = _read_ref(folder, row.onnx, row.sha256)
    sidecar = _validate(
        Sidecar, _read_ref(folder, row.sidecar.file, row.sidecar.sha256), folder / row.sidecar.file
    )
    verdict = _find_verdict(folder, row.verdict)
    verdict.recheck()
    name = ensemble_of(row.id)
    if verdict.ensemble != name:
        raise IntegrityError(f"{row.id} points at the verdict on {verdict.ensemble}", next_step=_RESTORE)
    if verdict.members.get(row.id) != row.sha256:
        raise IntegrityError(f"the verdict did not admit the model of {row.id}", next_step=_RESTORE)
    if verdict.rows.get(row.id) != row.binding():
        raise IntegrityError(
            f"row {row.id} was edited after its verdict", next_step="validate and promote again, or restore it"
        )
    if (sidecar.id, sidecar.onnx_sha256) != (row.id, row.sha256):
        raise IntegrityError(f"the sidecar of {row.id} describes another model", next_step=_RESTORE)
    if sidecar.corpus_digest != verdict.corpus.get("digest"):
        raise IntegrityError(f"the sidecar of {row.id} names another corpus", next_step=_RESTORE)
    if row.id == f"{name}_mean":
        _check_mean(registry, row, sidecar, verdict)
    return onnx, sidecar, verdict


def _check_mean(registry: Registry, row: Row, sidecar: Sidecar, verdict: Verdict) -> None:
    """The fused row stands only with every seed of its verdict beside it, under the same verdict."""
    for row_id in verdict.members:
        other = registry.row(row_id)
        if other is None or other.smoke or other.verdict != row.verdict:
            raise IntegrityError(f"{row.id} stands without its seed {row_id}", next_step=_RESTORE)
    if sha256_bytes(canonical_json(sidecar.calibration)) != verdict.calibration_sha256:
        raise IntegrityError(f"the calibration of {row.id} is not the verdict's", next_step=_RESTORE)


def _find_verdict(folder: Path, ref: FileRef) -> Verdict:
    """The verdict with the digest a row names: the plain file, or a numbered one."""
    stem = ref.file.removesuffix(".json")
    names = [ref.file, *sorted(path.name for path in folder.glob(f"{stem}.*.json"))]
    for name in names:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            data = _read(folder, name)
            if sha256_bytes(data) == ref.sha256:
                return _validate(Verdict, data, path)
    raise IntegrityError(f"no verdict {ref.file} with the digest that the row names", next_step=_RESTORE)


def load_verified(folder: Path, ensemble_id: str) -> VerifiedEnsemble:
    """Open an ensemble after checking all its rows; the session is made from the bytes that were hashed.

    Raises:
      IntegrityError: the ensemble is not in the registry, is scaffolded, or does not verify.
    """
    registry = read_registry(folder)
    row = registry.row(f"{ensemble_id}_mean")
    if row is None:
        raise IntegrityError(
            f"{folder} has no row {ensemble_id}_mean", next_step="promote it, or name another --registry"
        )
    onnx, sidecar, verdict = verify_row(folder, registry, row)
    for row_id in verdict.members:
        member = registry.row(row_id)
        if member is not None and member.id != row.id:
            verify_row(folder, registry, member)
    document = {"schema_version": 1, "calibration": sidecar.calibration}
    calibration = CalibrationFile.model_validate(document).calibration
    return VerifiedEnsemble(open_ensemble(onnx, sidecar), calibration, row.confidence_eligible, verdict)


def verify_registry(folder: Path, *, deep: bool = False) -> list[RowReport]:
    """Check every row, every file, and the gate of every verdict against its held-out predictions.

    Args:
      folder: the registry.
      deep: recompute the calibration and the coverage policy too (seconds instead of milliseconds).

    Returns:
      One report a row; a file that no row or verdict accounts for is reported under its own name.
    """
    registry = read_registry(folder)
    recomputed: dict[str, str] = {}
    reports = []
    for row in registry.rows:
        if row.smoke and row.verdict is None:
            reports.append(_report(folder, registry, row, "scaffolded"))
            continue
        try:
            onnx, sidecar, verdict = verify_row(folder, registry, row)
            open_session(onnx, sidecar)
            if verdict.ensemble not in recomputed:
                recomputed[verdict.ensemble] = _recompute(folder, verdict, sidecar.probes, deep=deep)
            if reason := recomputed[verdict.ensemble]:
                raise IntegrityError(reason)
        except IntegrityError as error:
            reports.append(RowReport(row.id, "refused", str(error), False))
        else:
            reports.append(RowReport(row.id, "production", "", row.confidence_eligible))
    known = _known_files(folder, registry)
    reports += [
        RowReport(path.name, "refused", "no row or verdict accounts for this file", False)
        for path in sorted(folder.iterdir())
        if path.name not in known and path.suffix != ".md"
    ]
    return reports


def _report(folder: Path, registry: Registry, row: Row, status: Status) -> RowReport:
    """A scaffolded row must still match its own digests."""
    try:
        check_graph(_read_ref(folder, row.onnx, row.sha256))
        _read_ref(folder, row.sidecar.file, row.sidecar.sha256)
        if row.confidence_eligible:
            raise IntegrityError(f"{row.id} is scaffolded and cannot be confidence_eligible")
    except IntegrityError as error:
        return RowReport(row.id, "refused", str(error), False)
    return RowReport(row.id, status, "", False)


def _recompute(folder: Path, verdict: Verdict, probes: list[ProbeSpec], *, deep: bool) -> str:
    """Judge a verdict's held-out predictions again; the reason if they do not give its numbers, else ''."""
    from vmaf_assay.evaluate.gate import evaluate_gate
    from vmaf_assay.runs.store import read_predictions

    name = predictions_name(verdict)
    try:
        _read_ref(folder, name, verdict.predictions_sha256)
        predictions = read_predictions(folder / name)
        gate, folds = evaluate_gate(predictions, verdict.seeds)
        said = [fold.model_dump() for fold in verdict.folds]
        close = len(said) == len(folds) and all(
            (a["seed"], a["held_out"], a["n_val"]) == (b["seed"], b["held_out"], b["n_val"])
            and abs(a["plcc"] - b["plcc"]) < 1e-9
            for a, b in zip(said, folds, strict=True)
        )
        if not close or not gate.passed:
            return f"{name} does not give the gate of the verdict"
        return _recompute_coverage(predictions, verdict, probes) if deep else ""
    except (IntegrityError, CorpusError) as error:
        return str(error)


def _recompute_coverage(predictions: "pl.DataFrame", verdict: Verdict, probes: list[ProbeSpec]) -> str:
    from dataclasses import asdict

    from vmaf_assay.runs.calibrate import calibration_from_predictions
    from vmaf_assay.runs.store import calibration_digest, coverage_of

    task: Literal["fr", "forecast"] = "fr" if verdict.ensemble.startswith("fr_") else "forecast"
    digest = str(verdict.corpus["digest"])
    calibration = calibration_from_predictions(predictions, task, verdict.ensemble, digest, probes)
    if calibration_digest(calibration.model_dump(mode="json")) != verdict.calibration_sha256:
        return "the held-out predictions do not give the calibration of the verdict"
    again = [asdict(result) for result in coverage_of(calibration)]
    said = [result.model_dump() for result in verdict.coverage]
    for a, b in zip(said, again, strict=False):
        if (a["scope"], a["passed"]) != (b["scope"], b["passed"]) or abs(a["coverage"] - b["coverage"]) > 1e-6:
            return "the held-out predictions do not give the coverage of the verdict"
    return "" if len(said) == len(again) else "the verdict's coverage table has another length"


def predictions_name(verdict: Verdict) -> str:
    """Where a verdict's held-out predictions are kept."""
    return f"{verdict.ensemble}_predictions.{verdict.predictions_sha256[:12]}.parquet"


def verdict_name(ensemble: str, sequence: int | None = None) -> str:
    """The file of an ensemble's current verdict, or of a numbered one."""
    middle = "" if sequence is None else f".{sequence}"
    return f"{ensemble}_seed_flip_PROMOTE{middle}.json"


def _known_files(folder: Path, registry: Registry) -> set[str]:
    """Every file name that a row or a numbered verdict accounts for."""
    known = {"registry.json", ".lock", "__init__.py", "__pycache__"}
    for row in registry.rows:
        known |= {row.onnx, row.sidecar.file}
        known |= {row.verdict.file} if row.verdict else set()
    for path in folder.glob("*_seed_flip_PROMOTE.*.json"):
        verdict = _validate(Verdict, _read(folder, path.name), path)
        if path.name != verdict_name(verdict.ensemble, verdict.sequence):
            continue
        known |= {path.name, predictions_name(verdict)}
        known |= {f"{row_id}.{sha256[:12]}.onnx" for row_id, sha256 in verdict.members.items()}
        # A replaced sidecar's digest is bound through its row's digest only; its name must at least be of a row.
        for row_id in verdict.members:
            known |= {old.name for old in folder.glob(f"{row_id}.????????????.json")}
    return known


def promote(run: "RunEvidence", folder: Path) -> Verdict:
    """Flip an ensemble's rows to `smoke: false`, all or nothing, under the registry's lock.

    The run must hold a PROMOTE whose every digest still fits; the gate is run again. The registry must be what it
    was when this began (compare and swap on its digest).

    Args:
      run: the run, checked by `runs.store.load_run`.
      folder: the registry; made if absent.

    Returns:
      The verdict as filed, with its place in the sequence.

    Raises:
      ConfigError: the run holds no verdict, or a HOLD.
      IntegrityError: the run changed since it was validated, or the registry does not verify.
    """
    validated_bytes, validated = _validated(run)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=60):
        path = folder / "registry.json"
        before = path.read_bytes() if path.exists() else b""
        registry = _parse_registry(before, folder) if before else Registry()
        for report in verify_registry(folder) if before else []:
            if report.status == "refused" and ensemble_of(report.row_id) != validated.ensemble:
                raise IntegrityError(
                    f"the registry does not verify: {report.row_id}: {report.reason}", next_step=_RESTORE
                )
        current = registry.row(f"{validated.ensemble}_mean")
        previous = _find_verdict(folder, current.verdict) if current and current.verdict else None
        if previous is not None and previous.validated_sha256 == sha256_bytes(validated_bytes):
            raise ConfigError(
                f"this verdict on {validated.ensemble} is promoted already", next_step="nothing to do"
            )
        verdict = validated.model_copy(
            update={
                "sequence": (previous.sequence if previous else 0) + 1,
                "previous_verdict_sha256": current.verdict.sha256 if current and current.verdict else None,
                "validated_sha256": sha256_bytes(validated_bytes),
            }
        )
        after = _write_promotion(run, folder, registry, verdict)
        if (path.read_bytes() if path.exists() else b"") != before:
            raise IntegrityError(f"{path} changed while promoting", next_step="promote again")
        write_json_atomic(path, after.model_dump(mode="json"))
    return verdict


def _validated(run: "RunEvidence") -> tuple[bytes, Verdict]:
    """The run's PROMOTE, if judging the run again gives the same."""
    path = verdict_path(run.folder)
    data = path.read_bytes()
    verdict = _validate(Verdict, data, path)
    if verdict.verdict != "PROMOTE":
        raise ConfigError(f"{path}: HOLD: {'; '.join(verdict.reasons)}", next_step="train a better ensemble")
    again = judge(run)
    when = {"generated_at_utc"}
    if again.model_dump(exclude=when) != verdict.model_dump(exclude=when):
        raise IntegrityError(
            f"{run.folder} is not what {path.name} judged", next_step=f"run `assay validate {run.folder}` again"
        )
    return data, verdict


def _write_promotion(run: "RunEvidence", folder: Path, registry: Registry, verdict: Verdict) -> Registry:
    """Write everything but `registry.json`, and return the registry that the commit will write."""
    rows = planned_rows(run, confidence_eligible=verdict.confidence_eligible)
    for row in rows:
        write_bytes_atomic(folder / row.onnx, (run.folder / f"members/{row.id}.onnx").read_bytes())
        write_bytes_atomic(folder / row.sidecar.file, (run.folder / f"members/{row.id}.json").read_bytes())
    write_bytes_atomic(folder / predictions_name(verdict), (run.folder / "predictions.parquet").read_bytes())
    document = verdict.model_dump(mode="json")
    write_json_atomic(folder / verdict_name(verdict.ensemble, verdict.sequence), document)
    plain = folder / verdict_name(verdict.ensemble)
    write_json_atomic(plain, document)
    ref = FileRef(file=plain.name, sha256=sha256_bytes(plain.read_bytes()))
    new = {row.id: row.model_copy(update={"verdict": ref}) for row in rows}
    kept = {row.id: row for row in registry.rows if ensemble_of(row.id) != verdict.ensemble}
    after = Registry(rows=[{**kept, **new}[row_id] for row_id in sorted({**kept, **new})])
    for row in new.values():
        verify_row(folder, after, row)
    return after
