"""Comparing encoders: one pair of probes, each one's choice, and the cheapest that meets the target."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import RATES, logistic, verified
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.probe import probe_video
from vmaf_assay.model.sidecar import ChoiceCalibration, SeenEncoder
from vmaf_assay.promise.choice import Curve, Forecaster
from vmaf_assay.tune.bd_rate import bd_rate
from vmaf_assay.tune.compare import compare
from vmaf_assay.tune.compare_request import CompareRequest, check_compare
from vmaf_assay.tune.equal import MeasuredPoint, kbps_at_equal, next_rate


def two_encoders():
    """The made-up ensemble, which has seen libx265 too: the same VMAF at 0.6 of the bitrate."""
    one = verified(bitrate=True)
    sidecar = one.ensemble.sidecar
    small = SeenEncoder(encoder="libx265", preset="medium", rate_values=RATES, min_pixels=100, max_pixels=200)
    seen = sidecar.seen.model_copy(update={"encoders": [*sidecar.seen.encoders, small]})
    first = sidecar.bitrate["coefficients"]["libx264|medium"]
    cheaper = [first[0] + float(np.log(0.6)), *first[1:]]
    bitrate = {"coefficients": {"libx264|medium": first, "libx265|medium": cheaper}, "held_out_error": {}}
    one.ensemble.sidecar = sidecar.model_copy(update={"seen": seen, "bitrate": bitrate})
    calibration = one.calibration
    assert isinstance(calibration, ChoiceCalibration)
    calibration.curves.extend(
        curve.model_copy(update={"encoder": "libx265"}) for curve in list(calibration.curves)
    )
    return one


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i testsrc2=size=192x108:rate=25 -frames:v 12 -c:v ffv1 source.mkv`."""
    path = tmp_path_factory.mktemp("compare") / "source.mkv"
    return lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p")


@pytest.mark.ffmpeg
def test_one_pair_of_probes_for_all(ffmpeg, source):
    """Two encodes are spent whatever the number of contenders; the cheaper one wins by the ratio it was given."""
    request = CompareRequest(source, ("libx265", "libx264:medium"), 80.0, 0.9)
    result = compare(ffmpeg, two_encoders(), request)
    assert result.encodes_spent == 2
    assert [(one.encoder, one.promised, one.measured_vmaf) for one in result.contenders] == [
        ("libx265", True, None),
        ("libx264", True, None),
    ]
    assert result.cheapest is result.contenders[0]
    assert result.contenders[0].bd_rate == pytest.approx(0.0, abs=1e-12)
    assert result.contenders[1].bd_rate is not None
    assert result.contenders[1].bd_rate > 0.1
    assert not result.contenders[1].reasons
    assert [reason.partition("; ")[2] for reason in result.contenders[0].reasons] == [
        "libx265 medium was measured at 100 to 200 px only, and the promise is only as good as that"
    ]
    for one in result.contenders:
        assert one.lower_bound >= 80.0
        assert all(point.lower_bound <= point.mu for point in one.curve)


