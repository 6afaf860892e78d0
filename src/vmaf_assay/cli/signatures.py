"""`assay registry sign | attest`: audit first, then sign what was found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.auditing import Deeper, audited, first_wrong
from vmaf_assay.cli.commands.promote import Expires, Sign, Wait, who_of

if TYPE_CHECKING:
    from vmaf_assay.admission.audit import Audit

Folder = Annotated[Path | None, typer.Option("--registry", help="Registry folder (default: the shipped one).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes to train in (default: one a core).")]
Ensemble = Annotated[str, typer.Argument(metavar="ENSEMBLE", help="Without _seedN or _mean.")]


def sign(
    ensemble: Ensemble,
    sign: Sign = None,
    registry: Folder = None,
    expires_days: Expires = None,
    corpus: Annotated[Path | None, typer.Option(help="Audit rows and facts against the corpus too.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train again from --corpus too.")] = False,
    jobs: Jobs = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Audit the verdict in force and sign it; the statement says what was audited. Signatures it has stay.

    Exit 4, and nothing signed, if anything that is computed again differs.

    Example: assay registry sign vmaf_forecast_ensemble_v1 --sign ~/assay-key --registry models
    """
    from dataclasses import replace

    from vmaf_assay.admission.lifecycle import sign_verdict
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.registry.store import registry_dir

    if not sign:
        raise ConfigError("nothing to sign with", next_step="add --sign KEY")
    if retrain and corpus is None:
        raise ConfigError("--retrain needs the corpus", next_step="add --corpus DIR")
    folder = registry_dir(registry)
    who = who_of(sign, expires_days, None, None, wait)
    if corpus is not None:
        _agreed(folder, ensemble, Deeper(True, corpus, retrain, jobs))
        who = replace(who, audited=("corpus", *(["retraining"] if retrain else [])))
    verdict, keys = sign_verdict(folder, ensemble, who)
    if as_json:
        render.emit_json({"ensemble": ensemble, "sequence": verdict.sequence, "signed_by": keys})
        return
    named = ", ".join(key[:12] for key in keys)
    render.say(f"{folder}: verdict {verdict.sequence} on {ensemble} is signed by {len(keys)}: {named}")


def attest(
    ensemble: Ensemble,
    corpus: Annotated[Path, typer.Option(help="The corpus that the ensemble was trained on.")],
    sign: Sign = None,
    registry: Folder = None,
    jobs: Jobs = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Train the ensemble in force again, on this machine, and sign that the same came out.

    A trust policy can ask for attestations (`attested_by`). Exit 4, and nothing signed, if anything differs.

    Example: assay registry attest vmaf_forecast_ensemble_v1 --corpus corpus --sign ~/assay-key --registry models
    """
    from vmaf_assay.admission.lifecycle import attest_verdict
    from vmaf_assay.admission.retrain import attested
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.registry.store import registry_dir

    if not sign:
        raise ConfigError("nothing to sign with", next_step="add --sign KEY")
    folder = registry_dir(registry)
    who = who_of(sign, None, None, None, wait)
    found = _agreed(folder, ensemble, Deeper(True, corpus, True, jobs))
    retrained = attested(found)
    verdict, keys = attest_verdict(folder, found, retrained, who)
    if as_json:
        render.emit_json(
            {
                "ensemble": ensemble,
                "sequence": verdict.sequence,
                "result": retrained.result,
                "attested_by": keys,
            }
        )
        return
    named = ", ".join(key[:12] for key in keys)
    render.say(
        f"{folder}: verdict {verdict.sequence} on {ensemble}, trained again {retrained.result}, "
        f"is attested by {len(keys)}: {named}"
    )


def _agreed(folder: Path, ensemble: str, deeper: Deeper) -> "Audit":
    from vmaf_assay.errors import IntegrityError

    found = audited(folder, f"{ensemble}_mean", None, deeper)
    if wrong := first_wrong(found):
        raise IntegrityError(f"not signed: {wrong}", next_step="see `assay registry verify --deep`")
    return found
