"""Long sources: which segments are probed, and tuning on them from end to end."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay import api
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score
from vmaf_assay.media.segments import Look
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.compare import compare
from vmaf_assay.tune.compare_request import CompareRequest
from vmaf_assay.tune.measure import Measurer
from vmaf_assay.tune.probing import probe_title
from vmaf_assay.tune.progress import JobClock
from vmaf_assay.tune.request import TuneRequest, check_request
from vmaf_assay.tune.run import tune
from vmaf_assay.tune.segments import (
    AROUND_FRAMES,
    SEGMENT_FRAMES,
    n_segments,
    plan_sample,
    units_of,
)
from vmaf_assay.tune.source import open_source

SCENES = (
    "testsrc2=size=128x72:rate=25,trim=end_frame=190,format=yuv420p[a];"
    "mandelbrot=size=128x72:rate=25:maxiter=100,trim=end_frame=150,format=yuv420p[b];"
    "smptebars=size=128x72:rate=25,noise=alls=12:allf=t,trim=end_frame=210,format=yuv420p[c];"
    "testsrc=size=128x72:rate=25,trim=end_frame=170,noise=alls=4:allf=t,format=yuv420p[d];"
    "[a][b][c][d]concat=n=4"
)
N_FRAMES = 720


@pytest.fixture(scope="module")
def title(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i SCENES -c:v libx264 -crf 4 title.mkv`: four scenes, 720 frames, 28.8 s."""
    path = tmp_path_factory.mktemp("title") / "title.mkv"
    return lavfi(ffmpeg, path, "-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p", graph=SCENES)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> Path:
    """Results of encodes, kept over the tests of this file."""
    return tmp_path_factory.mktemp("cache")


def reference(n_frames: int, rate: int = 25) -> ReferenceInput:
    """A source of so many frames."""
    return ReferenceInput(Path("in.mkv"), Fraction(rate), n_frames, (128, 72))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 4000), max_size=40), st.integers(2, 4001))
def test_units_partition_the_title(cuts, n_frames):
    """Every frame is in exactly one unit, and units are of a segment's length within a half, if the title is."""
    units = units_of([0, *sorted({cut for cut in cuts if cut < n_frames})], n_frames)
    assert [units[0].first, units[-1].last] == [0, n_frames]
    assert all(a.last == b.first for a, b in pairwise(units))
    if n_frames >= SEGMENT_FRAMES:
        lengths = [unit.last - unit.first for unit in units]
        assert min(lengths) >= SEGMENT_FRAMES // 2
        assert max(lengths) <= 1.5 * SEGMENT_FRAMES + SEGMENT_FRAMES / 2


def test_units_end_at_cuts():
    """Scenes are divided evenly; one too short for half a unit goes with the next."""
    units = units_of([0, 100, 110, 170], 200)
    assert [(unit.first, unit.last) for unit in units] == [(0, 50), (50, 100), (100, 170), (170, 200)]


def test_how_many_segments():
    """None for a source short enough or for `all`; segments are counted in frames; too few is refused."""
    assert n_segments(reference(1500), 60.0) is None
    assert n_segments(reference(1501), 60.1) is None
    assert n_segments(reference(15000), 60.0) == 31
    assert n_segments(reference(36000, 60), 60.0) == 75
    assert n_segments(reference(10**6), 0.0) is None
    with pytest.raises(ConfigError, match=r"7 segments of 48 frames.*give 15\.4 or more, or `all`"):
        n_segments(reference(15000), 14.0)


