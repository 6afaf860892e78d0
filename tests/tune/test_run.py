"""Tuning from end to end with real encodes and a made-up ensemble, and everything that can be asked wrongly."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import OWN_PROBES, PROBES, RATES, logistic, verified
from vmaf_assay.errors import ConfigError, MediaError, ToolError
from vmaf_assay.media import process
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import score_pair
from vmaf_assay.promise.choice import Curve, Forecaster, calibrate_margin
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.own_curve import OwnForecaster, own_calibration
from vmaf_assay.tune.forecast import Probe, forecast
from vmaf_assay.tune.probing import implied_rate
from vmaf_assay.tune.request import TuneRequest, check_request, resolved
from vmaf_assay.tune.run import tune


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i testsrc2=size=192x108:rate=25,noise=alls=12:allf=t -frames:v 12 -c:v ffv1 source.mkv`."""
    path = tmp_path_factory.mktemp("tune") / "source.mkv"
    graph = "testsrc2=size=192x108:rate=25,noise=alls=12:allf=t"
    return lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)


@pytest.mark.ffmpeg
def test_tunes_from_probe_to_verified_encode(ffmpeg, source, tmp_path):
    """A source is probed twice, tried, encoded and measured; what is said agrees with what is on disk."""
    out, steps = tmp_path / "out.mkv", []
    request = TuneRequest(source, "libx264", 85.0, 0.9, trials=2, output=out, verify=True)
    result = tune(ffmpeg, verified(bitrate=True), request, on_step=lambda *step: steps.append(step))
    assert result.promise.made
    assert result.lower_bound >= 85.0
    assert result.encodes_spent == 2 + len(result.trials) + 1
    measured = {trial["rate_value"]: trial["measured_vmaf"] for trial in result.trials}
    assert result.margin == pytest.approx(result.mu - result.lower_bound)
    info = probe_video(ffmpeg, out)
    assert info.n_frames == 12
    again = score_pair(ffmpeg, ReferenceInput(source, Fraction(25), 12, (192, 108)), out)
    assert result.measured_vmaf == pytest.approx(again.pooled_vmaf, abs=1e-6)
    if result.rate_value in measured:  # a trial runs as the final encode does
        assert result.measured_vmaf == pytest.approx(measured[result.rate_value], abs=1e-4)
    assert result.met == (result.measured_vmaf >= 85.0)
    assert list(tmp_path.iterdir()) == [out]
    assert {what.split()[0] for what, _, _ in steps} == {"open", "probe", "trial", "encode", "verify"}
    assert all(0 <= done <= total == 12 for what, done, total in steps if not what.startswith("open"))
    document = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert document["encode_argv"][-1] == str(out)
    assert f"{result.rate_value:g}" in document["encode_argv"]
    assert document["forecast_kbps"] > 0


@pytest.mark.ffmpeg
def test_without_trials_only_probes_are_made(ffmpeg, source):
    """`--trials 0` without an output spends the two probes and nothing else."""
    steps = []
    request = TuneRequest(source, "libx264", 85.0, 0.9, trials=0)
    result = tune(ffmpeg, verified(), request, on_step=lambda *step: steps.append(step))
    assert (result.trials, result.encodes_spent, result.output, result.kbps) == ([], 2, None, None)
    assert {what.split()[0] for what, _, _ in steps} == {"open", "probe"}
    assert result.forecast_kbps is None


@pytest.mark.ffmpeg
def test_out_of_reach_is_an_answer(ffmpeg, source, tmp_path):
    """A target nothing reaches gives the best there is, says so, and writes nothing."""
    out = tmp_path / "out.mkv"
    made_up = verified(centre=20.0)
    result = tune(ffmpeg, made_up, TuneRequest(source, "libx264", 93.0, 0.9, trials=0, output=out))
    assert not result.promise.reachable
    assert not result.met
    assert result.lower_bound < 93.0
    assert any("reaches 93" in reason for reason in result.reasons)
    assert not out.exists()


