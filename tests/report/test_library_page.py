"""The page of many titles: who is counted as what, the interval of the hit rate, the worst first."""

import json
import math

import pytest

from tests.report.documents import tune_document
from vmaf_assay.api.pages import LibraryIndex
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError
from vmaf_assay.report import library_page as module
from vmaf_assay.report.build import page_of
from vmaf_assay.report.library_page import Title, hit_rate, interval, library_page, title_of
from vmaf_assay.report.page import MAX_PAGE_BYTES, render


def line(source: str, **changes) -> dict:
    """A line of `tune --out-dir --json` of a title that was promised and met."""
    promise = {"made": True, "supported": True, "reachable": True}
    asked = {"source": source, "promise": promise, "quality_met": True, "goal": "quality", "answer": "why"}
    return tune_document(**(asked | changes))


FAILED = {"source": "d.mkv", "error": "d.mkv is not whole", "status": "failed", "exit_code": 2}


def test_who_is_counted_as_what():
    """Below the target is a miss, also after a retry; limits and promises are a no; errors a failure."""
    unpromised = {"made": False, "supported": False}
    cases = [
        (line("a"), "met", True),
        (line("a", measured_vmaf=92.99, quality_met=False), "missed", True),
        (line("a", ratio_met=False), "no", True),
        (line("a", ratio_met=None), "met", True),
        (line("a", measured_vmaf=None) | {"promise": unpromised, "quality_met": False}, "no", False),
        (FAILED, "failed", False),
        (line("a", goal_met=True, measured_vmaf=80.0) | {"goal": "bitrate"}, "met", True),
        (line("a", goal_met=False) | {"goal": "size"}, "no", True),
    ]
    for document, answer, promised in cases:
        title = title_of(document)
        assert (title.answer, title.promised) == (answer, promised), document


def test_a_title_that_a_retry_saved_is_no_hit_of_the_promise():
    """The promise is of the first encode; what `--retry` made of it later does not improve the hit rate."""
    saved = title_of(line("a", missed=[{"rate_value": 33.0, "measured_vmaf": 92.4, "kbps": 700.0}]))
    assert saved.answer == "met"
    assert hit_rate([saved, title_of(line("b"))]) == (1, 2)
    assert hit_rate([title_of(line("b", measured_vmaf=None)), title_of(FAILED)]) == (0, 0)


@pytest.mark.parametrize(("hits", "n"), [(19, 20), (0, 7), (7, 7), (1880, 2000)])
def test_the_interval_is_the_exact_one(hits, n):
    """At each end of Clopper and Pearson's interval the other tail of the binomial distribution is 2.5 %."""
    low, high = interval(hits, n)

    def tail(rate: float, counts: range) -> float:
        logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in counts]
        return sum(
            math.exp(log + k * math.log(rate) + (n - k) * math.log1p(-rate))
            for k, log in zip(counts, logs, strict=True)
        )

    assert low == 0 if hits == 0 else tail(low, range(hits, n + 1)) == pytest.approx(0.025, rel=1e-6)
    assert high == 1 if hits == n else tail(high, range(hits + 1)) == pytest.approx(0.025, rel=1e-6)


def test_the_worst_are_first():
    """Failures, then misses by how far, then noes, then what was met by the least."""
    titles = [
        title_of(line("met", measured_vmaf=95.0)),
        title_of(line("near", measured_vmaf=92.9, quality_met=False)),
        title_of(line("no", measured_vmaf=None) | {"quality_met": False}),
        title_of(line("just met", measured_vmaf=93.01)),
        title_of(line("far", measured_vmaf=88.0, quality_met=False)),
        title_of(FAILED),
    ]
    page = library_page(titles, "season")
    [table] = page.sections[0].tables
    assert [str(row[0]) for row in table.rows] == ["d.mkv", "far", "near", "no", "just met", "met"]
    assert page.answer.startswith("2 of 6 titles met what was asked; 1 failed, 2 were measured below the target")
    assert (page.mood, dict(page.facts)["hit rate"]) == ("bad", "50.0 %")
    text = render(page)
    assert "d.mkv is not whole" in text
    assert library_page(titles[:1], "x").mood == "good"


def test_titles_without_numbers_still_make_a_page():
    """A run in which everything failed, and one of forecasts alone, have pages that say so."""
    assert "No title has a bitrate" in render(library_page([title_of(FAILED)], "x"))
    forecast = title_of(line("a", measured_vmaf=None, output=None, kbps=None))
    assert "add --verify" in render(library_page([forecast], "x"))


def test_a_huge_run_stays_below_the_limit(monkeypatch):
    """Past `MOST_ROWS` the worst titles are shown, the page says so, and the figures are of all."""
    numbers = (93.0, 0.95, 93.5, 94.0, 94.0, True, 900.0)
    titles = [
        Title(f"films/title-{i:06d}.mkv", "met", "libx264 medium", 20 + i % 15, *numbers)
        for i in range(module.MOST_ROWS + 500)
    ]
    text = render(library_page(titles, "all"))
    assert len(text) < MAX_PAGE_BYTES
    assert "Shown are the worst 4,000 of 4,500." in text
    assert "4,500 titles were promised" in text


def test_pages_of_a_file_of_lines(tmp_path, capsys):
    """`assay report answers.ndjson` makes the page; the last line of a source counts, summaries do not."""
    lines = [line("a", measured_vmaf=90.0, quality_met=False), FAILED, line("a"), {"summary": {"done": 2}}]
    path = tmp_path / "answers.ndjson"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert main(["report", str(path), "-o", str(tmp_path / "page.html")]) == 0
    assert "1 of 2 titles met what was asked; 1 failed" in capsys.readouterr().out
    path.write_text('{"summary": {}}\n')
    with pytest.raises(ConfigError, match="names no title"):
        page_of(path)


def test_links_lead_to_the_pages_that_are_there(tmp_path):
    """A title's name leads to its page, whatever the characters of the name; without a page it is plain text."""
    odd = tmp_path / "season 1" / "50% ünd #1?.html"
    odd.parent.mkdir()
    odd.touch()
    index = LibraryIndex(tmp_path)
    index.add(line("javascript:alert(1)"), odd)
    index.add(line("b.mkv"), tmp_path / "absent.html")
    index.write()
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="season%201/50%25%20%C3%BCnd%20%231%3F.html"' in text
    assert text.count("<td><a ") == 1
