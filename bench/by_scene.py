"""`tune --by-scene` beside the best single rate value, and beside Av1an's search of each scene.

Titles are joined from distinct clips, or are natural clips of several shots. For each title, encoder and target:
bits at equal measured mean (the single rate value's curve is measured around it and interpolated in the logarithm
of bits), whether the mean ended within the tolerance, encodes a scene, and CPU against a bare encode and one
scoring.

    python bench/by_scene.py CLIPS WORK --titles 4 -e libx264:medium --targets 93 [--av1an] [--natural A,B]

Each line of stdout is one JSON document; the last one sums up by encoder and target.
"""

import argparse
import json
import random
import resource
import sys
from pathlib import Path

import numpy as np

import vmaf_assay as va
from av1an import search
from vmaf_assay.media import process
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score, score_pair
from vmaf_assay.tune.final import FinalEncode
from vmaf_assay.tune.source import open_source


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def join_clips(
    ffmpeg: Ffmpeg, clips: list[Path], out: Path, *, seconds: tuple[float, float], size: str, seed: int
) -> None:
    """A lossless title of parts of some clips, at one size and 25 frames a second."""
    rng = random.Random(seed)
    inputs: list[str] = []
    for clip in clips:
        inputs += ["-t", f"{rng.uniform(*seconds):.2f}", "-i", str(clip)]
    each = ";".join(
        f"[{i}:v:0]fps=25,scale={size}:flags=bicubic,format=yuv420p,setsar=1,setpts=N/25/TB[v{i}]"
        for i in range(len(clips))
    )
    graph = each + ";" + "".join(f"[v{i}]" for i in range(len(clips))) + f"concat=n={len(clips)}[o]"
    argv = [*ffmpeg.base_argv(), *inputs, "-filter_complex", graph, "-map", "[o]", "-c:v", "libx264"]
    done = process.run([*argv, "-preset", "ultrafast", "-qp", "0", str(out)])
    if done.exit_code != 0:
        raise SystemExit(done.stderr)


def single_curve(
    ffmpeg: Ffmpeg, reference: ReferenceInput, encoder: str, preset: str, target: float, guess: float
) -> list[tuple[float, float, int]]:
    """(rate value, mean, bytes) of whole encodes around the rate value whose mean is at a target."""
    info, made = encoder_info(encoder), {}

    def at(rate: float) -> float:
        rate = min(max(round(rate), info.rate_min), info.rate_max)
        if rate not in made:
            scored = encode_and_score(ffmpeg, reference, info, preset, rate, threads="auto")
            made[rate] = scored.pooled_vmaf, scored.bytes
        return made[rate][0]

    at(guess)
    while min(score for score, _ in made.values()) > target:
        at(max(made) + 2)
    while max(score for score, _ in made.values()) < target:
        at(min(made) - 2)
    return [(rate, *made[rate]) for rate in sorted(made)]


def bytes_at(curve: list[tuple[float, float, int]], mean: float) -> float:
    """Bytes of the single rate value at a mean, interpolated in their logarithm."""
    scores, sizes = np.array([one[1] for one in curve]), np.log([one[2] for one in curve])
    order = np.argsort(scores)
    return float(np.exp(np.interp(mean, scores[order], sizes[order])))


def bare_cost(
    ffmpeg: Ffmpeg, reference: ReferenceInput, encoder: str, preset: str, rate: float, out: Path
) -> float:
    """CPU seconds of one encode of the whole title and of scoring it."""
    before = cpu_s()
    done = process.run(FinalEncode(reference, encoder_info(encoder), preset, rate).argv(ffmpeg, out))
    if done.exit_code != 0:
        raise SystemExit(done.stderr)
    score_pair(ffmpeg, reference, out)
    return cpu_s() - before


def av1an(ffmpeg: Ffmpeg, title: Path, rows: list, encoder: str, preset: str, target: float) -> dict:
    """Av1an's search for each scene: CPU, probes a scene with the encode, scenes more than 6 points below."""
    reference, _ = open_source(ffmpeg, title)
    info, before, encodes, below, n_bytes, score = encoder_info(encoder), cpu_s(), 0, 0, 0, 0.0
    for row in rows:
        from dataclasses import replace

        span = (row["first_frame"], row["first_frame"] + row["n_frames"])
        at = row["first_frame"] / float(reference.frame_rate)
        seek = ("-ss", f"{at - 0.01:.3f}") if at else ()
        part = replace(reference, n_frames=row["n_frames"], span=(0, span[1] - span[0]))
        part = replace(part, input_args=(*reference.input_args, *seek), packets=None)
        made = {}

        def measure(rate: float, part: ReferenceInput = part, made: dict = made) -> float:
            made[rate] = encode_and_score(ffmpeg, part, info, preset, rate, threads="auto")
            return made[rate].pooled_vmaf

        found = search(measure, target=target, encoder=encoder)
        encodes += len(found.attempts) + 1  # the encode itself comes after the probes
        kept = made[found.rate_value]
        n_bytes += kept.bytes
        score += kept.pooled_vmaf * row["n_frames"]
        below += kept.pooled_vmaf < target - 6
    return {
        "cpu_s": cpu_s() - before,
        "encodes_a_scene": encodes / len(rows),
        "below_floor": below,
        "bytes": n_bytes,
        "mean": score / reference.n_frames,
    }


