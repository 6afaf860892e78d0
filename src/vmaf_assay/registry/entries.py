"""A registry's history as entries: the acts on each ensemble, with author, time, reason and signatures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmaf_assay.errors import ConfigError
from vmaf_assay.registry.files import read_bound, verdict_name
from vmaf_assay.registry.history import chain, digests_of
from vmaf_assay.registry.manifest import FileRef, ensemble_of
from vmaf_assay.registry.store import read_registry
from vmaf_assay.registry.trust import signatures_on
from vmaf_assay.registry.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """One verdict of a history."""

    verdict: Verdict
    sha256: str
    """SHA-256 of its file."""
    signed_by: tuple[str, ...]
    """Ids of the keys whose signatures on it verify."""
    in_force: bool
    """Whether the ensemble's rows name it."""

    @property
    def kind(self) -> str:
        """`promote`, `rollback`, `supersede`, `rejudge` or `recalibrate`."""
        return self.verdict.act.kind if self.verdict.act else "promote"

    @property
    def at_utc(self) -> str:
        """Time of the act; for verdicts from before acts were recorded, time of the judgement."""
        return self.verdict.act.at_utc if self.verdict.act else self.verdict.generated_at_utc

    @property
    def returns_to(self) -> int | None:
        """For a rollback: the number of the verdict returned to."""
        return self.verdict.act.returns_to.sequence if self.verdict.act and self.verdict.act.returns_to else None

    def as_json(self) -> dict[str, Any]:
        """The entry in `assay registry history --json`."""
        act, verdict = self.verdict.act, self.verdict
        return {
            "ensemble": verdict.ensemble,
            "sequence": verdict.sequence,
            "in_force": self.in_force,
            "kind": self.kind,
            "at_utc": self.at_utc,
            "by": act.by if act else None,
            "reason": act.reason if act else None,
            "returns_to": self.returns_to,
            "signed_by": list(self.signed_by),
            "verdict": verdict.verdict,
            "verdict_sha256": self.sha256,
            "previous_verdict_sha256": verdict.previous_verdict_sha256,
            "corpus_digest": verdict.corpus.get("digest"),
            "members": verdict.members,
            "confidence_eligible": verdict.confidence_eligible,
        }


def verdict_refs(folder: Path) -> dict[str, FileRef]:
    """The verdict in force of every ensemble that has one, by ensemble."""
    return {ensemble_of(row.id): row.verdict for row in read_registry(folder).rows if row.verdict is not None}


def history(folder: Path, ensemble: str | None = None) -> list[Entry]:
    """Every verdict of an ensemble, or of all, newest first, ensembles in order of name.

    Raises:
      ConfigError: no such ensemble has a history.
      IntegrityError: a verdict or a signature does not verify.
    """
    refs = verdict_refs(folder)
    if ensemble is not None and ensemble not in refs:
        raise ConfigError(
            f"{folder} has no history of {ensemble}", next_step=f"it has: {', '.join(refs) or 'nothing'}"
        )
    entries = []
    for name in sorted(refs) if ensemble is None else [ensemble]:
        verdicts = chain(folder, name, refs[name])
        for verdict, digest in zip(verdicts, digests_of(verdicts, refs[name]), strict=True):
            data = read_bound(folder, verdict_name(name, verdict.sequence), digest)
            signed = signatures_on(folder, verdict, data)
            keys = tuple(signed.key_ids) if signed else ()
            entries.append(Entry(verdict, digest, keys, verdict is verdicts[0]))
    return entries
