"""`assay tune` at the edge: exit codes, one document or one line, and the shipped ensemble on a real clip."""

import json
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.cli import main as cli


@pytest.fixture
def made_up(monkeypatch):
    """Tune with the made-up ensemble instead of a registry."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified(bitrate=True))


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i testsrc2=size=192x108:rate=25,noise=alls=12:allf=t -frames:v 12 -c:v ffv1 source.mkv`."""
    path = tmp_path_factory.mktemp("cli") / "source.mkv"
    graph = "testsrc2=size=192x108:rate=25,noise=alls=12:allf=t"
    return lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)


FIELDS = {
    "goal",
    "target_kbps",
    "target_bytes",
    "budget_kbps",
    "rest_bytes",
    "bitrate_promised",
    "goal_met",
    "best_within",
    "two_pass_kbps",
    "forecast_kbps_low",
    "forecast_kbps_high",
    "max_ratio",
    "source_ratio",
    "ratio_met",
    "source_kbps",
    "source_video_bytes",
    "larger_than_source",
    "missed",
    "implied_rate_value",
    "source",
    "encoder",
    "preset",
    "target_vmaf",
    "confidence",
    "rate_value",
    "mu",
    "lower_bound",
    "forecast_kbps",
    "supported",
    "trials",
    "encodes_spent",
    "encode_argv",
    "output",
    "measured_vmaf",
    "kbps",
    "reasons",
    "reachable",
    "margin",
    "n_groups",
    "promised",
    "quality_met",
    "calibrated",
    "encodes_cached",
    "encoder_args",
    "filters",
    "reference",
    "losses",
    "max_kbps",
    "max_bytes",
    "bitrate_met",
    "bit_depth",
    "vmaf_model",
    "pooling",
    "pictures",
    "size_met",
    "forecast_bytes",
    "output_bytes",
    "width",
    "height",
    "frame_rate",
    "n_frames",
    "probes",
    "curve",
    "frame_vmaf",
    "sample",
    "promise",
    "answer",
}


@pytest.mark.ffmpeg
@pytest.mark.usefixtures("made_up")
def test_json_is_one_document(source, tmp_path, capsys):
    """`--json` prints the documented fields and nothing else; exit 0 only if promised and not found missed."""
    argv = ["tune", str(source), "-e", "libx264", "--target-vmaf", "80", "--quality-confidence", "0.9", "--json"]
    code = cli.main([*argv, "-o", str(tmp_path / "out.mp4"), "--verify"])
    document = json.loads(capsys.readouterr().out)
    assert set(document) == FIELDS
    assert code == (0 if document["measured_vmaf"] >= 80 else 1)
    assert document["output"] == str(tmp_path / "out.mp4")