def measure(ffmpeg: Ffmpeg, title: Path, work: Path, asked: str, target: float, args: argparse.Namespace) -> dict:
    """All figures of one title, encoder and target."""
    encoder, preset = asked.split(":")
    out = work / "out.mkv"
    before = cpu_s()
    found = va.tune_scenes(
        *(title, asked),
        target_vmaf=target,
        output=out,
        force=True,
        max_step=args.max_step,
        jobs=args.jobs,
        goal=args.goal,
        ensemble=args.ensemble,
    )
    cost = cpu_s() - before
    document = found.as_json()
    rates = [row["rate_value"] for row in document["scenes"]]
    reference, _ = open_source(ffmpeg, title)
    mine = sum(row["n_bytes"] for row in document["scenes"])
    curve = [(0.0, found.measured_vmaf, mine)]
    if not args.cpu_only:
        curve = single_curve(ffmpeg, reference, encoder, preset, found.measured_vmaf, float(np.median(rates)))
    single = bytes_at(curve, found.measured_vmaf)
    bare = bare_cost(ffmpeg, reference, encoder, preset, float(round(np.median(rates))), work / "bare.mkv")
    made = {
        "title": title.stem,
        "encoder": asked,
        "target": target,
        "scenes": len(rates),
        "frames": document["n_frames"],
        "mean": found.measured_vmaf,
        "within": found.within_tolerance,
        "below_floor": found.scenes_below,
        "bits_%": None if args.cpu_only else 100 * (mine / single - 1),
        "encodes_a_scene": found.encodes_per_scene,
        "repairs": found.repairs,
        "largest_step": found.largest_step,
        "cpu_ratio": cost / bare,
        "forecast_bytes_ratio": found.forecast_bytes / mine,
        "forecast_vmaf": found.forecast_vmaf,
        "errors": [round(row["score"] - row["forecast_score"], 2) for row in document["scenes"]],
    }
    if args.av1an:
        other = av1an(ffmpeg, title, document["scenes"], encoder, preset, target)
        made["av1an"] = other | {"cpu_ours_over_theirs": cost / other["cpu_s"]}
        made["av1an"]["bits_%"] = 100 * (other["bytes"] / bytes_at(curve, other["mean"]) - 1)
    return made


def summed(rows: list[dict]) -> dict:
    """Figures over the titles of one encoder and target."""
    return {
        "titles": len(rows),
        "scenes": sum(row["scenes"] for row in rows),
        "bits_%": [None if row["bits_%"] is None else round(row["bits_%"], 1) for row in rows],
        "within": sum(row["within"] for row in rows),
        "below_floor": sum(row["below_floor"] for row in rows),
        "encodes_a_scene": float(np.mean([row["encodes_a_scene"] for row in rows])),
        "cpu_ratio": float(np.mean([row["cpu_ratio"] for row in rows])),
        "largest_step": max(row["largest_step"] for row in rows),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--titles", type=int, default=4)
    parser.add_argument("--clips-a-title", type=int, default=20)
    parser.add_argument("--seconds", default="1.2,3")
    parser.add_argument("-e", "--encoders", default="libx264:medium")
    parser.add_argument("--targets", default="93")
    parser.add_argument("--size", default="640:360")
    parser.add_argument("--cpu-only", action="store_true", help="do not measure the single rate value")
    parser.add_argument("--goal", default="mean")
    parser.add_argument("--max-step", type=float)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--av1an", action="store_true")
    parser.add_argument(
        "--natural", default="", help="names of clips that hold several shots, instead of joined ones"
    )
    args = parser.parse_args()
    ffmpeg, args.ensemble = find_ffmpeg(), va.load_ensemble()
    args.work.mkdir(parents=True, exist_ok=True)
    refused = ("hdr10roof", "hlgroof", "jm1080")
    usable = sorted(
        path
        for path in args.clips.iterdir()
        if path.suffix in (".mp4", ".webm", ".mov", ".avi", ".ogv") and not path.stem.startswith(refused)
    )
    low, high = map(float, args.seconds.split(","))
    titles = [args.clips / name for name in args.natural.split(",") if name]
    for seed in range(args.titles if not titles else 0):
        title = args.work / f"title{seed:02d}.mkv"
        if not title.exists():
            chosen = random.Random(seed).sample(usable, args.clips_a_title)
            join_clips(ffmpeg, chosen, title, seconds=(low, high), size=args.size, seed=seed)
        titles.append(title)
    rows: dict[str, list[dict]] = {}
    for asked in args.encoders.split(","):
        for target in map(float, args.targets.split(",")):
            for title in titles:
                row = measure(ffmpeg, title, args.work, asked, target, args)
                rows.setdefault(f"{asked} {target:g}", []).append(row)
                json.dump(row, sys.stdout)
                print(flush=True)
    print(json.dumps({"summary": {name: summed(found) for name, found in rows.items()}}))


if __name__ == "__main__":
    main()
