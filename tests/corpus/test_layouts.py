"""Published collections are read by their true names, raw files by their geometry."""

import json
import os
from fractions import Fraction

import pytest

from vmaf_assay.corpus.build import build_corpus
from vmaf_assay.corpus.layouts import describe, layout_of
from vmaf_assay.corpus.plan import parse_encoder, plan_cells, references_of
from vmaf_assay.corpus.sources import sources_from_manifest, sources_from_paths
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.raw import geometry_in_name, parse_raw

# Netflix/vmaf, resource/dataset/NFLX_dataset_public.py.
_NETFLIX = (
    "BigBuckBunny_25fps",
    "BirdsInCage_30fps",
    "CrowdRun_25fps",
    "ElFuente1_30fps",
    "ElFuente2_30fps",
    "FoxBird_25fps",
    "OldTownCross_25fps",
    "Seeking_25fps",
    "Tennis_24fps",
)


def _raw(ffmpeg, path, size: str, pix_fmt: str, n_frames: int):
    """`ffmpeg -f lavfi -i testsrc2=size=SIZE:rate=25 -frames:v N -pix_fmt P -f rawvideo FILE`."""
    path.parent.mkdir(exist_ok=True)
    argv = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-frames:v", str(n_frames), "-pix_fmt", pix_fmt]
    done = process.run([*ffmpeg.base_argv(), *argv, "-f", "rawvideo", str(path)])
    assert done.exit_code == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def netflix(ffmpeg, tmp_path_factory):
    """The nine references under their true names, two 1920x1080 frames each, and two finished encodes."""
    folder = tmp_path_factory.mktemp("NFLX_dataset_public")
    first = _raw(ffmpeg, folder / "ref" / f"{_NETFLIX[0]}.yuv", "1920x1080", "yuv420p", 2)
    for name in _NETFLIX[1:]:
        (folder / "ref" / f"{name}.yuv").write_bytes(first.read_bytes())
    (folder / "dis").mkdir()
    for name in ("BigBuckBunny_20_288_375", "Tennis_50_540_1300"):
        (folder / "dis" / f"{name}.yuv").write_bytes(b"")
    return folder


@pytest.mark.ffmpeg
def test_netflix_public(ffmpeg, netflix):
    """Nine sources of eight groups, the rate from the name, 1920x1080; `dis/` is left out and that is said."""
    assert layout_of(netflix) == layout_of(netflix / "ref") == "netflix"
    sources = sources_from_paths([netflix])
    assert tuple(source.name for source in sources) == _NETFLIX
    assert {source.group for source in sources if "ElFuente" in source.name} == {"ElFuente"}
    assert len({source.group for source in sources}) == 8
    assert "dis/ is not used (2 finished encodes)" in describe(netflix)
    for source in (sources[1], sources[8]):
        (made,) = references_of(ffmpeg, source, sizes=[None], max_frames=None)
        assert made.size == (1920, 1080)
        assert made.expected_frames == 2
        assert made.frame_rate == (30 if source.name == "BirdsInCage_30fps" else 24)


@pytest.mark.ffmpeg
def test_bvi_dvc(ffmpeg, tmp_path):
    """Size, rate and bits from the name; four sizes of a scene and two scenes of a shoot are one group."""
    names = (
        "ABookcaseBVITexture_3840x2176_120fps_10bit_420",
        "BBookcaseBVITexture_1920x1088_120fps_10bit_420",
        "CBookcaseBVITexture_960x544_120fps_10bit_420",
        "DBookcaseBVITexture_480x272_120fps_10bit_420",
        "DBasketballS1YonseiUniversity_480x272_30fps_10bit_420",
        "DBasketballS2YonseiUniversity_480x272_30fps_10bit_420",
        "DChristmasRoomDareful_480x272_29fps_10bit_420",
        "DDollsScene1YonseiUniversity_480x272_30fps_10bit_420",
    )
    for name in names:
        size = name.split("_")[1]
        _raw(ffmpeg, tmp_path / f"{name}.yuv", size, "yuv420p10le", 2)
    assert layout_of(tmp_path) == "bvi-dvc"
    sources = {source.name: source for source in sources_from_paths([tmp_path])}
    groups = {name: sources[name].group for name in names}
    assert {groups[name] for name in names[:4]} == {"BookcaseBVITexture"}
    assert {groups[name] for name in names[4:6]} == {"BasketballYonseiUniversity"}
    assert groups[names[7]] == "DollsYonseiUniversity"
    (made,) = references_of(ffmpeg, sources[names[6]], sizes=[None], max_frames=None)
    assert (made.size, made.frame_rate, made.expected_frames) == ((480, 272), Fraction(30000, 1001), 2)
    assert made.conversions == ("10 bit are rounded to 8: the encode and the score are of 8-bit video",)


