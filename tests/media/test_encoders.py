"""The table of encoders is sound, and a model's inputs stay in range."""

import math
import re
from fractions import Fraction

import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.media.capability import check_extra_args
from vmaf_assay.media.commands import encoder_args
from vmaf_assay.media.encoders import ENCODERS, encoder_info, format_rate, with_extra_args
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score


def test_seventeen_encoders():
    """The table holds exactly the encoders that the design names."""
    assert len(ENCODERS) == 17


@pytest.mark.parametrize("info", ENCODERS.values(), ids=lambda info: info.name)
def test_norms_cover_zero_to_one(info):
    """The ends of the declared ranges map to 0 and 1; the default preset is in the list."""
    assert info.crf_norm(info.rate_min) == 0
    assert info.crf_norm(info.rate_max) == 1
    assert info.preset_norm(info.presets[0]) == 0
    assert info.preset_norm(info.presets[-1]) == 1
    assert info.default_preset in info.presets


def _listed(ffmpeg, name: str) -> dict[str, tuple[float, float, set[str]]] | None:
    """Options of `ffmpeg -h encoder=NAME`: lowest and highest number, named values; None for no such encoder."""
    text = process.run([ffmpeg.path, "-hide_banner", "-h", f"encoder={name}"]).stdout.decode()
    if "is not recognized" in text or f"Encoder {name} " not in text:
        return None
    options: dict[str, tuple[float, float, set[str]]] = {}
    current = ""
    for line in text.splitlines():
        if option := re.match(r"  (-[\w-]+) +<\w+> +[E.]", line):
            current = option[1]
            low, high = -math.inf, math.inf
            if bounds := re.search(r"\(from (\S+) to (\S+)\)", line):
                low, high = (_number(bound) for bound in bounds.groups())
            if inner := re.search(r"\((\d+) to (\d+), 0 means automatic\)", line):
                low, high = float(inner[1]), float(inner[2])
            options[current] = (low, high, set())
        elif current and (value := re.match(r"     (\S+) +(?:-?\d+ +)?[E.]", line)):
            options[current][2].add(value[1])
    formats = re.search(r"Supported pixel formats: (.*)", text)
    options["-pix_fmt"] = (-math.inf, math.inf, set(formats[1].split()) if formats else set())
    return options


def _number(text: str) -> float:
    return {"INT_MAX": 2.0**31, "INT_MIN": -(2.0**31), "FLT_MAX": 3e38, "-FLT_MAX": -3e38}.get(text) or float(text)


# Options of every codec (`ffmpeg -h full`, AVCodecContext), not of one encoder.
_GENERIC = {"-c:v", "-b:v", "-threads", "-global_quality", "-q:v", "-flags:v"}


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", ENCODERS.values(), ids=lambda info: info.name)
def test_every_option_and_value_is_one_the_encoder_lists(ffmpeg, info):
    """Each option of the argv is in that encoder's own list, its value inside its range or among its names."""
    listed = _listed(ffmpeg, info.name)
    if listed is None:
        assert "videotoolbox" in info.name  # exists on macOS only; its absence is what doctor says
        return
    checked = 0
    for preset in info.presets:
        for rate_value in (info.rate_min, info.rate_max):
            argv = encoder_args(info, preset, rate_value)
            for option, value in zip(argv[::2], argv[1::2], strict=True):
                if option in _GENERIC:
                    continue
                assert option in listed, option
                low, high, names = listed[option]
                if re.fullmatch(r"-?[\d.]+", value):
                    assert low <= float(value) <= high, (option, value)
                elif names and not option.endswith("-params"):
                    assert value in names, (option, value)
                checked += 1
    assert checked >= 2 * len(info.presets)


