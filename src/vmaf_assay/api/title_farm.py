"""Many titles on the workers of a Dask cluster: each title is a task, its record beside its output."""

import contextlib
import shutil
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from vmaf_assay.api.ensembles import load_forecast
from vmaf_assay.api.settings import Settings, TitleFarm
from vmaf_assay.api.tuning import Tuner, page_of_item, tuner_of, with_page
from vmaf_assay.errors import AssayError, ConfigError, ToolError
from vmaf_assay.farm.dispatch import Call, plugin_here, run_on_cluster, run_on_workers
from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.media.files import path_text, real_path
from vmaf_assay.tune.arrivals import remove_leftovers
from vmaf_assay.tune.batch import Item, ItemResult

MOST_WORKERS = 256
"""Processes on one machine."""
_FOLDERS_ASKED = 8


@dataclass(frozen=True, slots=True)
class Title:
    """One title as a task."""

    item: Item
    """Source and output, absolute."""
    page: Path | None
    """Its HTML page."""
    there: bool
    """Whether its output was there before the run."""
    again: bool = False
    """Whether a worker died with it."""


class TitleSite(WorkerPlugin):  # type: ignore[misc]  # distributed ships no types
    """What one worker needs for the titles of one run. The end of the run ends its commands."""

    def __init__(self, each: Tuner, out_dir: Path | None, farm: TitleFarm, ffmpeg: str | None) -> None:
        """For a tuner of the caller's; a worker makes its own, and compares digests."""
        self.name = f"assay-titles-{each.digest[:12]}"
        self._asked, self._out_dir, self._farm, self._ffmpeg = each.asked, out_dir, farm, ffmpeg
        self._settings: dict[str, Any] = {name: each.settings.get(name) for name in ("cache_dir", "outcomes_dir")}
        self._tuner: Tuner | None = None

    def teardown(self, worker: Any) -> None:  # noqa: ANN401 - a distributed.Worker
        """End all commands; what they wrote is removed by the code that waits for them."""
        process.kill_running()

    def tuner(self) -> Tuner:
        """The tuner, made on first use; raises AssayError if this worker cannot be one."""
        if self._tuner is None:
            farm = self._farm
            ensemble = load_forecast(self._asked.measurand, registry=farm.registry, trust_policy=farm.trust_policy)
            settings: Settings = {
                "cache_dir": self._settings["cache_dir"],
                "outcomes_dir": self._settings["outcomes_dir"],
                "ensemble": ensemble,
                "ffmpeg": find_ffmpeg(self._ffmpeg),
            }
            self._tuner = tuner_of(self._asked, self._out_dir, settings)
        return self._tuner


def title_problem(plugin_name: str, digest: str, folders: Sequence[Path]) -> str:
    """Why this worker must not tune titles of the run; empty if it may.

    Args:
      plugin_name: of the run's `TitleSite`.
      digest: `Tuner.digest` of the caller: request, models and ffmpeg.
      folders: some of the sources and outputs, which the caller sees.
    """
    try:
        tuner = plugin_here(plugin_name).tuner()
    except (AssayError, OSError) as error:
        return f"cannot tune: {error}"
    if tuner.digest != digest:
        return f"has another ffmpeg ({tuner.ffmpeg.version}) or vmaf-assay; give it the same"
    unseen = next((folder for folder in folders if not folder.is_dir()), None)
    return "" if unseen is None else f"does not see {unseen}; use a folder that all machines share"


def tune_here(plugin_name: str, title: Title) -> ItemResult:
    """Tune one title on the worker this runs on."""
    tuner: Tuner = plugin_here(plugin_name).tuner()
    output = title.item.output
    if title.again and output is not None:
        remove_leftovers(output)
        if not title.there:  # then it was made by the worker that died
            tuner = replace(tuner, asked=replace(tuner.asked, force=True))
    outcome = next(tuner.outcomes([title.item]))
    return outcome if title.page is None else with_page(outcome, title.page, tuner.ffmpeg, None)


