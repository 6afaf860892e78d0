"""The verdict: PROMOTE or HOLD, with everything it rests on bound by digest.

A verdict is written by `validate` beside its run, and again by `promote` into the registry, where it gets its
place in the sequence. What it says is recomputed from the run's held-out predictions; nothing is taken from a
report.
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from vmaf_assay.errors import ConfigError, CorpusError, IntegrityError
from vmaf_assay.evaluate.policy import (
    CHOICE_RULE,
    COVERAGE_POLICY,
    INTERVAL_RULE,
    POLICY,
    CoveragePolicy,
    CoverageResult,
    GatePolicy,
    GateResult,
    PolicyKind,
    gate_from_scores,
    known_policy,
)
from vmaf_assay.media.files import write_json_atomic
from vmaf_assay.model.sidecar import Sidecar, Task
from vmaf_assay.registry.files import content_name
from vmaf_assay.registry.manifest import Digest, FileRef, Frozen, Kind, Row

if TYPE_CHECKING:
    from vmaf_assay.runs.store import RunEvidence

LICENSE = "BSD-2-Clause-Patent"


class FoldPlcc(Frozen):
    """One fold of one seed."""

    seed: int
    """The seed."""
    held_out: str
    """The group left out."""
    plcc: float
    """Pearson correlation on its rows."""
    n_val: int
    """Its rows."""


class ReturnsTo(Frozen):
    """The verdict that a rollback returns to."""

    sequence: Annotated[int, Field(ge=1)]
    """Its number."""
    sha256: Digest
    """SHA-256 of its file."""


class Act(Frozen):
    """Why a verdict is in a registry's sequence: who did what to the rows, when and why."""

    kind: Literal["promote", "rollback", "supersede", "rejudge"]
    """`promote`: a run came in. `rollback`: an earlier verdict admits again. `supersede`: the rows went out of
    service. `rejudge`: the same models were judged again, under today's policies and rules."""
    at_utc: str
    """ISO 8601, UTC."""
    by: Annotated[str, Field(max_length=200)] | None = None
    """Who, in the words they gave; a signature says it better."""
    reason: Annotated[str, Field(max_length=500)] | None = None
    """Why, in the words they gave."""
    returns_to: ReturnsTo | None = None
    """Of a rollback: the verdict that admits again."""


ADMITTED_BY_ACT = {"sequence", "previous_verdict_sha256", "act"}
"""What a rollback's verdict has of its own; all else is that of the verdict it returns to."""