def test_segments_lie_inside_and_know_their_surroundings():
    """Segments are inside the title; warm-up and cool-down are whole but at its ends; the plan repeats itself."""
    rng = np.random.default_rng(0)
    change = rng.uniform(1, 5, 6000).astype(np.float32)
    change[rng.choice(5000, 30, replace=False) + 500] = 60
    seen = Look(rng.uniform(2, 9, 6000).astype(np.float32), change)
    made = plan_sample(seen, 20)
    assert made == plan_sample(seen, 20)
    assert (len(made.segments), made.count) == (30, 20)  # more where parts differ much
    assert made.n_units > 60
    for fewer, more in ((8, 12), (12, 20), (20, 30)):
        assert set(made.beginning(fewer).segments) < set(made.beginning(more).segments)
        assert len(made.beginning(fewer).segments) == fewer
    for one in made.segments:
        assert one.first >= 0
        assert one.first + one.n_frames <= 6000
        assert one.before == min(AROUND_FRAMES, one.first)
        assert one.after == min(AROUND_FRAMES, 6000 - one.first - one.n_frames)
    thirds = np.histogram([one.first for one in made.beginning(20).segments], bins=3, range=(0, 6000))[0]
    assert thirds.min() >= 4
    assert set(made.tried(4)) < set(made.tried(8))
    assert plan_sample(seen, 200) is None


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_seconds_that_cannot_be_meant(seconds):
    """Less than none, no number and endless are refused."""
    with pytest.raises(ConfigError, match="--probe-seconds is a number of seconds"):
        check_request(TuneRequest(Path("in.mkv"), "libx264", 93.0, 0.9, probe_seconds=seconds))


def request_of(title: Path, **changes) -> TuneRequest:
    """One trial at VMAF 85, probed by eight segments."""
    return replace(TuneRequest(title, "libx264", 85.0, 0.8, trials=1, probe_seconds=15.4), **changes)


@pytest.fixture
def stops_at_once(monkeypatch) -> None:
    """The first sample is enough, however unlike its segments are."""
    for module in ("run", "probing"):
        monkeypatch.setattr(f"vmaf_assay.tune.{module}.TOLERANCE", 100.0)


@pytest.mark.ffmpeg
@pytest.mark.usefixtures("stops_at_once")
def test_a_long_source_is_tuned_by_segments(ffmpeg, title, cache_dir, tmp_path):
    """Probes read eight segments, the trial four of them; a second target costs no probe, and no file is left.

    What the trial says of the title is within its own uncertainty of what an encode of all of it measures,
    although this forecast knows nothing.
    """
    cache, steps = Cache(cache_dir), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        patch.setattr("tempfile.tempdir", None)
        result = tune(
            ffmpeg, verified(groups=20), request_of(title), cache=cache, on_step=lambda *step: steps.append(step)
        )
        again = tune(
            ffmpeg,
            verified(groups=20),
            request_of(title, target_vmaf=80.0, trials=0),
            cache=cache,
            on_step=lambda *step: steps.append(step),
        )
    assert list(tmp_path.iterdir()) == []
    facts = result.sample
    assert (facts.segments, facts.segments_tried) == (8, 4)
    assert 8 < facts.units < 20
    assert 8 * SEGMENT_FRAMES // 2 <= facts.frames < N_FRAMES
    assert facts.first_frames == sorted(facts.first_frames)
    assert facts.sampling_part > 0
    assert result.encodes_spent == 2 + len(result.trials)
    assert any("8 of" in reason and "a sample" in reason for reason in result.reasons)
    assert (again.encodes_spent, again.encodes_cached) == (0, 2)
    assert again.sample.first_frames == facts.first_frames
    assert result.as_json()["sample"]["segments"] == 8
    words = {what.split()[0] for what, _, _ in steps}
    assert words == {"open", "cut", "probe", "trial"}
    assert all(0 <= done <= total for _, done, total in steps)
    assert max(done for what, done, _ in steps if what.startswith("probe 1")) == facts.frames
    (trial,) = result.trials
    whole, _ = open_source(ffmpeg, title)
    full = encode_and_score(ffmpeg, whole, ENCODERS["libx264"], "medium", trial["rate_value"])
    assert abs(trial["measured_vmaf"] - full.pooled_vmaf) < 3 * facts.sampling_part


