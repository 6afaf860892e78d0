"""`assay registry verify`: every row, every file, and every gate judged again from its held-out predictions."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmaf_assay.errors import AssayError, IntegrityError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.model.infer import open_session
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.registry.files import (
    CONTENT_NAMED,
    RESTORE,
    VERDICT_NAMED,
    parse,
    read_bound,
    read_file,
    verdict_name,
)
from vmaf_assay.registry.history import bound_files, chain, predictions_name
from vmaf_assay.registry.manifest import FileRef, Registry, Row, ensemble_of
from vmaf_assay.registry.store import read_registry, verify_row
from vmaf_assay.registry.verdict import Verdict, same

if TYPE_CHECKING:
    import polars as pl

Status = Literal["production", "scaffolded", "leftover", "refused"]


@dataclass(frozen=True, slots=True)
class RowReport:
    """What verification says of one row, or of one file that belongs to no row."""

    row_id: str
    """The row's id, or the file's name."""
    status: Status
    """`production`: verified and eligible; `scaffolded`: smoke; `leftover`: whole, but nothing rests on it, as
    after a promotion that was killed; `refused`: see `reason`."""
    reason: str
    """Why it is refused or left over; empty otherwise."""
    confidence_eligible: bool
    """Whether promises may rest on it."""


def verify_registry(folder: Path, *, deep: bool = False) -> list[RowReport]:
    """Check every row, every file, and the gate of every verdict against its held-out predictions.

    Args:
      folder: the registry.
      deep: recompute the calibration and the coverage policy too (up to a minute instead of milliseconds).

    Returns:
      One report a row, and one for each file that no row or verdict accounts for.

    Raises:
      IntegrityError: `registry.json` itself cannot be believed.
    """
    registry = read_registry(folder)
    recomputed: dict[str, str] = {}
    reports = []
    for row in registry.rows:
        try:
            if row.smoke or row.verdict is None:
                _check_scaffolded(folder, row)
                reports.append(RowReport(row.id, "scaffolded", "", False))
                continue
            onnx, sidecar, verdict = verify_row(folder, registry, row)
            open_session(onnx, sidecar)
            if verdict.ensemble not in recomputed:
                recomputed[verdict.ensemble] = _recompute(folder, row.verdict, verdict, sidecar, deep=deep)
            if reason := recomputed[verdict.ensemble]:
                raise IntegrityError(reason)
            reports.append(RowReport(row.id, "production", "", row.confidence_eligible))
        except IntegrityError as error:
            reports.append(RowReport(row.id, "refused", str(error), False))
    return [*reports, *_other_files(folder, registry)]


def _check_scaffolded(folder: Path, row: Row) -> None:
    """A scaffolded row has no claims, and still matches its own digests."""
    if not row.smoke or row.verdict is not None or row.confidence_eligible:
        raise IntegrityError(f"{row.id}: a verdict, and only a verdict, makes it production", next_step=RESTORE)
    sidecar_bytes = read_bound(folder, row.sidecar.file, row.sidecar.sha256)
    sidecar = parse(Sidecar, sidecar_bytes, folder / row.sidecar.file)
    open_session(read_bound(folder, row.onnx, row.sha256), sidecar)


def _recompute(folder: Path, ref: FileRef, verdict: Verdict, sidecar: Sidecar, *, deep: bool) -> str:
    """Judge a verdict's held-out predictions again; the reason if they do not give its numbers, else ''."""
    from vmaf_assay.evaluate.gate import evaluate_gate
    from vmaf_assay.runs.store import parse_predictions

    name = predictions_name(verdict)
    try:
        for admitted in chain(folder, verdict.ensemble, ref):
            for file, digest in bound_files(admitted).items():
                read_bound(folder, file, digest)
        data = read_bound(folder, name, verdict.predictions_sha256)
        predictions = parse_predictions(data, where=str(folder / name))
        gate, folds = evaluate_gate(predictions, verdict.seeds)
        said = [fold.model_dump() for fold in verdict.folds]
        if not same(said, folds) or not gate.passed:
            return f"{name} does not give the gate of the verdict"
        return _recompute_coverage(predictions, verdict, sidecar) if deep else ""
    except AssayError as error:
        return str(error)


def _recompute_coverage(predictions: "pl.DataFrame", verdict: Verdict, sidecar: Sidecar) -> str:
    from vmaf_assay.runs.calibrate import calibration_from_predictions
    from vmaf_assay.runs.store import calibration_digest, coverage_of

    calibration = calibration_from_predictions(
        predictions, sidecar.task, verdict.ensemble, sidecar.corpus_digest, sidecar.probes
    )
    if calibration_digest(calibration.model_dump(mode="json")) != verdict.calibration_sha256:
        return "the held-out predictions do not give the calibration of the verdict"
    again = [asdict(result) for result in coverage_of(calibration)]
    if not same([result.model_dump() for result in verdict.coverage], again):
        return "the held-out predictions do not give the coverage of the verdict"
    return ""


def _other_files(folder: Path, registry: Registry) -> Iterator[RowReport]:
    """A report on every file that no row and no verdict in a row's history accounts for."""
    known = _accounted(folder, registry)
    for path in sorted(folder.iterdir()):
        if path.name in known or (path.suffix == ".md" and path.is_file() and not path.is_symlink()):
            continue
        if reason := _not_left_over(folder, path):
            yield RowReport(path.name, "refused", reason, False)
        else:
            yield RowReport(path.name, "leftover", "whole, but nothing rests on it; it may be removed", False)


def _accounted(folder: Path, registry: Registry) -> set[str]:
    known = {"registry.json", ".lock"}
    for row in registry.rows:
        known |= {row.onnx, row.sidecar.file}
        if row.verdict is None:
            continue
        name = ensemble_of(row.id)
        known.add(verdict_name(name))
        try:
            verdicts = chain(folder, name, row.verdict)
        except IntegrityError:
            continue  # the row's own report says why; its files are then reported too
        for verdict in verdicts:
            known |= {verdict_name(name, verdict.sequence), *bound_files(verdict)}
    return known


def _not_left_over(folder: Path, path: Path) -> str:
    """Why a file nothing accounts for cannot be what a killed promotion leaves; '' if it can."""
    if path.is_symlink() or not path.is_file():
        return "not a plain file"
    if path.name.startswith(".") and path.name.endswith(".tmp"):
        return ""
    if named := CONTENT_NAMED.fullmatch(path.name):
        same_content = sha256_bytes(read_file(folder, path.name)).startswith(named[1])
        return "" if same_content else "its content is not what its name says"
    if VERDICT_NAMED.fullmatch(path.name):
        return ""
    return "no row or verdict accounts for this file"
