"""Goals beside quality: the best within a bitrate, a file's size or limits, in one pass or two."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from tests.tune.test_bitrate_goals import video_bytes
from vmaf_assay.api import load_ensemble
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import commands
from vmaf_assay.media.encoders import ENCODERS, encoder_info
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.promise.at_rate import quality_bounds
from vmaf_assay.promise.choice import Curve, Forecaster
from vmaf_assay.tune.bitrate import KbpsForecast
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.final import FRAME_OVERHEAD_BYTES, FinalEncode, write_final
from vmaf_assay.tune.forecast import Forecast
from vmaf_assay.tune.goal_tries import Tries
from vmaf_assay.tune.goals import check_goals
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune

PICTURE = "testsrc2=size=192x108:rate=25,noise=alls=8:allf=t"
TONE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=0.96:sample_rate=48000")


@pytest.fixture(scope="module")
def clip(ffmpeg, tmp_path_factory) -> Path:
    """24 frames of PICTURE as FFV1 with AAC sound, a title and a chapter-free Matroska around them."""
    path = tmp_path_factory.mktemp("goals") / "clip.mkv"
    coded = ("-c:v", "ffv1", "-pix_fmt", "yuv420p", "-c:a", "aac", "-metadata", "title=x")
    return lavfi(ffmpeg, path, *TONE, "-frames:v", "24", *coded, graph=PICTURE)


@pytest.fixture(scope="module")
def shipped():
    """The shipped forecast."""
    return load_ensemble()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Probes and trials of this file's tests, so that each is made once."""
    folder = tmp_path_factory.mktemp("kept")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_STATE_DIR", str(tmp_path_factory.mktemp("key")))
        return Cache(folder)


def asked(path, **fields) -> TuneRequest:
    """A request of libx264."""
    return TuneRequest(path, "libx264", confidence=0.9, **fields)


OUT = Path("OUT.mkv")
REFUSED = {
    "two goals; leave one out": {"target_kbps": 1000, "target_bytes": 1e6, "output": OUT},
    "--target-vmaf and --target-bitrate are two goals": {"target_kbps": 1000, "target_vmaf": 90.0},
    "--target-size is a limit already": {"target_bytes": 1e6, "max_ratio": 0.8, "output": OUT},
    "--best-within says nothing more": {"target_kbps": 1000, "best_within": True},
    "--best-within needs a limit": {"best_within": True},
    "no output is named; add -o OUT, or use --target-bitrate": {"target_bytes": 1e6},
    "none is named; add --target-bitrate or --target-size": {"two_pass": True, "output": OUT},
    "--two-pass is a way to encode": {"two_pass": True, "target_kbps": 1000},
    "--target-bitrate is a positive number": {"target_kbps": -1},
}


@pytest.mark.parametrize(("words", "fields"), REFUSED.items())
def test_senseless_combinations_are_refused(words, fields, tmp_path):
    """Each in one line that says what to leave out or to add, before the source is opened."""
    with pytest.raises(ConfigError, match=words) as caught:
        check_goals(asked(tmp_path / "in.mkv", **fields), encoder_info("libx264"))
    assert "\n" not in str(caught.value)


def test_only_encoders_with_two_passes_make_them(tmp_path):
    """Five software encoders have them. That of libsvtav1 is unreliable, and of others nothing is known."""
    request = asked(tmp_path / "in.mkv", target_kbps=1000, two_pass=True, output=OUT)
    able = set()
    for info in ENCODERS.values():
        try:
            check_goals(request, info)
            able.add(info.name)
        except ConfigError as error:
            assert "has no two-pass mode here" in str(error)  # noqa: PT017 - each is looked at
    assert able == {"libx264", "libx265", "libaom-av1", "libvpx-vp9", "libvvenc"}


@pytest.mark.ffmpeg
def test_the_best_within_a_bitrate(ffmpeg, clip, shipped, kept, tmp_path):
    """The file counts at most what was asked, its quality is the bound said, and one step dearer is over."""
    out = tmp_path / "out.mkv"
    free = tune(ffmpeg, shipped, asked(clip, target_vmaf=80.0, trials=0), cache=kept)
    wanted = 1.02 * next(point.kbps for point in free.curve if point.rate_value == 30.0)
    result = tune(ffmpeg, shipped, asked(clip, target_kbps=wanted, trials=2, output=out, verify=True), cache=kept)
    counted = video_bytes(ffmpeg, out) * 8 / 0.96 / 1000
    assert counted == pytest.approx(result.kbps)
    assert counted <= wanted
    assert (result.goal, result.goal_met, result.met, result.bitrate_promised) == ("bitrate", True, True, True)
    assert result.promise.made
    assert result.measured_vmaf >= result.target_vmaf
    assert result.lower_bound - 0.01 <= result.target_vmaf <= result.lower_bound
    assert result.forecast_kbps_high <= wanted
    dearer = [p for p in result.curve if p.rate_value < result.rate_value]
    assert dearer[-1].kbps_high > wanted


