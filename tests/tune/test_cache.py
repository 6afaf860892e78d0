"""The cache of measured encodes: what it saves, and that nothing wrong comes out of it."""

import hashlib
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.errors import ConfigError, IntegrityError, MediaError
from vmaf_assay.media.encoders import ENCODERS, with_extra_args
from vmaf_assay.media.files import canonical_json
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.user_folders import cache_dir
from vmaf_assay.records import V1_FEATURES, Scored
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.cache_seal import user_key
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
    assert {what.split()[0] for what, _, _ in steps} <= {"open"}
    assert warm[0].rate_value == cold.rate_value
    assert warm[0].probes == cold.probes
    assert warm[0].curve == cold.curve
    assert any("3 encodes were known" in reason for reason in warm[0].reasons)
    other = tune(ffmpeg, verified(), replace(first, target_vmaf=70.0, trials=0), cache=cache)
    assert (other.encodes_spent, other.encodes_cached) == (0, 2)


@pytest.mark.ffmpeg
def test_keys_follow_what_decides(ffmpeg, source, tmp_path):
    """Content, size, filters, encoder, options and rate value each change the key; the path does not."""
    cache = Cache(tmp_path / "cache")
    same = tmp_path / "elsewhere.mkv"
    same.write_bytes(source.read_bytes())
    other = tmp_path / "other.mkv"
    other.write_bytes(source.read_bytes() + b"\0")
    base = ReferenceInput(source, Fraction(25), 12, (192, 108))
    x264 = ENCODERS["libx264"]

    def key(reference=base, info=x264, preset="medium", rate=30.0):
        return cache.key(ffmpeg, reference, info, preset, rate)

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


def test_what_a_forecast_of_v1_reads_is_kept(tmp_path):
    """Beside the scores, what VMAF v1 reads of each frame comes back; other columns are not kept."""
    more = {name: np.linspace(index, 9, 5, dtype=np.float32) for index, name in enumerate(V1_FEATURES)}
    made = replace(scored(), more=more | {"frame_q": np.ones(5, dtype=np.float32)})
    Cache(tmp_path).store("ab" * 32, made)
    known = Cache(tmp_path).load("ab" * 32, 5)
    assert known is not None
    assert known.more is not None
    assert np.array_equal(known.features, made.features)
    assert {name: column.tolist() for name, column in known.more.items()} == {
        name: column.tolist() for name, column in more.items()
    }


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


def test_an_entry_of_somebody_else_is_not_believed(tmp_path, monkeypatch):
    """Figures edited by hand, sealed without a key, or sealed with another user's key are a miss."""
    cache, key = Cache(tmp_path), "ab" * 32
    cache.store(key, scored(2))
    (path,) = tmp_path.glob("*/*.scored")
    whole = path.read_bytes()
    head, _, rows = whole.partition(b"\n")
    edited = {k: v for k, v in json.loads(head).items() if k != "seal"} | {"kbps": 1.0}
    unkeyed = hashlib.sha256(canonical_json(edited) + b"\n" + rows).hexdigest()
    seals = [json.loads(head)["seal"], unkeyed, "", "\u00e4", None, 1, [unkeyed]]
    for facts in [edited, *(edited | {"seal": seal} for seal in seals)]:
        path.write_bytes(json.dumps(facts).encode() + b"\n" + rows)
        assert cache.load(key, 2) is None
    path.write_bytes(whole)
    assert Cache(tmp_path).load(key, 2) is not None
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "another user"))
    assert Cache(tmp_path).load(key, 2) is None


@pytest.mark.ffmpeg
def test_a_poisoned_cache_changes_no_answer(ffmpeg, source, tmp_path, monkeypatch):
    """Entries that another user sealed, under the right names and with better scores, are measured again."""
    request = TuneRequest(source, "libx264", 85.0, 0.9, trials=0)
    honest = tune(ffmpeg, verified(), request, cache=Cache(tmp_path / "mine"))
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "their state"))
    theirs = Cache(tmp_path / "mine")
    for path in (tmp_path / "mine").glob("*/*.scored"):
        theirs.store(path.stem, replace(scored(12), vmaf=np.full(12, 99.0, np.float32)))
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "my state"))
    again = tune(ffmpeg, verified(), request, cache=Cache(tmp_path / "mine"))
    assert again.encodes_cached == 0
    assert again.curve == honest.curve


@pytest.mark.ffmpeg
def test_a_result_names_the_decoded_pictures(ffmpeg, source, tmp_path):
    """The digest is of plain ffmpeg's greys of the source: the same for a remux, another for other pictures."""
    remux, flipped = tmp_path / "remux.avi", tmp_path / "flipped.mkv"
    for path, options in ((remux, ["-c", "copy"]), (flipped, ["-vf", "vflip", "-c:v", "ffv1"])):
        subprocess.run([ffmpeg.path, "-v", "error", "-i", source, *options, path], check=True)
    shrink = ["-vf", "scale=32:18:flags=area,format=gray", "-f", "rawvideo", "-"]
    plain = subprocess.run([ffmpeg.path, "-v", "error", "-i", source, *shrink], check=True, capture_output=True)
    digests = []
    for path in (source, remux, flipped):
        reference = ReferenceInput(path, Fraction(25), 12, (192, 108))
        digests.append(encode_and_score(ffmpeg, reference, ENCODERS["libx264"], "ultrafast", 30.0).decoded)
    assert digests[0] == hashlib.sha256(plain.stdout).hexdigest()
    assert digests[1] == digests[0] != digests[2]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("changed", ["all entries", "one entry"])
