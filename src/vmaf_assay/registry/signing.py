"""Signatures on verdicts: DSSE envelopes over in-toto statements, Ed25519, offline.

An envelope lies beside the numbered verdict it signs. The subjects of its statement are the verdict's file and
every file the verdict binds, so that any in-toto tool can check them all. Each signature carries its public key,
so anyone can check that no byte of the envelope changed. Whether to accept that key is for a trust policy to say
(`registry/trust.py`).

Private keys are PKCS#8 PEM files that only their owner may read. They are never printed, and never written or used
inside a registry. The cryptography is imported when needed, so a load without a trust policy does not wait for it.
"""

import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.media.files import canonical_json, parse_json_strict, sha256_bytes, write_json_atomic
from vmaf_assay.registry.files import RESTORE, envelope_name, parse, verdict_name
from vmaf_assay.registry.history import bound_files
from vmaf_assay.registry.manifest import Digest, Frozen
from vmaf_assay.registry.verdict import Verdict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:vmaf-assay:verdict:v1"
"""The predicate of version 1, which says nothing of an audit; it stays valid. Its fields are those of SLSA's
verification summary where these exist (docs/trust.md)."""

AUDITED_TYPE = "urn:vmaf-assay:verdict:v2"
"""The predicate that is signed today: version 1's, with what the first signer audited and what not."""

AUDITS = (
    "bytes",
    "gate",
    "fused graph",
    "shipped members",
    "calibration",
    "coverage",
    "corpus",
    "retraining",
)
"""What a signer can audit: every file against its digest; what `registry verify` and `--deep` compute again; the
rows and facts of the corpus; a second training."""

PRIVATE_NAME, PUBLIC_NAME = "private.pem", "public.json"
"""Files of `assay keys generate`."""

Passphrase = Callable[[], str]
"""Called for a passphrase if a key has one."""

PublicHex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""An Ed25519 public key: 32 bytes in lower-case hex."""


class PublicKey(Frozen):
    """`public.json`: the public part of a key."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    key_id: Digest
    """SHA-256 of the key's canonical description, as securesystemslib counts it."""
    public: PublicHex
    owner: Annotated[str, Field(max_length=200)] | None = None
    """Who says they hold it."""


class Signature(Frozen):
    """One signature of an envelope, as DSSE has it, and the public key it was made with."""

    keyid: Digest
    """The key's id."""
    sig: Annotated[str, Field(max_length=200)]
    """Base64 of the 64 bytes."""
    public: PublicHex
    """The public key; a trust policy says whether to accept it."""


