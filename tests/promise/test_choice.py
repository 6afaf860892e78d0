"""The choice of a rate value: what it may never do, and whether its promise holds on simulated sources."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import ENCODERS, encoder_info
from vmaf_assay.promise.choice import (
    MAX_MARGIN,
    Curve,
    Forecaster,
    Replays,
    calibrate_margin,
    cross_fitted_choices,
    interpolate,
    rate_grid,
    replay,
    trial_rate,
)
from vmaf_assay.records import MEAN_VMAF

X264 = np.arange(14.0, 43.0, 4.0)
SVT = np.arange(14.0, 64.0, 7.0)
PROMISE = {"target": 90.0, "confidence": 0.9, "trials": 0}


def logistic(rates, centre: float, width: float):
    """A falling quality curve, points."""
    return 100 / (1 + np.exp((rates - centre) / width))


def curve(group="g", *, mu=None, truth=None, sigma=0.5, encoder="libx264", rates=None, known=None) -> Curve:
    """A curve; by default one that is forecast exactly."""
    rates = (X264 if encoder in ("libx264", "libx265") else SVT) if rates is None else rates
    truth = logistic(rates, 45.0, 5.0) if truth is None else truth
    mu = truth if mu is None else mu
    preset = "medium" if encoder in ("libx264", "libx265") else "8"
    return Curve(group, f"{group}-1", encoder, preset, rates, mu, np.full(len(rates), sigma), truth, known or {})


def population(n_groups: int, seed: int, *, encoder="libx264", error: float = 1.5) -> list[Curve]:
    """Exchangeable groups of one or two sources: a group's forecasts are wrong together, along the rate axis.

    Truth is logistic with centre N(46, 4) and width U(4, 6); the forecast moves it by N(0, error) a group and
    N(0, error / 3) a source, and says a sigma unrelated to that.
    """
    rng = np.random.default_rng(seed)
    rates = X264 if encoder == "libx264" else SVT
    made = []
    for group in range(n_groups):
        shift = rng.normal(0, error)
        for source in range(1 + group % 2):
            centre, width = rng.normal(46, 4), rng.uniform(4, 6)
            moved = shift + rng.normal(0, error / 3)
            made.append(
                Curve(
                    f"g{group:03d}",
                    f"g{group:03d}-{source}",
                    encoder,
                    "medium" if encoder == "libx264" else "8",
                    rates,
                    logistic(rates, centre + moved, width),
                    rng.uniform(0.2, 2, len(rates)),
                    logistic(rates, centre, width),
                )
            )
    return made


curves = st.builds(
    lambda centre, width, error, sigma, encoder: curve(
        truth=logistic(X264 if encoder == "libx264" else SVT, centre, width),
        mu=np.clip(logistic(X264 if encoder == "libx264" else SVT, centre, width) + np.resize(error, 8), -5, 108),
        sigma=sigma,
        encoder=encoder,
    ),
    centre=st.floats(20, 60),
    width=st.floats(1.5, 12),
    error=st.lists(st.floats(-6, 6), min_size=8, max_size=8),
    sigma=st.floats(0, 5),
    encoder=st.sampled_from(["libx264", "libsvtav1"]),
)


def test_grid_is_cheapest_first_and_stays_inside():
    """Every encoder's grid starts at its cheapest trained rate value, ends at its dearest, by its own step."""
    for info in ENCODERS.values():
        grid = rate_grid(info, np.array([20.0, 30.0, 40.0]))
        cheap, dear = (40, 20) if info.lower_is_better else (20, 40)
        assert (grid[0], grid[-1]) == (cheap, dear)
        np.testing.assert_allclose(np.abs(np.diff(grid)), info.rate_step, rtol=1e-6)


def test_chooses_the_cheapest_not_the_dearest():
    """Of the rate values that meet the target, the largest CRF is chosen: the neighbour's bug was min()."""
    exact = curve()
    choice = Forecaster(exact).choose(90.0, {}, 0.0)
    fine = np.arange(140, 421) / 10
    truth = interpolate(exact.rate_values, exact.truth, fine)
    assert choice.rate_value == fine[truth >= 90.0].max()


@settings(deadline=None)  # other work on the machine must not fail it
@given(one=curves, target=st.floats(40, 99))
def test_exact_forecast_is_never_below_target(one, target):
    """If the forecast is the truth, the encode chosen without a margin meets the target; or none can."""
    exact = curve(truth=one.truth, encoder=one.encoder)
    made = replay(exact, target, 0)
    choice = made.forecaster.choose(target, {}, 0.0)
    truth = made.truth[made.forecaster.at(choice.rate_value)]
    assert choice.reachable == bool((made.truth >= target).any())
    assert truth >= target or not choice.reachable


