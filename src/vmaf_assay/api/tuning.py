"""Load, probe, forecast, choose, tune, compare, and write the page."""

import os
from collections.abc import Sequence
from pathlib import Path

from vmaf_assay.errors import (
    ConfigError,
)
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.model.sidecar import ChoiceCalibration
from vmaf_assay.promise.choice import nearest_margin
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.promise import PromisedChoice, promised
from vmaf_assay.records import OnStep
from vmaf_assay.registry.store import VerifiedEnsemble, load_verified, registry_dir
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.report.build import page_of, page_of_document
from vmaf_assay.report.page import write_page as _write_page
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.compare import CompareRequest, CompareResult, compare
from vmaf_assay.tune.forecast import Forecast, default_preset
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.probing import Probed, forecast_of, probe_title
from vmaf_assay.tune.request import DEFAULT_PROBE_SECONDS, ProbesKind, ReferenceKind, TuneRequest
from vmaf_assay.tune.result import TuneResult
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import open_source, pixels

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
    return load_verified(registry_of(registry), ensemble_id, None if trust_policy is None else Path(trust_policy))


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


def tune_source(  # noqa: D417 - the rest are fields of TuneRequest, described there
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
    audio_codec: str = "",
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
      target_vmaf, confidence, preset, trials, output, verify, force, encoder_args, audio_codec, filters,
        reference, max_kbps, max_bytes, probe_seconds, probes: the fields of `TuneRequest`, described there.
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
        audio_codec=audio_codec,
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


def registry_of(explicit: PathLike | None) -> Path:
    """The registry's folder: the one named, else `$ASSAY_REGISTRY`, else the shipped one."""
    return registry_dir(None if explicit is None else Path(explicit))
