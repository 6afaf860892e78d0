"""A verdict's evidence, recomputed from the held-out predictions in the registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmaf_assay.records import OnStep
from vmaf_assay.registry.files import read_bound
from vmaf_assay.registry.history import predictions_name
from vmaf_assay.registry.verdict import Verdict, rule_in_force, same

if TYPE_CHECKING:
    import polars as pl

    from vmaf_assay.model.sidecar import Sidecar

CheckOutcome = Literal["agrees", "differs", "not comparable"]


@dataclass(frozen=True, slots=True)
class Check:
    """One recomputed item."""

    what: str
    """What was computed."""
    outcome: CheckOutcome
    """Whether it equals the verdict."""
    detail: str
    """How, in words."""


def recompute(
    folder: Path, verdict: Verdict, sidecar: "Sidecar", *, deep: bool, on_step: OnStep | None = None
) -> list[Check]:
    """Judge a verdict's held-out predictions again.

    Args:
      folder: the registry.
      verdict: the verdict.
      sidecar: a sidecar of one of its rows: it says what the ensemble reads.
      deep: compute the calibration and the coverage policy too.
      on_step: told how far that is.

    Raises:
      AssayError: the predictions are missing, cannot be read, or are not valid evidence.
    """
    from vmaf_assay.promise.calibrate import parse_predictions
    from vmaf_assay.promise.gate import evaluate_gate

    name = predictions_name(verdict)
    data = read_bound(folder, name, verdict.predictions_sha256)
    predictions = parse_predictions(data, where=str(folder / name))
    gate, folds = evaluate_gate(predictions, verdict.seeds, verdict.gate_policy(), verdict.metric)
    said = [fold.model_dump() for fold in verdict.folds]
    if not same(said, folds) or not gate.passed:
        return [Check("gate", "differs", f"{name} does not give the gate of the verdict")]
    if differs := _compare_extent(predictions, verdict):
        return [differs]
    checks = [Check("gate", "agrees", f"{len(folds)} folds, mean PLCC {gate.mean_plcc:.6f}")]
    return [*checks, *_recompute_promises(predictions, verdict, sidecar, on_step)] if deep else checks


def _compare_extent(predictions: "pl.DataFrame", verdict: Verdict) -> Check | None:
    """A contradiction between the verdict's folds and counts and its predictions; empty without one.

    `n_cells` also counts the probes' encodes, which are not predicted, so the predictions only bound it.
    """
    from vmaf_assay.promise.gate import held_out_protocol

    found, said = held_out_protocol(predictions), verdict.protocol
    if found != said:
        return Check("protocol", "differs", f"the verdict says {said}, its predictions are of {found}")
    counts = {f"n_{what}s": predictions[what].n_unique() for what in ("group", "row")}
    for name, count in counts.items():
        if verdict.corpus.get(name) != count:
            why = f"the verdict says {name} {verdict.corpus.get(name)}, its predictions have {count}"
            return Check("corpus", "differs", why)
    n_cells, most = predictions["cell"].n_unique(), verdict.corpus.get("n_cells")
    if not isinstance(most, int) or n_cells > most:
        return Check("corpus", "differs", f"its predictions are of {n_cells} cells, more than the verdict says")
    return None


def _recompute_promises(
    predictions: "pl.DataFrame", verdict: Verdict, sidecar: "Sidecar", on_step: OnStep | None
) -> list[Check]:
    """Calibration and coverage, from the predictions."""
    from vmaf_assay.promise.calibrate import calibration_digest, calibration_from_predictions, coverage_of

    calibration = calibration_from_predictions(
        predictions,
        sidecar.task,
        verdict.ensemble,
        sidecar.corpus_digest,
        sidecar.probes,
        measurand=sidecar.answers,
    )
    if calibration_digest(calibration.model_dump(mode="json")) != verdict.calibration_sha256:
        why = "the held-out predictions do not give the calibration of the verdict"
        return [Check("calibration", "differs", why)]
    agrees = Check("calibration", "agrees", f"sha256 {verdict.calibration_sha256[:12]}")
    today = rule_in_force(sidecar.task)
    if verdict.coverage_rule != today:
        why = f"the verdict used rule {verdict.coverage_rule}, this version has rule {today}"
        return [agrees, Check("coverage", "not comparable", why)]
    again = coverage_of(calibration, verdict.coverage_policy(), on_step)
    if not same([one.model_dump() for one in verdict.coverage], [one.model_dump() for one in again]):
        why = f"the held-out predictions do not give the coverage of the verdict (rule {today})"
        return [agrees, Check("coverage", "differs", why)]
    passed = sum(one.passed for one in again)
    return [agrees, Check("coverage", "agrees", f"{passed} of {len(again)} passed, rule {today}")]
