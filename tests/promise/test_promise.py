"""The one promise: every reason against it has a code and words, and one sentence answers."""

from dataclasses import replace
from itertools import product

import pytest

from vmaf_assay.promise.choice import Choice, Margin
from vmaf_assay.promise.promise import Promise, promise_of

KEPT = Promise(93.0, 0.95, 94.0, 93.2, True, "", True, True)

FAULTS = {
    "unlike_training": {"supported": False, "unsupported_reason": "720x576 is outside"},
    "out_of_reach": {"reachable": False},
    "target_not_calibrated": {"calibrated_target": False},
    "options_not_calibrated": {"uncalibrated_options": "-tune grain"},
    "tools_not_calibrated": {"uncalibrated_tools": "ffmpeg is 8.0, calibrated with 7.1"},
    "reference_not_calibrated": {"uncalibrated_reference": "an unscaled source"},
}


def test_a_promise_without_a_reason_against_it_is_made():
    """All conditions hold: promised, and the sentence says target and confidence."""
    assert KEPT.made
    assert KEPT.encodable
    assert KEPT.sentence("x at CRF 20") == "x at CRF 20: VMAF >= 93 with confidence 0.95"


@pytest.mark.parametrize(("code", "fault"), FAULTS.items(), ids=list(FAULTS))
def test_each_fault_has_a_code_of_its_own(code, fault):
    """One fault alone ends the promise under its own code, and the sentence does not claim the target."""
    broken = replace(KEPT, **fault)
    assert not broken.made
    assert [reason.code for reason in broken.reasons] == [code]
    assert "VMAF >= 93 with confidence" not in broken.sentence("x at CRF 20")
    assert broken.reasons[0].words in broken.sentence("x at CRF 20")
    assert broken.as_json()["reasons"] == [{"code": code, "words": broken.reasons[0].words}]


def test_faults_are_all_reported():
    """Any set of faults reports each one; a margin of a lower target hides no forecast below the target."""
    names = list(FAULTS)
    for chosen in product((False, True), repeat=len(names)):
        wanted = {name for name, on in zip(names, chosen, strict=True) if on}
        changes = {key: value for name in wanted for key, value in FAULTS[name].items()}
        broken = replace(KEPT, mu=92.0, **changes)
        assert {reason.code for reason in broken.reasons} == wanted
        assert broken.made == (not wanted)


def test_not_calibrated_is_not_out_of_reach():
    """A forecast above the target with the margin of a lower one is "not calibrated", not "out of reach"."""
    broken = replace(KEPT, mu=94.0, reachable=False, calibrated_target=False)
    assert [reason.code for reason in broken.reasons] == ["target_not_calibrated"]


def test_the_margin_decides_whether_the_target_was_calibrated():
    """`promise_of` takes reachability from the choice and calibration from the margin's own target."""
    choice = Choice(20.0, 94.0, 93.2, True)
    for calibrated, made in ((93.0, True), (92.5, False)):
        margin = Margin(1.0, 30, False, 0.02, calibrated)
        promise = promise_of(choice, margin, target=93.0, confidence=0.95, unsupported_reason="")
        assert (promise.made, promise.reachable) == (made, True)
