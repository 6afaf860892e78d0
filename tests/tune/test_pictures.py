"""What is made of pictures before they are encoded: whole frames, without bars, opaque, SDR."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.bars import bars_of, find_bars
from vmaf_assay.media.ffmpeg import guards
from vmaf_assay.media.fields import look_at_fields
from vmaf_assay.media.probe import probe_video
from vmaf_assay.tune.pictures import PictureRequest, check_pictures, prepare
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import open_prepared

pytestmark = pytest.mark.ffmpeg

_MOVING = "testsrc2=size=352x240:rate={rate},scroll=h=0.013:v=0.007,scale=720:480"
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p")
_FIELDS = ("-flags", "+ilme+ildct", "-x264-params", "tff=1")


def _look(ffmpeg, path: Path):
    video = probe_video(ffmpeg, path)
    return look_at_fields(ffmpeg, path, video, guards(video.container.partition(",")[0]))


def _run(ffmpeg, *args: str) -> str:
    """Plain ffmpeg, at level info; returns what it says."""
    done = process.run([ffmpeg.path, "-hide_banner", "-nostdin", *args])
    assert done.exit_code == 0, done.stderr
    return done.stderr


def _psnr(ffmpeg, path: Path, filters: str, other: Path, folder: Path) -> list[float]:
    """PSNR of luma of each frame behind filters against the same frame of another file, dB, by plain ffmpeg."""
    ticks, log = "settb=1/25,setpts=N", folder / "psnr.txt"
    graph = f"[0]{filters},{ticks}[a];[1]{ticks}[b];[a][b]psnr=f={log}"
    _run(ffmpeg, "-i", str(path), "-i", str(other), "-lavfi", graph, "-f", "null", "-")
    return [float(value) for value in re.findall(r"psnr_y:(\S+)", log.read_text())]


@pytest.mark.parametrize(
    ("filters", "rate", "marks", "kind"),
    [
        ("tinterlace=interleave_top", 60, (), ("interlaced", "tff")),
        ("tinterlace=interleave_bottom", 50, (), ("interlaced", "bff")),
        ("tinterlace=interleave_top", 60, _FIELDS, ("interlaced", "tff")),
        ("telecine=first_field=top:pattern=23", "24000/1001", (), ("telecined", "tff")),
        ("telecine=first_field=top:pattern=23", "24000/1001", _FIELDS, ("telecined", "tff")),
        ("null", 25, (), ("progressive", "tff")),
        ("null", 25, _FIELDS, ("progressive", "tff")),
    ],
)
def test_fields_are_found_in_the_pictures(ffmpeg, tmp_path, filters, rate, marks, kind):
    """What the frames are is seen, whether the stream is marked or not."""
    path = lavfi(
        ffmpeg,
        tmp_path / "clip.mkv",
        *("-vf", filters, "-frames:v", "50", *_X264, *marks),
        graph=_MOVING.format(rate=rate),
    )
    seen = _look(ffmpeg, path)
    assert (seen.kind, seen.parity) == kind


def test_a_mark_decides_where_nothing_moves(ffmpeg, tmp_path):
    """Of a still picture fields cannot be seen: then its mark is believed."""
    still = "color=gray:size=720x480:rate=25"
    marked = lavfi(ffmpeg, tmp_path / "marked.mkv", "-frames:v", "12", *_X264, *_FIELDS, graph=still)
    plain = lavfi(ffmpeg, tmp_path / "plain.mkv", "-frames:v", "12", *_X264, graph=still)
    assert _look(ffmpeg, marked).kind == "interlaced"
    assert _look(ffmpeg, plain).filters == ""


def test_partly_interlaced_video_keeps_its_whole_frames(ffmpeg, tmp_path):
    """Interlaced frames are deinterlaced, whole ones stay what they are: PSNR by plain ffmpeg."""
    whole, fields = _MOVING.format(rate=30), f"{_MOVING.format(rate=60)},tinterlace=interleave_top"
    each = f"{whole},trim=end_frame=40[a];{fields},trim=end_frame=40[b]"
    graph = f"{each};[a][b]concat,setfield=prog"
    path = lavfi(ffmpeg, tmp_path / "mixed.mkv", "-frames:v", "80", *_X264, graph=graph)
    seen = _look(ffmpeg, path)
    assert seen.kind == "mixed"
    values = _psnr(ffmpeg, path, seen.filters, path, tmp_path)
    assert len(values) == 80
    assert sum(value == np.inf for value in values[:35]) >= 30
    assert max(values[45:]) < 60


@pytest.mark.parametrize(
    ("chain", "whole", "marks"),
    [
        ("fieldmatch=order=tff,decimate", True, _FIELDS),
        ("pullup,fps=24000/1001", True, _FIELDS),
        ("fieldmatch=order=tff,decimate,scale=-2:128", True, ()),
        ("hflip", False, _FIELDS),
        ("scale=-2:128", False, ()),
    ],
)
def test_a_chain_that_makes_whole_pictures_is_enough(ffmpeg, tmp_path, chain, whole, marks):
    """Film is taken out of telecined frames once: by the user's own chain, or else by what is made of them."""
    path = tmp_path / "tele.mkv"
    film = ("-frames:v", "50", "-vf", "telecine=first_field=top:pattern=23")
    lavfi(ffmpeg, path, *film, *_X264, *marks, graph=_MOVING.format(rate="24000/1001"))
    opened = open_prepared(ffmpeg, path, chain, pictures=PictureRequest())
    assert opened.prepared.fields == "telecined"
    assert (opened.prepared.filters == "") == whole
    assert not opened.seen.interlaced
    assert str(opened.reference.frame_rate) == "24000/1001"
    assert opened.reference.n_frames in ((38, 39, 40) if "pullup" in chain else (40,))


