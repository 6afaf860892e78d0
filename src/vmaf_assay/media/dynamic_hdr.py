"""HDR10+ and Dolby Vision: what each frame of a source says of its own brightness."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import DEMUXERS
from vmaf_assay.records import VideoInfo

_CHILD = Path(__file__).with_name("hdr_child.py")


@dataclass(frozen=True, slots=True)
class DynamicHdr:
    """What the frames of a source hold."""

    dolby: bool
    """Every frame has Dolby Vision metadata."""
    hdr10plus: bytes
    """HDR10+ of every frame, as x265 reads it (JSON); empty if a frame has none, or more windows than one."""


NONE = DynamicHdr(dolby=False, hdr10plus=b"")
"""A source that has neither on every frame."""


def has_dolby(video: VideoInfo) -> bool:
    """Whether the first picture has Dolby Vision metadata."""
    return any("Dolby Vision" in name for name in video.side_data)


def has_hdr10plus(video: VideoInfo) -> bool:
    """Whether the first picture has HDR10+ metadata."""
    return any("HDR10+" in name for name in video.side_data)


def read_dynamic_hdr(path: Path, video: VideoInfo, on_frames: Callable[[int], None] | None = None) -> DynamicHdr:
    """Decode a source, and read the metadata of each frame.

    Args:
      path: the source.
      video: its facts.
      on_frames: called with the number of frames read.

    Returns:
      What is on every frame; `NONE` if the library decodes another number of frames, or fails.
    """
    last = ""

    def on_line(line: str) -> None:
        nonlocal last
        last = line
        if on_frames and line.isdigit():
            on_frames(int(line))

    argv = [sys.executable, "-P", str(_CHILD), str(path.resolve()), str(video.stream), DEMUXERS]
    done = process.run(argv, timeout_s=36000, on_line=on_line)
    if done.exit_code != 0 or not last.startswith("{"):
        return NONE
    said = json.loads(last)
    n_frames, plus = video.n_frames, said["plus"]
    if said["n_frames"] != n_frames:
        return NONE
    document = {"JSONInfo": {"HDR10plusProfile": "A", "Version": "1.0"}, "SceneInfo": plus}
    every = n_frames > 0 and all(plus)
    return DynamicHdr(said["dolby"] == n_frames, json.dumps(document).encode() if every else b"")
