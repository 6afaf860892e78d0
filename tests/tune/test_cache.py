"""The cache of measured encodes: what it saves, and that nothing wrong comes out of it."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.media.encoders import ENCODERS, with_extra_args
from vmaf_assay.media.score import ReferenceInput
from vmaf_assay.records import Scored
from vmaf_assay.tune.cache import Cache, default_cache_dir
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i testsrc2=size=192x108:rate=25 -frames:v 12 -c:v ffv1 source.mkv`."""
    path = tmp_path_factory.mktemp("cache") / "source.mkv"
    return lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p")


def scored(n: int = 5) -> Scored:
    """A made-up result of n frames."""
    rng = np.random.default_rng(n)
    values = rng.uniform(0, 100, (n, 7)).astype(np.float32)
    return Scored(values[:, 0], values[:, 1:], n, 1234, 56.78, 0.5, "3.0")


@pytest.mark.ffmpeg
def test_a_second_question_costs_no_probe(ffmpeg, source, tmp_path):
    """The same source with another target runs no probe; the answers agree with those of a run without a cache."""
    cache = Cache(tmp_path)
    first = TuneRequest(source, "libx264", 85.0, 0.9, trials=1)
    cold = tune(ffmpeg, verified(), first, cache=cache)
    assert (cold.encodes_spent, cold.encodes_cached) == (3, 0)
    warm, steps = [], []
    for cache_again in (cache, Cache(tmp_path)):
        warm.append(tune(ffmpeg, verified(), first, cache=cache_again, on_step=lambda *step: steps.append(step)))
    assert [(w.encodes_spent, w.encodes_cached) for w in warm] == [(0, 3), (0, 3)]
    assert steps == []
    assert warm[0].rate_value == cold.rate_value
    assert warm[0].probes == cold.probes
    assert warm[0].curve == cold.curve
    assert any("3 encodes were known" in reason for reason in warm[0].reasons)
    other = tune(ffmpeg, verified(), replace(first, target_vmaf=70.0, trials=0), cache=cache)
    assert (other.encodes_spent, other.encodes_cached) == (0, 2)


@pytest.mark.ffmpeg
def test_keys_follow_what_decides(ffmpeg, source, tmp_path):
    """Content, size, filters, encoder, options, rate value and threads each change the key; the path does not."""
    cache = Cache(tmp_path / "cache")
    same = tmp_path / "elsewhere.mkv"
    same.write_bytes(source.read_bytes())
    other = tmp_path / "other.mkv"
    other.write_bytes(source.read_bytes() + b"\0")
    base = ReferenceInput(source, Fraction(25), 12, (192, 108))
    x264 = ENCODERS["libx264"]

    def key(reference=base, info=x264, preset="medium", rate=30.0, threads="single"):
        return cache.key(ffmpeg, reference, info, preset, rate, threads)

    assert key() == key(replace(base, path=same))
    different = [
        key(),
        key(replace(base, path=other)),
        key(replace(base, size=(96, 54))),
        key(replace(base, n_frames=11)),
        key(replace(base, user_filters="hflip")),
        key(replace(base, unfiltered_size=(192, 108))),
        key(replace(base, input_args=("-ss", "1"))),
        key(info=ENCODERS["libx265"]),
        key(preset="fast"),
        key(rate=31.0),
        key(threads="auto"),
        key(info=with_extra_args(x264, "-tune grain")),
    ]
    assert len(set(different)) == len(different)


def test_results_round_trip(tmp_path):
    """What comes out is what went in, to the bit."""
    cache, kept = Cache(tmp_path), scored()
    cache.store("ab" * 32, kept)
    found = cache.load("ab" * 32, 5)
    assert found is not None
    np.testing.assert_array_equal(found.vmaf, kept.vmaf)
    np.testing.assert_array_equal(found.features, kept.features)
    assert (found.bytes, found.kbps, found.libvmaf_version) == (1234, 56.78, "3.0")
    assert cache.load("ab" * 32, 6) is None
    assert cache.load("cd" * 32, 5) is None


def test_no_flipped_byte_is_believed(tmp_path):
    """Every single flipped byte of an entry, and every cut, is a miss and no error."""
    cache, key = Cache(tmp_path), "ab" * 32
    cache.store(key, scored(2))
    (path,) = tmp_path.glob("*/*.scored")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.load(key, 2) is None, at
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert cache.load(key, 2) is None
    path.write_bytes(whole)
    assert cache.load(key, 2) is not None
    (tmp_path / "cd").mkdir()
    (tmp_path / "cd" / f"{'cd' * 32}.scored").write_bytes(whole)
    assert cache.load("cd" * 32, 2) is None


def test_an_entry_with_another_seal_is_not_believed(tmp_path):
    """An entry whose figures were edited by hand does not verify."""
    cache, key = Cache(tmp_path), "ab" * 32
    cache.store(key, scored(2))
    (path,) = tmp_path.glob("*/*.scored")
    head, _, rows = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps(json.loads(head) | {"kbps": 1.0}).encode() + b"\n" + rows)
    assert cache.load(key, 2) is None


def test_the_folder_stays_small(tmp_path):
    """Beyond its size the entries used longest ago go first."""
    import os

    size = 0
    cache = Cache(tmp_path)
    for number in range(6):
        cache.store(f"{number:02d}" * 32, scored(100))
        (path,) = tmp_path.glob(f"{number:02d}/*.scored")
        os.utime(path, (1000 + number, 1000 + number))
        size = path.stat().st_size
    assert cache.load("00" * 32, 100) is not None  # used now
    Cache(tmp_path, max_bytes=3 * size + 10).store("99" * 32, scored(100))
    assert sorted(path.parent.name for path in tmp_path.glob("*/*.scored")) == ["00", "05", "99"]


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path):
    """A file where the folder should be: nothing is kept, nothing fails."""
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file")
    cache.store("ab" * 32, scored())
    assert cache.load("ab" * 32, 5) is None


def test_where_the_cache_is(monkeypatch, tmp_path):
    """`$ASSAY_CACHE` first, then the user's own cache folder."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "mine"))
    assert default_cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("ASSAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert default_cache_dir() == tmp_path / "vmaf-assay"