@pytest.mark.ffmpeg
def test_a_bitrate_below_every_rate_value_is_a_no(ffmpeg, clip, shipped, kept, tmp_path):
    """Nothing is encoded, and the reason is said."""
    out = tmp_path / "out.mkv"
    result = tune(ffmpeg, shipped, asked(clip, target_kbps=1.0, trials=0, output=out), cache=kept)
    assert (result.met, result.goal_met, result.output) == (False, False, None)
    assert any("no rate value keeps within 1 kbps" in reason for reason in result.reasons)
    assert not out.exists()


@pytest.mark.ffmpeg
def test_without_calibration_trials_measure(ffmpeg, clip, kept, tmp_path):
    """An ensemble of other origin promises no bitrate; the encode is made and counted all the same."""
    result = tune(
        ffmpeg,
        verified(bitrate=True),
        asked(clip, target_kbps=600.0, trials=2, output=tmp_path / "out.mkv"),
        cache=kept,
    )
    assert result.bitrate_promised is False
    assert any(
        reason.startswith("the bitrate is not promised: nothing is calibrated") for reason in result.reasons
    )
    assert result.goal_met == (video_bytes(ffmpeg, tmp_path / "out.mkv") * 8 / 0.96 / 1000 <= 600)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_files_size_is_kept_with_its_sound(ffmpeg, clip, shipped, kept, tmp_path, name):
    """The whole file is at most what was asked, and beside its video it has what was said."""
    out = tmp_path / name
    result = tune(ffmpeg, shipped, asked(clip, target_bytes=60_000, trials=1, output=out), cache=kept)
    size = out.stat().st_size
    assert (result.goal_met, result.output_bytes) == (True, size)
    assert size <= 60_000
    rest = size - video_bytes(ffmpeg, out)
    assert result.rest_bytes <= rest <= result.rest_bytes + FRAME_OVERHEAD_BYTES * 24
    sound = video_bytes(ffmpeg, clip, "a:0")
    assert result.rest_bytes > sound > 5_000
    assert any("of 0.06 MB other streams" in reason for reason in result.reasons)


