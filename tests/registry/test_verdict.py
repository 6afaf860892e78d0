"""The verdict: one answer, never both files, and nothing in it that it does not itself support."""

import json

import pytest

from tests.crafted import FR, held_out_predictions, make_run
from vmaf_assay.admission import judge as module
from vmaf_assay.admission.judge import judge, verdict_path, write_verdict
from vmaf_assay.errors import ConfigError, CorpusError, IntegrityError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.promise.policy import COVERAGE_POLICY, POLICY
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.training.evidence import load_run


def read(folder, name="PROMOTE.json") -> dict:
    """A verdict as JSON."""
    return json.loads((folder / name).read_bytes())


def test_a_promote_says_everything_it_rests_on(runs):
    """The verdict binds corpus, models, sidecars, predictions, calibration, policies, code and environment."""
    verdict = read(runs["first"])
    files = read(runs["first"], "run.json")["files"]
    assert verdict["verdict"] == "PROMOTE"
    assert verdict["schema_version"] == 2
    assert verdict["reasons"] == []
    assert verdict["confidence_eligible"]
    assert verdict["corpus"]["digest"] == sha256_bytes(b"corpus")
    assert verdict["corpus"]["present"]
    ids = [f"{FR}_mean", *(f"{FR}_seed{seed}" for seed in range(5))]
    assert verdict["members"] == {name: files[f"members/{name}.onnx"] for name in ids}
    assert verdict["sidecars"] == {name: files[f"members/{name}.json"] for name in ids}
    assert sorted(verdict["rows"]) == ids
    assert verdict["predictions_sha256"] == files["predictions.parquet"]
    assert verdict["policy_sha256"] == POLICY.digest()
    assert verdict["coverage_policy_sha256"] == COVERAGE_POLICY.digest()
    assert len(verdict["folds"]) == 5 * 22
    assert verdict["code"]["version"] == "0"
    assert (verdict["adr"], verdict["parent_adr"]) == ("ADR-0320", "ADR-0437")


def test_fields_of_the_first_schema_are_kept(runs):
    """A reader of the reference system's PROMOTE.json finds every field it knew."""
    assert {
        "verdict",
        "gate",
        "corpus",
        "seeds",
        "loso_dir",
        "generated_at_utc",
        "recommendation",
        "adr",
        "parent_adr",
    } <= set(read(runs["first"]))
    assert set(read(runs["first"])["gate"]) == {
        "conditions",
        "passed",
        "mean_plcc",
        "mean_plcc_threshold",
        "mean_plcc_pass",
        "plcc_spread",
        "plcc_spread_max",
        "plcc_spread_pass",
        "per_seed_plccs",
        "per_seed_min",
        "per_seed_pass",
        "failing_seeds",
    }


def test_a_hold_says_why(runs):
    """A HOLD names each condition that failed, and the seeds."""
    verdict = read(runs["hold"], "HOLD.json")
    assert verdict["verdict"] == "HOLD"
    assert not verdict["gate"]["passed"]
    assert any("seeds 0, 1, 2, 3, 4 are below 0.95" in reason for reason in verdict["reasons"])


def test_production_without_promises(runs):
    """Too few groups for 0.95: the gate passes, and promises are not allowed."""
    verdict = read(runs["forecast"])
    assert verdict["verdict"] == "PROMOTE"
    assert not verdict["confidence_eligible"]


def test_never_both(runs, tmp_path, monkeypatch):
    """Writing one verdict removes the other, and a kill at the write leaves neither rather than both."""
    promote, hold = (Verdict(**read(runs["first"])), Verdict(**read(runs["hold"], "HOLD.json")))
    for verdict, name in ((promote, "PROMOTE.json"), (hold, "HOLD.json"), (promote, "PROMOTE.json")):
        write_verdict(tmp_path, verdict)
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        write_verdict(tmp_path, hold)
    assert list(tmp_path.iterdir()) == []


