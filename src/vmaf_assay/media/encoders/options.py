"""The user's own encoder options: read, checked against what the encoder's record allows, and joined to ours."""

import re
import shlex
from dataclasses import replace

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders.allowed import GENERIC, words
from vmaf_assay.media.encoders.record import EncoderInfo

# The user never sets quality, threads, frames or streams, even with --unsafe-args.
_OURS = words(
    "c codec vcodec b crf qp q qscale global_quality cq cpu-used preset threads row-mt i f map vf filter",
    "filter_complex lavfi r s ss sseof t to frames vframes fps_mode vsync enc_time_base flags pix_fmt bsf",
    "y n",
)
_OUR_KEYS = words(
    "crf qp bitrate rc tbr pass threads lookahead-threads sliced-threads pools numa-pools frame-threads",
    "lp pin tile-threads fps preset",
)


def with_extra_args(info: EncoderInfo, text: str, *, unsafe: bool = False) -> EncoderInfo:
    """The encoder with the user's options added, as in `-tune grain -g 48`.

    Args:
      info: entry of the table.
      text: options as a shell would read them; each takes one value.
      unsafe: whether options outside the encoder's own list are passed on, those that open files among them.

    Raises:
      ConfigError: an option without a value, or a bare word, which ffmpeg would take for an output. Also one that
        decides rate, preset, threads, frames or streams, or that is not known to leave files alone.
    """
    try:
        given = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--encoder-args {text!r}: {error}", next_step="quote it once") from error
    options, values = given[::2], given[1::2]
    bare = next((word for word in options if not re.fullmatch(r"-[A-Za-z][\w:.-]*", word)), None)
    if bare is not None or len(options) != len(values):
        raise ConfigError(
            f"--encoder-args {text!r}: "
            + (f"{bare!r} is not an option" if bare else f"{options[-1]} has no value"),
            next_step="write pairs, as '-tune grain -g 48'",
        )
    for option, value in zip(options, values, strict=True):
        if option == info.params_option:
            for key in _keys(info, value):
                _check_key(info, option, key, unsafe=unsafe)
        else:
            _check_option(info, option, unsafe=unsafe)
    return replace(info, extra_args=tuple(given))


def _check_option(info: EncoderInfo, option: str, *, unsafe: bool) -> None:
    if option == info.preset_flag:
        raise ConfigError(
            f"--encoder-args: {option} of {info.name} is set by --preset",
            next_step=f"use --preset, or -e {info.name}:PRESET",
        )
    name = option[1:].partition(":")[0]
    flags = {
        info.rate_flag,
        *info.also_rate_flags,
        *info.constant_quality_args,
        *info.fixed_args,
        *info.device_args,
    }
    if option in flags or name in _OURS:
        raise ConfigError(
            f"--encoder-args: {option} of {info.name} is set by the encoder table",
            next_step="leave it out; rates are chosen, and threads are fixed so that every encode is the same",
        )
    if name not in info.options | (GENERIC if info.takes_generic else set()) and not unsafe:
        raise ConfigError(
            f"--encoder-args: {option} is not among the options of {info.name} known to leave files alone",
            next_step="correct its spelling, or add --unsafe-args if you trust it",
        )


def _check_key(info: EncoderInfo, option: str, key: str, *, unsafe: bool) -> None:
    fixed = {
        setting.partition("=")[0] for value in info.fixed_args for setting in value.split(info.params_separator)
    }
    if key in _OUR_KEYS | fixed:
        raise ConfigError(
            f"--encoder-args: {key} of {info.name} is set by the encoder table",
            next_step="leave it out; rates are chosen, and threads are fixed so that every encode is the same",
        )
    if key not in info.params and not unsafe:
        raise ConfigError(
            f"--encoder-args: {key} of {option} is no setting of {info.name} known to leave files alone",
            next_step="correct its spelling, or add --unsafe-args if you trust it",
        )


def _keys(info: EncoderInfo, value: str) -> list[str]:
    """Names of the settings in the value of `params_option`, as the encoder writes them."""
    settings = [part.partition("=")[0] for part in value.split(info.params_separator) if part]
    return [key.strip().lower().replace("_", "-") for key in settings]


def join_args(info: EncoderInfo, args: list[str]) -> list[str]:
    """Options in pairs, with all settings of `params_option` in one, because of two the last would win.

    >>> from vmaf_assay.media.encoders.table import ENCODERS
    >>> join_args(ENCODERS["libx265"], ["-x265-params", "pools=3", "-g", "48", "-x265-params", "aq-mode=3"])
    ['-x265-params', 'pools=3:aq-mode=3', '-g', '48']
    """
    joined: list[str] = []
    for option, value in zip(args[::2], args[1::2], strict=True):
        if option == info.params_option and option in joined:
            joined[joined.index(option) + 1] += f"{info.params_separator}{value}"
        else:
            joined += [option, value]
    return joined
