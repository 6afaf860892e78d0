"""A watched folder: complete files are taken once; what failed waits for a change; a kill loses nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.api.watching import watch_folder
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import sha256_file
from vmaf_assay.media.lock import exclusive
from vmaf_assay.tune.arrivals import Arrivals, Ledger, SeenRecord, Stamp, check_watch, remove_leftovers, stamp_of
from vmaf_assay.tune.final import private_prefix
from vmaf_assay.tune.request import TuneRequest


def put(path: Path, data: bytes = b"x") -> Path:
    """A file, its folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class Looks:
    """A folder and a clock that the test sets."""

    def __init__(self, folder: Path, settle_s: float = 10.0) -> None:
        self.at = 0.0
        self.folder = folder
        self.arrivals = Arrivals(folder, folder / "out", settle_s, now=lambda: self.at)

    def names(self, at: float) -> list[str]:
        """What is complete at a time."""
        self.at = at
        return [path.relative_to(self.folder).as_posix() for path, _ in self.arrivals.look()]


def test_a_file_that_grows_is_not_complete(tmp_path):
    """The settle time begins again with every change of size or time, and is counted for each file."""
    looks = Looks(tmp_path)
    first = put(tmp_path / "a.mkv")
    assert looks.names(0) == []
    put(tmp_path / "season" / "b.mkv")
    first.write_bytes(b"xy")
    assert looks.names(9) == []
    assert looks.names(18.9) == []
    os.utime(first, ns=(1, 1))  # as `cp -p` ends: only the times change
    assert looks.names(19) == ["season/b.mkv"]
    assert looks.names(28) == ["season/b.mkv"]
    assert looks.names(29) == ["season/b.mkv", "a.mkv"]
    first.unlink()
    assert looks.names(30) == ["season/b.mkv"]


def test_a_file_replaced_by_another_with_its_size_and_time_waits(tmp_path):
    """`rsync --times` keeps size and time of a copy; the time of the change of its facts still tells it apart."""
    looks = Looks(tmp_path)
    path = put(tmp_path / "a.mkv")
    assert looks.names(0) == []
    facts = path.stat()
    time.sleep(0.02)  # the clock of the file system
    path.write_bytes(b"y")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert looks.names(10) == []
    assert looks.names(20) == ["a.mkv"]


@pytest.mark.parametrize(
    "name",
    [
        "a.mkv.part",
        "a.part.mkv",
        "a.mkv.TMP",
        "a.temp.mp4",
        "a.mp4.crdownload",
        ".a.mkv.Xy12",
        ".hidden.mkv",
        ".folder/a.mkv",
        "~a.mkv",
        "a.txt",
        "out/a.mkv",
    ],
)
def test_names_that_are_not_taken(tmp_path, name):
    """Names of copies in progress, hidden files, other files and our own outputs are left alone."""
    put(tmp_path / name)
    put(tmp_path / "a.mkv")
    assert Looks(tmp_path, 0.0).names(0) == ["a.mkv"]


def test_what_is_no_plain_file_is_not_taken(tmp_path):
    """A pipe, a folder, an empty file and a link to nothing never count as complete, and stop no other file."""
    os.mkfifo(tmp_path / "pipe.mkv")
    (tmp_path / "folder.mkv").mkdir()
    (tmp_path / "empty.mkv").touch()
    (tmp_path / "loop.mkv").symlink_to("loop.mkv")
    put(tmp_path / "a.b.mkv")
    assert Looks(tmp_path, 0.0).names(0) == ["a.b.mkv"]


def test_folders_and_times_that_are_refused(tmp_path):
    """A missing folder, outputs in or above the watched folder itself, and impossible times are refused."""
    folder = tmp_path / "in"
    with pytest.raises(ConfigError, match="is no folder"):
        check_watch(folder, tmp_path / "out", 1, 1)
    folder.mkdir()
    for out in (folder, tmp_path, tmp_path / "in" / ".." / "in"):
        with pytest.raises(ConfigError, match="holds the watched folder"):
            check_watch(folder, out, 1, 1)
    for settle, every in ((-1, 1), (float("nan"), 1), (1, 0), (1, float("inf"))):
        with pytest.raises(ConfigError, match="seconds"):
            check_watch(folder, tmp_path / "out", settle, every)
    with pytest.raises(ConfigError, match="s3://bucket/out is a URL, not a folder"):
        check_watch(folder, Path("s3://bucket/out"), 1, 1)
    with pytest.raises(ConfigError, match="s3://bucket/in is no folder"):
        check_watch(Path("s3://bucket/in"), folder / "out", 1, 1)
    check_watch(folder, folder / "out", 0, 0.1)


