"""How often the watch of outcomes raises a false alarm, and how many titles it takes to see a shift.

    python bench/outcomes_watch.py [--runs 1000] [--titles 10000]

Each title is promised at 0.95. Its measured score is the bound plus 1.645 spreads plus a normal error, so 95 % are
kept. A shift lowers every score by some points; the spread is 1 point. Titles are of four encoders in turn.
The alarm is the one of `assay outcomes check`: the weighted mean of the capitals of all streams. One look a title.
"""

import argparse

import numpy as np

from vmaf_assay.outcomes.watch import _FAMILY, FALSE_ALARM, ODDS, shares

CONFIDENCE, ENCODERS = 0.95, 4


def log_capitals(missed: np.ndarray) -> np.ndarray:
    """Logarithm of a stream's capital after each title, [N, n]; `missed` is 1 or 0, [N, n]."""
    allowed = 1 - CONFIDENCE
    q = ODDS * allowed / (1 - allowed + ODDS * allowed)
    m, n = np.cumsum(missed, axis=1), np.arange(1, missed.shape[1] + 1)
    each = [m * np.log(one / allowed) + (n - m) * np.log((1 - one) / (1 - allowed)) for one in q]
    return np.logaddexp.reduce(each) - np.log(len(ODDS))


def first_alarm(missed: np.ndarray) -> np.ndarray:
    """Titles until the alarm, [N]; infinite if it never comes."""
    runs, n = missed.shape
    # All titles are of one target and one measurand, so three families see the same stream.
    whole = log_capitals(missed)
    weights = [_FAMILY, shares(1)[0], shares(1)[0]]
    terms = [whole + np.log(weight) for weight in weights]
    for encoder, weight in enumerate(shares(ENCODERS)):
        own = np.zeros((runs, n))
        at = np.arange(encoder, n, ENCODERS)
        own[:, at] = np.diff(log_capitals(missed[:, at]), axis=1, prepend=0.0)
        terms.append(np.cumsum(own, axis=1) + np.log(weight))
    rest = 1 - sum(weights) - sum(shares(ENCODERS))
    terms.append(np.full((runs, n), np.log(rest)))
    alarm = np.logaddexp.reduce(terms) >= -np.log(FALSE_ALARM)
    return np.where(alarm.any(axis=1), alarm.argmax(axis=1) + 1.0, np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--titles", type=int, default=10_000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| shift, points | alarms | titles until the alarm: median | 90 % |\n|---|---|---|---|")
    for shift in (0.0, 0.5, 1.0, 2.0):
        titles = args.titles if shift == 0 else min(args.titles, 2000)
        found = []
        for left in range(args.runs, 0, -50):
            errors = rng.normal(size=(min(left, 50), titles))
            found.append(first_alarm((errors + 1.645 - shift < 0).astype(float)))
        at = np.concatenate(found)
        median, most = np.quantile(at, [0.5, 0.9], method="inverted_cdf")
        print(f"| {shift:g} | {np.isfinite(at).mean():.3f} | {median:g} | {most:g} |")


if __name__ == "__main__":
    main()
