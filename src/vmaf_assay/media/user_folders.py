"""The user's own folders: cached results, outcomes, and the record of accepted verdicts."""

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

APPLICATION = "vmaf-assay"


def cache_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Cache folder: `$ASSAY_CACHE`, else `vmaf-assay` in the user's cache folder of this system."""
    if named := environment.get("ASSAY_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(environment.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / APPLICATION


def outcomes_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of outcomes: `$ASSAY_OUTCOMES`, else `outcomes` in the cache folder."""
    named = environment.get("ASSAY_OUTCOMES")
    return Path(named) if named else cache_dir(environment) / "outcomes"


def state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of accepted verdicts: `$ASSAY_STATE_DIR`, else the user's state folder."""
    if named := environment.get("ASSAY_STATE_DIR"):
        return Path(named)
    if sys.platform == "win32" and (local := environment.get("LOCALAPPDATA")):
        return Path(local) / APPLICATION
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / APPLICATION


def shared_by(path: Path) -> str:
    """Why others can change a folder's content, in words; '' if they cannot.

    The folder itself may be a link. Windows has no such modes, so the result is empty there.

    Raises:
      OSError: it cannot be read.
    """
    facts = path.stat()
    if os.name != "posix":
        return ""
    if facts.st_uid not in (os.getuid(), 0):
        return f"belongs to user {facts.st_uid}"
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"has mode {stat.S_IMODE(facts.st_mode):o}, so that others can write to it"
    return ""
