"""A corpus and its sources in an object store: a real S3 API, served over HTTP by moto in a process of its own."""

import socket
import subprocess
import sys
import time

import pytest

from tests.corpus.builds import build_argv, digest_of, finish, start
from vmaf_assay.corpus.storage import building, filesystem, is_url, open_store
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.errors import ConfigError, CorpusError, IntegrityError, ToolError

pytestmark = pytest.mark.ffmpeg


@pytest.fixture(scope="module")
def s3():
    """Environment that leads to the server; it ends with the module."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        server.kill()


@pytest.fixture
def bucket(s3, clips, monkeypatch):
    """A new bucket with the three clips in it; this process sees it too."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    url = f"s3://bucket-{time.monotonic_ns()}"
    files, root = filesystem(url)
    files.mkdir(root)
    for path in clips.iterdir():
        files.pipe_file(f"{root}/clips/{path.name}", path.read_bytes())
    return url


def test_killed_and_resumed_in_s3(s3, bucket, undisturbed, tmp_path):
    """Sources and corpus in S3, the builder killed in mid-build: resumed, the digest is that of local files."""
    s3 = s3 | {"TMPDIR": str(tmp_path)}
    argv = build_argv(f"{bucket}/clips", f"{bucket}/corpus")
    builder = start(argv, **s3)
    store = open_store(f"{bucket}/corpus")
    while not store.names("cells"):
        assert builder.poll() is None
        time.sleep(0.02)
    builder.kill()
    builder.communicate()
    with pytest.raises(CorpusError, match="run the same `assay corpus build` again"):
        load_corpus(f"{bucket}/corpus")
    kept = store.names("cells")
    code, out, err = finish(argv, **s3)
    assert (code, digest_of(out)) == (0, undisturbed), err
    assert kept <= store.names("cells")
    assert len(store.names("cells")) == 9
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [], "scratch is gone"
    corpus = load_corpus(f"{bucket}/corpus")
    assert (corpus.digest, corpus.frames.height) == (undisturbed, 9 * 24)


@pytest.mark.slow
def test_workers_onto_s3(s3, bucket, undisturbed, tmp_path):
    """Two worker processes read sources from S3 and write their cells to it: the digest of one machine's files."""
    pytest.importorskip("distributed")
    s3 = s3 | {"TMPDIR": str(tmp_path)}
    code, out, err = finish(build_argv(f"{bucket}/clips", f"{bucket}/corpus", "--workers", "2"), **s3)
    assert (code, digest_of(out)) == (0, undisturbed), err
    assert len(open_store(f"{bucket}/corpus").names("cells")) == 9
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [], "scratch is gone"


def test_damage_in_s3_is_found_and_mended(s3, bucket, clips, undisturbed):
    """Local sources, a corpus in S3, damaged rows and a lost cell: refused, then mended by the same build."""
    where = f"{bucket}/corpus"
    assert finish(build_argv(clips, where), **s3)[0] == 0
    store = open_store(where)
    (rows,) = (name for name in store.names() if name.startswith("rows-"))
    store.write(rows, (store.read(rows) or b"")[:-5])
    store.delete("cells/" + min(store.names("cells")))
    with pytest.raises(IntegrityError, match="is damaged"):
        load_corpus(where)
    code, out, err = finish(build_argv(clips, where), **s3)
    assert (code, digest_of(out)) == (0, undisturbed), err
    assert finish([*build_argv(clips, where)[:4], "verify", where], **s3)[0] == 0


def test_what_is_not_there_is_one_line(s3, bucket, clips):
    """Sources or a bucket that are not there: exit 2, the address, and nothing is encoded."""
    code, _, err = finish(build_argv(f"{bucket}/none", f"{bucket}/corpus"), **s3)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "nothing at s3://" in err
    code, _, err = finish(build_argv(clips, "s3://no-such-bucket-here/corpus"), **s3)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "s3://no-such-bucket-here/corpus: The specified bucket does not exist" in err


def test_a_url_whose_driver_is_missing():
    """The line says what to install."""
    with pytest.raises(ConfigError, match="install"):
        open_store("gs://bucket/corpus")
    with pytest.raises(ConfigError, match="Protocol not known"):
        open_store("nonsense://bucket/corpus")


def test_without_fsspec_a_url_names_the_extra(clips, tmp_path):
    """The base install, played by an import that fails: one line with the pip command, exit 2."""
    (tmp_path / "fsspec.py").write_text("raise ImportError('no fsspec')\n")
    code, _, err = finish(build_argv(clips, "s3://bucket/corpus"), PYTHONPATH=f"{tmp_path}:{':'.join(sys.path)}")
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "pip install 'vmaf-assay[cluster]'" in err


def test_a_store_that_cannot_be_asked_is_not_an_empty_one(bucket, monkeypatch):
    """No server: an error, never `no such cell`, which would measure everything again."""
    store = open_store(f"{bucket}/corpus")
    monkeypatch.setattr(store._fs, "cat_file", _refuse)
    with pytest.raises(ToolError, match="refused"):
        store.read("corpus.json")


def _refuse(*_args):
    raise ConnectionError("refused")


def test_windows_paths_are_no_urls():
    """A drive letter is not a scheme."""
    assert not is_url("C:\\corpus")
    assert is_url("memory://x")


def test_what_a_killed_worker_left_goes_with_the_build_that_lost_it(tmp_path):
    """A cell half written by a worker that was killed: gone when the build is through; finished cells stay."""
    cells = tmp_path / "cells"
    cells.mkdir()
    with building(open_store(tmp_path)):
        (cells / ".0123.parquet.x.tmp").write_bytes(b"half")
        (cells / "0123.parquet").write_bytes(b"whole")
    assert [path.name for path in cells.iterdir()] == ["0123.parquet"]
