"""Read a run as evidence: every file against its digest, and the judgement recomputed from its predictions."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from pydantic import BaseModel, ValidationError

from vmaf_assay.errors import CorpusError, IntegrityError
from vmaf_assay.evaluate.choice import Curve
from vmaf_assay.evaluate.gate import CoverageResult, choice_coverage, evaluate_gate, interval_coverage
from vmaf_assay.evaluate.policy import GateResult
from vmaf_assay.media.files import canonical_json, read_json_strict, sha256_bytes, sha256_file
from vmaf_assay.model.onnx import check_graph
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.runs.calibrate import calibration_from_predictions
from vmaf_assay.runs.schema import (
    CalibrationFile,
    ChoiceCalibration,
    IntervalCalibration,
    LosoFile,
    RunFile,
)

_Model = TypeVar("_Model", bound=BaseModel)


def curves_of(calibration: ChoiceCalibration) -> list[Curve]:
    """Held-out curves as arrays, with what the probes know of each."""
    probes = [(probe.encoder, probe.preset, probe.rate_value) for probe in calibration.probes]
    return [
        Curve(
            group=c.group,
            source=c.source,
            encoder=c.encoder,
            preset=c.preset,
            rate_values=np.array(c.rate_values),
            mu=np.array(c.mu),
            sigma=np.array(c.sigma),
            truth=np.array(c.truth),
            known={
                rate_value: truth
                for rate_value, truth in zip(c.rate_values, c.truth, strict=True)
                if (c.encoder, c.preset, rate_value) in probes
            },
        )
        for c in calibration.curves
    ]


def coverage_of(calibration: IntervalCalibration | ChoiceCalibration) -> list[CoverageResult]:
    """The coverage policy on a calibration."""
    if isinstance(calibration, ChoiceCalibration):
        return choice_coverage(curves_of(calibration))
    return interval_coverage({group.group: group.residuals for group in calibration.groups})


@dataclass(frozen=True)
class RunEvidence:
    """A run whose every file matches `run.json`."""

    folder: Path
    """Where it is."""
    file: RunFile
    """Its `run.json`."""
    calibration: IntervalCalibration | ChoiceCalibration
    """Its calibration, equal to what its predictions give."""

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """Held-out predictions."""
        return read_predictions(self.folder / "predictions.parquet")

    def gate(self) -> tuple[GateResult, list[dict[str, Any]]]:
        """The gate, recomputed; and its fold table."""
        return evaluate_gate(self.predictions, self.file.seeds)

    def coverage(self) -> list[CoverageResult]:
        """The coverage policy, recomputed."""
        return coverage_of(self.calibration)

    def calibration_sha256(self) -> str:
        """SHA-256 of the calibration's canonical JSON."""
        return calibration_digest(self.calibration.model_dump(mode="json"))

    def models(self) -> dict[str, tuple[str, str, Sidecar]]:
        """Model digest, sidecar digest and sidecar, by row id."""
        found = {}
        for seed in [*map(str, self.file.seeds), None]:
            row_id = f"{self.file.model_id}_mean" if seed is None else f"{self.file.model_id}_seed{seed}"
            onnx, sidecar = f"members/{row_id}.onnx", f"members/{row_id}.json"
            parsed = _parse(Sidecar, self.folder / sidecar)
            if parsed.id != row_id or parsed.onnx_sha256 != self.file.files[onnx]:
                raise IntegrityError(f"{sidecar} describes another model", next_step="train again")
            found[row_id] = (self.file.files[onnx], self.file.files[sidecar], parsed)
        return found


def calibration_digest(calibration: dict[str, Any]) -> str:
    """SHA-256 of a calibration's canonical JSON."""
    return sha256_bytes(canonical_json(calibration))


