"""Read a run as evidence: check every file against its digest, and judge its predictions again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from pydantic import BaseModel

from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.media.files import parse_record, read_plain, sha256_bytes
from vmaf_assay.model.infer import open_session
from vmaf_assay.model.sidecar import ChoiceCalibration, IntervalCalibration, ProbeSpec, Sidecar
from vmaf_assay.promise.calibrate import (
    calibration_digest,
    calibration_from_predictions,
    coverage_of,
    parse_predictions,
)
from vmaf_assay.promise.folds import protocol_of
from vmaf_assay.promise.gate import check_evidence, evaluate_gate, folds_of_groups
from vmaf_assay.promise.policy import CoverageResult, GateResult
from vmaf_assay.records import Measurand, OnStep
from vmaf_assay.registry.tie import Tie
from vmaf_assay.registry.tie_check import Tied, check_models_fused, check_tied
from vmaf_assay.training.schema import CalibrationFile, LosoFile, RunFile
from vmaf_assay.training.tying import TIE_FILES

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Largest file read from a run."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class RunEvidence:
    """A run whose every file matches `run.json`."""

    folder: Path
    """Where it is."""
    file: RunFile
    """Its `run.json`."""
    data: Mapping[str, bytes] = field(repr=False)
    """Bytes of every file it lists, by relative path; these are the bytes that were hashed."""
    calibration: IntervalCalibration | ChoiceCalibration
    """Its calibration, checked against its predictions."""
    _coverage: list[CoverageResult] = field(default_factory=list, init=False, repr=False, compare=False)
    """What `coverage` found."""

    @property
    def measurand(self) -> Measurand:
        """What was predicted."""
        return Measurand.parse(self.calibration.measurand)

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """Held-out predictions."""
        name = "predictions.parquet"
        return parse_predictions(self.data[name], where=str(self.folder / name))

    def gate(self) -> tuple[GateResult, list[dict[str, Any]]]:
        """The gate, recomputed; and its fold table."""
        shipped = self.tied.shipped.mean
        return evaluate_gate(self.predictions, self.file.seeds, metric=self.measurand.metric, shipped=shipped)

    @cached_property
    def tied(self) -> Tied:
        """What ties the shipped members to those judged, beside what it is evidence of."""
        found = self.models()
        return Tied(
            ensemble=self.file.model_id,
            seeds=sorted(self.file.seeds),
            models={row: (self.data[f"members/{row}.onnx"], sidecar) for row, (_, _, sidecar) in found.items()},
            predictions=self.predictions,
            predictions_sha256=self.file.files["predictions.parquet"],
            tie=_parse(Tie, self.data["tie.json"], self.folder / "tie.json"),
            shipped_data=self.data["shipped.parquet"],
            witness_data=self.data["witness.npy"],
        )

    def coverage(self, on_step: OnStep | None = None) -> list[CoverageResult]:
        """The coverage policy, recomputed from these bytes on the first call; `on_step` reports progress."""
        if not self._coverage:
            self._coverage.extend(coverage_of(self.calibration, on_step=on_step))
        return self._coverage

    def calibration_sha256(self) -> str:
        """SHA-256 of the calibration's canonical JSON."""
        return calibration_digest(self.calibration.model_dump(mode="json"))

    def models(self) -> dict[str, tuple[str, str, Sidecar]]:
        """Model digest, sidecar digest and sidecar, by row id."""
        found = {}
        for seed in [*map(str, self.file.seeds), None]:
            row_id = f"{self.file.model_id}_mean" if seed is None else f"{self.file.model_id}_seed{seed}"
            onnx, sidecar = f"members/{row_id}.onnx", f"members/{row_id}.json"
            parsed = _parse(Sidecar, self.data[sidecar], self.folder / sidecar)
            if parsed.id != row_id or parsed.onnx_sha256 != self.file.files[onnx]:
                raise IntegrityError(f"{sidecar} describes another model", next_step="train again")
            found[row_id] = (self.file.files[onnx], self.file.files[sidecar], parsed)
        return found


