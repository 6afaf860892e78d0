"""How one encoder is driven, and every fact by encoder name."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from vmaf_assay.errors import ConfigError, MediaError

RateMode = Literal["crf", "cq", "qp", "q"]


SEGMENT_ALLOWANCE = 0.25
"""Points that an encode of a segment may score above the same frames in the title, where none was measured."""


def setting(flag: str, value: str) -> list[str]:
    """Argv that sets an option, or a key inside one.

    >>> setting("-crf", "30"), setting("-svtav1-params crf", "30.25")
    (['-crf', '30'], ['-svtav1-params', 'crf=30.25'])
    """
    option, _, key = flag.partition(" ")
    return [option, f"{key}={value}" if key else value]


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
    """Step between rate values to choose from; calibrations replay choices at this step."""
    lower_is_better: bool
    """True if a smaller rate value gives higher quality and more bits."""
    preset_flag: str
    """The option that takes the preset."""
    presets: tuple[str, ...]
    """Presets from slowest (most effort) to fastest."""
    default_preset: str
    """The preset used when none is named."""
    probed_by: str
    """The software encoder that is probed for this one: its codec's; for VVC, HEVC's."""
    linear_step: bool = False
    """True if the rate value is the quantiser's step itself; CRF, CQ and QP are logarithms of it."""
    av1_index: bool = False
    """True if the rate value is AV1's quantiser index, of which the step is no even logarithm either."""
    rate_resolution: float = 1.0
    """Finest step that the encoder accepts: ffmpeg silently rounds finer values, half to even."""
    fine_rate_flag: str = ""
    """The option that takes a rate value that is not whole, where `rate_flag` takes none."""
    equal_presets: tuple[tuple[str, ...], ...] = ()
    """Sets of presets that give the same bytes (ffmpeg n9.0.2); all of a set get the same answer."""
    constant_quality_args: tuple[str, ...] = ()
    """Further options that make the rate mode constant quality."""
    fixed_args: tuple[str, ...] = ()
    """Options that make the output independent of the machine's core count, in every encode (ADR-0401)."""
    device_args: tuple[str, ...] = ()
    """Options before the input, which open the device that frames are uploaded to."""
    upload_filter: str = ""
    """What a frame goes through to reach the device, last of all filters; empty if it stays in memory."""
    file_bsf: str = ""
    """Bitstream filter that leaves of a packet what a file holds of it, for counting bytes."""
    raw_muxer: str = "nut"
    """A muxer that takes the stream into a pipe."""
    mov_tag: str = ""
    """Sample entry that players expect of this stream in MP4 and MOV; empty for ffmpeg's own choice."""
    version_pattern: bytes = b""
    """Where the encoder names its version, in its stream or ffmpeg's verbose log; empty if it does not."""
    segment_around: int = 0
    """Frames before and after a segment that a trial encodes and does not score (docs/segments.md)."""
    segment_allowance: float = SEGMENT_ALLOWANCE
    """Points that an encode of a segment may score above the same frames in the title."""
    options: frozenset[str] = frozenset()
    """Options that a user may give; none of them names a file, or decides rate, threads or frames."""
    takes_generic: bool = True
    """False if ffmpeg's own options, as `-g`, do not reach it."""
    params_option: str = ""
    """The option that takes the encoder's own `key=value` settings."""
    params: frozenset[str] = frozenset()
    """Keys of `params_option` that a user may give."""
    params_separator: str = ":"
    """What is between two settings of `params_option`."""
    also_rate_flags: tuple[str, ...] = ()
    """Options that must carry the same rate value (AMF takes one QP a frame type)."""
    hardware: bool = False
    """True if a GPU or ASIC is needed."""
    needs: str = ""
    """What hardware needs beside ffmpeg, in words."""
    pix_fmts: tuple[str, ...] = ("yuv420p",)
    """Pixel formats this table feeds the encoder, the usual one first."""
    chosen_pix_fmt: str = ""
    """The one of `pix_fmts` that is used; empty for the first."""
    caption_args: tuple[str, ...] = ()
    """Options that make it write closed captions in the frames, if it does not by default."""
    dolby_args: tuple[str, ...] = ()
    """Options that make it write the Dolby Vision metadata of its frames; empty if it cannot."""
    hdr10plus_param: str = ""
    """Key of `params_option` that takes a file of HDR10+ metadata; empty if it has none."""
    size_multiple: int = 2
    """What both sides of a picture are a multiple of."""
    writes_stereo: bool = False
    """True if it writes the layout of 3D video into its stream."""
    two_pass: bool = False
    """True if it aims at a bitrate in two passes, by ffmpeg's `-pass` and `-passlogfile`."""
    aim: tuple[float, Literal[1, 2]] | None = None
    """Bitrate to aim at instead of a rate value, kbps, and which of two passes; see `in_pass`."""
    stitch_args: tuple[str, ...] = ()
    """Further options with which parts at different rate values share one header."""
    cost: float = 1.0
    """Cost of one frame at the usual preset, in units of libx264 medium; set by hand, for a first estimate."""
    extra_args: tuple[str, ...] = ()
    """The user's own options, in pairs of option and value; see `with_extra_args`."""

    @property
    def pix_fmt(self) -> str:
        """The pixel format that the encoder is fed."""
        return self.chosen_pix_fmt or self.pix_fmts[0]

    def with_pix_fmt(self, pix_fmt: str) -> "EncoderInfo":
        """The same encoder fed another pixel format; raises ConfigError if the table has none such for it."""
        if pix_fmt not in self.pix_fmts:
            raise ConfigError(
                f"{self.name} does not take {pix_fmt}", next_step=f"choose one of {', '.join(self.pix_fmts)}"
            )
        return replace(self, chosen_pix_fmt="" if pix_fmt == self.pix_fmts[0] else pix_fmt)

    def in_pass(self, kbps: float, number: Literal[1, 2]) -> "EncoderInfo":
        """The same encoder in one of two passes that aim at a bitrate; its rate value then means nothing."""
        return replace(self, aim=(kbps, number))

    def of_first(self, n_frames: int) -> "EncoderInfo":
        """The same encoder, which ends after so many frames and leaves other streams alone."""
        return replace(self, upload_filter=",".join([f"trim=end_frame={n_frames}", *self.upload()]))

    def rate_args(self, rate_value: float) -> list[str]:
        """Argv that sets constant quality at `rate_value` (on the encoder's own scale), or the bitrate aimed at.

        Two passes share a log, `passes` in the working folder.
        """
        if self.aim is not None:
            pairs = zip(self.constant_quality_args[::2], self.constant_quality_args[1::2], strict=True)
            kept = [part for option, value in pairs if option != "-b:v" for part in (option, value)]
            bits, number = str(round(self.aim[0] * 1000)), str(self.aim[1])
            return [*kept, "-b:v", bits, "-pass", number, "-passlogfile", "passes"]
        whole = float(rate_value).is_integer()
        flag = self.rate_flag if whole or not self.fine_rate_flag else self.fine_rate_flag
        args = list(self.constant_quality_args)
        for name in (flag, *self.also_rate_flags):
            args += setting(name, format_rate(rate_value))
        return args

    def preset_args(self, preset: str) -> list[str]:
        """Argv that sets the preset; empty for an encoder that has none to set."""
        return setting(self.preset_flag, preset) if self.preset_flag else []

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
        return self.presets.index(self.check_preset(preset)) / max(1, len(self.presets) - 1)

    def neighbours(self, preset: str, among: Iterable[str]) -> tuple[str, ...]:
        """`preset` itself if it is in `among`, else the nearest slower and the nearest faster one there.

        Empty if one side has no preset: then `preset` lies outside them.

        >>> from vmaf_assay.media.encoders.table import ENCODERS
        >>> ENCODERS["libx264"].neighbours("fast", ["slow", "medium", "veryfast"])
        ('medium', 'veryfast')
        """
        if same := self.equal_among(preset, among := set(among)):
            return (same,)
        at = self.presets.index(self.check_preset(preset))
        places = sorted(self.presets.index(self.check_preset(name)) for name in among)
        slower = [place for place in places if place < at]
        faster = [place for place in places if place > at]
        return (self.presets[slower[-1]], self.presets[faster[0]]) if slower and faster else ()

    def equal_among(self, preset: str, among: Iterable[str]) -> str:
        """`preset` if it is in `among`, else one there that gives the same bytes; else empty.

        >>> from vmaf_assay.media.encoders.table import ENCODERS
        >>> ENCODERS["libaom-av1"].equal_among("8", ["4", "6"])
        '6'
        """
        sets = [{preset}, *({*equal} for equal in self.equal_presets if preset in equal)]
        return next((name for one in sets for name in sorted(one & set(among))), "")

    def check_preset(self, preset: str) -> str:
        """Return `preset` if the encoder has it, else raise ConfigError."""
        if preset not in self.presets:
            raise ConfigError(
                f"{self.name} has no preset {preset!r}", next_step=f"choose one of {', '.join(self.presets)}"
            )
        return preset

    def check_size(self, width: int, height: int) -> None:
        """Raise MediaError if the encoder does not accept pictures of a size, px."""
        if width % self.size_multiple or height % self.size_multiple:
            fit = [side // self.size_multiple * self.size_multiple for side in (width, height)]
            raise MediaError(
                f"{self.name} takes sides that are multiples of {self.size_multiple}, not {width}x{height}",
                next_step=f"use another encoder, or --vf crop={fit[0]}:{fit[1]}",
            )

    def check_rate(self, rate_value: float) -> float:
        """Return `rate_value` if it is in the declared range, else raise ConfigError."""
        if not self.rate_min <= rate_value <= self.rate_max:
            raise ConfigError(
                f"{self.name} takes {self.rate_mode} {self.rate_min:g} to {self.rate_max:g}, not {rate_value:g}",
                next_step="choose --rates inside that range",
            )
        steps = rate_value / self.rate_resolution
        if abs(steps - round(steps)) > 1e-6:
            raise ConfigError(
                f"{self.name} takes {self.rate_mode} in steps of {self.rate_resolution:g}, not {rate_value:g}",
                next_step=f"write {round(steps) * self.rate_resolution:g}",
            )
        return rate_value


def format_rate(rate_value: float) -> str:
    """The rate value as argv text: no trailing zeros, never in exponent form."""
    return f"{rate_value:.2f}".rstrip("0").rstrip(".")
