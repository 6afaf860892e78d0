"""The pre-declared policies, and their judgement of scores. The gate's numbers are defined only here.

Policies are identified by digest, past ones too, so that an old verdict is judged by its own policy. There are no
tables and no training here, so that every load of a model can judge its verdict again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vmaf_assay.errors import CorpusError
from vmaf_assay.media.files import canonical_json, sha256_bytes

IN_SAMPLE = "in-sample rmse"
"""The condition whose limit depends on what was measured."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """When an ensemble is production-eligible. A condition that is None is in neither policy nor digest."""

    name: str = "ADR-0437"
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
    by_encoder: bool | None = True
    """The three conditions above hold for every encoder and preset too, on its own rows."""
    rmse_max: float | None = 5.0
    """Held-out root mean square error of every seed, points: PLCC does not see scale."""
    slope_range: tuple[float, float] | None = (0.8, 1.25)
    """Slope of truth over held-out prediction, of every seed."""
    diversity_min: float | None = 0.01
    """Root mean square difference of every two seeds in every fold, points: sigma must say something."""
    in_sample_rmse_free: float | None = 0.5
    """In-sample error of the shipped ensemble, by encoder: no larger than held-out error, or than this, points."""
    bias_shift_max: float | None = 0.5
    """Mean error in sample minus mean error held out, by encoder, points: the shipped members are those judged."""

    @property
    def needs_tie(self) -> bool:
        """Whether it asks what the shipped members predict."""
        return self.in_sample_rmse_free is not None or self.bias_shift_max is not None

    def limits(self) -> dict[str, tuple[float | None, float | None]]:
        """Lower and upper limit of every further condition, by name; `IN_SAMPLE` may reach the held-out error."""
        slope, bias = self.slope_range, self.bias_shift_max
        found: dict[str, tuple[float | None, float | None]] = {}
        if self.by_encoder:
            found |= {"plcc": (self.mean_plcc_threshold, None), "plcc spread": (None, self.plcc_spread_max)}
            found |= {"lowest seed": (self.per_seed_min, None)}
        found |= {"rmse": (None, self.rmse_max)} if self.rmse_max is not None else {}
        found |= {"slope": slope} if slope is not None else {}
        found |= {"diversity": (self.diversity_min, None)} if self.diversity_min is not None else {}
        found |= {"bias shift": (-bias, bias)} if bias is not None else {}
        free = self.in_sample_rmse_free
        return found | ({IN_SAMPLE: (None, free)} if free is not None else {})

    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON."""
        asked = {name: value for name, value in asdict(self).items() if value is not None}
        return sha256_bytes(canonical_json(asked))


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

ADR_0303 = GatePolicy(
    name="ADR-0303",
    mean_plcc_threshold=0.95,
    plcc_spread_max=0.005,
    per_seed_min=0.95,
    min_seeds=5,
    min_groups=2,
    by_encoder=None,
    rmse_max=None,
    slope_range=None,
    diversity_min=None,
    in_sample_rmse_free=None,
    bias_shift_max=None,
)
"""The gate of the reference system, in force here until 2026-12-01."""

ADR_0411 = GatePolicy(
    name="ADR-0411",
    mean_plcc_threshold=0.95,
    plcc_spread_max=0.005,
    per_seed_min=0.95,
    min_seeds=5,
    min_groups=2,
    by_encoder=True,
    rmse_max=5.0,
    slope_range=(0.8, 1.25),
    diversity_min=0.05,
    in_sample_rmse_free=0.5,
    bias_shift_max=0.5,
)
"""In force on 2026-12-01 only: its floor of diversity was for 34 groups."""

RETIRED: tuple[tuple[GatePolicy | CoveragePolicy, str], ...] = (
    (ADR_0303, "2026-12-01"),
    (ADR_0411, "2026-12-02"),
)
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


class Condition(_Result):
    """One measured number of a policy's further conditions, and what it must be."""

    name: str
    """What was measured: `plcc`, `plcc spread`, `lowest seed`, `rmse`, `slope`, `diversity`, `in-sample rmse`,
    `bias shift`."""
    scope: str
    """The encoder and preset, `seed N`, or the fold it was found in."""
    value: float
    """The number."""
    at_least: float | None = None
    """Lower limit."""
    at_most: float | None = None
    """Upper limit."""

    @property
    def passed(self) -> bool:
        """Whether the number lies within its limits."""
        low = self.at_least is None or self.value >= self.at_least - _ROUNDING
        return low and (self.at_most is None or self.value <= self.at_most + _ROUNDING)

    def __str__(self) -> str:
        failed_low = self.at_least is not None and self.value < self.at_least
        limit = f"is below {self.at_least:g}" if failed_low else f"is over {self.at_most:g}"
        return f"{self.name} of {self.scope}: {self.value:.4f} {limit}"


# 0.955 - 0.950 is 0.0050000000000000044 in binary: a spread that is 0.005 on paper must pass.
_ROUNDING = 1e-12


class GateResult(_Result):
    """The gate's answer: the `gate` block of a verdict, fields as in the reference system's schema version 1."""

    passed: bool
    """All conditions hold."""
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
    conditions: list[Condition] | None = Field(default=None, exclude_if=lambda found: found is None)
    """The policy's further conditions, measured; None under policies that have none."""

    def with_conditions(self, conditions: list[Condition]) -> "GateResult":
        """The same answer, with further conditions that must hold too."""
        passed = self.passed and all(condition.passed for condition in conditions)
        return self.model_copy(update={"conditions": conditions, "passed": passed})

    def reasons(self) -> list[str]:
        """Why it is a HOLD, in words; empty if passed."""
        said = []
        if not self.mean_plcc_pass:
            said.append(f"mean PLCC {self.mean_plcc:.4f} is below {self.mean_plcc_threshold:g}")
        if not self.plcc_spread_pass:
            said.append(f"spread between seeds {self.plcc_spread:.4f} is over {self.plcc_spread_max:g}")
        if not self.per_seed_pass:
            said.append(f"seeds {', '.join(map(str, self.failing_seeds))} are below {self.per_seed_min:g}")
        return [*said, *(str(one) for one in self.conditions or () if not one.passed)]


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


def complete(conditions: Sequence[Condition] | None, policy: GatePolicy) -> bool:
    """Whether all further conditions of a policy are there, for the same encoders, with the policy's limits."""
    found, limits = conditions or (), policy.limits()
    scopes: dict[str, list[str]] = {name: [] for name in limits}
    for one in found:
        if one.name not in limits:
            return False
        scopes[one.name].append(one.scope)
        low, high = limits[one.name]
        if one.name == IN_SAMPLE:
            if one.at_least is not None or one.at_most is None or one.at_most < (high or 0):
                return False
        elif (one.at_least, one.at_most) != (low, high):
            return False
    by_encoder = [
        scopes[name] for name in ("plcc", "plcc spread", "lowest seed", "bias shift", IN_SAMPLE) if name in limits
    ]
    return all(scopes.values()) and all(one == by_encoder[0] for one in by_encoder)


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
