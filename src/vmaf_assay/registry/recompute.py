"""A verdict's evidence, recomputed from the held-out predictions in the registry."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vmaf_assay.errors import IntegrityError
from vmaf_assay.records import OnStep
from vmaf_assay.registry.files import content_name, parse, read_bound
from vmaf_assay.registry.history import predictions_name, tie_names
from vmaf_assay.registry.tie import Tie
from vmaf_assay.registry.verdict import Verdict, rule_in_force, same

if TYPE_CHECKING:
    import polars as pl

    from vmaf_assay.model.sidecar import Sidecar
    from vmaf_assay.registry.tie_check import Tied

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
    policy, tied = verdict.gate_policy(), read_tied(folder, verdict, predictions)
    shipped = tied.shipped.mean if tied else None
    gate, folds = evaluate_gate(predictions, verdict.seeds, policy, verdict.metric, shipped)
    said = [fold.model_dump() for fold in verdict.folds]
    conditions = [[one.model_dump() for one in result.conditions or ()] for result in (gate, verdict.gate)]
    if not same(said, folds) or not same(*conditions) or not gate.passed:
        return [Check("gate", "differs", f"{name} does not give the gate of the verdict")]
    if differs := _compare_extent(predictions, verdict):
        return [differs]
    further = f", {len(conditions[0])} further conditions" if conditions[0] else ""
    checks = [Check("gate", "agrees", f"{len(folds)} folds, mean PLCC {gate.mean_plcc:.6f}{further}")]
    checks += [_compare_fused(folder, verdict), _compare_tie(tied)]
    if not deep:
        return checks
    mean = read_sidecar(folder, verdict, f"{verdict.ensemble}_mean")  # which has the own titles
    return [*checks, *_recompute_promises(predictions, verdict, mean, on_step)]


def read_tied(folder: Path, verdict: Verdict, predictions: "pl.DataFrame") -> "Tied | None":
    """A verdict's tie, beside what it is evidence of; None for a verdict of before there were ties.

    Raises:
      IntegrityError: a file is missing or altered.
    """
    from vmaf_assay.registry.tie_check import Tied

    if verdict.tie is None:
        return None
    tie, shipped, witness = tie_names(verdict)
    return Tied(
        ensemble=verdict.ensemble,
        seeds=sorted(verdict.seeds),
        models={
            row_id: (read_model(folder, verdict, row_id), read_sidecar(folder, verdict, row_id))
            for row_id in verdict.members
        },
        predictions=predictions,
        predictions_sha256=verdict.predictions_sha256,
        tie=parse(Tie, read_bound(folder, tie, verdict.tie.tie_sha256), folder / tie),
        shipped_data=read_bound(folder, shipped, verdict.tie.shipped_sha256),
        witness_data=read_bound(folder, witness, verdict.tie.witness_sha256),
    )


def read_model(folder: Path, verdict: Verdict, row_id: str) -> bytes:
    """The model bytes of a row, as its verdict binds them. Raises IntegrityError otherwise."""
    digest = verdict.members[row_id]
    return read_bound(folder, content_name(row_id, digest, "onnx"), digest)


def read_sidecar(folder: Path, verdict: Verdict, row_id: str) -> "Sidecar":
    """The sidecar of a row, likewise."""
    from vmaf_assay.model.sidecar import Sidecar

    digest = verdict.sidecars[row_id]
    name = content_name(row_id, digest, "json")
    return parse(Sidecar, read_bound(folder, name, digest), folder / name)


def _compare_fused(folder: Path, verdict: Verdict) -> Check:
    """The fused graph, written again from its members."""
    from vmaf_assay.registry.tie_check import check_models_fused

    graphs = {row_id: read_model(folder, verdict, row_id) for row_id in verdict.members}
    try:
        check_models_fused(verdict.ensemble, sorted(verdict.seeds), graphs)
    except IntegrityError as error:
        return Check("fused graph", "differs", error.what)
    return Check("fused graph", "agrees", "written again from the members, byte for byte the same")


def _compare_tie(tied: "Tied | None") -> Check:
    """What the shipped members predict, and what sidecars say of the rows they were trained on."""
    from vmaf_assay.registry.tie_check import STATED, check_tied

    if tied is None:
        return Check("shipped members", "not comparable", OF_THAT_TIME)
    try:
        check_tied(tied)
    except IntegrityError as error:
        return Check("shipped members", "differs", error.what)
    n_rows = len(tied.shipped.pixels)
    return Check(
        "shipped members", "agrees", f"{n_rows} rows predicted again; stated, not recomputed: {', '.join(STATED)}"
    )


OF_THAT_TIME = "evidence of that time: it does not say what the shipped members predict"
"""Of verdicts given before ADR-0410."""


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
    from vmaf_assay.promise.calibrate import calibration_digest, calibration_of, coverage_of

    calibration = calibration_of(predictions, sidecar, verdict.ensemble)
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
    covered = Check("coverage", "agrees", f"{passed} of {len(again)} passed, rule {today}")
    if sidecar.task == "fr":
        return [agrees, covered]
    from vmaf_assay.registry.own_curve import compare_own  # which compares by `first_difference`

    return [agrees, covered, compare_own(calibration, verdict.calibration_sha256, on_step)]


def first_difference(said: Any, found: Any, where: str = "") -> str:  # noqa: ANN401 - any JSON value
    """Where two JSON values first differ, numbers to a millionth; '' if nowhere."""
    if isinstance(said, dict) and isinstance(found, dict):
        for key in sorted(said.keys() | found.keys()):
            if why := first_difference(said.get(key), found.get(key), f"{where}.{key}".lstrip(".")):
                return why
        return ""
    if isinstance(said, list | tuple) and isinstance(found, list | tuple) and len(said) == len(found):
        whys = (first_difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(said, found, strict=True)))
        return next((why for why in whys if why), "")
    if isinstance(said, float) and isinstance(found, float):
        return (
            ""
            if math.isclose(said, found, rel_tol=1e-6, abs_tol=1e-9)
            else f"{where} is {said:g}, found {found:g}"
        )
    return "" if said == found else f"{where} is {str(said)[:60]}, found {str(found)[:60]}"
