"""What ties the shipped members to what was judged: each way around it is caught, and where is said."""

import io
import json
import shutil

import numpy as np
import polars as pl
import pytest

from tests.crafted import (
    FORECAST,
    FR,
    Crafted,
    edit_json,
    held_out_predictions,
    make_run,
    seal,
    write_shipped,
)
from vmaf_assay.admission.judge import judge
from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.model.codec_block import codec_rows
from vmaf_assay.model.fused import weights_of
from vmaf_assay.model.onnx import mean_graph, member_graph
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.registry import tie as module
from vmaf_assay.registry.files import content_name, verdict_name
from vmaf_assay.registry.manifest import Registry
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run


@pytest.fixture
def run(runs, tmp_path):
    """A run to break."""
    return shutil.copytree(runs["first"], tmp_path / "run")


def change_members(run, change) -> None:
    """Replace every member by `change` of its weights, and the fused graph, with digests that fit."""
    members = []
    for seed in range(5):
        path = run / "members" / f"{FR}_seed{seed}.onnx"
        members.append(change(weights_of(path.read_bytes())))
        path.write_bytes(member_graph(members[-1]))
    (run / "members" / f"{FR}_mean.onnx").write_bytes(mean_graph(members))
    refit(run)


def refit(run) -> None:
    """Make sidecars and `run.json` fit the models that lie there now."""
    for path in (run / "members").glob("*.onnx"):
        digest = sha256_bytes(path.read_bytes())
        edit_json(path.with_suffix(".json"), lambda document, digest=digest: document.update(onnx_sha256=digest))
    seal(run)


def restate(run) -> None:
    """Make the evidence say what the models that lie there now predict, as their owner would."""
    table = pl.read_parquet(run / "predictions.parquet").filter(pl.col("seed") == 0).sort("row")
    shipped = pl.read_parquet(run / "shipped.parquet").sort("row")
    sidecar = Sidecar.model_validate_json((run / "members" / f"{FR}_mean.json").read_bytes())
    features = shipped.select(f"feature.{name}" for name in sidecar.feature_names).to_numpy()
    codec = codec_rows(*(table[name].to_list() for name in ("encoder", "preset", "rate_value")), version=2)
    members = {s: weights_of((run / "members" / f"{FR}_seed{s}.onnx").read_bytes()) for s in range(5)}
    write_shipped(run, FR, Crafted(features, shipped["pixels"].to_numpy(), codec, members, sidecar.feature_names))
    seal(run)


def shifted(weights):
    """Fifteen points up."""
    return weights._replace(target_mean=weights.target_mean + np.float32(15))


def test_shipped_members_are_those_that_the_evidence_predicts_with(run):
    """Fifteen points on every graph, digests made to fit, contradict what the evidence says they predict."""
    change_members(run, shifted)
    with pytest.raises(IntegrityError, match=r"predicts up to 15\.0\d* points off what the evidence says"):
        load_run(run)


def test_in_sample_error_no_larger_than_held_out(run):
    """The same with evidence made to fit is a HOLD: the shipped members are worse on rows they have seen."""
    change_members(run, shifted)
    restate(run)
    verdict = judge(load_run(run))
    assert verdict.verdict == "HOLD"
    assert any(reason.startswith("in-sample rmse of libx264 medium: 1") for reason in verdict.reasons)
    assert any(reason.startswith("bias shift of libx264 medium: ") for reason in verdict.reasons)


@pytest.mark.parametrize("seed", [0, 4])
def test_a_fused_graph_is_what_its_members_give(run, seed):
    """An honest mean beside one junk member, or a mean of other members beside honest ones, is refused."""
    path = run / "members" / f"{FR}_seed{seed}.onnx"
    weights = weights_of(path.read_bytes())
    path.write_bytes(member_graph(weights._replace(w3=weights.w3 * np.float32(1.001))))
    refit(run)
    with pytest.raises(IntegrityError, match="the fused graph is not what its members give"):
        load_run(run)


def test_a_member_is_a_graph_that_this_package_writes(run):
    """A hidden unit that is zero on every row still changes bytes: only graphs of the writer pass."""
    path = run / "members" / f"{FR}_seed1.onnx"
    import onnx

    model = onnx.ModelProto.FromString(path.read_bytes())
    model.graph.node[0].name = "renamed"
    path.write_bytes(model.SerializeToString(deterministic=True))
    refit(run)
    with pytest.raises(IntegrityError, match="not the graph that its weights give"):
        load_run(run)


def seen(change):
    """A change of `seen` in every sidecar."""

    def apply(run) -> None:
        for path in (run / "members").glob("*.json"):
            edit_json(path, lambda document: change(document["seen"]))
        seal(run)

    return apply


