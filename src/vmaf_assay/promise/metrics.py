"""PLCC, SROCC and RMSE (ITU-T P.1401), in float64."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def plcc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson linear correlation; NaN if either side is constant or there are fewer than two rows.

    >>> plcc([1, 2, 3], [2, 4, 6])
    1.0
    """
    t, p = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if len(t) < 2:
        return float("nan")
    t, p = t - t.mean(), p - p.mean()
    scale = np.sqrt((t @ t) * (p @ p))
    return float((t @ p) / scale) if scale > 0 else float("nan")


def srocc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Spearman rank correlation: Pearson's of the ranks, ties averaged; NaN as for `plcc`."""
    return plcc(stats.rankdata(np.asarray(truth)), stats.rankdata(np.asarray(predicted)))


def rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean square error, in the units given.

    >>> rmse([0, 0], [3, 4])
    3.5355339059327378
    """
    gap = np.asarray(truth, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)
    return float(np.sqrt(np.mean(gap**2)))
