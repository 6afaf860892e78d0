"""The shipped models know what they have not seen."""

import json
import re
from importlib import resources

import numpy as np
import pytest

from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.model.codec_block import VOCABULARIES
from vmaf_assay.model.sidecar import ChoiceCalibration, Sidecar, probes_known
from vmaf_assay.model.support import probes_needed, size_reason, unsupported_reason
from vmaf_assay.promise.curves import curves_of

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
    """Encoders without a row in the corpus (hardware, later ones), and presets beyond the outermost trained."""
    middle = (np.array(sidecar.seen.feature_min) + np.array(sidecar.seen.feature_max)) / 2
    trained = {one.encoder for one in sidecar.seen.encoders}
    assert trained == {
        name for name, encoder in ENCODERS.items() if not encoder.hardware and name in VOCABULARIES[3]
    }
    for name in set(ENCODERS) - trained:
        reason = unsupported_reason(sidecar, middle, name, ENCODERS[name].default_preset)
        assert str(reason).startswith(f"never trained on {name}")
    beyond = (("libx264", "placebo"), ("libx264", "ultrafast"), ("libx265", "veryfast"), ("libvvenc", "slow"))
    for encoder, preset in beyond:
        assert "never trained on" in str(unsupported_reason(sidecar, middle, encoder, preset))
    between = unsupported_reason(sidecar, middle, "libsvtav1", "9")
    assert (between is None) == (sidecar.task == "forecast")


@pytest.mark.parametrize(
    ("encoder", "preset", "few", "more"),
    [
        ("libx264", "medium", [30, 22], [30, 22, 26]),
        ("libx265", "medium", [30], [30, 22, 26]),
        ("libsvtav1", "8", [42], [42, 28]),
        ("libsvtav1", "6", [], []),
        ("libvpx-vp9", "4", [], []),
    ],
)
def test_the_shipped_forecast_has_the_probes_that_the_documents_name(encoder, preset, few, more):
    """Of each kind what `--probes few` and `more` know; every one is measured of every source calibrated on."""
    sidecar = Sidecar.model_validate_json((MODELS / ROWS[MEANS[0]]["sidecar"]["file"]).read_text())
    assert isinstance(sidecar.calibration, ChoiceCalibration)
    for further, rates in ((False, few), (True, more)):
        known = [sidecar.probes[i] for i in probes_known(sidecar.probes, encoder, preset, more=further)]
        assert [probe.rate_value for probe in known] == rates
        made = probes_needed(sidecar, [encoder], [(encoder, preset)] if further else ())
        assert {*known} <= {*made}
        assert len(made) == 2 + len(more) * further - len(few) * further
        curves = [c for c in curves_of(sidecar.calibration, more_probes=further) if c.encoder == encoder]
        asked = [c for c in curves if c.preset == preset]
        assert asked
        assert all(sorted(c.known) == sorted(rates) for c in asked)


@pytest.mark.parametrize(
    ("encoder", "preset", "answered", "silent"),
    [
        ("libsvtav1", "6", (1920, 1080), True),
        ("libx265", "slow", (1920, 1080), True),
        ("libx264", "medium", (2560, 1440), False),
        ("libaom-av1", "6", (1280, 720), True),
        ("libaom-av1", "6", (1920, 1080), False),
        ("libvvenc", "faster", (2560, 1440), None),
    ],
)
def test_the_shipped_forecast_answers_the_sizes_that_the_documents_name(encoder, preset, answered, silent):
    """True: without a remark; False: with one; None: not at all."""
    sidecar = Sidecar.model_validate_json((MODELS / ROWS[MEANS[0]]["sidecar"]["file"]).read_text())
    features = np.array(sidecar.seen.feature_mean)
    features[sidecar.feature_names.index("log2_pixels")] = np.log2(answered[0] * answered[1])
    refused = unsupported_reason(sidecar, features, encoder, preset)
    said = size_reason(sidecar, encoder, preset, answered[0] * answered[1])
    assert (refused is not None, said is None) == (silent is None, silent is True)
