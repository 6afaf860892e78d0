"""The part of a page on single frames: VMAF over time, and the worst seconds side by side."""

import re
from fractions import Fraction
from typing import Any

import numpy as np

from vmaf_assay.errors import AssayError
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_of_text
from vmaf_assay.records import OnStep
from vmaf_assay.report.frames import WorstSecond, safe_filters, scene_cuts, thumbnails, worst_seconds
from vmaf_assay.report.page import Section, Shot, Table
from vmaf_assay.report.plots import Axis, Chart, Point

Document = dict[str, Any]


def frame_section(d: Document, ffmpeg: Ffmpeg | None, on_step: OnStep | None) -> Section:
    """The section of a document that holds `frame_vmaf`.

    Args:
      d: `frame_vmaf`, `source` and `output`; `frame_rate`, `filters` and `target_vmaf` where they are known.
      ffmpeg: finds scenes and reads the frames shown; without it, or where the files are gone, the page says so.
      on_step: called with frames read.
    """
    vmaf = [float(v) for v in d["frame_vmaf"]]
    rate = Fraction(d.get("frame_rate") or 25)
    refusal = _why_not_shown(d, ffmpeg)
    cuts = None
    if ffmpeg is not None and not refusal:
        cuts = scene_cuts(ffmpeg, path_of_text(d["output"]), len(vmaf), rate, on_step)
    worst = worst_seconds(vmaf, rate, cuts)
    chart = _frame_chart(d, vmaf, rate, {second.frame for second in worst})
    table = Table(
        "The worst seconds of the result",
        ["from, s", "mean VMAF", "worst frame", "its VMAF"],
        [[round(w.start_s, 2), round(w.mean_vmaf, 2), w.frame, round(w.frame_vmaf, 2)] for w in worst],
    )
    shots: list[Shot] = []
    if ffmpeg is not None and not refusal:
        shots, refusal = _shots(d, ffmpeg, worst, on_step)
    target = " The target is on the mean; single frames may be below it." if d.get("target_vmaf") else ""
    each = ", one a scene" if cuts is not None else ""
    words = [
        f"VMAF of each of {len(vmaf):,} frames: mean {np.mean(vmaf):.2f}, lowest {min(vmaf):.2f}, 5th percentile "
        f"{np.percentile(vmaf, 5):.2f}.{target}",
        refusal
        or f"Below: the worst frame of each of the worst seconds{each}, source on the left, encode on the right.",
    ]
    return Section("frames", "Frame by frame, and the worst seconds", words, [chart], [table], shots)


def _frame_chart(d: Document, vmaf: list[float], rate: Fraction, worst: set[int]) -> Chart:
    times = [float(i / rate) for i in range(len(vmaf))]
    target = d.get("target_vmaf")
    chart = Chart(
        "frames-vmaf",
        "VMAF of every frame of the result",
        f"Over time; lowest {min(vmaf):.2f} at {times[int(np.argmin(vmaf))]:.2f} s",
        Axis("time, s", times, low=0.0),
        Axis("VMAF, points", vmaf if target is None else [*vmaf, target]),
    )
    step = max(1, len(vmaf) // 700)  # about one value a pixel; the lowest of each stretch is kept
    at = [i + int(np.argmin(vmaf[i : i + step])) for i in range(0, len(vmaf), step)]
    chart.line([times[i] for i in at], [vmaf[i] for i in at], name="frame")
    if target is not None:
        chart.rule(y=target, label=f"target {target:g}")
    chart.points(
        [Point(times[i], vmaf[i], f"frame {i}, {times[i]:.2f} s\nVMAF {vmaf[i]:.2f}") for i in sorted(worst)],
        series=1,
        name="worst seconds",
        large=True,
    )
    return chart


def _why_not_shown(d: Document, ffmpeg: Ffmpeg | None) -> str:
    """The reason why no frame can be shown; empty if they can."""
    source, output = path_of_text(d["source"]), path_of_text(d.get("output") or "")
    if ffmpeg is None or not source.is_file() or not output.is_file():
        return "The frames themselves are not shown: source and output are not both where the document says."
    if not safe_filters(d.get("filters") or ""):
        return "The frames themselves are not shown: the filters of this encode do more than crop and scale."
    return ""


def _stream_map(d: Document) -> str:
    """The source's stream that was encoded: what the command of the encode maps first."""
    argv = [str(arg) for arg in d.get("encode_argv") or ()]
    mapped = argv[argv.index("-map") + 1] if "-map" in argv[:-1] else "0:v:0"
    return mapped.removeprefix("0:") if re.fullmatch(r"0:(v:)?\d{1,4}", mapped) else "v:0"


def _shots(
    d: Document, ffmpeg: Ffmpeg, worst: list[WorstSecond], on_step: OnStep | None
) -> tuple[list[Shot], str]:
    """Pairs of thumbnails, or the reason why there are none."""
    numbers = [second.frame for second in worst]
    source, output = path_of_text(d["source"]), path_of_text(d["output"])
    filters = d.get("filters") or ""
    try:
        left = thumbnails(
            ffmpeg,
            source,
            numbers,
            filters=filters,
            stream_map=_stream_map(d),
            what="frames of the source",
            on_step=on_step,
        )
        right = thumbnails(ffmpeg, output, numbers, what="frames of the output", on_step=on_step)
    except AssayError as error:
        return [], f"The frames themselves are not shown: {error}."
    if not len(left) == len(right) == len(numbers):
        return [], "The frames themselves are not shown: source or output has changed since."
    return [
        Shot(f"frame {w.frame}, {w.start_s:.1f} s and after, VMAF {w.frame_vmaf:.1f}", a, b)
        for w, a, b in zip(worst, left, right, strict=True)
    ], ""