class TitleWork:
    """Titles as tasks, in their order."""

    noun, done_as = "title", "tuned"

    def __init__(self, titles: Sequence[Title], plugin: TitleSite, digest: str) -> None:
        """Titles of one run, at least one."""
        self._left, self.plugin, self._digest = deque(titles), plugin, digest
        paths = [path for one in titles for path in (one.item.source, one.item.output) if path is not None]
        here = dict.fromkeys(path.parent for path in paths if path.parent.is_dir())  # a missing source fails alone
        self._folders = tuple(islice(here, _FOLDERS_ASKED))

    def __bool__(self) -> bool:
        return bool(self._left)

    def put(self, task: Title) -> None:
        """Queue a title again, before all others."""
        self._left.appendleft(replace(task, again=True))

    def pop(self, worker: str) -> Title:
        """The next title."""
        return self._left.popleft()

    def check(self) -> Call:
        """Whether a worker sees the folders, and has the caller's tools."""
        return (title_problem, self.plugin.name, self._digest, self._folders)

    def call(self, task: Title) -> Call:
        """Tunes a title."""
        return (tune_here, self.plugin.name, task)

    def key(self, task: Title) -> str:
        """The source's path."""
        return str(task.item.source)

    def lost(self, task: Title, n_workers: int) -> ItemResult:
        """A title that took so many workers with it."""
        what = f"{path_text(task.item.source)}: {n_workers} workers were lost on it"
        problem = ToolError(what, next_step="look at the workers' logs; memory is the usual cause")
        document = {"source": path_text(task.item.source), "error": str(problem)}
        return ItemResult(task.item, "failed", False, document, problem=problem)


def on_farm(
    each: Tuner, items: Sequence[Item], pages: Path | None, farm: TitleFarm
) -> Iterator[tuple[ItemResult, Path]]:
    """Tune items on workers.

    Args:
      each: the caller's tuner.
      items: sources and outputs.
      pages: folder of pages.
      farm: the workers.

    Yields:
      Each outcome as it ends, with its page's path.

    Raises:
      ConfigError: both or neither are named, or no worker may take part.
      ToolError: the scheduler went, or no worker starts.
    """
    if (farm.workers is None) == (farm.scheduler is None):
        raise ConfigError("--workers and --scheduler exclude each other", next_step="name one")
    if farm.workers is not None and not 1 <= farm.workers <= MOST_WORKERS:
        raise ConfigError(f"--workers is {farm.workers}", next_step=f"use 1 to {MOST_WORKERS}")
    titles = []
    for number, item in enumerate(items, start=1):
        output = None if item.output is None else real_path(item.output)
        whole = Item(real_path(item.source), output)
        page = None if pages is None else real_path(page_of_item(pages, number, item))
        titles.append(Title(whole, page, output is not None and output.exists()))
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
    return _outcomes(each, items, titles, farm)


def _outcomes(
    each: Tuner, items: Sequence[Item], titles: Sequence[Title], farm: TitleFarm
) -> Generator[tuple[ItemResult, Path], None, None]:
    given = {title.item.source: item for title, item in zip(titles, items, strict=True)}
    page_of = {title.item.source: title.page or Path() for title in titles}
    out_dir = next((title.item.output.parent for title in titles if title.item.output is not None), None)
    own_ffmpeg = farm.scheduler is not None and each.ffmpeg.how_found != "--ffmpeg"
    site = TitleSite(each, out_dir, farm, None if own_ffmpeg else each.ffmpeg.path)
    work = TitleWork(titles, site, each.digest)
    scratch = Path(tempfile.mkdtemp(prefix="assay-farm-"))
    waiting = set(given)
    on_note, on_step = each.settings.get("on_note"), each.settings.get("on_step")
    if farm.workers is not None:
        running = run_on_workers(farm.workers, scratch, work)
    else:
        running = run_on_cluster(farm.scheduler or "", work)
    try:
        with contextlib.closing(running):
            for found in running:
                if isinstance(found, str):
                    if on_note:
                        on_note(found)
                    continue
                waiting.discard(found.item.source)
                if on_step:
                    on_step("titles", len(titles) - len(waiting), len(titles))
                yield replace(found, item=given[found.item.source]), page_of[found.item.source]
    finally:
        for title in titles:  # workers of this machine were killed, with what they wrote
            if title.item.source in waiting and title.item.output is not None and farm.workers is not None:
                remove_leftovers(title.item.output)
        shutil.rmtree(scratch, ignore_errors=True)
