"""Builds run as a user runs them, in a process of their own, and what they leave."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vmaf_assay.corpus.store import read_cell

_started: list[subprocess.Popen[str]] = []


def build_argv(sources, out, *extra: str) -> list[str]:
    """`assay corpus build SOURCES -e libx264:ultrafast:20,30,40 -o OUT`."""
    return [
        sys.executable,
        "-m",
        "vmaf_assay",
        "corpus",
        "build",
        str(sources),
        "-e",
        "libx264:ultrafast:20,30,40",
        "-o",
        str(out),
        *extra,
    ]


def start(argv: list[str], **env: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, so that a signal to its group reaches nobody else."""
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | env,
    )
    _started.append(process)
    return process


def end_all() -> None:
    """Kill and reap what a failed test left, so that no later test is blamed for it."""
    while _started:
        with _started.pop() as process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def finish(argv: list[str], **env: str) -> tuple[int, str, str]:
    """Run a command to its end: exit code, stdout, stderr."""
    with start(argv, **env) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def digest_of(stdout: str) -> str:
    """The digest that `corpus build` printed."""
    return stdout.split()[1]


def wait_until(condition: Callable[[], object], *, timeout_s: float = 120.0) -> None:
    """Return as soon as the condition holds; fail after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def n_cells(folder: Path) -> int:
    """Cells written so far."""
    return len(list((folder / "cells").glob("[0-9a-f]*.parquet")))


def processes_at(folder: Path, word: str = "") -> list[int]:
    """Ids of the processes, other than this one, that work in the folder or name it, and name `word`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                place = os.readlink(entry / "cwd")
            except OSError:
                continue
            # An ended process that nobody has asked after yet has no command line.
            if command and (str(folder) in command or place.startswith(str(folder))) and word in command:
                found.append(int(entry.name))
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def check_clean(folder: Path, *, finished: bool) -> None:
    """No process at the folder, no half cell; and, once finished, nothing but the corpus."""
    wait_until(lambda: not processes_at(folder), timeout_s=5.0)
    for path in (folder / "cells").glob("[0-9a-f]*.parquet"):
        read_cell(folder, path.stem)
    if finished:
        assert not (folder / ".scratch").exists()
        assert not list(folder.rglob("*.tmp"))
        names = {path.name.split("-")[0] for path in folder.iterdir()}
        assert names <= {"cells", "corpus.json", "rows", "looks", ".lock"}
