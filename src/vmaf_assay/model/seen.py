"""What a model has seen, from the rows it was trained on: the one computation of a sidecar's `seen`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.model.sidecar import Seen, SeenEncoder


def seen_of(
    encoders: Sequence[str],
    presets: Sequence[str],
    rate_values: NDArray[np.float64],
    features: NDArray[np.float32],
    pixels: NDArray[np.int64],
) -> Seen:
    """The support of N training rows.

    Args:
      encoders: of the encode each row is about, [N].
      presets: their presets, [N].
      rate_values: their rate values, [N].
      features: raw features, [N, K].
      pixels: width x height of the pictures, px, [N]; 0 where it is not known.
    """
    pairs = np.array([f"{encoder}|{preset}" for encoder, preset in zip(encoders, presets, strict=True)])
    seen = []
    for pair in sorted(set(zip(encoders, presets, strict=True))):
        at = pairs == "|".join(pair)
        seen.append(
            SeenEncoder(
                encoder=pair[0],
                preset=pair[1],
                rate_values=sorted(set(rate_values[at].tolist())),
                min_pixels=int(pixels[at].min()),
                max_pixels=int(pixels[at].max()),
            )
        )
    values = features.astype(np.float64)
    return Seen(
        encoders=seen,
        feature_min=values.min(axis=0).tolist(),
        feature_max=values.max(axis=0).tolist(),
        feature_mean=values.mean(axis=0).tolist(),
        feature_std=values.std(axis=0).tolist(),
        min_pixels=int(pixels.min()),
        max_pixels=int(pixels.max()),
    )


def same_seen(said: Seen, found: Seen) -> str:
    """The first fact in which two differ, in words; '' if they agree (means to the last digits)."""
    for mine, other in zip(said.encoders, found.encoders, strict=False):
        if mine != other:
            return f"{mine.encoder} {mine.preset}: it says {_brief(mine)}, the rows are of {_brief(other)}"
    if len(said.encoders) != len(found.encoders):
        names = {f"{one.encoder} {one.preset}" for one in said.encoders}
        names ^= {f"{one.encoder} {one.preset}" for one in found.encoders}
        return f"{min(names)}: only one of sidecar and rows knows it"
    for name in ("feature_min", "feature_max", "feature_mean", "feature_std"):
        stated, given = np.array(getattr(said, name)), np.array(getattr(found, name))
        # Another machine sums means in another order.
        if stated.shape != given.shape or not np.allclose(stated, given, rtol=1e-9, atol=1e-9):
            return f"{name} is not that of the rows"
    for name in ("min_pixels", "max_pixels"):
        if getattr(said, name) != getattr(found, name):
            return f"{name} is {getattr(said, name)}, the rows have {getattr(found, name)}"
    return ""


def _brief(one: SeenEncoder) -> str:
    return f"{one.encoder} {one.preset} at {one.rate_values}, {one.min_pixels} to {one.max_pixels} px"
