"""The page of an audit agrees with its checks and the exit code; any budget of steps can be trained again."""

from dataclasses import replace

import pytest

from tests.crafted import FORECAST, FR
from tests.registry.conftest import validated
from tests.synthetic import write_synthetic_corpus
from vmaf_assay.admission.audit import audit
from vmaf_assay.admission.promotion import promote
from vmaf_assay.cli.audit import page
from vmaf_assay.cli.main import main
from vmaf_assay.registry.recompute import Check
from vmaf_assay.training.evidence import load_run
from vmaf_assay.training.run import train_run


def verified(found) -> str:
    """What the page says last."""
    (line,) = [line for line in page(found) if line.startswith("verified")]
    return " ".join(line.split())


@pytest.mark.parametrize("what", ["gate", "calibration", "coverage", "retrained: held-out predictions"])
def test_what_differs_is_not_verified(promoted, what):
    """A page on which anything that was computed again differs does not end in "verified every byte"."""
    found = audit(promoted, FR)
    assert verified(found).startswith("verified every ")
    wrong = replace(found, checks=[*found.checks, Check(what, "differs", "by a lot")])
    assert verified(wrong).startswith("verified NO: ")
    assert what in verified(wrong)
    assert not wrong.agrees


def test_a_budget_of_steps_is_trained_again(tmp_path, capsys):
    """`train --max-steps N`, promoted, is trained again with the same budget and agrees: exit 0, not 2."""
    corpus, registry = tmp_path / "corpus", tmp_path / "registry"
    write_synthetic_corpus(corpus, n_groups=8)
    train_run(corpus, FORECAST, tmp_path / "run", max_steps=4000)
    promote(load_run(validated(tmp_path / "run")), registry)
    command = ["registry", "verify", f"{FORECAST}_mean", "--registry", str(registry)]
    assert main([*command, "--retrain", "--corpus", str(corpus)]) == 0
    printed = capsys.readouterr().out
    assert "max_steps 4000" in " ".join(printed.split())
    assert "byte for byte the same" in " ".join(printed.split())
