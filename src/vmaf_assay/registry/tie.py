"""What ties shipped members to what was judged: a commitment, their predictions, rows that a load recomputes.

    <ensemble>_tie.<sha12>.json         the commitment made before training, digests of the leave-one-out members
    <ensemble>_shipped.<sha12>.parquet  features of every corpus row, and what every shipped member predicts of it
    <ensemble>_witness.<sha12>.npy      some of those rows as a model reads them, drawn by a digest

The gate judges members that left a group out; what ships was trained on all. ADR-0410 says what this shows,
and what only the corpus or a second training can.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.model.sidecar import MeasurandName, Task
from vmaf_assay.registry.files import RESTORE
from vmaf_assay.registry.manifest import Digest, Frozen

if TYPE_CHECKING:
    from vmaf_assay.model.infer import Ensemble

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

WITNESS_ROWS = 128
"""Rows of the witness; all of them if there are fewer."""

EARLIER_WITNESS_ROWS = 512
"""Rows of witnesses that were drawn before 2026-12-02."""

LOAD_ROWS = 64
"""Rows of the witness that every load computes again, drawn afresh each time."""

TOLERANCE_POINTS = 0.01
"""How far a model's answer may lie from what the evidence says of it, points: sums are taken in another order."""


class Commitment(Frozen):
    """`commitment.json`: everything that decides a training's bytes, written before the first step."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    model_id: str
    """The ensemble."""
    task: Task
    """`fr` or `forecast`."""
    measurand: MeasurandName | None = Field(default=None, exclude_if=lambda text: text is None)
    """What the members answer in; None for what all models of the task answered in first."""
    seeds: list[int]
    """Seeds, in order."""
    corpus_digest: Digest
    """The corpus."""
    n_rows: int
    """Its training rows."""
    protocol: str
    """How groups are left out."""
    recipe: dict[str, Any]
    """How members are trained."""
    code: dict[str, Any]
    """Version, commit and dirty flag."""
    engine: dict[str, str]
    """What trains."""
    made_at_utc: str
    """When, ISO 8601, in the words of the machine that trained."""

    def to_bytes(self) -> bytes:
        """The one byte string of a commitment."""
        return canonical_json(self.model_dump(mode="json"))


class Tie(Frozen):
    """`tie.json`."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    commitment: Commitment
    """What was committed to before training."""
    held_out_members: dict[str, dict[str, Digest]]
    """SHA-256 of the weights of every leave-one-out member, by seed and fold."""

    def to_bytes(self) -> bytes:
        """The one byte string of a tie."""
        return canonical_json(self.model_dump(mode="json"))


class TieRef(Frozen):
    """Digests of the three files, in a verdict."""

    tie_sha256: Digest
    """Of `tie.json`."""
    shipped_sha256: Digest
    """Of `shipped.parquet`."""
    witness_sha256: Digest
    """Of `witness.npy`."""
    n_rows: Annotated[int, Field(ge=1)]
    """Rows of the witness."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """What the shipped members predict of every corpus row."""

    features: F32
    """Raw features, [N, K]."""
    pixels: NDArray[np.int64]
    """Width x height of the picture, px, [N]."""
    members: F32
    """Predictions, points, [N, M], by seed."""

    @property
    def mean(self) -> F64:
        """The shipped ensemble's prediction of every row, points, [N]."""
        mean: F64 = self.members.astype(np.float64).mean(axis=1)
        return mean


def shipped_bytes(shipped: Shipped, names: Sequence[str], seeds: Sequence[int]) -> bytes:
    """`shipped.parquet`: one row a corpus row. Rows of the same features are side by side: a third of the size."""
    import polars as pl

    order = np.lexsort(shipped.features.T[::-1])
    columns: dict[str, Any] = {"row": order.astype(np.int64), "pixels": shipped.pixels[order]}
    columns |= {f"feature.{name}": shipped.features[order, index] for index, name in enumerate(names)}
    columns |= {f"seed{seed}": shipped.members[order, index] for index, seed in enumerate(seeds)}
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer, compression="zstd", compression_level=19)
    return buffer.getvalue()


