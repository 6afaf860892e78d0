"""Streams in groups, sound that does not fit, captions, names and paths: kept, converted or said at once."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from tests.zoo.boxes import add_captions, refer
from vmaf_assay.api.tuning import tune_request
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError, MediaError, ToolError
from vmaf_assay.media import process
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import not_a_file, path_of_text, path_text
from vmaf_assay.media.filters import absolute_files, named_files
from vmaf_assay.media.probe import CAPTIONS
from vmaf_assay.tune.final import FinalEncode
from vmaf_assay.tune.pictures import PictureRequest
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import open_source
from vmaf_assay.tune.streams_plan import plan_carry, rehearse

X264 = ENCODERS["libx264"]
NOISE = "testsrc2=size=192x108:rate=25,noise=alls=12:allf=t,trim=end_frame=12"


def with_tone(ffmpeg, path: Path, *args: str, graph: str = NOISE) -> Path:
    """A clip of 12 frames with half a second of sound."""
    return lavfi(ffmpeg, path, "-f", "lavfi", "-i", "sine=duration=0.5", *args, graph=graph)


def request(source: Path, **changes) -> TuneRequest:
    """A modest target without trials."""
    return replace(TuneRequest(source, "libx264", 80.0, 0.9, trials=0), **changes)


def kinds(ffmpeg, path: Path) -> list[str]:
    """Kinds of a file's streams, as ffmpeg lists them."""
    argv = ["-i", str(path), "-map", "0", "-c", "copy", "-copy_unknown", "-t", "0", "-f", "framecrc", "-"]
    text = process.run([*ffmpeg.base_argv(), *argv]).stdout.decode()
    return [line.split()[-1] for line in text.splitlines() if line.startswith("#media_type")]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_sound_in_a_group_with_a_timecode_track_is_kept(ffmpeg, tmp_path, suffix):
    """MOV with sound first that refers to the timecode, as cameras write it: sound and timecode come through."""
    codec = ("-c:v", "libx264", "-crf", "5", "-c:a", "aac", "-timecode", "01:00:00:00")
    source = with_tone(ffmpeg, tmp_path / "tc.mov", "-map", "1:a", "-map", "0:v", *codec)
    refer(source, 1, "tmcd", 3)
    assert kinds(ffmpeg, source) == ["audio", "video", "data"]
    out = tmp_path / f"out{suffix}"
    result = tune(ffmpeg, verified(), request(source, output=out))
    assert result.losses == []
    assert sorted(kinds(ffmpeg, out)) == ["audio", *(["data"] if suffix != ".mkv" else []), "video"]
    assert [one.timecode for one in read_facts(out).streams if one.kind == "video"] == ["01:00:00:00"]


@pytest.mark.ffmpeg
def test_sound_that_the_container_does_not_take(ffmpeg, tmp_path):
    """Blu-ray PCM: refused with codecs and containers that work; converted if asked, and that is said."""
    made = ("-c:v", "libx264", "-crf", "5", "-c:a", "pcm_bluray", "-ac", "2")
    source = with_tone(ffmpeg, tmp_path / "bd.m2ts", *made)
    # MOV takes it without an error, and nothing can read what comes out.
    for name, lossless in (("out.mkv", "flac"), ("out.mov", "alac")):
        words = rf"audio stream 0:1 \(pcm_bluray\).*--audio-codec {lossless} \(lossless\)"
        with pytest.raises(ConfigError, match=words):
            plan_carry(ffmpeg, source, name, X264, "medium")
    out = tmp_path / "out.mkv"
    result = tune(ffmpeg, verified(), request(source, output=out, audio_codec="flac"))
    assert result.losses == ["audio stream 0:1 (pcm_bluray) becomes flac (--audio-codec)"]
    assert [one.codec for one in read_facts(out).streams] == ["h264", "flac"]
    with pytest.raises(ConfigError, match=r"--audio-codec nonsense does not turn audio stream 0:1"):
        plan_carry(ffmpeg, source, "out.mkv", X264, "medium", audio_codec="nonsense")
    opus = with_tone(ffmpeg, tmp_path / "flac.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", "-c:a", "flac")
    vp9 = ENCODERS["libvpx-vp9"]
    with pytest.raises(ConfigError, match=r"--audio-codec libopus; or end the output in \.mkv or \.mp4"):
        plan_carry(ffmpeg, opus, "out.webm", vp9, "5")


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("codec", "suffix"), [("aac", ".mkv"), ("ac3", ".mp4"), ("eac3", ".mov"), ("mp2", ".mp4")]
)
def test_sound_from_transport_streams_is_copied(ffmpeg, tmp_path, codec, suffix):
    """Sound whose header lies in its packets goes where those packets are needed to write the container's."""
    source = with_tone(ffmpeg, tmp_path / "s.ts", "-c:v", "libx264", "-crf", "5", "-c:a", codec)
    out = tmp_path / f"out{suffix}"
    assert tune(ffmpeg, verified(), request(source, output=out)).losses == []
    assert kinds(ffmpeg, out) == ["video", "audio"]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("first", [0, 7], ids=["from the first frame", "from the eighth"])