class Envelope(Frozen):
    """A DSSE envelope."""

    payloadType: Literal["application/vnd.in-toto+json"] = "application/vnd.in-toto+json"  # noqa: N815 - DSSE's name
    """in-toto, as JSON."""
    payload: Annotated[str, Field(max_length=1_000_000)]
    """Base64 of the statement."""
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=64)]
    """By key id, each key once."""

    def to_bytes(self) -> bytes:
        """The canonical bytes of an envelope's file."""
        return json.dumps(self.model_dump(mode="json"), indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope whose every signature verifies with the key that it carries."""

    envelope: Envelope
    signed_at_utc: str
    """Time stated by its first signer, ISO 8601."""
    expires_at_utc: str | None
    """Expiry stated by its signers; None for never."""
    audited: tuple[str, ...] | None = None
    """What its first signer audited, of `AUDITS`; None for statements of version 1."""

    @property
    def key_ids(self) -> list[str]:
        """Ids of the keys that signed."""
        return [signature.keyid for signature in self.envelope.signatures]


def key_id_of(public: str) -> str:
    """The id of an Ed25519 public key, from its 64 hex digits.

    >>> key_id_of("00" * 32)[:12]
    '7f7373360bc9'
    """
    description = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}}
    return sha256_bytes(canonical_json(description))


def generate_key(folder: Path, passphrase: str | None = None, owner: str | None = None) -> PublicKey:
    """Make a key pair: `private.pem`, which only its owner may read, and `public.json`.

    Args:
      folder: where; made if absent, never a registry.
      passphrase: encrypts the private key if given.
      owner: who holds it, for the public file.

    Raises:
      ConfigError: the folder is a registry, or holds a key already.
    """
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    _refuse_registry(folder)
    if (folder / PUBLIC_NAME).exists():
        raise ConfigError(f"{folder} holds a key already", next_step="choose another folder")
    private = Ed25519PrivateKey.generate()
    lock = forms.BestAvailableEncryption(passphrase.encode()) if passphrase else forms.NoEncryption()
    pem = private.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, lock)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # O_EXCL: a key is never overwritten; the mode is set before a byte is written.
        descriptor = os.open(folder / PRIVATE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{folder} holds a key already", next_step="choose another folder") from error
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(pem)
        handle.flush()
        os.fsync(handle.fileno())
    key = public_of(private).model_copy(update={"owner": owner})
    write_json_atomic(folder / PUBLIC_NAME, key.model_dump(mode="json"))
    return key


def read_public_key(path: Path, passphrase: Passphrase | None = None) -> PublicKey:
    """The public half of a key: from `public.json`, a private key's file, or a folder that holds them.

    Raises:
      ConfigError: no key is there.
      IntegrityError: the file contradicts itself.
    """
    path = path / PUBLIC_NAME if path.is_dir() else path
    if path.suffix != ".json":
        return public_of(load_private_key(path, passphrase))
    if not path.is_file():
        raise ConfigError(f"{path} does not exist", next_step="make a key with `assay keys generate -o DIR`")
    key = parse(PublicKey, path.read_bytes(), path)
    if key.key_id != key_id_of(key.public):
        raise IntegrityError(f"{path}: the id is not the key's", next_step="restore the file")
    return key


def load_private_key(path: Path, passphrase: Passphrase | None = None) -> "Ed25519PrivateKey":
    """Read a private key: the file, or the folder that `assay keys generate` made.

    Raises:
      ConfigError: absent, in a registry, readable by others, not an Ed25519 key, or the passphrase is wrong.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = path / PRIVATE_NAME if path.is_dir() else path
    _refuse_registry(path.parent)
    data = _read_private(path)
    secret = None
    if b"ENCRYPTED" in data.split(b"\n", 1)[0]:
        if passphrase is None:
            raise ConfigError(f"{path} has a passphrase", next_step="set ASSAY_KEY_PASSPHRASE")
        secret = passphrase().encode()
    try:
        private = load_pem_private_key(data, secret)
    except (ValueError, TypeError) as error:
        wrong = "the passphrase does not open it" if secret is not None else "it holds no private key"
        raise ConfigError(f"cannot use {path}: {wrong}", next_step="name another --sign KEY") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an Ed25519 key", next_step="make one with `assay keys generate -o DIR`")
    return private


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            mode = os.fstat(
                handle.fileno()
            ).st_mode  # of the opened file, not of the name, which may point elsewhere by now
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{path} is no plain file", next_step="name the key's own file")
            if os.name == "posix" and mode & 0o077:
                raise ConfigError(
                    f"{path} can be read by others (mode {stat.S_IMODE(mode):04o})",
                    next_step=f"run `chmod 600 {path}`; if others may have read it, make a new key",
                )
            return handle.read(65536)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist", next_step="make a key with `assay keys generate -o DIR`"
        ) from error


def _refuse_registry(folder: Path) -> None:
    for place in (folder, *folder.resolve().parents):
        if (place / "registry.json").exists():
            raise ConfigError(f"{place} is a registry: no key may lie in it", next_step="keep keys elsewhere")


def public_of(private: "Ed25519PrivateKey") -> PublicKey:
    """The public half of a private key."""
    public = private.public_key().public_bytes_raw().hex()
    return PublicKey(key_id=key_id_of(public), public=public)


def statement(
    verdict: Verdict,
    verdict_bytes: bytes,
    signed_at_utc: str,
    expires_at_utc: str | None,
    audited: Sequence[str] | None = None,
) -> bytes:
    """The canonical bytes of the in-toto statement on a filed verdict.

    With `audited` it is of version 2, without of version 1. Either is made again, byte for byte, whenever a
    signature is checked: another statement is another predicate type.
    """
    files = {verdict_name(verdict.ensemble, verdict.sequence): sha256_bytes(verdict_bytes)} | bound_files(verdict)
    act = verdict.act.kind if verdict.act else "promote"
    audit = (
        {}
        if audited is None
        else {
            "audited": [one for one in AUDITS if one in audited],
            "notAudited": [one for one in AUDITS if one not in audited],
        }
    )
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": files[name]}} for name in sorted(files)],
            "predicateType": PREDICATE_TYPE if audited is None else AUDITED_TYPE,
            "predicate": {
                "resourceUri": verdict.ensemble,
                "timeVerified": verdict.generated_at_utc,
                "verificationResult": "PASSED" if verdict.verdict == "PROMOTE" else "FAILED",
                "policy": {"uri": verdict.parent_adr, "digest": {"sha256": verdict.policy_sha256}},
                "inputAttestations": [{"uri": "corpus", "digest": {"sha256": verdict.corpus.get("digest")}}],
                "act": act,
                "sequence": verdict.sequence,
                "previousVerdict": verdict.previous_verdict_sha256,
                "signedAt": signed_at_utc,
                "expiresAt": expires_at_utc,
                **audit,
            },
        }
    )


