"""What the choice costs on sources it never saw, beside ab-av1's search.

    python bench/choice.py CORPUS RUN [--confidence 0.8 0.9 0.95] [--targets 80 85 90 93 95 97] [--json]

Every source's rate value is chosen with forecasts and a margin from the other groups alone. Truth between the
measured rate values is monotone PCHIP, of VMAF and of ln(kbps); trials are read off it, and so are the attempts of
ab-av1's search (its defaults, no size limit, the range of CRF measured here). Nothing is sampled: each trial and
each attempt is an encode of the whole source. Probes are not counted (two, and with `more probes` the further ones
that there are of that encoder and preset; they serve any number of targets). `Best` is on the grid
`tune` chooses from; ab-av1 tries quarters of a CRF with SVT-AV1, so it can fall below it.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

import ab_av1
from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.model.sidecar import ChoiceCalibration
from vmaf_assay.promise.choice import Curve, cross_fitted_choices, interpolate, replay
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.records import Measurand
from vmaf_assay.training.schema import CalibrationFile

TARGETS = (80.0, 85.0, 90.0, 93.0, 95.0, 97.0)
CONFIDENCES = (0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Outcome:
    """One source's encode."""

    group: str
    """Its group."""
    vmaf: float
    """Smooth truth at the rate value chosen, points."""
    hit: float
    """The chance that the encode meets the target, in [0, 1]: 0 or 1 at a trial, elsewhere VMAF is rough."""
    excess: float
    """Bitrate over that of the cheapest rate value that meets the target, minus 1; NaN if none does."""
    encodes: int
    """Trials, or attempts of the search."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    encoder: str
    """Encoder and preset."""
    method: str
    """`assay N` with N trials, the same with `, more probes`, or `ab-av1`."""
    confidence: float
    """Asked for; ab-av1's search knows none."""
    target: float
    """Pooled VMAF asked for, points."""
    reachable: int
    """Sources whose best measured encode meets the target."""
    answered: int
    """Of those, sources that got an encode."""
    groups: int
    """Groups among the sources that got an encode."""
    hit_rate: float
    """Mean over groups of the share of encodes that meet the target."""
    above_target: float
    """Mean VMAF above the target, points."""
    excess_mean: float
    """Mean bitrate above the best possible, percent."""
    excess_median: float
    """Median of the same."""
    encodes: float
    """Mean encodes in the target encoder before the final one."""


class Truth:
    """Measured curves of one source, encoder and preset."""

    def __init__(self, curve: Curve, kbps: dict[tuple[str, str, str, float], float]) -> None:
        made = replay(curve, 0.0, 0)
        self.curve, self.grid, self._ascending = curve, made.forecaster.grid, curve.rate_values
        self.on_grid = made.truth
        self._ln_kbps = np.log([kbps[curve.source, curve.encoder, curve.preset, r] for r in curve.rate_values])
        self._made = made

    def vmaf(self, rate_value: float) -> float:
        """Truth at any rate value, points."""
        order = np.argsort(self.grid)
        return float(np.interp(rate_value, self.grid[order], self.on_grid[order]))

    def kbps(self, rate_value: float) -> float:
        """Bitrate at any rate value."""
        return float(np.exp(interpolate(self._ascending, self._ln_kbps, np.array([rate_value]))[0]))

    def best(self, target: float) -> float | None:
        """The cheapest rate value on the grid that meets the target."""
        meets = np.flatnonzero(self.on_grid >= target - 1e-9)
        return float(self.grid[meets[0]]) if len(meets) else None

    def outcome(self, rate_value: float, target: float, encodes: int, hit: float) -> Outcome:
        """What an encode at a rate value would be."""
        best = self.best(target)
        excess = np.nan if best is None else self.kbps(rate_value) / self.kbps(best) - 1
        return Outcome(self.curve.group, self.vmaf(rate_value), hit, excess, encodes)


def of_depth(corpus: Corpus, run: Path) -> Corpus:
    """The cells of the depth that a run forecasts: bitrates are looked up by encoder, preset and rate value."""
    calibration = CalibrationFile.model_validate_json((run / "calibration.json").read_text()).calibration
    depth = Measurand.parse(calibration.measurand).bit_depth
    cells = tuple(cell for cell in corpus.cells if Measurand.parse(cell.measurand).bit_depth == depth)
    return replace(corpus, cells=cells)


def truths(curves: Sequence[Curve], corpus: Corpus) -> dict[tuple[str, str, str], Truth]:
    """By source, encoder and preset."""
    kbps = {(c.source, c.encoder, c.preset, c.rate_value): c.kbps for c in corpus.cells}
    return {(c.source, c.encoder, c.preset): Truth(c, kbps) for c in curves}


def assay(
    curves: Sequence[Curve], known: dict, encoder: str, preset: str, target: float, confidence: float, trials: int
) -> list[Outcome]:
    """Cross-fitted choices of `tune`."""
    made = cross_fitted_choices(curves, encoder, preset, target=target, confidence=confidence, trials=trials)
    return [
        known[one.curve.source, encoder, preset].outcome(
            one.choice.rate_value, target, len(one.trials), 1.0 - one.missed
        )
        for choices in made.values()
        for one in choices
    ]


def searched(known: dict, encoder: str, preset: str, target: float) -> list[Outcome]:
    """ab-av1's search on the same truths."""
    outcomes = []
    for (_, name, its_preset), truth in known.items():
        if (name, its_preset) != (encoder, preset):
            continue
        found = ab_av1.search(
            lambda rate_value, truth=truth: (truth.vmaf(rate_value), 0.0),
            target=target,
            encoder=encoder,
            rate_min=float(truth.grid.min()),
            rate_max=float(truth.grid.max()),
        )
        if found.rate_value is not None:
            met = float(truth.vmaf(found.rate_value) >= target - 1e-9)
            outcomes.append(truth.outcome(found.rate_value, target, len(found.attempts), met))
    return outcomes


