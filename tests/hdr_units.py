"""HEVC clips with HDR10+ and Dolby Vision, their units written bit by bit beside libx265's.

HDR10+ is a T.35 message of SMPTE ST 2094-40 before a picture. Dolby Vision 8.1 is an RPU, a NAL unit of type 62
behind it. mkvmerge puts the stream into Matroska, and finds Dolby Vision by itself.
"""

import re
import subprocess
from pathlib import Path

from tests.conftest import lavfi

_PQ = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,200:"
    "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none:repeat-headers=1:bframes=0"
)
GRAPH = (
    "testsrc2=size=192x108:rate=25,noise=alls=8:allf=t,"
    "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"
)


class Bits:
    """Bits in order, most significant first."""

    def __init__(self) -> None:
        self.text = ""

    def u(self, width: int, *values: int) -> "Bits":
        """Unsigned numbers of so many bits; negative ones in two's complement."""
        for value in values:
            self.text += format(value & ((1 << width) - 1), f"0{width}b")
        return self

    def ue(self, *values: int) -> "Bits":
        """Exponential Golomb codes."""
        for value in values:
            code = format(value + 1, "b")
            self.text += "0" * (len(code) - 1) + code
        return self

    def se(self, value: int) -> "Bits":
        """Such a code of a signed number."""
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def aligned(self) -> "Bits":
        """Zeros up to the next byte."""
        self.text += "0" * (-len(self.text) % 8)
        return self

    def __bytes__(self) -> bytes:
        return bytes(int(self.text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(self.text), 8))


def _unit(kind: int, payload: bytes) -> bytes:
    """A NAL unit with a start code; a byte is put between zeros that would look like one."""
    escaped = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload)
    return b"\0\0\0\1" + bytes([kind << 1, 1]) + escaped


def hdr10plus(number: int) -> bytes:
    """The message of frame `number`: one window, nine percentiles, a curve of nine anchors."""
    bits = Bits().u(8, 0xB5).u(16, 0x3C, 1).u(8, 4, 1).u(2, 1).u(27, 400).u(1, 0)
    bits.u(17, 17831, 16897, 14253, 107 + number).u(4, 9)
    for percent, value in zip((1, 5, 10, 25, 50, 75, 90, 95, 99), range(1, 10), strict=True):
        bits.u(7, percent).u(17, value * 1003)
    bits.u(10, 0).u(1, 0, 1).u(12, 101 + number, 203).u(4, 9).u(10, *range(97, 970, 97)).u(1, 0)
    body = bytes(bits)
    return _unit(39, bytes([4, len(body)]) + body + b"\x80")


def _crc(data: bytes) -> int:
    """CRC-32 as MPEG-2 has it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


def rpu(number: int) -> bytes:
    """The RPU of frame `number` in profile 8.1: the base layer as it is, and level 1."""
    bits = Bits().u(6, 2).u(11, 18).u(4, 1, 0).u(1, 1, 0).u(2, 0).ue(23).u(2, 1).u(1, 0).ue(2, 2, 4)
    bits.u(1, 0).u(3, 0).u(1, 0, 1, 1, 0).ue(0, 0, 0)
    for _ in range(3):
        bits.ue(0).u(10, 0, 1023)
    bits.ue(0, 0)
    for _ in range(3):
        bits.ue(0, 0).u(1, 0).se(0).u(23, 0).se(1).u(23, 0)
    bits.ue(0, 0, 1).u(16, 9574, 0, 13802, 9574, -1540, -5348, 9574, 17610, 0)
    bits.u(32, 16777216, 134217728, 134217728).u(16, 7222, 8771, 390, 2654, 12430, 1300, 0, 422, 15962)
    bits.u(16, 65535, 0, 0).u(32, 0).u(5, 12).u(2, 0, 0, 1).u(12, 7, 3079).u(10, 42)
    bits.ue(1).aligned().ue(5).u(8, 1).u(12, 0, 2081 + number, 819).u(4, 0)
    body = bytes(bits)
    return _unit(62, b"\x19" + body + _crc(body).to_bytes(4, "big") + b"\x80")


def hdr_clip(ffmpeg, folder: Path, *, plus: bool = False, dolby: bool = False) -> Path:
    """Eight frames in Matroska with either kind on each."""
    coded = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "4", "-pix_fmt", "yuv420p10le")
    plain = lavfi(ffmpeg, folder / "plain.hevc", "-frames:v", "8", *coded, "-x265-params", _PQ, graph=GRAPH)
    made, number = b"", 0
    for unit in re.split(b"\0\0\0?\1", plain.read_bytes())[1:]:
        picture = (unit[0] >> 1) & 63 < 32
        made += hdr10plus(number) if plus and picture else b""
        made += b"\0\0\0\1" + unit + (rpu(number) if dolby and picture else b"")
        number += picture
    stream, path = folder / "made.hevc", folder / "made.mkv"
    stream.write_bytes(made)
    subprocess.run(["mkvmerge", "-q", "-o", path, stream], check=True)
    return path
