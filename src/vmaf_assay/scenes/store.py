"""Encoded parts on disk, by content: a run that was ended at any moment encodes nothing again that was whole.

A part is named by the digest of what determines it: the frames, the command and the tools' versions. Beside its
packets lies a record of its scores with a seal that only this user can make (ADR-0416). Both are written under
other names first. The record comes last, so a part with a record is whole.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.errors import AssayError, ToolError
from vmaf_assay.media import part_commands
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.files import canonical_json, parse_json_strict, sha256_bytes, sha256_file, write_bytes_atomic
from vmaf_assay.media.lock import exclusive
from vmaf_assay.media.parts import EncodedPart
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.segments import Span
from vmaf_assay.records import CANONICAL6, Scored
from vmaf_assay.tune.cache_seal import Seal, open_seal

FORMAT = 1
"""Raise it when the meaning of a record changes."""


class PartStore:
    """The parts of one output, in a folder beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seal: Seal | None = None

    @classmethod
    def beside(cls, output: Path) -> "PartStore":
        """The store of an output: a hidden folder on its file system."""
        return cls(output.resolve().parent / f".{output.name}.parts")

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Hold the store for one run; gives a scratch folder, which is removed. So is a store without parts.

        Raises:
          ToolError: another run holds it, or it cannot be written.
          ConfigError: others can write to it.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._seal = open_seal(self.folder)
            with exclusive(self.folder / "lock", timeout_s=0):
                for left in self.folder.glob("run-*"):
                    shutil.rmtree(left, ignore_errors=True)
                scratch = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
                try:
                    yield scratch
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
                    if not any(self.folder.glob("*.mkv")):
                        self.remove()
        except TimeoutError as error:
            raise ToolError(
                f"another run writes {self.folder.name[1:-6]}", next_step="wait for it, or choose another -o"
            ) from error
        except OSError as error:
            raise ToolError(
                f"cannot write to {self.folder.parent}: {error.strerror}", next_step="choose another -o"
            ) from error

    def path(self, key: str) -> Path:
        """The packets of a part."""
        return self.folder / f"{key}.mkv"

    def load(self, key: str) -> EncodedPart | None:
        """The part of a key, if it is whole and its record has this user's seal."""
        assert self._seal is not None  # inside `open`
        try:
            head, _, rows = (self.folder / f"{key}.part").read_bytes().partition(b"\n")
            facts = parse_json_strict(head, where=key)
            given = facts.pop("seal", None)
            if facts.get("key") != key or not self._seal.fits(_sealed(facts, rows), given):
                return None
            if sha256_file(self.path(key)) != facts["sha256"]:
                return None
            return _part(facts, rows)
        except (OSError, AssayError, KeyError, ValueError, TypeError):
            return None

    def store(self, key: str, encoded: Path, part: EncodedPart) -> None:
        """Move a finished file into the store, and write its record.

        Raises:
          ToolError: the folder cannot be written.
        """
        assert self._seal is not None
        try:
            digest = sha256_file(encoded)
            encoded.replace(self.path(key))
            if self._seal.key is None:  # it serves this run, and is made again by the next
                return
            scored = part.scored
            rows = np.concatenate([scored.vmaf[:, None], scored.features], axis=1).astype("<f4").tobytes()
            facts: dict[str, Any] = {
                "key": key,
                "sha256": digest,
                "encode_s": scored.encode_s,
                "kbps": scored.kbps,
                "libvmaf_version": scored.libvmaf_version,
                "frame_bytes": [] if scored.frame_bytes is None else scored.frame_bytes.tolist(),
                "digests": list(part.digests),
            }
            seal = self._seal.of(_sealed(facts, rows))
            write_bytes_atomic(self.folder / f"{key}.part", _sealed(facts | {"seal": seal}, rows))
        except OSError as error:
            raise ToolError(
                f"cannot write to {self.folder.parent}: {error.strerror}",
                next_step="free space, and run the same command again: what is encoded stays",
            ) from error

    def remove(self) -> None:
        """Remove the store, after its parts are joined."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)


def part_key(
    reference: ReferenceInput,
    encoder: EncoderInfo,
    preset: str,
    rate_value: float,
    span: Span,
    *,
    around: tuple[int, int],
    frames: Sequence[str],
    options: Sequence[str],
    model: str,
    versions: dict[str, str],
) -> str:
    """The name of a part.

    Args:
      reference: the title.
      encoder: the encoder.
      preset: its preset.
      rate_value: on its own scale.
      span: the part.
      around: frames beside it that are compared too.
      frames: digests of all frames compared.
      options: more of the encoder's options.
      model: libvmaf's, that scores.
      versions: of the tools.
    """
    n_frames = span.last - span.first
    whole = replace(reference, span=(around[0], around[0] + n_frames), n_frames=n_frames)
    command = part_commands.encode_part(whole, encoder, preset, rate_value, around, options, model)
    return sha256_bytes(
        canonical_json(
            {"format": FORMAT, "frames": list(frames), "command": command.hashed(), "versions": versions}
        )
    )


def _sealed(facts: dict[str, Any], rows: bytes) -> bytes:
    return canonical_json(facts) + b"\n" + rows


def _part(facts: dict[str, Any], rows: bytes) -> EncodedPart:
    table = np.frombuffer(rows, dtype="<f4").reshape(-1, 1 + len(CANONICAL6)).astype(np.float32)
    sizes = np.array(facts["frame_bytes"], dtype=np.int64)
    digests = tuple(str(one) for one in facts["digests"])
    if not len(table) == len(sizes) == len(digests):
        raise ValueError("numbers of frames differ")
    scored = Scored(
        vmaf=table[:, 0],
        features=table[:, 1:],
        n_frames=len(table),
        bytes=int(sizes.sum()),
        kbps=float(facts["kbps"]),
        encode_s=float(facts["encode_s"]),
        libvmaf_version=str(facts["libvmaf_version"]),
        frame_bytes=sizes,
    )
    return EncodedPart(scored, digests)
