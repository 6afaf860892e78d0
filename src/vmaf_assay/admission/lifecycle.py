"""Acts after a promotion: roll back, judge again, take out of service, and sign.

Each act but signing is a new verdict with the next number in the same chain of digests, committed like a
promotion. So the invariant has no exception: rows change only with a fresh verdict, and nothing leaves the
history.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay import __version__
from vmaf_assay.admission.archive import bring_back
from vmaf_assay.admission.audit import Audit
from vmaf_assay.admission.judge import rows_of
from vmaf_assay.admission.promotion import State, Who, add_signatures, commit, locked, now_utc, read_state
from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.media.files import write_bytes_atomic
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.policy import COVERAGE_POLICY, POLICY
from vmaf_assay.records import OnStep
from vmaf_assay.registry.attest import Retrained, attest, attestations_on
from vmaf_assay.registry.entries import verdict_refs
from vmaf_assay.registry.files import RESTORE, content_name, parse, read_bound, read_file, verdict_name
from vmaf_assay.registry.history import digests_of, origin, predictions_name
from vmaf_assay.registry.manifest import FileRef, Row, ensemble_of
from vmaf_assay.registry.recompute import OF_THAT_TIME, read_tied
from vmaf_assay.registry.store import admitting_verdict, verify_row
from vmaf_assay.registry.verdict import Act, ReturnsTo, Verdict, rule_in_force
from vmaf_assay.registry.verify import verify_registry

if TYPE_CHECKING:
    import polars as pl

    from vmaf_assay.model.sidecar import Task
    from vmaf_assay.promise.policy import CoverageResult, GateResult


def rollback(
    folder: Path, ensemble: str, who: Who, to: int | None = None, *, source: Path | None = None
) -> Verdict:
    """Admit again, under a new number, exactly what an earlier verdict admitted.

    Args:
      folder: the registry.
      ensemble: whose rows.
      who: who and why.
      to: number of the verdict to return to; by default the one admitted before the verdict in force.
      source: a registry to take files of that verdict from, where this one does not have them.

    Raises:
      ConfigError: no such verdict, nothing to return to, or its files are in neither registry.
      IntegrityError: that verdict, or a file it depends on, does not verify.
    """
    with locked(folder, who.wait_s):
        state = with_history(folder, ensemble)
        target = _target(state, ensemble, to)
        target.recheck()
        bring_back(folder, target, source)
        digests = digests_of(state.history, FileRef(file=verdict_name(ensemble), sha256=_digest(state, ensemble)))
        returns_to = ReturnsTo(sequence=target.sequence, sha256=digests[state.history.index(target)])
        act = Act(kind="rollback", at_utc=now_utc(), by=who.by, reason=who.reason, returns_to=returns_to)
        verdict = next_verdict(state, target, act)
        commit(state, verdict, _rows_again(folder, target), who)
    return verdict


def _target(state: State, ensemble: str, to: int | None) -> Verdict:
    """The verdict a rollback returns to: one that let something in, never itself a rollback."""
    current = state.history[0]
    came_in = [
        one
        for one in state.history
        if one.verdict == "PROMOTE" and origin(one) == one.sequence and one is not current
    ]
    numbers = ", ".join(str(one.sequence) for one in came_in) or "none"
    if to is None:
        if current.verdict == "SUPERSEDED":
            raise ConfigError(f"{ensemble} is out of service", next_step=f"name what to return to: --to {numbers}")
        came_in = [one for one in came_in if one.sequence < origin(current)]
        if not came_in:
            raise ConfigError(
                f"{ensemble} has no verdict before {origin(current)}",
                next_step=f"name one with --to ({numbers}), or `assay registry retire {ensemble}`",
            )
        return came_in[0]
    found = next((one for one in came_in if one.sequence == to), None)
    if found is None:
        raise ConfigError(f"no verdict {to} on {ensemble} to return to", next_step=f"there are: {numbers}")
    if origin(current) == to:
        raise ConfigError(f"verdict {to} is in force already", next_step="nothing is to be done")
    return found


def retire(folder: Path, ensemble: str, who: Who) -> Verdict:
    """Take a production ensemble out of service, under a new number; its files and its history stay.

    Raises:
      ConfigError: it is not in service.
      IntegrityError: its rows do not verify.
    """
    with locked(folder, who.wait_s):
        state = with_history(folder, ensemble)
        current = state.history[0]
        if current.verdict == "SUPERSEDED":
            raise ConfigError(f"{ensemble} is out of service already", next_step="nothing is to be done")
        standing = [row for row in state.registry.rows if ensemble_of(row.id) == ensemble]
        for row in standing:
            verify_row(folder, state.registry, row)
        out = {"smoke": True, "confidence_eligible": False, "verdict": None}
        rows = [row.model_copy(update=out) for row in standing]
        act = Act(kind="supersede", at_utc=now_utc(), by=who.by, reason=who.reason)
        verdict = next_verdict(state, current, act).model_copy(
            update={
                "verdict": "SUPERSEDED",
                "confidence_eligible": False,
                "rows": {row.id: row.binding() for row in rows},
                "recommendation": "do not use; see act",
            }
        )
        commit(state, verdict, rows, who)
    return verdict


def revalidate(folder: Path, ensemble: str, who: Who, on_step: OnStep | None = None) -> Verdict:
    """Judge the models in force again, under today's policies and choice rule, from their held-out predictions.

    Args:
      folder: the registry.
      ensemble: whose models.
      who: who and why.
      on_step: told how far it is.

    Raises:
      ConfigError: the ensemble is out of service, or is a HOLD today.
      IntegrityError: a file it depends on does not verify.
    """
    from vmaf_assay.promise.calibrate import calibration_of, coverage_of

    with locked(folder, who.wait_s):
        state = with_history(folder, ensemble)
        current = state.history[0]
        admitting_verdict(folder, next(row for row in state.registry.rows if ensemble_of(row.id) == ensemble))
        table, gate = gate_today(folder, current)
        sidecar = models_of(folder, current)[f"{ensemble}_mean"][2]
        coverage = coverage_of(calibration_of(table, sidecar, ensemble), on_step=on_step)
        eligible = bool(coverage) and all(result.passed for result in coverage)
        rows = rows_of(ensemble, models_of(folder, current), current.n_groups, confidence_eligible=eligible)
        act = Act(kind="rejudge", at_utc=now_utc(), by=who.by, reason=who.reason)
        verdict = next_verdict(state, current, act).model_copy(
            update=judged_today(gate, coverage, rows, sidecar.task, act)
        )
        commit(state, verdict, rows, who)
    return verdict


def judged_today(
    gate: "GateResult", coverage: "list[CoverageResult]", rows: list[Row], task: "Task", act: Act
) -> dict[str, object]:
    """The fields of a verdict that judging again by today's policies sets."""
    return {
        "gate": gate,
        "coverage": coverage,
        "confidence_eligible": bool(coverage) and all(result.passed for result in coverage),
        "rows": {row.id: row.binding() for row in rows},
        "parent_adr": POLICY.name,
        "policy_sha256": POLICY.digest(),
        "coverage_policy_sha256": COVERAGE_POLICY.digest(),
        "coverage_rule": rule_in_force(task),
        "generated_at_utc": act.at_utc,
    }


