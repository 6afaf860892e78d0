"""The codec block: the input columns for encoder, preset and rate value.

Every vocabulary is defined here. A model names the version it was trained with, and a mismatch is refused. The
order of a vocabulary never changes, because it is the order of the model's input columns.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS, encoder_info

VocabVersion = Literal[2, 3, 4]

_V2 = (
    "libx264",
    "libx265",
    "libsvtav1",
    "libvvenc",
    "libvpx-vp9",
    "h264_nvenc",
    "hevc_nvenc",
    "av1_nvenc",
    "h264_qsv",
    "hevc_qsv",
    "av1_qsv",
)
_V3_NEW = ("libaom-av1", "h264_amf", "hevc_amf", "av1_amf", "h264_videotoolbox", "hevc_videotoolbox")

_V4_NEW = (
    "h264_vaapi",
    "hevc_vaapi",
    "av1_vaapi",
    "h264_vulkan",
    "hevc_vulkan",
    "av1_vulkan",
    "librav1e",
    "libopenh264",
    "libkvazaar",
)

VOCABULARIES: dict[int, tuple[str, ...]] = {
    2: (*_V2, "unknown"),
    3: (*_V2, *_V3_NEW, "unknown"),
    4: (*_V2, *_V3_NEW, *_V4_NEW, "unknown"),
}
"""Encoder names by one-hot slot, for each vocabulary version. `unknown` is always last."""


def codec_width(version: int) -> int:
    """Columns of the codec block: the one-hot slots, then `preset_norm` and `crf_norm`."""
    if version not in VOCABULARIES:
        raise ConfigError(
            f"unknown encoder vocabulary version {version}", next_step=f"use one of {sorted(VOCABULARIES)}"
        )
    return len(VOCABULARIES[version]) + 2


def vocabulary_for(encoders: Collection[str], least: VocabVersion) -> VocabVersion:
    """The first version, from `least` on, that knows every encoder.

    Raises:
      ConfigError: an encoder is in none.
    """
    for version in (2, 3, 4):
        if version >= least and set(encoders) <= set(VOCABULARIES[version]) - {"unknown"}:
            return version
    missing = sorted(set(encoders) - set(VOCABULARIES[4]))
    raise ConfigError(
        f"no vocabulary of models holds {', '.join(missing)}",
        next_step="append it to the newest one as a new version",
    )


def codec_rows(
    encoders: Sequence[str],
    presets: Sequence[str],
    rate_values: Sequence[float],
    *,
    version: int,
    unknown: bool = False,
) -> NDArray[np.float32]:
    """The codec block of N encodes, [N, D].

    Args:
      encoders: ffmpeg encoder names.
      presets: the preset of each encode.
      rate_values: the rate value of each encode, on the encoder's own scale.
      version: vocabulary version; sets D (14 for 2, 20 for 3, 29 for 4).
      unknown: whether a name outside the vocabulary takes the `unknown` slot, as older models had it.

    Returns:
      float32 rows: one-hot encoder, `preset_norm` and `crf_norm` in [0, 1] over the encoder's declared
      range, never over a corpus's.

    Raises:
      ConfigError: an encoder, preset or rate value that the table of encoders does not know, or a name outside the
        vocabulary.
    """
    width = codec_width(version)
    vocabulary = VOCABULARIES[version]
    rows = np.zeros((len(encoders), width), dtype=np.float32)
    for index, (name, preset, rate_value) in enumerate(zip(encoders, presets, rate_values, strict=True)):
        info = ENCODERS.get(name) or encoder_info(name)
        if name not in vocabulary and not unknown:
            raise ConfigError(
                f"encoder vocabulary {version} does not hold {name}", next_step="train with a newer vocabulary"
            )
        slot = vocabulary.index(name) if name in vocabulary else len(vocabulary) - 1
        rows[index, slot] = 1.0
        rows[index, -2] = info.preset_norm(preset)
        rows[index, -1] = info.crf_norm(rate_value)
    return rows
