"""Write the page of an answer, a run or a registry."""

from pathlib import Path
from typing import Any

from vmaf_assay.api.paths import PathLike
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.records import OnStep
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.report.page import write_page as _write
from vmaf_assay.tune.contenders import CompareResult
from vmaf_assay.tune.pairs import PairScore
from vmaf_assay.tune.result import TuneResult


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
