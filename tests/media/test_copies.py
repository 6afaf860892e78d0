"""Segments as copied packets: bit for bit the frames of a full decode, or no copies at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import MediaError
from vmaf_assay.media import copies, process
from vmaf_assay.media.copies import copy_spans
from vmaf_assay.media.demux import FrameMap
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.packet_look import PacketLook
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.segments import Cuttings, Span
from vmaf_assay.tune.source import open_source

SCENES = (
    "testsrc2=size=192x108:rate=25,trim=end_frame=40,format=yuv420p[a];"
    "mandelbrot=size=192x108:rate=25:maxiter=100,trim=end_frame=31,format=yuv420p[b];"
    "smptebars=size=192x108:rate=25,noise=alls=8:allf=t,trim=end_frame=50,format=yuv420p[c];[a][b][c]concat=n=3"
)
N_FRAMES = 121
SPANS = (Span(0, 3), Span(17, 21), Span(38, 43), Span(55, 77), Span(76, 80), Span(113, 121))

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "20")
OPEN = (*X264, "-x264-params", "open-gop=1:b-pyramid=normal")
KINDS = {
    "h264.mp4": X264,
    "h264.mkv": X264,
    "h264.ts": X264,
    "open.mp4": OPEN,
    "open.ts": OPEN,
    "hevc-open.mkv": (
        "-c:v",
        "libx265",
        "-preset",
        "veryfast",
        "-x265-params",
        "keyint=20:open-gop=1:log-level=none",
    ),
    "av1.mp4": ("-c:v", "libsvtav1", "-preset", "12", "-g", "20"),
    "vp9.webm": (
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-g",
        "20",
        "-lag-in-frames",
        "9",
    ),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-q:v", "4"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-q:v", "4"),
    "ffv1.nut": ("-c:v", "ffv1", "-g", "10"),
    "late.mp4": (*X264, "-output_ts_offset", "1.3"),
    "uneven.mkv": ("-vf", "setpts='PTS+mod(N*N,5)*TB*9000/90000'", *X264, "-fps_mode", "passthrough"),
    "described.mp4": (
        *("-vf", "setsar=4/3,setparams=range=tv:colorspace=bt709:color_trc=bt709:color_primaries=bt709"),
        *(*X264, "-bsf:v", "filter_units=remove_types=6"),
    ),
}
"""What each title is encoded with; the name's end is the container."""


@pytest.fixture(scope="module")
def titles(ffmpeg, tmp_path_factory):
    """Makes a title of `KINDS`, once."""
    folder = tmp_path_factory.mktemp("titles")

    def make(name: str) -> Path:
        path = folder / name
        return path if path.exists() else lavfi(ffmpeg, path, *KINDS[name], graph=SCENES)

    return make


@pytest.fixture(autouse=True)
def _long_lead_ins(monkeypatch) -> None:
    """These titles are short: most of each is lead-in."""
    monkeypatch.setattr(copies, "_MOST_LEAD_IN", 10.0)


def sums(ffmpeg, reference: ReferenceInput) -> list[str]:
    """MD5 of each frame as the encoder sees it, by plain ffmpeg."""
    argv = [
        *ffmpeg.base_argv(),
        *reference.input_args,
        "-i",
        str(reference.path),
        "-map",
        f"0:{reference.stream_map}",
    ]
    argv += ["-vf", ",".join(reference.encode_filters()), "-fps_mode", "passthrough", "-f", "framemd5", "-"]
    done = process.run(argv)
    return [line.split(",")[-1].strip() for line in done.stdout.decode().splitlines() if line[:1].isdigit()]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", KINDS)
