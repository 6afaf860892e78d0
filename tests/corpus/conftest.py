"""Small clips to build corpora of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.corpus.builds import build_argv, digest_of, end_all, finish


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="session")
def clips(ffmpeg, tmp_path_factory) -> Path:
    """Three clips: `testsrc2=size=160x90:rate=25,hue=h=N*40`, 24 frames, libx264 CRF 8."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(3):
        graph = f"testsrc2=size=160x90:rate=25,hue=h={number * 40}"
        lavfi(ffmpeg, folder / f"c{number}.mp4", "-frames:v", "24", "-c:v", "libx264", "-crf", "8", graph=graph)
    return folder


@pytest.fixture(scope="session")
def undisturbed(clips, tmp_path_factory) -> str:
    """Digest of the nine cells of `clips`, built in peace."""
    code, out, err = finish(build_argv(clips, tmp_path_factory.mktemp("undisturbed") / "corpus", "--jobs", "1"))
    assert code == 0, err
    return digest_of(out)
