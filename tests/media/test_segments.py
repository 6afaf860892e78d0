"""Scene cuts and segments of real files: found and cut to the frame."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import MediaError
from vmaf_assay.media import process
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.parts import list_parts
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.segments import Cuttings, Look, Span, look, merged

SIZE = (160, 90)

SCENES = (
    "testsrc2=size=160x90:rate=25[a];mandelbrot=size=160x90:rate=25:maxiter=100,format=yuv420p[b];"
    "smptebars=size=160x90:rate=25,noise=alls=8:allf=t[c];"
    "[a]trim=end_frame=40,format=yuv420p[d];[b]trim=end_frame=31[e];[c]trim=end_frame=50,format=yuv420p[f];"
    "[d][e][f]concat=n=3"
)


@pytest.fixture(scope="module")
def title(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i SCENES -c:v libx264 -crf 8 -bf 3 -g 300 -output_ts_offset 1.3 title.mp4`: 40, 31, 50 frames."""
    path = tmp_path_factory.mktemp("segments") / "title.mp4"
    return lavfi(
        ffmpeg,
        path,
        "-c:v",
        "libx264",
        "-crf",
        "8",
        "-bf",
        "3",
        "-g",
        "300",
        "-pix_fmt",
        "yuv420p",
        "-output_ts_offset",
        "1.3",
        graph=SCENES,
    )


def frames(ffmpeg, reference: ReferenceInput) -> np.ndarray:
    """Every frame as the encoder sees it, decoded to raw, [F, P]."""
    chain = ",".join(reference.encode_filters())
    argv = [*ffmpeg.base_argv(), "-i", str(reference.path), "-map", "0:v:0", "-vf", chain]
    argv += ["-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    done = process.run(argv)
    assert done.exit_code == 0, done.stderr
    width, height = reference.size
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, width * height * 3 // 2)


@pytest.mark.ffmpeg
def test_cuts_are_found_to_the_frame(ffmpeg, title, tmp_path):
    """The scenes begin at frames 0, 40 and 71, and nothing is left of the small pictures."""
    seen = look(ffmpeg, ReferenceInput(title, Fraction(25), 121, SIZE), tmp_path)
    assert seen.cuts() == [0, 40, 71]
    assert len(seen.detail) == len(seen.change) == 121
    assert seen.change[0] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffmpeg
def test_a_wrong_count_is_refused(ffmpeg, title, tmp_path):
    """A title that gives other frames than were counted is no basis for segments by number."""
    with pytest.raises(MediaError, match="gives 121 frames, but 120 were counted"):
        look(ffmpeg, ReferenceInput(title, Fraction(25), 120, SIZE), tmp_path)


def test_no_cut_in_motion_or_flicker():
    """Steady change and a flicker of every frame are no cuts; one jump among them is."""
    steady = np.full(100, 15.0, np.float32)
    flicker = np.where(np.arange(100) % 2, 20.0, 2.0).astype(np.float32)
    for change in (steady, flicker):
        assert Look(np.ones(100, np.float32), change).cuts() == [0]
    steady[60] = 60.0
    assert Look(np.ones(100, np.float32), steady).cuts() == [0, 60]


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("filters", "unfiltered"),
    [("", None), ("hflip,scale=128:72", None), ("scale=128:72", (160, 90))],
    ids=["plain", "filtered", "against the source"],
)
def test_segments_are_the_titles_frames(ffmpeg, title, tmp_path, filters, unfiltered):
    """Segments that overlap, touch and end with the title hold exactly its frames, filtered once."""
    size = (128, 72) if filters else SIZE
    whole = ReferenceInput(title, Fraction(25), 121, size, user_filters=filters, unfiltered_size=unfiltered)
    spans = [Span(90, 121), Span(3, 20), Span(15, 30), Span(41, 50), Span(50, 52)]
    cuttings = Cuttings(whole, spans, tmp_path)
    cuttings.cut(ffmpeg)
    expected = frames(ffmpeg, whole)
    assert len(expected) == 121
    for span in [*spans, Span(18, 27)]:
        made = cuttings.reference(span)
        assert made.n_frames == span.last - span.first
        np.testing.assert_array_equal(frames(ffmpeg, made), expected[span.first : span.last])


@pytest.mark.ffmpeg
def test_full_range_survives_the_cut(ffmpeg, tmp_path):
    """A full-range source is brought to limited range once, not twice and not never."""
    path = lavfi(
        ffmpeg,
        tmp_path / "full.mkv",
        "-frames:v",
        "20",
        "-vf",
        "scale=out_range=pc,format=yuvj420p",
        "-c:v",
        "ffv1",
    )
    whole = ReferenceInput(path, Fraction(25), 20, (192, 108))
    (tmp_path / "cut").mkdir()
    cuttings = Cuttings(whole, [Span(5, 12)], tmp_path / "cut")
    cuttings.cut(ffmpeg)
    np.testing.assert_array_equal(frames(ffmpeg, cuttings.reference(Span(5, 12))), frames(ffmpeg, whole)[5:12])


@pytest.mark.ffmpeg
def test_a_scored_segment_is_a_part(ffmpeg, title, tmp_path):
    """Of an encode with warm-up only the frames asked for are kept, their bytes too; the rest is as it was."""
    whole = ReferenceInput(title, Fraction(25), 121, SIZE)
    cuttings = Cuttings(whole, [Span(30, 60)], tmp_path)
    cuttings.cut(ffmpeg)
    scored = encode_and_score(ffmpeg, cuttings.reference(Span(30, 60)), ENCODERS["libx264"], "medium", 30.0)
    assert scored.frame_bytes.sum() == scored.bytes
    part = scored.part(10, 12, Fraction(25))
    np.testing.assert_array_equal(part.vmaf, scored.vmaf[10:22])
    np.testing.assert_array_equal(part.features, scored.features[10:22])
    assert part.n_frames == 12
    assert part.bytes == scored.frame_bytes[10:22].sum()
    assert part.kbps == pytest.approx(part.bytes * 8 / (12 / 25) / 1000)
    # Frame 40 begins a scene: in display order its key frame is the largest packet but the first.
    assert int(np.argmax(scored.frame_bytes[1:])) + 1 == 10


def test_merging():
    """Spans that only touch are joined, so that no frame is decoded twice."""
    assert merged([Span(5, 9), Span(0, 5), Span(20, 21)]) == [Span(0, 9), Span(20, 21)]


def test_a_list_of_parts_takes_every_folder(tmp_path):
    """Parts are named from the list's own folder: no line break or quote of a folder's name is in it."""
    folder = tmp_path / os.fsdecode(b"it's a\nnew \xe9")
    listed = list_parts([(folder / "parts" / "o'1.mkv", 5)], Fraction(25), folder / "list")
    assert listed.splitlines()[1:] == [b"file '../parts/o'\\''1.mkv'", b"duration 0.200000"]
