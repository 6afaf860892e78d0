"""Export runs and registries to MLflow, and to the reference system's files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay.api.paths import PathLike, registry_of
from vmaf_assay.errors import ConfigError
from vmaf_assay.export.contents import Export, registry_exports, run_export
from vmaf_assay.records import OnStep
from vmaf_assay.registry.trust import find_trust
from vmaf_assay.training.evidence import load_run

if TYPE_CHECKING:
    from vmaf_assay.export.mlflow import Exported


def export_mlflow(
    run: PathLike | None = None,
    *,
    registry: PathLike | None = None,
    ensemble: str | None = None,
    tracking_uri: str | None = None,
    experiment: str = "vmaf-assay",
    alias: str = "production",
    trust_policy: PathLike | None = None,
    on_step: OnStep | None = None,
) -> "tuple[str, list[Exported]]":
    """Log a run, or a registry's models in production, to an MLflow server. A repeated export changes nothing.

    Args:
      run: a run's folder.
      registry: the registry to export; without a run, by default the shipped one.
      ensemble: only this ensemble of the registry.
      tracking_uri: the server; by default `$MLFLOW_TRACKING_URI`.
      experiment: its experiment, created if absent.
      alias: alias of the version in force.
      trust_policy: as of `load_ensemble`.
      on_step: called with what is being done, done, in all.

    Returns:
      The server's address without secrets, and what was exported.

    Raises:
      ConfigError: no server is named, the extra `mlflow` is not installed, or the request is invalid.
      IntegrityError: the registry does not verify.
      ToolError: the server failed.
    """
    from vmaf_assay.export.mlflow import check_alias, connect, export_all, reachable_server

    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise ConfigError("no MLflow server is named", next_step="give --tracking-uri or set MLFLOW_TRACKING_URI")
    check_alias(alias)
    exports = _exports(run, registry, ensemble, trust_policy, on_step)
    client, plain = connect(uri), reachable_server(uri)
    sent = (lambda _done, _total: None) if on_step is None else (lambda done, total: on_step("files", done, total))
    return plain, list(export_all(client, exports, experiment=experiment, alias=alias, on_progress=sent))


def export_to_reference(
    out: PathLike,
    *,
    registry: PathLike | None = None,
    ensemble: str | None = None,
    trust_policy: PathLike | None = None,
) -> list[str]:
    """Write what a registry has in production as the reference system reads it; the ids of the rows written.

    Args:
      out: a new folder.
      registry: the registry, verified first; by default `$ASSAY_REGISTRY`, else the shipped one.
      ensemble: only this one's rows.
      trust_policy: as of `load_ensemble`.

    Raises:
      ConfigError: the folder exists, or nothing is in production.
      IntegrityError: something does not verify.
    """
    from vmaf_assay.export.reference import export_reference

    trust = find_trust(None if trust_policy is None else Path(trust_policy))
    return export_reference(registry_of(registry), Path(out), ensemble, trust)


def _exports(
    run: PathLike | None,
    registry: PathLike | None,
    ensemble: str | None,
    trust_policy: PathLike | None,
    on_step: OnStep | None,
) -> list[Export]:
    exports = []
    if run is not None:
        evidence = load_run(Path(run))
        evidence.coverage(on_step)
        exports.append(run_export(evidence))
    if run is None or registry is not None:
        trust = find_trust(None if trust_policy is None else Path(trust_policy))
        exports += registry_exports(registry_of(registry), ensemble, trust)
    elif ensemble is not None:
        raise ConfigError(
            "--ensemble selects from a registry, and no registry is exported", next_step="add --registry DIR"
        )
    return exports
