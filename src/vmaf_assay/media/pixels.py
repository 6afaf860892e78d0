"""Facts in ffmpeg's pixel format names: chroma grid, bits a sample, alpha."""

import re
from typing import Literal, NamedTuple

Chroma = Literal["420", "422", "444", "440", "411", "410", "gray", "rgb", "unknown"]


class PixelFacts(NamedTuple):
    """Facts in a pixel format's name."""

    chroma: Chroma
    """How chroma is sampled; `rgb` and `gray` have none of their own."""
    bit_depth: int
    """Bits a sample."""
    alpha: bool
    """True if a transparency plane comes with the picture."""


_ALPHA = re.compile(r"yuva|ya\d|yaf|rgba|bgra|argb|abgr|gbrap|ayuv|vuya|uyva")
# Packed and semi-planar names that do not spell their chroma out.
_SEMI_PLANAR = {
    "nv12": "420",
    "nv21": "420",
    "nv16": "422",
    "nv20": "422",
    "nv24": "444",
    "nv42": "444",
    "p0": "420",
    "p2": "422",
    "p4": "444",
    "y2": "422",
    "xv": "444",
    "v30": "444",
    "ayuv": "444",
    "vuy": "444",
    "vyu": "444",
    "uyva": "444",
    "yuyv": "422",
    "yvyu": "422",
    "uyvy": "422",
    "uyyvyy": "411",
}


def pixel_facts(pix_fmt: str) -> PixelFacts:
    """Read a pixel format's name.

    >>> pixel_facts("yuv420p10le")
    PixelFacts(chroma='420', bit_depth=10, alpha=False)
    >>> pixel_facts("gbrap")
    PixelFacts(chroma='rgb', bit_depth=8, alpha=True)
    """
    return PixelFacts(_chroma(pix_fmt), _bit_depth(pix_fmt), bool(_ALPHA.match(pix_fmt)))


def _chroma(name: str) -> Chroma:
    if name.startswith(("gray", "mono", "ya")):
        return "gray"
    if re.match(r"gbr|rgb|bgr|argb|abgr|0rgb|0bgr|x2|pal8|bayer|xyz", name):
        return "rgb"
    spelled = re.match(r"yuv[aj]?(4\d\d)p", name)
    grid = spelled[1] if spelled else next((g for p, g in _SEMI_PLANAR.items() if name.startswith(p)), "unknown")
    return grid  # type: ignore[return-value] # one of the literals, by the two tables above


def _bit_depth(name: str) -> int:
    if packed := re.match(r"(?:rgb|bgr)(48|96)", name):
        return int(packed[1]) // 3
    if packed := re.match(r"(?:rgba|bgra|ayuv)(64|128)", name):
        return int(packed[1]) // 4
    semi = re.match(r"(?:p[024]|y2)(\d\d)", name)
    if semi:
        return int(semi[1])
    if name.startswith("xv"):
        return {"30": 10, "36": 12, "48": 16}.get(name[2:4], 8)
    if name.startswith(("nv20", "v30x", "x2")):
        return 10
    written = re.match(r"(?:yuv[aj]?4\d\dp|gbra?pf?|grayf?|yaf?|rgba?f|xyz|bayer_\w{4})(\d+)", name)
    return int(written[1]) if written else 8
