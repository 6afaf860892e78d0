"""A lock between processes, on a plain file beside what it guards."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from vmaf_assay.errors import IntegrityError


@contextmanager
def exclusive(path: Path, timeout_s: float = -1) -> Iterator[None]:
    """Hold a lock file, created if absent; it stays after the release.

    Args:
      path: the lock file. Taking the lock empties it, so a link is refused (filelock before 3.20.1 follows one).
      timeout_s: seconds to wait; less than zero waits forever.

    Raises:
      IntegrityError: the lock file is a link or anything else but a plain file.
      TimeoutError: another process held the lock all the time.
      OSError: the file cannot be made or locked.
    """
    _refuse_other_kinds(path)
    lock = FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except TimeoutError:
        raise
    except OSError:
        _refuse_other_kinds(path)  # put there meanwhile
        raise
    try:
        yield
    finally:
        lock.release()


def _refuse_other_kinds(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a plain file"
        raise IntegrityError(
            f"the lock file {path} is {kind}", next_step="find out who put it there, and remove it"
        )
