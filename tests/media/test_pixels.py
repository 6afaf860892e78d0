"""What is read off a pixel format's name is what ffmpeg says of it."""

import re

import pytest

from vmaf_assay.media import process
from vmaf_assay.media.facts import pixel_facts

pytestmark = pytest.mark.ffmpeg


def test_names_agree_with_ffmpeg(ffmpeg):
    """Bits and alpha of every format a decoder may give (each component equal) agree with `ffmpeg -pix_fmts`."""
    listing = process.run([ffmpeg.path, "-hide_banner", "-pix_fmts"]).stdout.decode()
    rows = re.findall(r"^I[O.][.H]..\s+(\w+)\s+(\d)\s+\d+\s+([\d-]+)$", listing, re.MULTILINE)
    assert len(rows) > 150
    checked = 0
    for name, components, depths in rows:
        bits = {int(bit) for bit in depths.split("-")}
        if len(bits) > 1 or name.startswith(("bayer", "mono")) or "444" in name[:6] or "555" in name:
            continue  # 5-6-5 and the like have no one number; nothing delivered as video uses them
        facts = pixel_facts(name)
        assert facts.bit_depth == bits.pop(), name
        assert facts.alpha == (components in "24"), name
        checked += 1
    assert checked > 140


@pytest.mark.parametrize(
    ("name", "chroma"),
    [
        ("yuv420p", "420"),
        ("yuvj422p", "422"),
        ("yuva444p12le", "444"),
        ("nv12", "420"),
        ("p010le", "420"),
        ("p210le", "422"),
        ("y210le", "422"),
        ("gray10le", "gray"),
        ("gbrp10le", "rgb"),
        ("argb", "rgb"),
        ("ya8", "gray"),
        ("pal8", "rgb"),
        ("vulkan", "unknown"),
    ],
)
def test_chroma_is_named(name, chroma):
    """The chroma grid of formats that spell it out and of those that do not."""
    assert pixel_facts(name).chroma == chroma