class Verdict(Frozen):
    """`PROMOTE.json` or `HOLD.json`."""

    schema_version: Literal[2] = 2
    """2: version 1's fields, and what binds them."""
    verdict: Literal["PROMOTE", "HOLD", "SUPERSEDED"]
    """The answer; SUPERSEDED only in a registry, of rows that were taken out of service."""
    ensemble: str
    """The ensemble judged."""
    gate: GateResult
    """The gate's numbers."""
    reasons: list[str]
    """Why it is a HOLD; empty for a PROMOTE."""
    corpus: dict[str, Any]
    """`present, digest, n_rows, n_cells, n_groups` of the corpus content."""
    seeds: list[int]
    """Seeds judged."""
    loso_dir: str
    """Name of the run's folder."""
    folds: list[FoldPlcc]
    """Every fold of every seed."""
    coverage: list[CoverageResult]
    """The coverage policy's results."""
    confidence_eligible: bool
    """Whether promises may rest on it."""
    members: dict[str, Digest]
    """SHA-256 of every model file, by row id, the fused mean included."""
    sidecars: dict[str, Digest]
    """SHA-256 of every sidecar, by row id."""
    rows: dict[str, Digest]
    """`Row.binding` of every row admitted, by id."""
    predictions_sha256: Digest
    """SHA-256 of `predictions.parquet`."""
    calibration_sha256: Digest
    """SHA-256 of the calibration's canonical JSON."""
    policy_sha256: Digest
    """SHA-256 of the gate policy's canonical JSON."""
    coverage_policy_sha256: Digest
    """SHA-256 of the coverage policy's canonical JSON."""
    coverage_rule: Annotated[int, Field(ge=1)] = 1
    """Version of the rule that the coverage was measured with (`evaluate/policy.py`)."""
    code: dict[str, Any]
    """Version, commit and dirty flag of the code that trained."""
    environment: dict[str, str]
    """Python, platform and library versions of the training."""
    generated_at_utc: str
    """ISO 8601, UTC."""
    recommendation: str
    """What to do next."""
    protocol: str = "leave-one-group-out"
    """How groups were left out: one at a time, or `K grouped folds`."""
    adr: str = "ADR-0320"
    """The decision this carries out."""
    parent_adr: str = "ADR-0303"
    """The decision that defines the gate."""
    sequence: Annotated[int, Field(ge=0)] = 0
    """Place among the ensemble's promotions, from 1; 0 for a verdict that is not in a registry."""
    previous_verdict_sha256: Digest | None = None
    """The verdict that this one replaced."""
    validated_sha256: Digest | None = None
    """SHA-256 of the run's own PROMOTE.json."""
    act: Act | None = None
    """What put it into the sequence; None in a run, and in registries written before this field."""

    @property
    def n_groups(self) -> int:
        """Groups in the corpus."""
        return int(self.corpus.get("n_groups", 0))

    def to_bytes(self) -> bytes:
        """The one byte string of a verdict's file in a registry."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"

    def gate_policy(self) -> GatePolicy:
        """The gate policy it was given under. Raises IntegrityError if that is none that this version knows."""
        return self._policy(POLICY, self.policy_sha256)

    def coverage_policy(self) -> CoveragePolicy:
        """The coverage policy, likewise."""
        return self._policy(COVERAGE_POLICY, self.coverage_policy_sha256)

    def _policy(self, today: PolicyKind, sha256: str) -> PolicyKind:
        policy = known_policy(today, sha256, self.generated_at_utc)
        if policy is None:
            raise IntegrityError(
                f"the verdict on {self.ensemble} was given under another gate policy", next_step="validate again"
            )
        return policy

    def recheck(self) -> GateResult:
        """Judge the fold table again under the policy it was given under.

        Raises:
          IntegrityError: the verdict contradicts itself, the policy is unknown, or the gate does not pass.
        """
        policy = self.gate_policy()
        self.coverage_policy()
        ids = {f"{self.ensemble}_seed{seed}" for seed in self.seeds} | {f"{self.ensemble}_mean"}
        lists = (self.members, self.sidecars, self.rows)
        if any(set(bound) != ids for bound in lists) or len(set(self.members.values())) != len(ids):
            raise self._contradiction("does not bind one distinct model for every seed")
        if self.confidence_eligible != (bool(self.coverage) and all(c.passed for c in self.coverage)):
            raise self._contradiction("contradicts its own coverage table")
        again = self._judge_folds(policy)
        if not same(again.model_dump(), self.gate.model_dump()):
            raise self._contradiction("contradicts its own fold table")
        if not again.passed or self.reasons or self.verdict != "PROMOTE":
            raise self._contradiction("is not a PROMOTE")
        return again

    def _judge_folds(self, policy: GatePolicy) -> GateResult:
        by_seed = {s: {f.held_out: f.plcc for f in self.folds if f.seed == s} for s in self.seeds}
        n_groups = len(self.folds) // max(len(self.seeds), 1)
        groups = {frozenset(scores) for scores in by_seed.values()}
        # `corpus` is JSON of any kind: what stands there is compared, not hashed.
        whole = len(groups) == 1 and {len(group) for group in groups} == {n_groups}
        if not whole or self.corpus.get("n_groups") != n_groups:
            raise self._contradiction("lacks a fold or has one twice")
        try:
            return gate_from_scores({s: float(np.mean(list(v.values()))) for s, v in by_seed.items()}, policy)
        except CorpusError as error:
            raise IntegrityError(error.what, next_step="validate again") from error

    def _contradiction(self, what: str) -> IntegrityError:
        return IntegrityError(f"the verdict on {self.ensemble} {what}", next_step="validate again")


def same(a: Any, b: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether two JSON values are equal, numbers to 1e-9: another machine sums in another order.

    >>> same({"x": [0.1 + 0.2]}, {"x": [0.3]}), same({"x": 1}, {"y": 1})
    (True, False)
    """
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=0, abs_tol=1e-9)
    return type(a) is type(b) and bool(a == b)


