"""The store of outcomes: what goes in comes out, once, whoever is killed, and nobody else can change it."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.outcomes.made import DELIVERED, FORECASTED, outcome
from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.outcomes.record import Outcome
from vmaf_assay.outcomes.recorder import Recorder, keyed
from vmaf_assay.outcomes.store import FILE, OutcomeStore


def test_what_goes_in_comes_out(tmp_path):
    """Every field of every kind of outcome is read as it was written, in order of arrival."""
    put = [
        outcome(1),
        outcome(1, kind="trial", promised=False, measured=92.0, trials=0),
        outcome(2, host=7, day="2026-12-01", kind="scene", span=(9, 48), forecasted=replace(FORECASTED, width=2)),
        outcome(3, plain=False, promised=False, whole=False, tools=()),
    ]
    with OutcomeStore(tmp_path) as store:
        assert store.add(put) == 4
        assert list(store.outcomes()) == put
        assert store.of_source(put[0].source) == put[:2]
        assert store.of_id(put[2].id[:10]) == [put[2]]
        assert store.newest(2) == put[:1:-1]
    with OutcomeStore(tmp_path) as again:
        assert list(again.outcomes()) == put


def test_the_same_measurement_is_one_outcome(tmp_path):
    """An answer from the cache on another day, or from another machine, adds nothing; another result does."""
    with OutcomeStore(tmp_path) as store:
        assert store.add([outcome(1), outcome(1, day="2026-12-01"), outcome(1, host=3)]) == 1
        assert store.add([outcome(1, measured=93.5)]) == 1
        assert len(store) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": 100.5},
        {"measured": float("nan")},
        {"forecast": float("inf")},
        {"confidence": 1.0},
        {"kind": "other"},
        {"measurand": "psnr mean 8-bit"},
        {"kbps": -1.0},
        {"forecasted": replace(FORECASTED, sigma=(0.1,))},
        {"forecasted": replace(FORECASTED, rate_values=(22.0, 14.0, 30.0, 38.0))},
    ],
)
def test_an_invalid_outcome_is_refused_with_its_whole_batch(tmp_path, changes):
    """A value out of range records nothing, not even the valid outcome before it."""
    with OutcomeStore(tmp_path) as store:
        with pytest.raises(CorpusError, match="is invalid"):
            store.add([outcome(1), outcome(2, **changes)])
        assert len(store) == 0
        assert store.add([outcome(1)]) == 1  # the names of the failed batch are not taken for known


def test_a_title_bets_once_in_each_stream(tmp_path):
    """Of one source, only the first promise of each encoder, target and calibration counts."""
    put = [
        outcome(1),
        outcome(1, target=90.0),
        outcome(1, encoder="libx265"),
        outcome(1, encoder="libx265", target=90.0, measured=92.5),
        outcome(2, promised=False),
        outcome(1, calibration="d" * 64),
    ]
    with OutcomeStore(tmp_path) as store:
        store.add(put[:2])
        store.add(put[2:])
        counted = {(t.encoder, t.target): t.counts for t in store.tallies("c" * 64)}
        assert counted == {
            ("libx264", 93.0): 1 + 2 + 4 + 8,
            ("libx264", 90.0): 4,
            ("libx265", 93.0): 2,
            ("libx265", 90.0): 0,
        }
        assert [t.counts for t in store.tallies("d" * 64)] == [15]
        store.forget(before="2026-12-01")
        assert store.tallies("c" * 64) == []


def test_forgotten_is_gone_from_the_file(tmp_path):
    """Erasing a source leaves no byte of it in any file of the store, and the rest stays."""
    gone, stays = outcome(0xABCDEF0123456789), outcome(2, forecasted=replace(FORECASTED, n_frames=99))
    with OutcomeStore(tmp_path) as store:
        store.add([gone, stays])
        assert store.forget(source=gone.source) == 1
        assert list(store.outcomes()) == [stays]
        assert store.forgotten == 1
        left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert bytes.fromhex(gone.source) not in left
    assert bytes.fromhex(gone.delivered.forecasted.digest()) not in left
    assert bytes.fromhex(stays.source) in left


def test_merging_loses_nothing_and_can_be_repeated(tmp_path):
    """Folders of a farm merge into the union, in any order, and once more without effect."""
    for name, numbers in {"a": range(5), "b": range(3, 9), "c": range(20, 22)}.items():
        with OutcomeStore(tmp_path / name) as store:
            store.add(outcome(number, host=ord(name)) for number in numbers)
    with OutcomeStore(tmp_path / "all") as store:
        assert store.merge(tmp_path / "b") == (6, 6)
        assert store.merge(tmp_path / "a") == (5, 3)
        assert store.merge(tmp_path / "c" / FILE) == (2, 2)
        assert {one.source for one in store.outcomes()} == {f"{n:032x}" for n in (*range(9), 20, 21)}
        assert store.merge(tmp_path / "a") == (5, 0)
        with pytest.raises(ConfigError, match="the store itself"):
            store.merge(tmp_path / "all")
        with pytest.raises(ConfigError, match="holds no"):
            store.merge(tmp_path / "nothing")


def test_a_store_that_is_being_written_can_be_merged(tmp_path):
    """What another process has committed is in its log, not yet in its file; a merge takes it."""
    with OutcomeStore(tmp_path / "live") as live, OutcomeStore(tmp_path / "all") as store:
        live.add([outcome(1)])
        assert (tmp_path / "live" / f"{FILE}-wal").stat().st_size > 0
        assert store.merge(tmp_path / "live") == (1, 1)


@pytest.mark.parametrize("damage", ["text", "other tables", "view", "value", "page"])
def test_what_is_no_store_is_refused(tmp_path, damage):
    """A file that is no store, has further objects, or holds an invalid value merges nothing."""
    theirs = tmp_path / "theirs"
    with OutcomeStore(theirs) as store:
        store.add(outcome(number) for number in range(200))
    path = theirs / FILE
    if damage == "text":
        path.write_text("no store")
    elif damage == "page":
        data = bytearray(path.read_bytes())
        data[8192:] = b"\xff" * (len(data) - 8192)
        path.write_bytes(data)
    else:
        sql = {
            "other tables": "CREATE TABLE more (x)",
            "view": "CREATE VIEW more AS SELECT 1",
            "value": "UPDATE outcomes SET measured = 200 WHERE seq = 150",
        }[damage]
        with sqlite3.connect(path) as db:
            db.execute(sql)
        db.close()
    with OutcomeStore(tmp_path / "mine") as store:
        with pytest.raises(CorpusError):
            store.merge(theirs)
        assert len(store) == 0
    if damage in ("text", "other tables"):
        with pytest.raises(CorpusError, match="not a store of outcomes"):
            OutcomeStore(theirs)


def test_a_later_release_is_not_touched(tmp_path):
    """A store of a later schema is refused as such."""
    OutcomeStore(tmp_path).close()
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(ConfigError, match="later release"):
        OutcomeStore(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_store_that_others_can_change_is_refused(tmp_path):
    """Others' write access to the folder or the file, or a link in its place, is refused with the next step."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="others can write"):
        OutcomeStore(folder)
    folder.chmod(0o700)
    with OutcomeStore(folder) as store:
        store.add([outcome(1)])
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    (folder / FILE).chmod(0o666)
    with pytest.raises(ConfigError, match="--no-outcomes"):
        OutcomeStore(folder)
    (folder / FILE).rename(tmp_path / "elsewhere")
    (folder / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link"):
        OutcomeStore(folder)


def test_two_processes_write_one_store(tmp_path):
    """Writers wait for each other; every outcome of each is there, and no title bets twice."""
    command = [sys.executable, "-m", "tests.outcomes.writer", str(tmp_path)]
    running = [subprocess.Popen([*command, first, "30"], stdout=subprocess.DEVNULL) for first in ("0", "20")]
    assert [one.wait() for one in running] == [0, 0]
    with OutcomeStore(tmp_path) as store:
        assert {int(one.source, 16) for one in store.outcomes()} == set(range(50))
        assert [(t.counts, t.n) for t in store.tallies("c" * 64)] == [(15, 50)]


def kill_writers(folder, times: int, seed: int) -> None:
    """SIGKILL a writer so many times, each at a random moment; check what is there after each."""
    rng, said = random.Random(seed), set()
    for number in range(times):
        first = number * 1000
        command = [sys.executable, "-m", "tests.outcomes.writer", str(folder), str(first), "1000"]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        printed = [writer.stdout.readline() for _ in range(rng.randrange(1, 12))]
        time.sleep(rng.random() * 0.004)
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        lines = "".join(printed) + rest
        complete = lines[: lines.rfind("\n") + 1].split()
        said |= set(map(int, complete))
        with OutcomeStore(folder) as store:
            found = {int(one.source, 16) for one in store.outcomes()}
            assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert said <= found
        assert len(found - said) <= number + 1  # at most the one in flight of each
        said = found


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_writer_loses_only_the_record_in_flight(tmp_path):
    """Whatever a writer said to have recorded before SIGKILL is in the store, which is whole."""
    kill_writers(tmp_path, 3, seed=1)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_two_hundred_killed_writers_lose_only_the_record_in_flight(tmp_path):
    """Likewise, 200 times."""
    kill_writers(tmp_path, 200, seed=2)


def test_a_source_is_kept_as_a_keyed_digest(tmp_path):
    """Two stores know the same file by different digests; within one store it is one source."""
    source, notes = tmp_path / "title.mkv", []
    digests = []
    for name in ("a", "b"):
        with OutcomeStore(tmp_path / name) as store:
            recorder = Recorder(store, lambda _: "f" * 64, notes.append)
            recorder.record(source, DELIVERED)
            recorder.record(source, replace(DELIVERED, measured=95.0))
            (digest,) = {one.source for one in store.outcomes()}
            assert digest == keyed(store.salt, "f" * 64, 32)
            digests.append(digest)
            text = json.dumps([one.as_json() for one in store.outcomes()])
            assert "title" not in text
            assert store.salt.hex() not in text
    assert digests[0] != digests[1]
    assert notes == []


def test_a_failed_record_is_a_note(tmp_path):
    """A source that cannot be read any more, or a full disk, ends no tune; it is said."""

    def gone(path):
        raise FileNotFoundError(2, "No such file", str(path))

    notes = []
    with OutcomeStore(tmp_path) as store:
        Recorder(store, gone, notes.append).record(tmp_path / "gone.mkv", DELIVERED)
        assert len(store) == 0
    assert len(notes) == 1
    assert "not recorded among the outcomes" in notes[0]


def test_an_id_is_of_the_facts(tmp_path):
    """Any change of a measured or promised fact is another outcome."""
    first = outcome(1)
    others = [outcome(2), outcome(1, rate_value=25.0), outcome(1, tools=()), outcome(1, span=(0, 24))]
    assert len({one.id for one in [first, *others]}) == 5
    assert Outcome(first.source, "0" * 16, "2020-01-01", first.delivered).id == first.id
