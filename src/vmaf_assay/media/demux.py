"""Read a file's facts and packets through libavformat (PyAV), in a process of its own (docs/adr/0400).

Which packets hold which frames of a video, without decoding one.

A frame is found by its packet's presentation stamp, and decoding starts at a packet from which the codec's
standard promises the same pictures (`demux_child.Entries`). Where packets do not tell this there is no index, and
frames are counted by decoding from the start (`media/segments.py`).
"""

import json
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import MediaError, ToolError
from vmaf_assay.media import process
from vmaf_assay.media.facts import FIELD_ORDERS, Chapter, Colour, FileFacts, Stream, VideoFacts, colour_of
from vmaf_assay.media.ffmpeg import DEMUXERS
from vmaf_assay.records import PacketIndex, VideoInfo

OnShare = Callable[[float], None]
"""Called with the share of a file that is read, 0 to 1."""

_CHILD = Path(__file__).with_name("demux_child.py")

_HEADER_S, _PACKETS_S = 120, 3600
"""Seconds after which reading a header, or a whole file, is given up."""

_OTHER_FILES = (
    (b"ffconcat", "a list of other files (ffconcat)"),
    (b"#EXTM3U", "a playlist (HLS, m3u8)"),
    (b"v=0", "a session description (SDP)"),
    (b"[playlist]", "a playlist (pls)"),
    (b"[InternetShortcut]", "a link"),
)
"""How files begin that only name others."""