def test_both_files_or_none_is_no_verdict(tmp_path):
    """A folder that somehow holds both is refused as one that holds none."""
    with pytest.raises(ConfigError, match="no verdict"):
        verdict_path(tmp_path)
    for name in ("PROMOTE.json", "HOLD.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"both PROMOTE\.json and HOLD\.json"):
        verdict_path(tmp_path)


def test_the_same_run_gets_the_same_verdict(runs):
    """Judging twice differs in nothing but the time."""
    when = {"generated_at_utc"}
    run = load_run(runs["first"])
    assert judge(run).model_dump(exclude=when) == judge(run).model_dump(exclude=when)


def test_a_poor_run_with_identical_seeds_gets_no_verdict(tmp_path):
    """No diversity is no evidence, for predictions and for models alike."""
    folder = make_run(tmp_path / "run", weights_of=lambda _seed: 0)
    with pytest.raises(CorpusError, match="two members are the same file"):
        load_run(folder)


EDITS = {
    "a better score": (lambda v: v["gate"].update(mean_plcc=0.9999), "contradicts its own fold table"),
    "a smaller spread": (lambda v: v["gate"].update(plcc_spread=0.0), "contradicts its own fold table"),
    "a better seed": (lambda v: v["gate"]["per_seed_plccs"].update({"0": 0.9999}), "contradicts its own fold"),
    "a lower threshold": (lambda v: v["gate"].update(mean_plcc_threshold=0.1), "contradicts its own fold table"),
    "a worse fold": (lambda v: v["folds"][0].update(plcc=0.5), "contradicts its own fold table"),
    "folds that fail": (lambda v: [f.update(plcc=0.5) for f in v["folds"]], "contradicts its own fold table"),
    "a fold dropped": (lambda v: v["folds"].pop(), "lacks a fold"),
    "a group dropped": (
        lambda v: v.update(folds=[f for f in v["folds"] if f["held_out"] != "g00"]),
        "lacks a fold",
    ),
    "a fold renamed": (lambda v: v["folds"][0].update(held_out="zz"), "lacks a fold"),
    "an object for the number of groups": (lambda v: v["corpus"].update(n_groups={}), "lacks a fold"),
    "HOLD": (lambda v: v.update(verdict="HOLD"), "is not a PROMOTE"),
    "reasons against": (lambda v: v.update(reasons=["but"]), "is not a PROMOTE"),
    "another policy": (lambda v: v.update(policy_sha256="0" * 64), "another gate policy"),
    "another coverage policy": (lambda v: v.update(coverage_policy_sha256="0" * 64), "another gate policy"),
    "promises that coverage denies": (lambda v: v["coverage"][0].update(passed=False), "coverage table"),
    "promises without coverage": (lambda v: v.update(coverage=[]), "coverage table"),
    "a member dropped": (lambda v: v["members"].popitem(), "one distinct model for every seed"),
    "a member twice": (
        lambda v: v["members"].update({f"{FR}_seed0": v["members"][f"{FR}_seed1"]}),
        "one distinct model",
    ),
    "a seed dropped": (lambda v: v["seeds"].pop(), "one distinct model for every seed"),
    "another ensemble": (lambda v: v.update(ensemble="other"), "one distinct model for every seed"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_verdict_does_not_stand(runs, what):
    """A verdict that its own evidence does not support is refused, before any digest is looked at."""
    change, message = EDITS[what]
    document = read(runs["first"])
    Verdict(**document).recheck()
    change(document)
    with pytest.raises(IntegrityError, match=message):
        Verdict(**document).recheck()


def test_a_hold_whose_word_was_changed_does_not_stand(runs):
    """HOLD rewritten as PROMOTE fails on the numbers."""
    document = read(runs["hold"], "HOLD.json") | {"verdict": "PROMOTE", "reasons": []}
    with pytest.raises(IntegrityError, match="is not a PROMOTE"):
        Verdict(**document).recheck()


def test_judging_needs_evidence(tmp_path):
    """Four seeds are no HOLD: there is no verdict at all."""
    seeds = (0, 1, 2, 3)
    folder = make_run(tmp_path / "run", seeds=seeds, predictions=held_out_predictions(seeds=seeds))
    with pytest.raises(CorpusError, match="not 5 different ones"):
        load_run(folder)
    assert not (folder / "HOLD.json").exists()
