"""After a promotion: every act is a new number in the same chain, and the invariant has no exception."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.crafted import FORECAST, FR, edit_json
from vmaf_assay import __version__
from vmaf_assay.admission import judge as judging
from vmaf_assay.admission import lifecycle, promotion
from vmaf_assay.admission.lifecycle import retire, revalidate, rollback
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError, IntegrityError, ToolError
from vmaf_assay.media.files import sha256_bytes, write_bytes_atomic
from vmaf_assay.registry.entries import Entry, history
from vmaf_assay.registry.files import parse
from vmaf_assay.registry.history import bound_files
from vmaf_assay.registry.manifest import Registry
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run

WHY = Who(by="ada@example.org", reason="misses on film grain")


def statuses(folder, ensemble=None) -> set[str]:
    """Statuses of a registry's rows and stray files."""
    return {report.status for report in verify_registry(folder, ensemble=ensemble)}


def content(folder) -> dict[str, bytes]:
    """Every file of a folder but its lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def models_of(folder) -> dict[str, str]:
    """Digest of every regressor's model that is served."""
    return {row.id: row.sha256 for row in read_registry(folder).rows if row.id.startswith(FR)}


def test_a_rollback_is_a_new_number_in_the_chain(registry, runs, tmp_path):
    """What the first verdict admitted is served again, under number 3, which names 2 and returns to 1."""
    only_first = tmp_path / "first"
    promote(load_run(runs["first"]), only_first)
    before = content(registry)
    verdict = rollback(registry, FR, WHY)
    assert (verdict.sequence, verdict.act.kind, verdict.act.returns_to.sequence) == (3, "rollback", 1)
    assert (verdict.act.by, verdict.act.reason) == ("ada@example.org", "misses on film grain")
    assert verdict.previous_verdict_sha256 == sha256_bytes(before[f"{FR}_seed_flip_PROMOTE.2.json"])
    assert models_of(registry) == models_of(only_first)
    assert load_verified(registry, FR).verdict == verdict
    assert statuses(registry) == {"production"}
    held = {name.removeprefix("history/"): data for name, data in before.items()}
    changed = {name for name, data in content(registry).items() if held.get(name.removeprefix("history/")) != data}
    assert changed == {"registry.json", f"{FR}_seed_flip_PROMOTE.3.json", f"{FR}_seed_flip_PROMOTE.json"}


def test_where_a_rollback_goes(registry):
    """By default before what is in force, never back to what was left; with --to anywhere that came in."""
    assert rollback(registry, FR, WHY).act.returns_to.sequence == 1
    with pytest.raises(ConfigError, match=r"has no verdict before 1.*--to \(2, 1\)"):
        rollback(registry, FR, WHY)
    with pytest.raises(ConfigError, match="verdict 1 is in force already"):
        rollback(registry, FR, WHY, to=1)
    with pytest.raises(ConfigError, match="no verdict 3 on"):
        rollback(registry, FR, WHY, to=3)
    forward = rollback(registry, FR, WHY, to=2)
    assert (forward.sequence, forward.act.returns_to.sequence) == (4, 2)
    assert rollback(registry, FR, WHY).act.returns_to.sequence == 1
    assert statuses(registry) == {"production"}


@pytest.mark.parametrize("what", [f"{FR}_seed0.*.onnx", f"{FR}_predictions.*.parquet", f"{FR}_mean.*.json"])
def test_a_rollback_needs_what_it_returns_to(registry, runs, tmp_path, what):
    """A file of the earlier verdict that changed since is refused, and the state in force stays."""
    promote(load_run(runs["first"]), tmp_path / "first")
    (old,) = [registry / "history" / path.name for path in (tmp_path / "first").glob(what)]
    old.write_bytes(old.read_bytes()[:-1])
    before = content(registry)
    with pytest.raises(IntegrityError, match="does not match its digest"):
        rollback(registry, FR, WHY)
    assert content(registry) == before


