"""The audit: everything that admitted an ensemble, recomputed to the requested depth, even from the corpus."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmaf_assay.errors import AssayError, ConfigError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.records import OnStep
from vmaf_assay.registry.files import read_bound, read_file, verdict_name
from vmaf_assay.registry.history import predictions_name
from vmaf_assay.registry.recompute import OF_THAT_TIME, Check, read_tied, recompute
from vmaf_assay.registry.signing import Signed
from vmaf_assay.registry.store import read_registry, verify_row
from vmaf_assay.registry.trust import Trust, signatures_on
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry

if TYPE_CHECKING:
    from vmaf_assay.model.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that admitted an ensemble, for one page."""

    ensemble: str
    status: str
    """`verified`, or why it is refused."""
    verdict: Verdict
    """The verdict in force."""
    verdict_sha256: str
    """SHA-256 of its file."""
    sidecar: "Sidecar"
    """The fused model's sidecar."""
    sources: list[str]
    """Sources of the held-out predictions."""
    per_seed: "dict[int, SeedScores]"
    signed: Signed | None
    """Signatures on the verdict; None if there are none."""
    checks: list[Check]
    """Recomputed items."""

    @property
    def agrees(self) -> bool:
        """Whether all recomputed items agree."""
        return self.status == "verified" and all(check.outcome != "differs" for check in self.checks)

    def first_wrong(self) -> str:
        """The first thing that differs, in words; '' if all agrees."""
        if self.agrees:
            return ""
        wrong = [f"{check.what}: {check.detail}" for check in self.checks if check.outcome == "differs"]
        return (wrong or [self.status])[0]

    def as_dict(self) -> dict[str, Any]:
        """As JSON: every fact in full."""
        verdict = self.verdict
        return {
            "ensemble": self.ensemble,
            "agrees": self.agrees,
            "status": self.status,
            "verdict_sha256": self.verdict_sha256,
            "verdict": verdict.model_dump(mode="json", exclude={"folds"}),
            "recipe": self.sidecar.recipe,
            "sources": self.sources,
            "per_seed": {str(seed): asdict(scores) for seed, scores in self.per_seed.items()},
            "signed_by": self.signed.key_ids if self.signed else [],
            "signed_at_utc": self.signed.signed_at_utc if self.signed else None,
            "signatures_expire_at_utc": self.signed.expires_at_utc if self.signed else None,
            "checks": [asdict(check) for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class SeedScores:
    """One seed's PLCC over its folds."""

    mean: float
    lowest: float
    """Lowest fold."""
    lowest_group: str
    """The group it left out."""


def audit(
    folder: Path,
    ensemble: str,
    *,
    deep: bool = True,
    trust: Trust | None = None,
    on_step: OnStep | None = None,
) -> Audit:
    """Verify an ensemble, compute its verdict's evidence again, and gather what admitted it.

    Args:
      folder: the registry.
      ensemble: whose rows.
      deep: compute calibration and coverage too, not the gate alone.
      trust: whose signatures to believe.
      on_step: told how far it is.

    Raises:
      ConfigError: the registry has no such ensemble in service.
      IntegrityError: it cannot be read.
    """
    from vmaf_assay.promise.calibrate import parse_predictions

    registry = read_registry(folder)
    row = registry.row(f"{ensemble}_mean")
    if row is None:
        raise ConfigError(f"{folder} has no row {ensemble}_mean", next_step="see `assay registry list`")
    _, sidecar, verdict = verify_row(folder, registry, row)
    name = verdict_name(ensemble, verdict.sequence)
    verdict_bytes = read_file(folder, name)
    status = "verified"
    for report in verify_registry(folder, ensemble=ensemble, trust=trust, on_step=on_step):
        if report.status == "refused":
            status = f"{report.row_id}: {report.reason}"
            break
    predictions_file = predictions_name(verdict)
    data = read_bound(folder, predictions_file, verdict.predictions_sha256)
    table = parse_predictions(data, where=str(folder / predictions_file))
    return Audit(
        ensemble=ensemble,
        status=status,
        verdict=verdict,
        verdict_sha256=sha256_bytes(verdict_bytes),
        sidecar=sidecar,
        sources=sorted(set(table["source"].to_list())),
        per_seed={seed: _scores(verdict, seed) for seed in verdict.seeds},
        signed=signatures_on(folder, verdict, verdict_bytes),
        checks=recompute(folder, verdict, sidecar, deep=deep, on_step=on_step),
    )


def check_corpus(folder: Path, audited: Audit, corpus_dir: Path) -> list[Check]:
    """Compare an ensemble's predictions and sidecars with the corpus it is said to be trained on.

    Args:
      folder: the registry.
      audited: what `audit` found.
      corpus_dir: the corpus.

    Raises:
      ConfigError: it is another corpus.
    """
    import polars as pl

    from vmaf_assay.admission.corpus_match import Claim, check_facts, check_rows, check_seen
    from vmaf_assay.corpus.same_content import check_groups_differ
    from vmaf_assay.corpus.store import load_corpus
    from vmaf_assay.promise.calibrate import parse_predictions

    verdict, sidecar = audited.verdict, audited.sidecar
    corpus = load_corpus(corpus_dir)
    check_corpus_digest(corpus_dir, corpus.digest, verdict)
    name = predictions_name(verdict)
    table = parse_predictions(read_bound(folder, name, verdict.predictions_sha256), where=name)
    rows = table.filter(pl.col("seed") == min(verdict.seeds)).sort("row")
    claim = Claim(corpus.digest, sidecar.task, sidecar.answers, rows)
    tied = read_tied(folder, verdict, table)
    checks = [_checked("corpus: rows", lambda: check_rows(claim, corpus), f"{rows.height} rows, every truth")]
    if checks[0].outcome == "differs":
        return checks
    checks.append(_checked("corpus: groups", lambda: check_groups_differ(corpus), "no two show the same content"))
    if tied is None:
        said = "what the sidecar has seen; its bitrate model was not compared: " + OF_THAT_TIME
        return [*checks, _checked("corpus: sidecar", lambda: check_seen(claim, sidecar.seen, corpus), said)]
    said = "features, picture sizes and bitrate model, made again from the corpus"
    return [*checks, _checked("corpus: facts", lambda: check_facts(tied, corpus), said)]


def check_corpus_digest(corpus_dir: Path, digest: str, verdict: Verdict) -> None:
    """Raise ConfigError if a corpus is not the one that a verdict is of."""
    if digest != verdict.corpus.get("digest"):
        raise ConfigError(
            f"{corpus_dir} is not the corpus of verdict {verdict.sequence}",
            next_step=f"name the one with digest {str(verdict.corpus.get('digest'))[:12]}",
        )


def _checked(what: str, check: Callable[[], None], said: str) -> Check:
    try:
        check()
    except AssayError as error:
        return Check(what, "differs", error.what)
    return Check(what, "agrees", said)


def _scores(verdict: Verdict, seed: int) -> SeedScores:
    folds = [fold for fold in verdict.folds if fold.seed == seed]
    worst = min(folds, key=lambda fold: fold.plcc)
    return SeedScores(sum(fold.plcc for fold in folds) / len(folds), worst.plcc, worst.held_out)
