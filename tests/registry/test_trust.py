"""A trust policy: what it refuses, each in its own words, and what a machine remembers."""

import json
import shutil
import threading

import pytest

from tests.crafted import FORECAST, FR
from tests.registry.test_signing import ENVELOPE
from vmaf_assay.admission.lifecycle import retire, rollback, sign_verdict
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.media import user_folders
from vmaf_assay.media.user_folders import state_dir
from vmaf_assay.registry.signing import read_public_key
from vmaf_assay.registry.store import load_verified
from vmaf_assay.registry.trust import find_trust, read_trust
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run

PAST, FUTURE = "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """A machine that remembers nothing yet; its state folder."""
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def policy(tmp_path, keys):
    """Writes a policy that names both keys: `policy(threshold=2, ...)` gives its path."""
    public = [read_public_key(folder) for folder, _ in keys]

    def write(*, name="production", ensembles=None, named=(0, 1), **rule):
        document = {
            "schema_version": 1,
            "name": name,
            "keys": {key.key_id: {"public": key.public} for key in public},
            "default": {"keys": [public[i].key_id for i in named], **rule},
            "ensembles": ensembles or {},
        }
        path = tmp_path / "trust-policy.json"
        path.write_text(json.dumps(document))
        return path

    return write


def signed_by(registry, *private, until=None):
    """Sign the regressor's verdict in force."""
    sign_verdict(registry, FR, Who(keys=private, expires_at_utc=until))


def refusal(registry, path, ensemble=FR) -> str:
    """Why the load is refused; '' if it is not. `verify` must agree."""
    reasons = [r.reason for r in verify_registry(registry, ensemble=ensemble, trust=read_trust(path)) if r.reason]
    try:
        load_verified(registry, ensemble, path)
    except IntegrityError as error:
        assert reasons
        return str(error)
    assert not reasons
    return ""


def test_unsigned_is_refused_unless_allowed(registry, policy):
    """Unsigned: refused; with `allow_unsigned` believed; by ensemble if so written."""
    assert "is unsigned" in refusal(registry, policy())
    assert refusal(registry, policy(allow_unsigned=True)) == ""
    free = {FR: {"keys": [], "allow_unsigned": True}}
    assert refusal(registry, policy(ensembles=free)) == ""
    assert "is unsigned" in refusal(registry, policy(ensembles=free), FORECAST)


def test_signed_is_believed(registry, policy, keys):
    """One signature of a named key is enough for a threshold of one."""
    signed_by(registry, keys[0][1])
    assert refusal(registry, policy()) == ""


def test_a_key_that_is_not_named_is_refused(registry, policy, keys):
    """Signed by another, or by a key that only another ensemble's rule names, unsigned allowed or not."""
    signed_by(registry, keys[1][1])
    assert "does not name for it" in refusal(registry, policy(named=(0,)))
    assert "does not name for it" in refusal(registry, policy(named=(0,), allow_unsigned=True))


def test_a_threshold_counts_keys(registry, policy, keys):
    """One of two is refused, two of two believed."""
    signed_by(registry, keys[0][1])
    assert "has 1 of the 2 signatures" in refusal(registry, policy(threshold=2))
    signed_by(registry, keys[1][1])
    assert refusal(registry, policy(threshold=2)) == ""


def test_an_altered_payload_is_refused(registry, policy, keys):
    """A payload that says something else under the same signature, and an envelope of another verdict."""
    signed_by(registry, keys[0][1])
    path = registry / ENVELOPE
    good = path.read_bytes()
    document = json.loads(good)
    document["payload"] = document["payload"][:-8] + "AAAA" + document["payload"][-4:]
    path.write_text(json.dumps(document, indent=1) + "\n")
    assert "the payload was altered" in refusal(registry, policy())
    rollback(registry, FR, Who(reason="x"))
    path.write_bytes(good)
    (registry / ENVELOPE.replace(".2.", ".3.")).write_bytes(good)
    assert "signs another verdict" in refusal(registry, policy())


def test_what_has_ended_is_refused(registry, policy, keys):
    """Signatures that expired, and a policy that did, each say so."""
    signed_by(registry, keys[0][1], until=FUTURE)
    assert refusal(registry, policy()) == ""
    assert "expired 2001" in refusal(registry, policy(expires_at_utc=PAST))
    assert refusal(registry, policy(expires_at_utc=FUTURE)) == ""
    (registry / ENVELOPE).unlink()
    signed_by(registry, keys[0][1], until=PAST)
    assert "the signatures on verdict 2" in refusal(registry, policy())
    assert "expired 2001" in refusal(registry, policy())