def test_frames_taken_as_they_are_keep_their_mark_for_the_chain(ffmpeg, tmp_path):
    """`--deinterlace off --vf bwdif` shows the bottom field first where the file says so."""
    path = tmp_path / "fields.mkv"
    made = ("-frames:v", "12", "-vf", "tinterlace=interleave_bottom", "-flags", "+ilme+ildct")
    lavfi(ffmpeg, path, *made, *_X264, "-x264-params", "bff=1", graph=_MOVING.format(rate=50))
    opened = open_prepared(ffmpeg, path, "bwdif", pictures=PictureRequest(deinterlace="off"))
    assert (opened.reference.n_frames, opened.reference.frame_rate) == (24, 50)
    graph = f"[0]{opened.reference.user_filters}[a];[1]bwdif=parity=bff[b];[a][b]psnr=f={tmp_path / 'psnr.txt'}"
    _run(ffmpeg, "-i", str(path), "-i", str(path), "-lavfi", graph, "-f", "null", "-")
    assert re.findall(r"psnr_y:(\S+)", (tmp_path / "psnr.txt").read_text()) == ["inf"] * 24


def test_telecined_film_gives_the_film_back(ffmpeg, tmp_path):
    """Every picture is one of the film's, at its own rate: PSNR of each by plain ffmpeg."""
    film = lavfi(
        ffmpeg,
        tmp_path / "film.mkv",
        *("-frames:v", "40", "-c:v", "ffv1", "-pix_fmt", "yuv420p"),
        graph=_MOVING.format(rate="24000/1001"),
    )
    path = tmp_path / "tele.mkv"
    _run(ffmpeg, "-i", str(film), "-vf", "telecine=first_field=top:pattern=23", *_X264, *_FIELDS, str(path))
    opened = open_prepared(ffmpeg, path, pictures=PictureRequest())
    reference, video, prepared = opened.reference, opened.video, opened.prepared
    assert video.interlaced
    assert prepared.fields == "telecined"
    assert (reference.n_frames, str(reference.frame_rate)) == (40, "24000/1001")
    values = _psnr(ffmpeg, path, prepared.filters, film, tmp_path)
    assert len(values) == 40
    assert min(values[1:]) > 35  # woven of two pictures of this film: below 25


