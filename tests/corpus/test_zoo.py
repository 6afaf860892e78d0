"""Odd sources are scored as they should be, or refused with their reason.

Every clip is made by ffmpeg from `testsrc2` at 192x108, 25 frames a second, 12 frames, unless its entry says
otherwise. The table in docs/corpus.md says for each what happens to it.
"""

import json
import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vmaf_assay.corpus.measure import decode
from vmaf_assay.corpus.plan import references_of
from vmaf_assay.corpus.sources import Source
from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.commands import encoder_args
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score, score_pair
from vmaf_assay.media.segments import look

pytestmark = pytest.mark.ffmpeg

_X264 = ("-c:v", "libx264", "-crf", "8", "-preset", "veryfast")
_FFV1 = ("-c:v", "ffv1")
_CFR = "testsrc2=size=192x108:rate=25"


@dataclass(frozen=True)
class Clip:
    """How a clip is made, and what must come of it."""

    file: str
    """Its name; the suffix decides the container."""
    args: tuple[str, ...]
    """What makes it, after the input."""
    n_frames: int = 12
    """Frames a player shows."""
    says: str = ""
    """A part of the conversion that must be announced; empty if there must be none."""
    size: tuple[int, int] = (192, 108)
    """What it is encoded and scored at, px."""
    graph: str = _CFR
    """The lavfi source."""
    remux: tuple[str, ...] = field(default=())
    """Options of a second call that copies the first one's packets: (before `-i`, "|", after)."""


def _setparams(**values: str) -> str:
    return "setparams=" + ":".join(f"{key}={value}" for key, value in values.items())


RIGHT = {
    "variable frame rate": Clip(
        "vfr.mkv",
        ("-vf", "select='not(mod(n,5))+not(mod(n,3))'", "-fps_mode", "passthrough", "-frames:v", "12", *_X264),
        says="frame rate varies",
    ),
    "edit list": Clip("edit.mp4", ("-frames:v", "25", *_X264, "-bf", "3"), remux=("-ss", "0.5", "|")),
    "start at 1.4 s": Clip("late.ts", ("-frames:v", "12", *_X264)),
    "empty edit at the start": Clip(
        "empty.mp4",
        ("-frames:v", "12", *_X264),
        remux=("-itsoffset", "2", "|", "-copyts", "-avoid_negative_ts", "disabled"),
    ),
    "B-frame delay": Clip("b.mp4", ("-frames:v", "12", *_X264, "-bf", "5", "-b_strategy", "0")),
    "open GOP, H.264": Clip(
        "og.mkv", ("-frames:v", "12", *_X264, "-x264-params", "open-gop=1:keyint=4:bframes=3")
    ),
    "open GOP, H.265": Clip(
        "og.mp4",
        (
            "-frames:v",
            "12",
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=error:open-gop=1:keyint=5",
        ),
    ),
    "turned by 90": Clip(
        "r90.mp4",
        ("-frames:v", "12", *_X264),
        says="turned as players show it",
        size=(108, 192),
        remux=("-display_rotation", "90", "|"),
    ),
    "turned by 180": Clip(
        "r180.mp4",
        ("-frames:v", "12", *_X264),
        says="turned as players show it",
        remux=("-display_rotation", "180", "|"),
    ),
    "odd size": Clip(
        "odd.mkv",
        ("-frames:v", "12", *_FFV1),
        says="scaled to even 196x110",
        graph=f"{_CFR},scale=197:111,format=yuv420p",
        size=(196, 110),
    ),
    "4:2:2": Clip("422.mp4", ("-frames:v", "12", "-pix_fmt", "yuv422p", *_X264), says="4:2:2 to 4:2:0"),
    "4:4:4": Clip("444.mp4", ("-frames:v", "12", "-pix_fmt", "yuv444p", *_X264), says="4:4:4 to 4:2:0"),
    "RGB": Clip("rgb.mkv", ("-frames:v", "12", "-pix_fmt", "gbrp", *_FFV1), says="BT.601"),
    "grey": Clip("gray.mkv", ("-frames:v", "12", "-pix_fmt", "gray", *_FFV1), says="full range"),
    "10 bit": Clip("10.mp4", ("-frames:v", "12", "-pix_fmt", "yuv420p10le", *_X264), says="10 bit are rounded"),
    "12 bit": Clip("12.mkv", ("-frames:v", "12", "-pix_fmt", "yuv420p12le", *_FFV1), says="12 bit are rounded"),
    "full range": Clip(
        "full.mp4", ("-frames:v", "12", "-vf", "scale=out_range=pc,format=yuvj420p", *_X264), says="full range"
    ),
    "cropped by the codec": Clip(
        "crop.mp4",
        ("-frames:v", "12", *_X264),
        size=(160, 100),
        remux=("|", "-bsf:v", "h264_metadata=crop_left=16:crop_right=16:crop_top=8:crop_bottom=4"),
    ),
    "pixels not square": Clip("sar.mp4", ("-frames:v", "12", "-vf", "setsar=4/3", *_X264), says="not square"),
    "two frames": Clip("two.mp4", ("-frames:v", "2", *_X264), n_frames=2),
    "Matroska milliseconds": Clip(
        "ms.mkv", ("-frames:v", "12", *_X264), graph="testsrc2=size=192x108:rate=60000/1001"
    ),
}

