"""Held-out curves of a calibration, as the choice reads them."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vmaf_assay.model.sidecar import ChoiceCalibration, TitleCurve, probes_known
from vmaf_assay.promise.choice import Curve
from vmaf_assay.records import Measurand

MOST_OF_ONE = 20
"""Titles that one host or one day may always count as, however few the others are."""


def curves_of(calibration: ChoiceCalibration, *, more_probes: bool = False, titles: bool = False) -> list[Curve]:
    """Held-out curves as arrays, with the probes' measurements of each.

    Args:
      calibration: of a forecast.
      more_probes: True uses every probe of a curve's encoder and preset, not only those a forecast reads.
      titles: True adds the user's own titles, whose truth is known near their measured scores only.
    """
    measurand = Measurand.parse(calibration.measurand)
    known: dict[tuple[str, str], list[float]] = {}
    for curve in calibration.curves:
        pair = curve.encoder, curve.preset
        if pair not in known:
            depth = measurand.bit_depth
            indices = probes_known(calibration.probes, *pair, more=more_probes, bit_depth=depth)
            known[pair] = [calibration.probes[index].rate_value for index in indices]
    own = _titles(calibration.titles, measurand) if titles else []
    return own + [
        Curve(
            group=c.group,
            source=c.source,
            encoder=c.encoder,
            preset=c.preset,
            measurand=measurand,
            rate_values=np.array(c.rate_values),
            mu=np.array(c.mu),
            sigma=np.array(c.sigma),
            truth=np.array(c.truth),
            known={
                rate_value: truth
                for rate_value, truth in zip(c.rate_values, c.truth, strict=True)
                if rate_value in known[c.encoder, c.preset]
            },
        )
        for c in calibration.curves
    ]


def _titles(titles: Sequence[TitleCurve], measurand: Measurand) -> list[Curve]:
    weights = title_weights(titles)
    return [
        Curve(
            group=f"title {one.title}",
            source=one.title,
            encoder=one.encoder,
            preset=one.preset,
            measurand=measurand,
            rate_values=np.array(one.rate_values),
            mu=np.array(one.mu),
            sigma=np.array(one.sigma),
            truth=np.full(len(one.mu), np.nan),
            known={rate: vmaf for rate, vmaf in one.known},
            measured={rate: vmaf for rate, vmaf in one.measured},
            targets=tuple(one.targets),
            weight=weight,
        )
        for one, weight in zip(titles, weights, strict=True)
    ]


def title_weights(titles: Sequence[TitleCurve]) -> list[float]:
    """How many titles each counts as, in (0, 1], so that no host and no day outweighs all others (ADR-0440).

    The titles of a host, and of a day, together count as many as those of all others with that encoder, or as
    `MOST_OF_ONE`, whichever is more. A single host is the user's own.
    """
    of = Counter((one.encoder, name) for one in titles for name in (one.host, one.day))
    total, hosts = Counter(one.encoder for one in titles), Counter[str]()
    for encoder, _ in {(one.encoder, one.host) for one in titles}:
        hosts[encoder] += 1
    weights = []
    for one in titles:
        names = [one.day] if hosts[one.encoder] == 1 else [one.day, one.host]
        counts = [of[one.encoder, name] for name in names]
        weights.append(min(1.0, *(max(MOST_OF_ONE, total[one.encoder] - n) / n for n in counts)))
    return weights
