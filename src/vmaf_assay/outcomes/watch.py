"""Are promises being kept? A test that is valid however often one looks.

Outcome i was promised with confidence c_i, so at most a_i = 1 - c_i of such promises may miss. A stream bets
against that. For an alternative of k times the odds, its capital is multiplied by the likelihood ratio of what
came out, with q_i = k a_i / (1 - a_i + k a_i):

    q_i / a_i if the promise was missed, (1 - q_i) / (1 - a_i) if it was kept.

While every miss has a conditional probability of at most a_i, the expected factor is at most 1. So the capital, a
mixture over k, is a test supermartingale. (Mixtures of likelihood ratios: Robbins 1970, "Statistical methods
related to the law of the iterated logarithm". Bets: Waudby-Smith and Ramdas 2024, "Estimating means of bounded
random variables by betting", JRSS B 86(1).) By Ville's inequality it ever reaches 1/d with probability d at most.
It depends on the counts alone, not on their order.

Several streams share one error: all promises, and those by encoder, by target and by measurand. Their
weighted mean is a test supermartingale too, whatever their dependence. (Vovk and Wang 2021, "E-values:
calibration, combination and applications", Annals of Statistics 49(3).) A family has a quarter of the weight.
Its k-th stream in order of appearance has the share 1/(k(k+1)) of that. A stream without an outcome has the
capital 1.

A title bets once in each stream, with its first promise. Outcomes that are forgotten no longer count, so whoever
forgets by what came out spoils the test.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.outcomes.store import COUNTED, OutcomeStore, Tally

F64 = NDArray[np.float64]

ODDS = np.array([1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0])
"""Alternatives: how many times the odds of a miss; each has the same part of the mixture."""

FALSE_ALARM = 0.01
"""Probability that promises which are kept as promised ever raise an alarm."""

_FAMILY = 1 / len(COUNTED)


@dataclass(frozen=True, slots=True)
class Stream:
    """Promises that agree in one thing, and the capital won by betting against them."""

    family: str
    """`all`, `encoder`, `target` or `measurand`."""
    name: str
    """Which one; empty for `all`."""
    n: int
    """Titles with a promise."""
    kept: int
    """Of them, kept."""
    promised: float
    """Mean confidence promised, in (0, 1)."""
    log_e: float
    """Natural logarithm of the capital."""
    weight: float
    """Its part of the common error."""

    @property
    def e_value(self) -> float:
        """The capital: how many times the stake; 1 says nothing, 100 would come once in a hundred kept streams."""
        return _e(self.log_e)

    @property
    def broken(self) -> bool:
        """Whether this stream alone raises the alarm (a Bonferroni bound with its weight)."""
        return self.log_e + math.log(self.weight * FALSE_ALARM) >= 0

    def words(self) -> str:
        """As `libx265: 41 of 50 kept, 95.0 % promised`."""
        name = self.name or "all"
        return f"{name}: {self.kept} of {self.n} kept, {100 * self.promised:.1f} % promised"


@dataclass(frozen=True, slots=True)
class Watch:
    """What the outcomes of one calibration say of its promises."""

    calibration: str
    """SHA-256 of the calibration watched."""
    streams: tuple[Stream, ...]
    """All, then by encoder, target and measurand in order of appearance."""
    log_e: float
    """Natural logarithm of the weighted mean of the streams' capitals."""
    forgotten: int
    """Outcomes erased from the store."""

    @property
    def n(self) -> int:
        """Titles with a promise."""
        return self.streams[0].n if self.streams else 0

    @property
    def broken(self) -> bool:
        """Whether promises are being broken, with at most `FALSE_ALARM` of false alarms ever."""
        return self.log_e >= -math.log(FALSE_ALARM)

    @property
    def worst(self) -> Stream | None:
        """The stream that speaks most against the promises."""
        return max(self.streams, key=lambda one: one.log_e + math.log(one.weight), default=None)

    def sentence(self) -> str:
        """The answer in one line."""
        if not self.streams:
            return NOTHING_YET
        if not self.broken:
            return f"promises are kept as promised, as far as can be seen: {self.streams[0].words()}"
        assert self.worst is not None  # there are streams
        return f"promises are being broken: {self.worst.words()}; {NEXT_STEP}"

    def as_json(self) -> dict[str, Any]:
        """The document of `assay outcomes check --json`."""
        streams = [
            {name: value for name, value in asdict(one).items() if name != "log_e"}
            | {"e_value": one.e_value, "broken": one.broken}
            for one in self.streams
        ]
        return {
            "calibration": self.calibration,
            "titles": self.n,
            "broken": self.broken,
            "e_value": _e(self.log_e),
            "false_alarm": FALSE_ALARM,
            "forgotten": self.forgotten,
            "streams": streams,
            "answer": self.sentence(),
        }