def test_captions_inside_the_picture(ffmpeg, tmp_path, first):
    """CEA-608 captions in H.264, wherever they begin: kept by libx264 and libx265, else announced as lost."""
    made = ("-c:v", "libx264", "-bf", "0", "-threads", "1", "-pix_fmt", "yuv420p")
    raw = lavfi(ffmpeg, tmp_path / "c.264", *made, graph=NOISE)
    add_captions(raw, first=first)
    source = tmp_path / "c.mp4"
    assert process.run([*ffmpeg.base_argv(), "-i", str(raw), "-c", "copy", str(source)]).exit_code == 0
    reference, video = open_source(ffmpeg, source)
    for name, lost in (("libx264", False), ("libx265", False), ("libsvtav1", True)):
        info = ENCODERS[name]
        preset = info.default_preset
        plan = plan_carry(ffmpeg, source, "out.mkv", info, preset, captions=CAPTIONS in video.side_data)
        argv = FinalEncode(reference, info, preset, 30, plan).argv(ffmpeg, tmp_path / "out.mkv")
        losses = rehearse(ffmpeg, argv, source, plan).losses
        assert any("closed captions inside the picture" in loss for loss in losses) == lost, (name, losses)
        if not lost:
            assert process.run(argv).exit_code == 0
            shown = [*ffmpeg.base_argv(level="info"), "-i", str(tmp_path / "out.mkv"), "-vf", "showinfo"]
            said = process.run([*shown, "-f", "null", "-"]).stderr
            assert said.count("ATSC A53 Part 4 Closed Captions") == 12 - first


@pytest.mark.ffmpeg
@pytest.mark.parametrize("kept", ["source", "limited"])
def test_full_range_is_lost_only_where_it_is(ffmpeg, tmp_path, kept):
    """Full range that stays full is no loss; full range that becomes limited is one."""
    source, out = tmp_path / "f.mkv", tmp_path / "out.mkv"
    lavfi(
        ffmpeg, source, "-pix_fmt", "yuvj420p", "-color_range", "pc", "-c:v", "libx264", "-crf", "5", graph=NOISE
    )
    asked = request(source, output=out, pictures=PictureRequest(range=kept))
    losses = tune(ffmpeg, verified(), asked).losses
    assert losses == ([] if kept == "source" else ["full range becomes limited range"])
    video = read_facts(out).streams[0].video
    assert video is not None
    assert video.colour.range == {"source": "pc", "limited": "tv"}[kept]


