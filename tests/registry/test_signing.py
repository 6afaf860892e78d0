"""Signatures: keys that stay private, envelopes whose every byte counts, statements any in-toto tool can read."""

import base64
import json
import stat

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import SSlibKey

from tests.crafted import FORECAST, FR
from vmaf_assay.admission.lifecycle import rollback, sign_verdict
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.registry.entries import history
from vmaf_assay.registry.signing import generate_key, key_id_of, load_private_key, read_public_key
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run

ENVELOPE = f"{FR}_seed_flip_PROMOTE.2.dsse.json"


@pytest.fixture
def signed(registry, keys):
    """A registry whose regressor is signed by the first key."""
    sign_verdict(registry, FR, Who(keys=(keys[0][1],)))
    return registry


def refused(folder) -> list[str]:
    """Why rows and files are refused."""
    return [report.reason for report in verify_registry(folder) if report.status == "refused"]


def test_a_key_is_its_owners(tmp_path):
    """Mode 0600 from the first byte; the public file holds no private byte; the id is securesystemslib's."""
    key = generate_key(tmp_path / "key", owner="Ada")
    private, public = tmp_path / "key" / "private.pem", tmp_path / "key" / "public.json"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    raw = load_private_key(tmp_path / "key").private_bytes_raw()
    assert raw.hex() not in public.read_text()
    assert base64.b64encode(raw) not in public.read_bytes()
    theirs = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public)))
    assert key.key_id == theirs.keyid == key_id_of(key.public)
    assert read_public_key(tmp_path / "key") == read_public_key(public) == key
    assert read_public_key(private).public == key.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o602])
def test_a_key_that_others_can_touch_is_not_used(tmp_path, mode):
    """Whatever group or others may do with it, the key is refused, with the command that mends it."""
    generate_key(tmp_path / "key")
    (tmp_path / "key" / "private.pem").chmod(mode)
    with pytest.raises(ConfigError, match=r"can be read by others .*chmod 600"):
        load_private_key(tmp_path / "key")


def test_a_key_is_never_overwritten(tmp_path):
    """A second `generate` into a folder is refused, and so is one where only the private half is left."""
    generate_key(tmp_path / "key")
    before = (tmp_path / "key" / "private.pem").read_bytes()
    for _ in range(2):
        with pytest.raises(ConfigError, match="holds a key already"):
            generate_key(tmp_path / "key")
        (tmp_path / "key" / "public.json").unlink(missing_ok=True)
    assert (tmp_path / "key" / "private.pem").read_bytes() == before


def test_no_key_in_a_registry(registry, keys, tmp_path):
    """None is made in a registry or below it, and one that lies there is not used."""
    for folder in (registry, registry / "keys"):
        with pytest.raises(ConfigError, match="is a registry: no key may lie in it"):
            generate_key(folder)
    assert not (registry / "keys").exists()
    (registry / "private.pem").write_bytes((keys[0][0] / "private.pem").read_bytes())
    (registry / "private.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="is a registry"):
        load_private_key(registry / "private.pem")
    assert any("no row or verdict names this file" in reason for reason in refused(registry))


def test_a_passphrase_is_needed_and_checked(tmp_path):
    """An encrypted key opens with its passphrase only."""
    key = generate_key(tmp_path / "key", "correct horse")
    assert b"ENCRYPTED" in (tmp_path / "key" / "private.pem").read_bytes()
    with pytest.raises(ConfigError, match="has a passphrase"):
        load_private_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="the passphrase does not open it"):
        load_private_key(tmp_path / "key", lambda: "battery")
    opened = load_private_key(tmp_path / "key", lambda: "correct horse")
    assert opened.public_key().public_bytes_raw().hex() == key.public


@pytest.mark.parametrize("what", ["nothing", "text", "another kind", "a folder"])
def test_what_is_no_key_is_one_line(tmp_path, what):
    """Absent, not PEM, ECDSA, a folder without a key: ConfigError that names the file."""
    path = tmp_path / "key.pem"
    if what == "text":
        path.write_text("hello")
    if what == "another kind":
        other = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if what == "a folder":
        path.mkdir()
    if path.is_file():
        path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"key\.pem"):
        load_private_key(path)


def test_the_envelope_is_dsse_over_in_toto(signed, keys):
    """The signature verifies over DSSE's encoding written out by hand; the subjects are files by their digests."""
    envelope = json.loads((signed / ENVELOPE).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    (one,) = envelope["signatures"]
    public = keys[0][1].public_key()
    public.verify(base64.b64decode(one["sig"]), encoded)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(one["sig"]), payload)
    statement = json.loads(payload)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicate"]["verificationResult"] == "PASSED"
    assert statement["predicate"]["sequence"] == 2
    assert len(statement["subject"]) == 1 + 6 + 6 + 1 + 3
    for subject in statement["subject"]:
        assert sha256_bytes((signed / subject["name"]).read_bytes()) == subject["digest"]["sha256"]