def test_a_replay_is_refused(registry, policy, keys, runs, tmp_path):
    """Once number 2 was accepted, number 1 is not, though it is whole and signed; a rollback to it is number 3."""
    older = tmp_path / "older"
    promote(load_run(runs["first"]), older, Who(keys=(keys[0][1],)))
    signed_by(registry, keys[0][1])
    assert refusal(older, policy()) == ""
    assert refusal(registry, policy()) == ""
    said = refusal(older, policy())
    assert "older than no. 2, which this machine has accepted: a replay" in said
    assert refusal(older, policy(name="staging")) == ""
    rollback(registry, FR, Who(reason="x", keys=(keys[0][1],)))
    assert refusal(registry, policy()) == ""


def test_a_supersedure_is_remembered(registry, policy, keys, tmp_path):
    """Who has seen that an ensemble went out of service does not accept the state before it again."""
    signed_by(registry, keys[0][1])
    before = shutil.copytree(registry, tmp_path / "before")
    retire(registry, FR, Who(reason="x"))
    assert "is unsigned" in str(loaded(registry, policy()))
    assert "is unsigned" in verify_registry(registry, ensemble=FR, trust=read_trust(policy()))[0].reason
    assert loaded(before, policy()) is None
    signed_by(registry, keys[0][1])
    assert "out of service" in str(loaded(registry, policy()))
    assert "older than no. 3, which this machine has accepted: a replay" in str(loaded(before, policy()))


def loaded(registry, path) -> IntegrityError | None:
    """What the load says, if it refuses."""
    try:
        load_verified(registry, FR, path)
    except IntegrityError as error:
        return error
    return None


def test_two_verdicts_of_one_number_are_refused(registry, policy, runs, tmp_path):
    """A second verdict with the number of the accepted one is refused: one of them was never published."""
    other = tmp_path / "other"
    promote(load_run(runs["second"]), other)
    promote(load_run(runs["first"]), other)
    path = policy(allow_unsigned=True)
    assert refusal(registry, path) == ""
    assert "is not the verdict 2 that this machine has accepted" in refusal(other, path)


def test_verify_compares_and_does_not_note(registry, policy, memory):
    """`verify` of a candidate does not bind this machine to it; a load does."""
    path = policy(allow_unsigned=True)
    verify_registry(registry, trust=read_trust(path))
    assert not memory.exists()
    load_verified(registry, FR, path)
    noted = json.loads((memory / "accepted.json").read_bytes())["accepted"]
    assert noted["production"][FR]["sequence"] == 2


def test_a_floor_needs_no_memory(registry, policy):
    """`min_sequence` refuses what is older on a machine that has seen nothing."""
    assert "older than no. 3, the least" in refusal(registry, policy(allow_unsigned=True, min_sequence=3))
    assert refusal(registry, policy(allow_unsigned=True, min_sequence=2)) == ""


def test_memory_that_cannot_be_read_or_written_is_no_yes(registry, policy, memory):
    """Damaged memory: exit 4; a state folder that cannot be made: exit 3. Never a silent acceptance."""
    path = policy(allow_unsigned=True)
    memory.mkdir()
    (memory / "accepted.json").write_text("{")
    assert "accepted.json" in refusal(registry, path)
    (memory / "accepted.json").unlink()
    for leftover in memory.iterdir():
        leftover.unlink()
    memory.rmdir()
    memory.write_text("a file")
    with pytest.raises(ToolError, match="set ASSAY_STATE_DIR"):
        load_verified(registry, FR, path)


