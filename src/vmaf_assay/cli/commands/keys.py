"""`assay keys generate | show`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vmaf_assay.api import PublicKey

PASSPHRASE = "ASSAY_KEY_PASSPHRASE"
"""Environment variable with a key's passphrase, for use without a terminal."""

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the `keys` group."""
    group = typer.Typer(no_args_is_help=True, help="Keys that sign verdicts: make one, show its public half.")
    group.command("generate")(generate)
    group.command("show")(show)
    app.add_typer(group, name="keys")


def generate(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the two files; never a registry.")],
    owner: Annotated[str | None, typer.Option(help="Who holds it, for the public file.")] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help=f"Encrypt it: ${PASSPHRASE}, or you are asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an Ed25519 key: private.pem, which only you can read, and public.json, for everyone.

    Example: assay keys generate -o ~/assay-key --passphrase
    """
    from vmaf_assay.api import make_key

    key = make_key(out, passphrase=new_passphrase() if passphrase else None, owner=owner)
    _answer(key, as_json=as_json)
    if not as_json:
        from vmaf_assay.cli import render

        render.say(f"{out / 'private.pem'}: keep it to yourself, and keep a copy offline")
        render.say(f"{out / 'public.json'}: give it to those who should accept your signatures (docs/trust.md)")


def show(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="public.json, private.pem, or their folder.")],
    as_json: Json = False,
) -> None:
    """Show a key's id and its public half, as a trust policy needs them. Never the private half.

    Example: assay keys show ~/assay-key
    """
    from vmaf_assay.api import read_key

    found = read_key(key, passphrase=ask_passphrase)
    _answer(found, as_json=as_json)
    if not as_json:
        from vmaf_assay.cli import render

        render.say(f"{key}: an Ed25519 key, {found.key_id[:12]}; a trust policy names it by its id in full")


def _answer(key: "PublicKey", *, as_json: bool) -> None:
    from vmaf_assay.cli import render

    if as_json:
        render.emit_json(key.model_dump(mode="json"))
        return
    rows = [["key id", key.key_id], ["public", key.public]]
    render.say_table(["", ""], [*rows, ["owner", key.owner]] if key.owner else rows)


def ask_passphrase() -> str:
    """The passphrase of a key: from the environment, or asked for on the terminal and not shown."""
    named = os.environ.get(PASSPHRASE)
    return named if named is not None else str(typer.prompt("passphrase", hide_input=True, err=True))


def new_passphrase() -> str:
    """The passphrase of a new key, asked for twice."""
    named = os.environ.get(PASSPHRASE)
    if named is not None:
        return named
    return str(typer.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True))
