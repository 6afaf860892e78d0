"""`registry.json`: rows, their schema, and the digest that a verdict binds each to."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.records import MEAN_VMAF, Measurand

Kind = Literal["fr", "forecast", "ensemble"]


def _plain_name(name: str) -> str:
    """A plain file name in the registry's folder: no path, not hidden."""
    if name != PurePosixPath(name).name or name.startswith(".") or "\\" in name or "\0" in name or not name:
        raise ValueError(f"{name!r} is not a plain file name")
    return name


FileName = Annotated[str, Field(max_length=200), AfterValidator(_plain_name)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """Base of the records here: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class FileRef(Frozen):
    """A file beside the registry, by name and content."""

    file: FileName
    """Its name."""
    sha256: Digest
    """SHA-256 of its bytes."""


class Row(Frozen):
    """One model."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
    """Its name: `<ensemble>_seed{N}` or `<ensemble>_mean`."""
    kind: Kind
    """`fr` or `forecast` for a member, `ensemble` for the fused mean."""
    onnx: FileName
    """The model file."""
    sha256: Digest
    """SHA-256 of the model file."""
    opset: int
    """ONNX opset of the graph."""
    smoke: bool
    """True: scaffolded, only to test loading. False: production-eligible."""
    license: str = Field(max_length=64)
    """SPDX identifier."""
    description: str = Field(max_length=256)
    """What it is."""
    notes: str = Field(max_length=512)
    """What to know before using it."""
    sidecar: FileRef
    verdict: FileRef | None = None
    """The verdict that admitted it; required if `smoke` is false. On a smoke row: what took it out of service."""
    confidence_eligible: bool = False
    """Whether `--quality-confidence` may use it."""

    def binding(self) -> str:
        """SHA-256 of the row as it is when production-eligible, without its pointer to the verdict.

        The verdict lists this for every row it admits, so no field of a row can change without a new verdict.
        """
        content = self.model_dump(mode="json", exclude={"verdict"}) | {"smoke": False}
        return sha256_bytes(canonical_json(content))


class Registry(Frozen):
    """`registry.json`."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    rows: list[Row] = Field(default_factory=list, max_length=1000)
    """Sorted by id."""

    def to_bytes(self) -> bytes:
        """The canonical bytes of a registry; a file that differs in one space was edited by hand."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    def row(self, row_id: str) -> Row | None:
        """The row named, or None."""
        return next((row for row in self.rows if row.id == row_id), None)


def forecast_ensemble(measurand: Measurand) -> str:
    """The ensemble that forecasts a measurand. Each has its own, so that every promise has a gate of its own.

    >>> forecast_ensemble(MEAN_VMAF)
    'vmaf_forecast_ensemble_v1'
    >>> forecast_ensemble(Measurand("vmaf_v1.0.16_3d0h", "mean", 10))
    'vmaf_forecast_v1_0_16_3d0h_mean_10bit'
    """
    if measurand == MEAN_VMAF:
        return "vmaf_forecast_ensemble_v1"
    model = re.sub(r"[^a-z0-9]+", "_", measurand.model.removeprefix("vmaf_").lower())
    return f"vmaf_forecast_{model}_{measurand.pooling}_{measurand.bit_depth}bit"


def ensemble_of(row_id: str) -> str:
    """The ensemble a row belongs to.

    >>> ensemble_of("vmaf_forecast_ensemble_v1_seed3"), ensemble_of("vmaf_forecast_ensemble_v1_mean")
    ('vmaf_forecast_ensemble_v1', 'vmaf_forecast_ensemble_v1')
    """
    head, _, last = row_id.rpartition("_")
    return head if last == "mean" or last.startswith("seed") else row_id
