"""Hardware encoders: no GPU here, so their commands are held against what ffmpeg says of each encoder."""

import re

import pytest

from vmaf_assay.media import commands, process
from vmaf_assay.media.capability import check_encoder
from vmaf_assay.media.encoders import ENCODERS, encoder_info
from vmaf_assay.media.encoders.driven import read_help

HARDWARE = [info for info in ENCODERS.values() if info.hardware]
FFMPEGS_OWN = {"-b:v", "-q:v", "-global_quality"}
"""Options of ffmpeg's that any encoder may read."""


def said_of(ffmpeg, name):
    """Ffmpeg's description of an encoder, and the text; skips none: None where this ffmpeg lacks it."""
    text = process.run([ffmpeg.path, "-hide_banner", "-h", f"encoder={name}"]).stdout.decode()
    return read_help(text), text


def constants(text, option):
    """Named values of an option in the description."""
    block = re.search(rf"^  {re.escape(option)} .*\n((?:     \S.*\n)*)", text, re.MULTILINE)
    return set() if block is None else set(re.findall(r"^     (\S+)", block[1], re.MULTILINE))


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", HARDWARE, ids=lambda info: info.name)
def test_every_option_is_the_encoders_own(ffmpeg, info):
    """What we pass, what users may pass, ranges, named values and pixel formats are in ffmpeg's description."""
    said, text = said_of(ffmpeg, info.name)
    if said is None:
        assert info.name.endswith("_videotoolbox")  # macOS only; the others are in every build used here
        return
    assert info.pix_fmts[0] in said.pix_fmts
    for option in (info.rate_flag, *info.also_rate_flags):
        assert option in {*said.options, *FFMPEGS_OWN}
        low, high = said.bounds(option) or (info.rate_min, info.rate_max)
        assert low <= info.rate_min < info.rate_max <= high
    pairs = [*zip(info.constant_quality_args[::2], info.constant_quality_args[1::2], strict=True)]
    pairs += [(info.preset_flag, preset) for preset in info.presets if info.preset_flag]
    for option, value in pairs:
        assert option in {*said.options, *FFMPEGS_OWN}
        named = constants(text, option)
        assert value in named or re.fullmatch(r"\d+", value), f"{option} {value}"
    assert {f"-{name}" for name in info.options} <= {*said.options}


@pytest.mark.parametrize(
    ("name", "rate", "expected"),
    [
        ("h264_nvenc", 24, "-c:v h264_nvenc -preset p4 -rc vbr -b:v 0 -cq 24"),
        ("av1_qsv", 24, "-c:v av1_qsv -preset medium -global_quality 24"),
        ("av1_amf", 120, "-c:v av1_amf -quality balanced -rc cqp -qp_i 120 -qp_p 120 -qp_b 120"),
        ("hevc_amf", 24, "-c:v hevc_amf -quality balanced -rc cqp -qp_i 24 -qp_p 24"),
        ("hevc_videotoolbox", 60, "-c:v hevc_videotoolbox -prio_speed 0 -q:v 60"),
        ("hevc_vaapi", 24, "-c:v hevc_vaapi -rc_mode CQP -qp 24"),
        ("av1_vaapi", 120, "-c:v av1_vaapi -rc_mode CQP -global_quality 120"),
        ("av1_vulkan", 120, "-c:v av1_vulkan -qp 120"),
    ],
)
def test_the_command_of_each_family(name, rate, expected):
    """Constant quality, preset and rate value, as ffmpeg's documentation of each family has them."""
    info = encoder_info(name)
    args = commands.encoder_args(info, info.default_preset, rate)
    assert " ".join(args).startswith(f"{expected} ")
    assert args[args.index("-pix_fmt") + 1] == info.pix_fmts[0]


@pytest.mark.parametrize("info", HARDWARE, ids=lambda info: info.name)
def test_frames_reach_the_device(info):
    """An encoder that takes frames of a device only gets one opened, and an upload as the last filter."""
    command = commands.try_encoder(info, info.default_preset).args
    if info.pix_fmts[0] in ("vaapi", "vulkan"):
        assert command[:4] == ("-init_hw_device", f"{info.pix_fmts[0]}=hw", "-filter_hw_device", "hw")
        assert command[command.index("-vf") + 1].endswith("format=nv12,hwupload")
    else:
        assert "-init_hw_device" not in command
        assert "-vf" not in command


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    "name", ["h264_nvenc", "hevc_qsv", "av1_amf", "h264_videotoolbox", "h264_vaapi", "av1_vulkan"]
)
def test_doctor_says_what_is_missing(ffmpeg, name):
    """Ffmpeg's own message, and what the family needs in words; where it works, neither."""
    found, info = check_encoder(ffmpeg, encoder_info(name)), encoder_info(name)
    assert info.needs
    assert found.usable or found.detail.endswith(f"; it needs {info.needs}")
