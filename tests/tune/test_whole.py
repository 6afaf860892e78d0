"""The output holds what the source held, or says before the encode what it will not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.errors import ConfigError, MediaError, ToolError
from vmaf_assay.media import process
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import score_pair
from vmaf_assay.tune.final import FinalEncode, write_final
from vmaf_assay.tune.request import TuneRequest, check_request
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import open_source
from vmaf_assay.tune.streams_plan import plan_carry

SUBTITLE = "1\n00:00:00,000 --> 00:00:00,300\nhello\n\n"
METADATA = (
    ";FFMETADATA1\ntitle=A title\nFOO=bar\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=480\ntitle=Two\n"
)


@pytest.fixture(scope="module")
def full(ffmpeg, tmp_path_factory) -> Path:
    """A Matroska file with a picture (BT.709 tags), two sounds, a styled subtitle, a font, chapters and tags."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "s.srt").write_text(SUBTITLE)
    (folder / "m.txt").write_text(METADATA)
    (folder / "f.ttf").write_text("a font")
    return lavfi(
        ffmpeg,
        folder / "full.mkv",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=0.5",
        "-f",
        "lavfi",
        "-i",
        "sine=880:duration=0.5",
        "-i",
        str(folder / "s.srt"),
        "-i",
        str(folder / "m.txt"),
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-map",
        "3",
        "-map_metadata",
        "4",
        "-map_chapters",
        "4",
        "-attach",
        str(folder / "f.ttf"),
        "-metadata:s:t",
        "mimetype=application/x-truetype-font",
        "-metadata:s:t",
        "filename=f.ttf",
        "-frames:v",
        "12",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-colorspace",
        "bt709",
        "-color_range",
        "tv",
        "-c:a:0",
        "flac",
        "-c:a:1",
        "aac",
        "-c:s",
        "ass",
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:1",
        "language=deu",
        graph="testsrc2=size=192x108:rate=25,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709",
    )


def request(source: Path, **changes) -> TuneRequest:
    """A modest target without trials."""
    return replace(TuneRequest(source, "libx264", 80.0, 0.9, trials=0), **changes)


def header(ffmpeg, path: Path) -> str:
    """What `ffmpeg -i` prints of a file."""
    return process.run([ffmpeg.path, "-hide_banner", "-i", str(path)]).stderr


@pytest.mark.ffmpeg
def test_matroska_takes_everything(ffmpeg, full, tmp_path):
    """Sounds, subtitle, font, chapters, tags, languages and colour come through, and nothing is announced."""
    out, notes = tmp_path / "out.mkv", []
    result = tune(ffmpeg, verified(), request(full, output=out), on_note=notes.append)
    assert (notes, result.losses) == ([], [])
    before, after = read_facts(full), read_facts(out)
    assert [(s.kind, s.codec, s.language) for s in after.streams[1:]] == [
        ("audio", "flac", "eng"),
        ("audio", "aac", "deu"),
        ("subtitle", "ass", ""),
        ("attachment", "application/x-truetype-font", ""),
    ]
    assert before.n_chapters == after.n_chapters == 2
    assert {"title", "FOO"} <= set(after.tags)
    assert "bt709" in header(ffmpeg, full)
    assert "yuv420p(tv, bt709" in header(ffmpeg, out)
    copied = ["-map", "0:a", "-c", "copy", "-f", "streamhash", "-"]
    sound = [process.run([*ffmpeg.base_argv(), "-i", str(path), *copied]).stdout for path in (full, out)]
    assert sound[0] == sound[1] != b""


@pytest.mark.ffmpeg
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("name", [name for name, encoder in ENCODERS.items() if not encoder.hardware])
def test_what_every_software_encoder_makes_has_a_container(ffmpeg, full, name, suffix):
    """Matroska and MP4 take all of them here, and nobody is told otherwise before the encode."""
    encoder = ENCODERS[name]
    assert plan_carry(ffmpeg, full, f"out{suffix}", encoder, encoder.presets[-1]).args


