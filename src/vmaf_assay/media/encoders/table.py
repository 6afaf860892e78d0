"""The table of encoders. Adding one is an entry here and a name in the newest vocabulary (`model/codec_block.py`).

Ranges are the encoder's own declared ones (`ffmpeg -h encoder=NAME`, ffmpeg n9.0.2, 2026-11-24), never those seen
in a corpus. From them `crf_norm` and `preset_norm` are computed, so changing a range or a preset list changes what
every model reads.
"""

from dataclasses import replace
from typing import Literal

from vmaf_assay.media.encoders import options
from vmaf_assay.media.encoders.record import EncoderInfo

Codec = Literal["h264", "hevc", "av1"]

_X26X_PRESETS = tuple(
    ["placebo", "veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast"]
)
_NVENC_PRESETS = (
    "p7",
    "p6",
    "p5",
    "p4",
    "p3",
    "p2",
    "p1",
)
_QSV_PRESETS = (
    "veryslow",
    "slower",
    "slow",
    "medium",
    "fast",
    "faster",
    "veryfast",
)
_NO_PRESETS = ("default",)

_PLANAR = tuple(f"yuv{grid}p{bits}" for bits in ("", "10le") for grid in ("420", "422", "444"))
"""The planar formats of 8 and 10 bits."""
_PLANAR_420 = ("yuv420p", "yuv420p10le")

_NO_DELIMITERS = "filter_units=remove_types=2"
"""Muxers leave AV1's temporal delimiters out, two bytes a packet."""

_PROBED_BY: dict[Codec, str] = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
_TAGS: dict[Codec, str] = {"h264": "", "hevc": "hvc1", "av1": ""}
_COUNTED: dict[Codec, str] = {"h264": "", "hevc": "", "av1": _NO_DELIMITERS}


_NEEDS = {
    "nvenc": "an NVIDIA GPU that encodes this codec, and NVIDIA's driver (libcuda, libnvidia-encode)",
    "qsv": "an Intel GPU that encodes this codec, its driver, and the VPL runtime (libmfx-gen or libmfxhw64)",
    "amf": "an AMD GPU that encodes this codec, and AMD's own driver with the AMF runtime",
    "videotoolbox": "macOS, an ffmpeg built there, and for constant quality Apple silicon",
    "vaapi": "libva with libva-drm, a VAAPI driver that encodes this codec, and access to /dev/dri",
    "vulkan": "libvulkan, and a driver with Vulkan Video encoding of this codec",
}
"""What each family needs beside ffmpeg."""


def _numbers(slowest: int, fastest: int) -> tuple[str, ...]:
    return tuple(str(value) for value in range(slowest, fastest + 1))


def _hardware(name: str, codec: Codec, driven: EncoderInfo) -> EncoderInfo:
    """The entry `driven` with what follows from the codec."""
    return replace(
        driven,
        name=name,
        hardware=True,
        cost=0.3,
        probed_by=_PROBED_BY[codec],
        mov_tag=_TAGS[codec],
        file_bsf=_COUNTED[codec],
        needs=_NEEDS[name.partition("_")[2]],
        options=driven.options - options.LACKING.get(name, frozenset()),
    )


def _nvenc(codec: Codec, rate_max: float) -> EncoderInfo:
    # -b:v 0 with vbr and -cq is NVENC's constant quality; without it the default 2 Mb/s caps the rate. With -qp it
    # would be constant too, but without the adaptive quantisation that makes NVENC worth using.
    driven = EncoderInfo(
        "",
        "cq",
        "-cq",
        1,
        rate_max,
        1,
        True,
        "-preset",
        _NVENC_PRESETS,
        "p4",
        "",
        constant_quality_args=("-rc", "vbr", "-b:v", "0"),
        pix_fmts=("yuv420p", "p010le", "yuv444p"),
        options=options.NVENC,
    )
    return _hardware(f"{codec}_nvenc", codec, driven)


def _qsv(codec: Codec) -> EncoderInfo:
    # -global_quality without -maxrate and look_ahead selects ICQ, whatever the default bit rate (qsvenc.c,
    # select_rc_mode); QSV reads planes as nv12.
    driven = EncoderInfo(
        "",
        "cq",
        "-global_quality",
        1,
        51,
        1,
        True,
        "-preset",
        _QSV_PRESETS,
        "medium",
        "",
        pix_fmts=("nv12", "p010le"),
        options=options.QSV,
    )
    return _hardware(f"{codec}_qsv", codec, driven)


