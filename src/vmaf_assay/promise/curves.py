"""Held-out curves of a calibration, as the choice reads them."""

import numpy as np

from vmaf_assay.model.sidecar import ChoiceCalibration, probes_known
from vmaf_assay.promise.choice import Curve
from vmaf_assay.records import Measurand


def curves_of(calibration: ChoiceCalibration, *, more_probes: bool = False) -> list[Curve]:
    """Held-out curves as arrays, with the probes' measurements of each.

    Args:
      calibration: of a forecast.
      more_probes: True uses every probe of a curve's encoder and preset, not only those a forecast reads.
    """
    measurand = Measurand.parse(calibration.measurand)
    known: dict[tuple[str, str], list[float]] = {}
    for curve in calibration.curves:
        pair = curve.encoder, curve.preset
        if pair not in known:
            depth = measurand.bit_depth
            indices = probes_known(calibration.probes, *pair, more=more_probes, bit_depth=depth)
            known[pair] = [calibration.probes[index].rate_value for index in indices]
    return [
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