def load_run(folder: Path) -> RunEvidence:
    """Read a run and check every file, the folds, the models and the calibration.

    Raises:
      CorpusError: not a run, unfinished, a dry run, or the folds leak.
      IntegrityError: a file is missing, extra or changed, or something contradicts the predictions.
    """
    if not (folder / "run.json").is_file():
        raise CorpusError(f"{folder} holds no run (no run.json)", next_step="make one with `assay train`")
    path = folder / "run.json"
    file = _parse(RunFile, read_plain(path, max_bytes=MAX_FILE_BYTES), path)
    if file.dry_run:
        raise CorpusError(f"{folder} is a dry run, which is not evidence", next_step="train for real")
    data = _read_files(folder, file)
    calibration = _parse(CalibrationFile, data["calibration.json"], folder / "calibration.json").calibration
    run = RunEvidence(folder, file, data, calibration)
    gate, folds = _check_predictions(run)
    _check_commitment(run)
    folds_by_group = folds_of_groups(run.predictions)
    if file.protocol != protocol_of(folds_by_group):
        raise CorpusError(
            f"{folder}: run.json says {file.protocol}, its predictions are of {protocol_of(folds_by_group)}",
            next_step="train again",
        )
    for seed in file.seeds:
        scores = {str(fold["held_out"]): float(fold["plcc"]) for fold in folds if fold["seed"] == seed}
        name = f"loso_seed{seed}.json"
        _check_loso(_parse(LosoFile, data[name], folder / name), file, seed, folds_by_group, scores)
    probes = calibration.probes if isinstance(calibration, ChoiceCalibration) else ()
    again = calibration_from_predictions(
        run.predictions,
        file.task,
        file.model_id,
        file.corpus.digest,
        probes,
        measurand=calibration.measurand,
    )
    if again != calibration:
        raise IntegrityError(
            f"{folder}: calibration.json is not what the predictions give", next_step="train again"
        )
    _check_models(run, gate, list(probes))
    check_tied(run.tied)
    return run


def _check_commitment(run: RunEvidence) -> None:
    """The commitment made before training is the one in the tie."""
    if run.tied.tie.commitment.to_bytes() != run.data["commitment.json"]:
        raise IntegrityError(
            f"{run.folder / 'tie.json'} holds another commitment than commitment.json", next_step="train again"
        )


def required_files(file: RunFile) -> set[str]:
    """Every file a run must hold besides `run.json` and its verdict."""
    ids = [f"{file.model_id}_seed{seed}" for seed in file.seeds] + [f"{file.model_id}_mean"]
    models = {f"members/{row_id}.{suffix}" for row_id in ids for suffix in ("onnx", "json")}
    return (
        models
        | {f"loso_seed{seed}.json" for seed in file.seeds}
        | {"predictions.parquet", "calibration.json", *TIE_FILES}
    )


def _read_files(folder: Path, file: RunFile) -> dict[str, bytes]:
    """Every file of a run, read once and checked against its digest."""
    wanted = required_files(file)
    if wanted != set(file.files):
        odd = sorted(wanted ^ set(file.files))
        raise CorpusError(f"{folder}: run.json does not list {odd[0]} as expected", next_step="train again")
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}
    present -= {"run.json", "PROMOTE.json", "HOLD.json"}
    if missing := sorted(wanted - present):
        raise CorpusError(f"{folder} lacks {missing[0]}", next_step="train again")
    if extra := sorted(present - wanted):
        raise IntegrityError(f"{folder} holds an unexpected file, {extra[0]}", next_step="remove it")
    data = {}
    for name, digest in file.files.items():
        data[name] = read_plain(folder / name, max_bytes=MAX_FILE_BYTES, guarded=True, next_step="train again")
        if sha256_bytes(data[name]) != digest:
            raise IntegrityError(f"{folder / name} has changed since the run", next_step="train again")
    return data


