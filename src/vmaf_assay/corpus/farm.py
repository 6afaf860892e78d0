"""Measure cells on the workers of a Dask cluster: processes here, or machines elsewhere.

Results are kept in the corpus. So the scheduler only carries a cell to a worker and its record back. There is no
graph, and only two cells a worker are in flight. A worker keeps one rendition as long as it has cells, to decode
once and encode many times. A worker that dies loses only its current cells.
"""

import contextlib
import logging
import os
import queue
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, WorkerPlugin, get_worker
from distributed.utils import LoopRunner

from vmaf_assay.corpus.build import CellMeasurer, CellOutcome, CellOutcomes
from vmaf_assay.corpus.measure import Failed, Site, measure
from vmaf_assay.corpus.plan import Cell, cell_key
from vmaf_assay.corpus.storage import LocalStore, Store, open_store
from vmaf_assay.errors import AssayError, ConfigError, ToolError
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.records import CellRecord

RESOURCE = "encode"
"""Dask resource that a worker must offer: one for each cell it may measure at a time."""
TRIES = 4
"""Workers that may die with a cell before the cell is assumed to be the cause."""
WAIT_S = 600.0
"""How long a build waits for a worker after the last one has gone."""
_FETCH_S = 30.0
"""How long a finished result, a few kilobytes, may take to arrive before it counts as lost."""
_IN_FLIGHT = 2
_LOOK_S = 1.0
_CONNECT_S = 10.0


class EncodeSite(WorkerPlugin):  # type: ignore[misc]  # distributed ships no types
    """What one worker needs for the cells of one corpus. The end of the build ends it, with every ffmpeg."""

    def __init__(self, corpus: str, ffmpeg: str | None) -> None:
        self.name = f"assay-{sha256_bytes(corpus.encode())[:12]}"
        self._corpus, self._ffmpeg = corpus, ffmpeg
        self._site: Site | None = None
        self._scratch = Path()

    def setup(self, worker: Any) -> None:  # noqa: ANN401 - a distributed.Worker
        """Choose a scratch folder; what can fail waits for the first task, which can report it."""
        self._scratch = Path(worker.local_directory) / self.name

    def teardown(self, worker: Any) -> None:  # noqa: ANN401
        """End all commands and remove all files."""
        if self._site is not None:
            self._site.close()

    def site(self) -> Site:
        """The site, made on first use; raises AssayError if this worker cannot be one."""
        if self._site is None:
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._site = Site(find_ffmpeg(self._ffmpeg), open_store(self._corpus), self._scratch, keep=2)
        return self._site


def _plugin(name: str) -> EncodeSite:
    plugin: EncodeSite = get_worker().plugins[name]
    return plugin


def worker_problem(plugin_name: str, sample: Cell, versions: dict[str, str]) -> str:
    """Why this worker must not measure cells of the build; empty if it may.

    Args:
      plugin_name: of the build's `EncodeSite`.
      sample: any cell of the plan.
      versions: tool versions of the builder.
    """
    try:
        site = _plugin(plugin_name).site()
        encoders = sorted(set(versions) - {"ffmpeg", "libvmaf"})
        found = tool_versions(site.ffmpeg, encoders, scratch=site.scratch)
        if isinstance(site.store, LocalStore) and not site.store.scratch().is_dir():
            return f"does not see {site.store.where}; use a folder all machines share, or s3://"
        source = sample.rendition.source
        if not source.url and not source.path.is_file():
            return f"does not see {source.path}; use a folder all machines share, or s3://"
        site.store.names()
    except AssayError as error:
        return f"cannot measure: {error}"
    differ = [f"{name} {found[name]}, here {versions[name]}" for name in versions if found[name] != versions[name]]
    if differ:
        return f"has other tools ({'; '.join(differ)}); give it the same ffmpeg"
    made = cell_key(sample.rendition, sample.encoder, sample.preset, sample.rate_value, sample.versions)
    return "" if made == sample.key else "runs another version of vmaf-assay; install the same"


def _absolute(cell: Cell) -> Cell:
    """The cell with its source's path made absolute."""
    rendition = cell.rendition
    source = replace(rendition.source, path=rendition.source.path.resolve())
    return replace(cell, rendition=replace(rendition, source=source))


def measure_here(plugin_name: str, cell: Cell) -> CellRecord | Failed:
    """Measure one cell on the worker this runs on."""
    return measure(_plugin(plugin_name).site(), cell)


