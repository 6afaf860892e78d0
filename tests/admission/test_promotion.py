"""Promotion: all or nothing, at every point of it; one at a time; never of a HOLD."""

import json
import shutil
import threading

import filelock
import pytest

from tests.crafted import FORECAST, FR, edit_json, held_out_predictions, make_run, reseal_predictions
from tests.registry.conftest import validated
from vmaf_assay.admission import promotion
from vmaf_assay.admission.lifecycle import retire, revalidate, rollback
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.media import files
from vmaf_assay.registry.files import parse
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run


def statuses(folder) -> set[str]:
    """Statuses of a registry's rows and stray files."""
    return {report.status for report in verify_registry(folder)}


def content(folder) -> dict[str, bytes]:
    """Every file of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_rows_flip_together(runs, tmp_path):
    """Six rows become production under one verdict, in sequence, each bound to it."""
    verdict = promote(load_run(runs["first"]), tmp_path / "registry")
    rows = read_registry(tmp_path / "registry").rows
    assert [row.smoke for row in rows] == [False] * 6
    assert {row.verdict for row in rows} == {rows[0].verdict}
    assert sorted(verdict.rows) == [row.id for row in rows]
    assert (verdict.sequence, verdict.previous_verdict_sha256) == (1, None)
    assert statuses(tmp_path / "registry") == {"production"}


def test_the_chain_of_verdicts(promoted):
    """A second verdict names the first by digest; the plain file is the current one."""
    plain = promoted / f"{FR}_seed_flip_PROMOTE.json"
    first = (promoted / f"{FR}_seed_flip_PROMOTE.1.json").read_bytes()
    current = load_verified(promoted, FR).verdict
    assert plain.read_bytes() == (promoted / f"{FR}_seed_flip_PROMOTE.2.json").read_bytes()
    assert current.sequence == 2
    assert current.previous_verdict_sha256 == files.sha256_bytes(first)


def test_a_hold_is_never_promoted(runs, promoted, tmp_path):
    """A HOLD is refused, and the registry is left byte for byte as it was."""
    registry = shutil.copytree(promoted, tmp_path / "registry")
    with pytest.raises(ConfigError, match="HOLD"):
        promote(load_run(runs["hold"]), registry)
    assert content(registry) == content(promoted)


def test_a_hold_renamed_is_refused(runs, tmp_path):
    """HOLD.json under the name, and with the word, of a PROMOTE is judged again and refused."""
    run = shutil.copytree(runs["hold"], tmp_path / "run")
    (run / "HOLD.json").rename(run / "PROMOTE.json")
    with pytest.raises(ConfigError, match="HOLD"):
        promote(load_run(run), tmp_path / "registry")
    edit_json(run / "PROMOTE.json", lambda d: d.update(verdict="PROMOTE", reasons=[]))
    with pytest.raises(IntegrityError, match="is not what PROMOTE"):
        promote(load_run(run), tmp_path / "registry")
    assert not (tmp_path / "registry" / "registry.json").exists()


def test_a_run_without_a_verdict_is_refused(tmp_path):
    """Promotion never judges in place of `validate`."""
    run = make_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="no verdict"):
        promote(load_run(run), tmp_path / "registry")


@pytest.mark.parametrize(
    "field", ["generated_at_utc", "gate", "members", "rows", "predictions_sha256", "coverage"]
)
def test_a_verdict_of_another_run_is_refused(runs, tmp_path, field):
    """A PROMOTE taken from a better run is judged again and refused; only when it was said is free."""
    other = load_run(runs["second"])
    run = shutil.copytree(runs["first"], tmp_path / "run")
    theirs = files.read_json_strict(other.folder / "PROMOTE.json")
    edit_json(run / "PROMOTE.json", lambda d: d.update({field: theirs[field]}))
    if field == "generated_at_utc":
        assert promote(load_run(run), tmp_path / "registry").sequence == 1
        return
    with pytest.raises(IntegrityError, match="is not what PROMOTE"):
        promote(load_run(run), tmp_path / "registry")


def test_a_stale_verdict_is_refused(runs, tmp_path):
    """New predictions under an old PROMOTE: the digest says so."""
    run = shutil.copytree(runs["first"], tmp_path / "run")
    reseal_predictions(run, held_out_predictions(draw=9))
    with pytest.raises(IntegrityError, match="is not what PROMOTE"):
        promote(load_run(run), tmp_path / "registry")


def test_a_moved_run_is_still_itself(runs, tmp_path):
    """A run may be copied elsewhere between `validate` and `promote`."""
    run = shutil.copytree(runs["first"], tmp_path / "another name")
    assert promote(load_run(run), tmp_path / "registry").sequence == 1


def test_promoting_twice_changes_nothing(runs, tmp_path):
    """The same verdict again is answered with what is filed already."""
    registry = tmp_path / "registry"
    first = promote(load_run(runs["first"]), registry)
    before = content(registry)
    assert promote(load_run(runs["first"]), registry) == first
    assert content(registry) == before


def test_an_edited_row_is_repaired_by_a_fresh_promotion(promoted, runs, tmp_path):
    """The invariant's way out: after an edit, promoting again files a new verdict with the next number."""
    registry = shutil.copytree(promoted, tmp_path / "registry")
    content_ = read_registry(registry)
    rows = [row.model_copy(update={"notes": "edited"}) if FR in row.id else row for row in content_.rows]
    files.write_bytes_atomic(registry / "registry.json", type(content_)(rows=rows).to_bytes())
    assert "refused" in statuses(registry)
    assert promote(load_run(runs["second"]), registry).sequence == 3
    assert statuses(registry) == {"production"}


