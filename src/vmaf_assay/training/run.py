"""From a corpus to a run: train every fold x seed, predict the held-out rows, fit the final members, write all.

The run folder appears complete or not at all: it is written under another name and renamed at the end.
"""

import io
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vmaf_assay import __version__
from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.media import process
from vmaf_assay.media.files import canonical_json, sha256_bytes, sha256_file, write_bytes_atomic, write_json_atomic
from vmaf_assay.model.bitrate import BitrateModel, fit_bitrate
from vmaf_assay.model.codec_block import VOCABULARIES, VocabVersion
from vmaf_assay.model.onnx import OPSET, mean_graph, member_graph
from vmaf_assay.model.seen import seen_of
from vmaf_assay.model.sidecar import (
    HeldOut,
    ProbeSpec,
    Role,
    Sidecar,
    Task,
    first_measurand,
    probes_read,
)
from vmaf_assay.model.weights import MemberWeights, reference_predict
from vmaf_assay.promise.calibrate import calibration_from_predictions
from vmaf_assay.promise.folds import Fold, make_folds, protocol_of
from vmaf_assay.promise.metrics import plcc, rmse, srocc
from vmaf_assay.records import MEAN_VMAF, Measurand
from vmaf_assay.registry.manifest import forecast_ensemble
from vmaf_assay.registry.tie import Commitment, rounded
from vmaf_assay.training.ensembles import answers_of, model_spec
from vmaf_assay.training.recipe import RECIPES, Member, Recipe
from vmaf_assay.training.rows import TrainingRows, forecast_rows, probes_of, regressor_rows
from vmaf_assay.training.schema import CalibrationFile, CodeFacts, CorpusFacts, FoldScores, LosoFile, RunFile
from vmaf_assay.training.train import choose_engine, engine_facts, n_trained_inputs, train_stacked
from vmaf_assay.training.tying import commit, now_utc, row_pixels, write_tie

OnProgress = Callable[[int, int], None]


FRAMES_PER_CELL = 4
"""Frames of each encode the regressor is trained on. ADR-0303's corpus had 5,640 rows; with 72 frames a cell the
shipped one has 150,000, almost all of them neighbours of another."""

MANY_CELLS = 5_000
"""A corpus of more cells gives the regressor two frames of each: its evidence ships, and a row costs 40 bytes.
With one frame the seeds differed too much: an encoder's error was larger in training than on groups left out."""

CELL_DIGITS = 10
"""Digits of a cell's key by which evidence names it. The row's source, encode and truth are compared as well.
Two cells of the same digits are refused."""


def train_run(
    corpus_dir: Path,
    model_id: str | None,
    out: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    recipe: str | None = None,
    folds: int | None = None,
    max_steps: int | None = None,
    processes: int = 1,
    engine: str = "auto",
    on_progress: OnProgress | None = None,
    on_commit: Callable[[str], None] | None = None,
    vocabulary: VocabVersion | None = None,
    measurand: Measurand | None = None,
) -> RunFile:
    """Train an ensemble on a corpus and write the run.

    Args:
      corpus_dir: a finished corpus.
      model_id: `REGRESSOR`, or None for the ensemble that forecasts `measurand`.
      out: the run's folder; must not exist.
      seeds: two or more distinct seeds, one member each, in any order.
      recipe: name of a recipe; by default the model's.
      folds: number of grouped folds; None leaves out one group at a time unless there are many groups.
      max_steps: most steps of a member, if the recipe's epochs are more.
      processes: processes to train in; the result does not depend on it.
      engine: what trains, one of `training.train.ENGINES`.
      on_progress: called with (members trained, members).
      on_commit: called before training with the digest of the commitment, for whoever publishes it.
      vocabulary: of a model that is trained again; by default the first that knows the encoders.
      measurand: what a forecast answers in; by default mean VMAF v0.6.1 of 8-bit encodes.

    Raises:
      ConfigError: unknown model or recipe, doubled seeds, or `out` exists.
      CorpusError: the corpus lacks inputs of the model.
    """
    model_id = model_id or forecast_ensemble(measurand or MEAN_VMAF)
    answers = answers_of(model_id, measurand)
    spec = model_spec(model_id, answers)
    plan = _check_request(recipe or spec.recipe, seeds, max_steps, out)
    seeds = sorted(seeds)
    corpus = _corpus(corpus_dir, spec.task)
    rows = _rows_of(corpus, answers, vocabulary)
    left_out = make_folds(rows.group, folds)
    chosen = choose_engine(engine, plan)
    members = _members(rows, left_out, seeds)
    trained_by = engine_facts(chosen, n_trained_inputs(rows.features, rows.codec), plan)
    commitment = _commitment((model_id, spec.task), corpus, rows, left_out, seeds, plan, trained_by, answers)
    with _whole(out) as folder:
        announce = on_commit or (lambda _digest: None)
        announce(commit(folder, commitment))
        started = time.monotonic()
        weights = _train(rows, members, plan, processes, chosen, on_progress)
        return _write(folder, _trained(corpus, rows, left_out, commitment, plan, weights, started))


