"""Measure cells on the workers of a Dask cluster (`farm/dispatch.py`); results are kept in the corpus.

A worker keeps one rendition as long as it has cells, to decode once and encode many times.
"""

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from vmaf_assay.corpus.build import CellMeasurer, CellOutcomes
from vmaf_assay.corpus.measure import Failed, Site, measure
from vmaf_assay.corpus.plan import Cell, cell_key
from vmaf_assay.corpus.storage import LocalStore, Store, open_store
from vmaf_assay.errors import AssayError, ToolError
from vmaf_assay.farm.dispatch import Call, plugin_here, run_on_cluster, run_on_workers
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.records import CellRecord


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


def _site(plugin_name: str) -> Site:
    plugin: EncodeSite = plugin_here(plugin_name)
    return plugin.site()


def worker_problem(plugin_name: str, sample: Cell, versions: dict[str, str]) -> str:
    """Why this worker must not measure cells of the build; empty if it may.

    Args:
      plugin_name: of the build's `EncodeSite`.
      sample: any cell of the plan.
      versions: tool versions of the builder.
    """
    try:
        site = _site(plugin_name)
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
    return measure(_site(plugin_name), cell)


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


class CellWork(CellQueue):
    """Cells as tasks."""

    noun, done_as = "cell", "measured"

    def __init__(self, cells: list[Cell], plugin: EncodeSite) -> None:
        """Cells of one corpus, at least one, and its plugin."""
        super().__init__(cells)
        self.plugin, self._sample = plugin, _absolute(cells[0])
        self._versions = {name: text for cell in cells for name, text in cell.versions.items()}

    def check(self) -> Call:
        """Whether a worker sees sources and corpus, and has the builder's tools."""
        return (worker_problem, self.plugin.name, self._sample, self._versions)

    def call(self, task: Cell) -> Call:
        """Measures a cell."""
        return (measure_here, self.plugin.name, _absolute(task))

    def key(self, task: Cell) -> str:
        """The cell's key."""
        return task.key

    def lost(self, task: Cell, n_workers: int) -> Failed:
        """A cell that took so many workers with it."""
        name = f"{task.rendition.name} {task.encoder.name} {task.rate_value:g}"
        error = ToolError(f"{name}: {n_workers} workers were lost on it", next_step="look at the workers' logs")
        return Failed(task, error, fatal=False)


def _work(cells: list[Cell], store: Store, ffmpeg: str | None) -> CellWork:
    where = str(Path(store.where).resolve()) if isinstance(store, LocalStore) else store.where
    return CellWork(cells, EncodeSite(where, ffmpeg))


def on_cluster(address: str, *, ffmpeg: str | None = None) -> CellMeasurer:
    """Measures on the workers of the scheduler at `address`.

    Args:
      address: as `tcp://host:8786`.
      ffmpeg: path of the ffmpeg on every worker; by default each finds its own.
    """

    def measure_all(cells: list[Cell], store: Store, scratch: Path) -> CellOutcomes:
        return run_on_cluster(address, _work(cells, store, ffmpeg))

    return measure_all


def on_workers(n_workers: int, ffmpeg: Ffmpeg) -> CellMeasurer:
    """Measures in `n_workers` processes of this machine."""

    def measure_all(cells: list[Cell], store: Store, scratch: Path) -> CellOutcomes:
        return run_on_workers(n_workers, scratch, _work(cells, store, ffmpeg.path))

    return measure_all
