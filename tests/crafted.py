"""Small but real runs without training: random members through the real ONNX writer, predictions from the truth.

Every file is what `assay train` writes, so a test starts from evidence that passes and breaks one thing.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from vmaf_assay.media.files import sha256_bytes, write_bytes_atomic, write_json_atomic
from vmaf_assay.model.codec_block import VOCABULARIES, codec_rows, codec_width
from vmaf_assay.model.onnx import OPSET, mean_graph, member_graph
from vmaf_assay.model.seen import seen_of
from vmaf_assay.model.sidecar import HeldOut, ProbeSpec, Seen, Sidecar
from vmaf_assay.model.weights import MemberWeights, reference_predict
from vmaf_assay.promise.calibrate import calibration_from_predictions
from vmaf_assay.promise.gate import PREDICTION_COLUMNS
from vmaf_assay.promise.metrics import plcc, rmse, srocc
from vmaf_assay.records import CANONICAL6
from vmaf_assay.registry.tie import Commitment, Shipped, Tie, draw, shipped_bytes, witness_bytes
from vmaf_assay.registry.tie_check import held_out_of
from vmaf_assay.training.schema import CalibrationFile, CodeFacts, CorpusFacts, FoldScores, LosoFile, RunFile

SEEDS = (0, 1, 2, 3, 4)
FR = "fr_regressor_v2_ensemble_v1"
FORECAST = "vmaf_forecast_ensemble_v1"
PROBE = ProbeSpec(encoder="libx264", preset="medium", rate_value=30.0)
RATES = (18.0, 24.0, 30.0, 36.0, 42.0)


def held_out_predictions(
    *, seeds: Sequence[int] = SEEDS, n_groups: int = 22, error: float = 1.0, draw: int = 0
) -> pl.DataFrame:
    """Held-out predictions of a good ensemble: curves, an error that seeds share, and a little of their own.

    Args:
      seeds: members.
      n_groups: groups, each with two sources of five rate values.
      error: standard deviation of the shared error of a source, points.
      draw: seed of the random numbers.
    """
    rng = np.random.default_rng(draw)
    rows = []
    for group in range(n_groups):
        for source in range(2):
            shared, top = error * rng.standard_normal(), rng.uniform(94, 99)
            for rate in RATES:
                truth = top - 30 * ((rate - 18) / 24) ** 1.5 + 0.1 * rng.standard_normal()
                names = (f"g{group:02d}", f"g{group:02d}", f"g{group:02d}-s{source}")
                rows.append((*names, rate, truth, truth + shared))
    tables = []
    for seed in seeds:
        predicted = [row[5] + 0.2 * rng.standard_normal() for row in rows]
        columns: dict[str, Any] = {
            "seed": [seed] * len(rows),
            "fold": [row[0] for row in rows],
            "row": range(len(rows)),
            "cell": [f"{row[2]}-{row[3]:g}" for row in rows],
            "group": [row[1] for row in rows],
            "source": [row[2] for row in rows],
            "encoder": ["libx264"] * len(rows),
            "preset": ["medium"] * len(rows),
            "rate_value": [row[3] for row in rows],
            "frame_index": [-1] * len(rows),
            "truth": [row[4] for row in rows],
            "prediction": predicted,
        }
        tables.append(pl.DataFrame(columns, schema=PREDICTION_COLUMNS))
    return pl.concat(tables)


def member_weights(seed: int, n_features: int, width: int) -> MemberWeights:
    """A member with random weights: 8 hidden units."""
    rng = np.random.default_rng(1000 + seed)
    hidden = 8

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    scalers = (np.zeros(n_features), np.ones(n_features), np.array(80.0), np.array(10.0))
    layers = (normal(n_features + width, hidden), normal(hidden), normal(hidden, hidden), normal(hidden))
    return MemberWeights(
        *(np.asarray(part, np.float32) for part in scalers), *layers, normal(hidden, 1), normal(1)
    )


def make_run(
    folder: Path,
    *,
    model_id: str = FR,
    seeds: Sequence[int] = SEEDS,
    predictions: pl.DataFrame | None = None,
    weights_of: Callable[[int], int] = int,
    corpus: str = "corpus",
    corpus_digest: str | None = None,
    probes: Sequence[ProbeSpec] = (PROBE,),
) -> Path:
    """Write a run that passes the gate unless told otherwise.

    Args:
      folder: where.
      model_id: `FR` or `FORECAST`.
      seeds: members.
      predictions: held-out predictions; by default good ones.
      weights_of: which random weights a seed gets; two seeds may be given the same.
      corpus: text that the corpus digest is made of.
      corpus_digest: the digest itself, if there is such a corpus.
      probes: probes of a forecast.
    """
    table = held_out_predictions(seeds=seeds) if predictions is None else predictions
    task = "fr" if model_id == FR else "forecast"
    digest = corpus_digest or sha256_bytes(corpus.encode())
    calibration = calibration_from_predictions(table, task, model_id, digest, probes if task == "forecast" else [])
    document = CalibrationFile(calibration=calibration).model_dump(mode="json")
    losos = [_loso(table, seed, digest) for seed in seeds]
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_bytes_atomic(folder / "predictions.parquet", buffer.getvalue())
    write_json_atomic(folder / "calibration.json", document)
    for loso in losos:
        write_json_atomic(folder / f"loso_seed{loso.seed}.json", loso.model_dump(mode="json"))
    rows = table.filter(pl.col("seed") == seeds[0]).sort("row")
    features, pixels = crafted_features(rows), np.full(rows.height, 2, dtype=np.int64)
    names = ("encoder", "preset", "rate_value")
    seen = seen_of(rows["encoder"], rows["preset"], rows["rate_value"].to_numpy(), features, pixels)
    base = _sidecar_base(model_id, digest, probes, held_out_of(table), seen)
    shape = (len(base["feature_names"]), codec_width(base["encoder_vocab_version"]))
    members = [near_truth(member_weights(weights_of(seed), *shape)) for seed in seeds]
    for seed, weights in zip(seeds, members, strict=True):
        _write_model(folder, f"{model_id}_seed{seed}", member_graph(weights), "member", base)
    mean_base = base | {"calibration": document["calibration"]}
    _write_model(folder, f"{model_id}_mean", mean_graph(members), "mean", mean_base)
    codec = codec_rows(*(rows[name].to_list() for name in names), version=base["encoder_vocab_version"])
    commitment = Commitment(
        model_id=model_id,
        task=task,
        seeds=sorted(seeds),
        corpus_digest=digest,
        n_rows=rows.height,
        protocol="leave-one-group-out",
        recipe={"name": "crafted"},
        code={"version": "0", "commit": None, "dirty": None},
        engine={},
        made_at_utc="2026-12-01T00:00:00+00:00",
    )
    write_bytes_atomic(folder / "commitment.json", commitment.to_bytes())
    groups = sorted(set(table["group"].to_list()))
    digests = {
        str(s): {g: sha256_bytes(f"{s}|{g}|{weights_of(s)}".encode()) for g in groups} for s in sorted(seeds)
    }
    write_bytes_atomic(folder / "tie.json", Tie(commitment=commitment, held_out_members=digests).to_bytes())
    by_seed = dict(zip(seeds, members, strict=True))
    write_shipped(folder, model_id, Crafted(features, pixels, codec, by_seed, base["feature_names"]))
    run = RunFile(
        model_id=model_id,
        task=task,
        seeds=list(seeds),
        corpus=CorpusFacts(
            digest=digest,
            n_rows=table["row"].n_unique(),
            n_cells=table["cell"].n_unique(),
            n_groups=table["group"].n_unique(),
        ),
        recipe={"name": "crafted"},
        code=CodeFacts(version="0"),
        environment={"python": "3"},
        files={},
        generated_at_utc="2026-12-01T00:00:00+00:00",
    )
    write_json_atomic(folder / "run.json", run.model_dump(mode="json"))
    seal(folder)
    return folder


class Crafted(NamedTuple):
    """What shipped members read."""

    features: np.ndarray
    """[N, K]."""
    pixels: np.ndarray
    """[N]."""
    codec: np.ndarray
    """[N, D]."""
    members: dict[int, MemberWeights]
    """By seed."""
    names: Sequence[str]
    """Of features."""


def write_shipped(folder: Path, model_id: str, crafted: Crafted) -> None:
    """Write what a run's shipped members predict, and the witness of it."""
    seeds = sorted(crafted.members)
    predicted = [reference_predict(crafted.members[seed], crafted.features, crafted.codec) for seed in seeds]
    shipped = Shipped(crafted.features, crafted.pixels, np.stack(predicted, axis=1).astype(np.float32))
    data = shipped_bytes(shipped, crafted.names, seeds)
    write_bytes_atomic(folder / "shipped.parquet", data)
    reseal_witness(folder, shipped, crafted.codec)


