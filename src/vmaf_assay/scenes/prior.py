"""What scenes should score and cost at each rate value, before anything of them is encoded.

Without a trained forecast it is one rough curve for all encoders, shifted by how detailed and restless each scene
looks. The first encodes correct it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.segments import Look
from vmaf_assay.scenes.curves import Forecasts, Spread, score_of
from vmaf_assay.scenes.cut import Scene

F64 = NDArray[np.float64]

_RANGE = (0.15, 0.95)
"""Part of an encoder's declared range that is used: beyond it nothing changes, or nothing is recognisable."""

_STEP = 0.25
"""Step between the rate values that are weighed, in the encoder's units, if it accepts such steps."""

# Rough curves by eye over libx264, libx265, libsvtav1 and libvpx-vp9, in place of a forecast; not fitted.
_DEFICIT_AT_MIDDLE, _DEFICIT_SLOPE = 2.2, 5.6
"""Logarithm of the deficit at half the range, and its rise over the whole range."""
_BYTES_SLOPE = -5.9
"""Rise of the logarithm of the size over the whole range."""
_BITS_PER_PIXEL = 0.06
"""Of a frame at half the range."""

ROUGH = Spread(common=0.5, alike=0.5, own=0.25), Spread(common=0.8, alike=0.8, own=0.4)
"""Spread of score and size around the rough curve."""


def rate_grid(encoder: EncoderInfo, low: float, high: float) -> F64:
    """The rate values that are weighed between two, from the cheapest to the best."""
    step = max(_STEP, encoder.rate_resolution) * max(1.0, round((high - low) / 60))
    count = int(np.floor((high - low) / step + 1e-9)) + 1
    rates = np.round(low + step * np.arange(count), 4)
    return rates[::-1].copy() if encoder.lower_is_better else rates


def looks_of(seen: Look, scenes: Sequence[Scene]) -> F64:
    """Logarithms of detail and of change of each scene, [S, 2]; the first change may be a cut: left out."""
    rows = []
    for scene in scenes:
        first, last = scene.span.first, scene.span.last
        detail = float(seen.detail[first:last].mean())
        change = float(seen.change[first + 1 : last].mean()) if last - first > 1 else 0.0
        rows.append((np.log(0.5 + detail), np.log(0.1 + change)))
    return np.array(rows)


def rough_forecasts(encoder: EncoderInfo, scenes: Sequence[Scene], looks: F64, n_pixels: int) -> Forecasts:
    """One curve for all scenes, shifted by how they look.

    Args:
      encoder: whose declared range the curve is over.
      scenes: of the title.
      looks: of each, [S, 2].
      n_pixels: of a frame.
    """
    low, high = (encoder.rate_min + part * (encoder.rate_max - encoder.rate_min) for part in _RANGE)
    unit = encoder.rate_resolution
    low, high = np.ceil(low / unit) * unit, np.floor(high / unit) * unit
    rates = rate_grid(encoder, float(low), float(high))
    place = np.array([encoder.crf_norm(rate) for rate in rates])
    place = place if encoder.lower_is_better else 1 - place
    hard = (looks - looks.mean(axis=0)).sum(axis=1) if len(looks) else np.zeros(0)
    n_frames = np.array([scene.n_frames for scene in scenes], dtype=np.float64)
    deficit = _DEFICIT_AT_MIDDLE + _DEFICIT_SLOPE * (place[None, :] - 0.5) + 0.15 * hard[:, None]
    per_frame = (
        np.log(_BITS_PER_PIXEL * n_pixels / 8) + _BYTES_SLOPE * (place[None, :] - 0.5) + 0.6 * hard[:, None]
    )
    n_bytes = np.exp(per_frame) * n_frames[:, None]
    return Forecasts(rates, score_of(deficit), n_bytes, n_frames, looks, *ROUGH)
