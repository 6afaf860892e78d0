"""The table of encoders is sound, and a model's inputs stay in range."""

import math
import os
import re
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.conftest import lavfi
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media import process
from vmaf_assay.media.capability import check_extra_args
from vmaf_assay.media.commands import encoder_args
from vmaf_assay.media.encoders import ENCODERS, encoder_info, format_rate, with_extra_args
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score


def test_every_entry_is_whole():
    """A software encoder probes each of them, and its own probe tells most of itself."""
    assert len(ENCODERS) == 26
    assert {info.probed_by for info in ENCODERS.values()} == {"libx264", "libx265", "libsvtav1", "libvpx-vp9"}
    assert all(ENCODERS[info.probed_by].probed_by == info.probed_by for info in ENCODERS.values())
    assert {info.mov_tag for info in ENCODERS.values() if "hevc" in info.name or "265" in info.name} == {"hvc1"}


@pytest.mark.parametrize("info", ENCODERS.values(), ids=lambda info: info.name)
def test_norms_cover_zero_to_one(info):
    """The ends of the declared ranges map to 0 and 1; the default preset is in the list."""
    assert info.crf_norm(info.rate_min) == 0
    assert info.crf_norm(info.rate_max) == 1
    assert info.preset_norm(info.presets[0]) == 0
    assert info.preset_norm(info.presets[-1]) == (1 if len(info.presets) > 1 else 0)
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
    return {
        "INT_MAX": 2.0**31,
        "INT_MIN": -(2.0**31),
        "FLT_MAX": 3e38,
        "-FLT_MAX": -3e38,
        "UINT32_MAX": 2.0**32,
        "I64_MAX": 2.0**63,
    }.get(text) or float(text)


