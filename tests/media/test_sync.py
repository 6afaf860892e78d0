"""A pair out of sync is an error that names the offset; a pair in sync never is."""

import numpy as np
import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import MediaError
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import score_pair
from vmaf_assay.media.sync import Slip, find_slip

N_FRAMES = 60


def _moving(n: int = N_FRAMES, seed: int = 0) -> np.ndarray:
    """A pattern that drifts a little from frame to frame, [n, P]."""
    base = np.random.default_rng(seed).normal(128, 40, 576 + n)
    smooth = np.convolve(base, np.ones(9) / 9, mode="same") * 2 - 128
    return np.stack([smooth[i : i + 576] for i in range(n)]).clip(0, 255).astype(np.uint8)


def _noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, frames.shape)
    return (frames + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0, 1, 5])
@pytest.mark.parametrize("offset", [-7, -1, 1, 2, 30])
def test_a_whole_slip_is_found(offset, sigma):
    """One side starts some frames late: the offset is exact, under noise too."""
    frames = _moving(N_FRAMES + abs(offset))
    reference = frames[:N_FRAMES] if offset > 0 else frames[-offset:]
    distorted = frames[offset:] if offset > 0 else frames[:N_FRAMES]
    slip = find_slip(reference, _noisy(distorted, sigma))
    assert slip is not None
    assert slip.offset == offset


@pytest.mark.parametrize("at", [0, 13, 30, 41])
def test_a_lost_and_a_doubled_frame_are_placed(at):
    """One frame lost in the middle and the count made up at the end: where it happened is found."""
    frames = _moving()
    distorted = np.concatenate([np.delete(frames, at, axis=0), frames[-1:]])
    assert find_slip(frames, distorted) == Slip(1, at)


@pytest.mark.parametrize("sigma", [0, 3, 20, 60])
def test_a_pair_in_step_is_never_called_out_of_step(sigma):
    """Noise of any strength, still pictures and a scene that repeats are in step."""
    frames = _moving()
    still = np.repeat(frames[:1], N_FRAMES, axis=0)
    loop = np.tile(frames[:6], (10, 1))
    for side in (frames, still, loop):
        assert find_slip(side, _noisy(side, sigma)) is None


def test_unequal_lengths_are_searched_too():
    """A side that lacks its first frames is told from one that ends early."""
    frames = _moving()
    assert find_slip(frames, frames[3:]) == Slip(3, 0)
    assert find_slip(frames, frames[:-3]) is None
    assert find_slip(frames[3:], frames) == Slip(-3, 0)


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("null", None),
        ("select='gte(n,1)'", r"n\+1 from frame 0 on"),
        ("tpad=start=3:start_mode=clone", "n-3 from frame"),
        ("select='not(eq(n,20))'", r"n\+1 from frame 20 on"),
    ],
)
def test_real_encodes_out_of_step_are_refused_with_the_offset(ffmpeg, tmp_path, change, said):
    """Encodes that lost or gained frames, with equal counts: an error with the offset, not a low score."""
    graph = "mandelbrot=size=192x108:rate=25:start_scale=1:end_scale=0.2:end_pts=60,format=yuv420p"
    reference = lavfi(ffmpeg, tmp_path / "r.mkv", "-frames:v", "48", "-c:v", "ffv1", graph=graph)
    distorted = lavfi(
        ffmpeg,
        tmp_path / "d.mp4",
        "-vf",
        change.replace(",", "\\,"),
        "-frames:v",
        "48",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        "-crf",
        "32",
        graph=graph,
    )
    info = probe_video(ffmpeg, reference)
    pair = ReferenceInput(reference, info.frame_rate, info.n_frames)
    if said is None:
        assert score_pair(ffmpeg, pair, distorted).pooled_vmaf > 30
        return
    with pytest.raises(MediaError, match=f"out of sync: distorted frame n shows reference frame {said}"):
        score_pair(ffmpeg, pair, distorted)


@pytest.mark.ffmpeg
def test_a_side_that_lacks_a_frame_is_refused_with_both_counts(ffmpeg, clip, tmp_path):
    """Eleven frames against twelve: both counts, and whether what is there is in step."""
    short = lavfi(ffmpeg, tmp_path / "short.mp4", "-frames:v", "11", "-c:v", "libx264", "-crf", "5")
    late = lavfi(
        ffmpeg,
        tmp_path / "late.mp4",
        "-vf",
        "select=gte(n\\,1)",
        "-frames:v",
        "11",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        "-crf",
        "5",
    )
    info = probe_video(ffmpeg, clip)
    reference = ReferenceInput(clip, info.frame_rate, info.n_frames)
    with pytest.raises(
        MediaError, match="11 distorted frames against 12 of the reference; the frames that are there"
    ):
        score_pair(ffmpeg, reference, short)
    with pytest.raises(MediaError, match=r"11 distorted frames against 12 .*reference frame n\+1 from frame 0 on"):
        score_pair(ffmpeg, reference, late)
