"""`assay promote`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("promote")(promote)


def promote(
    run: Annotated[Path, typer.Argument(help="A run with a PROMOTE.json.")],
    registry: Annotated[Path | None, typer.Option(help="Registry to flip (default: the shipped one).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Flip an ensemble's rows from smoke to production, all or nothing, after running its gate again.

    Example: assay promote run --registry models
    """
    from vmaf_assay.cli import render
    from vmaf_assay.registry.promotion import promote as flip
    from vmaf_assay.registry.store import registry_dir
    from vmaf_assay.runs.store import load_run

    folder = registry_dir(registry)
    verdict = flip(load_run(run), folder)
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
    render.say(
        f"{folder}: {len(verdict.rows)} rows of {verdict.ensemble} are production-eligible "
        f"(verdict {verdict.sequence}); check with `assay registry verify --registry {folder}`"
    )