_PQ = _setparams(color_primaries="bt2020", color_trc="smpte2084", colorspace="bt2020nc")
_HLG = _setparams(color_primaries="bt2020", color_trc="arib-std-b67", colorspace="bt2020nc")
_X265_10 = (
    "-frames:v",
    "3",
    "-pix_fmt",
    "yuv420p10le",
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=error",
)
REFUSED = {
    "HDR10": (Clip("pq.mp4", ("-vf", _PQ, *_X265_10)), r"is HDR10 \(PQ\); vmaf_v0.6.1 was trained on SDR"),
    "HLG": (Clip("hlg.mp4", ("-vf", _HLG, *_X265_10)), "is HLG; vmaf_v0.6.1 was trained on SDR"),
    "interlaced": (
        Clip(
            "i.mp4",
            ("-vf", "tinterlace=interleave_top,fieldorder=bff", "-frames:v", "5", "-flags", "+ildct+ilme", *_X264),
        ),
        "is interlaced",
    ),
    "MPEG-2 interlaced": (
        Clip(
            "i.mpg",
            (
                "-vf",
                "tinterlace=interleave_top",
                "-frames:v",
                "5",
                "-flags",
                "+ildct+ilme",
                "-c:v",
                "mpeg2video",
                "-q:v",
                "3",
            ),
        ),
        "is interlaced",
    ),
    "alpha": (
        Clip("a.mov", ("-frames:v", "3", "-vf", "format=argb,colorchannelmixer=aa=0.5", "-c:v", "qtrle")),
        "has transparency.*--vf format=yuv420p",
    ),
    "one frame": (Clip("one.mp4", ("-frames:v", "1", *_X264)), "has one frame"),
    "no frame": (Clip("none.mp4", ("-frames:v", "0", *_X264)), "has no video"),
    "no video": (Clip("a.m4a", ("-t", "1"), graph="sine"), "has no video stream"),
    "a tilted picture": (
        Clip("tilt.mp4", ("-frames:v", "3", *_X264), remux=("-display_rotation", "30", "|")),
        "turned by 30 degrees",
    ),
}


def _make(ffmpeg, folder: Path, clip: Clip) -> Path:
    """`ffmpeg -f lavfi -i GRAPH ARGS FILE`, then a stream copy where the entry asks for one."""
    path = folder / clip.file
    first = folder / f"whole{path.suffix}" if clip.remux else path
    _run(ffmpeg, "-f", "lavfi", "-i", clip.graph, *clip.args, str(first))
    if clip.remux:
        bar = clip.remux.index("|")
        _run(ffmpeg, *clip.remux[:bar], "-i", str(first), "-c", "copy", *clip.remux[bar + 1 :], str(path))
    return path


def _run(ffmpeg, *args: str, cwd: Path | None = None) -> process.Completed:
    done = process.run([*ffmpeg.base_argv(), *args], cwd=cwd)
    assert done.exit_code == 0, done.stderr
    return done


