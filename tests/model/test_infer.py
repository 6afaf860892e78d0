"""An ensemble is what its sidecar says, and knows what it has not seen."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from tests.model.conftest import random_member
from vmaf_assay.errors import ModelLoadError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.model.codec_block import VOCABULARIES
from vmaf_assay.model.features import DEFAULT_PROBES, forecast_feature_names
from vmaf_assay.model.infer import open_ensemble, open_session
from vmaf_assay.model.onnx import OPSET, mean_graph, member_graph
from vmaf_assay.model.sidecar import HeldOut, Seen, SeenEncoder, Sidecar
from vmaf_assay.model.support import common_rates, probes_needed, size_reason, trained_presets, unsupported_reason
from vmaf_assay.model.weights import reference_predict

K = 6
MEMBERS = [random_member(seed, n_features=K, n_codec=14) for seed in range(5)]
MEAN, MEMBER = mean_graph(MEMBERS), member_graph(MEMBERS[0])
INSIDE = np.full(K, 0.5)


THREE_PRESETS = Seen(
    encoders=[
        SeenEncoder(encoder="libx264", preset="slow", rate_values=[16, 22, 28]),
        SeenEncoder(encoder="libx264", preset="medium", rate_values=[18, 28, 38]),
        SeenEncoder(encoder="libx264", preset="veryfast", rate_values=[22, 40]),
        SeenEncoder(encoder="libsvtav1", preset="8", rate_values=[21, 56]),
    ],
    feature_min=[0, 14],
    feature_max=[1, 20],
    feature_mean=[0.5, 17],
    feature_std=[0.2, 2],
    min_pixels=16384,
    max_pixels=1048576,
)


def sidecar(**changes) -> Sidecar:
    """A sidecar of `MEAN`, features seen in [0, 1]; libx264 medium 18 to 38, libsvtav1 8 at 21 to 56."""
    fields = {
        "id": "m_mean",
        "task": "fr",
        "role": "mean",
        "feature_names": [f"f{index}" for index in range(K)],
        "encoder_vocab_version": 2,
        "encoder_vocab": list(VOCABULARIES[2]),
        "opset": OPSET,
        "seen": Seen(
            encoders=[
                SeenEncoder(encoder="libx264", preset="medium", rate_values=[18, 28, 38]),
                SeenEncoder(encoder="libsvtav1", preset="8", rate_values=[21, 56]),
            ],
            feature_min=[0] * K,
            feature_max=[1] * K,
            feature_mean=[0.5] * K,
            feature_std=[0.2] * K,
            min_pixels=100,
            max_pixels=200,
        ),
        "recipe": {"name": "adr-0303"},
        "corpus_digest": "0" * 64,
        "held_out": HeldOut(mean_plcc=0.99, mean_srocc=0.98, mean_rmse=1.0),
        "onnx_sha256": sha256_bytes(MEAN),
    }
    return Sidecar(**(fields | changes))


def test_answers_are_the_members_mean_and_spread():
    """Against NumPy: mu, sigma with ddof 1, members, for three rows; float64 features are taken too."""
    rng = np.random.default_rng(1)
    features, codec = rng.random((3, K)), rng.random((3, 14)).astype(np.float32)
    answer = open_ensemble(MEAN, sidecar()).predict(features, codec)
    expected = np.stack([reference_predict(m, features.astype(np.float32), codec) for m in MEMBERS], axis=1)
    np.testing.assert_allclose(answer.members, expected, rtol=0, atol=2e-3)
    np.testing.assert_allclose(answer.mu, expected.mean(axis=1), rtol=0, atol=2e-3)
    np.testing.assert_allclose(answer.sigma, expected.std(axis=1, ddof=1), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("encoder", "preset", "n_pixels", "says"),
    [
        ("libx264", "slow", 921_600, None),
        ("libx264", "slow", 230_401, None),
        ("libx264", "veryfast", 230_401, "230,401 px; libx264 veryfast was measured at 25,344 to 230,400 px only"),
        ("libx264", "veryfast", 25_343, "25,344 to 230,400"),
        ("libx264", "faster", 230_401, "libx264 faster was measured at 25,344 to 230,400"),
        ("libsvtav1", "8", 1_048_576, None),
        ("libsvtav1", "8", 1_048_577, "16,384 to 1,048,576"),
    ],
)
def test_a_size_that_an_encoder_was_not_measured_at_is_said(encoder, preset, n_pixels, says):
    """By encoder and preset, between two presets by both; by the whole corpus where the sidecar knows no more."""
    sizes = {"slow": (25_344, 921_600), "medium": (25_344, 921_600), "veryfast": (25_344, 230_400)}
    encoders = [
        one.model_copy(update=dict(zip(("min_pixels", "max_pixels"), sizes[one.preset], strict=True)))
        if one.encoder == "libx264"
        else one
        for one in THREE_PRESETS.encoders
    ]
    seen = THREE_PRESETS.model_copy(update={"encoders": encoders})
    wide = sidecar(task="forecast", feature_names=["probe0.adm2", "log2_pixels"], seen=seen)
    told = size_reason(wide, encoder, preset, n_pixels)
    assert (told is None) if says is None else (says in str(told))


@pytest.mark.parametrize(
    ("preset", "n_pixels", "says"),
    [
        ("medium", 921_600, None),
        ("veryfast", 230_400, None),
        ("veryfast", 409_920, None),
        ("veryfast", 921_600, "921,600 px is far outside the 25,344 to 230,400 px that libx264 veryfast was"),
        ("faster", 921_600, "libx264 faster was measured at"),
    ],
)
def test_a_size_far_from_what_an_encoder_was_measured_at_is_refused(preset, n_pixels, says):
    """Though other encoders were measured there; a quarter of the corpus's range, in octaves, is let pass."""
    sizes = {"slow": (25_344, 921_600), "medium": (25_344, 921_600), "veryfast": (25_344, 230_400)}
    encoders = [
        one.model_copy(update=dict(zip(("min_pixels", "max_pixels"), sizes[one.preset], strict=True)))
        for one in THREE_PRESETS.encoders
        if one.encoder == "libx264"
    ]
    low, high = float(np.log2(25_344)), float(np.log2(921_600))
    seen = THREE_PRESETS.model_copy(
        update={"encoders": encoders, "feature_min": [0.0, low], "feature_max": [1.0, high], "min_pixels": 25_344}
    )
    wide = sidecar(task="forecast", feature_names=["probe0.adm2", "log2_pixels"], seen=seen)
    told = unsupported_reason(wide, np.array([0.5, np.log2(n_pixels)]), "libx264", preset)
    assert (told is None) if says is None else (says in str(told))


