"""Corpora of several machines as one: what is the same counts once, what contradicts is refused."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.corpus.builds import build_argv, finish
from tests.corpus.test_same_content import corpus_of, values
from vmaf_assay.cli.main import main
from vmaf_assay.corpus.merge import base_name, merge
from vmaf_assay.corpus.store import Corpus, corpus_digest, load_corpus, pack
from vmaf_assay.errors import CorpusError
from vmaf_assay.media.files import sha256_bytes


def changed(corpus: Corpus, **fields) -> Corpus:
    """The corpus with these fields in every cell."""
    cells = tuple(replace(cell, **fields) for cell in corpus.cells)
    return Corpus(corpus_digest(cells), cells, corpus.frames, corpus.looks)


def test_a_corpus_built_in_two_shards_merges_to_the_same_digest(clips, tmp_path, capsys):
    """Rates 20 and 40 of one machine and 40 and 30 of another are the corpus that one build measures."""
    shards = {
        "one": "libx264:ultrafast:20,40",
        "two": "libx264:ultrafast:40,30",
        "whole": "libx264:ultrafast:20,30,40",
    }
    for name, encoder in shards.items():
        argv = build_argv(clips, tmp_path / name, "--jobs", "1", "--json")
        argv[argv.index("-e") + 1] = encoder
        code, _, err = finish(argv)
        assert code == 0, err
    places = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert main(["corpus", "merge", *places, "-o", str(tmp_path / "both"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    whole = load_corpus(tmp_path / "whole")
    assert facts["digest"] == whole.digest
    assert (facts["n_cells"], facts["n_duplicates"], facts["left_out"]) == (9, 3, [])
    merged = load_corpus(tmp_path / "both")
    assert merged.frames.equals(whole.frames)
    assert sorted(merged.looks) == sorted(whole.looks)
    # A merge never writes over a corpus, and needs two.
    assert main(["corpus", "merge", *places, "-o", str(tmp_path / "whole")]) == 2
    assert main(["corpus", "merge", places[0], "-o", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_other_sizes_of_a_source_are_renditions_of_it():
    """A second size is named by its size, and the same size with fewer frames by both; one group holds all."""
    small = corpus_of({"bee": ("insects", values(1), "a")})
    large = replace_keys(changed(small, width=1280, height=720), "b")
    short = replace_keys(corpus_of({"bee": ("insects", values(1)[:24], "a")}), "c")
    short = changed(short, width=1280, height=720)
    found = merge([("360p", small), ("720p", large), ("short", short)]).corpus
    assert {cell.source for cell in found.cells} == {"bee", "bee@1280x720", "bee@1280x720-24f"}
    assert {base_name(cell.source) for cell in found.cells} == {"bee"}
    assert found.frames.group_by("source").len().sort("source")["len"].to_list() == [60, 60, 24]


def hexed(corpus: Corpus) -> Corpus:
    """The corpus with keys as files hold them, made of the names of its sources."""
    keys = {cell.key: sha256_bytes(cell.source.encode()) for cell in corpus.cells}
    cells = tuple(replace(cell, key=keys[cell.key]) for cell in corpus.cells)
    return Corpus(corpus_digest(cells), cells, corpus.frames.with_columns(pl.col("cell").replace(keys)))


def replace_keys(corpus: Corpus, letter: str) -> Corpus:
    """The corpus with other keys: cells of other commands."""
    cells = tuple(replace(cell, key=letter + cell.key[1:]) for cell in corpus.cells)
    frames = corpus.frames.with_columns(cell=letter + corpus.frames["cell"].str.slice(1))
    return Corpus(corpus_digest(cells), cells, frames, corpus.looks)


def test_a_cell_that_was_measured_otherwise_is_refused_or_left_out_with_its_curve():
    """Other bytes or other scores of one encode: refused; with `first_wins` the later curve goes, and is named."""
    one = corpus_of({"bee": ("insects", values(1), "a")})
    other = replace_keys(changed(one, bytes=2), "b")
    with pytest.raises(CorpusError, match="one and two measured 1 and 2 bytes"):
        merge([("one", one), ("two", other)])
    again = replace_keys(corpus_of({"bee": ("insects", values(2), "a")}), "b")
    with pytest.raises(CorpusError, match="scores that differ"):
        merge([("one", one), ("two", again)])
    further = changed(replace_keys(one, "c"), rate_value=40.0)
    curve = Corpus(
        corpus_digest([*other.cells, *further.cells]),
        (*other.cells, *further.cells),
        other.frames.vstack(further.frames),
    )
    found = merge([("one", one), ("two", curve)], first_wins=True)
    assert [cell.rate_value for cell in found.corpus.cells] == [30.0]
    assert len(found.left_out) == 1
    assert "bee libx264 medium 30" in found.left_out[0]


def test_one_name_of_two_files_is_refused():
    """Two machines that call different clips `clip` are told which name to change."""
    one = corpus_of({"clip": ("a", values(1), "a")})
    other = replace_keys(corpus_of({"clip": ("b", values(2), "b")}), "b")
    with pytest.raises(CorpusError, match="clip is one file in here and another in there"):
        merge([("here", one), ("there", other)])


def test_other_parts_of_one_file_under_one_name_are_refused():
    """Looks of one name that show other pictures: another part of the file was measured."""
    rng = np.random.default_rng(3)
    looks = [np.sort(rng.integers(0, 256, (30, 576)), axis=axis).astype(np.uint8) for axis in (0, 1)]
    cells = corpus_of({"clip": ("a", values(1), "a")})
    one, other = (Corpus(cells.digest, cells.cells, cells.frames, {"clip": look}) for look in looks)
    with pytest.raises(CorpusError, match="shows other pictures"):
        merge([("here", one), ("there", other)])
    longer = Corpus(cells.digest, cells.cells, cells.frames, {"clip": looks[0][:20]})
    assert len(merge([("short", longer), ("long", one)]).corpus.looks["clip"]) == 30


def test_groups_that_share_content_are_joined_on_request(tmp_path, capsys):
    """The same file under two names in two groups: refused, then joined by the first group's name."""
    for folder, name, group in (("one", "bee", "insects"), ("two", "wasp", "stings")):
        corpus = corpus_of({name: (group, values(1), "ab" * 32)})
        pack(hexed(corpus), tmp_path / folder, {"ffmpeg": folder})
    argv = [
        "corpus",
        "merge",
        str(tmp_path / "one"),
        str(tmp_path / "two"),
        "-o",
        str(tmp_path / "both"),
        "--json",
    ]
    assert main(argv) == 2
    assert "show the same" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()
    assert main([*argv, "--join-same"]) == 0
    assert json.loads(capsys.readouterr().out)["n_groups"] == 1
