"""Segments of a long title as copies of its packets: nothing is decoded to cut them out.

A copy begins where decoding may begin (`packets.FrameMap`) and holds the file's own packets, compared with their
CRC-32. The frames of a segment are those whose stamps are in its range, so a frame that is missing is a wrong
count when the segment is scored. Before a title's copies are used, one place of it that counting also reaches is
decoded both ways, and the pictures must be the same.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vmaf_assay.media import process
from vmaf_assay.media.demux import FrameMap, Run
from vmaf_assay.media.ffmpeg import DEMUXERS, Ffmpeg, check_decoded, guards, start_remarks
from vmaf_assay.media.reading_commands import picture_sums
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.segments import Span, merged

_CHILD = Path(__file__).with_name("copy_child.py")

STEP_MS = 10
"""Stamps of neighbouring pictures in a copy are so far apart, whatever they are in the file."""

_AT_ONCE_BYTES = 64 << 20
"""Packets copied by one process; they are in memory meanwhile."""

_MOST_LEAD_IN = 0.5
"""Share of the title's frames above which decoding all lead-ins costs more than counting once."""

_PROOF_FRAMES = 8
"""Frames compared at the place that is decoded both ways."""

_HEARD_FRAMES = 16
"""Frames of a copy decoded to hear what is said of references that it lacks."""

_LATEST_PROOF = 3000
"""Frame up to which a title is decoded to reach that place."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Frames of the title, and the copied file that gives them."""

    span: Span
    run: Run
    path: Path
    remarks: tuple[str, ...] = ()
    """What the decoder says of pictures before the first one."""

    def stamps(self, span: Span) -> tuple[int, int]:
        """Stamps in the copy of frames [first, last) of the title."""
        begin = self.run.wanted[0] + self.run.delay - self.span.first
        return (begin + span.first) * STEP_MS, (begin + span.last) * STEP_MS


class Copies:
    """Spans of a title as references of their own, from copied packets."""

    def __init__(self, title: ReferenceInput, pieces: Sequence[_Piece]) -> None:
        self._title, self._pieces = title, pieces

    def reference(self, span: Span) -> ReferenceInput:
        """A span as the reference of comparisons."""
        piece = next(one for one in self._pieces if one.span.first <= span.first and span.last <= one.span.last)
        return replace(
            self._title,
            path=piece.path,
            n_frames=span.last - span.first,
            input_args=(*guards("matroska"), "-copyts"),
            stream_map="v:0",
            remarks=piece.remarks,
            stamps=piece.stamps(span),
            packets=None,
        )


def copy_spans(ffmpeg: Ffmpeg, title: ReferenceInput, spans: Sequence[Span], folder: Path) -> Copies | None:
    """Copy the packets of some spans of a title, and prove at one place that they decode to its frames.

    Args:
      ffmpeg: the ffmpeg that will decode them.
      title: as it is opened.
      spans: of its frames.
      folder: for the copies.

    Returns:
      The copies; None if frames must be counted. That is so if the file's packets do not tell its frames, or are
      not the same after a seek. It is also so if points of entry are too far apart, or the pictures at the place
      of proof differ.

    Raises:
      MediaError: a frame at the place of proof does not decode.
      ToolError: ffmpeg failed, or the reading process could not be started.
    """
    if title.packets is None:
        return None
    frames = FrameMap(title.packets)
    place = _place_of_proof(frames)
    if place is None:
        return None
    pieces = []
    for number, span in enumerate([place, *merged(spans)]):
        run = frames.run(span.first, span.last)
        if run is None:
            return None
        pieces.append(_Piece(span, run, folder / f"{number:05d}.mkv"))
    if sum(piece.run.wanted[0] for piece in pieces) > _MOST_LEAD_IN * frames.n_frames:
        return None
    if not all(_copy(title, frames, batch, folder) for batch in _batches(frames, pieces)):
        return None
    if title.packets.codec == "h264":  # other decoders leave out in silence what cannot be decoded
        pieces = [_heard(ffmpeg, title, piece) if piece.run.leads else piece for piece in pieces]
    made = Copies(title, pieces)
    return made if _decodes_alike(ffmpeg, title, made.reference(place), place) else None


