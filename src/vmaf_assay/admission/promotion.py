"""The only way into a registry: `promote`. Later acts are in `admission/lifecycle.py` and commit the same way.

Order of writes: first come models, sidecars and predictions, under names that carry their content. The numbered
verdict follows, with its signatures if it is signed. Then `registry.json` is renamed into place: the commit. The
plain copy of the verdict comes after it. (A first promotion replaces nothing and writes the plain copy before.)
Last, what only earlier verdicts rest on moves into the history folder.

No write overwrites a file that the registry being replaced still needs. So a kill between any two leaves a
registry that verifies in its old state or its new one, and promoting the same run again finishes the work.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay import __version__
from vmaf_assay.admission.archive import put_away
from vmaf_assay.admission.judge import judge, planned_rows, verdict_path
from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.media.files import read_plain, sha256_bytes, write_bytes_atomic
from vmaf_assay.media.lock import exclusive
from vmaf_assay.registry.files import (
    MAX_FILE_BYTES,
    MAX_SEQUENCE,
    RESTORE,
    envelope_name,
    parse,
    read_bound,
    read_file,
    verdict_name,
)
from vmaf_assay.registry.history import bound_files, chain, check_numbers, numbered, predictions_name, tie_names
from vmaf_assay.registry.manifest import FileRef, Registry, Row, ensemble_of
from vmaf_assay.registry.own_curve import OWN_CURVES
from vmaf_assay.registry.recompute import read_sidecar, recompute
from vmaf_assay.registry.signing import read_envelope, sign
from vmaf_assay.registry.store import admitting_verdict, parse_registry, verify_row
from vmaf_assay.registry.trust import signatures_on
from vmaf_assay.registry.unexpected_files import refuse_strays
from vmaf_assay.registry.verdict import Act, Verdict, same
from vmaf_assay.registry.verify import verify_registry

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from vmaf_assay.training.evidence import RunEvidence

LOCK_TIMEOUT_S = 60.0
"""Default time for which one promotion waits for another."""


@dataclass(frozen=True, slots=True)
class Who:
    """Author, reason and signing keys of an act, and how long it may wait."""

    by: str | None = None
    """Who, as they stated; never guessed."""
    reason: str | None = None
    """Why."""
    wait_s: float | None = None
    """Seconds to wait for the registry's lock; None for `LOCK_TIMEOUT_S`."""
    keys: "tuple[Ed25519PrivateKey, ...]" = ()
    """Private keys that sign."""
    expires_at_utc: str | None = None
    """When the signatures expire, ISO 8601; None for never."""
    audited: tuple[str, ...] = ()
    """What was audited beyond the registry itself, of `signing.AUDITS`: `corpus`, `retraining`."""


@dataclass(frozen=True, slots=True)
class State:
    """A registry, read under its lock."""

    folder: Path
    """Where it is."""
    before: bytes
    """`registry.json` as read; empty if absent."""
    registry: Registry
    """Its rows."""
    history: list[Verdict] = field(default_factory=list)
    """Verdicts of the ensemble acted on, newest first."""

    def next_number(self, ensemble: str) -> int:
        """A number that no verdict of the ensemble has had, committed or not.

        Raises:
          ConfigError: none is left.
        """
        number = max([0, *numbered(self.folder, ensemble)]) + 1
        if number > MAX_SEQUENCE:
            raise ConfigError(
                f"{ensemble} has had {MAX_SEQUENCE} verdicts", next_step="promote into a new registry"
            )
        return number

    def last_digest(self, ensemble: str) -> str | None:
        """SHA-256 of the verdict that the ensemble's rows name; None if they name none."""
        return _ref(self.registry, ensemble).sha256 if self.history else None


def promote(run: "RunEvidence", folder: Path, who: Who | None = None) -> Verdict:
    """Flip an ensemble's rows to `smoke: false`, all or none, under the registry's lock.

    The run must hold a PROMOTE whose digests all match; the gate is run again. The registry must not have changed
    meanwhile (compare and swap on its bytes). A run that is promoted already changes nothing.

    Args:
      run: the run, checked by `runs.store.load_run`.
      folder: the registry; made if absent.
      who: author, reason and keys for the history.

    Returns:
      The verdict as filed, with its place in the sequence.

    Raises:
      ConfigError: the run holds no verdict, or a HOLD.
      IntegrityError: the run changed since it was validated, or the registry does not verify.
      ToolError: another promotion holds the lock, or the disk failed.
    """
    who = who or Who()
    validated, digest = _validated(run)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, who.wait_s):
        state = read_state(folder, validated.ensemble)
        intact = _check_others(folder, validated.ensemble) if state.before else False
        newest = state.history[0] if state.history else None
        if newest and intact and newest.verdict == "PROMOTE" and newest.validated_sha256 == digest:
            _finish(folder, newest)
            put_away(folder, state.history)
            add_signatures(folder, newest, who)
            return newest
        verdict = validated.model_copy(
            update={
                "sequence": state.next_number(validated.ensemble),
                "previous_verdict_sha256": state.last_digest(validated.ensemble),
                "validated_sha256": digest,
                "made_by": __version__,
                "act": Act(kind="promote", at_utc=now_utc(), by=who.by, reason=who.reason),
            }
        )
        commit(state, verdict, _copy_models(run, folder, verdict), who)
    return verdict


