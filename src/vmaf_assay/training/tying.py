"""Write what ties a run's shipped members to the ones it judges (`registry/tie.py` says what is in it)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.corpus.store import Corpus
from vmaf_assay.media.files import sha256_bytes, sha256_file, write_bytes_atomic
from vmaf_assay.model.weights import MemberWeights, reference_predict
from vmaf_assay.promise.folds import Fold
from vmaf_assay.registry.tie import (
    Commitment,
    Shipped,
    Tie,
    draw,
    rounded,
    shipped_bytes,
    weights_digest,
    witness_bytes,
)
from vmaf_assay.training.rows import TrainingRows

TIE_FILES = ("commitment.json", "tie.json", "shipped.parquet", "witness.npy")
"""Files of a run that hold its tie; the first is written before training."""


def commit(folder: Path, commitment: Commitment) -> str:
    """Write a commitment; its digest, for whoever wants it published before the training ends."""
    data = commitment.to_bytes()
    write_bytes_atomic(folder / "commitment.json", data)
    return sha256_bytes(data)


def row_pixels(corpus: Corpus, rows: TrainingRows) -> NDArray[np.int64]:
    """Width x height of the picture of every row, px, [N]."""
    pixels = {cell.key: cell.width * cell.height for cell in corpus.cells}
    return np.array([pixels[key] for key in rows.cell], dtype=np.int64)


def write_tie(
    folder: Path,
    commitment: Commitment,
    rows: TrainingRows,
    pixels: NDArray[np.int64],
    folds: Sequence[Fold],
    held_out: Sequence[MemberWeights],
    members: Sequence[MemberWeights],
) -> None:
    """Write the tie of a run whose members and predictions are written.

    Args:
      folder: the run.
      commitment: what was committed to.
      rows: the rows trained on, N.
      pixels: their pictures' sizes, px, [N].
      folds: what was left out.
      held_out: the leave-one-out members: every fold of the first seed, then of the next.
      members: the shipped members, by seed.
    """
    digests = iter(weights_digest(weights) for weights in held_out)
    tie = Tie(
        commitment=commitment,
        held_out_members={
            str(seed): {fold.held_out: next(digests) for fold in folds} for seed in commitment.seeds
        },
    )
    write_bytes_atomic(folder / "tie.json", tie.to_bytes())
    predicted = [reference_predict(weights, rows.features, rows.codec) for weights in members]
    shipped = Shipped(rows.features, pixels, rounded(np.stack(predicted, axis=1)))
    data = shipped_bytes(shipped, rows.feature_names, commitment.seeds)
    write_bytes_atomic(folder / "shipped.parquet", data)
    files = {path.stem: sha256_file(path) for path in (folder / "members").glob("*.onnx")}
    drawn = draw(len(pixels), sha256_bytes(data), sha256_file(folder / "predictions.parquet"), files)
    write_bytes_atomic(folder / "witness.npy", witness_bytes(shipped, rows.codec, drawn))


def now_utc() -> str:
    """The time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
