"""What a sample says of real titles against encodes of all of them: titles of minutes, joined from clips.

    python bench/tune_long_titles.py CLIPS/manifest.json [--seconds 120] [--seed 0] [--json FILE]

A title is scenes of the clips (every frame of each, at 25 frames a second, 320x180) in random order; when all were
used they come again mirrored, and then cropped to three quarters. For each encoder the title is encoded and scored
whole at one rate value: the truth, frame by frame. Then the title is probed as `tune` does it, by the segments
that `tune` picks, and a trial is made on those that `tune` tries. Shown are

  error       of the estimate against the truth, points, and of the mean of the trial's segments without a forecast
  part        what the bound takes off for the sampling at 0.9
  held        whether the truth is above the estimate less that part
  bias        VMAF of the segments tried less that of the same frames in the title, mean and standard deviation:
              cut out bare, and with 24 frames before and after that are not scored
  spread      root mean square error of the mean of the *true* VMAF of a sample's segments, over 400 samples drawn
              as `tune` draws them, and drawn at random: what stratification is worth
  time        wall seconds of whole encode, of probes (which serve every encoder and target), and of the trial

The shipped models have seen these clips, so errors of forecasts are smaller than on new ones; those of the
sampling are not.
"""

import argparse
import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from vmaf_assay.media import process
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.segments import look
from vmaf_assay.promise.sampling import two_phase, weighted_mean
from vmaf_assay.registry.store import load_verified, registry_dir
from vmaf_assay.tune import segments as plan
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.probing import probe_title

ASKED = (
    ("libx264", "medium", 28.0),
    ("libsvtav1", "8", 42.0),
    ("libx265", "medium", 28.0),
    ("libvpx-vp9", "4", 40.0),
    ("libaom-av1", "6", 42.0),
    ("libvvenc", "faster", 32.0),
)
SIZE, RATE = (320, 180), Fraction(25)
CONFIDENCE = 0.9


def n_tried(n_segments: int) -> int:
    """Segments that the trial of this bench encodes."""
    return max(4, round(0.4 * n_segments))


TRANSFORMS = ("", "hflip,", "crop=iw*3/4:ih*3/4,", "hflip,crop=iw*3/4:ih*3/4,")


def run(ffmpeg, *args):
    done = process.run([*ffmpeg.base_argv(), *map(str, args)])
    assert done.exit_code == 0, done.tail()


