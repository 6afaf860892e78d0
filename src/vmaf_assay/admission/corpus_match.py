"""Whether held-out predictions match the corpus that their run names: every row, every truth, none missing.

Without the corpus only the consistency of a run can be checked, which an invented run passes. With the corpus its
rows are made again, and the predictions must be of exactly those rows.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from vmaf_assay.corpus.same_content import check_groups_differ
from vmaf_assay.corpus.store import Corpus
from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.model.seen import same_seen, seen_of
from vmaf_assay.model.sidecar import Seen, Task
from vmaf_assay.records import Measurand
from vmaf_assay.registry.recompute import first_difference
from vmaf_assay.registry.tie_check import Tied
from vmaf_assay.training.evidence import RunEvidence
from vmaf_assay.training.rows import TrainingRows, forecast_rows, forecast_targets, regressor_rows
from vmaf_assay.training.run import bitrate_of
from vmaf_assay.training.tying import row_pixels

_IDENTITY = ("row", "cell", "group", "source", "encoder", "preset", "rate_value", "frame_index", "truth")
_NEXT = "train on this corpus, or name the corpus it was trained on"


def check_belongs(run: RunEvidence, corpus: Corpus) -> None:
    """Refuse a run whose predictions, shipped members' evidence or sidecars are not of this corpus.

    Args:
      run: a run read by `load_run`, so that all its seeds predict the same rows.
      corpus: the corpus it is said to be of.

    Raises:
      CorpusError: another corpus; a row that the corpus does not give, or gives otherwise; or one left out.
      IntegrityError: a feature, a size or a bitrate that is not the corpus's.
    """
    check_groups_differ(corpus)
    measurand = str(run.measurand)
    check_rows(Claim(run.file.corpus.digest, run.file.task, measurand, run.tied.rows), corpus)
    check_facts(run.tied, corpus)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said to be of a corpus."""

    corpus_digest: str
    """Digest of that corpus."""
    task: Task
    """`fr` or `forecast`."""
    measurand: str
    """What is predicted."""
    rows: pl.DataFrame
    """The rows predicted: held-out predictions of one seed."""


def check_rows(claim: Claim, corpus: Corpus) -> None:
    """Refuse rows that are not exactly those of a corpus: every row, every truth, none left out.

    Raises:
      CorpusError: another corpus; a row that the corpus does not give, or gives otherwise; or one left out.
    """
    if corpus.digest != claim.corpus_digest:
        raise CorpusError(
            f"the run is of corpus {claim.corpus_digest[:12]}, this is {corpus.digest[:12]}", next_step=_NEXT
        )
    said = claim.rows.select(_IDENTITY).sort("row")
    # Evidence names a cell by the first digits of its key.
    digits = int(said["cell"].str.len_chars().max() or 0)  # type: ignore[arg-type]
    given = _rows(claim, said, corpus).cast(dict(said.schema))  # type: ignore[arg-type]
    given = given.with_columns(pl.col("cell").str.head(digits))
    if said.equals(given):
        return
    key = ["cell", "frame_index"]
    if left_out := given.join(said, on=key, how="anti").height:
        raise CorpusError(f"{left_out} rows of the corpus are not among the predictions", next_step=_NEXT)
    if strange := said.join(given, on=key, how="anti").height:
        raise CorpusError(f"{strange} predictions are of rows that the corpus does not give", next_step=_NEXT)
    for name in _IDENTITY:
        odd = (said[name] != given[name]).arg_true()
        if len(odd):
            row = int(odd[0])
            raise CorpusError(
                f"row {row} of the predictions has {name} {said[name][row]}, the corpus gives {given[name][row]}",
                next_step=_NEXT,
            )


def check_facts(tied: Tied, corpus: Corpus) -> None:
    """Refuse evidence of shipped members that is not of a corpus: features, sizes, and the bitrate model.

    What sidecars say of these rows was compared with the evidence by `check_tied`.

    Raises:
      IntegrityError: one is not what the corpus gives.
    """
    task, sidecar = tied.tie.commitment.task, tied.mean_sidecar
    answers = Measurand.parse(sidecar.answers)
    rows = forecast_rows(corpus, measurand=answers) if task == "forecast" else _frames(tied.rows, corpus)
    shipped = tied.shipped.features
    if rows.features.shape != shipped.shape or not np.allclose(rows.features, shipped, rtol=1e-5, atol=1e-6):
        raise _stated(tied, "features of the corpus rows")
    if not np.array_equal(row_pixels(corpus, rows), tied.shipped.pixels):
        raise _stated(tied, "picture sizes")
    fitted = bitrate_of(corpus, rows, sidecar.probes) if task == "forecast" else None
    said = sidecar.bitrate
    if why := first_difference(said, fitted and fitted.model_dump(mode="json")):
        raise _stated(tied, f"bitrate model ({why})")


def _stated(tied: Tied, what: str) -> IntegrityError:
    return IntegrityError(f"{tied.ensemble}: the {what} stated are not the corpus's", next_step="train again")


def check_seen(claim: Claim, said: Seen, corpus: Corpus) -> None:
    """Refuse a sidecar of before ties that says it has seen what a corpus does not hold. Raises IntegrityError."""
    answers = Measurand.parse(claim.measurand)
    rows = forecast_rows(corpus, measurand=answers) if claim.task == "forecast" else _frames(claim.rows, corpus)
    found = seen_of(rows.encoder, rows.preset, rows.rate_value, rows.features, row_pixels(corpus, rows))
    # Sidecars of before 2026-11-28 say nothing of each encoder's sizes.
    known = {(one.encoder, one.preset) for one in said.encoders if one.max_pixels}
    unsaid = {"min_pixels": 0, "max_pixels": 0}
    encoders = [
        one if (one.encoder, one.preset) in known else one.model_copy(update=unsaid) for one in found.encoders
    ]
    if why := same_seen(said, found.model_copy(update={"encoders": encoders})):
        raise IntegrityError(f"a sidecar is not of this corpus: {why}", next_step="train again")


def _rows(claim: Claim, said: pl.DataFrame, corpus: Corpus) -> pl.DataFrame:
    """The rows that training on this corpus would use."""
    if claim.task == "forecast":
        targets = forecast_targets(corpus, Measurand.parse(claim.measurand)).rename({"vmaf": "truth"})
        return targets.with_row_index("row").select(_IDENTITY)
    return _identity(_frames(said, corpus))


def _frames(said: pl.DataFrame, corpus: Corpus) -> TrainingRows:
    # How many frames of a cell were used is in the table itself; which ones follows from that.
    frames_per_cell = int(said.group_by("cell").len()["len"].max() or 0)  # type: ignore[arg-type]
    return regressor_rows(corpus, frames_per_cell=frames_per_cell, vocabulary=2)


def _identity(rows: TrainingRows) -> pl.DataFrame:
    columns = {name: list(getattr(rows, name)) for name in ("cell", "group", "source", "encoder", "preset")}
    numbers = {"rate_value": rows.rate_value, "frame_index": rows.frame_index, "truth": rows.target}
    return pl.DataFrame({"row": range(len(rows.target)), **columns, **numbers}).select(_IDENTITY)
