"""compose.yaml: what it starts is what the farm expects."""

from pathlib import Path

import yaml

from vmaf_assay.farm.dispatch import RESOURCE

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_workers_offer_what_titles_need():
    """A worker offers the farm's resource, one at a time, to the scheduler that is started."""
    services = COMPOSE["services"]
    worker, scheduler = services["worker"]["command"], services["scheduler"]["command"]
    assert worker[:3] == ["dask", "worker", "tcp://scheduler:8786"]
    assert f"{RESOURCE}=1" in worker
    assert worker[worker.index("--nthreads") + 1] == "1"
    assert scheduler[scheduler.index("--port") + 1] == "8786"
    assert {name for name, one in services.items() if one["image"] == "vmaf-assay:local"} == {
        "scheduler",
        "worker",
        "assay",
    }


def test_no_secret_and_no_open_port():
    """Passwords come from the user; the scheduler, which runs any code, is published nowhere."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert text.count("PASSWORD:?") == 2
    published = {name: one["ports"] for name, one in COMPOSE["services"].items() if "ports" in one}
    assert published == {"minio": ["127.0.0.1:9001:9001"]}


def test_the_image_is_built_from_what_is_there():
    """The build context holds what pip needs, and no folder of environments or clips."""
    kept = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert all((ROOT / name).exists() for name in kept)
    assert {"pyproject.toml", "src", "README.md", "LICENSE"} == set(kept)
