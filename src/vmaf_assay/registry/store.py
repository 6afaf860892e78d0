"""The registry on disk, and the one way out of it: `load_verified`.

    registry.json                               rows, in the one form `promote` writes
    <id>.<sha12>.onnx, <id>.<sha12>.json        models and sidecars, named by content
    <ensemble>_predictions.<sha12>.parquet      held-out predictions the verdict was recomputed from
    <ensemble>_seed_flip_PROMOTE.json           the verdict that admitted the current rows
    <ensemble>_seed_flip_PROMOTE.<n>.json       every verdict by sequence number
    <ensemble>_seed_flip_PROMOTE.<n>.dsse.json  signatures on it, if there are any

Everything fails closed: what is absent, unreadable, edited, unknown or HOLD is refused.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.model.infer import Ensemble, open_ensemble
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.registry.files import RESTORE, TRUST_POLICY, parse, parse_bound, read_bound, read_file
from vmaf_assay.registry.history import bound_files, chain, predictions_name
from vmaf_assay.registry.manifest import Registry, Row, ensemble_of
from vmaf_assay.registry.strays import refuse_strays
from vmaf_assay.registry.verdict import Verdict, rule_in_force
from vmaf_assay.runs.schema import CalibrationFile, ChoiceCalibration, IntervalCalibration


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
      IntegrityError: absent, unreadable, of another schema, with a row twice, or not in the form `promote` writes.
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
      IntegrityError: it does not stand, or the row is scaffolded or out of service.
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
    folder: Path, registry: Registry, row: Row, verdict: Verdict | None = None, *, for_load: bool = False
) -> tuple[bytes, Sidecar, Verdict]:
    """Check one production row: bytes, sidecar, verdict and its history, binding, and the gate judged again.

    Args:
      folder: the registry.
      registry: its rows.
      row: the row.
      verdict: what `admitting_verdict` gave for a row that names the same one; by default it is asked.
      for_load: rest on the digest that the verdict gives of the sidecar, and do not look for keys in it that come
        twice (a quarter of a load's time).

    Returns:
      The very model bytes that were hashed, the sidecar, and the verdict.

    Raises:
      IntegrityError: anything at all does not fit, or the row is only scaffolded or out of service.
    """
    verdict = verdict or admitting_verdict(folder, row)
    if row.smoke:
        raise IntegrityError(f"{row.id} is smoke beside production rows", next_step=RESTORE)
    onnx = read_bound(folder, row.onnx, row.sha256)
    sidecar_bytes = read_bound(folder, row.sidecar.file, row.sidecar.sha256)
    name = ensemble_of(row.id)
    bound = (verdict.members.get(row.id), verdict.sidecars.get(row.id))
    if bound != (row.sha256, row.sidecar.sha256):
        raise IntegrityError(f"the verdict did not admit the model of {row.id}", next_step=RESTORE)
    read = parse_bound if for_load else parse
    sidecar = read(Sidecar, sidecar_bytes, folder / row.sidecar.file)
    if verdict.rows.get(row.id) != row.binding():
        raise IntegrityError(
            f"row {row.id} was edited after its verdict", next_step="validate and promote again, or restore it"
        )
    if (sidecar.id, sidecar.onnx_sha256) != (row.id, row.sha256):
        raise IntegrityError(f"the sidecar of {row.id} describes another model", next_step=RESTORE)
    if sidecar.corpus_digest != verdict.corpus.get("digest"):
        raise IntegrityError(f"the sidecar of {row.id} names another corpus", next_step=RESTORE)
    _check_beside(registry, row, verdict)
    if row.id == f"{name}_mean":
        _check_calibration(row, sidecar, verdict)
    return onnx, sidecar, verdict


def _check_beside(registry: Registry, row: Row, verdict: Verdict) -> None:
    """A row stands only with every row of its verdict beside it, the fused one too, under the same verdict."""
    for row_id in verdict.members:
        other = registry.row(row_id)
        if other is None or other.smoke or other.verdict != row.verdict:
            raise IntegrityError(f"{row.id} stands without {row_id}", next_step=RESTORE)


def _check_calibration(row: Row, sidecar: Sidecar, verdict: Verdict) -> None:
    if sha256_bytes(canonical_json(sidecar.calibration)) != verdict.calibration_sha256:
        raise IntegrityError(f"the calibration of {row.id} is not the verdict's", next_step=RESTORE)


def load_verified(folder: Path, ensemble_id: str, trust_policy: Path | None = None) -> VerifiedEnsemble:
    """Open an ensemble after checking all its rows; the session is made from the bytes that were hashed.

    Args:
      folder: the registry.
      ensemble_id: the ensemble, without `_seedN` or `_mean`.
      trust_policy: whose signatures to believe; by default the file that `$ASSAY_TRUST_POLICY` names, if any.

    Returns:
      The ensemble; not `confidence_eligible` if its coverage was measured with another rule than today's.

    Raises:
      IntegrityError: the ensemble is not in the registry, is scaffolded or out of service, does not verify, or the
        trust policy does not believe it.
    """
    registry = read_registry(folder)
    row = registry.row(f"{ensemble_id}_mean")
    if row is None:
        raise IntegrityError(
            f"{folder} has no row {ensemble_id}_mean", next_step="promote it, or name another --registry"
        )
    believes = trust_policy is not None or TRUST_POLICY in os.environ
    if (
        believes and row.smoke and row.verdict is not None
    ):  # out of service: what stood before is older from now on
        _check_trust(folder, chain(folder, ensemble_id, row.verdict)[0], trust_policy)
    onnx, sidecar, verdict = verify_row(folder, registry, row, for_load=True)
    for member in registry.rows:
        if member.id in verdict.members and member.id != row.id:
            # Of the same verdict: `_check_beside` saw to that.
            verify_row(folder, registry, member, verdict, for_load=True)
    read_bound(folder, predictions_name(verdict), verdict.predictions_sha256)
    refuse_strays(folder, registry, ensemble_id, bound_files(verdict))
    if believes:
        _check_trust(folder, verdict, trust_policy)
    eligible = row.confidence_eligible and verdict.coverage_rule == rule_in_force(sidecar.task)
    return VerifiedEnsemble(open_ensemble(onnx, sidecar), _calibration(sidecar), eligible, verdict)


def _check_trust(folder: Path, verdict: Verdict, trust_policy: Path | None) -> None:
    from vmaf_assay.registry.trust import (
        check_trust,
        find_trust,
    )  # 18 ms that a load without a policy need not pay

    if (trust := find_trust(trust_policy)) is not None:
        check_trust(folder, verdict, trust, remember=True)


def _calibration(sidecar: Sidecar) -> IntervalCalibration | ChoiceCalibration:
    document = {"schema_version": 1, "calibration": sidecar.calibration}
    try:
        return CalibrationFile.model_validate(document).calibration
    except ValidationError as error:
        raise IntegrityError(f"the sidecar of {sidecar.id} holds no calibration", next_step=RESTORE) from error