def _by_hand(ffmpeg, path: Path, size: tuple[int, int], rate: str, folder: Path) -> list[float]:
    """Per-frame VMAF by three steps through disk, written here without the package's graph."""
    scale = f"scale={size[0]}:{size[1]}:flags=bicubic:out_range=tv,format=yuv420p,setsar=1"
    if path.name == "rgb.mkv":  # its matrix first, at full chroma; then the chroma planes are made smaller
        scale = f"scale=flags=bicubic:out_color_matrix=smpte170m:out_range=tv,format=yuv444p,{scale}"
    quality = encoder_args(encoder_info("libx264"), "veryfast", 30)
    _run(ffmpeg, "-i", str(path), "-vf", scale, "-fps_mode", "passthrough", "r.yuv", cwd=folder)
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{size[0]}x{size[1]}", "-r", rate]
    _run(ffmpeg, *raw, "-i", "r.yuv", *quality, "e.mp4", cwd=folder)
    _run(ffmpeg, "-i", "e.mp4", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "d.yuv", cwd=folder)
    score = "libvmaf=log_fmt=json:log_path=l.json"
    _run(ffmpeg, *raw, "-i", "d.yuv", *raw, "-i", "r.yuv", "-lavfi", score, "-f", "null", "-", cwd=folder)
    return [frame["metrics"]["vmaf"] for frame in json.loads((folder / "l.json").read_text())["frames"]]


@pytest.mark.parametrize("kind", RIGHT)
def test_odd_sources_are_scored_as_three_steps_through_disk_score_them(ffmpeg, tmp_path, kind):
    """The frames a player shows, each once; what is converted is said; VMAF is that of three separate steps."""
    clip = RIGHT[kind]
    path = _make(ffmpeg, tmp_path, clip)
    (rendition,) = references_of(ffmpeg, Source("a", "a", path), sizes=[None], max_frames=None)
    assert rendition.size == clip.size
    assert clip.says in " ".join(rendition.conversions)
    assert bool(clip.says) == bool(rendition.conversions)
    reference = decode(ffmpeg, rendition, tmp_path / "decoded.y4m")
    assert reference.n_frames == clip.n_frames
    scored = encode_and_score(ffmpeg, reference, encoder_info("libx264"), "veryfast", 30)
    rate = f"{rendition.frame_rate.numerator}/{rendition.frame_rate.denominator}"
    by_hand = _by_hand(ffmpeg, path, clip.size, rate, tmp_path)
    np.testing.assert_allclose(scored.vmaf, by_hand, atol=2e-5)
    assert scored.pooled_vmaf > 70
    assert score_pair(ffmpeg, reference, tmp_path / "decoded.y4m").pooled_vmaf > 96


@pytest.mark.parametrize("kind", REFUSED)
def test_what_vmaf_cannot_judge_is_refused_with_the_reason(ffmpeg, tmp_path, kind):
    """One line, with the file's name, the reason and what to do."""
    clip, reason = REFUSED[kind]
    path = _make(ffmpeg, tmp_path, clip)
    _refused(ffmpeg, path, tmp_path, reason)


def _refused(ffmpeg, path: Path, folder: Path, reason: str) -> None:
    def use() -> None:
        (rendition,) = references_of(ffmpeg, Source("a", "a", path), sizes=[None], max_frames=None)
        decode(ffmpeg, rendition, folder / "decoded.y4m")

    with pytest.raises(MediaError, match=reason) as caught:
        use()
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert caught.value.next_step


