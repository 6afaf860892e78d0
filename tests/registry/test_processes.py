"""Real processes: killed at every write, or many at once, they leave one order and nothing between two states."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crafted import FR, held_out_predictions, make_run
from tests.registry.conftest import validated
from tests.registry.killed import do
from vmaf_assay.errors import IntegrityError
from vmaf_assay.registry.entries import history
from vmaf_assay.registry.store import load_verified
from vmaf_assay.registry.verify import verify_registry

ROOT = Path(__file__).parents[2]
MODELS, SIDECARS, PREDICTIONS, TIE, VERDICT, ENVELOPE, REGISTRY, PLAIN = 6, 6, 1, 3, 1, 1, 1, 1
WRITES = {
    "sign": ENVELOPE,
    "rollback": VERDICT + ENVELOPE + REGISTRY + PLAIN,
    "retire": VERDICT + ENVELOPE + REGISTRY + PLAIN,
    "revalidate": VERDICT + ENVELOPE + REGISTRY + PLAIN,
    "promote": MODELS + SIDECARS + PREDICTIONS + TIE + VERDICT + ENVELOPE + REGISTRY + PLAIN,
}
"""Files that each act writes; it can be killed before each is made durable, and before each is renamed."""
MOVED_BEFORE = {"rollback": MODELS + SIDECARS + PREDICTIONS + TIE}
MOVED_AFTER = {act: MODELS + SIDECARS + PREDICTIONS + TIE for act in ("rollback", "promote")}
"""Files that each act renames from the history before its commit, and into it afterwards."""


def points_of(act: str) -> tuple[int, int]:
    """Point of an act's commit, and the first point at which it is over."""
    before, writes = MOVED_BEFORE.get(act, 0), 2 * WRITES[act]
    last = before + writes + MOVED_AFTER.get(act, 0)
    return (last if act == "sign" else before + writes - 2 * PLAIN), last


def processes_killed(act, template, out, run, key, points: Iterable[int]) -> dict[int, str]:
    """What became of `act` at each point."""
    argv = [
        sys.executable,
        "-m",
        "tests.registry.killed",
        act,
        *map(str, (template, out, run, key)),
        *map(str, points),
    ]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"PYTHONPATH": path()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {int(line.split()[0]): line.split()[1] for line in done.stdout.splitlines()}


def path() -> str:
    """This package and these tests, for another Python."""
    return os.pathsep.join([str(ROOT / "src"), str(ROOT)])


def state(registry) -> tuple[int, bool]:
    """Number of the verdict in force, and whether it is served. Everything in the registry must verify."""
    reports = verify_registry(registry)
    assert [report.reason for report in reports if report.status == "refused"] == []
    try:
        served = load_verified(registry, FR).verdict.sequence
    except IntegrityError as error:
        assert "out of service" in str(error)  # noqa: PT017 - a supersedure that was committed
        return history(registry, FR)[0].verdict.sequence, False
    return served, True


def check_every_kill(act, template, run, key, tmp_path, points) -> None:
    """At each point the old state or the new one, and the act done again ends in the new one."""
    commit_at, last = points_of(act)
    became = processes_killed(act, template, tmp_path, run, key, points)
    assert became == {point: "done" if point >= last else "killed" for point in points}
    for point in points:
        registry = tmp_path / str(point)
        committed = point >= commit_at
        signed = bool(history(registry, FR)[0].signed_by)
        if act == "sign":
            assert state(registry) == (2, True)
            assert signed == committed
        else:
            assert state(registry) == ((3, act != "retire") if committed else (2, True))
            assert signed == committed
        if committed and act in ("rollback", "retire"):
            continue  # done again it is refused: there is nothing left to do
        do(act, registry, run, key)
        number, served = state(registry)
        assert served == (act != "retire")
        assert history(registry, FR)[0].signed_by
        assert number >= (2 if act == "sign" else 3)


@pytest.fixture
def key(keys) -> Path:
    """A private key's folder."""
    return keys[0][0]


