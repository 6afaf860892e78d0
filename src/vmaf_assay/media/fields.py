"""Whether a video's frames are whole pictures or pairs of fields, found by looking at the pictures."""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.reading_commands import count_fields, match_fields
from vmaf_assay.records import VideoInfo

FieldKind = Literal["progressive", "interlaced", "mixed", "telecined", "unknown"]
"""`mixed` is partly interlaced; `unknown` was not looked at, or shows too little motion to tell."""
Parity = Literal["tff", "bff"]

MIN_LINES = 400
"""No system of fields has fewer lines; a smaller picture that is marked progressive is not looked at."""
MAX_RATE = 31
"""Frames a second, likewise: fields come at 50 or 60 a second, so frames of two at 25 or 30."""

_PLACES, _AT_EACH = 8, 60
"""Places of a longer video that are looked at, and the frames there."""
_MIN_DECIDED = 8
"""Frames that must be seen to be one or the other."""
_SHARE = 0.1
"""Of the decided frames: a smaller share of the other kind is an error of detection. Of 101 progressive clips one
frame of 96 was taken for a pair of fields at most (ffmpeg n9.0.2, 2026-12-01)."""
_REPEATED = 0.4
"""A repeated frame's difference from the last, relative to the median of its neighbours."""
_CYCLE = 5
"""Frames in which telecined film has one picture twice."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What was seen of fields."""

    kind: FieldKind
    parity: Parity
    """The field that is shown first."""
    n_seen: int = 0
    """Frames looked at."""

    @property
    def filters(self) -> str:
        """The chain that makes whole pictures; empty if they are.

        Film gets its own 24 pictures a second back; interlaced video keeps its frame rate.
        """
        if self.kind == "telecined":
            # What no field matches (a cut, a titling made as video) is left combed by `fieldmatch`, and marked.
            matched = f"setfield={self.parity},fieldmatch=order={self.parity}:combmatch=full"
            return f"{matched},bwdif=mode=send_frame:deint=interlaced,decimate,setfield=prog"
        if self.kind == "mixed":
            # `idet` marks each frame as what it sees.
            return f"idet,bwdif=mode=send_frame:parity={self.parity}:deint=interlaced,setfield=prog"
        if self.kind == "interlaced":
            return f"bwdif=mode=send_frame:parity={self.parity}:deint=all,setfield=prog"
        return ""

    @property
    def words(self) -> str:
        """What it is."""
        first = {"tff": "top", "bff": "bottom"}[self.parity]
        return {
            "telecined": f"telecined film ({first} field first)",
            "mixed": f"partly interlaced ({first} field first)",
            "interlaced": f"interlaced ({first} field first)",
        }.get(self.kind, self.kind)


def worth_looking(video: VideoInfo) -> bool:
    """Whether a video may consist of fields: it says so, or has the size and rate of those that do."""
    may = video.height >= MIN_LINES and video.frame_rate <= MAX_RATE and video.chroma != "rgb"
    return video.interlaced or (may and not video.rotation)


def look_at_fields(
    ffmpeg: Ffmpeg, path: Path, video: VideoInfo, input_args: Sequence[str], chain: str = ""
) -> Fields:
    """What the pictures of a title are, by its motion at several places; its tags decide only where nothing moves.

    Args:
      ffmpeg: decodes and looks.
      path: the title.
      video: its facts.
      input_args: options before `-i`.
      chain: filters whose frames are looked at, instead of the title's own.
    """
    tagged: Parity = "bff" if video.field_order == "bottom" else "tff"
    by_tag: FieldKind = "interlaced" if video.interlaced else "unknown"
    if not worth_looking(video):
        return Fields(by_tag, tagged)
    places, seen, single = _places(video), 0, Counter[str]()
    for start_s in places:
        command = count_fields(input_args, video.stream_map, start_s, _frames(places, video), chain)
        text = process.run(command.argv(ffmpeg, level="info", source=path)).stderr
        # libavfilter prints the sums of each graph; the last is of the graph that ran.
        for line in re.findall(r"Single frame detection:(.*)", text)[-1:]:
            counts = {name: int(count) for name, count in re.findall(r"(\w+):\s*(\d+)", line)}
            single.update(counts)
            seen += sum(counts.values())
    pair = max(single["TFF"], single["BFF"])
    parity: Parity = "tff" if single["TFF"] >= single["BFF"] else "bff"
    decided = single["TFF"] + single["BFF"] + single["Progressive"]
    if decided < _MIN_DECIDED:
        return Fields(by_tag, tagged, seen)
    if pair < max(_MIN_DECIDED, _SHARE * decided):
        return Fields("progressive", parity, seen)
    if not chain and _telecined(ffmpeg, path, video, parity, input_args, places):
        return Fields("telecined", parity, seen)
    return Fields("mixed" if single["Progressive"] > _SHARE * decided else "interlaced", parity, seen)


def _places(video: VideoInfo) -> list[float | None]:
    """Seconds at which to look; None for the beginning."""
    if video.n_frames <= _PLACES * _AT_EACH:
        return [None]
    length_s = video.n_frames / float(video.frame_rate)
    return [None, *(length_s * number / _PLACES for number in range(1, _PLACES))]


def _frames(places: Sequence[float | None], video: VideoInfo) -> int:
    return video.n_frames if len(places) == 1 else _AT_EACH


def _telecined(
    ffmpeg: Ffmpeg,
    path: Path,
    video: VideoInfo,
    parity: Parity,
    input_args: Sequence[str],
    places: Sequence[float | None],
) -> bool:
    """Whether fields match to film, one picture in five twice, wherever something moves."""
    film = other = 0
    with tempfile.TemporaryDirectory(prefix="assay-fields-") as folder:
        for start_s in places:
            command = match_fields(input_args, video.stream_map, start_s, _frames(places, video), parity)
            done = process.run(command.argv(ffmpeg, source=path), cwd=Path(folder))
            listed = Path(folder) / "differences.txt"
            text = listed.read_text() if done.exit_code == 0 and listed.is_file() else ""
            differences = [float(value) for value in re.findall(r"YDIF=([\d.]+)", text)]
            cycles = _cycles(differences[1:])
            film += cycles[0]
            other += cycles[1]
    return film >= 3 and film >= 9 * other


def _cycles(differences: Sequence[float]) -> tuple[int, int]:
    """(cycles of five frames with one repeated at the usual place, moving cycles without).

    >>> _cycles([4, 4, 0.2, 4, 4] * 4), _cycles([4.0] * 20), _cycles([0.0] * 20)
    ((4, 0), (0, 4), (0, 0))
    """
    whole = len(differences) // _CYCLE
    table = np.array(differences[: whole * _CYCLE]).reshape(whole, _CYCLE)
    if not whole:
        return 0, 0
    moving = table[np.median(table, axis=1) > 0.5]
    if not len(moving):
        return 0, 0
    usual = np.bincount(moving.argmin(axis=1), minlength=_CYCLE).argmax()
    repeated = moving[:, usual] < _REPEATED * np.median(moving, axis=1)
    return int(repeated.sum()), int((~repeated).sum())
