"""The one way into a registry: `promote`.

Order of writes: models, sidecars and predictions under names that carry their content; the numbered verdict; then
`registry.json` by rename, which is the commit; then the plain copy of the verdict. (A first promotion replaces
nothing and writes the plain copy before the commit.) No write overwrites a file that the registry being replaced
still needs, so a kill between any two leaves a registry that verifies in its old state or its new one, and
promoting the same run again finishes the work.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.media.files import read_plain, sha256_bytes, write_bytes_atomic, write_json_atomic
from vmaf_assay.registry.files import MAX_FILE_BYTES, RESTORE, parse, read_file, verdict_name
from vmaf_assay.registry.history import chain, numbered, predictions_name
from vmaf_assay.registry.manifest import FileRef, Registry, ensemble_of
from vmaf_assay.registry.store import parse_registry, verify_row
from vmaf_assay.registry.verdict import Verdict, judge, planned_rows, same, verdict_path
from vmaf_assay.registry.verify import verify_registry

if TYPE_CHECKING:
    from vmaf_assay.runs.store import RunEvidence

LOCK_TIMEOUT_S = 60.0
"""How long one promotion waits for another."""


def promote(run: "RunEvidence", folder: Path) -> Verdict:
    """Flip an ensemble's rows to `smoke: false`, all or nothing, under the registry's lock.

    The run must hold a PROMOTE whose every digest still fits; the gate is run again. The registry must be what it
    was when this began (compare and swap on its bytes). A run that is promoted already changes nothing.

    Args:
      run: the run, checked by `runs.store.load_run`.
      folder: the registry; made if absent.

    Returns:
      The verdict as filed, with its place in the sequence.

    Raises:
      ConfigError: the run holds no verdict, or a HOLD.
      IntegrityError: the run changed since it was validated, or the registry does not verify.
      ToolError: another promotion holds the lock, or the disk failed.
    """
    validated, digest = _validated(run)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        before = _read_or_empty(folder)
        registry = parse_registry(before, folder) if before else Registry()
        intact = _check_others(folder, validated.ensemble) if before else False
        history = _history(folder, registry, validated.ensemble)
        if history and intact and history[0].validated_sha256 == digest:
            _write_plain(folder, history[0])
            return history[0]
        numbers = [0, *numbered(folder, validated.ensemble)]
        verdict = validated.model_copy(
            update={
                "sequence": max(numbers) + 1,
                "previous_verdict_sha256": _ref(registry, validated.ensemble).sha256 if history else None,
                "validated_sha256": digest,
            }
        )
        after = _write_files(run, folder, registry, verdict, first=not history)
        if _read_or_empty(folder) != before:
            raise IntegrityError(f"{folder / 'registry.json'} changed while promoting", next_step="promote again")
        write_bytes_atomic(folder / "registry.json", after.to_bytes())
        _write_plain(folder, verdict)
    return verdict


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout as error:
        raise ToolError(
            f"{folder} has been locked for {LOCK_TIMEOUT_S:g} s", next_step="wait for the other promotion"
        ) from error


def _read_or_empty(folder: Path) -> bytes:
    return read_file(folder, "registry.json") if (folder / "registry.json").exists() else b""


def _validated(run: "RunEvidence") -> tuple[Verdict, str]:
    """The run's PROMOTE and its digest, if judging the run again gives the same."""
    path = verdict_path(run.folder)
    data = read_plain(path, max_bytes=MAX_FILE_BYTES)
    verdict = parse(Verdict, data, path)
    if verdict.verdict != "PROMOTE":
        raise ConfigError(f"{path}: HOLD: {'; '.join(verdict.reasons)}", next_step="train a better ensemble")
    where_and_when = {"generated_at_utc", "loso_dir"}
    again = judge(run).model_dump(mode="json", exclude=where_and_when)
    if not same(again, verdict.model_dump(mode="json", exclude=where_and_when)):
        raise IntegrityError(
            f"{run.folder} is not what {path.name} judged", next_step=f"run `assay validate {run.folder}` again"
        )
    return verdict, sha256_bytes(data)


def _check_others(folder: Path, ensemble: str) -> bool:
    """Refuse a registry in which anything but this ensemble's rows fails; whether these verify."""
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


def _history(folder: Path, registry: Registry, ensemble: str) -> list[Verdict]:
    """Verdicts under which the ensemble's rows stand, newest first; empty if none does."""
    if not any(ensemble_of(row.id) == ensemble and row.verdict is not None for row in registry.rows):
        return []
    return chain(folder, ensemble, _ref(registry, ensemble))


def _write_plain(folder: Path, verdict: Verdict) -> None:
    write_json_atomic(folder / verdict_name(verdict.ensemble), verdict.model_dump(mode="json"))


def _write_files(
    run: "RunEvidence", folder: Path, registry: Registry, verdict: Verdict, *, first: bool
) -> Registry:
    """Write all that the commit needs, check it, and return the registry that the commit will write."""
    rows = planned_rows(run, confidence_eligible=verdict.confidence_eligible)
    for row in rows:
        write_bytes_atomic(folder / row.onnx, run.data[f"members/{row.id}.onnx"])
        write_bytes_atomic(folder / row.sidecar.file, run.data[f"members/{row.id}.json"])
    write_bytes_atomic(folder / predictions_name(verdict), run.data["predictions.parquet"])
    name = verdict_name(verdict.ensemble, verdict.sequence)
    write_json_atomic(folder / name, verdict.model_dump(mode="json"))
    if first:
        _write_plain(folder, verdict)
    ref = FileRef(file=verdict_name(verdict.ensemble), sha256=sha256_bytes((folder / name).read_bytes()))
    kept = {row.id: row for row in registry.rows if ensemble_of(row.id) != verdict.ensemble}
    new = {row.id: row.model_copy(update={"verdict": ref}) for row in rows}
    after = Registry(rows=[row for _, row in sorted((kept | new).items())])
    for row in new.values():
        verify_row(folder, after, row)
    return after
