"""The table of encoders is sound, and a model's inputs stay in range."""

import re

import pytest

from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.media.encoders import ENCODERS, encoder_info, format_rate


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


@pytest.mark.ffmpeg
@pytest.mark.parametrize("info", ENCODERS.values(), ids=lambda info: info.name)
def test_every_option_is_one_the_encoder_lists(ffmpeg, info):
    """Each private option in the argv is in that encoder's own `-h encoder=` list, where ffmpeg knows it."""
    listing = process.run([ffmpeg.path, "-hide_banner", "-h", f"encoder={info.name}"]).stdout.decode()
    if "is not recognized" in listing or info.name not in listing:
        # This build lacks the encoder (VideoToolbox exists on macOS only); its absence is what doctor says.
        assert "videotoolbox" in info.name
        return
    generic = {"-b:v", "-threads", "-global_quality", "-q:v"}
    for option in [o for o in info.rate_args(30) if re.fullmatch(r"-[a-z].*", o)] + [info.preset_flag]:
        assert option in generic or re.search(rf"^\s+{option}\s", listing, re.MULTILINE), option


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
