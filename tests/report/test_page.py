"""Pages: one file, nothing fetched, the numbers of the JSON, and names that stay names."""

import json
import os
import re
from html.parser import HTMLParser

import pytest

from tests.crafted import FORECAST, FR, make_run
from tests.report.documents import HOSTILE, acted_registry, compare_document, hostile_run, tune_document
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError
from vmaf_assay.registry.entries import Entry, history
from vmaf_assay.registry.store import registry_dir
from vmaf_assay.report.build import page_of
from vmaf_assay.report.compare_page import compare_page
from vmaf_assay.report.page import MAX_PAGE_BYTES, Page, Table, render, write_page
from vmaf_assay.report.tune_page import tune_page


class Parsed(HTMLParser):
    """Tags with attributes, and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Remember it."""
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """It must close the last one open: the page is well-formed."""
        assert self._open.pop() == tag

    def handle_data(self, data):
        """Text, by the element it is in."""
        self.parts.append((self._open[-1] if self._open else "", data))

    def text(self) -> str:
        """What a reader sees or hears."""
        return " ".join(data for tag, data in self.parts if tag not in {"script", "style"})

    def document(self) -> dict:
        """The JSON inside."""
        (data,) = [data for (tag, data) in self.parts if tag == "script" and data.startswith("{")]
        return json.loads(data)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A crafted run of the forecast that passes its gate."""
    return make_run(tmp_path_factory.mktemp("runs") / "run", model_id=FORECAST)


@pytest.fixture(scope="module")
def pages(run_folder, tmp_path_factory) -> dict[str, str]:
    """One page of each kind, as HTML."""
    regressor = make_run(tmp_path_factory.mktemp("runs") / "fr", model_id=FR)
    return {
        "tune": render(tune_page(tune_document())),
        "run": render(page_of(run_folder)),
        "regressor": render(page_of(regressor)),
        "registry": render(page_of(registry_dir())),
        "compare": render(compare_page(compare_document())),
    }


KINDS = ["tune", "run", "regressor", "registry", "compare"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_fetched(pages, kind):
    """No attribute of any element leads out of the page, its policy forbids requests, and it is under 3 MB."""
    html = pages[kind]
    assert len(html.encode()) < MAX_PAGE_BYTES
    for tag, attrs in Parsed(html).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", html)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_can_be_used_without_eyes_or_mouse(pages, kind):
    """Language, landmarks, one h1, headings without a gap, a name for every picture, and a table behind each."""
    parsed = Parsed(pages[kind])
    tags = [tag for tag, _ in parsed.tags]
    assert dict(parsed.tags)["html"]["lang"] == "en"
    assert {"header", "nav", "main", "footer"} <= set(tags)
    assert [tag for tag in tags if re.fullmatch(r"h\d", tag)] == ["h1"] + ["h2"] * (tags.count("h2"))
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    charts = [attrs for tag, attrs in parsed.tags if tag == "svg" and attrs.get("class") == "chart"]
    assert charts
    for attrs in charts:
        assert attrs["role"] == "img"
        assert attrs["tabindex"] == "0"
        assert set(attrs["aria-labelledby"].split()) <= set(ids)
    sections = pages[kind].split("<section")[1:]
    assert all("<table" in section for section in sections if 'class="chart"' in section)
    assert all(attrs.get("alt") for tag, attrs in parsed.tags if tag == "img")


def test_tune_page_shows_the_numbers_of_its_document():
    """Choice, bounds, bitrates, probes, trials, result, frames, promise: as in the JSON, which is inside."""
    document = tune_document()
    parsed = Parsed(render(tune_page(document)))
    assert parsed.document() == document
    text = parsed.text()
    for shown in (
        "94.27",
        "93.13",
        "93.61",
        "812",
        "798",
        "95.437",
        "92.751",
        "1,012",
        "640 x 360",
        "36 groups",
        "VMAF >= 93 with confidence 0.95",
        "for 95 of 100",
        "ffmpeg -i in.mkv out.mkv",
        "60 frames",
        "margin 1.14 points, from 36 calibration groups",
        "not both where the document says",
    ):
        assert shown in text, shown
    tips = [attrs["data-tip"] for _, attrs in parsed.tags if "data-tip" in attrs]
    for point in document["curve"]:
        tip = (
            f"CRF {point['rate_value']:g}\nforecast VMAF {point['mu']:.2f}\nlower bound {point['lower_bound']:.2f}"
        )
        assert tip in tips


@pytest.mark.parametrize(
    ("changes", "says", "mood"),
    [
        ({}, "Measured on every frame: 93.61, met", "good"),
        ({"measured_vmaf": 92.0}, "92.00, MISSED", "bad"),
        ({"measured_vmaf": None, "frame_vmaf": None, "output": None}, "Run again with --verify", "good"),
        ({"supported": False}, "no promise: not supported", "bad"),
        ({"reachable": False, "output": None, "measured_vmaf": None}, "out of reach", "bad"),
    ],
    ids=["met", "missed", "unmeasured", "unsupported", "unreachable"],
)
def test_tune_page_answers_first(changes, says, mood):
    """The first line says yes or no as the exit code does, and the rest of the page fits it."""
    page = tune_page(tune_document(**changes))
    assert page.mood == mood
    assert says in Parsed(render(page)).text()


def test_pages_say_what_was_sampled():
    """Of a long source the page says how much was probed and what that costs; of a short one nothing."""
    sample = {
        "segments": 24,
        "units": 96,
        "segments_tried": 8,
        "frames": 1200,
        "seconds": 48.0,
        "sampling_part": 0.31,
        "warm_up_frames": 12,
        "cool_down_frames": 4,
        "first_frames": [0],
    }
    words = "24 of 96 segments were probed, 1,200 frames or 48 s; each trial encoded 8 of them."
    for make, document in ((tune_page, tune_document), (compare_page, compare_document)):
        text = Parsed(render(make(document(sample=sample)))).text()
        assert words in text
        assert "0.31 points off the bound" in text
        assert "segments" not in Parsed(render(make(document(sample=None)))).text()


@pytest.mark.parametrize(("preset", "shown"), [("medium", 1), ("slow", 0)])
def test_both_charts_mark_what_probes_of_the_very_kind_measured(preset, shown):
    """A probe of another preset says nothing of this curve."""
    probe = {"encoder": "libx264", "preset": preset, "rate_value": 30.0, "vmaf": 95.437, "kbps": 1012.5}
    tips = [
        tip
        for _, of in Parsed(render(tune_page(tune_document(probes=[probe])))).tags
        if (tip := of.get("data-tip"))
    ]
    assert tips.count("probe, CRF 30\nmeasured VMAF 95.44") == shown
    assert tips.count("probe, CRF 30\nmeasured 1,012 kbps") == shown


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_do_no_harm(name):
    """A name that is markup, quotes, 300 characters or right to left is shown, and adds no element."""
    hostile = tune_document(source=name, reasons=[name], encode_argv=["ffmpeg", name], preset=name, output=name)
    parsed, plain = Parsed(render(tune_page(hostile))), Parsed(render(tune_page(tune_document())))
    inert = {"li", "bdi"}  # the legend has one entry less: no probe has that preset
    assert {tag for tag, _ in parsed.tags} == {tag for tag, _ in plain.tags}
    for tag in {"script", "img", "style", "title", "a", "section"} - inert:
        assert [t for t, _ in parsed.tags].count(tag) == [t for t, _ in plain.tags].count(tag), tag
    assert not [key for _, attrs in parsed.tags for key in attrs if key.startswith("on")]
    assert name.rpartition("/")[2] in parsed.text()
    assert parsed.document()["source"] == name


@pytest.fixture(scope="module")
def acted(tmp_path_factory) -> tuple[str, list[Entry]]:
    """The page of a registry with hostile names and a history, and that history."""
    folder = acted_registry(tmp_path_factory.mktemp("acted"), FR)
    return render(page_of(folder)), history(folder)


@pytest.mark.parametrize("kind", ["run", "registry", "compare"])
def test_hostile_names_do_no_harm_on_other_pages(kind, acted, tmp_path):
    """Groups, sources, encoders, reasons and people with hostile names are shown, and add no element."""
    if kind == "run":
        html = render(page_of(hostile_run(tmp_path / "run", FR)))
    elif kind == "registry":
        html = acted[0]
    else:
        document = compare_document(source=HOSTILE[0])
        for number, name in enumerate(HOSTILE):
            document["contenders"].append(document["contenders"][0] | {"encoder": name, "preset": f"p{number}"})
        html = render(compare_page(document))
    parsed = Parsed(html)
    said = parsed.text() + " ".join(attrs.get("data-tip") or "" for _, attrs in parsed.tags)
    for name in HOSTILE:
        assert name in said, name
    tags = [tag for tag, _ in parsed.tags]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (2, 1, 0)
    titles = [data for tag, data in parsed.parts if tag == "title"]  # of the page, and of each chart
    assert len(titles) == 1 + tags.count("svg") - html.count('aria-hidden="true"')
    assert not [key for _, attrs in parsed.tags for key in attrs if key.startswith("on")]
    assert "<script>alert" not in html


def test_registry_page_shows_who_did_what_and_who_signed(acted):
    """Every act with its number, kind, day, person, reason and signing keys, as the history has them."""
    html, entries = acted
    parsed = Parsed(html)
    text, document = parsed.text(), parsed.document()
    assert document["history"] == [entry.as_json() for entry in entries]
    assert [entry.kind for entry in entries] == ["rollback"] * 4 + ["promote"] * 2
    signed = [entry for entry in entries if entry.signed_by]
    assert [entry.in_force for entry in signed] == [True]
    rows = html.partition("Acts on")[2].partition("</table>")[0].split("<tr>")[2:]
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        cells = [part.partition("</bdi>")[0] for part in row.split("<bdi>")[1:]]
        what = entry.kind if entry.returns_to is None else f"{entry.kind} to {entry.returns_to}"
        keys = ", ".join(key[:12] for key in entry.signed_by) or "nobody"
        force = "now" if entry.in_force else "-"
        assert [*cells[:3], cells[4], cells[7]] == [
            str(entry.verdict.sequence),
            what,
            force,
            keys,
            entry.sha256[:12],
        ]
        assert entry.verdict.act.reason in text
    assert "signed in force 1 of 1" in " ".join(text.split())


def test_registry_page_says_what_is_broken(tmp_path):
    """A signature that no longer fits its verdict is refused on the page, in words, and the rest still shows."""
    folder = acted_registry(tmp_path, FR)
    (envelope,) = folder.glob("*.dsse.json")
    envelope.write_text(envelope.read_text().replace('"sig": "', '"sig": "AAAA'))
    page = page_of(folder)
    assert page.mood == "bad"
    assert "history does not verify" in Parsed(render(page)).text()


def test_run_page_shows_the_gate_and_every_fold(pages, run_folder):
    """Mean, spread and each seed of the gate; every group by seed; coverage; the worst groups."""
    parsed = Parsed(pages["run"])
    text, document = parsed.text(), parsed.document()
    assert f"{document['gate']['mean_plcc']:.4f}" in text
    for seed, score in document["gate"]["per_seed_plccs"].items():
        assert f"{score:.6f}" in text, seed
    tips = {attrs["data-tip"] for _, attrs in parsed.tags if "data-tip" in attrs}
    for fold in document["folds"]:
        assert f"{fold['held_out']}\nseed {fold['seed']}: PLCC {fold['plcc']:.4f}" in tips
    assert {result["confidence"] for result in document["coverage"]} == {0.8, 0.9, 0.95}
    for title in (
        "The gate at a glance",
        "Predicted against measured",
        "Does sigma predict the error?",
        "The worst groups",
    ):
        assert title in text
    predicted = json.loads((run_folder / "run.json").read_text())["corpus"]["n_rows"]
    assert sum("measured" in tip and "predicted" in tip for tip in tips) == predicted


def test_registry_page_shows_rows_and_history(pages):
    """Every row with its status and digest, every ensemble's verdicts with their numbers."""
    parsed = Parsed(pages["registry"])
    text, document = parsed.text(), parsed.document()
    assert len(document["registry"]["rows"]) >= 12
    for row in document["registry"]["rows"]:
        assert row["id"] in text
        assert row["sha256"][:12] in text
    for verdicts in document["verdicts"].values():
        for verdict in verdicts:
            assert verdict["generated_at_utc"][:16].replace("T", " ") in text


