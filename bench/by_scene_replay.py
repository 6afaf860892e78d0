"""Allocation and control of `tune --by-scene`, replayed on the measured curves of a corpus; nothing is encoded.

    python bench/by_scene_replay.py data/corpus [--titles 300] [--target 93] [--scenes 20]

A title is some sources of different groups, each a scene of 24 to 250 frames with the bytes a frame that its clip
has. Between the measured rate values curves are interpolated (PCHIP of the logarithms of deficit and bytes), with
the roughness of real curves added. `known` allocates with the curves themselves. `control` begins with forecasts
that are wrong by the spread that `scenes.probed.TRAINED` states. Both are against the best single rate value, at
the measured mean.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl
from scipy.interpolate import PchipInterpolator

from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.scenes.allocate import Limits, allocate_floor, allocate_mean
from vmaf_assay.scenes.control import Aim, Controller
from vmaf_assay.scenes.curves import CEILING, Forecasts, deficit, score_of
from vmaf_assay.scenes.prior import rate_grid
from vmaf_assay.scenes.probed import TRAINED

ROUGH = 0.14
"""Standard deviation of a measured curve around a smooth one, points."""


def curves(corpus: Path, encoder: str, preset: str, pixels: tuple[int, int]) -> list[tuple]:
    """(group, rate values, log deficits, log bytes a frame) of sources whose size is in a range."""
    cells = load_corpus(corpus).cells
    table: dict[tuple[str, str], list] = {}
    frames = load_corpus(corpus).frames
    means = dict(frames.group_by("cell").agg(pl.col("vmaf").cast(pl.Float64).mean()).iter_rows())
    for cell in cells:
        mine = (cell.encoder, cell.preset) == (encoder, preset) and not cell.encoder_args
        if mine and pixels[0] <= cell.width * cell.height <= pixels[1]:
            one = (cell.rate_value, means[cell.key], cell.bytes / cell.n_frames)
            table.setdefault((cell.group, cell.source), []).append(one)
    made = []
    for (group, _), rows in table.items():
        rates, scores, sizes = map(np.array, zip(*sorted(rows), strict=True))
        if len(rates) >= 5:
            made.append((group, rates, deficit(scores), np.log(sizes)))
    return made


def main() -> None:
    """Replay for each encoder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--titles", type=int, default=300)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--target", type=float, default=93.0)
    parser.add_argument("--floor", type=float, default=6.0)
    parser.add_argument("--max-step", type=float)
    parser.add_argument("-e", "--encoders", default="libx264:medium,libx265:medium,libsvtav1:8,libvpx-vp9:4")
    parser.add_argument("--pixels", default="100000,500000")
    args = parser.parse_args()
    low, high = map(int, args.pixels.split(","))
    for asked in args.encoders.split(","):
        encoder, preset = asked.split(":")
        found = curves(args.corpus, encoder, preset, (low, high))
        rows = [replay(found, encoder, args, np.random.default_rng(seed)) for seed in range(args.titles)]
        rows = [row for row in rows if row is not None]
        names = rows[0].keys()
        print(
            json.dumps(
                {"encoder": asked, "titles": len(rows), "sources": len(found)}
                | {name: round(float(np.mean([row[name] for row in rows])), 3) for name in names}
            )
        )


def replay(found: list[tuple], encoder: str, args: argparse.Namespace, rng: np.random.Generator) -> dict | None:
    """One title; None if a single rate value cannot reach the target."""
    groups = list(dict.fromkeys(one[0] for one in found))
    chosen = rng.choice(len(groups), min(args.scenes, len(groups)), replace=False)
    picked = [rng.choice(np.flatnonzero([one[0] == groups[i] for one in found])) for i in chosen]
    title = [found[i] for i in picked]
    info = encoder_info(encoder)
    rates = rate_grid(info, max(one[1].min() for one in title), min(one[1].max() for one in title))
    n_frames = rng.integers(24, 250, len(title)).astype(float)
    log_deficit = np.stack([PchipInterpolator(one[1], one[2])(rates) for one in title])
    log_bytes = np.stack([PchipInterpolator(one[1], one[3])(rates) for one in title]) + np.log(n_frames)[:, None]
    score = np.clip(score_of(log_deficit) + rng.normal(0, ROUGH, log_deficit.shape), 0, 100)
    n_bytes = np.exp(log_bytes)
    mean = (score * n_frames[:, None]).sum(axis=0) / n_frames.sum()
    if mean.max() < args.target + 0.2 or mean.min() > args.target:
        return None
    total = n_bytes.sum(axis=0)

    def single(at: float) -> float:
        return float(np.exp(np.interp(at, np.maximum.accumulate(mean), np.log(total))))

    limits = Limits(args.target - args.floor, args.max_step)
    smooth = score_of(log_deficit)
    places = np.arange(len(title))
    known = allocate_mean(smooth, n_bytes, n_frames, args.target, limits).chosen
    every = allocate_floor(smooth, args.target, Limits()).chosen
    made = {}
    for name, places_of in (("known", known), ("every scene", every)):
        at = float(np.average(score[places, places_of], weights=n_frames))
        made[f"{name} %"] = 100 * (n_bytes[places, places_of].sum() / single(max(at, args.target)) - 1)
    made["every scene against single at target %"] = 100 * (n_bytes[places, every].sum() / single(args.target) - 1)
    spread, sizes = TRAINED
    wrong = rng.normal(0, spread.common) + rng.normal(0, np.hypot(spread.own, spread.alike), len(title))
    dear = rng.normal(0, sizes.common) + rng.normal(0, np.hypot(sizes.own, sizes.alike), len(title))
    forecasts = Forecasts(
        rates,
        score_of(log_deficit + wrong[:, None]),
        np.exp(log_bytes + dear[:, None]),
        n_frames,
        rng.normal(0, 1, (len(title), 2)),
        *TRAINED,
    )
    controller = Controller(forecasts, Aim(args.target, "mean", args.target - args.floor, args.max_step), 0.01)
    encoded = 0.0
    while (job := controller.next({})) is not None:
        place = np.argsort(rates)
        got = float(np.interp(job.rate_value, rates[place], score[job.scene][place]))
        size = int(np.exp(np.interp(job.rate_value, rates[place], log_bytes[job.scene][place])))
        controller.observe(job, got, size)
        encoded += n_frames[job.scene]
    kept = controller.state.kept
    at = controller.state.mean(n_frames)
    steps = np.abs(np.diff([kept[i].score for i in places]))
    return made | {
        "control %": 100 * (sum(one.n_bytes for one in kept.values()) / single(at) - 1),
        "within": controller.within(),
        "encodes a scene": encoded / n_frames.sum(),
        "scenes below floor": sum(one.score < args.target - args.floor for one in kept.values()),
        "largest step": float(steps.max()),
        "deficit": CEILING - at,
    }


if __name__ == "__main__":
    main()
