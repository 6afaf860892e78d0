"""`assay promote`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.commands.keys import ask_passphrase
from vmaf_assay.cli.options import Json

if TYPE_CHECKING:
    from vmaf_assay.api import Who

Sign = Annotated[
    list[Path] | None, typer.Option("--sign", metavar="KEY", help="Private key that signs (repeatable).")
]
Expires = Annotated[
    int | None,
    typer.Option("--expires-days", min=1, help="Signatures expire after this many days (default: never)."),
]
By = Annotated[str | None, typer.Option(help="Who you are, for the history; never guessed.")]
Wait = Annotated[float | None, typer.Option(min=0, help="Seconds to wait for the lock (default: 60).")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("promote")(promote)


def promote(
    run: Annotated[Path, typer.Argument(help="A run with a PROMOTE.json.")],
    registry: Annotated[Path | None, typer.Option(help="Registry to flip (default: the shipped one).")] = None,
    sign: Sign = None,
    expires_days: Expires = None,
    by: By = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the history.")] = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Flip an ensemble's rows from smoke to production, all or none, after running its gate again.

    Example: assay promote run --registry models --sign ~/assay-key --reason "corpus of spring"
    """
    from vmaf_assay.api import load_run, promote_run
    from vmaf_assay.api.paths import registry_of
    from vmaf_assay.cli import render

    folder = registry_of(registry)
    who = who_of(sign, expires_days, by, reason, wait)
    evidence = load_run(run)
    with render.steps("judging again") as on_step:
        verdict = promote_run(evidence, folder, who=who, on_step=on_step)
    if as_json:
        render.emit_json(
            {
                "registry": str(folder),
                "ensemble": verdict.ensemble,
                "rows": sorted(verdict.rows),
                "sequence": verdict.sequence,
                "confidence_eligible": verdict.confidence_eligible,
            }
        )
        return
    signed = f", signed by {len(who.keys)}" if who.keys else ""
    render.say(
        f"{folder}: {len(verdict.rows)} rows of {verdict.ensemble} are production-eligible "
        f"(verdict {verdict.sequence}{signed}); check with `assay registry verify --registry {quote(str(folder))}`"
    )


def who_of(
    sign: list[Path] | None, expires_days: int | None, by: str | None, reason: str | None, wait: float | None
) -> "Who":
    """The options about author, reason and keys, with the private keys read."""
    from vmaf_assay.api import acting

    return acting(
        sign or (), passphrase=ask_passphrase, expires_days=expires_days, by=by, reason=reason, wait_s=wait
    )
