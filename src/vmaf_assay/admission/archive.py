"""The history folder: files that only earlier verdicts need, which a rollback brings back (ADR-0415).

A file moves by rename: out after the commit of the act that no longer needs it, back before the act that needs it
again. Reading looks in both folders, so a kill between any two moves leaves a registry that verifies.
"""

from collections.abc import Sequence
from pathlib import Path

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import sha256_bytes, write_bytes_atomic
from vmaf_assay.registry.files import history_dir, is_here, read_bound
from vmaf_assay.registry.history import bound_files
from vmaf_assay.registry.verdict import Verdict


def put_away(folder: Path, verdicts: Sequence[Verdict]) -> None:
    """Move files that only earlier verdicts need into the history folder. The lock must be held.

    A file with a wrong digest stays where it is, for `verify` to name.

    Args:
      folder: the registry.
      verdicts: its verdicts on one ensemble, the one in force first.
    """
    needed = bound_files(verdicts[0])
    history = history_dir(folder)
    for name, digest in {file: sha for one in verdicts[1:] for file, sha in bound_files(one).items()}.items():
        here, there = folder / name, history / name
        if here.is_symlink() or not here.is_file() or sha256_bytes(here.read_bytes()) != digest:
            continue
        if name in needed:
            there.unlink(missing_ok=True)  # promoted again: one copy is enough
        else:
            history.mkdir(exist_ok=True)
            here.replace(there)


def bring_back(folder: Path, verdict: Verdict, source: Path | None = None) -> None:
    """Put every file that a verdict needs into the registry itself. The lock must be held.

    Args:
      folder: the registry.
      verdict: the verdict that is to be in force again.
      source: another registry that may have what this one lacks.

    Raises:
      ConfigError: a file is in neither registry.
      IntegrityError: a file does not have the digest that the verdict binds.
    """
    bound = bound_files(verdict)
    absent = [name for name in bound if not is_here(folder, name)]
    if lost := [name for name in absent if source is None or not is_here(source, name)]:
        where = f"{folder} does not have" if source is None else f"neither {folder} nor {source} has"
        raise ConfigError(
            f"{where} {len(lost)} files of verdict {verdict.sequence} on {verdict.ensemble}, as {lost[0]}",
            next_step="name a registry that has them by --from, such as src/vmaf_assay/models of a checkout",
        )
    read = {name: read_bound(source if name in absent and source else folder, name, bound[name]) for name in bound}
    for name, data in read.items():
        if name in absent:
            write_bytes_atomic(folder / name, data)
        elif not (folder / name).exists():
            (history_dir(folder) / name).replace(folder / name)