@pytest.mark.ffmpeg
@pytest.mark.usefixtures("made_up")
def test_last_line_answers(source, capsys):
    """For people the last line is the answer, and the choice is marked in the table above it."""
    code = cli.main(["tune", str(source), "--target-vmaf", "80", "--quality-confidence", "0.9", "--trials", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[-1].startswith("libx264 medium at ")
    assert "VMAF >= 80 with confidence 0.9" in lines[-1]
    chosen = [line.split()[1] for line in lines if line.startswith(">")]
    assert [f"CRF {rate}" for rate in chosen] == [lines[-1].split(" at ")[1].split(":")[0]]


@pytest.mark.ffmpeg
@pytest.mark.usefixtures("made_up")
def test_out_of_reach_exits_1(source, capsys):
    """A target out of reach is a negative answer with the best there is, not an error."""
    code = cli.main(
        ["tune", str(source), "--target-vmaf", "99.99", "--quality-confidence", "0.9", "--trials", "0"]
    )
    printed = capsys.readouterr()
    assert code == 1
    assert printed.out.splitlines()[-1].startswith(
        "no promise: out of reach: no rate value reaches 99.99 with confidence 0.9; the highest lower bound is"
    )
    assert "Nearest: libx264 medium at CRF 14" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target-vmaf", "101"], "between 0 and 100, not 101"),
        (["--quality-confidence", "0"], "between 0 and 1, not 0"),
        (["--quality-confidence", "1"], "between 0 and 1, not 1"),
        (["--quality-confidence", "0.99"], "needs 99 calibration groups, there are 30"),
        (["--trials", "9"], "trials are 0, 1 or 2"),
        (["-e", "h264"], "h264"),
        (["--preset", "warp"], "choose one of placebo"),
        (["--verify"], "add -o OUT"),
        (["--target-vmaf", "high"], "--target-vmaf"),
        (["-o", "nowhere/out.mkv"], "is not a folder"),
        (["--probe-seconds", "some"], "a number of seconds or `all`, not 'some'"),
        (["--probe-seconds", "-3"], "--probe-seconds is a number of seconds"),
        (["--probe-seconds", "0.2"], "fewer than 8 are too few for a title"),
    ],
)
@pytest.mark.ffmpeg
@pytest.mark.usefixtures("made_up")
def test_bad_requests_exit_2(clip, capsys, options, words):
    """Each invalid request is one line on stderr with exit 2, and nothing on stdout."""
    assert cli.main(["tune", str(clip), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert words in printed.err


@pytest.mark.ffmpeg
@pytest.mark.usefixtures("made_up")
def test_bad_sources_exit_2(ffmpeg, tmp_path, capsys):
    """A missing file, an empty one, text, one frame and sound alone each give one line and exit 2."""
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "text.mkv").write_text("not a video\n" * 50)
    lavfi(ffmpeg, tmp_path / "still.mkv", "-frames:v", "1", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    lavfi(ffmpeg, tmp_path / "sound.mkv", "-c:a", "flac", graph="sine=duration=1")
    for name, words in (
        ("absent", "no such file"),
        ("empty", "is empty"),
        ("text", "text.mkv"),
        ("still", "one frame"),
        ("sound", "no video stream"),
    ):
        assert cli.main(["tune", str(tmp_path / f"{name}.mkv"), "--quality-confidence", "0.9"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert words in printed.err


def test_without_a_registry_nothing_is_tuned(clip, tmp_path, capsys):
    """No registry, no promise: exit 4 before anything is encoded."""
    assert cli.main(["tune", str(clip), "--registry", str(tmp_path)]) == 4
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.ffmpeg
def test_a_long_source_from_the_command_line(ffmpeg, tmp_path, capsys):
    """The shipped ensemble tunes a title of three scenes by segments: encoded whole, measured whole, and said.

    The title: mandelbrot, a zoom into it, and noisy test bars, 700 frames at 160x90, `-c:v libx264 -crf 2`.
    """
    graph = (
        "mandelbrot=size=160x90:rate=25:maxiter=150,trim=end_frame=250,format=yuv420p[a];"
        "mandelbrot=size=160x90:rate=25:maxiter=80:start_scale=0.1,trim=end_frame=230,format=yuv420p[b];"
        "testsrc2=size=160x90:rate=25,trim=end_frame=220,noise=alls=6:allf=t,format=yuv420p[c];[a][b][c]concat=n=3"
    )
    source = lavfi(ffmpeg, tmp_path / "in.mkv", "-c:v", "libx264", "-crf", "2", "-pix_fmt", "yuv420p", graph=graph)
    out = tmp_path / "out.mkv"
    argv = ["tune", str(source), "-e", "libx264", "--target-vmaf", "80", "--quality-confidence", "0.8"]
    code = cli.main([*argv, "--probe-seconds", "24", "-o", str(out), "--verify", "--json"])
    document = json.loads(capsys.readouterr().out)
    sample = document["sample"]
    assert sample["segments"] == 8
    assert sample["segments_tried"] == 4
    assert document["margin"] > 0
    assert document["supported"], document["reasons"]
    assert document["reachable"], document
    assert len(document["frame_vmaf"]) == document["n_frames"] == 700
    assert code == (0 if document["measured_vmaf"] >= 80 else 1)
    assert out.exists()


@pytest.mark.ffmpeg
def test_the_shipped_ensemble_keeps_its_promise_here(ffmpeg, tmp_path, capsys):
    """With one trial and --verify, the shipped registry brings a moving, detailed clip to its target.

    The clip: `-f lavfi -i mandelbrot=size=640x360:rate=25:maxiter=200 -frames:v 25 -c:v libx264 -crf 1`.
    """
    source = lavfi(
        ffmpeg,
        tmp_path / "in.mkv",
        "-frames:v",
        "25",
        "-c:v",
        "libx264",
        "-crf",
        "1",
        "-pix_fmt",
        "yuv420p",
        graph="mandelbrot=size=640x360:rate=25:maxiter=200",
    )
    out = tmp_path / "out.mkv"
    argv = ["tune", str(source), "-e", "libx264", "--target-vmaf", "90", "--quality-confidence", "0.95"]
    code = cli.main([*argv, "--trials", "1", "-o", str(out), "--verify", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["supported"], document["reasons"]
    assert code == 0, document
    assert document["measured_vmaf"] >= 90
    assert document["encodes_spent"] == len(document["probes"]) + 2  # one trial, and the encode
    assert abs(document["measured_vmaf"] - document["mu"]) < 3
    assert out.stat().st_size > 0