class CellQueue:
    """Cells left to measure; a worker stays with one rendition, and shares one only at the end."""

    def __init__(self, cells: list[Cell]) -> None:
        self._left: dict[str, deque[Cell]] = {}
        for cell in cells:
            self.put(cell)
        self._untouched = deque(self._left)
        self._at: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._left)

    def put(self, cell: Cell) -> None:
        """Add a cell, new or returned."""
        self._left.setdefault(cell.rendition.name, deque()).append(cell)

    def pop(self, worker: str) -> Cell:
        """The next cell for this worker; there must be one."""
        name = self._at.get(worker)
        while (name is None or name not in self._left) and self._untouched:
            name = self._untouched.popleft()
        if name is None or name not in self._left:
            name = max(self._left, key=lambda n: len(self._left[n]))
        self._at[worker] = name
        cell = self._left[name].popleft()
        if not self._left[name]:
            del self._left[name]
        return cell


@dataclass(frozen=True, slots=True)
class _Job:
    worker: str
    cell: Cell | None  # None: the check whether the worker may measure at all


class _Dispatch:
    """Keeps every accepted worker supplied with cells, and collects the results."""

    def __init__(self, client: Any, cells: list[Cell], plugin: EncodeSite) -> None:  # noqa: ANN401 - a Client
        self._client, self._plugin, self._sample = client, plugin, _absolute(cells[0])
        self._queue = CellQueue(cells)
        self._versions = {name: text for cell in cells for name, text in cell.versions.items()}
        self._jobs: dict[Any, _Job] = {}
        self._ended: queue.Queue[Any] = queue.Queue()
        self._known: dict[str, int] = {}  # cells in flight by worker; -1 until it has answered
        self._doubted: set[str] = set()  # lost a cell, and not checked since
        self._refused: dict[str, str] = {}
        self._lost: Counter[str] = Counter()
        self._had_one = False
        self._alone_since: float | None = None

    def run(self) -> Iterator[CellOutcome]:
        """Every outcome as it comes."""
        looked = 0.0
        while self._queue or any(job.cell for job in self._jobs.values()):
            if time.monotonic() - looked > _LOOK_S:
                yield from self._look()
                looked = time.monotonic()
            with contextlib.suppress(queue.Empty):
                yield from self._take(self._ended.get(timeout=_LOOK_S))

    def _look(self) -> Iterator[CellOutcome]:
        """Note new and lost workers."""
        if self._client.status != "running":
            raise ToolError("the scheduler is gone", next_step="start it and run the same build again")
        listed = self._client.scheduler_info(n_workers=-1)["workers"]
        now = {address for address, facts in listed.items() if facts["resources"].get(RESOURCE, 0) >= 1}
        self._doubted.clear()
        for address in set(self._known) - now:
            del self._known[address]
            for future in [f for f, job in self._jobs.items() if job.worker == address]:
                yield from self._give_back(future, self._jobs.pop(future))
        for address in now - set(self._known) - set(self._refused):
            self._known[address] = -1
            self._send(_Job(address, None))
        for address in self._known:  # suspects that are still here
            self._supply(address)
        yield from self._mind_being_alone(len(listed))

    def _mind_being_alone(self, n_listed: int) -> Iterator[CellOutcome]:
        if self._known:
            self._alone_since = None
            return
        others = f"none of its {n_listed} workers offers" if n_listed else "it has no worker that offers"
        start = f"dask worker {self._client.scheduler.address} --nthreads 1 --resources '{RESOURCE}=1'"
        what = f"the scheduler is there, but {others} the resource {RESOURCE!r}"
        if self._refused:
            what = f"no worker may measure: {next(iter(self._refused.values()))}"
        if self._alone_since is None:
            self._alone_since = time.monotonic()
            if not self._had_one:  # say so instead of waiting
                raise ConfigError(what, next_step=f"start one with: {start}")
            yield f"{what}; waiting {WAIT_S / 60:.0f} minutes for one: {start}"
        if time.monotonic() - self._alone_since > WAIT_S:
            raise ToolError(what, next_step=f"start one with: {start}")

    def _send(self, job: _Job) -> None:
        if job.cell is None:
            call: tuple[Any, ...] = (worker_problem, self._plugin.name, self._sample, self._versions)
        else:
            call = (measure_here, self._plugin.name, _absolute(job.cell))
            self._known[job.worker] += 1
        future: Future = self._client.submit(
            *call, workers=[job.worker], resources={RESOURCE: 1}, pure=False, allow_other_workers=False
        )
        self._jobs[future] = job
        future.add_done_callback(self._ended.put)

    def _supply(self, worker: str) -> None:
        while self._queue and worker not in self._doubted and 0 <= self._known.get(worker, -1) < _IN_FLIGHT:
            self._send(_Job(worker, self._queue.pop(worker)))

    def _take(self, future: Any) -> Iterator[CellOutcome]:  # noqa: ANN401 - a Future
        job = self._jobs.pop(future, None)
        if job is None:  # returned already
            return
        if job.cell is not None and job.worker in self._known:
            self._known[job.worker] -= 1
        if future.status != "finished":
            yield from self._give_back(future, job)
        else:
            try:
                result = future.result(timeout=_FETCH_S)
            except TimeoutError:  # its worker died with the result, and Dask would wait forever
                if job.cell is None:  # checked again, if it is still there
                    self._known.pop(job.worker, None)
                yield from self._give_back(future, job)
            else:
                yield from self._received(job, result)
        self._supply(job.worker)

    def _received(self, job: _Job, result: Any) -> Iterator[CellOutcome]:  # noqa: ANN401 - a cell's outcome, or words
        if job.cell is not None:
            yield result
        elif result:
            self._refused[job.worker] = f"worker {job.worker} {result}"
            self._known.pop(job.worker, None)
            yield self._refused[job.worker]
        else:
            self._known[job.worker] = 0
            self._had_one = True

    def _give_back(self, future: Any, job: _Job) -> Iterator[CellOutcome]:  # noqa: ANN401 - a Future
        """Queue a cell again whose worker died; the worker gets no other cell until it is seen again."""
        why = future.exception() if future.status == "error" else None
        future.cancel()
        if job.cell is None:
            return
        self._doubted.add(job.worker)
        self._lost[job.cell.key] += 1
        if self._lost[job.cell.key] < TRIES:
            self._queue.put(job.cell)
            yield f"worker {job.worker} was lost with one cell, which is measured again" + (
                f": {why}" if why else ""
            )
            for worker in self._known:
                self._supply(worker)
        else:
            name = f"{job.cell.rendition.name} {job.cell.encoder.name} {job.cell.rate_value:g}"
            error = ToolError(f"{name}: {TRIES} workers were lost on it", next_step="look at the workers' logs")
            yield Failed(job.cell, error, fatal=False)