def record(source: str, stamp: Stamp, **fields) -> SeenRecord:
    """A record of a source that failed, unless fields say otherwise."""
    asked = {"request_sha256": "r", "state": "failed"} | fields
    return SeenRecord(source=source, source_bytes=stamp.n_bytes, source_mtime_us=stamp.mtime_us, **asked)


def test_what_is_settled(tmp_path):
    """Failures wait for a change of source or request; an encode made is final until its source changes."""
    source = put(tmp_path / "a.mkv")
    stamp = stamp_of(source)
    ledger = Ledger(tmp_path, tmp_path / "out")

    def settled(digest="r", now=stamp, **fields) -> bool:
        ledger.write(source, record("a.mkv", stamp, **fields))
        fresh = Ledger(tmp_path, tmp_path / "out")  # as after a restart
        assert fresh.of(source) == ledger.of(source)
        return fresh.settled(source, now, digest)

    assert not ledger.settled(source, stamp, "r")
    assert settled()
    assert not settled("another request")
    assert not settled(now=Stamp(stamp.n_bytes + 1, stamp.mtime_us, stamp.ctime_ns))
    assert not settled(now=Stamp(stamp.n_bytes, stamp.mtime_us + 1, stamp.ctime_ns))
    assert settled(now=Stamp(stamp.n_bytes, stamp.mtime_us, stamp.ctime_ns + 1))
    assert not settled(state="begun")
    assert settled("another request", state="done", output_sha256="o")
    assert not settled("another request", state="done")


def test_a_record_that_is_damaged_or_of_another_source_counts_for_nothing(tmp_path):
    """Such a source is done again; it is neither believed nor the end of the watch."""
    source = put(tmp_path / "a.mkv")
    stamp = stamp_of(source)
    ledger = Ledger(tmp_path, tmp_path / "out")
    ledger.write(source, record("a.mkv", stamp))
    [path] = (tmp_path / "out" / ".assay" / "watch").iterdir()
    text = path.read_text()
    for damaged in (text[:-9], text.replace('"a.mkv"', '"b.mkv"'), text.replace("failed", "finished"), "[]"):
        path.write_text(damaged)
        assert Ledger(tmp_path, tmp_path / "out").of(source) is None


def test_leftovers_of_one_output_only(tmp_path):
    """What a killed run left of this output is removed, an empty folder too, and nothing else."""
    a, b = (private_prefix(tmp_path / name) for name in ("a.mkv", "b.mkv"))
    mine, other = put(tmp_path / f"{a}1" / "a.mkv"), put(tmp_path / f"{b}2" / "b.mkv")
    kept, empty = put(tmp_path / ".assay" / "a.mkv.json"), tmp_path / f"{a}3"
    empty.mkdir()
    remove_leftovers(tmp_path / "a.mkv")
    assert not mine.parent.exists()
    assert not empty.exists()
    assert other.exists()
    assert kept.exists()


@pytest.fixture
def clip(ffmpeg, tmp_path) -> Path:
    """Twelve small frames."""
    path = tmp_path / "clip.mkv"
    graph = "testsrc2=size=192x108:rate=25"
    lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)
    return path


class Watched:
    """A folder, its outputs, and runs of `--once` over it."""

    def __init__(self, tmp_path: Path, ffmpeg) -> None:
        self.folder, self.out, self.pages = tmp_path / "in", tmp_path / "out", tmp_path / "pages"
        self.folder.mkdir()
        self._settings = {"ensemble": verified(bitrate=True), "ffmpeg": ffmpeg}

    def once(self, **asked) -> dict[str, str]:
        """One run; the status of each source that it took, by name."""
        request = TuneRequest(self.folder, "libx264", 80.0, 0.9, trials=0, **asked)
        how = {"settle_s": 0.0, "every_s": 0.1, "once": True, "page_dir": self.pages}
        outcomes = watch_folder(self.folder, request, out_dir=self.out, **how, **self._settings)
        return {one.item.source.name: one.status for one in outcomes}


