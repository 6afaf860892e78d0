"""A corpus of many titles, simulated with measured costs: where the time goes and what breaks first.

    python bench/scale.py [--costs bench/costs.json] [--titles 1000 --workers 100 ...]

Every event of `farm/dispatch.py` is played: the builder is one server that takes `dispatch_s` of CPU for each cell
(the scheduler's share included, as measured), each worker holds two cells, decodes a rendition when it meets it
first, shares the longest one left when none is untouched, and dies at random. Up to 200,000 cells are played;
larger corpora are played in a slice of as many, and scaled.
"""

import argparse
import heapq
import json
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path

FRAMES = 72
SIZES = ("1280x720", "640x360")
GRID = {"libx264 medium": 8, "libx265 medium": 8, "libsvtav1 8": 9, "libvpx-vp9 4": 8}
"""Cells a rendition, as in data/corpus: eight rate values of four encoders and a probe."""
PLAYED = 200_000
DEATHS_AN_HOUR = 0.01
"""A worker's: one in a hundred hours, as on preemptible machines."""


def mega(size: str) -> float:
    width, height = map(int, size.split("x"))
    return width * height * FRAMES / 1e6


@dataclass(frozen=True)
class Outcome:
    """One simulated build."""

    wall_s: float
    busy: float
    n_decodes: int
    n_lost: int
    builder: float


def title_cells(costs: dict) -> list[tuple[int, list[float]]]:
    """For each rendition of a title: decode seconds in milliseconds, and each cell's CPU seconds."""
    return [
        (
            costs["decode"][size] * mega(size),
            [costs["cell"][e][size] * mega(size) + costs["own_s"] for e, n in GRID.items() for _ in range(n)],
        )
        for size in SIZES
    ]


def play(costs: dict, n_titles: int, n_workers: int, seed: int = 0) -> Outcome:
    """Play one build event by event."""
    rng = random.Random(seed)
    kinds = title_cells(costs)
    left = {r: list(kinds[r % 2][1]) for r in range(2 * n_titles)}
    untouched = deque(left)
    longest = [(-len(cells), r) for r, cells in left.items()]
    heapq.heapify(longest)
    at: dict[int, int] = {}
    decoded: dict[int, deque[int]] = {w: deque(maxlen=2) for w in range(n_workers)}
    builder_free = builder_used = busy = 0.0
    n_decodes = n_lost = 0
    free_at = [0.0] * n_workers
    events = [(0.0, w, None) for w in range(n_workers) for _ in range(2)]  # two cells in flight a worker
    heapq.heapify(events)
    wall = 0.0
    while events:
        now, worker, _ = heapq.heappop(events)
        if not left:
            wall = max(wall, now)
            continue
        builder_free = max(builder_free, now) + costs["dispatch_s"]
        builder_used += costs["dispatch_s"]
        r = at.get(worker)
        if r not in left:
            while untouched and untouched[0] not in left:
                untouched.popleft()
            r = untouched.popleft() if untouched else pick_longest(longest, left)
            at[worker] = r
        cell_s = left[r].pop()
        if not left[r]:
            del left[r]
        start = max(builder_free, free_at[worker])
        if r not in decoded[worker]:
            decoded[worker].append(r)
            n_decodes += 1
            start += kinds[r % 2][0]
            busy += kinds[r % 2][0]
        if rng.random() < cell_s / 3600 * DEATHS_AN_HOUR:
            n_lost += 1
            left.setdefault(r, []).append(cell_s)
            heapq.heappush(longest, (-len(left[r]), r))
            free_at[worker] = start + cell_s + 60  # another is up after a minute
        else:
            busy += cell_s
            free_at[worker] = start + cell_s
        heapq.heappush(events, (free_at[worker], worker, None))
    wall = max(wall, max(free_at))
    return Outcome(wall, busy / (wall * n_workers), n_decodes, n_lost, builder_used / wall)


def pick_longest(longest: list, left: dict) -> int:
    """The rendition with most cells left; entries that are out of date are corrected when met."""
    while True:
        size, r = heapq.heappop(longest)
        if r in left:
            if -size == len(left[r]):
                heapq.heappush(longest, (-len(left[r]) + 1, r))
                return r
            heapq.heappush(longest, (-len(left[r]), r))


def report(costs: dict, n_titles: int, n_workers: int) -> None:
    kinds = title_cells(costs)
    cells_a_title = sum(len(cells) for _, cells in kinds)
    played = min(n_titles, max(PLAYED // cells_a_title, n_workers))
    outcome = play(costs, played, n_workers)
    cells = n_titles * cells_a_title
    core_s = sum(decode + sum(each) for decode, each in kinds) * n_titles
    plan_h = costs["plan_s"] * n_titles / 3600
    wall_h = outcome.wall_s / 3600 * n_titles / played
    print(
        f"{n_titles:>10,} {n_workers:>8,} {cells:>13,} {core_s / 3600:>12,.0f} {wall_h:>9,.1f}"
        f" {outcome.busy:>6.1%}"
        f" {outcome.builder:>8.1%} {plan_h:>9,.1f} {outcome.n_decodes / played / 2:>8.2f}"
        f" {outcome.n_lost / played / cells_a_title:>8.4%} {cells * costs['object_bytes'] / 1e9:>9,.1f}"
        f" {cells * costs['index_bytes'] / 1e9:>8,.2f} {cells * 2:>14,}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--costs", type=Path, default=Path(__file__).with_name("costs.json"))
    arguments = parser.parse_args()
    costs = json.loads(arguments.costs.read_text())
    costs.setdefault("index_bytes", 800)
    print(
        f"{'titles':>10} {'workers':>8} {'cells':>13} {'core-hours':>12} {'wall h':>9} {'busy':>6} {'builder':>8}"
        f" {'plan h':>9} {'decodes':>8} {'lost':>8} {'cells GB':>9} {'index GB':>8} {'messages':>14}"
    )
    for n_titles, n_workers in (
        (1000, 16),
        (1000, 100),
        (100_000, 100),
        (100_000, 1000),
        (10_000_000, 1000),
        (10_000_000, 4000),
    ):
        report(costs, n_titles, n_workers)


if __name__ == "__main__":
    main()