def test_no_byte_of_an_envelope_is_free(signed):
    """Any byte changed to any other: `verify` refuses, with no policy at all."""
    path = signed / ENVELOPE
    good = path.read_bytes()
    assert refused(signed) == []
    for position in range(0, len(good), 37):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert refused(signed), position
    path.write_bytes(good)
    assert refused(signed) == []


def test_signatures_that_are_not_what_they_seem(signed, keys):
    """Another's public key, a signature of something else, one key twice: refused in words of their own."""
    path = signed / ENVELOPE
    good = json.loads(path.read_bytes())
    public = keys[1][1].public_key().public_bytes_raw().hex()

    def said(change) -> str:
        document = json.loads(json.dumps(good))
        change(document)
        path.write_text(json.dumps(document, indent=1) + "\n")
        return " ".join(refused(signed))

    one = good["signatures"][0]
    assert "does not verify" in said(lambda d: d.update(payload=base64.b64encode(b"{}").decode()))
    assert "is not the one it names" in said(lambda d: d["signatures"][0].update(public=public))
    assert "edited by hand" in said(lambda d: d["signatures"].append(one))
    theirs = {"keyid": key_id_of(public), "public": public}
    assert "does not verify" in said(lambda d: d["signatures"][0].update(theirs))
    assert "signatures" in said(lambda d: d.update(signatures=[]))


def test_a_signature_is_on_one_verdict(signed, keys):
    """The envelope of a number is no envelope of another, nor of another ensemble."""
    rollback(signed, FR, Who(reason="x"))
    data = (signed / ENVELOPE).read_bytes()
    for other in (f"{FR}_seed_flip_PROMOTE.3.dsse.json", f"{FORECAST}_seed_flip_PROMOTE.1.dsse.json"):
        (signed / other).write_bytes(data)
        assert any("signs another verdict" in reason for reason in refused(signed))
        (signed / other).unlink()
    assert refused(signed) == []


def test_a_second_signer_adds(signed, keys):
    """Both signatures lie over the same statement; signing twice with one key changes nothing."""
    before = json.loads((signed / ENVELOPE).read_bytes())
    verdict, ids = sign_verdict(signed, FR, Who(keys=(keys[1][1],)))
    after = json.loads((signed / ENVELOPE).read_bytes())
    assert verdict.sequence == 2
    assert after["payload"] == before["payload"]
    assert sorted(ids) == [one["keyid"] for one in after["signatures"]] == sorted(set(ids))
    assert len(ids) == 2
    data = (signed / ENVELOPE).read_bytes()
    sign_verdict(signed, FR, Who(keys=(keys[0][1], keys[1][1])))
    assert (signed / ENVELOPE).read_bytes() == data
    assert refused(signed) == []


def test_the_first_signer_sets_the_end(registry, keys):
    """A second signer cannot move the end that the first one signed."""
    sign_verdict(registry, FR, Who(keys=(keys[0][1],), expires_at_utc="2999-01-01T00:00:00+00:00"))
    with pytest.raises(ConfigError, match="end 2999-01-01"):
        sign_verdict(registry, FR, Who(keys=(keys[1][1],), expires_at_utc="2999-01-02T00:00:00+00:00"))
    assert len(sign_verdict(registry, FR, Who(keys=(keys[1][1],)))[1]) == 2


def test_signatures_survive_history(runs, tmp_path, keys):
    """What was signed stays signed after later promotions, and the history says by whom."""
    registry = tmp_path / "registry"
    promote(load_run(runs["first"]), registry, Who(keys=(keys[0][1],)))
    promote(load_run(runs["second"]), registry)
    rollback(registry, FR, Who(reason="x", keys=(keys[1][1],)))
    ids = [read_public_key(folder).key_id for folder, _ in keys]
    assert [one.signed_by for one in history(registry, FR)] == [(ids[1],), (), (ids[0],)]
    assert {report.status for report in verify_registry(registry)} == {"production"}
    path = registry / f"{FR}_seed_flip_PROMOTE.1.dsse.json"
    path.write_bytes(path.read_bytes().replace(b'"sig": "', b'"sig": "A'))
    assert refused(registry)


def test_a_promotion_that_is_there_already_is_signed(promoted, runs, registry, keys):
    """Promoting the same run again with a key adds its signature and files no new number."""
    verdict = promote(load_run(runs["second"]), registry, Who(keys=(keys[0][1],)))
    assert verdict.sequence == 2
    assert (registry / ENVELOPE).is_file()
    assert refused(registry) == []


@pytest.mark.parametrize("what", [f"{FR}_seed_flip_PROMOTE.2.json", f"{FR}_predictions.*", f"{FR}_seed1.*.onnx"])
def test_what_does_not_verify_is_not_signed(registry, keys, what):
    """A signer never signs what does not stand: verdict, predictions, models."""
    for path in registry.glob(what):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError):
        sign_verdict(registry, FR, Who(keys=(keys[0][1],)))
    assert not (registry / ENVELOPE).exists()