_SOFTWARE = [info for info in ENCODERS.values() if not info.hardware]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", _SOFTWARE, ids=lambda info: info.name)
def test_rate_mode_is_constant_quality(ffmpeg, tmp_path, info):
    """At the good end nothing caps the bitrate of noise, and the rate value moves bytes in its direction.

    `libvpx` and `libaom` would hold to 256 kb/s, and others to a default of their own, were the rate capped.
    """
    graph = "testsrc2=size=160x90:rate=25,noise=alls=60:allf=t,format=yuv420p"
    noise = lavfi(ffmpeg, tmp_path / "n.y4m", "-frames:v", "8", graph=graph)
    reference = ReferenceInput(noise, Fraction(25), 8)
    best, worst = (info.rate_min, info.rate_max) if info.lower_is_better else (info.rate_max, info.rate_min)
    ends = [best + 0.3 * (worst - best), best + 0.8 * (worst - best)]
    fastest = info.presets[-1]
    high, low = (encode_and_score(ffmpeg, reference, info, fastest, round(at)) for at in ends)
    assert high.kbps > 1000
    assert high.bytes > 2 * low.bytes
    assert high.pooled_vmaf > low.pooled_vmaf


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", _SOFTWARE, ids=lambda info: info.name)
def test_own_options_reach_the_encoder(ffmpeg, tmp_path, info):
    """A keyframe interval of one, given with --encoder-args, makes more bytes."""
    clip = lavfi(ffmpeg, tmp_path / "n.y4m", "-frames:v", "6", "-pix_fmt", "yuv420p")
    reference = ReferenceInput(clip, Fraction(25), 6)
    middle = round((info.rate_min + info.rate_max) / 2)
    plain, intra = (
        encode_and_score(ffmpeg, reference, one, info.presets[-1], middle)
        for one in (info, with_extra_args(info, "-g 1"))
    )
    assert intra.bytes > plain.bytes


def test_params_are_joined_not_replaced():
    """The user's `-x265-params` do not push out those that keep the encode the same on any machine."""
    info = with_extra_args(encoder_info("libx265"), "-x265-params aq-mode=3 -tune grain")
    argv = encoder_args(info, "fast", 30)
    assert argv.count("-x265-params") == 1
    assert argv[argv.index("-x265-params") + 1] == "pools=3:frame-threads=1:log-level=error:aq-mode=3"
    assert argv[-2:] == ["-tune", "grain"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("libx264", "-tune", "-tune has no value"),
        ("libx264", "grain", "'grain' is no option"),
        ("libx264", "-tune grain out.mp4", "'out.mp4' is no option"),
        ("libx264", "-tune 'grain", "No closing quotation"),
        ("libx264", "-crf 20", "-crf of libx264 is set"),
        ("libx264", "-preset slow", "-preset of libx264 is set"),
        ("libx264", "-b:v 2M", "-b:v of libx264 is set"),
        ("libx264", "-vf scale=2:2", "-vf of libx264 is set"),
        ("libx265", "-x265-params pools=4", "pools of libx265 is set"),
        ("libx265", "-x265-params aq-mode=3:crf=20", "crf of libx265 is set"),
        ("libsvtav1", "-svtav1-params lp=4", "lp of libsvtav1 is set"),
        ("h264_amf", "-qp_b 3", "-qp_b of h264_amf is set"),
        ("h264_nvenc", "-rc cbr", "-rc of h264_nvenc is set"),
    ],
)
def test_options_that_would_break_a_measurement_are_refused(name, text, reason):
    """Rate, preset, threads, frames and files are not the user's to set; bare words would be outputs."""
    with pytest.raises(ConfigError, match=reason):
        with_extra_args(encoder_info(name), text)


@pytest.mark.ffmpeg
def test_options_the_encoder_does_not_know_are_refused_before_a_build(ffmpeg):
    """Ffmpeg's own reason, before anything is encoded."""
    with pytest.raises(ConfigError, match="-no-such 1' do not work with libx264: Unrecognized option"):
        check_extra_args(ffmpeg, with_extra_args(encoder_info("libx264"), "-no-such 1"))


def test_unknown_names_and_values_are_refused():
    """An encoder, preset or rate value that is not in the table is a clear error."""
    with pytest.raises(ConfigError, match="unknown encoder 'libx266'"):
        encoder_info("libx266")
    with pytest.raises(ConfigError, match="libx264 has no preset 'swift'"):
        encoder_info("libx264").check_preset("swift")
    with pytest.raises(ConfigError, match="libx264 takes crf 0 to 51, not 60"):
        encoder_info("libx264").check_rate(60)


@pytest.mark.parametrize(("value", "text"), [(30, "30"), (22.5, "22.5"), (0.1, "0.1"), (100, "100"), (0, "0")])
def test_rate_values_are_plain_numbers(value, text):
    """No exponent and no trailing zero reaches the argv."""
    assert format_rate(value) == text