def reseal_witness(folder: Path, shipped: Shipped, codec: np.ndarray) -> None:
    """Write the witness that a run's files draw."""
    files = {path.stem: sha256_bytes(path.read_bytes()) for path in (folder / "members").glob("*.onnx")}
    data = [(folder / name).read_bytes() for name in ("shipped.parquet", "predictions.parquet")]
    drawn = draw(len(shipped.pixels), sha256_bytes(data[0]), sha256_bytes(data[1]), files)
    write_bytes_atomic(folder / "witness.npy", witness_bytes(shipped, codec, drawn))


def crafted_features(rows: pl.DataFrame) -> np.ndarray:
    """Features [N, 6] of which the first gives the truth away, and the others are noise in 0 to 1."""
    features = np.random.default_rng(9).uniform(0, 1, (rows.height, 6)).astype(np.float32)
    features[:, 0] = rows["truth"].to_numpy() / 100
    return features


def near_truth(weights: MemberWeights) -> MemberWeights:
    """A member that answers 100 times its first feature, and a little of its random weights."""
    w1, b1, w2, b2 = (np.array(part) for part in (weights.w1, weights.b1, weights.w2, weights.b2))
    w3 = np.array(weights.w3) * 0.02
    # GELU is the identity far above zero: unit 0 carries the feature through.
    w1[:, 0], w1[0, 0], b1[0] = 0, 1, 10
    w2[:, 0], w2[0, 0], b2[0] = 0, 1, 0
    w3[0] = 10
    return weights._replace(w1=w1, b1=b1, w2=w2, b2=b2, w3=w3, b3=np.array([-108], np.float32))