@pytest.mark.ffmpeg
def test_a_size_that_the_sound_alone_exceeds_is_a_no(ffmpeg, clip, shipped, kept, tmp_path):
    """The budget of the video is not positive, and nothing is encoded."""
    out = tmp_path / "out.mkv"
    result = tune(ffmpeg, shipped, asked(clip, target_bytes=9_000, trials=1, output=out), cache=kept)
    assert result.budget_kbps < 0
    assert (result.met, out.exists()) == (False, False)


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    "name",
    [
        "libx264",
        "libx265",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("libaom-av1", "libvpx-vp9", "libvvenc")),
    ],
)
def test_two_passes_aim_at_a_bitrate(ffmpeg, clip, tmp_path, name):
    """Twice the bitrate asked gives more bytes; both passes run beside the output and leave only the output."""
    info = encoder_info(name)
    reference = ReferenceInput(clip, Fraction(25), 24, (192, 108))
    sizes = []
    for kbps in (300.0, 600.0):
        out = tmp_path / f"{kbps:g}.mkv"
        encode = FinalEncode(reference, info, info.presets[-1], info.middle(), kbps=kbps)
        written, argv = write_final(ffmpeg, asked(clip, output=out), encode, None)
        assert argv[argv.index("-pass") + 1] == "2"
        sizes.append(written.kbps)
    assert sizes[1] > 1.2 * sizes[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["300.mkv", "600.mkv"]


def test_a_bitrate_replaces_the_rate_value():
    """No constant quality beside it: libvpx-vp9 and libaom-av1 have `-b:v 0` there, libx264 a CRF."""
    for name in ("libx264", "libvpx-vp9", "libaom-av1", "libvvenc"):
        info = encoder_info(name).in_pass(1234.5, 1)
        args = commands.encoder_args(info, info.presets[-1], info.middle())
        assert args.count("-b:v") == 1
        assert args[args.index("-b:v") + 1] == "1234500"
        assert not {"-crf", "-qp"} & {*args}
        assert args[args.index("-pass") + 1] == "1"


@pytest.mark.ffmpeg
def test_two_passes_are_not_promised_and_made_again_if_over(ffmpeg, clip, shipped, kept, tmp_path):
    """A retry aims lower by what was measured; the file counts."""
    out = tmp_path / "out.mkv"
    request = asked(clip, target_kbps=400.0, trials=0, output=out, two_pass=True, retry=2)
    result = tune(ffmpeg, shipped, request, cache=kept)
    assert (result.promised, result.bitrate_promised) == (False, False)
    assert "in two passes at" in result.answer()
    assert result.goal_met == (video_bytes(ffmpeg, out) * 8 / 0.96 / 1000 <= 400)
    aims = 400.0
    for missed in result.missed:
        aims *= 400 / missed.kbps * 0.995
    assert result.two_pass_kbps == pytest.approx(aims)
    assert result.goal_met or len(result.missed) == 2


def straight() -> KbpsForecast:
    """1000 kbps at CRF 20, a tenth less a step, no bounds."""
    rates = np.array([20.0, 30.0, 40.0])
    curve = Curve("", "", "libx264", "medium", rates, np.array([95.0, 85, 60]), np.ones(3), np.full(3, np.nan))
    predicted = Forecast(curve, 1000 * np.exp(-0.1 * (rates - 20)), True, "")
    return KbpsForecast(predicted, None, 0.9, Forecaster(curve).grid)


def test_an_encode_over_its_bitrate_moves_the_next_one():
    """Twice the forecast at CRF 25 with 500 kbps asked: the whole forecast doubles, so 14 CRF dearer is out."""
    plan = SimpleNamespace(info=encoder_info("libx264"))
    over = SimpleNamespace(
        kbps=2 * 1000 * np.exp(-0.5), output_bytes=10**6, target_kbps=500.0, target_bytes=None, rate_value=25.0
    )
    over = SimpleNamespace(**vars(over), max_kbps=None, max_bytes=None, max_ratio=None)
    over = SimpleNamespace(**vars(over), frame_rate="25/1", n_frames=25, source_video_bytes=None)
    tries, rate_value = Tries(plan, straight(), None).after(over)
    # 2000 exp(-0.1 (r - 20)) = 500 at r = 33.86
    assert rate_value == pytest.approx(33.9)
    assert tries.bitrates.tried == {25.0: over.kbps}
    again, same = Tries(plan, straight(), 500.0).after(over)
    assert same == 25.0
    assert again.aim_kbps == pytest.approx(500 * 500 / over.kbps * 0.995)
    sized = SimpleNamespace(**{**vars(over), "target_kbps": None, "target_bytes": 100.0})
    assert Tries(plan, straight(), None).after(sized)[1] is None  # the rest alone is larger


def test_a_bound_of_quality_at_each_rate_value(shipped):
    """At the trained rate values without trials: the quantile over groups of truth minus forecast, by hand."""
    calibration = shipped.calibration
    own = [c for c in calibration.curves if (c.encoder, c.preset) == ("libx264", "slow")]
    rates = np.array(own[0].rate_values)
    mu, unknown = np.linspace(98, 60, len(rates)), np.full(len(rates), np.nan)
    curve = Curve("", "", "libx264", "slow", rates, mu, np.ones(len(rates)), unknown)
    forecaster = Forecaster(curve)
    lower, n_groups = quality_bounds(calibration, forecaster, "slow", {}, 0.9)
    assert n_groups == len({c.group for c in own})
    index = forecaster.at(rates[1])
    gaps = {}
    for one in own:
        gaps.setdefault(one.group, []).append(one.truth[1] - one.mu[1])
    off = float(forecaster.mu[index] - lower[index])
    below = np.mean([np.mean(np.array(values) < -off - 0.3) for values in gaps.values()])
    assert below <= 0.1
    closer = quality_bounds(calibration, forecaster, "slow", {float(forecaster.grid[index]): 90.0}, 0.9)[0]
    assert closer[index] == 90.0


@pytest.mark.ffmpeg
def test_the_target_or_the_best_within_the_limits(ffmpeg, clip, capsys, monkeypatch, shipped, kept):
    """A target within the limit is the answer; one that is not gives the best within, and exit 0."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: shipped)
    free = tune(ffmpeg, shipped, asked(clip, target_vmaf=80.0, trials=0), cache=kept)
    base = ["tune", str(clip), "--quality-confidence", "0.9", "--trials", "0", "--best-within"]
    assert cli.main([*base, "--target-vmaf", "80", "--max-bitrate", "100000"]) == 0
    assert "best within them" not in capsys.readouterr().out
    tight = free.forecast_kbps / 2
    assert cli.main([*base, "--target-vmaf", "80", "--max-bitrate", f"{tight}"]) == 0
    said = capsys.readouterr().out
    assert "no rate value reaches VMAF 80 within the limits; this is the best within them" in said
    result = tune(
        ffmpeg, shipped, asked(clip, target_vmaf=80.0, trials=0, max_kbps=tight, best_within=True), cache=kept
    )
    assert result.best_within
    assert result.target_vmaf < 80
    assert result.forecast_kbps_high <= tight
    assert replace(result, bitrate_met=False).met is False
