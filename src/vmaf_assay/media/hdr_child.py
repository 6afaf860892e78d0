"""Read what each frame of a video says of its own brightness: HDR10+ and Dolby Vision, as the decoder gives it.

A process of its own, as `demux_child.py` is, and for the same reasons: the standard library and PyAV alone.

argv: FILE, the index of the stream, the demuxers allowed. Standard output is the number of frames now and
then, and at last a line of JSON. It has `n_frames`, `dolby` (frames with Dolby Vision), and `plus` (of each frame
what x265 reads of HDR10+, or null).
"""

import contextlib
import ctypes
import json
import os
import sys
from typing import Any

import av
import av.logging

MAX_BYTES = 12 << 30
"""Address space that decoding may take."""

SAY_EVERY = 64
"""Frames between two lines of progress."""

SCALE = 100000
"""Unit of a light value: the standard (SMPTE ST 2094-40) counts in steps of 1/100000."""


class Rational(ctypes.Structure):
    """`AVRational`."""

    _fields_ = (("num", ctypes.c_int), ("den", ctypes.c_int))

    def scaled(self, by: int) -> int:
        """The value in units of 1/`by`."""
        return round(self.num * by / self.den) if self.den else 0


class Percentile(ctypes.Structure):
    """`AVHDRPlusPercentile`."""

    _fields_ = (("percentage", ctypes.c_uint8), ("percentile", Rational))


class Window(ctypes.Structure):
    """`AVHDRPlusColorTransformParams`."""

    _fields_ = (
        ("corners", Rational * 4),
        ("center_x", ctypes.c_uint16),
        ("center_y", ctypes.c_uint16),
        ("rotation_angle", ctypes.c_uint8),
        ("semi_axes", ctypes.c_uint16 * 3),
        ("overlap", ctypes.c_int),
        ("maxscl", Rational * 3),
        ("average_maxrgb", Rational),
        ("n_percentiles", ctypes.c_uint8),
        ("percentiles", Percentile * 15),
        ("fraction_bright", Rational),
        ("tone_mapping", ctypes.c_uint8),
        ("knee_x", Rational),
        ("knee_y", Rational),
        ("n_anchors", ctypes.c_uint8),
        ("anchors", Rational * 15),
        ("saturation", ctypes.c_uint8),
        ("saturation_weight", Rational),
    )


class Plus(ctypes.Structure):
    """The beginning of `AVDynamicHDRPlus` (libavutil/hdr_dynamic_metadata.h)."""

    _fields_ = (
        ("country", ctypes.c_uint8),
        ("version", ctypes.c_uint8),
        ("n_windows", ctypes.c_uint8),
        ("windows", Window * 3),
        ("target", Rational),
    )


def limit() -> None:
    """Bound what a hostile file can make this process do."""
    try:
        import resource
    except ImportError:  # not POSIX
        return
    for what, most in ((resource.RLIMIT_AS, MAX_BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def say(line: str) -> None:
    """Write a line to the caller at once."""
    data = memoryview(f"{line}\n".encode())
    while data:
        data = data[os.write(1, data) :]


def plus_of(data: bytes, number: int) -> dict[str, Any] | None:
    """What x265 reads of one frame; None if it has more windows than one, or is not of this layout."""
    if len(data) < ctypes.sizeof(Plus):
        return None
    said = Plus.from_buffer_copy(data)
    window = said.windows[0]
    if said.n_windows != 1 or window.saturation:
        return None
    if window.n_percentiles > 15 or window.n_anchors > 15 or any(one.den != SCALE for one in window.maxscl):
        return None
    steps = window.percentiles[: window.n_percentiles]
    made: dict[str, Any] = {
        "LuminanceParameters": {
            "AverageRGB": window.average_maxrgb.scaled(SCALE),
            "LuminanceDistributions": {
                "DistributionIndex": [one.percentage for one in steps],
                "DistributionValues": [one.percentile.scaled(SCALE) for one in steps],
            },
            "MaxScl": [one.scaled(SCALE) for one in window.maxscl],
        },
        "NumberOfWindows": 1,
        "TargetedSystemDisplayMaximumLuminance": said.target.scaled(1),
        "SceneFrameIndex": number,
        "SceneId": 0,
        "SequenceFrameIndex": number,
    }
    if window.tone_mapping:
        made["BezierCurveData"] = {
            "Anchors": [one.scaled(1023) for one in window.anchors[: window.n_anchors]],
            "KneePointX": window.knee_x.scaled(4095),
            "KneePointY": window.knee_y.scaled(4095),
        }
    return made


def main(path: str, index: int, demuxers: str) -> dict[str, Any]:
    """What every frame says."""
    dolby, plus = 0, []
    guards = {"protocol_whitelist": "file", "format_whitelist": demuxers}
    with av.open(f"file:{path}", options=guards, metadata_errors="replace") as file:
        stream: Any = file.streams[index]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(file.decode(stream)):
            kinds: dict[str, Any] = {data.type.name: data for data in frame.side_data}
            dolby += "DOVI_METADATA" in kinds
            found = kinds.get("DYNAMIC_HDR_PLUS")
            plus.append(plus_of(bytes(found), number) if found is not None else None)
            if number % SAY_EVERY == 0:
                say(str(number))
    return {"n_frames": len(plus), "dolby": dolby, "plus": plus}


if __name__ == "__main__":
    limit()
    av.logging.set_level(None)
    say(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
