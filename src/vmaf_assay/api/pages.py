"""Write the page of an answer, a run or a registry."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vmaf_assay.api.paths import PathLike
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.files import real_path
from vmaf_assay.records import OnStep
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.report.page import write_page as _write
from vmaf_assay.tune.contenders import CompareResult
from vmaf_assay.tune.pairs import PairScore
from vmaf_assay.tune.result import TuneResult

if TYPE_CHECKING:
    from vmaf_assay.report.library_page import Title


class LibraryIndex:
    """`index.html` of a folder of pages: the page of all titles of a run."""

    def __init__(self, folder: Path) -> None:
        """In a folder of pages."""
        self._folder = folder
        self._titles: dict[str, Title] = {}

    def add(self, document: dict[str, Any], page: Path) -> None:
        """Take a title's answer; a later one of the same source replaces it.

        Args:
          document: as `--json` prints it.
          page: the title's own page, which need not be there.
        """
        from vmaf_assay.report.library_page import title_of

        href = quote(os.fsencode(page.relative_to(self._folder))) if page.is_file() else ""
        title = title_of(document, href)
        self._titles[title.source] = title

    def write(self) -> None:
        """Write the page; nothing if there is no title."""
        from vmaf_assay.report.library_page import library_page

        if self._titles:
            page = library_page(list(self._titles.values()), real_path(self._folder).name)
            _write(page, self._folder / "index.html")


def write_page(
    what: TuneResult | CompareResult | PairScore | dict[str, Any] | PathLike,
    out: PathLike,
    *,
    ffmpeg: Ffmpeg | None = None,
    trust_policy: PathLike | None = None,
    on_step: OnStep | None = None,
) -> str:
    """Write one self-contained HTML page; what `assay report` does.

    Args:
      what: an answer of `tune_source`, `compare_encoders` or `score_files`, or its document. Also the folder of a
        run or a registry, or a file with the `--json` output of `assay tune`, `compare` or `predict`.
      out: the HTML file.
      ffmpeg: reads the frames shown; by default the one that `find_ffmpeg` finds.
      trust_policy: whose signatures a registry's page accepts; by default what `$ASSAY_TRUST_POLICY` names.
      on_step: called with what is being read, frames done, frames in all.

    Returns:
      The page's answer, in a sentence.

    Raises:
      ConfigError: no page can be made from it.
    """
    from vmaf_assay.report.build import page_of, page_of_document  # pages of runs load the training code

    if isinstance(what, TuneResult | CompareResult | PairScore | dict):
        document = what if isinstance(what, dict) else what.as_json()
        page = page_of_document(document, ffmpeg or find_ffmpeg(), on_step=on_step)
    else:
        path = Path(what)
        tool = (ffmpeg or find_ffmpeg()) if path.is_file() else None
        trust = find_trust(None if trust_policy is None else Path(trust_policy))
        page = page_of(path, tool, trust=trust, on_step=on_step)
    _write(page, Path(out))
    return page.answer
