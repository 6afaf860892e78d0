"""Run one command. The only file that imports subprocess.

Every child leads its own process group. The group is killed on timeout, on any exception and on `Children.kill`.
On Linux the child also dies with the thread that started it, so that a killed builder leaves no encoder running.
It is `setpriv` of util-linux that asks the kernel for that, because `preexec_fn` would fork, which JAX's threads
forbid.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.errors import ToolError

_STDERR_LIMIT_BYTES = 1_000_000

_CHANGES_OUTPUT = ("AV_LOG_", "FFREPORT", "FFMPEG_DATADIR", "AVCONV_DATADIR", "SVT_LOG", "VPX_SIMD_CAPS")
"""Beginnings of variables that change what ffmpeg and its encoders print, write or load; no command gets them."""

_UNLESS_ORPHANED = '[ "$PPID" = "$0" ] || exit 137; exec "$@"'


@dataclass(frozen=True, slots=True)
class Completed:
    """Result of a finished command."""

    argv: tuple[str, ...]
    """The command."""
    exit_code: int
    """Its exit status; negative is the signal that ended it."""
    stdout: bytes
    """All of standard output, unless `on_line` took it."""
    stderr: str
    """The last megabyte of standard error, undecodable bytes replaced."""
    timed_out: bool = False
    """True if it was killed here after its timeout."""

    @property
    def killed(self) -> bool:
        """True if it was killed from outside: by the kernel (out of memory) or an operator."""
        return self.exit_code == -signal.SIGKILL and not self.timed_out

    def tail(self, lines: int = 3) -> str:
        """The last lines of standard error, joined by ` | `."""
        return " | ".join(self._lines()[-lines:])

    def gist(self) -> str:
        """The first line of standard error and the last three: the cause and its consequences."""
        kept = self._lines()
        return " | ".join(kept if len(kept) <= 4 else [kept[0], "...", *kept[-3:]])

    def _lines(self) -> list[str]:
        return [line.strip() for line in self.stderr.replace("\r", "\n").splitlines() if line.strip()]


class Children:
    """The commands now running for one caller, so that another thread can end them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """True once `kill` was called."""
        return self._closed

    def kill(self) -> None:
        """End every running command and let no new one start."""
        with self._lock:
            self._closed = True
            for child in self._running:
                _kill_group(child)

    def _add(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            if self._closed:
                _kill_group(child)
            self._running.add(child)

    def _remove(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(child)


_unowned = Children()


def kill_running() -> None:
    """End every command of this process that was started without `children`; later ones start as usual."""
    global _unowned
    before, _unowned = _unowned, Children()
    before.kill()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _dying_with_parent(argv: Sequence[str]) -> list[str]:
    """The command, wrapped so that the kernel kills it when its parent dies, where that is supported."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    # A missing program must fail in Popen, with its own name.
    if setpriv is None or shutil.which(argv[0]) is None:
        return list(argv)
    # A parent that died before `setpriv` asked the kernel would be missed, so the shell checks again afterwards.
    return [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _UNLESS_ORPHANED, str(os.getpid()), *argv]


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
    children: Children | None = None,
) -> Completed:
    """Run a command to its end and return its result, whatever its exit status.

    Args:
      argv: the command, never through a shell.
      cwd: folder to run in.
      timeout_s: seconds after which the whole process group is killed; the status is then -9.
      on_line: takes standard output line by line as it comes; `stdout` is then empty.
      children: where to register the child, so that another thread can kill it.

    Raises:
      ToolError: the command cannot be started.
    """
    try:
        child = subprocess.Popen(
            _dying_with_parent(argv),
            cwd=cwd,
            env={name: value for name, value in os.environ.items() if not name.startswith(_CHANGES_OUTPUT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(
            f"cannot start {argv[0]}: {error.strerror}", next_step="check that it is installed", argv=argv
        ) from error
    (children := children or _unowned)._add(child)
    timer, late = _deadline(child, timeout_s)
    tail = bytearray()
    drain = threading.Thread(target=_drain, args=(child, tail), daemon=True)
    try:
        drain.start()
        if timer:
            timer.start()
        stdout = _read(child, on_line)
        code = child.wait()
        drain.join()
    finally:
        if timer:
            timer.cancel()
        _kill_group(child)
        child.wait()
        children._remove(child)
        for stream in (child.stdout, child.stderr):
            if stream:
                stream.close()
    timed_out = late.is_set() and code == -signal.SIGKILL
    return Completed(tuple(argv), code, stdout, tail.decode(errors="replace"), timed_out)


def _deadline(
    child: subprocess.Popen[bytes], timeout_s: float | None
) -> tuple[threading.Timer | None, threading.Event]:
    """A timer that kills the child, not started yet, and the event that it then sets."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill_group(child)

    return threading.Timer(timeout_s, end) if timeout_s else None, late


def _drain(child: subprocess.Popen[bytes], tail: bytearray) -> None:
    assert child.stderr is not None
    with contextlib.suppress(ValueError):  # closed under us after a kill
        while chunk := child.stderr.read1(65536):  # type: ignore[attr-defined]
            tail += chunk
            del tail[:-_STDERR_LIMIT_BYTES]


def _read(child: subprocess.Popen[bytes], on_line: Callable[[str], None] | None) -> bytes:
    assert child.stdout is not None
    if on_line is None:
        return child.stdout.read()
    for line in child.stdout:
        on_line(line.decode(errors="replace").rstrip("\n"))
    return b""
