"""Files as people have them: each is valid, and its facts are those that plain ffmpeg's decoding gives.

Clips are 30 to 72 frames of `testsrc2` at 192x108, cut, joined and remuxed by ffmpeg and mkvmerge.
"""

import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.ffmpeg import Ffmpeg, damage_line
from vmaf_assay.media.probe import probe_video

pytestmark = pytest.mark.ffmpeg

_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
_X264_GOP = (*_X264, "-x264-params", "keyint=24:open-gop=1")
_MPEG2 = ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-g", "12")
_HEVC = (
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-pix_fmt",
    "yuv420p",
    "-x265-params",
    "log-level=error:open-gop=1:keyint=12:min-keyint=12:bframes=4:scenecut=0",
)


def run(ffmpeg: Ffmpeg, *args: object) -> None:
    done = process.run([*ffmpeg.base_argv(), *map(str, args)])
    assert done.exit_code == 0, done.stderr


def decoded(ffmpeg: Ffmpeg, path: Path, stream: str = "v:0") -> int:
    """Frames that plain ffmpeg decodes."""
    argv = [ffmpeg.path, "-v", "quiet", "-i", str(path), "-map", f"0:{stream}", "-fps_mode", "passthrough"]
    done = process.run([*argv, "-f", "framecrc", "-"])
    return sum(line[:1].isdigit() for line in done.stdout.decode().splitlines())


@pytest.fixture(scope="module")
def film(ffmpeg, tmp_path_factory) -> Path:
    """72 frames with sound: `testsrc2` in H.264 with B-frames, a sine in AAC."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    sound = ("-f", "lavfi", "-i", "sine=d=2.88", "-map", "0:v", "-map", "1:a", "-c:a", "aac")
    return lavfi(ffmpeg, path, *sound, "-frames:v", "72", *_X264)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("plain.mp4", {"title": "Corrupt"}),
        ("The Incorruptibles.mp4", {}),
        ("partial files/error while decoding.mp4", {}),
        ("handler.mov", {"comment": "exceeds max", "copyright": "File ended prematurely"}),
        ("comment.mkv", {"comment": "rotation of 90.00 degrees", "description": "alpha_mode test"}),
        ("[h264 @ 0x1234] error.mkv", {"title": "[h264 @ 0x55d0] Invalid data found"}),
    ],
)
def test_words_of_a_file_are_no_complaints(ffmpeg, film, tmp_path, name, metadata):
    """Titles, comments, handlers, file and folder names may say anything: only a decoder's errors are damage."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    tags = [part for key, value in metadata.items() for part in ("-metadata", f"{key}={value}")]
    run(ffmpeg, "-i", film, "-c", "copy", *tags, "-metadata:s:v", "handler_name=Truncated by editor", path)
    info = probe_video(ffmpeg, path)
    assert (info.n_frames, info.frame_rate, info.rotation, info.alpha) == (72, Fraction(25), 0, False)


def test_chapters_and_mkvmerge_are_no_complaints(ffmpeg, film, tmp_path):
    """Mkvmerge signs with `libebml`, and a chapter may be called `End of file`."""
    chapters, made = tmp_path / "c.txt", tmp_path / "m.mkv"
    chapters.write_text("CHAPTER01=00:00:00.000\nCHAPTER01NAME=End of file\n")
    subprocess.run(["mkvmerge", "-q", "-o", made, "--chapters", chapters, "--title", "Corrupt", film], check=True)
    assert probe_video(ffmpeg, made).n_frames == 72
    assert dict(read_facts(made).chapters[0].tags)["title"] == "End of file"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_facts_are_of_the_stream_that_is_encoded(ffmpeg, film, tmp_path, suffix):
    """A second video, turned, interlaced and full range, and a tag of the file change nothing of the first one."""
    other, made = tmp_path / f"other{suffix}", tmp_path / f"both{suffix}"
    lavfi(
        ffmpeg,
        tmp_path / "fields.mp4",
        "-vf",
        "tinterlace=interleave_top,scale=out_range=pc,format=yuvj420p",
        "-frames:v",
        "30",
        "-flags",
        "+ildct+ilme",
        "-c:v",
        "libx264",
    )
    run(ffmpeg, "-display_rotation", "90", "-i", tmp_path / "fields.mp4", "-c", "copy", other)
    run(ffmpeg, "-i", film, "-i", other, "-map", "0:v", "-map", "1:v", "-c", "copy", made)
    info = probe_video(ffmpeg, made)
    assert (info.rotation, info.field_order, info.color_range, info.stream_map) == (
        0,
        "progressive",
        "unknown",
        "v:0",
    )
    second = probe_video(ffmpeg, made, stream=1)
    assert (second.rotation, second.field_order, second.color_range) == (90, "top", "pc")
    assert (second.stream, second.stream_map, second.n_frames) == (1, "1", decoded(ffmpeg, made, "1"))


