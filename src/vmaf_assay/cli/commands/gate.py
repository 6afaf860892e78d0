"""`assay gate`."""

from pathlib import Path
from typing import Annotated

import typer

from vmaf_assay.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("gate")(gate)


def gate(
    run: Annotated[Path, typer.Argument(help="A run made by `assay train`.")],
    as_json: Json = False,
) -> None:
    """Judge a run by its held-out predictions. Writes nothing. Exit 0 passed, 1 not passed, 2 invalid evidence.

    Example: assay gate run --json
    """
    from vmaf_assay.api import gate_run, load_run
    from vmaf_assay.cli import render

    result = gate_run(load_run(run))
    if as_json:
        render.emit_json(result.model_dump(mode="json"))
    else:
        rows = [[f"seed {seed}", score, result.per_seed_min] for seed, score in result.per_seed_plccs.items()]
        rows.append(["mean", result.mean_plcc, result.mean_plcc_threshold])
        render.say_table(["PLCC", "measured", "at least"], rows)
        render.say(f"spread {result.plcc_spread:.6f}, at most {result.plcc_spread_max:g}")
        render.say("gate passed" if result.passed else f"gate not passed: {'; '.join(result.reasons())}")
    if not result.passed:
        raise typer.Exit(1)