@pytest.mark.ffmpeg
def test_mp4_losses_are_announced_first(ffmpeg, full, tmp_path):
    """What MP4 cannot hold is said before the first encode and kept in the answer; the rest comes through."""
    out, events = tmp_path / "out.mp4", []
    result = tune(
        ffmpeg,
        verified(),
        request(full, output=out),
        on_step=lambda what, *_: events.append("step") if not what.startswith("open") else None,
        on_note=lambda text: events.append(text),
    )
    announced = [event for event in events if event != "step"]
    assert events[: len(announced)] == announced
    assert [
        word in " ".join(announced)
        for word in ("mov_text; styling is lost", "(application/x-truetype-font)", "tags FOO")
    ] == [True] * 3
    assert len(result.losses) == len(announced) == 3
    after = read_facts(out)
    assert [(s.kind, s.codec) for s in after.streams if s.kind != "data"] == [
        ("video", "h264"),
        ("audio", "flac"),
        ("audio", "aac"),
        ("subtitle", "mov_text"),
    ]
    assert after.n_chapters == 2
    assert "title" in after.tags


@pytest.mark.ffmpeg
def test_bitmap_subtitles_into_mp4(ffmpeg, tmp_path):
    """PGS subtitles cannot go into MP4: announced and left out; Matroska takes them."""
    end = bytes([0x80]) + (0).to_bytes(2, "big")
    pcs = bytes([0x16]) + (11).to_bytes(2, "big") + bytes([0, 192, 0, 108, 0x10, 0, 0, 0x80, 0, 0, 0])
    stamp = (9000).to_bytes(4, "big") + bytes(4)
    (tmp_path / "s.sup").write_bytes(b"PG" + stamp + pcs + b"PG" + stamp + end)
    source = lavfi(
        ffmpeg,
        tmp_path / "pgs.mkv",
        "-i",
        str(tmp_path / "s.sup"),
        "-map",
        "0",
        "-map",
        "1",
        "-c:s",
        "copy",
        "-frames:v",
        "12",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
    )
    into_mp4 = plan_carry(ffmpeg, source, "out.mp4", ENCODERS["libx264"], "medium")
    assert into_mp4.losses == ("mp4 cannot hold subtitle stream 0:1 (hdmv_pgs_subtitle): left out",)
    into_mkv = plan_carry(ffmpeg, source, "out.mkv", ENCODERS["libx264"], "medium")
    assert into_mkv.losses == ()
    assert "0:1" in into_mkv.args


@pytest.mark.ffmpeg
def test_webm_is_particular(ffmpeg, full):
    """WebM takes neither H.264 nor FLAC: refused before anything is encoded, with the way out."""
    with pytest.raises(ConfigError, match=r"libx264 does not go into webm.*\.mkv"):
        plan_carry(ffmpeg, full, "out.webm", ENCODERS["libx264"], "medium")
    with pytest.raises(ConfigError, match=r"webm cannot hold audio stream 0:1 \(flac, eng\).*\.mkv"):
        plan_carry(ffmpeg, full, "out.webm", ENCODERS["libvpx-vp9"], "4")