def test_many_readers_remember_the_newest(registry, policy, memory, runs, tmp_path):
    """Loads at once of an older and a newer registry: whatever the order, the newest is what is remembered."""
    older = tmp_path / "older"
    promote(load_run(runs["first"]), older)
    path = policy(allow_unsigned=True)

    def load(folder):
        try:
            load_verified(folder, FR, path)
        except IntegrityError as error:
            assert "a replay" in str(error)  # noqa: PT017 - the older one, after the newer

    threads = [threading.Thread(target=load, args=(folder,)) for folder in [older, registry] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads((memory / "accepted.json").read_bytes())["accepted"]["production"][FR]["sequence"] == 2


WRONG = {
    "absent": lambda p: p.unlink(),
    "not JSON": lambda p: p.write_text("{"),
    "another schema": lambda p: edited(p, lambda d: d.update(schema_version=2)),
    "a field nobody knows": lambda p: edited(p, lambda d: d.update(trust_everybody=True)),
    "an id that is not its key's": lambda p: edited(
        p, lambda d: d["keys"].update({"0" * 64: {"public": "0" * 64}})
    ),
    "a key that it does not hold": lambda p: edited(p, lambda d: d["default"].update(keys=["1" * 64])),
    "no key at all": lambda p: edited(p, lambda d: d["default"].update(keys=[], allow_unsigned=False)),
    "more than there are": lambda p: edited(p, lambda d: d["default"].update(threshold=3)),
    "one key twice": lambda p: edited(
        p, lambda d: d["default"].update(keys=[d["default"]["keys"][0]] * 2, threshold=2)
    ),
    "none": lambda p: edited(p, lambda d: d["default"].update(threshold=0)),
    "an end that is no time": lambda p: edited(p, lambda d: d["default"].update(expires_at_utc="soon")),
    "a name that is a path": lambda p: edited(p, lambda d: d.update(name="../x")),
    "nothing of the ensemble": lambda p: edited(p, lambda d: d.update(default=None)),
}


def edited(path, change) -> None:
    """Change a JSON file."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("what", WRONG)
def test_a_policy_that_cannot_be_believed_refuses_everything(registry, policy, what):
    """A damaged policy is never taken for none."""
    path = policy(allow_unsigned=True)
    WRONG[what](path)
    with pytest.raises(IntegrityError):
        load_verified(registry, FR, path)


def test_the_environment_names_a_policy(registry, policy, monkeypatch):
    """Every load obeys $ASSAY_TRUST_POLICY, without being told; an option comes before it."""
    assert find_trust() is None
    monkeypatch.setenv("ASSAY_TRUST_POLICY", str(policy()))
    with pytest.raises(IntegrityError, match="is unsigned"):
        load_verified(registry, FR)
    monkeypatch.setenv("ASSAY_TRUST_POLICY", str(policy().with_name("absent.json")))
    with pytest.raises(IntegrityError, match="is missing"):
        load_verified(registry, FR)
    load_verified(registry, FR, policy(allow_unsigned=True))


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_a_variable_that_names_nothing_is_an_error(registry, monkeypatch, value, capsys):
    """An empty value is not "no policy": a script that lost its path would believe everything. Exit 2."""
    monkeypatch.setenv("ASSAY_TRUST_POLICY", value)
    for ask in (find_trust, lambda: load_verified(registry, FR)):
        with pytest.raises(ConfigError, match="ASSAY_TRUST_POLICY is set and names no trust policy"):
            ask()
    assert main(["registry", "verify", "--registry", str(registry)]) == 2
    assert "unset the variable" in capsys.readouterr().err


FORGOTTEN = {
    "an empty object": "{}",
    "a version alone": '{"schema_version": 1}',
    "nothing accepted": '{"schema_version": 1, "accepted": {}}',
    "nothing under the name": '{"schema_version": 1, "accepted": {"production": {}}}',
    "no version": '{"accepted": {"production": {}}}',
    "null": '{"schema_version": 1, "accepted": null}',
    "an empty file": "",
    "another kind": "[]",
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_emptied_memory_is_not_a_new_machine(registry, policy, memory, what):
    """The file is written with its first entry: one that holds none has lost it, and is refused."""
    path = policy(allow_unsigned=True)
    load_verified(registry, FR, path)
    (memory / "accepted.json").write_text(FORGOTTEN[what])
    assert "accepted.json" in refusal(registry, path)
    assert (memory / "accepted.json").read_text() == FORGOTTEN[what]


def test_where_a_machine_remembers(tmp_path, monkeypatch):
    """$ASSAY_STATE_DIR, else XDG's state folder, else the home's."""
    assert state_dir({"ASSAY_STATE_DIR": "/a"}).as_posix() == "/a"
    monkeypatch.setattr(user_folders.sys, "platform", "linux")
    assert state_dir({"XDG_STATE_HOME": "/b"}).as_posix() == "/b/vmaf-assay"
    assert state_dir({}).parts[-3:] == (".local", "state", "vmaf-assay")
    monkeypatch.setattr(user_folders.sys, "platform", "win32")
    assert state_dir({"LOCALAPPDATA": "/c"}).as_posix() == "/c/vmaf-assay"