@pytest.mark.ffmpeg
def test_flags_titles_and_languages_that_are_lost_are_said(ffmpeg, tmp_path):
    """MP4 keeps languages and not that a subtitle is the original: the one is silent, the other announced."""
    (tmp_path / "s.srt").write_text("1\n00:00:00,000 --> 00:00:00,300\nhello\n\n")
    marks = ("-metadata:s:a:0", "language=fra", "-metadata:s:s:0", "language=deu", "-disposition:s:0", "original")
    args = ("-i", str(tmp_path / "s.srt"), "-map", "0", "-map", "1", "-map", "2", "-c:v", "ffv1", "-c:a", "flac")
    args += ("-c:s", "subrip")
    source = with_tone(ffmpeg, tmp_path / "s.mkv", *args, "-pix_fmt", "yuv420p", *marks)
    in_mkv = tune(ffmpeg, verified(), request(source, output=tmp_path / "out.mkv"))
    in_mp4 = tune(ffmpeg, verified(), request(source, output=tmp_path / "out.mp4"))
    assert in_mkv.losses == []
    assert [one.language for one in read_facts(tmp_path / "out.mp4").streams[1:]] == ["fra", "deu"]
    assert in_mp4.losses == [
        "subtitle stream 0:2 (subrip, deu) becomes mov_text",
        "out.mp4 does not keep of subtitle stream 0:2 (subrip, deu): flag original",
    ]


