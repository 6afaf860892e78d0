"""Load, probe, forecast, choose, tune, compare, and write the page."""

from collections.abc import Sequence
from pathlib import Path

from vmaf_assay.api.pages import write_page
from vmaf_assay.api.paths import PathLike, registry_of
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import user_folders
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.model.sidecar import ChoiceCalibration
from vmaf_assay.promise.choice import nearest_margin
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.promise import PromisedChoice, promised
from vmaf_assay.records import OnStep
from vmaf_assay.registry import store
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.batch import Batch, check_batch, plan_items, request_digest, size_of, tune_many
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.compare import CompareRequest, compare
from vmaf_assay.tune.contenders import CompareResult
from vmaf_assay.tune.forecast import Forecast, default_preset
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.probing import Probed, forecast_of, probe_title
from vmaf_assay.tune.progress import BatchClock, JobClock, OnLeft
from vmaf_assay.tune.request import (
    DEFAULT_CONFIDENCE,
    DEFAULT_PROBE_SECONDS,
    DEFAULT_TARGET,
    ProbesKind,
    ReferenceKind,
    TuneRequest,
    resolved,
)
from vmaf_assay.tune.result import TuneResult
from vmaf_assay.tune.run import OnNote, tune
from vmaf_assay.tune.source import open_source, pixels

FORECAST_ENSEMBLE = "vmaf_forecast_ensemble_v1"
"""The ensemble that forecasts encodes nobody has made."""


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
    policy = None if trust_policy is None else Path(trust_policy)
    return store.load_verified(registry_of(registry), ensemble_id, policy)


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
    target_vmaf: float = DEFAULT_TARGET,
    confidence: float = DEFAULT_CONFIDENCE,
    preset: str | None = None,
    trials: int = 1,
    output: PathLike | None = None,
    verify: bool = False,
    retry: int = 0,
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
      encoder: `NAME` or `NAME:PRESET`: ffmpeg's name, or a common one such as `x264`.
      target_vmaf: pooled (mean) VMAF to reach, points.
      confidence: probability of reaching it, in (0, 1).
      preset: the encoder's preset; by default the one trained on.
      trials: trial encodes allowed, 0 to 2.
      output: file to encode the choice to; None makes none.
      verify: measure the whole output.
      retry: encodes more that may be made if the output is measured below the target; above 0 it is measured.
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
      on_step: called with what is being done, frames done, frames in all.

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
        retry=retry,
        force=force,
        encoder_args=encoder_args,
        filters=filters,
        reference=reference,
        max_kbps=max_kbps,
        max_bytes=max_bytes,
        probe_seconds=probe_seconds,
        probes=probes,
    )
    return tune_request(request, cache_dir=cache_dir, ensemble=ensemble, ffmpeg=ffmpeg, on_step=on_step)


def tune_request(
    request: TuneRequest,
    *,
    cache_dir: PathLike | None = None,
    ensemble: VerifiedEnsemble | None = None,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
    on_left: OnLeft | None = None,
    on_note: OnNote | None = None,
    page: PathLike | None = None,
) -> TuneResult:
    """`tune_source` of a request that is a record already.

    Args:
      request: what is asked.
      cache_dir: folder of results of earlier runs; None keeps and uses none.
      ensemble: from `load_ensemble`; by default the shipped forecast.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: called with what is being done, frames done, frames in all.
      on_left: called with the seconds that the whole job still takes.
      on_note: called with a line that should be read before more time is spent.
      page: HTML file to write about the answer.
    """
    tool, verified = ffmpeg or find_ffmpeg(), ensemble or load_ensemble()
    clock = JobClock(on_step, on_left, page=page is not None)
    cache = None if cache_dir is None else Cache(Path(cache_dir))
    result = tune(tool, verified, request, cache=cache, on_note=on_note, clock=clock)
    if page is not None:
        write_page(result, page, ffmpeg=tool, on_step=clock.step)
    return result


