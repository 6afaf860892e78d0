"""Curves from own probes: the Gaussian process, the placement of encodes, the margin and its calibration."""

import numpy as np
import pytest
from scipy.stats import norm

from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.promise.choice import Curve
from vmaf_assay.promise.own_calibrate import (
    MARGINS,
    TARGETS,
    Task,
    calibrate_own,
    families,
    hits,
    needed,
    replayed,
)
from vmaf_assay.promise.own_curve import (
    FIRST_PLACE,
    OwnForecaster,
    OwnPrior,
    SampledOwnForecaster,
    next_own_rate,
    own_calibration,
    own_grid,
    places,
)

PRIOR = OwnPrior(mean=(2.2, 4.5, -3.8), level=0.04, slope=0.2, correlation=0.3, rest=0.3, length=0.25, noise=1e-4)
X264, RAV1E, TOOLBOX = (encoder_info(name) for name in ("libx264", "librav1e", "h264_videotoolbox"))


def by_hand(place, known, at):
    """Mean and standard deviation of the process at one place, from the textbook's two lines."""

    def k(a, b):
        line = 0.04 + 0.3 * np.sqrt(0.04 * 0.2) * ((a - 0.55) + (b - 0.55)) + 0.2 * (a - 0.55) * (b - 0.55)
        return line + 0.3 * np.exp(-((a - b) ** 2) / (2 * 0.25**2))

    def m(a):
        return 2.2 + 4.5 * (a - 0.55) - 3.8 * (a - 0.55) ** 2

    gram = np.array([[k(a, b) for b in place] for a in place]) + 1e-4 * np.eye(len(place))
    cross = np.array([k(at, b) for b in place])
    mean = m(at) + cross @ np.linalg.inv(gram) @ (np.array(known) - np.array([m(a) for a in place]))
    return mean, np.sqrt(k(at, at) - cross @ np.linalg.inv(gram) @ cross)


def test_the_curve_is_the_processes_posterior():
    """Between two encodes the curve and its doubt are those of the process, calculated by hand."""
    forecaster = OwnForecaster(X264, PRIOR, {20.4: 96.0, 35.7: 84.0})
    mean, spread = by_hand([0.4, 0.7], np.log([5.0, 17.0]), 27.5 / 51)
    at = forecaster.at(27.5)
    assert forecaster.mu[at] == pytest.approx(101 - np.exp(mean), abs=1e-6)
    assert forecaster.weight({})[at] == pytest.approx(np.hypot(np.exp(mean) * spread, 0.14), abs=1e-6)


def test_what_was_measured_stands_without_doubt():
    """At an own probe and at a trial the curve is what was measured, and nothing is subtracted."""
    forecaster = OwnForecaster(RAV1E, PRIOR, {128.0: 91.5})
    trials = {110.0: 93.2}
    for rate, vmaf in ({128.0: 91.5} | trials).items():
        assert forecaster.lower(trials, 3.0)[forecaster.at(rate)] == vmaf
    assert forecaster.tried(trials).sum() == 2
    assert forecaster.lower({}, 3.0)[forecaster.at(110.0)] < forecaster.mu[forecaster.at(110.0)]


def test_the_grid_is_the_declared_range():
    """Every step of the declared range, cheapest first, and places that begin at the best quality."""
    assert own_grid(RAV1E).tolist() == list(range(255, 0, -1))
    assert own_grid(TOOLBOX).tolist() == list(range(1, 101))  # higher is better
    assert places(TOOLBOX, np.array([1.0, 100.0])).tolist() == [1.0, 0.0]
    assert places(X264, np.array([0.0, 51.0])).tolist() == [0.0, 1.0]


def test_probes_follow_the_curve_and_never_repeat():
    """The first is in the middle, each next one where the curve meets the target, in either direction."""
    for info in (RAV1E, TOOLBOX):
        grid = own_grid(info)
        truth = dict(zip(grid.tolist(), 101 - np.exp(0.5 + 3 * places(info, grid)), strict=True))
        known = {}
        while (rate := next_own_rate(OwnForecaster(info, PRIOR, known), 93.0, {})) is not None and len(known) < 9:
            assert rate not in known
            known[rate] = truth[rate]
        first = float(places(info, np.array([next(iter(known))]))[0])
        assert first == pytest.approx(FIRST_PLACE, abs=0.01)
        assert min(abs(vmaf - 93.0) for vmaf in known.values()) < 0.3
        assert len(known) < 9


def test_the_best_there_is_when_nothing_meets():
    """A target that the curve never meets sends the next probe to the best quality."""
    known = {2.0: 95.0}
    assert next_own_rate(OwnForecaster(X264, PRIOR, known), 99.99, {}) == 0.0


def test_a_sample_lowers_the_bound():
    """Segments that differ add a sampling part; segments alike add none; what segments gain is taken off."""
    alike = [{30.0: 92.0}] * 8
    unlike = [{30.0: 92.0 + gap} for gap in (-4, 3, -2, 1, 2, -3, 4, -1)]
    made = [SampledOwnForecaster(RAV1E, PRIOR, of, np.ones(8), 80, confidence=0.9) for of in (alike, unlike)]
    at = made[0].at(30.0)
    assert made[0].mu[at] == pytest.approx(92.0 - RAV1E.segment_allowance)
    assert made[0].lower({}, 1.0)[at] == pytest.approx(made[0].mu[at])
    assert made[1].lower({}, 1.0)[at] < made[1].mu[at] - 0.5


