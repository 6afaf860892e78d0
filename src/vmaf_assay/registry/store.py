"""The registry on disk, and the only way to load from it: `load_verified`.

    registry.json                               rows, in the one form `promote` writes
    <id>.<sha12>.onnx, <id>.<sha12>.json        models and sidecars, named by content
    <ensemble>_predictions.<sha12>.parquet      held-out predictions the verdict was recomputed from
    <ensemble>_tie, _shipped, _witness          what ties the shipped members to those judged (`registry/tie.py`)
    <ensemble>_seed_flip_PROMOTE.json           the verdict that admitted the current rows
    <ensemble>_seed_flip_PROMOTE.<n>.json       every verdict by sequence number
    <ensemble>_seed_flip_PROMOTE.<n>.dsse.json  signatures on it, if there are any
    history/                                    models, sidecars, predictions of earlier verdicts; may be absent

Everything fails closed: anything absent, unreadable, edited, unknown or on HOLD is refused.
"""

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import to_json

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.model.infer import Ensemble, described_ensemble, open_graph
from vmaf_assay.model.onnx import check_self_contained
from vmaf_assay.model.sidecar import ChoiceCalibration, IntervalCalibration, Sidecar
from vmaf_assay.registry.files import HISTORY, RESTORE, TRUST_POLICY, parse, parse_bound, read_bound, read_file
from vmaf_assay.registry.history import bound_files, chain, predictions_name, tie_names
from vmaf_assay.registry.manifest import Registry, Row, ensemble_of
from vmaf_assay.registry.tie import check_witness
from vmaf_assay.registry.unexpected_files import refuse_strays
from vmaf_assay.registry.verdict import Verdict, rule_in_force