def forged(registry, change) -> None:
    """Edit the newest verdict, a rollback, and adjust every digest that names it."""
    name = f"{FR}_seed_flip_PROMOTE"
    edit_json(registry / f"{name}.3.json", change)
    data = (registry / f"{name}.3.json").read_bytes()
    (registry / f"{name}.json").write_bytes(data)
    rows = [
        row.model_copy(update={"verdict": row.verdict.model_copy(update={"sha256": sha256_bytes(data)})})
        if row.id.startswith(FR)
        else row
        for row in read_registry(registry).rows
    ]
    write_bytes_atomic(registry / "registry.json", Registry(rows=rows).to_bytes())


FORGERIES = {
    "to a verdict that admitted others": lambda d: d["act"]["returns_to"].update(sequence=2),
    "to a digest that is none": lambda d: d["act"]["returns_to"].update(sha256="0" * 64),
    "to nothing": lambda d: d["act"].update(returns_to=None),
    "that is called a promotion": lambda d: d["act"].update(kind="promote"),
    "that is called a supersedure": lambda d: d["act"].update(kind="supersede", returns_to=None),
    "that brings its own environment": lambda d: d["environment"].update(python="9"),
    "that is out of service": lambda d: d.update(verdict="SUPERSEDED"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_rollback_admits_only_what_was_admitted(registry, what):
    """A forged rollback, all digests adjusted, is refused by `verify` and by the load."""
    rollback(registry, FR, WHY)
    forged(registry, FORGERIES[what])
    assert statuses(registry, FR) == {"refused"}
    with pytest.raises(IntegrityError):
        load_verified(registry, FR)


def test_supersede_takes_out_of_service(registry, runs):
    """No consumer gets it, the reason is said, the neighbour stays, and the history is whole."""
    verdict = retire(registry, FR, WHY)
    assert (verdict.sequence, verdict.verdict, verdict.act.kind) == (3, "SUPERSEDED", "supersede")
    assert statuses(registry, FR) == {"superseded"}
    assert statuses(registry, FORECAST) == {"production"}
    assert "leftover" not in statuses(registry)
    with pytest.raises(IntegrityError, match=r"taken out of service .*misses on film grain"):
        load_verified(registry, FR)
    with pytest.raises(ConfigError, match="out of service already"):
        retire(registry, FR, WHY)
    with pytest.raises(ConfigError, match=r"name what to return to: --to 2, 1"):
        rollback(registry, FR, WHY)
    assert promote(load_run(runs["second"]), registry).sequence == 4
    assert load_verified(registry, FR).verdict.sequence == 4


def test_out_of_service_is_bound_too(registry):
    """Rows that went out of service change no more than those in it, and do not come back by hand."""
    retire(registry, FR, WHY)
    rows = read_registry(registry).rows
    for change in ({"notes": "fine"}, {"smoke": False}, {"confidence_eligible": True}, {"verdict": None}):
        mine = [row.model_copy(update=change) if row.id == f"{FR}_seed0" else row for row in rows]
        write_bytes_atomic(registry / "registry.json", Registry(rows=mine).to_bytes())
        with pytest.raises(IntegrityError):
            load_verified(registry, FR)
        if change != {"verdict": None}:  # a scaffold again: allowed, and no consumer gets it
            assert "refused" in statuses(registry, FR), change


def test_back_into_service_by_name(registry):
    """--to brings a verdict back that was superseded, under a fresh number."""
    retire(registry, FR, WHY)
    assert rollback(registry, FR, WHY, to=2).sequence == 4
    assert statuses(registry) == {"production"}


def test_rejudge_is_a_fresh_verdict_on_the_same_models(registry, monkeypatch):
    """After a change of the rule: the same models, a new verdict that names today's rule, promises again."""
    before = models_of(registry)
    for module in ("admission.lifecycle", "registry.store", "registry.recompute"):
        monkeypatch.setattr(f"vmaf_assay.{module}.rule_in_force", lambda _task: 2)
    assert not load_verified(registry, FR).confidence_eligible
    verdict = revalidate(registry, FR, WHY)
    assert (verdict.sequence, verdict.act.kind, verdict.coverage_rule) == (3, "rejudge", 2)
    assert models_of(registry) == before
    assert load_verified(registry, FR).confidence_eligible
    assert {report.status for report in verify_registry(registry, deep=True)} == {"production"}
    assert rollback(registry, FR, WHY, to=2).sequence == 4


def test_an_act_finishes_what_a_killed_one_left(registry, runs):
    """Killed after the commit, the plain copy is one verdict behind: the next act is not stopped by it."""
    behind = (registry / f"{FR}_seed_flip_PROMOTE.json").read_bytes()
    for act in (
        lambda: rollback(registry, FR, WHY),
        lambda: revalidate(registry, FR, WHY),
        lambda: retire(registry, FR, WHY),
        lambda: promote(load_run(runs["second"]), registry),
    ):
        act()
        current = (registry / f"{FR}_seed_flip_PROMOTE.json").read_bytes()
        (registry / f"{FR}_seed_flip_PROMOTE.json").write_bytes(behind)
        assert "refused" not in statuses(registry)
        behind = current
    assert load_verified(registry, FR).verdict.sequence == 6


def test_history_says_who_when_and_why(registry):
    """Newest first, one in force, with digests that chain."""
    rollback(registry, FR, WHY)
    mine = history(registry, FR)
    assert [(one.verdict.sequence, one.kind, one.in_force) for one in mine] == [
        (3, "rollback", True),
        (2, "promote", False),
        (1, "promote", False),
    ]
    assert [one.verdict.previous_verdict_sha256 for one in mine] == [mine[1].sha256, mine[2].sha256, None]
    assert mine[0].verdict.act.reason == WHY.reason
    assert {one.verdict.ensemble for one in history(registry)} == {FR, FORECAST}
    with pytest.raises(ConfigError, match="no history of other"):
        history(registry, "other")


def test_old_verdicts_have_no_act(registry):
    """A verdict filed before acts were kept counts as a promotion at the time it was judged."""
    document = json.loads((registry / f"{FORECAST}_seed_flip_PROMOTE.1.json").read_bytes())
    document.pop("act")
    document.pop("coverage_rule")
    verdict = type(history(registry, FORECAST)[0].verdict)(**document)
    entry = Entry(verdict, "0" * 64, (), True)
    assert (entry.kind, entry.at_utc, verdict.coverage_rule) == ("promote", verdict.generated_at_utc, 1)


def test_a_seed_that_is_not_through_holds_the_mean(registry):
    """`_mean` stands only with all its seeds: one of them scaffolded or missing, and nothing loads."""
    rows = read_registry(registry).rows
    scaffold = {"smoke": True, "verdict": None, "confidence_eligible": False}
    for mine in (
        [row.model_copy(update=scaffold) if row.id == f"{FR}_seed3" else row for row in rows],
        [row for row in rows if row.id != f"{FR}_seed3"],
    ):
        write_bytes_atomic(registry / "registry.json", Registry(rows=mine).to_bytes())
        with pytest.raises(IntegrityError, match="stands without"):
            load_verified(registry, FR)
        assert "refused" in statuses(registry, FR)


def test_a_lock_that_is_held_is_waited_for_as_long_as_asked(registry):
    """--wait 0: told at once, nothing changed."""
    from filelock import FileLock

    before = content(registry)
    with FileLock(registry / ".lock"), pytest.raises(ToolError, match=r"locked for 0 s; nothing was changed"):
        rollback(registry, FR, Who(reason="x", wait_s=0))
    assert content(registry) == before


def git(folder, *args: str) -> None:
    """Run a real git in a folder, with no configuration of the user's."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "-C", str(folder), *identity, *args], env=environment, check=True, capture_output=True)


def test_a_git_revert_of_a_flip_verifies(runs, tmp_path):
    """Reverting the commit of a rollback, then of a promotion, gives back registries that verify as they were."""
    registry = tmp_path / "repository" / "registry"
    registry.mkdir(parents=True)
    git(tmp_path / "repository", "init", "--quiet")
    (tmp_path / "repository" / ".gitignore").write_text(".lock\n")
    states = []
    for step in (
        lambda: promote(load_run(runs["first"]), registry),
        lambda: promote(load_run(runs["second"]), registry),
        lambda: rollback(registry, FR, WHY),
    ):
        step()
        git(tmp_path / "repository", "add", "--all")
        git(tmp_path / "repository", "commit", "--quiet", "--message", "flip")
        states.append(content(registry))
    for commit, sequence in (("HEAD", 2), ("HEAD~2", 1)):
        git(tmp_path / "repository", "revert", "--no-edit", commit)
        assert content(registry) == states[sequence - 1]
        assert statuses(registry) == {"production"}
        assert load_verified(registry, FR).verdict.sequence == sequence


def test_a_rollback_asks_for_what_is_not_here(registry, tmp_path):
    """Without the history: one line that says how many files and what to name; with --from they come back."""
    other = shutil.copytree(registry, tmp_path / "other")
    shutil.rmtree(registry / "history")
    before = content(registry)
    with pytest.raises(ConfigError, match=r"does not have 16 files of verdict 1 on .*--from"):
        rollback(registry, FR, WHY)
    for source in (tmp_path / "absent", tmp_path):
        with pytest.raises(ConfigError, match=rf"neither .* nor {source} has 16 files"):
            rollback(registry, FR, WHY, source=source)
    assert content(registry) == before
    assert rollback(registry, FR, WHY, source=other).sequence == 3
    assert models_of(registry) == models_of_first(other)
    assert load_verified(registry, FR).verdict.act.returns_to.sequence == 1
    assert statuses(registry) == {"production"}
    assert len(list((registry / "history").iterdir())) == 16


def models_of_first(registry) -> dict[str, str]:
    """Digest of every model of the regressor's first verdict."""
    return json.loads((registry / f"{FR}_seed_flip_PROMOTE.1.json").read_bytes())["members"]


def test_a_rollback_takes_no_other_bytes(registry, tmp_path):
    """A file of the other registry that is not what the verdict binds is refused, and nothing was written."""
    other = shutil.copytree(registry, tmp_path / "other")
    shutil.rmtree(registry / "history")
    spoiled = next((other / "history").glob("*.onnx"))
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"\0")
    before = content(registry)
    with pytest.raises(IntegrityError, match="does not match its digest"):
        rollback(registry, FR, WHY, source=other)
    assert content(registry) == before


def test_each_act_puts_away_what_it_replaces(registry, runs):
    """The registry itself holds what is in force, whatever acts went before; each file lies in one place only."""

    def here() -> set[str]:
        return {
            path.name for path in registry.iterdir() if path.name.startswith(FR) and "PROMOTE" not in path.name
        }

    for act in (
        lambda: rollback(registry, FR, WHY),
        lambda: rollback(registry, FR, WHY, to=2),
        lambda: promote(load_run(runs["first"]), registry),
        lambda: revalidate(registry, FR, WHY),
        lambda: retire(registry, FR, WHY),
        lambda: promote(load_run(runs["second"]), registry),
    ):
        verdict = act()
        assert here() == set(bound_files(verdict))
        assert not here() & {path.name for path in (registry / "history").iterdir()}
        assert statuses(registry) <= {"production", "superseded"}


def test_the_command_takes_a_folder(registry, tmp_path, capsys):
    """`assay registry rollback --from`: exit 2 without the files, 0 with them."""
    other = shutil.copytree(registry, tmp_path / "other")
    shutil.rmtree(registry / "history")
    command = ["registry", "rollback", FR, "--reason", "misses", "--registry", str(registry)]
    assert main(command) == 2
    assert "--from" in capsys.readouterr().err
    assert main([*command, "--from", str(other)]) == 0


def test_each_verdict_names_the_version_that_made_it(registry, runs, monkeypatch):
    """Of `validate`, of each act and of a rollback, which admits again what an older version judged."""
    assert load_verified(registry, FR).verdict.made_by == __version__
    for module in (judging, promotion, lifecycle):
        monkeypatch.setattr(module, "__version__", "9.9.9")
    assert judging.judge(load_run(runs["first"])).made_by == "9.9.9"
    for act in (
        lambda: rollback(registry, FR, WHY),
        lambda: promote(load_run(runs["second"]), registry),
        lambda: revalidate(registry, FR, WHY),
        lambda: retire(registry, FR, WHY),
    ):
        assert act().made_by == "9.9.9"
        assert statuses(registry) <= {"production", "superseded"}


def test_verdicts_of_before_name_no_version():
    """The field is not written where it was not: released verdicts keep their bytes."""
    path = Path(__file__).parents[1] / "releases" / "0.1.0" / f"{FR}_seed_flip_PROMOTE.1.json"
    verdict = parse(Verdict, path.read_bytes(), path)
    assert verdict.made_by is None
    assert b"made_by" not in verdict.to_bytes()
