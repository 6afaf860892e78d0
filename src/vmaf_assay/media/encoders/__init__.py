"""One record an encoder: options for quality, preset and threads, all other facts, and the names people use."""

import difflib
from collections.abc import Collection
from typing import NamedTuple

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders.options import join_args, with_extra_args
from vmaf_assay.media.encoders.record import SEGMENT_ALLOWANCE, EncoderInfo, RateMode, format_rate
from vmaf_assay.media.encoders.table import ENCODERS

__all__ = [
    "ENCODERS",
    "SEGMENT_ALLOWANCE",
    "EncoderInfo",
    "RateMode",
    "encoder_info",
    "format_rate",
    "join_args",
    "probed_by",
    "rate_unit",
    "with_extra_args",
]


def encoder_info(name: str) -> EncoderInfo:
    """The table's entry for `name`; raises ConfigError for a name it does not hold."""
    if name not in ENCODERS:
        raise ConfigError(f"unknown encoder {name!r}", next_step=f"choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name]


def rate_unit(encoder: str) -> str:
    """What an encoder's rate value is called; of one outside the table, `Q`.

    >>> rate_unit("libx264"), rate_unit("mpeg4")
    ('CRF', 'Q')
    """
    return ENCODERS[encoder].rate_mode.upper() if encoder in ENCODERS else "Q"


def probed_by(encoder: str) -> str:
    """The software encoder that is probed for an encoder; for a name outside the table, itself.

    >>> [probed_by(name) for name in ("libx264", "h264_nvenc", "hevc_amf", "libvvenc", "libaom-av1", "libvpx-vp9")]
    ['libx264', 'libx264', 'libx265', 'libx265', 'libsvtav1', 'libvpx-vp9']
    """
    info = ENCODERS.get(encoder)
    return info.probed_by if info else encoder


ALIASES = {
    "x264": "libx264",
    "x265": "libx265",
    "svt": "libsvtav1",
    "svtav1": "libsvtav1",
    "svt-av1": "libsvtav1",
    "libsvt-av1": "libsvtav1",
    "aom": "libaom-av1",
    "aom-av1": "libaom-av1",
    "aomenc": "libaom-av1",
    "libaom": "libaom-av1",
    "vp9": "libvpx-vp9",
    "vpx-vp9": "libvpx-vp9",
    "vpxenc": "libvpx-vp9",
    "libvpx": "libvpx-vp9",
    "vvenc": "libvvenc",
}
"""Names of projects and programs, in lower case and with `-` for `_`, for ffmpeg's name of the encoder."""

_CODECS = {
    "h264": "libx264",
    "avc": "libx264",
    "h265": "libx265",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vvc": "libvvenc",
    "h266": "libvvenc",
}
"""Names of codecs: several encoders make each, so that none is taken for granted; one is proposed."""


class NamedEncoder(NamedTuple):
    """What `-e` names."""

    encoder: str
    """ffmpeg's name, or the text as given if it is no name known here."""
    preset: str | None
    """The preset, if one is named."""
    rates: str
    """What follows a second colon: rate values, where a verb takes them."""


def read_encoder(text: str) -> NamedEncoder:
    """Take `NAME[:PRESET[:RATES]]` apart; an alias becomes ffmpeg's name.

    >>> read_encoder("x265:slow"), read_encoder("SVT_AV1")
    (NamedEncoder(encoder='libx265', preset='slow', rates=''), \
NamedEncoder(encoder='libsvtav1', preset=None, rates=''))
    """
    name, _, rest = text.strip().partition(":")
    preset, _, rates = rest.partition(":")
    plain = name.strip().lower()
    known = name if name in ENCODERS else ALIASES.get(plain.replace("_", "-"), plain)
    return NamedEncoder(known if known in ENCODERS else name, preset.strip() or None, rates.strip())


def check_named(name: str, answered: Collection[str], others: str = "") -> str:
    """The name, if the encoder table holds it.

    Args:
      name: from `read_encoder`.
      answered: encoders that the verb can answer for; the error lists these and no others.
      others: how others are named, for the error.

    Raises:
      ConfigError: it is not in the table.
    """
    if name in ENCODERS:
        return name
    listed = ", ".join(sorted(answered))
    plain = name.lower().replace(".", "")
    if proposed := _CODECS.get(plain):
        likely = [proposed] if proposed in answered else []
        raise ConfigError(
            f"{name!r} is a codec, not an encoder", next_step=f"name an encoder: {', '.join(likely) or listed}"
        )
    near = difflib.get_close_matches(plain, [*answered, *ALIASES], n=1)
    guess = f"did you mean {ALIASES.get(near[0], near[0])}? " if near else ""
    raise ConfigError(f"unknown encoder {name!r}", next_step=f"{guess}choose one of {listed}{others}")
