"""`assay export mlflow | reference`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.options import Json, TrustPolicy

if TYPE_CHECKING:
    from vmaf_assay.api import Exported


def register(app: typer.Typer) -> None:
    """Add the `export` group."""
    group = typer.Typer(no_args_is_help=True, help="Export runs and models to other tools.")
    group.command("mlflow")(mlflow)
    group.command("reference")(reference)
    app.add_typer(group, name="export")


def mlflow(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run made by `assay train`.")] = None,
    registry: Annotated[
        Path | None, typer.Option(help="Registry to export (default: without a RUN, the shipped one).")
    ] = None,
    ensemble: Annotated[str | None, typer.Option(help="Only this ensemble of the registry.")] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="URL", help="The MLflow server (default: $MLFLOW_TRACKING_URI).")
    ] = None,
    experiment: Annotated[str, typer.Option(help="MLflow experiment; created if absent.")] = "vmaf-assay",
    alias: Annotated[str, typer.Option(help="Alias of the version in force.")] = "production",
    trust_policy: TrustPolicy = None,
    as_json: Json = False,
) -> None:
    """Log a run, or a registry's models in production, to an MLflow server. A repeated export changes nothing.

    A run is logged whatever its verdict and never gets the alias: only a registry that verifies does. Exit 1 if
    the run's verdict is HOLD.

    Example: assay export mlflow --registry models --tracking-uri http://127.0.0.1:5000
    """
    from vmaf_assay.api import export_mlflow
    from vmaf_assay.cli import render

    with render.steps("exporting") as on_step:
        plain, done = export_mlflow(
            run,
            registry=registry,
            ensemble=ensemble,
            tracking_uri=tracking_uri,
            experiment=experiment,
            alias=alias,
            trust_policy=trust_policy,
            on_step=on_step,
        )
    if as_json:
        documents = [_document(one) for one in done]
        render.emit_json({"tracking_uri": plain, "experiment": experiment, "exported": documents})
    else:
        for one in done:
            render.say(_line(one))
    if any(one.export.verdict == "HOLD" for one in done):
        raise typer.Exit(1)


def reference(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    registry: Annotated[Path | None, typer.Option(help="Registry to export (default: the shipped one).")] = None,
    ensemble: Annotated[str | None, typer.Option(help="Only this ensemble of the registry.")] = None,
    trust_policy: TrustPolicy = None,
    as_json: Json = False,
) -> None:
    """Write what a registry has in production as the reference system's validator and schema accept it.

    The registry is verified first. What is the same there and what is not: docs/reference-system.md.

    Example: assay export reference model/tiny --registry models
    """
    from vmaf_assay.api import export_to_reference
    from vmaf_assay.cli import render

    rows = export_to_reference(out, registry=registry, ensemble=ensemble, trust_policy=trust_policy)
    if as_json:
        render.emit_json({"out": str(out), "rows": rows})
    else:
        render.say(f"{out}: {len(rows)} models with sidecars, and the verdicts that admitted them")


_WHY_NOT = {
    "HOLD": "HOLD: logged, not registered",
    "PROMOTE": "PROMOTE: logged; the registry it is promoted into registers it (--registry)",
    "none": "no verdict: logged, not registered; see `assay validate`",
}


def _line(one: "Exported") -> str:
    at = f"{one.export.title}: MLflow run {one.run_id}{'' if one.created else ' (was there)'}"
    if one.version is None:
        return f"{at}; {_WHY_NOT[one.export.verdict]}"
    was = "" if one.version_created else " (was there)"
    return f"{at}, version {one.version}{was} of {one.export.ensemble}, alias {one.alias}"


def _document(one: "Exported") -> dict[str, object]:
    tags = one.export.tags
    return {
        "kind": one.export.kind,
        "ensemble": one.export.ensemble,
        "verdict": one.export.verdict,
        "run_id": one.run_id,
        "run_created": one.created,
        "version": one.version,
        "version_created": one.version_created,
        "alias": one.alias,
        "sequence": int(tags["sequence"]) if "sequence" in tags else None,
        "model_sha256": tags["model_sha256"],
        "verdict_sha256": tags.get("verdict_sha256"),
        "corpus_digest": tags["corpus_digest"],
        "files": len(one.export.files),
    }
