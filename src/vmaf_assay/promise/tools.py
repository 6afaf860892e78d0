"""The tools that a promise is bound to: versions of ffmpeg, libvmaf and encoders that it was calibrated with."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmaf_assay.model.sidecar import Sidecar

Tools = Mapping[str, str]
"""Versions by name: `ffmpeg`, `libvmaf` and encoders, as `media/capability.py` reads them."""

MEASURED_WITH: Tools = {
    "ffmpeg": "n9.0.2-17-g2a571b6068-20260930",
    "libvmaf": "86da14d",
    "libx264": "165",
    "libx265": "217 4.3+49-020d7054",
    "libsvtav1": "v4.2.0-151-g5ed9ffbcb",
    "libvpx-vp9": "v1.17.0",
    "libaom-av1": "v3.15.1",
    "libvvenc": "1.15.0-dev",
}
"""What every cell of the corpora below was measured with: the build for Linux in imageio-ffmpeg 0.8.1."""

CORPORA = (
    "3623d6bccd1d4f9cdb35d38c9f87efab029557f269c7988d6ef4d63858469e1f",
    "234396cd01ca4bcde15b6a5e8f85151a7b9a2f87a01f5dc0e1013cd96441f220",
    "e32f4d11956b22556f26b98f4ea582dc2aba9d688fb644773a03c15db316e824",
    "cb1b039ac68eea70ea219fca8b38c3b5d1a6552032cabb2acf6725d2dcf3ad20",
    "270e6fb6fb52db5827025b9e8036135b6f07e6988f74acfcaef916ef70cc7f02",
)
"""Digests of this project's corpora from before sidecars named tools (ADR-0435), oldest first."""


def calibrated_tools(sidecar: "Sidecar") -> dict[str, list[str]]:
    """Versions that a model's corpus was measured with, by tool; empty if nothing says it."""
    if sidecar.tools is not None:
        return sidecar.tools
    if sidecar.corpus_digest in CORPORA:
        return {name: [version] for name, version in MEASURED_WITH.items()}
    return {}


def tools_reason(sidecar: "Sidecar", tools: Tools) -> str:
    """Why a promise does not hold with these tools, in words; '' if they are those of the calibration.

    >>> from types import SimpleNamespace
    >>> sidecar = SimpleNamespace(tools={"ffmpeg": ["7.1"], "libx264": ["164", "165"]})
    >>> tools_reason(sidecar, {"ffmpeg": "7.1", "libx264": "165"})
    ''
    >>> tools_reason(sidecar, {"ffmpeg": "8.0", "libx264": "165"})
    'calibrated with other versions than ffmpeg 8.0'
    """
    known = calibrated_tools(sidecar)
    if not tools:
        return "nothing says which ffmpeg and encoder are used"
    if not known:
        return "the model does not say which ffmpeg it was calibrated with"
    other = [f"{name} {version}" for name, version in tools.items() if version not in known.get(name, ())]
    return f"calibrated with other versions than {', '.join(other)}" if other else ""
