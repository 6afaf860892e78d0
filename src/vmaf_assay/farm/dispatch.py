"""Run tasks on the workers of a Dask cluster: processes here, or machines elsewhere.

Results are kept by whoever makes the tasks. So the scheduler only carries a task to a worker and its result back.
There is no graph, and only two tasks a worker are in flight. A worker that dies loses only its current tasks.
"""

import contextlib
import logging
import os
import queue
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import dask
from distributed import Client, Future, LocalCluster, get_worker
from distributed.utils import LoopRunner

from vmaf_assay.errors import ConfigError, ToolError

RESOURCE = "encode"
"""Dask resource that a worker must offer: one for each task it may do at a time."""
TRIES = 4
"""Workers that may die with a task before the task is assumed to be the cause."""
WAIT_S = 600.0
"""How long a run waits for a worker after the last one has gone."""
_FETCH_S = 30.0
"""How long a finished result, a few kilobytes, may take to arrive before it counts as lost."""
_IN_FLIGHT = 2
_LOOK_S = 1.0
_CONNECT_S = 10.0


Task = TypeVar("Task")
Outcome_co = TypeVar("Outcome_co", covariant=True)
Call = tuple[Any, ...]
"""A function that a worker can import, and its arguments."""


class Work(Protocol[Task, Outcome_co]):
    """The tasks of one run, and what a worker calls for them."""

    noun: str
    """What a task is called, as `cell`."""
    done_as: str
    """What a worker does with it, as `measured`."""
    plugin: Any
    """A WorkerPlugin with a `name`; its teardown ends everything of the run on a worker."""

    def __bool__(self) -> bool:
        """Whether a task is left."""

    def put(self, task: Task) -> None:
        """Queue a task again whose worker died."""

    def pop(self, worker: str) -> Task:
        """The next task for this worker; there must be one."""

    def check(self) -> Call:
        """Finds out whether a worker may take part; returns why not, or an empty text."""

    def call(self, task: Task) -> Call:
        """Does a task and returns its outcome."""

    def key(self, task: Task) -> str:
        """Identity of a task."""

    def lost(self, task: Task, n_workers: int) -> Outcome_co:
        """The outcome of a task with which so many workers died."""


@dataclass(frozen=True, slots=True)
class Job:
    """A call that a worker has."""

    worker: str
    task: Any | None  # None: the check whether the worker may take part at all


class Dispatch:
    """Keeps every accepted worker supplied with tasks, and collects the outcomes."""

    def __init__(self, client: Any, work: Work[Any, Any]) -> None:  # noqa: ANN401 - a Client
        """With a client of the scheduler, and the tasks."""
        self._client, self._work = client, work
        self._jobs: dict[Any, Job] = {}
        self._ended: queue.Queue[Any] = queue.Queue()
        self._known: dict[str, int] = {}  # tasks in flight by worker; -1 until it has answered
        self._doubted: set[str] = set()  # lost a task, and not checked since
        self._refused: dict[str, str] = {}
        self._lost: Counter[str] = Counter()
        self._had_one = False
        self._alone_since: float | None = None

    def run(self) -> Iterator[Any]:
        """Every outcome as it comes; a text is a note."""
        looked = 0.0
        while self._work or any(job.task for job in self._jobs.values()):
            if time.monotonic() - looked > _LOOK_S:
                yield from self._look()
                looked = time.monotonic()
            with contextlib.suppress(queue.Empty):
                yield from self._take(self._ended.get(timeout=_LOOK_S))

    def _look(self) -> Iterator[Any]:
        """Note new and lost workers."""
        if self._client.status != "running":
            raise ToolError("the scheduler is gone", next_step="start it and run the same command again")
        listed = self._client.scheduler_info(n_workers=-1)["workers"]
        now = {address for address, facts in listed.items() if facts["resources"].get(RESOURCE, 0) >= 1}
        self._doubted.clear()
        for address in set(self._known) - now:
            del self._known[address]
            for future in [f for f, job in self._jobs.items() if job.worker == address]:
                yield from self._give_back(future, self._jobs.pop(future))
        for address in now - set(self._known) - set(self._refused):
            self._known[address] = -1
            self._send(Job(address, None))
        for address in self._known:  # suspects that are still here
            self._supply(address)
        yield from self._mind_being_alone(len(listed))

    def _mind_being_alone(self, n_listed: int) -> Iterator[Any]:
        if self._known:
            self._alone_since = None
            return
        others = f"none of its {n_listed} workers offers" if n_listed else "it has no worker that offers"
        start = f"dask worker {self._client.scheduler.address} --nthreads 1 --resources '{RESOURCE}=1'"
        what = f"the scheduler is there, but {others} the resource {RESOURCE!r}"
        if self._refused:
            what = f"no worker may take part: {next(iter(self._refused.values()))}"
        if self._alone_since is None:
            self._alone_since = time.monotonic()
            if not self._had_one:  # say so instead of waiting
                raise ConfigError(what, next_step=f"start one with: {start}")
            yield f"{what}; waiting {WAIT_S / 60:.0f} minutes for one: {start}"
        if time.monotonic() - self._alone_since > WAIT_S:
            raise ToolError(what, next_step=f"start one with: {start}")

    def _send(self, job: Job) -> None:
        if job.task is None:
            call = self._work.check()
        else:
            call = self._work.call(job.task)
            self._known[job.worker] += 1
        future: Future = self._client.submit(
            *call, workers=[job.worker], resources={RESOURCE: 1}, pure=False, allow_other_workers=False
        )
        self._jobs[future] = job
        future.add_done_callback(self._ended.put)

    def _supply(self, worker: str) -> None:
        while self._work and worker not in self._doubted and 0 <= self._known.get(worker, -1) < _IN_FLIGHT:
            self._send(Job(worker, self._work.pop(worker)))

    def _take(self, future: Any) -> Iterator[Any]:  # noqa: ANN401 - a Future
        job = self._jobs.pop(future, None)
        if job is None:  # returned already
            return
        if job.task is not None and job.worker in self._known:
            self._known[job.worker] -= 1
        if future.status != "finished":
            yield from self._give_back(future, job)
        else:
            try:
                result = future.result(timeout=_FETCH_S)
            except TimeoutError:  # its worker died with the result, and Dask would wait forever
                if job.task is None:  # checked again, if it is still there
                    self._known.pop(job.worker, None)
                yield from self._give_back(future, job)
            else:
                yield from self._received(job, result)
        self._supply(job.worker)

    def _received(self, job: Job, result: Any) -> Iterator[Any]:  # noqa: ANN401 - a task's outcome, or words
        if job.task is not None:
            yield result
        elif result:
            self._refused[job.worker] = f"worker {job.worker} {result}"
            self._known.pop(job.worker, None)
            yield self._refused[job.worker]
        else:
            self._known[job.worker] = 0
            self._had_one = True

    def _give_back(self, future: Any, job: Job) -> Iterator[Any]:  # noqa: ANN401 - a Future
        """Queue a task again whose worker died; the worker gets no other until it is seen again."""
        why = future.exception() if future.status == "error" else None
        future.cancel()
        if job.task is None:
            return
        self._doubted.add(job.worker)
        key = self._work.key(job.task)
        self._lost[key] += 1
        if self._lost[key] < TRIES:
            self._work.put(job.task)
            noun, done = self._work.noun, self._work.done_as
            yield f"worker {job.worker} was lost with one {noun}, which is {done} again" + (
                f": {why}" if why else ""
            )
            for worker in self._known:
                self._supply(worker)
        else:
            yield self._work.lost(job.task, TRIES)


