"""Whatever happens to a build, running it again ends with the same corpus, and nothing else is left."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest

from tests.conftest import lavfi
from tests.corpus.builds import (
    build_argv,
    check_clean,
    digest_of,
    finish,
    kill,
    n_cells,
    processes_at,
    start,
    wait_until,
)
from vmaf_assay.media.process import _UNLESS_ORPHANED

pytestmark = pytest.mark.ffmpeg


def test_killed_builder_and_killed_ffmpeg(clips, undisturbed, tmp_path):
    """A builder killed in mid-build leaves whole cells and no ffmpeg; the next run's ffmpeg killed: all well."""
    folder = tmp_path / "corpus"
    builder = start(build_argv(clips, folder))
    wait_until(lambda: n_cells(folder) >= 2)
    builder.kill()
    builder.communicate()
    check_clean(folder, finished=False)
    assert not (folder / "corpus.json").exists()

    builder = start(build_argv(clips, folder))
    wait_until(lambda: processes_at(folder, "rendition-"))
    for pid in processes_at(folder, "rendition-"):
        kill(pid)
    out, err = builder.communicate(timeout=300)
    assert builder.returncode == 0, err
    assert digest_of(out) == undisturbed
    check_clean(folder, finished=True)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["builder", "ffmpeg", "worker"])
def test_a_hundred_kills_at_random_moments(clips, undisturbed, tmp_path, victim):
    """34 builds each are hit at a random moment; whatever is left, going on ends with the undisturbed digest."""
    rng, folder, n_hit = random.Random(victim), tmp_path / "corpus", 0
    extra = ("--workers", "2") if victim == "worker" else ("--jobs", "2")
    while n_hit < 34:
        builder = start(build_argv(clips, folder, *extra))
        # A third of the builds is hit before the first cell, the others later.
        if rng.random() > 1 / 3:
            wanted = min(9, n_cells(folder) + 1)
            while n_cells(folder) < wanted and builder.poll() is None:
                time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        words = {"builder": "corpus build", "ffmpeg": "-nostdin", "worker": "spawn_main"}
        tree = [builder.pid] if victim == "builder" else []
        while not tree and builder.poll() is None:
            tree = _below(builder.pid, words[victim])
        if tree and builder.poll() is None:
            kill(rng.choice(tree))
            n_hit += 1
        out, err = builder.communicate(timeout=300)
        assert builder.returncode in ({0, -9} if victim == "builder" else {0, 3}), err
        assert "Traceback" not in err
        check_clean(folder, finished=builder.returncode == 0)
        if builder.returncode == 0:
            assert digest_of(out) == undisturbed
            shutil.rmtree(folder)
    code, out, err = finish(build_argv(clips, folder))
    assert (code, digest_of(out)) == (0, undisturbed), err
    assert n_cells(folder) == 9
    check_clean(folder, finished=True)


def _below(root: int, word: str) -> list[int]:
    """Processes started by `root`, at any depth, whose command line holds `word`."""
    # -ww: a terminal's width in the environment would cut the command lines short.
    argv = ["ps", "-e", "-ww", "-o", "pid=,ppid=,args="]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    tree = {root}
    for _ in range(5):
        tree |= {int(pid) for pid, parent, *_ in rows if int(parent) in tree}
    return [int(pid) for pid, _, *args in rows if int(pid) in tree - {root} and args and word in args[0]]


