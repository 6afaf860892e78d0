"""Cache of probe and trial results, keyed by content: a second question about a source needs no encode.

A key is the SHA-256 of everything that determines the result: the source's bytes, the command that encodes and
scores them (`media/commands.py`), and the versions of the tools. An entry is one line of JSON, then the per-frame
rows as little-endian float32 [F, 7] (VMAF, canonical-6). It has the digest of the decoded pictures that it was
measured on, so that results of other pictures do not mix (`tune/measure.py`). It carries a seal that only this
user can make. Entries that do not verify are ignored, and a failed write is not an error.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.errors import AssayError
from vmaf_assay.media import commands
from vmaf_assay.media.capability import ToolVersions
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import canonical_json, parse_json_strict, sha256_bytes, sha256_file, write_bytes_atomic
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.records import CANONICAL6, Scored, features_of_v1
from vmaf_assay.tune.cache_seal import Seal, open_seal

FORMAT = 1
"""Raise it when the meaning of an entry changes."""

MAX_BYTES = 512 * 1024 * 1024
"""Beyond this size the least recently used entries are removed; an hour at 25 frames a second takes 2.5 MB."""

COLUMNS = 1 + len(CANONICAL6)

_NEWER = ("span", "stamps")
"""Fields of a reference that releases before did not have."""


class Cache:
    """A folder of measured encodes."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._digests: dict[tuple[str | int, ...], str] = {}
        self.versions = ToolVersions()

    @cached_property
    def seal(self) -> Seal:
        """The seal of its entries. Raises ConfigError if the folder or the key is open to others."""
        return open_seal(self.folder)

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, read again only if it is another one, or its size or times have changed."""
        facts = path.stat()
        # A time of change cannot be set back, unlike that of modification.
        times = facts.st_mtime_ns, facts.st_ctime_ns
        key = (str(path.resolve()), facts.st_dev, facts.st_ino, facts.st_size, *times)
        if key not in self._digests:
            self._digests[key] = sha256_file(path)
        return self._digests[key]

    def key(
        self,
        ffmpeg: Ffmpeg,
        reference: ReferenceInput,
        info: EncoderInfo,
        preset: str,
        rate_value: float,
        *,
        models: Sequence[str] = (commands.VMAF_MODEL,),
        of: tuple[int, ...] = (),
        every: int = 1,
    ) -> str:
        """The entry's name; raises ToolError if the encoder does not work here.

        `of` names the frames of the source that are encoded and scored; empty means all. Of `every` frames the
        first is scored.
        """
        return sha256_bytes(
            canonical_json(
                {
                    "format": FORMAT,
                    "source": self.digest(reference.path),
                    "reference": _made_of(reference),
                    "command": commands.encode_and_score(
                        reference, info, preset, rate_value, models, every=every
                    ).hashed(),
                    "versions": self.versions(ffmpeg, info.name),
                }
                | (self._segment(reference, of) if of else {})
            )
        )

    def _segment(self, reference: ReferenceInput, of: tuple[int, ...]) -> dict[str, Any]:
        return {"segment": list(of), "cut": commands.cut_out(reference, [(of[0], of[1])]).hashed()}

    def plan_key(self, reference: ReferenceInput, asked: dict[str, Any]) -> str:
        """The name of the entry with the probed segments of a source."""
        facts = {"format": FORMAT, "source": self.digest(reference.path), "reference": _made_of(reference)}
        return sha256_bytes(
            canonical_json(facts | {"command": commands.look_through(reference).hashed(), "plan": asked})
        )

    def load_plan(self, key: str) -> dict[str, Any] | None:
        """The plan under a key, if it is there and verifies."""
        facts, _ = self._read(key) or ({}, b"")
        return dict(facts["plan"]) if isinstance(facts.get("plan"), dict) else None

    def store_plan(self, key: str, plan: dict[str, Any]) -> None:
        """Store a plan; does nothing if the folder cannot be written."""
        self._write({"key": key, "plan": plan}, b"")

    def load(self, key: str, n_frames: int) -> Scored | None:
        """The result under a key, if it is there and verifies."""
        if (entry := self._read(key)) is None:
            return None
        try:
            scored = _scored(*entry, n_frames)
        except (ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(self._path(key))  # marks it as used, so that it is removed last
        return scored

    def store(self, key: str, scored: Scored) -> None:
        """Store a result; does nothing if the folder cannot be written."""
        of_v1 = features_of_v1(scored)
        table = np.concatenate(
            [scored.vmaf[:, None], scored.features, *(x[:, None] for x in of_v1.values())], axis=1
        )
        rows = table.astype("<f4").tobytes()
        facts: dict[str, Any] = {
            "key": key,
            "n_frames": scored.n_frames,
            "bytes": scored.bytes,
            "kbps": scored.kbps,
            "encode_s": scored.encode_s,
            "libvmaf_version": scored.libvmaf_version,
            "decoded": scored.decoded,
        }
        if scored.every > 1:
            facts["every"] = scored.every
        if of_v1:
            facts["more"] = list(of_v1)
        self._write(facts, rows)

    def _read(self, key: str) -> tuple[dict[str, Any], bytes] | None:
        """Facts and rows of an entry of this key with this user's seal, else None."""
        path, seal = self._path(key), self.seal
        try:
            head, _, rows = path.read_bytes().partition(b"\n")
            facts = parse_json_strict(head, where=str(path))
        except (OSError, AssayError):
            return None
        given = facts.pop("seal", None)
        fits = facts.get("key") == key and seal.fits(_sealed(facts, rows), given)
        return (facts, rows) if fits else None

    def _write(self, facts: dict[str, Any], rows: bytes) -> None:
        if self.seal.key is None:
            return
        sealed = facts | {"seal": self.seal.of(_sealed(facts, rows))}
        with contextlib.suppress(AssayError, OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_bytes_atomic(self._path(facts["key"]), _sealed(sealed, rows))
            self._prune()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.scored"

    def _prune(self) -> None:
        entries = sorted(
            (path.stat().st_mtime, path.stat().st_size, path) for path in self.folder.glob("*/*.scored")
        )
        excess = sum(size for _, size, _ in entries) - self.max_bytes
        for _, size, path in entries:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size


def _made_of(reference: ReferenceInput) -> dict[str, str]:
    """How a source is opened. Fields newer than a release are left out at their defaults, so that keys stay."""
    facts = {field.name: getattr(reference, field.name) for field in fields(reference) if field.compare}
    del facts["path"]
    return {name: str(value) for name, value in facts.items() if name not in _NEWER or value is not None}


def _sealed(facts: dict[str, Any], rows: bytes) -> bytes:
    return canonical_json(facts) + b"\n" + rows


def _scored(facts: dict[str, Any], rows: bytes, n_frames: int) -> Scored:
    more = [str(name) for name in facts.get("more", ())]
    table = np.frombuffer(rows, dtype="<f4").reshape(-1, COLUMNS + len(more)).astype(np.float32)
    every = int(facts.get("every", 1))
    # A part may begin between two frames that are scored.
    if int(facts["n_frames"]) != n_frames or not n_frames // every <= len(table) <= -(-n_frames // every):
        raise ValueError("another number of frames")
    return Scored(
        vmaf=table[:, 0],
        features=table[:, 1:COLUMNS],
        n_frames=n_frames,
        bytes=int(facts["bytes"]),
        kbps=float(facts["kbps"]),
        encode_s=float(facts["encode_s"]),
        libvmaf_version=str(facts["libvmaf_version"]),
        every=every,
        decoded=str(facts["decoded"]),
        more=dict(zip(more, table[:, COLUMNS:].T, strict=True)) or None,
    )