def plugin_here(name: str) -> Any:  # noqa: ANN401 - a WorkerPlugin
    """The plugin of a run, on the worker that this runs on."""
    return get_worker().plugins[name]


def run_on_cluster(address: str, work: Work[Any, Any]) -> Generator[Any, None, None]:
    """Do all tasks on the workers of the scheduler at `address`, as `tcp://host:8786`.

    Yields:
      Outcomes as they come; a text is a note.

    Raises:
      ToolError: there is no scheduler, or it went.
      ConfigError: no worker may take part.
    """
    _quiet()
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ToolError(
            f"no scheduler at {address}", next_step="start one with `dask scheduler` or use --workers"
        ) from error
    yield from _with_client(client, work)


def run_on_workers(n_workers: int, scratch: Path, work: Work[Any, Any]) -> Generator[Any, None, None]:
    """Do all tasks in `n_workers` processes of this machine; yields as `run_on_cluster`."""
    _quiet()
    # Dask makes a folder for temporary files besides `local_directory`, and would leave it in the system's.
    dask.config.set({"temporary-directory": str(scratch)})
    try:
        cluster = LocalCluster(
            loop=_loop_deaf_to_ctrl_c(),
            n_workers=n_workers,
            threads_per_worker=1,
            resources={RESOURCE: 1},
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(scratch / "workers"),
            silence_logs=logging.CRITICAL,
        )
    except (RuntimeError, TimeoutError) as error:  # it has closed what had started
        raise ToolError(
            f"a worker process on this machine ended during startup ({error})",
            next_step="find what killed it (out of memory?), and run the same command again",
        ) from error
    try:
        client = Client(cluster, set_as_default=False)
        client.wait_for_workers(n_workers, timeout=120)
        yield from _with_client(client, work)
    finally:
        for nanny in cluster.workers.values():  # at once, without a request; Ctrl-C may be waiting
            nanny.auto_restart = False
            with contextlib.suppress(ProcessLookupError, TypeError):  # gone, or not started yet
                os.kill(nanny.pid, signal.SIGKILL)
        cluster.close(timeout=2)


def _loop_deaf_to_ctrl_c() -> Any:  # noqa: ANN401 - a tornado.ioloop.IOLoop
    """An event loop in a thread that blocks SIGINT, and so do the processes started from it.

    Ctrl-C in a terminal reaches all of them; only the builder must act on it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner = LoopRunner()
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return runner.loop


def _with_client(client: Any, work: Work[Any, Any]) -> Iterator[Any]:  # noqa: ANN401
    try:
        client.register_plugin(work.plugin, name=work.plugin.name)
        yield from Dispatch(client, work).run()
    finally:
        # Its teardown ends every ffmpeg of the run, on every worker.
        with contextlib.suppress(Exception):
            client.unregister_worker_plugin(work.plugin.name)
        client.close()


def _quiet() -> None:
    """Silence Dask's messages about workers that come and go; this module reports them itself."""
    # asyncio logs futures that Dask never awaited when their worker died ("AllExit").
    for name in (
        "distributed",
        "distributed.client",
        "distributed.core",
        "distributed.nanny",
        "tornado",
        "asyncio",
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
