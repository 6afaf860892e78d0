"""`assay train` from the command line."""

import json

import pytest

from tests.synthetic import write_synthetic_corpus
from vmaf_assay.cli.main import main


@pytest.fixture(scope="module")
def corpus_dir(tmp_path_factory):
    """Six groups, no encoder needed."""
    folder = tmp_path_factory.mktemp("corpus")
    write_synthetic_corpus(folder)
    return folder


def test_json_is_the_seeds_scores(corpus_dir, tmp_path, capsys):
    """One document on stdout: the run, the model and each seed's LOSO file; exit 0."""
    out = tmp_path / "run"
    assert main(["train", str(corpus_dir), "-o", str(out), "--seeds", "0,1", "--jobs", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["run"] == str(out)
    assert answer["model_id"] == "vmaf_forecast_ensemble_v1"
    assert answer["seeds"] == [json.loads((out / f"loso_seed{seed}.json").read_text()) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seeds", "0,x"], "seeds are whole numbers"),
        (["--seeds", "0,0"], "two or more different seeds"),
        (["--model", "nonsense"], "'nonsense' is not the ensemble that forecasts"),
        (["--recipe", "nonsense"], "unknown recipe 'nonsense'"),
    ],
    ids=lambda o: o[0] if isinstance(o, list) else "",
)
def test_bad_requests_are_one_line_and_exit_2(corpus_dir, tmp_path, capsys, options, says):
    """What is wrong and what to do, on stderr; nothing on stdout, no folder."""
    assert main(["train", str(corpus_dir), "-o", str(tmp_path / "run"), *options]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert says in streams.err
    assert len(streams.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_corpus_exits_2(tmp_path, capsys):
    """An empty folder is named, with the verb that makes a corpus."""
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "run")]) == 2
    assert "assay corpus build" in capsys.readouterr().err


def test_an_unknown_engine_names_the_ones_there_are(corpus_dir, tmp_path, capsys):
    """Exit 2, with the list."""
    assert main(["train", str(corpus_dir), "-o", str(tmp_path / "run"), "--engine", "fast"]) == 2
    assert "choose one of auto, native, jax, jax-gpu" in capsys.readouterr().err
