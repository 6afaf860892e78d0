"""One record an encoder: options for quality, preset and threads, and all other facts by encoder name."""

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