def test_results_of_other_pictures_are_refused(ffmpeg, source, tmp_path, changed):
    """Entries under the right names that state other pictures than an encode shows now, or than each other."""
    cache = Cache(tmp_path)
    request = TuneRequest(source, "libx264", 85.0, 0.9, trials=0)
    tune(ffmpeg, verified(), request, cache=cache)
    entries = sorted(tmp_path.glob("*/*.scored"))
    assert len(entries) == 2
    for path in entries if changed == "all entries" else entries[:1]:
        kept = cache.load(path.stem, 12)
        cache.store(path.stem, replace(kept, decoded="0" * 64))
    with pytest.raises(IntegrityError, match="measured on other pictures"):
        tune(ffmpeg, verified(), replace(request, trials=int(changed == "all entries")), cache=cache)


@pytest.mark.ffmpeg
def test_a_source_that_changes_meanwhile_is_refused(ffmpeg, source, tmp_path):
    """A source that is another file after an encode than before gives no answer and leaves no entry."""
    copy, cache = tmp_path / "copy.mkv", Cache(tmp_path / "cache")
    copy.write_bytes(source.read_bytes())

    def swap(what: str, *_: object) -> None:
        if what.startswith("probe"):
            copy.write_bytes(source.read_bytes() + b"\0")

    with pytest.raises(MediaError, match="changed while it was measured"):
        tune(ffmpeg, verified(), TuneRequest(copy, "libx264", 85.0, 0.9, trials=0), cache=cache, on_step=swap)
    assert not list((tmp_path / "cache").glob("*/*.scored"))


def test_a_file_with_its_time_set_back_is_read_again(tmp_path):
    """Other bytes of the same length and time, or another file of the same name, have another digest."""
    path, other, cache = tmp_path / "a", tmp_path / "b", Cache(tmp_path / "cache")
    for content, name in ((b"one", path), (b"two", path), (b"six", other)):
        name.write_bytes(content)
        os.utime(name, ns=(0, 0))
        if name is other:
            other.replace(path)
        assert cache.digest(path) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o775, 0o722])
def test_a_folder_that_others_can_write_is_refused(tmp_path, mode):
    """Before anything is measured: one line that names the folder, why, and what to do; exit code 2."""
    tmp_path.chmod(mode)
    for act in (
        lambda cache: cache.load("ab" * 32, 2),
        lambda cache: cache.store("ab" * 32, scored(2)),
        lambda cache: cache.load_plan("ab" * 32),
        lambda cache: cache.store_plan("ab" * 32, {}),
    ):
        with pytest.raises(ConfigError, match=rf"{tmp_path} has mode .*others can write.*--no-cache"):
            act(Cache(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    """Whoever owns a folder can write to it, whatever its mode says."""
    tmp_path.chmod(0o700)
    if os.getuid() == 0:
        os.chown(tmp_path, 4711, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(ConfigError, match=rf"{tmp_path} belongs to user \d+"):
        Cache(tmp_path).load("ab" * 32, 2)


def test_what_is_made_is_private(tmp_path, monkeypatch):
    """With a umask that leaves everything open, the folder and the key are this user's alone."""
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "state"))
    before = os.umask(0)
    try:
        Cache(tmp_path / "cache").store("ab" * 32, scored(2))
    finally:
        os.umask(before)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    (key,) = (tmp_path / "state").iterdir()
    assert (key.name, key.stat().st_mode & 0o777, key.stat().st_size) == ("cache.key", 0o600, 32)
    assert Cache(tmp_path / "cache").load("ab" * 32, 2) is not None


SPOILED_KEYS = {
    "readable by others": lambda key: key.chmod(0o640),
    "cut": lambda key: key.write_bytes(key.read_bytes()[:31]),
    "longer": lambda key: key.write_bytes(key.read_bytes() + b"0"),
    "a link": lambda key: key.symlink_to(key.rename(key.with_name("elsewhere"))),
    "a link to nothing": lambda key: (key.unlink(), key.symlink_to("absent")),
    "a folder": lambda key: (key.unlink(), key.mkdir()),
    "a pipe": lambda key: (key.unlink(), os.mkfifo(key, 0o600)),
}


@pytest.mark.parametrize("what", SPOILED_KEYS)
def test_a_key_that_is_not_ours_alone_is_refused(tmp_path, monkeypatch, what):
    """A key that others can read, or that is no plain file of 32 bytes, is named and not used."""
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "state"))
    Cache(tmp_path / "cache").store("ab" * 32, scored(2))
    SPOILED_KEYS[what](tmp_path / "state" / "cache.key")
    with pytest.raises(ConfigError, match=r"cache\.key.*remove it"):
        Cache(tmp_path / "cache").load("ab" * 32, 2)


def test_without_a_place_for_a_key_nothing_is_kept(tmp_path, monkeypatch):
    """A state folder that cannot be made is no error: every result is measured."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ASSAY_STATE_DIR", str(tmp_path / "file"))
    cache = Cache(tmp_path / "cache")
    cache.store("ab" * 32, scored(2))
    assert cache.load("ab" * 32, 2) is None
    assert not (tmp_path / "cache").exists()


def test_two_processes_make_one_key(tmp_path):
    """Keys asked for at once by many threads are the same key."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: user_key(tmp_path), range(32)))
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cache.key"]


def test_the_folder_stays_small(tmp_path):
    """Beyond its size the entries used longest ago go first."""
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
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("ASSAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_dir() == tmp_path / "vmaf-assay"