@settings(deadline=None)  # other work on the machine must not fail it
@given(one=curves, margin=st.floats(0, 10), targets=st.tuples(st.floats(40, 99), st.floats(40, 99)))
def test_higher_target_is_never_cheaper(one, margin, targets):
    """At one margin, a higher target is never answered with a larger CRF, and loses reachability only once."""
    low, high = sorted(targets)
    forecaster = Forecaster(one)
    first, second = forecaster.choose(low, {}, margin), forecaster.choose(high, {}, margin)
    if second.reachable:
        assert first.reachable
        assert second.rate_value <= first.rate_value


@settings(deadline=None)  # other work on the machine must not fail it
@given(one=curves, target=st.floats(40, 99), margins=st.tuples(st.floats(0, 20), st.floats(0, 20)))
def test_larger_margin_is_never_cheaper(one, target, margins):
    """A larger margin never answers with a larger CRF, with trials or without."""
    small, large = sorted(margins)
    for trials in (0, 1, 2):
        made = replay(one, target, trials)
        first = made.forecaster.choose(target, made.trials, small)
        second = made.forecaster.choose(target, made.trials, large)
        if second.reachable:
            assert first.reachable
            assert second.rate_value <= first.rate_value


@settings(deadline=None)  # other work on the machine must not fail it
@given(
    seed=st.integers(0, 500),
    target=st.floats(75, 96),
    trials=st.sampled_from([0, 1, 2]),
    confidences=st.tuples(st.floats(0.3, 0.95), st.floats(0.3, 0.95)),
)
def test_higher_confidence_is_never_cheaper(seed, target, trials, confidences):
    """The calibrated margin never falls as the confidence rises; a confidence refused is refused above as well."""
    replays = Replays(population(20, seed), target, trials)
    low, high = (replays.margin(confidence) for confidence in sorted(confidences))
    if high is not None:
        assert low is not None
        assert low[0] <= high[0]


@settings(deadline=None)  # other work on the machine must not fail it
@given(one=curves, target=st.floats(40, 99), margin=st.floats(0, 20), trials=st.sampled_from([0, 1, 2]))
def test_replays_agree_with_the_choice(one, target, margin, trials):
    """What calibration counts as a miss at a margin is what `choose` would do there: two ways, one answer."""
    replays = Replays([one], target, trials)
    made = replays.replays[0]
    breaks = replays._margins[replays._margins >= margin]
    if len(breaks) == 0:
        return
    # Between two breaks nothing changes, so the middle stands for the interval and rounding plays no part.
    at = int(np.flatnonzero(replays._margins == breaks[0])[0])
    before = replays._margins[at - 1] if at else -1.0
    middle = max((before + breaks[0]) / 2, 0.0)
    choice = made.forecaster.choose(target, made.trials, middle)
    assert bool(replays._answered[0, at]) == choice.reachable
    if choice.reachable:
        missed = made.misses(target)[made.forecaster.at(choice.rate_value)]
        assert replays._loss[0, at] == pytest.approx(missed, abs=1e-12)


@settings(deadline=None)  # other work on the machine must not fail it
@given(one=curves, target=st.floats(40, 99), trials=st.sampled_from([1, 2]))
def test_a_trial_is_believed_exactly(one, target, trials):
    """Where a trial measured the whole source, forecast and lower bound are the measurement, at any margin."""
    made = replay(one, target, trials)
    assert 1 <= len(made.trials) <= trials
    for rate_value, vmaf in made.trials.items():
        at = made.forecaster.at(rate_value)
        assert made.forecaster.corrected(made.trials)[at] == vmaf
        assert made.forecaster.lower(made.trials, MAX_MARGIN)[at] == vmaf


def test_trials_stop_when_there_is_nothing_to_learn():
    """A rate value is never tried twice, so an exact forecast spends one trial of the two allowed."""
    assert len(replay(curve(), 90.0, 2).trials) == 1
    forecaster = Forecaster(curve())
    first = trial_rate(forecaster, 90.0, {})
    assert first is not None
    assert trial_rate(forecaster, 90.0, {first: forecaster.mu[forecaster.at(first)]}) is None


