"""Every commit that changed a production model brought a fresh verdict, or went back to what stood before.

    python scripts/check_history.py [--repository FOLDER] [--registry src/vmaf_assay/models]

`assay registry verify` says that the registry of today is sound; this says that no commit made it so by editing.
A commit that changes an ensemble's production rows, or a file they name, must

- give all of them a verdict that no commit before it named, that says PROMOTE (or SUPERSEDED, of rows taken out
  of service), and that binds every row and model of the commit; or
- restore, byte for byte, what an earlier commit held: the revert of a flip; or
- leave all of them as smoke under a fresh verdict that says SUPERSEDED and follows the one that stood before.

Everything else fails: an edited description, a new digest under an old verdict, a flip of `smoke` by hand, a row
taken out. What is not committed yet is checked as if it were. Files of earlier verdicts may move to `history/`
beside the registry, and back.

Exit 0 if every change is legal, or if this is no git checkout (said). Exit 1 if a commit fails. Exit 4 if the
history cannot be seen whole: git fails, the clone is shallow, commits are grafted or replaced, or the folder was
moved. Needs git and Python alone, so that it runs before anything is installed.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKTREE = "what is not committed yet"
PATTERNS = ("registry.json", ":(glob)**/registry.json")


@dataclass(frozen=True)
class Ensemble:
    """An ensemble's production rows at one commit, and the digests of the files they name."""

    rows: str
    """The rows as JSON text: two states are the same only if no character differs."""
    files: tuple[tuple[str, str], ...]
    """File name and SHA-256, sorted; an empty digest stands for a file that is not there."""

    @property
    def verdicts(self) -> set[str]:
        """SHA-256 of every verdict that a row names."""
        return {(row.get("verdict") or {}).get("sha256", "") for row in json.loads(self.rows)}


Snapshot = dict[str, Ensemble]
"""Ensembles with production rows, by id."""


class UnseenError(Exception):
    """The history cannot be seen whole; the message says why and what to do."""


