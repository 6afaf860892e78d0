"""The check of the registry's git history, on real repositories: what a commit may do to production rows."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crafted import FR, edit_json, held_out_predictions, make_run
from vmaf_assay.admission.judge import judge, write_verdict
from vmaf_assay.admission.lifecycle import retire, revalidate, rollback
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.media.files import write_bytes_atomic
from vmaf_assay.registry.manifest import Registry
from vmaf_assay.registry.store import read_registry
from vmaf_assay.training.evidence import load_run

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_history.py"


def git(repository: Path, *args: str) -> str:
    """What git prints; nobody's own settings count."""
    who = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "commit.gpgsign=false",
    ]
    done = subprocess.run(["git", "-C", str(repository), *who, *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(repository: Path, message: str) -> str:
    """Commit everything; returns the commit."""
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", message)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with their verdicts."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for number in (1, 2):
        run = make_run(
            folder / f"run{number}",
            weights_of=lambda seed, n=number: seed + 40 * n,
            corpus=f"corpus {number}",
            predictions=held_out_predictions(n_groups=4, draw=number),
        )
        write_verdict(run, judge(load_run(run)))
        made.append(load_run(run))
    return made


@pytest.fixture(scope="module")
def template(runs, tmp_path_factory):
    """A repository: no registry, another file, a first flip, another file, a second flip."""
    repository = tmp_path_factory.mktemp("repository")
    git(repository, "init", "-q")
    (repository / "README").write_text("nothing yet\n")
    commit(repository, "begin")
    promote(runs[0], repository / "models")
    commit(repository, "first flip")
    (repository / "README").write_text("something\n")
    commit(repository, "unrelated")
    promote(runs[1], repository / "models")
    commit(repository, "second flip")
    return repository


@pytest.fixture
def repository(template, tmp_path):
    """A copy of it."""
    return shutil.copytree(template, tmp_path / "repository")


def check(repository: Path, *options: str, registry: str = "models") -> tuple[int, str]:
    """Exit code and what is said."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--repository", str(repository), "--registry", registry, *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def rows(repository: Path, change) -> None:
    """Write `registry.json` in its own form with its rows changed."""
    registry = read_registry(repository / "models")
    write_bytes_atomic(repository / "models/registry.json", Registry(rows=change(list(registry.rows))).to_bytes())


def edited(**changes):
    """A change of the first row."""
    return lambda all_rows: [all_rows[0].model_copy(update=changes), *all_rows[1:]]


def test_promotions_are_legal(repository):
    """Two flips, each under a verdict of its own, and commits that do not touch the registry."""
    code, said = check(repository)
    assert (code, said) == (0, "registry history: 2 commits, each production change under a fresh verdict\n")


def model_edit(repository: Path) -> None:
    """One byte of a model."""
    path = repository / "models" / read_registry(repository / "models").rows[0].onnx
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def unsmoke(repository: Path) -> None:
    """Scaffold by revert of everything, then a flip by hand."""
    rows(repository, lambda old: [r.model_copy(update={"smoke": True, "verdict": None}) for r in old])
    commit(repository, "scaffold by hand")
    rows(repository, lambda old: [r.model_copy(update={"smoke": False}) for r in old])


def old_verdict(repository: Path) -> None:
    """Today's rows under the verdict of the first flip."""
    first = Registry.model_validate_json(git(repository, "show", "HEAD~2:models/registry.json"))
    rows(repository, lambda old: [r.model_copy(update={"verdict": first.rows[0].verdict}) for r in old])


ILLEGAL = {
    "a description edited": (lambda r: rows(r, edited(description="better")), "was changed under the verdict"),
    "notes edited": (lambda r: rows(r, edited(notes="")), "was changed under the verdict"),
    "a digest edited": (lambda r: rows(r, edited(sha256="0" * 64)), "was changed under the verdict"),
    "a model edited": (model_edit, "was changed under the verdict"),
    "promises edited": (lambda r: rows(r, edited(confidence_eligible=True)), "was changed under the verdict"),
    "one row flipped back": (lambda r: rows(r, edited(smoke=True)), "was changed under the verdict"),
    "one row taken out": (lambda r: rows(r, lambda old: old[1:]), "was changed under the verdict"),
    "all rows taken out": (lambda r: rows(r, lambda old: []), "rows were taken out"),
    "the registry deleted": (lambda r: (r / "models/registry.json").unlink(), "rows were taken out"),
    "the registry no JSON": (lambda r: (r / "models/registry.json").write_text("]"), "rows were taken out"),
    "a flip by hand": (unsmoke, "its rows name 1 verdicts"),
    "the verdict of an earlier flip": (old_verdict, "was changed under the verdict"),
}


@pytest.mark.parametrize("what", ILLEGAL)
def test_an_edit_without_a_fresh_verdict_fails(repository, what):
    """Before it is committed, and for ever after, though later commits put it right; the ensemble is named."""
    change, says = ILLEGAL[what]
    change(repository)
    if what != "a flip by hand":
        code, said = check(repository)
        assert code == 1
        assert f"what is not committed yet: {FR}: " in said
        assert says in said
    commit(repository, "an edit")
    git(repository, "revert", "--no-edit", "HEAD")
    code, said = check(repository)
    assert code == 1
    assert f" an edit: {FR}: " in said or "scaffold by hand" in said
    assert "Revert" not in said


def test_a_forged_verdict_fails(repository):
    """A verdict that is fresh and does not bind the row it is named by."""
    path = repository / f"models/{FR}_seed_flip_PROMOTE.2.json"
    edit_json(path, lambda d: d.update(generated_at_utc="2026-01-01T00:00:00+00:00"))
    from vmaf_assay.media.files import sha256_bytes

    ref = (
        read_registry(repository / "models")
        .rows[0]
        .verdict.model_copy(update={"sha256": sha256_bytes(path.read_bytes())})
    )
    rows(repository, lambda old: [r.model_copy(update={"verdict": ref, "notes": "mine"}) for r in old])
    assert "binds" in check(repository)[1]
    edit_json(path, lambda d: d.update(verdict="HOLD"))
    assert check(repository)[0] == 1


def test_reverts_are_legal(repository):
    """The revert of the last flip, of the revert, and of both flips: each is what stood before, byte for byte."""
    git(repository, "revert", "--no-edit", "HEAD")
    assert check(repository)[0] == 0
    git(repository, "revert", "--no-edit", "HEAD")
    assert check(repository)[0] == 0
    git(repository, "revert", "--no-edit", "HEAD~2", "HEAD~4")
    assert not (repository / "models").exists()
    assert check(repository)[0] == 0


def test_acts_are_legal(repository):
    """Rollback, rejudging, supersedure and the way back each bring a verdict of their own."""
    folder = repository / "models"
    for act, options in ((rollback, {}), (revalidate, {}), (retire, {}), (rollback, {"to": 2})):
        act(folder, FR, Who(reason="a reason"), **options)
        assert check(repository)[0] == 0, act
        commit(repository, act.__name__)
        assert check(repository)[0] == 0, act


def test_out_of_service_without_a_verdict_fails(repository):
    """Rows put to smoke by hand, or under a supersedure that belongs to another state, are no supersedure."""
    folder = repository / "models"
    out = {"smoke": True, "confidence_eligible": False}
    rows(repository, lambda old: [r.model_copy(update=out | {"verdict": None}) for r in old])
    assert "were taken out" in check(repository)[1]
    git(repository, "checkout", "-q", "--", ".")
    retire(folder, FR, Who(reason="a reason"))
    superseded = read_registry(folder).rows
    commit(repository, "out")
    promote(load_run_of(repository), folder)
    commit(repository, "in again")
    assert check(repository)[0] == 0
    rows(repository, lambda _: list(superseded))
    assert "was changed under the verdict" in check(repository)[1]


def load_run_of(repository: Path):
    """A third run."""
    run = make_run(
        repository.with_name("run3"),
        weights_of=lambda seed: seed + 200,
        corpus="corpus 3",
        predictions=held_out_predictions(n_groups=4, draw=3),
    )
    write_verdict(run, judge(load_run(run)))
    return load_run(run)


def test_a_merge_of_two_branches_is_judged(repository):
    """A merge that takes one side is legal; one that mixes both is not."""
    git(repository, "branch", "side", "HEAD~1")
    (repository / "other").write_text("x")
    commit(repository, "on main")
    git(repository, "checkout", "-q", "side")
    (repository / "third").write_text("x")
    commit(repository, "on side")
    git(repository, "merge", "-q", "--no-edit", "main")
    assert check(repository)[0] == 0
    rows(repository, edited(notes="slipped in"))
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "--amend", "--no-edit")
    code, said = check(repository)
    assert code == 1
    assert "Merge branch 'main'" in said


def test_a_shallow_clone_is_not_checked(repository, tmp_path):
    """Cut below a flip, what stood before cannot be seen: exit 4, and the way to the whole history."""
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    code, said = check(tmp_path / "shallow")
    assert code == 4
    assert "shallow" in said
    assert "git fetch --unshallow" in said
    git(tmp_path / "shallow", "fetch", "-q", "--unshallow")
    assert check(tmp_path / "shallow")[0] == 0


def graft(repository: Path) -> str:
    """The last commit without its parents, as `info/grafts` says it."""
    (repository / ".git/info/grafts").write_text(git(repository, "rev-parse", "HEAD") + "\n")
    return "grafted"


def replace_ref(repository: Path) -> str:
    """The same by a replacement."""
    git(repository, "replace", "--graft", "HEAD")
    return "replaced"


def lost_object(repository: Path) -> str:
    """A blob of the registry is gone from the object store."""
    blob = git(repository, "rev-parse", "HEAD:models/registry.json")
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    return blob


def lost_commit(repository: Path) -> str:
    """A commit of the history is gone."""
    old = git(repository, "rev-parse", "HEAD~1")
    (repository / ".git/objects" / old[:2] / old[2:]).unlink()
    return old


def no_head(repository: Path) -> str:
    """HEAD names nothing."""
    (repository / ".git/HEAD").write_text("ref: refs/heads/absent\n")
    return "HEAD"


def no_repository(repository: Path) -> str:
    """`.git` is there, and no repository."""
    shutil.rmtree(repository / ".git/objects")
    return "not a git repository"


UNSEEN = [graft, replace_ref, lost_object, lost_commit, no_head, no_repository]


@pytest.mark.parametrize("spoil", UNSEEN, ids=lambda spoil: spoil.__name__)
def test_a_history_that_cannot_be_seen_is_not_checked(repository, spoil):
    """A graft, a replacement, lost objects and a git that fails: exit 4 with git's reason, never 0."""
    says = spoil(repository)
    code, said = check(repository)
    assert code == 4
    assert "registry history: not checked: " in said
    assert says in said


def test_without_the_git_command_a_checkout_is_not_checked(repository, monkeypatch, tmp_path):
    """A checkout on a machine without git is exit 4, not a pass."""
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = check(repository)
    assert code == 4
    assert "git" in said


def test_the_environment_chooses_no_other_repository(repository, monkeypatch, tmp_path):
    """GIT_DIR and its kin do not lead the check to another history."""
    git(tmp_path, "init", "-q", "empty")
    rows(repository, edited(notes="mine"))
    commit(repository, "an edit")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "empty/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "empty"))
    assert check(repository)[0] == 1


@pytest.mark.parametrize("steps", ["at once", "a copy, then the deletion", "not committed"])
def test_a_moved_folder_is_not_checked(repository, steps):
    """Neither the old folder's check nor the new one's passes; with --formerly the whole history is seen."""
    if steps == "a copy, then the deletion":
        shutil.copytree(repository / "models", repository / "other")
        commit(repository, "copy")
        shutil.rmtree(repository / "models")
    else:
        (repository / "models").rename(repository / "other")
    if steps != "not committed":
        commit(repository, "move")
    code, said = check(repository)
    assert code == 4
    assert "--registry other" in said
    if steps == "not committed":
        return
    code, said = check(repository, registry="other")
    assert code == 4
    assert "--formerly models" in said
    assert check(repository, "--formerly", "models", registry="other")[0] == 0
    path = repository / "other/registry.json"
    registry = Registry.model_validate_json(path.read_bytes())
    write_bytes_atomic(path, Registry(rows=edited(notes="mine")(list(registry.rows))).to_bytes())
    code, said = check(repository, "--formerly", "models", registry="other")
    assert code == 1
    assert "was changed under the verdict" in said


def test_files_of_earlier_verdicts_may_move_to_the_history(repository):
    """Into `history/` and back, in commits of their own: the rows in force and their files stay as they are."""
    folder = repository / "models"
    assert len(list((folder / "history").iterdir())) == 16
    for path in (folder / "history").iterdir():
        path.rename(folder / path.name)
    commit(repository, "back")
    assert check(repository)[0] == 0
    git(repository, "revert", "--no-edit", "HEAD")
    assert check(repository)[0] == 0
    (folder / read_registry(folder).rows[0].onnx).rename(folder / "history" / "away.onnx")
    assert check(repository)[0] == 1


def test_without_git_nothing_is_claimed(tmp_path):
    """An unpacked archive has no history: said, and no failure."""
    code, said = check(tmp_path)
    assert (code, said) == (0, "registry history: not checked, this is no git checkout\n")
