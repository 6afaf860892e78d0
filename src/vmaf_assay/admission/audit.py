"""The audit: everything that admitted an ensemble, computed again as far down as asked, even from the corpus."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.records import OnStep
from vmaf_assay.registry.files import read_bound, read_file, verdict_name
from vmaf_assay.registry.history import predictions_name
from vmaf_assay.registry.recompute import Check, recompute
from vmaf_assay.registry.signing import Signed
from vmaf_assay.registry.store import read_registry, verify_row
from vmaf_assay.registry.trust import Trust, signatures_on
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry

if TYPE_CHECKING:
    import polars as pl

    from vmaf_assay.model.sidecar import Sidecar

TOLERANCE_POINTS = 0.01
"""How far predictions of a model trained again may lie from the verdict's, VMAF points. On the same class of
machine with the same libraries they are the same bytes; elsewhere sums are taken in another order."""

TOLERANCE_PLCC = 1e-4
"""The same for the gate's numbers."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that admitted an ensemble, for one page."""

    ensemble: str
    status: str
    """`verified`, or why it is refused."""
    verdict: Verdict
    """The verdict in force."""
    verdict_sha256: str
    """SHA-256 of its file."""
    sidecar: "Sidecar"
    """The fused model's sidecar."""
    sources: list[str]
    """Sources of the held-out predictions."""
    per_seed: "dict[int, SeedScores]"
    signed: Signed | None
    """Signatures on the verdict; None if there are none."""
    checks: list[Check]
    """What was computed again."""

    @property
    def agrees(self) -> bool:
        """Whether nothing that was computed again differs."""
        return self.status == "verified" and all(check.outcome != "differs" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """As JSON: every fact in full."""
        verdict = self.verdict
        return {
            "ensemble": self.ensemble,
            "agrees": self.agrees,
            "status": self.status,
            "verdict_sha256": self.verdict_sha256,
            "verdict": verdict.model_dump(mode="json", exclude={"folds"}),
            "recipe": self.sidecar.recipe,
            "sources": self.sources,
            "per_seed": {str(seed): asdict(scores) for seed, scores in self.per_seed.items()},
            "signed_by": self.signed.key_ids if self.signed else [],
            "signed_at_utc": self.signed.signed_at_utc if self.signed else None,
            "signatures_expire_at_utc": self.signed.expires_at_utc if self.signed else None,
            "checks": [asdict(check) for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class SeedScores:
    """One seed's PLCC over its folds."""

    mean: float
    lowest: float
    """Lowest fold."""
    lowest_group: str
    """The group it left out."""


def audit(
    folder: Path,
    ensemble: str,
    *,
    deep: bool = True,
    trust: Trust | None = None,
    on_step: OnStep | None = None,
) -> Audit:
    """Verify an ensemble, compute its verdict's evidence again, and gather what admitted it.

    Args:
      folder: the registry.
      ensemble: whose rows.
      deep: compute calibration and coverage too, not the gate alone.
      trust: whose signatures to believe.
      on_step: told how far it is.

    Raises:
      ConfigError: the registry has no such ensemble in service.
      IntegrityError: it cannot even be read.
    """
    from vmaf_assay.promise.calibrate import parse_predictions

    registry = read_registry(folder)
    row = registry.row(f"{ensemble}_mean")
    if row is None:
        raise ConfigError(f"{folder} has no row {ensemble}_mean", next_step="see `assay registry list`")
    _, sidecar, verdict = verify_row(folder, registry, row)
    name = verdict_name(ensemble, verdict.sequence)
    verdict_bytes = read_file(folder, name)
    status = "verified"
    for report in verify_registry(folder, ensemble=ensemble, trust=trust, on_step=on_step):
        if report.status == "refused":
            status = f"{report.row_id}: {report.reason}"
            break
    predictions_file = predictions_name(verdict)
    data = read_bound(folder, predictions_file, verdict.predictions_sha256)
    table = parse_predictions(data, where=str(folder / predictions_file))
    return Audit(
        ensemble=ensemble,
        status=status,
        verdict=verdict,
        verdict_sha256=sha256_bytes(verdict_bytes),
        sidecar=sidecar,
        sources=sorted(set(table["source"].to_list())),
        per_seed={seed: _scores(verdict, seed) for seed in verdict.seeds},
        signed=signatures_on(folder, verdict, verdict_bytes),
        checks=recompute(folder, verdict, sidecar, deep=deep, on_step=on_step),
    )


def _scores(verdict: Verdict, seed: int) -> SeedScores:
    folds = [fold for fold in verdict.folds if fold.seed == seed]
    worst = min(folds, key=lambda fold: fold.plcc)
    return SeedScores(sum(fold.plcc for fold in folds) / len(folds), worst.plcc, worst.held_out)


def retrain(
    folder: Path,
    audited: Audit,
    corpus_dir: Path,
    workspace: Path,
    *,
    processes: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Check]:
    """Train the ensemble again from its corpus, and compare predictions, gate and models with the verdict's.

    Args:
      folder: the registry.
      audited: what `audit` found.
      corpus_dir: the corpus it was trained on.
      workspace: an empty folder for the run.
      processes: processes to train in; the result does not depend on it.
      on_progress: called with (members trained, members).

    Raises:
      ConfigError: another corpus, or a recipe that this version does not have.
    """
    from vmaf_assay.corpus.store import load_corpus
    from vmaf_assay.promise.folds import LEAVE_ONE_OUT
    from vmaf_assay.training.evidence import load_run
    from vmaf_assay.training.recipe import RECIPES
    from vmaf_assay.training.run import train_run

    verdict, recipe = audited.verdict, audited.sidecar.recipe
    if load_corpus(corpus_dir).digest != verdict.corpus.get("digest"):
        raise ConfigError(
            f"{corpus_dir} is not the corpus of verdict {verdict.sequence}",
            next_step=f"name the one with digest {str(verdict.corpus.get('digest'))[:12]}",
        )
    name = str(recipe.get("name"))
    today = RECIPES[name].as_dict() | {"max_steps": recipe.get("max_steps")} if name in RECIPES else {}
    # Sidecars without `prior_scale` are of 0.1.0, which drew other dropout masks under the same recipe.
    if "prior_scale" not in recipe or {key: recipe.get(key) for key in today} != today or not today:
        commit = verdict.code.get("commit") or f"version {verdict.code.get('version')}"
        raise ConfigError(f"this version trains {name} otherwise", next_step=f"use the code of {commit}")
    train_run(
        corpus_dir,
        verdict.ensemble,
        workspace / "run",
        seeds=verdict.seeds,
        recipe=name,
        folds=None if verdict.protocol == LEAVE_ONE_OUT else int(verdict.protocol.split()[0]),
        max_steps=recipe.get("max_steps"),
        processes=processes,
        on_progress=on_progress,
        vocabulary=audited.sidecar.encoder_vocab_version,
    )
    again = load_run(workspace / "run")
    return [
        _compare_predictions(folder, verdict, again.predictions, again.file.files["predictions.parquet"]),
        _compare_gate(verdict, again.gate()[0].mean_plcc, again.gate()[0].plcc_spread),
        _compare_models(folder, verdict, audited.sidecar, workspace / "run" / "members"),
    ]


def _compare_predictions(folder: Path, verdict: Verdict, again: "pl.DataFrame", sha256: str) -> Check:
    from vmaf_assay.promise.calibrate import parse_predictions

    what = "retrained: held-out predictions"
    if sha256 == verdict.predictions_sha256:
        return Check(what, "agrees", "byte for byte the same")
    name = predictions_name(verdict)
    data = read_bound(folder, name, verdict.predictions_sha256)
    said = parse_predictions(data, where=name).sort("seed", "row")
    again = again.sort("seed", "row")
    if not said.drop("prediction").equals(again.drop("prediction")):
        return Check(what, "differs", "they are of other rows")
    largest = float(np.abs(said["prediction"].to_numpy() - again["prediction"].to_numpy()).max())
    return Check(
        what,
        "agrees" if largest <= TOLERANCE_POINTS else "differs",
        f"largest difference {largest:.6f} points, tolerance {TOLERANCE_POINTS:g}",
    )


def _compare_gate(verdict: Verdict, mean_plcc: float, plcc_spread: float) -> Check:
    said = verdict.gate
    largest = max(abs(said.mean_plcc - mean_plcc), abs(said.plcc_spread - plcc_spread))
    return Check(
        "retrained: gate",
        "agrees" if largest <= TOLERANCE_PLCC else "differs",
        f"mean PLCC {mean_plcc:.6f}, largest difference {largest:.2g}, tolerance {TOLERANCE_PLCC:g}",
    )


def _compare_models(folder: Path, verdict: Verdict, sidecar: "Sidecar", members: Path) -> Check:
    """Same bytes, or fused models that answer the same over what they have seen."""
    from vmaf_assay.registry.files import content_name
    from vmaf_assay.training.evidence import sample_answers

    found = {row_id: (members / f"{row_id}.onnx").read_bytes() for row_id in verdict.members}
    same = sum(sha256_bytes(data) == verdict.members[row_id] for row_id, data in found.items())
    said = f"{same} of {len(found)} files byte for byte the same"
    if same == len(found):
        return Check("retrained: models", "agrees", said)
    mean = f"{verdict.ensemble}_mean"
    before = read_bound(folder, content_name(mean, verdict.members[mean], "onnx"), verdict.members[mean])
    answers = [sample_answers(data, sidecar)["mu"] for data in (before, found[mean])]
    largest = float(np.abs(answers[0] - answers[1]).max())
    return Check(
        "retrained: models",
        "agrees" if largest <= TOLERANCE_POINTS else "differs",
        f"{said}; the fused answers differ by {largest:.6f} points, tolerance {TOLERANCE_POINTS:g}",
    )
