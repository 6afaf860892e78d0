"""HDR by scene: scored on its coded values, by the model named."""

import json
import re

import pytest

import vmaf_assay as va
from tests.conftest import lavfi
from vmaf_assay.media import process
from vmaf_assay.media.probe import probe_video

pytestmark = pytest.mark.ffmpeg

_PQ = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"


def test_hdr_by_scene_is_measured_as_plain_ffmpeg_measures(ffmpeg, tmp_path):
    """The output stays PQ in 10 bits; its mean is libvmaf's of the file against the source in 10 bits."""
    each = ("testsrc2=size=192x108:rate=25", "mandelbrot=size=192x108:rate=25")
    parts = ";".join(f"{one},trim=end_frame=30,format=yuv420p10le[v{i}]" for i, one in enumerate(each))
    path, out = tmp_path / "pq.mkv", tmp_path / "out.mkv"
    lavfi(ffmpeg, path, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", graph=f"{parts};[v0][v1]concat,{_PQ}")
    notes: list[str] = []
    result = va.tune_scenes(path, "libx265:ultrafast", target_vmaf=85, output=out, on_note=notes.append)
    made = probe_video(ffmpeg, out)
    assert (made.hdr, made.pix_fmt, made.n_frames) == ("HDR10 (PQ)", "yuv420p10le", 60)
    assert (result.vmaf_model, result.bit_depth) == ("vmaf_v0.6.1", 10)
    assert any("vmaf_v0.6.1 scores its coded values" in note for note in notes)
    assert len(result.scenes) == 2
    sides = ";".join(
        f"[{i}]settb=1/25,setpts=N,format=yuv420p10le,setsar=1[{name}]" for i, name in enumerate("dr")
    )
    log = tmp_path / "plain.json"
    graph = f"{sides};[d][r]libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path={log}"
    done = process.run([ffmpeg.path, "-i", str(out), "-i", str(path), "-lavfi", graph, "-f", "null", "-"])
    assert done.exit_code == 0, re.sub(r"\\s+", " ", done.stderr)[-300:]
    plain = json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"]
    assert result.measured_vmaf == pytest.approx(plain, abs=1e-3)
