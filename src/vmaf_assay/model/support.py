"""Support of a model: whether it was trained on the like of a query, and why not."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.encoders import ENCODERS, encoder_info
from vmaf_assay.model.sidecar import ProbeSpec, SeenEncoder, Sidecar, probes_known, probes_read
from vmaf_assay.records import Measurand

RANGE_MARGIN = 0.5
"""How far outside the trained range of a feature a query is still answered, as a fraction of that range. Set by
hand, not measured: it refuses blank and broken inputs. Calibration covers the rest only on average."""


SIZE_MARGIN = 0.25
"""The same for the size of the picture, in octaves of pixels, from the sizes of the encoder and preset asked for.
It is 1.6 octaves for the shipped corpus. At 1.2 the error was 1.0 to 1.6 times as large, at 2.0 1.4 to 1.9 times,
and libvvenc's forecast 2.5 points too high (docs/forecast.md)."""


def unsupported_reason(
    sidecar: Sidecar, features: NDArray[np.float64], encoder: str, preset: str, rate_value: float | None = None
) -> str | None:
    """Why a query is outside what the model has seen, or None if it is inside.

    Args:
      sidecar: the model's.
      features: one query's raw features, [K].
      encoder: encoder asked about.
      preset: its preset.
      rate_value: its rate value; None checks the encoder only.
    """
    if encoder not in ENCODERS:
        return f"unknown encoder {encoder}"
    presets = {seen.preset for seen in sidecar.seen.encoders if seen.encoder == encoder}
    if not presets:
        trained = ", ".join(sorted({seen.encoder for seen in sidecar.seen.encoders}))
        return f"never trained on {encoder} (trained on {trained})"
    seen_presets = trained_presets(sidecar, encoder, preset)
    if not seen_presets:
        slowest_first = sorted(presets, key=ENCODERS[encoder].preset_norm)
        return f"never trained on {encoder} preset {preset} (trained on {', '.join(slowest_first)})"
    rates = common_rates(seen_presets)
    if rate_value is not None and not min(rates) <= rate_value <= max(rates):
        return f"rate value {rate_value:g} is outside the trained {min(rates):g} to {max(rates):g}"
    values = np.asarray(features, dtype=np.float64)
    return _far_size_reason(sidecar, values, encoder, preset) or _feature_reason(sidecar, values)


def trained_presets(sidecar: Sidecar, encoder: str, preset: str) -> list[SeenEncoder]:
    """Trained presets that answer for a preset: itself, or for a forecast its two neighbours.

    Empty if the preset is not supported. The error between two presets was measured for forecasts only, which read
    probes; a regressor reads the encode itself (docs/forecast.md).
    """
    seen = {one.preset: one for one in sidecar.seen.encoders if one.encoder == encoder}
    if sidecar.task == "fr" and not encoder_info(encoder).equal_among(preset, seen):
        return []
    return [seen[name] for name in encoder_info(encoder).neighbours(preset, seen)]


def size_reason(sidecar: Sidecar, encoder: str, preset: str, n_pixels: int) -> str | None:
    """A remark on a picture smaller or larger than all in training for an encoder and preset; else None.

    Such a picture is still answered unless `unsupported_reason` finds it too far outside.

    Args:
      sidecar: the model's.
      encoder: encoder asked about.
      preset: its preset; one between two trained ones counts as both.
      n_pixels: width x height, px.
    """
    sizes = trained_sizes(sidecar, encoder, preset)
    if sizes is None or sizes[0] <= n_pixels <= sizes[1]:
        return None
    low, high = sizes
    return (
        f"a picture of {n_pixels:,} px; {encoder} {preset} was measured at {low:,} to {high:,} px only, and the "
        "promise is only as good as that"
    )


def trained_sizes(sidecar: Sidecar, encoder: str, preset: str) -> tuple[int, int] | None:
    """Smallest and largest picture that an encoder and preset were trained on, px; None if nothing is known."""
    sizes = [(one.min_pixels, one.max_pixels) for one in trained_presets(sidecar, encoder, preset)]
    # Sidecars from before 2026-11-28 hold the sizes of the corpus, not of each encoder.
    known = [one for one in [*sizes, (sidecar.seen.min_pixels, sidecar.seen.max_pixels)] if one[1]]
    return (max(least for least, _ in known), min(most for _, most in known)) if known else None


def probes_needed(
    sidecar: Sidecar, encoders: Collection[str], further: Collection[tuple[str, str]] = ()
) -> list[ProbeSpec]:
    """The probes that forecasts of some encoders read, in the sidecar's order.

    Models of 0.1.0 have no probe by family. They read all their probes for every encoder.

    Args:
      sidecar: the model's.
      encoders: those asked about.
      further: encoders and presets whose further probes are wanted too.
    """
    if not any(name.startswith("own.") for name in sidecar.feature_names):
        return list(sidecar.probes)
    wanted = {index for encoder in encoders for index in probes_read(sidecar.probes, encoder)}
    depth = Measurand.parse(sidecar.answers).bit_depth
    wanted |= {
        index for pair in further for index in probes_known(sidecar.probes, *pair, more=True, bit_depth=depth)
    }
    return [sidecar.probes[index] for index in sorted(wanted)]


def common_rates(seen: Sequence[SeenEncoder]) -> list[float]:
    """Rate values that one of several trained presets was measured at, within the range of all, ascending."""
    low = max(min(one.rate_values) for one in seen)
    high = min(max(one.rate_values) for one in seen)
    return sorted({rate for one in seen for rate in one.rate_values if low <= rate <= high})


def _feature_reason(sidecar: Sidecar, features: NDArray[np.float64]) -> str | None:
    if not np.isfinite(features).all():
        return "a feature is not a finite number"
    low, high = np.array(sidecar.seen.feature_min), np.array(sidecar.seen.feature_max)
    slack = RANGE_MARGIN * (high - low)
    outside = np.flatnonzero((features < low - slack) | (features > high + slack))
    if len(outside) == 0:
        return None
    index = int(outside[0])
    return (
        f"{sidecar.feature_names[index]} is {features[index]:.4g}, far outside the trained "
        f"{low[index]:.4g} to {high[index]:.4g}"
    )


def _far_size_reason(sidecar: Sidecar, features: NDArray[np.float64], encoder: str, preset: str) -> str | None:
    """Why a picture is too far from the sizes in training of this encoder and preset; else None."""
    sizes = trained_sizes(sidecar, encoder, preset)
    if "log2_pixels" not in sidecar.feature_names or sizes is None:
        return None
    index = sidecar.feature_names.index("log2_pixels")
    slack = SIZE_MARGIN * (sidecar.seen.feature_max[index] - sidecar.seen.feature_min[index])
    asked = float(features[index])
    if not np.isfinite(asked):
        return None
    if np.log2(sizes[0]) - slack <= asked <= np.log2(sizes[1]) + slack:
        return None
    return (
        f"a picture of {np.exp2(asked):,.0f} px is far outside the {sizes[0]:,} to {sizes[1]:,} px that "
        f"{encoder} {preset} was measured at"
    )
