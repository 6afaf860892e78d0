"""The page of a run of many titles: what was chosen, what it costs, what was measured, the worst titles first."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from vmaf_assay.report.page import Link, Page, Section, Table
from vmaf_assay.report.plots import Axis, Chart, Point

Document = dict[str, Any]

MOST_ROWS = 4000
"""Titles in the table, and as points in charts; the worst are shown. More would exceed `MAX_PAGE_BYTES`."""
INTERVAL = 0.95
"""Confidence of the hit rate's interval."""


@dataclass(frozen=True, slots=True)
class Title:
    """What the page knows of one title."""

    source: str
    """As the answer names it."""
    answer: str
    """`met`, `missed`, `no` (nothing promised or over a limit) or `failed`."""
    encoder: str = ""
    """Encoder and preset."""
    rate_value: float | None = None
    target: float | None = None
    """VMAF asked for, points; None for another goal."""
    confidence: float | None = None
    forecast: float | None = None
    """Forecast VMAF, points."""
    measured: float | None = None
    """Measured VMAF of the output, points."""
    first: float | None = None
    """Measured VMAF of the first encode, which the promise is of; other than `measured` after `--retry`."""
    promised: bool = False
    kbps: float | None = None
    """Of the encode, else as forecast."""
    n_bytes: int | None = None
    """Size of the output."""
    source_ratio: float | None = None
    """Bytes of its video by those of the source's video."""
    note: str = ""
    """Why it failed, or the first reason of a no."""
    page: str = ""
    """Address of its own page, relative to this one."""

    @property
    def over(self) -> float | None:
        """Measured VMAF less the target, points."""
        return None if self.measured is None or self.target is None else self.measured - self.target


def title_of(document: Document, page: str = "") -> Title:
    """The facts of one line of `assay tune --out-dir --json`.

    Args:
      document: the line.
      page: address of the title's own page.
    """
    if "curve" not in document:
        return Title(str(document.get("source", "")), "failed", note=str(document.get("error", "")))
    promise = document.get("promise") or {}
    measured, of_quality = document.get("measured_vmaf"), document.get("goal", "quality") == "quality"
    missed = document.get("missed") or []
    within = all(document.get(limit) is not False for limit in ("bitrate_met", "size_met", "ratio_met"))
    answer = "met" if within and document.get("quality_met" if of_quality else "goal_met") else "no"
    if of_quality and measured is not None and measured < document["target_vmaf"]:
        answer = "missed"
    return Title(
        source=str(document["source"]),
        answer=answer,
        encoder=f"{document['encoder']} {document['preset']}",
        rate_value=document["rate_value"],
        target=document["target_vmaf"] if of_quality else None,
        confidence=document["confidence"],
        forecast=document["mu"],
        measured=measured,
        first=missed[0]["measured_vmaf"] if missed else measured,
        promised=bool(promise.get("made")),
        kbps=document.get("kbps") or document.get("forecast_kbps"),
        n_bytes=document.get("output_bytes"),
        source_ratio=document.get("source_ratio"),
        note="" if answer == "met" else str(document.get("answer") or ""),
        page=page,
    )


def library_page(titles: Sequence[Title], name: str) -> Page:
    """The page of many titles.

    Args:
      titles: in any order; at least one.
      name: what the run is called.
    """
    ranked = sorted(titles, key=_worst_first)
    shown = ranked[:MOST_ROWS]
    counts = Counter(title.answer for title in titles)
    no = len(titles) - counts["met"]
    answer = f"{counts['met']:,} of {len(titles):,} titles met what was asked"
    answer += f"; {_words(counts)}" if no else ""
    left_out = [f"Shown are the worst {MOST_ROWS:,} of {len(titles):,}."] if len(titles) > MOST_ROWS else []
    sections = [
        _table(shown, left_out),
        _promise(titles, shown, left_out),
        _rates(titles),
        _bits(titles),
    ]
    facts = _facts(titles, counts)
    document = {"library": [{k: v for k, v in asdict(one).items() if v not in (None, "")} for one in shown]}
    return Page(
        "library", f"{name}: {len(titles):,} titles", answer, "bad" if no else "good", facts, sections, document
    )


