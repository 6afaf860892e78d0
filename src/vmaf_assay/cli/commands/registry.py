"""`assay registry`: rows, what admitted them, and acts on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.commands.promote import By, Expires, Sign, Wait, who_of
from vmaf_assay.cli.signatures import attest, sign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmaf_assay.api import Audit, Entry, Verdict

Folder = Annotated[Path | None, typer.Option("--registry", help="Registry folder (default: the shipped one).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Policy = Annotated[
    Path | None,
    typer.Option("--trust-policy", metavar="FILE", help="Whose signatures to believe ($ASSAY_TRUST_POLICY)."),
]
Ensemble = Annotated[str, typer.Argument(metavar="ENSEMBLE", help="Without _seedN or _mean.")]
Reason = Annotated[str, typer.Option(help="Why, for the history; required.")]


def register(app: typer.Typer) -> None:
    """Add the `registry` group."""
    group = typer.Typer(no_args_is_help=True, help="Rows, what admitted them, and whether they still verify.")
    group.command("list")(list_rows)
    group.command("show")(show)
    group.command("verify")(verify)
    group.command("history")(history)
    group.command("rollback")(rollback)
    group.command("revalidate")(revalidate)
    group.command("recalibrate")(recalibrate)
    group.command("retire")(retire)
    # Names of before 0.2.0, for one release more.
    group.command("rejudge", hidden=True)(revalidate)
    group.command("supersede", hidden=True)(retire)
    group.command("sign")(sign)
    group.command("attest")(attest)
    app.add_typer(group, name="registry")


def list_rows(registry: Folder = None, as_json: Json = False) -> None:
    """List the rows, as written; `verify` says whether to believe them.

    Example: assay registry list
    """
    from vmaf_assay import api
    from vmaf_assay.cli import render

    rows = api.list_rows(registry)
    if as_json:
        render.emit_json([row.model_dump(mode="json") for row in rows])
        return
    render.say_table(
        ["id", "kind", "smoke", "promises", "sha256"],
        [[row.id, row.kind, row.smoke, row.confidence_eligible, row.sha256[:8]] for row in rows],
    )
    live = sum(not row.smoke for row in rows)
    render.say(f"{len(rows)} rows, {live} say they are production-eligible; `assay registry verify` checks that")


def show(
    row_id: Annotated[str, typer.Argument(metavar="ROW", help="A row's id.")],
    registry: Folder = None,
    trust_policy: Policy = None,
    as_json: Json = False,
) -> None:
    """Show one row, verified, and the verdict that admitted it.

    Example: assay registry show vmaf_forecast_ensemble_v1_mean
    """
    from vmaf_assay import api
    from vmaf_assay.cli import render

    found = api.show_row(row_id, registry=registry, trust_policy=trust_policy)
    row, sidecar, verdict = found.row, found.sidecar, found.verdict
    if sidecar is None or verdict is None:
        render.emit_json(row.model_dump(mode="json")) if as_json else render.say(f"{row.id}: scaffolded (smoke)")
        return
    if as_json:
        render.emit_json({"row": row.model_dump(mode="json"), "verdict": verdict.model_dump(mode="json")})
        return
    render.say(f"{row.id}: {row.description}")
    seen = ", ".join(f"{e.encoder} {e.preset}" for e in sidecar.seen.encoders)
    facts = [
        ["verdict", f"{verdict.verdict} no. {verdict.sequence}, {verdict.generated_at_utc}"],
        ["mean PLCC", f"{verdict.gate.mean_plcc:.6f} (at least {verdict.gate.mean_plcc_threshold:g})"],
        ["spread", f"{verdict.gate.plcc_spread:.6f} (at most {verdict.gate.plcc_spread_max:g})"],
        ["answers", sidecar.answers],
        ["promises", "yes" if found.promises else "no"],
        ["trained on", seen],
        ["corpus", f"{verdict.corpus['digest']} ({verdict.corpus['n_groups']} groups)"],
        ["model", row.sha256],
        ["trained by", f"{verdict.code.get('version')} {verdict.code.get('commit') or ''}"],
        ["verdict by", f"version {verdict.made_by}" if verdict.made_by else "a version before 0.2.0"],
    ]
    render.say_table(["", ""], facts)
    at = sorted({one.confidence for one in verdict.coverage})
    if at and (rows := _by_encoder(verdict, at)):
        render.say("")
        render.say_table(["held out", "groups", "PLCC", "RMSE", *(f"kept at {c:g}" for c in at)], rows)
    promises = "may" if found.promises else "may not"
    render.say(
        f"{row.id} is production-eligible by verdict {verdict.sequence}, verified, {promises} make promises"
    )


def _by_encoder(verdict: "Verdict", confidences: "Sequence[float]") -> list[list[object]]:
    """Each encoder and preset: groups, PLCC, RMSE in points, and how often a promise was kept, by confidence.

    As the verdict's gate and coverage tests state them. Verdicts from before the gate held by encoder have fewer.
    """
    stated = {(one.scope, one.name): one for one in verdict.gate.conditions or ()}
    kept = {(one.scope, one.confidence): one for one in verdict.coverage}
    scopes = {one.scope for one in verdict.coverage} | {scope for scope, name in stated if name == "plcc"}
    free, rows = verdict.gate_policy().in_sample_rmse_free, list[list[object]]()
    for scope in sorted(scopes):
        plcc, rmse = stated.get((scope, "plcc")), stated.get((scope, "in-sample rmse"))
        found = [kept.get((scope, confidence)) for confidence in confidences]
        rows.append(
            [
                *(scope, "" if found[0] is None else str(found[0].n_groups)),
                "" if plcc is None else f"{plcc.value:.4f}",
                "" if rmse is None else _held_out_rmse(rmse.at_most, free),
                *("" if one is None else f"{one.coverage:.3f}" for one in found),
            ]
        )
    return rows


def _held_out_rmse(at_most: float | None, free: float | None) -> str:
    """RMSE on groups left out: the gate holds the shipped members to it, unless it is below what always passes."""
    if at_most is None:
        return ""
    return f"{at_most:.2f}" if free is None or at_most > free else f"<= {free:g}"


def verify(
    row: Annotated[
        str | None, typer.Argument(metavar="[ROW]", help="A row or an ensemble (default: all).")
    ] = None,
    registry: Folder = None,
    deep: Annotated[bool, typer.Option("--deep", help="Recompute calibration and coverage as well.")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train again from --corpus and compare.")] = False,
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus, to compare rows and facts with; for --retrain.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes for --retrain (default: one a core).")] = None,
    trust_policy: Policy = None,
    as_json: Json = False,
) -> None:
    """Check every byte and judge every verdict's held-out predictions again. Exit 0 all verify, 4 otherwise.

    With --deep ROW, a page on what admitted the row and what was computed again.

    Example: assay registry verify --deep vmaf_forecast_ensemble_v1_mean
    """
    from vmaf_assay.api import audit_ensemble
    from vmaf_assay.api.paths import registry_of
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError

    if row is None and retrain:
        raise ConfigError(
            "--retrain trains one ensemble", next_step="name it: assay registry verify ROW --retrain"
        )
    if row is None and corpus is not None:
        raise ConfigError(
            "--corpus is of one ensemble", next_step="name it: assay registry verify --deep ROW --corpus DIR"
        )
    folder = registry_of(registry)
    if row is None:
        _verify_all(folder, trust_policy, deep=deep, as_json=as_json)
    else:
        with render.steps("verifying") as on_step:
            found = audit_ensemble(
                row,
                registry=folder,
                trust_policy=trust_policy,
                deep=deep,
                corpus=corpus,
                retrain=retrain,
                jobs=jobs,
                on_step=on_step,
            )
        _say_audit(folder, found, as_json=as_json)


def _say_audit(folder: Path, found: "Audit", *, as_json: bool) -> None:
    from vmaf_assay.cli import render
    from vmaf_assay.cli.audit import page
    from vmaf_assay.errors import IntegrityError

    if as_json:
        render.emit_json({"registry": str(folder), **found.as_dict()})
    else:
        for line in page(found):
            render.say(line)
    if wrong := found.first_wrong():
        raise IntegrityError(f"{found.ensemble} does not verify: {wrong}")


def _verify_all(folder: Path, trust_policy: Path | None, *, deep: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from vmaf_assay.api import RowReport, verify_registry
    from vmaf_assay.cli import render
    from vmaf_assay.errors import IntegrityError

    try:
        with render.steps("verifying") as on_step:
            reports = verify_registry(folder, deep=deep, trust_policy=trust_policy, on_step=on_step)
    except IntegrityError as error:  # registry.json itself: no row can be named
        reports = [RowReport("registry.json", "refused", str(error), False)]
    refused = [report for report in reports if report.status == "refused"]
    if as_json:
        render.emit_json({"registry": str(folder), "verified": not refused, "rows": [asdict(r) for r in reports]})
    else:
        render.say_table(
            ["row", "status", "promises"], [[r.row_id, r.status, r.confidence_eligible] for r in reports]
        )
        for report in reports:
            if report.status == "not here":
                render.say(f"{report.row_id}: not here: {report.reason}")
    if refused:
        raise IntegrityError(
            f"{len(refused)} entries of {folder} are refused; {refused[0].row_id}: {refused[0].reason}"
        )
    if not as_json:
        n_live = sum(report.status == "production" for report in reports)
        n_rows = sum(report.status not in ("leftover", "not here") for report in reports)
        render.say(f"{folder}: {n_rows} rows verify, {n_live} production-eligible")


def history(
    ensemble: Annotated[str | None, typer.Argument(metavar="[ENSEMBLE]", help="Default: all.")] = None,
    registry: Folder = None,
    as_json: Json = False,
) -> None:
    """Show who did what, when and why: every verdict in the registry, newest first.

    Example: assay registry history vmaf_forecast_ensemble_v1
    """
    from vmaf_assay.api import registry_history
    from vmaf_assay.cli import render

    entries = registry_history(ensemble, registry=registry)
    if as_json:
        render.emit_json([entry.as_json() for entry in entries])
        return
    for name in dict.fromkeys(entry.verdict.ensemble for entry in entries):
        render.say(name)
        mine = [entry for entry in entries if entry.verdict.ensemble == name]
        render.say_table(["no.", "", "when (UTC)", "what", "who", "verdict"], [_line(entry) for entry in mine])
        for entry in mine:
            if entry.verdict.act and entry.verdict.act.reason:
                render.say(f"{entry.verdict.sequence:>3}  why: {entry.verdict.act.reason}")
    force = ", ".join(
        f"{e.verdict.ensemble} no. {e.verdict.sequence}{' (out of service)' if e.kind == 'supersede' else ''}"
        for e in entries
        if e.in_force
    )
    render.say(f"{len(entries)} verdicts in unbroken chains; in force: {force or 'none'}")


def _line(entry: "Entry") -> list[object]:
    act = entry.verdict.act
    to = f" to {entry.returns_to}" if entry.returns_to else ""
    more = f" +{len(entry.signed_by) - 1}" if len(entry.signed_by) > 1 else ""
    who = f"key {entry.signed_by[0][:12]}{more}" if entry.signed_by else (act.by if act else None)
    force = "now" if entry.in_force else ""
    return [entry.verdict.sequence, force, entry.at_utc[:16], f"{entry.kind}{to}", who, entry.sha256[:12]]


def rollback(
    ensemble: Ensemble,
    reason: Reason,
    to: Annotated[int | None, typer.Option(min=1, help="Verdict to return to (default: the one before).")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="A registry with the files that are not here.")
    ] = None,
    registry: Folder = None,
    sign: Sign = None,
    expires_days: Expires = None,
    by: By = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Put back what an earlier verdict admitted, under a new number; nothing leaves the history.

    Example: assay registry rollback vmaf_forecast_ensemble_v1 --reason "misses on film grain" --registry models
    """
    from vmaf_assay.api import roll_back
    from vmaf_assay.api.paths import registry_of

    folder = registry_of(registry)
    verdict = roll_back(
        ensemble, who_of(sign, expires_days, by, reason, wait), to=to, source=source, registry=folder
    )
    returns_to = verdict.act.returns_to.sequence if verdict.act and verdict.act.returns_to else None
    _acted(folder, verdict, f"what verdict {returns_to} admitted is in force again", as_json=as_json)


