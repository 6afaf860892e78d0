"""`assay validate`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("validate")(validate)


def validate(
    run: Annotated[Path, typer.Argument(help="A run made by `assay train`.")],
    as_json: Annotated[bool, typer.Option("--json", help="The verdict on stdout.")] = False,
) -> None:
    """Write the verdict on a run: PROMOTE.json or HOLD.json. Never touches a registry. Exit 0 PROMOTE, 1 HOLD.

    Example: assay validate run
    """
    from vmaf_assay.cli import render
    from vmaf_assay.registry.verdict import judge, write_verdict
    from vmaf_assay.runs.store import load_run

    verdict = judge(load_run(run))
    path = write_verdict(run, verdict)
    if as_json:
        render.emit_json(verdict.model_dump(mode="json"))
    else:
        render.say_table(
            ["coverage", "nominal", "empirical", "groups", "passed"],
            [[c.scope, c.confidence, c.coverage, c.n_groups, c.passed] for c in verdict.coverage],
        )
        for reason in verdict.reasons:
            render.say(f"reason: {reason}")
        promises = "may" if verdict.confidence_eligible else "may not"
        said = f"{verdict.verdict} by {verdict.protocol}, {promises} make promises"
        render.say(f"{path}: {said}; {verdict.recommendation}")
    if verdict.verdict != "PROMOTE":
        raise typer.Exit(1)
