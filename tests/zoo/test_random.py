"""Files drawn at random: the product against plain ffmpeg."""

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.zoo.answers import frames, streams, vmaf
from tests.zoo.make import make
from tests.zoo.recipes import Recipe
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.score import score_pair
from vmaf_assay.tune.final import FinalEncode, write_final
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.source import open_source
from vmaf_assay.tune.streams_plan import plan_carry, rehearse

pytestmark = [pytest.mark.ffmpeg, pytest.mark.slow]

X264 = ENCODERS["libx264"]
VIDEO = [
    *("libx264 -preset ultrafast", "libx264 -preset veryfast -g 12", "libx265 -x265-params log-level=error"),
    *("mpeg4 -q:v 3", "mpeg4 -q:v 3 -bf 2", "mpeg2video -q:v 3", "mpeg2video -q:v 3 -bf 2", "ffv1"),
    *("mjpeg -q:v 3", "libvpx -b:v 600k", "libvpx-vp9 -crf 20 -cpu-used 8", "libsvtav1 -preset 12 -crf 30"),
    *("libtheora -q:v 7", "ffvhuff"),
]
SOUND = [
    *("aac", "ac3", "eac3", "mp2", "libmp3lame", "flac"),
    *("libopus", "libvorbis", "pcm_s16le", "pcm_s24be", "alac"),
]
SUFFIX = ["mkv", "mp4", "mov", "avi", "ts", "webm", "nut", "m4v -f mp4", "mpg", "flv", "ogv"]
CONTENT = ["noise", "fractal", "life", "dark", "zoom", "film", "ntsc", "slow", "odd", "tall", "square"]
AFTER = [
    "",
    "-display_rotation 90 -i {a} -map 0 -c copy {b}",
    "-display_rotation 180 -i {a} -map 0 -c copy {b}",
    "-itsoffset 0.3 -i {a} -i {a} -map 0:v -map 1:a? -c copy {b}",
    "-ss 0.4 -i {a} -map 0 -c copy {b}",
    "-i {a} -map 0 -c copy -output_ts_offset 3.7 {b}",
    "-i {a} -map 0 -c copy -metadata title=Corrupt {b}",
    "-i {a} -map 0:a? -map 0:v -map 0:s? -c copy {b}",
]
MARKS = ["", "-disposition:a:0 comment", "-metadata:s:a:0 language=fra", "-timecode 01:00:00:00", "-vf setsar=4/3"]
SUBTITLES = ["", "-c:s subrip", "-c:s ass", "-c:s mov_text", "-c:s webvtt"]
NUMBERS = itertools.count()


@st.composite
def recipes(draw) -> Recipe:
    """A file, valid as far as ffmpeg's muxers know."""
    suffix = draw(st.sampled_from(SUFFIX))
    name, muxer = f"a.{suffix.split()[0]}", suffix.partition(" ")[2]
    sounds = draw(st.lists(st.sampled_from(SOUND), max_size=3))
    subtitles = draw(st.sampled_from(SUBTITLES))
    inputs = [
        f"{{{draw(st.sampled_from(CONTENT))}}}",
        *["{tone}"] * len(sounds),
        *(["-i s.srt"] if subtitles else []),
    ]
    maps = [f"-map {index}" for index in range(len(inputs))]
    encode = [f"-c:v {draw(st.sampled_from(VIDEO))} -pix_fmt yuv420p -strict -2"]
    encode += [f"-c:a:{index} {codec} -ac 2" for index, codec in enumerate(sounds)] + [subtitles]
    encode += [draw(st.sampled_from(MARKS))]
    lines = ["text s.srt 1\\n00:00:00,100 --> 00:00:00,600\\nHello\\n\\n"]
    lines.append(" ".join([*inputs, *maps, *encode, muxer, name]))
    if after := draw(st.sampled_from(AFTER)):
        other = f"b.{suffix.split()[0]}"
        lines.append(after.format(a=name, b=f"{muxer} {other}"))
        name = other
    if name.endswith(("mkv", "webm")) and draw(st.booleans()):
        lines.append(f"mkvmerge -q -o m.mkv {name}")
        name = "m.mkv"
    return Recipe(name, "\n".join(lines))


@settings(
    max_examples=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
@given(recipe=recipes(), suffix=st.sampled_from(["mkv", "mp4", "mov"]))
def test_random_zoo(ffmpeg, tmp_path, recipe, suffix):
    """Streams are kept or announced, frames and score are plain ffmpeg's; what is refused is refused in words."""
    folder = tmp_path / str(next(NUMBERS))
    try:
        source = make(recipe, folder, ffmpeg.path)
    except AssertionError:
        return  # no such file can be made
    count, size = frames(ffmpeg.path, source)
    listed = [one.split()[0] for one in streams(ffmpeg.path, source)]
    try:
        reference, _ = open_source(ffmpeg, source)
    except MediaError as refused:
        if count >= 2 and not any(word in str(refused) for word in ("changes", "interlaced")):
            raise AssertionError(recipe) from refused
        return
    width, height = (int(side) // 2 * 2 for side in size.split("x"))
    assert (reference.n_frames, reference.size) == (count, (width, height)), recipe
    out = folder / f"out.{suffix}"
    try:
        plan = plan_carry(ffmpeg, source, out.name, X264, "ultrafast", audio_codec="aac")
        encode = FinalEncode(reference, X264, "ultrafast", 26, plan)
        plan = rehearse(ffmpeg, encode.argv(ffmpeg, out), source, plan)
    except ConfigError as refused:
        if "audio stream" not in str(refused):
            raise AssertionError(recipe) from refused
        return
    lost = [loss for loss in plan.losses if loss.endswith("left out") and "stream 0:" in loss]
    anew = listed.count("data") - sum(stream.kind == "data" for stream in plan.mapped)
    assert len(plan.mapped) + len(lost) in (len(listed), len(listed) - anew), (recipe, plan)
    write_final(ffmpeg, TuneRequest(source, "libx264", 80.0, 0.9, output=out), encode, None)
    check_output(ffmpeg, out, plan, count, recipe)
    fixed = folder / "enc.mkv"
    expected = vmaf(ffmpeg.path, source, size, folder)
    assert score_pair(ffmpeg, reference, fixed).pooled_vmaf == pytest.approx(expected, abs=1e-4), recipe


def check_output(ffmpeg, out: Path, plan, count: int, recipe: Recipe) -> None:
    """Frames and streams of the finished file, by plain ffmpeg."""
    assert frames(ffmpeg.path, out)[0] == count, recipe
    there = [one.split()[0] for one in streams(ffmpeg.path, out)]
    for kind in ("video", "audio", "subtitle", "attachment"):
        assert there.count(kind) == sum(stream.kind == kind for stream in plan.mapped), (recipe, there)
