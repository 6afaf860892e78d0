"""CPU seconds of tuning a long title, against ab-av1's search with its own sampling, in the same run.

    python bench/tune_long_cost.py TITLE... [--encoder libsvtav1 --preset 8] [--target 93] [--whole] [--json FILE]

For each title, CPU seconds (user and system, all processes):

  decode    of one full decode, the measure of looking and cutting
  look+cut  reading every packet, looking, and copying segments, their proof among it
  tune      `assay tune --trials 1 --no-cache`, no output, Python and model among it
  ab-av1    its search: samples of 20 s, one every 12 minutes and one at least, sought to and copied, then encoded
            and scored at every rate value that the ported search asks for. ab-av1 scales pictures below 1080p up
            before it scores; that is left out, in its favour.
  encode    one plain encode of the whole title at what `tune` chose (`--whole`)

ab-av1 gets the rate value that meets the target in its samples, without a bound.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.ab_av1 import search

from vmaf_assay.media import process
from vmaf_assay.media.commands import encoder_args
from vmaf_assay.media.copies import copy_spans
from vmaf_assay.media.demux import FrameMap
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.media.packet_look import PacketLook
from vmaf_assay.tune.segments import n_segments, plan_sample
from vmaf_assay.tune.source import open_source, seconds

SAMPLE_S, EVERY_S = 20.0, 12 * 60.0


def cpu_s() -> float:
    """CPU seconds of this process and of all its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(call):
    """What a call returns, and its CPU and wall seconds."""
    before, began = cpu_s(), time.monotonic()
    result = call()
    return result, cpu_s() - before, time.monotonic() - began


def run(ffmpeg, *args):
    done = process.run([*ffmpeg.base_argv(), *map(str, args)])
    assert done.exit_code == 0, done.tail()
    return done


def samples(ffmpeg, path: Path, duration_s: float, folder: Path) -> list[Path]:
    """ab-av1's samples: 20 s each, spread evenly, copied (src/sample.rs of v0.11.7)."""
    count = max(1, math.ceil(duration_s / EVERY_S))
    free = max(0.0, duration_s - SAMPLE_S * count) / (count + 1)
    made = []
    for number in range(count):
        start = free * (number + 1) + SAMPLE_S * number
        out = folder / f"{number}.mkv"
        run(ffmpeg, "-ss", f"{start:.3f}", "-i", path, "-t", SAMPLE_S, "-map", "0:v:0", "-c", "copy", out)
        made.append(out)
    return made


def ab_av1(ffmpeg, path: Path, duration_s: float, encoder: str, preset: str, target: float):
    """The search, and how many rate values it asked for."""
    info = encoder_info(encoder)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        of = samples(ffmpeg, path, duration_s, folder)

        def measure(rate_value: float) -> tuple[float, float]:
            scores, sizes, source = [], 0, sum(one.stat().st_size for one in of)
            for one in of:
                out = folder / "encoded.mkv"
                run(ffmpeg, "-i", one, *encoder_args(info, preset, rate_value), out)
                sizes += out.stat().st_size
                pair = "[0:v]setpts=N[d];[1:v]setpts=N[r];[d][r]libvmaf=shortest=1:n_threads=2:log_fmt=json"
                graph = f"{pair}:log_path={folder / 'vmaf.json'}"
                run(ffmpeg, "-i", out, "-i", one, "-filter_complex", graph, "-f", "null", "-")
                log = json.loads((folder / "vmaf.json").read_text())
                scores.append(log["pooled_metrics"]["vmaf"]["mean"])
            return sum(scores) / len(scores), 100 * sizes / source

        return search(measure, target=target, encoder=encoder, max_percent=1000.0)


def look_and_cut(ffmpeg, path: Path) -> None:
    """What `tune` does before the first probe."""
    reference, _ = open_source(ffmpeg, path)
    count = n_segments(reference, 60.0)
    assert count is not None, "the title is probed whole"
    assert reference.packets is not None, "frames are counted"
    plan = plan_sample(PacketLook(FrameMap(reference.packets)), count)
    with tempfile.TemporaryDirectory() as folder:
        spans = [segment.encoded() for segment in plan.segments]
        assert copy_spans(ffmpeg, reference, spans, Path(folder)) is not None


def bench(ffmpeg, path: Path, args) -> dict:
    """One record."""
    reference, _ = open_source(ffmpeg, path)
    duration_s = seconds(reference)
    found = {"title": path.name, "minutes": round(duration_s / 60, 1), "encoder": f"{args.encoder} {args.preset}"}
    _, found["decode"], _ = timed(lambda: run(ffmpeg, "-i", path, "-map", "0:v:0", "-f", "null", "-"))
    _, found["look_cut"], _ = timed(lambda: look_and_cut(ffmpeg, path))
    argv = [sys.executable, "-m", "vmaf_assay", "tune", str(path), "-e", args.encoder, "--preset", args.preset]
    argv += ["--target-vmaf", str(args.target), "--quality-confidence", str(args.confidence)]
    argv += ["--trials", "1", "--no-cache", "--json"]
    done, found["tune"], found["tune_wall"] = timed(lambda: subprocess.run(argv, capture_output=True, text=True))
    answer = json.loads(done.stdout)
    found |= {"crf": answer["rate_value"], "lower": answer["lower_bound"], "reachable": done.returncode == 0}
    found |= {name: answer["sample"][name] for name in ("segments", "segments_tried", "sampling_part")}
    made, found["ab_av1"], found["ab_av1_wall"] = timed(
        lambda: ab_av1(ffmpeg, path, duration_s, args.encoder, args.preset, args.target)
    )
    found |= {"ab_av1_crf": made.rate_value, "ab_av1_encodes": len(made.attempts)}
    if args.whole:
        encode = encoder_args(encoder_info(args.encoder), args.preset, answer["rate_value"])
        _, found["encode"], _ = timed(lambda: run(ffmpeg, "-i", path, "-map", "0:v:0", *encode, "-f", "null", "-"))
        found["tune/encode"] = found["tune"] / found["encode"]
    found |= {
        "tune/ab_av1": found["tune"] / found["ab_av1"],
        "look_cut/decode": found["look_cut"] / found["decode"],
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("titles", type=Path, nargs="+")
    parser.add_argument("--encoder", default="libsvtav1")
    parser.add_argument("--preset", default="8")
    parser.add_argument("--target", type=float, default=93.0)
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    ffmpeg = find_ffmpeg()
    for path in args.titles:
        text = json.dumps(bench(ffmpeg, path, args))
        print(text, flush=True)
        if args.json:
            with args.json.open("a") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
