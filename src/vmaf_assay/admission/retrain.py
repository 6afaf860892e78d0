"""Train an ensemble again from its corpus, and compare everything that comes out with what its verdict binds."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.admission.audit import Audit, check_corpus_digest
from vmaf_assay.admission.promotion import now_utc
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.records import Measurand
from vmaf_assay.registry.attest import Retrained
from vmaf_assay.registry.files import read_bound
from vmaf_assay.registry.history import predictions_name
from vmaf_assay.registry.recompute import Check, first_difference, read_model, read_sidecar
from vmaf_assay.registry.tie import TOLERANCE_POINTS
from vmaf_assay.registry.verdict import Verdict

if TYPE_CHECKING:
    import polars as pl

    from vmaf_assay.model.sidecar import Sidecar
    from vmaf_assay.training.evidence import RunEvidence

TOLERANCE_PLCC = 1e-4
"""How far the gate's numbers of an ensemble trained again may lie from the verdict's."""

FRESH_ROWS = 10_000
"""Rows drawn over the trained ranges, anew each time, on which models that are not the same bytes must agree."""

BYTE_FOR_BYTE = "byte for byte the same"
"""What a check says where nothing at all differs."""


def retrain(
    folder: Path,
    audited: Audit,
    corpus_dir: Path,
    workspace: Path,
    *,
    processes: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Check]:
    """Train the ensemble again from its corpus, and compare all that comes out with the verdict's.

    Models that are not the same bytes must agree on every corpus row, and on rows drawn afresh over the ranges
    *found in the corpus*, within `TOLERANCE_POINTS`. So the audited files do not choose where models are compared.

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
    from vmaf_assay.training.run import train_run

    verdict, recipe = audited.verdict, audited.sidecar.recipe
    check_corpus_digest(corpus_dir, load_corpus(corpus_dir).digest, verdict)
    name, max_steps = _recipe_today(verdict, recipe)
    train_run(
        corpus_dir,
        verdict.ensemble,
        workspace / "run",
        seeds=verdict.seeds,
        recipe=name,
        folds=None if verdict.protocol == LEAVE_ONE_OUT else int(verdict.protocol.split()[0]),
        max_steps=max_steps,
        processes=processes,
        measurand=Measurand.parse(audited.sidecar.answers),
        on_progress=on_progress,
        vocabulary=audited.sidecar.encoder_vocab_version,
    )
    again = load_run(workspace / "run")
    gate = again.gate()[0]
    checks = [
        _compare_predictions(folder, verdict, again.predictions, again.file.files["predictions.parquet"]),
        _compare_gate(verdict, gate.mean_plcc, gate.plcc_spread),
        compare_models(folder, verdict, again),
        _compare_sidecars(folder, verdict, again),
    ]
    return [*checks, _compare_held_out(folder, verdict, again)] if verdict.tie is not None else checks


def attested(audited: Audit) -> Retrained:
    """What an audit that trained again, and agrees, gives to attest to."""
    from vmaf_assay.training.run import code_facts, environment

    checks = {check.what: check for check in audited.checks}
    models, predictions = checks["retrained: models"], checks["retrained: held-out predictions"]
    n_models = len(audited.verdict.members)
    same = models.detail.startswith(f"{n_models} of {n_models} ") and predictions.detail == BYTE_FOR_BYTE
    code = code_facts()
    return Retrained(
        result="byte for byte" if same else "within tolerance",
        corpus_digest=str(audited.verdict.corpus.get("digest")),
        code={"version": code.version, "commit": code.commit or "unknown"},
        machine=environment(),
        attested_at_utc=now_utc(),
    )


def _recipe_today(verdict: Verdict, recipe: dict[str, Any]) -> tuple[str, int | None]:
    """Name and budget of the recipe, if this version trains by it as the verdict's code did."""
    from vmaf_assay.training.recipe import RECIPES

    max_steps = recipe.get("max_steps")
    name = str(recipe.get("name")).partition(",")[0]  # "forecast-v1, at most 500 steps"
    today = (
        RECIPES[name].as_dict() | {"max_steps": max_steps, "name": recipe.get("name")} if name in RECIPES else {}
    )
    # Sidecars without `prior_scale` are of 0.1.0, which drew other dropout masks under the same recipe.
    if "prior_scale" not in recipe or {key: recipe.get(key) for key in today} != today or not today:
        commit = verdict.code.get("commit") or f"version {verdict.code.get('version')}"
        raise ConfigError(f"this version trains {name} otherwise", next_step=f"use the code of {commit}")
    return name, max_steps


def _compare_predictions(folder: Path, verdict: Verdict, again: "pl.DataFrame", sha256: str) -> Check:
    import polars as pl

    from vmaf_assay.promise.calibrate import parse_predictions
    from vmaf_assay.training.run import CELL_DIGITS

    what = "retrained: held-out predictions"
    if sha256 == verdict.predictions_sha256:
        return Check(what, "agrees", BYTE_FOR_BYTE)
    name = predictions_name(verdict)
    data = read_bound(folder, name, verdict.predictions_sha256)
    # Evidence of before 2026-12-01 names cells by all digits of their keys.
    digits = pl.col("cell").str.head(CELL_DIGITS)
    said = parse_predictions(data, where=name).sort("seed", "row").with_columns(digits)
    again = again.sort("seed", "row").with_columns(digits)
    if not said.drop("prediction").equals(again.drop("prediction")):
        return Check(what, "differs", "they are of other rows")
    gap = np.abs(said["prediction"].to_numpy() - again["prediction"].to_numpy())
    return _within(what, float(gap.max()), "")


