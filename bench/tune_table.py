"""`tune` with 0, 1 and 2 trials beside ab-av1's search, Av1an's, bisection and a full grid, in real encodes.

    python bench/tune_table.py RUN MANIFEST SOURCE... --encodes FILE [-e libx264:medium] [--grid-only | --no-grid]

RUN is a finished `assay train` of the forecast ensemble, SOURCE a source of its corpus (`fire@640x360`). What is
judged has not been seen: the forecast is the one of the models that left the source's group out, and the margin is
calibrated on the other groups alone. Every encode that any method asks for is made once, whole, one at a time, on
a final encode's threads, and kept in FILE with its wall and CPU seconds, so that a run that was interrupted goes
on; each method is charged for all it asked for. `Best` is the cheapest encode that meets the target of all that
were made. Not charged, because every method needs it: the final encode and its check.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

import ab_av1
import av1an
from choice import read_curves
from vmaf_assay.corpus.measure import decode
from vmaf_assay.corpus.plan import references_of
from vmaf_assay.corpus.sources import sources_from_manifest
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.model.features import DEFAULT_PROBES
from vmaf_assay.model.sidecar import probes_known, probes_read
from vmaf_assay.promise.choice import Curve, Forecaster, calibrate_margin, trial_rate

ENCODERS = (
    "libx264:medium",
    "libx265:medium",
    "libsvtav1:8",
    "libsvtav1:4",
    "libx265:slow",
    "libvvenc:faster",
)


@dataclass(frozen=True)
class Encode:
    """One encode of a whole clip, scored."""

    vmaf: float
    """Mean, points."""
    kbps: float
    """Bitrate."""
    frames: int
    """Frames encoded and scored."""
    wall_s: float
    """Wall seconds of encode, decode and score, in one process."""
    cpu_s: float
    """CPU seconds of the same."""


class Encodes:
    """Every encode that was made, in a file that a later run goes on with."""

    def __init__(self, file: Path, ffmpeg: Ffmpeg, references: dict[str, ReferenceInput]) -> None:
        self._file, self._ffmpeg, self._references = file, ffmpeg, references
        lines = file.read_text().splitlines() if file.exists() else []
        self.made = {tuple(key): Encode(**values) for key, values in map(json.loads, lines)}

    def get(self, clip: str, encoder: str, preset: str, rate_value: float) -> Encode:
        """An encode, made if it is not there."""
        key = (clip, encoder, preset, round(float(rate_value), 4))
        if key not in self.made:
            self.made[key] = self._encode(*key)
            with self._file.open("a") as out:
                out.write(json.dumps([key, asdict(self.made[key])]) + "\n")
        return self.made[key]

    def _encode(self, clip: str, encoder: str, preset: str, rate_value: float) -> Encode:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        info, reference = encoder_info(encoder), self._references[clip]
        scored = encode_and_score(self._ffmpeg, reference, info, preset, rate_value)
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Encode(float(scored.vmaf.mean()), scored.kbps, len(scored.vmaf), wall, cpu)


@dataclass(frozen=True)
class Outcome:
    """What a method did for one clip, encoder and target."""

    answer: Encode | None
    """The encode it ends with, None if it gives up."""
    trials: list[Encode]
    """Encodes in the target encoder before the final one."""
    probes: list[Encode]
    """Probe encodes, which serve every target and every encoder of a family."""


@dataclass(frozen=True)
class Case:
    """One clip with one encoder and preset: what every method may ask for."""

    encodes: Encodes
    clip: str
    encoder: str
    preset: str
    low: float
    high: float

    def at(self, rate_value: float) -> Encode:
        """The encode at a rate value."""
        return self.encodes.get(self.clip, self.encoder, self.preset, rate_value)

    def grid(self) -> list[float]:
        """Every whole rate value of the range that forecasts cover, cheapest first."""
        return [float(rate) for rate in range(int(self.high), int(self.low) - 1, -1)]


def tuned(case: Case, curves: Sequence[Curve], target: float, confidence: float, n: int, more: bool) -> Outcome:
    """`assay tune --trials n`: forecasts and margin are from without the clip's group."""
    own, *others = curves
    made = {*probes_read(DEFAULT_PROBES, case.encoder)}
    made |= {*probes_known(DEFAULT_PROBES, case.encoder, case.preset, more=more)}
    probes = [
        case.encodes.get(case.clip, probe.encoder, probe.preset, probe.rate_value)
        for probe in (DEFAULT_PROBES[i] for i in sorted(made))
    ]
    forecaster, measured = Forecaster(own), dict[float, float]()
    try:
        margin = calibrate_margin(
            others, case.encoder, case.preset, target=target, confidence=confidence, trials=n
        )
    except ConfigError:
        return Outcome(None, [], probes)
    for _ in range(n):
        rate_value = trial_rate(forecaster, target, measured)
        if rate_value is None:
            break
        measured[rate_value] = case.at(rate_value).vmaf
    choice = forecaster.choose(target, measured, margin.scale)
    answer = case.at(choice.rate_value) if choice.reachable else None
    return Outcome(answer, [case.at(rate_value) for rate_value in measured], probes)


