"""Shared fixtures: a real ffmpeg and small clips that it makes."""

from pathlib import Path

import pytest

from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache of measured encodes or its key, or another test's."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("ASSAY_OUTCOMES", str(tmp_path_factory.mktemp("outcomes")))
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    """The ffmpeg the package finds by itself."""
    return find_ffmpeg()


def lavfi(ffmpeg: Ffmpeg, path: Path, *args: str, graph: str = "testsrc2=size=192x108:rate=25") -> Path:
    """Make a clip: `ffmpeg -f lavfi -i GRAPH ARGS PATH`."""
    done = process.run([*ffmpeg.base_argv(), "-f", "lavfi", "-i", graph, *args, str(path)])
    assert done.exit_code == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def clip(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ffmpeg -f lavfi -i testsrc2=size=192x108:rate=25 -frames:v 12 -c:v libx264 -crf 5 clip.mp4`."""
    folder = tmp_path_factory.mktemp("clip")
    return lavfi(ffmpeg, folder / "clip.mp4", "-frames:v", "12", "-c:v", "libx264", "-crf", "5")
