"""Titles on the workers of a Dask cluster: outcomes as one machine has them, whatever becomes of a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from tests.conftest import lavfi
from vmaf_assay.api import title_farm
from vmaf_assay.api.title_farm import Title, TitleWork
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ToolError
from vmaf_assay.tune.batch import Item

pytestmark = [
    pytest.mark.ffmpeg,
    # LocalCluster leaves the socket with which it looked for a free port (distributed 2026.8.0).
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]
ASKED = ["--target-vmaf", "80", "--trials", "0", "--json"]


@pytest.fixture
def sources(ffmpeg, tmp_path) -> Path:
    """Two short clips in a folder of folders, and one that is cut short."""
    folder = tmp_path / "in"
    (folder / "s").mkdir(parents=True)
    for number, name in enumerate(("a.mkv", "s/b.mkv")):
        graph = f"testsrc2=size={192 + 32 * number}x108:rate=25"
        lavfi(ffmpeg, folder / name, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)
    (folder / "bad.mkv").write_bytes((folder / "a.mkv").read_bytes()[:-3000])
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two worker processes that offer `encode`."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        resources={"encode": 1},
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=str(tmp_path_factory.mktemp("dask")),
        silence_logs=50,
    ) as made:
        yield made


def run(capsys, *argv: str) -> tuple[int, dict[str, str], dict]:
    """Exit code, status by name, and the summary of a run."""
    code = cli.main(["tune", *argv, *ASKED])
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, {Path(line["source"]).name: line["status"] for line in lines}, last["summary"]


def test_workers_of_this_machine(sources, tmp_path, capsys):
    """As without workers: a broken source fails alone, pages are there, a second run skips what is done."""
    out, pages = tmp_path / "out", tmp_path / "pages"
    argv = (str(sources), "--out-dir", str(out), "--report", str(pages))
    code, status, summary = run(capsys, *argv, "--workers", "2")
    assert (code, status) == (2, {"a.mkv": "done", ["s", "b.mkv"][1]: "done", "bad.mkv": "failed"})
    assert (summary["met"], summary["failed"], summary["exit_code"]) == (2, 1, 2)
    assert sorted(path.name for path in pages.iterdir()) == ["001-a.html", "003-b.html", "index.html"]
    assert "2 of 3 titles met" in (pages / "index.html").read_text(encoding="utf-8")
    encodes = {path: path.stat().st_mtime_ns for path in (out / "a.mkv", out / "s" / "b.mkv")}
    code, status, summary = run(capsys, *argv)  # by one machine, which reads the workers' records
    assert (code, status) == (2, {"a.mkv": "skipped", "b.mkv": "skipped", "bad.mkv": "failed"})
    assert all(path.stat().st_mtime_ns == written for path, written in encodes.items())


def encoding(out: Path) -> Path:
    """Waits until an output is being written; its private folder."""
    for _ in range(8000):
        for folder in out.glob(".assay-*"):
            if any(folder.iterdir()):
                return folder
        time.sleep(0.005)
    pytest.fail("no encode was begun")


def start(sources: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """`assay tune` over a folder, as a user starts it, with encodes slow enough to be met."""
    argv = [sys.executable, "-m", "vmaf_assay", "tune", str(sources), "--out-dir", str(out), *more, *ASKED]
    return subprocess.Popen(
        [*argv, "--preset", "veryslow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_dead_worker_costs_only_its_title(sources, cluster, tmp_path):
    """A worker killed in mid-encode: its title is made by another, nothing of it is left, no other is lost."""
    with Client(cluster, set_as_default=False) as client:
        pids = client.run(os.getpid)
    out = tmp_path / "out"
    with start(sources, out, "--scheduler", cluster.scheduler_address) as running:
        encoding(out)
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        text, err = running.communicate(timeout=120)
    lines = [json.loads(line) for line in text.splitlines()]
    assert {Path(line["source"]).name: line["status"] for line in lines[:-1]} == {
        "a.mkv": "done",
        "b.mkv": "done",
        "bad.mkv": "failed",
    }, err
    assert running.returncode == 2
    assert (out / "a.mkv").is_file()
    assert (out / "s" / "b.mkv").is_file()
    assert not list(out.rglob(".assay-*"))


@pytest.mark.parametrize("where", [pytest.param("workers", marks=pytest.mark.slow), "scheduler"])
def test_ctrl_c_ends_the_encodes(sources, cluster, tmp_path, where):
    """130, and no partial encode, on workers of this machine and of a cluster that goes on."""
    out = tmp_path / "out"
    farm = ["--workers", "1"] if where == "workers" else ["--scheduler", cluster.scheduler_address]
    with start(sources, out, *farm) as running:
        encoding(out)
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    for _ in range(200):
        if not list(out.rglob(".assay-*")):
            return
        time.sleep(0.05)
    pytest.fail("an encode was left")


@pytest.mark.parametrize(
    ("farm", "words"),
    [
        (["--workers", "0"], "--workers is 0"),
        (["--workers", "1", "--scheduler", "tcp://127.0.0.1:9"], "exclude each other"),
        (["--workers", "1", "--by-scene"], "spread titles, not scenes"),
    ],
)
def test_farms_that_are_none(sources, tmp_path, capsys, farm, words):
    """Refused before any process starts: exit 2."""
    assert cli.main(["tune", str(sources / "a.mkv"), "--out-dir", str(tmp_path / "out"), *farm]) == 2
    assert words in capsys.readouterr().err


def test_a_worker_that_may_not_tune_is_named(ffmpeg, sources, tmp_path, monkeypatch):
    """One with another ffmpeg or models, whose answers are not comparable, and one that sees no source."""
    site = title_farm.TitleSite.__new__(title_farm.TitleSite)
    site.tuner = lambda: title_farm.Tuner(None, "theirs", ffmpeg, {})  # type: ignore[method-assign]
    monkeypatch.setattr(title_farm, "plugin_here", lambda name: site)
    assert "has another ffmpeg" in title_farm.title_problem("p", "ours", [sources])
    assert title_farm.title_problem("p", "theirs", [sources]) == ""
    assert f"does not see {tmp_path / 'absent'}" in title_farm.title_problem(
        "p", "theirs", [sources, tmp_path / "absent"]
    )


def test_a_missing_source_is_not_what_workers_are_asked_for(sources, tmp_path):
    """Workers must see the folders that the caller sees; a source that is nowhere fails alone, later."""
    items = [
        Item(tmp_path / "gone" / "x.mkv", tmp_path / "x.mkv"),
        Item(sources / "s" / "b.mkv", tmp_path / "b.mkv"),
    ]
    site = title_farm.TitleSite.__new__(title_farm.TitleSite)
    site.name = "site"
    work = TitleWork([Title(item, None, False) for item in items], site, "d")
    assert work.check() == (title_farm.title_problem, "site", "d", (tmp_path, sources / "s"))


def test_a_title_that_kills_workers_fails(tmp_path):
    """A returned title is first in the queue, and known to be one; after enough workers it is a failure."""
    first, second = (Title(Item(tmp_path / name, None), None, False) for name in ("a.mkv", "b.mkv"))
    work = TitleWork([first, second], None, "d")  # type: ignore[arg-type]  # no worker is asked
    taken = work.pop("w1")
    work.put(taken)
    again = work.pop("w2")
    assert (again.item, again.again) == (first.item, True)
    failed = work.lost(again, 4)
    assert (failed.status, isinstance(failed.problem, ToolError)) == ("failed", True)
    assert "4 workers were lost on it" in failed.document["error"]
    assert work.pop("w2") is second
    assert not work