def test_copies_are_the_frames_of_a_full_decode(ffmpeg, titles, tmp_path, name):
    """Spans at the start, across scenes, across points of entry and at the end: the same digests, in order."""
    title, _ = open_source(ffmpeg, titles(name))
    expected = sums(ffmpeg, title)
    assert len(expected) == N_FRAMES
    made = copy_spans(ffmpeg, title, SPANS, tmp_path)
    for span in (*SPANS, Span(60, 66)):
        assert sums(ffmpeg, made.reference(span)) == expected[span.first : span.last], span


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", ["open.ts", "described.mp4"])
def test_a_copy_encodes_as_a_lossless_cut(ffmpeg, titles, tmp_path, name):
    """VMAF and bytes are those of the segment cut out by counting: shape and colours of its pixels are there too.

    An open group of pictures makes the decoder complain of pictures before the first; that is no damage.
    """
    title, _ = open_source(ffmpeg, titles(name))
    (tmp_path / "cut").mkdir()
    cut = Cuttings(title, [Span(45, 60)], tmp_path / "cut")
    cut.cut(ffmpeg)
    made = copy_spans(ffmpeg, title, [Span(45, 60)], tmp_path)
    one, other = (
        encode_and_score(ffmpeg, each.reference(Span(45, 60)), ENCODERS["libx264"], "veryfast", 30.0)
        for each in (made, cut)
    )
    np.testing.assert_array_equal(one.vmaf, other.vmaf)
    np.testing.assert_array_equal(one.frame_bytes, other.frame_bytes)


@pytest.mark.ffmpeg
def test_an_edit_list_is_obeyed(ffmpeg, titles, tmp_path):
    """A cut without encoding hides pictures at its start: frames are counted from the first that is shown."""
    path = tmp_path / "edited.mp4"
    argv = [*ffmpeg.base_argv(), "-ss", "0.52", "-i", str(titles("h264.mp4")), "-c", "copy", str(path)]
    assert process.run(argv).exit_code == 0
    title, _ = open_source(ffmpeg, path)
    expected = sums(ffmpeg, title)
    assert title.n_frames == len(expected) == N_FRAMES - 13
    made = copy_spans(ffmpeg, title, [Span(0, 5), Span(50, 70)], tmp_path)
    for span in (Span(0, 5), Span(50, 70)):
        assert sums(ffmpeg, made.reference(span)) == expected[span.first : span.last]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("filters", ["hflip,scale=128:72", "hqdn3d"])
def test_filters_that_remember_are_counted(ffmpeg, titles, tmp_path, filters):
    """Behind a filter of one frame copies give its frames; one that remembers earlier frames gets no copies."""
    title, _ = open_source(ffmpeg, titles("h264.mp4"), filters)
    made = copy_spans(ffmpeg, title, SPANS, tmp_path)
    if filters == "hqdn3d":
        assert made is None
    else:
        assert sums(ffmpeg, made.reference(Span(55, 77))) == sums(ffmpeg, title)[55:77]


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("unnumbered.avi", X264),
        ("bare.264", X264),
        ("hidden.mp4", ("-c:v", "mpeg4", "-bf", "2")),
        ("one-entry.mp4", ("-c:v", "libx264", "-preset", "veryfast", "-g", "300", "-sc_threshold", "0")),
        ("refreshed.ts", (*X264, "-x264-params", "intra-refresh=1:scenecut=0:bframes=0")),
    ],
)
def test_titles_whose_packets_do_not_tell(ffmpeg, tmp_path, name, args):
    """Stamps that are made up, packets without pictures, one point of entry, intra refresh: frames are counted."""
    title, _ = open_source(ffmpeg, lavfi(ffmpeg, tmp_path / name, *args, graph=SCENES))
    assert copy_spans(ffmpeg, title, SPANS, tmp_path) is None


@pytest.mark.ffmpeg
def test_parameter_sets_that_change_are_counted(ffmpeg, tmp_path):
    """Two encodes joined: a parameter set of the first is replaced, so no packet alone tells enough."""
    for number, crf in enumerate(("20", "30")):
        lavfi(ffmpeg, tmp_path / f"{number}.ts", *X264, "-qmin", crf, "-refs", str(number + 1), graph=SCENES)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join((tmp_path / f"{number}.ts").read_bytes() for number in range(2)))
    one = tmp_path / "joined.mkv"
    argv = [
        *ffmpeg.base_argv(),
        "-f",
        "concat",
        "-safe",
        "0",
        "-i",
        str(tmp_path / "list"),
        "-c",
        "copy",
        str(one),
    ]
    (tmp_path / "list").write_text("".join(f"file {tmp_path / f'{number}.ts'}\n" for number in range(2)))
    assert process.run(argv).exit_code == 0
    title, _ = open_source(ffmpeg, one)
    assert title.n_frames == 2 * N_FRAMES
    assert title.packets is None


