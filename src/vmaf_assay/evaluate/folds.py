"""Leave-one-group-out folds; a group is on exactly one side, and that is checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import CorpusError


@dataclass(frozen=True, slots=True)
class Fold:
    """One group left out."""

    held_out: str
    """The group."""
    train: NDArray[np.int64]
    """Indices of rows of all other groups, ascending."""
    test: NDArray[np.int64]
    """Indices of its own rows, ascending."""


def leave_one_group_out(groups: Sequence[str]) -> list[Fold]:
    """One fold a group, by name.

    >>> [fold.test.tolist() for fold in leave_one_group_out(["a", "b", "a"])]
    [[0, 2], [1]]

    Raises:
      CorpusError: fewer than two groups.
    """
    of_row = np.array(groups)
    names = sorted(set(groups))
    if len(names) < 2:
        raise CorpusError(
            f"leave-one-group-out needs two groups or more, not {len(names)}", next_step="add sources"
        )
    folds = [Fold(name, np.flatnonzero(of_row != name), np.flatnonzero(of_row == name)) for name in names]
    if sum(len(fold.test) for fold in folds) != len(groups):
        raise CorpusError("folds do not partition the rows", next_step="report this")
    return folds
