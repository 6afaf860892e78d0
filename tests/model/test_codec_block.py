"""What a model reads of an encode is fixed for ever."""

import pytest

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.model.codec_block import VOCABULARIES, codec_rows, codec_width, vocabulary_for

V2 = [
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
    "unknown",
]
V3 = [
    *V2[:-1],
    "libaom-av1",
    "h264_amf",
    "hevc_amf",
    "av1_amf",
    "h264_videotoolbox",
    "hevc_videotoolbox",
    "unknown",
]


V4 = [
    *V3[:-1],
    "h264_vaapi",
    "hevc_vaapi",
    "av1_vaapi",
    "h264_vulkan",
    "hevc_vulkan",
    "av1_vulkan",
    "librav1e",
    "libopenh264",
    "libkvazaar",
    "unknown",
]


def test_vocabularies_never_change():
    """Shipped models read these slots in this order; a new encoder is a new version."""
    assert list(VOCABULARIES[2]) == V2
    assert list(VOCABULARIES[3]) == V3
    assert list(VOCABULARIES[4]) == V4
    assert (codec_width(2), codec_width(3), codec_width(4)) == (14, 20, 29)


def test_the_newest_vocabulary_covers_the_table():
    """An encoder without a slot could be measured and never trained on."""
    assert set(VOCABULARIES[max(VOCABULARIES)]) == {*ENCODERS, "unknown"}


@pytest.mark.parametrize(
    ("encoders", "least", "version"),
    [(["libx264"], 2, 2), (["libx264"], 3, 3), (["libaom-av1"], 2, 3), (["libx264", "hevc_vaapi"], 2, 4)],
)
def test_training_takes_the_first_vocabulary_that_knows_its_encoders(encoders, least, version):
    """Models of encoders known for long keep their shape; others get the version that has a slot for them."""
    assert vocabulary_for(encoders, least) == version


def test_an_encoder_without_a_slot_is_refused():
    """Never put into `unknown` when a model is trained."""
    with pytest.raises(ConfigError, match="vocabulary 2 does not hold libaom-av1"):
        codec_rows(["libaom-av1"], ["6"], [30], version=2)
    with pytest.raises(ConfigError, match="no vocabulary of models holds libnew"):
        vocabulary_for(["libx264", "libnew"], 2)


def test_rows_by_hand():
    """x264 medium CRF 25.5 and SVT-AV1 preset 12 CRF 42 over the declared ranges, written out."""
    rows = codec_rows(["libx264", "libsvtav1"], ["medium", "12"], [25.5, 42], version=3)
    assert rows.shape == (2, 20)
    assert rows[:, :18].sum(axis=1).tolist() == [1, 1]
    assert rows[0, 0] == rows[1, 2] == 1
    assert rows[0, 19] == pytest.approx(25.5 / 51)  # x264 declares 0 to 51
    assert rows[1, 19] == pytest.approx(41 / 62)  # SVT-AV1: 1 to 63; 0 means "not given"
    assert 0 < rows[0, 18] < 1


def test_an_encoder_outside_the_vocabulary_takes_the_last_slot_of_older_models():
    """Version 2 does not know libaom-av1; version 3 does."""
    old = codec_rows(["libaom-av1"], ["6"], [30], version=2, unknown=True)[0]
    new = codec_rows(["libaom-av1"], ["6"], [30], version=3)[0]
    assert old[:12].tolist() == [0] * 11 + [1]
    assert new[11] == 1
    assert new[:18].sum() == 1
    assert old[12:].tolist() == new[18:].tolist()


@pytest.mark.parametrize(
    ("encoder", "preset", "version", "says"),
    [("libx264", "medium", 5, "version 5"), ("libx264", "12", 3, "no preset"), ("nonsense", "1", 3, "nonsense")],
)
def test_what_the_tables_do_not_know_is_refused(encoder, preset, version, says):
    """An unknown version, preset or encoder is an error, never a default."""
    with pytest.raises(ConfigError, match=says):
        codec_rows([encoder], [preset], [30], version=version)
