"""Audit before a signature, and attestations by a second machine: what they say, and who asks for them."""

import base64
import json

import pytest

from tests.crafted import FR
from vmaf_assay.admission.audit import audit
from vmaf_assay.admission.lifecycle import attest_verdict, rollback, sign_verdict
from vmaf_assay.admission.promotion import Who
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.registry.attest import Retrained, attestation_name
from vmaf_assay.registry.files import content_name, verdict_name
from vmaf_assay.registry.manifest import FileRef, Registry
from vmaf_assay.registry.signing import AUDITS, key_id_of, statement
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.registry.trust import Rule, TrustedKey, TrustPolicy
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry


def public(key) -> str:
    """A key's public half, hex."""
    return key[1].public_key().public_bytes_raw().hex()


def attested(folder, key, *, result="byte for byte"):
    """The registry with an attestation by a key, as `registry attest` files it after it trained again."""
    found = audit(folder, FR)
    retrained = Retrained(
        result=result,
        corpus_digest=found.verdict.corpus["digest"],
        code={"version": "0", "commit": "c"},
        machine={"machine": "x86_64"},
        attested_at_utc="2026-12-01T00:00:00+00:00",
    )
    attest_verdict(folder, found, retrained, Who(keys=(key[1],)))
    return folder / attestation_name(FR, found.verdict.sequence, key_id_of(public(key)))


@pytest.fixture
def policy(tmp_path, keys, monkeypatch):
    """A trust policy that asks for the first key's signature and one attestation."""
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "state"))
    held = {key_id_of(public(key)): TrustedKey(public=public(key)) for key in keys}
    rule = Rule(keys=list(held)[:1], attesters=list(held), attested_by=1, tied=True)
    path = tmp_path / "policy.json"
    path.write_text(TrustPolicy(name="test", keys=held, default=rule).model_dump_json())
    return path


def test_a_policy_can_ask_for_an_attestation(registry, keys, policy):
    """Refused until another key than the signer's attests; the signer's own does not count."""
    sign_verdict(registry, FR, Who(keys=(keys[0][1],)))
    with pytest.raises(IntegrityError, match="has 0 of the 1 attestations"):
        load_verified(registry, FR, policy)
    attested(registry, keys[0])
    with pytest.raises(IntegrityError, match="has 0 of the 1 attestations"):
        load_verified(registry, FR, policy)
    attested(registry, keys[1])
    load_verified(registry, FR, policy)
    assert all(report.status == "production" for report in verify_registry(registry))


def test_a_rollback_needs_the_attestation_of_what_it_admits(registry, keys, policy):
    """An attestation is on one verdict: what a rollback admits again has its own, or none."""
    sign_verdict(registry, FR, Who(keys=(keys[0][1],)))
    attested(registry, keys[1])
    rollback(registry, FR, Who(reason="x", keys=(keys[0][1],)))
    with pytest.raises(IntegrityError, match="has 0 of the 1 attestations"):
        load_verified(registry, FR, policy)
    rollback(registry, FR, Who(reason="y", keys=(keys[0][1],)), to=2)
    load_verified(registry, FR, policy)


def test_no_byte_of_an_attestation_is_free(registry, keys):
    """Any byte changed: `verify` refuses, with no policy at all."""
    path = attested(registry, keys[1])
    good = path.read_bytes()
    for position in range(0, len(good), 97):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert any(report.status == "refused" for report in verify_registry(registry)), position
    path.write_bytes(good)
    assert all(report.status != "refused" for report in verify_registry(registry))


def test_an_attestation_is_of_one_key_and_verdict(registry, keys):
    """Under another key's name or another verdict's number it is refused."""
    path = attested(registry, keys[1])
    data = path.read_bytes()
    for name in (
        attestation_name(FR, 2, key_id_of(public(keys[0]))),
        attestation_name(FR, 1, key_id_of(public(keys[1]))),
    ):
        (registry / name).write_bytes(data)
        assert any(report.status == "refused" for report in verify_registry(registry)), name
        (registry / name).unlink()