# Options of every codec (`ffmpeg -h full`, AVCodecContext), not of one encoder.
_GENERIC = {"-c:v", "-b:v", "-threads", "-global_quality", "-q:v", "-flags:v", "-qmin", "-qmax"}


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
    graph = "testsrc2=size=160x96:rate=25,noise=alls=60:allf=t,format=yuv420p"
    noise = lavfi(ffmpeg, tmp_path / "n.y4m", "-frames:v", "8", graph=graph)
    reference = ReferenceInput(noise, Fraction(25), 8)
    best, worst = (info.rate_min, info.rate_max) if info.lower_is_better else (info.rate_max, info.rate_min)
    # libopenh264 ends with an error where a picture takes more bytes than it has room for (ffmpeg n9.0.2).
    first = 0.5 if info.name == "libopenh264" else 0.3
    ends = [best + first * (worst - best), best + 0.8 * (worst - best)]
    fastest = info.presets[-1]
    high, low = (encode_and_score(ffmpeg, reference, info, fastest, round(at)) for at in ends)
    assert high.kbps > 1000
    assert high.bytes > 2 * low.bytes
    assert high.pooled_vmaf > low.pooled_vmaf


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", _SOFTWARE, ids=lambda info: info.name)
def test_own_options_reach_the_encoder(ffmpeg, tmp_path, info):
    """A keyframe interval of one, given with --encoder-args, makes more bytes."""
    graph = "testsrc2=size=192x112:rate=25,format=yuv420p"
    clip = lavfi(ffmpeg, tmp_path / "n.y4m", "-frames:v", "6", graph=graph)
    reference = ReferenceInput(clip, Fraction(25), 6)
    middle = round((info.rate_min + info.rate_max) / 2)
    plain, intra = (
        encode_and_score(ffmpeg, reference, one, info.presets[-1], middle)
        for one in (
            info,
            with_extra_args(info, "-g 1" if info.takes_generic else f"{info.params_option} period=1"),
        )
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
        ("libx264", "grain", "'grain' is not an option"),
        ("libx264", "-tune grain out.mp4", "'out.mp4' is not an option"),
        ("libx264", "-tune 'grain", "No closing quotation"),
        ("libx264", "-crf 20", "-crf of libx264 is set"),
        ("libx264", "-preset slow", "-preset of libx264 is set by --preset; use --preset"),
        ("libsvtav1", "-svtav1-params preset=3", "preset of libsvtav1 is set"),
        ("libaom-av1", "-row-mt 1", "-row-mt of libaom-av1 is set"),
        ("libx265", "-x265-params frame_threads=4", "frame-threads of libx265 is set"),
        ("libx265", "-x265-params fps=60", "fps of libx265 is set"),
        ("libkvazaar", "-kvazaar-params qp=3", "qp of libkvazaar is set"),
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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("libx264", "-passlogfile /tmp/x"),
        ("libx264", "-stats /tmp/x"),
        ("libx264", "-x264opts stats=/tmp/x"),
        ("libx264", "-x264-params dump-yuv=/tmp/x"),
        ("libx264", "-x264-params qpfile=/etc/passwd"),
        ("libx264", "-x264-params keyint=48:cqmfile=/etc/passwd"),
        ("libx265", "-x265-params csv=/tmp/x"),
        ("libx265", "-x265-params analysis-save=/tmp/x"),
        ("libx265", "-x265-params aq-mode=3:CSV=/tmp/x"),
        ("libx265", "-x265-stats /tmp/x"),
        ("libx265", "-x265-params lambda_file=/etc/passwd"),
        ("libsvtav1", "-svtav1-params fgs-table=/etc/passwd"),
        ("libsvtav1", "-svtav1-params qp-file=/etc/passwd"),
        ("libaom-av1", "-aom-params partition-info-path=/tmp/x"),
        ("libaom-av1", "-aom-params film-grain-table=/etc/passwd"),
        ("libvvenc", "-vvenc-params tracefile=/tmp/x"),
        ("libkvazaar", "-kvazaar-params period=8,cqmfile=/etc/passwd"),
        ("hevc_qsv", "-load_plugins /tmp/x.so"),
        ("libx264", "-x264-params qp-step=4"),
        ("libx264", "-dump_attachment x"),
    ],
)
def test_options_that_may_open_files_are_refused(name, text):
    """Not on the list of what leaves files alone: refused, unless the user says that they trust it."""
    with pytest.raises(
        ConfigError, match="known to leave files alone; correct its spelling, or add --unsafe-args"
    ):
        with_extra_args(encoder_info(name), text)
    assert with_extra_args(encoder_info(name), text, unsafe=True).extra_args


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", ENCODERS.values(), ids=lambda info: info.name)
def test_no_option_on_the_list_takes_a_file(ffmpeg, info):
    """Each is one that the encoder, or another of its family, has. None of those that take a text names a file."""

    def listed(name: str) -> str:
        return process.run([ffmpeg.path, "-hide_banner", "-h", f"encoder={name}"]).stdout.decode()

    text, kin = listed(info.name), [one.name for one in ENCODERS.values() if one.options is info.options]
    had = {name for one in kin for name in re.findall(r"^  -([\w:-]+) +<", listed(one), re.MULTILINE)}
    assert "videotoolbox" in info.name or info.options <= had
    assert not {word for word in info.options | info.params if word.startswith("-") or word.endswith("-")}
    texts = set(re.findall(r"^  -([\w:-]+) +<(?:string|dictionary|binary)>", text, re.MULTILINE))
    named = {name for name in info.options & texts if re.search(r"file|stats|path|plugin|opts|dump", name)}
    assert named == set()
    assert not {key for key in info.params if re.search(r"file|stats|path|dump|csv|save|load|table|trace", key)}


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("libx264", "-no-such 1"),
        ("libx264", "-x264-params aq-mod=3"),
        ("libx264", "-x264-params aq-mode=nonsense"),
        ("libx265", "-x265-params aqmod=3"),
        ("libsvtav1", "-svtav1-params tunes=1"),
        ("libaom-av1", "-aom-params enable-qmm=1"),
        ("libvvenc", "-vvenc-params gopsiz=16"),
        ("libkvazaar", "-kvazaar-params perio=16"),
    ],
)
def test_what_the_encoder_does_not_apply_is_refused_before_a_build(ffmpeg, name, text):
    """A misspelt option or key is read and never applied: ffmpeg's own word for it, before anything is encoded."""
    with pytest.raises(ConfigError, match=f"do not work with {name}: "):
        check_extra_args(ffmpeg, with_extra_args(encoder_info(name), text, unsafe=True))


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("libx264", "-tune grain -g 48 -x264-params aq-mode=3:psy-rd=0.8,0"),
        ("libx265", "-tune grain -x265-params aq-mode=3:no-sao=1"),
        ("libsvtav1", "-svtav1-params tune=0:film-grain=8"),
        ("libaom-av1", "-aom-params enable-qm=1 -tune ssim"),
        ("libvvenc", "-vvenc-params gopsize=16 -g 32"),
        ("libkvazaar", "-kvazaar-params period=16"),
    ],
)
def test_options_that_are_known_are_taken(ffmpeg, name, text):
    """No warning of the encoder's own about an ordinary option ends a request."""
    check_extra_args(ffmpeg, with_extra_args(encoder_info(name), text))


