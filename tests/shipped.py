"""The corpus that the shipped models are of: the corpora in the checkout, merged as docs/corpus.md says."""

from functools import lru_cache
from pathlib import Path

from vmaf_assay.corpus.merge import merge
from vmaf_assay.corpus.store import Corpus, load_corpus

DATA = Path(__file__).parents[1] / "data"
CORPORA = ("corpus-360p", "corpus-720p", "corpus-1080p", "corpus-presets", "corpus")
"""In the order of the merge: names of the first ones stay."""


@lru_cache
def shipped_corpus() -> Corpus:
    """All of them; takes seconds, once a process."""
    return merge([(name, load_corpus(DATA / name)) for name in CORPORA], first_wins=True).corpus