def now_utc() -> str:
    """The time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def locked(folder: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold a registry's lock. Raises ToolError after `wait_s` seconds."""
    wait_s = LOCK_TIMEOUT_S if wait_s is None else wait_s
    try:
        with exclusive(folder / ".lock", wait_s):
            yield
    except TimeoutError as error:
        raise ToolError(
            f"{folder} has been locked for {wait_s:g} s; nothing was changed",
            next_step="wait for the other promotion and run this again",
        ) from error


def read_state(folder: Path, ensemble: str) -> State:
    """The registry as it is, with an ensemble's history.

    Raises:
      IntegrityError: it does not verify, or the folder holds an unexpected file of the ensemble.
    """
    before = read_file(folder, "registry.json") if (folder / "registry.json").exists() else b""
    registry = parse_registry(before, folder) if before else Registry()
    named = any(ensemble_of(row.id) == ensemble and row.verdict is not None for row in registry.rows)
    history = chain(folder, ensemble, _ref(registry, ensemble)) if named else []
    refuse_strays(folder, registry, ensemble, {name for verdict in history for name in bound_files(verdict)})
    check_numbers(folder, ensemble, history[0].sequence if history else 0)
    return State(folder, before, registry, history)


def commit(state: State, verdict: Verdict, rows: Sequence[Row], who: Who) -> None:
    """File a verdict under its number, signed if `who` has keys, and set the ensemble's `rows`, all or none.

    Every file that the rows name must be in the folder. The lock must be held.

    Raises:
      IntegrityError: the rows would not verify, or the registry has changed since `state`.
    """
    folder, data = state.folder, verdict.to_bytes()
    if state.history and not _is_finished(folder, state.history[0]):
        _finish(folder, state.history[0])  # a killed act may have left its plain copy unwritten
    write_bytes_atomic(folder / verdict_name(verdict.ensemble, verdict.sequence), data)
    add_signatures(folder, verdict, who)
    if not state.history:
        write_bytes_atomic(folder / verdict_name(verdict.ensemble), data)
    ref = FileRef(file=verdict_name(verdict.ensemble), sha256=sha256_bytes(data))
    new = {row.id: row.model_copy(update={"verdict": ref}) for row in rows}
    after = _with_rows(state.registry, verdict.ensemble, new)
    _check_rows(folder, after, verdict, new)
    if (read_file(folder, "registry.json") if (folder / "registry.json").exists() else b"") != state.before:
        raise IntegrityError(f"{folder / 'registry.json'} changed while promoting", next_step="promote again")
    write_bytes_atomic(folder / "registry.json", after.to_bytes())
    _finish(folder, verdict)
    put_away(folder, [verdict, *state.history])


def add_signatures(folder: Path, verdict: Verdict, who: Who) -> list[str]:
    """Audit a filed verdict, then sign it with every key that has not yet; the ids of all keys that have.

    Raises:
      IntegrityError: something that is computed again differs; nothing is signed.
    """
    data = read_file(folder, verdict_name(verdict.ensemble, verdict.sequence))
    signed = signatures_on(folder, verdict, data)
    if not who.keys:
        return signed.key_ids if signed else []
    audited = (*audit_to_sign(folder, verdict), *who.audited)
    name, before = envelope_name(verdict.ensemble, verdict.sequence), signed
    for key in who.keys:
        envelope = sign(verdict, data, key, audited=audited, existing=signed, expires_at_utc=who.expires_at_utc)
        signed = read_envelope(folder, verdict, data, envelope.to_bytes())
    if signed and signed != before:
        write_bytes_atomic(folder / name, signed.envelope.to_bytes())
    return signed.key_ids if signed else []