@dataclass(frozen=True, slots=True)
class VerifiedEnsemble:
    """An ensemble that has been checked byte by byte against the verdict that admitted it."""

    ensemble: Ensemble
    """The ensemble, ready for queries."""
    calibration: IntervalCalibration | ChoiceCalibration
    """Calibration of its bounds."""
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
      IntegrityError: absent, unreadable, of another schema, with a doubled row, or not as `promote` writes it.
    """
    return parse_registry(read_file(folder, "registry.json"), folder)


def parse_registry(data: bytes, folder: Path) -> Registry:
    """`read_registry` on bytes already read."""
    path = folder / "registry.json"
    registry = parse(Registry, data, path)
    ids = [row.id for row in registry.rows]
    if len(set(ids)) != len(ids) or ids != sorted(ids):
        raise IntegrityError(f"{path}: rows are not sorted by unique id", next_step=RESTORE)
    if data != registry.to_bytes():
        raise IntegrityError(f"{path} was edited by hand", next_step=RESTORE)
    return registry


def admitting_verdict(folder: Path, row: Row) -> Verdict:
    """The verdict that a production row names, with its history checked and its gate judged again.

    Raises:
      IntegrityError: it does not verify, or the row is scaffolded or out of service.
    """
    if row.verdict is None:
        raise IntegrityError(
            f"{row.id} is scaffolded (smoke), no verdict admits it", next_step="promote a run that passed its gate"
        )
    verdict = chain(folder, ensemble_of(row.id), row.verdict)[0]
    if row.smoke or verdict.verdict == "SUPERSEDED":
        when, why = (verdict.act.at_utc[:10], verdict.act.reason) if verdict.act else ("", None)
        raise IntegrityError(
            f"{verdict.ensemble} was taken out of service on {when} (verdict {verdict.sequence}): {why}",
            next_step="promote another run, or roll back with --to",
        )
    verdict.recheck()
    return verdict


def verify_row(
    folder: Path, registry: Registry, row: Row, verdict: Verdict | None = None
) -> tuple[bytes, Sidecar, Verdict]:
    """Check one production row: bytes, sidecar, verdict and its history, binding, and the gate judged again.

    Args:
      folder: the registry.
      registry: its rows.
      row: the row.
      verdict: from `admitting_verdict` for a row with the same verdict; by default it is called here.

    Returns:
      The model bytes that were hashed, the sidecar, and the verdict.

    Raises:
      IntegrityError: anything does not verify, or the row is scaffolded or out of service.
    """
    verdict = verdict or admitting_verdict(folder, row)
    onnx = _admitted_model(folder, row, verdict)
    sidecar = _admitted_sidecar(folder, registry, row, verdict, read=parse)
    if row.id == f"{verdict.ensemble}_mean":
        _calibration(sidecar, verdict)
    return onnx, sidecar, verdict


def _admitted_model(folder: Path, row: Row, verdict: Verdict) -> bytes:
    """The model bytes of a row, if a verdict admits them."""
    if row.smoke:
        raise IntegrityError(f"{row.id} is smoke beside production rows", next_step=RESTORE)
    onnx = read_bound(folder, row.onnx, row.sha256)
    if verdict.members.get(row.id) != row.sha256:
        raise IntegrityError(f"the verdict did not admit the model of {row.id}", next_step=RESTORE)
    check_self_contained(onnx)  # for a member too, which a load does not open
    return onnx


def _admitted_sidecar(
    folder: Path,
    registry: Registry,
    row: Row,
    verdict: Verdict,
    *,
    read: Callable[[type[Sidecar], bytes, Path], Sidecar] = parse_bound,
) -> Sidecar:
    """The sidecar of a row, if the verdict admits both; `read` parses it."""
    data = read_bound(folder, row.sidecar.file, row.sidecar.sha256)
    if verdict.sidecars.get(row.id) != row.sidecar.sha256:
        raise IntegrityError(f"the verdict did not admit the sidecar of {row.id}", next_step=RESTORE)
    sidecar = read(Sidecar, data, folder / row.sidecar.file)
    if verdict.rows.get(row.id) != row.binding():
        raise IntegrityError(
            f"row {row.id} was edited after its verdict", next_step="validate and promote again, or restore it"
        )
    if (sidecar.id, sidecar.onnx_sha256) != (row.id, row.sha256):
        raise IntegrityError(f"the sidecar of {row.id} describes another model", next_step=RESTORE)
    if sidecar.corpus_digest != verdict.corpus.get("digest"):
        raise IntegrityError(f"the sidecar of {row.id} names another corpus", next_step=RESTORE)
    if sidecar.measurand != verdict.measurand:
        raise IntegrityError(
            f"{row.id} answers in {sidecar.answers}, which its verdict did not judge", next_step=RESTORE
        )
    _check_beside(registry, row, verdict)
    return sidecar


def _check_beside(registry: Registry, row: Row, verdict: Verdict) -> None:
    """Refuse a row unless all rows of its verdict are there, the fused one too, under the same verdict."""
    for row_id in verdict.members:
        other = registry.row(row_id)
        if other is None or other.smoke or other.verdict != row.verdict:
            raise IntegrityError(f"{row.id} stands without {row_id}", next_step=RESTORE)


_TRIES = 5
"""Loads of a registry whose files change meanwhile."""


def load_verified(folder: Path, ensemble_id: str, trust_policy: Path | None = None) -> VerifiedEnsemble:
    """Open an ensemble after checking all its rows; the session is made from the bytes that were hashed.

    An act may commit, and move files, between two reads of a load. So what is refused is loaded again, until it
    passes or is refused while no file changed.

    Args:
      folder: the registry.
      ensemble_id: the ensemble, without `_seedN` or `_mean`.
      trust_policy: whose signatures to accept; by default the file that `$ASSAY_TRUST_POLICY` names, if any.

    Returns:
      The ensemble; not `confidence_eligible` if its coverage was measured with another rule than today's.

    Raises:
      IntegrityError: the ensemble is not in the registry, is scaffolded or out of service, does not verify, or is
        refused by the trust policy.
    """
    for left in reversed(range(_TRIES)):
        before = _files_there(folder)
        try:
            return _load_once(folder, ensemble_id, trust_policy)
        except IntegrityError:
            if not left or _files_there(folder) == before:
                raise
    raise AssertionError("the last try returns or raises")


def _files_there(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Name, inode and time of change of every file of a registry and its history; empty if it cannot be listed."""
    found = set[tuple[str, int, int]]()
    for place in (folder, folder / HISTORY):
        with contextlib.suppress(OSError):
            for entry in os.scandir(place):
                stat = entry.stat(follow_symlinks=False)
                found.add((entry.path, stat.st_ino, stat.st_mtime_ns))
    return frozenset(found)


