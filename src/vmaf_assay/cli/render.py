"""Rendering of answers and progress: the answer on stdout, everything else on stderr.

Nothing here decides anything. Text from outside this package passes through `printable`, so that no file name can
control a terminal. Colour follows rich: off when not a terminal, and off when NO_COLOR is set.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

import typer

from vmaf_assay.errors import printable

if TYPE_CHECKING:
    from rich.console import Console


class Update(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: float, detail: object = "", total: float | None = None, /) -> None:
        """Called with finished units, a word on the last of them, and the total if it has changed."""


def console() -> "Console":
    """A rich console on standard error."""
    from rich.console import Console  # imported here: 60 ms that `--help` and `--json` save

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Print one line of the answer on stdout."""
    typer.echo(printable(text))


def note(text: str) -> None:
    """Print one line on stderr."""
    typer.echo(printable(text), err=True)


def error(text: str) -> None:
    """Print an error as one line on stderr."""
    line = printable(" ".join(text.split()))
    if sys.stderr.isatty():
        console().print("error:", style="bold red", end="")
    else:
        typer.echo("error:", err=True, nl=False)
    typer.echo(f" {line}", err=True)


def emit_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document on stdout, in ASCII for any locale. A NaN in it is a bug and raises."""
    import json  # imported here: 3 ms that `--help` saves

    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def emit_line(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document on one line of stdout and flush. A NaN in it is a bug and raises."""
    import json

    typer.echo(json.dumps(value, allow_nan=False))
    sys.stdout.flush()


def cell(value: object) -> str:
    """One table cell: floats to six decimals, booleans as yes and no, None as a dash.

    >>> cell(0.99725338), cell(True), cell(None), cell("x")
    ('0.997253', 'yes', '-', 'x')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return printable(str(value))


WIDTH = 80
"""Width that every table fits: the narrowest terminal still in use."""


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, width: int = WIDTH) -> str:
    """Rows as aligned plain columns, numbers to the right; long texts wrap into further lines.

    >>> print(table(["seed", "plcc"], [[0, 0.9975], [10, 0.5]]))
    seed    plcc
       0  0.9975
      10     0.5
    """
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 12:
        widths[widths.index(max(widths))] -= 1  # the widest column is shortened
    right = [
        all(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows)
        for i in range(len(headers))
    ]

    def line(row: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    shown = [headers, *texts] if any(headers) else texts
    return "\n".join(line(part) for row in shown for part in _folded(row, widths))


def _folded(row: Sequence[str], widths: Sequence[int]) -> list[tuple[str, ...]]:
    """A row as the lines that its longest cell needs."""
    if all(len(text) <= width for text, width in zip(row, widths, strict=True)):
        return [tuple(row)]
    import textwrap  # imported here: 3 ms that most answers save

    parts = [textwrap.wrap(text, max(width, 1)) or [""] for text, width in zip(row, widths, strict=True)]
    return list(zip_longest(*parts, fillvalue=""))


def kbps_words(forecast: float | None, low: float | None, high: float | None) -> str:
    """A forecast bitrate with its interval, in kbps; `exact` where it was measured.

    >>> kbps_words(1000.4, 800.2, 1300.0), kbps_words(900.0, None, None), kbps_words(None, None, None)
    ('1000 (800 to 1300)', '900', '-')
    """
    if forecast is None:
        return "-"
    if low is None or high is None:
        return f"{forecast:.0f}"
    return f"{forecast:.0f} exact" if low == high else f"{forecast:.0f} ({low:.0f} to {high:.0f})"


def say_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    typer.echo(table(headers, rows))


@contextmanager
def steps(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for work that reports through `on_step(what, done, total)`; a new `what` restarts it."""
    with progress_bar(description) as update:
        yield lambda what, done, total: update(done, what, total)


@dataclass(frozen=True, slots=True)
class Job:
    """Shows how far work is that knows how long all of it takes."""

    on_step: Callable[[str, int, int], None]
    """Called with what is being done, units done, units in all."""
    on_left: Callable[[float], None]
    """Called with the seconds that the whole job still takes."""


@contextmanager
def job(unit: str) -> Iterator[Job]:
    """A bar for the present step, with the time left for the whole job; nothing when stderr is no terminal."""
    left: list[float] = []
    with progress_bar(unit, left=left) as update:

        def on_left(seconds: float) -> None:
            left[:] = [seconds]

        yield Job(lambda what, done, total: update(done, what, total), on_left)


def duration(seconds: float) -> str:
    """A length of time, to the second or, from an hour on, to the minute.

    >>> duration(8.4), duration(75), duration(3600 * 2 + 130)
    ('9 s', '1:15 min', '2:02 h')
    """
    whole = max(0, math.ceil(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


@contextmanager
def progress_bar(
    description: str, *, total: float | None = None, left: list[float] | None = None
) -> Iterator[Update]:
    """A bar on stderr while the block runs; nothing if stderr is not a terminal.

    Args:
      description: what is being done.
      total: units until done; None for a bar without an end.
      left: holds the seconds that the whole job still takes, once they are known; the bar shows these and not
        the time left for the present step.

    Yields:
      `update(done, detail, total)`: units finished so far, and a word on the last of them. A new detail with a
      total restarts the bar, for work of several steps. Any thread may call it.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _detail="", _total=None: None
        return
    from rich import progress as bars
    from rich.table import Column

    def whole() -> Column:
        return Column(no_wrap=True)

    # On a narrow terminal the words are shortened, then the bar; the numbers stay complete.
    words = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        bars.TextColumn("{task.description}", markup=False, table_column=whole()),
        bars.BarColumn(bar_width=10),
        bars.MofNCompleteColumn(table_column=whole()),
        bars.TextColumn("{task.fields[rate]}", markup=False, table_column=whole()),
        *(
            [bars.TimeElapsedColumn(table_column=whole()), bars.TimeRemainingColumn(table_column=whole())]
            if left is None
            else [bars.TextColumn("{task.fields[left]}", markup=False, table_column=whole())]
        ),
        bars.TextColumn("{task.fields[detail]}", markup=False, table_column=words),
    )
    with bars.Progress(*columns, console=console(), transient=True, expand=True) as shown:
        task = shown.add_task(printable(description), total=total, detail="", rate="", left="")

        said = ""
        began = time.monotonic()

        def left_words() -> str:
            return f", {duration(left[0])} left" if left else ""

        def update(done: float, detail: object = "", total: float | None = None) -> None:
            nonlocal said
            if total is not None and str(detail) != said:  # another step: its own clock, its own time left
                said = str(detail)
                shown.reset(task, total=total)
            speed = shown.tasks[0].speed
            rate = f"{speed:.3g}/s" if speed else ""
            still = f"{duration(time.monotonic() - began)} gone{left_words()}" if left is not None else ""
            shown.update(task, completed=done, detail=printable(str(detail)), rate=rate, left=still)

        yield update
