"""Whose verdicts a consumer accepts: a trust policy, and the newest verdict that this machine has accepted.

Without a policy a registry is checked against itself: nothing in it changed since its verdict. With one, the
verdict must also come from people whom the consumer named, must not have expired, and must not be older than one
accepted before. Each failure has its own message.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.media.files import parse_record, read_plain, sha256_bytes, write_json_atomic
from vmaf_assay.media.user_folders import state_dir
from vmaf_assay.registry.files import MAX_FILE_BYTES, TRUST_POLICY, envelope_name, parse, read_file, verdict_name
from vmaf_assay.registry.manifest import Digest, Frozen
from vmaf_assay.registry.signing import PublicHex, Signed, key_id_of, read_envelope
from vmaf_assay.registry.verdict import Verdict

STATE_LOCK_TIMEOUT_S = 10.0
"""How long to wait for another process that records an acceptance."""

MEND_POLICY = "mend the trust policy (docs/trust.md has one)"


class TrustedKey(Frozen):
    """A key that a policy names."""

    public: PublicHex
    owner: Annotated[str, Field(max_length=200)] | None = None
    """Who holds it, for messages."""


class Rule(Frozen):
    """What an ensemble's verdict needs to be accepted."""

    keys: Annotated[list[Digest], Field(max_length=64)]
    """Ids of the keys whose signatures count."""
    threshold: Annotated[int, Field(ge=1)] = 1
    """How many of them must have signed."""
    allow_unsigned: bool = False
    """Whether a verdict without any signature is accepted."""
    attested_by: Annotated[int, Field(ge=0)] = 0
    """How many other keys must attest that training again gave the same (`assay registry attest`)."""
    attesters: Annotated[list[Digest], Field(max_length=64)] = Field(default_factory=list)
    """Ids of the keys whose attestations count; empty for `keys`. One that signed the verdict never counts."""
    tied: bool = False
    """Whether verdicts that say nothing of their shipped members (of before ADR-0410) are refused."""
    min_sequence: Annotated[int, Field(ge=0)] = 0
    """No verdict below this number is accepted, whatever this machine has recorded."""
    expires_at_utc: str | None = None
    """When this rule expires, ISO 8601; None for never."""


class TrustPolicy(Frozen):
    """`trust-policy.json`."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Which registry it is for; accepted verdicts are recorded under this name."""
    keys: dict[Digest, TrustedKey]
    """Keys by id."""
    default: Rule | None = None
    """For ensembles not named below; None: these are refused."""
    ensembles: dict[str, Rule] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trust:
    """A policy, and where it was read."""

    path: Path
    """Its file."""
    policy: TrustPolicy
    """Its content."""


def find_trust(explicit: Path | None = None) -> Trust | None:
    """The policy to use: `explicit`, else `$ASSAY_TRUST_POLICY`, else none.

    Raises:
      ConfigError: the variable is set and names nothing.
      IntegrityError: the named policy is invalid.
    """
    if explicit is not None:
        return read_trust(explicit)
    named = os.environ.get(TRUST_POLICY)
    if named is None:
        return None
    if not named.strip():
        raise ConfigError(
            f"{TRUST_POLICY} is set and names no trust policy",
            next_step="name a policy's file, or unset the variable to use none",
        )
    return read_trust(Path(named))


def read_trust(path: Path) -> Trust:
    """Read a policy. Raises IntegrityError if it is absent, malformed, or contradicts itself."""
    policy = parse(TrustPolicy, read_file(path.parent, path.name), path)
    if wrong := [key for key, value in policy.keys.items() if key != key_id_of(value.public)]:
        raise IntegrityError(f"{path}: {wrong[0][:12]} is not the id of its key", next_step=MEND_POLICY)
    for name, rule in {"default": policy.default, **policy.ensembles}.items():
        if rule is None:
            continue
        if unknown := {*rule.keys, *rule.attesters} - set(policy.keys):
            raise IntegrityError(
                f"{path}: {name} names key {min(unknown)[:12]}, which it does not hold", next_step=MEND_POLICY
            )
        if len(set(rule.keys)) < rule.threshold and not (rule.allow_unsigned and not rule.keys):
            raise IntegrityError(
                f"{path}: {name} asks for {rule.threshold} of {len(set(rule.keys))} keys", next_step=MEND_POLICY
            )
        _end(path, name, rule.expires_at_utc)
    return Trust(path, policy)