def _load_once(folder: Path, ensemble_id: str, trust_policy: Path | None) -> VerifiedEnsemble:
    registry = read_registry(folder)
    row = registry.row(f"{ensemble_id}_mean")
    if row is None:
        raise IntegrityError(
            f"{folder} has no row {ensemble_id}_mean", next_step="promote it, or name another --registry"
        )
    believes = trust_policy is not None or TRUST_POLICY in os.environ
    if believes and row.smoke and row.verdict is not None:
        # Out of service: from now on, earlier verdicts count as older.
        _check_trust(folder, chain(folder, ensemble_id, row.verdict)[0], trust_policy)
    verdict = admitting_verdict(folder, row)
    onnx = _admitted_model(folder, row, verdict)
    # onnxruntime makes a session without Python's lock. Meanwhile everything else is checked; the session is
    # returned only if that passes.
    with ThreadPoolExecutor(1) as beside:
        opening = beside.submit(open_graph, onnx, row.id)
        sidecar = _admitted_sidecar(folder, registry, row, verdict)
        calibration = _calibration(sidecar, verdict)
        for member in registry.rows:
            if member.id in verdict.members and member.id != row.id:
                # Of the same verdict, as `_check_beside` has checked.
                _admitted_model(folder, member, verdict)
                _admitted_sidecar(folder, registry, member, verdict)
        read_bound(folder, predictions_name(verdict), verdict.predictions_sha256)
        witness = _read_tie(folder, verdict)
        refuse_strays(folder, registry, ensemble_id, bound_files(verdict))
        if believes:
            _check_trust(folder, verdict, trust_policy)
    eligible = may_promise(row, verdict, sidecar)
    ensemble = described_ensemble(opening.result(), sidecar)
    if verdict.tie is not None:
        check_witness(witness, ensemble, len(verdict.seeds), verdict.tie.n_rows)
    return VerifiedEnsemble(ensemble, calibration, eligible, verdict)


def may_promise(row: Row, verdict: Verdict, sidecar: Sidecar) -> bool:
    """Whether a load makes promises: the verdict says so, and measured coverage with today's choice rule."""
    return row.confidence_eligible and verdict.coverage_rule == rule_in_force(sidecar.task)


def _read_tie(folder: Path, verdict: Verdict) -> bytes:
    """Every file of a verdict's tie against its digest; the bytes of its witness. None of that time: empty."""
    if verdict.tie is None:
        return b""
    tie, shipped, witness = tie_names(verdict)
    read_bound(folder, tie, verdict.tie.tie_sha256)
    read_bound(folder, shipped, verdict.tie.shipped_sha256)
    return read_bound(folder, witness, verdict.tie.witness_sha256)


def _check_trust(folder: Path, verdict: Verdict, trust_policy: Path | None) -> None:
    # imported here: 18 ms that a load without a policy saves.
    from vmaf_assay.registry.trust import check_trust, find_trust

    if (trust := find_trust(trust_policy)) is not None:
        check_trust(folder, verdict, trust, remember=True)


def _calibration(sidecar: Sidecar, verdict: Verdict) -> IntervalCalibration | ChoiceCalibration:
    """The calibration in the sidecar of a fused model, if it is the verdict's."""
    if sidecar.calibration is None:
        raise IntegrityError(f"the sidecar of {sidecar.id} holds no calibration", next_step=RESTORE)
    # pydantic writes canonical JSON in a fifth of the time, except for a few floats (1e-5, not 1e-05). If the
    # digest matches, the text is right.
    digest = sha256_bytes(to_json(sidecar.calibration))
    if digest != verdict.calibration_sha256:
        digest = sha256_bytes(canonical_json(sidecar.calibration.model_dump(mode="json")))
    if digest != verdict.calibration_sha256:
        raise IntegrityError(f"the calibration of {sidecar.id} is not the verdict's", next_step=RESTORE)
    return sidecar.calibration
