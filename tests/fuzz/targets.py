"""Every loader that reads what somebody else may have written, as a function of bytes; and good bytes.

A target may return, or raise AssayError: anything else that comes out of it is a finding. `test_loaders.py`
mutates the good bytes with Hypothesis; `coverage_guided.py` with libFuzzer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tests.crafted import FORECAST, FR, SEEDS, held_out_predictions, make_run, seal
from tests.synthetic import write_synthetic_corpus
from vmaf_assay.admission.judge import judge, planned_rows
from vmaf_assay.corpus.jsonl import read_jsonl, write_jsonl
from vmaf_assay.corpus.sources import sources_from_manifest
from vmaf_assay.corpus.store import load_corpus, pack, read_cell
from vmaf_assay.errors import AssayError
from vmaf_assay.media.files import parse_json_closely, parse_json_plain, parse_json_strict
from vmaf_assay.model.infer import open_session
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.promise.calibrate import calibration_from_predictions, parse_predictions
from vmaf_assay.promise.gate import evaluate_gate
from vmaf_assay.records import CANONICAL6
from vmaf_assay.registry.files import parse
from vmaf_assay.registry.store import parse_registry
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.training.evidence import load_run
from vmaf_assay.tune.predict import read_table


@dataclass(frozen=True)
class Target:
    """One loader."""

    read: Callable[[bytes], object]
    """Reads bytes; may raise AssayError and nothing else."""
    good: list[bytes]
    """Bytes it accepts."""


def make_targets(folder: Path) -> dict[str, Target]:
    """All targets, by name, with their files under `folder`."""
    run = make_run(folder / "run", predictions=held_out_predictions(n_groups=3))
    forecast = make_run(
        folder / "forecast", model_id=FORECAST, predictions=held_out_predictions(n_groups=2, seeds=SEEDS)
    )
    corpus = folder / "corpus"
    write_synthetic_corpus(corpus, n_groups=2)
    packed = folder / "packed"
    pack(load_corpus(corpus), packed, {"ffmpeg": "none"})
    return {
        **_json_targets(folder, run),
        **{f"run-{name}": _run_target(run, file) for name, file in RUN_FILES.items()},
        "run-calibration-forecast": _run_target(forecast, "calibration.json"),
        **_model_targets(run, forecast),
        **_corpus_targets(folder, corpus, packed),
        **_table_targets(folder, run),
    }


RUN_FILES = {
    "run": "run.json",
    "loso": "loso_seed0.json",
    "calibration": "calibration.json",
    "sidecar": f"members/{FR}_seed0.json",
    "sidecar-mean": f"members/{FR}_mean.json",
    "predictions": "predictions.parquet",
    "model": f"members/{FR}_seed0.onnx",
}
"""Files of a run that are read in their place, their digests adjusted."""


def _json_targets(folder: Path, run: Path) -> dict[str, Target]:
    evidence = load_run(run)
    verdict = judge(evidence)
    rows = planned_rows(evidence, confidence_eligible=False)
    registry = json.dumps({"schema_version": 1, "rows": [row.model_dump(mode="json") for row in rows]}, indent=1)
    manifest = {
        "schema_version": 1,
        "sources": [
            {"source": "a", "group": "g", "file": "a.mkv", "start_s": 1, "duration_s": 2.5, "sha256": "00"}
        ],
    }
    return {
        "json": Target(lambda data: parse_json_strict(data, where="it"), [b'{"a": [1, 2.5e3, null, "\\u00e9"]}']),
        "json-two-ways": Target(_two_ways, [registry.encode(), verdict.model_dump_json().encode()]),
        "registry": Target(lambda data: parse_registry(data, folder), [registry.encode() + b"\n"]),
        "verdict": Target(
            lambda data: parse(Verdict, data, folder).recheck(), [verdict.model_dump_json(indent=1).encode()]
        ),
        "manifest": _file_target(folder / "manifest.json", sources_from_manifest, [json.dumps(manifest).encode()]),
    }


def _two_ways(data: bytes) -> None:
    """JSON that is parsed quickly reads as the close look reads it, which would not refuse it."""
    quick = parse_json_plain(data)
    if quick is None:
        return
    try:
        closely = parse_json_closely(data, where="it")
    except AssayError as error:
        raise AssertionError("taken quickly, refused closely") from error
    assert repr(quick) == repr(closely)


def _file_target(path: Path, read: Callable[[Path], object], good: list[bytes]) -> Target:
    """A reader that takes a path."""

    def target(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return Target(target, good)


def _run_target(run: Path, name: str) -> Target:
    """A whole run read with one file replaced, as one who wants it believed would: every digest fits."""
    good = (run / name).read_bytes()
    listed = (run / "run.json").read_bytes()

    def target(data: bytes) -> None:
        try:
            (run / name).write_bytes(data)
            if name != "run.json":
                seal(run)
            judge(load_run(run))
        finally:
            (run / name).write_bytes(good)
            (run / "run.json").write_bytes(listed)

    return Target(target, [good])


def _model_targets(run: Path, forecast: Path) -> dict[str, Target]:
    def opener(sidecar_path: Path) -> Callable[[bytes], object]:
        sidecar = Sidecar.model_validate_json(sidecar_path.read_bytes())
        return lambda data: open_session(data, sidecar)

    return {
        f"onnx-{role}": Target(
            opener(folder / f"members/{name}.json"), [(folder / f"members/{name}.onnx").read_bytes()]
        )
        for role, folder, name in (("member", run, f"{FR}_seed0"), ("mean", forecast, f"{FORECAST}_mean"))
    }


def _corpus_targets(folder: Path, corpus: Path, packed: Path) -> dict[str, Target]:
    cell = sorted((corpus / "cells").iterdir())[0]
    lines = folder / "corpus.jsonl"
    write_jsonl(load_corpus(corpus), lines)
    few = b"".join(lines.read_bytes().splitlines(keepends=True)[:12])

    def whole(path: Path) -> Target:
        """A packed corpus with one file replaced."""
        good = path.read_bytes()

        def target(data: bytes) -> None:
            try:
                path.write_bytes(data)
                load_corpus(packed)
            finally:
                path.write_bytes(good)

        return Target(target, [good])

    return {
        "cell": _file_target(cell, lambda path: read_cell(corpus, path.stem), [cell.read_bytes()]),
        "corpus-index": whole(packed / "corpus.json"),
        "corpus-rows": whole(packed / "rows.parquet"),
        "jsonl": _file_target(folder / "in.jsonl", lambda path: read_jsonl(path, folder / "made"), [few]),
    }


def _table_targets(folder: Path, run: Path) -> dict[str, Target]:
    predictions = (run / "predictions.parquet").read_bytes()

    def judged(data: bytes) -> None:
        table = parse_predictions(data, where="predictions.parquet")
        names = set(table.columns)
        first = table.filter(pl.col("seed") == 0).sort("row") if {"seed", "row", "truth"} <= names else None
        evaluate_gate(table, SEEDS, shipped=None if first is None else first["truth"].to_numpy())
        calibration_from_predictions(table, "fr", FR, "d")

    table = pl.DataFrame(
        {name: [0.5, 0.9] for name in CANONICAL6}
        | {"encoder": ["libx264"] * 2, "preset": ["medium"] * 2}
        | {"rate_value": [20.0, 30.0]}
    )
    table.write_parquet(folder / "good.parquet")
    good = {
        "parquet": (folder / "good.parquet").read_bytes(),
        "csv": table.write_csv().encode(),
        "jsonl": table.write_ndjson().encode(),
    }
    return {
        "predictions": Target(judged, [predictions]),
        **{
            f"table-{kind}": _file_target(folder / f"in.{kind}", read_table, [data]) for kind, data in good.items()
        },
    }
