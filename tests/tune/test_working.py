"""The pixels that are encoded and compared: bits, chroma, range, HDR and size, against plain ffmpeg."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.probe import probe_video
from vmaf_assay.records import MEAN_VMAF
from vmaf_assay.tune.pictures import PictureRequest
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.source import fed, open_prepared, settle

pytestmark = pytest.mark.ffmpeg

_NOISY = "testsrc2=size=192x108:rate=25,noise=alls=12:allf=t"
_PQ = "color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"
_MASTERING = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,200"
    ":colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none"
)


def _clip(ffmpeg, path: Path, *args: str, graph: str = _NOISY) -> Path:
    return lavfi(ffmpeg, path, "-frames:v", "10", *args, graph=graph)


def _in_format(ffmpeg, path: Path, pixels: str) -> Path:
    """A lossless clip of a pixel format; `full` is 4:2:0 of full range, which FFV1 has no name for."""
    codec = "png" if pixels == "pal8" else "ffv1"
    if pixels == "full":
        full = ("-vf", "scale=out_range=pc,format=yuv420p,setparams=range=pc", "-color_range", "pc")
        return _clip(ffmpeg, path, *full, "-c:v", codec)
    return _clip(ffmpeg, path, "-c:v", codec, "-pix_fmt", pixels)


def _settled(ffmpeg, path: Path, encoder: str = "libx264", **asked):
    request = TuneRequest(path, encoder, **asked)
    opened = open_prepared(ffmpeg, path, pictures=request.pictures, any_kind=True)
    return settle(request, encoder_info(encoder), opened)


def _plain(ffmpeg, distorted: Path, reference: Path, side: str, folder: Path, model: str = "vmaf_v0.6.1") -> float:
    """Mean VMAF by plain ffmpeg, both sides through `side`."""
    each = f"settb=1/25,setpts=N,{side},setsar=1"
    log = folder / "plain.json"
    done = process.run(
        [
            *(ffmpeg.path, "-v", "error", "-i", str(distorted), "-i", str(reference), "-lavfi"),
            f"[0]{each}[d];[1]{each}[r];[d][r]libvmaf=model=version={model}:log_fmt=json:log_path={log}",
            *("-f", "null", "-"),
        ]
    )
    assert done.exit_code == 0, done.stderr
    return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


@pytest.mark.parametrize(
    ("pixels", "asked", "fed_with", "compared", "said"),
    [
        ("yuv420p10le", {}, "yuv420p", "yuv420p", "10 bit are rounded to 8"),
        ("yuv420p10le", {"depth_of_source": True}, "yuv420p10le", "yuv420p10le", ""),
        ("yuv422p10le", {"depth_of_source": True}, "yuv420p10le", "yuv420p10le", "reduced from 4:2:2"),
        ("yuv422p", {"pictures": PictureRequest(chroma="source")}, "yuv422p", "yuv422p", "chroma is 4:2:2"),
        ("yuv444p", {}, "yuv420p", "yuv420p", "reduced from 4:4:4"),
        ("gray", {"pictures": PictureRequest(chroma="source")}, "yuv420p", "yuv420p", ""),
        ("gbrp", {"pictures": PictureRequest(chroma="source")}, "yuv444p", "yuv444p", "RGB is converted to 4:4:4"),
        ("pal8", {}, "yuv420p", "yuv420p", "RGB is converted to 4:2:0"),
        ("full", {}, "yuv420p", "yuv420p", "full range stays full"),
        ("full", {"pictures": PictureRequest(range="limited")}, "yuv420p", "yuv420p", "mapped to limited"),
    ],
)
def test_the_conversion_is_made_once_and_stated(ffmpeg, tmp_path, pixels, asked, fed_with, compared, said):
    """What the encoder is fed is what both sides are compared in, and the notes say what was converted."""
    path = _in_format(ffmpeg, tmp_path / "clip.mkv", pixels)
    working = _settled(ffmpeg, path, **asked)
    assert (working.info.pix_fmt, working.reference.compared) == (fed_with, compared)
    assert said in " ".join(working.notes)
    calibrated = fed_with == "yuv420p" and not working.reference.full_range
    assert (working.outside == "") == calibrated or asked.get("depth_of_source", False)


@pytest.mark.parametrize(
    ("pixels", "asked", "side"),
    [
        ("yuv420p10le", {"depth_of_source": True}, "format=yuv420p10le"),
        ("yuv422p", {"pictures": PictureRequest(chroma="source")}, "format=yuv422p"),
        ("full", {}, "scale=flags=bicubic:out_range=tv,format=yuv420p"),
    ],
)
def test_what_is_encoded_and_measured_is_what_plain_ffmpeg_measures(ffmpeg, tmp_path, pixels, asked, side):
    """Output format, range tag and VMAF are as asked; VMAF is libvmaf's of the file against the source."""
    path = _in_format(ffmpeg, tmp_path / "clip.mkv", pixels)
    out = tmp_path / "out.mkv"
    request = TuneRequest(path, "libx264", 70, 0.8, preset="ultrafast", trials=0, output=out, verify=True, **asked)
    result = tune(ffmpeg, verified(), request)
    made = probe_video(ffmpeg, out)
    full = pixels == "full"
    assert made.pix_fmt == ("yuvj420p" if full else pixels)
    assert made.color_range == ("pc" if full else "tv")
    assert (result.pictures.pix_fmt, result.pictures.range) == (
        "yuv420p" if full else pixels,
        "full" if full else "limited",
    )
    assert not result.promised
    assert result.measured_vmaf == pytest.approx(_plain(ffmpeg, out, path, side, tmp_path), abs=1e-3)


