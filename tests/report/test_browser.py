"""Pages in a real Chromium: no error, no request, tooltips, toggles, three sizes. Run with `-m browser`."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.crafted import FORECAST, FR, make_run
from tests.report.documents import HOSTILE, acted_registry, compare_document, hostile_run, tune_document
from vmaf_assay.registry.store import registry_dir
from vmaf_assay.report.build import page_of
from vmaf_assay.report.compare_page import compare_page
from vmaf_assay.report.library_page import Title, library_page
from vmaf_assay.report.page import MAX_PAGE_BYTES, render
from vmaf_assay.report.tune_page import tune_page

pytestmark = pytest.mark.browser

SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desk": (1280, 900)}
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    """The Chromium of `$ASSAY_BROWSER` or on PATH; without one these tests fail, they are not skipped."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("ASSAY_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no Chromium: install Debian's chromium or set ASSAY_BROWSER"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    run = make_run(folder / "run", model_id=FORECAST)
    made = {"tune": tune_page(tune_document()), "run": page_of(run), "registry": page_of(registry_dir())}
    made["compare"] = compare_page(compare_document())
    made |= {
        f"hostile{i}": tune_page(tune_document(source=n, reasons=[n], preset=n)) for i, n in enumerate(HOSTILE)
    }
    made["hostile-run"] = page_of(hostile_run(folder / "bad", FORECAST))
    made["hostile-registry"] = page_of(acted_registry(folder / "acts", FR))
    made["hostile-compare"] = compare_page(compare_document(source=HOSTILE[3]))
    for name, page in made.items():
        (folder / f"{name}.html").write_text(render(page), encoding="utf-8")
    return folder


def opened(browser, path: Path, size: str = "desk", scheme: str = "light"):
    """A page, and everything that it complained of or asked for."""
    width, height = SIZES[size]
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: (heard.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or heard.append(request.url))
    page.goto(path.as_uri())
    return page, heard


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "name",
    [
        "tune",
        "run",
        "registry",
        "compare",
        "hostile-run",
        "hostile-registry",
        "hostile-compare",
        *(f"hostile{i}" for i in range(len(HOSTILE))),
    ],
)
def test_pages_open_quietly_at_every_size(browser, folder, name, size):
    """No console message, no request, no dialog, no sideways scrolling, and the document inside is read back."""
    page, heard = opened(browser, folder / f"{name}.html", size)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert isinstance(json.loads(page.locator("script#document").text_content()), dict)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert heard == []
    page.context.close()


def test_tooltips_by_mouse_and_by_keyboard(browser, folder):
    """Hovering a mark shows its numbers; arrow keys step through all marks of a chart; Escape hides them."""
    page, heard = opened(browser, folder / "tune.html")
    point = tune_document()["curve"][5]
    tip = page.locator("#tip")
    assert not tip.is_visible()
    page.locator(f'#vmaf-t >> xpath=.. >> [data-tip^="CRF {point["rate_value"]:g}\\a"]').first.hover(force=True)
    assert f"forecast VMAF {point['mu']:.2f}" in tip.text_content()
    page.locator("svg.chart").first.focus()
    seen = []
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        seen.append(tip.text_content())
    assert [text.split("\n")[0] for text in seen] == ["CRF 14", "CRF 15", "CRF 16", "CRF 17"]
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    assert heard == []
    page.context.close()


def test_themes_follow_the_system_and_the_button(browser, folder):
    """Dark where the system is dark; the button goes system, light, dark."""
    ground = "getComputedStyle(document.body).backgroundColor"
    page, _ = opened(browser, folder / "tune.html", scheme="dark")
    dark = page.evaluate(ground)
    page.click("#theme")
    light = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) == dark != light
    page.click("#theme")
    assert page.evaluate(ground) == dark
    page.context.close()
    page, _ = opened(browser, folder / "tune.html", scheme="light")
    assert page.evaluate(ground) == light
    page.context.close()