def revalidate(
    ensemble: Ensemble,
    reason: Reason,
    registry: Folder = None,
    sign: Sign = None,
    expires_days: Expires = None,
    by: By = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Give the models in force a fresh verdict, by today's policies and choice rule, from their own predictions.

    Example: assay registry revalidate vmaf_forecast_ensemble_v1 --reason "choice rule 2" --registry models
    """
    from vmaf_assay.api import revalidate_ensemble
    from vmaf_assay.api.paths import registry_of
    from vmaf_assay.cli import render

    folder = registry_of(registry)
    who = who_of(sign, expires_days, by, reason, wait)
    with render.steps("judging again") as on_step:
        verdict = revalidate_ensemble(ensemble, who, registry=folder, on_step=on_step)
    promises = "may" if verdict.confidence_eligible else "may not"
    _acted(folder, verdict, f"judged again, {promises} make promises", as_json=as_json)


def recalibrate(
    ensemble: Ensemble,
    reason: Reason,
    registry: Annotated[Path, typer.Option("--registry", help="Your registry; the shipped one is refused.")],
    outcomes: Annotated[
        Path | None, typer.Option("--outcomes", metavar="FOLDER", help="Outcomes (default: $ASSAY_OUTCOMES).")
    ] = None,
    sign: Sign = None,
    expires_days: Expires = None,
    by: By = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Make the margin from the shipped calibration and your own titles; admitted if promises are kept with it.

    Example: assay registry recalibrate vmaf_forecast_ensemble_v1 --reason "our library" --registry models
    """
    from vmaf_assay.api import recalibrate_ensemble
    from vmaf_assay.cli import render

    who = who_of(sign, expires_days, by, reason, wait)
    with render.steps("judging again") as on_step:
        made = recalibrate_ensemble(ensemble, who, registry=registry, outcomes=outcomes, on_step=on_step)
    used = ", ".join(f"{encoder} {n}" for encoder, n in made.titles.items()) or "none"
    few = ", ".join(f"{encoder} {n}" for encoder, n in made.too_few.items())
    what = f"own titles: {used}" + (f" (too few: {few})" if few else "")
    _acted(registry, made.verdict, what, as_json=as_json)


def retire(
    ensemble: Ensemble,
    reason: Reason,
    registry: Folder = None,
    sign: Sign = None,
    expires_days: Expires = None,
    by: By = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Take an ensemble out of service: its rows go back to smoke, and no consumer gets it. Its history stays.

    Example: assay registry retire fr_regressor_v2_ensemble_v1 --reason "broken clips" --registry models
    """
    from vmaf_assay.api import retire_ensemble
    from vmaf_assay.api.paths import registry_of

    folder = registry_of(registry)
    verdict = retire_ensemble(ensemble, who_of(sign, expires_days, by, reason, wait), registry=folder)
    _acted(folder, verdict, "out of service", as_json=as_json)


def _acted(folder: Path, verdict: "Verdict", what: str, *, as_json: bool) -> None:
    from vmaf_assay.cli import render

    if as_json:
        act = verdict.act.model_dump(mode="json") if verdict.act else None
        render.emit_json(
            {
                "registry": str(folder),
                "ensemble": verdict.ensemble,
                "sequence": verdict.sequence,
                "rows": sorted(verdict.rows),
                "confidence_eligible": verdict.confidence_eligible,
                "act": act,
            }
        )
        return
    render.say(f"{folder}: {verdict.ensemble}: {what} (verdict {verdict.sequence})")
