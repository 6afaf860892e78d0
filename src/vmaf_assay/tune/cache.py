"""Probe and trial results kept by content, so that a second question about a source costs no encode.

A key is the SHA-256 of everything that determines the result: the source's bytes, what is made of them, the
encoder's options, the graph, the versions of the tools and, where all threads are used, their number. An entry is
one line of JSON, then the per-frame rows as little-endian float32 [F, 7] (VMAF, canonical-6). What does not verify
is not used; what cannot be written is not kept; neither is an error.
"""

import contextlib
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.errors import AssayError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import canonical_json, parse_json_strict, sha256_bytes, sha256_file, write_bytes_atomic
from vmaf_assay.media.score import ReferenceInput, Threads, encoder_args, libvmaf_filter
from vmaf_assay.media.versions import tool_versions
from vmaf_assay.records import CANONICAL6, Scored

FORMAT = 1
"""Changes when what an entry means changes."""

MAX_BYTES = 512 * 1024 * 1024
"""Entries are removed, oldest used first, beyond this; an hour of 25 frames a second takes 2.5 MB."""

COLUMNS = 1 + len(CANONICAL6)


def default_cache_dir() -> Path:
    """`$ASSAY_CACHE`, else `vmaf-assay` in the user's cache folder of this system."""
    if named := os.environ.get("ASSAY_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "vmaf-assay"


class Cache:
    """A folder of measured encodes."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._digests: dict[tuple[str, int, int], str] = {}
        self._versions: dict[tuple[str, str], dict[str, str]] = {}

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, read once while its size and time stand."""
        facts = path.stat()
        key = (str(path.resolve()), facts.st_size, facts.st_mtime_ns)
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
        threads: Threads,
        *,
        of: tuple[int, ...] = (),
    ) -> str:
        """The entry's name; raises ToolError if the encoder does not work here.

        `of` says which frames of the source are encoded and which of those scored; empty means all.
        """
        if (ffmpeg.path, info.name) not in self._versions:
            self._versions[ffmpeg.path, info.name] = tool_versions(ffmpeg, [info.name])
        return sha256_bytes(
            canonical_json(
                {
                    "format": FORMAT,
                    "source": self.digest(reference.path),
                    "reference": _made_of(reference),
                    "filters": [reference.encode_filters(), reference.filters(), libvmaf_filter(n_threads=1)],
                    "encoder": encoder_args(info, preset, rate_value, threads=threads),
                    "threads": 1 if threads == "single" else os.cpu_count(),
                    "versions": self._versions[ffmpeg.path, info.name],
                }
                | ({"segment": list(of)} if of else {})
            )
        )

    def plan_key(self, reference: ReferenceInput, asked: dict[str, Any]) -> str:
        """The name of the entry that says which segments of a source are probed."""
        facts = {"format": FORMAT, "source": self.digest(reference.path), "reference": _made_of(reference)}
        return sha256_bytes(canonical_json(facts | {"filters": reference.filters(), "plan": asked}))

    def load_plan(self, key: str) -> dict[str, Any] | None:
        """What `store_plan` kept under a key, if it is there and whole."""
        try:
            kept = parse_json_strict(self._path(key).read_bytes(), where=key)
            same = kept.pop("sha256") == sha256_bytes(canonical_json(kept)) and kept.pop("key") == key
        except (OSError, AssayError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return dict(kept["plan"]) if same and isinstance(kept.get("plan"), dict) else None

    def store_plan(self, key: str, plan: dict[str, Any]) -> None:
        """Keep a plan; a folder that cannot be written keeps nothing."""
        facts: dict[str, Any] = {"key": key, "plan": plan}
        facts["sha256"] = sha256_bytes(canonical_json(facts))
        with contextlib.suppress(AssayError, OSError):
            write_bytes_atomic(self._path(key), canonical_json(facts))

    def load(self, key: str, n_frames: int) -> Scored | None:
        """The result kept under a key, if it is there and whole."""
        path = self._path(key)
        try:
            head, _, rows = path.read_bytes().partition(b"\n")
            facts = parse_json_strict(head, where=str(path))
            if facts.get("key") != key or facts.get("sha256") != _seal(facts, rows):
                raise ValueError("not what was written")
            scored = _scored(facts, rows, n_frames)
        except (OSError, AssayError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now: removed last
        return scored

    def store(self, key: str, scored: Scored) -> None:
        """Keep a result; a folder that cannot be written keeps nothing."""
        table = np.concatenate([scored.vmaf[:, None], scored.features], axis=1)
        rows = table.astype("<f4").tobytes()
        facts: dict[str, Any] = {
            "key": key,
            "n_frames": scored.n_frames,
            "bytes": scored.bytes,
            "kbps": scored.kbps,
            "encode_s": scored.encode_s,
            "libvmaf_version": scored.libvmaf_version,
        }
        facts["sha256"] = _seal(facts, rows)
        with contextlib.suppress(AssayError, OSError):
            write_bytes_atomic(self._path(key), canonical_json(facts) + b"\n" + rows)
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
    """How a source is opened; what is left at its default since an earlier release does not change the key."""
    facts = {field.name: getattr(reference, field.name) for field in fields(reference) if field.name != "path"}
    return {name: str(value) for name, value in facts.items() if name != "span" or value is not None}


def _seal(facts: dict[str, Any], rows: bytes) -> str:
    kept = {name: value for name, value in facts.items() if name != "sha256"}
    return sha256_bytes(canonical_json(kept) + b"\n" + rows)


def _scored(facts: dict[str, Any], rows: bytes, n_frames: int) -> Scored:
    table = np.frombuffer(rows, dtype="<f4").reshape(-1, COLUMNS).astype(np.float32)
    if len(table) != n_frames:
        raise ValueError("another number of frames")
    return Scored(
        vmaf=table[:, 0],
        features=table[:, 1:],
        n_frames=len(table),
        bytes=int(facts["bytes"]),
        kbps=float(facts["kbps"]),
        encode_s=float(facts["encode_s"]),
        libvmaf_version=str(facts["libvmaf_version"]),
    )