@pytest.mark.ffmpeg
def test_measured_contenders(source, capsys, monkeypatch):
    """`--measure` encodes each on both sides of the target and compares at equal quality; both are said."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: two_encoders())
    argv = ["compare", str(source), "-e", "x264", "-e", "x265:medium", "--target-vmaf", "80"]
    argv += ["--quality-confidence", "0.9", "--measure"]
    code = cli.main([*argv, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["encodes_spent"] == 2 + sum(len(one["encodes"]) for one in document["contenders"])
    for one in document["contenders"]:
        scores = [encode["vmaf"] for encode in one["encodes"]]
        assert (one["measured_vmaf"], one["kbps"]) == (one["encodes"][0]["vmaf"], one["encodes"][0]["kbps"])
        assert one["met"] == (max(scores) >= 80)
        if one["equal_kbps"] is not None:
            assert min(scores) < 80 <= max(scores)
            near = sorted(one["encodes"], key=lambda encode: abs(encode["vmaf"] - 80))
            low, high = sorted(encode["kbps"] for encode in near[:2])
            assert low <= one["equal_kbps"] <= high
    meeting = [one for one in document["contenders"] if one["met"] and one["equal_kbps"] is not None]
    assert code == (0 if any(one["met"] for one in document["contenders"]) else 1)
    if meeting:
        best = min(meeting, key=lambda one: one["equal_kbps"])
        assert document["cheapest"] == {"encoder": best["encoder"], "preset": "medium"}
    assert cli.main(argv) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("0 encodes spent")  # all were known
    assert any("kbps at 80" in line for line in lines)
    assert all(len(line) <= 80 for line in lines[:3])


@pytest.mark.ffmpeg
def test_encoders_outside_the_calibration_are_compared(ffmpeg, source):
    """An encoder or preset never trained on is searched with two encodes; one that does not work is listed."""
    asked = ("libx264", "libopenh264", "libx264:slow", "h264_nvenc")
    result = compare(ffmpeg, two_encoders(), CompareRequest(source, asked, 80.0, 0.9))
    assert [one.encoder for one in result.contenders] == ["libx264", "libopenh264", "libx264"]
    assert [one.encoder for one in result.refused] == ["h264_nvenc"]
    assert "does not work here" in result.refused[0].reason
    own = [one.promise.own_encodes for one in result.contenders]
    assert own[0] == 0 < min(own[1:]) <= max(own[1:]) <= 2
    assert result.encodes_spent == 2 + sum(own)  # the forecast reads two probes
    assert not any(one.promised for one in result.contenders[1:])
    assert "never trained on libx264 preset slow" in result.contenders[2].reasons[0]
    for one in result.contenders[1:]:
        assert one.forecast_kbps is not None
        assert one.meets(80.0) == (one.tried_vmaf is not None and one.tried_vmaf >= 80.0)


@pytest.mark.ffmpeg
def test_the_winner_is_kept(ffmpeg, source, tmp_path, capsys, monkeypatch):
    """`-o` writes the winner's encode, with the probes that were made; `--trials` corrects every forecast."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: two_encoders())
    out = tmp_path / "won"
    argv = ["compare", str(source), "-e", "libx264", "-e", "libx265", "--target-vmaf", "80", "--trials", "1"]
    argv += ["--quality-confidence", "0.9", "--out-dir", str(out), "--no-cache", "--json"]
    code = cli.main(argv)
    document = json.loads(capsys.readouterr().out)
    assert all(len(one["trials"]) == 1 for one in document["contenders"])
    if document["cheapest"] is None:
        assert (code, document["kept"]) == (1, None)
        return
    kept = document["kept"]
    assert code == (0 if kept["met"] else 1)
    assert kept["output"] == str(out / "source.mkv")
    assert (out / "source.mkv").stat().st_size == kept["output_bytes"]
    assert document["encodes_spent"] == 2 + 2 + 1  # probes and trials are not made again for the winner
    assert (
        probe_video(ffmpeg, out / "source.mkv").codec
        == {"libx264": "h264", "libx265": "hevc"}[document["cheapest"]["encoder"]]
    )


def test_bitrate_at_equal_quality_by_hand():
    """Between two encodes the logarithm of the bitrate is linear; outside them there is no figure."""
    low, high = MeasuredPoint(30.0, 90.0, 1000.0), MeasuredPoint(24.0, 94.0, 2000.0)
    assert kbps_at_equal([low, high], 93.0) == pytest.approx(1000 * 2**0.75)
    far = MeasuredPoint(40.0, 60.0, 10.0)
    assert kbps_at_equal([far, high, low], 93.0) == pytest.approx(1000 * 2**0.75)
    assert kbps_at_equal([low, far], 93.0) is None
    assert kbps_at_equal([high], 93.0) is None
    assert kbps_at_equal([high], 94.0) == 2000.0


def test_the_next_encode_is_on_the_other_side():
    """With all encodes above the target a cheaper one is asked for, with all below a dearer one, then none."""
    rates = np.array(RATES)
    curve = Curve("", "", "libx264", "medium", rates, logistic(rates, 46.0), np.full(8, 0.5), np.full(8, np.nan))
    above, below = MeasuredPoint(26.0, 97.0, 1.0), MeasuredPoint(38.0, 80.0, 1.0)
    cheaper, dearer = next_rate(Forecaster(curve), 93.0, [above]), next_rate(Forecaster(curve), 93.0, [below])
    assert cheaper is not None
    assert cheaper > 26.0
    assert dearer is not None
    assert dearer < 38.0
    assert next_rate(Forecaster(curve), 93.0, [above, below]) is None
    assert (
        next_rate(Forecaster(curve), 1.0, [MeasuredPoint(42.0, 50.0, 1.0)]) is None
    )  # nothing cheaper was trained on


@pytest.mark.ffmpeg
def test_none_meets(ffmpeg, source):
    """Where no contender can promise the target there is no cheapest, and each says why."""
    result = compare(ffmpeg, two_encoders(), CompareRequest(source, ("libx264", "libx265"), 99.9, 0.9))
    assert result.cheapest is None
    assert all(
        {"out_of_reach", "target_not_calibrated"} & {reason.code for reason in one.promise.reasons}
        for one in result.contenders
    )


