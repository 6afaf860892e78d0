"""Which page a path asks for."""

from pathlib import Path
from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import parse_json_strict, read_json_strict
from vmaf_assay.records import OnStep
from vmaf_assay.registry.trust import Trust
from vmaf_assay.report.compare_page import compare_page
from vmaf_assay.report.library_page import library_page, title_of
from vmaf_assay.report.page import Page
from vmaf_assay.report.pair_page import pair_page
from vmaf_assay.report.registry_page import registry_page
from vmaf_assay.report.run_page import run_page
from vmaf_assay.report.scenes_page import scenes_page
from vmaf_assay.report.tune_page import tune_page
from vmaf_assay.training.evidence import load_run


def page_of(
    path: Path, ffmpeg: Ffmpeg | None = None, *, trust: Trust | None = None, on_step: OnStep | None = None
) -> Page:
    """The page of a run, a registry, or a JSON document that `assay` printed.

    Args:
      path: a folder with `run.json` or `registry.json`, or a file.
      ffmpeg: reads the frames of a tune's page.
      trust: whose signatures a registry's page accepts; None checks none.
      on_step: told how far it is.

    Raises:
      ConfigError: none of these.
      CorpusError, IntegrityError: the run or registry does not verify.
    """
    if path.is_dir():
        if (path / "run.json").is_file():
            run = load_run(path)
            run.coverage(on_step)
            return run_page(run)
        if (path / "registry.json").is_file():
            return registry_page(path, trust, on_step)
        raise ConfigError(
            f"{path} holds neither run.json nor registry.json",
            next_step="name a run, a registry or a JSON document",
        )
    if not path.is_file():
        raise ConfigError(f"no such file or folder: {path}", next_step="check the path")
    if path.suffix.lower() in (".ndjson", ".jsonl"):
        return library_page([title_of(line) for line in _lines(path)], path.stem)
    return page_of_document(read_json_strict(path), ffmpeg, path.name, on_step)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The titles of a file that `assay tune --out-dir --json` printed; the last line of a title counts."""
    lines: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        document = parse_json_strict(line, where=f"{path}, line {number}")
        if "summary" not in document:
            lines[str(document.get("source"))] = document
    if not lines:
        raise ConfigError(f"{path} names no title", next_step="give what `assay tune --out-dir --json` printed")
    return list(lines.values())


def page_of_document(
    document: dict[str, Any], ffmpeg: Ffmpeg | None = None, name: str = "it", on_step: OnStep | None = None
) -> Page:
    """The page of what `assay tune --json` or `assay compare --json` prints.

    Args:
      document: see docs/json-output.md.
      ffmpeg: reads the frames of a tune's page.
      name: the document's name, for the error.
      on_step: told how far it is.

    Raises:
      ConfigError: it is neither.
    """
    if "encodes_per_scene" in document:
        return scenes_page(document, ffmpeg, on_step)
    if "encode_argv" in document:
        return tune_page(document, ffmpeg, on_step)
    if "contenders" in document:
        return compare_page(document)
    if document.get("pair") or "distorted" in document:
        return pair_page(document.get("pair") or document, ffmpeg, on_step)
    raise ConfigError(
        f"no page can be made of {name}",
        next_step="give what `assay tune`, `compare` or `predict` of a pair printed with --json",
    )
