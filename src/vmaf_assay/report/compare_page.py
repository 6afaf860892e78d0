"""The page of a comparison: bitrate by quality for several encoders, with bands, and the cheapest one."""

from pathlib import Path
from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.report.page import Page, Section, Table
from vmaf_assay.report.plots import Axis, Chart, Point
from vmaf_assay.report.tune_page import sampled_words

Document = dict[str, Any]


def compare_page(document: Document) -> Page:
    """The page of a document of `assay compare --json`.

    Raises:
      ConfigError: a field that the page needs is missing.
    """
    missing = [name for name in ("source", "target_vmaf", "confidence", "contenders") if name not in document]
    if missing or not document["contenders"]:
        raise ConfigError(
            f"the document lacks {', '.join(missing) or 'contenders'}",
            next_step="make it with `assay compare --json`",
        )
    best = document.get("cheapest")
    target = f"VMAF {document['target_vmaf']:g} with confidence {document['confidence']:g}"
    answer = (
        f"{best['encoder']} {best['preset']} is the cheapest that meets {target}"
        if best
        else f"none meets {target}"
    )
    measured = [one for one in document["contenders"] if one.get("measured_vmaf") is not None]
    facts = [
        ("target VMAF", f"{document['target_vmaf']:g}"),
        ("confidence", f"{document['confidence']:g}"),
        ("contenders", len(document["contenders"])),
        ("encodes spent", document.get("encodes_spent")),
        ("measured", len(measured)),
    ]
    sections = [_curves(document), _choices(document), _limits(document)]
    title = f"{Path(document['source']).name}: {len(document['contenders'])} encoders compared"
    return Page("compare", title, answer, "good" if best else "bad", facts, sections, document)


def _name(one: Document) -> str:
    return f"{one['encoder']} {one['preset']}"


def _curves(document: Document) -> Section:
    target = document["target_vmaf"]
    known = [(one, [p for p in one["curve"] if p.get("kbps")]) for one in document["contenders"]]
    known = [(one, sorted(curve, key=lambda p: p["kbps"])) for one, curve in known if curve]
    floor = max(0.0, target - 30)
    kbps = [p["kbps"] for _, curve in known for p in curve if p["mu"] >= floor]
    chart = Chart(
        "rate-quality",
        "Forecast VMAF by bitrate",
        "Logarithmic in bitrate; the bands reach down to the lower bounds; large marks are the choices",
        Axis("kbps", kbps, scale="log"),
        Axis("VMAF, points", [floor, 100.0], high=100.0),
        height=430,
    )
    chart.rule(y=target, label=f"target {target:g}")
    for series, (one, curve) in enumerate(known):
        shown = [p for p in curve if p["mu"] >= floor]
        xs, mu = [p["kbps"] for p in shown], [p["mu"] for p in shown]
        chart.band(xs, [max(p["lower_bound"], floor) for p in shown], mu, series=series)
        chart.line(xs, mu, series=series, name=_name(one))
        chart.points([_point(one, p) for p in shown], series=series, name=_name(one))
        marks = _marks(one, floor)
        chart.points(marks, series=series, name=_name(one), large=True)
    table = Table(
        "Forecast by encoder and rate value",
        ["encoder", "rate value", "forecast VMAF", "lower bound", "forecast kbps", "at least", "at most"],
        [
            [
                _name(one),
                p["rate_value"],
                round(p["mu"], 3),
                round(p["lower_bound"], 3),
                round(p["kbps"]),
                _rounded(p.get("kbps_low"), 0),
                _rounded(p.get("kbps_high"), 0),
            ]
            for one, curve in known
            for p in curve
        ],
    )
    words = "Further left is cheaper, further up is better. All curves come from one pair of probe encodes."
    return Section("curves", "Rate against quality", [words], [chart], [table])


def _point(one: Document, p: Document) -> Point:
    quality = f"VMAF {p['mu']:.2f}, at least {p['lower_bound']:.2f}"
    return Point(p["kbps"], p["mu"], f"{_name(one)} at {p['rate_value']:g}\n{quality}\n{p['kbps']:,.0f} kbps")


def _marks(one: Document, floor: float) -> list[Point]:
    """The choice of one contender: as forecast, and as measured where it was."""
    marks = []
    if one.get("forecast_kbps") and one["mu"] >= floor:
        said = f"forecast VMAF {one['mu']:.2f}, {one['forecast_kbps']:,.0f} kbps"
        tip = f"{_name(one)}: choice {one['rate_value']:g}\n{said}"
        marks.append(Point(one["forecast_kbps"], one["mu"], tip))
    if one.get("measured_vmaf") is not None and one.get("kbps") and one["measured_vmaf"] >= floor:
        said = f"VMAF {one['measured_vmaf']:.2f}, {one['kbps']:,.0f} kbps"
        tip = f"{_name(one)} at {one['rate_value']:g}, measured\n{said}"
        marks.append(Point(one["kbps"], one["measured_vmaf"], tip))
    return marks


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _choices(document: Document) -> Section:
    measured = any(one.get("measured_vmaf") is not None for one in document["contenders"])
    rows: list[list[object]] = []
    for one in document["contenders"]:
        bd = one.get("bd_rate")
        rows.append(
            [
                _name(one),
                one["rate_value"],
                round(one["mu"], 2),
                round(one["lower_bound"], 2),
                None if one.get("forecast_kbps") is None else round(one["forecast_kbps"]),
                None if bd is None else f"{100 * bd:+.1f} %",
                bool(one.get("met")),
            ]
        )
        if measured:
            rows[-1] += [_rounded(one.get("measured_vmaf"), 2), _rounded(one.get("kbps"), 1)]
    headers = ["encoder", "rate value", "forecast", "bound", "kbps", "BD-rate", "meets"]
    if measured:
        headers += ["measured", "kbps then"]
    table = Table("Each encoder's choice", headers, rows)
    first = _name(document["contenders"][0])
    words = (
        f"BD-rate is the bitrate more or less than {first} at equal forecast VMAF, where both reach it: minus "
        "is cheaper."
    )
    return Section("choices", "The choices, and BD-rate", [words], tables=[table])


def _limits(document: Document) -> Section:
    words = (
        "Each encoder's VMAF is promised by itself, for sources like the calibration's, and so is each side of a "
        "bitrate's interval. The order of encoders is not; --measure encodes each choice."
    )
    notes = [f"{_name(one)}: {reason}" for one in document["contenders"] for reason in one.get("reasons", [])]
    said = [words, sampled] if (sampled := sampled_words(document.get("sample"))) else [words]
    return Section("limits", "What is promised here", said, notes=notes)
