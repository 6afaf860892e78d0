"""`assay doctor`: what works on this machine, and why the rest does not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmaf_assay.cli import render
from vmaf_assay.cli.options import Json, end

if TYPE_CHECKING:
    from vmaf_assay.api import EncoderCheck


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
    from vmaf_assay.api import examine

    with render.steps("encoders") as on_encoder:
        found = examine(ffmpeg=ffmpeg, registry=registry, on_encoder=on_encoder)
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

    from vmaf_assay.api import calibrate_build

    with render.steps("measuring") as on_step:
        measured = calibrate_build(ffmpeg=explicit, on_step=on_step)
    ffmpeg, checks, path = measured.ffmpeg, measured.checks, measured.store
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