def _end(path: Path, name: str, text: str | None) -> datetime | None:
    """A time of expiry. Raises IntegrityError if the text is not a time."""
    if text is None:
        return None
    try:
        end = datetime.fromisoformat(text)
    except ValueError as error:
        raise IntegrityError(f"{path}: {name}: {text!r} is no time", next_step=MEND_POLICY) from error
    return end if end.tzinfo else end.replace(tzinfo=UTC)


def check_trust(folder: Path, verdict: Verdict, trust: Trust, *, remember: bool) -> None:
    """Refuse a verdict that the policy does not accept.

    Args:
      folder: the registry.
      verdict: the verdict in force, its history checked.
      trust: the policy.
      remember: whether to record it as accepted, so that an older one is refused from now on.

    Raises:
      IntegrityError: unsigned, altered, expired, signed by other or too few keys, or older than one accepted
        before.
      ToolError: the record of accepted verdicts cannot be read or written.
    """
    rule = trust.policy.ensembles.get(verdict.ensemble, trust.policy.default)
    which = f"verdict {verdict.sequence} on {verdict.ensemble}"
    if rule is None:
        raise IntegrityError(f"{trust.path} says nothing of {verdict.ensemble}", next_step=MEND_POLICY)
    end = _end(trust.path, verdict.ensemble, rule.expires_at_utc)
    if end and datetime.now(UTC) >= end:
        raise IntegrityError(
            f"what {trust.path} says of {verdict.ensemble} expired {rule.expires_at_utc}", next_step="renew it"
        )
    data = read_file(folder, verdict_name(verdict.ensemble, verdict.sequence))
    signed = signatures_on(folder, verdict, data)
    if signed is None:
        if not rule.allow_unsigned:
            raise IntegrityError(
                f"{which} is unsigned, and {trust.path} asks for signatures",
                next_step=f"have it signed: `assay registry sign {verdict.ensemble} --sign KEY`",
            )
    else:
        _check_signers(which, signed, rule, trust)
    if rule.tied and verdict.tie is None and verdict.verdict != "SUPERSEDED":
        raise IntegrityError(
            f"{which} does not say what its shipped members predict, and {trust.path} asks for that",
            next_step="train and promote again",
        )
    if rule.attested_by and verdict.verdict != "SUPERSEDED":
        _check_attested(folder, which, verdict, signed.key_ids if signed else [], rule, trust)
    _check_newest(which, verdict, sha256_bytes(data), rule, trust, remember=remember)


def _check_attested(
    folder: Path, which: str, verdict: Verdict, signers: list[str], rule: Rule, trust: Trust
) -> None:
    """Enough keys attest to a verdict, or to the one that a rollback admits again, and none of them signed it."""
    from vmaf_assay.registry.attest import attestations_on

    returns_to = verdict.act.returns_to if verdict.act else None
    number = returns_to.sequence if returns_to else verdict.sequence
    data = read_file(folder, verdict_name(verdict.ensemble, number))
    about = parse(Verdict, data, folder / verdict_name(verdict.ensemble, number))
    believed = set(rule.attesters or rule.keys) - set(signers)
    good = {one.key_id for one in attestations_on(folder, about, data)} & believed
    if len(good) < rule.attested_by:
        raise IntegrityError(
            f"{which} has {len(good)} of the {rule.attested_by} attestations that {trust.path} asks for",
            next_step=f"have another machine run `assay registry attest {verdict.ensemble}`",
        )


def signatures_on(folder: Path, verdict: Verdict, verdict_bytes: bytes) -> Signed | None:
    """The signatures on a filed verdict, each checked; None if it has none. Raises IntegrityError if one fails."""
    name = envelope_name(verdict.ensemble, verdict.sequence)
    if not (folder / name).exists() and not (folder / name).is_symlink():
        return None
    return read_envelope(folder, verdict, verdict_bytes, read_file(folder, name))


