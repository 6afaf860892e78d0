"""Targets of other models, poolings and depths: measured as plain libvmaf does, and not promised."""

import json

import numpy as np
import pytest

from tests.conftest import lavfi
from vmaf_assay.api import compare_encoders, tune_source
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.model.sidecar import ProbeSpec
from vmaf_assay.records import MEAN_VMAF, V1_FEATURES, Measurand, features_of_v1
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.request import compared_at, read_scale

pytestmark = pytest.mark.ffmpeg
GRAPH = "mandelbrot=size=480x270:rate=25:start_scale=0.2,noise=alls=6:allf=t,format=yuv420p"


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory):
    """16 noisy frames, 480x270."""
    return lavfi(
        ffmpeg, tmp_path_factory.mktemp("scale") / "in.mkv", "-frames:v", "16", "-c:v", "ffv1", graph=GRAPH
    )


def frames_by_hand(ffmpeg, folder, encode, source, model, pix_fmt) -> np.ndarray:
    """Per-frame scores by plain libvmaf."""
    side = f"settb=1/25,setpts=N,format={pix_fmt}"
    graph = f"[0:v]{side}[d];[1:v]{side}[r];[d][r]libvmaf=model=version={model}:log_fmt=json:log_path=log.json"
    argv = [*ffmpeg.base_argv(), "-i", str(encode), "-i", str(source), "-lavfi", graph, "-f", "null", "-"]
    assert process.run(argv, cwd=folder).exit_code == 0
    return np.array([f["metrics"]["vmaf"] for f in json.loads((folder / "log.json").read_text())["frames"]])


@pytest.mark.parametrize(
    ("vmaf", "pool", "depth", "model", "pooled"),
    [
        ("v1", "p5", "10", "vmaf_v1.0.16_3d0h", lambda x: np.percentile(x, 5)),
        ("v1-phone", "mean", "8", "vmaf_v1.0.16_5d0h", np.mean),
        ("neg", "harmonic", "8", "vmaf_v0.6.1neg", lambda x: len(x) / np.sum(1 / (x + 1)) - 1),
    ],
)
def test_a_target_is_of_what_is_asked(ffmpeg, source, tmp_path, vmaf, pool, depth, model, pooled):
    """The encode has that depth, its measured number is plain libvmaf's, and nothing is promised of it."""
    out = tmp_path / "out.mkv"
    measurand, _ = read_scale(vmaf, pool, depth)
    result = tune_source(
        source, encoder="libx265:ultrafast", target_vmaf=85, measurand=measurand, output=out, verify=True
    )
    assert probe_video(ffmpeg, out).bit_depth == int(depth)
    pix_fmt = "yuv420p10le" if depth == "10" else "yuv420p"
    by_hand = frames_by_hand(ffmpeg, tmp_path, out, source, model, pix_fmt)
    assert result.measured_vmaf == pytest.approx(pooled(by_hand), abs=1e-4)
    assert (result.vmaf_model, result.pooling, result.bit_depth) == (model, pool, int(depth))
    assert not result.promise.made
    assert any(f"not of {measurand}" in reason for reason in result.reasons)
    assert result.trials
    for trial in result.trials:
        assert abs(trial["measured_vmaf"] - 85) < 12


def test_probes_of_a_forecast_are_scored_for_it(ffmpeg, source, tmp_path):
    """A probe has the depth its ensemble names. Its scores are v1's, and it has what v0.6.1 and v1 read."""
    video = probe_video(ffmpeg, source)
    plain = ReferenceInput(source, video.frame_rate, video.n_frames, (video.width, video.height))
    reference = compared_at(plain, 10)
    spec = ProbeSpec(encoder="libx265", preset="ultrafast", rate_value=30, bit_depth=10)
    with Measurer(ffmpeg, reference, None, None, Measurand("vmaf_v1.0.16_5d0h", "mean", 10)) as measurer:
        (probe,) = measurer.probe([spec])
    assert np.isfinite(probe.scored.features).all()
    assert set(features_of_v1(probe.scored)) == set(V1_FEATURES)
    encode = tmp_path / "x265.mkv"
    codec = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "30", "-pix_fmt", "yuv420p10le")
    process.run([ffmpeg.path, "-i", str(source), *codec, "-x265-params", "log-level=none", str(encode)])
    by_hand = frames_by_hand(ffmpeg, tmp_path, encode, source, "vmaf_v1.0.16_5d0h", "yuv420p10le")
    assert probe.scored.vmaf == pytest.approx(by_hand, abs=0.05)


def test_the_usual_target_is_what_it_was(source):
    """Without these options the forecast promises as before, with no word about the model."""
    result = tune_source(source, encoder="libx264", target_vmaf=90)
    assert (result.vmaf_model, result.pooling, result.bit_depth) == ("vmaf_v0.6.1", "mean", 8)
    assert not any("VMAF is the" in reason for reason in result.reasons)


def test_depth_of_the_source(ffmpeg, source):
    """An 8-bit source asked for its own depth is the usual job."""
    result = tune_source(source, encoder="libx264", target_vmaf=90, depth_of_source=True, trials=0)
    assert result.bit_depth == 8
    assert result.promise == tune_source(source, encoder="libx264", target_vmaf=90, trials=0).promise


def test_compare_of_another_measurand(source):
    """Each encoder is searched on that scale; one that lacks the depth is refused with the reason."""
    found = compare_encoders(
        source,
        ["libx264:ultrafast", "libx265:ultrafast"],
        target_vmaf=85,
        measurand=Measurand("vmaf_v0.6.1", "mean", 10),
    )
    assert {one.encoder for one in found.contenders} == {"libx264", "libx265"}
    assert not any(one.promise.made for one in found.contenders)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--vmaf", "v2", "unknown VMAF model 'v2'; choose one of v0.6.1, neg, 4k, v1"),
        ("--pool", "p50", "--pool is mean, harmonic, p5, p1"),
        ("--bit-depth", "12", "--bit-depth is 8, 10 or source"),
    ],
)
def test_values_that_are_none_are_refused(source, capsys, option, value, words):
    """With what there is, in one line, exit 2."""
    assert main(["tune", str(source), option, value]) == 2
    assert words in capsys.readouterr().err


def test_an_encoder_without_that_depth_is_refused(source):
    """Kvazaar makes 8-bit encodes only."""
    with pytest.raises(ConfigError, match="libkvazaar makes no 10-bit encodes"):
        tune_source(source, encoder="libkvazaar", measurand=Measurand("vmaf_v0.6.1", "mean", 10))
    assert str(MEAN_VMAF) == "vmaf_v0.6.1 mean 8-bit"