def _place_of_proof(frames: FrameMap) -> Span | None:
    """The frames after the second point of entry."""
    later = frames.entry_frames[frames.entry_frames > 0]
    if not len(later) or later[0] > _LATEST_PROOF:
        return None
    first = int(later[0])
    return Span(first, min(first + _PROOF_FRAMES, frames.n_frames))


def _batches(frames: FrameMap, pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Pieces in order, so many together as are copied at once."""
    made: list[list[_Piece]] = []
    held = 0
    for piece in pieces:
        size = int(frames.index.sizes[piece.run.first : piece.run.last].sum())
        if made and held + size <= _AT_ONCE_BYTES:
            made[-1].append(piece)
            held += size
        else:
            made.append([piece])
            held = size
    return made


def _copy(title: ReferenceInput, frames: FrameMap, pieces: Sequence[_Piece], folder: Path) -> bool:
    """Write the files of some pieces; False if the title does not give these packets again."""
    index, job = frames.index, folder / "job.json"
    runs = []
    for piece in pieces:
        of = slice(piece.run.first, piece.run.last)
        runs.append(
            {
                "pts": index.pts[of].tolist(),
                "sizes": index.sizes[of].tolist(),
                "sums": index.sums[of].tolist(),
                "places": piece.run.places.tolist(),
                "latest": int(index.pts[of].max()),
            }
        )
    job.write_text(json.dumps({"stream": index.stream, "step_ms": STEP_MS, "runs": runs}))
    done = process.run(
        [sys.executable, "-P", str(_CHILD), str(title.path.resolve()), str(job.resolve()), DEMUXERS],
        timeout_s=3600,
    )
    job.unlink()
    head, _, rest = done.stdout.partition(b"\n")
    if done.exit_code != 0 or not head:
        return False
    said = json.loads(head)
    if len(said["sizes"]) != len(pieces) or not said["alike"]:
        return False
    if shutil.disk_usage(folder).free < len(rest):
        return False
    at = 0
    for piece, size in zip(pieces, said["sizes"], strict=True):
        piece.path.write_bytes(rest[at : at + size])
        at += size
    return True


def _heard(ffmpeg: Ffmpeg, title: ReferenceInput, piece: _Piece) -> _Piece:
    """A piece with what the decoder says of missing references at its start."""
    head = replace(title, path=piece.path, input_args=guards("matroska"), stream_map="v:0", n_frames=_HEARD_FRAMES)
    done = process.run(picture_sums(head).argv(ffmpeg, source=piece.path))
    return replace(piece, remarks=start_remarks("", done.stderr))


def _decodes_alike(ffmpeg: Ffmpeg, title: ReferenceInput, copy: ReferenceInput, place: Span) -> bool:
    """Whether the copy gives the pictures that are reached by counting from the start."""
    counted = replace(title, span=(place.first, place.last), n_frames=place.last - place.first)
    sums = [_sums(ffmpeg, one) for one in (counted, copy)]
    return sums[0] == sums[1] and len(sums[0]) == counted.n_frames


def _sums(ffmpeg: Ffmpeg, reference: ReferenceInput) -> list[str]:
    """Size and digest of each frame; empty if one does not decode."""
    done = process.run(picture_sums(reference).argv(ffmpeg, source=reference.path))
    if done.exit_code != 0:
        return []
    check_decoded(f"reading {reference.path.name}", done.stderr, remarks=reference.remarks)
    lines = [line.split(",") for line in done.stdout.decode().splitlines() if line[:1].isdigit()]
    return [",".join(part.strip() for part in line[4:]) for line in lines]
