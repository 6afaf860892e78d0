"""Memory of a build of many cells, and the time to read many rows back.

    python bench/corpus_size.py memory [--cells 10000]
    python bench/corpus_size.py read [--rows 1000000]

Rows are made up (no encoder runs); planning, the build loop, the store, the index and the reading are real.
Peak memory is that of this one process, interpreter and libraries included.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.build import build_corpus
from vmaf_assay.corpus.plan import CorpusReference, EncoderRequest, plan_cells
from vmaf_assay.corpus.sources import Source
from vmaf_assay.corpus.store import content_sha256, load_corpus, write_cell
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.records import CellRecord

N_FRAMES, N_RATES = 72, 40
VERSIONS = {"ffmpeg": "n9.0.2", "libvmaf": "3.0.0", "libx264": "165"}


def plan(n_cells: int):
    rates = tuple(float(r) for r in range(10, 10 + N_RATES))
    request = EncoderRequest(encoder_info("libx264"), "medium", rates)
    renditions = [
        CorpusReference(
            f"s{i}", Source(f"s{i}", f"s{i}", Path(f"s{i}.mp4")), f"{i:064x}", (1280, 720), Fraction(25), 72
        )
        for i in range(-(-n_cells // N_RATES))
    ]
    return plan_cells(renditions, [request], VERSIONS)[:n_cells]


def made_up(cell, rng) -> tuple[CellRecord, np.ndarray]:
    values = np.round(rng.uniform(0, 1, (N_FRAMES, 7)) * [100, 1, 1, 1, 1, 1, 20], 6).astype(np.float32)
    record = CellRecord(
        key=cell.key,
        source=cell.rendition.name,
        group=cell.rendition.name,
        encoder="libx264",
        preset="medium",
        rate_mode="crf",
        rate_value=cell.rate_value,
        width=1280,
        height=720,
        frame_rate="25/1",
        n_frames=N_FRAMES,
        bytes=123456,
        kbps=1234.567,
        encode_s=1.234,
        versions=VERSIONS,
        content_sha256=content_sha256(values),
        source_sha256=cell.rendition.source_sha256,
    )
    return record, values


def measurer(cells, store, _scratch):
    rng = np.random.default_rng(0)
    for cell in cells:
        record, values = made_up(cell, rng)
        write_cell(store, record, values)
        yield replace(record)


def build(folder: Path, n_cells: int) -> None:
    cells = plan(n_cells)
    for _ in build_corpus(find_ffmpeg(), cells, folder, VERSIONS, jobs=1, measurer=measurer):
        pass


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("memory", "read"))
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.what == "memory":
            start = peak_mb()
            build(folder, arguments.cells)
            print(f"{arguments.cells} cells: peak {peak_mb():.0f} MB, {start:.0f} MB before the plan (goal: 300)")
            return
        build(folder, -(-arguments.rows // N_FRAMES))
        for how in ("packed", "packed again"):
            started = time.monotonic()
            corpus = load_corpus(folder)
            elapsed_s = time.monotonic() - started
            print(f"{corpus.frames.height} rows of {len(corpus.cells)} cells, {how}: {elapsed_s:.2f} s")
        for rows in folder.glob("rows-*"):
            rows.unlink()
        started = time.monotonic()
        load_corpus(folder)
        print(f"the same from single cells: {time.monotonic() - started:.2f} s")


if __name__ == "__main__":
    main()
