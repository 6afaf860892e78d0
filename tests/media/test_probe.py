"""Stream facts against files whose facts are known because we made them."""

from fractions import Fraction

import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import MediaError
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
        ffmpeg, tmp_path / "a.mkv", "-frames:v", "90", "-c:v", "libx264", "-preset", "ultrafast",
        graph="testsrc2=size=64x64:rate=30000/1001",
    )  # fmt: skip
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
