"""A run that is killed goes on where it was, and ends with the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ffmpeg, pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")]


def command(title: Path, out: Path, jobs: int) -> list[str]:
    """The run as a user starts it. MP4, because Matroska files get a random identifier."""
    given = ["-e", "libx264:superfast", "--target-vmaf", "90", "--by-scene", "--jobs", str(jobs), "-o", str(out)]
    given += ["--audio-codec", "aac"]
    return [sys.executable, "-m", "vmaf_assay", "tune", str(title), *given, "--json"]


def records(out: Path) -> dict[str, tuple[int, int]]:
    """Finished parts, each with what changes when it is made again: inode and time."""
    folder = out.parent / f".{out.name}.parts"
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.part")}


def undisturbed(title: Path, tmp_path: Path, jobs: int) -> tuple[bytes, dict]:
    """Bytes and document of a run that nobody kills."""
    out = tmp_path / "plain.mp4"
    done = subprocess.run(command(title, out, jobs), capture_output=True, check=True)
    return out.read_bytes(), json.loads(done.stdout)


def killed(argv: list[str], out: Path, *, after_parts: int, more_s: float) -> bool:
    """Start a run and kill it once it has so many parts, and some time more; False if it ended before."""
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while child.poll() is None and len(records(out)) < after_parts:
        time.sleep(0.02)
    time.sleep(more_s)
    if child.poll() is None:
        os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    return child.returncode == -signal.SIGKILL


def check_killed(title: Path, tmp_path: Path, jobs: int, kills: int, seed: int) -> None:
    """Kill a run so many times, then let it end: the same bytes, and no whole part made twice."""
    wanted, plain = undisturbed(title, tmp_path, jobs)
    out = tmp_path / "out.mp4"
    rng = random.Random(seed)
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(kills):
        goal = len(kept) + rng.choice([0, 1, 1])
        if not killed(command(title, out, jobs), out, after_parts=goal, more_s=rng.uniform(0, 0.5)):
            break
        now = records(out)
        assert {name: now[name] for name in kept} == kept
        kept = now
        assert not out.exists()
    if not out.exists():
        done = subprocess.run(command(title, out, jobs), capture_output=True, check=True)
        document = json.loads(done.stdout)
        assert document["encodes_cached"] >= len(kept)
        assert document["encodes_spent"] + document["encodes_cached"] == plain["encodes_spent"]
    assert out.read_bytes() == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "plain.mp4"]


def test_killed_run_goes_on(title, tmp_path):
    """SIGKILL twice, then a whole run: the same bytes, and no part that was whole is encoded again."""
    check_killed(title, tmp_path, jobs=2, kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_many_moments(title, tmp_path, seed):
    """SIGKILL at five random moments of each of ten runs, 50 in all."""
    check_killed(title, tmp_path, jobs=1 + seed % 3, kills=5, seed=seed)
