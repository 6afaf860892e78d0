"""What people see in a terminal: 80 columns, an example for everything, completion."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmaf_assay.cli import main as cli
from vmaf_assay.cli import render
from vmaf_assay.media import process


def commands(command=None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command of the application, groups left out, with the words that lead to it."""
    command = command or typer.main.get_command(cli.build_app())
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    for name, child in (children or {}).items():
        yield from commands(child, (*path, name))


ALL = list(commands())
RENAMED = {("registry", "rejudge"): ("registry", "revalidate"), ("registry", "supersede"): ("registry", "retire")}
"""Old names of verbs, which still work: their help shows an example with the new name."""


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_help_shows_an_example_that_could_run(path, command, capsys):
    """Each command's help has a command line on one line, to be copied, whose every option it takes."""
    assert cli.main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    examples = re.findall(r"^ *Example: assay (.*)", text, re.MULTILINE)
    assert examples, text
    words = examples[0].split()
    assert tuple(words[: len(path)]) == RENAMED.get(path, path)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert [word for word in words if re.match(r"--?[a-z]", word) and word not in known] == []
    assert max(len(line) for line in text.splitlines() if "Example: " not in line) <= 80


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(
    st.lists(
        st.tuples(
            st.text("abc def", max_size=200), st.integers(0, 10**9), st.booleans(), st.text("x-/.", max_size=90)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_tables_fit_80_columns(rows):
    """No line is over 80 characters, and no letter of any cell is lost."""
    text = render.table(["name", "number", "yes or no", "path"], rows)
    assert max(len(line) for line in text.splitlines() if "Example: " not in line) <= 80
    for name, number, _, path in rows:
        assert str(number) in text
        for kind, cells in (("abcdef", name), ("x-/.", path)):
            for letter in set(cells) & set(kind):
                assert text.count(letter) >= cells.count(letter)


def test_short_tables_stay_as_they_were():
    """A table that fits is not folded."""
    assert render.table(["a", "b"], [["x", 1.5]]) == "a    b\nx  1.5"


def in_a_terminal(argv: list[str], **env: str) -> str:
    """What a command writes to a terminal, with its exit code last."""
    fd, terminal = pty.openpty()
    child = subprocess.Popen(
        argv,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", **env},
    )
    os.close(terminal)
    said = b""
    while True:
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(fd)
    return said.decode() + f"exit {child.wait()}"


def test_colour_on_a_terminal_only():
    """An error is red on a terminal, plain with NO_COLOR, and plain in a pipe; the exit code is 2 each time."""
    argv = [sys.executable, "-m", "vmaf_assay", "report", "absent.json"]
    clean = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    assert clean is not os.environ
    red = in_a_terminal(argv, NO_COLOR="")
    assert "\x1b[1;31merror:" in red
    assert red.endswith("exit 2")
    plain = in_a_terminal(argv, NO_COLOR="1")
    assert "31m" not in plain
    assert "error: no such file or folder: absent.json" in plain.replace("\x1b[1m", "").replace("\x1b[0m", "")
    piped = process.run(argv)
    assert (piped.exit_code, "\x1b" in piped.stderr, piped.stdout) == (2, False, b"")


def test_completion_works_in_bash(tmp_path):
    """bash, given the script that `_ASSAY_COMPLETE=source_bash assay` prints, completes verbs and options."""
    assay = tmp_path / "assay"
    assay.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'assay'\nfrom vmaf_assay.cli.main import run\nrun()\n"
    )
    assay.chmod(0o755)
    script = (
        'eval "$(_ASSAY_COMPLETE=source_bash assay)"\n'
        'ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _assay_completion assay; echo "${COMPREPLY[@]}"; }\n'
        "ask assay re\nask assay corpus ver\nask assay tune --target\n"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    src = str(Path(cli.__file__).parents[2])
    done = process.run(["env", f"PATH={path}", f"PYTHONPATH={src}", "bash", "-c", script], timeout_s=120)
    assert done.exit_code == 0, done.stderr
    verbs, nested, options = done.stdout.decode().splitlines()
    assert {"registry", "report"} <= set(verbs.split())
    assert nested.split() == ["verify"]
    assert set(options.split()) == {"--target-vmaf", "--target-bitrate", "--target-size"}