def _trained(
    corpus: Corpus,
    rows: TrainingRows,
    folds: Sequence[Fold],
    commitment: Commitment,
    recipe: Recipe,
    weights: Sequence[MemberWeights],
    started: float,
) -> "_Trained":
    """What a run is written from; `weights` in the order of `_members`."""
    n_held_out = len(commitment.seeds) * len(folds)
    return _Trained(
        corpus=corpus,
        rows=rows,
        folds=folds,
        commitment=commitment,
        recipe=recipe,
        predictions=_predictions(rows, folds, commitment.seeds, weights[:n_held_out]),
        held_out=weights[:n_held_out],
        members=weights[n_held_out:],
        wall_time_s=time.monotonic() - started,
    )


def _commitment(
    model: tuple[str, Task],
    corpus: Corpus,
    rows: TrainingRows,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    recipe: Recipe,
    trained_by: dict[str, str],
    answers: Measurand,
) -> Commitment:
    """What decides the bytes that come out of training."""
    model_id, task = model
    return Commitment(
        model_id=model_id,
        task=task,
        measurand=None if str(answers) == first_measurand(task) else str(answers),
        seeds=list(seeds),
        corpus_digest=corpus.digest,
        n_rows=len(rows.target),
        protocol=protocol_of({rows.group[row]: fold.held_out for fold in folds for row in fold.test}),
        recipe=_recipe_record(recipe, rows),
        code=code_facts().model_dump(),
        engine=trained_by,
        made_at_utc=now_utc(),
    )


def _train(
    rows: TrainingRows,
    members: Sequence[Member],
    recipe: Recipe,
    processes: int,
    engine: str,
    on_progress: OnProgress | None,
) -> list[MemberWeights]:
    return train_stacked(
        rows.features,
        rows.codec,
        rows.target,
        members,
        recipe,
        prior_scale=rows.prior_scale,
        processes=processes,
        engine=engine,
        on_progress=on_progress,
    )


def _members(rows: TrainingRows, folds: Sequence[Fold], seeds: Sequence[int]) -> list[Member]:
    """One member for every seed and fold, then one a seed on all rows: those that ship."""
    held_out = [Member(seed, fold.train) for seed in seeds for fold in folds]
    return held_out + [Member(seed, np.arange(len(rows.target))) for seed in seeds]