def seal(folder: Path) -> None:
    """Write today's digests into `run.json`, as one who wants the run believed would."""
    document = json.loads((folder / "run.json").read_bytes())
    files = {
        path.relative_to(folder).as_posix(): sha256_bytes(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"run.json", "PROMOTE.json", "HOLD.json"}
    }
    write_json_atomic(folder / "run.json", document | {"files": files})


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file in place."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _loso(table: pl.DataFrame, seed: int, digest: str) -> LosoFile:
    groups = sorted(set(table["group"].to_list()))
    folds = []
    for group in groups:
        part = table.filter((pl.col("seed") == seed) & (pl.col("group") == group)).sort("row")
        truth, predicted = part["truth"].to_numpy(), part["prediction"].to_numpy()
        folds.append(
            FoldScores(
                held_out=group,
                plcc=plcc(truth, predicted),
                srocc=srocc(truth, predicted),
                rmse=rmse(truth, predicted),
                n_train=1,
                n_val=len(truth),
                train_groups=[name for name in groups if name != group],
            )
        )
    scores = np.array([fold.plcc for fold in folds])
    return LosoFile(
        seed=seed,
        corpus={"digest": digest, "n_rows": table["row"].n_unique()},
        n_folds=len(folds),
        folds=folds,
        mean_plcc=float(scores.mean()),
        std_plcc=float(scores.std()),
        min_plcc=float(scores.min()),
        max_plcc=float(scores.max()),
        mean_srocc=float(np.mean([fold.srocc for fold in folds])),
        mean_rmse=float(np.mean([fold.rmse for fold in folds])),
        epochs=1,
        batch_size=32,
        lr=0.001,
        weight_decay=0.0,
        num_codecs=14,
        encoder_vocab_version=2,
        wall_time_s=1.0,
    )


def _sidecar_base(
    model_id: str, digest: str, probes: Sequence[ProbeSpec], held_out: HeldOut, seen: Seen
) -> dict[str, Any]:
    version = 2 if model_id == FR else 3
    names = list(CANONICAL6) if model_id == FR else [f"probe0.{name}" for name in CANONICAL6]
    return {
        "task": "fr" if model_id == FR else "forecast",
        "feature_names": names,
        "encoder_vocab_version": version,
        "encoder_vocab": list(VOCABULARIES[version]),
        "opset": OPSET,
        "probes": [] if model_id == FR else list(probes),
        "seen": seen,
        "recipe": {"name": "crafted"},
        "corpus_digest": digest,
        "held_out": held_out,
    }


def _write_model(folder: Path, name: str, data: bytes, role: str, base: dict[str, Any]) -> None:
    sidecar = Sidecar(id=name, role=role, onnx_sha256=sha256_bytes(data), **base)
    write_bytes_atomic(folder / "members" / f"{name}.onnx", data)
    write_json_atomic(folder / "members" / f"{name}.json", sidecar.model_dump(mode="json"))


def reseal_predictions(folder: Path, table: pl.DataFrame) -> None:
    """Give a run other held-out predictions, with scores, calibration and sidecars that fit them."""
    fresh = make_run(folder.with_name(f"{folder.name}-fresh"), predictions=table)
    for path in fresh.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(fresh)).write_bytes(path.read_bytes())
