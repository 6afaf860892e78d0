"""Runs that pass, and registries they were promoted into; made once, copied by whoever breaks them."""

import shutil
from pathlib import Path

import pytest

from tests.crafted import FORECAST, FR, held_out_predictions, make_run
from vmaf_assay.admission.judge import judge, write_verdict
from vmaf_assay.admission.promotion import promote
from vmaf_assay.registry.signing import generate_key, load_private_key
from vmaf_assay.training.evidence import load_run


def validated(folder: Path) -> Path:
    """The run with its verdict written."""
    write_verdict(folder, judge(load_run(folder)))
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Path]:
    """`first` and `second`: two regressors; `forecast`: another ensemble; `hold`: predictions that are poor."""
    folder = tmp_path_factory.mktemp("runs")
    poor = held_out_predictions(draw=5)
    poor = poor.with_columns(prediction=(poor["prediction"] + 40 * (poor["row"] % 2)).cast(poor["truth"].dtype))
    return {
        "first": validated(make_run(folder / "first")),
        "second": validated(
            make_run(
                folder / "second",
                weights_of=lambda seed: seed + 20,
                corpus="larger",
                predictions=held_out_predictions(draw=2, error=0.8),
            )
        ),
        "forecast": validated(
            make_run(folder / "forecast", model_id=FORECAST, predictions=held_out_predictions(n_groups=8))
        ),
        "hold": validated(make_run(folder / "hold", predictions=poor)),
    }


@pytest.fixture(scope="session")
def promoted(runs, tmp_path_factory) -> Path:
    """A registry that holds `first` and then `second`, so that it has a history, and `forecast`."""
    folder = tmp_path_factory.mktemp("promoted") / "registry"
    for name in ("first", "second", "forecast"):
        promote(load_run(runs[name]), folder)
    return folder


@pytest.fixture
def registry(promoted, tmp_path) -> Path:
    """A copy of it to break."""
    return shutil.copytree(promoted, tmp_path / "registry")


@pytest.fixture
def names() -> tuple[str, str]:
    """The two ensembles of `registry`."""
    return FR, FORECAST


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Two key pairs: the folder and the private key of each."""
    folders = [tmp_path_factory.mktemp("keys") / name for name in ("one", "two")]
    for folder in folders:
        generate_key(folder)
    return [(folder, load_private_key(folder)) for folder in folders]
