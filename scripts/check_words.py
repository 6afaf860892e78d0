"""List sentences over 30 words, and phrases to avoid, in the source code's words and in the documents.

Usage: check_words.py [--all] [--update] [FILE ...]

Reads docstrings, comments and string literals of `src`, and the project's Markdown. A place listed in
`scripts/known_words.txt` is not reported. `--all` reports it too. `--update` writes the list anew.
A place is listed by its words, not by its file and line, so moved code needs no new list.

Exit 0 if nothing new was found, 1 if something was.
"""

import argparse
import ast
import hashlib
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_WORDS = 30
PHRASES = (
    r"\bbe meant\b",
    r"\bled through\b",
    r"\bleads? (it |them )?through\b",
    r"\bletter by letter\b",
    r"\btold of\b",
    r"\bout of step\b",
    r"\b(the|that|this|its|their|your|his) very\b",
    r"\bwithout a word\b",
    r"\bwith a word\b",
    r"\bin vain\b",
    r"\b(is|are) no document\b",
    r"\ban enemy\b",
    r"(?<!there )\b(is|are) (?-i:none)\b(?! of)",
    r"^on it\.$",
    r"\bof its own making\b",
    r"\bis not to be had\b",
)
"""Phrases to avoid, as regular expressions without regard to case."""
FENCE = re.compile(r"^\s*(```|~~~)")
COLUMNS = re.compile(r"\S {3,}\S|[├└│]")
ITEM = re.compile(r"^\s*([-*+]|\d+\.)\s+|^\s*#+\s+|^\s*>\s?")
SQL = re.compile(r"\s*(CREATE|SELECT|INSERT|UPDATE|DELETE|PRAGMA)\b")
ARGUMENT = re.compile(r"^\s+`?\*{0,2}\w+`?( \([^)]*\))?: ")
SECTION = re.compile(r"^\s*(Args|Returns|Raises|Yields|Usage|Example|Examples|Attributes|Note):\s*$")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*_]*\s+(?=[\"'(\[*_`]*[A-Z0-9§])")
ABBREVIATION = re.compile(r"(\b(e\.g|i\.e|etc|cf|vs|no|eq|fig|al)|\b[A-Z])\.$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence that is too long, or a phrase to avoid, and where it stands."""

    path: Path
    line: int
    """Where its paragraph, literal or comment begins."""
    reason: str
    sentence: str

    @property
    def key(self) -> str:
        """What the list of known places holds: the reason's kind and the words, not the place."""
        kind = self.reason.split(" ")[-1] if self.reason.endswith("words") else self.reason
        return hashlib.sha256(f"{kind}\n{self.sentence}".encode()).hexdigest()[:16]

    def known_line(self) -> str:
        """Its line in the list of known places."""
        return f"{self.key}  {self.reason}: {self.sentence[:70]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Report what is new and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="report known places too")
    parser.add_argument("--update", action="store_true", help="write the list of known places anew")
    parser.add_argument("--known", type=Path, default=ROOT / "scripts" / "known_words.txt", help="that list")
    parser.add_argument("files", nargs="*", type=Path, help="files to read; default: src and every document")
    given = parser.parse_args(arguments)
    findings = [found for path in given.files or default_files(ROOT) for found in findings_in(path)]
    if given.update:
        given.known.write_text("".join(f"{line}\n" for line in sorted({f.known_line() for f in findings})))
        sys.stdout.write(f"words: {len(findings)} places listed in {given.known}\n")
        return 0
    known = read_known(given.known)
    new = [found for found in findings if given.all or found.key not in known]
    for found in new:
        place = found.path.relative_to(ROOT) if found.path.is_relative_to(ROOT) else found.path
        sys.stdout.write(f"{place}:{found.line}: {found.reason}: {found.sentence}\n")
    verdict = f"{len(new)} to rewrite" if new else "nothing new to rewrite"
    sys.stdout.write(f"words: {verdict}, {len(known)} known places\n")
    return 1 if new else 0


def read_known(path: Path) -> set[str]:
    """Keys of the known places; none if there is no list."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {line.split(" ", 1)[0] for line in lines if line.strip()}


def default_files(root: Path) -> list[Path]:
    """The package's sources, and the Markdown beside and below the documents' folder."""
    sources = [path for kind in ("py", "c", "js", "css") for path in (root / "src").rglob(f"*.{kind}")]
    return sorted(sources) + sorted(root.glob("*.md")) + sorted((root / "docs").rglob("*.md"))


def findings_in(path: Path) -> Iterator[Finding]:
    """Everything to rewrite in a file."""
    text = path.read_text(encoding="utf-8")
    readers = {".py": python_passages, ".md": markdown_passages}
    for line, passage in readers.get(path.suffix, comment_passages)(text):
        for sentence in sentences(passage):
            count = sum(any(c.isalnum() for c in word) for word in sentence.split())
            if count > MOST_WORDS:
                yield Finding(path, line, f"{count} words", sentence)
            for phrase in PHRASES:
                if found := re.search(phrase, sentence, re.IGNORECASE):
                    yield Finding(path, line, f'avoid "{found.group().lower()}"', sentence)


def sentences(passage: str) -> list[str]:
    """A passage's sentences, on one line each; inline code and links count as one word."""
    text = re.sub(r"``[^`]+``|`[^`]+`", lambda code: re.sub(r"\s+", "\N{OPEN BOX}", code.group()), passage)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = " ".join(text.split())
    parts: list[str] = []
    for part in SENTENCE_END.split(text):
        if parts and ABBREVIATION.search(parts[-1]):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return [part for part in parts if part]


def paragraphs(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines joined to passages: a blank line, a list item, an argument or a section's name begins another.

    Each row of columns, set apart by three spaces or drawn as a tree, is a passage.
    """
    first, held = 0, list[str]()
    for number, line in lines:
        breaks = not line.strip() or SECTION.match(line)
        if held and (breaks or any(begins.search(line) for begins in (ITEM, ARGUMENT, COLUMNS))):
            yield first, " ".join(held)
            held = []
        if not breaks:
            first = first if held else number
            held.append(ITEM.sub("", line).strip())
    if held:
        yield first, " ".join(held)


def markdown_passages(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, list items, headings and table cells; code blocks are left out."""
    prose: list[tuple[int, str]] = []
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and line.lstrip().startswith("|"):
            yield from ((number, cell) for cell in line.strip().strip("|").split("|"))
        elif not fenced:
            prose.append((number, line))
            continue
        prose.append((number, ""))
    yield from paragraphs(prose)


def python_passages(text: str) -> Iterator[tuple[int, str]]:
    """Docstrings, comments and other string literals."""
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if comments and comments[-1][0] != token.start[0] - 1:
                comments.append((token.start[0] - 1, ""))
            comments.append((token.start[0], token.string.lstrip("#! ")))
    yield from paragraphs(comments)
    tree = ast.parse(text)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from literal_passages(node.lineno, formatted(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in inside or SQL.match(node.value):
                continue
            yield from literal_passages(node.lineno, node.value)


def formatted(node: ast.JoinedStr) -> str:
    """An f-string with `X` for what is put in."""
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)


def literal_passages(line: int, value: str) -> Iterator[tuple[int, str]]:
    """A literal's paragraphs, without doctests; a literal of one word is a name, not a sentence."""
    if " " not in value.strip():
        return
    kept: list[tuple[int, str]] = []
    doctest = False
    for number, row in enumerate(value.splitlines(), line):
        doctest = bool(row.strip()) and (doctest or row.lstrip().startswith(">>>"))
        kept.append((number, "" if doctest else row))
    yield from paragraphs(kept)


def comment_passages(text: str) -> Iterator[tuple[int, str]]:
    """Comments of a C, JavaScript or CSS file."""
    for found in re.finditer(r"/\*(.*?)\*/|(?:^[ \t]*//.*\n)+", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, found.start()) + 1
        rows = found.group().removeprefix("/*").removesuffix("*/").splitlines()
        yield from paragraphs((line + n, re.sub(r"^\s*(\*|//)\s?", "", row)) for n, row in enumerate(rows))


if __name__ == "__main__":
    sys.exit(main())