def test_two_trials_find_a_shifted_curve():
    """A forecast wrong by five CRF everywhere is corrected to within half a CRF by two trials."""
    shifted = curve(mu=logistic(X264, 50.0, 5.0), truth=logistic(X264, 45.0, 5.0))
    made = replay(shifted, 90.0, 2)
    best = made.forecaster.grid[np.flatnonzero(made.truth >= 90.0)[0]]
    assert abs(Forecaster(shifted).choose(90.0, {}, 0.0).rate_value - best) > 3
    assert abs(made.forecaster.choose(90.0, made.trials, 0.0).rate_value - best) <= 0.5


def test_a_probe_of_the_same_encoder_is_used():
    """Where a probe is an encode of the encoder asked about, the forecast passes through what it measured."""
    wrong = curve(mu=logistic(X264, 48.0, 5.0), known={30.0: float(logistic(30.0, 45.0, 5.0))})
    forecaster = Forecaster(wrong)
    assert forecaster.mu[forecaster.at(30.0)] == pytest.approx(float(logistic(30.0, 45.0, 5.0)))
    assert (np.diff(forecaster.mu) >= 0).all()


def test_out_of_reach_is_a_value():
    """A target that no rate value meets is answered with the best there is, not with an exception."""
    low = curve(truth=logistic(X264, 20.0, 5.0))
    choice = Forecaster(low).choose(95.0, {}, 0.0)
    assert not choice.reachable
    assert choice.rate_value == 14.0
    assert choice.lower_bound < 95.0


def test_confidence_beyond_the_groups_is_refused():
    """19 groups support 0.95 at most; the refusal names the highest and the groups needed."""
    population19 = population(19, 1)
    assert (
        calibrate_margin(population19, "libx264", "medium", target=90.0, confidence=0.95, trials=0).n_groups == 19
    )
    with pytest.raises(ConfigError, match=r"needs 99 calibration groups, there are 19; ask for 0.95 or less"):
        calibrate_margin(population19, "libx264", "medium", target=90.0, confidence=0.99, trials=0)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, float("nan")])
def test_confidence_outside_zero_to_one_is_refused(confidence):
    """A confidence lies strictly between 0 and 1."""
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibrate_margin(population(19, 1), "libx264", "medium", target=90.0, confidence=confidence, trials=0)


def test_target_that_too_few_groups_reach_is_refused():
    """If no margin keeps the promise, the message says at which target and how many groups reach it."""
    hopeless = [curve(f"g{i}", truth=logistic(X264, 20.0, 5.0)) for i in range(30)]
    with pytest.raises(
        ConfigError, match=r"at target 95 with confidence 0.9: 0 calibration groups reach the target"
    ):
        calibrate_margin(hopeless, "libx264", "medium", target=95.0, confidence=0.9, trials=0)


def test_few_groups_of_an_encoder_are_pooled_with_others():
    """With too few groups of its own an encoder's margin comes from all encoders, and says so."""
    mixed = [*population(30, 2), *population(5, 3, encoder="libsvtav1")]
    own = calibrate_margin(mixed, "libx264", "medium", **PROMISE)
    pooled = calibrate_margin(mixed, "libsvtav1", "8", **PROMISE)
    assert (own.pooled, pooled.pooled) == (False, True)
    assert pooled.n_groups == 30


def test_it_does_not_matter_which_probe_was_made_first():
    """Calibration reads what probes know by rate value, `tune` in the order they were made: the same forecast."""
    known = {rate: float(logistic(rate, 45.0, 5.0)) for rate in (22.0, 30.0)}
    first, second = (
        Forecaster(curve(mu=logistic(X264, 48.0, 5.0), known=dict(items)))
        for items in (known.items(), reversed(known.items()))
    )
    np.testing.assert_array_equal(first.mu, second.mu)
    assert first.mu[first.at(30.0)] == pytest.approx(known[30.0])


def of_preset(curves, preset: str) -> list[Curve]:
    """The same curves as if another preset had made them."""
    return [Curve(c.group, c.source, c.encoder, preset, c.rate_values, c.mu, c.sigma, c.truth) for c in curves]


def test_a_preset_between_two_is_calibrated_on_both():
    """Its margin is that of both neighbours' curves together; beyond the outermost, that of all encoders."""
    slow, fast = of_preset(population(30, 2), "slow"), of_preset(population(30, 3, error=3.0), "veryfast")
    other = population(30, 5, encoder="libsvtav1")
    both = calibrate_margin([*slow, *fast, *other], "libx264", "medium", **PROMISE)
    together = [*of_preset(slow, "medium"), *of_preset(fast, "medium")]
    assert both == calibrate_margin(together, "libx264", "medium", **PROMISE)
    alone = calibrate_margin([*slow, *fast], "libx264", "slow", **PROMISE)
    assert alone == calibrate_margin(slow, "libx264", "slow", **PROMISE)
    assert not both.pooled
    assert both.scale > alone.scale
    assert calibrate_margin([*slow, *fast, *other], "libx264", "ultrafast", **PROMISE).pooled


