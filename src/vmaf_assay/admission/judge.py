"""Judge a run: the verdict recomputed from its held-out predictions, and the rows it would admit."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vmaf_assay import __version__
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import write_json_atomic
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.policy import COVERAGE_POLICY, POLICY
from vmaf_assay.registry.files import content_name
from vmaf_assay.registry.manifest import FileRef, Kind, Row
from vmaf_assay.registry.tie import TieRef
from vmaf_assay.registry.verdict import FoldPlcc, Verdict, rule_in_force
from vmaf_assay.training.evidence import RunEvidence

LICENSE = "BSD-2-Clause-Patent"


def judge(run: RunEvidence) -> Verdict:
    """Judge a run whose files have been checked. Raises CorpusError if it is not valid evidence."""
    gate, folds = run.gate()
    coverage = run.coverage()
    eligible = bool(coverage) and all(result.passed for result in coverage)
    rows = planned_rows(run, confidence_eligible=eligible)
    reasons = gate.reasons()
    facts = run.file.corpus
    return Verdict(
        verdict="HOLD" if reasons else "PROMOTE",
        ensemble=run.file.model_id,
        gate=gate,
        reasons=reasons,
        corpus={"present": True, **facts.model_dump()},
        seeds=sorted(run.file.seeds),
        protocol=run.file.protocol,
        loso_dir=run.folder.resolve().name,
        folds=[FoldPlcc(**fold) for fold in folds],
        coverage=coverage,
        confidence_eligible=eligible,
        members={row.id: row.sha256 for row in rows},
        sidecars={row.id: row.sidecar.sha256 for row in rows},
        rows={row.id: row.binding() for row in rows},
        predictions_sha256=run.file.files["predictions.parquet"],
        calibration_sha256=run.calibration_sha256(),
        policy_sha256=POLICY.digest(),
        coverage_policy_sha256=COVERAGE_POLICY.digest(),
        coverage_rule=rule_in_force(run.file.task),
        code=run.file.code.model_dump(),
        environment=dict(run.file.environment),
        parent_adr=POLICY.name,
        tie=TieRef(
            tie_sha256=run.file.files["tie.json"],
            shipped_sha256=run.file.files["shipped.parquet"],
            witness_sha256=run.file.files["witness.npy"],
            n_rows=len(np.load(io.BytesIO(run.data["witness.npy"]), allow_pickle=False)),
        ),
        measurand=run.models()[f"{run.file.model_id}_mean"][2].measurand,
        generated_at_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by=__version__,
        recommendation=(
            "do not promote; see reasons" if reasons else "promote as a separate act: `assay promote RUN`"
        ),
    )


def planned_rows(run: RunEvidence, *, confidence_eligible: bool) -> list[Row]:
    """The registry rows a run would get, in order of id, without verdicts."""
    return rows_of(
        run.file.model_id, run.models(), run.file.corpus.n_groups, confidence_eligible=confidence_eligible
    )


def rows_of(
    ensemble: str, models: Mapping[str, tuple[str, str, Sidecar]], n_groups: int, *, confidence_eligible: bool
) -> list[Row]:
    """The registry rows of an ensemble's models, in order of id, without verdicts.

    File names carry the first 12 hex digits of their content's digest, so that a promotion never overwrites a file
    that the present registry needs. Verdicts bind these rows byte for byte, and a rollback makes them again. So a
    text changed here breaks every rollback to earlier verdicts.

    Args:
      ensemble: the ensemble's id.
      models: model digest, sidecar digest and sidecar, by row id.
      n_groups: groups in the corpus.
      confidence_eligible: whether promises may use the rows.
    """
    rows = []
    for row_id, (onnx_sha256, sidecar_sha256, sidecar) in sorted(models.items()):
        kind: Kind = "ensemble" if sidecar.role == "mean" else sidecar.task
        what = "fused mean of all members" if kind == "ensemble" else "one member"
        recipe = str(sidecar.recipe.get("name", "unnamed"))[:64]
        rows.append(
            Row(
                id=row_id,
                kind=kind,
                onnx=content_name(row_id, onnx_sha256, "onnx"),
                sha256=onnx_sha256,
                opset=sidecar.opset,
                smoke=False,
                license=LICENSE,
                description=f"{ensemble}: {what}, {_TASKS[sidecar.task]}",
                notes=(
                    f"corpus {sidecar.corpus_digest[:12]}, {n_groups} groups, recipe {recipe}, "
                    f"held-out PLCC {sidecar.held_out.mean_plcc:.4f}"
                ),
                sidecar=FileRef(file=content_name(row_id, sidecar_sha256, "json"), sha256=sidecar_sha256),
                confidence_eligible=confidence_eligible,
            )
        )
    return rows


_TASKS = {
    "fr": "VMAF of an encode from its own canonical-6",
    "forecast": "VMAF of an encode not yet made, from canonical-6 of probe encodes",
}


def write_verdict(folder: Path, verdict: Verdict) -> Path:
    """Write `PROMOTE.json` or `HOLD.json` into a run, never both.

    The other is removed first: a kill in between leaves a run without a verdict, which cannot be promoted.
    """
    other = folder / ("HOLD.json" if verdict.verdict == "PROMOTE" else "PROMOTE.json")
    other.unlink(missing_ok=True)
    path = folder / f"{verdict.verdict}.json"
    write_json_atomic(path, verdict.model_dump(mode="json"))
    return path


def verdict_path(folder: Path) -> Path:
    """A run's one verdict.

    Raises:
      ConfigError: the run has no verdict, or both.
    """
    found = [path for name in ("PROMOTE", "HOLD") if (path := folder / f"{name}.json").is_file()]
    if len(found) != 1:
        what = "both PROMOTE.json and HOLD.json" if found else "no verdict"
        raise ConfigError(f"{folder} holds {what}", next_step=f"run `assay validate {folder}`")
    return found[0]
