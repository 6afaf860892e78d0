"""`assay doctor`: what works on this machine, and why the rest does not."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vmaf_assay.cli import render
from vmaf_assay.cli.options import Json


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
    as_json: Json = False,
) -> None:
    """Show which ffmpeg is used and why, which encoders work, and whether the registry verifies.

    Exit 0 if ffmpeg, libvmaf and the registry are fine, 3 if no ffmpeg is usable, 4 if the registry is not.

    Example: assay doctor
    """
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
