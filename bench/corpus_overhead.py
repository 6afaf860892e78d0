"""What a corpus build costs above its encodes: wall on N cores over the CPU of bare encode + bare libvmaf / N.

    python bench/corpus_overhead.py CLIP...

Bare means: the same encoder arguments from the same decoded Y4M to a file, then libvmaf on that file and the Y4M,
one thread each, as many at a time as there are cores; their CPU seconds (user and system) are what is divided.
The two take turns, the first of a round by turns too: on a shared machine the same work takes up to half as much
CPU again a minute later, which is more than what is looked for. `--rounds 2` or more, even.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vmaf_assay.corpus.build import build_corpus
from vmaf_assay.corpus.measure import decode
from vmaf_assay.corpus.plan import parse_encoder, plan_cells, references_of
from vmaf_assay.corpus.sources import sources_from_paths
from vmaf_assay.media import process
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.commands import encoder_args, libvmaf_filter
from vmaf_assay.media.ffmpeg import find_ffmpeg

ENCODERS = ("libx264:medium:22,30,38", "libx265:medium:22,30,38", "libsvtav1:8:28,42,56", "libvpx-vp9:4:28,42,56")


def cpu_s() -> float:
    """CPU seconds so far of the commands that have ended and of this process."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of some work."""
    before, started = cpu_s(), time.monotonic()
    work()
    return cpu_s() - before, time.monotonic() - started


def bare(ffmpeg, cell, reference, folder: Path) -> None:
    distorted = folder / f"{cell.key}.mkv"
    encode = encoder_args(cell.encoder, cell.preset, cell.rate_value)
    graph = f"[0:v][1:v]{libvmaf_filter()}"
    y4m = ["-threads", "1", "-i", str(reference.path)]
    work = folder / cell.key
    work.mkdir()
    for argv in (
        [*y4m, *encode, str(distorted)],
        ["-threads", "1", "-i", str(distorted), *y4m, "-lavfi", graph, "-f", "null", "-"],
    ):
        done = process.run([*ffmpeg.base_argv(), *argv], cwd=work)
        assert done.exit_code == 0, done.stderr
    distorted.unlink()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=72)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    cores, ffmpeg = os.cpu_count() or 1, find_ffmpeg()
    requests = [parse_encoder(text, None) for text in ENCODERS]
    versions = tool_versions(ffmpeg, [request.encoder.name for request in requests])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.monotonic()
        renditions = []
        for source in sources_from_paths(arguments.clips):
            renditions += references_of(ffmpeg, source, sizes=[(1280, 720)], max_frames=arguments.frames)
        cells = plan_cells(renditions, requests, versions)
        plan_s = time.monotonic() - started

        references = {r.name: decode(ffmpeg, r, folder / f"{i}.y4m") for i, r in enumerate(renditions)}
        bares, builds = [], []
        for number in range(arguments.rounds):
            place = folder / str(number)
            place.mkdir()

            def run_bare(place=place) -> None:
                with ThreadPoolExecutor(cores) as pool:
                    list(pool.map(lambda cell: bare(ffmpeg, cell, references[cell.rendition.name], place), cells))

            def run_build(place=place) -> None:
                list(build_corpus(ffmpeg, cells, place / "corpus", versions, jobs=cores))

            turns = [(run_bare, bares), (run_build, builds)]
            for work, taken in reversed(turns) if number % 2 else turns:
                taken.append(timed(work))
            print(
                f"round {number + 1}: bare {bares[-1][0]:.1f} CPU s, {bares[-1][1]:.1f} s wall; "
                f"build {builds[-1][0]:.1f} CPU s, {builds[-1][1]:.1f} s wall",
                flush=True,
            )
    bare_s, ours_s = (sum(cpu for cpu, _ in taken) for taken in (bares, builds))
    wall_s = sum(wall for _, wall in builds)
    print(f"{len(cells)} cells of {len(renditions)} sources, {cores} cores; planned in {plan_s:.1f} s")
    print(f"CPU of build / of bare       {ours_s / bare_s:.3f}")
    print(f"wall / (bare CPU / cores)    {wall_s / (bare_s / cores):.3f}   (goal: 1.10 or less)")


if __name__ == "__main__":
    main()