def _amf(codec: Codec, rate_max: float, also: tuple[str, ...]) -> EncoderInfo:
    # CQP is AMF's only constant mode; VBAQ and pre-analysis are off in it (amfenc_h264.c). H.265 takes no QP of B
    # frames.
    driven = EncoderInfo(
        "",
        "qp",
        "-qp_i",
        0,
        rate_max,
        1,
        True,
        "-quality",
        ("quality", "balanced", "speed"),
        "balanced",
        "",
        constant_quality_args=("-rc", "cqp"),
        also_rate_flags=also,
        options=options.AMF,
    )
    return _hardware(f"{codec}_amf", codec, driven)


def _videotoolbox(codec: Codec) -> EncoderInfo:
    # -q:v is VideoToolbox's quality, higher is better; on Apple silicon only, elsewhere ffmpeg refuses it.
    driven = EncoderInfo(
        "", "cq", "-q:v", 1, 100, 1, False, "-prio_speed", ("0", "1"), "0", "", options=options.VIDEOTOOLBOX
    )
    return _hardware(f"{codec}_videotoolbox", codec, driven)


def _vaapi(codec: Codec, rate_flag: str, rate_max: float) -> EncoderInfo:
    driven = EncoderInfo(
        "",
        "qp",
        rate_flag,
        1,
        rate_max,
        1,
        True,
        "",
        _NO_PRESETS,
        "default",
        "",
        constant_quality_args=("-rc_mode", "CQP"),
        pix_fmts=("vaapi",),
        options=options.VAAPI,
        device_args=("-init_hw_device", "vaapi=hw", "-filter_hw_device", "hw"),
        upload_filter="format=nv12,hwupload",
    )
    return _hardware(f"{codec}_vaapi", codec, driven)


def _vulkan(codec: Codec, rate_max: float) -> EncoderInfo:
    driven = EncoderInfo(
        "",
        "qp",
        "-qp",
        0,
        rate_max,
        1,
        True,
        "",
        _NO_PRESETS,
        "default",
        "",
        pix_fmts=("vulkan",),
        options=options.VULKAN,
        device_args=("-init_hw_device", "vulkan=hw", "-filter_hw_device", "hw"),
        upload_filter="format=nv12,hwupload",
    )
    return _hardware(f"{codec}_vulkan", codec, driven)