@pytest.mark.ffmpeg
def test_a_finished_file_that_lacks_a_stream_gets_no_name(ffmpeg, tmp_path):
    """An encode whose sound is missing at the end, whatever ffmpeg's exit code: an error, and no file."""
    source = with_tone(ffmpeg, tmp_path / "s.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", "-c:a", "flac")
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *-c:v:0*.assay-*out.mkv) for last; do :; done\n'
        f'exec {ffmpeg.path} -y -v error -i {source} -map 0:v:0 -c:v libx264 "$last";; esac\n'
        f'exec {ffmpeg.path} "$@"\n'
    )
    fake.chmod(0o755)
    with pytest.raises(ToolError, match=r"lacks audio stream 0:1 \(flac\)"):
        tune(Ffmpeg(str(fake), ffmpeg.version, "t"), verified(), request(source, output=tmp_path / "out.mkv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "s.mkv"]


def test_paths_that_are_no_files(tmp_path):
    """A folder, a pipe, a device, a URL and standard input are named as what they are; files are not."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    said = [not_a_file(path) for path in (tmp_path, tmp_path / "pipe", Path("/dev/null"), Path("http://a/b.mp4"))]
    assert said == ["a folder", "a pipe", "a device", "a URL"]
    assert not_a_file(Path("-")) == "standard input or output"
    assert [not_a_file(tmp_path / name) for name in ("file", "nothing", "c:d.mkv")] == ["", "", ""]
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert not_a_file(tmp_path / "one") == "a link that leads in a circle"


@pytest.mark.ffmpeg
def test_outputs_and_sources_that_are_no_files_are_refused_at_once(ffmpeg, clip, tmp_path, capsys):
    """Exit 2 and one line that says what the path is, before anything is decoded."""
    os.mkfifo(tmp_path / "pipe.mkv")
    (tmp_path / "folder.mkv").mkdir()
    for argv, words in (
        ([str(clip), "-o", str(tmp_path / "folder.mkv"), "--force"], "is a folder"),
        ([str(clip), "-o", str(tmp_path / "pipe.mkv"), "--force"], "is a pipe"),
        ([str(clip), "--report", str(tmp_path)], "is a folder"),
        ([str(clip), "--report", str(clip / "page.html")], "clip.mp4 is a file"),
        ([str(clip), "-o", "https://example.org/out.mkv"], "-o https://example.org/out.mkv is a URL"),
        ([str(tmp_path / "pipe.mkv")], "is a pipe"),
        (["rtmp://example.org/live"], "rtmp://example.org/live is a URL"),
        (["/dev/null"], "is a device"),
    ):
        assert cli.main(["tune", *argv]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert words in lines[-1], lines
    with pytest.raises(MediaError, match="is a pipe"):
        open_source(ffmpeg, tmp_path / "pipe.mkv")


def test_names_that_are_not_utf8_are_spelled(tmp_path):
    """Bytes that are not UTF-8 are spelled in documents, and the file is found by that spelling."""
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.touch()
    text = path_text(path)
    assert text == f"{tmp_path}/caf\\xe9.mp4"
    assert json.loads(json.dumps(text)) == text
    assert path_of_text(text) == path
    assert path_of_text(f"{tmp_path}/other\\xe9.mp4") == Path(f"{tmp_path}/other\\xe9.mp4")


@pytest.mark.ffmpeg
def test_a_batch_of_such_names_with_pages_and_a_fault_of_ours(ffmpeg, tmp_path, capsys, monkeypatch):
    """Such a name is encoded, shown in a page and skipped next time; an unexpected error costs one item."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified())
    sources, out = tmp_path / "in", tmp_path / "out"
    sources.mkdir()
    for number, name in enumerate((b"caf\xe9.mkv", b"plain.mkv")):
        graph = f"testsrc2=size={192 + 32 * number}x108:rate=25,noise=alls=9:allf=t"
        made = ("-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
        lavfi(ffmpeg, sources / os.fsdecode(name), *made, graph=graph)
    argv = [
        "tune",
        str(sources),
        "--target-vmaf",
        "80",
        "--quality-confidence",
        "0.9",
        "--trials",
        "0",
        "--verify",
    ]
    argv += ["--out-dir", str(out), "--json", "--report", str(tmp_path / "pages")]

    def faulty(request, **settings):
        if request.source.name == "plain.mkv":
            raise ValueError("a fault of ours")
        return tune_request(request, **settings)

    monkeypatch.setattr("vmaf_assay.api.tuning.tune_request", faulty)
    code = cli.main(argv)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (code, [line.get("status") for line in lines]) == (3, ["done", "failed", None])
    assert lines[0]["source"].endswith("caf\\xe9.mkv")
    assert "unexpected ValueError: a fault of ours" in lines[1]["error"]
    assert (out / os.fsdecode(b"caf\xe9.mkv")).is_file()
    page = next((tmp_path / "pages").glob("001-*")).read_text(encoding="utf-8")
    assert "data:image/jpeg" in page
    assert "caf\\xe9" in page
    index = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert "1 failed" in index
    assert '<a href="001-caf%E9.html"><bdi>caf\\xe9.mkv</bdi></a>' in index
    monkeypatch.setattr("vmaf_assay.api.tuning.tune_request", tune_request)
    cli.main(argv)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("status") for line in lines] == ["skipped", "done", None]


@pytest.mark.ffmpeg
def test_a_relative_file_in_a_filter_is_the_users(ffmpeg, clip, tmp_path, monkeypatch):
    """`--vf subtitles=s.srt` reads the file in the user's folder in probes, encode and measurement alike."""
    monkeypatch.chdir(tmp_path)
    Path("it's, a [name]; x.srt").write_text("1\n00:00:00,000 --> 00:00:00,400\nHELLO\n\n")
    Path("s.srt").write_text("1\n00:00:00,000 --> 00:00:00,400\nHELLO\n\n")
    result = tune(ffmpeg, verified(), request(clip, filters="subtitles=s.srt", output=Path("o.mkv"), verify=True))
    assert result.filters == "subtitles=s.srt"
    plain = tune(ffmpeg, verified(), request(clip, output=Path("p.mkv"), verify=True))
    assert result.measured_vmaf != plain.measured_vmaf
    odd = r"subtitles=filename=it\\\'s\, a \[name\]\; x.srt,scale=96:54"
    assert open_source(ffmpeg, clip, odd)[0].size == (96, 54)
    assert named_files(odd, tmp_path) == [tmp_path / "it's, a [name]; x.srt"]
    for untouched in ("crop=5:5:0:0", "scale=iw/2:-2", f"subtitles={tmp_path}/s.srt", "drawtext=text=s"):
        assert absolute_files(untouched, tmp_path) == untouched
