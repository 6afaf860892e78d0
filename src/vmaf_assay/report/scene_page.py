"""The page of a title encoded by scene: what each scene got, and what every frame measured."""

from fractions import Fraction
from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_of_text
from vmaf_assay.records import OnStep
from vmaf_assay.report.frame_section import frame_section
from vmaf_assay.report.page import Page, Section, Table

Document = dict[str, Any]

_NEEDED = ("source", "output", "scenes", "frame_vmaf", "measured_vmaf", "target_vmaf", "answer")


def scene_page(document: Document, ffmpeg: Ffmpeg | None = None, on_step: OnStep | None = None) -> Page:
    """The page of a document of `assay tune --by-scene --json`.

    Args:
      document: see docs/json-output.md.
      ffmpeg: reads the frames shown; without it, or where the files are gone, the page says so.
      on_step: called with frames read.

    Raises:
      ConfigError: a field that the page needs is missing.
    """
    if missing := [name for name in _NEEDED if not document.get(name)]:
        raise ConfigError(
            f"the document lacks {', '.join(missing)}",
            next_step="make it with `assay tune --by-scene --json`",
        )
    d = document
    facts: list[tuple[str, object]] = [
        ("mean VMAF", f"{d['measured_vmaf']:.2f}"),
        ("target", f"{d['target_vmaf']:g}"),
        ("lowest scene", f"{min(scene['score'] for scene in d['scenes']):.2f}"),
        ("scenes", len(d["scenes"])),
        ("kbps", round(d["kbps"])),
        ("encodes a scene", round(d["encodes_per_scene"], 2)),
    ]
    return Page(
        kind="scenes",
        title=f"{path_of_text(d['source']).name} by scene",
        answer=d["answer"],
        mood="good" if d["met"] else "bad",
        facts=facts,
        sections=[_scenes(d), frame_section(d, ffmpeg, on_step)],
        document=document,
    )


def _scenes(d: Document) -> Section:
    rate = Fraction(d["frame_rate"])
    table = Table(
        "Each scene",
        ["from, s", "frames", "rate value", "VMAF", "VMAF forecast", "kbps"],
        [
            [
                round(float(scene["first_frame"] / rate), 2),
                scene["n_frames"],
                scene["rate_value"],
                round(scene["score"], 2),
                round(scene["forecast_score"], 2),
                round(scene["n_bytes"] * 8 / float(scene["n_frames"] / rate) / 1000),
            ]
            for scene in d["scenes"]
        ],
    )
    words = [f"No scene may be below {d['floor_vmaf']:g}; {d['scenes_below']} are."]
    return Section("scenes", "What each scene got", words, tables=[table], notes=[*d["reasons"], *d["losses"]])
