"""A margin of the shipped calibration and the user's own titles, as an act in the verdict chain (ADR-0440)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.admission.judge import rows_of
from vmaf_assay.admission.lifecycle import gate_today, judged_today, models_of, next_verdict, with_history
from vmaf_assay.admission.promotion import Who, commit, locked, now_utc
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import canonical_json, sha256_bytes, write_bytes_atomic
from vmaf_assay.model.sidecar import ChoiceCalibration, Sidecar, TitleCurve
from vmaf_assay.outcomes.record import Outcome
from vmaf_assay.outcomes.store import OutcomeStore
from vmaf_assay.promise.calibrate import calibration_digest, calibration_of, coverage_of
from vmaf_assay.promise.policy import CoverageResult
from vmaf_assay.promise.tools import tools_reason
from vmaf_assay.records import OnStep
from vmaf_assay.registry.files import content_name
from vmaf_assay.registry.store import admitting_verdict
from vmaf_assay.registry.verdict import Act, Verdict

LEAST_TITLES = 20
"""Own titles that an encoder needs: fewer cannot show 0.95 on titles left out."""


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """What came of a recalibration."""

    verdict: Verdict
    """In force now."""
    titles: dict[str, int]
    """Own titles used, by encoder."""
    too_few: dict[str, int]
    """Own titles not used, by encoder, because they are too few."""


def recalibrate(
    folder: Path, ensemble: str, store: OutcomeStore, who: Who, on_step: OnStep | None = None
) -> Recalibrated:
    """Judge the models in force with the titles of a store in their calibration, and admit that.

    Args:
      folder: the registry; never the shipped one.
      ensemble: a forecast.
      store: the outcomes.
      who: who and why.
      on_step: told how far it is.

    Raises:
      ConfigError: the registry is the shipped one, or the ensemble does not forecast. Or it is a HOLD today, too
        few titles are there, or promises with this margin are not kept on titles left out.
      IntegrityError: a file it depends on does not verify.
    """
    check_own(folder)
    with locked(folder, who.wait_s):
        state = with_history(folder, ensemble)
        current, mean = state.history[0], f"{ensemble}_mean"
        admitting_verdict(folder, next(row for row in state.registry.rows if row.id == mean))
        table, gate = gate_today(folder, current)
        models = models_of(folder, current)
        onnx, _, sidecar = models[mean]
        if not isinstance(sidecar.calibration, ChoiceCalibration):
            raise ConfigError(f"{ensemble} does not forecast", next_step="name a forecast ensemble")
        used, few = _enough(titles_of(store.outcomes(), sidecar, onnx), store.path)
        changed = used != sidecar.calibration.titles
        again = sidecar.calibration.model_copy(update={"titles": used})
        sidecar = sidecar.model_copy(update={"calibration": again})
        calibration = calibration_of(table, sidecar, ensemble)
        coverage = coverage_of(calibration, on_step=on_step)
        _refuse_broken(coverage)
        if changed:
            record = canonical_json(sidecar.model_dump(mode="json"))
            models[mean] = (onnx, sha256_bytes(record), sidecar)
            write_bytes_atomic(folder / content_name(mean, sha256_bytes(record), "json"), record)
        rows = rows_of(ensemble, models, current.n_groups, confidence_eligible=True)
        act = Act(kind="recalibrate", at_utc=now_utc(), by=who.by, reason=who.reason)
        update = judged_today(gate, coverage, rows, sidecar.task, act) | {
            "sidecars": {row.id: row.sidecar.sha256 for row in rows},
            "calibration_sha256": calibration_digest(calibration.model_dump(mode="json")),
        }
        verdict = next_verdict(state, current, act).model_copy(update=update)
        commit(state, verdict, rows, who)
    return Recalibrated(verdict, _counts(used), few)


def _counts(titles: list[TitleCurve]) -> dict[str, int]:
    """Titles by encoder."""
    return dict(sorted(Counter(encoder for encoder, _ in {(one.encoder, one.title) for one in titles}).items()))


def _enough(found: list[TitleCurve], store: Path) -> tuple[list[TitleCurve], dict[str, int]]:
    """Titles of encoders that have enough, and how many the others have; raises ConfigError if none has enough."""
    few = {encoder: n for encoder, n in _counts(found).items() if n < LEAST_TITLES}
    used = [one for one in found if one.encoder not in few]
    if found and not used:
        raise ConfigError(
            f"no encoder has {LEAST_TITLES} own titles in {store}: "
            + ", ".join(f"{encoder} {n}" for encoder, n in few.items()),
            next_step="encode more titles with --verify first",
        )
    return used, few


def _refuse_broken(coverage: list[CoverageResult]) -> None:
    """Raise ConfigError if promises are not kept."""
    if missed := [one for one in coverage if not one.passed]:
        worst = min(missed, key=lambda one: one.coverage - one.confidence)
        raise ConfigError(
            f"not admitted: promises of {worst.confidence:g} with {worst.scope} are kept on "
            f"{100 * worst.coverage:.1f} % of {worst.n_groups} titles left out",
            next_step="use --trials 2, or train on your own titles (docs/corpus.md)",
        )


def check_own(folder: Path) -> None:
    """Raise ConfigError if a registry is the shipped one."""
    shipped = Path(__file__).parents[1] / "models"
    if folder.resolve() == shipped.resolve():
        raise ConfigError(
            "the shipped registry is not recalibrated in place",
            next_step=f"copy it (`cp -r {shipped} my-models`) and name the copy with --registry",
        )


def titles_of(outcomes: Iterable[Outcome], sidecar: Sidecar, model: str) -> list[TitleCurve]:
    """The own titles that outcomes tell of: one curve a source, encoder and preset.

    Args:
      outcomes: in order of arrival.
      sidecar: of the model.
      model: its SHA-256.

    Returns:
      Curves sorted by title, encoder and preset. An outcome counts if this model forecast it from every frame, if
      every frame was measured, and if kind, encoder, preset and tools are as calibrated. A title counts if one of
      its outcomes was promised.
    """
    pairs = {(one.encoder, one.preset): one.rate_values for one in sidecar.seen.encoders}
    by_key: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        one = outcome.delivered
        rates = pairs.get((one.encoder, one.preset))
        if (
            (one.model, one.measurand, one.span) == (model, sidecar.answers, (0, 0))
            and one.plain
            and one.whole
            and rates == list(one.forecasted.rate_values)
            and not one.forecasted.sampled
            and not tools_reason(sidecar, dict(one.tools))
        ):
            by_key.setdefault((outcome.source, one.encoder, one.preset), []).append(outcome)
    return [_curve(mine) for _, mine in sorted(by_key.items()) if any(one.delivered.promised for one in mine)]


def _curve(mine: list[Outcome]) -> TitleCurve:
    first, last = mine[0], mine[-1].delivered
    of = last.forecasted
    measured = {one.delivered.rate_value: one.delivered.measured for one in mine}
    return TitleCurve(
        day=first.day,
        encoder=last.encoder,
        host=first.host,
        known=[[rate, vmaf] for rate, vmaf in of.known],
        measured=[[rate, measured[rate]] for rate in sorted(measured)],
        mu=list(of.mu),
        preset=last.preset,
        rate_values=list(of.rate_values),
        sigma=list(of.sigma),
        targets=sorted({one.delivered.target for one in mine}),
        title=first.source,
    )
