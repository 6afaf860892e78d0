"""Unexpected files of a registry folder: no row and no verdict names them."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.registry.files import CONTENT_NAMED, HISTORY, VERDICT_NAMED, read_file
from vmaf_assay.registry.manifest import Registry, ensemble_of


def not_left_over(folder: Path, path: Path) -> str:
    """Why an unexpected file cannot come from a killed promotion; '' if it can.

    A file that is gone by now was moved to the history by an act meanwhile.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(mode):
        return "not a plain file"
    if path.name.startswith(".") and path.name.endswith(".tmp"):
        return ""
    if named := CONTENT_NAMED.fullmatch(path.name):
        try:
            same_content = sha256_bytes(read_file(folder, path.name)).startswith(named[1])
        except IntegrityError as error:
            return "" if isinstance(error.__cause__, FileNotFoundError) else str(error)
        return "" if same_content else "its content does not match its name"
    if VERDICT_NAMED.fullmatch(path.name):
        return ""
    return "no row or verdict names this file"


def is_history(path: Path) -> bool:
    """Whether this is the folder of files that only earlier verdicts rest on."""
    return path.name == HISTORY and path.is_dir() and not path.is_symlink()


def is_note(path: Path) -> bool:
    """Whether a file is a note for people, which nothing here reads."""
    return path.suffix == ".md" and path.is_file() and not path.is_symlink()


def refuse_strays(folder: Path, registry: Registry, ensemble: str, checked: Iterable[str]) -> None:
    """Refuse to load from a folder with files that no promotion writes.

    Files of other ensembles are ignored. A file of an earlier verdict must have the content in its name.

    Args:
      folder: the registry.
      registry: its rows.
      ensemble: what is loaded.
      checked: names of files whose bytes were checked already.

    Raises:
      IntegrityError: there is such a file.
    """
    known = {"registry.json", ".lock", *checked}
    others = tuple({f"{ensemble_of(row.id)}_" for row in registry.rows} - {f"{ensemble}_"})
    for name in sorted(os.listdir(folder)):
        if name in known or name.startswith(others) or is_note(folder / name):
            continue
        if is_history(folder / name):
            continue
        if reason := not_left_over(folder, folder / name):
            raise IntegrityError(f"{folder / name}: {reason}", next_step="remove it, or restore the registry")
