"""Any other encoder of ffmpeg's, driven by an option that the user names (`--rate-flag`, `--rate-range`). Pure."""

import re
from dataclasses import dataclass, replace

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders.options import words
from vmaf_assay.media.encoders.record import EncoderInfo
from vmaf_assay.media.encoders.table import ENCODERS

COMMON_FLAGS = words("-q:v -qscale:v -global_quality -global_quality:v")
"""Options of ffmpeg's own that set an encoder's quality; every encoder may have them."""

QSCALE_FLAGS = words("-q:v -qscale:v")
"""Of these, a lower value from 1 up is the quantiser's step, as in MPEG-1, -2 and -4."""

DEFAULT_PRESET = "default"
"""The one preset of an encoder outside the table."""

_FORMATS = (
    *("yuv420p", "nv12", "yuv420p10le", "p010le", "yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le"),
    *("yuvj420p", "yuvj422p", "yuvj444p"),
)
"""Pixel formats, preferred first: those nearest to what is scored."""

_NUMERIC = words("<int> <int64> <uint> <float> <double> <boolean> <flags> <rational> <uint64>")
"""Types of options whose values cannot name a file."""

_CONSTANT: dict[str, tuple[str, ...]] = {"libvpx": ("-b:v", "100M")}
"""What else makes the rate option constant quality: VP8's -crf is a lower bound of quality within -b:v."""

_THREADS = ("-threads", "1")
"""The same bytes on any number of cores; slices of several threads also cost bits."""


@dataclass(frozen=True, slots=True)
class Drive:
    """How the user drives an encoder."""

    flag: str = ""
    """The option that takes the rate value, as `-q:v`; empty keeps the table's."""
    low: float | None = None
    """Lowest rate value; None keeps the table's."""
    high: float | None = None
    """Highest rate value; None keeps the table's."""
    step: float | None = None
    """Step between rate values to choose from; None is 1, or the table's."""

    def __bool__(self) -> bool:
        return (self.flag, self.low, self.high, self.step) != ("", None, None, None)


NO_DRIVE = Drive()
"""The encoder as the table has it."""


def read_drive(flag: str, rate_range: str, step: float | None) -> Drive:
    """`--rate-flag`, `--rate-range LOW:HIGH` and `--rate-step` as one record.

    >>> read_drive("-q:v", "1:31", None)
    Drive(flag='-q:v', low=1.0, high=31.0, step=None)

    Raises:
      ConfigError: a range that is not two numbers, the lower first, or a step that does not fit into it.
    """
    if flag and not re.fullmatch(r"-[A-Za-z][\w:.-]*( [a-z][\w-]*)?", flag):
        raise ConfigError(f"--rate-flag {flag!r} is not an option", next_step="write it as ffmpeg does, as -q:v")
    low = high = None
    if rate_range:
        match = re.fullmatch(r"(-?\d{1,6}(?:\.\d{1,2})?):(-?\d{1,6}(?:\.\d{1,2})?)", rate_range)
        if match is None or float(match[1]) >= float(match[2]):
            raise ConfigError(
                f"--rate-range {rate_range!r} is not LOW:HIGH", next_step="write the lower number first, as 1:31"
            )
        low, high = float(match[1]), float(match[2])
    if step is not None and not (step >= 0.01 and (low is None or high is None or step <= high - low)):
        raise ConfigError(f"--rate-step {step:g} is no step of that range", next_step="leave it out for 1")
    return Drive(flag, low, high, step)


def driven(name: str, drive: Drive) -> EncoderInfo:
    """The encoder as the user drives it; of one outside the table neither options nor direction are known yet.

    Raises:
      ConfigError: too little is said of an encoder outside the table, or the table's own encoder cannot do that.
    """
    known = ENCODERS.get(name)
    if known is not None:
        return _table_driven(known, drive)
    if not drive.flag or drive.low is None or drive.high is None:
        raise ConfigError(
            f"{name} is not in the encoder table: --rate-flag and --rate-range say how its quality is set",
            next_step=f"write -e {name} --rate-flag -q:v --rate-range 1:31, with its own option and range",
        )
    return EncoderInfo(
        name,
        "q",
        drive.flag,
        drive.low,
        drive.high,
        drive.step or 1.0,
        True,
        "",
        (DEFAULT_PRESET,),
        DEFAULT_PRESET,
        name,
        rate_resolution=0.01,
        constant_quality_args=_CONSTANT.get(name, ()),
        fixed_args=_THREADS,
        raw_muxer="matroska",
    )