def on_cluster(address: str, *, ffmpeg: str | None = None) -> CellMeasurer:
    """Measures on the workers of the scheduler at `address`.

    Args:
      address: as `tcp://host:8786`.
      ffmpeg: path of the ffmpeg on every worker; by default each finds its own.
    """

    def measure_all(cells: list[Cell], store: Store, scratch: Path) -> CellOutcomes:
        _quiet()
        try:
            client = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ToolError(
                f"no scheduler at {address}", next_step="start one with `dask scheduler` or use --workers"
            ) from error
        yield from _with_client(client, cells, store, ffmpeg)

    return measure_all


def on_workers(n_workers: int, ffmpeg: Ffmpeg) -> CellMeasurer:
    """Measures in `n_workers` processes of this machine."""

    def measure_all(cells: list[Cell], store: Store, scratch: Path) -> CellOutcomes:
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
            yield from _with_client(client, cells, store, ffmpeg.path)
        finally:
            for nanny in cluster.workers.values():  # at once, without a request; Ctrl-C may be waiting
                nanny.auto_restart = False
                with contextlib.suppress(ProcessLookupError, TypeError):  # gone, or not started yet
                    os.kill(nanny.pid, signal.SIGKILL)
            cluster.close(timeout=2)

    return measure_all


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


def _with_client(client: Any, cells: list[Cell], store: Store, ffmpeg: str | None) -> Iterator[CellOutcome]:  # noqa: ANN401
    where = str(Path(store.where).resolve()) if isinstance(store, LocalStore) else store.where
    plugin = EncodeSite(where, ffmpeg)
    try:
        client.register_plugin(plugin, name=plugin.name)
        yield from _Dispatch(client, cells, plugin).run()
    finally:
        # Its teardown ends every ffmpeg of the build, on every worker.
        with contextlib.suppress(Exception):
            client.unregister_worker_plugin(plugin.name)
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
