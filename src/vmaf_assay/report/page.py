"""A page: facts, pictures with the table behind each, and text; one file, nothing fetched.

A Content-Security-Policy allows only the page's own style and script, by their digests. So a hostile name could do
nothing even if it were not escaped, and opening the page makes no request.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vmaf_assay import __version__
from vmaf_assay.media.files import write_bytes_atomic
from vmaf_assay.report.plots import Chart

_TEMPLATES = Path(__file__).parent / "templates"
Mood = Literal["good", "bad", "plain"]

MAX_PAGE_BYTES = 3_000_000
"""So that a page can be mailed. The page says what was left out to stay below it."""


@dataclass(frozen=True, slots=True)
class Link:
    """A name in a table that leads to another page."""

    text: str
    href: str
    """Relative address, percent-encoded."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of figures, numbers to the right."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    """Cells: numbers, text, links, True and False, or None."""
    pick: int | None = None
    """A column whose values can be chosen; the table can then be filtered and sorted too."""

    def choices(self) -> list[str]:
        """The values of the column `pick`, in order."""
        return [] if self.pick is None else sorted({cell(row[self.pick]) for row in self.rows})

    def columns(self) -> list[tuple[str, str]]:
        """Each column's header and alignment: `n` for numbers, right; `` otherwise."""
        return [(header, "n" if self._numeric(at) else "") for at, header in enumerate(self.headers)]

    def lines(self) -> list[list[tuple[str, str]]]:
        """Each cell's text and class; numbers of a column with the same number of decimals."""
        digits = [self._digits(at) for at in range(len(self.headers))]
        numeric = [self._numeric(at) for at in range(len(self.headers))]
        return [
            [self._cell(value, digits[at], numeric=numeric[at]) for at, value in enumerate(row)]
            for row in self.rows
        ]

    def links(self) -> list[str]:
        """Where the first cell of each row leads; empty if nowhere."""
        return [row[0].href if isinstance(row[0], Link) else "" for row in self.rows]

    def _cell(self, value: object, digits: int, *, numeric: bool) -> tuple[str, str]:
        if isinstance(value, bool):
            return cell(value), "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:,.{digits}f}", "n"
        return cell(value), "n" if isinstance(value, int) or (value is None and numeric) else ""

    def _numbers(self, at: int) -> list[int | float]:
        cells = [row[at] for row in self.rows]
        return [value for value in cells if isinstance(value, int | float) and not isinstance(value, bool)]

    def _numeric(self, at: int) -> bool:
        return bool(self._numbers(at))

    def _digits(self, at: int) -> int:
        decimals = (f"{value:.6f}".rstrip("0").partition(".")[2] for value in self._numbers(at))
        return max(map(len, decimals), default=0)


@dataclass(frozen=True, slots=True)
class Shot:
    """A source frame beside the same frame of the encode."""

    caption: str
    """Caption: which second, and its VMAF."""
    source: str
    """Data URI of the source's frame."""
    encode: str
    """Data URI of the encode's frame."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a page."""

    name: str
    """Anchor, unique on the page."""
    title: str
    """Heading."""
    paragraphs: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    """Pictures."""
    tables: Sequence[Table] = ()
    """The figures behind them; folded away if there is a picture."""
    shots: Sequence[Shot] = ()
    notes: Sequence[str] = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a page."""

    kind: str
    """`tune`, `library`, `scenes`, `pair`, `run`, `registry` or `compare`."""
    title: str
    answer: str
    """The one line that answers the question."""
    mood: Mood
    """Whether the answer is yes."""
    facts: Sequence[tuple[str, object]] = ()
    """The few numbers to see first."""
    sections: Sequence[Section] = ()
    """The rest."""
    document: dict[str, Any] = field(default_factory=dict)
    """The JSON that the page was made from; embedded in it."""


def cell(value: object) -> str:
    """A value for a reader.

    >>> cell(93.14159), cell(4512.7), cell(0.99712), cell(True), cell(None), cell(28.0)
    ('93.142', '4,513', '0.9971', 'yes', '-', '28')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == round(value) and abs(value) < 1e6:
            return f"{value:.0f}"
        digits = 0 if abs(value) >= 1000 else 3 if abs(value) >= 1 else 4
        return f"{value:,.{digits}f}"
    return str(value)


def render(page: Page) -> str:
    """The page as HTML.

    Raises:
      ValueError: a number in the document is not finite.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        page=page,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        document=Markup(_json_for_script(page.document)),
    )


def write_page(page: Page, out: Path) -> None:
    """Render and write a page, completely or not at all."""
    # Names that are not UTF-8 may be in any part of it.
    text = render(page).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    write_bytes_atomic(out, text.encode())


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json_for_script(document: dict[str, Any]) -> str:
    """JSON that cannot close the script element around it."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
