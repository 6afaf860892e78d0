"""Small clips to build corpora of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.corpus.builds import build_argv, digest_of, end_all, finish

UNLIKE = (
    "testsrc2=size=160x90:rate=25",
    "mandelbrot=size=160x90:rate=25:maxiter=200",
    "gradients=size=160x90:rate=25:seed=5:nb_colors=6:duration=2",
)
"""lavfi graphs of 160x90 that share no picture: a build refuses two groups that do."""


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="session")
def clips(ffmpeg, tmp_path_factory) -> Path:
    """Three clips that show nothing alike: `UNLIKE`, 24 frames each, libx264 CRF 8."""
    folder = tmp_path_factory.mktemp("clips")
    for number, graph in enumerate(UNLIKE):
        encode = ("-frames:v", "24", "-c:v", "libx264", "-crf", "8", "-pix_fmt", "yuv420p")
        lavfi(ffmpeg, folder / f"c{number}.mp4", *encode, graph=graph)
    return folder


@pytest.fixture(scope="session")
def undisturbed(clips, tmp_path_factory) -> str:
    """Digest of the nine cells of `clips`, built in peace."""
    code, out, err = finish(build_argv(clips, tmp_path_factory.mktemp("undisturbed") / "corpus", "--jobs", "1"))
    assert code == 0, err
    return digest_of(out)
