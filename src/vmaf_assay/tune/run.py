"""Tune one source: probe, forecast, choose, try, encode, verify.

Each step reports to `on_step`; nothing here prints. The rate value comes from `evaluate.choice`, the code the
margin was calibrated with. Probes and trials cover every frame of the source.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.evaluate.choice import Choice, Forecaster, Margin, Measured, nearest_margin, trial_rate
from vmaf_assay.media import process
from vmaf_assay.media.encoders import EncoderInfo, encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, even_fit, failure
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.score import ReferenceInput, Threads, encode_and_score, encoder_args, score_pair
from vmaf_assay.records import Scored, VideoInfo
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.runs.schema import ChoiceCalibration
from vmaf_assay.runs.store import curves_of
from vmaf_assay.tune.forecast import Forecast, default_preset, forecast, trained_rates

OnStep = Callable[[str, int, int], None]
"""Called with (what is being done, frames done, frames in all)."""

MAX_SECONDS = 600.0
"""Longest source whose every frame is probed; a longer one would need sampling, which is not built yet."""


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """What is asked for."""

    source: Path
    """The title."""
    encoder: str
    """ffmpeg encoder name."""
    target_vmaf: float
    """Pooled (mean) VMAF to reach, points."""
    confidence: float
    """Probability of reaching it, in (0, 1)."""
    preset: str | None = None
    """The encoder's preset; None means the one the model was trained on."""
    trials: int = 1
    """Trial encodes allowed, 0 to 2."""
    output: Path | None = None
    """Where the final encode goes; None makes none."""
    verify: bool = False
    """Measure the final encode as a whole."""
    force: bool = False
    """Overwrite `output`."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The corrected forecast at one rate value, for display."""

    rate_value: float
    """On the encoder's own scale."""
    mu: float
    """Corrected forecast, points."""
    lower_bound: float
    """Less the margin, points."""
    kbps: float | None
    """Forecast bitrate."""
    measured_vmaf: float | None
    """What a trial measured here, points."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """The answer; `as_json` is the documented form."""

    source: str
    """Path as given."""
    encoder: str
    """Encoder."""
    preset: str
    """Preset."""
    target_vmaf: float
    """What was asked, points."""
    confidence: float
    """What was asked."""
    rate_value: float
    """Chosen, on the encoder's own scale."""
    mu: float
    """Corrected forecast there, points."""
    lower_bound: float
    """Less the margin, points."""
    forecast_kbps: float | None
    """Forecast bitrate there; None if the model forecasts none."""
    supported: bool
    """False if the model has not seen the like; then nothing is promised."""
    reachable: bool
    """False if no rate value's lower bound meets the target."""
    margin: float
    """What the bound is below the forecast at the choice, points; 0 where a trial measured it."""
    n_groups: int
    """Calibration groups behind the margin."""
    trials: list[dict[str, float]]
    """`rate_value` and `measured_vmaf` of each trial."""
    encodes_spent: int
    """Probes, trials and the final encode."""
    encode_argv: list[str]
    """The final encode's command, whether it was run or not."""
    output: str | None
    """The file written, or None."""
    measured_vmaf: float | None
    """Pooled VMAF of the whole output, if verified."""
    kbps: float | None
    """Measured bitrate of the output's video, if encoded."""
    reasons: list[str]
    """How the choice came about, in words."""
    curve: list[CurvePoint] = field(default_factory=list)
    """The curve around the choice."""

    def as_json(self) -> dict[str, Any]:
        """The document of docs/json-output.md."""
        keys = (
            "source", "encoder", "preset", "target_vmaf", "confidence", "rate_value", "mu", "lower_bound",
            "forecast_kbps", "supported", "reachable", "margin", "n_groups", "trials", "encodes_spent",
            "encode_argv", "output", "measured_vmaf", "kbps", "reasons",
        )  # fmt: skip
        return {key: getattr(self, key) for key in keys}

    @property
    def met(self) -> bool:
        """Whether the answer is yes: promised, and not found missed."""
        missed = self.measured_vmaf is not None and self.measured_vmaf < self.target_vmaf
        return self.supported and self.reachable and not missed


def check_request(request: TuneRequest) -> EncoderInfo:
    """The encoder asked for, if everything asked for can be meant.

    Raises:
      ConfigError: a target, confidence, trial count, encoder or output that cannot be.
    """
    if not 0 < request.target_vmaf < 100:
        raise ConfigError(
            f"a target VMAF lies between 0 and 100, not {request.target_vmaf:g}", next_step="ask for 93"
        )
    if not 0 < request.confidence < 1:
        raise ConfigError(
            f"a confidence lies between 0 and 1, not {request.confidence:g}", next_step="ask for 0.95"
        )
    if not 0 <= request.trials <= 2:
        raise ConfigError(f"trials are 0, 1 or 2, not {request.trials}", next_step="use --trials 1")
    info = encoder_info(request.encoder)
    if request.preset is not None:
        info.check_preset(request.preset)
    _check_output(request)
    return info