def tune_sources(
    sources: Sequence[PathLike],
    request: TuneRequest,
    *,
    out_dir: PathLike | None = None,
    container: str = "mkv",
    cache_dir: PathLike | None = None,
    ensemble: VerifiedEnsemble | None = None,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
    on_left: OnLeft | None = None,
    on_note: OnNote | None = None,
    page_dir: PathLike | None = None,
) -> Batch:
    """Tune many sources one after another; what `assay tune` of several sources or with `--out-dir` does.

    Args:
      sources: files, folders and globs.
      request: what is asked of each; its source and output are replaced.
      out_dir: folder of the encodes; None makes none. What is finished there is skipped.
      container: of the encodes: `mkv`, `mp4`, `mov` or `webm`.
      cache_dir: folder of results of earlier runs; None keeps and uses none.
      ensemble: from `load_ensemble`; by default the shipped forecast.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: called with the source and what is being done, frames done, frames in all.
      on_left: called with the seconds that all sources still take.
      on_note: called with a line that should be read before more time is spent.
      page_dir: folder of an HTML page for each source.

    Returns:
      How many there are, and an iterator that tunes them: what became of each, as it ends.

    Raises:
      ConfigError: no video is named, or what is asked is invalid for every source.
    """
    tool, verified = ffmpeg or find_ffmpeg(), ensemble or load_ensemble()
    answered = sorted({seen.encoder for seen in verified.ensemble.sidecar.seen.encoders})
    asked = check_batch(resolved(request, answered), None if out_dir is None else Path(out_dir))
    items = plan_items([Path(source) for source in sources], None if out_dir is None else Path(out_dir), container)
    if page_dir is not None:
        Path(page_dir).mkdir(parents=True, exist_ok=True)
    clock = BatchClock([size_of(item.source) for item in items], on_left)
    number = {item.source: index for index, item in enumerate(items)}

    def tune_one(one: TuneRequest) -> TuneResult:
        index = number[one.source]
        clock.begin(index)
        return tune_request(
            one,
            cache_dir=cache_dir,
            ensemble=verified,
            ffmpeg=tool,
            on_step=on_step and (lambda what, done, total: on_step(f"{one.source.name}: {what}", done, total)),
            on_left=clock.on_left,
            on_note=on_note,
            page=None if page_dir is None else Path(page_dir) / f"{index + 1:03d}-{one.source.stem}.html",
        )

    digest = request_digest(asked, verified, tool)
    return Batch(
        len(items), tune_many(items, asked, tune_one, digest=digest, cache=Cache(user_folders.cache_dir()))
    )


def compare_encoders(
    source: PathLike,
    encoders: Sequence[str],
    *,
    target_vmaf: float = DEFAULT_TARGET,
    confidence: float = DEFAULT_CONFIDENCE,
    measure: bool = False,
    trials: int = 0,
    output: PathLike | None = None,
    force: bool = False,
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
      measure: encode and measure each on both sides of the target, and compare at equal quality.
      trials: trial encodes of each that correct its forecast, 0 to 2.
      output: file to write the winner's encode to; None writes none.
      force: overwrite `output`.
      filters: ffmpeg filter chain that the picture goes through first.
      probe_seconds: most that is probed of the source; of a longer one segments are; 0 probes all of any.
      probes: `few` that the forecasts read, or `more`.
      cache_dir: folder of results of earlier runs; None keeps and uses none.
      ensemble: from `load_ensemble`; by default the shipped forecast.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: called with what is being done, frames done, frames in all.

    Returns:
      `cheapest` is the contender of least bitrate that meets the target, or None; `refused` names the encoders
      that could not be answered for.
    """
    request = CompareRequest(
        source=Path(source),
        encoders=tuple(encoders),
        target_vmaf=target_vmaf,
        confidence=confidence,
        measure=measure,
        trials=trials,
        output=None if output is None else Path(output),
        force=force,
        filters=filters,
        probe_seconds=probe_seconds,
        probes=probes,
    )
    return compare_request(request, cache_dir=cache_dir, ensemble=ensemble, ffmpeg=ffmpeg, on_step=on_step)


def compare_request(
    request: CompareRequest,
    *,
    cache_dir: PathLike | None = None,
    ensemble: VerifiedEnsemble | None = None,
    ffmpeg: Ffmpeg | None = None,
    on_step: OnStep | None = None,
    on_left: OnLeft | None = None,
    on_note: OnNote | None = None,
) -> CompareResult:
    """`compare_encoders` of a request that is a record already; arguments as of `tune_request`."""
    cache = None if cache_dir is None else Cache(Path(cache_dir))
    clock = JobClock(on_step, on_left)
    tool, verified = ffmpeg or find_ffmpeg(), ensemble or load_ensemble()
    return compare(tool, verified, request, cache=cache, on_note=on_note, clock=clock)
