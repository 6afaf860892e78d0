"""From probe encodes to a forecast over rate values: VMAF with its spread, and bitrate."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.encoders.driven import DEFAULT_PRESET
from vmaf_assay.model.bitrate import predict_kbps
from vmaf_assay.model.codec_block import codec_rows
from vmaf_assay.model.features import ProbeRows, source_features
from vmaf_assay.model.sidecar import ProbeSpec, Sidecar, probes_known
from vmaf_assay.model.support import common_rates, probes_needed, trained_presets, unsupported_reason
from vmaf_assay.promise.choice import Curve, Forecaster, interpolate
from vmaf_assay.promise.sampling import SampledForecaster, weighted_mean
from vmaf_assay.records import Measurand, Scored, features_of_v1, scored_values
from vmaf_assay.tune.segments import allowance

if TYPE_CHECKING:
    from vmaf_assay.model.infer import Ensemble


F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one encoder and preset for a source."""

    curve: Curve
    """Forecast VMAF at the trained rate values; its truth is NaN."""
    kbps: F64
    """Forecast bitrate at the same rate values, kbps, [R]; NaN if the model forecasts none."""
    supported: bool
    """False if the source or the encoder is outside the training range."""
    reason: str
    """Why not; empty if supported."""
    known_kbps: dict[float, float] = field(default_factory=dict)
    """Rate value -> bitrate of a probe or trial with this encoder and preset, kbps."""
    segments: tuple["Forecast", ...] = ()
    """For a sampled title, the forecast of each of N segments."""
    weights: F64 = field(default_factory=lambda: np.empty(0))
    """Frames of each segment, [N]."""
    n_units: int = 0
    """Units that the title was divided into; the segments are some of them."""
    tools: dict[str, str] = field(default_factory=dict)
    """Versions of ffmpeg, libvmaf and the encoders behind it, by name."""
    uncalibrated_tools: str = ""
    """What of them is not as calibrated, in words; empty if they are."""
    more_probes: bool = False
    """Whether it is interpolated through further probes, so that their margin applies."""

    def forecaster(self, confidence: float) -> Forecaster:
        """The forecaster for this forecast; for a sampled title with the sampling part of the bound."""
        if not self.segments:
            return self.plain()
        curves = [segment.curve for segment in self.segments]
        return SampledForecaster(
            self.curve,
            curves,
            self.weights,
            self.n_units,
            confidence=confidence,
            allowance=allowance(self.curve.encoder),
        )

    def plain(self) -> Forecaster:
        """The forecaster without a sampling part."""
        return Forecaster(self.curve)

    def kbps_at(self, rate_values: F64) -> F64:
        """Forecast bitrate at any rate values in range, kbps; NaN if none is forecast.

        PCHIP of its logarithm, corrected by known bitrates. The logarithm of their ratio to the forecast is
        interpolated; outside them the nearest applies.
        """
        if not np.isfinite(self.kbps).all():
            return np.full(len(rate_values), np.nan)
        log_kbps = interpolate(self.curve.rate_values, np.log(self.kbps), rate_values)
        if self.known_kbps:
            rates = np.array(sorted(self.known_kbps))
            known = np.log([self.known_kbps[float(rate)] for rate in rates])
            log_kbps += np.interp(
                rate_values, rates, known - interpolate(self.curve.rate_values, np.log(self.kbps), rates)
            )
        result: F64 = np.exp(log_kbps)
        return result


class Probe(NamedTuple):
    """A probe encode of a source, scored."""

    spec: ProbeSpec
    """What it is."""
    scored: Scored
    """Its frames."""


def trained_rates(sidecar: Sidecar, encoder: str, preset: str) -> list[float]:
    """Rate values in training for an encoder and preset, or for the presets on both sides of it.

    Raises:
      ConfigError: without training data; names what the model was trained on.
    """
    if seen := trained_presets(sidecar, encoder, preset):
        return common_rates(seen)
    reason = unsupported_reason(sidecar, np.zeros(len(sidecar.feature_names)), encoder, preset)
    raise ConfigError(
        f"no forecast for {encoder} {preset}: {reason}",
        next_step="choose one of those, or train and promote an ensemble on yours",
    )


def chosen_preset(sidecar: Sidecar, encoder: str, asked: str | None) -> str:
    """The preset to encode with: the one asked for, else the only one trained on, else the encoder's default.

    Of presets that give the same bytes, the one that the model was trained on.
    """
    if encoder not in ENCODERS:
        return asked or DEFAULT_PRESET
    info = ENCODERS[encoder]
    presets = [seen.preset for seen in sidecar.seen.encoders if seen.encoder == encoder]
    if asked is None:
        return presets[0] if len(presets) == 1 else info.default_preset
    return info.equal_among(asked, presets) or asked