def _within(what: str, largest: float, said: str) -> Check:
    outcome = "agrees" if largest <= TOLERANCE_POINTS else "differs"
    detail = f"{said}largest difference {largest:.6f} points, tolerance {TOLERANCE_POINTS:g}"
    return Check(what, "agrees" if outcome == "agrees" else "differs", detail)


def _compare_gate(verdict: Verdict, mean_plcc: float, plcc_spread: float) -> Check:
    said = verdict.gate
    largest = max(abs(said.mean_plcc - mean_plcc), abs(said.plcc_spread - plcc_spread))
    return Check(
        "retrained: gate",
        "agrees" if largest <= TOLERANCE_PLCC else "differs",
        f"mean PLCC {mean_plcc:.6f}, largest difference {largest:.2g}, tolerance {TOLERANCE_PLCC:g}",
    )


def compare_models(folder: Path, verdict: Verdict, again: "RunEvidence") -> Check:
    """Same bytes; or every output of every graph the same on all corpus rows and on fresh ones.

    Args:
      folder: the registry.
      verdict: what binds its models.
      again: the run that was trained again.
    """
    from vmaf_assay.model.infer import open_session

    what = "retrained: models"
    found = {row_id: again.data[f"members/{row_id}.onnx"] for row_id in verdict.members}
    same = sum(sha256_bytes(data) == verdict.members[row_id] for row_id, data in found.items())
    said = f"{same} of {len(found)} files byte for byte the same"
    if same == len(found):
        return Check(what, "agrees", said)
    models = again.models()
    inputs = _inputs(again)
    largest = 0.0
    for row_id, data in found.items():
        sidecar = models[row_id][2]
        sessions = [open_session(one, sidecar) for one in (read_model(folder, verdict, row_id), data)]
        names = [output.name for output in sessions[0].get_outputs()]
        for mine, other in zip(*(session.run(names, inputs) for session in sessions), strict=True):
            gap = np.abs(np.asarray(mine, dtype=np.float64) - np.asarray(other, dtype=np.float64))
            largest = max(largest, float(np.nan_to_num(gap, nan=np.inf).max()))
    n_rows = len(inputs["codec"])
    return _within(what, largest, f"{said}; on {n_rows} rows, {FRESH_ROWS} of them drawn afresh, ")


def _inputs(again: "RunEvidence") -> dict[str, NDArray[np.float32]]:
    """Every corpus row, and fresh ones over the ranges that the corpus has."""
    tied = again.tied
    features, codec = fresh_rows(tied.mean_sidecar, FRESH_ROWS)
    return {
        "features": np.concatenate([tied.shipped.features, features]),
        "codec": np.concatenate([tied.codec, codec]),
    }


def fresh_rows(sidecar: "Sidecar", n_rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features and codec blocks drawn evenly over what a model has seen, by the system's randomness.

    Args:
      sidecar: of a model just trained, so that its ranges are the corpus's.
      n_rows: how many.
    """
    from vmaf_assay.model.codec_block import codec_rows

    generator = np.random.default_rng(int.from_bytes(os.urandom(16)))
    seen = sidecar.seen
    features = generator.uniform(seen.feature_min, seen.feature_max, (n_rows, len(seen.feature_min)))
    asked = [seen.encoders[index] for index in generator.integers(len(seen.encoders), size=n_rows)]
    rates = [float(generator.uniform(one.rate_values[0], one.rate_values[-1])) for one in asked]
    names = [one.encoder for one in asked], [one.preset for one in asked]
    return features.astype(np.float32), codec_rows(
        *names, rates, version=sidecar.encoder_vocab_version, unknown=True
    )


def _compare_sidecars(folder: Path, verdict: Verdict, again: "RunEvidence") -> Check:
    """Every fact of every sidecar, numbers to a millionth: what was seen, the bitrate model, held-out scores."""
    models = again.models()
    for row_id, (_, _, found) in models.items():
        said = read_sidecar(folder, verdict, row_id)
        unlike = {"onnx_sha256", "calibration", "held_out"}  # bound by digest, or compared with the gate
        unlike |= {"tools"} if said.tools is None else set()  # sidecars of before ADR-0435 do not name them
        if why := first_difference(said.model_dump(exclude=unlike), found.model_dump(exclude=unlike)):
            return Check("retrained: sidecars", "differs", f"{row_id}: {why}")
    same = sum(models[row_id][1] == digest for row_id, digest in verdict.sidecars.items())
    return Check("retrained: sidecars", "agrees", f"{same} of {len(models)} files byte for byte the same")


def _compare_held_out(folder: Path, verdict: Verdict, again: "RunEvidence") -> Check:
    """Digests of the leave-one-out members. Another machine class has others; the predictions then decide."""
    from vmaf_assay.registry.files import parse
    from vmaf_assay.registry.history import tie_names
    from vmaf_assay.registry.tie import Tie

    name = tie_names(verdict)[0]
    digest = verdict.tie.tie_sha256 if verdict.tie else ""
    said = parse(Tie, read_bound(folder, name, digest), folder / name).held_out_members
    found = again.tied.tie.held_out_members
    total = sum(map(len, said.values()))
    same = sum(found.get(seed, {}).get(fold) == one for seed, folds in said.items() for fold, one in folds.items())
    what = "retrained: held-out members"
    detail = f"{same} of {total} byte for byte the same"
    return Check(what, "agrees" if same == total else "not comparable", detail)
