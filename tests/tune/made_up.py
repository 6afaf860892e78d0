"""A forecast ensemble that is made up: its curve, what it has seen, and what it was calibrated on."""

from types import SimpleNamespace

import numpy as np

from vmaf_assay.model.codec_block import VOCABULARIES
from vmaf_assay.model.features import DEFAULT_PROBES, forecast_feature_names
from vmaf_assay.model.infer import Prediction
from vmaf_assay.model.sidecar import ChoiceCalibration, HeldOut, HeldOutCurve, Seen, SeenEncoder, Sidecar
from vmaf_assay.promise.tools import MEASURED_WITH
from vmaf_assay.registry.store import VerifiedEnsemble

RATES = [14.0, 18.0, 22.0, 26.0, 30.0, 34.0, 38.0, 42.0]
PROBES = (DEFAULT_PROBES[0], DEFAULT_PROBES[3])
NAMES = [name.replace("own.", "probe1.") for name in forecast_feature_names()]
"""Of both probes, whichever encoder is asked about, as models of 0.1.0 had them."""
OWN_PROBES = (DEFAULT_PROBES[0], DEFAULT_PROBES[1], DEFAULT_PROBES[5])
"""Of libx264 medium alone: two that are read, and a further one."""
K = len(NAMES)


class MadeUp:
    """Answers every query with one curve over the rate value, whatever the features."""

    def __init__(self, sidecar: Sidecar, centre: float) -> None:
        self.sidecar, self.centre = sidecar, centre

    def predict(self, features, codec) -> Prediction:
        """Logistic in the rate value; a spread of half a point."""
        rates = codec[:, -1].astype(np.float64) * 51
        mu = logistic(rates, self.centre)
        return Prediction(mu, np.full(len(mu), 0.5), np.stack([mu] * 5, axis=1))


def logistic(rates, centre: float):
    """Points, falling with the rate value."""
    return 100 / (1 + np.exp((rates - centre) / 5))


def sidecar(
    *, feature_range: tuple[float, float] = (-100.0, 100.0), bitrate: bool = False, own: bool = False
) -> Sidecar:
    """A sidecar that has seen libx264 medium at `RATES`, and features within `feature_range`.

    With `own` it reads the probe of the encoder's family, as models do since 2026-11-25, and has a further one.
    """
    low, high = feature_range
    return Sidecar(
        id="vmaf_forecast_ensemble_v1_mean",
        task="forecast",
        role="mean",
        feature_names=list(forecast_feature_names()) if own else NAMES,
        encoder_vocab_version=3,
        encoder_vocab=list(VOCABULARIES[3]),
        opset=17,
        probes=list(OWN_PROBES if own else PROBES),
        seen=Seen(
            encoders=[SeenEncoder(encoder="libx264", preset="medium", rate_values=RATES)],
            feature_min=[low] * K,
            feature_max=[high] * K,
            feature_mean=[0.0] * K,
            feature_std=[1.0] * K,
            min_pixels=100,
            max_pixels=10_000_000,
        ),
        recipe={},
        corpus_digest="0" * 64,
        tools={name: [version] for name, version in MEASURED_WITH.items()},
        held_out=HeldOut(mean_plcc=1, mean_srocc=1, mean_rmse=1),
        onnx_sha256="0" * 64,
        bitrate={"coefficients": {"libx264|medium": [5.0, -4.0, 0, 0, 0, 0, 0]}, "held_out_error": {}}
        if bitrate
        else None,
    )


def verified(
    *, centre: float = 46.0, groups: int = 30, eligible: bool = True, own: bool = False, **kwargs
) -> VerifiedEnsemble:
    """An ensemble whose calibration groups were forecast within a third of a CRF."""
    rng = np.random.default_rng(0)
    curves = []
    for group in range(groups):
        middle = rng.normal(45, 3)
        curves.append(
            HeldOutCurve(
                group=f"g{group:02d}",
                source=f"s{group:02d}",
                encoder="libx264",
                preset="medium",
                rate_values=RATES,
                mu=logistic(np.array(RATES), middle + rng.uniform(-0.3, 0.3)).tolist(),
                sigma=[0.5] * 8,
                truth=logistic(np.array(RATES), middle).tolist(),
            )
        )
    calibration = ChoiceCalibration(
        ensemble="vmaf_forecast_ensemble_v1",
        corpus_digest="0" * 64,
        probes=list(OWN_PROBES if own else PROBES),
        curves=curves,
    )
    verdict = SimpleNamespace(ensemble="vmaf_forecast_ensemble_v1", calibration_sha256="c" * 64)
    return VerifiedEnsemble(MadeUp(sidecar(own=own, **kwargs), centre), calibration, eligible, verdict)
