"""Files that a filter chain names, found from the user's folder: ffmpeg may run in another one."""

import os
import re
from pathlib import Path

_READ_FILES = set(
    # As text: one filter more is one word more.
    "subtitles ass movie amovie lut3d lut1d drawtext curves sendcmd removelogo find_rect cover_rect "  # noqa: SIM905
    "vidstabtransform frei0r libplacebo nnedi sr derain dnn_processing".split()
)
"""Filters with an option that names a file or a folder (ffmpeg n9.0)."""

_STEP = re.compile(r"(?:\\.|'[^']*'|\[[^\]]*\]|[^,;\\'\[])+|[,;]")
"""One filter with its labels, or what parts two."""

_WORD = re.compile(r"(?:\\.|'[^']*'|[^:=|\\'])+|[:=|]")
"""One word of a filter's options, or what parts two."""


def absolute_files(filters: str, folder: Path) -> str:
    """The chain with every relative file name that exists in `folder` made absolute.

    Args:
      filters: an ffmpeg filter chain.
      folder: where the user is.
    """
    return "".join(_absolute_step(step, folder) for step in _STEP.findall(filters)) if filters else filters


def named_files(filters: str, folder: Path) -> list[Path]:
    """The files that a chain reads, as far as they exist; their content decides what comes out of the chain."""
    words = (word for step in _STEP.findall(filters) if _reads_files(step) for word in _WORD.findall(step))
    return [path for word in words if (path := folder / _unescaped(word)).is_file()]


def _reads_files(step: str) -> bool:
    name = re.match(r"\s*(?:\[[^\]]*\])*\s*(\w+)", step)
    return name is not None and name[1] in _READ_FILES


def _absolute_step(step: str, folder: Path) -> str:
    if not _reads_files(step):
        return step
    head, equals, options = step.partition("=")
    return head + equals + "".join(_absolute_word(word, folder) for word in _WORD.findall(options))


def _absolute_word(word: str, folder: Path) -> str:
    name = _unescaped(word)
    if not name or os.path.isabs(name) or not (folder / name).exists() or name in (".", ".."):
        return word
    value = re.sub(r"([\\':])", r"\\\1", str(folder / name))
    return re.sub(r"([\\'\[\],;])", r"\\\1", value)


def _unescaped(word: str) -> str:
    """The word without the escapes of a filter's options and of a graph."""
    for _ in range(2):
        word = re.sub(r"\\(.)|'([^']*)'", lambda found: found[1] or found[2] or "", word)
    return word