def test_a_still_before_the_film_is_passed_over(ffmpeg, film, tmp_path):
    """The first video of more than one frame is taken, `stream` takes another, and one that is none is refused."""
    still, made = lavfi(ffmpeg, tmp_path / "still.mkv", "-frames:v", "1", *_X264), tmp_path / "both.mkv"
    run(ffmpeg, "-i", still, "-i", film, "-map", "0:v", "-map", "1:a", "-map", "1:v", "-c", "copy", made)
    info = probe_video(ffmpeg, made)
    assert (info.n_frames, info.stream, info.stream_map) == (72, 2, "2")
    assert probe_video(ffmpeg, made, stream=0).n_frames == 1
    with pytest.raises(ConfigError, match=r"stream 1 of .* is no video.*--stream takes 0, 2"):
        probe_video(ffmpeg, made, stream=1)


@pytest.mark.parametrize(
    ("rate", "n_frames"),
    [("24000/1001", 24), ("60000/1001", 24), ("15/2", 24), ("30000/1001", 3), ("24", 24), ("25", 100), ("9", 10)],
)
def test_the_declared_rate_counts_where_stamps_agree(ffmpeg, tmp_path, rate, n_frames):
    """Millisecond stamps of a short clip do not tell 24000/1001 from 23.983; the header does."""
    path = lavfi(
        ffmpeg, tmp_path / "a.mkv", "-frames:v", str(n_frames), *_X264, graph=f"testsrc2=s=64x64:r={rate}"
    )
    info = probe_video(ffmpeg, path)
    assert (info.frame_rate, info.constant_rate, info.n_frames) == (Fraction(rate), True, n_frames)


def test_a_declared_rate_that_stamps_deny_does_not_count(ffmpeg, tmp_path):
    """Every fifth frame left out of 30 a second: whatever the header says, the mean of the stamps is the rate."""
    path = lavfi(
        ffmpeg,
        tmp_path / "v.mkv",
        "-vf",
        "select='mod(n,5)'",
        "-fps_mode",
        "passthrough",
        "-frames:v",
        "40",
        *_X264,
        graph="testsrc2=s=64x64:r=30",
    )
    info = probe_video(ffmpeg, path)
    assert not info.constant_rate
    # 40 of the 49 frames from the second on: 39 steps in 48 periods, within a millisecond.
    assert float(info.frame_rate) == pytest.approx(39 / (48 / 30), rel=0.001)


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_avi_with_b_frames(ffmpeg, film, tmp_path, codec):
    """AVI holds no stamps to show frames by: 25 a second, all of them counted."""
    path = tmp_path / "b.avi"
    if codec == "h264":
        run(ffmpeg, "-i", film, "-an", "-c", "copy", path)
    else:
        lavfi(ffmpeg, path, "-frames:v", "50", "-c:v", "mpeg4", "-bf", "2")
    info = probe_video(ffmpeg, path)
    assert (info.frame_rate, info.n_frames) == (Fraction(25), decoded(ffmpeg, path))
    assert info.n_frames == (72 if codec == "h264" else 50)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("c.ts", _HEVC),
        ("c.mkv", _HEVC),
        ("c.ts", _MPEG2),
        ("c.vob", _MPEG2),
        ("c.mpg", _MPEG2),
        ("c.ts", _X264_GOP),
    ],
)
def test_the_frames_that_decode_are_the_video(ffmpeg, tmp_path, name, codec):
    """A stream cut without encoding begins with pictures that refer to what was cut off: no player shows them."""
    whole, cut = tmp_path / f"whole{Path(name).suffix}", tmp_path / name
    lavfi(ffmpeg, whole, "-frames:v", "72", *codec)
    run(ffmpeg, "-ss", "1.2", "-i", whole, "-c", "copy", cut)
    info = probe_video(ffmpeg, cut)
    assert info.n_frames == decoded(ffmpeg, cut)
    assert (info.frame_rate, info.constant_rate) == (Fraction(25), True)
    assert 20 <= info.n_frames < 72


