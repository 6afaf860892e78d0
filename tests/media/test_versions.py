"""Versions name what measured, because a cell's key rests on them."""

import re

import pytest

from vmaf_assay.media.capability import tool_versions

pytestmark = pytest.mark.ffmpeg

SOFTWARE = ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "libaom-av1", "libvvenc"]


def test_every_software_encoder_names_its_own_version(ffmpeg):
    """None falls back on ffmpeg's version, and none (VVenC in NUT once did) fails for want of a container."""
    versions = tool_versions(ffmpeg, SOFTWARE)
    assert set(versions) == {"ffmpeg", "libvmaf", *SOFTWARE}
    for name in SOFTWARE:
        assert re.search(r"\d", versions[name]), name
        assert not versions[name].startswith("in ffmpeg"), name
