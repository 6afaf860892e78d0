"""Bjøntegaard delta rate: bitrate difference of two encoders at the same VMAF.

G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33 (2001). Here it uses
VMAF instead of PSNR, and the piecewise cubic (PCHIP) interpolation of JCT-VC's spreadsheet instead of one cubic.
It is the mean difference of ln(bitrate), as functions of VMAF, over the VMAF that both curves reach. The package
`bjontegaard` does the same but needs matplotlib; the tests pin its figures.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

F64 = NDArray[np.float64]

MIN_OVERLAP = 0.5
"""Points of VMAF that both curves must cover; less than this averages noise."""


def bd_rate(reference_kbps: F64, reference_vmaf: F64, kbps: F64, vmaf: F64) -> float | None:
    """Mean bitrate difference at equal VMAF, as a fraction of the reference's; -0.2 is a fifth less.

    Args:
      reference_kbps: bitrates of the curve compared with, kbps, [R].
      reference_vmaf: its pooled VMAF, points, [R].
      kbps: bitrates of the other, kbps, [S].
      vmaf: its pooled VMAF, points, [S].

    Returns:
      None where the curves share less than `MIN_OVERLAP` points of VMAF, or a bitrate is unknown.

    >>> rates, points = np.array([100.0, 200.0, 400.0]), np.array([80.0, 90.0, 96.0])
    >>> round(bd_rate(rates, points, rates * 0.75, points), 12)
    -0.25
    """
    if not (np.isfinite(reference_kbps).all() and np.isfinite(kbps).all()):
        return None
    curves = [_by_vmaf(reference_kbps, reference_vmaf), _by_vmaf(kbps, vmaf)]
    if any(len(points) < 2 for points, _ in curves):
        return None
    low = max(points[0] for points, _ in curves)
    high = min(points[-1] for points, _ in curves)
    if high - low < MIN_OVERLAP:
        return None
    means = [float(PchipInterpolator(points, ln).integrate(low, high)) / (high - low) for points, ln in curves]
    return float(np.expm1(means[1] - means[0]))


def _by_vmaf(kbps: F64, vmaf: F64) -> tuple[F64, F64]:
    """VMAF ascending without repeats, and ln(kbps) there; of equal VMAF the cheapest is kept."""
    order = np.lexsort((kbps, vmaf))
    points, first = np.unique(vmaf[order], return_index=True)
    return points.astype(np.float64), np.log(kbps[order][first]).astype(np.float64)