def hit_rate(titles: Iterable[Title]) -> tuple[int, int]:
    """(titles whose first encode reached the target, titles promised and measured)."""
    judged = [one for one in titles if one.promised and one.first is not None and one.target is not None]
    hits = sum(one.first >= one.target for one in judged if one.first is not None and one.target is not None)
    return hits, len(judged)


def interval(hits: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson interval of a rate, of `INTERVAL`; (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # imported here: it takes 300 ms

    found = binomtest(hits, n).proportion_ci(INTERVAL, method="exact")
    return float(found.low), float(found.high)


def _worst_first(title: Title) -> tuple[int, float, str]:
    """Failures, then misses by how far, then other noes, then what was met by the least."""
    order = {"failed": 0, "missed": 1, "no": 2, "met": 3}
    return order[title.answer], float("inf") if title.over is None else title.over, title.source


def _words(counts: Counter[str]) -> str:
    said = {"failed": "failed", "missed": "were measured below the target", "no": "have a no"}
    return ", ".join(f"{counts[kind]:,} {words}" for kind, words in said.items() if counts[kind])


def _facts(titles: Sequence[Title], counts: Counter[str]) -> list[tuple[str, object]]:
    hits, n = hit_rate(titles)
    low, high = interval(hits, n)
    made = [one.n_bytes for one in titles if one.n_bytes is not None]
    ratios = [one.source_ratio for one in titles if one.source_ratio is not None]
    return [
        ("titles", len(titles)),
        ("met", counts["met"]),
        ("missed", counts["missed"]),
        ("a no", counts["no"]),
        ("failed", counts["failed"]),
        ("promised and measured", n),
        ("hit rate", f"{100 * hits / n:.1f} %" if n else None),
        ("its 95 % interval", f"{100 * low:.1f} to {100 * high:.1f} %" if n else None),
        ("outputs in all", f"{sum(made) / 1e9:,.2f} GB" if made else None),
        ("median share of the source", f"{100 * float(np.median(ratios)):.0f} %" if ratios else None),
    ]


def _table(shown: Sequence[Title], left_out: list[str]) -> Section:
    rows: list[list[object]] = []
    for one in shown:
        name = PurePath(one.source).name or one.source
        rows.append(
            [
                Link(name, one.page) if one.page else name,
                one.answer,
                one.note or None,
                one.encoder or None,
                _rounded(one.rate_value, 2),
                _rounded(one.forecast, 2),
                _rounded(one.measured, 2),
                _rounded(one.over, 2),
                _rounded(one.kbps, 0),
                None if one.source_ratio is None else round(100 * one.source_ratio),
            ]
        )
    headers = ["title", "answer", "why", "encoder", "rate value", "forecast", "measured", "over target"]
    words = "Worst first: failures, then misses by how far, then noes. Press a heading to sort, or type to filter."
    table = Table("Titles", [*headers, "kbps", "% of source"], rows, pick=1)
    return Section("titles", "Which titles are the worst?", [words, *left_out], tables=[table])


def _promise(titles: Sequence[Title], shown: Sequence[Title], left_out: list[str]) -> Section:
    hits, n = hit_rate(titles)
    if n == 0:
        return Section("promise", "Did the promise hold?", ["Nothing promised was measured: add --verify."])
    low, high = interval(hits, n)
    asked = sorted({one.confidence for one in titles if one.promised and one.confidence is not None})
    confidence = " to ".join(f"{value:g}" for value in sorted({asked[0], asked[-1]}))
    verdict = (
        "no less than was promised, as far as these titles tell" if high >= asked[0] else "less than was promised"
    )
    words = (
        f"{n:,} titles were promised with confidence {confidence} and measured. The first encode of {hits:,} "
        f"reached the target: {100 * hits / n:.1f} %. With 95 % confidence that is {100 * low:.1f} "
        f"to {100 * high:.1f} % (Clopper-Pearson): {verdict}."
    )
    both = [one for one in shown if one.forecast is not None and one.first is not None]
    chart = Chart(
        "against",
        "Measured against forecast VMAF",
        "Each mark is a title; on the diagonal both are equal",
        Axis("forecast VMAF, points", [one.forecast for one in both if one.forecast is not None]),
        Axis("measured VMAF, points", [one.first for one in both if one.first is not None]),
        height=430,
    )
    chart.diagonal()
    for target in sorted({one.target for one in both if one.target is not None})[:3]:
        chart.rule(y=target, label=f"target {target:g}")
    for series, (name, promised) in enumerate((("promised", True), ("not promised", False))):
        marks = [_mark(one) for one in both if one.promised is promised]
        if marks:
            chart.points(marks, series=series, name=name)
    return Section("promise", "Did the promise hold?", [words, *left_out], [chart])


def _mark(one: Title) -> Point:
    assert one.forecast is not None  # the caller chose these
    assert one.first is not None
    tip = f"{PurePath(one.source).name}\nforecast {one.forecast:.2f}, measured {one.first:.2f}"
    return Point(one.forecast, one.first, tip)


def _rates(titles: Sequence[Title]) -> Section:
    charts, tables = [], []
    for series, encoder in enumerate(sorted({one.encoder for one in titles if one.rate_value is not None})):
        values = [one.rate_value for one in titles if one.encoder == encoder and one.rate_value is not None]
        edges = np.arange(np.floor(min(values)) - 0.5, np.ceil(max(values)) + 1.0)
        counts, _ = np.histogram(values, edges)
        chart = Chart(
            f"rates{series}",
            f"Rate values of {encoder}",
            f"Titles by rate value, from {min(values):g} to {max(values):g}",
            Axis("rate value", [float(edges[0]), float(edges[-1])]),
            Axis("titles", [0.0, float(counts.max())], low=0.0),
            height=260,
        )
        rows = [(int(edge + 0.5), int(n)) for edge, n in zip(edges, counts, strict=False)]
        tips = [f"{value} (rounded): {n:,} titles" for value, n in rows]
        chart.bars([float(edge) for edge in edges], [float(n) for n in counts], tips, series=series)
        charts.append(chart)
        tables.append(Table(f"Rate values of {encoder}, rounded", ["rate value", "titles"], rows))
    return Section("rates", "Which rate values were chosen?", (), charts, tables)


def _bits(titles: Sequence[Title]) -> Section:
    values = np.array([one.kbps for one in titles if one.kbps])
    if not len(values):
        return Section("bits", "How many bits?", ["No title has a bitrate."])
    low, high = np.log10(values.min() / 1.05), np.log10(values.max() * 1.05)
    edges = np.logspace(low, high, 25)
    counts, _ = np.histogram(values, edges)
    chart = Chart(
        "bits-chart",
        "Bitrates",
        "Titles by bitrate of the encode, or as forecast where none was made; logarithmic",
        Axis("kbps", [float(edges[0]), float(edges[-1])], scale="log"),
        Axis("titles", [0.0, float(counts.max())], low=0.0),
        height=260,
    )
    rows = [(round(float(a)), round(float(b)), int(n)) for a, b, n in zip(edges, edges[1:], counts, strict=False)]
    tips = [f"{a:,} to {b:,} kbps: {n:,} titles" for a, b, n in rows]
    chart.bars([float(edge) for edge in edges], [float(n) for n in counts], tips)
    quarters = ", ".join(f"{value:,.0f}" for value in np.percentile(values, [25, 50, 75]))
    table = Table("Bitrates, kbps", ["from", "to", "titles"], rows)
    return Section("bits", "How many bits?", [f"Quartiles: {quarters} kbps."], [chart], [table])


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
