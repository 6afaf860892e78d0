"""The table of encoders: how each is told its constant quality, its preset, and to repeat itself.

Every fact about an encoder lives here and nowhere else. Ranges are the encoder's own declared ones
(`ffmpeg -h encoder=NAME`, ffmpeg n9.0.2, 2026-11-24), never those seen in a corpus: `crf_norm` and
`preset_norm` are computed from them, so changing a range or a preset list changes what every model reads.
"""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from vmaf_assay.errors import ConfigError

RateMode = Literal["crf", "cq", "qp"]


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """How to drive one ffmpeg encoder at constant quality."""

    name: str
    """ffmpeg's name, as in `-c:v NAME`."""
    rate_mode: RateMode
    """What kind of number `rate_value` is."""
    rate_flag: str
    """The option that takes the rate value."""
    rate_min: float
    """Lowest rate value the encoder declares."""
    rate_max: float
    """Highest rate value the encoder declares."""
    rate_step: float
    """Smallest step worth choosing between."""
    lower_is_better: bool
    """True if a smaller rate value gives higher quality and more bits."""
    preset_flag: str
    """The option that takes the preset."""
    presets: tuple[str, ...]
    """Presets from slowest (most effort) to fastest."""
    default_preset: str
    """The preset used when none is named."""
    constant_quality_args: tuple[str, ...] = ()
    """What else makes the rate mode truly constant quality."""
    fixed_args: tuple[str, ...] = ()
    """What makes the output independent of the machine's core count, in every encode (ADR-0401)."""
    device_args: tuple[str, ...] = ()
    """Options before the input, which open the device that frames are uploaded to."""
    upload_filter: str = ""
    """What a frame goes through to reach the device, last of all filters; empty if it stays in memory."""
    file_bsf: str = ""
    """Bitstream filter that leaves of a packet what a file holds of it, for counting bytes."""
    raw_muxer: str = "nut"
    """A muxer that takes the stream into a pipe."""
    also_rate_flags: tuple[str, ...] = ()
    """Options that must carry the same rate value (AMF takes one QP a frame type)."""
    hardware: bool = False
    """True if a GPU or ASIC is needed."""
    pix_fmts: tuple[str, ...] = ("yuv420p",)
    """Pixel formats this table feeds the encoder, preferred first."""
    caption_args: tuple[str, ...] = ()
    """What makes it write closed captions that lie in the frames, if it does not by itself."""
    extra_args: tuple[str, ...] = ()
    """The user's own options, in pairs of option and value; see `with_extra_args`."""

    def rate_args(self, rate_value: float) -> list[str]:
        """Argv that sets constant quality at `rate_value` (on the encoder's own scale)."""
        text = format_rate(rate_value)
        args = [*self.constant_quality_args, self.rate_flag, text]
        for flag in self.also_rate_flags:
            args += [flag, text]
        return args

    def preset_args(self, preset: str) -> list[str]:
        """Argv that sets the preset; empty for an encoder that has none to set."""
        return [self.preset_flag, preset] if self.preset_flag else []

    def upload(self) -> list[str]:
        """Filters that bring a frame to the device."""
        return [self.upload_filter] if self.upload_filter else []

    def middle(self) -> float:
        """A whole rate value in the middle of the declared range."""
        return float((self.rate_min + self.rate_max) // 2)

    def crf_norm(self, rate_value: float) -> float:
        """The rate value's place in the declared range, 0 at `rate_min` and 1 at `rate_max`."""
        return (rate_value - self.rate_min) / (self.rate_max - self.rate_min)

    def preset_norm(self, preset: str) -> float:
        """The preset's place in the declared list, 0 slowest and 1 fastest."""
        return self.presets.index(self.check_preset(preset)) / (len(self.presets) - 1)

    def neighbours(self, preset: str, among: Iterable[str]) -> tuple[str, ...]:
        """`preset` itself if it is `among`, else the nearest slower and the nearest faster one that are.

        Empty if there is none on one side: then `preset` lies outside them.

        >>> encoder_info("libx264").neighbours("fast", ["slow", "medium", "veryfast"])
        ('medium', 'veryfast')
        """
        at = self.presets.index(self.check_preset(preset))
        places = sorted(self.presets.index(self.check_preset(name)) for name in set(among))
        if at in places:
            return (preset,)
        slower = [place for place in places if place < at]
        faster = [place for place in places if place > at]
        return (self.presets[slower[-1]], self.presets[faster[0]]) if slower and faster else ()

    def check_preset(self, preset: str) -> str:
        """Return `preset` if the encoder has it, else raise ConfigError."""
        if preset not in self.presets:
            raise ConfigError(
                f"{self.name} has no preset {preset!r}", next_step=f"choose one of {', '.join(self.presets)}"
            )
        return preset

    def check_rate(self, rate_value: float) -> float:
        """Return `rate_value` if it is in the declared range, else raise ConfigError."""
        if not self.rate_min <= rate_value <= self.rate_max:
            raise ConfigError(
                f"{self.name} takes {self.rate_mode} {self.rate_min:g} to {self.rate_max:g}, not {rate_value:g}",
                next_step="choose --rates inside that range",
            )
        return rate_value


def format_rate(rate_value: float) -> str:
    """The rate value as argv text: no trailing zeros, never in exponent form."""
    return f"{rate_value:.2f}".rstrip("0").rstrip(".")


_X26X_PRESETS = (
    "placebo",
    "veryslow",
    "slower",
    "slow",
    "medium",
    "fast",
    "faster",
    "veryfast",
    "superfast",
    "ultrafast",
)
_NVENC_PRESETS = ("p7", "p6", "p5", "p4", "p3", "p2", "p1")
_QSV_PRESETS = ("veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast")


def _numbers(slowest: int, fastest: int) -> tuple[str, ...]:
    return tuple(str(value) for value in range(slowest, fastest + 1))


def _nvenc(name: str, rate_max: float) -> EncoderInfo:
    # -b:v 0 with vbr and -cq is NVENC's constant quality; without it the default 2 Mb/s caps the rate. -qp would
    # be constant too, but leaves out the adaptive quantisation that makes NVENC worth using.
    return EncoderInfo(
        name,
        "cq",
        "-cq",
        1,
        rate_max,
        1,
        True,
        "-preset",
        _NVENC_PRESETS,
        "p4",
        constant_quality_args=("-rc", "vbr", "-b:v", "0"),
        hardware=True,
    )


def _qsv(name: str) -> EncoderInfo:
    # -global_quality without -maxrate and look_ahead selects ICQ, whatever the default bit rate (qsvenc.c,
    # select_rc_mode); QSV reads planes as nv12.
    return EncoderInfo(
        name,
        "cq",
        "-global_quality",
        1,
        51,
        1,
        True,
        "-preset",
        _QSV_PRESETS,
        "medium",
        hardware=True,
        pix_fmts=("nv12",),
    )


# CQP is AMF's only constant mode; VBAQ and pre-analysis are off in it (amfenc_h264.c). H.265 has no B-frame QP.
def _amf(name: str, rate_max: float, also: tuple[str, ...]) -> EncoderInfo:
    return EncoderInfo(
        name,
        "qp",
        "-qp_i",
        0,
        rate_max,
        1,
        True,
        "-quality",
        ("quality", "balanced", "speed"),
        "balanced",
        constant_quality_args=("-rc", "cqp"),
        also_rate_flags=also,
        hardware=True,
    )


def _videotoolbox(name: str) -> EncoderInfo:
    # -q:v is VideoToolbox's quality, higher is better; on Apple silicon only, elsewhere ffmpeg refuses it.
    return EncoderInfo(name, "cq", "-q:v", 1, 100, 1, False, "-prio_speed", ("0", "1"), "0", hardware=True)


_NO_DELIMITERS = "filter_units=remove_types=2"
"""Muxers leave AV1's temporal delimiters out, two bytes a packet."""

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
        fixed_args=("-threads", "4"),
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
        fixed_args=("-x265-params", "pools=3:frame-threads=1:log-level=error"),
        caption_args=("-a53cc:v:0", "1"),
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
        file_bsf=_NO_DELIMITERS,
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
        constant_quality_args=("-b:v", "0"),
        fixed_args=("-row-mt", "0"),
        file_bsf=_NO_DELIMITERS,
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
        constant_quality_args=("-b:v", "0", "-deadline", "good"),
        fixed_args=("-row-mt", "0"),
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
        constant_quality_args=("-qpa", "0"),
        fixed_args=("-threads", "4"),
        # NUT takes any stream but VVC, for which it has no tag (ffmpeg n9.0.2).
        pix_fmts=("yuv420p10le",),
        raw_muxer="matroska",
    ),
    _nvenc("h264_nvenc", 51),
    _nvenc("hevc_nvenc", 51),
    _nvenc("av1_nvenc", 63),
    _qsv("h264_qsv"),
    _qsv("hevc_qsv"),
    _qsv("av1_qsv"),
    _amf("h264_amf", 51, ("-qp_p", "-qp_b")),
    _amf("hevc_amf", 51, ("-qp_p",)),
    _amf("av1_amf", 255, ("-qp_p", "-qp_b")),
    _videotoolbox("h264_videotoolbox"),
    _videotoolbox("hevc_videotoolbox"),
)