@pytest.mark.ffmpeg
def test_covers(ffmpeg, tmp_path):
    """A cover picture is kept by MP4 as a cover, and its loss in Matroska is announced."""
    lavfi(ffmpeg, tmp_path / "c.jpg", "-frames:v", "1", graph="color=red:size=64x64")
    source = lavfi(
        ffmpeg,
        tmp_path / "cover.mp4",
        "-i",
        str(tmp_path / "c.jpg"),
        "-map",
        "0",
        "-map",
        "1",
        "-c:v:0",
        "libx264",
        "-crf",
        "5",
        "-c:v:1",
        "copy",
        "-disposition:v:1",
        "attached_pic",
        "-frames:v:0",
        "12",
    )
    out = tmp_path / "out.mp4"
    assert tune(ffmpeg, verified(), request(source, output=out, verify=True)).losses == []
    assert [(s.codec, s.attached_picture) for s in read_facts(out).streams] == [
        ("h264", False),
        ("mjpeg", True),
    ]
    plan = plan_carry(ffmpeg, source, "out.mkv", ENCODERS["libx264"], "medium")
    assert ["cover picture" in loss for loss in plan.losses] == [True]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_time_stamps_come_through(ffmpeg, tmp_path, suffix):
    """A source with uneven frame times is encoded with the same frame times."""
    graph = "testsrc2=size=192x108:rate=25,setpts='(N+3*gt(N\\,4)+2*gt(N\\,8))/25/TB'"
    source = lavfi(
        ffmpeg,
        tmp_path / "vfr.mkv",
        "-frames:v",
        "12",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
        graph=graph,
    )
    out = tmp_path / f"out{suffix}"
    try:
        tune(ffmpeg, verified(), request(source, output=out))
    except MediaError as refused:
        pytest.fail(f"refused: {refused}")
    assert times(ffmpeg, out) == pytest.approx(times(ffmpeg, source), abs=0.0011)
    assert times(ffmpeg, source)[5] == pytest.approx(8 / 25, abs=0.001)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_sound_stays_in_step(ffmpeg, tmp_path, name):
    """Sound that begins 0.4 s before the picture still does so in the output."""
    both = lavfi(
        ffmpeg,
        tmp_path / "both.mkv",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=1",
        "-frames:v",
        "12",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "flac",
    )
    late, out = tmp_path / "late.mkv", tmp_path / name
    argv = ["-itsoffset", "0.4", "-i", str(both), "-i", str(both), "-map", "0:v", "-map", "1:a", "-c", "copy"]
    assert process.run([*ffmpeg.base_argv(), *argv, str(late)]).exit_code == 0
    reference, _ = open_source(ffmpeg, late)
    x264 = ENCODERS["libx264"]
    carry = plan_carry(ffmpeg, late, name, x264, "medium")
    encode = FinalEncode(reference, x264, "medium", 30, carry)
    write_final(ffmpeg, TuneRequest(late, "libx264", 90, 0.9, output=out), encode, None)
    assert times(ffmpeg, out)[0] == pytest.approx(0.4, abs=0.001)


def times(ffmpeg, path: Path) -> list[float]:
    """When each frame is shown, seconds, as decoded."""
    done = process.run(
        [
            *ffmpeg.base_argv(),
            "-copyts",
            "-i",
            str(path),
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "filter",
            "-c:v",
            "rawvideo",
            "-f",
            "framecrc",
            "-",
        ]
    )
    lines = done.stdout.decode().splitlines()
    top, bottom = next(line for line in lines if line.startswith("#tb")).split(":")[1].split("/")
    return [int(line.split(",")[2]) * int(top) / int(bottom) for line in lines if not line.startswith("#")]


@pytest.mark.ffmpeg
def test_an_interrupt_leaves_no_half_file(ffmpeg, full, tmp_path):
    """Ctrl-C in the encode leaves nothing; in the measurement after it, the whole encode, and that is said."""
    out, notes = tmp_path / "out.mkv", []

    def stop_at(word):
        def on_step(what, _done, _total):
            if what.startswith(word):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tune(ffmpeg, verified(), request(full, output=out, verify=True), on_step=on_step, on_note=notes.append)

    stop_at("encode")
    assert (list(tmp_path.iterdir()), notes) == ([], [])
    stop_at("verify")
    assert list(tmp_path.iterdir()) == [out]
    assert probe_video(ffmpeg, out).n_frames == 12
    assert ["is complete, but its measurement was interrupted" in note for note in notes] == [True]