_XML_ROOTS = (
    (b"<MPD", "a manifest (DASH)"),
    (b"<SmoothStreamingMedia", "a manifest"),
    (b"CompositionPlaylist", "IMF"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture's own facts."""

    width: int
    """px."""
    height: int
    """px."""
    pix_fmt: str
    """ffmpeg's name."""
    colour: Colour
    """As the decoder gives it."""

    def difference(self, other: "Picture") -> str:
        """What changes from this picture to another, in words; empty if nothing does."""
        if (self.width, self.height) != (other.width, other.height):
            return f"its size changes from {self.width}x{self.height} to {other.width}x{other.height}"
        if self.pix_fmt != other.pix_fmt:
            return f"its pixel format changes from {self.pix_fmt} to {other.pix_fmt}"
        if self.colour != other.colour:
            before, after = ("/".join(astuple(one)) for one in (self.colour, other.colour))
            return f"its range or colours change from {before} to {after}"
        return ""


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """Facts of the first picture that decodes."""

    picture: Picture
    """Size, format and colours."""
    interlaced: bool
    """True if it is a pair of fields."""
    top_first: bool | None
    """Whether its top field is shown first; None if it is not interlaced."""
    side_data: dict[str, bytes]
    """First 256 bytes of each kind, by PyAV's name, as `DISPLAYMATRIX`."""


@dataclass(frozen=True, slots=True)
class Track:
    """Facts from reading all packets of one video stream."""

    pts: list[int | None]
    """Presentation stamps in the file's order, ticks, without packets that an edit list takes out."""
    dts: list[int | None]
    """Decoding stamps likewise."""
    key_first: bool
    """True if its first packet can be decoded by itself."""
    n_corrupt: int
    """Packets that the demuxer calls corrupt."""
    n_empty: int
    """Packets without a byte."""
    captions: bool
    """True if a packet that was read holds A53 closed captions: H.264, HEVC and MPEG-2 only."""
    first: FirstFrame | None
    """The first picture; None if none decodes at the start."""
    settled: bool
    """True if it is known which of the first packets give a picture."""
    dropped: frozenset[int]
    """Stamps of the first packets that give none, ticks."""
    pictures: tuple[tuple[int | None, int, Picture], ...]
    """(stamp, packets before it, picture) of the first key frame and wherever parameters are new; empty if they
    never are."""
    packets: tuple[tuple[int | None, int, int, int], ...]
    """(stamp, bytes, CRC-32, kind) of every packet in the file's order. Bit 0 of the kind is a point of entry
    (`demux_child.Entries`), bit 1 a picture that an edit list takes out."""
    steady: bool
    """False if parameter sets change on the way."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file read to its end."""

    facts: FileFacts
    """What its header says."""
    tracks: dict[int, Track]
    """Its video streams, by index."""
    damage: str
    """Why the demuxer reports an incomplete file; else empty."""


def read_facts(path: Path) -> FileFacts:
    """What a file's header says, streams in groups among them.

    Raises:
      MediaError: it does not open, or names other files.
    """
    return file_facts(_child(path, "header", ()))


def read_file(path: Path, *, input_args: tuple[str, ...] = (), on_share: OnShare | None = None) -> ReadFile:
    """A file's facts, and every packet of its video streams.

    Args:
      path: the file.
      input_args: ffmpeg's options before `-i` for a raw file.
      on_share: called with the share of the file that is read, 0 to 1.

    Raises:
      MediaError: it does not open, or names other files.
    """
    return _read_file(_child(path, "packets", input_args, on_share))


def read_head(path: Path) -> ReadFile:
    """A file's facts, and the first packets of its video streams, until it is known which give a picture.

    Raises:
      MediaError: it does not open, or names other files.
    """
    return _read_file(_child(path, "head", ()))


def _read_file(document: dict[str, Any]) -> ReadFile:
    damage = document["problem"] or (document["errors"] or [""])[0]
    tracks = {int(index): _track(one) for index, one in document["tracks"].items()}
    return ReadFile(file_facts(document), tracks, damage)


def _child(path: Path, mode: str, input_args: tuple[str, ...], on_share: OnShare | None = None) -> dict[str, Any]:
    _refuse_lists(path)
    last = ""

    def on_line(line: str) -> None:
        nonlocal last
        last = line
        if on_share and not line.startswith("{"):
            on_share(min(1.0, float(line)))

    argv = [sys.executable, "-P", str(_CHILD), str(path.resolve()), mode, DEMUXERS, *_raw_options(input_args)]
    done = process.run(argv, timeout_s=_HEADER_S if mode == "header" else _PACKETS_S, on_line=on_line)
    if done.killed:
        raise ToolError(
            f"reading {path} was killed",
            next_step="find what killed it (out of memory?), and run the same command again",
            argv=argv,
        )
    if done.exit_code != 0 and "ModuleNotFoundError" in done.tail(1):
        raise ToolError("PyAV is not installed", next_step="pip install 'av>=18.1'", argv=argv)
    if done.exit_code != 0:
        why = "it took too long" if done.timed_out else f"the demuxer ended with status {done.exit_code}"
        raise MediaError(f"cannot read {path}: {why}", next_step="check that the file is whole")
    document: dict[str, Any] = json.loads(last)
    if "refused" in document:
        _refuse(path, document)
    return document


def _raw_options(input_args: tuple[str, ...]) -> list[str]:
    """`-f rawvideo -pixel_format F ...` as the child takes them: the format, then `key=value`."""
    pairs = dict(zip(input_args[::2], input_args[1::2], strict=True))
    if "-f" not in pairs:
        return []
    container = pairs.pop("-f")
    return [container, *(f"{key.removeprefix('-')}={value}" for key, value in pairs.items())]


def _refuse_lists(path: Path) -> None:
    """Refuse what only names other files, whatever its own name: what was judged would not be what is encoded."""
    with path.open("rb") as handle:
        head = handle.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    what = next((words for start, words in _OTHER_FILES if head.startswith(start)), "")
    if not what and head.startswith(b"<"):
        what = next((words for root, words in _XML_ROOTS if root in head), "")
    if what:
        raise MediaError(
            f"{path} is {what}: it names other files instead of holding a video",
            next_step="give the video file itself, or join its parts into one file first",
        )


def _refuse(path: Path, document: dict[str, Any]) -> None:
    """Why the child's libavformat did not open a file."""
    level, speaker, words = document["log"] or (0, "", "")
    if document["refused"] == "Invalid argument" and "whitelist" in words:
        raise MediaError(
            f"{path} is of a kind that is not opened here (ffmpeg's `{speaker}`): it may name other files",
            next_step="give the video as one file, such as .mkv or .mp4",
        )
    said = words.strip() if level else document["refused"]
    raise MediaError(f"cannot read {path}: {said}", next_step="check that the file is whole")


def file_facts(document: dict[str, Any]) -> FileFacts:
    """The records of what the child wrote."""
    chapters = []
    for chapter in document["chapters"]:
        tick = Fraction(chapter["time_base"] or 1)
        span = float(chapter["start"] * tick), float(chapter["end"] * tick)
        chapters.append(Chapter(*span, tuple(chapter["tags"].items())))
    start = document["start"]
    return FileFacts(
        container=document["container"],
        start_s=None if start is None else start / 1e6,
        duration_s=None if document["duration"] is None else document["duration"] / 1e6,
        tag_pairs=tuple(document["tags"].items()),
        chapters=tuple(chapters),
        streams=tuple(_stream(one) for one in document["streams"]),
    )


def _fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def _stream(one: dict[str, Any]) -> Stream:
    tags = {name.lower(): value for name, value in one["tags"].items()}
    language = tags.get("language", "")
    return Stream(
        index=one["index"],
        kind=one["kind"],
        codec=one["mimetype"] or one["codec"] or "unknown",
        codec_tag=one["codec_tag"].rstrip("\0"),
        profile=one["profile"],
        language="" if language == "und" else language,
        title=tags.get("title", ""),
        timecode=tags.get("timecode", ""),
        tags=tuple(one["tags"].items()),
        disposition=tuple(sorted(flag for flag in one["flags"] if flag)),
        time_base=_fraction(one["time_base"]),
        start=one["start"],
        set_aside=one["set_aside"],
        n_samples=one["n_samples"],
        extradata=bytes.fromhex(one["extradata"]),
        video=_video(one) if "width" in one else None,
    )


def _video(one: dict[str, Any]) -> VideoFacts:
    return VideoFacts(
        width=one["width"],
        height=one["height"],
        pix_fmt=one["pix_fmt"],
        field_order=FIELD_ORDERS.get(one["field_order"], "unknown"),
        colour=colour_of(one["colour"]),
        sample_aspect=_fraction(one["sample_aspect"]) or Fraction(1),
        average_rate=_fraction(one["average_rate"]),
        base_rate=_fraction(one["base_rate"]),
        guessed_rate=_fraction(one["guessed_rate"]),
    )


def _picture(one: dict[str, Any]) -> Picture:
    return Picture(one["width"], one["height"], one["pix_fmt"], colour_of(one["colour"]))


def _track(one: dict[str, Any]) -> Track:
    head = one["head"]
    frame = head["frame"]
    first = None
    if frame is not None:
        side = {name: bytes.fromhex(data) for name, data in frame["side_data"].items()}
        first = FirstFrame(_picture(frame), frame["interlaced"], frame.get("top_first"), side)
    return Track(
        pts=one["pts"],
        dts=one["dts"],
        key_first=one["key_first"],
        n_corrupt=one["n_corrupt"],
        n_empty=one["n_empty"],
        captions=one["captions"],
        first=first,
        settled=head["settled"],
        dropped=frozenset(head["dropped"]),
        pictures=tuple((at["pts"], at["number"], _picture(at)) for at in one["pictures"]),
        packets=tuple(map(tuple, one["packets"])),
        steady=one["steady"],
    )


_MADE_UP = {"avi", "h264", "hevc", "vvc", "evc", "mpegvideo", "m4v", "obu", "av1", "mjpeg"}
"""Demuxers whose stamps libavformat makes up, so that they differ after a seek."""


def index_of(info: VideoInfo, track: Track) -> PacketIndex | None:
    """The index of a stream whose packets give one picture each; None where stamps do not tell which.

    Args:
      info: its facts; `n_frames` pictures are shown.
      track: its packets.
    """
    if info.container in _MADE_UP or not track.steady or not track.packets:
        return None
    stamps, sizes, sums, kinds = zip(*track.packets, strict=True)
    if None in stamps or len(set(stamps)) != len(stamps):
        return None
    kind = np.array(kinds)
    dropped = np.array([pts in track.dropped for pts in stamps])
    index = PacketIndex(
        np.array(stamps, dtype=np.int64),
        np.array(sizes, dtype=np.int64),
        np.array(sums, dtype=np.uint32),
        (kind & 1).astype(bool),
        (kind & 2 == 0) & ~dropped,
        info.stream,
        info.codec,
    )
    return index if int(index.shown.sum()) == info.n_frames else None


@dataclass(frozen=True, slots=True)
class Run:
    """Packets of a file that are decoded for some of its frames."""

    first: int
    """Position in the file's order of the first, a point of entry."""
    last: int
    """One more than that of the last."""
    places: NDArray[np.int64]
    """Of each, its rank by stamp among them."""
    wanted: tuple[int, int]
    """(first, one more than the last) of the ranks that are wanted; the frames before and after are not."""

    @property
    def delay(self) -> int:
        """Pictures by which decoding is ahead of showing at most."""
        return max(0, int((np.arange(len(self.places)) - self.places).max()))

    @property
    def leads(self) -> bool:
        """Whether pictures are shown before the first one; they lack what they refer to."""
        return bool(self.places[0] > 0)


class FrameMap:
    """Frames of a video by number, and the packets that each one needs."""

    def __init__(self, index: PacketIndex) -> None:
        self.index = index
        order = np.argsort(index.pts, kind="stable")
        self._of_frame: NDArray[np.int64] = order[index.shown[order]]
        self._entries = np.flatnonzero(index.entry)

    @property
    def n_frames(self) -> int:
        """Pictures that are shown."""
        return len(self._of_frame)

    def packet_of(self, frame: int) -> int:
        """Position of a frame's packet in the file's order."""
        return int(self._of_frame[frame])

    @cached_property
    def bytes_of(self) -> NDArray[np.int64]:
        """Bytes of each frame's packet, [F]."""
        return self.index.sizes[self._of_frame]

    @cached_property
    def entry_frames(self) -> NDArray[np.int64]:
        """Frames at which decoding may start, ascending."""
        found: NDArray[np.int64] = np.flatnonzero(self.index.entry[self._of_frame])
        return found

    def run(self, first: int, last: int) -> Run | None:
        """The fewest packets from which frames [first, last) decode; None if there are none such."""
        packets, pts = self._of_frame[first:last], self.index.pts
        before = self._entries[pts[self._entries] <= pts[packets[0]]]
        if not len(before):
            return None
        begin, end = int(before[np.argmax(pts[before])]), int(packets.max()) + 1
        if packets.min() < begin:
            return None
        places = np.argsort(np.argsort(pts[begin:end], kind="stable"), kind="stable")
        mine = places[packets - begin]
        # A picture that is not shown, or one missing, in between would shift the count.
        if int(mine[-1] - mine[0]) != len(packets) - 1:
            return None
        return Run(begin, end, places, (int(mine[0]), int(mine[-1]) + 1))
