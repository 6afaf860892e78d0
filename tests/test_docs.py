"""The documents: links lead somewhere, examples in docstrings run, commands shown exist."""

import doctest
import importlib
import re
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml

import vmaf_assay
from vmaf_assay.cli.main import build_app
from vmaf_assay.corpus.plan import parse_encoder
from vmaf_assay.model.features import DEFAULT_PROBES
from vmaf_assay.model.sidecar import probes_read

ROOT = Path(__file__).parents[1]
PACKAGE = Path(vmaf_assay.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WITH_EXAMPLES = sorted(
    ".".join(["vmaf_assay", *path.relative_to(PACKAGE).with_suffix("").parts])
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    """A relative link in a document names a file of the repository."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_anchors_are_headings(page):
    """A link to a part of a document names a heading of it."""
    found = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    own = [((page.parent / name) if name else page, anchor) for name, anchor in found if "://" not in name]
    assert [(path.name, anchor) for path, anchor in own if anchor not in slugs(path)] == []


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_no_page_is_half_merged(page):
    """No mark of a merge that somebody did not finish."""
    assert re.findall(r"^(?:<{7}|>{7}|={7}$).*", page.read_text(encoding="utf-8"), re.MULTILINE) == []


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name):
    """Every example in a docstring gives the answer it shows."""
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_every_guide_is_in_the_navigation_once():
    """A guide that nobody can find is not written; one found twice is two."""

    def pages(part):
        if isinstance(part, str):
            return [part]
        return [page for child in (part.values() if isinstance(part, dict) else part) for page in pages(child)]

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    assert sorted(listed) == sorted({page for page in written if not page.startswith("adr/")} | notebooks)


def test_readme_is_short():
    """The README is read to its end: at most 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def shown_commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every `$ assay ...` line in the documents, continuation lines joined."""
    shown = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        shown += [(page.name, line.split("#")[0].split()) for line in re.findall(r"^\$ assay (.*)$", text, re.M)]
    return shown


def test_corpora_shown_for_a_forecast_hold_the_probes_it_reads():
    """Where a page builds a corpus and trains the forecast on it, each encoder's two probes are in it."""
    checked = 0
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            built = re.search(r"^\$ assay corpus build (.*)$", block, re.MULTILINE)
            if built is None or "--model vmaf_forecast_ensemble_v1" not in block:
                continue
            checked += 1
            asked = [parse_encoder(text, None) for text in re.findall(r"-e (\S+)", built[1])]
            cells = {(one.encoder.name, one.preset, rate) for one in asked for rate in one.rate_values}
            for encoder in {one.encoder.name for one in asked if len(one.rate_values) > 1}:
                read = [DEFAULT_PROBES[index] for index in probes_read(DEFAULT_PROBES, encoder)]
                assert {(probe.encoder, probe.preset, probe.rate_value) for probe in read} <= cells, page.name
    assert checked >= 2


def test_commands_shown_exist():
    """Every command line in the documents names a verb, and options that the verb takes."""
    root = typer.main.get_command(build_app())
    assert len(shown_commands()) >= 10
    wrong = []
    for page, words in shown_commands():
        command, rest = root, list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        values = {after for word, after in pairwise(rest) if word in ("--rate-flag", "--encoder-args")}
        unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word not in {*known, *values}]
        if unknown or hasattr(command, "commands"):
            wrong.append((page, " ".join(words), unknown))
    assert wrong == []
