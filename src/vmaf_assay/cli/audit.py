"""One page, 80 columns wide, on what admitted an ensemble."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmaf_assay.api import Audit

RETRAINED = "retrained: models"
"""What the check is called that compares models trained again."""

WIDTH, LABEL = 80, 14
"""Columns of the page, and of its labels; a SHA-256 in full fits beside one."""


def page(audit: "Audit") -> Iterator[str]:
    """The lines of the page."""
    verdict = audit.verdict
    yield f"{audit.ensemble}: {verdict.verdict}, verdict {verdict.sequence}"
    for label, value in _facts(audit):
        lines = textwrap.wrap(value, WIDTH - LABEL, break_on_hyphens=False) or [""]
        yield f"{label:<{LABEL}}{lines[0]}".rstrip()
        yield from (" " * LABEL + line for line in lines[1:])


def _facts(audit: "Audit") -> Iterator[tuple[str, str]]:
    verdict = audit.verdict
    act = verdict.act
    yield "judged", verdict.generated_at_utc
    yield "verdict", audit.verdict_sha256
    yield "replaced", verdict.previous_verdict_sha256 or "nothing: the first"
    if act:
        to = f" to {act.returns_to.sequence}" if act.returns_to else ""
        by = f" by {act.by}" if act.by else ""
        why = f": {act.reason}" if act.reason else ""
        yield "act", f"{act.kind}{to}, {act.at_utc}{by}{why}"
    yield "signed by", _signatures(audit)
    yield "corpus", str(verdict.corpus.get("digest"))
    yield "", "{n_cells} cells, {n_rows} rows, {n_groups} groups".format(**verdict.corpus)
    clips = list(dict.fromkeys(source.partition("@")[0] for source in audit.sources))
    smaller = len(audit.sources) - len(clips)
    more = f" and {smaller} of them smaller" if smaller else ""
    yield "sources", f"{len(clips)}{more}: {', '.join(clips)}"
    yield "predictions", verdict.predictions_sha256
    yield "folds", f"{len(verdict.folds)}, every group left out for every seed"
    for seed, scores in audit.per_seed.items():
        yield f"  seed {seed}", f"PLCC {scores.mean:.6f}, lowest {scores.lowest:.4f} ({scores.lowest_group})"
    yield "gate", _gate(audit)
    yield "coverage", _coverage(audit)
    yield (
        "policies",
        f"{verdict.parent_adr} {verdict.policy_sha256[:12]}, coverage {verdict.coverage_policy_sha256[:12]}",
    )
    for row_id, digest in sorted(verdict.members.items()):
        yield f"  {row_id.removeprefix(audit.ensemble).strip('_')}", digest
    yield "recipe", ", ".join(f"{key} {value}" for key, value in audit.sidecar.recipe.items())
    dirty = " (with uncommitted changes)" if verdict.code.get("dirty") else ""
    yield "code", f"{verdict.code.get('version')} {verdict.code.get('commit') or 'no commit recorded'}{dirty}"
    yield "environment", ", ".join(f"{key} {value}" for key, value in verdict.environment.items())
    yield "", ""
    for check in audit.checks:
        yield "computed", f"{check.what}: {check.outcome}; {check.detail}"
    yield "verified", _verified(audit)


def _verified(audit: "Audit") -> str:
    if audit.status != "verified":
        return f"NO: {audit.status}"
    if wrong := next((check for check in audit.checks if check.outcome == "differs"), None):
        return f"NO: {wrong.what}: {wrong.detail}"
    retrained = next((check for check in audit.checks if check.what == RETRAINED), None)
    if retrained and "tolerance" in retrained.detail:
        return f"every file against its digest; trained again within the tolerance: {retrained.detail}"
    return "every byte"


def _signatures(audit: "Audit") -> str:
    if audit.signed is None:
        return "nobody"
    end = audit.signed.expires_at_utc or "never"
    return f"{', '.join(audit.signed.key_ids)}; {audit.signed.signed_at_utc}, ends {end}"


def _gate(audit: "Audit") -> str:
    gate = audit.verdict.gate
    return (
        f"mean PLCC {gate.mean_plcc:.6f} (at least {gate.mean_plcc_threshold:g}), "
        f"spread {gate.plcc_spread:.6f} (at most {gate.plcc_spread_max:g}), "
        f"each seed at least {gate.per_seed_min:g}"
    )


def _coverage(audit: "Audit") -> str:
    verdict = audit.verdict
    by_confidence: dict[float, list[float]] = {one.confidence: [] for one in verdict.coverage}
    for one in verdict.coverage:
        by_confidence[one.confidence].append(one.coverage)
    said = ", ".join(f"{min(values):.3f} at {level:g}" for level, values in sorted(by_confidence.items()))
    promises = "may make promises" if verdict.confidence_eligible else "may not make promises"
    return f"{promises} (rule {verdict.coverage_rule}); lowest measured: {said}"
