"""Frame rates: what a header declares, checked against the frames' stamps."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

COMMON_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)) + tuple(
    Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120)
)
"""Rates that cameras, broadcasts and films have."""

_SNAP = Fraction(1, 5000)
"""Millisecond stamps make a mean rate wrong by up to this fraction over a few seconds of video."""


_ERROR_S = 30 * 3600
"""Two frames further apart than this have stamps that are errors (ffmpeg's `-dts_error_threshold`)."""


def rate_of(stamps: Sequence[int], tick: Fraction, declared: Sequence[Fraction] = ()) -> tuple[Fraction, bool]:
    """(frames a second, whether every stamp fits it).

    The rate is a declared one that agrees with every stamp, preferably a common one. If no declared rate agrees,
    it is the mean over the stamps, or a common rate near it. Without usable stamps it is the first declared one,
    or 0.

    Args:
      stamps: of the frames in order of time, ticks.
      tick: seconds.
      declared: rates that the header states, most trusted first.

    >>> rate_of([0, 42, 83, 125], Fraction(1, 1000), [Fraction(24000, 1001)])
    (Fraction(24000, 1001), True)
    """
    usable = len(stamps) > 1 and tick > 0 and len(set(stamps)) == len(stamps)
    usable = usable and all((after - at) * tick <= _ERROR_S for at, after in pairwise(stamps))
    if not usable:
        return (snap_rate(declared[0]) if declared else Fraction(0)), True
    mean = (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * tick)
    near = [rate for rate in COMMON_RATES if abs(rate - mean) <= _SNAP * rate]
    # Matroska declares 60000/1001 in whole nanoseconds, which is read as 19001/317.
    common = [snapped for rate in declared if (snapped := snap_rate(rate)) in COMMON_RATES]
    ordered = [*common, *near, *declared]
    for rate in ordered:
        if _agrees(stamps, 1 / (rate * tick)):
            return rate, True
    return snap_rate(mean), is_constant(stamps)


def few_gaps(stamps: Sequence[int]) -> bool:
    """Whether hardly a tick between the first frame and the last is without a frame of its own.

    A muxer may begin an AVI file with empty chunks, to put its sound in time.

    >>> few_gaps([0, 3, 4, 5, 6]), few_gaps([0, 2, 4, 6, 8, 10, 12])
    (True, False)
    """
    return stamps[-1] - stamps[0] - (len(stamps) - 1) <= max(3, len(stamps) // 50)


def is_constant(stamps: Sequence[int]) -> bool:
    """Whether every stamp fits the mean rate, within the rounding of the container."""
    if len(stamps) < 3:
        return True
    return _agrees(stamps, Fraction(stamps[-1] - stamps[0], len(stamps) - 1))


def _agrees(stamps: Sequence[int], period: Fraction) -> bool:
    """Whether stamp n is n periods after the first."""
    # A stamp is rounded once and both ends of the period once; 2 % more for muxers that round down.
    slack = Fraction(3, 2) + period / 50
    return all(abs(stamp - stamps[0] - index * period) <= slack for index, stamp in enumerate(stamps))


def snap_rate(rate: Fraction) -> Fraction:
    """The common rate within the error of millisecond stamps, else a small fraction near it."""
    nearest = min(COMMON_RATES, key=lambda common: abs(common - rate))
    return nearest if abs(nearest - rate) <= _SNAP * nearest else rate.limit_denominator(1001) or rate
