"""Does a shot encoded by itself score as it does inside the title? Real encodes of titles joined from clips.

    python bench/tune_long_bias.py CLIPS/manifest.json [--titles 2] [--shots 10] [--frames 48]

Each title is joined from shots of different groups (640x360, 25 frames a second, lossless). It is encoded and
scored whole, and each shot by itself; the difference in a shot's VMAF (by itself less within the title) is what a
sample of segments gets wrong however many it takes. One rate value an encoder, near VMAF 90.
"""

import argparse
import json
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from vmaf_assay.media import process
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.media.score import ReferenceInput, encode_and_score

ASKED = (("libx264", "medium", 28.0), ("libx265", "medium", 28.0), ("libsvtav1", "8", 42.0))
SIZE = (640, 360)


def run(ffmpeg, *args):
    done = process.run([*ffmpeg.base_argv(), *map(str, args)])
    assert done.exit_code == 0, done.tail()


def make_shot(ffmpeg, clips: Path, source: dict, path: Path, n_frames: int):
    scale = f"fps=25,scale={SIZE[0]}:{SIZE[1]},setsar=1,format=yuv420p"
    run(ffmpeg, "-ss", source["start_s"], "-i", clips / source["file"], "-map", "0:v:0", "-vf", scale,
        "-frames:v", n_frames, "-c:v", "ffv1", path)  # fmt: skip


def differences(ffmpeg, folder: Path, shots: list[Path], n_frames: int):
    """For each encoder the VMAF of each shot by itself less within the title, points, [S]."""
    (folder / "list.txt").write_text("".join(f"file '{shot}'\n" for shot in shots))
    title = folder / "title.mkv"
    run(ffmpeg, "-f", "concat", "-safe", "0", "-i", folder / "list.txt", "-c", "copy", title)
    found = {}
    for name, preset, rate_value in ASKED:

        def score(path, frames, at=(ENCODERS[name], preset, rate_value)):
            reference = ReferenceInput(path, Fraction(25), frames, SIZE)
            return encode_and_score(ffmpeg, reference, *at, threads="auto").vmaf

        whole = score(title, n_frames * len(shots)).reshape(len(shots), n_frames).mean(axis=1)
        alone = np.array([score(shot, n_frames).mean() for shot in shots])
        found[name] = (alone - whole).tolist()
        print(f"  {name}: title {whole.mean():.2f}, shots alone {alone.mean():.2f}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--titles", type=int, default=2)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--frames", type=int, default=48)
    args = parser.parse_args()
    ffmpeg, rng = find_ffmpeg(), np.random.default_rng(0)
    listed = json.loads(args.manifest.read_text())["sources"]
    # Bare streams (.264) cannot be cut by time.
    sources = [s for s in listed if s["duration_s"] >= args.frames / 25 and not s["file"].endswith(".264")]
    groups = sorted({source["group"] for source in sources})
    every = {name: [] for name, _, _ in ASKED}
    for number in range(args.titles):
        print(f"title {number}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            folder, shots = Path(name), []
            for group in rng.choice(groups, args.shots, replace=False):
                source = next(s for s in sources if s["group"] == group)
                shots.append(folder / f"{len(shots)}.mkv")
                make_shot(ffmpeg, args.manifest.parent, source, shots[-1], args.frames)
            for encoder, values in differences(ffmpeg, folder, shots, args.frames).items():
                every[encoder].append(values)
    print("| encoder | shots | mean difference of a title | of a shot: mean | standard deviation | largest |")
    print("|---|---|---|---|---|---|")
    for encoder, titles in every.items():
        flat = np.concatenate(titles)
        per_title = ", ".join(f"{np.mean(title):+.2f}" for title in titles)
        print(
            f"| {encoder} | {len(flat)} | {per_title} | {flat.mean():+.2f} | {flat.std(ddof=1):.2f} | "
            f"{flat[np.abs(flat).argmax()]:+.2f} |"
        )


if __name__ == "__main__":
    main()
