"""A corpus that needs no encoder: smooth curves of VMAF over rate value, in the files of a real one."""

from pathlib import Path

import numpy as np

from vmaf_assay.corpus.store import write_cell, write_index
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.records import CellRecord

GRID = {
    ("libx264", "medium"): (18.0, 22.0, 26.0, 30.0, 34.0, 38.0),
    ("libsvtav1", "8"): (21.0, 28.0, 35.0, 42.0, 49.0, 56.0),
    ("libx265", "medium"): (30.0,),
    ("libvpx-vp9", "8"): (48.0,),
}
"""Rate values by encoder and preset; the last two are probes and nothing else."""

N_FRAMES = 6


def synthetic_cell(source: str, group: str, hardness: float, encoder: str, preset: str, rate_value: float):
    """One cell's record and rows [F, 7]: VMAF falls with `crf_norm`, faster for a harder source."""
    key = sha256_bytes(f"{source}|{encoder}|{preset}|{rate_value}".encode())
    rng = np.random.default_rng(int(key[:8], 16))
    r = ENCODERS[encoder].crf_norm(rate_value) * (1.0 if encoder == "libx264" else 0.9)
    loss = hardness * r**2 + rng.normal(0, 0.004, (N_FRAMES, 1))
    vmaf = 100 - 90 * np.clip(loss, 0, 1)
    slopes = np.array([0.5, 0.9, 0.7, 0.6, 0.5])
    features = np.concatenate([1 - loss * slopes, np.full((N_FRAMES, 1), 12 * hardness)], axis=1)
    kbps = float(np.exp(8 + np.log(hardness) - 4 * r))
    record = CellRecord(
        key=key,
        source=source,
        group=group,
        encoder=encoder,
        preset=preset,
        rate_mode="crf",
        rate_value=rate_value,
        width=192,
        height=108,
        frame_rate="25/1",
        n_frames=N_FRAMES,
        bytes=int(kbps * 30),
        kbps=kbps,
        encode_s=0.1,
        versions={"ffmpeg": "none"},
        content_sha256="",
    )
    return record, np.concatenate([vmaf, features], axis=1).astype(np.float32)


def write_synthetic_corpus(folder: Path, *, n_groups: int = 6, grid=None) -> dict[str, np.ndarray]:
    """Write a corpus of `n_groups` groups, the first with two sources; returns rows [F, 7] by cell key."""
    from dataclasses import replace

    from vmaf_assay.corpus.store import content_sha256

    sources = [(f"clip{i}", f"clip{i}", 0.5 + 1.0 * i / n_groups) for i in range(n_groups)]
    sources.append(("clip0@96x54", "clip0", 0.55))
    cells, rows = [], {}
    for source, group, hardness in sources:
        for (encoder, preset), rates in (grid or GRID).items():
            for rate_value in rates:
                record, values = synthetic_cell(source, group, hardness, encoder, preset, rate_value)
                record = replace(record, content_sha256=content_sha256(values))
                write_cell(folder, record, values)
                cells.append(record)
                rows[record.key] = values
    write_index(folder, cells, {"ffmpeg": "none"})
    return rows
