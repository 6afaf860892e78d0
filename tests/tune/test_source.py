"""Titles as references: what the filters give is judged, and one stream of the file is taken throughout."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.probe import probe_video
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import open_source

pytestmark = pytest.mark.ffmpeg

_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
_TONE_MAP = "zscale=t=linear:npl=100,tonemap=hable,zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p"


@pytest.fixture(scope="module")
def clips(ffmpeg, tmp_path_factory) -> Path:
    """`plain.mkv` (25 fps), `tele.mkv` (telecined film), `ten.mkv` (10-bit 4:2:2), `pq.mkv`, in FFV1 or H.264."""
    folder = tmp_path_factory.mktemp("clips")
    lavfi(ffmpeg, folder / "plain.mkv", "-frames:v", "24", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    lavfi(
        ffmpeg,
        folder / "tele.mkv",
        "-vf",
        "telecine=pattern=23,format=yuv420p",
        "-frames:v",
        "75",
        *_X264,
        "-flags",
        "+ilme+ildct",
        "-x264-params",
        "tff=1",
        graph="testsrc2=size=192x108:rate=24000/1001",
    )
    lavfi(ffmpeg, folder / "ten.mkv", "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv422p10le")
    lavfi(
        ffmpeg,
        folder / "pq.mkv",
        "-frames:v",
        "12",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p10le",
        graph="testsrc2=size=192x108:rate=25,setparams=color_trc=smpte2084:color_primaries=bt2020"
        ":colorspace=bt2020nc",
    )
    return folder


@pytest.mark.parametrize(
    ("filters", "rate", "n_frames"),
    [
        ("setpts=2*PTS", Fraction(25, 2), 24),
        ("setpts=0.5*PTS", Fraction(50), 24),
        ("setpts=PTS*3/2,hflip", Fraction(50, 3), 24),
        ("fps=5", Fraction(5), 5),
        ("hflip", Fraction(25), 24),
        ("framestep=2", Fraction(25, 2), 12),
    ],
)
def test_the_rate_is_of_the_frames_that_come_out(ffmpeg, clips, filters, rate, n_frames):
    """Slowed down to half, the same frames take twice the time: their bitrate is half."""
    reference, video = open_source(ffmpeg, clips / "plain.mkv", filters)
    assert (reference.frame_rate, reference.n_frames) == (rate, n_frames)
    assert video.frame_rate == 25


@pytest.mark.parametrize(
    ("name", "filters"),
    [
        ("tele.mkv", "pullup,fps=24000/1001"),
        ("tele.mkv", "fieldmatch,decimate"),
        ("tele.mkv", "setfield=prog"),
        ("tele.mkv", "separatefields,select='not(mod(n,2))',scale=192:108,setfield=prog"),
        ("pq.mkv", _TONE_MAP),
    ],
)
def test_a_filter_is_judged_by_what_comes_out(ffmpeg, clips, name, filters):
    """Whole frames of 8-bit 4:2:0 SDR are taken, however the chain that makes them is spelled."""
    with pytest.raises(MediaError):
        open_source(ffmpeg, clips / name)
    assert open_source(ffmpeg, clips / name, filters)[0].n_frames > 5


@pytest.mark.parametrize(
    ("name", "filters", "words"),
    [
        ("pq.mkv", "scale=480:-2,format=yuv420p", r"after --vf .* is HDR10 \(PQ\).*tone-map it"),
        ("tele.mkv", "scale=96:54", "interlaced"),
        ("plain.mkv", "format=yuva420p,fade=out:5:5:alpha=1", "has transparency"),
        ("plain.mkv", "tinterlace=interleave_top", "interlaced"),
    ],
)
def test_filters_that_only_sound_right_are_refused(ffmpeg, clips, name, filters, words):
    """What the words of a chain promise and its frames are not, is not promised on."""
    with pytest.raises(MediaError, match=words):
        open_source(ffmpeg, clips / name, filters)


@pytest.mark.parametrize("name", ["a.gif", "a.apng", "a.webp", "a.mkv"])
def test_opaque_pictures_are_taken(ffmpeg, tmp_path, name):
    """Animations whose alpha is opaque throughout are 8-bit RGB, which is converted."""
    args = {
        "a.gif": (),
        "a.apng": ("-f", "apng", "-pix_fmt", "rgba"),
        "a.webp": ("-c:v", "libwebp"),
        "a.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgra"),
    }[name]
    path = lavfi(ffmpeg, tmp_path / name, "-frames:v", "8", *args)
    assert open_source(ffmpeg, path)[0].n_frames == 8


def test_transparent_pictures_are_refused_with_the_way_out(ffmpeg, tmp_path):
    """The refusal names the filter, and the filter helps."""
    path = lavfi(
        ffmpeg, tmp_path / "t.mkv", "-frames:v", "8", "-vf", "format=bgra,colorchannelmixer=aa=0.5", "-c:v", "ffv1"
    )
    with pytest.raises(MediaError, match=r"transparency.*--vf format=yuv420p"):
        open_source(ffmpeg, path)
    assert open_source(ffmpeg, path, "format=yuv420p")[0].n_frames == 8


@pytest.mark.parametrize("stream", [None, 0])
def test_one_stream_is_taken_from_end_to_end(ffmpeg, tmp_path, stream):
    """A still before the film is passed over, and `stream` names another film: probes, trial and output agree."""
    still, film, small = tmp_path / "still.mkv", tmp_path / "film.mkv", tmp_path / "small.mkv"
    noisy = "testsrc2=size=192x108:rate=25,noise=alls=10:allf=t"
    lavfi(ffmpeg, film, "-frames:v", "12", *_X264, "-crf", "2", graph=noisy)
    lavfi(ffmpeg, small, "-frames:v", "24", *_X264, "-crf", "2", graph=noisy.replace("192x108", "160x90"))
    lavfi(ffmpeg, still, "-frames:v", "1", *_X264)
    source, out = tmp_path / "source.mkv", tmp_path / "out.mkv"
    first = small if stream == 0 else still
    maps = ["-map", "0:v", "-map", "1:v", "-c", "copy"]
    argv = [*ffmpeg.base_argv(), "-i", str(first), "-i", str(film), *maps, str(source)]
    assert process.run(argv).exit_code == 0
    if stream is None:
        assert probe_video(ffmpeg, source).stream == 1
    request = TuneRequest(source, "libx264", 80.0, 0.9, trials=1, output=out, verify=True, stream=stream)
    result = tune(ffmpeg, verified(), request)
    size, n_frames = ((160, 90), 24) if stream == 0 else ((192, 108), 12)
    info = probe_video(ffmpeg, out)
    assert (info.shown_size, info.n_frames) == (size, n_frames)
    # The file is the stream that was tried: another one's frames would not match.
    assert abs(result.measured_vmaf - result.mu) < 3
