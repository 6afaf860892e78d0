"""`assay registry verify`: every row, every file, and every gate judged again from its held-out predictions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmaf_assay.errors import AssayError, IntegrityError
from vmaf_assay.model.infer import open_session
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.records import OnStep
from vmaf_assay.registry.attest import attestation_names, attestations_on
from vmaf_assay.registry.files import (
    CONTENT_NAMED,
    HISTORY,
    RESTORE,
    envelope_name,
    is_here,
    parse,
    read_bound,
    read_file,
    verdict_name,
)
from vmaf_assay.registry.history import bound_files, chain
from vmaf_assay.registry.manifest import FileRef, Registry, Row, ensemble_of
from vmaf_assay.registry.recompute import recompute
from vmaf_assay.registry.store import admitting_verdict, may_promise, read_registry, verify_row
from vmaf_assay.registry.trust import Trust, check_trust, signatures_on
from vmaf_assay.registry.unexpected_files import is_history, is_note, not_left_over
from vmaf_assay.registry.verdict import Verdict

Status = Literal["production", "scaffolded", "superseded", "leftover", "not here", "refused"]


@dataclass(frozen=True, slots=True)
class RowReport:
    """Result of verification for one row, or for one file that belongs to no row."""

    row_id: str
    """The row's id, or the file's name."""
    status: Status
    """`production`: verified and eligible; `scaffolded`: smoke; `superseded`: taken out of service by a verdict;
    `leftover`: whole, but nothing rests on it, as after a promotion that was killed; `not here`: files of earlier
    verdicts, which only a rollback needs; `refused`: see `reason`."""
    reason: str
    """Why it is refused, left over or not here; empty otherwise."""
    confidence_eligible: bool
    """Whether promises may rest on it."""


def verify_registry(
    folder: Path,
    *,
    deep: bool = False,
    ensemble: str | None = None,
    trust: Trust | None = None,
    on_step: OnStep | None = None,
) -> list[RowReport]:
    """Check every row, every file, and the gate of every verdict against its held-out predictions.

    Args:
      folder: the registry.
      deep: recompute the calibration and the coverage policy too (up to a minute instead of milliseconds).
      ensemble: only this ensemble's rows, and no files that belong to none.
      trust: whose signatures to believe; what this machine has accepted is compared, and not changed.
      on_step: called for each row, and within it for long computations.

    Returns:
      One report a row, one an ensemble of whose earlier verdicts files are not here, and one for each file that no
      row or verdict accounts for.

    Raises:
      IntegrityError: `registry.json` itself does not verify.
    """
    registry = read_registry(folder)
    judged: dict[FileRef, Judged] = {}
    reports = []
    rows = [row for row in registry.rows if ensemble in (None, ensemble_of(row.id))]
    for done, row in enumerate(rows):
        if on_step:
            on_step("rows", done, len(rows))
        try:
            reports.append(_verify(folder, registry, row, judged, Asked(trust, deep, on_step)))
        except IntegrityError as error:
            reports.append(RowReport(row.id, "refused", str(error), False))
    reports += _not_here(folder, rows)
    return reports if ensemble else [*reports, *_other_files(folder, registry)]


@dataclass(frozen=True, slots=True)
class Asked:
    """How a registry is to be verified."""

    trust: Trust | None
    """Whose signatures to believe."""
    deep: bool
    """Whether calibration and coverage are computed again too."""
    on_step: OnStep | None
    """Reports progress."""


@dataclass(slots=True)
class Judged:
    """Results for one verdict, so that its other rows need no second check."""

    verdict: Verdict
    reason: str | None = None
    """Why its evidence does not verify; '' if it does; None before it was recomputed."""


def _verify(folder: Path, registry: Registry, row: Row, judged: dict[FileRef, Judged], asked: Asked) -> RowReport:
    if row.verdict is None:
        _check_scaffolded(folder, row)
        return RowReport(row.id, "scaffolded", "", False)
    if row.smoke:
        _check_superseded(folder, row, asked.trust)
        return RowReport(row.id, "superseded", "", False)
    if row.verdict not in judged:
        judged[row.verdict] = Judged(admitting_verdict(folder, row))
    known = judged[row.verdict]
    onnx, sidecar, verdict = verify_row(folder, registry, row, known.verdict)
    open_session(onnx, sidecar)
    if known.reason is None:
        known.reason = _recompute(folder, row.verdict, verdict, sidecar, asked)
    if known.reason:
        raise IntegrityError(known.reason)
    return RowReport(row.id, "production", "", may_promise(row, verdict, sidecar))


def _check_scaffolded(folder: Path, row: Row) -> None:
    """Check that a scaffolded row claims nothing and matches its own digests."""
    if not row.smoke or row.confidence_eligible:
        raise IntegrityError(f"{row.id}: only a verdict makes a row production", next_step=RESTORE)
    sidecar_bytes = read_bound(folder, row.sidecar.file, row.sidecar.sha256)
    sidecar = parse(Sidecar, sidecar_bytes, folder / row.sidecar.file)
    open_session(read_bound(folder, row.onnx, row.sha256), sidecar)


def _check_superseded(folder: Path, row: Row, trust: Trust | None) -> None:
    """Check that a row out of service and all files of its history are as its last verdict left them."""
    _check_scaffolded(folder, row)
    if row.verdict is None:
        return
    verdict = chain(folder, ensemble_of(row.id), row.verdict)[0]
    if verdict.verdict != "SUPERSEDED":
        raise IntegrityError(f"{row.id}: only a verdict takes a row out of production", next_step=RESTORE)
    if verdict.rows.get(row.id) != row.binding():
        raise IntegrityError(f"row {row.id} was edited after its verdict", next_step=RESTORE)
    if trust is not None:
        check_trust(folder, verdict, trust, remember=False)
    _check_history(folder, row.verdict, verdict.ensemble)


def _check_history(folder: Path, ref: FileRef, ensemble: str) -> None:
    """Every file that the verdict in force rests on is there, and each of an earlier verdict has its digest."""
    verdicts = chain(folder, ensemble, ref)
    for admitted in verdicts:
        data = read_file(folder, verdict_name(ensemble, admitted.sequence))
        signatures_on(folder, admitted, data)
        attestations_on(folder, admitted, data)
        for file, digest in bound_files(admitted).items():
            if admitted is verdicts[0] or is_here(folder, file):
                read_bound(folder, file, digest)


def _not_here(folder: Path, rows: list[Row]) -> Iterator[RowReport]:
    """A report on every ensemble some of whose earlier verdicts' files are in neither folder."""
    for name, ref in {ensemble_of(row.id): row.verdict for row in rows if row.verdict is not None}.items():
        try:
            verdicts = chain(folder, name, ref)
        except IntegrityError:
            continue  # the rows' own reports say why
        absent = {
            one.sequence: {file for file in bound_files(one) if not is_here(folder, file)} for one in verdicts[1:]
        }
        if numbers := sorted(number for number, files in absent.items() if files):
            count = len(set().union(*absent.values()))
            of = ", ".join(map(str, numbers))
            how = f"`assay registry rollback {name} --to N --from FOLDER` takes them from a registry that has them"
            yield RowReport(
                name, "not here", f"{count} files of verdict{'s' if len(numbers) > 1 else ''} {of}; {how}", False
            )