@dataclass(frozen=True, slots=True)
class _Trained:
    """Everything needed to write a run."""

    corpus: Corpus
    rows: TrainingRows
    folds: Sequence[Fold]
    commitment: Commitment
    """What was written down before training."""
    recipe: Recipe
    predictions: pl.DataFrame
    """Held-out predictions of every seed."""
    held_out: Sequence[MemberWeights]
    """Leave-one-out members: every fold of the first seed, then of the next."""
    members: Sequence[MemberWeights]
    """One a seed, trained on all rows."""
    wall_time_s: float

    @property
    def answers(self) -> Measurand:
        """What the members answer in."""
        said = self.commitment.measurand
        return Measurand.parse(said or first_measurand(self.commitment.task))


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that is renamed to it at the end, so that a reader sees all of a run or nothing."""
    temporary = out.with_name(f".{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_request(name: str, seeds: Sequence[int], max_steps: int | None, out: Path) -> Recipe:
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}", next_step=f"choose one of {', '.join(RECIPES)}")
    if len(set(seeds)) != len(seeds) or len(seeds) < 2:
        raise ConfigError("an ensemble needs two or more different seeds", next_step="use --seeds 0,1,2,3,4")
    if min(seeds) < 0 or max(seeds) >= 2**31:
        raise ConfigError(
            f"seeds are 0 to 2147483647, not {min(seeds)} to {max(seeds)}", next_step="use --seeds 0,1"
        )
    if out.exists():
        raise ConfigError(f"{out} exists", next_step="choose another -o or remove it")
    plan = RECIPES[name]
    if max_steps is not None:
        plan = replace(plan, name=f"{name}, at most {max_steps} steps", max_steps=max_steps)
    return plan


def _corpus(folder: Path, task: Task) -> Corpus:
    """The corpus; refused for a forecast if its encodes have --encoder-args, which a forecast cannot ask for."""
    corpus = load_corpus(folder)
    given = next((cell for cell in corpus.cells if cell.encoder_args), None)
    if given and task == "forecast":
        raise CorpusError(
            f"{given.encoder} cells of this corpus were encoded with {given.encoder_args!r}, which a forecast "
            "cannot ask for",
            next_step="train on a corpus built without --encoder-args",
        )
    return corpus


def _rows_of(corpus: Corpus, answers: Measurand, vocabulary: VocabVersion | None = None) -> TrainingRows:
    if answers.pooling == "frame":
        few = len(corpus.cells) <= MANY_CELLS
        rows = regressor_rows(corpus, frames_per_cell=FRAMES_PER_CELL if few else 2, vocabulary=vocabulary)
    else:
        rows = forecast_rows(corpus, vocabulary=vocabulary, measurand=answers)
    _check_groups(rows)
    return rows


def _check_groups(rows: TrainingRows) -> None:
    """Refuse a group without a defined correlation before the training, not after it."""
    of_row = np.array(rows.group)
    for name in np.unique(of_row):
        target = rows.target[of_row == name]
        if np.ptp(target) == 0:
            raise CorpusError(
                f"all {len(target)} rows of group {name} have the same VMAF: no correlation exists",
                next_step="measure it at more rate values, or leave it out",
            )


def _predictions(
    rows: TrainingRows, folds: Sequence[Fold], seeds: Sequence[int], weights: Sequence[MemberWeights]
) -> pl.DataFrame:
    """Predictions of every row for every seed, from the member that left its group out."""
    tables = []
    for index, (seed, fold) in enumerate((seed, fold) for seed in seeds for fold in folds):
        at = fold.test
        predicted = reference_predict(weights[index], rows.features[at], rows.codec[at])
        columns: dict[str, Any] = {"cell": [rows.cell[i][:CELL_DIGITS] for i in at]}
        for name in ("group", "source", "encoder", "preset"):
            columns[name] = [getattr(rows, name)[i] for i in at]
        columns |= {
            "rate_value": rows.rate_value[at],
            "frame_index": rows.frame_index[at],
            "truth": rows.target[at],
            "prediction": rounded(predicted),
        }
        head = {"seed": np.full(len(at), seed, dtype=np.int32), "fold": [fold.held_out] * len(at)}
        tables.append(pl.DataFrame(head | {"row": at.astype(np.int64)} | columns))
    return pl.concat(tables).sort("seed", "row")


def _write(folder: Path, trained: _Trained) -> RunFile:
    """Write every file of a run into `folder`, `run.json` last."""
    corpus, rows = trained.corpus, trained.rows
    task, model_id = trained.commitment.task, trained.commitment.model_id
    predictions, recipe = trained.predictions, trained.recipe
    answers = trained.answers
    probes = probes_of(corpus, answers) if task == "forecast" else ()
    buffer = io.BytesIO()
    # Encodes of one source side by side: half the size.
    together = predictions.sort("source", "encoder", "preset", "rate_value", "row", "seed")
    together.write_parquet(buffer, compression="zstd", compression_level=19)
    write_bytes_atomic(folder / "predictions.parquet", buffer.getvalue())
    seeds = sorted(set(predictions["seed"].to_list()))
    losos = [_loso(trained, seed) for seed in seeds]
    for loso in losos:
        write_json_atomic(folder / f"loso_seed{loso.seed}.json", loso.model_dump(mode="json"))
    calibration = calibration_from_predictions(
        predictions, task, model_id, corpus.digest, probes, measurand=str(answers)
    )
    document = CalibrationFile(calibration=calibration)
    write_json_atomic(folder / "calibration.json", document.model_dump(mode="json"), indent=None)
    bitrate = bitrate_of(corpus, rows, probes) if task == "forecast" else None
    base = _sidecar_base(trained, losos) | {"probes": list(probes)}
    for seed, weights in zip(seeds, trained.members, strict=True):
        data = member_graph(weights)
        _write_model(folder, f"{model_id}_seed{seed}", data, "member", base)
    mean_extra = {"calibration": calibration, "bitrate": bitrate and bitrate.model_dump(mode="json")}
    _write_model(folder, f"{model_id}_mean", mean_graph(trained.members), "mean", base | mean_extra)
    pixels = row_pixels(corpus, rows)
    write_tie(folder, trained.commitment, rows, pixels, trained.folds, trained.held_out, trained.members)
    run = RunFile(
        model_id=model_id,
        task=task,
        seeds=seeds,
        corpus=CorpusFacts(
            digest=corpus.digest, n_rows=len(rows.target), n_cells=len(corpus.cells), n_groups=len(set(rows.group))
        ),
        recipe=_recipe_record(recipe, rows),
        code=CodeFacts(**trained.commitment.code),
        environment=environment() | trained.commitment.engine,
        files={str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()},
        generated_at_utc=now_utc(),
        protocol=trained.commitment.protocol,
        notes={"bitrate_held_out_error": bitrate.held_out_error} if bitrate else {},
    )
    write_json_atomic(folder / "run.json", run.model_dump(mode="json"))
    return run


def _loso(trained: _Trained, seed: int) -> LosoFile:
    rows, folds, recipe = trained.rows, trained.folds, trained.recipe
    mine = trained.predictions.filter(pl.col("seed") == seed)
    training = {fold.held_out: (len(fold.train), sorted({rows.group[i] for i in fold.train})) for fold in folds}
    scores = []
    for (group, name), part in sorted(mine.group_by("group", "fold", maintain_order=True), key=lambda kv: kv[0]):
        n_train, train_groups = training[str(name)]
        truth, predicted = part["truth"].to_numpy(), part["prediction"].to_numpy()
        scores.append(
            FoldScores(
                held_out=str(group),
                plcc=plcc(truth, predicted),
                srocc=srocc(truth, predicted),
                rmse=rmse(truth, predicted),
                n_train=n_train,
                n_val=part.height,
                train_groups=train_groups,
            )
        )
    plccs = np.array([score.plcc for score in scores])
    return LosoFile(
        seed=seed,
        corpus={"digest": trained.corpus.digest, "n_rows": len(rows.target)},
        n_folds=len(scores),
        folds=scores,
        mean_plcc=float(plccs.mean()),
        std_plcc=float(plccs.std()),
        min_plcc=float(plccs.min()),
        max_plcc=float(plccs.max()),
        mean_srocc=float(np.mean([score.srocc for score in scores])),
        mean_rmse=float(np.mean([score.rmse for score in scores])),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        num_codecs=rows.codec.shape[1],
        encoder_vocab_version=rows.vocab_version,
        wall_time_s=round(trained.wall_time_s, 3),
    )


def bitrate_of(corpus: Corpus, rows: TrainingRows, probes: Sequence[ProbeSpec]) -> BitrateModel | None:
    """The bitrate forecast, or None for a corpus without bitrates (an imported one)."""
    cells = {cell.key: cell for cell in corpus.cells}
    if min(cell.kbps for cell in corpus.cells) <= 0:
        return None
    by_setting = {
        (c.source, c.encoder, c.preset, c.rate_value, Measurand.parse(c.measurand).bit_depth): c.kbps
        for c in corpus.cells
    }
    probe_kbps = np.array(
        [
            [by_setting[source, *_setting(probes[i])] for i in probes_read(probes, encoder)]
            for source, encoder in zip(rows.source, rows.encoder, strict=True)
        ]
    )
    kbps = np.array([cells[key].kbps for key in rows.cell])
    return fit_bitrate(rows.encoder, rows.preset, rows.rate_value, probe_kbps, kbps, rows.group)


def _setting(probe: ProbeSpec) -> tuple[str, str, float, int]:
    return probe.encoder, probe.preset, probe.rate_value, probe.bit_depth


def _sidecar_base(trained: _Trained, losos: Sequence[LosoFile]) -> dict[str, Any]:
    corpus, rows = trained.corpus, trained.rows
    return {
        "task": trained.commitment.task,
        "measurand": trained.commitment.measurand,
        "feature_names": list(rows.feature_names),
        "encoder_vocab_version": rows.vocab_version,
        "encoder_vocab": list(VOCABULARIES[rows.vocab_version]),
        "opset": OPSET,
        "seen": seen_of(rows.encoder, rows.preset, rows.rate_value, rows.features, row_pixels(corpus, rows)),
        "recipe": _recipe_record(trained.recipe, rows),
        "corpus_digest": corpus.digest,
        "tools": _tools_of(corpus),
        "held_out": HeldOut(
            mean_plcc=float(np.mean([loso.mean_plcc for loso in losos])),
            mean_srocc=float(np.mean([loso.mean_srocc for loso in losos])),
            mean_rmse=float(np.mean([loso.mean_rmse for loso in losos])),
        ),
    }


def _tools_of(corpus: Corpus) -> dict[str, list[str]]:
    """Every version of every tool that the corpus was measured with, by name."""
    found: dict[str, set[str]] = {}
    for cell in corpus.cells:
        for name, version_text in cell.versions.items():
            found.setdefault(name, set()).add(version_text)
    return {name: sorted(versions) for name, versions in sorted(found.items())}


def _recipe_record(recipe: Recipe, rows: TrainingRows) -> dict[str, Any]:
    """The recipe with its feature scales; runs written before 2026-11-25 lack `prior_scale`."""
    return recipe.as_dict() | {"prior_scale": [float(scale) for scale in rows.prior_scale]}


def _write_model(folder: Path, name: str, data: bytes, role: Role, base: dict[str, Any]) -> None:
    sidecar = Sidecar(id=name, role=role, onnx_sha256=sha256_bytes(data), **base)
    write_bytes_atomic(folder / "members" / f"{name}.onnx", data)
    # Without spaces: every load reads and hashes it.
    record = canonical_json(sidecar.model_dump(mode="json"))
    write_bytes_atomic(folder / "members" / f"{name}.json", record + b"\n")


def code_facts() -> CodeFacts:
    """Package version, and the commit if the package runs from its own checkout."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists() or not shutil.which("git"):
        return CodeFacts(version=__version__)
    head = process.run(["git", "-C", str(root), "rev-parse", "HEAD"], timeout_s=30)
    status = process.run(["git", "-C", str(root), "status", "--porcelain", "--", "src"], timeout_s=30)
    if head.exit_code != 0 or status.exit_code != 0:
        return CodeFacts(version=__version__)
    return CodeFacts(version=__version__, commit=head.stdout.decode().strip(), dirty=bool(status.stdout.strip()))


def environment() -> dict[str, str]:
    """Versions, platform and cores of this machine."""
    names = ("numpy", "scipy", "onnx", "onnxruntime", "polars")
    facts = {name: version(name) for name in names}
    return facts | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
    }