def test_refused_sources_are_named_and_the_rest_is_built(ffmpeg, clips, undisturbed, tmp_path):
    """One with alpha, one of one frame, one damaged inside: a line each, exit 2, and the digest of the others."""
    mixed, folder = tmp_path / "mixed", tmp_path / "corpus"
    shutil.copytree(clips, mixed)
    lavfi(
        ffmpeg,
        mixed / "alpha.mov",
        "-vf",
        "format=argb,colorchannelmixer=aa=0.5",
        "-frames:v",
        "4",
        "-c:v",
        "qtrle",
    )
    lavfi(ffmpeg, mixed / "one.mp4", "-frames:v", "1", "-c:v", "libx264")
    whole = bytearray((clips / "c1.mp4").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 400] = b"\x55" * 400
    (mixed / "damaged.mp4").write_bytes(whole)
    code, out, err = finish(build_argv(mixed, folder, "--json"))
    told = json.loads(out)
    assert (code, told["digest"], told["sources"]) == (2, undisturbed, ["c0", "c1", "c2"]), err
    assert [one["source"] for one in told["refused"]] == ["alpha", "one", "damaged"]
    lines = err.splitlines()
    for name in ("alpha", "one", "damaged"):
        assert sum(line.startswith(f"refused: {name}: ") for line in lines) == 1, err
    assert "error: 3 of 6 sources refused and not in the corpus: alpha, one, damaged" in lines[-1]
    for extra in (("--workers", "2"), ()):
        code, again, err = finish(build_argv(mixed, folder, *extra))
        assert (code, digest_of(again)) == (2, undisturbed), err
    code, out, err = finish(build_argv(mixed / "damaged.mp4", tmp_path / "alone", "--json"))
    assert (code, out, len(err.splitlines())) == (2, "", 2), err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_at_once(clips, undisturbed, tmp_path, number):
    """Ctrl-C in mid-build: over within a second (three on a busy machine), one line, no process, no scratch."""
    folder = tmp_path / "corpus"
    builder = start(build_argv(clips, folder))
    wait_until(lambda: n_cells(folder) >= 1)
    started = time.monotonic()
    os.killpg(builder.pid, number)
    builder.wait(timeout=60)
    elapsed_s = time.monotonic() - started
    assert processes_at(folder) == []
    _, err = builder.communicate()
    assert builder.returncode == 128 + number, err
    assert len(err.splitlines()) == 1
    assert elapsed_s < 3.0
    assert not (folder / ".scratch").exists()
    code, out, _ = finish(build_argv(clips, folder))
    assert (code, digest_of(out)) == (0, undisturbed)


def test_full_disk(clips, undisturbed, tmp_path):
    """No space left: exit 3 and one line that says so; with space, the same command finishes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    mounted = subprocess.run(size, capture_output=True, check=False).returncode == 0
    try:
        if mounted:
            code, _, err = finish(build_argv(clips, disk / "corpus"))
        else:  # no right to mount: the next real fault is a limit on the size of files
            code, _, err = _with_file_limit(build_argv(clips, disk / "corpus"), 300_000)
        assert code == 3
        assert len(err.splitlines()) == 1
        assert ("the disk is full" if mounted else "has reached its size limit") in err
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        code, out, err = finish(build_argv(clips, disk / "corpus"))
        assert (code, digest_of(out)) == (0, undisturbed), err
        check_clean(disk / "corpus", finished=True)
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def _with_file_limit(argv, n_bytes):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    done = subprocess.run(argv, preexec_fn=limit, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_limit_on_file_sizes(clips, tmp_path):
    """A rendition that may not be written whole: exit 3 and one line that says so."""
    code, _, err = _with_file_limit(build_argv(clips, tmp_path / "corpus"), 300_000)
    assert (code, len(err.splitlines())) == (3, 1), err
    assert "a file has reached its size limit" in err


def test_read_only_folder(clips, tmp_path):
    """A folder that cannot be written: exit 3 and one line, before anything is encoded."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        disk.chmod(0o555)
    try:
        code, _, err = finish(build_argv(clips, disk))
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)
    assert (code, len(err.splitlines())) == (3, 1), err
    assert "cannot write" in err


def test_deleted_and_damaged_cells(clips, undisturbed, tmp_path):
    """`verify` names what is wrong with exit 4, and the same build mends it."""
    folder = tmp_path / "corpus"
    assert finish(build_argv(clips, folder))[0] == 0
    verify = [*build_argv(clips, folder)[:4], "verify", str(folder)]
    first, second, *_ = sorted((folder / "cells").iterdir())
    first.unlink()
    code, _, err = finish(verify)
    assert code == 4
    assert "1 cells are missing, first c" in err
    second.write_bytes(second.read_bytes()[:-9])
    code, _, err = finish(verify)
    assert code == 4
    assert f"cell {second.stem}" in err
    code, out, _ = finish(build_argv(clips, folder))
    assert (code, digest_of(out)) == (0, undisturbed)
    assert finish(verify)[0] == 0


