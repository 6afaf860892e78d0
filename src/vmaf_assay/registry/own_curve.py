"""The calibration of own-probe curves, recomputed from the measured curves of a verified forecast ensemble."""

from typing import TYPE_CHECKING

from vmaf_assay.errors import ConfigError
from vmaf_assay.model.sidecar import ChoiceCalibration, IntervalCalibration
from vmaf_assay.promise.calibrate import calibration_digest
from vmaf_assay.promise.curves import curves_of
from vmaf_assay.promise.own_curve import OwnCalibration, own_calibration
from vmaf_assay.records import OnStep
from vmaf_assay.registry.recompute import Check, first_difference

if TYPE_CHECKING:
    from vmaf_assay.registry.store import VerifiedEnsemble

OWN_CURVES = "own curves"
"""What the check is called."""

MAX_TRIALS = 2
"""As `tune.request.MAX_TRIALS`."""


def calibrate_from(verified: "VerifiedEnsemble", on_step: OnStep | None = None) -> OwnCalibration:
    """The calibration that an ensemble's measured curves give; takes a minute.

    Raises:
      ConfigError: the ensemble does not forecast.
    """
    from vmaf_assay.promise.own_calibrate import calibrate_own

    calibration = verified.calibration
    if not isinstance(calibration, ChoiceCalibration):
        raise ConfigError(f"{verified.verdict.ensemble} does not forecast", next_step="name a forecast ensemble")
    digest = calibration_digest(calibration.model_dump(mode="json"))
    return calibrate_own(curves_of(calibration), digest, MAX_TRIALS, on_step)


def compare_own(
    calibration: ChoiceCalibration | IntervalCalibration, digest: str, on_step: OnStep | None = None
) -> Check:
    """The shipped calibration of own-probe curves, beside what a forecast's calibration gives; takes a while.

    Args:
      calibration: recomputed from the held-out predictions.
      digest: its own.
      on_step: told how far that is.
    """
    from vmaf_assay.promise.own_calibrate import calibrate_own

    said = own_calibration()
    if said.calibration_sha256 != digest or not isinstance(calibration, ChoiceCalibration):
        return Check(OWN_CURVES, "not comparable", "own_curve.json is from another calibration")
    if why := differs(said, calibrate_own(curves_of(calibration), digest, MAX_TRIALS, on_step)):
        return Check(OWN_CURVES, "differs", f"the calibration does not give own_curve.json: {why}")
    passed = sum(one.passed for one in said.judged)
    return Check(OWN_CURVES, "agrees", f"{passed} of {len(said.judged)} passed with the encoder left out")


def differs(said: OwnCalibration, found: OwnCalibration) -> str:
    """Where two calibrations first differ, in words; empty if they agree."""
    return first_difference(said.model_dump(mode="json"), found.model_dump(mode="json"))
