"""Load, probe, forecast, choose, tune, compare, and write the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from vmaf_assay.api.pages import LibraryIndex, write_page
from vmaf_assay.api.paths import PathLike
from vmaf_assay.api.settings import SETTINGS, Run, Settings, TitleFarm, TuneAsked
from vmaf_assay.errors import AssayError, ConfigError
from vmaf_assay.media import user_folders
from vmaf_assay.media.capability import ToolVersions
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.files import check_folder, check_page
from vmaf_assay.model.sidecar import ChoiceCalibration
from vmaf_assay.promise.choice import nearest_margin
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.promise import PromisedChoice, promised
from vmaf_assay.records import MEAN_VMAF, Measurand, OnStep
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.batch import (
    Batch,
    Item,
    ItemResult,
    check_batch,
    plan_items,
    request_digest,
    size_of,
    tune_many,
)
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.compare import compare
from vmaf_assay.tune.compare_request import CompareRequest
from vmaf_assay.tune.contenders import CompareResult
from vmaf_assay.tune.forecast import Forecast, chosen_preset
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.pictures import WHOLE, PictureRequest
from vmaf_assay.tune.probing import Probed, forecast_of, probe_title, with_tools
from vmaf_assay.tune.progress import BatchClock
from vmaf_assay.tune.request import (
    DEFAULT_CONFIDENCE,
    DEFAULT_PROBE_SECONDS,
    DEFAULT_TARGET,
    ProbesKind,
    TuneRequest,
    resolved,
)
from vmaf_assay.tune.result import TuneResult
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import open_source, pixels


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
      encoders: those to forecast later; by default all that the ensemble was trained on.
      more_probes: make further probes of those encoders too, where the ensemble has them: narrower bounds.
      probe_seconds: most seconds probed of the source; a longer one is sampled; 0 probes all of it.
      cache_dir: folder of results of earlier runs; None uses no cache.
      ffmpeg: by default the one that `find_ffmpeg` finds.
      on_step: called with the frames done of each probe.

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
    return Probed(reference, video, title.probes, title.sample, title.segment_probes, tool)


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
    preset = chosen_preset(ensemble.ensemble.sidecar, encoder, preset)
    predicted = forecast_of(
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
    if probed.ffmpeg is None:
        return replace(predicted, uncalibrated_tools="nothing says which ffmpeg made the probes")
    return with_tools(predicted, ensemble.ensemble.sidecar, probed.ffmpeg, ToolVersions())


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
      measured: rate value -> pooled VMAF of trial encodes of the whole source; at most two. Each must be at the
        rate value of `vmaf_assay.promise.choice.trial_rate`, where the margin was calibrated.

    Returns:
      The choice and its promise; `promise.made` says whether it is promised, `promise.reasons` why not.

    Raises:
      ConfigError: the ensemble may not make promises, or not with this confidence.
    """
    calibration = ensemble.calibration
    if not ensemble.confidence_eligible or not isinstance(calibration, ChoiceCalibration):
        raise ConfigError(
            f"{ensemble.verdict.ensemble} makes no promises", next_step="load one that is confidence_eligible"
        )
    trials = measured or {}
    margin = nearest_margin(
        curves_of(calibration, more_probes=predicted.more_probes, titles=True),
        predicted.curve.encoder,
        predicted.curve.preset,
        target=target_vmaf,
        confidence=confidence,
        trials=len(trials),
    )
    choice = predicted.forecaster(confidence).choose(target_vmaf, trials, margin.scale)
    return promised(
        choice,
        margin,
        target=target_vmaf,
        confidence=confidence,
        why_not=predicted.reason,
        tools=predicted.uncalibrated_tools,
    )


def tune_source(source: PathLike, encoder: str, **asked: Unpack[TuneAsked]) -> TuneResult:
    """Probe, forecast, choose, try, and encode if an output is named; what `assay tune` does.

    Args:
      source: the video.
      encoder: `NAME` or `NAME:PRESET`.
      asked: fields of `TuneRequest`, which documents them, and `Settings`.

    Returns:
      `met` is true if the target is promised and was not found missed, and every limit is kept.

    Raises:
      ConfigError: the request is invalid, or the ensemble may not promise it.
      MediaError: the source cannot be used.
      ToolError: ffmpeg or the disk failed.
    """
    request, settings = request_of(source, encoder, asked)
    return tune_request(request, **settings)


