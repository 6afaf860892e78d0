"""The comparison of `tune` with ab-av1's search, on curves where the answer is known."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import choice as bench
from vmaf_assay.promise.choice import Curve

RATES = np.arange(14.0, 43.0, 4.0)


def logistic(centre: float):
    """Points, falling with the rate value."""
    return 100 / (1 + np.exp((RATES - centre) / 5))


def corpus(curves) -> SimpleNamespace:
    """Cells whose bitrate halves every six CRF."""
    return SimpleNamespace(
        cells=[
            SimpleNamespace(
                source=c.source, encoder=c.encoder, preset=c.preset, rate_value=r, kbps=2 ** (10 - r / 6)
            )
            for c in curves
            for r in c.rate_values
        ]
    )


def exact(n_groups: int) -> list[Curve]:
    """Sources that are forecast exactly."""
    return [
        Curve(
            f"g{i}",
            f"s{i}",
            "libx264",
            "medium",
            RATES,
            logistic(40 + i / 5),
            np.full(8, 0.5),
            logistic(40 + i / 5),
        )
        for i in range(n_groups)
    ]


def test_exact_forecasts_cost_only_roughness():
    """If every forecast is the truth, only what VMAF is rough by is paid for, and a trial saves most of that."""
    curves = exact(25)
    rows = bench.compare(curves, corpus(curves), [0.95], [90.0])
    by_method = {row.method: row for row in rows}
    first = by_method["assay 0"]
    assert (first.answered, first.reachable, first.encodes) == (25, 25, 0.0)
    assert 0.95 <= first.hit_rate < 1.0
    assert 0.0 < first.excess_mean < 4.0
    second = by_method["assay 1"]
    assert (second.hit_rate, second.encodes) == (1.0, 1.0)
    assert second.excess_mean == pytest.approx(0.0, abs=1e-9)
    assert by_method["ab-av1"].hit_rate == 1.0
    assert by_method["ab-av1"].encodes > 2


def test_what_further_probes_know_is_compared_where_there_are_any():
    """Forecasts that are wrong by a CRF: three known points of each take most of the cost away, hits stay."""
    wrong = [replace(c, mu=logistic(40 + i / 5 + (-1) ** i)) for i, c in enumerate(exact(30))]
    led = [replace(c, known={r: float(c.truth[c.rate_values == r][0]) for r in (22, 26, 30)}) for c in wrong]
    rows = {row.method: row for row in bench.compare(wrong, corpus(wrong), [0.9], [90.0], led)}
    assert {name for name in rows if "more" in name} == {f"assay {n}, more probes" for n in (0, 1, 2)}
    few, more = rows["assay 0"], rows["assay 0, more probes"]
    assert more.excess_mean < few.excess_mean / 2
    assert min(few.hit_rate, more.hit_rate) >= 0.9
    same = bench.compare(wrong, corpus(wrong), [0.9], [90.0], wrong)
    assert not [row for row in same if "more" in row.method]


def test_excess_bitrate_is_that_of_the_rate_value():
    """Three CRF below the best is half an octave above its bitrate: 41 %."""
    (curve,) = exact(1)
    truth = bench.truths([curve], corpus([curve]))["s0", "libx264", "medium"]
    best = truth.best(90.0)
    assert best is not None
    outcome = truth.outcome(best - 3, 90.0, 0, 1.0)
    assert outcome.excess == pytest.approx(2**0.5 - 1, rel=1e-3)
    assert truth.vmaf(best) >= 90 > truth.vmaf(best + 0.1)


def test_unreachable_sources_are_not_counted_as_answered():
    """A source whose best encode misses the target is neither reachable nor answered by the search."""
    low = Curve("g", "s", "libx264", "medium", RATES, logistic(15), np.full(8, 0.5), logistic(15))
    known = bench.truths([low], corpus([low]))
    assert known["s", "libx264", "medium"].best(90.0) is None
    assert bench.searched(known, "libx264", "medium", 90.0) == []
