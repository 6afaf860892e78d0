"""A keyed seal on cache entries: only this user can make an entry that is used (ADR-0416).

The key is in the user's state folder, readable by nobody else. A cache folder that others can write to is refused
too. The seal rejects wrong entries, but others could still remove valid ones.
"""

import contextlib
import hmac
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.user_folders import shared_by, state_dir

KEY_FILE = "cache.key"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Seal:
    """Makes and checks the seals of one user's entries."""

    key: bytes | None
    """32 bytes; None if no key can be stored, and then the cache is not used."""

    def of(self, data: bytes) -> str:
        """HMAC-SHA-256 of an entry, lower-case hex. Raises ValueError without a key."""
        if self.key is None:
            raise ValueError("there is no key")
        return hmac.new(self.key, data, "sha256").hexdigest()

    def fits(self, data: bytes, seal: object) -> bool:
        """Whether an entry carries this user's seal."""
        # Compared as bytes: text that is not ASCII is not a seal, and must not raise.
        return (
            self.key is not None
            and isinstance(seal, str)
            and hmac.compare_digest(self.of(data).encode(), seal.encode(errors="replace"))
        )


def open_seal(cache: Path) -> Seal:
    """The seal of a cache folder's entries; makes the user's key if it is missing.

    Raises:
      ConfigError: others can write to the cache folder, or read or write the key.
    """
    with contextlib.suppress(OSError):  # no folder yet, or something else in its place: a miss later
        if why := shared_by(cache):
            raise ConfigError(
                f"the cache folder {cache} {why}",
                next_step="name a folder of your own by ASSAY_CACHE, run `chmod 700` on it, or use --no-cache",
            )
    return Seal(user_key(state_dir()))


def user_key(folder: Path) -> bytes | None:
    """This user's key, made if it is missing; None if the folder cannot store it.

    Raises:
      ConfigError: the key is not a plain file of 32 bytes that only this user can read and write.
    """
    path = folder / KEY_FILE
    try:
        if not os.path.lexists(path):
            _make_key(path)
        # O_NOFOLLOW, O_NONBLOCK: a link is refused, and a pipe does not hang.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if os.path.lexists(path):
            raise _bad_key(path, f"cannot be read: {error.strerror}") from error
        return None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise _bad_key(path, "is not a plain file")
        if os.name == "posix" and (facts.st_uid != os.getuid() or facts.st_mode & 0o077):
            raise _bad_key(path, f"has mode {stat.S_IMODE(facts.st_mode):o} and owner {facts.st_uid}")
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise _bad_key(path, f"does not have {KEY_BYTES} bytes")
    return key


def _make_key(path: Path) -> None:
    """Write a new key atomically; a key that another process made meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(secrets.token_bytes(KEY_BYTES))
            handle.flush()
            os.fsync(handle.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _bad_key(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the key of the cache, {path}, {why}", next_step="remove it; results are then measured again"
    )