def _check_signers(which: str, signed: Signed, rule: Rule, trust: Trust) -> None:
    good = [key for key in signed.key_ids if key in rule.keys]
    if not good:
        raise IntegrityError(
            f"{which} is signed by key {signed.key_ids[0][:12]}, which {trust.path} does not name for it",
            next_step="ask whoever published it, or add the key",
        )
    if len(good) < rule.threshold:
        raise IntegrityError(
            f"{which} has {len(good)} of the {rule.threshold} signatures that {trust.path} asks for",
            next_step="have another key holder sign it",
        )
    end = _end(trust.path, which, signed.expires_at_utc)
    if end and datetime.now(UTC) >= end:
        raise IntegrityError(
            f"the signatures on {which} expired {signed.expires_at_utc}", next_step="ask for a newer one"
        )


class Accepted(Frozen):
    """The newest verdict accepted."""

    sequence: int
    """Its number."""
    sha256: Digest
    """SHA-256 of its file."""


AcceptedOfOnePolicy = Annotated[dict[str, Accepted], Field(min_length=1)]
Remembered = dict[str, dict[str, Accepted]]
"""What this machine has accepted, by policy name, then by ensemble."""


class Memory(Frozen):
    """`accepted.json`: what this machine has accepted, by policy name and ensemble.

    It is first written with an entry, so a file without entries has lost them. For that reason no field has a
    default.
    """

    schema_version: Literal[1]
    """Major version of this schema."""
    accepted: Annotated[dict[str, AcceptedOfOnePolicy], Field(min_length=1)]
    """By name, then by ensemble."""


def _check_newest(which: str, verdict: Verdict, digest: str, rule: Rule, trust: Trust, *, remember: bool) -> None:
    """Refuse a verdict older than, or different from, the accepted one; record a newer one."""
    if verdict.sequence < rule.min_sequence:
        raise IntegrityError(
            f"{which} is older than no. {rule.min_sequence}, the least that {trust.path} accepts",
            next_step="get the newer registry",
        )
    folder = state_dir()
    if not remember:
        _compare(which, verdict, digest, _recall(folder), trust)
        return
    from vmaf_assay.media.lock import exclusive  # a load without a policy does not need it

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / ".lock", STATE_LOCK_TIMEOUT_S):
            accepted = _recall(folder)
            if not _compare(which, verdict, digest, accepted, trust):
                return
            mine = accepted.get(trust.policy.name, {})
            new = {**mine, verdict.ensemble: Accepted(sequence=verdict.sequence, sha256=digest)}
            after = Memory(schema_version=1, accepted={**accepted, trust.policy.name: new})
            write_json_atomic(folder / "accepted.json", after.model_dump(mode="json"))
    except OSError as error:  # a TimeoutError is one
        raise ToolError(
            f"cannot note in {folder} that {which} was accepted: {error}", next_step="set ASSAY_STATE_DIR"
        ) from error


def _recall(folder: Path) -> Remembered:
    """The accepted verdicts. Raises IntegrityError if the file cannot be read, or exists and is empty."""
    path = folder / "accepted.json"
    if not os.path.lexists(path):
        return {}
    mend = "restore it from a backup; without it an older verdict would be accepted again"
    data = read_plain(path, max_bytes=MAX_FILE_BYTES, guarded=True, next_step=mend)
    return parse_record(Memory, data, where=str(path), next_step=mend).accepted


def _compare(which: str, verdict: Verdict, digest: str, accepted: Remembered, trust: Trust) -> bool:
    """Whether a verdict is newer than the one accepted; IntegrityError if older, or a second of its number."""
    seen = accepted.get(trust.policy.name, {}).get(verdict.ensemble)
    if seen is None or verdict.sequence > seen.sequence:
        return True
    if verdict.sequence < seen.sequence:
        raise IntegrityError(
            f"{which} is older than no. {seen.sequence}, which this machine has accepted: a replay",
            next_step="get the newer registry; to go back, its owner runs `assay registry rollback`",
        )
    if digest != seen.sha256:
        raise IntegrityError(
            f"{which} is not the verdict {seen.sequence} that this machine has accepted",
            next_step="ask whoever published it which one is true",
        )
    return False
