"""Read one media file with libavformat and write what it says as JSON to standard output.

Runs as a process of its own (`media/demux.py` starts it), because libav parses untrusted input in C. A crash, an
endless loop or excessive memory then ends only this process. It imports the standard library and PyAV alone, knows
no demuxer that opens other files, and can write nowhere but into its pipe.

argv: FILE, MODE (`header`, `head` or `packets`), the demuxers allowed; of a raw file also its format and options
(`key=value`). While packets are read, lines say what share of the file that is; the last line is the document.
"""

import contextlib
import hashlib
import json
import os
import sys
import zlib
from typing import Any

import av
import av.logging
from av.bitstream import BitStreamFilterContext
from av.filter import Graph

MAX_BYTES = 6 << 30
"""Address space that parsing may take."""

HEAD_PACKETS = 400
"""Packets decoded at most to see which of the first pictures come out."""

UNALIGNED = 1
"""libavcodec's flag to crop to the sample, as ffmpeg does."""

SPS_TYPES = {"h264": 7, "hevc": 33}
SETS = {"h264": {7, 8}, "hevc": {32, 33, 34}}
"""NAL unit types of sequence parameter sets, and of all parameter sets."""

IN_BAND = {"h264", "hevc", "vvc", "av1", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "cavs", "avs2", "avs3"}
"""Codecs whose parameter sets may lie in the packets; `extract_extradata` finds them."""