def row(
    encoder: str, preset: str, method: str, confidence: float, target: float, known: dict, outcomes: list[Outcome]
) -> Row:
    """Summarise; means over sources, the hit rate over groups."""
    hits: dict[str, list[float]] = {}
    for one in outcomes:
        hits.setdefault(one.group, []).append(one.hit)
    mine = [truth for (_, e, p), truth in known.items() if (e, p) == (encoder, preset)]
    excess = [100 * one.excess for one in outcomes if np.isfinite(one.excess)]

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values)) if len(values) else float("nan")

    return Row(
        encoder=f"{encoder} {preset}",
        method=method,
        confidence=confidence,
        target=target,
        reachable=sum(truth.best(target) is not None for truth in mine),
        answered=len(excess),
        groups=len(hits),
        hit_rate=mean([float(np.mean(group)) for group in hits.values()]),
        above_target=mean([one.vmaf - target for one in outcomes]),
        excess_mean=mean(excess),
        excess_median=float(np.median(excess)) if excess else float("nan"),
        encodes=mean([one.encodes for one in outcomes]),
    )


def compare(
    curves: Sequence[Curve],
    corpus: Corpus,
    confidences: Sequence[float],
    targets: Sequence[float],
    led_further: Sequence[Curve] = (),
) -> list[Row]:
    """The whole table.

    Args:
      curves: held-out curves, with what the probes that are read know of them.
      corpus: which has their bitrates.
      confidences: asked for.
      targets: asked for.
      led_further: the same curves with what all probes know; only pairs that have further ones count.
    """
    known = truths(curves, corpus)
    rows = []
    for encoder, preset in sorted({(c.encoder, c.preset) for c in curves}):
        own = [[c.known for c in of if (c.encoder, c.preset) == (encoder, preset)] for of in (curves, led_further)]
        kinds = [("", curves), *([(", more probes", led_further)] if own[1] and own[0] != own[1] else [])]
        for target in targets:
            for trials, (suffix, of), confidence in product((0, 1, 2), kinds, confidences):
                made = assay(of, known, encoder, preset, target, confidence, trials)
                rows.append(row(encoder, preset, f"assay {trials}{suffix}", confidence, target, known, made))
            found = searched(known, encoder, preset, target)
            rows.append(row(encoder, preset, "ab-av1", float("nan"), target, known, found))
    return rows


def below_nominal(r: Row) -> bool:
    """Whether so few hits come with a probability under 5 % if groups are hit as often as promised."""
    return bool(r.hit_rate * r.groups < stats.binom.ppf(0.05, r.groups, r.confidence) - 1e-9)


def read_curves(run: Path, *, more_probes: bool = False) -> list[Curve]:
    """Held-out curves of a run of the forecast ensemble; see `runs.store.curves_of`."""
    document = json.loads((run / "calibration.json").read_text(encoding="utf-8"))
    calibration = CalibrationFile.model_validate(document).calibration
    if not isinstance(calibration, ChoiceCalibration):
        raise SystemExit(f"{run} is not a run of the forecast ensemble")
    return curves_of(calibration, more_probes=more_probes)


def summary(rows: Sequence[Row]) -> pl.DataFrame:
    """Means over targets, by encoder, method and confidence."""
    return (
        pl.DataFrame([asdict(r) for r in rows])
        .group_by("encoder", "method", "confidence", maintain_order=True)
        .agg(pl.col("hit_rate", "above_target", "excess_mean", "excess_median", "encodes").mean())
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--confidence", type=float, nargs="+", default=CONFIDENCES)
    parser.add_argument("--targets", type=float, nargs="+", default=TARGETS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    few, more = (read_curves(args.run, more_probes=further) for further in (False, True))
    rows = compare(few, of_depth(load_corpus(args.corpus), args.run), args.confidence, args.targets, more)
    if args.json:
        print(json.dumps([asdict(r) for r in rows], indent=1))
        return
    print("| encoder | method | confidence | target | answered | hit rate | above | excess | median | encodes |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r.encoder} | {r.method} | {r.confidence:g} | {r.target:g} | {r.answered}/{r.reachable} | "
            f"{r.hit_rate:.3f} | {r.above_target:.2f} | {r.excess_mean:.1f} % | {r.excess_median:.1f} % | "
            f"{r.encodes:.1f} |"
        )
    asked = [r for r in rows if r.method != "ab-av1"]
    short = [r for r in asked if below_nominal(r)]
    print(
        f"\n{len(asked)} hit rates, {len(short)} of them below nominal by more than chance (5 % each, by group):"
    )
    for r in short:
        print(f"  {r.encoder}, {r.method}, {r.confidence:g}, target {r.target:g}: {r.hit_rate:.3f} of {r.groups}")
    print("\n| encoder | method | confidence | hit rate | VMAF above | excess bitrate | encodes |")
    print("|---|---|---|---|---|---|---|")
    for r in summary(rows).iter_rows(named=True):
        print(
            f"| {r['encoder']} | {r['method']} | {r['confidence']:g} | {r['hit_rate']:.3f} | "
            f"{r['above_target']:.2f} | {r['excess_mean']:.1f} % | {r['encodes']:.1f} |"
        )


if __name__ == "__main__":
    main()
