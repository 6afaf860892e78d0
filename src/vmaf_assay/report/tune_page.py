"""The page of a tune: what was promised for one source, how it was chosen, and what was measured."""

import shlex
from pathlib import Path
from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.promise.promise import Promise
from vmaf_assay.records import OnStep
from vmaf_assay.report.frame_section import frame_section
from vmaf_assay.report.page import Page, Section, Table
from vmaf_assay.report.plots import Axis, Chart, Point
from vmaf_assay.tune.result import rate_words

Document = dict[str, Any]

_NEEDED = ("source", "encoder", "preset", "target_vmaf", "confidence", "rate_value", "mu", "lower_bound", "curve")


def tune_page(document: Document, ffmpeg: Ffmpeg | None = None, on_step: OnStep | None = None) -> Page:
    """The page of a document of `assay tune --json`.

    Args:
      document: see docs/json-output.md.
      ffmpeg: reads the frames shown; without it, or where the files are gone, the page says so.
      on_step: told how many of them have been read.

    Raises:
      ConfigError: a field that the page needs is missing.
    """
    if missing := [name for name in _NEEDED if name not in document]:
        raise ConfigError(
            f"the document lacks {', '.join(missing)}",
            next_step="make it with `assay tune --json`",
        )
    sections = [_forecast(document), _encodes(document)]
    if document.get("frame_vmaf"):
        sections.append(frame_section(document, ffmpeg, on_step))
    sections.append(_promise(document))
    answer, good = _answer(document)
    return Page(
        kind="tune",
        title=Path(document["source"]).name,
        answer=answer,
        mood="good" if good else "bad",
        facts=_facts(document),
        sections=sections,
        document=document,
    )


def _unit(document: Document) -> str:
    """The name of the encoder's rate value: CRF, CQ, QP."""
    info = ENCODERS.get(document["encoder"])
    return (info.rate_mode if info else "rate value").upper()


def _answer(document: Document) -> tuple[str, bool]:
    """The document's own sentence; for documents older than that field, a sentence from the same facts."""
    d, measured = document, document.get("measured_vmaf")
    promise = _promise_of(d)
    met = d.get("quality_met", promise.made) if measured is None else measured >= d["target_vmaf"]
    met = met and promise.encodable
    if said := d.get("answer"):
        return said, met
    said = promise.sentence(rate_words(d["encoder"], d["preset"], d["rate_value"]))
    if measured is not None:
        said += f". Measured on every frame: {measured:.2f}, {'met' if met else 'MISSED'}"
    return said, met


TOOLS = "tools_not_calibrated"


def _promise_of(d: Document) -> Promise:
    """The promise in a document; documents from before 0.2.0 have three flags instead."""
    said = d.get("promise", {})
    return Promise(
        target=d["target_vmaf"],
        confidence=d["confidence"],
        mu=d["mu"],
        lower_bound=d["lower_bound"],
        supported=d.get("supported", True),
        unsupported_reason="the source is unlike what the model has seen",
        reachable=d.get("reachable", True),
        calibrated_target=said.get("calibrated_target", True),
        uncalibrated_options=" ".join(d.get("encoder_args", [])),
        own_encodes=said.get("own_encodes", 0),
        uncalibrated_reference="" if d.get("reference", "filtered") == "filtered" else "an unscaled reference",
        uncalibrated_tools=next((one["words"] for one in said.get("reasons", []) if one["code"] == TOOLS), ""),
    )


def _facts(document: Document) -> list[tuple[str, object]]:
    d = document
    facts: list[tuple[str, object]] = [
        ("target VMAF", f"{d['target_vmaf']:g}"),
        ("confidence", f"{d['confidence']:g}"),
        (f"chosen {_unit(d)}", f"{d['rate_value']:g}"),
        ("forecast VMAF", f"{d['mu']:.2f}"),
        ("lower bound", f"{d['lower_bound']:.2f}"),
    ]
    if d.get("measured_vmaf") is not None:
        facts.append(("measured VMAF", f"{d['measured_vmaf']:.2f}"))
    for name, key in (("forecast kbps", "forecast_kbps"), ("measured kbps", "kbps")):
        if d.get(key) is not None:
            facts.append((name, round(d[key])))
    facts.append(("encodes spent", d.get("encodes_spent")))
    if d.get("width"):
        facts.append(("picture", f"{d['width']} x {d['height']}"))
    return facts


