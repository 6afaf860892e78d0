"""Any other encoder of ffmpeg's: what is read of it, what is refused, and how its direction is found."""

import numpy as np
import pytest

from vmaf_assay.errors import ConfigError
from vmaf_assay.media import commands
from vmaf_assay.media.drive import drive_encoder
from vmaf_assay.media.encoders import encoder_info, with_extra_args
from vmaf_assay.media.encoders.driven import Drive, completed, driven, read_drive, read_help
from vmaf_assay.promise.own_curve import places

VP8 = """Encoder libvpx [libvpx VP8]:
    General capabilities: dr1 delay threads reorderedopaque
    Supported pixel formats: yuv420p yuva420p
libvpx-vp8 encoder AVOptions:
  -arnr-type         <int>        E..V....... altref noise reduction filter type (from -1 to INT_MAX) (default -1)
     backward        1            E..V.......
  -crf               <int>        E..V....... Select the quality (from -1 to 63) (default -1)
  -ts-parameters     <dictionary> E..V....... Temporal scaling configuration using a :-separated list of parameters
  -error-resilient   <flags>      E..V....... Error resilience configuration (default 0)
"""
"""A part of `ffmpeg -h encoder=libvpx`, ffmpeg n9.0.2."""


def test_what_ffmpeg_says_of_an_encoder():
    """Options with their types and ranges, and pixel formats; a text without an encoder gives None."""
    said = read_help(VP8)
    assert said is not None
    assert said.pix_fmts == ("yuv420p", "yuva420p")
    assert said.bounds("-crf") == (-1.0, 63.0)
    assert said.bounds("-arnr-type") is None  # INT_MAX is no end
    assert said.harmless == {"arnr-type", "crf", "error-resilient"}  # a dictionary may name anything
    assert read_help("Codec 'nonsense' is not recognized by FFmpeg.") is None


def test_an_encoder_is_completed_by_its_description():
    """Its numeric options may be given by the user, others not; the rate option itself never."""
    said = read_help(VP8)
    assert said is not None
    info = completed(driven("libvpx", Drive("-crf", 4.0, 63.0)), said)
    args = commands.encoder_args(info, "default", 30)
    assert args[:2] == ["-c:v", "libvpx"]
    assert args[args.index("-crf") + 1] == "30"
    assert args[args.index("-pix_fmt") + 1] == "yuv420p"
    assert with_extra_args(info, "-arnr-type 2").extra_args == ("-arnr-type", "2")
    for refused in ("-ts-parameters a=b", "-crf 20", "-b:v 1M", "-threads 9"):
        with pytest.raises(ConfigError, match="--encoder-args"):
            with_extra_args(info, refused)


@pytest.mark.parametrize(
    ("drive", "message"),
    [
        (Drive("-qqq", 1.0, 31.0), "libvpx has no option -qqq"),
        (Drive("-crf", 4.0, 64.0), "-crf of libvpx goes from -1 to 63, not 4 to 64"),
        (Drive("-crf", 4.0, 63.0, 0.5), "-crf of libvpx takes whole numbers"),
        (Drive("-crf", 4.5, 63.0), "-crf of libvpx takes whole numbers"),
    ],
)
def test_what_the_encoder_does_not_take_is_refused(drive, message):
    """An option that it lacks, a range outside the option's, steps that it would round."""
    said = read_help(VP8)
    assert said is not None
    with pytest.raises(ConfigError, match=message):
        completed(driven("libvpx", drive), said)


@pytest.mark.parametrize(
    ("flag", "text", "step", "message"),
    [
        ("q:v", "1:31", None, "'q:v' is not an option"),
        ("-q:v; rm", "1:31", None, "is not an option"),
        ("-q:v", "31:1", None, "is not LOW:HIGH"),
        ("-q:v", "1-31", None, "is not LOW:HIGH"),
        ("-q:v", "nan:31", None, "is not LOW:HIGH"),
        ("-q:v", "1:31", 0.0, "no step of that range"),
        ("-q:v", "1:31", 31.0, "no step of that range"),
        ("-q:v", "1:31", float("nan"), "no step of that range"),
    ],
)
def test_bad_words_are_one_line(flag, text, step, message):
    """A flag that is none, a range that is none, and a step that does not fit are named as such."""
    with pytest.raises(ConfigError, match=message):
        read_drive(flag, text, step)


def test_the_tables_own_encoders_are_narrowed_only():
    """A range inside the declared one, steps that the encoder takes, its own options; else one clear line."""
    quarter = driven("libsvtav1", Drive("-svtav1-params crf", 1.0, 70.0, 0.25))
    assert commands.encoder_args(quarter, "8", 30.25)[4:6] == ["-svtav1-params", "crf=30.25"]
    assert quarter.check_rate(69.75) == 69.75
    assert driven("libx264", Drive(step=0.5)).rate_step == 0.5
    assert driven("libx264", Drive()) == encoder_info("libx264")
    for name, drive, message in (
        ("libx264", Drive("-qp"), "its quality is set by -crf"),
        ("libx264", Drive(low=10.0, high=60.0), "takes crf 0 to 51, not 10 to 60"),
        ("librav1e", Drive(step=0.5), "in steps of 1, not 0.5"),
        ("mpeg4", Drive(), "--rate-flag and --rate-range say how"),
        ("mpeg4", Drive("-q:v"), "--rate-flag and --rate-range say how"),
    ):
        with pytest.raises(ConfigError, match=message):
            driven(name, drive)


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("name", "low", "high", "lower_is_better", "pix_fmt"),
    [
        ("mpeg4", 1.0, 31.0, True, "yuv420p"),
        ("libtheora", 0.0, 10.0, False, "yuv420p"),
        ("prores_ks", 1.0, 24.0, True, "yuv422p10le"),
    ],
)
def test_the_direction_is_found(ffmpeg, name, low, high, lower_is_better, pix_fmt):
    """Two small encodes tell which end of the range is the better one; the pixel format is one it takes."""
    info = drive_encoder(ffmpeg, name, Drive("-q:v", low, high))
    assert (info.lower_is_better, info.pix_fmts[0]) == (lower_is_better, pix_fmt)
    place = places(info, np.array([low, high]))
    assert place.tolist() == ([0.0, 1.0] if lower_is_better else [1.0, 0.0])


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("name", "flag", "message"),
    [
        ("ffv1", "-q:v", "so it does not set its quality"),
        ("nonsense", "-q:v", "this ffmpeg has no video encoder 'nonsense'"),
        ("aac", "-q:v", "this ffmpeg has no video encoder 'aac'"),
        ("mpeg2video", "-crf", "mpeg2video has no option -crf"),
    ],
)
def test_what_cannot_be_driven_is_said(ffmpeg, name, flag, message):
    """An option without effect, an encoder that is none, one of sound, and an option that it lacks."""
    with pytest.raises(ConfigError, match=message):
        drive_encoder(ffmpeg, name, Drive(flag, 1.0, 31.0))


def test_a_quantisers_step_counts_by_its_logarithm():
    """Between 1 and 31 the middle is at the geometric mean for MPEG-4, so that curves are as smooth as CRF's."""
    import dataclasses

    info = dataclasses.replace(driven("mpeg4", Drive("-q:v", 1.0, 31.0)), linear_step=True)
    assert places(info, np.array([np.sqrt(31.0)]))[0] == pytest.approx(0.5)
