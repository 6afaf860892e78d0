"""Whether two sources share pictures, judged by their looks: tiny grey copies of every frame.

A low-quality encode, another size, other brightness, a crop, bars, a mirror, or another start leave most of a
picture's layout in place. So looks are compared after removing brightness and contrast, whole and cropped, at any
offset in time. The best match of single frames is a candidate; `RUN` frames around it decide.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.media.sync import SIGNATURE_SIZE, Signatures

SAME = 0.96
"""Correlation of `RUN` frames from which sources share pictures.

Clips of other content reach 0.92, copies 0.98 and more, a few less (docs/corpus.md). `bench/same_pictures.py`
measures both sides again.
"""

RUN = 24
"""Frames that decide; fewer where a source has fewer."""

_CANDIDATE = 0.75
"""Correlation of single frames from which a pair is looked at closely."""

_GRID = (16, 9)
"""Cells that a picture, or a part of it, is compared in."""

_LEAST_CONTRAST = 3.0
"""Standard deviation of a picture below which it says nothing, grey levels: black, fades, plain cards."""

_LOOKED_AT = 12
"""Frames of a source that are searched for in all frames of the others."""

_MOST_FRAMES = 4096
"""Frames of a source that are searched; of longer ones, so many at even distance."""

_REACH = 8
"""Frames around a match in which the best offset is looked for."""

Window = tuple[float, float, float, float]
"""Part of a picture: left, right, top, bottom, in [0, 1]."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """How the first picture of a pair is looked at: a part of it, perhaps mirrored."""

    window: Window
    mirrored: bool


@dataclass(frozen=True, slots=True)
class SharedPictures:
    """Two sources that share pictures."""

    sources: tuple[str, str]
    correlation: float
    """Of the frames compared, in [-1, 1]."""
    frames: tuple[int, int]
    """A frame of each that shows the same."""


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks of one source."""

    frames: Signatures
    """[F, 576], grey levels."""
    frame_rate: Fraction
    """Frames per second; 0 where it is not known."""


def shared_pictures(looks: Mapping[str, Looks], group: Mapping[str, str]) -> list[SharedPictures]:
    """Pairs of sources of different groups that share pictures, by name.

    Args:
      looks: of each source.
      group: of each source.
    """
    names = sorted(name for name in looks if len(looks[name].frames))
    found: dict[tuple[str, str], SharedPictures] = {}
    for one, other, view in _candidates([looks[name].frames for name in names], [group[name] for name in names]):
        a, b = names[one], names[other]
        match = _looked_at_closely(looks[a], looks[b], view)
        if match is None or match[0] < SAME:
            continue
        pair, frames = ((a, b), match[1]) if a < b else ((b, a), (match[1][1], match[1][0]))
        if pair not in found or found[pair].correlation < match[0]:
            found[pair] = SharedPictures(pair, match[0], frames)
    return [found[pair] for pair in sorted(found)]


def closest(one: Looks, other: Looks) -> float:
    """The highest correlation of a run of frames of two sources, in [-1, 1]; what `SAME` is compared with."""
    best = -1.0
    for a, b in ((one, other), (other, one)):
        for _, _, view in _candidates([a.frames, b.frames], ["a", "b"], least=-1.0, only_first=True):
            match = _looked_at_closely(a, b, view)
            best = max(best, match[0] if match else -1.0)
    return best


def _views() -> list[View]:
    """Whole and cropped by 15 percent a side or corner, plain and mirrored; finer steps follow for candidates."""
    spans = ((0.0, 1.0), (0.0, 0.85), (0.075, 0.925), (0.15, 1.0))
    return [View((*x, *y), mirrored) for mirrored in (False, True) for x in spans for y in spans]


def _candidates(
    frames: list[Signatures], groups: list[str], *, least: float = _CANDIDATE, only_first: bool = False
) -> Iterator[tuple[int, int, View]]:
    """Pairs (one, other) of different groups with a frame alike under the best view of `one`."""
    if len(frames) < 2:
        return
    whole = View((0.0, 1.0, 0.0, 1.0), mirrored=False)
    some = [_spread(each, _LOOKED_AT) for each in frames]
    every = [_spread(each, _MOST_FRAMES) for each in frames]
    ends = np.cumsum([0, *(len(each) for each in every)])[:-1]
    wanted = np.concatenate([_described(each, whole) for each in every]).T
    differ = np.array(groups)[:, None] != np.array(groups)[None, :]
    for one in range(1 if only_first else len(frames)):
        best, seen = np.full(len(frames), -1.0), np.zeros(len(frames), int)
        views = _views()
        for index, view in enumerate(views):
            peaks = np.maximum.reduceat((_described(some[one], view) @ wanted).max(axis=0), ends)
            seen, best = np.where(peaks > best, index, seen), np.maximum(peaks, best)
        for other in np.flatnonzero((best >= least) & differ[one]):
            yield one, int(other), views[seen[other]]


