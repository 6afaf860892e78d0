"""Which ensembles can be trained, and what each answers in."""

from dataclasses import dataclass

from vmaf_assay.errors import ConfigError
from vmaf_assay.model.sidecar import Task
from vmaf_assay.records import FRAME_VMAF, MEAN_VMAF, Measurand
from vmaf_assay.registry.manifest import forecast_ensemble


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """An ensemble that can be trained."""

    task: Task
    """`fr` or `forecast`."""
    recipe: str
    """The recipe used when none is named."""


REGRESSOR = "fr_regressor_v2_ensemble_v1"
"""The ensemble that scores frames."""


def model_spec(model_id: str, answers: Measurand) -> ModelSpec:
    """How an ensemble is trained.

    Raises:
      ConfigError: there is no such ensemble, or it forecasts another measurand.
    """
    if model_id == REGRESSOR:
        return ModelSpec("fr", "adr-0303")
    named = forecast_ensemble(answers)
    if model_id != named:
        raise ConfigError(
            f"{model_id!r} is not the ensemble that forecasts {answers}",
            next_step=f"leave --model out for {named}, or name {REGRESSOR}",
        )
    return ModelSpec("forecast", "forecast-v1")


def answers_of(model_id: str, measurand: Measurand | None) -> Measurand:
    """What an ensemble answers in. The regressor reads what VMAF v0.6.1 reads, and answers in nothing else."""
    if model_id != REGRESSOR:
        return measurand or MEAN_VMAF
    if measurand not in (None, FRAME_VMAF):
        raise ConfigError(
            f"the regressor scores frames by {FRAME_VMAF}, not {measurand}", next_step="train a forecast"
        )
    return FRAME_VMAF
