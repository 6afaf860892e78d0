"""Whatever a loader is given, it answers or says in one line why not; and good bytes it takes."""

import random
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutate_bytes, mutate_json
from tests.fuzz.targets import RUN_FILES, make_targets
from vmaf_assay.errors import AssayError

WHOLE_RUN = [f"run-{name}" for name in RUN_FILES]
ALONE = (
    "json",
    "json-two-ways",
    "registry",
    "verdict",
    "manifest",
    "onnx-member",
    "onnx-mean",
    "cell",
    "corpus-index",
    "corpus-rows",
    "jsonl",
    "predictions",
    "table-parquet",
    "table-csv",
    "table-jsonl",
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Every loader, with its files in a folder of its own."""
    return make_targets(tmp_path_factory.mktemp("fuzz"))


def test_every_loader_is_tried(targets):
    """The lists here are the targets there are, and each takes its own good bytes."""
    assert set(targets) == {*WHOLE_RUN, *ALONE, "run-calibration-forecast"}
    for name, target in targets.items():
        for data in target.good:
            target.read(data)
            assert mutate_json(data, random.Random(0)) is None or name not in {"cell", "predictions"}


def try_mutants(targets, name: str, n_mutants: int) -> None:
    """Mutate a target's good bytes: what comes out is an answer or one line."""

    @settings(
        max_examples=n_mutants,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32), st.booleans())
    def mutant(seed: int, outer: bool) -> None:
        rng = random.Random(seed)
        data = rng.choice(targets[name].good)
        changed = mutate_bytes(data, rng) if outer else mutate_json(data, rng) or mutate_bytes(data, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            said = answer(targets[name].read, changed)
        assert said.isprintable()

    mutant()


def answer(read, data: bytes) -> str:
    """What a loader says of bytes it refuses; '' if it takes them."""
    try:
        read(data)
    except AssayError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ALONE)
def test_a_loader_never_breaks(targets, name):
    """Mutants of a good file: an answer, or an AssayError of one printable line; nothing else, no warning."""
    try_mutants(targets, name, 40)


@pytest.mark.parametrize("name", WHOLE_RUN)
def test_a_run_with_one_hostile_file_never_breaks(targets, name):
    """The same for a whole run in which one file was replaced and every digest adjusted."""
    try_mutants(targets, name, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ALONE, *WHOLE_RUN, "run-calibration-forecast"])
def test_loaders_never_break_at_length(targets, name):
    """Many more mutants."""
    try_mutants(targets, name, 300 if name.startswith("run-") else 5000)