@pytest.fixture(scope="session")
def third(tmp_path_factory) -> Path:
    """A run that nobody promoted yet."""
    folder = tmp_path_factory.mktemp("third") / "run"
    return validated(make_run(folder, corpus="third", weights_of=lambda seed: seed + 70))


def test_a_killed_rollback_and_signature(promoted, third, key, tmp_path):
    """A process that signs or rolls back, killed before the commit and after it: the old state or the new."""
    check_every_kill("rollback", promoted, third, key, tmp_path / "rollback", (5, 17, 21, 22, 23, 28, 40))
    check_every_kill("sign", promoted, third, key, tmp_path / "sign", (0, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("act", WRITES)
def test_an_act_killed_between_any_two_writes(promoted, third, key, tmp_path, act):
    """Every act, killed before every fsync and every rename: the old state or the new, never between."""
    check_every_kill(act, promoted, third, key, tmp_path, range(points_of(act)[1] + 1))


@pytest.mark.slow
def test_a_first_promotion_killed_between_any_two_writes(third, key, tmp_path):
    """Into an empty folder: nothing loads, or everything does, and a retry ends it."""
    last = 2 * (WRITES["promote"] + PLAIN)  # the plain copy comes before the commit as well
    became = processes_killed("promote", tmp_path / "absent", tmp_path, third, key, range(last + 1))
    assert [point for point, what in became.items() if what == "done"] == [last]
    for point in became:
        registry = tmp_path / str(point)
        if point >= last - 2 * PLAIN:
            assert load_verified(registry, FR).verdict.sequence == 1
        else:
            with pytest.raises(IntegrityError, match=r"registry\.json is missing"):
                load_verified(registry, FR)
        do("promote", registry, third, key)
        assert state(registry)[1]


def promote_at_once(folder: Path, n: int, *options: str) -> None:
    """Promote `n` different runs at once, each in a process of its own, and check that one order came of it."""
    folder.mkdir()
    runs = []
    for at in range(n):
        table = held_out_predictions(n_groups=4, draw=at)
        run = make_run(
            folder / f"run{at}", predictions=table, corpus=f"corpus {at}", weights_of=lambda s, at=at: s + 10 * at
        )
        runs.append(validated(run))
    registry = folder / "registry"

    def one(run):
        argv = [
            sys.executable,
            "-m",
            "vmaf_assay",
            "promote",
            str(run),
            "--registry",
            str(registry),
            "--json",
            *options,
        ]
        return subprocess.run(argv, env=os.environ | {"PYTHONPATH": path()}, capture_output=True, text=True)

    with ThreadPoolExecutor(n) as pool:
        ended = list(pool.map(one, runs))
    filed = {json.loads(one.stdout)["sequence"]: at for at, one in enumerate(ended) if one.returncode == 0}
    lost = [one for one in ended if one.returncode != 0]
    assert [one.stderr for one in lost if one.returncode != 3 or "nothing was changed" not in one.stderr] == []
    assert len(filed) + len(lost) == n
    assert filed
    entries = history(registry, FR)
    assert [entry.verdict.sequence for entry in entries] == list(range(len(filed), 0, -1))
    for entry in entries:
        document = json.loads((runs[filed[entry.verdict.sequence]] / "run.json").read_bytes())
        assert entry.verdict.corpus["digest"] == document["corpus"]["digest"]
    assert [entry.verdict.previous_verdict_sha256 for entry in entries] == [*(e.sha256 for e in entries[1:]), None]
    assert {report.status for report in verify_registry(registry)} == {"production"}
    assert load_verified(registry, FR).verdict.sequence == len(filed)


def test_a_few_promoters_at_once(tmp_path):
    """Three processes: all are filed, in one order."""
    promote_at_once(tmp_path / "few", 3)
    assert len(history(tmp_path / "few" / "registry", FR)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("wait_s", ["600", "2"])
def test_fifty_promoters_at_once(tmp_path, wait_s):
    """Fifty processes: one order, none lost; who cannot wait is told that nothing was changed, exit 3."""
    promote_at_once(tmp_path / "fifty", 50, "--wait", wait_s)
    if wait_s == "600":
        assert len(history(tmp_path / "fifty" / "registry", FR)) == 50
