"""Children end when they must, and leave nothing behind."""

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from vmaf_assay.errors import ToolError
from vmaf_assay.media import process


def test_a_command_that_is_not_there_is_one_clear_error():
    """Starting a missing program names it."""
    with pytest.raises(ToolError, match="cannot start no-such-program"):
        process.run(["no-such-program"])


def test_both_streams_are_read_while_the_command_runs():
    """More output than a pipe holds, on both streams at once, does not hang."""
    code = "import sys\nfor i in range(40000): print('o'*20); print('e'*20, file=sys.stderr)"
    done = process.run([sys.executable, "-c", code], timeout_s=60)
    assert done.exit_code == 0
    assert len(done.stdout) == 40000 * 21
    assert done.tail(1) == "e" * 20


def test_the_gist_of_a_long_complaint_has_its_first_line():
    """A cause said first is not lost behind what came of it; four lines or fewer are given whole."""
    said = "import sys\nfor i in range(int(sys.argv[1])): print('line', i, file=sys.stderr)"
    long, short = (process.run([sys.executable, "-c", said, n]).gist() for n in ("9", "4"))
    assert long == "line 0 | ... | line 6 | line 7 | line 8"
    assert short == "line 0 | line 1 | line 2 | line 3"


def test_timeout_kills_the_command():
    """A command over its time ends with the kill signal."""
    started = time.monotonic()
    done = process.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.5)
    assert (done.exit_code, done.timed_out, done.killed) == (-9, True, False)
    assert time.monotonic() - started < 20


def test_a_command_that_somebody_killed_is_told_apart():
    """The same status without the time being up."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = process.run([sys.executable, "-c", code], timeout_s=60)
    assert (done.exit_code, done.timed_out, done.killed) == (-9, False, True)


def test_children_can_be_killed_from_another_thread():
    """`Children.kill` ends what runs now and what starts later."""
    children = process.Children()
    threading.Timer(0.5, children.kill).start()
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert process.run(sleeper, children=children).exit_code == -9
    assert process.run(sleeper, children=children).exit_code == -9


def test_a_killed_parent_takes_its_command_along(tmp_path):
    """SIGKILL to a program that waits for a command ends the command too, where `setpriv` is there."""
    if shutil.which("setpriv") is None:
        assert process._dying_with_parent(["true"]) == ["true"]
        return
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import sys; from vmaf_assay.media import process; process.run([sys.executable, '-c', {child!r}])"
    runner = threading.Thread(
        target=process.run, args=([sys.executable, "-c", parent],), kwargs={"timeout_s": 4.0}
    )
    runner.start()
    runner.join()
    pid = int(pid_file.read_text())
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} outlived its parent")
