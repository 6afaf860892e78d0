"""The watch: a bet that kept promises cannot win, and `assay outcomes check`."""

import json

import numpy as np
import pytest

from tests.outcomes.made import DELIVERED, outcome
from tests.test_json_contract import check as fits_schema
from vmaf_assay.cli.main import main
from vmaf_assay.outcomes.recorder import Recorder
from vmaf_assay.outcomes.store import OutcomeStore
from vmaf_assay.outcomes.watch import ODDS, log_capital, shares, watch


def filled(folder, misses: int, n: int = 60) -> OutcomeStore:
    """A store of n promised titles, of which some missed."""
    store = OutcomeStore(folder)
    store.add([outcome(i, measured=92.0 if i < misses else 93.4) for i in range(n)])
    return store


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_the_bet_is_fair(confidence):
    """While a promise is missed exactly as often as allowed, the capital keeps its mean."""
    miss, keep = 1 - confidence, confidence
    after_one = [np.exp(log_capital([(confidence, 1, 0)])), np.exp(log_capital([(confidence, 0, 1)]))]
    assert miss * after_one[0] + keep * after_one[1] == pytest.approx(1)
    after_two = [np.exp(log_capital([(confidence, missed, 2 - missed)])) for missed in (2, 1, 0)]
    assert miss**2 * after_two[0] + 2 * miss * keep * after_two[1] + keep**2 * after_two[2] == pytest.approx(1)


def test_the_capital_is_the_likelihood_ratio():
    """Two confidences, by hand: the mean over alternatives of the product of odds."""
    by_hand = []
    for odds in ODDS:
        product = 1.0
        for allowed, missed, kept in ((0.05, 3, 20), (0.2, 1, 4)):
            q = odds * allowed / (1 - allowed + odds * allowed)
            product *= (q / allowed) ** missed * ((1 - q) / (1 - allowed)) ** kept
        by_hand.append(product)
    assert np.exp(log_capital([(0.95, 3, 20), (0.8, 1, 4)])) == pytest.approx(np.mean(by_hand))


def test_weights_never_exceed_one():
    """However many encoders, targets and measurands appear, the streams share one stake."""
    assert 0.25 + 3 * shares(10_000).sum() <= 1


def test_check_says_whether_promises_are_kept(tmp_path, capsys):
    """3 of 60 missed at 0.95 is as promised, exit 0; 20 of 60 is not, exit 1, with the next step."""
    for misses, code in ((3, 0), (20, 1)):
        folder = tmp_path / str(misses)
        filled(folder, misses).close()
        assert main(["outcomes", "check", "--outcomes", str(folder)]) == code
        said = capsys.readouterr().out
        assert f"{60 - misses} of 60 kept, 95.0 % promised" in said
        assert ("being broken" in said, "--trials 2" in said) == (code == 1, code == 1)
        assert main(["outcomes", "check", "--outcomes", str(folder), "--json"]) == code
        document = fits_schema("outcomes_check", capsys.readouterr().out)
        (one,) = document["calibrations"]
        assert (one["titles"], one["broken"]) == (60, code == 1)
        assert {stream["family"] for stream in one["streams"]} == {"all", "encoder", "target", "measurand"}


def test_an_empty_store_is_no_alarm(tmp_path, capsys):
    """Nothing measured yet: exit 0, and how to measure."""
    assert main(["outcomes", "check", "--outcomes", str(tmp_path / "none")]) == 0
    assert "--verify" in capsys.readouterr().out
    assert main(["outcomes", "check", "--outcomes", str(tmp_path / "none"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibrations"] == []


def test_tune_says_once_that_promises_are_broken(tmp_path):
    """The recorder's note comes with the first record that finds them broken, and not again."""
    notes = []
    source = tmp_path / "in.mkv"
    source.write_bytes(b"pictures")
    with filled(tmp_path / "store", 20) as store:
        recorder = Recorder(store, lambda path: "d" * 64, notes.append)
        recorder.record(source, DELIVERED)
        recorder.record(source, DELIVERED)
        assert watch(store, DELIVERED.calibration).broken
    assert len(notes) == 1
    assert "promises are being broken" in notes[0]
