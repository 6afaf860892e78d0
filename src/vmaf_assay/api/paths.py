"""Paths from callers."""

import os
from pathlib import Path

from vmaf_assay.registry.store import registry_dir

PathLike = str | os.PathLike[str]


def registry_of(explicit: PathLike | None) -> Path:
    """The registry named, else `$ASSAY_REGISTRY`, else the shipped one."""
    return registry_dir(None if explicit is None else Path(explicit))
