"""Attestations: a second machine trained an ensemble again from its corpus, and signs what came out.

Each lies beside the numbered verdict that it is about, one file a key: a DSSE envelope over an in-toto statement,
as signatures are, of its own predicate type. A trust policy can ask for some (`registry/trust.py`).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import canonical_json, parse_json_strict, sha256_bytes
from vmaf_assay.registry.files import RESTORE, parse, read_file, verdict_name
from vmaf_assay.registry.history import bound_files
from vmaf_assay.registry.manifest import Digest, Frozen
from vmaf_assay.registry.signing import (
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    Envelope,
    Signature,
    check_signatures,
    key_id_of,
    public_of,
)
from vmaf_assay.registry.tie import TOLERANCE_POINTS
from vmaf_assay.registry.verdict import Verdict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ATTESTATION_TYPE = "urn:vmaf-assay:retrained:v1"
"""What the predicate is."""

Result = Literal["byte for byte", "within tolerance"]
"""How near the ensemble trained again came."""


class Retrained(Frozen):
    """What an attestation says."""

    result: Result
    """`byte for byte`: predictions and every model are the same bytes. `within tolerance`: they answer alike."""
    tolerance_points: float = TOLERANCE_POINTS
    """That tolerance, points."""
    corpus_digest: Digest
    """The corpus it was trained on."""
    code: dict[str, str]
    """Version and commit of the code that trained again."""
    machine: dict[str, str]
    """What trained again, and on what."""
    attested_at_utc: str
    """ISO 8601, in the words of the machine that attests."""


@dataclass(frozen=True, slots=True)
class Attested:
    """An attestation whose signature verifies with the key that it carries."""

    key_id: str
    """Who attests."""
    retrained: Retrained
    """What they say."""


def attestation_name(ensemble: str, sequence: int, key_id: str) -> str:
    """The file of one key's attestation on a numbered verdict.

    >>> attestation_name("m", 2, "0123456789ab" + "0" * 52)
    'm_seed_flip_PROMOTE.2.attest.0123456789ab.json'
    """
    return f"{ensemble}_seed_flip_PROMOTE.{sequence}.attest.{key_id[:12]}.json"


def attest(
    verdict: Verdict, verdict_bytes: bytes, retrained: Retrained, key: "Ed25519PrivateKey"
) -> tuple[str, bytes]:
    """Name and bytes of an attestation on a filed verdict.

    Args:
      verdict: the verdict, as filed.
      verdict_bytes: the bytes of its numbered file.
      retrained: what came out.
      key: the private key.
    """
    from securesystemslib import dsse
    from securesystemslib.signer import CryptoSigner

    mine = dsse.Envelope(_statement(verdict, verdict_bytes, retrained), PAYLOAD_TYPE, {})
    mine.sign(CryptoSigner(key))
    document, public = mine.to_dict(), public_of(key).public
    signature = Signature(keyid=key_id_of(public), sig=document["signatures"][0]["sig"], public=public)
    envelope = Envelope(payload=document["payload"], signatures=[signature])
    return attestation_name(verdict.ensemble, verdict.sequence, signature.keyid), envelope.to_bytes()


def attestations_on(folder: Path, verdict: Verdict, verdict_bytes: bytes) -> list[Attested]:
    """Every attestation on a filed verdict, checked byte by byte.

    Raises:
      IntegrityError: one is altered, signs something else, or lies under another key's name.
    """
    return [_read(folder / name, verdict, verdict_bytes) for name in attestation_names(folder, verdict)]


def attestation_names(folder: Path, verdict: Verdict) -> list[str]:
    """Files in a registry that are named as attestations on a verdict."""
    head = attestation_name(verdict.ensemble, verdict.sequence, "").removesuffix(".json")
    return sorted(name for name in os.listdir(folder) if name.startswith(head) and name.endswith(".json"))


def _read(path: Path, verdict: Verdict, verdict_bytes: bytes) -> Attested:
    data = read_file(path.parent, path.name)
    envelope = parse(Envelope, data, path)
    key_ids = [signature.keyid for signature in envelope.signatures]
    named = [attestation_name(verdict.ensemble, verdict.sequence, key) for key in key_ids]
    if data != envelope.to_bytes() or named != [path.name]:
        raise IntegrityError(f"{path} was edited by hand", next_step=RESTORE)
    payload = check_signatures(path, envelope)
    predicate = parse_json_strict(payload, where=str(path)).get("predicate")
    said: Any = predicate.get("retrained") if isinstance(predicate, dict) else None
    retrained = parse(Retrained, canonical_json(said), path)
    if payload != _statement(verdict, verdict_bytes, retrained):
        raise IntegrityError(f"{path} attests to another verdict", next_step="attest to this one, or remove it")
    if retrained.corpus_digest != verdict.corpus.get("digest"):
        raise IntegrityError(f"{path} is of another corpus", next_step="remove it")
    return Attested(key_ids[0], retrained)


def _statement(verdict: Verdict, verdict_bytes: bytes, retrained: Retrained) -> bytes:
    """The in-toto statement, in its one byte string."""
    files = {verdict_name(verdict.ensemble, verdict.sequence): sha256_bytes(verdict_bytes)} | bound_files(verdict)
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": files[name]}} for name in sorted(files)],
            "predicateType": ATTESTATION_TYPE,
            "predicate": {
                "resourceUri": verdict.ensemble,
                "sequence": verdict.sequence,
                "retrained": retrained.model_dump(mode="json"),
            },
        }
    )