def test_compare_page_shows_the_numbers_of_its_document(pages, tmp_path):
    """Every contender's curve, choice, BD-rate and measurement, after the cheapest."""
    document = compare_document()
    parsed = Parsed(pages["compare"])
    assert parsed.document() == document
    text = parsed.text()
    for shown in ("libsvtav1 8 is the cheapest", "-40.0 %", "93.77", "477", "812", "487", "in.mkv: 2 encoders"):
        assert shown in text, shown
    tips = [attrs["data-tip"] for _, attrs in parsed.tags if "data-tip" in attrs]
    for one in document["contenders"]:
        for point in one["curve"]:
            said = f"VMAF {point['mu']:.2f}, at least {point['lower_bound']:.2f}"
            assert any(said in tip and one["encoder"] in tip for tip in tips) == (point["mu"] >= 63)
    (tmp_path / "c.json").write_text(json.dumps(document))
    assert page_of(tmp_path / "c.json").kind == "compare"
    none = compare_page(compare_document(cheapest=None))
    assert (none.mood, none.answer) == ("bad", "none meets VMAF 93 with confidence 0.95")
    with pytest.raises(ConfigError, match="lacks contenders"):
        compare_page(compare_document(contenders=[]))


def test_a_column_has_one_number_of_decimals():
    """Figures of a column can be compared at sight."""
    table = Table("t", ["a", "b", "c"], [[1.5, "x", True], [0.25, "y", False], [None, "z", None]])
    lines = [[text for text, _ in line] for line in table.lines()]
    assert lines == [
        ["1.50", "x", "yes"],
        ["0.25", "y", "no"],
        ["-", "z", "-"],
    ]
    assert table.columns() == [("a", "n"), ("b", ""), ("c", "")]