NOTHING_YET = "no promise was measured yet; `assay tune --verify` measures"

NEXT_STEP = "use --trials 2 and --verify --retry, and train on your own titles (docs/outcomes.md)"


def _e(log_e: float) -> float:
    return round(math.exp(min(log_e, 600.0)), 6)


def log_capital(counts: Sequence[tuple[float, int, int]]) -> float:
    """Logarithm of the capital of a stream.

    Args:
      counts: for each confidence, in (0, 1), how many promises were missed and how many were kept.
    """
    total = np.zeros(len(ODDS))
    for confidence, missed, kept in counts:
        allowed = 1 - confidence
        q = ODDS * allowed / (1 - allowed + ODDS * allowed)
        total += missed * np.log(q / allowed) + kept * np.log((1 - q) / (1 - allowed))
    return float(np.logaddexp.reduce(total) - math.log(len(ODDS)))


def shares(n: int) -> F64:
    """Weights of a family's streams in order of appearance; with the ones to come they sum to a quarter.

    >>> (1 / shares(3)).round().tolist()
    [8.0, 24.0, 48.0]
    """
    k = np.arange(1, n + 1)
    weights: F64 = _FAMILY / (k * (k + 1))
    return weights


def mean_log(streams: Sequence[Stream]) -> float:
    """Logarithm of the weighted mean of capitals; streams to come have the capital 1."""
    rest = 1 - sum(one.weight for one in streams)
    terms = [one.log_e + math.log(one.weight) for one in streams]
    return float(np.logaddexp.reduce([*terms, math.log(rest)] if rest > 1e-12 else terms))


def watch(store: OutcomeStore, calibration: str) -> Watch:
    """What a store's outcomes say of the promises of one calibration.

    Args:
      store: the outcomes.
      calibration: its SHA-256, as verdicts name it.
    """
    tallies = store.tallies(calibration)
    streams = []
    if tallies:
        streams.append(_stream("all", "", tallies, _FAMILY))
        for family in ("encoder", "target", "measurand"):
            names = store.appeared(family, calibration)
            for name, weight in zip(names, shares(len(names)), strict=True):
                mine = [one for one in tallies if getattr(one, family) == name]
                streams.append(_stream(family, f"{name:g}" if family == "target" else str(name), mine, weight))
    return Watch(calibration, tuple(streams), mean_log(streams), store.forgotten)


def _stream(family: str, name: str, tallies: Sequence[Tally], weight: float) -> Stream:
    counts: dict[float, list[int]] = {}
    for one in tallies:
        if one.counts & COUNTED[family]:
            counts.setdefault(one.confidence, [0, 0])[one.kept] += one.n
    n = sum(map(sum, counts.values()))
    kept = sum(of[1] for of in counts.values())
    promised = sum(confidence * sum(of) for confidence, of in counts.items()) / max(n, 1)
    log_e = log_capital([(confidence, missed, hit) for confidence, (missed, hit) in counts.items()])
    return Stream(family, name, n, kept, promised, log_e, float(weight))
