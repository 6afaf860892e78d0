"""Load an ensemble, and check a registry."""

from pathlib import Path

from vmaf_assay.api.paths import PathLike, registry_of
from vmaf_assay.records import MEAN_VMAF, Measurand, OnStep
from vmaf_assay.registry import store
from vmaf_assay.registry.manifest import forecast_ensemble
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.registry.verify import RowReport
from vmaf_assay.registry.verify import verify_registry as _verify_registry

FORECAST_ENSEMBLE = forecast_ensemble(MEAN_VMAF)
"""The ensemble that forecasts mean VMAF v0.6.1 of 8-bit encodes."""
REGRESSOR_ENSEMBLE = "fr_regressor_v2_ensemble_v1"
"""The ensemble that scores encodes from their features."""


def load_ensemble(
    ensemble_id: str = FORECAST_ENSEMBLE, *, registry: PathLike | None = None, trust_policy: PathLike | None = None
) -> VerifiedEnsemble:
    """An ensemble whose every byte has been checked against the verdict that admitted it.

    Args:
      ensemble_id: the ensemble, without `_seedN` or `_mean`.
      registry: its folder; by default `$ASSAY_REGISTRY`, else the shipped one.
      trust_policy: whose signatures to accept; by default the file that `$ASSAY_TRUST_POLICY` names, if any.

    Raises:
      IntegrityError: it is missing, is scaffolded, does not verify, or is refused by the trust policy.

    >>> load_ensemble().verdict.verdict
    'PROMOTE'
    """
    policy = None if trust_policy is None else Path(trust_policy)
    return store.load_verified(registry_of(registry), ensemble_id, policy)


def load_forecast(
    measurand: Measurand, *, registry: PathLike | None = None, trust_policy: PathLike | None = None
) -> VerifiedEnsemble:
    """The ensemble that forecasts a measurand; if the registry has none, that of `FORECAST_ENSEMBLE`.

    With the latter a job is searched by encodes of its own, and nothing is promised.

    Args:
      measurand: what the target is of.
      registry: as of `load_ensemble`.
      trust_policy: likewise.

    Raises:
      IntegrityError: the ensemble there does not verify.

    >>> load_forecast(Measurand("vmaf_v0.6.1neg", "p1", 8)).verdict.ensemble
    'vmaf_forecast_ensemble_v1'
    """
    named = forecast_ensemble(measurand)
    held = (
        named == FORECAST_ENSEMBLE or store.read_registry(registry_of(registry)).row(f"{named}_mean") is not None
    )
    return load_ensemble(named if held else FORECAST_ENSEMBLE, registry=registry, trust_policy=trust_policy)


def verify_registry(
    registry: PathLike | None = None,
    *,
    deep: bool = False,
    trust_policy: PathLike | None = None,
    on_step: OnStep | None = None,
) -> list[RowReport]:
    """Check every byte of a registry and judge every verdict's held-out predictions again.

    Args:
      registry: its folder; by default `$ASSAY_REGISTRY`, else the shipped one.
      deep: recompute calibration and coverage as well (up to a minute).
      trust_policy: whose signatures to accept; by default the file that `$ASSAY_TRUST_POLICY` names, if any.
      on_step: called with what is being checked, rows done, rows in all.

    >>> {report.status for report in verify_registry()}
    {'production'}
    """
    trust = find_trust(None if trust_policy is None else Path(trust_policy))
    return _verify_registry(registry_of(registry), deep=deep, trust=trust, on_step=on_step)
