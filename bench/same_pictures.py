"""How far apart copies and other content are for `corpus/same_pictures.py`.

`bench/same_pictures.py CLIPS [PAIRS]` prints the highest correlations over so many pairs of the clips of a folder,
drawn at random (default all pairs). Then come the lowest over copies of every fifth clip: CRF 45, smaller, cropped
10 % in the middle and at a corner, half a second later. Run it with OPENBLAS_NUM_THREADS=1 on a busy machine.
"""

import random
import sys
import tempfile
from fractions import Fraction
from itertools import combinations
from pathlib import Path

from vmaf_assay.corpus.same_pictures import SAME, Looks, closest
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.sync import SIGNATURE_FILTER, read_signatures

N_FRAMES = 72
COPIES = {
    "CRF 45": "null",
    "smaller": "scale=320:-2",
    "cropped": "crop=trunc(iw*0.9/2)*2:trunc(ih*0.9/2)*2",
    "cropped at a corner": "crop=trunc(iw*0.9/2)*2:trunc(ih*0.9/2)*2:0:0",
    "later": "trim=start=0.5,setpts=PTS-STARTPTS",
}


def looks_of(ffmpeg: Ffmpeg, path: Path) -> Looks:
    """Looks of the first frames of a clip."""
    shrink = ["-map", "0:v:0", "-frames:v", str(N_FRAMES), "-vf", SIGNATURE_FILTER, "-f", "rawvideo", "-"]
    done = process.run([*ffmpeg.base_argv(level="fatal"), "-i", str(path), *shrink])
    return Looks(read_signatures(done.stdout), Fraction(0))


def main(folder: str, most: str = "1000000") -> None:
    """Print both sides of the limit."""
    ffmpeg = find_ffmpeg()
    films = (".mp4", ".mov", ".webm", ".mkv", ".ts")
    paths = [path for path in sorted(Path(folder).iterdir()) if path.suffix in films]
    looks = {path: looks_of(ffmpeg, path) for path in paths}
    looks = {path: each for path, each in looks.items() if len(each.frames) >= 24}
    every = list(combinations(looks, 2))
    drawn = random.Random(0).sample(every, min(int(most), len(every)))
    pairs = sorted(((closest(looks[a], looks[b]), a.name, b.name) for a, b in drawn), reverse=True)
    print(f"{len(pairs)} of {len(every)} pairs of {len(looks)} clips, limit {SAME}; the highest:", flush=True)
    for value, *names in pairs[:20]:
        print(f"  {value:.3f} {' '.join(names)}")
    below = []
    for path in list(looks)[::5]:
        for what, filters in COPIES.items():
            with tempfile.TemporaryDirectory() as place:
                copy = Path(place) / "copy.mp4"
                encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "45", "-pix_fmt", "yuv420p"]
                frames = ["-map", "0:v:0", "-frames:v", str(N_FRAMES), "-vf", filters]
                done = process.run([*ffmpeg.base_argv(), "-i", str(path), *frames, *encode, str(copy)])
                if done.exit_code == 0:
                    below.append((closest(looks[path], looks_of(ffmpeg, copy)), path.name, what))
    print(f"{len(below)} copies, {sum(value < SAME for value, *_ in below)} below the limit; the lowest:")
    for what in COPIES:
        values = [value for value, _, kind in below if kind == what]
        print(f"  {what}: {len(values)}, {sum(value < SAME for value in values)} below, lowest {min(values):.3f}")
    for value, *names in sorted(below)[:20]:
        print(f"  {value:.3f} {' '.join(names)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
