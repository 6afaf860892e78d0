"""Check a tie against everything that it is evidence of: models, sidecars and held-out predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vmaf_assay.errors import IntegrityError, ModelLoadError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.model.codec_block import codec_rows
from vmaf_assay.model.fused import check_fused
from vmaf_assay.model.infer import open_session
from vmaf_assay.model.seen import same_seen, seen_of
from vmaf_assay.model.sidecar import HeldOut, Sidecar
from vmaf_assay.registry.files import RESTORE
from vmaf_assay.registry.tie import (
    EARLIER_WITNESS_ROWS,
    F32,
    F64,
    WITNESS_ROWS,
    Shipped,
    Tie,
    close,
    draw,
    parse_shipped,
    witness_bytes,
)

if TYPE_CHECKING:
    import polars as pl

STATED = ("bitrate model", "picture sizes", "features of the corpus rows")
"""What only the corpus shows; without it these are as stated by whoever trained."""


@dataclass(frozen=True)
class Tied:
    """A tie beside everything that it is evidence of; every byte already checked against its digest."""

    ensemble: str
    """The ensemble."""
    seeds: Sequence[int]
    """Its seeds, in order."""
    models: Mapping[str, tuple[bytes, Sidecar]]
    """Model and sidecar, by row id."""
    predictions: "pl.DataFrame"
    """Held-out predictions."""
    predictions_sha256: str
    """Digest of their file."""
    tie: Tie
    """The commitment and the held-out members."""
    shipped_data: bytes
    """`shipped.parquet`."""
    witness_data: bytes
    """`witness.npy`."""

    @cached_property
    def mean_sidecar(self) -> Sidecar:
        """The fused model's sidecar."""
        return self.models[f"{self.ensemble}_mean"][1]

    @cached_property
    def rows(self) -> "pl.DataFrame":
        """The corpus rows: those of one seed."""
        import polars as pl

        return self.predictions.filter(pl.col("seed") == min(self.seeds)).sort("row")

    @cached_property
    def shipped(self) -> Shipped:
        """What the shipped members predict. Raises IntegrityError if it is not of these rows."""
        where = f"what the members of {self.ensemble} predict"
        found = parse_shipped(self.shipped_data, self.mean_sidecar.feature_names, self.seeds, where=where)
        if len(found.pixels) != self.rows.height:
            raise IntegrityError(f"{where}: {len(found.pixels)} rows, not {self.rows.height}", next_step=RESTORE)
        return found

    @cached_property
    def codec(self) -> F32:
        """Codec block of every row, [N, D]."""
        columns = (self.rows[name].to_list() for name in ("encoder", "preset", "rate_value"))
        encoders, presets, rates = columns
        return codec_rows(encoders, presets, rates, version=self.mean_sidecar.encoder_vocab_version, unknown=True)


def check_models_fused(ensemble: str, seeds: Sequence[int], models: Mapping[str, bytes]) -> None:
    """Refuse a fused graph that its members do not give byte for byte. Raises IntegrityError."""
    try:
        check_fused(models[f"{ensemble}_mean"], [models[f"{ensemble}_seed{seed}"] for seed in seeds])
    except ModelLoadError as error:
        raise IntegrityError(f"{ensemble}_mean: {error.what}", next_step="train again") from error


def check_tied(tied: Tied) -> None:
    """Everything that the evidence alone shows.

    Raises:
      IntegrityError: the commitment is of another training, or a model predicts something else than is said. Also
        if a sidecar says other facts than the rows give, or the witness is not what its digest drew.
    """
    _check_commitment(tied)
    _check_answers(tied)
    _check_facts(tied, tied.shipped)
    members = {row_id: sidecar.onnx_sha256 for row_id, (_, sidecar) in tied.models.items()}
    n_rows, digest = len(tied.shipped.pixels), sha256_bytes(tied.shipped_data)
    for size in (WITNESS_ROWS, EARLIER_WITNESS_ROWS):
        rows = draw(n_rows, digest, tied.predictions_sha256, members, size)
        if witness_bytes(tied.shipped, tied.codec, rows) == tied.witness_data:
            return
    raise _differs(tied, "the witness is not of the rows that its digest draws")


def _differs(tied: Tied, what: str) -> IntegrityError:
    return IntegrityError(f"{tied.ensemble}: {what}", next_step="train again, or restore the registry")