def request_of(source: PathLike, encoder: str, asked: TuneAsked) -> tuple[TuneRequest, Settings]:
    """The fields of a request that were given, as its record, and the settings among them."""
    settings: Settings = {name: asked[name] for name in asked if name in SETTINGS}  # type: ignore[literal-required,assignment]
    fields: dict[str, Any] = {name: value for name, value in asked.items() if name not in SETTINGS}
    if fields.get("output") is not None:
        fields["output"] = Path(fields["output"])
    return TuneRequest(Path(source), encoder, **fields), settings


def tune_request(
    request: TuneRequest, *, page: PathLike | None = None, **settings: Unpack[Settings]
) -> TuneResult:
    """`tune_source` for a request record.

    Args:
      request: what is asked.
      page: HTML file to write about the answer.
      settings: what it runs with.
    """
    check_page(page)
    run = Run(settings)
    tool, clock = run.ffmpeg, run.clock(page=page is not None)
    cache = run.cache
    with run.recording(cache) as record:
        result = tune(
            tool,
            run.ensemble(request.measurand),
            request,
            cache=cache,
            on_note=run.on_note,
            clock=clock,
            on_measured=record,
        )
    if page is not None:
        write_page(result, page, ffmpeg=tool, on_step=clock.step)
    return result


def tune_sources(
    sources: Sequence[PathLike],
    request: TuneRequest,
    *,
    out_dir: PathLike | None = None,
    container: str = "mkv",
    page_dir: PathLike | None = None,
    farm: TitleFarm | None = None,
    **settings: Unpack[Settings],
) -> Batch:
    """Tune many sources, one after another or on a farm; what `assay tune` of several sources does.

    Args:
      sources: files, folders and globs.
      request: what is asked of each; its source and output are replaced.
      out_dir: folder of the encodes; None makes none. What is finished there is skipped.
      container: of the encodes: `mkv`, `mp4`, `mov` or `webm`.
      page_dir: folder of an HTML page for each source, and of `index.html` about all.
      farm: tune on these workers; each loads the forecast itself, and it must be that of `settings`.
      settings: what they run with.

    Returns:
      How many there are, and an iterator that tunes them: what became of each, as it ends.

    Raises:
      ConfigError: no video is named, or what is asked is invalid for every source.
    """
    if page_dir is not None:
        check_folder(Path(page_dir), "--report")
    folder = None if out_dir is None else Path(out_dir)
    each = tuner_of(request, folder, settings)
    items = plan_items([Path(source) for source in sources], folder, container)
    pages = None if page_dir is None else Path(page_dir)
    if pages is not None:
        pages.mkdir(parents=True, exist_ok=True)
    if farm is not None:
        try:
            from vmaf_assay.api.title_farm import on_farm
        except ImportError as error:
            raise ConfigError(
                f"--workers and --scheduler need Dask, which is not installed ({error})",
                next_step="pip install 'vmaf-assay[cluster]'",
            ) from error
        return Batch(len(items), _indexed(on_farm(each, items, pages, farm), pages))
    clock = BatchClock([size_of(item.source) for item in items], settings.get("on_left"))
    outcomes = each.outcomes(items, clock)
    if pages is not None:
        outcomes = _indexed(_with_pages(outcomes, pages, each.ffmpeg, settings.get("on_step")), pages)
    return Batch(len(items), outcomes)


@dataclass(frozen=True, slots=True)
class Tuner:
    """Tunes sources with one request, one ensemble and one ffmpeg."""

    asked: TuneRequest
    """What is asked of each, checked; its source and output are replaced."""
    digest: str
    """From `request_digest`."""
    ffmpeg: Ffmpeg
    """As given, or found."""
    settings: Settings
    """With ensemble and ffmpeg filled in."""

    def outcomes(self, items: Sequence[Item], clock: BatchClock | None = None) -> Iterator[ItemResult]:
        """Tune items one after another, and yield each outcome.

        Args:
          items: sources and outputs.
          clock: knows the sizes of these items; computes the time left for all of them.
        """
        number = {item.source: index for index, item in enumerate(items)}
        shared = self.settings if clock is None else {**self.settings, "on_left": clock.on_left}

        def tune_one(one: TuneRequest) -> TuneResult:
            if clock is not None:
                clock.begin(number[one.source])
            mine: Settings = {**shared, "on_step": _named(one.source, shared.get("on_step"))}
            return tune_request(one, **mine)

        digests = Cache(user_folders.cache_dir())
        yield from tune_many(items, self.asked, tune_one, digest=self.digest, cache=digests)