def forecast(
    ensemble: "Ensemble",
    probes: Sequence[Probe],
    encoder: str,
    preset: str,
    *,
    pixels: int,
    frame_rate: float,
    source: str = "",
) -> Forecast:
    """Forecast one encoder and preset from the probes of a source.

    Args:
      ensemble: a verified forecast ensemble.
      probes: those that `probes_needed` names for this encoder, scored. If every further probe of this encoder and
        preset is there too, the forecast is interpolated through them all. Others change nothing.
      encoder: encoder asked about.
      preset: its preset.
      pixels: width x height of the source, px.
      frame_rate: of the source, frames per second.
      source: name for the curve.

    Raises:
      ConfigError: the model was never trained on this encoder and preset, or a probe that it reads is missing.
    """
    sidecar = ensemble.sidecar
    wanted = probes_needed(sidecar, [encoder])
    read = [next((probe for probe in probes if probe.spec == spec), None) for spec in wanted]
    if missing := [spec for spec, probe in zip(wanted, read, strict=True) if probe is None]:
        raise ConfigError(
            f"a forecast of {encoder} reads probe {missing[0].encoder} {missing[0].preset}, which was not made",
            next_step=f"probe the source for {encoder} too",
        )
    own, led_further = _own_probes(sidecar, probes, encoder, preset)
    probes = [probe for probe in read if probe is not None]
    rates = np.array(trained_rates(sidecar, encoder, preset))
    measured = [
        ProbeRows(spec, scored_values(scored), scored.bytes_of_scored, features_of_v1(scored))
        for spec, scored in probes
    ]
    row = source_features(measured, pixels, frame_rate, sidecar.feature_names, encoder)
    reason = unsupported_reason(sidecar, row, encoder, preset) or ""
    n = len(rates)
    codec = codec_rows(
        [encoder] * n, [preset] * n, rates.tolist(), version=sidecar.encoder_vocab_version, unknown=True
    )
    answer = ensemble.predict(np.tile(row, (n, 1)).astype(np.float32), codec)
    kbps = np.full(n, np.nan)
    if sidecar.bitrate is not None:
        kbps = predict_kbps(sidecar.bitrate, encoder, preset, rates, [scored.kbps for _, scored in probes])
    unknown = np.full(n, np.nan)
    known = {rate_value: scored.pooled_vmaf for rate_value, scored in own.items()}
    values = (rates, answer.mu, answer.sigma, unknown, known)
    curve = Curve("", source, encoder, preset, *values, measurand=Measurand.parse(sidecar.answers))
    known_kbps = {rate_value: scored.kbps for rate_value, scored in own.items()}
    return Forecast(curve, kbps, not reason, reason, known_kbps, more_probes=led_further)


def _own_probes(
    sidecar: Sidecar, probes: Sequence[Probe], encoder: str, preset: str
) -> tuple[dict[float, Scored], bool]:
    """Probes of this encoder and preset by rate value: all of them, or only those that forecasts read.

    A part of the further ones is not a calibrated case. True if all are used and there are further ones.
    """
    made = {probe.spec: probe.scored for probe in probes}
    depth = Measurand.parse(sidecar.answers).bit_depth
    few, more = (
        [
            sidecar.probes[index]
            for index in probes_known(sidecar.probes, encoder, preset, more=further, bit_depth=depth)
        ]
        for further in (False, True)
    )
    led_further = len(more) > len(few) and all(spec in made for spec in more)
    return {spec.rate_value: made[spec] for spec in (more if led_further else few)}, led_further


MAX_UNLIKE = 0.1
"""Largest fraction of a title's frames in segments unlike the training data; set by hand, not measured."""


def forecast_title(
    ensemble: "Ensemble",
    probes: Sequence[Sequence[Probe]],
    encoder: str,
    preset: str,
    *,
    pixels: int,
    frame_rate: float,
    weights: F64,
    n_units: int,
    source: str = "",
) -> Forecast:
    """Forecast one encoder and preset for a title from the probes of its segments.

    Each segment is forecast by itself, like the calibration's clips. The forecasts are averaged over frames. A
    segment unlike the training data (black, for instance) counts like the worst of the others at each rate value.
    With more than `MAX_UNLIKE` of the frames in such segments the title is not supported.

    Args:
      ensemble: a verified forecast ensemble.
      probes: for each of N segments, as for `forecast`.
      encoder: encoder asked about.
      preset: its preset.
      pixels: width x height of the source, px.
      frame_rate: of the source, frames per second.
      weights: frames of each segment, [N].
      n_units: units that the title was divided into.
      source: name for the curve.

    Raises:
      ConfigError: the model was never trained on this encoder and preset.
    """
    each = [
        forecast(ensemble, of, encoder, preset, pixels=pixels, frame_rate=frame_rate, source=source)
        for of in probes
    ]
    unlike = np.array([not one.supported for one in each])
    share = float(weights[unlike].sum() / weights.sum())
    if 0 < share < 1:
        worst = np.min([one.curve.mu for one in each if one.supported], axis=0)
        each = [one if one.supported else _as_bad(one, worst) for one in each]
    first = each[0].curve
    known = _means([one.curve.known for one in each], weights)
    mu, sigma = (
        weighted_mean(np.stack([getattr(one.curve, name) for one in each]), weights) for name in ("mu", "sigma")
    )
    curve = replace(first, mu=mu, sigma=sigma, known=known)
    reason = ""
    if share > MAX_UNLIKE:
        why = next(one.reason for one in each if one.reason)
        reason = f"{share:.0%} of the frames probed are unlike what the model has seen: {why}"
    known_kbps = _means([one.known_kbps for one in each], weights)
    kbps = weighted_mean(np.stack([one.kbps for one in each]), weights)
    return Forecast(
        curve, kbps, not reason, reason, known_kbps, tuple(each), weights, n_units, more_probes=each[0].more_probes
    )


def _means(each: Sequence[dict[float, float]], weights: F64) -> dict[float, float]:
    """Measurements at each rate value, averaged over segments."""
    return {rate: float(weighted_mean(np.array([one[rate] for one in each]), weights)) for rate in each[0]}


def _as_bad(one: Forecast, worst: F64) -> Forecast:
    return replace(one, curve=replace(one.curve, mu=np.minimum(one.curve.mu, worst)))
