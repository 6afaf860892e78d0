"""The verdict: PROMOTE or HOLD, with everything it depends on bound by digest.

A verdict is written by `validate` beside its run, and again by `promote` into the registry, where it gets its
place in the sequence. Its numbers are recomputed from the run's held-out predictions; no report is trusted.
"""

import json
import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.model.sidecar import MeasurandName, Task
from vmaf_assay.promise.policy import (
    CHOICE_RULE,
    COVERAGE_POLICY,
    INTERVAL_RULE,
    POLICY,
    CoveragePolicy,
    CoverageResult,
    GatePolicy,
    GateResult,
    PolicyKind,
    complete,
    gate_from_scores,
    known_policy,
)
from vmaf_assay.records import MEAN_VMAF, Measurand, Metric
from vmaf_assay.registry.files import MAX_SEQUENCE
from vmaf_assay.registry.manifest import Digest, Frozen
from vmaf_assay.registry.tie import TieRef


class FoldPlcc(Frozen):
    """One fold of one seed."""

    seed: int
    held_out: str
    """The group left out."""
    plcc: float
    """Pearson correlation on its rows."""
    n_val: int
    """Its rows."""


class ReturnsTo(Frozen):
    """The verdict that a rollback returns to."""

    sequence: Annotated[int, Field(ge=1, le=MAX_SEQUENCE)]
    """Its number."""
    sha256: Digest
    """SHA-256 of its file."""


class Act(Frozen):
    """The act that put a verdict into a registry's sequence, with author, time and reason."""

    kind: Literal["promote", "rollback", "supersede", "rejudge", "recalibrate"]
    """`promote`: a run was admitted. `rollback`: an earlier verdict is in force again. `supersede`: the rows were
    taken out of service. `rejudge`: the same models were judged again.
    `recalibrate`: likewise, with own titles in the margin."""
    at_utc: str
    """ISO 8601, UTC."""
    by: Annotated[str, Field(max_length=200)] | None = None
    """Who, as they stated; only a signature proves it."""
    reason: Annotated[str, Field(max_length=500)] | None = None
    """Why, as they stated."""
    returns_to: ReturnsTo | None = None
    """Of a rollback: the verdict that admits again."""


ADMITTED_BY_ACT = {"sequence", "previous_verdict_sha256", "act", "made_by"}
"""Fields of a rollback's own; all others are those of the verdict it returns to."""


class Verdict(Frozen):
    """`PROMOTE.json` or `HOLD.json`."""

    schema_version: Literal[2] = 2
    """2: version 1's fields, and what binds them."""
    verdict: Literal["PROMOTE", "HOLD", "SUPERSEDED"]
    """The answer; SUPERSEDED only in a registry, for rows taken out of service."""
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
    """Version of the rule that the coverage was measured with (`promise/policy.py`)."""
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
    sequence: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)] = 0
    """Number in the ensemble's sequence, from 1; 0 for a verdict outside a registry."""
    previous_verdict_sha256: Digest | None = None
    """The verdict that this one replaced."""
    validated_sha256: Digest | None = None
    """SHA-256 of the run's own PROMOTE.json."""
    act: Act | None = None
    """The act that put it into the sequence; None in a run, and in registries written before this field."""
    measurand: MeasurandName | None = Field(default=None, exclude_if=lambda text: text is None)
    """What was predicted and judged, as in the sidecars it admits; None likewise."""

    tie: TieRef | None = Field(default=None, exclude_if=lambda ref: ref is None)
    """What ties the shipped members to those judged; None in verdicts of before ADR-0410."""
    made_by: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, exclude_if=lambda text: text is None
    )
    """Version of vmaf-assay that made this verdict; None in verdicts made before 0.2.0. `code` is what trained."""

    @property
    def metric(self) -> Metric:
        """The scale of what was judged."""
        return Measurand.parse(self.measurand).metric if self.measurand else MEAN_VMAF.metric

    @property
    def n_groups(self) -> int:
        """Groups in the corpus."""
        return int(self.corpus.get("n_groups", 0))

    def to_bytes(self) -> bytes:
        """The canonical bytes of a verdict's file in a registry."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"

    def gate_policy(self) -> GatePolicy:
        """The gate policy it was given under. Raises IntegrityError if this version does not know it."""
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
        if policy.needs_tie and self.tie is None:
            raise self._contradiction("says nothing of what its shipped members predict")
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
        # `corpus` is JSON of any kind: it is compared, not hashed.
        whole = len(groups) == 1 and {len(group) for group in groups} == {n_groups}
        if not whole or self.corpus.get("n_groups") != n_groups:
            raise self._contradiction("lacks a fold or has one twice")
        try:
            scores = {s: float(np.mean(list(v.values()))) for s, v in by_seed.items()}
            again = gate_from_scores(scores, policy)
        except CorpusError as error:
            raise IntegrityError(error.what, next_step="validate again") from error
        if not policy.limits():
            return again
        if not complete(self.gate.conditions, policy):
            raise self._contradiction("lacks a condition of its policy")
        return again.with_conditions(list(self.gate.conditions or ()))

    def _contradiction(self, what: str) -> IntegrityError:
        return IntegrityError(f"the verdict on {self.ensemble} {what}", next_step="validate again")


def same(a: Any, b: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether two JSON values are equal, numbers to 1e-9, because machines sum in different orders.

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


def rule_in_force(task: Task) -> int:
    """Version of the rule with which promises of such an ensemble are made today."""
    return CHOICE_RULE if task == "forecast" else INTERVAL_RULE
