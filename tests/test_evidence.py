"""What is offered as evidence, on the command line and in Python: refused, held or promoted, with the reason said.

Each row of the table is one attempt: what is tried, how, the exit code (0 PROMOTE, 1 HOLD, 2 no evidence, 4
integrity), words of the reason, and what the reference system's gate made of the like.
"""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from tests.crafted import FORECAST, FR, SEEDS, edit_json, held_out_predictions, make_run, reseal_predictions, seal
from tests.synthetic import write_synthetic_corpus
from tests.training.test_evidence import (
    bare_scores,
    leak,
    one_fold,
    one_seed_five_times,
    same_member_twice,
    set_in,
)
from vmaf_assay.admission.corpus_match import Claim, check_belongs, check_rows
from vmaf_assay.admission.judge import judge, write_verdict
from vmaf_assay.admission.promotion import promote
from vmaf_assay.cli.main import exit_code, main
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.errors import AssayError, CorpusError
from vmaf_assay.model.features import DEFAULT_PROBES
from vmaf_assay.records import MEAN_VMAF
from vmaf_assay.training.evidence import load_run
from vmaf_assay.training.rows import forecast_rows

N_GROUPS = 4
RNG = np.random.default_rng(9)


def with_plcc(dots: dict[int, int]) -> pl.DataFrame:
    """Predictions whose every fold has a PLCC of exactly `dots[seed]` / 400 for each seed.

    Truth is 50 + t and prediction 50 + p with whole numbers of mean zero, |t|^2 = |p|^2 = 400 and t.p as given, so
    that float64 computes the correlation without rounding. p = t + d with |d|^2 = 800 - 2 t.p and t.d = t.p - 400.
    """
    t = np.array([10, -10, 6, -6, 4, -4, 6, -6, 3, -3, 1, -1, 1, -1, 1, -1])
    assert (t.sum(), t @ t) == (0, 400)
    table = held_out_predictions(n_groups=N_GROUPS).clear()
    parts = []
    for seed, dot in dots.items():
        p = t + step(t, dot, draw=seed)
        for group in range(N_GROUPS):
            n, name = len(t), f"g{group}"
            columns = {
                "seed": [seed] * n,
                "fold": [name] * n,
                "row": [group * n + i for i in range(n)],
                "cell": [f"{name}-{i}" for i in range(n)],
                "group": [name] * n,
                "source": [name] * n,
                "encoder": ["libx264"] * n,
                "preset": ["medium"] * n,
                "rate_value": [20.0 + i for i in range(n)],
                "frame_index": [-1] * n,
                "truth": 50.0 + t,
                "prediction": 50.0 + p,
            }
            parts.append(pl.DataFrame(columns, schema=table.schema))
    return pl.concat(parts)


def step(t: np.ndarray, dot: int, *, draw: int) -> np.ndarray:
    """A whole-number step from `t` of mean zero that keeps its length and gives the scalar product asked for."""
    rng = np.random.default_rng(draw)
    for _ in range(200_000):
        d = rng.integers(-2, 3, len(t))
        d[-1] -= d.sum()
        if d @ d == 800 - 2 * dot and t @ d == dot - 400:
            return d
    raise AssertionError("no such step found")


@dataclass(frozen=True)
class Attempt:
    """One try to have a run believed."""

    change: object
    """Changes a good run in place."""
    code: int
    """Exit code of `gate` and `validate`."""
    says: str
    """Words of the reason."""
    reference: str
    """What the reference system made of it."""
    sealed: bool = True
    """Whether every digest is adjusted to the change, as one who wants it believed would."""


def predictions(edit):
    """A run made anew from edited predictions, so that everything else in it fits them."""
    return lambda run: reseal_predictions(run, edit(held_out_predictions(n_groups=N_GROUPS)))


def raw_predictions(edit):
    """Only the table is edited, and its digest; what was derived from it stays."""

    def change(run):
        path = run / "predictions.parquet"
        edit(pl.read_parquet(path)).write_parquet(path)

    return change


def of_seed0(name, value):
    """One value of seed 0's first row replaced."""
    first = (pl.col("seed") == 0) & (pl.col("row") == 0)
    return lambda t: t.with_columns(
        pl.when(first).then(pl.lit(value, dtype=t.schema[name])).otherwise(pl.col(name)).alias(name)
    )


def score_text(value: str):
    """`mean_plcc` of every seed as this JSON text."""

    def change(run):
        for seed in SEEDS:
            path = run / f"loso_seed{seed}.json"
            document = json.loads(path.read_bytes())
            text = json.dumps(document | {"mean_plcc": 0.123454321})
            path.write_text(text.replace("0.123454321", value), encoding="utf-8")

    return change