@pytest.mark.parametrize(
    ("filters", "pixels", "found"),
    [
        ("pad=192:128:0:10", "yuv420p", "192:108:0:10"),
        ("pad=240:108:24:0", "yuv420p", "192:108:24:0"),
        ("pad=240:128:24:10", "yuv444p10le", "192:108:24:10"),
        ("pad=192:131:0:11", "yuv444p", "192:110:0:10"),
        ("pad=192:128:0:10", "yuvj420p", "192:108:0:10"),
        ("null", "yuv420p", "192:108:0:0"),
        # the first second is dark, the last has a subtitle in the lower bar
        ("eq=brightness=-0.9:enable='lt(t,1)',pad=192:148:0:20", "yuv420p", "192:108:0:20"),
        ("pad=192:148:0:20,drawbox=80:134:30:6:white:fill:enable='gt(t,1.5)'", "yuv420p", "192:128:0:20"),
        # a night scene: dark down to the lower edge, but no bar
        ("lutyuv=y=16+(val-16)*0.06,pad=192:108:0:0", "yuv420p", "192:108:0:0"),
        ("lutyuv=y=16:u=128:v=128", "yuv420p", "192:108:0:0"),
    ],
)
def test_black_bars_are_found_and_no_picture_is_cut(ffmpeg, tmp_path, filters, pixels, found):
    """A bar is black throughout and ends straight; what is picture at any time stays, and sides are even."""
    path = lavfi(
        ffmpeg,
        tmp_path / "clip.mkv",
        *("-vf", f"format={pixels},{filters}", "-frames:v", "50", "-c:v", "libx264", "-crf", "4"),
        graph="testsrc2=size=192x108:rate=25,hue=s=0.3",
    )
    video = probe_video(ffmpeg, path)
    assert str(find_bars(ffmpeg, path, video, guards("matroska"))) == found


def test_a_subtitle_at_any_time_is_found_in_a_long_title(ffmpeg, tmp_path):
    """Of 1200 frames a subtitle of a second is seen, though not every frame is looked at."""
    graph = "testsrc2=size=96x54:rate=25,pad=96:84:0:10,drawbox=40:70:30:4:white:fill:enable='between(n,701,725)'"
    path = lavfi(ffmpeg, tmp_path / "long.mkv", "-frames:v", "1200", *_X264, graph=graph)
    seen = find_bars(ffmpeg, path, probe_video(ffmpeg, path), guards("matroska"))
    assert (str(seen), seen.kept) == ("96:74:0:10", ("bottom",))


def test_a_dark_gradient_is_no_bar():
    """A picture that fades to black towards an edge has no straight end, so all of it stays."""
    fading = np.tile(np.linspace(0, 40, 90)[:, None], (1, 160)).astype(np.uint8)
    fading[:, 60:100] += 60
    fading[:20] = 0
    assert str(bars_of(fading)) == "160:90:0:0"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (PictureRequest(crop="1:2"), "WIDTH:HEIGHT:X:Y"),
        (PictureRequest(crop="101:50:0:0"), "even"),
        (PictureRequest(crop="100:51:0:0"), "--crop 100:50:0:0"),
        (PictureRequest(background="mauve"), "#rrggbb"),
        (PictureRequest(deinterlace="yes"), "--deinterlace"),  # type: ignore[arg-type]
        (PictureRequest(tonemap="nice"), "--tonemap"),  # type: ignore[arg-type]
    ],
)
def test_invalid_requests_are_refused(request_, words):
    """One line says which option, and what it takes."""
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_pictures(request_)


def test_a_crop_lies_inside_the_picture(ffmpeg, clip):
    """Ffmpeg would move such a crop without saying so."""
    with pytest.raises(ConfigError, match="not inside the picture of 192x108"):
        prepare(ffmpeg, clip, probe_video(ffmpeg, clip), PictureRequest(crop="192:108:2:0"))