def limit() -> None:
    """Bound what a hostile file can make this process do."""
    try:
        import resource
    except ImportError:  # not POSIX
        return
    for what, most in ((resource.RLIMIT_AS, MAX_BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def ratio(value: Any) -> str | None:  # noqa: ANN401 - PyAV gives Fraction or None
    """A fraction as text; None for none, zero and 0/0."""
    return f"{value.numerator}/{value.denominator}" if value else None


def codec_tag(context: Any) -> str:  # noqa: ANN401 - av.CodecContext or None
    """The container's four-character code; empty if there is none, or if it is a number (Blu-ray)."""
    try:
        return "" if context is None else str(context.codec_tag)
    except UnicodeDecodeError:
        return ""


def stream_facts(stream: Any) -> dict[str, Any]:  # noqa: ANN401 - one of PyAV's stream classes
    """What the header says of one stream."""
    context = stream.codec_context
    facts = {
        "index": stream.index,
        "kind": stream.type,
        "codec": context.codec.canonical_name if context is not None else (getattr(stream, "name", None) or ""),
        "profile": stream.profile or "",
        "codec_tag": codec_tag(context),
        "mimetype": getattr(stream, "mimetype", None) or "",
        "tags": dict(stream.metadata),
        "flags": [flag.name for flag in stream.disposition],
        "time_base": ratio(stream.time_base),
        "start": stream.start_time,
        "set_aside": stream.discard.name == "all",
        "n_samples": stream.frames,
        "extradata": (context.extradata or b"").hex() if context is not None else "",
    }
    if stream.type == "video" and context is not None:
        facts |= {
            "width": context.width,
            "height": context.height,
            "pix_fmt": context.pix_fmt or "",
            "field_order": context.field_order,
            "colour": [context.color_range, context.colorspace, context.color_primaries, context.color_trc],
            "sample_aspect": ratio(stream.sample_aspect_ratio),
            "average_rate": ratio(stream.average_rate),
            "base_rate": ratio(stream.base_rate),
            "guessed_rate": ratio(stream.guessed_rate),
        }
    return facts


def side_data(frame: Any) -> dict[str, str]:  # noqa: ANN401 - av.VideoFrame
    """Side data of a frame: bytes in hex, cut to what a reader of facts needs, by libav's name."""
    found = {}
    try:
        for entry in frame.side_data:
            with contextlib.suppress(ValueError):  # of a type newer than PyAV
                found[entry.type.name] = bytes(entry)[:256].hex()
    except ValueError:
        pass
    return found


def top_field_first(frame: Any) -> bool:  # noqa: ANN401 - av.VideoFrame
    """Whether an interlaced frame shows its top field first: libavfilter knows, PyAV has no name for it."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
    )
    select = graph.add("select", "eq(interlace_type\\,TOPFIRST)")
    sink = graph.add("buffersink")
    source.link_to(select)
    select.link_to(sink)
    graph.configure()
    graph.push(frame)
    with contextlib.suppress(av.FFmpegError):
        graph.pull()
        return True
    return False


def frame_facts(frame: Any) -> dict[str, Any]:  # noqa: ANN401 - av.VideoFrame
    """What a decoded frame says of itself."""
    facts = picture(frame) | {"side_data": side_data(frame), "interlaced": frame.interlaced_frame}
    if frame.interlaced_frame:
        with contextlib.suppress(av.FFmpegError, ValueError):
            facts["top_first"] = top_field_first(frame)
    return facts


def picture(frame: Any) -> dict[str, Any]:  # noqa: ANN401 - av.VideoFrame
    """What must stay the same throughout a video."""
    return {
        "width": frame.width,
        "height": frame.height,
        "pix_fmt": frame.format.name,
        "colour": [frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc],
    }


class Head:
    """Decodes the first pictures of a stream until it is known which of them come out."""

    def __init__(self) -> None:
        self.first: dict[str, Any] | None = None
        self.fed: list[int] = []
        self.shown: list[int] = []
        self.key: int | None = None
        self.errors = 0
        self.done = False

    def feed(self, packet: Any) -> None:  # noqa: ANN401 - av.Packet
        """Give the decoder one packet more; an empty one takes out what it still has."""
        if self.done:
            return
        flush = packet.size == 0 and packet.dts is None
        if not flush and not packet.is_discard and packet.pts is not None:
            self.fed.append(packet.pts)
            if packet.is_keyframe and self.key is None:
                self.key = packet.pts
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self.errors += 1
            frames = []
        for frame in frames:
            self.first = self.first or frame_facts(frame)
            if frame.pts is not None:
                self.shown.append(frame.pts)
        after = [pts for pts in self.shown if self.key is not None and pts > self.key]
        self.done = flush or len(after) >= 3 or len(self.fed) >= HEAD_PACKETS

    def facts(self, ended: bool) -> dict[str, Any]:
        """Which packets gave no frame, as stamps; `settled` is false if that cannot be told from here."""
        last = max(self.shown, default=None)
        shown = set(self.shown)
        settled = last is not None and shown <= set(self.fed) and len(shown) == len(self.shown)
        judged = self.fed if ended else [pts for pts in self.fed if last is not None and pts <= last]
        dropped = sorted(pts for pts in judged if pts not in shown)
        return {"frame": self.first, "settled": settled, "dropped": dropped, "errors": self.errors}


INTRA_ONLY = {
    *("mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "rawvideo", "dvvideo"),
    *("v210", "jpeg2000", "png"),
}
"""Codecs whose key packets need no other packet."""


def nal_units(data: bytes, extradata: bytes, codec: str) -> list[bytes]:
    """The NAL units of a packet, behind lengths (ISO, Matroska) or start codes (Annex B)."""
    if extradata[:1] != b"\x01":
        parts = data.split(b"\0\0\1")
        return [part for part in parts[1:] if part]
    at, size = (4, 1) if codec == "h264" else (21, 1)
    prefix = (extradata[at] & 3) + size if len(extradata) > at else 4
    found, at = [], 0
    while at + prefix < len(data):
        length = int.from_bytes(data[at : at + prefix], "big")
        found.append(data[at + prefix : at + prefix + length])
        at += prefix + length
    return [one for one in found if one]


def nal_type(unit: bytes, codec: str) -> int:
    """The type of a NAL unit."""
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def exact_recovery(unit: bytes) -> bool:
    """Whether an H.264 SEI NAL unit promises that every picture shown from here on decodes exactly (D.2.8)."""
    data, at = unit.replace(b"\0\0\3", b"\0\0"), 1
    while at + 2 < len(data):
        numbers = []
        for _ in ("type", "size"):
            high = 0
            while data[at : at + 1] == b"\xff":
                high, at = high + 255, at + 1
            numbers.append(high + (data[at] if at < len(data) else 0))
            at += 1
        if numbers[0] == 6:
            # recovery_frame_cnt = 0 is one bit, then exact_match_flag and broken_link_flag.
            return at < len(data) and data[at] & 0b11100000 == 0b11000000
        at += numbers[1]
    return False


def av1_entry(data: bytes) -> bool:
    """Whether a temporal unit begins with a key frame that is shown (AV1 5.9.2)."""
    at = 0
    while at < len(data):
        head, at = data[at], at + 1
        kind = head >> 3 & 15
        at += head >> 2 & 1
        length = len(data) - at
        if head & 2:
            length = 0
            for number, byte in enumerate(data[at : at + 8]):
                length, at = length | (byte & 127) << 7 * number, at + 1
                if byte < 128:
                    break
        if kind in (3, 6):
            return at < len(data) and data[at] >> 4 == 1
        at += length
    return False


class Changes:
    """Notices parameter sets that differ from the first ones, and decodes a picture of each."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - av.VideoStream
        self.codec = stream.codec_context.codec.canonical_name
        self.extradata = stream.codec_context.extradata or b""
        self.decoder_name = stream.codec_context.name
        self.seen: set[str] = set()
        self.count = 0
        self.pictures: list[dict[str, Any]] = []
        self.baseline: Any = None
        self.filter: BitStreamFilterContext | None = None
        if self.codec in IN_BAND:
            with contextlib.suppress(av.FFmpegError, ValueError):
                self.filter = BitStreamFilterContext("extract_extradata", stream)

    def look(self, packet: Any) -> None:  # noqa: ANN401 - av.Packet
        """Note a key packet's parameters, and decode it if they were not seen before."""
        self.count += 1
        if not packet.is_keyframe or not packet.size or len(self.seen) > 50:
            return
        found = self.parameters(packet)
        first, self.baseline = self.baseline is None, self.baseline or packet
        if found is None or (digest := hashlib.sha256(found).hexdigest()) in self.seen:
            return
        self.seen.add(digest)
        if first:
            return
        if not self.pictures:
            self.decode(self.baseline)
        self.decode(packet)

    def parameters(self, packet: Any) -> bytes | None:  # noqa: ANN401 - av.Packet
        """The bytes that hold size and colours: parameter sets, or the head of a key frame."""
        if packet.has_sidedata("new_extradata"):
            return bytes(packet.get_sidedata("new_extradata"))
        data = bytes(packet)
        if self.codec == "vp9":
            return data[:9]
        if self.codec == "vp8":
            return data[3:10]
        if self.extradata[:1] == b"\x01" and self.codec in SPS_TYPES:
            units = nal_units(data, self.extradata, self.codec)
            return b"".join(one for one in units if nal_type(one, self.codec) == SPS_TYPES[self.codec]) or None
        if self.filter is None:
            return None
        copy = av.Packet(data)
        copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, True
        with contextlib.suppress(av.FFmpegError):
            for made in self.filter.filter(copy):
                if made.has_sidedata("new_extradata"):
                    return bytes(made.get_sidedata("new_extradata"))
        return None

    def decode(self, packet: Any) -> None:  # noqa: ANN401 - av.Packet
        """One picture with a decoder of its own."""
        decoder = av.CodecContext.create(self.decoder_name, "r")
        decoder.thread_count = 1
        if packet.has_sidedata("new_extradata"):
            decoder.extradata = bytes(packet.get_sidedata("new_extradata"))
        elif self.extradata:
            decoder.extradata = self.extradata
        with contextlib.suppress(av.FFmpegError):
            for frame in [*decoder.decode(av.Packet(bytes(packet))), *decoder.decode(None)]:
                self.pictures.append(picture(frame) | {"pts": packet.pts, "number": self.count - 1})
                return


class Entries:
    """Knows the packets from which decoding gives the pictures that a decoder at the start would give.

    These are the standards' random access points, not every key frame of a container: intra refresh is marked as
    one too. The promise is of pictures shown after the packet's own.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self.codec, self.extradata = codec, extradata
        self.sets: set[bytes] | None = None
        self.steady = True
        """False once a parameter set is sent that the first key packet did not have."""

    def take(self, data: bytes, key: bool) -> bool:
        """Whether a packet is such a point; every packet must be shown here, in order."""
        if self.codec in SETS:
            both = [(unit, nal_type(unit, self.codec)) for unit in nal_units(data, self.extradata, self.codec)]
            kinds = {kind for _, kind in both}
            self.note({unit.rstrip(b"\0") for unit, kind in both if kind in SETS[self.codec]}, key)
            if self.codec == "hevc":
                return any(16 <= kind <= 21 for kind in kinds)
            return 5 in kinds or any(kind == 6 and exact_recovery(unit) for unit, kind in both)
        if self.codec == "mpeg2video":
            return key and self.mpeg2(data)
        if self.codec == "av1":
            return key and av1_entry(data)
        if self.codec == "vp9":
            # frame_marker 2, profile below 3, show_existing_frame 0, frame_type 0, show_frame 1
            return key and data[:1] != b"" and data[0] & 0b11001110 == 0b10000010
        return key and self.codec in INTRA_ONLY

    def note(self, found: set[bytes], key: bool) -> None:
        """Compare parameter sets with those of the first key packet."""
        if self.sets is None:
            self.sets = found if key else None
        elif not found <= self.sets:
            self.steady = False

    def mpeg2(self, data: bytes) -> bool:
        """An intra picture behind a sequence header that is always the same."""
        begins, picture = data.find(b"\0\0\1\xb3"), data.find(b"\0\0\1\0")
        if whole := 0 <= begins < picture < len(data) - 5:
            self.note({data[begins : data.find(b"\0\0\1", begins + 4)]}, key=True)
        return whole and data[picture + 5] >> 3 & 7 == 1


# A53 closed captions: registered user data of an SEI message, or user data of MPEG-2.
SEI_CAPTIONS, MPEG2_CAPTIONS = b"\xb5\x00\x31GA94\x03", b"\x00\x00\x01\xb2GA94\x03"
CAPTION_MARKS = {"h264": SEI_CAPTIONS, "hevc": SEI_CAPTIONS, "mpeg2video": MPEG2_CAPTIONS}


class Track:
    """Everything that reading one video stream to its end tells."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - av.VideoStream
        self.stream = stream
        self.head, self.changes = Head(), Changes(stream)
        self.pts: list[int | None] = []
        self.dts: list[int | None] = []
        self.key_first: bool | None = None
        self.n_corrupt = self.n_empty = 0
        self.end, self.captions = 0, False
        self.caption_mark = CAPTION_MARKS.get(stream.codec_context.name)
        self.entries = Entries(self.changes.codec, self.changes.extradata)
        self.packets: list[tuple[int | None, int, int, int]] = []

    def take(self, packet: Any) -> None:  # noqa: ANN401 - av.Packet
        """One packet, or the empty one that ends a stream."""
        flush = packet.size == 0 and packet.dts is None and packet.pts is None
        if not flush:
            self.n_corrupt += packet.is_corrupt
            self.n_empty += packet.size == 0
            self.end = (packet.pos or 0) + packet.size
            if self.key_first is None:
                self.key_first = packet.is_keyframe
            if not packet.is_discard:
                self.pts.append(packet.pts)
                self.dts.append(packet.dts)
            self.changes.look(packet)
            data = bytes(packet)
            if self.caption_mark and not self.captions:
                self.captions = self.caption_mark in data
            kind = packet.is_discard << 1 | self.entries.take(data, packet.is_keyframe)
            self.packets.append((packet.pts, len(data), zlib.crc32(data), kind))
        self.head.feed(packet)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "pts": self.pts,
            "dts": self.dts,
            "key_first": bool(self.key_first),
            "n_corrupt": self.n_corrupt,
            "n_empty": self.n_empty,
            "captions": self.captions,
            "head": self.head.facts(len(self.head.fed) >= len(self.pts)),
            "pictures": self.changes.pictures,
            "packets": self.packets,
            "steady": self.entries.steady,
        }


def read_packets(file: Any, speakers: set[str], *, head: bool) -> dict[str, Any]:  # noqa: ANN401 - av.InputContainer
    """Read the packets of every video stream, or its first ones; what the demuxer calls an error meanwhile."""
    tracks = {}
    for stream in file.streams:
        if stream.type == "video" and stream.codec_context is not None:
            stream.codec_context.thread_count = 1
            stream.codec_context.flags |= UNALIGNED
            tracks[stream.index] = Track(stream)
        else:
            stream.discard = av.stream.Discard.all
    problem = ""
    with av.logging.Capture(local=False) as said:
        # Of no stream at all PyAV would give the packets of every one.
        packets = file.demux([track.stream for track in tracks.values()]) if tracks else ()
        try:
            for number, packet in enumerate(packets):
                if number % 1000 == 0 and packet.pos and not head:
                    os.write(1, b"%.4f\n" % (packet.pos / max(file.size, 1)))
                track = tracks[packet.stream.index]
                track.take(packet)
                if head and track.head.done:
                    break
        except av.FFmpegError as error:
            problem = f"{error.strerror}"
    if file.format.name == "yuv4mpegpipe" and not head:
        whole = next(iter(tracks.values())).end == file.size
        problem = problem or ("" if whole else "its last frame is cut short")  # its demuxer says nothing
    errors = [words.strip() for level, who, words in said if level <= av.logging.ERROR and who in speakers]
    return {
        "tracks": {str(index): track.facts() for index, track in tracks.items()},
        "problem": problem,
        "errors": errors[:5],
    }


def read(path: str, mode: str, demuxers: str, container: str | None, options: dict[str, str]) -> dict[str, Any]:
    """Everything about one file, or why it does not open."""
    av.logging.set_level(av.logging.ERROR)
    guards = {"protocol_whitelist": "file", "format_whitelist": demuxers}
    try:
        file = av.open(f"file:{path}", format=container, options=guards | options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        log = getattr(error, "log", None)
        return {"refused": getattr(error, "strerror", "") or str(error), "log": list(log) if log else None}
    with file:
        document = {
            "container": file.format.name,
            "start": file.start_time,
            "duration": file.duration,
            "tags": dict(file.metadata),
            "chapters": [
                {"start": c["start"], "end": c["end"], "time_base": ratio(c["time_base"]), "tags": c["metadata"]}
                for c in file.chapters()
            ],
            "streams": [stream_facts(stream) for stream in file.streams],
        }
        if mode != "header":
            document |= read_packets(file, {file.format.name}, head=mode == "head")
    return document


def main(argv: list[str]) -> None:
    """Read the file that the arguments name."""
    limit()
    path, mode, demuxers, *rest = argv
    options = dict(pair.split("=", 1) for pair in rest[1:])
    document = read(path, mode, demuxers, rest[0] if rest else None, options)
    data = memoryview(json.dumps(document, separators=(",", ":")).encode())
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main(sys.argv[1:])
