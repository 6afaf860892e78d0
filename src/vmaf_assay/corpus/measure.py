"""Measure one cell, here or on a worker: decode its rendition once, encode and score, write the cell."""

import shlex
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.plan import Cell, CorpusReference
from vmaf_assay.corpus.remote import local_source
from vmaf_assay.corpus.storage import Store
from vmaf_assay.corpus.store import content_sha256, write_cell
from vmaf_assay.errors import AssayError, MediaError, ToolError
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, check_decoded, failure
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.records import FRAME_VMAF, CellRecord, Scored, more_values, scored_values

_FULL = ("No space left on device", "File too large", "Disk quota exceeded")
"""Messages of a full disk through ffmpeg; a command at a file size limit ends with -25 (SIGXFSZ)."""
_SMALLEST_FREE_BYTES = 1_000_000

TRIES = 3
"""Times a cell is tried when its ffmpeg was killed from outside (out of memory, an operator)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A cell that could not be measured."""

    cell: Cell
    """Which."""
    error: AssayError
    """Why."""
    fatal: bool
    """True if the other cells would fail too: the disk, not the encode."""


class _Decoded:
    """One rendition's Y4M file at one bit depth, made on first use."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.reference: ReferenceInput | None = None
        self.refused: MediaError | None = None


class Site:
    """Where cells are measured: an ffmpeg, the corpus, a scratch folder, and the renditions decoded last."""

    def __init__(self, ffmpeg: Ffmpeg, store: Store, scratch: Path, *, keep: int) -> None:
        self.ffmpeg, self.store, self.scratch = ffmpeg, store, scratch
        self.children = process.Children()
        self._keep = keep
        self._lock = threading.Lock()
        self._decoded: dict[tuple[str, str], _Decoded] = {}
        self._n_made = 0

    def close(self) -> None:
        """End every command and remove the decoded files."""
        self.children.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)

    @contextmanager
    def decoded(self, rendition: CorpusReference) -> Iterator[ReferenceInput]:
        """The rendition as a Y4M file, decoded on the first request; a file in use is never removed."""
        with self._lock:
            what = rendition.name, rendition.pix_fmt
            entry = self._decoded.pop(what, None) or _Decoded()
            self._decoded[what] = entry  # last used is last in the dict
            entry.users += 1
        try:
            with entry.lock:
                if entry.refused is not None:  # its bytes are unchanged, so it is not decoded again for each cell
                    raise entry.refused
                if entry.reference is None:
                    entry.reference = self._decode_once(entry, rendition)
            yield entry.reference
        finally:
            with self._lock:
                entry.users -= 1
                self._forget_old()

    def _decode_once(self, entry: _Decoded, rendition: CorpusReference) -> ReferenceInput:
        try:
            return self._decode(rendition)
        except MediaError as error:
            entry.refused = error
            raise

    def _decode(self, rendition: CorpusReference) -> ReferenceInput:
        with self._lock:
            self._n_made += 1
            path = self.scratch / f"rendition-{self._n_made}.y4m"
        with local_source(rendition, self.scratch / f"source-{self._n_made}") as source:
            return decode(self.ffmpeg, rendition, path, self.children, source_path=source)

    def _forget_old(self) -> None:
        idle = [name for name, entry in self._decoded.items() if entry.users == 0]
        for name in idle[: max(0, len(self._decoded) - self._keep)]:
            reference = self._decoded.pop(name).reference
            if reference is not None:
                reference.path.unlink(missing_ok=True)


def decode(
    ffmpeg: Ffmpeg,
    rendition: CorpusReference,
    path: Path,
    children: process.Children | None = None,
    *,
    source_path: Path | None = None,
) -> ReferenceInput:
    """Decode a rendition to a 4:2:0 Y4M file at its constant frame rate, and count the frames.

    Args:
      ffmpeg: decodes.
      rendition: what to decode.
      path: the file to write.
      children: where to register the command.
      source_path: where the source's bytes are, if not at its own path.

    Raises:
      MediaError: a frame does not decode, or the source has no frame.
    """
    argv = rendition.decode(guarded=True).argv(ffmpeg, source=source_path or rendition.source.path, output=path)
    done = process.run(argv, children=children)
    if done.exit_code != 0:
        raise failure(f"decoding {rendition.source.path.name}", done, next_step="check the source")
    check_decoded(
        f"decoding {rendition.source.path}",
        done.stderr,
        seeked=rendition.source.start_s > 0,
        remarks=rendition.remarks,
    )
    with path.open("rb") as handle:
        header = handle.readline()
    sample_bytes = 1 if rendition.bit_depth == 8 else 2
    frame_bytes = rendition.size[0] * rendition.size[1] * 3 // 2 * sample_bytes + len(b"FRAME\n")
    n_frames, rest = divmod(path.stat().st_size - len(header), frame_bytes)
    if n_frames < 1 or rest:
        raise MediaError(f"{rendition.source.path} gives no whole frame", next_step="check the source")
    expected = rendition.expected_frames
    if expected not in (None, n_frames):
        raise MediaError(
            f"{rendition.source.path} gives {n_frames} frames, its packets hold {expected}",
            next_step="export it again",
        )
    return rendition.reference(path, n_frames)


def measure(site: Site, cell: Cell) -> CellRecord | Failed:
    """Encode, score and store one cell; tried again if its ffmpeg was killed. Never raises an AssayError."""
    try:
        scored = _scored(site, cell)
    except (AssayError, OSError) as error:
        return _failed(site, cell, error)
    try:
        return _stored(site.store, cell, scored)
    except AssayError as error:
        return Failed(cell, error, fatal=True)


def _scored(site: Site, cell: Cell, tries: int = TRIES) -> Scored:
    try:
        with site.decoded(cell.rendition) as reference:
            return encode_and_score(
                site.ffmpeg,
                reference,
                cell.encoder,
                cell.preset,
                cell.rate_value,
                models=cell.rendition.models(),
                threads="single",
                children=site.children,
                scratch=site.scratch,
            )
    except ToolError as error:
        killed = error.exit_code == -signal.SIGKILL and not site.children.closed
        if not killed or tries == 1:
            raise
    return _scored(site, cell, tries - 1)


def _failed(site: Site, cell: Cell, error: AssayError | OSError) -> Failed:
    """The failure as an error; a full disk is distinguished, because source and encoder are not at fault."""
    where, said = site.scratch, str(error)
    if isinstance(error, OSError):
        problem: AssayError = ToolError(f"cannot use {where}: {error.strerror}", next_step="check the disk")
        return Failed(cell, problem, fatal=True)
    free = shutil.disk_usage(where).free if where.is_dir() else _SMALLEST_FREE_BYTES
    at_limit = isinstance(error, ToolError) and error.exit_code == -signal.SIGXFSZ
    if at_limit or free < _SMALLEST_FREE_BYTES or any(words in said for words in _FULL):
        reason = "a file has reached its size limit" if at_limit or "too large" in said else "the disk is full"
        problem = ToolError(f"{where.parent}: {reason}", next_step="free space and run the same command again")
        return Failed(cell, problem, fatal=True)
    return Failed(cell, error, fatal=False)


def _stored(store: Store, cell: Cell, scored: Scored) -> CellRecord:
    rendition, more = cell.rendition, more_values(scored)
    values = np.column_stack([scored_values(scored), *more.values()])
    record = CellRecord(
        key=cell.key,
        source=rendition.name,
        group=rendition.source.group,
        encoder=cell.encoder.name,
        preset=cell.preset,
        rate_mode=cell.encoder.rate_mode,
        rate_value=cell.rate_value,
        width=rendition.size[0],
        height=rendition.size[1],
        frame_rate=f"{rendition.frame_rate.numerator}/{rendition.frame_rate.denominator}",
        n_frames=scored.n_frames,
        bytes=scored.bytes,
        kbps=round(scored.kbps, 3),
        encode_s=round(scored.encode_s, 3),
        versions=cell.versions,
        content_sha256=content_sha256(values),
        source_sha256=rendition.source_sha256,
        encoder_args=shlex.join(cell.encoder.extra_args),
        measurand=str(replace(FRAME_VMAF, bit_depth=rendition.bit_depth)),
        more=tuple(more),
    )
    write_cell(store, record, values)
    return record
