"""The command `assay`: loads a verb, runs it, and turns its errors into one line and an exit code.

Exit codes: 0 yes; 1 a negative answer; 2 usage or bad input; 3 a tool or the medium failed; 4 integrity;
130 interrupted; 143 terminated. They are decided only here. A verb raises, or exits with `typer.Exit(1)` for a
negative answer.
"""

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer

from vmaf_assay import __version__
from vmaf_assay.cli import commands, render
from vmaf_assay.errors import AssayError, IntegrityError, ToolError

VERBS = {
    "doctor": "Which ffmpeg and encoders work here; do the models verify?",
    "train": "Train an ensemble, leaving out one group at a time.",
    "gate": "Judge a run by its held-out predictions.",
    "validate": "Write the verdict on a run: PROMOTE.json or HOLD.json.",
    "promote": "Flip an ensemble's rows to production, all or none.",
    "predict": "Score an encode, or rows of features, with bounds.",
    "tune": "Find the cheapest encode that meets a VMAF target, and make it.",
    "watch": "Tune each video that arrives in a folder, once.",
    "compare": "Forecast the bitrates of several encoders for a target.",
    "report": "Make one self-contained HTML page of a result.",
    "export": "Export runs and models to other tools.",
    "corpus": "Measure real encodes: canonical-6 and VMAF of every frame.",
    "registry": "Rows, what admitted them, and whether they still verify.",
    "outcomes": "What was delivered against what was promised.",
    "keys": "Keys that sign verdicts: make one, show its public half.",
}
"""Every module under `cli/commands/`, in the order of the work, with its line in `assay --help`."""


_INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class _Terminated(BaseException):
    """SIGTERM as an exception, so that children are ended and temporary folders removed."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"assay {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Pick the cheapest encode that meets a VMAF target, with a confidence that can be checked."""


def build_app(argv: Sequence[str] | None = None) -> typer.Typer:
    """The application with every verb, or with only the verb of one command line.

    Loading all verbs would make `assay --help` too slow. It lists them without loading, and a verb loads alone.

    Args:
      argv: the command line; None for everything.
    """
    whole = argv is None or _COMPLETING in os.environ
    alone = argv[0] if argv and not whole and argv[0] in VERBS else None
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: 100 ms faster, and the same in a pipe
        context_settings={"help_option_names": ["-h", "--help"], "default_map": _NOT_HELP},
        add_completion=alone is None,  # else the verb's help would wait for pydantic too
    )
    app.callback()(_root)
    listed_only = not whole and (not argv or argv[0] in _ENDS_AT_ONCE)
    for name, summary in VERBS.items():
        if listed_only:
            app.command(name, short_help=summary)(lambda: None)
        elif alone in (None, name):
            importlib.import_module(f"{commands.__name__}.{name}").register(app)
    _keep_examples(app)
    return app


_COMPLETING = "_ASSAY_COMPLETE"
"""Set by a shell that asks for completions."""

_NOT_HELP = {"help": False, **{verb: {"help": False} for verb in VERBS}}
"""Default of `--help`: typer 0.29 would load pydantic (200 ms) to turn its own None into a bool."""

_ENDS_AT_ONCE = {"-h", "--help", "--version"}
"""Options that answer before any verb is loaded."""


def _keep_examples(app: typer.Typer) -> None:
    """Keep examples in help texts on one line, so that they can be copied."""
    for command in app.registered_commands:
        text = inspect.getdoc(command.callback) or ""
        command.help = text.replace("\n\nExample: ", "\n\n\b\nExample: ")
    for group in app.registered_groups:
        if group.typer_instance:
            _keep_examples(group.typer_instance)


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Args:
      argv: the arguments, without the program's name.
    """
    try:
        answer = build_app(argv)(list(argv), prog_name="assay", standalone_mode=False)
        sys.stdout.flush()
        if answer == _INTERRUPTED:  # typer turns Ctrl-C into an exit code without a message
            raise KeyboardInterrupt
        return answer if isinstance(answer, int) else 0
    except typer.TyperException as problem:
        return _usage_error(problem.format_message())
    except AssayError as problem:
        render.error(str(problem))
        return exit_code(problem)
    except (BrokenPipeError, SystemExit):  # typer exits with SystemExit(1), the code of a negative answer
        # The reader of stdout has closed it; keep the interpreter from flushing into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 3
    except OSError as problem:
        where = f": {problem.filename}" if problem.filename else ""
        render.error(f"{problem.strerror or problem}{where}; check that the path is right and can be used")
        return 2 if isinstance(problem, _BAD_PATH) else 3
    except KeyboardInterrupt:
        render.error("interrupted; nothing half-written is left")
        return _INTERRUPTED
    except _Terminated:
        render.error("terminated")
        return 143


def _usage_error(message: str) -> int:
    if message.startswith("Usage:"):  # a group without a verb: the message is its whole help
        typer.echo(message, err=True)
    else:
        render.error(f"{message.rstrip('.')}; see `assay --help`")
    return 2


_BAD_PATH = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def exit_code(problem: AssayError) -> int:
    """The exit code of an expected error: 4 integrity, 3 a tool or the medium, 2 anything the user gave."""
    if isinstance(problem, IntegrityError):
        return 4
    return 3 if isinstance(problem, ToolError) else 2


def _on_sigterm(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def run() -> NoReturn:
    """Entry point of `assay`."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    sys.exit(main(sys.argv[1:]))


def run_tune() -> NoReturn:
    """Entry point of `vmaf-tune`, the same as `assay tune`."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    sys.exit(main(["tune", *sys.argv[1:]]))
