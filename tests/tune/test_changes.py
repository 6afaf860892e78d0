"""Titles joined from parts of different size, range or colours: the change is said, and parts are made alike."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.probe import probe_video
from vmaf_assay.tune.pictures import PictureRequest
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import open_prepared

pytestmark = pytest.mark.ffmpeg

FIRST = PictureRequest(changes="first")
_STATED = ("-color_range", "tv", "-colorspace", "smpte170m")
KINDS = {
    "small": ("160x90", _STATED),
    "full": ("192x108", ("-vf", "scale=out_range=pc,setparams=range=pc", *_STATED[2:], "-color_range", "pc")),
    "bt709": ("192x108", ("-vf", "setparams=colorspace=bt709", "-colorspace", "bt709", "-color_range", "tv")),
    "plain": ("192x108", _STATED),
    "silent": ("192x108", ()),
}
"""Size and options of each kind of part: 24 frames of H.264."""
SAID = {
    "small": "its size changes from 192x108 to 160x90",
    "full": "its pixel format changes from yuv420p to yuvj420p",
    "bt709": "its range or colours change",
}


@pytest.fixture(scope="module")
def parts(ffmpeg, tmp_path_factory) -> dict[str, Path]:
    """Each kind as MPEG-TS, and beside it as a bare stream."""
    folder, made = tmp_path_factory.mktemp("parts"), {}
    coded = ("-frames:v", "24", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-bf", "0")
    for name, (size, args) in KINDS.items():
        graph = f"testsrc2=size={size}:rate=25,noise=alls=8:allf=t"
        made[name] = lavfi(ffmpeg, folder / f"{name}.ts", *args, *coded, "-pix_fmt", "yuv420p", graph=graph)
        run(ffmpeg, "-i", str(made[name]), "-c", "copy", str(folder / f"{name}.h264"))
    return made


def run(ffmpeg, *args: str) -> bytes:
    """Plain ffmpeg; returns its standard output."""
    done = process.run([*ffmpeg.base_argv(), *args])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def joined(ffmpeg, how: str, parts: list[Path], folder: Path) -> Path:
    """Parts one after the other, by a tool that people use."""
    if how == "bytes of MPEG-TS":  # stamps start again
        path = folder / "joined.ts"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        return path
    path = folder / "joined.mkv"
    if how == "mkvmerge":  # 1: it warns of other parameter sets
        streams = [str(part.with_suffix(".h264")) for part in parts]
        appended = [streams[0], *(word for one in streams[1:] for word in ("+", one))]
        assert subprocess.run(["mkvmerge", "-q", "-o", path, *appended], check=False).returncode < 2
        return path
    listed = folder / "list.txt"
    listed.write_text("".join(f"file '{part}'\n" for part in parts))
    read = ("-f", "concat", "-safe", "0", "-i", str(listed))
    run(ffmpeg, *read, "-c", "copy", "-bsf:v", "dump_extra=freq=k", str(path))
    return path


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        *((how, kind) for how in ("bytes of MPEG-TS", "concat demuxer") for kind in SAID),
        *(("mkvmerge", kind) for kind in ("full", "bt709")),  # it appends no other size
    ],
)
def test_a_change_is_said_with_its_time(ffmpeg, parts, tmp_path, how, kind):
    """After 24 frames of 25 a second, also where stamps start again; and what to do."""
    path = joined(ffmpeg, how, [parts["plain"], parts[kind]], tmp_path)
    with pytest.raises(MediaError, match=f"{SAID[kind]}.* at 0.96 s"):
        probe_video(ffmpeg, path)
    with pytest.raises(MediaError) as refused:
        open_prepared(ffmpeg, path, pictures=PictureRequest())
    assert refused.value.next_step.startswith("add --changes first")


def digests(ffmpeg, *args: str) -> list[str]:
    """A digest of each frame, by plain ffmpeg."""
    lines = run(ffmpeg, *args, "-fps_mode", "passthrough", "-f", "framemd5", "-").decode().splitlines()
    return [line.rpartition(",")[2] for line in lines if line[:1].isdigit()]


@pytest.mark.parametrize(
    ("how", "kinds"),
    [
        ("bytes of MPEG-TS", ("plain", "small")),
        ("bytes of MPEG-TS", ("plain", "small", "full")),
        ("concat demuxer", ("small", "plain")),
        ("concat demuxer", ("bt709", "plain")),
        ("mkvmerge", ("plain", "full")),
    ],
)
def test_parts_are_made_as_the_first(ffmpeg, parts, tmp_path, how, kinds):
    """Every frame is what plain ffmpeg makes of its part alone: size, range and matrix of the first."""
    path = joined(ffmpeg, how, [parts[kind] for kind in kinds], tmp_path)
    opened = open_prepared(ffmpeg, path, pictures=FIRST)
    reference = opened.reference
    seen = digests(ffmpeg, *reference.input_args, "-i", str(path), "-vf", ",".join(reference.encode_filters()))
    size = KINDS[kinds[0]][0].replace("x", ":")
    matrix = "bt709" if kinds[0] == "bt709" else "smpte170m"
    alike = f"scale={size}:flags=bicubic:out_range=tv:out_color_matrix={matrix}"
    fed = f"{alike},scale=out_range=tv,format=yuv420p"
    each = [digests(ffmpeg, "-i", str(parts[kind]), "-vf", fed) for kind in kinds]
    assert len(seen) == reference.n_frames == 24 * len(kinds)
    assert seen == [one for part in each for one in part]
    assert len(opened.prepared.notes) == len(kinds) - 1
    assert all(note.endswith("made as it begins (--changes first)") for note in opened.prepared.notes)


def test_a_joined_title_is_tuned_and_measured(ffmpeg, parts, tmp_path):
    """All frames are encoded in one size, and VMAF is of all of them."""
    path = joined(ffmpeg, "bytes of MPEG-TS", [parts["plain"], parts["small"]], tmp_path)
    out = tmp_path / "out.mkv"
    asked = TuneRequest(path, "libx264", 70.0, 0.8, trials=0, output=out, verify=True, pictures=FIRST)
    result = tune(ffmpeg, verified(), asked)
    made = probe_video(ffmpeg, out)
    assert (made.width, made.height, made.n_frames) == (192, 108, 48)
    assert result.frame_vmaf is not None
    assert len(result.frame_vmaf) == 48
    scaled = "[1]scale=192:108:flags=bicubic[b];[0][b]concat,settb=1/25,setpts=N[r];[2]settb=1/25,setpts=N[d]"
    log = tmp_path / "plain.json"
    graph = f"{scaled};[d][r]libvmaf=shortest=1:repeatlast=0:log_fmt=json:log_path={log}"
    inputs = [word for path in (parts["plain"], parts["small"], out) for word in ("-i", str(path))]
    run(ffmpeg, *inputs, "-lavfi", graph, "-f", "null", "-")
    plain = json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"]
    assert result.measured_vmaf == pytest.approx(plain, abs=1e-3)


def test_what_cannot_be_made_alike_is_refused(ffmpeg, parts, tmp_path):
    """Bars of several sizes, a part that states less or is limited after full range, and an unknown word."""
    vague = joined(ffmpeg, "concat demuxer", [parts["full"], parts["silent"]], tmp_path)
    with pytest.raises(ConfigError, match="without a range or matrix of its own"):
        open_prepared(ffmpeg, vague, pictures=FIRST)
    back = joined(ffmpeg, "concat demuxer", [parts["full"], parts["plain"]], tmp_path)
    with pytest.raises(ConfigError, match="ffmpeg's decoder goes on in full range"):
        open_prepared(ffmpeg, back, pictures=FIRST)
    path = joined(ffmpeg, "concat demuxer", [parts["plain"], parts["small"]], tmp_path)
    with pytest.raises(ConfigError, match="none of --crop auto"):
        open_prepared(ffmpeg, path, pictures=PictureRequest(changes="first", crop="auto"))
    assert cli.main(["tune", str(path), "--changes", "second"]) == 2


def test_a_large_file_is_looked_at_before_it_is_read(ffmpeg, tmp_path, monkeypatch):
    """A change after 16 of 32 s is said from single pictures; the file's packets are not read."""
    parts = []
    for name, size in (("a", "192x108"), ("b", "160x90")):
        graph = f"testsrc2=size={size}:rate=5"
        parts.append(lavfi(ffmpeg, tmp_path / f"{name}.ts", "-frames:v", "80", "-g", "5", graph=graph))
    path = joined(ffmpeg, "concat demuxer", parts, tmp_path)
    monkeypatch.setattr("vmaf_assay.media.probe.LOOKED_AT_BYTES", 1000)
    monkeypatch.setattr("vmaf_assay.media.probe.read_file", lambda *_, **__: pytest.fail("all of it was read"))
    with pytest.raises(MediaError, match=r"its size changes from 192x108 to 160x90 at about 1[4-9] s"):
        probe_video(ffmpeg, path)