def make_title(ffmpeg, manifest: Path, n_frames: int, rng, folder: Path) -> tuple[Path, int, list[int]]:
    """The title, its frames, and the frames at which its scenes begin."""
    sources = json.loads(manifest.read_text())["sources"]
    parts, total, starts, turn = [], 0, [], 0
    while total < n_frames:
        if turn % len(sources) == 0:
            order = rng.permutation(len(sources))
        source = sources[order[turn % len(sources)]]
        transform = TRANSFORMS[min(turn // len(sources), len(TRANSFORMS) - 1)]
        part = folder / f"{turn}.nut"
        scale = f"{transform}scale={SIZE[0]}:{SIZE[1]}:out_range=tv,setsar=1,format=yuv420p"
        seek = [] if source["file"].endswith(".264") else ["-ss", source["start_s"]]
        run(
            ffmpeg,
            *seek,
            "-i",
            manifest.parent / source["file"],
            "-map",
            "0:v:0",
            "-frames:v",
            240,
            "-vf",
            f"{scale},settb=1/25,setpts=N,fps=25",
            "-fps_mode",
            "passthrough",
            "-c:v",
            "ffv1",
            part,
        )
        counted = process.run([*ffmpeg.base_argv(), "-i", str(part), "-c", "copy", "-f", "framecrc", "-"])
        starts.append(total)
        total += sum(line[:1].isdigit() for line in counted.stdout.decode().splitlines())
        parts.append(part)
        turn += 1
    (folder / "list.txt").write_text("".join(f"file '{part}'\n" for part in parts))
    run(ffmpeg, "-f", "concat", "-safe", 0, "-i", folder / "list.txt", "-c", "copy", folder / "title.nut")
    return folder / "title.nut", total, starts


def spread_of(seen, truth, count: int) -> tuple[float, float]:
    """RMSE of the mean over a sample's own frames: as `tune` draws samples, and at random."""
    units = plan.units_of(seen.cuts(), len(truth))
    values = np.array([truth[unit.first : unit.last].mean() for unit in units])
    weights = np.array([unit.last - unit.first for unit in units], dtype=np.float64)
    hard = [seen.difficulty(unit) for unit in units]
    rng, errors = np.random.default_rng(1), []
    for seed in range(400):
        drawn = plan.stratified(hard, count, blocks=max(1, count // plan.BLOCK_SEGMENTS), seed=seed)
        at_random = rng.choice(len(units), count, replace=False)
        errors.append([float(weighted_mean(values[s], weights[s])) - truth.mean() for s in (drawn, at_random)])
    return tuple(np.sqrt((np.array(errors) ** 2).mean(axis=0)).tolist())


def judged(title, forecasts, asked, truth, tally):
    """What the trial of one encoder says, against the truth."""
    name, preset, rate_value = asked
    sample, measurer = title.sample, title.measurer
    tried, info = sample.tried(n_tried(len(sample.segments))), ENCODERS[name]
    each = {}
    for what, around in (("bare", (0, 0)), ("with 24", (24, 24))):
        started = time.monotonic()
        each[what] = measurer.measure_segments(sample, tried, info, preset, rate_value, what, around=around)
        if around == plan.around(name):
            tally["trial_s"], used = time.monotonic() - started, what
    own = np.array([truth[s.first : s.first + s.n_frames].mean() for s in (sample.segments[i] for i in tried)])
    for what, scored in each.items():
        gap = np.array([one.pooled_vmaf for one in scored]) - own
        tally[f"bias, {what}"] = [float(gap.mean()), float(gap.std(ddof=1))]
    measured = {index: one.pooled_vmaf for index, one in zip(tried, each[used], strict=True)}
    made = two_phase(forecasts, measured, sample.weights, sample.n_units)
    plain = float(weighted_mean(np.array(list(measured.values())), sample.weights[tried]))
    tally |= {
        "error": made.value - truth.mean(),
        "error, plain mean": plain - truth.mean(),
        "error, forecast alone": float(weighted_mean(forecasts, sample.weights)) - truth.mean(),
        "part": made.part(CONFIDENCE),
        "held": bool(made.value - made.part(CONFIDENCE) <= truth.mean()),
    }
    return tally


def bench(ffmpeg, manifest: Path, seconds: float, seed: int, probe_seconds: float, encoders: list[str]):
    """One record for each encoder."""
    ensemble = load_verified(registry_dir(), "vmaf_forecast_ensemble_v1").ensemble
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(seed)
        path, n_frames, starts = make_title(ffmpeg, manifest, int(seconds * RATE), rng, folder)
        reference = ReferenceInput(path, RATE, n_frames, SIZE)
        started = time.monotonic()
        seen = look(ffmpeg, reference, folder)
        look_s = time.monotonic() - started
        found = len(set(seen.cuts()) & set(starts))
        print(
            f"{n_frames} frames, {len(starts)} scenes: {found} found, {len(seen.cuts()) - found} more; "
            f"looked at in {look_s:.1f} s",
            flush=True,
        )
        with Measurer(ffmpeg, reference, None, None) as measurer:
            started = time.monotonic()
            title = probe_title(measurer, ensemble, encoders, probe_seconds)
            assert title.sample is not None, "the title is no longer than what is probed"
            probe_s = time.monotonic() - started
            for asked in (one for one in ASKED if one[0] in encoders):
                started = time.monotonic()
                truth = encode_and_score(
                    ffmpeg, reference, ENCODERS[asked[0]], *asked[1:], threads="auto"
                ).vmaf.astype(np.float64)
                tally = {
                    "encoder": f"{asked[0]} {asked[1]} {asked[2]:g}",
                    "frames": n_frames,
                    "truth": truth.mean(),
                    "segments": len(title.sample.segments),
                    "units": title.sample.n_units,
                    "tried": n_tried(len(title.sample.segments)),
                    "probe_s": probe_s,
                    "whole_s": time.monotonic() - started,
                    "spread": spread_of(seen, truth, len(title.sample.segments)),
                }
                forecaster = title.forecast(ensemble, *asked[:2]).forecaster(CONFIDENCE)
                forecasts = forecaster.forecasts[:, forecaster.at(asked[2])]
                yield judged(title, forecasts, asked, truth, tally)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--probe-seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoders", default=",".join(name for name, _, _ in ASKED))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    asked = (args.manifest, args.seconds, args.seed, args.probe_seconds, args.encoders.split(","))
    for tally in bench(find_ffmpeg(), *asked):
        text = json.dumps(
            {
                key: np.round(value, 3).tolist() if not isinstance(value, str | bool) else value
                for key, value in tally.items()
            }
        )
        print(text, flush=True)
        if args.json:
            with args.json.open("a") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
