"""The Python interface, behind `import vmaf_assay as va`.

Every function takes what it needs and returns a frozen record; nothing prints, nothing is remembered between
calls. Progress goes to the callback given. Errors are those of `vmaf_assay.errors`; a negative answer (HOLD, a
target out of reach) is a value.

`vmaf_assay/__init__.py` loads this module when the first of its names is asked for, so that importing the package
costs nothing. JAX is loaded by `train_ensemble` alone.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from vmaf_assay.admission.judge import judge, write_verdict
from vmaf_assay.admission.promotion import promote
from vmaf_assay.corpus.build import build_corpus as _build_cells
from vmaf_assay.corpus.layouts import Layout, check_layout
from vmaf_assay.corpus.plan import (
    Size,
    parse_encoder,
    parse_rates,
    plan_cells,
    renditions_of,
    with_encoder_args,
)
from vmaf_assay.corpus.sources import sources_from_manifest, sources_from_paths
from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.errors import (
    AssayError,
    ConfigError,
    CorpusError,
    IntegrityError,
    MediaError,
    ModelLoadError,
    ToolError,
)
from vmaf_assay.media.capability import check_extra_args
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.raw import parse_raw
from vmaf_assay.media.versions import tool_versions
from vmaf_assay.model.sidecar import ChoiceCalibration
from vmaf_assay.promise.calibrate import curves_of
from vmaf_assay.promise.choice import Curve, nearest_margin
from vmaf_assay.promise.policy import GateResult
from vmaf_assay.promise.promise import Promise, PromisedChoice, promised
from vmaf_assay.records import CellRecord, OnStep, Scored, VideoInfo
from vmaf_assay.registry.store import VerifiedEnsemble, load_verified, registry_dir
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import RowReport
from vmaf_assay.registry.verify import verify_registry as _verify_registry
from vmaf_assay.report.build import page_of, page_of_document
from vmaf_assay.report.page import write_page as _write_page
from vmaf_assay.training.evidence import RunEvidence, load_run
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.compare import CompareRequest, CompareResult, Contender, compare
from vmaf_assay.tune.forecast import Forecast, Probe, default_preset
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.probing import Probed, forecast_of, probe_title
from vmaf_assay.tune.request import DEFAULT_PROBE_SECONDS, ProbesKind, ReferenceKind, TuneRequest
from vmaf_assay.tune.result import CurvePoint, SampleFacts, TuneResult
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.segments import Sample
from vmaf_assay.tune.source import open_source, pixels

__all__ = [
    "AssayError",
    "CellRecord",
    "CompareResult",
    "ConfigError",
    "Contender",
    "Corpus",
    "CorpusError",
    "Curve",
    "CurvePoint",
    "Ffmpeg",
    "Forecast",
    "GateResult",
    "IntegrityError",
    "MediaError",
    "ModelLoadError",
    "Probe",
    "Probed",
    "Promise",
    "PromisedChoice",
    "RowReport",
    "RunEvidence",
    "Sample",
    "SampleFacts",
    "Scored",
    "ToolError",
    "TuneResult",
    "Verdict",
    "VerifiedEnsemble",
    "VideoInfo",
    "build_corpus",
    "choose_rate",
    "compare_encoders",
    "find_ffmpeg",
    "forecast_encoder",
    "gate_run",
    "load_corpus",
    "load_ensemble",
    "load_run",
    "probe_source",
    "promote_run",
    "train_ensemble",
    "tune_source",
    "validate_run",
    "verify_registry",
    "write_page",
]

FORECAST_ENSEMBLE = "vmaf_forecast_ensemble_v1"
"""The ensemble that forecasts encodes nobody has made."""

PathLike = str | os.PathLike[str]


def load_ensemble(
    ensemble_id: str = FORECAST_ENSEMBLE, *, registry: PathLike | None = None, trust_policy: PathLike | None = None
) -> VerifiedEnsemble:
    """An ensemble whose every byte has been checked against the verdict that admitted it.

    Args:
      ensemble_id: the ensemble, without `_seedN` or `_mean`.
      registry: its folder; by default `$ASSAY_REGISTRY`, else the shipped one.
      trust_policy: whose signatures to believe; by default the file that `$ASSAY_TRUST_POLICY` names, if any.

    Raises:
      IntegrityError: it is not there, is scaffolded, does not verify, or the policy does not believe it.

    >>> load_ensemble().verdict.verdict
    'PROMOTE'
    """
    return load_verified(_registry(registry), ensemble_id, None if trust_policy is None else Path(trust_policy))


def probe_source(
    source: PathLike,
    ensemble: VerifiedEnsemble,
    *,
    encoders: Sequence[str] | None = None,
    more_probes: bool = False,
    probe_seconds: float = DEFAULT_PROBE_SECONDS,
    cache_dir: PathLike | None = None,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
) -> Probed:
    """Encode and score the cheap probes of a source; one probing serves every target.

    Args:
      source: the video.
      ensemble: names the probes.
      encoders: those that will be asked about; by default all that the ensemble knows.
      more_probes: make further probes of those encoders too, where the ensemble has them: narrower bounds.
      probe_seconds: most that is probed of the source; of a longer one segments are; 0 probes all of any.
      cache_dir: folder of results of earlier runs; None keeps and uses none.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: told of each probe's frames.

    Raises:
      ConfigError: the ensemble was never trained on one of the encoders.
      MediaError: the source cannot be used.
      ToolError: ffmpeg failed.
    """
    seen = ensemble.ensemble.sidecar.seen.encoders
    if never := sorted({*(encoders or ())} - {one.encoder for one in seen}):
        trained = ", ".join(sorted({one.encoder for one in seen}))
        raise ConfigError(
            f"{ensemble.verdict.ensemble} was never trained on {never[0]}", next_step=f"name some of {trained}"
        )
    tool = ffmpeg or find_ffmpeg()
    reference, video = open_source(tool, Path(source))
    asked = [(one.encoder, one.preset) for one in seen if encoders is None or one.encoder in encoders]
    with Measurer(tool, reference, Cache(Path(cache_dir)) if cache_dir else None, on_step) as measurer:
        title = probe_title(measurer, ensemble.ensemble, asked, probe_seconds, more_probes=more_probes)
    return Probed(reference, video, title.probes, title.sample, title.segment_probes)


def forecast_encoder(
    probed: Probed, ensemble: VerifiedEnsemble, encoder: str, *, preset: str | None = None
) -> Forecast:
    """VMAF and bitrate that an encoder would give at every trained rate value.

    Args:
      probed: from `probe_source`.
      ensemble: the one that named the probes.
      encoder: ffmpeg's encoder name.
      preset: its preset; by default the one trained on.

    Raises:
      ConfigError: the ensemble was never trained on this encoder and preset.
    """
    fallback = encoder_info(encoder).default_preset
    preset = preset or default_preset(ensemble.ensemble.sidecar, encoder, fallback)
    return forecast_of(
        ensemble.ensemble,
        probed.probes,
        probed.sample,
        probed.segment_probes,
        encoder,
        preset,
        pixels=pixels(probed.reference),
        frame_rate=float(probed.reference.frame_rate),
        source=probed.reference.path.name,
    )


def choose_rate(
    predicted: Forecast,
    ensemble: VerifiedEnsemble,
    *,
    target_vmaf: float,
    confidence: float,
    measured: dict[float, float] | None = None,
) -> PromisedChoice:
    """The cheapest rate value whose lower bound meets the target; pure, no encode.

    Args:
      predicted: from `forecast_encoder`.
      ensemble: whose calibration gives the margin.
      target_vmaf: pooled (mean) VMAF, points.
      confidence: probability of reaching it, in (0, 1).
      measured: rate value -> pooled VMAF of trial encodes of the whole source, however it was probed; at most
        two, each where `vmaf_assay.promise.choice.trial_rate` says, which is where the margin was calibrated.

    Returns:
      The choice and its promise; `promise.made` says whether it is promised, `promise.reasons` why not.

    Raises:
      ConfigError: the ensemble may make no promises, or not with this confidence.
    """
    calibration = ensemble.calibration
    if not ensemble.confidence_eligible or not isinstance(calibration, ChoiceCalibration):
        raise ConfigError(
            f"{ensemble.verdict.ensemble} makes no promises", next_step="load one that is confidence_eligible"
        )
    trials = measured or {}
    margin = nearest_margin(
        curves_of(calibration, more_probes=predicted.more_probes),
        predicted.curve.encoder,
        predicted.curve.preset,
        target=target_vmaf,
        confidence=confidence,
        trials=len(trials),
    )
    choice = predicted.forecaster(confidence).choose(target_vmaf, trials, margin.scale)
    return promised(choice, margin, target=target_vmaf, confidence=confidence, why_not=predicted.reason)


def tune_source(
    source: PathLike,
    encoder: str,
    *,
    target_vmaf: float = 93.0,
    confidence: float = 0.95,
    preset: str | None = None,
    trials: int = 1,
    output: PathLike | None = None,
    verify: bool = False,
    force: bool = False,
    encoder_args: str = "",
    filters: str = "",
    reference: ReferenceKind = "filtered",
    max_kbps: float | None = None,
    max_bytes: float | None = None,
    probe_seconds: float = DEFAULT_PROBE_SECONDS,
    probes: ProbesKind | None = None,
    cache_dir: PathLike | None = None,
    ensemble: VerifiedEnsemble | None = None,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
) -> TuneResult:
    """Probe, forecast, choose, try, and encode if an output is named; what `assay tune` does.

    Args:
      source: the video.
      encoder: ffmpeg's encoder name.
      target_vmaf: pooled (mean) VMAF to reach, points.
      confidence: probability of reaching it, in (0, 1).
      preset: the encoder's preset; by default the one trained on.
      trials: trial encodes allowed.
      output: file to encode the choice to; None makes none.
      verify: measure the whole output.
      force: overwrite `output`.
      encoder_args: more options for the encoder, as `-tune grain`; then nothing is promised, only measured.
      filters: ffmpeg filter chain that the picture goes through first.
      reference: what VMAF compares with, the `filtered` picture or (one scale only) the `source`.
      max_kbps: most video bitrate wanted, kbps.
      max_bytes: largest file wanted, bytes.
      probe_seconds: most that is probed of the source; of a longer one segments are; 0 probes all of any.
      probes: `few` that the forecast reads, or `more`; None is `more` without trials.
      cache_dir: folder of results of earlier runs; None keeps and uses none.
      ensemble: from `load_ensemble`; by default the shipped forecast.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: told what is being done, frames done, frames in all.

    Returns:
      `met` is true if the target is promised, and was not found missed, and every limit is kept.
    """
    request = TuneRequest(
        source=Path(source),
        encoder=encoder,
        target_vmaf=target_vmaf,
        confidence=confidence,
        preset=preset,
        trials=trials,
        output=None if output is None else Path(output),
        verify=verify,
        force=force,
        encoder_args=encoder_args,
        filters=filters,
        reference=reference,
        max_kbps=max_kbps,
        max_bytes=max_bytes,
        probe_seconds=probe_seconds,
        probes=probes,
    )
    cache = None if cache_dir is None else Cache(Path(cache_dir))
    return tune(ffmpeg or find_ffmpeg(), ensemble or load_ensemble(), request, cache=cache, on_step=on_step)


def compare_encoders(
    source: PathLike,
    encoders: Sequence[str],
    *,
    target_vmaf: float = 93.0,
    confidence: float = 0.95,
    measure: bool = False,
    filters: str = "",
    probe_seconds: float = DEFAULT_PROBE_SECONDS,
    probes: ProbesKind = "few",
    cache_dir: PathLike | None = None,
    ensemble: VerifiedEnsemble | None = None,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
) -> CompareResult:
    """Forecast what several encoders would spend for a target; what `assay compare` does.

    Args:
      source: the video.
      encoders: each `NAME` or `NAME:PRESET`, two or more; BD-rates are against the first.
      target_vmaf: pooled (mean) VMAF to reach, points.
      confidence: probability of reaching it, in (0, 1), for each by itself.
      measure: encode each one's choice and measure it.
      filters: ffmpeg filter chain that the picture goes through first.
      probe_seconds: most that is probed of the source; of a longer one segments are; 0 probes all of any.
      probes: `few` that the forecasts read, or `more`.
      cache_dir: folder of results of earlier runs; None keeps and uses none.
      ensemble: from `load_ensemble`; by default the shipped forecast.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: told what is being done, frames done, frames in all.

    Returns:
      `cheapest` is the contender of least bitrate that meets the target, or None.
    """
    asked = (target_vmaf, confidence, measure, filters, probe_seconds, probes)
    request = CompareRequest(Path(source), tuple(encoders), *asked)
    cache = None if cache_dir is None else Cache(Path(cache_dir))
    return compare(ffmpeg or find_ffmpeg(), ensemble or load_ensemble(), request, cache=cache, on_step=on_step)


def write_page(what: TuneResult | CompareResult | PathLike, out: PathLike, *, ffmpeg: Ffmpeg | None = None) -> str:
    """Write one self-contained HTML page; what `assay report` does.

    Args:
      what: an answer of `tune_source` or `compare_encoders`, a run's or a registry's folder, or a file of what
        `assay tune --json` or `assay compare --json` printed.
      out: the HTML file.
      ffmpeg: reads the frames shown; by default the one that `find_ffmpeg` finds.

    Returns:
      The page's answer, in a sentence.

    Raises:
      ConfigError: no page can be made of it.
    """
    if isinstance(what, TuneResult | CompareResult):
        page = page_of_document(what.as_json(), ffmpeg or find_ffmpeg())
    else:
        path = Path(what)
        page = page_of(path, (ffmpeg or find_ffmpeg()) if path.is_file() else None, trust=find_trust())
    _write_page(page, Path(out))
    return page.answer


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
        made for source in found for made in renditions_of(tool, source, sizes=boxes, max_frames=max_frames)
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
    return _verify_registry(_registry(registry), deep=deep, trust=find_trust())


def _registry(explicit: PathLike | None) -> Path:
    return registry_dir(None if explicit is None else Path(explicit))