def tuner_of(request: TuneRequest, out_dir: Path | None, settings: Settings) -> Tuner:
    """What tunes each source of many.

    Args:
      request: what is asked of each.
      out_dir: folder of the encodes; None makes none.
      settings: what they run with.

    Raises:
      ConfigError: what is asked is invalid for every source.
    """
    run = Run(settings)
    tool, verified = run.ffmpeg, run.ensemble(request.measurand)
    answered = sorted({seen.encoder for seen in verified.ensemble.sidecar.seen.encoders})
    asked = check_batch(resolved(request, answered), out_dir)
    shared: Settings = {**settings, "ensemble": verified, "ffmpeg": tool}
    return Tuner(asked, request_digest(asked, verified, tool), tool, shared)


def _with_pages(
    outcomes: Iterator[ItemResult], pages: Path, tool: Ffmpeg, on_step: OnStep | None
) -> Iterator[tuple[ItemResult, Path]]:
    """The outcomes, each with its page, written as it goes by; one that fails stops no other source."""
    for number, outcome in enumerate(outcomes, start=1):
        out = page_of_item(pages, number, outcome.item)
        yield with_page(outcome, out, tool, on_step), out


def page_of_item(pages: Path, number: int, item: Item) -> Path:
    """The page of item `number`, from 1."""
    return pages / f"{number:03d}-{item.source.stem}.html"


def _indexed(outcomes: Iterator[tuple[ItemResult, Path]], pages: Path | None) -> Iterator[ItemResult]:
    """The outcomes; at the end, however it comes, `index.html` is written about all of them."""
    if pages is None:
        yield from (outcome for outcome, _ in outcomes)
        return
    index = LibraryIndex(pages)
    try:
        for outcome, page in outcomes:
            index.add(outcome.document, page)
            yield outcome
    finally:
        index.write()


def with_page(outcome: ItemResult, out: Path, tool: Ffmpeg, on_step: OnStep | None) -> ItemResult:
    """The outcome, once its page is written, if it has an answer; else with the problem of writing it."""
    if "curve" in outcome.document:
        try:
            write_page(outcome.document, out, ffmpeg=tool, on_step=_named(outcome.item.source, on_step))
        except (AssayError, OSError) as problem:  # the encode is there
            return replace(outcome, problem=problem)
    return outcome


def _named(source: Path, on_step: OnStep | None) -> OnStep | None:
    """Steps that say which source they are of."""
    if on_step is None:
        return None
    return lambda what, done, total: on_step(f"{source.name}: {what}", done, total)


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
    stream: int | None = None,
    filters: str = "",
    probe_seconds: float = DEFAULT_PROBE_SECONDS,
    probes: ProbesKind = "few",
    pictures: PictureRequest = WHOLE,
    measurand: Measurand = MEAN_VMAF,
    **settings: Unpack[Settings],
) -> CompareResult:
    """Forecast the bitrates of several encoders for a target; what `assay compare` does.

    Every argument but `settings` is a field of `CompareRequest`, which says what it means.

    Returns:
      `cheapest` is the contender of least bitrate that meets the target, or None; `refused` names the encoders
      that could not be answered for.

    Raises:
      ConfigError: fewer than two encoders, or none that the model was trained on.
      MediaError: the source cannot be used.
      ToolError: ffmpeg failed for every encoder.
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
        stream=stream,
        filters=filters,
        pictures=pictures,
        probe_seconds=probe_seconds,
        probes=probes,
        measurand=measurand,
    )
    return compare_request(request, **settings)


def compare_request(
    request: CompareRequest, *, page: PathLike | None = None, **settings: Unpack[Settings]
) -> CompareResult:
    """`compare_encoders` of a request that is a record already.

    Args:
      request: what is asked.
      page: HTML file to write about the answer.
      settings: what it runs with.
    """
    check_page(page)
    run = Run(settings)
    cache = run.cache
    with run.recording(cache) as record:
        result = compare(
            run.ffmpeg,
            run.ensemble(request.measurand),
            request,
            cache=cache,
            on_note=run.on_note,
            clock=run.clock(),
            on_measured=record,
        )
    if page is not None:
        write_page(result, page, ffmpeg=run.ffmpeg)
    return result