def _table_driven(known: EncoderInfo, drive: Drive) -> EncoderInfo:
    own = (known.rate_flag, *([known.fine_rate_flag] if known.fine_rate_flag else []))
    if drive.flag and drive.flag not in own:
        raise ConfigError(
            f"{known.name} is in the encoder table, and its quality is set by {' or '.join(own)}",
            next_step="leave --rate-flag out",
        )
    low = known.rate_min if drive.low is None else drive.low
    high = known.rate_max if drive.high is None else drive.high
    step = known.rate_step if drive.step is None else drive.step
    finer = drive.flag == known.fine_rate_flag and bool(drive.flag)
    if not finer and not known.rate_min <= low < high <= known.rate_max:
        raise ConfigError(
            f"{known.name} takes {known.rate_mode} {known.rate_min:g} to {known.rate_max:g}, not "
            f"{low:g} to {high:g}",
            next_step="choose a --rate-range inside that",
        )
    parts = step / known.rate_resolution
    if abs(parts - round(parts)) > 1e-6 or round(parts) < 1:
        raise ConfigError(
            f"{known.name} takes {known.rate_mode} in steps of {known.rate_resolution:g}, not {step:g}",
            next_step=f"write --rate-step {known.rate_resolution:g}",
        )
    return replace(
        known, rate_min=low, rate_max=high, rate_step=step, rate_flag=drive.flag if finer else known.rate_flag
    )


@dataclass(frozen=True, slots=True)
class EncoderHelp:
    """What `ffmpeg -h encoder=NAME` says."""

    options: dict[str, str]
    """Option -> the rest of its line: type, flags and range."""
    pix_fmts: tuple[str, ...]
    """Pixel formats that it takes; empty if it names none."""

    @property
    def harmless(self) -> frozenset[str]:
        """Options whose values are numbers or names of the encoder's own, so that they cannot open a file."""
        return frozenset(name[1:] for name, rest in self.options.items() if rest.split()[0] in _NUMERIC)

    def bounds(self, option: str) -> tuple[float, float] | None:
        """The range that an option declares; None if it is endless or none is stated."""
        match = re.search(r"\(from (-?[\d.e+]+) to (-?[\d.e+]+)\)", self.options.get(option, ""))
        return (float(match[1]), float(match[2])) if match else None


def read_help(text: str) -> EncoderHelp | None:
    """What ffmpeg says of a video encoder; None if it knows none of that name."""
    if not re.search(r"^Encoder \S+ \[", text, re.MULTILINE) or "Supported sample formats" in text:
        return None
    options = re.findall(r"^  (-\S+)\s+(<\w+>\s+E\.+V\S*.*)$", text, re.MULTILINE)
    formats = re.search(r"Supported pixel formats: (.*)", text)
    return EncoderHelp(dict(options), tuple(formats[1].split()) if formats else ())


def whole(info: EncoderInfo) -> bool:
    """Whether every rate value that may be chosen is whole."""
    return info.rate_min.is_integer() and info.rate_step.is_integer()


def completed(info: EncoderInfo, said: EncoderHelp) -> EncoderInfo:
    """The encoder with its own options and a pixel format, from ffmpeg's description of it.

    Raises:
      ConfigError: it has no such rate option, the range lies outside the option's, or it takes no pixel format
        that a picture can be brought to in memory.
    """
    option = info.rate_flag.partition(" ")[0]
    if option not in {*said.options, *COMMON_FLAGS}:
        numeric = sorted(f"-{name}" for name in said.harmless if re.search(r"^(q|crf|cq|qp|quality|global)", name))
        raise ConfigError(
            f"{info.name} has no option {option}",
            next_step=f"its own are in `ffmpeg -h encoder={info.name}`; try {', '.join([*numeric[:4], '-q:v'])}",
        )
    if said.options.get(option, "").startswith(("<int", "<uint")) and not whole(info):
        raise ConfigError(
            f"{option} of {info.name} takes whole numbers", next_step="choose --rate-range and --rate-step whole"
        )
    bounds = said.bounds(option)
    if bounds and not bounds[0] <= info.rate_min < info.rate_max <= bounds[1]:
        raise ConfigError(
            f"{option} of {info.name} goes from {bounds[0]:g} to {bounds[1]:g}, not {info.rate_min:g} to "
            f"{info.rate_max:g}",
            next_step="choose a --rate-range inside that",
        )
    fit = tuple(name for name in _FORMATS if name in said.pix_fmts) or (() if said.pix_fmts else ("yuv420p",))
    if not fit:
        raise ConfigError(
            f"{info.name} takes {', '.join(said.pix_fmts[:4])} only, which no picture here is converted to",
            next_step="choose another encoder",
        )
    return replace(info, options=said.harmless, pix_fmts=fit)