def test_margin_has_no_say_from_the_group_left_out():
    """A choice's margin is the one calibrated without its group: changing that group's truth changes no choice."""
    base = population(25, 4)
    changed = [
        Curve(c.group, c.source, c.encoder, c.preset, c.rate_values, c.mu, c.sigma, c.truth - 30.0)
        if c.group == "g003"
        else c
        for c in base
    ]
    before = cross_fitted_choices(base, "libx264", "medium", **PROMISE)["g003"]
    after = cross_fitted_choices(changed, "libx264", "medium", **PROMISE)["g003"]
    assert [one.choice for one in before] == [one.choice for one in after]
    assert all(one.truth < 90 for one in after)
    others = [c for c in base if c.group != "g003"]
    margin = calibrate_margin(others, "libx264", "medium", **PROMISE)
    assert before[0].choice == Forecaster(before[0].curve).choose(90.0, {}, margin.scale)


def test_risk_counts_groups_not_sources():
    """A group of many sources that all miss costs as much as a group of one: hand-counted at margin 0."""
    good = [curve(f"g{i}", truth=logistic(X264, 45.0, 5.0)) for i in range(9)]
    bad = [curve("bad", mu=logistic(X264, 46.0, 5.0), truth=logistic(X264, 45.0, 5.0)) for _ in range(50)]
    replays = Replays([*good, *bad], 90.0, 0)
    made = replays.replays[0]
    truth = made.truth[made.forecaster.at(made.forecaster.choose(90.0, {}, 0.0).rate_value)]
    just = float(ndtr((90.0 - truth) / MEAN_VMAF.metric.roughness))
    assert 0.1 < just < 0.5  # an exact forecast meets the target by less than VMAF is rough by
    assert replays._loss[replays.groups.index("g0"), 0] == pytest.approx(just)
    assert replays._loss[replays.groups.index("bad"), 0] == pytest.approx(1.0)
    assert replays._loss[:, 0].sum() == pytest.approx(9 * just + 1)  # as many again of the bad change nothing
    found = replays.margin(0.8)
    assert found is not None
    assert 0.0 < found[0] < 1.0
    assert found[1:] == (10, pytest.approx(0.1, abs=0.02))  # (1 + 1) / (10 + 1) = 0.18 <= 0.2: one group may miss
    dearer = replays.margin(0.85)  # 0.18 > 0.15: none may, so the bad group's error is paid for
    assert dearer is not None
    assert dearer[0] > found[0]
    assert dearer[2] < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("trials", [0, 1])
@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_promise_holds_for_new_groups(trials, confidence):
    """Calibrated on 39 groups, new groups are hit as often as promised: 300 draws, counted by group."""
    missed, answered = 0.0, 0
    for draw in range(300):
        made = population(40, 10_000 + draw)
        fresh = [c for c in made if c.group == "g039"]
        margin = calibrate_margin(
            [c for c in made if c.group != "g039"],
            "libx264",
            "medium",
            target=92.0,
            confidence=confidence,
            trials=trials,
        )
        losses = []
        for one in fresh:
            replayed = replay(one, 92.0, trials)
            choice = replayed.forecaster.choose(92.0, replayed.trials, margin.scale)
            if choice.reachable:
                losses.append(float(replayed.misses(92.0)[replayed.forecaster.at(choice.rate_value)]))
        if losses:
            answered += 1
            missed += float(np.mean(losses))
    assert answered > 250
    hits = answered - missed
    assert hits >= stats.binom.ppf(0.001, answered, confidence)
    if trials == 0:  # and not by promising less than asked; a trial can make every choice a hit with no margin
        assert hits <= stats.binom.ppf(0.999, answered, confidence + 2 / 40)


def test_encoders_with_rising_quality_are_chosen_from_the_low_end():
    """Where a larger rate value is better, the cheapest is the smallest that meets the target."""
    rates = np.arange(20.0, 81.0, 10.0)
    truth = 100 - logistic(rates, 40.0, 8.0)
    rising = Curve("g", "s", "hevc_videotoolbox", "0", rates, truth, np.full(7, 0.5), truth)
    assert not encoder_info("hevc_videotoolbox").lower_is_better
    choice = Forecaster(rising).choose(90.0, {}, 0.0)
    grid = np.arange(20.0, 81.0)
    assert choice.rate_value == grid[interpolate(rates, truth, grid) >= 90.0].min()
