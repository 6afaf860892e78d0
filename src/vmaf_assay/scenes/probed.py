"""What scenes should score and cost, from the shipped forecast: each scene is probed on a few of its frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.encoders import EncoderInfo, encoder_info
from vmaf_assay.model.support import probes_needed, trained_presets
from vmaf_assay.promise.choice import Forecaster
from vmaf_assay.scenes.curves import Forecasts, Spread
from vmaf_assay.scenes.cut import Scene
from vmaf_assay.scenes.prior import rate_grid
from vmaf_assay.tune.forecast import Forecast, forecast
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.segments import Segment, SegmentPlan
from vmaf_assay.tune.source import pixels, seconds

if TYPE_CHECKING:
    from vmaf_assay.model.infer import Ensemble
    from vmaf_assay.model.sidecar import Sidecar

F64 = NDArray[np.float64]

_SHARE, _LEAST_PROBED, _MOST_PROBED = 0.1, 12, 24
"""Frames of a scene that are probed, as a share of it, and the fewest and the most."""

TRAINED = Spread(common=0.2, alike=0.08, own=0.12), Spread(common=0.35, alike=0.15, own=0.2)
"""Spread of score and size around the forecast of an encoder and preset that the model was trained on."""
STOOD_IN = Spread(common=0.4, alike=0.2, own=0.25), Spread(common=0.6, alike=0.2, own=0.3)
"""Likewise where another preset or encoder stands in."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """Whose forecast is used."""

    encoder: str
    preset: str
    own: bool
    """Whether it is that of the encoder and preset asked for."""


def stand_in(sidecar: "Sidecar", encoder: EncoderInfo, preset: str) -> StandIn | None:
    """The encoder and preset whose forecast comes nearest to one; None if the model knows none of the kind."""
    if trained_presets(sidecar, encoder.name, preset):
        return StandIn(encoder.name, preset, own=True)
    for name in (encoder.name, encoder.probed_by):
        trained = [seen.preset for seen in sidecar.seen.encoders if seen.encoder == name]
        if not trained:
            continue
        info = encoder_info(name)
        if name == encoder.name:
            place = info.presets.index(preset)
            nearest = min(trained, key=lambda one: abs(info.presets.index(one) - place))
        else:
            nearest = info.default_preset if info.default_preset in trained else trained[0]
        return StandIn(name, nearest, own=False)
    return None


def probed_frames(scenes: Sequence[Scene]) -> SegmentPlan:
    """The frames of each scene that are probed: some in its middle."""
    segments = []
    for scene in scenes:
        count = min(scene.n_frames, max(_LEAST_PROBED, min(_MOST_PROBED, round(_SHARE * scene.n_frames))))
        segments.append(Segment(scene.span.first + (scene.n_frames - count) // 2, count, 0, 0))
    return SegmentPlan(tuple(segments), len(segments), len(segments))


def probed_forecasts(
    measurer: Measurer,
    ensemble: "Ensemble",
    encoder: EncoderInfo,
    used: StandIn,
    scenes: Sequence[Scene],
    looks: F64,
) -> Forecasts:
    """The shipped forecast of every scene.

    Args:
      measurer: of the title.
      ensemble: a verified forecast ensemble.
      encoder: the encoder asked for.
      used: whose forecast is taken, from `stand_in`.
      scenes: of the title.
      looks: of each, [S, 2].

    Raises:
      MediaError: a frame does not decode.
      ToolError: ffmpeg or the disk failed.
    """
    reference = measurer.reference
    specs = probes_needed(ensemble.sidecar, [used.encoder])
    plan = probed_frames(scenes)
    probes = measurer.probe_segments(measurer.take(plan), specs)
    each = [
        forecast(
            *(ensemble, of, used.encoder, used.preset),
            pixels=pixels(reference),
            frame_rate=float(reference.frame_rate),
            source=reference.path.name,
        )
        for of in probes
    ]
    trained = each[0].curve.rate_values
    info = encoder_info(used.encoder)
    low, high = float(trained.min()), float(trained.max())
    known = rate_grid(info, low, high)
    rates = known if used.own else np.array([_same_place(info, encoder, rate) for rate in known])
    n_frames = np.array([scene.n_frames for scene in scenes], dtype=np.float64)
    frame_bytes = 1000 / 8 * seconds(reference) / reference.n_frames
    score = np.stack([_rising(_through_probes(one, known)) for one in each])
    probed = np.array([segment.n_frames for segment in plan.segments], dtype=np.float64)
    per_frame = np.stack([_rising(_kbps(one, known)) for one in each]) * frame_bytes
    n_bytes = per_frame * (key_frame_share(n_frames) / key_frame_share(probed) * n_frames)[:, None]
    spreads = TRAINED if used.own else STOOD_IN
    return Forecasts(rates, np.clip(score, 0, 100), n_bytes, n_frames, looks, *spreads)


_KEY_FRAME = 10.0
"""Bytes of a key frame over the mean of the frames after it. Medians of 95 clips (`data/corpus-360p`): libx264 and
libx265 9.2, libsvtav1 12.6, libvpx-vp9 12.9. A tenth of the encodes are below 3.6, a tenth above 25."""


def key_frame_share(n_frames: F64) -> F64:
    """Bytes a frame of encodes that begin with a key frame, over those of one without, [S].

    A probe of a few frames is mostly its key frame. One of twelve has 1.6 times the bytes a frame of one of a
    hundred.

    >>> key_frame_share(np.array([1.0, 12.0, 100.0])).tolist()
    [10.0, 1.75, 1.09]
    """
    share: F64 = (_KEY_FRAME + n_frames - 1) / n_frames
    return share


def _through_probes(one: Forecast, rates: F64) -> F64:
    """Forecast scores at some rate values, corrected by those probes that are of the same encoder and preset."""
    forecaster = Forecaster(one.curve)
    order = np.argsort(forecaster.grid)
    made: F64 = np.interp(rates, forecaster.grid[order], forecaster.corrected({})[order])
    return made


def _kbps(one: Forecast, rates: F64) -> F64:
    """Forecast bitrate at some rate values, kbps; falling evenly where the model forecasts none."""
    made = one.kbps_at(rates)
    if np.isfinite(made).all():
        return made
    rough: F64 = 1000.0 * 2.0 ** (np.arange(len(rates)) * 4.0 / len(rates))
    return rough


def _rising(values: F64) -> F64:
    """The values, none below the one before."""
    made: F64 = np.maximum.accumulate(values)
    return made


def _same_place(known: EncoderInfo, asked: EncoderInfo, rate_value: float) -> float:
    """The rate value at the same place of another encoder's declared range, at its resolution."""
    if known.name == asked.name:
        return rate_value
    place = known.crf_norm(rate_value)
    place = place if known.lower_is_better == asked.lower_is_better else 1 - place
    unit = asked.rate_resolution
    there = asked.rate_min + place * (asked.rate_max - asked.rate_min)
    return float(np.clip(round(there / unit) * unit, asked.rate_min, asked.rate_max))