@pytest.mark.ffmpeg
def test_a_target_that_calibration_cannot_speak_of(ffmpeg, source, tmp_path):
    """Where too few calibration groups reach the target the answer is no, with a bound from a lower target."""
    out, steps = tmp_path / "out.mkv", []
    request = TuneRequest(source, "libx264", 99.95, 0.9, trials=2, output=out)
    result = tune(ffmpeg, verified(centre=60.0), request, on_step=lambda *step: steps.append(step))
    assert "target_not_calibrated" in {reason.code for reason in result.promise.reasons}
    assert any("too few calibration groups reach 99.95" in reason for reason in result.reasons)
    assert (result.rate_value, result.trials) == (14.0, [])
    assert 90 < result.lower_bound < 99.95
    assert {what.split()[0] for what, _, _ in steps} == {"open", "probe"}
    assert not out.exists()


@pytest.mark.ffmpeg
def test_nothing_is_promised_outside_the_support(ffmpeg, source, tmp_path):
    """Features far outside what the model has seen: nothing is promised; the source is searched and encoded."""
    out = tmp_path / "out.mkv"
    made_up = verified(feature_range=(-1.0, -0.9))
    result = tune(ffmpeg, made_up, TuneRequest(source, "libx264", 85.0, 0.9, trials=0, output=out))
    assert not result.promise.supported
    assert not result.promised
    assert [reason.code for reason in result.promise.reasons] == ["unlike_training", "own_curve"]
    assert any("far outside the trained" in reason for reason in result.reasons)
    assert {(probe.encoder, probe.preset) for probe in result.probes} == {("libx264", "medium")}
    assert (
        result.encodes_spent == 2 + result.promise.own_encodes + 1
    )  # the forecast's probes, own ones, the output
    assert probe_video(ffmpeg, out).n_frames == 12


@pytest.mark.ffmpeg
def test_odd_sizes_and_audio_survive(ffmpeg, tmp_path):
    """An odd-sized source with sound is encoded at the nearest even size, with its sound."""
    path = lavfi(
        ffmpeg,
        tmp_path / "odd.mkv",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=0.5",
        "-frames:v",
        "12",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "flac",
        graph="testsrc2=size=193x109:rate=25",
    )
    out = tmp_path / "out.mkv"
    tune(ffmpeg, verified(), TuneRequest(path, "libx264", 80.0, 0.9, trials=0, output=out, verify=True))
    info = probe_video(ffmpeg, out)
    assert (info.width, info.height, info.n_frames) == (192, 108, 12)
    from vmaf_assay.media import process

    streams = process.run([*ffmpeg.base_argv(level="info"), "-i", str(out), "-f", "null", "-"]).stderr
    assert "Audio: flac" in streams


@pytest.mark.ffmpeg
def test_a_failed_encode_leaves_nothing(ffmpeg, tmp_path, source):
    """A source that disappears before the encode: one line that says so, and no file, whole or half."""
    gone = tmp_path / "gone.mkv"
    gone.write_bytes(source.read_bytes())

    def on_step(what, done, total):
        if what.startswith("probe 2") and done == total:
            gone.unlink(missing_ok=True)

    request = TuneRequest(gone, "libx264", 80.0, 0.9, trials=0, output=tmp_path / "out.mkv")
    with pytest.raises(ToolError, match=r"reading the times of gone\.mkv"):
        tune(ffmpeg, verified(), request, on_step=on_step)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffmpeg
def test_refusals_come_before_the_first_encode(ffmpeg, source):
    """What cannot be had is refused while it costs nothing: too much confidence, no coverage, invalid options."""
    steps = []

    def ask(ensemble, **changes):
        request = {"source": source, "encoder": "libx264", "target_vmaf": 85.0, "confidence": 0.9} | changes
        tune(ffmpeg, ensemble, TuneRequest(**request), on_step=lambda *step: steps.append(step))

    with pytest.raises(ConfigError, match="needs 99 calibration groups, there are 30"):
        ask(verified(), confidence=0.99)
    with pytest.raises(ConfigError, match="did not pass the coverage policy"):
        ask(verified(eligible=False))
    with pytest.raises(ConfigError, match="'-tune nonsense' do not work with libx264"):
        ask(verified(), encoder_args="-tune nonsense")
    assert steps == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_vmaf": 101.0}, "between 0 and 100, not 101"),
        ({"target_vmaf": 0.0}, "between 0 and 100"),
        ({"target_vmaf": float("nan")}, "between 0 and 100"),
        ({"confidence": 0.0}, "between 0 and 1"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"confidence": float("nan")}, "between 0 and 1"),
        ({"trials": -1}, "trials are 0, 1 or 2"),
        ({"trials": 3}, "trials are 0, 1 or 2"),
        ({"probes": "many"}, "--probes is few or more, not 'many'"),
        ({"encoder": "x2640"}, "unknown encoder 'x2640'; did you mean libx264"),
        ({"encoder": "h264"}, "'h264' is a codec, not an encoder; name an encoder: libx264"),
        (
            {"encoder": "libx264:slow:24"},
            "the rate value is chosen for you, from the target; write -e libx264:slow",
        ),
        ({"encoder": "x264:slow", "preset": "fast"}, "-e x264:slow and --preset fast name two presets"),
        ({"encoder": "x264:warp"}, "has no preset 'warp'"),
        ({"target_vmaf": 0.95}, "you probably want --target-vmaf 95"),
        ({"target_vmaf": 0.5}, "you probably want --target-vmaf 50"),
        ({"target_vmaf": 1.0}, "you probably want --target-vmaf 99"),
        ({"confidence": 95.0}, "you probably want --quality-confidence 0.95"),
        ({"confidence": 100.0}, "between 0 and 1, not 100; ask for 0.95"),
        ({"retry": 1}, "--retry needs an encode to measure, and no output is named; add -o OUT"),
        ({"retry": 10, "output": Path("out.mkv")}, "--retry is 0 to 9"),
        ({"preset": "warp"}, "has no preset 'warp'"),
        ({"verify": True}, "add -o OUT"),
        ({"output": Path("absent/out.mkv")}, "is not a folder"),
        ({"output": Path("out.txt")}, "unknown container"),
    ],
)
def test_requests_that_cannot_be_meant(changes, message):
    """Each impossible request is refused with what is wrong in it."""
    request = {"source": Path("in.mkv"), "encoder": "libx264", "target_vmaf": 93.0, "confidence": 0.95} | changes
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_request(resolved(TuneRequest(**request)))


@pytest.mark.parametrize(
    ("given", "name", "preset"),
    [
        ("x264", "libx264", None),
        ("x265:slow", "libx265", "slow"),
        ("svt-av1", "libsvtav1", None),
        ("SVT_AV1:8", "libsvtav1", "8"),
        ("aom", "libaom-av1", None),
        ("vp9:4", "libvpx-vp9", "4"),
        ("vvenc", "libvvenc", None),
        ("libx264:medium", "libx264", "medium"),
        ("h264_nvenc", "h264_nvenc", None),
    ],
)
def test_names_that_people_use(given, name, preset):
    """A common name becomes ffmpeg's, and NAME:PRESET is taken apart; `--preset` may say the same again."""
    request = resolved(TuneRequest(Path("in.mkv"), given))
    assert (request.encoder, request.preset) == (name, preset)
    assert resolved(TuneRequest(Path("in.mkv"), given, preset=preset)).preset == preset


def test_an_unknown_name_lists_what_is_answered():
    """Only encoders that can be answered for are proposed, not all that the table holds."""
    with pytest.raises(ConfigError) as caught:
        resolved(TuneRequest(Path("in.mkv"), "nonsense"), ["libx264", "libsvtav1"])
    said = (
        "unknown encoder 'nonsense'; choose one of libsvtav1, libx264; --rate-flag and --rate-range drive others"
    )
    assert str(caught.value) == said
    with pytest.raises(ConfigError, match="did you mean libsvtav1"):
        resolved(TuneRequest(Path("in.mkv"), "svt-av"), ["libx264", "libsvtav1"])