def by_ab_av1(case: Case, target: float) -> Outcome:
    """ab-av1's `crf-search` with its defaults, as far as our ffmpeg takes them: SVT-AV1 by whole CRF, up to 63."""
    attempts: list[Encode] = []

    def measure(rate_value: float) -> tuple[float, float]:
        attempts.append(case.at(rate_value))
        return attempts[-1].vmaf, 0.0

    info = encoder_info(case.encoder)
    low, high, step = ab_av1.DEFAULTS.get(case.encoder, ab_av1.OTHERS)
    found = ab_av1.search(
        measure,
        target=target,
        encoder=case.encoder,
        rate_min=max(low, info.rate_min),
        rate_max=min(high, info.rate_max),
        rate_step=max(step, info.rate_step),
    )
    return Outcome(None if found.rate_value is None else case.at(found.rate_value), attempts, [])


def by_av1an(case: Case, target: float) -> Outcome:
    """Av1an's `--target-quality`, the clip as one scene."""
    span = None if case.encoder in av1an.RANGES else (case.low, case.high, encoder_info(case.encoder).rate_step)
    found = av1an.search(lambda rate: case.at(rate).vmaf, target=target, encoder=case.encoder, span=span)
    return Outcome(case.at(found.rate_value), [case.at(rate) for rate in found.attempts], [])


def by_bisection(case: Case, target: float) -> Outcome:
    """Halving the whole rate values until the cheapest that meets the target is left."""
    grid, attempts, answer = case.grid(), [], None
    low, high = 0, len(grid) - 1
    while low <= high:
        middle = (low + high) // 2
        attempts.append(case.at(grid[middle]))
        if attempts[-1].vmaf >= target:
            answer, high = attempts[-1], middle - 1
        else:
            low = middle + 1
    return Outcome(answer, attempts, [])


def by_grid(case: Case, target: float) -> Outcome:
    """Every whole rate value."""
    attempts = [case.at(rate_value) for rate_value in case.grid()]
    meets = [one for one in attempts if one.vmaf >= target]
    return Outcome(min(meets, key=lambda one: one.kbps) if meets else None, attempts, [])


def table(
    cases: Sequence[tuple[Case, Sequence[Curve], Sequence[Curve]]],
    targets: Sequence[float],
    confidences: list[float],
    *,
    grid: bool = True,
):
    """Rows of the table, by encoder and method; a dict a row.

    Args:
      cases: each with its held-out curve and those of the other groups: led by few probes, and by more.
      targets: asked for.
      confidences: asked for.
      grid: whether to make the full grid too.
    """
    asked = [(*case, target) for case in cases for target in targets]
    methods: dict[str, Callable[..., Outcome]] = {}
    for confidence, n in product(confidences, (0, 1, 2)):
        methods[f"`--trials {n}`, few probes, {confidence:g}"] = (
            lambda case, few, more, target, c=confidence, n=n: tuned(case, few, target, c, n, False)
        )
        if n < 2:
            methods[f"`--trials {n}`, more probes, {confidence:g}"] = (
                lambda case, few, more, target, c=confidence, n=n: tuned(case, more, target, c, n, True)
            )
    for name, method in (
        ("ab-av1", by_ab_av1),
        ("Av1an", by_av1an),
        ("bisection", by_bisection),
        *([("full grid", by_grid)] if grid else []),
    ):
        methods[name] = lambda case, few, more, target, method=method: method(case, target)
    outcomes = {name: [method(*one) for one in asked] for name, method in methods.items()}
    rows = []
    for encoder, preset in dict.fromkeys((case.encoder, case.preset) for case, *_ in asked):
        mine = [i for i, (case, *_) in enumerate(asked) if (case.encoder, case.preset) == (encoder, preset)]
        # Asked last: by now every method has made its encodes, and the cheapest of them all is the best.
        best = {i: _best(asked[i][0], asked[i][3]) for i in mine}
        reachable = [i for i in mine if best[i] is not None]
        wanted, cheapest = [asked[i][3] for i in reachable], [best[i] for i in reachable]
        for name, made in outcomes.items():
            figures = _row([made[i] for i in reachable], wanted, cheapest)
            rows.append({"encoder": f"{encoder} {preset}", "method": name, "asked": len(reachable)} | figures)
    return rows


