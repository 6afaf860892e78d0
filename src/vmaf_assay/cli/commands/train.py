"""`assay train`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from vmaf_assay.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train")(train)


def train(
    corpus: Annotated[Path, typer.Argument(help="A finished corpus.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Which ensemble to train (default: the forecast of --measurand).")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run; must not exist.")] = Path("run"),
    seeds: Annotated[str, typer.Option(help="One member a seed.")] = "0,1,2,3,4",
    recipe: Annotated[str | None, typer.Option(help="Training recipe (default: the model's).")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Grouped folds (default: one group at a time up to 100 groups, then 20 folds)."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Most steps of a member, if the recipe's epochs are more.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cores to train on (default: all).")] = None,
    measurand: Annotated[
        str | None, typer.Option(help="What a forecast answers in, as 'vmaf_v1.0.16_3d0h mean 10-bit'.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="auto, native (a C compiler; the same bits everywhere), jax, or jax-gpu.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Train an ensemble, leaving out one group at a time, and write the run that the gate judges.

    Example: assay train corpus --measurand 'vmaf_v1.0.16_3d0h mean 10-bit' -o run
    """
    import json

    from vmaf_assay.api import write_run
    from vmaf_assay.cli import render

    with render.steps("members") as on_step:
        run = write_run(
            corpus,
            out,
            ensemble_id=model,
            seeds=_numbers(seeds),
            recipe=recipe,
            folds=folds,
            max_steps=max_steps,
            engine=engine,
            jobs=jobs,
            measurand=measurand,
            on_step=on_step,
            on_commit=lambda digest: render.note(f"commitment {digest}, made before training"),
        )
    losos = [json.loads((out / f"loso_seed{seed}.json").read_text()) for seed in run.seeds]
    if as_json:
        render.emit_json({"run": str(out), "model_id": run.model_id, "protocol": run.protocol, "seeds": losos})
        return
    headers = ["seed", "groups", "PLCC", "lowest", "SROCC", "RMSE"]
    keys = ("seed", "n_folds", "mean_plcc", "min_plcc", "mean_srocc", "mean_rmse")
    render.say_table(headers, [[loso[key] for key in keys] for loso in losos])
    how = f"{run.corpus.n_rows} rows in {run.corpus.n_groups} groups, {run.protocol}, {run.environment['engine']}"
    render.say(f"{out}: {how}; next: assay validate {quote(str(out))}")


def _numbers(seeds: str) -> list[int]:
    from vmaf_assay.errors import ConfigError

    try:
        return [int(part) for part in seeds.split(",")]
    except ValueError as error:
        raise ConfigError(f"seeds are whole numbers, not {seeds!r}", next_step="write 0,1,2,3,4") from error
