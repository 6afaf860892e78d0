"""What the check of step costs: CPU seconds of one cell with and without the signatures of every frame.

Run: python bench/sync_cost.py [--rounds 3]
"""

import argparse
import resource
import statistics
import tempfile
from fractions import Fraction
from pathlib import Path

from vmaf_assay.media import process, score
from vmaf_assay.media.commands import encoder_args, libvmaf_filter
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.reference import ReferenceInput

CASES = (
    ("640x360", "libx264", "medium", 72),
    ("1280x720", "libx264", "medium", 48),
    ("1920x1080", "libx264", "medium", 24),
)


def _seconds(argv: list[str], folder: Path) -> float:
    """CPU seconds, which other work on the machine hardly changes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = process.run(argv, cwd=folder)
    if done.exit_code != 0:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _argv(ffmpeg: Ffmpeg, clip: ReferenceInput, encoder: str, preset: str, *, checked: bool) -> list[str]:
    """One cell as `encode_and_score` runs it, or the same without signatures."""
    tick = "settb=1/25,setpts=N"
    info = encoder_info(encoder)
    compare = score._compare("single") if checked else f"[d][r]{libvmaf_filter()}[o]"
    outputs = score._compare_outputs(clip.n_frames) if checked else ["-map", "[o]", "-f", "null", "-"]
    graph = f"[dec:0]format=yuv420p,{tick}[d];[0:v:0]{','.join(clip.filters())},{tick}[r];{compare}"
    return [
        *ffmpeg.base_argv(),
        "-threads",
        "1",
        "-i",
        str(clip.path),
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
        "-vf",
        ",".join(clip.filters()),
        *encoder_args(info, preset, 28),
        "-f",
        "null",
        "-",
        "-threads",
        "1",
        "-dec",
        "0:0",
        "-filter_complex",
        graph,
        *outputs,
    ]


def main() -> None:
    """Print CPU seconds without and with the check, and its share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    ffmpeg = find_ffmpeg()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, encoder, preset, n_frames in CASES:
            path = folder / f"{size}.y4m"
            graph = f"mandelbrot=size={size}:rate=25:end_pts=200,noise=alls=6:allf=t,format=yuv420p"
            made = [*ffmpeg.base_argv(), "-f", "lavfi", "-i", graph, "-frames:v", str(n_frames), str(path)]
            _seconds(made, folder)
            clip = ReferenceInput(path, Fraction(25), n_frames)
            costs: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(rounds):
                for checked in (False, True):
                    argv = _argv(ffmpeg, clip, encoder, preset, checked=checked)
                    costs[checked].append(_seconds(argv, folder))
            plain, full = (statistics.median(costs[checked]) for checked in (False, True))
            times = f"{plain:.2f} s, checked {full:.2f} s, {full / plain - 1:+.1%}"
            print(f"{size} {encoder} {preset} {n_frames} frames: {times}")


if __name__ == "__main__":
    main()
