"""One cell in one process against encode, decode to disk, score: wall time of each, the same VMAF.

python bench/corpus_cell.py CLIP [--frames 240]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from vmaf_assay.corpus.measure import decode
from vmaf_assay.corpus.plan import references_of
from vmaf_assay.corpus.sources import sources_from_paths
from vmaf_assay.media import process
from vmaf_assay.media.commands import encoder_args, libvmaf_filter
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.media.score import encode_and_score


def through_disk(ffmpeg, reference, encoder, folder: Path) -> float:
    """Pooled VMAF in three steps."""
    graph = f"[0:v][1:v]{libvmaf_filter()}"
    one = ["-threads", "1", "-i"]
    for argv in (
        [*one, str(reference.path), *encoder_args(encoder, "medium", 23.0), "a.mkv"],
        [*one, "a.mkv", "-pix_fmt", "yuv420p", "a.y4m"],
        [*one, "a.y4m", *one, str(reference.path), "-lavfi", graph, "-f", "null", "-"],
    ):
        done = process.run([*ffmpeg.base_argv(), *argv], cwd=folder)
        assert done.exit_code == 0, done.stderr
    return json.loads((folder / "vmaf.json").read_text())["pooled_metrics"]["vmaf"]["mean"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    ffmpeg, encoder = find_ffmpeg(), encoder_info("libx264")
    (source,) = sources_from_paths([arguments.clip])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (rendition, *_) = references_of(ffmpeg, source, sizes=[(1280, 720)], max_frames=arguments.frames)
        reference = decode(ffmpeg, rendition, folder / "reference.y4m")
        ours_s, steps_s, scores = [], [], set()
        for _ in range(arguments.repeats):  # in turn, so that a slower minute slows both
            started = time.monotonic()
            scored = encode_and_score(ffmpeg, reference, encoder, "medium", 23.0)
            ours_s.append(time.monotonic() - started)
            started = time.monotonic()
            vmaf = through_disk(ffmpeg, reference, encoder, folder)
            steps_s.append(time.monotonic() - started)
            scores |= {round(scored.pooled_vmaf, 3), round(vmaf, 3)}
    ours, steps = statistics.median(ours_s), statistics.median(steps_s)
    print(f"{source.name} {rendition.size[0]}x{rendition.size[1]}, {reference.n_frames} frames, libx264 medium 23")
    print(f"VMAF by both                  {sorted(scores)}")
    print(f"one process                   {ours:.2f} s")
    print(f"encode, decode to disk, score {steps:.2f} s")
    print(f"ratio                         {ours / steps:.3f}   (goal: 0.70 or less)")


if __name__ == "__main__":
    main()
