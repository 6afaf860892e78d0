"""The pre-declared policies, and their judgement of scores. The gate's numbers are defined only here.

Policies are identified by digest, past ones too, so that an old verdict is judged by its own policy. There are no
tables and no training here, so that every load of a model can judge its verdict again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from vmaf_assay.errors import CorpusError
from vmaf_assay.media.files import canonical_json, sha256_bytes


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """When an ensemble is production-eligible."""

    name: str = "ADR-0303"
    """The decision that set the numbers."""
    mean_plcc_threshold: float = 0.95
    """Mean over seeds of the seed's mean LOSO PLCC must be at least this."""
    plcc_spread_max: float = 0.005
    """Highest minus lowest seed must be at most this."""
    per_seed_min: float = 0.95
    """Every seed must be at least this."""
    min_seeds: int = 5
    """Fewer seeds are not evidence."""
    min_groups: int = 2
    """Fewer folds are not evidence."""

    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON."""
        return sha256_bytes(canonical_json(asdict(self)))


@dataclass(frozen=True, slots=True)
class CoveragePolicy:
    """When an ensemble may make promises (`confidence_eligible`)."""

    name: str = "coverage-1"
    """Version of this policy."""
    confidences: tuple[float, ...] = (0.80, 0.90, 0.95)
    """Nominal confidences tested."""
    targets: tuple[float, ...] = (85.0, 90.0, 93.0, 95.0)
    """Target VMAF of the choices replayed (forecast only)."""
    trials: int = 0
    """Trial encodes of the choices replayed: the hardest case."""
    error: float = 0.05
    """Probability of failing an ensemble whose coverage is exactly nominal."""

    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON."""
        return sha256_bytes(canonical_json(asdict(self)))


POLICY = GatePolicy()
COVERAGE_POLICY = CoveragePolicy()

RETIRED: tuple[tuple[GatePolicy | CoveragePolicy, str], ...] = ()
"""Policies that `validate` no longer uses, each with the day it was retired (ISO 8601). A verdict given under one
before that day stays valid; a later one is refused. If you change a policy above, list the old one here, with
every field written out."""

CHOICE_RULE = 4
"""Version of the rule in `promise/choice.py`. Raise it with every change that can choose another rate value or
margin. A verdict names the version its coverage was measured with, and promises need the same version."""

INTERVAL_RULE = 1
"""Version of the rule in `promise/conformal.py`, likewise."""

PolicyKind = TypeVar("PolicyKind", GatePolicy, CoveragePolicy)
"""A policy of either kind."""


def known_policy(today: PolicyKind, sha256: str, given_utc: str) -> PolicyKind | None:
    """The policy with a digest, if it is valid for a verdict of that time; else None.

    Args:
      today: the policy of its kind that is in force.
      sha256: digest of the policy looked for.
      given_utc: when the verdict was given, ISO 8601, UTC.
    """
    if today.digest() == sha256:
        return today
    for policy, until in RETIRED:
        if isinstance(policy, type(today)) and policy.digest() == sha256 and given_utc[: len(until)] < until:
            return policy
    return None


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


# 0.955 - 0.950 is 0.0050000000000000044 in binary: a spread that is 0.005 on paper must pass.
_ROUNDING = 1e-12


class GateResult(_Result):
    """The gate's answer: the `gate` block of a verdict, fields as in the reference system's schema version 1."""

    passed: bool
    """All three conditions hold."""
    mean_plcc: float
    """Mean over seeds."""
    mean_plcc_threshold: float
    """What it must reach."""
    mean_plcc_pass: bool
    """Whether it does."""
    plcc_spread: float
    """Highest minus lowest seed."""
    plcc_spread_max: float
    """What it may reach."""
    plcc_spread_pass: bool
    """Whether it stays within."""
    per_seed_plccs: dict[str, float]
    """Mean LOSO PLCC by seed."""
    per_seed_min: float
    """What every seed must reach."""
    per_seed_pass: bool
    """Whether every seed does."""
    failing_seeds: list[int]
    """Seeds that do not."""

    def reasons(self) -> list[str]:
        """Why it is a HOLD, in words; empty if passed."""
        said = []
        if not self.mean_plcc_pass:
            said.append(f"mean PLCC {self.mean_plcc:.4f} is below {self.mean_plcc_threshold:g}")
        if not self.plcc_spread_pass:
            said.append(f"spread between seeds {self.plcc_spread:.4f} is over {self.plcc_spread_max:g}")
        if not self.per_seed_pass:
            said.append(f"seeds {', '.join(map(str, self.failing_seeds))} are below {self.per_seed_min:g}")
        return said


class CoverageResult(_Result):
    """Empirical coverage at one nominal confidence."""

    confidence: float
    """Nominal."""
    scope: str
    """`all` for intervals; the encoder and preset for choices."""
    n_groups: int
    """Groups with an answer."""
    coverage: float
    """Mean over groups of the share covered, in [0, 1]."""
    passed: bool
    """Compatible with the nominal confidence, by the binomial bound."""


def gate_from_scores(per_seed: Mapping[int, float], policy: GatePolicy = POLICY) -> GateResult:
    """Apply the gate to mean LOSO PLCCs by seed.

    Raises:
      CorpusError: too few seeds, or a score that is not a correlation.
    """
    if len(per_seed) < policy.min_seeds:
        raise CorpusError(
            f"{len(per_seed)} seeds, the gate needs {policy.min_seeds}", next_step="train with --seeds 0,1,2,3,4"
        )
    scores = np.array([per_seed[seed] for seed in sorted(per_seed)], dtype=np.float64)
    if not (np.isfinite(scores).all() and (np.abs(scores) <= 1 + 1e-9).all()):
        raise CorpusError("a PLCC is not a number from -1 to 1", next_step="train again")
    mean = sum(per_seed[seed] for seed in sorted(per_seed)) / len(per_seed)
    spread = float(scores.max() - scores.min())
    failing = [seed for seed in sorted(per_seed) if per_seed[seed] < policy.per_seed_min]
    mean_pass = mean >= policy.mean_plcc_threshold - _ROUNDING
    spread_pass = spread <= policy.plcc_spread_max + _ROUNDING
    return GateResult(
        passed=mean_pass and spread_pass and not failing,
        mean_plcc=mean,
        mean_plcc_threshold=policy.mean_plcc_threshold,
        mean_plcc_pass=mean_pass,
        plcc_spread=spread,
        plcc_spread_max=policy.plcc_spread_max,
        plcc_spread_pass=spread_pass,
        per_seed_plccs={str(seed): float(per_seed[seed]) for seed in sorted(per_seed)},
        per_seed_min=policy.per_seed_min,
        per_seed_pass=not failing,
        failing_seeds=failing,
    )