def test_source_that_changed_between_runs(ffmpeg, clips, undisturbed, tmp_path):
    """Said by name; its old cells are left out; another digest. Restored, the old digest and no work."""
    mine, folder = tmp_path / "clips", tmp_path / "corpus"
    shutil.copytree(clips, mine)
    assert finish(build_argv(mine, folder))[0] == 0
    lavfi(ffmpeg, mine / "c1.mp4", "-frames:v", "24", "-c:v", "libx264", graph="smptebars=size=160x90:rate=25")
    code, out, err = finish(build_argv(mine, folder))
    assert code == 0
    assert "source c1 has changed" in err
    assert "3 finished cells of the old file are left out" in err
    assert digest_of(out) != undisturbed
    assert n_cells(folder) == 12
    shutil.copy(clips / "c1.mp4", mine / "c1.mp4")
    code, out, _ = finish(build_argv(mine, folder))
    assert (code, digest_of(out), n_cells(folder)) == (0, undisturbed, 12)


def test_two_builders(clips, undisturbed, tmp_path):
    """The second is told at once with exit 2; the first, held still meanwhile, is not disturbed."""
    folder = tmp_path / "corpus"
    first = start(build_argv(clips, folder))
    wait_until(lambda: (folder / ".scratch").exists())
    # Held, so that it cannot be done before the second has started, however slowly that starts.
    kill(first.pid, signal.SIGSTOP)
    code, _, err = finish(build_argv(clips, folder))
    kill(first.pid, signal.SIGCONT)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "another build is using" in err
    out, _ = first.communicate(timeout=300)
    assert (first.returncode, digest_of(out)) == (0, undisturbed)


def test_eight_jobs_and_another_order(clips, undisturbed, tmp_path):
    """Eight jobs and reversed sources: the digest of one job in order."""
    argv = build_argv(clips / "c2.mp4", tmp_path / "corpus", "--jobs", "8")
    code, out, err = finish([*argv, str(clips / "c1.mp4"), str(clips / "c0.mp4")])
    assert (code, digest_of(out)) == (0, undisturbed), err


def test_new_groups_reach_finished_cells(clips, tmp_path):
    """A manifest whose groups were edited: nothing is measured again, and the digest is that of a fresh build."""
    for name in ("clips", "fresh"):
        shutil.copytree(clips, tmp_path / name)

    def build(manifest_folder, group, out):
        entries = [{"source": "a", "group": group, "file": "c0.mp4"}]
        path = tmp_path / manifest_folder / "m.json"
        path.write_text(json.dumps({"schema_version": 1, "sources": entries}))
        argv = build_argv("--manifest", tmp_path / out)
        argv.insert(argv.index("--manifest") + 1, str(path))
        code, stdout, err = finish(argv)
        assert code == 0, err
        return digest_of(stdout)

    old = build("clips", "g", "corpus")
    before = {p.name for p in (tmp_path / "corpus" / "cells").iterdir()}
    new = build("clips", "h", "corpus")
    assert new != old
    assert new == build("fresh", "h", "fresh-corpus")
    assert {p.name for p in (tmp_path / "corpus" / "cells").iterdir()} == before


def test_the_same_content_twice_is_refused(clips, tmp_path):
    """Two names for one content could put it on both sides of a fold; exit 2 names them."""
    shutil.copytree(clips, tmp_path / "clips")
    shutil.copy(clips / "c0.mp4", tmp_path / "clips" / "again.mp4")
    code, _, err = finish(build_argv(tmp_path / "clips", tmp_path / "corpus"))
    assert code == 2
    assert "sources 'again' and 'c0' have the same content" in err


def test_a_command_whose_parent_is_gone_does_not_start():
    """The look after `setpriv`: with another parent than the one named, the command is not run."""
    argv = ["/bin/sh", "-c", _UNLESS_ORPHANED]
    done = subprocess.run([*argv, "1", "echo", "ran"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (137, "")
    done = subprocess.run([*argv, str(os.getpid()), "echo", "ran"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ran\n")