def judge(run: "RunEvidence") -> Verdict:
    """Judge a run whose files have been checked. Raises CorpusError if it is no evidence."""
    gate, folds = run.gate()
    coverage = run.coverage()
    eligible = bool(coverage) and all(result.passed for result in coverage)
    rows = planned_rows(run, confidence_eligible=eligible)
    reasons = gate.reasons()
    facts = run.file.corpus
    return Verdict(
        verdict="HOLD" if reasons else "PROMOTE",
        ensemble=run.file.model_id,
        gate=gate,
        reasons=reasons,
        corpus={"present": True, **facts.model_dump()},
        seeds=sorted(run.file.seeds),
        protocol=run.file.protocol,
        loso_dir=run.folder.resolve().name,
        folds=[FoldPlcc(**fold) for fold in folds],
        coverage=coverage,
        confidence_eligible=eligible,
        members={row.id: row.sha256 for row in rows},
        sidecars={row.id: row.sidecar.sha256 for row in rows},
        rows={row.id: row.binding() for row in rows},
        predictions_sha256=run.file.files["predictions.parquet"],
        calibration_sha256=run.calibration_sha256(),
        policy_sha256=POLICY.digest(),
        coverage_policy_sha256=COVERAGE_POLICY.digest(),
        coverage_rule=rule_in_force(run.file.task),
        code=run.file.code.model_dump(),
        environment=dict(run.file.environment),
        generated_at_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        recommendation=(
            "do not promote; see reasons" if reasons else "promote as a separate act: `assay promote RUN`"
        ),
    )


def rule_in_force(task: Task) -> int:
    """Version of the rule that promises of such an ensemble are made with today."""
    return CHOICE_RULE if task == "forecast" else INTERVAL_RULE


def planned_rows(run: "RunEvidence", *, confidence_eligible: bool) -> list[Row]:
    """The registry rows a run would get, in order of id, without verdicts."""
    return rows_of(
        run.file.model_id, run.models(), run.file.corpus.n_groups, confidence_eligible=confidence_eligible
    )


def rows_of(
    ensemble: str, models: Mapping[str, tuple[str, str, Sidecar]], n_groups: int, *, confidence_eligible: bool
) -> list[Row]:
    """The registry rows of an ensemble's models, in order of id, without verdicts.

    File names carry the first 12 hex digits of their content, so that a promotion never overwrites a file that the
    registry it replaces still needs. Verdicts bind these rows letter by letter, and a rollback makes them again:
    a text that changes here can no longer be rolled back to.

    Args:
      ensemble: the ensemble's id.
      models: model digest, sidecar digest and sidecar, by row id.
      n_groups: groups in the corpus.
      confidence_eligible: whether promises may rest on the rows.
    """
    rows = []
    for row_id, (onnx_sha256, sidecar_sha256, sidecar) in sorted(models.items()):
        kind: Kind = "ensemble" if sidecar.role == "mean" else sidecar.task
        what = "fused mean of all members" if kind == "ensemble" else "one member"
        recipe = str(sidecar.recipe.get("name", "unnamed"))[:64]
        rows.append(
            Row(
                id=row_id,
                kind=kind,
                onnx=content_name(row_id, onnx_sha256, "onnx"),
                sha256=onnx_sha256,
                opset=sidecar.opset,
                smoke=False,
                license=LICENSE,
                description=f"{ensemble}: {what}, {_TASKS[sidecar.task]}",
                notes=(
                    f"corpus {sidecar.corpus_digest[:12]}, {n_groups} groups, recipe {recipe}, "
                    f"held-out PLCC {sidecar.held_out.mean_plcc:.4f}"
                ),
                sidecar=FileRef(file=content_name(row_id, sidecar_sha256, "json"), sha256=sidecar_sha256),
                confidence_eligible=confidence_eligible,
            )
        )
    return rows


_TASKS = {
    "fr": "VMAF of an encode from its own canonical-6",
    "forecast": "VMAF of an encode not yet made, from canonical-6 of probe encodes",
}


def write_verdict(folder: Path, verdict: Verdict) -> Path:
    """Write `PROMOTE.json` or `HOLD.json` into a run, and never leave both.

    The other goes first: a kill in between leaves a run without a verdict, which cannot be promoted.
    """
    other = folder / ("HOLD.json" if verdict.verdict == "PROMOTE" else "PROMOTE.json")
    other.unlink(missing_ok=True)
    path = folder / f"{verdict.verdict}.json"
    write_json_atomic(path, verdict.model_dump(mode="json"))
    return path


def verdict_path(folder: Path) -> Path:
    """A run's one verdict.

    Raises:
      ConfigError: there is none, or there are both.
    """
    found = [path for name in ("PROMOTE", "HOLD") if (path := folder / f"{name}.json").is_file()]
    if len(found) != 1:
        what = "both PROMOTE.json and HOLD.json" if found else "no verdict"
        raise ConfigError(f"{folder} holds {what}", next_step=f"run `assay validate {folder}`")
    return found[0]