@pytest.mark.ffmpeg
def test_an_encode_without_its_last_frames_is_no_output(ffmpeg, full, tmp_path):
    """An encoder that keeps frames back, which ffmpeg does not mind: an error with both counts, and no file."""
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *-c:v:0*out.mkv) for last; do :; done\n'
        f'exec {ffmpeg.path} -y -v error -i {full} -map 0:v:0 -frames:v 7 -c:v libx264 "$last";; esac\n'
        f'exec {ffmpeg.path} "$@"\n'
    )
    fake.chmod(0o755)
    short = Ffmpeg(str(fake), ffmpeg.version, "test")
    with pytest.raises(ToolError, match=r"returned 7 of 12 frames of full\.mkv"):
        tune(short, verified(), request(full, output=tmp_path / "out.mkv"))
    assert list(tmp_path.iterdir()) == [fake.parent]


@pytest.mark.ffmpeg
def test_a_full_disk_is_seen_first(ffmpeg, full, tmp_path, monkeypatch):
    """With less room than the encode is forecast to need, nothing is encoded and the room is named."""
    monkeypatch.setattr("vmaf_assay.tune.final.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    steps = []
    with pytest.raises(ToolError, match=r"0 MB free, the encode is forecast at"):
        tune(
            ffmpeg,
            verified(bitrate=True),
            request(full, output=tmp_path / "out.mkv"),
            on_step=lambda *step: steps.append(step[0].split()[0]),
        )
    assert set(steps) == {"open", "probe"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffmpeg
def test_filters_are_applied_and_named(ffmpeg, full, tmp_path):
    """Crop, scale and frame rate change the output; VMAF is against the filtered picture, and that is said."""
    out = tmp_path / "out.mkv"
    chain = "crop=160:90:16:8,scale=128:-2,fps=12.5"
    result = tune(ffmpeg, verified(), request(full, output=out, filters=chain, verify=True))
    info = probe_video(ffmpeg, out)
    assert (info.width, info.height, info.n_frames) == (128, 72, 6)
    assert (result.width, result.height, result.n_frames, result.frame_rate) == (128, 72, 6, "25/2")
    assert result.promised
    assert any(f"against the filtered picture (--vf {chain})" in reason for reason in result.reasons)
    by_hand = lavfi(
        ffmpeg,
        tmp_path / "ref.mkv",
        "-i",
        str(full),
        "-map",
        "1:v:0",
        "-vf",
        chain,
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
    )
    reference = ReferenceInput(by_hand, info.frame_rate, 6, (128, 72))
    assert result.measured_vmaf == pytest.approx(score_pair(ffmpeg, reference, out).pooled_vmaf, abs=1e-4)


@pytest.mark.ffmpeg
def test_a_scaled_encode_against_the_source(ffmpeg, full, tmp_path):
    """`--reference source` scales the encode back up: a lower VMAF, at the source's size, not promised."""
    out = tmp_path / "out.mkv"
    asked = request(full, output=out, filters="scale=96:54", verify=True, force=True)
    filtered = tune(ffmpeg, verified(), asked)
    against_source = tune(ffmpeg, verified(), replace(asked, reference="source", trials=1))
    assert filtered.promised
    assert not against_source.promised
    assert any("compared with its unscaled source" in reason for reason in against_source.reasons)
    assert (against_source.width, against_source.height) == (96, 54)
    assert against_source.output
    whole = ReferenceInput(full, probe_video(ffmpeg, full).frame_rate, 12, (192, 108))
    by_hand = score_pair(ffmpeg, whole, out).pooled_vmaf
    assert against_source.measured_vmaf == pytest.approx(by_hand, abs=1e-4)
    assert by_hand < filtered.measured_vmaf
    assert not against_source.met


@pytest.mark.ffmpeg
def test_encoder_options_end_the_promise(ffmpeg, full, tmp_path):
    """`--encoder-args` reach trials and output and are recorded; only a measurement then makes the answer yes."""
    out = tmp_path / "out.mkv"
    asked = request(full, output=out, encoder_args="-x264-params keyint=3:scenecut=0", force=True)
    blind = tune(ffmpeg, verified(), asked)
    assert (blind.promised, blind.met, blind.output) == (False, False, str(out))
    assert any("the encoder options -x264-params keyint=3:scenecut=0" in reason for reason in blind.reasons)
    assert blind.encoder_args == ["-x264-params", "keyint=3:scenecut=0"]
    keys = process.run(
        [
            *ffmpeg.base_argv(),
            "-skip_frame",
            "nokey",
            "-i",
            str(out),
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-f",
            "framecrc",
            "-",
        ]
    ).stdout.decode()
    assert len([line for line in keys.splitlines() if not line.startswith("#")]) == 4
    measured = tune(ffmpeg, verified(), replace(asked, verify=True))
    assert measured.met == (measured.measured_vmaf >= 80)
    plain = tune(ffmpeg, verified(), replace(asked, trials=1, encoder_args="", output=None))
    tried = tune(ffmpeg, verified(), replace(asked, trials=1, output=None))
    assert tried.trials != plain.trials


@pytest.mark.ffmpeg
def test_limits_are_judged_apart_from_quality(ffmpeg, full, tmp_path):
    """A limit that the forecast exceeds: quality met, limit not, nothing encoded, and the best within it named."""
    out = tmp_path / "out.mkv"
    asked = request(full, output=out)
    free = tune(ffmpeg, verified(bitrate=True), replace(asked, max_kbps=1e6, max_bytes=1e9))
    assert (free.met, free.bitrate_met, free.size_met, free.output) == (True, True, True, str(out))
    assert free.output_bytes == out.stat().st_size
    out.unlink()
    tight = tune(ffmpeg, verified(bitrate=True), replace(asked, max_kbps=free.forecast_kbps * 0.8))
    assert (tight.quality_met, tight.bitrate_met, tight.size_met) == (True, False, None)
    assert (tight.met, tight.output, out.exists()) == (False, None, False)
    assert any("the best within the limits is" in reason for reason in tight.reasons)
    small = tune(ffmpeg, verified(bitrate=True), replace(asked, max_bytes=1.0))
    assert (small.size_met, small.met) == (False, False)
    assert any("no rate value keeps within the limits" in reason for reason in small.reasons)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_kbps": 0.0}, "--max-bitrate is a positive number"),
        ({"max_bytes": float("nan")}, "--max-size is a positive number"),
        ({"encoder_args": "-crf 3"}, "-crf of libx264 is set by the encoder table"),
        ({"encoder_args": "-vf hflip"}, "-vf of libx264 is set"),
        ({"encoder_args": "-tune"}, "has no value"),
        ({"reference": "other"}, "filtered or source"),
        ({"reference": "source"}, "needs --vf scale"),
        ({"reference": "source", "filters": "scale=96:54,fps=5"}, "needs --vf scale"),
        ({"reference": "source", "filters": "crop=96:54"}, "needs --vf scale"),
    ],
)
def test_options_that_cannot_be_meant(changes, message):
    """What would take the encode out of the hands of its measurement is refused in words."""
    with pytest.raises(ConfigError, match=message):
        check_request(request(Path("in.mkv"), **changes))


