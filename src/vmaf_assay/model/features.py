"""Features of a source: what a forecast reads of its probes."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import probed_by
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.records import CANONICAL6, MEAN_VMAF, V1_FEATURES, VALUES, is_v1

F32 = NDArray[np.float32]

DEFAULT_PROBES = (
    ProbeSpec(encoder="libx264", preset="medium", rate_value=30),
    ProbeSpec(encoder="libx264", preset="medium", rate_value=22),
    ProbeSpec(encoder="libx265", preset="medium", rate_value=30),
    ProbeSpec(encoder="libsvtav1", preset="8", rate_value=42),
    ProbeSpec(encoder="libvpx-vp9", preset="8", rate_value=48),
    ProbeSpec(encoder="libx264", preset="medium", rate_value=26),
    ProbeSpec(encoder="libx265", preset="medium", rate_value=22),
    ProbeSpec(encoder="libx265", preset="medium", rate_value=26),
    ProbeSpec(encoder="libsvtav1", preset="8", rate_value=28),
)
"""Every forecast reads the first one, and the first of its encoder's family. No forecast reads the further ones.
Each is an encode with one encoder and preset, through which the choice interpolates (`--probes more`). Measured in
docs/forecast.md."""

_BOTH_DEPTHS = ("libx265", "libsvtav1")
"""Encoders whose own probe has the depth of the encodes asked about."""


def default_probes(bit_depth: int) -> tuple[ProbeSpec, ...]:
    """The probes of forecasts of encodes of a depth. The first one, of which all read, is always of 8 bits.

    >>> [probe.encoder for probe in default_probes(10) if probe.bit_depth == 10][:2]
    ['libx265', 'libsvtav1']
    """
    return tuple(
        probe.model_copy(update={"bit_depth": bit_depth}) if probe.encoder in _BOTH_DEPTHS else probe
        for probe in DEFAULT_PROBES
    )


class ProbeRows(NamedTuple):
    """A probe encode, measured."""

    spec: ProbeSpec
    values: F32
    """Per-frame VMAF and canonical-6, [F, 7]."""
    n_bytes: float
    """Size of its packets, of as many frames as there are rows."""
    more: Mapping[str, F32] = MappingProxyType({})
    """Further per-frame columns, each [F]: what VMAF v1 reads, for a forecast of it."""


def forecast_feature_names(model: str = MEAN_VMAF.model) -> tuple[str, ...]:
    """Columns of a source's features that a new forecast reads: of the first probe, and of its family's own.

    Args:
      model: libvmaf's model that is forecast. For VMAF v1 there are also means of what it reads.

    >>> forecast_feature_names()[5:7], forecast_feature_names()[12:18], len(forecast_feature_names())
    (('probe0.motion2', 'own.adm2'), ('probe0.vmaf', 'own.vmaf', 'probe0.log2_bits_per_pixel', \
'own.log2_bits_per_pixel', 'log2_pixels', 'log2_frame_rate'), 34)
    """
    both = ("probe0", "own")
    means = [f"{probe}.{name}" for probe in both for name in CANONICAL6]
    scores = [f"{probe}.vmaf" for probe in both]
    bits = [f"{probe}.log2_bits_per_pixel" for probe in both]
    spreads = [f"{probe}.{name}_std" for probe in both for name in CANONICAL6]
    tails = [f"{probe}.vmaf_{what}" for probe in both for what in ("std", "p10")]
    of_v1 = [f"{probe}.{name}" for probe in both for name in V1_FEATURES] if is_v1(model) else []
    return (*means, *scores, *bits, "log2_pixels", "log2_frame_rate", *spreads, *tails, *of_v1)


def source_features(
    probes: Sequence[ProbeRows], pixels: int, frame_rate: float, names: Sequence[str], encoder: str
) -> NDArray[np.float64]:
    """What a forecast reads of a source, [K]; used by training and tuning.

    A model names its columns, so that older models still get what they were trained on.

    Args:
      probes: the probe encodes that a forecast of this encoder reads, in the model's order.
      pixels: width x height of the picture encoded, px.
      frame_rate: frames per second.
      names: the columns wanted, of a probe by number (`probe0`) or of the encoder's family (`own`). They are means
        over frames (`probe0.adm2`), standard deviations (ddof 0, `_std`), and the tenth percentile of VMAF
        (`_p10`). They are also log2 of bits per pixel, of pixels and of frame rate. Models of 0.1.0 also read the
        difference of the encoder's own probe and the first one (`libvpx-vp9.vmaf_gap`; 0 for all other encoders).
      encoder: encoder asked about.

    Raises:
      ConfigError: an unknown column, or one of a missing probe.
    """
    found = {"log2_pixels": float(np.log2(pixels)), "log2_frame_rate": float(np.log2(frame_rate))}
    measured = [_of_probe(probe, pixels) for probe in probes]
    for index, (probe, values) in enumerate(zip(probes, measured, strict=True)):
        found |= {f"probe{index}.{name}": value for name, value in values.items()}
        if index > 0 and probe.spec.encoder == probed_by(encoder):
            found |= {f"own.{name}": value for name, value in values.items()}
        if probe.spec.encoder == encoder:
            found |= {f"{encoder}.{name}_gap": value - measured[0][name] for name, value in values.items()}
    found |= {name: 0.0 for name in names if name.endswith("_gap") and not name.startswith(f"{encoder}.")}
    if unknown := [name for name in names if name not in found]:
        raise ConfigError(
            f"the model reads {unknown[0]}, which this release does not measure",
            next_step="use the release that trained it",
        )
    return np.array([found[name] for name in names])


def _of_probe(probe: ProbeRows, pixels: int) -> dict[str, float]:
    wide = probe.values.astype(np.float64)
    found = dict(zip(VALUES, wide.mean(axis=0).tolist(), strict=True))
    found |= {f"{name}_std": value for name, value in zip(VALUES, wide.std(axis=0).tolist(), strict=True)}
    found["vmaf_p10"] = float(np.quantile(wide[:, 0], 0.1))
    found |= {name: float(column.mean(dtype=np.float64)) for name, column in probe.more.items()}
    found["log2_bits_per_pixel"] = float(np.log2(probe.n_bytes * 8 / (len(wide) * pixels)))
    return found
