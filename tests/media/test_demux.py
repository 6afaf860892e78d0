"""Files as the demuxer library reads them, against files whose facts are known because we made them."""

import shutil
import subprocess
from fractions import Fraction

import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.demux import read_facts, read_file

pytestmark = pytest.mark.ffmpeg


def ffmpeg_run(ffmpeg, *args: object) -> None:
    done = process.run([*ffmpeg.base_argv(), *map(str, args)])
    assert done.exit_code == 0, done.stderr


def test_every_stream_is_listed_with_its_own_facts(ffmpeg, clip, tmp_path):
    """Kind, codec, language, title, disposition, timecode, tags and chapters, sound before the picture."""
    chapters = tmp_path / "c.txt"
    chapters.write_text(";FFMETADATA1\ntitle=Whole\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n")
    made = tmp_path / "m.mov"
    ffmpeg_run(
        ffmpeg,
        "-f",
        "lavfi",
        "-i",
        "sine=d=0.5",
        "-i",
        clip,
        "-i",
        chapters,
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-map_metadata",
        "2",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        "-metadata:s:a",
        "language=eng",
        "-timecode",
        "01:00:00:00",
        made,
    )
    facts = read_facts(made)
    assert [(s.index, s.kind, s.codec, s.language) for s in facts.streams[:2]] == [
        (0, "audio", "aac", "eng"),
        (1, "video", "h264", ""),
    ]
    assert facts.streams[0].disposition == ("default",)
    assert facts.streams[1].timecode == "01:00:00:00"
    assert [(c.start_s, c.end_s, dict(c.tags)["title"]) for c in facts.chapters] == [(0.0, 0.4, "One")]
    assert dict(facts.tag_pairs)["title"] == "Whole"
    video = facts.streams[1].video
    assert video is not None
    assert (video.width, video.height, video.base_rate) == (192, 108, Fraction(25))
    assert facts.streams[0].video is None


def test_a_stream_inside_a_group_is_listed(ffmpeg, clip, tmp_path):
    """Sound that refers to a timecode track, as cameras write it: ffmpeg prints it inside a group."""
    made, referring = tmp_path / "m.mov", tmp_path / "r.mov"
    ffmpeg_run(
        ffmpeg,
        "-f",
        "lavfi",
        "-i",
        "sine=d=0.5",
        "-i",
        clip,
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        "-timecode",
        "01:00:00:00",
        made,
    )
    data = bytearray(made.read_bytes())
    track = data.index(b"trak") - 4
    reference = b"\x00\x00\x00\x14tref\x00\x00\x00\x0ctmcd\x00\x00\x00\x03"
    for at in (data.index(b"moov") - 4, track):
        size = int.from_bytes(data[at : at + 4], "big") + len(reference)
        data[at : at + 4] = size.to_bytes(4, "big")
    first = track + 8 + int.from_bytes(data[track + 8 : track + 12], "big")
    referring.write_bytes(bytes(data[:first] + reference + data[first:]))
    assert [s.kind for s in read_facts(referring).streams] == ["audio", "video", "data"]


def test_packets_of_every_video_are_read(ffmpeg, clip, tmp_path):
    """Stamps are complete, the first picture decodes, and nothing is dropped or damaged."""
    read = read_file(clip)
    (track,) = read.tracks.values()
    assert (len(track.pts), track.key_first, track.settled, track.dropped) == (12, True, True, frozenset())
    assert read.damage == ""
    assert track.first is not None
    assert (track.first.picture.width, track.first.picture.pix_fmt) == (192, "yuv420p")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("list.mkv", "ffconcat version 1.0\nfile clip.mp4\n", "a list of other files"),
        ("hls.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nclip.mp4\n#EXT-X-ENDLIST\n", "a playlist"),
        ("a.m3u8", "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nclip.mp4\n", "a playlist"),
        ("s.mov", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n", "session description"),
        ("d.mp4", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>\n', "manifest"),
    ],
)
def test_what_names_other_files_is_refused_by_its_content(clip, tmp_path, name, text, words):
    """A playlist is refused whatever its name: the file that was judged is not what would be encoded."""
    shutil.copy(clip, tmp_path / "clip.mp4")
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MediaError, match=rf"is {words}|{words}"):
        read_file(path)


def test_a_pattern_of_pictures_is_refused(ffmpeg, tmp_path):
    """A file whose name is a pattern would be read as all the files that match it."""
    lavfi(ffmpeg, tmp_path / "p%02d.png", "-frames:v", "3")
    named = tmp_path / "p%02d.png"
    named.write_bytes((tmp_path / "p01.png").read_bytes())
    with pytest.raises(MediaError, match="may name other files"):
        read_file(named)


def test_mkvmerge_files_are_read_whole(clip, tmp_path):
    """What MKVToolNix writes has its name and statistics in its tags, and none of that is a complaint."""
    made = tmp_path / "m.mkv"
    subprocess.run(["mkvmerge", "-q", "-o", made, clip], check=True)
    read = read_file(made)
    assert read.damage == ""
    assert len(next(iter(read.tracks.values())).pts) == 12
    assert any("libebml" in value for _, value in read.facts.tag_pairs)


def test_reading_says_how_far_it_is(ffmpeg, tmp_path):
    """Every thousand packets the share of the file that is read, ascending, and the facts as without."""
    graph = "testsrc2=size=64x36:rate=25"
    path = lavfi(ffmpeg, tmp_path / "long.mkv", "-frames:v", "3500", "-preset", "ultrafast", graph=graph)
    shares: list[float] = []
    read = read_file(path, on_share=shares.append)
    assert len(shares) == 4
    assert shares == sorted(shares)
    assert shares[0] < 0.1 < 0.7 < shares[-1] <= 1
    assert read == read_file(path)
    assert read.facts.duration_s == pytest.approx(140.0, abs=0.1)