def _best(case: Case, target: float) -> float | None:
    """The bitrate of the cheapest encode that meets the target."""
    mine = (case.clip, case.encoder, case.preset)
    meets = [one.kbps for key, one in case.encodes.made.items() if key[:3] == mine and one.vmaf >= target]
    return min(meets, default=None)


def _row(outcomes: Sequence[Outcome], targets: Sequence[float], best: Sequence[float]) -> dict[str, float]:
    answered = [(o, t, b) for o, t, b in zip(outcomes, targets, best, strict=True) if o.answer is not None]
    spent = [[*one.probes, *one.trials] for one in outcomes]
    return {
        "answered": len(answered),
        "met": sum(o.answer.vmaf >= t for o, t, _ in answered),
        "above_target": float(np.mean([o.answer.vmaf - t for o, t, _ in answered])) if answered else np.nan,
        "above_best": 100 * float(np.mean([o.answer.kbps / b - 1 for o, _, b in answered]))
        if answered
        else np.nan,
        "probes": float(np.mean([len(one.probes) for one in outcomes])),
        "encodes": float(np.mean([len(one.trials) for one in outcomes])),
        "frames": float(np.mean([sum(e.frames for e in one) for one in spent])),
        "wall_s": float(np.mean([sum(e.wall_s for e in one) for one in spent])),
        "cpu_s": float(np.mean([sum(e.cpu_s for e in one) for one in spent])),
    }


def decoded_references(
    ffmpeg: Ffmpeg, manifest: Path, names: Sequence[str], folder: Path
) -> dict[str, ReferenceInput]:
    """The sources at the size and length the corpus has them in, decoded."""
    by_name = {source.name: source for source in sources_from_manifest(manifest)}
    made = {}
    for name in names:
        source = by_name[name.partition("@")[0]]
        renditions = references_of(ffmpeg, source, sizes=[(1280, 720), (640, 360)], max_frames=72)
        rendition = next(one for one in renditions if one.name == name)
        made[name] = decode(ffmpeg, rendition, folder / f"{source.name}.y4m")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--encodes", type=Path, required=True)
    parser.add_argument("-e", "--encoder", action="append")
    parser.add_argument("--targets", type=float, nargs="+", default=[85, 90, 93, 95])
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.95])
    parser.add_argument(
        "--grid-only", action="store_true", help="make the encodes that need no forecast, and stop"
    )
    parser.add_argument("--no-grid", action="store_true", help="no full grid; `best` is of what the others made")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    ffmpeg, curves = find_ffmpeg(), [read_curves(args.run, more_probes=more) for more in (False, True)]
    with tempfile.TemporaryDirectory() as name:
        encodes = Encodes(
            args.encodes, ffmpeg, decoded_references(ffmpeg, args.manifest, args.sources, Path(name))
        )
        cases = []
        for clip in args.sources:
            for text in args.encoder or ENCODERS:
                encoder, _, preset = text.partition(":")
                own = [
                    [c for c in of if (c.source, c.encoder, c.preset) == (clip, encoder, preset)] for of in curves
                ]
                if not own[0]:
                    raise SystemExit(f"{args.run} has no held-out curve of {clip} with {text}")
                (one,) = own[0]
                others = [[c for c in of if c.group != one.group] for of in curves]
                case = Case(
                    encodes, clip, encoder, preset, float(one.rate_values.min()), float(one.rate_values.max())
                )
                cases.append((case, own[0] + others[0], own[1] + others[1]))
                if args.grid_only:
                    by_grid(cases[-1][0], 0)
                    for method in (by_ab_av1, by_av1an):
                        for target in args.targets:
                            method(cases[-1][0], target)
                    print(clip, text, len(encodes.made), flush=True)
        if args.grid_only:
            return
        rows = table(cases, args.targets, args.confidence, grid=not args.no_grid)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(
        "| encoder | method | met / answered | VMAF above | above best | probes + encodes | frames | wall | CPU |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['encoder']} | {r['method']} | {r['met']} / {r['answered']} of {r['asked']} | "
            f"{r['above_target']:.2f} | {r['above_best']:.1f} % | {r['probes']:.0f} + {r['encodes']:.1f} | "
            f"{r['frames']:.0f} | {r['wall_s']:.1f} s | {r['cpu_s']:.1f} s |"
        )


if __name__ == "__main__":
    main()
