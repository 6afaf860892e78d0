"""Which packets hold which frames of a video, without decoding one.

A frame is found by its packet's presentation stamp, and decoding starts at a packet from which the codec's
standard promises the same pictures (`demux_child.Entries`). Where packets do not tell this there is no index, and
frames are counted by decoding from the start (`media/segments.py`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.demux import Track
from vmaf_assay.records import PacketIndex, VideoInfo

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
