"""Tune files that arrive in a folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from vmaf_assay.api.pages import LibraryIndex
from vmaf_assay.api.paths import PathLike
from vmaf_assay.api.settings import Settings
from vmaf_assay.api.tuning import Tuner, tuner_of, with_page
from vmaf_assay.errors import AssayError, ConfigError
from vmaf_assay.media.files import check_folder, path_of_text, path_text, sha256_file
from vmaf_assay.media.lock import exclusive
from vmaf_assay.tune.arrivals import (
    DEFAULT_SETTLE_S,
    Arrivals,
    Ledger,
    SeenRecord,
    Stamp,
    check_watch,
    remove_leftovers,
    stamp_of,
)
from vmaf_assay.tune.batch import Item, ItemResult, suffix_of
from vmaf_assay.tune.request import TuneRequest

DEFAULT_EVERY_S = 5.0
"""Seconds between two looks at the folder."""


def watch_folder(
    folder: PathLike,
    request: TuneRequest,
    *,
    out_dir: PathLike,
    container: str = "mkv",
    settle_s: float = DEFAULT_SETTLE_S,
    every_s: float = DEFAULT_EVERY_S,
    once: bool = False,
    page_dir: PathLike | None = None,
    **settings: Unpack[Settings],
) -> Iterator[ItemResult]:
    """Tune each video that arrives in a folder, once; what `assay watch` does.

    Args:
      folder: where files arrive; folders in it are watched too.
      request: what is asked of each; its source and output are replaced.
      out_dir: folder of the encodes and of the records of what was done.
      container: of the encodes: `mkv`, `mp4`, `mov` or `webm`.
      settle_s: seconds that a file must not change before it is taken.
      every_s: seconds between two looks at the folder.
      once: end when everything that is there now has been done.
      page_dir: folder of an HTML page for each source.
      settings: what they run with.

    Yields:
      What became of each source, as it ends.

    Raises:
      ConfigError: a folder is invalid, or what is asked is for every source, or another watch holds `out_dir`.
    """
    watched, out = Path(folder), Path(out_dir)
    check_watch(watched, out, settle_s, every_s)
    if page_dir is not None:
        check_folder(Path(page_dir), "--report")
    each = tuner_of(request, out, settings)
    pages = None if page_dir is None else Path(page_dir)
    index = None if pages is None else LibraryIndex(pages)
    watch = _Watch(watched, out, suffix_of(container), Ledger(watched, out), each, pages, index)
    arrivals = Arrivals(watched, out, settle_s)
    return _watching(watch, arrivals, every_s, settle_s if once else None)


def _watching(watch: "_Watch", arrivals: Arrivals, every_s: float, end_s: float | None) -> Iterator[ItemResult]:
    """Take what is complete, for ever, or until nothing is after `end_s` seconds."""
    with _alone(watch.out_dir):
        watch.index_earlier()
        began: float | None = None
        while True:
            last = end_s is not None and began is not None and time.monotonic() - began >= end_s
            ready = [one for one in arrivals.look() if watch.wants(*one)]
            began = began or time.monotonic()
            for source, stamp in ready:
                if stamp_of(source) == stamp:  # an encode takes long: it may have changed or gone meanwhile
                    yield watch.take(source, stamp)
            if not ready and last:
                return
            if not ready:
                time.sleep(every_s if end_s is None else min(every_s, max(end_s, 0.05)))


@contextmanager
def _alone(out_dir: Path) -> Iterator[None]:
    """Holds the folder of outputs against a second watch."""
    records = out_dir / ".assay"
    records.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(records / "watch.lock", timeout_s=0):
            yield
    except TimeoutError as error:
        raise ConfigError(
            f"another `assay watch` is at work on {out_dir}", next_step="let it end, or name another --out-dir"
        ) from error


@dataclass(frozen=True, slots=True)
class _Watch:
    """Takes sources, and records what became of them."""

    folder: Path
    out_dir: Path
    suffix: str
    ledger: Ledger
    each: Tuner
    pages: Path | None
    index: LibraryIndex | None

    def wants(self, source: Path, stamp: Stamp) -> bool:
        """Whether something is to be done for a source."""
        return not self.ledger.settled(source, stamp, self.each.digest)

    def take(self, source: Path, stamp: Stamp) -> ItemResult:
        """Tune one source, and record what became of it."""
        output = (self.out_dir / source.relative_to(self.folder)).with_suffix(self.suffix)
        item = Item(source, output)
        outcome = self._rival(item) or self._tuned(item, stamp)
        if self.pages is not None:
            page = self._page_of(source)
            page.parent.mkdir(parents=True, exist_ok=True)
            outcome = with_page(outcome, page, self.each.ffmpeg, self.each.settings.get("on_step"))
        self._record(item, stamp, outcome)
        if self.index is not None:
            self.index.add(outcome.document, self._page_of(source))
            self.index.write()
        return outcome

    def index_earlier(self) -> None:
        """Take what earlier runs did into the page of all titles."""
        for record in self.ledger.records():
            if self.index is not None:
                self.index.add(record.document, self._page_of(self.folder / path_of_text(record.source)))

    def _page_of(self, source: Path) -> Path:
        assert self.pages is not None  # the caller asked
        return (self.pages / source.relative_to(self.folder)).with_suffix(".html")

    def _rival(self, item: Item) -> ItemResult | None:
        """The failure of a source whose output is that of another source."""
        for rival in sorted(item.source.parent.iterdir()):
            record = None if rival == item.source or rival.stem != item.source.stem else self.ledger.of(rival)
            if record is not None and record.output_sha256:
                what = f"{item.source} and {rival} would both become {item.output}"
                problem = ConfigError(what, next_step="rename one of them")
                return ItemResult(item, "failed", False, _error(item, problem), problem=problem)
        return None

    def _tuned(self, item: Item, stamp: Stamp) -> ItemResult:
        assert item.output is not None  # made by `take`
        each = self.each
        if self.ledger.owns(item):
            each = replace(each, asked=replace(each.asked, force=True))
        if (before := self.ledger.of(item.source)) is not None and before.state == "begun":
            remove_leftovers(item.output)
        if each.asked.force or not item.output.exists():  # else the output is somebody's, and this fails
            self._write(item, stamp, "begun")
        return next(each.outcomes([item]))

    def _record(self, item: Item, stamp: Stamp, outcome: ItemResult) -> None:
        state = "failed" if outcome.status == "failed" else "done"
        made = outcome.document.get("output") is not None and item.output is not None and item.output.is_file()
        digest = sha256_file(item.output) if made and item.output is not None else ""
        self._write(item, stamp, state, digest, outcome)

    def _write(
        self, item: Item, stamp: Stamp, state: str, output_sha256: str = "", outcome: ItemResult | None = None
    ) -> None:
        self.ledger.write(
            item.source,
            SeenRecord(
                source=self.ledger.name(item.source),
                source_bytes=stamp.n_bytes,
                source_mtime_us=stamp.mtime_us,
                request_sha256=self.each.digest,
                state=state,  # type: ignore[arg-type]  # one of three literals
                output_sha256=output_sha256,
                document={} if outcome is None else outcome.document,
            ),
        )


def _error(item: Item, problem: AssayError) -> dict[str, str]:
    return {"source": path_text(item.source), "error": str(problem)}
