"""How often a bitrate's bound holds: replayed on held-out curves, and on real encodes; and of a file's size.

python bench/bitrate_hits.py replay                     # every encoder, each group left out in turn
python bench/bitrate_hits.py real CLIP... [--encoder libx264] [--trials 1] [--frames 72] [--width 480]
python bench/bitrate_hits.py size CLIP... [--two-pass]  # files with sound, at a size between two rate values
python bench/bitrate_hits.py roughness CLIP...          # ln(kbps) between the trained rate values
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from vmaf_assay.api import load_ensemble
from vmaf_assay.media import commands, process
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.model.sidecar import ChoiceCalibration, probes_known
from vmaf_assay.promise.bitrate import BitrateBounds, best_within, bitrate_bounds, calibration_of, next_trial
from vmaf_assay.promise.choice import rate_grid
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune

CONFIDENCES = (0.8, 0.9, 0.95)
POSITIONS = np.linspace(0.15, 0.85, 8)
"""Where on the grid the forecast meets the bitrate asked, as a share of it from the cheapest."""


def replayed(
    bounds: BitrateBounds, known: Sequence[float], step: int, confidence: float, trials: int
) -> dict[str, list[tuple[float, float]]]:
    """For each group left out: hits (0 or 1), and ln of bitrate asked over bitrate got, of each choice.

    The shipped file has residuals and no forecasts. A forecast is taken as a straight line of -0.1 a rate value,
    about that of libx264: bounds do not depend on it, only how far apart neighbouring choices are.
    """
    grid = bounds.grid[::step]
    forecast = -0.1 * (grid - grid[0]) * (1 if encoder_lower(grid) else -1)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for group in sorted(set(bounds.groups)):
        others = bounds.without(group)
        others = BitrateBounds(grid, others.residuals[:, ::step], others.groups)
        for row in (r[::step] for r, name in zip(bounds.residuals, bounds.groups, strict=True) if name == group):
            for position in POSITIONS:
                limit = float(np.exp(forecast[round(position * (len(grid) - 1))]))
                found[group] += _one(others, grid, forecast, row, list(known), limit, confidence, trials)
    return found


def encoder_lower(grid: np.ndarray) -> bool:
    """Whether a lower rate value is better: the grid begins with the cheapest."""
    return bool(grid[0] > grid[-1])


def _one(
    others: BitrateBounds,
    grid: np.ndarray,
    forecast: np.ndarray,
    row: np.ndarray,
    known: list[float],
    limit: float,
    confidence: float,
    trials: int,
) -> Iterator[tuple[float, float]]:
    at = {float(rate): index for index, rate in enumerate(grid)}
    tried: list[float] = []

    def corrected() -> np.ndarray:
        rates = sorted({*known, *tried} & {*at})
        return forecast + (np.interp(grid, rates, [row[at[rate]] for rate in rates]) if rates else 0.0)

    for _ in range(trials):
        rate = next_trial(grid, corrected(), limit, tried)
        if rate is None:
            break
        tried.append(rate)
    known = [rate for rate in known if rate in at]
    upper = corrected() + others.offsets([*known, *tried], tried, confidence)[1]
    chosen = best_within(grid, upper, limit)
    if chosen is not None:
        ln_kbps = float((forecast + row)[at[chosen]])
        yield float(ln_kbps <= np.log(limit) + 1e-9), float(np.log(limit)) - ln_kbps


def replay() -> None:
    """Hit rates of every encoder and preset of the shipped file."""
    sidecar = load_ensemble().ensemble.sidecar
    for key in calibration_of(sidecar) or {}:
        name, preset = key.split("|")
        info = encoder_info(name)
        rates = next(
            one.rate_values for one in sidecar.seen.encoders if (one.encoder, one.preset) == (name, preset)
        )
        bounds = bitrate_bounds(sidecar, info, preset, rate_grid(info, np.array(rates)))
        assert bounds is not None
        known = [sidecar.probes[i].rate_value for i in probes_known(sidecar.probes, name, preset, more=False)]
        step = max(1, round(0.5 / info.rate_step))
        for confidence in CONFIDENCES:
            for trials in (0, 1, 2):
                found = replayed(bounds, known, step, confidence, trials)
                hits = np.mean([np.mean([hit for hit, _ in each]) for each in found.values() if each])
                below = np.mean([gap for each in found.values() for _, gap in each])
                print(f"{name} {preset} confidence {confidence} trials {trials}: {hits:.3f}, {100 * below:.1f} %")


def prepared(ffmpeg: Ffmpeg, clip: Path, folder: Path, frames: int, width: int) -> Path:
    """The first frames of a clip, smaller, nearly lossless, with a tone as sound."""
    out = folder / f"{clip.stem}.mkv"
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    made = ["-map", "0:v:0", "-map", "1:a", "-vf", f"scale={width}:-2,format=yuv420p", "-frames:v", str(frames)]
    coded = ["-c:v", "libx264", "-crf", "10", "-preset", "veryfast", "-c:a", "libopus", "-shortest"]
    done = process.run([*ffmpeg.base_argv(), "-i", str(clip), *tone, *made, *coded, str(out)])
    assert done.exit_code == 0, done.stderr
    return out


def real(args: argparse.Namespace) -> None:
    """Real encodes for bitrates at a fifth, a half and four fifths of the trained range."""
    ffmpeg, verified = find_ffmpeg(), load_ensemble()
    hits = []
    with tempfile.TemporaryDirectory() as folder:
        for clip in args.clips:
            source = prepared(ffmpeg, clip, Path(folder), args.frames, args.width)
            free = tune(ffmpeg, verified, TuneRequest(source, args.encoder, 80.0, args.confidence, trials=0))
            for share in (0.3, 0.7):
                point = free.curve[round(share * (len(free.curve) - 1))]
                hits.append(_encode(ffmpeg, verified, args, source, Path(folder) / "out.mkv", point.kbps))
                print(json.dumps({"clip": clip.name, **hits[-1]}), flush=True)
    _summary(hits)


def size(args: argparse.Namespace) -> None:
    """Real files of a size between that of two rate values, in one pass or two."""
    real(args)


def _encode(ffmpeg, verified, args, source: Path, out: Path, kbps: float) -> dict:
    goal = {"target_kbps": kbps}
    if args.what == "size":
        n_frames = args.frames
        goal = {"target_bytes": kbps * 125 * n_frames / 25 + 30_000}
    request = TuneRequest(
        *(source, args.encoder),
        confidence=args.confidence,
        trials=args.trials,
        output=out,
        force=True,
        verify=True,
        two_pass=args.two_pass,
        retry=args.retry,
        **goal,
    )
    result = tune(ffmpeg, verified, request)
    used = result.kbps / result.budget_kbps if result.kbps else None
    if result.target_bytes and result.output_bytes:
        used = result.output_bytes / result.target_bytes
    return {
        "asked": round(kbps),
        "goal_met": result.goal_met if result.output else None,
        "used": used and round(used, 4),
        "bound": result.target_vmaf,
        "vmaf": result.measured_vmaf and round(result.measured_vmaf, 2),
        "encodes": result.encodes_spent,
    }


def _summary(hits: list[dict]) -> None:
    made = [one for one in hits if one["goal_met"] is not None]
    met = sum(one["goal_met"] for one in made)
    quality = sum(one["vmaf"] >= one["bound"] for one in made)
    used = np.mean([one["used"] for one in made])
    print(f"{met} of {len(made)} within, {quality} at their quality bound, {100 * used:.1f} % of the budget used")


def roughness(args: argparse.Namespace) -> None:
    """Distance of ln(kbps) at whole rate values from PCHIP through the trained ones."""
    ffmpeg, sidecar = find_ffmpeg(), load_ensemble().ensemble.sidecar
    for name, preset in (("libx264", "medium"), ("libx265", "medium"), ("libsvtav1", "8"), ("libvpx-vp9", "4")):
        trained = [one for one in sidecar.seen.encoders if (one.encoder, one.preset) == (name, preset)]
        knots = [rate for rate in trained[0].rate_values if 18 <= rate <= 50]
        rates = np.arange(knots[0], knots[-1] + 0.5)
        for clip in args.clips:
            ln_kbps = np.array([np.log(_bytes(ffmpeg, clip, name, preset, rate)) for rate in rates])
            smooth = PchipInterpolator(knots, [ln_kbps[int(knot - knots[0])] for knot in knots])(rates)
            off = (ln_kbps - smooth)[~np.isin(rates, knots)]
            print(f"{clip.name} {name} {preset}: {np.sqrt(np.mean(off**2)):.4f}", flush=True)


def _bytes(ffmpeg: Ffmpeg, clip: Path, name: str, preset: str, rate_value: float) -> int:
    encode = commands.encoder_args(encoder_info(name), preset, float(rate_value))
    cut = ["-an", "-vf", "scale=320:-2,format=yuv420p", "-frames:v", "48"]
    done = process.run([*ffmpeg.base_argv(), "-i", str(clip), *cut, *encode, "-f", "framecrc", "-"])
    lines = [line for line in done.stdout.decode().splitlines() if line and not line.startswith("#")]
    return sum(int(line.split(",")[4]) for line in lines)


def main() -> None:
    """Read the arguments and run one of the four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["replay", "real", "size", "roughness"])
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--encoder", default="libx264")
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--frames", type=int, default=72)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--retry", type=int, default=0)
    parser.add_argument("--two-pass", action="store_true")
    args = parser.parse_args()
    assert isinstance(load_ensemble().calibration, ChoiceCalibration)
    if args.what == "replay":
        replay()
    else:
        {"real": real, "size": size, "roughness": roughness}[args.what](args)


if __name__ == "__main__":
    main()