FACTS = {
    "an encoder without a row": lambda s: s["encoders"].append(
        {"encoder": "libx265", "preset": "medium", "rate_values": [20.0, 30.0], "min_pixels": 2, "max_pixels": 2}
    ),
    "rate values without a row": lambda s: s["encoders"][0]["rate_values"].append(51.0),
    "a wider feature": lambda s: s["feature_max"].__setitem__(1, 50.0),
    "a smaller feature": lambda s: s["feature_min"].__setitem__(0, -50.0),
    "larger pictures": lambda s: s.update(max_pixels=8_294_400),
    "larger pictures of an encoder": lambda s: s["encoders"][0].update(max_pixels=8_294_400),
}


@pytest.mark.parametrize("what", FACTS)
def test_sidecars_have_seen_what_the_rows_hold(run, what):
    """Every fact of `seen` is recomputed from the evidence alone: encoders, rate values, ranges, sizes."""
    seen(FACTS[what])(run)
    with pytest.raises(IntegrityError, match="is not of the rows trained on"):
        load_run(run)


def test_held_out_scores_of_a_sidecar_are_recomputed(run):
    """A lower held-out error than the predictions give is refused."""
    for path in (run / "members").glob("*.json"):
        edit_json(path, lambda document: document["held_out"].update(mean_rmse=0.01))
    seal(run)
    with pytest.raises(IntegrityError, match="claims other held-out scores"):
        load_run(run)


COMMITTED = {
    "ensemble": {"model_id": FORECAST},
    "seeds": {"seeds": [0, 1, 2, 3, 5]},
    "corpus": {"corpus_digest": "0" * 64},
    "rows": {"n_rows": 7},
    "protocol": {"protocol": "2 grouped folds"},
    "recipe": {"recipe": {"name": "another"}},
}


@pytest.mark.parametrize("what", COMMITTED)
def test_the_commitment_is_of_this_training(run, what):
    """A commitment to another ensemble, seed, corpus, recipe or way of leaving out is refused."""
    document = json.loads((run / "tie.json").read_bytes())
    document["commitment"] |= COMMITTED[what]
    (run / "tie.json").write_bytes(canonical_json(document))
    (run / "commitment.json").write_bytes(canonical_json(document["commitment"]))
    seal(run)
    with pytest.raises(IntegrityError, match=f"committed to before training is of another {what}"):
        load_run(run)


def test_the_commitment_of_a_run_is_the_one_in_its_tie(run):
    """A commitment exchanged after training, in either file alone, is refused."""
    edited = json.loads((run / "commitment.json").read_bytes()) | {"made_at_utc": "2020-01-01T00:00:00+00:00"}
    (run / "commitment.json").write_bytes(canonical_json(edited))
    seal(run)
    with pytest.raises(IntegrityError, match="holds another commitment"):
        load_run(run)


@pytest.mark.parametrize("how", ["one left out", "two alike"])
def test_every_held_out_member_is_listed(run, how):
    """Digests of the leave-one-out members: one for every seed and fold, all different."""
    document = json.loads((run / "tie.json").read_bytes())
    folds = document["held_out_members"]["2"]
    if how == "one left out":
        folds.pop("g03")
    else:
        folds["g03"] = folds["g04"]
    (run / "tie.json").write_bytes(canonical_json(document))
    seal(run)
    with pytest.raises(IntegrityError, match="not one for every seed and fold"):
        load_run(run)


def test_the_author_does_not_choose_the_witness(run):
    """Rows of the witness that the digest does not draw are refused, true though they are."""
    data = bytearray((run / "witness.npy").read_bytes())
    row = 4 * (6 + 14 + 5)
    data[-row:] = data[-2 * row : -row]
    (run / "witness.npy").write_bytes(data)
    seal(run)
    with pytest.raises(IntegrityError, match="not of the rows that its digest draws"):
        load_run(run)


def test_the_draw_depends_on_everything_that_it_is_evidence_of():
    """Another model, other predictions or other evidence draw other rows; the same draw the same."""
    about = {"shipped_sha256": "1", "predictions_sha256": "2", "members": {"m": "3"}}
    drawn = module.draw(5000, **about)
    assert len(drawn) == len(set(drawn)) == module.WITNESS_ROWS == 128
    assert drawn == sorted(drawn) == module.draw(5000, **about)
    for name, other in (("shipped_sha256", "0"), ("predictions_sha256", "0"), ("members", {"m": "0"})):
        assert module.draw(5000, **(about | {name: other})) != drawn
    assert module.draw(7, **about) == list(range(7))


