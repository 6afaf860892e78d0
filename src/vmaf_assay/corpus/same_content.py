"""Whether two groups of a corpus hold the same content, judged by what the corpus itself measured.

Leaving out a group says something only if no other group shows the same pictures. Digests show one file under two
groups. A remux shows in encodes that score the same in every frame. A scaled or cut copy shows in motion that
changes alike over many frames. Looks show the rest: crops, and copies encoded again at low quality
(`corpus/same_pictures.py`). Corpora from before looks were kept have none; `without_looks` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vmaf_assay.corpus.same_pictures import Looks, shared_pictures
from vmaf_assay.corpus.store import Corpus, corpus_digest
from vmaf_assay.errors import CorpusError

ALIKE = 0.95
"""Correlation of changes in motion from which two sources are the same. On the shipped corpus two groups reach
0.83; a source and its smaller copy 0.86 to 1.00, most over 0.99 (2026-12-01). Of 85 other groups six pairs reach
0.951 to 0.993 with nothing in common but one cut, or frames repeated at the same interval. Where looks are kept,
they decide."""

LEAST_FRAMES = 24
"""Fewest frames that two sources must have in common for that."""

_STILL = 0.02
"""Changes of motion smaller than this say nothing: still pictures are alike anyhow."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Two sources of different groups that show the same."""

    sources: tuple[str, str]
    """Their names."""
    groups: tuple[str, str]
    """Their groups."""
    why: str
    """What gives it away."""

    def __str__(self) -> str:
        first, second = (f"{s} (group {g})" for s, g in zip(self.sources, self.groups, strict=True))
        return f"{first} and {second} show the same: {self.why}"


def alike_across_groups(corpus: Corpus) -> list[Alike]:
    """Every pair of sources that show the same and are in different groups, the surest reason of each."""
    found: dict[tuple[str, str], Alike] = {}
    for alike in [*_by_digest(corpus), *_by_motion(corpus), *_by_looks(corpus)]:
        found.setdefault(alike.sources, alike)
    return [found[pair] for pair in sorted(found)]


def alike_by_looks(looks: Mapping[str, Looks], group: Mapping[str, str]) -> list[Alike]:
    """Every pair of sources of different groups that share pictures; looks and group by source."""
    return [
        Alike(
            shared.sources,
            (group[shared.sources[0]], group[shared.sources[1]]),
            f"frame {shared.frames[0]} of the one is frame {shared.frames[1]} of the other, as are the frames "
            f"around them (correlation {shared.correlation:.3f})",
        )
        for shared in shared_pictures(looks, group)
    ]


def without_looks(corpus: Corpus) -> list[str]:
    """Sources whose pictures could not be compared, because the corpus has no looks of them."""
    return sorted({cell.source for cell in corpus.cells if _first(cell.source, corpus.looks) is None})


JOIN_BY_PACKING = "give them one group: `assay corpus pack CORPUS -o OTHER --join-same`"


def check_groups_differ(corpus: Corpus, next_step: str = JOIN_BY_PACKING) -> None:
    """Refuse a corpus in which two groups hold the same content.

    Raises:
      CorpusError: some do; it names the first two.
    """
    refuse(alike_across_groups(corpus), next_step)


def refuse(alike: Sequence[Alike], next_step: str) -> None:
    """Raise CorpusError if anything is alike."""
    if alike:
        more = f" (and {len(alike) - 1} more pairs)" if len(alike) > 1 else ""
        raise CorpusError(f"{alike[0]}{more}", next_step=next_step)


def joined_groups(groups: Sequence[str], alike_sources: Sequence[Alike]) -> dict[str, str]:
    """The group that each group becomes if those with the same content are joined: the first of them by name."""
    group = {name: name for name in groups}
    for alike in alike_sources:
        first, second = sorted(group[one] for one in alike.groups)
        group = {name: first if now == second else now for name, now in group.items()}
    return group


