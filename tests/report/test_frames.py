"""The worst seconds, and the frames shown of them."""

import base64
from fractions import Fraction

import pytest

from tests.conftest import lavfi
from tests.report.documents import tune_document
from vmaf_assay.media import process
from vmaf_assay.report.frames import safe_filters, scene_cuts, thumbnails, worst_seconds
from vmaf_assay.report.page import MAX_PAGE_BYTES, render
from vmaf_assay.report.tune_page import tune_page


def test_the_worst_seconds_are_the_worst():
    """Of 20 seconds the ten of lowest mean are found, in order of time, each with its lowest frame."""
    vmaf = [90.0 - (i // 25) % 7 for i in range(500)]
    vmaf[260] = 10.0
    found = worst_seconds(vmaf, Fraction(25))
    assert len(found) == 10
    assert [s.start_s for s in found] == sorted(s.start_s for s in found)
    means = [sum(vmaf[s : s + 25]) / 25 for s in range(0, 500, 25)]
    assert sorted(round(s.mean_vmaf, 6) for s in found) == sorted(round(m, 6) for m in means)[:10]
    assert [s.frame for s in found if s.start_s == 10.0] == [260]


def test_the_worst_seconds_are_one_a_scene():
    """A scene whose every second is bad gives one of them, its worst; the other scenes are shown too."""
    vmaf = [60.0] * 100 + [90.0] * 50 + [80.0] * 25
    vmaf[60] = 10.0
    found = worst_seconds(vmaf, Fraction(25), [0, 100, 150])
    assert [(second.start_s, second.frame) for second in found] == [(2.0, 60), (4.0, 100), (6.0, 150)]
    assert len(worst_seconds(vmaf, Fraction(25), [0, 100, 150], count=2)) == 2
    assert len(worst_seconds(vmaf, Fraction(25))) == 7


@pytest.mark.ffmpeg
def test_scenes_are_found_where_the_picture_changes(ffmpeg, tmp_path):
    """Three flat pictures of 25 frames each have cuts at 0, 25 and 50; a file of other length has none."""
    graph = "color=black:s=64x64:r=25:d=1[a];color=white:s=64x64:r=25:d=1[b];color=black:s=64x64:r=25:d=1[c];"
    clip = lavfi(ffmpeg, tmp_path / "cuts.mkv", "-c:v", "ffv1", graph=f"{graph}[a][b][c]concat=n=3")
    seen: list[tuple[int, int]] = []
    cuts = scene_cuts(ffmpeg, clip, 75, Fraction(25), lambda _, done, total: seen.append((done, total)))
    assert cuts == [0, 25, 50]
    assert all(done <= total == 75 for done, total in seen)
    assert scene_cuts(ffmpeg, clip, 70, Fraction(25)) is None


@pytest.mark.parametrize("n", [1, 12, 24, 26, 37, 38, 51])
def test_every_frame_belongs_to_one_second(n):
    """Windows cover a clip of any length, without an empty or a tiny one."""
    found = worst_seconds([50.0 + i for i in range(n)], Fraction(25), count=100)
    assert found[0].frame == 0
    assert len(found) == max(1, round(n / 25 + 1e-9))


@pytest.mark.parametrize(
    "filters",
    ["movie=/etc/passwd", "crop=1:1,movie=x", "scale=1:1[a];[a]null", "drawtext=textfile=/etc/passwd", "x"],
)
def test_filters_that_read_files_are_not_run(filters):
    """A document from anywhere cannot make ffmpeg open another file: such frames are left out, and it is said."""
    assert not safe_filters(filters)
    page = tune_page(tune_document(filters=filters, source=__file__, output=__file__), object())
    assert "filters of this encode do more than crop and scale" in render(page)


@pytest.mark.ffmpeg
def test_frames_are_the_frames_asked_for(ffmpeg, tmp_path):
    """Frame n of a clip whose brightness is n: each thumbnail has that brightness, at most 480 px wide.

    The clip: `color=black:size=640x360:rate=25,format=yuv420p,geq=lum='16+N*10':cb=128:cr=128`, 20 frames, ffv1.
    """
    graph = "color=black:size=640x360:rate=25,format=yuv420p,geq=lum='16+N*10':cb=128:cr=128"
    clip = lavfi(ffmpeg, tmp_path / "ramp.mkv", "-frames:v", "20", "-c:v", "ffv1", graph=graph)
    for number, uri in zip([0, 7, 19], thumbnails(ffmpeg, clip, [0, 7, 19]), strict=True):
        kind, _, data = uri.partition(",")
        assert kind == "data:image/jpeg;base64"
        (tmp_path / "one.jpg").write_bytes(base64.b64decode(data))
        argv = [*ffmpeg.base_argv(), "-i", str(tmp_path / "one.jpg"), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
        pixels = process.run(argv).stdout
        assert len(pixels) == 480 * 270
        full_range = number * 10 * 255 / 219
        assert abs(sum(pixels) / len(pixels) - full_range) < 3


@pytest.mark.ffmpeg
def test_frames_stand_side_by_side(ffmpeg, clip, tmp_path):
    """With both files there, each worst second has a pair of pictures, and the page stays under 3 MB."""
    document = tune_document(
        source=str(clip),
        output=str(clip),
        frame_vmaf=[90.0 + i for i in range(12)],
        n_frames=12,
        filters="crop=96:54:0:0",
    )
    html = render(tune_page(document, ffmpeg))
    assert html.count('alt="Source, frame 0, 0.0 s and after, VMAF 90.0"') == 1
    assert html.count("data:image/jpeg;base64,") == 2
    assert len(html.encode()) < MAX_PAGE_BYTES


@pytest.mark.ffmpeg
def test_a_file_that_changed_since_is_said(ffmpeg, clip):
    """Frames that the file no longer has are not replaced by others."""
    document = tune_document(source=str(clip), output=str(clip))
    assert "source or output has changed since" in render(tune_page(document, ffmpeg))