@pytest.mark.parametrize("codec", [_X264_GOP, _MPEG2, _HEVC])
def test_a_recording_begins_at_its_first_key_frame(ffmpeg, tmp_path, codec):
    """Bytes from inside a transport stream: what comes before a key frame is not shown, and is no damage."""
    whole = lavfi(ffmpeg, tmp_path / "whole.ts", "-frames:v", "72", *codec)
    data = whole.read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[len(data) // 10 // 188 * 188 :])
    info = probe_video(ffmpeg, cut)
    assert 24 <= info.n_frames == decoded(ffmpeg, cut) < 72
    log = process.run([*ffmpeg.base_argv(), "-i", str(cut), "-f", "null", "-"]).stderr
    assert damage_line(log, remarks=info.remarks) == ""


def test_jpegs_without_end_markers_are_whole(ffmpeg, tmp_path):
    """Cameras leave the end marker out; the pictures are the same to the bit."""
    whole, bare = lavfi(ffmpeg, tmp_path / "w.mkv", "-frames:v", "30", "-c:v", "mjpeg"), tmp_path / "bare.mkv"
    bare.write_bytes(whole.read_bytes().replace(b"\xff\xd9", b"\x00\x00"))
    assert probe_video(ffmpeg, bare).n_frames == 30


@pytest.mark.parametrize(
    ("log", "damage"),
    [
        (
            "[h264 @ 0x55d0] error while decoding MB 3 4, bytestream 12",
            "error while decoding MB 3 4, bytestream 12",
        ),
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] Error submitting packet to decoder", "Error submitting packet"),
        ("[in#0/matroska,webm @ 0x1] Error during demuxing: File ended", "Error during demuxing"),
        ("[mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] stream 0, offset 0x3: partial file", "partial file"),
        ("[libx264 @ 0x1] error while decoding", ""),
        ("    title           : [h264 @ 0x1] corrupt", ""),
        ("Input #0, matroska, from 'error while decoding.mkv':", ""),
        ("[h264 @ 0x55d0] no frame!", ""),
    ],
)
def test_who_speaks_counts(log, damage):
    """Readers' lines are damage, an encoder's and ffmpeg's own are not, and known remarks of the start are not."""
    found = damage_line(log, remarks=("no frame!",))
    assert (damage in found) if damage else found == ""


def test_decoders_still_tell_of_damage(ffmpeg, film, tmp_path):
    """Bytes overwritten in the middle of a recording that starts in mid-GOP: its remarks do not excuse them."""
    whole = lavfi(ffmpeg, tmp_path / "w.ts", "-frames:v", "96", *_X264_GOP)
    data = bytearray(whole.read_bytes()[len(whole.read_bytes()) // 10 // 188 * 188 :])
    for packet in range(len(data) * 2 // 3 // 188, len(data) * 2 // 3 // 188 + 40):
        data[packet * 188 + 40 : packet * 188 + 180] = bytes(140)
    broken = tmp_path / "broken.ts"
    broken.write_bytes(bytes(data))
    info = probe_video(ffmpeg, broken)
    log = process.run([*ffmpeg.base_argv(), "-i", str(broken), "-f", "null", "-"]).stderr
    assert info.remarks
    assert damage_line(log, remarks=info.remarks)


@pytest.mark.parametrize(
    ("name", "args", "alpha"),
    [
        ("a.gif", (), False),
        ("a.apng", ("-f", "apng", "-pix_fmt", "rgba"), False),
        ("a.webp", ("-c:v", "libwebp", "-lossless", "1"), False),
        ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "bgra"), False),
        ("a.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"), False),
        ("t.mkv", ("-vf", "format=bgra,colorchannelmixer=aa=0.99", "-c:v", "ffv1"), True),
        ("t.apng", ("-vf", "format=rgba,fade=out:5:3:alpha=1", "-f", "apng"), True),
        ("t.webm", ("-vf", "format=yuva420p,fade=out:5:3:alpha=1", "-c:v", "libvpx-vp9", "-cpu-used", "8"), True),
        ("a.webm", ("-pix_fmt", "yuva420p", "-c:v", "libvpx-vp9", "-cpu-used", "8", "-lossless", "1"), False),
    ],
)
def test_alpha_is_looked_at(ffmpeg, tmp_path, name, args, alpha):
    """A plane of alpha that is opaque in every picture is none; one that is not, be it in the last picture, is."""
    info = probe_video(ffmpeg, lavfi(ffmpeg, tmp_path / name, "-frames:v", "8", *args))
    assert (info.alpha, info.n_frames) == (alpha, 8)