def payload_of(registry) -> dict:
    """The signed statement on verdict 2."""
    envelope = json.loads((registry / f"{FR}_seed_flip_PROMOTE.2.dsse.json").read_bytes())
    return json.loads(base64.b64decode(envelope["payload"]))


def test_the_statement_says_what_was_audited(registry, keys):
    """Everything is either audited or not; what needs the corpus is not, unless the signer had it."""
    sign_verdict(registry, FR, Who(keys=(keys[0][1],)))
    said = payload_of(registry)
    assert said["predicateType"] == "urn:vmaf-assay:verdict:v2"
    assert said["predicate"]["notAudited"] == ["corpus", "retraining"]
    assert set(said["predicate"]["audited"]) | {"corpus", "retraining"} == set(AUDITS)


def test_a_second_signer_has_audited_as_much(registry, keys):
    """Who adds a signature signs the same statement, so must have audited all that it says."""
    sign_verdict(registry, FR, Who(keys=(keys[0][1],), audited=("corpus",)))
    with pytest.raises(ConfigError, match="say that corpus was audited"):
        sign_verdict(registry, FR, Who(keys=(keys[1][1],)))
    _, signers = sign_verdict(registry, FR, Who(keys=(keys[1][1],), audited=("corpus", "retraining")))
    assert len(signers) == 2
    assert payload_of(registry)["predicate"]["notAudited"] == ["retraining"]


def test_statements_of_version_one_stay_as_they_are(registry):
    """Without an audit the statement is of the first predicate type and has none of its fields."""
    data = (registry / verdict_name(FR, 2)).read_bytes()
    said = json.loads(statement(Verdict.model_validate_json(data), data, "2026-11-24T00:00:00+00:00", None))
    assert said["predicateType"] == "urn:vmaf-assay:verdict:v1"
    assert not {"audited", "notAudited"} & set(said["predicate"])


def test_what_does_not_verify_is_not_signed(registry, keys):
    """A calibration that the predictions do not give, with digests made to fit: `sign` refuses it."""
    content = read_registry(registry)
    row = content.row(f"{FR}_mean")
    sidecar = Sidecar.model_validate_json((registry / row.sidecar.file).read_bytes())
    groups = [
        one.model_copy(update={"residuals": [0.0] * len(one.residuals)}) for one in sidecar.calibration.groups
    ]
    calibration = sidecar.calibration.model_copy(update={"groups": groups})
    data = canonical_json(sidecar.model_copy(update={"calibration": calibration}).model_dump(mode="json")) + b"\n"
    digest = sha256_bytes(data)
    (registry / content_name(row.id, digest, "json")).write_bytes(data)
    row = row.model_copy(update={"sidecar": FileRef(file=content_name(row.id, digest, "json"), sha256=digest)})
    verdict = Verdict.model_validate_json((registry / verdict_name(FR)).read_bytes())
    verdict = verdict.model_copy(
        update={
            "sidecars": verdict.sidecars | {row.id: digest},
            "rows": verdict.rows | {row.id: row.binding()},
            "calibration_sha256": sha256_bytes(canonical_json(calibration.model_dump(mode="json"))),
        }
    )
    for name in (verdict_name(FR), verdict_name(FR, 2)):
        (registry / name).write_bytes(verdict.to_bytes())
    ref = FileRef(file=verdict_name(FR), sha256=sha256_bytes(verdict.to_bytes()))
    rows = [row if one.id == row.id else one for one in content.rows]
    mine = [one.model_copy(update={"verdict": ref}) if one.id.startswith(FR) else one for one in rows]
    (registry / "registry.json").write_bytes(Registry(rows=mine).to_bytes())
    load_verified(registry, FR)
    with pytest.raises(IntegrityError, match="not signed: calibration: "):
        sign_verdict(registry, FR, Who(keys=(keys[0][1],)))
    assert not (registry / f"{FR}_seed_flip_PROMOTE.2.dsse.json").exists()
