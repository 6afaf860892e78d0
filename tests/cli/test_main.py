"""The edge of the program: exit codes, one line an error, nothing but the answer on stdout."""

import io
import json
import os
import re
import sys
import time
from pathlib import Path

import pytest
import typer

from vmaf_assay import __version__
from vmaf_assay.cli import commands, render
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import (
    AssayError,
    ConfigError,
    CorpusError,
    IntegrityError,
    MediaError,
    ModelLoadError,
    SourcesRefusedError,
    ToolError,
)
from vmaf_assay.media import process
from vmaf_assay.media.parts import OtherFramesError

VERBS = list(cli.VERBS)


def app_raising(problem: BaseException):
    """An application whose only verb raises."""
    app = typer.Typer(rich_markup_mode=None)

    @app.callback()
    def root() -> None:
        """Nothing."""

    @app.command()
    def verb() -> None:
        raise problem

    return app


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (ConfigError("c", next_step="n"), 2),
        (MediaError("m", next_step="n"), 2),
        (SourcesRefusedError({"a": "r"}, 2), 2),
        (CorpusError("p", next_step="n"), 2),
        (ToolError("t", next_step="n"), 3),
        (IntegrityError("i", next_step="n"), 4),
        (ModelLoadError("l", next_step="n"), 4),
        (FileNotFoundError(2, "No such file or directory", "in.mkv"), 2),
        (PermissionError(13, "Permission denied", "in.mkv"), 2),
        (OSError(28, "No space left on device", "out.mkv"), 3),
        (KeyboardInterrupt(), 130),
        (typer.Exit(1), 1),
    ],
)
def test_exit_codes(monkeypatch, capsys, problem, code):
    """Each kind of error has its documented exit code and at most one line on stderr, none on stdout."""
    monkeypatch.setattr(cli, "build_app", lambda argv: app_raising(problem))
    assert cli.main(["verb"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) <= 1
    if isinstance(problem, AssayError):
        assert lines == [f"error: {problem}"]
    if isinstance(problem, OSError):
        assert problem.filename in lines[0]


def test_every_error_class_is_in_the_table():
    """A new error class must be given an exit code here before it can be raised."""

    def tree(base: type) -> set[type]:
        return {base}.union(*(tree(child) for child in base.__subclasses__()))

    assert tree(AssayError) == {
        AssayError,
        ConfigError,
        MediaError,
        CorpusError,
        ToolError,
        IntegrityError,
        ModelLoadError,
        SourcesRefusedError,
        OtherFramesError,
    }


def test_bugs_are_not_hidden(monkeypatch):
    """An exception nobody expected keeps its traceback instead of posing as bad input."""
    monkeypatch.setattr(cli, "build_app", lambda argv: app_raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError, match="bug"):
        cli.main(["verb"])


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["nonsense", "--help"],
        ["--nonsense"],
        ["doctor", "--nonsense"],
        ["doctor", "extra"],
        ["tune", "--target-vmaf", "x"],
    ],
)
def test_usage_errors(capsys, argv):
    """An invalid command line is one line on stderr and exit 2."""
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1


