"""Comparing encoders: one pair of probes, each one's choice, and the cheapest that meets the target."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import RATES, logistic, verified
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError
from vmaf_assay.model.sidecar import ChoiceCalibration, SeenEncoder
from vmaf_assay.tune.bd_rate import bd_rate
from vmaf_assay.tune.compare import CompareRequest, check_compare, compare


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
    """`--measure` encodes each choice; the answer rests on what was measured, and says so."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: two_encoders())
    argv = ["compare", str(source), "-e", "libx264", "-e", "libx265", "--target-vmaf", "80"]
    argv += ["--quality-confidence", "0.9", "--measure"]
    code = cli.main([*argv, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["encodes_spent"] == 4
    meeting = [one for one in document["contenders"] if one["measured_vmaf"] >= 80]
    assert [one["met"] for one in document["contenders"]] == [one in meeting for one in document["contenders"]]
    assert code == (0 if meeting else 1)
    if meeting:
        best = min(meeting, key=lambda one: one["kbps"])
        assert document["cheapest"] == {"encoder": best["encoder"], "preset": "medium"}
    assert cli.main(argv) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("0 encodes spent")  # all four were known
    assert all(len(line) <= 80 for line in lines[:3])


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
        (("libx264", "h264"), "unknown encoder"),
        (("libx264", "libx264:warp"), "no preset 'warp'"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_compare(CompareRequest(source, encoders, 80.0, 0.9))
    for encoders, words in (
        (("libx264", "libx264:medium"), "named twice"),
        (("libx264", "libsvtav1"), "never trained on libsvtav1"),
    ):
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