@pytest.mark.ffmpeg
def test_quarter_steps_of_svt_av1(ffmpeg, tmp_path):
    """30.25 is another encode than 30 and 31; 30 by either option is the same bytes."""
    graph = "mandelbrot=size=192x108,format=yuv420p"
    clip = lavfi(ffmpeg, tmp_path / "n.y4m", "-frames:v", "8", graph=graph)
    reference, info = ReferenceInput(clip, Fraction(25), 8), encoder_info("libsvtav1")
    sizes = [encode_and_score(ffmpeg, reference, info, "11", rate).bytes for rate in (30, 30.25, 30.5, 31)]
    assert len(set(sizes)) == 4
    by_params = replace(info, rate_flag="-svtav1-params crf")
    assert encode_and_score(ffmpeg, reference, by_params, "11", 30).bytes == sizes[0]


@pytest.mark.ffmpeg
def test_sizes_that_an_encoder_does_not_take_are_refused(ffmpeg, clip):
    """Libkvazaar takes sides that are multiples of 8: said before it is run."""
    reference = ReferenceInput(clip, Fraction(25), 12, (192, 108))
    with pytest.raises(MediaError, match="libkvazaar takes sides that are multiples of 8, not 192x108"):
        encode_and_score(ffmpeg, reference, encoder_info("libkvazaar"), "ultrafast", 30)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", [info for info in ENCODERS.values() if info.equal_presets], ids=lambda i: i.name)
def test_equal_presets_are_equal(ffmpeg, tmp_path, info):
    """Every preset of a set gives the bytes of the first; the slower neighbour of the set does not."""
    clip = lavfi(
        ffmpeg, tmp_path / "n.y4m", "-frames:v", "12", "-pix_fmt", "yuv420p", graph="mandelbrot=size=192x108"
    )

    def digest(preset: str) -> str:
        argv = ["-i", str(clip), *encoder_args(info, preset, 40), "-f", "md5", "-"]
        return process.run([*ffmpeg.base_argv(), *argv]).stdout.decode()

    for equal in info.equal_presets:
        assert {digest(preset) for preset in equal} == {digest(equal[0])}
        assert info.neighbours(equal[-1], [equal[0]]) == (equal[0],)


_AFFINITY = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", _SOFTWARE, ids=lambda info: info.name)
def test_bytes_do_not_depend_on_the_number_of_cores(ffmpeg, tmp_path, info):
    """The bytes are those of 1, 2, 4 and 8 cores as ffmpeg counts them, and of the cores the process may use.

    x264, x265 and VVenC count cores themselves, so the process is held to one where there are more. Their records
    fix the threads that change bytes: another number gives other bytes, or the record leaves the number open.
    """
    graph = "mandelbrot=size=448x256"  # five such frames show all that ten of 640x360 do
    clip = lavfi(ffmpeg, tmp_path / "n.y4m", "-frames:v", "5", "-pix_fmt", "yuv420p", graph=graph)
    encode = encoder_args(info, info.presets[-1], info.middle())
    open_number = [] if "-threads" in encode or info.name == "libx265" else ["1", "2", "4", "8"]

    def digest(*more: str, counted: str = "", one_core: bool = False) -> str:
        ffmpeg_counts = ["-cpucount", counted] if counted else []
        argv = [*ffmpeg.base_argv(), *ffmpeg_counts, "-i", str(clip), *encode, *more, "-f", "md5", "-"]
        if one_core:
            os.sched_setaffinity(0, _AFFINITY[:1])
        try:
            return process.run(argv).stdout.decode()
        finally:
            if one_core:
                os.sched_setaffinity(0, _AFFINITY)

    digests = {digest(counted=number) for number in ("1", "2", "4", "8")}
    digests |= {digest("-threads", number) for number in open_number}
    if len(_AFFINITY) > 1:
        digests.add(digest(one_core=True))
    assert len(digests) == 1
    assert digests.pop().startswith("MD5=")


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