def test_full_range_keeps_its_black_and_white(ffmpeg, tmp_path):
    """Of patches of 0, 128 and 255 the output holds the same values, by plain ffmpeg."""
    graph = "nullsrc=size=192x108:rate=25,format=yuv420p,geq=lum='127.5*floor(X/64)':cb=128:cr=128"
    full = ("-vf", "setparams=range=pc", "-color_range", "pc", "-c:v", "ffv1")
    path = _clip(ffmpeg, tmp_path / "patches.mkv", *full, graph=graph)
    working = _settled(ffmpeg, path)
    chain = ",".join(working.reference.encode_filters())
    done = process.run(
        [*(ffmpeg.path, "-v", "error", "-i", str(path), "-vf", chain), *("-frames:v", "1", "-f", "rawvideo", "-")]
    )
    row = done.stdout[: 192 * 108][192 * 50 : 192 * 51]
    assert (row[30], row[96], row[160]) == (0, 127, 255)


@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1"])
def test_hdr10_is_carried_and_never_promised(ffmpeg, tmp_path, encoder):
    """Colour tags, mastering display and MaxCLL are in the output; the score is of the coded values in 10 bits."""
    path = _clip(
        ffmpeg,
        tmp_path / "pq.mp4",
        *("-c:v", "libx265", "-preset", "ultrafast", "-crf", "4", "-pix_fmt", "yuv420p10le", "-x265-params"),
        _MASTERING,
        graph=f"{_NOISY},setparams={_PQ}",
    )
    source = probe_video(ffmpeg, path)
    assert source.content_light == (1000, 200)
    out = tmp_path / "out.mkv"
    preset = {"libx265": "ultrafast", "libsvtav1": "12"}[encoder]
    result = tune(
        ffmpeg,
        verified(),
        TuneRequest(path, encoder, 70, 0.8, preset=preset, trials=0, output=out, verify=True),
    )
    made = probe_video(ffmpeg, out)
    assert (made.hdr, made.pix_fmt, made.color_primaries) == ("HDR10 (PQ)", "yuv420p10le", "bt2020")
    assert made.content_light == (1000, 200)
    assert made.mastering_luminance is not None
    # AV1 holds the least luminance in steps of 1/16384.
    assert [float(one) for one in made.mastering_luminance] == pytest.approx([0.005, 1000], abs=1 / 16384)
    assert "hdr_not_calibrated" in [reason.code for reason in result.promise.reasons]
    assert not result.promised
    plain = _plain(ffmpeg, out, path, "format=yuv420p10le", tmp_path)
    assert result.measured_vmaf == pytest.approx(plain, abs=1e-3)


def test_a_4k_picture_is_measured_by_the_4k_model_and_not_promised(ffmpeg, tmp_path):
    """Above 2560x1440 the model is `vmaf_4k_v0.6.1`, unless another is asked for."""
    path = lavfi(
        ffmpeg,
        tmp_path / "large.mp4",
        *("-frames:v", "2", "-c:v", "libx264", "-preset", "ultrafast"),
        graph="color=gray:size=3840x2160:rate=25",
    )
    working = _settled(ffmpeg, path)
    assert working.request.measurand.model == "vmaf_4k_v0.6.1"
    assert [one.code for one in working.uncalibrated] == ["size_not_calibrated"]
    v1 = replace(MEAN_VMAF, model="vmaf_v1.0.16_3d0h_2160")
    assert _settled(ffmpeg, path, measurand=v1).request.measurand == v1


def test_an_encoder_that_cannot_says_what_it_takes():
    """The refusal names the formats of the encoder."""
    with pytest.raises(ConfigError, match=re.escape("libsvtav1 makes no 4:4:4 encodes of 10 bit")) as refused:
        fed(encoder_info("libsvtav1"), "444", 10)
    assert "4:2:0 10-bit" in str(refused.value)