def test_report_verb_writes_a_page(tmp_path, capsys):
    """`assay report TUNE.json -o PAGE` writes the page, says where it is and the answer; exit 0."""
    (tmp_path / "tune.json").write_text(json.dumps(tune_document()))
    assert main(["report", str(tmp_path / "tune.json"), "-o", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'page.html'}: libx264 medium at CRF 32")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "no page can be made of x.json"),
        ('{"encode_argv": []}', "lacks source"),
    ],
)
def test_what_is_no_document_is_refused(tmp_path, content, words):
    """A JSON file of another kind, or an incomplete one, is one line with the next step."""
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError, match=words):
        page_of(tmp_path / "x.json")


def test_what_is_no_folder_of_ours_is_refused(tmp_path):
    """An empty folder and a missing path are named."""
    with pytest.raises(ConfigError, match=r"neither run.json nor registry.json"):
        page_of(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        page_of(tmp_path / "absent")


def test_a_name_that_is_not_utf8_is_spelled(tmp_path):
    """A page about a file of such a name is written, in UTF-8, with the name's bytes spelled."""
    name = os.fsdecode(b"caf\xe9.mkv")
    write_page(Page("pair", f"{name} against b.mkv", name, "plain", [("source", name)]), tmp_path / "p.html")
    html = (tmp_path / "p.html").read_bytes().decode()
    assert html.count("caf\\xe9.mkv") >= 3