def audit_to_sign(folder: Path, verdict: Verdict) -> tuple[str, ...]:
    """All that the registry alone can show of a verdict, computed again; what of `signing.AUDITS` that was.

    Raises:
      IntegrityError: a file does not match its digest, or something that is computed again differs.
    """
    for name, digest in bound_files(verdict).items():
        read_bound(folder, name, digest)
    if verdict.verdict == "SUPERSEDED":
        return ("bytes",)
    sidecar = read_sidecar(folder, verdict, f"{verdict.ensemble}_mean")
    checks = recompute(folder, verdict, sidecar, deep=True)
    for check in checks:
        if check.outcome == "differs":
            raise IntegrityError(f"not signed: {check.what}: {check.detail}", next_step=RESTORE)
    # `own_curve.json` belongs to the release, not to the verdict that is signed.
    agree = [check.what for check in checks if check.outcome == "agrees" and check.what != OWN_CURVES]
    return ("bytes", *agree)


def _is_finished(folder: Path, verdict: Verdict) -> bool:
    names = (verdict_name(verdict.ensemble), verdict_name(verdict.ensemble, verdict.sequence))
    return read_file(folder, names[0]) == read_file(folder, names[1])


def _finish(folder: Path, verdict: Verdict) -> None:
    """Make the plain copy equal to the verdict in force, byte for byte."""
    data = read_file(folder, verdict_name(verdict.ensemble, verdict.sequence))
    write_bytes_atomic(folder / verdict_name(verdict.ensemble), data)


def _with_rows(registry: Registry, ensemble: str, new: Mapping[str, Row]) -> Registry:
    kept = {row.id: row for row in registry.rows if ensemble_of(row.id) != ensemble}
    return Registry(rows=[row for _, row in sorted((kept | dict(new)).items())])


def _check_rows(folder: Path, after: Registry, verdict: Verdict, new: Mapping[str, Row]) -> None:
    """Refuse to commit rows that would not verify."""
    if verdict.verdict == "SUPERSEDED":
        return  # the rows' own files were checked before; none is in service from here on
    admitting = admitting_verdict(folder, next(iter(new.values())))
    for row in new.values():
        verify_row(folder, after, row, admitting)


def _validated(run: "RunEvidence") -> tuple[Verdict, str]:
    """The run's PROMOTE and its digest, if judging the run again gives the same."""
    path = verdict_path(run.folder)
    data = read_plain(path, max_bytes=MAX_FILE_BYTES)
    verdict = parse(Verdict, data, path)
    if verdict.verdict != "PROMOTE":
        raise ConfigError(f"{path}: HOLD: {'; '.join(verdict.reasons)}", next_step="train a better ensemble")
    check_judged(run, verdict)
    return verdict, sha256_bytes(data)


def check_judged(run: "RunEvidence", verdict: Verdict) -> None:
    """Judge a run again. Raises IntegrityError if that does not give the run's verdict."""
    where_and_when = {"generated_at_utc", "loso_dir", "made_by"}
    again = judge(run).model_dump(mode="json", exclude=where_and_when)
    if not same(again, verdict.model_dump(mode="json", exclude=where_and_when)):
        raise IntegrityError(
            f"{run.folder} is not what {verdict.verdict}.json judged",
            next_step=f"run `assay validate {run.folder}` again",
        )


def _check_others(folder: Path, ensemble: str) -> bool:
    """Whether this ensemble's rows verify; refuses a registry in which anything else fails."""
    intact = True
    for report in verify_registry(folder):
        if report.status != "refused":
            continue
        if ensemble_of(report.row_id) != ensemble:
            raise IntegrityError(
                f"the registry does not verify: {report.row_id}: {report.reason}", next_step=RESTORE
            )
        intact = False
    return intact


def _ref(registry: Registry, ensemble: str) -> FileRef:
    """The verdict that an ensemble's rows name."""
    refs = {row.verdict for row in registry.rows if ensemble_of(row.id) == ensemble and row.verdict is not None}
    if len(refs) != 1:
        raise IntegrityError(f"rows of {ensemble} name {len(refs)} verdicts", next_step=RESTORE)
    return refs.pop()


def _copy_models(run: "RunEvidence", folder: Path, verdict: Verdict) -> list[Row]:
    """Copy the files that a verdict binds into the registry; returns the rows that it will admit."""
    rows = planned_rows(run, confidence_eligible=verdict.confidence_eligible)
    for row in rows:
        write_bytes_atomic(folder / row.onnx, run.data[f"members/{row.id}.onnx"])
        write_bytes_atomic(folder / row.sidecar.file, run.data[f"members/{row.id}.json"])
    write_bytes_atomic(folder / predictions_name(verdict), run.data["predictions.parquet"])
    for name, of_run in zip(tie_names(verdict), ("tie.json", "shipped.parquet", "witness.npy"), strict=True):
        write_bytes_atomic(folder / name, run.data[of_run])
    return rows
