"""What a tracking server gets of a run, or of an ensemble in production. Only what verifies is exported.

Files are exported with their names and bytes unchanged. So a downloaded run can be judged by `assay gate`, and a
downloaded registry verifies with `assay registry verify`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from vmaf_assay.admission.judge import verdict_path
from vmaf_assay.admission.promotion import check_judged
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.media.files import read_plain, sha256_bytes
from vmaf_assay.promise.policy import CoverageResult, GateResult
from vmaf_assay.registry.files import (
    MAX_FILE_BYTES,
    RESTORE,
    envelope_name,
    is_here,
    parse,
    read_bound,
    read_file,
    verdict_name,
)
from vmaf_assay.registry.history import bound_files, chain, digests_of
from vmaf_assay.registry.manifest import Registry, Row, ensemble_of
from vmaf_assay.registry.store import read_registry, verify_row
from vmaf_assay.registry.trust import Trust
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import RunEvidence

Metric = tuple[str, float, int]
"""Name, value, step."""


@dataclass(frozen=True, slots=True)
class Export:
    """One run of the tracking server."""

    kind: Literal["run", "registry"]
    """A run's folder, or an ensemble in production."""
    ensemble: str
    title: str
    """Name shown to people."""
    key: str
    """SHA-256 that shows whether the same content was exported before."""
    at_utc: str
    """When it was trained or judged, ISO 8601."""
    verdict: Literal["PROMOTE", "HOLD", "none"]
    """The verdict on it; `none` for a run that was not validated."""
    params: Mapping[str, str]
    """Recipe, corpus, seeds, code, environment."""
    metrics: list[Metric]
    """Scores; folds are steps, in order of the group's name."""
    tags: Mapping[str, str]
    """Digests, and what it is."""
    files: Mapping[str, bytes] = field(repr=False)
    """Every file, by path below `kind`."""
    history: tuple[str, ...] = ()
    """For a registry: SHA-256 of every verdict in force so far, newest first."""

    @property
    def at_ms(self) -> int:
        """`at_utc` in milliseconds since 1970."""
        return round(datetime.fromisoformat(self.at_utc).timestamp() * 1000)


def run_export(run: RunEvidence) -> Export:
    """A run, with its verdict if judging again gives the same one.

    Raises:
      IntegrityError: the verdict in the folder is not this run's.
    """
    gate, folds = run.gate()
    facts = (run.folder / "run.json", *(run.folder / f"{name}.json" for name in ("PROMOTE", "HOLD")))
    files = dict(run.data) | {
        path.name: read_plain(path, max_bytes=MAX_FILE_BYTES) for path in facts if path.exists()
    }
    verdict = _verdict_of(run, files)
    said = verdict.verdict if verdict else "none"
    mean = run.models()[f"{run.file.model_id}_mean"]
    scores = {"mean_srocc": mean[2].held_out.mean_srocc, "mean_rmse": mean[2].held_out.mean_rmse}
    verdict_sha256 = sha256_bytes(files[f"{said}.json"]) if verdict else ""
    tags = _tags(run.file.model_id, run.file.task, said, mean[0], run.file.corpus.digest)
    run_sha256 = sha256_bytes(files["run.json"])
    return Export(
        kind="run",
        ensemble=run.file.model_id,
        title=f"{run.file.model_id} run {run.folder.resolve().name}",
        key=sha256_bytes(f"{run_sha256} {verdict_sha256}".encode()),
        at_utc=run.file.generated_at_utc,
        verdict="PROMOTE" if said == "PROMOTE" else "HOLD" if said == "HOLD" else "none",
        params=_params(
            run.file.model_id,
            run.file.seeds,
            run.file.protocol,
            run.file.corpus.model_dump(),
            run.file.recipe,
            run.file.code.model_dump(),
            run.file.environment,
        ),
        metrics=_metrics(gate, folds, run.coverage(), scores),
        tags=tags | {"run_sha256": run_sha256} | ({"verdict_sha256": verdict_sha256} if verdict else {}),
        files=files,
    )


def _verdict_of(run: RunEvidence, files: Mapping[str, bytes]) -> Verdict | None:
    if not {"PROMOTE.json", "HOLD.json"} & set(files):
        return None
    path = verdict_path(run.folder)
    verdict = parse(Verdict, files[path.name], path)
    check_judged(run, verdict)
    if path.name != f"{verdict.verdict}.json":
        raise IntegrityError(f"{path} holds a {verdict.verdict}", next_step=f"run `assay validate {run.folder}`")
    return verdict


def registry_exports(folder: Path, ensemble: str | None = None, trust: Trust | None = None) -> list[Export]:
    """The ensembles that a registry has in production.

    Args:
      folder: the registry.
      ensemble: only this one.
      trust: whose signatures to accept.

    Raises:
      IntegrityError: anything in the registry is refused, or the ensemble asked for is not in production.
      ConfigError: nothing is in production.
    """
    reports = verify_registry(folder, trust=trust)
    if refused := [report for report in reports if report.status == "refused"]:
        raise IntegrityError(
            f"{folder} does not verify, nothing is exported: {refused[0].row_id}: {refused[0].reason}"
        )
    registry = read_registry(folder)
    live = sorted({ensemble_of(report.row_id) for report in reports if report.status == "production"})
    if ensemble is not None and ensemble not in live:
        raise IntegrityError(
            f"{folder} has no {ensemble} in production", next_step="see `assay registry list`, or promote a run"
        )
    if not live:
        raise ConfigError(f"{folder} has nothing in production", next_step="promote a run first")
    return [_ensemble_export(folder, registry, name) for name in ([ensemble] if ensemble else live)]


