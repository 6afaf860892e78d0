"""Edits of ISO files and H.264 streams that no muxer here makes."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta"}


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte, last byte + 1) of the boxes between two places."""
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        size = end - start if size == 0 else size
        yield kind, start, start + size
        start += size


def _rewrite(data: bytes, change) -> bytes:
    """The boxes with `change(kind, payload, track)` in place of each payload; None drops the box."""
    track = 0
    out = b""
    for kind, start, end in _boxes(data, 0, len(data)):
        track += kind == b"trak"
        payload = data[start + 8 : end]
        if kind in CONTAINERS:
            payload = _rewrite(payload, lambda k, p, t, outer=track: change(k, p, t or outer))
        made = change(kind, payload, track)
        if made is not None:
            out += struct.pack(">I4s", len(made) + 8, kind) + made
    return out


def _edit(path: Path, change) -> None:
    """Rewrite a file whose index lies behind its media, so that no offset moves."""
    data = path.read_bytes()
    top = list(_boxes(data, 0, len(data)))
    assert [kind for kind, *_ in top].index(b"moov") > [kind for kind, *_ in top].index(b"mdat")
    moov = next(start for kind, start, _ in top if kind == b"moov")
    path.write_bytes(data[:moov] + _rewrite(data[moov:], change))


def refer(path: Path, track: int, kind: str, to: int) -> None:
    """Let a track (counted from 1) refer to another, as cameras do of sound and timecode."""

    def change(box: bytes, payload: bytes, number: int) -> bytes:
        if box != b"trak" or number != track:
            return payload
        inner = struct.pack(">I4sI", 12, kind.encode(), to)
        return payload + struct.pack(">I4s", len(inner) + 8, b"tref") + inner

    _edit(path, change)


def without(path: Path, kind: str) -> None:
    """Drop every box of a kind, as `edts` (edit lists) or `udta`."""
    _edit(path, lambda box, payload, _: None if box == kind.encode() else payload)


def retag(path: Path, old: str, new: str) -> None:
    """Exchange a four-character code everywhere in the index."""
    data = path.read_bytes()
    moov = data.index(b"moov")
    path.write_bytes(data[:moov] + data[moov:].replace(old.encode(), new.encode()))


CAPTION = bytes([0xB5, 0x00, 0x31]) + b"GA94" + bytes([0x03, 0x42, 0xFF, 0xFC, 0x94, 0x2C, 0xFD, 0x80, 0x80, 0xFF])
"""A/53 user data of one frame: a CEA-608 pair on line 21, and an empty one."""


def add_captions(path: Path, *, first: int = 0) -> None:
    """Put closed captions before each picture, from `first` on, of an H.264 byte stream of one slice a picture."""
    units = re.split(rb"\x00?\x00\x00\x01", path.read_bytes())[1:]
    message = bytes([6, 4, len(CAPTION)]) + CAPTION + b"\x80"
    out, pictures = b"", 0
    for unit in units:
        if unit[0] & 31 in (1, 5):
            out += b"\0\0\0\1" + message if pictures >= first else b""
            pictures += 1
        out += b"\0\0\0\1" + unit
    path.write_bytes(out)


def make_sup(path: Path) -> None:
    """Write a PGS stream of one empty composition at 0.1 s."""
    control = bytes([0x16]) + (11).to_bytes(2, "big") + bytes([0, 160, 0, 90, 0x10, 0, 0, 0x80, 0, 0, 0])
    end = bytes([0x80]) + (0).to_bytes(2, "big")
    stamp = (9000).to_bytes(4, "big") + bytes(4)
    path.write_bytes(b"".join(b"PG" + stamp + segment for segment in (control, end)))


def tear(path: Path, n_bytes: int) -> None:
    """Drop the first bytes, as a recording that begins in the middle."""
    path.write_bytes(path.read_bytes()[n_bytes:])


def make_picture_sup(path: Path) -> None:
    """Write a PGS stream that shows a white block of 16x4 px from 0.1 s and hides it at 0.7 s."""
    width, height = 16, 4
    lines = (bytes([1]) * width + b"\0\0") * height
    control = struct.pack(">HHBHBBBB", 160, 90, 0x10, 0, 0x80, 0, 0, 1) + struct.pack(">HBBHH", 0, 0, 0, 8, 60)
    window = struct.pack(">BBHHHH", 1, 0, 8, 60, width, height)
    palette = bytes([0, 0]) + bytes([1, 235, 128, 128, 255])
    picture = struct.pack(">HBB", 0, 0, 0xC0) + (len(lines) + 4).to_bytes(3, "big")
    picture += struct.pack(">HH", width, height) + lines
    hide = struct.pack(">HHBHBBBB", 160, 90, 0x10, 1, 0, 0, 0, 0)
    shown = [(0x16, control), (0x17, window), (0x14, palette), (0x15, picture), (0x80, b"")]
    out = b""
    for stamp, segments in ((9000, shown), (63000, [(0x16, hide), (0x17, window), (0x80, b"")])):
        for kind, payload in segments:
            out += b"PG" + stamp.to_bytes(4, "big") + bytes(4) + bytes([kind]) + struct.pack(">H", len(payload))
            out += payload
    path.write_bytes(out)