@pytest.mark.ffmpeg
def test_4k_is_refused_in_words(ffmpeg, tmp_path):
    """A 4K picture is refused with the reason and the way out, portrait too; scaled down it is taken."""
    for size in ("3840x2160", "2160x3840"):
        source = lavfi(
            ffmpeg,
            tmp_path / f"{size}.mp4",
            "-frames:v",
            "2",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            graph=f"color=gray:size={size}:rate=25",
        )
        with pytest.raises(MediaError, match=r"4K model of its own.*scale=1920:-2"):
            open_source(ffmpeg, source)
    reference, _ = open_source(ffmpeg, source, "scale=-2:1920")
    assert reference.size == (1080, 1920)


_TONE_MAP = (
    "setparams=colorspace=bt2020nc,zscale=t=linear:npl=100,tonemap=hable,zscale=t=bt709:m=bt709:p=bt709:r=tv,"
    "format=yuv420p"
)


@pytest.mark.ffmpeg
def test_what_calibration_never_saw_is_refused_in_words(ffmpeg, tmp_path):
    """HDR and interlace are refused, each with a filter that makes the picture one that was seen."""
    hdr, fields = tmp_path / "hdr.mkv", tmp_path / "fields.mkv"
    lavfi(
        ffmpeg,
        hdr,
        "-frames:v",
        "4",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p10le",
        graph="testsrc2=size=192x108:rate=25,setparams=color_trc=smpte2084:color_primaries=bt2020",
    )
    lavfi(
        ffmpeg,
        fields,
        "-frames:v",
        "4",
        "-c:v",
        "libx264",
        "-flags",
        "+ilme+ildct",
        "-x264-params",
        "tff=1",
        graph="testsrc2=size=192x108:rate=50,interlace=scan=tff",
    )
    for path, words, filters in (
        (hdr, r"HDR10 \(PQ\); vmaf_v0.6.1 was trained on SDR", _TONE_MAP),
        (fields, "interlaced.*--vf bwdif=send_frame", "bwdif=send_frame"),
    ):
        with pytest.raises(MediaError, match=words):
            open_source(ffmpeg, path)
        assert open_source(ffmpeg, path, filters)[0].n_frames == 4


