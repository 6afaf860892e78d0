"""Every error this package raises on purpose.

AssayError
├── ConfigError (ValueError)       an invalid request: exit 2
├── MediaError (ValueError)        a source that cannot be used: exit 2
│   └── SourcesRefusedError        some of many sources cannot be used, the rest was built: exit 2
├── CorpusError (ValueError)       a corpus, run or table that is not evidence: exit 2
├── ToolError (RuntimeError)       ffmpeg or the disk failed: exit 3
└── IntegrityError (ValueError)    digest, schema or verdict does not verify: exit 4
    └── ModelLoadError             a model file that must not be run: exit 4

Each prints one line: what is wrong, where, and what to do next. Expected negative answers (HOLD, target out
of reach) are values, never exceptions.
"""

from collections.abc import Mapping, Sequence


def _one_line(text: str) -> str:
    """The text on one line, with escapes and half surrogate pairs spelled out for terminals."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    r"""The text with escapes for control characters, and for bytes of names that are not UTF-8.

    >>> import os
    >>> printable("a\x1b[31mb"), printable(os.fsdecode(b"caf\xe9.mp4"))
    ('a\\x1b[31mb', 'caf\\xe9.mp4')
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    raw = "\udc80" <= char <= "\udcff"  # one byte, as os.fsdecode keeps it
    return f"\\x{ord(char) - 0xDC00:02x}" if raw else ascii(char)[1:-1]


class AssayError(Exception):
    """Base of all errors here; `str()` is one line that ends in the next step."""

    def __init__(self, what: str, *, next_step: str = "") -> None:
        self.what = _one_line(what)
        self.next_step = _one_line(next_step)
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what}; {self.next_step}" if self.next_step else self.what


class ConfigError(AssayError, ValueError):
    """A request that cannot be carried out as asked (exit 2)."""


class MediaError(AssayError, ValueError):
    """A source that cannot be decoded whole, or has no video (exit 2)."""


class SourcesRefusedError(MediaError):
    """A corpus was built without these sources, which cannot be used (exit 2)."""

    def __init__(self, refused: Mapping[str, str], n_sources: int) -> None:
        self.refused, self.n_sources = dict(refused), n_sources
        super().__init__(
            f"{len(refused)} of {n_sources} sources refused and not in the corpus: {', '.join(refused)}",
            next_step="repair them and run the same command again, or leave them out",
        )

    def __reduce__(self) -> tuple[type, tuple[dict[str, str], int]]:
        return type(self), (self.refused, self.n_sources)


class CorpusError(AssayError, ValueError):
    """A corpus, run or table that is incomplete or contradicts itself (exit 2)."""


class ToolError(AssayError, RuntimeError):
    """An outside command or the medium failed (exit 3)."""

    def __init__(
        self,
        what: str,
        *,
        next_step: str = "",
        argv: Sequence[str] = (),
        exit_code: int | None = None,
        stderr_tail: str = "",
    ) -> None:
        super().__init__(what, next_step=next_step)
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail


class IntegrityError(AssayError, ValueError):
    """Something that must verify does not (exit 4)."""


class ModelLoadError(IntegrityError):
    """A model whose bytes, graph or sidecar must not be used (exit 4)."""