@pytest.mark.ffmpeg
def test_packets_must_come_again(ffmpeg, titles, tmp_path):
    """A file that changed since it was read gives no copies: every packet is compared with its sum."""
    title, _ = open_source(ffmpeg, titles("h264.mp4"))
    sums_before = title.packets.sums.copy()
    sums_before[60] ^= 1
    changed = replace(title, packets=replace(title.packets, sums=sums_before))
    assert copy_spans(ffmpeg, changed, SPANS, tmp_path) is None


@pytest.mark.ffmpeg
def test_the_place_of_proof_is_compared(ffmpeg, titles, tmp_path):
    """An index that is one frame off is found out: the pictures are not those that counting reaches."""
    title, _ = open_source(ffmpeg, titles("h264.mp4"))
    shown = title.packets.shown.copy()
    shown[np.argmin(title.packets.pts)] = False
    shifted = replace(title, packets=replace(title.packets, shown=shown))
    assert copy_spans(ffmpeg, shifted, SPANS, tmp_path) is None


@pytest.mark.ffmpeg
def test_damage_in_a_segment_is_not_hidden(ffmpeg, titles, tmp_path):
    """A packet that is damaged in the file is damaged in the copy: the score is refused."""
    data = bytearray(titles("h264.mp4").read_bytes())
    title, _ = open_source(ffmpeg, titles("h264.mp4"))
    frames = FrameMap(title.packets)
    largest = int(np.argmax(frames.bytes_of[90:110])) + 90
    packet = frames.packet_of(largest)
    # The file holds one stream, so its packets lie one behind the other.
    position = data.find(b"mdat") + 4 + int(title.packets.sizes[:packet].sum())
    size = int(title.packets.sizes[packet])
    data[position + size // 3 : position + size] = bytes(size - size // 3)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    damaged, _ = open_source(ffmpeg, path)
    made = copy_spans(ffmpeg, damaged, [Span(90, 110)], tmp_path)
    with pytest.raises(MediaError, match="does not decode completely"):
        encode_and_score(ffmpeg, made.reference(Span(90, 110)), ENCODERS["libx264"], "ultrafast", 30.0)


@pytest.mark.ffmpeg
def test_scenes_are_found_in_packets(ffmpeg, tmp_path):
    """The scenes that begin at frames 40 and 71 are found, where the encoder puts key frames there."""
    x264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "250")
    title, _ = open_source(ffmpeg, lavfi(ffmpeg, tmp_path / "title.mp4", *x264, graph=SCENES))
    assert {0, 40, 71} <= set(PacketLook(FrameMap(title.packets)).cuts())


def test_entries_and_runs():
    """A run begins at the last point of entry before its frames, and holds what they need and no more."""
    from vmaf_assay.records import PacketIndex

    # Coded order I P B B I P B B with an open second group: its first B is shown before its I.
    pts = np.array([0, 30, 10, 20, 60, 40, 50, 70])
    entry = np.array([True, False, False, False, True, False, False, False])
    ones = np.ones(8, dtype=bool)
    frames = FrameMap(PacketIndex(pts, pts + 100, pts.astype(np.uint32), entry, ones, 0, "h264"))
    assert frames.n_frames == 8
    assert frames.entry_frames.tolist() == [0, 6]
    run = frames.run(1, 3)
    assert (run.first, run.last, run.wanted) == (0, 4, (1, 3))
    run = frames.run(4, 6)  # shown before the second entry, coded after it: needs the first
    assert (run.first, run.last, run.wanted) == (0, 7, (4, 6))
    run = frames.run(6, 8)
    assert (run.first, run.last, run.wanted) == (4, 8, (2, 4))
    assert run.leads
    assert run.delay == 1
