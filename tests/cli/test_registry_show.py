"""`assay registry show`: what the verdict in force states of each encoder and preset."""

import json

from vmaf_assay.api.paths import registry_of
from vmaf_assay.cli.main import main


def test_each_encoder_is_shown_as_the_verdict_states_it(capsys):
    """PLCC, the gate's RMSE and kept promises of libsvtav1 8 and libx265 medium, and what is forecast."""
    name = "vmaf_forecast_v0_6_1_mean_10bit"
    assert main(["registry", "show", f"{name}_mean"]) == 0
    lines = capsys.readouterr().out.splitlines()
    verdict = json.loads((registry_of(None) / f"{name}_seed_flip_PROMOTE.json").read_bytes())
    conditions = {(one["scope"], one["name"]): one for one in verdict["gate"]["conditions"]}
    assert "answers     vmaf_v0.6.1 mean 10-bit" in lines
    for scope in ("libsvtav1 8", "libx265 medium"):
        (line,) = (one for one in lines if one.startswith(f"{scope} "))
        wanted = ["85", f"{conditions[scope, 'plcc']['value']:.4f}"]
        wanted.append(f"{conditions[scope, 'in-sample rmse']['at_most']:.2f}")
        wanted += [f"{one['coverage']:.3f}" for one in verdict["coverage"] if one["scope"] == scope]
        assert line.removeprefix(scope).split() == wanted


def test_an_error_below_what_always_passes_is_shown_so(capsys):
    """The regressor errs by less than 0.5 points, which the gate never asks about."""
    assert main(["registry", "show", "fr_regressor_v2_ensemble_v1_mean"]) == 0
    (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("libx264 medium "))
    assert "<= 0.5" in line
