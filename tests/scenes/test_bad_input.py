"""A source or a container that cannot be used is one clear line, and nothing is left behind."""

import shutil

import pytest

import vmaf_assay as va
from vmaf_assay.cli.main import main
from vmaf_assay.errors import MediaError

pytestmark = pytest.mark.ffmpeg

ENCODED = ["-e", "libx264:superfast", "--target-vmaf", "90", "--by-scene"]


def test_source_that_changes(title, tmp_path):
    """A source that is another file once scenes are encoded is an error, and no output is written."""
    source, out = tmp_path / "source.mkv", tmp_path / "out.mkv"
    other = tmp_path / "other.mkv"
    shutil.copy(title, source)
    asked = {"target_vmaf": 90, "output": out}
    # As many frames, and other pictures.
    va.tune_scenes(source, "libx264:superfast", target_vmaf=70, output=other)

    def swap(what: str, done: int, total: int) -> None:
        if what == "encode scenes" and not done and other.exists():
            other.replace(source)

    with pytest.raises(MediaError, match="no longer shows the frames that it showed before"):
        va.tune_scenes(source, "libx264:superfast", on_step=swap, **asked)
    assert not other.exists()
    assert not out.exists()


def test_container_that_takes_no_such_video(title, tmp_path, capsys):
    """A container that does not hold the encoder's video is refused before a scene is encoded."""
    assert main(["tune", str(title), *ENCODED, "-o", str(tmp_path / "out.webm")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "out.webm" in said
    assert ".mkv" in said
    assert list(tmp_path.iterdir()) == []