@pytest.mark.parametrize(("colour", "red"), [("black", 128), ("white", 255), ("#3264c8", 153)])
@pytest.mark.parametrize("pixels", ["rgba", "yuva444p"])
def test_transparent_pictures_lie_over_a_stated_colour(ffmpeg, tmp_path, colour, red, pixels):
    """Half-transparent red over a colour is the mean of the two: 255 x 0.5 + colour x 0.5."""
    path = lavfi(
        ffmpeg,
        tmp_path / "half.mkv",
        *("-vf", f"format={pixels}", "-frames:v", "3", "-c:v", "ffv1"),
        graph="color=red@0.5:size=64x48,format=rgba",
    )
    with pytest.raises(MediaError, match="--background black"):
        open_prepared(ffmpeg, path, pictures=PictureRequest())
    opened = open_prepared(ffmpeg, path, pictures=PictureRequest(background=colour))
    reference, prepared = opened.reference, opened.prepared
    done = process.run(
        [
            *(ffmpeg.path, "-v", "error", "-i", str(path), "-vf"),
            ",".join([*reference.encode_filters(), "format=rgb24"]),
            *("-frames:v", "1", "-f", "rawvideo", "-"),
        ]
    )
    seen = np.frombuffer(done.stdout, np.uint8).reshape(48, 64, 3).mean(axis=(0, 1))
    assert abs(seen[0] - red) < 4
    assert colour.replace("black", "#000000").replace("white", "#ffffff") in prepared.notes[-1]


def test_hdr_is_mapped_to_sdr_on_request(ffmpeg, tmp_path):
    """What is encoded after --tonemap is tagged BT.709, by plain ffmpeg."""
    path = lavfi(
        ffmpeg,
        tmp_path / "pq.mkv",
        *("-frames:v", "4", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le"),
        graph="testsrc2=size=192x108,setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc",
    )
    opened = open_prepared(ffmpeg, path, pictures=PictureRequest(tonemap="mobius"))
    reference, video, prepared = opened.reference, opened.video, opened.prepared
    assert video.hdr
    said = _run(
        ffmpeg, "-i", str(path), "-vf", f"{','.join(reference.encode_filters())},showinfo", "-f", "null", "-"
    )
    assert re.search(r"color_space:bt709 color_primaries:bt709 color_trc:bt709", said), said
    assert "mobius" in prepared.notes[-1]


def test_an_interlaced_title_with_bars_is_tuned_as_whole_pictures(ffmpeg, tmp_path):
    """The measured VMAF is that of plain ffmpeg against the picture deinterlaced and cropped by hand."""
    graph = (
        f"{_MOVING.format(rate=50)},tinterlace=interleave_top,scale=720:400:interl=1,pad=720:480:0:40,setfield=tff"
    )
    path = lavfi(ffmpeg, tmp_path / "pal.mkv", "-frames:v", "14", *_X264, *_FIELDS, graph=graph)
    asked = TuneRequest(
        *(path, "libx264", 70, 0.8),
        trials=0,
        output=tmp_path / "out.mkv",
        verify=True,
        pictures=PictureRequest(crop="auto"),
    )
    result = tune(ffmpeg, verified(), asked)
    assert (result.width, result.height, result.frame_rate, result.n_frames) == (720, 400, "25/1", 14)
    assert (result.pictures.crop, result.pictures.fields) == ("720:400:0:40", "interlaced")
    by_hand = "bwdif=mode=send_frame:parity=tff,setfield=prog,crop=720:400:0:40,setpts=N/25/TB,setsar=1"
    log = tmp_path / "vmaf.json"
    _run(
        ffmpeg,
        *("-i", str(tmp_path / "out.mkv"), "-i", str(path), "-lavfi"),
        f"[0]setpts=N/25/TB,setsar=1[a];[1]{by_hand}[b];[a][b]libvmaf=log_fmt=json:log_path={log}",
        *("-f", "null", "-"),
    )
    mean = float(re.search(r'"vmaf": \{[^}]*"mean": ([\d.]+)', log.read_text())[1])
    assert result.measured_vmaf == pytest.approx(mean, abs=1e-4)
