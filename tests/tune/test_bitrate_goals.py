"""What is asked and said about bitrate: intervals, and the source's own video as a limit."""

import json

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.api import load_ensemble
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.tune.request import TuneRequest, check_request
from vmaf_assay.tune.run import tune

GRAPH = "testsrc2=size=192x108:rate=25,noise=alls=8:allf=t"


@pytest.fixture(scope="module")
def clip(ffmpeg, tmp_path_factory):
    """`-f lavfi -i GRAPH -frames:v 24 -c:v libx264 -crf 20 clip.mkv`."""
    path = tmp_path_factory.mktemp("goals") / "clip.mkv"
    coded = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p")
    return lavfi(ffmpeg, path, "-frames:v", "24", *coded, graph=GRAPH)


def video_bytes(ffmpeg, path, stream: str = "v:0") -> int:
    """Sum of the packets of a file's stream, by plain ffmpeg."""
    argv = [*ffmpeg.base_argv(), "-i", str(path), "-map", f"0:{stream}", "-c", "copy", "-f", "framecrc", "-"]
    lines = process.run(argv).stdout.decode().splitlines()
    return sum(int(line.split(",")[4]) for line in lines if not line.startswith("#"))


@pytest.mark.ffmpeg
def test_bitrates_have_intervals(ffmpeg, clip):
    """With the shipped forecast each point has one; the trial's is exact, and near it they are narrow."""
    result = tune(ffmpeg, load_ensemble(), TuneRequest(clip, "libx264", 80.0, 0.9, trials=1))
    if not result.promise.supported:
        pytest.fail(f"this clip is to be of the supported kind: {result.promise.reasons}")
    points = {point.rate_value: point for point in result.curve}
    for point in result.curve:
        assert point.kbps_low <= point.kbps <= point.kbps_high
    (trial,) = result.trials
    exact = points[trial["rate_value"]]
    assert exact.kbps_low == exact.kbps == exact.kbps_high
    width = {rate: np.log(point.kbps_high / point.kbps_low) for rate, point in points.items()}
    assert width[42.0] > width[min(rate for rate in width if rate > trial["rate_value"])] > 0
    if result.rate_value == trial["rate_value"]:
        assert result.forecast_kbps_low == result.forecast_kbps == result.forecast_kbps_high


@pytest.mark.ffmpeg
def test_nothing_is_said_where_nothing_is_calibrated(ffmpeg, clip):
    """An ensemble of other origin forecasts a bitrate without an interval."""
    result = tune(ffmpeg, verified(bitrate=True), TuneRequest(clip, "libx264", 80.0, 0.9, trials=0))
    assert result.forecast_kbps is not None
    assert (result.forecast_kbps_low, result.forecast_kbps_high) == (None, None)


@pytest.mark.ffmpeg
def test_a_ratio_limit_stops_before_the_encode_and_judges_it_after(ffmpeg, clip, tmp_path):
    """A fifth of the source's video is refused by the forecast; five times are kept, counted from packets."""
    out = tmp_path / "out.mkv"
    asked = TuneRequest(clip, "libx264", 85.0, 0.9, trials=0, output=out, max_ratio=0.02)
    refused = tune(ffmpeg, verified(bitrate=True), asked)
    assert (refused.ratio_met, refused.met, refused.output) == (False, False, None)
    assert any(reason.startswith("ratio limit not met") for reason in refused.reasons)
    assert "over the ratio limit" in refused.answer()
    assert not out.exists()
    asked = TuneRequest(clip, "libx264", 85.0, 0.9, trials=1, output=out, max_ratio=5)
    kept = tune(ffmpeg, verified(bitrate=True), asked)
    assert kept.ratio_met is True
    # kbps of the encode over its own duration, so bytes over bytes
    assert kept.source_ratio == pytest.approx(video_bytes(ffmpeg, out) / video_bytes(ffmpeg, clip), rel=0.002)


def test_a_ratio_is_a_share(tmp_path):
    """A percentage is named as such, and nonsense is refused, before the source is opened."""
    for ratio, words in ((80.0, "probably want --max-ratio 0.8"), (0.0, "use --max-ratio 0.8"), (-1, "share")):
        with pytest.raises(ConfigError, match=words):
            check_request(TuneRequest(tmp_path / "in.mkv", "libx264", 90.0, 0.9, max_ratio=ratio))


@pytest.mark.ffmpeg
def test_the_command_line_says_the_ratio(ffmpeg, clip, capsys, monkeypatch):
    """Exit 1, one document with the ratio, and the reason."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified(bitrate=True))
    argv = ["tune", str(clip), "--target-vmaf", "85", "--quality-confidence", "0.9", "--trials", "0"]
    assert cli.main([*argv, "--max-ratio", "0.01", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ratio_met"] is False
    assert document["source_ratio"] > 0.01