@pytest.mark.ffmpeg
def test_a_missed_encode_names_the_rate_value_it_implies(ffmpeg, source, tmp_path, monkeypatch):
    """The output misses: the rate value that its measurement implies is named, and `retry` encodes there.

    What makes it miss is a noise reduction that no probe went through; it is taken for a calibrated option.
    """
    monkeypatch.setattr("vmaf_assay.tune.plan.outside", lambda *_: "")
    out = tmp_path / "out.mkv"
    notes: list[str] = []
    asked = TuneRequest(source, "libx264", 92.0, 0.9, trials=0, probes="few", output=out, verify=True)
    asked = replace(asked, encoder_args="-x264-params nr=5000")
    once = tune(ffmpeg, verified(centre=60.0), asked)
    assert once.measured_vmaf is not None
    assert once.measured_vmaf < 92 <= once.mu
    assert once.implied_rate_value is not None
    assert once.implied_rate_value < once.rate_value
    assert any(f"implies crf {once.implied_rate_value:g} (--retry 1" in reason for reason in once.reasons)
    asked = replace(asked, verify=False, retry=9, force=True)
    again = tune(ffmpeg, verified(centre=60.0), asked, on_note=notes.append)
    assert [one.rate_value for one in again.missed][:1] == [once.rate_value]
    assert again.missed[0].measured_vmaf == pytest.approx(once.measured_vmaf, abs=1e-6)
    rates = [*(one.rate_value for one in again.missed), again.rate_value]
    assert rates[1] == once.implied_rate_value
    assert rates == sorted(rates, reverse=True)
    assert again.encodes_spent == once.encodes_spent + len(again.missed)
    measured = score_pair(ffmpeg, ReferenceInput(source, Fraction(25), 12, (192, 108)), out).pooled_vmaf
    assert again.measured_vmaf == pytest.approx(measured, abs=1e-6)
    assert again.met == (measured >= 92)
    assert (again.implied_rate_value is None) == again.met or again.rate_value == 14.0
    document = json.loads(json.dumps(again.as_json(), allow_nan=False))
    assert f"{again.rate_value:g}" in document["encode_argv"]
    assert again.rate_value in {point["rate_value"] for point in document["curve"]}


def test_the_implied_rate_value_is_beyond_every_miss():
    """It is the cheapest of higher quality than every miss whose corrected forecast meets the target; or none."""
    rates = np.array(RATES)
    curve = Curve("", "", "libx264", "medium", rates, logistic(rates, 46.0), np.full(8, 0.5), np.full(8, np.nan))
    forecaster = Forecaster(curve)
    implied = implied_rate(forecaster, 93.0, {32.0: 91.0})
    assert implied is not None
    mu = forecaster.corrected({32.0: 91.0})
    assert mu[forecaster.at(implied)] >= 93 > mu[forecaster.at(implied + 0.1)]
    nearer = implied_rate(forecaster, 93.0, {32.0: 91.0, implied: 92.9})
    assert nearer is not None
    assert nearer < implied
    assert implied_rate(forecaster, 99.9, {14.0: 99.0}) is None


def test_a_miss_counts_fully_where_the_curve_takes_it_for_noise():
    """A curve through own encodes passes 0.4 points above a miss: a rate value that gains less is not implied."""
    forecaster = OwnForecaster(encoder_info("libx264"), own_calibration().prior, {20.6: 94.95, 25.5: 84.99})
    curve = forecaster.corrected({22.4: 91.48})
    jump = (curve[forecaster.at(22.5)] + curve[forecaster.at(22.3)]) / 2 - 91.48
    assert jump > 0.3
    implied = implied_rate(forecaster, 92.0, {22.4: 91.48})
    assert implied is not None
    assert curve[forecaster.at(implied)] >= 92 + jump > curve[forecaster.at(implied + 0.1)]


