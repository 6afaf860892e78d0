"""Many titles on a farm: what `tune --scheduler` costs the builder, measured, and a run that is played.

    python bench/scale_titles.py [--measured FILE.json]    # measures if the file is not there, then plays

Measured with the real parts: `farm/dispatch.py` with two worker processes whose titles return an answer of the
usual size at once; `plan_items` and `Arrivals.look` over 100,000 files; the page of all titles. Played, event by
event: the builder is a server that takes `dispatch_s` for each title, each worker holds two titles, and dies once
in a hundred hours with the title it runs.
"""

import argparse
import heapq
import json
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from vmaf_assay.api.pages import LibraryIndex
from vmaf_assay.farm.dispatch import Call, run_on_workers
from vmaf_assay.tune.arrivals import Arrivals
from vmaf_assay.tune.batch import plan_items

TITLES, WORKERS = 100_000, 1_000
DEATHS_AN_HOUR = 0.01
COSTS_S = {
    "a clip of a minute, 360p": 30.0,
    "25 minutes, 360p": 39.1 + 93.9 * 25.4 / 4.5,
    "25 minutes, 1080p": 9 * (39.1 + 93.9 * 25.4 / 4.5),
}
"""CPU seconds a title: docs/results/long-sources.md (libsvtav1 6, tuned and encoded); 1080p by its pixels."""


def answer(number: int, n_frames: int = 36_000) -> dict[str, Any]:
    """As large as the outcome of a title of 25 minutes with `--verify`, which holds document and record."""
    curve = [{"rate_value": float(r), "mu": 93.123456, "lower_bound": 92.0, "kbps": 812.4} for r in range(40)]
    fields = {"encoder": "libsvtav1", "preset": "6", "target_vmaf": 93.0, "confidence": 0.95, "rate_value": 30.0}
    fields |= {"mu": 93.9, "measured_vmaf": 93.5, "kbps": 900.0, "output_bytes": 1, "quality_met": True}
    frames = [90 + i % 100 / 10 for i in range(n_frames)]
    both = {"curve": curve, "frame_vmaf": frames, "record": [value + 0.001 for value in frames]}
    return {"source": f"title {number:06d}.mkv", **both, **fields}


class _Plugin(WorkerPlugin):  # type: ignore[misc]  # distributed ships no types
    name = "scale-titles"


class Work:
    """Titles that end at once."""

    noun, done_as, plugin = "title", "tuned", _Plugin()

    def __init__(self, n: int) -> None:
        self._left = list(range(n))

    def __bool__(self) -> bool:
        return bool(self._left)

    def put(self, task: int) -> None:
        """Queue it again."""
        self._left.append(task)

    def pop(self, worker: str) -> int:
        """The next."""
        return self._left.pop()

    def check(self) -> Call:
        """Every worker may."""
        return (str,)

    def call(self, task: int) -> Call:
        """An answer at once."""
        return (answer, task)

    def key(self, task: int) -> str:
        """Its number."""
        return str(task)

    def lost(self, task: int, n_workers: int) -> dict[str, Any]:
        """Never here."""
        raise AssertionError(task)


def cpu_s() -> float:
    """CPU seconds of this process, in which the scheduler runs too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Most memory that this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(n_dispatched: int) -> dict[str, float]:
    """Costs of the builder, CPU seconds."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        index = LibraryIndex(root)
        began, n = 0.0, 0
        for outcome in run_on_workers(2, root / "scratch", Work(n_dispatched)):
            if isinstance(outcome, dict):
                n += 1
                began = began or cpu_s()
                index.add(outcome, root / "absent.html")
        found["dispatch_s"] = (cpu_s() - began) / (n - 1)
        began = cpu_s()
        for number in range(TITLES):
            index.add(answer(number, 0), root / "absent.html")
        index.write()
        found["page_s"] = cpu_s() - began
        films = root / "films"
        for number in range(TITLES):
            path = films / f"{number // 1000:03d}" / f"title {number:06d}.mkv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        began = cpu_s()
        assert len(plan_items([films], root / "out", "mkv")) == TITLES
        found["plan_s"] = cpu_s() - began
        began, arrivals = cpu_s(), Arrivals(films, root / "out", 0.0)
        assert len(arrivals.look()) == TITLES
        found["look_s"] = cpu_s() - began
    return found | {"peak_mb": peak_mb()}


def play(cost_s: float, dispatch_s: float, n_titles: int = TITLES, n_workers: int = WORKERS) -> dict[str, float]:
    """Play one run; returns wall hours, busy shares of workers and builder, and titles begun twice."""
    rng = random.Random(0)
    left, builder_free, busy, lost = n_titles, 0.0, 0.0, 0
    free_at = [0.0] * n_workers
    events = [(0.0, worker) for worker in range(n_workers) for _ in range(2)]
    while events and left:
        now, worker = heapq.heappop(events)
        left -= 1
        builder_free = max(builder_free, now) + dispatch_s
        takes = cost_s * rng.lognormvariate(-0.08, 0.4)  # titles differ; their mean is `cost_s`
        free_at[worker] = max(builder_free, free_at[worker])
        if rng.random() < takes / 3600 * DEATHS_AN_HOUR:
            left, lost = left + 1, lost + 1
            free_at[worker] += takes * rng.random() + 60  # another is up after a minute
        else:
            busy += takes
            free_at[worker] += takes
        heapq.heappush(events, (free_at[worker], worker))
    wall = max(free_at)
    shares = busy / (wall * n_workers), (n_titles + lost) * dispatch_s / wall
    return {"wall_h": wall / 3600, "busy": shares[0], "builder": shares[1], "lost": lost / n_titles}


def main() -> None:
    """Measure or read, play, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--measured", type=Path, default=Path(__file__).with_name("title_costs.json"))
    parser.add_argument("--dispatched", type=int, default=600, help="titles sent to measure")
    arguments = parser.parse_args()
    if not arguments.measured.is_file():
        began = time.strftime("%Y-%m-%d", time.gmtime())
        costs = {"measured": began, **measure(arguments.dispatched)}
        arguments.measured.write_text(json.dumps(costs, indent=1) + "\n")
    costs = json.loads(arguments.measured.read_text())
    print(costs)
    print(
        f"{'title':<26} {'CPU s':>7} {'workers':>8} {'wall h':>8} {'busy':>7} {'builder':>8} {'begun twice':>11}"
    )
    for name, cost_s in COSTS_S.items():
        for n_workers in (WORKERS, 4 * WORKERS):
            one = play(cost_s, costs["dispatch_s"], n_workers=n_workers)
            print(
                f"{name:<26} {cost_s:>7,.0f} {n_workers:>8,} {one['wall_h']:>8.2f} {one['busy']:>7.1%} "
                f"{one['builder']:>8.1%} {one['lost']:>11.3%}"
            )
    print(f"workers that keep the builder busy: CPU s of a title / {costs['dispatch_s']:.4f}")


if __name__ == "__main__":
    main()
