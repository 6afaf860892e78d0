"""Libraries of one kind of content: the shipped margin beside one of 40 own titles.

    python bench/own_titles.py [data/corpus-360p] [--libraries 20] [--titles 40]

Titles are clips that the shipped forecast has not seen, with their measured curves. A kind is a third of them
by one feature of the first probe, so that nothing that came out decides it. A library is drawn from the clips
of its kind, with replacement. Each title is encoded as the shipped margin chooses, and its measurement has an
error of the metric's roughness. Nothing is known of the title's curve but that measurement. The margin is made
of the calibration and the library as `assay registry recalibrate` makes it. It then chooses for every clip of
the kind ("own"): the next title is drawn as the library was. Or the library is drawn from the other clips only
("left out"), about 17. Target 93, confidence 0.95, no trials.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.model.sidecar import ChoiceCalibration, probes_known
from vmaf_assay.promise.choice import Curve, calibrate_margin, replay
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.registry.store import load_verified, registry_dir
from vmaf_assay.training.rows import forecast_rows

TARGET, CONFIDENCE = 93.0, 0.95
FEATURES = ("motion2", "vif_scale0", "adm2")


def unseen(corpus_dir: Path) -> tuple[ChoiceCalibration, list[tuple[Curve, np.ndarray, dict[str, float]]]]:
    """The shipped calibration; of each unseen clip and encoder: curve, kbps at its rate values, features."""
    verified = load_verified(registry_dir(), "vmaf_forecast_ensemble_v1")
    calibration, sidecar = verified.calibration, verified.ensemble.sidecar
    assert isinstance(calibration, ChoiceCalibration)
    corpus = load_corpus(corpus_dir)
    rows = forecast_rows(corpus, sidecar.probes, vocabulary=sidecar.encoder_vocab_version)
    answer = verified.ensemble.predict(rows.features, rows.codec)
    kbps = {(c.source, c.encoder, c.preset, c.rate_value): c.kbps for c in corpus.cells}
    known_groups = {curve.group for curve in calibration.curves}
    seen = {(one.encoder, one.preset): one.rate_values for one in sidecar.seen.encoders}
    columns = {
        name: next(i for i, full in enumerate(rows.feature_names) if full.endswith(name)) for name in FEATURES
    }
    found = []
    keys = list(zip(rows.group, rows.source, rows.encoder, rows.preset, strict=True))
    for key in sorted(set(keys)):
        group, source, encoder, preset = key
        if group in known_groups or (encoder, preset) not in seen:
            continue
        at = [i for i, one in enumerate(keys) if one == key]
        at.sort(key=lambda i: rows.rate_value[i])
        rates = np.array([rows.rate_value[i] for i in at], dtype=np.float64)
        truth = np.array([rows.target[i] for i in at], dtype=np.float64)
        probed = {sidecar.probes[i].rate_value for i in probes_known(sidecar.probes, encoder, preset, more=False)}
        known = {float(r): float(t) for r, t in zip(rates, truth, strict=True) if r in probed}
        curve = Curve(group, source, encoder, preset, rates, answer.mu[at], answer.sigma[at], truth, known)
        bits = np.array([kbps[source, encoder, preset, float(r)] for r in rates])
        found.append((curve, bits, {name: float(rows.features[at[0], i]) for name, i in columns.items()}))
    return calibration, found


def judged(curve: Curve, kbps: np.ndarray, scale: float) -> tuple[float, float] | None:
    """Probability of a hit, and bits above the fewest that meet the target; None if nothing qualifies."""
    made = replay(curve, TARGET, 0)
    choice = made.forecaster.choose(TARGET, {}, scale)
    enough = np.flatnonzero(made.truth >= TARGET)
    if not choice.reachable or not len(enough):
        return None
    bits = np.exp(np.interp(made.forecaster.grid, curve.rate_values, np.log(kbps)))
    at = made.forecaster.at(choice.rate_value)
    return 1 - float(made.misses(TARGET)[at]), float(bits[at] / bits[enough[0]] - 1)


def title(curve: Curve, scale: float, number: int, rng: np.random.Generator) -> Curve | None:
    """A title of the library: only what one encode measured of it."""
    made = replay(curve, TARGET, 0)
    choice = made.forecaster.choose(TARGET, {}, scale)
    if not choice.reachable:
        return None
    truth = float(made.truth[made.forecaster.at(choice.rate_value)])
    measured = min(truth + rng.normal(0, made.forecaster.metric.roughness), made.forecaster.metric.ceiling)
    nothing = np.full(len(curve.mu), np.nan)
    return replace(
        curve, group=f"title {number}", truth=nothing, measured={choice.rate_value: measured}, targets=(TARGET,)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", default=Path("data/corpus-360p"))
    parser.add_argument("--libraries", type=int, default=20)
    parser.add_argument("--titles", type=int, default=40)
    parser.add_argument("--encoders", nargs="*", help="only these")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    calibration, clips = unseen(args.corpus)
    shipped = curves_of(calibration)
    print(
        "| encoder | kind | clips | hits: shipped | own | left out "
        "| bits above best: shipped | own | left out | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for encoder, preset in sorted({(curve.encoder, curve.preset) for curve, _, _ in clips}):
        if args.encoders and encoder not in args.encoders:
            continue
        asked = {"target": TARGET, "confidence": CONFIDENCE, "trials": 0}
        before = calibrate_margin(shipped, encoder, preset, **asked).scale
        near = [curve for curve in shipped if curve.encoder == encoder]
        mine = [one for one in clips if (one[0].encoder, one[0].preset) == (encoder, preset)]
        for feature in FEATURES:
            values = np.array([one[2][feature] for one in mine])
            low, high = np.quantile(values, [1 / 3, 2 / 3])
            kinds = {"low": values <= low, "middle": (values > low) & (values <= high), "high": values > high}
            for name, chosen in kinds.items():
                kind = [one for one, yes in zip(mine, chosen, strict=True) if yes]
                line = row(kind, near, before, args, rng)
                print(f"| {encoder} {preset} | {feature} {name} | {len(kind)} | {line} |", flush=True)


def row(kind: list, near: list[Curve], before: float, args: argparse.Namespace, rng: np.random.Generator) -> str:
    """Hit rates and bits above best of one kind, as cells of the table."""
    old, new, left_out = [], [], []
    asked = (kind[0][0].encoder, kind[0][0].preset)

    def own_scale(clips: list[Curve]) -> float:
        at = rng.integers(len(clips), size=args.titles)
        drawn = [title(clips[i], before, number, rng) for number, i in enumerate(at)]
        own = [one for one in drawn if one is not None]
        return calibrate_margin([*near, *own], *asked, target=TARGET, confidence=CONFIDENCE, trials=0).scale

    everything = [one[0] for one in kind]
    scales = [own_scale(everything) for _ in range(5 * args.libraries)]
    for left, (curve, kbps, _) in enumerate(kind):
        first = judged(curve, kbps, before)
        if first is None:
            continue
        old.append(first)
        new += [found for scale in scales if (found := judged(curve, kbps, scale)) is not None]
        others = [one for at, one in enumerate(everything) if at != left]
        apart = [judged(curve, kbps, own_scale(others)) for _ in range(args.libraries)]
        left_out += [found for found in apart if found is not None]
    was, now, out = (np.mean(found, axis=0) for found in (old, new, left_out))
    bits = " | ".join(f"{100 * one[1]:.1f} %" for one in (was, now, out))
    return f"{was[0]:.3f} | {now[0]:.3f} | {out[0]:.3f} | {bits} | {now[1] / was[1]:.2f}"


if __name__ == "__main__":
    main()
