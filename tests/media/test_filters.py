"""Filters that open files are refused, but for those that draw subtitles or apply tables."""

import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.filters import check_filters


@pytest.mark.parametrize(
    "chain",
    [
        "movie=/etc/passwd",
        "scale=640:-2,movie=other.mkv[o]",
        "[in]scale=2:2[a];amovie@x=/tmp/s.wav[b]",
        "psnr=stats_file=/tmp/x",
        "[a][b]ssim=f=/tmp/x",
        "metadata=print:file=/tmp/x",
        "frei0r=/tmp/x",
        "vidstabdetect=result=/tmp/x",
        "sendcmd=f=/tmp/x",
        "curves=psfile=/etc/x.acv",
        "libplacebo=custom_shader_path=/tmp/x",
        "crop=/w=/etc/passwd",
        "zmq",
        "removelogo=logo.png",
        "split[a][b];[a][b]psnr=/tmp/x",
        "split[a][b];[a][b]psnr='stats_file=/tmp/x'",
        r"curves=ps\file=/etc/x.acv",
        "curves='preset=none:psfile=/etc/x.acv'",
        r"curves='psf'i'le'=/etc/x.acv",
        "curves= psfile =/etc/x.acv",
        "split[a][b];[b]palettegen[p];[a][p]paletteuse=debug_kdtree=/tmp/x",
        "libplacebo=lut=/tmp/x.cube",
        "fieldhint=/etc/passwd",
        r"crop='/w'=/etc/passwd",
    ],
)
def test_filters_that_may_open_files_are_refused(chain):
    """By the filter's name, by an option that names a file, and by ffmpeg's way to read an option from a file."""
    with pytest.raises(ConfigError, match=r"may open files.*--unsafe-args"):
        check_filters(chain)


@pytest.mark.parametrize("name", ["'movie'", r"m\ovie", "mo'vi'e", r"[in]m\ovie", "'movie'@x", "'subtitles'"])
def test_names_are_written_plainly(name):
    """Ffmpeg reads quoted and escaped names too; here they are refused, as what follows could not be judged."""
    with pytest.raises(ConfigError, match="quotes or backslashes"):
        check_filters(f"null,{name}=/etc/passwd[m];[in][m]overlay")


@pytest.mark.ffmpeg
def test_ffmpeg_takes_off_one_level_of_quotes(ffmpeg, tmp_path):
    """What is refused here does write a file in plain ffmpeg, so the refusals are of more than spelling."""
    for number, options in enumerate(("stats_file=F", "'stats_file=F'", r"sta\ts_file=F", "F")):
        path = tmp_path / str(number)
        chain = f"split[a][b];[a][b]psnr={options.replace('F', str(path))}"
        lavfi(ffmpeg, tmp_path / "out.mkv", "-frames:v", "1", "-vf", chain, "-y")
        assert path.stat().st_size
        with pytest.raises(ConfigError, match="psnr may open files"):
            check_filters(chain)


@pytest.mark.parametrize(
    "chain",
    [
        "",
        "scale=1280:-2:flags=lanczos,format=yuv420p",
        "subtitles=s.srt",
        "subtitles=filename='my, file.srt':force_style='Fontsize=24,Bold=1'",
        "ass=s.ass",
        "lut3d=film.cube",
        "nnedi=weights=nnedi3_weights.bin",
        "drawtext=textfile=t.txt:x=10",
        "drawtext=text='movie=1, part 2'",
        "pullup,fps=24000/1001",
        "bwdif=send_frame,hqdn3d=4:3:6:4.5",
        "eq=contrast=1.1:brightness=0.02",
        "drawtext=text=a\\,b",
    ],
)
def test_ordinary_chains_pass(chain):
    """Words inside quotes are no filters; subtitles and look-up tables are read as they are meant to be."""
    check_filters(chain)