def test_the_margin_needed_is_by_hand():
    """The smallest margin from which on (misses + 1) / (groups + 1) stays within the risk."""
    falling = np.where(MARGINS < 1.95, 1.0, 0.0)
    tasks = [Task(f"g{number}", falling if number < 3 else np.zeros_like(MARGINS)) for number in range(19)]
    assert MARGINS[needed(tasks, 0.9)[0]] == 2.0  # (3 + 1) / 20 is over 0.1, (0 + 1) / 20 is not
    assert needed(tasks, 0.8) == (0, 19)  # 4 / 20 is within 0.2
    tasks[0] = Task("g0", np.full_like(MARGINS, np.nan))
    assert needed(tasks, 0.8)[1] == 18  # no answer is neither hit nor miss
    assert sum(hits(tasks, 0)) == 16


def made_up(encoder, n_groups=25, bend=0.0, seed=0):
    """Curves of an encoder whose deficits are a line in place, and a bend."""
    info, rng = encoder_info(encoder), np.random.default_rng(seed)
    rates = np.linspace(info.rate_min + 0.2 * (info.rate_max - info.rate_min), info.rate_max - 3, 8).round()
    place = places(info, rates)
    made = []
    for number in range(n_groups):
        level, slope = rng.normal(0.8, 0.3), rng.normal(3.0, 0.3)
        truth = 101 - np.exp(level + slope * place + bend * rng.normal() * np.sin(6 * place))
        known = np.full(8, np.nan)
        made.append(Curve(f"g{number}", f"s{number}", encoder, "p", rates, known, known, truth))
    return made


def test_a_replay_answers_with_the_tuned_choice():
    """At each margin the replayed choice is the one that `OwnForecaster` makes from the same encodes."""
    (family,) = families(made_up("libx265", 4, bend=0.1))
    (task, *_) = replayed(family, PRIOR, 90.0, 0)
    info = encoder_info("libx265")
    rates = np.round(family.at * 51, 1)
    index = [int(np.argmin(np.abs(family.at - FIRST_PLACE)))]
    forecaster = OwnForecaster(info, PRIOR, {rates[index[0]]: family.truth[0][index[0]]})
    second = next_own_rate(forecaster, 90.0, {})
    assert second is not None
    known = forecaster.known | {second: float(family.truth[0][np.argmin(np.abs(rates - second))])}
    choice = OwnForecaster(info, PRIOR, known).choose(90.0, {}, float(MARGINS[7]))
    truth = family.truth[0][np.argmin(np.abs(rates - choice.rate_value))]
    exact = choice.rate_value in known
    missed = float(truth < 90) if exact else norm.cdf((90 - truth) / 0.14)
    assert task.missed[7] == pytest.approx(missed, abs=1e-6)


def test_an_encoder_unlike_the_others_fails():
    """A left-out encoder whose curves bend as no other's do is not covered, and the calibration says so."""
    alike = [curve for name in ("libx264", "libx265", "libsvtav1") for curve in made_up(name)]
    odd = made_up("libvvenc", bend=1.5, seed=4)
    made = calibrate_own([*alike, *odd], "0" * 64, 0)
    by_name = {one.encoder: one for one in made.judged if one.confidence == 0.9}
    assert not by_name["libvvenc"].passed
    assert by_name["libx264"].passed
    assert not made.passed(0.9, 0)
    need = {one.confidence: one.scale for one in made.margins}
    assert need[0.9] > by_name["libvvenc"].scale  # in use is what the odd one needs too
    assert list(need.values()) == sorted(need.values())


def test_the_shipped_calibration():
    """Every left-out encoder hits at least as often as asked at 0.80, 0.90 and 0.95, whatever the trials."""
    made = own_calibration()
    assert {one.encoder for one in made.judged} >= {"libx264", "libx265", "libsvtav1", "libvvenc"}
    for confidence in (0.8, 0.9, 0.95):
        for trials in (0, 1, 2):
            found = [one for one in made.judged if (one.confidence, one.trials) == (confidence, trials)]
            assert min(one.coverage for one in found) >= confidence
            assert made.passed(confidence, trials)
    assert made.targets == TARGETS
    margin = made.margin(target=90.0, confidence=0.93, trials=1)
    assert margin.scale == made.margin(target=90.0, confidence=0.95, trials=1).scale  # the next one up
    assert not made.passed(0.99, 1)


@pytest.mark.slow
def test_the_shipped_calibration_is_that_of_the_shipped_curves():
    """Calculated again from the verified calibration's measured curves, it is the file that is shipped."""
    from vmaf_assay import load_ensemble
    from vmaf_assay.registry.own_curve import calibrate_from, differs

    assert differs(own_calibration(), calibrate_from(load_ensemble())) == ""


def test_av1_index_counts_by_its_step():
    """Steps of the AV1 standard, 8-bit AC: 8 at index 1, 57 at 50, 102 at 95, 1828 at 255, by their logarithm."""
    info = encoder_info("librav1e")
    steps = np.log([8.0, 57.0, 102.0, 1828.0])
    wanted = (steps - steps[0]) / (steps[-1] - steps[0])
    assert places(info, np.array([1.0, 50.0, 95.0, 255.0])) == pytest.approx(wanted, abs=1e-9)
    assert (np.diff(places(info, own_grid(info))) < 0).all()
    assert places(encoder_info("libsvtav1"), np.array([32.0])) == pytest.approx([0.5])
