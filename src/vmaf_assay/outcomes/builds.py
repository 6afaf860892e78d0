"""Builds of ffmpeg other than the calibrated one: measured on a fixed set of cells, and remembered.

The cells are clips of ffmpeg's own sources, so that nothing is downloaded. Each was measured once with the build
that the shipped calibration is of (`promise/tools.py`). A build whose every cell is near enough may promise.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmaf_assay.errors import ToolError
from vmaf_assay.media import commands, process
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.files import sha256_bytes, sha256_file
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.user_folders import outcomes_dir
from vmaf_assay.outcomes.file import FILE
from vmaf_assay.outcomes.store import OutcomeStore
from vmaf_assay.promise.tools import MEASURED_WITH, calibrated_tools

if TYPE_CHECKING:
    from vmaf_assay.model.sidecar import Sidecar

CLIPS = {
    "pattern": "testsrc2=size=320x180:rate=25",
    "fractal": "mandelbrot=size=320x180:rate=25:maxiter=400",
    "grain": "mandelbrot=size=320x180:rate=25:maxiter=400,format=yuv420p,noise=alls=8:allf=t:all_seed=7",
}
"""Edges, detail, grain; ffmpeg 7.0.2 and 9.0.2 make them alike byte for byte (`gradients` is not so)."""
N_FRAMES = 30
CELLS = Path(__file__).with_name("build_cells.json")
"""Digest of each clip, and what the calibrated build measured: points and kbps by clip, encoder and rate value."""

MAX_POINTS = 0.2
"""Largest difference of a cell's VMAF from the calibrated build's, points. The metric's roughness is 0.14."""
MAX_MEAN_POINTS = 0.1
"""Largest difference of the mean over an encoder's cells, points: a shift that no margin covers."""
MAX_KBPS = 0.03
"""Largest relative difference of a cell's bitrate."""


@dataclass(frozen=True, slots=True)
class BuildCell:
    """One encode of the fixed set, as the calibrated build measured it."""

    clip: str
    encoder: str
    preset: str
    rate_value: float
    vmaf: float
    """Points."""
    kbps: float


@dataclass(frozen=True, slots=True)
class EncoderCheck:
    """How near a build comes with one encoder."""

    encoder: str
    version: str
    """Empty if it does not work here."""
    worst_points: float
    """Largest difference of a cell's VMAF, points."""
    mean_points: float
    """Mean difference, this build minus the calibrated one, points."""
    worst_kbps: float
    """Largest relative difference of a bitrate."""
    why_not: str
    """Why it may not promise; empty if it may."""


def cells(encoder: str | None = None) -> list[BuildCell]:
    """The fixed set, of one encoder or all."""
    found = [BuildCell(**one) for one in json.loads(CELLS.read_bytes())["cells"]]
    return [one for one in found if encoder in (None, one.encoder)]


def make_clip(ffmpeg: Ffmpeg, folder: Path, name: str) -> ReferenceInput:
    """A clip of the fixed set; raises ToolError if this ffmpeg lacks the source."""
    path = folder / f"{name}.y4m"
    done = process.run(commands.source_clip(CLIPS[name], N_FRAMES).argv(ffmpeg, output=path), timeout_s=120)
    if done.exit_code != 0:
        raise failure(f"making the clip {name}", done)
    return ReferenceInput(path, Fraction(25), N_FRAMES)


def measure(ffmpeg: Ffmpeg, reference: ReferenceInput, cell: BuildCell) -> tuple[float, float]:
    """VMAF in points, and kbps, of one cell with this build."""
    scored = encode_and_score(ffmpeg, reference, encoder_info(cell.encoder), cell.preset, cell.rate_value)
    return scored.pooled_vmaf, scored.kbps


def check_build(
    ffmpeg: Ffmpeg, encoders: Sequence[str], on_step: Callable[[str, int, int], None] | None = None
) -> list[EncoderCheck]:
    """Measure the fixed set with a build.

    Args:
      ffmpeg: the build.
      encoders: those to check.
      on_step: called after each cell.

    Raises:
      ToolError: the build cannot make the clips, or makes others.
    """
    checks, done, total = [], 0, sum(len(cells(encoder)) for encoder in encoders)
    with tempfile.TemporaryDirectory(prefix="assay-build-") as folder:
        clips = {name: make_clip(ffmpeg, Path(folder), name) for name in CLIPS}
        wanted = json.loads(CELLS.read_bytes())["clips"]
        if other := [name for name, clip in clips.items() if sha256_file(clip.path) != wanted[name]]:
            raise ToolError(
                f"ffmpeg {ffmpeg.version} makes other pictures of the clip {other[0]}, so nothing can be compared",
                next_step="use another build",
            )
        for encoder in encoders:
            measured = []
            try:
                version = tool_versions(ffmpeg, [encoder])[encoder]
                for cell in cells(encoder):
                    measured.append((cell, *measure(ffmpeg, clips[cell.clip], cell)))
                    done += 1
                    if on_step:
                        on_step(f"{encoder} {cell.preset}, {cell.clip}", done, total)
            except ToolError as problem:
                checks.append(EncoderCheck(encoder, "", 0.0, 0.0, 0.0, f"does not work here: {problem.what}"))
                continue
            checks.append(judged(encoder, version, measured))
    return checks


