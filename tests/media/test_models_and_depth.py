"""Several VMAF models in one pass, 10-bit encodes, and what packets say, against plain ffmpeg and libvmaf."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.commands import encoder_args
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.records import METRICS, v1_model

pytestmark = pytest.mark.ffmpeg

N = 6
V1, PHONE = v1_model("3d0h", 25), v1_model("5d0h", 25)
GRAPH = "mandelbrot=size=480x270:rate=25:start_scale=0.2"


@pytest.fixture(scope="module")
def deep(ffmpeg, tmp_path_factory):
    """A true 10-bit 4:2:0 clip."""
    path = tmp_path_factory.mktemp("deep") / "deep.mkv"
    filters = ("-vf", "format=gbrp16le,scale=480:270,format=yuv420p10le")
    return lavfi(ffmpeg, path, *filters, "-frames:v", str(N), "-c:v", "ffv1", graph=GRAPH)


def plain(ffmpeg, folder, encode, reference, pix_fmt, *models) -> list[dict[str, float]]:
    """Per-frame metrics by a libvmaf call of each model alone, both sides in one pixel format."""
    found: list[dict[str, float]] = [{} for _ in range(N)]
    for model in models:
        side = f"settb=1/25,setpts=N,format={pix_fmt}"
        graph = f"[0:v]{side}[d];[1:v]{side}[r];[d][r]libvmaf=model=version={model}:log_fmt=json:log_path=log.json"
        argv = [*ffmpeg.base_argv(), "-i", str(encode), "-i", str(reference), "-lavfi", graph, "-f", "null", "-"]
        assert process.run(argv, cwd=folder).exit_code == 0
        for at, frame in enumerate(json.loads((folder / "log.json").read_text())["frames"]):
            found[at][model] = frame["metrics"]["vmaf"]
    return found


def raw(ffmpeg, path) -> bytes:
    """A clip's samples."""
    return process.run([*ffmpeg.base_argv(), "-i", str(path), "-f", "rawvideo", "-"]).stdout


def encoded(ffmpeg, folder, source, info, preset, rate):
    """An encode of the source as it is, by ffmpeg alone."""
    out = folder / "out.mkv"
    argv = [*ffmpeg.base_argv(), "-i", str(source), *encoder_args(info, preset, rate), str(out)]
    assert process.run(argv).exit_code == 0
    return out


def test_models_in_one_pass_score_as_each_alone(ffmpeg, deep, tmp_path):
    """No model's score depends on the models beside it; the first is the score, the others are named."""
    info = encoder_info("libx264").with_pix_fmt("yuv420p10le")
    reference = ReferenceInput(deep, Fraction(25), N, (480, 270), pix_fmt="yuv420p10le")
    scored = encode_and_score(ffmpeg, reference, info, "ultrafast", 35, models=("vmaf_v0.6.1", V1, PHONE))
    encode = encoded(ffmpeg, tmp_path, deep, info, "ultrafast", 35)
    alone = plain(ffmpeg, tmp_path, encode, deep, "yuv420p10le", "vmaf_v0.6.1", V1, PHONE)
    assert scored.vmaf == pytest.approx([one["vmaf_v0.6.1"] for one in alone], abs=1e-4)
    for model in (V1, PHONE):
        assert scored.more[model] == pytest.approx([one[model] for one in alone], abs=1e-4)
    assert 0 < scored.more["v1_adm3"].mean() < 1


def test_an_encode_is_not_rounded_for_the_comparison(ffmpeg, tmp_path):
    """A 10-bit encode of a gradient is compared at 10 bits. Rounded to 8 it would lose half a point or more."""
    graph = "gradients=size=480x270:rate=25:c0=0x101018:c1=0x303848:nb_colors=2:seed=3:speed=0.02"
    filters = ("-vf", "format=gbrp16le,gblur=2,scale=480:270,format=yuv420p10le")
    deep = lavfi(ffmpeg, tmp_path / "deep.mkv", *filters, "-frames:v", str(N), "-c:v", "ffv1", graph=graph)
    info = encoder_info("libx265").with_pix_fmt("yuv420p10le")
    reference = ReferenceInput(deep, Fraction(25), N, (480, 270), pix_fmt="yuv420p10le")
    scored = encode_and_score(ffmpeg, reference, info, "ultrafast", 12, models=("vmaf_v0.6.1", V1))
    encode = encoded(ffmpeg, tmp_path, deep, info, "ultrafast", 12)
    for model, score, cost in (("vmaf_v0.6.1", scored.vmaf, 0.5), (V1, scored.more[V1], 1.0)):
        deeper, rounded = (
            [one[model] for one in plain(ffmpeg, tmp_path, encode, deep, pix_fmt, model)]
            for pix_fmt in ("yuv420p10le", "yuv420p")
        )
        assert score == pytest.approx(deeper, abs=1e-4)
        assert np.mean(deeper) - np.mean(rounded) > cost


