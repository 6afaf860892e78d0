"""One content in two groups: a remux, a cut, a smaller copy, two parts of one file; other content is not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vmaf_assay.api.paths import registry_of
from vmaf_assay.corpus.merge import merge
from vmaf_assay.corpus.same_content import alike_across_groups, check_groups_differ, join_same, without_looks
from vmaf_assay.corpus.store import Corpus, content_sha256, corpus_digest, load_corpus
from vmaf_assay.errors import CorpusError
from vmaf_assay.records import VALUES, CellRecord
from vmaf_assay.registry.store import read_registry

N_FRAMES = 60


def values(seed: int) -> np.ndarray:
    """Per-frame rows [F, 7] whose motion is a walk of its own for every seed."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0.5, 1, (N_FRAMES, len(VALUES)))
    rows[:, VALUES.index("motion2")] = np.exp(1 + 0.4 * rng.standard_normal(N_FRAMES).cumsum() / 4)
    return rows.astype(np.float32)


def corpus_of(sources: dict[str, tuple[str, np.ndarray, str]]) -> Corpus:
    """A corpus of one encode a source: group, rows [F, 7] and the source file's digest by name."""
    cells, tables = [], []
    for name, (group, rows, sha256) in sources.items():
        cells.append(
            CellRecord(
                key=f"{name:0>64}",
                source=name,
                group=group,
                encoder="libx264",
                preset="medium",
                rate_mode="crf",
                rate_value=30.0,
                width=192,
                height=108,
                frame_rate="25/1",
                n_frames=len(rows),
                bytes=1,
                kbps=1.0,
                encode_s=0.1,
                versions={},
                content_sha256=content_sha256(rows),
                source_sha256=sha256,
            )
        )
        table = pl.DataFrame({column: rows[:, i] for i, column in enumerate(VALUES)}).with_row_index("frame_index")
        named = table.with_columns(cell=pl.lit(cells[-1].key), source=pl.lit(name), group=pl.lit(group))
        tables.append(named.with_columns(pl.col("frame_index").cast(pl.Int32)))
    return Corpus(corpus_digest(cells), tuple(cells), pl.concat(tables))


def scaled(rows: np.ndarray) -> np.ndarray:
    """The rows of a smaller copy: less motion in all frames, a little noise, other scores."""
    again = rows * np.float32(0.9)
    column = VALUES.index("motion2")
    noise = np.random.default_rng(5).normal(1, 0.002, len(rows))
    again[:, column] = rows[:, column] * 0.7 * noise
    return again.astype(np.float32)


COPIES = {
    "a remux": (lambda rows: rows, "2", "scores the same"),
    "a smaller copy": (scaled, "2", "motion changes alike"),
    "a cut": (lambda rows: scaled(rows)[20:], "2", "motion changes alike"),
    "two parts of one file": (lambda _rows: values(99), "1", "parts of one file"),
}


@pytest.mark.parametrize("what", COPIES)
def test_one_content_in_two_groups_is_refused(what):
    """Each way of showing one content twice is found, named with both groups, and refused."""
    copy, sha256, why = COPIES[what]
    original = values(1)
    corpus = corpus_of({"a": ("a", original, "1"), "b": ("b", copy(original), sha256), "c": ("c", values(3), "3")})
    (found,) = alike_across_groups(corpus)
    assert found.groups == ("a", "b")
    assert why in found.why
    with pytest.raises(CorpusError, match=r"a \(group a\) and b \(group b\) show the same"):
        check_groups_differ(corpus)


@pytest.mark.parametrize("what", COPIES)
def test_groups_of_one_content_can_be_joined(what):
    """Joined on request, they are one group, and nothing is alike across groups any more."""
    copy, sha256, _ = COPIES[what]
    original = values(1)
    corpus = corpus_of({"a": ("a", original, "1"), "b": ("b", copy(original), sha256), "c": ("c", values(3), "3")})
    joined = join_same(corpus)
    assert {cell.source: cell.group for cell in joined.cells} == {"a": "a", "b": "a", "c": "c"}
    assert set(joined.frames.filter(pl.col("source") == "b")["group"]) == {"a"}
    assert joined.digest != corpus.digest
    check_groups_differ(joined)


def test_within_a_group_anything_goes():
    """Copies and parts of one film belong in one group; that is what groups are for."""
    original = values(1)
    check_groups_differ(corpus_of({"a": ("g", original, "1"), "b": ("g", scaled(original), "1")}))


def test_other_content_is_not_alike():
    """Thirty sources with motion of their own, and two that are still: no pair is called the same."""
    sources = {f"s{seed}": (f"g{seed}", values(seed), str(seed)) for seed in range(30)}
    still = values(50)
    still[:, VALUES.index("motion2")] = 0.001
    other = still.copy()
    other[:, 0] *= 0.5
    corpus = corpus_of(sources | {"x": ("x", still, "50"), "y": ("y", other, "51")})
    assert alike_across_groups(corpus) == []


def test_the_shipped_corpus_has_no_content_twice():
    """Every group of the corpus that the shipped models were trained on is of its own."""
    from pathlib import Path

    from vmaf_assay.corpus.store import load_corpus

    corpus = load_corpus(Path(__file__).parents[2] / "data" / "corpus")
    check_groups_differ(corpus)
    split = replace(corpus, cells=tuple(replace(c, group=c.source) for c in corpus.cells))
    assert len(alike_across_groups(split)) > 25


@pytest.mark.parametrize(("folder", "n_cells"), [("360p", 4275), ("720p", 3420), ("1080p", 396), ("presets", 816)])
def test_the_further_corpora_are_whole(folder, n_cells):
    """They are whole, and looks of every source are kept, by which `corpus build` compared them."""
    corpus = load_corpus(Path(__file__).parents[2] / "data" / f"corpus-{folder}")
    assert len(corpus.cells) == n_cells
    assert without_looks(corpus) == []


def test_the_shipped_models_are_of_the_corpora_in_the_checkout():
    """Merged as docs/corpus.md says, they have the digest that every shipped ensemble names."""
    data = Path(__file__).parents[2] / "data"
    names = ("corpus-360p", "corpus-720p", "corpus-1080p", "corpus-presets", "corpus")
    merged = merge([(name, load_corpus(data / name)) for name in names], first_wins=True).corpus
    models = registry_of(None)
    means = [row for row in read_registry(models).rows if row.id.endswith("_mean")]
    assert len(means) == 4
    for row in means:
        sidecar = json.loads((models / row.sidecar.file).read_bytes())
        assert sidecar["corpus_digest"] == merged.digest
