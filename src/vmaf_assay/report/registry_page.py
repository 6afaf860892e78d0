"""The page of a registry: which rows verify, what admitted them, who changed what and when, and who signed."""

from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.errors import AssayError
from vmaf_assay.records import OnStep
from vmaf_assay.registry.entries import Entry
from vmaf_assay.registry.entries import history as history_of
from vmaf_assay.registry.manifest import Registry, ensemble_of
from vmaf_assay.registry.store import read_registry
from vmaf_assay.registry.trust import Trust
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import RowReport, verify_registry
from vmaf_assay.report.page import Page, Section, Table
from vmaf_assay.report.plots import Axis, Chart, Point

_SHOWN = {"verdict", "gate", "sequence", "generated_at_utc", "corpus"}


def registry_page(folder: Path, trust: Trust | None = None, on_step: OnStep | None = None) -> Page:
    """The page of a registry, verified while it is made.

    Args:
      folder: the registry.
      trust: whose signatures to accept; None checks none.
      on_step: told how far it is.

    Raises:
      IntegrityError: `registry.json` itself does not verify.
    """
    registry = read_registry(folder)
    reports = verify_registry(folder, trust=trust, on_step=on_step)
    refused = [report for report in reports if report.status == "refused"]
    live = sum(report.status == "production" for report in reports)
    answer = f"{live} rows are production-eligible and verify"
    if refused:
        answer = f"{len(refused)} entries are refused; {refused[0].row_id}: {refused[0].reason}"
    histories = _histories(folder, registry)
    sections = [_rows(registry, reports, trust)]
    for number, (ensemble, history) in enumerate(histories.items()):
        sections += _ensemble(f"e{number}", ensemble, history)
    entries = [entry for history in histories.values() if not isinstance(history, str) for entry in history]
    in_force = [entry for entry in entries if entry.in_force]
    facts: list[tuple[str, object]] = [
        ("rows", len(registry.rows)),
        ("production", live),
        ("refused", len(refused)),
        ("ensembles", len(histories)),
        ("verdicts", len(entries)),
        ("signed in force", f"{sum(bool(entry.signed_by) for entry in in_force)} of {len(in_force)}"),
    ]
    document: dict[str, Any] = {
        "registry": registry.model_dump(mode="json"),
        "rows": [
            {"id": r.row_id, "status": r.status, "reason": r.reason, "promises": r.confidence_eligible}
            for r in reports
        ],
        "verdicts": {
            name: [entry.verdict.model_dump(mode="json", include=_SHOWN) for entry in history]
            for name, history in histories.items()
            if not isinstance(history, str)
        },
        "history": [entry.as_json() for entry in entries],
        "trust_policy": trust.policy.model_dump(mode="json") if trust else None,
    }
    name = folder.resolve().name
    return Page("registry", f"Registry {name}", answer, "bad" if refused else "good", facts, sections, document)


def _histories(folder: Path, registry: Registry) -> dict[str, list[Entry] | str]:
    """The acts on every ensemble, newest first; for a broken history, what is wrong with it."""
    found: dict[str, list[Entry] | str] = {}
    for row in registry.rows:
        name = ensemble_of(row.id)
        if row.verdict is not None and name not in found:
            try:
                found[name] = history_of(folder, name)
            except AssayError as problem:
                found[name] = str(problem)
    return found


def _rows(registry: Registry, reports: list[RowReport], trust: Trust | None) -> Section:
    rows = {row.id: row for row in registry.rows}
    words_of = {row.id: row.description.removeprefix(f"{ensemble_of(row.id)}: ") for row in registry.rows}
    table = Table(
        "Rows and files",
        ["row", "status", "promises", "model digest", "what it is", "why"],
        [
            [
                r.row_id,
                r.status,
                r.confidence_eligible,
                rows[r.row_id].sha256[:12] if r.row_id in rows else None,
                words_of.get(r.row_id),
                r.reason or None,
            ]
            for r in reports
        ],
    )
    words = (
        "Every byte of every row was checked against the verdict that admitted it, and every gate was judged from "
        "its held-out predictions when this page was made. To check again, run assay registry verify."
    )
    believed = (
        f"Signatures were checked against the trust policy {trust.policy.name}."
        if trust
        else "No trust policy was set, so no signature was required."
    )
    return Section("rows", "Rows", [words, believed], tables=[table])