def test_a_row_does_not_depend_on_its_neighbours():
    """The same query alone and among 64 others gives the same answer to float32 rounding."""
    rng = np.random.default_rng(2)
    features, codec = rng.random((64, K)).astype(np.float32), rng.random((64, 14)).astype(np.float32)
    ensemble = open_ensemble(MEAN, sidecar())
    together, alone = ensemble.predict(features, codec), ensemble.predict(features[9:10], codec[9:10])
    np.testing.assert_allclose(alone.mu, together.mu[9:10], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "changes", "says"),
    [
        (MEAN, {"feature_names": ["a", "b"], "seen": THREE_PRESETS}, "inputs are"),
        (MEAN, {"encoder_vocab_version": 3, "encoder_vocab": list(VOCABULARIES[3])}, "inputs are"),
        (MEAN, {"encoder_vocab": list(VOCABULARIES[3])}, "vocabulary is not version 2"),
        (MEAN, {"encoder_vocab": list(reversed(VOCABULARIES[2]))}, "vocabulary is not version 2"),
        (MEMBER, {}, "outputs are"),
        (MEMBER, {"role": "member"}, "not an ensemble"),
        (MEAN[:-9], {}, "not readable"),
    ],
    ids=["features", "version", "vocabulary", "order", "member graph", "member", "cut"],
)
def test_a_graph_that_is_not_what_its_sidecar_says_is_refused(data, changes, says):
    """Each mismatch, by name."""
    with pytest.raises(ModelLoadError, match=says):
        open_ensemble(data, sidecar(**changes))


def test_a_member_opens_as_a_member():
    """The single-member graph has one output, `score`."""
    session = open_session(MEMBER, sidecar(role="member", id="m_seed0"))
    assert [out.name for out in session.get_outputs()] == ["score"]
    with pytest.raises(ModelLoadError, match="outputs are"):
        open_session(MEAN, sidecar(role="member"))


@pytest.mark.parametrize(
    ("features", "encoder", "preset", "rate_value", "says"),
    [
        (INSIDE, "libx264", "medium", 18, None),
        (INSIDE, "libx264", "medium", 38, None),
        (INSIDE, "libx264", "medium", None, None),
        (INSIDE, "libx264", "medium", 17.9, "rate value 17.9 is outside the trained 18 to 38"),
        (INSIDE, "libx264", "medium", 39, "outside"),
        (INSIDE, "libx264", "medium", float("nan"), "outside"),
        (INSIDE, "libx264", "slow", 28, "never trained on libx264 preset slow"),
        (INSIDE, "libx264", "fast", 28, "never trained on libx264 preset fast"),
        (INSIDE, "libsvtav1", "8", 28, None),
        (INSIDE, "libx265", "medium", 28, "never trained on libx265"),
        (INSIDE, "nonsense", "medium", 28, "unknown encoder"),
        (np.full(K, 1.5), "libx264", "medium", 28, None),
        (np.full(K, -0.5), "libx264", "medium", 28, None),
        (np.array([0.5, 0.5, 1.51, 0.5, 0.5, 0.5]), "libx264", "medium", 28, "f2 is 1.51, far outside"),
        (np.array([0.5, -0.51, 0.5, 0.5, 0.5, 0.5]), "libx264", "medium", 28, "f1 is -0.51, far outside"),
        (np.array([0.5, np.nan, 0.5, 0.5, 0.5, 0.5]), "libx264", "medium", 28, "not a finite"),
        (np.array([0.5, np.inf, 0.5, 0.5, 0.5, 0.5]), "libx264", "medium", 28, "not a finite"),
    ],
)
def test_support_ends_where_training_did(features, encoder, preset, rate_value, says):
    """Encoder, preset, rate range, and half a feature's range beyond what was seen; exactly half is inside."""
    reason = unsupported_reason(sidecar(), features, encoder, preset, rate_value)
    if says is None:
        assert reason is None
    else:
        assert reason is not None
        assert says in reason