@pytest.mark.ffmpeg
def test_a_larger_sample_keeps_what_was_measured(ffmpeg, title):
    """A sample that is never enough grows to its end; every segment is encoded once, and a probe counts as one."""
    source, _ = open_source(ffmpeg, title)
    steps, sizes = [], []

    def is_enough(probed):
        sizes.append(len(probed.sample.segments))
        return False

    with Measurer(ffmpeg, source, None, lambda *step: steps.append(step)) as measurer:
        made = probe_title(
            measurer, verified(groups=20).ensemble, [("libx264", "medium")], 15.4, is_enough=is_enough
        )
        assert measurer.spent == 2
    assert sizes == [8]
    assert 8 < len(made.sample.segments) <= 12
    encoded = [what for what, done, _ in steps if what.startswith("probe 1")]
    assert {what.rsplit(",", 1)[1] for what in encoded} == {
        f" {n} segments" for n in (8, len(made.sample.segments))
    }
    first = next(done for what, done, _ in steps if f"{len(made.sample.segments)} segments" in what)
    assert first > 0  # those of the first eight are there already


@pytest.mark.ffmpeg
def test_the_time_left_is_known_while_the_source_is_opened(ffmpeg, title):
    """By the header, and of the whole job: with a final encode to come it is longer."""
    lefts: list[list[float]] = []

    def on_step(what, done, total):
        if not what.startswith("open"):
            raise KeyboardInterrupt

    for output in (None, title.with_name("out.mkv")):
        lefts.append([])
        with pytest.raises(KeyboardInterrupt):
            tune(
                ffmpeg,
                verified(groups=20),
                request_of(title, output=output),
                clock=JobClock(on_step, lefts[-1].append),
            )
    assert min(map(len, lefts)) > 0
    assert 0 < lefts[0][0] < lefts[1][0]


@pytest.mark.ffmpeg
def test_an_interrupt_leaves_nothing(ffmpeg, title, tmp_path):
    """Ctrl-C while segments are probed: no segment file stays."""

    def on_step(what, done, total):
        if what.startswith("probe 1") and done > 100:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        patch.setattr("tempfile.tempdir", None)
        with pytest.raises(KeyboardInterrupt):
            tune(ffmpeg, verified(groups=20), request_of(title, trials=0), on_step=on_step)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffmpeg
@pytest.mark.usefixtures("stops_at_once")
def test_the_python_interface_samples_too(ffmpeg, title, cache_dir):
    """`probe_source` of a long source holds its segments; the choice on it is that of `tune`."""
    made_up = verified(groups=20)
    probed = api.probe_source(title, made_up, probe_seconds=15.4, cache_dir=cache_dir, ffmpeg=ffmpeg)
    assert len(probed.segment_probes) == len(probed.sample.segments) == 8
    predicted = api.forecast_encoder(probed, made_up, "libx264")
    choice = api.choose_rate(predicted, made_up, target_vmaf=85.0, confidence=0.8)
    result = tune(ffmpeg, made_up, request_of(title, trials=0), cache=Cache(cache_dir))
    assert (choice.rate_value, choice.mu, choice.lower_bound) == pytest.approx(
        (result.rate_value, result.mu, result.lower_bound)
    )
    assert predicted.n_units == result.sample.units


@pytest.mark.ffmpeg
def test_compare_samples_too(ffmpeg, title, cache_dir):
    """A comparison on a long source costs no probe after a tune, says what was probed, and bounds the sampling."""
    from tests.tune.test_compare import two_encoders

    cache = Cache(cache_dir)
    tune(ffmpeg, verified(groups=20), request_of(title, trials=0), cache=cache)  # whichever tests ran here before
    request = CompareRequest(title, ("libx264", "libx265"), 85.0, 0.8, probe_seconds=15.4)
    result = compare(ffmpeg, two_encoders(), request, cache=cache)
    assert (result.encodes_spent, result.encodes_cached) == (0, 2)
    assert result.sample.segments == 8
    assert result.as_json()["sample"]["units"] == result.sample.units
    assert all(one.lower_bound < one.mu for one in result.contenders)
