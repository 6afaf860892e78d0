"""What a cell costs by encoder and picture size, and what it costs to plan, decode, dispatch and keep it.

    python bench/cell_cost.py CLIP_OF_1080P [--frames 24] [--costs FILE.json]

CPU seconds (user and system) of one encode + decode + libvmaf, one thread each, so that other load on the machine
shows little. With `--costs` the figures are written for `bench/scale.py`.
"""

import argparse
import json
import os
import pickle
import resource
import tempfile
import time
from pathlib import Path

import psutil
from distributed import Client, LocalCluster, as_completed

from vmaf_assay.corpus.measure import Site, measure
from vmaf_assay.corpus.plan import parse_encoder, plan_cells, references_of
from vmaf_assay.corpus.sources import sources_from_paths
from vmaf_assay.corpus.storage import open_store
from vmaf_assay.corpus.store import cell_name
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.ffmpeg import find_ffmpeg

ENCODERS = (
    "libx264:medium:30",
    "libx265:medium:30",
    "libsvtav1:8:42",
    "libvpx-vp9:4:42",
    "libaom-av1:6:42",
    "libvvenc:faster:37",
)
SIZES = ((640, 360), (1280, 720), (1920, 1080))


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def encodes(ffmpeg, clip: Path, n_frames: int, folder: Path) -> tuple[dict, list]:
    """CPU seconds a million pixels, by encoder and size; decode and planning; the cells and their records."""
    requests = [parse_encoder(text, None) for text in ENCODERS]
    versions = tool_versions(ffmpeg, [request.encoder.name for request in requests])
    (source,) = sources_from_paths([clip])
    before = children_cpu_s() + time.process_time()
    renditions = references_of(ffmpeg, source, sizes=list(reversed(SIZES)), max_frames=n_frames)
    costs = {"plan_s": children_cpu_s() + time.process_time() - before, "decode": {}, "cell": {}}
    site = Site(ffmpeg, open_store(folder / "corpus"), folder, keep=9)
    done = []
    for cell in plan_cells(renditions, requests, versions):
        size = f"{cell.rendition.size[0]}x{cell.rendition.size[1]}"
        mega = cell.rendition.size[0] * cell.rendition.size[1] * n_frames / 1e6
        if size not in costs["decode"]:
            before = children_cpu_s()
            with site.decoded(cell.rendition) as reference:
                assert reference.n_frames == n_frames
            costs["decode"][size] = (children_cpu_s() - before) / mega
        before, own = children_cpu_s(), time.process_time()
        record = measure(site, cell)
        by_size = costs["cell"].setdefault(f"{cell.encoder.name} {cell.preset}", {})
        by_size[size] = (children_cpu_s() - before) / mega
        costs["own_s"] = max(costs.get("own_s", 0.0), time.process_time() - own)
        done.append((cell, record))
    costs["object_bytes"] = len((folder / "corpus" / cell_name(done[0][0].key)).read_bytes())
    return costs, done


def noop(record, _cell):
    return record


def dispatch(done: list, folder: Path, n_tasks: int = 1000) -> dict:
    """CPU seconds a task takes of scheduler and builder together, two in flight a worker, as in the farm."""
    cell, record = done[0]
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            resources={"encode": 1},
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(folder),
            silence_logs=50,
            processes=True,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        workers = list(client.scheduler_info(n_workers=-1)["workers"])

        def send(worker):
            return client.submit(noop, record, cell, workers=[worker], resources={"encode": 1}, pure=False)

        for warm in client.map(abs, range(20)):
            warm.result()
        me = psutil.Process(os.getpid())  # builder and scheduler are in this one process
        before, started = sum(me.cpu_times()[:2]), time.monotonic()
        running = as_completed([send(worker) for worker in workers * 2], loop=client.loop)
        for number, future in enumerate(running):
            future.result()
            if number < n_tasks - 4:
                running.add(send(workers[number % 2]))
        return {
            "dispatch_s": (sum(me.cpu_times()[:2]) - before) / n_tasks,
            "dispatch_wall_s": (time.monotonic() - started) / n_tasks,
            "task_bytes": len(pickle.dumps((cell,))),
            "record_bytes": len(pickle.dumps(record)),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--costs", type=Path)
    arguments = parser.parse_args()
    ffmpeg = find_ffmpeg()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs, done = encodes(ffmpeg, arguments.clip, arguments.frames, folder)
        costs |= dispatch(done, folder)
    print("CPU seconds a million pixels")
    print(f"{'':24}" + "".join(f"{w}x{h}".rjust(12) for w, h in SIZES))
    for encoder, by_size in costs["cell"].items():
        print(f"{encoder:24}" + "".join(f"{by_size[f'{w}x{h}']:12.4f}" for w, h in SIZES))
    print(f"{'decode once':24}" + "".join(f"{costs['decode'][f'{w}x{h}']:12.4f}" for w, h in SIZES))
    for key in ("plan_s", "own_s", "dispatch_s", "dispatch_wall_s", "task_bytes", "record_bytes", "object_bytes"):
        print(f"{key:24}{costs[key]:12.5g}")
    if arguments.costs:
        arguments.costs.write_text(json.dumps(costs, indent=1) + "\n")


if __name__ == "__main__":
    main()
