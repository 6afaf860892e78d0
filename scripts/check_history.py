"""Every commit that changed a production model brought a fresh verdict, or went back to what stood before.

    python scripts/check_history.py [--repository FOLDER] [--registry src/vmaf_assay/models]

`assay registry verify` says that the registry of today is sound; this says that no commit made it so by editing.
A commit that changes an ensemble's production rows, or a file they name, must

- give all of them a verdict that no commit before it named, that says PROMOTE (or SUPERSEDED, of rows taken out
  of service), and that binds every row and model of the commit; or
- restore, byte for byte, what an earlier commit held: the revert of a flip; or
- leave all of them as smoke under a fresh verdict that says SUPERSEDED and follows the one that stood before.

Everything else fails: an edited description, a new digest under an old verdict, a flip of `smoke` by hand, a row
taken out. What is not committed yet is checked as if it were. Exit 0 if all is well or there is no history to look
at (said), 1 if a commit fails. Needs git and Python alone, so that it runs before anything is installed.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKTREE = "what is not committed yet"


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


class History:
    """A repository's commits that touch the registry."""

    def __init__(self, repository: Path, registry: str) -> None:
        self.repository = repository
        self.registry = registry.strip("/")
        self.known: dict[str, Snapshot] = {}

    def git(self, *args: str) -> bytes:
        """What git prints; CalledProcessError if it fails."""
        return subprocess.run(
            ["git", "-C", str(self.repository), *args], check=True, capture_output=True, timeout=300
        ).stdout

    def lines(self, *args: str) -> list[str]:
        """The same, by lines."""
        return self.git(*args).decode().split("\n")[:-1]

    def read(self, commit: str, name: str) -> bytes | None:
        """A registry file's bytes at a commit, None if it is not there."""
        if commit == WORKTREE:
            path = self.repository / self.registry / name
            return path.read_bytes() if path.is_file() else None
        try:
            return self.git("cat-file", "blob", f"{commit}:{self.registry}/{name}")
        except subprocess.CalledProcessError:
            return None

    def names(self, commit: str, ensemble: str) -> list[str]:
        """Files of an ensemble at a commit; their names carry their content."""
        try:
            if commit == WORKTREE:
                found = [path.name for path in (self.repository / self.registry).iterdir()]
            else:
                found = self.lines("ls-tree", "--name-only", f"{commit}:{self.registry}")
        except (OSError, subprocess.CalledProcessError):
            return []
        return sorted(name for name in found if name.startswith(f"{ensemble}_"))

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
        data = self.read(commit, "registry.json")
        try:
            rows = json.loads(data)["rows"] if data is not None else []
            by_ensemble: dict[str, list[dict[str, Any]]] = {}
            for row in rows:
                # Absent or odd counts as production, not as harmless; a verdict also takes rows out of service.
                if row["smoke"] is not True or row["verdict"] is not None:
                    by_ensemble.setdefault(ensemble_of(row["id"]), []).append(row)
        except (ValueError, KeyError, TypeError):
            return {}
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
        return self.lines("rev-list", "--full-history", "--topo-order", "--reverse", "HEAD", "--", self.registry)

    def shallow_file(self) -> Path:
        """Where git lists the commits at which a shallow clone was cut off."""
        return self.repository / self.lines("rev-parse", "--git-path", "shallow")[0]

    def ancestors(self, commit: str, candidates: Sequence[str]) -> list[str]:
        """Those candidates that lie before a commit."""
        if commit == WORKTREE:
            return list(candidates)
        before = set(self.lines("rev-list", commit)) - {commit}
        return [candidate for candidate in candidates if candidate in before]


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


def check(history: History) -> tuple[list[str], list[str]]:
    """Every failure, and every remark on what could not be seen."""
    failures, remarks = [], []
    commits = history.commits()
    shallow = history.git("rev-parse", "--is-shallow-repository").strip() == b"true"
    cut = set(history.shallow_file().read_text().split()) if shallow else set()
    for commit in [*commits, WORKTREE]:
        parents = ["HEAD"] if commit == WORKTREE else history.lines("rev-parse", f"{commit}^@")
        if commit in cut:
            remarks.append(f"{commit[:12]} is where this clone begins: what stood before it was not seen")
            continue
        before = history.ancestors(commit, commits) if changed(history, commit, parents) else []
        # The first flip's parent does not touch the registry, and is what its revert goes back to.
        before += [parent for one in before if one not in cut for parent in history.lines("rev-parse", f"{one}^@")]
        names = {name for at in (commit, *parents) for name in history.snapshot(at)}
        for name in sorted(names):
            if why := problem(history, commit, parents, [*parents, *before], name):
                failures.append(f"{described(history, commit)}: {name}: {why}")
    return failures, remarks


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
    arguments = parser.parse_args()
    history = History(arguments.repository, arguments.registry)
    if shutil.which("git") is None or not (arguments.repository / ".git").exists():
        print("registry history: not checked, this is no git checkout")
        return 0
    try:
        failures, remarks = check(history)
    except subprocess.CalledProcessError as error:
        print(f"registry history: not checked, git says: {error.stderr.decode().strip()}")
        return 0
    for remark in remarks:
        print(f"registry history: {remark}")
    for failure in failures:
        print(f"registry history: {failure}; promote a run, or revert the change", file=sys.stderr)
    if not failures:
        print(f"registry history: {len(history.commits())} commits, each production change under a fresh verdict")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