def gate_today(folder: Path, current: Verdict) -> "tuple[pl.DataFrame, GateResult]":
    """Held-out predictions of the models in force, and today's gate on them.

    Raises:
      ConfigError: it is a HOLD, or the verdict has no evidence that today's policy asks for.
    """
    from vmaf_assay.promise.calibrate import parse_predictions
    from vmaf_assay.promise.gate import evaluate_gate

    ensemble, name = current.ensemble, predictions_name(current)
    table = parse_predictions(read_bound(folder, name, current.predictions_sha256), where=str(folder / name))
    tied = read_tied(folder, current, table)
    if tied is None:
        raise ConfigError(
            f"{ensemble} has {OF_THAT_TIME}, and today's policy needs that", next_step="train and promote again"
        )
    gate, _ = evaluate_gate(table, current.seeds, metric=current.metric, shipped=tied.shipped.mean)
    if not gate.passed:
        raise ConfigError(
            f"{ensemble} is a HOLD today: {'; '.join(gate.reasons())}",
            next_step=f"take it out of service: `assay registry retire {ensemble}`",
        )
    return table, gate


def sign_verdict(folder: Path, ensemble: str, who: Who) -> tuple[Verdict, list[str]]:
    """Add signatures to the verdict in force; it, and the ids of all keys that have signed it.

    Raises:
      IntegrityError: the verdict, a file it depends on, or one of its signatures does not verify.
    """
    with locked(folder, who.wait_s):
        current = with_history(folder, ensemble).history[0]
        for report in verify_registry(folder, ensemble=ensemble):
            if report.status == "refused":
                raise IntegrityError(f"not signed: {report.row_id}: {report.reason}", next_step=RESTORE)
        return current, add_signatures(folder, current, who)


