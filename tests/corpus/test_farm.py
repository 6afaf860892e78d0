"""Cells measured by other processes: the same corpus, whatever becomes of them."""

import os
import stat
import threading
import time
from contextlib import closing

import pytest
from distributed import Client, LocalCluster

from tests.corpus.builds import build_argv, check_clean, digest_of, finish, kill, n_cells, start, wait_until
from vmaf_assay.corpus.build import build_corpus
from vmaf_assay.corpus.farm import CellQueue, CellWork, EncodeSite, on_cluster
from vmaf_assay.corpus.plan import parse_encoder, plan_cells, references_of
from vmaf_assay.corpus.sources import sources_from_paths
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.errors import ConfigError, ToolError
from vmaf_assay.farm.dispatch import Dispatch, Job
from vmaf_assay.media.capability import tool_versions

pytestmark = [
    pytest.mark.ffmpeg,
    # LocalCluster leaves the socket with which it looked for a free port (distributed 2026.8.0).
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def plan(ffmpeg, clips):
    """The nine cells of `clips`, and the tool versions."""
    versions = tool_versions(ffmpeg, ["libx264"])
    renditions = []
    for source in sources_from_paths([clips]):
        renditions += references_of(ffmpeg, source, sizes=[None], max_frames=None)
    return plan_cells(renditions, [parse_encoder("libx264:ultrafast:20,30,40", None)], versions), versions


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


def test_a_worker_stays_with_its_rendition(plan):
    """Three workers take a rendition each; one that is through shares the longest that is left."""
    cells = CellQueue(plan[0])
    taken = {name: [cells.pop(name) for _ in range(2)] for name in ("a", "b", "c")}
    assert all(len({cell.rendition.name for cell in mine}) == 1 for mine in taken.values())
    assert {mine[0].rendition.name for mine in taken.values()} == {"c0", "c1", "c2"}
    rest = [cells.pop("a") for _ in range(3)]
    assert not cells
    everything = [cell.key for mine in (*taken.values(), rest) for cell in mine]
    assert sorted(everything) == sorted(cell.key for cell in plan[0])


def test_a_killed_worker_costs_only_its_cell(ffmpeg, plan, cluster, undisturbed, tmp_path):
    """One of two workers is killed in mid-build: every cell is there, the digest is that of one machine."""
    with Client(cluster, set_as_default=False) as client:
        pids = client.run(os.getpid)
    steps = []
    with closing(
        build_corpus(ffmpeg, plan[0], tmp_path, plan[1], jobs=1, measurer=on_cluster(cluster.scheduler_address))
    ) as build:
        for step in build:
            steps.append(step)
            if step.n_done == 2 and len([s for s in steps if s.n_done == 2]) == 1:
                kill(next(iter(pids.values())))
    assert load_corpus(tmp_path).digest == undisturbed
    assert [step.n_done for step in steps if not step.note] == list(range(10))
    lost = [step.note for step in steps if step.note]
    assert all("was lost with one cell, which is measured again" in note for note in lost)
    assert len(lost) <= 2, "a worker holds two cells at most"
    check_clean(tmp_path, finished=True)


class NeverFetched:
    """A finished result whose worker died with it: Dask waits for ever, unless told how long.

    Seen once; cannot be produced at will: the worker must die between the word that it is done and the fetch.
    """

    status = "finished"

    def __init__(self) -> None:
        self.cancelled = False

    def result(self, timeout: float | None = None) -> object:
        """As Dask: raises when the time is up; without a limit a test must not hang."""
        assert timeout is not None, "would wait for ever"
        raise TimeoutError

    def cancel(self) -> None:
        """As Dask."""
        self.cancelled = True


@pytest.mark.parametrize("asks", [False, True])
def test_a_result_that_never_comes_is_a_lost_cell(ffmpeg, plan, asks):
    """A cell is measured again, and said; a worker asked whether it may measure is forgotten, so asked again."""
    dispatch = Dispatch(None, CellWork(plan[0], EncodeSite("corpus", None)))
    while dispatch._work:
        dispatch._work.pop("other")
    future, cell = NeverFetched(), None if asks else plan[0][0]
    dispatch._known = {"tcp://gone": -1} if asks else {}
    dispatch._jobs[future] = Job("tcp://gone", cell)
    notes = list(dispatch._take(future))
    assert future.cancelled
    assert not dispatch._known
    assert not dispatch._refused
    if asks:
        assert notes == []
        assert not dispatch._work
    else:
        assert notes == ["worker tcp://gone was lost with one cell, which is measured again"]
        assert dispatch._work.pop("other") is cell


def test_no_worker_with_the_resource_is_said_at_once(ffmpeg, plan, tmp_path):
    """A worker without `encode`: refused within seconds, with the command that starts one with it."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=str(tmp_path / "dask"),
        silence_logs=50,
    ) as bare:
        started = time.monotonic()
        with pytest.raises(ConfigError) as caught:
            list(
                build_corpus(
                    ffmpeg, plan[0], tmp_path, plan[1], jobs=1, measurer=on_cluster(bare.scheduler_address)
                )
            )
        assert time.monotonic() - started < 60, "Dask itself would wait for ever"
    assert "none of its 1 workers offers the resource 'encode'" in str(caught.value)
    assert f"dask worker {bare.scheduler_address} --nthreads 1 --resources 'encode=1'" in str(caught.value)


def test_no_scheduler_is_one_line(ffmpeg, plan, tmp_path, monkeypatch):
    """An address where nobody listens."""
    monkeypatch.setattr("vmaf_assay.farm.dispatch._CONNECT_S", 1.0)
    with pytest.raises(ToolError, match=r"no scheduler at tcp://127\.0\.0\.1:9"):
        list(build_corpus(ffmpeg, plan[0], tmp_path, plan[1], jobs=1, measurer=on_cluster("tcp://127.0.0.1:9")))


def test_a_worker_with_other_tools_is_named(ffmpeg, plan, cluster, tmp_path):
    """Workers whose ffmpeg says another version measure nothing; both versions are in the message."""
    other = tmp_path / "ffmpeg"
    other.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] && exec echo "ffmpeg version 8.9-other"\nexec {ffmpeg.path} "$@"\n'
    )
    other.chmod(other.stat().st_mode | stat.S_IXUSR)
    measurer = on_cluster(cluster.scheduler_address, ffmpeg=str(other))
    with pytest.raises(ConfigError, match=f"ffmpeg 8.9-other, here {ffmpeg.version}"):
        list(build_corpus(ffmpeg, plan[0], tmp_path / "corpus", plan[1], jobs=1, measurer=measurer))
    assert n_cells(tmp_path / "corpus") == 0


@pytest.mark.slow
def test_workers_of_this_machine(clips, undisturbed, tmp_path):
    """`--workers 2`, its builder killed in mid-build: no process is left, and the next run has the digest."""
    folder = tmp_path / "corpus"
    builder = start(build_argv(clips, folder, "--workers", "2"))
    wait_until(lambda: n_cells(folder) >= 2)
    builder.kill()
    builder.communicate()
    check_clean(folder, finished=False)
    code, out, err = finish(build_argv(clips, folder, "--workers", "2"))
    assert (code, digest_of(out)) == (0, undisturbed), err
    check_clean(folder, finished=True)


@pytest.mark.slow
def test_ctrl_c_ends_the_workers(clips, tmp_path):
    """Ctrl-C to a build with workers: 130, nothing left of it."""
    folder = tmp_path / "corpus"
    builder = start(build_argv(clips, folder, "--workers", "2"))
    wait_until(lambda: n_cells(folder) >= 1)
    started = time.monotonic()
    os.killpg(builder.pid, 2)
    _, err = builder.communicate(timeout=60)
    assert time.monotonic() - started < 6.0
    assert builder.returncode == 130, err
    check_clean(folder, finished=False)
    assert threading.active_count() < 50