def test_a_broken_neighbour_stops_a_promotion(promoted, runs, tmp_path):
    """Nothing is written into a registry in which another ensemble does not verify."""
    registry = shutil.copytree(promoted, tmp_path / "registry")
    model = registry / read_registry(registry).row(f"{FORECAST}_seed0").onnx
    model.write_bytes(model.read_bytes()[:-1])
    before = content(registry)
    with pytest.raises(IntegrityError, match="the registry does not verify"):
        promote(load_run(runs["first"]), registry)
    assert content(registry) == before


class Killed(BaseException):
    """As sudden as a kill: no handler of the package catches it."""


def killed_at(monkeypatch, n_th: int) -> list[str]:
    """From now on the n-th atomic write raises instead of writing; returns the names written so far."""
    written: list[str] = []
    write = files.write_bytes_atomic

    def counted(path, data):
        if len(written) == n_th:
            raise Killed
        written.append(path.name)
        write(path, data)

    monkeypatch.setattr(files, "write_bytes_atomic", counted)
    monkeypatch.setattr(promotion, "write_bytes_atomic", counted)
    return written


WRITES = 6 + 6 + 1 + 3 + 1 + 1 + 1
"""Models, sidecars, predictions, numbered verdict, registry.json, plain verdict."""


@pytest.mark.parametrize("n_th", range(WRITES + 1))
def test_a_kill_at_any_write_leaves_the_old_or_the_new(promoted, runs, tmp_path, monkeypatch, n_th):
    """Replacing: after a kill at any write the registry verifies as it was or as it will be; a retry ends it."""
    run = load_run(validated(make_run(tmp_path / "run", corpus="third", weights_of=lambda seed: seed + 70)))
    registry = shutil.copytree(promoted, tmp_path / "registry")
    with monkeypatch.context() as patch:
        written = killed_at(patch, n_th)
        if n_th == WRITES:
            promote(run, registry)
        else:
            with pytest.raises(Killed):
                promote(run, registry)
    assert len(written) == n_th
    committed = "registry.json" in written
    assert load_verified(registry, FR).verdict.sequence == (3 if committed else 2)
    assert statuses(registry) <= {"production", "leftover"}
    promote(run, registry)
    after = load_verified(registry, FR).verdict
    assert after.corpus["digest"] == files.sha256_bytes(b"third")
    assert (registry / f"{FR}_seed_flip_PROMOTE.json").read_bytes() == (
        registry / f"{FR}_seed_flip_PROMOTE.{after.sequence}.json"
    ).read_bytes()
    assert statuses(registry) <= {"production", "leftover"}
    assert load_verified(registry, FORECAST).verdict.sequence == 1


@pytest.mark.parametrize("n_th", range(WRITES + 1))
def test_a_kill_of_the_first_promotion_leaves_nothing_or_all(runs, tmp_path, monkeypatch, n_th):
    """Into an empty folder: before the commit nothing loads, after it everything does, and a retry ends it."""
    registry = tmp_path / "registry"
    with monkeypatch.context() as patch:
        written = killed_at(patch, n_th)
        with pytest.raises(Killed):
            promote(load_run(runs["first"]), registry)
    assert len(written) == n_th
    if "registry.json" in written:
        assert load_verified(registry, FR).verdict.sequence == 1
        assert statuses(registry) == {"production"}
    else:
        with pytest.raises(IntegrityError, match=r"registry\.json is missing"):
            load_verified(registry, FR)
    promote(load_run(runs["first"]), registry)
    assert statuses(registry) <= {"production", "leftover"}
    assert load_verified(registry, FR).confidence_eligible


def test_another_run_can_follow_a_killed_first_promotion(runs, tmp_path, monkeypatch):
    """A number that was written is not given twice, and what was left over stays harmless."""
    registry = tmp_path / "registry"
    with monkeypatch.context() as patch:
        killed_at(patch, 18)
        with pytest.raises(Killed):
            promote(load_run(runs["first"]), registry)
    verdict = promote(load_run(runs["second"]), registry)
    assert (verdict.sequence, verdict.previous_verdict_sha256) == (2, None)
    assert statuses(registry) == {"production", "leftover"}
    assert load_verified(registry, FR).verdict == verdict


def test_a_disk_error_leaves_the_old(promoted, runs, tmp_path, monkeypatch):
    """A write that fails for want of space is a ToolError, and the registry still verifies."""
    registry = shutil.copytree(promoted, tmp_path / "registry")

    def full(path, _data):
        raise ToolError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(promotion, "write_bytes_atomic", full)
    with pytest.raises(ToolError, match="No space left"):
        promote(load_run(runs["first"]), registry)
    assert content(registry) == content(promoted)