def attest_verdict(folder: Path, audited: Audit, retrained: Retrained, who: Who) -> tuple[Verdict, list[str]]:
    """File an attestation on the verdict in force by every key of `who`; it, and the ids of all keys that attest.

    Args:
      folder: the registry.
      audited: the audit that trained again, and agrees.
      retrained: what came out.
      who: whose keys.

    Raises:
      ToolError: another verdict came into force meanwhile.
      IntegrityError: the verdict or anything that it rests on does not verify.
    """
    with locked(folder, who.wait_s):
        ensemble = audited.ensemble
        state = with_history(folder, ensemble)
        current = state.history[0]
        if _digest(state, ensemble) != audited.verdict_sha256:
            raise ToolError(f"another verdict on {ensemble} came into force", next_step="attest to that one")
        for report in verify_registry(folder, ensemble=ensemble):
            if report.status == "refused":
                raise IntegrityError(f"not attested: {report.row_id}: {report.reason}", next_step=RESTORE)
        data = read_file(folder, verdict_name(ensemble, current.sequence))
        for key in who.keys:
            name, envelope = attest(current, data, retrained, key)
            write_bytes_atomic(folder / name, envelope)
        return current, [one.key_id for one in attestations_on(folder, current, data)]


def with_history(folder: Path, ensemble: str) -> State:
    """A registry's state, under its lock; raises ConfigError if it has no verdict on the ensemble."""
    if not (folder / "registry.json").exists():
        raise IntegrityError(f"{folder / 'registry.json'} is missing", next_step="name a registry")
    state = read_state(folder, ensemble)
    if not state.history:
        known = ", ".join(sorted(verdict_refs(folder))) or "none"
        raise ConfigError(f"{folder} has no verdict on {ensemble}", next_step=f"ensembles with one: {known}")
    return state


def _digest(state: State, ensemble: str) -> str:
    return str(state.last_digest(ensemble))


def next_verdict(state: State, content: Verdict, act: Act) -> Verdict:
    """The next verdict in the chain, with the content of another."""
    return content.model_copy(
        update={
            "sequence": state.next_number(content.ensemble),
            "previous_verdict_sha256": state.last_digest(content.ensemble),
            "act": act,
            "made_by": __version__,
        }
    )


def models_of(folder: Path, verdict: Verdict) -> dict[str, tuple[str, str, Sidecar]]:
    """Model digest, sidecar digest and sidecar of everything a verdict admitted, by row id."""
    found = {}
    for row_id, digest in verdict.members.items():
        name = content_name(row_id, verdict.sidecars[row_id], "json")
        data = read_bound(folder, name, verdict.sidecars[row_id])
        found[row_id] = (digest, verdict.sidecars[row_id], parse(Sidecar, data, folder / name))
    return found


def _rows_again(folder: Path, verdict: Verdict) -> list[Row]:
    """The rows that a verdict admitted, made from its sidecars and checked against what it binds."""
    rows = rows_of(
        verdict.ensemble,
        models_of(folder, verdict),
        verdict.n_groups,
        confidence_eligible=verdict.confidence_eligible,
    )
    for row in rows:
        if verdict.rows.get(row.id) != row.binding():
            raise IntegrityError(
                f"row {row.id} of verdict {verdict.sequence} cannot be made again",
                next_step="promote the run itself again",
            )
    return rows