@pytest.mark.ffmpeg
def test_comparisons_that_cannot_be(ffmpeg, source):
    """One encoder, a name twice, an unknown one and one never trained on are refused before any encode."""
    for encoders, words in (
        (("libx264",), "two encoders or more"),
        (("libx264", "h264"), "'h264' is a codec, not an encoder; name an encoder: libx264"),
        (("libx264", "lib264"), "unknown encoder 'lib264'; did you mean libx264"),
        (
            ("libx264", "libx265:slow:28"),
            "the rate value is chosen for you, from the target; write -e libx265:slow",
        ),
        (("libx264", "libx264:warp"), "no preset 'warp'"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_compare(CompareRequest(source, encoders, 80.0, 0.9))
    for encoders, words in ((("libx264", "x264:medium"), "named twice"),):
        with pytest.raises(ConfigError, match=words):
            compare(ffmpeg, two_encoders(), CompareRequest(source, encoders, 80.0, 0.9))


def test_bd_rate_by_hand():
    """Log-linear curves have a BD-rate in closed form: the mean of the difference of two lines."""
    vmaf = np.array([70.0, 80.0, 90.0, 95.0])
    first, second = np.exp(0.05 * vmaf), np.exp(0.06 * vmaf - 1.0)
    expected = np.expm1(0.01 * (70.0 + 95.0) / 2 - 1.0)
    assert bd_rate(first, vmaf, second, vmaf) == pytest.approx(expected, rel=1e-9)
    part = slice(1, 3)  # the second curve over 80 to 90 only
    expected = np.expm1(0.01 * 85.0 - 1.0)
    assert bd_rate(first, vmaf, second[part], vmaf[part]) == pytest.approx(expected, rel=1e-9)


def test_bd_rate_as_the_package_bjontegaard():
    """Curves that bend, against `bjontegaard.bd_rate(..., method="pchip")` 1.3.0, run once by hand."""
    first = np.array([9487.76, 4593.60, 2486.44, 1358.24]), np.array([96.1, 92.4, 86.0, 77.3])
    second = np.array([9787.80, 4469.00, 2451.52, 1356.24]), np.array([96.4, 92.9, 86.9, 78.1])
    assert 100 * bd_rate(*first, *second) == pytest.approx(BJONTEGAARD, abs=1e-6)


BJONTEGAARD = -7.852457302118543


def test_bd_rate_where_there_is_none():
    """No overlap of VMAF, an unknown bitrate, or a single point: no figure instead of a wrong one."""
    rates = np.array([100.0, 200.0])
    assert bd_rate(rates, np.array([50.0, 60.0]), rates, np.array([70.0, 80.0])) is None
    assert bd_rate(rates, np.array([50.0, 60.0]), np.array([np.nan, 200.0]), np.array([50.0, 60.0])) is None
    assert bd_rate(rates, np.array([50.0, 60.0]), rates[:1], np.array([55.0])) is None
    flat = logistic(np.array(RATES), 46.0)
    assert bd_rate(np.exp(flat), flat, np.exp(flat), flat) == pytest.approx(0.0)


@pytest.mark.ffmpeg
def test_hdr_is_compared_by_its_coded_values(ffmpeg, tmp_path):
    """In 10 bits by the model named, not promised; who makes no 10-bit encodes is refused by name."""
    graph = (
        "testsrc2=size=192x108:rate=25,noise=alls=8:allf=t,"
        "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"
    )
    path = lavfi(
        ffmpeg, tmp_path / "pq.mkv", "-frames:v", "8", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", graph=graph
    )
    notes: list[str] = []
    request = CompareRequest(path, ("libx265:ultrafast", "libx264:ultrafast", "libopenh264"), 75.0, 0.8)
    result = compare(ffmpeg, two_encoders(), request, on_note=notes.append)
    assert [(one.encoder, one.promised) for one in result.contenders] == [("libx265", False), ("libx264", False)]
    for one in result.contenders:
        assert "hdr_not_calibrated" in [reason.code for reason in one.promise.reasons]
    assert [one.reason for one in result.refused] == ["libopenh264 makes no 4:2:0 encodes of 10 bit here"]
    document = json.loads(json.dumps(result.as_json()))
    assert (document["vmaf_model"], document["bit_depth"]) == ("vmaf_v0.6.1", 10)
    assert document["pictures"]["compared_pix_fmt"] == "yuv420p10le"
    assert notes == document["pictures"]["notes"]
    assert "vmaf_v0.6.1 scores its coded values" in notes[0]


@pytest.mark.ffmpeg
def test_full_range_is_compared_as_tune_encodes_it(ffmpeg, tmp_path):
    """It stays full, which no calibration encode was: nothing is promised."""
    full = ("-vf", "scale=out_range=pc,format=yuv420p,setparams=range=pc", "-color_range", "pc", "-c:v", "ffv1")
    path = lavfi(ffmpeg, tmp_path / "full.mkv", "-frames:v", "8", *full)
    result = compare(ffmpeg, two_encoders(), CompareRequest(path, ("libx264", "libx264:ultrafast"), 75.0, 0.8))
    assert result.pictures.range == "full"
    assert [one.promised for one in result.contenders] == [False, False]
