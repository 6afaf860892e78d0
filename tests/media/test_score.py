"""One process that encodes, decodes and scores gives what three steps through disk give."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from vmaf_assay.errors import MediaError, ToolError
from vmaf_assay.media import process
from vmaf_assay.media.commands import encoder_args
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import FLUSH_TRIES, encode_and_score, score_pair

pytestmark = pytest.mark.ffmpeg


def _reference(clip) -> ReferenceInput:
    return ReferenceInput(clip, Fraction(25), 12)


@pytest.mark.parametrize("name", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "libaom-av1", "libvvenc"])
def test_every_software_encoder_scores_all_frames(ffmpeg, clip, name):
    """Each encodes every frame once, at a size that is counted, with a score worth having."""
    info = encoder_info(name)
    middle = round((info.rate_min + info.rate_max) / 2)
    scored = encode_and_score(ffmpeg, _reference(clip), info, info.presets[-1], middle)
    assert scored.vmaf.shape == (12,)
    assert scored.features.shape == (12, 6)
    assert scored.bytes > 0
    assert scored.kbps == pytest.approx(scored.bytes * 8 / (12 / 25) / 1000)
    assert 20 < scored.pooled_vmaf <= 100


def test_every_third_frame_is_scored_as_among_all(ffmpeg, clip):
    """Scores, motion among them, are those of the same frames when all are scored; sizes are of every frame."""
    info = encoder_info("libx264")
    whole, some = (encode_and_score(ffmpeg, _reference(clip), info, "medium", 35, every=every) for every in (1, 3))
    np.testing.assert_array_equal(some.vmaf, whole.vmaf[::3])
    np.testing.assert_array_equal(some.features, whole.features[::3])
    np.testing.assert_array_equal(some.frame_bytes, whole.frame_bytes)
    assert (some.n_frames, some.bytes, some.kbps) == (12, whole.bytes, whole.kbps)
    assert some.bytes_of_scored == pytest.approx(whole.bytes / 3)
    part, same = some.part(4, 7, Fraction(25)), whole.part(4, 7, Fraction(25))
    np.testing.assert_array_equal(part.vmaf, whole.vmaf[[6, 9]])
    assert (part.n_frames, part.bytes) == (7, same.bytes)


def test_one_process_equals_three_steps_through_disk(ffmpeg, clip, tmp_path):
    """Encode to a Matroska file, decode to Y4M, score with a plain libvmaf call: the same per-frame VMAF.

    The three steps are written here by hand, without the package's graph.
    """
    info = encoder_info("libx264")
    scored = encode_and_score(ffmpeg, _reference(clip), info, "medium", 35)
    encode, decoded, reference = tmp_path / "e.mkv", tmp_path / "d.y4m", tmp_path / "r.y4m"
    for argv in (
        ["-i", str(clip), *encoder_args(info, "medium", 35), str(encode)],
        ["-i", str(encode), "-fps_mode", "passthrough", str(decoded)],
        ["-i", str(clip), "-fps_mode", "passthrough", str(reference)],
        [
            "-r",
            "25",
            "-i",
            str(decoded),
            "-r",
            "25",
            "-i",
            str(reference),
            "-lavfi",
            "libvmaf=log_fmt=json:log_path=log.json",
            "-f",
            "null",
            "-",
        ],
    ):
        done = process.run([*ffmpeg.base_argv(), *argv], cwd=tmp_path)
        assert done.exit_code == 0, done.stderr
    log = json.loads((tmp_path / "log.json").read_text())
    np.testing.assert_allclose(scored.vmaf, [frame["metrics"]["vmaf"] for frame in log["frames"]], atol=2e-5)


def _losing(ffmpeg, tmp_path, times: int, how: str) -> Ffmpeg:
    """The real ffmpeg, but its first `times` encodes lose frames: a race in its libvvenc that no test can win."""
    path, count = tmp_path / "ffmpeg", tmp_path / "count"
    path.write_text(
        f"#!/bin/sh\necho x >> {count}\nn=$(wc -l < {count})\n"
        f'if [ "$n" -le {times} ]; then {how}; fi\nexec {ffmpeg.path} "$@"\n'
    )
    path.chmod(0o755)
    return Ffmpeg(str(path), ffmpeg.version, "test")


LOST_ALL = "echo '[ @ 0x1] Cannot initialize a standalone decoder' >&2; exit 234"
LOST_LAST = "%s \"$@\" || exit; sed -i '$d' packets.txt; exit 0"


@pytest.mark.parametrize("how", [LOST_ALL, LOST_LAST], ids=["all", "last"])
def test_an_encoder_that_kept_frames_back_is_asked_again(ffmpeg, clip, tmp_path, how):
    """Two encodes without all their frames, then a whole one: the scores of the whole one."""
    info = encoder_info("libx264")
    how = how % ffmpeg.path if "%s" in how else how
    scored = encode_and_score(_losing(ffmpeg, tmp_path, 2, how), _reference(clip), info, "medium", 35)
    assert len((tmp_path / "count").read_text().splitlines()) == 3
    undisturbed = encode_and_score(ffmpeg, _reference(clip), info, "medium", 35)
    np.testing.assert_array_equal(scored.vmaf, undisturbed.vmaf)
    assert scored.bytes == undisturbed.bytes


@pytest.mark.parametrize(
    ("how", "says"), [(LOST_ALL, "standalone decoder"), (LOST_LAST, "11 packets for 12 frames")]
)
def test_an_encoder_that_always_keeps_frames_back_is_an_error(ffmpeg, clip, tmp_path, how, says):
    """After `FLUSH_TRIES` encodes, with ffmpeg's words."""
    how = how % ffmpeg.path if "%s" in how else how
    with pytest.raises(ToolError, match=says) as raised:
        encode_and_score(
            _losing(ffmpeg, tmp_path, 99, how), _reference(clip), encoder_info("libx264"), "medium", 35
        )
    assert len((tmp_path / "count").read_text().splitlines()) == FLUSH_TRIES
    assert ("try on an idle machine" in str(raised.value)) == (how == LOST_ALL)