ENCODERS: dict[str, EncoderInfo] = {info.name: info for info in _ENCODERS}
"""All encoders known here, by ffmpeg name."""


def encoder_info(name: str) -> EncoderInfo:
    """The table's entry for `name`; raises ConfigError for a name it does not hold."""
    if name not in ENCODERS:
        raise ConfigError(f"unknown encoder {name!r}", next_step=f"choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name]


def probed_by(encoder: str) -> str:
    """The software encoder whose probe tells most of an encoder: its codec's; for VVC, HEVC's.

    >>> [probed_by(name) for name in ("libx264", "h264_nvenc", "hevc_amf", "libvvenc", "libaom-av1", "libvpx-vp9")]
    ['libx264', 'libx264', 'libx265', 'libx265', 'libsvtav1', 'libvpx-vp9']
    """
    by_codec = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
    same = {"libaom-av1": "libsvtav1", "libvvenc": "libx265"}
    return same.get(encoder) or by_codec.get(encoder.partition("_")[0], encoder)


# What decides quality, threads, frames or files is set here or by the caller; given twice, the last would win.
_RESERVED = re.compile(
    r"-(c|codec|vcodec|b|crf|qp|q|qscale|global_quality|cq|pass|passlogfile|threads|i|f|map|vf|filter|filter_complex|"
    r"lavfi|r|s|ss|sseof|t|to|frames|vframes|fps_mode|vsync|enc_time_base|stats_enc\w*|vstats\w*|progress|y|n)(:.*)?"
)
_RESERVED_PARAMS = re.compile(
    r"(?:^|:)(crf|qp|bitrate|rc|tbr|pass|stats|threads|lookahead-threads|sliced-threads|pools|numa-pools|"
    r"frame-threads|lp|pin|tile-threads)="
)


def with_extra_args(info: EncoderInfo, text: str) -> EncoderInfo:
    """The encoder with the user's options added, as in `-tune grain -g 48`.

    Args:
      info: entry of the table.
      text: options as a shell would read them; each takes one value.

    Raises:
      ConfigError: an option without a value, a bare word (ffmpeg would take it for an output), or an option that
        decides rate, preset, threads, frames or files.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--encoder-args {text!r}: {error}", next_step="quote it once") from error
    options, values = words[::2], words[1::2]
    bare = next((word for word in options if not re.fullmatch(r"-[A-Za-z][\w:.-]*", word)), None)
    if bare is not None or len(options) != len(values):
        raise ConfigError(
            f"--encoder-args {text!r}: " + (f"{bare!r} is no option" if bare else f"{options[-1]} has no value"),
            next_step="write pairs, as '-tune grain -g 48'",
        )
    own = {info.preset_flag, info.rate_flag, *info.also_rate_flags, *info.constant_quality_args}
    for option, value in zip(options, values, strict=True):
        inner = _RESERVED_PARAMS.search(value) if option.endswith("-params") else None
        if option in own or _RESERVED.fullmatch(option) or inner:
            raise ConfigError(
                f"--encoder-args: {inner[1] if inner else option} of {info.name} is set by the encoder table",
                next_step=f"leave {inner[1] if inner else option} out"
                + (f", and write -e {info.name}:{value}" if option == info.preset_flag else ""),
            )
    return replace(info, extra_args=tuple(words))


def join_args(args: list[str], extra: tuple[str, ...]) -> list[str]:
    """Argv with the user's pairs added; `-x265-params` and the like are joined, because the last one would win.

    >>> join_args(["-x265-params", "pools=1"], ("-x265-params", "aq-mode=3", "-g", "48"))
    ['-x265-params', 'pools=1:aq-mode=3', '-g', '48']
    """
    joined = list(args)
    for option, value in zip(extra[::2], extra[1::2], strict=True):
        if option.endswith("-params") and option in joined:
            joined[joined.index(option) + 1] += f":{value}"
        else:
            joined += [option, value]
    return joined