def test_version_and_help(capsys):
    """`--version` names the version; `--help` lists the verbs in working order; stdout, exit 0."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"assay {__version__}\n"
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^  (\w+) ", text.partition("Commands:")[2], re.MULTILINE) == VERBS


def test_every_verb_is_a_module_and_in_the_list():
    """A verb is a file under `cli/commands/`, and `assay --help` knows each, in full and on one line."""
    files = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(VERBS) == files
    whole = typer.main.get_command(cli.build_app())
    assert list(whole.commands) == VERBS
    assert max(map(len, cli.VERBS.values())) <= 66


@pytest.mark.parametrize("argv", [[verb] for verb in VERBS] + [["--help"], ["--version"], []])
def test_a_command_line_loads_what_it_needs(argv):
    """One verb loads by itself; the list of verbs loads none of them."""
    held = typer.main.get_command(cli.build_app(argv))
    assert list(held.commands) == (argv if argv and argv[0] in VERBS else VERBS)


def test_no_arguments_shows_help_on_stderr(capsys):
    """Bare `assay` is a usage error that shows how it is used."""
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Commands:" in captured.err


def test_every_verb_has_help(capsys):
    """Each verb explains itself and its options without running anything."""
    for verb in VERBS:
        assert cli.main([verb, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"Usage: assay {verb}")
        assert "--help" in text


def test_unprintable_text_is_escaped(capsys):
    """A file name with an escape sequence cannot steer the terminal, and an error stays one line."""
    render.error("bad name \x1b[2J\nand more")
    assert capsys.readouterr().err == "error: bad name \\x1b[2J and more\n"


def test_json_is_strict(capsys):
    """The JSON on stdout never holds NaN, which is not JSON; a name survives, even one that is not UTF-8."""
    names = {"name": "día", "bytes": os.fsdecode(b"\xff.mkv")}
    render.emit_json(names)
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == names
    with pytest.raises(ValueError, match="JSON"):
        render.emit_json({"mu": float("nan")})


def test_progress_is_silent_off_a_terminal(capsys):
    """In a pipeline the bar writes nothing, and the work goes on."""
    with render.progress_bar("work", total=2) as update:
        update(1, "first")
        update(2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_progress_is_drawn_on_a_terminal(monkeypatch):
    """On a terminal the bar shows what is done and of what, and a name in it cannot be markup or an escape."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with render.progress_bar("cells", total=3) as update:
        update(2, "[bold]a\x1b[2Jb")
    assert "cells" in screen.getvalue()
    assert "…" not in screen.getvalue()
    assert "2/3" in screen.getvalue()
    assert "[bold]a\\x1b[2Jb" in screen.getvalue()


def test_no_color(monkeypatch):
    """NO_COLOR switches colour off even where it was forced on."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert render.console().color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert render.console().no_color


def test_closed_pipe_is_quiet():
    """A reader that leaves early, as `head` does, gets no traceback, and no code that means an answer."""
    code = (
        "import os, sys\n"
        "read_end, write_end = os.pipe()\n"
        "os.close(read_end)\n"
        "os.dup2(write_end, 1)\n"
        "from vmaf_assay.cli import main as cli\n"
        "sys.argv = ['assay', '--help']\n"
        "cli.run()\n"
    )
    done = process.run([sys.executable, "-c", code], timeout_s=60)
    assert (done.exit_code, done.stderr) == (3, "")


def test_sigterm_ends_children(tmp_path):
    """SIGTERM is exit 143 with one line, and the command that was running does not outlive it."""
    marker = tmp_path / "pid"
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, signal, sys, threading, time\n"
        "import typer\n"
        "from vmaf_assay.cli import main as cli\n"
        "from vmaf_assay.media import process\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "app = typer.Typer()\n"
        "@app.callback()\n"
        "def root(): pass\n"
        "@app.command()\n"
        "def verb():\n"
        "    process.run(['sh', '-c', f'echo $$ > {marker}.tmp; mv {marker}.tmp {marker}; sleep 60'])\n"
        "def end():\n"
        "    while not marker.exists(): time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=end, daemon=True).start()\n"
        "cli.build_app = lambda argv: app\n"
        "sys.argv = ['assay', 'verb']\n"
        "cli.run()\n"
    )
    done = process.run([sys.executable, str(script)], timeout_s=60)
    assert (done.exit_code, done.stderr) == (143, "error: terminated\n")
    pid = int(marker.read_text())
    deadline = time.monotonic() + 20  # killed at once; a busy machine may take a while to clear it away
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys):
    """An interrupt inside a verb ends with one line on stderr, nothing on stdout, and exit code 130."""
    from vmaf_assay.api import machine

    def interrupted(explicit=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "find_ffmpeg", interrupted)
    code = cli.main(["doctor"])
    printed = capsys.readouterr()
    assert (code, printed.out, printed.err.strip()) == (
        130,
        "",
        "error: interrupted; nothing half-written is left",
    )