def test_two_promoters(runs, tmp_path):
    """Two at once, different runs: both are filed, one after the other, and the registry verifies."""
    registry = tmp_path / "registry"
    evidence = [load_run(runs[name]) for name in ("first", "second")]
    start = threading.Barrier(2)
    found = []

    def one(run):
        start.wait()
        found.append(promote(run, registry).sequence)

    threads = [threading.Thread(target=one, args=(run,)) for run in evidence]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2]
    assert statuses(registry) == {"production"}
    assert load_verified(registry, FR).verdict.sequence == 2


def test_a_registry_changed_meanwhile_is_not_overwritten(promoted, runs, tmp_path, monkeypatch):
    """Compare and swap: a writer that ignores the lock is noticed before the commit."""
    registry = shutil.copytree(promoted, tmp_path / "registry")
    verify_row = promotion.verify_row

    def meddled(*args):
        (registry / "registry.json").write_bytes(b'{"schema_version": 1, "rows": []}')
        return verify_row(*args)

    monkeypatch.setattr(promotion, "verify_row", meddled)
    with pytest.raises(IntegrityError, match="changed while promoting"):
        promote(load_run(runs["first"]), registry)
    assert (registry / "registry.json").read_bytes() == b'{"schema_version": 1, "rows": []}'


def test_a_held_lock_is_a_tool_error(runs, tmp_path, monkeypatch):
    """A promotion that cannot get the lock says so and writes nothing."""
    monkeypatch.setattr(promotion, "LOCK_TIMEOUT_S", 0.1)
    registry = tmp_path / "registry"
    registry.mkdir()
    with filelock.FileLock(registry / ".lock"), pytest.raises(ToolError, match="has been locked"):
        promote(load_run(runs["first"]), registry)
    assert content(registry) == {}


STRAYS = {
    "a number without end": (f"{FR}_seed_flip_PROMOTE.999999999999999998.json", None),
    "a number of seven digits": (f"{FR}_seed_flip_PROMOTE.1000000.json", None),
    "a gap": (f"{FR}_seed_flip_PROMOTE.999999.json", {"sequence": 999999}),
    "another number inside": (f"{FR}_seed_flip_PROMOTE.3.json", {"sequence": 4}),
    "another ensemble inside": (f"{FR}_seed_flip_PROMOTE.3.json", {"sequence": 3, "ensemble": FORECAST}),
    "no verdict": (f"{FR}_seed_flip_PROMOTE.3.json", None),
    "a leading zero": (f"{FR}_seed_flip_PROMOTE.03.json", None),
    "a model of another content": (f"{FR}_seed0.0123456789ab.onnx", None),
    "a script": (f"{FR}_notes.sh", None),
}


@pytest.mark.parametrize("what", STRAYS)
def test_an_unexpected_file_stops_every_act(registry, runs, what):
    """A file that no act leaves is refused before an act, and named: none of them takes its number or keeps it."""
    name, changes = STRAYS[what]
    verdict = json.loads((registry / f"{FR}_seed_flip_PROMOTE.2.json").read_bytes())
    (registry / name).write_text("{}" if changes is None else json.dumps(verdict | changes))
    before = content(registry)
    for act in (
        lambda: promote(load_run(runs["first"]), registry),
        lambda: rollback(registry, FR, Who()),
        lambda: retire(registry, FR, Who()),
        lambda: revalidate(registry, FR, Who()),
    ):
        with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
            act()
    assert content(registry) == before
    (registry / name).unlink()
    assert rollback(registry, FR, Who()).sequence == 3


def test_numbers_that_killed_acts_left_are_skipped(registry, runs):
    """Verdicts of acts that were killed before their commit stay, and the next act takes the number after them."""
    data = (registry / f"{FR}_seed_flip_PROMOTE.2.json").read_bytes()
    for number in (3, 4):
        left = parse(Verdict, data, registry).model_copy(update={"sequence": number})
        (registry / f"{FR}_seed_flip_PROMOTE.{number}.json").write_bytes(left.to_bytes())
    assert promote(load_run(runs["first"]), registry).sequence == 5
    assert rollback(registry, FR, Who()).sequence == 6


def test_a_lock_that_is_a_link_is_refused(registry, runs, tmp_path):
    """Taking the lock would empty the link's target."""
    target = tmp_path / "target"
    target.write_text("content")
    (registry / ".lock").unlink(missing_ok=True)
    (registry / ".lock").symlink_to(target)
    with pytest.raises(IntegrityError, match=r"lock file .* is a symbolic link"):
        promote(load_run(runs["first"]), registry)
    assert target.read_text() == "content"


def test_the_last_number_is_said(registry, runs, monkeypatch):
    """An ensemble that has had every number is refused in one line, and nothing is written."""
    monkeypatch.setattr(promotion, "MAX_SEQUENCE", 2)
    before = content(registry)
    with pytest.raises(ConfigError, match="has had 2 verdicts; promote into a new registry"):
        promote(load_run(runs["first"]), registry)
    assert content(registry) == before
