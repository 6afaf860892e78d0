"""Audit one ensemble for a command, as far down as its options ask."""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmaf_assay.admission.audit import Audit
    from vmaf_assay.registry.recompute import Check
    from vmaf_assay.registry.trust import Trust


@dataclass(frozen=True, slots=True)
class Deeper:
    """How far down one ensemble is to be audited."""

    deep: bool
    """Calibration and coverage too."""
    corpus: Path | None = None
    """The corpus to compare with."""
    retrain: bool = False
    """Train again."""
    jobs: int | None = None
    """Processes to train in."""


def audited(folder: Path, row: str, trust: "Trust | None", deeper: Deeper) -> "Audit":
    """An ensemble audited as far down as asked; what differs ends it."""
    from vmaf_assay.admission.audit import audit, check_corpus
    from vmaf_assay.cli import render
    from vmaf_assay.registry.manifest import ensemble_of

    with render.steps("verifying") as on_step:
        found = audit(folder, ensemble_of(row), deep=deeper.deep, trust=trust, on_step=on_step)
    if deeper.corpus is None:
        return found
    found = replace(found, checks=[*found.checks, *check_corpus(folder, found, deeper.corpus)])
    if deeper.retrain and found.agrees:
        found = replace(found, checks=[*found.checks, *_retrained(folder, found, deeper.corpus, deeper.jobs)])
    return found


def first_wrong(audit: "Audit") -> str:
    """The first thing in an audit that differs, in words; '' if it agrees."""
    if audit.agrees:
        return ""
    wrong = [f"{check.what}: {check.detail}" for check in audit.checks if check.outcome == "differs"]
    return (wrong or [audit.status])[0]


def _retrained(folder: Path, found: "Audit", corpus: Path, jobs: int | None) -> "list[Check]":
    from vmaf_assay.admission.retrain import retrain
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError

    with (
        tempfile.TemporaryDirectory(prefix="assay-retrain-") as workspace,
        render.progress_bar("members") as update,
    ):
        try:
            return retrain(
                folder,
                found,
                corpus,
                Path(workspace),
                processes=jobs or os.cpu_count() or 1,
                on_progress=lambda done, total: update(done, f"of {total}"),
            )
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"training needs {error.name}", next_step="pip install 'vmaf-assay[train]'"
            ) from error