def _check_output(request: TuneRequest) -> None:
    if request.output is None:
        if request.verify:
            raise ConfigError("--verify measures an encode, and none is made", next_step="add -o OUT")
        return
    if request.output.exists() and not request.force:
        raise ConfigError(f"{request.output} exists", next_step="choose another -o or add --force")
    if request.output.exists() and request.source.exists() and request.output.samefile(request.source):
        raise ConfigError("the output is the source itself", next_step="choose another -o")
    if not request.output.resolve().parent.is_dir():
        raise ConfigError(f"{request.output.parent} is not a folder", next_step="make it first")
    if request.output.suffix.lower() not in _CONTAINERS:
        raise ConfigError(
            f"{request.output.name}: unknown container", next_step=f"end it in {', '.join(_CONTAINERS)}"
        )


_CONTAINERS = (".mkv", ".mp4", ".webm", ".mov")


def tune(
    ffmpeg: Ffmpeg, verified: VerifiedEnsemble, request: TuneRequest, *, on_step: OnStep | None = None
) -> TuneResult:
    """Choose the cheapest rate value that keeps the promise, and make the encode if one is asked for.

    Raises:
      ConfigError: the request cannot be meant, or the ensemble may not promise it.
      MediaError: the source cannot be used.
      ToolError: ffmpeg or the disk failed.
    """
    info = check_request(request)
    reference, _ = open_source(ffmpeg, request.source)
    sidecar = verified.ensemble.sidecar
    preset = request.preset or default_preset(sidecar, request.encoder, info.default_preset)
    trained_rates(sidecar, request.encoder, preset)
    margin = _margin(verified, request, preset)
    probes = _probe(ffmpeg, verified, reference, on_step)
    predicted = forecast(
        verified.ensemble,
        probes,
        request.encoder,
        preset,
        pixels=_pixels(reference),
        frame_rate=float(reference.frame_rate),
        source=request.source.name,
    )
    forecaster = Forecaster(predicted.curve)
    promised = margin.target == request.target_vmaf
    tried = _trials(ffmpeg, request, reference, forecaster, info, preset, on_step) if promised else {}
    measured = {rate_value: scored.pooled_vmaf for rate_value, scored in tried.items()}
    trial_kbps = {rate_value: scored.kbps for rate_value, scored in tried.items()}
    predicted = replace(predicted, known_kbps=predicted.known_kbps | trial_kbps)
    choice = forecaster.choose(request.target_vmaf, measured, margin.scale)
    choice = replace(choice, reachable=choice.reachable and promised)
    reasons = _reasons(verified, request, predicted, margin, measured, choice, reference)
    argv, written = _final(ffmpeg, request, info, preset, choice, predicted, reference, on_step)
    return TuneResult(
        source=str(request.source),
        encoder=request.encoder,
        preset=preset,
        target_vmaf=request.target_vmaf,
        confidence=request.confidence,
        rate_value=choice.rate_value,
        mu=choice.mu,
        lower_bound=choice.lower_bound,
        forecast_kbps=_number(predicted.kbps_at(np.array([choice.rate_value]))[0]),
        supported=predicted.supported,
        reachable=choice.reachable,
        margin=choice.mu - choice.lower_bound,
        n_groups=margin.n_groups,
        trials=[{"rate_value": r, "measured_vmaf": v} for r, v in measured.items()],
        encodes_spent=len(probes) + len(measured) + (written is not None),
        encode_argv=argv,
        output=str(request.output) if written else None,
        measured_vmaf=written.measured_vmaf if written else None,
        kbps=written.kbps if written else None,
        reasons=reasons,
        curve=_curve(forecaster, predicted, measured, margin, choice),
    )


