"""Leave-one-group-out folds, or K grouped ones. It is checked that each group is on exactly one side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ConfigError, CorpusError

LEAVE_ONE_OUT = "leave-one-group-out"
"""The protocol of the gate's policy."""
MOST_LEFT_OUT_SINGLY = 100
"""Most groups for leave-one-group-out, which trains a member for each group."""
FOLDS_BEYOND = 20
"""Grouped folds above that."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One group left out, or several at once."""

    held_out: str
    """The group, or `fold I of K`."""
    train: NDArray[np.int64]
    """Indices of rows of all other groups, ascending."""
    test: NDArray[np.int64]
    """Indices of the rows left out, ascending."""


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
    return _checked(folds, len(groups))


def grouped_folds(groups: Sequence[str], k: int) -> list[Fold]:
    """K folds of whole groups, about equal in rows; each group is left out once, together with others.

    Groups go, the largest first, to the fold with the fewest rows. The folds do not depend on the order of rows.

    >>> [(fold.held_out, fold.test.tolist()) for fold in grouped_folds(["a", "b", "a", "c"], 2)]
    [('fold 1 of 2', [0, 2]), ('fold 2 of 2', [1, 3])]

    Raises:
      ConfigError: fewer than two folds, or as many as groups or more.
    """
    of_row = np.array(groups)
    names, sizes = np.unique(of_row, return_counts=True)
    if not 2 <= k < len(names):
        raise ConfigError(
            f"{k} grouped folds of {len(names)} groups are not 2 to {len(names) - 1}",
            next_step="leave out --folds to leave out one group at a time",
        )
    rows, fold_of = [0] * k, {}
    for size, name in sorted(
        zip(sizes.tolist(), names.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1])
    ):
        lightest = rows.index(min(rows))
        fold_of[name] = lightest
        rows[lightest] += size
    number = np.array([fold_of[name] for name in groups])
    folds = [
        Fold(f"fold {i + 1} of {k}", np.flatnonzero(number != i), np.flatnonzero(number == i)) for i in range(k)
    ]
    return _checked(folds, len(groups))


def make_folds(groups: Sequence[str], k: int | None = None) -> list[Fold]:
    """K grouped folds if asked for; else leave-one-group-out, or grouped folds for many groups."""
    if k is not None:
        return grouped_folds(groups, k)
    few = len(set(groups)) <= MOST_LEFT_OUT_SINGLY
    return leave_one_group_out(groups) if few else grouped_folds(groups, FOLDS_BEYOND)


def protocol_of(fold_of_group: Mapping[str, str]) -> str:
    """`leave-one-group-out` or `K grouped folds`, from the fold each group was left out in.

    >>> protocol_of({"a": "a", "b": "b"})
    'leave-one-group-out'
    >>> protocol_of({"a": "fold 1 of 2", "b": "fold 2 of 2", "c": "fold 1 of 2"})
    '2 grouped folds'

    Raises:
      CorpusError: it is neither.
    """
    if all(group == fold for group, fold in fold_of_group.items()):
        return LEAVE_ONE_OUT
    present = set(fold_of_group.values())
    k = len(present)
    if k >= 2 and present == {f"fold {i + 1} of {k}" for i in range(k)}:
        return f"{k} grouped folds"
    raise CorpusError("a row was held out under the name of another group", next_step="train again")


def _checked(folds: list[Fold], n_rows: int) -> list[Fold]:
    if sum(len(fold.test) for fold in folds) != n_rows:
        raise CorpusError("folds do not partition the rows", next_step="report this")
    return folds
