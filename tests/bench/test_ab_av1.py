"""The port of ab-av1's search against traces of the real one."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import ab_av1

# SVT-AV1, CRF 5 to 70 by 0.25, target 95: runs of the real tool, from Loufe/AB-AV1-GUI,
# docs/design/history-content-evidence-research.md. CRF:VMAF, size 203 % of the source where said.
TRACES = {
    "s30": "37.5:94.46 18:97.86:203 34.5:95.25 35.5:94.98 35.25:95.05",
    "s240": "37.5:95.16 57:84.60 37.75:95.07",
    "s450": "37.5:98.54 57:96.06 70:77.43 57.75:95.80 58.25:95.63 58.75:95.39",
    "2160": "37.5:97.20 57:89.55 43:95.77 44.75:95.21 45.25:95.05",
}


def parse(trace: str) -> list[tuple[float, float, float]]:
    """(CRF, VMAF, percent) of each attempt; 50 % where the trace does not say."""
    parts = [part.split(":") for part in trace.split()]
    return [(float(p[0]), float(p[1]), float(p[2]) if len(p) > 2 else 50.0) for p in parts]


@pytest.mark.parametrize("name", TRACES)
def test_follows_real_traces(name):
    """Given the scores the real tool saw, the port asks for the same CRFs in the same order and stops there."""
    attempts = parse(TRACES[name])
    asked = []

    def measure(rate_value: float) -> tuple[float, float]:
        asked.append(rate_value)
        return attempts[len(asked) - 1][1:]

    found = ab_av1.search(measure, target=95, encoder="libsvtav1")
    assert asked == [crf for crf, _, _ in attempts]
    assert found.rate_value == attempts[-1][0]


def test_unreachable_target_fails_after_the_best():
    """A target above the score at the lowest CRF ends there, without an answer."""
    found = ab_av1.search(lambda crf: (90 - crf / 10, 10.0), target=95, encoder="libsvtav1")
    assert found.rate_value is None
    assert found.attempts[-1].q * 0.25 == 5


def test_size_limit_fails():
    """An encode that misses the target and is larger than allowed ends the search: lower CRFs only grow."""
    found = ab_av1.search(lambda crf: (94.0, 90.0), target=95, encoder="libx264")
    assert found.rate_value is None
    assert len(found.attempts) == 1


@settings(deadline=None)  # other work on the machine must not fail it
@given(
    centre=st.floats(20, 60),
    width=st.floats(3, 15),
    target=st.floats(80, 96),
    encoder=st.sampled_from(["libsvtav1", "libx264", "libvpx-vp9"]),
)
def test_answer_is_above_the_target(centre, width, target, encoder):
    """On a falling curve every answer scores strictly above the target, and a reachable one is found."""

    def score(crf: float) -> float:
        return float(100 / (1 + np.exp((crf - centre) / width)))

    found = ab_av1.search(lambda crf: (score(crf), 10.0), target=target, encoder=encoder)
    low, _, _ = ab_av1.DEFAULTS.get(encoder, ab_av1.OTHERS)
    assert len(found.attempts) <= 40
    if found.rate_value is None:
        assert score(low) <= target
    else:
        assert score(found.rate_value) > target


def test_rounding_is_half_away_from_zero():
    """Rust rounds 0.5 to 1 and -0.5 to -1; Python's round would give 0."""
    assert [ab_av1.round_half_away(v) for v in (0.5, 1.5, -0.5, 2.4, -2.6)] == [1, 2, -1, 2, -3]