@pytest.mark.parametrize(
    ("preset", "rates", "says"),
    [
        ("slow", [16, 22, 28], None),
        ("fast", [22, 28, 38], None),
        ("faster", [22, 28, 38], None),
        ("slower", None, "trained on slow, medium, veryfast"),
        ("ultrafast", None, "trained on slow, medium, veryfast"),
    ],
)
def test_a_forecast_answers_between_the_presets_it_was_trained_on(preset, rates, says):
    """Rate values of both neighbours in the range they share; nothing slower or faster than what was seen."""
    wide = sidecar(task="forecast", feature_names=["probe0.adm2", "log2_pixels"], seen=THREE_PRESETS)
    reason = unsupported_reason(wide, np.array([0.5, 17]), "libx264", preset)
    assert reason is None if says is None else says in str(reason)
    seen = trained_presets(wide, "libx264", preset)
    assert (common_rates(seen) if seen else None) == rates
    assert unsupported_reason(wide, np.array([0.5, 17]), "libsvtav1", "9") is not None
    if rates:
        assert unsupported_reason(wide, np.array([0.5, 17]), "libx264", preset, rates[0] - 1) is not None


@pytest.mark.parametrize(
    ("encoders", "expected"),
    [
        (["libx264"], [0, 1]),
        (["h264_nvenc"], [0, 1]),
        (["libsvtav1", "libaom-av1"], [0, 3]),
        (["libvvenc"], [0, 2]),
        (["libvpx-vp9", "libx264"], [0, 1, 4]),
    ],
)
def test_an_encoder_reads_the_first_probe_and_its_family_s(encoders, expected):
    """Nobody pays for a probe that no forecast reads; models of 0.1.0 read all of theirs."""
    names = list(forecast_feature_names())
    flat = [0.0] * len(names)
    seen = THREE_PRESETS.model_copy(
        update={"feature_min": flat, "feature_max": flat, "feature_mean": flat, "feature_std": flat}
    )
    asked = sidecar(task="forecast", feature_names=names, probes=list(DEFAULT_PROBES), seen=seen)
    assert probes_needed(asked, encoders) == [DEFAULT_PROBES[i] for i in expected]
    medium = [(encoder, "medium") for encoder in encoders]
    further = {5} if "libx264" in encoders else set()
    assert probes_needed(asked, encoders, medium) == [DEFAULT_PROBES[i] for i in sorted({*expected, *further})]
    old = asked.model_copy(update={"feature_names": [name.replace("own.", "probe1.") for name in names]})
    assert probes_needed(old, encoders) == list(DEFAULT_PROBES)


def test_a_picture_far_larger_than_any_trained_on_is_named_in_pixels():
    """The size is a logarithm inside, and pixels in what is said."""
    wide = sidecar(task="forecast", feature_names=["probe0.adm2", "log2_pixels"], seen=THREE_PRESETS)
    assert unsupported_reason(wide, np.array([0.5, 21.4]), "libx264", "medium") is None
    reason = unsupported_reason(wide, np.array([0.5, 25]), "libx264", "medium")
    assert reason == (
        "a picture of 33,554,432 px is far outside the 16,384 to 1,048,576 px that libx264 medium was measured at"
    )


def test_sidecar_survives_its_file():
    """JSON and back is the same record."""
    record = sidecar(
        calibration={
            "kind": "interval",
            "ensemble": "e",
            "corpus_digest": "0",
            "groups": [{"group": "a", "residuals": [0.5, -1e-5]}],
        },
        bitrate=None,
    )
    assert Sidecar.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"surprise": 1},
        {"task": "both"},
        {"role": "median"},
        {"encoder_vocab_version": 1},
        {"held_out": {"mean_plcc": float("nan"), "mean_srocc": 0, "mean_rmse": 0}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_a_sidecar_of_another_shape_is_refused(changes):
    """Unknown version, unknown field, unknown word, NaN."""
    with pytest.raises(ValidationError):
        sidecar(**changes)


def test_inference_loads_no_training_code():
    """`model.infer` brings in neither JAX nor optax nor polars nor scipy."""
    code = (
        "import sys, vmaf_assay.model.infer as i, vmaf_assay.model.bitrate; "
        "print(sorted({'jax', 'jaxlib', 'optax', 'polars', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
