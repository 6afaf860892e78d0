"""`assay registry sign | attest`: audit first, then sign what was found."""

from pathlib import Path
from typing import Annotated

import typer

from vmaf_assay.cli.commands.promote import Expires, Sign, Wait, who_of

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
    from vmaf_assay.api import sign_ensemble
    from vmaf_assay.api.paths import registry_of
    from vmaf_assay.cli import render

    folder, who = registry_of(registry), who_of(sign, expires_days, None, None, wait)
    with render.steps("verifying") as on_step:
        signed = sign_ensemble(
            ensemble, who, registry=folder, corpus=corpus, retrain=retrain, jobs=jobs, on_step=on_step
        )
    verdict, keys = signed.verdict, signed.keys
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
    from vmaf_assay.api import attest_ensemble
    from vmaf_assay.api.paths import registry_of
    from vmaf_assay.cli import render

    folder, who = registry_of(registry), who_of(sign, None, None, None, wait)
    with render.steps("verifying") as on_step:
        signed = attest_ensemble(ensemble, who, corpus=corpus, registry=folder, jobs=jobs, on_step=on_step)
    verdict, keys, retrained = signed.verdict, signed.keys, signed.retrained
    assert retrained is not None  # an attestation is of one
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