def whole_file(text: str):
    """Every seed's file replaced by this."""
    return lambda run: [(run / f"loso_seed{seed}.json").write_text(text) for seed in SEEDS]


def other_corpora(run):
    """Each seed names a corpus of its own."""
    for seed in SEEDS:
        edit_json(run / f"loso_seed{seed}.json", lambda d, s=seed: d["corpus"].update(digest=str(s) * 64))


def split_source(table):
    """One source half in one group, half in another."""
    moved = (pl.col("source") == "g00-s0") & (pl.col("rate_value") > 30)
    group = pl.when(moved).then(pl.lit("g01")).otherwise(pl.col("group"))
    return table.with_columns(group=group, fold=group)


def alike(table):
    """Seed 1 predicts what seed 0 does."""
    first = table.filter(pl.col("seed") == 0)
    return pl.concat([first, first.with_columns(seed=pl.lit(1, pl.Int32)), table.filter(pl.col("seed") > 1)])


def scaled(table):
    """A million times too large: no correlation sees it."""
    return table.with_columns(prediction=(pl.col("prediction") * 1e6).cast(pl.Float32))


ATTEMPTS = {
    "five bare scores": Attempt(bare_scores, 2, "no run.json", "PROMOTE", sealed=False),
    "a dry run": Attempt(set_in("run.json", "dry_run", True), 2, "dry run, which is not evidence", "PROMOTE"),
    "one fold": Attempt(one_fold, 2, f"has 1 folds for {N_GROUPS} groups", "PROMOTE"),
    "one fold, predictions too": Attempt(
        raw_predictions(lambda t: t.filter(pl.col("group") == "g00")),
        2,
        "one fold is not leave-one-group-out",
        "PROMOTE",
    ),
    "one seed": Attempt(set_in("run.json", "seeds", [0]), 2, "does not list", "PROMOTE (spread 0)"),
    "one seed five times": Attempt(one_seed_five_times, 2, "does not list", "PROMOTE"),
    "four seeds": Attempt(
        lambda run: [shutil.rmtree(run), make_run(run, seeds=SEEDS[:4])], 2, "not 5 different ones", "PROMOTE"
    ),
    "folds that contradict the mean": Attempt(
        lambda run: edit_json(run / "loso_seed0.json", lambda d: [f.update(plcc=0.1) for f in d["folds"]]),
        2,
        "says PLCC 0.1",
        "PROMOTE (folds are never recomputed)",
    ),
    "a mean that the folds do not give": Attempt(
        set_in("loso_seed0.json", "mean_plcc", 0.9999), 2, "its predictions give", "PROMOTE"
    ),
    "different corpora": Attempt(other_corpora, 2, "is of another corpus than the run", "PROMOTE"),
    "a score as text": Attempt(score_text('"0.99"'), 4, "mean_plcc", "PROMOTE"),
    "a score of 1e9": Attempt(score_text("1e9"), 2, "says PLCC 1000000000", "PROMOTE"),
    "a score of 1e400": Attempt(score_text("1e400"), 4, "not a finite number", "HOLD"),
    "a score that is NaN": Attempt(score_text("NaN"), 4, "NaN is not a JSON number", "HOLD"),
    "a score that is Infinity": Attempt(score_text("Infinity"), 4, "Infinity is not a JSON number", "HOLD"),
    "a score that is null": Attempt(score_text("null"), 4, "mean_plcc", "traceback, exit 1 as for a HOLD"),
    "null for a file": Attempt(whole_file("null"), 4, "not an object", "traceback, exit 1 as for a HOLD"),
    "a list for a file": Attempt(whole_file("[0.99]"), 4, "not an object", "traceback, exit 1 as for a HOLD"),
    "a NaN prediction": Attempt(
        raw_predictions(of_seed0("prediction", float("nan"))), 2, "NaN or missing", "dropped from the mean"
    ),
    "an infinite prediction": Attempt(
        raw_predictions(of_seed0("prediction", float("inf"))), 2, "NaN or missing", "dropped from the mean"
    ),
    "a missing prediction": Attempt(
        raw_predictions(of_seed0("prediction", None)), 2, "NaN or missing", "not looked at"
    ),
    "a prediction of 1e9": Attempt(
        raw_predictions(of_seed0("prediction", 1e9)), 2, "is not a score of vmaf_v0.6.1", "not looked at"
    ),
    "predictions a million times too large": Attempt(
        lambda run: reseal_predictions(run, scaled(held_out_predictions(n_groups=N_GROUPS))),
        2,
        "is not a score of vmaf_v0.6.1",
        "not looked at",
    ),
    "a truth that no VMAF can be": Attempt(
        raw_predictions(lambda t: t.with_columns(truth=pl.col("truth") + 50)),
        2,
        "is not a score of vmaf_v0.6.1",
        "not looked at",
    ),
    "predictions as text": Attempt(
        raw_predictions(lambda t: t.with_columns(pl.col("prediction").cast(pl.String))),
        2,
        "lack column prediction",
        "not looked at",
    ),
    "identical members": Attempt(same_member_twice, 2, "two members are the same file", "PROMOTE (sigma 0)"),
    "members that predict the same": Attempt(
        raw_predictions(alike), 2, "seeds 0 and 1 predict the same", "PROMOTE (sigma 0)"
    ),
    "a fold's group in its training rows": Attempt(leak, 2, "was in its own training rows", "not looked at"),
    "a source in two groups": Attempt(
        raw_predictions(split_source), 2, "a source is in two groups", "not looked at"
    ),
    "a fold left out of the predictions": Attempt(
        raw_predictions(lambda t: t.filter(pl.col("group") != "g02")), 2, "a fold is missing", "not looked at"
    ),
    "a digest that is not adjusted": Attempt(
        raw_predictions(lambda t: t.with_columns(pl.col("prediction") + 0.1)),
        4,
        "has changed since the run",
        "no digest",
        sealed=False,
    ),
    "better predictions under old calibration": Attempt(
        raw_predictions(
            lambda t: t.with_columns(prediction=(pl.col("truth") + 0.01 * pl.col("prediction")).cast(pl.Float32))
        ),
        2,
        "its predictions give",
        "not looked at",
    ),
    "a spread of exactly 0.005": Attempt(
        lambda run: reseal_predictions(run, with_plcc({0: 382, 1: 382, 2: 380, 3: 382, 4: 382})),
        0,
        "",
        "HOLD (0.0050000000000000044)",
    ),
    "a spread a little over 0.005": Attempt(
        lambda run: reseal_predictions(run, with_plcc({0: 383, 1: 382, 2: 380, 3: 382, 4: 382})),
        1,
        "spread between seeds 0.0075 is over 0.005",
        "HOLD",
    ),
    "a seed below 0.95": Attempt(
        lambda run: reseal_predictions(run, with_plcc({0: 380, 1: 380, 2: 379, 3: 381, 4: 380})),
        1,
        "seeds 2 are below 0.95",
        "HOLD",
    ),
    "predictions that are poor": Attempt(
        predictions(
            lambda t: t.with_columns(prediction=(pl.col("prediction") + 40 * (pl.col("row") % 2)).cast(pl.Float32))
        ),
        1,
        "mean PLCC",
        "HOLD",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run that passes."""
    return make_run(tmp_path_factory.mktemp("run") / "run", predictions=held_out_predictions(n_groups=N_GROUPS))


@pytest.fixture
def run(good, tmp_path):
    """A copy of it."""
    return shutil.copytree(good, tmp_path / "run")


def last_line(capsys) -> str:
    """The last line on stderr or, for an answer, all of stdout."""
    captured = capsys.readouterr()
    return captured.err.strip().rpartition("\n")[2] or captured.out


@pytest.mark.parametrize("what", ATTEMPTS)
def test_an_attempt_gets_what_it_deserves(run, tmp_path, capsys, what):
    """`gate`, `validate` and the API agree; `promote` takes a PROMOTE alone, and begins no registry for others."""
    attempt = ATTEMPTS[what]
    write_verdict(run, judge(load_run(run)))  # a PROMOTE of the good run, which must not help what became of it
    attempt.change(run)
    if attempt.sealed:
        seal_listed(run)
    registry = tmp_path / "registry"
    for verb in ("gate", "validate"):
        assert main([verb, str(run)]) == attempt.code, verb
        assert attempt.says in last_line(capsys), verb
    assert main(["promote", str(run), "--registry", str(registry)]) == (2 if attempt.code == 1 else attempt.code)
    assert attempt.says in last_line(capsys)
    assert (registry / "registry.json").exists() == (attempt.code == 0)
    assert in_python(run, tmp_path / "other") == attempt.code


def seal_listed(run) -> None:
    """`seal`, but a file taken off the list of `run.json` stays off."""
    listed = set(json.loads((run / "run.json").read_bytes())["files"])
    seal(run)
    edit_json(run / "run.json", lambda d: d.update(files={n: s for n, s in d["files"].items() if n in listed}))


def in_python(run, registry) -> int:
    """The exit code that the API's answer or error stands for."""
    try:
        evidence = load_run(run)
        if not evidence.gate()[0].passed:
            return 1
        write_verdict(run, judge(evidence))
        promote(evidence, registry)
    except AssayError as error:
        return exit_code(error)
    return 0


def test_exactly_0_005_is_exact():
    """The spread of the row above is 0.955 - 0.950 in float64, which is not below 0.005."""
    table = with_plcc({0: 382, 1: 380})
    scores = []
    for seed in (0, 1):
        part = table.filter((pl.col("seed") == seed) & (pl.col("group") == "g0"))
        scores.append(float(np.corrcoef(part["truth"], part["prediction"])[0, 1]))
    assert scores == pytest.approx([0.955, 0.95], abs=1e-12)
    assert 0.955 - 0.950 > 0.005


# Of a corpus at hand


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A small corpus, on disk."""
    folder = tmp_path_factory.mktemp("corpus")
    write_synthetic_corpus(folder, n_groups=3)
    return folder


def honest(corpus, draw: int = 0) -> pl.DataFrame:
    """Predictions of every row that a forecast is trained on, close to the truth."""
    rows = forecast_rows(load_corpus(corpus), DEFAULT_PROBES)
    rng = np.random.default_rng(draw)
    schema = held_out_predictions(n_groups=2).schema
    parts = []
    for seed in SEEDS:
        columns = {name: list(getattr(rows, name)) for name in ("cell", "group", "source", "encoder", "preset")}
        columns |= {
            "seed": [seed] * len(rows.target),
            "fold": columns["group"],
            "row": range(len(rows.target)),
            "rate_value": rows.rate_value,
            "frame_index": rows.frame_index,
            "truth": rows.target,
            "prediction": rows.target + rng.normal(0, 0.2, len(rows.target)),
        }
        parts.append(pl.DataFrame({name: columns[name] for name in schema}, schema=schema))
    return pl.concat(parts)


def forecast_run(folder, corpus, table):
    """A forecast run of these predictions that names this corpus, every digest adjusted."""
    return make_run(
        folder,
        model_id=FORECAST,
        predictions=table,
        corpus_digest=load_corpus(corpus).digest,
        probes=DEFAULT_PROBES,
    )


FOREIGN = {
    "a hard cell left out": (
        lambda t: t.filter(pl.col("row") > 0).with_columns(pl.col("row") - 1),
        "are not among",
    ),
    "truths made easier": (
        lambda t: t.with_columns(truth=(pl.col("truth") * 0.5 + 50).cast(pl.Float32)),
        "has truth",
    ),
    "one truth changed in its last digit": (
        lambda t: t.with_columns(
            truth=pl.when(pl.col("row") == 5).then(pl.col("truth") - 0.001).otherwise("truth").cast(pl.Float32)
        ),
        "row 5 of the predictions has truth",
    ),
    "cells nobody measured": (
        lambda t: t.with_columns(cell=pl.when(pl.col("row") == 3).then(pl.lit("0" * 64)).otherwise("cell")),
        "are not among",
    ),
    "groups under other names": (
        lambda t: t.with_columns(group=pl.lit("x") + pl.col("group"), fold=pl.lit("x") + pl.col("group")),
        "has group xclip",
    ),
    "rate values changed": (lambda t: t.with_columns(pl.col("rate_value") + 1), "has rate_value"),
}


def test_honest_predictions_belong(corpus, tmp_path, capsys):
    """Every row of the corpus predicted once with its truth is accepted; features it does not give are refused."""
    table, loaded = honest(corpus), load_corpus(corpus)
    rows = table.filter(pl.col("seed") == 0).sort("row")
    check_rows(Claim(loaded.digest, "forecast", str(MEAN_VMAF), rows), loaded)
    run = forecast_run(tmp_path / "run", corpus, table)
    assert main(["validate", str(run), "--corpus", str(corpus)]) == 4
    assert "the features of the corpus rows stated are not the corpus's" in last_line(capsys)
    assert not list(run.glob("*PROMOTE*"))


@pytest.mark.parametrize("what", FOREIGN)
def test_predictions_that_do_not_belong_are_refused(corpus, tmp_path, capsys, what):
    """A run that agrees with itself in every number is found out by the corpus, and no verdict is written."""
    edit, says = FOREIGN[what]
    run = forecast_run(tmp_path / "run", corpus, edit(honest(corpus)))
    load_run(run)  # what can be told without the corpus does not find it
    assert main(["validate", str(run), "--corpus", str(corpus)]) == 2
    assert says in last_line(capsys)
    assert not list(run.glob("*PROMOTE*"))
    with pytest.raises(CorpusError, match=says):
        check_belongs(load_run(run), load_corpus(corpus))


def test_another_corpus_is_named(corpus, run, capsys):
    """A run of one corpus, checked against another: both digests are said."""
    assert main(["validate", str(run), "--corpus", str(corpus)]) == 2
    assert f"this is {load_corpus(corpus).digest[:12]}" in last_line(capsys)
    assert FR in (run / "run.json").read_text()