@pytest.mark.ffmpeg
def test_an_encode_larger_than_its_source_is_said(ffmpeg, source, tmp_path):
    """Before the encode by the forecast and after it by the file, against the source's own video packets."""
    small = lavfi(
        ffmpeg,
        tmp_path / "small.mkv",
        "-frames:v",
        "12",
        "-c:v",
        "libx264",
        "-crf",
        "45",
        "-pix_fmt",
        "yuv420p",
        graph="testsrc2=size=192x108:rate=25,noise=alls=12:allf=t",
    )
    notes: list[str] = []
    asked = TuneRequest(small, "libx264", 80.0, 0.9, trials=1, output=tmp_path / "out.mkv")
    result = tune(ffmpeg, verified(bitrate=True), asked, on_note=notes.append)
    count = [*ffmpeg.base_argv(), "-i", str(small), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    lines = process.run(count).stdout.decode().splitlines()
    packets = [int(line.split(",")[4]) for line in lines if not line.startswith("#")]
    assert result.source_kbps == pytest.approx(sum(packets) / 125 / (12 / 25))
    assert result.kbps is not None
    assert result.larger_than_source == (result.kbps * 125 * 12 / 25 > sum(packets))
    assert result.larger_than_source
    more = 100 * (result.kbps * 125 * 12 / 25 / sum(packets) - 1)
    words = f"the encode is {more:.{0 if more >= 1 else 1}f} % larger than its source"
    assert any(words in reason for reason in result.reasons)
    assert any("is forecast to be" in note and "keep the source" in note for note in notes)
    whole = tune(ffmpeg, verified(bitrate=True), TuneRequest(source, "libx264", 80.0, 0.9, trials=0))
    assert whole.larger_than_source is False  # FFV1 is far larger
    assert not any("larger" in reason for reason in whole.reasons)


def test_an_existing_output_is_kept(tmp_path):
    """A file in the way is refused without --force; the source itself is refused even with it."""
    out = tmp_path / "out.mkv"
    out.write_bytes(b"precious")
    base = {"source": tmp_path / "in.mkv", "encoder": "libx264", "target_vmaf": 93.0, "confidence": 0.9}
    with pytest.raises(ConfigError, match="exists; choose another -o or add --force"):
        check_request(TuneRequest(**base, output=out))
    assert check_request(TuneRequest(**base, output=out, force=True)).name == "libx264"
    with pytest.raises(ConfigError, match="the source itself"):
        check_request(TuneRequest(**(base | {"source": out}), output=out, force=True))
    assert out.read_bytes() == b"precious"


@pytest.mark.ffmpeg
def test_sources_that_cannot_be_tuned(ffmpeg, tmp_path):
    """A missing file, one frame and sound without a picture are each refused in one line."""
    still = lavfi(ffmpeg, tmp_path / "still.mkv", "-frames:v", "1", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    sound = lavfi(ffmpeg, tmp_path / "sound.mkv", "-c:a", "flac", graph="sine=duration=1")
    for path, message in (
        (tmp_path / "absent.mkv", "no such file"),
        (still, "one frame"),
        (sound, "no video stream"),
    ):
        with pytest.raises(MediaError, match=message) as caught:
            tune(ffmpeg, verified(), TuneRequest(path, "libx264", 85.0, 0.9, trials=0))
        assert "\n" not in str(caught.value)


def scored(vmaf: float, *, n_bytes: int = 3000) -> SimpleNamespace:
    """What the forecast reads of a probe."""
    return SimpleNamespace(
        vmaf=np.full(12, vmaf, dtype=np.float32),
        features=np.full((12, 6), 0.5, dtype=np.float32),
        bytes=n_bytes,
        bytes_of_scored=n_bytes,
        kbps=n_bytes / 60,
        pooled_vmaf=vmaf,
        more=None,
    )


def probed(*vmafs: float) -> list[Probe]:
    """The made-up ensemble's probes, scored."""
    return [Probe(spec, scored(vmaf)) for spec, vmaf in zip(PROBES, vmafs, strict=True)]


def test_a_probe_that_is_read_must_have_been_made():
    """A forecast without one of its probes is refused by name, whatever else was probed."""
    made_up = verified().ensemble
    with pytest.raises(ConfigError, match="a forecast of libx264 reads probe libsvtav1 8, which was not made"):
        forecast(made_up, probed(91.0, 80.0)[:1], "libx264", "medium", pixels=192 * 108, frame_rate=25.0)


def test_forecast_knows_its_own_probe():
    """A probe of the encoder asked about is remembered as measured; probes of others are not."""
    made_up = verified().ensemble
    predicted = forecast(made_up, probed(91.0, 80.0), "libx264", "medium", pixels=192 * 108, frame_rate=25.0)
    assert predicted.curve.known == {30.0: 91.0}
    assert predicted.supported
    np.testing.assert_allclose(predicted.curve.mu, logistic(np.array(RATES), 46.0), atol=1e-3)


def test_all_further_probes_or_none_lead_the_forecast():
    """With every further probe of its own it is interpolated through them, and says so; without them it is not."""
    made_up = verified(own=True).ensemble
    probes = [Probe(spec, scored(vmaf)) for spec, vmaf in zip(OWN_PROBES, (80.0, 97.0, 91.0), strict=True)]
    asked = {"pixels": 192 * 108, "frame_rate": 25.0}
    few, more = (forecast(made_up, probes[:n], "libx264", "medium", **asked) for n in (2, 3))
    assert (few.curve.known, few.more_probes) == ({30.0: 80.0, 22.0: 97.0}, False)
    assert (more.curve.known, more.more_probes) == ({30.0: 80.0, 22.0: 97.0, 26.0: 91.0}, True)
    assert list(more.known_kbps) == [30.0, 22.0, 26.0]
    np.testing.assert_array_equal(few.curve.mu, more.curve.mu)
    calibration = verified(own=True).calibration
    for further, expected in ((False, {22.0, 30.0}), (True, {22.0, 26.0, 30.0})):
        curve, given = curves_of(calibration, more_probes=further)[0], calibration.curves[0]
        truth = dict(zip(given.rate_values, given.truth, strict=True))
        assert curve.known == {rate: truth[rate] for rate in expected}


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("trials", "probes", "made"), [(0, None, 3), (0, "few", 2), (1, None, 2), (1, "few", 2), (1, "more", 3)]
)
def test_further_probes_are_made_without_trials_or_where_asked_for(ffmpeg, source, trials, probes, made):
    """The margin is the one of what was probed, and both are said."""
    ensemble = verified(own=True, feature_range=(-1e3, 1e3))
    result = tune(ffmpeg, ensemble, TuneRequest(source, "libx264", 85.0, 0.9, trials=trials, probes=probes))
    assert [point.rate_value for point in result.probes] == [30.0, 22.0, 26.0][:made]
    assert result.encodes_spent == made + len(result.trials)
    assert ("interpolated through further probes" in result.reasons[0]) == (made == 3)
    curves = curves_of(ensemble.calibration, more_probes=made == 3)
    margin = calibrate_margin(curves, "libx264", "medium", target=85.0, confidence=0.9, trials=trials)
    known = {point.rate_value: point.vmaf for point in result.probes}
    predicted = replace(forecast_of_probes(ensemble, result), known=known)
    measured = {trial["rate_value"]: trial["measured_vmaf"] for trial in result.trials}
    chosen = Forecaster(predicted).choose(85.0, measured, margin.scale)
    assert (result.rate_value, result.lower_bound) == (chosen.rate_value, pytest.approx(chosen.lower_bound))


def forecast_of_probes(ensemble, result) -> Curve:
    """The made-up curve, without what is known of it."""
    rates = np.array(RATES)
    mu = logistic(rates, ensemble.ensemble.centre)
    nan = np.full(len(rates), np.nan)
    return Curve("", result.source, "libx264", "medium", rates, mu, np.full(len(rates), 0.5), nan)


def test_bitrate_forecast_is_read_off_the_sidecar():
    """With a bitrate model of exp(5 - 4 r), kbps follows it; a bitrate measured at twice that doubles it all."""
    made_up = verified(bitrate=True).ensemble
    predicted = forecast(made_up, probed(91.0, 80.0), "libx264", "medium", pixels=192 * 108, frame_rate=25.0)
    asked = np.array([14.0, 20.0, 33.3])
    alone = replace(predicted, known_kbps={})
    np.testing.assert_allclose(alone.kbps_at(asked), np.exp(5 - 4 * asked / 51), rtol=1e-3)
    corrected = replace(predicted, known_kbps={float(asked[0]): 2 * float(np.exp(5 - 4 * asked[0] / 51))})
    np.testing.assert_allclose(corrected.kbps_at(asked), 2 * np.exp(5 - 4 * asked / 51), rtol=1e-3)