def _forecast(document: Document) -> Section:
    d = document
    curve = sorted(d["curve"], key=lambda point: point["rate_value"])
    charts = [_vmaf_chart(d, curve)]
    if any(point.get("kbps") for point in curve):
        charts.append(_kbps_chart(d, curve))
    table = Table(
        "Forecast by rate value",
        [_unit(d), "forecast VMAF", "lower bound", "forecast kbps", "at least", "at most", "measured VMAF"],
        [
            [
                p["rate_value"],
                round(p["mu"], 3),
                round(p["lower_bound"], 3),
                _whole(p.get("kbps")),
                _whole(p.get("kbps_low")),
                _whole(p.get("kbps_high")),
                p.get("measured_vmaf"),
            ]
            for p in curve
        ],
    )
    words = (
        f"The line is the VMAF forecast for every {_unit(d)}; the band reaches down to the lower bound. The "
        f"choice is the cheapest {_unit(d)} whose lower bound still meets the target. A bitrate lies above "
        "its lower bound with the confidence asked, and likewise below its upper one."
    )
    return Section("forecast", "The forecast and the choice", [words], charts, [table])


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _three(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _vmaf_chart(d: Document, curve: list[Document]) -> Chart:
    xs = [p["rate_value"] for p in curve]
    mu, low = [p["mu"] for p in curve], [p["lower_bound"] for p in curve]
    trials = {t["rate_value"]: t["measured_vmaf"] for t in d.get("trials", [])}
    floor = max(0.0, min(max(min(low), min(mu) - 15), d["target_vmaf"] - 5))
    unit, shown = _unit(d), [v for v in (*mu, *trials.values(), d["target_vmaf"]) if v is not None]
    chart = Chart(
        "vmaf",
        "Forecast VMAF",
        f"By {unit}; target {d['target_vmaf']:g}, choice {d['rate_value']:g}, forecast there {d['mu']:.2f}, "
        f"lower bound {d['lower_bound']:.2f}",
        Axis(unit, [float(x) for x in xs]),
        Axis("VMAF, points", [floor, *shown], high=100.0),
    )
    chart.band(xs, [max(v, floor) for v in low], mu)
    chart.line(xs, mu, name="forecast")
    chart.line(xs, [max(v, floor) for v in low], dashed=True, name="lower bound")
    chart.rule(y=d["target_vmaf"], label=f"target {d['target_vmaf']:g}")
    chart.rule(x=d["rate_value"], label=f"{unit} {d['rate_value']:g}")
    chart.points(
        [
            Point(
                p["rate_value"],
                p["mu"],
                f"{unit} {p['rate_value']:g}\nforecast VMAF {p['mu']:.2f}\nlower bound {p['lower_bound']:.2f}",
            )
            for p in curve
        ]
    )
    marks = [("probe", p["rate_value"], p["vmaf"], 2) for p in _own_probes(d)]
    marks += [("trial", rate, vmaf, 1) for rate, vmaf in trials.items()]
    if d.get("measured_vmaf") is not None:
        marks.append(("result", d["rate_value"], d["measured_vmaf"], 3))
    for name, rate, vmaf, series in marks:
        tip = f"{name}, {unit} {rate:g}\nmeasured VMAF {vmaf:.2f}"
        chart.points([Point(rate, vmaf, tip)], series=series, name=f"measured: {name}", large=True)
    return chart


def _own_probes(d: Document) -> list[Document]:
    """Probes made with the encoder and preset asked for."""
    return [p for p in d.get("probes", []) if (p["encoder"], p["preset"]) == (d["encoder"], d["preset"])]


def _kbps_chart(d: Document, curve: list[Document]) -> Chart:
    known = [p for p in curve if p.get("kbps")]
    xs, ys = [p["rate_value"] for p in known], [p["kbps"] for p in known]
    unit, measured = _unit(d), d.get("kbps")
    probes = [p for p in _own_probes(d) if p.get("kbps")]
    shown = [*ys, *(p["kbps"] for p in probes), *([measured] if measured else [])]
    shown += [p[name] for p in known for name in ("kbps_low", "kbps_high") if p.get(name)]
    chart = Chart(
        "kbps",
        "Forecast bitrate",
        f"By {unit}, logarithmic"
        + (f"; {d['forecast_kbps']:.0f} kbps at the choice" if d.get("forecast_kbps") else ""),
        Axis(unit, [float(p["rate_value"]) for p in curve]),
        Axis("kbps", shown, scale="log"),
        height=240,
    )
    bounded = [p for p in known if p.get("kbps_low") and p.get("kbps_high")]
    if bounded:
        low, high = ([p[name] for p in bounded] for name in ("kbps_low", "kbps_high"))
        chart.band([p["rate_value"] for p in bounded], low, high)
    chart.line(xs, ys, name="forecast")
    chart.rule(x=d["rate_value"], label=f"{unit} {d['rate_value']:g}")
    chart.points([Point(p["rate_value"], p["kbps"], f"{unit} {p['rate_value']:g}\n{_kbps(p)}") for p in known])
    for p in probes:
        tip = f"probe, {unit} {p['rate_value']:g}\nmeasured {p['kbps']:,.0f} kbps"
        chart.points([Point(p["rate_value"], p["kbps"], tip)], series=2, name="measured: probe", large=True)
    if measured:
        tip = f"result, {unit} {d['rate_value']:g}\nmeasured {measured:,.0f} kbps"
        chart.points([Point(d["rate_value"], measured, tip)], series=3, name="measured: result", large=True)
    return chart


def _kbps(p: Document) -> str:
    """The bitrate of a point, with its interval where one is calibrated."""
    said = f"forecast {p['kbps']:,.0f} kbps"
    if p.get("kbps_low") and p.get("kbps_high"):
        said += f", {p['kbps_low']:,.0f} to {p['kbps_high']:,.0f}"
    return said


def _encodes(d: Document) -> Section:
    rows: list[list[object]] = [
        ["probe", p["encoder"], p["preset"], p["rate_value"], round(p["vmaf"], 3), _whole(p.get("kbps"))]
        for p in d.get("probes", [])
    ]
    kbps = {p["rate_value"]: p.get("kbps") for p in d["curve"]}
    rows += [
        [
            "trial",
            d["encoder"],
            d["preset"],
            t["rate_value"],
            round(t["measured_vmaf"], 3),
            _whole(t.get("kbps", kbps.get(t["rate_value"]))),
        ]
        for t in d.get("trials", [])
    ]
    if d.get("output"):
        rows.append(
            [
                "result",
                d["encoder"],
                d["preset"],
                d["rate_value"],
                _three(d.get("measured_vmaf")),
                _whole(d.get("kbps")),
            ]
        )
    table = Table("Encodes of this source", ["what", "encoder", "preset", "rate value", "VMAF", "kbps"], rows)
    words = (
        f"{d.get('encodes_spent', len(rows))} encodes were made"
        + (f", {d['encodes_cached']} more were known from an earlier run" if d.get("encodes_cached") else "")
        + ". Probes feed the forecast; trials correct it; the result is the encode that was asked for."
    )
    command = shlex.join(d["encode_argv"]) if d.get("encode_argv") else ""
    said = [words, sampled] if (sampled := sampled_words(d.get("sample"))) else [words]
    return Section("encodes", "What was encoded", said, tables=[table], code=command)


def sampled_words(sample: Document | None) -> str:
    """How much of a long source was probed and tried, from `sample`; empty if every frame was."""
    if not sample:
        return ""
    tried = f"; each trial encoded {sample['segments_tried']} of them" if sample["segments_tried"] else ""
    return (
        f"Of this source {sample['segments']} of {sample['units']} segments were probed, {sample['frames']:,} "
        f"frames or {sample['seconds']:.0f} s{tried}. VMAF of a probe or a trial is an estimate for the whole "
        f"source. That alone takes {sample['sampling_part']:.2f} points off the bound."
    )


def _promise(d: Document) -> Section:
    promised = _promise_of(d).made
    hundred = round(d["confidence"] * 100, 1)
    words = [
        f"Promised: the encode at {_unit(d)} {d['rate_value']:g} has a mean VMAF of {d['target_vmaf']:g} or more. "
        f"This holds for {hundred:g} of 100 sources like those that the forecast was calibrated on."
        if promised
        else "Nothing is promised for this source; the reasons are below.",
        f"How: the same choice was replayed for {d.get('n_groups', '?')} groups of sources that the forecast "
        f"never saw. Their misses set the margin: {d.get('margin', d['mu'] - d['lower_bound']):.2f} points here. "
        "It is a statement over sources, not about single frames, and not about how viewers judge.",
    ]
    if d.get("measured_vmaf") is not None:
        words.append(
            f"Checked: every frame of the result was compared with the source; mean {d['measured_vmaf']:.2f}."
        )
    else:
        words.append("Not checked: the result was not measured. Run again with --verify to measure every frame.")
    return Section("promise", "What was promised, and how it was checked", words, notes=d.get("reasons", []))