@pytest.mark.ffmpeg
def test_each_file_is_done_once(ffmpeg, tmp_path, clip):
    """Done and failed files are not taken again; a changed one is, and replaces its own encode, no other file."""
    watched = Watched(tmp_path, ffmpeg)
    shutil.copy(clip, watched.folder / "a.mkv")
    (watched.folder / "bad.mkv").write_bytes(clip.read_bytes()[:-4000])
    foreign = put(watched.out / "foreign.mkv", b"not ours")
    shutil.copy(clip, watched.folder / "foreign.mkv")
    assert watched.once() == {"a.mkv": "done", "bad.mkv": "failed", "foreign.mkv": "failed"}
    assert foreign.read_bytes() == b"not ours"
    assert watched.once() == {}
    index = (watched.pages / "index.html").read_text(encoding="utf-8")
    assert "3 titles met" in index
    assert index.count('<a href="a.html">') == 1
    first = sha256_file(watched.out / "a.mkv")

    shutil.copy(clip, watched.folder / "bad.mkv")  # the copy is finished now
    graph = "testsrc2=size=224x108:rate=25"
    changed = watched.folder / "a.mkv"
    lavfi(ffmpeg, changed, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)
    assert watched.once() == {"a.mkv": "done", "bad.mkv": "done"}
    assert "2 of 3 titles met what was asked; 1 failed" in (watched.pages / "index.html").read_text(
        encoding="utf-8"
    )
    second = sha256_file(watched.out / "a.mkv")
    assert second != first

    (watched.out / "a.mkv").write_bytes(b"edited by its user")
    os.utime(changed, ns=(1, 1))
    assert watched.once() == {"a.mkv": "failed"}
    assert (watched.out / "a.mkv").read_bytes() == b"edited by its user"
    shutil.copy(clip, watched.folder / "bad.mp4")
    assert watched.once() == {"bad.mp4": "failed"}, "its output is that of bad.mkv"


@pytest.mark.ffmpeg
def test_a_second_watch_is_refused(ffmpeg, tmp_path, clip):
    """Two runs over one folder of outputs would encode files twice."""
    watched = Watched(tmp_path, ffmpeg)
    (watched.out / ".assay").mkdir(parents=True)
    with (
        exclusive(watched.out / ".assay" / "watch.lock"),
        pytest.raises(ConfigError, match="another `assay watch` is at work"),
    ):
        watched.once()


def start(watched: Watched, tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    """`assay watch` as a user starts it, over a clip that is slow to encode."""
    argv = [sys.executable, "-m", "vmaf_assay", "watch", str(watched.folder), "--out-dir", str(watched.out)]
    argv += ["--settle", "0.2", "--every", "0.1", "--trials", "0", "--target-vmaf", "70", "--json", *more]
    env = os.environ | {"ASSAY_CACHE": str(tmp_path / "cache"), "ASSAY_OUTCOMES": str(tmp_path / "outcomes")}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def encoding(watched: Watched) -> Path:
    """Waits until an output is being written; its private folder."""
    for _ in range(6000):
        for folder in watched.out.glob(".assay-*"):
            if (folder / "a.mkv").exists():
                return folder
        time.sleep(0.005)
    pytest.fail("no encode was begun")


@pytest.mark.ffmpeg
def test_signals_end_it_and_a_kill_is_made_good(ffmpeg, tmp_path):
    """SIGINT and SIGTERM leave no partial encode; after SIGKILL the next run removes it, and makes it once."""
    watched = Watched(tmp_path, ffmpeg)
    graph = "testsrc2=size=384x216:rate=25"
    source = watched.folder / "a.mkv"
    lavfi(ffmpeg, source, "-frames:v", "24", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)
    slow = ["--preset", "veryslow", "--verify"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with start(watched, tmp_path, *slow) as running:
            encoding(watched)
            running.send_signal(number)
            out, err = running.communicate(timeout=60)
        assert running.returncode == code, err
        assert json.loads(out) == {"summary": json.loads(out)["summary"]}
        assert not list(watched.out.glob(".assay-*"))
        assert not (watched.out / "a.mkv").exists()
    with start(watched, tmp_path, *slow) as running:
        left = encoding(watched)
        running.kill()
    assert left.exists()
    done, again = (start(watched, tmp_path, "--once").communicate()[0].splitlines() for _ in range(2))
    assert [json.loads(line).get("status") for line in done] == ["done", None]
    assert [json.loads(line).get("status") for line in again] == [None]
    assert not left.exists()
