"""The bitrate forecast recovers a known law, and is judged on groups it has not seen."""

import numpy as np
import pytest

from vmaf_assay.errors import ConfigError
from vmaf_assay.model import bitrate
from vmaf_assay.model.bitrate import BitrateModel, fit_bitrate, predict_kbps

RATES = np.array([18.0, 22, 26, 30, 34, 38])


def law(rate_values, probes):
    """ln(kbps) = 1 - 3 r + 0.4 r^2 + 0.7 ln p0 + 0.2 ln p1 - 0.1 r ln p0, with r = CRF / 51."""
    r = np.asarray(rate_values) / 51
    p0, p1 = np.log(probes)
    return np.exp(1 - 3 * r + 0.4 * r * r + 0.7 * p0 + 0.2 * p1 - 0.1 * r * p0)


def table(n_groups: int = 30, noise: float = 0.0):
    """Encodes of `n_groups` groups under the law, with lognormal noise."""
    rng = np.random.default_rng(3)
    probes = np.exp(rng.uniform(4, 9, (n_groups, 2)))
    kbps = np.concatenate([law(RATES, p) * np.exp(noise * rng.standard_normal(len(RATES))) for p in probes])
    groups = [f"g{i}" for i in range(n_groups) for _ in RATES]
    return np.tile(RATES, n_groups), np.repeat(probes, len(RATES), axis=0), kbps, groups


def fit(rates, probes, kbps, groups, encoder="libx264") -> BitrateModel:
    """One encoder's fit."""
    return fit_bitrate([encoder] * len(kbps), ["medium"] * len(kbps), rates, probes, kbps, groups)


def test_a_law_of_its_own_form_is_recovered(monkeypatch):
    """Without noise and (nearly) without the ridge's pull every forecast is right, between rate values too."""
    monkeypatch.setattr(bitrate, "RIDGE", 1e-9)
    model = fit(*table())
    for probes in ((200, 150), (3000, 1000)):
        rates = np.array([18.0, 20, 27, 38])
        got = predict_kbps(model, "libx264", "medium", rates, probes)
        np.testing.assert_allclose(got, law(rates, probes), rtol=0.001)
    assert model.held_out_error["libx264|medium"] < 0.001


def test_the_ridge_pulls_little():
    """With the penalty in use, half the forecasts of groups left out are within 4 % of a law without noise."""
    assert fit(*table()).held_out_error["libx264|medium"] < 0.04


def test_held_out_error_is_of_groups_left_out():
    """One group per probe pair, whose bitrates are unrelated to everything else's: the error says so."""
    honest = fit(*table(noise=0.1)).held_out_error["libx264|medium"]
    assert 0.05 < honest < 0.09  # the median of |exp(0.1 z) - 1| is 0.067
    rates, probes, kbps, groups = table(n_groups=2)
    kbps[: len(RATES)] *= 100
    assert fit(rates, probes, kbps, groups).held_out_error["libx264|medium"] > 0.5


def test_encoders_are_fitted_apart():
    """A second encoder's rows do not change the first one's coefficients."""
    rates, probes, kbps, groups = table()
    alone = fit(rates, probes, kbps, groups)
    both = fit_bitrate(
        ["libx264"] * len(kbps) + ["libx265"] * len(kbps),
        ["medium"] * 2 * len(kbps),
        np.tile(rates, 2),
        np.tile(probes, (2, 1)),
        np.concatenate([kbps, kbps / 2]),
        groups * 2,
    )
    assert both.coefficients["libx264|medium"] == alone.coefficients["libx264|medium"]
    ratio = [predict_kbps(both, encoder, "medium", RATES, (500, 400)) for encoder in ("libx265", "libx264")]
    np.testing.assert_allclose(ratio[0] / ratio[1], 0.5, rtol=0.01)


def test_a_sidecars_dictionary_does_as_well():
    """The model as JSON gives the same forecast; an encoder it has not seen is refused."""
    model = fit(*table())
    plain = model.model_dump(mode="json")
    one, other = (predict_kbps(m, "libx264", "medium", RATES, (500, 400)) for m in (model, plain))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ConfigError, match="libx265 preset medium"):
        predict_kbps(model, "libx265", "medium", RATES, (500, 400))


def test_between_two_presets_the_logarithm_is_interpolated():
    """Half the bits at slow of those at veryfast: medium lies a quarter of the way; beyond either is nothing."""
    rates, probes, kbps, groups = table()
    both = fit_bitrate(
        ["libx264"] * 2 * len(kbps),
        ["slow"] * len(kbps) + ["veryfast"] * len(kbps),
        np.tile(rates, 2),
        np.tile(probes, (2, 1)),
        np.concatenate([kbps / 2, kbps]),
        groups * 2,
    )
    slow, medium, fastest = (
        predict_kbps(both, "libx264", name, RATES, (500, 400)) for name in ("slow", "medium", "veryfast")
    )
    np.testing.assert_allclose(medium / slow, 2**0.25, rtol=0.01)
    np.testing.assert_allclose(fastest / slow, 2, rtol=0.01)
    for name in ("slower", "superfast"):
        with pytest.raises(ConfigError, match=f"libx264 preset {name}"):
            predict_kbps(both, "libx264", name, RATES, (500, 400))