def joined_parts(ffmpeg: Ffmpeg, folder: Path, first: tuple[str, ...], second: tuple[str, ...]) -> Path:
    """Two transport streams of 12 frames each, one behind the other, as a receiver writes them."""
    lavfi(ffmpeg, folder / "a.ts", "-frames:v", "12", *first)
    lavfi(ffmpeg, folder / "b.ts", "-frames:v", "12", *second, "-output_ts_offset", "0.48")
    made = folder / "joined.ts"
    made.write_bytes((folder / "a.ts").read_bytes() + (folder / "b.ts").read_bytes())
    return made


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (("-vf", "scale=128:72"), "size changes from 192x108 to 128x72 at 0.4"),
        (("-vf", "scale=out_range=pc", "-color_range", "pc"), "(range or colours change|pixel format changes)"),
        (("-colorspace", "bt709"), "range or colours change from unknown/unknown/.* to tv/bt709/"),
        (("-pix_fmt", "yuv422p"), "pixel format changes from yuv420p to yuv422p"),
    ],
)
def test_what_changes_on_the_way_is_refused_when_opened(ffmpeg, tmp_path, second, words):
    """Two clips in one transport stream: another size, range or format is seen in the parameter sets."""
    made = joined_parts(ffmpeg, tmp_path, _X264, (*_X264, *second))
    with pytest.raises(MediaError, match=words):
        probe_video(ffmpeg, made)


@pytest.mark.parametrize(
    ("codec", "args"),
    [("vp9", ("-c:v", "libvpx-vp9", "-cpu-used", "8")), ("mpeg2", _MPEG2), ("hevc", _HEVC)],
)
def test_sizes_that_change_are_seen_in_other_codecs(ffmpeg, tmp_path, codec, args):
    """VP9 in NUT, MPEG-2 and H.265 in a transport stream."""
    if codec == "vp9":
        for name, size in (("a", "192:108"), ("b", "128:72")):
            lavfi(ffmpeg, tmp_path / f"{name}.ivf", "-frames:v", "12", "-vf", f"scale={size}", *args)
        a, b = ((tmp_path / f"{name}.ivf").read_bytes() for name in "ab")
        later = bytearray(b[32:])
        at = 0
        while at < len(later):  # IVF: 12 bytes before each frame, its size and its time
            size = int.from_bytes(later[at : at + 4], "little")
            time = int.from_bytes(later[at + 4 : at + 12], "little") + 12
            later[at + 4 : at + 12] = time.to_bytes(8, "little")
            at += 12 + size
        made = tmp_path / "joined.ivf"
        made.write_bytes(a + bytes(later))
    else:
        made = joined_parts(ffmpeg, tmp_path, args, (*args, "-vf", "scale=128:72"))
    with pytest.raises(MediaError, match="size changes from 192x108 to 128x72"):
        probe_video(ffmpeg, made)


def test_other_settings_are_no_change(ffmpeg, tmp_path):
    """Two clips of one kind, coded with other settings and so with other parameter sets, are one video."""
    slow = ("-c:v", "libx264", "-preset", "slow", "-pix_fmt", "yuv420p")
    made = joined_parts(ffmpeg, tmp_path, (*_X264, "-bf", "0"), (*slow, "-bf", "0", "-refs", "4"))
    assert probe_video(ffmpeg, made).n_frames == decoded(ffmpeg, made) == 24


def test_hdr_metadata_is_typed(ffmpeg, tmp_path):
    """MaxCLL, MaxFALL and the mastering display's luminance as numbers."""
    path = lavfi(
        ffmpeg,
        tmp_path / "h.mp4",
        "-frames:v",
        "3",
        "-vf",
        "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv",
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=error:hdr10=1:max-cll=1000,400:master-display="
        "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
    )
    info = probe_video(ffmpeg, path)
    assert info.content_light == (1000, 400)
    assert info.mastering_luminance == (Fraction(50, 10000), Fraction(1000))


def test_a_mirrored_picture_is_told_from_a_turned_one(ffmpeg, film, tmp_path):
    """A display matrix holds both."""
    turned, mirrored = tmp_path / "t.mp4", tmp_path / "m.mp4"
    run(ffmpeg, "-display_rotation", "180", "-i", film, "-c", "copy", turned)
    run(ffmpeg, "-display_hflip", "-i", film, "-c", "copy", mirrored)
    assert abs(probe_video(ffmpeg, turned).rotation) == 180
    assert not probe_video(ffmpeg, turned).mirrored
    assert probe_video(ffmpeg, mirrored).mirrored


@pytest.mark.parametrize(
    ("name", "value"),
    [("AV_LOG_FORCE_COLOR", "1"), ("AV_LOG_FORCE_256COLOR", "1"), ("FFREPORT", "file=report.log:level=32")],
)
def test_the_environment_does_not_change_what_ffmpeg_says(ffmpeg, film, monkeypatch, tmp_path, name, value):
    """Colours in its log and reports beside it are switched by variables that no command here gets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    assert probe_video(ffmpeg, film).n_frames == 72
    said = process.run([*ffmpeg.base_argv(), "-i", "/nowhere.mp4"]).stderr
    assert "\x1b" not in said
    assert list(tmp_path.iterdir()) == []