def parse_shipped(data: bytes, names: Sequence[str], seeds: Sequence[int], *, where: str) -> Shipped:
    """`shipped.parquet` from its bytes. Raises IntegrityError if it is of another form."""
    import polars as pl

    from vmaf_assay.media.parquet import parse_parquet

    features, members = [f"feature.{name}" for name in names], [f"seed{seed}" for seed in seeds]
    schema: dict[str, type[pl.DataType]] = {"row": pl.Int64, "pixels": pl.Int64}
    schema |= dict.fromkeys([*features, *members], pl.Float32)
    table = parse_parquet(data, where=where)
    if dict(table.schema) != schema or table.null_count().sum_horizontal().sum() or not table.height:
        raise IntegrityError(f"{where} is of another form", next_step=RESTORE)
    table = table.sort("row")
    shipped = Shipped(
        np.ascontiguousarray(table.select(features).to_numpy()),
        table["pixels"].to_numpy(),
        np.ascontiguousarray(table.select(members).to_numpy()),
    )
    finite = np.isfinite(shipped.features).all() and np.isfinite(shipped.members).all()
    if not finite or not np.array_equal(table["row"].to_numpy(), np.arange(table.height)):
        raise IntegrityError(f"{where} lacks a row or a number", next_step=RESTORE)
    return shipped


def rounded(points: NDArray[np.floating[Any]]) -> F32:
    """Predictions as evidence holds them: to 1/1024 of a point, which files pack in two thirds of the bytes.

    >>> rounded(np.array([93.12345])).tolist()
    [93.123046875]
    """
    return (np.round(points.astype(np.float64) * 1024) / 1024).astype(np.float32)


def weights_digest(weights: Sequence[NDArray[np.float32]]) -> str:
    """SHA-256 of a member's weights: every array's shape and little-endian float32 values, in order."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def draw(
    n_rows: int, shipped_sha256: str, predictions_sha256: str, members: Mapping[str, str], size: int = WITNESS_ROWS
) -> list[int]:
    """Rows of the witness, ascending: drawn by a digest over everything that they are evidence of.

    Args:
      n_rows: corpus rows.
      shipped_sha256: digest of the predictions of the shipped members.
      predictions_sha256: digest of the held-out predictions.
      members: digest of every model file, by row id.
      size: most rows drawn.
    """
    about = {"shipped": shipped_sha256, "predictions": predictions_sha256, "members": dict(members)}
    seed = sha256_bytes(canonical_json(about)).encode()
    ranked = sorted(range(n_rows), key=lambda row: hashlib.sha256(b"%s %d" % (seed, row)).digest())
    return sorted(ranked[:size])


def witness_bytes(shipped: Shipped, codec: F32, rows: Sequence[int]) -> bytes:
    """`witness.npy`: [W, K + D + M] float32; features, codec block and members' predictions of the rows drawn."""
    at = list(rows)
    buffer = io.BytesIO()
    table = np.concatenate([shipped.features[at], codec[at], shipped.members[at]], axis=1)
    np.save(buffer, np.ascontiguousarray(table, dtype="<f4"), allow_pickle=False)
    return buffer.getvalue()


def check_witness(data: bytes, ensemble: "Ensemble", n_members: int, n_rows: int) -> None:
    """Compute some rows of a witness again, drawn afresh; what every load does.

    Args:
      data: the witness's bytes.
      ensemble: the fused graph.
      n_members: its members, M.
      n_rows: rows that the witness should have.

    Raises:
      IntegrityError: it has another shape, or the models do not predict what it says.
    """
    from vmaf_assay.model.codec_block import codec_width

    name = f"the witness of {ensemble.sidecar.id}"
    n_features, n_codec = len(ensemble.sidecar.feature_names), codec_width(ensemble.sidecar.encoder_vocab_version)
    table = _read_npy(data, (n_rows, n_features + n_codec + n_members), name)
    chosen = table[np.random.default_rng().choice(n_rows, min(LOAD_ROWS, n_rows), replace=False)]
    found = ensemble.predict(chosen[:, :n_features], chosen[:, n_features : n_features + n_codec])
    said = chosen[:, n_features + n_codec :].astype(np.float64)
    if not (close(found.members, said) and close(found.mu, said.mean(axis=1))):
        raise IntegrityError(f"{name} says other predictions than its models give", next_step=RESTORE)


def close(found: F64, said: F64) -> bool:
    """Whether answers lie within the tolerance of what is said of them; NaN never does."""
    return found.shape == said.shape and bool(np.all(np.abs(found - said) <= TOLERANCE_POINTS))


def _read_npy(data: bytes, shape: tuple[int, int], name: str) -> F32:
    """A float32 table of a known shape: its one header, and as many bytes as that takes."""
    header = _header(shape)
    if data[: len(header)] != header or len(data) != len(header) + 4 * shape[0] * shape[1]:
        raise IntegrityError(f"{name} is of another form", next_step=RESTORE)
    return np.frombuffer(data, dtype="<f4", offset=len(header)).reshape(shape)


def _header(shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, facts)
    return buffer.getvalue()
