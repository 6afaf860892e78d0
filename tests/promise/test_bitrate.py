"""Bounds of a bitrate: the shipped file is what the corpus gives, and the bounds are quantiles over groups."""

import json
import runpy
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.shipped import shipped_corpus
from tests.tune.made_up import sidecar as made_up
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.model.bitrate import held_out_residuals, predict_kbps
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.bitrate import (
    NAME,
    REPEAT,
    ROUGHNESS,
    BitrateBounds,
    HeldOutRates,
    best_within,
    bitrate_bounds,
    bounds_of,
    calibration_of,
    next_trial,
)
from vmaf_assay.promise.choice import rate_grid
from vmaf_assay.promise.conformal import hcp_interval

ROOT = Path(__file__).parents[2]
MODELS = resources.files("vmaf_assay") / "models"
GRID = np.arange(40.0, 19.0, -1.0)


def shipped() -> Sidecar:
    """The sidecar of the shipped forecast's mean."""
    rows = {row["id"]: row for row in json.loads((MODELS / "registry.json").read_text())["rows"]}
    return Sidecar.model_validate_json(
        (MODELS / rows["vmaf_forecast_ensemble_v1_mean"]["sidecar"]["file"]).read_text()
    )


def made(seed: int = 1, n_groups: int = 30) -> BitrateBounds:
    """Residuals of 30 groups, the first of which has three sources: a level and a slope each."""
    rng = np.random.default_rng(seed)
    groups = ["g0", "g0", *(f"g{index}" for index in range(n_groups))]
    level, slope = rng.normal(0, 0.2, len(groups)), rng.normal(0, 0.02, len(groups))
    return BitrateBounds(GRID, level[:, None] + slope[:, None] * (GRID - 30), tuple(groups))


def test_the_shipped_file_is_what_the_corpus_gives():
    """Made again from the corpus: the same digests and curves, residuals within a unit of the last decimal."""
    script = runpy.run_path(str(ROOT / "scripts" / "write_bitrate_calibration.py"))
    again = json.loads(script["made"](shipped_corpus()))
    said = json.loads((resources.files("vmaf_assay.promise") / NAME).read_bytes())
    left, right = again.pop("models"), said.pop("models")
    assert again == said
    assert left.keys() == right.keys()
    assert len(left) == 3
    for model, curves in left.items():
        assert curves.keys() == right[model].keys()
        for key, sources in curves.items():
            for one, other in zip(sources, right[model][key], strict=True):
                np.testing.assert_allclose(one.pop("residuals"), other.pop("residuals"), atol=1.1e-3)
                assert one == other


def test_a_held_out_residual_is_against_a_fit_without_the_group():
    """By hand for one source: a model fitted on the other groups, asked as `tune` asks it."""
    from vmaf_assay.model.bitrate import fit_bitrate

    cells = [c for c in shipped_corpus().cells if c.measurand.endswith(" 8-bit")]
    kbps = {(c.source, c.encoder, c.preset, c.rate_value): c.kbps for c in cells}
    rows = [c for c in cells if (c.encoder, c.preset) == ("libx264", "slow")]
    probes = np.array([[kbps[c.source, "libx264", "medium", rate] for rate in (30.0, 22.0)] for c in rows])
    left = [index for index, c in enumerate(rows) if c.group != rows[0].group]
    model = fit_bitrate(
        ["libx264"] * len(left),
        ["slow"] * len(left),
        np.array([rows[index].rate_value for index in left]),
        probes[left],
        np.array([rows[index].kbps for index in left]),
        [rows[index].group for index in left],
    )
    rate_value = np.array([rows[0].rate_value])
    (forecast,) = predict_kbps(model, "libx264", "slow", rate_value, probes[0].tolist())
    curves = calibration_of(shipped())
    assert curves is not None
    curve = next(one for one in curves["libx264|slow"] if one.source == rows[0].source)
    told = curve.residuals[curve.rate_values.index(rows[0].rate_value)]
    assert told == pytest.approx(np.log(rows[0].kbps / forecast), abs=1e-3)


