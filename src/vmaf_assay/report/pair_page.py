"""The page of a measured pair: one encode against its source, frame by frame."""

from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.files import path_of_text
from vmaf_assay.records import OnStep
from vmaf_assay.report.frame_section import frame_section
from vmaf_assay.report.page import Page

_NEEDED = ("reference", "distorted", "measured_vmaf", "frame_vmaf")


def pair_page(document: dict[str, Any], ffmpeg: Ffmpeg | None = None, on_step: OnStep | None = None) -> Page:
    """The page of the `pair` of a document of `assay predict --json`.

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
            next_step="make it with `assay predict --reference R --distorted D --json`",
        )
    d = document
    name = path_of_text(d["distorted"]).name
    facts: list[tuple[str, object]] = [("mean VMAF", f"{d['measured_vmaf']:.2f}")]
    for label, key in (("worst frame", "min_vmaf"), ("5th percentile", "percentile_5_vmaf")):
        if d.get(key) is not None:
            facts.append((label, f"{d[key]:.2f}"))
    facts.append(("frames", len(d["frame_vmaf"])))
    if d.get("distorted_kbps") is not None:
        facts.append(("kbps of the encode", round(d["distorted_kbps"])))
    if d.get("width"):
        facts.append(("picture", f"{d['width']} x {d['height']}"))
    if d.get("filters"):
        facts.append(("source through", d["filters"]))
    compared = d | {"source": d["reference"], "output": d["distorted"]}
    return Page(
        kind="pair",
        title=f"{name} against {path_of_text(d['reference']).name}",
        answer=f"{name}: mean VMAF {d['measured_vmaf']:.2f} over {len(d['frame_vmaf']):,} frames",
        mood="plain",
        facts=facts,
        sections=[frame_section(compared, ffmpeg, on_step)],
        document=document,
    )