def sign(
    verdict: Verdict,
    verdict_bytes: bytes,
    key: "Ed25519PrivateKey",
    *,
    audited: Sequence[str],
    existing: Signed | None = None,
    expires_at_utc: str | None = None,
) -> Envelope:
    """Sign a filed verdict, or add a signature to those it has.

    Args:
      verdict: the verdict, as filed.
      verdict_bytes: the bytes of its numbered file.
      key: the private key.
      audited: what the signer has audited, of `AUDITS`.
      existing: its present signatures; the new one signs the same statement.
      expires_at_utc: when the signatures expire; set by the first signer.

    Raises:
      ConfigError: the signatures there have another end, or say of audits that this signer has not made.
    """
    from securesystemslib import dsse
    from securesystemslib.signer import CryptoSigner

    if existing and expires_at_utc not in (None, existing.expires_at_utc):
        raise ConfigError(
            f"the signatures on verdict {verdict.sequence} end {existing.expires_at_utc or 'never'}",
            next_step="sign without an end of your own",
        )
    if existing and (lacking := [one for one in existing.audited or () if one not in audited]):
        raise ConfigError(
            f"the signatures on verdict {verdict.sequence} say that {', '.join(lacking)} was audited",
            next_step="audit it too: add --corpus DIR" + (" --retrain" if "retraining" in lacking else ""),
        )
    when = existing.signed_at_utc if existing else datetime.now(UTC).isoformat(timespec="seconds")
    until = existing.expires_at_utc if existing else expires_at_utc
    says = existing.audited if existing else audited
    payload = statement(verdict, verdict_bytes, when, until, says)
    mine = dsse.Envelope(payload, PAYLOAD_TYPE, {})
    mine.sign(CryptoSigner(key))
    document = mine.to_dict()
    public = public_of(key).public
    added = Signature(keyid=key_id_of(public), sig=document["signatures"][0]["sig"], public=public)
    kept = [one for one in existing.envelope.signatures if one.keyid != added.keyid] if existing else []
    signatures = sorted([*kept, added], key=lambda one: one.keyid)
    return Envelope(payload=document["payload"], signatures=signatures)


def read_envelope(folder: Path, verdict: Verdict, verdict_bytes: bytes, data: bytes) -> Signed:
    """Check an envelope completely: each signature against its key, the payload against the verdict.

    Args:
      folder: the registry, for messages.
      verdict: the verdict that it should sign, as filed.
      verdict_bytes: the bytes of its numbered file.
      data: the envelope's bytes.

    Raises:
      IntegrityError: it is malformed, a signature does not verify, or it signs something else.
    """
    path = folder / envelope_name(verdict.ensemble, verdict.sequence)
    envelope = parse(Envelope, data, path)
    ids = [signature.keyid for signature in envelope.signatures]
    if data != envelope.to_bytes() or ids != sorted(set(ids)):
        raise IntegrityError(f"{path} was edited by hand", next_step=RESTORE)
    payload = check_signatures(path, envelope)
    predicate = parse_json_strict(payload, where=str(path)).get("predicate")
    facts: Mapping[str, Any] = predicate if isinstance(predicate, dict) else {}
    when, until = facts.get("signedAt"), facts.get("expiresAt")
    if not _is_time(when) or not (until is None or _is_time(until)):
        raise IntegrityError(f"{path} does not say when it was signed", next_step=RESTORE)
    audited = facts.get("audited")
    if isinstance(audited, list):
        audited = tuple(one for one in AUDITS if one in audited)
    elif audited is not None:
        raise IntegrityError(f"{path} does not say what was audited", next_step=RESTORE)
    if payload != statement(verdict, verdict_bytes, str(when), until, audited):
        raise IntegrityError(
            f"{path} signs another verdict than {verdict_name(verdict.ensemble, verdict.sequence)}",
            next_step="sign this one, or restore the registry",
        )
    return Signed(envelope, str(when), until, audited)


def check_signatures(path: Path, envelope: Envelope) -> bytes:
    """The payload, if every signature on it verifies with its own key."""
    from securesystemslib import dsse
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import SSlibKey

    try:
        read = dsse.Envelope.from_dict(envelope.model_dump(mode="json"))
    except ValueError as error:  # base64
        raise IntegrityError(f"{path} is no envelope: {error}", next_step=RESTORE) from error
    written = read.to_dict()
    if written["payload"] != envelope.payload:
        raise IntegrityError(f"{path} was edited by hand", next_step=RESTORE)
    for signature, again in zip(envelope.signatures, written["signatures"], strict=True):
        key = SSlibKey(key_id_of(signature.public), "ed25519", "ed25519", {"public": signature.public})
        if key.keyid != signature.keyid or again["sig"] != signature.sig:
            raise IntegrityError(f"{path}: a signature's key is not the one it names", next_step=RESTORE)
        try:
            key.verify_signature(read.signatures[signature.keyid], read.pae())
        except UnverifiedSignatureError as error:
            raise IntegrityError(
                f"{path}: the signature of key {signature.keyid[:12]} does not verify: "
                "it or the payload was altered",
                next_step=RESTORE,
            ) from error
    return read.payload


def _is_time(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