CONTRAST = """() => {
  const lum = (c) => { const [r,g,b] = c.match(/[\\d.]+/g).slice(0,3).map((v) => { v /= 255;
    return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126*r + .7152*g + .0722*b; };
  const back = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!c.endsWith(", 0)")) return c; } return "rgb(255,255,255)"; };
  return [...document.querySelectorAll("p,dt,dd,td,th,a,figcaption,.badge,button,summary,svg text")].map((e) => {
    const style = getComputedStyle(e), ink = e.closest("svg") ? style.fill : style.color;
    const [a, b] = [lum(ink), lum(back(e))].sort((x, y) => y - x); return [(a + .05) / (b + .05), e.tagName]; });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser, folder, scheme):
    """Every text has a contrast of at least 4.5 to its ground (WCAG 2.2, 1.4.3), in both themes."""
    page, _ = opened(browser, folder / "run.html", scheme=scheme)
    ratios = page.evaluate(CONTRAST)
    assert len(ratios) > 100
    assert min(ratios)[0] >= 4.5, min(ratios)
    page.context.close()


def test_series_and_tables_can_be_switched(browser, folder):
    """A legend button hides its series and shows it again; one button opens and closes all tables."""
    page, _ = opened(browser, folder / "run.html")
    marks = page.locator('[data-series="seed 1"]')
    assert marks.first.is_visible()
    button = page.locator('button.series[data-for="seed 1"]')
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert not any(mark.is_visible() for mark in marks.all())
    button.click()
    assert marks.first.is_visible()
    assert page.locator("details[open]").count() == 0
    page.click("#tables")
    assert page.locator("details[open]").count() == page.locator("details").count() > 0
    page.click("#tables")
    assert page.locator("details[open]").count() == 0
    page.context.close()


def test_history_can_be_read(browser, folder):
    """The acts on an ensemble lie open, newest first, each with its number and its kind."""
    page, heard = opened(browser, folder / "hostile-registry.html")
    table = page.locator("section#e0-acts table")
    assert table.is_visible()
    rows = [row.split("\t") for row in table.inner_text().splitlines()[1:]]
    acts = [row for row in rows if row[0].isdecimal()]
    assert [row[0] for row in acts] == ["6", "5", "4", "3", "2", "1"]
    assert [row[1] for row in acts] == ["rollback to 2", "rollback to 1"] * 2 + ["promote"] * 2
    assert heard == []
    page.context.close()


def test_print_opens_every_table(browser, folder):
    """On paper every table is open and no button is left."""
    page, _ = opened(browser, folder / "run.html")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details[open]").count() == page.locator("details").count()
    assert not page.locator("#theme").is_visible()
    assert len(page.pdf()) > 20_000
    page.context.close()


def many_titles(n: int) -> list[Title]:
    """Titles of two encoders: every 20th missed, every 100th failed, the first of a hostile name."""
    rng = np.random.default_rng(5)
    titles = []
    for number in range(n):
        name = HOSTILE[0] if number == 0 else f"films/title {number:04d}.mkv"
        if number % 100 == 7:
            titles.append(Title(name, "failed", note="it is not whole"))
            continue
        missed, encoder = number % 20 == 3, ("libx264 medium", "libsvtav1 8")[number % 2]
        forecast = 93.2 + float(rng.gamma(2.0, 0.4))
        measured = 93 - float(rng.uniform(0.05, 2)) if missed else max(93.0, forecast + float(rng.normal(0, 0.3)))
        kbps, rate = float(rng.lognormal(7, 0.8)), float(np.clip(rng.normal(30, 4), 14, 42).round())
        numbers = (rate, 93.0, 0.95, forecast, measured, measured, True, kbps, int(kbps * 9e5), 0.4)
        titles.append(Title(name, "missed" if missed else "met", encoder, *numbers, page="a%20b.html"))
    return titles


@pytest.fixture(scope="module")
def library(folder) -> Path:
    """The page of 2,000 titles."""
    path = folder / "library.html"
    path.write_text(render(library_page(many_titles(2000), "films")), encoding="utf-8")
    assert path.stat().st_size < MAX_PAGE_BYTES
    return path


def column(page, at: int) -> list[str]:
    """Texts of a column's rows that are shown, in the order shown."""
    script = (
        "at => [...document.querySelectorAll('.live tbody tr:not([hidden])')].map(r => r.cells[at].textContent)"
    )
    return page.evaluate(script, at)


def test_many_titles_are_sorted_and_filtered(browser, library):
    """2,000 rows, worst first: headings sort both ways with the missing last; words and the answer filter."""
    page, heard = opened(browser, library)
    titles = many_titles(2000)
    answers = column(page, 1)
    assert answers == sorted(answers, key=["failed", "missed", "met"].index)
    assert len(answers) == 2000
    measured = {one.source.split("/")[-1]: one.measured for one in titles}
    heads = page.locator(".live thead button")
    for click, sign in enumerate((1, -1)):
        heads.nth(6).click()
        shown = [float(text) for text in column(page, 6) if text != "-"]
        assert shown == sorted(shown, key=lambda value: sign * value)
        assert column(page, 6)[-20:] == ["-"] * 20
        assert page.locator("th[aria-sort]").get_attribute("aria-sort") == ("ascending", "descending")[click]
    assert float(column(page, 6)[0]) == round(max(value for value in measured.values() if value), 2)
    heads.nth(8).click()
    kbps = [int(text.replace(",", "")) for text in column(page, 8) if text != "-"]
    assert kbps == sorted(kbps)
    page.locator(".sift select").select_option("missed")
    assert set(column(page, 1)) == {"missed"}
    assert page.locator(".sift output").text_content() == "100 rows"
    page.locator(".sift input").fill("svtav1 TITLE 0043.mkv")
    assert column(page, 0) == ["title 0043.mkv"]
    page.locator(".sift input").fill("x264 0043")
    assert column(page, 0) == []
    page.locator(".sift input").press("Enter")  # sends no form
    page.locator(".sift select").select_option("")
    page.locator(".sift input").fill("nothing like this")
    assert (column(page, 0), page.locator(".sift output").text_content()) == ([], "0 rows")
    assert page.locator(".live a").first.get_attribute("href") == "a%20b.html"
    assert heard == []
    page.context.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_page_of_many_titles_opens_quietly(browser, library, size):
    """No message, request or sideways scrolling; the bars of its histograms have tooltips; text can be read."""
    page, heard = opened(browser, library, size, scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    page.locator("#rates svg.chart").first.focus()
    page.keyboard.press("ArrowRight")
    assert "titles" in page.locator("#tip").text_content()
    assert min(page.evaluate(CONTRAST))[0] >= 4.5
    assert heard == []
    page.context.close()
