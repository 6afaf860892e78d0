"""The shipped models know what they have not seen."""

import json
import re
from importlib import resources

import numpy as np
import pytest

from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.model.infer import unsupported_reason
from vmaf_assay.model.sidecar import Sidecar

MODELS = resources.files("vmaf_assay") / "models"
ROWS = {row["id"]: row for row in json.loads((MODELS / "registry.json").read_text())["rows"]}
MEANS = ["vmaf_forecast_ensemble_v1_mean", "fr_regressor_v2_ensemble_v1_mean"]


@pytest.fixture(params=MEANS)
def sidecar(request) -> Sidecar:
    """A shipped ensemble's sidecar."""
    return Sidecar.model_validate_json((MODELS / ROWS[request.param]["sidecar"]["file"]).read_text())


def test_blank_and_distant_features_are_refused(sidecar):
    """All zeros, every feature ten ranges above or below, or just one of them; the middle is answered."""
    low, high = np.array(sidecar.seen.feature_min), np.array(sidecar.seen.feature_max)
    middle, span = (low + high) / 2, high - low
    assert unsupported_reason(sidecar, middle, "libx264", "medium") is None
    far = [np.zeros(len(low)), high + 10 * span, low - 10 * span]
    far += [np.where(np.arange(len(low)) == i, high + 10 * span, middle) for i in range(len(low))]
    for features in far:
        reason = str(unsupported_reason(sidecar, features, "libx264", "medium"))
        assert re.search(
            r"far outside the (trained|[\d,]+ to [\d,]+ px that libx264 medium was measured at)", reason
        )


def test_an_encoder_that_was_never_trained_is_refused(sidecar):
    """Every encoder without a row in the corpus (all hardware), and presets beyond the outermost trained."""
    middle = (np.array(sidecar.seen.feature_min) + np.array(sidecar.seen.feature_max)) / 2
    trained = {one.encoder for one in sidecar.seen.encoders}
    assert trained == {name for name, encoder in ENCODERS.items() if not encoder.hardware}
    for name in set(ENCODERS) - trained:
        reason = unsupported_reason(sidecar, middle, name, ENCODERS[name].default_preset)
        assert str(reason).startswith(f"never trained on {name}")
    beyond = (("libx264", "placebo"), ("libx264", "ultrafast"), ("libx265", "veryfast"), ("libvvenc", "slow"))
    for encoder, preset in beyond:
        assert "never trained on" in str(unsupported_reason(sidecar, middle, encoder, preset))
    between = unsupported_reason(sidecar, middle, "libsvtav1", "9")
    assert (between is None) == (sidecar.task == "forecast")