def _recompute(folder: Path, ref: FileRef, verdict: Verdict, sidecar: Sidecar, asked: Asked) -> str:
    """Judge a verdict's held-out predictions again; the reason if they do not give its numbers, else ''."""
    try:
        _check_history(folder, ref, verdict.ensemble)
        if asked.trust is not None:
            check_trust(folder, verdict, asked.trust, remember=False)
        checks = recompute(folder, verdict, sidecar, deep=asked.deep, on_step=asked.on_step)
    except AssayError as error:
        return str(error)
    return next((check.detail for check in checks if check.outcome == "differs"), "")


def _other_files(folder: Path, registry: Registry) -> Iterator[RowReport]:
    """A report on every file that no row and no verdict in a row's history names."""
    known = _accounted(folder, registry)
    history = folder / HISTORY
    paths = sorted(folder.iterdir()) + (sorted(history.iterdir()) if is_history(history) else [])
    for path in paths:
        if is_note(path) or is_history(path):
            continue
        if path.name in known and (path.parent == folder or CONTENT_NAMED.fullmatch(path.name)):
            continue
        name = path.relative_to(folder).as_posix()
        if reason := not_left_over(path.parent, path):
            yield RowReport(name, "refused", reason, False)
        else:
            yield RowReport(name, "leftover", "complete but unused; it may be removed", False)


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
            known |= {verdict_name(name, verdict.sequence), envelope_name(name, verdict.sequence)}
            known |= set(attestation_names(folder, verdict))
            known |= set(bound_files(verdict))
    return known
