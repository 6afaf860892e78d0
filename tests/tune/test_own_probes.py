"""Jobs outside the calibration: searched with encodes of their own, measured, and never promised."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.media.encoders import encoder_info, with_extra_args
from vmaf_assay.media.encoders.driven import Drive
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i testsrc2=size=192x112:rate=25,noise=alls=12:allf=t -frames:v 12 -c:v ffv1 source.mkv`."""
    path = tmp_path_factory.mktemp("own") / "source.mkv"
    graph = "testsrc2=size=192x112:rate=25,noise=alls=12:allf=t"
    return lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("named", ["libkvazaar:ultrafast", "libx264:ultrafast"])
def test_an_encoder_never_trained_on_is_searched(ffmpeg, source, tmp_path, named):
    """Two own probes, a trial, the encode and its measurement; nothing is promised, and the answer says so."""
    out, steps = tmp_path / "out.mkv", []
    request = TuneRequest(source, named, 80.0, 0.9, trials=1, output=out, verify=True)
    result = tune(ffmpeg, verified(), request, on_step=lambda *step: steps.append(step[0]))
    name = named.partition(":")[0]
    info, preset = encoder_info(name), result.preset
    assert {(probe.encoder, probe.preset) for probe in result.probes} == {(name, preset)}
    own = len(result.probes) + len(result.trials)
    assert 1 <= len(result.probes) <= 2
    assert result.promise.own_encodes == own
    assert result.encodes_spent == own + 1
    assert not result.promised
    assert [reason.code for reason in result.promise.reasons] == ["unlike_training", "own_curve"]
    assert "nothing promised" in result.answer()
    assert "Measured on every frame" in result.answer()
    assert any(what.startswith("own probe 1 of 2") for what in steps)
    assert probe_video(ffmpeg, out).n_frames == 12
    assert result.met == (result.measured_vmaf >= 80.0)
    # The first probe is in the middle of the declared range, and is what the encoder gives there.
    first = result.probes[0]
    assert first.rate_value == pytest.approx((info.rate_min + info.rate_max) / 2, abs=0.5)
    reference = ReferenceInput(source, probe_video(ffmpeg, source).frame_rate, 12, (192, 112))
    again = encode_and_score(ffmpeg, reference, info, preset, first.rate_value)
    assert first.vmaf == pytest.approx(again.pooled_vmaf, abs=1e-6)
    assert first.kbps == pytest.approx(again.kbps)
    document = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert document["promise"]["own_encodes"] == own
    assert (document["supported"], document["promised"]) == (False, False)


@pytest.mark.ffmpeg
def test_own_options_are_searched_with_those_options(ffmpeg, source):
    """`--encoder-args` change what an encode scores: the curve goes through encodes with them."""
    options = "-x264-params nr=5000"
    request = TuneRequest(source, "libx264", 85.0, 0.9, trials=0, encoder_args=options)
    result = tune(ffmpeg, verified(), request)
    assert "options_not_calibrated" in {reason.code for reason in result.promise.reasons}
    assert not result.promised
    info = with_extra_args(encoder_info("libx264"), options)
    reference = ReferenceInput(source, probe_video(ffmpeg, source).frame_rate, 12, (192, 112))
    for probe in result.probes:
        again = encode_and_score(ffmpeg, reference, info, "medium", probe.rate_value)
        assert probe.vmaf == pytest.approx(again.pooled_vmaf, abs=1e-6)


@pytest.mark.ffmpeg
def test_the_choice_is_answered_yes_only_where_it_was_measured(ffmpeg, source):
    """Without `--verify` the answer is yes if an own encode of every frame met the target at the choice."""
    result = tune(ffmpeg, verified(), TuneRequest(source, "libopenh264", 80.0, 0.9, trials=2))
    measured = {probe.rate_value: probe.vmaf for probe in result.probes}
    measured |= {trial["rate_value"]: trial["measured_vmaf"] for trial in result.trials}
    assert result.met == (measured.get(result.rate_value, 0.0) >= 80.0)
    assert result.lower_bound >= 80.0
    curve = {point.rate_value: point for point in result.curve}
    for rate, vmaf in measured.items():
        assert curve[rate].mu == curve[rate].lower_bound == pytest.approx(vmaf)
    others = [point for rate, point in curve.items() if rate not in measured]
    assert all(point.lower_bound < point.mu for point in others)
    kbps = [point.kbps for point in sorted(result.curve, key=lambda one: one.rate_value)]
    assert np.isfinite(kbps).all()
    assert kbps == sorted(kbps, reverse=True)


@pytest.mark.ffmpeg
def test_another_target_needs_no_first_probe(ffmpeg, source, tmp_path):
    """Own encodes go through the cache like any other: the first probe serves every target."""
    cache = Cache(tmp_path / "cache")
    first = tune(ffmpeg, verified(), TuneRequest(source, "libopenh264", 80.0, 0.9, trials=0), cache=cache)
    again = tune(ffmpeg, verified(), TuneRequest(source, "libopenh264", 80.0, 0.9, trials=0), cache=cache)
    assert (again.encodes_spent, again.encodes_cached) == (0, first.encodes_spent)
    assert again.rate_value == first.rate_value
    other = tune(ffmpeg, verified(), TuneRequest(source, "libopenh264", 88.0, 0.9, trials=0), cache=cache)
    assert other.encodes_cached >= 1


@pytest.mark.ffmpeg
def test_a_long_source_is_searched_by_segments(ffmpeg, tmp_path):
    """Of a long source segments are encoded; the bound includes the sampling error, and trials take fewer."""
    path = tmp_path / "title.mkv"
    graph = "testsrc2=size=96x64:rate=25,noise=alls=20:allf=t"
    lavfi(ffmpeg, path, "-frames:v", "800", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", graph=graph)
    request = TuneRequest(path, "libopenh264", 75.0, 0.9, trials=1, probe_seconds=15.4)
    result = tune(ffmpeg, verified(), request)
    assert result.sample is not None
    assert 4 <= result.sample.segments < result.sample.units
    assert result.promise.own_encodes == len(result.probes) + len(result.trials)
    assert result.encodes_spent == result.promise.own_encodes
    assert not result.met  # segments were measured, not every frame
    assert result.sample.sampling_part >= 0
    assert result.margin >= result.sample.sampling_part - 1e-9


@pytest.mark.ffmpeg
@pytest.mark.parametrize(("name", "low", "high"), [("mpeg2video", 1.0, 31.0), ("libtheora", 0.0, 10.0)])
def test_any_other_encoder_is_driven_by_its_option(ffmpeg, source, tmp_path, name, low, high):
    """`--rate-flag -q:v --rate-range` searches, encodes and measures an encoder that the table does not know."""
    out = tmp_path / "out.mkv"
    request = TuneRequest(
        source, name, 75.0, 0.9, trials=1, output=out, verify=True, drive=Drive("-q:v", low, high)
    )
    result = tune(ffmpeg, verified(), request, cache=Cache(tmp_path / "cache"))
    assert probe_video(ffmpeg, out).codec == {"mpeg2video": "mpeg2video", "libtheora": "theora"}[name]
    assert "-q:v" in result.encode_argv
    assert low <= result.rate_value <= high
    vmaf = [point.mu for point in sorted(result.curve, key=lambda one: one.rate_value)]
    assert (vmaf[0] > vmaf[-1]) == (name == "mpeg2video")
    assert not result.promised
    assert result.met == (result.measured_vmaf >= 75.0)
    assert " at Q " in result.answer()