def judged(encoder: str, version: str, measured: Sequence[tuple[BuildCell, float, float]]) -> EncoderCheck:
    """Whether the cells of an encoder, each with VMAF and kbps of this build, are near enough."""
    if not measured:
        return EncoderCheck(encoder, version, 0.0, 0.0, 0.0, "no cell of it is in the fixed set")
    points = [vmaf - cell.vmaf for cell, vmaf, _ in measured]
    worst, mean = max(map(abs, points)), sum(points) / len(points)
    rates = max(abs(kbps / cell.kbps - 1) for cell, _, kbps in measured)
    far = [
        f"{what} differs by {found:.3g}{unit}, {limit:g}{unit} allowed"
        for what, found, limit, unit in (
            ("VMAF of a cell", worst, MAX_POINTS, ""),
            ("mean VMAF", abs(mean), MAX_MEAN_POINTS, ""),
            ("bitrate of a cell", 100 * rates, 100 * MAX_KBPS, " %"),
        )
        if not found <= limit
    ]
    return EncoderCheck(encoder, version, worst, mean, rates, "; ".join(far))


def build_id(ffmpeg: Ffmpeg) -> str:
    """What a check is bound to: the bytes of the executable, and all it prints about itself."""
    import shutil

    said = process.run([ffmpeg.path, "-version"], timeout_s=60).stdout
    return sha256_bytes(sha256_file(Path(shutil.which(ffmpeg.path) or ffmpeg.path)).encode() + said)


def _terms() -> dict[str, Any]:
    """What a check was made by; it counts only under the same."""
    return {
        "reference": dict(MEASURED_WITH),
        "limits": [MAX_POINTS, MAX_MEAN_POINTS, MAX_KBPS],
        "cells_sha256": sha256_bytes(CELLS.read_bytes()),
    }


def record_build(store: OutcomeStore, ffmpeg: Ffmpeg, checks: Sequence[EncoderCheck]) -> dict[str, Any]:
    """Record a check of a build; what was recorded."""
    passed = {one.encoder: one.version for one in checks if not one.why_not}
    versions = {"ffmpeg": ffmpeg.version, "libvmaf": tool_versions(ffmpeg, [])["libvmaf"]}
    facts: dict[str, Any] = _terms() | {
        "versions": versions | passed,
        "checks": {
            one.encoder: {"worst": one.worst_points, "mean": one.mean_points, "kbps": one.worst_kbps}
            for one in checks
            if not one.why_not
        },
    }
    store.add_build(build_id(ffmpeg), datetime.now(UTC).date().isoformat(), facts)
    return facts


def build_reason(ffmpeg: Ffmpeg, sidecar: "Sidecar", tools: dict[str, str], why: str) -> str:
    """Why a promise does not hold with these tools; '' if this build was checked and may promise.

    The check shows that the build equals `MEASURED_WITH`, so it serves models that were calibrated with that.

    Args:
      ffmpeg: the build.
      sidecar: of the model.
      tools: versions in use, by name.
      why: how they differ from those of the calibration.
    """
    known = calibrated_tools(sidecar)
    if any(MEASURED_WITH.get(name, "") not in known.get(name, ()) for name in tools):
        return why
    folder = outcomes_dir()
    if not (folder / FILE).is_file():
        return why + _HINT
    with OutcomeStore(folder) as store:
        facts = store.build(build_id(ffmpeg))
    if facts is None or any(facts[name] != value for name, value in _terms().items()):
        return why + _HINT  # never checked, or by another set of cells or wider limits
    changed = [name for name, version in tools.items() if facts["versions"].get(name) != version]
    if changed:
        return f"{why}; the check of {facts['day']} did not admit {', '.join(changed)}"
    return ""


_HINT = " (`assay doctor --calibrate` checks this build)"
