"""`assay registry list | show | verify`."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path | None, typer.Option("--registry", help="Registry folder (default: the shipped one).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the `registry` group."""
    group = typer.Typer(no_args_is_help=True, help="Rows, what admitted them, and whether they still verify.")
    group.command("list")(list_rows)
    group.command("show")(show)
    group.command("verify")(verify)
    app.add_typer(group, name="registry")


def list_rows(registry: Folder = None, as_json: Json = False) -> None:
    """List the rows, as written; `verify` says whether to believe them.

    Example: assay registry list
    """
    from vmaf_assay.cli import render
    from vmaf_assay.registry.store import read_registry, registry_dir

    rows = read_registry(registry_dir(registry)).rows
    if as_json:
        render.emit_json([row.model_dump(mode="json") for row in rows])
        return
    render.say_table(
        ["id", "kind", "smoke", "promises", "sha256"],
        [[row.id, row.kind, row.smoke, row.confidence_eligible, row.sha256[:12]] for row in rows],
    )


def show(
    row_id: Annotated[str, typer.Argument(metavar="ROW", help="A row's id.")],
    registry: Folder = None,
    as_json: Json = False,
) -> None:
    """Show one row, verified, and the verdict that admitted it.

    Example: assay registry show vmaf_forecast_ensemble_v1_mean
    """
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.registry.store import read_registry, registry_dir, verify_row

    folder = registry_dir(registry)
    content = read_registry(folder)
    row = content.row(row_id)
    if row is None:
        raise ConfigError(f"{folder} has no row {row_id}", next_step="see `assay registry list`")
    if row.smoke:
        render.emit_json(row.model_dump(mode="json")) if as_json else render.say(f"{row.id}: scaffolded (smoke)")
        return
    _, sidecar, verdict = verify_row(folder, content, row)
    if as_json:
        render.emit_json({"row": row.model_dump(mode="json"), "verdict": verdict.model_dump(mode="json")})
        return
    render.say(f"{row.id}: {row.description}")
    seen = ", ".join(f"{e.encoder} {e.preset}" for e in sidecar.seen.encoders)
    facts = [
        ["verdict", f"{verdict.verdict} no. {verdict.sequence}, {verdict.generated_at_utc}"],
        ["mean PLCC", f"{verdict.gate.mean_plcc:.6f} (at least {verdict.gate.mean_plcc_threshold:g})"],
        ["spread", f"{verdict.gate.plcc_spread:.6f} (at most {verdict.gate.plcc_spread_max:g})"],
        ["promises", "yes" if row.confidence_eligible else "no"],
        ["trained on", seen],
        ["corpus", f"{verdict.corpus['digest']} ({verdict.corpus['n_groups']} groups)"],
        ["model", row.sha256],
        ["code", f"{verdict.code.get('version')} {verdict.code.get('commit') or ''}"],
    ]
    render.say_table(["", ""], facts)


def verify(
    registry: Folder = None,
    deep: Annotated[bool, typer.Option("--deep", help="Recompute calibration and coverage as well.")] = False,
    as_json: Json = False,
) -> None:
    """Check every byte and judge every verdict's held-out predictions again. Exit 0 all verify, 4 otherwise.

    Example: assay registry verify --deep
    """
    from dataclasses import asdict

    from vmaf_assay.cli import render
    from vmaf_assay.errors import IntegrityError
    from vmaf_assay.registry.store import registry_dir
    from vmaf_assay.registry.verify import RowReport, verify_registry

    folder = registry_dir(registry)
    try:
        reports = verify_registry(folder, deep=deep)
    except IntegrityError as error:  # registry.json itself: no row can be named
        reports = [RowReport("registry.json", "refused", str(error), False)]
    refused = [report for report in reports if report.status == "refused"]
    if as_json:
        render.emit_json({"registry": str(folder), "verified": not refused, "rows": [asdict(r) for r in reports]})
    else:
        render.say_table(
            ["row", "status", "promises"], [[r.row_id, r.status, r.confidence_eligible] for r in reports]
        )
    if refused:
        raise IntegrityError(
            f"{len(refused)} entries of {folder} are refused; {refused[0].row_id}: {refused[0].reason}"
        )
    if not as_json:
        n_live = sum(report.status == "production" for report in reports)
        n_rows = sum(report.status != "leftover" for report in reports)
        render.say(f"{folder}: {n_rows} rows verify, {n_live} production-eligible")
