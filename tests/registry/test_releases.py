"""What a release shipped verifies for ever, whatever policies, choice rule and schemas became since."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crafted import FR
from vmaf_assay.admission.lifecycle import rollback
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.cli.main import main
from vmaf_assay.promise import policy
from vmaf_assay.promise.calibrate import coverage_of
from vmaf_assay.registry import recompute as evidence
from vmaf_assay.registry import store
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run

RELEASES = Path(__file__).parents[1] / "releases"
NAMES = sorted(path.name for path in RELEASES.iterdir() if (path / "registry.json").is_file())


def test_every_release_is_kept():
    """The folders are there; a release adds one and takes none away."""
    assert {"0.1.0", "signed-1"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_release_verifies(name):
    """Every row that was production is production still, byte by byte, and nothing is left over."""
    reports = verify_registry(RELEASES / name)
    assert [report.reason for report in reports if report.status == "refused"] == []
    assert {report.status for report in reports} == {"production"}
    assert len(reports) == len(read_registry(RELEASES / name).rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_release_verifies_deep(name):
    """Calibration and coverage come out as the verdict says.

    If coverage differs here, the choice rule changed: raise `CHOICE_RULE` (or `INTERVAL_RULE`) in
    promise/policy.py, and promote, or revalidate, the shipped models.
    """
    reports = verify_registry(RELEASES / name, deep=True)
    assert [report.reason for report in reports if report.status == "refused"] == []


@pytest.mark.parametrize("ensemble", ["fr_regressor_v2_ensemble_v1", "vmaf_forecast_ensemble_v1"])
def test_the_first_release_loads(ensemble):
    """Its models open and know their place."""
    assert load_verified(RELEASES / "0.1.0", ensemble).verdict.sequence == 1


PINNED = {
    1: {
        "libsvtav1 8": 0.9236111111111112,
        "libvpx-vp9 4": 0.9201388888888888,
        "libx264 medium": 0.9131944444444444,
        "libx265 medium": 0.9057539682539684,
    },
    2: {
        "libsvtav1 8": 0.9236111111111112,
        "libvpx-vp9 4": 0.9201388888888888,
        "libx264 medium": 0.9236111111111112,
        "libx265 medium": 0.9057539682539684,
    },
    3: {
        "libsvtav1 8": 0.9144768509380342,
        "libvpx-vp9 4": 0.9244658871332526,
        "libx264 medium": 0.9261982594782443,
        "libx265 medium": 0.9109251677962731,
    },
    4: {
        "libsvtav1 8": 0.9206027090473164,
        "libvpx-vp9 4": 0.9246060017949134,
        "libx264 medium": 0.9192318967821915,
        "libx265 medium": 0.9087486222568759,
    },
}
"""Coverage of choices at 0.9 and target 93 on the curves of 0.1.0, by version of the choice rule."""

PINNED_INTERVALS = {1: {"all": 0.9242621527777778}}
"""The same of intervals at 0.9."""


@pytest.mark.parametrize(
    ("ensemble", "pinned", "version"),
    [
        ("vmaf_forecast_ensemble_v1", PINNED, policy.CHOICE_RULE),
        ("fr_regressor_v2_ensemble_v1", PINNED_INTERVALS, policy.INTERVAL_RULE),
    ],
)
def test_a_rule_has_the_version_it_says(ensemble, pinned, version):
    """The rule chooses as it did when its version was given; another rule is another version, pinned here too."""
    calibration = load_verified(RELEASES / "0.1.0", ensemble).calibration
    asked = policy.CoveragePolicy(confidences=(0.9,), targets=(93.0,))
    assert {one.scope: one.coverage for one in coverage_of(calibration, asked)} == pytest.approx(pinned[version])


def test_a_release_can_be_rolled_back_to(runs, tmp_path):
    """Its rows can be made again byte for byte, though only their digests were kept."""
    folder = shutil.copytree(RELEASES / "0.1.0", tmp_path / "registry")
    before = {row.id: row.binding() for row in read_registry(folder).rows}
    promote(load_run(runs["first"]), folder)
    rollback(folder, FR, Who(reason="as it was"))
    assert {row.id: row.binding() for row in read_registry(folder).rows} == before
    assert {report.status for report in verify_registry(folder)} == {"production"}


def test_a_retired_policy_admits_what_it_admitted(promoted, monkeypatch):
    """After the gate's policy changes, verdicts under the old one stand if it is listed and they are older."""
    verdict = load_verified(promoted, FR).verdict
    stricter = replace(policy.POLICY, name="stricter", mean_plcc_threshold=0.99999)
    for module in (policy, __import__("vmaf_assay.registry.verdict", fromlist=["x"])):
        monkeypatch.setattr(module, "POLICY", stricter)
    with pytest.raises(Exception, match="another gate policy"):
        verdict.recheck()
    monkeypatch.setattr(policy, "RETIRED", ((policy.GatePolicy(), "2999-01-01"),))
    assert verdict.recheck().passed
    assert verdict.gate_policy() == policy.GatePolicy()
    monkeypatch.setattr(policy, "RETIRED", ((policy.GatePolicy(), "2001-01-01"),))
    with pytest.raises(Exception, match="another gate policy"):
        verdict.recheck()


def test_a_new_choice_rule_ends_promises_not_verification(promoted, monkeypatch, capsys):
    """Under another rule than the verdict's: it verifies, and loads, `verify` and `show` name no promises."""
    assert load_verified(promoted, FR).confidence_eligible
    assert all(report.confidence_eligible for report in verify_registry(promoted, ensemble=FR))
    for module in (store, evidence):
        monkeypatch.setattr(module, "rule_in_force", lambda _task: 2)
    reports = verify_registry(promoted, deep=True)
    assert {report.status for report in reports} == {"production"}
    assert not any(report.confidence_eligible for report in reports)
    assert not load_verified(promoted, FR).confidence_eligible
    main(["registry", "show", f"{FR}_mean", "--registry", str(promoted)])
    assert "verified, may not make promises" in " ".join(capsys.readouterr().out.split())