def read_predictions(path: Path) -> pl.DataFrame:
    """`predictions.parquet` as a table. Raises IntegrityError if it cannot be read."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise IntegrityError(f"{path} cannot be read", next_step="restore it or train again") from error


def load_run(folder: Path) -> RunEvidence:
    """Read a run and check every file, the folds, the models and the calibration.

    Raises:
      CorpusError: not a run, unfinished, a dry run, or the folds leak.
      IntegrityError: a file is missing, extra or changed, or something contradicts the predictions.
    """
    if not (folder / "run.json").is_file():
        raise CorpusError(f"{folder} holds no run (no run.json)", next_step="make one with `assay train`")
    file = _parse(RunFile, folder / "run.json")
    if file.dry_run:
        raise CorpusError(f"{folder} is a dry run, never evidence", next_step="train for real")
    _check_files(folder, file)
    for seed in file.seeds:
        _check_loso(_parse(LosoFile, folder / f"loso_seed{seed}.json"), file, seed)
    calibration = _parse(CalibrationFile, folder / "calibration.json").calibration
    run = RunEvidence(folder, file, calibration)
    _check_predictions(run)
    probes = calibration.probes if isinstance(calibration, ChoiceCalibration) else ()
    again = calibration_from_predictions(run.predictions, file.task, file.model_id, file.corpus.digest, probes)
    if again != calibration:
        raise IntegrityError(
            f"{folder}: calibration.json is not what the predictions give", next_step="train again"
        )
    for row_id, (_, _, sidecar) in run.models().items():
        check_graph((folder / f"members/{row_id}.onnx").read_bytes())
        if sidecar.role == "mean" and (
            sidecar.calibration != calibration.model_dump(mode="json") or list(probes) != sidecar.probes
        ):
            raise IntegrityError(f"{row_id}: its sidecar holds another calibration", next_step="train again")
    return run


def required_files(file: RunFile) -> set[str]:
    """Every file a run must hold besides `run.json` and its verdict."""
    ids = [f"{file.model_id}_seed{seed}" for seed in file.seeds] + [f"{file.model_id}_mean"]
    models = {f"members/{row_id}.{suffix}" for row_id in ids for suffix in ("onnx", "json")}
    return models | {f"loso_seed{seed}.json" for seed in file.seeds} | {"predictions.parquet", "calibration.json"}


def _check_files(folder: Path, file: RunFile) -> None:
    wanted = required_files(file)
    if wanted != set(file.files):
        odd = sorted(wanted ^ set(file.files))
        raise CorpusError(f"{folder}: run.json does not list {odd[0]} as it should", next_step="train again")
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() or p.is_symlink()}
    present -= {"run.json", "PROMOTE.json", "HOLD.json"}
    if missing := sorted(wanted - present):
        raise CorpusError(f"{folder} lacks {missing[0]}", next_step="train again")
    if extra := sorted(present - wanted):
        raise IntegrityError(f"{folder} holds {extra[0]}, which no run has", next_step="remove it")
    for name, digest in file.files.items():
        if (folder / name).is_symlink():
            raise IntegrityError(f"{folder / name} is a symbolic link", next_step="copy the file")
        if sha256_file(folder / name) != digest:
            raise IntegrityError(f"{folder / name} has changed since the run", next_step="train again")


def _check_loso(loso: LosoFile, file: RunFile, seed: int) -> None:
    where = f"loso_seed{seed}.json"
    if loso.seed != seed:
        raise CorpusError(f"{where} is of seed {loso.seed}", next_step="train again")
    if loso.corpus.get("digest") != file.corpus.digest:
        raise CorpusError(f"{where} is of another corpus than the run", next_step="train on one corpus")
    names = [fold.held_out for fold in loso.folds]
    if len(set(names)) != len(names) or not len(names) == loso.n_folds == file.corpus.n_groups:
        raise CorpusError(
            f"{where} has {len(set(names))} folds for {file.corpus.n_groups} groups", next_step="train every fold"
        )
    for fold in loso.folds:
        if fold.held_out in fold.train_groups:
            raise CorpusError(
                f"{where}: group {fold.held_out} was in its own training rows", next_step="train again"
            )


def _check_predictions(run: RunEvidence) -> None:
    table = run.predictions
    if "group" not in table.columns or "row" not in table.columns or "seed" not in table.columns:
        raise CorpusError("predictions have no column group, row or seed", next_step="train again")
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
    run.gate()  # refuses what is not evidence before anything is derived from it


def _parse(kind: type[_Model], path: Path) -> _Model:
    try:
        return kind.model_validate(read_json_strict(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise IntegrityError(f"{path}: {where}: {first['msg']}", next_step="restore it or train again") from error
