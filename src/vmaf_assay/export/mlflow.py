"""Export to an MLflow tracking server: runs, and the verdict in force as a model version under an alias.

The server holds a copy to look at and to fetch from. It is never trusted: what comes back is checked like any
other registry. Written against mlflow-skinny 3.17.
"""

import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.export.contents import Export

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX = "vmaf_assay."
"""Prefix of every tag of ours."""

_REACH_S = 10.0
"""How long a server may take to answer at all. MLflow itself retries for minutes before it fails."""

_PARAMS_A_CALL, _METRICS_A_CALL, _VALUE_CHARS = 100, 500, 6000
"""Limits of MLflow's log-batch (100 params, 1000 entities a call) and of a param's value (MLflow 3.17)."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What is on the server now."""

    export: Export
    """What was exported."""
    run_id: str
    """Id of the run on the server."""
    created: bool
    """False if the same content was there before."""
    version: str | None
    """The model version; None for a run, which is never registered."""
    version_created: bool
    """False if that version was there before."""
    alias: str | None
    """The alias that names the version now."""


def check_alias(alias: str) -> None:
    """Raises ConfigError if MLflow does not accept the alias."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", alias) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise ConfigError(
            f"MLflow does not accept the alias {alias!r}",
            next_step="use letters, digits, - and _; not `latest`, and not a version such as `v3`",
        )


def reachable_server(uri: str) -> str:
    """The server's address without user and password, once something has answered there.

    Raises:
      ConfigError: not an address of a server.
      ToolError: nothing answers.
    """
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(
            f"{uri!r} is not the address of an MLflow server", next_step="give --tracking-uri http://HOST:PORT"
        )
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        urllib.request.urlopen(plain, timeout=_REACH_S).close()
    except urllib.error.HTTPError:
        pass  # it answers; the client reports errors
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, SSLError):  # the client may have been given certificates of its own
            raise ToolError(
                f"no MLflow server answers at {plain}: {reason}", next_step="start it, or check --tracking-uri"
            ) from error
    return plain


def connect(uri: str) -> "MlflowClient":
    """A client. Raises ConfigError if MLflow's client is not installed."""
    # MLflow reads these when imported. Otherwise it would send telemetry and print on stdout.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise ConfigError(
            "MLflow's client is not installed", next_step="pip install 'vmaf-assay[mlflow]'"
        ) from error
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def export_all(
    client: "MlflowClient",
    exports: list[Export],
    *,
    experiment: str,
    alias: str,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Exported]:
    """Send each export to the server, unless it is there; register and alias those in production.

    Args:
      client: from `connect`.
      exports: what to export.
      experiment: its name; created if absent.
      alias: set on the version of each ensemble in production.
      on_progress: called with the number of files sent, and of all files.

    Raises:
      IntegrityError: the alias names a version outside this registry's history; nothing was sent.
      ToolError: the server failed, or refused.
    """
    with _server_errors():
        for export in exports:
            if export.kind == "registry":
                _refuse_going_back(client, export, alias)
        experiment_id = _experiment(client, experiment)
        total, done = sum(len(export.files) for export in exports), 0
    for export in exports:
        before = done

        def sent(count: int, before: int = before) -> None:
            on_progress(before + count, total)

        with _server_errors():
            yield _export(client, export, experiment_id, alias, sent)
        done += len(export.files)


@contextmanager
def _server_errors() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:  # `requests` raises OSErrors
        said = str(error).strip().splitlines() or [type(error).__name__]
        denied = getattr(error, "error_code", "") in {"PERMISSION_DENIED", "UNAUTHENTICATED"}
        step = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        raise ToolError(
            f"the MLflow server refused or failed: {said[0][:300]}",
            next_step=step if denied else "see its log, then export again; nothing is sent twice",
        ) from error


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"experiment {name!r} is deleted on the server", next_step="restore it there, or name another"
        )
    return str(found.experiment_id)


def _export(
    client: "MlflowClient", export: Export, experiment_id: str, alias: str, on_sent: Callable[[int], None]
) -> Exported:
    run_id = _run_there(client, export, experiment_id)
    created = run_id is None
    if run_id is None:
        run_id = _log(client, export, experiment_id, on_sent)
    on_sent(len(export.files))
    if export.kind == "run":
        return Exported(export, run_id, created, None, False, None)
    version = _version_there(client, export)
    version_created = version is None
    if version is None:
        version = _register(client, export, run_id)
    client.set_registered_model_alias(export.ensemble, alias, version)
    return Exported(export, run_id, created, version, version_created, alias)


