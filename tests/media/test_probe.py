"""Stream facts against files whose facts are known because we made them."""

from fractions import Fraction

import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import MediaError, ToolError
from vmaf_assay.media import process
from vmaf_assay.media.facts import rate_of
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.probe import probe_video

pytestmark = pytest.mark.ffmpeg


def test_counts_frames_and_rate(ffmpeg, clip):
    """Size, rate and frame count are those the clip was made with."""
    info = probe_video(ffmpeg, clip)
    assert (info.width, info.height, info.n_frames) == (192, 108, 12)
    assert info.frame_rate == Fraction(25)
    assert info.pix_fmt == "yuv420p"


def test_matroska_milliseconds_do_not_change_the_rate(ffmpeg, tmp_path):
    """Stamps rounded to milliseconds still give 30000/1001."""
    path = lavfi(
        ffmpeg,
        tmp_path / "a.mkv",
        "-frames:v",
        "90",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        graph="testsrc2=size=64x64:rate=30000/1001",
    )
    assert probe_video(ffmpeg, path).frame_rate == Fraction(30000, 1001)


def test_raw_stream_uses_the_declared_rate(ffmpeg, tmp_path):
    """A bare H.264 stream has no stamps; the rate is the header's, the count the packets'."""
    path = lavfi(ffmpeg, tmp_path / "a.264", "-frames:v", "10", "-c:v", "libx264")
    info = probe_video(ffmpeg, path)
    assert (info.frame_rate, info.n_frames) == (Fraction(25), 10)


def test_missing_empty_audio_only_and_garbage_are_named(ffmpeg, tmp_path):
    """Each unusable source is refused with its own reason."""
    empty = tmp_path / "empty.mp4"
    empty.touch()
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(b"not a video" * 100)
    audio = lavfi(ffmpeg, tmp_path / "audio.m4a", "-t", "1", graph="sine")
    for path, reason in (
        (tmp_path / "none.mp4", "no such file"),
        (empty, "is empty"),
        (garbage, "cannot read"),
        (audio, "no video stream"),
    ):
        with pytest.raises(MediaError, match=reason) as caught:
            probe_video(ffmpeg, path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_cut_short_is_refused(ffmpeg, tmp_path, suffix):
    """Half of a file is an error, not a shorter source."""
    path = lavfi(ffmpeg, tmp_path / f"whole{suffix}", "-frames:v", "50", "-c:v", "libx264")
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"cannot read|not whole"):
        probe_video(ffmpeg, cut)


def test_colour_depth_and_side_data_of_hdr10(ffmpeg, tmp_path):
    """A 10-bit PQ stream with mastering data is told from an SDR one by what its frames say."""
    path = lavfi(
        ffmpeg,
        tmp_path / "hdr.mp4",
        "-frames:v",
        "3",
        "-vf",
        "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv",
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=error:hdr10=1:max-cll=1000,400",
    )
    info = probe_video(ffmpeg, path)
    assert (info.hdr, info.bit_depth, info.chroma, info.color_range) == ("HDR10 (PQ)", 10, "420", "tv")
    assert (info.color_primaries, info.color_space) == ("bt2020", "bt2020nc")
    assert info.side_data == ("Content light level metadata",)


def test_an_edit_list_takes_its_frames_out_of_the_count(ffmpeg, tmp_path):
    """Frames before the edit list's start are in the file and are not shown; the count is of those shown."""
    whole = lavfi(ffmpeg, tmp_path / "whole.mp4", "-frames:v", "25", "-c:v", "libx264", "-bf", "3")
    cut = tmp_path / "cut.mp4"
    done = process.run([*ffmpeg.base_argv(), "-ss", "0.5", "-i", str(whole), "-c", "copy", str(cut)])
    assert done.exit_code == 0
    decoded = process.run(
        [*ffmpeg.base_argv(), "-i", str(cut), "-fps_mode", "passthrough", "-f", "framecrc", "-"]
    ).stdout.decode()
    n_decoded = sum(line.startswith("0,") for line in decoded.splitlines())
    assert probe_video(ffmpeg, cut).n_frames == n_decoded == 12


@pytest.mark.parametrize(
    ("graph", "constant"),
    [("", True), ("select='not(eq(mod(n\\,5)\\,1))',", False)],
)
def test_variable_rate_is_seen(ffmpeg, tmp_path, graph, constant):
    """Stamps with a gap are a variable rate; millisecond rounding is not."""
    path = lavfi(
        ffmpeg,
        tmp_path / "v.mkv",
        "-vf",
        f"{graph}null",
        "-frames:v",
        "20",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        graph="testsrc2=size=64x64:rate=30000/1001",
    )
    assert probe_video(ffmpeg, path).constant_rate is constant


def test_field_order_alpha_and_a_late_start_are_seen(ffmpeg, tmp_path):
    """Interlaced coding, a transparency plane and a first stamp that is not zero."""
    fields = lavfi(
        ffmpeg,
        tmp_path / "i.mp4",
        "-vf",
        "tinterlace=interleave_top,format=yuv420p",
        "-frames:v",
        "5",
        "-flags",
        "+ildct+ilme",
        "-field_order",
        "tt",
        "-c:v",
        "libx264",
    )
    see_through = ("-vf", "format=argb,colorchannelmixer=aa=0.5", "-c:v", "qtrle")
    alpha = lavfi(ffmpeg, tmp_path / "a.mov", "-frames:v", "2", *see_through)
    late = lavfi(ffmpeg, tmp_path / "l.ts", "-frames:v", "5", "-c:v", "libx264", "-bf", "0")
    assert probe_video(ffmpeg, fields).interlaced
    assert probe_video(ffmpeg, alpha).alpha
    assert not probe_video(ffmpeg, late).interlaced
    assert probe_video(ffmpeg, late).start_s > 1


def test_an_ffmpeg_that_was_killed_says_nothing_of_the_file(clip, tmp_path):
    """Out of memory, say: a failure to be repeated, never a file that is refused as damaged."""
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    fake.chmod(0o755)
    with pytest.raises(ToolError, match=r"ffmpeg was killed reading .*; find what killed it"):
        probe_video(Ffmpeg(str(fake), "9.0", "test"), clip)


def test_a_rate_is_not_taken_from_stamps_that_are_errors():
    """Frames days apart, as a stamp below 0 becomes in Ogg: the header's rate counts, as it does for ffmpeg."""
    wrapped = [*range(20), (1 << 32) - 10, (1 << 32) - 9]
    assert rate_of(wrapped, Fraction(1, 25), [Fraction(25)]) == (Fraction(25), True)
    assert rate_of([0, 3600], Fraction(1), [Fraction(25)])[0] == Fraction(1, 3600)