def _check_commitment(tied: Tied) -> None:
    from vmaf_assay.promise.folds import protocol_of
    from vmaf_assay.promise.gate import folds_of_groups

    made, sidecar, folds = tied.tie.commitment, tied.mean_sidecar, folds_of_groups(tied.predictions)
    said = {
        "ensemble": (made.model_id, tied.ensemble),
        "task": (made.task, sidecar.task),
        "measurand": (made.measurand, sidecar.measurand),
        "seeds": (made.seeds, list(tied.seeds)),
        "corpus": (made.corpus_digest, sidecar.corpus_digest),
        "rows": (made.n_rows, tied.rows.height),
        "protocol": (made.protocol, protocol_of(folds)),
        "recipe": (made.recipe, sidecar.recipe),
    }
    for name, (committed, found) in said.items():
        if committed != found:
            raise _differs(tied, f"what was committed to before training is of another {name}")
    wanted = {str(seed): set(folds.values()) for seed in tied.seeds}
    listed = {seed: set(by_fold) for seed, by_fold in tied.tie.held_out_members.items()}
    digests = [one for by_fold in tied.tie.held_out_members.values() for one in by_fold.values()]
    if listed != wanted or len(set(digests)) != len(digests):
        raise _differs(tied, "its held-out members are not one for every seed and fold")


def _check_answers(tied: Tied) -> None:
    """Every graph, on every row."""
    inputs = {"features": tied.shipped.features, "codec": tied.codec}
    said = tied.shipped.members.astype(np.float64)
    for index, seed in enumerate(tied.seeds):
        onnx, sidecar = tied.models[f"{tied.ensemble}_seed{seed}"]
        (found,) = open_session(onnx, sidecar).run(["score"], inputs)
        _compare(tied, f"seed {seed}", np.asarray(found, dtype=np.float64), said[:, index])
    onnx, sidecar = tied.models[f"{tied.ensemble}_mean"]
    mu, members = open_session(onnx, sidecar).run(["mu", "members"], inputs)
    _compare(tied, "the fused graph", np.asarray(members, dtype=np.float64), said)
    _compare(tied, "the fused mean", np.asarray(mu, dtype=np.float64), said.mean(axis=1))


def _compare(tied: Tied, what: str, found: F64, said: F64) -> None:
    if not close(found, said):
        largest = float(np.abs(found - said).max()) if found.shape == said.shape else float("nan")
        raise _differs(tied, f"{what} predicts up to {largest:.3f} points off what the evidence says")


def _check_facts(tied: Tied, shipped: Shipped) -> None:
    """What sidecars say of the rows that were trained on."""
    columns = {name: tied.rows[name].to_list() for name in ("encoder", "preset")}
    seen = seen_of(
        columns["encoder"], columns["preset"], tied.rows["rate_value"].to_numpy(), shipped.features, shipped.pixels
    )
    held_out = held_out_of(tied.predictions)
    for row_id, (_, sidecar) in tied.models.items():
        if why := same_seen(sidecar.seen, seen):
            raise _differs(tied, f"the sidecar of {row_id} is not of the rows trained on: {why}")
        said = sidecar.held_out
        gaps = [abs(getattr(said, name) - getattr(held_out, name)) for name in HeldOut.model_fields]
        if max(gaps) > 1e-6:
            raise _differs(tied, f"the sidecar of {row_id} claims other held-out scores")
    names = tied.mean_sidecar.feature_names
    if "log2_pixels" in names:
        sizes = shipped.features[:, names.index("log2_pixels")]
        if not np.allclose(sizes, np.log2(np.maximum(shipped.pixels, 1)), atol=1e-4):
            raise _differs(tied, "picture sizes contradict the features")


def held_out_of(predictions: "pl.DataFrame") -> HeldOut:
    """Scores on the groups left out, means over groups and seeds."""
    from vmaf_assay.promise.metrics import plcc, rmse, srocc

    scores: dict[int, list[tuple[float, float, float]]] = {}
    for (seed, _group), part in sorted(predictions.group_by("seed", "group"), key=lambda pair: pair[0]):
        truth, said = (part.sort("row")[name].to_numpy() for name in ("truth", "prediction"))
        scores.setdefault(int(seed), []).append((plcc(truth, said), srocc(truth, said), rmse(truth, said)))
    means = np.mean([np.mean(found, axis=0) for found in scores.values()], axis=0)
    return HeldOut(mean_plcc=float(means[0]), mean_srocc=float(means[1]), mean_rmse=float(means[2]))