def _edit(path: Path, change) -> Path:
    data = bytearray(path.read_bytes())
    damaged = path.with_name(f"damaged{path.suffix}")
    damaged.write_bytes(bytes(change(data)))
    return damaged


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".264", ".ivf", ".y4m"])
def test_a_truncated_tail_is_refused(ffmpeg, tmp_path, suffix):
    """The last tenth cut off: refused in every container, be it by the demuxer or by the decoder."""
    codec = {".ivf": ("-c:v", "libvpx-vp9", "-cpu-used", "8"), ".y4m": ("-pix_fmt", "yuv420p")}.get(suffix, _X264)
    whole = _make(ffmpeg, tmp_path, Clip(f"w{suffix}", ("-frames:v", "50", *codec)))
    cut = _edit(whole, lambda data: data[: len(data) * 9 // 10 + 7])
    _refused(ffmpeg, cut, tmp_path, "cannot read|not whole|does not decode|packets hold")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_broken_header_is_refused(ffmpeg, tmp_path, suffix):
    """The first kilobyte overwritten."""
    whole = _make(ffmpeg, tmp_path, Clip(f"w{suffix}", ("-frames:v", "12", *_X264, "-movflags", "+faststart")))
    broken = _edit(whole, lambda data: b"\xa5" * 1024 + data[1024:])
    _refused(ffmpeg, broken, tmp_path, "cannot read|not whole|no video")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("d.mp4", _X264),
        ("d.mkv", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")),
        ("d.webm", ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-b:v", "1M")),
        ("d.ivf", ("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=1")),
    ],
)
def test_frames_that_fail_to_decode_are_refused(ffmpeg, tmp_path, name, codec):
    """A sixth of the file overwritten in the middle: ffmpeg conceals it and exits 0; it is not taken for a source.

    So much, because damage that stays inside the entropy-coded data of one VP9 or H.265 picture leaves no sign.
    """
    graph = f"{_CFR},noise=alls=20:allf=t"
    whole = _make(ffmpeg, tmp_path, Clip(name, ("-frames:v", "50", *codec), graph=graph))
    burst = np.random.default_rng(0).bytes(whole.stat().st_size // 6)
    damaged = _edit(whole, lambda data: data[: len(data) // 2] + burst + data[len(data) // 2 + len(burst) :])
    _refused(ffmpeg, damaged, tmp_path, "cannot read|not whole|does not decode|packets hold|no frame rate")


def test_a_video_that_changes_on_the_way_is_refused(ffmpeg, tmp_path):
    """Two clips of another range joined without encoding: named as what it is where frames are numbered."""
    for name, full in (("a", False), ("b", True)):
        args = ("-frames:v", "12", *_X264, *(("-pix_fmt", "yuvj420p") if full else ()))
        _make(ffmpeg, tmp_path, Clip(f"{name}.mkv", args))
    (tmp_path / "list.txt").write_text("file a.mkv\nfile b.mkv\n")
    _run(ffmpeg, "-f", "concat", "-i", "list.txt", "-c", "copy", "joined.mkv", cwd=tmp_path)
    joined = tmp_path / "joined.mkv"
    _refused(
        ffmpeg,
        joined,
        tmp_path,
        "is not one video: its (range or colours|pixel format) changes? from .* at 0.48 s",
    )
    with pytest.raises(MediaError, match="size, range or colours change within the stream"):
        look(ffmpeg, ReferenceInput(joined, Fraction(25), 24, (192, 108)), tmp_path)


def test_a_part_of_an_open_gop_stream_is_not_called_damaged(ffmpeg, tmp_path):
    """A clip that starts at a random access point misses references of pictures that nobody asked for."""
    clip = Clip(
        "og.mp4",
        (
            "-frames:v",
            "50",
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=error:open-gop=1:keyint=10",
        ),
    )
    path = _make(ffmpeg, tmp_path, clip)
    source = Source("a", "a", path, start_s=0.52, duration_s=0.4)
    (rendition,) = references_of(ffmpeg, source, sizes=[None], max_frames=None)
    assert decode(ffmpeg, rendition, tmp_path / "d.y4m").n_frames == 10


def test_matroska_cropping_is_applied(ffmpeg, tmp_path):
    """PixelCrop in a Matroska header: the size scored is the size shown, not the size coded.

    ffmpeg writes no such element by itself, so a Colour element of the same length is overwritten with four.
    """
    path = tmp_path / "c.mkv"
    _run(
        ffmpeg,
        "-f",
        "lavfi",
        "-i",
        _CFR,
        "-frames:v",
        "12",
        "-vf",
        _PQ.replace("smpte2084", "bt709"),
        *_X264,
        str(path),
    )
    data = path.read_bytes()
    colour = re.search(rb"\x55\xb0(.)", data, re.DOTALL)
    assert colour is not None
    length = 3 + (colour[1][0] & 0x7F)
    crops = b"\x54\xaa\x81\x04\x54\xbb\x81\x08\x54\xcc\x81\x10\x54\xdd\x81\x10"
    void = length - len(crops)
    filler = b"\xec" + bytes([0x80 | (void - 2)]) + bytes(void - 2)
    path.write_bytes(data[: colour.start()] + crops + filler + data[colour.start() + length :])
    (rendition,) = references_of(ffmpeg, Source("a", "a", path), sizes=[None], max_frames=None)
    assert rendition.size == (160, 96)
    assert decode(ffmpeg, rendition, tmp_path / "d.y4m").n_frames == 12
