"""The file of held-out bitrates that ships with the models, and whether it is of an ensemble at hand.

It is made by `scripts/write_bitrate_calibration.py` from the corpus. It names the corpus and the bitrate model by
digest; of another ensemble it says nothing.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.bitrate import F64, BitrateBounds, HeldOutRates, bounds_of

NAME = "bitrate_held_out.json"


class SourceResiduals(BaseModel):
    """One source with one encoder and preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    group: str
    """What must not be split."""
    source: str
    rate_values: list[float]
    """Rate values measured, ascending, [R]."""
    residuals: list[float]
    """ln(measured / forecast) by a model fitted without the group, [R]."""


class BitrateCalibration(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    schema_version: Literal[1] = 1
    """Major version of this file's schema."""
    corpus_digest: str
    """The corpus whose encodes are measured."""
    bitrate_sha256: str
    """Digest of the bitrate model in the ensemble's sidecar, as canonical JSON."""
    curves: dict[str, list[SourceResiduals]]
    """By `encoder|preset`, sorted by group and source."""


def bitrate_digest(model: Mapping[str, Any]) -> str:
    """SHA-256 of a sidecar's bitrate model."""
    return sha256_bytes(canonical_json(dict(model)))


@lru_cache
def shipped_calibration() -> BitrateCalibration:
    """The file that ships; raises IntegrityError if it is damaged."""
    data = resources.files("vmaf_assay.promise").joinpath(NAME).read_bytes()
    try:
        return BitrateCalibration.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{NAME} is damaged", next_step="install vmaf-assay again") from error


def bitrate_bounds(sidecar: Sidecar, encoder: EncoderInfo, preset: str, grid: F64) -> BitrateBounds | None:
    """Calibrated bounds for an encoder and preset, or None if nothing is calibrated of this ensemble.

    Args:
      sidecar: of the ensemble that forecasts.
      encoder: its entry.
      preset: its preset.
      grid: rate values that may be chosen, cheapest first, [G].
    """
    file = shipped_calibration()
    if sidecar.bitrate is None or file.corpus_digest != sidecar.corpus_digest:
        return None
    if file.bitrate_sha256 != bitrate_digest(sidecar.bitrate):
        return None
    curves = [
        HeldOutRates(
            one.group, one.source, key.partition("|")[2], np.array(one.rate_values), np.array(one.residuals)
        )
        for key, sources in file.curves.items()
        if key.partition("|")[0] == encoder.name
        for one in sources
    ]
    return bounds_of(curves, encoder, preset, grid)