def test_reference_against_itself_scores_near_the_top(ffmpeg, clip):
    """A pair in sync is at least 97; one frame out of sync is not."""
    scored = score_pair(ffmpeg, _reference(clip), clip)
    assert scored.pooled_vmaf > 97


def test_another_number_of_frames_is_an_error_not_a_score(ffmpeg, clip):
    """A source that gives fewer frames than it should is refused with both counts."""
    with pytest.raises(MediaError, match="12 frames on both sides, where the source has 13"):
        encode_and_score(ffmpeg, replace(_reference(clip), n_frames=13), encoder_info("libx264"), "ultrafast", 30)


def test_single_thread_encodes_repeat_to_the_bit(ffmpeg, clip):
    """The same cell twice has the same rows and the same size."""
    first, second = (
        encode_and_score(ffmpeg, _reference(clip), encoder_info("libsvtav1"), "12", 40) for _ in range(2)
    )
    assert first.bytes == second.bytes
    assert np.array_equal(first.vmaf, second.vmaf)
    assert np.array_equal(first.features, second.features)


@pytest.mark.parametrize("name", ["libx264", "libx265", "libsvtav1"])
@pytest.mark.parametrize(
    "layout", [("-x264-params", "frame-packing=3"), ("-metadata:s:v:0", "stereo_mode=left_right")]
)
def test_3d_video_is_scored(ffmpeg, clip, tmp_path, layout, name):
    """A picture for each eye, said by the stream or by the container, is scored like any other."""
    argv = ["-i", str(clip), "-c:v", "libx264", "-crf", "10", *layout, str(tmp_path / "both.mkv")]
    assert process.run([*ffmpeg.base_argv(), *argv]).exit_code == 0
    reference = ReferenceInput(tmp_path / "both.mkv", Fraction(25), 12)
    info = encoder_info(name)
    assert encode_and_score(ffmpeg, reference, info, info.presets[-1], 30).pooled_vmaf > 50


@pytest.mark.parametrize(("size", "matrix"), [("1280x720", "bt709"), ("640x360", "bt470bg")])
def test_rgb_becomes_yuv_by_the_matrix_of_its_size(ffmpeg, tmp_path, size, matrix):
    """The encode says which matrix, and pure green has the luma of that matrix: 173 of BT.709, 145 of BT.601.

    Y = 16 + 219 * Kg, with Kg 0.7152 (BT.709) and 0.587 (BT.601).
    """
    from vmaf_assay.media.commands import final_encode
    from vmaf_assay.media.probe import probe_video
    from vmaf_assay.media.reference import rgb_matrix

    width, height = map(int, size.split("x"))
    source, out = tmp_path / "rgb.mkv", tmp_path / "out.mkv"
    green = ["-f", "lavfi", "-i", f"color=0x00ff00:size={size}:rate=25,format=gbrp", "-frames:v", "3"]
    assert process.run([*ffmpeg.base_argv(), *green, "-c:v", "ffv1", str(source)]).exit_code == 0
    reference = ReferenceInput(source, Fraction(25), 3, (width, height), rgb_matrix=rgb_matrix(width, height))
    command = final_encode(reference, encoder_info("libx264"), "ultrafast", 10, streams=["-map", "0:v:0"])
    assert process.run(command.argv(ffmpeg, source=source, output=out)).exit_code == 0
    assert probe_video(ffmpeg, out).color_space == matrix
    raw = process.run([*ffmpeg.base_argv(), "-i", str(out), "-frames:v", "1", "-f", "rawvideo", "-"]).stdout
    luma = np.frombuffer(raw, np.uint8)[: width * height].mean()
    assert luma == pytest.approx(16 + 219 * (0.7152 if matrix == "bt709" else 0.587), abs=1)