def _run_there(client: "MlflowClient", export: Export, experiment_id: str) -> str | None:
    """The finished run of the same content; an unfinished one is incomplete and does not count."""
    wanted = f"tags.`{PREFIX}key` = '{export.key}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment_id], filter_string=wanted, max_results=1)
    return str(found[0].info.run_id) if found else None


def _log(client: "MlflowClient", export: Export, experiment_id: str, on_sent: Callable[[int], None]) -> str:
    from mlflow.entities import Metric, Param

    tags = _our_tags(export) | {"mlflow.note.content": _note(export)}
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=export.title).info.run_id)
    try:
        params = [Param(_name(key), value[:_VALUE_CHARS]) for key, value in export.params.items()]
        for at in range(0, len(params), _PARAMS_A_CALL):
            client.log_batch(run_id, params=params[at : at + _PARAMS_A_CALL])
        metrics = [Metric(_name(key), value, export.at_ms, step) for key, value, step in export.metrics]
        for at in range(0, len(metrics), _METRICS_A_CALL):
            client.log_batch(run_id, metrics=metrics[at : at + _METRICS_A_CALL])
        _send_files(client, export, run_id, on_sent)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _send_files(client: "MlflowClient", export: Export, run_id: str, on_sent: Callable[[int], None]) -> None:
    """Send the bytes that were checked, without reading the files again."""
    with tempfile.TemporaryDirectory(prefix="assay-export-") as workspace:
        for number, (name, data) in enumerate(sorted(export.files.items())):
            on_sent(number)
            path = Path(workspace) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            folder = Path(export.kind, name).parent.as_posix()
            client.log_artifact(run_id, str(path), folder)


def _refuse_going_back(client: "MlflowClient", export: Export, alias: str) -> None:
    """An alias moves only along the history: not to an older verdict, not to another registry's."""
    if not _is_registered(client, export.ensemble):
        return
    named = client.get_registered_model(export.ensemble).aliases.get(alias)
    if named is None:
        return
    tags = client.get_model_version(export.ensemble, named).tags
    if tags.get(f"{PREFIX}verdict_sha256") not in export.history:
        there = tags.get(f"{PREFIX}sequence")
        raise IntegrityError(
            f"{alias} of {export.ensemble} on the server is version {named}, "
            f"{f'verdict {there}' if there else 'none of ours'}, which this registry's history does not hold",
            next_step="export the newer registry (`assay registry rollback` goes back), or use another --alias",
        )


def _is_registered(client: "MlflowClient", name: str) -> bool:
    return bool(client.search_registered_models(filter_string=f"name = '{name}'", max_results=1))


def _versions(client: "MlflowClient", name: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=100, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _version_there(client: "MlflowClient", export: Export) -> str | None:
    """The version of the same verdict."""
    for version in _versions(client, export.ensemble):
        if version.tags.get(f"{PREFIX}verdict_sha256") == export.key and version.status != "FAILED_REGISTRATION":
            return str(version.version)
    return None


def _register(client: "MlflowClient", export: Export, run_id: str) -> str:
    if not _is_registered(client, export.ensemble):
        client.create_registered_model(export.ensemble, description="Exported by `assay export mlflow`.")
    made = client.create_model_version(
        export.ensemble,
        source=f"runs:/{run_id}/{export.kind}",
        run_id=run_id,
        tags=_our_tags(export),
        description=_note(export),
        await_creation_for=None,  # MLflow's own server is done when it answers; waiting logs on stderr
    )
    return str(made.version)


def _our_tags(export: Export) -> dict[str, str]:
    return {f"{PREFIX}{key}": value for key, value in {**export.tags, "key": export.key}.items()}


def _note(export: Export) -> str:
    return f"{export.title}: {export.verdict}. Check what you download from here: " + (
        "`assay registry verify --registry registry`." if export.kind == "registry" else "`assay gate run`."
    )


def _name(text: str) -> str:
    """A valid MLflow name: characters other than letters, digits and `_-./ ` become `_`; at most 250.

    >>> _name("coverage/libx264 medium+slow/0.95")
    'coverage/libx264 medium_slow/0.95'
    """
    return re.sub(r"[^A-Za-z0-9_\-./ ]", "_", text)[:250]