def _check_loso(loso: LosoFile, file: RunFile, seed: int, folds: dict[str, str], scores: dict[str, float]) -> None:
    """Check a seed's folds: complete, without leaks, and equal to what its predictions give."""
    groups = set(folds)
    where = f"loso_seed{seed}.json"
    if loso.seed != seed:
        raise CorpusError(f"{where} is of seed {loso.seed}", next_step="train again")
    if loso.corpus.get("digest") != file.corpus.digest or loso.corpus.get("n_rows") != file.corpus.n_rows:
        raise CorpusError(f"{where} is of another corpus than the run", next_step="train on one corpus")
    names = [fold.held_out for fold in loso.folds]
    if sorted(names) != sorted(groups) or loso.n_folds != len(names):
        raise CorpusError(
            f"{where} has {len(set(names))} folds for {len(groups)} groups", next_step="train every fold"
        )
    for fold in loso.folds:
        if fold.held_out in fold.train_groups:
            raise CorpusError(
                f"{where}: group {fold.held_out} was in its own training rows", next_step="train again"
            )
        together = {group for group, name in folds.items() if name == folds[fold.held_out]}
        if set(fold.train_groups) != groups - together:
            raise CorpusError(
                f"{where}: fold {fold.held_out} was not trained on all groups left in",
                next_step="train again",
            )
        _check_score(f"{where}: fold {fold.held_out}", fold.plcc, scores[fold.held_out])
    _check_score(where, loso.mean_plcc, float(np.mean(list(scores.values()))))


def _check_score(where: str, said: float, measured: float) -> None:
    if abs(said - measured) > 1e-6:
        raise CorpusError(
            f"{where} says PLCC {said:.6f}, its predictions give {measured:.6f}", next_step="train again"
        )


def _check_predictions(run: RunEvidence) -> tuple[GateResult, list[dict[str, Any]]]:
    """The gate and its folds, of predictions that cover the corpus the run names."""
    # Refuses what is not evidence before anything is derived from it.
    check_evidence(run.predictions, run.file.seeds, metric=run.measurand.metric)
    table = run.predictions
    n_groups, n_rows = table["group"].n_unique(), table["row"].n_unique()
    if n_groups != run.file.corpus.n_groups:
        raise CorpusError(
            f"predictions hold {n_groups} groups, the corpus {run.file.corpus.n_groups}: a fold is missing",
            next_step="train every fold",
        )
    if n_rows != run.file.corpus.n_rows:
        raise CorpusError(
            f"predictions hold {n_rows} rows, the corpus gave {run.file.corpus.n_rows}", next_step="train again"
        )
    return run.gate()


def _check_models(run: RunEvidence, gate: GateResult, probes: list[ProbeSpec]) -> None:
    """Check that every model opens, is distinct, and that the fused one computes the members' mean."""
    models = run.models()
    if len({onnx for onnx, _, _ in models.values()}) != len(models):
        raise CorpusError("two members are the same file: sigma would say nothing", next_step="train again")
    for row_id, (_, _, sidecar) in models.items():
        expected = (run.file.task, run.file.corpus.digest, "mean" if row_id.endswith("_mean") else "member")
        if (sidecar.task, sidecar.corpus_digest, sidecar.role) != expected or sidecar.probes != probes:
            raise IntegrityError(f"the sidecar of {row_id} is not of this run", next_step="train again")
        if sidecar.answers != run.calibration.measurand:
            raise IntegrityError(
                f"{row_id} answers in {sidecar.answers}, the run's calibration is of {run.calibration.measurand}",
                next_step="train again",
            )
        if abs(sidecar.held_out.mean_plcc - gate.mean_plcc) > 1e-6:
            raise IntegrityError(f"the sidecar of {row_id} states another score", next_step="train again")
        if sidecar.role == "mean" and sidecar.calibration != run.calibration:
            raise IntegrityError(f"{row_id}: its sidecar holds another calibration", next_step="train again")
        open_session(run.data[f"members/{row_id}.onnx"], sidecar)
    graphs = {row_id: run.data[f"members/{row_id}.onnx"] for row_id in models}
    check_models_fused(run.file.model_id, sorted(run.file.seeds), graphs)


def _parse(kind: type[_Model], data: bytes, path: Path) -> _Model:
    return parse_record(kind, data, where=str(path), next_step="restore it or train again")
