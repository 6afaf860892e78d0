"""Children end when they must, and leave nothing behind."""

import sys
import threading
import time

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


def test_timeout_kills_the_command():
    """A command over its time ends with the kill signal."""
    started = time.monotonic()
    done = process.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.5)
    assert done.exit_code == -9
    assert time.monotonic() - started < 20


def test_children_can_be_killed_from_another_thread():
    """`Children.kill` ends what runs now and what starts later."""
    children = process.Children()
    threading.Timer(0.5, children.kill).start()
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert process.run(sleeper, children=children).exit_code == -9
    assert process.run(sleeper, children=children).exit_code == -9
