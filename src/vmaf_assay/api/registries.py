"""A registry's rows and history, and every act on it, from rolling back to attesting."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay.admission import lifecycle
from vmaf_assay.admission.audit import Audit, audit, check_corpus
from vmaf_assay.admission.promotion import Who
from vmaf_assay.admission.retrain import attested, retrain
from vmaf_assay.api.paths import PathLike, registry_of
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.records import OnStep
from vmaf_assay.registry import entries, signing
from vmaf_assay.registry.attest import Retrained
from vmaf_assay.registry.manifest import Row, ensemble_of
from vmaf_assay.registry.recompute import Check
from vmaf_assay.registry.store import may_promise, read_registry, verify_row
from vmaf_assay.registry.trust import Trust, check_trust, find_trust
from vmaf_assay.registry.verdict import Verdict

if TYPE_CHECKING:
    from vmaf_assay.admission.recalibrate import Recalibrated

Passphrase = Callable[[], str]
"""Called for the passphrase of a key that has one."""


@dataclass(frozen=True, slots=True)
class AdmittedRow:
    """A row, verified, with what admitted it."""

    row: Row
    sidecar: Sidecar | None = None
    """None for a row that nothing has admitted (smoke)."""
    verdict: Verdict | None = None
    """Likewise."""
    promises: bool = False
    """Whether a load makes promises of it: not by an earlier choice rule."""


@dataclass(frozen=True, slots=True)
class SignedVerdict:
    """A verdict that was signed or attested."""

    verdict: Verdict
    keys: list[str]
    """Ids of the keys whose signatures it has now."""
    retrained: Retrained | None = None
    """How training it again came out; None for a signature."""


def list_rows(registry: PathLike | None = None) -> list[Row]:
    """The rows of a registry as written; `verify_registry` says whether to believe them."""
    return list(read_registry(registry_of(registry)).rows)


def show_row(
    row_id: str, *, registry: PathLike | None = None, trust_policy: PathLike | None = None
) -> AdmittedRow:
    """One row, verified, and the verdict that admitted it.

    Args:
      row_id: its id.
      registry: its folder; by default `$ASSAY_REGISTRY`, else the shipped one.
      trust_policy: whose signatures to accept; by default the file that `$ASSAY_TRUST_POLICY` names, if any.

    Raises:
      ConfigError: there is no such row.
      IntegrityError: it does not verify, or the trust policy refuses it.
    """
    folder = registry_of(registry)
    trust = find_trust(None if trust_policy is None else Path(trust_policy))
    content = read_registry(folder)
    row = content.row(row_id)
    if row is None:
        raise ConfigError(f"{folder} has no row {row_id}", next_step="see `assay registry list`")
    if row.smoke and row.verdict is None:
        return AdmittedRow(row)
    _, sidecar, verdict = verify_row(folder, content, row)
    if trust is not None:
        check_trust(folder, verdict, trust, remember=False)
    return AdmittedRow(row, sidecar, verdict, may_promise(row, verdict, sidecar))


def registry_history(ensemble: str | None = None, *, registry: PathLike | None = None) -> list[entries.Entry]:
    """Every verdict of a registry, newest first: who did what, when and why.

    Args:
      ensemble: only this one's.
      registry: as of `show_row`.
    """
    return entries.history(registry_of(registry), ensemble)


def acting(
    keys: Sequence[PathLike] = (),
    *,
    passphrase: Passphrase | None = None,
    expires_days: int | None = None,
    by: str | None = None,
    reason: str | None = None,
    wait_s: float | None = None,
) -> Who:
    """Who acts on a registry and why, with the private keys read.

    Args:
      keys: private keys that sign the verdict.
      passphrase: asked for a key that has one.
      expires_days: signatures expire after so many days; None: never.
      by: who acts, for the history.
      reason: why, for the history.
      wait_s: seconds to wait for the registry's lock; None: 60.

    Raises:
      ConfigError: a key cannot be used, a text is empty or too long, or there is nothing to expire.
    """
    if expires_days is not None and not keys:
        raise ConfigError("--expires-days needs a signature", next_step="add --sign KEY")
    read = tuple(signing.load_private_key(Path(key), passphrase) for key in keys)
    for name, text, limit in (("--by", by, 200), ("--reason", reason, 500)):
        if text is not None and not 0 < len(text.strip()) <= limit:
            raise ConfigError(f"{name} takes 1 to {limit} characters", next_step="shorten it, or leave it out")
    until = None
    if expires_days:
        until = (datetime.now(UTC) + timedelta(days=expires_days)).isoformat(timespec="seconds")
    return Who(by, reason, wait_s, read, until)


def roll_back(
    ensemble: str,
    who: Who,
    *,
    to: int | None = None,
    source: PathLike | None = None,
    registry: PathLike | None = None,
) -> Verdict:
    """Put back what an earlier verdict admitted, under a new number.

    Args:
      ensemble: without `_seedN` or `_mean`.
      who: from `acting`.
      to: number of the verdict to return to; by default the one before.
      source: a registry with the files that are not here.
      registry: as of `show_row`.

    Raises:
      ConfigError: there is no such verdict.
      IntegrityError: something does not verify, or a file is not here.
    """
    source = None if source is None else Path(source)
    return lifecycle.rollback(registry_of(registry), ensemble, who, to, source=source)


def revalidate_ensemble(
    ensemble: str, who: Who, *, registry: PathLike | None = None, on_step: OnStep | None = None
) -> Verdict:
    """Give the models in force a fresh verdict, by today's policies and choice rule.

    Arguments are as of `roll_back`; `on_step` is called with groups judged.
    """
    return lifecycle.revalidate(registry_of(registry), ensemble, who, on_step)


def recalibrate_ensemble(
    ensemble: str,
    who: Who,
    *,
    registry: PathLike,
    outcomes: PathLike | None = None,
    on_step: OnStep | None = None,
) -> "Recalibrated":
    """Admit the models in force with a margin of the shipped calibration and your own titles (ADR-0440).

    Args:
      ensemble: a forecast.
      who: who and why.
      registry: yours; the shipped one is refused.
      outcomes: folder of outcomes (default: `$ASSAY_OUTCOMES`).
      on_step: called with choices judged.

    Raises:
      ConfigError: too few titles, or promises with this margin are not kept on titles left out.
      IntegrityError: a file it depends on does not verify.
    """
    from vmaf_assay.admission.recalibrate import recalibrate
    from vmaf_assay.media.user_folders import outcomes_dir
    from vmaf_assay.outcomes.store import OutcomeStore

    with OutcomeStore(Path(outcomes) if outcomes else outcomes_dir()) as store:
        return recalibrate(Path(registry), ensemble, store, who, on_step)


def retire_ensemble(ensemble: str, who: Who, *, registry: PathLike | None = None) -> Verdict:
    """Take an ensemble out of service; arguments as of `roll_back`."""
    return lifecycle.retire(registry_of(registry), ensemble, who)


def audit_ensemble(
    row: str,
    *,
    registry: PathLike | None = None,
    trust_policy: PathLike | None = None,
    deep: bool = False,
    corpus: PathLike | None = None,
    retrain: bool = False,
    jobs: int | None = None,
    on_step: OnStep | None = None,
) -> Audit:
    """Compute again what admitted an ensemble, as far down as asked. `agrees` is the answer.

    Args:
      row: the ensemble, or one of its rows.
      registry: as of `show_row`.
      trust_policy: likewise.
      deep: calibration and coverage too.
      corpus: compare with the corpus too; implies `deep`.
      retrain: train again from the corpus too.
      jobs: processes to train in; by default one a core.
      on_step: called with what is being checked, done, in all.

    Raises:
      ConfigError: the extra `train` is not installed, or there is no corpus to train on.
      IntegrityError: the registry cannot be read, or the trust policy refuses it.
    """
    trust = find_trust(None if trust_policy is None else Path(trust_policy))
    return _audited(registry_of(registry), row, trust, deep, corpus, retrain, jobs, on_step)


def sign_ensemble(
    ensemble: str,
    who: Who,
    *,
    registry: PathLike | None = None,
    corpus: PathLike | None = None,
    retrain: bool = False,
    jobs: int | None = None,
    on_step: OnStep | None = None,
) -> SignedVerdict:
    """Audit the verdict in force and sign it; arguments as of `audit_ensemble`, and `who` with keys.

    Raises:
      ConfigError: no key, or retraining without the corpus.
      IntegrityError: something differs; nothing is signed.
    """
    _expect_keys(who)
    if retrain and corpus is None:
        raise ConfigError("--retrain needs the corpus", next_step="add --corpus DIR")
    folder = registry_of(registry)
    if corpus is not None:
        _agreed(folder, ensemble, corpus, retrain, jobs, on_step)
        who = replace(who, audited=("corpus", *(["retraining"] if retrain else [])))
    return SignedVerdict(*lifecycle.sign_verdict(folder, ensemble, who))


def attest_ensemble(
    ensemble: str,
    who: Who,
    *,
    corpus: PathLike,
    registry: PathLike | None = None,
    jobs: int | None = None,
    on_step: OnStep | None = None,
) -> SignedVerdict:
    """Train the ensemble in force again, and sign that the same came out; arguments as of `sign_ensemble`."""
    _expect_keys(who)
    folder = registry_of(registry)
    found = _agreed(folder, ensemble, corpus, True, jobs, on_step)
    retrained = attested(found)
    return SignedVerdict(*lifecycle.attest_verdict(folder, found, retrained, who), retrained)


def make_key(folder: PathLike, *, passphrase: str | None = None, owner: str | None = None) -> signing.PublicKey:
    """Make an Ed25519 key in a folder: `private.pem` and `public.json`.

    Args:
      folder: for the two files; never a registry.
      passphrase: encrypts the private one.
      owner: who holds it, for the public file.
    """
    return signing.generate_key(Path(folder), passphrase, owner)


def read_key(path: PathLike, *, passphrase: Passphrase | None = None) -> signing.PublicKey:
    """The public half of a key: of `public.json`, `private.pem`, or their folder."""
    return signing.read_public_key(Path(path), passphrase)


def _expect_keys(who: Who) -> None:
    if not who.keys:
        raise ConfigError("nothing to sign with", next_step="add --sign KEY")


def _agreed(
    folder: Path, ensemble: str, corpus: PathLike, again: bool, jobs: int | None, on_step: OnStep | None
) -> Audit:
    found = _audited(folder, f"{ensemble}_mean", None, True, corpus, again, jobs, on_step)
    if wrong := found.first_wrong():
        raise IntegrityError(f"not signed: {wrong}", next_step="see `assay registry verify --deep`")
    return found


def _audited(
    folder: Path,
    row: str,
    trust: Trust | None,
    deep: bool,
    corpus: PathLike | None,
    again: bool,
    jobs: int | None,
    on_step: OnStep | None,
) -> Audit:
    if again and corpus is None:
        raise ConfigError("--retrain needs the corpus", next_step="add --corpus DIR")
    found = audit(folder, ensemble_of(row), deep=deep or corpus is not None, trust=trust, on_step=on_step)
    if corpus is None:
        return found
    found = replace(found, checks=[*found.checks, *check_corpus(folder, found, Path(corpus))])
    if again and found.agrees:
        found = replace(found, checks=[*found.checks, *_retrained(folder, found, Path(corpus), jobs, on_step)])
    return found


def _retrained(folder: Path, found: Audit, corpus: Path, jobs: int | None, on_step: OnStep | None) -> list[Check]:
    with tempfile.TemporaryDirectory(prefix="assay-retrain-") as workspace:
        try:
            return retrain(
                folder,
                found,
                corpus,
                Path(workspace),
                processes=jobs or os.cpu_count() or 1,
                on_progress=None if on_step is None else lambda done, total: on_step("members", done, total),
            )
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"training needs {error.name}", next_step="pip install 'vmaf-assay[train]'"
            ) from error