def open_source(ffmpeg: Ffmpeg, path: Path) -> tuple[ReferenceInput, VideoInfo]:
    """A title as the reference of every comparison, at its own size made even.

    Raises:
      MediaError: it cannot be read, is a still picture, or is too long to probe whole.
    """
    video = probe_video(ffmpeg, path)
    if video.n_frames < 2:
        raise MediaError(f"{path} has one frame; VMAF measures motion", next_step="give a video of two or more")
    if video.duration_s > MAX_SECONDS:
        raise MediaError(
            f"{path} lasts {video.duration_s:.0f} s; sources up to {MAX_SECONDS:.0f} s are probed whole",
            next_step="cut a part with `ffmpeg -ss START -t SECONDS -c copy` and tune that",
        )
    if not video.pix_fmt.startswith(("yuv420p", "yuvj420p", "nv12", "gray")) or "10" in video.pix_fmt[7:]:
        raise MediaError(
            f"{path} is {video.pix_fmt}; the shipped calibration is of 8-bit 4:2:0",
            next_step="convert it with `-pix_fmt yuv420p` first",
        )
    turned = abs(video.rotation) % 180 == 90
    width, height = (video.height, video.width) if turned else (video.width, video.height)
    size = even_fit(width, height, None)
    return ReferenceInput(path, video.frame_rate, video.n_frames, size), video


def _pixels(reference: ReferenceInput) -> int:
    assert reference.size is not None  # `open_source` sets it
    return reference.size[0] * reference.size[1]


def _margin(verified: VerifiedEnsemble, request: TuneRequest, preset: str) -> Margin:
    """The calibrated margin, before anything is encoded: a promise that cannot be made costs nothing."""
    if not verified.confidence_eligible:
        raise ConfigError(
            f"{verified.verdict.ensemble} did not pass the coverage policy, so it makes no promise",
            next_step="name a --registry whose ensemble is confidence_eligible",
        )
    if not isinstance(verified.calibration, ChoiceCalibration):
        raise ConfigError(f"{verified.verdict.ensemble} does not forecast", next_step="name a forecast ensemble")
    return nearest_margin(
        curves_of(verified.calibration), request.encoder, preset,
        target=request.target_vmaf, confidence=request.confidence, trials=request.trials,
    )  # fmt: skip


def _probe(
    ffmpeg: Ffmpeg, verified: VerifiedEnsemble, reference: ReferenceInput, on_step: OnStep | None
) -> list[Scored]:
    probes = []
    for spec in verified.ensemble.sidecar.probes:
        what = f"probe {spec.encoder} {spec.preset} {spec.rate_value:g}"
        probes.append(
            _score(ffmpeg, reference, encoder_info(spec.encoder), spec.preset, spec.rate_value, what, on_step)
        )
    return probes


def _score(
    ffmpeg: Ffmpeg,
    reference: ReferenceInput,
    info: EncoderInfo,
    preset: str,
    rate_value: float,
    what: str,
    on_step: OnStep | None,
    threads: Threads = "single",
) -> Scored:
    def on_frames(done: int) -> None:
        if on_step:
            on_step(what, done, reference.n_frames)

    on_frames(0)
    return encode_and_score(ffmpeg, reference, info, preset, rate_value, threads=threads, on_frames=on_frames)


def _trials(
    ffmpeg: Ffmpeg,
    request: TuneRequest,
    reference: ReferenceInput,
    forecaster: Forecaster,
    info: EncoderInfo,
    preset: str,
    on_step: OnStep | None,
) -> dict[float, Scored]:
    tried: dict[float, Scored] = {}
    for number in range(1, request.trials + 1):
        measured = {rate_value: scored.pooled_vmaf for rate_value, scored in tried.items()}
        rate_value = trial_rate(forecaster, request.target_vmaf, measured)
        if rate_value is None:
            break
        what = f"trial {number} {info.rate_mode} {rate_value:g}"
        tried[rate_value] = _score(ffmpeg, reference, info, preset, rate_value, what, on_step, "auto")
    return tried


def _reasons(
    verified: VerifiedEnsemble,
    request: TuneRequest,
    predicted: Forecast,
    margin: Margin,
    measured: Measured,
    choice: Choice,
    reference: ReferenceInput,
) -> list[str]:
    scope = "all encoders" if margin.pooled else request.encoder
    trials = request.trials if margin.target == request.target_vmaf else 0
    said = [
        f"margin {choice.mu - choice.lower_bound:.2f} points, from {margin.n_groups} calibration groups of {scope}"
        f" at target {margin.target:g} with {trials or 'no'} trial{'' if trials == 1 else 's'}"
    ]
    if not predicted.supported:
        said.append(f"not supported, so nothing is promised: {predicted.reason}")
    seen = verified.ensemble.sidecar.seen
    if seen.max_pixels and not seen.min_pixels <= _pixels(reference) <= seen.max_pixels:
        said.append("the picture is smaller or larger than any calibrated on; the promise is only as good as that")
    if margin.target < request.target_vmaf:
        said.append(
            f"too few calibration groups reach {request.target_vmaf:g} to promise it with confidence "
            f"{request.confidence:g}"
        )
    elif not choice.reachable:
        said.append(
            f"no {encoder_info(request.encoder).rate_mode} reaches {request.target_vmaf:g} with confidence "
            f"{request.confidence:g}; the highest lower bound is {choice.lower_bound:.2f}"
        )
    if choice.rate_value in measured:
        said.append("the choice is a rate value that a trial measured on every frame")
    return said


