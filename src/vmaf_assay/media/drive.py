"""An encoder outside the table, made usable: described by ffmpeg, and its direction found by two small encodes."""

import tempfile
from dataclasses import replace
from pathlib import Path

from vmaf_assay.errors import ConfigError
from vmaf_assay.media import commands, process
from vmaf_assay.media.capability import TIMEOUT_S, explain
from vmaf_assay.media.encoders import ENCODERS, EncoderInfo
from vmaf_assay.media.encoders.driven import QSCALE_FLAGS, Drive, completed, driven, read_help
from vmaf_assay.media.ffmpeg import Ffmpeg

N_FRAMES = 8
"""Test pictures of each encode that finds the direction."""

PLACES = (0.1, 0.9)
"""Where in the range they are made. Half of an extreme range is often equal to its end."""


def drive_encoder(ffmpeg: Ffmpeg, name: str, drive: Drive) -> EncoderInfo:
    """The encoder as the user drives it, with its options, pixel format and direction.

    Raises:
      ConfigError: ffmpeg has no such encoder, it has no such option, or the option does not change what it makes.
    """
    info = driven(name, drive)
    if name in ENCODERS:
        return info
    done = process.run([ffmpeg.path, "-hide_banner", "-h", f"encoder={name}"], timeout_s=TIMEOUT_S)
    said = read_help(done.stdout.decode("utf-8", "replace"))
    if said is None:
        raise ConfigError(f"this ffmpeg has no video encoder {name!r}", next_step="see `ffmpeg -encoders`")
    info = completed(info, said)
    lower = _lower_is_better(ffmpeg, info)
    step = lower and info.rate_min >= 1 and info.rate_flag in QSCALE_FLAGS
    return replace(info, lower_is_better=lower, linear_step=step)


def _lower_is_better(ffmpeg: Ffmpeg, info: EncoderInfo) -> bool:
    """Whether a smaller rate value gives more bytes."""
    span = info.rate_max - info.rate_min
    steps = [round(place * span / info.rate_step) for place in PLACES]
    low, high = (round(info.rate_min + step * info.rate_step, 2) for step in steps)
    with tempfile.TemporaryDirectory(prefix="assay-drive-") as folder:
        sizes = [
            _size(ffmpeg, info, rate, Path(folder) / f"{number}.mkv") for number, rate in enumerate((low, high))
        ]
    if sizes[0] == sizes[1]:
        raise ConfigError(
            f"{info.rate_flag} {low:g} and {high:g} of {info.name} make the same {sizes[0]} bytes, so it does "
            "not set its quality",
            next_step=f"name another --rate-flag; see `ffmpeg -h encoder={info.name}`",
        )
    return sizes[0] > sizes[1]


def _size(ffmpeg: Ffmpeg, info: EncoderInfo, rate_value: float, out: Path) -> int:
    """Bytes of a small encode; raises ConfigError if it fails."""
    command = commands.try_encoder(
        info, info.default_preset, rate_value=rate_value, n_frames=N_FRAMES, muxer="matroska"
    )
    done = process.run(command.argv(ffmpeg, output=out), timeout_s=TIMEOUT_S)
    if done.exit_code != 0 or not out.exists():
        raise ConfigError(
            f"{info.name} does not work with {info.rate_flag} {rate_value:g}: {explain(done)}",
            next_step="check --rate-flag and --rate-range",
        )
    return out.stat().st_size
