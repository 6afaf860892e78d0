"""Build a corpus, train, judge, promote, and verify a registry."""

import os
from collections.abc import Sequence
from pathlib import Path

from vmaf_assay.admission.judge import judge, write_verdict
from vmaf_assay.admission.promotion import promote
from vmaf_assay.api.tuning import FORECAST_ENSEMBLE, PathLike, registry_of
from vmaf_assay.corpus.build import build_corpus as _build_cells
from vmaf_assay.corpus.layouts import Layout, check_layout
from vmaf_assay.corpus.plan import (
    Size,
    parse_encoder,
    parse_rates,
    plan_cells,
    references_of,
    with_encoder_args,
)
from vmaf_assay.corpus.sources import sources_from_manifest, sources_from_paths
from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.errors import (
    ConfigError,
)
from vmaf_assay.media.capability import check_extra_args
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.raw import parse_raw
from vmaf_assay.media.versions import tool_versions
from vmaf_assay.promise.policy import GateResult
from vmaf_assay.records import OnStep
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import RowReport
from vmaf_assay.registry.verify import verify_registry as _verify_registry
from vmaf_assay.training.evidence import RunEvidence, load_run


def build_corpus(
    sources: Sequence[PathLike],
    out: PathLike,
    *,
    encoders: Sequence[str],
    rates: Sequence[float] | str | None = None,
    manifest: PathLike | None = None,
    layout: Layout | None = None,
    raw: str | None = None,
    encoder_args: Sequence[str] = (),
    sizes: Sequence[Size] = (),
    max_frames: int | None = None,
    jobs: int | None = None,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
) -> Corpus:
    """Encode and score every source x encoder x rate value; an interrupted build is resumed by calling again.

    Args:
      sources: files, or folders of them.
      out: the corpus folder.
      encoders: each `NAME[:PRESET[:RATE,RATE...]]`.
      rates: rate values of encoders that name none.
      manifest: JSON manifest that names sources and groups, instead of or beside `sources`.
      layout: of folders, `netflix`, `bvi-dvc` or `folder`; by default recognised.
      raw: geometry of `.yuv` files, as `1920x1080:yuv420p:25`; by default read off their names.
      encoder_args: more options for an encoder, each `[NAME=]OPTIONS`, as `libx264=-tune grain`.
      sizes: (width, height) boxes to fit into, largest first; by default each source's own size.
      max_frames: frames used of each source.
      jobs: cells in flight; by default one a core.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: told the last cell, cells done, cells in all.

    Raises:
      ConfigError: no source, or a request that cannot be meant.
      ToolError: an encode failed; finished cells stay.
    """
    tool = ffmpeg or find_ffmpeg()
    found = sources_from_manifest(Path(manifest)) if manifest else []
    if sources:
        geometry = parse_raw(raw) if raw else None
        found += sources_from_paths([Path(path) for path in sources], layout=check_layout(layout), raw=geometry)
    if not found:
        raise ConfigError("no source given", next_step="name files, a folder, or a manifest")
    values = parse_rates(rates) if isinstance(rates, str) else tuple(map(float, rates)) if rates else None
    requests = with_encoder_args([parse_encoder(text, values) for text in encoders], list(encoder_args))
    versions = tool_versions(tool, sorted({request.encoder.name for request in requests}))
    for request in requests:
        check_extra_args(tool, request.encoder)
    boxes: list[Size | None] = [*sizes] or [None]
    renditions = [
        made for source in found for made in references_of(tool, source, sizes=boxes, max_frames=max_frames)
    ]
    cells = plan_cells(renditions, requests, versions)
    for step in _build_cells(tool, cells, Path(out), versions, jobs=jobs or os.cpu_count() or 1):
        if on_step:
            on_step(step.last, step.n_done, len(cells))
    return load_corpus(Path(out))


def train_ensemble(
    corpus: PathLike,
    out: PathLike,
    *,
    ensemble_id: str = FORECAST_ENSEMBLE,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    recipe: str | None = None,
    jobs: int | None = None,
    on_step: OnStep | None = None,
) -> RunEvidence:
    """Train an ensemble, leaving out one group at a time, and return the run, every file of it checked.

    Args:
      corpus: a finished corpus folder.
      out: the run's folder; must not exist.
      ensemble_id: which ensemble.
      seeds: one member a seed; the gate asks for five.
      recipe: training recipe; by default the ensemble's.
      jobs: processes; by default one a core.
      on_step: told of members done.

    Raises:
      ConfigError: the extra `train` is not installed, or a request that cannot be meant.
      CorpusError: the corpus cannot be trained on.
    """
    try:
        from vmaf_assay.training.run import train_run
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}", next_step="pip install 'vmaf-assay[train]'") from error
    train_run(
        Path(corpus),
        ensemble_id,
        Path(out),
        seeds=seeds,
        recipe=recipe,
        processes=jobs or os.cpu_count() or 1,
        on_progress=None if on_step is None else lambda done, total: on_step("members", done, total),
    )
    return load_run(Path(out))


def gate_run(run: RunEvidence) -> GateResult:
    """The gate, recomputed from held-out predictions; writes nothing. `passed` is the answer."""
    return run.gate()[0]


def validate_run(run: RunEvidence) -> Verdict:
    """Judge a run and write PROMOTE.json or HOLD.json into it. Never touches a registry."""
    verdict = judge(run)
    write_verdict(run.folder, verdict)
    return verdict


def promote_run(run: RunEvidence, registry: PathLike) -> Verdict:
    """Flip an ensemble's rows to production, all or nothing, after running its gate again.

    Raises:
      ConfigError: the run holds no verdict, or a HOLD.
      IntegrityError: something changed since it was validated, or the registry does not verify.
    """
    return promote(run, Path(registry))


def verify_registry(registry: PathLike | None = None, *, deep: bool = False) -> list[RowReport]:
    """Check every byte of a registry and judge every verdict's held-out predictions again.

    Args:
      registry: its folder; by default `$ASSAY_REGISTRY`, else the shipped one.
      deep: recompute calibration and coverage as well (up to a minute).

    >>> {report.status for report in verify_registry()}
    {'production'}
    """
    return _verify_registry(registry_of(registry), deep=deep, trust=find_trust())
