"""Many sources: what is named is found once, what is finished is skipped, what fails stops nothing."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError
from vmaf_assay.tune.batch import plan_items, request_digest
from vmaf_assay.tune.request import TuneRequest


def touch(folder: Path, *names: str) -> None:
    """Empty files, folders made as needed."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(items, out: Path) -> list[str]:
    """Outputs below the folder."""
    return [item.output.relative_to(out).as_posix() for item in items]


def test_folders_globs_and_files(tmp_path):
    """A folder gives its videos with their folders; a quoted glob is expanded; a name twice is one source."""
    touch(tmp_path / "in", "a.mkv", "season/b.MP4", "notes.txt", ".hidden/c.mkv")
    out = tmp_path / "out"
    assert named(plan_items([tmp_path / "in"], out, "mkv"), out) == ["a.mkv", "season/b.mkv"]
    assert named(plan_items([tmp_path / "in" / "*.mkv"], out, ".webm"), out) == ["a.webm"]
    twice = plan_items([tmp_path / "in" / "a.mkv", tmp_path / "in" / "*.mkv"], out, "mp4")
    assert named(twice, out) == ["a.mp4"]
    assert [item.output for item in plan_items([tmp_path / "in"], None, "mkv")] == [None, None]


def test_outputs_are_no_sources(tmp_path):
    """A folder of outputs inside the folder of sources is not encoded again."""
    touch(tmp_path, "a.mkv", "out/a.mkv")
    out = tmp_path / "out"
    assert [item.source for item in plan_items([tmp_path], out, "mkv")] == [tmp_path / "a.mkv"]


@pytest.mark.parametrize(
    ("names", "container", "message"),
    [
        (["in/a.mkv", "in/a.mp4"], "mkv", "would both become"),
        (["in/notes.txt"], "mkv", "no video in"),
        (["in/a.mkv"], "avi", "unknown container"),
    ],
)
def test_batches_that_cannot_be(tmp_path, names, container, message):
    """Two sources with one output, a folder without videos and an unknown container are refused at once."""
    touch(tmp_path, *names)
    with pytest.raises(ConfigError, match=message):
        plan_items([tmp_path / "in"], tmp_path / "out", container)
    with pytest.raises(ConfigError, match="no video in"):
        plan_items([tmp_path / "none*.mkv"], tmp_path / "out", "mkv")


def test_an_object_store_is_no_folder_of_outputs(tmp_path, capsys, monkeypatch):
    """`--out-dir s3://...` and `--report s3://...` are refused, and no folder `s3:` is left."""
    touch(tmp_path, "in/a.mkv")
    monkeypatch.chdir(tmp_path)
    for options in (["--out-dir", "s3://bucket/out"], ["--out-dir", "out", "--report", "s3://bucket/pages"]):
        assert cli.main(["tune", "in", *options]) == 2
        assert f"{options[-2]} {options[-1]} is a URL, not a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_holds_no_video_stops_no_other_source(tmp_path):
    """An empty folder and a link to itself, named beside a video, are items that fail alone."""
    touch(tmp_path, "a.mkv", "empty/notes.txt")
    (tmp_path / "loop.mkv").symlink_to("loop.mkv")
    named = [tmp_path / name for name in ("empty", "loop.mkv", "a.mkv")]
    assert [item.source for item in plan_items(named, None, "mkv")] == named
    assert [item.source for item in plan_items(named, tmp_path / "out", "mkv")] == named


@pytest.mark.ffmpeg
def test_digests_follow_the_question(ffmpeg):
    """Target, encoder options and models change the digest of a request; paths and --force do not."""
    base = TuneRequest(Path("a"), "libx264", 93.0, 0.9)
    made_up = verified()

    def digest(request, models=made_up):
        return request_digest(request, models, ffmpeg)

    assert digest(base) == digest(replace(base, source=Path("b"), output=Path("c.mkv"), force=True))
    different = [
        digest(base),
        digest(replace(base, target_vmaf=92.0)),
        digest(replace(base, encoder_args="-g 50")),
        digest(base, verified(bitrate=True)),
        digest(replace(base, filters=os.fsdecode(b"subtitles=\xe9.srt"))),
    ]
    assert len(set(different)) == 5


@pytest.mark.ffmpeg
def test_a_batch_goes_on_and_resumes(ffmpeg, tmp_path, capsys, monkeypatch):
    """A broken source fails alone; run again, finished ones are skipped; a changed source or output is redone."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified(bitrate=True))
    sources, out = tmp_path / "in", tmp_path / "out"
    sources.mkdir()
    for number, name in enumerate("ac"):
        lavfi(
            ffmpeg,
            sources / f"{name}.mkv",
            "-frames:v",
            "12",
            "-c:v",
            "ffv1",
            "-pix_fmt",
            "yuv420p",
            graph=f"testsrc2=size={192 + 32 * number}x108:rate=25",
        )
    (sources / "b.mkv").write_text("not a video")
    argv = ["tune", str(sources), "--target-vmaf", "80", "--quality-confidence", "0.9", "--trials", "0"]
    argv += ["--out-dir", str(out), "--json"]

    def run(*more: str) -> tuple[int, list[dict]]:
        code = cli.main([*argv, *more])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    code, lines = run()
    assert [line.get("status") for line in lines] == ["done", "failed", "done", None]
    assert (code, lines[1]["exit_code"]) == (2, 2)
    assert "b.mkv" in lines[1]["error"]
    assert lines[-1]["summary"] == {
        "done": 2,
        "skipped": 0,
        "failed": 1,
        "met": 2,
        "encodes_spent": 6,
        "sources": 3,
        "exit_code": 2,
    }
    assert sorted(path.name for path in out.iterdir()) == [".assay", "a.mkv", "c.mkv"]
    (sources / "b.mkv").unlink()
    code, again = run()
    assert (code, [line.get("status") for line in again]) == (0, ["skipped", "skipped", None])
    assert again[0]["rate_value"] == lines[0]["rate_value"]
    (out / "a.mkv").write_bytes(b"damaged")
    code, damaged = run()
    assert (code, [line.get("status") for line in damaged]) == (2, ["failed", "skipped", None])
    assert "exists" in damaged[0]["error"]
    code, forced = run("--force")
    assert (code, [line.get("status") for line in forced]) == (0, ["done", "skipped", None])
    assert forced[-1]["summary"]["encodes_spent"] == 1  # the probes were known
    assert cli.main([*argv[:-1], "-o", "x.mkv"]) == 2
    assert "use --out-dir" in capsys.readouterr().err
    assert cli.main(argv[:-1]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("[1/2] a.mkv: finished before")
    assert printed[-1].startswith("2 sources: 2 met, 0 not met, 0 failed; 2 were finished before")
