"""Whether held-out predictions are of the corpus that their run names: every row, every truth, none left out.

Without the corpus a run can only be asked whether it agrees with itself, and a run made up as a whole does. With
the corpus at hand its rows are made again, and the predictions must be of exactly those.
"""

from dataclasses import replace

import polars as pl

from vmaf_assay.corpus.store import Corpus
from vmaf_assay.errors import CorpusError
from vmaf_assay.model.sidecar import ChoiceCalibration
from vmaf_assay.records import CellRecord, Measurand
from vmaf_assay.training.evidence import RunEvidence
from vmaf_assay.training.rows import TrainingRows, forecast_targets, regressor_rows

_IDENTITY = ("row", "cell", "group", "source", "encoder", "preset", "rate_value", "frame_index", "truth")
_NEXT = "train on this corpus, or name the corpus it was trained on"


def check_belongs(run: RunEvidence, corpus: Corpus) -> None:
    """Refuse a run whose predictions are not of this corpus.

    Args:
      run: a run read by `load_run`, so that all its seeds predict the same rows.
      corpus: the corpus it is said to be of.

    Raises:
      CorpusError: another corpus; a row that the corpus does not give, or gives otherwise; or one left out.
    """
    if corpus.digest != run.file.corpus.digest:
        raise CorpusError(
            f"the run is of corpus {run.file.corpus.digest[:12]}, this is {corpus.digest[:12]}", next_step=_NEXT
        )
    odd_cell = next((cell for cell in corpus.cells if _pooled(cell, run.measurand) != run.measurand), None)
    if odd_cell is not None:
        raise CorpusError(
            f"the run predicts {run.measurand}, the corpus measured {odd_cell.measurand}", next_step=_NEXT
        )
    said = run.predictions.filter(pl.col("seed") == run.file.seeds[0]).select(_IDENTITY).sort("row")
    given = _rows(run, said, corpus).cast(dict(said.schema))  # type: ignore[arg-type]
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


def _rows(run: RunEvidence, said: pl.DataFrame, corpus: Corpus) -> pl.DataFrame:
    """What training on this corpus would have been asked for."""
    if isinstance(run.calibration, ChoiceCalibration):
        targets = forecast_targets(corpus).rename({"vmaf": "truth"})
        return targets.with_row_index("row").select(_IDENTITY)
    # How many frames of a cell were used is told by the table itself; which ones follows from that.
    frames_per_cell = int(said.group_by("cell").len()["len"].max() or 0)  # type: ignore[arg-type]
    return _identity(regressor_rows(corpus, frames_per_cell=frames_per_cell, vocabulary=2))


def _identity(rows: TrainingRows) -> pl.DataFrame:
    columns = {name: list(getattr(rows, name)) for name in ("cell", "group", "source", "encoder", "preset")}
    numbers = {"rate_value": rows.rate_value, "frame_index": rows.frame_index, "truth": rows.target}
    return pl.DataFrame({"row": range(len(rows.target)), **columns, **numbers}).select(_IDENTITY)


def _pooled(cell: CellRecord, like: Measurand) -> Measurand:
    """The measurand of a cell's frames, pooled as another is."""
    return replace(Measurand.parse(cell.measurand), pooling=like.pooling)