def _looked_at_closely(one: Looks, other: Looks, view: View) -> tuple[float, tuple[int, int]] | None:
    """Correlation of a run of frames at the best offset and crop, and a frame of each; None if nothing is seen."""
    a, b = one.frames, other.frames
    steps_a, steps_b = _indices(len(a), _LOOKED_AT), _indices(len(b), _MOST_FRAMES)
    whole = View((0.0, 1.0, 0.0, 1.0), mirrored=False)
    alike = _described(a[steps_a], view) @ _described(b[steps_b], whole).T
    row, column = np.unravel_index(int(alike.argmax()), alike.shape)
    at, there = int(steps_a[row]), int(steps_b[column])
    paces = {Fraction(1)}
    if one.frame_rate and other.frame_rate:
        paces.add(other.frame_rate / one.frame_rate)
    runs = [
        run
        for pace in paces
        for shift in range(-_REACH, _REACH + 1)
        if (run := _run(len(a), len(b), at, there + shift, pace)) is not None
    ]
    if not runs:
        return None
    ia, ib = max(runs, key=lambda run: _correlation(a[run[0]], b[run[1]], view))
    return _best_crop(a[ia], b[ib], view), (int(ia[len(ia) // 2]), int(ib[len(ib) // 2]))


def _run(
    n: int, m: int, at: int, there: int, pace: Fraction
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Frames of one source around `at`, and those that go with them in the other if `there` shows the same."""
    steps = np.arange(n)
    partner = np.round((steps - at) * float(pace)).astype(np.int64) + there
    inside = np.flatnonzero((partner >= 0) & (partner < m))
    size = min(RUN, n, m)
    if len(inside) < size:
        return None
    first = int(np.clip(at - size // 2, inside[0], inside[-1] - size + 1))
    return steps[first : first + size], partner[first : first + size]


def _best_crop(a: Signatures, b: Signatures, view: View) -> float:
    """The correlation after moving each edge of the window as long as that helps."""
    best = _correlation(a, b, view)
    for step in (0.05, 0.025, 0.0125):
        better = True
        while better:
            better = False
            for near in _nearby(view, step):
                if (now := _correlation(a, b, near)) > best + 1e-4:
                    best, view, better = now, near, True
    return best


def _nearby(view: View, step: float) -> list[View]:
    """The view with one edge moved by a step; at least six tenths of each side remain."""
    moved = []
    for edge in range(4):
        for by in (-step, step):
            window = list(view.window)
            window[edge] = min(1.0, max(0.0, window[edge] + by))
            left, right, top, bottom = window
            if right - left >= 0.6 and bottom - top >= 0.6:
                moved.append(View((left, right, top, bottom), view.mirrored))
    return moved


def _correlation(a: Signatures, b: Signatures, view: View) -> float:
    """Correlation of two runs of frames, each frame less its mean; -1 if either shows next to nothing."""
    one, other = _seen(a, view), _seen(b, View((0.0, 1.0, 0.0, 1.0), mirrored=False))
    energy = np.square(one).mean(), np.square(other).mean()
    if min(energy) < _LEAST_CONTRAST**2:
        return -1.0
    return float((one * other).mean() / np.sqrt(energy[0] * energy[1]))


def _described(frames: Signatures, view: View) -> Floats:
    """Frames as vectors of length 1 whose product is their correlation; 0 for frames that show nothing, [F, C]."""
    seen = _seen(frames, view)
    length = np.sqrt(np.square(seen).sum(axis=1, keepdims=True))
    shows = length > _LEAST_CONTRAST * np.sqrt(seen.shape[1])
    return np.where(shows, seen / np.maximum(length, 1e-6), 0).astype(np.float32)


def _seen(frames: Signatures, view: View) -> Floats:
    """Frames through a view, in cells, each less its mean, [F, C]."""
    cells = frames.astype(np.float32) @ _resampling(view)
    return np.asarray(cells - cells.mean(axis=1, keepdims=True), np.float32)


def _resampling(view: View) -> Floats:
    """The matrix that averages a part of a look into cells, [P, C]."""
    left, right, top, bottom = view.window
    across = _averages(SIGNATURE_SIZE[0], _GRID[0], left, right)
    down = _averages(SIGNATURE_SIZE[1], _GRID[1], top, bottom)
    if view.mirrored:
        across = across[::-1]
    both = np.einsum("yi,xj->ijyx", down, across)
    matrix = both.reshape(SIGNATURE_SIZE[0] * SIGNATURE_SIZE[1], _GRID[0] * _GRID[1])
    return np.asarray(matrix, np.float32)


def _averages(n: int, cells: int, first: float, last: float) -> Floats:
    """Weights of n greys in each of the cells between two positions in [0, 1], [cells, n]."""
    edges = np.linspace(first * n, last * n, cells + 1)[:, None]
    pixel = np.arange(n)[None, :]
    overlap = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _indices(n: int, most: int) -> NDArray[np.int64]:
    """Indices of at most so many of n frames, at even distance."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _spread(frames: Signatures, most: int) -> Signatures:
    return frames[_indices(len(frames), most)]