def test_an_8_bit_source_of_a_10_bit_encode_is_shifted(ffmpeg, deep, tmp_path):
    """The source is not dithered on its way to the comparison: 8-bit samples times four."""
    eight = tmp_path / "eight.mkv"
    argv = [*ffmpeg.base_argv(), "-i", str(deep), "-vf", "format=yuv420p", "-c:v", "ffv1", str(eight)]
    assert process.run(argv).exit_code == 0
    info = encoder_info("libx265").with_pix_fmt("yuv420p10le")
    reference = ReferenceInput(eight, Fraction(25), N, (480, 270), compared_pix_fmt="yuv420p10le")
    scored = encode_and_score(ffmpeg, reference, info, "ultrafast", 12)
    encode = encoded(ffmpeg, tmp_path, eight, info, "ultrafast", 12)
    samples = (np.frombuffer(raw(ffmpeg, eight), "u1").astype("<u2") * 4).tobytes()
    (tmp_path / "shifted.yuv").write_bytes(samples)
    shifted = tmp_path / "shifted.mkv"
    geometry = ["-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", "480x270", "-r", "25"]
    argv = [*ffmpeg.base_argv(), *geometry, "-i", str(tmp_path / "shifted.yuv"), "-c:v", "ffv1", str(shifted)]
    assert process.run(argv).exit_code == 0
    by_hand = plain(ffmpeg, tmp_path, encode, shifted, "yuv420p10le", "vmaf_v0.6.1")
    assert scored.vmaf == pytest.approx([one["vmaf_v0.6.1"] for one in by_hand], abs=1e-4)


@pytest.mark.parametrize("name", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_packets_have_bytes_types_and_quantisers(ffmpeg, deep, name):
    """The first frame is an I frame and the largest; every frame has a type, and a quantiser where stated."""
    info = encoder_info(name)
    reference = ReferenceInput(deep, Fraction(25), N, (480, 270))
    scored = encode_and_score(ffmpeg, reference, info, info.presets[-1], 40)
    more = scored.more
    assert more["frame_bytes"].sum() == scored.bytes
    assert more["frame_bytes"].argmax() == 0
    assert more["frame_type"][0] == 1
    assert set(more["frame_type"].tolist()) <= {1.0, 2.0, 3.0}
    assert more["frame_q"][0] > 0
    assert (more["frame_q"] >= 0).all()


@pytest.mark.parametrize("model", [V1, PHONE])
def test_pictures_smaller_than_a_model_takes_are_refused(ffmpeg, deep, model):
    """Libvmaf ends without a message there; ours names the model, the least size and this one."""
    least = METRICS[model].least_size[0]
    info, reference = encoder_info("libx264"), ReferenceInput(deep, Fraction(25), N, (480, least - 2))
    with pytest.raises(MediaError, match=f"{model} needs sides of {least} px or more"):
        encode_and_score(ffmpeg, reference, info, "ultrafast", 30, models=("vmaf_v0.6.1", model))
    fits = replace(reference, size=(480, least))
    assert model in encode_and_score(ffmpeg, fits, info, "ultrafast", 30, models=("vmaf_v0.6.1", model)).more


def test_a_pixel_format_that_the_table_does_not_have_is_refused():
    """The error lists what the encoder takes."""
    with pytest.raises(ConfigError, match="choose one of yuv420p, yuv420p10le"):
        encoder_info("libsvtav1").with_pix_fmt("yuv444p")