@dataclass(frozen=True, slots=True)
class _Written:
    """The final encode."""

    kbps: float
    """Measured video bitrate."""
    measured_vmaf: float | None
    """Pooled VMAF of the whole, if verified."""


def final_argv(
    ffmpeg: Ffmpeg, reference: ReferenceInput, info: EncoderInfo, preset: str, rate_value: float, out: Path
) -> list[str]:
    """The command of the final encode: the first video stream at the chosen rate value, audio copied.

    The picture goes through the scaler that probes and trials saw it through (even size, limited range), but keeps
    its own time stamps.
    """
    scale = next(step for step in reference.filters() if step.startswith("scale"))
    return [
        *ffmpeg.base_argv(), "-progress", "pipe:1", "-stats_period", "0.25", "-i", str(reference.path.resolve()),
        "-map", "0:v:0", "-map", "0:a?", "-c:a", "copy", "-vf", f"{scale},format=yuv420p",
        "-fps_mode", "passthrough", *encoder_args(info, preset, rate_value, threads="auto"), str(out),
    ]  # fmt: skip


def _final(
    ffmpeg: Ffmpeg,
    request: TuneRequest,
    info: EncoderInfo,
    preset: str,
    choice: Choice,
    predicted: Forecast,
    reference: ReferenceInput,
    on_step: OnStep | None,
) -> tuple[list[str], _Written | None]:
    shown = final_argv(ffmpeg, reference, info, preset, choice.rate_value, request.output or Path("OUT.mkv"))
    if request.output is None or not (choice.reachable and predicted.supported):
        return shown, None
    folder = Path(tempfile.mkdtemp(prefix=".assay-", dir=request.output.resolve().parent))
    try:
        temporary = folder / request.output.name
        argv = final_argv(ffmpeg, reference, info, preset, choice.rate_value, temporary)
        done = process.run(argv, on_line=_frame_lines("encode", reference.n_frames, on_step))
        if done.exit_code != 0:
            raise failure(
                f"encoding {request.source.name} to {request.output.name}", done,
                next_step="an output that ends in .mkv takes any video and audio",
            )  # fmt: skip
        vmaf = None
        if request.verify:
            frames = _frame_calls("verify", reference.n_frames, on_step)
            vmaf = score_pair(ffmpeg, reference, temporary, on_frames=frames).pooled_vmaf
        kbps = _video_kbps(ffmpeg, temporary, reference)
        temporary.replace(request.output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return shown, _Written(kbps, vmaf)


def _frame_calls(what: str, total: int, on_step: OnStep | None) -> Callable[[int], None]:
    def on_frames(done: int) -> None:
        if on_step:
            on_step(what, done, total)

    return on_frames


def _frame_lines(what: str, total: int, on_step: OnStep | None) -> Callable[[str], None]:
    on_frames = _frame_calls(what, total, on_step)

    def on_line(line: str) -> None:
        if line.startswith("frame="):
            on_frames(int(line[6:]))

    return on_line


def _video_kbps(ffmpeg: Ffmpeg, path: Path, reference: ReferenceInput) -> float:
    """Bitrate of a file's video packets, kbps."""
    done = process.run(
        [*ffmpeg.base_argv(), "-i", str(path), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    )
    if done.exit_code != 0:
        raise failure(f"reading {path.name}", done)
    lines = [line for line in done.stdout.decode().splitlines() if line and not line.startswith("#")]
    total = sum(int(line.split(",")[4]) for line in lines)
    return total * 8 / float(reference.n_frames / reference.frame_rate) / 1000


def _curve(
    forecaster: Forecaster, predicted: Forecast, measured: Measured, margin: Margin, choice: Choice
) -> list[CurvePoint]:
    """Up to nine whole rate values around the choice, and every trial, dearest first."""
    mu, lower = forecaster.corrected(measured), forecaster.lower(measured, margin.scale)
    grid = forecaster.grid
    near = {float(np.round(choice.rate_value + offset)) for offset in range(-4, 5)}
    wanted = sorted({choice.rate_value, *measured, *near} & set(grid.tolist()))
    points = []
    for rate_value in wanted:
        at = int(np.flatnonzero(grid == rate_value)[0])
        kbps = _number(predicted.kbps_at(np.array([rate_value]))[0])
        points.append(CurvePoint(rate_value, float(mu[at]), float(lower[at]), kbps, measured.get(rate_value)))
    return points


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
