"""Encoders that no model was trained on: `tune`'s search with own encodes beside ab-av1's, on the same clips.

    python bench/own_encoders.py CLIP [CLIP...] [--targets 90,95] [--confidence 0.9] [--cache DIR]

Each encoder with its options, on each clip at each target: two own probes and one trial, then the choice; and
ab-av1's search (`ab_av1.py`) with every frame encoded and scored. The best choice is found by bisection between
what either measured. One markdown row an encoder: encodes spent, hits, bitrate above the best choice.
"""

import argparse
from pathlib import Path

import numpy as np

import vmaf_assay as va
from ab_av1 import search
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import encoder_info, with_extra_args
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.source import open_source

JOBS = (
    ("libkvazaar", "fast", ""),
    ("librav1e", "10", ""),
    ("libopenh264", "default", ""),
    ("libx265", "medium", "-tune grain"),
    ("libsvtav1", "8", "-svtav1-params film-grain=8"),
)
"""Encoder, preset and options of each row."""


class Measured:
    """Measurements of one clip with one encoder."""

    def __init__(self, measurer: Measurer, info, preset: str) -> None:
        self.measurer, self.info, self.preset = measurer, info, preset
        self.known: dict[float, tuple[float, float]] = {}
        """Rate value -> (VMAF, kbps)."""

    def at(self, rate: float) -> tuple[float, float]:
        """(VMAF, kbps) at a rate value."""
        rate = round(float(rate), 2)
        if rate not in self.known:
            scored = self.measurer.measure(self.info, self.preset, rate, "measure")
            self.known[rate] = scored.pooled_vmaf, scored.kbps
        return self.known[rate]

    def best(self, target: float) -> float:
        """Kbps of the cheapest rate value that meets the target, to a step, by bisection."""
        step = self.info.rate_step
        met = [rate for rate, (vmaf, _) in self.known.items() if vmaf >= target] or [self.info.rate_min]
        low = max(met)  # lower is better, for every encoder here
        high = min((rate for rate in self.known if rate > low), default=self.info.rate_max)
        while high - low > step + 1e-9:
            middle = low + max(1, round((high - low) / 2 / step)) * step
            low, high = (middle, high) if self.at(middle)[0] >= target else (low, middle)
        return min(kbps for vmaf, kbps in self.known.values() if vmaf >= target)


def one(clip: Path, measured: Measured, options: str, target: float, confidence: float, cache: Path):
    """(encodes, hit, bitrate above best) of our search and of ab-av1's."""
    info = measured.info
    ours = va.tune_source(
        clip,
        info.name,
        target_vmaf=target,
        confidence=confidence,
        preset=measured.preset,
        trials=1,
        encoder_args=options,
        cache_dir=cache,
    )
    attempts: list[float] = []

    def try_at(rate: float) -> tuple[float, float]:
        attempts.append(rate)
        return measured.at(rate)[0], 10.0

    low, high = info.rate_min, info.rate_max
    theirs = search(try_at, target=target, encoder=info.name, rate_min=low, rate_max=high)
    picks = ((ours.promise.own_encodes, ours.rate_value), (len(attempts), theirs.rate_value))
    got = [None if rate is None else measured.at(rate) for _, rate in picks]
    best = measured.best(target)
    return [
        (
            spent,
            np.nan if pick is None else float(pick[0] >= target),
            np.nan if pick is None else pick[1] / best - 1,
        )
        for (spent, _), pick in zip(picks, got, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--targets", default="90,95")
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    ffmpeg = va.find_ffmpeg()
    print("| encoder | | tasks | encodes | hit rate | bits above best |\n|---|---|---|---|---|---|")
    for name, preset, options in JOBS:
        rows: list[list[tuple[float, float, float]]] = []
        for clip in args.clips:
            info = with_extra_args(encoder_info(name), options)
            reference, _ = open_source(ffmpeg, clip)
            with Measurer(ffmpeg, reference, Cache(args.cache), None) as measurer:
                measured = Measured(measurer, info, preset)
                for target in map(float, args.targets.split(",")):
                    try:
                        rows.append(one(clip, measured, options, target, args.confidence, args.cache))
                    except (ConfigError, ValueError) as problem:
                        print(f"{name} {clip.name} {target:g}: {problem}", flush=True)
        for index, who in enumerate(("own curve, 2 probes, 1 trial", "ab-av1's search")):
            table = np.array([row[index] for row in rows])
            spent, hit, above = np.nanmean(table, axis=0)
            print(
                f"| {name} {preset} {options} | {who} | {len(table)} | {spent:.1f} | {hit:.2f} | "
                f"{100 * above:+.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