def test_without_the_group_means_without_it():
    """A group whose bitrates are ten times the rest's does not bend its own forecast."""
    rates, probes = np.tile([20.0, 30.0, 40.0], 12), np.repeat(np.linspace(200, 900, 12), 3)[:, None]
    kbps = probes[:, 0] * np.exp(-0.1 * (rates - 30)) * np.where(np.arange(36) < 3, 10, 1)
    groups = [f"g{index}" for index in range(12) for _ in range(3)]
    residuals = held_out_residuals(["libx264"] * 36, ["slow"] * 36, rates, probes, kbps, groups)
    assert residuals[:3] == pytest.approx([np.log(10)] * 3, abs=0.15)


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_a_bound_is_the_quantile_over_groups(confidence):
    """At each rate value the one of `hcp_interval`, which is tested by itself, and the roughness in squares."""
    bounds = made()
    low, high = bounds.offsets([], [], confidence)
    for index in (0, 7, 20):
        by_group = [
            bounds.residuals[[name == group for name in bounds.groups], index]
            for group in sorted(set(bounds.groups))
        ]
        interval = hcp_interval(by_group, confidence)
        assert low[index] == pytest.approx(-np.hypot(min(interval.lower, 0), ROUGHNESS))
        assert high[index] == pytest.approx(np.hypot(max(interval.upper, 0), ROUGHNESS))


def test_what_is_known_narrows_the_bounds():
    """Between two known rate values little is left, and where the final encode repeats a trial nothing."""
    bounds = made()
    wide, narrow = bounds.offsets([], [], 0.9)[1], bounds.offsets([24.0, 36.0], [36.0], 0.9)[1]
    assert narrow[GRID == 36.0] == REPEAT
    assert narrow[GRID == 24.0] == pytest.approx(ROUGHNESS)
    assert (narrow < wide).all()
    # Residuals are straight lines here, so two known values leave nothing between them.
    assert narrow[(GRID > 24) & (GRID < 36)] == pytest.approx(ROUGHNESS)
    assert narrow[GRID == 20.0] > 2 * ROUGHNESS


def test_more_confidence_is_wider_and_too_much_is_refused():
    """30 groups carry at most 30/31."""
    bounds = made()
    sides = [bounds.offsets([], [], confidence) for confidence in (0.5, 0.8, 0.9, 0.95)]
    for (low, high), (lower, higher) in pairwise(sides):
        assert (lower <= low).all()
        assert (higher >= high).all()
    with pytest.raises(ConfigError, match="needs 49 calibration groups, there are 30"):
        bounds.offsets([], [], 0.98)


def test_new_groups_lie_below_the_upper_bound():
    """Of 400 fresh groups from the same law at least as many as promised, within three standard errors."""
    fresh = made(seed=7, n_groups=400).residuals[2:]
    share = np.mean([(fresh[:, 10] <= made(seed).offsets([], [], 0.9)[1][10]).mean() for seed in range(2, 40)])
    assert share > 0.9 - 3 * np.sqrt(0.09 / 400)


def test_a_preset_between_two_has_the_groups_of_both():
    """`libx264 slower` was not measured and has no bound; `medium` lies between `slow` and `veryfast`."""
    info = encoder_info("libx264")
    curves = [
        HeldOutRates(group, group, preset, np.array([20.0, 40.0]), np.array([level, level]))
        for group, preset, level in (("a", "slow", 0.1), ("b", "veryfast", 0.3))
    ]
    assert bounds_of(curves, info, "slower", GRID) is None
    between = bounds_of(curves, info, "medium", GRID)
    assert between is not None
    assert between.groups == ("a", "b")
    assert bounds_of(curves, info, "slow", GRID).groups == ("a",)


def test_only_the_ensemble_it_was_made_of_has_bounds():
    """Another corpus, another bitrate model, or none: nothing is calibrated. The shipped one has 85 groups."""
    mine, info = shipped(), encoder_info("libx264")
    grid = rate_grid(info, np.array([14.0, 42.0]))
    found = bitrate_bounds(mine, info, "medium", grid)
    assert found is not None
    assert found.n_groups == 85
    other = mine.bitrate | {"held_out_error": {}}
    changes = ({"corpus_digest": "0" * 64}, {"bitrate": other}, {"bitrate": None})
    for change in changes:
        assert bitrate_bounds(mine.model_copy(update=change), info, "medium", grid) is None
    assert bitrate_bounds(made_up(bitrate=True), info, "medium", grid) is None
    assert bitrate_bounds(mine, encoder_info("librav1e"), "6", grid) is None


def test_the_choice_is_the_best_within_the_limit():
    """ln(kbps) falls by 0.1 a rate value from 1000 kbps at 20."""
    ln_kbps = np.log(1000) - 0.1 * (GRID - 20)
    assert best_within(GRID, ln_kbps, 1000) == 20
    assert best_within(GRID, ln_kbps, 1000 * np.exp(-0.55)) == 26
    assert best_within(GRID, ln_kbps, 1) is None
    assert next_trial(GRID, ln_kbps, 1000 * np.exp(-0.55), []) == 26
    assert next_trial(GRID, ln_kbps, 1000 * np.exp(-0.55), [26.0]) is None
    assert next_trial(GRID, ln_kbps, 1, []) == 40
