"""The page of a registry: which rows verify, what admitted them, and what came before."""

from pathlib import Path
from typing import Any

import numpy as np

from vmaf_assay.errors import AssayError
from vmaf_assay.registry.history import chain
from vmaf_assay.registry.manifest import Registry, ensemble_of
from vmaf_assay.registry.store import read_registry
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import RowReport, verify_registry
from vmaf_assay.report.page import Page, Section, Table
from vmaf_assay.report.plots import Axis, Chart, Point

_SHOWN = {"verdict", "gate", "sequence", "generated_at_utc", "corpus"}


def registry_page(folder: Path) -> Page:
    """The page of a registry, verified while it is made.

    Raises:
      IntegrityError: `registry.json` itself cannot be believed.
    """
    registry = read_registry(folder)
    reports = verify_registry(folder)
    refused = [report for report in reports if report.status == "refused"]
    live = sum(report.status == "production" for report in reports)
    answer = f"{live} rows are production-eligible and verify"
    if refused:
        answer = f"{len(refused)} entries are refused; {refused[0].row_id}: {refused[0].reason}"
    histories = _histories(folder, registry)
    sections = [_rows(registry, reports)]
    for number, (ensemble, verdicts) in enumerate(histories.items()):
        sections += _ensemble(f"e{number}", ensemble, verdicts)
    facts: list[tuple[str, object]] = [
        ("rows", len(registry.rows)), ("production", live), ("refused", len(refused)),
        ("ensembles", len(histories)),
    ]  # fmt: skip
    document: dict[str, Any] = {
        "registry": registry.model_dump(mode="json"),
        "rows": [
            {"id": r.row_id, "status": r.status, "reason": r.reason, "promises": r.confidence_eligible}
            for r in reports
        ],
        "verdicts": {
            name: [verdict.model_dump(mode="json", include=_SHOWN) for verdict in found]
            for name, found in histories.items()
        },
    }  # fmt: skip
    name = folder.resolve().name
    return Page("registry", f"Registry {name}", answer, "bad" if refused else "good", facts, sections, document)


def _histories(folder: Path, registry: Registry) -> dict[str, list[Verdict]]:
    """Verdicts of every ensemble, newest first; none for one whose chain is broken (its rows say why)."""
    found: dict[str, list[Verdict]] = {}
    for row in registry.rows:
        name = ensemble_of(row.id)
        if row.verdict is not None and name not in found:
            try:
                found[name] = chain(folder, name, row.verdict)
            except AssayError:
                found[name] = []
    return found


def _rows(registry: Registry, reports: list[RowReport]) -> Section:
    rows = {row.id: row for row in registry.rows}
    table = Table(
        "Rows and files", ["row", "status", "promises", "model digest", "what it is", "why"],
        [
            [
                r.row_id, r.status, r.confidence_eligible,
                rows[r.row_id].sha256[:12] if r.row_id in rows else None,
                rows[r.row_id].description if r.row_id in rows else None, r.reason or None,
            ]
            for r in reports
        ],
    )  # fmt: skip
    words = (
        "Every byte of every row was checked against the verdict that admitted it, and every gate was judged from "
        "its held-out predictions when this page was made. Later, run assay registry verify."
    )
    return Section("rows", "Rows", [words], tables=[table])


def _ensemble(name: str, ensemble: str, verdicts: list[Verdict]) -> list[Section]:
    if not verdicts:
        words = "Its chain of verdicts is broken; the rows above say where."
        return [Section(name, ensemble, [words])]
    now = verdicts[0]
    history = Table(
        f"Verdicts on {ensemble}, newest first",
        ["no.", "verdict", "when, UTC", "mean PLCC", "spread", "promises", "groups", "corpus", "commit"],
        [
            [
                v.sequence, v.verdict, v.generated_at_utc[:16].replace("T", " "), round(v.gate.mean_plcc, 6),
                round(v.gate.plcc_spread, 6), v.confidence_eligible, v.corpus.get("n_groups"),
                str(v.corpus.get("digest"))[:12], str(v.code.get("commit") or v.code.get("version"))[:12],
            ]
            for v in verdicts
        ],
    )  # fmt: skip
    coverage = Table(
        f"Coverage of {ensemble} at its current verdict", ["scope", "confidence", "held", "groups", "passed"],
        [[c.scope, c.confidence, round(c.coverage, 4), c.n_groups, c.passed] for c in now.coverage],
    )  # fmt: skip
    return [Section(name, ensemble, charts=[_fold_chart(name, now)], tables=[history, coverage])]


def _fold_chart(name: str, verdict: Verdict) -> Chart:
    groups: dict[str, list[float]] = {}
    for fold in verdict.folds:
        groups.setdefault(fold.held_out, []).append(fold.plcc)
    order = sorted(groups, key=lambda group: float(np.mean(groups[group])))
    values = [v for scores in groups.values() for v in scores]
    chart = Chart(
        f"{name}-folds", "PLCC of every group left out",
        f"Mean over seeds, worst first; verdict {verdict.sequence}",
        Axis("group, worst first", [0.0, float(len(order) - 1)]),
        Axis("PLCC", [*values, verdict.gate.per_seed_min], high=1.0),
        height=240,
    )  # fmt: skip
    chart.rule(y=verdict.gate.mean_plcc, label=f"mean {verdict.gate.mean_plcc:.4f}")
    chart.points(
        [
            Point(
                float(at), float(np.mean(groups[group])),
                f"{group}\nPLCC {np.mean(groups[group]):.4f}, {len(groups[group])} seeds",
            )
            for at, group in enumerate(order)
        ]
    )  # fmt: skip
    return chart