def readmit(folder, name_of, data: bytes, change) -> None:
    """Put a file under a digest of its own into a registry, with a verdict and rows changed to fit it."""
    registry = read_registry(folder)
    row = registry.row(f"{FR}_mean")
    path = folder / verdict_name(FR)
    verdict = Verdict.model_validate_json(path.read_bytes())
    verdict = change(verdict, sha256_bytes(data))
    (folder / name_of(sha256_bytes(data))).write_bytes(data)
    for file in (path, folder / verdict_name(FR, verdict.sequence)):
        file.write_bytes(verdict.to_bytes())
    digest = sha256_bytes(verdict.to_bytes())
    rows = [
        one
        if one.verdict != row.verdict
        else one.model_copy(update={"verdict": one.verdict.model_copy(update={"sha256": digest})})
        for one in registry.rows
    ]
    (folder / "registry.json").write_bytes(Registry(rows=rows).to_bytes())


def test_a_load_computes_a_part_of_the_witness_again(registry):
    """A witness that says other predictions than the models give does not load, whichever rows are drawn."""
    verdict = Verdict.model_validate_json((registry / verdict_name(FR)).read_bytes())
    name = content_name(f"{FR}_witness", verdict.tie.witness_sha256, "npy")
    table = np.load(io.BytesIO((registry / name).read_bytes()))
    table[:, -5:] += 1
    buffer = io.BytesIO()
    np.save(buffer, table)
    readmit(
        registry,
        lambda digest: content_name(f"{FR}_witness", digest, "npy"),
        buffer.getvalue(),
        lambda old, digest: old.model_copy(update={"tie": old.tie.model_copy(update={"witness_sha256": digest})}),
    )
    with pytest.raises(IntegrityError, match="says other predictions than its models give"):
        load_verified(registry, FR)
    assert {one.status for one in verify_registry(registry, ensemble=FR)} == {"refused"}


def test_a_policy_of_today_asks_for_a_tie(registry):
    """A verdict under today's policy without a tie is refused by every load."""
    readmit(
        registry,
        lambda digest: content_name(f"{FR}_witness", digest, "npy"),
        b"",
        lambda old, _digest: old.model_copy(update={"tie": None}),
    )
    with pytest.raises(IntegrityError, match="says nothing of what its shipped members predict"):
        load_verified(registry, FR)


@pytest.mark.parametrize("part", ["tie", "shipped", "witness"])
def test_every_byte_of_a_tie_is_checked_at_every_load(registry, part):
    """A byte changed in any of the three files is refused."""
    path = next(registry.glob(f"{FR}_{part}.*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="does not match its digest"):
        load_verified(registry, FR)


def test_copied_seeds_with_noise_are_a_hold(tmp_path):
    """Five copies of one seed, apart by the last bits, have no diversity: sigma would say nothing."""
    table = held_out_predictions()
    first = table.filter(pl.col("seed") == 0)["prediction"].to_numpy()
    copies = np.concatenate([first * np.float32(1 + 1e-6 * seed) for seed in range(5)]).astype(np.float32)
    run = make_run(tmp_path / "run", predictions=table.with_columns(prediction=pl.Series(copies)))
    verdict = judge(load_run(run))
    assert verdict.verdict == "HOLD"
    assert any("diversity of fold" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_predictions_on_another_scale_are_a_hold(tmp_path, scale):
    """PLCC does not see a factor or an offset; error and calibration slope do."""
    table = held_out_predictions()
    stretched = table.with_columns(prediction=(60 + scale * (pl.col("prediction") - 80)).cast(pl.Float32))
    verdict = judge(load_run(make_run(tmp_path / "run", predictions=stretched)))
    assert verdict.gate.mean_plcc_pass
    assert verdict.verdict == "HOLD"
    assert any(reason.startswith("slope of seed") for reason in verdict.reasons)
    assert any(reason.startswith("rmse of seed") for reason in verdict.reasons)


def test_the_gate_holds_for_every_encoder(tmp_path):
    """An encoder that is predicted badly on few rows is a HOLD, though the mean over all rows passes."""
    table = held_out_predictions()
    rare = pl.col("source").str.ends_with("s1") & pl.col("group").is_in(["g00", "g01"])
    noise = pl.Series(np.random.default_rng(1).normal(0, 12, table.height))
    bad = table.with_columns(
        encoder=pl.when(rare).then(pl.lit("libx265")).otherwise("encoder"),
        prediction=pl.when(rare).then(pl.col("prediction") + noise).otherwise("prediction").cast(pl.Float32),
    )
    verdict = judge(load_run(make_run(tmp_path / "run", predictions=bad)))
    assert verdict.gate.mean_plcc_pass
    assert verdict.verdict == "HOLD"
    assert any(reason.startswith("plcc of libx265 medium") for reason in verdict.reasons)


def test_a_promoted_run_keeps_its_tie(promoted):
    """The registry holds the three files, verify accounts for them, and a load passes."""
    for name in (FR, FORECAST):
        for part in ("tie", "shipped", "witness"):
            assert list(promoted.glob(f"{name}_{part}.*"))
        load_verified(promoted, name)
    assert all(report.status == "production" for report in verify_registry(promoted))