def _ensemble_export(folder: Path, registry: Registry, ensemble: str) -> Export:
    rows = [row for row in registry.rows if ensemble_of(row.id) == ensemble]
    mean = next(row for row in rows if row.id == f"{ensemble}_mean")
    _, sidecar, verdict = verify_row(folder, registry, mean)
    if mean.verdict is None:
        raise IntegrityError(f"{mean.id} has no verdict", next_step=RESTORE)
    verdicts = chain(folder, ensemble, mean.verdict)
    digests = digests_of(verdicts, mean.verdict)
    scores = {"mean_srocc": sidecar.held_out.mean_srocc, "mean_rmse": sidecar.held_out.mean_rmse}
    tags = _tags(ensemble, sidecar.task, "PROMOTE", mean.sha256, sidecar.corpus_digest)
    corpus = {key: value for key, value in verdict.corpus.items() if key != "present"}
    return Export(
        kind="registry",
        ensemble=ensemble,
        title=f"{ensemble} verdict {verdict.sequence}",
        key=digests[0],
        at_utc=verdict.act.at_utc if verdict.act else verdict.generated_at_utc,
        verdict="PROMOTE",
        params=_params(
            ensemble, verdict.seeds, verdict.protocol, corpus, sidecar.recipe, verdict.code, verdict.environment
        ),
        metrics=_metrics(verdict.gate, [fold.model_dump() for fold in verdict.folds], verdict.coverage, scores),
        tags=tags
        | {
            "verdict_sha256": digests[0],
            "sequence": str(verdict.sequence),
            "confidence_eligible": str(verdict.confidence_eligible).lower(),
        },
        files=dict(_registry_files(folder, rows, verdicts, digests)),
        history=tuple(digests),
    )


def _registry_files(
    folder: Path, rows: list[Row], verdicts: list[Verdict], digests: list[str]
) -> Iterator[tuple[str, bytes]]:
    """A registry of one ensemble that verifies by itself: its rows, its history, and all files they refer to."""
    yield "registry.json", Registry(rows=rows).to_bytes()
    ensemble = verdicts[0].ensemble
    for verdict, digest in zip(verdicts, digests, strict=True):
        name = verdict_name(ensemble, verdict.sequence)
        yield name, read_bound(folder, name, digest)
        envelope = envelope_name(ensemble, verdict.sequence)
        if (folder / envelope).exists():
            yield envelope, read_file(folder, envelope)
        for file, sha256 in bound_files(verdict).items():
            if verdict is verdicts[0] or is_here(folder, file):
                yield file, read_bound(folder, file, sha256)
    # After a killed promotion the plain copy may be one verdict behind. Rows name the numbered one.
    yield verdict_name(ensemble), read_bound(folder, verdict_name(ensemble, verdicts[0].sequence), digests[0])


def _tags(ensemble: str, task: str, verdict: str, mean_sha256: str, corpus_digest: str) -> dict[str, str]:
    return {
        "ensemble": ensemble,
        "task": task,
        "verdict": verdict,
        "model_sha256": mean_sha256,
        "corpus_digest": corpus_digest,
    }


def _params(
    ensemble: str,
    seeds: list[int],
    protocol: str,
    corpus: Mapping[str, Any],
    recipe: Mapping[str, Any],
    code: Mapping[str, Any],
    environment: Mapping[str, str],
) -> dict[str, str]:
    parts = {"corpus": corpus, "recipe": recipe, "code": code, "environment": environment}
    nested = {f"{part}.{key}": value for part, values in parts.items() for key, value in sorted(values.items())}
    said = {"ensemble": ensemble, "seeds": ",".join(map(str, seeds)), "protocol": protocol} | nested
    return {key: str(value) for key, value in said.items() if value is not None}


def _metrics(
    gate: GateResult, folds: list[dict[str, Any]], coverage: list[CoverageResult], scores: Mapping[str, float]
) -> list[Metric]:
    """The gate's numbers, every fold, and coverage: `plcc/seed0`, `fold_plcc/seed0`, `coverage/SCOPE/0.95`."""
    found: list[Metric] = [("mean_plcc", gate.mean_plcc, 0), ("plcc_spread", gate.plcc_spread, 0)]
    found += [(name, value, 0) for name, value in scores.items()]
    found += [(f"plcc/seed{seed}", value, 0) for seed, value in gate.per_seed_plccs.items()]
    groups = sorted({str(fold["held_out"]) for fold in folds})
    found += [
        (f"fold_plcc/seed{fold['seed']}", float(fold["plcc"]), groups.index(str(fold["held_out"])))
        for fold in folds
    ]
    return found + [(f"coverage/{one.scope}/{one.confidence:g}", one.coverage, 0) for one in coverage]
