"""A title by scene with a real ffmpeg: what is delivered is what was measured."""

import html
import json
from pathlib import Path

import numpy as np
import pytest

from tests.scenes.conftest import SCENE_FRAMES
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.media.demux import read_facts
from vmaf_assay.scenes.request import SceneRequest
from vmaf_assay.scenes.run import tune_by_scene
from vmaf_assay.tune.request import TuneRequest

pytestmark = pytest.mark.ffmpeg


def asked(title, out, encoder="libx264", preset="superfast", target=90.0, **more):
    """A request for one title."""
    own = {name: more.pop(name) for name in ("goal", "scene_floor", "max_step", "jobs") if name in more}
    return SceneRequest(TuneRequest(title, encoder, target, preset=preset, output=out, **more), **own)


def score_by_hand(ffmpeg, reference: Path, distorted: Path, folder: Path) -> np.ndarray:
    """Per-frame VMAF by plain ffmpeg, frame n against frame n."""
    log = folder / "by-hand.json"
    graph = (
        "[0:v]settb=1/25,setpts=N,format=yuv420p[d];[1:v]settb=1/25,setpts=N,format=yuv420p[r];"
        f"[d][r]libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path={log}"
    )
    argv = [
        *ffmpeg.base_argv(),
        "-i",
        str(distorted),
        "-i",
        str(reference),
        "-filter_complex",
        graph,
        "-f",
        "null",
    ]
    assert process.run([*argv, "-"]).exit_code == 0
    return np.array([frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]])


def packet_times(ffmpeg, path: Path) -> list[float]:
    """When each frame of a file is shown, seconds, ascending, by plain ffmpeg."""
    done = process.run(
        [*ffmpeg.base_argv(), "-i", str(path), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    )
    lines = done.stdout.decode().splitlines()
    top, bottom = next(line for line in lines if line.startswith("#tb 0:")).split()[-1].split("/")
    return sorted(int(line.split(",")[2]) * int(top) / int(bottom) for line in lines if not line.startswith("#"))


def test_delivered_title_is_what_was_measured(ffmpeg, title, tmp_path):
    """Plain ffmpeg's score of the joined file is the reported one on every frame; the mean is at the target."""
    out = tmp_path / "out.mkv"
    result = tune_by_scene(ffmpeg, None, asked(title, out, verify=True))
    by_hand = score_by_hand(ffmpeg, title, out, tmp_path)
    assert len(by_hand) == 4 * SCENE_FRAMES
    assert np.abs(by_hand - np.array(result.frame_vmaf)).max() <= 0.001  # reported to three digits
    assert result.measured_vmaf == pytest.approx(by_hand.mean(), abs=1e-5)
    assert result.verified_vmaf == pytest.approx(result.measured_vmaf, abs=1e-6)
    assert result.met
    assert 90.0 <= by_hand.mean() <= 90.1
    assert [row.first_frame for row in result.scenes] == [0, 30, 60, 90]
    for row in result.scenes:
        frames = by_hand[row.first_frame : row.first_frame + row.n_frames]
        assert row.score == pytest.approx(frames.mean(), abs=1e-4)
        assert row.score >= 84.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["by-hand.json", "out.mkv"]


def test_everything_but_the_picture_is_the_source(ffmpeg, title, tmp_path):
    """Sound, chapters, languages, titles and times of frames are those of the source."""
    out = tmp_path / "out.mkv"
    tune_by_scene(ffmpeg, None, asked(title, out))
    before, after = read_facts(title), read_facts(out)
    assert [(one.kind, one.language, one.title) for one in after.streams] == [
        (one.kind, one.language, one.title) for one in before.streams
    ]
    assert [dict(one.tags)["title"] for one in after.chapters] == ["First", "Second"]
    assert ("title", "Four scenes") in after.tag_pairs
    assert packet_times(ffmpeg, out) == pytest.approx(packet_times(ffmpeg, title), abs=1e-9)


def test_command_line(title, tmp_path, capsys):
    """`assay tune --by-scene --json` exits 0, --force gives the same bytes, and the page shows the document."""
    out, page = tmp_path / "out.mp4", tmp_path / "page.html"
    argv = ["tune", str(title), "-e", "x264:superfast", "--target-vmaf", "88", "--by-scene", "-o", str(out)]
    assert main([*argv, "--audio-codec", "aac", "--report", str(page), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["met"]
    assert document["within_tolerance"]
    assert document["measured_vmaf"] >= 88
    assert document["encodes_spent"] == sum(row["encodes"] * row["parts"] for row in document["scenes"])
    first = out.read_bytes()
    assert main([*argv, "--audio-codec", "aac", "--force"]) == 0
    assert out.read_bytes() == first
    assert document["measured_vmaf"] >= 88
    assert document["encodes_spent"] == sum(row["encodes"] * row["parts"] for row in document["scenes"])
    shown = page.read_text(encoding="utf-8")
    assert document["answer"] in html.unescape(shown)
    assert shown.count("data-tip=") >= 3 * len(document["scenes"])
    for row in document["scenes"]:
        assert f"CRF {row['rate_value']:g}, VMAF {row['score']:.2f}" in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--by-scene"], "no output is named"),
        (["--by-scene", "-o", "OUT", "--trials", "2"], "--trials"),
        (["--by-scene", "-o", "OUT", "--retry", "1"], "--retry"),
        (["--by-scene", "-o", "OUT", "--quality-confidence", "0.9"], "--quality-confidence"),
        (["--by-scene", "-o", "OUT", "--max-size", "3"], "--max-size"),
        (["--by-scene", "-o", "OUT", "--max-bitrate", "3"], "--max-bitrate"),
        (["--by-scene", "-o", "OUT", "--goal", "worst"], "--goal is mean or floor"),
        (["--by-scene", "-o", "OUT", "--scene-floor", "-1"], "--scene-floor"),
        (["--by-scene", "-o", "OUT", "--max-step", "0"], "--max-step"),
        (["--by-scene", "-o", "OUT", "--jobs", "0"], "--jobs"),
        (["--by-scene", "--out-dir", "."], "one source"),
        (["-o", "OUT", "--jobs", "2"], "--jobs is for --by-scene"),
        (["--goal", "floor"], "--goal is for --by-scene"),
    ],
)
def test_senseless_options_are_refused(title, tmp_path, capsys, options, says):
    """What means nothing by scene, or only by scene, is one line and exit 2, and nothing is written."""
    given = [str(tmp_path / "out.mkv") if one == "OUT" else one for one in options]
    assert main(["tune", str(title), "-e", "libx264", *given]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_encoder_is_refused(ffmpeg, title, tmp_path):
    """An encoder that is not in the table is refused before anything is read."""
    with pytest.raises(ConfigError, match="libfoo"):
        tune_by_scene(ffmpeg, None, asked(title, tmp_path / "out.mkv", encoder="libfoo", preset=None))
