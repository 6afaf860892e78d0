"""Train an ensemble, judge it, and promote it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from vmaf_assay.admission.judge import judge, write_verdict
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.api.paths import PathLike, registry_of
from vmaf_assay.errors import ConfigError
from vmaf_assay.promise.policy import GateResult
from vmaf_assay.records import OnStep
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.training.evidence import RunEvidence, load_run
from vmaf_assay.training.schema import RunFile
from vmaf_assay.tune.request import parse_measurand


def write_run(
    corpus: PathLike,
    out: PathLike,
    *,
    ensemble_id: str | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    recipe: str | None = None,
    folds: int | None = None,
    max_steps: int | None = None,
    engine: str = "auto",
    jobs: int | None = None,
    measurand: str | None = None,
    on_step: OnStep | None = None,
    on_commit: Callable[[str], None] | None = None,
) -> RunFile:
    """Train an ensemble, leaving out one group at a time, and write the run; what `assay train` does.

    Args:
      corpus: a finished corpus folder.
      out: the run's folder; must not exist.
      ensemble_id: which ensemble; by default the forecast of mean VMAF v0.6.1 of 8-bit encodes.
      seeds: one member a seed, two or more; the gate asks for five.
      recipe: training recipe; by default the ensemble's.
      folds: grouped folds; by default one group at a time up to 100 groups, then 20 folds.
      max_steps: budget of steps a member, where the recipe's epochs are more.
      engine: `auto`, `native` (a C compiler; the same bits everywhere), `jax`, or `jax-gpu`.
      jobs: processes; by default one a core.
      measurand: what a forecast answers in, as `vmaf_v1.0.16_3d0h mean 10-bit`; None: mean v0.6.1, 8-bit.
      on_step: called with members done.
      on_commit: called before training with the digest of the commitment.

    Raises:
      ConfigError: the extra `train` is not installed, or the request is invalid.
      CorpusError: the corpus cannot be trained on.
    """
    try:
        from vmaf_assay.training.run import train_run
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}", next_step="pip install 'vmaf-assay[train]'") from error
    return train_run(
        Path(corpus),
        ensemble_id,
        Path(out),
        seeds=seeds,
        recipe=recipe,
        folds=folds,
        max_steps=max_steps,
        engine=engine,
        processes=jobs or os.cpu_count() or 1,
        measurand=None if measurand is None else parse_measurand(measurand),
        on_progress=None if on_step is None else lambda done, total: on_step("members", done, total),
        on_commit=on_commit,
    )


def train_ensemble(
    corpus: PathLike,
    out: PathLike,
    *,
    ensemble_id: str | None = None,
    recipe: str | None = None,
    jobs: int | None = None,
    on_step: OnStep | None = None,
) -> RunEvidence:
    """`write_run` with the five seeds that the gate asks for, read back with every file of it checked.

    Args:
      corpus: as of `write_run`, like the others.
      out: the run's folder; must not exist.
      ensemble_id: which ensemble; by default the forecast of mean VMAF v0.6.1 of 8-bit encodes.
      recipe: training recipe; by default the ensemble's.
      jobs: processes; by default one a core.
      on_step: called with members done.
    """
    write_run(corpus, out, ensemble_id=ensemble_id, recipe=recipe, jobs=jobs, on_step=on_step)
    return load_run(Path(out))


def gate_run(run: RunEvidence) -> GateResult:
    """The gate, recomputed from held-out predictions; writes nothing. `passed` is the answer."""
    return run.gate()[0]


def validate_run(run: RunEvidence, *, corpus: PathLike | None = None, on_step: OnStep | None = None) -> Verdict:
    """Judge a run and write PROMOTE.json or HOLD.json into it. Never touches a registry.

    Args:
      run: from `load_run`.
      corpus: the corpus it was trained on, each prediction of which is checked; None asks only whether the run
        agrees with itself.
      on_step: called with groups judged.

    Raises:
      CorpusError: the run is no evidence, or not of this corpus.
    """
    if corpus is not None:
        from vmaf_assay.admission.corpus_match import check_belongs
        from vmaf_assay.corpus.store import load_corpus

        check_belongs(run, load_corpus(os.fspath(corpus)))
    run.coverage(on_step)
    verdict = judge(run)
    write_verdict(run.folder, verdict)
    return verdict


def promote_run(
    run: RunEvidence, registry: PathLike | None, *, who: Who | None = None, on_step: OnStep | None = None
) -> Verdict:
    """Flip an ensemble's rows to production, all or none, after running its gate again.

    Args:
      run: from `load_run`, validated.
      registry: its folder; None for `$ASSAY_REGISTRY`, else the shipped one.
      who: what the history is to say, and keys that sign.
      on_step: called with groups judged.

    Raises:
      ConfigError: the run holds no verdict, or a HOLD.
      IntegrityError: something changed since it was validated, or the registry does not verify.
    """
    run.coverage(on_step)
    return promote(run, registry_of(registry), who)
