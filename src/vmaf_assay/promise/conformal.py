"""Bounds that hold for a new source: conformal prediction with the group as the unit of exchangeability.

Rows of one source are not independent, so a thousand rows of 36 groups count as 36. So everything here weighs
groups, and K groups never support a confidence above K/(K+1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vmaf_assay.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Interval:
    """Offsets to add to an ensemble mean."""

    lower: float
    """Truth minus mean is at least this with the confidence asked, points; not positive as a rule."""
    upper: float
    """Truth minus mean is at most this with the confidence asked, points."""
    n_groups: int
    """Groups calibrated on."""


def max_confidence(n_groups: int) -> float:
    """The highest confidence K exchangeable groups can support: K / (K + 1).

    >>> max_confidence(19)
    0.95
    """
    return n_groups / (n_groups + 1)


def check_confidence(confidence: float, n_groups: int) -> None:
    """Raise ConfigError unless 0 < confidence <= K / (K + 1); the message names the highest value."""
    if not 0 < confidence < 1:
        raise ConfigError(f"a confidence lies between 0 and 1, not {confidence:g}", next_step="ask for 0.95")
    highest = max_confidence(n_groups)
    if confidence > highest + 1e-12:
        needed = math.ceil(confidence / (1 - confidence) - 1e-9)
        raise ConfigError(
            f"confidence {confidence:g} needs {needed} calibration groups, there are {n_groups}",
            next_step=f"ask for {math.floor(highest * 1000) / 1000:g} or less, or calibrate on more groups",
        )


OWN_TITLES = 40
"""Own titles after which the corpus counts no more (ADR-0440)."""


def weightings(titles: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Weights of groups to try in turn: the corpus gives way to own titles, or, as a resort, all count.

    Args:
      titles: weight of each own title, 0 for a group of the corpus, [groups].

    >>> [one.tolist() for one in weightings(np.array([0, 0, 1, 1.0]))]
    [[0.95, 0.95, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    corpus = titles == 0
    if corpus.all():
        return [np.ones(len(titles))]
    left = max(0.0, 1 - float(titles.sum()) / OWN_TITLES)
    return [np.where(corpus, left, titles), np.where(corpus, 1.0, titles)]


def controlled(
    loss: NDArray[np.float64], answered: NDArray[np.float64], confidence: float
) -> tuple[int, float] | None:
    """Index of the smallest margin that controls the risk, and the mean loss there; None without one.

    Args:
      loss: weighted losses, [groups, S].
      answered: weights of those answered, [groups, S].
      confidence: in (0, 1).
    """
    total, n_groups = loss.sum(axis=0), answered.sum(axis=0)
    risk = (total + 1) / (n_groups + 1)
    start = len(risk) - 1 - int(np.argmin(risk[::-1]))
    if risk[start] > 1 - confidence + 1e-12:
        return None
    violations = np.flatnonzero(risk[:start] > 1 - confidence + 1e-12)
    best = int(violations[-1]) + 1 if len(violations) else 0
    return best, float(total[best] / n_groups[best])


def hcp_interval(residuals: Sequence[NDArray[np.float64]], confidence: float) -> Interval:
    """One-sided offsets of hierarchical conformal prediction, below and above.

    Every row of group k weighs 1/((K+1) N_k); the new group's own weight 1/(K+1) sits at minus infinity (below)
    or plus infinity (above). Lee, Barber and Willett, arXiv:2306.06342.

    Args:
      residuals: truth minus prediction of each group's rows, points; predictions by models that never saw the
        group.
      confidence: nominal coverage of each side, in (0, 1).

    Returns:
      Offsets q such that, for one row of a new group exchangeable with these, P(truth >= mu + lower) >=
      confidence, and likewise above. Exact only if one model predicted all groups; with leave-one-group-out
      residuals it is close (0.932 at nominal 0.90 in simulation, K = 20) but not proved.

    Raises:
      ConfigError: more confidence than the groups allow.
    """
    kept = [np.asarray(rows, dtype=np.float64) for rows in residuals if len(rows)]
    check_confidence(confidence, len(kept))
    values = np.concatenate(kept)
    weights = np.concatenate([np.full(len(rows), 1 / ((len(kept) + 1) * len(rows))) for rows in kept])
    return Interval(
        lower=_largest_with_mass_above(values, weights, confidence),
        upper=-_largest_with_mass_above(-values, weights, confidence),
        n_groups=len(kept),
    )


def _largest_with_mass_above(
    values: NDArray[np.float64], weights: NDArray[np.float64], confidence: float
) -> float:
    """max{t : sum of weights of values >= t is at least `confidence`}."""
    order = np.argsort(-values, kind="stable")
    mass = np.cumsum(weights[order])
    # Weights are sums of thousands of fractions, with rounding errors of at most 1e-12 each.
    reached = np.flatnonzero(mass >= confidence - 1e-9)
    return float(values[order][reached[0]])


def covered_enough(covered: Sequence[float], confidence: float, *, error: float = 0.05) -> bool:
    """Whether coverage counted by group is compatible with at least `confidence`.

    Args:
      covered: fraction of each group that was covered, in [0, 1].
      confidence: nominal coverage.
      error: probability of failing a method whose coverage is exactly nominal.

    Returns:
      True unless the sum is below the `error` quantile of Binomial(n groups, confidence). False also if the groups
      are too few for that confidence: two covered groups of two say nothing about 0.95.
    """
    if not covered or max_confidence(len(covered)) < confidence - 1e-12:
        return False
    return float(np.sum(covered)) >= float(stats.binom.ppf(error, len(covered), confidence)) - 1e-9