def _by_digest(corpus: Corpus) -> list[Alike]:
    """Sources of one file, and sources of which an encode measured the same in every frame."""
    reasons = {"source_sha256": "parts of one file", "content_sha256": "an encode of each scores the same"}
    found = []
    for field, why in reasons.items():
        by_digest: dict[str, dict[str, str]] = {}
        for cell in corpus.cells:
            digest = getattr(cell, field)
            # An encode with one frame, or of all frames alike, says little of what it shows.
            if digest and (field == "source_sha256" or cell.n_frames >= LEAST_FRAMES):
                by_digest.setdefault(digest, {})[cell.source] = cell.group
        for sources in by_digest.values():
            found += [
                Alike((one, other), (sources[one], sources[other]), why)
                for one, other in combinations(sorted(sources), 2)
                if sources[one] != sources[other]
            ]
    return found


def _by_motion(corpus: Corpus) -> list[Alike]:
    group = {cell.source: cell.group for cell in corpus.cells}
    changes, unseen = _changes(corpus), set(without_looks(corpus))
    found = []
    for one, other in combinations(sorted(changes), 2):
        if group[one] == group[other] or not {one, other} & unseen:
            continue
        if (alike := _correlation(changes[one], changes[other])) >= ALIKE:
            why = f"their motion changes alike (correlation {alike:.3f})"
            found.append(Alike((one, other), (group[one], group[other]), why))
    return found


def _by_looks(corpus: Corpus) -> list[Alike]:
    group = {cell.source: cell.group for cell in corpus.cells}
    rate = {cell.source: Fraction(cell.frame_rate) for cell in corpus.cells}
    there = {name: Looks(frames, rate[name]) for name, frames in corpus.looks.items() if name in group}
    return alike_by_looks(there, group)


def _first(source: str, looks: Mapping[str, object]) -> str | None:
    """The source whose looks stand for this one: itself, or the larger one that it is a rendition of."""
    return next((name for name in (source, source.rpartition("@")[0]) if name in looks), None)


def _changes(corpus: Corpus) -> dict[str, NDArray[np.float64]]:
    """Change of log motion from frame to frame, by source: libvmaf measures motion on the source alone."""
    cells: dict[str, str] = {}
    for cell in corpus.cells:
        cells.setdefault(cell.source, cell.key)
    frames = corpus.frames.filter(pl.col("cell").is_in(list(cells.values())))
    motion = {
        str(key[0]): part.sort("frame_index")["motion2"].to_numpy().astype(np.float64)
        for key, part in frames.group_by("cell")
    }
    # The first frame has no motion, and the last one's is not smoothed.
    return {source: np.diff(np.log(motion[key][1:-1] + 0.05)) for source, key in cells.items()}


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The highest correlation of two series at any offset at which they share enough frames."""
    if min(len(one), len(other)) < LEAST_FRAMES:
        return -1.0
    ones = np.ones(len(one)), np.ones(len(other))
    n = np.maximum(np.correlate(ones[0], ones[1], "full"), 1)
    mean = np.correlate(one, ones[1], "full") / n, np.correlate(ones[0], other, "full") / n
    variance = (
        np.correlate(one**2, ones[1], "full") / n - mean[0] ** 2,
        np.correlate(ones[0], other**2, "full") / n - mean[1] ** 2,
    )
    moving = (n >= LEAST_FRAMES) & (np.minimum(*variance) > _STILL**2)
    covariance = np.correlate(one, other, "full") / n - mean[0] * mean[1]
    scale = np.sqrt(np.where(moving, variance[0] * variance[1], 1.0))
    return float(np.where(moving, covariance / scale, -1.0).max())


def join_same(corpus: Corpus) -> Corpus:
    """The corpus with groups of the same content joined; its digest is another, since groups are content."""
    group = joined_groups([cell.group for cell in corpus.cells], alike_across_groups(corpus))
    cells = tuple(replace(cell, group=group[cell.group]) for cell in corpus.cells)
    frames = corpus.frames.with_columns(pl.col("group").replace(group))
    return Corpus(corpus_digest(cells), cells, frames, corpus.looks)
