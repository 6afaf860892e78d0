"""Titles of several scenes, made by ffmpeg."""

from pathlib import Path

import pytest

from tests.conftest import lavfi
from vmaf_assay.media.ffmpeg import Ffmpeg

SCENE_FRAMES = 30
"""Frames of each scene of `title`."""


@pytest.fixture(scope="session")
def title(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes of 30 frames at 192x108: test pattern, two fractals, a moving carpet.

    With a tone beside them, a chapter and a language, in Matroska.
    """
    folder = tmp_path_factory.mktemp("title")
    each = [
        "testsrc2=size=192x108:rate=25",
        "mandelbrot=size=192x108:rate=25:start_scale=0.3",
        "mandelbrot=size=192x108:rate=25:start_x=-1.2:start_y=0.2:start_scale=2,hue=h=90",
        "sierpinski=size=192x108:rate=25:seed=3:jump=6",
    ]
    trimmed = ";".join(
        f"{one},trim=end_frame={SCENE_FRAMES},format=yuv420p,setsar=1[v{i}]" for i, one in enumerate(each)
    )
    joined = "".join(f"[v{i}]" for i in range(len(each)))
    graph = f"{trimmed};{joined}concat=n={len(each)},setpts=N/25/TB[out0];sine=duration=4.8[out1]"
    chapters = folder / "chapters.txt"
    chapters.write_text(
        ";FFMETADATA1\ntitle=Four scenes\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2400\ntitle=First\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=2400\nEND=4800\ntitle=Second\n"
    )
    return lavfi(
        *(ffmpeg, folder / "title.mkv", "-i", str(chapters), "-map", "0:v", "-map", "0:a", "-map_metadata", "1"),
        *("-metadata:s:v:0", "language=fin", "-metadata:s:v:0", "title=Kuva", "-metadata:s:a:0", "language=deu"),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "6", "-g", "12", "-c:a", "flac"),
        graph=graph,
    )
