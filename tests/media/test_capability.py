"""What `assay doctor` finds out about ffmpeg."""

import pytest

from vmaf_assay.media.capability import check_encoder, check_encoders, check_libvmaf, explain
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.process import Completed


def fake_ffmpeg(tmp_path, script: str) -> Ffmpeg:
    """An executable that stands in for an ffmpeg with a fault no real one here has."""
    path = tmp_path / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Ffmpeg(str(path), "fake", "test")


@pytest.mark.ffmpeg
def test_every_encoder_gets_an_answer(ffmpeg):
    """All of the table are tried; x264 works in every build here; what does not work says why."""
    answers = list(check_encoders(ffmpeg))
    assert [answer.name for answer in answers] == list(ENCODERS)
    assert next(answer for answer in answers if answer.name == "libx264").usable
    assert [a.name for a in answers if a.usable == bool(a.detail)] == []


@pytest.mark.ffmpeg
def test_libvmaf_is_tried_with_the_model_in_use(ffmpeg):
    """One frame is really scored, and libvmaf's own version is read from its log."""
    answer = check_libvmaf(ffmpeg)
    assert answer.usable
    assert answer.name == "vmaf_v0.6.1"
    assert answer.detail != ""


def test_absent_encoder_is_named_as_absent(tmp_path):
    """An encoder that is not in the build is not blamed on the option it failed on."""
    fake = fake_ffmpeg(
        tmp_path, 'case "$*" in *-encoders*) echo " V..... libx264 H.264";; *) echo bad >&2; exit 8;; esac'
    )
    absent = check_encoder(fake, ENCODERS["h264_videotoolbox"])
    assert absent.detail.startswith("not in this ffmpeg; it needs macOS")
    assert check_encoder(fake, ENCODERS["libx264"]).detail == "bad"


def test_missing_libvmaf_model_is_not_usable(tmp_path):
    """An ffmpeg that ends well without a libvmaf log has not scored anything."""
    answer = check_libvmaf(fake_ffmpeg(tmp_path, "exit 0"))
    assert not answer.usable
    assert "vmaf.json" in answer.detail


def test_a_libvmaf_that_scores_itself_low_is_not_usable(tmp_path):
    """A frame against itself far below 97 is said, as no real libvmaf here gives it."""
    log = '{"version": "1", "frames": [{"metrics": {"vmaf": 41.0}}]}'
    answer = check_libvmaf(fake_ffmpeg(tmp_path, f"echo '{log}' > vmaf.json"))
    assert not answer.usable
    assert "scores 41.0, not 95 or more" in answer.detail


@pytest.mark.parametrize(
    ("exit_code", "timed_out", "stderr", "reason"),
    [
        (
            218,
            False,
            "[h264_nvenc @ 0x55d01] Cannot load libcuda.so.1\n[vost#0:0/h264_nvenc @ 0x55] Error\n",
            "Cannot load libcuda.so.1",
        ),
        (1, False, "\n[a @ 0x1] [b @ 0x2] Deep cause\n", "Deep cause"),
        (-9, True, "half a line", "did not finish one frame in 30 s"),
        (-9, False, "half a line", "ffmpeg was killed (out of memory?)"),
        (-11, False, "", "ffmpeg exited -11 without a message"),
    ],
)
def test_reason_is_the_first_cause(exit_code, timed_out, stderr, reason):
    """The reason is ffmpeg's first line without its address, and a hang or a silent death says so."""
    assert explain(Completed(("ffmpeg",), exit_code, b"", stderr, timed_out)) == reason