@pytest.mark.ffmpeg
def test_filters_that_fail(ffmpeg, full):
    """A chain that does not run is invalid, in the filter's own words; so is one that lets no frame through."""
    for filters, words in (
        ("nonsense=a=1", "--vf 'nonsense=a=1' is invalid: .*nonsense"),
        ("crop=9999:9999", "crop: Invalid too big or non positive size"),
        ("scale=foo", "scale: Invalid size 'foo'"),
        ("scale=64:-2,,", "No such filter: ''"),
        ("yadif=mode=banana", "yadif: .*banana"),
    ):
        with pytest.raises(ConfigError, match=words):
            open_source(ffmpeg, full, filters)
    with pytest.raises(MediaError, match="leaves no frame"):
        open_source(ffmpeg, full, "select=0")


@pytest.mark.ffmpeg
def test_portrait_from_end_to_end(ffmpeg, tmp_path):
    """A phone's clip, stored on its side with a rotation, is encoded upright and measured against itself upright.

    `-f lavfi -i testsrc2=size=192x108:rate=25,noise -frames:v 12 -c:v libx264 -crf 2 side.mp4`, then
    `-display_rotation 90 -i side.mp4 -c copy phone.mp4`.
    """
    side, phone, out = tmp_path / "side.mp4", tmp_path / "phone.mp4", tmp_path / "out.mp4"
    graph = "testsrc2=size=192x108:rate=25,noise=alls=10:allf=t"
    lavfi(ffmpeg, side, "-frames:v", "12", "-c:v", "libx264", "-crf", "2", "-pix_fmt", "yuv420p", graph=graph)
    turned = [*ffmpeg.base_argv(), "-display_rotation", "90", "-i", str(side), "-c", "copy", str(phone)]
    assert process.run(turned).exit_code == 0
    result = tune(ffmpeg, verified(), TuneRequest(phone, "libx264", 80.0, 0.9, trials=1, output=out, verify=True))
    assert (result.width, result.height) == (108, 192)
    info = probe_video(ffmpeg, out)
    assert (info.shown_size, info.rotation, info.n_frames) == ((108, 192), 0, 12)
    assert result.output == str(out)
    # Upright against upright: on its side against upright nothing would match.
    assert abs(result.measured_vmaf - result.mu) < 3
    assert result.measured_vmaf > 60
