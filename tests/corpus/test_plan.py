"""Cell keys stay what they were, so that a finished corpus stays finished."""

from fractions import Fraction
from pathlib import Path

import pytest

from vmaf_assay.corpus.plan import CorpusReference, cell_key
from vmaf_assay.corpus.sources import Source
from vmaf_assay.media.encoders import encoder_info

# Computed with the release that measured the shipped corpus (commit f5e5d6a).
_KEYS = [
    ("libx264", "medium", 30.0, "44ac7cf25e84d1d730bed377bd9e5846ad4f9ecc25fc96c8376abdc5cce2a733"),
    ("libx265", "fast", 22.5, "b6f65d7db0bc92e5df749b9a483e8bffc37e233ee0acceef8b6822c973026230"),
    ("libsvtav1", "8", 40.0, "7cdc167a97f2e340a5f4c43f82d291a308c3691225cb63a207bcc0d057bf9013"),
    ("libvpx-vp9", "4", 33.0, "8f9a8a0542b05936f4dc879e08d70fd87a03b93f5351aaab6dd9bc5b09e2b8d3"),
]


@pytest.mark.parametrize(("encoder", "preset", "rate_value", "key"), _KEYS)
def test_keys_of_measured_cells_do_not_change(encoder, preset, rate_value, key):
    """The key of an ordinary cell, to the letter: a change would throw every measured corpus away."""
    rendition = CorpusReference(
        "a", Source("a", "a", Path("a.mp4")), "0" * 64, (1280, 720), Fraction(30000, 1001), max_frames=96
    )
    versions = {"ffmpeg": "n9", "libvmaf": "3.0.0", encoder: "1"}
    assert cell_key(rendition, encoder_info(encoder), preset, rate_value, versions) == key