def _ensemble(name: str, ensemble: str, history: list[Entry] | str) -> list[Section]:
    if isinstance(history, str):
        return [Section(name, ensemble, [f"Its history does not verify: {history}"])]
    now = history[0].verdict
    judged = Table(
        f"Verdicts on {ensemble}, newest first",
        ["no.", "verdict", "judged, UTC", "mean PLCC", "spread", "promises", "groups", "corpus", "commit"],
        [_judged(entry) for entry in history],
    )
    coverage = Table(
        f"Coverage of {ensemble} at its current verdict",
        ["scope", "confidence", "held", "groups", "passed"],
        [[c.scope, c.confidence, round(c.coverage, 4), c.n_groups, c.passed] for c in now.coverage],
    )
    return [
        Section(name, ensemble, charts=[_fold_chart(name, now)], tables=[judged, coverage]),
        Section(f"{name}-acts", f"Who did what: {ensemble}", _ABOUT_ACTS, tables=[_acts(ensemble, history)]),
    ]


_ABOUT_ACTS = [
    "Each act is a verdict with the next number, bound to the one before by its digest; none is ever removed.",
    "A signature shown here was checked against the verdict it signs and the key it names. Your trust policy says "
    "whether to accept that key. A name or a reason is only what someone typed.",
]


def _judged(entry: Entry) -> list[object]:
    verdict = entry.verdict
    return [
        verdict.sequence,
        verdict.verdict,
        verdict.generated_at_utc[:16].replace("T", " "),
        round(verdict.gate.mean_plcc, 6),
        round(verdict.gate.plcc_spread, 6),
        verdict.confidence_eligible,
        verdict.corpus.get("n_groups"),
        str(verdict.corpus.get("digest"))[:12],
        str(verdict.code.get("commit") or verdict.code.get("version"))[:12],
    ]


def _acts(ensemble: str, history: list[Entry]) -> Table:
    def line(entry: Entry) -> list[object]:
        act = entry.verdict.act
        what = entry.kind + (f" to {entry.returns_to}" if entry.returns_to else "")
        keys = ", ".join(key[:12] for key in entry.signed_by) or "nobody"
        return [
            entry.verdict.sequence,
            what,
            "now" if entry.in_force else None,
            entry.at_utc[:16].replace("T", " "),
            keys,
            act.by if act else None,
            act.reason if act else None,
            entry.sha256[:12],
        ]

    headers = ["no.", "what", "in force", "when, UTC", "signed by", "by", "why", "verdict digest"]
    return Table(f"Acts on {ensemble}, newest first", headers, [line(entry) for entry in history])


def _fold_chart(name: str, verdict: Verdict) -> Chart:
    groups: dict[str, list[float]] = {}
    for fold in verdict.folds:
        groups.setdefault(fold.held_out, []).append(fold.plcc)
    order = sorted(groups, key=lambda group: float(np.mean(groups[group])))
    values = [v for scores in groups.values() for v in scores]
    chart = Chart(
        f"{name}-folds",
        "PLCC of every group left out",
        f"Mean over seeds, worst first; verdict {verdict.sequence}",
        Axis("group, worst first", [0.0, float(len(order) - 1)]),
        Axis("PLCC", [*values, verdict.gate.per_seed_min], high=1.0),
        height=240,
    )
    chart.rule(y=verdict.gate.mean_plcc, label=f"mean {verdict.gate.mean_plcc:.4f}", below=True)
    chart.points(
        [
            Point(
                float(at),
                float(np.mean(groups[group])),
                f"{group}\nPLCC {np.mean(groups[group]):.4f}, {len(groups[group])} seeds",
            )
            for at, group in enumerate(order)
        ]
    )
    return chart