_ENCODERS = (
    EncoderInfo(
        "libx264",
        "crf",
        "-crf",
        0,
        51,
        0.1,
        True,
        "-preset",
        _X26X_PRESETS,
        "medium",
        "libx264",
        rate_resolution=0.01,
        fixed_args=("-threads", "4"),
        caption_args=("-a53cc:v:0", "1"),
        pix_fmts=_PLANAR,
        version_pattern=rb"x264 - core (\d+ ?r?\d* ?\w*)",
        segment_around=24,
        segment_allowance=0.0,
        two_pass=True,
        options=options.X264,
        params_option="-x264-params",
        params=options.X264_PARAMS,
        writes_stereo=True,
        # Without it the picture parameter set depends on the CRF, and a joined file has several.
        stitch_args=("-x264-params", "stitchable=1"),
    ),
    EncoderInfo(
        "libx265",
        "crf",
        "-crf",
        0,
        51,
        0.1,
        True,
        "-preset",
        _X26X_PRESETS,
        "medium",
        "libx265",
        rate_resolution=0.01,
        fixed_args=("-x265-params", "pools=3:frame-threads=1:log-level=error"),
        mov_tag="hvc1",
        pix_fmts=_PLANAR,
        version_pattern=rb"x265 \(build (\d+)\) - ([\w.+\-]+)",
        segment_around=24,
        segment_allowance=0.0,
        two_pass=True,
        options=options.X265,
        params_option="-x265-params",
        params=options.X265_PARAMS,
        caption_args=("-a53cc:v:0", "1"),
        # Without a limit of bitrate it writes no Dolby Vision; this one is of level 5, high tier.
        dolby_args=("-dolbyvision", "1", "-x265-params", "vbv-maxrate=100000:vbv-bufsize=100000"),
        hdr10plus_param="dhdr10-info",
        cost=2.0,
    ),
    EncoderInfo(
        "libsvtav1",
        "crf",
        "-crf",
        1,
        63,
        1,
        True,
        "-preset",
        _numbers(0, 13),
        "8",
        "libsvtav1",
        rate_resolution=0.25,
        fine_rate_flag="-svtav1-params crf",
        equal_presets=(("11", "12", "13"),),
        file_bsf=_NO_DELIMITERS,
        pix_fmts=_PLANAR_420,
        version_pattern=rb"SVT-AV1 Encoder Lib (v[\w.\-]+)",
        # No two_pass: in ffmpeg n9.0.2 its first pass ended by a signal in 2 of 4 runs of a valid clip.
        params_option="-svtav1-params",
        params=options.SVTAV1_PARAMS,
        dolby_args=("-dolbyvision", "1"),
        cost=1.5,
    ),
    EncoderInfo(
        "libaom-av1",
        "crf",
        "-crf",
        0,
        63,
        1,
        True,
        "-cpu-used",
        _numbers(0, 8),
        "6",
        "libsvtav1",
        constant_quality_args=("-b:v", "0"),
        fixed_args=("-row-mt", "0"),
        equal_presets=(("6", "7", "8"),),
        file_bsf=_NO_DELIMITERS,
        pix_fmts=_PLANAR,
        version_pattern=rb"\[libaom-av1[^\]]*\] (v?\d[\w.\-]*)",
        two_pass=True,
        options=options.AOM,
        params_option="-aom-params",
        params=options.AOM_PARAMS,
        dolby_args=("-dolbyvision", "1"),
        cost=5.0,
    ),
    EncoderInfo(
        "libvpx-vp9",
        "crf",
        "-crf",
        0,
        63,
        1,
        True,
        "-cpu-used",
        _numbers(0, 8),
        "4",
        "libvpx-vp9",
        constant_quality_args=("-b:v", "0", "-deadline", "good"),
        fixed_args=("-row-mt", "0"),
        equal_presets=(("5", "6", "7", "8"),),
        pix_fmts=_PLANAR,
        version_pattern=rb"\[libvpx-vp9[^\]]*\] (v\d[\w.\-]*)",
        segment_around=24,
        two_pass=True,
        options=options.VPX,
        cost=4.0,
    ),
    EncoderInfo(
        # qpa off: with perceptual adaptation the QP given is not the QP used. A picture that takes more bytes than
        # it has pixels (noise at low QP) ends in "Generic error in an external library" (ffmpeg n9.0.2).
        "libvvenc",
        "qp",
        "-qp",
        0,
        63,
        1,
        True,
        "-preset",
        ("slower", "slow", "medium", "fast", "faster"),
        "faster",
        "libx265",
        constant_quality_args=("-qpa", "0"),
        fixed_args=("-threads", "4"),
        # NUT accepts any stream but VVC, for which it has no tag (ffmpeg n9.0.2).
        pix_fmts=("yuv420p10le",),
        raw_muxer="matroska",
        version_pattern=rb"libvvenc version[: ]+([\w.\-]+)",
        segment_around=24,
        two_pass=True,
        options=options.VVENC,
        params_option="-vvenc-params",
        params=options.VVENC_PARAMS,
        cost=6.0,
    ),
    _nvenc("h264", 51),
    _nvenc("hevc", 51),
    _nvenc("av1", 63),
    _qsv("h264"),
    _qsv("hevc"),
    _qsv("av1"),
    _amf("h264", 51, ("-qp_p", "-qp_b")),
    _amf("hevc", 51, ("-qp_p",)),
    _amf("av1", 255, ("-qp_p", "-qp_b")),
    _videotoolbox("h264"),
    _videotoolbox("hevc"),
    _vaapi("h264", "-qp", 51),
    _vaapi("hevc", "-qp", 51),
    _vaapi("av1", "-global_quality", 255),
    _vulkan("h264", 51),
    _vulkan("hevc", 51),
    _vulkan("av1", 255),
    EncoderInfo(
        "librav1e",
        "qp",
        "-qp",
        1,
        255,
        1,
        True,
        "-speed",
        _numbers(0, 10),
        "6",
        "libsvtav1",
        av1_index=True,
        file_bsf=_NO_DELIMITERS,
        options=options.RAV1E,
        pix_fmts=_PLANAR,
        params_option="-rav1e-params",
        params=options.RAV1E_PARAMS,
        cost=5.0,
    ),
    EncoderInfo(
        # The QP is fixed by both of its bounds; with -rc_mode off every -q:v gives the same bytes (ffmpeg n9.0.2).
        "libopenh264",
        "qp",
        "-qmin",
        1,
        51,
        1,
        True,
        "",
        _NO_PRESETS,
        "default",
        "libx264",
        constant_quality_args=("-rc_mode", "quality", "-b:v", "100M"),
        also_rate_flags=("-qmax",),
        fixed_args=("-threads", "1"),
        options=options.OPENH264,
    ),
    EncoderInfo(
        "libkvazaar",
        "qp",
        "-kvazaar-params qp",
        0,
        51,
        1,
        True,
        "-kvazaar-params preset",
        _X26X_PRESETS,
        "medium",
        "libx265",
        mov_tag="hvc1",
        params_option="-kvazaar-params",
        params=options.KVAZAAR_PARAMS,
        params_separator=",",
        size_multiple=8,
        takes_generic=False,
    ),
)

ENCODERS: dict[str, EncoderInfo] = {info.name: info for info in _ENCODERS}
"""All encoders known here, by ffmpeg name."""
