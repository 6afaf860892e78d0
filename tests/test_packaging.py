"""What is shipped, and what starting the command costs."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import vmaf_assay
from tests.crafted import FORECAST
from vmaf_assay.admission.lifecycle import rollback
from vmaf_assay.admission.promotion import Who
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import process
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.registry.verify import verify_registry

ROOT = Path(__file__).parents[1]
PACKAGE = Path(vmaf_assay.__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built by the backend itself, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(path)


def test_wheel_holds_the_package_and_nothing_else(wheel):
    """Every file of the package is shipped but the models' history; no test, document or cache is."""
    depth = len(PACKAGE.parts)
    expected = {
        f"vmaf_assay/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and not any(part.startswith((".", "__pycache__")) for part in path.parts[depth:])
        and path.parent != PACKAGE / "models" / "history"
    }
    shipped = set(wheel.namelist())
    info = f"vmaf_assay-{vmaf_assay.__version__}.dist-info"
    assert {name for name in shipped if not name.startswith(f"{info}/")} == expected
    assert {name.removeprefix(f"{info}/") for name in shipped if name.startswith(f"{info}/")} == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_source_archive_is_the_checkout():
    """Every tracked file is in it, so `make test` and `make demo` run from an unpacked archive."""
    names = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    names.add("pyproject.toml")  # hatchling adds it by itself
    needed = {
        "Makefile",
        "scripts/check",
        "scripts/demo_clip.py",
        "data/corpus/corpus.json",
        ".ci/run",
        "mkdocs.yml",
    }
    assert needed <= names
    assert any(name.startswith("src/vmaf_assay/models/history/") for name in names)
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
        assert set(filter(None, listed.stdout.split("\0"))) - names == set()


def test_wheel_is_small(wheel):
    """At most 4.4 MB: four ensembles in force with their evidence, all verdicts, not what a rollback needs."""
    assert Path(wheel.filename).stat().st_size <= 4_400_000


def test_the_registry_of_a_wheel_verifies(wheel, tmp_path):
    """Without the history every row verifies and loads; a checkout brings back the rest."""
    for name in wheel.namelist():
        if name.startswith("vmaf_assay/models/"):
            wheel.extract(name, tmp_path)
    models = tmp_path / "vmaf_assay" / "models"
    statuses = {report.status for report in verify_registry(models)}
    assert statuses == {"production", "not here"}
    assert load_verified(models, FORECAST).confidence_eligible
    with pytest.raises(ConfigError, match="--from"):
        rollback(models, FORECAST, Who(reason="misses"), to=1)
    assert rollback(models, FORECAST, Who(reason="misses"), to=1, source=PACKAGE / "models").act.kind == "rollback"
    assert load_verified(models, FORECAST).verdict.act.kind == "rollback"


def test_wheel_is_typed_and_licensed(wheel):
    """The wheel carries py.typed, both commands and the licence the classifiers promise."""
    info = f"vmaf_assay-{vmaf_assay.__version__}.dist-info"
    assert "vmaf_assay/py.typed" in wheel.namelist()
    assert "License-Expression: BSD-2-Clause-Patent" in wheel.read(f"{info}/METADATA").decode()
    commands = re.findall(r"^(\S+) = ", wheel.read(f"{info}/entry_points.txt").decode(), re.MULTILINE)
    assert sorted(commands) == ["assay", "vmaf-tune"]


def test_one_licence():
    """Package, models' rows, model card and contributions name the same licence."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"]
    assert {row.license for row in read_registry(PACKAGE / "models").rows} == {package}
    for page in ("README.md", "CONTRIBUTING.md", "src/vmaf_assay/models/MODEL_CARD.md"):
        said = set(
            re.findall(r"\b(MIT|Apache-2\.0|[LA]?GPL[\w.+-]*|BSD-\d[\w-]*)", (ROOT / page).read_text("utf-8"))
        )
        assert said == {package}, page


def test_version_is_written_once():
    """No other tracked file of the project says which version it is, but the changelog, whose newest it is."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r"^version\b", project, re.MULTILINE) == []
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (?:\d{4}-\d\d-\d\d|not yet released)$", text, re.MULTILINE)
    assert releases[0] == vmaf_assay.__version__
    assert releases == sorted(releases, key=lambda name: [*map(int, name.split("."))], reverse=True)


def modules_after(*argv: str) -> set[str]:
    """The top-level modules that one command line imports, and its exit code as `exit N`."""
    code = (
        "import sys; from vmaf_assay.cli.main import main; code = main(sys.argv[1:]);"
        "print('MODULES', f'exit-{code}', *{name.split('.')[0] for name in sys.modules})"
    )
    done = process.run([sys.executable, "-c", code, *argv], timeout_s=60)
    assert done.exit_code == 0, done.stderr
    last = done.stdout.decode().splitlines()[-1].split()
    assert last[0] == "MODULES"
    return set(last[1:])


HEAVY = {"jax", "jaxlib", "optax", "numpy", "scipy", "polars", "onnx", "onnxruntime", "imageio_ffmpeg"}
SLOW_TO_START = {"pydantic", "rich"}


def test_help_is_light():
    """No `--help` imports a numerical package, nor another slow one: it answers at once."""
    for argv in (["--help"], ["--version"], ["tune", "--help"], ["registry", "list", "--help"]):
        modules = modules_after(*argv)
        assert "exit-0" in modules
        assert modules & (HEAVY | SLOW_TO_START) == set()


def test_verifying_and_tuning_never_import_jax():
    """The consumer's commands work on the base install: JAX is for training only."""
    for code, argv in (
        (0, ["registry", "verify"]),
        (2, ["tune", "absent.mkv", "-e", "libx264", "--target-vmaf", "93", "--quality-confidence", "0.9"]),
    ):
        modules = modules_after(*argv)
        assert f"exit-{code}" in modules
        assert modules & {"jax", "jaxlib", "optax"} == set()
