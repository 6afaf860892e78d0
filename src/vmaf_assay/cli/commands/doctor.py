"""`assay doctor`: what works on this machine, and why the rest does not."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmaf_assay import __version__
from vmaf_assay.cli import render
from vmaf_assay.cli.options import Json, end

if TYPE_CHECKING:
    from vmaf_assay.media.ffmpeg import Ffmpeg
    from vmaf_assay.outcomes.builds import EncoderCheck


def register(app: typer.Typer) -> None:
    """Add `doctor` to the application."""
    app.command("doctor")(doctor)


def doctor(
    ffmpeg: Annotated[
        str | None, typer.Option(metavar="PATH", help="The ffmpeg to examine instead of the one found.")
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The registry to examine instead of the shipped one.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this ffmpeg on a fixed set, so that it may promise.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show which ffmpeg is used and why, which encoders work, and whether the registry verifies.

    Exit 0 if ffmpeg, libvmaf and the registry are fine, 3 if no ffmpeg is usable, 4 if the registry is not. With
    --calibrate, exit 0 if every encoder that works here may promise with this ffmpeg, else 1.

    Example: assay doctor
    """
    if calibrate:
        end(_calibrate(ffmpeg, as_json))
        return
    found = {
        "version": __version__,
        "python": platform.python_version(),
        **examine_ffmpeg(ffmpeg),
        "registry": examine_registry(registry),
    }
    if as_json:
        render.emit_json(found)
    else:
        _show(found)
    if not found["libvmaf"]["usable"]:
        raise typer.Exit(3)
    if not found["registry"]["verified"]:
        raise typer.Exit(4)


def _calibrate(explicit: str | None, as_json: bool) -> int:
    """Measure the fixed set with this build, record and print what came out; the exit code."""
    from dataclasses import asdict

    from vmaf_assay.media.ffmpeg import find_ffmpeg
    from vmaf_assay.media.user_folders import outcomes_dir
    from vmaf_assay.outcomes.builds import cells, check_build, record_build
    from vmaf_assay.outcomes.store import OutcomeStore

    ffmpeg = find_ffmpeg(explicit)
    encoders = sorted({cell.encoder for cell in cells()})
    with OutcomeStore(outcomes_dir()) as store:
        with render.steps("measuring") as on_step:
            checks = check_build(ffmpeg, encoders, on_step)
        record_build(store, ffmpeg, checks)
        path = store.path
    admitted = [one for one in checks if not one.why_not]
    missed = [one for one in checks if one.why_not and one.version]
    if as_json:
        encoder_checks = [asdict(one) | {"promises": not one.why_not} for one in checks]
        render.emit_json({"ffmpeg": ffmpeg.version, "store": str(path), "encoders": encoder_checks})
    else:
        render.say_table(
            ["encoder", "version", "worst VMAF", "mean VMAF", "worst kbps", "promises", "why not"],
            [_check_line(one) for one in checks],
        )
        names = ", ".join(one.encoder for one in admitted) or "no encoder"
        render.say(f"ffmpeg {ffmpeg.version}: {names} may promise; recorded in {path} until this build changes")
    return 0 if admitted and not missed else 1


def _check_line(one: "EncoderCheck") -> list[object]:
    worst = [f"{one.worst_points:.3f}", f"{one.mean_points:+.3f}", f"{100 * one.worst_kbps:.2f} %"]
    return [one.encoder, one.version, *(worst if one.version else ["", "", ""]), not one.why_not, one.why_not]


def examine_ffmpeg(explicit: str | None) -> dict[str, Any]:
    """The `ffmpeg`, `libvmaf` and `encoders` fields of the answer, from real one-frame runs."""
    from vmaf_assay.errors import ToolError
    from vmaf_assay.media.capability import check_libvmaf
    from vmaf_assay.media.ffmpeg import find_ffmpeg

    try:
        ffmpeg = find_ffmpeg(explicit)
    except ToolError as error:
        return {"ffmpeg": None, "libvmaf": {"usable": False, "detail": str(error)}, "encoders": []}
    libvmaf = check_libvmaf(ffmpeg)
    return {
        "ffmpeg": {"path": ffmpeg.path, "version": ffmpeg.version, "how_found": ffmpeg.how_found},
        "libvmaf": {"model": libvmaf.name, "usable": libvmaf.usable, "detail": libvmaf.detail},
        "encoders": _examine_encoders(ffmpeg),
    }


def _examine_encoders(ffmpeg: "Ffmpeg") -> list[dict[str, Any]]:
    from vmaf_assay.media.capability import check_encoders
    from vmaf_assay.media.encoders import ENCODERS

    answers = []
    with render.progress_bar("encoders", total=len(ENCODERS)) as update:
        for answer in check_encoders(ffmpeg):
            answers.append({"name": answer.name, "usable": answer.usable, "detail": answer.detail})
            update(len(answers), answer.name)
    return answers


def examine_registry(explicit: Path | None) -> dict[str, Any]:
    """The `registry` field of the answer: every row verified, and the first reason if one is not."""
    from vmaf_assay.errors import AssayError
    from vmaf_assay.registry.store import registry_dir
    from vmaf_assay.registry.trust import find_trust
    from vmaf_assay.registry.verify import verify_registry

    folder = registry_dir(explicit)
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


def _show(found: dict[str, Any]) -> None:
    ffmpeg, libvmaf, registry = found["ffmpeg"], found["libvmaf"], found["registry"]
    render.say(f"assay     {found['version']}, Python {found['python']}")
    if ffmpeg:
        render.say(f"ffmpeg    {ffmpeg['version']}, {ffmpeg['how_found']}: {ffmpeg['path']}")
    state = "works" if libvmaf["usable"] else "does not work"
    render.say(f"libvmaf   {state}: {libvmaf['detail']}")
    render.say(f"registry  {'verifies' if registry['verified'] else 'DOES NOT VERIFY'}: {registry['detail']}")
    if found["encoders"]:
        render.say()
        render.say_table(
            ["encoder", "usable", "why not"],
            [(item["name"], item["usable"], item["detail"]) for item in found["encoders"]],
        )
    usable = sum(item["usable"] for item in found["encoders"])
    fine = libvmaf["usable"] and registry["verified"]
    render.say()
    render.say(
        f"assay {'works' if fine else 'DOES NOT WORK'} here, with {usable} of {len(found['encoders'])} encoders"
    )