@pytest.mark.ffmpeg
def test_raw_video_gives_the_corpus_of_the_same_pictures_in_a_container(ffmpeg, tmp_path):
    """The same frames as raw video with --raw and as lossless video with a header: the same scores."""
    raw = _raw(ffmpeg, tmp_path / "a.yuv", "192x108", "yuv420p", 6)
    boxed = tmp_path / "b.y4m"
    argv = ["-f", "rawvideo", "-s", "192x108", "-pix_fmt", "yuv420p", "-r", "25", "-i", str(raw), str(boxed)]
    assert process.run([*ffmpeg.base_argv(), *argv]).exit_code == 0
    versions = tool_versions(ffmpeg, ["libx264"])
    scores = []
    for path, geometry in ((raw, parse_raw("192x108:yuv420p:25")), (boxed, None)):
        (source,) = sources_from_paths([path], raw=geometry)
        made = references_of(ffmpeg, source, sizes=[None], max_frames=None)
        cells = plan_cells(made, [parse_encoder("libx264:ultrafast:30", None)], versions)
        list(build_corpus(ffmpeg, cells, tmp_path / f"corpus-{path.suffix[1:]}", versions, jobs=1))
        scores.append(load_corpus(tmp_path / f"corpus-{path.suffix[1:]}").frames["vmaf"].to_list())
    assert scores[0] == scores[1]
    assert len(scores[0]) == 6


@pytest.mark.ffmpeg
def test_a_wrong_geometry_is_refused(ffmpeg, tmp_path):
    """A raw file that is no whole number of frames is not read askew."""
    raw = _raw(ffmpeg, tmp_path / "a.yuv", "192x108", "yuv420p", 6)
    (source,) = sources_from_paths([raw], raw=parse_raw("192x110:yuv420p:25"))
    with pytest.raises(MediaError, match=r"5\.89 frames of 192x110 yuv420p"):
        references_of(ffmpeg, source, sizes=[None], max_frames=None)


def test_raw_of_unknown_geometry_is_refused(tmp_path):
    """A `.yuv` whose name says nothing, alone, in a folder or in a manifest, needs --raw or a field."""
    (tmp_path / "a.yuv").write_bytes(b"0")
    document = {"schema_version": 1, "sources": [{"source": "a", "file": "a.yuv"}]}
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="name does not say its size"):
        sources_from_paths([tmp_path / "a.yuv"])
    with pytest.raises(ConfigError, match="name does not say its size"):
        sources_from_paths([tmp_path])
    with pytest.raises(ConfigError, match="is raw video"):
        sources_from_manifest(tmp_path / "m.json")
    document["sources"][0]["raw"] = "64x64:yuv420p:25"
    (tmp_path / "m.json").write_text(json.dumps(document))
    (source,) = sources_from_manifest(tmp_path / "m.json")
    assert source.raw == parse_raw("64x64:yuv420p:25")


def test_a_glob_and_a_mixed_folder(tmp_path):
    """A pattern that the shell left alone is matched here; a folder of several layouts is a plain one."""
    for name in ("a.mkv", "b.mkv", "c.mp4", "DFireS18Mitch_480x272_24fps_10bit_420.yuv"):
        (tmp_path / name).write_bytes(b"0")
    assert [source.name for source in sources_from_paths([tmp_path / "*.mkv"])] == ["a", "b"]
    assert layout_of(tmp_path) == "folder"
    with pytest.raises(MediaError, match="no such file"):
        sources_from_paths([tmp_path / "*.webm"])
    with pytest.raises(ConfigError, match="is not named as ATitle"):
        sources_from_paths([tmp_path], layout="bvi-dvc")


@pytest.mark.parametrize(
    ("name", "pix_fmt", "rate"),
    [
        ("Beauty_3840x2160_120fps_420_8bit_YUV", "yuv420p", Fraction(120)),
        ("Kimono1_1920x1080_24", "yuv420p", Fraction(24)),
        ("ABoatsChaoPhrayaRiverVidevo_3840x2176_23fps_10bit_420", "yuv420p10le", Fraction(24000, 1001)),
        ("Chimera-ep01_3840x2160_2997fps_10bit_422", "yuv422p10le", Fraction(30000, 1001)),
        ("BigBuckBunny_25fps", None, None),
        ("news_qcif", None, None),
    ],
)
def test_geometry_of_published_names(name, pix_fmt, rate):
    """Names of published sequences give their geometry, or none."""
    geometry = geometry_in_name(name)
    assert (geometry and geometry.pix_fmt, geometry and geometry.frame_rate) == (pix_fmt, rate)


@pytest.mark.parametrize(
    "text", ["", "1920x1080", "0x10:yuv420p:25", "64x64:yuv420p:0", "64x64:yuv420p:1/0", "64x64:mp4:25"]
)
def test_bad_raw_geometry_is_refused(text):
    """Each wrong form is one clear error."""
    with pytest.raises(ConfigError):
        parse_raw(text)


def test_a_name_that_is_not_utf8_is_spelled(tmp_path):
    """A source whose name is not UTF-8 has a name and a group that any document holds; a pipe is named as one."""
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.touch()
    (source,) = sources_from_paths([tmp_path])
    assert (source.name, source.group, source.path) == ("caf\\xe9", "caf\\xe9", path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(MediaError, match="is a pipe; a source is read several times"):
        sources_from_paths([tmp_path / "pipe.mp4"])