class History:
    """A repository's commits that touch the registry, wherever it lay."""

    def __init__(self, repository: Path, registry: str, formerly: Sequence[str] = ()) -> None:
        self.repository = repository
        self.folders = [folder.strip("/") for folder in (registry, *formerly)]
        self.known: dict[str, Snapshot] = {}
        self.trees: dict[str, dict[str, str]] = {}
        self.blobs: dict[str, bytes] = {}

    def git(self, *args: str) -> bytes:
        """What git prints, whatever the environment says of repositories; CalledProcessError if it fails."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", "-C", str(self.repository), *args],
            check=True,
            capture_output=True,
            timeout=300,
            env=environment | {"LC_ALL": "C"},
        ).stdout

    def lines(self, *args: str) -> list[str]:
        """The same, by lines."""
        return self.git(*args).decode().split("\n")[:-1]

    def tree(self, commit: str) -> dict[str, str]:
        """Every file of the registry at a commit by its name there; the value is git's id, or a path."""
        if commit not in self.trees:
            found = {}
            for folder in reversed(self.folders):  # the first that has a registry.json counts
                files = self._files_in(commit, folder)
                found = files if "registry.json" in files or not found else found
            self.trees[commit] = found
        return self.trees[commit]

    def _files_in(self, commit: str, folder: str) -> dict[str, str]:
        if commit == WORKTREE:
            root = self.repository / folder
            return {path.relative_to(root).as_posix(): str(path) for path in root.rglob("*") if path.is_file()}
        entries = self.git("ls-tree", "-r", "-z", "--full-tree", commit, "--", f"{folder}/").decode().split("\0")
        parts = [entry.split("\t", 1) for entry in entries if entry]
        return {name.removeprefix(f"{folder}/"): facts.split()[2] for facts, name in parts}

    def read(self, commit: str, name: str) -> bytes | None:
        """A registry file's bytes at a commit, None if it is not there."""
        where = self.tree(commit).get(name)
        if where is None or commit == WORKTREE:
            return None if where is None else Path(where).read_bytes()
        if where not in self.blobs:
            self.blobs[where] = self.git("cat-file", "blob", where)
        return self.blobs[where]

    def names(self, commit: str, ensemble: str) -> list[str]:
        """Files of an ensemble at a commit; their names carry their content."""
        return sorted(name for name in self.tree(commit) if name.rpartition("/")[2].startswith(f"{ensemble}_"))

    def verdicts(self, commit: str, ensemble: str) -> Iterable[bytes]:
        """Every verdict on an ensemble that lies in the registry at a commit."""
        for name in self.names(commit, ensemble):
            if name.startswith(f"{ensemble}_seed_flip_PROMOTE") and name.endswith(".json"):
                yield self.read(commit, name) or b""

    def snapshot(self, commit: str) -> Snapshot:
        """The production rows at a commit; one that cannot be read counts as none."""
        if commit not in self.known:
            self.known[commit] = self._snapshot(commit)
        return self.known[commit]

    def _snapshot(self, commit: str) -> Snapshot:
        by_ensemble = rows_by_ensemble(self.read(commit, "registry.json"))
        return {name: Ensemble(json.dumps(rows), self._files(commit, rows)) for name, rows in by_ensemble.items()}

    def _files(self, commit: str, rows: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
        names = set()
        for row in rows:
            named = [(row.get(field) or {}).get("file") for field in ("sidecar", "verdict")]
            names |= {str(row.get("onnx")), *(str(name) for name in named if name)}
        digests = []
        for name in sorted(names):
            data = self.read(commit, name)
            digests.append((name, "" if data is None else sha256(data)))
        return tuple(digests)

    def commits(self) -> list[str]:
        """Commits that touch the registry, oldest first."""
        return self.lines("rev-list", "--full-history", "--topo-order", "--reverse", "HEAD", "--", *self.folders)

    def refuse_unseen(self) -> None:
        """Raise UnseenError if commits are missing, grafted or replaced, or the registry lay elsewhere."""
        if self.git("rev-parse", "--is-shallow-repository").strip() == b"true":
            raise UnseenError("this clone is shallow; get the whole history: git fetch --unshallow")
        grafts = self.repository / self.lines("rev-parse", "--git-path", "info/grafts")[0]
        if grafts.is_file() and grafts.read_bytes().strip():
            raise UnseenError(f"commits are grafted; remove {grafts}")
        if replaced := self.lines("for-each-ref", "--format=%(refname)", "refs/replace/"):
            raise UnseenError(f"commits are replaced; remove {replaced[0]}: git replace -d")
        self._refuse_moved()

    def _refuse_moved(self) -> None:
        """A registry that was deleted, while its ensembles are in production in another folder, was moved."""
        asked = [
            "log",
            "--full-history",
            "-m",
            "--no-renames",
            "--diff-filter=D",
            "--name-only",
            "--format=%x00%P",
        ]
        last: dict[str, str] = {}
        for entry in self.git(*asked, "HEAD", "--", *PATTERNS).decode().split("\0")[1:]:
            parents, *paths = entry.split("\n")
            for path in filter(None, paths):
                last.setdefault(path, parents.split()[0])
        there = set(filter(None, self.git("ls-tree", "-r", "-z", "--name-only", "HEAD").decode().split("\0")))
        for path in [f"{folder}/registry.json" for folder in self.folders]:
            if path in there and not (self.repository / path).is_file():
                last[path] = "HEAD"
        mine = {f"{folder}/registry.json" for folder in self.folders}
        here = {name for at in ("HEAD", WORKTREE) for name in self.snapshot(at)}
        for path, parent in last.items():
            if (self.repository / path).is_file():
                continue
            was = set(rows_by_ensemble(self._blob(parent, path)))
            if path not in mine and was & here:
                old = path.rpartition("/")[0]
                raise UnseenError(f"{', '.join(sorted(was & here))} lay in {old}; add --formerly {old}")
            if path in mine and not self.snapshot(WORKTREE) and (now := self._elsewhere(was, mine)):
                raise UnseenError(f"the registry lies in {now} now; name it: --registry {now} --formerly ...")

    def _elsewhere(self, ensembles: set[str], mine: set[str]) -> str | None:
        """Another folder of the working tree in which some of these ensembles are in production."""
        tracked = self.git("ls-files", "-z", "--cached", "--others", "--", *PATTERNS).decode().split("\0")
        for path in sorted(set(filter(None, tracked)) - mine):
            data = (self.repository / path).read_bytes() if (self.repository / path).is_file() else b""
            if ensembles & set(rows_by_ensemble(data)):
                return path.rpartition("/")[0] or "."
        return None

    def _blob(self, commit: str, path: str) -> bytes:
        entry = self.git("ls-tree", "-z", "--full-tree", commit, "--", path).decode()
        return self.git("cat-file", "blob", entry.split()[2]) if entry else b""

    def ancestors(self, commit: str, candidates: Sequence[str]) -> list[str]:
        """Those candidates that lie before a commit."""
        if commit == WORKTREE:
            return list(candidates)
        before = set(self.lines("rev-list", commit)) - {commit}
        return [candidate for candidate in candidates if candidate in before]


def rows_by_ensemble(data: bytes | None) -> dict[str, list[dict[str, Any]]]:
    """Production rows of a registry by ensemble; one that is absent or malformed has none."""
    try:
        rows = json.loads(data)["rows"] if data else []
        by_ensemble: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            # Absent or odd counts as production, not as harmless; a verdict also takes rows out of service.
            if row["smoke"] is not True or row["verdict"] is not None:
                by_ensemble.setdefault(ensemble_of(row["id"]), []).append(row)
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return by_ensemble


def sha256(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def ensemble_of(row_id: str) -> str:
    """`m_seed3` and `m_mean` are of `m`."""
    head, _, last = row_id.rpartition("_")
    return head if last == "mean" or last.startswith("seed") else row_id


def binding(row: dict[str, Any]) -> str:
    """What a verdict binds of a row, as `registry.manifest.Row.binding` computes it."""
    content = {key: value for key, value in row.items() if key != "verdict"} | {"smoke": False}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(text.encode())


def problem(history: History, commit: str, parents: Sequence[str], before: Sequence[str], name: str) -> str:
    """Why a commit may not leave an ensemble as it does; '' if it may."""
    now = history.snapshot(commit).get(name)
    if any(history.snapshot(parent).get(name) == now for parent in parents):
        return ""
    same = [earlier for earlier in before if history.snapshot(earlier).get(name) == now]
    if now is None:
        # A flip that is reverted takes its files along; rows that are only struck out leave them behind.
        reverted = any(history.names(earlier, name) == history.names(commit, name) for earlier in same)
        return (
            ""
            if reverted or superseded(history, commit, parents, name)
            else "its production rows were taken out, and their files were not"
        )
    if same:
        return ""
    if old := now.verdicts & {v for earlier in before for v in verdicts_at(history, earlier, name)}:
        return f"it was changed under the verdict {min(old)[:12]}, which admitted something else"
    return unbound(history, commit, name, now)


def superseded(history: History, commit: str, parents: Sequence[str], name: str) -> bool:
    """Whether a verdict took the ensemble out of service, the one after that which stood before."""
    stood = {verdict for parent in parents for verdict in verdicts_at(history, parent, name)}
    try:
        rows = json.loads(history.read(commit, "registry.json") or b"")["rows"]
        named = [(row["verdict"] or {}).get("sha256") for row in rows if ensemble_of(row["id"]) == name]
        for data in history.verdicts(commit, name):
            verdict = json.loads(data)
            follows = verdict.get("previous_verdict_sha256") in stood
            if verdict.get("verdict") == "SUPERSEDED" and follows and set(named) == {sha256(data)}:
                return set(verdict["rows"]) == {row["id"] for row in rows if ensemble_of(row["id"]) == name}
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return False


def verdicts_at(history: History, commit: str, name: str) -> set[str]:
    """Verdicts that an ensemble's rows named at a commit."""
    found = history.snapshot(commit).get(name)
    return found.verdicts if found else set()


def unbound(history: History, commit: str, name: str, now: Ensemble) -> str:
    """Why the verdict that rows name does not admit them; '' if it does."""
    rows, files = json.loads(now.rows), dict(now.files)
    if len(now.verdicts) != 1:
        return f"its rows name {len(now.verdicts)} verdicts"
    (digest,) = now.verdicts
    data = next((data for data in history.verdicts(commit, name) if sha256(data) == digest), None)
    if data is None:
        return f"no verdict {digest[:12]} lies beside it"
    try:
        verdict = json.loads(data)
        smoke = {"PROMOTE": False, "SUPERSEDED": True}.get(verdict["verdict"])  # what `smoke` must be
        as_said = smoke is not None and all(row["smoke"] is smoke for row in rows)
        if (
            not as_said
            or verdict["gate"]["passed"] is not True
            or verdict["ensemble"] != name
            or set(verdict["rows"]) != {row["id"] for row in rows}
        ):
            return f"the verdict {digest[:12]} does not admit these rows"
        for row in rows:
            if verdict["rows"][row["id"]] != binding(row) or verdict["members"][row["id"]] != row["sha256"]:
                return f"the verdict {digest[:12]} binds {row['id']} otherwise"
            if (files[row["onnx"]], files[row["sidecar"]["file"]]) != (row["sha256"], row["sidecar"]["sha256"]):
                return f"a file of {row['id']} does not match its digest"
    except (ValueError, KeyError, TypeError):
        return f"the verdict {digest[:12]} is malformed"
    return ""


def check(history: History) -> list[str]:
    """Every failure."""
    failures = []
    commits = history.commits()
    for commit in [*commits, WORKTREE]:
        parents = ["HEAD"] if commit == WORKTREE else history.lines("rev-parse", f"{commit}^@")
        before = history.ancestors(commit, commits) if changed(history, commit, parents) else []
        # The first flip's parent does not touch the registry, and is what its revert goes back to.
        before += [parent for one in before for parent in history.lines("rev-parse", f"{one}^@")]
        names = {name for at in (commit, *parents) for name in history.snapshot(at)}
        for name in sorted(names):
            if why := problem(history, commit, parents, [*parents, *before], name):
                failures.append(f"{described(history, commit)}: {name}: {why}")
    return failures


def changed(history: History, commit: str, parents: Sequence[str]) -> bool:
    """Whether a commit leaves other production rows or files than every parent."""
    return all(history.snapshot(commit) != history.snapshot(parent) for parent in parents)


def described(history: History, commit: str) -> str:
    """A commit's short name and subject."""
    if commit == WORKTREE:
        return commit
    return history.git("show", "-s", "--format=%h %s", commit).decode().strip()


def main() -> int:
    """Check, say, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--registry", default="src/vmaf_assay/models")
    parser.add_argument("--formerly", action="append", default=[], help="a folder that the registry lay in before")
    arguments = parser.parse_args()
    history = History(arguments.repository, arguments.registry, arguments.formerly)
    if not (arguments.repository / ".git").exists():
        print("registry history: not checked, this is no git checkout")
        return 0
    try:
        history.refuse_unseen()
        failures = check(history)
    except (UnseenError, OSError, subprocess.SubprocessError) as error:
        said = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else error
        print(f"registry history: not checked: {str(said).strip() or error}", file=sys.stderr)
        return 4
    for failure in failures:
        print(f"registry history: {failure}; promote a run, or revert the change", file=sys.stderr)
    if not failures:
        print(f"registry history: {len(history.commits())} commits, each production change under a fresh verdict")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
