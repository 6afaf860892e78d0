"""What works on this machine: ffmpeg, libvmaf, each encoder, and the registry."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmaf_assay import __version__
from vmaf_assay.api.paths import PathLike, registry_of
from vmaf_assay.errors import AssayError, ToolError
from vmaf_assay.media.capability import check_encoders, check_libvmaf
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.user_folders import outcomes_dir
from vmaf_assay.records import OnStep
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.registry.verify import verify_registry

if TYPE_CHECKING:
    from vmaf_assay.outcomes.builds import EncoderCheck

OnEncoder = Callable[[str, int, int], None]
"""Called with an encoder's name, encoders tried, encoders in all."""


def examine(
    *, ffmpeg: str | None = None, registry: PathLike | None = None, on_encoder: OnEncoder | None = None
) -> dict[str, Any]:
    """What `assay doctor --json` prints (docs/json-output.md), from real runs of one frame.

    Args:
      ffmpeg: the ffmpeg to examine; by default the one found.
      registry: the registry to examine; by default `$ASSAY_REGISTRY`, else the shipped one.
      on_encoder: called after each encoder.
    """
    return {
        "version": __version__,
        "python": platform.python_version(),
        **examine_ffmpeg(ffmpeg, on_encoder),
        "registry": examine_registry(registry),
    }


def examine_ffmpeg(explicit: str | None, on_encoder: OnEncoder | None = None) -> dict[str, Any]:
    """The `ffmpeg`, `libvmaf` and `encoders` fields."""
    try:
        ffmpeg = find_ffmpeg(explicit)
    except ToolError as error:
        return {"ffmpeg": None, "libvmaf": {"usable": False, "detail": str(error)}, "encoders": []}
    libvmaf = check_libvmaf(ffmpeg)
    return {
        "ffmpeg": {"path": ffmpeg.path, "version": ffmpeg.version, "how_found": ffmpeg.how_found},
        "libvmaf": {"model": libvmaf.name, "usable": libvmaf.usable, "detail": libvmaf.detail},
        "encoders": _examine_encoders(ffmpeg, on_encoder),
    }


def _examine_encoders(ffmpeg: Ffmpeg, on_encoder: OnEncoder | None) -> list[dict[str, Any]]:
    answers = []
    for answer in check_encoders(ffmpeg):
        answers.append({"name": answer.name, "usable": answer.usable, "detail": answer.detail})
        if on_encoder:
            on_encoder(answer.name, len(answers), len(ENCODERS))
    return answers


def examine_registry(explicit: PathLike | None) -> dict[str, Any]:
    """The `registry` field of the answer: every row verified, and the first reason if one is not."""
    folder = registry_of(explicit)
    answer: dict[str, Any] = {"path": str(folder), "verified": False, "detail": "", "rows": []}
    try:
        reports = verify_registry(folder, trust=find_trust())
    except AssayError as error:
        return answer | {"detail": str(error)}
    answer["rows"] = [
        {"id": row.row_id, "status": row.status, "promises": row.confidence_eligible, "detail": row.reason}
        for row in reports
    ]
    refused = [row for row in reports if row.status == "refused"]
    if refused:
        return answer | {"detail": f"{refused[0].row_id}: {refused[0].reason}"}
    production = sum(row.status == "production" for row in reports)
    n_rows = sum(row.status not in ("leftover", "not here") for row in reports)
    detail = f"{n_rows} rows, {production} production-eligible, in {folder}"
    return answer | {"verified": True, "detail": detail}


@dataclass(frozen=True, slots=True)
class CalibratedBuild:
    """What a build of ffmpeg measured on the fixed set."""

    ffmpeg: Ffmpeg
    """The build."""
    checks: "list[EncoderCheck]"
    """One for each encoder."""
    store: Path
    """The file where it was recorded."""


def calibrate_build(*, ffmpeg: str | None = None, on_step: OnStep | None = None) -> CalibratedBuild:
    """Measure the fixed set with this build of ffmpeg, and record whether its encoders may promise.

    Args:
      ffmpeg: the build; by default the one found.
      on_step: called with what is being measured, done, in all.

    Raises:
      ToolError: no ffmpeg is usable.
    """
    from vmaf_assay.outcomes.builds import cells, check_build, record_build
    from vmaf_assay.outcomes.store import OutcomeStore

    found = find_ffmpeg(ffmpeg)
    encoders = sorted({cell.encoder for cell in cells()})
    with OutcomeStore(outcomes_dir()) as store:
        checks = check_build(found, encoders, on_step)
        record_build(store, found, checks)
        return CalibratedBuild(found, checks, store.path)
