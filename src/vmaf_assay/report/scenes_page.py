"""The page of a title by scene: each scene's rate value, bits and score, and the worst seconds."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_of_text
from vmaf_assay.records import OnStep
from vmaf_assay.report.frame_section import frame_section
from vmaf_assay.report.page import Page, Section, Table
from vmaf_assay.report.plots import Axis, Chart, Point

Document = dict[str, Any]

_NEEDED = (
    "source",
    "encoder",
    "preset",
    "target_vmaf",
    "floor_vmaf",
    "scenes",
    "frame_vmaf",
    "frame_rate",
    "answer",
)
_STRIP_PX = 210
_ROOM = 1.16
"""End of the time axes, in lengths of the title."""


def scenes_page(document: Document, ffmpeg: Ffmpeg | None = None, on_step: OnStep | None = None) -> Page:
    """The page of a document of `assay tune --by-scene --json`.

    Args:
      document: see docs/json-output.md.
      ffmpeg: reads the frames shown; without it, or where the files are gone, the page says so.
      on_step: called with frames read.

    Raises:
      ConfigError: a field that the page needs is missing.
    """
    if missing := [name for name in _NEEDED if name not in document]:
        raise ConfigError(
            f"the document lacks {', '.join(missing)}", next_step="make it with `assay tune --by-scene --json`"
        )
    d = document
    return Page(
        kind="scenes",
        title=f"{path_of_text(d['source']).name} by scene",
        answer=d["answer"],
        mood="good" if d["met"] else "bad",
        facts=_facts(d),
        sections=[_strip(d), frame_section(d, ffmpeg, on_step)],
        document=d,
    )


def _unit(d: Document) -> str:
    info = ENCODERS.get(d["encoder"])
    return (info.rate_mode if info else "rate value").upper()


def _facts(d: Document) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("goal", d["goal"]),
        ("target VMAF", f"{d['target_vmaf']:g}"),
        ("measured VMAF", f"{d['measured_vmaf']:.2f}"),
        ("lowest scene", f"{min(row['score'] for row in d['scenes']):.2f}"),
        ("measured kbps", round(d["kbps"])),
        ("scenes", len(d["scenes"])),
        ("encodes a scene", f"{d['encodes_per_scene']:.2f}"),
        ("picture", f"{d['width']} x {d['height']}"),
    ]
    if d.get("verified_vmaf") is not None:
        facts.insert(3, ("measured again", f"{d['verified_vmaf']:.2f}"))
    return facts


def _strip(d: Document) -> Section:
    """The scenes over time, each as a step, with the table behind them."""
    rate = Fraction(d["frame_rate"])
    rows = d["scenes"]
    edges = [float(row["first_frame"] / rate) for row in rows] + [float(d["n_frames"] / rate)]
    kbps = [row["n_bytes"] * 8 / 1000 / (row["n_frames"] / float(rate)) for row in rows]
    scores, rates = [row["score"] for row in rows], [row["rate_value"] for row in rows]
    rules = {f"target {d['target_vmaf']:g}": d["target_vmaf"]}
    if d["floor_vmaf"] < d["target_vmaf"]:
        rules[f"floor {d['floor_vmaf']:g}"] = d["floor_vmaf"]
    charts = [
        _steps("scenes-score", "Mean VMAF of each scene", "VMAF", edges, scores, rows, d, rules),
        _steps("scenes-rate", f"{_unit(d)} of each scene", _unit(d), edges, rates, rows, d),
        _steps("scenes-kbps", "Bitrate of each scene", "kbps", edges, kbps, rows, d),
    ]
    table = Table(
        "Scenes",
        ["from, s", "frames", _unit(d), "forecast VMAF", "VMAF", "kB", "encodes"],
        [
            [
                *(round(start, 2), row["n_frames"], row["rate_value"], round(row["forecast_score"], 2)),
                *(round(row["score"], 2), round(row["n_bytes"] / 1000, 1), row["encodes"]),
            ]
            for start, row in zip(edges, rows, strict=False)
        ],
    )
    return Section("scenes", "The scenes", _words(d), charts, [table])


def _words(d: Document) -> list[str]:
    again = sum(row["encodes"] > 1 for row in d["scenes"])
    said = [
        f"{len(d['scenes'])} scenes, {again} of them encoded more than once. Neighbours differ by up to "
        f"{d['largest_step']:.1f} points."
    ]
    if d.get("one_rate_bytes"):
        mine = sum(row["n_bytes"] for row in d["scenes"])
        said.append(
            f"One {_unit(d)} for all scenes, {d['one_rate_value']:g}, would have cost about "
            f"{d['one_rate_bytes'] / 1e6:.2f} MB for this mean; by scene it is {mine / 1e6:.2f} MB. The first "
            "figure is computed from the measured scenes, not encoded."
        )
    return [*said, *d.get("reasons", []), *d.get("losses", [])]


def _steps(
    name: str,
    title: str,
    label: str,
    edges: list[float],
    values: list[float],
    rows: list[Document],
    d: Document,
    rules: Mapping[str, float] = MappingProxyType({}),
) -> Chart:
    """One value for each scene, as a line of steps with a mark in the middle of each, over labelled rules."""
    axis = Axis(label, [*values, *rules.values()])
    described = f"Lowest {min(values):.1f}, highest {max(values):.1f}."
    # The labels of rules stand right of the last scene.
    time = Axis("seconds", edges, low=0.0, high=edges[-1] * _ROOM)
    chart = Chart(name, title, described, time, axis, height=_STRIP_PX)
    for said, value in rules.items():
        chart.rule(y=value, label=said)
    spans = list(pairwise(edges))
    chart.line([t for span in spans for t in span], [value for value in values for _ in range(2)], name=label)
    marks = [
        Point(
            (first + last) / 2,
            value,
            f"{first:.1f} to {last:.1f} s: {_unit(d)} {row['rate_value']:g}, VMAF {row['score']:.2f}, "
            f"{row['n_bytes'] / 1000:.0f} kB, {row['encodes']} encode{'' if row['encodes'] == 1 else 's'}",
        )
        for (first, last), value, row in zip(spans, values, rows, strict=True)
    ]
    for again, series in ((False, 0), (True, 1)):
        some = [mark for mark, row in zip(marks, rows, strict=True) if (row["encodes"] > 1) == again]
        if some:
            chart.points(some, series=series, name="encoded again" if again else "encoded once", large=again)
    return chart
