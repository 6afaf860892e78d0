"""`assay validate`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("validate")(validate)


def validate(
    run: Annotated[Path, typer.Argument(help="A run made by `assay train`.")],
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus it was trained on: every prediction must be of it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict on stdout.")] = False,
) -> None:
    """Write the verdict on a run: PROMOTE.json or HOLD.json. Never touches a registry. Exit 0 PROMOTE, 1 HOLD.

    Without --corpus only the run's own consistency is checked.

    Example: assay validate run --corpus corpus
    """
    from vmaf_assay.api import load_run, validate_run
    from vmaf_assay.cli import render

    evidence = load_run(run)
    with render.steps("judging") as on_step:
        verdict = validate_run(evidence, corpus=corpus, on_step=on_step)
    path = run / f"{verdict.verdict}.json"
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
